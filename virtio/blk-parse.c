/* What a driver asks of the block device, judged once, on copies; see blk.c. Spec: virtio 1.2, 5.2.6 */
#include "blk-internal.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>

#define HEADER_BYTES sizeof(struct virtio_blk_outhdr)

/*
 * Without either feature the driver cannot flush: then every write must be stable by itself.
 * Spec: 5.2.5.2, 5.2.6.2
 */
bool blk_is_writeback(const struct virtio_blk *blk)
{
	int wanted = atomic_load(&blk->writeback);

	if (wanted >= 0)
		return wanted;
	return virtio_has(&blk->dev, VIRTIO_BLK_F_FLUSH);
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
	r->stable = write && !blk_is_writeback(blk);
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
	r->stable = zeroes && !blk_is_writeback(blk);
	return PENDING;
}

static int get_id(struct blk_request *r, const struct virtq_chain *c)
{
	r->filled = r->room < DISK_SERIAL_BYTES ? r->room : DISK_SERIAL_BYTES;
	virtq_write(c, 0, r->blk->serial, r->filled);
	return VIRTIO_BLK_S_OK;
}

int blk_parse(struct blk_request *r, const struct virtq_chain *c)
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

void blk_describe(unsigned index, const struct virtq_chain *c, struct virtio_asked *ret)
{
	static const char *const names[] = {
		[VIRTIO_BLK_T_IN] = "read",	     [VIRTIO_BLK_T_OUT] = "write",
		[VIRTIO_BLK_T_FLUSH] = "flush",	     [VIRTIO_BLK_T_GET_ID] = "get id",
		[VIRTIO_BLK_T_DISCARD] = "discard",  [VIRTIO_BLK_T_WRITE_ZEROES] = "write zeroes",
	};
	struct virtio_blk_outhdr head;
	uint32_t type;

	(void)index;
	if (virtq_read(c, 0, &head, sizeof(head)) != sizeof(head))
		return;
	type = le32toh(head.type);
	if (type < ARRAY_SIZE(names) && names[type])
		ret->what = names[type];
	ret->has_sector = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_OUT;
	ret->sector = le64toh(head.sector);
	ret->bytes = c->out_bytes - HEADER_BYTES + (c->in_bytes ? c->in_bytes - 1 : 0);
}
