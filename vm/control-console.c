/*
 * `lkvm console`: a client of the control socket looks at the guest's console, and types; see control.h.
 * The streams are descriptors of the client, which console/client.c serves; nobody waits for him.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lkvm/console.h"
#include "lkvm/console/client.h"
#include "lkvm/kvm.h"
#include "lkvm/session.h"
#include "lkvm/stream.h"
#include "lkvm/vm/control.h"
#include "lkvm/vm/run.h"

#define END_PATIENCE_MS 1000 /* for all clients together */

struct control_client {
	struct control_client *next;
	struct control *ctl;
	struct ipc_client *client;
	struct console_client *console;
	int fd[2];
};

static void client_free(struct control_client *c)
{
	struct control_client **link = &c->ctl->console_clients;

	while (*link && *link != c)
		link = &(*link)->next;
	if (*link)
		*link = c->next;
	console_client_free(c->console);
	for (unsigned i = 0; i < 2; i++)
		if (c->fd[i] >= 0)
			stream_close_fd(c->fd[i]);
	free(c);
}

/* His ends of pipes see their ends before he has the answer. */
static void client_answer(struct control_client *c, int err)
{
	const struct ipc_console_end end = { .pending_bytes = console_client_pending(c->console) };
	struct ipc_client *client = c->client;

	client_free(c);
	ipc_answer(client, err, &end, sizeof(end));
}

static void output_over(void *ctx, int err)
{
	client_answer(ctx, err);
}

/* ---- what the client sends ---- */

/* The peer of a terminal or another device is more than its owner may ask for. */
bool control_is_stream(int fd, int mode)
{
	struct stream stream;
	struct stat st;
	bool ok;

	if (!stream_allows(fd, mode) || fstat(fd, &st) || S_ISDIR(st.st_mode))
		return false;
	if (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode))
		return true;
	stream_open(&stream, fd, mode);
	ok = stream.kind == STREAM_FILE;
	stream_close(&stream);
	return ok;
}

static void more(void *ctx, enum ipc_op op, const void *body, size_t len)
{
	const struct control_client *c = ctx;
	struct session_winsize window;

	if (op == IPC_STOP && !len) {
		kvm_stop(c->ctl->kvm, STOP_REQUEST, RUN_QUIT_KEY);
	} else if (op == IPC_BREAK && !len) {
		console_send(c->ctl->console, NULL, 0, true);
	} else if (op == IPC_WINSIZE && len == sizeof(window)) {
		memcpy(&window, body, len);
		console_client_resize(c->console, window.columns, window.rows);
	}
}

static void gone(void *ctx)
{
	client_free(ctx);
}

static const struct ipc_late waiting = { more, gone };

/* ---- its start ---- */

/* Return: 0, it is output_over()'s or gone()'s from now on; or -errno */
static int start(struct control_client *c, const struct ipc_console *req)
{
	const struct console_client_config cfg = {
		.in_fd = c->fd[0],
		.out_fd = c->fd[1],
		.lines = req->lines,
		.text = req->flags & IPC_CONSOLE_TEXT,
		.over = output_over,
		.ctx = c,
	};
	int err = console_client_new(c->ctl->console, &cfg, &c->console);

	if (err)
		return err;
	err = ipc_later(c->client, &waiting, c);
	if (err != IPC_LATER)
		return err;
	c->next = c->ctl->console_clients;
	c->ctl->console_clients = c;
	console_client_start(c->console);
	return 0;
}

static int take_streams(struct control_client *c, const struct ipc_console *req)
{
	int err;

	if (req->flags & ~(uint32_t)IPC_CONSOLE_TEXT || req->fds & ~3u || !(req->fds & 2))
		return -EINVAL;
	err = ipc_take_fds(c->client, 0, req->fds, c->fd);
	if (err)
		return err;
	if ((c->fd[0] >= 0 && !control_is_stream(c->fd[0], O_RDONLY)) || !control_is_stream(c->fd[1], O_WRONLY))
		return -EINVAL;
	return 0;
}

int control_console(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	struct control_client *c = ctl->console ? malloc(sizeof(*c)) : NULL;
	struct ipc_console req;
	int err;

	if (!c)
		return ctl->console ? -ENOMEM : -ENODEV;
	*c = (struct control_client){ .ctl = ctl, .client = reply->to, .fd = { -1, -1 } };
	memcpy(&req, body, sizeof(req));
	err = take_streams(c, &req);
	if (!err)
		err = start(c, &req);
	if (!err)
		return IPC_LATER;
	client_free(c);
	return err;
}

void control_end_consoles(struct control *ctl, int interrupt_fd)
{
	if (!ctl->console_clients)
		return;
	console_drain_clients(ctl->console, interrupt_fd, END_PATIENCE_MS);
	for (struct control_client *c = ctl->console_clients, *next; c; c = next) {
		next = c->next;
		client_answer(c, 0);
	}
}
