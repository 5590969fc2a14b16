/* Where a Linux guest's kernel has its memory, by its own page tables: for dumps. The tables are the guest's. */
#ifndef LKVM_LINUX_MAP_H
#define LKVM_LINUX_MAP_H

#include "lkvm/linux/guest.h"

struct linux_map {
	uint64_t direct;     /* where all of RAM is mapped: page_offset_base; 0: not known */
	uint64_t text;       /* the kernel's image, which is mapped once more here, */
	gpa_t text_at;       /* is here in RAM, */
	uint64_t text_bytes; /* and so long; 0: not known */
};

/** linux_map() - looks at a quarter of a million addresses at most */
void linux_map(const struct linux_guest *guest, struct linux_map *ret);

#endif
