/*
 * THE list of what the machine is made of; see x86/hardware.h.
 */
#ifndef LKVM_VM_HARDWARE_H
#define LKVM_VM_HARDWARE_H

#include "lkvm/vm/config.h"
#include "lkvm/x86/hardware.h"

/** hardware_of() - the rows of the machine that @cfg asks for; virtio over MMIO is for the caller to add */
void hardware_of(const struct vm_config *cfg, struct hardware *ret);

/**
 * hw_pmem_at() - where persistent memory is, above RAM and below the window for BARs
 * @index: of @cfg's; their number: where the last one ends
 */
gpa_t hw_pmem_at(const struct vm_config *cfg, unsigned index);

/** hw_mem_at() - above that: where memory may be plugged from on (cfg->ram.region), if any may */
gpa_t hw_mem_at(const struct vm_config *cfg);

/**
 * hw_window64() - the addresses that @row has above @ram_bytes of RAM
 * @phys_bits: width of the host's physical addresses
 * Return: false if there are none
 */
bool hw_window64(uint64_t ram_bytes, unsigned phys_bits, struct hw_row *row);

#endif
