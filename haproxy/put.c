/* Owns the way from a text to a file: under another name first, then renamed. */
#include "haproxy/put.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int tmp_name(const char *path, char tmp[4096], struct err *reterr)
{
	if ((size_t)snprintf(tmp, 4096, "%s.tmp", path) >= 4096)
		return err_set(reterr, -ENAMETOOLONG, "%s: too long", path);
	return 0;
}

FILE *put_open(const char *path, struct err *reterr)
{
	char tmp[4096];

	if (tmp_name(path, tmp, reterr))
		return NULL;
	int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!f) {
		err_set(reterr, -errno, "%s: %s", tmp, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	return f;
}

int put_close(FILE *f, const char *path, bool durable, struct err *reterr)
{
	int r = fflush(f) || ferror(f) ? -errno : 0;

	if (!r && durable && fsync(fileno(f)))
		r = -errno;
	if (fclose(f) && !r)
		r = -errno;
	return r ? err_set(reterr, r ? r : -EIO, "%s: %s", path, strerror(-r)) : 0;
}

int put_file(const char *path, struct err *reterr)
{
	char tmp[4096];
	int r = tmp_name(path, tmp, reterr);

	if (!r && rename(tmp, path))
		r = err_set(reterr, -errno, "%s: %s", path, strerror(errno));
	return r;
}

int put_text(const char *path, const char *text, bool durable, struct err *reterr)
{
	FILE *f = put_open(path, reterr);

	if (!f)
		return -EIO;
	fputs(text, f);
	int r = put_close(f, path, durable, reterr);
	return r ? r : put_file(path, reterr);
}

int put_sync_dir(const char *path, struct err *reterr)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 || fsync(fd) ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return r ? err_set(reterr, r, "%s: %s", path, strerror(-r)) : 0;
}
