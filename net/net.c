/* The ends of a network, by kind; and what passes between any of them and the device. See lkvm/net.h. */
#include "net-internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/log.h"
#include "lkvm/net-pcap.h"

/* THE list */
static const struct {
	const char *name;
	int (*open)(const struct net_config *cfg, const char *name, struct net **ret);
} kinds[NET_KINDS] = {
	[NET_USER] = { "user", user_open },
	[NET_TAP] = { "tap", tap_open },
	[NET_SWITCH] = { "switch", switch_open },
	[NET_PASST] = { "passt", passt_open },
};

const char *net_kind_name(enum net_kind kind)
{
	return kinds[kind].name;
}

/* ---- an address ---- */

#define FNV_BASIS 0xcbf29ce484222325ULL
#define FNV_PRIME 0x100000001b3ULL

static uint64_t mix(uint64_t hash, const void *data, size_t len)
{
	for (const uint8_t *byte = data; len--; byte++)
		hash = (hash ^ *byte) * FNV_PRIME;
	return hash;
}

/* Two hosts on one wire have guests of one name. */
static uint64_t mix_host(uint64_t hash)
{
	FILE *f = fopen("/etc/machine-id", "re");
	char id[64];
	const size_t n = f ? fread(id, 1, sizeof(id), f) : 0;

	if (f)
		fclose(f);
	return mix(hash, id, n);
}

void net_mac(const char *guest, unsigned index, uint8_t ret[NET_MAC_BYTES])
{
	const uint32_t uid = geteuid();
	uint64_t hash = mix(mix_host(FNV_BASIS), &uid, sizeof(uid));

	hash = mix(mix(hash, guest, strlen(guest)), &index, sizeof(index));
	hash ^= hash >> 33; /* the last bytes have not reached all bits yet */
	hash *= 0xff51afd7ed558ccdULL;
	hash ^= hash >> 33;
	ret[0] = 0x02; /* nobody's, and of one station */
	memcpy(ret + 1, &hash, NET_MAC_BYTES - 1);
}

/* ---- life ---- */

static void none_close(struct net *net)
{
	free(net);
}

static const struct net_ops none_ops = { .close = none_close };

static int finish(struct net *net, const struct net_config *cfg, const char *name)
{
	net->name = name;
	net->cfg = cfg;
	if (cfg->mtu)
		net->mtu = cfg->mtu;
	if (!net->max_pairs)
		net->max_pairs = 1;
	if (cfg->rss)
		net->steered = cfg->queues ? cfg->queues : 1;
	net->linear = malloc(NET_HDR_BYTES + NET_MAX_FRAME);
	if (!net->linear)
		return log_err(-ENOMEM, "%s", name);
	if (net->ops == &none_ops)
		return 0;
	return cfg->vhost ? net_vhost_open(net) : cfg->pcap ? pcap_open(cfg->pcap, &net->pcap) : 0;
}

/* What the kernel moves does not come by here, and it knows split rings only. Others than a tap have one way for frames. */
static int judge(const struct net_config *cfg, const char *name)
{
	if (cfg->queues > 1 && !cfg->rss && cfg->kind != NET_TAP)
		return log_errx(-EINVAL, "%s: queues= of a network of kind %s goes with rss only", name, kinds[cfg->kind].name);
	if (cfg->vhost && cfg->rss)
		return log_errx(-EINVAL, "%s: rss does not go with vhost=on, where the host's kernel steers", name);
	if (cfg->vhost && cfg->pcap)
		return log_errx(-EINVAL, "%s: pcap= does not go with vhost=on: record at the interface (tcpdump -i)", name);
	if (cfg->vhost && cfg->packed)
		return log_errx(-EINVAL, "%s: packed rings do not go with vhost=on", name);
	return 0;
}

int net_open(const struct net_config *cfg, const char *name, struct net **ret)
{
	struct net *net;
	int err = judge(cfg, name);

	if (!err)
		err = kinds[cfg->kind].open(cfg, name, &net);
	if (err)
		return err;
	err = finish(net, cfg, name);
	if (err)
		net_close(net);
	else
		*ret = net;
	return err;
}

int net_none(const struct net_config *cfg, const char *name, struct net **ret)
{
	struct net *net = calloc(1, sizeof(*net));
	int err;

	if (!net)
		return log_err(-ENOMEM, "%s", name);
	net->ops = &none_ops;
	net->max_pairs = cfg->rss ? 1 : cfg->queues;
	err = finish(net, cfg, name);
	if (err)
		net_close(net);
	else
		*ret = net;
	return err;
}

void net_close(struct net *net)
{
	if (!net)
		return;
	free(net->linear);
	pcap_close(net->pcap);
	net_vhost_close(net->vhost);
	net->ops->close(net);
}

int net_attach(struct net *net, struct loop *loop)
{
	return net->ops->attach(net, loop);
}

void net_detach(struct net *net, struct loop *loop)
{
	net->ops->detach(net, loop);
}

/* ---- bytes ---- */

/* What of *@iov is within the next @len bytes behind *@off, which counts down to 0. */
static struct iovec part_of(const struct iovec *iov, size_t *off, size_t len)
{
	const size_t skip = *off < iov->iov_len ? *off : iov->iov_len, rest = iov->iov_len - skip;

	*off -= skip;
	return (struct iovec){ (char *)iov->iov_base + skip, rest < len ? rest : len };
}

size_t net_gather(const struct iovec *iov, unsigned n_iov, size_t off, void *dst, size_t len)
{
	size_t done = 0;

	for (; n_iov-- && done < len; iov++) {
		const struct iovec part = part_of(iov, &off, len - done);

		memcpy((char *)dst + done, part.iov_base, part.iov_len);
		done += part.iov_len;
	}
	return done;
}

size_t net_scatter(const struct iovec *iov, unsigned n_iov, size_t off, const void *src, size_t len)
{
	size_t done = 0;

	for (; n_iov-- && done < len; iov++) {
		const struct iovec part = part_of(iov, &off, len - done);

		memcpy(part.iov_base, (const char *)src + done, part.iov_len);
		done += part.iov_len;
	}
	return done;
}

#define TYPE_AT        12 /* of the frame's payload */
#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_QINQ 0x88a8
#define MAX_TAGS       2
#define IPV4_BYTES     20
#define IPV6_BYTES     40

static unsigned type_at(const uint8_t *frame, size_t n, size_t at)
{
	return n < at + 2 ? 0 : (unsigned)(frame[at] << 8 | frame[at + 1]);
}

size_t net_ip_at(const uint8_t *frame, size_t n, bool *v6)
{
	size_t at = TYPE_AT, left, header;
	unsigned type = type_at(frame, n, at);

	for (unsigned i = 0; i < MAX_TAGS && (type == ETHERTYPE_VLAN || type == ETHERTYPE_QINQ); i++) {
		at += 4;
		type = type_at(frame, n, at);
	}
	*v6 = type == ETHERTYPE_IPV6;
	if (type != ETHERTYPE_IPV4 && type != ETHERTYPE_IPV6)
		return 0;
	at += 2;
	left = n - at;
	if (!left || frame[at] >> 4 != (*v6 ? 6 : 4))
		return 0;
	header = *v6 ? IPV6_BYTES : 4u * (frame[at] & 0xf);
	return header >= IPV4_BYTES && header <= left ? at : 0;
}

/* ---- what passes ---- */

void net_received(struct net *net, size_t bytes)
{
	net_count(&net->counters.received, 1);
	net_count(&net->counters.received_bytes, bytes);
}

void net_dropped(struct net *net, bool sent)
{
	net_count(sent ? &net->counters.sent_dropped : &net->counters.received_dropped, 1);
}

void net_lost(struct net *net, size_t bytes)
{
	net_count(&net->counters.sent, (uint64_t)-1);
	net_count(&net->counters.sent_bytes, -(uint64_t)bytes);
	net_dropped(net, true);
}

int net_send(struct net *net, unsigned pair, const struct iovec *iov, unsigned n_iov, size_t bytes)
{
	struct iovec one = { net->linear, NET_HDR_BYTES + bytes };
	int err;

	if (n_iov > NET_MAX_IOV) {
		net_gather(iov, n_iov, 0, net->linear, one.iov_len);
		iov = &one;
		n_iov = 1;
	}
	err = net->broken ? -EPIPE : net->ops->send(net, pair, iov, n_iov);
	if (err == -EAGAIN)
		return err;
	if (err) {
		net_dropped(net, true);
		return 0;
	}
	if (net->pcap)
		pcap_write(net->pcap, iov, n_iov, NET_HDR_BYTES, bytes);
	net_count(&net->counters.sent, 1);
	net_count(&net->counters.sent_bytes, bytes);
	return 0;
}

static void broke(struct net *net, int err)
{
	log_err(err, "%s: %s is lost", net->name, net->where);
	net->broken = true;
	net->link_up = false;
	if (net->link_changed)
		net->link_changed(net);
}

ssize_t net_receive(struct net *net, unsigned pair, const struct iovec *iov, unsigned n_iov)
{
	const ssize_t n = net->broken ? 0 : net->ops->receive(net, pair, iov, n_iov);

	if (n > NET_HDR_BYTES && net->pcap)
		pcap_write(net->pcap, iov, n_iov, NET_HDR_BYTES, (size_t)n - NET_HDR_BYTES);
	if (n >= 0)
		return n;
	if (n != -EMSGSIZE) {
		broke(net, (int)n);
		return 0;
	}
	net_dropped(net, false);
	return n;
}
