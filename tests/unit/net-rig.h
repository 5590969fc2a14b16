/*
 * An end of a network for tests of the device: a socket pair whose other end is the test's. Frames pass with their
 * headers, as through a tap.
 */
#ifndef TESTS_NET_RIG_H
#define TESTS_NET_RIG_H

#include <errno.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lkvm/net.h"
#include "lkvm/types.h"
#include "unit.h"

#define RIG_ALL (NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_USO)

struct rig_end {
	struct net net;
	struct loop_source src[NET_MAX_PAIRS];
	int peer[NET_MAX_PAIRS]; /* the test's */
	atomic_bool full[NET_MAX_PAIRS];
	atomic_uint offloads, pairs, refuse; /* as the device has set them; the next so many calls fail */
};

static struct net_config rig_config;
static struct rig_end *rig_end;

static inline void rig_ready(struct loop_source *src, uint32_t events)
{
	struct rig_end *end = NULL;
	unsigned pair;

	for (pair = 0; pair < NET_MAX_PAIRS; pair++)
		if (src == &rig_end->src[pair])
			break;
	end = rig_end;
	if (end->full[pair] && (events & EPOLLOUT)) {
		end->full[pair] = false;
		end->net.writable(&end->net, pair);
	}
	if (events & (EPOLLIN | EPOLLHUP))
		end->net.readable(&end->net, pair);
}

static inline int rig_attach(struct net *net, struct loop *loop)
{
	for (unsigned i = 0; i < net->max_pairs; i++)
		ck_assert_int_eq(loop_add(loop, &rig_end->src[i], EPOLLIN | EPOLLOUT | EPOLLET), 0);
	return 0;
}

static inline void rig_detach(struct net *net, struct loop *loop)
{
	for (unsigned i = 0; i < net->max_pairs; i++)
		loop_del(loop, &rig_end->src[i]);
}

static inline int rig_send(struct net *net, unsigned pair, const struct iovec *iov, unsigned n)
{
	(void)net;
	if (writev(rig_end->src[pair].fd, iov, (int)n) >= 0)
		return 0;
	rig_end->full[pair] = errno == EAGAIN;
	return -errno;
}

static inline ssize_t rig_receive(struct net *net, unsigned pair, const struct iovec *iov, unsigned n)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n };
	const ssize_t len = recvmsg(rig_end->src[pair].fd, &msg, 0);

	(void)net;
	if (len < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (!len)
		return -ECONNRESET;
	return msg.msg_flags & MSG_TRUNC ? -EMSGSIZE : len;
}

static inline int rig_set_offloads(struct net *net, unsigned offloads)
{
	(void)net;
	if (rig_end->refuse && rig_end->refuse--)
		return -EINVAL;
	rig_end->offloads = offloads;
	return 0;
}

static inline int rig_set_pairs(struct net *net, unsigned pairs)
{
	(void)net;
	if (rig_end->refuse && rig_end->refuse--)
		return -EINVAL;
	rig_end->pairs = pairs;
	return 0;
}

static inline void rig_close(struct net *net)
{
	for (unsigned i = 0; i < net->max_pairs; i++) {
		close(rig_end->src[i].fd);
		if (rig_end->peer[i] >= 0)
			close(rig_end->peer[i]);
	}
	free(rig_end);
	rig_end = NULL;
}

static const struct net_ops rig_ops = {
	.attach = rig_attach,
	.detach = rig_detach,
	.send = rig_send,
	.receive = rig_receive,
	.set_offloads = rig_set_offloads,
	.set_pairs = rig_set_pairs,
	.close = rig_close,
};

static inline struct net *rig_open(unsigned pairs, unsigned mtu)
{
	rig_end = calloc(1, sizeof(*rig_end));
	rig_end->net = (struct net){ .ops = &rig_ops, .name = "net0", .cfg = &rig_config, .offloads = RIG_ALL,
				     .max_pairs = pairs, .mtu = mtu, .link_up = true, .where = "rig" };
	rig_end->net.linear = malloc(NET_HDR_BYTES + NET_MAX_FRAME);
	for (unsigned i = 0; i < pairs; i++) {
		int fds[2];

		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
		rig_end->src[i] = (struct loop_source){ fds[0], rig_ready };
		rig_end->peer[i] = fds[1];
	}
	return &rig_end->net;
}

/* ---- the host's side ---- */

static inline void rig_put(unsigned pair, const struct virtio_net_hdr_v1 *header, const void *frame, size_t n)
{
	const struct iovec iov[2] = { { (void *)header, sizeof(*header) }, { (void *)frame, n } };

	ck_assert_int_eq(writev(rig_end->peer[pair], iov, 2), (ssize_t)(sizeof(*header) + n));
}

/* Return: bytes of the frame; -1: none came within @ms */
static inline ssize_t rig_get(unsigned pair, struct virtio_net_hdr_v1 *ret_header, void *ret, size_t cap, int ms)
{
	struct pollfd p = { .fd = rig_end->peer[pair], .events = POLLIN };
	struct iovec iov[2] = { { ret_header, sizeof(*ret_header) }, { ret, cap } };
	ssize_t n;

	if (poll(&p, 1, ms) != 1)
		return -1;
	n = readv(p.fd, iov, 2);
	ck_assert_int_ge(n, (ssize_t)sizeof(*ret_header));
	return n - (ssize_t)sizeof(*ret_header);
}

/* A frame to @to whose bytes are known */
static inline void rig_fill(uint8_t *frame, size_t n, const uint8_t to[NET_MAC_BYTES], uint8_t seed)
{
	for (size_t i = 0; i < n; i++)
		frame[i] = (uint8_t)(seed + i * 7 + i / 256);
	memcpy(frame, to, NET_MAC_BYTES);
	frame[12] = 0x88; /* neither a VLAN nor anything else that is known */
	frame[13] = 0xb5;
}

#endif
