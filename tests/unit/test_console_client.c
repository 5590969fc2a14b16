/* Links: console/console.o console/scan.o console/keys.o util/stream.o console/tty.o util/loop.o util/log.o */
/* Clients of a console: what they are shown, what they miss, what they type, how they go. */
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <termios.h>

#include "console-rig.h"
#include "lkvm/clock.h"
#include "lkvm/console/client.h"

#define KEPT_BYTES (256 * KIB)

/* One that looks through a pipe, and types through another. */
struct looker {
	struct console_client *client;
	int out[2], in[2];
	int over; /* what over() was told */
};

static void on_over(void *ctx, int err)
{
	struct looker *l = ctx;

	ck_assert_int_eq(l->over, 0);
	l->over = err;
	console_client_free(l->client);
	l->client = NULL;
}

static void new_client(struct looker *l, int in_fd, int out_fd, uint32_t lines, bool text)
{
	const struct console_client_config cfg = {
		.in_fd = in_fd, .out_fd = out_fd, .lines = lines, .text = text, .over = on_over, .ctx = l,
	};

	l->over = 0;
	ck_assert_int_eq(console_client_new(con, &cfg, &l->client), 0);
	console_client_start(l->client);
}

static void look(struct looker *l, uint32_t lines, bool text)
{
	ck_assert_int_eq(pipe(l->out), 0);
	ck_assert_int_eq(pipe(l->in), 0);
	new_client(l, l->in[0], l->out[1], lines, text);
}

static void leave(struct looker *l)
{
	console_client_free(l->client);
	for (int i = 0; i < 2; i++) {
		close(l->out[i]);
		close(l->in[i]);
	}
}

static void expect_out(const struct looker *l, const char *want)
{
	expect_read(l->out[0], want, strlen(want));
	settle();
	ck_assert_uint_eq(readable(l->out[0]), 0);
}

/* ---- output ---- */

START_TEST(test_all_see_it)
{
	struct looker a, b;
	int out[2];

	ck_assert_int_eq(pipe(out), 0);
	new_console(-1, out[1]);
	look(&a, 0, false);
	print_text("one ");
	expect_out(&a, "one ");
	look(&b, 0, false);
	print_text("two \033[1m\377");
	expect_out(&a, "two \033[1m\377");
	expect_out(&b, "two \033[1m\377");
	leave(&a);
	print_text("three");
	expect_out(&b, "three");
	expect_read(out[0], "one two \033[1m\377three", 18);
	leave(&b);
	free_console();
}
END_TEST

static void expect_past(uint32_t lines, const char *want)
{
	struct looker l;

	look(&l, lines, false);
	expect_out(&l, want);
	print_text("+\n");
	expect_out(&l, "+\n");
	leave(&l);
}

/* Also what is not on its way to standard output yet. */
START_TEST(test_past)
{
	new_console(-1, -1);
	expect_past(CONSOLE_ALL_LINES, "");
	expect_past(0, "");
	free_console();
	new_console(-1, -1);
	print_text("a\n\nb\nlogin: ");
	expect_past(CONSOLE_ALL_LINES, "a\n\nb\nlogin: ");
	expect_past(1, "login: +\n");
	expect_past(2, "login: +\n+\n");
	expect_past(5, "\nb\nlogin: +\n+\n+\n");
	expect_past(0, "");
	expect_past(1000, "a\n\nb\nlogin: +\n+\n+\n+\n+\n");
	free_console();
}
END_TEST

/* Of much only the last is kept, from a line's begin on. */
START_TEST(test_past_is_bounded)
{
	static char lines[2 * KEPT_BYTES + 1], got[KEPT_BYTES];
	struct looker l;
	size_t n = 0, len = 0;

	for (unsigned i = 0; n + 8 <= 2 * KEPT_BYTES; n += 7, i++)
		snprintf(lines + n, 8, "%06u\n", i % 1000000);
	new_console(-1, -1);
	put_all(lines, n);
	look(&l, CONSOLE_ALL_LINES, false);
	while (readable(l.out[0]) || console_client_pending(l.client)) {
		ssize_t r;

		RUN_UNTIL(readable(l.out[0]));
		r = read(l.out[0], got + len, sizeof(got) - len);
		ck_assert_int_gt(r, 0);
		len += (size_t)r;
		loop_once(&loop, 0);
	}
	ck_assert_uint_eq(len, KEPT_BYTES / 7 * 7);
	ck_assert_mem_eq(got, lines + n - len, len);
	leave(&l);
	free_console();
}
END_TEST

/* What a terminal would answer is left out of the past; of what comes nothing is. */
START_TEST(test_past_as_text)
{
	static const char live[] = "\033[6n\a\x0e";
	struct looker l;

	new_console(-1, -1);
	print_text("old\n\033[1;31mred\033[0m \033]0;title\a\033[6n\033[c\005\a\x0e" "a\tb\bc\r\n\303\244\302\2331m\377$ ");
	look(&l, 2, true);
	expect_out(&l, "red a\tb\bc\r\n\303\244?1m?$ ");
	print_text(live);
	expect_out(&l, live);
	leave(&l);
	free_console();
	new_console(-1, -1);
	print_text("\033[6n");
	look(&l, 24, true);
	expect_out(&l, "");
	leave(&l);
	free_console();
}
END_TEST

/* ---- readers ---- */

/* A note in the place of what is missing. Return: how many bytes that are, as the note says */
static unsigned long take_note(int fd)
{
	static const char begin[] = "\r\n[lkvm: ";
	char note[80];
	size_t n = 0;

	expect_read(fd, begin, strlen(begin));
	do {
		RUN_UNTIL(readable(fd));
		ck_assert_int_eq(read(fd, note + n, 1), 1);
	} while (note[n++] != '\n');
	note[n] = '\0';
	ck_assert_ptr_nonnull(strstr(note, " bytes of output dropped]\r\n"));
	return strtoul(note, NULL, 10);
}

/*
 * One reads nothing: neither the guest nor the other notices. When he reads again, he has what the pipe
 * held, a note, and what is still kept, from a line's begin on.
 */
START_TEST(test_slow_reader)
{
	static char line[1000], got[4 * KEPT_BYTES];
	struct looker slow, quick;
	size_t total = 0, held = 0;
	unsigned long lost;

	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	new_console(-1, -1);
	look(&slow, 0, false);
	look(&quick, 0, false);
	for (; total < sizeof(got); total += sizeof(line)) {
		put_all(line, sizeof(line));
		expect_read(quick.out[0], line, sizeof(line));
	}
	ck_assert_uint_eq(atomic_load(&dev.writable), 0);
	held = readable(slow.out[0]);
	ck_assert_int_eq(read(slow.out[0], got, held), (ssize_t)held);
	lost = take_note(slow.out[0]);
	ck_assert_uint_eq((held + lost) % sizeof(line), 0);
	for (size_t at = held + lost; at < total; at += sizeof(line))
		expect_read(slow.out[0], line, sizeof(line));
	ck_assert_uint_gt(total - held - lost, KEPT_BYTES - 2 * sizeof(line));
	print_text("on");
	expect_out(&slow, "on");
	expect_out(&quick, "on");
	leave(&slow);
	leave(&quick);
	free_console();
}
END_TEST

/* A file takes all there is: nothing of it is missing, even if more comes at once than is kept. */
START_TEST(test_file)
{
	static uint8_t bytes[RING_BYTES], got[RING_BYTES];
	int fd = memfd_create("output", 0);
	struct looker l;

	fill_pattern(bytes, sizeof(bytes), 0);
	new_console(-1, -1);
	new_client(&l, -1, fd, 0, false);
	put_all(bytes, sizeof(bytes));
	settle();
	ck_assert_int_eq(pread(fd, got, sizeof(got), 0), (ssize_t)sizeof(got));
	ck_assert_mem_eq(got, bytes, sizeof(got));
	console_client_free(l.client);
	free_console();
}
END_TEST

START_TEST(test_reader_leaves)
{
	struct looker a, b;
	int full = open("/dev/full", O_WRONLY);
	struct looker c;

	new_console(-1, -1);
	look(&a, 0, false);
	look(&b, 0, false);
	new_client(&c, -1, full, 0, false);
	close(a.out[0]);
	print_text("x");
	RUN_UNTIL(a.over && c.over);
	ck_assert_int_eq(a.over, -EPIPE);
	ck_assert_int_eq(c.over, -ENOSPC);
	expect_out(&b, "x");
	leave(&b);
	free_console();
}
END_TEST

/* While it waits for room */
START_TEST(test_reader_leaves_late)
{
	static char much[100000];
	struct looker l;

	new_console(-1, -1);
	look(&l, 0, false);
	put_all(much, sizeof(much));
	settle();
	ck_assert_uint_gt(console_client_pending(l.client), 0);
	close(l.out[0]);
	RUN_UNTIL(l.over);
	ck_assert_int_eq(l.over, -EPIPE);
	/* and with what was printed before */
	print_text("x");
	settle();
	ck_assert_int_eq(pipe(l.out), 0);
	close(l.out[0]);
	new_client(&l, -1, l.out[1], 1, false);
	ck_assert_int_eq(l.over, -EPIPE);
	free_console();
}
END_TEST

/* ---- input ---- */

START_TEST(test_input)
{
	struct looker a, b;
	int in[2];

	ck_assert_int_eq(pipe(in), 0);
	new_console(in[0], -1);
	look(&a, 0, false);
	look(&b, 0, false);
	send_all(a.in[1], "a\001x", 3); /* it has keys at the other end */
	expect_got("a\001x");
	send_all(b.in[1], "b", 1);
	expect_got("a\001xb");
	send_all(in[1], "c", 1);
	expect_got("a\001xbc");
	close(a.in[1]); /* that is no end of anything else */
	settle();
	send_all(b.in[1], "d", 1);
	expect_got("a\001xbcd");
	print_text("x");
	expect_out(&a, "x");
	leave(&a);
	leave(&b);
	send_all(in[1], "e", 1);
	expect_got("a\001xbcde");
	ck_assert_uint_eq(dev.quit + dev.in_ended, 0);
	free_console();
}
END_TEST

/* The guest reads slowly, and some have much to say: everybody has his turn. */
static void take_turns(size_t fifo_bytes)
{
	static char many[60000];
	struct looker a, b, idle;
	int in[2];

	memset(many, 'm', sizeof(many));
	ck_assert_int_eq(pipe(in), 0);
	new_console(in[0], -1);
	dev.fifo_bytes = fifo_bytes;
	look(&a, 0, false);
	look(&idle, 0, false);
	look(&b, 0, false);
	send_all(in[1], many, sizeof(many));
	send_all(a.in[1], many, sizeof(many));
	settle();
	send_all(b.in[1], "typed", 5);
	while (!memchr(dev.got, 't', dev.n_got) && dev.n_got < sizeof(many)) {
		guest_reads();
		settle();
	}
	ck_assert_uint_lt(dev.n_got, 10000);
	leave(&a);
	leave(&b);
	leave(&idle);
	free_console();
	close(in[0]);
	close(in[1]);
}

START_TEST(test_turns)
{
	for (size_t fifo_bytes = 64; fifo_bytes <= 512; fifo_bytes *= 2)
		take_turns(fifo_bytes);
}
END_TEST

/* Breaks come with the others */
START_TEST(test_break)
{
	struct looker l;

	new_console(-1, -1);
	look(&l, 0, false);
	console_send(con, NULL, 0, true);
	send_all(l.in[1], "h", 1);
	expect_got("!h");
	leave(&l);
	free_console();
}
END_TEST

/* A client's own descriptors are as they were. */
START_TEST(test_leaves_flags)
{
	struct looker l;

	new_console(-1, -1);
	look(&l, 0, false);
	ck_assert_int_eq(fcntl(l.in[0], F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(fcntl(l.out[1], F_GETFL) & O_NONBLOCK, 0);
	leave(&l);
	free_console();
}
END_TEST

static void expect_size(unsigned cols, unsigned rows)
{
	ck_assert_uint_eq(dev.cols, cols);
	ck_assert_uint_eq(dev.rows, rows);
}

/* What the smallest terminal shows, all do. */
START_TEST(test_size)
{
	const struct winsize own = { .ws_col = 100, .ws_row = 30 };
	struct looker a, b;
	int master, slave;

	ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, &own), 0);
	new_console(slave, slave);
	expect_size(100, 30);
	look(&a, 0, false);
	expect_size(100, 30);
	console_client_resize(a.client, 80, 50);
	expect_size(80, 30);
	look(&b, 0, false);
	console_client_resize(b.client, 200, 24);
	expect_size(80, 24);
	leave(&a);
	expect_size(100, 24);
	leave(&b);
	expect_size(100, 30);
	free_console();
	new_console(-1, -1);
	look(&a, 0, false);
	expect_size(0, 0);
	console_client_resize(a.client, 80, 50);
	expect_size(80, 50);
	leave(&a);
	expect_size(0, 0);
	free_console();
}
END_TEST

START_TEST(test_most)
{
	struct looker l[CONSOLE_MAX_CLIENTS];
	const struct console_client_config cfg = { .in_fd = -1, .out_fd = STDERR_FILENO };
	struct console_client *more;

	new_console(-1, -1);
	for (unsigned i = 0; i < ARRAY_SIZE(l); i++)
		look(&l[i], 0, false);
	ck_assert_int_eq(console_client_new(con, &cfg, &more), -EAGAIN);
	print_text("x");
	for (unsigned i = 0; i < ARRAY_SIZE(l); i++)
		expect_out(&l[i], "x");
	leave(&l[0]);
	ck_assert_int_eq(console_client_new(con, &cfg, &more), 0);
	console_client_free(more);
	for (unsigned i = 1; i < ARRAY_SIZE(l); i++)
		leave(&l[i]);
	free_console();
}
END_TEST

/* ---- the end ---- */

static void *read_late(void *arg)
{
	static char got[KEPT_BYTES + 65536];
	struct looker *l = arg;
	size_t len = 0;
	ssize_t n;

	while ((n = read(l->out[0], got, sizeof(got))) > 0)
		len += (size_t)n;
	return (void *)len;
}

/* What was just printed goes out, and who reads, if slowly, has all of it. */
START_TEST(test_drain)
{
	static char much[200000];
	struct looker l;
	pthread_t thread;
	void *len;

	new_console(-1, -1);
	look(&l, 0, false);
	put_all(much, sizeof(much));
	ck_assert_int_eq(pthread_create(&thread, NULL, read_late, &l), 0);
	console_drain_clients(con, -1, 10000);
	ck_assert_uint_eq(console_client_pending(l.client), 0);
	console_client_free(l.client);
	close(l.out[1]);
	pthread_join(thread, &len);
	ck_assert_uint_eq((size_t)len, sizeof(much));
	free_console();
}
END_TEST

/* Those who read nothing get a time for all of them; a signal ends it. */
START_TEST(test_drain_patience)
{
	static char much[200000];
	struct looker l[4];
	int signalled = eventfd(1, 0);
	double start;

	new_console(-1, -1);
	for (unsigned i = 0; i < ARRAY_SIZE(l); i++)
		look(&l[i], 0, false);
	put_all(much, sizeof(much));
	start = now_s();
	console_drain_clients(con, -1, 200);
	ck_assert(now_s() - start >= 0.19 && now_s() - start < 0.7);
	ck_assert_uint_gt(console_client_pending(l[3].client), 0);
	start = now_s();
	console_drain_clients(con, signalled, 10000);
	ck_assert(now_s() - start < 5);
	close(l[0].out[0]);
	console_drain_clients(con, -1, 200);
	ck_assert_int_eq(l[0].over, -EPIPE);
	for (unsigned i = 1; i < ARRAY_SIZE(l); i++)
		leave(&l[i]);
	free_console();
}
END_TEST

UNIT_MAIN("console, clients", test_all_see_it, test_past, test_past_is_bounded, test_past_as_text, test_slow_reader,
	  test_file, test_reader_leaves, test_reader_leaves_late, test_input, test_turns, test_break, test_leaves_flags,
	  test_size, test_most, test_drain, test_drain_patience)
