/* Links: virtio/mmio.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/bus.o hw/ram.o util/log.o util/loop.o tests/unit/fake-driver.o tests/unit/fake-ring.o */

/*
 * The MMIO transport, driven through its registers as a guest does. The machine behind it keeps a
 * list of ioeventfds and one irqfd a GSI; the device echoes what it is sent.
 */
#include "lkvm/virtio-mmio.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fake-driver.h"
#include "lkvm/access.h"
#include "unit.h"

#define BASE        0xe1000000ULL
#define QUEUE_RESET 0x0c0
#define ACK_DRIVER  (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)
#define FEATURES_OK (ACK_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)
#define DRIVER_OK   (FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)

/* ---- the machine ---- */

static struct {
	struct bus bus;
	struct {
		int fd;
		uint64_t addr;
		int64_t match;
	} note[8];
	unsigned n_notes;
	int irq_fd[32]; /* by GSI, -1: none */
	struct {
		uint64_t addr, bytes;
		bool on;
	} memory[2];
	int notify_err, irqfd_err, memory_err;
} machine;

static int on_notify(void *ctx, int fd, bool pio, uint64_t addr, unsigned len, int64_t match,
		     bool on)
{
	ck_assert_ptr_eq(ctx, &machine);
	ck_assert(!pio);
	ck_assert_uint_eq(len, 4);
	if (machine.notify_err)
		return machine.notify_err;
	if (on) {
		ck_assert_uint_lt(machine.n_notes, ARRAY_SIZE(machine.note));
		machine.note[machine.n_notes].fd = fd;
		machine.note[machine.n_notes].addr = addr;
		machine.note[machine.n_notes++].match = match;
		return 0;
	}
	for (unsigned i = 0; i < machine.n_notes; i++)
		if (machine.note[i].fd == fd && machine.note[i].addr == addr &&
		    machine.note[i].match == match) {
			machine.note[i] = machine.note[--machine.n_notes];
			return 0;
		}
	return -ENOENT;
}

static int on_irqfd(void *ctx, int fd, unsigned gsi, bool on)
{
	ck_assert_ptr_eq(ctx, &machine);
	ck_assert_uint_lt(gsi, ARRAY_SIZE(machine.irq_fd));
	if (machine.irqfd_err)
		return machine.irqfd_err;
	ck_assert_int_eq(machine.irq_fd[gsi], on ? -1 : fd);
	machine.irq_fd[gsi] = on ? fd : -1;
	return 0;
}

static int on_memory_add(void *ctx, const char *name, uint64_t addr, void *memory, uint64_t bytes,
			 bool read_only)
{
	unsigned n = machine.memory[0].on;

	ck_assert_ptr_eq(ctx, &machine);
	ck_assert(name && memory && !read_only);
	if (machine.memory_err)
		return machine.memory_err;
	ck_assert(!machine.memory[n].on);
	machine.memory[n].addr = addr;
	machine.memory[n].bytes = bytes;
	machine.memory[n].on = true;
	return (int)n;
}

static int on_memory_remove(void *ctx, unsigned number)
{
	ck_assert_ptr_eq(ctx, &machine);
	ck_assert(machine.memory[number].on);
	machine.memory[number].on = false;
	return 0;
}

static const struct board_ops board_ops = {
	.notify = on_notify, .irqfd = on_irqfd, .memory_add = on_memory_add, .memory_remove = on_memory_remove
};

/* Edges on @gsi since the last call. */
static uint64_t edges(unsigned gsi)
{
	uint64_t n = 0;

	if (read(machine.irq_fd[gsi], &n, sizeof(n)) < 0)
		ck_assert_int_eq(errno, EAGAIN);
	return n;
}

static void wait_edge(unsigned gsi)
{
	struct pollfd p = { .fd = machine.irq_fd[gsi], .events = POLLIN };

	ck_assert_int_eq(poll(&p, 1, 10000), 1);
	edges(gsi);
}

/* ---- the device ---- */

static uint8_t config[12];
static unsigned config_writes;

static uint64_t config_read(struct virtio_dev *dev, unsigned off, unsigned width)
{
	(void)dev;
	return access_get(config + off, width);
}

static void config_write(struct virtio_dev *dev, unsigned off, unsigned width, uint64_t value)
{
	(void)dev;
	access_put(config + off, width, value);
	config_writes++;
}

static const struct virtio_type echo = {
	.name = "echo",
	.id = 42,
	.queue_size = 64,
	.kick = fake_echo,
	.config_read = config_read,
	.config_write = config_write,
};

/* ---- set-up ---- */

#define MAX_DEVICES 3

static struct fake_driver drv; /* its guest RAM and its rings; not its transport */
static struct virtio_mmio_host *host;
static struct virtio_dev dev[MAX_DEVICES];
static unsigned n_devices;
static struct virtio_shm shm; /* of the next devices */

#define SHARED       0x180000000ULL /* addresses for what devices share */
#define SHARED_BYTES 0x2c0000000ULL

static void host_new(const uint8_t *gsi, unsigned n_gsis)
{
	struct virtio_mmio_config cfg = {
		.board = { &board_ops, &machine },
		.bus = &machine.bus,
		.base = BASE,
		.gsi = gsi,
		.n_gsis = n_gsis,
		.shm = { SHARED, SHARED_BYTES },
	};

	bus_init(&machine.bus);
	for (size_t i = 0; i < ARRAY_SIZE(machine.irq_fd); i++)
		machine.irq_fd[i] = -1;
	ck_assert_int_eq(virtio_mmio_host_new(&cfg, &host), 0);
}

static void device_init(struct virtio_dev *d)
{
	*d = (struct virtio_dev){ .type = &echo,
				  .name = "echo",
				  .ram = drv.ram,
				  .n_queues = 2,
				  .config_bytes = sizeof(config),
				  .shm = shm,
				  .device_features = FAKE_PACKED | 1 };
	ck_assert_int_eq(virtio_init(d), 0);
	ck_assert_int_eq(virtio_dev_start(d), 0);
}

static void setup_devices(unsigned n, const uint8_t *gsi, unsigned n_gsis)
{
	fake_init(&drv, 4);
	host_new(gsi, n_gsis);
	for (n_devices = 0; n_devices < n; n_devices++) {
		device_init(&dev[n_devices]);
		ck_assert_int_eq(virtio_mmio_add(host, &dev[n_devices]), 0);
	}
}

static unsigned count(void)
{
	unsigned n;

	virtio_mmio_places(host, &n);
	return n;
}

static struct virtio_mmio_place place(unsigned index)
{
	unsigned n;
	const struct virtio_mmio_place *all = virtio_mmio_places(host, &n);

	ck_assert_uint_lt(index, n);
	return all[index];
}

static void setup(void)
{
	static const uint8_t gsi = 16;

	setup_devices(1, &gsi, 1);
}

static void teardown(void)
{
	for (unsigned i = 0; i < n_devices; i++)
		virtio_fini(&dev[i]);
	ck_assert_uint_eq(machine.n_notes, 0);
	virtio_mmio_host_free(host);
	ck_assert_uint_eq(machine.bus.n, 0);
	ck_assert(!machine.memory[0].on && !machine.memory[1].on);
	for (size_t i = 0; i < ARRAY_SIZE(machine.irq_fd); i++)
		ck_assert_int_eq(machine.irq_fd[i], -1);
	bus_fini(&machine.bus);
	fake_fini(&drv);
}

/* ---- accesses of the guest ---- */

static uint64_t read_at(uint64_t addr, unsigned len)
{
	uint8_t bytes[16];

	memset(bytes, 0x5a, sizeof(bytes));
	ck_assert_int_eq(bus_rw(&machine.bus, addr, bytes, len, false), 0);
	for (size_t i = len; i < sizeof(bytes); i++)
		ck_assert_uint_eq(bytes[i], 0x5a);
	return access_get(bytes, len);
}

/* As in KVM: a write that an ioeventfd matches goes there and nowhere else. */
static void write_at(uint64_t addr, unsigned len, uint64_t value)
{
	const uint64_t one = 1;
	uint8_t bytes[8];

	for (unsigned i = 0; i < machine.n_notes; i++)
		if (len == 4 && machine.note[i].addr == addr &&
		    (uint64_t)machine.note[i].match == value) {
			ck_assert_int_eq(write(machine.note[i].fd, &one, sizeof(one)), sizeof(one));
			return;
		}
	access_put(bytes, len, value);
	ck_assert_int_eq(bus_rw(&machine.bus, addr, bytes, len, true), 0);
}

static uint32_t rd(unsigned off)
{
	return (uint32_t)read_at(BASE + off, 4);
}

static void wr(unsigned off, uint32_t value)
{
	write_at(BASE + off, 4, value);
}

/* ---- the driver ---- */

static bool negotiate(uint64_t features)
{
	drv.features = features | FAKE_VERSION_1;
	wr(VIRTIO_MMIO_STATUS, 0);
	wr(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	wr(VIRTIO_MMIO_STATUS, ACK_DRIVER);
	for (unsigned i = 0; i < 2; i++) {
		wr(VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
		wr(VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(drv.features >> 32 * i));
	}
	wr(VIRTIO_MMIO_STATUS, FEATURES_OK);
	return rd(VIRTIO_MMIO_STATUS) == FEATURES_OK;
}

static void queue_setup(struct fake_queue *q, unsigned index, uint16_t size)
{
	fake_queue_init(q, &drv, size, drv.features);
	wr(VIRTIO_MMIO_QUEUE_SEL, index);
	wr(VIRTIO_MMIO_QUEUE_NUM, size);
	wr(VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)q->setup.desc.v);
	wr(VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(q->setup.desc.v >> 32));
	wr(VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)q->setup.avail.v);
	wr(VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(q->setup.avail.v >> 32));
	wr(VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)q->setup.used.v);
	wr(VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(q->setup.used.v >> 32));
	wr(VIRTIO_MMIO_QUEUE_READY, 1);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_QUEUE_READY), 1);
}

static void probe(struct fake_queue q[2], uint64_t features)
{
	ck_assert(negotiate(features));
	queue_setup(&q[0], 0, 16);
	queue_setup(&q[1], 1, 8);
	wr(VIRTIO_MMIO_STATUS, DRIVER_OK);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_STATUS), DRIVER_OK);
}

/* Eight bytes there and back through queue @index, by interrupt. */
static void echo_once(struct fake_queue *q, unsigned index)
{
	gpa_t out = fake_alloc(&drv, 8, 8), in = fake_alloc(&drv, 8, 8);
	struct fake_buf bufs[] = { FAKE_OUT(out, 8), FAKE_IN(in, 8) };
	uint32_t written;

	memset(fake_at(&drv, out), (int)(0x40 + index), 8);
	fake_irq_on(q, 0);
	ck_assert_int_ge(fake_add(q, bufs, 2), 0);
	if (fake_must_notify(q))
		wr(VIRTIO_MMIO_QUEUE_NOTIFY, index);
	do {
		wait_edge(16);
		ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
		wr(VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	} while (fake_used(q, &written) < 0);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	ck_assert_uint_eq(written, 8);
	ck_assert_mem_eq(fake_at(&drv, in), fake_at(&drv, out), 8);
}

/* ---- tests ---- */

START_TEST(test_identity)
{
	setup();
	ck_assert_uint_eq(rd(VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_VERSION), 2);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_DEVICE_ID), 42);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_VENDOR_ID), 0x4d564b4c);
	for (unsigned off = 0; off < 16; off += 4) {
		uint32_t old = rd(off);

		wr(off, ~old);
		ck_assert_uint_eq(rd(off), old);
	}
	teardown();
}
END_TEST

/* Nothing but the documented registers reads as anything but 0. */
START_TEST(test_holes)
{
	static const uint16_t readable[] = { 0x000, 0x004, 0x008, 0x00c, 0x010,
					     0x034, 0x0b0, 0x0b4, 0x0b8, 0x0bc };

	setup();
	for (unsigned off = 0, i = 0; off < VIRTIO_MMIO_CONFIG; off += 4) {
		bool known = i < ARRAY_SIZE(readable) && off == readable[i];

		ck_assert_msg(!rd(off) == !known, "register %#x", off);
		i += known;
	}
	for (unsigned off = 0xb0; off <= 0xbc; off += 4) /* no shared memory */
		ck_assert_uint_eq(rd(off), 0xffffffff);
	wr(0xac, 1);
	ck_assert_uint_eq(rd(0xb0), 0xffffffff);
	teardown();
}
END_TEST

START_TEST(test_widths)
{
	static const unsigned widths[] = { 1, 2, 8 };

	setup();
	wr(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	for (size_t i = 0; i < ARRAY_SIZE(widths); i++) {
		for (unsigned off = 0; off + widths[i] <= VIRTIO_MMIO_CONFIG; off++)
			ck_assert_uint_eq(read_at(BASE + off, widths[i]), 0);
		write_at(BASE + VIRTIO_MMIO_STATUS, widths[i], ACK_DRIVER);
		write_at(BASE + VIRTIO_MMIO_STATUS, widths[i], 0);
		ck_assert_uint_eq(rd(VIRTIO_MMIO_STATUS), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	}
	for (unsigned off = 1; off < VIRTIO_MMIO_CONFIG - 4; off++) {
		if (off % 4 == 0)
			continue;
		ck_assert_uint_eq(rd(off), 0);
		wr(off, 0);
	}
	wr(VIRTIO_MMIO_STATUS, 0x100); /* no bit of the status: neither an advance nor a reset */
	wr(VIRTIO_MMIO_STATUS, 0x100 | ACK_DRIVER);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_STATUS), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	teardown();
}
END_TEST

START_TEST(test_features)
{
	setup();
	wr(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_DEVICE_FEATURES), (uint32_t)dev[0].device_features);
	wr(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_DEVICE_FEATURES), dev[0].device_features >> 32);
	ck_assert_uint_ne(rd(VIRTIO_MMIO_DEVICE_FEATURES), 0);
	wr(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_DEVICE_FEATURES), 0);
	wr(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0xffffffff);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_DEVICE_FEATURES), 0);

	ck_assert(negotiate(1));
	ck_assert_uint_eq(dev[0].driver_features, FAKE_VERSION_1 | 1);
	ck_assert(!negotiate(2)); /* not offered */
	ck_assert_uint_eq(rd(VIRTIO_MMIO_STATUS), ACK_DRIVER);
	ck_assert(negotiate(0));
	wr(VIRTIO_MMIO_STATUS, 0);
	wr(VIRTIO_MMIO_STATUS, ACK_DRIVER);
	wr(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	wr(VIRTIO_MMIO_DRIVER_FEATURES, 1);
	wr(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 2); /* bits 64 and up: nobody has them */
	wr(VIRTIO_MMIO_DRIVER_FEATURES, 1);
	wr(VIRTIO_MMIO_STATUS, FEATURES_OK);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_STATUS), ACK_DRIVER);
	teardown();
}
END_TEST

START_TEST(test_queue)
{
	static const struct {
		unsigned low;
		enum virtio_queue_field field;
	} address[] = { { VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_QUEUE_DESC },
			{ VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_QUEUE_AVAIL },
			{ VIRTIO_MMIO_QUEUE_USED_LOW, VIRTIO_QUEUE_USED } };

	setup();
	ck_assert(negotiate(0));
	for (unsigned i = 0; i < 2; i++) {
		wr(VIRTIO_MMIO_QUEUE_SEL, i);
		ck_assert_uint_eq(rd(VIRTIO_MMIO_QUEUE_NUM_MAX), 64);
		wr(VIRTIO_MMIO_QUEUE_NUM, 16U << i);
	}
	ck_assert_uint_eq(virtio_queue_get(&dev[0], 0, VIRTIO_QUEUE_SIZE), 16);
	ck_assert_uint_eq(virtio_queue_get(&dev[0], 1, VIRTIO_QUEUE_SIZE), 32);
	wr(VIRTIO_MMIO_QUEUE_NUM, 0x10000 | 8); /* all 32 bits count */
	ck_assert_uint_eq(virtio_queue_get(&dev[0], 1, VIRTIO_QUEUE_SIZE), 32);
	for (size_t i = 0; i < 3; i++) {
		wr(address[i].low, 0x11111000);
		wr(address[i].low + 4, (uint32_t)(0xabcd0000 + i));
		ck_assert_uint_eq(virtio_queue_get(&dev[0], 1, address[i].field),
				  (0xabcd0000 + i) << 32 | 0x11111000);
		wr(address[i].low, (uint32_t)(0x22222000 + i));
		ck_assert_uint_eq(virtio_queue_get(&dev[0], 1, address[i].field),
				  (0xabcd0000 + i) << 32 | (0x22222000 + i));
		ck_assert_uint_eq(virtio_queue_get(&dev[0], 0, address[i].field), 0);
	}
	wr(VIRTIO_MMIO_QUEUE_READY, 2); /* neither 0 nor 1 */
	ck_assert_uint_eq(rd(VIRTIO_MMIO_QUEUE_READY), 0);
	wr(VIRTIO_MMIO_QUEUE_READY, 1);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_QUEUE_READY), 1);
	wr(VIRTIO_MMIO_QUEUE_READY, 0);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_QUEUE_READY), 0);
	wr(VIRTIO_MMIO_QUEUE_SEL, 2);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_QUEUE_NUM_MAX), 0); /* there is no such queue */
	wr(VIRTIO_MMIO_QUEUE_READY, 1);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_QUEUE_READY), 0);
	teardown();
}
END_TEST

static void live(uint64_t features)
{
	struct fake_queue q[2];

	probe(q, features);
	for (unsigned i = 0; i < 20; i++)
		echo_once(&q[i % 2], i % 2);
}

START_TEST(test_live)
{
	setup();
	live(0);
	ck_assert_uint_eq(machine.n_notes, 2);
	ck_assert_uint_eq(machine.note[0].addr, BASE + 0x50);
	ck_assert_int_eq(machine.note[0].match + machine.note[1].match, 1);
	live(FAKE_EVENT_IDX);
	live(FAKE_PACKED | FAKE_EVENT_IDX);
	wr(VIRTIO_MMIO_STATUS, 0);
	ck_assert_uint_eq(machine.n_notes, 0);
	teardown();
}
END_TEST

/* KVM has no room for an ioeventfd: notifications come as accesses. */
START_TEST(test_live_without_ioeventfd)
{
	setup();
	machine.notify_err = -ENOSPC;
	live(0);
	wr(VIRTIO_MMIO_QUEUE_NOTIFY, 2); /* there is no such queue */
	wr(VIRTIO_MMIO_QUEUE_NOTIFY, 0xffffffff);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_STATUS), DRIVER_OK);
	teardown();
}
END_TEST

START_TEST(test_queue_reset)
{
	struct fake_queue q[2];

	setup();
	probe(q, FAKE_RESET);
	echo_once(&q[1], 1);
	wr(VIRTIO_MMIO_QUEUE_SEL, 1);
	wr(QUEUE_RESET, 1);
	ck_assert_uint_eq(rd(QUEUE_RESET), 0);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_QUEUE_READY), 0);
	ck_assert_uint_eq(machine.n_notes, 1);
	echo_once(&q[0], 0); /* the other one goes on */
	queue_setup(&q[1], 1, 32);
	wr(VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	echo_once(&q[1], 1);

	probe(q, 0); /* not negotiated: nothing happens */
	wr(VIRTIO_MMIO_QUEUE_SEL, 1);
	wr(QUEUE_RESET, 1);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_QUEUE_READY), 1);
	teardown();
}
END_TEST

static void raise_queue(void)
{
	dev[0].transport_ops->queue_irq(&dev[0], 0);
}

static void raise_config(void)
{
	dev[0].transport_ops->config_irq(&dev[0]);
}

START_TEST(test_interrupt_bits)
{
	setup();
	raise_queue();
	ck_assert_uint_eq(edges(16), 1);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), 1);
	raise_config();
	ck_assert_uint_eq(edges(16), 1);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), 3);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), 3); /* reading acknowledges nothing */
	wr(VIRTIO_MMIO_INTERRUPT_ACK, 0xfffffffc);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), 3);
	wr(VIRTIO_MMIO_INTERRUPT_ACK, 1);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), 2);
	wr(VIRTIO_MMIO_INTERRUPT_ACK, 2);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	wr(VIRTIO_MMIO_INTERRUPT_STATUS, 3); /* read only */
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	ck_assert_uint_eq(edges(16), 0);
	teardown();
}
END_TEST

/* An event between the driver's read and its acknowledgement is still there afterwards. */
START_TEST(test_ack_race)
{
	setup();
	raise_queue();
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), 1);
	edges(16);
	raise_queue();
	ck_assert_uint_eq(edges(16), 1); /* and it is an edge of its own */
	raise_config();
	wr(VIRTIO_MMIO_INTERRUPT_ACK, 3);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), 3);
	wr(VIRTIO_MMIO_INTERRUPT_ACK, 3);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), 0);

	raise_queue(); /* acknowledged blindly */
	wr(VIRTIO_MMIO_INTERRUPT_ACK, 1);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), 1);
	teardown();
}
END_TEST

START_TEST(test_reset_clears_interrupt)
{
	struct fake_queue q[2];

	setup();
	probe(q, 0);
	raise_queue();
	raise_config();
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), 3);
	raise_queue();
	wr(VIRTIO_MMIO_STATUS, 0);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_STATUS), 0);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	wr(VIRTIO_MMIO_QUEUE_SEL, 0);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_QUEUE_READY), 0);
	teardown();
}
END_TEST

START_TEST(test_broken)
{
	struct fake_queue q[2];

	setup();
	probe(q, 0);
	/* more than the ring holds */
	__atomic_store_n(&q[0].avail->idx, 0x4000, __ATOMIC_RELEASE);
	wr(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	wait_edge(16);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_STATUS), DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	live(0);
	teardown();
}
END_TEST

START_TEST(test_config)
{
	const uint64_t at = BASE + VIRTIO_MMIO_CONFIG;

	setup();
	for (unsigned i = 0; i < sizeof(config); i++)
		config[i] = (uint8_t)(0xa0 + i);
	ck_assert_uint_eq(read_at(at + 3, 1), 0xa3);
	ck_assert_uint_eq(read_at(at + 2, 2), 0xa3a2);
	ck_assert_uint_eq(read_at(at + 8, 4), 0xabaaa9a8);
	ck_assert_uint_eq(read_at(at, 8), 0xa7a6a5a4a3a2a1a0);
	ck_assert_uint_eq(read_at(at + 12, 4), 0); /* behind its end */
	ck_assert_uint_eq(read_at(at + 8, 8), 0);  /* across it */
	ck_assert_uint_eq(read_at(at + 1, 2), 0);  /* misaligned */
	ck_assert_uint_eq(read_at(BASE + VIRTIO_MMIO_BYTES - 8, 8), 0);
	ck_assert_uint_eq(read_at(at - 4, 8), 0); /* generation and configuration at once */

	write_at(at + 3, 1, 0x13);
	write_at(at + 4, 2, 0x1514);
	write_at(at + 8, 4, 0x1b1a1918);
	ck_assert_uint_eq(config_writes, 3);
	ck_assert_uint_eq(read_at(at, 8), 0xa7a6151413a2a1a0);
	ck_assert_uint_eq(read_at(at + 8, 4), 0x1b1a1918);
	write_at(at, 8, 0x0706050403020100);
	ck_assert_uint_eq(read_at(at + 4, 4), 0x07060504);
	write_at(at + 12, 4, 1);
	write_at(at + 8, 8, 1);
	write_at(at + 1, 2, 1);
	write_at(at - 4, 8, 1);
	ck_assert_uint_eq(config_writes, 4);
	teardown();
}
END_TEST

START_TEST(test_config_generation)
{
	struct fake_queue q[2];
	uint32_t before;

	setup();
	probe(q, 0);
	before = rd(VIRTIO_MMIO_CONFIG_GENERATION);
	wr(VIRTIO_MMIO_CONFIG_GENERATION, before + 7); /* read only */
	ck_assert_uint_eq(rd(VIRTIO_MMIO_CONFIG_GENERATION), before);
	virtio_config_begin(&dev[0]);
	config[0]++;
	virtio_config_end(&dev[0]);
	ck_assert_uint_ne(rd(VIRTIO_MMIO_CONFIG_GENERATION), before);
	ck_assert_uint_eq(edges(16), 1);
	ck_assert_uint_eq(rd(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	teardown();
}
END_TEST

/* Three devices on two lines: the first and the third share one eventfd. */
START_TEST(test_places_and_sharing)
{
	static const uint8_t gsi[] = { 21, 5 };
	static const unsigned want_gsi[] = { 21, 5, 21 };

	setup_devices(3, gsi, 2);
	ck_assert_uint_eq(count(), 3);
	for (unsigned i = 0; i < 3; i++) {
		struct virtio_mmio_place at = place(i);

		ck_assert_uint_eq(at.base, BASE + i * 0x1000);
		ck_assert_uint_eq(at.gsi, want_gsi[i]);
		ck_assert_uint_eq(read_at(at.base, 4), 0x74726976);
		dev[i].transport_ops->queue_irq(&dev[i], 0);
		ck_assert_uint_eq(edges(at.gsi), 1);
		ck_assert_uint_eq(read_at(at.base + VIRTIO_MMIO_INTERRUPT_STATUS, 4), 1);
	}
	write_at(BASE + VIRTIO_MMIO_INTERRUPT_ACK, 4, 1);
	ck_assert_uint_eq(read_at(BASE + 0x2000 + VIRTIO_MMIO_INTERRUPT_STATUS, 4), 1);
	ck_assert_uint_eq(read_at(BASE + 0xffc, 4), 0);
	ck_assert_int_eq(bus_rw(&machine.bus, BASE + 0x3000, config, 4, false), -ENODEV);
	teardown();
}
END_TEST

static void add_fails(int err)
{
	struct virtio_dev d;

	device_init(&d);
	ck_assert_int_eq(virtio_mmio_add(host, &d), err);
	virtio_fini(&d);
}

START_TEST(test_add_failures)
{
	static const uint8_t gsi[] = { 16, 17, 18 };
	struct bus_range taken = { .base = BASE + 0x1800, .size = 4, .ops = NULL, .name = "taken" };
	struct rlimit all, none;

	setup_devices(1, gsi, 3);
	device_init(&dev[1]);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &all), 0);
	none = all;
	none.rlim_cur = (rlim_t)dup(0);
	close((int)none.rlim_cur);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_eq(virtio_mmio_add(host, &dev[1]), -EMFILE);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &all), 0);
	virtio_fini(&dev[1]);
	machine.irqfd_err = -EBUSY;
	add_fails(-EBUSY);
	machine.irqfd_err = 0;
	ck_assert_int_eq(bus_add(&machine.bus, &taken), 0);
	add_fails(-EEXIST);
	ck_assert_uint_eq(count(), 1);
	ck_assert_int_eq(bus_remove(&machine.bus, taken.base), 0);
	device_init(&dev[1]);
	ck_assert_int_eq(virtio_mmio_add(host, &dev[1]), 0);
	n_devices = 2;
	ck_assert_uint_eq(place(1).base, BASE + 0x1000);
	ck_assert_uint_eq(place(1).gsi, 17);
	teardown();
	virtio_mmio_host_free(NULL);
}
END_TEST

/* ---- the memory that a device shares ---- */

static void shm_is(unsigned index, uint32_t id, uint64_t base, uint64_t bytes)
{
	const uint64_t at = place(index).base;

	write_at(at + VIRTIO_MMIO_SHM_SEL, 4, id);
	ck_assert_uint_eq(read_at(at + VIRTIO_MMIO_SHM_LEN_LOW, 4), (uint32_t)bytes);
	ck_assert_uint_eq(read_at(at + VIRTIO_MMIO_SHM_LEN_HIGH, 4), bytes >> 32);
	ck_assert_uint_eq(read_at(at + VIRTIO_MMIO_SHM_BASE_LOW, 4), (uint32_t)base);
	ck_assert_uint_eq(read_at(at + VIRTIO_MMIO_SHM_BASE_HIGH, 4), base >> 32);
}

START_TEST(test_shared_memory)
{
	static const uint8_t gsi = 16;

	shm = (struct virtio_shm){ .bytes = 0x100000000, .id = 3, .host = &drv };
	setup_devices(2, &gsi, 1);
	ck_assert_uint_eq(machine.memory[0].addr, 0x200000000);
	ck_assert_uint_eq(machine.memory[1].addr, 0x300000000);
	ck_assert_uint_eq(machine.memory[1].bytes, 0x100000000);
	shm_is(0, 3, 0x200000000, 0x100000000);
	shm_is(1, 3, 0x300000000, 0x100000000);
	shm_is(1, 0, UINT64_MAX, UINT64_MAX);
	shm_is(1, 0x103, UINT64_MAX, UINT64_MAX);

	shm.bytes = 0x200000; /* one that it cannot have is nowhere */
	machine.memory_err = -ENOMEM;
	add_fails(-ENOMEM);
	machine.memory_err = 0;
	shm.bytes = 0x40000000;
	shm.host = NULL; /* only shown */
	device_init(&dev[n_devices]);
	ck_assert_int_eq(virtio_mmio_add(host, &dev[n_devices++]), 0);
	shm_is(2, 3, 0x400000000, 0x40000000);
	add_fails(-E2BIG);
	shm.bytes = 1ULL << 63;
	add_fails(-E2BIG);
	shm = (struct virtio_shm){ 0 };
	teardown();
}
END_TEST

START_TEST(test_most_devices)
{
	static const uint8_t gsi[] = { 16, 17, 18, 19, 20, 21, 22, 23 };
	static struct virtio_dev many[VIRTIO_MMIO_MAX];

	setup_devices(0, gsi, 8);
	for (unsigned i = 0; i < VIRTIO_MMIO_MAX; i++) {
		device_init(&many[i]);
		ck_assert_int_eq(virtio_mmio_add(host, &many[i]), 0);
		ck_assert_uint_eq(place(i).gsi, 16 + i % 8);
	}
	add_fails(-ENOSPC);
	for (unsigned i = 0; i < VIRTIO_MMIO_MAX; i++)
		virtio_fini(&many[i]);
	teardown();
}
END_TEST

UNIT_MAIN("virtio-mmio", test_identity, test_holes, test_widths, test_features, test_queue,
	  test_live, test_live_without_ioeventfd, test_queue_reset, test_interrupt_bits,
	  test_ack_race, test_reset_clears_interrupt, test_broken, test_config,
	  test_config_generation, test_places_and_sharing, test_add_failures, test_shared_memory,
	  test_most_devices)
