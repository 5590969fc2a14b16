/* Links: virtio/blk.o virtio/blk-parse.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o disk/disk.o disk/raw.o disk/raw-io.o disk/request.o disk/format.o disk/lock.o disk/overlay.o disk/nbd.o disk/qemu-nbd.o disk/image.o disk/image-vmdk.o disk/image-graph.o util/confine.o util/json.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */
/* Wraps: calloc reallocarray */

/* The block device: every request type and layout, on a disk in memory. */
#include "unit.h"

#include <endian.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>

#include "aio.h"
#include "fake-driver.h"
#include "lkvm/clock.h"
#include "lkvm/types.h"
#include "lkvm/virtio-blk.h"

#define SECTOR  512U
#define SECTORS 4096U
#define BIT(n)  (1ULL << (n))

/* How many of lkvm's calls fail */
static atomic_uint fail_callocs, fail_reallocs;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return fail_callocs && fail_callocs-- ? NULL : __real_calloc(n, size);
}

void *__real_reallocarray(void *old, size_t n, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
	return fail_reallocs && fail_reallocs-- ? NULL : __real_reallocarray(old, n, size);
}

static struct fake_driver drv;
static struct virtio_dev *dev;
static struct disk_config cfg;
static char path[64];
static int image = -1;
static gpa_t header, data, status;

/* What stands in sector s at byte i at the beginning */
static uint8_t pattern(uint64_t sector, unsigned i)
{
	return (uint8_t)(sector * 7 + i + 1);
}

static void fill_image(void)
{
	static uint8_t bytes[SECTORS * SECTOR];

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = pattern(i / SECTOR, i % SECTOR);
	ck_assert_int_eq(pwrite(image, bytes, sizeof(bytes), 0), sizeof(bytes));
}

/* @cfg is set, but for the path */
static void setup(void)
{
	struct disk *disk;

	image = memfd_create("image", MFD_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", image);
	fill_image();
	cfg.path = path;
	fake_init(&drv, 64);
	ck_assert_int_eq(disk_open(&cfg, &disk), 0);
	ck_assert_int_eq(virtio_blk_new(drv.ram, "blk0", disk, &cfg, &dev), 0);
	fake_attach(&drv, dev);
	header = fake_alloc(&drv, 16, 16);
	data = fake_alloc(&drv, 8 << 20, 4096);
	status = fake_alloc(&drv, 1, 1);
}

static void start(uint64_t features)
{
	setup();
	ck_assert(fake_probe(&drv, features, 64));
}

static void teardown(void)
{
	virtio_blk_free(dev);
	fake_fini(&drv);
	close(image);
}

static void set_header(uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr h = { .type = htole32(type), .sector = htole64(sector) };

	memcpy(fake_at(&drv, header), &h, sizeof(h));
	*(uint8_t *)fake_at(&drv, status) = 0xee;
}

static uint8_t seen_status(void)
{
	return *(uint8_t *)fake_at(&drv, status);
}

/* One request in the usual layout. @len bytes of data, written by the device or read by it */
static int64_t request(uint32_t type, uint64_t sector, uint32_t len, bool in)
{
	struct fake_buf bufs[3] = { FAKE_OUT(header, 16) };
	unsigned n = 1;

	set_header(type, sector);
	if (len)
		bufs[n++] = (struct fake_buf){ data, len, in };
	bufs[n++] = FAKE_IN(status, 1);
	return fake_request(&drv, 0, bufs, n);
}

/* The same, where the status is what counts. */
static uint8_t outcome(uint32_t type, uint64_t sector, uint32_t len, bool in)
{
	ck_assert_int_ge(request(type, sector, len, in), 0);
	return seen_status();
}

static void assert_image(uint64_t sector, const void *expected, size_t len)
{
	uint8_t *bytes = malloc(len);

	ck_assert_int_eq(pread(image, bytes, len, (off_t)(sector * SECTOR)), (ssize_t)len);
	ck_assert(!memcmp(bytes, expected, len));
	free(bytes);
}

static void assert_untouched(uint64_t sector, unsigned n)
{
	for (uint64_t s = sector; s < sector + n; s++) {
		uint8_t bytes[SECTOR];

		for (unsigned i = 0; i < SECTOR; i++)
			bytes[i] = pattern(s, i);
		assert_image(s, bytes, SECTOR);
	}
}

static void assert_zero(uint64_t sector, unsigned n)
{
	static const uint8_t zeros[SECTOR];

	for (uint64_t s = sector; s < sector + n; s++)
		assert_image(s, zeros, SECTOR);
}

static void assert_data(uint64_t sector, unsigned bytes)
{
	const uint8_t *p = fake_at(&drv, data);
	unsigned wrong = 0;

	for (unsigned i = 0; i < bytes; i++)
		wrong += p[i] != pattern(sector + i / SECTOR, i % SECTOR);
	ck_assert_uint_eq(wrong, 0);
}

/* ---- set-up ---- */

static uint64_t config(unsigned off, unsigned width)
{
	return virtio_config_read(dev, off, width);
}

START_TEST(test_config)
{
	const uint64_t both = BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_BLK_SIZE) |
			      BIT(VIRTIO_BLK_F_TOPOLOGY) | BIT(VIRTIO_BLK_F_FLUSH) |
			      BIT(VIRTIO_BLK_F_CONFIG_WCE) | BIT(VIRTIO_BLK_F_MQ);
	const uint64_t writable = BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES);

	cfg.queues = 3;
	setup();
	ck_assert_uint_eq(dev->device_features & 0xffffff, both | writable);
	ck_assert(!(dev->device_features & FAKE_PACKED));
	ck_assert_uint_eq(config(0, 8), SECTORS);
	ck_assert_uint_eq(config(8, 4), 0);      /* size_max */
	ck_assert_uint_eq(config(12, 4), 321);   /* seg_max */
	ck_assert_uint_eq(config(20, 4), SECTOR);
	ck_assert_uint_eq(config(24, 1), 3);     /* 4096 bytes a physical block */
	ck_assert_uint_eq(config(25, 1), 0);
	ck_assert_uint_eq(config(26, 2), 8);
	ck_assert_uint_eq(config(34, 2), 3);     /* queues */
	ck_assert_uint_eq(config(36, 4), 1 << 21);
	ck_assert_uint_eq(config(40, 4), 16);
	ck_assert_uint_eq(config(44, 4), 8);
	ck_assert_uint_eq(config(48, 4), 1 << 18);
	ck_assert_uint_eq(config(52, 4), 16);
	ck_assert_uint_eq(config(56, 4), 1);     /* may unmap; padding */
	ck_assert_uint_eq(config(60, 1), 0);
	virtio_blk_free(NULL);
	teardown();

	cfg = (struct disk_config){ .read_only = true, .packed = true };
	setup();
	ck_assert_uint_eq(dev->device_features & 0xffffff, both | BIT(VIRTIO_BLK_F_RO));
	ck_assert(dev->device_features & FAKE_PACKED);
	ck_assert_uint_eq(config(34, 2), 1);
	teardown();
}
END_TEST

/* ---- good requests ---- */

static void read_write(uint64_t features)
{
	static const unsigned lengths[] = { 1, 2, 8, 100, 2048 };

	start(features);
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		unsigned n = lengths[i], at = 300 * i;

		ck_assert_int_eq(request(VIRTIO_BLK_T_IN, at, n * SECTOR, true), n * SECTOR + 1);
		ck_assert_uint_eq(seen_status(), VIRTIO_BLK_S_OK);
		assert_data(at, n * SECTOR);
		memset(fake_at(&drv, data), (int)i + 1, n * SECTOR);
		ck_assert_int_eq(request(VIRTIO_BLK_T_OUT, at, n * SECTOR, false), 1);
		ck_assert_uint_eq(seen_status(), VIRTIO_BLK_S_OK);
		assert_image(at, fake_at(&drv, data), n * SECTOR);
		if (at + n < SECTORS)
			assert_untouched(at + n, 1);
		fill_image();
	}
	ck_assert_int_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, false), 1);
	ck_assert_uint_eq(seen_status(), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(fake_config_irqs(&drv), 0);
	teardown();
}

START_TEST(test_read_write)
{
	read_write(BIT(VIRTIO_BLK_F_FLUSH));
	read_write(BIT(VIRTIO_BLK_F_FLUSH) | FAKE_EVENT_IDX | FAKE_INDIRECT);
	cfg.packed = true;
	read_write(BIT(VIRTIO_BLK_F_FLUSH) | FAKE_PACKED | FAKE_INDIRECT);
}
END_TEST

START_TEST(test_last_sector)
{
	start(0);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, SECTORS - 1, SECTOR, true), VIRTIO_BLK_S_OK);
	assert_data(SECTORS - 1, SECTOR);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_OUT, SECTORS - 1, SECTOR, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 0, SECTORS * SECTOR, true), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(lseek(image, 0, SEEK_END), SECTORS * SECTOR);
	teardown();
}
END_TEST

/* Nothing but the order of the bytes counts, not how they are spread over buffers. */
START_TEST(test_layouts)
{
	gpa_t joined = GPA(data.v);
	struct fake_buf bufs[40];
	unsigned n = 0;

	start(0);
	joined = data;
	/* A header byte by byte, data in odd parts, and the status at the end of the last of them */
	set_header(VIRTIO_BLK_T_IN, 5);
	for (unsigned i = 0; i < 16; i++)
		bufs[n++] = FAKE_OUT(GPA(header.v + i), 1);
	bufs[n++] = FAKE_IN(joined, 1);
	bufs[n++] = FAKE_IN(GPA(joined.v + 1), 700);
	bufs[n++] = FAKE_IN(GPA(joined.v + 701), 324);
	ck_assert_int_eq(fake_request(&drv, 0, bufs, n), 1025);
	ck_assert_uint_eq(((uint8_t *)fake_at(&drv, joined))[1024], VIRTIO_BLK_S_OK);
	assert_data(5, 1024);

	/* Header and data in one buffer */
	set_header(VIRTIO_BLK_T_OUT, 9);
	memcpy(fake_at(&drv, joined), fake_at(&drv, header), 16);
	memset((char *)fake_at(&drv, joined) + 16, 'x', 1024);
	bufs[0] = FAKE_OUT(joined, 16 + 1000);
	bufs[1] = FAKE_OUT(GPA(joined.v + 1016), 24);
	bufs[2] = FAKE_IN(status, 1);
	ck_assert_int_eq(fake_request(&drv, 0, bufs, 3), 1);
	ck_assert_uint_eq(seen_status(), VIRTIO_BLK_S_OK);
	assert_image(9, (char *)fake_at(&drv, joined) + 16, 1024);
	assert_untouched(8, 1);
	assert_untouched(11, 1);

	/* Room before the status that a write has no use for: nothing of it counts as written. */
	set_header(VIRTIO_BLK_T_OUT, 9);
	bufs[0] = FAKE_OUT(header, 16);
	bufs[1] = FAKE_OUT(joined, 512);
	bufs[2] = FAKE_IN(GPA(joined.v + 4096), 9);
	bufs[3] = FAKE_IN(status, 1);
	ck_assert_int_eq(fake_request(&drv, 0, bufs, 4), 0);
	ck_assert_uint_eq(seen_status(), VIRTIO_BLK_S_OK);
	teardown();
}
END_TEST

START_TEST(test_get_id)
{
	char *id;

	cfg.serial = "0123456789abcdefghijklmn";
	start(0);
	id = fake_at(&drv, data);
	ck_assert_int_eq(request(VIRTIO_BLK_T_GET_ID, 0, 20, true), 21);
	ck_assert(!memcmp(id, "0123456789abcdefghij", 20));
	memset(id, 'z', 40);
	ck_assert_int_eq(request(VIRTIO_BLK_T_GET_ID, 0, 30, true), 20);
	ck_assert_uint_eq(seen_status(), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(id[20], 'z');
	memset(id, 'z', 40);
	ck_assert_int_eq(request(VIRTIO_BLK_T_GET_ID, 0, 4, true), 5);
	ck_assert(!memcmp(id, "0123z", 5));
	ck_assert_int_eq(request(VIRTIO_BLK_T_GET_ID, 0, 0, true), 1);
	teardown();

	cfg.serial = "short";
	start(0);
	memset(fake_at(&drv, data), 'z', 21);
	ck_assert_int_eq(request(VIRTIO_BLK_T_GET_ID, 0, 20, true), 21);
	ck_assert(!memcmp(fake_at(&drv, data), "short\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0z", 21));
	teardown();
}
END_TEST

/* ---- bad requests: an error, nothing else, and the device goes on ---- */

START_TEST(test_past_end)
{
	static const struct {
		uint64_t sector;
		uint32_t sectors;
	} bad[] = {
		{ SECTORS, 1 },
		{ SECTORS - 1, 2 },
		{ SECTORS + 1, 1 },
		{ 1, SECTORS },
		{ UINT64_MAX, 1 },
		{ UINT64_MAX, 2 },
		{ UINT64_MAX - 7, 8 },
		{ UINT64_MAX / 512, 1 },
		{ UINT64_MAX / 512 + 1, 1 },
		{ 1ULL << 55, 1 },
		{ 1ULL << 63, 1 },
	};

	start(0);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		uint32_t len = bad[i].sectors * SECTOR;

		ck_assert_int_eq(request(VIRTIO_BLK_T_IN, bad[i].sector, len, true), 0);
		ck_assert_uint_eq(seen_status(), VIRTIO_BLK_S_IOERR);
		ck_assert_int_eq(request(VIRTIO_BLK_T_OUT, bad[i].sector, len, false), 1);
		ck_assert_uint_eq(seen_status(), VIRTIO_BLK_S_IOERR);
	}
	ck_assert_uint_eq(aio.requests, 0);
	ck_assert_int_eq(lseek(image, 0, SEEK_END), SECTORS * SECTOR);
	assert_untouched(0, SECTORS);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 0, SECTOR, true), VIRTIO_BLK_S_OK);
	teardown();
}
END_TEST

START_TEST(test_length)
{
	static const uint32_t bad[] = { 1, 511, 513, 1023, 4095 };

	start(BIT(VIRTIO_BLK_F_FLUSH));
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 0, bad[i], true), VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(outcome(VIRTIO_BLK_T_OUT, 0, bad[i], false), VIRTIO_BLK_S_IOERR);
	}
	/* No data at all is none too few. */
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 0, 0, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_OUT, 0, 0, true), VIRTIO_BLK_S_OK);
	/* Data in the wrong direction is none. */
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 0, SECTOR, false), VIRTIO_BLK_S_OK);
	assert_untouched(0, SECTORS);
	ck_assert_uint_eq(aio.requests, 0);
	teardown();
}
END_TEST

START_TEST(test_unknown_types)
{
	static const uint32_t types[] = { 2, 3, 5, 6, 7, 9, 10, 12, 14, 15, 16, 24, 0x100, 0x80000000,
					  0x80000001, UINT32_MAX };

	start(0);
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		ck_assert_uint_eq(outcome(types[i], 0, SECTOR, true), VIRTIO_BLK_S_UNSUPP);
		ck_assert_uint_eq(outcome(types[i], 0, SECTOR, false), VIRTIO_BLK_S_UNSUPP);
	}
	assert_untouched(0, SECTORS);
	teardown();
}
END_TEST

START_TEST(test_short_header)
{
	struct fake_buf bufs[2];

	start(0);
	for (uint32_t len = 0; len < 16; len++) {
		set_header(VIRTIO_BLK_T_FLUSH, 0);
		bufs[0] = FAKE_OUT(header, len);
		bufs[1] = FAKE_IN(status, 1);
		ck_assert_int_eq(fake_request(&drv, 0, len ? bufs : bufs + 1, len ? 2 : 1), 1);
		ck_assert_uint_eq(seen_status(), VIRTIO_BLK_S_IOERR);
	}
	teardown();
}
END_TEST

START_TEST(test_no_status)
{
	struct fake_buf bufs[] = { FAKE_OUT(header, 16), FAKE_OUT(data, SECTOR) };

	start(0);
	set_header(VIRTIO_BLK_T_OUT, 0);
	bufs[0].at = header, bufs[1].at = data;
	ck_assert_int_eq(fake_request(&drv, 0, bufs, 2), -1);
	ck_assert(virtio_get_status(dev) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_untouched(0, 1);
	/* A reset mends it. */
	ck_assert(fake_probe(&drv, 0, 64));
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 3, SECTOR, true), VIRTIO_BLK_S_OK);
	teardown();
}
END_TEST

START_TEST(test_read_only)
{
	struct virtio_blk_discard_write_zeroes range = { .sector = 0, .num_sectors = htole32(8) };

	cfg.read_only = true;
	start(BIT(VIRTIO_BLK_F_RO));
	memcpy(fake_at(&drv, data), &range, sizeof(range));
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 0, SECTOR, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_OUT, 0, SECTOR, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_OUT, 0, 0, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_DISCARD, 0, 16, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	assert_untouched(0, SECTORS);
	teardown();
}
END_TEST

/* ---- ranges ---- */

#define RANGES (BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES) | BIT(VIRTIO_BLK_F_FLUSH))

static void put_range(unsigned i, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes r = { htole64(sector), htole32(sectors), htole32(flags) };

	memcpy((char *)fake_at(&drv, data) + i * sizeof(r), &r, sizeof(r));
}

START_TEST(test_zeroes)
{
	start(RANGES);
	put_range(0, 10, 20, 0);
	ck_assert_int_eq(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false), 1);
	ck_assert_uint_eq(seen_status(), VIRTIO_BLK_S_OK);
	assert_zero(10, 20);
	assert_untouched(9, 1);
	assert_untouched(30, 1);
	put_range(0, 40, 1, 1);
	put_range(1, SECTORS - 1, 1, 0);
	put_range(2, 50, 0, 0);
	put_range(3, SECTORS, 0, 0);
	put_range(4, 48, 64, 1);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_WRITE_ZEROES, 0, 80, false), VIRTIO_BLK_S_OK);
	assert_zero(40, 1);
	assert_untouched(41, 7);
	assert_zero(48, 64);
	assert_zero(SECTORS - 1, 1);
	ck_assert_int_eq(lseek(image, 0, SEEK_END), SECTORS * SECTOR);
	teardown();
}
END_TEST

START_TEST(test_discard)
{
	start(RANGES);
	put_range(0, 0, 8, 0);
	put_range(1, 16, 8, 0);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_DISCARD, 0, 32, false), VIRTIO_BLK_S_OK);
	assert_zero(0, 8);
	assert_untouched(8, 8);
	assert_zero(16, 8);
	ck_assert_int_eq(lseek(image, 0, SEEK_HOLE), 0);
	teardown();
}
END_TEST

START_TEST(test_bad_ranges)
{
	static const struct {
		uint64_t sector;
		uint32_t sectors, flags;
		uint8_t discard, zeroes;
	} bad[] = {
		{ 0, 8, 1, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_S_OK },
		{ 0, 8, 2, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_S_UNSUPP },
		{ 0, 8, 1U << 31, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_S_UNSUPP },
		{ SECTORS, 1, 0, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_IOERR },
		{ 1, SECTORS, 0, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_IOERR },
		{ UINT64_MAX, 1, 0, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_IOERR },
		{ UINT64_MAX, 2, 0, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_IOERR },
		{ 1ULL << 55, 8, 0, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_IOERR },
		{ 0, UINT32_MAX, 0, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_IOERR },
	};

	start(RANGES);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		put_range(0, 1000, 8, 0);
		put_range(1, bad[i].sector, bad[i].sectors, bad[i].flags);
		ck_assert_uint_eq(outcome(VIRTIO_BLK_T_DISCARD, 0, 32, false), bad[i].discard);
		ck_assert_uint_eq(outcome(VIRTIO_BLK_T_WRITE_ZEROES, 0, 32, false), bad[i].zeroes);
		/* All are judged before the first is done. */
		if (bad[i].zeroes)
			assert_untouched(1000, 8);
		fill_image();
	}
	/* Sizes that are no number of ranges, none, and too many */
	memset(fake_at(&drv, data), 0, 4096);
	for (unsigned len = 0; len < 16; len++)
		ck_assert_uint_eq(outcome(VIRTIO_BLK_T_DISCARD, 0, len, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_DISCARD, 0, 17, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_DISCARD, 0, 16 * 16, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_DISCARD, 0, 17 * 16, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_WRITE_ZEROES, 0, 17 * 16, false), VIRTIO_BLK_S_IOERR);
	assert_untouched(0, SECTORS);
	teardown();
}
END_TEST

/* The largest range there may be, on a disk that is large enough for larger ones */
START_TEST(test_range_limits)
{
	setup();
	ck_assert_int_eq(ftruncate(image, 8LL << 30), 0);
	ck_assert(fake_probe(&drv, RANGES, 64));
	ck_assert_uint_eq(config(0, 8), 8ULL << 21);
	put_range(0, 5000, 1 << 21, 0);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_DISCARD, 0, 16, false), VIRTIO_BLK_S_OK);
	put_range(0, 5000, (1 << 21) + 1, 0);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_DISCARD, 0, 16, false), VIRTIO_BLK_S_IOERR);
	put_range(0, 5000, 1 << 18, 1);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false), VIRTIO_BLK_S_OK);
	put_range(0, 5000, (1 << 18) + 1, 1);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false), VIRTIO_BLK_S_IOERR);
	teardown();
}
END_TEST

START_TEST(test_ranges_not_negotiated)
{
	start(0);
	put_range(0, 0, 8, 0);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_DISCARD, 0, 16, false), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false), VIRTIO_BLK_S_UNSUPP);
	assert_untouched(0, 8);
	teardown();
}
END_TEST

/* ---- the cache ---- */

#define WCE_OFFSET 32
#define FLUSH      BIT(VIRTIO_BLK_F_FLUSH)
#define WCE        BIT(VIRTIO_BLK_F_CONFIG_WCE)

static unsigned flushes_of_write(void)
{
	unsigned before = aio.flushes;

	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_OUT, 7, SECTOR, false), VIRTIO_BLK_S_OK);
	return aio.flushes - before;
}

START_TEST(test_cache)
{
	setup();
	ck_assert(fake_probe(&drv, FLUSH, 16));
	ck_assert_uint_eq(flushes_of_write(), 0);
	virtio_config_write(dev, WCE_OFFSET, 1, 0); /* not the driver's to change */
	ck_assert_uint_eq(flushes_of_write(), 0);

	ck_assert(fake_probe(&drv, 0, 16));
	ck_assert_uint_eq(flushes_of_write(), 1);

	ck_assert(fake_probe(&drv, WCE, 16));
	ck_assert_uint_eq(config(WCE_OFFSET, 1), 0);
	ck_assert_uint_eq(flushes_of_write(), 1);

	ck_assert(fake_probe(&drv, FLUSH | WCE, 16));
	ck_assert_uint_eq(config(WCE_OFFSET, 1), 1);
	ck_assert_uint_eq(flushes_of_write(), 0);
	virtio_config_write(dev, WCE_OFFSET, 2, 0);
	virtio_config_write(dev, WCE_OFFSET, 1, 2);
	ck_assert_uint_eq(config(WCE_OFFSET, 1), 1);
	virtio_config_write(dev, WCE_OFFSET, 1, 0);
	virtio_config_write(dev, WCE_OFFSET, 1, 2);
	ck_assert_uint_eq(config(WCE_OFFSET, 1), 0);
	ck_assert_uint_eq(flushes_of_write(), 1);
	virtio_config_write(dev, WCE_OFFSET, 1, 1);
	ck_assert_uint_eq(flushes_of_write(), 0);
	virtio_config_write(dev, WCE_OFFSET, 1, 0);

	/* A reset forgets it. */
	ck_assert(fake_probe(&drv, FLUSH | WCE | RANGES, 16));
	ck_assert_uint_eq(config(WCE_OFFSET, 1), 1);
	virtio_config_write(dev, WCE_OFFSET, 1, 0);
	put_range(0, 0, 8, 0);
	aio.flushes = 0;
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(aio.flushes, 1);
	virtio_config_write(dev, 0, 8, 1); /* the capacity is not the driver's */
	ck_assert_uint_eq(config(0, 8), SECTORS);
	teardown();
}
END_TEST

/* ---- many at a time ---- */

/* @n reads of a sector each; a device that lives may take the first before the last is there */
static void add_reads(unsigned queue, unsigned n)
{
	memset((char *)fake_at(&drv, data) + (4 << 20), 0xee, n);
	for (unsigned i = 0; i < n; i++) {
		gpa_t h = fake_alloc(&drv, 16, 16);
		struct virtio_blk_outhdr head = { .sector = htole64(i * 3) };
		struct fake_buf bufs[] = { FAKE_OUT(h, 16), FAKE_IN(GPA(data.v + i * SECTOR), SECTOR),
					   FAKE_IN(GPA(data.v + (4 << 20) + i), 1) };

		memcpy(fake_at(&drv, h), &head, sizeof(head));
		ck_assert_int_ge(fake_add(&drv.queue[queue], bufs, 3), 0);
	}
}

static void wait_reads(unsigned queue, unsigned n, uint8_t expected)
{
	const uint8_t *p = fake_at(&drv, data);
	uint32_t written;

	for (unsigned i = 0; i < n; i++)
		ck_assert_int_ge(fake_wait_used(&drv, queue, &written), 0);
	for (unsigned i = 0; i < n; i++) {
		ck_assert_uint_eq(p[(4 << 20) + i], expected);
		if (expected == VIRTIO_BLK_S_OK)
			ck_assert_uint_eq(p[i * SECTOR + 9], pattern(i * 3, 9));
	}
}

START_TEST(test_batch)
{
	setup();
	ck_assert(fake_negotiate(&drv, FAKE_EVENT_IDX));
	fake_setup_queue(&drv, 0, 256);
	fake_irq_on(&drv.queue[0], 63);
	add_reads(0, 64);
	virtio_set_status(dev, 0xf); /* up to DRIVER_OK */
	wait_reads(0, 64, VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(aio.requests, 64);
	ck_assert_uint_eq(aio.submits, 1);
	ck_assert_uint_eq(aio.getevents, 0);
	ck_assert_uint_eq(fake_queue_irqs(&drv, 0), 1);
	teardown();
}
END_TEST

START_TEST(test_queues)
{
	cfg.queues = 4;
	setup();
	ck_assert(fake_probe(&drv, BIT(VIRTIO_BLK_F_MQ), 64));
	for (unsigned q = 0; q < 4; q++) {
		add_reads(q, 20);
		fake_notify(&drv, q);
		wait_reads(q, 20, VIRTIO_BLK_S_OK);
		memset(fake_at(&drv, data), 0, 20 * SECTOR);
	}
	teardown();
}
END_TEST

/* ---- the host's failures ---- */

START_TEST(test_submit_refused)
{
	setup();
	aio.submit_most = 3;
	ck_assert(fake_probe(&drv, 0, 256));
	add_reads(0, 32);
	fake_notify(&drv, 0);
	wait_reads(0, 32, VIRTIO_BLK_S_OK);
	ck_assert_uint_ge(aio.submits, 11);

	/* Busy: with nothing in flight that would end, it is done without AIO. */
	aio.submit_most = 1;
	aio.submit_errno = -EAGAIN;
	aio.fail_submits = 2;
	aio.requests = 0;
	add_reads(0, 5);
	fake_notify(&drv, 0);
	wait_reads(0, 5, VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(aio.requests, 3);

	aio.submit_errno = -EIO;
	aio.fail_submits = 1;
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 0, SECTOR, true), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 0, SECTOR, true), VIRTIO_BLK_S_OK);
	teardown();
}
END_TEST

START_TEST(test_io_error)
{
	start(FLUSH);
	aio.event_result = -ENOSPC;
	aio.fail_events = 1;
	ck_assert_int_eq(request(VIRTIO_BLK_T_OUT, 0, SECTOR, false), 1);
	ck_assert_uint_eq(seen_status(), VIRTIO_BLK_S_IOERR);
	aio.event_result = -EIO;
	aio.fail_events = 1;
	ck_assert_int_eq(request(VIRTIO_BLK_T_IN, 0, SECTOR, true), 0);
	ck_assert_uint_eq(seen_status(), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 0, SECTOR, true), VIRTIO_BLK_S_OK);
	/* What a flush has failed to keep, no later one brings back. */
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	aio.fail_events = 1;
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_IOERR);
	teardown();
}
END_TEST

/* The host has no memory for a request, then for its buffers; afterwards it has. */
START_TEST(test_no_memory)
{
	start(0);
	atomic_store(&fail_callocs, 1);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 0, SECTOR, true), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(atomic_load(&fail_callocs), 0);
	atomic_store(&fail_reallocs, 1);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 0, SECTOR, true), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(atomic_load(&fail_reallocs), 0);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 0, SECTOR, true), VIRTIO_BLK_S_OK);
	assert_data(0, SECTOR);
	/* What has served once needs none: a guest cannot make the host's memory grow. */
	atomic_store(&fail_callocs, 1);
	atomic_store(&fail_reallocs, 1);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 0, SECTOR, true), VIRTIO_BLK_S_OK);
	teardown();
}
END_TEST

START_TEST(test_out_of_flushes)
{
	start(0);
	aio.only_op = IO_CMD_FDSYNC;
	aio.event_result = -EIO;
	aio.fail_events = 1;
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_OUT, 0, SECTOR, false), VIRTIO_BLK_S_IOERR);
	teardown();
}
END_TEST

/* ---- reset ---- */

/* Completions are held back; the first one teaches the back end that they come late here. */
static void hold_completions(void)
{
	aio.hold = true;
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 0, SECTOR, true), VIRTIO_BLK_S_OK);
	aio.submits = aio.requests = 0;
}

START_TEST(test_reset_in_flight)
{
	setup();
	ck_assert(fake_probe(&drv, 0, 256));
	hold_completions();
	add_reads(0, 64);
	fake_notify(&drv, 0);
	while (aio.requests < 64)
		sched_yield();
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(virtio_get_status(dev), 0);
	aio.hold = false;
	ck_assert(fake_probe(&drv, 0, 64));
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 8, SECTOR, true), VIRTIO_BLK_S_OK);
	assert_data(8, SECTOR);
	teardown();
}
END_TEST

/* Freed with requests in flight, and what was not yet begun is not begun any more. */
START_TEST(test_end_in_flight)
{
	setup();
	ck_assert(fake_probe(&drv, 0, 256));
	hold_completions();
	aio.submit_most = 2;
	aio.submit_errno = -EAGAIN;
	add_reads(0, 8);
	fake_notify(&drv, 0);
	while (aio.requests < 8)
		sched_yield();
	aio.fail_submits = UINT32_MAX;
	add_reads(0, 8);
	fake_notify(&drv, 0);
	while (aio.submits < 5)
		sched_yield();
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(aio.requests, 8);
	teardown();
}
END_TEST

START_TEST(test_queue_reset)
{
	cfg.queues = 2;
	setup();
	ck_assert(fake_probe(&drv, BIT(VIRTIO_BLK_F_MQ) | FAKE_RESET, 64));
	hold_completions();
	add_reads(0, 16);
	fake_notify(&drv, 0);
	while (aio.requests < 16)
		sched_yield();
	virtio_queue_set(dev, 1, VIRTIO_QUEUE_RESET, 1);
	/* Nothing of the other queue was lost. */
	wait_reads(0, 16, VIRTIO_BLK_S_OK);
	aio.hold = false;
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 8, SECTOR, true), VIRTIO_BLK_S_OK);
	fake_setup_queue(&drv, 1, 32);
	add_reads(1, 4);
	fake_notify(&drv, 1);
	wait_reads(1, 4, VIRTIO_BLK_S_OK);
	teardown();
}
END_TEST

/* ---- data in another device's memory ---- */

#define WINDOW	     (4 * GIB)
#define WINDOW_BYTES (12 * MIB)

/* Its last page is nothing. */
static uint8_t *add_window(void)
{
	struct ram_beside beside = { GPA(WINDOW), WINDOW_BYTES, NULL, false };

	beside.host = mmap(NULL, WINDOW_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(beside.host, MAP_FAILED);
	ck_assert_int_eq(mprotect(beside.host + WINDOW_BYTES - 4096, 4096, PROT_NONE), 0);
	ram_beside_set(drv.ram, 2, &beside);
	return beside.host;
}

static int64_t beside_request(uint32_t type, uint64_t at, uint32_t len)
{
	const struct fake_buf bufs[3] = { FAKE_OUT(header, 16), { GPA(at), len, type == VIRTIO_BLK_T_IN },
					  FAKE_IN(status, 1) };

	set_header(type, 3);
	return fake_request(&drv, 0, bufs, 3);
}

static void beside_ram(uint64_t features)
{
	uint8_t *window;

	start(features);
	window = add_window();
	ck_assert_int_eq(beside_request(VIRTIO_BLK_T_IN, WINDOW + SECTOR, 16 * SECTOR), 16 * SECTOR + 1);
	ck_assert_uint_eq(seen_status(), VIRTIO_BLK_S_OK);
	assert_image(3, window + SECTOR, 16 * SECTOR);
	memset(window, 0x5a, 64 * KIB);
	ck_assert_int_eq(beside_request(VIRTIO_BLK_T_OUT, WINDOW, 64 * KIB), 1);
	ck_assert_uint_eq(seen_status(), VIRTIO_BLK_S_OK);
	assert_image(3, window, 64 * KIB);
	fill_image();

	/* There is nothing. The driver may begin anew. */
	ck_assert_int_eq(beside_request(VIRTIO_BLK_T_IN, WINDOW + WINDOW_BYTES - 4096, SECTOR), -1);
	ck_assert_uint_eq(seen_status(), VIRTIO_BLK_S_OK); /* that much was in RAM */
	ck_assert(fake_probe(&drv, features, 64));
	ck_assert_int_eq(beside_request(VIRTIO_BLK_T_OUT, WINDOW + WINDOW_BYTES - 4096, SECTOR), -1);
	ck_assert(fake_probe(&drv, features, 64));
	ck_assert_int_eq(beside_request(VIRTIO_BLK_T_IN, WINDOW, SECTOR), SECTOR + 1);
	munmap(window, WINDOW_BYTES);
	teardown();
}

START_TEST(test_beside_ram)
{
	beside_ram(FAKE_INDIRECT);
	cfg.packed = true;
	beside_ram(FAKE_PACKED | FAKE_EVENT_IDX);
}
END_TEST

/* ---- bounds ---- */

static void add_indirect(unsigned queue, uint64_t sector, uint32_t type, unsigned segs,
			 uint32_t seg_bytes)
{
	static struct fake_buf bufs[VIRTQ_MAX_SEGS];
	struct virtio_blk_outhdr head = { .type = htole32(type), .sector = htole64(sector) };
	gpa_t h = fake_alloc(&drv, 16, 16);

	memcpy(fake_at(&drv, h), &head, sizeof(head));
	bufs[0] = FAKE_OUT(h, 16);
	for (unsigned i = 1; i <= segs; i++)
		bufs[i] = type == VIRTIO_BLK_T_IN ? FAKE_IN(data, seg_bytes)
						  : FAKE_OUT(data, seg_bytes);
	bufs[segs + 1] = FAKE_IN(status, 1);
	ck_assert_int_ge(fake_add_indirect(&drv.queue[queue], bufs, segs + 2), 0);
}

/* No more than so many are taken off the rings, and none is forgotten: with a hold they come back. */
START_TEST(test_requests_in_flight)
{
	cfg.queues = 2;
	setup();
	ck_assert(fake_probe(&drv, BIT(VIRTIO_BLK_F_MQ) | FAKE_INDIRECT, 512));
	aio.hold = true;
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 0, SECTOR, true), VIRTIO_BLK_S_OK);
	aio.requests = 0;
	for (unsigned i = 0; i < 512; i++)
		for (unsigned queue = 0; queue < 2; queue++)
			add_indirect(queue, 0, VIRTIO_BLK_T_IN, 1, SECTOR);
	fake_notify(&drv, 0);
	fake_notify(&drv, 1);
	for (unsigned round = 1; round <= 4; round++) {
		while (aio.requests < 256 * round)
			sched_yield();
		poll(NULL, 0, 5);
		ck_assert_uint_eq(aio.requests, 256 * round);
		virtio_hold(dev, VIRTIO_HOLD_TEST, true);
		ck_assert_uint_eq(drv.queue[0].used->idx + drv.queue[1].used->idx, 256 * round + 1);
		virtio_hold(dev, VIRTIO_HOLD_TEST, false);
	}
	teardown();
}
END_TEST

static void pause_device(void)
{
	virtio_dev_hold_begin(dev);
	ck_assert(virtio_dev_hold_wait(dev, now_ms() + 10000));
}

/* The machine stands still: what was taken has been answered, and nothing begins. */
START_TEST(test_pause)
{
	uint32_t written;
	uint16_t used;

	setup();
	for (unsigned round = 0; round < 20; round++) {
		ck_assert(fake_probe(&drv, 0, 256));
		add_reads(0, 64);
		fake_notify(&drv, 0);
		if (round % 2)
			while (!__atomic_load_n(&drv.queue[0].used->idx, __ATOMIC_SEQ_CST))
				;
		pause_device();
		ck_assert_uint_eq(dev->queue[0].vq.taken, 0);
		used = drv.queue[0].used->idx;
		add_reads(0, 4);
		fake_notify(&drv, 0);
		poll(NULL, 0, 2);
		ck_assert_uint_eq(drv.queue[0].used->idx, used);
		ck_assert_uint_eq(dev->queue[0].vq.taken, 0);
		virtio_dev_hold_end(dev);
		for (unsigned i = 0; i < 68; i++)
			ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
	}
	teardown();
}
END_TEST

/* The driver hears of a file that grows meanwhile when it can look. */
START_TEST(test_pause_and_grow)
{
	uint64_t generation;
	int other;

	start(0);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 0, SECTOR, true), VIRTIO_BLK_S_OK);
	pause_device();
	generation = dev->config_generation;
	other = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(ftruncate(other, (SECTORS + 16) * SECTOR), 0);
	close(other);
	while (config(0, 8) != SECTORS + 16)
		sched_yield();
	poll(NULL, 0, 2);
	ck_assert_uint_eq(fake_config_irqs(&drv), 0);
	ck_assert_uint_eq(dev->config_generation, generation);
	virtio_dev_hold_end(dev);
	fake_wait_config_irq(&drv, 1);
	ck_assert_uint_eq(dev->config_generation, generation + 1);
	teardown();
}
END_TEST

static int64_t seconds(void (*what)(void))
{
	int64_t start = now_ms();

	what();
	return (now_ms() - start) / 1000;
}

static void reset_queue(void)
{
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_RESET, 1);
	ck_assert_uint_eq(virtio_queue_get(dev, 0, VIRTIO_QUEUE_RESET), 0);
	fake_setup_queue(&drv, 1, 16);
}

static void reset_device(void)
{
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(virtio_get_status(dev), 0);
}

/* What waits on the device is out of its reach then, and so it is for the reset that follows. */
static void hold_device(void)
{
	uint16_t used;

	virtio_hold(dev, VIRTIO_HOLD_TEST, true);
	ck_assert(dev->is_held);
	used = drv.queue[0].used ? drv.queue[0].used->idx : 0;
	reset_device();
	if (drv.queue[0].used)
		ck_assert_uint_eq(used, drv.queue[0].used->idx);
	virtio_hold(dev, VIRTIO_HOLD_TEST, false);
}

static void end_device(void)
{
	ck_assert(virtio_dev_stop_wait(dev, now_ms() + 1000));
	reset_device();
	ck_assert_int_eq(virtio_dev_start(dev), 0);
}

static void fill_rings(unsigned round)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT };

	drv.next = 16 * MIB;
	ck_assert(fake_probe(&drv,
			     BIT(VIRTIO_BLK_F_MQ) | FAKE_INDIRECT | FAKE_RESET |
				     (round / 2 % 2 ? FAKE_PACKED : 0),
			     64));
	for (unsigned i = 0; i < 64; i++)
		for (unsigned queue = 0; queue < 2; queue++)
			add_indirect(queue, 0, types[round % 2], 1022, 4 * MIB);
	fake_notify(&drv, 0);
	fake_notify(&drv, 1);
}

/* Rings full of requests of 4 GiB, whose segments are all the same memory: nobody waits for them. */
static void test_aliases_on(bool ephemeral)
{
	struct disk *big;
	void (*const ends[])(void) = { reset_queue, reset_device, hold_device, end_device };

	cfg.queues = 2;
	cfg.packed = true;
	cfg.ephemeral = ephemeral;
	cfg.format = "raw";
	setup();
	ck_assert_int_eq(ftruncate(image, 8ULL * GIB), 0);
	virtio_blk_free(dev);
	ck_assert_int_eq(disk_open(&cfg, &big), 0);
	ck_assert_int_eq(virtio_blk_new(drv.ram, "blk0", big, &cfg, &dev), 0);
	free(drv.queue);
	fake_attach(&drv, dev);
	for (unsigned i = 0; i < 4 * ARRAY_SIZE(ends); i++) {
		size_t memory = mallinfo2().uordblks + mallinfo2().hblkhd;

		fill_rings(i / ARRAY_SIZE(ends) + (ephemeral ? 0 : 1));
		poll(NULL, 0, 20);
		ck_assert_uint_lt(mallinfo2().uordblks + mallinfo2().hblkhd, memory + 4 * MIB);
		ck_assert_int_lt(seconds(ends[i % ARRAY_SIZE(ends)]), 1);
		ck_assert_int_lt(seconds(reset_device), 1);
	}
	teardown();
}

START_TEST(test_aliases)
{
	test_aliases_on(false);
}
END_TEST

START_TEST(test_aliases_ephemeral)
{
	test_aliases_on(true);
}
END_TEST

/* ---- size ---- */

START_TEST(test_grow)
{
	uint64_t generation;
	int other;

	start(0);
	generation = dev->config_generation;
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, SECTORS, SECTOR, true), VIRTIO_BLK_S_IOERR);
	other = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(ftruncate(other, (SECTORS + 16) * SECTOR), 0);
	close(other);
	fake_wait_config_irq(&drv, 1);
	ck_assert_uint_eq(config(0, 8), SECTORS + 16);
	ck_assert_uint_gt(dev->config_generation, generation);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_OUT, SECTORS, SECTOR, false), VIRTIO_BLK_S_OK);

	/* Without a close, a flush finds out; and what was cut off is an error. */
	ck_assert_int_eq(ftruncate(image, 100 * SECTOR), 0);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_IN, 99, 2 * SECTOR, true), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(outcome(VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(config(0, 8), 100);
	ck_assert_uint_eq(fake_config_irqs(&drv), 2);

	/* While the device was down */
	virtio_set_status(dev, 0);
	ck_assert_int_eq(ftruncate(image, 50 * SECTOR), 0);
	ck_assert(fake_probe(&drv, 0, 16));
	ck_assert_uint_eq(config(0, 8), 50);
	teardown();
}
END_TEST

UNIT_MAIN("blk", test_config, test_read_write, test_last_sector, test_layouts, test_get_id,
	  test_past_end, test_length, test_unknown_types, test_short_header, test_no_status,
	  test_read_only, test_zeroes, test_discard, test_bad_ranges, test_range_limits,
	  test_ranges_not_negotiated, test_cache, test_batch, test_queues, test_submit_refused,
	  test_io_error, test_no_memory, test_out_of_flushes, test_reset_in_flight, test_end_in_flight,
	  test_queue_reset, test_beside_ram, test_requests_in_flight, test_pause, test_pause_and_grow, test_aliases, test_aliases_ephemeral, test_grow)
