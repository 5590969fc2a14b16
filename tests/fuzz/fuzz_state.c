/* Links: hw/serial.o hw/rtc.o hw/i8042.o hw/power.o hw/reset.o hw/test-device.o hw/pci-state.o hw/pci.o hw/pci-msix.o hw/bus.o hw/ram.o hw/ram-fault.o hw/ram-log.o hw/ram-plug.o hw/state.o hw/state-show.o util/json.o util/log.o */

/*
 * Saved state as an enemy would write it (state.h) of the chip or the part of PCI that the first byte
 * chooses. Behind the values of all fields come accesses of the guest, an offset and a byte each.
 */
#include "../unit/fake-board.h"
#include "input.h"
#include "lkvm/chips.h"
#include "lkvm/console.h"
#include "lkvm/pci.h"
#include "lkvm/timer.h"
#include "lkvm/types.h"
#include "state.h"

struct console {
	size_t room;
};

static struct fake_board fake;
static struct bus pio, mmio;

static const struct {
	const struct device_type *type;
	unsigned ports;
} chips[] = {
	{ &serial_type, 8 }, { &rtc_type, 2 },   { &i8042_type, 2 },
	{ &power_type, 16 }, { &reset_type, 2 }, { &test_device_type, 64 },
};

static const struct state_type *const pci_types[] = {
	&pci_host_state_type,
	&pci_function_state_type,
	&pci_msix_state_type,
};

void timer_init(struct timer *t, struct loop *loop, clockid_t clock,
		void (*fired)(struct timer *timer))
{
	(void)loop, (void)clock;
	t->fired = fired;
}

void timer_fini(struct timer *t)
{
	(void)t;
}

int timer_set(struct timer *t, uint64_t at_ns)
{
	(void)t;
	check(at_ns && at_ns <= INT64_MAX);
	return 0;
}

void timer_stop(struct timer *t)
{
	(void)t;
}

void console_attach(struct console *con, const struct console_device *dev)
{
	(void)con, (void)dev;
}

size_t console_put(struct console *con, const void *buf, size_t len)
{
	size_t n = len < con->room ? len : con->room;

	check(buf && len);
	con->room -= n;
	return n;
}

void console_input_wanted(struct console *con)
{
	(void)con;
}

static void try_chip(unsigned n, struct input *in)
{
	const struct device_type *type = chips[n].type;
	struct console con = { .room = 2 };
	struct board board = fake_board_init(&fake);
	const struct device_env env = { .irq = { .set = board.ops->line, .ctx = board.ctx },
					.board = board,
					.console = &con };
	void *dev = calloc(1, type->size);

	check(dev && type->init(dev, &env) == 0);
	try_one(type->state, dev, in);
	while (in->at < in->end) {
		unsigned off = input_byte(in) % chips[n].ports;

		if (type == &test_device_type && off / 4 == 1)
			continue; /* it would look for the guest's RAM */
		type->io.write(dev, off, 1, input_byte(in));
		type->io.read(dev, off, 1);
	}
	type->fini ? type->fini(dev) : (void)0;
	free(dev);
}

static uint64_t bar_read(struct pci_function *fn, unsigned bar, uint64_t off, unsigned len)
{
	(void)fn, (void)bar, (void)off, (void)len;
	return 0;
}

static void bar_write(struct pci_function *fn, unsigned bar, uint64_t off, unsigned len,
		      uint64_t value)
{
	(void)fn, (void)bar, (void)off, (void)len, (void)value;
}

static void try_pci(unsigned n, struct input *in)
{
	static const struct pci_ops ops = { .bar_read = bar_read, .bar_write = bar_write };
	struct board board = fake_board_init(&fake);
	struct pci_function fn = { .ops = &ops, .name = "toy" };
	struct pci_host *host;

	bus_init(&pio);
	bus_init(&mmio);
	check(pci_host_new(&pio, &mmio, &board, &host) == 0);
	pci_init(&fn, 0x1234, 0x5678, 0, 0);
	pci_add_bar(&fn, 0, 0x4000, PCI_BAR_64);
	pci_add_bar(&fn, 2, 32, PCI_BAR_IO);
	check(pci_add_msix(&fn, 3, 0, 0, 0x800) == 0 && pci_add(host, &fn) == 0);
	try_one(pci_types[n], n ? (void *)&fn : host, in);
	while (in->at < in->end) {
		uint64_t addr = 0xcf8 + input_byte(in) % 8U;
		uint8_t value = input_byte(in);

		bus_rw(&pio, addr, &value, 1, true);
		bus_rw(&pio, addr, &value, 1, false);
	}
	pci_msix_signal(&fn, 1);
	pci_fini(&fn);
	pci_host_free(host);
	bus_fini(&pio);
	bus_fini(&mmio);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	unsigned n = input_byte(&in) % (ARRAY_SIZE(chips) + ARRAY_SIZE(pci_types));

	if (n < ARRAY_SIZE(chips))
		try_chip(n, &in);
	else
		try_pci(n - (unsigned)ARRAY_SIZE(chips), &in);
	return 0;
}
