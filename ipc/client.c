/* Control socket: the commands' end; see ipc.h. */
#include "ipc-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/log.h"
#include "lkvm/mask.h"
#include "lkvm/types.h"

const char *ipc_state_name(uint32_t state)
{
	static const char *const names[] = {
		[IPC_CREATED] = "created",
		[IPC_RUNNING] = "running",
		[IPC_PAUSED] = "paused",
		[IPC_STOPPING] = "stopping",
	};

	return state < ARRAY_SIZE(names) ? names[state] : "unknown";
}

int ipc_connect_file(const struct ipc_folder *folder, const char *file, int flags)
{
	int fd = ipc_socket_connect(folder, file, flags);
	int err;

	if (fd != -ECONNREFUSED)
		return fd;
	if (!ipc_folder_lock(folder))
		return -ETIMEDOUT;
	err = ipc_remove_dead(folder, file);
	ipc_folder_unlock(folder);
	/* alive: it was between bind() and listen(), or a new guest has the name */
	return err == -EEXIST ? ipc_socket_connect(folder, file, flags) : err ? err : -ECONNREFUSED;
}

pid_t ipc_peer_pid(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 ? cred.pid : 0;
}

/* "PID (NAME) STATE ...": the name may have anything in it. */
char ipc_process_state(pid_t pid)
{
	char path[32], text[512];
	const char *end;
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	text[n > 0 ? n : 0] = '\0';
	end = strrchr(text, ')');
	return end && end[1] == ' ' && end[2] ? end[2] : '?';
}

int ipc_failed(const char *name, pid_t pid, int err)
{
	char state = err == -ETIMEDOUT && pid > 0 ? ipc_process_state(pid) : '?';

	if (state == 'T')
		return log_errx(err, "guest '%s': process %d is stopped (kill -CONT %d)", name, pid, pid);
	if (state == 't')
		return log_errx(err, "guest '%s': process %d is stopped by its debugger", name, pid);
	switch (err) {
	case -ENOENT:
		return log_errx(err, "no guest named '%s' is running", name);
	case -ECONNREFUSED:
		return log_errx(err, IPC_DIED, name);
	case -EACCES:
		return log_errx(err, "guest '%s': the process behind its socket does not belong to the "
				"owner of the control folder", name);
	case -ETIMEDOUT:
		if (pid <= 0)
			return log_errx(err, "guest '%s' does not answer", name);
		return log_errx(err, "guest '%s': process %d does not answer", name, pid);
	case -EPROTONOSUPPORT:
		return log_errx(err, "guest '%s': process %d runs another version of lkvm", name, pid);
	case -ENOTSOCK:
		return log_errx(err, "guest '%s': what has the name of its control socket is none", name);
	default:
		return log_err(err, "guest '%s'", name);
	}
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
		fd = ipc_connect_file(&folder, file, 0);
		ipc_folder_close(&folder);
	}
	if (fd < 0)
		return ipc_failed(name, 0, fd == -EAGAIN ? -ETIMEDOUT : fd);
	*ret_pid = ipc_peer_pid(fd);
	return fd;
}

int ipc_send(int fd, enum ipc_op op, const void *body, size_t len, const int *fds, unsigned n_fds)
{
	struct ipc_request head = {
		.magic = IPC_MAGIC,
		.version = IPC_VERSION,
		.op = (uint16_t)op,
		.body_bytes = (uint32_t)len,
	};
	struct iovec iov[] = { { &head, sizeof(head) }, { (void *)(uintptr_t)body, len } };
	union {
		struct cmsghdr head;
		uint8_t bytes[CMSG_SPACE(IPC_MAX_FDS * sizeof(int))];
	} rights = { .head = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	if (n_fds) {
		rights.head.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(&rights.head), fds, n_fds * sizeof(int));
		msg.msg_control = &rights;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	}
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

int ipc_receive(int fd, struct ipc_reply *ret)
{
	struct ipc_answer head;
	struct iovec iov[] = { { &head, sizeof(head) }, { ret ? ret->body : NULL, ret ? IPC_MAX_BODY : 0 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = ret ? 2 : 1 };
	ssize_t n = call_recv(fd, &msg);

	if (n <= 0)
		return n == -EAGAIN ? -ETIMEDOUT : n ? (int)n : -ECONNRESET;
	if ((size_t)n < sizeof(head) || head.magic != IPC_MAGIC || (msg.msg_flags & MSG_TRUNC) ||
	    head.body_bytes != (size_t)n - sizeof(head) || head.status > 0)
		return -EPROTO;
	if (ret)
		ret->len = head.body_bytes;
	return head.status;
}

/* As long as the socket's own time limit says, but no longer for a process that is stopped. */
static bool wait_for_answer(int fd)
{
	struct pollfd answer = { .fd = fd, .events = POLLIN };
	struct timeval limit = { 0 };
	socklen_t len = sizeof(limit);
	int64_t until, left;
	int n;

	getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, &len);
	if (!limit.tv_sec && !limit.tv_usec)
		limit.tv_sec = IPC_TIMEOUT_S;
	until = now_ms() + limit.tv_sec * 1000 + limit.tv_usec / 1000;
	do {
		left = until - now_ms();
		left = left < 0 ? 0 : left < IPC_LOOK_MS ? left : IPC_LOOK_MS;
		n = poll(&answer, 1, (int)left);
	} while (n <= 0 && now_ms() < until && !ipc_is_stopped(ipc_peer_pid(fd)));
	return n > 0;
}

/* @err: of ipc_send() */
static int answer_to(int fd, int err, struct ipc_reply *ret)
{
	if (err == -EAGAIN)
		return -ETIMEDOUT;
	if (err && err != -EPIPE && err != -ECONNRESET)
		return err;
	return wait_for_answer(fd) ? ipc_receive(fd, ret) : -ETIMEDOUT;
}

int ipc_call(int fd, enum ipc_op op, const void *body, size_t len, struct ipc_reply *ret)
{
	return answer_to(fd, ipc_send(fd, op, body, len, NULL, 0), ret);
}

int ipc_call_with(int fd, enum ipc_op op, const void *body, size_t len, int passed, struct ipc_reply *ret)
{
	return answer_to(fd, ipc_send(fd, op, body, len, &passed, 1), ret);
}

int ipc_call_again(int fd, enum ipc_op op, const void *body, size_t len, struct ipc_reply *ret)
{
	int err;

	do {
		ret->len = 0;
		err = ipc_call(fd, op, body, len, ret);
	} while (err == -EAGAIN);
	return err;
}

bool ipc_print(const void *text, size_t len)
{
	char *masked = malloc(len + 1);

	if (!masked)
		return false;
	memcpy(masked, text, len);
	fwrite(masked, 1, mask_text(masked, len, "\n\t"), stdout);
	free(masked);
	return true;
}

int ipc_show(int fd, const char *name, enum ipc_op op, const void *body, size_t len)
{
	struct ipc_reply reply;
	int err;

	reply.len = 0;
	err = ipc_call(fd, op, body, len, &reply);
	if (err == -EINPROGRESS)
		return log_errx(err, "guest '%s': %.*s", name, (int)reply.len, (const char *)reply.body);
	if (!ipc_print(reply.body, reply.len))
		return log_err(-ENOMEM, "guest '%s'", name);
	if (fflush(stdout))
		return log_err(-errno, "write to standard output");
	return err && !reply.len ? ipc_failed(name, ipc_peer_pid(fd), err) : err;
}
