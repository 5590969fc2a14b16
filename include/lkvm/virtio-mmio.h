/*
 * virtio over MMIO, version 2: a page of registers for each device, for guests without PCI.
 *
 *	0x000 identity, features        0x060 interrupt status, acknowledgement
 *	0x030 queue: select, set up     0x070 device status
 *	0x050 queue: notify             0x100 device configuration
 *	0x0ac memory that the device shares: where, which is elsewhere
 *
 * MMIO has no discovery: ACPI, the device tree and the kernel command line tell the guest what
 * virtio_mmio_places() tells them. Interrupts are edge triggered; where there are more devices than
 * lines, devices share. Register accesses come from vCPU threads, interrupts from the workers; the
 * rest is the main thread's, while no vCPU runs.
 *
 * Spec: virtio 1.2, 4.2
 */
#ifndef LKVM_VIRTIO_MMIO_H
#define LKVM_VIRTIO_MMIO_H

#include "lkvm/bus.h"
#include "lkvm/board.h"
#include "lkvm/virtio.h"

#define VIRTIO_MMIO_BYTES     0x1000 /* a page, so that a guest can hand devices out one by one */
#define VIRTIO_MMIO_MAX       128    /* devices */
#define VIRTIO_MMIO_MAX_LINES 24

struct virtio_mmio_host;

/* What the machine has for these devices. Copied, but not what it points to. */
struct virtio_mmio_config {
	struct board board;
	struct bus *bus;
	uint64_t base;      /* of the first device; each next one VIRTIO_MMIO_BYTES further */
	const uint8_t *gsi; /* n_gsis interrupts, dealt out in turn */
	unsigned n_gsis;    /* 1..VIRTIO_MMIO_MAX_LINES */
	struct {
		uint64_t base, bytes; /* for the memory that devices share; 0: there is no room for any */
	} shm;
};

/* Where a device is. */
struct virtio_mmio_place {
	uint64_t base; /* VIRTIO_MMIO_BYTES from there */
	unsigned gsi;  /* edge triggered, active high, may be shared */
};

/** virtio_mmio_host_new() - Return: 0 or -ENOMEM */
int virtio_mmio_host_new(const struct virtio_mmio_config *cfg, struct virtio_mmio_host **ret);
/** virtio_mmio_host_free() - and all transports, after virtio_fini() of their devices; takes NULL */
void virtio_mmio_host_free(struct virtio_mmio_host *host);

/**
 * virtio_mmio_add() - put @dev on the bus and become its transport
 * @dev: initialised; outlives the vCPUs
 * Return: 0; -ENOSPC (VIRTIO_MMIO_MAX); -E2BIG (no room for the memory that it shares); what bus_add(),
 *	eventfd(), or the machine's irqfd() or memory_add() said
 */
int virtio_mmio_add(struct virtio_mmio_host *host, struct virtio_dev *dev);

/** virtio_mmio_places() - of all devices, in the order in which they were added */
const struct virtio_mmio_place *virtio_mmio_places(const struct virtio_mmio_host *host,
						   unsigned *ret_n);

#endif
