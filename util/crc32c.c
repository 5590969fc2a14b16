/* CRC-32C: by the CPU where it can, else half a byte at a time. See lkvm/crc32c.h. */
#include "lkvm/crc32c.h"

#include <string.h>

/* Of each value of four bits, by the reflected polynomial 0x82f63b78 */
static const uint32_t table[16] = {
	0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
	0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
	0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
	0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

__attribute__((target("sse4.2"))) uint32_t crc32c_by_cpu(uint32_t seed, const void *bytes, size_t len)
{
	const uint8_t *at = bytes, *end = at + len;
	uint64_t crc = ~seed, word;

	for (; end - at >= 8; at += 8) {
		memcpy(&word, at, sizeof(word));
		crc = __builtin_ia32_crc32di(crc, word);
	}
	while (at < end)
		crc = __builtin_ia32_crc32qi((uint32_t)crc, *at++);
	return ~(uint32_t)crc;
}

uint32_t crc32c_by_table(uint32_t seed, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	uint32_t crc = ~seed;

	for (size_t i = 0; i < len; i++) {
		crc ^= at[i];
		crc = crc >> 4 ^ table[crc & 0xf];
		crc = crc >> 4 ^ table[crc & 0xf];
	}
	return ~crc;
}

uint32_t crc32c(uint32_t seed, const void *bytes, size_t len)
{
	return __builtin_cpu_supports("sse4.2") ? crc32c_by_cpu(seed, bytes, len) : crc32c_by_table(seed, bytes, len);
}
