/*
 * FUSE: locks. POSIX's are those of locks.c; flock() belongs to the open file, here as there. The
 * guest interrupts a request by its number.
 */
#include <errno.h>
#include <sys/file.h>

#include "fuse-internal.h"
#include "lkvm/types.h"

struct fuse_waiter {
	struct lock_waiter w;
	struct fuse *fuse;
	uint64_t unique;
	struct fuse_lk_in arg;
};

static int to_host(const struct fuse_file_lock *lk, struct flock *ret)
{
	if (lk->start > lk->end || lk->end > INT64_MAX ||
	    (lk->type != F_RDLCK && lk->type != F_WRLCK && lk->type != F_UNLCK))
		return -EINVAL;
	*ret = (struct flock){
		.l_type = (short)lk->type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)lk->start,
		.l_len = lk->end == INT64_MAX ? 0 : (off_t)(lk->end - lk->start + 1),
	};
	return 0;
}

static int try_flock(struct fuse *f, struct node *n, const struct fuse_lk_in *arg)
{
	int op = arg->lk.type == F_RDLCK ? LOCK_SH : arg->lk.type == F_WRLCK ? LOCK_EX : LOCK_UN;
	struct fuse_handle *h;
	int err = handle_get(f, arg->fh, n, &h);

	if (err)
		return err;
	h->had_flock = true;
	err = flock(h->fd, op | LOCK_NB) < 0 ? -errno : 0;
	handle_put(f, h);
	return err;
}

static int attempt(struct lock_table *t, const struct lock_waiter *w)
{
	const struct fuse_waiter *fw = container_of((void *)(uintptr_t)w, struct fuse_waiter, w);
	struct flock lock;
	int err;

	if (fw->arg.lk_flags & FUSE_LK_FLOCK)
		return try_flock(fw->fuse, w->node, &fw->arg);
	err = to_host(&fw->arg.lk, &lock);
	return err ? err : locks_try(t, w->node, fw->arg.owner, lock);
}

static void over(struct lock_waiter *w)
{
	fuse_reply(w->req, container_of(w, struct fuse_waiter, w)->unique, w->result, NULL);
}

static bool has_number(const struct lock_waiter *w, void *unique)
{
	return container_of((void *)(uintptr_t)w, struct fuse_waiter, w)->unique == *(uint64_t *)unique;
}

void fuse_interrupt(struct fuse *f, uint64_t unique)
{
	locks_cancel(&f->locks, has_number, &unique);
}

/* ---- operations ---- */

static int setlk(struct call *c, bool waits)
{
	const struct fuse_lk_in *arg = c->arg;
	const struct fuse_waiter asked = {
		.w = { .node = c->node, .req = c->req, .attempt = attempt, .over = over },
		.fuse = c->fuse,
		.unique = c->in.unique,
		.arg = *arg,
	};
	int err = locks_set(&c->fuse->locks, &asked.w, sizeof(asked), waits);

	/* Less than before: unlocked, or one to write became one to read. */
	if (!err && arg->lk.type != F_WRLCK)
		locks_retry(&c->fuse->locks, true);
	return err;
}

int op_setlk(struct call *c)
{
	return setlk(c, false);
}

int op_setlkw(struct call *c)
{
	return setlk(c, true);
}

/* Which lock is in the way? Its process is known on its own machine only. */
int op_getlk(struct call *c)
{
	const struct fuse_lk_in *arg = c->arg;
	struct fuse_lk_out *out = c->out;
	struct fuse_handle *h;
	struct flock lock;
	int err = handle_get(c->fuse, arg->fh, c->node, &h);

	if (!err)
		err = to_host(&arg->lk, &lock);
	if (!err)
		err = locks_look(&c->fuse->locks, c->node, arg->owner, h->fd, &lock);
	if (h)
		handle_put(c->fuse, h);
	if (err)
		return err;
	*out = (struct fuse_lk_out){ .lk = arg->lk };
	out->lk.pid = 0;
	out->lk.type = (uint32_t)lock.l_type;
	if (lock.l_type != F_UNLCK) {
		out->lk.start = (uint64_t)lock.l_start;
		out->lk.end = lock.l_len ? (uint64_t)(lock.l_start + lock.l_len - 1) : INT64_MAX;
	}
	return sizeof(*out);
}
