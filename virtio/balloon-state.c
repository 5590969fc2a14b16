/*
 * What a driver can observe of the balloon beyond the core: its configuration, and which command id comes next. The
 * buffer for statistics that is here is saved as not taken: the loaded device takes it again, with what is in it.
 */
#include <errno.h>

#include "balloon-internal.h"

struct balloon_state {
	uint32_t target, actual, poison;
	uint32_t reserved;
	uint32_t command, last_command;
};

static const struct state_field fields[] = {
	STATE_ONE(struct balloon_state, target),
	STATE_ONE(struct balloon_state, actual),
	STATE_ONE(struct balloon_state, poison),
	STATE_ONE(struct balloon_state, reserved, .max = 0),
	STATE_ONE(struct balloon_state, command, .max = VIRTIO_BALLOON_CMD_ID_DONE, .since = 2),
	STATE_ONE(struct balloon_state, last_command, .since = 2),
};

static int save(void *dev, void *ret_state)
{
	const struct virtio_balloon *b = balloon_of(dev);
	struct balloon_state *st = ret_state;

	st->target = atomic_load(&b->target);
	st->actual = atomic_load(&b->actual);
	st->poison = atomic_load(&b->poison);
	/* Who has asked is not there when the device goes on elsewhere. */
	st->command = atomic_load(&b->hints.command);
	if (st->command > VIRTIO_BALLOON_CMD_ID_DONE)
		st->command = VIRTIO_BALLOON_CMD_ID_DONE;
	st->last_command = b->hints.last;
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
	atomic_store(&b->hints.command, st->command);
	b->hints.last = st->last_command;
	return 0;
}

const struct state_type balloon_state_type = {
	STATE_TYPE("virtio-balloon", 2, struct balloon_state, fields),
	.save = save,
	.load = load,
};
