/*
 * virtio entropy device: one queue of buffers that are filled with the host's random numbers.
 */
#ifndef LKVM_VIRTIO_RNG_H
#define LKVM_VIRTIO_RNG_H

#include "lkvm/virtio.h"

/** virtio_rng_new() - @name is not copied; Return: 0 or -errno, not logged */
int virtio_rng_new(const struct ram *ram, const char *name, struct virtio_dev **ret);
/** virtio_rng_free() - takes NULL */
void virtio_rng_free(struct virtio_dev *dev);

#endif
