/* The clients of a guest's console, and what is kept for them; see lkvm/console/client.h. */
#include "lkvm/console/client.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "console-internal.h"
#include "lkvm/byte-ring.h"
#include "lkvm/mask.h"

struct console_client {
	struct console *con;
	struct console_client *next;
	struct console_client_config cfg;
	struct console_input in;
	struct stream out;
	struct loop_source out_room; /* in the loop while it takes nothing */
	bool blocked;
	uint64_t at;   /* position in what is kept: what it is sent next, but for */
	char *front;   /* heap, or NULL: what goes before that */
	size_t front_at, front_bytes;
	uint16_t cols, rows;
};

/* ---- what is kept: [oldest, kept_end), positions only grow ---- */

static uint64_t oldest(const struct console *con)
{
	return con->kept_end < KEPT_BYTES ? 0 : con->kept_end - KEPT_BYTES;
}

static uint8_t kept(const struct console *con, uint64_t at)
{
	return con->kept[at % KEPT_BYTES];
}

/* The first line's begin at or behind @at; @at if there is none. */
static uint64_t next_line(const struct console *con, uint64_t at)
{
	for (uint64_t i = at; i < con->kept_end; i++)
		if (kept(con, i) == '\n')
			return i + 1;
	return at;
}

static uint64_t last_lines(const struct console *con, uint32_t lines)
{
	const uint64_t first = oldest(con);
	uint64_t at = con->kept_end;

	while (lines && at > first)
		if (at-- < con->kept_end && kept(con, at) == '\n' && !--lines)
			return at + 1;
	return at == first && first ? next_line(con, first) : at;
}

/* ---- output ---- */

static size_t front_left(const struct console_client *c)
{
	return c->front_bytes - c->front_at;
}

static void front_drop(struct console_client *c)
{
	free(c->front);
	c->front = NULL;
	c->front_at = c->front_bytes = 0;
}

static void tell_lost(struct console_client *c)
{
	uint64_t from = c->at;
	int n;

	if (from >= oldest(c->con))
		return;
	c->at = next_line(c->con, oldest(c->con));
	n = asprintf(&c->front, "\r\n[lkvm: %" PRIu64 " bytes of output dropped]\r\n", c->at - from);
	if (n < 0)
		c->front = NULL;
	else
		c->front_bytes = (size_t)n;
}

static size_t next_piece(const struct console_client *c, const void **ret)
{
	const uint64_t left = c->con->kept_end - c->at, piece = KEPT_BYTES - c->at % KEPT_BYTES;

	if (c->front) {
		*ret = c->front + c->front_at;
		return front_left(c);
	}
	*ret = c->con->kept + c->at % KEPT_BYTES;
	return left < piece ? left : piece;
}

static void took(struct console_client *c, size_t n)
{
	if (!c->front) {
		c->at += n;
		return;
	}
	c->front_at += n;
	if (!front_left(c))
		front_drop(c);
}

static int wait_for_room(struct console_client *c)
{
	int err = loop_add(c->con->cfg.loop, &c->out_room, EPOLLOUT);

	c->blocked = !err;
	return err;
}

/* Return: is it still there? */
static bool pump(struct console_client *c)
{
	const void *piece;
	size_t len;
	ssize_t n;

	while (!c->blocked) {
		if (!c->front)
			tell_lost(c);
		len = next_piece(c, &piece);
		if (!len)
			break;
		n = stream_write(&c->out, piece, len);
		if (n == -EAGAIN)
			n = wait_for_room(c);
		if (n < 0) {
			c->cfg.over(c->cfg.ctx, (int)n);
			return false;
		}
		took(c, (size_t)n);
	}
	return true;
}

static void pump_again(struct console_client *c)
{
	loop_del(c->con->cfg.loop, &c->out_room);
	c->blocked = false;
	pump(c);
}

static void out_room_ready(struct loop_source *src, uint32_t events)
{
	(void)events;
	pump_again(container_of(src, struct console_client, out_room));
}

void console_keep(struct console *con, const uint8_t *buf, size_t len)
{
	byte_ring_put(con->kept, KEPT_BYTES, con->kept_end, buf, len);
	con->kept_end += len;
	for (struct console_client *c = con->clients, *next; c; c = next) {
		next = c->next;
		pump(c);
	}
}

/* Until one that is blocked takes more. Return: false: none is, or none does in time */
static bool wait_for_one(const struct console *con, int interrupt_fd, int64_t until_ms)
{
	struct pollfd pfd[1 + CONSOLE_MAX_CLIENTS] = { { .fd = interrupt_fd, .events = POLLIN } };
	const int64_t left = until_ms - now_ms();
	nfds_t n = 1;

	for (const struct console_client *c = con->clients; c; c = c->next)
		if (c->blocked)
			pfd[n++] = (struct pollfd){ .fd = c->out.fd, .events = POLLOUT };
	return n > 1 && poll(pfd, n, left > 0 ? (int)left : 0) > 0 && !pfd[0].revents;
}

void console_drain_clients(struct console *con, int interrupt_fd, int patience_ms)
{
	const int64_t until_ms = now_ms() + patience_ms;

	console_look(con);
	while (wait_for_one(con, interrupt_fd, until_ms))
		for (struct console_client *c = con->clients, *next; c; c = next) {
			next = c->next;
			if (c->blocked)
				pump_again(c);
		}
}

uint64_t console_client_pending(const struct console_client *c)
{
	return c->con->kept_end - c->at + front_left(c);
}

/* ---- size ---- */

static void least(uint16_t *size, uint16_t other)
{
	if (other && (!*size || other < *size))
		*size = other;
}

void console_least_size(const struct console *con, struct winsize *size)
{
	for (const struct console_client *c = con->clients; c; c = c->next) {
		least(&size->ws_col, c->cols);
		least(&size->ws_row, c->rows);
	}
}

void console_client_resize(struct console_client *c, uint16_t cols, uint16_t rows)
{
	if (c->cols == cols && c->rows == rows)
		return;
	c->cols = cols;
	c->rows = rows;
	console_resized(c->con);
}

/* ---- life ---- */

/* What is shown of the past, as text. */
static int make_text(struct console_client *c)
{
	const size_t len = c->con->kept_end - c->at;

	c->front = malloc(len + 1);
	if (!c->front)
		return -ENOMEM;
	byte_ring_get(c->con->kept, KEPT_BYTES, c->at, c->front, len);
	c->front_bytes = mask_text(c->front, console_scan_strip(c->front, len), "\b\t\n\r");
	c->at = c->con->kept_end;
	if (!c->front_bytes)
		front_drop(c);
	return 0;
}

int console_client_new(struct console *con, const struct console_client_config *cfg, struct console_client **ret)
{
	struct console_client *c = con->n_clients < CONSOLE_MAX_CLIENTS ? calloc(1, sizeof(*c)) : NULL;
	int err;

	if (!c)
		return con->n_clients < CONSOLE_MAX_CLIENTS ? -ENOMEM : -EAGAIN;
	*c = (struct console_client){ .con = con, .cfg = *cfg };
	console_look(con); /* what was printed until now was printed before */
	c->at = last_lines(con, cfg->lines);
	err = cfg->text ? make_text(c) : 0;
	if (err) {
		free(c);
		return err;
	}
	stream_open(&c->out, cfg->out_fd, O_WRONLY);
	c->out_room = (struct loop_source){ c->out.fd, out_room_ready };
	console_input_open(&c->in, con, cfg->in_fd, false);
	c->next = con->clients;
	con->clients = c;
	con->n_clients++;
	*ret = c;
	return 0;
}

void console_client_start(struct console_client *c)
{
	struct console *con = c->con;

	if (pump(c))
		console_next_input(con);
}

void console_client_free(struct console_client *c)
{
	struct console_client **link = c ? &c->con->clients : NULL;

	if (!c)
		return;
	while (*link != c)
		link = &(*link)->next;
	*link = c->next;
	c->con->n_clients--;
	console_client_resize(c, 0, 0);
	console_input_close(&c->in);
	loop_del(c->con->cfg.loop, &c->out_room);
	stream_close(&c->out);
	front_drop(c);
	free(c);
}
