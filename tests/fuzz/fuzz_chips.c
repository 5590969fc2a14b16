/* Links: hw/serial.o hw/rtc.o hw/i8042.o hw/power.o hw/pvpanic.o hw/debug-exit.o hw/debug-port.o hw/reset.o util/log.o */

/*
 * A stream of guest accesses to one chip, chosen by the first byte. Of each operation the first
 * byte says what it is:
 *
 *	bit 7     the host's side acts: console input, room, break; power button; timer
 *	bit 6     write (the data follows), else read
 *	bits 5-4  width 1, 2, 4
 *	bits 3-0  offset; an access that leaves the chip's ports does not get past the bus
 *
 * Beside what the sanitizers find: an interrupt line is set only when its level changes,
 * input that was refused is asked for once the guest reads, output that waited
 * is sent once there is room; a clock whose interrupt is enabled waits for its next one.
 */
#include <linux/serial_reg.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "lkvm/chips.h"
#include "lkvm/clock.h"
#include "lkvm/console.h"
#include "lkvm/log.h"
#include "lkvm/timer.h"
#include "lkvm/types.h"

static const struct debug_port_config post_port = { "0x80", 0xff }, bochs_port = { "0xe9", 0xe9 };

static const struct {
	const struct device_type *type;
	unsigned ports;
	bool has_console;
	const void *config;
} chips[] = {
	{ .type = &serial_type, .ports = 8, .has_console = true },
	{ .type = &serial_type, .ports = 8 },
	{ .type = &rtc_type, .ports = 2 },
	{ .type = &i8042_type, .ports = 2 },
	{ .type = &power_type, .ports = 16 },
	{ .type = &pvpanic_type, .ports = 1 },
	{ .type = &debug_exit_type, .ports = 4 },
	{ .type = &debug_port_type, .ports = 1, .config = &post_port },
	{ .type = &debug_port_type, .ports = 1, .config = &bochs_port },
	{ .type = &debug_port_type, .ports = 1, .config = &bochs_port },
	{ .type = &reset_type, .ports = 2 },
};

struct console {
	struct console_device device;
	size_t room, sent;
	bool refused; /* input that the device has not asked for again */
};

static bool irq;
static struct timer *timer; /* of the chip, if it has one */
static struct timespec timer_at;

static void fake_irq(void *vm, unsigned gsi, unsigned source, bool level)
{
	(void)vm;
	(void)gsi;
	(void)source;
	check(level != irq);
	irq = level;
}

static void fake_stop(void *vm, enum stop_cause cause, uint32_t value)
{
	(void)vm;
	(void)value;
	check(cause != STOP_NONE);
}

static void fake_note_panic(void *vm)
{
	(void)vm;
}

void timer_init(struct timer *t, struct loop *loop, clockid_t clock, void (*fired)(struct timer *timer))
{
	(void)loop, (void)clock;
	timer = t;
	t->fired = fired;
}

void timer_fini(struct timer *t)
{
	check(t == timer);
	timer = NULL;
}

int timer_set(struct timer *t, uint64_t at_ns)
{
	check(t == timer && at_ns && at_ns <= INT64_MAX);
	timer_at = (struct timespec){ (time_t)(at_ns / NS_PER_S), (long)(at_ns % NS_PER_S) };
	return 0;
}

void timer_stop(struct timer *t)
{
	check(t == timer);
	timer_at = (struct timespec){ 0 };
}

void console_attach(struct console *con, const struct console_device *dev)
{
	con->device = dev ? *dev : (struct console_device){ 0 };
}

size_t console_put(struct console *con, const void *buf, size_t len)
{
	size_t n = len < con->room ? len : con->room;

	check(buf && len);
	con->room -= n;
	con->sent += n;
	return n;
}

void console_input_wanted(struct console *con)
{
	con->refused = false;
}

static void host_acts(struct console *con, void *dev, const struct device_type *type, uint8_t what)
{
	static const uint8_t typed[32] = "the quick brown fox jumps over";
	size_t len = what & 0x1f;

	if (type == &power_type)
		power_button(dev);
	if (timer)
		timer->fired(timer);
	if (!con->device.dev)
		return;
	switch (what >> 5 & 3) {
	case 0:
		con->refused = con->device.input(dev, typed, len) < len;
		break;
	case 1:
		con->room = len;
		con->device.writable(dev);
		break;
	case 2:
		con->device.send_break(dev);
		break;
	}
}

/* Return: the first byte */
static uint8_t read_access(const struct device_type *type, void *dev, unsigned off, unsigned len)
{
	return (uint8_t)type->io.read(dev, off, len);
}

static void guest_acts(const struct device_type *type, void *dev, unsigned ports, uint8_t op,
		       struct input *in)
{
	unsigned off = op & 0x0f, len = 1U << (op >> 4 & 3);
	uint64_t value = 0;

	if (len > 4 || off >= ports || len > ports - off)
		return;
	if (!(op & 0x40)) {
		read_access(type, dev, off, len);
		return;
	}
	for (unsigned i = 0; i < len; i++)
		value |= (uint64_t)input_byte(in) << 8 * i;
	type->io.write(dev, off, len, value);
}

static void write_byte(const struct device_type *type, void *dev, unsigned off, uint8_t value)
{
	type->io.write(dev, off, 1, value);
}

/* Whatever went before: a guest that now listens and a console that now has room work. */
static void serial_still_works(struct console *con, const struct device_type *type, void *dev)
{
	con->room = SIZE_MAX;
	con->device.writable(dev);
	write_byte(type, dev, UART_LCR, 0);
	write_byte(type, dev, UART_MCR, UART_MCR_OUT2);
	write_byte(type, dev, UART_IER, UART_IER_RDI);
	for (unsigned i = 0; i < 16; i++)
		read_access(type, dev, UART_RX, 1);
	check(!con->refused);
	read_access(type, dev, UART_LSR, 1); /* errors from before */
	check(read_access(type, dev, UART_LSR, 1) == (UART_LSR_THRE | UART_LSR_TEMT));
	check(!irq);
	check(con->device.input(dev, (const uint8_t *)"x", 1) == 1);
	check(irq);
	check(read_access(type, dev, UART_RX, 1) == 'x');
	con->sent = 0;
	write_byte(type, dev, UART_TX, 'y');
	check(con->sent == 1);
}

/* Whatever went before: who enables the interrupt of the next second gets it. */
static void rtc_still_works(const struct device_type *type, void *dev)
{
	struct timespec now;

	write_byte(type, dev, 0, 0x0b);
	write_byte(type, dev, 1, 0x10);
	write_byte(type, dev, 0, 0x0c);
	read_access(type, dev, 1, 1);
	clock_gettime(CLOCK_REALTIME, &now);
	check(irq || (timer_at.tv_sec && timer_at.tv_sec <= now.tv_sec + 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	unsigned n = input_byte(&in) % ARRAY_SIZE(chips);
	const struct device_type *type = chips[n].type;
	struct console con = { .room = 4 };
	static const struct board_ops ops = { .stop = fake_stop, .note_panic = fake_note_panic };
	const struct device_env env = {
		.irq = { .set = fake_irq },
		.board = { .ops = &ops },
		.console = chips[n].has_console ? &con : NULL,
		.ram_bytes = (uint64_t)n << 30,
		.config = chips[n].config,
	};
	void *dev = calloc(1, type->size);

	irq = false;
	timer_at = (struct timespec){ 0 };
	log_set_topics(LOG_DEVICE);
	check(dev && type->init(dev, &env) == 0);
	while (in.at < in.end) {
		uint8_t op = input_byte(&in);

		if (op & 0x80)
			host_acts(&con, dev, type, input_byte(&in));
		else
			guest_acts(type, dev, chips[n].ports, op, &in);
	}
	if (con.device.dev)
		serial_still_works(&con, type, dev);
	if (type == &rtc_type)
		rtc_still_works(type, dev);
	if (type->fini)
		type->fini(dev);
	free(dev);
	return 0;
}
