/* The folder of everything hatchway writes, and `hatchway init`. */
#include "controller/state_dir.h"

#include "hatchway/haproxy.h"

#include <stdlib.h>
#include <sys/stat.h>

int state_dir_make(const char *path, char *ret, size_t size, struct err *reterr)
{
	char text[4096], real[4096 + 1];
	if (strlen(path) >= sizeof(text))
		return err_set(reterr, -ENAMETOOLONG, "%s: too long", path);
	strcpy(text, path);
	for (char *p = text + 1;; p++) {
		if (*p && *p != '/')
			continue;
		char c = *p;
		*p = 0;
		if (mkdir(text, 0700) && errno != EEXIST)
			return err_set(reterr, -errno, "%s: %s", text, strerror(errno));
		*p = c;
		if (!c)
			break;
	}
	if (!realpath(text, real) || strlen(real) >= size)
		return err_set(reterr, -errno, "%s: %s", text, strerror(errno));
	strcpy(ret, real);
	return 0;
}

int state_dir_init(const struct options *options)
{
	char path[4096];
	struct err err = {""};
	int ret = state_dir_make(options->state_dir, path, sizeof(path), &err);
	if (!ret)
		ret = haproxy_init(&(struct haproxy_options){.state_dir = path, .pool_base = options->pool_base,
		                                             .pool_size = options->pool_size, .threads = options->threads}, &err);
	if (ret)
		fprintf(stderr, "hatchway: %s\n", err.text);
	return ret ? 1 : 0;
}
