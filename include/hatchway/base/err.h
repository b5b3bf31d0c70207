/* Why something of the world failed, for a person: one line, names the object and the field. Fixed size, no memory. */
#ifndef HATCHWAY_BASE_ERR_H
#define HATCHWAY_BASE_ERR_H

#include "hatchway/base/bug.h"

#include <errno.h>
#include <stdarg.h>

struct err {
	char text[512];
};

/* Sets the text (cut at its end if longer) and returns ret, so that `return err_set(e, -EINVAL, …)` reads well.
 * err may be NULL. Control characters in arguments are replaced by '?': the text goes to logs and terminals. */
PRINTF_LIKE(3, 4) static inline int err_set(struct err *err, int ret, const char *fmt, ...)
{
	if (!err)
		return ret;
	va_list args;
	va_start(args, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	for (char *p = err->text; *p; p++)
		if ((unsigned char)*p < 32 || *p == 127)
			*p = '?';
	return ret;
}

#endif
