/*
 * virtio block device: a disk of disk.h for the guest. One worker serves all its queues and owns
 * the disk while the device is live.
 */
#ifndef LKVM_VIRTIO_BLK_H
#define LKVM_VIRTIO_BLK_H

#include "lkvm/disk.h"
#include "lkvm/virtio.h"

/**
 * virtio_blk_new() - main thread, before the guest starts
 * @name: "blk0"; not copied
 * @disk: becomes the device's, which closes it; also on failure
 * @cfg:  queues, serial and packed are looked at
 * Return: 0 or -errno, not logged
 */
int virtio_blk_new(const struct ram *ram, const char *name, struct disk *disk,
		   const struct disk_config *cfg, struct virtio_dev **ret);
/** virtio_blk_disk() - the disk, which is still the device's */
struct disk *virtio_blk_disk(struct virtio_dev *dev);
/** virtio_blk_leave() - of a device that is stopped: disk_leave(); others are left as they are */
void virtio_blk_leave(struct virtio_dev *dev);
/** virtio_blk_free() - takes NULL */
void virtio_blk_free(struct virtio_dev *dev);

#endif
