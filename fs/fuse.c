/*
 * The FUSE server: what a request is, whether it is well formed, who serves it. See
 * include/lkvm/fs.h and fuse-internal.h; <linux/fuse.h> has the protocol.
 *
 * Everything that the guest sent is fetched once, into the worker's memory, and judged there; only
 * the data of files goes from the guest's buffers to the host's file, and back, directly. A reply
 * never has more bytes than the buffers have: an operation whose reply might not fit is refused
 * before it does anything.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuse-internal.h"
#include "lkvm/log.h"
#include "lkvm/types.h"

#define LONG_S     86400
#define MINOR_MIN  31 /* the first that knows virtio-fs */
#define IN_BYTES   sizeof(struct fuse_in_header)
#define OUT_BYTES  sizeof(struct fuse_out_header)
#define BACKGROUND 48 /* requests that the guest may have under way without waiting for them */

#define WANTED                                                                                     \
	(FUSE_ASYNC_READ | FUSE_POSIX_LOCKS | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES |              \
	 FUSE_DONT_MASK | FUSE_FLOCK_LOCKS | FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS |          \
	 FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES |          \
	 FUSE_SUBMOUNTS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_INIT_EXT)

enum {
	NAMES = 3,       /* how many names are behind the fixed part */
	REST = 1 << 2,   /* and something of any length behind them */
	DATA = 1 << 3,   /* what is behind the fixed part stays where it is */
	NO_NODE = 1 << 4,
	CHANGES = 1 << 5, /* not in a folder that is read-only */
	ANY_NAME = 1 << 6, /* and what is there in its place is not looked at */
};

static const struct op {
	int (*serve)(struct call *c);
	uint16_t in_bytes;  /* the fixed part */
	uint16_t in_min;    /* of which older guests send this much; 0: all */
	uint16_t out_bytes; /* for which there has to be room */
	uint16_t flags;
} ops[] = {
#define IN(type)  .in_bytes = sizeof(struct fuse_##type)
#define OUT(type) .out_bytes = sizeof(struct fuse_##type)
	[FUSE_LOOKUP] = { op_lookup, OUT(entry_out), .flags = 1 },
	[FUSE_GETATTR] = { op_getattr, IN(getattr_in), OUT(attr_out), .flags = NO_NODE },
	[FUSE_SETATTR] = { op_setattr, IN(setattr_in), OUT(attr_out), .flags = CHANGES },
	[FUSE_READLINK] = { op_readlink, .flags = 0 },
	[FUSE_SYMLINK] = { op_symlink, OUT(entry_out), .flags = 2 | CHANGES },
	[FUSE_MKNOD] = { op_mknod, IN(mknod_in), OUT(entry_out), .flags = 1 | CHANGES },
	[FUSE_MKDIR] = { op_mkdir, IN(mkdir_in), OUT(entry_out), .flags = 1 | CHANGES },
	[FUSE_UNLINK] = { op_unlink, .flags = 1 | CHANGES },
	[FUSE_RMDIR] = { op_rmdir, .flags = 1 | CHANGES },
	[FUSE_RENAME] = { op_rename, IN(rename_in), .flags = 2 | CHANGES },
	[FUSE_LINK] = { op_link, IN(link_in), OUT(entry_out), .flags = 1 | CHANGES },
	[FUSE_OPEN] = { op_open, IN(open_in), OUT(open_out) },
	[FUSE_READ] = { op_read, IN(read_in) },
	[FUSE_WRITE] = { op_write, IN(write_in), OUT(write_out), .flags = DATA | CHANGES },
	[FUSE_STATFS] = { op_statfs, OUT(statfs_out) },
	[FUSE_RELEASE] = { op_release, IN(release_in) },
	[FUSE_FSYNC] = { op_fsync, IN(fsync_in) },
	[FUSE_SETXATTR] = { op_setxattr, .in_bytes = FUSE_COMPAT_SETXATTR_IN_SIZE,
			    .flags = 1 | REST | CHANGES },
	[FUSE_GETXATTR] = { op_getxattr, IN(getxattr_in), .flags = 1 },
	[FUSE_LISTXATTR] = { op_listxattr, IN(getxattr_in) },
	[FUSE_REMOVEXATTR] = { op_removexattr, .flags = 1 | CHANGES },
	[FUSE_FLUSH] = { op_flush, IN(flush_in) },
	[FUSE_INIT] = { op_init, IN(init_in), .in_min = 16, OUT(init_out), .flags = NO_NODE },
	[FUSE_OPENDIR] = { op_opendir, IN(open_in), OUT(open_out) },
	[FUSE_READDIR] = { op_readdir, IN(read_in) },
	[FUSE_RELEASEDIR] = { op_release, IN(release_in) },
	[FUSE_FSYNCDIR] = { op_fsync, IN(fsync_in) },
	[FUSE_GETLK] = { op_getlk, IN(lk_in), OUT(lk_out) },
	[FUSE_SETLK] = { op_setlk, IN(lk_in) },
	[FUSE_SETLKW] = { op_setlkw, IN(lk_in) },
	[FUSE_CREATE] = { op_create, IN(create_in), .flags = 1 | CHANGES,
			  .out_bytes = sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out) },
	[FUSE_DESTROY] = { op_destroy, .flags = NO_NODE },
	[FUSE_FALLOCATE] = { op_fallocate, IN(fallocate_in), .flags = CHANGES },
	[FUSE_READDIRPLUS] = { op_readdirplus, IN(read_in) },
	[FUSE_RENAME2] = { op_rename2, IN(rename2_in), .flags = 2 | CHANGES },
	[FUSE_LSEEK] = { op_lseek, IN(lseek_in), OUT(lseek_out) },
	[FUSE_COPY_FILE_RANGE] = { op_copy, IN(copy_file_range_in), OUT(write_out), .flags = CHANGES },
	[FUSE_SETUPMAPPING] = { op_setupmapping, IN(setupmapping_in) },
	[FUSE_REMOVEMAPPING] = { op_removemapping, IN(removemapping_in), .flags = REST },
	[FUSE_SYNCFS] = { op_syncfs, IN(syncfs_in) },
	[FUSE_TMPFILE] = { op_tmpfile, IN(create_in), .flags = ANY_NAME | CHANGES,
			   .out_bytes = sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out) },
#undef IN
#undef OUT
};

/* ---- begin and end ---- */

int op_init(struct call *c)
{
	const struct fuse_init_in *arg = c->arg;
	struct fuse_init_out *out = c->out;
	const uint64_t asked = arg->flags | (uint64_t)arg->flags2 << 32;
	uint64_t wanted = WANTED;

	*out = (struct fuse_init_out){ .major = FUSE_KERNEL_VERSION,
				       .minor = FUSE_KERNEL_MINOR_VERSION };
	if (arg->major > FUSE_KERNEL_VERSION)
		return sizeof(*out); /* it will ask again, with ours */
	if (arg->major < FUSE_KERNEL_VERSION || arg->minor < MINOR_MIN)
		return -EPROTO;
	if (c->fuse->keep)
		wanted |= FUSE_CACHE_SYMLINKS;
	if (c->fuse->window)
		wanted |= FUSE_MAP_ALIGNMENT | FUSE_HAS_INODE_DAX;
	/* A guest that has mounted anew knows nothing of what was before. */
	fuse_reset(c->fuse);
	out->max_readahead = arg->max_readahead;
	out->flags = (uint32_t)(asked & wanted);
	out->flags2 = arg->flags & FUSE_INIT_EXT ? (uint32_t)((asked & wanted) >> 32) : 0;
	out->max_background = BACKGROUND;
	out->congestion_threshold = BACKGROUND * 3 / 4;
	out->max_write = FUSE_MAX_IO;
	out->max_pages = FUSE_MAX_IO / 4096;
	out->map_alignment = c->fuse->window ? WINDOW_SHIFT : 0;
	out->time_gran = 1;
	atomic_store(&c->fuse->use_dax, out->flags & FUSE_MAP_ALIGNMENT);
	atomic_store(&c->fuse->tell_dax, out->flags2 & (uint32_t)(FUSE_HAS_INODE_DAX >> 32));
	atomic_store(&c->fuse->ready, true);
	return sizeof(*out);
}

int op_destroy(struct call *c)
{
	fuse_reset(c->fuse);
	return 0;
}

void fuse_reset(struct fuse *f)
{
	atomic_store(&f->ready, false);
	if (f->window)
		window_clear(f->window);
	locks_drop_all(&f->locks);
	handle_close_all(f);
	tree_forget_all(f->tree);
}

bool fuse_is_mounted(const struct fuse *f)
{
	return atomic_load(&f->ready);
}

/* ---- as one of many servers ---- */

static struct fuse *fuse_of(struct file_server *s)
{
	return container_of(s, struct fuse, server);
}

static bool server_quick(struct file_server *s, struct file_request *req)
{
	return fuse_quick(fuse_of(s), req);
}

static void server_serve(struct file_server *s, struct file_worker *w, struct file_request *req)
{
	fuse_serve(fuse_of(s), w, req);
}

static enum file_chores server_has_chores(struct file_server *s)
{
	return fuse_has_chores(fuse_of(s));
}

static void server_chores(struct file_server *s)
{
	fuse_chores(fuse_of(s));
}

static void server_cancel(struct file_server *s, bool (*match)(const struct file_request *req, void *arg),
			  void *arg)
{
	locks_cancel_requests(&fuse_of(s)->locks, match, arg);
}

static void server_reset(struct file_server *s)
{
	fuse_reset(fuse_of(s));
}

static void server_free(struct file_server *s)
{
	fuse_free(fuse_of(s));
}

static const struct file_server_ops server_ops = {
	.quick = server_quick,
	.serve = server_serve,
	.has_chores = server_has_chores,
	.chores = server_chores,
	.cancel = server_cancel,
	.reset = server_reset,
	.free = server_free,
};

struct file_server *fuse_server(struct fuse *f)
{
	return f ? &f->server : NULL;
}

/* ---- making one ---- */

static int open_folder(struct fuse *f, const struct fs_config *cfg)
{
	int err = folder_open(cfg, &f->locks, &f->root_dev);

	f->tree = f->locks.tree;
	if (err || !cfg->window_bytes)
		return err;
	err = window_new(cfg->window_bytes, &f->window);
	return err ? log_err(err, "memory for the files of '%s', %llu bytes", cfg->path,
			     (unsigned long long)cfg->window_bytes) : 0;
}

int fuse_new(const struct fs_config *cfg, struct fuse **ret)
{
	struct fuse *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return log_err(-ENOMEM, "folder '%s'", cfg->path);
	f->server.ops = &server_ops;
	pthread_mutex_init(&f->lock, NULL);
	f->cache = cfg->cache;
	f->keep = cfg->cache == FS_CACHE_ALWAYS || (cfg->cache == FS_CACHE_AUTO && cfg->read_only);
	f->valid_s = f->keep ? LONG_S : cfg->cache == FS_CACHE_AUTO;
	f->one_mount = cfg->one_mount;
	err = open_folder(f, cfg);
	if (err) {
		fuse_free(f);
		return err;
	}
	*ret = f;
	return 0;
}

void fuse_free(struct fuse *f)
{
	if (!f)
		return;
	if (f->tree)
		fuse_reset(f);
	tree_close(f->tree);
	window_free(f->window);
	free(f->handles);
	pthread_mutex_destroy(&f->lock);
	locks_fini(&f->locks);
	free(f);
}

/* ---- a request ---- */

/* The fixed part, as many names as there should be, each with its NUL, and nothing behind that. */
static int split_body(struct call *c, const struct op *op, size_t fixed, size_t body)
{
	const char *at = (const char *)c->w->body + fixed;
	size_t left = body - fixed;

	for (unsigned i = 0; i < (op->flags & NAMES); i++) {
		const char *end = memchr(at, '\0', left);

		if (!end)
			return -EINVAL;
		c->name[i] = at;
		left -= (size_t)(end + 1 - at);
		at = end + 1;
	}
	c->rest = (const uint8_t *)at;
	c->rest_bytes = left;
	return left && !(op->flags & (REST | ANY_NAME)) ? -EINVAL : 0;
}

static int fetch_body(struct call *c, const struct op *op)
{
	size_t body = c->in.len - IN_BYTES, fixed = op->in_bytes;

	if (body < (op->in_min ? op->in_min : fixed))
		return -EINVAL;
	if (op->flags & DATA) {
		c->data_bytes = body - fixed;
		body = fixed;
	}
	if (body > FILE_BODY_MAX)
		return -E2BIG;
	iov_read(c->req->out, c->req->n_out, IN_BYTES, c->w->body, body);
	if (body < fixed) {
		memset(c->w->body + body, 0, fixed - body);
		body = fixed;
	}
	c->arg = c->w->body;
	return split_body(c, op, fixed, body);
}

static int serve_node(struct call *c, const struct op *op)
{
	int ret;

	if (op->flags & CHANGES && tree_is_read_only(c->tree))
		return -EROFS;
	ret = node_get(c->tree, c->in.nodeid, &c->node);
	if (ret)
		return ret;
	ret = op->serve(c);
	node_put(c->tree, c->node);
	return ret;
}

static int serve(struct call *c)
{
	size_t room = iov_bytes(c->req->in, c->req->n_in);
	const struct op *op = c->in.opcode < ARRAY_SIZE(ops) ? &ops[c->in.opcode] : NULL;
	int err;

	if (!op || !op->serve)
		return -ENOSYS;
	if (!atomic_load(&c->fuse->ready) && c->in.opcode != FUSE_INIT)
		return -EPROTO;
	c->out = c->w->out;
	c->wide_room = room < OUT_BYTES ? 0 : room - OUT_BYTES;
	c->room = c->wide_room < FILE_OUT_MAX ? (size_t)c->wide_room : FILE_OUT_MAX;
	if (room < OUT_BYTES || c->room < op->out_bytes)
		return -EINVAL;
	err = fetch_body(c, op);
	if (err)
		return err;
	return op->flags & NO_NODE ? op->serve(c) : serve_node(c, op);
}

/* Return: is there a header, and as much behind it as it says? */
static bool fetch_header(const struct file_request *req, struct fuse_in_header *ret)
{
	return iov_read(req->out, req->n_out, 0, ret, IN_BYTES) == IN_BYTES &&
	       ret->len >= IN_BYTES && ret->len <= iov_bytes(req->out, req->n_out);
}

/* Nobody expects a reply. Requests that do not wait for a lock end by themselves. */
static void interrupt(struct call *c)
{
	uint64_t unique;

	if (c->in.len >= IN_BYTES + sizeof(unique)) {
		iov_read(c->req->out, c->req->n_out, IN_BYTES, &unique, sizeof(unique));
		fuse_interrupt(c->fuse, unique);
	}
	c->req->done(c->req, 0);
}

void fuse_serve(struct fuse *f, struct file_worker *w, struct file_request *req)
{
	struct call c = { .fuse = f, .tree = f->tree, .w = w, .req = req };
	int ret;

	if (!fetch_header(req, &c.in)) {
		fuse_reply(req, 0, -EINVAL, NULL);
		return;
	}
	if (c.in.opcode == FUSE_INTERRUPT) {
		interrupt(&c);
		return;
	}
	if (handle_has_left(f))
		handle_close_left(f);
	ret = serve(&c);
	if (tree_has_dead(f->tree))
		tree_reap(f->tree);
	if (ret == LATER)
		return;
	if (ret >= IN_PLACE)
		fuse_reply(req, c.in.unique, ret - IN_PLACE, NULL);
	else
		fuse_reply(req, c.in.unique, ret, c.out);
}

/* ---- quickly: what nobody waits for ---- */

static void batch_forget(struct fuse *f, const struct file_request *req, const struct fuse_in_header *in)
{
	struct fuse_batch_forget_in arg;
	struct fuse_forget_one one;
	uint64_t at = IN_BYTES + sizeof(arg);

	if (in->len < at)
		return;
	iov_read(req->out, req->n_out, IN_BYTES, &arg, sizeof(arg));
	for (; arg.count && in->len - at >= sizeof(one); arg.count--, at += sizeof(one)) {
		iov_read(req->out, req->n_out, at, &one, sizeof(one));
		tree_forget(f->tree, one.nodeid, one.nlookup);
	}
}

/* Not of a file that somebody may wait to lock: he may ask for that next. Return: false: it is for serve() */
static bool release(struct fuse *f, struct file_request *req, const struct fuse_in_header *in)
{
	struct fuse_release_in arg;

	if (in->len != IN_BYTES + sizeof(arg) || !atomic_load(&f->ready))
		return false;
	iov_read(req->out, req->n_out, IN_BYTES, &arg, sizeof(arg));
	if ((arg.release_flags & FUSE_RELEASE_FLOCK_UNLOCK && !handle_is_lost(f, arg.fh)) ||
	    !handle_leave(f, arg.fh, in->nodeid))
		return false;
	fuse_reply(req, in->unique, 0, NULL);
	return true;
}

bool fuse_quick(struct fuse *f, struct file_request *req)
{
	struct fuse_in_header in;
	uint64_t arg;

	if (!fetch_header(req, &in))
		return false;
	if (in.opcode == FUSE_RELEASE || in.opcode == FUSE_RELEASEDIR)
		return release(f, req, &in);
	if (in.opcode != FUSE_FORGET && in.opcode != FUSE_BATCH_FORGET)
		return false;
	if (in.opcode == FUSE_BATCH_FORGET) {
		batch_forget(f, req, &in);
	} else if (in.len >= IN_BYTES + sizeof(arg)) {
		iov_read(req->out, req->n_out, IN_BYTES, &arg, sizeof(arg));
		tree_forget(f->tree, in.nodeid, arg);
	}
	req->done(req, 0);
	return true;
}

enum file_chores fuse_has_chores(struct fuse *f)
{
	const enum file_chores chores =
		handle_has_left(f) ? FILE_CHORES_NOW : folder_has_chores(&f->locks);

	if (chores != FILE_CHORES_NONE)
		return chores;
	return f->window && window_mapped(f->window) ? FILE_CHORES_LATER : FILE_CHORES_NONE;
}

void fuse_chores(struct fuse *f)
{
	handle_close_left(f);
	folder_chores(&f->locks);
	fuse_look(f);
}

struct fuse_counts fuse_count(struct fuse *f)
{
	struct tree_counts tree = tree_count(f->tree);
	struct fuse_counts ret = { .nodes = tree.nodes, .fds = tree.fds };

	pthread_mutex_lock(&f->lock);
	ret.handles = f->n_handles;
	pthread_mutex_unlock(&f->lock);
	ret.waiters = locks_waiting(&f->locks);
	ret.mapped = f->window ? window_mapped(f->window) : 0;
	return ret;
}
