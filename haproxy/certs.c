/* Owns the files under certs/ and the one certificate that is nobody's. A certificate's file never changes: its name is its
 * digest. */
#include "haproxy/certs.h"

#include "haproxy/command.h"
#include "haproxy/config.h"
#include "haproxy/put.h"

#include <dirent.h>
#include <errno.h>
#include <unistd.h>

/* haproxy/none.pem, see config.h and CMakeLists.txt: no secret, everybody has it. */
extern const char text_none_pem[];

static bool file_is(const char *path, const char *text, size_t n, bool *ret_there)
{
	char block[4096];
	FILE *f = fopen(path, "re");
	bool same = f != NULL;

	*ret_there = f != NULL;
	for (size_t at = 0; same && at <= n; at += sizeof(block)) {
		size_t part = fread(block, 1, sizeof(block), f), rest = n - at;
		same = part == (rest < sizeof(block) ? rest : sizeof(block)) && !memcmp(block, text + at, part);
	}
	same = same && fgetc(f) == EOF;
	if (f)
		fclose(f);
	return same;
}

struct writer {
	const char *dir;
	bool durable, written;
	struct err *reterr;
};

static int write_file(struct writer *w, const char *name, const char *text, bool only_missing)
{
	size_t n = strlen(text);
	char path[4096];
	bool there;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", w->dir, name) >= sizeof(path))
		return err_set(w->reterr, -ENAMETOOLONG, "%s is too long a path", w->dir);
	if (file_is(path, text, n, &there) || (there && only_missing))
		return 0;
	w->written = true;
	return put_text(path, text, w->durable, w->reterr);
}

static int write_pems(struct writer *w, const struct item *const *items, size_t n)
{
	char name[CERTS_NAME_MAX];
	int r = 0;

	for (size_t i = 0; i < n && !r; i++) {
		enum item_kind kind = (enum item_kind)items[i]->kind;
		if (kind == ITEM_SNI || !*items[i]->value || command_check(kind, items[i]->key, items[i]->value, NULL))
			continue;
		command_pem_name(kind, items[i]->key, name);
		r = write_file(w, name, items[i]->value, false);
	}
	return r;
}

/* What is held of a certificate or CA may be only its name; a list must not name what has no file. */
static bool has_pem(const char *dir, const char *name)
{
	char path[4096];

	return snprintf(path, sizeof(path), "%.3900s/%s", dir, name) > 0 && !access(path, F_OK);
}

static void add_entry(const char *dir, const struct item *item, struct buf *text)
{
	char name[CERTS_NAME_MAX], ca_name[CERTS_NAME_MAX], digest[CERTS_NAME_MAX];
	struct sni_ca ca;

	if (command_check(ITEM_SNI, item->key, item->value, NULL) || !command_sni_names(item->value, &ca))
		return;
	command_pem_name(ITEM_CERT, strchr(item->key, '/') + 1, name);
	snprintf(digest, sizeof(digest), "%.*s", (int)ca.n, ca.digest);
	command_pem_name(ITEM_CA, digest, ca_name);
	if (has_pem(dir, name) && (!ca.n || has_pem(dir, ca_name)))
		command_add_sni(name, item->value, text);
}

static int key_cmp(const void *a, const void *b)
{
	const struct item *const *x = a, *const *y = b;

	return strcmp((*x)->key, (*y)->key);
}

static bool is_of(const struct item *item, const char *bind, size_t n)
{
	return item->kind == ITEM_SNI && !strncmp(item->key, bind, n) && item->key[n] == '/';
}

static int write_list(struct writer *w, const char *name, const struct item *const *sorted, size_t n, bool only_missing)
{
	size_t n_bind;
	const char *bind = command_list_bind(name, &n_bind);
	struct buf text;

	BUG_ON(!bind);
	buf_init(&text, (size_t)16 << 20);
	for (size_t i = 0; i < n; i++)
		if (is_of(sorted[i], bind, n_bind))
			add_entry(w->dir, sorted[i], &text);
	int r = buf_failed(&text) ? err_set(w->reterr, -EFBIG, "%s: too long", name)
	                          : write_file(w, name, text.data ? text.data : "", only_missing);
	buf_done(&text);
	return r;
}

static int write_lists(struct writer *w, const struct item *const *items, size_t n, const char *lists)
{
	const struct item **sorted = xcalloc(n, sizeof(*sorted));
	char name[CERTS_NAME_MAX];
	int r = 0;

	if (n) {
		memcpy(sorted, items, n * sizeof(*sorted));
		qsort(sorted, n, sizeof(*sorted), key_cmp);
	}
	for (const char *p = lists, *end; !r && (end = strchr(p, '\n')); p = end + 1) {
		snprintf(name, sizeof(name), "%.*s", (int)(end - p), p);
		r = write_list(w, name, sorted, n, !items);
	}
	free(sorted);
	return r;
}

int certs_write(const char *dir, const struct item *const *items, size_t n, const char *lists, bool durable,
                bool *ret_written, struct err *reterr)
{
	struct writer w = {dir, durable, false, reterr};
	char path[4096];
	int r = write_file(&w, CONFIG_CERT_NONE, text_none_pem, false);

	if (!r)
		r = write_pems(&w, items, n);
	if (!r)
		r = write_lists(&w, items, n, lists);
	if (!r && w.written && durable)
		r = snprintf(path, sizeof(path), "%.4000s/certs", dir) > 0 ? put_sync_dir(path, reterr) : 0;
	*ret_written = w.written;
	return r;
}

static bool is_named(const char *name, const struct item *const *items, size_t n, const char *lists)
{
	size_t n_name = strlen(name), n_digest;
	enum item_kind kind = command_pem_digest(ITEM_CA, name, &n_digest) ? ITEM_CA : ITEM_CERT;
	const char *digest = command_pem_digest(kind, name, &n_digest);

	if (!strcmp(name, CONFIG_CERT_NONE))
		return true;
	for (const char *p = lists; (p = strstr(p, name)); p += n_name)
		if (p[n_name] == '\n')
			return true;
	for (size_t i = 0; digest && i < n; i++)
		if (items[i]->kind == kind && strlen(items[i]->key) == n_digest && !memcmp(items[i]->key, digest, n_digest))
			return true;
	return false;
}

void certs_clean(const char *dir, const struct item *const *items, size_t n, const char *lists)
{
	char path[4096], name[CERTS_NAME_MAX];
	size_t n_part;

	if (snprintf(path, sizeof(path), "%.4000s/certs", dir) < 0)
		return;
	DIR *folder = opendir(path);
	for (struct dirent *entry; folder && (entry = readdir(folder));) {
		if (snprintf(name, sizeof(name), "certs/%s", entry->d_name) >= (int)sizeof(name))
			continue;
		if (!command_pem_digest(ITEM_CA, name, &n_part) && !command_pem_digest(ITEM_CERT, name, &n_part) &&
		    !command_list_bind(name, &n_part))
			continue;
		if (!is_named(name, items, n, lists) && snprintf(path, sizeof(path), "%.3900s/%s", dir, name) > 0)
			(void)unlink(path);
	}
	if (folder)
		closedir(folder);
}
