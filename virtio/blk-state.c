/*
 * What a driver can observe of the block device beyond the core. Its requests are none of that: while the
 * machine stands still they have come to their end, or are still on the rings.
 *
 * What is on the disk is somebody else's to bring along. It must look the same to the driver, which has
 * read that; but for the size, which may have changed, and of that it is told.
 */
#include <errno.h>
#include <string.h>

#include "blk-internal.h"

#define NOT_WRITTEN 2 /* blk->writeback is -1 */

struct blk_state {
	uint64_t capacity; /* in sectors */
	uint32_t block_bytes, physical_bytes;
	uint8_t serial[DISK_SERIAL_BYTES];
	uint16_t read_only;
	uint16_t writeback; /* as the driver has written it */
};

static const struct state_field fields[] = {
	STATE_ONE(struct blk_state, capacity),
	STATE_ONE(struct blk_state, block_bytes),
	STATE_ONE(struct blk_state, physical_bytes),
	STATE_ARRAY(struct blk_state, serial),
	STATE_ONE(struct blk_state, read_only, .max = 1),
	STATE_ONE(struct blk_state, writeback, .max = NOT_WRITTEN),
};

static int save(void *dev, void *ret_state)
{
	const struct virtio_blk *blk = blk_of(dev);
	const int writeback = atomic_load(&blk->writeback);
	struct blk_state *st = ret_state;

	st->capacity = blk->disk->size_bytes / DISK_SECTOR_BYTES;
	st->block_bytes = blk->disk->block_bytes;
	st->physical_bytes = blk->disk->physical_bytes;
	st->read_only = blk->disk->read_only;
	memcpy(st->serial, blk->serial, sizeof(st->serial));
	st->writeback = writeback < 0 ? NOT_WRITTEN : (uint16_t)writeback;
	return 0;
}

static int judge(const struct virtio_blk *blk, const struct blk_state *st)
{
	const struct disk *disk = blk->disk;

	if (st->block_bytes != disk->block_bytes || st->physical_bytes != disk->physical_bytes ||
	    st->read_only != disk->read_only || memcmp(st->serial, blk->serial, sizeof(st->serial)))
		return -ENODEV;
	if (st->writeback != NOT_WRITTEN && !virtio_has(&blk->dev, VIRTIO_BLK_F_CONFIG_WCE))
		return -EINVAL;
	return 0;
}

static int load(void *dev, const void *state)
{
	struct virtio_blk *blk = blk_of(dev);
	const struct blk_state *st = state;
	int err = judge(blk, st);

	if (err)
		return err;
	atomic_store(&blk->writeback, st->writeback == NOT_WRITTEN ? -1 : st->writeback);
	if (st->capacity != blk->disk->size_bytes / DISK_SECTOR_BYTES) {
		virtio_config_begin(dev);
		virtio_config_end(dev);
	}
	return 0;
}

const struct state_type blk_state_type = {
	STATE_TYPE("virtio-blk", 1, struct blk_state, fields),
	.save = save,
	.load = load,
};
