/* Where the memory of each NUMA node is; see lkvm/x86/numa.h. */
#include "lkvm/x86/numa.h"

static uint64_t at_most(uint64_t value, uint64_t most)
{
	return value < most ? value : most;
}

unsigned numa_ranges(const struct numa *numa, struct numa_range ret[NUMA_MAX_RANGES])
{
	uint64_t at = 0;
	unsigned n = 0;

	for (unsigned node = 0; node < numa->n; node++) {
		uint64_t left = numa->bytes[node];

		while (left) {
			uint64_t room = at < RAM_GAP_START ? RAM_GAP_START - at : UINT64_MAX - at;

			ret[n] = (struct numa_range){ .node = node, .start = at, .bytes = at_most(left, room) };
			at += ret[n].bytes;
			left -= ret[n++].bytes;
			if (at == RAM_GAP_START)
				at = RAM_GAP_END;
		}
	}
	return n;
}

bool numa_has_cpu(const struct numa *numa, unsigned node)
{
	for (unsigned i = 0; i < numa->n_cpus; i++)
		if (numa->node[i] == node)
			return true;
	return false;
}
