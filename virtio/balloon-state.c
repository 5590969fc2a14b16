/*
 * What a driver can observe of the balloon beyond the core: its configuration. The buffer for statistics that is
 * here is saved as not taken: the loaded device takes it again, with what is in it.
 */
#include <errno.h>

#include "balloon-internal.h"

struct balloon_state {
	uint32_t target, actual, poison;
	uint32_t reserved;
};

static const struct state_field fields[] = {
	STATE_ONE(struct balloon_state, target),
	STATE_ONE(struct balloon_state, actual),
	STATE_ONE(struct balloon_state, poison),
	STATE_ONE(struct balloon_state, reserved, .max = 0),
};

static int save(void *dev, void *ret_state)
{
	const struct virtio_balloon *b = balloon_of(dev);
	struct balloon_state *st = ret_state;

	st->target = atomic_load(&b->target);
	st->actual = atomic_load(&b->actual);
	st->poison = atomic_load(&b->poison);
	return 0;
}

static int load(void *dev, const void *state)
{
	struct virtio_balloon *b = balloon_of(dev);
	const struct balloon_state *st = state;

	if (st->target > ram_bytes(b->ram) / BALLOON_PAGE_BYTES)
		return -EINVAL;
	atomic_store(&b->target, st->target);
	atomic_store(&b->actual, st->actual);
	atomic_store(&b->poison, st->poison);
	return 0;
}

const struct state_type balloon_state_type = {
	STATE_TYPE("virtio-balloon", 1, struct balloon_state, fields),
	.save = save,
	.load = load,
};
