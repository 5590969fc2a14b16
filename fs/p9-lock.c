/*
 * 9P: locks, which belong to a process of the guest; Linux makes flock() one of these. One that is
 * waited for is answered when it is there: the guest need not ask again.
 */
#include <errno.h>
#include <string.h>

#include "lkvm/types.h"
#include "p9-internal.h"

enum { LOCK_IS_HAD, LOCK_IS_OTHERS }; /* statuses */
enum { FLAG_WAIT = 1 };

struct p9_waiter {
	struct lock_waiter w;
	struct p9 *p9;
	uint64_t owner;
	struct flock lock;
};

static const short types[] = { F_RDLCK, F_WRLCK, F_UNLCK }; /* as the protocol counts them */

static int to_host(uint64_t type, uint64_t start, uint64_t length, struct flock *ret)
{
	if (type >= ARRAY_SIZE(types) || start > INT64_MAX || length > INT64_MAX - start)
		return -EINVAL;
	*ret = (struct flock){
		.l_type = types[type],
		.l_whence = SEEK_SET,
		.l_start = (off_t)start,
		.l_len = (off_t)length,
	};
	return 0;
}

static int attempt(struct lock_table *t, const struct lock_waiter *w)
{
	const struct p9_waiter *pw = container_of((void *)(uintptr_t)w, struct p9_waiter, w);

	/* Taken back before it began to wait? */
	if (p9_is_flushed(pw->p9, w->req))
		return -EINTR;
	return locks_try(t, w->node, pw->owner, pw->lock);
}

static void over(struct lock_waiter *w)
{
	const uint8_t status = LOCK_IS_HAD;

	p9_reply(container_of(w, struct p9_waiter, w)->p9, w->req, P9_TLOCK, w->result, &status, 1, 0);
}

/* type, flags, start, length, process */
int p9_lock(struct p9_call *c)
{
	struct p9_waiter asked = {
		.w = { .node = c->node, .req = c->req, .attempt = attempt, .over = over },
		.p9 = c->p9,
		.owner = c->n[4],
	};
	struct lock_table *t = &c->p9->locks;
	int err = fid_judge_open(c->fid);

	if (!err)
		err = to_host(c->n[0], c->n[2], c->n[3], &asked.lock);
	if (err)
		return err;
	err = locks_set(t, &asked.w, sizeof(asked), c->n[1] & FLAG_WAIT);
	if (err && err != -EAGAIN && err != -ENOLCK)
		return err;
	if (!err && asked.lock.l_type == F_UNLCK && !asked.lock.l_start && !asked.lock.l_len)
		locks_drop(t, c->fid->node, asked.owner);
	/* Less than before: unlocked, or one to write became one to read. */
	if (!err && asked.lock.l_type != F_WRLCK)
		locks_retry(t, true);
	put_int(c, err ? LOCK_IS_OTHERS : LOCK_IS_HAD, 1);
	return 0;
}

/* Which lock is in the way? Its process is known on its own machine only. */
int p9_getlock(struct p9_call *c)
{
	size_t name = strnlen(c->s[0], NAME_MAX);
	struct flock lock;
	int err = to_host(c->n[0], c->n[1], c->n[2], &lock);
	uint8_t type = 0;

	if (c->room < 23 + name)
		return -EMSGSIZE;
	if (!err)
		err = fid_judge_open(c->fid);
	if (!err)
		err = locks_look(&c->p9->locks, c->node, c->n[3], c->fid->fd, &lock);
	if (err)
		return err;
	while (type < ARRAY_SIZE(types) - 1 && types[type] != lock.l_type)
		type++;
	put_int(c, type, 1);
	put_int(c, lock.l_type == F_UNLCK ? c->n[1] : (uint64_t)lock.l_start, 8);
	put_int(c, lock.l_type == F_UNLCK ? c->n[2] : (uint64_t)lock.l_len, 8);
	put_int(c, lock.l_type == F_UNLCK ? c->n[3] : 0, 4);
	put_int(c, name, 2);
	put_bytes(c, c->s[0], name);
	return 0;
}
