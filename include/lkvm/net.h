/*
 * The host end of a network device: what virtio/net.c asks of a tap, of user-mode networking, of passt, or
 * of a switch between guests.
 *
 *	net_open() -> net_attach() -> net_send() ... net_receive() ... -> net_detach() -> net_close()
 *	                                 ^                ^
 *	           writable() after -EAGAIN            readable() after 0
 *
 * net_open() and net_close() are the main thread's; between attach and detach an end belongs to one worker
 * thread, whose loop watches its descriptors. It does a bounded amount of work in a turn of the loop, and
 * what it keeps is bounded: a frame that has no place is dropped and counted. Nothing waits.
 *
 * A frame stands behind a struct virtio_net_hdr_v1 in both directions (NET_HDR_BYTES). An end that cannot do an
 * offload does not have it in net->offloads, and sees no header that asks for it. What it gives asks for
 * none but those of the last set_offloads().
 */
#ifndef LKVM_NET_H
#define LKVM_NET_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lkvm/keys.h"
#include "lkvm/loop.h"
#include "lkvm/net-forward.h"

#define NET_HDR_BYTES    12
#define NET_MAC_BYTES    6
#define NET_MIN_FRAME    14
#define NET_MAX_MTU      65535
#define NET_MAX_FRAME    (NET_MAX_MTU + 14 + 4) /* with a VLAN tag */
#define NET_MAX_PAIRS    8
#define NET_MAX_IOV      1024 /* of one frame, its header included */
#define NET_MAX_DEVICES  16

/* What may be left to the other side. */
enum net_offload {
	NET_CSUM = 1 << 0,
	NET_TSO4 = 1 << 1,
	NET_TSO6 = 1 << 2,
	NET_ECN = 1 << 3, /* of the two above */
	NET_USO = 1 << 4,
};

enum net_kind { NET_USER, NET_TAP, NET_SWITCH, NET_PASST, NET_KINDS };

/* What `-n KIND,...` says. Its strings live as long as the end does. */
struct net_config {
	enum net_kind kind;
	uint8_t mac[NET_MAC_BYTES];
	bool has_mac;    /* else @mac is made of the guest's name by who opens it: net_mac() */
	bool packed;     /* the device offers packed rings */
	unsigned mtu;    /* 0: the end's own */
	unsigned queues; /* pairs of queues; 0: one */
	bool rss;        /* lkvm steers: RSS, and hashes in headers */
	const char *pcap; /* file that gets what passes, or NULL */
	const char *rom;  /* file: the device's option ROM, from which firmware boots; NULL: none; "": a snapshot has it */
	/* user, passt */
	struct net_forward forward[NET_MAX_FORWARDS];
	unsigned n_forwards;
	bool ports_may_move; /* a host_port that is taken may be another: of a copy of a guest */
	bool restricted, no_loopback;
	const char *tftp, *bootfile; /* user: a folder that the guest may load files from, and which one it is to boot; or NULL */
	/* tap */
	const char *ifname; /* NULL: a new one, whose name the host chooses */
	const char *fd;     /* that is open already: its number, or NULL */
	const char *script, *downscript;
	bool vhost; /* the host's kernel moves the frames */
	/* switch */
	const char *switch_name;
	char folder[128]; /* where the user's switches are: who opens it writes this */

	char *arg;  /* heap: as it was said, for who says it again */
	char *text; /* heap: what the strings point into */
};

extern const struct opt_value net_values[]; /* net/keys.c: KIND, and the keys of each */

/**
 * net_config_parse() - KIND,KEY=VALUE,...; without KIND it is user
 * @arg: NULL or "" is a user end, too
 * Return: 0; 1: "none"; -EINVAL or -ENOMEM, logged; net_config_free() in any case
 */
int net_config_parse(struct net_config *cfg, const char *option, const char *arg);
void net_config_free(struct net_config *cfg);
/** net_kind_name() - "tap" */
const char *net_kind_name(enum net_kind kind);

/** net_mac() - an address that is the same for each guest of this name, user and host */
void net_mac(const char *guest, unsigned index, uint8_t ret[NET_MAC_BYTES]);

/* What a guest that is asked nothing else (a session) uses on this link; a field of zeros is not known. */
struct net_addresses {
	struct in_addr ip, gateway, dns;
	unsigned prefix;
	struct in6_addr ip6, gateway6, dns6;
	unsigned prefix6;
};

struct net;
struct pcap;

struct net_ops {
	/* On the worker: watch the descriptors. Return: 0 or -errno, logged */
	int (*attach)(struct net *net, struct loop *loop);
	void (*detach)(struct net *net, struct loop *loop);
	/*
	 * From the guest: iov[0] is the header, which was judged, the frame stands behind it in the guest's memory.
	 * Return: 0: taken; -EAGAIN: nothing was, writable() follows; else it is dropped
	 */
	int (*send)(struct net *net, unsigned pair, const struct iovec *iov, unsigned n_iov);
	/* The guest has no more for now; here readable() may be called. NULL: nothing is left to do then */
	void (*flush)(struct net *net);
	/*
	 * To the guest: header and frame into @iov, whose first NET_HDR_BYTES may be spread, too. Return: bytes;
	 * 0: there is none, readable() follows; -EMSGSIZE: it was too large and is gone, there may be more; else the
	 * end is broken
	 */
	ssize_t (*receive)(struct net *net, unsigned pair, const struct iovec *iov, unsigned n_iov);
	/* The guest takes these offloads in what it receives. NULL: it needs none */
	int (*set_offloads)(struct net *net, unsigned offloads);
	/* So many pairs are in use, one at first. NULL: max_pairs is 1 */
	int (*set_pairs)(struct net *net, unsigned pairs);
	/* The interface's descriptor for a pair, which vhost-net can be given. NULL: the end is none of the kernel's */
	int (*descriptor)(const struct net *net, unsigned pair);
	void (*close)(struct net *net);
};

struct net_counters {
	_Atomic uint64_t sent, sent_bytes, sent_dropped;           /* by the guest */
	_Atomic uint64_t received, received_bytes, received_dropped; /* for it */
};

/* vhost-net, open: one a pair of queues, of which number 0 receives and 1 sends. Rings are the device's to tell. */
struct net_vhost {
	uint64_t features; /* of rings and headers that it knows, as virtio numbers them */
	unsigned n;
	int fd[NET_MAX_PAIRS]; /* this process is its owner */
};

struct net {
	const struct net_ops *ops;
	const char *name;    /* of the device, for messages: "net0" */
	const struct net_config *cfg; /* the caller's, who keeps it until net_close() */
	unsigned offloads;   /* what it takes from the guest, and can give */
	unsigned max_pairs;
	unsigned steered;    /* so many pairs has the device, over which it spreads what comes by the end's one; 0: as the end */
	unsigned mtu;        /* of the link; 0: 1500 */
	bool link_up;        /* as the end sees it */
	bool broken;         /* receive() has said so; the link is down */
	char where[64];      /* "tap0", for lists and messages */
	struct net_addresses addresses;
	struct net_forward *forward; /* as they are, with ports that were free */
	unsigned n_forwards;
	struct net_counters counters; /* what passes vhost-net is not among them */
	struct pcap *pcap;
	struct net_vhost *vhost; /* NULL: the end passes all frames by itself */

	/* Set by the device before net_attach(); called on the worker, not from within send() or receive() */
	void (*readable)(struct net *net, unsigned pair);
	void (*writable)(struct net *net, unsigned pair);
	void (*link_changed)(struct net *net); /* link_up is another */
	/* 1 << pair: send() has brought about that there is something: the device looks when it has sent all it has */
	unsigned woken;
	void *ctx;

	uint8_t *linear; /* a frame that is spread over more buffers than ends take */
};

/**
 * net_open() - main thread
 * @name: of the device; not copied
 * @cfg:  not copied
 * Return: 0, or -errno after one logged line that names the device and, where it helps, what to do instead
 */
int net_open(const struct net_config *cfg, const char *name, struct net **ret);
/** net_none() - an end that is never attached, for a machine that is only shown; Return: 0 or -ENOMEM, logged */
int net_none(const struct net_config *cfg, const char *name, struct net **ret);
/** net_user_usable() - is libslirp on this host, and lkvm built for it? */
bool net_user_usable(void);
/** net_close() - takes NULL */
void net_close(struct net *net);

/* On the worker */

int net_attach(struct net *net, struct loop *loop);
void net_detach(struct net *net, struct loop *loop);
/**
 * net_send() - ops->send(), counted and recorded
 * @bytes: of the frame, without the header
 * Return: 0: it is sent or dropped; -EAGAIN
 */
int net_send(struct net *net, unsigned pair, const struct iovec *iov, unsigned n_iov, size_t bytes);
/**
 * net_receive() - ops->receive(), recorded; the caller counts what he takes by net_received()
 * Return: bytes, header included; 0; -EMSGSIZE, counted
 */
ssize_t net_receive(struct net *net, unsigned pair, const struct iovec *iov, unsigned n_iov);
/** net_received() - a frame of @bytes, without the header, has reached the guest */
void net_received(struct net *net, size_t bytes);
/** net_dropped() - one has not: @sent by the guest, or for it */
void net_dropped(struct net *net, bool sent);
/** net_lost() - by an end: one of @bytes, without the header, that its send() took in an earlier call has not reached anybody */
void net_lost(struct net *net, size_t bytes);

/** net_gather(), net_scatter() - bytes [@off, @off + @len) of an iovec; Return: bytes copied */
size_t net_gather(const struct iovec *iov, unsigned n_iov, size_t off, void *dst, size_t len);
size_t net_scatter(const struct iovec *iov, unsigned n_iov, size_t off, const void *src, size_t len);
/** net_ip_at() - where in a frame of @n bytes a whole IP header begins, behind VLAN tags; Return: 0: there is none */
size_t net_ip_at(const uint8_t *frame, size_t n, bool *v6);

#endif
