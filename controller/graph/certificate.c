/* Owns everything about PEM and OpenSSL. The checks are those that HAProxy's own OpenSSL makes when it loads them. */
#include "controller/graph/certificate.h"

#include "hatchway/base/buf.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <ctype.h>
#include <string.h>
#include <time.h>

#define TEXT_MAX (256 * 1024)
#define PEM_MAX (64 * 1024)
#define CHAIN_MAX 16
#define NAMES_MAX 200

struct reading {
	struct graph_certificate *to;
	X509 *leaf;
	STACK_OF(X509) *chain;
	EVP_PKEY *key;
};

/* False, for the callers' return. */
PRINTF_LIKE(2, 3) static bool fail(struct reading *reading, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(reading->to->error, sizeof(reading->to->error), fmt, args);
	va_end(args);
	return false;
}

static const char *reason(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());
	return text ? text : "not understood";
}

/* A key with a password is of no use here. */
static int no_password(char *buf, int size, int writing, void *ctx)
{
	return -1;
}

static BIO *open_item(struct reading *reading, const struct secret *secret, const char *key)
{
	const struct data_item *item = secret_item(secret, key);
	if (!item || !item->size)
		fail(reading, "it has no %s", key);
	else if (item->size > TEXT_MAX)
		fail(reading, "%s is longer than %d bytes", key, TEXT_MAX);
	else
		return BIO_new_mem_buf(item->bytes, (int)item->size);
	return NULL;
}

static bool read_chain(struct reading *reading, BIO *bio)
{
	X509 *x509;
	while ((x509 = PEM_read_bio_X509(bio, NULL, no_password, NULL))) {
		if (!reading->leaf)
			reading->leaf = x509;
		else if (sk_X509_num(reading->chain) >= CHAIN_MAX || !sk_X509_push(reading->chain, x509)) {
			X509_free(x509);
			return fail(reading, "tls.crt has more than %d certificates", CHAIN_MAX + 1);
		}
	}
	/* Behind the last one: nothing, or text that is none. */
	if (!reading->leaf || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return fail(reading, "tls.crt is no certificate in PEM: %s", reason());
	return true;
}

static bool read_key(struct reading *reading, BIO *bio)
{
	reading->key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
	if (!reading->key)
		return fail(reading, "tls.key is no private key in PEM without password");
	int type = EVP_PKEY_get_base_id(reading->key);
	if (type != EVP_PKEY_RSA && type != EVP_PKEY_EC)
		return fail(reading, "tls.key is neither of RSA nor of ECDSA");
	return true;
}

static bool check(struct reading *reading)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	bool ok = true;
	if (!ctx)
		return fail(reading, "OpenSSL: %s", reason());
	SSL_CTX_set_security_level(ctx, 2);
	if (SSL_CTX_use_certificate(ctx, reading->leaf) != 1)
		ok = fail(reading, "tls.crt cannot be used: %s", reason());
	for (int i = 0; ok && i < sk_X509_num(reading->chain); i++)
		if (SSL_CTX_add1_chain_cert(ctx, sk_X509_value(reading->chain, i)) != 1)
			ok = fail(reading, "certificate %d of tls.crt cannot be used: %s", i + 2, reason());
	if (ok && (SSL_CTX_use_PrivateKey(ctx, reading->key) != 1 || SSL_CTX_check_private_key(ctx) != 1))
		ok = fail(reading, "tls.key does not belong to the certificate: %s", reason());
	SSL_CTX_free(ctx);
	return ok;
}

/* ---- names ---- */

/* "a.b" or "*.a.b", as a client can ask for it. */
static bool is_name(const char *s, size_t n)
{
	if (n > 253 || !n || memchr(s, 0, n))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isascii(s[i]) || (!isalnum((unsigned char)s[i]) && !strchr("-_.", s[i]) && (s[i] != '*' || i)))
			return false;
	return *s != '*' || (n > 2 && s[1] == '.');
}

static void add_name(struct graph_certificate *to, const unsigned char *text, int length)
{
	if (length <= 0 || !is_name((const char *)text, (size_t)length) || to->n_names == NAMES_MAX)
		return;
	char *name = xcalloc(1, (size_t)length + 1);
	for (int i = 0; i < length; i++)
		name[i] = (char)tolower(text[i]);
	to->names = xrealloc(to->names, (to->n_names + 1) * sizeof(char *));
	to->names[to->n_names++] = name;
}

static void read_names(struct reading *reading)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(reading->leaf, NID_subject_alt_name, NULL, NULL);
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		if (name->type == GEN_DNS)
			add_name(reading->to, ASN1_STRING_get0_data(name->d.dNSName), ASN1_STRING_length(name->d.dNSName));
	}
	GENERAL_NAMES_free(names);
}

static void read_until(struct reading *reading)
{
	struct tm tm;
	if (ASN1_TIME_to_tm(X509_get0_notAfter(reading->leaf), &tm) == 1)
		strftime(reading->to->until, sizeof(reading->to->until), "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* ---- the text handed on ---- */

void certificate_digest(const char *text, size_t n, char ret[40])
{
	unsigned char bytes[EVP_MAX_MD_SIZE];
	unsigned size;
	BUG_ON(EVP_Digest(text, n, bytes, &size, EVP_sha256(), NULL) != 1);
	for (int i = 0; i < 16; i++)
		snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

static bool write_pem(struct reading *reading)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	char *text;
	bool ok = bio && PEM_write_bio_X509(bio, reading->leaf) == 1;
	for (int i = 0; ok && i < sk_X509_num(reading->chain); i++)
		ok = PEM_write_bio_X509(bio, sk_X509_value(reading->chain, i)) == 1;
	ok = ok && PEM_write_bio_PrivateKey(bio, reading->key, NULL, NULL, 0, NULL, NULL) == 1;
	long n = ok ? BIO_get_mem_data(bio, &text) : 0;
	if (!ok)
		fail(reading, "OpenSSL: %s", reason());
	else if (n > PEM_MAX)
		ok = fail(reading, "with its chain it is longer than %d bytes", PEM_MAX);
	if (ok) {
		reading->to->pem = xcalloc(1, (size_t)n + 1);
		memcpy(reading->to->pem, text, (size_t)n);
		certificate_digest(text, (size_t)n, reading->to->digest);
	}
	BIO_free(bio);
	return ok;
}

static bool read_parts(struct reading *reading, const struct secret *secret)
{
	BIO *crt = open_item(reading, secret, "tls.crt"), *key = crt ? open_item(reading, secret, "tls.key") : NULL;
	bool ok = crt && key && read_chain(reading, crt) && read_key(reading, key);
	BIO_free(crt);
	BIO_free(key);
	return ok;
}

struct graph_certificate *certificate_read(const struct secret *secret)
{
	struct reading reading = {.to = xcalloc(1, sizeof(*reading.to)), .chain = sk_X509_new_null()};
	reading.to->refs = 1;
	ERR_clear_error();
	if (read_parts(&reading, secret) && check(&reading) && write_pem(&reading)) {
		read_names(&reading);
		read_until(&reading);
	}
	ERR_clear_error();
	X509_free(reading.leaf);
	sk_X509_pop_free(reading.chain, X509_free);
	EVP_PKEY_free(reading.key);
	return reading.to;
}

struct graph_certificate *certificate_ref(struct graph_certificate *certificate)
{
	certificate->refs++;
	return certificate;
}

void certificate_unref(struct graph_certificate *certificate)
{
	if (!certificate || --certificate->refs)
		return;
	for (size_t i = 0; i < certificate->n_names; i++)
		free(certificate->names[i]);
	free(certificate->names);
	free(certificate->pem);
	free(certificate);
}
