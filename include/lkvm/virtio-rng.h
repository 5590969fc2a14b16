/*
 * virtio entropy device: one queue of buffers that are filled with the host's random numbers.
 */
#ifndef LKVM_VIRTIO_RNG_H
#define LKVM_VIRTIO_RNG_H

#include "lkvm/keys.h"
#include "lkvm/virtio.h"

struct virtio_rng_config {
	bool packed; /* offers packed rings */
};

extern const struct opt_key virtio_rng_keys[];

/** virtio_rng_new() - @name is not copied; Return: 0 or -errno, not logged */
int virtio_rng_new(const struct ram *ram, const char *name, const struct virtio_rng_config *cfg,
		   struct virtio_dev **ret);
/** virtio_rng_free() - takes NULL */
void virtio_rng_free(struct virtio_dev *dev);

#endif
