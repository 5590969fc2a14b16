/* Links: virtio/blk.o virtio/blk-parse.o virtio/state.o virtio/pci.o virtio/pci-common.o virtio/mmio.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/pci-state.o hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o hw/ram.o hw/state.o hw/state-show.o disk/disk.o disk/raw.o disk/raw-io.o disk/raw-ring.o disk/request.o disk/format.o disk/lock.o disk/overlay.o disk/nbd.o disk/qemu-nbd.o disk/image.o disk/image-vmdk.o disk/image-graph.o util/confine.o util/json.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/* The state of the block device, over both transports, on a disk in memory. */
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <sys/mman.h>

#include "lkvm/virtio-blk.h"
#include "virtio-machine.h"

#define SECTOR  512U
#define SECTORS 4096U
#define BIT(n)  (1ULL << (n))
#define WCE_AT  offsetof(struct virtio_blk_config, wce)

static struct disk_config cfg;
static char path[64];
static int image;
static gpa_t header, data, status;

static struct virtio_dev *make(const struct ram *ram)
{
	struct virtio_dev *d;
	struct disk *disk;

	ck_assert_int_eq(disk_open(&cfg, &disk), 0);
	ck_assert_int_eq(virtio_blk_new(ram, "blk0", disk, &cfg, &d), 0);
	return d;
}

static const struct machine_device device = { make, virtio_blk_free };

static void setup(unsigned kind, uint64_t features)
{
	image = memfd_create("image", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(image, SECTORS * SECTOR), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", image);
	cfg = (struct disk_config){ .path = path, .serial = "one", .queues = 2,
				    .packed = features & FAKE_PACKED };
	machine_new(&device, kind, 8);
	header = fake_alloc(&drv, 16, 16);
	data = fake_alloc(&drv, 64 * SECTOR, 4096);
	status = fake_alloc(&drv, 1, 1);
	machine_probe(features, 64);
}

static void teardown(void)
{
	machine_free();
	close(image);
}

static unsigned fill_bufs(struct fake_buf bufs[3], uint32_t type, uint64_t sector, uint32_t len)
{
	const struct virtio_blk_outhdr h = { .type = type, .sector = sector };
	unsigned n = 0;

	memcpy(fake_at(&drv, header), &h, sizeof(h));
	*(uint8_t *)fake_at(&drv, status) = 0xee;
	bufs[n++] = FAKE_OUT(header, 16);
	if (len)
		bufs[n++] = (struct fake_buf){ data, len, type != VIRTIO_BLK_T_OUT };
	bufs[n++] = FAKE_IN(status, 1);
	return n;
}

static void request(unsigned queue, uint32_t type, uint64_t sector, uint32_t len)
{
	struct fake_buf bufs[3];
	unsigned n = fill_bufs(bufs, type, sector, len);

	machine_request(queue, bufs, n);
	ck_assert_uint_eq(*(uint8_t *)fake_at(&drv, status), VIRTIO_BLK_S_OK);
}

static void write_sector(unsigned queue, uint64_t sector, uint8_t value)
{
	memset(fake_at(&drv, data), value, SECTOR);
	request(queue, VIRTIO_BLK_T_OUT, sector, SECTOR);
}

static void assert_sector(unsigned queue, uint64_t sector, uint8_t value)
{
	const uint8_t *got = fake_at(&drv, data);

	request(queue, VIRTIO_BLK_T_IN, sector, SECTOR);
	for (unsigned i = 0; i < SECTOR; i++)
		ck_assert_uint_eq(got[i], value);
}

START_TEST(test_requests)
{
	static const uint64_t formats[] = { BIT(VIRTIO_BLK_F_MQ),
					    FAKE_EVENT_IDX | FAKE_INDIRECT,
					    FAKE_PACKED | FAKE_EVENT_IDX };

	for (unsigned f = 0; f < ARRAY_SIZE(formats) * MACHINE_KINDS; f++) {
		setup(f % MACHINE_KINDS, formats[f / MACHINE_KINDS] | BIT(VIRTIO_BLK_F_FLUSH));
		for (uint8_t i = 0; i < 8; i++) {
			write_sector(i % 2, i, i + 1);
			request(0, VIRTIO_BLK_T_FLUSH, 0, 0);
			machine_restore();
			assert_sector(1, i, i + 1);
		}
		teardown();
	}
}
END_TEST

/* Many at a time, some of which are done when the machine is to stand still */
START_TEST(test_many)
{
	for (unsigned kind = 0; kind < MACHINE_KINDS; kind++) {
		gpa_t answers;
		uint32_t written;

		setup(kind, FAKE_INDIRECT);
		answers = fake_alloc(&drv, 64, 1);
		for (unsigned lap = 0; lap < 10; lap++) {
			struct fake_buf bufs[3];
			unsigned n = fill_bufs(bufs, VIRTIO_BLK_T_IN, 0, SECTOR);

			memset(fake_at(&drv, answers), 0xee, 64);
			for (unsigned i = 0; i < 64; i++) {
				bufs[2].at = GPA(answers.v + i);
				ck_assert_int_ge(fake_add_indirect(&drv.queue[0], bufs, n), 0);
				virtio_notify(dev, 0);
			}
			machine_restore();
			for (unsigned i = 0; i < 64; i++)
				machine_wait_used(0, &written);
			for (unsigned i = 0; i < 64; i++)
				ck_assert_uint_eq(((uint8_t *)fake_at(&drv, answers))[i], 0);
		}
		teardown();
	}
}
END_TEST

static uint64_t config(unsigned off, unsigned width)
{
	return virtio_config_read(dev, off, width);
}

START_TEST(test_writeback)
{
	setup(MACHINE_PCI, BIT(VIRTIO_BLK_F_CONFIG_WCE) | BIT(VIRTIO_BLK_F_FLUSH));
	ck_assert_uint_eq(config(WCE_AT, 1), 1);
	machine_restore();
	ck_assert_uint_eq(config(WCE_AT, 1), 1);
	virtio_config_write(dev, WCE_AT, 1, 0);
	machine_restore();
	ck_assert_uint_eq(config(WCE_AT, 1), 0);
	virtio_config_write(dev, WCE_AT, 1, 1);
	machine_restore();
	ck_assert_uint_eq(config(WCE_AT, 1), 1);
	teardown();
}
END_TEST

/* The disk has another size: the driver is told. */
START_TEST(test_capacity)
{
	struct state_buf saved = { 0 };

	setup(MACHINE_PCI, 0);
	hold(dev);
	machine_save(&saved);
	machine_unbuild();
	ck_assert_int_eq(ftruncate(image, 2 * SECTORS * SECTOR), 0);
	machine_build();
	hold(dev);
	machine_load(&saved);
	ck_assert(!machine_irq(0, 0));
	virtio_dev_hold_end(dev);
	ck_assert(machine_irq(0, 10000));
	ck_assert_uint_eq(config(0, 8), 2 * SECTORS);
	write_sector(0, 2 * SECTORS - 1, 9);
	state_buf_free(&saved);
	teardown();
}
END_TEST

/* Another disk is refused. */
START_TEST(test_another)
{
	const struct state_type *type;
	struct state_buf saved = { 0 };
	struct state_reader r;

	for (unsigned i = 0; i < 3; i++) {
		setup(MACHINE_PCI, 0);
		type = dev->type->state;
		state_saved(type, dev, &saved);
		machine_unbuild();
		cfg.serial = i == 0 ? "two" : "one";
		cfg.read_only = i == 1;
		machine_build();
		r = state_reader_of(&saved);
		ck_assert_int_eq(state_load(&r, type, dev), i == 2 ? 0 : -ENODEV);
		state_buf_free(&saved);
		teardown();
	}
}
END_TEST

START_TEST(test_hostile_values)
{
	setup(MACHINE_PCI, 0);
	hold(dev);
	ck_assert_int_eq(machine_load_field("writeback", 3), -ERANGE);
	ck_assert_int_eq(machine_load_field("writeback", 1), -EINVAL); /* CONFIG_WCE was not negotiated */
	ck_assert_int_eq(machine_load_field("read_only", 2), -ERANGE);
	ck_assert_int_eq(machine_load_field("block_bytes", 4096), -ENODEV);
	ck_assert_int_eq(machine_load_field("physical_bytes", 1U << 20), -ENODEV);
	ck_assert_int_eq(machine_load_field("capacity", UINT64_MAX), 0);
	/* of this disk all the same */
	virtio_dev_hold_end(dev);
	ck_assert_uint_eq(config(0, 8), SECTORS);
	write_sector(0, 1, 1);
	teardown();
}
END_TEST

static void use(void *object)
{
	virtio_dev_hold_end(object);
	write_sector(0, 5, 5);
	config(WCE_AT, 1);
	hold(object);
}

START_TEST(test_hostile)
{
	setup(MACHINE_PCI, BIT(VIRTIO_BLK_F_CONFIG_WCE));
	machine_test_hostile(dev->type->state, dev, use);
	assert_sector(1, 5, 5);
	teardown();
}
END_TEST

UNIT_MAIN("blk-state", test_requests, test_many, test_writeback, test_capacity, test_another,
	  test_hostile_values, test_hostile)
