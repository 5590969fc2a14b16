/*
 * gdb's remote protocol; see lkvm/gdb/stub.h. commands[] is the list of what is understood; whatever is not has an
 * empty answer, as the protocol wants it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stub-internal.h"


/* ---- answers ---- */

void gdb_ok(struct gdb_stub *s)
{
	gdb_text(&s->out, "OK");
}

void gdb_error(struct gdb_stub *s, int err)
{
	gdb_printf(&s->out, "E%02x", (unsigned)-err & 0xff);
}

void gdb_result(struct gdb_stub *s, int err)
{
	if (err)
		gdb_error(s, err);
	else
		gdb_ok(s);
}

/* ---- threads ---- */

/* "1f", "-1", "p1.1f": Return: a thread, ANY_THREAD, ALL_THREADS, or -EINVAL */
int gdb_word_thread(struct gdb_words *w, const struct gdb_stub *s)
{
	uint64_t id;

	if (gdb_word_char(w, 'p')) {
		if (!gdb_word_is(w, "-1") && !gdb_word_hex(w, &id))
			return -EINVAL;
		if (!gdb_word_char(w, '.'))
			return ALL_THREADS;
	}
	if (gdb_word_is(w, "-1"))
		return ALL_THREADS;
	if (!gdb_word_hex(w, &id) || id > s->target->cpus)
		return -EINVAL;
	return (int)id;
}

/* H: for which CPU the following packets are */
static void choose_thread(struct gdb_stub *s, struct gdb_words *w)
{
	const bool resume = gdb_word_char(w, 'c');
	int thread;

	if (!resume && !gdb_word_char(w, 'g')) {
		gdb_error(s, -EINVAL);
		return;
	}
	thread = gdb_word_thread(w, s);
	if (thread < ALL_THREADS) {
		gdb_error(s, -EINVAL);
		return;
	}
	if (resume)
		s->resume_cpu = thread == ANY_THREAD ? (int)s->cpu : thread == ALL_THREADS ? -1 : thread - 1;
	else if (thread > 0)
		s->cpu = (unsigned)thread - 1;
	gdb_ok(s);
}

/* ---- to go on ---- */

static void set_actions(struct gdb_stub *s, struct gdb_action all)
{
	for (unsigned i = 0; i < s->target->cpus; i++)
		s->action[i] = all;
}

static void resume(struct gdb_stub *s)
{
	int err;

	s->running = true;
	s->answer = NO_ANSWER;
	err = s->target->resume(s->ctx, s->action);
	if (!err)
		return;
	s->running = false;
	s->answer = ANSWER;
	gdb_error(s, err);
}

/* c, C, s, S: at another address if there is one, which nobody uses with this table of registers */
static void old_resume(struct gdb_stub *s, bool step)
{
	const struct gdb_action rest = { .what = GDB_CONTINUE };

	set_actions(s, s->resume_cpu < 0 || !step ? rest : (struct gdb_action){ .what = GDB_STAY });
	if (step)
		s->action[s->resume_cpu < 0 ? s->cpu : (unsigned)s->resume_cpu] = (struct gdb_action){ .what = GDB_STEP };
	resume(s);
}

static void go_on(struct gdb_stub *s, struct gdb_words *w)
{
	(void)w; /* a signal means nothing to a machine */
	old_resume(s, false);
}

static void step(struct gdb_stub *s, struct gdb_words *w)
{
	(void)w;
	old_resume(s, true);
}

/* "c", "C05", "s", "S05", "rSTART,END" */
static int word_action(struct gdb_words *w, struct gdb_action *ret)
{
	uint64_t signal;

	*ret = (struct gdb_action){ .what = GDB_CONTINUE };
	if (gdb_word_char(w, 'c'))
		return 0;
	if (gdb_word_char(w, 'C'))
		return gdb_word_hex(w, &signal) ? 0 : -EINVAL;
	ret->what = GDB_STEP;
	if (gdb_word_char(w, 's'))
		return 0;
	if (gdb_word_char(w, 'S'))
		return gdb_word_hex(w, &signal) ? 0 : -EINVAL;
	return gdb_word_char(w, 'r') && gdb_word_range(w, &ret->start, &ret->end) ? 0 : -EINVAL;
}

/* Of several that are for a thread the first one counts. */
static void give(struct gdb_stub *s, bool *given, int thread, struct gdb_action action)
{
	for (unsigned i = 0; i < s->target->cpus; i++)
		if (!given[i] && (thread <= 0 || (unsigned)thread == i + 1)) {
			s->action[i] = action;
			given[i] = true;
		}
}

static int take_actions(struct gdb_stub *s, struct gdb_words *w)
{
	bool *given = calloc(s->target->cpus, sizeof(*given));
	int err = given ? 0 : -ENOMEM;

	set_actions(s, (struct gdb_action){ .what = GDB_STAY });
	while (!err && gdb_word_char(w, ';')) {
		struct gdb_action action;
		int thread = ALL_THREADS;

		err = word_action(w, &action);
		if (!err && gdb_word_char(w, ':'))
			thread = gdb_word_thread(w, s);
		if (thread < ALL_THREADS)
			err = thread;
		if (!err)
			give(s, given, thread, action);
	}
	free(given);
	return err || gdb_words_left(w) ? -EINVAL : 0;
}

static bool any_action(const struct gdb_stub *s)
{
	for (unsigned i = 0; i < s->target->cpus; i++)
		if (s->action[i].what != GDB_STAY)
			return true;
	return false;
}

static void v_cont(struct gdb_stub *s, struct gdb_words *w)
{
	const int err = take_actions(s, w);

	if (err || !any_action(s))
		gdb_error(s, -EINVAL);
	else
		resume(s);
}

static void v_cont_actions(struct gdb_stub *s, struct gdb_words *w)
{
	(void)w;
	gdb_text(&s->out, "vCont;c;C;s;S;r");
}

/* ---- why it stands still ---- */

static void tell_stop(struct gdb_stub *s)
{
	static const char *const reasons[] = {
		[GDB_SOFTWARE] = "swbreak:;", [GDB_HARDWARE] = "hwbreak:;",
		[GDB_WRITE] = "watch:", [GDB_READ] = "rwatch:", [GDB_ACCESS] = "awatch:",
	};
	const struct gdb_stop *stop = &s->last;
	uint8_t value[GDB_REG_BYTES];

	gdb_printf(&s->out, "T%02xthread:%x;", stop->signal, stop->cpu + 1);
	if (stop->by_point)
		gdb_text(&s->out, reasons[stop->kind]);
	if (stop->by_point && stop->kind >= GDB_WRITE)
		gdb_printf(&s->out, "%llx;", (unsigned long long)stop->at);
	for (unsigned i = 0; i < s->target->n_told; i++) {
		unsigned n = s->target->get_reg(s->ctx, stop->cpu, s->target->told[i], value);

		if (!n)
			continue;
		gdb_printf(&s->out, "%x:", s->target->told[i]);
		gdb_hex(&s->out, value, n);
		gdb_text(&s->out, ";");
	}
}

static void why(struct gdb_stub *s, struct gdb_words *w)
{
	(void)w;
	s->cpu = s->last.cpu;
	tell_stop(s);
}

/* ---- what is simply so ---- */

static void attached(struct gdb_stub *s, struct gdb_words *w)
{
	(void)w;
	gdb_text(&s->out, "1"); /* the guest was there before: gdb lets it go at its end, and does not kill it */
}

static void no_acks(struct gdb_stub *s, struct gdb_words *w)
{
	(void)w;
	s->no_acks = true;
	gdb_ok(s);
}

static void yes(struct gdb_stub *s, struct gdb_words *w)
{
	(void)w;
	gdb_ok(s);
}

static void nothing(struct gdb_stub *s, struct gdb_words *w)
{
	(void)s, (void)w;
}

/* ---- the end ---- */

static void end(struct gdb_stub *s, enum gdb_end how)
{
	s->over = true;
	s->target->end(s->ctx, how);
}

static void detach(struct gdb_stub *s, struct gdb_words *w)
{
	(void)w;
	gdb_ok(s);
	end(s, GDB_DETACH);
}

static void kill_silently(struct gdb_stub *s, struct gdb_words *w)
{
	(void)w;
	s->answer = NO_ANSWER;
	end(s, GDB_KILL);
}

static void kill_target(struct gdb_stub *s, struct gdb_words *w)
{
	(void)w;
	gdb_ok(s);
	end(s, GDB_KILL);
}

static void restart(struct gdb_stub *s, struct gdb_words *w)
{
	(void)w;
	s->answer = NO_ANSWER;
	end(s, GDB_RESTART);
}

/* ---- all packets: the first that begins so; a blank at the end of a name: nothing may follow it ---- */

static const struct {
	const char *name;
	void (*handle)(struct gdb_stub *s, struct gdb_words *w);
} commands[] = {
	{ "g ", gdb_all_registers },
	{ "G", gdb_write_all_registers },
	{ "p", gdb_one_register },
	{ "P", gdb_write_register },
	{ "m", gdb_read_memory },
	{ "M", gdb_write_memory },
	{ "x", gdb_read_binary },
	{ "X", gdb_write_binary },
	{ "c", go_on },
	{ "C", go_on },
	{ "s", step },
	{ "S", step },
	{ "vCont? ", v_cont_actions },
	{ "vCont", v_cont },
	{ "vKill", kill_target },
	{ "vMustReplyEmpty ", nothing },
	{ "Z", gdb_insert_point },
	{ "z", gdb_remove_point },
	{ "? ", why },
	{ "H", choose_thread },
	{ "T", gdb_is_alive },
	{ "D", detach },
	{ "k", kill_silently },
	{ "R", restart },
	{ "qSupported", gdb_supported },
	{ "qXfer:", gdb_transfer },
	{ "qfThreadInfo ", gdb_first_threads },
	{ "qsThreadInfo ", gdb_more_threads },
	{ "qThreadExtraInfo,", gdb_thread_info },
	{ "qC ", gdb_current_thread },
	{ "qAttached", attached },
	{ "qOffsets ", gdb_offsets },
	{ "qRcmd,", gdb_monitor },
	{ "qSymbol::", yes },
	{ "QStartNoAckMode ", no_acks },
	{ "Qqemu.PhyMemMode:", gdb_set_physical },
	{ "qqemu.PhyMemMode ", gdb_tell_physical },
};

static bool is_command(const char *name, struct gdb_words *w)
{
	const size_t n = strlen(name);
	const bool whole = name[n - 1] == ' ';

	if (!whole)
		return gdb_word_is(w, name);
	return gdb_words_left(w) == n - 1 && !memcmp(w->at, name, n - 1);
}

static void handle(struct gdb_stub *s)
{
	struct gdb_words w = { s->in.buf, s->in.buf + s->in.n };

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (is_command(commands[i].name, &w)) {
			commands[i].handle(s, &w);
			return;
		}
}

/* ---- bytes ---- */

void gdb_begin_answer(struct gdb_stub *s)
{
	gdb_begin(&s->out);
	s->sent = 0;
}

static void no_answer(struct gdb_stub *s)
{
	s->out.n = s->sent = 0;
}

/* While it runs, nothing but Ctrl-C is expected of a client. */
static void packet(struct gdb_stub *s)
{
	gdb_forget_said(s);
	gdb_begin_answer(s);
	s->answer = ANSWER;
	if (s->running)
		gdb_text(&s->out, "E.the guest is running");
	else
		handle(s);
	if (s->answer == ANSWER)
		gdb_end(&s->out);
	else if (s->answer == NO_ANSWER)
		no_answer(s);
}

static void refuse(struct gdb_stub *s, int err)
{
	gdb_begin_answer(s);
	gdb_error(s, err);
	gdb_end(&s->out);
}

static void take(struct gdb_stub *s, enum gdb_event event)
{
	const bool acks = !s->no_acks;

	switch (event) {
	case GDB_PACKET:
		s->ack = acks ? '+' : 0;
		packet(s);
		break;
	case GDB_TOO_LONG:
		s->ack = acks ? '+' : 0;
		refuse(s, -E2BIG);
		break;
	case GDB_DAMAGED:
		s->ack = acks ? '-' : 0;
		break;
	case GDB_NAK:
		if (acks && !s->running)
			s->sent = 0;
		break;
	case GDB_INTERRUPT:
		if (s->running)
			s->target->interrupt(s->ctx);
		break;
	case GDB_ACK:
		if (acks)
			gdb_more_said(s);
		break;
	case GDB_NOTHING:
		break;
	}
}

long gdb_stub_input(struct gdb_stub *s, const void *bytes, size_t n)
{
	const uint8_t *byte = bytes;
	size_t taken = 0, left;

	while (taken < n && !s->over && !s->waits && !gdb_stub_output(s, &left))
		take(s, gdb_reader_byte(&s->in, byte[taken++]));
	return s->over ? -ESHUTDOWN : (long)taken;
}

const void *gdb_stub_output(const struct gdb_stub *s, size_t *ret_n)
{
	if (s->ack) {
		*ret_n = 1;
		return &s->ack;
	}
	*ret_n = s->out.n - s->sent;
	return *ret_n ? s->out.buf + s->sent : NULL;
}

void gdb_stub_sent(struct gdb_stub *s, size_t n)
{
	if (s->ack && n) {
		s->ack = 0;
		n--;
	}
	s->sent += n;
	if (s->no_acks && s->sent == s->out.n)
		gdb_more_said(s);
}

void gdb_stub_stopped(struct gdb_stub *s, const struct gdb_stop *stop)
{
	s->last = *stop;
	if (!s->running)
		return;
	s->running = false;
	s->cpu = stop->cpu;
	gdb_begin_answer(s);
	tell_stop(s);
	gdb_end(&s->out);
	s->answer = ANSWERED; /* if that happens while it handles the packet that let it run */
}

void gdb_stub_exited(struct gdb_stub *s, unsigned status)
{
	if (!s->running)
		return;
	s->running = false;
	gdb_begin_answer(s);
	gdb_printf(&s->out, "W%02x", status & 0xff);
	gdb_end(&s->out);
}

struct gdb_stub *gdb_stub_new(const struct gdb_target *target, void *ctx, const struct gdb_stop *first)
{
	struct gdb_stub *s = calloc(1, sizeof(*s) + target->cpus * sizeof(s->action[0]));

	if (!s)
		return NULL;
	s->target = target;
	s->ctx = ctx;
	s->last = *first;
	s->cpu = first->cpu;
	s->resume_cpu = -1;
	return s;
}

void gdb_stub_free(struct gdb_stub *s)
{
	if (s)
		gdb_forget_said(s);
	free(s);
}
