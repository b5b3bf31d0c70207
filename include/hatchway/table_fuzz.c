/* Text → table: never a crash, and what was understood is understood again: parse(dump(x)) = x. Then a request through it. */
#include "hatchway/table.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_again(const struct table *table)
{
	struct table *again = table_new();
	struct buf once, twice;
	struct err err;
	buf_init(&once, (size_t)64 << 20);
	buf_init(&twice, (size_t)64 << 20);
	table_dump(table, &once);
	BUG_ON(table_parse(again, once.data, &err));
	table_dump(again, &twice);
	BUG_ON(strcmp(once.data, twice.data));
	buf_done(&once);
	buf_done(&twice);
	table_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct table *table = table_new();
	struct err err;
	char *text = xmalloc(size + 1);
	memcpy(text, data, size);
	text[size] = 0;
	if (table_parse(table, text, &err) == 0) {
		const struct table_header header = {"X-Version", "2"};
		const struct table_request request = {
			.listener = "80", .host = "a.b.c:80", .method = "GET", .path = "/hello/x", .query = "q=a%20b", .headers = &header, .n_headers = 1,
		};
		same_again(table);
		/* A fuzzer's regular expressions may take for ever: HAProxy has a match limit, the plain matcher has not. */
		if (!strstr(text, "regex") && !strchr(text, '~'))
			table_match(table, &request, NULL);
	}
	free(text);
	table_free(table);
	return 0;
}
