/*
 * Raw files and block devices by Linux AIO: one io_submit() for a batch of requests; what has
 * completed is mostly seen without a system call (disk/raw-ring.c).
 *
 * What is not opened with O_DIRECT goes through the page cache, and then io_submit() itself does
 * the copying: that is why a device has a worker thread. For an eager user its completions are
 * taken at once, and only what may complete later signals the eventfd. Discarding has no
 * asynchronous call at all.
 *
 * A request is done in pieces if it is very large, if its buffers must be copied (bounced), or if
 * the kernel transfers less than it was asked for. What waits for its turn stands in @todo; as long
 * as something does, the eventfd will be signalled, which starts it.
 * More than 500 lines: a request may go from any of its stages to any other.
 */
#include "raw.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/event.h"
#include "lkvm/log.h"

#define PIECE_BYTES      (2 * MIB) /* of one request at a time */
#define BOUNCE_BYTES     (256 * KIB)
#define BOUNCE_MOST      (1 * MIB)   /* of all requests */
#define FLIGHT_BYTES     (64 * MIB)  /* in flight: a drain waits for no more than this */
#define TURN_BYTES       (16 * MIB)  /* in one turn of the loop */
#define TURN_LEAST       (4 * KIB)   /* what a request counts for at least, */
#define SYNC_WEIGHT      16          /* and what is freed, not written, for a part of its bytes */
#define PROMPT_BYTES     (256 * KIB) /* copied at a time, before the user hears of what is done */
#define DISCARD_PIECE    (64 * MIB)

#define LINGER_NS     20000 /* awake for a completion that is on its way */
#define LINGER_LOOKS  64    /* between two looks at the clock */
#define LINGER_PASSES 7     /* not again so many times after it was in vain */

/* ---- the end of a request, or of a piece ---- */

static void unbounce(struct disk_request *req)
{
	struct raw *raw = req->owner;

	if (req->bounce)
		raw->bounce_bytes -= req->piece_bytes;
	free(req->bounce);
	req->bounce = NULL;
}

static void finish(struct disk_request *req, int ret)
{
	unbounce(req);
	req->done(req, ret);
}

/* The last sector of a file need not be whole: the rest of it reads as zeros. */
static bool pad_last_sector(const struct raw *raw, const struct disk_request *req)
{
	static const char zeros[DISK_SECTOR_BYTES];
	uint64_t left = req->len - req->done_bytes;

	if (req->off + req->done_bytes < raw->file_bytes || left >= DISK_SECTOR_BYTES)
		return false;
	disk_scatter(req->iov, req->n_iov, req->done_bytes, zeros, left);
	return true;
}

static void account(struct raw *raw, struct disk_request *req, uint64_t bytes)
{
	if (req->bounce && req->op == DISK_READ)
		disk_scatter(req->iov, req->n_iov, req->done_bytes,
			     (char *)req->bounce + (req->done_bytes - req->piece_start), bytes);
	req->done_bytes += bytes;
	if (req->done_bytes == req->piece_start + req->piece_bytes)
		unbounce(req);
	if (req->done_bytes == req->len || (req->op == DISK_READ && pad_last_sector(raw, req)))
		finish(req, 0);
	else
		disk_fifo_unpop(&raw->todo, req);
}

/* @res: bytes or -errno, as the kernel gives it */
static void transferred(struct raw *raw, struct disk_request *req, int64_t res)
{
	if (res < 0) {
		if (req->op == DISK_FLUSH)
			raw->lost = true;
		finish(req, (int)res);
	} else if (req->op == DISK_FLUSH) {
		raw_update_size(raw);
		finish(req, 0);
	} else if (!res && !(req->op == DISK_READ && pad_last_sector(raw, req))) {
		finish(req, -EIO); /* the file is shorter than it was */
	} else if (!res) {
		finish(req, 0);
	} else {
		account(raw, req, (uint64_t)res);
	}
}

/* ---- bounce buffers ---- */

static bool piece_must_bounce(const struct raw *raw, const struct disk_request *req)
{
	if (raw->guard && req->op == DISK_WRITE && req->off + req->done_bytes < DISK_HEADER_BYTES)
		return true;
	for (unsigned i = 0; raw->align > 1 && i < req->n_iov; i++)
		if (((uintptr_t)req->iov[i].iov_base | req->iov[i].iov_len) % raw->align)
			return true;
	return false;
}

/*
 * A raw disk whose format nobody has stated must not become something else, or it could not be used
 * again without stating it. The guest must not change the bytes between this look and the write:
 * they are in the bounce buffer.
 */
static int guard_header(struct raw *raw, const struct disk_request *req)
{
	const char *format;

	if (!raw->guard || req->op != DISK_WRITE || req->off || req->done_bytes)
		return 0;
	format = disk_foreign_header(req->bounce, req->piece_bytes);
	if (!format)
		return 0;
	if (!raw->guard_logged)
		log_errx(-EPERM,
			 "disk '%s': refused to let the guest write a %s header at offset 0; "
			 "format=raw allows it",
			 raw->disk.name, format);
	raw->guard_logged = true;
	return -EPERM;
}

static int bounce(struct raw *raw, struct disk_request *req)
{
	uint64_t left = req->len - req->done_bytes;

	req->piece_bytes = left < BOUNCE_BYTES ? left : BOUNCE_BYTES;
	if (posix_memalign(&req->bounce, 4096, req->piece_bytes)) {
		req->bounce = NULL;
		return -ENOMEM;
	}
	raw->bounce_bytes += req->piece_bytes;
	if (req->op == DISK_WRITE)
		disk_gather(req->iov, req->n_iov, req->done_bytes, req->bounce, req->piece_bytes);
	return guard_header(raw, req);
}

/* ---- pieces: buffers for the next transfer, in the request itself or in the scratch ---- */

static unsigned own_piece(struct disk_request *req, const struct iovec **ret_iov)
{
	req->piece_bytes = req->len;
	*ret_iov = req->iov;
	return req->n_iov;
}

static unsigned bounced_piece(struct disk_request *req, struct iovec *iov)
{
	uint64_t skip = req->done_bytes - req->piece_start;

	*iov = (struct iovec){ (char *)req->bounce + skip, req->piece_bytes - skip };
	return 1;
}

static unsigned partial_piece(struct disk_request *req, struct iovec *iov, unsigned cap)
{
	return disk_iov_part(req->iov, req->n_iov, req->done_bytes, PIECE_BYTES, iov, cap,
			     &req->piece_bytes);
}

static unsigned zero_piece(const struct raw *raw, struct disk_request *req, struct iovec *iov,
			   unsigned cap)
{
	uint64_t left = req->len - req->done_bytes;
	unsigned n;

	for (n = 0; n < cap && left && n < PIECE_BYTES / RAW_ZEROS_BYTES; n++) {
		iov[n] = (struct iovec){ raw->zeros,
					 left < RAW_ZEROS_BYTES ? left : RAW_ZEROS_BYTES };
		left -= iov[n].iov_len;
	}
	req->piece_bytes = req->len - req->done_bytes - left;
	return n;
}

/* Return: number of elements, or -errno */
static int next_piece(struct raw *raw, struct disk_request *req, const struct iovec **ret_iov)
{
	struct iovec *iov = raw->iov + raw->n_iov;
	unsigned cap = DISK_MAX_SEGS - raw->n_iov, n;
	int err;

	*ret_iov = iov;
	if (!req->bounce) {
		req->piece_start = req->done_bytes;
		if (req->op != DISK_WRITE_ZEROES && piece_must_bounce(raw, req)) {
			err = bounce(raw, req);
			if (err)
				return err;
		}
	}
	if (req->bounce)
		n = bounced_piece(req, iov);
	else if (req->op == DISK_WRITE_ZEROES)
		n = zero_piece(raw, req, iov, cap);
	else if (!req->done_bytes && req->len <= PIECE_BYTES)
		return (int)own_piece(req, ret_iov);
	else
		n = partial_piece(req, iov, cap);
	raw->n_iov += n;
	return (int)n;
}

/* ---- starting ---- */

static int make_zeros(struct raw *raw)
{
	if (raw->zeros)
		return 0;
	/* Never written: all of it is the kernel's one page of zeros. */
	raw->zeros = mmap(NULL, RAW_ZEROS_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (raw->zeros != MAP_FAILED)
		return 0;
	raw->zeros = NULL;
	return -ENOMEM;
}

static void count_turn(struct raw *raw, uint64_t bytes)
{
	raw->turn_bytes += bytes > TURN_LEAST ? bytes : TURN_LEAST;
}

/* Return: 0 or -errno; what is left of @req is less then */
static int discard(struct raw *raw, struct disk_request *req)
{
	uint64_t at = req->off + req->done_bytes, left = req->len - req->done_bytes;
	/* At a multiple of it, so that no block is cut in two. */
	uint64_t piece = DISCARD_PIECE - at % DISCARD_PIECE;
	uint64_t range[2] = { at, left < piece ? left : piece };
	int ret;

	count_turn(raw, range[1] / SYNC_WEIGHT);
	req->done_bytes += range[1];
	if (raw->device)
		ret = ioctl(raw->fd, BLKDISCARD, range);
	else
		ret = fallocate(raw->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				(off_t)range[0], (off_t)range[1]);
	return ret ? -errno : 0;
}

/* Return: 0, -errno, or -EOPNOTSUPP: it must be written */
static int allocate_zeros(struct raw *raw, const struct disk_request *req)
{
	static const int modes[] = { FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE };
	bool *refused[] = { &raw->no_zero_range, &raw->no_punch_hole };

	count_turn(raw, req->len / SYNC_WEIGHT);
	for (int i = req->unmap; i >= 0; i--) {
		if (*refused[i])
			continue;
		if (!fallocate(raw->fd, modes[i], (off_t)req->off, (off_t)req->len))
			return 0;
		if (errno != EOPNOTSUPP)
			return -errno;
		*refused[i] = true;
	}
	return -EOPNOTSUPP;
}

/* Requests that need no AIO. Return: true: it is finished */
static bool done_at_once(struct raw *raw, struct disk_request *req)
{
	int err;

	if (!req->len && req->op != DISK_FLUSH) {
		count_turn(raw, 0);
		finish(req, 0);
		return true;
	}
	if (req->op == DISK_DISCARD) {
		err = discard(raw, req);
		if (err || req->done_bytes == req->len)
			finish(req, err);
		else
			disk_fifo_unpop(&raw->todo, req);
		return true;
	}
	if (req->op == DISK_WRITE_ZEROES && !req->done_bytes) {
		err = allocate_zeros(raw, req);
		if (err == -EOPNOTSUPP)
			err = make_zeros(raw) ? -ENOMEM : -EOPNOTSUPP;
		if (err != -EOPNOTSUPP)
			finish(req, err);
		return err != -EOPNOTSUPP;
	}
	if (req->op == DISK_FLUSH && (raw->disk.read_only || raw->lost)) {
		count_turn(raw, 0);
		finish(req, raw->lost ? -EIO : 0);
		return true;
	}
	if (req->op == DISK_FLUSH && raw->no_fdsync) {
		count_turn(raw, DISCARD_PIECE / SYNC_WEIGHT);
		transferred(raw, req, fdatasync(raw->fd) ? -errno : 0);
		return true;
	}
	return false;
}

/* Does io_submit() return with the data, and may done() be called then? */
static bool is_prompt(const struct raw *raw)
{
	return raw->disk.eager && !raw->late;
}

static uint64_t flight_bytes(const struct disk_request *req)
{
	return req->op == DISK_FLUSH ? 0 : req->piece_bytes;
}

/* Adds the next transfer of @req to the batch. Return: 0 or -errno */
static int prepare(struct raw *raw, struct disk_request *req)
{
	struct iocb *cb = &raw->iocb[raw->n_batch];
	const struct iovec *iov;
	off_t at = (off_t)(req->off + req->done_bytes);
	int n;

	if (req->op == DISK_FLUSH) {
		io_prep_fdsync(cb, raw->fd);
	} else {
		n = next_piece(raw, req, &iov);
		if (n < 0)
			return n;
		if (req->op == DISK_READ)
			io_prep_preadv(cb, raw->fd, iov, n, at);
		else
			io_prep_pwritev(cb, raw->fd, iov, n, at);
	}
	if (!is_prompt(raw) || req->op == DISK_FLUSH)
		io_set_eventfd(cb, raw->event.fd);
	cb->data = req;
	raw->batch[raw->n_batch++] = cb;
	return 0;
}

static bool turn_is_over(const struct raw *raw)
{
	return raw->turn_bytes >= TURN_BYTES || disk_is_asked(&raw->disk);
}

/* Has the next one to wait until another one's copy is no longer needed? */
static bool bounces_full(const struct raw *raw)
{
	const struct disk_request *req = raw->todo.first;

	return raw->bounce_bytes >= BOUNCE_MOST && !req->bounce && piece_must_bounce(raw, req);
}

/* @bytes: of the batch so far */
static bool batch_full(const struct raw *raw, uint64_t bytes)
{
	if (is_prompt(raw) && bytes >= PROMPT_BYTES)
		return true;
	return raw->n_flying + raw->n_batch == RAW_DEPTH || raw->n_iov == DISK_MAX_SEGS ||
	       raw->flying_bytes + bytes >= FLIGHT_BYTES;
}

static void fill_batch(struct raw *raw)
{
	struct disk_request *req;
	uint64_t bytes = 0;
	int err;

	raw->n_batch = raw->n_iov = 0;
	while (raw->todo.first && !batch_full(raw, bytes) && !turn_is_over(raw) &&
	       !bounces_full(raw)) {
		req = disk_fifo_pop(&raw->todo);
		if (done_at_once(raw, req))
			continue;
		err = prepare(raw, req);
		if (err) {
			finish(req, err);
			continue;
		}
		bytes += flight_bytes(req);
		count_turn(raw, flight_bytes(req));
	}
}

/* Without AIO, because the kernel does not take it. Return: as an AIO completion has it */
static int64_t transfer_now(const struct raw *raw, const struct iocb *cb)
{
	const struct disk_request *req = cb->data;
	const struct iovec *iov = cb->u.c.buf;
	ssize_t ret;

	if (req->op == DISK_FLUSH)
		ret = fdatasync(raw->fd);
	else if (req->op == DISK_READ)
		ret = preadv(raw->fd, iov, (int)cb->u.c.nbytes, cb->u.c.offset);
	else
		ret = pwritev(raw->fd, iov, (int)cb->u.c.nbytes, cb->u.c.offset);
	return ret < 0 ? -errno : ret;
}

/* The first of the batch was refused. Return: true: it was dealt with */
static bool refused(struct raw *raw, const struct iocb *cb, int err)
{
	struct disk_request *req = cb->data;

	if (err == -EAGAIN && raw->n_flying)
		return false;
	if (req->op == DISK_FLUSH && err == -EINVAL)
		raw->no_fdsync = true;
	if (err == -EAGAIN || (req->op == DISK_FLUSH && err == -EINVAL))
		transferred(raw, req, transfer_now(raw, cb));
	else
		finish(req, err);
	return true;
}

static void put_back(struct raw *raw, unsigned from)
{
	for (unsigned i = raw->n_batch; i-- > from;)
		disk_fifo_unpop(&raw->todo, raw->batch[i]->data);
}

/* ---- completions ---- */

static void ended(struct raw *raw, int n)
{
	for (int i = 0; i < n; i++) {
		struct disk_request *req = raw->events[i].data;

		raw->n_flying--;
		raw->n_flushing -= req->op == DISK_FLUSH;
		raw->flying_bytes -= flight_bytes(req);
		transferred(raw, req, (int64_t)raw->events[i].res);
	}
}

static void reap(struct raw *raw)
{
	ended(raw, (int)raw_take_events(raw->aio, raw->events, RAW_DEPTH));
}

/* Waits for one, but not on when a signal comes. */
static void reap_some(struct raw *raw)
{
	ended(raw, io_getevents(raw->aio, 1, RAW_DEPTH, raw->events, NULL));
}

/*
 * What goes through the page cache is complete when io_submit() returns, so nobody need be woken
 * for it. A file for which that is not true is waited for this once.
 */
static void reap_prompt(struct raw *raw)
{
	reap(raw);
	while (raw->n_flying > raw->n_flushing) {
		raw->late = true;
		reap_some(raw);
	}
}

/* ---- a batch ---- */

/* Return: true if that got us further */
static bool send_batch(struct raw *raw)
{
	int n = io_submit(raw->aio, (long)raw->n_batch, raw->batch);

	for (int i = 0; i < n; i++) {
		raw->n_flying++;
		raw->n_flushing += raw->batch[i]->aio_lio_opcode == IO_CMD_FDSYNC;
		raw->flying_bytes += flight_bytes(raw->batch[i]->data);
	}
	if (n > 0) {
		put_back(raw, (unsigned)n);
		if (is_prompt(raw))
			reap_prompt(raw);
		return true;
	}
	put_back(raw, 1);
	if (refused(raw, raw->batch[0], n ? n : -EAGAIN))
		return true;
	disk_fifo_unpop(&raw->todo, raw->batch[0]->data);
	return false;
}

void raw_submit(struct disk *disk, struct disk_request *req)
{
	req->owner = raw_of(disk);
	req->bounce = NULL;
	req->done_bytes = req->piece_start = req->piece_bytes = 0;
	disk_fifo_push(&raw_of(disk)->todo, req);
}

static void begin_turn(struct raw *raw)
{
	if (raw->turn != raw->loop->turn)
		raw->turn_bytes = 0;
	raw->turn = raw->loop->turn;
}

/* The worker must not be deaf for long: the rest is for the next turn of its loop. */
static void put_off(struct raw *raw)
{
	event_signal(raw->event.fd);
}

void raw_commit(struct disk *disk)
{
	struct raw *raw = raw_of(disk);

	if (disk->held)
		return;
	begin_turn(raw);
	fill_batch(raw);
	while (raw->n_batch && send_batch(raw)) {
		/* The guest works on with what it has while the rest is copied. */
		if (is_prompt(raw) && raw->todo.first && disk->reaped)
			disk->reaped(disk);
		fill_batch(raw);
	}
	if (raw->todo.first && turn_is_over(raw))
		put_off(raw);
}

/* ---- the worker ---- */

/*
 * What was started together ends together, but not at once: the next one is often there sooner than
 * we would have slept and been woken. A disk that lets us wait in vain is rarely waited for.
 */
static bool more_soon(struct raw *raw)
{
	uint64_t end;

	if (raw->n_flying == raw->n_flushing)
		return false;
	if (raw->no_linger) {
		raw->no_linger--;
		return false;
	}
	end = now_ns() + LINGER_NS;
	do {
		for (unsigned i = 0; i < LINGER_LOOKS; i++) {
			if (raw_has_events(raw->aio))
				return true;
			__builtin_ia32_pause();
		}
	} while (now_ns() < end);
	raw->no_linger = LINGER_PASSES;
	return false;
}

void raw_completions_ready(struct loop_source *src, uint32_t events)
{
	struct raw *raw = container_of(src, struct raw, event);

	(void)events;
	do {
		reap(raw);
		raw_commit(&raw->disk);
		if (raw->disk.reaped)
			raw->disk.reaped(&raw->disk);
	} while (!turn_is_over(raw) && more_soon(raw));
	if (turn_is_over(raw) && raw_has_events(raw->aio))
		put_off(raw);
}

void raw_drain(struct disk *disk, bool all)
{
	struct raw *raw = raw_of(disk);

	disk->held = true;
	while (raw->n_flying)
		reap_some(raw);
	do
		disk_fifo_cancel(&raw->todo, all, finish);
	while (all && raw->todo.first);
}
