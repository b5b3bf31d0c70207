/* Bytes → documents → objects. Whatever the bytes: an answer, an error with text, never a crash, never a leak. An
 * object decoded twice from one tree has one hash. */
#include "controller/source/yaml.h"

static void decode(const struct node *document)
{
	struct object *object, *again;
	struct err err;
	unsigned line = 0;
	int status = object_decode(document, &object, &line, &err);
	if (status < 0)
		BUG_ON(!err.text[0]);
	/* Strict refuses more, and else reads the same. */
	struct err strict_err = {.text = ""};
	int strict = object_decode_manifest(document, &again, &line, &strict_err);
	BUG_ON(strict > status || (strict < 0 && !strict_err.text[0]));
	if (strict > 0) {
		BUG_ON(again->spec_hash != object->spec_hash);
		object_unref(again);
	}
	if (status <= 0)
		return;
	BUG_ON(object_decode(document, &again, &line, &err) != 1 || again->spec_hash != object->spec_hash);
	BUG_ON(object_cmp_key(object, again));
	object_unref(object);
	object_unref(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct yaml *yaml = yaml_open_bytes(data, size);
	int status;
	do {
		struct arena scratch;
		arena_init(&scratch);
		struct node *document;
		struct err err = {.text = ""};
		unsigned line;
		status = yaml_next(yaml, &scratch, &document, &line, &err);
		if (status > 0)
			decode(document);
		else if (status < 0)
			BUG_ON(!err.text[0]);
		arena_done(&scratch);
	} while (status > 0);
	yaml_close(yaml);
	return 0;
}
