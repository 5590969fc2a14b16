/*
 * What a driver can observe of the file system device beyond the core: its session with the server.
 *
 * The server's table of files is not saved: which file a number of the guest's means, what it has open,
 * and its locks, would have to be found again in a folder that has changed meanwhile. So only a guest
 * that knows nothing but the root can go on, as one does that has just mounted the folder or has not yet.
 * Of another what it has is saved as numbers: who looks at the state sees them, and loading is refused
 * by the name of the first one. A request that waits for a lock keeps the device from being saved.
 *
 * Left to be done: nodes by the handle and the generation that tree.c knows, handles with their flags
 * and directory offsets, locks of each owner; and requests that wait for one, which the guest would
 * have to send again.
 */
#include <errno.h>
#include <string.h>

#include "fs-internal.h"

struct fs_state {
	uint8_t tag[FS_TAG_BYTES];
	uint16_t read_only;
	uint8_t cache;     /* enum fs_cache: what the guest has been told to keep depends on that, */
	uint8_t one_mount; /* and the numbers of its files on this */
	uint32_t mounted;          /* from INIT to DESTROY */
	uint32_t nodes;            /* that it knows, beside the root */
	uint32_t handles;          /* files and folders that it has open */
	uint32_t waiters;          /* for locks */
	uint32_t mapped;           /* parts of files that it has as memory, */
	uint32_t window_mib;       /* of so many addresses */
};

static const struct state_field fields[] = {
	STATE_ARRAY(struct fs_state, tag),
	STATE_ONE(struct fs_state, read_only, .max = 1),
	STATE_ONE(struct fs_state, cache, .max = FS_CACHE_ALWAYS),
	STATE_ONE(struct fs_state, one_mount, .max = 1),
	STATE_ONE(struct fs_state, mounted, .max = 1),
	STATE_ONE(struct fs_state, nodes),
	STATE_ONE(struct fs_state, handles),
	STATE_ONE(struct fs_state, waiters),
	STATE_ONE(struct fs_state, mapped),
	STATE_ONE(struct fs_state, window_mib),
};

static const char *check(const void *state)
{
	const struct fs_state *st = state;

	if (st->nodes)
		return "nodes";
	if (st->handles)
		return "handles";
	if (st->waiters)
		return "waiters";
	return st->mapped ? "mapped" : NULL;
}

static uint32_t window_mib(const struct virtio_fs *fs)
{
	return (uint32_t)(fs->share.dev.shm.bytes / MIB);
}

static int save(void *dev, void *ret_state)
{
	const struct virtio_fs *fs = fs_of(dev);
	struct fs_state *st = ret_state;
	struct fuse_counts counts;

	memcpy(st->tag, fs->config.tag, sizeof(st->tag));
	st->read_only = fs->read_only;
	st->cache = (uint8_t)fs->cache;
	st->one_mount = fs->one_mount;
	st->window_mib = window_mib(fs);
	if (!fs->fuse)
		return 0; /* it is only shown */
	counts = fuse_count(fs->fuse);
	st->mounted = fuse_is_mounted(fs->fuse);
	st->nodes = counts.nodes - 1;
	st->handles = counts.handles;
	st->waiters = counts.waiters;
	st->mapped = counts.mapped;
	return 0;
}

static int judge(const struct virtio_fs *fs, const struct fs_state *st)
{
	if (memcmp(st->tag, fs->config.tag, sizeof(st->tag)) || st->read_only != fs->read_only ||
	    st->cache != fs->cache || st->one_mount != fs->one_mount ||
	    st->window_mib != window_mib(fs))
		return -ENODEV;
	/* A reset ends the session. */
	if (st->mounted && !(atomic_load(&fs->share.dev.status) & VIRTIO_CONFIG_S_DRIVER_OK))
		return -EINVAL;
	return 0;
}

static int load(void *dev, const void *state)
{
	struct virtio_fs *fs = fs_of(dev);
	const struct fs_state *st = state;
	int err = judge(fs, st);

	if (err || !fs->fuse)
		return err;
	fuse_reset(fs->fuse);
	if (st->mounted)
		fuse_mount_again(fs->fuse);
	return 0;
}

const struct state_type fs_state_type = {
	STATE_TYPE("virtio-fs", 1, struct fs_state, fields),
	.check = check,
	.save = save,
	.load = load,
};
