/* Frames of the guest; see net-internal.h. */
#include "net-internal.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static unsigned tx_queue(unsigned pair)
{
	return 2 * pair + 1;
}

/* ---- the header, judged on a copy ---- */

static bool csum_good(const struct virtio_net *vn, const struct virtio_net_hdr_v1 *h, size_t frame)
{
	const size_t end = (size_t)le16toh(h->csum_start) + le16toh(h->csum_offset) + sizeof(uint16_t);

	if (!(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return true;
	return virtio_has(&vn->dev, VIRTIO_NET_F_CSUM) && end <= frame;
}

/* A frame that is to be cut needs a size to cut it to, and checksums. Spec: 5.1.6.2.1 */
static bool gso_good(const struct virtio_net *vn, const struct virtio_net_hdr_v1 *h)
{
	const bool ecn = h->gso_type & VIRTIO_NET_HDR_GSO_ECN;
	unsigned needs;

	switch (h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return !ecn;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		needs = VIRTIO_NET_F_HOST_TSO4;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		needs = VIRTIO_NET_F_HOST_TSO6;
		break;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		needs = VIRTIO_NET_F_HOST_USO;
		break;
	default:
		return false;
	}
	if (!virtio_has(&vn->dev, needs) || !h->gso_size || !(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return false;
	return !ecn || (needs != VIRTIO_NET_F_HOST_USO && virtio_has(&vn->dev, VIRTIO_NET_F_HOST_ECN));
}

/* Return: may the frame be sent? What the driver is not asked for is not passed on. */
static bool judge(const struct virtio_net *vn, struct virtio_net_hdr_v1 *h, size_t frame)
{
	if (frame < NET_MIN_FRAME || frame > NET_MAX_FRAME)
		return false;
	h->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->num_buffers = 0;
	if (!h->flags)
		h->csum_start = h->csum_offset = 0;
	return csum_good(vn, h, frame) && gso_good(vn, h);
}

/* ---- sending ---- */

/* Return: 0, -EAGAIN, or -EPROTO: it is no frame at all */
static int send_chain(struct virtio_net *vn, unsigned pair, const struct virtq_chain *c)
{
	const size_t head = net_hdr_bytes(vn); /* of which a hash is nothing that matters here */
	struct virtio_net_hdr_v1 header;
	size_t frame;
	int n;

	_Static_assert(sizeof(header) == NET_HDR_BYTES, "the header of both");
	if (c->n_in || c->out_bytes < head)
		return -EPROTO;
	virtq_read(c, 0, &header, sizeof(header));
	frame = c->out_bytes - head;
	if (!net_is_linked(vn) || pair >= net_pairs_in_use(vn) || !judge(vn, &header, frame)) {
		net_dropped(vn->net, true);
		return 0;
	}
	vn->out[0] = (struct iovec){ &header, sizeof(header) };
	n = virtq_slice(c, false, head, frame, vn->out + 1, VIRTQ_MAX_SEGS);
	net_passed(vn, tx_queue(pair), frame);
	return net_send(vn->net, vn->steer ? 0 : pair, vn->out, (unsigned)n + 1, frame);
}

static void handle(struct virtio_dev *dev, unsigned index)
{
	struct virtio_net *vn = vn_of(dev);
	struct net_tx *tx = &vn->tx[index / 2];
	const int err = send_chain(vn, index / 2, dev->chain);

	if (err == -EPROTO) {
		virtio_break(dev, "a frame without its header, or with room for an answer");
	} else if (err) {
		tx->spare = virtio_keep(dev, tx->spare);
		tx->is_stuck = true;
	} else {
		virtio_push(dev, index, dev->chain->token, 0);
	}
}

static bool more(struct virtio_dev *dev, unsigned index)
{
	struct virtio_net *vn = vn_of(dev);

	return !vn->tx[index / 2].is_stuck && net_may_pass(vn, index);
}

/* What sending has brought about */
static void look(struct virtio_net *vn)
{
	unsigned woken;

	if (vn->net->ops->flush)
		vn->net->ops->flush(vn->net);
	woken = vn->net->woken;
	vn->net->woken = 0;
	for (unsigned i = 0; woken; i++, woken >>= 1)
		if (woken & 1)
			vn->net->readable(vn->net, i);
}

void net_tx_serve(struct virtio_net *vn, unsigned pair)
{
	struct net_tx *tx = &vn->tx[pair];

	if (vn->dev.parked || tx->is_stuck || net_in_kernel(vn, tx_queue(pair)))
		return;
	virtio_serve_while(&vn->dev, tx_queue(pair), more, handle);
	if (!tx->is_stuck && !net_may_pass(vn, tx_queue(pair)))
		virtio_again(&vn->dev, tx_queue(pair));
	look(vn);
}

void net_tx_room(struct virtio_net *vn, unsigned pair)
{
	struct net_tx *tx = &vn->tx[pair];

	if (vn->dev.parked)
		return;
	if (tx->is_stuck) {
		if (send_chain(vn, pair, tx->spare) == -EAGAIN)
			return;
		tx->is_stuck = false;
		virtio_push(&vn->dev, tx_queue(pair), tx->spare->token, 0);
	}
	net_tx_serve(vn, pair);
	virtio_complete(&vn->dev, tx_queue(pair));
}
