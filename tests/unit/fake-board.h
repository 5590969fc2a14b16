/*
 * board_ops on counters, for unit tests and fuzzers of PCI and the transports: which routes,
 * irqfds, ioeventfds and lines there are, and that each is taken and given back in order. What the
 * real machine would refuse aborts.
 */
#ifndef TESTS_FAKE_BOARD_H
#define TESTS_FAKE_BOARD_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/board.h"
#include "lkvm/types.h"

#define FAKE_BOARD_GSIS   1024
#define FAKE_BOARD_EVENTS 256
#define FAKE_FIRST_MSI      24

struct fake_msi {
	bool used;
	uint64_t addr;
	uint32_t data;
	int fd;             /* of the irqfd; -1: none */
	uint64_t delivered; /* sum of what was signalled and may be delivered */
	uint64_t stale;     /* of the eventfd's count: delivered when it was bound */
};

struct fake_event {
	int fd; /* -1: free */
	uint64_t addr;
};

struct fake_memory {
	void *host; /* NULL: free */
	uint64_t addr, bytes;
	bool read_only;
};

struct fake_board {
	struct fake_msi msi[FAKE_BOARD_GSIS];
	struct fake_event event[FAKE_BOARD_EVENTS];
	uint64_t line[FAKE_FIRST_MSI][LINE_SOURCES / 64]; /* by GSI and source: who holds it up */
	unsigned n_routes, n_irqfds, n_events;
	unsigned route_calls, irqfd_calls, line_calls;
	struct fake_memory memory[8];
	int line_fd[FAKE_FIRST_MSI]; /* by GSI; 0: none */
	unsigned stops, panics;
	enum stop_cause cause;
	int fail_route, fail_irqfd, fail_notify, fail_memory; /* errno for all calls that switch something on */
};

static inline void fake_board_check(bool ok)
{
	if (!ok)
		abort();
}

/*
 * KVM delivers what is signalled, and takes all that the eventfd has counted. What it had counted
 * before it was bound is delivered once then, but stays in it until there is a signal.
 */
static inline void fake_msi_deliver(struct fake_msi *msi)
{
	uint64_t count;

	if (read(msi->fd, &count, sizeof(count)) != sizeof(count))
		return;
	if (count > msi->stale) {
		msi->delivered += count - msi->stale;
		msi->stale = 0;
	} else {
		fake_board_check(write(msi->fd, &count, sizeof(count)) == sizeof(count));
	}
}

static inline void fake_msi_bind(struct fake_msi *msi, int fd)
{
	msi->fd = fd;
	if (read(msi->fd, &msi->stale, sizeof(msi->stale)) != sizeof(msi->stale)) {
		msi->stale = 0;
		return;
	}
	msi->delivered++;
	fake_board_check(write(fd, &msi->stale, sizeof(msi->stale)) == sizeof(msi->stale));
}

static inline int fake_board_notify(void *ctx, int fd, bool pio, uint64_t addr, unsigned len,
				      int64_t match, bool on)
{
	struct fake_board *m = ctx;

	fake_board_check(fd >= 0 && !pio && !len && match == -1);
	if (on && m->fail_notify)
		return -m->fail_notify;
	for (unsigned i = 0; i < FAKE_BOARD_EVENTS; i++) {
		struct fake_event *e = &m->event[i];

		if (on ? e->fd >= 0 : e->fd != fd || e->addr != addr)
			continue;
		*e = (struct fake_event){ on ? fd : -1, addr };
		m->n_events += on ? 1U : -1U;
		return 0;
	}
	return on ? -ENOSPC : -ENOENT;
}

static inline struct fake_msi *fake_board_msi(struct fake_board *m, int gsi)
{
	fake_board_check(gsi >= FAKE_FIRST_MSI && gsi < FAKE_BOARD_GSIS && m->msi[gsi].used);
	return &m->msi[gsi];
}

static inline int fake_board_irqfd(void *ctx, int fd, unsigned gsi, bool on)
{
	struct fake_board *m = ctx;
	struct fake_msi *msi = fake_board_msi(m, (int)gsi);

	m->irqfd_calls++;
	if (on && m->fail_irqfd)
		return -m->fail_irqfd;
	fake_board_check(msi->fd == (on ? -1 : fd));
	m->n_irqfds += on ? 1U : -1U;
	if (on) {
		fake_msi_bind(msi, fd);
	} else {
		fake_msi_deliver(msi);
		msi->fd = -1;
	}
	return 0;
}

static inline int fake_board_route(void *ctx, int *gsi, uint64_t addr, uint32_t data)
{
	struct fake_board *m = ctx;
	struct fake_msi *msi;

	m->route_calls++;
	if (m->fail_route)
		return -m->fail_route;
	if (*gsi < 0) {
		for (*gsi = FAKE_FIRST_MSI; m->msi[*gsi].used; ++*gsi)
			fake_board_check(*gsi < FAKE_BOARD_GSIS - 1);
		m->msi[*gsi] = (struct fake_msi){ .used = true, .fd = -1 };
		m->n_routes++;
	}
	msi = fake_board_msi(m, *gsi);
	msi->addr = addr;
	msi->data = data;
	return 0;
}

static inline void fake_board_free(void *ctx, int gsi)
{
	struct fake_board *m = ctx;
	struct fake_msi *msi = fake_board_msi(m, gsi);

	fake_board_check(msi->fd < 0);
	msi->used = false;
	m->n_routes--;
}

static inline void fake_board_line(void *ctx, unsigned gsi, unsigned source, bool level)
{
	struct fake_board *m = ctx;
	uint64_t bit = 1ULL << source % 64, *word;

	fake_board_check(gsi < FAKE_FIRST_MSI && source < LINE_SOURCES);
	word = &m->line[gsi][source / 64];
	m->line_calls++;
	*word = level ? *word | bit : *word & ~bit;
}

static inline bool fake_board_line_up(const struct fake_board *m, unsigned gsi)
{
	for (unsigned i = 0; i < LINE_SOURCES / 64; i++)
		if (m->line[gsi][i])
			return true;
	return false;
}

/* One at a time is enough. */
static inline int fake_board_line_fd(void *ctx, int fd, int resample_fd, unsigned gsi, bool on)
{
	struct fake_board *m = ctx;

	fake_board_check(gsi < FAKE_FIRST_MSI && resample_fd >= 0);
	if (on && m->fail_irqfd)
		return -m->fail_irqfd;
	fake_board_check(m->line_fd[gsi] == (on ? 0 : fd));
	m->n_irqfds += on ? 1U : -1U;
	m->line_fd[gsi] = on ? fd : 0;
	return 0;
}

static inline int fake_board_memory_add(void *ctx, const char *name, uint64_t addr, void *host,
					uint64_t bytes, bool read_only)
{
	struct fake_board *m = ctx;
	unsigned i = 0;

	fake_board_check(name && host && bytes);
	if (m->fail_memory)
		return -m->fail_memory;
	while (m->memory[i].host)
		fake_board_check(++i < 8);
	m->memory[i] = (struct fake_memory){ host, addr, bytes, read_only };
	return (int)i;
}

static inline int fake_board_memory_remove(void *ctx, unsigned number)
{
	struct fake_board *m = ctx;

	fake_board_check(number < 8 && m->memory[number].host);
	m->memory[number].host = NULL;
	return 0;
}

static inline void fake_board_stop(void *ctx, enum stop_cause cause, uint32_t value)
{
	struct fake_board *m = ctx;

	fake_board_check(!value);
	m->stops++;
	m->cause = cause;
}

static inline void fake_board_note_panic(void *ctx)
{
	((struct fake_board *)ctx)->panics++;
}

/* The eventfd that a write to @addr signals, or -1 */
static inline int fake_board_event_at(const struct fake_board *m, uint64_t addr)
{
	for (unsigned i = 0; i < FAKE_BOARD_EVENTS; i++)
		if (m->event[i].fd >= 0 && m->event[i].addr == addr)
			return m->event[i].fd;
	return -1;
}

static inline struct board fake_board_init(struct fake_board *m)
{
	static const struct board_ops ops = {
		.notify = fake_board_notify,
		.irqfd = fake_board_irqfd,
		.msi_route = fake_board_route,
		.msi_free = fake_board_free,
		.line = fake_board_line,
		.line_fd = fake_board_line_fd,
		.memory_add = fake_board_memory_add,
		.memory_remove = fake_board_memory_remove,
		.stop = fake_board_stop,
		.note_panic = fake_board_note_panic,
	};

	memset(m, 0, sizeof(*m));
	for (unsigned i = 0; i < FAKE_BOARD_EVENTS; i++)
		m->event[i].fd = -1;
	return (struct board){ &ops, m };
}

#endif
