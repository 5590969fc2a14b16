/*
 * The PCI transport's own: pci.c is the function on the bus, pci-common.c the registers of the common
 * configuration, pci-state.c saves and loads. All on vCPU threads, where nothing else is said.
 */
#ifndef VIRTIO_PCI_INTERNAL_H
#define VIRTIO_PCI_INTERNAL_H

#include <linux/virtio_pci.h>

#include "lkvm/virtio-pci.h"

#define ISR_QUEUE  1
#define ISR_CONFIG 2
#define ISR_ALL    (ISR_QUEUE | ISR_CONFIG)

#define BAR_COMMON_BYTES 60 /* up to and with queue_reset */

struct virtio_pci {
	struct pci_function fn;
	struct virtio_dev *dev;
	unsigned n_queues; /* dev's: it may be gone before we are */
	unsigned pci_cfg;  /* offset of the PCI_CFG capability */

	/* Set by the guest; vCPU threads may race on these as on hardware: each is one atomic. */
	atomic_uint device_feature_select, driver_feature_select, queue_select;

	/* Any thread that interrupts reads these. */
	atomic_uint config_vector;
	atomic_uint isr; /* INTA is asked for while it is not 0 */

	pthread_mutex_t master_lock; /* outermost: the device follows bus mastering */
	pthread_mutex_t notify_lock; /* innermost: which eventfds are registered, and where */
	uint64_t notify_base;        /* guest address of the notification area, 0: not decoded */
	struct {
		atomic_uint vector;
		int notify_fd; /* under notify_lock; -1: none */
	} queue[VIRTIO_MAX_QUEUES];
};

/* ---- pci-common.c ---- */

/** virtio_pci_common_read() - @off: below BAR_COMMON_BYTES; Return: 0 where there is no such field */
uint64_t virtio_pci_common_read(struct virtio_pci *vp, uint64_t off, unsigned width);
void virtio_pci_common_write(struct virtio_pci *vp, uint64_t off, unsigned width, uint64_t value);

/* ---- pci-state.c: of a struct virtio_pci ---- */

extern const struct state_type virtio_pci_state_type;

#endif
