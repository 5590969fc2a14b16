/*
 * virtio file system device. Spec: virtio 1.2, 5.11. share.c does all but what it is to the guest.
 *
 *	queue 0: forgetting, which the worker does itself; queue 1: all else
 *
 * One queue of requests is all that is of use: any thread that is free takes the next one, and none waits
 * for what another does, so a second one would bring no request earlier to its file. Shared memory (id 0,
 * 5.11.5) is the server's window into files, if it has one.
 */
#include "fs-internal.h"

#include <endian.h>
#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

static uint64_t config_read(struct virtio_dev *dev, unsigned off, unsigned width)
{
	uint64_t value = 0;

	memcpy(&value, (char *)&fs_of(dev)->config + off, width);
	return le64toh(value);
}

static bool mend(struct virtio_dev *dev)
{
	return fuse_mend(fs_of(dev)->fuse);
}

/* What it asks of the server stands in the request's head. */
static void describe(unsigned index, const struct virtq_chain *c, struct virtio_asked *ret)
{
#define NAME(op, name) [FUSE_##op] = name
	static const char *const names[] = {
		NAME(LOOKUP, "lookup"), NAME(FORGET, "forget"), NAME(GETATTR, "getattr"), NAME(SETATTR, "setattr"),
		NAME(READLINK, "readlink"), NAME(SYMLINK, "symlink"), NAME(MKNOD, "mknod"), NAME(MKDIR, "mkdir"),
		NAME(UNLINK, "unlink"), NAME(RMDIR, "rmdir"), NAME(RENAME, "rename"), NAME(LINK, "link"),
		NAME(OPEN, "open"), NAME(READ, "read"), NAME(WRITE, "write"), NAME(STATFS, "statfs"),
		NAME(RELEASE, "release"), NAME(FSYNC, "fsync"), NAME(SETXATTR, "setxattr"),
		NAME(GETXATTR, "getxattr"), NAME(LISTXATTR, "listxattr"), NAME(REMOVEXATTR, "removexattr"),
		NAME(FLUSH, "flush"), NAME(INIT, "init"), NAME(OPENDIR, "opendir"), NAME(READDIR, "readdir"),
		NAME(RELEASEDIR, "releasedir"), NAME(FSYNCDIR, "fsyncdir"), NAME(GETLK, "getlk"),
		NAME(SETLK, "setlk"), NAME(SETLKW, "setlkw"), NAME(ACCESS, "access"), NAME(CREATE, "create"),
		NAME(INTERRUPT, "interrupt"), NAME(DESTROY, "destroy"), NAME(IOCTL, "ioctl"), NAME(POLL, "poll"),
		NAME(BATCH_FORGET, "batch forget"), NAME(FALLOCATE, "fallocate"), NAME(READDIRPLUS, "readdirplus"),
		NAME(RENAME2, "rename2"), NAME(LSEEK, "lseek"), NAME(COPY_FILE_RANGE, "copy_file_range"),
		NAME(SETUPMAPPING, "setupmapping"), NAME(REMOVEMAPPING, "removemapping"), NAME(SYNCFS, "syncfs"),
		NAME(TMPFILE, "tmpfile"),
	};
#undef NAME
	struct fuse_in_header head;

	(void)index;
	if (virtq_read(c, 0, &head, sizeof(head)) == sizeof(head) && head.opcode < ARRAY_SIZE(names) &&
	    names[head.opcode])
		ret->what = names[head.opcode];
}

static const struct virtio_type fs_type = {
	.name = "fs",
	.id = VIRTIO_ID_FS,
	SHARE_OPS,
	.config_read = config_read,
	.describe = describe,
	.mend = mend,
	.state = &fs_state_type,
	.save_more = fs_save_session,
	.load_more = fs_load_session,
};

int virtio_fs_new(const struct ram *ram, const char *name, const struct fs_config *config,
		  struct fuse *fuse, struct virtio_dev **ret)
{
	struct virtio_fs *fs = calloc(1, sizeof(*fs));
	struct virtio_dev *dev;
	int err;

	if (!fs) {
		fuse_free(fuse);
		return -ENOMEM;
	}
	dev = &fs->share.dev;
	fs->fuse = fuse;
	memcpy(fs->config.tag, config->tag, strnlen(config->tag, sizeof(fs->config.tag)));
	fs->cache = config->cache;
	fs->read_only = config->read_only;
	fs->one_mount = config->one_mount;
	fs->config.num_request_queues = htole32(QUEUES - 1);
	dev->type = &fs_type;
	dev->name = name;
	dev->ram = ram;
	dev->n_queues = QUEUES;
	dev->config_bytes = sizeof(fs->config);
	dev->shm = (struct virtio_shm){ .bytes = config->window_bytes,
					.id = VIRTIO_FS_SHMCAP_ID_CACHE,
					.read_only = config->read_only,
					.host = fuse ? fuse_memory(fuse) : NULL };
	err = virtio_share_init(&fs->share, fuse_server(fuse));
	if (err)
		virtio_fs_free(dev);
	else
		*ret = dev;
	return err;
}

void virtio_fs_free(struct virtio_dev *dev)
{
	if (!dev)
		return;
	virtio_share_fini(share_of(dev));
	free(fs_of(dev));
}
