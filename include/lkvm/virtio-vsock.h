/*
 * virtio socket device: connections between the guest's programs (AF_VSOCK) and UNIX sockets of the host
 * (lkvm/vsock.h). Spec: virtio 1.2, 5.10
 *
 *	rx     to the guest: packets, in turn of the connections that have some
 *	tx     from the guest: each is done with at once; what a slow reader of the host does not take is kept,
 *	       as much as the guest was told that it may send ahead
 *	event  the transport was reset: the guest is another one's copy, and has no connections any more
 *
 * All of it runs on the device's worker. Bounded are the connections (VSOCK_MAX_CONNS), what is kept of each
 * (VSOCK_CONN_BYTES), and answers to packets of no connection: while the guest takes none of these, no more is
 * taken from it.
 */
#ifndef LKVM_VIRTIO_VSOCK_H
#define LKVM_VIRTIO_VSOCK_H

#include "lkvm/types.h"
#include "lkvm/virtio.h"
#include "lkvm/vsock.h"

#define VSOCK_MAX_CONNS  1024          /* more of the host wait, more of the guest are refused */
#define VSOCK_CONN_BYTES (256 * KIB)   /* that a guest may send ahead of the host's reader; also the longest message */
#define VSOCK_HELLO_S    10            /* how long a client may take to say which port it wants */

/* How much there was so far; any thread may ask. */
struct vsock_stats {
	uint64_t connections;        /* now */
	uint64_t opened;             /* in all */
	uint64_t to_guest, to_host;  /* bytes */
};

/**
 * virtio_vsock_new() - @name is not copied
 * @cid: of the guest; @fixed: it is this one also for a guest that was saved with another
 * @host: opened, now the device's; NULL: it is only shown
 * Return: 0 or -errno, not logged; @host is then still the caller's
 */
int virtio_vsock_new(const struct ram *ram, const char *name, const struct vsock_config *cfg, uint32_t cid,
		     struct vsock_host *host, struct virtio_dev **ret);
/** virtio_vsock_free() - takes NULL */
void virtio_vsock_free(struct virtio_dev *dev);

/** virtio_vsock_host() - its end on the host */
const struct vsock_host *virtio_vsock_host(const struct virtio_dev *dev);
/** virtio_vsock_cid() - the guest's; while vCPUs run or by who loads its state */
uint32_t virtio_vsock_cid(struct virtio_dev *dev);
void virtio_vsock_stats(const struct virtio_dev *dev, struct vsock_stats *ret);

#endif
