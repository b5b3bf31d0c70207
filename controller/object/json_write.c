/* Owns how a tree is spelled in JSON. */
#include "controller/object/json_write.h"

void json_write_text(struct buf *out, const char *text)
{
	buf_addc(out, '"');
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\')
			buf_addf(out, "\\%c", c);
		else if (c < 32)
			buf_addf(out, "\\u%04x", c);
		else
			buf_addc(out, *text);
	}
	buf_addc(out, '"');
}

void json_write(struct buf *out, const struct node *node)
{
	bool map = node->type == NODE_MAP;
	if (node->type == NODE_STRING) {
		json_write_text(out, node->text);
	} else if (node->type == NODE_NULL) {
		buf_adds(out, "null");
	} else if (!map && node->type != NODE_LIST) {
		buf_adds(out, node->text);
	} else {
		buf_addc(out, map ? '{' : '[');
		for (size_t i = 0; i < node->n; i++) {
			if (i)
				buf_addc(out, ',');
			if (map) {
				json_write_text(out, node->keys[i]);
				buf_addc(out, ':');
			}
			json_write(out, node->items[i]);
		}
		buf_addc(out, map ? '}' : ']');
	}
}
