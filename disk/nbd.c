/*
 * Disks behind the NBD protocol, by libnbd: remote servers, and images of other formats by a
 * qemu-nbd of our own (disk/qemu-nbd.c). The library is opened only when such a disk is used: with
 * all that it depends on it takes longer to load than a guest to start.
 *
 * libnbd calls ended() with its handle locked, so that only takes notes; what has ended is dealt
 * with afterwards. A command takes one buffer, so a piece of a request that has several is bounced.
 * More than 500 lines: all of it is around one connection, and each part looks at what is in
 * flight on it.
 */
#include "disk-internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/clock.h"
#include "lkvm/lib.h"
#include "lkvm/log.h"
#include "lkvm/types.h"

#if __has_include(<libnbd.h>) && !defined(LKVM_STATIC)

#include <assert.h>
#include <fcntl.h>
#include <libnbd.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEPTH        64
#define PIECE_BYTES  (2 * MIB)
#define BOUNCE_BYTES (512 * KIB) /* of a piece that is copied */
#define BOUNCE_MOST  (2 * MIB)   /* of all of them */
#define RANGE_BYTES  (128 * MIB) /* of a discard or write zeroes at a time */
#define FLIGHT_BYTES (64 * MIB)
#define CONNECT_MS   30000
#define DRAIN_MS     30000 /* a server that is silent for so long is taken for dead, */
#define LAST_MS      1000  /* at the machine's end for so long, */
#define LOOK_MS      50    /* which is looked for so often */
#define GOODBYE_MS   200

#define FUNCTIONS(X)                                                                               \
	X(nbd_create)                                                                              \
	X(nbd_close)                                                                               \
	X(nbd_get_error)                                                                           \
	X(nbd_get_errno)                                                                           \
	X(nbd_aio_connect_uri)                                                                     \
	X(nbd_aio_connect_socket)                                                                  \
	X(nbd_aio_is_connecting)                                                                   \
	X(nbd_aio_is_ready)                                                                        \
	X(nbd_aio_is_dead)                                                                         \
	X(nbd_aio_is_closed)                                                                       \
	X(nbd_poll)                                                                                \
	X(nbd_get_size)                                                                            \
	X(nbd_get_block_size)                                                                      \
	X(nbd_is_read_only)                                                                        \
	X(nbd_can_flush)                                                                           \
	X(nbd_can_trim)                                                                            \
	X(nbd_can_zero)                                                                            \
	X(nbd_aio_pread)                                                                           \
	X(nbd_aio_pwrite)                                                                          \
	X(nbd_aio_flush)                                                                           \
	X(nbd_aio_trim)                                                                            \
	X(nbd_aio_zero)                                                                            \
	X(nbd_aio_disconnect)                                                                      \
	X(nbd_aio_get_fd)                                                                          \
	X(nbd_aio_get_direction)                                                                   \
	X(nbd_aio_notify_read)                                                                     \
	X(nbd_aio_notify_write)

static const struct lib_symbol symbols[] = { FUNCTIONS(LIB_SYMBOL){ 0 } };

/* Never unloaded: the libraries that it brings are not made for that. */
static const struct lib libnbd = { "libnbd.so.0", "libnbd0", symbols, true };

struct nbd {
	struct disk disk;
	struct {
		FUNCTIONS(LIB_FIELD)
	} lib;
	struct nbd_handle *h;
	struct qemu_nbd server; /* ours, if there is one */
	int lock_fd;            /* on the image behind our own server */
	bool can_flush, can_zero;
	bool gone; /* the connection is dead, and that was logged */
	uint64_t piece_bytes;

	struct loop *loop;         /* attached to */
	struct loop_source source; /* -1: not in the loop */
	uint32_t watched;
	bool drained; /* the loop may still have an event of what was read since */

	struct disk_fifo todo, ended;
	unsigned n_flying;
	uint64_t flying_bytes, bounce_bytes;
};

static struct nbd *nbd_of(struct disk *disk)
{
	return container_of(disk, struct nbd, disk);
}

/* ---- the library ---- */

bool disk_nbd_usable(void)
{
	return lib_usable(&libnbd);
}

static int load(struct nbd *n)
{
	char why[128];
	void *handle;
	int err = lib_open(&libnbd, &n->lib, &handle);

	if (!err) {
		lib_close(handle);
		return 0;
	}
	lib_why(&libnbd, err, why, sizeof(why));
	return log_errx(err, "disk '%s': %s", n->disk.name, why);
}

/* ---- the end of a piece ---- */

static int ended(void *user, int *error)
{
	struct disk_request *req = user;
	struct nbd *n = req->owner;

	req->result = -*error;
	disk_fifo_push(&n->ended, req);
	return 1; /* the library need not remember it */
}

static void unbounce(struct disk_request *req)
{
	struct nbd *n = req->owner;

	if (req->bounce)
		n->bounce_bytes -= req->piece_bytes;
	free(req->bounce);
	req->bounce = NULL;
}

static void finish(struct disk_request *req, int ret)
{
	unbounce(req);
	req->done(req, ret);
}

static void piece_ended(struct nbd *n, struct disk_request *req)
{
	n->n_flying--;
	n->flying_bytes -= req->piece_bytes;
	if (!req->result && req->op == DISK_READ && req->bounce)
		disk_scatter(req->iov, req->n_iov, req->done_bytes, req->bounce, req->piece_bytes);
	unbounce(req);
	req->done_bytes += req->piece_bytes;
	if (req->result || req->done_bytes == req->len)
		finish(req, req->result);
	else
		disk_fifo_unpop(&n->todo, req);
}

static void reap(struct nbd *n)
{
	struct disk_request *req;

	while ((req = disk_fifo_pop(&n->ended)))
		piece_ended(n, req);
}

static bool is_gone(struct nbd *n)
{
	char words[4096];
	const char *why;

	if (n->gone)
		return true;
	if (!n->lib.nbd_aio_is_dead(n->h) && !n->lib.nbd_aio_is_closed(n->h))
		return false;
	n->gone = true;
	why = qemu_nbd_words(&n->server, words, sizeof(words));
	log_errx(-ENOTCONN, "disk '%s': the NBD server is gone%s%s", n->disk.name, *why ? ": " : "",
		 why);
	return true;
}

/* ---- the beginning of a piece ---- */

static uint64_t piece_bytes(const struct nbd *n, const struct disk_request *req, bool bounced)
{
	uint64_t left = req->len - req->done_bytes, most = n->piece_bytes;

	if (bounced && most > BOUNCE_BYTES)
		most = BOUNCE_BYTES;
	return left < most ? left : most;
}

/* Return: the guest's buffer, if the next piece is all in one; else NULL */
static void *plain_buffer(const struct nbd *n, const struct disk_request *req)
{
	uint64_t want = piece_bytes(n, req, false), bytes;
	struct iovec first;

	if (req->op == DISK_WRITE_ZEROES)
		return NULL;
	disk_iov_part(req->iov, req->n_iov, req->done_bytes, want, &first, 1, &bytes);
	return bytes == want ? first.iov_base : NULL;
}

/* Does the next piece need memory of ours? Zeros do, where the server cannot make them. */
static bool must_bounce(const struct nbd *n, const struct disk_request *req)
{
	switch (req->op) {
	case DISK_READ:
	case DISK_WRITE:
		return req->len && !plain_buffer(n, req);
	case DISK_WRITE_ZEROES:
		return !n->can_zero;
	default:
		return false;
	}
}

/* The buffer of the next piece: one of the guest's, or a copy. Return: NULL: no memory */
static void *piece_buffer(struct nbd *n, struct disk_request *req)
{
	void *plain = plain_buffer(n, req);

	req->piece_bytes = piece_bytes(n, req, !plain);
	if (plain)
		return plain;
	req->bounce = req->op == DISK_WRITE_ZEROES ? calloc(1, req->piece_bytes)
						   : malloc(req->piece_bytes);
	if (!req->bounce)
		return NULL;
	n->bounce_bytes += req->piece_bytes;
	if (req->op == DISK_WRITE)
		disk_gather(req->iov, req->n_iov, req->done_bytes, req->bounce, req->piece_bytes);
	return req->bounce;
}

static void range_piece(struct disk_request *req)
{
	uint64_t left = req->len - req->done_bytes;

	req->piece_bytes = left < RANGE_BYTES ? left : RANGE_BYTES;
}

/* Return: the library's cookie, or -1 */
static int64_t send_command(struct nbd *n, struct disk_request *req, void *buf)
{
	nbd_completion_callback cb = { .callback = ended, .user_data = req };
	uint64_t off = req->off + req->done_bytes, len = req->piece_bytes;

	switch (req->op) {
	case DISK_READ:
		return n->lib.nbd_aio_pread(n->h, buf, len, off, cb, 0);
	case DISK_FLUSH:
		return n->lib.nbd_aio_flush(n->h, cb, 0);
	case DISK_DISCARD:
		return n->lib.nbd_aio_trim(n->h, len, off, cb, 0);
	case DISK_WRITE_ZEROES:
		if (n->can_zero)
			return n->lib.nbd_aio_zero(n->h, len, off, cb,
						   req->unmap ? 0 : LIBNBD_CMD_FLAG_NO_HOLE);
		/* fallthrough */
	default:
		return n->lib.nbd_aio_pwrite(n->h, buf, len, off, cb, 0);
	}
}

static int start_piece(struct nbd *n, struct disk_request *req)
{
	void *buf = NULL;

	req->piece_bytes = 0;
	if (is_gone(n))
		return -ENOTCONN;
	if (req->op == DISK_READ || req->op == DISK_WRITE ||
	    (req->op == DISK_WRITE_ZEROES && !n->can_zero)) {
		buf = piece_buffer(n, req);
		if (!buf)
			return -ENOMEM;
	} else if (req->op != DISK_FLUSH) {
		range_piece(req);
	}
	n->n_flying++;
	n->flying_bytes += req->piece_bytes;
	if (send_command(n, req, buf) >= 0)
		return 0;
	n->n_flying--;
	n->flying_bytes -= req->piece_bytes;
	return is_gone(n) || !n->lib.nbd_get_errno() ? -ENOTCONN : -n->lib.nbd_get_errno();
}

/* ---- the worker's loop ---- */

/* The library says what it waits for. */
static void watch(struct nbd *n)
{
	unsigned direction = n->lib.nbd_aio_get_direction(n->h);
	uint32_t events = 0;

	if (!n->loop || n->source.fd < 0)
		return;
	if (is_gone(n)) {
		loop_del(n->loop, &n->source);
		n->source.fd = -1;
		return;
	}
	if (direction & LIBNBD_AIO_DIRECTION_READ)
		events |= EPOLLIN;
	if (direction & LIBNBD_AIO_DIRECTION_WRITE)
		events |= EPOLLOUT;
	if (events != n->watched)
		loop_mod(n->loop, &n->source, events);
	n->watched = events;
}

static void nbd_submit(struct disk *disk, struct disk_request *req)
{
	req->owner = nbd_of(disk);
	req->bounce = NULL;
	req->done_bytes = 0;
	disk_fifo_push(&nbd_of(disk)->todo, req);
}

static bool may_start(const struct nbd *n)
{
	const struct disk_request *req = n->todo.first;

	if (!req || n->n_flying == DEPTH || n->flying_bytes >= FLIGHT_BYTES)
		return false;
	return n->bounce_bytes < BOUNCE_MOST || !must_bounce(n, req);
}

static void start_all(struct nbd *n)
{
	struct disk_request *req;
	int err;

	while (may_start(n)) {
		req = disk_fifo_pop(&n->todo);
		if (req->op == DISK_FLUSH ? !n->can_flush || n->disk.read_only : !req->len) {
			finish(req, 0);
			continue;
		}
		err = start_piece(n, req);
		if (err)
			finish(req, err);
	}
}

static void nbd_commit(struct disk *disk)
{
	struct nbd *n = nbd_of(disk);

	if (!disk->held)
		do {
			start_all(n);
			reap(n); /* what failed while it was sent */
		} while (n->todo.first && !n->n_flying);
	watch(n);
}

/* Told of something to read where nothing is, libnbd waits for it and sends no commands meanwhile. */
static uint32_t events_now(const struct nbd *n)
{
	struct pollfd fd = { .fd = n->source.fd, .events = (short)n->watched };

	return poll(&fd, 1, 0) > 0 ? (uint32_t)fd.revents : 0; /* as EPOLL's have the same numbers */
}

static void socket_ready(struct loop_source *src, uint32_t events)
{
	struct nbd *n = container_of(src, struct nbd, source);
	unsigned direction = n->lib.nbd_aio_get_direction(n->h);

	if (n->drained)
		events = events_now(n);
	n->drained = false;
	/* A failed socket is told to whatever the library waits for. */
	if ((direction & LIBNBD_AIO_DIRECTION_READ) && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		n->lib.nbd_aio_notify_read(n->h);
	else if ((direction & LIBNBD_AIO_DIRECTION_WRITE) && events)
		n->lib.nbd_aio_notify_write(n->h);
	is_gone(n);
	reap(n);
	nbd_commit(&n->disk);
	if (n->disk.reaped)
		n->disk.reaped(&n->disk);
}

/* ---- waiting ---- */

/* One step. Return: false: @deadline has passed, or the connection is dead */
static bool step(struct nbd *n, int64_t deadline)
{
	int64_t left = deadline - now_ms();

	if (left <= 0 || n->lib.nbd_aio_is_dead(n->h) || n->lib.nbd_aio_is_closed(n->h))
		return false;
	return n->lib.nbd_poll(n->h, (int)left) >= 0;
}

/* From now on everything fails, so that the guest's memory is the guest's again. */
static void cut(struct nbd *n)
{
	int fd = n->lib.nbd_aio_get_fd(n->h);

	log_errx(-ETIMEDOUT, "disk '%s': the NBD server does not answer", n->disk.name);
	if (fd >= 0)
		shutdown(fd, SHUT_RDWR);
	while (n->n_flying) {
		step(n, now_ms() + 1000);
		reap(n);
	}
}

/* The machine may come to its end meanwhile: then there is less time. */
static int64_t less_time(const struct nbd *n, int64_t deadline)
{
	int64_t last = now_ms() + LAST_MS;

	if (!n->disk.last || !atomic_load(n->disk.last))
		return deadline;
	return last < deadline ? last : deadline;
}

static void nbd_drain(struct disk *disk, bool all)
{
	struct nbd *n = nbd_of(disk);
	int64_t deadline = now_ms() + DRAIN_MS;

	disk->held = true;
	while (n->n_flying) {
		int64_t now = now_ms();

		deadline = less_time(n, deadline);
		if (!step(n, now + LOOK_MS < deadline ? now + LOOK_MS : deadline) && !is_gone(n) &&
		    now >= deadline)
			cut(n);
		reap(n);
	}
	do
		disk_fifo_cancel(&n->todo, all, finish);
	while (all && n->todo.first);
	n->drained = true;
	watch(n);
}

/* ---- life ---- */

static int nbd_attach(struct disk *disk, struct loop *loop)
{
	struct nbd *n = nbd_of(disk);
	int err;

	n->loop = loop;
	n->disk.held = false;
	n->watched = EPOLLIN;
	n->source.fd = n->lib.nbd_aio_get_fd(n->h);
	if (n->source.fd < 0)
		return 0; /* gone: each request will say so */
	err = loop_add(loop, &n->source, n->watched);
	if (err)
		return log_err(err, "disk '%s': event loop", disk->name);
	watch(n);
	return 0;
}

static void nbd_detach(struct disk *disk, struct loop *loop)
{
	struct nbd *n = nbd_of(disk);

	if (n->source.fd >= 0)
		loop_del(loop, &n->source);
	n->source.fd = -1;
	n->loop = NULL;
}

/* It need not answer: that it will be told is enough. */
static void say_goodbye(struct nbd *n)
{
	int64_t deadline = now_ms() + GOODBYE_MS;

	if (n->lib.nbd_aio_is_ready(n->h) == 1 && !n->lib.nbd_aio_disconnect(n->h, 0))
		while ((n->lib.nbd_aio_get_direction(n->h) & LIBNBD_AIO_DIRECTION_WRITE) &&
		       step(n, deadline))
			;
}

static void nbd_leave(struct disk *disk)
{
	struct nbd *n = nbd_of(disk);

	say_goodbye(n);
	qemu_nbd_leave(&n->server);
}

static void nbd_close_disk(struct disk *disk)
{
	struct nbd *n = nbd_of(disk);

	assert(!n->n_flying && !n->todo.first);
	if (n->h) {
		say_goodbye(n);
		n->lib.nbd_close(n->h);
	}
	qemu_nbd_stop(&n->server);
	if (n->lock_fd >= 0)
		close(n->lock_fd);
	free(n);
}

static const struct disk_ops nbd_ops = { nbd_attach, nbd_submit, nbd_commit,
					 nbd_drain,  nbd_detach, nbd_leave, nbd_close_disk, NULL };

/* ---- opening ---- */

static int connect_failed(struct nbd *n)
{
	char words[4096];
	const char *why;

	/* Our own server knows better what is wrong; it ends when it cannot open its image. */
	if (n->server.pid > 0) {
		n->lib.nbd_close(n->h);
		n->h = NULL;
		qemu_nbd_wait(&n->server);
	}
	why = qemu_nbd_words(&n->server, words, sizeof(words));
	if (!*why)
		why = n->lib.nbd_get_error();
	return log_errx(-ENOTCONN, "disk '%s': %s", n->disk.name, why ? why : "no connection");
}

/* @fd: our own server, or -1: by the URI */
static int connect_to(struct nbd *n, int fd)
{
	int64_t deadline = now_ms() + CONNECT_MS;
	int ret = fd >= 0 ? n->lib.nbd_aio_connect_socket(n->h, fd)
			  : n->lib.nbd_aio_connect_uri(n->h, n->disk.name);

	while (!ret && n->lib.nbd_aio_is_connecting(n->h) == 1)
		if (!step(n, deadline))
			ret = -1;
	if (!ret && n->lib.nbd_aio_is_ready(n->h) == 1)
		return 0;
	if (now_ms() >= deadline)
		return log_errx(-ETIMEDOUT, "disk '%s': the NBD server does not answer",
				n->disk.name);
	return connect_failed(n);
}

static int read_properties(struct nbd *n, const struct disk_config *cfg)
{
	struct disk *disk = &n->disk;
	int64_t size = n->lib.nbd_get_size(n->h);
	int64_t least = n->lib.nbd_get_block_size(n->h, LIBNBD_SIZE_MINIMUM);
	int64_t most = n->lib.nbd_get_block_size(n->h, LIBNBD_SIZE_MAXIMUM);

	if (size < 0)
		return log_errx(-EIO, "disk '%s': %s", disk->name, n->lib.nbd_get_error());
	if (n->lib.nbd_is_read_only(n->h) == 1 && !cfg->read_only)
		return log_errx(-EROFS,
				"disk '%s' can only be read (say '%s,ro' or '%s,ephemeral')",
				disk->name, disk->name, disk->name);
	if (size % DISK_SECTOR_BYTES)
		log_warn("disk '%s': the guest does not see its last %d bytes", disk->name,
			 (int)(size % DISK_SECTOR_BYTES));
	disk->size_bytes = ALIGN_DOWN((uint64_t)size, DISK_SECTOR_BYTES);
	if (least > DISK_SECTOR_BYTES && least <= disk->physical_bytes)
		disk->block_bytes = (unsigned)least;
	n->piece_bytes = PIECE_BYTES;
	if (most > 0 && (uint64_t)most < n->piece_bytes)
		n->piece_bytes = ALIGN_DOWN((uint64_t)most, disk->block_bytes);
	n->can_flush = n->lib.nbd_can_flush(n->h) == 1;
	n->can_zero = n->lib.nbd_can_zero(n->h) == 1;
	disk->can_discard = !cfg->read_only && n->lib.nbd_can_trim(n->h) == 1;
	return 0;
}

/* qemu-nbd has locks of its own kind, which tell nobody's name. */
static int lock_image(struct nbd *n, const struct disk_config *cfg)
{
	n->lock_fd = open(cfg->path, O_RDONLY | O_CLOEXEC);
	if (n->lock_fd < 0)
		return log_err(-errno, "open disk '%s'", cfg->path);
	return disk_lock(n->lock_fd, cfg->path, !cfg->read_only);
}

static int open_connection(struct nbd *n, const struct disk_config *cfg, const char *format)
{
	int fd = -1, err;

	if (strcmp(format, "nbd")) {
		err = lock_image(n, cfg);
		if (err)
			return err;
		fd = qemu_nbd_start(cfg, format, &n->server);
		if (fd < 0)
			return fd;
	}
	n->h = n->lib.nbd_create();
	if (!n->h) {
		if (fd >= 0)
			close(fd);
		return log_errx(-ENOMEM, "disk '%s': %s", cfg->path, n->lib.nbd_get_error());
	}
	return connect_to(n, fd);
}

int nbd_open(const struct disk_config *cfg, const char *format, struct disk **ret)
{
	struct nbd *n = calloc(1, sizeof(*n));
	int err;

	if (!n)
		return log_err(-ENOMEM, "disk '%s'", cfg->path);
	n->disk = (struct disk){ .ops = &nbd_ops,
				 .name = cfg->path,
				 .block_bytes = DISK_SECTOR_BYTES,
				 .physical_bytes = 4096,
				 .read_only = cfg->read_only };
	n->lock_fd = -1;
	n->server.log_fd = -1;
	n->source = (struct loop_source){ -1, socket_ready };
	disk_fifo_init(&n->todo);
	disk_fifo_init(&n->ended);
	err = load(n);
	if (!err)
		err = open_connection(n, cfg, format);
	if (!err)
		err = read_properties(n, cfg);
	if (err)
		nbd_close_disk(&n->disk);
	else
		*ret = &n->disk;
	return err;
}

#else

bool disk_nbd_usable(void)
{
	return false;
}

int nbd_open(const struct disk_config *cfg, const char *format, struct disk **ret)
{
	(void)ret;
	return log_errx(-ENOSYS, "disk '%s': this lkvm was built without libnbd, which %s needs",
			cfg->path, format);
}

#endif
