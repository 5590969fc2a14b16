/* Links: vm/session.o vm/session-command.o vm/session-leave.o vm/session-state.o vm/session-tell.o vm/session-words.o util/stream.o util/loop.o util/timer.o util/log.o hw/state.o hw/state-show.o util/json.o */
/* Wraps: epoll_ctl getrandom */

/* The host's end of a session; the test is the guest's init at the other end of the port. */
#include "lkvm/vm/session.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/console.h"
#include "lkvm/types.h"
#include "lkvm/vm/session-words.h"
#include "state.h"
#include "unit.h"

#define SENT_MOST (20u << 20)

/* ---- descriptors without events ---- */

static bool no_events;

int __real_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);

/* As for some devices */
int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	errno = EPERM;
	return no_events && op == EPOLL_CTL_ADD ? -1 : __real_epoll_ctl(epfd, op, fd, event);
}

/* ---- a host without random numbers ---- */

static bool no_random;

ssize_t __real_getrandom(void *buf, size_t len, unsigned flags);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags)
{
	errno = ENOSYS;
	return no_random ? -1 : __real_getrandom(buf, len, flags);
}

/* ---- the guest's end ---- */

static struct loop loop;
static struct session *s;
static struct virtio_port port;
static uint8_t *sent; /* what came through the port, and is not taken yet */
static size_t n_sent, port_room;
static size_t refill_at;
static unsigned room_again, refills; /* frames that the guest has ready whenever there is room */

static size_t port_input(void *dev, const uint8_t *buf, size_t len)
{
	size_t n = len < port_room ? len : port_room;

	(void)dev;
	ck_assert_uint_le(n, SENT_MOST - n_sent);
	memcpy(sent + n_sent, buf, n);
	n_sent += n;
	port_room -= n;
	return n;
}

static void port_writable(void *dev)
{
	const struct session_frame head = { .type = SESSION_KMSG };

	(void)dev;
	room_again++;
	while (refills) {
		refill_at += port.ops->put(port.end, (const uint8_t *)&head + refill_at, sizeof(head) - refill_at);
		if (refill_at < sizeof(head))
			return;
		refill_at = 0;
		refills--;
	}
}

static void turns(unsigned n)
{
	while (n--)
		while (loop_once(&loop, 0) > 0)
			;
}

static void feed(const void *bytes, size_t len)
{
	for (size_t at = 0; at < len;) {
		at += port.ops->put(port.end, (const uint8_t *)bytes + at, len - at);
		turns(1);
	}
}

static void frame(enum session_type type, unsigned stream, uint32_t command, const void *bytes, uint32_t len)
{
	const struct session_frame head = {
		.type = (uint8_t)type, .stream = (uint8_t)stream, .command = command, .len = len,
	};

	feed(&head, sizeof(head));
	feed(bytes, len);
	turns(1);
}

/* The next frame that lkvm sent. Return: its bytes, until the next call */
static const uint8_t *next(struct session_frame *ret)
{
	static uint8_t bytes[SESSION_MOST];

	ck_assert_uint_ge(n_sent, sizeof(*ret));
	memcpy(ret, sent, sizeof(*ret));
	ck_assert_uint_le(ret->len, SESSION_MOST);
	ck_assert_uint_ge(n_sent, sizeof(*ret) + ret->len);
	memcpy(bytes, sent + sizeof(*ret), ret->len);
	n_sent -= sizeof(*ret) + ret->len;
	memmove(sent, sent + sizeof(*ret) + ret->len, n_sent);
	return bytes;
}

static void expect(enum session_type type, unsigned stream, const void *bytes, uint32_t len)
{
	struct session_frame head;
	const uint8_t *got = next(&head);

	ck_assert_uint_eq(head.type, type);
	ck_assert_uint_eq(head.stream, stream);
	ck_assert_uint_eq(head.len, len);
	if (len)
		ck_assert_mem_eq(got, bytes, len);
}

/* ---- lkvm's end ---- */

static unsigned hellos, losses, ends, unknown;
static bool give_up; /* when it is lost */
static const char *why_lost;
static struct session_exit how;

static void hello(void *ctx, const struct session_hello *hello)
{
	ck_assert_ptr_eq(ctx, &loop);
	ck_assert_str_eq(hello->release, "6.1.0-test");
	hellos++;
}

static unsigned questions;

static void asked(void *ctx)
{
	ck_assert_ptr_eq(ctx, &loop);
	questions++;
}

static void lost(void *ctx, const char *why)
{
	(void)ctx;
	losses++;
	why_lost = why;
	if (give_up)
		session_give_up(s);
}

static char kernel_log[100];

static void kmsg(void *ctx, const char *record, size_t len)
{
	(void)ctx;
	snprintf(kernel_log, sizeof(kernel_log), "%.*s", (int)len, record);
}

static int output_err;

static void ended(void *ctx, const struct session_exit *exit, int err)
{
	output_err = err;
	ck_assert_ptr_eq(ctx, &ends);
	ends++;
	unknown += !exit;
	if (exit)
		how = *exit;
}

static void say_hello(void)
{
	const struct session_hello hi = { .version = SESSION_VERSION, .release = "6.1.0-test", .up_ns = 1 };

	frame(SESSION_HELLO, 0, 0, &hi, sizeof(hi));
}

static void setup(void)
{
	const struct session_setup cfg = {
		.loop = &loop, .ctx = &loop, .asked = asked, .hello = hello, .kmsg = kmsg, .lost = lost,
	};
	const struct console_device device = { .input = port_input, .writable = port_writable, .dev = &loop };

	questions = hellos = losses = ends = unknown = 0;
	n_sent = 0;
	signal(SIGPIPE, SIG_IGN);
	sent = malloc(SENT_MOST);
	port_room = SIZE_MAX;
	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(session_new(&cfg, &s), 0);
	port = session_port(s);
	ck_assert_str_eq(port.ops->name, SESSION_PORT);
	port.ops->attach(port.end, &device);
}

static void teardown(void)
{
	port.ops->attach(port.end, NULL);
	session_free(s);
	loop_fini(&loop);
	free(sent);
}

static int in[2], out[2], err[2]; /* pipes */

static char *const argv[] = { "sh", "-c", "exit 7", "", NULL };
static char *const envp[] = { "A=1", NULL };
static const struct session_command base = {
	.argv = argv, .envp = envp, .cwd = "/work", .ctx = &ends, .ended = ended, .fd = { -1, -1, -1 },
};

static void (*listener)(void *ctx, const void *bytes, size_t len);

static struct session_command new_ends(void)
{
	struct session_command cmd = base;

	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(err, O_CLOEXEC), 0);
	cmd.fd[0] = in[0];
	cmd.fd[1] = out[1];
	cmd.fd[2] = err[1];
	return cmd;
}

static void run(void)
{
	struct session_command cmd = new_ends();

	cmd.printed = listener;
	ck_assert_int_eq(session_run(s, &cmd, NULL), 0);
}

static void start(void)
{
	struct session_frame head;

	setup();
	say_hello();
	ck_assert_uint_eq(hellos, 1);
	run();
	next(&head);
	ck_assert_uint_eq(head.type, SESSION_EXEC);
}

static void finish(uint32_t code)
{
	const struct session_exit exit = { .code = code };

	frame(SESSION_EXIT, 0, 1, &exit, sizeof(exit));
}

static void read_all(int fd, const char *want)
{
	char got[200];
	ssize_t n = read(fd, got, sizeof(got));

	ck_assert_int_eq(n, (ssize_t)strlen(want));
	ck_assert_mem_eq(got, want, (size_t)n);
}

/* ---- tests ---- */

START_TEST(test_exec)
{
	static const char records[] = "cwd=/work\0arg=sh\0arg=-c\0arg=exit 7\0arg=\0env=A=1";
	struct session_exec exec;
	struct session_frame head;
	const uint8_t *got;

	setup();
	ck_assert_int_eq(session_run(s, &base, NULL), -ENOTCONN); /* no init yet */
	say_hello();
	run();
	got = next(&head);
	ck_assert_uint_eq(head.type, SESSION_EXEC);
	ck_assert_uint_eq(head.flags, 0);
	ck_assert_uint_eq(head.command, 1);
	ck_assert_uint_eq(head.len, sizeof(exec) + sizeof(records));
	memcpy(&exec, got, sizeof(exec));
	ck_assert_uint_eq(exec.flags, 0);
	ck_assert_mem_eq(got + sizeof(exec), records, sizeof(records));
	finish(7);
	ck_assert_uint_eq(ends, 1);
	ck_assert_uint_eq(how.code, 7);
	teardown();
}
END_TEST

/* Longer than a frame: in parts, the last of which says so */
START_TEST(test_exec_in_parts)
{
	static char *words[10002];
	struct session_command cmd = base;
	struct session_frame head;
	size_t len = 0;
	char *word = malloc(1001);

	memset(word, 'x', 1000);
	word[1000] = '\0';
	for (unsigned i = 0; i < 10000; i++)
		words[i] = word;
	cmd.argv = words;
	setup();
	say_hello();
	ck_assert_int_eq(session_run(s, &cmd, NULL), 0);
	do {
		next(&head);
		ck_assert_uint_eq(head.type, SESSION_EXEC);
		ck_assert(!(head.flags & SESSION_MORE) || head.len == SESSION_MOST);
		len += head.len;
	} while (head.flags & SESSION_MORE);
	ck_assert_uint_eq(len, sizeof(struct session_exec) + 10 + 10000 * 1005 + 8);
	ck_assert_uint_eq(n_sent, 0);
	for (unsigned i = 0; i < 10001; i++)
		words[i] = word;
	words[10001] = NULL;
	word = realloc(word, 2001);
	memset(word, 'x', 2000);
	word[2000] = '\0';
	for (unsigned i = 0; i < 10001; i++)
		words[i] = word;
	ck_assert_int_eq(session_run(s, &cmd, NULL), -E2BIG);
	free(word);
	teardown();
}
END_TEST

START_TEST(test_streams)
{
	start();
	ck_assert_int_eq(write(in[1], "typed", 5), 5);
	turns(2);
	expect(SESSION_DATA, 0, "typed", 5);
	ck_assert_uint_eq(session_active_ns(s), 0); /* what else comes is no output */
	frame(SESSION_DATA, 1, 1, "said", 4);
	ck_assert_uint_ne(session_active_ns(s), 0);
	frame(SESSION_DATA, 2, 1, "cried", 5);
	read_all(out[0], "said");
	read_all(err[0], "cried");
	close(in[1]);
	turns(2);
	expect(SESSION_EOF, 0, NULL, 0);
	frame(SESSION_EOF, 1, 1, NULL, 0);
	frame(SESSION_EOF, 2, 1, NULL, 0);
	ck_assert_uint_eq(ends, 0);
	finish(0);
	ck_assert_uint_eq(ends, 1);
	session_bye(s);
	expect(SESSION_BYE, 0, NULL, 0);
	ck_assert_uint_eq(losses, 0);
	teardown();
}
END_TEST

/* No more is read than the guest has given credit for, and no more is taken than it was given. */
START_TEST(test_credit)
{
	static char bytes[SESSION_WINDOW];
	uint32_t more = 100, total = 0;
	struct session_frame head;

	start();
	ck_assert_int_ge(fcntl(in[1], F_SETPIPE_SZ, 2 * SESSION_WINDOW), 0);
	ck_assert_int_eq(write(in[1], bytes, sizeof(bytes)), sizeof(bytes));
	ck_assert_int_eq(write(in[1], bytes, 1000), 1000);
	turns(20);
	while (n_sent) {
		next(&head);
		ck_assert_uint_eq(head.type, SESSION_DATA);
		total += head.len;
	}
	ck_assert_uint_eq(total, SESSION_WINDOW);
	frame(SESSION_CREDIT, 0, 1, &more, sizeof(more));
	turns(2);
	expect(SESSION_DATA, 0, bytes, 100);
	ck_assert_uint_eq(n_sent, 0);
	ck_assert_uint_eq(losses, 0);
	more = SESSION_WINDOW + 1;
	frame(SESSION_CREDIT, 0, 1, &more, sizeof(more));
	ck_assert_uint_eq(losses, 1);
	ck_assert_str_eq(why_lost, "more credit than it may give");
	teardown();
}
END_TEST

/* The reader of standard output stands still: the guest gets no more credit, nothing is lost. */
START_TEST(test_slow_reader)
{
	static char piece[SESSION_MOST], got[4096];
	size_t total = 0;
	ssize_t n;

	start();
	ck_assert_int_ge(fcntl(out[0], F_SETPIPE_SZ, 4096), 0);
	ck_assert_int_ge(fcntl(out[0], F_SETFL, O_NONBLOCK), 0);
	memset(piece, 'p', sizeof(piece));
	for (unsigned i = 0; i < SESSION_WINDOW / SESSION_MOST; i++)
		frame(SESSION_DATA, 1, 1, piece, sizeof(piece));
	ck_assert_uint_eq(losses, 0);
	ck_assert_uint_eq(n_sent, 0); /* no credit */
	frame(SESSION_DATA, 2, 1, "cried", 5);
	read_all(err[0], "cried");
	finish(3);
	ck_assert_uint_eq(ends, 0); /* not all is written */
	while ((n = read(out[0], got, sizeof(got))) > 0) {
		total += (size_t)n;
		turns(1);
	}
	ck_assert_uint_eq(total, SESSION_WINDOW);
	ck_assert_uint_eq(ends, 1);
	ck_assert_uint_eq(how.code, 3);
	teardown();
}
END_TEST

START_TEST(test_credit_given)
{
	static char piece[SESSION_MOST], got[SESSION_MOST];
	uint32_t credit = SESSION_WINDOW / 4;

	start();
	ck_assert_int_ge(fcntl(out[0], F_SETPIPE_SZ, 2 * SESSION_MOST), 0);
	for (unsigned i = 0; i < 3 * SESSION_WINDOW / SESSION_MOST; i++) {
		frame(SESSION_DATA, 1, 1, piece, sizeof(piece));
		ck_assert_int_eq(read(out[0], got, sizeof(got)), sizeof(got));
		turns(1);
		expect(SESSION_CREDIT, 1, &credit, sizeof(credit));
	}
	ck_assert_uint_eq(losses, 0);
	teardown();
}
END_TEST

START_TEST(test_too_much_output)
{
	static char piece[SESSION_MOST];

	start();
	ck_assert_int_ge(fcntl(out[0], F_SETPIPE_SZ, 4096), 0);
	for (unsigned i = 0; i < SESSION_WINDOW / SESSION_MOST; i++)
		frame(SESSION_DATA, 1, 1, piece, i ? sizeof(piece) : sizeof(piece) - 1);
	ck_assert_uint_eq(losses, 0);
	/* The pipe has taken some of it, but less than what is worth a credit. */
	ck_assert_uint_eq(n_sent, 0);
	frame(SESSION_DATA, 1, 1, piece, 2);
	ck_assert_str_eq(why_lost, "more output than it may send");
	teardown();
}
END_TEST

/* Whoever reads the output has left: the command is told, and what it prints goes nowhere. */
START_TEST(test_reader_leaves)
{
	start();
	close(out[0]);
	frame(SESSION_DATA, 1, 1, "lost", 4);
	expect(SESSION_EOF, 1, NULL, 0);
	frame(SESSION_DATA, 1, 1, "lost", 4);
	finish(0);
	ck_assert_uint_eq(ends, 1);
	ck_assert_int_eq(output_err, 0);
	teardown();
}
END_TEST

START_TEST(test_full_disk)
{
	struct session_command cmd = base;
	struct session_frame head;

	setup();
	say_hello();
	cmd.fd[1] = open("/dev/full", O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(session_run(s, &cmd, NULL), 0);
	next(&head);
	frame(SESSION_DATA, 1, 1, "x", 1);
	expect(SESSION_EOF, 1, NULL, 0);
	finish(0);
	ck_assert_int_eq(output_err, -ENOSPC);
	ck_assert_uint_eq(ends, 1);
	teardown();
}
END_TEST

/* Closed descriptors: the guest is told at once, and its output is no failure. */
START_TEST(test_closed)
{
	struct session_exec exec;
	struct session_frame head;
	const uint8_t *got;

	setup();
	say_hello();
	ck_assert_int_eq(session_run(s, &base, NULL), 0);
	got = next(&head);
	memcpy(&exec, got, sizeof(exec));
	ck_assert_uint_eq(exec.flags, SESSION_NO_STDIN);
	frame(SESSION_DATA, 2, 1, "x", 1);
	expect(SESSION_EOF, 2, NULL, 0);
	finish(0);
	ck_assert_int_eq(output_err, 0);
	teardown();
}
END_TEST

/* A file is read to its end, as far as the guest takes it. */
START_TEST(test_file)
{
	struct session_command cmd = base;
	char path[] = "/tmp/lkvm-session-XXXXXX";
	struct session_frame head;
	uint32_t total = 0;

	setup();
	say_hello();
	cmd.fd[0] = mkstemp(path);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(ftruncate(cmd.fd[0], SESSION_WINDOW - 1), 0);
	port_room = 100000; /* the port takes no more for now */
	ck_assert_int_eq(session_run(s, &cmd, NULL), 0);
	turns(3);
	ck_assert_uint_eq(port_room, 0);
	for (unsigned i = 0; i < 10; i++) {
		port_room = 100000;
		port.ops->input_wanted(port.end);
		turns(3);
	}
	next(&head);
	for (next(&head); head.type == SESSION_DATA; next(&head))
		total += head.len;
	ck_assert_uint_eq(head.type, SESSION_EOF);
	ck_assert_uint_eq(total, SESSION_WINDOW - 1);
	close(cmd.fd[0]);
	teardown();
}
END_TEST

/* Neither a file nor one that could be opened again, and it has nothing: nobody waits for it. */
START_TEST(test_event_as_input)
{
	struct session_command cmd = base;
	struct session_frame head;
	uint64_t one = 1;

	setup();
	say_hello();
	cmd.fd[0] = eventfd(0, EFD_CLOEXEC);
	ck_assert_int_eq(session_run(s, &cmd, NULL), 0);
	next(&head);
	turns(2);
	ck_assert_uint_eq(n_sent, 0);
	ck_assert_int_eq(write(cmd.fd[0], &one, sizeof(one)), sizeof(one));
	turns(2);
	expect(SESSION_DATA, 0, &one, sizeof(one));
	ck_assert_uint_eq(n_sent, 0);
	finish(0);
	ck_assert_uint_eq(ends, 1);
	close(cmd.fd[0]);
	teardown();
}
END_TEST

/* What has nothing now, takes nothing now, and has no event for that, is tried again. */
START_TEST(test_no_events)
{
	static char much[SESSION_MOST], got[SESSION_MOST];
	size_t total = 0;
	ssize_t n;

	setup();
	say_hello();
	no_events = true;
	run();
	n_sent = 0;
	ck_assert_int_eq(write(in[1], "typed", 5), 5);
	ck_assert_int_eq(loop_once(&loop, 10000), 1);
	expect(SESSION_DATA, 0, "typed", 5);
	close(in[1]);
	ck_assert_int_eq(loop_once(&loop, 10000), 1);
	expect(SESSION_EOF, 0, NULL, 0);
	ck_assert_int_ge(fcntl(out[0], F_SETPIPE_SZ, 4096), 0);
	frame(SESSION_DATA, 1, 1, much, sizeof(much));
	finish(0);
	while (!ends) {
		n = read(out[0], got, sizeof(got));
		ck_assert_int_gt(n, 0);
		total += (size_t)n;
		ck_assert_int_eq(loop_once(&loop, 10000), 1);
	}
	n = read(out[0], got, sizeof(got));
	ck_assert_uint_eq(total + (size_t)n, sizeof(much));
	ck_assert_int_eq(loop_once(&loop, 100), 0); /* and then no longer */
	no_events = false;
	teardown();
}
END_TEST

/* More frames than the ring holds: the port is told when there is room again. */
START_TEST(test_ring)
{
	static const char record[] = "6,1,2,-;hello\n";
	struct session_frame head = { .type = SESSION_KMSG, .len = sizeof(record) - 1 };
	unsigned refused = 0;

	setup();
	for (unsigned i = 0; i < 20000; i++) {
		uint8_t whole[sizeof(head) + sizeof(record)];
		size_t n;

		memcpy(whole, &head, sizeof(head));
		memcpy(whole + sizeof(head), record, head.len);
		n = port.ops->put(port.end, whole, sizeof(head) + head.len);
		if (n == sizeof(head) + head.len)
			continue;
		refused++;
		turns(10);
		ck_assert_uint_eq(room_again, refused);
		feed(whole + n, sizeof(head) + head.len - n);
	}
	turns(10);
	ck_assert_uint_ge(refused, 1);
	ck_assert_str_eq(kernel_log, "6,1,2,-;hello\n");
	ck_assert_uint_eq(losses, 0);
	teardown();
}
END_TEST

static const struct {
	struct session_frame head;
	const char *why;
} nonsense[] = {
	{ { .type = SESSION_DATA, .stream = 1, .command = 2 }, "a frame of no command" },
	{ { .type = SESSION_DATA, .stream = 3, .command = 1 }, "a stream that there is not" },
	{ { .type = SESSION_DATA, .stream = 0, .command = 1 }, "data for a stream that it reads" },
	{ { .type = SESSION_EXIT, .command = 1 }, "an exit that cannot be" },
	{ { .type = SESSION_EXIT, .command = 1, .len = 4 }, "an exit that cannot be" },
	{ { .type = SESSION_CREDIT, .command = 1, .len = 3 }, "credit that cannot be" },
	{ { .type = SESSION_CREDIT, .command = 1, .stream = 1, .len = 4 }, "credit that cannot be" },
	{ { .type = SESSION_HELLO, .len = sizeof(struct session_hello) }, "a hello that cannot be" },
	{ { .type = SESSION_ASK }, "a question that cannot be" },
	{ { .type = SESSION_EXEC, .command = 1 }, "a frame of no known type" },
	{ { .type = 77, .command = 1 }, "a frame of no known type" },
	{ { .type = SESSION_KMSG, .len = SESSION_MOST + 1 }, "a frame that is too long" },
	{ { .type = SESSION_KMSG, .len = UINT32_MAX }, "a frame that is too long" },
};

/* Whatever it is, the session is over, and nothing more of it is heard. */
static void try_nonsense(const struct session_frame *head, const char *why)
{
	static const uint8_t zeros[1000];

	start();
	feed(head, sizeof(*head));
	feed(zeros, head->len < sizeof(zeros) ? head->len : 0);
	turns(2);
	ck_assert_uint_eq(losses, 1);
	ck_assert_str_eq(why_lost, why);
	n_sent = 0;
	frame(SESSION_KMSG, 0, 0, "x", 1);
	ck_assert_str_eq(kernel_log, "");
	ck_assert_int_eq(session_run(s, &base, NULL), -EPIPE);
	ck_assert_uint_eq(n_sent, 0);
	ck_assert_uint_eq(losses, 1);
	teardown();
}

START_TEST(test_nonsense)
{
	for (size_t i = 0; i < ARRAY_SIZE(nonsense); i++)
		try_nonsense(&nonsense[i].head, nonsense[i].why);
}
END_TEST

START_TEST(test_plan)
{
	static const char records[] = "hostname=x\0tmpfs=/run";

	setup();
	ck_assert_int_eq(session_plan(s, records, sizeof(records)), -ENOTCONN);
	frame(SESSION_ASK, 0, 0, NULL, 0);
	ck_assert_uint_eq(questions, 1);
	ck_assert_int_eq(session_plan(s, records, SESSION_PLAN_MOST + 1), -E2BIG);
	ck_assert_int_eq(session_run(s, &base, NULL), -ENOTCONN);
	ck_assert_int_eq(session_plan(s, records, sizeof(records)), 0);
	expect(SESSION_PLAN, 0, records, sizeof(records));
	say_hello();
	ck_assert_uint_eq(hellos, 1);
	ck_assert_int_eq(session_plan(s, records, sizeof(records)), -ENOTCONN);
	frame(SESSION_ASK, 0, 0, NULL, 0);
	ck_assert_str_eq(why_lost, "a question that cannot be");
	ck_assert_int_eq(session_plan(s, records, sizeof(records)), -EPIPE);
	teardown();
}
END_TEST

/* Longer than there is room for at once: it goes on when the guest takes it. */
START_TEST(test_plan_long)
{
	const size_t len = 700000;
	char *records = malloc(len);
	struct session_frame head;
	size_t at = 0;

	for (size_t i = 0; i < len; i++)
		records[i] = (char)(i % 251);
	setup();
	frame(SESSION_ASK, 0, 0, NULL, 0);
	port_room = 0;
	ck_assert_int_eq(session_plan(s, records, len), 0);
	ck_assert_uint_eq(n_sent, 0);
	do {
		const uint8_t *got;

		port_room = SIZE_MAX;
		if (!n_sent) {
			port.ops->input_wanted(port.end);
			turns(1);
		}
		got = next(&head);
		ck_assert_uint_eq(head.type, SESSION_PLAN);
		ck_assert_uint_le(head.len, len - at);
		ck_assert_mem_eq(got, records + at, head.len);
		at += head.len;
	} while (head.flags & SESSION_MORE);
	ck_assert_uint_eq(at, len);
	teardown();
	free(records);
}
END_TEST

START_TEST(test_wake)
{
	struct session_wake wake[2];
	struct session_frame head;

	setup();
	frame(SESSION_ASK, 0, 0, NULL, 0);
	for (int i = 0; i < 2; i++) {
		session_wake(s);
		memcpy(&wake[i], next(&head), sizeof(wake[i]));
		ck_assert_uint_eq(head.type, SESSION_WAKE);
		ck_assert_uint_eq(head.len, sizeof(wake[i]));
		ck_assert_uint_le(wake[i].realtime_ns, realtime_ns());
		ck_assert_uint_gt(wake[i].realtime_ns + 10 * NS_PER_S, realtime_ns());
	}
	ck_assert_mem_ne(wake[0].seed, wake[1].seed, sizeof(wake[0].seed));
	teardown();
}
END_TEST

/* Zeros, of which the guest would take each for a random bit */
START_TEST(test_wake_no_seed)
{
	struct session_frame head;

	setup();
	frame(SESSION_ASK, 0, 0, NULL, 0);
	no_random = true;
	session_wake(s);
	no_random = false;
	next(&head);
	ck_assert_uint_eq(head.type, SESSION_WAKE);
	ck_assert_uint_eq(head.len, SESSION_WAKE_NO_SEED);
	teardown();
}
END_TEST

START_TEST(test_other_version)
{
	const struct session_hello hi = { .version = SESSION_VERSION + 1 };

	setup();
	frame(SESSION_HELLO, 0, 0, &hi, sizeof(hi));
	ck_assert_uint_eq(hellos, 0);
	ck_assert_str_eq(why_lost, "a hello of another version");
	teardown();
}
END_TEST

/* The port is closed: what came before that is heard. */
START_TEST(test_closed_port)
{
	const struct session_exit exit = { .code = 9 };
	const struct session_frame head = { .type = SESSION_EXIT, .command = 1, .len = sizeof(exit) };

	start();
	ck_assert_uint_eq(port.ops->put(port.end, &head, sizeof(head)), sizeof(head));
	ck_assert_uint_eq(port.ops->put(port.end, &exit, sizeof(exit)), sizeof(exit));
	port.ops->opened(port.end, false);
	turns(2);
	ck_assert_uint_eq(ends, 1);
	ck_assert_uint_eq(losses, 1);
	ck_assert_ptr_null(why_lost);
	teardown();
}
END_TEST

/* Who waits for a command's end hears that there is none, once its output is written; the others at once. */
START_TEST(test_give_up)
{
	static char piece[SESSION_MOST], got[SESSION_MOST];
	char why[SESSION_WHY_BYTES];

	start();
	ck_assert_int_eq(session_run(s, &base, NULL), 0);
	ck_assert_int_eq(session_run(s, &base, NULL), 0);
	session_leave(s, 3);
	ck_assert_int_ge(fcntl(out[0], F_SETPIPE_SZ, 4096), 0);
	frame(SESSION_DATA, 1, 1, piece, 6000);
	frame(SESSION_EXIT, 0, 1, &(struct session_exit){ .code = 9 }, sizeof(struct session_exit));
	port.ops->opened(port.end, false);
	turns(2);
	ck_assert_uint_eq(losses, 1);
	ck_assert_uint_eq(ends, 0);
	session_why(s, why);
	ck_assert_str_eq(why, "it has closed its session");
	session_give_up(s);
	ck_assert_uint_eq(ends, 1);
	ck_assert_uint_eq(unknown, 1);
	ck_assert_int_eq(read(out[0], got, sizeof(got)), 4096);
	turns(2);
	ck_assert_uint_eq(ends, 2);
	ck_assert_uint_eq(unknown, 1); /* this one had told */
	ck_assert_uint_eq(how.code, 9);
	session_give_up(s);
	ck_assert_uint_eq(ends, 2);
	teardown();
}
END_TEST

/* Whoever is told gives up at once, while a frame of that command has just been looked at. */
START_TEST(test_give_up_at_once)
{
	const uint32_t more = SESSION_WINDOW + 1;
	char why[SESSION_WHY_BYTES];

	give_up = true;
	start();
	ck_assert_int_eq(write(in[1], "typed", 5), 5);
	frame(SESSION_CREDIT, 0, 1, &more, sizeof(more));
	ck_assert_uint_eq(losses, 1);
	ck_assert_uint_eq(unknown, 1);
	session_why(s, why);
	ck_assert_str_eq(why, "its init has sent more credit than it may give");
	ck_assert_int_eq(session_run(s, &base, NULL), -EPIPE);
	teardown();
}
END_TEST

/* It closed the port and sends all the same, as fast as it is taken: the main thread comes back. */
START_TEST(test_closed_port_sends_on)
{
	start();
	refills = 10000000; /* far more than one turn takes */
	port_writable(NULL);
	port.ops->opened(port.end, false);
	ck_assert_int_ge(loop_once(&loop, 0), 1);
	ck_assert_uint_ge(refills, 5000000); /* it came back */
	refills = 1; /* the last one */
	turns(1);
	ck_assert_uint_eq(losses, 1);
	teardown();
}
END_TEST

/* The guest has ended: what it sent before goes to its reader, if he takes it. */
START_TEST(test_drain)
{
	static char piece[SESSION_MOST], got[2 * SESSION_MOST];
	struct session_frame head = { .type = SESSION_DATA, .stream = 1, .command = 1, .len = SESSION_MOST };

	start();
	ck_assert_int_ge(fcntl(out[0], F_SETPIPE_SZ, 4096), 0);
	ck_assert_uint_eq(port.ops->put(port.end, &head, sizeof(head)), sizeof(head));
	ck_assert_uint_eq(port.ops->put(port.end, piece, sizeof(piece)), sizeof(piece));
	head.len = 4;
	head.stream = 2;
	ck_assert_uint_eq(port.ops->put(port.end, &head, sizeof(head)), sizeof(head));
	ck_assert_uint_eq(port.ops->put(port.end, "last", 4), 4);
	session_drain(s, -1, 10); /* nobody reads standard output */
	read_all(err[0], "last");
	ck_assert_int_eq(read(out[0], got, sizeof(got)), 4096);
	session_drain(s, -1, 10);
	ck_assert_int_eq(read(out[0], got, sizeof(got)), 4096);
	ck_assert_uint_eq(ends, 0);
	teardown();
}
END_TEST

START_TEST(test_many)
{
	struct session_frame head;

	setup();
	say_hello();
	for (unsigned i = 0; i < SESSION_COMMANDS; i++)
		ck_assert_int_eq(session_run(s, &base, NULL), 0);
	ck_assert_int_eq(session_run(s, &base, NULL), -EAGAIN);
	finish(0);
	ck_assert_int_eq(session_run(s, &base, NULL), 0);
	for (unsigned i = 0; i < SESSION_COMMANDS; i++)
		next(&head);
	next(&head);
	ck_assert_uint_eq(head.command, SESSION_COMMANDS + 1); /* numbers are not used again */
	teardown();
}
END_TEST

/* ---- a guest that reads nothing ---- */

static size_t heap(void)
{
	const struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static void guest_reads(void)
{
	port_room = SIZE_MAX;
	port.ops->input_wanted(port.end);
	turns(3);
}

/* Signals, sizes, credit, ends of streams: what is not taken is not kept, and what has become of it is told. */
START_TEST(test_never_reads)
{
	static char piece[SESSION_MOST];
	const unsigned n = 100000, pieces = SESSION_WINDOW / SESSION_MOST;
	struct session_command cmd = base;
	struct session_winsize window = { 1, 1 }, last = { 0, 0 };
	unsigned signals = 0, sizes = 0;
	uint32_t credit = 0, part;
	size_t before;

	setup();
	say_hello();
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	ck_assert_int_ge(fcntl(out[0], F_SETPIPE_SZ, SESSION_WINDOW), 0);
	cmd.fd[1] = out[1];
	cmd.terminal = true;
	ck_assert_int_eq(session_run(s, &cmd, NULL), 0);
	n_sent = port_room = 0;
	before = heap();
	for (unsigned i = 0; i < n; i++) {
		session_signal(s, 1, 1 + i % 64);
		window.columns = (uint16_t)i;
		session_resize(s, 1, &window);
	}
	for (unsigned i = 0; i < pieces; i++)
		frame(SESSION_DATA, 1, 1, piece, sizeof(piece));
	ck_assert_uint_eq(losses, 0);
	session_leave(s, 1);
	ck_assert_uint_lt(heap(), before + SESSION_WINDOW + (64 << 10));
	guest_reads();
	ck_assert_uint_gt(n_sent, 100000);
	ck_assert_uint_lt(n_sent, 300000);
	while (n_sent) {
		struct session_frame head;
		const uint8_t *got = next(&head);

		signals += head.type == SESSION_SIGNAL;
		sizes += head.type == SESSION_WINSIZE;
		if (head.type == SESSION_WINSIZE)
			memcpy(&last, got, sizeof(last));
		memcpy(&part, got, sizeof(part));
		credit += head.type == SESSION_CREDIT ? part : 0;
	}
	ck_assert_uint_gt(signals, 64);
	ck_assert_uint_lt(signals + sizes, 20000);
	ck_assert_mem_eq(&last, &window, sizeof(window));
	ck_assert_uint_eq(credit, SESSION_WINDOW);
	teardown();
}
END_TEST

/* Output takes memory as long as it waits for its reader, and no longer. */
START_TEST(test_ring_goes)
{
	static char piece[SESSION_MOST], got[SESSION_MOST];
	size_t before;

	start();
	ck_assert_int_ge(fcntl(out[0], F_SETPIPE_SZ, 4096), 0);
	ck_assert_int_ge(fcntl(out[0], F_SETFL, O_NONBLOCK), 0);
	before = heap();
	frame(SESSION_DATA, 1, 1, piece, sizeof(piece));
	frame(SESSION_DATA, 2, 1, piece, 100);
	ck_assert(ADDRESS_SANITIZER || heap() >= before + SESSION_WINDOW); /* has a heap of its own */
	while (read(out[0], got, sizeof(got)) > 0)
		turns(1);
	ck_assert_uint_lt(heap(), before + 4096);
	ck_assert_uint_eq(losses, 0);
	teardown();
}
END_TEST

/* Return: its number, or -errno */
static int run_long(size_t len)
{
	char *word = malloc(len + 1), *words[] = { word, NULL };
	struct session_command cmd = base;
	uint32_t id = 0;
	int failed;

	memset(word, 'x', len);
	word[len] = '\0';
	cmd.argv = words;
	failed = session_run(s, &cmd, &id);
	free(word);
	return failed ? failed : (int)id;
}

/* The longest one, and others of some length in all; one that leaves before it has begun was never there. */
START_TEST(test_long_commands)
{
	const size_t longest = 15 << 20, some = 1 << 20;
	struct session_frame head = { .flags = 0 };
	int id[4], left;
	unsigned begun = 0, signals = 0;
	size_t before;

	setup();
	say_hello();
	port_room = 0;
	before = heap();
	id[0] = run_long(some);
	left = run_long(longest);
	ck_assert_int_eq(run_long(longest), -EBUSY);
	id[1] = run_long(some - 1000);
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(run_long(some), -EBUSY);
	id[2] = run_long(100);
	ck_assert_uint_lt(heap(), before + longest + 2 * some + (64 << 10));
	session_leave(s, (uint32_t)left);
	ck_assert_uint_lt(heap(), before + 2 * some + (64 << 10));
	id[3] = run_long(some);
	for (unsigned i = 0; i < 4; i++)
		session_signal(s, (uint32_t)id[i], SIGTERM);
	session_leave(s, (uint32_t)id[0]); /* its beginning is on its way */
	guest_reads();
	while (n_sent) { /* in their order, each in one piece, and what is said of it behind it */
		const bool more = head.flags & SESSION_MORE;

		next(&head);
		if (head.type == SESSION_EXEC) {
			begun += !more;
			ck_assert_int_eq((int)head.command, id[begun - 1]);
		} else {
			ck_assert_int_le((int)head.command, id[begun - 1]);
			signals += head.type == SESSION_SIGNAL;
			head.flags = more ? SESSION_MORE : 0;
		}
	}
	ck_assert_uint_eq(begun, 4);
	ck_assert_uint_eq(signals, 5);
	teardown();
}
END_TEST

/* Two whose input does not end: the guest takes little at a time, and both get on. */
START_TEST(test_turns)
{
	struct session_command cmd = base;
	struct session_frame head;
	uint32_t total[3] = { 0 };

	setup();
	say_hello();
	cmd.fd[0] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	port_room = 0;
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(session_run(s, &cmd, NULL), 0);
	for (unsigned i = 0; i < 6; i++) {
		port_room = 50000;
		port.ops->input_wanted(port.end);
		turns(2);
	}
	while (n_sent > sizeof(head) + SESSION_MOST) {
		next(&head);
		ck_assert(head.type == SESSION_EXEC || head.type == SESSION_DATA);
		total[head.command] += head.len;
	}
	ck_assert_uint_gt(total[1], 60000);
	ck_assert_uint_gt(total[2], 60000);
	close(cmd.fd[0]);
	teardown();
}
END_TEST

/* ---- a terminal ---- */

struct console {
	struct console_device device;
	char out[100];
	size_t n_out, room, read_room; /* that there is when its ring was drained */
	unsigned wanted;
};

static struct console tty = { .room = SIZE_MAX };

void console_attach(struct console *con, const struct console_device *device)
{
	con->device = device ? *device : (struct console_device){ 0 };
	if (device)
		device->resize(device->dev, 80, 25);
}

size_t console_put(struct console *con, const void *buf, size_t len)
{
	size_t n = len < con->room ? len : con->room;

	memcpy(con->out + con->n_out, buf, n);
	con->n_out += n;
	con->room -= n;
	return n;
}

void console_drain(struct console *con, int interrupt_fd, int patience_ms)
{
	(void)interrupt_fd, (void)patience_ms;
	con->room = con->read_room;
}

void console_input_wanted(struct console *con)
{
	con->wanted++;
}

START_TEST(test_tty)
{
	const struct session_winsize first = { 25, 80 }, second = { 50, 132 };
	struct session_command cmd = base;
	struct session_exec exec;
	struct session_frame head;
	const uint8_t *got;

	setup();
	say_hello();
	cmd.tty = &tty;
	ck_assert_int_eq(session_run(s, &cmd, NULL), 0);
	got = next(&head);
	memcpy(&exec, got, sizeof(exec));
	ck_assert_uint_eq(exec.flags, SESSION_TTY);
	expect(SESSION_WINSIZE, 0, &first, sizeof(first));
	tty.device.resize(tty.device.dev, 132, 50);
	expect(SESSION_WINSIZE, 0, &second, sizeof(second));
	ck_assert_uint_eq(tty.device.input(tty.device.dev, (const uint8_t *)"ls\r", 3), 3);
	expect(SESSION_DATA, 0, "ls\r", 3);
	tty.room = 2;
	frame(SESSION_DATA, 1, 1, "abc", 3);
	finish(0);
	ck_assert_uint_eq(ends, 0);
	tty.room = 100;
	tty.device.writable(tty.device.dev);
	ck_assert_mem_eq(tty.out, "abc", 3);
	ck_assert_uint_eq(ends, 1);
	ck_assert_ptr_null(tty.device.dev);
	teardown();
}
END_TEST

/* The guest has ended: what the console had no room for goes there as it is read. */
START_TEST(test_tty_drain)
{
	struct session_command cmd = base;
	struct session_frame head;

	setup();
	say_hello();
	cmd.tty = &tty;
	ck_assert_int_eq(session_run(s, &cmd, NULL), 0);
	next(&head);
	tty.room = 2;
	frame(SESSION_DATA, 1, 1, "abcdef", 6);
	finish(0);
	session_drain(s, -1, -1); /* nobody reads */
	ck_assert_uint_eq(ends, 0);
	tty.read_room = 3;
	session_drain(s, -1, -1);
	ck_assert_mem_eq(tty.out, "abcdef", 6);
	ck_assert_uint_eq(ends, 1);
	teardown();
}
END_TEST

/* The guest takes no more: what is typed waits in the console. */
START_TEST(test_tty_credit)
{
	static uint8_t keys[SESSION_WINDOW];
	struct session_command cmd = base;
	uint32_t more = 5;
	unsigned wanted;

	setup();
	say_hello();
	cmd.tty = &tty;
	ck_assert_int_eq(session_run(s, &cmd, NULL), 0);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_uint_eq(tty.device.input(tty.device.dev, keys, SESSION_WINDOW / 8), SESSION_WINDOW / 8);
	ck_assert_uint_eq(tty.device.input(tty.device.dev, keys, 10), 0);
	wanted = tty.wanted;
	frame(SESSION_CREDIT, 0, 1, &more, sizeof(more));
	ck_assert_uint_gt(tty.wanted, wanted);
	ck_assert_uint_eq(tty.device.input(tty.device.dev, keys, 10), 5);
	teardown();
}
END_TEST

/* ---- from elsewhere ---- */

/* A terminal whose bytes come and go by descriptors. */
START_TEST(test_terminal)
{
	const struct session_winsize second = { 50, 132 };
	struct session_command cmd = base;
	struct session_exec exec;
	struct session_frame head;
	uint32_t id, hup = SIGHUP;

	setup();
	say_hello();
	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	cmd.terminal = true;
	cmd.window = (struct session_winsize){ 25, 80 };
	cmd.fd[0] = in[0];
	cmd.fd[1] = out[1];
	ck_assert_int_eq(session_run(s, &cmd, &id), 0);
	memcpy(&exec, next(&head), sizeof(exec));
	ck_assert_uint_eq(exec.flags, SESSION_TTY);
	ck_assert_mem_eq(&exec.window, &cmd.window, sizeof(cmd.window));
	session_resize(s, id, &second);
	expect(SESSION_WINSIZE, 0, &second, sizeof(second));
	session_signal(s, id, SIGHUP);
	expect(SESSION_SIGNAL, 0, &hup, sizeof(hup));
	frame(SESSION_DATA, 1, id, "abc", 3);
	read_all(out[0], "abc");
	session_resize(s, id + 1, &second); /* there is none */
	session_signal(s, id + 1, SIGHUP);
	session_leave(s, id + 1);
	ck_assert_uint_eq(n_sent, 0);
	session_leave(s, id);
	expect(SESSION_SIGNAL, 0, &hup, sizeof(hup));
	expect(SESSION_EOF, 0, NULL, 0);
	expect(SESSION_EOF, 1, NULL, 0);
	ck_assert_uint_eq(n_sent, 0);
	teardown();
}
END_TEST

/* What was not written yet is dropped, what comes is too, and nobody hears of the end. */
START_TEST(test_leave)
{
	static uint8_t much[SESSION_MOST];
	const struct session_winsize window = { 1, 1 };
	uint32_t hup = SIGHUP, id = 1;

	start();
	session_resize(s, id, &window); /* it has no terminal */
	ck_assert_uint_eq(n_sent, 0);
	for (unsigned i = 0; i < 3; i++)
		frame(SESSION_DATA, 1, id, much, sizeof(much));
	n_sent = 0;
	session_leave(s, id);
	close(out[0]), close(out[1]), close(err[1]), close(in[0]);
	expect(SESSION_SIGNAL, 0, &hup, sizeof(hup));
	expect(SESSION_EOF, 0, NULL, 0);
	expect(SESSION_EOF, 1, NULL, 0);
	expect(SESSION_EOF, 2, NULL, 0);
	frame(SESSION_DATA, 1, id, much, 100);
	frame(SESSION_EOF, 1, id, NULL, 0);
	ck_assert_uint_eq(losses, 0);
	finish(3);
	ck_assert_uint_eq(ends, 0);
	frame(SESSION_EOF, 2, id, NULL, 0);
	ck_assert_str_eq(why_lost, "a frame of no command");
	teardown();
}
END_TEST

/* ---- words ---- */

static int parse(const char *text, size_t len, struct session_words *ret)
{
	static char *copy; /* of this length, so that a look beyond it is seen */

	free(copy);
	copy = malloc(len);
	memcpy(copy, text, len);
	return session_words_parse(copy, len, ret);
}

START_TEST(test_words)
{
	static const char text[] = "user=joe\0arg=a\0env=X=1\0arg=\0cwd=/";
	struct session_words w, again;
	size_t len;
	void *joined;

	ck_assert_int_eq(parse(text, sizeof(text), &w), 0);
	ck_assert_str_eq(w.user, "joe");
	ck_assert_str_eq(w.cwd, "/");
	ck_assert_str_eq(w.argv[0], "a");
	ck_assert_str_eq(w.argv[1], "");
	ck_assert_ptr_null(w.argv[2]);
	ck_assert_str_eq(w.envp[0], "X=1");
	ck_assert_ptr_null(w.envp[1]);
	ck_assert_int_eq(session_words_join(&w, "head", 4, &joined, &len), 0);
	ck_assert_uint_eq(len, 4 + sizeof(text));
	ck_assert_mem_eq(joined, "head", 4);
	ck_assert_int_eq(session_words_parse((char *)joined + 4, len - 4, &again), 0);
	ck_assert_str_eq(again.argv[0], "a");
	session_words_free(&again);
	session_words_free(&w);
	free(joined);
}
END_TEST

START_TEST(test_bad_words)
{
	static const struct {
		const char *text;
		size_t len;
	} bad[] = {
		{ "arg=a", 0 }, { "arg=a", 5 }, { "cwd=/", 6 }, { "arg=a\0", 7 }, { "arg=a\0root=/", 13 }, { "arg", 4 },
		{ "argx=a", 7 },
	};
	struct session_words w;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(parse(bad[i].text, bad[i].len, &w), -EINVAL);
}
END_TEST

static char printed_text[16];

static void printed(void *ctx, const void *bytes, size_t len)
{
	ck_assert_ptr_eq(ctx, base.ctx);
	strncat(printed_text, bytes, len);
}

/* Who listens hears standard output alone, and what goes out is the same. */
START_TEST(test_printed)
{
	listener = printed;
	start();
	frame(SESSION_DATA, 1, 1, "said", 4);
	frame(SESSION_DATA, 2, 1, "cried", 5);
	frame(SESSION_DATA, 1, 1, "more", 4);
	read_all(out[0], "saidmore");
	read_all(err[0], "cried");
	ck_assert_str_eq(printed_text, "saidmore");
	teardown();
}
END_TEST

/* ---- a guest that goes on from a snapshot ---- */

static struct session *other; /* the one that it was saved from */

static void save_all(struct state_buf *buf)
{
	ck_assert_int_eq(state_save(buf, &session_state_type, s), 0);
	for (unsigned i = 0; i < session_count(s); i++)
		ck_assert_int_eq(state_save(buf, &session_command_type, session_command_at(s, i)), 0);
}

static void load_all(const struct state_buf *buf)
{
	struct state_reader r = state_reader_of(buf);

	ck_assert_msg(!state_load(&r, &session_state_type, s), "%s", r.why);
	for (unsigned i = 0; i < session_count(s); i++)
		ck_assert_msg(!state_load(&r, &session_command_type, session_command_at(s, i)), "%s", r.why);
	ck_assert_ptr_eq(r.at, r.end);
}

/* Another lkvm has the same guest. */
static void go_on(void)
{
	const struct session_setup cfg = {
		.loop = &loop, .ctx = &loop, .asked = asked, .hello = hello, .kmsg = kmsg, .lost = lost,
	};
	const struct console_device device = { .input = port_input, .writable = port_writable, .dev = &loop };
	struct state_buf buf = { 0 }, again = { 0 };

	save_all(&buf);
	port.ops->attach(port.end, NULL);
	other = s;
	ck_assert_int_eq(session_new(&cfg, &s), 0);
	port = session_port(s);
	port.ops->attach(port.end, &device);
	load_all(&buf);
	save_all(&again);
	ck_assert_uint_eq(buf.len, again.len);
	ck_assert_mem_eq(buf.data, again.data, buf.len);
	state_buf_free(&buf);
	state_buf_free(&again);
	n_sent = 0;
}

static void end_both(void)
{
	session_free(other);
	teardown();
}

static void start_lasting(void)
{
	struct session_command cmd = new_ends();
	struct session_frame head;

	cmd.lasting = true;
	setup();
	say_hello();
	ck_assert_int_eq(session_run(s, &cmd, NULL), 0);
	next(&head);
}

static void fill_pipe(int fd)
{
	static const char bytes[4096];

	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (write(fd, bytes, sizeof(bytes)) > 0)
		;
}

static void use_nothing(void *dev)
{
	(void)dev;
}

START_TEST(test_state)
{
	state_test_table(&session_state_type);
	state_test_table(&session_command_type);
	start_lasting();
	state_test_hostile(&session_command_type, session_command_at(s, 0), use_nothing);
	teardown();
}
END_TEST

/* What was printed and not taken, what arrived in part, and what was read and not sent: nothing is lost or twice. */
START_TEST(test_goes_on)
{
	const struct session_frame head = { .type = SESSION_DATA, .stream = 2, .command = 1, .len = 5 };
	struct session_command cmd;

	start_lasting();
	fcntl(out[1], F_SETPIPE_SZ, 4096);
	fill_pipe(out[1]);
	frame(SESSION_DATA, 1, 1, "waits", 5);
	feed(&head, sizeof(head));
	feed("er", 2);
	port_room = 3;
	ck_assert_int_eq(write(in[1], "input", 5), 5);
	turns(1);
	go_on();
	cmd = new_ends();
	ck_assert(session_has_lasting(s));
	ck_assert(session_attach(s, &cmd));
	turns(1);
	read_all(out[0], "waits");
	feed("ror", 3);
	turns(1);
	read_all(err[0], "error");
	port_room = SIZE_MAX;
	port.ops->input_wanted(port.end);
	turns(1);
	ck_assert_mem_eq(sent + n_sent - 5, "input", 5);
	finish(7);
	ck_assert_uint_eq(ends, 1);
	ck_assert_uint_eq(how.code, 7);
	end_both();
}
END_TEST

/* One with another command, or with nobody: the old one hangs up, and nobody is told. */
START_TEST(test_is_left)
{
	struct session_frame head;
	uint32_t signal;

	start_lasting();
	run();
	n_sent = 0;
	go_on();
	ck_assert(!session_attach(s, NULL));
	memcpy(&signal, next(&head), sizeof(signal));
	ck_assert_uint_eq(head.type, SESSION_SIGNAL);
	ck_assert_uint_eq(signal, SIGHUP);
	finish(0);
	ck_assert_uint_eq(ends, 0);
	ck_assert_uint_eq(session_count(s), 1);
	end_both();
}
END_TEST

START_TEST(test_saved_asked)
{
	static const char plan[] = "hostname=x";
	struct state_buf buf = { 0 };

	setup();
	ck_assert_int_eq(state_save(&buf, &session_state_type, s), -EBUSY); /* it will ask */
	frame(SESSION_ASK, 0, 0, NULL, 0);
	go_on();
	ck_assert(session_is_asked(s) && !session_is_up(s));
	session_wake(s);
	ck_assert_int_eq(session_plan(s, plan, sizeof(plan)), 0);
	ck_assert_int_eq(state_save(&buf, &session_state_type, s), -EBUSY); /* and mounts */
	say_hello();
	ck_assert(session_is_up(s) && !session_is_asked(s));
	ck_assert(!session_has_lasting(s));
	ck_assert_int_eq(state_save(&buf, &session_state_type, s), 0);
	state_buf_free(&buf);
	session_free(other);
	teardown();
}
END_TEST

UNIT_MAIN("session", test_exec, test_exec_in_parts, test_streams, test_printed, test_credit, test_slow_reader,
	  test_credit_given, test_too_much_output, test_reader_leaves, test_full_disk, test_closed, test_file,
	  test_event_as_input, test_no_events, test_ring, test_nonsense, test_other_version,
	  test_plan, test_plan_long, test_wake, test_wake_no_seed, test_closed_port, test_closed_port_sends_on, test_give_up, test_give_up_at_once, test_drain,
	  test_many, test_never_reads, test_ring_goes, test_long_commands, test_turns, test_tty, test_tty_drain,
	  test_tty_credit, test_terminal, test_leave, test_words, test_bad_words, test_state, test_goes_on, test_is_left,
	  test_saved_asked)
