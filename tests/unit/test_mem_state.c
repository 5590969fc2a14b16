/* Links: virtio/mem.o virtio/mem-state.o virtio/state.o virtio/pci.o virtio/pci-common.o virtio/mmio.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/pci-state.o hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o hw/ram.o hw/ram-plug.o hw/ram-fault.o hw/ram-log.o hw/state.o hw/state-show.o util/event.o util/json.o util/log.o util/loop.o tests/unit/fake-driver.o tests/unit/fake-ring.o */
#include "lkvm/virtio-mem.h"

#include <linux/virtio_mem.h>

#include "virtio-machine.h"

#define START (4 * GIB)
#define BLOCK (2 * MIB)
#define ALL   (1ULL << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE)

static int add(void *ctx, const char *name, uint64_t addr, void *memory, uint64_t bytes, bool read_only)
{
	(void)ctx, (void)name, (void)addr, (void)memory, (void)bytes, (void)read_only;
	return 0;
}

static int take_away(void *ctx, unsigned number)
{
	(void)ctx, (void)number;
	return 0;
}

static struct virtio_dev *make(const struct ram *ram)
{
	static const struct board_ops ops = { .memory_add = add, .memory_remove = take_away };
	static const struct mem_setup setup = { .most_bytes = 6 * BLOCK, .node = -1 };
	struct virtio_dev *d;

	ck_assert_int_eq(virtio_mem_new((struct ram *)(uintptr_t)ram, "mem0", &(struct board){ &ops, NULL }, &setup, &d), 0);
	return d;
}

static const struct machine_device device = { make, virtio_mem_free };

static void machine(unsigned kind)
{
	fake_region = (struct ram_region){ START, 8 * BLOCK, BLOCK };
	machine_new(&device, kind, 4);
	ck_assert_int_eq(ram_fault_report(drv.ram, NULL), 0);
	machine_probe(ALL, 8);
}

static unsigned ask(unsigned type, unsigned block)
{
	const struct virtio_mem_req req = { .type = (uint16_t)type, .u.plug = { START + block * BLOCK, 1, { 0 } } };
	const struct fake_buf buf[2] = { FAKE_OUT(GPA(0x100), sizeof(req)), FAKE_IN(GPA(0x200), 10) };

	memcpy(fake_at(&drv, buf[0].at), &req, sizeof(req));
	machine_request(0, buf, 2);
	return *(uint16_t *)fake_at(&drv, buf[1].at);
}

START_TEST(test_goes_on)
{
	for (unsigned kind = 0; kind < MACHINE_KINDS; kind++) {
		machine(kind);
		virtio_mem_set(dev, 2 * BLOCK);
		ck_assert_uint_eq(ask(VIRTIO_MEM_REQ_PLUG, 1), VIRTIO_MEM_RESP_ACK);
		for (unsigned i = 0; i < 12; i++) {
			machine_restore();
			ck_assert_uint_eq(virtio_config_read(dev, 40, 8), BLOCK);
			ck_assert_uint_eq(virtio_config_read(dev, 48, 8), 2 * BLOCK);
			ck_assert_uint_eq(ask(VIRTIO_MEM_REQ_PLUG, 1), VIRTIO_MEM_RESP_ERROR);
			ck_assert_uint_eq(ask(VIRTIO_MEM_REQ_PLUG, 2), VIRTIO_MEM_RESP_ACK);
			ck_assert_uint_eq(ask(VIRTIO_MEM_REQ_PLUG, 3), VIRTIO_MEM_RESP_NACK);
			ck_assert_uint_eq(ask(VIRTIO_MEM_REQ_UNPLUG, 2), VIRTIO_MEM_RESP_ACK);
		}
		machine_free();
	}
}
END_TEST

/* A device whose ring has been unplugged is saved as broken, and can be loaded. */
START_TEST(test_without_ring)
{
	for (unsigned kind = 0; kind < MACHINE_KINDS; kind++) {
		machine(kind);
		virtio_mem_set(dev, 2 * BLOCK);
		ck_assert_uint_eq(ask(VIRTIO_MEM_REQ_PLUG, 0), VIRTIO_MEM_RESP_ACK);
		drv.next = START;
		machine_probe(ALL, 8);
		ck_assert_uint_eq(ask(VIRTIO_MEM_REQ_STATE, 0), VIRTIO_MEM_RESP_ACK);
		ck_assert_int_eq(ram_unplug(drv.ram, 0, 1), 0);
		machine_restore();
		ck_assert(dev->needs_reset);
		drv.next = 2 * MIB;
		machine_probe(ALL, 8);
		ck_assert_uint_eq(ask(VIRTIO_MEM_REQ_PLUG, 0), VIRTIO_MEM_RESP_ACK);
		machine_free();
	}
}
END_TEST

static void use(void *object)
{
	struct mem_view v;

	virtio_mem_view(object, &v);
	ck_assert_uint_le(v.requested_bytes, v.most_bytes);
}

START_TEST(test_hostile)
{
	machine(MACHINE_PCI);
	machine_test_hostile(dev->type->state, dev, use);
	hold(dev);
	ck_assert_int_eq(machine_load_field("requested", 6 * BLOCK), 0);
	ck_assert_int_eq(machine_load_field("requested", 7 * BLOCK), -EINVAL);
	ck_assert_int_eq(machine_load_field("requested", BLOCK + 4096), -EINVAL);
	virtio_dev_hold_end(dev);
	machine_free();
}
END_TEST

UNIT_MAIN("mem-state", test_goes_on, test_without_ring, test_hostile)
