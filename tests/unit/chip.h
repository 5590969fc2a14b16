/*
 * What the unit tests of the chips share: a machine that records what its one chip does to it, and
 * accesses to the chip as the bus makes them. Each test runs in a process of its own, so there is
 * one machine a process.
 */
#ifndef TESTS_CHIP_H
#define TESTS_CHIP_H

#include <string.h>

#include "lkvm/chips.h"
#include "lkvm/loop.h"
#include "lkvm/ram.h"
#include "unit.h"

static struct {
	const struct device_type *type;
	void *dev;
	unsigned irq_sets; /* calls of irq_line.set, each a system call in the real machine */
	bool irq;
	unsigned stops;
	unsigned panics; /* noted, without an end */
	enum stop_cause cause;
	uint32_t value;
	uint64_t ram_bytes;
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

static inline void fake_note_panic(void *vm)
{
	ck_assert_ptr_eq(vm, &machine);
	machine.panics++;
}

/* Return: what init() returned; on success machine.dev is the chip */
static inline int try_chip(const struct device_type *type, struct console *console, const void *config)
{
	static const struct board_ops ops = { .stop = fake_stop, .note_panic = fake_note_panic };
	const struct device_env env = {
		.irq = { .set = fake_irq, .ctx = &machine, .gsi = 7, .source = 300 },
		.board = { &ops, &machine },
		.loop = &machine.loop,
		.console = console,
		.ram_bytes = machine.ram_bytes,
		.config = config,
	};

	machine.type = type;
	machine.dev = calloc(1, type->size);
	ck_assert_ptr_nonnull(machine.dev);
	return type->init(machine.dev, &env);
}

static inline void new_chip(const struct device_type *type, struct console *console, const void *config)
{
	ck_assert_int_eq(try_chip(type, console, config), 0);
}

static inline void free_chip(void)
{
	if (machine.type->fini)
		machine.type->fini(machine.dev);
	free(machine.dev);
	machine.dev = NULL;
}

/* As the bus does it: the low bytes count. */
static inline uint32_t in_len(uint64_t off, unsigned len)
{
	uint64_t value = machine.type->io.read(machine.dev, off, len);

	return (uint32_t)(value & (UINT64_MAX >> (64 - 8 * len)));
}

static inline void out_len(uint64_t off, uint32_t value, unsigned len)
{
	machine.type->io.write(machine.dev, off, len, value & (UINT64_MAX >> (64 - 8 * len)));
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
