/* Owns one batch of documents at a time. The folder belongs to the worker while a batch is under way, to the loop else. */
#include "controller/source/status_writer.h"

#include "hatchway/base/arena.h"

#define AT_ONCE 64

struct document {
	const char *kind, *namespace, *name, *text;
	struct err *err; /* NULL: written */
};

struct status_writer {
	uv_work_t work;
	uv_loop_t *loop;
	struct status_dir *dir;
	struct status_writer_events events;
	struct arena arena; /* of the batch */
	struct document *list;
	size_t n, cap;
	bool busy, sweep, swept;
	struct err sweep_err;
	void (*closed)(void *ctx);
	void *closed_ctx;
};

static bool writer_busy(void *ctx)
{
	const struct status_writer *writer = ctx;
	return writer->busy;
}

static void writer_add(void *ctx, enum object_kind kind, const char *namespace, const char *name, const char *text)
{
	struct status_writer *writer = ctx;
	struct arena *a = &writer->arena;
	BUG_ON(writer->busy);
	if (writer->n == writer->cap) {
		writer->cap = writer->cap ? writer->cap * 2 : 16;
		writer->list = xrealloc(writer->list, writer->cap * sizeof(*writer->list));
	}
	writer->list[writer->n++] = (struct document){
		.kind = object_kind_name(kind),
		.namespace = arena_strdup(a, namespace),
		.name = arena_strdup(a, name),
		.text = arena_strdup(a, text),
	};
}

static void write_all(uv_work_t *work)
{
	struct status_writer *writer = work->data;
	for (size_t i = 0; i < writer->n; i++) {
		struct document *document = &writer->list[i];
		struct err err = {""};
		if (status_dir_write(writer->dir, document->kind, document->namespace, document->name, document->text, &err)) {
			document->err = arena_alloc(&writer->arena, sizeof(err));
			*document->err = err;
		}
	}
	writer->sweep_err.text[0] = 0;
	if (writer->sweep && status_dir_sweep(writer->dir, &writer->sweep_err) && !writer->sweep_err.text[0])
		err_set(&writer->sweep_err, 0, "not swept");
}

static void writer_free(struct status_writer *writer)
{
	void (*closed)(void *) = writer->closed;
	void *ctx = writer->closed_ctx;
	status_dir_close(writer->dir);
	arena_done(&writer->arena);
	free(writer->list);
	free(writer);
	closed(ctx);
}

static void on_written(uv_work_t *work, int status)
{
	struct status_writer *writer = work->data;
	for (size_t i = 0; i < writer->n; i++) {
		const struct document *document = &writer->list[i];
		if (document->err)
			writer->events.failed(writer->events.ctx, document->kind, document->namespace, document->name,
			                      document->err->text);
	}
	if (writer->sweep_err.text[0])
		writer->events.failed(writer->events.ctx, "", "", "", writer->sweep_err.text);
	writer->busy = writer->sweep = false;
	writer->n = 0;
	arena_done(&writer->arena);
	if (writer->closed)
		writer_free(writer);
	else
		writer->events.done(writer->events.ctx);
}

static void writer_start(void *ctx, bool last)
{
	struct status_writer *writer = ctx;
	BUG_ON(writer->busy);
	writer->sweep = last && !writer->swept;
	writer->swept |= writer->sweep;
	if (!writer->n && !writer->sweep)
		return;
	writer->busy = true;
	BUG_ON(uv_queue_work(writer->loop, &writer->work, write_all, on_written));
}

static void writer_close(void *ctx, void (*cb)(void *ctx), void *cb_ctx)
{
	struct status_writer *writer = ctx;
	writer->closed = cb;
	writer->closed_ctx = cb_ctx;
	if (!writer->busy)
		writer_free(writer);
}

struct status_sink status_writer_open(uv_loop_t *loop, struct status_dir *dir, const struct status_writer_events *events)
{
	static const struct status_sink_ops ops = {AT_ONCE, writer_busy, writer_add, writer_start, writer_close};
	struct status_writer *writer = xcalloc(1, sizeof(*writer));
	writer->loop = loop;
	writer->dir = dir;
	writer->events = *events;
	writer->work.data = writer;
	arena_init(&writer->arena);
	return (struct status_sink){&ops, writer};
}
