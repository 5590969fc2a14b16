/* A folder in which guests find each other; see switch-folder.h. */
#include "switch-folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lkvm/clock.h"

#define LOCK_MS  5000
#define ROUNDS   5  /* it may go while it is being opened */
#define MAX_WAIT 64 /* connections that were not accepted yet */

static int lock(int fd)
{
	const int64_t until = now_ms() + LOCK_MS;

	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (now_ms() >= until)
			return -ETIMEDOUT;
		poll(NULL, 0, 1); /* whoever has it keeps it for a moment */
	}
	return 0;
}

/* A path that is short enough, whatever the folder's is */
static struct sockaddr_un address_of(const struct switch_folder *f, const char *socket)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/%s", f->fd, socket);
	return addr;
}

static int new_socket(void)
{
	const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

/* Return: 0, also if nobody is there any more */
static int connect_to(const struct switch_folder *f, const char *socket,
		      int (*meet)(void *ctx, int fd), void *ctx)
{
	const struct sockaddr_un addr = address_of(f, socket);
	const int fd = new_socket();
	int err;

	if (fd < 0)
		return fd;
	if (!connect(fd, (const struct sockaddr *)&addr, sizeof(addr)))
		return meet(ctx, fd);
	err = -errno;
	close(fd);
	if (err != -ECONNREFUSED)
		return err;
	unlinkat(f->fd, socket, 0);
	return 0;
}

static bool is_socket_name(const char *name)
{
	return strlen(name) == SWITCH_SOCKET_BYTES - 1 &&
	       strspn(name, "0123456789abcdef") == SWITCH_SOCKET_BYTES - 1;
}

static int connect_all(const struct switch_folder *f, int (*meet)(void *ctx, int fd), void *ctx)
{
	const int fd = openat(f->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	int err = dir ? 0 : -errno;

	if (!dir && fd >= 0)
		close(fd);
	while (dir && !err && (entry = readdir(dir)))
		if (is_socket_name(entry->d_name) && strcmp(entry->d_name, f->socket) != 0)
			err = connect_to(f, entry->d_name, meet, ctx);
	if (dir)
		closedir(dir);
	return err;
}

static int listen_there(struct switch_folder *f, int *ret_listener)
{
	struct sockaddr_un addr;
	uint64_t number;
	int fd = new_socket();

	if (fd < 0)
		return fd;
	*ret_listener = fd;
	if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
		return -errno;
	snprintf(f->socket, sizeof(f->socket), "%016llx", (unsigned long long)number);
	addr = address_of(f, f->socket);
	if (!bind(fd, (const struct sockaddr *)&addr, sizeof(addr)))
		return listen(fd, MAX_WAIT) ? -errno : 0;
	f->socket[0] = '\0';
	close(fd);
	*ret_listener = -1;
	return -errno;
}

static int open_folder(struct switch_folder *f)
{
	struct stat st;

	if (mkdir(f->path, 0700) && errno != EEXIST)
		return -errno;
	f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (f->fd < 0 || fstat(f->fd, &st))
		return -errno;
	return st.st_uid == geteuid() && !(st.st_mode & 077) ? 0 : -EPERM;
}

/* Return: -ENOENT: who was the last one has just removed the folder: then there is another one */
static int join_once(struct switch_folder *f, int *ret_listener)
{
	int err = open_folder(f);

	if (!err)
		err = lock(f->fd);
	if (!err)
		err = listen_there(f, ret_listener);
	if (err == -ENOENT && f->fd >= 0) {
		close(f->fd);
		f->fd = -1;
	}
	return err;
}

int switch_folder_join(struct switch_folder *f, const char *parent, const char *name,
		       int *ret_listener, int (*meet)(void *ctx, int fd), void *ctx)
{
	int err = -ENOENT;

	*ret_listener = -1;
	if (snprintf(f->path, sizeof(f->path), "%s/%s.switch", parent, name) >=
	    (int)sizeof(f->path))
		return -ENAMETOOLONG;
	for (unsigned i = 0; err == -ENOENT && i < ROUNDS; i++)
		err = join_once(f, ret_listener);
	if (!err)
		err = connect_all(f, meet, ctx);
	if (f->fd >= 0)
		flock(f->fd, LOCK_UN);
	return err;
}

void switch_folder_leave(struct switch_folder *f)
{
	if (f->fd < 0)
		return;
	if (*f->socket && !lock(f->fd)) {
		unlinkat(f->fd, f->socket, 0);
		rmdir(f->path); /* only an empty one goes */
	}
	close(f->fd);
}
