/* Links: vm/control-console.o console/console.o console/scan.o console/keys.o console/tty.o util/stream.o ipc/folder.o ipc/server.o ipc/client.o util/loop.o util/log.o */
/* `lkvm console` at the guest's end: what a client may send, on a real socket, and a real console. */
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lkvm/console/client.h"
#include "lkvm/kvm.h"
#include "lkvm/session.h"
#include "lkvm/vm/control.h"
#include "lkvm/vm/run.h"
#include "own-folder.h"
#include "console-rig.h"

static struct kvm kvm;
static unsigned stops;

void kvm_stop(void *of, enum stop_cause cause, uint32_t value)
{
	ck_assert_ptr_eq(of, &kvm);
	ck_assert_int_eq(cause, STOP_REQUEST);
	ck_assert_uint_eq(value, RUN_QUIT_KEY);
	stops++;
}

/* ---- both ends ---- */

static struct control ctl = { .kvm = &kvm };
static struct ipc_server *server;
static int before; /* the lowest free descriptor while no client is there */

static int handler(void *ctx, enum ipc_op op, const void *body, size_t len, struct ipc_reply *reply)
{
	ck_assert_ptr_eq(ctx, &ctl);
	ck_assert_int_eq(op, IPC_CONSOLE);
	ck_assert_uint_eq(len, sizeof(struct ipc_console));
	return control_console(&ctl, body, reply);
}

static int next_fd(void)
{
	int fd = dup(STDERR_FILENO);

	close(fd);
	return fd;
}

static void serve(void)
{
	enter_own_folder();
	setenv("LKVM_DIR", own_folder, 1);
	new_console(-1, -1);
	ctl.console = con;
	ck_assert_int_eq(ipc_server_new(&loop, "a", handler, &ctl, &server), 0);
	before = next_fd();
}

static void end(void)
{
	settle();
	ck_assert_int_eq(next_fd(), before);
	ck_assert_ptr_null(ctl.console_clients);
	ipc_server_free(server);
	free_console();
	leave_own_folder();
}

/* Return: the connection of one that has sent these, which are closed here */
static int ask(const struct ipc_console *req, const int *fds, unsigned n)
{
	pid_t pid;
	int fd = ipc_connect("a", &pid);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ipc_send(fd, IPC_CONSOLE, req, sizeof(*req), fds, n), 0);
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
	settle();
	return fd;
}

/* Looks through a pipe, and types through another; these are the client's ends. */
struct looker {
	int in, out, server;
};

static void look_with(struct looker *l, uint32_t flags, uint32_t lines)
{
	const struct ipc_console req = { .flags = flags, .lines = lines, .fds = 3 };
	int in[2], out[2];

	ck_assert_int_eq(pipe(in), 0);
	ck_assert_int_eq(pipe(out), 0);
	l->in = in[1];
	l->out = out[0];
	l->server = ask(&req, (const int[]){ in[0], out[1] }, 2);
}

static void look(struct looker *l)
{
	look_with(l, 0, CONSOLE_ALL_LINES);
}

static void leave(const struct looker *l)
{
	close(l->in);
	close(l->out);
	close(l->server);
	settle();
}

static void tell(const struct looker *l, enum ipc_op op, const void *body, size_t len)
{
	ck_assert_int_eq(ipc_send(l->server, op, body, len, NULL, 0), 0);
	settle();
}

/* Return: the answer's status; *@ret_pending: what it says of the rest */
static int answer(const struct looker *l, uint64_t *ret_pending)
{
	static struct ipc_reply reply;
	struct ipc_console_end how;
	int err = ipc_receive(l->server, &reply);

	ck_assert_uint_eq(reply.len, sizeof(how));
	memcpy(&how, reply.body, sizeof(how));
	*ret_pending = how.pending_bytes;
	return err;
}

/* ---- tests ---- */

START_TEST(test_look_and_type)
{
	struct looker a, b;

	serve();
	print_text("old\n\033[1mlast\n");
	look(&a);
	expect_read(a.out, "old\n\033[1mlast\n", 13);
	look_with(&b, IPC_CONSOLE_TEXT, 1);
	expect_read(b.out, "last\n", 5);
	send_all(a.in, "a", 1);
	expect_got("a");
	send_all(b.in, "b", 1);
	expect_got("ab");
	print_text("\033[6n");
	expect_read(a.out, "\033[6n", 4);
	expect_read(b.out, "\033[6n", 4);
	leave(&a);
	print_text("on");
	expect_read(b.out, "on", 2);
	leave(&b);
	end();
}
END_TEST

START_TEST(test_what_it_tells)
{
	const struct session_winsize window = { .rows = 50, .columns = 132 };
	struct looker l;

	serve();
	look(&l);
	tell(&l, IPC_BREAK, NULL, 0);
	send_all(l.in, "h", 1);
	expect_got("!h");
	tell(&l, IPC_WINSIZE, &window, sizeof(window));
	ck_assert_uint_eq(dev.cols, 132);
	ck_assert_uint_eq(dev.rows, 50);
	/* what is wrong or not for it */
	tell(&l, IPC_WINSIZE, &window, 3);
	tell(&l, IPC_BREAK, "x", 1);
	tell(&l, IPC_STOP, "x", 1);
	tell(&l, IPC_PAUSE, NULL, 0);
	tell(&l, IPC_EXEC_SIGNAL, "xxxx", 4);
	ck_assert_uint_eq(stops, 0);
	tell(&l, IPC_STOP, NULL, 0);
	ck_assert_uint_eq(stops, 1);
	expect_got("!h");
	leave(&l);
	ck_assert_uint_eq(dev.cols, 0);
	end();
}
END_TEST

/* It needs no input. */
START_TEST(test_only_output)
{
	const struct ipc_console req = { .fds = 2 };
	struct looker l;
	int out[2];

	serve();
	ck_assert_int_eq(pipe(out), 0);
	l.server = ask(&req, &out[1], 1);
	print_text("x");
	expect_read(out[0], "x", 1);
	close(l.server);
	close(out[0]);
	end();
}
END_TEST

START_TEST(test_the_end)
{
	struct looker a, b;
	uint64_t pending;
	char c;

	serve();
	look(&a);
	look(&b);
	print_text("last words");
	control_end_consoles(&ctl, -1);
	expect_read(a.out, "last words", 10);
	ck_assert_int_eq(read(a.out, &c, 1), 0); /* before the answer */
	ck_assert_int_eq(answer(&a, &pending), 0);
	ck_assert_uint_eq(pending, 0);
	ck_assert_int_eq(answer(&b, &pending), 0);
	leave(&a);
	leave(&b);
	control_end_consoles(&ctl, -1);
	end();
}
END_TEST

/* Nobody waits long for who reads nothing, and he is told how much he has missed. */
START_TEST(test_the_end_unread)
{
	static char much[100000];
	int signalled;
	struct looker a, b;
	uint64_t pending;
	double begin;

	serve();
	signalled = eventfd(1, 0);
	before = next_fd();
	look(&a);
	look(&b);
	put_all(much, sizeof(much));
	begin = now_s();
	control_end_consoles(&ctl, -1);
	ck_assert(now_s() - begin < 3);
	ck_assert_int_eq(answer(&a, &pending), 0);
	ck_assert_uint_eq(pending + readable(a.out), sizeof(much));
	leave(&a);
	leave(&b);
	look(&a);
	begin = now_s();
	control_end_consoles(&ctl, signalled);
	ck_assert(now_s() - begin < 0.9);
	leave(&a);
	end();
}
END_TEST

START_TEST(test_output_fails)
{
	const struct ipc_console req = { .fds = 2 };
	struct looker l;
	uint64_t pending;

	serve();
	l.server = ask(&req, (const int[]){ open("/dev/full", O_WRONLY) }, 1);
	print_text("x");
	settle();
	ck_assert_int_eq(answer(&l, &pending), -ENOSPC);
	close(l.server);
	look(&l);
	close(l.out);
	print_text("x");
	settle();
	ck_assert_int_eq(answer(&l, &pending), -EPIPE);
	close(l.server);
	close(l.in);
	/* at once */
	l.server = ask(&(struct ipc_console){ .fds = 2, .lines = 1 }, (const int[]){ open("/dev/full", O_WRONLY) }, 1);
	ck_assert_int_eq(answer(&l, &pending), -ENOSPC);
	close(l.server);
	end();
}
END_TEST

static int refused(uint32_t flags, uint32_t bits, const int *fds, unsigned n)
{
	const struct ipc_console req = { .flags = flags, .lines = CONSOLE_ALL_LINES, .fds = bits };
	int fd = ask(&req, fds, n), err = ipc_receive(fd, NULL);

	close(fd);
	settle();
	ck_assert_ptr_null(ctl.console_clients);
	ck_assert_int_eq(next_fd(), before);
	return err;
}

static int refused_pair(int in, int out)
{
	return refused(0, 3, (const int[]){ in, out }, 2);
}

static int null(int flags)
{
	return open("/dev/null", flags);
}

/* Descriptors: none, too few, too many */
START_TEST(test_hostile_count)
{
	serve();
	ck_assert_int_eq(refused(0, 3, NULL, 0), -EPROTO);
	ck_assert_int_eq(refused(0, 3, (const int[]){ null(O_RDWR) }, 1), -EPROTO);
	ck_assert_int_eq(refused(0, 3, (const int[]){ null(O_RDWR), null(O_RDWR), null(O_RDWR) }, 3), -EPROTO);
	ck_assert_int_eq(refused(0, 2, (const int[]){ null(O_RDWR), null(O_RDWR), null(O_RDWR), null(O_RDWR) }, 4), -EPROTO);
	ck_assert_int_eq(refused(0, 0, NULL, 0), -EINVAL);
	ck_assert_int_eq(refused(0, 1, (const int[]){ null(O_RDWR) }, 1), -EINVAL);
	ck_assert_int_eq(refused(0, 7, (const int[]){ null(O_RDWR), null(O_RDWR), null(O_RDWR) }, 3), -EINVAL);
	ck_assert_int_eq(refused(0, 1u << 31 | 2, (const int[]){ null(O_RDWR), null(O_RDWR) }, 2), -EINVAL);
	ck_assert_int_eq(refused(2, 3, (const int[]){ null(O_RDWR), null(O_RDWR) }, 2), -EINVAL);
	end();
}
END_TEST

/* Of a wrong kind: cannot be read, or written, or a terminal, or no stream at all */
START_TEST(test_hostile_kind)
{
	int master, slave;

	serve();
	ck_assert_int_eq(refused_pair(null(O_WRONLY), null(O_RDWR)), -EINVAL);
	ck_assert_int_eq(refused_pair(null(O_RDWR), null(O_RDONLY)), -EINVAL);
	ck_assert_int_eq(refused_pair(null(O_PATH), null(O_RDWR)), -EINVAL);
	ck_assert_int_eq(refused_pair(null(O_RDWR), null(O_PATH)), -EINVAL);
	ck_assert_int_eq(refused_pair(open(own_folder, O_RDONLY | O_DIRECTORY), null(O_RDWR)), -EINVAL);
	ck_assert_int_eq(refused_pair(eventfd(0, 0), null(O_RDWR)), -EINVAL);
	ck_assert_int_eq(refused_pair(null(O_RDWR), eventfd(0, 0)), -EINVAL);
	ck_assert_int_eq(refused_pair(open("/dev/random", O_RDONLY), null(O_RDWR)), -EINVAL);
	ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
	before = next_fd();
	ck_assert_int_eq(refused_pair(dup(slave), null(O_RDWR)), -EINVAL);
	ck_assert_int_eq(refused_pair(null(O_RDWR), dup(slave)), -EINVAL);
	ck_assert_int_eq(refused_pair(null(O_RDWR), dup(master)), -EINVAL);
	end();
}
END_TEST

/* A socket that nobody is at the other end of, and both directions in one: that is the client's own fault */
START_TEST(test_hostile_sockets)
{
	const struct ipc_console req = { .fds = 3 };
	struct looker l;
	uint64_t pending;
	int pipes[2], fd;

	serve();
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	l.server = ask(&req, (const int[]){ dup(fd), fd }, 2);
	print_text("x");
	settle();
	ck_assert_int_lt(answer(&l, &pending), 0);
	close(l.server);
	ck_assert_int_eq(pipe(pipes), 0);
	l.server = ask(&req, pipes, 2);
	print_text("x");
	expect_got("x"); /* what it prints is typed */
	close(l.server);
	end();
}
END_TEST

/* One too many does not disturb the others. */
START_TEST(test_most)
{
	struct looker l[CONSOLE_MAX_CLIENTS], more;

	serve();
	for (unsigned i = 0; i < CONSOLE_MAX_CLIENTS; i++)
		look(&l[i]);
	look(&more);
	ck_assert_int_eq(ipc_receive(more.server, NULL), -EAGAIN);
	leave(&more);
	print_text("x");
	for (unsigned i = 0; i < CONSOLE_MAX_CLIENTS; i++) {
		expect_read(l[i].out, "x", 1);
		leave(&l[i]);
	}
	end();
}
END_TEST

/* Those that run commands have the places for a late answer. */

static void nobody_left(void *ctx)
{
	(void)ctx;
}

static void nothing_more(void *ctx, enum ipc_op op, const void *body, size_t len)
{
	(void)ctx, (void)op, (void)body, (void)len;
}

static int wait_handler(void *ctx, enum ipc_op op, const void *body, size_t len, struct ipc_reply *reply)
{
	static const struct ipc_late late = { nothing_more, nobody_left };

	return op == IPC_CONSOLE ? handler(ctx, op, body, len, reply) : ipc_later(reply->to, &late, NULL);
}

START_TEST(test_no_place)
{
	struct looker more;
	int fd[IPC_MAX_LATE];
	pid_t pid;

	serve();
	ipc_server_free(server);
	ck_assert_int_eq(ipc_server_new(&loop, "a", wait_handler, &ctl, &server), 0);
	for (unsigned i = 0; i < IPC_MAX_LATE; i++) {
		fd[i] = ipc_connect("a", &pid);
		ck_assert_int_eq(ipc_send(fd[i], IPC_EXEC, NULL, 0, NULL, 0), 0);
		settle();
	}
	look(&more);
	ck_assert_int_eq(ipc_receive(more.server, NULL), -EAGAIN);
	leave(&more);
	for (unsigned i = 0; i < IPC_MAX_LATE; i++)
		close(fd[i]);
	end();
}
END_TEST

START_TEST(test_no_console)
{
	serve();
	ctl.console = NULL;
	ck_assert_int_eq(refused_pair(null(O_RDWR), null(O_RDWR)), -ENODEV);
	end();
}
END_TEST

UNIT_MAIN("control, console", test_look_and_type, test_what_it_tells, test_only_output, test_the_end, test_the_end_unread,
	  test_output_fails, test_hostile_count, test_hostile_kind, test_hostile_sockets, test_most, test_no_place,
	  test_no_console)
