/*
 * machine_ops on counters, for unit tests and fuzzers of PCI and the transports: which routes,
 * irqfds, ioeventfds and lines there are, and that each is taken and given back in order. What the
 * real machine would refuse aborts.
 */
#ifndef TESTS_FAKE_MACHINE_H
#define TESTS_FAKE_MACHINE_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/machine.h"
#include "lkvm/types.h"

#define FAKE_MACHINE_GSIS   1024
#define FAKE_MACHINE_EVENTS 256
#define FAKE_FIRST_MSI      24

struct fake_msi {
	bool used;
	uint64_t addr;
	uint32_t data;
	int fd;             /* of the irqfd; -1: none */
	uint64_t delivered; /* sum of what was signalled and may be delivered */
};

struct fake_event {
	int fd; /* -1: free */
	uint64_t addr;
};

struct fake_machine {
	struct fake_msi msi[FAKE_MACHINE_GSIS];
	struct fake_event event[FAKE_MACHINE_EVENTS];
	uint64_t line[FAKE_FIRST_MSI][LINE_SOURCES / 64]; /* by GSI and source: who holds it up */
	unsigned n_routes, n_irqfds, n_events;
	unsigned route_calls, irqfd_calls, line_calls;
	int fail_route, fail_irqfd, fail_notify; /* errno for all calls that switch something on */
};

static inline void fake_machine_check(bool ok)
{
	if (!ok)
		abort();
}

/* What the eventfd has counted was delivered: KVM takes it when the irqfd is bound and unbound. */
static inline void fake_msi_deliver(struct fake_msi *msi)
{
	uint64_t count;

	if (read(msi->fd, &count, sizeof(count)) == sizeof(count))
		msi->delivered += count;
}

static inline int fake_machine_notify(void *ctx, int fd, bool pio, uint64_t addr, unsigned len,
				      int64_t match, bool on)
{
	struct fake_machine *m = ctx;

	fake_machine_check(fd >= 0 && !pio && !len && match == -1);
	if (on && m->fail_notify)
		return -m->fail_notify;
	for (unsigned i = 0; i < FAKE_MACHINE_EVENTS; i++) {
		struct fake_event *e = &m->event[i];

		if (on ? e->fd >= 0 : e->fd != fd || e->addr != addr)
			continue;
		*e = (struct fake_event){ on ? fd : -1, addr };
		m->n_events += on ? 1U : -1U;
		return 0;
	}
	return on ? -ENOSPC : -ENOENT;
}

static inline struct fake_msi *fake_machine_msi(struct fake_machine *m, int gsi)
{
	fake_machine_check(gsi >= FAKE_FIRST_MSI && gsi < FAKE_MACHINE_GSIS && m->msi[gsi].used);
	return &m->msi[gsi];
}

static inline int fake_machine_irqfd(void *ctx, int fd, unsigned gsi, bool on)
{
	struct fake_machine *m = ctx;
	struct fake_msi *msi = fake_machine_msi(m, (int)gsi);

	m->irqfd_calls++;
	if (on && m->fail_irqfd)
		return -m->fail_irqfd;
	fake_machine_check(msi->fd == (on ? -1 : fd));
	m->n_irqfds += on ? 1U : -1U;
	if (on)
		msi->fd = fd;
	fake_msi_deliver(msi);
	if (!on)
		msi->fd = -1;
	return 0;
}

static inline int fake_machine_route(void *ctx, int *gsi, uint64_t addr, uint32_t data)
{
	struct fake_machine *m = ctx;
	struct fake_msi *msi;

	m->route_calls++;
	if (m->fail_route)
		return -m->fail_route;
	if (*gsi < 0) {
		for (*gsi = FAKE_FIRST_MSI; m->msi[*gsi].used; ++*gsi)
			fake_machine_check(*gsi < FAKE_MACHINE_GSIS - 1);
		m->msi[*gsi] = (struct fake_msi){ .used = true, .fd = -1 };
		m->n_routes++;
	}
	msi = fake_machine_msi(m, *gsi);
	msi->addr = addr;
	msi->data = data;
	return 0;
}

static inline void fake_machine_free(void *ctx, int gsi)
{
	struct fake_machine *m = ctx;
	struct fake_msi *msi = fake_machine_msi(m, gsi);

	fake_machine_check(msi->fd < 0);
	msi->used = false;
	m->n_routes--;
}

static inline void fake_machine_line(void *ctx, unsigned gsi, unsigned source, bool level)
{
	struct fake_machine *m = ctx;
	uint64_t bit = 1ULL << source % 64, *word;

	fake_machine_check(gsi < FAKE_FIRST_MSI && source < LINE_SOURCES);
	word = &m->line[gsi][source / 64];
	m->line_calls++;
	*word = level ? *word | bit : *word & ~bit;
}

static inline bool fake_machine_line_up(const struct fake_machine *m, unsigned gsi)
{
	for (unsigned i = 0; i < LINE_SOURCES / 64; i++)
		if (m->line[gsi][i])
			return true;
	return false;
}

/* The eventfd that a write to @addr signals, or -1 */
static inline int fake_machine_event_at(const struct fake_machine *m, uint64_t addr)
{
	for (unsigned i = 0; i < FAKE_MACHINE_EVENTS; i++)
		if (m->event[i].fd >= 0 && m->event[i].addr == addr)
			return m->event[i].fd;
	return -1;
}

static inline struct machine fake_machine_init(struct fake_machine *m)
{
	static const struct machine_ops ops = {
		.notify = fake_machine_notify,
		.irqfd = fake_machine_irqfd,
		.msi_route = fake_machine_route,
		.msi_free = fake_machine_free,
		.line = fake_machine_line,
	};

	memset(m, 0, sizeof(*m));
	for (unsigned i = 0; i < FAKE_MACHINE_EVENTS; i++)
		m->event[i].fd = -1;
	return (struct machine){ &ops, m };
}

#endif
