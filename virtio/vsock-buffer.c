/* What the guest has sent and the host has not taken yet; see vsock-internal.h. */
#include "vsock-internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RING_BYTES ((uint32_t)VSOCK_CONN_BYTES)
#define MARK_BYTES (RING_BYTES / 8)

static bool has_messages(const struct conn *c)
{
	return c->type == VIRTIO_VSOCK_TYPE_SEQPACKET;
}

static int make(struct conn *c)
{
	struct vsock *vs = c->vs;

	if (has_messages(c) && !c->out.marks) {
		c->out.marks = calloc(1, MARK_BYTES);
		if (!c->out.marks)
			return -ENOMEM;
	}
	if (c->out.bytes)
		return 0;
	c->out.bytes = vs->spare ? vs->spare : malloc(RING_BYTES);
	vs->spare = NULL;
	return c->out.bytes ? 0 : -ENOMEM;
}

/* One at most is kept for the next who needs one: most connections need none most of the time. */
static void unmake(struct conn *c)
{
	if (!c->vs->spare)
		c->vs->spare = c->out.bytes;
	else
		free(c->out.bytes);
	c->out.bytes = NULL;
	c->out.at = 0;
}

int buffer_put(struct conn *c, const struct virtq_chain *chain, uint64_t off, uint32_t len)
{
	struct conn_buffer *out = &c->out;
	int err = make(c);
	uint32_t to, first;

	if (err)
		return err;
	to = (out->at + out->n) % RING_BYTES;
	first = len < RING_BYTES - to ? len : RING_BYTES - to;
	virtq_read(chain, off, out->bytes + to, first);
	virtq_read(chain, off + first, out->bytes, len - first);
	out->n += len;
	return 0;
}

void buffer_mark(struct conn *c)
{
	struct conn_buffer *out = &c->out;
	uint32_t last;

	if (out->n == out->whole) /* of no bytes: a UNIX socket's reader would take it for the end */
		return;
	last = (out->at + out->n - 1) % RING_BYTES;
	out->marks[last / 8] |= (uint8_t)(1U << last % 8);
	out->whole = out->n;
}

/* A byte of marks at a time where none is set. There is a mark. */
static uint32_t message_bytes(const struct conn_buffer *out)
{
	uint32_t at = out->at, n = 1;

	while (!(out->marks[at / 8] & 1U << at % 8)) {
		const uint32_t step = at % 8 == 0 && !out->marks[at / 8] ? 8 : 1;

		at = (at + step) % RING_BYTES;
		n += step;
	}
	return n;
}

uint32_t buffer_next(const struct conn *c, struct iovec ret[2])
{
	const struct conn_buffer *out = &c->out;
	uint32_t n = out->n, first;

	if (has_messages(c))
		n = out->whole ? message_bytes(out) : 0;
	if (!n)
		return 0;
	first = n < RING_BYTES - out->at ? n : RING_BYTES - out->at;
	ret[0] = (struct iovec){ out->bytes + out->at, first };
	ret[1] = (struct iovec){ out->bytes, n - first };
	return n;
}

void buffer_took(struct conn *c, uint32_t len)
{
	struct conn_buffer *out = &c->out;
	const uint32_t last = (out->at + len - 1) % RING_BYTES;

	if (has_messages(c)) {
		out->marks[last / 8] &= (uint8_t)~(1U << last % 8);
		out->whole -= len;
	}
	out->at = (out->at + len) % RING_BYTES;
	out->n -= len;
	if (!out->n)
		unmake(c);
}

void buffer_free(struct conn *c)
{
	if (c->out.bytes)
		unmake(c);
	free(c->out.marks);
	c->out = (struct conn_buffer){ 0 };
}
