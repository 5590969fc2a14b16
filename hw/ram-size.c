/* How much RAM a guest gets: the default and the grammar of -m; see ram.h. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/ram.h"

#define RAM_MIN_BYTES (64 * MIB)
#define PAGE_BYTES    4096ULL /* of the x86 guest, and of every host that can run one */

uint64_t ram_default_bytes(unsigned cpus, uint64_t host_bytes)
{
	uint64_t want = 64 * MIB * ((uint64_t)cpus + 3);
	/* Four fifths without overflow: 0.8 in whole numbers. */
	uint64_t most = host_bytes / 5 * 4 + host_bytes % 5 * 4 / 5;

	if (want > most)
		want = ALIGN_DOWN(most, PAGE_BYTES);
	return want < RAM_MIN_BYTES ? RAM_MIN_BYTES : want;
}

static int unit_shift(char unit)
{
	static const char units[] = "bkmgtp";
	const char *at;

	if (!unit)
		return 20;
	at = strchr(units, unit | 0x20);
	return at ? (int)(at - units) * 10 : -1;
}

enum ram_size_error ram_parse_size(const char *arg, uint64_t *ret)
{
	size_t digits = strspn(arg, "0123456789");
	int shift = unit_shift(arg[digits]);
	uint64_t value = 0;
	bool too_large = false;

	if (!digits || shift < 0 || (arg[digits] && arg[digits + 1]))
		return RAM_SIZE_SPECIFIER;
	for (size_t i = 0; i < digits; i++)
		too_large |= __builtin_mul_overflow(value, 10, &value) ||
			     __builtin_add_overflow(value, (uint64_t)(arg[i] - '0'), &value);
	if (!too_large && !value)
		return RAM_SIZE_ZERO;
	if (too_large || value > UINT64_MAX >> shift)
		return RAM_SIZE_OVERFLOW;
	value <<= shift;
	*ret = value;
	if (value < RAM_MIN_BYTES)
		return RAM_SIZE_SMALL;
	return value % PAGE_BYTES ? RAM_SIZE_PAGES : RAM_SIZE_OK;
}

uint64_t ram_host_bytes(const char **ret_failed)
{
	long pages = sysconf(_SC_PHYS_PAGES);
	long page_bytes = sysconf(_SC_PAGE_SIZE);
	uint64_t bytes;

	*ret_failed = pages <= 0 ? "_SC_PHYS_PAGES" : page_bytes <= 0 ? "_SC_PAGE_SIZE" : NULL;
	if (*ret_failed)
		return 0;
	if (__builtin_mul_overflow((uint64_t)pages, (uint64_t)page_bytes, &bytes))
		return UINT64_MAX;
	return bytes;
}
