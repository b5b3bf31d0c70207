/* The log: one line to standard error for each decision. */
#include "hatchway/base/log.h"

#include "hatchway/base/words.h"

#include <sys/time.h>

enum log_level log_level = LOG_INFO;

void log_line(enum log_level level, const char *text, ...)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	if (level > log_level)
		return;
	struct timeval now;
	struct tm tm;
	char stamp[32];
	struct buf line, value;
	gettimeofday(&now, NULL);
	gmtime_r(&now.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	buf_init(&line, 16384);
	buf_init(&value, 16384);
	buf_addf(&line, "%s.%03dZ %-5s %s", stamp, (int)(now.tv_usec / 1000), names[level], text);
	va_list args;
	va_start(args, text);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): va_start() is right above. */
	for (const char *key; (key = va_arg(args, const char *));) {
		const char *s = va_arg(args, const char *);
		buf_clear(&value);
		word_add(&value, s ? s : "-");
		buf_addf(&line, " %s=%s", key, value.data);
	}
	va_end(args);
	buf_addc(&line, '\n');
	fputs(line.data, stderr);
	buf_done(&line);
	buf_done(&value);
}
