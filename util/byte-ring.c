/* Bytes into and out of a ring; see byte-ring.h. */
#include "lkvm/byte-ring.h"

#include <string.h>

/* How many of @len bytes lie before the ring's end; the others are at its begin. */
static size_t before_end(size_t size, size_t at, size_t len)
{
	return len < size - at ? len : size - at;
}

void byte_ring_put(uint8_t *ring, size_t size, uint64_t at, const void *src, size_t len)
{
	const size_t from = (size_t)(at % size), first = before_end(size, from, len);

	memcpy(ring + from, src, first);
	memcpy(ring, (const uint8_t *)src + first, len - first);
}

void byte_ring_get(const uint8_t *ring, size_t size, uint64_t at, void *dst, size_t len)
{
	const size_t from = (size_t)(at % size), first = before_end(size, from, len);

	memcpy(dst, ring + from, first);
	memcpy((uint8_t *)dst + first, ring, len - first);
}
