/* Links: net/frame-queue.o util/byte-ring.o */
#include "../../net/frame-queue.h"

#include <string.h>

#include "unit.h"

static struct frame_queue q;
static uint8_t frame[64], got[64];

static void put(size_t len, uint8_t first)
{
	for (size_t i = 0; i < len; i++)
		frame[i] = (uint8_t)(first + i);
	ck_assert(frame_queue_put(&q, frame, len));
}

static void take(size_t len, uint8_t first)
{
	const struct iovec iov[] = { { got, 3 }, { got + 3, 2 }, { got + 5, 59 } };

	ck_assert_uint_eq(frame_queue_next(&q), len);
	memset(got, 0xee, sizeof(got));
	frame_queue_take(&q, iov, 3, 4);
	for (size_t i = 0; i < sizeof(got); i++)
		ck_assert_uint_eq(got[i], i < 4 || i >= 4 + len ? 0xee : (uint8_t)(first + i - 4));
}

START_TEST(test_order)
{
	ck_assert_int_eq(frame_queue_init(&q, 48), 0);
	ck_assert_uint_eq(frame_queue_next(&q), 0);
	/* Round and round: each place of the ring is once the seam. */
	for (uint8_t i = 0; i < 100; i++) {
		put(9, i);
		put(10, (uint8_t)(i + 50));
		take(9, i);
		put(5, (uint8_t)(i + 100));
		take(10, (uint8_t)(i + 50));
		ck_assert_uint_eq(frame_queue_used(&q), 9);
		if (i % 3)
			take(5, (uint8_t)(i + 100));
		else
			frame_queue_drop(&q);
		ck_assert_uint_eq(frame_queue_used(&q), 0);
		put(1 + i % 7, i);
		put(1, 77);
		take(1 + i % 7, i);
		take(1, 77);
	}
	frame_queue_fini(&q);
}
END_TEST

START_TEST(test_bound)
{
	ck_assert_int_eq(frame_queue_init(&q, 48), 0);
	ck_assert(!frame_queue_put(&q, frame, 0));
	ck_assert(!frame_queue_put(&q, frame, 45));
	put(44, 0);
	ck_assert(!frame_queue_put(&q, frame, 1));
	take(44, 0);
	put(20, 1);
	put(16, 2);
	ck_assert(!frame_queue_put(&q, frame, 1));
	ck_assert_uint_eq(frame_queue_used(&q), 44);
	frame_queue_drop(&q);
	ck_assert(!frame_queue_put(&q, frame, 25));
	put(24, 3);
	take(16, 2);
	take(24, 3);
	frame_queue_clear(&q);
	ck_assert_uint_eq(frame_queue_next(&q), 0);
	frame_queue_fini(&q);
}
END_TEST

UNIT_MAIN("frame-queue", test_order, test_bound)
