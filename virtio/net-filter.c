/* Which frames a driver wants, by address and VLAN; see net-internal.h. */
#include "net-internal.h"

#include <string.h>

#define ETHERTYPE_AT   12
#define ETHERTYPE_VLAN 0x8100
#define VLAN_MASK      0x0fff

void net_filter_reset(struct net_filter *f, uint64_t features)
{
	*f = (struct net_filter){
		.promisc = true,
		.by_vlan = features >> VIRTIO_NET_F_CTRL_VLAN & 1,
	};
}

static bool is_among(const net_mac_t *table, uint32_t n, const uint8_t *mac)
{
	for (uint32_t i = 0; i < n; i++)
		if (!memcmp(table[i], mac, NET_MAC_BYTES))
			return true;
	return false;
}

static bool is_broadcast(const uint8_t *mac)
{
	static const net_mac_t all = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	return !memcmp(mac, all, sizeof(all));
}

/* What has no tag passes; of what has, the VLANs that the driver has named. */
static bool wants_vlan(const struct net_filter *f, const uint8_t *head, size_t n)
{
	unsigned id;

	if (n < ETHERTYPE_AT + 4 || (head[ETHERTYPE_AT] << 8 | head[ETHERTYPE_AT + 1]) != ETHERTYPE_VLAN)
		return true;
	id = (unsigned)(head[ETHERTYPE_AT + 2] << 8 | head[ETHERTYPE_AT + 3]) & VLAN_MASK;
	return f->vlan[id / 64] >> id % 64 & 1;
}

static bool wants_group(const struct net_filter *f, const uint8_t *mac)
{
	if (is_broadcast(mac))
		return !f->nobcast;
	if (f->nomulti)
		return false;
	return f->promisc || f->allmulti || f->more_multi || is_among(f->multi, f->n_multi, mac);
}

static bool wants_station(const struct net_filter *f, const net_mac_t own, const uint8_t *mac)
{
	if (f->nouni)
		return false;
	return f->promisc || f->alluni || f->more_uni || !memcmp(mac, own, NET_MAC_BYTES) ||
	       is_among(f->uni, f->n_uni, mac);
}

bool net_filter_wants(const struct net_filter *f, const net_mac_t own, const uint8_t *head, size_t n)
{
	if (f->by_vlan && !wants_vlan(f, head, n))
		return false;
	return head[0] & 1 ? wants_group(f, head) : wants_station(f, own, head);
}
