/*
 * The frame of gdb's remote protocol (gdb manual, appendix E.1): bytes from a client become packets, and
 * answers become bytes.
 *
 *	$ contents # two hexadecimal digits: sum of the contents' bytes as sent, modulo 256
 *	} before a byte XOR 0x20: it is one of # $ } *
 *	+ - packet came well, came damaged (nobody says so in no-ack mode)
 *	0x03 outside of packets: Ctrl-C
 *
 * Nothing of a client is trusted. This module knows nothing of what the packets mean.
 */
#ifndef LKVM_GDB_PACKET_H
#define LKVM_GDB_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GDB_PACKET_BYTES (128 * 1024) /* of contents, as sent, both ways */

enum gdb_event {
	GDB_NOTHING,
	GDB_PACKET,    /* it is in the reader until the next byte */
	GDB_DAMAGED,   /* its sum is wrong */
	GDB_TOO_LONG,  /* it had more than GDB_PACKET_BYTES */
	GDB_ACK,
	GDB_NAK,       /* the client wants our last packet once more */
	GDB_INTERRUPT,
};

struct gdb_reader {
	enum { GDB_OUTSIDE, GDB_CONTENTS, GDB_SUM_HIGH, GDB_SUM_LOW } at;
	bool escaped, too_long;
	uint8_t sum;         /* of what came */
	char sum_text[3];    /* what it should be */
	size_t bytes, n;     /* as sent; in @buf, without escapes */
	char buf[GDB_PACKET_BYTES + 1]; /* the contents; a NUL follows them */
};

/** gdb_reader_byte() - the next byte of the client's */
enum gdb_event gdb_reader_byte(struct gdb_reader *r, uint8_t c);

/* One packet of ours, framed. It stays until the next is begun, as it may have to be sent again. */
struct gdb_writer {
	size_t n;     /* bytes in @buf */
	uint8_t sum;
	uint8_t buf[GDB_PACKET_BYTES + 8];
};

/** gdb_begin() - a new packet; gdb_end() - its sum */
void gdb_begin(struct gdb_writer *w);
void gdb_end(struct gdb_writer *w);
/** gdb_room() - how many bytes of contents are left, if none of them has to be escaped */
size_t gdb_room(const struct gdb_writer *w);
/** gdb_put() - bytes, escaped where they must be; Return: how many of them there was room for */
size_t gdb_put(struct gdb_writer *w, const void *bytes, size_t n);
void gdb_text(struct gdb_writer *w, const char *text);
void gdb_printf(struct gdb_writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** gdb_hex() - as two digits a byte; Return: how many of the bytes there was room for */
size_t gdb_hex(struct gdb_writer *w, const void *bytes, size_t n);

/* Parts of a packet: a cursor that never leaves it */
struct gdb_words {
	const char *at, *end;
};

/** gdb_word_hex() - a hexadecimal number of 64 bits at most; Return: false, @w stays: there is none */
bool gdb_word_hex(struct gdb_words *w, uint64_t *ret);
/** gdb_word_char() - is @c next? Then it is passed. */
bool gdb_word_char(struct gdb_words *w, char c);
/** gdb_word_is() - does @text stand next? Then it is passed. */
bool gdb_word_is(struct gdb_words *w, const char *text);
/** gdb_word_bytes() - two digits a byte, @cap at most; Return: how many bytes, -1: what follows is none */
long gdb_word_bytes(struct gdb_words *w, void *ret, size_t cap);
static inline size_t gdb_words_left(const struct gdb_words *w)
{
	return (size_t)(w->end - w->at);
}

#endif
