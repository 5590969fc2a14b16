/*
 * virtio network device. Spec: virtio 1.2, 5.1
 *
 *	guest -> transmit queue -> net-tx.c: header judged on a copy -> net_send()
 *	net_receive() straight into buffers of the receive queue <- net-rx.c <- end is readable, or there are buffers
 *
 * Each queue gets a bounded part of a turn of the worker's loop, so that receiving does not hold up
 * transmission, nor one pair another. A link that the user has taken away loses what comes meanwhile, as a wire does.
 *
 * With vhost the queues of frames are the kernel's, as long as there is a link; the control queue stays ours.
 *
 * While it stands still, what was taken off the rings for frames to come is put back, and no frame is lost but one
 * that waits for buffers.
 */
#include "net-internal.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/access.h"

#define BIT(n) (1ULL << (n))

/* ---- a turn of the loop ---- */

bool net_may_pass(struct virtio_net *vn, unsigned index)
{
	if (vn->turn != vn->dev.loop.turn) {
		vn->turn = vn->dev.loop.turn;
		memset(vn->frames, 0, sizeof(vn->frames));
		memset(vn->turn_bytes, 0, sizeof(vn->turn_bytes));
	}
	return vn->frames[index] < NET_TURN_FRAMES && vn->turn_bytes[index] < NET_TURN_BYTES;
}

void net_passed(struct virtio_net *vn, unsigned index, size_t bytes)
{
	vn->frames[index]++;
	vn->turn_bytes[index] += bytes;
}

static void kick(struct virtio_dev *dev, unsigned index)
{
	struct virtio_net *vn = vn_of(dev);

	if (virtio_has(dev, VIRTIO_NET_F_CTRL_VQ) && index == net_control_queue(vn)) {
		net_control_serve(vn);
		net_kernel_follow(vn);
	} else if (index >= net_control_queue(vn)) {
		return; /* a queue that this driver knows nothing of */
	} else if (index & 1) {
		net_tx_serve(vn, index / 2);
	} else {
		net_rx_serve(vn->rx[index / 2]);
	}
}

/* ---- what the end says ---- */

static void readable(struct net *net, unsigned pair)
{
	struct virtio_net *vn = net->ctx;

	vn->rx[pair]->ready = true;
	net_rx_serve(vn->rx[pair]);
}

static void writable(struct net *net, unsigned pair)
{
	struct virtio_net *vn = net->ctx;

	if (!vn->steer)
		net_tx_room(vn, pair);
	else
		for (unsigned i = 0; i < net_pairs(vn); i++)
			net_tx_room(vn, i);
}

static void link_changed(struct net *net)
{
	struct virtio_net *vn = net->ctx;

	virtio_config_begin(&vn->dev);
	vn->link_up = net->link_up;
	virtio_config_end(&vn->dev);
}

/* ---- what the driver has negotiated ---- */

static const struct {
	uint64_t guest, host; /* features, of what comes and of what is sent */
	unsigned offload;
} offload_features[] = {
	{ BIT(VIRTIO_NET_F_GUEST_CSUM), BIT(VIRTIO_NET_F_CSUM), NET_CSUM },
	{ BIT(VIRTIO_NET_F_GUEST_TSO4), BIT(VIRTIO_NET_F_HOST_TSO4), NET_TSO4 },
	{ BIT(VIRTIO_NET_F_GUEST_TSO6), BIT(VIRTIO_NET_F_HOST_TSO6), NET_TSO6 },
	{ BIT(VIRTIO_NET_F_GUEST_ECN), BIT(VIRTIO_NET_F_HOST_ECN), NET_ECN },
	{ BIT(VIRTIO_NET_F_GUEST_USO4) | BIT(VIRTIO_NET_F_GUEST_USO6), BIT(VIRTIO_NET_F_HOST_USO), NET_USO },
};

unsigned net_guest_offloads(uint64_t features)
{
	unsigned offloads = 0;

	for (size_t i = 0; i < ARRAY_SIZE(offload_features); i++)
		if (!(offload_features[i].guest & ~features))
			offloads |= offload_features[i].offload;
	return offloads;
}

unsigned net_host_offloads(uint64_t features)
{
	unsigned offloads = 0;

	for (size_t i = 0; i < ARRAY_SIZE(offload_features); i++)
		if (features & offload_features[i].host)
			offloads |= offload_features[i].offload;
	return offloads;
}

int net_apply_offloads(struct virtio_net *vn, unsigned offloads)
{
	const struct net_ops *ops = vn->net->ops;
	int err = ops->set_offloads ? ops->set_offloads(vn->net, offloads) : 0;

	if (!err)
		vn->offloads = offloads;
	return err;
}

int net_apply_pairs(struct virtio_net *vn, unsigned pairs)
{
	const struct net_ops *ops = vn->net->ops;
	int err = ops->set_pairs && !vn->steer ? ops->set_pairs(vn->net, pairs) : 0;

	if (err)
		return err;
	vn->pairs = pairs;
	net_kernel_follow(vn);
	for (unsigned i = 0; i < pairs; i++) {
		vn->rx[i]->ready = true;
		virtio_again(&vn->dev, 2 * i);
	}
	return 0;
}

/* A feature that stands on one of others. Spec: 5.1.3.1 */
static const struct {
	unsigned feature;
	uint64_t needs;
} needed[] = {
	{ VIRTIO_NET_F_GUEST_TSO4, BIT(VIRTIO_NET_F_GUEST_CSUM) },
	{ VIRTIO_NET_F_GUEST_TSO6, BIT(VIRTIO_NET_F_GUEST_CSUM) },
	{ VIRTIO_NET_F_GUEST_USO4, BIT(VIRTIO_NET_F_GUEST_CSUM) },
	{ VIRTIO_NET_F_GUEST_USO6, BIT(VIRTIO_NET_F_GUEST_CSUM) },
	{ VIRTIO_NET_F_GUEST_ECN, BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) },
	{ VIRTIO_NET_F_HOST_TSO4, BIT(VIRTIO_NET_F_CSUM) },
	{ VIRTIO_NET_F_HOST_TSO6, BIT(VIRTIO_NET_F_CSUM) },
	{ VIRTIO_NET_F_HOST_USO, BIT(VIRTIO_NET_F_CSUM) },
	{ VIRTIO_NET_F_HOST_ECN, BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) },
	{ VIRTIO_NET_F_CTRL_RX, BIT(VIRTIO_NET_F_CTRL_VQ) },
	{ VIRTIO_NET_F_CTRL_RX_EXTRA, BIT(VIRTIO_NET_F_CTRL_VQ) },
	{ VIRTIO_NET_F_CTRL_VLAN, BIT(VIRTIO_NET_F_CTRL_VQ) },
	{ VIRTIO_NET_F_GUEST_ANNOUNCE, BIT(VIRTIO_NET_F_CTRL_VQ) },
	{ VIRTIO_NET_F_MQ, BIT(VIRTIO_NET_F_CTRL_VQ) },
	{ VIRTIO_NET_F_CTRL_MAC_ADDR, BIT(VIRTIO_NET_F_CTRL_VQ) },
	{ VIRTIO_NET_F_RSS, BIT(VIRTIO_NET_F_CTRL_VQ) },
};

static bool features_ok(const struct virtio_dev *dev, uint64_t features)
{
	(void)dev;
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if ((features & BIT(needed[i].feature)) && !(features & needed[i].needs))
			return false;
	return true;
}

/* ---- life of a driver ---- */

int net_attach_end(struct virtio_net *vn)
{
	if (vn->attached)
		return 0;
	vn->attached = true;
	return net_attach(vn->net, &vn->dev.loop);
}

void net_detach_end(struct virtio_net *vn)
{
	if (vn->attached)
		net_detach(vn->net, &vn->dev.loop);
	vn->attached = false;
}

static int activate(struct virtio_dev *dev)
{
	struct virtio_net *vn = vn_of(dev);
	int err;

	net_filter_reset(&vn->filter, dev->driver_features);
	err = vn->kernel ? net_kernel_activate(vn) : net_attach_end(vn);
	if (!err)
		err = net_apply_offloads(vn, net_guest_offloads(dev->driver_features));
	if (!err)
		err = net_apply_pairs(vn, 1);
	return err;
}

void net_put_back(struct virtio_net *vn, unsigned index, bool again)
{
	if (index >= 2 * net_pairs(vn))
		return;
	if (index & 1)
		vn->tx[index / 2].is_stuck = false;
	else
		net_rx_forget(vn->rx[index / 2]);
	if (again)
		virtio_put_back(&vn->dev, index);
}

static void drain(struct virtio_dev *dev, int index)
{
	struct virtio_net *vn = vn_of(dev);

	if (index >= 0) {
		net_put_back(vn, (unsigned)index, false);
		return;
	}
	for (unsigned i = 0; i < 2 * net_pairs(vn); i++)
		net_put_back(vn, i, false);
	net_kernel_deactivate(vn);
	net_detach_end(vn);
}

static void serve_all(struct virtio_net *vn)
{
	for (unsigned i = 0; i < net_pairs_in_use(vn); i++) {
		net_tx_room(vn, i);
		net_rx_serve(vn->rx[i]);
	}
}

static void ask_to_announce(struct virtio_net *vn)
{
	virtio_config_begin(&vn->dev);
	vn->announce = true;
	virtio_config_end(&vn->dev);
	vn->moved = false;
}

static void hold(struct virtio_dev *dev, bool on)
{
	struct virtio_net *vn = vn_of(dev);

	if (!on) {
		if (vn->moved)
			ask_to_announce(vn);
		serve_all(vn);
		return;
	}
	for (unsigned i = 0; i < 2 * net_pairs(vn); i++)
		net_put_back(vn, i, true);
}

static void reset(struct virtio_dev *dev)
{
	struct virtio_net *vn = vn_of(dev);

	net_kernel_deactivate(vn);
	net_detach_end(vn);
	net_steer_reset(vn);
	vn->pairs = 0;
	vn->offloads = 0;
	vn->moved = false;
	for (unsigned i = 0; i < net_pairs(vn); i++) {
		net_put_back(vn, 2 * i, false);
		net_put_back(vn, 2 * i + 1, false);
		vn->rx[i]->frame_bytes = 0;
		vn->rx[i]->ready = false;
	}
	pthread_mutex_lock(&dev->event_lock);
	memcpy(vn->mac, vn->own_mac, sizeof(vn->mac));
	vn->announce = false;
	pthread_mutex_unlock(&dev->event_lock);
}

static uint64_t config_read(struct virtio_dev *dev, unsigned off, unsigned width)
{
	const struct virtio_net *vn = vn_of(dev);
	struct virtio_net_config config = {
		.status = htole16((uint16_t)((net_is_linked(vn) ? VIRTIO_NET_S_LINK_UP : 0) |
					     (vn->announce ? VIRTIO_NET_S_ANNOUNCE : 0))),
		.max_virtqueue_pairs = htole16((uint16_t)net_pairs(vn)),
		.mtu = htole16((uint16_t)vn->net->mtu),
		.rss_max_key_size = NET_KEY_BYTES,
		.rss_max_indirection_table_length = htole16(NET_STEER_TABLE),
		.supported_hash_types = htole32(NET_HASH_TYPES),
	};

	memcpy(config.mac, vn->mac, sizeof(config.mac));
	return access_get((const uint8_t *)&config + off, width);
}

#define NET_TYPE                                                                                                  \
	.name = "net", .id = VIRTIO_ID_NET, .queue_size = NET_QUEUE_SIZE, .features_ok = features_ok,             \
	.activate = activate, .kick = kick, .drain = drain, .hold = hold, .reset = reset,                         \
	.config_read = config_read, .state = &net_state_type

static const struct virtio_type net_type = { NET_TYPE };
static const struct virtio_type net_vhost_type = {
	NET_TYPE,
	.watch = net_kernel_watch,
	.irqs_moved = net_kernel_irqs_moved,
};

/* ---- for the machine ---- */

struct net *virtio_net_end(struct virtio_dev *dev)
{
	return vn_of(dev)->net;
}

void virtio_net_mac(struct virtio_dev *dev, uint8_t ret[NET_MAC_BYTES])
{
	pthread_mutex_lock(&dev->event_lock);
	memcpy(ret, vn_of(dev)->mac, NET_MAC_BYTES);
	pthread_mutex_unlock(&dev->event_lock);
}

void virtio_net_set_link(struct virtio_dev *dev, bool up)
{
	struct virtio_net *vn = vn_of(dev);

	if (atomic_load(&vn->unplugged) == !up)
		return;
	virtio_config_begin(dev);
	atomic_store(&vn->unplugged, !up);
	virtio_config_end(dev);
	net_kernel_plug(vn);
}

bool virtio_net_link(struct virtio_dev *dev)
{
	bool up;

	pthread_mutex_lock(&dev->event_lock);
	up = net_is_linked(vn_of(dev));
	pthread_mutex_unlock(&dev->event_lock);
	return up;
}

static uint64_t offered(const struct net *net, bool packed)
{
	uint64_t features = BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_STATUS) |
			    BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) |
			    BIT(VIRTIO_NET_F_CTRL_VLAN) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |
			    BIT(VIRTIO_NET_F_GUEST_ANNOUNCE);

	for (size_t i = 0; i < ARRAY_SIZE(offload_features); i++)
		if (net->offloads & offload_features[i].offload)
			features |= offload_features[i].guest | offload_features[i].host;
	if (net->offloads & NET_CSUM)
		features |= BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
	if (net->max_pairs > 1 || net->steered > 1)
		features |= BIT(VIRTIO_NET_F_MQ);
	if (net->steered)
		features |= BIT(VIRTIO_NET_F_RSS) | BIT(VIRTIO_NET_F_HASH_REPORT);
	if (net->mtu)
		features |= BIT(VIRTIO_NET_F_MTU);
	if (packed)
		features |= BIT(VIRTIO_F_RING_PACKED);
	return features;
}

static int make_queues(struct virtio_net *vn)
{
	int err = net_steer_new(vn);

	for (unsigned i = 0; !err && i < net_pairs(vn); i++) {
		err = net_rx_new(vn, i);
		vn->tx[i].spare = malloc(sizeof(*vn->tx[i].spare));
		if (!vn->tx[i].spare)
			err = -ENOMEM;
	}
	return err;
}

int virtio_net_new(const struct ram *ram, const char *name, struct net *net, struct virtio_dev **ret)
{
	struct virtio_net *vn = calloc(1, sizeof(*vn));
	int err, made;

	if (!vn) {
		net_close(net);
		return -ENOMEM;
	}
	vn->net = net;
	vn->link_up = net->link_up;
	net->ctx = vn;
	net->readable = readable;
	net->writable = writable;
	net->link_changed = link_changed;
	memcpy(vn->own_mac, net->cfg->mac, sizeof(vn->own_mac));
	memcpy(vn->mac, net->cfg->mac, sizeof(vn->mac));
	vn->dev.type = net->vhost ? &net_vhost_type : &net_type;
	vn->dev.name = name;
	vn->dev.ram = ram;
	vn->dev.n_queues = 2 * net_pairs(vn) + 1;
	vn->dev.config_bytes = net->steered ? sizeof(struct virtio_net_config) : offsetof(struct virtio_net_config, speed);
	vn->dev.device_features = offered(net, net->cfg->packed);
	made = make_queues(vn);
	if (!made && net->vhost)
		made = net_kernel_new(vn);
	err = virtio_init(&vn->dev);
	if (!err)
		err = made;
	vn->dev.device_features = net_kernel_features(vn, vn->dev.device_features);
	if (err)
		virtio_net_free(&vn->dev);
	else
		*ret = &vn->dev;
	return err;
}

void virtio_net_free(struct virtio_dev *dev)
{
	struct virtio_net *vn;

	if (!dev)
		return;
	vn = vn_of(dev);
	virtio_fini(dev); /* joins the worker, who uses all that follows */
	for (unsigned i = 0; i < NET_MAX_PAIRS; i++) {
		net_rx_free(vn->rx[i]);
		free(vn->tx[i].spare);
	}
	net_kernel_free(vn);
	free(vn->steer);
	net_close(vn->net);
	free(vn);
}
