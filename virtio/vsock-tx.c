/* What the guest says: packets of its tx queue; see vsock-internal.h. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vsock-internal.h"

/* ---- what is for no connection ---- */

/* There is room: the next packet is taken only then. A reset is never answered. */
static void refuse(struct vsock *vs, const struct virtio_vsock_hdr *hdr)
{
	struct virtio_vsock_hdr *reply = &vs->reply.hdr[(vs->reply.at + vs->reply.n) % MAX_REPLIES];

	if (hdr->op == VIRTIO_VSOCK_OP_RST)
		return;
	*reply = (struct virtio_vsock_hdr){
		.src_cid = hdr->dst_cid,
		.dst_cid = hdr->src_cid,
		.src_port = hdr->dst_port,
		.dst_port = hdr->src_port,
		.type = hdr->type,
		.op = VIRTIO_VSOCK_OP_RST,
	};
	vs->reply.n++;
}

static bool is_type(const struct vsock *vs, uint16_t type)
{
	return type == VIRTIO_VSOCK_TYPE_STREAM ||
	       (type == VIRTIO_VSOCK_TYPE_SEQPACKET && virtio_has(&vs->dev, VIRTIO_VSOCK_F_SEQPACKET));
}

/* The guest wants to be connected. */
static void request(struct vsock *vs, const struct virtio_vsock_hdr *hdr)
{
	const enum vsock_kind kind = hdr->type == VIRTIO_VSOCK_TYPE_SEQPACKET ? VSOCK_SEQPACKET : VSOCK_STREAM;
	struct conn *c = NULL;
	int fd = -EMFILE;

	if (vs->n_conns < VSOCK_MAX_CONNS)
		fd = vsock_host_connect(&vs->host, kind, hdr->dst_port);
	if (fd >= 0)
		c = conn_new(vs, fd, kind);
	if (!c) {
		log_debug(LOG_DEVICE, "%s: port %u of the host: %s", vs->dev.name, hdr->dst_port,
			  strerror(fd < 0 ? -fd : ENOMEM));
		refuse(vs, hdr);
		return;
	}
	conn_know(c, hdr->src_port, hdr->dst_port);
	c->peer_alloc = hdr->buf_alloc;
	c->peer_fwd = hdr->fwd_cnt;
	conn_owe(c, OWE_RESPONSE);
	conn_up(c);
}

/* ---- bytes ---- */

/* Return: bytes that the host has taken at once, or -errno */
static int send_now(struct conn *c, const struct virtq_chain *chain, uint32_t len)
{
	struct iovec iov[VIRTQ_MAX_SEGS];
	const int n = virtq_slice(chain, false, HEADER_BYTES, len, iov, VIRTQ_MAX_SEGS);
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n > 0 ? (size_t)n : 0 };
	ssize_t sent;

	if (n <= 0)
		return n;
	sent = sendmsg(c->src.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	return sent < 0 ? -errno : (int)sent;
}

static bool may_send_now(const struct conn *c, const struct virtio_vsock_hdr *hdr)
{
	if (c->out.n || !hdr->len)
		return false;
	return c->type == VIRTIO_VSOCK_TYPE_STREAM || hdr->flags & VIRTIO_VSOCK_SEQ_EOM;
}

static void keep(struct conn *c, const struct virtq_chain *chain, const struct virtio_vsock_hdr *hdr, uint32_t from)
{
	if (from < hdr->len && buffer_put(c, chain, HEADER_BYTES + from, hdr->len - from)) {
		conn_reset(c);
		return;
	}
	if (c->type == VIRTIO_VSOCK_TYPE_SEQPACKET && hdr->flags & VIRTIO_VSOCK_SEQ_EOM)
		buffer_mark(c);
	conn_flush(c);
	if (c->state == CONN_UP)
		conn_forward(c, 0);
}

/* It has not said more than it may. */
static void take_bytes(struct conn *c, const struct virtq_chain *chain, const struct virtio_vsock_hdr *hdr)
{
	int n = 0;

	c->rx_cnt += hdr->len;
	atomic_fetch_add_explicit(&c->vs->to_host, hdr->len, memory_order_relaxed);
	if (c->state == CONN_LEFT || c->deaf) { /* the guest does not know yet */
		conn_forward(c, hdr->len);
		return;
	}
	if (may_send_now(c, hdr))
		n = send_now(c, chain, hdr->len);
	if (n > 0)
		conn_forward(c, (uint32_t)n);
	if (n == -EMSGSIZE)
		conn_reset(c);
	else if (n < (int)hdr->len || !hdr->len)
		keep(c, chain, hdr, n > 0 ? (uint32_t)n : 0); /* and find out why */
}

static void data(struct conn *c, const struct virtq_chain *chain, const struct virtio_vsock_hdr *hdr)
{
	if (c->state == CONN_ASKED || c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND ||
	    hdr->len > VSOCK_CONN_BYTES - (c->rx_cnt - c->fwd_cnt)) {
		log_debug(LOG_DEVICE, "%s: %u bytes that it may not send", c->vs->dev.name, hdr->len);
		conn_reset(c);
		return;
	}
	take_bytes(c, chain, hdr);
}

/* ---- the rest ---- */

static void response(struct conn *c)
{
	if (c->state != CONN_ASKED || vsock_hello_answer(c->src.fd, c->host_port))
		conn_reset(c);
	else
		conn_up(c);
}

static void shut(struct conn *c, uint32_t flags)
{
	c->guest_shut |= flags & SHUT_BOTH;
	if (c->guest_shut == SHUT_BOTH || c->state == CONN_ASKED) {
		conn_over(c);
		return;
	}
	if (c->src.fd < 0)
		return;
	if (flags & VIRTIO_VSOCK_SHUTDOWN_RCV)
		shutdown(c->src.fd, SHUT_RD);
	if (flags & VIRTIO_VSOCK_SHUTDOWN_SEND)
		conn_flush(c);
}

static void told(struct conn *c, const struct virtq_chain *chain, const struct virtio_vsock_hdr *hdr)
{
	c->peer_alloc = hdr->buf_alloc;
	c->peer_fwd = hdr->fwd_cnt;
	switch (hdr->op) {
	case VIRTIO_VSOCK_OP_RST:
		conn_free(c);
		return;
	case VIRTIO_VSOCK_OP_RESPONSE:
		response(c);
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		shut(c, hdr->flags);
		return; /* it may be gone */
	case VIRTIO_VSOCK_OP_RW:
		data(c, chain, hdr);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		conn_owe(c, OWE_CREDIT);
		break;
	default: /* a request for what there is already, or none that we know */
		conn_reset(c);
		break;
	}
	conn_want_turn(c);
}

/* The guest may not know yet that its CID is another now. */
static void packet(struct vsock *vs, const struct virtq_chain *chain, const struct virtio_vsock_hdr *hdr)
{
	struct conn *c;

	if (hdr->src_cid != vs->st.guest_cid || hdr->dst_cid != VSOCK_HOST_CID || !is_type(vs, hdr->type)) {
		refuse(vs, hdr);
		return;
	}
	c = conn_find(vs, hdr->src_port, hdr->dst_port);
	if (c && c->type == hdr->type)
		told(c, chain, hdr);
	else if (!c && hdr->op == VIRTIO_VSOCK_OP_REQUEST)
		request(vs, hdr);
	else
		refuse(vs, hdr);
}

static void handle(struct virtio_dev *dev, unsigned index)
{
	const struct virtq_chain *chain = dev->chain;
	const uint64_t token = chain->token;
	struct virtio_vsock_hdr hdr;

	if (chain->n_in || virtq_read(chain, 0, &hdr, sizeof(hdr)) < sizeof(hdr)) {
		virtio_break(dev, "a packet of %" PRIu64 " readable and %" PRIu64 " writable bytes",
			     chain->out_bytes, chain->in_bytes);
		return;
	}
	if (hdr.len > chain->out_bytes - sizeof(hdr)) {
		virtio_break(dev, "a packet of %u bytes in %" PRIu64, hdr.len, chain->out_bytes - sizeof(hdr));
		return;
	}
	packet(vsock_of(dev), chain, &hdr);
	virtio_push(dev, index, token, 0);
}

static bool has_room(struct virtio_dev *dev, unsigned index)
{
	struct vsock *vs = vsock_of(dev);

	(void)index;
	vs->tx_waits = vs->reply.n == MAX_REPLIES;
	return !vs->tx_waits;
}

void tx_serve(struct vsock *vs)
{
	virtio_serve_while(&vs->dev, TX_QUEUE, has_room, handle);
}
