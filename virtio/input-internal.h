/* What virtio/input*.c share; nobody else includes this. */
#ifndef VIRTIO_INPUT_INTERNAL_H
#define VIRTIO_INPUT_INTERNAL_H

#include <linux/input-event-codes.h>
#include <linux/virtio_input.h>
#include <pthread.h>

#include "lkvm/types.h"
#include "lkvm/virtio-input.h"

#define INPUT_RING    4096 /* events; a power of two */
#define INPUT_MAX_KEY 768
#define INPUT_WORDS   (INPUT_MAX_KEY / 64)

struct input_item {
	uint16_t type, code;
	int32_t value;
};

struct virtio_input {
	struct virtio_dev dev;
	enum virtio_input_kind kind;
	struct loop_source wake; /* eventfd: there is something in the ring */

	pthread_mutex_t lock; /* of the rest; nothing waits under it */
	uint8_t select, subsel;
	uint8_t leds;
	uint64_t down[INPUT_WORDS]; /* as the guest knows them once the ring is empty */
	struct input_item ring[INPUT_RING];
	uint32_t head, n;
};

static inline struct virtio_input *input_of(const struct virtio_dev *dev)
{
	return container_of((struct virtio_dev *)(uintptr_t)dev, struct virtio_input, dev);
}

extern const struct state_type input_state_type; /* input-state.c */

#endif
