/*
 * A device's option ROM, with which firmware may boot from it: a file of images, one behind the other, each for one
 * kind of firmware, that tell which device they are for. As they come for several they are told to be for ours.
 *
 *	55 AA  length / 512   at 0x18: where "PCIR" is, in which vendor, device, kind of code, whether it is the last
 *
 * Spec: PCI Firmware 3.3, chapter 5
 */
#ifndef LKVM_VM_OPTION_ROM_H
#define LKVM_VM_OPTION_ROM_H

#include <stdint.h>

struct option_rom {
	uint8_t *data; /* mapped; @bytes of them, a power of two, of whole pages */
	uint64_t bytes;
};

/**
 * option_rom_load() - a file, for the device with this id: the vendor in the lower half
 * Return: 0; -errno, logged: "could not load option ROM 'x': REASON"
 */
int option_rom_load(const char *path, uint32_t id, struct option_rom *ret);
/** option_rom_free() - takes a zeroed one */
void option_rom_free(struct option_rom *rom);

#endif
