/*
 * What a driver can observe of the memory device beyond the core: what is asked of it. Which blocks are plugged is
 * saved with the RAM that they are, as other devices' rings may lie in them (vm/snapshot-plug.c).
 */
#include <errno.h>

#include "mem-internal.h"

struct mem_state {
	uint64_t requested;
};

static const struct state_field fields[] = {
	STATE_ONE(struct mem_state, requested),
};

static int save(void *dev, void *ret_state)
{
	((struct mem_state *)ret_state)->requested = atomic_load(&mem_of(dev)->requested);
	return 0;
}

static int load(void *dev, const void *state)
{
	const uint64_t requested = ((const struct mem_state *)state)->requested;
	struct virtio_mem *m = mem_of(dev);

	if (requested > m->most_bytes || requested % ram_region(m->ram)->block_bytes)
		return -EINVAL;
	atomic_store(&m->requested, requested);
	return 0;
}

const struct state_type mem_state_type = {
	STATE_TYPE("virtio-mem", 1, struct mem_state, fields),
	.save = save,
	.load = load,
};
