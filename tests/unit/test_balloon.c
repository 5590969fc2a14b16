/* Links: virtio/balloon.o virtio/balloon-state.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o hw/ram-discard.o hw/ram-log.o util/event.o util/log.o util/loop.o tests/unit/fake-driver.o tests/unit/fake-ring.o */
#include "lkvm/virtio-balloon.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../virtio/balloon-internal.h"
#include "fake-driver.h"
#include "lkvm/event.h"
#include "unit.h"

#define RAM_MIB 32
#define PAGE    BALLOON_PAGE_BYTES
#define BIT(n)  (1ULL << (n))
#define USUAL   (BIT(VIRTIO_BALLOON_F_STATS_VQ) | BIT(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) | BIT(VIRTIO_BALLOON_F_REPORTING))
#define POISON  BIT(VIRTIO_BALLOON_F_PAGE_POISON)
#define HINT    BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT)
#define FIRST   4096U /* page in the middle of RAM, above what fake_alloc() gives */

enum { INFLATE, DEFLATE, STATS, REPORT, REPORT_BY_TEXT };

static struct fake_driver drv;
static struct virtio_dev *dev;

/* Has the driver told all, or is it gone? */
static bool hint_ended(void)
{
	struct virtio_balloon *b = balloon_of(dev);
	bool ended;

	pthread_mutex_lock(&b->lock);
	ended = b->hints.ended;
	pthread_mutex_unlock(&b->lock);
	return ended;
}

static void setup(uint64_t features)
{
	static const struct virtio_balloon_options options;

	fake_init(&drv, RAM_MIB);
	ck_assert_int_eq(virtio_balloon_new(drv.ram, "balloon0", &options, &dev), 0);
	fake_attach(&drv, dev);
	ck_assert(fake_probe(&drv, features, 8));
}

static void teardown(void)
{
	virtio_balloon_free(dev);
	fake_fini(&drv);
}

static uint8_t *page_at(uint32_t page)
{
	return fake_at(&drv, GPA((uint64_t)page * PAGE));
}

static void fill(uint32_t page, unsigned n)
{
	memset(page_at(page), 0x5a, (size_t)n * PAGE);
}

/* Does the host have memory for this page? Nobody touches it for the answer. */
static bool is_there(uint32_t page)
{
	unsigned char there;

	ck_assert_int_eq(mincore(page_at(page), PAGE, &there), 0);
	return there & 1;
}

/* A list of pages; Return: as fake_request() */
static int64_t send(unsigned queue, const uint32_t *pages, unsigned n)
{
	const gpa_t at = fake_alloc(&drv, n * sizeof(*pages) + 8, 4);
	uint32_t *list = fake_at(&drv, at);
	struct fake_buf buf = FAKE_OUT(at, (uint32_t)(n * sizeof(*pages)));

	for (unsigned i = 0; i < n; i++)
		list[i] = htole32(pages[i]);
	return fake_request(&drv, queue, &buf, 1);
}

static struct balloon_view view(void)
{
	struct balloon_view v;

	virtio_balloon_view(dev, &v);
	return v;
}

START_TEST(test_type)
{
	setup(USUAL);
	ck_assert_uint_eq(dev->type->id, VIRTIO_ID_BALLOON);
	ck_assert_uint_eq(dev->n_queues, 5);
	ck_assert_uint_eq(dev->config_bytes, 16);
	ck_assert_uint_ge(dev->type->queue_size, 32); /* or Linux does not take it */
	ck_assert(!(dev->device_features & BIT(VIRTIO_BALLOON_F_MUST_TELL_HOST)));
	teardown();
	virtio_balloon_free(NULL);
}
END_TEST

/* In any order, several at a time, some of them twice: those go, and no others. */
START_TEST(test_inflate)
{
	static const uint32_t pages[] = { FIRST + 9, FIRST + 1, FIRST, FIRST + 8, FIRST + 1, FIRST + 20 };

	setup(USUAL);
	fill(FIRST - 1, 40);
	ck_assert_int_eq(send(INFLATE, pages, ARRAY_SIZE(pages)), 0);
	for (uint32_t i = 0; i < 30; i++) {
		const bool gone = i <= 1 || i == 8 || i == 9 || i == 20;

		ck_assert_msg(is_there(FIRST + i) == !gone, "page %u", i);
		ck_assert_uint_eq(*page_at(FIRST + i), gone ? 0 : 0x5a);
	}
	ck_assert_uint_eq(*page_at(FIRST - 1), 0x5a);
	/* They come back by being touched, whether the driver tells or not. */
	ck_assert_int_eq(send(DEFLATE, pages, ARRAY_SIZE(pages)), 0);
	fill(FIRST, 2);
	ck_assert(is_there(FIRST));
	teardown();
}
END_TEST

START_TEST(test_ends_of_ram)
{
	static const uint32_t last = RAM_MIB * 256 - 1;
	static const uint32_t beyond[] = { RAM_MIB * 256, UINT32_MAX, 0xd0000 };
	uint32_t mixed[2] = { FIRST };

	for (unsigned queue = INFLATE; queue <= DEFLATE; queue++) {
		setup(USUAL);
		ck_assert_int_eq(send(queue, &last, 1), 0);
		for (size_t i = 0; i < ARRAY_SIZE(beyond); i++) {
			mixed[1] = beyond[i];
			fill(FIRST, 1);
			ck_assert_int_eq(send(queue, mixed, 2), -1);
			ck_assert(is_there(FIRST)); /* all or nothing */
			ck_assert(fake_probe(&drv, USUAL, 8));
			ck_assert_int_eq(send(queue, mixed, 1), 0);
		}
		teardown();
	}
}
END_TEST

START_TEST(test_lists_that_are_none)
{
	const uint32_t most = 16384 * 4;
	gpa_t at;

	for (unsigned queue = INFLATE; queue <= DEFLATE; queue++) {
		setup(USUAL);
		at = fake_alloc(&drv, most + 4, 4);
		for (unsigned i = 0; i < most / 4 + 1; i++)
			((uint32_t *)fake_at(&drv, at))[i] = htole32(FIRST + i % 8);
		const struct {
			struct fake_buf buf[2];
			unsigned n;
			int64_t want;
		} table[] = {
			{ { FAKE_OUT(at, 3) }, 1, -1 },
			{ { FAKE_OUT(at, most + 4) }, 1, -1 },
			{ { FAKE_IN(at, 4) }, 1, -1 },
			{ { FAKE_OUT(at, 4), FAKE_IN(at, 4) }, 2, -1 },
			{ { FAKE_OUT(at, most) }, 1, 0 },
			{ { FAKE_OUT(at, 2), FAKE_OUT(GPA(at.v + 2), 2) }, 2, 0 },
		};

		for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
			ck_assert_int_eq(fake_request(&drv, queue, table[i].buf, table[i].n), table[i].want);
			ck_assert(fake_probe(&drv, USUAL, 8));
		}
		teardown();
	}
}
END_TEST

static int64_t report(unsigned queue, uint32_t page, unsigned n)
{
	struct fake_buf buf = FAKE_IN(GPA((uint64_t)page * PAGE), n * PAGE);

	return fake_request(&drv, queue, &buf, 1);
}

/* By each number that a driver may know the queue by */
START_TEST(test_report)
{
	static const struct {
		uint64_t features;
		unsigned queue;
	} table[] = {
		{ USUAL, REPORT }, { USUAL, REPORT_BY_TEXT },
		{ BIT(VIRTIO_BALLOON_F_REPORTING), STATS }, { BIT(VIRTIO_BALLOON_F_REPORTING), REPORT_BY_TEXT },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		setup(table[i].features);
		fill(FIRST, 514);
		ck_assert_int_eq(report(table[i].queue, FIRST + 1, 512), 0);
		ck_assert(is_there(FIRST) && !is_there(FIRST + 1) && !is_there(FIRST + 512) && is_there(FIRST + 513));
		ck_assert_uint_eq(view().reported_bytes, 512 * PAGE);
		teardown();
	}
}
END_TEST

/* A page that is not whole stays, and one that is read by the device was never free. */
START_TEST(test_report_odd)
{
	struct fake_buf buf = FAKE_IN(GPA((uint64_t)FIRST * PAGE + 1), 2 * PAGE);

	setup(USUAL);
	fill(FIRST, 4);
	ck_assert_int_eq(fake_request(&drv, REPORT, &buf, 1), 0);
	ck_assert(is_there(FIRST) && !is_there(FIRST + 1) && is_there(FIRST + 2));
	buf.writable = false;
	ck_assert_int_eq(fake_request(&drv, REPORT, &buf, 1), -1);
	ck_assert(is_there(FIRST + 2));
	teardown();
}
END_TEST

static void set_poison(uint32_t value)
{
	virtio_config_write(dev, offsetof(struct virtio_balloon_config, poison_val), 4, value);
}

/* What the driver has written into its free pages is there, or they are not given back. */
START_TEST(test_poison)
{
	setup(USUAL | POISON);
	fill(FIRST, 2);
	set_poison(0x5a5a5a5a);
	ck_assert_uint_eq(virtio_config_read(dev, 12, 4), 0x5a5a5a5a);
	ck_assert_int_eq(report(REPORT, FIRST, 2), 0);
	ck_assert_uint_eq(*page_at(FIRST), 0x5a);
	ck_assert_uint_eq(view().reported_bytes, 0);
	set_poison(0);
	ck_assert_int_eq(report(REPORT, FIRST, 2), 0);
	ck_assert_uint_eq(*page_at(FIRST), 0);
	/* It goes with the driver; and one that has not negotiated it has none. */
	set_poison(1);
	ck_assert(fake_probe(&drv, USUAL, 8));
	ck_assert_uint_eq(virtio_config_read(dev, 12, 4), 0);
	set_poison(1);
	ck_assert_uint_eq(virtio_config_read(dev, 12, 4), 0);
	fill(FIRST, 2);
	ck_assert_int_eq(report(REPORT, FIRST, 2), 0);
	ck_assert(!is_there(FIRST));
	teardown();
}
END_TEST

START_TEST(test_size)
{
	const int fd = event_open(0);

	setup(USUAL);
	virtio_balloon_watch(dev, fd);
	virtio_balloon_set(dev, 8 * MIB);
	fake_wait_config_irq(&drv, 1);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 4), 2048);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 8), 2048);
	ck_assert_uint_eq(view().target_bytes, 8 * MIB);
	ck_assert_uint_eq(event_clear(fd), 0);
	/* The target is the host's, how far it is the driver's. Only as a whole */
	virtio_config_write(dev, 0, 4, 7);
	virtio_config_write(dev, 4, 2, 7);
	virtio_config_write(dev, 4, 4, 100);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 8), 100ULL << 32 | 2048);
	ck_assert_uint_eq(view().actual_bytes, 100 * PAGE);
	ck_assert_uint_eq(event_clear(fd), 1);
	virtio_config_write(dev, 4, 4, UINT32_MAX);
	ck_assert_uint_eq(view().actual_bytes, RAM_MIB * MIB);
	ck_assert_uint_eq(view().ram_bytes, RAM_MIB * MIB);
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(view().actual_bytes, 0);
	ck_assert_uint_eq(view().target_bytes, 8 * MIB);
	ck_assert(!view().driver && !view().answers);
	virtio_balloon_watch(dev, -1);
	close(fd);
	teardown();
}
END_TEST

/* ---- statistics ---- */

static int stats_fd;

static int add_stats(const struct virtio_balloon_stat *list, unsigned n, uint32_t more)
{
	const gpa_t at = fake_alloc(&drv, n * sizeof(*list) + more + 1, 1);
	struct fake_buf buf = FAKE_OUT(at, (uint32_t)(n * sizeof(*list)) + more);
	int id;

	memcpy(fake_at(&drv, at), list, n * sizeof(*list));
	id = fake_add(&drv.queue[STATS], &buf, 1);
	fake_notify(&drv, STATS);
	return id;
}

static void wait_watch(void)
{
	struct pollfd p = { .fd = stats_fd, .events = POLLIN };

	ck_assert_int_eq(poll(&p, 1, 10000), 1);
	event_clear(stats_fd);
}

static void setup_stats(uint64_t features)
{
	stats_fd = event_open(0);
	setup(features);
	virtio_balloon_watch(dev, stats_fd);
}

static void teardown_stats(void)
{
	teardown();
	close(stats_fd);
}

START_TEST(test_stats)
{
	static const struct virtio_balloon_stat list[] = {
		{ VIRTIO_BALLOON_S_MEMFREE, 1000 }, { 15, 4 }, { 16, 5 }, { 0xffff, 6 },
		{ VIRTIO_BALLOON_S_MEMTOT, UINT64_MAX },
	};
	uint32_t written;
	int id;

	setup_stats(USUAL);
	ck_assert(view().answers);
	ck_assert_uint_eq(view().stats, 0);
	for (unsigned i = 1; i < 20; i++) {
		id = add_stats(list, ARRAY_SIZE(list), 9);
		wait_watch();
		const struct balloon_view v = view();

		ck_assert_uint_eq(v.n_stats, i);
		ck_assert_uint_eq(v.stats, BIT(VIRTIO_BALLOON_S_MEMFREE) | BIT(VIRTIO_BALLOON_S_MEMTOT) | BIT(15));
		ck_assert_uint_eq(v.stat[VIRTIO_BALLOON_S_MEMFREE], 1000);
		ck_assert_uint_eq(v.stat[VIRTIO_BALLOON_S_MEMTOT], UINT64_MAX);
		ck_assert_uint_eq(v.stat[15], 4);
		/* It stays here until somebody asks. */
		ck_assert_int_lt(fake_used(&drv.queue[STATS], &written), 0);
		virtio_balloon_ask(dev);
		ck_assert_int_eq(fake_wait_used(&drv, STATS, &written), id);
		ck_assert_uint_eq(written, 0);
	}
	for (unsigned i = 0; i < BALLOON_STATS; i++)
		ck_assert_ptr_nonnull(virtio_balloon_stat_name(i));
	ck_assert_ptr_null(virtio_balloon_stat_name(BALLOON_STATS));
	teardown_stats();
}
END_TEST

/* None, part of one, and more than there are kinds of: the last of those that are looked at counts. */
START_TEST(test_stats_lengths)
{
	struct virtio_balloon_stat many[64];
	uint32_t written;

	setup_stats(USUAL);
	for (uint16_t i = 0; i < 64; i++)
		many[i] = (struct virtio_balloon_stat){ VIRTIO_BALLOON_S_MEMFREE, i };
	for (unsigned n = 0; n < 64; n += 63) {
		add_stats(many, n, 5);
		wait_watch();
		ck_assert_uint_eq(view().stats, n ? BIT(VIRTIO_BALLOON_S_MEMFREE) : 0);
		ck_assert_uint_eq(view().stat[VIRTIO_BALLOON_S_MEMFREE], n ? 31 : 0);
		virtio_balloon_ask(dev);
		ck_assert_int_ge(fake_wait_used(&drv, STATS, &written), 0);
	}
	teardown_stats();
}
END_TEST

/* Who asks while the driver has it gets what it is about to send; it is not asked twice. */
START_TEST(test_stats_asked_early)
{
	uint32_t written;

	setup_stats(USUAL);
	virtio_balloon_ask(dev);
	virtio_balloon_ask(dev);
	fake_request(&drv, INFLATE, &FAKE_OUT(GPA(4096), 0), 1); /* the worker has been there */
	add_stats(NULL, 0, 1);
	wait_watch();
	poll(NULL, 0, 5);
	ck_assert_int_lt(fake_used(&drv.queue[STATS], &written), 0);
	teardown_stats();
}
END_TEST

START_TEST(test_stats_hostile)
{
	for (unsigned i = 0; i < 2; i++) {
		struct fake_buf buf;

		setup_stats(USUAL);
		buf = FAKE_IN(fake_alloc(&drv, 64, 1), 64);
		if (!i) {
			add_stats(NULL, 0, 1);
			wait_watch();
			buf.writable = false;
		}
		ck_assert_int_eq(fake_request(&drv, STATS, &buf, 1), -1);
		ck_assert(!view().driver);
		virtio_balloon_ask(dev); /* nobody is there */
		ck_assert(fake_probe(&drv, USUAL, 8));
		add_stats(NULL, 0, 1);
		wait_watch();
		teardown_stats();
	}
}
END_TEST

/* While it stands still nobody is asked, but then. */
START_TEST(test_stats_pause)
{
	uint32_t written;
	int id;

	setup_stats(USUAL);
	id = add_stats(NULL, 0, 1);
	wait_watch();
	virtio_hold(dev, VIRTIO_HOLD_TEST, true);
	virtio_balloon_ask(dev);
	poll(NULL, 0, 5);
	ck_assert_int_lt(fake_used(&drv.queue[STATS], &written), 0);
	virtio_hold(dev, VIRTIO_HOLD_TEST, false);
	ck_assert_int_eq(fake_wait_used(&drv, STATS, &written), id);
	teardown_stats();
}
END_TEST

/* ---- hints ---- */

enum { HINTS = 3, HINT_ID = 8 /* in the configuration */ };

static struct ram_spare *spare;
static int told_fd;

static void setup_hints(uint64_t features)
{
	setup(features);
	told_fd = event_open(0);
	ck_assert_int_eq(ram_spare_new(drv.ram, &spare), 0);
}

static void teardown_hints(void)
{
	teardown();
	close(told_fd);
	ram_spare_free(spare);
}

static uint32_t command(void)
{
	return (uint32_t)virtio_config_read(dev, HINT_ID, 4);
}

static uint32_t ask(void)
{
	ck_assert_int_eq(virtio_balloon_hint_begin(dev, spare, told_fd), 0);
	return command();
}

static int64_t say_id(unsigned queue, uint32_t id)
{
	const gpa_t at = fake_alloc(&drv, 4, 4);
	const struct fake_buf buf = FAKE_OUT(at, 4);

	*(uint32_t *)fake_at(&drv, at) = htole32(id);
	return fake_request(&drv, queue, &buf, 1);
}

static uint64_t n_spare(void)
{
	return ram_spare_bytes(spare) / PAGE;
}

/* By each number that a driver may know the queue by; the one of free pages stays what it is. */
START_TEST(test_hints)
{
	static const struct {
		uint64_t features;
		unsigned hints, report;
	} table[] = {
		{ USUAL | HINT, HINTS, REPORT_BY_TEXT }, { BIT(VIRTIO_BALLOON_F_REPORTING) | HINT, STATS, HINTS },
		{ HINT, STATS, 0 }, { HINT, HINTS, 0 }, { BIT(VIRTIO_BALLOON_F_STATS_VQ) | HINT, HINTS, 0 },
	};
	uint32_t id;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		setup_hints(table[i].features);
		fill(FIRST, 16);
		ck_assert_uint_eq(command(), VIRTIO_BALLOON_CMD_ID_STOP);
		id = ask();
		fake_wait_config_irq(&drv, 1);
		ck_assert_uint_gt(id, VIRTIO_BALLOON_CMD_ID_DONE);
		ck_assert_int_eq(say_id(table[i].hints, id), 0);
		ck_assert_int_eq(report(table[i].hints, FIRST, 4), 0);
		ck_assert_int_eq(report(table[i].hints, FIRST + 2, 4), 0);
		ck_assert(!hint_ended());
		ck_assert_uint_eq(event_clear(told_fd), 0);
		ck_assert_int_eq(say_id(table[i].hints, VIRTIO_BALLOON_CMD_ID_STOP), 0);
		ck_assert(hint_ended());
		ck_assert_uint_eq(event_clear(told_fd), 1);
		ck_assert(virtio_balloon_hint_end(dev));
		fake_wait_config_irq(&drv, 2);
		ck_assert_uint_eq(command(), VIRTIO_BALLOON_CMD_ID_DONE);
		ck_assert_uint_eq(n_spare(), 6);
		ck_assert(ram_spare_has(spare, GPA((uint64_t)FIRST * PAGE)));
		for (unsigned page = 0; page < 16; page++) /* hints give nothing back */
			ck_assert(is_there(FIRST + page) && *page_at(FIRST + page) == 0x5a);
		ck_assert_uint_eq(view().reported_bytes, 0);
		if (table[i].report) {
			ck_assert_int_eq(report(table[i].report, FIRST + 8, 4), 0);
			ck_assert(!is_there(FIRST + 8));
			ck_assert_uint_eq(n_spare(), 6);
		}
		teardown_hints();
	}
}
END_TEST

/* Where the queue for hints has the text's number, so has that for free pages. */
START_TEST(test_hints_by_text)
{
	setup_hints(0);
	virtio_set_status(dev, 0);
	ck_assert(fake_negotiate(&drv, BIT(VIRTIO_BALLOON_F_REPORTING) | HINT));
	for (unsigned i = 0; i < 5; i++)
		if (i != STATS)
			fake_setup_queue(&drv, i, 8);
	virtio_set_status(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
			       VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	fake_wait_up(&drv);
	fill(FIRST, 16);
	ck_assert_int_eq(say_id(HINTS, ask()), 0);
	ck_assert_int_eq(report(HINTS, FIRST, 4), 0);
	ck_assert_int_eq(report(REPORT_BY_TEXT, FIRST + 4, 4), 0);
	ck_assert(is_there(FIRST) && !is_there(FIRST + 4));
	ck_assert(virtio_balloon_hint_end(dev));
	ck_assert_uint_eq(n_spare(), 4);
	teardown_hints();
}
END_TEST

/* Only what comes behind the right id counts: not what comes before, behind another, or behind STOP. */
START_TEST(test_hints_ids)
{
	uint32_t first, id;

	setup_hints(USUAL | HINT);
	report(HINTS, FIRST, 1);
	first = ask();
	report(HINTS, FIRST, 1);
	for (unsigned i = 0; i < 3; i++) {
		static const uint32_t others[] = { VIRTIO_BALLOON_CMD_ID_STOP, VIRTIO_BALLOON_CMD_ID_DONE, UINT32_MAX };

		say_id(HINTS, others[i]);
		report(HINTS, FIRST, 1);
	}
	ck_assert(!hint_ended()); /* STOP is no answer either */
	say_id(HINTS, first);
	say_id(HINTS, first + 1);
	report(HINTS, FIRST, 1);
	ck_assert_uint_eq(n_spare(), 0);
	ck_assert(virtio_balloon_hint_end(dev));

	/* Not those of the id before, and not what comes after the end */
	id = ask();
	ck_assert_uint_ne(id, first);
	say_id(HINTS, first);
	report(HINTS, FIRST, 1);
	ck_assert_uint_eq(n_spare(), 0);
	say_id(HINTS, id);
	report(HINTS, FIRST + 1, 1);
	say_id(HINTS, VIRTIO_BALLOON_CMD_ID_STOP);
	report(HINTS, FIRST, 1);
	say_id(HINTS, id);
	report(HINTS, FIRST, 1);
	ck_assert_uint_eq(event_clear(told_fd), 1);
	ck_assert(virtio_balloon_hint_end(dev));
	say_id(HINTS, id);
	report(HINTS, FIRST, 1);
	say_id(HINTS, VIRTIO_BALLOON_CMD_ID_DONE);
	report(HINTS, FIRST, 1);
	ck_assert_uint_eq(n_spare(), 1);
	ck_assert(ram_spare_has(spare, GPA((FIRST + 1ULL) * PAGE)));
	teardown_hints();
}
END_TEST

START_TEST(test_hints_hostile)
{
	const struct {
		struct fake_buf buf[2];
		unsigned n;
		int64_t want;
	} table[] = {
		{ { FAKE_OUT(GPA(4096), 3) }, 1, -1 }, { { FAKE_OUT(GPA(4096), 5) }, 1, -1 },
		{ { FAKE_OUT(GPA(4096), 1 << 20) }, 1, -1 }, { { FAKE_OUT(GPA(4096), 4), FAKE_IN(GPA(8192), 4096) }, 2, -1 },
		{ { FAKE_IN(GPA(RAM_MIB * MIB), 4096) }, 1, -1 }, { { FAKE_IN(GPA(RAM_MIB * MIB - 4096), 8192) }, 1, -1 },
		{ { FAKE_IN(GPA(0xd0000000), 4096) }, 1, -1 },
		{ { FAKE_OUT(GPA(4096), 2), FAKE_OUT(GPA(4098), 2) }, 2, 0 },
		{ { FAKE_IN(GPA(FIRST * 4096ULL + 1), 8191), FAKE_IN(GPA(0), 4095) }, 2, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const bool good = !table[i].want;

		setup_hints(USUAL | HINT);
		say_id(HINTS, ask());
		ck_assert_int_eq(fake_request(&drv, HINTS, table[i].buf, table[i].n), table[i].want);
		ck_assert_uint_eq(n_spare(), i == 8);
		ck_assert(virtio_balloon_hint_end(dev) == good); /* nothing is believed that such a driver said */
		teardown_hints();
	}
	setup_hints(USUAL | HINT);
	say_id(HINTS, ask());
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(report(HINTS, 0, RAM_MIB * 256), 0);
	ck_assert_uint_eq(n_spare(), RAM_MIB * 256);
	ck_assert(virtio_balloon_hint_end(dev));
	teardown_hints();
}
END_TEST

START_TEST(test_hints_without_feature)
{
	setup_hints(BIT(VIRTIO_BALLOON_F_STATS_VQ));
	ck_assert_int_eq(virtio_balloon_hint_begin(dev, spare, told_fd), -ENODEV);
	ck_assert_uint_eq(command(), 0);
	ck_assert_int_eq(report(HINTS, FIRST, 1), -1);
	ck_assert_int_eq(virtio_balloon_hint_begin(dev, spare, told_fd), -ENODEV);
	virtio_set_status(dev, 0);
	ck_assert_int_eq(virtio_balloon_hint_begin(dev, spare, told_fd), -ENODEV);
	teardown_hints();
}
END_TEST

/* Who is reset in the middle has not told all, and is not asked any more; but then again. */
START_TEST(test_hints_reset)
{
	uint32_t id;

	setup_hints(USUAL | HINT);
	id = ask();
	say_id(HINTS, id);
	report(HINTS, FIRST, 1);
	ck_assert(fake_probe(&drv, USUAL | HINT, 8));
	ck_assert(hint_ended());
	ck_assert_uint_eq(event_clear(told_fd), 1);
	ck_assert_uint_eq(command(), VIRTIO_BALLOON_CMD_ID_STOP);
	say_id(HINTS, id);
	report(HINTS, FIRST, 1);
	ck_assert(!virtio_balloon_hint_end(dev));
	ck_assert_uint_eq(command(), VIRTIO_BALLOON_CMD_ID_STOP); /* nothing that it could be done with */
	ck_assert_uint_ne(ask(), id);
	say_id(HINTS, command());
	ck_assert(virtio_balloon_hint_end(dev));
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(command(), VIRTIO_BALLOON_CMD_ID_STOP);
	teardown_hints();
}
END_TEST

/* What has something in its free pages that it wants to find there */
START_TEST(test_hints_poison)
{
	setup_hints(USUAL | HINT | POISON);
	set_poison(0xaaaaaaaa);
	ck_assert_int_eq(virtio_balloon_hint_begin(dev, spare, told_fd), -EPERM);
	ck_assert_uint_eq(command(), 0);
	set_poison(0);
	say_id(HINTS, ask());
	report(HINTS, FIRST, 1);
	ck_assert(virtio_balloon_hint_end(dev));
	/* In the middle, and after it has said all; also if it takes that back */
	for (unsigned i = 0; i < 4; i++) {
		say_id(HINTS, ask());
		report(HINTS, FIRST, 1);
		if (i & 1)
			say_id(HINTS, VIRTIO_BALLOON_CMD_ID_STOP);
		set_poison(1);
		if (i & 2)
			set_poison(0);
		ck_assert(hint_ended());
		ck_assert(!virtio_balloon_hint_end(dev));
		set_poison(0);
	}
	teardown_hints();
}
END_TEST

/* The driver has no say in it. */
START_TEST(test_hints_config)
{
	uint32_t id;

	setup_hints(USUAL | HINT);
	id = ask();
	for (unsigned width = 1; width <= 8; width *= 2)
		virtio_config_write(dev, HINT_ID, width, 77);
	ck_assert_uint_eq(command(), id);
	ck_assert(virtio_balloon_hint_end(dev));
	teardown_hints();
}
END_TEST

/* Pages of hints are in no log: nobody has written there. Those of lists and reports are. */
START_TEST(test_hints_log)
{
	uint64_t log[RAM_MIB * 256 / 64] = { 0 };

	setup_hints(USUAL | HINT);
	ck_assert_int_eq(ram_log(drv.ram, true), 0);
	say_id(HINTS, ask());
	report(HINTS, FIRST, 8);
	report(REPORT_BY_TEXT, FIRST + 4, 2);
	ck_assert_int_eq(send(INFLATE, &(uint32_t){ FIRST + 7 }, 1), 0);
	say_id(HINTS, VIRTIO_BALLOON_CMD_ID_STOP);
	ck_assert(virtio_balloon_hint_end(dev));
	ram_log_take(drv.ram, GPA(0), RAM_MIB * MIB, log);
	ck_assert_uint_eq(log[FIRST / 64] & 0xff, 0xb0);
	teardown_hints();
}
END_TEST

/* While it stands still the driver is told of nothing, but then. */
START_TEST(test_hints_pause)
{
	unsigned irqs;

	setup_hints(USUAL | HINT);
	say_id(HINTS, ask());
	fake_wait_config_irq(&drv, 1);
	report(HINTS, FIRST, 1);
	virtio_dev_hold_begin(dev);
	ck_assert(virtio_dev_hold_wait(dev, INT64_MAX));
	irqs = fake_config_irqs(&drv);
	ck_assert(virtio_balloon_hint_end(dev));
	ck_assert_uint_eq(fake_config_irqs(&drv), irqs);
	virtio_dev_hold_end(dev);
	fake_wait_config_irq(&drv, irqs + 1);
	ck_assert_uint_eq(command(), VIRTIO_BALLOON_CMD_ID_DONE);
	teardown_hints();
}
END_TEST

START_TEST(test_packed_is_asked_for)
{
	static const struct virtio_balloon_options packed = { .packed = true };

	setup(USUAL);
	ck_assert(!(dev->device_features >> VIRTIO_F_RING_PACKED & 1));
	virtio_balloon_free(dev);
	ck_assert_int_eq(virtio_balloon_new(drv.ram, "balloon0", &packed, &dev), 0);
	ck_assert(dev->device_features >> VIRTIO_F_RING_PACKED & 1);
	virtio_balloon_free(dev);
}
END_TEST

UNIT_MAIN("balloon", test_hints, test_hints_by_text, test_hints_ids, test_hints_hostile, test_hints_without_feature,
	  test_hints_reset, test_hints_poison, test_hints_config, test_hints_log, test_hints_pause, test_type, test_inflate, test_ends_of_ram, test_lists_that_are_none, test_report, test_report_odd,
	  test_poison, test_size, test_stats, test_stats_lengths, test_stats_asked_early, test_stats_hostile,
	  test_stats_pause, test_packed_is_asked_for)
