/* The listeners of a vsock, and who is connected to; see lkvm/vsock.h. */
#include "lkvm/vsock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/file.h"
#include "lkvm/log.h"

#define BACKLOG 128
#define LOCK_MS 5000

static const int types[VSOCK_KINDS] = { [VSOCK_STREAM] = SOCK_STREAM, [VSOCK_SEQPACKET] = SOCK_SEQPACKET };
static const char *const suffixes[VSOCK_KINDS] = { [VSOCK_STREAM] = "", [VSOCK_SEQPACKET] = VSOCK_SEQPACKET_SUFFIX };

const struct opt_key vsock_keys[] = {
	{ "path", "SOCKET", .kind = KEY_STRING, .offset = offsetof(struct vsock_config, path),
	  .help = "Where the host connects to the guest, and with _PORT behind it the guest to the host." },
	{ "packed", .kind = KEY_FLAG, .offset = offsetof(struct vsock_config, packed),
	  .help = "Offer packed virtqueues, for the development of drivers." },
	KEYS_END,
};

/* FNV-1a */
uint32_t vsock_cid_of(const char *name)
{
	uint32_t hash = 2166136261U;

	while (*name)
		hash = (hash ^ (uint8_t)*name++) * 16777619U;
	return VSOCK_FIRST_CID + hash % (0x80000000U - VSOCK_FIRST_CID);
}

static int address_of(const char *path, const char *suffix, struct sockaddr_un *ret)
{
	int n;

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s%s", path, suffix);
	return n > 0 && (size_t)n < sizeof(ret->sun_path) ? 0 : -ENAMETOOLONG;
}

int vsock_path_of(const char *path, uint32_t port, struct sockaddr_un *ret)
{
	char suffix[16];

	snprintf(suffix, sizeof(suffix), "_%u", port);
	return address_of(path, suffix, ret);
}

static int socket_of(enum vsock_kind kind)
{
	int fd = socket(AF_UNIX, types[kind] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

static int connect_to(const struct sockaddr_un *addr, enum vsock_kind kind)
{
	int fd = socket_of(kind), err;

	if (fd < 0 || !connect(fd, (const struct sockaddr *)addr, sizeof(*addr)))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* ---- names ---- */

/* Return: 0: the name is free now; -EADDRINUSE: somebody listens; -EEXIST: it is no socket; -errno */
static int remove_dead(const struct sockaddr_un *addr, enum vsock_kind kind)
{
	struct stat st;
	int fd;

	if (lstat(addr->sun_path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = connect_to(addr, kind);
	if (fd >= 0)
		close(fd);
	if (fd >= 0 || fd == -EAGAIN || fd == -EPROTOTYPE)
		return -EADDRINUSE;
	if (fd != -ECONNREFUSED)
		return fd == -ENOENT ? 0 : fd;
	return unlink(addr->sun_path) && errno != ENOENT ? -errno : 0;
}

static int bind_and_listen(int fd, const struct sockaddr_un *addr, enum vsock_kind kind)
{
	int err;

	fchmod(fd, 0600); /* of the name that it will have */
	err = remove_dead(addr, kind);
	if (err)
		return err;
	if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)))
		return -errno;
	if (!listen(fd, BACKLOG))
		return 0;
	err = -errno;
	unlink(addr->sun_path);
	return err;
}

/* Its fd[] says which names are ours. */
static int listen_on(struct vsock_host *host, enum vsock_kind kind)
{
	struct sockaddr_un addr;
	int fd = socket_of(kind), err;

	if (fd < 0)
		return fd;
	err = address_of(host->path[kind], "", &addr);
	if (!err)
		err = bind_and_listen(fd, &addr, kind);
	if (err)
		close(fd);
	else
		host->fd[kind] = fd;
	return err;
}

int vsock_listen(const char *path, uint32_t port)
{
	struct sockaddr_un addr;
	int err = vsock_path_of(path, port, &addr), fd = err ? err : socket_of(VSOCK_STREAM);

	if (fd < 0)
		return fd;
	err = bind_and_listen(fd, &addr, VSOCK_STREAM);
	if (err)
		close(fd);
	return err ? err : fd;
}

/* ---- the folder ---- */

/* Who asks for a name is elsewhere: it is absolute. */
static int name_all(struct vsock_host *host, const char *folder, const char *base)
{
	for (unsigned kind = 0; kind < VSOCK_KINDS; kind++) {
		int n = snprintf(host->path[kind], VSOCK_PATH_BYTES, "%s/%s%s", strcmp(folder, "/") ? folder : "", base,
				 suffixes[kind]);

		if ((size_t)n >= VSOCK_PATH_BYTES)
			return -ENAMETOOLONG;
	}
	return 0;
}

/* @ret_folder: of @path, heap */
static int resolve(const char *path, struct vsock_host *host, char **ret_folder)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	char *real = folder ? realpath(folder, NULL) : NULL;
	int err = real ? 0 : -errno;

	free(folder);
	if (!err)
		err = *base ? name_all(host, real, base) : -EISDIR;
	if (err)
		free(real);
	else
		*ret_folder = real;
	return err;
}

/* Who else looks whether a name is dead has to wait. Return: descriptor, or -errno */
static int lock_folder(const char *folder)
{
	const int64_t until = now_ms() + LOCK_MS;
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EINTR && (errno != EWOULDBLOCK || now_ms() >= until)) {
			close(fd);
			return -ETIMEDOUT;
		}
		/* There is no event for this; whoever has it keeps it for microseconds. */
		poll(NULL, 0, 1);
	}
	return fd;
}

int vsock_host_open(const char *path, struct vsock_host *ret)
{
	char *folder = NULL;
	int err = resolve(path, ret, &folder), lock;

	if (err == -ENAMETOOLONG)
		return log_errx(err, "vsock '%s': the path is longer than %zu bytes (--vsock path=SOCKET)", path,
				VSOCK_PATH_BYTES - sizeof(VSOCK_SEQPACKET_SUFFIX));
	if (err)
		return log_err(err, "vsock '%s'", path);
	lock = lock_folder(folder);
	free(folder);
	if (lock < 0)
		return log_err(lock, "lock the folder of vsock '%s'", path);
	for (unsigned kind = 0; !err && kind < VSOCK_KINDS; kind++)
		err = listen_on(ret, kind);
	close(lock);
	if (err == -EADDRINUSE)
		return log_errx(err, "vsock '%s': another process listens there", path);
	if (err)
		return log_err(err, "vsock '%s'", path);
	file_raise_limit(); /* a descriptor a connection */
	return 0;
}

void vsock_host_unlink_now(const struct vsock_host *host)
{
	for (unsigned kind = 0; kind < VSOCK_KINDS; kind++)
		if (host->fd[kind] >= 0)
			unlink(host->path[kind]);
}

void vsock_host_close(struct vsock_host *host)
{
	/* Before the listeners close: nobody may find them dead. */
	vsock_host_unlink_now(host);
	for (unsigned kind = 0; kind < VSOCK_KINDS; kind++) {
		if (host->fd[kind] >= 0)
			close(host->fd[kind]);
		host->fd[kind] = -1;
	}
}

/* ---- connections ---- */

int vsock_host_accept(const struct vsock_host *host, enum vsock_kind kind)
{
	int fd;

	do {
		fd = accept4(host->fd[kind], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	} while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	return fd < 0 ? -errno : fd;
}

int vsock_host_connect(const struct vsock_host *host, enum vsock_kind kind, uint32_t port)
{
	struct sockaddr_un addr;
	int err = vsock_path_of(host->path[VSOCK_STREAM], port, &addr);

	return err ? err : connect_to(&addr, kind);
}
