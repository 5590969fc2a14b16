/* A length of time for people; see lkvm/clock.h. */
#include <inttypes.h>
#include <stdio.h>

#include "lkvm/clock.h"
#include "lkvm/types.h"

const char *duration_text(uint64_t ns, char *buf, size_t cap)
{
	static const struct {
		uint64_t s;
		char unit;
	} part[] = { { 86400, 'd' }, { 3600, 'h' }, { 60, 'm' }, { 1, 's' } };
	uint64_t s = ns / NS_PER_S;
	unsigned i = 0;

	while (i < ARRAY_SIZE(part) - 1 && s < part[i].s)
		i++;
	if (i == ARRAY_SIZE(part) - 1)
		snprintf(buf, cap, "%" PRIu64 "s", s);
	else
		snprintf(buf, cap, "%" PRIu64 "%c%02" PRIu64 "%c", s / part[i].s, part[i].unit,
			 s % part[i].s / part[i + 1].s, part[i + 1].unit);
	return buf;
}
