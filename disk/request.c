/* What the back ends do alike: waiting requests, copying to and from their buffers, failures. */
#include "disk-internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lkvm/log.h"

void disk_fifo_init(struct disk_fifo *fifo)
{
	fifo->first = NULL;
	fifo->end = &fifo->first;
}

void disk_fifo_push(struct disk_fifo *fifo, struct disk_request *req)
{
	req->next = NULL;
	*fifo->end = req;
	fifo->end = &req->next;
}

void disk_fifo_unpop(struct disk_fifo *fifo, struct disk_request *req)
{
	req->next = fifo->first;
	if (!fifo->first)
		fifo->end = &req->next;
	fifo->first = req;
}

struct disk_request *disk_fifo_pop(struct disk_fifo *fifo)
{
	struct disk_request *req = fifo->first;

	if (!req)
		return NULL;
	fifo->first = req->next;
	if (!fifo->first)
		fifo->end = &fifo->first;
	return req;
}

void disk_fifo_cancel(struct disk_fifo *fifo, bool all, void (*finish)(struct disk_request *, int))
{
	struct disk_fifo rest = *fifo;
	struct disk_request *req;

	if (!rest.first)
		return;
	/* What finish() submits is behind all that was there before. */
	disk_fifo_init(fifo);
	while ((req = disk_fifo_pop(&rest))) {
		if (all || req->cancelled)
			finish(req, -ECANCELED);
		else
			disk_fifo_push(fifo, req);
	}
}

unsigned disk_iov_part(const struct iovec *iov, unsigned n, uint64_t off, uint64_t len,
		       struct iovec *ret, unsigned cap, uint64_t *ret_bytes)
{
	uint64_t bytes = 0;
	unsigned used = 0;

	for (unsigned i = 0; i < n && bytes < len && used < cap; i++) {
		uint64_t take;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		take = iov[i].iov_len - off;
		if (take > len - bytes)
			take = len - bytes;
		ret[used++] = (struct iovec){ (char *)iov[i].iov_base + off, take };
		bytes += take;
		off = 0;
	}
	*ret_bytes = bytes;
	return used;
}

/* One element at a time: no array is needed whatever their number. */
static void copy(const struct iovec *iov, unsigned n, uint64_t off, char *buf, uint64_t len,
		 bool in)
{
	for (unsigned i = 0; i < n && len; i++) {
		struct iovec part;
		uint64_t bytes;

		if (!disk_iov_part(&iov[i], 1, off, len, &part, 1, &bytes)) {
			off -= iov[i].iov_len;
			continue;
		}
		if (in)
			memcpy(buf, part.iov_base, bytes);
		else
			memcpy(part.iov_base, buf, bytes);
		buf += bytes;
		len -= bytes;
		off = 0;
	}
	assert(!len);
}

void disk_gather(const struct iovec *iov, unsigned n, uint64_t off, void *dst, uint64_t len)
{
	copy(iov, n, off, dst, len, true);
}

void disk_scatter(const struct iovec *iov, unsigned n, uint64_t off, const void *src, uint64_t len)
{
	copy(iov, n, off, (char *)src, len, false);
}

void disk_leave(struct disk *disk)
{
	if (disk->ops->leave)
		disk->ops->leave(disk);
}

void disk_close(struct disk *disk)
{
	if (disk)
		disk->ops->close(disk);
}

void disk_failed(struct disk *disk, const struct disk_request *req, int err)
{
	static const char *const names[] = { "read", "write", "flush", "discard", "write zeroes" };

	if (disk->failed_ops & 1U << req->op)
		return;
	disk->failed_ops |= 1U << req->op;
	if (req->op == DISK_FLUSH)
		log_err(err, "disk '%s': flush failed (further ones are not reported)", disk->name);
	else
		log_err(err,
			"disk '%s': %s of %" PRIu64 " bytes at %" PRIu64
			" failed (further ones are not reported)",
			disk->name, names[req->op], req->len, req->off);
}
