/* See poll-set.h. */
#include "poll-set.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct poll_set_entry {
	uint32_t wanted, watched, ready; /* events */
	unsigned round;                  /* in which it was added last */
	bool listed;
};

int poll_set_init(struct poll_set *p)
{
	*p = (struct poll_set){ .epfd = epoll_create1(EPOLL_CLOEXEC) };
	return p->epfd < 0 ? -errno : 0;
}

void poll_set_fini(struct poll_set *p)
{
	if (p->epfd >= 0)
		close(p->epfd);
	free(p->entry);
	free(p->listed);
	*p = (struct poll_set){ .epfd = -1 };
}

/* ---- what is wanted ---- */

void poll_set_begin(struct poll_set *p)
{
	p->round++;
}

static int grow(struct poll_set *p, unsigned fd)
{
	const unsigned n = fd < 64 ? 128 : 2 * fd;
	struct poll_set_entry *more;

	if (fd < p->n_entries)
		return 0;
	more = reallocarray(p->entry, n, sizeof(*more));
	if (!more)
		return -ENOMEM;
	memset(more + p->n_entries, 0, (n - p->n_entries) * sizeof(*more));
	p->entry = more;
	p->n_entries = n;
	return 0;
}

static int list(struct poll_set *p, int fd)
{
	if (p->n_listed == p->cap_listed) {
		const unsigned cap = p->cap_listed ? 2 * p->cap_listed : 16;
		int *more = reallocarray(p->listed, cap, sizeof(*more));

		if (!more)
			return -ENOMEM;
		p->listed = more;
		p->cap_listed = cap;
	}
	p->listed[p->n_listed++] = fd;
	p->entry[fd].listed = true;
	return 0;
}

int poll_set_add(struct poll_set *p, int fd, uint32_t events)
{
	int err = fd < 0 ? -EBADF : grow(p, (unsigned)fd);

	if (!err && !p->entry[fd].listed)
		err = list(p, fd);
	if (err)
		return err;
	p->entry[fd].wanted = events;
	p->entry[fd].round = p->round;
	return 0;
}

/* A number may be another descriptor by now, which the epoll does not have, or has already. */
static void watch(struct poll_set *p, int fd, struct poll_set_entry *e)
{
	struct epoll_event event = { .events = e->wanted, .data.fd = fd };
	const int op = e->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	int rc = epoll_ctl(p->epfd, op, fd, &event);

	if (rc && (errno == ENOENT || errno == EEXIST))
		rc = epoll_ctl(p->epfd, op == EPOLL_CTL_MOD ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event);
	e->watched = rc ? 0 : e->wanted;
}

unsigned poll_set_end(struct poll_set *p)
{
	unsigned calls = 0, kept = 0;

	for (unsigned i = 0; i < p->n_listed; i++) {
		const int fd = p->listed[i];
		struct poll_set_entry *e = &p->entry[fd];

		if (e->round == p->round) {
			p->listed[kept++] = fd;
			if (e->watched != e->wanted) {
				watch(p, fd, e);
				calls++;
			}
			continue;
		}
		if (e->watched) {
			epoll_ctl(p->epfd, EPOLL_CTL_DEL, fd, NULL);
			calls++;
		}
		e->watched = e->wanted = e->ready = 0;
		e->listed = false;
	}
	p->n_listed = kept;
	return calls;
}

/* A child process may have a copy: closing alone would not end it. */
void poll_set_forget(struct poll_set *p, int fd)
{
	struct poll_set_entry *e;

	if (fd < 0 || (unsigned)fd >= p->n_entries)
		return;
	e = &p->entry[fd];
	if (e->watched)
		epoll_ctl(p->epfd, EPOLL_CTL_DEL, fd, NULL);
	e->watched = e->wanted = e->ready = 0;
}

/* ---- what is there ---- */

void poll_set_clear(struct poll_set *p)
{
	while (p->n_ready)
		p->entry[p->ready[--p->n_ready]].ready = 0;
}

void poll_set_look(struct poll_set *p)
{
	struct epoll_event event[POLL_SET_BATCH];
	int n;

	poll_set_clear(p);
	n = epoll_wait(p->epfd, event, POLL_SET_BATCH, 0);
	for (int i = 0; i < n; i++) {
		const int fd = event[i].data.fd;

		p->ready[p->n_ready++] = fd;
		p->entry[fd].ready = event[i].events;
	}
}

uint32_t poll_set_ready(const struct poll_set *p, int fd)
{
	return fd >= 0 && (unsigned)fd < p->n_entries ? p->entry[fd].ready : 0;
}

uint32_t poll_set_wanted(const struct poll_set *p, int fd)
{
	return fd >= 0 && (unsigned)fd < p->n_entries ? p->entry[fd].wanted : 0;
}
