/*
 * What a driver can observe of the network device beyond the core: which frames it wants, the pairs and offloads that
 * it has chosen, where its frames go, its address, and whether the link is there.
 *
 * The end may be another one, at another place of the network: the driver is asked to announce itself. A machine whose
 * driver has not come up yet has the address that this device is made with, as a copy is another station; one that has
 * keeps the address that it knows.
 */
#include <errno.h>
#include <string.h>

#include "net-internal.h"

#define OFFLOADS (NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_USO)

struct net_state {
	uint64_t vlan[NET_VLANS / 64];
	uint32_t max_pairs, pairs; /* pairs: 0: no driver */
	uint32_t mtu, offloads;
	uint32_t n_uni, n_multi; /* bytes */
	uint8_t promisc, allmulti, alluni, nomulti, nouni, nobcast, more_uni, more_multi;
	uint8_t unplugged, announce;
	uint8_t mac[NET_MAC_BYTES];
	uint8_t uni[NET_TABLE * NET_MAC_BYTES], multi[NET_TABLE * NET_MAC_BYTES];
	/* Of a device that steers: struct net_steering */
	uint32_t hash_types, key_bytes, n_table, unclassified;
	uint16_t table[NET_STEER_TABLE];
	uint8_t key[NET_KEY_BYTES];
};

#define FLAG(member) STATE_ONE(struct net_state, member, .max = 1)

static const struct state_field fields[] = {
	STATE_ARRAY(struct net_state, vlan),
	STATE_ONE(struct net_state, max_pairs, .max = NET_MAX_PAIRS),
	STATE_ONE(struct net_state, pairs, .max = NET_MAX_PAIRS),
	STATE_ONE(struct net_state, mtu, .max = NET_MAX_MTU),
	STATE_ONE(struct net_state, offloads, .bits = OFFLOADS),
	STATE_ONE(struct net_state, n_uni, .max = NET_TABLE *NET_MAC_BYTES),
	STATE_ONE(struct net_state, n_multi, .max = NET_TABLE *NET_MAC_BYTES),
	FLAG(promisc),
	FLAG(allmulti),
	FLAG(alluni),
	FLAG(nomulti),
	FLAG(nouni),
	FLAG(nobcast),
	FLAG(more_uni),
	FLAG(more_multi),
	FLAG(unplugged),
	FLAG(announce),
	STATE_ARRAY(struct net_state, mac),
	STATE_SOME(struct net_state, uni, n_uni),
	STATE_SOME(struct net_state, multi, n_multi),
	STATE_ONE(struct net_state, hash_types, .bits = NET_HASH_TYPES, .since = 2),
	STATE_ONE(struct net_state, key_bytes, .max = NET_KEY_BYTES, .since = 2),
	STATE_ONE(struct net_state, n_table, .max = NET_STEER_TABLE, .since = 2),
	STATE_ONE(struct net_state, unclassified, .max = NET_MAX_PAIRS - 1, .since = 2),
	STATE_SOME(struct net_state, table, n_table, .since = 2),
	STATE_SOME(struct net_state, key, key_bytes, .since = 2),
};

_Static_assert(offsetof(struct net_state, hash_types) % 8 == 0 && sizeof(struct net_state) % 8 == 0, "no padding");

static struct net_steering steering_of(const struct net_state *st)
{
	struct net_steering to = {
		.types = st->hash_types,
		.key_bytes = st->key_bytes,
		.n_table = st->n_table,
		.unclassified = (uint16_t)st->unclassified,
	};

	memcpy(to.table, st->table, sizeof(to.table));
	memcpy(to.key, st->key, sizeof(to.key));
	return to;
}

static const char *check(const void *state)
{
	const struct net_state *st = state;
	const struct net_steering to = steering_of(st);

	if (st->n_uni % NET_MAC_BYTES || (st->n_uni && st->more_uni))
		return "n_uni";
	if (st->n_multi % NET_MAC_BYTES || (st->n_multi && st->more_multi))
		return "n_multi";
	return st->pairs > st->max_pairs ? "pairs" : net_steering_fault(&to, st->max_pairs);
}

/* ---- save ---- */

static void save_filter(const struct net_filter *f, struct net_state *st)
{
	st->promisc = f->promisc;
	st->allmulti = f->allmulti;
	st->alluni = f->alluni;
	st->nomulti = f->nomulti;
	st->nouni = f->nouni;
	st->nobcast = f->nobcast;
	st->more_uni = f->more_uni;
	st->more_multi = f->more_multi;
	st->n_uni = f->n_uni * NET_MAC_BYTES;
	st->n_multi = f->n_multi * NET_MAC_BYTES;
	memcpy(st->uni, f->uni, st->n_uni);
	memcpy(st->multi, f->multi, st->n_multi);
	memcpy(st->vlan, f->vlan, sizeof(st->vlan));
}

static void save_steer(const struct net_steer *s, struct net_state *st)
{
	st->hash_types = s->hash.types;
	st->key_bytes = s->hash.key_bytes;
	st->n_table = s->n_table;
	st->unclassified = s->unclassified;
	memcpy(st->key, s->hash.key, sizeof(st->key));
	memcpy(st->table, s->table, sizeof(st->table));
}

static int save(void *dev, void *ret_state)
{
	const struct virtio_net *vn = vn_of(dev);
	struct net_state *st = ret_state;

	st->max_pairs = net_pairs(vn);
	st->pairs = vn->pairs;
	st->mtu = vn->net->mtu;
	st->offloads = vn->offloads;
	st->unplugged = atomic_load(&vn->unplugged);
	st->announce = vn->announce;
	memcpy(st->mac, vn->mac, sizeof(st->mac));
	save_filter(&vn->filter, st);
	if (vn->steer)
		save_steer(vn->steer, st);
	return 0;
}

/* ---- load ---- */

/* What is offered by features was judged with those. */
static int judge(const struct virtio_net *vn, const struct net_state *st)
{
	const bool runs = vn->pairs;

	if (st->max_pairs != net_pairs(vn) || st->mtu != vn->net->mtu)
		return -ENODEV;
	const bool rss = virtio_has(&vn->dev, VIRTIO_NET_F_RSS), hashes = virtio_has(&vn->dev, VIRTIO_NET_F_HASH_REPORT);

	if (runs != (st->pairs != 0) || (st->pairs > 1 && !rss && !virtio_has(&vn->dev, VIRTIO_NET_F_MQ)))
		return -EINVAL;
	if ((st->n_table && !(runs && rss)) || ((st->hash_types || st->key_bytes) && !(runs && (rss || hashes))))
		return -EINVAL;
	if (st->offloads & ~(runs ? net_guest_offloads(vn->dev.driver_features) : 0))
		return -EINVAL;
	return st->announce && !virtio_has(&vn->dev, VIRTIO_NET_F_GUEST_ANNOUNCE) ? -EINVAL : 0;
}

static void load_filter(struct virtio_net *vn, const struct net_state *st)
{
	struct net_filter *f = &vn->filter;

	net_filter_reset(f, vn->dev.driver_features);
	f->promisc = st->promisc;
	f->allmulti = st->allmulti;
	f->alluni = st->alluni;
	f->nomulti = st->nomulti;
	f->nouni = st->nouni;
	f->nobcast = st->nobcast;
	f->more_uni = st->more_uni;
	f->more_multi = st->more_multi;
	f->n_uni = st->n_uni / NET_MAC_BYTES;
	f->n_multi = st->n_multi / NET_MAC_BYTES;
	memcpy(f->uni, st->uni, st->n_uni);
	memcpy(f->multi, st->multi, st->n_multi);
	memcpy(f->vlan, st->vlan, sizeof(f->vlan));
}

/* The worker is parked, and has activated the device if there is a driver. */
static int load(void *dev, const void *state)
{
	struct virtio_net *vn = vn_of(dev);
	const struct net_state *st = state;
	const struct net_steering to = steering_of(st);
	int err = judge(vn, st);

	if (!err && st->pairs)
		err = net_apply_offloads(vn, st->offloads);
	if (!err && st->pairs)
		err = net_apply_pairs(vn, st->pairs);
	if (err)
		return err;
	load_filter(vn, st);
	if (vn->steer)
		net_steer_set(vn->steer, &to);
	pthread_mutex_lock(&vn->dev.event_lock);
	atomic_store(&vn->unplugged, st->unplugged);
	memcpy(vn->mac, st->pairs ? st->mac : vn->own_mac, sizeof(vn->mac));
	vn->announce = st->announce;
	pthread_mutex_unlock(&vn->dev.event_lock);
	vn->moved = st->pairs && virtio_has(dev, VIRTIO_NET_F_GUEST_ANNOUNCE); /* of which it is told when it goes on */
	return 0;
}

const struct state_type net_state_type = {
	STATE_TYPE("virtio-net", 2, struct net_state, fields),
	.check = check,
	.save = save,
	.load = load,
};
