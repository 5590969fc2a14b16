/* Links: console/console.o console/scan.o console/keys.o util/stream.o console/tty.o util/loop.o util/log.o */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <utmp.h>

#include "lkvm/console.h"
#include "lkvm/console/tty.h"
#include "lkvm/log.h"
#include "console-rig.h"

/* ---- output ---- */

START_TEST(test_output_is_exact)
{
	uint8_t all[256];
	int out[2];

	for (unsigned i = 0; i < 256; i++)
		all[i] = (uint8_t)i;
	ck_assert_int_eq(pipe(out), 0);
	new_console(-1, out[1]);
	put_all(all, sizeof(all));
	put_all(all, 0);
	expect_read(out[0], all, sizeof(all));
	print_text("no newline");
	expect_read(out[0], "no newline", 10);
	settle();
	ck_assert_uint_eq(readable(out[0]), 0);
	free_console();
}
END_TEST

START_TEST(test_output_batches)
{
	uint64_t bytes, writes;
	int out[2];

	ck_assert_int_eq(pipe(out), 0);
	new_console(-1, out[1]);
	for (unsigned i = 0; i < 1000; i++)
		print_text("x");
	RUN_UNTIL(readable(out[0]) == 1000);
	console_stats(con, &bytes, &writes);
	ck_assert_uint_eq(bytes, 1000);
	ck_assert_uint_eq(writes, 1);
	free_console();
}
END_TEST

/* Echo: a byte is there within a few milliseconds, of which the batch is one. */
START_TEST(test_output_is_prompt)
{
	double best = 1;
	int out[2];

	ck_assert_int_eq(pipe(out), 0);
	new_console(-1, out[1]);
	for (unsigned i = 0; i < 20; i++) {
		double start = now_s();

		print_text("x");
		expect_read(out[0], "x", 1);
		best = now_s() - start < best ? now_s() - start : best;
	}
	ck_assert_msg(best < 0.002, "%.6f s", best);
	free_console();
}
END_TEST

/* More than a ring goes round and round while the reader keeps up. */
START_TEST(test_output_wraps)
{
	static uint8_t chunk[70001];
	int out[2];

	ck_assert_int_eq(pipe(out), 0);
	new_console(-1, out[1]);
	print_text("#"); /* never empty: the positions go on growing */
	expect_read(out[0], "#", 1);
	for (uint64_t at = 0; at < 5 * RING_BYTES; at += sizeof(chunk)) {
		uint8_t extra[100];

		fill_pattern(chunk, sizeof(chunk), at);
		fill_pattern(extra, sizeof(extra), at);
		put_all(chunk, sizeof(chunk));
		put_all(extra, sizeof(extra));
		expect_read(out[0], chunk, sizeof(chunk));
		expect_read(out[0], extra, sizeof(extra));
	}
	free_console();
}
END_TEST

#define THREADS      4
#define THREAD_BYTES 300000U

/* Each byte tells its thread and its place modulo 64, so any interleaving can be judged. */
static void *put_thread(void *arg)
{
	unsigned id = *(unsigned *)arg, at = 0;
	uint8_t buf[37];

	while (at < THREAD_BYTES) {
		unsigned len = at % sizeof(buf) + 1, seen = atomic_load(&dev.writable);
		size_t n;

		len = len < THREAD_BYTES - at ? len : THREAD_BYTES - at;
		for (unsigned i = 0; i < len; i++)
			buf[i] = (uint8_t)(id << 6 | ((at + i) & 63));
		n = console_put(con, buf, len);
		at += (unsigned)n;
		while (n < len && atomic_load(&dev.writable) == seen)
			sched_yield();
	}
	return NULL;
}

static void check_thread_bytes(const uint8_t *buf, size_t len, unsigned *count)
{
	for (size_t i = 0; i < len; i++) {
		unsigned id = buf[i] >> 6;

		ck_assert_uint_eq(buf[i] & 63, count[id] & 63);
		count[id]++;
	}
}

START_TEST(test_output_of_threads)
{
	unsigned ids[THREADS], count[THREADS] = { 0 };
	pthread_t thread[THREADS];
	size_t total = 0;
	int out[2];

	ck_assert_int_eq(pipe(out), 0);
	new_console(-1, out[1]);
	for (unsigned i = 0; i < THREADS; i++) {
		ids[i] = i;
		ck_assert_int_eq(pthread_create(&thread[i], NULL, put_thread, &ids[i]), 0);
	}
	/* Read nothing at first, so that the ring gets full. */
	RUN_UNTIL(readable(out[0]) >= 65536);
	for (unsigned i = 0; i < 20; i++)
		loop_once(&loop, 10);
	while (total < THREADS * THREAD_BYTES) {
		uint8_t buf[8192];
		ssize_t n;

		RUN_UNTIL(readable(out[0]));
		n = read(out[0], buf, sizeof(buf));
		ck_assert_int_gt(n, 0);
		check_thread_bytes(buf, (size_t)n, count);
		total += (size_t)n;
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		ck_assert_uint_eq(count[i], THREAD_BYTES);
	}
	free_console();
}
END_TEST

static unsigned other_events;

static void other_ready(struct loop_source *src, uint32_t events)
{
	eventfd_t count;

	(void)events;
	eventfd_read(src->fd, &count);
	other_events++;
}

/* The loop's other sources must be served while standard output takes nothing. */
static void expect_responsive(void)
{
	struct loop_source other = { .fd = eventfd(0, EFD_NONBLOCK), .ready = other_ready };

	ck_assert_int_eq(loop_add(&loop, &other, EPOLLIN), 0);
	other_events = 0;
	eventfd_write(other.fd, 1);
	RUN_UNTIL(other_events);
	loop_del(&loop, &other);
	close(other.fd);
}

/* Return: bytes that the ring and what is behind it took. */
static size_t put_until_full(void)
{
	static uint8_t chunk[4099];
	size_t total = 0;

	for (;;) {
		size_t n;

		fill_pattern(chunk, sizeof(chunk), total);
		n = console_put(con, chunk, sizeof(chunk));
		total += n;
		if (!n)
			return total;
		if (n < sizeof(chunk))
			settle(); /* pipe and socket may take some */
		ck_assert_uint_lt(total, 16 * MIB);
	}
}

static void test_stopped_reader(int in_fd, int out_fd, int reader)
{
	uint8_t *want;
	size_t total;

	new_console(in_fd, out_fd);
	total = put_until_full();
	ck_assert_uint_ge(total, RING_BYTES);
	ck_assert_uint_eq(console_put(con, "x", 1), 0);
	expect_responsive();
	settle();
	atomic_store(&dev.writable, 0);
	ck_assert_uint_eq(console_put(con, "x", 1), 0);
	want = malloc(total);
	ck_assert_ptr_nonnull(want);
	fill_pattern(want, total, 0);
	/* Not for the first bit of room: each time costs the guest an interrupt. */
	expect_read(reader, want, total / 8);
	settle();
	ck_assert_uint_eq(atomic_load(&dev.writable), 0);
	expect_read(reader, want + total / 8, total - total / 8);
	ck_assert_uint_eq(atomic_load(&dev.writable), 1);
	print_text("again");
	expect_read(reader, "again", 5);
	free(want);
	free_console();
}

START_TEST(test_stopped_pipe)
{
	int out[2];

	ck_assert_int_eq(pipe(out), 0);
	test_stopped_reader(-1, out[1], out[0]);
	ck_assert_int_eq(fcntl(out[1], F_GETFL) & O_NONBLOCK, 0);
}
END_TEST

START_TEST(test_stopped_socket)
{
	int out[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, out), 0);
	test_stopped_reader(-1, out[1], out[0]);
	ck_assert_int_eq(fcntl(out[1], F_GETFL) & O_NONBLOCK, 0);
}
END_TEST

static void open_pty(int *ret_master, int *ret_slave)
{
	struct termios raw;

	ck_assert_int_eq(openpty(ret_master, ret_slave, NULL, NULL, NULL), 0);
	ck_assert_int_eq(tcgetattr(*ret_slave, &raw), 0);
	raw.c_oflag &= ~(tcflag_t)OPOST;
	ck_assert_int_eq(tcsetattr(*ret_slave, TCSANOW, &raw), 0);
}

START_TEST(test_stopped_terminal)
{
	int master, slave;

	open_pty(&master, &slave);
	test_stopped_reader(-1, slave, master);
	ck_assert_int_eq(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);
}
END_TEST

/* Appending, with a shared offset: what others write before and after stays where it is. */
static void test_file(int flags)
{
	int fd = memfd_create("out", 0), other;
	char path[64], got[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	other = open(path, O_RDWR | flags);
	ck_assert_int_ge(other, 0);
	send_all(other, "before\n", 7);
	new_console(-1, other);
	print_text("guest\n");
	console_drain(con, -1, -1);
	send_all(other, "after\n", 6);
	free_console();
	ck_assert_int_eq(pread(fd, got, sizeof(got), 0), 19);
	ck_assert_mem_eq(got, "before\nguest\nafter\n", 19);
	close(other);
	close(fd);
}

START_TEST(test_output_to_file)
{
	test_file(0);
	test_file(O_APPEND);
}
END_TEST

/* The reader leaves: the guest goes on, nothing is full, its last words are still heard. */
START_TEST(test_reader_leaves)
{
	static const uint8_t chunk[65536];
	uint64_t bytes, writes;
	char last[100];
	int out[2];

	ck_assert_int_eq(pipe(out), 0);
	new_console(-1, out[1]);
	print_text("one\n");
	expect_read(out[0], "one\n", 4);
	close(out[0]);
	for (size_t total = 0; total < 4 * RING_BYTES; total += sizeof(chunk)) {
		put_all(chunk, sizeof(chunk));
		RUN_UNTIL(loop_once(&loop, 20) == 0);
	}
	print_text("\n---[ end Kernel panic - not syncing: x ]---\n");
	RUN_UNTIL(dev.panic);
	console_last_lines(con, last, sizeof(last));
	ck_assert_ptr_nonnull(strstr(last, "---[ end"));
	console_drain(con, -1, -1);
	console_stats(con, &bytes, &writes);
	ck_assert_uint_eq(writes, 2); /* "one", and the one that failed */
	free_console();
}
END_TEST

START_TEST(test_no_streams)
{
	const int closed = 1000;
	uint64_t bytes, writes;

	for (int i = 0; i < 2; i++) {
		new_console(i ? closed : -1, i ? closed : -1);
		print_text("Kernel panic - not syncing: x\n");
		settle();
		ck_assert_str_eq(console_panic_line(con), "Kernel panic - not syncing: x");
		ck_assert_uint_eq(dev.panic, 0);
		console_drain(con, -1, -1);
		console_stats(con, &bytes, &writes);
		ck_assert_uint_eq(bytes, 30);
		ck_assert_uint_eq(writes, 0);
		free_console();
	}
}
END_TEST

START_TEST(test_full_disk)
{
	int full = open("/dev/full", O_WRONLY);

	ck_assert_int_ge(full, 0);
	new_console(-1, full);
	print_text("lost\n");
	settle();
	print_text("Kernel panic - not syncing: x\n");
	settle();
	ck_assert_ptr_nonnull(console_panic_line(con));
	ck_assert_int_eq(console_output_error(con), -ENOSPC);
	free_console();
}
END_TEST

static void new_copying_console(int out_fd, int copy_fd)
{
	const struct console_config cfg = { .in_fd = -1,
					    .out_fd = out_fd,
					    .copy_fd = copy_fd,
					    .copy_name = "the copy",
					    .loop = &loop };

	signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(console_new(&cfg, &con), 0);
	ck_assert_int_eq(console_start(con), 0);
}

/* Each byte once and in order, whether anybody reads standard output or not. */
START_TEST(test_copy)
{
	int copy = memfd_create("copy", 0), out[2];
	char text[32] = "";

	ck_assert_int_eq(pipe(out), 0);
	close(out[0]);
	new_copying_console(out[1], copy);
	print_text("one\n\033[0m");
	settle();
	print_text("\377two");
	settle();
	console_drain(con, -1, -1);
	ck_assert_int_eq(pread(copy, text, sizeof(text), 0), 12);
	ck_assert_str_eq(text, "one\n\033[0m\377two");
	ck_assert_int_eq(console_output_error(con), 0); /* a reader who left is none */
	free_console();
	close(copy);
}
END_TEST

/* A copy that takes no more costs nothing but itself. */
START_TEST(test_copy_full)
{
	int full = open("/dev/full", O_WRONLY), out = memfd_create("out", 0), fifo[2];
	static char much[256 * 1024];
	char text[8] = "";

	new_copying_console(out, full);
	print_text("one");
	settle();
	print_text("two");
	console_drain(con, -1, -1);
	ck_assert_int_eq(pread(out, text, sizeof(text), 0), 6);
	ck_assert_str_eq(text, "onetwo");
	ck_assert_int_eq(console_output_error(con), -ENOSPC);
	free_console();

	memset(much, 'x', sizeof(much));
	ck_assert_int_eq(pipe2(fifo, O_NONBLOCK), 0);
	new_copying_console(out, fifo[1]);
	ck_assert_uint_eq(console_put(con, much, sizeof(much)), sizeof(much));
	console_drain(con, -1, -1);
	ck_assert_int_eq(console_output_error(con), -EAGAIN);
	free_console();
}
END_TEST

/* A panic is seen although nobody reads, and told once. */
START_TEST(test_panic_with_stopped_reader)
{
	static const uint8_t chunk[200000];
	int out[2];

	ck_assert_int_eq(pipe(out), 0);
	new_console(-1, out[1]);
	ck_assert_ptr_null(console_panic_line(con));
	put_all(chunk, sizeof(chunk));
	settle();
	print_text("\n[    1.234567] Kernel panic - not syncing: gone\n");
	settle();
	ck_assert_str_eq(console_panic_line(con), "Kernel panic - not syncing: gone");
	ck_assert_uint_eq(dev.panic, 0);
	print_text("[    1.3] ---[ end Kernel panic - not syncing: gone ]---\n");
	settle();
	ck_assert_uint_eq(dev.panic, 1);
	print_text("[    1.4] ---[ end Kernel panic - not syncing: gone ]---\n");
	settle();
	ck_assert_uint_eq(dev.panic, 1);
	free_console();
}
END_TEST

/* The last words count, and only if they are the last. */
START_TEST(test_halted)
{
	double start;

	new_console(-1, -1);
	print_text("[    1.234567] reboot: Restarting system\n");
	settle();
	ck_assert(console_restarting(con));
	print_text("[    1.234567] reboot: System halted\n");
	settle();
	ck_assert(!console_restarting(con));
	print_text("login: "); /* it was another kernel's */
	print_text("\n[    1.234567] reboot: Power down\nlogin: ");
	start = now_s();
	while (now_s() - start < 1.5)
		loop_once(&loop, 50);
	ck_assert_uint_eq(dev.halted, 0);
	print_text("\n[    2.345678] reboot: System halted\n");
	RUN_UNTIL(dev.halted);
	ck_assert_double_lt(now_s() - start, 1.5 + 3);
	print_text("[    3.456789] reboot: Power down\n");
	RUN_UNTIL(dev.halted == 2);
	free_console();
}
END_TEST

/* ---- the end ---- */

struct slow_reader {
	int fd;
	size_t len;
};

static void *slow_reader(void *arg)
{
	struct slow_reader *r = arg;
	uint8_t buf[5000];
	ssize_t n;

	while ((n = read(r->fd, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != pattern(r->len + (size_t)i))
				return NULL;
		r->len += (size_t)n;
	}
	return r;
}

START_TEST(test_drain_waits)
{
	static uint8_t chunk[900000];
	struct slow_reader reader = { 0 };
	pthread_t thread;
	void *ok;
	int out[2];

	ck_assert_int_eq(pipe(out), 0);
	reader.fd = out[0];
	fill_pattern(chunk, sizeof(chunk), 0);
	new_console(-1, out[1]);
	put_all(chunk, sizeof(chunk));
	ck_assert_int_eq(pthread_create(&thread, NULL, slow_reader, &reader), 0);
	console_drain(con, -1, -1);
	free_console();
	close(out[1]);
	pthread_join(thread, &ok);
	ck_assert_ptr_nonnull(ok);
	ck_assert_uint_eq(reader.len, sizeof(chunk));
}
END_TEST

START_TEST(test_drain_is_interrupted)
{
	static const uint8_t chunk[200000];
	int out[2], interrupt = eventfd(1, 0);

	ck_assert_int_eq(pipe(out), 0);
	new_console(-1, out[1]);
	put_all(chunk, sizeof(chunk));
	console_drain(con, interrupt, -1); /* nobody reads */
	ck_assert_uint_eq(readable(out[0]), 65536);
	ck_assert_uint_eq(readable(out[0]), 65536);
	free_console();

	/* What fits is written even so. */
	ck_assert_int_eq(pipe(out), 0);
	new_console(-1, out[1]);
	print_text("Kernel panic - not syncing: x\n");
	console_drain(con, interrupt, -1);
	ck_assert_uint_eq(readable(out[0]), 30);
	ck_assert_ptr_nonnull(console_panic_line(con));
	free_console();
}
END_TEST

START_TEST(test_drain_loses_patience)
{
	static const uint8_t chunk[200000];
	int out[2];

	ck_assert_int_eq(pipe(out), 0);
	new_console(-1, out[1]);
	put_all(chunk, sizeof(chunk));
	console_drain(con, -1, 10); /* nobody reads */
	free_console();
}
END_TEST

/* ---- input ---- */

START_TEST(test_input_from_pipe)
{
	int in[2];

	ck_assert_int_eq(pipe(in), 0);
	new_console(in[0], -1);
	send_all(in[1], "hello\001x\n", 8); /* no escape keys: not a terminal */
	expect_got("hello\001x\n");
	send_all(in[1], "more", 4);
	expect_got("hello\001x\nmore");
	ck_assert_uint_eq(dev.quit, 0);
	guest_reads(); /* nothing was refused, so there is nothing to do */
	ck_assert_int_eq(loop_once(&loop, 20), 0);
	send_all(in[1], "end", 3);
	close(in[1]);
	expect_got("hello\001x\nmoreend");
	ck_assert_uint_eq(dev.in_ended, 0);
	ck_assert_int_eq(loop_once(&loop, 0), 1);  /* the end of the pipe is read once ... */
	ck_assert_int_eq(loop_once(&loop, 20), 0); /* ... and is then no event any more */
	ck_assert_uint_eq(dev.in_ended, 1);
	guest_reads();
	loop_once(&loop, 20);
	ck_assert_uint_eq(dev.in_ended, 1);
	ck_assert_int_eq(fcntl(in[0], F_GETFL) & O_NONBLOCK, 0);
	free_console();
}
END_TEST

/* The guest has room again while there is nothing to read: that is not the end of the input. */
START_TEST(test_input_pauses)
{
	int in[2];

	ck_assert_int_eq(pipe(in), 0);
	new_console(in[0], -1);
	dev.fifo_bytes = 3;
	send_all(in[1], "abcd", 4);
	expect_got("abc");
	guest_reads();
	expect_got("abcd");
	settle();
	send_all(in[1], "e", 1);
	expect_got("abcde");
	free_console();
}
END_TEST

/* @fd holds the pattern; the guest takes 16 bytes at a time. */
static void check_flow(int fd, size_t len, int pipe_fd)
{
	new_console(fd, -1);
	dev.fifo_bytes = 16;
	console_attach(con, NULL);
	attach();
	while (dev.n_got < len) {
		size_t want = dev.n_got + 16 < len ? dev.n_got + 16 : len;

		guest_reads();
		RUN_UNTIL(dev.n_got == want);
		if (pipe_fd >= 0 && want + 1024 < len)
			ck_assert_uint_ge(readable(pipe_fd), len - want - 256);
	}
	guest_reads();
	settle();
	ck_assert_uint_eq(dev.n_got, len);
	for (size_t i = 0; i < len; i++)
		ck_assert_uint_eq((uint8_t)dev.got[i], pattern(i));
	free_console();
}

START_TEST(test_input_flow)
{
	static uint8_t data[60001];
	int in[2], file = memfd_create("in", 0);

	fill_pattern(data, sizeof(data), 0);
	ck_assert_int_eq(pipe(in), 0);
	send_all(in[1], data, sizeof(data));
	check_flow(in[0], sizeof(data), in[0]);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, in), 0);
	send_all(in[1], data, sizeof(data));
	check_flow(in[0], sizeof(data), -1);
	send_all(file, data, sizeof(data));
	ck_assert_int_eq(lseek(file, 0, SEEK_SET), 0);
	check_flow(file, sizeof(data), -1);
}
END_TEST

/* A guest that reads while the device reports that it is full: the wake-up is not lost. */
static size_t racing_input(void *ctx, const uint8_t *buf, size_t len)
{
	size_t n = dev_input(ctx, buf, len);

	if (n < len)
		guest_reads();
	return n;
}

START_TEST(test_input_race)
{
	const struct console_device device = { .input = racing_input, .dev = &dev };
	char data[1000];
	int in[2];

	ck_assert_int_eq(pipe(in), 0);
	memset(data, 'r', sizeof(data));
	send_all(in[1], data, sizeof(data));
	new_console(in[0], -1);
	dev.fifo_bytes = 16;
	console_attach(con, &device);
	RUN_UNTIL(dev.n_got == sizeof(data));
	free_console();
}
END_TEST

START_TEST(test_input_needs_device)
{
	int in[2];

	ck_assert_int_eq(pipe(in), 0);
	new_console(in[0], -1);
	console_attach(con, NULL);
	send_all(in[1], "early", 5);
	settle();
	ck_assert_uint_eq(readable(in[0]), 5);
	attach();
	expect_got("early");
	free_console();
}
END_TEST

START_TEST(test_input_at_end)
{
	int null = open("/dev/null", O_RDWR);

	new_console(null, null);
	settle();
	ck_assert_uint_eq(dev.n_got, 0);
	ck_assert_int_eq(loop_once(&loop, 0), 0);
	print_text("dropped");
	settle();
	free_console();
}
END_TEST

/* Input without an end must not starve the rest. */
START_TEST(test_input_endless)
{
	int zero = open("/dev/zero", O_RDONLY);

	new_console(zero, -1);
	dev.fifo_bytes = sizeof(dev.got);
	expect_responsive();
	free_console();
}
END_TEST

START_TEST(test_send)
{
	char many[4096];

	new_console(-1, -1);
	console_send(con, (const uint8_t *)"h", 1, true);
	expect_got("!h");
	console_send(con, (const uint8_t *)"\001x", 2, false);
	expect_got("!h\001x");
	ck_assert_uint_eq(dev.quit, 0);
	/* The guest does not read: kept in order as long as there is room for all of it. */
	dev.n_got = 0;
	dev.fifo_bytes = dev.n_fifo;
	memset(many, 'm', sizeof(many));
	console_send(con, (const uint8_t *)many, 4000, true);
	console_send(con, (const uint8_t *)many, 94, true); /* room for one more */
	console_send(con, (const uint8_t *)"x", 1, true);
	console_send(con, (const uint8_t *)"m", 1, false);
	console_send(con, (const uint8_t *)"x", 1, false);
	console_send(con, NULL, 0, true);
	ck_assert_uint_eq(dev.n_got, 1);
	dev.fifo_bytes = SIZE_MAX;
	guest_reads();
	settle();
	ck_assert_uint_eq(dev.n_got, 1 + 4000 + 1 + 95);
	ck_assert_int_eq(dev.got[4001], '!');
	free_console();
}
END_TEST

/* ---- terminal ---- */

static bool is_raw(int fd)
{
	struct termios t;

	ck_assert_int_eq(tcgetattr(fd, &t), 0);
	return !(t.c_lflag & (ICANON | ISIG | ECHO)) && !(t.c_oflag & OPOST) &&
	       !(t.c_iflag & (ICRNL | IXON));
}

START_TEST(test_input_is_piped)
{
	int pipes[2], sockets[2], tty, slave, file = memfd_create("input", 0);

	ck_assert_int_eq(pipe(pipes), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	ck_assert_int_eq(openpty(&tty, &slave, NULL, NULL, NULL), 0);
	const struct {
		int fd;
		bool piped;
	} inputs[] = { { pipes[0], true }, { sockets[0], true }, { file, true },
		       { slave, false },   { -1, false },
		       { open("/dev/null", O_RDONLY), false } };

	for (unsigned i = 0; i < ARRAY_SIZE(inputs); i++) {
		new_console(inputs[i].fd, -1);
		ck_assert_int_eq(console_input_is_piped(con), inputs[i].piped);
		free_console();
	}
}
END_TEST

/* A break is a byte where there is no line; with neither it is nothing. */
START_TEST(test_break_key)
{
	new_console(-1, -1);
	console_attach(con, NULL);
	attach_without_line(0x0f);
	dev.fifo_bytes = 1;
	console_send(con, (const uint8_t *)"h", 1, true);
	expect_got("\x0f"); /* there is no room for more */
	guest_reads();
	settle();
	expect_got("\x0fh");
	console_attach(con, NULL);
	attach_without_line(0);
	dev.fifo_bytes = SIZE_MAX;
	console_send(con, (const uint8_t *)"h", 1, true);
	expect_got("\x0fhh");
	free_console();
}
END_TEST

START_TEST(test_terminal)
{
	static const char guest[] = "a\r\nb\nc\t";
	struct termios before, after;
	int master, slave;

	ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
	ck_assert_int_eq(tcgetattr(slave, &before), 0);
	new_console(slave, slave);
	ck_assert(is_raw(slave));
	print_text(guest);
	expect_read(master, guest, strlen(guest));
	send_all(master, "ls\r\003\032\004\377", 7);
	expect_got("ls\r\003\032\004\377");
	ck_assert_uint_eq(readable(master), 0); /* no echo */
	ck_assert_int_eq(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);
	free_console();
	ck_assert_int_eq(tcgetattr(slave, &after), 0);
	ck_assert_uint_eq(before.c_iflag, after.c_iflag);
	ck_assert_uint_eq(before.c_oflag, after.c_oflag);
	ck_assert_uint_eq(before.c_cflag, after.c_cflag);
	ck_assert_uint_eq(before.c_lflag, after.c_lflag);
	ck_assert_mem_eq(before.c_cc, after.c_cc, sizeof(before.c_cc));
}
END_TEST

START_TEST(test_escape_keys)
{
	int master, slave;

	ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
	new_console(slave, -1);
	send_all(master, "1\001b2\001a3\001q4\001", 11);
	expect_got("1!2\00134");
	ck_assert_uint_eq(dev.quit, 0);
	send_all(master, "?5", 2);
	expect_got("1!2\001345");
	send_all(master, "\001x", 2);
	RUN_UNTIL(dev.quit);
	free_console();
}
END_TEST

/* A guest that does not listen: keys are kept in order, and Ctrl-a x still works. */
START_TEST(test_type_ahead)
{
	int master, slave;

	ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
	new_console(slave, -1);
	dev.fifo_bytes = 1;
	send_all(master, "ab\001bc", 5);
	expect_got("a");
	send_all(master, "d\001x", 3);
	RUN_UNTIL(dev.quit);
	ck_assert_uint_eq(dev.n_got, 1);
	guest_reads();
	expect_got("ab!");
	guest_reads();
	expect_got("ab!c");
	guest_reads();
	expect_got("ab!cd");
	free_console();
}
END_TEST

/* More than can be kept stays in the terminal, and console_send() cannot make it overflow. */
START_TEST(test_type_ahead_limit)
{
	static uint8_t data[20000];
	size_t sent = 0, n_send = 0, typed = 0;
	int master, slave;

	ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
	new_console(slave, -1);
	dev.fifo_bytes = 0;
	fcntl(master, F_SETFL, O_NONBLOCK);
	memset(data, 'd', sizeof(data));
	while (sent < sizeof(data)) {
		ssize_t n = write(master, data + sent,
				  sizeof(data) - sent < 500 ? sizeof(data) - sent : 500);

		if (n > 0)
			sent += (size_t)n;
		console_send(con, (const uint8_t *)"sssss", 5, false);
		n_send += 5;
		settle();
		if (n <= 0)
			break;
	}
	ck_assert_uint_gt(sent, 4096);
	ck_assert_uint_eq(dev.n_got, 0);
	dev.fifo_bytes = SIZE_MAX;
	guest_reads();
	settle();
	for (size_t i = 0; i < dev.n_got; i++)
		typed += dev.got[i] == 'd';
	ck_assert_uint_eq(typed, sent);
	ck_assert_uint_le(dev.n_got - typed, n_send);
	free_console();
}
END_TEST

/* ---- job control: a session leader (the shell) and lkvm in a process group of its own ---- */

static int job_says[2];
static int job_master;
static int job_diag = 2; /* what 2 was before it became the terminal */

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			dprintf(job_diag, "line %d: %s\n", __LINE__, #cond);                       \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

/* The shell waits for the job to say @what. */
static void hear(char what)
{
	struct pollfd pfd = { .fd = job_says[0], .events = POLLIN };
	char c = 0;

	CHECK(poll(&pfd, 1, 20000) == 1);
	CHECK(read(job_says[0], &c, 1) == 1);
	if (c != what)
		dprintf(job_diag, "want '%c', got '%c'\n", what, c);
	CHECK(c == what);
}

static void say(char what)
{
	CHECK(write(job_says[1], &what, 1) == 1);
}

static void cooked(void)
{
	struct termios t;

	tcgetattr(0, &t);
	t.c_lflag |= ICANON | ECHO | ISIG;
	t.c_oflag |= OPOST;
	tcsetattr(0, TCSANOW, &t);
}

static pid_t start_job(void (*job)(void), bool front)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		signal(SIGTTOU, SIG_DFL);
		setpgid(0, 0);
		while (front && tcgetpgrp(0) != getpgrp())
			usleep(1000);
		job();
		_exit(0);
	}
	setpgid(pid, pid);
	if (front)
		CHECK(tcsetpgrp(0, pid) == 0);
	return pid;
}

static void expect_running(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, WNOHANG | WUNTRACED) == 0);
}

static void expect_stopped(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, WUNTRACED) == pid);
	CHECK(WIFSTOPPED(status));
	CHECK(WSTOPSIG(status) == SIGSTOP);
}

static void expect_exit(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, WUNTRACED) == pid);
	CHECK(status == 0);
}

static void run_session(void (*shell)(void))
{
	int slave, status;
	pid_t pid;

	ck_assert_int_eq(openpty(&job_master, &slave, NULL, NULL, NULL), 0);
	ck_assert_int_eq(pipe(job_says), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		job_diag = dup(2);
		CHECK(login_tty(slave) == 0);
		signal(SIGTTOU, SIG_IGN);
		shell();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(!status, "status %#x", status);
}

static void set_cols(unsigned short cols)
{
	const struct winsize size = { .ws_col = cols, .ws_row = 25 };

	CHECK(ioctl(job_master, TIOCSWINSZ, &size) == 0);
}

static void background_job(void)
{
	new_console(0, -1);
	say(is_raw(0) ? 'r' : 'c');
	RUN_UNTIL(is_raw(0));
	CHECK(dev.cols == 101); /* no signal said so */
	CHECK(loop_once(&loop, 300) == 0); /* stops looking for it */
	say('r');
	RUN_UNTIL(dev.n_got == 3);
	CHECK(!memcmp(dev.got, "key", 3));
	say('k');
	RUN_UNTIL(tcgetpgrp(0) != getpgrp());
	say('b');
	while (!loop_once(&loop, 1000))
		;               /* what was typed is not ours to read */
	log_info("background"); /* the terminal makes CR LF of LF again by itself */
	say('m');
	RUN_UNTIL(dev.quit && dev.n_got == 4);
	CHECK(!memcmp(dev.got, "key\n", 4));
	CHECK(dev.cols == 102);
	free_console();
}

static void expect_shown(const char *text)
{
	struct pollfd pfd = { .fd = job_master, .events = POLLIN };
	char shown[1024] = "";
	size_t len = 0;

	while (!strstr(shown, text)) {
		ssize_t n;

		CHECK(poll(&pfd, 1, 20000) == 1);
		n = read(job_master, shown + len, sizeof(shown) - 1 - len);
		CHECK(n > 0);
		len += (size_t)n;
	}
}

/* `lkvm run &`, fg, and away again: what is typed meanwhile is the shell's. */
static void background_shell(void)
{
	pid_t pid = start_job(background_job, false);
	char line[16];

	hear('c');
	expect_running(pid);
	send_all(job_master, "first\n", 6);
	CHECK(read(0, line, sizeof(line)) == 6);
	expect_running(pid);
	set_cols(101);
	CHECK(tcsetpgrp(0, pid) == 0);
	hear('r');
	send_all(job_master, "key", 3);
	hear('k');
	CHECK(tcsetpgrp(0, getpgrp()) == 0);
	cooked();
	hear('b');
	send_all(job_master, "second\n", 7);
	hear('m');
	expect_running(pid);
	CHECK(read(0, line, sizeof(line)) == 7);
	CHECK(!is_raw(0));
	expect_shown("lkvm: background\r\n");
	set_cols(102);
	CHECK(tcsetpgrp(0, pid) == 0);
	send_all(job_master, "\001x\n", 3);
	expect_exit(pid);
	CHECK(!is_raw(0));
}

START_TEST(test_background)
{
	run_session(background_shell);
}
END_TEST

static void on_continue(struct loop_source *src, uint32_t events)
{
	struct signalfd_siginfo info;

	(void)events;
	CHECK(read(src->fd, &info, sizeof(info)) == sizeof(info));
	console_continued(con);
}

static void suspended_job(void)
{
	struct loop_source continued = { .ready = on_continue };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCONT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	continued.fd = signalfd(-1, &set, 0);
	new_console(0, -1);
	CHECK(is_raw(0));
	console_suspend(con); /* SIGTSTP */
	say(is_raw(0) ? 'r' : 'c');
	RUN_UNTIL(is_raw(0));
	CHECK(loop_add(&loop, &continued, EPOLLIN) == 0);
	loop_once(&loop, 0); /* the signal that ended the first stop */
	say('r');
	RUN_UNTIL(dev.quit);
	CHECK(dev.cols == 103);
	free_console();
}

static void suspended_shell(void)
{
	pid_t pid = start_job(suspended_job, true);

	expect_stopped(pid);
	CHECK(!is_raw(0));
	CHECK(tcsetpgrp(0, getpgrp()) == 0);
	kill(pid, SIGCONT); /* bg */
	hear('c');
	expect_running(pid);
	CHECK(!is_raw(0));
	CHECK(tcsetpgrp(0, pid) == 0); /* fg */
	hear('r');

	kill(pid, SIGSTOP); /* nobody could prepare for this one */
	expect_stopped(pid);
	CHECK(is_raw(0));
	CHECK(tcsetpgrp(0, getpgrp()) == 0);
	cooked();
	set_cols(103);
	CHECK(tcsetpgrp(0, pid) == 0);
	kill(pid, SIGCONT);
	for (unsigned i = 0; !is_raw(0); i++) {
		CHECK(i < 20000);
		usleep(1000);
	}
	send_all(job_master, "\001x", 2);
	expect_exit(pid);
	CHECK(!is_raw(0));
}

START_TEST(test_suspend)
{
	run_session(suspended_shell);
}
END_TEST

static void leaving_job(void)
{
	new_console(0, -1);
	CHECK(is_raw(0));
	say('r');
	while (tcgetpgrp(0) == getpgrp())
		usleep(1000);
	say('b');
	free_console();
}

/* lkvm ends in the background: the terminal is not its any more. */
static void leaving_shell(void)
{
	pid_t pid = start_job(leaving_job, true);

	hear('r');
	CHECK(tcsetpgrp(0, getpgrp()) == 0);
	hear('b');
	expect_exit(pid);
	CHECK(is_raw(0));
}

START_TEST(test_leave_in_background)
{
	run_session(leaving_shell);
}
END_TEST

/* A reader who does not read must be able to end it: Ctrl-C works again. */
START_TEST(test_drain_restores_terminal)
{
	static const uint8_t chunk[200000];
	int master, slave, interrupt = eventfd(1, 0);

	ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
	new_console(slave, slave);
	print_text("short");
	console_drain(con, interrupt, -1);
	ck_assert(is_raw(slave));
	put_all(chunk, sizeof(chunk));
	console_drain(con, interrupt, -1);
	ck_assert(!is_raw(slave));
	free_console();
}
END_TEST

/* A signal before the start must not take the terminal. */
START_TEST(test_continued_early)
{
	struct console_config cfg = { .out_fd = -1, .loop = &loop };
	int master;

	ck_assert_int_eq(openpty(&master, &cfg.in_fd, NULL, NULL, NULL), 0);
	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(console_new(&cfg, &con), 0);
	console_continued(con);
	ck_assert(!is_raw(cfg.in_fd));
	free_console();
}
END_TEST

/* ---- construction ---- */

static unsigned count_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

START_TEST(test_free_closes)
{
	int in[2], out[2];
	unsigned fds;

	ck_assert_int_eq(pipe(in), 0);
	ck_assert_int_eq(pipe(out), 0);
	fds = count_fds();
	new_console(in[0], out[1]);
	ck_assert_uint_gt(count_fds(), fds + 2);
	free_console();
	ck_assert_uint_eq(count_fds(), fds);
}
END_TEST

static uint64_t resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	unsigned long size, resident;

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%lu %lu", &size, &resident), 2);
	fclose(f);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The ring is used from its start whenever it was empty: as long as it is read, little is touched.
 */
START_TEST(test_memory)
{
	static uint8_t chunk[32768];
	uint64_t before;
	int out[2];

	ck_assert_int_eq(pipe(out), 0);
	new_console(-1, out[1]);
	put_all(chunk, sizeof(chunk));
	expect_read(out[0], chunk, sizeof(chunk));
	before = resident_bytes();
	for (size_t total = 0; total < 2 * RING_BYTES; total += sizeof(chunk)) {
		put_all(chunk, sizeof(chunk));
		expect_read(out[0], chunk, sizeof(chunk));
	}
	ck_assert_uint_lt(resident_bytes(), before + RING_BYTES / 2);
	free_console();
}
END_TEST

START_TEST(test_new_fails)
{
	struct console_config cfg = { .in_fd = -1, .out_fd = -1, .loop = &loop };
	struct rlimit limit, before;
	unsigned failed = 0, fds;
	int next;

	ck_assert_int_eq(loop_init(&loop), 0);
	next = dup(0);
	close(next);
	fds = count_fds();
	getrlimit(RLIMIT_NOFILE, &before);
	limit = before;
	for (int err = -1; err; failed++) {
		limit.rlim_cur = (rlim_t)next + failed;
		setrlimit(RLIMIT_NOFILE, &limit);
		con = NULL;
		err = console_new(&cfg, &con);
		ck_assert_int_eq(err, con ? 0 : -EMFILE);
		console_free(con);
		/* The loop keeps the clock of its timers. */
		ck_assert_uint_eq(count_fds(), fds + (failed > 0));
	}
	setrlimit(RLIMIT_NOFILE, &before);
	ck_assert_uint_eq(failed, 3); /* none, one and two descriptors to be had */
	console_free(NULL);
	loop_fini(&loop);
	ck_assert_uint_eq(count_fds(), fds - 1);
}
END_TEST

UNIT_MAIN("console", test_output_is_exact, test_output_batches, test_output_is_prompt,
	  test_output_wraps, test_output_of_threads, test_stopped_pipe, test_stopped_socket,
	  test_stopped_terminal, test_output_to_file, test_reader_leaves, test_no_streams,
	  test_full_disk, test_copy, test_copy_full, test_panic_with_stopped_reader, test_halted, test_drain_waits,
	  test_drain_is_interrupted, test_drain_loses_patience, test_input_from_pipe,
	  test_input_pauses, test_input_flow, test_input_race, test_input_needs_device,
	  test_input_at_end, test_input_endless, test_send, test_input_is_piped,
	  test_break_key, test_terminal, test_escape_keys,
	  test_type_ahead, test_type_ahead_limit, test_background, test_suspend,
	  test_leave_in_background, test_drain_restores_terminal, test_continued_early,
	  test_free_closes, test_memory, test_new_fails)
