/*
 * virtio-input: a keyboard, or a tablet whose pointer is where the host's is. Spec: virtio 1.2, 5.8
 *
 * What is typed and pointed waits in a ring with an end. A key that goes down finds room or is refused, and one that
 * was taken always has room to come up again: no key of the guest's stays down because of a full ring.
 * Whatever is down comes up when the guest stood still, or goes on from a snapshot: who has held it may be gone.
 */
#ifndef LKVM_VIRTIO_INPUT_H
#define LKVM_VIRTIO_INPUT_H

#include "lkvm/virtio.h"

#define VIRTIO_INPUT_AXIS 32768U /* positions of each of the tablet's axes */

enum virtio_input_kind { VIRTIO_INPUT_KEYBOARD, VIRTIO_INPUT_TABLET };

/** virtio_input_new() - @packed: offer packed virtqueues; Return: 0 or -errno, not logged */
int virtio_input_new(const struct ram *ram, const char *name, enum virtio_input_kind kind, bool packed,
		     struct virtio_dev **ret);
void virtio_input_free(struct virtio_dev *dev);

enum virtio_input_what {
	VIRTIO_INPUT_KEY,   /* a key or a button goes down or comes up; if it is so already nothing happens */
	VIRTIO_INPUT_POINT, /* of a tablet: the pointer goes there */
	VIRTIO_INPUT_WHEEL, /* of a tablet */
};

struct virtio_input_action {
	enum virtio_input_what what;
	unsigned code; /* of <linux/input-event-codes.h> */
	bool down;
	int x, y; /* from 0 on, below VIRTIO_INPUT_AXIS; of the wheel: steps to the right, and up */
};

/* Any thread. */

/**
 * virtio_input_do() - all of these, or none
 * Return: 0; -ENOTCONN: the guest has no driver for it; -EAGAIN: it has no room for them at this time, which is never so
 *	where keys come up only; -EINVAL: the device has no such key or place
 */
int virtio_input_do(struct virtio_dev *dev, const struct virtio_input_action *action, unsigned n);
/** virtio_input_release() - all that is down comes up */
void virtio_input_release(struct virtio_dev *dev);
/** virtio_input_leds() - of a keyboard: 1 << LED_NUML and the like, as the guest has set them */
unsigned virtio_input_leds(const struct virtio_dev *dev);

/** virtio_input_axis() - where pixel @at of @size is on an axis: in its middle, so that the guest comes to it again */
static inline unsigned virtio_input_axis(unsigned at, unsigned size)
{
	return (unsigned)((2ULL * at + 1) * VIRTIO_INPUT_AXIS / (2ULL * size));
}

#endif
