/*
 * What a driver can observe of virtio-input beyond the core: what it has selected, lights, and which keys are down.
 * What waits in the ring is lost, as it is where nobody takes it; keys come up when the loaded device goes on.
 */
#include <string.h>

#include "input-internal.h"

struct input_state {
	uint8_t select, subsel, leds;
	uint8_t reserved[5];
	uint64_t down[INPUT_WORDS];
};

static const struct state_field fields[] = {
	STATE_ONE(struct input_state, select),
	STATE_ONE(struct input_state, subsel),
	STATE_ONE(struct input_state, leds, .max = 7),
	STATE_ARRAY(struct input_state, reserved),
	STATE_ARRAY(struct input_state, down),
};

/* A key whose event waits may be down for the guest. */
static int save(void *dev, void *ret_state)
{
	struct virtio_input *in = input_of(dev);
	struct input_state *st = ret_state;

	pthread_mutex_lock(&in->lock);
	st->select = in->select;
	st->subsel = in->subsel;
	st->leds = in->leds;
	memcpy(st->down, in->down, sizeof(st->down));
	for (uint32_t i = 0; i < in->n; i++) {
		const struct input_item *e = &in->ring[(in->head + i) % INPUT_RING];

		if (e->type == EV_KEY)
			st->down[e->code / 64] |= 1ULL << e->code % 64;
	}
	pthread_mutex_unlock(&in->lock);
	return 0;
}

static int load(void *dev, const void *state)
{
	struct virtio_input *in = input_of(dev);
	const struct input_state *st = state;

	pthread_mutex_lock(&in->lock);
	in->select = st->select;
	in->subsel = st->subsel;
	in->leds = st->leds;
	in->n = in->head = 0;
	memcpy(in->down, st->down, sizeof(in->down));
	pthread_mutex_unlock(&in->lock);
	return 0;
}

const struct state_type input_state_type = {
	STATE_TYPE("virtio-input", 1, struct input_state, fields),
	.save = save,
	.load = load,
};
