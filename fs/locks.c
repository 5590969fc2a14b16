/*
 * Locks of a file server's guest, which are the host's, so that the host's programs and other guests
 * see them. See server.h.
 *
 * A POSIX lock belongs to a process of the guest and a file: each such pair has a descriptor of its
 * own, and with it an open file description that is the owner here (F_OFD_SETLK).
 *
 * Who has to wait does so without a thread: he is written down, and it is tried again whenever a lock
 * goes away here, and every few milliseconds, for those of others. The host finds no deadlocks so:
 * there is no EDEADLK.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "locks-internal.h"

void locks_init(struct lock_table *t)
{
	pthread_mutex_init(&t->lock, NULL);
}

void locks_fini(struct lock_table *t)
{
	pthread_mutex_destroy(&t->lock);
}

unsigned locks_waiting(const struct lock_table *t)
{
	return atomic_load(&t->n_waiters);
}

/* ---- owners, with the lock held ---- */

static struct lock_owner **find_owner(struct lock_table *t, const struct node *n, uint64_t owner)
{
	struct lock_owner **at = &t->owners;

	while (*at && ((*at)->node != n || (*at)->owner != owner))
		at = &(*at)->next;
	return at;
}

static void owner_free(struct lock_table *t, struct lock_owner *o)
{
	atomic_fetch_sub(&t->n_owners, 1);
	close(o->fd);
	tree_fd_give(t->tree);
	node_put(t->tree, o->node);
	free(o);
}

static int owner_new(struct lock_table *t, struct node *n, uint64_t owner, struct lock_owner **ret)
{
	struct lock_owner *o;
	int err = tree_fd_take(t->tree), fd;

	if (err)
		return err;
	fd = tree_open_node(t->tree, n, O_RDWR);
	if (fd < 0)
		fd = tree_open_node(t->tree, n, O_RDONLY);
	o = fd < 0 ? NULL : calloc(1, sizeof(*o));
	if (!o) {
		tree_fd_give(t->tree);
		if (fd < 0)
			return fd;
		close(fd);
		return -ENOLCK;
	}
	*o = (struct lock_owner){ t->owners, n, owner, fd };
	node_again(t->tree, n);
	t->owners = o;
	atomic_fetch_add(&t->n_owners, 1);
	*ret = o;
	return 0;
}

int locks_try(struct lock_table *t, struct node *n, uint64_t owner, struct flock lock)
{
	struct lock_owner *o = *find_owner(t, n, owner);
	int err = 0;

	if (!o && lock.l_type == F_UNLCK)
		return 0;
	if (!o)
		err = owner_new(t, n, owner, &o);
	if (err)
		return err;
	if (fcntl(o->fd, F_OFD_SETLK, &lock) < 0)
		return errno == EACCES ? -EAGAIN : -errno;
	return 0;
}

int locks_look(struct lock_table *t, const struct node *n, uint64_t owner, int fd, struct flock *lock)
{
	struct lock_owner *o;
	int err;

	pthread_mutex_lock(&t->lock);
	o = *find_owner(t, n, owner);
	err = fcntl(o ? o->fd : fd, F_OFD_GETLK, lock) < 0 ? -errno : 0;
	pthread_mutex_unlock(&t->lock);
	return err;
}

/* ---- those who wait ---- */

static void end_waiters(struct lock_table *t, struct lock_waiter *over)
{
	struct lock_waiter *next;

	for (; over; over = next) {
		next = over->next;
		node_put(t->tree, over->node);
		over->over(over);
		free(over);
	}
}

/* With the lock, which it gives back: for whom @judge has no -EAGAIN, he waits no longer. */
static void judge_waiters(struct lock_table *t,
			  int (*judge)(struct lock_table *t, struct lock_waiter *w, void *arg), void *arg)
{
	struct lock_waiter *over = NULL, **at, **last = &over;

	for (at = &t->waiters; *at;) {
		struct lock_waiter *w = *at;

		w->result = judge(t, w, arg);
		if (w->result == -EAGAIN) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		w->next = NULL;
		*last = w;
		last = &w->next;
		atomic_fetch_sub(&t->n_waiters, 1);
	}
	pthread_mutex_unlock(&t->lock);
	end_waiters(t, over);
}

static int try_again(struct lock_table *t, struct lock_waiter *w, void *arg)
{
	(void)arg;
	return w->attempt(t, w);
}

void locks_retry(struct lock_table *t, bool patient)
{
	if (!atomic_load(&t->n_waiters))
		return;
	if (patient)
		pthread_mutex_lock(&t->lock);
	else if (pthread_mutex_trylock(&t->lock))
		return;
	judge_waiters(t, try_again, NULL);
}

struct match {
	bool (*match)(const struct lock_waiter *w, void *arg);
	void *arg;
};

static int cancelled(struct lock_table *t, struct lock_waiter *w, void *arg)
{
	const struct match *m = arg;

	(void)t;
	return !m->match || m->match(w, m->arg) ? -EINTR : -EAGAIN;
}

void locks_cancel(struct lock_table *t, bool (*match)(const struct lock_waiter *w, void *arg), void *arg)
{
	struct match m = { match, arg };

	pthread_mutex_lock(&t->lock);
	judge_waiters(t, cancelled, &m);
}

struct match_request {
	bool (*match)(const struct file_request *req, void *arg);
	void *arg;
};

static bool has_request(const struct lock_waiter *w, void *arg)
{
	const struct match_request *m = arg;

	return m->match(w->req, m->arg);
}

void locks_cancel_requests(struct lock_table *t, bool (*match)(const struct file_request *req, void *arg),
			   void *arg)
{
	struct match_request m = { match, arg };

	locks_cancel(t, match ? has_request : NULL, &m);
}

/* With the lock held */
static int wait_for(struct lock_table *t, const struct lock_waiter *asked, size_t bytes)
{
	struct lock_waiter *w = atomic_load(&t->n_waiters) < LOCK_WAITERS ? malloc(bytes) : NULL;

	if (!w)
		return -ENOLCK;
	memcpy(w, asked, bytes);
	node_again(t->tree, w->node);
	w->next = t->waiters;
	t->waiters = w;
	atomic_fetch_add(&t->n_waiters, 1);
	return LATER;
}

int locks_set(struct lock_table *t, const struct lock_waiter *w, size_t bytes, bool waits)
{
	int err;

	pthread_mutex_lock(&t->lock);
	err = w->attempt(t, w);
	if (err == -EAGAIN && waits)
		err = wait_for(t, w, bytes);
	pthread_mutex_unlock(&t->lock);
	return err;
}

/* ---- the end of locks ---- */

void locks_drop(struct lock_table *t, uint64_t node, uint64_t owner)
{
	struct lock_owner *o;

	if (!atomic_load(&t->n_owners))
		return;
	pthread_mutex_lock(&t->lock);
	for (o = t->owners; o && (node_id(o->node) != node || o->owner != owner); o = o->next)
		;
	if (o)
		*find_owner(t, o->node, owner) = o->next;
	pthread_mutex_unlock(&t->lock);
	if (!o)
		return;
	owner_free(t, o);
	locks_retry(t, true);
}

void locks_drop_all(struct lock_table *t)
{
	struct lock_owner *o;

	locks_cancel(t, NULL, NULL);
	do {
		pthread_mutex_lock(&t->lock);
		o = t->owners;
		if (o)
			t->owners = o->next;
		pthread_mutex_unlock(&t->lock);
		if (o)
			owner_free(t, o);
	} while (o);
}
