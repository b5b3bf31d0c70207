/* What `explain`, `status` and `dump` answer, from a core: the same text offline and from the running controller. */
#ifndef HATCHWAY_QUESTION_H
#define HATCHWAY_QUESTION_H

#include "controller/core.h"

/* words: "status" | "dump" graph|table|image|plan | "explain" URL METHOD LISTENER|"" HEADER…. Returns the exit
 * code: 0; 1: answered, and the status tells of problems; 2: no such question, out says what is wrong with it. */
int question_answer(const struct core *core, const char **words, int n, struct buf *out);

#endif
