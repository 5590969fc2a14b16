/*
 * What a driver can observe of the 9P device beyond the core: its session with the server. A guest that
 * has the folder mounted has fids, and those are not saved, for the reasons in fs-state.c: who looks at
 * the state sees how many there are, and loading is refused by their name.
 */
#include <errno.h>
#include <string.h>

#include "p9-internal.h"

struct p9_state {
	uint8_t tag[FS_TAG_BYTES];
	uint32_t read_only;
	uint32_t msize;   /* of one message, as the guest and the server have agreed; 0: not yet */
	uint32_t fids;    /* files that the guest has a number for */
	uint32_t waiters; /* for locks */
};

static const struct state_field fields[] = {
	STATE_ARRAY(struct p9_state, tag),
	STATE_ONE(struct p9_state, read_only, .max = 1),
	STATE_ONE(struct p9_state, msize, .max = P9_MSIZE_MAX),
	STATE_ONE(struct p9_state, fids),
	STATE_ONE(struct p9_state, waiters),
};

static const char *check(const void *state)
{
	const struct p9_state *st = state;

	if (st->fids)
		return "fids";
	return st->waiters ? "waiters" : NULL;
}

static int save(void *dev, void *ret_state)
{
	const struct virtio_p9 *d = p9_of(dev);
	struct p9_state *st = ret_state;
	struct p9_counts counts;

	memcpy(st->tag, d->config.tag, sizeof(st->tag));
	st->read_only = d->read_only;
	if (!d->p9)
		return 0; /* it is only shown */
	counts = p9_count(d->p9);
	st->msize = counts.msize;
	st->fids = counts.fids;
	st->waiters = counts.waiters;
	return 0;
}

static int load(void *dev, const void *state)
{
	struct virtio_p9 *d = p9_of(dev);
	const struct p9_state *st = state;

	if (memcmp(st->tag, d->config.tag, sizeof(st->tag)) || st->read_only != d->read_only)
		return -ENODEV;
	if (st->msize && st->msize < P9_MSIZE_MIN)
		return -EINVAL;
	/* A reset ends the session. */
	if (st->msize && !(atomic_load(&d->share.dev.status) & VIRTIO_CONFIG_S_DRIVER_OK))
		return -EINVAL;
	if (!d->p9)
		return 0;
	p9_reset(d->p9);
	p9_go_on(d->p9, st->msize);
	return 0;
}

const struct state_type p9_state_type = {
	STATE_TYPE("virtio-9p", 1, struct p9_state, fields),
	.check = check,
	.save = save,
	.load = load,
};
