/* One structured line per decision, to standard error: `2026-11-23T15:04:05.123Z info text key=value …`.
 * Core rooms (object, store, graph, compile, status, render, plan) never log. Never pass a secret. */
#ifndef HATCHWAY_BASE_LOG_H
#define HATCHWAY_BASE_LOG_H

#include "hatchway/base/bug.h"

#include <stdarg.h>
#include <time.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* The one global of the program: how much is printed. Set once in main(). */
extern enum log_level log_level;

/* text and keys are ours and static; values may be anything and are quoted when they hold blanks, quotes or controls.
 * Arguments after text: key, value, key, value, …, NULL (all const char *). */
void log_line(enum log_level level, const char *text, ...) __attribute__((sentinel));

#endif
