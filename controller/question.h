/* What `explain`, `status` and `dump` answer, from a core: the same text offline and from the running controller. */
#ifndef HATCHWAY_QUESTION_H
#define HATCHWAY_QUESTION_H

#include "controller/core.h"

/* words: "status" | "dump" graph|table|image|plan | "explain" URL METHOD LISTENER|"" HEADER…. Returns the exit code. */
int question_answer(const struct core *core, const char **words, int n, struct buf *out);

#endif
