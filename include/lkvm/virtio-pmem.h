/*
 * virtio persistent memory: a file of the host's as memory at a fixed address above RAM, and one queue by which the
 * driver has it written to the disk. The worker waits for the disk; nobody else does.
 *
 * Spec: virtio 1.2, 5.19; without SHMEM_REGION, so that the address stands in the configuration
 */
#ifndef LKVM_VIRTIO_PMEM_H
#define LKVM_VIRTIO_PMEM_H

#include "lkvm/board.h"
#include "lkvm/pmem.h"
#include "lkvm/virtio.h"

/**
 * virtio_pmem_new() - @name is not copied
 * @pmem: becomes the device's, also on failure; NULL: it is only shown
 * @at, @bytes: where the guest has it
 * Return: 0 or -errno: of virtio_init(), not logged, or of the board's memory_add(), logged
 */
int virtio_pmem_new(const struct ram *ram, const char *name, const struct board *board, struct pmem *pmem, gpa_t at,
		    uint64_t bytes, struct virtio_dev **ret);
/** virtio_pmem_free() - takes NULL; no vCPU runs */
void virtio_pmem_free(struct virtio_dev *dev);

#endif
