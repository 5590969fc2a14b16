/*
 * What a PVH kernel is told (struct hvm_start_info, version 1): command line ("alpha=7" in it), one
 * module with the text "initrd\n", the memory map of -m 256 and the ACPI root pointer.
 */
#include "guest.h"

#define PVH_MAGIC 0x336ec578

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};

struct module {
	uint64_t start, size, cmdline, reserved;
};

struct memmap {
	uint64_t start, size;
	uint32_t type, reserved;
};

static bool has_prefix(const char *text, const char *prefix)
{
	while (*prefix)
		if (*text++ != *prefix++)
			return false;
	return true;
}

void guest_main(void)
{
	const struct start_info *info = (const struct start_info *)(boot_rbx & UINT32_MAX);
	const struct module *mod = (const struct module *)info->modlist;
	const struct memmap *map = (const struct memmap *)info->memmap;
	uint64_t end = 0;

	CHECK_EQ(info->magic, PVH_MAGIC);
	CHECK(info->version >= 1);
	CHECK_EQ(param((const char *)info->cmdline, "alpha"), 7);
	CHECK_EQ(info->nr_modules, 1);
	CHECK_EQ(mod->size, 7);
	CHECK(has_prefix((const char *)mod->start, "initrd\n"));
	CHECK(has_prefix((const char *)info->rsdp, "RSD PTR "));
	for (unsigned i = 0; i < info->memmap_entries; i++) {
		CHECK(map[i].start >= end || map[i].type != 1);
		if (map[i].type == 1)
			end = map[i].start + map[i].size;
	}
	CHECK_EQ(end, 256 << 20);
}
