/* virtio socket device; see virtio-vsock.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/access.h"
#include "vsock-internal.h"

#define QUEUE_SIZE 256
#define F_STREAM   0 /* 5.10.3 */

void vsock_serve(struct vsock *vs)
{
	do {
		rx_serve(vs);
	} while (conns_accept(vs));
}

static void listener_ready(struct loop_source *src, uint32_t events)
{
	struct listener *l = container_of(src, struct listener, src);

	(void)events;
	l->waiting = true;
	if (!l->vs->dev.parked)
		vsock_serve(l->vs);
}

/* ---- the device ---- */

static void kick(struct virtio_dev *dev, unsigned index)
{
	struct vsock *vs = vsock_of(dev);

	if (index == EVENT_QUEUE) {
		event_serve(vs);
		return;
	}
	if (index == TX_QUEUE)
		tx_serve(vs);
	vsock_serve(vs);
}

static int activate(struct virtio_dev *dev)
{
	struct vsock *vs = vsock_of(dev);
	int err = 0;

	for (unsigned i = 0; !err && i < VSOCK_KINDS; i++)
		err = loop_add(&dev->loop, &vs->listener[i].src, EPOLLIN | EPOLLET);
	return err;
}

static void forget_all(struct vsock *vs)
{
	conns_free(vs);
	rx_forget(vs);
	vs->reply.n = 0;
	vs->tx_waits = false;
}

/* -1: the guest's last words; who does not take them at once does not get them. */
static void drain(struct virtio_dev *dev, int index)
{
	struct vsock *vs = vsock_of(dev);

	if (index == RX_QUEUE)
		rx_forget(vs);
	if (index >= 0)
		return;
	tx_serve(vs);
	forget_all(vs);
	for (unsigned i = 0; i < VSOCK_KINDS; i++)
		loop_del(&dev->loop, &vs->listener[i].src);
}

/* Buffers that were taken off the rx ring stay taken: they are saved as not taken. */
static void hold(struct virtio_dev *dev, bool on)
{
	struct vsock *vs = vsock_of(dev);

	if (on)
		return;
	event_serve(vs);
	conns_go_on(vs);
	vsock_serve(vs);
}

/* After drain(), or an activate() that has failed. */
static void reset(struct virtio_dev *dev)
{
	struct vsock *vs = vsock_of(dev);

	forget_all(vs);
	vs->owes_event = false;
}

static uint64_t config_read(struct virtio_dev *dev, unsigned off, unsigned width)
{
	return access_get((const uint8_t *)&vsock_of(dev)->st.guest_cid + off, width);
}

static const struct virtio_type vsock_type = {
	.name = "vsock",
	.id = VIRTIO_ID_VSOCK,
	.queue_size = QUEUE_SIZE,
	.activate = activate,
	.kick = kick,
	.drain = drain,
	.hold = hold,
	.reset = reset,
	.config_read = config_read,
	.state = &vsock_state_type,
	.retakes = true,
};

/* ---- life ---- */

static void init_listeners(struct vsock *vs)
{
	for (unsigned i = 0; i < VSOCK_KINDS; i++)
		vs->listener[i] = (struct listener){
			.src = { vs->has_host ? vs->host.fd[i] : -1, listener_ready },
			.vs = vs,
			.kind = i,
		};
}

int virtio_vsock_new(const struct ram *ram, const char *name, const struct vsock_config *cfg, uint32_t cid,
		     struct vsock_host *host, struct virtio_dev **ret)
{
	struct vsock *vs = calloc(1, sizeof(*vs));
	int err;

	if (!vs)
		return -ENOMEM;
	vs->dev = (struct virtio_dev){
		.type = &vsock_type,
		.name = name,
		.ram = ram,
		.n_queues = N_QUEUES,
		.config_bytes = sizeof(struct virtio_vsock_config),
		.device_features = 1ULL << F_STREAM | 1ULL << VIRTIO_VSOCK_F_SEQPACKET |
				   (uint64_t)cfg->packed << VIRTIO_F_RING_PACKED,
	};
	TAILQ_INIT(&vs->all);
	TAILQ_INIT(&vs->turns);
	vs->st.guest_cid = cid;
	vs->cid_fixed = cfg->cid;
	vs->next_port = FIRST_PORT;
	err = virtio_init(&vs->dev);
	if (err) {
		virtio_vsock_free(&vs->dev);
		return err;
	}
	vs->has_host = host;
	if (host)
		vs->host = *host;
	init_listeners(vs);
	*ret = &vs->dev;
	return 0;
}

void virtio_vsock_free(struct virtio_dev *dev)
{
	struct vsock *vs;

	if (!dev)
		return;
	vs = vsock_of(dev);
	virtio_fini(dev); /* joins the worker, who uses all that follows */
	if (vs->has_host)
		vsock_host_close(&vs->host);
	free(vs->spare);
	free(vs);
}

const struct vsock_host *virtio_vsock_host(const struct virtio_dev *dev)
{
	return &container_of(dev, const struct vsock, dev)->host;
}

uint32_t virtio_vsock_cid(struct virtio_dev *dev)
{
	return (uint32_t)vsock_of(dev)->st.guest_cid;
}

void virtio_vsock_stats(const struct virtio_dev *dev, struct vsock_stats *ret)
{
	const struct vsock *vs = container_of(dev, const struct vsock, dev);

	*ret = (struct vsock_stats){
		.connections = atomic_load(&vs->connections),
		.opened = atomic_load(&vs->opened),
		.to_guest = atomic_load(&vs->to_guest),
		.to_host = atomic_load(&vs->to_host),
	};
}
