/*
 * A tap interface of the host's as the end of a network: one that is there, a new one, or a descriptor that lkvm was
 * given, of a macvtap too.
 *
 * The kernel takes and gives the header that the device has, so a frame is one system call, from or to the guest's
 * own buffers. Each pair of queues has its descriptor. They are watched edge triggered: whoever is told that there
 * is something reads until there is nothing.
 */
#include "net-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lkvm/log.h"
#include "lkvm/types.h"

#ifndef TUN_F_USO4 /* of Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define TUN_PATH "/dev/net/tun"
#define INSTEAD  "; -n user needs no privilege"

struct tap;

struct tap_queue {
	struct tap *tap;
	struct loop_source src; /* fd -1: not open */
	bool full;              /* the last frame found no room */
	bool enabled;
};

struct tap {
	struct net net;
	bool created; /* by us: it goes with its last descriptor */
	bool set_up;
	struct tap_queue queue[NET_MAX_PAIRS];
};

static struct tap *tap_of(struct net *net)
{
	return container_of(net, struct tap, net);
}

/* ---- on the worker ---- */

static void ready(struct loop_source *src, uint32_t events)
{
	struct tap_queue *q = container_of(src, struct tap_queue, src);
	struct net *net = &q->tap->net;
	const unsigned pair = (unsigned)(q - q->tap->queue);

	if (q->full && (events & EPOLLOUT)) {
		q->full = false;
		net->writable(net, pair);
	}
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		net->readable(net, pair);
}

static void detach(struct net *net, struct loop *loop)
{
	for (unsigned i = 0; i < net->max_pairs; i++) {
		loop_del(loop, &tap_of(net)->queue[i].src);
		tap_of(net)->queue[i].full = false;
	}
}

static int attach(struct net *net, struct loop *loop)
{
	int err = 0;

	for (unsigned i = 0; !err && i < net->max_pairs; i++)
		err = loop_add(loop, &tap_of(net)->queue[i].src, EPOLLIN | EPOLLOUT | EPOLLET);
	return err ? log_err(err, "%s: watch %s", net->name, net->where) : 0;
}

static int send_frame(struct net *net, unsigned pair, const struct iovec *iov, unsigned n_iov)
{
	struct tap_queue *q = &tap_of(net)->queue[pair];
	ssize_t n;

	do {
		n = writev(q->src.fd, iov, (int)n_iov);
	} while (n < 0 && errno == EINTR);
	q->full = n < 0 && errno == EAGAIN;
	return n < 0 ? -errno : 0;
}

static size_t total(const struct iovec *iov, unsigned n)
{
	size_t bytes = 0;

	while (n--)
		bytes += iov[n].iov_len;
	return bytes;
}

static ssize_t read_frame(int fd, const struct iovec *iov, unsigned n_iov)
{
	ssize_t n;

	do {
		n = readv(fd, iov, (int)n_iov);
	} while (n < 0 && errno == EINTR);
	return n < 0 && errno != EAGAIN ? -errno : n < 0 ? 0 : n;
}

/* The kernel cuts off what has no room, and does not say so: there is a byte more of it. */
static ssize_t read_short(int fd, const struct iovec *iov, unsigned n_iov, size_t room)
{
	struct iovec more[NET_MAX_IOV];
	char rest;
	ssize_t n;

	memcpy(more, iov, n_iov * sizeof(*iov));
	more[n_iov] = (struct iovec){ &rest, 1 };
	n = read_frame(fd, more, n_iov + 1);
	return n > (ssize_t)room ? -EMSGSIZE : n;
}

static ssize_t receive(struct net *net, unsigned pair, const struct iovec *iov, unsigned n_iov)
{
	const int fd = tap_of(net)->queue[pair].src.fd;
	const size_t room = total(iov, n_iov);

	if (room >= NET_HDR_BYTES + NET_MAX_FRAME || n_iov == NET_MAX_IOV)
		return read_frame(fd, iov, n_iov);
	return read_short(fd, iov, n_iov, room);
}

/* ---- what the guest has negotiated ---- */

static unsigned tun_offloads(unsigned offloads)
{
	unsigned flags = offloads & NET_CSUM ? TUN_F_CSUM : 0;

	if (offloads & NET_TSO4)
		flags |= TUN_F_TSO4;
	if (offloads & NET_TSO6)
		flags |= TUN_F_TSO6;
	if (offloads & NET_ECN)
		flags |= TUN_F_TSO_ECN;
	if (offloads & NET_USO)
		flags |= TUN_F_USO4 | TUN_F_USO6;
	return flags;
}

static int set_offloads(struct net *net, unsigned offloads)
{
	const int fd = tap_of(net)->queue[0].src.fd;

	return ioctl(fd, TUNSETOFFLOAD, (unsigned long)tun_offloads(offloads)) ? -errno : 0;
}

static int enable(struct tap_queue *q, bool on)
{
	struct ifreq ifr = { .ifr_flags = on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };

	if (q->enabled == on)
		return 0;
	if (ioctl(q->src.fd, TUNSETQUEUE, &ifr))
		return -errno;
	q->enabled = on;
	return 0;
}

static int descriptor(const struct net *net, unsigned pair)
{
	return container_of(net, const struct tap, net)->queue[pair].src.fd;
}

static int set_pairs(struct net *net, unsigned pairs)
{
	int err = 0;

	for (unsigned i = 0; !err && i < net->max_pairs; i++)
		err = enable(&tap_of(net)->queue[i], i < pairs);
	return err;
}

/* ---- opening ---- */

static void tap_close(struct net *net)
{
	struct tap *tap = tap_of(net);

	if (tap->set_up && net->cfg->downscript)
		net_script(net->name, net->cfg->downscript, net->where);
	for (unsigned i = 0; i < NET_MAX_PAIRS; i++)
		if (tap->queue[i].src.fd >= 0)
			close(tap->queue[i].src.fd);
	free(tap);
}

static const struct net_ops ops = {
	.attach = attach,
	.detach = detach,
	.send = send_frame,
	.receive = receive,
	.set_offloads = set_offloads,
	.set_pairs = set_pairs,
	.descriptor = descriptor,
	.close = tap_close,
};

static int open_failed(const struct tap *tap, int err)
{
	const char *name = tap->net.name, *ifname = tap->net.cfg->ifname;

	if (err == -EPERM && !tap->created)
		return log_errx(err, "%s: interface '%s' belongs to somebody else: `ip tuntap add %s mode tap user NAME` "
				     "gives it to a user, CAP_NET_ADMIN may use each" INSTEAD, name, ifname, ifname);
	if (err == -EPERM)
		return log_errx(err, "%s: a new tap interface needs CAP_NET_ADMIN" INSTEAD, name);
	if (err == -EBUSY)
		return log_errx(err, "%s: interface '%s' is in use", name, ifname);
	if (err == -EINVAL && !tap->created)
		return log_errx(err, "%s: interface '%s' is no tap, or not of as many queues", name, ifname);
	return log_err(err, "%s: open tap interface '%s'", name, ifname ? ifname : "");
}

/* Whether an interface that is there has several queues is known only by trying. */
static int set_iff(int fd, struct ifreq *ifr, bool many)
{
	ifr->ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (many ? IFF_MULTI_QUEUE : 0));
	if (!ioctl(fd, TUNSETIFF, ifr))
		return 0;
	if (errno != EINVAL || many)
		return -errno;
	ifr->ifr_flags |= IFF_MULTI_QUEUE;
	return ioctl(fd, TUNSETIFF, ifr) ? -errno : 0;
}

static int open_queue(struct tap *tap, unsigned i)
{
	struct ifreq ifr = { .ifr_flags = 0 };
	const int fd = open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int err;

	if (fd < 0 && (errno == ENOENT || errno == ENODEV))
		return log_errx(-errno, "%s: this host has no %s (modprobe tun)" INSTEAD, tap->net.name, TUN_PATH);
	if (fd < 0)
		return log_err(-errno, "%s: open %s", tap->net.name, TUN_PATH);
	tap->queue[i].src.fd = fd;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%.15s", tap->net.where);
	err = set_iff(fd, &ifr, tap->net.max_pairs > 1);
	if (err)
		return open_failed(tap, err);
	tap->queue[i].enabled = true;
	snprintf(tap->net.where, sizeof(tap->net.where), "%.15s", ifr.ifr_name);
	return 0;
}

static int open_all(struct tap *tap)
{
	const char *ifname = tap->net.cfg->ifname;
	int err = 0;

	tap->created = !ifname || !if_nametoindex(ifname);
	snprintf(tap->net.where, sizeof(tap->net.where), "%s", ifname ? ifname : "lkvm%d");
	for (unsigned i = 0; !err && i < tap->net.max_pairs; i++)
		err = open_queue(tap, i);
	return err;
}

static int take_fd(struct tap *tap)
{
	const int fd = (int)strtoul(tap->net.cfg->fd, NULL, 10), flags = fcntl(fd, F_GETFL);
	const char *name = tap->net.name;
	struct ifreq ifr;

	if (flags < 0)
		return log_err(-errno, "%s: descriptor %d", name, fd);
	if (ioctl(fd, TUNGETIFF, &ifr))
		return log_errx(-EINVAL, "%s: descriptor %d is not that of a tap or macvtap interface", name, fd);
	if (!(ifr.ifr_flags & IFF_VNET_HDR) || !(ifr.ifr_flags & IFF_NO_PI) || !(ifr.ifr_flags & IFF_TAP))
		return log_errx(-EINVAL, "%s: descriptor %d was not opened with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR", name,
				fd);
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) || fcntl(fd, F_SETFD, FD_CLOEXEC))
		return log_err(-errno, "%s: descriptor %d", name, fd);
	snprintf(tap->net.where, sizeof(tap->net.where), "%.15s", ifr.ifr_name);
	tap->queue[0].src.fd = fd;
	tap->queue[0].enabled = true;
	return 0;
}

/* ---- the interface ---- */

/*
 * Each new one has the same address, so that a guest which goes on from a snapshot on another one still finds the host
 * at the address that it has learnt. It is a high one, as a bridge takes the lowest of its ports for its own.
 */
static int set_address(struct tap *tap, int sock)
{
	static const uint8_t host[NET_MAC_BYTES] = { 0xfe, 0xff, 0xff, 0xff, 0xff, 0xfe };
	struct ifreq ifr = { .ifr_hwaddr.sa_family = ARPHRD_ETHER };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%.15s", tap->net.where);
	memcpy(ifr.ifr_hwaddr.sa_data, host, sizeof(host));
	if (ioctl(sock, SIOCSIFHWADDR, &ifr))
		return log_err(-errno, "%s: set the address of '%s'", tap->net.name, tap->net.where);
	return 0;
}

static int change_interface(struct tap *tap, int sock)
{
	const unsigned mtu = tap->net.cfg->mtu;
	struct ifreq ifr = { .ifr_flags = 0 };
	int err;

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%.15s", tap->net.where);
	if (mtu && mtu != tap->net.mtu) {
		ifr.ifr_mtu = (int)mtu;
		if (ioctl(sock, SIOCSIFMTU, &ifr))
			return log_err(-errno, "%s: make the MTU of '%s' %u", tap->net.name, tap->net.where, mtu);
		tap->net.mtu = mtu;
	}
	/* One that was there is as its owner wants it. */
	if (!tap->created || tap->net.cfg->script)
		return 0;
	err = set_address(tap, sock);
	if (err || ioctl(sock, SIOCGIFFLAGS, &ifr))
		return err;
	ifr.ifr_flags |= IFF_UP;
	if (ioctl(sock, SIOCSIFFLAGS, &ifr))
		return log_err(-errno, "%s: switch '%s' on", tap->net.name, tap->net.where);
	return 0;
}

static int set_interface(struct tap *tap)
{
	const int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_flags = 0 };
	int err;

	if (sock < 0)
		return log_err(-errno, "%s: a socket", tap->net.name);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%.15s", tap->net.where);
	if (!ioctl(sock, SIOCGIFMTU, &ifr))
		tap->net.mtu = (unsigned)ifr.ifr_mtu;
	err = change_interface(tap, sock);
	close(sock);
	return err;
}

/* What the kernel knows of offloads is found out by asking for it. */
static int set_header(struct tap *tap)
{
	static const unsigned all = NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN;
	int bytes = NET_HDR_BYTES;

	for (unsigned i = 0; i < tap->net.max_pairs; i++)
		if (ioctl(tap->queue[i].src.fd, TUNSETVNETHDRSZ, &bytes))
			return log_err(-errno, "%s: set up '%s'", tap->net.name, tap->net.where);
	if (!set_offloads(&tap->net, all | NET_USO))
		tap->net.offloads = all | NET_USO;
	else if (!set_offloads(&tap->net, all))
		tap->net.offloads = all;
	set_offloads(&tap->net, 0);
	return 0;
}

static int tap_start(struct tap *tap)
{
	int err = tap->net.cfg->fd ? take_fd(tap) : open_all(tap);

	if (!err)
		err = set_header(tap);
	if (!err && tap->net.cfg->script)
		err = net_script(tap->net.name, tap->net.cfg->script, tap->net.where);
	if (!err)
		err = set_interface(tap);
	tap->set_up = !err;
	return err;
}

int tap_open(const struct net_config *cfg, const char *name, struct net **ret)
{
	struct tap *tap;
	int err;

	if (cfg->fd && (cfg->ifname || (cfg->queues > 1 && !cfg->rss)))
		return log_errx(-EINVAL, "%s: fd= goes neither with ifname= nor, without rss, with queues=", name);
	tap = calloc(1, sizeof(*tap));
	if (!tap)
		return log_err(-ENOMEM, "%s", name);
	tap->net = (struct net){ .ops = &ops, .name = name, .cfg = cfg, .link_up = true };
	tap->net.max_pairs = cfg->queues && !cfg->rss ? cfg->queues : 1;
	for (unsigned i = 0; i < NET_MAX_PAIRS; i++)
		tap->queue[i] = (struct tap_queue){ .tap = tap, .src = { -1, ready } };
	err = tap_start(tap);
	if (err)
		tap_close(&tap->net);
	else
		*ret = &tap->net;
	return err;
}
