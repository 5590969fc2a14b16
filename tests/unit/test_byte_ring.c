/* Links: util/byte-ring.o */

/* Bytes that lie across a ring's end. */
#include <string.h>

#include "lkvm/byte-ring.h"
#include "unit.h"

START_TEST(test_around)
{
	for (uint64_t at = 0; at < 20; at++)
		for (size_t len = 0; len <= 5; len++) {
			uint8_t ring[7] = "....." "|", got[6] = "_____";

			byte_ring_put(ring, 5, at, "abcde", len);
			for (size_t i = 0; i < 5; i++)
				ck_assert_int_eq(ring[(at + i) % 5], i < len ? "abcde"[i] : '.');
			ck_assert_uint_eq(ring[5], '|');
			byte_ring_get(ring, 5, at, got, len);
			ck_assert_mem_eq(got, "abcde", len);
			ck_assert_mem_eq(got + len, "_____", 5 - len);
		}
}
END_TEST

/* Positions only grow, and are larger than the ring by far. */
START_TEST(test_far)
{
	uint8_t ring[8], got[8];

	byte_ring_put(ring, 8, (1ULL << 40) + 6, "12345678", 8);
	ck_assert_mem_eq(ring, "34567812", 8);
	byte_ring_get(ring, 8, (1ULL << 40) + 6, got, 8);
	ck_assert_mem_eq(got, "12345678", 8);
}
END_TEST

UNIT_MAIN("byte_ring", test_around, test_far)
