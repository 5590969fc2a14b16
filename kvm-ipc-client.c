/* Control socket: the commands' end; see ipc.h. */
#include "kvm-ipc-internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lkvm/kvm.h"
#include "lkvm/log.h"
#include "lkvm/types.h"

#define DIED "guest '%s' has died; its control socket was removed"

const char *ipc_state_name(uint32_t state)
{
	static const char *const names[] = {
		[KVM_CREATED] = "created",
		[KVM_RUNNING] = "running",
		[KVM_PAUSED] = "paused",
		[KVM_STOPPING] = "stopping",
	};

	return state < ARRAY_SIZE(names) ? names[state] : "unknown";
}

/* Return: fd; -ENOENT; -ECONNREFUSED if it was dead and was removed; -errno */
static int connect_file(const struct ipc_folder *folder, const char *file)
{
	struct sockaddr_un addr;
	int err = ipc_socket_address(folder, file, &addr);
	int fd;

	if (err)
		return err;
	fd = ipc_socket_connect(&addr, 0);
	if (fd == -ECONNREFUSED) {
		ipc_folder_lock(folder);
		err = ipc_remove_dead(folder, file, &addr);
		ipc_folder_unlock(folder);
		/* alive: it was between bind() and listen(), or a new guest has the name */
		fd = err == -EEXIST ? ipc_socket_connect(&addr, 0) : err ? err : -ECONNREFUSED;
	}
	return fd == -EAGAIN ? -ETIMEDOUT : fd;
}

static pid_t peer_pid(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 ? cred.pid : 0;
}

int ipc_connect(const char *name, pid_t *ret_pid)
{
	struct ipc_folder folder;
	char file[IPC_FILE_BYTES];
	int fd;

	if (!ipc_name_valid(name))
		return log_errx(-EINVAL, "invalid guest name '%s'", name);
	fd = ipc_folder_open(&folder, false);
	if (fd < 0 && fd != -ENOENT)
		return fd;
	if (!fd) {
		snprintf(file, sizeof(file), "%s" IPC_SUFFIX, name);
		fd = connect_file(&folder, file);
		ipc_folder_close(&folder);
	}
	if (fd == -ENOENT)
		return log_errx(fd, "no guest named '%s' is running", name);
	if (fd == -ECONNREFUSED)
		return log_errx(fd, DIED, name);
	if (fd < 0)
		return log_err(fd, "connect to guest '%s'", name);
	*ret_pid = peer_pid(fd);
	return fd;
}

static int call_send(int fd, enum ipc_op op, const void *body, size_t len)
{
	struct ipc_request head = {
		.magic = IPC_MAGIC,
		.version = IPC_VERSION,
		.op = (uint16_t)op,
		.body_bytes = (uint32_t)len,
	};
	struct iovec iov[] = { { &head, sizeof(head) }, { (void *)(uintptr_t)body, len } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	while (sendmsg(fd, &msg, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* A server that has refused us and closed is seen as an error once; its answer is still there. */
static ssize_t call_recv(int fd, struct msghdr *msg)
{
	bool reset = false;

	for (;;) {
		ssize_t n = recvmsg(fd, msg, 0);

		if (n >= 0)
			return n;
		if (errno != EINTR && (errno != ECONNRESET || reset))
			return -errno;
		reset |= errno == ECONNRESET;
	}
}

int ipc_call(int fd, enum ipc_op op, const void *body, size_t len, struct ipc_reply *ret)
{
	struct ipc_answer head;
	struct iovec iov[] = { { &head, sizeof(head) }, { ret ? ret->body : NULL, ret ? IPC_MAX_BODY : 0 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = ret ? 2 : 1 };
	int err = call_send(fd, op, body, len);
	ssize_t n;

	if (err == -EAGAIN)
		return -ETIMEDOUT;
	if (err && err != -EPIPE && err != -ECONNRESET)
		return err;
	n = call_recv(fd, &msg);
	if (n <= 0)
		return n == -EAGAIN ? -ETIMEDOUT : n ? (int)n : -ECONNRESET;
	if ((size_t)n < sizeof(head) || head.magic != IPC_MAGIC || (msg.msg_flags & MSG_TRUNC) ||
	    head.body_bytes != (size_t)n - sizeof(head) || head.status > 0)
		return -EPROTO;
	if (ret)
		ret->len = head.body_bytes;
	return head.status;
}

int ipc_show(int fd, const char *name, enum ipc_op op, const void *body, size_t len)
{
	struct ipc_reply reply;
	int err;

	reply.len = 0;
	err = ipc_call(fd, op, body, len, &reply);
	fwrite(reply.body, 1, reply.len, stdout);
	if (fflush(stdout))
		return log_err(-errno, "write to standard output");
	return err && !reply.len ? log_err(err, "guest '%s'", name) : err;
}

static int is_socket_name(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name), suffix = strlen(IPC_SUFFIX);
	char name[IPC_FILE_BYTES];

	if (len <= suffix || len >= sizeof(name) || strcmp(entry->d_name + len - suffix, IPC_SUFFIX))
		return 0;
	snprintf(name, sizeof(name), "%.*s", (int)(len - suffix), entry->d_name);
	return ipc_name_valid(name);
}

/* Return: 1 for a guest, 0 for none, or what @fn wants the walk to end with in @ret_end */
static int visit(const struct ipc_folder *folder, char *file,
		 int (*fn)(void *ctx, const char *name, int fd, pid_t pid), void *ctx, int *ret_end)
{
	int fd = connect_file(folder, file);

	file[strlen(file) - strlen(IPC_SUFFIX)] = '\0';
	if (fd == -ECONNREFUSED)
		log_warn(DIED, file);
	if (fd == -ENOENT || fd == -ECONNREFUSED || fd == -ENOTSOCK)
		return 0;
	*ret_end = fn(ctx, file, fd, fd >= 0 ? peer_pid(fd) : 0);
	if (fd >= 0)
		close(fd);
	return 1;
}

int ipc_for_each(int (*fn)(void *ctx, const char *name, int fd, pid_t pid), void *ctx)
{
	struct ipc_folder folder;
	struct dirent **entries;
	int err = ipc_folder_open(&folder, false);
	int n, end = 0, guests = 0;

	if (err)
		return err == -ENOENT ? 0 : err;
	n = scandir(folder.path, &entries, is_socket_name, alphasort);
	if (n < 0)
		err = log_err(-errno, "control folder '%s'", folder.path);
	for (int i = 0; i < n; i++) {
		if (!end)
			guests += visit(&folder, entries[i]->d_name, fn, ctx, &end);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	ipc_folder_close(&folder);
	return err ? err : end ? end : guests;
}
