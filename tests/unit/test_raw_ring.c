/* Links: disk/raw-ring.o */

/* The ring of AIO completions, read without a system call: against the kernel that fills it. */
#include "unit.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../disk/raw.h"

#define DEPTH 32

static io_context_t aio;
static int fd;
static char bytes[DEPTH];
static unsigned getevents;

/* libaio's, counted; so it is the back end's only other way to a completion. */
int io_getevents(io_context_t ctx, long min, long n, struct io_event *events,
		 struct timespec *timeout)
{
	long ret = syscall(SYS_io_getevents, ctx, min, n, events, timeout);

	getevents++;
	return ret < 0 ? -errno : (int)ret;
}

static void setup(void)
{
	fd = memfd_create("ring", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(fd, 1 << 20), 0);
	ck_assert_int_eq(io_setup(DEPTH, &aio), 0);
}

static void teardown(void)
{
	ck_assert_int_eq(io_destroy(aio), 0);
	close(fd);
}

/* Reads number @first and on, each of one byte more than the one before */
static void send(uintptr_t first, unsigned n)
{
	struct iocb cb[DEPTH], *list[DEPTH];

	for (unsigned i = 0; i < n; i++) {
		io_prep_pread(&cb[i], fd, bytes, (first + i) % DEPTH, 0);
		cb[i].data = (void *)(first + i);
		list[i] = &cb[i];
	}
	ck_assert_int_eq(io_submit(aio, n, list), (int)n);
}

static void expect(struct io_event *events, uintptr_t first, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		ck_assert_ptr_eq(events[i].data, (void *)(first + i));
		ck_assert_uint_eq(events[i].res, (first + i) % DEPTH);
	}
}

/* Many laps of the ring, in batches of all sizes; nothing lost, nothing twice, no call. */
START_TEST(test_laps)
{
	struct io_event events[DEPTH];
	uintptr_t first = 0;

	setup();
	ck_assert_uint_eq(raw_take_events(aio, events, DEPTH), 0);
	ck_assert(!raw_has_events(aio));
	for (unsigned i = 0; i < 3000; i++) {
		unsigned n = i % DEPTH + 1;

		send(first, n);
		ck_assert(raw_has_events(aio));
		ck_assert_uint_eq(raw_take_events(aio, events, DEPTH), n);
		ck_assert(!raw_has_events(aio));
		expect(events, first, n);
		ck_assert_uint_eq(raw_take_events(aio, events, DEPTH), 0);
		first += n;
	}
	ck_assert_uint_eq(getevents, 0);
	teardown();
}
END_TEST

/* What does not fit stays, and who asks the kernel gets the rest. */
START_TEST(test_both_ways)
{
	struct io_event events[DEPTH];

	setup();
	for (unsigned i = 0; i < 300; i++) {
		send(0, 10);
		ck_assert_uint_eq(raw_take_events(aio, events, 4), 4);
		expect(events, 0, 4);
		ck_assert_int_eq(io_getevents(aio, 1, 3, events, NULL), 3);
		expect(events, 4, 3);
		ck_assert_uint_eq(raw_take_events(aio, events, DEPTH), 3);
		expect(events, 7, 3);
	}
	teardown();
}
END_TEST

/* A kernel whose ring we do not know is asked: its layout is spoilt here, in a copy. */
START_TEST(test_foreign_ring)
{
	unsigned ring[8] = { 0, 1, 0, 1, 0xa10a10a1, 1, 0, 32 };
	struct io_event events[DEPTH];

	ck_assert(raw_has_events((io_context_t)ring));
	ring[6] = 1; /* an incompatible feature */
	ck_assert(!raw_has_events((io_context_t)ring));
	ck_assert_uint_eq(raw_take_events((io_context_t)ring, events, DEPTH), 0);
	ck_assert_uint_eq(getevents, 1);
	ring[6] = 0;
	ring[4]++;
	ck_assert_uint_eq(raw_take_events((io_context_t)ring, events, DEPTH), 0);
	ck_assert_uint_eq(getevents, 2);
	ck_assert_uint_eq(ring[2], 0);
}
END_TEST

UNIT_MAIN("raw_ring", test_laps, test_both_ways, test_foreign_ring)
