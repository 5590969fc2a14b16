/*
 * The host end of the guest's console; see console.h.
 *
 * Output. The ring holds [tail, head): bytes the guest has written and standard output has not
 * taken. Positions only grow, and start again at zero whenever the ring is empty, so that a machine
 * which is read promptly touches a page or two of it. The main thread reads the ring without the
 * lock: nobody else moves @tail, and the producers write only outside [tail, head).
 *
 * The first byte into a scanned ring arms a timer for the main thread. Whatever else comes until it
 * fires costs the producer a lock and a copy, and all of it becomes one write(2).
 *
 * Input. Standard input -> escape keys -> @typed -> device. A terminal is read ahead of the device,
 * so that Ctrl-a x works while the guest does not listen; anything else is read only when the
 * device has taken all that was read before.
 */
#include "lkvm/console.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "lkvm/console-keys.h"
#include "lkvm/console-scan.h"
#include "lkvm/log.h"
#include "lkvm/stream.h"
#include "lkvm/tty.h"
#include "lkvm/types.h"

#define RING_BYTES    MIB
#define BATCH_NS      1000000     /* how long output waits for more of it */
#define TURN_BYTES    (256 * KIB) /* written before the main loop's other sources get their turn */
#define FOREGROUND_NS 250000000   /* how often a background lkvm looks whether it still is */
#define TYPED_MAX     4096
#define READ_BYTES    256
#define TYPED_BREAK   0x100 /* in console.typed, beside the 256 bytes */

struct console {
	struct console_config cfg;
	struct console_device device[CONSOLE_MAX_DEVICES];
	unsigned n_devices;
	bool started;

	pthread_mutex_t lock; /* head, tail's changes, armed, starved, taken */
	uint8_t *ring;
	uint64_t head, tail;
	uint64_t taken;
	bool armed;   /* the timer will make the main thread look at the ring */
	bool starved; /* console_put() has taken less than all */

	uint64_t scanned; /* position in [tail, head]: what is before it went through @scan */
	struct console_scan scan;
	bool told_panic;

	struct stream out;
	struct loop_source out_timer;
	struct loop_source out_room; /* in the loop while standard output takes nothing */
	bool out_blocked;
	bool out_dead;
	uint64_t writes;

	struct stream in;
	struct loop_source in_ready;
	struct loop_source in_wanted;  /* eventfd: the device has room, or there is more to read */
	struct loop_source foreground; /* timer: only while in the background of the terminal */
	bool in_watched, in_end, in_tty, in_background;
	struct console_keys keys;
	uint16_t typed[TYPED_MAX]; /* a ring of bytes and TYPED_BREAK */
	size_t typed_at, n_typed;
	atomic_bool device_full; /* console_input_wanted() must wake the main thread */
};

static void arm_timer(int fd, long ns)
{
	struct itimerspec when = { .it_value.tv_nsec = ns };

	timerfd_settime(fd, 0, &when, NULL);
}

static void clear_fd(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0)
		return; /* not ready: somebody has armed the timer again */
}

static void wake(const struct console *con)
{
	eventfd_write(con->in_wanted.fd, 1);
}

/* ---- output ---- */

static void ring_copy(struct console *con, const uint8_t *buf, size_t len)
{
	size_t at = con->head % RING_BYTES;
	size_t first = len < RING_BYTES - at ? len : RING_BYTES - at;

	memcpy(con->ring + at, buf, first);
	memcpy(con->ring, buf + first, len - first);
}

size_t console_put(struct console *con, const void *buf, size_t len)
{
	size_t room, n;
	bool arm;

	pthread_mutex_lock(&con->lock);
	room = RING_BYTES - (con->head - con->tail);
	n = len < room ? len : room;
	ring_copy(con, buf, n);
	con->head += n;
	con->taken += n;
	con->starved |= n < len;
	arm = n && !con->armed;
	con->armed |= arm;
	pthread_mutex_unlock(&con->lock);
	if (arm)
		arm_timer(con->out_timer.fd, BATCH_NS);
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

static void scan_output(struct console *con, uint64_t head)
{
	if (con->cfg.plain)
		return;
	while (con->scanned != head) {
		uint8_t *piece;
		size_t n = ring_piece(con, con->scanned, head, &piece);

		console_scan_feed(&con->scan, piece, n);
		con->scanned += n;
	}
	if (con->scan.halted && !con->told_panic) {
		con->told_panic = true;
		if (con->cfg.panic)
			con->cfg.panic(con->cfg.ctx);
	}
}

/* Return: bytes that are done with, or -EAGAIN. */
static ssize_t write_some(struct console *con, const uint8_t *buf, size_t len)
{
	ssize_t n;

	if (con->out_dead)
		return (ssize_t)len;
	con->writes++;
	n = stream_write(&con->out, buf, len);
	if (n >= 0 || n == -EAGAIN)
		return n;
	con->out_dead = true;
	if (n == -EPIPE)
		log_debug(LOG_DEVICE, "nobody reads standard output any more");
	else
		log_err((int)n, "write to standard output");
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
		arm_timer(con->out_timer.fd, 1);
}

static void run_output(struct console *con)
{
	uint64_t head = ring_look(con);

	scan_output(con, head);
	if (!con->out_blocked && write_output(con, head - con->tail, TURN_BYTES))
		watch_room(con);
}

static void out_timer_ready(struct loop_source *src, uint32_t events)
{
	(void)events;
	clear_fd(src->fd);
	run_output(container_of(src, struct console, out_timer));
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
		uint64_t head = ring_look(con);

		scan_output(con, head);
		if (head == con->tail)
			return;
		if (!write_output(con, head - con->tail, RING_BYTES))
			continue;
		tty_restore();
		if (!wait_for_room(con, interrupt_fd, patience_ms))
			return;
	}
}

/* ---- input ---- */

/* Who gets it; NULL: nobody. */
static const struct console_device *listener(const struct console *con)
{
	const struct console_device *last = con->device + con->n_devices - 1;

	return con->n_devices && last->input ? last : NULL;
}

static size_t typed_room(const struct console *con)
{
	return TYPED_MAX - con->n_typed;
}

static void typed_push(struct console *con, uint16_t what)
{
	con->typed[(con->typed_at + con->n_typed++) % TYPED_MAX] = what;
}

static void typed_pop(struct console *con, size_t n)
{
	con->typed_at = (con->typed_at + n) % TYPED_MAX;
	con->n_typed -= n;
}

/* Bytes up to the next break, or past it if that is a byte to @device. */
static size_t typed_peek(const struct console *con, const struct console_device *device,
			 uint8_t *buf, size_t cap)
{
	size_t n;

	for (n = 0; n < con->n_typed && n < cap; n++) {
		uint16_t what = con->typed[(con->typed_at + n) % TYPED_MAX];

		if (what == TYPED_BREAK && !device->break_key)
			break;
		buf[n] = what == TYPED_BREAK ? device->break_key : (uint8_t)what;
	}
	return n;
}

static void give_break(struct console *con)
{
	const struct console_device *device = listener(con);

	typed_pop(con, 1);
	if (device->send_break)
		device->send_break(device->dev);
}

/*
 * Give the device what it takes. The flag is up before the device looks at its FIFO: a guest
 * that empties the FIFO after that finds it, and wakes us.
 */
static void give_input(struct console *con)
{
	const struct console_device *device = listener(con);

	while (con->n_typed && device) {
		uint8_t buf[64];
		size_t len = typed_peek(con, device, buf, sizeof(buf)), n;

		if (!len) {
			give_break(con);
			continue;
		}
		atomic_store(&con->device_full, true);
		n = device->input(device->dev, buf, len);
		typed_pop(con, n);
		if (n < len)
			return;
		atomic_store(&con->device_full, false);
	}
}

static void handle_key(struct console *con, uint8_t byte)
{
	uint8_t send;

	switch (console_keys_feed(&con->keys, byte, &send)) {
	case KEY_SEND:
		typed_push(con, send);
		break;
	case KEY_BREAK:
		typed_push(con, TYPED_BREAK);
		break;
	case KEY_QUIT:
		if (con->cfg.quit)
			con->cfg.quit(con->cfg.ctx);
		break;
	case KEY_HELP:
		console_keys_help();
		break;
	case KEY_NOTHING:
		break;
	}
}

static void watch_input(struct console *con, bool on)
{
	int err;

	if (on == con->in_watched)
		return;
	con->in_watched = on;
	if (!on) {
		loop_del(con->cfg.loop, &con->in_ready);
		return;
	}
	err = loop_add(con->cfg.loop, &con->in_ready, EPOLLIN);
	con->in_watched = !err;
	con->in_end = err && err != -EPERM; /* a file cannot be watched, it is always ready */
}

static bool want_input(const struct console *con)
{
	if (!con->started || con->in_end || !listener(con))
		return false;
	if (con->in_tty)
		return !con->in_background && typed_room(con) >= READ_BYTES;
	return !con->n_typed;
}

static void next_input(struct console *con)
{
	watch_input(con, want_input(con));
	if (want_input(con) && !con->in_watched)
		wake(con); /* a file: come back after the loop's other sources */
}

static void go_background(struct console *con)
{
	struct itimerspec every = { .it_value.tv_nsec = FOREGROUND_NS,
				    .it_interval.tv_nsec = FOREGROUND_NS };

	con->in_background = true;
	log_set_raw(false);
	timerfd_settime(con->foreground.fd, 0, &every, NULL);
}

/* Take the terminal, or wait for the shell to give it to us: there is no event for that. */
static int take_terminal(struct console *con)
{
	int err;

	if (!con->in_tty)
		return 0;
	if (!tty_in_foreground(con->cfg.in_fd)) {
		go_background(con);
		return 0;
	}
	if (con->in_background)
		console_resized(con); /* SIGWINCH is for the foreground only */
	con->in_background = false;
	arm_timer(con->foreground.fd, 0);
	err = tty_raw(con->cfg.in_fd);
	return err ? log_err(err, "set the terminal to raw mode") : 0;
}

static void foreground_ready(struct loop_source *src, uint32_t events)
{
	struct console *con = container_of(src, struct console, foreground);

	(void)events;
	clear_fd(src->fd);
	if (!tty_in_foreground(con->cfg.in_fd))
		return;
	take_terminal(con);
	next_input(con);
}

static void read_input(struct console *con)
{
	uint8_t buf[READ_BYTES];
	ssize_t n;

	/* To read now would stop us with SIGTTIN. */
	if (con->in_tty && !tty_in_foreground(con->cfg.in_fd)) {
		go_background(con);
		return;
	}
	n = stream_read(&con->in, buf, sizeof(buf));
	con->in_end = n <= 0 && n != -EAGAIN;
	for (ssize_t i = 0; i < n; i++) {
		if (con->in_tty)
			handle_key(con, buf[i]);
		else
			typed_push(con, buf[i]);
	}
}

static void run_input(struct console *con)
{
	give_input(con);
	if (want_input(con)) {
		read_input(con);
		give_input(con);
	}
	next_input(con);
}

static void in_ready(struct loop_source *src, uint32_t events)
{
	(void)events;
	run_input(container_of(src, struct console, in_ready));
}

static void in_wanted_ready(struct loop_source *src, uint32_t events)
{
	(void)events;
	clear_fd(src->fd);
	run_input(container_of(src, struct console, in_wanted));
}

void console_input_wanted(struct console *con)
{
	if (atomic_exchange(&con->device_full, false))
		wake(con);
}

void console_send(struct console *con, const uint8_t *buf, size_t len, bool break_first)
{
	if (typed_room(con) < break_first || typed_room(con) - break_first < len) {
		log_debug(LOG_DEVICE, "console: the guest does not read, %zu bytes dropped", len);
		return;
	}
	if (break_first)
		typed_push(con, TYPED_BREAK);
	for (size_t i = 0; i < len; i++)
		typed_push(con, buf[i]);
	give_input(con);
}

/* ---- life ---- */

/* Zeros if it is not a terminal. */
static struct winsize terminal_size(const struct console *con)
{
	struct winsize size = { 0 };

	if (!con->cfg.plain && ioctl(con->cfg.out_fd, TIOCGWINSZ, &size) < 0)
		ioctl(con->cfg.in_fd, TIOCGWINSZ, &size);
	return size;
}

/* Nobody is asked for the size if nobody wants to know it. */
void console_resized(struct console *con)
{
	for (unsigned i = 0; i < con->n_devices; i++) {
		const struct console_device *device = &con->device[i];
		struct winsize size;

		if (!device->resize)
			continue;
		size = terminal_size(con);
		device->resize(device->dev, size.ws_col, size.ws_row);
	}
}

void console_attach(struct console *con, const struct console_device *dev)
{
	if (!dev) {
		con->n_devices--;
		next_input(con);
		return;
	}
	assert(con->n_devices < CONSOLE_MAX_DEVICES);
	con->device[con->n_devices++] = *dev;
	give_input(con);
	next_input(con);
}

bool console_input_is_piped(const struct console *con)
{
	struct stat st;

	return fstat(con->cfg.in_fd, &st) == 0 && !S_ISCHR(st.st_mode);
}

int console_start(struct console *con)
{
	int err;

	con->started = true;
	console_resized(con);
	err = take_terminal(con);
	next_input(con);
	return err;
}

void console_continued(struct console *con)
{
	if (!con->started)
		return;
	console_resized(con);
	take_terminal(con);
	next_input(con);
}

void console_suspend(struct console *con)
{
	tty_restore();
	raise(SIGSTOP);
	console_continued(con);
}

const char *console_panic_line(const struct console *con)
{
	return *con->scan.panic ? con->scan.panic : NULL;
}

void console_last_lines(const struct console *con, char *ret, size_t cap)
{
	console_scan_last(&con->scan, ret, cap);
}

void console_stats(struct console *con, uint64_t *ret_bytes, uint64_t *ret_writes)
{
	pthread_mutex_lock(&con->lock);
	*ret_bytes = con->taken;
	pthread_mutex_unlock(&con->lock);
	*ret_writes = con->writes;
}

static int add_source(struct console *con, struct loop_source *src)
{
	int err = loop_add(con->cfg.loop, src, EPOLLIN);

	return err ? log_err(err, "console: epoll_ctl") : 0;
}

static int add_timer(struct console *con, struct loop_source *src)
{
	src->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (src->fd < 0)
		return log_err(-errno, "console: timerfd_create");
	return add_source(con, src);
}

static int open_sources(struct console *con)
{
	int err = add_timer(con, &con->out_timer);

	if (!err)
		err = add_timer(con, &con->foreground);
	if (err)
		return err;
	con->in_wanted.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (con->in_wanted.fd < 0)
		return log_err(-errno, "console: eventfd");
	return add_source(con, &con->in_wanted);
}

static void open_streams(struct console *con)
{
	stream_open(&con->out, con->cfg.out_fd, O_WRONLY);
	con->out_dead = con->out.kind == STREAM_NONE;
	stream_open(&con->in, con->cfg.in_fd, O_RDONLY);
	con->in_ready.fd = con->in.fd;
	con->in_tty = !con->cfg.plain && isatty(con->cfg.in_fd);
}

int console_new(const struct console_config *cfg, struct console **ret)
{
	struct console *con = calloc(1, sizeof(*con));
	int err;

	if (!con)
		return log_err(-ENOMEM, "console");
	con->cfg = *cfg;
	pthread_mutex_init(&con->lock, NULL);
	con->out_timer = (struct loop_source){ .fd = -1, .ready = out_timer_ready };
	con->out_room = (struct loop_source){ .fd = -1, .ready = out_room_ready };
	con->in_ready = (struct loop_source){ .fd = -1, .ready = in_ready };
	con->in_wanted = (struct loop_source){ .fd = -1, .ready = in_wanted_ready };
	con->foreground = (struct loop_source){ .fd = -1, .ready = foreground_ready };
	open_streams(con);
	con->ring = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (con->ring == MAP_FAILED) {
		err = log_err(-errno, "console: mmap");
		con->ring = NULL;
	} else {
		err = open_sources(con);
	}
	if (err) {
		console_free(con);
		return err;
	}
	*ret = con;
	return 0;
}

static void close_source(struct console *con, struct loop_source *src)
{
	loop_del(con->cfg.loop, src);
	if (src->fd >= 0)
		close(src->fd);
}

void console_free(struct console *con)
{
	if (!con)
		return;
	tty_restore();
	loop_del(con->cfg.loop, &con->out_room);
	loop_del(con->cfg.loop, &con->in_ready);
	close_source(con, &con->out_timer);
	close_source(con, &con->in_wanted);
	close_source(con, &con->foreground);
	stream_close(&con->in);
	stream_close(&con->out);
	if (con->ring)
		munmap(con->ring, RING_BYTES);
	pthread_mutex_destroy(&con->lock);
	free(con);
}
