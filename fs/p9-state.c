/*
 * 9P: a session saved, and gone on with elsewhere; see lkvm/fs.h. What a fid keeps looked up is saved with
 * the tree; it has the numbers of that. Where a folder was being read each request says itself.
 *
 *	9p		msize, and how much there is of the rest
 *	folder-tree, folder-files...	tree-state.c
 *	9p-fids...
 *	9p-xattr...	each value of an extended attribute that is being read or set
 *	folder-locks...	locks-state.c
 */
#include <errno.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/log.h"
#include "lkvm/state.h"
#include "p9-internal.h"

#define FIDS       128
#define TEXT_BYTES 16384
#define OPEN_FLAGS (O_ACCMODE | O_SYNC | O_DSYNC) /* that can be asked of an open file */

enum { CLOSED, OPEN, LOST };

struct session_state {
	uint32_t msize; /* 0: the guest has not begun, and nothing follows */
	uint32_t fids, xattrs, unused;
};

static const struct state_field session_fields[] = {
	STATE_ONE(struct session_state, msize, .max = P9_MSIZE_MAX),
	STATE_ONE(struct session_state, fids, .max = P9_FIDS),
	STATE_ONE(struct session_state, xattrs, .max = P9_XATTRS),
	STATE_ONE(struct session_state, unused, .max = 1),
};

static const char *session_check(const void *state)
{
	const struct session_state *st = state;

	return st->msize ? st->msize < P9_MSIZE_MIN ? "msize" : NULL : st->fids || st->xattrs ? "fids" : NULL;
}

const struct state_type p9_session_type = {
	STATE_TYPE("9p", 1, struct session_state, session_fields),
	.check = session_check,
};

struct fids_state {
	uint32_t n, text_n;
	uint64_t node[FIDS], dir[FIDS]; /* dir 0: it has no name */
	uint32_t number[FIDS], uid[FIDS], flags[FIDS];
	uint8_t open[FIDS], name_n[FIDS];
	uint8_t text[TEXT_BYTES];
};

static const struct state_field fids_fields[] = {
	STATE_ONE(struct fids_state, n, .max = FIDS),
	STATE_ONE(struct fids_state, text_n, .max = TEXT_BYTES),
	STATE_SOME(struct fids_state, node, n),
	STATE_SOME(struct fids_state, dir, n),
	STATE_SOME(struct fids_state, number, n, .max = P9_NOFID - 1),
	STATE_SOME(struct fids_state, uid, n),
	STATE_SOME(struct fids_state, flags, n, .bits = OPEN_FLAGS),
	STATE_SOME(struct fids_state, open, n, .max = LOST),
	STATE_SOME(struct fids_state, name_n, n),
	STATE_SOME(struct fids_state, text, text_n),
};

/* @ret: NAME_MAX + 1 bytes */
static bool take_name(const struct fids_state *st, unsigned i, size_t at, char *ret)
{
	if (st->name_n[i] > st->text_n - at)
		return false;
	memcpy(ret, st->text + at, st->name_n[i]);
	ret[st->name_n[i]] = '\0';
	return st->dir[i] ? strlen(ret) == st->name_n[i] && tree_name_ok(ret) : !st->name_n[i];
}

static const char *fids_check(const void *state)
{
	const struct fids_state *st = state;
	char name[NAME_MAX + 1];
	size_t at = 0;

	for (unsigned i = 0; i < st->n; i++) {
		if ((st->flags[i] & O_ACCMODE) == O_ACCMODE)
			return "flags";
		if (!take_name(st, i, at, name))
			return "text";
		at += st->name_n[i];
	}
	return at == st->text_n && st->n ? NULL : "text_n";
}

const struct state_type p9_fids_type = {
	STATE_TYPE("9p-fids", 1, struct fids_state, fids_fields),
	.check = fids_check,
};

struct xattr_state {
	uint32_t fid, flags, written;
	uint32_t name_n; /* 0: it is only read */
	uint32_t value_n, unused;
	uint8_t name[XATTR_NAME_MAX + 1];
	uint8_t value[P9_XATTR_MAX];
};

static const struct state_field xattr_fields[] = {
	STATE_ONE(struct xattr_state, fid),
	STATE_ONE(struct xattr_state, flags, .max = 3),
	STATE_ONE(struct xattr_state, written, .max = P9_XATTR_MAX),
	STATE_ONE(struct xattr_state, name_n, .max = XATTR_NAME_MAX),
	STATE_ONE(struct xattr_state, value_n, .max = P9_XATTR_MAX),
	STATE_ONE(struct xattr_state, unused, .max = 1),
	STATE_SOME(struct xattr_state, name, name_n),
	STATE_SOME(struct xattr_state, value, value_n),
};

static const char *xattr_check(const void *state)
{
	const struct xattr_state *st = state;

	if (memchr(st->name, 0, st->name_n))
		return "name";
	return st->written > st->value_n ? "written" : NULL;
}

const struct state_type p9_xattr_type = {
	STATE_TYPE("9p-xattr", 1, struct xattr_state, xattr_fields),
	.check = xattr_check,
};

/* ---- save ---- */

static void note(const struct p9_fid *fid, struct fids_state *st)
{
	const unsigned i = st->n++;

	st->number[i] = fid->number;
	st->uid[i] = fid->uid;
	st->node[i] = fid->node;
	st->dir[i] = fid->dir;
	if (fid->dir) {
		st->name_n[i] = (uint8_t)strlen(fid->name);
		memcpy(st->text + st->text_n, fid->name, st->name_n[i]);
		st->text_n += st->name_n[i];
	}
	st->open[i] = fid->fd >= 0 ? OPEN : fid->lost_flags ? LOST : CLOSED;
	if (st->open[i])
		st->flags[i] = (fid->fd >= 0 ? (uint32_t)fcntl(fid->fd, F_GETFL) : fid->lost_flags) & OPEN_FLAGS;
}

static int save_fids(const struct p9 *p9, struct state_buf *buf)
{
	struct fids_state *st = calloc(1, sizeof(*st));
	int err = st ? 0 : -ENOMEM;

	for (unsigned i = 0; !err && i < P9_BUCKETS; i++)
		for (const struct p9_fid *fid = p9->fids[i]; !err && fid; fid = fid->next) {
			note(fid, st);
			if (st->n < FIDS && st->text_n + NAME_MAX <= TEXT_BYTES)
				continue;
			err = state_pack(buf, &p9_fids_type, st);
			memset(st, 0, sizeof(*st));
		}
	if (!err && st->n)
		err = state_pack(buf, &p9_fids_type, st);
	free(st);
	return err;
}

static int save_xattr(const struct p9_fid *fid, struct xattr_state *st, struct state_buf *buf)
{
	const struct p9_xattr *x = fid->xattr;

	memset(st, 0, sizeof(*st));
	st->fid = fid->number;
	st->flags = (uint32_t)x->flags;
	st->written = x->written;
	if (x->name) {
		st->name_n = (uint32_t)strlen(x->name);
		memcpy(st->name, x->name, st->name_n);
	}
	st->value_n = x->bytes;
	memcpy(st->value, x->value, x->bytes);
	return state_pack(buf, &p9_xattr_type, st);
}

static int save_xattrs(const struct p9 *p9, struct state_buf *buf)
{
	struct xattr_state *st = calloc(1, sizeof(*st));
	int err = st ? 0 : -ENOMEM;

	for (unsigned i = 0; !err && p9->n_xattrs && i < P9_BUCKETS; i++)
		for (const struct p9_fid *fid = p9->fids[i]; !err && fid; fid = fid->next)
			if (fid->xattr)
				err = save_xattr(fid, st, buf);
	free(st);
	return err;
}

int p9_save(struct p9 *p9, struct state_buf *buf)
{
	struct session_state st = { .msize = atomic_load(&p9->msize) };
	int err;

	if (locks_waiting(&p9->locks))
		return -EBUSY;
	tree_reap(p9->tree);
	if (st.msize) {
		st.fids = p9->n_fids;
		st.xattrs = p9->n_xattrs;
	}
	err = state_pack(buf, &p9_session_type, &st);
	if (err || !st.msize)
		return err;
	err = tree_save(p9->tree, buf);
	if (!err)
		err = save_fids(p9, buf);
	if (!err)
		err = save_xattrs(p9, buf);
	return err ? err : locks_save(&p9->locks, buf);
}

/* ---- load ---- */

/* Open as it was, or lost. Return: is it lost now? */
static bool open_again(struct p9 *p9, struct p9_fid *fid, const struct fids_state *st, unsigned i)
{
	const bool writes = (st->flags[i] & O_ACCMODE) != O_RDONLY;
	struct node *n;
	int fd = -1;

	fid->lost_flags = st->flags[i] | P9_LOST;
	if (st->open[i] == LOST || node_get(p9->tree, fid->node, &n))
		return st->open[i] != LOST;
	if (!tree_fd_take(p9->tree)) {
		fd = tree_open_node(p9->tree, n, (int)st->flags[i]);
		if (fd < 0)
			tree_fd_give(p9->tree);
	}
	if (fd >= 0) {
		fid->lost_flags = 0;
		fid_opened(p9, fid, fd, n, writes);
	}
	node_put(p9->tree, n);
	return fd < 0;
}

/* Its nodes are looked up for it already. */
static int load_fid(struct p9 *p9, const struct fids_state *st, unsigned i, const char *name, unsigned *lost)
{
	struct p9_fid *fid;

	if (tree_remember(p9->tree, st->node[i]))
		return -EINVAL;
	tree_forget(p9->tree, st->node[i], 1);
	fid = fid_new(p9, st->uid[i], st->node[i]);
	if (!fid)
		return -ENOMEM;
	if (st->dir[i]) {
		fid->name = strdup(name);
		if (!fid->name) {
			fid_free(p9, fid);
			return -ENOMEM;
		}
		fid->dir = st->dir[i];
	}
	if (st->open[i] != CLOSED)
		*lost += open_again(p9, fid, st, i);
	return fid_add(p9, fid, st->number[i]) ? -EINVAL : 0;
}

static int load_some(struct p9 *p9, const struct fids_state *st, unsigned *lost)
{
	char name[NAME_MAX + 1];
	size_t at = 0;
	int err = 0;

	for (unsigned i = 0; !err && i < st->n; i++) {
		err = take_name(st, i, at, name) ? load_fid(p9, st, i, name, lost) : -EINVAL;
		at += st->name_n[i];
	}
	return err;
}

static int load_fids(struct p9 *p9, struct state_reader *in, uint32_t n, unsigned *lost)
{
	struct fids_state *st = calloc(1, sizeof(*st));
	int err = st ? 0 : -ENOMEM;

	while (!err && n) {
		err = state_unpack(in, &p9_fids_type, st);
		if (!err && st->n > n)
			err = state_refuse(in, -ERANGE, "9p-fids: more than there are");
		if (err)
			break;
		n -= st->n;
		err = load_some(p9, st, lost);
		if (err)
			state_refuse(in, err, "9p-fids: %s", err == -EINVAL ? "a fid is given twice, or of no file" :
									      strerror(-err));
	}
	free(st);
	return err;
}

static int load_xattr(struct p9 *p9, const struct xattr_state *st)
{
	struct p9_fid *fid = fid_get(p9, st->fid);
	struct p9_xattr *x;
	int err = fid && fid->fd < 0 && !fid->xattr ? 0 : -EINVAL;

	x = err ? NULL : xattr_new(p9, st->value_n);
	if (!err && !x)
		err = -ENOMEM;
	if (!err) {
		x->flags = (int)st->flags;
		x->written = st->written;
		memcpy(x->value, st->value, st->value_n);
		if (st->name_n)
			x->name = strndup((const char *)st->name, st->name_n);
		fid->xattr = x;
		if (st->name_n && !x->name)
			err = -ENOMEM;
	}
	if (fid)
		fid_put(p9, fid);
	return err;
}

static int load_xattrs(struct p9 *p9, struct state_reader *in, uint32_t n)
{
	struct xattr_state *st = calloc(1, sizeof(*st));
	int err = st ? 0 : -ENOMEM;

	for (; !err && n; n--) {
		err = state_unpack(in, &p9_xattr_type, st);
		if (err)
			break;
		err = load_xattr(p9, st);
		if (err)
			state_refuse(in, err, "9p-xattr: %s", err == -EINVAL ? "it is of no fid" : strerror(-err));
	}
	free(st);
	return err;
}

static int load_rest(struct p9 *p9, struct state_reader *in, const struct session_state *st)
{
	unsigned files = 0, locks = 0;
	int err = tree_load(p9->tree, in);

	if (!err)
		err = load_fids(p9, in, st->fids, &files);
	if (!err)
		err = load_xattrs(p9, in, st->xattrs);
	if (!err)
		err = locks_load(&p9->locks, in, &locks);
	tree_settle(p9->tree);
	if (!err)
		folder_lost(p9->tree, files, locks);
	return err;
}

int p9_load(struct p9 *p9, struct state_reader *in)
{
	struct session_state st;
	int err;

	p9_reset(p9);
	err = state_unpack(in, &p9_session_type, &st);
	if (err || !st.msize)
		return err;
	err = load_rest(p9, in, &st);
	if (err)
		p9_reset(p9);
	else
		atomic_store(&p9->msize, st.msize);
	return err;
}
