/* Questions to a core. */
#include "controller/question.h"

#include "controller/explain.h"

static int answer_dump(const struct core *core, const char *what, struct buf *out)
{
	if (!strcmp(what, "graph"))
		core_dump_graph(core, out);
	else if (!strcmp(what, "table"))
		table_dump(core_table(core), out);
	else if (!strcmp(what, "image"))
		haproxy_dump_image(core_table(core), out);
	else if (!strcmp(what, "plan"))
		haproxy_dump_plan(core_table(core), out);
	else {
		buf_addf(out, "dump: graph, table, image or plan, not \"%s\"\n", what);
		return 2;
	}
	return 0;
}

static void why(void *ctx, enum explain_why why, const char *key, size_t ref, struct buf *out)
{
	core_why(ctx, why, key, ref, out);
}

static int answer_explain(const struct core *core, const char **words, int n, struct buf *out)
{
	struct err err = {""};
	const struct explain_request request = {
		.url = words[1],
		.method = words[2],
		.listener = *words[3] ? words[3] : NULL,
		.headers = words + 4,
		.n_headers = (size_t)n - 4,
		.why = why,
		.why_ctx = (struct core *)(uintptr_t)core,
	};
	size_t n_refusals;
	const struct haproxy_refusal *refusals = core_refusals(core, &n_refusals);
	struct buf text;
	buf_init(&text, out->limit);
	int ret = explain(core_table(core), refusals, n_refusals, &request, &text, &err);
	if (core_not_held(core))
		buf_addf(out, "HAProxy does not hold this: %s\n", core_not_held(core));
	if (ret < 0)
		buf_addf(out, "%s\n", err.text); /* first what is wrong, then what there is */
	buf_add(out, text.data, text.len);
	buf_done(&text);
	return ret < 0 ? 2 : 0;
}

static int answer_status(const struct core *core, struct buf *out)
{
	struct buf remarks;
	buf_init(&remarks, out->limit);
	int code = core_status_table(core, out) ? 1 : 0;
	if (core_remarks(core, &remarks))
		buf_addf(out, "\nRemarks:\n%s", remarks.data);
	buf_done(&remarks);
	return code;
}

int question_answer(const struct core *core, const char **words, int n, struct buf *out)
{
	if (n == 1 && !strcmp(words[0], "status"))
		return answer_status(core, out);
	if (n == 2 && !strcmp(words[0], "dump"))
		return answer_dump(core, words[1], out);
	if (n >= 4 && !strcmp(words[0], "explain"))
		return answer_explain(core, words, n, out);
	buf_addf(out, "%s: not a question this controller knows\n", words[0]);
	return 2;
}
