/* Owns the reading of authorities' certificates: what HAProxy's OpenSSL would take, and nothing else. */
#include "controller/graph/ca.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <string.h>

#define TEXT_MAX (256 * 1024)
#define PEM_MAX (64 * 1024)
#define KEY "ca.crt"

static const struct data_item *find(const struct config_map *map)
{
	for (size_t i = 0; i < map->n_data; i++)
		if (strcmp(map->data[i].key, KEY) == 0)
			return &map->data[i];
	return NULL;
}

/* As many as there are; the reason behind the last one is what ends the text. */
static int copy_all(BIO *in, BIO *out)
{
	X509 *x509;
	int n = 0;
	while ((x509 = PEM_read_bio_X509(in, NULL, NULL, NULL))) {
		n += PEM_write_bio_X509(out, x509) == 1;
		X509_free(x509);
	}
	return n;
}

static void take(struct graph_ca *ca, BIO *out, int n)
{
	char *text;
	long size = BIO_get_mem_data(out, &text);
	unsigned long why = ERR_peek_last_error();
	if (!n || ERR_GET_REASON(why) != PEM_R_NO_START_LINE) {
		const char *reason = ERR_reason_error_string(why);
		snprintf(ca->error, sizeof(ca->error), KEY " is no list of certificates in PEM: %s", reason ? reason : "not understood");
	} else if (size > PEM_MAX) {
		snprintf(ca->error, sizeof(ca->error), KEY " holds more than %d bytes of certificates", PEM_MAX);
	} else {
		ca->pem = xcalloc(1, (size_t)size + 1);
		memcpy(ca->pem, text, (size_t)size);
	}
}

struct graph_ca *ca_read(const struct config_map *map)
{
	struct graph_ca *ca = xcalloc(1, sizeof(*ca));
	const struct data_item *item = find(map);
	ca->refs = 1;
	if (!item || !item->size) {
		snprintf(ca->error, sizeof(ca->error), "it has no " KEY);
		return ca;
	}
	if (item->size > TEXT_MAX) {
		snprintf(ca->error, sizeof(ca->error), KEY " is longer than %d bytes", TEXT_MAX);
		return ca;
	}
	ERR_clear_error();
	BIO *in = BIO_new_mem_buf(item->bytes, (int)item->size), *out = BIO_new(BIO_s_mem());
	take(ca, out, copy_all(in, out));
	BIO_free(in);
	BIO_free(out);
	ERR_clear_error();
	return ca;
}

struct graph_ca *ca_ref(struct graph_ca *ca)
{
	ca->refs++;
	return ca;
}

void ca_unref(struct graph_ca *ca)
{
	if (!ca || --ca->refs)
		return;
	free(ca->pem);
	free(ca);
}
