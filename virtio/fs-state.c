/*
 * What a driver can observe of the file system device beyond the core: which folder it is, and its session
 * with the server, which saves that itself (fs/fuse-state.c).
 *
 * A request that waits for a lock keeps the device from being saved.
 */
#include <errno.h>
#include <string.h>

#include "fs-internal.h"

struct fs_state {
	uint8_t tag[FS_TAG_BYTES];
	uint16_t read_only;
	uint8_t cache;     /* enum fs_cache: what the guest has been told to keep depends on that, */
	uint8_t one_mount; /* and the numbers of its files on this */
	uint32_t window_mib;
};

static const struct state_field fields[] = {
	STATE_ARRAY(struct fs_state, tag),
	STATE_ONE(struct fs_state, read_only, .max = 1),
	STATE_ONE(struct fs_state, cache, .max = FS_CACHE_ALWAYS),
	STATE_ONE(struct fs_state, one_mount, .max = 1),
	STATE_ONE(struct fs_state, window_mib),
};

static uint32_t window_mib(const struct virtio_fs *fs)
{
	return (uint32_t)(fs->share.dev.shm.bytes / MIB);
}

static int save(void *dev, void *ret_state)
{
	const struct virtio_fs *fs = fs_of(dev);
	struct fs_state *st = ret_state;

	memcpy(st->tag, fs->config.tag, sizeof(st->tag));
	st->read_only = fs->read_only;
	st->cache = (uint8_t)fs->cache;
	st->one_mount = fs->one_mount;
	st->window_mib = window_mib(fs);
	return 0;
}

static int load(void *dev, const void *state)
{
	const struct virtio_fs *fs = fs_of(dev);
	const struct fs_state *st = state;

	if (memcmp(st->tag, fs->config.tag, sizeof(st->tag)) || st->read_only != fs->read_only ||
	    st->cache != fs->cache || st->one_mount != fs->one_mount ||
	    st->window_mib != window_mib(fs))
		return -ENODEV;
	return 0;
}

const struct state_type fs_state_type = {
	STATE_TYPE("virtio-fs", 1, struct fs_state, fields),
	.save = save,
	.load = load,
};

int fs_save_session(struct virtio_dev *dev, struct state_buf *buf)
{
	struct virtio_fs *fs = fs_of(dev);

	return fs->fuse ? fuse_save(fs->fuse, buf) : 0; /* it is only shown */
}

int fs_load_session(struct virtio_dev *dev, struct state_reader *in)
{
	struct virtio_fs *fs = fs_of(dev);
	int err = fs->fuse ? fuse_load(fs->fuse, in) : 0;

	/* A reset ends the session. */
	if (err || !fs->fuse || !fuse_is_mounted(fs->fuse) || atomic_load(&dev->status) & VIRTIO_CONFIG_S_DRIVER_OK)
		return err;
	fuse_reset(fs->fuse);
	return state_refuse(in, -EINVAL, "fuse: it is mounted by a driver that has not begun");
}
