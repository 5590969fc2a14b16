/*
 * The control queue: what the driver asks for beside frames; see net-internal.h. Spec: virtio 1.2, 5.1.6.5
 *
 * A command is a class, a command within that, and data; its answer one byte. Data is copied, then judged. What
 * cannot be done is answered so; only what has no room for an answer breaks the device.
 */
#include "net-internal.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define HEAD_BYTES  2

/* A command's data: where it stands in the chain, and what is left of it. */
struct command {
	struct virtio_net *vn;
	const struct virtq_chain *chain;
	uint8_t number;
	uint64_t at;
};

/* Return: has it exactly so much (left)? Then it is in @ret. */
static bool take_all(struct command *c, void *ret, size_t bytes)
{
	return c->chain->out_bytes - c->at == bytes && virtq_read(c->chain, c->at, ret, bytes) == bytes;
}

/* Return: has it so much left? Then it is in @ret, and behind us. */
static bool take(struct command *c, void *ret, size_t bytes)
{
	if (c->chain->out_bytes - c->at < bytes || virtq_read(c->chain, c->at, ret, bytes) != bytes)
		return false;
	c->at += bytes;
	return true;
}

static bool has(const struct command *c, unsigned feature)
{
	return virtio_has(&c->vn->dev, feature);
}

/* ---- what is received ---- */

static bool set_mode(struct command *c)
{
	struct net_filter *f = &c->vn->filter;
	bool *const modes[] = {
		[VIRTIO_NET_CTRL_RX_PROMISC] = &f->promisc, [VIRTIO_NET_CTRL_RX_ALLMULTI] = &f->allmulti,
		[VIRTIO_NET_CTRL_RX_ALLUNI] = &f->alluni,   [VIRTIO_NET_CTRL_RX_NOMULTI] = &f->nomulti,
		[VIRTIO_NET_CTRL_RX_NOUNI] = &f->nouni,	    [VIRTIO_NET_CTRL_RX_NOBCAST] = &f->nobcast,
	};
	uint8_t on;

	if (c->number >= ARRAY_SIZE(modes) ||
	    !has(c, c->number < VIRTIO_NET_CTRL_RX_ALLUNI ? VIRTIO_NET_F_CTRL_RX : VIRTIO_NET_F_CTRL_RX_EXTRA))
		return false;
	if (!take_all(c, &on, sizeof(on)) || on > 1)
		return false;
	*modes[c->number] = on;
	return true;
}

/* One of the two tables: a number, and so many addresses. */
static bool take_table(struct command *c, net_mac_t *ret, uint32_t *ret_n, bool *ret_more)
{
	uint32_t n;

	if (virtq_read(c->chain, c->at, &n, sizeof(n)) < sizeof(n))
		return false;
	c->at += sizeof(n);
	n = le32toh(n);
	if (n > (c->chain->out_bytes - c->at) / NET_MAC_BYTES)
		return false;
	*ret_more = n > NET_TABLE;
	*ret_n = *ret_more ? 0 : n;
	virtq_read(c->chain, c->at, ret, (size_t)*ret_n * NET_MAC_BYTES);
	c->at += (uint64_t)n * NET_MAC_BYTES;
	return true;
}

static bool set_table(struct command *c)
{
	struct net_filter new = c->vn->filter;

	if (!has(c, VIRTIO_NET_F_CTRL_RX) || !take_table(c, new.uni, &new.n_uni, &new.more_uni) ||
	    !take_table(c, new.multi, &new.n_multi, &new.more_multi) || c->at != c->chain->out_bytes)
		return false;
	c->vn->filter = new;
	return true;
}

static bool set_address(struct command *c)
{
	struct virtio_net *vn = c->vn;
	net_mac_t mac;

	if (!has(c, VIRTIO_NET_F_CTRL_MAC_ADDR) || !take_all(c, mac, sizeof(mac)))
		return false;
	pthread_mutex_lock(&vn->dev.event_lock);
	memcpy(vn->mac, mac, sizeof(mac));
	pthread_mutex_unlock(&vn->dev.event_lock);
	return true;
}

static bool set_mac(struct command *c)
{
	if (c->number == VIRTIO_NET_CTRL_MAC_TABLE_SET)
		return set_table(c);
	return c->number == VIRTIO_NET_CTRL_MAC_ADDR_SET && set_address(c);
}

static bool set_vlan(struct command *c)
{
	uint64_t *map = c->vn->filter.vlan;
	uint16_t id;

	if (!has(c, VIRTIO_NET_F_CTRL_VLAN) || c->number > VIRTIO_NET_CTRL_VLAN_DEL || !take_all(c, &id, sizeof(id)))
		return false;
	id = le16toh(id);
	if (id >= NET_VLANS)
		return false;
	if (c->number == VIRTIO_NET_CTRL_VLAN_ADD)
		map[id / 64] |= 1ULL << id % 64;
	else
		map[id / 64] &= ~(1ULL << id % 64);
	return true;
}

/* ---- the rest ---- */

static bool announced(struct command *c)
{
	struct virtio_dev *dev = &c->vn->dev;

	if (!has(c, VIRTIO_NET_F_GUEST_ANNOUNCE) || c->number != VIRTIO_NET_CTRL_ANNOUNCE_ACK || !take_all(c, NULL, 0))
		return false;
	pthread_mutex_lock(&dev->event_lock);
	c->vn->announce = false;
	pthread_mutex_unlock(&dev->event_lock);
	return true;
}

static bool set_pairs(struct command *c)
{
	uint16_t pairs;

	if (!has(c, VIRTIO_NET_F_MQ) || !take_all(c, &pairs, sizeof(pairs)))
		return false;
	pairs = le16toh(pairs);
	if (!pairs || pairs > net_pairs(c->vn) || net_apply_pairs(c->vn, pairs))
		return false;
	if (c->vn->steer)
		c->vn->steer->n_table = 0;
	return true;
}

/* How long the key is stands before it. Behind it Linux has a byte that fills its struct up, from 6.12 on. */
static bool take_key(struct command *c, struct net_steering *ret)
{
	uint8_t n;

	if (!take(c, &n, sizeof(n)) || n > sizeof(ret->key))
		return false;
	ret->key_bytes = n;
	return take(c, ret->key, n);
}

/* Spec: 5.1.6.5.6.1: struct virtio_net_rss_config, in the middle of which a table has the length that its mask says */
static bool set_steering(struct command *c)
{
	struct net_steering to = { .types = 0 };
	struct {
		uint32_t types;
		uint16_t mask, unclassified;
	} head;
	uint16_t pairs;

	if (!has(c, VIRTIO_NET_F_RSS) || !take(c, &head, sizeof(head)) || le16toh(head.mask) >= NET_STEER_TABLE)
		return false;
	to.types = le32toh(head.types);
	to.unclassified = le16toh(head.unclassified);
	to.n_table = le16toh(head.mask) + 1U;
	if (!take(c, to.table, to.n_table * sizeof(to.table[0])) || !take(c, &pairs, sizeof(pairs)) || !take_key(c, &to))
		return false;
	for (unsigned i = 0; i < to.n_table; i++)
		to.table[i] = le16toh(to.table[i]);
	pairs = le16toh(pairs); /* that send */
	if (net_steering_fault(&to, net_pairs(c->vn)) || !pairs || pairs > net_pairs(c->vn) ||
	    net_apply_pairs(c->vn, pairs))
		return false;
	net_steer_set(c->vn->steer, &to);
	return true;
}

/* Spec: 5.1.6.5.6.4: for who steers by nothing. What is reserved is not looked at: it may mean something one day. */
static bool set_hash(struct command *c)
{
	struct net_steering to = { .types = 0 };
	struct {
		uint32_t types;
		uint16_t reserved[4];
	} head;

	if (!has(c, VIRTIO_NET_F_HASH_REPORT) || has(c, VIRTIO_NET_F_RSS) || !take(c, &head, sizeof(head)) ||
	    !take_key(c, &to))
		return false;
	to.types = le32toh(head.types);
	if (net_steering_fault(&to, net_pairs(c->vn)))
		return false;
	net_steer_set(c->vn->steer, &to);
	return true;
}

static bool set_queues(struct command *c)
{
	switch (c->number) {
	case VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET:
		return set_pairs(c);
	case VIRTIO_NET_CTRL_MQ_RSS_CONFIG:
		return set_steering(c);
	case VIRTIO_NET_CTRL_MQ_HASH_CONFIG:
		return set_hash(c);
	default:
		return false;
	}
}

/* Those that were negotiated, or fewer */
static bool set_offloads(struct command *c)
{
	const uint64_t all = 1ULL << VIRTIO_NET_F_GUEST_CSUM | 1ULL << VIRTIO_NET_F_GUEST_TSO4 |
			     1ULL << VIRTIO_NET_F_GUEST_TSO6 | 1ULL << VIRTIO_NET_F_GUEST_ECN |
			     1ULL << VIRTIO_NET_F_GUEST_USO4 | 1ULL << VIRTIO_NET_F_GUEST_USO6;
	uint64_t wanted;

	if (!has(c, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) || c->number != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET ||
	    !take_all(c, &wanted, sizeof(wanted)))
		return false;
	wanted = le64toh(wanted);
	if (wanted & ~(all & c->vn->dev.driver_features))
		return false;
	return !net_apply_offloads(c->vn, net_guest_offloads(wanted));
}

static bool (*const classes[])(struct command *c) = {
	[VIRTIO_NET_CTRL_RX] = set_mode,	[VIRTIO_NET_CTRL_MAC] = set_mac,
	[VIRTIO_NET_CTRL_VLAN] = set_vlan,	[VIRTIO_NET_CTRL_ANNOUNCE] = announced,
	[VIRTIO_NET_CTRL_MQ] = set_queues,	[VIRTIO_NET_CTRL_GUEST_OFFLOADS] = set_offloads,
};

static void handle(struct virtio_dev *dev, unsigned index)
{
	const struct virtq_chain *chain = dev->chain;
	struct command c = { .vn = vn_of(dev), .chain = chain, .at = HEAD_BYTES };
	uint8_t head[HEAD_BYTES], answer;

	if (!chain->in_bytes || virtq_read(chain, 0, head, sizeof(head)) < sizeof(head)) {
		virtio_break(dev, "a command without its head, or without room for an answer");
		return;
	}
	c.number = head[1];
	answer = head[0] < ARRAY_SIZE(classes) && classes[head[0]](&c) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
	virtq_write(chain, 0, &answer, sizeof(answer));
	virtio_push(dev, index, chain->token, sizeof(answer));
}

void net_control_serve(struct virtio_net *vn)
{
	virtio_serve(&vn->dev, net_control_queue(vn), handle);
}
