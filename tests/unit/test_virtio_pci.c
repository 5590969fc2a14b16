/* Links: virtio/pci.o virtio/pci-common.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o hw/ram.o util/log.o util/loop.o tests/unit/fake-driver.o tests/unit/fake-ring.o */

/*
 * The PCI transport, driven through its capabilities as a guest does. The device echoes what it is
 * sent; rings and their driver are the fake driver's.
 */
#include "lkvm/virtio-pci.h"

#include <linux/virtio_pci.h>
#include <poll.h>
#include <sys/resource.h>

#include "fake-driver.h"
#include "pci-rig.h"

#define BAR           LAYOUT_PCI_WINDOW
#define COMMON        0x0000
#define ISR           0x0800
#define CONFIG        0x1000
#define NOTIFY        0x2000
#define TABLE         0x3000
#define PBA           0x3c00
#define QUEUE_RESET   58
#define DEVFN         8
#define LINE          17
#define MEMORY_MASTER (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)
#define ACK_DRIVER    (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)
#define FEATURES_OK   (ACK_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)
#define DRIVER_OK     (FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)

/* ---- the device ---- */

static uint8_t config[12];

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

static struct virtio_type echo = {
	.name = "echo",
	.id = 42,
	.queue_size = 64,
	.kick = fake_echo,
	.config_read = config_read,
	.config_write = config_write,
};

#define QUEUES 2

static struct virtio_shm shm; /* of the next devices */
static struct fake_driver drv; /* its guest RAM and its rings; not its transport */
static struct virtio_dev dev;
static struct virtio_pci *vp;
static uint64_t bar; /* where the guest has put it */

static void new_device(struct virtio_dev *d)
{
	*d = (struct virtio_dev){ .type = &echo,
				  .name = "echo",
				  .ram = drv.ram,
				  .n_queues = QUEUES,
				  .config_bytes = sizeof(config),
				  .shm = shm,
				  .device_features = 1ULL << 35 | 1 };
	ck_assert_int_eq(virtio_init(d), 0);
	ck_assert_int_eq(virtio_dev_start(d), 0);
}

static void setup(void)
{
	fake_init(&drv, 4);
	new_host();
	new_device(&dev);
	ck_assert_int_eq(virtio_pci_new(host, &dev, &vp), 0);
	config_out(DEVFN, PCI_COMMAND, MEMORY_MASTER, 2);
	bar = BAR;
}

static void teardown(void)
{
	virtio_fini(&dev);
	memset(&dev, 0xa5, sizeof(dev)); /* its memory is another's by now */
	virtio_pci_free(vp);
	free_host();
	fake_fini(&drv);
}

/* ---- accesses of the guest ---- */

static uint64_t rd(unsigned off, unsigned len)
{
	return bus_in(&mmio, bar + off, len);
}

/* As in KVM: a write that an ioeventfd matches goes there and nowhere else. */
static void wr(unsigned off, uint64_t value, unsigned len)
{
	const uint64_t one = 1;
	int fd = fake_board_event_at(&fake, bar + off);

	if (fd >= 0)
		ck_assert_int_eq(write(fd, &one, sizeof(one)), sizeof(one));
	else
		bus_out(&mmio, bar + off, value, len);
}

static unsigned status(void)
{
	return (unsigned)rd(VIRTIO_PCI_COMMON_STATUS, 1);
}

static void set_status(unsigned value)
{
	wr(VIRTIO_PCI_COMMON_STATUS, value, 1);
}

static void select_queue(unsigned index)
{
	wr(VIRTIO_PCI_COMMON_Q_SELECT, index, 2);
}

/* ---- the driver ---- */

static bool negotiate(uint64_t features)
{
	drv.features = features | FAKE_VERSION_1;
	set_status(0);
	set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE);
	set_status(ACK_DRIVER);
	for (unsigned i = 0; i < 2; i++) {
		wr(VIRTIO_PCI_COMMON_GFSELECT, i, 4);
		wr(VIRTIO_PCI_COMMON_GF, (uint32_t)(drv.features >> 32 * i), 4);
	}
	set_status(FEATURES_OK);
	return status() == FEATURES_OK;
}

static void setup_queue(struct fake_queue *q, unsigned index, uint16_t size)
{
	fake_queue_init(q, &drv, size, drv.features);
	select_queue(index);
	wr(VIRTIO_PCI_COMMON_Q_SIZE, size, 2);
	wr(VIRTIO_PCI_COMMON_Q_MSIX, index + 1, 2);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_MSIX, 2), index + 1);
	wr(VIRTIO_PCI_COMMON_Q_DESCLO, (uint32_t)q->setup.desc.v, 4);
	wr(VIRTIO_PCI_COMMON_Q_DESCHI, q->setup.desc.v >> 32, 4);
	wr(VIRTIO_PCI_COMMON_Q_AVAILLO, (uint32_t)q->setup.avail.v, 4);
	wr(VIRTIO_PCI_COMMON_Q_AVAILHI, q->setup.avail.v >> 32, 4);
	wr(VIRTIO_PCI_COMMON_Q_USEDLO, q->setup.used.v, 8);
	wr(VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
}

/* Configuration changes are on vector 0, queue n on vector n + 1. */
static void probe(struct fake_queue q[QUEUES], uint64_t features)
{
	ck_assert(negotiate(features));
	wr(VIRTIO_PCI_COMMON_MSIX, 0, 2);
	setup_queue(&q[0], 0, 16);
	setup_queue(&q[1], 1, 8);
	set_status(DRIVER_OK);
	ck_assert_uint_eq(status(), DRIVER_OK);
}

static unsigned capability(uint8_t type);

/* The messages; what they tell is set with the queues. */
static void use_msix(void)
{
	unsigned cap = 64;

	while (config_in(DEVFN, cap, 1) != PCI_CAP_ID_MSIX)
		cap = config_in(DEVFN, cap + 1, 1);
	config_out(DEVFN, cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
	for (unsigned v = 0; v <= QUEUES; v++) {
		wr(TABLE + v * 16, 0xfee00000, 4);
		wr(TABLE + v * 16 + 8, 0x4030 + v, 4);
		wr(TABLE + v * 16 + 12, 0, 4);
	}
}

/* The eventfd that KVM would take vector @v's interrupts from */
static int irqfd_of(unsigned v)
{
	for (unsigned gsi = FAKE_FIRST_MSI; gsi < FAKE_BOARD_GSIS; gsi++)
		if (fake.msi[gsi].used && fake.msi[gsi].data == 0x4030 + v)
			return fake.msi[gsi].fd;
	return -1;
}

static bool signalled(unsigned v, int timeout_ms)
{
	struct pollfd p = { .fd = irqfd_of(v), .events = POLLIN };
	uint64_t count;

	ck_assert_int_ge(p.fd, 0);
	return poll(&p, 1, timeout_ms) == 1 && read(p.fd, &count, sizeof(count)) > 0;
}

/* Eight bytes there and back; @wait returns once there was an interrupt. */
static void echo_once(struct fake_queue *q, unsigned index, void (*wait)(unsigned index))
{
	gpa_t out = fake_alloc(&drv, 8, 8), in = fake_alloc(&drv, 8, 8);
	struct fake_buf bufs[] = { FAKE_OUT(out, 8), FAKE_IN(in, 8) };
	uint32_t written;

	memset(fake_at(&drv, out), (int)(0x40 + index), 8);
	fake_irq_on(q, 0);
	ck_assert_int_ge(fake_add(q, bufs, 2), 0);
	if (fake_must_notify(q))
		wr(NOTIFY + index * 4, index, 2);
	do
		wait(index);
	while (fake_used(q, &written) < 0);
	ck_assert_uint_eq(written, 8);
	ck_assert_mem_eq(fake_at(&drv, in), fake_at(&drv, out), 8);
}

static void wait_vector(unsigned index)
{
	ck_assert(signalled(index + 1, 10000));
}

static void wait_isr(unsigned index)
{
	(void)index;
	for (unsigned i = 0; i < 10000; i++) {
		/* What the interrupt handler does once the line is up */
		if (rd(ISR, 1) & 1)
			return;
		poll(NULL, 0, 1);
	}
	ck_abort_msg("no interrupt");
}

/* ---- discovery ---- */

START_TEST(test_identity)
{
	setup();
	ck_assert_uint_eq(config_in(DEVFN, PCI_VENDOR_ID, 2), 0x1af4);
	ck_assert_uint_eq(config_in(DEVFN, PCI_DEVICE_ID, 2), 0x1040 + 42);
	ck_assert_uint_ge(config_in(DEVFN, PCI_REVISION_ID, 1), 1);
	ck_assert_uint_eq(config_in(DEVFN, PCI_SUBSYSTEM_VENDOR_ID, 2), 0x1af4);
	ck_assert_uint_ge(config_in(DEVFN, PCI_SUBSYSTEM_ID, 2), 0x40);
	ck_assert_uint_eq(config_in(DEVFN, PCI_INTERRUPT_PIN, 1), 1);
	teardown();
}
END_TEST

START_TEST(test_classes)
{
	static const struct {
		uint16_t id;
		uint32_t class_code;
	} table[] = { { VIRTIO_ID_NET, 0x020000 },
		      { VIRTIO_ID_BLOCK, 0x018000 },
		      { VIRTIO_ID_FS, 0x018000 },
		      { VIRTIO_ID_CONSOLE, 0x078000 },
		      { VIRTIO_ID_RNG, 0x00ff00 } };

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		echo.id = table[i].id;
		setup();
		ck_assert_uint_eq(config_in(DEVFN, PCI_CLASS_REVISION, 4) >> 8,
				  table[i].class_code);
		teardown();
	}
}
END_TEST

/* Where the capability of @type is, 0: nowhere. Walks the whole list. */
static unsigned capability(uint8_t type)
{
	unsigned found = 0, at = config_in(DEVFN, PCI_CAPABILITY_LIST, 1);

	for (unsigned n = 0; at; n++, at = config_in(DEVFN, at + 1, 1)) {
		ck_assert_uint_lt(n, 16);
		if (config_in(DEVFN, at, 1) != PCI_CAP_ID_VNDR ||
		    config_in(DEVFN, at + 3, 1) != type)
			continue;
		ck_assert_uint_eq(found, 0);
		found = at;
	}
	return found;
}

START_TEST(test_capabilities)
{
	static const struct {
		uint8_t type, len;
		uint32_t offset, length;
	} table[] = {
		{ VIRTIO_PCI_CAP_COMMON_CFG, 16, COMMON, 60 },
		{ VIRTIO_PCI_CAP_NOTIFY_CFG, 20, NOTIFY, QUEUES * 4 },
		{ VIRTIO_PCI_CAP_ISR_CFG, 16, ISR, 1 },
		{ VIRTIO_PCI_CAP_DEVICE_CFG, 16, CONFIG, sizeof(config) },
		{ VIRTIO_PCI_CAP_PCI_CFG, 20, 0, 0 },
	};

	setup();
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		unsigned at = capability(table[i].type);

		ck_assert_uint_ne(at, 0);
		ck_assert_uint_eq(config_in(DEVFN, at + 2, 1), table[i].len);
		ck_assert_uint_eq(config_in(DEVFN, at + 4, 4), 0); /* BAR 0, id 0 */
		ck_assert_uint_eq(config_in(DEVFN, at + 8, 4), table[i].offset);
		ck_assert_uint_eq(config_in(DEVFN, at + 12, 4), table[i].length);
	}
	ck_assert_uint_eq(config_in(DEVFN, capability(VIRTIO_PCI_CAP_NOTIFY_CFG) + 16, 4), 4);
	ck_assert_uint_eq(capability(VIRTIO_PCI_CAP_SHARED_MEMORY_CFG), 0);
	teardown();
}
END_TEST

#define SHM_BYTES (2ULL << 32)
#define HIGH      0x1000000000ULL

/* The bytes that it shares are memory of BAR 2; how many they are has 64 bits. 4.1.4.7 */
START_TEST(test_shared_memory)
{
	struct fake_queue q[QUEUES];
	unsigned at;

	shm = (struct virtio_shm){ .bytes = SHM_BYTES, .id = 7, .read_only = true, .host = &drv };
	fake_init(&drv, 4);
	new_host();
	pci_host_window64(host, HIGH, 8 * SHM_BYTES);
	new_device(&dev);
	ck_assert_int_eq(virtio_pci_new(host, &dev, &vp), 0);
	at = capability(VIRTIO_PCI_CAP_SHARED_MEMORY_CFG);
	ck_assert_uint_ne(at, 0);
	ck_assert_uint_eq(config_in(DEVFN, at + 2, 1), sizeof(struct virtio_pci_cap64));
	ck_assert_uint_eq(config_in(DEVFN, at + 4, 4), 2 | 7 << 8); /* BAR, id */
	ck_assert_uint_eq(config_in(DEVFN, at + 8, 4), 0);
	ck_assert_uint_eq(config_in(DEVFN, at + 12, 4), 0);
	ck_assert_uint_eq(config_in(DEVFN, at + 16, 4), 0);
	ck_assert_uint_eq(config_in(DEVFN, at + 20, 4), SHM_BYTES >> 32);
	ck_assert_uint_eq(config_in(DEVFN, PCI_BASE_ADDRESS_2, 4), 0xc); /* 64 bits, prefetchable */
	ck_assert_uint_eq(config_in(DEVFN, PCI_BASE_ADDRESS_3, 4), HIGH >> 32);

	config_out(DEVFN, PCI_COMMAND, MEMORY_MASTER, 2);
	ck_assert_ptr_eq(fake.memory[0].host, &drv);
	ck_assert_uint_eq(fake.memory[0].addr, HIGH);
	ck_assert_uint_eq(fake.memory[0].bytes, SHM_BYTES);
	ck_assert(fake.memory[0].read_only);
	/* It moves alone. */
	bar = BAR;
	probe(q, 0);
	config_out(DEVFN, PCI_BASE_ADDRESS_3, HIGH >> 31, 4);
	ck_assert_uint_eq(fake.memory[0].addr, 2 * HIGH);
	ck_assert_int_ge(fake_board_event_at(&fake, BAR + NOTIFY), 0);
	set_status(0);
	config_out(DEVFN, PCI_COMMAND, 0, 2);
	ck_assert_ptr_null(fake.memory[0].host);
	teardown();
	shm = (struct virtio_shm){ 0 };
}
END_TEST

START_TEST(test_no_room_to_share)
{
	fake_init(&drv, 4);
	new_host();
	shm = (struct virtio_shm){ .bytes = SHM_BYTES };
	new_device(&dev);
	ck_assert_int_eq(virtio_pci_new(host, &dev, &vp), -E2BIG);
	vp = NULL;
	shm = (struct virtio_shm){ 0 };
	teardown();
}
END_TEST

/* What a guest can change behind the standard header is this and no more. */
START_TEST(test_hostile_config_writes)
{
	uint8_t may[PCI_CONFIG_BYTES] = { 0 };
	unsigned window, msix = 64;

	setup();
	window = capability(VIRTIO_PCI_CAP_PCI_CFG);
	may[window + 4] = 0xff;
	memset(&may[window + 8], 0xff, 8);
	while (config_in(DEVFN, msix, 1) != PCI_CAP_ID_MSIX)
		msix = config_in(DEVFN, msix + 1, 1);
	may[msix + 3] = 0xc0;
	for (unsigned reg = 64; reg < 256; reg++) {
		uint8_t old = (uint8_t)config_in(DEVFN, reg, 1);

		config_out(DEVFN, reg, 0xff, 1);
		ck_assert_uint_eq(config_in(DEVFN, reg, 1), old | may[reg]);
		config_out(DEVFN, reg, old, 1);
		ck_assert_uint_eq(config_in(DEVFN, reg, 1), old);
	}
	teardown();
}
END_TEST

START_TEST(test_no_device_config)
{
	fake_init(&drv, 4);
	new_host();
	new_device(&dev);
	dev.config_bytes = 0;
	ck_assert_int_eq(virtio_pci_new(host, &dev, &vp), 0);
	ck_assert_uint_eq(capability(VIRTIO_PCI_CAP_DEVICE_CFG), 0);
	ck_assert_uint_ne(capability(VIRTIO_PCI_CAP_PCI_CFG), 0);
	teardown();
}
END_TEST

/* ---- common configuration ---- */

static const struct field {
	uint8_t off, width;
	bool writable;
	uint64_t after_reset;
} fields[] = {
	{ VIRTIO_PCI_COMMON_DFSELECT, 4, true, 0 },
	{ VIRTIO_PCI_COMMON_DF, 4, false, 1 | FAKE_EVENT_IDX | FAKE_INDIRECT },
	{ VIRTIO_PCI_COMMON_DF, 2, false, 1 },
	{ VIRTIO_PCI_COMMON_GFSELECT, 4, true, 0 },
	{ VIRTIO_PCI_COMMON_GF, 4, true, 0 },
	{ VIRTIO_PCI_COMMON_MSIX, 2, true, VIRTIO_MSI_NO_VECTOR },
	{ VIRTIO_PCI_COMMON_NUMQ, 2, false, QUEUES },
	{ VIRTIO_PCI_COMMON_STATUS, 1, true, 0 },
	{ VIRTIO_PCI_COMMON_CFGGENERATION, 1, false, 0 },
	{ VIRTIO_PCI_COMMON_Q_SELECT, 2, true, 0 },
	{ VIRTIO_PCI_COMMON_Q_SIZE, 2, true, 64 },
	{ VIRTIO_PCI_COMMON_Q_MSIX, 2, true, VIRTIO_MSI_NO_VECTOR },
	{ VIRTIO_PCI_COMMON_Q_ENABLE, 2, true, 0 },
	{ VIRTIO_PCI_COMMON_Q_NOFF, 2, false, 0 },
	{ VIRTIO_PCI_COMMON_Q_DESCLO, 4, true, 0 },
	{ VIRTIO_PCI_COMMON_Q_DESCHI, 4, true, 0 },
	{ VIRTIO_PCI_COMMON_Q_DESCLO, 8, true, 0 },
	{ VIRTIO_PCI_COMMON_Q_AVAILLO, 4, true, 0 },
	{ VIRTIO_PCI_COMMON_Q_AVAILHI, 4, true, 0 },
	{ VIRTIO_PCI_COMMON_Q_AVAILLO, 8, true, 0 },
	{ VIRTIO_PCI_COMMON_Q_USEDLO, 4, true, 0 },
	{ VIRTIO_PCI_COMMON_Q_USEDHI, 4, true, 0 },
	{ VIRTIO_PCI_COMMON_Q_USEDLO, 8, true, 0 },
	{ 56, 2, false, 0 }, /* queue_notify_data: not offered */
	{ QUEUE_RESET, 2, true, 0 },
};

static const struct field *field_of(unsigned off, unsigned width)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (fields[i].off == off && fields[i].width == width)
			return &fields[i];
	return NULL;
}

static void assert_after_reset(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		ck_assert_msg(rd(fields[i].off, fields[i].width) == fields[i].after_reset,
			      "field at %u, width %u", fields[i].off, fields[i].width);
}

START_TEST(test_reset_values)
{
	struct fake_queue q[QUEUES];

	setup();
	assert_after_reset();
	use_msix();
	probe(q, FAKE_EVENT_IDX);
	wr(VIRTIO_PCI_COMMON_DFSELECT, 1, 4);
	wr(VIRTIO_PCI_COMMON_MSIX, 2, 2);
	select_queue(1);
	set_status(0);
	assert_after_reset();
	select_queue(1);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
	ck_assert_uint_eq(fake.n_events, 0);
	teardown();
}
END_TEST

/* Every access that is not one whole field: it reads 0 and changes nothing. */
START_TEST(test_widths)
{
	setup();
	set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE);
	for (unsigned width = 1; width <= 8; width *= 2)
		for (unsigned off = 0; off <= 60; off++) {
			if (field_of(off, width))
				continue;
			ck_assert_msg(!rd(off, width), "offset %u, width %u", off, width);
			wr(off, 0, width);
			ck_assert_uint_eq(status(), VIRTIO_CONFIG_S_ACKNOWLEDGE);
			wr(off, 0x0101010101010101, width);
		}
	set_status(0);
	assert_after_reset();
	ck_assert_uint_eq(rd(ISR, 2), 0);
	ck_assert_uint_eq(rd(0x900, 4), 0);
	wr(0x900, 1, 4);
	ck_assert_uint_eq(rd(NOTIFY, 2), 0);
	teardown();
}
END_TEST

START_TEST(test_read_only)
{
	setup();
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (fields[i].writable)
			continue;
		wr(fields[i].off, ~fields[i].after_reset, fields[i].width);
	}
	assert_after_reset();
	teardown();
}
END_TEST

START_TEST(test_features)
{
	const uint64_t offered =
		1 | 1ULL << 35 | FAKE_VERSION_1 | FAKE_RESET | FAKE_INDIRECT | FAKE_EVENT_IDX;

	setup();
	for (unsigned i = 0; i < 2; i++) {
		wr(VIRTIO_PCI_COMMON_DFSELECT, i, 4);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_DFSELECT, 4), i);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_DF, 4), (uint32_t)(offered >> 32 * i));
	}
	wr(VIRTIO_PCI_COMMON_DFSELECT, 2, 4);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_DF, 4), 0);
	wr(VIRTIO_PCI_COMMON_DFSELECT, 0xffffffff, 4);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_DF, 4), 0);
	ck_assert(negotiate(1ULL << 35 | 1));
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_GF, 4), 1 << 3 | 1); /* and VERSION_1 */
	wr(VIRTIO_PCI_COMMON_GFSELECT, 0, 4);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_GF, 4), 1);
	wr(VIRTIO_PCI_COMMON_GFSELECT, 2, 4);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_GF, 4), 0);
	ck_assert(!negotiate(1ULL << 36));
	teardown();
}
END_TEST

START_TEST(test_queue_registers)
{
	static const unsigned lo[] = { VIRTIO_PCI_COMMON_Q_DESCLO, VIRTIO_PCI_COMMON_Q_AVAILLO,
				       VIRTIO_PCI_COMMON_Q_USEDLO };

	setup();
	for (unsigned q = 0; q < QUEUES; q++) {
		select_queue(q);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_NOFF, 2), q);
		wr(VIRTIO_PCI_COMMON_Q_SIZE, 16 << q, 2);
		for (unsigned i = 0; i < 3; i++) {
			wr(lo[i], 0x1122334455667788, 8);
			ck_assert_uint_eq(rd(lo[i], 8), 0x1122334455667788);
			wr(lo[i], 0x1000 * (i + 1) + q, 4);
			ck_assert_uint_eq(rd(lo[i], 8),
					  0x1122334400000000 | (0x1000 * (i + 1) + q));
			wr(lo[i] + 4, q + 5, 4);
			ck_assert_uint_eq(rd(lo[i] + 4, 4), q + 5);
			ck_assert_uint_eq(rd(lo[i], 4), 0x1000 * (i + 1) + q);
		}
	}
	for (unsigned q = 0; q < QUEUES; q++) {
		select_queue(q);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_SIZE, 2), 16 << q);
		for (unsigned i = 0; i < 3; i++)
			ck_assert_uint_eq(rd(lo[i], 8), (q + 5ULL) << 32 | (0x1000 * (i + 1) + q));
	}
	teardown();
}
END_TEST

START_TEST(test_no_such_queue)
{
	static const unsigned index[] = { QUEUES, 64, 0x8000, 0xffff };

	setup();
	for (size_t i = 0; i < ARRAY_SIZE(index); i++) {
		select_queue(index[i]);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_SELECT, 2), index[i]);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_NOFF, 2), 0);
		wr(VIRTIO_PCI_COMMON_Q_MSIX, 1, 2);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
		wr(VIRTIO_PCI_COMMON_Q_SIZE, 8, 2);
		wr(VIRTIO_PCI_COMMON_Q_DESCLO, 8, 8);
		wr(VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
		wr(QUEUE_RESET, 1, 2);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0);
	}
	wr(NOTIFY + QUEUES * 4, 0, 2);
	wr(NOTIFY + 0xffc, 0, 4);
	set_status(0);
	assert_after_reset();
	teardown();
}
END_TEST

START_TEST(test_queue_enable)
{
	setup();
	wr(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 2);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	wr(VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	wr(VIRTIO_PCI_COMMON_Q_ENABLE, 0, 2); /* the driver must not: only a reset ends it */
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	wr(VIRTIO_PCI_COMMON_Q_SIZE, 8, 2); /* too late */
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
	teardown();
}
END_TEST

START_TEST(test_vectors)
{
	static const uint16_t bad[] = { QUEUES + 1, 0x100, 0xfffe, 0xffff };

	setup();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		wr(VIRTIO_PCI_COMMON_MSIX, QUEUES, 2);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_MSIX, 2), QUEUES);
		wr(VIRTIO_PCI_COMMON_MSIX, bad[i], 2);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
		wr(VIRTIO_PCI_COMMON_Q_MSIX, 0, 2);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_MSIX, 2), 0);
		wr(VIRTIO_PCI_COMMON_Q_MSIX, bad[i], 2);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	}
	teardown();
}
END_TEST

START_TEST(test_device_config)
{
	setup();
	wr(CONFIG + 4, 0x11223344, 4);
	ck_assert_uint_eq(rd(CONFIG + 4, 4), 0x11223344);
	ck_assert_uint_eq(rd(CONFIG + 6, 1), 0x22);
	ck_assert_uint_eq(rd(CONFIG, 8), 0x1122334400000000);
	ck_assert_uint_eq(rd(CONFIG + 12, 4), 0);
	ck_assert_uint_eq(rd(CONFIG + 8, 8), 0);
	ck_assert_uint_eq(rd(CONFIG + 0xff8, 8), 0);
	wr(CONFIG + 12, 1, 4);
	teardown();
}
END_TEST

/* ---- interrupts ---- */

static bool line_up(void)
{
	return fake_board_line_up(&fake, LINE);
}

START_TEST(test_msix)
{
	struct fake_queue q[QUEUES];

	setup();
	use_msix();
	probe(q, FAKE_EVENT_IDX | FAKE_INDIRECT);
	ck_assert_uint_eq(fake.n_events, QUEUES);
	for (unsigned i = 0; i < 20; i++)
		echo_once(&q[i % QUEUES], i % QUEUES, wait_vector);
	ck_assert_uint_eq(rd(ISR, 1), 0);
	ck_assert_uint_eq(fake.line_calls, 0);
	ck_assert(!signalled(0, 0));
	teardown();
}
END_TEST

START_TEST(test_intx)
{
	struct fake_queue q[QUEUES];

	setup();
	probe(q, 0);
	for (unsigned i = 0; i < 10; i++)
		echo_once(&q[i % QUEUES], i % QUEUES, wait_isr);
	set_status(0); /* the worker is gone */
	ck_assert(!line_up());
	ck_assert_uint_eq(fake.line[LINE][0], 0);
	ck_assert_uint_eq(rd(ISR, 1), 0);
	teardown();
}
END_TEST

/* Changes that the device makes by itself are on the main thread: nothing to wait for. */
static void change_config(void)
{
	virtio_config_begin(&dev);
	virtio_config_end(&dev);
}

START_TEST(test_isr)
{
	struct fake_queue q[QUEUES];

	setup();
	probe(q, 0);
	change_config();
	ck_assert(line_up());
	ck_assert_uint_eq(rd(PBA, 4), 0); /* not by MSI-X as well */
	ck_assert(config_in(DEVFN, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	ck_assert_uint_eq(rd(ISR, 4), 0); /* not its width: nothing is taken */
	wr(ISR, 0xff, 1);
	ck_assert(line_up());
	ck_assert_uint_eq(rd(ISR, 1), 2);
	ck_assert(!line_up());
	ck_assert_uint_eq(rd(ISR, 1), 0);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_CFGGENERATION, 1), 1);

	change_config();
	config_out(DEVFN, PCI_COMMAND, MEMORY_MASTER | PCI_COMMAND_INTX_DISABLE, 2);
	ck_assert(!line_up());
	config_out(DEVFN, PCI_COMMAND, MEMORY_MASTER, 2);
	ck_assert(line_up());
	set_status(0);
	ck_assert(!line_up());
	ck_assert_uint_eq(rd(ISR, 1), 0);
	teardown();
}
END_TEST

START_TEST(test_config_vector)
{
	struct fake_queue q[QUEUES];

	setup();
	use_msix();
	probe(q, 0);
	change_config();
	ck_assert(signalled(0, 0));
	ck_assert(!line_up());
	ck_assert_uint_eq(rd(ISR, 1), 2); /* its bit is set in any case */
	wr(VIRTIO_PCI_COMMON_MSIX, VIRTIO_MSI_NO_VECTOR, 2);
	change_config();
	for (unsigned v = 0; v <= QUEUES; v++)
		ck_assert(!signalled(v, 0));
	/* What was pending before a reset is not delivered after it. */
	wr(VIRTIO_PCI_COMMON_MSIX, 0, 2);
	wr(TABLE + 12, 1, 4);
	change_config();
	ck_assert_uint_eq(rd(PBA, 4), 1);
	set_status(0);
	ck_assert_uint_eq(rd(PBA, 4), 0);
	wr(TABLE + 12, 0, 4);
	ck_assert(!signalled(0, 0));
	teardown();
}
END_TEST

/* ---- bus mastering ---- */

START_TEST(test_no_master)
{
	struct fake_buf buf;
	struct fake_queue q[QUEUES];
	uint32_t written;

	setup();
	use_msix();
	config_out(DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	probe(q, 0);
	buf = FAKE_IN(fake_alloc(&drv, 8, 8), 8);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_ge(fake_add(&q[1], &buf, 1), 0);
		wr(NOTIFY + 4, 1, 2);
		poll(NULL, 0, 2);
		ck_assert_int_lt(fake_used(&q[1], &written), 0);
		config_out(DEVFN, PCI_COMMAND, MEMORY_MASTER, 2);
		wait_vector(1);
		ck_assert_int_ge(fake_used(&q[1], &written), 0);
		echo_once(&q[0], 0, wait_vector);
		config_out(DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	}
	teardown();
}
END_TEST

/* ---- notifications ---- */

static void move_bar(uint64_t base)
{
	config_out(DEVFN, PCI_BASE_ADDRESS_0, (uint32_t)base, 4);
	bar = base;
}

START_TEST(test_bar_moves_while_live)
{
	struct fake_queue q[QUEUES];

	setup();
	use_msix();
	probe(q, 0);
	for (unsigned i = 0; i < 8; i++) {
		uint64_t to = BAR + 0x4000 * (i * 5 % 8 + 1);

		move_bar(to);
		ck_assert_uint_eq(fake.n_events, QUEUES);
		ck_assert_int_ge(fake_board_event_at(&fake, to + NOTIFY), 0);
		ck_assert_int_ge(fake_board_event_at(&fake, to + NOTIFY + 4), 0);
		echo_once(&q[i % QUEUES], i % QUEUES, wait_vector);
	}
	/* Away and back, as when a BAR is sized: nothing is registered meanwhile. */
	move_bar(0xffffffff);
	ck_assert_uint_eq(fake.n_events, 0);
	move_bar(BAR);
	ck_assert_uint_eq(fake.n_events, QUEUES);
	config_out(DEVFN, PCI_COMMAND, 0, 2);
	ck_assert_uint_eq(fake.n_events, 0);
	config_out(DEVFN, PCI_COMMAND, MEMORY_MASTER, 2);
	echo_once(&q[0], 0, wait_vector);
	teardown();
}
END_TEST

START_TEST(test_no_ioeventfd)
{
	struct fake_queue q[QUEUES];

	setup();
	use_msix();
	fake.fail_notify = ENOSPC;
	probe(q, 0);
	ck_assert_uint_eq(fake.n_events, 0);
	for (unsigned i = 0; i < 6; i++)
		echo_once(&q[i % QUEUES], i % QUEUES, wait_vector);
	move_bar(BAR + 0x8000);
	echo_once(&q[1], 1, wait_vector);
	teardown();
}
END_TEST

/* The BAR is decoded only after the device is live. */
START_TEST(test_late_bar)
{
	struct fake_queue q[QUEUES];

	setup();
	use_msix();
	ck_assert(negotiate(0));
	setup_queue(&q[0], 0, 16);
	setup_queue(&q[1], 1, 8);
	config_out(DEVFN, PCI_COMMAND, 0, 2);
	virtio_set_status(&dev, DRIVER_OK);
	ck_assert_uint_eq(fake.n_events, 0);
	config_out(DEVFN, PCI_COMMAND, MEMORY_MASTER, 2);
	ck_assert_uint_eq(fake.n_events, QUEUES);
	echo_once(&q[0], 0, wait_vector);
	teardown();
}
END_TEST

START_TEST(test_queue_reset)
{
	struct fake_queue q[QUEUES];

	setup();
	use_msix();
	probe(q, 0);
	select_queue(1);
	wr(QUEUE_RESET, 1, 2); /* not negotiated */
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	ck_assert_uint_ne(rd(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	probe(q, FAKE_RESET);
	select_queue(1);
	wr(QUEUE_RESET, 0, 2);
	wr(QUEUE_RESET, 2, 2);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	wr(QUEUE_RESET, 1, 2);
	ck_assert_uint_eq(rd(QUEUE_RESET, 2), 0);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	ck_assert_uint_eq(fake.n_events, 1);
	echo_once(&q[0], 0, wait_vector);
	setup_queue(&q[1], 1, 32);
	ck_assert_uint_eq(fake.n_events, 2);
	echo_once(&q[1], 1, wait_vector);
	teardown();
}
END_TEST

/* ---- the window in the configuration space ---- */

static void window(unsigned bar_number, uint32_t off, uint32_t len)
{
	unsigned cap = capability(VIRTIO_PCI_CAP_PCI_CFG);

	config_out(DEVFN, cap + 4, bar_number, 1);
	config_out(DEVFN, cap + 8, off, 4);
	config_out(DEVFN, cap + 12, len, 4);
}

static uint32_t window_in(uint32_t off, unsigned len)
{
	window(0, off, len);
	return config_in(DEVFN, capability(VIRTIO_PCI_CAP_PCI_CFG) + 16, len);
}

static void window_out(uint32_t off, uint32_t value, unsigned len)
{
	window(0, off, len);
	config_out(DEVFN, capability(VIRTIO_PCI_CAP_PCI_CFG) + 16, value, len);
}

START_TEST(test_window)
{
	struct fake_queue q[QUEUES];

	setup();
	use_msix();
	ck_assert(negotiate(0));
	setup_queue(&q[0], 0, 16);
	config_out(DEVFN, PCI_COMMAND, 0, 2); /* it needs no decoded BAR */
	ck_assert_uint_eq(window_in(VIRTIO_PCI_COMMON_NUMQ, 2), QUEUES);
	ck_assert_uint_eq(window_in(VIRTIO_PCI_COMMON_STATUS, 1), FEATURES_OK);
	window_out(VIRTIO_PCI_COMMON_STATUS, DRIVER_OK, 1);
	ck_assert_uint_eq(window_in(VIRTIO_PCI_COMMON_STATUS, 1), DRIVER_OK);
	ck_assert_uint_eq(window_in(TABLE + 8 + 16, 4), 0x4031); /* the MSI-X table, too */
	window_out(CONFIG + 4, 0xaabbccdd, 4);
	ck_assert_uint_eq(window_in(CONFIG + 6, 2), 0xaabb);
	window_out(NOTIFY, 0, 2);
	window_out(VIRTIO_PCI_COMMON_STATUS, 0, 1);
	ck_assert_uint_eq(window_in(VIRTIO_PCI_COMMON_STATUS, 1), 0);
	teardown();
}
END_TEST

START_TEST(test_bad_windows)
{
	static const struct {
		unsigned bar;
		uint32_t off, len;
		unsigned width;
	} table[] = {
		{ 1, VIRTIO_PCI_COMMON_NUMQ, 2, 2 }, /* no such BAR */
		{ 0, VIRTIO_PCI_COMMON_NUMQ, 2, 1 }, /* not the window's width */
		{ 0, VIRTIO_PCI_COMMON_NUMQ, 4, 2 },
		{ 0, VIRTIO_PCI_COMMON_NUMQ, 0, 2 },
		{ 0, CONFIG + 2, 4, 4 }, /* misaligned */
		{ 0, TABLE + 2, 4, 4 },
		{ 0, 0x4000, 4, 4 }, /* behind the BAR */
		{ 0, 0xfffffffc, 4, 4 },
		{ 0, VIRTIO_PCI_COMMON_DF, 8, 4 },
	};
	unsigned data;

	setup();
	data = capability(VIRTIO_PCI_CAP_PCI_CFG) + 16;
	set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		window(table[i].bar, table[i].off, table[i].len);
		ck_assert_uint_eq(config_in(DEVFN, data, table[i].width), 0);
		config_out(DEVFN, data, 0xffffffff, table[i].width);
		ck_assert_uint_eq(config_in(DEVFN, data, table[i].width), 0);
	}
	/* Parts of the data register are none of it. */
	window(0, VIRTIO_PCI_COMMON_STATUS, 1);
	ck_assert_uint_eq(config_in(DEVFN, data + 1, 1), 0);
	config_out(DEVFN, data + 1, 0, 1);
	ck_assert_uint_eq(status(), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	ck_assert_uint_eq(access_get(config, 8), 0);
	teardown();
}
END_TEST

/* ---- building ---- */

START_TEST(test_failures)
{
	static struct virtio_dev many[31];
	static struct virtio_pci *transports[256];
	struct virtio_pci *none = NULL;
	struct rlimit few, all;
	unsigned n = 0;

	setup();
	new_device(&many[0]);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &all), 0);
	few = all;
	few.rlim_cur = (rlim_t)dup(0) + 1; /* one is free */
	close((int)few.rlim_cur - 1);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	ck_assert_int_eq(virtio_pci_new(host, &many[0], &none), -EMFILE);
	few.rlim_cur = all.rlim_max < 2048 ? all.rlim_max : 2048;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	virtio_fini(&many[0]);
	for (; n < 30; n++) {
		new_device(&many[n]);
		ck_assert_int_eq(virtio_pci_new(host, &many[n], &transports[n]), 0);
	}
	new_device(&many[n]);
	ck_assert_int_eq(virtio_pci_new(host, &many[n], &none), -ENOSPC);
	virtio_fini(&many[n]);
	ck_assert_ptr_null(none);
	while (n--) {
		virtio_fini(&many[n]);
		virtio_pci_free(transports[n]);
	}
	virtio_pci_free(NULL);
	teardown();
}
END_TEST

/*
 * A guest that moves the BAR, masks, switches MSI-X and INTA, and resets, each on a vCPU of its
 * own, while the device interrupts. For the thread sanitizer, and nothing may hang.
 */
static atomic_bool racing;

static void *race_bar(void *arg)
{
	(void)arg;
	for (unsigned i = 0; atomic_load(&racing); i++)
		config_out(DEVFN, PCI_BASE_ADDRESS_0, BAR + (i & 1) * 0x4000, 4);
	return NULL;
}

static void *race_interrupts(void *arg)
{
	unsigned cap = 64;

	(void)arg;
	while (config_in(DEVFN, cap, 1) != PCI_CAP_ID_MSIX)
		cap = config_in(DEVFN, cap + 1, 1);
	for (unsigned i = 0; atomic_load(&racing); i++) {
		config_out(DEVFN, cap + PCI_MSIX_FLAGS, (i & 6) << 13, 2);
		config_out(DEVFN, PCI_COMMAND, (i & 8) >> 1 | 2 | (i & 1) << 10, 2);
		window_in(ISR, 1);
	}
	return NULL;
}

static void *race_events(void *arg)
{
	(void)arg;
	while (atomic_load(&racing))
		change_config();
	return NULL;
}

START_TEST(test_races)
{
	void *(*const racers[])(void *) = { race_bar, race_events, race_interrupts };
	pthread_t thread[ARRAY_SIZE(racers)];

	setup();
	use_msix();
	atomic_store(&racing, true);
	for (size_t i = 0; i < ARRAY_SIZE(racers); i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, racers[i], NULL), 0);
	for (unsigned i = 0; i < 200; i++) {
		struct fake_queue q;

		/* By the core's own functions, as the BAR is never where it was. */
		virtio_set_status(&dev, 0);
		fake_queue_init(&q, &drv, 8, 0);
		virtio_set_status(&dev, ACK_DRIVER);
		virtio_set_features(&dev, 1, 1);
		virtio_set_status(&dev, FEATURES_OK);
		virtio_queue_set(&dev, 0, VIRTIO_QUEUE_SIZE, 8);
		virtio_queue_set(&dev, 0, VIRTIO_QUEUE_DESC, q.setup.desc.v);
		virtio_queue_set(&dev, 0, VIRTIO_QUEUE_AVAIL, q.setup.avail.v);
		virtio_queue_set(&dev, 0, VIRTIO_QUEUE_USED, q.setup.used.v);
		virtio_queue_set(&dev, 0, VIRTIO_QUEUE_READY, 1);
		virtio_set_status(&dev, DRIVER_OK);
		ck_assert_uint_eq(virtio_get_status(&dev), DRIVER_OK);
		virtio_notify(&dev, 0);
	}
	atomic_store(&racing, false);
	for (size_t i = 0; i < ARRAY_SIZE(racers); i++)
		pthread_join(thread[i], NULL);
	virtio_set_status(&dev, 0);
	ck_assert_uint_eq(fake.n_events, 0);
	window_in(ISR, 1);
	ck_assert(!line_up());
	teardown();
}
END_TEST

UNIT_MAIN("virtio-pci", test_identity, test_classes, test_capabilities, test_shared_memory,
	  test_no_room_to_share, test_hostile_config_writes, test_no_device_config, test_reset_values, test_widths, test_read_only, test_features,
	  test_queue_registers, test_no_such_queue, test_queue_enable, test_vectors,
	  test_device_config, test_msix, test_intx, test_isr, test_config_vector, test_no_master,
	  test_bar_moves_while_live, test_no_ioeventfd, test_late_bar, test_queue_reset,
	  test_window, test_bad_windows, test_failures, test_races)
