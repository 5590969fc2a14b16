/* Links: virtio/balloon.o virtio/balloon-state.o virtio/state.o virtio/pci.o virtio/pci-common.o virtio/mmio.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/pci-state.o hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o hw/ram.o hw/ram-discard.o hw/ram-log.o hw/state.o hw/state-show.o util/event.o util/json.o util/log.o util/loop.o tests/unit/fake-driver.o tests/unit/fake-ring.o */
#include "lkvm/virtio-balloon.h"
#include "virtio-machine.h"

#define STATS_QUEUE 2
#define HINT_QUEUE  3
#define ALL (1ULL << VIRTIO_BALLOON_F_STATS_VQ | 1ULL << VIRTIO_BALLOON_F_PAGE_POISON | 1ULL << VIRTIO_BALLOON_F_REPORTING | \
	     1ULL << VIRTIO_BALLOON_F_FREE_PAGE_HINT)

static struct virtio_dev *make(const struct ram *ram)
{
	static const struct virtio_balloon_options options = { .packed = true };
	struct virtio_dev *d;

	ck_assert_int_eq(virtio_balloon_new((struct ram *)(uintptr_t)ram, "balloon0", &options, &d), 0);
	return d;
}

static const struct machine_device device = { make, virtio_balloon_free };

static const uint64_t formats[] = { 0, FAKE_EVENT_IDX, FAKE_PACKED | FAKE_EVENT_IDX };

static void inflate(uint32_t page)
{
	const struct fake_buf buf = FAKE_OUT(GPA(0x100), 4);

	memcpy(fake_at(&drv, buf.at), &page, 4);
	memset(fake_at(&drv, GPA(page * 4096ULL)), 1, 4096);
	machine_request(0, &buf, 1);
	ck_assert_uint_eq(*(uint8_t *)fake_at(&drv, GPA(page * 4096ULL)), 0);
}

/* The statistics' buffer is with the device all the time: the one that goes on has it, too. */
START_TEST(test_goes_on)
{
	const struct virtio_balloon_stat stat = { VIRTIO_BALLOON_S_MEMFREE, 77 };
	const struct fake_buf stats = FAKE_OUT(GPA(0x200), sizeof(stat));
	struct balloon_view v;
	uint32_t written;

	for (unsigned f = 0; f < ARRAY_SIZE(formats) * MACHINE_KINDS; f++) {
		machine_new(&device, f % MACHINE_KINDS, 4);
		machine_probe(formats[f / MACHINE_KINDS] | ALL, 8);
		virtio_balloon_set(dev, 2 * MIB);
		virtio_config_write(dev, 4, 4, 300);
		virtio_config_write(dev, 12, 4, 0xaaaa);
		memcpy(fake_at(&drv, stats.at), &stat, sizeof(stat));
		for (unsigned i = 0; i < 12; i++) {
			ck_assert_int_ge(fake_add(&drv.queue[STATS_QUEUE], &stats, 1), 0);
			virtio_notify(dev, STATS_QUEUE);
			inflate(900);
			machine_restore();
			ck_assert_uint_eq(virtio_config_read(dev, 0, 8), 300ULL << 32 | 512);
			ck_assert_uint_eq(virtio_config_read(dev, 12, 4), 0xaaaa);
			inflate(901);
			do {
				virtio_balloon_view(dev, &v);
			} while (!v.n_stats);
			ck_assert_uint_eq(v.stat[VIRTIO_BALLOON_S_MEMFREE], 77);
			virtio_balloon_ask(dev);
			ck_assert_int_ge(machine_wait_used(STATS_QUEUE, &written), 0);
		}
		machine_free();
	}
}
END_TEST

static uint32_t command(void)
{
	return (uint32_t)virtio_config_read(dev, 8, 4);
}

static void ask(struct ram_spare *spare)
{
	ck_assert_int_eq(virtio_balloon_hint_begin(dev, spare, -1), 0);
}

/* One that goes on is told that it may have its pages back; and no id comes twice, or its driver would not answer. */
START_TEST(test_hints_go_on)
{
	struct ram_spare *spare;
	uint32_t last = 0;

	for (unsigned kind = 0; kind < MACHINE_KINDS; kind++) {
		machine_new(&device, kind, 4);
		machine_probe(ALL, 8);
		ck_assert_int_eq(ram_spare_new(drv.ram, &spare), 0);
		for (unsigned i = 0; i < 8; i++) {
			const struct fake_buf id = FAKE_OUT(GPA(0x200), 4), page = FAKE_IN(GPA(0x10000 + i * 0x1000), 0x1000);

			ask(spare);
			ck_assert_uint_gt(command(), i ? last : 1);
			last = command();
			memcpy(fake_at(&drv, id.at), &last, 4);
			machine_request(HINT_QUEUE, &id, 1);
			machine_request(HINT_QUEUE, &page, 1);
			ck_assert_uint_eq(ram_spare_bytes(spare), (i + 1) * 4096);
			if (i % 2)
				ck_assert(virtio_balloon_hint_end(dev));
			machine_restore(); /* or in the middle: nobody is there who has asked */
			ck_assert_uint_eq(command(), VIRTIO_BALLOON_CMD_ID_DONE);
			machine_request(HINT_QUEUE, &page, 1);
		}
		ram_spare_free(spare);
		machine_free();
	}
}
END_TEST

static void use(void *object)
{
	struct balloon_view v;

	virtio_balloon_view(object, &v);
	ck_assert_uint_le(v.actual_bytes, v.ram_bytes);
	ck_assert_uint_le(v.target_bytes, v.ram_bytes);
}

START_TEST(test_hostile)
{
	machine_new(&device, MACHINE_PCI, 4);
	machine_probe(ALL, 8);
	machine_test_hostile(dev->type->state, dev, use);
	hold(dev);
	ck_assert_int_eq(machine_load_field("target", 1024), 0);
	ck_assert_int_eq(machine_load_field("target", 1025), -EINVAL);
	virtio_dev_hold_end(dev);
	machine_free();
}
END_TEST

UNIT_MAIN("balloon-state", test_goes_on, test_hints_go_on, test_hostile)
