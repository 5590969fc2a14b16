/* Links: virtio/mmio.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/bus.o hw/ram.o util/log.o util/loop.o tests/unit/fake-driver.o tests/unit/fake-ring.o */

/*
 * A stream of guest accesses to an MMIO device that echoes. Of each operation the first byte says
 * what it is, and numbers that follow are little endian:
 *
 *	bit 7     write to guest memory: offset (2 bytes), value (1 byte)
 *	bit 6     write (the data follows), else read
 *	bits 5-4  width 1, 2, 4, 8
 *	bit 3     a queue address: the value is an offset into the guest memory of bit 7
 *	          (a register offset (2 bytes) follows in any case but that of bit 7)
 *
 * Beside what the sanitizers and the core's asserts find: a status bit goes down only at a reset.
 */
#include <linux/virtio_mmio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/fake-driver.h"
#include "input.h"
#include "lkvm/access.h"
#include "lkvm/virtio-mmio.h"

#define BASE 0xe1000000ULL

static struct fake_driver drv;
static struct bus bus;
static struct virtio_mmio_host *host;
static struct virtio_dev dev;
static uint8_t config[24];
static gpa_t arena; /* 64 KiB of guest memory, for rings */

static int notify(void *ctx, int fd, bool pio, uint64_t addr, unsigned len, int64_t match, bool on)
{
	(void)ctx, (void)fd, (void)pio, (void)addr, (void)len, (void)match, (void)on;
	return -1; /* so that notifications are accesses, too */
}

static int irqfd(void *ctx, int fd, unsigned gsi, bool on)
{
	(void)ctx, (void)fd, (void)gsi, (void)on;
	return 0;
}

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
	static const struct board_ops ops = { .notify = notify, .irqfd = irqfd };
	static const uint8_t gsi = 16;
	const struct virtio_mmio_config cfg = {
		.board = { &ops, NULL }, .bus = &bus, .base = BASE, .gsi = &gsi, .n_gsis = 1
	};

	bus_init(&bus);
	fake_init(&drv, 2);
	arena = fake_alloc(&drv, 65536 + 8, 4096);
	dev = (struct virtio_dev){ .type = &echo,
				   .name = "echo",
				   .ram = drv.ram,
				   .n_queues = 3,
				   .config_bytes = sizeof(config),
				   .device_features = FAKE_PACKED };
	check(!virtio_init(&dev));
	check(!virtio_dev_start(&dev));
	check(!virtio_mmio_host_new(&cfg, &host));
	check(!virtio_mmio_add(host, &dev));
}

/* The next @n bytes, zeros behind the end. */
static uint32_t status(void)
{
	uint32_t value;

	bus_rw(&bus, BASE + VIRTIO_MMIO_STATUS, &value, sizeof(value), false);
	return value;
}

static void register_access(struct input *in, uint8_t op)
{
	unsigned len = 1U << (op >> 4 & 3);
	uint64_t off = input_le(in, 2) % VIRTIO_MMIO_BYTES, value = 0;
	bool write = op & 0x40, reset;
	uint32_t before = status();

	if (off > VIRTIO_MMIO_BYTES - len)
		return;
	if (write)
		value = input_le(in, op & 8 ? 2 : len);
	if (op & 8)
		value += arena.v;
	reset = write && off == VIRTIO_MMIO_STATUS && len == 4 && !value;
	check(!bus_rw(&bus, BASE + off, &value, len, write));
	check(reset || !(before & ~status()));
}

static void reset(void)
{
	uint32_t zero = 0;

	bus_rw(&bus, BASE + VIRTIO_MMIO_STATUS, &zero, sizeof(zero), true);
	check(!status());
	memset(fake_at(&drv, arena), 0, 65536);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };

	if (!host)
		build();
	while (in.at < in.end) {
		uint8_t op = (uint8_t)input_le(&in, 1);

		if (op & 0x80) {
			uint64_t off = input_le(&in, 2);

			((uint8_t *)fake_at(&drv, arena))[off] = (uint8_t)input_le(&in, 1);
		} else {
			register_access(&in, op);
		}
	}
	reset();
	return 0;
}
