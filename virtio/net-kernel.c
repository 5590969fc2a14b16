/*
 * Queues of frames that vhost-net serves, a part of the host's kernel; see net-internal.h.
 *
 *	guest notifies -> ioeventfd = kick --> vhost-net's own thread <-> the tap
 *	guest is interrupted <- irqfd = call <-------'
 *
 * It reads and writes the rings and the guest's memory by itself. What is told to it: where RAM is (set_memory()), the
 * ring, the eventfds, and the tap, with which it begins. A queue is its own from start() to stop(), in which it says
 * how far it has come; in between no other thread touches the ring. So a queue can change hands at any time: the
 * worker has it while the device stands still, while there is no link and frames are to be lost, and, until the next
 * reset, after vhost-net has met something that it cannot do (a buffer beside RAM, a ring that is no good): what is
 * to become of that is then decided where it always is.
 *
 * Over MMIO, and over PCI without MSI-X, an interrupt is more than an eventfd: the worker hears of it, and raises it.
 */
#include "net-internal.h"

#include <errno.h>
#include <linux/vhost.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lkvm/event.h"
#include "lkvm/log.h"

#define BIT(n) (1ULL << (n))

/* Of all features those of which it must know. */
#define ITS_FEATURES                                                                                              \
	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX) |              \
	 BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_NET_F_MRG_RXBUF))

struct kernel_queue {
	struct virtio_net *vn;
	unsigned index;
	bool watched;            /* it is live, and the device does not stand still */
	struct loop_source call; /* eventfd: it wants to interrupt, and we are to do it */
};

struct net_kernel {
	struct virtio_net *vn;
	bool active; /* a driver is there */
	bool failed; /* until the next reset */
	struct loop_source plug;  /* eventfd: the link may be another */
	struct loop_source error; /* eventfd: it has met something that it cannot do */
	struct ratelimit warning;
	struct kernel_queue queue[2 * NET_MAX_PAIRS + 1]; /* the last is the control queue, never its own */
};

static int tell(const struct virtio_net *vn, unsigned index, unsigned long request, const void *arg)
{
	return ioctl(vn->net->vhost->fd[index / 2], request, arg) ? -errno : 0;
}

static void failed(struct virtio_net *vn, const char *why)
{
	vn->kernel->failed = true;
	if (ratelimit_ok(&vn->kernel->warning))
		log_warn("%s: vhost-net %s: lkvm moves the frames until the driver resets the device", vn->dev.name, why);
}

/* ---- a queue changes hands ---- */

static int set_file(struct virtio_net *vn, unsigned index, unsigned long request, int fd)
{
	const struct vhost_vring_file file = { index & 1, fd };

	return tell(vn, index, request, &file);
}

static int set_call(struct virtio_net *vn, unsigned index)
{
	const int fd = virtio_queue_irq_fd(&vn->dev, index);

	return set_file(vn, index, VHOST_SET_VRING_CALL, fd < 0 ? vn->kernel->queue[index].call.fd : fd);
}

static void called(struct virtio_net *vn, unsigned index)
{
	if (event_clear(vn->kernel->queue[index].call.fd))
		vn->dev.transport_ops->queue_irq(&vn->dev, index);
}

/* The tap first: then nothing of it is on its way any more. */
static void let_go(struct virtio_net *vn, unsigned index)
{
	set_file(vn, index, VHOST_NET_SET_BACKEND, -1);
	set_file(vn, index, VHOST_SET_VRING_KICK, -1);
	set_file(vn, index, VHOST_SET_VRING_CALL, -1);
	set_file(vn, index, VHOST_SET_VRING_ERR, -1);
	called(vn, index);
}

static int set_ring(struct virtio_net *vn, unsigned index)
{
	const struct virtq *vq = &vn->dev.queue[index].vq;
	const struct vhost_vring_state size = { index & 1, vq->setup.size }, base = { index & 1, vq->next_used };
	const struct vhost_vring_addr ring = {
		.index = index & 1,
		.desc_user_addr = (uintptr_t)vq->desc,
		.avail_user_addr = (uintptr_t)vq->avail,
		.used_user_addr = (uintptr_t)vq->used,
	};
	int err = tell(vn, index, VHOST_SET_VRING_NUM, &size);

	if (!err)
		err = tell(vn, index, VHOST_SET_VRING_BASE, &base);
	return err ? err : tell(vn, index, VHOST_SET_VRING_ADDR, &ring);
}

static int start(struct virtio_net *vn, unsigned index)
{
	const struct net *net = vn->net;
	int err;

	net_put_back(vn, index, true);
	err = set_ring(vn, index);
	if (!err)
		err = set_file(vn, index, VHOST_SET_VRING_KICK, vn->dev.queue[index].kick.fd);
	if (!err)
		err = set_call(vn, index);
	if (!err)
		err = set_file(vn, index, VHOST_SET_VRING_ERR, vn->kernel->error.fd);
	if (!err)
		err = set_file(vn, index, VHOST_NET_SET_BACKEND, net->ops->descriptor(net, index / 2));
	if (err)
		let_go(vn, index);
	else
		vn->in_kernel |= 1U << index;
	return err;
}

/* What it has taken it has given back: it copies frames, and keeps none. */
static void stop(struct virtio_net *vn, unsigned index)
{
	struct vhost_vring_state base = { .index = index & 1 };
	int err;

	let_go(vn, index);
	vn->in_kernel &= ~(1U << index);
	err = tell(vn, index, VHOST_GET_VRING_BASE, &base);
	if (err)
		virtio_break(&vn->dev, "vhost-net does not say where queue %u is: %s", index, strerror(-err));
	else
		virtio_queue_moved(&vn->dev, index, (uint16_t)base.num);
}

/* ---- whose it is to be ---- */

static int watch_kick(struct virtio_net *vn, unsigned index)
{
	/* It is readable, as it is never read: what is there already is looked at. */
	return loop_add(&vn->dev.loop, &vn->dev.queue[index].kick, EPOLLIN | EPOLLET);
}

static void take(struct virtio_net *vn, unsigned index)
{
	const int err = watch_kick(vn, index);

	if (err)
		virtio_break(&vn->dev, "queue %u cannot be used: %s", index, strerror(-err));
	if (!(index & 1) && index / 2 < vn->net->max_pairs)
		vn->rx[index / 2]->ready = true;
}

static void hand_over(struct virtio_net *vn, unsigned index)
{
	int err;

	loop_del(&vn->dev.loop, &vn->dev.queue[index].kick);
	err = start(vn, index);
	if (!err)
		return;
	take(vn, index);
	failed(vn, strerror(-err));
}

static bool serves(const struct virtio_net *vn)
{
	return !vn->kernel->failed && net_is_linked(vn) &&
	       !atomic_load_explicit(&vn->dev.needs_reset, memory_order_relaxed);
}

/* The control queue stands behind all pairs in use. */
static void follow(struct virtio_net *vn, bool on)
{
	for (unsigned i = 0; i < vn->dev.n_queues; i++) {
		const bool in_kernel = on && i / 2 < vn->pairs && !vn->kernel->failed;

		if (!vn->kernel->queue[i].watched || in_kernel == net_in_kernel(vn, i))
			continue;
		if (in_kernel) {
			hand_over(vn, i);
		} else {
			stop(vn, i);
			take(vn, i);
		}
	}
}

void net_kernel_follow(struct virtio_net *vn)
{
	int err = 0;

	if (!vn->kernel || !vn->kernel->active)
		return;
	follow(vn, serves(vn));
	if (!serves(vn)) {
		follow(vn, false); /* it may have failed on the way */
		err = net_attach_end(vn);
	} else {
		net_detach_end(vn); /* each frame would wake us */
	}
	if (err)
		virtio_break(&vn->dev, "cannot watch the network: %s", strerror(-err));
}

int net_kernel_watch(struct virtio_dev *dev, int fd, bool on)
{
	struct virtio_net *vn = vn_of(dev);
	unsigned i = 0;
	int err;

	while (dev->queue[i].kick.fd != fd)
		i++;
	vn->kernel->queue[i].watched = on;
	if (!on && net_in_kernel(vn, i))
		stop(vn, i);
	else if (!on)
		loop_del(&dev->loop, &dev->queue[i].kick);
	if (!on)
		return 0;
	err = watch_kick(vn, i);
	if (!err)
		net_kernel_follow(vn);
	return err;
}

void net_kernel_irqs_moved(struct virtio_dev *dev)
{
	struct virtio_net *vn = vn_of(dev);
	int err = 0;

	for (unsigned i = 0; i < dev->n_queues; i++) {
		if (net_in_kernel(vn, i) && !err)
			err = set_call(vn, i);
		called(vn, i);
	}
	if (!err)
		return;
	failed(vn, strerror(-err));
	net_kernel_follow(vn);
}

/* ---- what is told ---- */

static void wants_irq(struct loop_source *src, uint32_t events)
{
	const struct kernel_queue *q = container_of(src, struct kernel_queue, call);

	(void)events;
	called(q->vn, q->index);
}

static void plug_moved(struct loop_source *src, uint32_t events)
{
	(void)events;
	event_clear(src->fd);
	net_kernel_follow(container_of(src, struct net_kernel, plug)->vn);
}

static void met_error(struct loop_source *src, uint32_t events)
{
	struct net_kernel *kernel = container_of(src, struct net_kernel, error);

	(void)events;
	if (!event_clear(src->fd) || kernel->failed)
		return;
	failed(kernel->vn, "cannot do what the driver asks for");
	net_kernel_follow(kernel->vn);
}

void net_kernel_plug(struct virtio_net *vn)
{
	if (vn->kernel)
		event_signal(vn->kernel->plug.fd);
}

/* ---- life of a driver ---- */

/*
 * All that it may reach: RAM, and all of the region of blocks that come and go. Where none is it fails, as the host has
 * nothing there. So it does at a frame that is in memory beside RAM, of devices; both are the worker's then.
 */
static int set_memory(struct virtio_net *vn, unsigned pair)
{
	const struct ram_region *region = ram_region(vn->dev.ram);
	unsigned n;
	const struct ram_part *part = ram_parts(vn->dev.ram, &n);
	struct vhost_memory *table = calloc(1, sizeof(*table) + (n + 1) * sizeof(table->regions[0]));
	int err;

	if (!table)
		return -ENOMEM;
	table->nregions = n;
	for (unsigned i = 0; i < n; i++)
		table->regions[i] = (struct vhost_memory_region){
			.guest_phys_addr = part[i].start.v,
			.memory_size = part[i].size_bytes,
			.userspace_addr = (uintptr_t)ram_host(vn->dev.ram, part[i].start, part[i].size_bytes),
		};
	if (region->bytes)
		table->regions[table->nregions++] = (struct vhost_memory_region){
			.guest_phys_addr = region->start,
			.memory_size = region->bytes,
			.userspace_addr = (uintptr_t)ram_region_host(vn->dev.ram),
		};
	err = tell(vn, 2 * pair, VHOST_SET_MEM_TABLE, table);
	free(table);
	return err;
}

static int introduce(struct virtio_net *vn)
{
	const uint64_t features = vn->dev.driver_features & vn->net->vhost->features & ITS_FEATURES;
	int err = 0;

	for (unsigned pair = 0; !err && pair < vn->net->max_pairs; pair++) {
		err = tell(vn, 2 * pair, VHOST_SET_FEATURES, &features);
		if (!err)
			err = set_memory(vn, pair);
	}
	return err;
}

static int add_sources(struct virtio_net *vn)
{
	struct net_kernel *k = vn->kernel;
	int err = loop_add(&vn->dev.loop, &k->plug, EPOLLIN);

	if (!err)
		err = loop_add(&vn->dev.loop, &k->error, EPOLLIN);
	for (unsigned i = 0; !err && i < vn->dev.n_queues; i++)
		err = loop_add(&vn->dev.loop, &k->queue[i].call, EPOLLIN);
	return err;
}

int net_kernel_activate(struct virtio_net *vn)
{
	int err = add_sources(vn);

	if (err)
		return err;
	vn->kernel->active = true;
	vn->kernel->failed = false;
	event_clear(vn->kernel->error.fd);
	err = introduce(vn);
	if (err)
		failed(vn, strerror(-err));
	net_kernel_follow(vn); /* no queue is watched yet */
	return 0;
}

void net_kernel_deactivate(struct virtio_net *vn)
{
	struct net_kernel *k = vn->kernel;

	if (!k || !k->active)
		return;
	k->active = false;
	for (unsigned i = 0; i < vn->dev.n_queues; i++) {
		k->queue[i].watched = false;
		loop_del(&vn->dev.loop, &k->queue[i].call);
	}
	loop_del(&vn->dev.loop, &k->error);
	loop_del(&vn->dev.loop, &k->plug);
}

/* ---- for the machine ---- */

uint64_t net_kernel_features(const struct virtio_net *vn, uint64_t features)
{
	return vn->kernel ? features & (vn->net->vhost->features | ~ITS_FEATURES) : features;
}

static int open_source(struct loop_source *src, void (*ready)(struct loop_source *src, uint32_t events))
{
	*src = (struct loop_source){ event_open(0), ready };
	return src->fd < 0 ? src->fd : 0;
}

int net_kernel_new(struct virtio_net *vn)
{
	struct net_kernel *k = calloc(1, sizeof(*k));
	int err;

	vn->kernel = k;
	if (!k)
		return -ENOMEM;
	k->vn = vn;
	k->error.fd = -1;
	for (unsigned i = 0; i < vn->dev.n_queues; i++)
		k->queue[i] = (struct kernel_queue){ .vn = vn, .index = i, .call.fd = -1 };
	err = open_source(&k->plug, plug_moved);
	if (!err)
		err = open_source(&k->error, met_error);
	for (unsigned i = 0; !err && i < vn->dev.n_queues; i++)
		err = open_source(&k->queue[i].call, wants_irq);
	return err;
}

static void close_source(const struct loop_source *src)
{
	if (src->fd >= 0)
		close(src->fd);
}

void net_kernel_free(struct virtio_net *vn)
{
	struct net_kernel *k = vn->kernel;

	if (!k)
		return;
	for (unsigned i = 0; i < 2 * vn->net->max_pairs + 1; i++)
		close_source(&k->queue[i].call);
	close_source(&k->error);
	close_source(&k->plug);
	free(k);
}
