/* Compressing pages for vm/dump-kdump.c, by libraries that are opened when they are needed (lkvm/lib.h). */
#ifndef DUMP_PACK_H
#define DUMP_PACK_H

#include "lkvm/ram.h"
#include "lkvm/vm/dump.h"

#define DUMP_PACK_CAP (RAM_PAGE_BYTES + RAM_PAGE_BYTES / 16 + 67) /* what a page may become, at worst */

struct dump_packer;

/**
 * dump_packer_new() - open the library, with all the memory that it needs: dump_pack() allocates nothing
 * Return: 0, or -errno with @ret_why (of @cap bytes)
 */
int dump_packer_new(enum dump_compress how, struct dump_packer **ret, char *ret_why, size_t cap);
void dump_packer_free(struct dump_packer *packer);
/** dump_pack() - a page; Return: the bytes in @ret, of DUMP_PACK_CAP; 0: it becomes no smaller */
size_t dump_pack(struct dump_packer *packer, const uint8_t *page, uint8_t *ret);
/** dump_pack_flag() - how the format calls it */
uint32_t dump_pack_flag(const struct dump_packer *packer);

#endif
