/*
 * `lkvm run --result FILE`: whoever reads FILE finds this run's whole result, or no file.
 *
 * An older file of that name is removed before anything is started. The new one is written beside it
 * at the end, and renamed. What is not a regular file, such as a pipe or /dev/stdout, is written to as
 * it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/log.h"
#include "lkvm/vm/run.h"

static bool starts_with(const char *s, const char *prefix)
{
	return !strncmp(s, prefix, strlen(prefix));
}

/* Names of what is open already: removing them would be wrong even where they lead to a file. */
static bool names_descriptor(const char *name)
{
	return (starts_with(name, "/dev/") && !starts_with(name, "/dev/shm/")) || starts_with(name, "/proc/");
}

static int open_as_it_is(const char *name, int *ret_fd)
{
	int fd = strcmp(name, "-") ? open(name, O_WRONLY | O_CLOEXEC | O_NOCTTY)
				   : fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* Return: descriptor of a new file beside @path, whose name is @ret_name; or -errno */
static int create_beside(const char *path, char *ret_name, size_t cap)
{
	mode_t mask = umask(0);
	int fd;

	umask(mask);
	if ((size_t)snprintf(ret_name, cap, "%s.XXXXXX", path) >= cap)
		return -ENAMETOOLONG;
	fd = mkostemp(ret_name, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* As any other file; mkostemp() makes it 0600. */
	if (fchmod(fd, 0666 & ~mask) < 0)
		log_debug(LOG_BOOT, "mode of '%s': %s", ret_name, strerror(errno));
	return fd;
}

/* A run of an hour must not end with a file that cannot be made. */
static int try_to_create(const char *path)
{
	char name[PATH_MAX];
	int fd = create_beside(path, name, sizeof(name));

	if (fd < 0)
		return fd;
	close(fd);
	unlink(name);
	return 0;
}

int run_file_open(struct run_file *file, const char *name)
{
	struct stat st;
	char *path;
	int err;

	*file = (struct run_file){ .fd = -1 };
	if (!name)
		return 0;
	if (!*name)
		return -ENOENT;
	if (!strcmp(name, "-") || names_descriptor(name) || (!stat(name, &st) && !S_ISREG(st.st_mode)))
		return open_as_it_is(name, &file->fd);
	path = realpath(name, NULL); /* through a symbolic link */
	if (!path)
		path = strdup(name);
	if (!path)
		return -ENOMEM;
	err = unlink(path) < 0 && errno != ENOENT ? -errno : try_to_create(path);
	if (err)
		free(path);
	else
		file->path = path;
	return err;
}

static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			text += n, len -= (size_t)n;
	}
	return 0;
}

static int replace(const char *path, const char *text, size_t len)
{
	char name[PATH_MAX];
	int fd = create_beside(path, name, sizeof(name)), err;

	if (fd < 0)
		return fd;
	err = write_all(fd, text, len);
	if (close(fd) < 0 && !err)
		err = -errno;
	if (!err && rename(name, path) < 0)
		err = -errno;
	if (err)
		unlink(name);
	return err;
}

int run_file_write(struct run_file *file, const char *text, size_t len)
{
	int err = 0;

	if (file->path)
		err = replace(file->path, text, len);
	else if (file->fd >= 0)
		err = write_all(file->fd, text, len);
	run_file_close(file);
	return err;
}

void run_file_close(struct run_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	free(file->path);
	*file = (struct run_file){ .fd = -1 };
}
