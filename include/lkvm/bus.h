/*
 * A bus: which device answers at which address. The machine has two, I/O ports and memory (MMIO).
 *
 * Ranges never overlap. Look-ups come from every vCPU thread and take a read lock; adding, removing
 * and moving a range (a guest may move a PCI BAR) takes the write lock. The handler itself runs
 * with no bus lock held, so a device may move its own range from within a handler; a device
 * outlives all vCPU threads, so a look-up that lost the race against a move is harmless.
 */
#ifndef LKVM_BUS_H
#define LKVM_BUS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define BUS_MAX_RANGES 272 /* 255 PCI functions, and what a PC has */

struct bus_ops {
	/*
	 * @off: from the start of the range plus the range's off_base; @len: 1, 2, 4 or 8.
	 * The guest sees the low @len bytes of what read() returns; the bytes of @value beyond @len
	 * are 0. Runs on a vCPU thread; the device takes its own lock.
	 */
	uint64_t (*read)(void *dev, uint64_t off, unsigned len);
	void (*write)(void *dev, uint64_t off, unsigned len, uint64_t value);
};

/** bus_byte() - what a read of any width gives where there is a register of one byte, and nothing behind it */
static inline uint64_t bus_byte(unsigned value)
{
	return ~0xffULL | value;
}

struct bus_range {
	uint64_t base;
	uint64_t size;     /* bytes, not 0, base + size - 1 does not wrap */
	uint64_t off_base; /* added to the offset that the handler sees (a device's second range) */
	const struct bus_ops *ops;
	void *dev;
	const char *name; /* not copied */
	unsigned gsi;     /* the device's interrupt, for who lists the bus; 0: none */
};

struct bus {
	pthread_rwlock_t lock;
	unsigned n;
	struct bus_range *range; /* sorted by base; room for BUS_MAX_RANGES, NULL before the first */
};

void bus_init(struct bus *bus);
void bus_fini(struct bus *bus);

/**
 * bus_add() - let @range answer from now on
 * Return: 0; -EINVAL for an empty or wrapping range; -EEXIST if it overlaps another; -ENOSPC;
 *	   -ENOMEM, the very first time only
 */
int bus_add(struct bus *bus, const struct bus_range *range);

/** bus_remove() - take away the range that starts at @base; Return: 0 or -ENOENT */
int bus_remove(struct bus *bus, uint64_t base);

/**
 * bus_rw() - carry out one guest access
 * @addr: first byte; the whole access must lie within one range
 * @data: @len bytes, read from or written to the device; a read that nobody claims fills in ones
 * @len:  1, 2, 4 or 8
 * Return: 0, or -ENODEV where no device claims the access (writes are then ignored)
 */
int bus_rw(struct bus *bus, uint64_t addr, void *data, unsigned len, bool write);

/** bus_list() - copy up to @max ranges in address order; Return: how many */
unsigned bus_list(struct bus *bus, struct bus_range *ret_ranges, unsigned max);
/** bus_name() - name of the range that @addr is in, or NULL */
const char *bus_name(struct bus *bus, uint64_t addr);

#endif
