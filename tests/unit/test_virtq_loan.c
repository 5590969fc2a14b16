/* Links: virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o tests/unit/fake-ring.o */

/* Buffers beside RAM: in a window of which some is a file, some nothing, and all may be gone any time. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lkvm/copy.h"
#include "virtq-rig.h"

#define WINDOW	   (4 * GIB)
#define FILE_BYTES (64 * KIB)
#define HOLE	   (WINDOW + FILE_BYTES)
#define BYTES	   (32 * MIB)	     /* of the window */
#define LARGE	   (WINDOW + 8 * MIB) /* from here on there is memory */
#define LAST	   (WINDOW + BYTES - 4096)
#define READ_ONLY  (8 * GIB)

static struct rig r;
static uint8_t *window; /* the host's */
static int file = -1;
static unsigned n_mended;

static const uint64_t formats[] = { 0, FAKE_INDIRECT, FAKE_PACKED, FAKE_PACKED | FAKE_INDIRECT };

/* Byte @i of the file at the beginning */
static uint8_t pattern(uint64_t i)
{
	return (uint8_t)(i * 11 + i / 256 + 1);
}

static void map(uint64_t at, uint64_t bytes, int flags, int fd)
{
	void *to = window + (at - WINDOW);

	ck_assert_ptr_eq(mmap(to, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0), to);
}

static void set_beside(unsigned n, uint64_t at, bool read_only)
{
	const struct ram_beside beside = { GPA(at), BYTES, window, read_only };

	ram_beside_set(r.d.ram, n, &beside);
}

static void start(uint64_t features)
{
	rig_init(&r, 8, features);
	window = mmap(NULL, BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(window, MAP_FAILED);
	file = memfd_create("file", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(file, FILE_BYTES), 0);
	map(WINDOW, FILE_BYTES, MAP_SHARED, file);
	map(LARGE, WINDOW + BYTES - LARGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	for (uint64_t i = 0; i < FILE_BYTES; i++)
		window[i] = pattern(i);
	set_beside(7, WINDOW, false);
	set_beside(63, READ_ONLY, true);
	n_mended = 0;
}

static void stop(void)
{
	rig_fini(&r);
	munmap(window, BYTES);
	close(file);
}

static void add(const struct fake_buf *bufs, unsigned n, uint64_t format)
{
	int id = format & FAKE_INDIRECT ? fake_add_indirect(&r.q, bufs, n) : fake_add(&r.q, bufs, n);

	ck_assert_int_ge(id, 0);
}

static uint32_t used(void)
{
	uint32_t written;

	virtq_flush(&r.vq);
	ck_assert_int_ge(fake_used(&r.q, &written), 0);
	return written;
}

static void assert_pattern(const uint8_t *bytes, uint64_t from, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		ck_assert_msg(bytes[i] == pattern(from + i), "byte %llu", (unsigned long long)(from + i));
}

/* ---- copied ---- */

static void check_copied(uint64_t format)
{
	const struct fake_buf bufs[] = {
		FAKE_OUT(r.buf, 16),
		FAKE_OUT(GPA(WINDOW + 100), 5000),
		FAKE_OUT(GPA(WINDOW), 1),
		FAKE_IN(GPA(WINDOW + 8192), 4096),
		FAKE_IN(rig_buf(&r, 512), 512),
		FAKE_IN(GPA(WINDOW + FILE_BYTES - 3), 3),
	};
	uint64_t token;

	memset(fake_at(&r.d, rig_buf(&r, 512)), 0, 512);
	add(bufs, 6, format);
	token = rig_pop(&r, 3, 3);
	ck_assert_uint_eq(r.c.out_bytes, 5017);
	ck_assert_uint_eq(r.c.in_bytes, 4611);
	ck_assert_ptr_eq(r.c.iov[0].iov_base, fake_at(&r.d, r.buf));
	ck_assert_ptr_eq(r.c.iov[4].iov_base, fake_at(&r.d, rig_buf(&r, 512)));
	for (unsigned i = 0; i < 6; i++)
		ck_assert_uint_eq(r.c.iov[i].iov_len, bufs[i].len);
	assert_pattern(r.c.iov[1].iov_base, 100, 5000);
	assert_pattern(r.c.iov[2].iov_base, 0, 1);

	memset(window + 100, 0xee, 5000); /* what the driver does with it now, the device does not see */
	assert_pattern(r.c.iov[1].iov_base, 100, 5000);
	for (unsigned i = 3; i < 6; i++)
		memset(r.c.iov[i].iov_base, (int)(0xa0 + i), r.c.iov[i].iov_len);
	assert_pattern(window + 8192, 8192, 4096); /* nor the driver before the end what the device does */
	ck_assert_int_eq(virtq_push(&r.vq, token, 4611), 0);
	ck_assert_uint_eq(used(), 4611);
	for (unsigned i = 0; i < 5000; i++)
		ck_assert_uint_eq(window[100 + i], 0xee);
	for (unsigned i = 0; i < 4096; i++)
		ck_assert_uint_eq(window[8192 + i], 0xa3);
	assert_pattern(window + 8192 + 4096, 8192 + 4096, 64);
	ck_assert(!memcmp(window + FILE_BYTES - 3, "\xa5\xa5\xa5", 3));
	ck_assert_uint_eq(*(uint8_t *)fake_at(&r.d, rig_buf(&r, 1023)), 0xa4);
}

START_TEST(test_copied)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		start(formats[i]);
		check_copied(formats[i]);
		stop();
	}
}
END_TEST

/* Only what was written goes back, and the last byte of the chain; the rest may be somebody's by then. */
START_TEST(test_written)
{
	static const struct {
		uint32_t first, last; /* bytes of the two buffers */
		uint32_t written, copied_first, copied_last;
		bool verdict; /* the last one's last byte, too */
	} table[] = {
		{ 4096, 512, 4608, 4096, 512, false },
		{ 4096, 512, 4096, 4096, 0, true },
		{ 4096, 512, 4097, 4096, 1, true },
		{ 4096, 512, 4607, 4096, 511, true },
		{ 4096, 512, 100, 100, 0, true },
		{ 4096, 512, 0, 0, 0, true },
		{ 4096, 1, 0, 0, 0, true },
		{ 4096, 512, UINT32_MAX, 4096, 512, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const struct fake_buf bufs[] = {
			FAKE_IN(GPA(WINDOW), table[i].first),
			FAKE_IN(GPA(WINDOW + 4096), table[i].last),
		};
		uint64_t token;

		start(i % 2 ? FAKE_PACKED : 0);
		add(bufs, 2, 0);
		token = rig_pop(&r, 0, 2);
		memset(r.c.iov[0].iov_base, 0xaa, table[i].first);
		memset(r.c.iov[1].iov_base, 0xaa, table[i].last);
		memset(window, 0xdd, 8192);
		ck_assert_int_eq(virtq_push(&r.vq, token, table[i].written), 0);
		for (unsigned j = 0; j < 8192; j++) {
			unsigned at = j % 4096;
			bool copied = at < (j < 4096 ? table[i].copied_first : table[i].copied_last) ||
				      (j == 4096 + table[i].last - 1 && table[i].verdict);

			ck_assert_msg(window[j] == (copied ? 0xaa : 0xdd), "line %zu, byte %u", i, j);
		}
		stop();
	}
}
END_TEST

/* A device that does not write its last byte leaves it as it is; and nobody sees what was there before. */
START_TEST(test_unwritten)
{
	const struct fake_buf in = FAKE_IN(GPA(WINDOW + 4096), 4096), out = FAKE_OUT(GPA(WINDOW), 8192);

	start(0);
	add(&out, 1, 0);
	virtq_push(&r.vq, rig_pop(&r, 1, 0), 0);
	add(&in, 1, 0);
	rig_pop(&r, 0, 1);
	for (unsigned i = 0; i < 4095; i++)
		ck_assert_uint_eq(((uint8_t *)r.c.iov[0].iov_base)[i], 0);
	ck_assert_int_eq(virtq_push(&r.vq, r.c.token, 0), 0);
	assert_pattern(window, 0, 8192);
	stop();
}
END_TEST

static unsigned watch_number, watch_pushed;

static unsigned look_popped(struct virtq_watch *watch, const struct virtq_chain *c)
{
	(void)watch, (void)c;
	return ++watch_number;
}

static void look_pushed(struct virtq_watch *watch, unsigned number, uint32_t written)
{
	(void)watch;
	ck_assert_uint_eq(written, 4);
	watch_pushed = number;
}

static void look_ended(struct virtq_watch *watch)
{
	(void)watch;
}

/* A chain may have both, a loan and who looks on. */
START_TEST(test_watched)
{
	const struct fake_buf in = FAKE_IN(GPA(WINDOW + 4096), 4096);
	struct virtq_watch watch = { look_popped, look_pushed, look_ended };

	start(0);
	virtq_watch(&r.vq, &watch);
	for (unsigned i = 1; i < 4; i++) {
		add(&in, 1, 0);
		rig_pop(&r, 0, 1);
		ck_assert_uint_eq(virtq_write(&r.c, 0, i == 3 ? "456" : "123", 4), 4);
		ck_assert_int_eq(virtq_push(&r.vq, r.c.token, 4), 0);
		ck_assert_uint_eq(watch_pushed, i);
	}
	ck_assert_int_eq(memcmp(window + 4096, "456", 4), 0);
	stop();
}
END_TEST

/* A window that the guest may only read can be read. */
START_TEST(test_read_only)
{
	const struct fake_buf out = FAKE_OUT(GPA(READ_ONLY + 8), 100), in = FAKE_IN(GPA(READ_ONLY + 8), 1);

	start(0);
	add(&out, 1, 0);
	rig_pop(&r, 1, 0);
	assert_pattern(r.c.iov[0].iov_base, 8, 100);
	virtq_push(&r.vq, r.c.token, 0);
	add(&in, 1, 0);
	rig_broken(&r, -EFAULT);
	stop();
}
END_TEST

/* ---- refused ---- */

START_TEST(test_not_there)
{
	static const struct {
		uint64_t at;
		uint32_t len;
		bool in;
	} table[] = {
		{ HOLE, 1, false },
		{ HOLE - 1, 2, false },
		{ WINDOW - 1, 2, false },
		{ WINDOW - 1, 2, true },
		{ LAST, 4097, false },
		{ LAST, 4097, true },
		{ WINDOW + BYTES, 1, false },
		{ WINDOW + 1, UINT32_MAX, true },
		{ WINDOW - UINT32_MAX, UINT32_MAX, true },
		{ UINT64_MAX, 1, true },
		{ UINT64_MAX - 4095, 4096, false },
		{ RIG_MIB * MIB, 1, false },
		{ RIG_MIB * MIB - 1, 2, true },
		{ READ_ONLY + HOLE - WINDOW, 8, false },
		{ HOLE + 4096, 1, true }, /* the last byte of the chain is looked at */
	};

	for (size_t i = 0; i < 2 * ARRAY_SIZE(table); i++) {
		struct fake_buf bufs[] = { FAKE_OUT(GPA(WINDOW), 16),
					   { GPA(table[i / 2].at), table[i / 2].len, table[i / 2].in } };

		start(i % 2 ? FAKE_PACKED : 0);
		add(bufs, 2, 0);
		ck_assert_msg(virtq_pop(&r.vq, &r.c) == -EFAULT, "line %zu", i / 2);
		rig_broken(&r, -EFAULT);
		stop();
	}
}
END_TEST

/* Rings and tables are not lent. */
START_TEST(test_no_table)
{
	struct virtq_setup setup;

	start(FAKE_INDIRECT);
	r.q.desc[0] = (struct vring_desc){ WINDOW, 16, VRING_DESC_F_INDIRECT, 0 };
	r.q.avail->idx = 1;
	rig_broken(&r, -EFAULT);
	setup = r.q.setup;
	setup.desc = GPA(WINDOW);
	ck_assert_int_eq(virtq_init(&r.vq, r.d.ram, &setup), -EFAULT);
	stop();
}
END_TEST

/* As much as may be, and one byte more. */
START_TEST(test_too_large)
{
	for (unsigned i = 0; i < 4; i++) {
		const struct fake_buf bufs[] = {
			FAKE_OUT(GPA(0x100), 512),
			FAKE_OUT(GPA(LARGE), VIRTQ_MAX_LOAN - 4096),
			FAKE_IN(GPA(LARGE), 4096),
			FAKE_IN(GPA(LARGE), 1),
		};

		start(i % 2 ? FAKE_PACKED : 0);
		add(bufs, i < 2 ? 3 : 4, 0);
		if (i < 2)
			rig_pop(&r, 2, 1);
		else
			rig_broken(&r, -E2BIG);
		stop();
	}
}
END_TEST

/* ---- not all at once ---- */

START_TEST(test_one_after_another)
{
	const struct fake_buf large = FAKE_OUT(GPA(LARGE), VIRTQ_MAX_LOAN / 2 + 1),
			      small = FAKE_OUT(GPA(LARGE), VIRTQ_MAX_LOAN / 2 - 1),
			      one = FAKE_OUT(GPA(LARGE), 1), ram = FAKE_OUT(GPA(0x100), 16);

	for (unsigned i = 0; i < 2; i++) {
		uint64_t token[4];

		start(i ? FAKE_PACKED : 0);
		add(&large, 1, 0);
		add(&small, 1, 0);
		add(&one, 1, 0);
		add(&ram, 1, 0);
		token[0] = rig_pop(&r, 1, 0);
		token[1] = rig_pop(&r, 1, 0);
		for (unsigned j = 0; j < 3; j++) {
			ck_assert_int_eq(virtq_pop(&r.vq, &r.c), 0);
			ck_assert(!virtq_notify_on(&r.vq)); /* who waits for nothing is not to look again */
		}
		ck_assert_int_eq(virtq_push(&r.vq, token[1], 0), 1);
		token[2] = rig_pop(&r, 1, 0);
		token[3] = rig_pop(&r, 1, 0);
		ck_assert_int_eq(virtq_pop(&r.vq, &r.c), 0);
		ck_assert_int_eq(virtq_push(&r.vq, token[3], 0), 0);
		ck_assert_int_eq(virtq_push(&r.vq, token[0], 0), 0);
		ck_assert_int_eq(virtq_push(&r.vq, token[2], 0), 0);
		add(&large, 1, 0);
		ck_assert(virtq_notify_on(&r.vq));
		rig_pop(&r, 1, 0);
		stop();
	}
}
END_TEST

/* A packed ring's driver calls two chains the same: each has its own. */
START_TEST(test_same_id)
{
	const struct fake_buf bufs[] = { FAKE_IN(GPA(WINDOW), 512), FAKE_IN(GPA(WINDOW + 512), 512),
					 FAKE_IN(GPA(0x100), 512) };
	uint64_t token[3];

	start(FAKE_PACKED);
	for (unsigned i = 0; i < 3; i++)
		add(&bufs[i], 1, 0);
	r.q.ring[1].id = r.q.ring[2].id = r.q.ring[0].id;
	for (unsigned i = 0; i < 3; i++) {
		token[i] = rig_pop(&r, 0, 1);
		memset(r.c.iov[0].iov_base, (int)(0xb0 + i), 512);
	}
	ck_assert_int_eq(virtq_push(&r.vq, token[2], 512), 0);
	assert_pattern(window, 0, 1024);
	ck_assert_int_eq(virtq_push(&r.vq, token[1], 512), 0);
	assert_pattern(window, 0, 512);
	ck_assert_uint_eq(window[512], 0xb1);
	ck_assert_int_eq(virtq_push(&r.vq, token[0], 512), 0);
	ck_assert_uint_eq(window[511], 0xb0);
	stop();
}
END_TEST

/* What is out when a queue ends is nobody's. */
START_TEST(test_fini)
{
	const struct fake_buf buf = FAKE_OUT(GPA(WINDOW), 512);
	void *lent[8];
	char byte;

	start(0);
	for (unsigned i = 0; i < 8; i++) {
		add(&buf, 1, 0);
		rig_pop(&r, 1, 0);
		lent[i] = r.c.iov[0].iov_base;
		ck_assert_int_eq(copy_read(&byte, lent[i], 1), 0);
	}
	virtq_fini(&r.vq);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(copy_read(&byte, lent[i], 1), -EFAULT);
	virtq_fini(&r.vq);
	stop();
}
END_TEST

/* ---- gone meanwhile ---- */

static void unmap_it(void)
{
	ck_assert_ptr_eq(mmap(window, FILE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), window);
}

static void cut_it(void)
{
	ck_assert_int_eq(ftruncate(file, 4096), 0);
}

static void take_window(void)
{
	static const struct ram_beside nothing;

	ram_beside_set(r.d.ram, 7, &nothing);
}

static void (*const losses[])(void) = { unmap_it, cut_it, take_window };

/* Before it is taken off the ring, or before it comes back: then the driver does not see it as done. */
START_TEST(test_gone)
{
	const struct fake_buf bufs[] = { FAKE_OUT(GPA(WINDOW + 8192), 512), FAKE_IN(GPA(WINDOW + 8192), 512) };
	uint32_t written;

	for (size_t i = 0; i < 4 * ARRAY_SIZE(losses); i++) {
		start(i % 2 ? FAKE_PACKED : 0);
		add(bufs, 2, 0);
		if (i / 2 % 2)
			losses[i / 4]();
		if (i / 2 % 2) {
			rig_broken(&r, -EFAULT);
		} else {
			rig_pop(&r, 1, 1);
			losses[i / 4]();
			ck_assert_int_eq(virtq_push(&r.vq, r.c.token, 512), -EFAULT);
			virtq_flush(&r.vq);
			ck_assert_int_eq(fake_used(&r.q, &written), -1);
			rig_broken(&r, -EFAULT);
		}
		stop();
	}
}
END_TEST

/* As struct virtio_type's mend() does with a file that was cut */
static void mend(void *ctx)
{
	ck_assert_ptr_eq(ctx, &r);
	n_mended++;
	map(WINDOW + 4096, FILE_BYTES - 4096, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

START_TEST(test_mended)
{
	const struct fake_buf bufs[] = { FAKE_OUT(GPA(WINDOW + 4000), 512), FAKE_IN(GPA(WINDOW + 8192), 512) };

	for (unsigned i = 0; i < 2; i++) {
		start(i ? FAKE_PACKED : 0);
		ram_beside_mend(r.d.ram, mend, &r);
		add(bufs, 2, 0);
		if (i)
			cut_it();
		rig_pop(&r, 1, 1);
		ck_assert_uint_eq(n_mended, i);
		assert_pattern(r.c.iov[0].iov_base, 4000, 96);
		ck_assert_uint_eq(((uint8_t *)r.c.iov[0].iov_base)[96], i ? 0 : pattern(4096));
		cut_it();
		memset(r.c.iov[1].iov_base, 0xcc, 512);
		ck_assert_int_eq(virtq_push(&r.vq, r.c.token, 512), 0);
		ck_assert_uint_eq(n_mended, 1);
		ck_assert_uint_eq(used(), 512);
		ck_assert_uint_eq(window[8192 + 511], 0xcc);
		stop();
	}
}
END_TEST

/* The log of the RAM has no place for what is not RAM. */
START_TEST(test_logged)
{
	const struct fake_buf bufs[] = { FAKE_IN(GPA(LARGE), 8 * MIB), FAKE_IN(GPA(0x100), 512) };
	uint64_t bitmap[RIG_MIB * MIB / RAM_PAGE_BYTES / 64] = { 0 };
	unsigned n = 0;

	start(0);
	ck_assert_int_eq(ram_log(r.d.ram, true), 0);
	add(bufs, 2, 0);
	rig_pop(&r, 0, 2);
	ram_log_take(r.d.ram, GPA(0), RIG_MIB * MIB, bitmap);
	for (size_t i = 0; i < ARRAY_SIZE(bitmap); i++)
		n += (unsigned)__builtin_popcountll(bitmap[i]);
	ck_assert_uint_eq(n, 1);
	stop();
}
END_TEST

UNIT_MAIN("virtq_loan", test_copied, test_written, test_unwritten, test_watched, test_read_only, test_not_there, test_no_table,
	  test_too_large, test_one_after_another, test_same_id, test_fini, test_gone, test_mended, test_logged)
