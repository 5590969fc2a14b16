/* What gdb asks about threads, and about the machine as a whole, in documents and in words; see stub-internal.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stub-internal.h"

void gdb_supported(struct gdb_stub *s, struct gdb_words *w)
{
	(void)w;
	gdb_printf(&s->out, "PacketSize=%x;QStartNoAckMode+;vContSupported+;qXfer:features:read+;"
			    "qXfer:memory-map:read+;swbreak+;hwbreak+;binary-upload+;qqemu.PhyMemMode+",
		   GDB_PACKET_BYTES);
}

/* A piece of a document: 'm' before it if there is more, 'l' if not */
static void put_piece(struct gdb_stub *s, const char *text, uint64_t from, uint64_t n)
{
	const size_t all = strlen(text);
	const size_t left = from < all ? all - (size_t)from : 0, room = gdb_room(&s->out) / 2;

	if (n > room)
		n = room;
	gdb_text(&s->out, left > n ? "m" : "l");
	gdb_put(&s->out, text + (all - left), left < n ? left : (size_t)n);
}

/* "OBJECT:read:ANNEX:OFFSET,LENGTH" */
void gdb_transfer(struct gdb_stub *s, struct gdb_words *w)
{
	static const char *const objects[] = { "features:read:target.xml:", "memory-map:read::" };
	static const char *const names[] = { "target.xml", "memory-map" };
	uint64_t from, n;
	char *text;

	for (unsigned i = 0; i < sizeof(objects) / sizeof(objects[0]); i++) {
		if (!gdb_word_is(w, objects[i]))
			continue;
		text = gdb_word_range(w, &from, &n) ? s->target->document(s->ctx, names[i]) : NULL;
		if (text)
			put_piece(s, text, from, n);
		else
			gdb_error(s, -EINVAL);
		free(text);
		return;
	}
}

void gdb_offsets(struct gdb_stub *s, struct gdb_words *w)
{
	uint64_t at;

	(void)w;
	if (s->target->offset(s->ctx, &at))
		gdb_printf(&s->out, "Text=%llx;Data=%llx;Bss=%llx", (unsigned long long)at, (unsigned long long)at,
			   (unsigned long long)at);
}

/* What a command says comes as packets of console output, as many as it takes; its result ends them. */
static void put_said(struct gdb_stub *s)
{
	const char *text = s->said + s->said_at;

	if (*text) {
		gdb_text(&s->out, "O");
		s->said_at += gdb_hex(&s->out, text, strlen(text));
		return;
	}
	gdb_forget_said(s);
	gdb_result(s, s->said_err);
}

void gdb_more_said(struct gdb_stub *s)
{
	if (!s->said)
		return;
	gdb_begin_answer(s);
	put_said(s);
	gdb_end(&s->out);
}

void gdb_forget_said(struct gdb_stub *s)
{
	free(s->said);
	s->said = NULL;
}

/* Takes @text over; NULL: there was no memory for it */
static void say(struct gdb_stub *s, int err, char *text)
{
	s->said = text;
	s->said_at = 0;
	s->said_err = err;
	if (text)
		put_said(s);
	else
		gdb_error(s, -ENOMEM);
}

void gdb_stub_say(struct gdb_stub *s, int err, const char *text)
{
	if (!s->waits)
		return;
	s->waits = false;
	gdb_begin_answer(s);
	say(s, err, strdup(text));
	gdb_end(&s->out);
	s->answer = ANSWERED;
}

bool gdb_stub_waits(const struct gdb_stub *s)
{
	return s->waits;
}

void gdb_monitor(struct gdb_stub *s, struct gdb_words *w)
{
	char line[256], *text = NULL;
	size_t len = 0;
	const long n = gdb_word_bytes(w, line, sizeof(line) - 1);
	FILE *out = n >= 0 && !gdb_words_left(w) ? open_memstream(&text, &len) : NULL;
	int err;

	if (!out) {
		gdb_error(s, -EINVAL);
		return;
	}
	line[n] = '\0';
	err = s->target->monitor(s->ctx, s->cpu, line, out);
	if (fclose(out)) {
		free(text);
		text = NULL;
	}
	if (err == GDB_LATER) {
		s->waits = true;
		s->answer = NO_ANSWER;
		free(text);
	} else {
		say(s, err, text);
	}
}

/* ---- threads ---- */

void gdb_is_alive(struct gdb_stub *s, struct gdb_words *w)
{
	gdb_result(s, gdb_word_thread(w, s) > 0 ? 0 : -EINVAL);
}

void gdb_more_threads(struct gdb_stub *s, struct gdb_words *w)
{
	(void)w;
	if (s->next_thread == s->target->cpus)
		gdb_text(&s->out, "l");
	for (char sep = 'm'; s->next_thread < s->target->cpus && gdb_room(&s->out) > 16; sep = ',')
		gdb_printf(&s->out, "%c%x", sep, ++s->next_thread);
}

void gdb_first_threads(struct gdb_stub *s, struct gdb_words *w)
{
	s->next_thread = 0;
	gdb_more_threads(s, w);
}

void gdb_thread_info(struct gdb_stub *s, struct gdb_words *w)
{
	const int thread = gdb_word_thread(w, s);
	char text[128] = "";

	if (thread <= 0) {
		gdb_error(s, -EINVAL);
		return;
	}
	s->target->describe(s->ctx, (unsigned)thread - 1, text, sizeof(text));
	gdb_hex(&s->out, text, strlen(text));
}

void gdb_current_thread(struct gdb_stub *s, struct gdb_words *w)
{
	(void)w;
	gdb_printf(&s->out, "QC%x", s->cpu + 1);
}
