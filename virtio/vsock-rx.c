/* What the guest is given: packets into the buffers of its rx queue, and events; see vsock-internal.h. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "vsock-internal.h"

#define EMPTY_MOST   1024 /* messages that a socket may hold, more or less */
#define TURN_PACKETS 256 /* then others of the device's loop have their turn */

/* ---- buffers ---- */

static struct rx_buffer *rx_at(struct vsock *vs, unsigned i)
{
	return &vs->rx[(vs->rx_at + i) % RX_BATCH];
}

/* Of dev->chain. Return: false: it has no room for a packet with a byte in it */
static bool keep_buffer(struct vsock *vs)
{
	const struct virtq_chain *chain = vs->dev.chain;
	struct rx_buffer *b = rx_at(vs, vs->rx_n);

	b->token = chain->token;
	b->n = chain->n_in < RX_SEGS ? chain->n_in : RX_SEGS;
	b->bytes = 0;
	for (unsigned i = 0; i < b->n; i++) {
		const size_t len = chain->iov[chain->n_out + i].iov_len, most = (size_t)MIB - b->bytes;

		b->iov[i] = chain->iov[chain->n_out + i];
		b->iov[i].iov_len = len < most ? len : most;
		b->bytes += (uint32_t)b->iov[i].iov_len;
	}
	if (chain->n_out || b->bytes <= HEADER_BYTES) {
		virtio_break(&vs->dev, "a buffer for packets with %u readable and %u writable bytes",
			     (unsigned)chain->out_bytes, b->bytes);
		return false;
	}
	vs->rx_n++;
	return true;
}

/* Up to @want; the driver tells of more only if there are none. Return: how many there are */
static unsigned take_buffers(struct vsock *vs, unsigned want)
{
	struct virtio_dev *dev = &vs->dev;

	if (vs->rx_n >= want)
		return vs->rx_n;
	do {
		virtio_notify_not(dev, RX_QUEUE);
		while (vs->rx_n < want && virtio_pop(dev, RX_QUEUE) && keep_buffer(vs))
			;
	} while (!vs->rx_n && virtio_notify_me(dev, RX_QUEUE));
	return vs->rx_n;
}

void rx_forget(struct vsock *vs)
{
	vs->rx_n = 0;
}

/* Of the part behind the header, @len bytes at most. Return: pieces; *@ret_bytes: how many bytes that is */
static unsigned room_of(const struct rx_buffer *b, uint32_t len, struct iovec *ret, uint32_t *ret_bytes)
{
	size_t skip = HEADER_BYTES, left = len;
	unsigned n = 0;

	for (unsigned i = 0; left && i < b->n; i++) {
		const size_t here = b->iov[i].iov_len, from = here < skip ? here : skip;
		const size_t use = here - from < left ? here - from : left;

		skip -= from;
		left -= use;
		if (use)
			ret[n++] = (struct iovec){ (uint8_t *)b->iov[i].iov_base + from, use };
	}
	*ret_bytes = len - (uint32_t)left;
	return n;
}

static void put_header(const struct rx_buffer *b, const struct virtio_vsock_hdr *hdr)
{
	const uint8_t *from = (const uint8_t *)hdr;
	size_t left = HEADER_BYTES;

	for (unsigned i = 0; left; i++) {
		const size_t n = b->iov[i].iov_len < left ? b->iov[i].iov_len : left;

		memcpy(b->iov[i].iov_base, from, n);
		from += n;
		left -= n;
	}
}

/* In the first buffer, in which hdr->len bytes stand already */
static void send_packet(struct vsock *vs, const struct virtio_vsock_hdr *hdr)
{
	const struct rx_buffer *b = rx_at(vs, 0);

	put_header(b, hdr);
	virtio_push(&vs->dev, RX_QUEUE, b->token, (uint32_t)HEADER_BYTES + hdr->len);
	vs->rx_at = (vs->rx_at + 1) % RX_BATCH;
	vs->rx_n--;
}

/* ---- packets of a connection ---- */

static void send_of(struct conn *c, uint16_t op, uint32_t len, uint32_t flags)
{
	const struct virtio_vsock_hdr hdr = {
		.src_cid = VSOCK_HOST_CID,
		.dst_cid = c->vs->st.guest_cid,
		.src_port = c->host_port,
		.dst_port = c->guest_port,
		.len = len,
		.type = c->type,
		.op = op,
		.flags = flags,
		.buf_alloc = VSOCK_CONN_BYTES,
		.fwd_cnt = c->fwd_cnt,
	};

	c->fwd_told = c->fwd_cnt;
	c->owes &= (uint8_t)~OWE_CREDIT; /* each packet tells it */
	send_packet(c->vs, &hdr);
}

/* Return: it sent one */
static bool send_owed(struct conn *c)
{
	static const struct {
		uint8_t owed;
		uint16_t op;
	} ops[] = {
		{ OWE_RESET, VIRTIO_VSOCK_OP_RST },
		{ OWE_REQUEST, VIRTIO_VSOCK_OP_REQUEST },
		{ OWE_RESPONSE, VIRTIO_VSOCK_OP_RESPONSE },
		{ OWE_SHUTDOWN, VIRTIO_VSOCK_OP_SHUTDOWN },
		{ OWE_CREDIT, VIRTIO_VSOCK_OP_CREDIT_UPDATE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		if (!(c->owes & ops[i].owed))
			continue;
		c->owes &= (uint8_t)~ops[i].owed;
		send_of(c, ops[i].op, 0, ops[i].owed == OWE_SHUTDOWN ? c->told_shut : 0);
		return true;
	}
	return false;
}

static void sent_data(struct conn *c, uint32_t len, uint32_t flags)
{
	c->tx_cnt += len;
	atomic_fetch_add_explicit(&c->vs->to_guest, len, memory_order_relaxed);
	send_of(c, VIRTIO_VSOCK_OP_RW, len, flags);
}

/* The host says no more; who is gone does not listen either. */
static void at_end(struct conn *c)
{
	c->eof = true;
	conn_shut(c, c->hup ? SHUT_BOTH : VIRTIO_VSOCK_SHUTDOWN_SEND);
}

static void read_failed(struct conn *c, int err)
{
	c->readable = false;
	if (err != EAGAIN && err != EINTR)
		conn_reset(c);
	else if (err == EINTR)
		c->readable = true;
}

/* As many packets as one read(2) has filled. Return: how many */
static unsigned read_stream(struct conn *c, unsigned most)
{
	struct vsock *vs = c->vs;
	struct iovec iov[RX_BATCH * RX_SEGS];
	uint32_t credit = conn_credit(c), want = 0, room[RX_BATCH];
	unsigned n_buffers = take_buffers(vs, most), n = 0, used = 0;
	struct msghdr msg = { .msg_iov = iov };
	ssize_t got;

	for (unsigned i = 0; i < n_buffers && want < credit; i++) {
		n += room_of(rx_at(vs, i), credit - want, iov + n, &room[i]);
		want += room[i];
	}
	msg.msg_iovlen = n;
	got = recvmsg(c->src.fd, &msg, MSG_DONTWAIT);
	if (got < 0)
		read_failed(c, errno);
	else if (!got)
		at_end(c);
	if (got < (ssize_t)want && !c->last)
		c->readable = c->readable && got < 0; /* there is no more, and who has more tells */
	for (; got > 0; got -= room[used++])
		sent_data(c, got < room[used] ? (uint32_t)got : room[used], 0);
	return used;
}

/* ---- messages: one of the device's at a time is on its way ---- */

/*
 * The next one is empty, or it is the end: the same, but that behind the end is nothing. Takes it, and of those
 * behind which no more can come all that are empty.
 */
static bool is_end(const struct conn *c)
{
	struct pollfd shut = { .fd = c->src.fd, .events = POLLRDHUP };
	const bool may_end = poll(&shut, 1, 0) == 1;
	char byte;

	for (unsigned i = 0; i < EMPTY_MOST; i++) {
		recv(c->src.fd, &byte, 1, MSG_DONTWAIT);
		if (!may_end || recv(c->src.fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK))
			return false;
	}
	return true;
}

static void too_long(struct conn *c, size_t len)
{
	log_debug(LOG_DEVICE, "%s: a message of %zu bytes is longer than the guest takes", c->vs->dev.name, len);
	conn_reset(c);
}

/* It is taken as soon as the guest has room for all of it. */
static void read_message(struct conn *c)
{
	struct vsock *vs = c->vs;
	ssize_t n = recv(c->src.fd, NULL, 0, MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC);

	c->need = 0;
	if (n < 0) {
		read_failed(c, errno);
	} else if (!n) {
		if (is_end(c))
			at_end(c);
	} else if ((size_t)n > sizeof(vs->message.bytes) || (size_t)n > c->peer_alloc) {
		too_long(c, (size_t)n);
	} else if ((size_t)n > conn_credit(c)) {
		c->need = (uint32_t)n;
	} else {
		n = recv(c->src.fd, vs->message.bytes, sizeof(vs->message.bytes), MSG_DONTWAIT);
		vs->message.conn = n > 0 ? c : NULL;
		vs->message.at = 0;
		vs->message.n = n > 0 ? (uint32_t)n : 0;
	}
}

static void send_message_part(struct vsock *vs)
{
	struct conn *c = vs->message.conn;
	struct iovec iov[RX_SEGS];
	uint32_t len;
	unsigned n = room_of(rx_at(vs, 0), vs->message.n - vs->message.at, iov, &len);
	bool last;

	for (unsigned i = 0; i < n; i++) {
		memcpy(iov[i].iov_base, vs->message.bytes + vs->message.at, iov[i].iov_len);
		vs->message.at += (uint32_t)iov[i].iov_len;
	}
	last = vs->message.at == vs->message.n;
	if (last)
		vs->message.conn = NULL;
	sent_data(c, len, last ? VIRTIO_VSOCK_SEQ_EOM : 0);
}

/* ---- whose turn it is ---- */

static void send_reply(struct vsock *vs)
{
	struct virtio_vsock_hdr hdr = vs->reply.hdr[vs->reply.at];

	vs->reply.at = (vs->reply.at + 1) % MAX_REPLIES;
	vs->reply.n--;
	send_packet(vs, &hdr);
}

/* Return: packets */
static unsigned turn_of(struct conn *c, unsigned most)
{
	unsigned n = 0;

	while (c->owes && take_buffers(c->vs, 1) && send_owed(c))
		n++;
	if (!c->owes && conn_may_read(c) && take_buffers(c->vs, 1)) {
		if (c->type == VIRTIO_VSOCK_TYPE_SEQPACKET)
			read_message(c);
		else
			n += read_stream(c, most < RX_BATCH ? most : RX_BATCH);
	}
	if (c->state == CONN_OVER && !c->owes && c->src.fd < 0)
		conn_free(c);
	else
		conn_want_turn(c);
	return n ? n : 1;
}

/* Return: packets, but 1 if there were none */
static unsigned serve_next(struct vsock *vs, unsigned most)
{
	struct conn *c = TAILQ_FIRST(&vs->turns);

	if (vs->reply.n) {
		send_reply(vs);
	} else if (vs->message.conn) {
		send_message_part(vs);
	} else {
		TAILQ_REMOVE(&vs->turns, c, turn);
		c->has_turn = false;
		return turn_of(c, most);
	}
	return 1;
}

static bool has_work(const struct vsock *vs)
{
	return vs->reply.n || vs->message.conn || !TAILQ_EMPTY(&vs->turns);
}

void rx_serve(struct vsock *vs)
{
	unsigned left = TURN_PACKETS;

	while (left && has_work(vs) && take_buffers(vs, 1)) {
		const unsigned n = serve_next(vs, left);

		left -= n < left ? n : left;
	}
	virtio_complete(&vs->dev, RX_QUEUE);
	if (!left && has_work(vs))
		virtio_again(&vs->dev, RX_QUEUE);
	if (vs->tx_waits && vs->reply.n < MAX_REPLIES) {
		vs->tx_waits = false;
		virtio_again(&vs->dev, TX_QUEUE);
	}
}

/* ---- events ---- */

static bool event_wanted(struct virtio_dev *dev, unsigned index)
{
	(void)index;
	return vsock_of(dev)->owes_event;
}

static void send_event(struct virtio_dev *dev, unsigned index)
{
	static const struct virtio_vsock_event event = { .id = VIRTIO_VSOCK_EVENT_TRANSPORT_RESET };
	struct virtq_chain *chain = dev->chain;

	if (chain->n_out || chain->in_bytes < sizeof(event)) {
		virtio_break(dev, "a buffer for events of %llu bytes", (unsigned long long)chain->in_bytes);
		return;
	}
	virtq_write(chain, 0, &event, sizeof(event));
	virtio_push(dev, index, chain->token, sizeof(event));
	vsock_of(dev)->owes_event = false;
}

void event_serve(struct vsock *vs)
{
	virtio_serve_while(&vs->dev, EVENT_QUEUE, event_wanted, send_event);
}
