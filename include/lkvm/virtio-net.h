/*
 * virtio network device: an end of net.h for the guest. One worker serves all its queues and owns the end
 * while the device is live.
 *
 * Frames are not copied: the end reads and writes the guest's own buffers. Only where the guest has too few of
 * them for the largest frame that may come, one goes by a buffer of the device's.
 */
#ifndef LKVM_VIRTIO_NET_H
#define LKVM_VIRTIO_NET_H

#include "lkvm/net.h"
#include "lkvm/virtio.h"

/**
 * virtio_net_new() - main thread, before the guest starts
 * @name: "net0"; not copied
 * @net:  becomes the device's, which closes it; also on failure. Of its cfg packed and mac are looked at.
 * Return: 0 or -errno, not logged
 */
int virtio_net_new(const struct ram *ram, const char *name, struct net *net, struct virtio_dev **ret);
/** virtio_net_free() - takes NULL */
void virtio_net_free(struct virtio_dev *dev);

/** virtio_net_end() - the end, which is still the device's; what does not change may be looked at, and counters */
struct net *virtio_net_end(struct virtio_dev *dev);
/** virtio_net_mac() - the address that the driver is told, or has set; main thread */
void virtio_net_mac(struct virtio_dev *dev, uint8_t ret[NET_MAC_BYTES]);
/** virtio_net_set_link() - pull the plug out, or put it in; main thread */
void virtio_net_set_link(struct virtio_dev *dev, bool up);
/** virtio_net_link() - does the driver see a link? */
bool virtio_net_link(struct virtio_dev *dev);

#endif
