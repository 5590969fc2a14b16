/*
 * virtio file system device: carries FUSE requests from the guest to a shared folder. The device's
 * worker takes them off the rings and gives them back; a few threads of its own serve them, so that a
 * slow file of the host keeps nobody else.
 */
#ifndef LKVM_VIRTIO_FS_H
#define LKVM_VIRTIO_FS_H

#include "lkvm/fs.h"
#include "lkvm/virtio.h"

/**
 * virtio_fs_new() - its threads are started, and wait
 * @name:   not copied
 * @config: its tag is what the guest mounts
 * @fuse:   taken over, also on failure; NULL: a device that is only shown
 * Return: 0 or -errno, not logged
 */
int virtio_fs_new(const struct ram *ram, const char *name, const struct fs_config *config,
		  struct fuse *fuse, struct virtio_dev **ret);
/** virtio_fs_free() - takes NULL */
void virtio_fs_free(struct virtio_dev *dev);

#endif
