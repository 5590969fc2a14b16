/*
 * What a frame's header leaves to its receiver: a checksum, and to be cut into segments (generic segmentation offload).
 * Here a header is judged, and that work is done for who does not take it. Spec: virtio 1.2, 5.1.6.2 and 5.1.6.4
 *
 * Frames come from guests, or from other processes: nothing that they say is believed. Any thread.
 */
#ifndef LKVM_NET_GSO_H
#define LKVM_NET_GSO_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4 /* of Linux 6.2 */
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/**
 * gso_judge() - may a frame of @bytes have this header where @offloads (enum net_offload) may be asked for?
 * What the receiver is not asked for is taken out of it.
 */
bool gso_judge(struct virtio_net_hdr_v1 *h, size_t bytes, unsigned offloads);

/* A frame that is given part by part; zeros: there is none */
struct gso {
	uint8_t *frame; /* the caller's; a header of NET_HDR_BYTES stands in front of it */
	size_t bytes;   /* of the frame, without that header */
	size_t at;      /* of the payload, how far it is given; @bytes: nothing is left */
	size_t size;    /* of a segment's payload, at most */
	size_t ip, tcp, head; /* where the headers begin that each segment has, and where they end; 0: it is not cut */
	uint16_t check; /* TCP's checksum as the sender has left it */
	uint8_t flags;  /* TCP's */
	bool v6;
};

/**
 * gso_begin() - there is a frame of @bytes behind a header at @buf, which gso_judge() has seen; it is for who takes @offloads
 * UDP is not cut.
 * Return: 0; -EINVAL: it is not what its header says, or would become much more than it is by headers, and is lost
 */
int gso_begin(struct gso *gso, uint8_t *buf, size_t bytes, unsigned offloads);

/** gso_left() - is there something to give? */
static inline bool gso_left(const struct gso *gso)
{
	return gso->at < gso->bytes;
}

/**
 * gso_next() - the next part, a frame behind its header, into @iov; gso_left() has said that there is one
 * Return: bytes, header included; -EMSGSIZE: it has no room there, and is lost
 */
ssize_t gso_next(struct gso *gso, const struct iovec *iov, unsigned n_iov);

#endif
