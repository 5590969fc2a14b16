/*
 * Output of the guest's console; see console.h. The ring holds [tail, head): bytes the guest has written
 * and standard output has not taken. Positions only grow, and start again at zero whenever the ring is
 * empty, so that a machine which is read promptly touches a page or two of it. The main thread reads the
 * ring without the lock: nobody else moves @tail, and the producers write only outside [tail, head).
 *
 * The first byte into a scanned ring arms a timer for the main thread. Whatever else comes until it
 * fires costs the producer a lock and a copy, and all of it becomes one write(2).
 */
#include "console-internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/byte-ring.h"
#include "lkvm/console/tty.h"
#include "lkvm/log.h"

#define BATCH_NS      1000000     /* how long output waits for more of it */
#define TURN_BYTES    (256 * KIB) /* written before the main loop's other sources get their turn */
#define HALT_SECONDS  1 /* of silence behind "System halted": it was said by this guest's kernel */
#define POWER_SECONDS 5 /* ... "Power down", after which the power should go */

/* ---- the ring ---- */

size_t console_put(struct console *con, const void *buf, size_t len)
{
	size_t room, n;
	bool arm;

	pthread_mutex_lock(&con->lock);
	room = RING_BYTES - (con->head - con->tail);
	n = len < room ? len : room;
	byte_ring_put(con->ring, RING_BYTES, con->head, buf, n);
	con->head += n;
	con->taken += n;
	con->starved |= n < len;
	arm = n && !con->armed;
	con->armed |= arm;
	pthread_mutex_unlock(&con->lock);
	if (arm)
		console_set_timer(&con->out_timer, BATCH_NS);
	return n;
}

/* Take note of what is in the ring now; what comes later arms the timer again. */
static uint64_t ring_look(struct console *con)
{
	uint64_t head;

	pthread_mutex_lock(&con->lock);
	head = con->head;
	con->armed = false;
	pthread_mutex_unlock(&con->lock);
	return head;
}

static void tell_writable(const struct console *con)
{
	for (unsigned i = 0; i < con->n_devices; i++)
		if (con->device[i].writable)
			con->device[i].writable(con->device[i].dev);
}

static void ring_consume(struct console *con, size_t n)
{
	bool room;

	pthread_mutex_lock(&con->lock);
	con->tail += n;
	if (con->tail == con->head)
		con->head = con->tail = con->scanned = 0;
	/* Not for every byte that a slow reader takes: the device interrupts its guest for it. */
	room = con->starved && con->head - con->tail <= RING_BYTES / 4 * 3;
	con->starved &= !room;
	pthread_mutex_unlock(&con->lock);
	if (room)
		tell_writable(con);
}

/* The part of [from, to) that lies in one piece. */
static size_t ring_piece(const struct console *con, uint64_t from, uint64_t to, uint8_t **ret)
{
	size_t at = from % RING_BYTES;

	*ret = con->ring + at;
	return to - from < RING_BYTES - at ? to - from : RING_BYTES - at;
}

/* ---- what the guest says ---- */

static void ending_fired(struct timer *timer)
{
	struct console *con = container_of(timer, struct console, ending);

	if (console_scan_silent(&con->scan) && con->cfg.halted)
		con->cfg.halted(con->cfg.ctx);
}

/*
 * A kernel that says that it is at its end should be silent then. If it is not, the words were those
 * of another kernel, whose console this guest shows on its own.
 */
static void watch_ending(struct console *con)
{
	if (con->scan.ending_at == con->ending_at)
		return;
	con->ending_at = con->scan.ending_at;
	if (con->scan.ending == SCAN_RESTARTS)
		return;
	console_set_timer(&con->ending,
		  (con->scan.ending == SCAN_HALTS ? HALT_SECONDS : POWER_SECONDS) * NS_PER_S);
}

/* To --log; a file, or whatever else takes it at once. */
static void copy_output(struct console *con, const uint8_t *buf, size_t len)
{
	while (con->cfg.copy_fd && !con->copy_dead && len) {
		ssize_t n = write(con->cfg.copy_fd, buf, len);

		if (n > 0) {
			buf += n;
			len -= (size_t)n;
		} else if (n < 0 && errno != EINTR) {
			con->copy_dead = true;
			con->out_error = log_err(-errno, "write '%s'", con->cfg.copy_name);
		}
	}
}

static void scan_output(struct console *con, uint64_t head)
{
	if (con->scanned != head)
		con->active_ns = now_ns();
	if (con->cfg.plain || con->cfg.unread)
		return;
	while (con->scanned != head) {
		uint8_t *piece;
		size_t n = ring_piece(con, con->scanned, head, &piece);

		n = n < KEPT_BYTES ? n : KEPT_BYTES; /* a client who keeps up misses nothing */
		console_scan_feed(&con->scan, piece, n);
		copy_output(con, piece, n);
		console_keep(con, piece, n);
		con->scanned += n;
	}
	if (con->scan.halted && !con->told_panic) {
		con->told_panic = true;
		if (con->cfg.panic)
			con->cfg.panic(con->cfg.ctx);
	}
	watch_ending(con);
}

uint64_t console_look(struct console *con)
{
	uint64_t head = ring_look(con);

	scan_output(con, head);
	return head;
}

/* ---- standard output ---- */

/* Return: bytes that are done with, or -EAGAIN. */
static ssize_t write_some(struct console *con, const uint8_t *buf, size_t len)
{
	ssize_t n;

	if (con->out_dead)
		return (ssize_t)len;
	con->writes++;
	n = stream_write(&con->out, buf, len);
	if (n > 0)
		con->out_last = buf[n - 1];
	if (n >= 0 || n == -EAGAIN)
		return n;
	con->out_dead = true;
	if (n != -EPIPE)
		con->out_error = log_err((int)n, "write to standard output");
	else
		log_debug(LOG_DEVICE, "nobody reads standard output any more");
	return (ssize_t)len;
}

/* Write up to @max of the @left scanned bytes. Return: bytes left after that, or when blocked. */
static uint64_t write_output(struct console *con, uint64_t left, uint64_t max)
{
	uint64_t stop_at = left < max ? 0 : left - max;

	while (left > stop_at) {
		uint8_t *piece;
		size_t len = ring_piece(con, con->tail, con->tail + left - stop_at, &piece);
		ssize_t n = write_some(con, piece, len);

		if (n <= 0)
			break;
		left -= (size_t)n;
		ring_consume(con, (size_t)n);
	}
	return left;
}

static void watch_room(struct console *con)
{
	con->out_room.fd = con->out.fd;
	con->out_blocked = loop_add(con->cfg.loop, &con->out_room, EPOLLOUT) == 0;
	if (!con->out_blocked) /* a file cannot be watched, it is always ready */
		console_set_timer(&con->out_timer, 0);
}

static void run_output(struct console *con)
{
	uint64_t head = console_look(con);

	if (!con->out_blocked && write_output(con, head - con->tail, TURN_BYTES))
		watch_room(con);
}

static void out_timer_fired(struct timer *timer)
{
	run_output(container_of(timer, struct console, out_timer));
}

static void out_room_ready(struct loop_source *src, uint32_t events)
{
	struct console *con = container_of(src, struct console, out_room);

	(void)events;
	loop_del(con->cfg.loop, src);
	con->out_blocked = false;
	run_output(con);
}

/* Return: false if there was a signal first, or the patience is over. */
static bool wait_for_room(const struct console *con, int interrupt_fd, int patience_ms)
{
	struct pollfd pfd[] = {
		{ .fd = con->out.fd, .events = POLLOUT },
		{ .fd = interrupt_fd, .events = POLLIN },
	};
	int n;

	do {
		n = poll(pfd, ARRAY_SIZE(pfd), patience_ms);
	} while (n < 0 && errno == EINTR);
	return n > 0 && !pfd[1].revents;
}

void console_drain(struct console *con, int interrupt_fd, int patience_ms)
{
	for (;;) {
		uint64_t head = console_look(con);

		if (head == con->tail)
			return;
		if (!write_output(con, head - con->tail, RING_BYTES))
			continue;
		tty_restore();
		if (!wait_for_room(con, interrupt_fd, patience_ms))
			return;
	}
}

void console_output_init(struct console *con)
{
	con->out_room = (struct loop_source){ .fd = -1, .ready = out_room_ready };
	timer_init(&con->out_timer, con->cfg.loop, CLOCK_MONOTONIC, out_timer_fired);
	timer_init(&con->ending, con->cfg.loop, CLOCK_MONOTONIC, ending_fired);
}

/* ---- what is known of it ---- */

const char *console_panic_line(const struct console *con)
{
	return *con->scan.panic ? con->scan.panic : NULL;
}

bool console_restarting(const struct console *con)
{
	return console_scan_ending(&con->scan) == SCAN_RESTARTS;
}

void console_last_lines(const struct console *con, char *ret, size_t cap)
{
	console_scan_last(&con->scan, ret, cap);
}

uint64_t console_active_ns(const struct console *con)
{
	return con->active_ns;
}

int console_output_error(const struct console *con)
{
	return con->out_error;
}

void console_end_line(struct console *con)
{
	if (con->out_last && con->out_last != '\n' && isatty(con->cfg.out_fd))
		write_some(con, (const uint8_t *)"\n", 1);
}

void console_stats(struct console *con, uint64_t *ret_bytes, uint64_t *ret_writes)
{
	pthread_mutex_lock(&con->lock);
	*ret_bytes = con->taken;
	pthread_mutex_unlock(&con->lock);
	*ret_writes = con->writes;
}
