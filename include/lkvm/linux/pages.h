/*
 * What a guest's pages are to its kernel, by its struct page: which of them a dump can do without. VMCOREINFO tells
 * where that is and what is in it; the rules are those of makedumpfile(8). x86-64 only, where the array of them is sparse:
 *
 *	mem_section[] -> struct mem_section[] -> struct page[], one for each page frame of a section
 */
#ifndef LKVM_LINUX_PAGES_H
#define LKVM_LINUX_PAGES_H

#include "lkvm/linux/guest.h"

enum linux_page_kind {
	LINUX_PAGE_OTHER, /* the kernel's own, or nobody knows */
	LINUX_PAGE_FREE,
	LINUX_PAGE_CACHE, /* of files */
	LINUX_PAGE_USER,  /* a program's own, huge pages of hugetlbfs */
	LINUX_PAGE_UNUSABLE, /* its memory is broken, or was given back */
	LINUX_PAGE_KINDS
};

struct linux_pages {
	const struct linux_guest *guest;
	/* of VMCOREINFO; what a kernel does not have is UINT64_MAX where that says so */
	struct linux_page_layout {
		uint64_t sections, n_roots, section_bytes, section_map, section_bits, physical_bits;
		uint64_t page_bytes, flags, mapcount, mapping, private, compound_head;
		uint64_t lru, swap_cache, swap_backed, head_mask, buddy, n_orders;
		/* UINT64_MAX: none */
		uint64_t slab_bit, slab_type, hwpoison_bit, offline_type;
		uint64_t compound_order, folio_order, compound_dtor, folio_dtor;
		uint64_t hugetlb_dtor, hugetlb_bit, hugetlb_type;
	} l;
	uint64_t section, map; /* the section that was looked up last, and where its page frame 0 would be; 0: it has none */
};

/**
 * linux_pages_open() - ready to look at pages
 * @guest: stays as long as @ret is used; it has a VMCOREINFO of its own
 * Return: 0; -ENODATA: its VMCOREINFO lacks @ret_missing, or what it has there cannot be
 */
int linux_pages_open(const struct linux_guest *guest, struct linux_pages *ret, const char **ret_missing);
/**
 * linux_page_kind() - of a page frame. Any thread, while the guest stands still; async-signal-safe
 * @ret_n: so many from there on are of that kind, 1 << 18 at most; they need not all be RAM
 */
enum linux_page_kind linux_page_kind(struct linux_pages *pages, uint64_t pfn, uint64_t *ret_n);

#endif
