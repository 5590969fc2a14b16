/* Links: virtio/state.o virtio/pci.o virtio/pci-common.o virtio/mmio.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/pci-state.o hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o hw/ram.o hw/state.o hw/state-show.o util/json.o util/log.o util/loop.o tests/unit/fake-driver.o tests/unit/fake-ring.o */

/* The state of the two transports of virtio, with a device that echoes. */
#include "virtio-machine.h"

#define ISR    (MACHINE_BAR + 0x800)
#define QUEUES 2

static const struct virtio_type echo = {
	.name = "echo", .id = 42, .queue_size = 64, .kick = fake_echo
};
static unsigned n_queues;

static struct virtio_dev *make(const struct ram *ram)
{
	struct virtio_dev *d = calloc(1, sizeof(*d));

	*d = (struct virtio_dev){ .type = &echo,
				  .name = "echo0",
				  .ram = ram,
				  .n_queues = n_queues,
				  .shm = { .bytes = 0x100000, .id = 1 },
				  .device_features = FAKE_PACKED };
	ck_assert_int_eq(virtio_init(d), 0);
	return d;
}

static void unmake(struct virtio_dev *d)
{
	virtio_fini(d);
	free(d);
}

static const struct machine_device device = { make, unmake };
static gpa_t out, in;

static void setup(unsigned kind, uint64_t features)
{
	n_queues = QUEUES;
	machine_new(&device, kind, 4);
	out = fake_alloc(&drv, 64, 8);
	in = fake_alloc(&drv, 64, 8);
	machine_probe(features, 8);
}

static void request(unsigned index)
{
	const struct fake_buf bufs[] = { FAKE_OUT(out, 20), FAKE_IN(in, 30) };
	static char count;

	memset(fake_at(&drv, out), ++count, 20);
	ck_assert_uint_eq(machine_request(index, bufs, 2), 20);
	ck_assert_mem_eq(fake_at(&drv, in), fake_at(&drv, out), 20);
}

/* Of each queue and of the configuration the interrupt arrives as before. */
START_TEST(test_requests)
{
	static const uint64_t formats[] = { 0, FAKE_EVENT_IDX | FAKE_INDIRECT,
					    FAKE_PACKED | FAKE_EVENT_IDX };

	for (unsigned f = 0; f < ARRAY_SIZE(formats) * MACHINE_KINDS; f++) {
		setup(f % MACHINE_KINDS, formats[f / MACHINE_KINDS]);
		for (unsigned i = 0; i < 10; i++) {
			request(0);
			request(1);
			machine_restore();
		}
		virtio_config_begin(dev);
		virtio_config_end(dev);
		ck_assert(machine_irq(0, 10000));
		machine_free();
	}
}
END_TEST

/* A request that was made while it stood still; a change of the configuration, too. */
START_TEST(test_waiting)
{
	for (unsigned kind = 0; kind < MACHINE_KINDS; kind++) {
		const struct fake_buf buf = FAKE_OUT(GPA(0), 4);
		uint32_t written;

		setup(kind, 0);
		request(1);
		hold(dev);
		ck_assert_int_ge(fake_add(&drv.queue[1], &buf, 1), 0);
		virtio_notify(dev, 1);
		virtio_config_begin(dev);
		virtio_config_end(dev);
		machine_replace();
		ck_assert(!machine_irq(2, 0));
		ck_assert(!machine_irq(0, 0));
		virtio_dev_hold_end(dev);
		ck_assert(machine_irq(0, 10000));
		ck_assert_int_ge(machine_wait_used(1, &written), 0);
		machine_free();
	}
}
END_TEST

static uint64_t common(unsigned off, unsigned len)
{
	return bus_in(&mmio, MACHINE_BAR + off, len);
}

static void set_common(unsigned off, uint64_t value, unsigned len)
{
	bus_out(&mmio, MACHINE_BAR + off, value, len);
}

START_TEST(test_pci_registers)
{
	unsigned window;

	setup(MACHINE_PCI, 0);
	set_common(VIRTIO_PCI_COMMON_DFSELECT, 0x12345, 4);
	set_common(VIRTIO_PCI_COMMON_GFSELECT, 1, 4);
	set_common(VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
	set_common(VIRTIO_PCI_COMMON_Q_MSIX, 0, 2);
	/* The PCI_CFG window: to the queue's size */
	window = machine_cap(PCI_CAP_ID_VNDR, 64);
	while (config_in(MACHINE_DEVFN, window + 3, 1) != VIRTIO_PCI_CAP_PCI_CFG)
		window = machine_cap(PCI_CAP_ID_VNDR, config_in(MACHINE_DEVFN, window + 1, 1));
	config_out(MACHINE_DEVFN, window + 8, VIRTIO_PCI_COMMON_Q_SIZE, 4);
	config_out(MACHINE_DEVFN, window + 12, 2, 4);
	machine_restore();
	ck_assert_uint_eq(common(VIRTIO_PCI_COMMON_DFSELECT, 4), 0x12345);
	ck_assert_uint_eq(common(VIRTIO_PCI_COMMON_GFSELECT, 4), 1);
	ck_assert_uint_eq(common(VIRTIO_PCI_COMMON_GF, 4), 1);
	ck_assert_uint_eq(common(VIRTIO_PCI_COMMON_Q_SELECT, 2), 1);
	ck_assert_uint_eq(common(VIRTIO_PCI_COMMON_Q_MSIX, 2), 0);
	ck_assert_uint_eq(common(VIRTIO_PCI_COMMON_MSIX, 2), 0);
	ck_assert_uint_eq(config_in(MACHINE_DEVFN, window + 16, 2), 8);
	set_common(VIRTIO_PCI_COMMON_Q_SELECT, 0, 2);
	ck_assert_uint_eq(common(VIRTIO_PCI_COMMON_Q_MSIX, 2), 1);
	machine_free();
}
END_TEST

/* INTA stays up until the guest of the twin has read the ISR. */
START_TEST(test_pci_isr)
{
	const struct fake_buf buf = FAKE_OUT(GPA(0), 4);
	uint32_t written;

	setup(MACHINE_PCI, 0);
	config_out(MACHINE_DEVFN, machine_cap(PCI_CAP_ID_MSIX, 64) + PCI_MSIX_FLAGS, 0, 2);
	fake_irq_on(&drv.queue[0], 0);
	ck_assert_int_ge(fake_add(&drv.queue[0], &buf, 1), 0);
	virtio_notify(dev, 0);
	while (fake_used(&drv.queue[0], &written) < 0)
		poll(NULL, 0, 1);
	hold(dev);
	ck_assert(config_in(MACHINE_DEVFN, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	machine_replace();
	virtio_dev_hold_end(dev);
	ck_assert(config_in(MACHINE_DEVFN, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	ck_assert(fake_board_line_up(&fake, 17));
	ck_assert_uint_eq(bus_in(&mmio, ISR, 1), 1);
	ck_assert(!fake_board_line_up(&fake, 17));
	machine_restore();
	ck_assert(!fake_board_line_up(&fake, 17));
	machine_free();
}
END_TEST

/* A vector that is masked stays pending. */
START_TEST(test_pci_pending)
{
	setup(MACHINE_PCI, 0);
	bus_out(&mmio, MACHINE_TABLE + 8, MACHINE_VECTOR | 1ULL << 32, 8);
	virtio_config_begin(dev);
	virtio_config_end(dev);
	machine_restore();
	ck_assert_uint_eq(bus_in(&mmio, MACHINE_BAR + 0x3c00, 8), 1);
	bus_out(&mmio, MACHINE_TABLE + 8, MACHINE_VECTOR, 8);
	ck_assert_uint_eq(bus_in(&mmio, MACHINE_BAR + 0x3c00, 8), 0);
	machine_free();
}
END_TEST

/* A driver that has taken bus mastering away is not answered by the twin, until it gives it. */
START_TEST(test_pci_master)
{
	const struct fake_buf buf = FAKE_OUT(GPA(0), 4);
	uint32_t written;

	setup(MACHINE_PCI, 0);
	request(0);
	config_out(MACHINE_DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	machine_restore();
	ck_assert_int_ge(fake_add(&drv.queue[0], &buf, 1), 0);
	virtio_notify(dev, 0);
	machine_restore();
	poll(NULL, 0, 20);
	ck_assert_int_lt(fake_used(&drv.queue[0], &written), 0);
	config_out(MACHINE_DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	ck_assert_int_ge(machine_wait_used(0, &written), 0);
	request(0);
	machine_free();
}
END_TEST

static uint32_t reg(unsigned off)
{
	return (uint32_t)bus_in(&mmio, MACHINE_MMIO + off, 4);
}

static void set_reg(unsigned off, uint32_t value)
{
	bus_out(&mmio, MACHINE_MMIO + off, value, 4);
}

/* Also that one interrupt was shown and not acknowledged, and that another came since */
START_TEST(test_mmio_registers)
{
	setup(MACHINE_MMIO_BUS, FAKE_PACKED);
	set_reg(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	set_reg(VIRTIO_MMIO_QUEUE_SEL, 1);
	set_reg(VIRTIO_MMIO_SHM_SEL, 1);
	set_reg(VIRTIO_MMIO_INTERRUPT_ACK, reg(VIRTIO_MMIO_INTERRUPT_STATUS));
	virtio_config_begin(dev);
	virtio_config_end(dev);
	machine_restore();
	ck_assert_uint_eq(reg(VIRTIO_MMIO_DEVICE_FEATURES), 0x104 | 1); /* of bits 32 and up */
	ck_assert_uint_eq(reg(VIRTIO_MMIO_QUEUE_READY), 1);
	ck_assert_uint_eq(reg(VIRTIO_MMIO_SHM_LEN_LOW), 0x100000);
	ck_assert_uint_eq(reg(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	virtio_config_begin(dev);
	virtio_config_end(dev);
	machine_restore();
	set_reg(VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
	ck_assert_uint_eq(reg(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	set_reg(VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
	machine_restore();
	ck_assert_uint_eq(reg(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	ck_assert_uint_eq(reg(VIRTIO_MMIO_CONFIG_GENERATION), 2);
	set_reg(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 7);
	machine_restore();
	machine_free();
}
END_TEST

/* With the device that was there it goes on in the same machine. */
START_TEST(test_another)
{
	struct state_buf saved = { 0 };
	struct state_reader r;

	setup(MACHINE_PCI, 0);
	state_saved(dev->transport_ops->state, dev->transport, &saved);
	machine_unbuild();
	n_queues = QUEUES + 1;
	machine_build();
	r = state_reader_of(&saved);
	ck_assert_int_eq(state_load(&r, dev->transport_ops->state, dev->transport), -ENODEV);
	state_buf_free(&saved);
	machine_free();
}
END_TEST

/* ---- hostile ---- */

static int try_field(const char *name, unsigned index, uint64_t value)
{
	struct state_reader why;

	return state_try_field(dev->transport_ops->state, dev->transport, name, index, value, &why);
}

START_TEST(test_pci_hostile_values)
{
	setup(MACHINE_PCI, 0);
	ck_assert_int_eq(try_field("vector", 1, QUEUES + 1), -ERANGE);
	ck_assert_int_eq(try_field("vector", 0, VIRTIO_MSI_NO_VECTOR - 1), -ERANGE);
	ck_assert_int_eq(try_field("config_vector", 0, QUEUES + 1), -ERANGE);
	ck_assert_int_eq(try_field("isr", 0, 4), -ERANGE);
	ck_assert_int_eq(try_field("n", 0, QUEUES + 1), -ENODEV);
	ck_assert_int_eq(try_field("vector", 1, QUEUES), 0);
	ck_assert_int_eq(try_field("vector", 1, VIRTIO_MSI_NO_VECTOR), 0);
	ck_assert_int_eq(try_field("queue_select", 0, 0xffff), 0);
	machine_free();
}
END_TEST

START_TEST(test_mmio_hostile_values)
{
	setup(MACHINE_MMIO_BUS, 0);
	ck_assert_int_eq(try_field("interrupt", 0, 0x303), 0);
	ck_assert_int_eq(try_field("interrupt", 0, 4), -ERANGE);
	ck_assert_int_eq(try_field("interrupt", 0, 0x400), -ERANGE);
	machine_free();
}
END_TEST

static void use(void *transport)
{
	uint64_t base = machine_is_mmio ? MACHINE_MMIO : MACHINE_BAR;

	(void)transport;
	virtio_config_begin(dev);
	virtio_config_end(dev);
	for (unsigned off = 0; off < 0x100; off += 4)
		bus_in(&mmio, base + off, 4);
	bus_out(&mmio, machine_is_mmio ? base + VIRTIO_MMIO_INTERRUPT_ACK : ISR, 3, 4);
	virtio_dev_hold_end(dev);
	request(0);
	hold(dev);
}

/* The queue's own vector may be another then. */
static void use_pci(void *transport)
{
	(void)transport;
	virtio_config_begin(dev);
	virtio_config_end(dev);
	for (unsigned off = 0; off < 0x100; off += 2)
		bus_in(&mmio, MACHINE_BAR + off, off & 2 ? 2 : 4);
	bus_in(&mmio, ISR, 1);
	dev->transport_ops->queue_irq(dev, 0);
	dev->transport_ops->config_irq(dev);
}

START_TEST(test_hostile)
{
	for (unsigned kind = 0; kind < MACHINE_KINDS; kind++) {
		setup(kind, 0);
		machine_test_hostile(dev->transport_ops->state, dev->transport,
				     kind == MACHINE_PCI ? use_pci : use);
		request(1);
		machine_free();
	}
}
END_TEST

UNIT_MAIN("transport-state", test_requests, test_waiting, test_pci_registers, test_pci_isr,
	  test_pci_pending, test_pci_master, test_mmio_registers, test_another, test_pci_hostile_values,
	  test_mmio_hostile_values, test_hostile)
