/* What virtio/mem*.c share; nobody else includes this. */
#ifndef VIRTIO_MEM_INTERNAL_H
#define VIRTIO_MEM_INTERNAL_H

#include "lkvm/types.h"
#include "lkvm/virtio-mem.h"

struct virtio_mem {
	struct virtio_dev dev;
	struct board board;
	struct ram *ram;
	uint64_t most_bytes;
	int node;
	atomic_uint_fast64_t requested;
	atomic_int watch_fd; /* -1: nobody wants to know */
	atomic_uint n_busy;
	struct ratelimit busy_warning;
	int slot[RAM_MAX_BLOCKS]; /* the worker's: of the board's memory, of blocks that are plugged */
};

static inline struct virtio_mem *mem_of(const struct virtio_dev *dev)
{
	return container_of((struct virtio_dev *)(uintptr_t)dev, struct virtio_mem, dev);
}

extern const struct state_type mem_state_type; /* mem-state.c */

#endif
