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

/* Any thread. Codes are those of <linux/input-event-codes.h>. */

/**
 * virtio_input_key() - a key or a button goes down or comes up; if it is so already nothing happens
 * Return: 0; -ENOTCONN: the guest has no driver for it; -EAGAIN: it takes nothing at this time; -EINVAL: the device
 *	has no such key
 */
int virtio_input_key(struct virtio_dev *dev, unsigned code, bool down);
/** virtio_input_point() - of a tablet: @x, @y below VIRTIO_INPUT_AXIS; likewise */
int virtio_input_point(struct virtio_dev *dev, unsigned x, unsigned y);
/** virtio_input_wheel() - of a tablet: so many steps up, and to the right; likewise */
int virtio_input_wheel(struct virtio_dev *dev, int up, int right);
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
