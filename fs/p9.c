/*
 * The 9P2000.L server: what a request is, whether it is well formed, who serves it. See include/lkvm/fs.h
 * and p9-internal.h. The protocol is that of Linux's v9fs; numbers are little-endian.
 *
 * As in fuse.c, what the guest sent is fetched once and judged on the copy, but for the data of files,
 * and an operation whose reply might not fit is refused before it does anything.
 *
 * A request that the guest takes back (Tflush) is answered first, and then the Tflush: the guest's
 * buffers are its own again only then. So it is noted which were taken, in the order of the ring.
 */
#include <errno.h>
#include <endian.h>
#include <string.h>

#include "lkvm/types.h"
#include "p9-internal.h"

#define ERROR_BYTES (P9_HEADER + 4)

/*
 * The body: b, w, d, q: a number of 1, 2, 4, 8 bytes; s: a name or another string; f, F: a fid that is
 * in the table, and the second one, whose files are opened; n: one whose is not; W: a number of names; *: what
 * is behind stays where it is.
 */
static const struct op {
	int (*serve)(struct p9_call *c);
	const char *body;
	uint32_t out_bytes; /* for which there has to be room */
} ops[] = {
	[P9_TSTATFS] = { p9_statfs, "f", 60 },
	[P9_TLOPEN] = { p9_lopen, "fd", PUT_QID_BYTES + 4 },
	[P9_TLCREATE] = { p9_lcreate, "fsddd", PUT_QID_BYTES + 4 },
	[P9_TSYMLINK] = { p9_symlink, "fssd", PUT_QID_BYTES },
	[P9_TMKNOD] = { p9_mknod, "fsdddd", PUT_QID_BYTES },
	[P9_TRENAME] = { p9_rename, "fFs", 0 },
	[P9_TREADLINK] = { p9_readlink, "f", 2 },
	[P9_TGETATTR] = { p9_getattr, "nq", 153 },
	[P9_TSETATTR] = { p9_setattr, "fddddqqqqq", 0 },
	[P9_TXATTRWALK] = { p9_xattrwalk, "fds", 8 },
	[P9_TXATTRCREATE] = { p9_xattrcreate, "fsqd", 0 },
	[P9_TREADDIR] = { p9_readdir, "fqd", 4 },
	[P9_TFSYNC] = { p9_fsync, "fd", 0 },
	[P9_TLOCK] = { p9_lock, "fbdqqds", 1 },
	[P9_TGETLOCK] = { p9_getlock, "fbqqds", 23 },
	[P9_TLINK] = { p9_link, "fFs", 0 },
	[P9_TMKDIR] = { p9_mkdir, "fsdd", PUT_QID_BYTES },
	[P9_TRENAMEAT] = { p9_renameat, "fsFs", 0 },
	[P9_TUNLINKAT] = { p9_unlinkat, "fsd", 0 },
	[P9_TVERSION] = { p9_version, "ds", 6 + sizeof(P9_VERSION) },
	[P9_TAUTH] = { p9_auth, "dssd", 0 },
	[P9_TATTACH] = { p9_attach, "ddssd", PUT_QID_BYTES },
	[P9_TFLUSH] = { p9_flush, "w", 0 },
	[P9_TWALK] = { p9_walk, "fdW", 2 },
	[P9_TREAD] = { p9_read, "fqd", 4 },
	[P9_TWRITE] = { p9_write, "fqd*", 4 },
	[P9_TCLUNK] = { p9_clunk, "d", 0 },
	[P9_TREMOVE] = { p9_remove, "d", 0 },
};

/* ---- replies ---- */

void put_bytes(struct p9_call *c, const void *bytes, size_t len)
{
	memcpy(c->w->out + c->out_bytes, bytes, len);
	c->out_bytes += (uint32_t)len;
}

void put_int(struct p9_call *c, uint64_t value, unsigned bytes)
{
	value = htole64(value);
	put_bytes(c, &value, bytes);
}

uint8_t p9_qid_type(mode_t mode)
{
	return S_ISDIR(mode) ? 0x80 : S_ISLNK(mode) ? 0x02 : 0;
}

/*
 * The version is the file's, not its content's: with each other one Linux makes another inode for
 * the same file, and it does not keep anything of files that have 0.
 */
void put_qid(struct p9_call *c, const struct statx *st)
{
	const uint64_t born = (uint64_t)st->stx_btime.tv_sec * 1000003 + st->stx_btime.tv_nsec;

	put_int(c, p9_qid_type(st->stx_mode), 1);
	put_int(c, (born ^ born >> 32) | 1, 4);
	put_int(c, file_number(st, c->p9->root_dev), 8);
}

struct tree_ids p9_ids(const struct p9_call *c, uint64_t gid)
{
	return (struct tree_ids){ .uid = c->fid->uid, .gid = (uint32_t)gid, .plain = c->fid->uid };
}

/* With the lock. Return: where it stands among those that were taken; if it does not, that is NULL */
static struct file_request **find_begun(struct p9 *p9, const struct file_request *req)
{
	struct file_request **at = &p9->begun;

	while (*at && *at != req)
		at = &(*at)->next_begun;
	return at;
}

/* @as takes the place of @req, which may be gone from now on. */
static void stand_in(struct p9 *p9, struct file_request *req, struct file_request *as)
{
	struct file_request **at;

	pthread_mutex_lock(&p9->lock);
	at = find_begun(p9, req);
	*as = (struct file_request){ .next_begun = req->next_begun, .flushes = req->flushes, .tag = req->tag };
	if (*at)
		*at = as;
	pthread_mutex_unlock(&p9->lock);
}

/* Out of the list of those that were taken. Return: those that wait for its end */
static struct file_request *end_of(struct p9 *p9, struct file_request *req)
{
	struct file_request **at, *flushes;

	pthread_mutex_lock(&p9->lock);
	at = find_begun(p9, req);
	if (*at)
		*at = req->next_begun;
	flushes = req->flushes;
	req->flushes = NULL;
	pthread_mutex_unlock(&p9->lock);
	return flushes;
}

static uint32_t write_reply(struct file_request *req, uint8_t type, int err, const void *body,
			    uint32_t bytes, uint32_t in_place)
{
	const uint32_t ecode = htole32((uint32_t)-err), size = err ? ERROR_BYTES : P9_HEADER + bytes + in_place;
	const uint8_t head[P9_HEADER] = {
		(uint8_t)size, (uint8_t)(size >> 8), (uint8_t)(size >> 16), (uint8_t)(size >> 24),
		err ? P9_RLERROR : type + 1, (uint8_t)req->tag, (uint8_t)(req->tag >> 8),
	};

	if (iov_bytes(req->in, req->n_in) < size)
		return 0;
	iov_write(req->in, req->n_in, 0, head, P9_HEADER);
	iov_write(req->in, req->n_in, P9_HEADER, err ? &ecode : body, err ? sizeof(ecode) : bytes);
	return size;
}

/*
 * A Tflush that comes before the reply is out waits for it; done() gives the request away, and may take
 * locks that are held around ours. Return: those that have waited
 */
static struct file_request *give_back(struct p9 *p9, struct file_request *req, uint32_t written)
{
	struct file_request as;

	stand_in(p9, req, &as);
	req->done(req, written);
	return end_of(p9, &as);
}

void p9_reply(struct p9 *p9, struct file_request *req, uint8_t type, int err, const void *body,
	      uint32_t bytes, uint32_t in_place)
{
	struct file_request *flush =
		give_back(p9, req, write_reply(req, type, err, body, bytes, in_place));

	while (flush) {
		struct file_request *more = flush->next_flush, **last = &more;

		while (*last)
			last = &(*last)->next_flush;
		*last = give_back(p9, flush, write_reply(flush, P9_TFLUSH, 0, NULL, 0, 0));
		flush = more;
	}
}

/* ---- a request ---- */

static bool take_int(uint8_t **at, const uint8_t *end, unsigned bytes, uint64_t *ret)
{
	uint64_t value = 0;

	if ((size_t)(end - *at) < bytes)
		return false;
	memcpy(&value, *at, bytes);
	*ret = le64toh(value);
	*at += bytes;
	return true;
}

/* It is moved over its length, so that there is room for a NUL. */
static bool take_string(uint8_t **at, const uint8_t *end, const char **ret)
{
	uint64_t len;
	uint8_t *to = *at;

	if (!take_int(at, end, 2, &len) || (size_t)(end - *at) < len || memchr(*at, '\0', len))
		return false;
	memmove(to, *at, len);
	to[len] = '\0';
	*at += len;
	*ret = (const char *)to;
	return true;
}

static bool take_names(struct p9_call *c, uint8_t **at, const uint8_t *end)
{
	uint64_t n;

	if (!take_int(at, end, 2, &n) || n > P9_WALK_MAX)
		return false;
	for (; c->n_names < n; c->n_names++)
		if (!take_string(at, end, &c->s[c->n_names]))
			return false;
	return true;
}

static int take_fid(struct p9_call *c, uint8_t **at, const uint8_t *end, struct p9_fid **ret)
{
	uint64_t number;

	if (!take_int(at, end, 4, &number))
		return -EINVAL;
	*ret = fid_get(c->p9, (uint32_t)number);
	return *ret ? 0 : -EBADF;
}

static int parse(struct p9_call *c, const char *body, size_t len)
{
	uint8_t *at = c->w->body;
	const uint8_t *end = at + len;
	unsigned n = 0, s = 0;
	bool ok = true;
	int err = 0;

	for (; ok && !err && *body && *body != '*'; body++) {
		switch (*body) {
		case 'f':
		case 'n':
			err = take_fid(c, &at, end, &c->fid);
			break;
		case 'F':
			err = take_fid(c, &at, end, &c->fid2);
			break;
		case 's':
			ok = take_string(&at, end, &c->s[s++]);
			break;
		case 'W':
			ok = take_names(c, &at, end);
			break;
		default:
			ok = take_int(&at, end, *body == 'b' ? 1 : *body == 'w' ? 2 : *body == 'd' ? 4 : 8,
				      &c->n[n++]);
		}
	}
	if (err)
		return err;
	return ok && at == end ? 0 : -EINVAL;
}

static int fetch_body(struct p9_call *c, const struct op *op)
{
	size_t body = c->size - P9_HEADER;

	if (op->body[strlen(op->body) - 1] == '*') {
		const size_t fixed = 4 + 8 + 4;

		/* By the buffers: whether the size counts data that a guest adds as pages is its own affair. */
		c->data_bytes = iov_bytes(c->req->out, c->req->n_out) - P9_HEADER;
		if (c->data_bytes < fixed)
			return -EINVAL;
		c->data_bytes -= fixed;
		body = fixed;
	}
	if (body > FILE_BODY_MAX)
		return -E2BIG;
	iov_read(c->req->out, c->req->n_out, P9_HEADER, c->w->body, body);
	return parse(c, op->body, body);
}

static int serve_nodes(struct p9_call *c, const struct op *op)
{
	int err = c->fid && op->body[0] != 'n' ? node_get(c->tree, c->fid->node, &c->node) : 0;

	if (!err && c->fid2)
		err = node_get(c->tree, c->fid2->node, &c->node2);
	if (!err)
		err = op->serve(c);
	if (c->node2)
		node_put(c->tree, c->node2);
	if (c->node)
		node_put(c->tree, c->node);
	return err;
}

static int serve(struct p9_call *c)
{
	const struct op *op = c->type < ARRAY_SIZE(ops) ? &ops[c->type] : NULL;
	size_t room = iov_bytes(c->req->in, c->req->n_in);
	uint32_t msize = atomic_load(&c->p9->msize);
	int err;

	if (!op || !op->serve)
		return -EOPNOTSUPP;
	if (!msize && c->type != P9_TVERSION)
		return -EPROTO;
	if (msize && room > msize)
		room = msize;
	if (room < P9_HEADER + op->out_bytes)
		return -EMSGSIZE;
	c->wide_room = (uint32_t)(room < P9_MSIZE_MAX ? room : P9_MSIZE_MAX) - P9_HEADER;
	c->room = c->wide_room < FILE_OUT_MAX ? c->wide_room : FILE_OUT_MAX;
	err = fetch_body(c, op);
	if (!err)
		err = serve_nodes(c, op);
	if (c->fid)
		fid_put(c->p9, c->fid);
	if (c->fid2)
		fid_put(c->p9, c->fid2);
	return err;
}

/* Return: is there a header, and as much behind it as it says? */
static bool fetch_header(struct p9_call *c)
{
	uint8_t head[P9_HEADER];

	if (iov_read(c->req->out, c->req->n_out, 0, head, P9_HEADER) != P9_HEADER)
		return false;
	c->size = (uint32_t)head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 |
		  (uint32_t)head[3] << 24;
	c->type = head[4];
	return c->size >= P9_HEADER && c->size <= iov_bytes(c->req->out, c->req->n_out);
}

void p9_serve(struct p9 *p9, struct file_worker *w, struct file_request *req)
{
	struct p9_call c = { .p9 = p9, .tree = p9->tree, .w = w, .req = req, .tag = req->tag };
	int err = fetch_header(&c) ? serve(&c) : -EINVAL;

	if (tree_has_dead(p9->tree))
		tree_reap(p9->tree);
	if (err != LATER)
		p9_reply(p9, req, c.type, err, w->out, c.out_bytes, c.in_place);
}

/* ---- requests that are taken back ---- */

void p9_begin(struct p9 *p9, struct file_request *req)
{
	uint8_t head[P9_HEADER] = { 0 };

	iov_read(req->out, req->n_out, 0, head, P9_HEADER);
	req->tag = (uint16_t)(head[5] | head[6] << 8);
	req->flushed = false;
	req->flushes = NULL;
	pthread_mutex_lock(&p9->lock);
	req->next_begun = p9->begun;
	p9->begun = req;
	pthread_mutex_unlock(&p9->lock);
}

bool p9_is_flushed(struct p9 *p9, const struct file_request *req)
{
	bool is;

	pthread_mutex_lock(&p9->lock);
	is = req->flushed;
	pthread_mutex_unlock(&p9->lock);
	return is;
}

static bool is_flushed(const struct file_request *req, void *p9)
{
	return p9_is_flushed(p9, req);
}

/* It waits only for one that was taken before it: so none waits for itself. */
int p9_flush(struct p9_call *c)
{
	struct file_request *old, *req = c->req;
	struct p9 *p9 = c->p9;

	pthread_mutex_lock(&p9->lock);
	for (old = req->next_begun; old && old->tag != c->n[0]; old = old->next_begun)
		;
	if (old) {
		old->flushed = true;
		req->next_flush = old->flushes;
		old->flushes = req;
	}
	pthread_mutex_unlock(&p9->lock);
	if (!old)
		return 0;
	/* It may be over by now, and this one with it. */
	locks_cancel_requests(&p9->locks, is_flushed, p9);
	return LATER;
}
