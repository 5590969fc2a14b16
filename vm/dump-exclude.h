/* What of RAM is not in a dump: for the formats and who writes them; see lkvm/vm/dump.h. */
#ifndef DUMP_EXCLUDE_H
#define DUMP_EXCLUDE_H

#include "lkvm/ipc.h"
#include "lkvm/linux/pages.h"
#include "lkvm/vm/dump.h"

struct dump_exclude {
	const struct ram *ram;
	unsigned levels;            /* DUMP_NO_* */
	struct linux_pages pages;   /* if there is a bitmap */
	uint64_t bitmap_bytes;
	uint8_t *bitmap;            /* a bit a page frame that is left out; NULL: none is, but those of zeros */
	struct ipc_dump_pages left_out;
};

/**
 * dump_exclude_init() - with all the memory that it needs
 * @guest: NULL: there is none, or it has no VMCOREINFO; stays as long as @ret is used
 * Return: 0; -ENODATA: the guest does not tell what its pages are; -ENOMEM; with @ret_why (of @cap bytes)
 */
int dump_exclude_init(struct dump_exclude *ret, const struct ram *ram, unsigned levels, const struct linux_guest *guest,
		      char *ret_why, size_t cap);
/** dump_exclude_fini() - one that is zeroed, too */
void dump_exclude_fini(struct dump_exclude *e);
/** dump_exclude_look() - find out which pages that are; as ram_each_run() */
void dump_exclude_look(struct dump_exclude *e);

/** dump_excludes() - is this page frame left out? @e: may be NULL, here and below: nothing is */
static inline bool dump_excludes(const struct dump_exclude *e, uint64_t pfn)
{
	return e && e->bitmap && e->bitmap[pfn / 8] >> pfn % 8 & 1;
}

/** dump_excluded_pages() - how many; those of zeros are none of them */
uint64_t dump_excluded_pages(const struct dump_exclude *e);
/** dump_each_run() - ram_each_run() without them */
int dump_each_run(const struct dump_exclude *e, const struct ram *ram, ram_run_fn run, void *ctx);

#endif
