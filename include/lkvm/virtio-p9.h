/*
 * virtio 9P device: carries 9P2000.L requests from the guest to a shared folder, as virtio-fs.h does
 * with FUSE.
 */
#ifndef LKVM_VIRTIO_P9_H
#define LKVM_VIRTIO_P9_H

#include "lkvm/fs.h"
#include "lkvm/virtio.h"

/**
 * virtio_p9_new() - its threads are started, and wait
 * @name:   not copied
 * @config: its tag is what the guest mounts
 * @p9:     taken over, also on failure; NULL: a device that is only shown
 * Return: 0 or -errno, not logged
 */
int virtio_p9_new(const struct ram *ram, const char *name, const struct fs_config *config,
		  struct p9 *p9, struct virtio_dev **ret);
/** virtio_p9_free() - takes NULL */
void virtio_p9_free(struct virtio_dev *dev);

#endif
