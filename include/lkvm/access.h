/*
 * The bytes of a guest access as a number and back. Both host and guest are little endian.
 */
#ifndef LKVM_ACCESS_H
#define LKVM_ACCESS_H

#include <stdint.h>
#include <string.h>

/** access_get() - the value written; @len: 1 to 8 */
static inline uint64_t access_get(const void *data, unsigned len)
{
	uint64_t value = 0;

	memcpy(&value, data, len);
	return value;
}

/** access_put() - the low @len bytes of @value as what the guest reads; @len: 1 to 8 */
static inline void access_put(void *data, unsigned len, uint64_t value)
{
	memcpy(data, &value, len);
}

#endif
