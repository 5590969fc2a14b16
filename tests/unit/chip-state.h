/* The state of the one chip of a unit test, as tests/unit/state.h demands it. */
#ifndef TESTS_CHIP_STATE_H
#define TESTS_CHIP_STATE_H

#include "chip.h"
#include "state.h"

/* The chip is saved, thrown away, and goes on in a new one, whose line is down at first. */
static inline void restore_chip(struct console *console, const void *config)
{
	const struct state_type *state = machine.type->state;
	struct state_buf saved = { 0 };
	struct state_reader in;

	state_saved(state, machine.dev, &saved);
	free_chip();
	machine.irq = false;
	machine.irq_sets = 0;
	new_chip(machine.type, console, config);
	in = state_reader_of(&saved);
	ck_assert_msg(state_load(&in, state, machine.dev) == 0, "%s", in.why);
	ck_assert_uint_le(machine.irq_sets, 1);
	assert_saves(state, machine.dev, &saved);
	state_buf_free(&saved);
}

static unsigned chip_ports;
static uint32_t chip_writes;

/* The guest reads each port, and writes to those that it may. */
static inline void use_chip(void *dev)
{
	ck_assert_ptr_eq(dev, machine.dev);
	for (unsigned off = 0; off < chip_ports; off++) {
		in8(off);
		if (chip_writes >> off & 1)
			out8(off, 0xa5);
	}
}

/* What every chip keeps; @writes: the ports that take any byte without stopping the machine, as bits */
static inline void test_chip_state(unsigned ports, uint32_t writes)
{
	chip_ports = ports;
	chip_writes = writes;
	state_test_table(machine.type->state);
	state_test_same(machine.type->state, machine.dev, machine.dev);
	state_test_hostile(machine.type->state, machine.dev, use_chip);
	ck_assert_uint_eq(machine.stops, 0);
}

#endif
