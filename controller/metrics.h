/* The Prometheus text format (version 0.0.4), and the figures that `run` has of its own. Pure: text out.
 * Names: hatchway_ in front, base units, _total behind what only grows. */
#ifndef HATCHWAY_METRICS_H
#define HATCHWAY_METRICS_H

#include "hatchway/base/buf.h"

/* "# HELP" and "# TYPE" of the samples that follow. type: counter, gauge or histogram. */
void metric_family(struct buf *out, const char *name, const char *type, const char *help);
/* One sample. label: NULL for none; values are escaped. */
void metric_sample(struct buf *out, const char *name, const char *label, const char *value, double number);
/* A family of one sample without labels. */
void metric(struct buf *out, const char *name, const char *type, const char *help, double number);

/* Durations in seconds; adding is a few compares. */
#define HISTOGRAM_BUCKETS 12
struct histogram {
	uint64_t counts[HISTOGRAM_BUCKETS + 1]; /* the last: longer than every bound */
	double sum;
};
void histogram_add(struct histogram *histogram, double seconds);
void metric_histogram(struct buf *out, const char *name, const char *help, const struct histogram *histogram);

/* Version, memory, CPU, open files, start: named as every Prometheus client names them. */
void metric_process(struct buf *out, const char *version);

#endif
