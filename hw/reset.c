/*
 * Two registers by which a PC's chipset resets the machine: the reset control register at 0xcf9,
 * and port A of the system control at 0x92, which has the A20 gate too.
 *
 * Where there is PCI, its address register lies around 0xcf9; then hw/pci.c has that one, by
 * reset_control_write(). Without a lock: each register is one atomic byte.
 */
#include <stdatomic.h>

#include "lkvm/chips.h"
#include "lkvm/state.h"

/* Port 0x92 */
#define PORT_A_RESET 0x01
#define PORT_A_A20   0x02 /* read back only: the A20 line of this machine is always open */

/* 0xcf9 */
#define CONTROL_CPU  0x04 /* reset now; reads as 0 */
#define CONTROL_KEPT 0x0a /* which kind of reset it will be */

struct reset_state {
	uint8_t port_a, control;
};

struct reset {
	struct device_env env;
	atomic_uchar port_a, control;
};

bool reset_control_write(uint8_t *reg, uint8_t value)
{
	*reg = value & CONTROL_KEPT;
	return value & CONTROL_CPU;
}

static uint64_t reset_read(void *dev, uint64_t off, unsigned len)
{
	struct reset *r = dev;

	(void)len;
	return bus_byte(off ? atomic_load(&r->control) : atomic_load(&r->port_a));
}

static void reset_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	struct reset *r = dev;
	uint8_t kept = value & PORT_A_A20;
	bool now = value & PORT_A_RESET;

	(void)len;
	if (off)
		now = reset_control_write(&kept, (uint8_t)value);
	atomic_store(off ? &r->control : &r->port_a, kept);
	if (now)
		board_stop(&r->env.board, STOP_RESET, 0);
}

static int reset_init(void *dev, const struct device_env *env)
{
	struct reset *r = dev;

	r->env = *env;
	atomic_init(&r->port_a, PORT_A_A20);
	return 0;
}

static const struct state_field fields[] = {
	STATE_ONE(struct reset_state, port_a, .bits = PORT_A_A20),
	STATE_ONE(struct reset_state, control, .bits = CONTROL_KEPT),
};

static int save(void *dev, void *ret_state)
{
	struct reset *r = dev;

	*(struct reset_state *)ret_state = (struct reset_state){
		.port_a = atomic_load(&r->port_a),
		.control = atomic_load(&r->control),
	};
	return 0;
}

static int load(void *dev, const void *state)
{
	const struct reset_state *st = state;
	struct reset *r = dev;

	atomic_store(&r->port_a, st->port_a);
	atomic_store(&r->control, st->control);
	return 0;
}

static const struct state_type state_type = {
	STATE_TYPE("reset", 1, struct reset_state, fields),
	.save = save,
	.load = load,
};

const struct device_type reset_type = {
	.name = "reset",
	.size = sizeof(struct reset),
	.io = { .read = reset_read, .write = reset_write },
	.init = reset_init,
	.state = &state_type,
};
