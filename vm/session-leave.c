/*
 * Commands whose owner has left, and one that gets another: see lkvm/vm/session.h. What the guest knows of them
 * stays as it is.
 */
#include <fcntl.h>
#include <signal.h>

#include "lkvm/clock.h"
#include "session-internal.h"

void command_forgotten(void *ctx, const struct session_exit *exit, int output_err)
{
	(void)ctx, (void)exit, (void)output_err;
}

/* It keeps its slot until it ends, if it has begun; what it prints until then is dropped. */
void session_leave(struct session *s, uint32_t id)
{
	struct command *cmd = session_find(s, id);

	if (!cmd)
		return;
	if (cmd->exec && !cmd->exec_at) { /* the guest has not heard of it */
		command_drop(cmd);
		session_go_on(s);
		return;
	}
	cmd->cfg.ended = command_forgotten;
	session_signal(s, id, SIGHUP);
	command_end_input(cmd, true);
	stream_close(&cmd->in.stream);
	command_close_output(&cmd->out[0], true);
	command_close_output(&cmd->out[1], !cmd->cfg.terminal);
	command_end_if_over(cmd);
}

static void attach(struct command *cmd, const struct session_command *cfg)
{
	const bool terminal = cmd->cfg.terminal;

	cmd->cfg = *cfg;
	cmd->cfg.argv = cmd->cfg.envp = NULL;
	cmd->cfg.terminal = terminal && !cfg->tty;
	command_open(cmd);
	if (!terminal && cfg->fd[0] < 0)
		command_end_input(cmd, true);
	timer_set(&cmd->session->retry, now_ns()); /* what waits to be written, from the loop */
}

bool session_attach(struct session *s, const struct session_command *cfg)
{
	bool found = false;

	for (unsigned i = 0; i < SESSION_COMMANDS; i++) {
		struct command *cmd = s->commands[i];

		if (!cmd)
			continue;
		if (cfg && cmd->cfg.lasting && !found) {
			found = true;
			attach(cmd, cfg);
		} else {
			session_leave(s, cmd->id);
		}
	}
	return found;
}

static const struct command *lasting(const struct session *s)
{
	for (unsigned i = 0; i < SESSION_COMMANDS; i++)
		if (s->commands[i] && s->commands[i]->cfg.lasting)
			return s->commands[i];
	return NULL;
}

bool session_has_lasting(const struct session *s)
{
	return lasting(s);
}

bool session_lasting_terminal(const struct session *s)
{
	const struct command *cmd = lasting(s);

	return cmd && cmd->cfg.terminal;
}
