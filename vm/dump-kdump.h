/*
 * The kdump-compressed format, as makedumpfile writes and crash, drgn and makedumpfile read it, version 6:
 *
 *	header | sub header, notes | bitmap: is RAM | bitmap: is in the dump | a descriptor a page | pages
 *
 * each of the first four in whole blocks of a page. All pages of zeros are one, as with makedumpfile -d 1. Pages that
 * are left out have no descriptor.
 */
#ifndef DUMP_KDUMP_H
#define DUMP_KDUMP_H

#include "dump-pack.h"

struct kdump_header {
	char signature[8]; /* "KDUMP   " */
	int32_t version;
	char uts[LINUX_UTS_NAMES][LINUX_RELEASE_BYTES]; /* struct new_utsname: system, node, release, version, machine, domain */
	int64_t seconds, microseconds;
	uint32_t status; /* dump_pack_flag() */
	int32_t block_bytes, sub_header_blocks;
	uint32_t bitmap_blocks; /* of both */
	uint32_t max_pfn; /* of page frames, the highest plus 1, */
	uint32_t total_blocks, device_blocks, written_blocks, current_cpu;
	int32_t n_cpus;
};

struct kdump_sub_header {
	uint64_t phys_base;
	int32_t dump_level; /* makedumpfile -d */
	int32_t split;
	uint64_t start_pfn, end_pfn;
	uint64_t vmcoreinfo_at, vmcoreinfo_bytes; /* in the file */
	uint64_t notes_at, notes_bytes;
	uint64_t erased_at, erased_bytes;
	uint64_t start_pfn_64, end_pfn_64, max_pfn_64;
};

struct kdump_page {
	uint64_t at; /* in the file */
	uint32_t bytes;
	uint32_t flags; /* dump_pack_flag(); 0: as it is */
	uint64_t page_flags;
};

/* What the child needs, ready before it is made */
struct kdump {
	const struct ram *ram;
	const struct dump_exclude *exclude;
	struct dump_packer *packer;
	struct state_buf head; /* header, sub header and notes */
	uint64_t max_pfn, bitmap_bytes; /* of one of both */
	uint8_t *bitmap; /* as much memory; its bits are as those of struct dump_exclude */
};

/** kdump_new() - @src: its RAM and what is left out of it stay as long as @ret; Return: 0 or -ENOMEM; @packer becomes its own in either case */
int kdump_new(const struct dump_source *src, struct dump_packer *packer, struct kdump **ret);
void kdump_free(struct kdump *k);
/**
 * kdump_write() - the whole file, after dump_exclude_look(); as ram_each_run()
 * Return: 0 or -errno; @ret_bytes: of RAM that is in it and not zero
 */
int kdump_write(struct kdump *k, int fd, uint64_t *ret_bytes);

#endif
