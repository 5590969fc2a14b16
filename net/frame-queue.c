/* See frame-queue.h. */
#include "frame-queue.h"

#include <errno.h>
#include <stdlib.h>

#include "lkvm/byte-ring.h"

#define HEAD_BYTES sizeof(uint32_t) /* a frame's length, in front of it */

int frame_queue_init(struct frame_queue *q, size_t size)
{
	*q = (struct frame_queue){ .ring = malloc(size), .size = size };
	return q->ring ? 0 : -ENOMEM;
}

void frame_queue_fini(struct frame_queue *q)
{
	free(q->ring);
	q->ring = NULL;
}

/* From the begin of its memory again: a queue that is short most of the time touches little of it. */
void frame_queue_clear(struct frame_queue *q)
{
	q->head = q->tail = 0;
}

bool frame_queue_put(struct frame_queue *q, const void *frame, size_t len)
{
	const uint32_t head = (uint32_t)len;
	const size_t room = q->size - frame_queue_used(q);

	if (!len || len > UINT32_MAX || room < HEAD_BYTES || room - HEAD_BYTES < len)
		return false;
	byte_ring_put(q->ring, q->size, q->head, &head, sizeof(head));
	byte_ring_put(q->ring, q->size, q->head + HEAD_BYTES, frame, len);
	q->head += HEAD_BYTES + len;
	return true;
}

size_t frame_queue_next(const struct frame_queue *q)
{
	uint32_t head;

	if (q->head == q->tail)
		return 0;
	byte_ring_get(q->ring, q->size, q->tail, &head, sizeof(head));
	return head;
}

void frame_queue_drop(struct frame_queue *q)
{
	q->tail += HEAD_BYTES + frame_queue_next(q);
	if (q->tail == q->head)
		frame_queue_clear(q);
}

void frame_queue_take(struct frame_queue *q, const struct iovec *iov, unsigned n_iov, size_t off)
{
	uint64_t at = q->tail + HEAD_BYTES;
	size_t left = frame_queue_next(q);

	for (; n_iov && left; n_iov--, iov++) {
		const size_t skip = off < iov->iov_len ? off : iov->iov_len, rest = iov->iov_len - skip;
		const size_t n = rest < left ? rest : left;

		byte_ring_get(q->ring, q->size, at, (char *)iov->iov_base + skip, n);
		off -= skip;
		at += n;
		left -= n;
	}
	frame_queue_drop(q);
}
