/*
 * A device whose end has one way for frames, and which spreads them over queues by itself: what the driver says of that
 * (RSS, or hashes alone), and where a frame goes; see net-internal.h. Worker. Spec: virtio 1.2, 5.1.6.4.3, 5.1.6.5.6
 */
#include "net-internal.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int net_steer_new(struct virtio_net *vn)
{
	if (!vn->net->steered)
		return 0;
	vn->steer = calloc(1, sizeof(*vn->steer));
	return vn->steer ? 0 : -ENOMEM;
}

void net_steer_reset(struct virtio_net *vn)
{
	if (vn->steer)
		*vn->steer = (struct net_steer){ .n_table = 0 };
}

void net_steer_set(struct net_steer *s, const struct net_steering *to)
{
	net_hash_set(&s->hash, to->types, to->key, to->key_bytes);
	s->n_table = to->n_table;
	s->unclassified = to->unclassified;
	memcpy(s->table, to->table, sizeof(s->table));
}

const char *net_steering_fault(const struct net_steering *to, unsigned pairs)
{
	if (to->types & ~(uint32_t)NET_HASH_TYPES)
		return "hash_types";
	if (to->key_bytes > NET_KEY_BYTES)
		return "key";
	if (to->n_table > NET_STEER_TABLE || to->n_table & (to->n_table - 1))
		return "n_table";
	for (unsigned i = 0; i < to->n_table; i++)
		if (to->table[i] >= pairs)
			return "table";
	return to->unclassified >= pairs ? "unclassified" : NULL;
}

/* A frame that is hashed not at all, or by a driver that has not asked for RSS (any more), goes where all do. */
unsigned net_steer_frame(struct virtio_net *vn, uint8_t *header, const uint8_t *frame, size_t n)
{
	const struct net_steer *s = vn->steer;
	uint32_t hash;
	const uint16_t report = net_hash_frame(&s->hash, frame, n, &hash);

	if (net_hdr_bytes(vn) > NET_HDR_BYTES) {
		const struct virtio_net_hdr_v1_hash tail = {
			.hash_value = htole32(hash),
			.hash_report = htole16(report),
		};

		memcpy(header + NET_HDR_BYTES, (const uint8_t *)&tail + NET_HDR_BYTES, sizeof(tail) - NET_HDR_BYTES);
	}
	if (!s->n_table)
		return 0;
	return report == VIRTIO_NET_HASH_REPORT_NONE ? s->unclassified : s->table[hash & (s->n_table - 1)];
}
