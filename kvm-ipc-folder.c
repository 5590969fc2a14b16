/* The folder of the control sockets, and the sockets in it; see ipc.h. */
#include "kvm-ipc-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/log.h"

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

/* Nobody else may have put anything in there, or be able to. */
static int folder_check(const struct ipc_folder *folder, bool create)
{
	/* root may look after the guests of a user whose folder it names */
	bool foreign_ok = !create && geteuid() == 0 && env_path("LKVM_DIR");
	struct stat st;

	if (fstat(folder->fd, &st) < 0)
		return log_err(-errno, "control folder '%s'", folder->path);
	if (st.st_uid != geteuid() && !foreign_ok)
		return log_errx(-EPERM, "control folder '%s' belongs to user %u, not to user %u; "
				"name another one by LKVM_DIR", folder->path, st.st_uid, geteuid());
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

	folder->fd = -1;
	if (err)
		return err;
	folder->fd = folder_open_fd(folder->path);
	if (folder->fd == -ENOENT && create) {
		if (mkdir(folder->path, 0700) < 0 && errno != EEXIST)
			return log_err(-errno, "make control folder '%s'", folder->path);
		folder->fd = folder_open_fd(folder->path);
	}
	if (folder->fd == -ENOENT && !create)
		return -ENOENT;
	if (folder->fd == -ENOTDIR || folder->fd == -ELOOP)
		return log_errx(-EPERM, "control folder '%s' is a symbolic link or no folder",
				folder->path);
	if (folder->fd < 0)
		return log_err(folder->fd, "control folder '%s'", folder->path);
	err = folder_check(folder, create);
	if (err)
		ipc_folder_close(folder);
	return err;
}

void ipc_folder_lock(const struct ipc_folder *folder)
{
	while (flock(folder->fd, LOCK_EX) < 0 && errno == EINTR)
		;
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

int ipc_socket_connect(const struct sockaddr_un *addr, int flags)
{
	const struct timeval timeout = { .tv_sec = IPC_TIMEOUT_S };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);
	int err;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

int ipc_remove_dead(const struct ipc_folder *folder, const char *file,
		    const struct sockaddr_un *addr)
{
	int fd = ipc_socket_connect(addr, SOCK_NONBLOCK);
	struct stat st;

	if (fd >= 0)
		close(fd);
	if (fd >= 0 || fd == -EAGAIN) /* -EAGAIN: alive, with a full backlog */
		return -EEXIST;
	if (fd == -ENOENT)
		return 0;
	if (fd != -ECONNREFUSED)
		return fd;
	/* connect() says the same of a plain file, which is not ours to remove */
	if (fstatat(folder->fd, file, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	return unlinkat(folder->fd, file, 0) < 0 && errno != ENOENT ? -errno : 0;
}
