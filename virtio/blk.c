/*
 * virtio block device. Spec: virtio 1.2, 5.2
 *
 *	chain -> blk_parse(): judged once, on copies -> struct blk_request -> disk -> done() -> push
 *
 * What is taken off the rings is bounded, in requests, bytes and buffers, and so is what one turn of
 * the worker's loop takes: the driver may do with its rings what it likes, a reset or the machine's
 * end is never far. A queue that is left with requests for lack of room is served again as soon as
 * there is some.
 *
 * A request is answered with a status whenever there is room for one: only a chain without any
 * writable byte breaks the device. Status goes into the last writable byte; header, data and status
 * may be spread over buffers in any way.
 */
#include "blk-internal.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/clock.h"

#define QUEUE_SIZE VIRTQ_MAX_SIZE
#define SEG_MAX    321 /* 1280 KiB in pages, the most that Linux sends, from inside one on */

/* Out of the rings at a time, beside MOST_REQUESTS; the last one may be larger than what is left */
#define MOST_BYTES   (64 * MIB)
#define MOST_SEGS    (32 * KIB)
#define TURN_BYTES   (16 * MIB) /* taken in one turn of the loop */
#define RANGE_WEIGHT 64         /* bytes that are discarded or zeroed count for this part of it */
#define KEPT_SEGS    128        /* of a request's memory, once it is over */

/* ---- requests ---- */

static struct blk_request *request_get(struct virtio_blk *blk)
{
	struct blk_request *r = blk->free;

	if (r) {
		blk->free = r->next;
	} else {
		assert(blk->n_all < MOST_REQUESTS);
		r = calloc(1, sizeof(*r));
		if (!r)
			return NULL;
		r->blk = blk;
		blk->all[blk->n_all++] = r;
	}
	r->used = true;
	blk->n_used++;
	return r;
}

static void request_put(struct blk_request *r)
{
	struct virtio_blk *blk = r->blk;

	blk->n_used--;
	blk->used_segs -= r->segs;
	blk->used_bytes -= r->bytes;
	r->used = false;
	if (r->cap_iov > KEPT_SEGS) {
		free(r->iov);
		r->iov = NULL;
		r->cap_iov = 0;
	}
	r->next = blk->free;
	blk->free = r;
}

/* What it makes of the bounds; blk_parse() has filled in what it is. */
static void request_count(struct blk_request *r)
{
	struct virtio_blk *blk = r->blk;

	r->segs = r->io.n_iov;
	r->bytes = r->io.len;
	for (unsigned i = 0; i < r->n_ranges; i++)
		r->bytes += (uint64_t)le32toh(r->ranges[i].num_sectors) * DISK_SECTOR_BYTES /
			    RANGE_WEIGHT;
	blk->used_segs += r->segs;
	blk->used_bytes += r->bytes;
	blk->turn_bytes += r->bytes;
}

static void answer(struct virtio_blk *blk, unsigned queue, uint64_t token, uint8_t *to,
		   uint8_t status, uint64_t written)
{
	if (blk->silent)
		return; /* cancelled: its queue is about to end */
	*to = status;
	virtio_push(&blk->dev, queue, token, (uint32_t)written);
	blk->to_publish |= 1ULL << queue;
}

/*
 * "Written" counts from the first writable byte on: where data is missing, the status behind it
 * does not count. Spec: 2.7.8.2
 */
static void request_end(struct blk_request *r, uint8_t status)
{
	uint64_t filled = status == VIRTIO_BLK_S_OK ? r->filled : 0;

	answer(r->blk, r->queue, r->token, r->status, status, filled + (filled == r->room));
	request_put(r);
}

static void publish(struct virtio_blk *blk)
{
	while (blk->to_publish) {
		unsigned queue = (unsigned)__builtin_ctzll(blk->to_publish);

		blk->to_publish &= blk->to_publish - 1;
		virtio_complete(&blk->dev, queue);
	}
}

/* ---- the way to the disk and back ---- */

static void start_range(struct blk_request *r)
{
	const blk_range *range = &r->ranges[r->range];

	r->io.off = le64toh(range->sector) * DISK_SECTOR_BYTES;
	r->io.len = (uint64_t)le32toh(range->num_sectors) * DISK_SECTOR_BYTES;
	r->io.unmap = le32toh(range->flags) & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	r->blk->disk->ops->submit(r->blk->disk, &r->io);
}

static void start_flush(struct blk_request *r)
{
	r->stable = false;
	r->io.op = DISK_FLUSH;
	r->io.off = r->io.len = 0;
	r->blk->disk->ops->submit(r->blk->disk, &r->io);
}

static void done(struct disk_request *io, int ret)
{
	struct blk_request *r = container_of(io, struct blk_request, io);

	if (!ret && io->cancelled)
		ret = -ECANCELED;
	if (!ret && ++r->range < r->n_ranges) {
		start_range(r);
	} else if (!ret && r->stable) {
		start_flush(r);
	} else if (!ret) {
		request_end(r, VIRTIO_BLK_S_OK);
	} else {
		if (ret != -ECANCELED && ret != -EOPNOTSUPP)
			disk_failed(r->blk->disk, io, ret);
		request_end(r, ret == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR);
	}
}

/* ---- the worker ---- */

static void handle(struct virtio_dev *dev, unsigned index)
{
	struct virtio_blk *blk = blk_of(dev);
	const struct virtq_chain *c = dev->chain;
	struct blk_request *r;
	struct iovec last;
	int status;

	if (!c->in_bytes) {
		virtio_break(dev, "a request without room for its status");
		return;
	}
	virtq_slice(c, true, c->in_bytes - 1, 1, &last, 1);
	r = request_get(blk);
	if (!r) {
		answer(blk, index, c->token, last.iov_base, VIRTIO_BLK_S_IOERR, 0);
		return;
	}
	r->queue = index;
	r->token = c->token;
	r->status = last.iov_base;
	r->room = c->in_bytes - 1;
	r->filled = 0;
	r->stable = false;
	r->range = r->n_ranges = 0;
	r->segs = 0;
	r->bytes = 0;
	r->io = (struct disk_request){ .done = done };
	status = blk_parse(r, c);
	if (status == PENDING)
		request_count(r);
	if (status != PENDING)
		request_end(r, (uint8_t)status);
	else if (r->n_ranges)
		start_range(r);
	else
		blk->disk->ops->submit(blk->disk, &r->io);
}

static bool has_room(const struct virtio_blk *blk)
{
	return blk->n_used < MOST_REQUESTS && blk->used_bytes < MOST_BYTES &&
	       blk->used_segs < MOST_SEGS;
}

static bool turn_is_over(const struct virtio_blk *blk)
{
	return blk->turn_bytes >= TURN_BYTES || disk_is_asked(blk->disk);
}

static bool more(struct virtio_dev *dev, unsigned index)
{
	const struct virtio_blk *blk = blk_of(dev);

	(void)index;
	return has_room(blk) && !turn_is_over(blk);
}

static void kick(struct virtio_dev *dev, unsigned index)
{
	struct virtio_blk *blk = blk_of(dev);

	if (blk->turn != dev->loop.turn)
		blk->turn_bytes = 0;
	blk->turn = dev->loop.turn;
	blk->serving = true;
	virtio_serve_while(dev, index, more, handle);
	blk->serving = false;
	if (!has_room(blk))
		blk->starved |= 1ULL << index;
	else if (turn_is_over(blk))
		virtio_again(dev, index);
}

/* There is room again. Each queue has its turn, so that none waits for ever. */
static void feed(struct virtio_blk *blk)
{
	for (unsigned n = blk->dev.n_queues; n && blk->starved && has_room(blk); n--) {
		unsigned index = blk->fed_next;

		blk->fed_next = (index + 1) % blk->dev.n_queues;
		if (!(blk->starved >> index & 1))
			continue;
		blk->starved &= ~(1ULL << index);
		kick(&blk->dev, index);
	}
}

static void commit(struct virtio_dev *dev)
{
	struct virtio_blk *blk = blk_of(dev);

	blk->disk->ops->commit(blk->disk);
	publish(blk);
}

static void disk_reaped(struct disk *disk)
{
	struct virtio_blk *blk = disk->ctx;

	publish(blk);
	if (blk->starved && !blk->serving && has_room(blk))
		feed(blk);
	virtio_idle(&blk->dev);
}

static void set_capacity(struct virtio_blk *blk)
{
	blk->config.capacity = htole64(blk->disk->size_bytes / DISK_SECTOR_BYTES);
}

static void disk_resized(struct disk *disk)
{
	struct virtio_blk *blk = disk->ctx;

	virtio_config_begin(&blk->dev);
	set_capacity(blk);
	virtio_config_end(&blk->dev);
}

static void resume(struct virtio_blk *blk)
{
	blk->silent = false;
	blk->disk->held = false;
	blk->disk->ops->commit(blk->disk);
	disk_reaped(blk->disk);
}

static void drain(struct virtio_dev *dev, int index)
{
	struct virtio_blk *blk = blk_of(dev);
	bool all = index < 0;

	/* Nobody asks for the answers of what has not begun. */
	for (unsigned i = 0; i < blk->n_all; i++)
		if (blk->all[i]->used && (all || blk->all[i]->queue == (unsigned)index))
			blk->all[i]->io.cancelled = true;
	blk->disk->ops->drain(blk->disk, all);
	publish(blk);
	if (!all) {
		blk->starved &= ~(1ULL << index);
		if (!dev->standing)
			resume(blk);
		return;
	}
	blk->starved = 0;
	blk->disk->ops->detach(blk->disk, &dev->loop);
	blk->attached = false;
}

static bool busy(const struct virtio_dev *dev)
{
	return container_of(dev, const struct virtio_blk, dev)->n_used;
}

/* The requests that have not begun, or not all of their pieces, wait as they are. */
static void hold(struct virtio_dev *dev, bool on)
{
	struct virtio_blk *blk = blk_of(dev);

	if (!on) {
		resume(blk);
		return;
	}
	blk->disk->ops->drain(blk->disk, false);
	publish(blk);
	blk->silent = true;
}

/* ---- set-up ---- */

static int activate(struct virtio_dev *dev)
{
	struct virtio_blk *blk = blk_of(dev);

	blk->attached = true;
	blk->silent = false;
	return blk->disk->ops->attach(blk->disk, &dev->loop);
}

static void reset(struct virtio_dev *dev)
{
	struct virtio_blk *blk = blk_of(dev);

	if (blk->attached)
		blk->disk->ops->detach(blk->disk, &dev->loop);
	blk->attached = false;
	atomic_store(&blk->writeback, -1);
}

static uint64_t config_read(struct virtio_dev *dev, unsigned off, unsigned width)
{
	struct virtio_blk *blk = blk_of(dev);
	uint64_t value = 0;

	blk->config.wce = blk_is_writeback(blk);
	memcpy(&value, (char *)&blk->config + off, width);
	return le64toh(value);
}

static void config_write(struct virtio_dev *dev, unsigned off, unsigned width, uint64_t value)
{
	struct virtio_blk *blk = blk_of(dev);

	if (off == offsetof(struct virtio_blk_config, wce) && width == 1 && value <= 1 &&
	    virtio_has(dev, VIRTIO_BLK_F_CONFIG_WCE))
		atomic_store(&blk->writeback, (int)value);
}

static const struct virtio_type blk_type = {
	.name = "blk",
	.id = VIRTIO_ID_BLOCK,
	.queue_size = QUEUE_SIZE,
	.activate = activate,
	.kick = kick,
	.describe = blk_describe,
	.commit = commit,
	.drain = drain,
	.hold = hold,
	.busy = busy,
	.reset = reset,
	.config_read = config_read,
	.config_write = config_write,
	.state = &blk_state_type,
};

static uint64_t offered(const struct disk *disk, bool packed)
{
	uint64_t features = 1ULL << VIRTIO_BLK_F_SEG_MAX | 1ULL << VIRTIO_BLK_F_BLK_SIZE |
			    1ULL << VIRTIO_BLK_F_TOPOLOGY | 1ULL << VIRTIO_BLK_F_FLUSH |
			    1ULL << VIRTIO_BLK_F_CONFIG_WCE | 1ULL << VIRTIO_BLK_F_MQ;

	if (disk->read_only)
		features |= 1ULL << VIRTIO_BLK_F_RO;
	else
		features |= 1ULL << VIRTIO_BLK_F_WRITE_ZEROES;
	if (disk->can_discard)
		features |= 1ULL << VIRTIO_BLK_F_DISCARD;
	if (packed)
		features |= 1ULL << VIRTIO_F_RING_PACKED;
	return features;
}

static void fill_config(struct virtio_blk *blk)
{
	const struct disk *disk = blk->disk;
	unsigned ratio = disk->physical_bytes / disk->block_bytes;
	struct virtio_blk_config *c = &blk->config;

	set_capacity(blk);
	c->seg_max = htole32(SEG_MAX);
	c->blk_size = htole32(disk->block_bytes);
	c->physical_block_exp = (uint8_t)__builtin_ctz(ratio);
	c->min_io_size = htole16((uint16_t)ratio);
	c->num_queues = htole16((uint16_t)blk->dev.n_queues);
	c->max_discard_sectors = htole32(MAX_DISCARD_SECTORS);
	c->max_discard_seg = htole32(MAX_RANGES);
	c->discard_sector_alignment = htole32(disk->physical_bytes / DISK_SECTOR_BYTES);
	c->max_write_zeroes_sectors = htole32(MAX_ZERO_SECTORS);
	c->max_write_zeroes_seg = htole32(MAX_RANGES);
	c->write_zeroes_may_unmap = disk->can_discard;
}

int virtio_blk_new(const struct ram *ram, const char *name, struct disk *disk,
		   const struct disk_config *cfg, struct virtio_dev **ret)
{
	struct virtio_blk *blk = calloc(1, sizeof(*blk));
	int err;

	if (!blk) {
		disk_close(disk);
		return -ENOMEM;
	}
	blk->disk = disk;
	disk->reaped = disk_reaped;
	disk->resized = disk_resized;
	disk->ctx = blk;
	disk->eager = true;
	disk->asked = &blk->dev.asked;
	disk->last = &blk->dev.last;
	atomic_store(&blk->writeback, -1);
	if (cfg->serial)
		memcpy(blk->serial, cfg->serial, strnlen(cfg->serial, sizeof(blk->serial)));
	blk->dev.type = &blk_type;
	blk->dev.name = name;
	blk->dev.ram = ram;
	blk->dev.n_queues = cfg->queues ? cfg->queues : 1;
	blk->dev.config_bytes =
		offsetof(struct virtio_blk_config, unused1) + sizeof(blk->config.unused1);
	blk->dev.device_features = offered(disk, cfg->packed);
	fill_config(blk);
	err = virtio_init(&blk->dev);
	if (err)
		virtio_blk_free(&blk->dev);
	else
		*ret = &blk->dev;
	return err;
}

struct disk *virtio_blk_disk(struct virtio_dev *dev)
{
	return blk_of(dev)->disk;
}

void virtio_blk_leave(struct virtio_dev *dev)
{
	if (virtio_dev_stop_wait(dev, now_ms()))
		disk_leave(blk_of(dev)->disk);
}

void virtio_blk_free(struct virtio_dev *dev)
{
	struct virtio_blk *blk;

	if (!dev)
		return;
	blk = blk_of(dev);
	virtio_fini(dev);
	for (unsigned i = 0; i < blk->n_all; i++) {
		free(blk->all[i]->iov);
		free(blk->all[i]);
	}
	disk_close(blk->disk);
	free(blk);
}
