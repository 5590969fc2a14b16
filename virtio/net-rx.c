/*
 * Frames for the guest; see net-internal.h.
 *
 *	ring -> fill(): buffers that wait -> net_receive() straight into them -> give(): as many as the frame took
 *
 * With buffers that can be merged so many wait as the largest frame needs that may come; what a frame leaves is for
 * the next one. Without, each frame has one chain of them. If the guest has not enough, the frame is read into memory
 * of ours, and waits there for more.
 *
 * A driver is asked to notify of new buffers only while there are too few.
 */
#include "net-internal.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_BYTES 18 /* of a frame: addresses, type, a VLAN tag */

static unsigned rx_queue(const struct net_rx *rx)
{
	return 2 * rx->pair;
}

static bool merges(const struct net_rx *rx)
{
	return virtio_has(&rx->vn->dev, VIRTIO_NET_F_MRG_RXBUF);
}

/* ---- buffers that wait ---- */

static unsigned n_chains(const struct net_rx *rx)
{
	return rx->end - rx->first;
}

static unsigned n_iov(const struct net_rx *rx)
{
	return rx->iov_end - rx->iov_first;
}

/* Back to the front, once in a while */
static void compact(struct net_rx *rx)
{
	if (rx->first >= NET_QUEUE_SIZE || rx->first == rx->end) {
		memmove(rx->chain, rx->chain + rx->first, n_chains(rx) * sizeof(rx->chain[0]));
		rx->end -= rx->first;
		rx->first = 0;
	}
	if (rx->iov_first >= NET_MAX_IOV || rx->iov_first == rx->iov_end) {
		memmove(rx->iov, rx->iov + rx->iov_first, n_iov(rx) * sizeof(rx->iov[0]));
		rx->iov_end -= rx->iov_first;
		rx->iov_first = 0;
	}
}

/* Return: false: the device is broken */
static bool add_chain(struct net_rx *rx)
{
	struct virtio_dev *dev = &rx->vn->dev;
	const struct virtq_chain *c = dev->chain;

	if (c->n_out || c->in_bytes < net_hdr_bytes(rx->vn)) {
		virtio_break(dev, "a receive buffer that is to be read, or has no room for a header");
		return false;
	}
	compact(rx);
	rx->chain[rx->end].token = c->token;
	rx->chain[rx->end].bytes = c->in_bytes;
	rx->chain[rx->end++].n_iov = c->n_in;
	memcpy(rx->iov + rx->iov_end, c->iov, c->n_in * sizeof(c->iov[0]));
	rx->iov_end += c->n_in;
	rx->bytes += c->in_bytes;
	return true;
}

static bool has_room(const struct net_rx *rx)
{
	return n_chains(rx) < NET_QUEUE_SIZE && n_iov(rx) < NET_MAX_IOV;
}

/* Return: are so many bytes there, as far as they can be? */
static bool fill(struct net_rx *rx, size_t wanted)
{
	struct virtio_dev *dev = &rx->vn->dev;
	const unsigned queue = rx_queue(rx);

	while (rx->bytes < wanted && has_room(rx)) {
		if (virtio_pop(dev, queue)) {
			if (!add_chain(rx))
				return false;
			continue;
		}
		rx->asking = true;
		if (!virtio_notify_me(dev, queue))
			return false;
	}
	if (rx->asking)
		virtio_notify_not(dev, queue);
	rx->asking = false;
	return rx->bytes >= wanted;
}

/* What a frame may be, with its header */
static size_t largest(const struct net_rx *rx)
{
	const struct virtio_net *vn = rx->vn;

	if (vn->offloads & (NET_TSO4 | NET_TSO6 | NET_USO))
		return NET_HDR_BYTES + NET_MAX_FRAME;
	return NET_HDR_BYTES + (vn->net->mtu ? vn->net->mtu : 1500) + HEAD_BYTES;
}

/* ---- giving ---- */

static void write_at(struct net_rx *rx, size_t at, const void *bytes, size_t n)
{
	struct iovec *first = &rx->iov[rx->iov_first];

	if (first->iov_len >= NET_HDR_BYTES)
		memcpy((char *)first->iov_base + at, bytes, n);
	else
		net_scatter(first, n_iov(rx), at, bytes, n);
}

/* The end has written the rest of it. Without GUEST_CSUM there are no flags: 5.1.6.4.1 */
static void mend_header(struct net_rx *rx, unsigned n)
{
	const uint16_t num_buffers = htole16((uint16_t)n);
	const uint8_t no_flags = 0;

	write_at(rx, offsetof(struct virtio_net_hdr_v1, num_buffers), &num_buffers, sizeof(num_buffers));
	if (!(rx->vn->offloads & NET_CSUM))
		write_at(rx, offsetof(struct virtio_net_hdr_v1, flags), &no_flags, sizeof(no_flags));
}

static unsigned chains_for(const struct net_rx *rx, size_t bytes)
{
	unsigned n = 0;

	for (uint64_t room = 0; room < bytes; n++)
		room += rx->chain[rx->first + n].bytes;
	return n;
}

/* @bytes are in the buffers, which have room for them. */
static void give(struct net_rx *rx, size_t bytes)
{
	const unsigned n = chains_for(rx, bytes);

	mend_header(rx, n);
	net_received(rx->vn->net, bytes - net_hdr_bytes(rx->vn));
	for (unsigned i = 0; i < n; i++) {
		const unsigned at = rx->first++;
		const uint64_t room = rx->chain[at].bytes, part = bytes < room ? bytes : room;

		rx->iov_first += rx->chain[at].n_iov;
		rx->bytes -= room;
		bytes -= part;
		virtio_push(&rx->vn->dev, rx_queue(rx), rx->chain[at].token, (uint32_t)part);
	}
}

static bool wants(const struct net_rx *rx, const struct iovec *iov, unsigned n, size_t bytes)
{
	const struct virtio_net *vn = rx->vn;
	uint8_t head[HEAD_BYTES];

	if (bytes < NET_HDR_BYTES + NET_MIN_FRAME)
		return false;
	if (net_filter_passes_all(&vn->filter))
		return true;
	bytes -= NET_HDR_BYTES;
	bytes = net_gather(iov, n, NET_HDR_BYTES, head, bytes < sizeof(head) ? bytes : sizeof(head));
	return net_filter_wants(&vn->filter, vn->mac, head, bytes);
}

/* ---- one frame; Return: may there be more? ---- */

/* One that was read into memory of ours. */
static bool give_frame(struct net_rx *rx)
{
	const bool all = fill(rx, merges(rx) ? rx->frame_bytes : 1);
	const struct virtq *vq = &rx->vn->dev.queue[rx_queue(rx)].vq;
	const uint64_t room = merges(rx) ? rx->bytes : n_chains(rx) ? rx->chain[rx->first].bytes : 0;

	if (room >= rx->frame_bytes) {
		net_scatter(rx->iov + rx->iov_first, n_iov(rx), 0, rx->frame, rx->frame_bytes);
		give(rx, rx->frame_bytes);
	} else if (!all && has_room(rx) && vq->taken < vq->setup.size) {
		return false; /* the driver may add more */
	} else {
		net_dropped(rx->vn->net, false);
	}
	rx->frame_bytes = 0;
	return true;
}

static bool receive_frame(struct net_rx *rx, bool keep)
{
	const struct iovec iov = { rx->frame, NET_HDR_BYTES + NET_MAX_FRAME };
	const ssize_t n = net_receive(rx->vn->net, rx->pair, &iov, 1);

	net_passed(rx->vn, rx_queue(rx), n > 0 ? (size_t)n : 0);
	if (!n)
		rx->ready = false;
	if (n <= 0)
		return n;
	if (!keep || !wants(rx, &iov, 1, (size_t)n)) {
		net_dropped(rx->vn->net, false);
		return true;
	}
	rx->frame_bytes = (size_t)n;
	return give_frame(rx);
}

static bool receive_direct(struct net_rx *rx)
{
	const struct iovec *iov = rx->iov + rx->iov_first;
	const unsigned count = merges(rx) ? n_iov(rx) : rx->chain[rx->first].n_iov;
	const ssize_t n = net_receive(rx->vn->net, rx->pair, iov, count);

	net_passed(rx->vn, rx_queue(rx), n > 0 ? (size_t)n : 0);
	if (!n)
		rx->ready = false;
	if (n <= 0)
		return n;
	if (wants(rx, iov, count, (size_t)n))
		give(rx, (size_t)n);
	else
		net_dropped(rx->vn->net, false);
	return true;
}

static bool receive_one(struct net_rx *rx)
{
	bool enough;

	if (!net_is_linked(rx->vn)) {
		rx->frame_bytes = 0;
		return receive_frame(rx, false);
	}
	if (rx->frame_bytes)
		return give_frame(rx);
	enough = fill(rx, merges(rx) ? largest(rx) : 1);
	if (!n_chains(rx))
		return false;
	if (enough && (merges(rx) ? n_iov(rx) : rx->chain[rx->first].n_iov) < NET_MAX_IOV)
		return receive_direct(rx);
	return receive_frame(rx, true);
}

/* ---- of a device that steers: each frame is read into memory of ours first ---- */

/* It has come into @from's memory, which changes places with that of the queue that gets it. */
static void hand_on(struct net_rx *from, struct net_rx *to, size_t bytes)
{
	uint8_t *const frame = from->frame;

	from->frame = to->frame;
	to->frame = frame;
	to->frame_bytes = bytes;
	from->vn->steer->waits = to;
}

/* Return: may there be more? */
static bool take_steered(struct virtio_net *vn)
{
	const size_t head = net_hdr_bytes(vn);
	struct net_rx *from = vn->rx[0], *to;
	const struct iovec iov[] = { { from->frame, NET_HDR_BYTES }, { from->frame + head, NET_MAX_FRAME } };
	const ssize_t n = net_receive(vn->net, 0, iov, 2);

	net_passed(vn, 0, n > 0 ? (size_t)n : 0);
	if (!n)
		from->ready = false;
	if (n <= 0)
		return n;
	if (net_is_linked(vn) && wants(from, iov, 2, (size_t)n)) {
		to = vn->rx[net_steer_frame(vn, from->frame, iov[1].iov_base, (size_t)n - NET_HDR_BYTES)];
		hand_on(from, to, (size_t)n - NET_HDR_BYTES + head);
	} else {
		net_dropped(vn->net, false);
	}
	return true;
}

/* What waits is given, or lost, before the next one is taken. Return: may there be more? */
static bool steer_one(struct virtio_net *vn)
{
	struct net_rx *to = vn->steer->waits;

	if (!to)
		return take_steered(vn);
	if (!net_is_linked(vn) || !virtio_is_live(&vn->dev, rx_queue(to))) {
		net_dropped(vn->net, false);
		to->frame_bytes = 0;
	} else if (!give_frame(to)) {
		return false;
	}
	vn->steer->waits = NULL;
	return true;
}

/* Interrupts, and another turn, of whichever queue there is */
static void steered(struct virtio_net *vn, bool more)
{
	for (unsigned i = 0; i < net_pairs(vn); i++) {
		virtio_complete(&vn->dev, 2 * i);
		if (more && virtio_is_live(&vn->dev, 2 * i)) {
			virtio_again(&vn->dev, 2 * i);
			more = false;
		}
	}
}

static void steer_serve(struct virtio_net *vn)
{
	const struct net_rx *from = vn->rx[0];
	bool more = from->ready || vn->steer->waits;

	if (vn->dev.parked)
		return;
	while (more && !atomic_load_explicit(&vn->dev.needs_reset, memory_order_relaxed) && net_may_pass(vn, 0))
		more = steer_one(vn) && (from->ready || vn->steer->waits);
	steered(vn, more);
}

/* ---- */

void net_rx_serve(struct net_rx *rx)
{
	struct virtio_net *vn = rx->vn;
	const unsigned queue = rx_queue(rx);
	bool more = rx->ready || rx->frame_bytes;

	if (vn->steer) {
		steer_serve(vn);
		return;
	}
	if (vn->dev.parked || rx->pair >= vn->pairs || net_in_kernel(vn, queue))
		return;
	while (more && !atomic_load_explicit(&vn->dev.needs_reset, memory_order_relaxed) && net_may_pass(vn, queue))
		more = receive_one(rx) && (rx->ready || rx->frame_bytes);
	virtio_complete(&vn->dev, queue);
	if (more)
		virtio_again(&vn->dev, queue);
}

void net_rx_forget(struct net_rx *rx)
{
	rx->first = rx->end = rx->iov_first = rx->iov_end = 0;
	rx->bytes = 0;
	rx->asking = false;
}

int net_rx_new(struct virtio_net *vn, unsigned pair)
{
	struct net_rx *rx = calloc(1, sizeof(*rx));

	vn->rx[pair] = rx;
	if (!rx)
		return -ENOMEM;
	rx->vn = vn;
	rx->pair = pair;
	rx->frame = malloc(NET_HASH_HDR_BYTES + NET_MAX_FRAME);
	return rx->frame ? 0 : -ENOMEM;
}

void net_rx_free(struct net_rx *rx)
{
	if (!rx)
		return;
	free(rx->frame);
	free(rx);
}
