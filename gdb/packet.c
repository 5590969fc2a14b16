/* The frame of gdb's remote protocol; see lkvm/gdb/packet.h. */
#include "lkvm/gdb/packet.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ESCAPE 0x20

static const char digits[] = "0123456789abcdef";

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* ---- in ---- */

static void reader_begin(struct gdb_reader *r)
{
	r->at = GDB_CONTENTS;
	r->escaped = r->too_long = false;
	r->sum = 0;
	r->bytes = r->n = 0;
}

static enum gdb_event outside(struct gdb_reader *r, uint8_t c)
{
	switch (c) {
	case '$':
		reader_begin(r);
		return GDB_NOTHING;
	case '+':
		return GDB_ACK;
	case '-':
		return GDB_NAK;
	case 3:
		return GDB_INTERRUPT;
	default:
		return GDB_NOTHING;
	}
}

static void contents(struct gdb_reader *r, uint8_t c)
{
	r->sum = (uint8_t)(r->sum + c);
	if (r->bytes++ >= GDB_PACKET_BYTES) {
		r->too_long = true;
	} else if (r->escaped) {
		r->buf[r->n++] = (char)(c ^ ESCAPE);
		r->escaped = false;
	} else if (c == '}') {
		r->escaped = true;
	} else {
		r->buf[r->n++] = (char)c;
	}
}

static enum gdb_event judge(struct gdb_reader *r)
{
	const int high = digit(r->sum_text[0]), low = digit(r->sum_text[1]);

	r->at = GDB_OUTSIDE;
	r->buf[r->n] = '\0';
	if (high < 0 || low < 0 || (high << 4 | low) != r->sum)
		return GDB_DAMAGED;
	return r->too_long ? GDB_TOO_LONG : GDB_PACKET;
}

enum gdb_event gdb_reader_byte(struct gdb_reader *r, uint8_t c)
{
	switch (r->at) {
	case GDB_OUTSIDE:
		return outside(r, c);
	case GDB_CONTENTS:
		if (c == '$')
			reader_begin(r); /* the rest of the last one was lost */
		else if (c == '#')
			r->at = GDB_SUM_HIGH;
		else
			contents(r, c);
		return GDB_NOTHING;
	case GDB_SUM_HIGH:
		r->sum_text[0] = (char)c;
		r->at = GDB_SUM_LOW;
		return GDB_NOTHING;
	case GDB_SUM_LOW:
		r->sum_text[1] = (char)c;
		break;
	}
	return judge(r);
}

/* ---- out ---- */

void gdb_begin(struct gdb_writer *w)
{
	w->buf[0] = '$';
	w->n = 1;
	w->sum = 0;
}

void gdb_end(struct gdb_writer *w)
{
	w->buf[w->n++] = '#';
	w->buf[w->n++] = (uint8_t)digits[w->sum >> 4];
	w->buf[w->n++] = (uint8_t)digits[w->sum & 15];
}

size_t gdb_room(const struct gdb_writer *w)
{
	return GDB_PACKET_BYTES - (w->n - 1);
}

static void put(struct gdb_writer *w, uint8_t c)
{
	w->buf[w->n++] = c;
	w->sum = (uint8_t)(w->sum + c);
}

size_t gdb_put(struct gdb_writer *w, const void *bytes, size_t n)
{
	const uint8_t *byte = bytes;

	for (size_t i = 0; i < n; i++) {
		const bool escape = byte[i] && strchr("#$}*", byte[i]);

		if (gdb_room(w) < 1U + escape)
			return i;
		if (escape)
			put(w, '}');
		put(w, escape ? byte[i] ^ ESCAPE : byte[i]);
	}
	return n;
}

void gdb_text(struct gdb_writer *w, const char *text)
{
	gdb_put(w, text, strlen(text));
}

void gdb_printf(struct gdb_writer *w, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	gdb_text(w, text);
}

size_t gdb_hex(struct gdb_writer *w, const void *bytes, size_t n)
{
	const uint8_t *byte = bytes;

	for (size_t i = 0; i < n; i++) {
		if (gdb_room(w) < 2)
			return i;
		put(w, (uint8_t)digits[byte[i] >> 4]);
		put(w, (uint8_t)digits[byte[i] & 15]);
	}
	return n;
}

/* ---- parts of a packet ---- */

bool gdb_word_hex(struct gdb_words *w, uint64_t *ret)
{
	const char *at = w->at;
	uint64_t v = 0;

	for (; at < w->end && digit(*at) >= 0; at++) {
		if (v >> 60)
			return false;
		v = v << 4 | (uint64_t)digit(*at);
	}
	if (at == w->at)
		return false;
	w->at = at;
	*ret = v;
	return true;
}

bool gdb_word_char(struct gdb_words *w, char c)
{
	if (w->at == w->end || *w->at != c)
		return false;
	w->at++;
	return true;
}

bool gdb_word_is(struct gdb_words *w, const char *text)
{
	const size_t n = strlen(text);

	if (gdb_words_left(w) < n || memcmp(w->at, text, n))
		return false;
	w->at += n;
	return true;
}

long gdb_word_bytes(struct gdb_words *w, void *ret, size_t cap)
{
	uint8_t *byte = ret;
	size_t n = 0;

	for (; n < cap && gdb_words_left(w) >= 2; n++, w->at += 2) {
		const int high = digit(w->at[0]), low = digit(w->at[1]);

		if (high < 0 || low < 0)
			break;
		byte[n] = (uint8_t)(high << 4 | low);
	}
	return n || w->at == w->end ? (long)n : -1;
}
