/*
 * What the guest is told of a command: SESSION_EXEC, and the small frames; see lkvm/vm/session.h. A guest may
 * take none of it for as long as it likes, so what there is no room for is not queued: it is noted of the
 * command what is to be told, and told by command_tell(), which comes when the port takes more.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/types.h"
#include "lkvm/vm/session-words.h"
#include "session-internal.h"

/* ---- of one that it knows ---- */

/*
 * What there is no room for is told later, and then what has become of it: so it never piles up. Nothing is
 * told of a command that the guest does not know yet.
 */
static bool told(struct command *cmd, enum session_type type, unsigned stream, const void *bytes,
		 uint32_t len)
{
	return !cmd->exec && session_send(cmd->session, type, cmd->id, stream, bytes, len);
}

/* Only what its reader has really taken is credit again; little is not worth a frame. */
void command_give_credit(struct command_out *out)
{
	if (out->owed < SESSION_WINDOW / 4 || out->ended ||
	    !told(out->cmd, SESSION_CREDIT, command_stream(out), &out->owed, sizeof(out->owed)))
		return;
	out->window += out->owed;
	out->owed = 0;
}

static void tell_size(struct command *cmd)
{
	const struct session_winsize *window = &cmd->cfg.window;

	if (cmd->resized)
		cmd->resized = !told(cmd, SESSION_WINSIZE, 0, window, sizeof(*window));
}

static void tell_signals(struct command *cmd)
{
	while (cmd->signals) {
		uint32_t signal = 1 + (uint32_t)__builtin_ctzll(cmd->signals);

		if (!told(cmd, SESSION_SIGNAL, 0, &signal, sizeof(signal)))
			return;
		cmd->signals &= cmd->signals - 1;
	}
}

static void tell_ends(struct command *cmd)
{
	for (unsigned stream = 0; stream < 3; stream++)
		if (cmd->eof & 1u << stream && told(cmd, SESSION_EOF, stream, NULL, 0))
			cmd->eof &= ~(1u << stream);
}

void command_end_stream(struct command *cmd, unsigned stream)
{
	cmd->eof |= 1u << stream;
	tell_ends(cmd);
}

void command_resize(struct command *cmd, const struct session_winsize *window)
{
	cmd->cfg.window = *window;
	cmd->resized = true;
	tell_size(cmd);
}

void session_resize(struct session *s, uint32_t id, const struct session_winsize *window)
{
	struct command *cmd = session_find(s, id);

	if (cmd && (cmd->cfg.tty || cmd->cfg.terminal))
		command_resize(cmd, window);
}

/* One that is still to be told of is the same. */
void session_signal(struct session *s, uint32_t id, uint32_t signal)
{
	struct command *cmd = session_find(s, id);

	if (!cmd)
		return;
	cmd->signals |= 1ULL << (signal - 1);
	tell_signals(cmd);
}

/* ---- SESSION_EXEC ---- */

static int make_exec(const struct session_command *cfg, void **ret, size_t *ret_len)
{
	const bool terminal = cfg->tty || cfg->terminal;
	const struct session_exec exec = {
		.flags = terminal ? SESSION_TTY : cfg->fd[0] < 0 ? SESSION_NO_STDIN : 0,
		.window = cfg->window,
	};
	const struct session_words words = { cfg->argv, cfg->envp, cfg->cwd, cfg->user };

	return session_words_join(&words, &exec, sizeof(exec), ret, ret_len);
}

/* Beside the longest of those that wait: so there is room for any one, and for many short ones. */
static bool has_room(const struct session *s, size_t len)
{
	size_t all = len, longest = len;

	for (unsigned i = 0; i < SESSION_COMMANDS; i++) {
		const struct command *cmd = s->commands[i];

		if (!cmd || !cmd->exec)
			continue;
		all += cmd->exec_n;
		longest = cmd->exec_n > longest ? cmd->exec_n : longest;
	}
	return all - longest <= EXEC_BYTES;
}

int command_take_exec(struct command *cmd)
{
	void *bytes = NULL;
	int err = make_exec(&cmd->cfg, &bytes, &cmd->exec_n);

	if (!err && !has_room(cmd->session, cmd->exec_n)) {
		free(bytes);
		err = -EBUSY;
	}
	if (!err)
		cmd->exec = bytes;
	return err;
}

/* Its parts stand together, so nobody begins before another has ended. */
static bool is_next(const struct command *cmd)
{
	const struct session *s = cmd->session;

	for (unsigned i = 0; i < SESSION_COMMANDS; i++)
		if (s->commands[i] && s->commands[i]->exec && s->commands[i]->id < cmd->id)
			return false;
	return true;
}

static void send_part(struct command *cmd)
{
	const size_t left = cmd->exec_n - cmd->exec_at;
	struct session_frame head = { .type = SESSION_EXEC, .command = cmd->id };
	void *to;

	head.len = left < SESSION_MOST ? (uint32_t)left : SESSION_MOST;
	head.flags = head.len < left ? SESSION_MORE : 0;
	to = session_frame(cmd->session, head.len);
	assert(to); /* it was not full */
	memcpy(to, cmd->exec + cmd->exec_at, head.len);
	session_frame_end(cmd->session, &head);
	cmd->exec_at += head.len;
}

static void send_exec(struct command *cmd)
{
	if (!cmd->exec || !is_next(cmd))
		return;
	while (cmd->exec_at < cmd->exec_n && !session_tx_full(cmd->session))
		send_part(cmd);
	if (cmd->exec_at < cmd->exec_n)
		return;
	free(cmd->exec);
	cmd->exec = NULL;
	session_go_on(cmd->session); /* the next one may begin */
}

void command_tell(struct command *cmd)
{
	send_exec(cmd);
	tell_size(cmd);
	tell_signals(cmd);
	tell_ends(cmd);
	for (unsigned i = 0; i < ARRAY_SIZE(cmd->out); i++)
		command_give_credit(&cmd->out[i]);
}
