/* Frames that wait for the guest, in order, in one piece of memory. One thread. */
#ifndef NET_FRAME_QUEUE_H
#define NET_FRAME_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct frame_queue {
	uint8_t *ring;
	size_t size;
	uint64_t head, tail; /* where the next is put, and taken; from 0 on again when it is empty */
};

/** frame_queue_init() - @size: of all frames, four bytes more for each; Return: 0 or -ENOMEM */
int frame_queue_init(struct frame_queue *q, size_t size);
void frame_queue_fini(struct frame_queue *q);
void frame_queue_clear(struct frame_queue *q);

static inline size_t frame_queue_used(const struct frame_queue *q)
{
	return (size_t)(q->head - q->tail);
}

/** frame_queue_put() - a copy of @len bytes; Return: false: there is no room, or it is none */
bool frame_queue_put(struct frame_queue *q, const void *frame, size_t len);
/** frame_queue_next() - bytes of the next one; 0: there is none */
size_t frame_queue_next(const struct frame_queue *q);
/** frame_queue_take() - the next one is gone, its bytes go to [@off, ...) of an iovec that has room for them */
void frame_queue_take(struct frame_queue *q, const struct iovec *iov, unsigned n_iov, size_t off);
/** frame_queue_drop() - it is gone */
void frame_queue_drop(struct frame_queue *q);

#endif
