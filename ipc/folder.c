/* The folder of the control sockets, and the sockets in it; see ipc.h. */
#include "ipc-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/log.h"
#include "lkvm/types.h"

bool ipc_name_valid(const char *name)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t len = strlen(name);

	return len >= 1 && len <= IPC_NAME_MAX && strspn(name, allowed) == len &&
	       strcmp(name, ".") && strcmp(name, "..");
}

static const char *env_path(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

static int folder_path(struct ipc_folder *folder)
{
	const char *own = env_path("LKVM_DIR"), *xdg = env_path("XDG_RUNTIME_DIR");
	const size_t cap = sizeof(folder->path);
	size_t len;

	if (own)
		len = (size_t)snprintf(folder->path, cap, "%s", own);
	else if (xdg && *xdg == '/')
		len = (size_t)snprintf(folder->path, cap, "%s/lkvm", xdg);
	else
		len = (size_t)snprintf(folder->path, cap, "/tmp/lkvm-%u", geteuid());
	if (len >= cap)
		return log_errx(-ENAMETOOLONG, "control folder '%s...': the path is too long for a socket",
				folder->path);
	/* "link/" would get around O_NOFOLLOW */
	while (len > 1 && folder->path[len - 1] == '/')
		folder->path[--len] = '\0';
	return 0;
}

static int log_foreign(const struct ipc_folder *folder, uid_t owner, bool create)
{
	return log_errx(-EPERM, "control folder '%s' belongs to user %u, not to user %u: set %s to a folder "
			"of your own%s", folder->path, owner, geteuid(),
			env_path("LKVM_DIR") ? "LKVM_DIR" : "XDG_RUNTIME_DIR or LKVM_DIR",
			create ? ", or run with --no-socket" : "");
}

/* Nobody else may have put anything in there, or be able to. */
static int folder_check(struct ipc_folder *folder, bool create)
{
	/* root may look after the guests of a user whose folder it names */
	bool foreign_ok = !create && geteuid() == 0 && env_path("LKVM_DIR");
	struct stat st;

	if (fstat(folder->fd, &st) < 0)
		return log_err(-errno, "control folder '%s'", folder->path);
	folder->owner = st.st_uid;
	if (st.st_uid != geteuid() && !foreign_ok)
		return log_foreign(folder, st.st_uid, create);
	if ((st.st_mode & 0777) != 0700)
		return log_errx(-EPERM, "control folder '%s' has mode %04o, must have 0700",
				folder->path, st.st_mode & 0777);
	return 0;
}

static int folder_open_fd(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

void ipc_folder_close(struct ipc_folder *folder)
{
	if (folder->fd >= 0)
		close(folder->fd);
	folder->fd = -1;
}

int ipc_folder_open(struct ipc_folder *folder, bool create)
{
	int err = folder_path(folder);
	struct stat st;

	folder->fd = -1;
	if (err)
		return err;
	folder->fd = folder_open_fd(folder->path);
	if (folder->fd == -ENOENT && create) {
		if (mkdir(folder->path, 0700) < 0 && errno != EEXIST)
			return log_err(-errno, "make control folder '%s' (LKVM_DIR names another)",
				       folder->path);
		folder->fd = folder_open_fd(folder->path);
	}
	if (folder->fd == -ENOENT && !create)
		return -ENOENT;
	if (folder->fd == -ENOTDIR || folder->fd == -ELOOP)
		return log_errx(-EPERM, "control folder '%s' is a symbolic link or no folder",
				folder->path);
	if (folder->fd == -EACCES && !lstat(folder->path, &st) && st.st_uid != geteuid())
		return log_foreign(folder, st.st_uid, create);
	if (folder->fd < 0)
		return log_err(folder->fd, "control folder '%s'", folder->path);
	err = folder_check(folder, create);
	if (err)
		ipc_folder_close(folder);
	return err;
}

int ipc_folder_make(char *ret, size_t cap)
{
	struct ipc_folder folder;
	int err = ipc_folder_open(&folder, true);

	if (err)
		return err;
	snprintf(ret, cap, "%s", folder.path);
	ipc_folder_close(&folder);
	return 0;
}

bool ipc_folder_lock(const struct ipc_folder *folder)
{
	const int64_t until = now_ms() + IPC_LOCK_MS;

	while (flock(folder->fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EINTR && (errno != EWOULDBLOCK || now_ms() >= until))
			return false;
		/* There is no event for this; whoever has it keeps it for microseconds. */
		poll(NULL, 0, 1);
	}
	return true;
}

void ipc_folder_unlock(const struct ipc_folder *folder)
{
	flock(folder->fd, LOCK_UN);
}

int ipc_socket_address(const struct ipc_folder *folder, const char *file, struct sockaddr_un *ret)
{
	int n;

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/%s", folder->path, file);
	return (size_t)n < sizeof(ret->sun_path) ? 0 : -ENAMETOOLONG;
}

/*
 * What the name stands for, if that is a socket: a link to another's socket is not followed, and what
 * is looked at here is what will be connected to, whatever happens to the name.
 */
static int open_socket_file(const struct ipc_folder *folder, const char *file)
{
	int fd = openat(folder->fd, file, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int err;

	if (fd < 0)
		return -errno;
	err = fstat(fd, &st) < 0 ? -errno : S_ISSOCK(st.st_mode) ? 0 : -ENOTSOCK;
	if (!err)
		return fd;
	close(fd);
	return err;
}

/* In a folder of another user, which root may look into, root's own guests have no business. */
static int check_peer(const struct ipc_folder *folder, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	return cred.uid == folder->owner ? 0 : -EACCES;
}

static int connect_to(const struct ipc_folder *folder, const char *file, int file_fd, int fd)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int err;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d", file_fd);
	err = connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
	/* No /proc: the name will do where nobody else could have put it there. */
	if (err == -ENOENT && folder->owner == geteuid() && !ipc_socket_address(folder, file, &addr))
		err = connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
	return err ? err : check_peer(folder, fd);
}

int ipc_socket_connect(const struct ipc_folder *folder, const char *file, int flags)
{
	const struct timeval timeout = { .tv_sec = IPC_TIMEOUT_S };
	int file_fd = open_socket_file(folder, file);
	int fd, err;

	if (file_fd < 0)
		return file_fd;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);
	err = fd < 0 ? -errno : 0;
	if (!err) {
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
		err = connect_to(folder, file, file_fd, fd);
	}
	close(file_fd);
	if (!err)
		return fd;
	if (fd >= 0)
		close(fd);
	return err;
}

/* Return: 0: the name is free now; -EEXIST: it is alive; -ENOTSOCK; -errno */
static int remove_dead(const struct ipc_folder *folder, const char *file)
{
	int fd = ipc_socket_connect(folder, file, SOCK_NONBLOCK);

	if (fd >= 0)
		close(fd);
	if (fd >= 0 || fd == -EAGAIN) /* -EAGAIN: alive, with a full backlog */
		return -EEXIST;
	if (fd == -ENOENT)
		return 0;
	if (fd != -ECONNREFUSED)
		return fd;
	return unlinkat(folder->fd, file, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* What it had beside it goes with it. */
int ipc_remove_dead(const struct ipc_folder *folder, const char *file)
{
	static const char *const beside[] = { IPC_VSOCK_SUFFIX, IPC_VSOCK_SUFFIX ".seqpacket" };
	const size_t name = strlen(file) - strlen(IPC_SUFFIX);
	char other[IPC_FILE_BYTES + sizeof(IPC_VSOCK_SUFFIX ".seqpacket")];
	int err = remove_dead(folder, file);

	for (size_t i = 0; !err && i < ARRAY_SIZE(beside); i++) {
		snprintf(other, sizeof(other), "%.*s%s", (int)name, file, beside[i]);
		remove_dead(folder, other);
	}
	return err;
}

int ipc_path(const char *name, const char *suffix, char *ret, size_t cap)
{
	struct ipc_folder folder;
	int err = ipc_folder_open(&folder, true), n;

	if (err)
		return err;
	n = snprintf(ret, cap, "%s/%s%s", folder.path, name, suffix);
	ipc_folder_close(&folder);
	return n > 0 && (size_t)n < cap ? 0 :
		       log_errx(-ENAMETOOLONG, "'%s%s' in the control folder: the path is too long for a socket", name,
				suffix);
}
