/* Links: virtio/rng.o virtio/state.o virtio/pci.o virtio/pci-common.o virtio/mmio.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/pci-state.o hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o hw/ram.o hw/state.o hw/state-show.o util/json.o util/log.o util/loop.o tests/unit/fake-driver.o tests/unit/fake-ring.o */

/* The entropy device has no state but the core's and the transport's. */
#include "lkvm/virtio-rng.h"
#include "virtio-machine.h"

static struct virtio_dev *make(const struct ram *ram)
{
	static const struct virtio_rng_config config = { .packed = true };
	struct virtio_dev *d;

	ck_assert_int_eq(virtio_rng_new(ram, "rng0", &config, &d), 0);
	return d;
}

static const struct machine_device device = { make, virtio_rng_free };

static void request(void)
{
	const struct fake_buf buf = FAKE_IN(GPA(0x100), 256);

	memset(fake_at(&drv, buf.at), 0, 256);
	ck_assert_uint_eq(machine_request(0, &buf, 1), 256);
	for (unsigned i = 0; i < 256; i++)
		if (((uint8_t *)fake_at(&drv, buf.at))[i])
			return;
	ck_abort_msg("256 zeros");
}

START_TEST(test_requests)
{
	static const uint64_t formats[] = { 0, FAKE_EVENT_IDX | FAKE_INDIRECT,
					    FAKE_PACKED | FAKE_EVENT_IDX };

	for (unsigned f = 0; f < ARRAY_SIZE(formats) * MACHINE_KINDS; f++) {
		machine_new(&device, f % MACHINE_KINDS, 4);
		ck_assert_ptr_null(dev->type->state);
		machine_probe(formats[f / MACHINE_KINDS], 8);
		for (unsigned i = 0; i < 12; i++) {
			request();
			request();
			machine_restore();
		}
		request();
		machine_free();
	}
}
END_TEST

UNIT_MAIN("rng-state", test_requests)
