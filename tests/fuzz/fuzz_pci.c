/* Links: virtio/pci.o virtio/pci-common.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o hw/ram.o util/log.o util/loop.o tests/unit/fake-driver.o tests/unit/fake-ring.o */

/*
 * A stream of guest accesses to a PCI bus with two virtio functions that echo. Of each operation
 * the first byte says what it is, and numbers that follow are little endian:
 *
 *	bits 7-6  0: ports; 1: ECAM; 2: the BAR, wherever the guest has put it; 3: guest memory
 *	bit 5     write (the data follows), else read
 *	bits 4-3  width 1, 2, 4, 8
 *	bits 2-1  which function; the bridge, one that is not there
 *	bit 0     the value is an offset into guest memory: a queue address
 *
 * and an offset of 2 bytes follows. Guest memory: offset, then the byte to write there.
 *
 * Beside what the sanitizers and the fake machine find: a guest uses up no more routes than there
 * are vectors, read-only registers stay what they are, nothing is left at the end.
 */
#include <stdlib.h>
#include <string.h>

#include "../unit/fake-driver.h"
#include "../unit/fake-board.h"
#include "input.h"
#include "lkvm/access.h"
#include "lkvm/virtio-pci.h"
#include "lkvm/x86/layout.h"

#define FUNCTIONS   2
#define QUEUES      3
#define ARENA_BYTES 65536

static struct fake_driver drv;
static struct fake_board fake;
static struct bus pio, mmio;
static struct pci_host *host;
static struct virtio_dev dev[FUNCTIONS];
static struct virtio_pci *transport[FUNCTIONS];
static uint8_t config[24];
static gpa_t arena;

static uint64_t config_read(struct virtio_dev *d, unsigned off, unsigned width)
{
	(void)d;
	return access_get(config + off, width);
}

static void config_write(struct virtio_dev *d, unsigned off, unsigned width, uint64_t value)
{
	(void)d;
	access_put(config + off, width, value);
}

static const struct virtio_type echo = {
	.name = "echo",
	.id = 42,
	.queue_size = 256,
	.kick = fake_echo,
	.config_read = config_read,
	.config_write = config_write,
};

static void build(void)
{
	struct board board = fake_board_init(&fake);

	if (!arena.v) {
		fake_init(&drv, 2);
		arena = fake_alloc(&drv, ARENA_BYTES + 8, 4096);
	}
	memset(fake_at(&drv, arena), 0, ARENA_BYTES);
	bus_init(&pio);
	bus_init(&mmio);
	check(!pci_host_new(&pio, &mmio, &board, &host));
	pci_host_reserve(host, 0, 64 << 20);
	pci_host_reserve(host, LAYOUT_CHIPS, LAYOUT_CHIPS_END - LAYOUT_CHIPS);
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		dev[i] = (struct virtio_dev){ .type = &echo,
					      .name = "echo",
					      .ram = drv.ram,
					      .n_queues = QUEUES,
					      .config_bytes = sizeof(config),
					      .device_features = FAKE_PACKED };
		check(!virtio_init(&dev[i]));
		check(!virtio_dev_start(&dev[i]));
		check(!virtio_pci_new(host, &dev[i], &transport[i]));
	}
}

static void take_apart(void)
{
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		virtio_fini(&dev[i]);
		virtio_pci_free(transport[i]);
	}
	pci_host_free(host);
	check(!pio.n && !mmio.n && !fake.n_routes && !fake.n_irqfds && !fake.n_events);
	bus_fini(&pio);
	bus_fini(&mmio);
}

/* The next @n bytes, zeros behind the end. */
/* Exactly @len bytes, so that more or fewer of them show. */
static uint64_t access_bus(struct bus *bus, uint64_t addr, unsigned len, bool write, uint64_t value)
{
	uint8_t *data = malloc(len);

	check(data);
	access_put(data, len, value);
	bus_rw(bus, addr, data, len, write);
	value = access_get(data, len);
	free(data);
	return value;
}

static void let_work(void)
{
	for (unsigned i = 0; i < FUNCTIONS; i++)
		access_bus(&mmio, LAYOUT_ECAM + ((8 * i + 8) << 12) + PCI_COMMAND, 2, true,
			   PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static uint32_t config_word(unsigned devfn, unsigned reg)
{
	return (uint32_t)access_bus(&mmio, LAYOUT_ECAM + (devfn << 12) + reg, 4, false, 0);
}

static uint64_t bar_of(unsigned devfn)
{
	return (config_word(devfn, PCI_BASE_ADDRESS_0) & ~0xfU) |
	       (uint64_t)config_word(devfn, PCI_BASE_ADDRESS_1) << 32;
}

static void guest_acts(uint8_t op, struct input *in)
{
	static const unsigned devfns[] = { 8, 16, 0, 24 };
	unsigned kind = op >> 6, len = 1U << (op >> 3 & 3), devfn = devfns[op >> 1 & 3];
	uint64_t off = input_le(in, 2), value = 0;
	bool write = op & 0x20;

	if (kind == 3) {
		((uint8_t *)fake_at(&drv, arena))[off] = (uint8_t)input_le(in, 1);
		return;
	}
	if (write)
		value = input_le(in, op & 1 ? 2 : len);
	if (op & 1)
		value += arena.v;
	if (kind == 0)
		access_bus(&pio, PORT_PCI + off % 8, len, write, value);
	else if (kind == 1)
		access_bus(&mmio, LAYOUT_ECAM + (devfn << 12) + off % 4096, len, write, value);
	else
		access_bus(&mmio, bar_of(devfn) + off % 0x4000, len, write, value);
}

static void check_state(void)
{
	check(fake.n_routes <= FUNCTIONS * (QUEUES + 1));
	check(fake.n_irqfds <= fake.n_routes);
	check(fake.n_events <= FUNCTIONS * QUEUES);
	check(config_word(0, 0) == 0x00081b36);
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		check(config_word(8 * i + 8, 0) == 0x106a1af4);
		check((config_word(8 * i + 8, PCI_COMMAND) & ~0x00180000U & 0xfffffbf9) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };

	build();
	let_work();
	while (in.at < in.end)
		guest_acts((uint8_t)input_le(&in, 1), &in);
	check_state();
	take_apart();
	return 0;
}
