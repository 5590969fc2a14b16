/* What gdb asks of registers, memory and breakpoints; see stub-internal.h. */
#include <errno.h>
#include <string.h>

#include "stub-internal.h"

#define MAX_MEMORY (GDB_PACKET_BYTES / 2 - 16) /* bytes of memory in one answer, two digits each */

/* ---- registers ---- */

/* It has as many digits as it would have. */
static void put_unknown(struct gdb_stub *s, unsigned reg)
{
	for (unsigned i = s->target->reg_bytes(s->ctx, reg); i; i--)
		gdb_text(&s->out, "xx");
}

/* One register's digits, or x in place of them. Return: 0 or -errno */
static int take_register(struct gdb_stub *s, unsigned reg, struct gdb_words *w)
{
	uint8_t value[GDB_REG_BYTES], old[GDB_REG_BYTES];
	const unsigned n = s->target->reg_bytes(s->ctx, reg);
	unsigned unknown = 0;

	while (unknown < n && gdb_word_is(w, "xx"))
		unknown++;
	if (unknown)
		return unknown == n ? 0 : -EINVAL;
	if (gdb_word_bytes(w, value, n) != (long)n)
		return -EINVAL;
	if (s->target->get_reg(s->ctx, s->cpu, reg, old) == n && !memcmp(value, old, n))
		return 0;
	return s->target->set_reg(s->ctx, s->cpu, reg, value, n);
}

void gdb_all_registers(struct gdb_stub *s, struct gdb_words *w)
{
	uint8_t value[GDB_REG_BYTES];

	(void)w;
	for (unsigned i = 0; i < s->target->n_regs; i++) {
		unsigned n = s->target->get_reg(s->ctx, s->cpu, i, value);

		if (n)
			gdb_hex(&s->out, value, n);
		else
			put_unknown(s, i);
	}
}

void gdb_write_all_registers(struct gdb_stub *s, struct gdb_words *w)
{
	int err = 0;

	for (unsigned i = 0; !err && i < s->target->n_regs && gdb_words_left(w); i++)
		err = take_register(s, i, w);
	gdb_result(s, err);
}

void gdb_one_register(struct gdb_stub *s, struct gdb_words *w)
{
	uint8_t value[GDB_REG_BYTES];
	uint64_t reg;
	unsigned n = 0;

	if (gdb_word_hex(w, &reg) && reg < s->target->n_regs)
		n = s->target->get_reg(s->ctx, s->cpu, (unsigned)reg, value);
	if (n)
		gdb_hex(&s->out, value, n);
	else
		gdb_error(s, -EINVAL);
}

void gdb_write_register(struct gdb_stub *s, struct gdb_words *w)
{
	uint8_t value[GDB_REG_BYTES];
	int err = -EINVAL;
	uint64_t reg;

	if (gdb_word_hex(w, &reg) && reg < s->target->n_regs && gdb_word_char(w, '=') &&
	    gdb_words_left(w) <= 2 * GDB_REG_BYTES) {
		long n = gdb_word_bytes(w, value, sizeof(value));

		if (n > 0 && !gdb_words_left(w))
			err = s->target->set_reg(s->ctx, s->cpu, (unsigned)reg, value, (size_t)n);
	}
	gdb_result(s, err);
}

/* ---- memory ---- */

/* "ADDRESS,LENGTH" */
bool gdb_word_range(struct gdb_words *w, uint64_t *ret_at, uint64_t *ret_n)
{
	return gdb_word_hex(w, ret_at) && gdb_word_char(w, ',') && gdb_word_hex(w, ret_n);
}

/* Return: how many bytes are in s->memory; -EFAULT: the first of them cannot be had */
static long read_range(struct gdb_stub *s, struct gdb_words *w)
{
	uint64_t at, n;
	size_t got;

	if (!gdb_word_range(w, &at, &n) || gdb_words_left(w))
		return -EINVAL;
	if (n > MAX_MEMORY)
		n = MAX_MEMORY;
	got = s->target->read(s->ctx, s->cpu, s->physical, at, s->memory, (size_t)n);
	return got || !n ? (long)got : -EFAULT;
}

void gdb_read_memory(struct gdb_stub *s, struct gdb_words *w)
{
	const long n = read_range(s, w);

	if (n < 0)
		gdb_error(s, (int)n);
	else
		gdb_hex(&s->out, s->memory, (size_t)n);
}

void gdb_read_binary(struct gdb_stub *s, struct gdb_words *w)
{
	const long n = read_range(s, w);

	if (n < 0) {
		gdb_error(s, (int)n);
		return;
	}
	gdb_text(&s->out, "b");
	gdb_put(&s->out, s->memory, (size_t)n);
}

static int write_range(struct gdb_stub *s, uint64_t at, const void *bytes, size_t n)
{
	return s->target->write(s->ctx, s->cpu, s->physical, at, bytes, n) == n ? 0 : -EFAULT;
}

void gdb_write_memory(struct gdb_stub *s, struct gdb_words *w)
{
	int err = -EINVAL;
	uint64_t at, n;

	if (gdb_word_range(w, &at, &n) && gdb_word_char(w, ':') && n <= sizeof(s->memory) &&
	    gdb_word_bytes(w, s->memory, (size_t)n) == (long)n && !gdb_words_left(w))
		err = write_range(s, at, s->memory, (size_t)n);
	gdb_result(s, err);
}

/* The bytes are those of the packet, of which the reader has taken the escapes. */
void gdb_write_binary(struct gdb_stub *s, struct gdb_words *w)
{
	int err = -EINVAL;
	uint64_t at, n;

	if (gdb_word_range(w, &at, &n) && gdb_word_char(w, ':') && n == gdb_words_left(w))
		err = write_range(s, at, w->at, (size_t)n);
	gdb_result(s, err);
}

void gdb_set_physical(struct gdb_stub *s, struct gdb_words *w)
{
	const bool on = gdb_word_char(w, '1');

	if ((!on && !gdb_word_char(w, '0')) || gdb_words_left(w)) {
		gdb_error(s, -EINVAL);
		return;
	}
	s->physical = on;
	gdb_ok(s);
}

void gdb_tell_physical(struct gdb_stub *s, struct gdb_words *w)
{
	(void)w;
	gdb_text(&s->out, s->physical ? "1" : "0");
}

/* ---- breakpoints and watchpoints ---- */

static void point(struct gdb_stub *s, struct gdb_words *w,
		  int (*change)(void *ctx, unsigned cpu, enum gdb_point_kind kind, uint64_t at, uint64_t n))
{
	uint64_t kind, at, n;

	if (!gdb_word_hex(w, &kind) || !gdb_word_char(w, ',') || !gdb_word_range(w, &at, &n))
		gdb_error(s, -EINVAL);
	else if (kind < GDB_POINT_KINDS && !gdb_words_left(w)) /* no conditions, no commands */
		gdb_result(s, change(s->ctx, s->cpu, (enum gdb_point_kind)kind, at, n));
}

void gdb_insert_point(struct gdb_stub *s, struct gdb_words *w)
{
	point(s, w, s->target->insert);
}

void gdb_remove_point(struct gdb_stub *s, struct gdb_words *w)
{
	point(s, w, s->target->remove);
}
