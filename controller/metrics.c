#include "controller/metrics.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const double bounds[HISTOGRAM_BUCKETS] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5};

void metric_family(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add_label_value(struct buf *out, const char *value)
{
	for (; *value; value++) {
		if (*value == '\\' || *value == '"')
			buf_addc(out, '\\');
		if (*value == '\n')
			buf_adds(out, "\\n");
		else
			buf_addc(out, *value);
	}
}

/* Whole numbers as such: counters are exact up to 2^53. */
static void add_number(struct buf *out, double number)
{
	if (number == floor(number) && fabs(number) < 9007199254740992.0)
		buf_addf(out, " %.0f\n", number);
	else
		buf_addf(out, " %.9g\n", number);
}

void metric_sample(struct buf *out, const char *name, const char *label, const char *value, double number)
{
	buf_adds(out, name);
	if (label) {
		buf_addf(out, "{%s=\"", label);
		add_label_value(out, value);
		buf_adds(out, "\"}");
	}
	add_number(out, number);
}

void metric(struct buf *out, const char *name, const char *type, const char *help, double number)
{
	metric_family(out, name, type, help);
	metric_sample(out, name, NULL, NULL, number);
}

void histogram_add(struct histogram *histogram, double seconds)
{
	size_t i = 0;
	while (i < HISTOGRAM_BUCKETS && seconds > bounds[i])
		i++;
	histogram->counts[i]++;
	histogram->sum += seconds;
}

void metric_histogram(struct buf *out, const char *name, const char *help, const struct histogram *histogram)
{
	uint64_t n = 0;
	metric_family(out, name, "histogram", help);
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		n += histogram->counts[i];
		buf_addf(out, "%s_bucket{le=\"%g\"} %llu\n", name, bounds[i], (unsigned long long)n);
	}
	n += histogram->counts[HISTOGRAM_BUCKETS];
	buf_addf(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum", name, (unsigned long long)n, name);
	add_number(out, histogram->sum);
	buf_addf(out, "%s_count %llu\n", name, (unsigned long long)n);
}

/* ---- the process ---- */

static double resident_bytes(void)
{
	unsigned long total, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	if (f && fscanf(f, "%lu %lu", &total, &resident) != 2)
		resident = 0;
	if (f)
		fclose(f);
	return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static size_t open_files(void)
{
	size_t n = 0;
	DIR *dir = opendir("/proc/self/fd");
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n > 3 ? n - 3 : 0; /* ".", ".." and the folder itself */
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/* CLOCK_BOOTTIME ticks since boot are field 22 of stat, behind the name, which ends with the last ")". */
static double start_seconds(void)
{
	char text[1024];
	unsigned long long ticks = 0;
	struct timespec now, boot;
	FILE *f = fopen("/proc/self/stat", "re");
	size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
	if (f)
		fclose(f);
	text[n] = 0;
	const char *p = strrchr(text, ')');
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (!p || sscanf(p, " %llu", &ticks) != 1 || clock_gettime(CLOCK_REALTIME, &now) ||
	    clock_gettime(CLOCK_BOOTTIME, &boot))
		return 0;
	double up = (double)boot.tv_sec - (double)ticks / (double)sysconf(_SC_CLK_TCK);
	return floor((double)now.tv_sec - up);
}

void metric_process(struct buf *out, const char *version)
{
	struct rusage usage = {0};
	struct rlimit files = {0};
	getrusage(RUSAGE_SELF, &usage);
	getrlimit(RLIMIT_NOFILE, &files);
	metric_family(out, "hatchway_build_info", "gauge", "Which hatchway this is.");
	metric_sample(out, "hatchway_build_info", "version", version, 1);
	metric(out, "process_resident_memory_bytes", "gauge", "Resident memory.", resident_bytes());
	metric(out, "process_cpu_seconds_total", "counter", "CPU time, user and system.",
	       seconds(usage.ru_utime) + seconds(usage.ru_stime));
	metric(out, "process_open_fds", "gauge", "Open file descriptors.", (double)open_files());
	metric(out, "process_max_fds", "gauge", "Limit of open file descriptors.", (double)files.rlim_cur);
	metric(out, "process_start_time_seconds", "gauge", "Start of the process, Unix time.", start_seconds());
}
