/*
 * The network device's own: net.c is the device, net-rx.c and net-tx.c are the ways of frames, net-control.c
 * has the driver's commands, net-filter.c which frames it wants, net-steer.c to which queue they go (net-hash.c: by
 * what), net-state.c saves and loads; net-kernel.c lets
 * vhost-net serve the queues of frames. Worker, where nothing else is said.
 */
#ifndef VIRTIO_NET_INTERNAL_H
#define VIRTIO_NET_INTERNAL_H

#include <linux/virtio_net.h>

#include "lkvm/types.h"
#include "lkvm/virtio-net.h"

#ifndef VIRTIO_NET_F_HOST_USO /* of Linux 6.2 */
#define VIRTIO_NET_F_GUEST_USO4    54
#define VIRTIO_NET_F_GUEST_USO6    55
#define VIRTIO_NET_F_HOST_USO      56
#endif

#define NET_HASH_HDR_BYTES 20 /* of struct virtio_net_hdr_v1_hash */
#define NET_QUEUE_SIZE  256
#define NET_TURN_FRAMES 256       /* of a queue, in one turn of the loop, */
#define NET_TURN_BYTES  (4 * MIB) /* and of how many bytes */
#define NET_TABLE       64        /* addresses that the driver may name */
#define NET_VLANS       4096
#define NET_RX_IOV      (3 * NET_MAX_IOV)
#define NET_KEY_BYTES   40  /* of a hash's key */
#define NET_HASH_INPUT  36  /* bytes that are hashed: addresses of IPv6, and ports */
#define NET_STEER_TABLE 128 /* entries */
#define NET_HASH_TYPES                                                                                            \
	(VIRTIO_NET_RSS_HASH_TYPE_IPv4 | VIRTIO_NET_RSS_HASH_TYPE_TCPv4 | VIRTIO_NET_RSS_HASH_TYPE_UDPv4 |        \
	 VIRTIO_NET_RSS_HASH_TYPE_IPv6 | VIRTIO_NET_RSS_HASH_TYPE_TCPv6 | VIRTIO_NET_RSS_HASH_TYPE_UDPv6)

typedef uint8_t net_mac_t[NET_MAC_BYTES];

/* Which frames the driver wants, as it has said on the control queue. */
struct net_filter {
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	bool more_uni, more_multi; /* it has named more than there is room for: all are let through */
	bool by_vlan;              /* CTRL_VLAN was negotiated */
	uint32_t n_uni, n_multi;
	net_mac_t uni[NET_TABLE], multi[NET_TABLE];
	uint64_t vlan[NET_VLANS / 64];
};

/* A receive queue: buffers that were taken off the ring and wait for a frame, in order. */
struct net_rx {
	struct virtio_net *vn;
	unsigned pair;
	bool ready;  /* the end may have something */
	bool asking; /* the driver notifies of new buffers */
	struct {
		uint64_t token, bytes;
		unsigned n_iov;
	} chain[2 * NET_QUEUE_SIZE];
	unsigned first, end; /* of them */
	struct iovec iov[NET_RX_IOV];
	unsigned iov_first, iov_end;
	uint64_t bytes; /* of all */
	uint8_t *frame; /* one that has not enough buffers yet; room for the largest */
	size_t frame_bytes; /* 0: there is none */
};

struct net_tx {
	struct virtq_chain *spare; /* heap; in @is_stuck the frame that the end has no room for */
	bool is_stuck;
};

/* What is hashed of a frame, VIRTIO_NET_RSS_HASH_TYPE_*, and with which key */
struct net_hash {
	uint32_t types, key_bytes;
	uint8_t key[NET_KEY_BYTES];                /* behind its bytes: zeros */
	uint32_t sum[2 * NET_HASH_INPUT][16]; /* what each half of a byte of the input adds */
};

/* What a driver says of that, and of where frames go */
struct net_steering {
	uint32_t types, key_bytes;
	uint32_t n_table; /* a power of two; 0: all go to the first pair */
	uint16_t unclassified, table[NET_STEER_TABLE]; /* pairs */
	uint8_t key[NET_KEY_BYTES];
};

struct net_steer {
	struct net_hash hash;
	uint32_t n_table;
	uint16_t unclassified, table[NET_STEER_TABLE];
	struct net_rx *waits; /* whose frame waits for buffers, and with it all that come behind it */
};

struct virtio_net {
	struct virtio_dev dev;
	struct net *net;
	bool attached;
	net_mac_t own_mac;       /* that it is made with */
	atomic_bool unplugged;   /* by the user */
	/* Under dev->event_lock */
	net_mac_t mac;           /* as the driver may have set it */
	bool announce;           /* the driver is to tell the network where it is */
	bool link_up;            /* the end's, as of the last link_changed() */

	/* The worker's */
	struct net_filter filter;
	bool moved;         /* it goes on where another one was, and the network does not know */
	unsigned pairs;     /* in use */
	unsigned offloads;  /* of what it receives, that the driver takes now: enum net_offload */
	unsigned turn;      /* of the loop, in which ... */
	unsigned frames[2 * NET_MAX_PAIRS]; /* ... so many have passed a queue */
	size_t turn_bytes[2 * NET_MAX_PAIRS];
	struct iovec out[VIRTQ_MAX_SEGS + 1]; /* the frame that is being sent */
	struct net_kernel *kernel; /* heap; NULL: without vhost */
	struct net_steer *steer;   /* heap; NULL: what comes by a pair of the end is for that pair of the device */
	unsigned in_kernel; /* 1 << queue: vhost-net serves it */
	struct net_rx *rx[NET_MAX_PAIRS]; /* heap, as many as the end has */
	struct net_tx tx[NET_MAX_PAIRS];
};

static inline struct virtio_net *vn_of(struct virtio_dev *dev)
{
	return container_of(dev, struct virtio_net, dev);
}

/** net_pairs() - of queues, that the device has */
static inline unsigned net_pairs(const struct virtio_net *vn)
{
	return vn->net->steered ? vn->net->steered : vn->net->max_pairs;
}

/**
 * net_pairs_in_use() - which may pass frames
 * All of a device that steers: Linux before 6.13 uses more that send than it tells of with RSS.
 */
static inline unsigned net_pairs_in_use(const struct virtio_net *vn)
{
	return vn->steer && vn->pairs ? net_pairs(vn) : vn->pairs;
}

/* Queue 2n receives and 2n + 1 sends; behind those of all pairs that a driver knows of comes the control queue. */

static inline unsigned net_control_queue(const struct virtio_net *vn)
{
	return virtio_has(&vn->dev, VIRTIO_NET_F_MQ) || virtio_has(&vn->dev, VIRTIO_NET_F_RSS) ? 2 * net_pairs(vn) : 2;
}

/** net_hdr_bytes() - what stands before each frame. Spec: 5.1.6 */
static inline size_t net_hdr_bytes(const struct virtio_net *vn)
{
	return virtio_has(&vn->dev, VIRTIO_NET_F_HASH_REPORT) ? NET_HASH_HDR_BYTES : NET_HDR_BYTES;
}

/** net_is_linked() - has the driver a link? Any thread, for what it is worth */
static inline bool net_is_linked(const struct virtio_net *vn)
{
	return vn->link_up && !atomic_load_explicit(&vn->unplugged, memory_order_relaxed);
}

/** net_may_pass() - count a frame of queue @index; false: this turn of the loop has had enough of it */
bool net_may_pass(struct virtio_net *vn, unsigned index);
void net_passed(struct virtio_net *vn, unsigned index, size_t bytes);
/** net_guest_offloads() - what of @features concerns what the guest receives, as enum net_offload */
unsigned net_guest_offloads(uint64_t features);
/** net_host_offloads() - what of @features concerns what the guest sends */
unsigned net_host_offloads(uint64_t features);
/** net_attach_end(), net_detach_end() - watch the end, or not; Return: 0 or -errno, logged */
int net_attach_end(struct virtio_net *vn);
void net_detach_end(struct virtio_net *vn);
/** net_put_back() - what waits of queue @index is the driver's again, unless the queue ends (!@again): then it is nobody's */
void net_put_back(struct virtio_net *vn, unsigned index, bool again);
/** net_apply_offloads() - tell the end; Return: 0 or -errno */
int net_apply_offloads(struct virtio_net *vn, unsigned offloads);
/** net_apply_pairs() - so many are in use from now on; Return: 0 or -errno */
int net_apply_pairs(struct virtio_net *vn, unsigned pairs);

/* ---- net-rx.c ---- */

int net_rx_new(struct virtio_net *vn, unsigned pair);
void net_rx_free(struct net_rx *rx);
/** net_rx_serve() - give the guest what there is, as far as it has room */
void net_rx_serve(struct net_rx *rx);
/** net_rx_forget() - its buffers are the driver's again, or will be taken again; what waits is lost */
void net_rx_forget(struct net_rx *rx);

/* ---- net-tx.c ---- */

void net_tx_serve(struct virtio_net *vn, unsigned pair);
/** net_tx_room() - the end has room again */
void net_tx_room(struct virtio_net *vn, unsigned pair);

/* ---- net-control.c ---- */

void net_control_serve(struct virtio_net *vn);

/* ---- net-filter.c ---- */

/** net_filter_reset() - as a driver finds it that has negotiated @features: all passes until it says otherwise */
void net_filter_reset(struct net_filter *f, uint64_t features);
/**
 * net_filter_wants() - @head: the frame's first bytes, 18 or fewer if it is shorter, NET_MIN_FRAME at least
 * Spec: 5.1.6.5.1 to 5.1.6.5.3
 */
bool net_filter_wants(const struct net_filter *f, const net_mac_t own, const uint8_t *head, size_t n);
/** net_filter_passes_all() - is there no need to look? */
static inline bool net_filter_passes_all(const struct net_filter *f)
{
	return f->promisc && !f->by_vlan && !f->nomulti && !f->nouni && !f->nobcast;
}

/* ---- net-hash.c ---- */

/** net_hash_set() - @n: bytes of @key, at most NET_KEY_BYTES */
void net_hash_set(struct net_hash *h, uint32_t types, const uint8_t *key, uint32_t n);
/** net_hash_frame() - Return: VIRTIO_NET_HASH_REPORT_*, what of it was hashed; with ..._NONE the hash is 0 */
uint16_t net_hash_frame(const struct net_hash *h, const uint8_t *frame, size_t n, uint32_t *ret);

/* ---- net-steer.c ---- */

/** net_steer_new() - main thread; vn->steer, if the end wants one; its owner frees it. Return: 0 or -ENOMEM */
int net_steer_new(struct virtio_net *vn);
/** net_steer_reset() - as a driver finds it: nothing is hashed */
void net_steer_reset(struct virtio_net *vn);
/** net_steering_fault() - Return: NULL, or what cannot be of it with so many pairs */
const char *net_steering_fault(const struct net_steering *to, unsigned pairs);
/** net_steer_set() - @to: was judged */
void net_steer_set(struct net_steer *s, const struct net_steering *to);
/**
 * net_steer_frame() - to which pair does a frame go?
 * @header: of it, to which its hash is added if the driver has negotiated that
 */
unsigned net_steer_frame(struct virtio_net *vn, uint8_t *header, const uint8_t *frame, size_t n);

/* ---- net-kernel.c: vhost-net ---- */

/** net_kernel_new(), net_kernel_free() - main thread; of an end with vhost; Return: 0 or -errno */
int net_kernel_new(struct virtio_net *vn);
void net_kernel_free(struct virtio_net *vn);
/** net_kernel_features() - of @features those that it can do, too; all that are no matter to it */
uint64_t net_kernel_features(const struct virtio_net *vn, uint64_t features);
/** net_kernel_plug() - any thread: the link may be another */
void net_kernel_plug(struct virtio_net *vn);

/** net_kernel_activate() - a driver has come: tell it of memory and features; instead of net_attach_end() */
int net_kernel_activate(struct virtio_net *vn);
void net_kernel_deactivate(struct virtio_net *vn);
/** net_kernel_follow() - link, pairs, or what else is asked for may have changed; nothing happens without vhost */
void net_kernel_follow(struct virtio_net *vn);
/** net_kernel_watch(), net_kernel_irqs_moved() - of struct virtio_type */
int net_kernel_watch(struct virtio_dev *dev, int fd, bool on);
void net_kernel_irqs_moved(struct virtio_dev *dev);

/** net_in_kernel() - does vhost-net serve queue @index now? */
static inline bool net_in_kernel(const struct virtio_net *vn, unsigned index)
{
	return vn->in_kernel >> index & 1;
}

/* ---- net-state.c: of a struct virtio_dev that is one ---- */

extern const struct state_type net_state_type;

#endif
