/* Links: virtio/rng.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o util/log.o util/loop.o tests/unit/fake-driver.o tests/unit/fake-ring.o */
#include "lkvm/virtio-rng.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>

#include "fake-driver.h"
#include "lkvm/clock.h"
#include "lkvm/types.h"
#include "unit.h"

#define MOST 4096 /* bytes of one request */

/* The host's random numbers: bytes that count up from 1, so that none is zero for 255 of them. */
static struct {
	unsigned calls, interrupts; /* so many calls fail with EINTR first */
	size_t most;                /* what one call gives at most */
	int fail;
	size_t asked;
} source;

ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
	size_t n = len < source.most ? len : source.most;

	ck_assert_uint_eq(flags, 0); /* it may block while the host's pool is not seeded yet */
	source.calls++;
	source.asked = len;
	errno = source.interrupts ? EINTR : source.fail;
	if (source.interrupts) {
		source.interrupts--;
		return -1;
	}
	if (source.fail)
		return -1;
	for (size_t i = 0; i < n; i++)
		((uint8_t *)buf)[i] = (uint8_t)(i % 255 + 1);
	return (ssize_t)n;
}

static struct fake_driver drv;
static struct virtio_dev *dev;

static void setup(void)
{
	static const struct virtio_rng_config config;

	source.most = SIZE_MAX;
	fake_init(&drv, 4);
	ck_assert_int_eq(virtio_rng_new(drv.ram, "rng0", &config, &dev), 0);
	fake_attach(&drv, dev);
	ck_assert(fake_probe(&drv, FAKE_EVENT_IDX, 8));
}

static void teardown(void)
{
	virtio_rng_free(dev);
	fake_fini(&drv);
}

static void assert_random(gpa_t at, size_t from, size_t len)
{
	const uint8_t *bytes = fake_at(&drv, at);

	for (size_t i = 0; i < len; i++)
		ck_assert_uint_eq(bytes[i], (from + i) % 255 + 1);
}

START_TEST(test_type)
{
	setup();
	ck_assert_uint_eq(dev->type->id, VIRTIO_ID_RNG);
	ck_assert_uint_eq(dev->n_queues, 1);
	ck_assert_uint_eq(dev->config_bytes, 0);
	teardown();
	virtio_rng_free(NULL);
}
END_TEST

START_TEST(test_sizes)
{
	static const struct {
		uint32_t asked, got;
	} table[] = { { 1, 1 }, { 64, 64 }, { MOST, MOST }, { MOST + 1, MOST }, { 1 << 20, MOST } };

	setup();
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		gpa_t at = fake_alloc(&drv, table[i].asked + 1, 1);
		struct fake_buf buf = FAKE_IN(at, table[i].asked);

		ck_assert_int_eq(fake_request(&drv, 0, &buf, 1), table[i].got);
		assert_random(at, 0, table[i].got);
		ck_assert_uint_eq(((uint8_t *)fake_at(&drv, at))[table[i].got], 0);
		ck_assert_uint_eq(source.asked, table[i].got);
	}
	teardown();
}
END_TEST

START_TEST(test_several_buffers)
{
	gpa_t a, b;

	setup();
	a = fake_alloc(&drv, 10, 1);
	b = fake_alloc(&drv, 300, 1);
	struct fake_buf bufs[] = { FAKE_IN(a, 10), FAKE_IN(b, 300) };

	ck_assert_int_eq(fake_request(&drv, 0, bufs, 2), 310);
	assert_random(a, 0, 10);
	assert_random(b, 10, 300);
	ck_assert_uint_eq(source.calls, 1);
	teardown();
}
END_TEST

/* Above 256 bytes the host may give less, or be interrupted. */
START_TEST(test_host)
{
	gpa_t at;

	setup();
	at = fake_alloc(&drv, 1000, 1);
	struct fake_buf buf = FAKE_IN(at, 1000);

	source.most = 300;
	source.interrupts = 3;
	ck_assert_int_eq(fake_request(&drv, 0, &buf, 1), 300);
	ck_assert_uint_eq(source.calls, 4);
	source.fail = ENOSYS;
	ck_assert_int_eq(fake_request(&drv, 0, &buf, 1), 0);
	ck_assert_uint_eq(source.calls, 5);
	source.fail = 0;
	ck_assert_int_eq(fake_request(&drv, 0, &buf, 1), 300);
	teardown();
}
END_TEST

START_TEST(test_pause)
{
	struct fake_buf buf;
	uint32_t written;
	gpa_t at;

	setup();
	at = fake_alloc(&drv, 8, 1);
	buf = FAKE_IN(at, 8);
	virtio_dev_hold_begin(dev);
	ck_assert(virtio_dev_hold_wait(dev, now_ms() + 10000));
	ck_assert_int_ge(fake_add(&drv.queue[0], &buf, 1), 0);
	fake_notify(&drv, 0);
	poll(NULL, 0, 5);
	ck_assert_uint_eq(*(uint8_t *)fake_at(&drv, at), 0);
	ck_assert_int_lt(fake_used(&drv.queue[0], &written), 0);
	virtio_dev_hold_end(dev);
	ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
	assert_random(at, 0, 8);
	teardown();
}
END_TEST

/* 5.4.6.1: buffers are for the device to write, and there is at least one */
START_TEST(test_bad_requests)
{
	for (unsigned i = 0; i < 4; i++) {
		struct fake_buf bufs[2];

		setup();
		bufs[0] = FAKE_OUT(fake_alloc(&drv, 64, 1), 64);
		bufs[1] = FAKE_IN(fake_alloc(&drv, 64, 1), i == 1 ? 0 : 64);
		if (i == 3)
			bufs[0] = FAKE_IN(bufs[0].at, 0), bufs[1].len = 0;
		ck_assert_int_eq(fake_request(&drv, 0, bufs, i ? 2 : 1), -1);
		ck_assert(virtio_get_status(dev) & VIRTIO_CONFIG_S_NEEDS_RESET);
		ck_assert_uint_eq(source.calls, 0);
		/* and it works again after that */
		ck_assert(fake_probe(&drv, 0, 8));
		bufs[1].len = 64;
		ck_assert_int_eq(fake_request(&drv, 0, &bufs[1], 1), 64);
		teardown();
		source.calls = 0;
	}
}
END_TEST

START_TEST(test_packed_is_asked_for)
{
	static const struct virtio_rng_config packed = { .packed = true };

	setup();
	ck_assert(!(dev->device_features >> VIRTIO_F_RING_PACKED & 1));
	virtio_rng_free(dev);
	ck_assert_int_eq(virtio_rng_new(drv.ram, "rng0", &packed, &dev), 0);
	ck_assert(dev->device_features >> VIRTIO_F_RING_PACKED & 1);
	virtio_rng_free(dev);
}
END_TEST

UNIT_MAIN("rng", test_packed_is_asked_for, test_type, test_sizes, test_several_buffers, test_host,
	  test_pause, test_bad_requests)
