/* Frames of the guest; see net-internal.h. */
#include "net-internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/net-gso.h"

static unsigned tx_queue(unsigned pair)
{
	return 2 * pair + 1;
}

/* ---- sending ---- */

/* Return: 0, -EAGAIN, or -EPROTO: it is no frame at all */
static int send_chain(struct virtio_net *vn, unsigned pair, const struct virtq_chain *c)
{
	const size_t head = net_hdr_bytes(vn); /* of which a hash is nothing that matters here */
	struct virtio_net_hdr_v1 header; /* judged on this copy */
	unsigned may_ask;
	size_t frame;
	int n;

	_Static_assert(sizeof(header) == NET_HDR_BYTES, "the header of both");
	if (c->n_in || c->out_bytes < head)
		return -EPROTO;
	virtq_read(c, 0, &header, sizeof(header));
	frame = c->out_bytes - head;
	may_ask = net_host_offloads(vn->dev.driver_features);
	if (!net_is_linked(vn) || pair >= net_pairs_in_use(vn) || !gso_judge(&header, frame, may_ask)) {
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
