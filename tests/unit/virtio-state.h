/* What the tests of virtio devices' state share: standing still, and guest memory as it was. */
#ifndef TESTS_VIRTIO_STATE_H
#define TESTS_VIRTIO_STATE_H

#include <stdlib.h>
#include <string.h>

#include "lkvm/clock.h"
#include "lkvm/virtio.h"
#include "ram-base.h"
#include "unit.h"

static inline void hold(struct virtio_dev *d)
{
	virtio_dev_hold_begin(d);
	ck_assert(virtio_dev_hold_wait(d, now_ms() + 10000));
}

/* A device that is thrown away ends what it has begun: its guest's memory goes with it. */
static inline void *ram_kept(const struct ram *ram)
{
	void *copy = malloc(ram_bytes(ram));

	memcpy(copy, ram_base(ram), ram_bytes(ram));
	return copy;
}

static inline void ram_restore(const struct ram *ram, void *copy)
{
	memcpy(ram_base(ram), copy, ram_bytes(ram));
	free(copy);
}

#endif
