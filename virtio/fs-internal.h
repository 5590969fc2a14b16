/*
 * The file system device's own: fs.c is the device, fs-state.c saves and loads.
 */
#ifndef FS_INTERNAL_H
#define FS_INTERNAL_H

#include <linux/virtio_fs.h>

#include "lkvm/virtio-fs.h"
#include "share-internal.h"

#define QUEUES 2

struct virtio_fs {
	struct virtio_share share;
	struct fuse *fuse; /* its server */
	struct virtio_fs_config config;
	enum fs_cache cache;
	bool read_only, one_mount;
};

static inline struct virtio_fs *fs_of(struct virtio_dev *dev)
{
	return container_of(dev, struct virtio_fs, share.dev);
}

/* ---- fs-state.c: of a struct virtio_dev that is one ---- */

extern const struct state_type fs_state_type;
/** fs_save_session(), fs_load_session() - for struct virtio_type */
int fs_save_session(struct virtio_dev *dev, struct state_buf *buf);
int fs_load_session(struct virtio_dev *dev, struct state_reader *in);

#endif
