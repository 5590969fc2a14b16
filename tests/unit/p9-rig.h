/*
 * The guest's side of 9P, for tests: requests as its kernel would build them, cut into buffers of odd
 * sizes, over the folder of folder.h.
 */
#ifndef TESTS_P9_RIG_H
#define TESTS_P9_RIG_H

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>

#include "folder.h"
#include "lkvm/fs.h"

#define RIG_BYTES (1U << 20)
#define RIG_HEAD  7 /* size[4] type[1] tag[2] */

/* Types of requests, as the protocol numbers them */
enum { TSTATFS = 8, TLOPEN = 12, TLCREATE = 14, TSYMLINK = 16, TMKNOD = 18, TRENAME = 20, TREADLINK = 22,
       TGETATTR = 24, TSETATTR = 26, TXATTRWALK = 30, TXATTRCREATE = 32, TREADDIR = 40, TFSYNC = 50,
       TLOCK = 52, TGETLOCK = 54, TLINK = 70, TMKDIR = 72, TRENAMEAT = 74, TUNLINKAT = 76,
       TVERSION = 100, TAUTH = 102, TATTACH = 104, TFLUSH = 108, TWALK = 110, TREAD = 116,
       TWRITE = 118, TCLUNK = 120, TREMOVE = 122 };

/* One that is under way; its buffers are cut so that numbers lie across them. */
struct rig_request {
	struct file_request req;
	struct iovec out_iov[64], in_iov[64];
	uint8_t *out, *in;
	size_t bytes, room;
	bool done;
	uint32_t written;
};

static struct p9 *p9;
static struct file_worker *worker;
static uint8_t rig_bytes[4][RIG_BYTES + 64];
static struct rig_request rig_one = { .out = rig_bytes[0], .in = rig_bytes[1] };
static struct rig_request rig_two = { .out = rig_bytes[2], .in = rig_bytes[3] };
static uint16_t rig_tag;
#define RIG_BODY (rig_one.in + RIG_HEAD)

static inline unsigned rig_cut(struct iovec *iov, uint8_t *at, size_t bytes)
{
	unsigned n = 0;

	while (bytes) {
		size_t part = n < 63 && bytes > 13 ? 13 : bytes;

		if (n == 63)
			part = bytes;
		iov[n++] = (struct iovec){ at, part };
		at += part;
		bytes -= part;
	}
	return n;
}

static inline void rig_done(struct file_request *req, uint32_t written)
{
	struct rig_request *r = (struct rig_request *)req;

	folder_need(!r->done);
	r->done = true;
	r->written = written;
}

static inline uint64_t rig_int(const uint8_t *at, unsigned bytes)
{
	uint64_t value = 0;

	memcpy(&value, at, bytes);
	return value;
}

static inline void rig_put(struct rig_request *r, uint64_t value, unsigned bytes)
{
	memcpy(r->out + r->bytes, &value, bytes);
	r->bytes += bytes;
}

static inline void rig_put_bytes(struct rig_request *r, const void *at, size_t bytes)
{
	memcpy(r->out + r->bytes, at, bytes);
	r->bytes += bytes;
}

/* b, w, d, q: numbers of 1, 2, 4, 8 bytes; s: a string; *: address and bytes */
static inline void rig_build(struct rig_request *r, uint8_t type, const char *body, va_list args)
{
	r->bytes = 4;
	rig_put(r, type, 1);
	rig_put(r, ++rig_tag, 2);
	for (; *body; body++) {
		const void *at = *body == 's' || *body == '*' ? va_arg(args, const void *) : NULL;

		if (*body == 's') {
			rig_put(r, strlen(at), 2);
			rig_put_bytes(r, at, strlen(at));
		} else if (*body == '*') {
			rig_put_bytes(r, at, va_arg(args, size_t));
		} else if (*body == 'q') {
			rig_put(r, va_arg(args, uint64_t), 8);
		} else {
			rig_put(r, va_arg(args, unsigned), *body == 'b' ? 1 : *body == 'w' ? 2 : 4);
		}
	}
	memcpy(r->out, &(uint32_t){ (uint32_t)r->bytes }, 4);
}

/* Return: the reply's error, 0 or -errno; -EINPROGRESS: there is none yet */
static inline int rig_result(const struct rig_request *r)
{
	if (!r->done)
		return -EINPROGRESS;
	if (!r->written)
		return -EIO;
	folder_need(r->written == rig_int(r->in, 4) && r->written >= RIG_HEAD);
	folder_need(r->written <= r->room && r->in[r->room] == 0xee);
	folder_need(rig_int(r->in + 5, 2) == rig_int(r->out + 5, 2));
	if (r->in[4] == 7) {
		folder_need(r->written == RIG_HEAD + 4);
		return -(int)rig_int(r->in + RIG_HEAD, 4);
	}
	folder_need(r->in[4] == r->out[4] + 1);
	return 0;
}

static inline int rig_serve(struct rig_request *r, size_t room)
{
	r->room = room;
	r->done = false;
	memset(r->in, 0xee, room + 64);
	r->req = (struct file_request){
		.out = r->out_iov, .n_out = rig_cut(r->out_iov, r->out, r->bytes),
		.in = r->in_iov, .n_in = rig_cut(r->in_iov, r->in, room), .done = rig_done,
	};
	p9_begin(p9, &r->req);
	p9_serve(p9, worker, &r->req);
	return rig_result(r);
}

static inline int rig_send(struct rig_request *r, uint8_t type, const char *body, ...)
{
	va_list args;

	va_start(args, body);
	rig_build(r, type, body, args);
	va_end(args);
	return rig_serve(r, type == TREAD ? RIG_BYTES : 8192);
}

#define RIG(type, ...) rig_send(&rig_one, type, __VA_ARGS__)

static inline uint32_t rig_body_bytes(void)
{
	return rig_one.written - RIG_HEAD;
}

static inline int rig_version(uint32_t msize)
{
	return RIG(TVERSION, "ds", msize, "9P2000.L");
}

static inline int rig_attach(uint32_t fid, uint32_t uid)
{
	return RIG(TATTACH, "ddssd", fid, UINT32_MAX, "", "", uid);
}

static inline void rig_new(bool read_only, unsigned max_fds)
{
	const struct fs_config cfg = { .path = folder, .tag = "tag", .read_only = read_only,
				       .max_fds = max_fds };

	worker = file_worker_new();
	folder_need(worker && !p9_new(&cfg, &p9));
	folder_need(!rig_version(512 << 10) && !rig_attach(0, UINT32_MAX));
}

static inline void rig_free(void)
{
	p9_free(p9);
	file_worker_free(worker);
}

/* One name from the root, or the root itself */
static inline int rig_walk(uint32_t to, const char *name)
{
	return name ? RIG(TWALK, "ddws", 0, to, 1, name) : RIG(TWALK, "ddw", 0, to, 0);
}

static inline int rig_clunk(uint32_t fid)
{
	return RIG(TCLUNK, "d", fid);
}

static inline int rig_open(uint32_t fid, const char *name, uint32_t flags)
{
	int err = rig_walk(fid, name);

	return err ? err : RIG(TLOPEN, "dd", fid, flags);
}

static inline int rig_read(uint32_t fid, uint64_t off, uint32_t count)
{
	return RIG(TREAD, "dqd", fid, off, count);
}

static inline int rig_write(uint32_t fid, uint64_t off, const void *data, uint32_t bytes)
{
	return RIG(TWRITE, "dqd*", fid, off, bytes, data, (size_t)bytes);
}

static inline int rig_lock(struct rig_request *r, uint32_t fid, unsigned type, unsigned flags,
			   uint32_t process)
{
	return rig_send(r, TLOCK, "dbdqqds", fid, type, flags, (uint64_t)0, (uint64_t)0, process, "host");
}

#endif
