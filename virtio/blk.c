/*
 * virtio block device. Spec: virtio 1.2, 5.2
 *
 *	chain -> parse(): judged once, on copies -> struct blk_request -> disk -> done() -> push
 *
 * A request is answered with a status whenever there is room for one: only a chain without any
 * writable byte breaks the device. Status goes into the last writable byte; header, data and status
 * may be spread over buffers in any way.
 */
#include "lkvm/virtio-blk.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/types.h"

#define QUEUE_SIZE          VIRTQ_MAX_SIZE
#define SEG_MAX             321 /* 1280 KiB in pages, the most that Linux sends, from inside one on */
#define MAX_RANGES          16 /* of one discard or write zeroes request */
#define MAX_DISCARD_SECTORS (GIB / DISK_SECTOR_BYTES)
#define MAX_ZERO_SECTORS    (128 * MIB / DISK_SECTOR_BYTES)

#define HEADER_BYTES sizeof(struct virtio_blk_outhdr)

/* What parse() says of a request that must not be started. */
#define PENDING (-1)

typedef struct virtio_blk_discard_write_zeroes blk_range;

/* One request in flight. Found by its own address only: what the guest calls it is never an index.
 */
struct blk_request {
	struct disk_request io;
	struct virtio_blk *blk;
	struct blk_request *next; /* free ones */
	unsigned queue;
	uint32_t token;  /* of the chain */
	uint8_t *status; /* guest memory */
	uint64_t room;   /* writable bytes in front of the status, and how many of them */
	uint64_t filled; /* a success fills */
	bool stable;     /* writethrough: a flush must follow */
	unsigned range, n_ranges;
	blk_range ranges[MAX_RANGES];
	struct iovec *iov;
	unsigned cap_iov;
};

struct virtio_blk {
	struct virtio_dev dev;
	struct disk *disk;
	bool attached;
	char serial[DISK_SERIAL_BYTES]; /* padded with NUL */
	struct virtio_blk_config config;
	atomic_int writeback; /* as the driver wrote it, -1: it did not */

	/* The worker's */
	struct blk_request *free;
	uint64_t to_publish; /* queues with answers that the driver does not see yet */
};

static struct virtio_blk *blk_of(struct virtio_dev *dev)
{
	return container_of(dev, struct virtio_blk, dev);
}

/*
 * Without either feature the driver cannot flush: then every write must be stable by itself.
 * Spec: 5.2.5.2, 5.2.6.2
 */
static bool is_writeback(const struct virtio_blk *blk)
{
	int wanted = atomic_load(&blk->writeback);

	if (wanted >= 0)
		return wanted;
	return virtio_has(&blk->dev, VIRTIO_BLK_F_FLUSH);
}

/* ---- requests ---- */

static struct blk_request *request_get(struct virtio_blk *blk)
{
	struct blk_request *r = blk->free;

	if (r) {
		blk->free = r->next;
		return r;
	}
	r = calloc(1, sizeof(*r));
	if (r)
		r->blk = blk;
	return r;
}

static void request_put(struct blk_request *r)
{
	r->next = r->blk->free;
	r->blk->free = r;
}

static bool request_reserve(struct blk_request *r, unsigned n)
{
	struct iovec *iov;

	if (n <= r->cap_iov)
		return true;
	iov = reallocarray(r->iov, n, sizeof(*iov));
	if (!iov)
		return false;
	r->iov = iov;
	r->cap_iov = n;
	return true;
}

static void answer(struct virtio_blk *blk, unsigned queue, uint32_t token, uint8_t *to,
		   uint8_t status, uint64_t written)
{
	*to = status;
	virtq_push(&blk->dev.queue[queue].vq, token, (uint32_t)written);
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

/* ---- judging: Return: a status, or PENDING with r->io filled ---- */

static bool in_disk(const struct virtio_blk *blk, uint64_t sector, uint64_t sectors)
{
	uint64_t capacity = blk->disk->size_bytes / DISK_SECTOR_BYTES;

	return sector <= capacity && sectors <= capacity - sector;
}

static int parse_rw(struct blk_request *r, const struct virtq_chain *c, bool write, uint64_t sector)
{
	struct virtio_blk *blk = r->blk;
	uint64_t bytes = write ? c->out_bytes - HEADER_BYTES : c->in_bytes - 1;
	int n;

	if (write && blk->disk->read_only)
		return VIRTIO_BLK_S_IOERR;
	if (bytes % DISK_SECTOR_BYTES || !in_disk(blk, sector, bytes / DISK_SECTOR_BYTES))
		return VIRTIO_BLK_S_IOERR;
	if (!request_reserve(r, write ? c->n_out : c->n_in))
		return VIRTIO_BLK_S_IOERR;
	n = virtq_slice(c, !write, write ? HEADER_BYTES : 0, bytes, r->iov, r->cap_iov);
	assert(n >= 0);
	r->io.op = write ? DISK_WRITE : DISK_READ;
	r->io.off = sector * DISK_SECTOR_BYTES;
	r->io.len = bytes;
	r->io.iov = r->iov;
	r->io.n_iov = (unsigned)n;
	r->filled = write ? 0 : bytes;
	r->stable = write && !is_writeback(blk);
	return PENDING;
}

static int check_range(const struct virtio_blk *blk, const blk_range *range, bool zeroes)
{
	uint32_t known = zeroes ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
	uint32_t sectors = le32toh(range->num_sectors);

	if (le32toh(range->flags) & ~known)
		return VIRTIO_BLK_S_UNSUPP;
	if (sectors > (zeroes ? MAX_ZERO_SECTORS : MAX_DISCARD_SECTORS))
		return VIRTIO_BLK_S_IOERR;
	if (!in_disk(blk, le64toh(range->sector), sectors))
		return VIRTIO_BLK_S_IOERR;
	return VIRTIO_BLK_S_OK;
}

static int parse_ranges(struct blk_request *r, const struct virtq_chain *c, bool zeroes)
{
	struct virtio_blk *blk = r->blk;
	uint64_t bytes = c->out_bytes - HEADER_BYTES;
	int status;

	if (blk->disk->read_only)
		return VIRTIO_BLK_S_IOERR;
	if (!virtio_has(&blk->dev, zeroes ? VIRTIO_BLK_F_WRITE_ZEROES : VIRTIO_BLK_F_DISCARD))
		return VIRTIO_BLK_S_UNSUPP;
	if (!bytes || bytes % sizeof(blk_range) || bytes > sizeof(r->ranges))
		return VIRTIO_BLK_S_IOERR;
	virtq_read(c, HEADER_BYTES, r->ranges, bytes);
	r->n_ranges = (unsigned)(bytes / sizeof(blk_range));
	for (unsigned i = 0; i < r->n_ranges; i++) {
		status = check_range(blk, &r->ranges[i], zeroes);
		if (status != VIRTIO_BLK_S_OK)
			return status;
	}
	r->io.op = zeroes ? DISK_WRITE_ZEROES : DISK_DISCARD;
	r->stable = zeroes && !is_writeback(blk);
	return PENDING;
}

static int get_id(struct blk_request *r, const struct virtq_chain *c)
{
	r->filled = r->room < DISK_SERIAL_BYTES ? r->room : DISK_SERIAL_BYTES;
	virtq_write(c, 0, r->blk->serial, r->filled);
	return VIRTIO_BLK_S_OK;
}

static int parse(struct blk_request *r, const struct virtq_chain *c)
{
	struct virtio_blk_outhdr header;
	uint64_t sector;

	if (virtq_read(c, 0, &header, HEADER_BYTES) < HEADER_BYTES)
		return VIRTIO_BLK_S_IOERR;
	sector = le64toh(header.sector);
	switch (le32toh(header.type)) {
	case VIRTIO_BLK_T_IN:
		return parse_rw(r, c, false, sector);
	case VIRTIO_BLK_T_OUT:
		return parse_rw(r, c, true, sector);
	case VIRTIO_BLK_T_FLUSH:
		r->io.op = DISK_FLUSH;
		return PENDING;
	case VIRTIO_BLK_T_GET_ID:
		return get_id(r, c);
	case VIRTIO_BLK_T_DISCARD:
		return parse_ranges(r, c, false);
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return parse_ranges(r, c, true);
	default:
		return VIRTIO_BLK_S_UNSUPP;
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
	r->io = (struct disk_request){ .done = done };
	status = parse(r, c);
	if (status != PENDING)
		request_end(r, (uint8_t)status);
	else if (r->n_ranges)
		start_range(r);
	else
		blk->disk->ops->submit(blk->disk, &r->io);
}

static void kick(struct virtio_dev *dev, unsigned index)
{
	virtio_serve(dev, index, handle);
}

static void commit(struct virtio_dev *dev)
{
	struct virtio_blk *blk = blk_of(dev);

	blk->disk->ops->commit(blk->disk);
	publish(blk);
}

static void disk_reaped(struct disk *disk)
{
	publish(disk->ctx);
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

static void drain(struct virtio_dev *dev, int index)
{
	struct virtio_blk *blk = blk_of(dev);
	bool all = index < 0;

	/* After a reset nobody asks for the answers. A single queue's requests are not known apart.
	 */
	blk->disk->ops->drain(blk->disk, all);
	publish(blk);
	if (all)
		blk->disk->ops->detach(blk->disk, &dev->loop);
	blk->attached = blk->attached && !all;
}

/* ---- set-up ---- */

static int activate(struct virtio_dev *dev)
{
	struct virtio_blk *blk = blk_of(dev);

	blk->attached = true;
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

	blk->config.wce = is_writeback(blk);
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
	.commit = commit,
	.drain = drain,
	.reset = reset,
	.config_read = config_read,
	.config_write = config_write,
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

void virtio_blk_free(struct virtio_dev *dev)
{
	struct virtio_blk *blk;

	if (!dev)
		return;
	blk = blk_of(dev);
	virtio_fini(dev);
	while (blk->free) {
		struct blk_request *r = blk->free;

		blk->free = r->next;
		free(r->iov);
		free(r);
	}
	disk_close(blk->disk);
	free(blk);
}
