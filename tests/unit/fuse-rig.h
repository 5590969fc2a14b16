/*
 * The guest's side of FUSE, for tests: requests as its kernel would build them, cut into buffers of
 * odd sizes, over the folder of folder.h.
 */
#ifndef TESTS_FUSE_RIG_H
#define TESTS_FUSE_RIG_H

#include <errno.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <sys/mman.h>

#include "folder.h"
#include "lkvm/fs.h"

#define RIG_BYTES (2U << 20)

static struct fuse *fuse;
static struct file_worker *worker;
static uint8_t rig_out[RIG_BYTES], rig_in[RIG_BYTES];
static struct iovec rig_out_iov[64], rig_in_iov[64];
static uint64_t rig_unique;
static unsigned rig_cut = 37; /* bytes of the first buffers */

/* Of the last request */
static bool rig_done;
static uint32_t rig_written;
#define RIG_BODY (rig_in + sizeof(struct fuse_out_header))

static inline unsigned rig_iov(struct iovec *iov, uint8_t *at, size_t bytes)
{
	unsigned n = 0;

	while (bytes) {
		size_t part = n < 63 && bytes > rig_cut ? rig_cut : bytes;

		if (n == 63)
			part = bytes;
		iov[n++] = (struct iovec){ at, part };
		at += part;
		bytes -= part;
	}
	return n;
}

static inline void rig_is_done(struct file_request *req, uint32_t written)
{
	(void)req;
	rig_done = true;
	rig_written = written;
}

struct rig_part {
	const void *at;
	size_t bytes;
};

static struct file_request rig_request;
static uint32_t rig_uid, rig_gid;

/* Return: the reply's error, 0 or -errno; its body is RIG_BODY, @room of it at most */
static inline int rig_send(uint32_t op, uint64_t node, size_t room, const struct rig_part *parts)
{
	struct fuse_in_header in = { .opcode = op, .nodeid = node, .unique = ++rig_unique,
				     .uid = rig_uid, .gid = rig_gid };
	struct fuse_out_header out;
	size_t bytes = sizeof(in);

	for (; parts && parts->at; parts++) {
		memcpy(rig_out + bytes, parts->at, parts->bytes);
		bytes += parts->bytes;
	}
	in.len = (uint32_t)bytes;
	memcpy(rig_out, &in, sizeof(in));
	memset(rig_in, 0xee, sizeof(out) + room + 64);
	rig_request = (struct file_request){
		.out = rig_out_iov, .n_out = rig_iov(rig_out_iov, rig_out, bytes),
		.in = rig_in_iov, .n_in = rig_iov(rig_in_iov, rig_in, sizeof(out) + room),
		.done = rig_is_done,
	};
	rig_done = false;
	fuse_serve(fuse, worker, &rig_request);
	if (!rig_done)
		return -EINPROGRESS;
	memcpy(&out, rig_in, sizeof(out));
	folder_need(out.unique == rig_unique && out.len == rig_written);
	folder_need(rig_written <= sizeof(out) + room && rig_in[sizeof(out) + room] == 0xee);
	folder_need(!out.error || out.len == sizeof(out));
	return out.error;
}

#define RIG_ARG(a)  { &(a), sizeof(a) }
#define RIG_NAME(n) { (n), strlen(n) + 1 }
#define RIG(op, node, room, ...)                                                                   \
	rig_send(op, node, room, (const struct rig_part[]){ __VA_ARGS__ __VA_OPT__(,) { NULL, 0 } })

static inline size_t rig_body_bytes(void)
{
	return rig_written - sizeof(struct fuse_out_header);
}

static inline struct fuse_entry_out rig_entry(void)
{
	struct fuse_entry_out entry;

	memcpy(&entry, RIG_BODY, sizeof(entry));
	return entry;
}

static inline int rig_init(void)
{
	const struct fuse_init_in init = { .major = 7, .minor = 36, .max_readahead = 131072,
					   .flags = UINT32_MAX, .flags2 = UINT32_MAX };

	return RIG(FUSE_INIT, 0, sizeof(struct fuse_init_out), RIG_ARG(init));
}

static uint64_t rig_window; /* bytes of files as memory */

static inline void rig_new(bool read_only, enum fs_cache cache, unsigned max_fds)
{
	const struct fs_config cfg = { .path = folder, .tag = "tag", .read_only = read_only,
				       .cache = cache, .max_fds = max_fds, .window_bytes = rig_window };

	worker = file_worker_new();
	folder_need(worker && !fuse_new(&cfg, &fuse));
	folder_need(!rig_init());
}

static inline void rig_free(void)
{
	fuse_free(fuse);
	file_worker_free(worker);
}

/* Return: the number of @name in @dir, or 0 and errno */
static inline uint64_t rig_look(uint64_t dir, const char *name)
{
	int err = RIG(FUSE_LOOKUP, dir, sizeof(struct fuse_entry_out), RIG_NAME(name));

	errno = -err;
	return err ? 0 : rig_entry().nodeid;
}

static inline int rig_open(uint64_t node, uint32_t flags, uint64_t *ret_fh)
{
	const struct fuse_open_in arg = { .flags = flags };
	struct fuse_open_out out;
	int err = RIG(FUSE_OPEN, node, sizeof(out), RIG_ARG(arg));

	memcpy(&out, RIG_BODY, sizeof(out));
	if (!err)
		*ret_fh = out.fh;
	return err;
}

static inline int rig_read(uint32_t op, uint64_t node, uint64_t fh, uint64_t off, uint32_t size)
{
	const struct fuse_read_in arg = { .fh = fh, .offset = off, .size = size };

	return RIG(op, node, size, RIG_ARG(arg));
}

static inline int rig_write(uint64_t node, uint64_t fh, uint64_t off, const void *data, uint32_t size,
			    uint32_t write_flags, uint32_t flags)
{
	const struct fuse_write_in arg = { .fh = fh, .offset = off, .size = size,
					   .write_flags = write_flags, .flags = flags };

	return RIG(FUSE_WRITE, node, sizeof(struct fuse_write_out), RIG_ARG(arg), { data, size });
}

static inline int rig_release(uint32_t op, uint64_t node, uint64_t fh)
{
	const struct fuse_release_in arg = { .fh = fh };

	return RIG(op, node, 0, RIG_ARG(arg));
}

static inline int rig_lock(uint32_t op, uint64_t node, uint64_t fh, uint64_t owner, unsigned type,
			   uint64_t start, uint64_t end, uint32_t flags)
{
	const struct fuse_lk_in arg = { .fh = fh, .owner = owner, .lk = { start, end, type, 7 },
					.lk_flags = flags };

	return RIG(op, node, op == FUSE_GETLK ? sizeof(struct fuse_lk_out) : 0, RIG_ARG(arg));
}

#endif
