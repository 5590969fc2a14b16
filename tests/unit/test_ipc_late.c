/* Links: ipc/folder.o ipc/server.o ipc/client.o util/loop.o util/log.o */

/* The control socket: descriptors that come with a request, and answers that come later. */
#include "lkvm/ipc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lkvm/types.h"
#include "own-folder.h"
#include "unit.h"

static struct loop loop;
static struct ipc_server *server;

/* ---- a handler: IPC_STAT answers late, IPC_STOP takes the first descriptor, all else is answered ---- */

static struct {
	unsigned handled, more, gone;
	struct ipc_client *waits[IPC_MAX_LATE + 2]; /* as many as may wait, and those of test_most that may not */
	unsigned n_waits;
	enum ipc_op op;
	int fd;
} seen;

static void more(void *ctx, enum ipc_op op, const void *body, size_t len)
{
	ck_assert_ptr_eq(ctx, &seen);
	ck_assert(len == 0 || body);
	seen.more++;
	seen.op = op;
}

static void gone(void *ctx)
{
	ck_assert_ptr_eq(ctx, &seen);
	seen.gone++;
}

static const struct ipc_late late = { more, gone };

static int handler(void *ctx, enum ipc_op op, const void *body, size_t len, struct ipc_reply *reply)
{
	(void)ctx, (void)body, (void)len;
	seen.handled++;
	if (op == IPC_STOP)
		seen.fd = ipc_take_fd(reply->to, 0);
	if (op != IPC_STAT)
		return 0;
	seen.waits[seen.n_waits++] = reply->to;
	return ipc_later(reply->to, &late, &seen);
}

static void pump(void)
{
	while (loop_once(&loop, 0) > 0)
		;
}

static void serve(void)
{
	memset(&seen, 0, sizeof(seen));
	enter_own_folder();
	setenv("LKVM_DIR", own_folder, 1);
	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(ipc_server_new(&loop, "a", handler, NULL, &server), 0);
}

static void end(void)
{
	ipc_server_free(server);
	loop_fini(&loop);
	leave_own_folder();
}

static int client(void)
{
	pid_t pid;
	int fd = ipc_connect("a", &pid);

	ck_assert_int_ge(fd, 0);
	pump();
	return fd;
}

static int ask(enum ipc_op op)
{
	int fd = client();

	ck_assert_int_eq(ipc_send(fd, op, NULL, 0, NULL, 0), 0);
	pump();
	return fd;
}

static bool silent(int fd)
{
	char c;

	return recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
}

static bool closed(int fd)
{
	char c;

	return recv(fd, &c, 1, MSG_DONTWAIT) == 0;
}

static int next_fd(void)
{
	int fd = dup(STDERR_FILENO);

	close(fd);
	return fd;
}

/* ---- tests ---- */

START_TEST(test_late)
{
	static struct ipc_reply reply;
	int fd;

	serve();
	fd = ask(IPC_STAT);
	ck_assert(silent(fd));
	ck_assert_int_eq(ipc_send(fd, IPC_PAUSE, "x", 1, NULL, 0), 0);
	pump();
	ck_assert_uint_eq(seen.handled, 1);
	ck_assert_uint_eq(seen.more, 1);
	ck_assert_uint_eq(seen.op, IPC_PAUSE);
	ck_assert(silent(fd));
	ipc_answer(seen.waits[0], -EFAULT, "text", 4);
	ck_assert_int_eq(ipc_receive(fd, &reply), -EFAULT);
	ck_assert_uint_eq(reply.len, 4);
	ck_assert_mem_eq(reply.body, "text", 4);
	ck_assert(closed(fd));
	ck_assert_uint_eq(seen.gone, 0);
	end();
	ck_assert_uint_eq(seen.gone, 0);
}
END_TEST

/* A client that leaves is told of, once; and so is one that talks nonsense, and the end of the server. */
START_TEST(test_gone)
{
	int fd, other;

	serve();
	fd = ask(IPC_STAT);
	close(fd);
	pump();
	ck_assert_uint_eq(seen.gone, 1);
	fd = ask(IPC_STAT);
	ck_assert_int_eq(send(fd, "x", 1, 0), 1);
	pump();
	ck_assert(closed(fd));
	ck_assert_uint_eq(seen.gone, 2);
	ck_assert_uint_eq(seen.more, 0);
	other = ask(IPC_STAT);
	ck_assert(silent(other));
	end();
	ck_assert_uint_eq(seen.gone, 3);
}
END_TEST

/* Those who wait are never dropped for others, and others are always served. */
START_TEST(test_most)
{
	int waits[IPC_MAX_LATE], fd;

	serve();
	for (unsigned i = 0; i < IPC_MAX_LATE; i++)
		waits[i] = ask(IPC_STAT);
	fd = ask(IPC_STAT);
	ck_assert_int_eq(ipc_receive(fd, NULL), -EAGAIN);
	for (unsigned i = 0; i < IPC_MAX_CLIENTS; i++)
		client();
	for (unsigned i = 0; i < IPC_MAX_LATE; i++)
		ck_assert(silent(waits[i]));
	fd = ask(IPC_INFO);
	ck_assert_int_eq(ipc_receive(fd, NULL), 0);
	ipc_answer(seen.waits[0], 0, NULL, 0);
	ck_assert_int_eq(ipc_receive(waits[0], NULL), 0);
	ask(IPC_STAT);
	ck_assert_uint_eq(seen.gone, 0);
	end();
	ck_assert_uint_eq(seen.gone, IPC_MAX_LATE);
}
END_TEST

/* What the handler leaves is closed, whatever the request was. */
START_TEST(test_descriptors)
{
	int pipes[2], fd, before;
	char c = 0;

	serve();
	ck_assert_int_eq(pipe(pipes), 0);
	fd = client();
	before = next_fd();
	ck_assert_int_eq(ipc_send(fd, IPC_STOP, NULL, 0, (const int[]){ pipes[1], 0, 0, 0 }, 4), 0);
	pump();
	ck_assert_int_eq(ipc_receive(fd, NULL), 0);
	ck_assert_int_ge(seen.fd, 0);
	ck_assert_int_eq(fcntl(seen.fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(write(seen.fd, "y", 1), 1);
	ck_assert_int_eq(read(pipes[0], &c, 1), 1);
	ck_assert_int_eq(c, 'y');
	close(seen.fd);
	ck_assert_int_eq(next_fd(), before);
	ck_assert_int_eq(ipc_send(fd, IPC_INFO, NULL, 0, pipes, 2), 0);
	pump();
	ck_assert_int_eq(ipc_receive(fd, NULL), 0);
	ck_assert_int_eq(next_fd(), before);
	ck_assert_int_eq(ipc_send(fd, IPC_STOP, NULL, 0, NULL, 0), 0);
	pump();
	ck_assert_int_eq(seen.fd, -1);
	end();
}
END_TEST

static void send_many(int fd, unsigned n)
{
	struct ipc_request head = { IPC_MAGIC, IPC_VERSION, IPC_STOP, 0 };
	struct iovec iov = { &head, sizeof(head) };
	union {
		struct cmsghdr head;
		uint8_t bytes[CMSG_SPACE(100 * sizeof(int))];
	} rights = { .head = { CMSG_LEN(n * sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &rights,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)),
	};

	memset(CMSG_DATA(&rights.head), 0, n * sizeof(int));
	ck_assert_int_eq(sendmsg(fd, &msg, 0), sizeof(head));
	pump();
}

/* More than there is room for, or than the process may open: none of them stays open. */
START_TEST(test_too_many_descriptors)
{
	struct rlimit limit;
	int fd, before;

	serve();
	fd = client();
	before = next_fd();
	send_many(fd, 100);
	ck_assert_int_eq(ipc_receive(fd, NULL), -EMFILE);
	ck_assert_uint_eq(seen.handled, 0);
	ck_assert(closed(fd));
	close(fd);
	fd = client();
	ck_assert_int_eq(next_fd(), before);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = (rlim_t)before + 2;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	send_many(fd, 4);
	ck_assert_int_eq(ipc_receive(fd, NULL), -EMFILE);
	ck_assert_uint_eq(seen.handled, 0);
	ck_assert_int_le(next_fd(), before);
	end();
}
END_TEST

UNIT_MAIN("ipc, late", test_late, test_gone, test_most, test_descriptors, test_too_many_descriptors)
