/*
 * Linux AIO leaves completions in a ring that it shares with us: most of the time there is no need
 * to ask for them by a system call. Only the kernel writes the tail, only we the head.
 */
#include "raw.h"

#define RING_MAGIC 0xa10a10a1 /* the layout below; a kernel with another one has another magic */

struct aio_ring {
	unsigned id, n_events, head, tail;
	unsigned magic, compat, incompat, header_bytes;
	struct io_event events[];
};

static bool is_known(const struct aio_ring *ring)
{
	return ring->magic == RING_MAGIC && !ring->incompat;
}

bool raw_has_events(io_context_t aio)
{
	const struct aio_ring *ring = (const struct aio_ring *)aio;

	return is_known(ring) && ring->head != __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
}

unsigned raw_take_events(io_context_t aio, struct io_event *events, unsigned max)
{
	struct aio_ring *ring = (struct aio_ring *)aio;
	struct timespec now = { 0 };
	unsigned head, tail, n;
	int ret;

	if (!is_known(ring)) {
		ret = io_getevents(aio, 0, (long)max, events, &now);
		return ret > 0 ? (unsigned)ret : 0;
	}
	head = ring->head;
	tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
	for (n = 0; n < max && head != tail; n++) {
		events[n] = ring->events[head];
		head = head + 1 < ring->n_events ? head + 1 : 0;
	}
	__atomic_store_n(&ring->head, head, __ATOMIC_RELEASE);
	return n;
}
