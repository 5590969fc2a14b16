/*
 * A machine with one virtio device, over PCI (with MSI-X) or MMIO, for the tests of its state: it is
 * used by the fake driver, saved, thrown away, built anew, loaded, and used again. The driver sets it up
 * by the core's functions, and sees the transport's interrupts.
 *
 *	static struct virtio_dev *make(const struct ram *ram) ...
 *	static const struct machine_device device = { make, virtio_X_free };
 *
 *	machine_new(&device, MACHINE_PCI, 4);
 *	machine_probe(features, 8);
 *	machine_request(0, bufs, n) ...
 *	machine_restore();
 *	machine_request(0, bufs, n) ...
 *	machine_free();
 */
#ifndef TESTS_VIRTIO_MACHINE_H
#define TESTS_VIRTIO_MACHINE_H

#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>
#include <poll.h>

#include "fake-driver.h"
#include "lkvm/event.h"
#include "lkvm/virtio-mmio.h"
#include "lkvm/virtio-pci.h"
#include "pci-rig.h"
#include "state.h"
#include "virtio-state.h"

#define MACHINE_DEVFN  8
#define MACHINE_BAR    LAYOUT_PCI_WINDOW
#define MACHINE_TABLE  (MACHINE_BAR + 0x3000)
#define MACHINE_MMIO   0xe1000000ULL
#define MACHINE_VECTOR 0x4030 /* message data of vector 0 */

enum { MACHINE_PCI, MACHINE_MMIO_BUS, MACHINE_KINDS };

struct machine_device {
	struct virtio_dev *(*make)(const struct ram *ram);
	void (*free)(struct virtio_dev *dev);
};

static const struct machine_device *machine_device;
static bool machine_is_mmio;
static struct fake_driver drv;
static struct virtio_dev *dev;
static struct virtio_pci *vp;
static struct virtio_mmio_host *mmio_host;
static int mmio_irq = -1;

/* ---- built and thrown away ---- */

static inline int machine_notify(void *ctx, int fd, bool is_pio, uint64_t addr, unsigned len,
				 int64_t match, bool on)
{
	(void)ctx, (void)fd, (void)is_pio, (void)addr, (void)len, (void)match, (void)on;
	return -ENOSYS;
}

static inline int machine_irqfd(void *ctx, int fd, unsigned gsi, bool on)
{
	(void)ctx, (void)gsi;
	mmio_irq = on ? fd : -1;
	return 0;
}

static inline int machine_memory_add(void *ctx, const char *name, uint64_t addr, void *memory, uint64_t bytes,
				     bool read_only)
{
	(void)ctx, (void)name, (void)addr, (void)memory, (void)bytes, (void)read_only;
	return 0;
}

static inline int machine_memory_remove(void *ctx, unsigned number)
{
	(void)ctx, (void)number;
	return 0;
}

static inline void machine_build_mmio(void)
{
	static const struct board_ops ops = { .notify = machine_notify, .irqfd = machine_irqfd,
					      .memory_add = machine_memory_add,
					      .memory_remove = machine_memory_remove };
	static const uint8_t gsi = 5;
	const struct virtio_mmio_config cfg = { .board = { &ops, NULL },
						.bus = &mmio,
						.base = MACHINE_MMIO,
						.gsi = &gsi,
						.n_gsis = 1,
						.shm = { 1ULL << 32, 1ULL << 32 } };

	bus_init(&mmio);
	ck_assert_int_eq(virtio_mmio_host_new(&cfg, &mmio_host), 0);
	ck_assert_int_eq(virtio_mmio_add(mmio_host, dev), 0);
}

/* Without the driver, whose rings stay as they are */
static inline void machine_build(void)
{
	dev = machine_device->make(drv.ram);
	if (!drv.queue)
		drv.queue = calloc(dev->n_queues, sizeof(*drv.queue));
	drv.dev = dev;
	if (machine_is_mmio) {
		machine_build_mmio();
	} else {
		new_host();
		ck_assert_int_eq(virtio_pci_new(host, dev, &vp), 0);
	}
	ck_assert_int_eq(virtio_dev_start(dev), 0);
}

static inline void machine_unbuild(void)
{
	machine_device->free(dev);
	if (machine_is_mmio) {
		virtio_mmio_host_free(mmio_host);
		bus_fini(&mmio);
	} else {
		virtio_pci_free(vp);
		free_host();
	}
}

static inline void machine_new(const struct machine_device *device, unsigned kind, unsigned mib)
{
	machine_device = device;
	machine_is_mmio = kind == MACHINE_MMIO_BUS;
	fake_init(&drv, mib);
	machine_build();
}

static inline void machine_free(void)
{
	machine_unbuild();
	fake_fini(&drv);
}

/* ---- used ---- */

static inline unsigned machine_cap(uint8_t id, unsigned from)
{
	unsigned cap = from;

	while (config_in(MACHINE_DEVFN, cap, 1) != id)
		cap = config_in(MACHINE_DEVFN, cap + 1, 1);
	return cap;
}

/* The message of each queue, and of changes of the configuration, is another. */
static inline void machine_use_msix(void)
{
	config_out(MACHINE_DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	config_out(MACHINE_DEVFN, machine_cap(PCI_CAP_ID_MSIX, 64) + PCI_MSIX_FLAGS,
		   PCI_MSIX_FLAGS_ENABLE, 2);
	bus_out(&mmio, MACHINE_BAR + VIRTIO_PCI_COMMON_MSIX, 0, 2);
	for (unsigned v = 0; v <= dev->n_queues; v++) {
		bus_out(&mmio, MACHINE_TABLE + v * 16, 0xfee00000, 8);
		bus_out(&mmio, MACHINE_TABLE + v * 16 + 8, MACHINE_VECTOR + v, 8);
		if (v == dev->n_queues)
			break;
		bus_out(&mmio, MACHINE_BAR + VIRTIO_PCI_COMMON_Q_SELECT, v, 2);
		bus_out(&mmio, MACHINE_BAR + VIRTIO_PCI_COMMON_Q_MSIX, v + 1, 2);
	}
}

static inline void machine_probe(uint64_t features, uint16_t size)
{
	ck_assert(fake_negotiate(&drv, features));
	if (!machine_is_mmio)
		machine_use_msix();
	for (unsigned i = 0; i < dev->n_queues; i++)
		fake_setup_queue(&drv, i, size);
	virtio_set_status(dev, virtio_get_status(dev) | VIRTIO_CONFIG_S_DRIVER_OK);
	ck_assert_uint_eq(virtio_get_status(dev), 15);
}

/* The eventfd that KVM would take the interrupts of vector @v from, or those of the line */
static inline int machine_irq_fd(unsigned v)
{
	if (machine_is_mmio)
		return mmio_irq;
	for (unsigned gsi = FAKE_FIRST_MSI; gsi < FAKE_BOARD_GSIS; gsi++)
		if (fake.msi[gsi].used && fake.msi[gsi].data == MACHINE_VECTOR + v)
			return fake.msi[gsi].fd;
	return -1;
}

/* Return: did it come in that time? */
static inline bool machine_irq(unsigned v, int timeout_ms)
{
	struct pollfd p = { .fd = machine_irq_fd(v), .events = POLLIN };

	ck_assert_int_ge(p.fd, 0);
	return poll(&p, 1, timeout_ms) == 1 && event_clear(p.fd);
}

/* As fake_wait_used(), by the transport's interrupts */
static inline int machine_wait_used(unsigned index, uint32_t *ret_written)
{
	struct fake_queue *q = &drv.queue[index];
	int id;

	for (;;) {
		fake_irq_on(q, 0);
		id = fake_used(q, ret_written);
		if (id >= 0)
			return id;
		ck_assert_msg(machine_irq(index + 1, 10000), "no interrupt of queue %u", index);
	}
}

/* As fake_request(); Return: bytes written */
static inline uint32_t machine_request(unsigned index, const struct fake_buf *bufs, unsigned n)
{
	struct fake_queue *q = &drv.queue[index];
	uint32_t written;
	int id;

	fake_irq_on(q, 0);
	id = drv.features & FAKE_INDIRECT ? fake_add_indirect(q, bufs, n) : fake_add(q, bufs, n);
	ck_assert_int_ge(id, 0);
	if (fake_must_notify(q))
		virtio_notify(dev, index);
	ck_assert_int_eq(machine_wait_used(index, &written), id);
	return written;
}

/* ---- saved and loaded ---- */

static inline void machine_save(struct state_buf *ret)
{
	if (!machine_is_mmio) {
		struct pci_function *fn = pci_function_at(host, MACHINE_DEVFN);

		state_saved(&pci_host_state_type, host, ret);
		state_saved(&pci_function_state_type, fn, ret);
		state_saved(&pci_msix_state_type, fn, ret);
	}
	ck_assert_int_eq(virtio_dev_save(dev, ret), 0);
}

static inline void machine_load(const struct state_buf *saved)
{
	struct state_reader in = state_reader_of(saved);

	if (!machine_is_mmio) {
		struct pci_function *fn = pci_function_at(host, MACHINE_DEVFN);

		ck_assert_msg(!state_load(&in, &pci_host_state_type, host), "%s", in.why);
		ck_assert_msg(!state_load(&in, &pci_function_state_type, fn), "%s", in.why);
		ck_assert_msg(!state_load(&in, &pci_msix_state_type, fn), "%s", in.why);
	}
	ck_assert_msg(!virtio_dev_load(dev, &in), "%s", in.why);
	ck_assert_ptr_eq(in.at, in.end);
}

static inline void assert_machine_saves(const struct state_buf *want)
{
	struct state_buf got = { 0 };
	struct state_reader a = state_reader_of(want), b;

	machine_save(&got);
	b = state_reader_of(&got);
	while (a.at != a.end && b.at != b.end)
		ck_assert_int_eq(state_diff(&a, &b, stdout), 0);
	ck_assert_uint_eq(got.len, want->len);
	ck_assert_mem_eq(got.data, want->data, got.len);
	state_buf_free(&got);
}

/* The device stands still, and the one in its place does. */
static inline void machine_replace(void)
{
	struct state_buf saved = { 0 };
	void *ram;

	machine_save(&saved);
	ram = ram_kept(drv.ram);
	machine_unbuild();
	ram_restore(drv.ram, ram);
	machine_build();
	hold(dev);
	machine_load(&saved);
	assert_machine_saves(&saved);
	state_buf_free(&saved);
}

static inline void machine_restore(void)
{
	hold(dev);
	machine_replace();
	virtio_dev_hold_end(dev);
}

/*
 * Into a new one, which then stands still; what cannot be loaded is told by text in which @why stands.
 * Return: as virtio_dev_load()
 */
static inline int machine_reload(const char *why)
{
	struct state_buf saved = { 0 };
	struct state_reader r;
	int err;

	hold(dev);
	ck_assert_int_eq(virtio_dev_save(dev, &saved), 0);
	machine_unbuild();
	machine_build();
	hold(dev);
	r = state_reader_of(&saved);
	err = virtio_dev_load(dev, &r);
	ck_assert_msg(strstr(r.why, why), "%s", r.why);
	state_buf_free(&saved);
	return err;
}

/* Its own part of the state, with another value in one field; it stands still. Return: as state_load() */
static inline int machine_load_field(const char *name, uint64_t value)
{
	struct state_reader why;

	return state_load_field(dev->type->state, dev, name, 0, value, &why);
}

/* state_test_hostile() of what is beyond the core; @use is given the device, which stands still */
static inline void machine_test_hostile(const struct state_type *type, void *object,
					void (*use)(void *object))
{
	hold(dev);
	state_test_table(type);
	state_test_same(type, object, object);
	state_test_hostile(type, object, use);
	virtio_dev_hold_end(dev);
}

#endif
