/*
 * What a driver can observe of the 9P device beyond the core: which folder it is, and its session with the
 * server, which saves that itself (fs/p9-state.c).
 */
#include <errno.h>
#include <string.h>

#include "p9-internal.h"

struct p9_state {
	uint8_t tag[FS_TAG_BYTES];
	uint32_t read_only;
};

static const struct state_field fields[] = {
	STATE_ARRAY(struct p9_state, tag),
	STATE_ONE(struct p9_state, read_only, .max = 1),
};

static int save(void *dev, void *ret_state)
{
	const struct virtio_p9 *d = p9_of(dev);
	struct p9_state *st = ret_state;

	memcpy(st->tag, d->config.tag, sizeof(st->tag));
	st->read_only = d->read_only;
	return 0;
}

static int load(void *dev, const void *state)
{
	const struct virtio_p9 *d = p9_of(dev);
	const struct p9_state *st = state;

	if (memcmp(st->tag, d->config.tag, sizeof(st->tag)) || st->read_only != d->read_only)
		return -ENODEV;
	return 0;
}

const struct state_type p9_state_type = {
	STATE_TYPE("virtio-9p", 1, struct p9_state, fields),
	.save = save,
	.load = load,
};

int p9_save_session(struct virtio_dev *dev, struct state_buf *buf)
{
	struct virtio_p9 *d = p9_of(dev);

	return d->p9 ? p9_save(d->p9, buf) : 0; /* it is only shown */
}

int p9_load_session(struct virtio_dev *dev, struct state_reader *in)
{
	struct virtio_p9 *d = p9_of(dev);
	int err = d->p9 ? p9_load(d->p9, in) : 0;

	/* A reset ends the session. */
	if (err || !d->p9 || !p9_count(d->p9).msize || atomic_load(&dev->status) & VIRTIO_CONFIG_S_DRIVER_OK)
		return err;
	p9_reset(d->p9);
	return state_refuse(in, -EINVAL, "9p: it is in use by a driver that has not begun");
}
