/*
 * --firmware: a file as read-only memory that ends at 4 GB, its last 128 KiB also below 1 MB, with a chip set's
 * registers by which the firmware puts RAM there: the PAM of Intel's 440FX, which SeaBIOS knows.
 *
 *	0xc0000 ... 0xf0000   12 segments of 16 KiB, two in a byte of PAM1 to PAM6
 *	0xf0000 ... 0x100000  one of 64 KiB, the upper half of PAM0
 *
 * Of each, bit 0 lets reads go to RAM, bit 1 writes; else reads see the ROM, from 0xe0000 on, or ones, and writes are
 * lost. Writes to ROM come out of the guest, and are ignored. Each segment is a memory slot of its own, which is gone
 * for a moment when it changes: data is right then too, but what another CPU executes there may be a fault.
 */
#ifndef LKVM_VM_ROM_H
#define LKVM_VM_ROM_H

#include "lkvm/kvm.h"

#define ROM_UNIT	(4 * KIB)
#define ROM_MIN		(64 * KIB)
#define ROM_MAX		(16 * MIB) /* with its variables */
#define ROM_ALIAS_BYTES (128 * KIB)

#define PAM_FIRST     0xc0000 /* what the segments are in */
#define PAM_END       0x100000
#define PAM_SEGMENTS  13
#define PAM_REGISTERS 7

struct rom;

/**
 * rom_load() - a file
 * Return: 0; -errno, logged: "could not load firmware 'x': REASON"
 */
int rom_load(const char *path, struct rom **ret);
/**
 * rom_map() - let it answer in @kvm, whose RAM was mapped; before any vCPU runs
 * Return: 0; -errno, logged
 */
int rom_map(struct rom *rom, struct kvm *kvm);
/** rom_pam() - the registers are this now; fits pci_host_i440fx(). Any thread, one at a time */
void rom_pam(void *rom, const uint8_t *pam);
uint64_t rom_bytes(const struct rom *rom);
/** rom_data() - so many bytes, for as long as the ROM */
const void *rom_data(const struct rom *rom);
/** rom_has() - is this text somewhere in it? */
bool rom_has(const struct rom *rom, const char *text);
/** rom_free() - after the VM was closed, or before rom_map(); takes NULL */
void rom_free(struct rom *rom);

#endif
