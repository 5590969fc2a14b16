/*
 * What the unit tests of the chips share: a machine that records what its one chip does to it, and
 * accesses to the chip as the bus makes them. Each test runs in a process of its own, so there is
 * one machine a process.
 */
#ifndef TESTS_CHIP_H
#define TESTS_CHIP_H

#include <string.h>

#include "lkvm/access.h"
#include "lkvm/chips.h"
#include "lkvm/config.h"
#include "lkvm/loop.h"
#include "unit.h"

static struct {
	const struct device_type *type;
	void *dev;
	unsigned irq_sets; /* calls of irq_line.set, each a system call in the real machine */
	bool irq;
	unsigned stops;
	enum stop_cause cause;
	uint32_t value;
	struct vm_config config;
	struct loop loop; /* only its address counts */
} machine;

static inline void fake_irq(void *vm, unsigned gsi, unsigned source, bool level)
{
	ck_assert_ptr_eq(vm, &machine);
	ck_assert_uint_eq(gsi, 7);
	ck_assert_uint_eq(source, 300);
	machine.irq_sets++;
	machine.irq = level;
}

static inline void fake_stop(void *vm, enum stop_cause cause, uint32_t value)
{
	ck_assert_ptr_eq(vm, &machine);
	machine.stops++;
	machine.cause = cause;
	machine.value = value;
}

/* Return: what init() returned; on success machine.dev is the chip */
static inline int try_chip(const struct device_type *type, struct console *console, unsigned index)
{
	const struct device_env env = {
		.irq = { .set = fake_irq, .machine = &machine, .gsi = 7, .source = 300 },
		.stop = fake_stop,
		.machine = &machine,
		.loop = &machine.loop,
		.console = console,
		.config = &machine.config,
		.index = index,
	};

	machine.type = type;
	machine.dev = calloc(1, type->size);
	ck_assert_ptr_nonnull(machine.dev);
	return type->init(machine.dev, &env);
}

static inline void new_chip(const struct device_type *type, struct console *console, unsigned index)
{
	ck_assert_int_eq(try_chip(type, console, index), 0);
}

static inline void free_chip(void)
{
	if (machine.type->fini)
		machine.type->fini(machine.dev);
	free(machine.dev);
	machine.dev = NULL;
}

/* Bytes that a chip forgets to fill, or fills beyond the access, show. */
static inline uint32_t in_len(uint64_t off, unsigned len)
{
	uint8_t buf[16];

	memset(buf, 0x5a, sizeof(buf));
	machine.type->io.read(machine.dev, off, buf, len);
	for (size_t i = len; i < sizeof(buf); i++)
		ck_assert_uint_eq(buf[i], 0x5a);
	return (uint32_t)access_get(buf, len);
}

static inline void out_len(uint64_t off, uint32_t value, unsigned len)
{
	uint8_t buf[4];

	access_put(buf, len, value);
	machine.type->io.write(machine.dev, off, buf, len);
}

static inline uint8_t in8(uint64_t off)
{
	return (uint8_t)in_len(off, 1);
}

static inline void out8(uint64_t off, unsigned value)
{
	out_len(off, value, 1);
}

static inline void assert_stop(enum stop_cause cause, uint32_t value)
{
	ck_assert_uint_eq(machine.stops, 1);
	ck_assert_int_eq(machine.cause, cause);
	ck_assert_uint_eq(machine.value, value);
	machine.stops = 0;
}

#endif
