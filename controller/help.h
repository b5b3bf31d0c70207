/* What each command's --help says of itself; the flags all share are main.c's. */
#ifndef HATCHWAY_HELP_H
#define HATCHWAY_HELP_H

/* Usage, what it does, what it answers with, examples. NULL: not a command. */
const char *help_of(const char *command);

#endif
