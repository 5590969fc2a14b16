/*
 * Input of the guest's console: standard input -> escape keys -> @typed -> device; see console.h. A
 * terminal is read ahead of the device, so that Ctrl-a x works while the guest does not listen; anything
 * else is read only when the device has taken all that was read before. Clients, whose
 * input has no escape keys here, and standard input take turns. Main thread.
 */
#include "console-internal.h"

#include <errno.h>
#include <fcntl.h>

#include "lkvm/console/tty.h"
#include "lkvm/event.h"
#include "lkvm/log.h"

#define FOREGROUND_NS 250000000 /* how often a background lkvm looks whether it still is */
#define READ_BYTES    256

static void wake(const struct console *con)
{
	event_signal(con->in_wanted.fd);
}

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
void console_give_input(struct console *con)
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
	case KEY_DETACH:
		con->cfg.detach(con->cfg.ctx);
		break;
	case KEY_HELP:
		console_keys_help(&con->keys);
		break;
	case KEY_NOTHING:
		break;
	}
}

static void watch_input(struct console_input *in, bool on)
{
	struct loop *loop = in->con->cfg.loop;
	int err;

	if (on == in->watched)
		return;
	in->watched = on;
	if (!on) {
		loop_del(loop, &in->ready);
		return;
	}
	err = loop_add(loop, &in->ready, EPOLLIN);
	in->watched = !err;
	in->end = err && err != -EPERM; /* a file cannot be watched, it is always ready */
}

static bool want_input(const struct console_input *in)
{
	const struct console *con = in->con;

	if (!con->started || in->end || !listener(con))
		return false;
	if (in->tty && con->in_background)
		return false;
	return in->tty ? typed_room(con) >= READ_BYTES : !con->n_typed;
}

void console_next_input(struct console *con)
{
	for (struct console_input *in = con->inputs; in; in = in->next) {
		watch_input(in, want_input(in));
		if (want_input(in) && !in->watched)
			wake(con); /* a file: come back after the loop's other sources */
	}
}

static void go_background(struct console *con)
{
	con->in_background = true;
	log_set_raw(false);
	console_set_timer(&con->foreground, FOREGROUND_NS);
}

/* Take the terminal, or wait for the shell to give it to us: there is no event for that. */
int console_take_terminal(struct console *con)
{
	int err;

	if (!con->in.tty)
		return 0;
	if (!tty_in_foreground(con->cfg.in_fd)) {
		go_background(con);
		return 0;
	}
	if (con->in_background)
		console_resized(con); /* SIGWINCH is for the foreground only */
	con->in_background = false;
	timer_stop(&con->foreground);
	err = tty_raw(con->cfg.in_fd);
	return err ? log_err(err, "set the terminal to raw mode") : 0;
}

static void foreground_fired(struct timer *timer)
{
	struct console *con = container_of(timer, struct console, foreground);

	console_take_terminal(con);
	console_next_input(con);
}

/* Return: was there anything? */
static bool read_input(struct console_input *in)
{
	struct console *con = in->con;
	uint8_t buf[READ_BYTES];
	ssize_t n;

	/* To read now would stop us with SIGTTIN. */
	if (in->tty && !tty_in_foreground(con->cfg.in_fd)) {
		go_background(con);
		return false;
	}
	n = stream_read(&in->stream, buf, sizeof(buf));
	in->end = n <= 0 && n != -EAGAIN;
	for (ssize_t i = 0; i < n; i++) {
		if (in->tty)
			handle_key(con, buf[i]);
		else
			typed_push(con, buf[i]);
	}
	return n > 0;
}

static void tell_end(struct console *con)
{
	const struct console_device *device = listener(con);

	if (!con->in.end || con->n_typed || con->end_told || !device || !device->input_ended)
		return;
	con->end_told = true;
	device->input_ended(device->dev);
}

static struct console_input **link_of(struct console *con, const struct console_input *in)
{
	struct console_input **link = &con->inputs;

	while (*link != in)
		link = &(*link)->next;
	return link;
}

static void input_append(struct console_input *in)
{
	*link_of(in->con, NULL) = in;
	in->next = NULL;
	in->con->n_inputs++;
}

static void input_remove(struct console_input *in)
{
	*link_of(in->con, in) = in->next;
	in->con->n_inputs--;
}

static void run_input(struct console *con)
{
	struct console_input *in = con->inputs, *next;

	console_give_input(con);
	for (unsigned n = con->n_inputs; n; n--, in = next) {
		next = in->next;
		if (!want_input(in) || !read_input(in))
			continue;
		input_remove(in); /* it is the last one the next time */
		input_append(in);
		console_give_input(con);
	}
	tell_end(con);
	console_next_input(con);
}

static void in_ready(struct loop_source *src, uint32_t events)
{
	(void)events;
	run_input(container_of(src, struct console_input, ready)->con);
}

static void in_wanted_ready(struct loop_source *src, uint32_t events)
{
	(void)events;
	event_clear(src->fd);
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
	console_give_input(con);
}

void console_input_open(struct console_input *in, struct console *con, int fd, bool tty)
{
	*in = (struct console_input){ .con = con, .tty = tty };
	stream_open(&in->stream, fd, O_RDONLY);
	in->ready = (struct loop_source){ in->stream.fd, in_ready };
	input_append(in);
}

void console_input_close(struct console_input *in)
{
	if (!in->con)
		return;
	loop_del(in->con->cfg.loop, &in->ready);
	stream_close(&in->stream);
	input_remove(in);
}

void console_input_init(struct console *con)
{
	con->in_wanted = (struct loop_source){ .fd = -1, .ready = in_wanted_ready };
	timer_init(&con->foreground, con->cfg.loop, CLOCK_MONOTONIC, foreground_fired);
}
