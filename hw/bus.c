/* The two address spaces; see bus.h. */
#include "lkvm/bus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/access.h"

void bus_init(struct bus *bus)
{
	bus->n = 0;
	bus->range = NULL;
	pthread_rwlock_init(&bus->lock, NULL);
}

void bus_fini(struct bus *bus)
{
	pthread_rwlock_destroy(&bus->lock);
	free(bus->range);
	bus->range = NULL;
}

/* Index of the first range that ends at or after @addr; bus->n if there is none. */
static unsigned bus_find(const struct bus *bus, uint64_t addr)
{
	unsigned lo = 0, hi = bus->n;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;
		const struct bus_range *r = &bus->range[mid];

		if (r->base + (r->size - 1) < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Room for all of them at once, so that a guest that moves a BAR never waits for memory. */
static bool bus_has_room(struct bus *bus)
{
	if (!bus->range)
		bus->range = calloc(BUS_MAX_RANGES, sizeof(bus->range[0]));
	return bus->range;
}

static int bus_insert(struct bus *bus, const struct bus_range *range)
{
	uint64_t last = range->base + (range->size - 1);
	unsigned at = bus_find(bus, range->base);

	if (!bus_has_room(bus))
		return -ENOMEM;
	if (at < bus->n && bus->range[at].base <= last)
		return -EEXIST;
	if (bus->n == BUS_MAX_RANGES)
		return -ENOSPC;
	memmove(&bus->range[at + 1], &bus->range[at], (bus->n - at) * sizeof(bus->range[0]));
	bus->range[at] = *range;
	bus->n++;
	return 0;
}

int bus_add(struct bus *bus, const struct bus_range *range)
{
	int ret;

	if (!range->size || range->size - 1 > UINT64_MAX - range->base)
		return -EINVAL;
	pthread_rwlock_wrlock(&bus->lock);
	ret = bus_insert(bus, range);
	pthread_rwlock_unlock(&bus->lock);
	return ret;
}

int bus_remove(struct bus *bus, uint64_t base)
{
	int ret = -ENOENT;
	unsigned at;

	pthread_rwlock_wrlock(&bus->lock);
	at = bus_find(bus, base);
	if (at < bus->n && bus->range[at].base == base) {
		bus->n--;
		memmove(&bus->range[at], &bus->range[at + 1],
			(bus->n - at) * sizeof(bus->range[0]));
		ret = 0;
	}
	pthread_rwlock_unlock(&bus->lock);
	return ret;
}

/* A copy of the range that holds all of [addr, addr + len); the lock is not held afterwards. */
static bool bus_lookup(struct bus *bus, uint64_t addr, unsigned len, struct bus_range *ret)
{
	bool found = false;
	unsigned at;

	pthread_rwlock_rdlock(&bus->lock);
	at = bus_find(bus, addr);
	if (at < bus->n) {
		const struct bus_range *r = &bus->range[at];

		found = addr >= r->base && r->size - (addr - r->base) >= len;
		if (found)
			*ret = *r;
	}
	pthread_rwlock_unlock(&bus->lock);
	return found;
}

int bus_rw(struct bus *bus, uint64_t addr, void *data, unsigned len, bool write)
{
	struct bus_range r;

	if (!bus_lookup(bus, addr, len, &r)) {
		if (!write)
			memset(data, 0xff, len);
		return -ENODEV;
	}
	addr = addr - r.base + r.off_base;
	if (write)
		r.ops->write(r.dev, addr, len, access_get(data, len));
	else
		access_put(data, len, r.ops->read(r.dev, addr, len));
	return 0;
}

unsigned bus_list(struct bus *bus, struct bus_range *ret_ranges, unsigned max)
{
	unsigned n;

	pthread_rwlock_rdlock(&bus->lock);
	n = bus->n < max ? bus->n : max;
	if (n)
		memcpy(ret_ranges, bus->range, n * sizeof(*ret_ranges));
	pthread_rwlock_unlock(&bus->lock);
	return n;
}

const char *bus_name(struct bus *bus, uint64_t addr)
{
	struct bus_range range;

	return bus_lookup(bus, addr, 1, &range) ? range.name : NULL;
}
