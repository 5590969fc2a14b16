/* Links: console/pty.o console/console.o console/scan.o console/keys.o util/stream.o console/tty.o util/loop.o util/log.o */

/* Pseudo terminals of further ports, and a console with more than one device at the guest's end. */
#include "lkvm/console/pty.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <termios.h>
#include <unistd.h>

#include "lkvm/console.h"
#include "unit.h"

static struct loop loop;
static struct console *con;

static struct end {
	char got[256];
	size_t n_got;
	unsigned writable, resizes;
	uint16_t cols, rows;
} one, two;

static size_t end_input(void *ctx, const uint8_t *buf, size_t len)
{
	struct end *end = ctx;

	ck_assert_uint_le(end->n_got + len, sizeof(end->got));
	memcpy(end->got + end->n_got, buf, len);
	end->n_got += len;
	return len;
}

static void end_writable(void *ctx)
{
	((struct end *)ctx)->writable++;
}

static void end_resize(void *ctx, uint16_t cols, uint16_t rows)
{
	struct end *end = ctx;

	end->resizes++;
	end->cols = cols;
	end->rows = rows;
}

static void attach(struct end *end)
{
	const struct console_device device = {
		.input = end_input, .writable = end_writable, .resize = end_resize, .dev = end
	};

	console_attach(con, &device);
}

static unsigned quits, panics;

static void on_quit(void *ctx)
{
	(void)ctx;
	quits++;
}

static void on_panic(void *ctx)
{
	(void)ctx;
	panics++;
}

static void new_console(int fd, bool plain)
{
	const struct console_config cfg = { .in_fd = fd,
					    .out_fd = fd,
					    .loop = &loop,
					    .plain = plain,
					    .quit = on_quit,
					    .panic = on_panic };

	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(console_new(&cfg, &con), 0);
}

static void free_console(void)
{
	console_free(con);
	loop_fini(&loop);
}

#define RUN_UNTIL(cond)                                                                            \
	do {                                                                                       \
		for (int turns_ = 0; !(cond); turns_++) {                                          \
			ck_assert_msg(turns_ < 2000, "%s: does not happen", #cond);                \
			ck_assert_int_ge(loop_once(&loop, 10), 0);                                 \
		}                                                                                  \
	} while (0)

static bool readable(int fd)
{
	return poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 0) == 1;
}

static void expect_read(int fd, const char *text)
{
	char buf[64];

	for (size_t at = 0; at < strlen(text);) {
		ssize_t n;

		RUN_UNTIL(readable(fd));
		n = read(fd, buf, sizeof(buf));
		ck_assert_int_gt(n, 0);
		ck_assert_mem_eq(buf, text + at, (size_t)n);
		at += (size_t)n;
	}
}

/* A user comes, goes, and comes again; bytes are not changed, and Ctrl-a means nothing. */
START_TEST(test_pty)
{
	struct pty pty;
	struct termios termios;
	int user;

	ck_assert_int_eq(pty_open(&pty), 0);
	ck_assert_int_eq(fcntl(pty.master, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	ck_assert_int_eq(fcntl(pty.master, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	ck_assert_int_eq(fcntl(pty.slave, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	new_console(pty.master, true);
	attach(&one);
	ck_assert_uint_eq(one.cols, 0);
	ck_assert_int_eq(console_start(con), 0);
	ck_assert_int_eq(tcgetattr(pty.slave, &termios), 0);
	ck_assert_uint_eq(termios.c_lflag & (ECHO | ICANON | ISIG), 0);
	ck_assert_uint_eq(termios.c_oflag & OPOST, 0);
	for (int i = 0; i < 2; i++) {
		user = open(pty.name, O_RDWR | O_NOCTTY | O_NONBLOCK);
		ck_assert_int_ge(user, 0);
		ck_assert_int_eq(write(user, "\x01x\x03hi\r", 6), 6);
		RUN_UNTIL(one.n_got == 6U * (unsigned)(i + 1));
		ck_assert_mem_eq(one.got + 6 * i, "\x01x\x03hi\r", 6);
		ck_assert_uint_eq(console_put(con, "a\nb", 3), 3);
		expect_read(user, "a\nb");
		close(user);
	}
	ck_assert_uint_eq(quits, 0);
	free_console();
	pty_close(&pty);
	ck_assert_int_eq(pty.master, -1);
}
END_TEST

/* What a port prints is not looked at: only the console's panics are the machine's. */
START_TEST(test_plain_panic)
{
	static const char panic[] =
		"---[ end Kernel panic - not syncing: sysrq triggered crash ]---\r\n";
	struct pty pty;

	ck_assert_int_eq(pty_open(&pty), 0);
	new_console(pty.master, true);
	ck_assert_uint_eq(console_put(con, panic, sizeof(panic) - 1), sizeof(panic) - 1);
	expect_read(pty.slave, panic);
	ck_assert_uint_eq(panics, 0);
	ck_assert_ptr_null(console_panic_line(con));
	free_console();
	new_console(pty.master, false); /* the same text on the console itself is one */
	ck_assert_uint_eq(console_put(con, panic, sizeof(panic) - 1), sizeof(panic) - 1);
	expect_read(pty.slave, panic);
	ck_assert_uint_eq(panics, 1);
	free_console();
	pty_close(&pty);
}
END_TEST

START_TEST(test_pty_fails)
{
	struct rlimit before, limit;
	struct pty pty = { .master = 7 };
	int next = dup(0);

	ck_assert_int_ge(next, 0);
	close(next);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = before;
	for (rlim_t more = 0; more < 2; more++) {
		limit.rlim_cur = (rlim_t)next + more;
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		ck_assert_int_eq(pty_open(&pty), -EMFILE);
		ck_assert_int_eq(pty.master, 7);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
		ck_assert_int_eq(dup(0), next); /* nothing was left open */
		close(next);
	}
}
END_TEST

/* All print, the last one that came gets the input, and all hear of room and of the size. */
START_TEST(test_two_devices)
{
	struct winsize size = { .ws_col = 90, .ws_row = 30 };
	static char many[2 << 20];
	struct pty pty;

	ck_assert_int_eq(pty_open(&pty), 0);
	ck_assert_int_eq(ioctl(pty.master, TIOCSWINSZ, &size), 0);
	new_console(pty.slave, false);
	attach(&one);
	attach(&two);
	ck_assert_int_eq(console_start(con), 0);
	ck_assert(one.cols == 90 && one.rows == 30);
	ck_assert(two.cols == 90 && two.rows == 30 && one.resizes == 1);
	ck_assert_int_eq(write(pty.master, "two", 3), 3);
	RUN_UNTIL(two.n_got == 3);
	ck_assert_uint_eq(one.n_got, 0);

	size.ws_col = 91;
	ck_assert_int_eq(ioctl(pty.master, TIOCSWINSZ, &size), 0);
	console_resized(con);
	ck_assert(one.cols == 91 && two.cols == 91 && two.resizes == 2);

	ck_assert_uint_lt(console_put(con, many, sizeof(many)), sizeof(many));
	while (!one.writable) {
		char buf[4096];

		ck_assert_int_ge(loop_once(&loop, 1), 0);
		while (read(pty.master, buf, sizeof(buf)) > 0)
			;
	}
	ck_assert(one.writable == 1 && two.writable == 1);

	console_attach(con, NULL);
	ck_assert_int_eq(write(pty.master, "one", 3), 3);
	RUN_UNTIL(one.n_got == 3);
	ck_assert_uint_eq(two.n_got, 3);
	console_attach(con, NULL);
	ck_assert_int_eq(write(pty.master, "x", 1), 1);
	for (int i = 0; i < 5; i++)
		loop_once(&loop, 1);
	ck_assert_uint_eq(one.n_got, 3);
	free_console();
	pty_close(&pty);
}
END_TEST

/* A device that only prints, attached last: nobody gets the input. */
START_TEST(test_no_listener)
{
	struct pty pty;

	ck_assert_int_eq(pty_open(&pty), 0);
	new_console(pty.master, true);
	attach(&one);
	console_attach(con, &(struct console_device){ .dev = &two });
	ck_assert_int_eq(console_start(con), 0);
	console_resized(con);
	ck_assert_int_eq(write(pty.slave, "x", 1), 1);
	for (int i = 0; i < 5; i++)
		loop_once(&loop, 1);
	ck_assert_uint_eq(one.n_got, 0);
	console_attach(con, NULL);
	RUN_UNTIL(one.n_got == 1);
	free_console();
	pty_close(&pty);
}
END_TEST

UNIT_MAIN("pty", test_pty, test_plain_panic, test_pty_fails, test_two_devices, test_no_listener)
