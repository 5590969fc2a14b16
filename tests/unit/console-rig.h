/*
 * A console between pipes that a test reads and writes and a device that is played here: a FIFO whose
 * guest empties it when the test says so.
 */
#ifndef TESTS_CONSOLE_RIG_H
#define TESTS_CONSOLE_RIG_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "lkvm/console.h"
#include "lkvm/types.h"
#include "unit.h"

#define RING_BYTES MIB

static struct loop loop;
static struct console *con;

/* A device with a FIFO of @fifo_bytes; break conditions are kept as '!'. */
static struct {
	size_t fifo_bytes, n_fifo;
	char got[70000];
	size_t n_got;
	atomic_uint writable;
	unsigned quit, panic, halted, cols, rows, in_ended;
} dev;

static inline void dev_input_ended(void *ctx)
{
	ck_assert_ptr_eq(ctx, &dev);
	dev.in_ended++;
}

static inline size_t dev_input(void *ctx, const uint8_t *buf, size_t len)
{
	size_t room = dev.fifo_bytes - dev.n_fifo;
	size_t n = len < room ? len : room;

	ck_assert_ptr_eq(ctx, &dev);
	ck_assert_uint_le(dev.n_got + n, sizeof(dev.got));
	memcpy(dev.got + dev.n_got, buf, n);
	dev.n_got += n;
	dev.n_fifo += n;
	return n;
}

static inline void dev_writable(void *ctx)
{
	ck_assert_ptr_eq(ctx, &dev);
	atomic_fetch_add(&dev.writable, 1);
}

static inline void dev_break(void *ctx)
{
	ck_assert_ptr_eq(ctx, &dev);
	dev.got[dev.n_got++] = '!';
}

/* The guest empties the FIFO. */
static inline void guest_reads(void)
{
	dev.n_fifo = 0;
	console_input_wanted(con);
}

static inline void on_quit(void *ctx)
{
	ck_assert_ptr_eq(ctx, &dev);
	dev.quit++;
}

static inline void on_panic(void *ctx)
{
	ck_assert_ptr_eq(ctx, &dev);
	dev.panic++;
}

static inline void on_halted(void *ctx)
{
	ck_assert_ptr_eq(ctx, &dev);
	dev.halted++;
}

static inline void dev_resize(void *ctx, uint16_t cols, uint16_t rows)
{
	(void)ctx;
	dev.cols = cols;
	dev.rows = rows;
}

static inline void attach(void)
{
	const struct console_device device = { .input = dev_input,
					       .writable = dev_writable,
					       .send_break = dev_break,
					       .resize = dev_resize,
					       .input_ended = dev_input_ended,
					       .dev = &dev };

	console_attach(con, &device);
}

/* Like a virtio console, which has no line that could break. */
static inline void attach_without_line(uint8_t break_key)
{
	console_attach(con, &(struct console_device){
				    .input = dev_input, .break_key = break_key, .dev = &dev });
}

static inline void new_console(int in_fd, int out_fd)
{
	const struct console_config cfg = { .in_fd = in_fd,
					    .out_fd = out_fd,
					    .loop = &loop,
					    .quit = on_quit,
					    .panic = on_panic,
					    .halted = on_halted,
					    .ctx = &dev };

	signal(SIGPIPE, SIG_IGN);
	memset(&dev, 0, sizeof(dev));
	dev.fifo_bytes = SIZE_MAX;
	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(console_new(&cfg, &con), 0);
	attach();
	ck_assert_int_eq(console_start(con), 0);
}

static inline void free_console(void)
{
	console_free(con);
	loop_fini(&loop);
}

static inline double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

#define RUN_UNTIL(cond)                                                                            \
	do {                                                                                       \
		double end_ = now_s() + 20;                                                        \
		while (!(cond)) {                                                                  \
			ck_assert_int_ge(loop_once(&loop, 10), 0);                                 \
			ck_assert_msg(now_s() < end_, "%s: does not happen", #cond);               \
		}                                                                                  \
	} while (0)

/* Let everything happen that can happen now; a batch of output is ready after a millisecond. */
static inline void settle(void)
{
	while (loop_once(&loop, 20) > 0)
		;
}

static inline void put_all(const void *buf, size_t len)
{
	ck_assert_uint_eq(console_put(con, buf, len), len);
}

static inline void print_text(const char *text)
{
	put_all(text, strlen(text));
}

static inline size_t readable(int fd)
{
	int n = 0;

	ck_assert_int_eq(ioctl(fd, FIONREAD, &n), 0);
	return (size_t)n;
}

static inline void expect_read(int fd, const void *want, size_t len)
{
	static uint8_t got[65536];

	for (size_t at = 0; at < len;) {
		size_t most = len - at < sizeof(got) ? len - at : sizeof(got);
		ssize_t n;

		RUN_UNTIL(readable(fd));
		n = read(fd, got, most);
		ck_assert_int_gt(n, 0);
		ck_assert_mem_eq(got, (const uint8_t *)want + at, (size_t)n);
		at += (size_t)n;
	}
}

static inline void send_all(int fd, const void *buf, size_t len)
{
	ck_assert_int_eq(write(fd, buf, len), (ssize_t)len);
}

static inline void expect_got(const char *want)
{
	RUN_UNTIL(dev.n_got >= strlen(want));
	ck_assert_uint_eq(dev.n_got, strlen(want));
	ck_assert_mem_eq(dev.got, want, strlen(want));
}

static inline uint8_t pattern(uint64_t i)
{
	return (uint8_t)(i * 2654435761U >> 13);
}

static inline void fill_pattern(uint8_t *buf, size_t len, uint64_t from)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = pattern(from + i);
}

#endif
