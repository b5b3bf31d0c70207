/* Owns the folder of status documents. Every path is resolved below the folder's descriptor, and no component comes
 * from an object unless it is a plain file name; links inside the folder are not followed. Remembers, until the sweep,
 * what it has written. */
#include "controller/source/status_dir.h"

#include "controller/source/write_all.h"
#include "hatchway/base/hash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/sha.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMPORARY ".status.tmp"
#define NAME_CEILING 253 /* of Kubernetes' names */
#define DIGEST_BYTES 16

struct status_dir {
	int fd;
	bool swept;
	uint64_t *written; /* hashes of relative paths, until swept: there are as many as objects */
	size_t n_written, cap_written;
};

/* ---- opening ---- */

int status_dir_open(const char *path, struct status_dir **ret, struct err *reterr)
{
	if (mkdir(path, 0755) && errno != EEXIST)
		return err_set(reterr, -errno, "%s: cannot be created: %s", path, strerror(errno));
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(reterr, -errno, "%s: %s", path, strerror(errno));
	struct status_dir *dir = xcalloc(1, sizeof(*dir));
	dir->fd = fd;
	*ret = dir;
	return 0;
}

void status_dir_close(struct status_dir *dir)
{
	if (!dir)
		return;
	free(dir->written);
	close(dir->fd);
	free(dir);
}

/* ---- paths ---- */

/* A leading dot is ours (temporary files) and hides "..". */
static bool is_file_name(const char *text)
{
	size_t len = strlen(text);
	if (!len || len > NAME_CEILING || text[0] == '.')
		return false;
	for (const char *p = text; *p; p++)
		if (*p == '/' || (unsigned char)*p < 32 || *p == 127)
			return false;
	return true;
}

/* name.yaml; if that is longer than a file name may be, the beginning of name and a digest of all of it. */
static void file_name(const char *name, char *out, size_t size)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	size_t len = strlen(name);
	if (len + strlen(".yaml") <= NAME_MAX) {
		snprintf(out, size, "%s.yaml", name);
		return;
	}
	SHA256((const unsigned char *)name, len, digest);
	int n = snprintf(out, size, "%.*s-", NAME_MAX - (int)strlen("-.yaml") - 2 * DIGEST_BYTES, name);
	for (size_t i = 0; i < DIGEST_BYTES; i++)
		n += snprintf(out + n, size - (size_t)n, "%02x", digest[i]);
	snprintf(out + n, size - (size_t)n, ".yaml");
}

/* A folder below at, made if it is not there; -errno. */
static int open_below(int at, const char *name, bool make)
{
	if (make && mkdirat(at, name, 0755) && errno != EEXIST)
		return -errno;
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int open_folder(struct status_dir *dir, const char *kind, const char *namespace, bool make)
{
	int kind_fd = open_below(dir->fd, kind, make);
	if (kind_fd < 0 || !*namespace)
		return kind_fd;
	int fd = open_below(kind_fd, namespace, make);
	close(kind_fd);
	return fd;
}

/* ---- writing ---- */

/* Not synced to disk: status is derived, a restart writes it again. */
static int replace(int folder, const char *file, const char *text)
{
	int fd = openat(folder, TEMPORARY, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	int status = write_all(fd, text, strlen(text));
	if (close(fd) && !status)
		status = -errno;
	if (!status && renameat(folder, TEMPORARY, folder, file))
		status = -errno;
	if (status)
		(void)unlinkat(folder, TEMPORARY, 0); /* the first error is the one to tell */
	return status;
}

static uint64_t path_hash(const struct status_dir *dir, const char *path)
{
	return hash_bytes(path, strlen(path), (uint64_t)(uintptr_t)dir);
}

/* A path written twice stands twice. */
static void remember(struct status_dir *dir, const char *path)
{
	if (dir->swept)
		return;
	if (dir->n_written == dir->cap_written) {
		dir->cap_written = dir->cap_written ? dir->cap_written * 2 : 64;
		dir->written = xrealloc(dir->written, dir->cap_written * sizeof(*dir->written));
	}
	dir->written[dir->n_written++] = path_hash(dir, path);
}

static int write_or_remove(struct status_dir *dir, const char *kind, const char *namespace, const char *file,
                           const char *text)
{
	int folder = open_folder(dir, kind, namespace, text != NULL);
	if (folder < 0)
		return folder == -ENOENT && !text ? 0 : folder;
	int status = 0;
	if (text)
		status = replace(folder, file, text);
	else if (unlinkat(folder, file, 0) && errno != ENOENT)
		status = -errno;
	close(folder);
	return status;
}

int status_dir_write(struct status_dir *dir, const char *kind, const char *namespace, const char *name,
                     const char *text, struct err *reterr)
{
	if (!namespace)
	namespace = "";
	if (!is_file_name(kind) || !is_file_name(name) || (*namespace && !is_file_name(namespace)))
		return err_set(reterr, -EINVAL, "status of %.40s %.80s/%.80s: not a file name", kind, namespace, name);
	char file[NAME_MAX + 1], path[800];
	file_name(name, file, sizeof(file));
	snprintf(path, sizeof(path), "%s/%s%s%s", kind, namespace, *namespace ? "/" : "", file);
	int status = write_or_remove(dir, kind, namespace, file, text);
	if (status)
		return err_set(reterr, status, "status file %s: %s", path, strerror(-status));
	if (text)
		remember(dir, path);
	return 0;
}

/* ---- sweeping ---- */

static bool is_ours(const char *name)
{
	size_t len = strlen(name);
	return strcmp(name, TEMPORARY) == 0 || (len > 5 && name[0] != '.' && strcmp(name + len - 5, ".yaml") == 0);
}

static int cmp_hash(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static bool is_written(struct status_dir *dir, const char *prefix, const char *name)
{
	char path[800];
	snprintf(path, sizeof(path), "%s%s", prefix, name);
	uint64_t hash = path_hash(dir, path);
	return dir->n_written && bsearch(&hash, dir->written, dir->n_written, sizeof(hash), cmp_hash);
}

static int sweep_folder(struct status_dir *dir, int fd, const char *prefix, unsigned depth);

/* One name in a folder. A folder that is now empty goes; one that is not is somebody's. */
static int sweep_entry(struct status_dir *dir, int fd, const char *prefix, const char *name, unsigned depth)
{
	struct stat st;
	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : -errno;
	if (S_ISREG(st.st_mode) && depth && is_ours(name) && !is_written(dir, prefix, name))
		return unlinkat(fd, name, 0) && errno != ENOENT ? -errno : 0;
	if (!S_ISDIR(st.st_mode) || depth >= 2 || name[0] == '.')
		return 0;
	int below = open_below(fd, name, false);
	if (below < 0)
		return below;
	char path[800];
	snprintf(path, sizeof(path), "%s%s/", prefix, name);
	int status = sweep_folder(dir, below, path, depth + 1);
	if (!status && unlinkat(fd, name, AT_REMOVEDIR) && errno != ENOTEMPTY && errno != EEXIST && errno != ENOENT)
		status = -errno;
	return status;
}

/* Closes fd. */
static int sweep_folder(struct status_dir *dir, int fd, const char *prefix, unsigned depth)
{
	DIR *stream = fdopendir(fd);
	if (!stream) {
		int status = -errno;
		close(fd);
		return status;
	}
	int status = 0;
	for (struct dirent *entry; !status && (entry = readdir(stream));)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			status = sweep_entry(dir, dirfd(stream), prefix, entry->d_name, depth);
	closedir(stream);
	return status;
}

int status_dir_sweep(struct status_dir *dir, struct err *reterr)
{
	int fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir->n_written)
		qsort(dir->written, dir->n_written, sizeof(*dir->written), cmp_hash);
	int status = fd < 0 ? -errno : sweep_folder(dir, fd, "", 0);
	free(dir->written);
	dir->written = NULL;
	dir->n_written = dir->cap_written = 0;
	dir->swept = true;
	return status ? err_set(reterr, status, "status files of an earlier run: %s", strerror(-status)) : 0;
}
