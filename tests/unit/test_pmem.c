/* Links: virtio/pmem.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o disk/pmem.o disk/lock.o hw/ram.o util/log.o util/loop.o tests/unit/fake-driver.o tests/unit/fake-ring.o */
#include "lkvm/virtio-pmem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake-driver.h"
#include "lkvm/keys.h"
#include "lkvm/types.h"
#include "unit.h"

#define AT   GPA(0x140000000ULL)
#define SIZE 10000U /* of the file: two whole pages, and a part of one */

static struct fake_driver drv;
static struct virtio_dev *dev;
static struct pmem *pmem;
static int file;
static char path[64];

/* What the board and the disk were asked for */
static struct {
	bool read_only;
	uint64_t at, bytes;
	uint8_t *host;
	unsigned removed, flushes;
	int fail;
} seen;

int fdatasync(int fd)
{
	(void)fd;
	seen.flushes++;
	errno = seen.fail;
	return seen.fail ? -1 : 0;
}

static int add(void *ctx, const char *name, uint64_t addr, void *host, uint64_t bytes, bool read_only)
{
	(void)ctx, (void)name;
	seen.at = addr;
	seen.host = host;
	seen.bytes = bytes;
	seen.read_only = read_only;
	return 7;
}

static int take_away(void *ctx, unsigned number)
{
	(void)ctx;
	ck_assert_uint_eq(number, 7);
	ck_assert_uint_eq(seen.host[0], 'x'); /* it is still mapped */
	seen.removed++;
	return 0;
}

static void make_file(void)
{
	char text[SIZE];

	memset(&seen, 0, sizeof(seen));
	memset(text, 'x', SIZE);
	file = memfd_create("pmem", MFD_CLOEXEC);
	ck_assert_int_eq(write(file, text, SIZE), SIZE);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
}

static void setup(bool read_only)
{
	static const struct board_ops ops = { .memory_add = add, .memory_remove = take_away };
	const struct board board = { &ops, NULL };
	struct pmem_config cfg = { .path = path, .read_only = read_only };

	make_file();
	ck_assert_int_eq(pmem_size(&cfg), 0);
	ck_assert_uint_eq(cfg.bytes, PMEM_UNIT);
	ck_assert_int_eq(pmem_open(&cfg, &pmem), 0);
	fake_init(&drv, 4);
	ck_assert_int_eq(virtio_pmem_new(drv.ram, "pmem0", &board, pmem, AT, cfg.bytes, &dev), 0);
	fake_attach(&drv, dev);
	ck_assert(fake_probe(&drv, FAKE_EVENT_IDX, 16));
}

static void teardown(void)
{
	virtio_pmem_free(dev);
	ck_assert_uint_eq(seen.removed, 1);
	fake_fini(&drv);
	close(file);
}

START_TEST(test_config)
{
	setup(false);
	ck_assert_uint_eq(dev->type->id, VIRTIO_ID_PMEM);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 8), AT.v);
	ck_assert_uint_eq(virtio_config_read(dev, 8, 8), PMEM_UNIT);
	ck_assert_uint_eq(virtio_config_read(dev, 4, 4), 1);
	ck_assert(seen.at == AT.v && seen.bytes == PMEM_UNIT && !seen.read_only);
	virtio_config_write(dev, 0, 4, 0);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 8), AT.v);
	teardown();
	virtio_pmem_free(NULL);
	pmem_close(NULL);
}
END_TEST

/* What is written is in the file, and what the file lacks reads as zeros. */
START_TEST(test_memory)
{
	char byte;

	setup(false);
	ck_assert_uint_eq(seen.host[SIZE - 1], 'x');
	ck_assert_uint_eq(seen.host[SIZE], 0);
	ck_assert_uint_eq(seen.host[3 * 4096], 0);
	ck_assert_uint_eq(seen.host[PMEM_UNIT - 1], 0);
	seen.host[1] = 'y';
	seen.host[PMEM_UNIT - 1] = 'z';
	ck_assert_int_eq(pread(file, &byte, 1, 1), 1);
	ck_assert_int_eq(byte, 'y');
	ck_assert_int_eq(lseek(file, 0, SEEK_END), SIZE);
	teardown();
	setup(true);
	ck_assert(seen.read_only);
	teardown();
}
END_TEST

static uint32_t flush(uint32_t type)
{
	const gpa_t at = fake_alloc(&drv, 8, 4);
	struct fake_buf bufs[] = { FAKE_OUT(at, 4), FAKE_IN(GPA(at.v + 4), 4) };
	uint32_t *words = fake_at(&drv, at);

	words[0] = type;
	words[1] = 99;
	ck_assert_int_eq(fake_request(&drv, 0, bufs, 2), 4);
	return words[1];
}

START_TEST(test_flush)
{
	setup(false);
	ck_assert_uint_eq(flush(0), 0);
	ck_assert_uint_eq(seen.flushes, 1);
	ck_assert_uint_eq(flush(1), 1); /* no such request */
	ck_assert_uint_eq(flush(UINT32_MAX), 1);
	ck_assert_uint_eq(seen.flushes, 1);
	/* What one that fails leaves behind is told once by the host, and always by us. */
	seen.fail = EIO;
	ck_assert_uint_eq(flush(0), 1);
	seen.fail = 0;
	ck_assert_uint_eq(flush(0), 1);
	ck_assert_uint_eq(seen.flushes, 2);
	teardown();
	setup(true);
	ck_assert_uint_eq(flush(0), 0);
	ck_assert_uint_eq(seen.flushes, 0);
	teardown();
}
END_TEST

/* Those that came while it stood still have one flush together, and each its answer, however that is cut. */
START_TEST(test_together)
{
	uint32_t written;

	setup(false);
	virtio_hold(dev, VIRTIO_HOLD_TEST, true);
	for (unsigned i = 0; i < 4; i++) {
		const gpa_t at = fake_alloc(&drv, 8, 4);
		struct fake_buf bufs[] = { FAKE_OUT(at, 1), FAKE_OUT(GPA(at.v + 1), 3), FAKE_IN(GPA(at.v + 4), 1 + i % 3),
					   FAKE_IN(GPA(at.v + 5 + i % 3), 3 - i % 3) };

		memset(fake_at(&drv, at), 0, 4);
		memset(fake_at(&drv, GPA(at.v + 4)), 0x5a, 4);
		ck_assert_int_ge(fake_add(&drv.queue[0], bufs, 4), 0);
	}
	fake_notify(&drv, 0);
	virtio_hold(dev, VIRTIO_HOLD_TEST, false);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
		ck_assert_uint_eq(written, 4);
	}
	ck_assert_uint_eq(seen.flushes, 1);
	for (uint64_t at = drv.next - 4 * 8; at < drv.next; at += 8)
		ck_assert_uint_eq(*(uint32_t *)fake_at(&drv, GPA(at + 4)), 0);
	teardown();
}
END_TEST

START_TEST(test_bad_requests)
{
	static const struct {
		uint32_t out, in;
	} table[] = { { 4, 0 }, { 0, 4 }, { 3, 4 }, { 5, 4 }, { 4, 3 }, { 4, 5 }, { 4096, 4096 } };

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct fake_buf bufs[2];

		setup(false);
		bufs[0] = FAKE_OUT(fake_alloc(&drv, 4096, 4), table[i].out);
		bufs[1] = FAKE_IN(fake_alloc(&drv, 4096, 4), table[i].in);
		ck_assert_int_eq(fake_request(&drv, 0, bufs, 2), -1);
		ck_assert_uint_eq(seen.flushes, 0);
		ck_assert(fake_probe(&drv, 0, 16));
		ck_assert_uint_eq(flush(0), 0);
		teardown();
	}
}
END_TEST

/* Somebody cuts the file: what is gone becomes zeros, when it is missed. */
START_TEST(test_cut)
{
	for (unsigned read_only = 0; read_only < 2; read_only++) {
		setup(read_only);
		ck_assert(!dev->type->mend(dev));
		ck_assert_int_eq(ftruncate(file, 4096), 0);
		ck_assert(dev->type->mend(dev));
		ck_assert_uint_eq(seen.host[4095], 'x');
		ck_assert_uint_eq(seen.host[4096], 0);
		ck_assert_uint_eq(seen.host[SIZE], 0);
		if (!read_only)
			seen.host[SIZE] = 1;
		ck_assert(dev->type->mend(dev)); /* for a second one who has missed it */
		/* It does not come back, and what the guest has written instead stays. */
		ck_assert_int_eq(ftruncate(file, SIZE), 0);
		ck_assert(dev->type->mend(dev));
		ck_assert_uint_eq(seen.host[SIZE], !read_only);
		teardown();
	}
}
END_TEST

START_TEST(test_open)
{
	struct pmem_config cfg = { .path = path }, reads = { .path = path, .read_only = true };
	struct pmem *first, *second;

	make_file();
	ck_assert_int_eq(pmem_size(&cfg), 0);
	ck_assert_int_eq(pmem_size(&reads), 0);
	ck_assert_int_eq(pmem_open(&cfg, &first), 0);
	ck_assert_int_eq(pmem_open(&reads, &second), -EBUSY);
	pmem_close(first);
	ck_assert_int_eq(pmem_open(&reads, &first), 0);
	ck_assert_int_eq(pmem_open(&reads, &second), 0);
	pmem_close(second);
	ck_assert_int_eq(pmem_open(&cfg, &second), -EBUSY);
	pmem_close(first);
	/* The guest's address space was laid out by what it was. */
	ck_assert_int_eq(ftruncate(file, PMEM_UNIT + 1), 0);
	ck_assert_int_eq(pmem_open(&cfg, &first), -EAGAIN);
	ck_assert_int_eq(ftruncate(file, 0), 0);
	ck_assert_int_eq(pmem_open(&cfg, &first), -EINVAL);
	ck_assert_int_eq(pmem_size(&cfg), -EINVAL);
	cfg.path = "/dev";
	ck_assert_int_eq(pmem_size(&cfg), -EINVAL);
	cfg.path = "/nothing/there";
	ck_assert_int_eq(pmem_size(&cfg), -ENOENT);
	close(file);
}
END_TEST

UNIT_MAIN("pmem", test_config, test_memory, test_flush, test_together, test_bad_requests, test_cut, test_open)
