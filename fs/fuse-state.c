/*
 * FUSE: a session saved, and gone on with elsewhere; see lkvm/fs.h. Of a folder that is being read nothing
 * is kept but that it is open: each request says from where on, by the host's own offsets.
 *
 *	fuse		what INIT has settled, and how much there is of the rest
 *	folder-tree, folder-files...	tree-state.c
 *	fuse-handles...	what is open
 *	folder-locks...	locks-state.c
 *	folder-window...	window-state.c, if there is one
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "fuse-internal.h"
#include "lkvm/log.h"
#include "lkvm/state.h"

#define HANDLES    256
#define OPEN_FLAGS (O_ACCMODE | O_SYNC | O_DSYNC) /* that can be asked of an open file */

struct session_state {
	uint32_t mounted; /* from INIT to DESTROY; if not, nothing follows */
	uint32_t handles;
	uint16_t use_dax, tell_dax;
	uint32_t has_window;
};

static const struct state_field session_fields[] = {
	STATE_ONE(struct session_state, mounted, .max = 1),
	STATE_ONE(struct session_state, handles, .max = FUSE_MOST_HANDLES),
	STATE_ONE(struct session_state, use_dax, .max = 1),
	STATE_ONE(struct session_state, tell_dax, .max = 1),
	STATE_ONE(struct session_state, has_window, .max = 1),
};

static const char *session_check(const void *state)
{
	const struct session_state *st = state;

	return !st->mounted && (st->handles || st->use_dax || st->tell_dax || st->has_window) ? "mounted" : NULL;
}

const struct state_type fuse_session_type = {
	STATE_TYPE("fuse", 1, struct session_state, session_fields),
	.check = session_check,
};

struct handles_state {
	uint32_t n, unused;
	uint64_t node[HANDLES];
	uint32_t number[HANDLES], flags[HANDLES];
	uint8_t lost[HANDLES];  /* it is -ESTALE already */
	uint8_t flock[HANDLES]; /* LOCK_SH, LOCK_EX; 0: it has none */
};

static const struct state_field handles_fields[] = {
	STATE_ONE(struct handles_state, n, .max = HANDLES),
	STATE_ONE(struct handles_state, unused, .max = 1),
	STATE_SOME(struct handles_state, node, n),
	STATE_SOME(struct handles_state, number, n, .max = FUSE_MOST_HANDLES - 1),
	STATE_SOME(struct handles_state, flags, n, .bits = OPEN_FLAGS),
	STATE_SOME(struct handles_state, lost, n, .max = 1),
	STATE_SOME(struct handles_state, flock, n, .bits = LOCK_SH | LOCK_EX),
};

static const char *handles_check(const void *state)
{
	const struct handles_state *st = state;

	if (!st->n)
		return "n";
	for (unsigned i = 0; i < st->n; i++) {
		if ((st->flags[i] & O_ACCMODE) == O_ACCMODE)
			return "flags";
		if (st->flock[i] == (LOCK_SH | LOCK_EX))
			return "flock";
	}
	return NULL;
}

const struct state_type fuse_handles_type = {
	STATE_TYPE("fuse-handles", 1, struct handles_state, handles_fields),
	.check = handles_check,
};

/* ---- save ---- */

static int note_flock(void *arg, const struct fd_lock *lock)
{
	if (lock->whole)
		*(uint8_t *)arg = lock->write ? LOCK_EX : LOCK_SH;
	return 0;
}

static int note(const struct fuse_handle *h, uint32_t number, struct handles_state *st)
{
	const unsigned i = st->n++;

	st->number[i] = number;
	st->node[i] = node_id(h->node);
	st->lost[i] = h->fd < 0;
	st->flags[i] = h->fd < 0 ? h->lost_flags : (uint32_t)fcntl(h->fd, F_GETFL) & OPEN_FLAGS;
	return h->fd >= 0 && h->had_flock ? fd_locks(h->fd, note_flock, &st->flock[i]) : 0;
}

static int save_handles(const struct fuse *f, struct state_buf *buf)
{
	struct handles_state *st = calloc(1, sizeof(*st));
	int err = st ? 0 : -ENOMEM;

	for (unsigned i = 0; !err && i < f->cap_handles; i++) {
		if (f->handles[i])
			err = note(f->handles[i], i, st);
		if (err || (st->n < HANDLES && (i + 1 < f->cap_handles || !st->n)))
			continue;
		err = state_pack(buf, &fuse_handles_type, st);
		memset(st, 0, sizeof(*st));
	}
	free(st);
	return err;
}

static int save_rest(struct fuse *f, struct state_buf *buf)
{
	int err = tree_save(f->tree, buf);

	if (!err)
		err = save_handles(f, buf);
	if (!err)
		err = locks_save(&f->locks, buf);
	return !err && f->window ? window_save(f->window, buf) : err;
}

int fuse_save(struct fuse *f, struct state_buf *buf)
{
	struct session_state st = { .mounted = fuse_is_mounted(f) };
	int err;

	if (locks_waiting(&f->locks))
		return -EBUSY;
	handle_close_left(f);
	tree_reap(f->tree);
	if (st.mounted) {
		st.handles = f->n_handles;
		st.use_dax = atomic_load(&f->use_dax);
		st.tell_dax = atomic_load(&f->tell_dax);
		st.has_window = f->window != NULL;
	}
	err = state_pack(buf, &fuse_session_type, &st);
	return !err && st.mounted ? save_rest(f, buf) : err;
}

/* ---- load ---- */

/* How much of what the guest had it has no more. */
struct lost {
	unsigned files, locks;
};

/* Return: its descriptor, counted; -1: it is lost */
static int open_again(struct fuse *f, const struct handles_state *st, unsigned i)
{
	struct node *n;
	int fd = -1;

	if (st->lost[i] || node_get(f->tree, st->node[i], &n))
		return -1;
	if (!tree_fd_take(f->tree)) {
		fd = tree_open_node(f->tree, n, (int)st->flags[i]);
		if (fd < 0)
			tree_fd_give(f->tree);
	}
	node_put(f->tree, n);
	return fd < 0 ? -1 : fd;
}

static int load_handle(struct fuse *f, const struct handles_state *st, unsigned i, struct lost *lost)
{
	struct node *n;
	int err = node_hold(f->tree, st->node[i], &n), fd;

	if (err)
		return -EINVAL; /* no such node */
	fd = open_again(f, st, i);
	lost->files += fd < 0 && !st->lost[i];
	if (fd >= 0 && st->flock[i])
		lost->locks += flock(fd, st->flock[i] | LOCK_NB) < 0;
	err = handle_revive(f, st->number[i], n, fd, st->flags[i], st->flock[i]);
	node_put(f->tree, n);
	return err;
}

static int load_handles(struct fuse *f, struct state_reader *in, uint32_t n, struct lost *lost)
{
	struct handles_state *st = calloc(1, sizeof(*st));
	int err = st ? 0 : -ENOMEM;

	while (!err && n) {
		err = state_unpack(in, &fuse_handles_type, st);
		if (!err && st->n > n)
			err = state_refuse(in, -ERANGE, "fuse-handles: more than there are");
		for (unsigned i = 0; !err && i < st->n; i++) {
			err = load_handle(f, st, i, lost);
			if (err)
				state_refuse(in, err, "fuse-handles: %s",
					     err == -EINVAL ? "a number is given twice, or of no file" : strerror(-err));
		}
		n -= st->n;
	}
	free(st);
	return err;
}

static int open_mapped(void *arg, const struct window_file *file)
{
	struct fuse *f = arg;
	struct node *n;
	int fd = -1;

	if (node_get(f->tree, file->node, &n))
		return -1;
	if (node_type(n) == S_IFREG && !tree_fd_take(f->tree)) {
		fd = tree_open_node(f->tree, n, file->writable ? O_RDWR : O_RDONLY);
		if (fd < 0)
			tree_fd_give(f->tree);
	}
	node_put(f->tree, n);
	return fd < 0 ? -1 : fd;
}

static void close_mapped(void *arg, int fd)
{
	close(fd);
	tree_fd_give(((struct fuse *)arg)->tree);
}

static int load_rest(struct fuse *f, struct state_reader *in, const struct session_state *st)
{
	struct lost lost = { 0 };
	int err = tree_load(f->tree, in);

	if (!err)
		err = load_handles(f, in, st->handles, &lost);
	if (!err)
		err = locks_load(&f->locks, in, &lost.locks);
	if (!err && f->window)
		err = window_load(f->window, in, open_mapped, close_mapped, f);
	tree_settle(f->tree);
	if (!err)
		folder_lost(f->tree, lost.files, lost.locks);
	return err;
}

int fuse_load(struct fuse *f, struct state_reader *in)
{
	struct session_state st;
	int err;

	fuse_reset(f);
	err = state_unpack(in, &fuse_session_type, &st);
	if (!err && st.mounted && st.has_window != !!f->window)
		err = state_refuse(in, -ENODEV, "fuse: field 'has_window' is of another folder");
	if (err || !st.mounted)
		return err;
	err = load_rest(f, in, &st);
	if (err) {
		fuse_reset(f);
		return err;
	}
	atomic_store(&f->use_dax, st.use_dax);
	atomic_store(&f->tell_dax, st.tell_dax);
	atomic_store(&f->ready, true);
	return 0;
}
