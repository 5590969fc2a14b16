/* Links: virtio/pmem.o disk/pmem.o disk/lock.o virtio/state.o virtio/pci.o virtio/pci-common.o virtio/mmio.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/pci-state.o hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o hw/ram.o hw/state.o hw/state-show.o util/json.o util/log.o util/loop.o tests/unit/fake-driver.o tests/unit/fake-ring.o */

/* Persistent memory has no state but the core's and the transport's: what is in it is its file's. */
#include "lkvm/virtio-pmem.h"

#include <sys/mman.h>
#include <unistd.h>

#include "virtio-machine.h"

#define AT GPA(0x140000000ULL)

static int file;
static unsigned flushes;

int fdatasync(int fd)
{
	(void)fd;
	flushes++;
	return 0;
}

static struct virtio_dev *make(const struct ram *ram)
{
	static const struct board_ops ops = { .memory_add = machine_memory_add, .memory_remove = machine_memory_remove };
	struct pmem_config cfg = { 0 };
	struct virtio_dev *d;
	struct pmem *pmem;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	cfg.path = path;
	ck_assert_int_eq(pmem_size(&cfg), 0);
	ck_assert_int_eq(pmem_open(&cfg, &pmem), 0);
	ck_assert_int_eq(virtio_pmem_new(ram, "pmem0", &(struct board){ &ops, NULL }, pmem, AT, cfg.bytes, &d), 0);
	return d;
}

static const struct machine_device device = { make, virtio_pmem_free };

static void flush(void)
{
	const struct fake_buf buf[] = { FAKE_OUT(GPA(0x100), 4), FAKE_IN(GPA(0x104), 4) };
	uint32_t *word = fake_at(&drv, GPA(0x100));
	const unsigned before = flushes;

	word[0] = 0;
	word[1] = 99;
	ck_assert_uint_eq(machine_request(0, buf, 2), 4);
	ck_assert_uint_eq(word[1], 0);
	ck_assert_uint_eq(flushes, before + 1);
}

START_TEST(test_flushes)
{
	static const uint64_t formats[] = { 0, FAKE_EVENT_IDX | FAKE_INDIRECT };

	file = memfd_create("pmem", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(file, 5000), 0);
	for (unsigned f = 0; f < ARRAY_SIZE(formats) * MACHINE_KINDS; f++) {
		machine_new(&device, f % MACHINE_KINDS, 4);
		ck_assert_ptr_null(dev->type->state);
		machine_probe(formats[f / MACHINE_KINDS], 8);
		for (unsigned i = 0; i < 6; i++) {
			flush();
			flush();
			machine_restore();
		}
		flush();
		machine_free();
	}
	close(file);
}
END_TEST

UNIT_MAIN("pmem-state", test_flushes)
