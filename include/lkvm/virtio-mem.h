/*
 * The memory device: blocks of memory that the guest plugs and unplugs, as the user asks it to. Virtio 1.2, 5.15.
 *
 *	RAM ... | persistent memory ... | region: usable all of it
 *	                                  [ plugged ][ ][ plugged ][ ][ ][ ] ...
 *
 * A block is the unit of everything: of the guest's requests, of memory that the host has or has not, and of KVM's
 * memory slots. One slot a block, because KVM cannot change the size of one: it would have to go while vCPUs run,
 * and a guest that looked at memory that it has would find none. So there is a slot for what is plugged and for
 * nothing else, and there are RAM_MAX_BLOCKS at most: more would cost each change of slots more time, and older hosts
 * have 509 in all. A block is as small as that allows, MEM_SMALLEST_BLOCK at least: a huge page. To remove a slot
 * makes KVM forget its page tables, which vCPUs then make anew as they need them: that is once a block.
 *
 * Where nothing is plugged, lkvm has PROT_NONE: ram.h tells what that means for devices. To the guest it is as if there
 * were nothing: it reads all ones. So a driver must know VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE (Linux from 5.16 on).
 */
#ifndef LKVM_VIRTIO_MEM_H
#define LKVM_VIRTIO_MEM_H

#include "lkvm/board.h"
#include "lkvm/ram.h"
#include "lkvm/virtio.h"

#define MEM_SMALLEST_BLOCK (2 * MIB)
#define MEM_ALIGN          (128 * MIB) /* of a region's size: a section of Linux's memory, of which it uses whole ones */

struct mem_view {
	uint64_t most_bytes;      /* that can be plugged */
	uint64_t block_bytes;
	uint64_t requested_bytes; /* what the driver is asked for */
	uint64_t plugged_bytes;   /* what there is */
	bool driver;              /* is there one? */
	uint32_t n_busy;          /* how often the host had not what it takes: memory, or a slot */
};

/* What it is made of */
struct mem_setup {
	uint64_t most_bytes; /* whole blocks, not more than ram_region() has */
	int node;            /* of the guest's NUMA nodes; -1: it has none */
};

/** virtio_mem_new() - @name is not copied; blocks that are plugged already get their slots; Return: 0 or -errno, not logged */
int virtio_mem_new(struct ram *ram, const char *name, const struct board *board, const struct mem_setup *setup,
		   struct virtio_dev **ret);
/** virtio_mem_free() - takes NULL; no vCPU runs */
void virtio_mem_free(struct virtio_dev *dev);

/* Main thread: */

/** virtio_mem_set() - how much is to be plugged; @bytes: whole blocks, at most most_bytes */
void virtio_mem_set(struct virtio_dev *dev, uint64_t bytes);
void virtio_mem_view(struct virtio_dev *dev, struct mem_view *ret);
/** virtio_mem_watch() - signal this eventfd whenever something was plugged or unplugged, or the driver has left; -1: no more */
void virtio_mem_watch(struct virtio_dev *dev, int fd);

#endif
