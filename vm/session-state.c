/*
 * What of a session belongs to the guest: how far they have come, the bytes between them that nobody has
 * taken yet, and of each command what it may send and what it was not told yet. See lkvm/vm/session.h.
 *
 * Who is at the other end of a command's streams is the host's: the one that is lasting gets new ends when the
 * guest goes on, the others are left.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/byte-ring.h"
#include "session-internal.h"

/* ---- the session ---- */

struct session_state {
	uint32_t next_id, commands, rx_n, tx_n;
	uint16_t asked, planned;
	uint32_t up;
	uint8_t rx[RX_BYTES], tx[TX_BYTES];
};

static const struct state_field fields[] = {
	STATE_ONE(struct session_state, next_id),
	STATE_ONE(struct session_state, commands, .max = SESSION_COMMANDS),
	STATE_ONE(struct session_state, rx_n, .max = RX_BYTES),
	STATE_ONE(struct session_state, tx_n, .max = TX_BYTES),
	STATE_ONE(struct session_state, asked, .max = 1),
	STATE_ONE(struct session_state, planned, .max = 1),
	STATE_ONE(struct session_state, up, .max = 1),
	STATE_SOME(struct session_state, rx, rx_n),
	STATE_SOME(struct session_state, tx, tx_n),
};

unsigned session_count(const struct session *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SESSION_COMMANDS; i++)
		n += s->commands[i] != NULL;
	return n;
}

void *session_command_at(struct session *s, unsigned index)
{
	for (unsigned i = 0; i < SESSION_COMMANDS; i++)
		if (s->commands[i] && !index--)
			return s->commands[i];
	return NULL;
}

/* What is being sent is not worth the trouble: it is a matter of milliseconds. */
static bool is_busy(const struct session *s)
{
	if (s->lost || s->plan || s->bye || s->woken || atomic_load(&s->closed))
		return true;
	/* What it is to mount is not in the state. */
	if (!s->up && !session_is_asked(s))
		return true;
	for (unsigned i = 0; i < SESSION_COMMANDS; i++)
		if (s->commands[i] && s->commands[i]->exec)
			return true;
	return false;
}

static int save(void *dev, void *ret_state)
{
	struct session *s = dev;
	struct session_state *st = ret_state;

	if (is_busy(s))
		return -EBUSY;
	st->next_id = s->next_id;
	st->commands = session_count(s);
	st->asked = s->asked;
	st->planned = s->planned;
	st->up = s->up;
	st->rx_n = s->rx_n;
	byte_ring_get(s->rx, RX_BYTES, s->rx_at, st->rx, s->rx_n);
	st->tx_n = (uint32_t)s->tx_n;
	memcpy(st->tx, s->tx + s->tx_at, s->tx_n);
	return 0;
}

/* Its commands are there then, each to be loaded. */
static int load(void *dev, const void *state)
{
	struct session *s = dev;
	const struct session_state *st = state;

	s->next_id = st->next_id;
	s->asked = st->asked;
	s->planned = st->planned;
	s->up = st->up;
	s->rx_at = 0;
	s->rx_n = st->rx_n;
	memcpy(s->rx, st->rx, st->rx_n);
	s->tx_at = 0;
	s->tx_n = st->tx_n;
	memcpy(s->tx, st->tx, st->tx_n);
	for (unsigned i = 0; i < SESSION_COMMANDS; i++) {
		command_free(s->commands[i]);
		s->commands[i] = i < st->commands ? command_new(s) : NULL;
		if (i < st->commands && !s->commands[i])
			return -ENOMEM;
	}
	session_go_on(s);
	return 0;
}

const struct state_type session_state_type = {
	STATE_TYPE("session", 1, struct session_state, fields),
	.save = save,
	.load = load,
};

/* ---- a command ---- */

struct command_state {
	uint64_t signals, ran_ns;
	uint32_t id, credit;
	uint32_t window[2], owed[2];
	uint32_t out_n, err_n;
	uint32_t code, signal, core, err;
	uint16_t rows, columns, eof, resized;
	uint8_t lasting, terminal, in_ended, exited;
	uint8_t ended[2], gone[2];
	uint8_t out[SESSION_WINDOW], error[SESSION_WINDOW];
};

static const struct state_field command_fields[] = {
	STATE_ONE(struct command_state, signals),
	STATE_ONE(struct command_state, ran_ns),
	STATE_ONE(struct command_state, id),
	STATE_ONE(struct command_state, credit, .max = SESSION_WINDOW),
	STATE_ARRAY(struct command_state, window, .max = SESSION_WINDOW),
	STATE_ARRAY(struct command_state, owed, .max = SESSION_WINDOW),
	STATE_ONE(struct command_state, out_n, .max = SESSION_WINDOW),
	STATE_ONE(struct command_state, err_n, .max = SESSION_WINDOW),
	STATE_ONE(struct command_state, code),
	STATE_ONE(struct command_state, signal),
	STATE_ONE(struct command_state, core),
	STATE_ONE(struct command_state, err),
	STATE_ONE(struct command_state, rows),
	STATE_ONE(struct command_state, columns),
	STATE_ONE(struct command_state, eof, .bits = 7),
	STATE_ONE(struct command_state, resized, .max = 1),
	STATE_ONE(struct command_state, lasting, .max = 1),
	STATE_ONE(struct command_state, terminal, .max = 1),
	STATE_ONE(struct command_state, in_ended, .max = 1),
	STATE_ONE(struct command_state, exited, .max = 1),
	STATE_ARRAY(struct command_state, ended, .max = 1),
	STATE_ARRAY(struct command_state, gone, .max = 1),
	STATE_SOME(struct command_state, out, out_n),
	STATE_SOME(struct command_state, error, err_n),
};

/* What it may still send has to fit behind what waits. */
static const char *command_check(const void *state)
{
	const struct command_state *st = state;

	if (!st->id)
		return "id";
	if (st->window[0] + st->owed[0] + st->out_n > SESSION_WINDOW ||
	    st->window[1] + st->owed[1] + st->err_n > SESSION_WINDOW)
		return "window";
	return NULL;
}

static void save_out(const struct command_out *out, uint32_t *ret_n, uint8_t *ret_bytes)
{
	*ret_n = out->n;
	if (out->n)
		byte_ring_get(out->buf, SESSION_WINDOW, out->at, ret_bytes, out->n);
}

static int command_save(void *dev, void *ret_state)
{
	const struct command *cmd = dev;
	struct command_state *st = ret_state;

	*st = (struct command_state){
		.signals = cmd->signals,
		.ran_ns = cmd->exit.ran_ns,
		.id = cmd->id,
		.credit = cmd->in.credit,
		.code = cmd->exit.code,
		.signal = cmd->exit.signal,
		.core = cmd->exit.core,
		.err = cmd->exit.err,
		.rows = cmd->cfg.window.rows,
		.columns = cmd->cfg.window.columns,
		.eof = (uint16_t)cmd->eof,
		.resized = cmd->resized,
		.lasting = cmd->cfg.lasting,
		.terminal = cmd->cfg.tty || cmd->cfg.terminal,
		.in_ended = cmd->in.ended,
		.exited = cmd->exited,
	};
	for (unsigned i = 0; i < 2; i++) {
		st->window[i] = cmd->out[i].window;
		st->owed[i] = cmd->out[i].owed;
		st->ended[i] = cmd->out[i].ended;
		st->gone[i] = cmd->out[i].gone;
	}
	save_out(&cmd->out[0], &st->out_n, st->out);
	save_out(&cmd->out[1], &st->err_n, st->error);
	return 0;
}

static int load_out(struct command_out *out, uint32_t n, const uint8_t *bytes)
{
	free(out->buf);
	out->buf = n ? malloc(SESSION_WINDOW) : NULL;
	out->at = 0;
	out->n = out->buf ? n : 0;
	if (n && !out->buf)
		return -ENOMEM;
	if (n)
		memcpy(out->buf, bytes, n);
	return 0;
}

static int command_load(void *dev, const void *state)
{
	struct command *cmd = dev;
	const struct command_state *st = state;
	int err;

	cmd->id = st->id;
	cmd->cfg.lasting = st->lasting;
	cmd->cfg.terminal = st->terminal;
	cmd->cfg.window = (struct session_winsize){ st->rows, st->columns };
	cmd->signals = st->signals;
	cmd->eof = st->eof;
	cmd->resized = st->resized;
	cmd->in.ended = st->in_ended;
	cmd->in.credit = st->credit;
	cmd->exited = st->exited;
	cmd->exit = (struct session_exit){ st->code, st->signal, st->core, st->err, st->ran_ns };
	for (unsigned i = 0; i < 2; i++) {
		cmd->out[i].window = st->window[i];
		cmd->out[i].owed = st->owed[i];
		cmd->out[i].ended = st->ended[i];
		cmd->out[i].gone = st->gone[i];
	}
	err = load_out(&cmd->out[0], st->out_n, st->out);
	return err ? err : load_out(&cmd->out[1], st->err_n, st->error);
}

const struct state_type session_command_type = {
	STATE_TYPE("session-command", 1, struct command_state, command_fields),
	.check = command_check,
	.save = command_save,
	.load = command_load,
};
