/* Links: util/crc32c.o */
#include <string.h>

#include "lkvm/crc32c.h"
#include "unit.h"

/* The check value of the CRC catalogue, and the examples of RFC 3720, B.4 */
START_TEST(known_values)
{
	uint8_t bytes[32];

	ck_assert_uint_eq(crc32c(0, "123456789", 9), 0xe3069283);
	memset(bytes, 0, sizeof(bytes));
	ck_assert_uint_eq(crc32c(0, bytes, sizeof(bytes)), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	ck_assert_uint_eq(crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43);
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	ck_assert_uint_eq(crc32c(0, bytes, sizeof(bytes)), 0x46dd794e);
	ck_assert_uint_eq(crc32c(0, NULL, 0), 0);
}
END_TEST

START_TEST(in_pieces)
{
	ck_assert_uint_eq(crc32c(crc32c(0, "1234", 4), "56789", 5), crc32c(0, "123456789", 9));
}
END_TEST

START_TEST(both_ways)
{
	uint8_t bytes[300];

	if (!__builtin_cpu_supports("sse4.2"))
		return; /* crc32c() is the table's then, which the other tests are about */
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * i + i / 7);
	for (size_t len = 0; len <= 64; len++)
		for (size_t at = 0; at < 9; at++)
			ck_assert_uint_eq(crc32c_by_cpu(0x1234, bytes + at, len),
					  crc32c_by_table(0x1234, bytes + at, len));
	ck_assert_uint_eq(crc32c_by_cpu(1, bytes, sizeof(bytes)), crc32c_by_table(1, bytes, sizeof(bytes)));
}
END_TEST

UNIT_MAIN("crc32c", known_values, in_pieces, both_ways)
