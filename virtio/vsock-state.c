/*
 * What a driver can observe of the socket device beyond the core: the guest's CID. Connections have another end,
 * which is not saved: a guest that goes on from here has none any more, and is told so.
 */
#include "vsock-internal.h"

static const struct state_field fields[] = {
	STATE_ONE(struct vsock_state, guest_cid, .max = VSOCK_LAST_CID),
};

static const char *check(const void *state)
{
	return ((const struct vsock_state *)state)->guest_cid < VSOCK_FIRST_CID ? "guest_cid" : NULL;
}

static int save(void *dev, void *ret_state)
{
	*(struct vsock_state *)ret_state = vsock_of(dev)->st;
	return 0;
}

/* The worker stands still, and tells the driver when it goes on. */
static int load(void *dev, const void *state)
{
	struct vsock *vs = vsock_of(dev);

	if (!vs->cid_fixed)
		vs->st = *(const struct vsock_state *)state;
	vs->owes_event = atomic_load(&vs->dev.status) & VIRTIO_CONFIG_S_DRIVER_OK;
	return 0;
}

const struct state_type vsock_state_type = {
	STATE_TYPE("virtio-vsock", 1, struct vsock_state, fields),
	.check = check,
	.save = save,
	.load = load,
};
