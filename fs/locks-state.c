/*
 * Locks saved, and taken again elsewhere; see server.h. The host knows which ones there are: what POSIX
 * makes of ranges that lie across each other is not done a second time here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/log.h"
#include "lkvm/state.h"
#include "locks-internal.h"

#define LOCKS 256
#define TO_END INT64_MAX

struct locks_state {
	uint32_t n, last; /* there are no more of these records */
	uint64_t node[LOCKS], owner[LOCKS];
	uint64_t start[LOCKS], end[LOCKS];
	uint8_t write[LOCKS];
};

static const struct state_field fields[] = {
	STATE_ONE(struct locks_state, n, .max = LOCKS),
	STATE_ONE(struct locks_state, last, .max = 1),
	STATE_SOME(struct locks_state, node, n),
	STATE_SOME(struct locks_state, owner, n),
	STATE_SOME(struct locks_state, start, n, .max = INT64_MAX),
	STATE_SOME(struct locks_state, end, n, .max = INT64_MAX),
	STATE_SOME(struct locks_state, write, n, .max = 1),
};

static const char *check(const void *state)
{
	const struct locks_state *st = state;

	for (unsigned i = 0; i < st->n; i++)
		if (st->start[i] > st->end[i])
			return "end";
	return NULL;
}

const struct state_type locks_state_type = {
	STATE_TYPE("folder-locks", 1, struct locks_state, fields),
	.check = check,
};

/* ---- which ones are there ---- */

int fd_locks(int fd, int (*each)(void *arg, const struct fd_lock *lock), void *arg)
{
	char path[40], line[256], kind[8], type[8], end[24];
	struct fd_lock lock;
	FILE *file;
	int err = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (!err && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "lock: %*d: %7s ADVISORY %7s %*d %*s %lu %23s", kind, type, &lock.start, end) != 4)
			continue;
		lock.whole = !strcmp(kind, "FLOCK");
		lock.write = !strcmp(type, "WRITE");
		lock.end = strcmp(end, "EOF") != 0 ? strtoull(end, NULL, 10) : TO_END;
		err = each(arg, &lock);
	}
	fclose(file);
	return err;
}

/* ---- save ---- */

struct saving {
	struct state_buf *buf;
	const struct lock_owner *owner;
	struct locks_state st;
};

static int note(void *arg, const struct fd_lock *lock)
{
	struct saving *s = arg;
	unsigned i;
	int err = 0;

	if (lock->whole)
		return 0;
	if (s->st.n == LOCKS) {
		err = state_pack(s->buf, &locks_state_type, &s->st);
		s->st.n = 0;
	}
	i = s->st.n++;
	s->st.node[i] = node_id(s->owner->node);
	s->st.owner[i] = s->owner->owner;
	s->st.start[i] = lock->start;
	s->st.end[i] = lock->end;
	s->st.write[i] = lock->write;
	return err;
}

/* In the order in which they came: the list begins with the newest, also where it is loaded. */
static int save_owners(struct saving *s, const struct lock_table *t)
{
	const unsigned n = atomic_load(&t->n_owners);
	const struct lock_owner **all = calloc(n + 1, sizeof(struct lock_owner *)), *o = t->owners;
	int err = all ? 0 : -ENOMEM;

	for (unsigned i = n; !err && i; o = o->next)
		all[--i] = o;
	for (unsigned i = 0; !err && i < n; i++) {
		s->owner = all[i];
		err = fd_locks(all[i]->fd, note, s);
	}
	free(all);
	return err;
}

int locks_save(struct lock_table *t, struct state_buf *buf)
{
	struct saving *s = calloc(1, sizeof(*s));
	int err = s ? 0 : -ENOMEM;

	if (!err) {
		s->buf = buf;
		err = save_owners(s, t);
	}
	if (!err) {
		s->st.last = 1;
		err = state_pack(buf, &locks_state_type, &s->st);
	}
	free(s);
	return err;
}

/* ---- load ---- */

/* Return: has it got the lock? */
static bool take(struct lock_table *t, const struct locks_state *st, unsigned i)
{
	const struct flock lock = {
		.l_type = st->write[i] ? F_WRLCK : F_RDLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t)st->start[i],
		.l_len = st->end[i] == TO_END ? 0 : (off_t)(st->end[i] - st->start[i] + 1),
	};
	struct node *n;
	int err = node_get(t->tree, st->node[i], &n);

	if (err)
		return false;
	if (node_type(n) == S_IFREG || node_type(n) == S_IFDIR) {
		pthread_mutex_lock(&t->lock);
		err = locks_try(t, n, st->owner[i], lock);
		pthread_mutex_unlock(&t->lock);
	} else {
		err = -EINVAL;
	}
	node_put(t->tree, n);
	return !err;
}

int locks_load(struct lock_table *t, struct state_reader *in, unsigned *ret_lost)
{
	struct locks_state *st = calloc(1, sizeof(*st));
	int err = st ? 0 : -ENOMEM;

	while (!err && !st->last) {
		err = state_unpack(in, &locks_state_type, st);
		for (unsigned i = 0; !err && i < st->n; i++)
			*ret_lost += !take(t, st, i);
	}
	free(st);
	return err;
}
