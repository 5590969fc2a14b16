/*
 * virtio over PCI: one function for each device, modern interface only.
 *
 *	BAR 0   0x0000 common configuration   0x2000 notification, 4 bytes a queue
 *	        0x0800 ISR status             0x3000 MSI-X table
 *	        0x1000 device configuration   0x3c00 MSI-X pending bits
 *	BAR 2   the memory that the device shares, if it has any, or a frame buffer
 *
 * Spec: virtio 1.2, 4.1
 */
#ifndef LKVM_VIRTIO_PCI_H
#define LKVM_VIRTIO_PCI_H

#include "lkvm/pci.h"
#include "lkvm/virtio.h"

struct virtio_pci;

/**
 * virtio_pci_new() - plug @dev into the bus; before the vCPUs start
 * @dev: initialised
 * Return: 0; -ENOSPC (no slot is free); -E2BIG (no room for the memory that it shares); -ENOMEM, -EMFILE
 */
int virtio_pci_new(struct pci_host *host, struct virtio_dev *dev, struct virtio_pci **ret);
/**
 * virtio_pci_memory() - where dev->shm is, if it is bar_only; before the vCPUs start
 * Return: false: there is none, or no room for it
 */
bool virtio_pci_memory(const struct virtio_pci *vp, uint64_t *ret);
/** virtio_pci_rom() - pci_add_rom() of its function, made by who knows virtio_pci_id() */
void virtio_pci_rom(struct virtio_pci *vp, void *image, uint64_t bytes);
/** virtio_pci_id() - what its configuration space begins with: the vendor below, the device above */
uint32_t virtio_pci_id(const struct virtio_pci *vp);
/** virtio_pci_free() - after vCPUs and virtio_fini(), when the device may be gone; takes NULL */
void virtio_pci_free(struct virtio_pci *vp);

#endif
