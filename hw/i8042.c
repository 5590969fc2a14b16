/*
 * The keyboard controller, with neither keyboard nor mouse attached: guests reset the machine
 * through it, and kernels which probe it must get their answers at once instead of waiting for
 * time-outs. What would go to a device is answered as a controller does whose device is silent:
 * 0xfe with the time-out bit.
 *
 * The output buffer is the one byte that the chip has; a new answer replaces an unread one.
 */
#include <pthread.h>
#include <string.h>

#include "lkvm/chips.h"
#include "lkvm/state.h"

/* Status register */
#define STR_OBF     0x01U /* a byte is waiting at the data port */
#define STR_SYS     0x04U /* passed its self test */
#define STR_CMD     0x08U /* the last byte written was a command */
#define STR_UNLOCK  0x10U
#define STR_AUX     0x20U /* the waiting byte is from the mouse port */
#define STR_TIMEOUT 0x40U /* the device did not answer */
#define STR_KEPT    (STR_OBF | STR_CMD | STR_AUX | STR_TIMEOUT)

/* Command byte: byte 0 of the controller's RAM */
#define CTR_KBD_INT 0x01U
#define CTR_SYS     0x04U
#define CTR_KBD_DIS 0x10U
#define CTR_AUX_DIS 0x20U

enum {
	CMD_READ_RAM = 0x20,  /* to 0x3f */
	CMD_WRITE_RAM = 0x60, /* to 0x7f */
	CMD_AUX_DISABLE = 0xa7,
	CMD_AUX_ENABLE = 0xa8,
	CMD_AUX_TEST = 0xa9,
	CMD_SELF_TEST = 0xaa,
	CMD_KBD_TEST = 0xab,
	CMD_KBD_DISABLE = 0xad,
	CMD_KBD_ENABLE = 0xae,
	CMD_READ_INPUT = 0xc0,
	CMD_READ_OUTPUT = 0xd0,
	CMD_WRITE_OUTPUT = 0xd1,
	CMD_WRITE_KBD_BUFFER = 0xd2,
	CMD_WRITE_AUX_BUFFER = 0xd3,
	CMD_WRITE_AUX = 0xd4,
	CMD_A20_OFF = 0xdd,
	CMD_A20_ON = 0xdf,
	CMD_PULSE = 0xf0, /* to 0xff: lines that are 0 in the low four bits go low for a moment */
};

/* Output port: what the chip's pins do to the machine */
#define OUT_NO_RESET 0x01U
#define OUT_A20      0x02U /* read back only: the A20 line of this machine is always open */

#define DEVICE_SILENT 0xfeU
#define RAM_BYTES     32

struct i8042_state {
	uint32_t status;  /* STR_KEPT */
	uint32_t output;  /* what the data port reads; keeps its value when it was read */
	uint32_t pending; /* command that waits for its data byte, or 0 */
	uint32_t out_port;
	uint8_t ram[RAM_BYTES];
};

struct i8042 {
	pthread_mutex_t lock;
	struct device_env env;
	struct i8042_state st;
	bool irq;
};

static void update_irq(struct i8042 *k)
{
	bool level = (k->st.status & STR_OBF) && (k->st.ram[0] & CTR_KBD_INT) &&
		     !(k->st.status & STR_AUX);

	if (level == k->irq)
		return;
	k->irq = level;
	irq_set(&k->env.irq, level);
}

static void answer(struct i8042 *k, unsigned value, unsigned flags)
{
	k->st.output = value;
	k->st.status = (k->st.status & ~(STR_AUX | STR_TIMEOUT)) | STR_OBF | flags;
}

static void set_ctr(struct i8042 *k, unsigned clear, unsigned set)
{
	k->st.ram[0] = (uint8_t)((k->st.ram[0] & ~clear) | set);
}

static void set_out_port(struct i8042 *k, unsigned value)
{
	k->st.out_port = value;
	if (!(value & OUT_NO_RESET))
		board_stop(&k->env.board, STOP_RESET, 0);
}

/* Commands that are done when they are given: enable and disable bits, resets. */
static void control(struct i8042 *k, unsigned cmd)
{
	switch (cmd) {
	case CMD_AUX_DISABLE:
		set_ctr(k, 0, CTR_AUX_DIS);
		break;
	case CMD_AUX_ENABLE:
		set_ctr(k, CTR_AUX_DIS, 0);
		break;
	case CMD_KBD_DISABLE:
		set_ctr(k, 0, CTR_KBD_DIS);
		break;
	case CMD_KBD_ENABLE:
		set_ctr(k, CTR_KBD_DIS, 0);
		break;
	case CMD_A20_OFF:
		k->st.out_port &= ~OUT_A20;
		break;
	case CMD_A20_ON:
		k->st.out_port |= OUT_A20;
		break;
	case CMD_PULSE ... 0xff:
		if (!(cmd & OUT_NO_RESET))
			board_stop(&k->env.board, STOP_RESET, 0);
		break;
	}
}

static void command(struct i8042 *k, unsigned cmd)
{
	k->st.pending = 0;
	switch (cmd) {
	case CMD_READ_RAM ... CMD_READ_RAM + RAM_BYTES - 1:
		answer(k, k->st.ram[cmd - CMD_READ_RAM], 0);
		break;
	case CMD_WRITE_RAM ... CMD_WRITE_RAM + RAM_BYTES - 1:
	case CMD_WRITE_OUTPUT ... CMD_WRITE_AUX:
		k->st.pending = cmd;
		break;
	case CMD_AUX_TEST:
		answer(k, 0x01, 0); /* clock line stuck: no mouse port */
		break;
	case CMD_SELF_TEST:
		set_ctr(k, 0, CTR_SYS);
		answer(k, 0x55, 0);
		break;
	case CMD_KBD_TEST:
		answer(k, 0x00, 0);
		break;
	case CMD_READ_INPUT:
		answer(k, 0x80, 0); /* keyboard not locked */
		break;
	case CMD_READ_OUTPUT:
		answer(k, k->st.out_port, 0);
		break;
	default:
		control(k, cmd);
		break;
	}
}

static void write_data(struct i8042 *k, unsigned value)
{
	unsigned cmd = k->st.pending;

	k->st.pending = 0;
	switch (cmd) {
	case CMD_WRITE_RAM ... CMD_WRITE_RAM + RAM_BYTES - 1:
		k->st.ram[cmd - CMD_WRITE_RAM] = (uint8_t)value;
		break;
	case CMD_WRITE_OUTPUT:
		set_out_port(k, value);
		break;
	case CMD_WRITE_KBD_BUFFER:
	case CMD_WRITE_AUX_BUFFER: /* without STR_AUX, which tells that there is no mouse port */
		answer(k, value, 0);
		break;
	case CMD_WRITE_AUX:
		answer(k, DEVICE_SILENT, STR_TIMEOUT | STR_AUX);
		break;
	default:
		answer(k, DEVICE_SILENT, STR_TIMEOUT);
		break;
	}
}

static uint64_t i8042_read(void *dev, uint64_t off, unsigned len)
{
	struct i8042 *k = dev;
	uint8_t byte = 0xff;

	(void)len;
	pthread_mutex_lock(&k->lock);
	switch (off) {
	case 0:
		byte = (uint8_t)k->st.output;
		k->st.status &= ~(STR_OBF | STR_AUX | STR_TIMEOUT);
		update_irq(k);
		break;
	case 1:
		byte = (uint8_t)(k->st.status | STR_UNLOCK |
				 (k->st.ram[0] & CTR_SYS ? STR_SYS : 0));
		break;
	}
	pthread_mutex_unlock(&k->lock);
	return bus_byte(byte);
}

static void i8042_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	struct i8042 *k = dev;

	(void)len;
	pthread_mutex_lock(&k->lock);
	switch (off) {
	case 0:
		k->st.status &= ~STR_CMD;
		write_data(k, (uint8_t)value);
		break;
	case 1:
		k->st.status |= STR_CMD;
		command(k, (uint8_t)value);
		break;
	}
	update_irq(k);
	pthread_mutex_unlock(&k->lock);
}

static int i8042_init(void *dev, const struct device_env *env)
{
	struct i8042 *k = dev;

	k->env = *env;
	k->st.ram[0] = CTR_SYS;
	k->st.out_port = OUT_NO_RESET | OUT_A20;
	return -pthread_mutex_init(&k->lock, NULL);
}

static void i8042_fini(void *dev)
{
	struct i8042 *k = dev;

	pthread_mutex_destroy(&k->lock);
}

/* ---- state ---- */

static const struct state_field fields[] = {
	STATE_ONE(struct i8042_state, status, .bits = STR_KEPT),
	STATE_ONE(struct i8042_state, output, .max = 0xff),
	STATE_ONE(struct i8042_state, pending, .max = 0xff),
	STATE_ONE(struct i8042_state, out_port, .max = 0xff),
	STATE_ARRAY(struct i8042_state, ram),
};

static int load(void *dev, const void *state)
{
	struct i8042 *k = dev;

	pthread_mutex_lock(&k->lock);
	k->st = *(const struct i8042_state *)state;
	update_irq(k);
	pthread_mutex_unlock(&k->lock);
	return 0;
}

static const struct state_type state_type = {
	STATE_TYPE("i8042", 1, struct i8042_state, fields),
	.at = offsetof(struct i8042, st),
	.load = load,
};

const struct device_type i8042_type = {
	.name = "i8042",
	.size = sizeof(struct i8042),
	.io = { .read = i8042_read, .write = i8042_write },
	.init = i8042_init,
	.fini = i8042_fini,
	.state = &state_type,
};
