/* Links: disk/disk.o disk/raw.o disk/raw-io.o disk/request.o disk/format.o disk/lock.o disk/overlay.o disk/nbd.o disk/qemu-nbd.o disk/image.o disk/image-vmdk.o disk/image-graph.o util/confine.o util/json.o util/log.o util/loop.o */

/* Writes that vanish: what is read must be what was written, wherever it is, and the base untouched. */
#include "unit.h"

#include <sys/wait.h>

#include "aio.h"
#include "disk-rig.h"

#define SECTORS 1000U

static uint8_t model[SECTORS * SECTOR], original[SECTORS * SECTOR], buf[SECTORS * SECTOR];

static void setup(void)
{
	use_memory(sizeof(model));
	fill(model, sizeof(model), 1);
	memcpy(original, model, sizeof(model));
	ck_assert_int_eq(pwrite(image, model, sizeof(model), 0), sizeof(model));
	cfg.ephemeral = true;
	start();
	ck_assert(!disk->read_only);
	ck_assert(disk->can_discard);
}

static void check_and_stop(void)
{
	memset(buf, 0xee, sizeof(buf));
	ck_assert_int_eq(transfer(DISK_READ, 0, buf, sizeof(buf)), 0);
	ck_assert(!memcmp(buf, model, sizeof(buf)));
	assert_image(0, original, sizeof(original));
	stop();
}

static void write_sectors(unsigned sector, unsigned n, unsigned seed)
{
	fill(model + sector * SECTOR, n * SECTOR, seed);
	memcpy(buf, model + sector * SECTOR, n * SECTOR);
	ck_assert_int_eq(transfer(DISK_WRITE, sector * SECTOR, buf, n * SECTOR), 0);
}

/* Around the words of the map, and at both ends of the disk */
START_TEST(test_edges)
{
	static const struct {
		unsigned sector, n;
	} writes[] = { { 0, 1 },    { 63, 1 },	{ 64, 1 },   { 127, 2 },	 { 192, 64 },
		       { 300, 65 }, { 383, 2 }, { 448, 130 }, { SECTORS - 1, 1 } };

	setup();
	for (unsigned i = 0; i < ARRAY_SIZE(writes); i++)
		write_sectors(writes[i].sector, writes[i].n, 100 + i);
	check_and_stop();
}
END_TEST

START_TEST(test_random)
{
	unsigned seed = 1;

	setup();
	for (unsigned i = 0; i < 2000; i++) {
		unsigned r = (unsigned)rand_r(&seed), at = r % SECTORS;
		unsigned n = 1 + (r >> 12) % 90, what = (unsigned)rand_r(&seed) % 5;

		if (n > SECTORS - at)
			n = SECTORS - at;
		if (what == 0) {
			ck_assert_int_eq(zero(at * SECTOR, n * SECTOR, i % 2), 0);
			memset(model + at * SECTOR, 0, n * SECTOR);
		} else if (what == 1) {
			struct iovec iov[] = { { buf, 100 }, { buf + 100, n * SECTOR - 100 } };

			ck_assert_int_eq(request(DISK_READ, at * SECTOR, n * SECTOR, iov, 2), 0);
			ck_assert(!memcmp(buf, model + at * SECTOR, n * SECTOR));
		} else {
			write_sectors(at, n, i);
		}
	}
	check_and_stop();
}
END_TEST

START_TEST(test_discard)
{
	setup();
	write_sectors(10, 10, 7);
	ck_assert_int_eq(request(DISK_DISCARD, 5 * SECTOR, 20 * SECTOR, NULL, 0), 0);
	memset(model + 5 * SECTOR, 0, 20 * SECTOR);
	ck_assert_int_eq(request(DISK_FLUSH, 0, 0, NULL, 0), 0);
	ck_assert_uint_eq(aio.flushes, 0);
	/* Whatever the temporary file can do */
	aio.refused_modes = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
	ck_assert_int_eq(request(DISK_DISCARD, 500 * SECTOR, 20 * SECTOR, NULL, 0), 0);
	memset(model + 500 * SECTOR, 0, 20 * SECTOR);
	check_and_stop();
}
END_TEST

/* What was not written is not there. */
START_TEST(test_failed_write)
{
	setup();
	aio.event_result = -ENOSPC;
	aio.fail_events = 1;
	fill(buf, 8 * SECTOR, 9);
	ck_assert_int_eq(transfer(DISK_WRITE, 100 * SECTOR, buf, 8 * SECTOR), -ENOSPC);
	check_and_stop();
}
END_TEST

START_TEST(test_failed_read)
{
	setup();
	write_sectors(100, 4, 9);
	aio.event_result = -EIO;
	aio.fail_events = 1;
	ck_assert_int_eq(transfer(DISK_READ, 98 * SECTOR, buf, 8 * SECTOR), -EIO);
	aio.transfer_most = 700;
	check_and_stop();
}
END_TEST

START_TEST(test_cancel)
{
	struct iovec iov = { buf, 64 * SECTOR };
	struct waited w[3];

	setup();
	write_sectors(10, 1, 3);
	aio.hold = true;
	for (unsigned i = 0; i < 2; i++)
		submit(&w[i], i ? DISK_WRITE : DISK_READ, 0, 64 * SECTOR, &iov, 1);
	disk->ops->commit(disk);
	submit(&w[2], DISK_WRITE, 0, SECTOR, &iov, 1);
	cancel_all();
	/* The read had more parts to come. */
	ck_assert_int_eq(w[0].ret, -ECANCELED);
	ck_assert_int_eq(w[1].ret, 0);
	ck_assert_int_eq(w[2].ret, -ECANCELED);
	aio.hold = false;
	stop();
}
END_TEST

/* Two guests may share the base, one that writes to it may not join. */
START_TEST(test_shared)
{
	int status;
	pid_t pid;

	setup();
	pid = fork();
	if (!pid) {
		struct disk *other;
		int err = disk_open(&cfg, &other);

		cfg.ephemeral = false;
		_exit(err ? 1 : disk_open(&cfg, &other) == -EBUSY ? 0 : 2);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	/* Read only is read only. */
	cfg.read_only = true;
	stop();
	use_memory(MIB);
	start();
	ck_assert(disk->read_only);
	stop();
}
END_TEST

UNIT_MAIN("disk_overlay", test_edges, test_random, test_discard, test_failed_write, test_failed_read,
	  test_cancel, test_shared)
