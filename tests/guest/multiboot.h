/* Multiboot 0.6.96, 3.3 and 3.4: what the boot loader passes. */
#ifndef GUEST_MULTIBOOT_H
#define GUEST_MULTIBOOT_H

#include "guest.h"

#define MB_LOADER_MAGIC 0x2badb002

#define MB_INFO_MEMORY  0x001
#define MB_INFO_CMDLINE 0x004
#define MB_INFO_MODS    0x008
#define MB_INFO_MMAP    0x040

struct mb_info {
	uint32_t flags;
	uint32_t mem_lower, mem_upper; /* KiB */
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length, mmap_addr;
};

struct mb_module {
	uint32_t start, end, string, reserved;
};

struct mb_mmap {
	uint32_t size; /* of what follows */
	uint64_t base, length;
	uint32_t type; /* 1: RAM */
} __attribute__((packed));

static inline const struct mb_info *mb_info(void)
{
	CHECK_EQ((uint32_t)boot_rax, MB_LOADER_MAGIC);
	return (const struct mb_info *)(boot_rbx & UINT32_MAX);
}

static inline const char *mb_cmdline(void)
{
	CHECK(mb_info()->flags & MB_INFO_CMDLINE);
	return (const char *)(uintptr_t)mb_info()->cmdline;
}

#endif
