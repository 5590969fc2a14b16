/*
 * A switch between guests of one user, without a process of its own; see net-internal.h.
 *
 * Each guest has a connection to each other (switch-folder.h), and whoever ends takes along his own ones only.
 *
 * A frame goes to the connection that its receiver's address was last seen on, else to all. What a connection has
 * no room for is dropped: no guest waits for another. What a frame's header leaves to its receiver, the receiving guest
 * does, or lkvm for it: so large frames pass whole, whatever the guests have negotiated.
 * Small ones that follow each other to one connection go there together: one call, and the other guest is woken once.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lkvm/log.h"
#include "lkvm/net-gso.h"
#include "lkvm/types.h"
#include "net-internal.h"
#include "switch-folder.h"

#define MAX_PEERS   64
#define LEARNT      256       /* addresses whose place is known; a power of two */
#define ROOM_BYTES  (1 << 20) /* of a connection, as far as the host lets us */
#define BATCH       32        /* frames that go together, */
#define SMALL_BYTES 2048      /* each at most so long */
#define OFFLOADS    (NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN)

struct net_switch;

struct peer {
	struct net_switch *sw;
	struct loop_source src; /* fd -1: free */
	bool ready;             /* may have a frame */
};

/* Frames on their way to one peer; nothing is left in it at the end of a turn */
struct batch {
	struct peer *to;
	unsigned n;
	struct mmsghdr msg[BATCH];
	struct iovec iov[BATCH];
	uint8_t frame[BATCH][SMALL_BYTES];
};

struct net_switch {
	struct net net;
	struct switch_folder folder;
	struct loop *loop; /* NULL: not attached */
	struct loop_source listener;
	struct peer peer[MAX_PEERS];
	unsigned next; /* whose turn it is to be read */
	struct batch batch;
	unsigned taken; /* offloads that the guest takes in what it receives */
	struct gso gso; /* a frame for one that does not take them all, in memory of ours: */
	uint8_t buf[NET_HDR_BYTES + NET_MAX_FRAME];
	struct {
		uint8_t mac[NET_MAC_BYTES];
		uint8_t peer; /* + 1; 0: nothing is known */
	} learnt[LEARNT];
};

static struct net_switch *switch_of(struct net *net)
{
	return container_of(net, struct net_switch, net);
}

/* ---- connections ---- */

static void forget(struct peer *peer)
{
	struct net_switch *sw = peer->sw;
	const uint8_t number = (uint8_t)(peer - sw->peer + 1);

	if (sw->loop)
		loop_del(sw->loop, &peer->src);
	close(peer->src.fd);
	peer->src.fd = -1;
	peer->ready = false;
	for (unsigned i = 0; i < LEARNT; i++)
		if (sw->learnt[i].peer == number)
			sw->learnt[i].peer = 0;
}

static void peer_ready(struct loop_source *src, uint32_t events)
{
	struct peer *peer = container_of(src, struct peer, src);

	(void)events;
	peer->ready = true;
	peer->sw->net.readable(&peer->sw->net, 0);
}

/* Guests of other users have no business here. */
static bool is_ours(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) && cred.uid == geteuid();
}

/* @fd becomes the switch's, or is closed. Return: 0 or -errno, not logged */
static int add_peer(struct net_switch *sw, int fd)
{
	const int room = ROOM_BYTES;
	int err = is_ours(fd) ? -EMFILE : -EPERM;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	for (unsigned i = 0; err == -EMFILE && i < MAX_PEERS; i++) {
		struct peer *peer = &sw->peer[i];

		if (peer->src.fd >= 0)
			continue;
		*peer = (struct peer){ .sw = sw, .src = { fd, peer_ready }, .ready = true };
		err = sw->loop ? loop_add(sw->loop, &peer->src, EPOLLIN | EPOLLET) : 0;
		if (!err)
			return 0;
		peer->src.fd = -1;
	}
	close(fd);
	return err;
}

static void somebody_comes(struct loop_source *src, uint32_t events)
{
	struct net_switch *sw = container_of(src, struct net_switch, listener);
	const int fd = accept4(src->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int err;

	(void)events;
	if (fd < 0)
		return;
	err = add_peer(sw, fd);
	if (err)
		log_err(err, "%s: a guest comes to switch '%s'", sw->net.name, sw->net.where);
	else
		sw->net.readable(&sw->net, 0);
}

static void detach(struct net *net, struct loop *loop)
{
	struct net_switch *sw = switch_of(net);

	loop_del(loop, &sw->listener);
	for (unsigned i = 0; i < MAX_PEERS; i++)
		if (sw->peer[i].src.fd >= 0)
			loop_del(loop, &sw->peer[i].src);
	sw->loop = NULL;
}

static int attach(struct net *net, struct loop *loop)
{
	struct net_switch *sw = switch_of(net);
	int err = loop_add(loop, &sw->listener, EPOLLIN);

	sw->loop = loop;
	for (unsigned i = 0; !err && i < MAX_PEERS; i++) {
		sw->peer[i].ready = sw->peer[i].src.fd >= 0;
		if (sw->peer[i].ready)
			err = loop_add(loop, &sw->peer[i].src, EPOLLIN | EPOLLET);
	}
	return err ? log_err(err, "%s: watch switch '%s'", net->name, net->where) : 0;
}

/* ---- frames ---- */

static unsigned slot_of(const uint8_t *mac)
{
	return (unsigned)(mac[5] ^ mac[4] * 31 ^ mac[3] * 7) & (LEARNT - 1);
}

static void learn(struct net_switch *sw, const uint8_t *mac, const struct peer *peer)
{
	const unsigned i = slot_of(mac);

	if (mac[0] & 1)
		return;
	memcpy(sw->learnt[i].mac, mac, NET_MAC_BYTES);
	sw->learnt[i].peer = (uint8_t)(peer - sw->peer + 1);
}

/* NULL: it is not known where that is, or it is a group */
static struct peer *find(struct net_switch *sw, const uint8_t *mac)
{
	const unsigned i = slot_of(mac);

	if ((mac[0] & 1) || !sw->learnt[i].peer || memcmp(sw->learnt[i].mac, mac, NET_MAC_BYTES))
		return NULL;
	return &sw->peer[sw->learnt[i].peer - 1];
}

/* Return: 0, or -errno: it is lost, and not to be sent again */
static int sent(struct peer *peer, ssize_t result)
{
	const int err = result < 0 ? -errno : 0;

	if (err == -EPIPE || err == -ECONNRESET)
		forget(peer);
	return err == -EAGAIN ? -ENOBUFS : err;
}

static int send_to(struct peer *peer, const struct iovec *iov, unsigned n_iov)
{
	const struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n_iov };

	return sent(peer, sendmsg(peer->src.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL));
}

static void flush(struct net *net)
{
	struct batch *batch = &switch_of(net)->batch;
	unsigned done = 0;

	while (done < batch->n) {
		const int n = sendmmsg(batch->to->src.fd, batch->msg + done, batch->n - done,
				       MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent(batch->to, n))
			break;
		done += (unsigned)n;
	}
	for (; done < batch->n; done++)
		net_lost(net, batch->iov[done].iov_len - NET_HDR_BYTES);
	batch->n = 0;
}

static void put_in_batch(struct net_switch *sw, struct peer *to, const struct iovec *iov,
			 unsigned n_iov, size_t bytes)
{
	struct batch *batch = &sw->batch;
	struct iovec *own;

	if (batch->n == BATCH || batch->to != to)
		flush(&sw->net);
	own = &batch->iov[batch->n];
	*own = (struct iovec){ batch->frame[batch->n], bytes };
	net_gather(iov, n_iov, 0, own->iov_base, bytes);
	batch->msg[batch->n++] = (struct mmsghdr){ .msg_hdr = { .msg_iov = own, .msg_iovlen = 1 } };
	batch->to = to;
}

static size_t bytes_of(const struct iovec *iov, unsigned n_iov)
{
	size_t bytes = 0;

	while (n_iov)
		bytes += iov[--n_iov].iov_len;
	return bytes;
}

static int send_frame(struct net *net, unsigned pair, const struct iovec *iov, unsigned n_iov)
{
	const size_t bytes = bytes_of(iov, n_iov);
	struct net_switch *sw = switch_of(net);
	uint8_t to[NET_MAC_BYTES];
	struct peer *peer;
	int err = 0;

	(void)pair;
	net_gather(iov, n_iov, NET_HDR_BYTES, to, sizeof(to));
	peer = find(sw, to);
	if (peer && bytes <= SMALL_BYTES) {
		put_in_batch(sw, peer, iov, n_iov, bytes);
		return 0;
	}
	flush(net); /* first what came first */
	if (peer)
		return send_to(peer, iov, n_iov);
	for (unsigned i = 0; i < MAX_PEERS; i++)
		if (sw->peer[i].src.fd >= 0 && send_to(&sw->peer[i], iov, n_iov))
			err = -ENOBUFS;
	return err;
}

/* Return: bytes; 0: it has none; -EMSGSIZE */
static ssize_t receive_from(struct peer *peer, const struct iovec *iov, unsigned n_iov)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n_iov };
	ssize_t n;

	do {
		n = recvmsg(peer->src.fd, &msg, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN) {
		peer->ready = false;
		return 0;
	}
	if (n <= 0) {
		forget(peer); /* he has gone */
		return 0;
	}
	return msg.msg_flags & MSG_TRUNC || n < NET_HDR_BYTES + NET_MIN_FRAME ? -EMSGSIZE : n;
}

/* The other lkvm has judged its header. Is it right, so that this one's guest may have it? */
static bool judge(const struct iovec *iov, unsigned n_iov, size_t bytes)
{
	struct virtio_net_hdr_v1 header;

	net_gather(iov, n_iov, 0, &header, sizeof(header));
	if (!gso_judge(&header, bytes - NET_HDR_BYTES, OFFLOADS))
		return false;
	net_scatter(iov, n_iov, 0, &header, sizeof(header));
	return true;
}

/* Return: bytes; 0: this one has none; -EMSGSIZE */
static ssize_t take_from(struct peer *peer, const struct iovec *iov, unsigned n_iov)
{
	const ssize_t n = receive_from(peer, iov, n_iov);
	uint8_t from[NET_MAC_BYTES];

	if (n <= 0)
		return n;
	if (!judge(iov, n_iov, (size_t)n))
		return -EMSGSIZE;
	net_gather(iov, n_iov, NET_HDR_BYTES + NET_MAC_BYTES, from, sizeof(from));
	learn(peer->sw, from, peer);
	return n;
}

/* As take_from(), of a guest that does not take all offloads */
static ssize_t take_and_mend(struct peer *peer, const struct iovec *iov, unsigned n_iov)
{
	struct net_switch *sw = peer->sw;
	const struct iovec own = { sw->buf, sizeof(sw->buf) };
	const ssize_t n = take_from(peer, &own, 1);

	if (n <= 0)
		return n;
	if (gso_begin(&sw->gso, sw->buf, (size_t)n - NET_HDR_BYTES, sw->taken))
		return -EMSGSIZE;
	return gso_next(&sw->gso, iov, n_iov);
}

/* A frame of each in turn */
static ssize_t receive(struct net *net, unsigned pair, const struct iovec *iov, unsigned n_iov)
{
	struct net_switch *sw = switch_of(net);

	(void)pair;
	if (gso_left(&sw->gso))
		return gso_next(&sw->gso, iov, n_iov);
	for (unsigned i = 0; i < MAX_PEERS; i++) {
		struct peer *peer = &sw->peer[sw->next++ % MAX_PEERS];
		ssize_t n = 0;

		if (peer->ready)
			n = sw->taken == OFFLOADS ? take_from(peer, iov, n_iov) :
						    take_and_mend(peer, iov, n_iov);
		if (n)
			return n;
	}
	return 0;
}

static int set_offloads(struct net *net, unsigned offloads)
{
	switch_of(net)->taken = offloads;
	return 0;
}

/* ---- life ---- */

static void switch_close(struct net *net)
{
	struct net_switch *sw = switch_of(net);

	switch_folder_leave(&sw->folder);
	for (unsigned i = 0; i < MAX_PEERS; i++)
		if (sw->peer[i].src.fd >= 0)
			close(sw->peer[i].src.fd);
	if (sw->listener.fd >= 0)
		close(sw->listener.fd);
	free(sw);
}

static int meet(void *ctx, int fd)
{
	return add_peer(ctx, fd);
}

static int join(struct net_switch *sw)
{
	const char *parent = sw->net.cfg->folder;
	int err =
		switch_folder_join(&sw->folder, parent, sw->net.where, &sw->listener.fd, meet, sw);

	return err ? log_err(err, "%s: switch '%s' in '%s'", sw->net.name, sw->net.where, parent)
		   : 0;
}

static const struct net_ops ops = {
	.attach = attach,
	.detach = detach,
	.send = send_frame,
	.flush = flush,
	.receive = receive,
	.set_offloads = set_offloads,
	.close = switch_close,
};

/* 10.x.y.z, by the last three bytes of the device's: who gives mac= knows it beforehand. */
static void set_addresses(struct net *net)
{
	const uint8_t *mac = net->cfg->mac;

	net->addresses.ip.s_addr =
		htonl(10U << 24 | (uint32_t)mac[3] << 16 | (uint32_t)mac[4] << 8 | mac[5]);
	net->addresses.prefix = 8;
}

int switch_open(const struct net_config *cfg, const char *name, struct net **ret)
{
	struct net_switch *sw;
	int err;

	if (!cfg->switch_name)
		return log_errx(-EINVAL, "%s: a switch needs a name: -n switch=NAME", name);
	sw = calloc(1, sizeof(*sw));
	if (!sw)
		return log_err(-ENOMEM, "%s", name);
	sw->net = (struct net){ .ops = &ops, .name = name, .cfg = cfg, .link_up = true, .offloads = OFFLOADS };
	snprintf(sw->net.where, sizeof(sw->net.where), "%s", cfg->switch_name);
	sw->folder.fd = -1;
	sw->listener = (struct loop_source){ -1, somebody_comes };
	for (unsigned i = 0; i < MAX_PEERS; i++)
		sw->peer[i].src.fd = -1;
	set_addresses(&sw->net);
	err = join(sw);
	if (err)
		switch_close(&sw->net);
	else
		*ret = &sw->net;
	return err;
}
