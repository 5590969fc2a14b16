/*
 * A command of a session and its streams; see lkvm/vm/session.h. Standard input is read as far as the
 * guest has given credit; output is written as it comes, and what is not taken waits in a ring as large as
 * the credit that the guest has, so it always fits.
 */
#include "session-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/byte-ring.h"
#include "lkvm/clock.h"
#include "lkvm/log.h"
#include "lkvm/types.h"

#define READ_BYTES 32768
#define TURN_READS 8 /* before the main loop's other sources get their turn */

/* ---- its end ---- */

static void out_drop(struct command_out *out)
{
	free(out->buf);
	out->buf = NULL;
	out->at = out->n = 0;
}

static void out_close(struct command_out *out)
{
	if (out->watched)
		loop_del(out->cmd->session->cfg.loop, &out->src);
	out->watched = false;
	stream_close(&out->stream);
	out_drop(out);
}

static void in_watch(struct command *cmd, bool on)
{
	struct command_in *in = &cmd->in;

	if (on == in->watched)
		return;
	if (!on)
		loop_del(cmd->session->cfg.loop, &in->src);
	in->watched = on && session_watch(cmd->session, &in->src, EPOLLIN);
}

void command_free(struct command *cmd)
{
	if (!cmd)
		return;
	in_watch(cmd, false);
	stream_close(&cmd->in.stream);
	for (unsigned i = 0; i < 2; i++)
		out_close(&cmd->out[i]);
	if (cmd->cfg.tty)
		console_attach(cmd->cfg.tty, NULL);
	free(cmd->exec);
	free(cmd);
}

void command_drop(struct command *cmd)
{
	struct session *s = cmd->session;

	for (unsigned i = 0; i < SESSION_COMMANDS; i++)
		if (s->commands[i] == cmd)
			s->commands[i] = NULL;
	command_free(cmd);
}

/* Everything that it has printed is written: its owner is told, and it is gone. */
void command_end_if_over(struct command *cmd)
{
	struct session_command cfg = cmd->cfg;
	const struct session_exit status = cmd->exit;
	const int output_err = cmd->output_err;
	const bool known = !cmd->given_up;

	if (!cmd->exited || cmd->out[0].n || cmd->out[1].n)
		return;
	command_drop(cmd);
	cfg.ended(cfg.ctx, known ? &status : NULL, output_err);
}

/* ---- output ---- */

/* Return: bytes taken, or -errno */
static ssize_t sink(struct command_out *out, const uint8_t *buf, size_t len)
{
	struct console *tty = out->cmd->cfg.tty;
	size_t n;

	if (!tty)
		return stream_write(&out->stream, buf, len);
	n = console_put(tty, buf, len);
	return n ? (ssize_t)n : -EAGAIN;
}

/* Its reader has left, or the disk is full: the command is to be told by SIGPIPE. */
static void give_up(struct command_out *out, int err)
{
	struct command *cmd = out->cmd;

	out->owed += out->n;
	out_drop(out);
	out->gone = true;
	if (err != -EPIPE && err != -ECONNRESET && out->stream.kind != STREAM_NONE && !cmd->output_err)
		cmd->output_err = err;
	if (!out->ended)
		command_end_stream(cmd, command_stream(out));
}

static void out_watch(struct command_out *out, bool on)
{
	struct session *s = out->cmd->session;

	if (on == out->watched || out->cmd->cfg.tty)
		return;
	if (!on)
		loop_del(s->cfg.loop, &out->src);
	out->watched = on && session_watch(s, &out->src, EPOLLOUT);
}

static void out_write(struct command_out *out)
{
	while (out->n) {
		uint32_t len = SESSION_WINDOW - out->at < out->n ? SESSION_WINDOW - out->at : out->n;
		ssize_t n = sink(out, out->buf + out->at, len);

		if (n == -EAGAIN || n == 0)
			break;
		if (n < 0) {
			give_up(out, (int)n);
			break;
		}
		out->at = (out->at + (uint32_t)n) % SESSION_WINDOW;
		out->n -= (uint32_t)n;
		out->owed += (uint32_t)n;
	}
	if (!out->n)
		out_drop(out);
	out_watch(out, out->n);
	command_give_credit(out);
}

void command_close_output(struct command_out *out, bool tell)
{
	if (!out->gone && tell)
		give_up(out, -EPIPE);
	out->gone = true;
	out_watch(out, false);
	stream_close(&out->stream);
}

static void out_ready(struct loop_source *src, uint32_t events)
{
	struct command_out *out = container_of(src, struct command_out, src);

	(void)events;
	out_write(out);
	command_end_if_over(out->cmd);
}

static const char *out_data(struct command_out *out, const uint8_t *bytes, uint32_t len)
{
	if (out->ended || len > out->window)
		return "more output than it may send";
	out->window -= len;
	out->cmd->session->active_ns = now_ns();
	if (out->cmd->cfg.printed && command_stream(out) == 1)
		out->cmd->cfg.printed(out->cmd->cfg.ctx, bytes, len);
	if (out->gone) {
		out->owed += len;
		command_give_credit(out);
		return NULL;
	}
	if (!out->buf)
		out->buf = malloc(SESSION_WINDOW);
	if (!out->buf)
		return "no memory for its output";
	byte_ring_put(out->buf, SESSION_WINDOW, out->at + out->n, bytes, len);
	out->n += len;
	out_write(out);
	return NULL;
}

/* Until its reader takes more, or does not in time. */
static void out_wait(const struct command_out *out, int interrupt_fd, int patience_ms)
{
	struct pollfd fd[] = {
		{ .fd = out->stream.fd, .events = POLLOUT },
		{ .fd = interrupt_fd, .events = POLLIN },
	};

	if (out->cmd->cfg.tty)
		console_drain(out->cmd->cfg.tty, interrupt_fd, patience_ms);
	else
		poll(fd, ARRAY_SIZE(fd), patience_ms);
}

void command_drain(struct command *cmd, int interrupt_fd, int patience_ms)
{
	for (struct command_out *out = cmd->out; out < cmd->out + ARRAY_SIZE(cmd->out); out++)
		for (uint32_t before = UINT32_MAX; out->n && out->n < before; out_write(out)) {
			before = out->n;
			out_wait(out, interrupt_fd, patience_ms);
		}
	command_end_if_over(cmd);
}

/* ---- input ---- */

void command_end_input(struct command *cmd, bool tell)
{
	if (cmd->in.ended)
		return;
	cmd->in.ended = true;
	in_watch(cmd, false);
	if (tell)
		command_end_stream(cmd, 0);
}

/* Return: 1, more may be there; 0, not now; or it has ended */
static int in_read(struct command *cmd)
{
	const uint32_t most = cmd->in.credit < READ_BYTES ? cmd->in.credit : READ_BYTES;
	struct session_frame head = { .type = SESSION_DATA, .command = cmd->id };
	void *to = session_frame(cmd->session, most);
	ssize_t n = to ? stream_read(&cmd->in.stream, to, most) : -EAGAIN;

	if (n == -EAGAIN)
		return 0;
	if (n <= 0) {
		command_end_input(cmd, true);
		return 0;
	}
	head.len = (uint32_t)n;
	cmd->in.credit -= head.len;
	session_frame_end(cmd->session, &head);
	return 1;
}

static bool may_send(const struct command *cmd)
{
	return !cmd->exec && !cmd->in.ended && cmd->in.credit && !session_tx_full(cmd->session);
}

static void in_pump(struct command *cmd)
{
	int more = 1;

	for (unsigned i = 0; more && may_send(cmd); i++) {
		if (i == TURN_READS) {
			session_go_on(cmd->session);
			return;
		}
		more = in_read(cmd);
	}
	in_watch(cmd, may_send(cmd));
}

void command_pump(struct command *cmd)
{
	command_tell(cmd);
	if (cmd->in.ended)
		return;
	if (!cmd->cfg.tty)
		in_pump(cmd);
	else if (may_send(cmd))
		console_input_wanted(cmd->cfg.tty);
}

void command_retry(struct command *cmd)
{
	command_pump(cmd);
	for (unsigned i = 0; i < 2; i++)
		out_write(&cmd->out[i]);
	command_end_if_over(cmd);
}

static void in_ready(struct loop_source *src, uint32_t events)
{
	(void)events;
	command_pump(container_of(src, struct command, in.src));
}

static const char *take_credit(struct command *cmd, const struct session_frame *head, const void *bytes)
{
	uint32_t more;

	if (head->stream || head->len != sizeof(more))
		return "credit that cannot be";
	memcpy(&more, bytes, sizeof(more));
	if (more > SESSION_WINDOW - cmd->in.credit)
		return "more credit than it may give";
	cmd->in.credit += more;
	command_pump(cmd);
	return NULL;
}

/* ---- the terminal ---- */

static size_t tty_input(void *dev, const uint8_t *buf, size_t len)
{
	struct command *cmd = dev;
	size_t done = 0;

	while (done < len && may_send(cmd)) {
		size_t n = len - done < READ_BYTES ? len - done : READ_BYTES;

		n = n < cmd->in.credit ? n : cmd->in.credit;
		cmd->in.credit -= (uint32_t)n;
		session_send(cmd->session, SESSION_DATA, cmd->id, 0, buf + done, (uint32_t)n);
		done += n;
	}
	return done;
}

static void tty_writable(void *dev)
{
	struct command *cmd = dev;

	out_write(&cmd->out[0]);
	command_end_if_over(cmd);
}

static void tty_resize(void *dev, uint16_t cols, uint16_t rows)
{
	struct command *cmd = dev;
	const struct session_winsize window = { .rows = rows, .columns = cols };

	command_resize(cmd, &window);
}

static void tty_attach(struct command *cmd)
{
	const struct console_device device = {
		.input = tty_input, .writable = tty_writable, .resize = tty_resize, .dev = cmd,
	};

	console_attach(cmd->cfg.tty, &device);
}

/* ---- what the guest tells ---- */

/* Its output may still have to be written. */
static void exited(struct command *cmd)
{
	cmd->exited = true;
	command_end_input(cmd, false);
	cmd->out[0].ended = cmd->out[1].ended = true;
	command_end_if_over(cmd);
}

void command_give_up(struct command *cmd)
{
	cmd->given_up = !cmd->exited;
	exited(cmd);
}

static const char *take_exit(struct command *cmd, const struct session_frame *head, const void *bytes)
{
	if (head->len != sizeof(cmd->exit) || cmd->exited)
		return "an exit that cannot be";
	memcpy(&cmd->exit, bytes, sizeof(cmd->exit));
	exited(cmd);
	return NULL;
}

static const char *take_eof(struct command *cmd, const struct session_frame *head)
{
	if (head->stream)
		cmd->out[head->stream - 1].ended = true;
	else
		command_end_input(cmd, false);
	return NULL;
}

const char *command_frame(struct command *cmd, const struct session_frame *head, const void *bytes)
{
	if (head->stream > 2)
		return "a stream that there is not";
	switch (head->type) {
	case SESSION_STARTED:
		return NULL;
	case SESSION_DATA:
		return head->stream ? out_data(&cmd->out[head->stream - 1], bytes, head->len) :
				      "data for a stream that it reads";
	case SESSION_EOF:
		return take_eof(cmd, head);
	case SESSION_CREDIT:
		return take_credit(cmd, head, bytes);
	case SESSION_EXIT:
		return take_exit(cmd, head, bytes);
	default:
		return "a frame of no known type";
	}
}

/* ---- its start ---- */

void command_open(struct command *cmd)
{
	const int *fd = cmd->cfg.fd;

	cmd->in.src = (struct loop_source){ -1, in_ready };
	stream_open(&cmd->in.stream, cmd->cfg.tty ? -1 : fd[0], O_RDONLY);
	cmd->in.src.fd = cmd->in.stream.fd;
	for (unsigned i = 0; i < 2; i++) {
		struct command_out *out = &cmd->out[i];

		stream_open(&out->stream, cmd->cfg.tty ? -1 : fd[i + 1], O_WRONLY);
		out->src = (struct loop_source){ out->stream.fd, out_ready };
	}
	if (cmd->cfg.tty)
		tty_attach(cmd);
}

struct command *command_new(struct session *s)
{
	struct command *cmd = calloc(1, sizeof(*cmd));

	if (!cmd)
		return NULL;
	cmd->session = s;
	cmd->cfg = (struct session_command){ .fd = { -1, -1, -1 }, .ended = command_forgotten };
	cmd->in.credit = SESSION_WINDOW;
	for (unsigned i = 0; i < 2; i++) {
		cmd->out[i].cmd = cmd;
		cmd->out[i].window = SESSION_WINDOW;
		stream_open(&cmd->out[i].stream, -1, O_WRONLY);
	}
	stream_open(&cmd->in.stream, -1, O_RDONLY);
	return cmd;
}

int session_run(struct session *s, const struct session_command *cfg, uint32_t *ret_id)
{
	struct command *cmd;
	unsigned slot = 0;
	int err;

	while (slot < SESSION_COMMANDS && s->commands[slot])
		slot++;
	if (s->lost || !s->up)
		return s->lost ? -EPIPE : -ENOTCONN;
	if (slot == SESSION_COMMANDS)
		return -EAGAIN;
	cmd = command_new(s);
	if (!cmd)
		return -ENOMEM;
	cmd->cfg = *cfg;
	cmd->in.ended = !cfg->tty && !cfg->terminal && cfg->fd[0] < 0;
	cmd->id = ++s->next_id;
	err = command_take_exec(cmd);
	if (err) {
		free(cmd);
		return err;
	}
	command_open(cmd);
	cmd->cfg.argv = cmd->cfg.envp = NULL;
	s->commands[slot] = cmd;
	if (ret_id)
		*ret_id = cmd->id;
	command_pump(cmd);
	return 0;
}
