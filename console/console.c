/*
 * The host end of the guest's console: its life, its devices, its terminal; see console.h. What passes
 * through it is in console/output.c and console/input.c.
 */
#include "console-internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/console/tty.h"
#include "lkvm/event.h"
#include "lkvm/log.h"

/* Zeros if there is no terminal. */
static struct winsize terminal_size(const struct console *con)
{
	struct winsize size = { 0 };

	if (!con->cfg.plain && ioctl(con->cfg.out_fd, TIOCGWINSZ, &size) < 0)
		ioctl(con->cfg.in_fd, TIOCGWINSZ, &size);
	console_least_size(con, &size);
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
		console_next_input(con);
		return;
	}
	assert(con->n_devices < CONSOLE_MAX_DEVICES);
	con->device[con->n_devices++] = *dev;
	console_give_input(con);
	console_next_input(con);
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
	err = console_take_terminal(con);
	console_next_input(con);
	return err;
}

void console_continued(struct console *con)
{
	if (!con->started)
		return;
	console_resized(con);
	console_take_terminal(con);
	console_next_input(con);
}

void console_suspend(struct console *con)
{
	tty_restore();
	raise(SIGSTOP);
	console_continued(con);
}

/* ---- life ---- */

static int add_source(struct console *con, struct loop_source *src)
{
	int err = loop_add(con->cfg.loop, src, EPOLLIN);

	return err ? log_err(err, "console: epoll_ctl") : 0;
}

static int open_sources(struct console *con)
{
	int err = timer_open(&con->out_timer);

	if (err)
		return log_err(err, "console: timer");
	con->in_wanted.fd = event_open(0);
	if (con->in_wanted.fd < 0)
		return log_err(con->in_wanted.fd, "console: eventfd");
	return add_source(con, &con->in_wanted);
}

static void open_streams(struct console *con)
{
	stream_open(&con->out, con->cfg.out_fd, O_WRONLY);
	con->out_dead = con->out.kind == STREAM_NONE;
	console_input_open(&con->in, con, con->cfg.in_fd, !con->cfg.plain && isatty(con->cfg.in_fd));
}

int console_new(const struct console_config *cfg, struct console **ret)
{
	struct console *con = malloc(sizeof(*con));
	int err;

	if (!con)
		return log_err(-ENOMEM, "console");
	/* The rings behind that would be pages of memory for a guest that never fills them. */
	memset(con, 0, offsetof(struct console, scan.line));
	con->cfg = *cfg;
	con->keys = cfg->keys;
	con->keys.can_detach = cfg->detach;
	con->scan.message = cfg->message;
	con->scan.ctx = cfg->ctx;
	pthread_mutex_init(&con->lock, NULL);
	console_output_init(con);
	console_input_init(con);
	open_streams(con);
	con->ring = mmap(NULL, RING_BYTES + KEPT_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (con->ring == MAP_FAILED) {
		err = log_err(-errno, "console: mmap");
		con->ring = NULL;
	} else {
		con->kept = con->ring + RING_BYTES;
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
	assert(!con->clients);
	tty_restore();
	loop_del(con->cfg.loop, &con->out_room);
	timer_fini(&con->out_timer);
	timer_fini(&con->ending);
	timer_fini(&con->foreground);
	close_source(con, &con->in_wanted);
	console_input_close(&con->in);
	stream_close(&con->out);
	if (con->ring)
		munmap(con->ring, RING_BYTES + KEPT_BYTES);
	pthread_mutex_destroy(&con->lock);
	free(con);
}

