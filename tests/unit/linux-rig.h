/*
 * A guest's memory with what linux/ looks for in it: page tables of a kernel, its VMCOREINFO, and a log of either
 * kind. A kernel address K(x) is at guest-physical RIG_BASE + x. For unit tests and the fuzzer.
 */
#ifndef LKVM_LINUX_RIG_H
#define LKVM_LINUX_RIG_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lkvm/linux/printk.h"
#include "lkvm/linux/symbols.h"
#include "ram-base.h"

#define RIG_RAM   (8 * MIB)
#define RIG_BASE  (2 * MIB) /* phys_base */
#define RIG_SPAN  (4 * MIB) /* of what the tables map */
#define RIG_NOTE  0x7ff000  /* where VMCOREINFO's page is */
#define K(x)      (0xffffffff80000000ULL + (x))

/* Offsets from RIG_BASE */
enum {
	RIG_PGD = 0x1000, RIG_PUD = 0x2000, RIG_PMD = 0x3000, RIG_P5D = 0x4000, RIG_UTS = 0x5000,
	RIG_PRB = 0x6000, RIG_RING = 0x6100, RIG_DESCS = 0x8000, RIG_INFOS = 0x10000, RIG_TEXT = 0x20000,
	RIG_OLD = 0x6200, RIG_FREE = 0x100000,
};

#define RIG_COUNT_BITS 5
#define RIG_COUNT      (1U << RIG_COUNT_BITS)
#define RIG_TEXT_BITS  12

struct rig {
	struct ram *ram;
	char note[4096];
	size_t note_bytes;
	uint64_t head_lpos; /* of the new log's texts */
	uint64_t old_at;    /* of the old log's records */
};

static inline uint8_t *rig_at(const struct rig *rig, uint64_t x)
{
	return ram_base(rig->ram) + RIG_BASE + x;
}

static inline void rig_put64(const struct rig *rig, uint64_t x, uint64_t value)
{
	memcpy(rig_at(rig, x), &value, sizeof(value));
}

static inline void rig_put32(const struct rig *rig, uint64_t x, uint32_t value)
{
	memcpy(rig_at(rig, x), &value, sizeof(value));
}

static inline void rig_put16(const struct rig *rig, uint64_t x, uint16_t value)
{
	memcpy(rig_at(rig, x), &value, sizeof(value));
}

/* One line more in the note */
static inline void __attribute__((format(printf, 2, 3))) rig_key(struct rig *rig, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	rig->note_bytes += (size_t)vsnprintf(rig->note + rig->note_bytes, sizeof(rig->note) - rig->note_bytes, format,
					     args);
	va_end(args);
	rig->note[rig->note_bytes++] = '\n';
	rig->note[rig->note_bytes] = '\0';
}

/* Where the kernel would have it */
static inline void rig_publish(const struct rig *rig, uint64_t page)
{
	memset(ram_base(rig->ram) + page, 0, 4096);
	memcpy(ram_base(rig->ram) + page, rig->note, rig->note_bytes);
}

/* As the ELF note has it */
static inline void rig_publish_note(const struct rig *rig, uint64_t page)
{
	const uint32_t head[3] = { sizeof("VMCOREINFO"), (uint32_t)rig->note_bytes, 0 };
	uint8_t *at = ram_base(rig->ram) + page;

	memset(at, 0, 2 * 4096);
	memcpy(at, head, sizeof(head));
	memcpy(at + sizeof(head), "VMCOREINFO", sizeof("VMCOREINFO"));
	memcpy(at + 24, rig->note, rig->note_bytes);
}

/* The kernel's half of the tables, of 2 MB pages: with 5 levels one more above */
static inline void rig_tables(const struct rig *rig, bool five)
{
	const uint64_t top = five ? RIG_P5D : RIG_PGD;

	rig_put64(rig, top + 511 * 8, (RIG_BASE + (five ? RIG_PGD : RIG_PUD)) | 3);
	if (five)
		rig_put64(rig, RIG_PGD + 511 * 8, (RIG_BASE + RIG_PUD) | 3);
	rig_put64(rig, RIG_PUD + 510 * 8, (RIG_BASE + RIG_PMD) | 3);
	for (unsigned i = 0; i < RIG_SPAN / (2 * MIB); i++)
		rig_put64(rig, RIG_PMD + i * 8, (RIG_BASE + i * 2 * MIB) | 0x83);
}

/* Memory of zeros, tables, and a note that is not published yet; @rig is zeroed at first */
static inline void rig_start(struct rig *rig, bool five)
{
	static const struct ram_config small_pages = { .no_thp = true };
	struct ram_backing backing = { .fd = -1, .advice = &small_pages };

	if (!rig->ram && ram_new(RIG_RAM, &backing, &rig->ram))
		abort();
	/* Zeros again; and what is not written is not looked through. */
	if (madvise(ram_base(rig->ram), RIG_RAM, MADV_DONTNEED))
		abort();
	rig->note_bytes = 0;
	rig->head_lpos = 0;
	rig->old_at = 0;
	rig_tables(rig, five);
	memcpy(rig_at(rig, RIG_UTS + 130), "6.1.0-rig", sizeof("6.1.0-rig"));
	rig_key(rig, "OSRELEASE=6.1.0-rig");
	rig_key(rig, "SYMBOL(init_uts_ns)=%llx", (unsigned long long)K(RIG_UTS));
	rig_key(rig, "OFFSET(uts_namespace.name)=0");
	rig_key(rig, "SYMBOL(swapper_pg_dir)=%llx", (unsigned long long)K(five ? RIG_P5D : RIG_PGD));
	rig_key(rig, "NUMBER(phys_base)=%lld", (long long)RIG_BASE);
	rig_key(rig, "NUMBER(pgtable_l5_enabled)=%d", five);
	rig_key(rig, "KERNELOFFSET=1000000");
}

/* ---- the new log ---- */

static inline void rig_log(struct rig *rig)
{
	static const char *const keys[] = {
		"SIZE(printk_ringbuffer)=88", "OFFSET(printk_ringbuffer.desc_ring)=0",
		"OFFSET(printk_ringbuffer.text_data_ring)=48", "SIZE(prb_desc_ring)=48",
		"OFFSET(prb_desc_ring.count_bits)=0", "OFFSET(prb_desc_ring.descs)=8",
		"OFFSET(prb_desc_ring.infos)=16", "OFFSET(prb_desc_ring.head_id)=24",
		"OFFSET(prb_desc_ring.tail_id)=32", "SIZE(prb_desc)=24", "OFFSET(prb_desc.state_var)=0",
		"OFFSET(prb_desc.text_blk_lpos)=8", "OFFSET(prb_data_blk_lpos.begin)=0",
		"OFFSET(prb_data_blk_lpos.next)=8", "SIZE(printk_info)=88", "OFFSET(printk_info.seq)=0",
		"OFFSET(printk_info.ts_nsec)=8", "OFFSET(printk_info.text_len)=16",
		"OFFSET(printk_info.caller_id)=20", "OFFSET(prb_data_ring.size_bits)=0",
		"OFFSET(prb_data_ring.data)=8", "OFFSET(atomic_long_t.counter)=0",
	};

	rig_key(rig, "SYMBOL(prb)=%llx", (unsigned long long)K(RIG_PRB));
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		rig_key(rig, "%s", keys[i]);
	rig_put64(rig, RIG_PRB, K(RIG_RING));
	rig_put32(rig, RIG_RING, RIG_COUNT_BITS);
	rig_put64(rig, RIG_RING + 8, K(RIG_DESCS));
	rig_put64(rig, RIG_RING + 16, K(RIG_INFOS));
	rig_put32(rig, RIG_RING + 48, RIG_TEXT_BITS);
	rig_put64(rig, RIG_RING + 56, K(RIG_TEXT));
}

/* Which descriptors there are: @tail to @head */
static inline void rig_ends(const struct rig *rig, uint64_t tail, uint64_t head)
{
	rig_put64(rig, RIG_RING + 24, head);
	rig_put64(rig, RIG_RING + 32, tail);
}

static inline uint64_t rig_desc(uint64_t id)
{
	return RIG_DESCS + id % RIG_COUNT * 24;
}

static inline uint64_t rig_info(uint64_t id)
{
	return RIG_INFOS + id % RIG_COUNT * 88;
}

/* A record, in the text ring where it comes next; @state: 1 committed, 2 finalized */
static inline void rig_record(struct rig *rig, uint64_t id, unsigned state, uint64_t seq, const char *text)
{
	const uint64_t size = 1 << RIG_TEXT_BITS, len = strlen(text);
	uint64_t begin = rig->head_lpos, next = begin + ALIGN_UP(8 + len, 8), at = begin;

	if (next / size != begin / size && next % size) { /* does not fit any more: at the ring's beginning */
		at = (begin / size + 1) * size;
		next = at + ALIGN_UP(8 + len, 8);
	}
	rig->head_lpos = next;
	rig_put64(rig, rig_desc(id), (uint64_t)state << 62 | id);
	rig_put64(rig, rig_desc(id) + 8, begin);
	rig_put64(rig, rig_desc(id) + 16, next);
	rig_put64(rig, rig_info(id), seq);
	rig_put64(rig, rig_info(id) + 8, seq * 1000000);
	rig_put16(rig, rig_info(id) + 16, (uint16_t)len);
	*rig_at(rig, rig_info(id) + 18) = 3;
	*rig_at(rig, rig_info(id) + 19) = 6 << 5 | LINUX_RECORD_NEWLINE;
	rig_put32(rig, rig_info(id) + 20, 1U << 31 | 1);
	rig_put64(rig, RIG_TEXT + at % size, id);
	memcpy(rig_at(rig, RIG_TEXT + at % size + 8), text, len);
}

/* ---- the old log ---- */

static inline void rig_old_log(struct rig *rig, uint32_t bytes, uint32_t first, uint32_t next)
{
	static const char *const keys[] = {
		"SIZE(printk_log)=20", "OFFSET(printk_log.ts_nsec)=0", "OFFSET(printk_log.len)=8",
		"OFFSET(printk_log.text_len)=10", "OFFSET(printk_log.dict_len)=12", "OFFSET(printk_log.caller_id)=16",
	};
	static const char *const symbols[] = { "log_buf", "log_buf_len", "log_first_idx", "log_next_idx" };

	for (size_t i = 0; i < ARRAY_SIZE(symbols); i++)
		rig_key(rig, "SYMBOL(%s)=%llx", symbols[i], (unsigned long long)K(RIG_OLD + 8 * i));
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		rig_key(rig, "%s", keys[i]);
	rig_put64(rig, RIG_OLD, K(RIG_TEXT));
	rig_put32(rig, RIG_OLD + 8, bytes);
	rig_put32(rig, RIG_OLD + 16, first);
	rig_put32(rig, RIG_OLD + 24, next);
	rig->old_at = first;
}

/* One more where it comes next. @text NULL: the next one is at the buffer's start */
static inline void rig_old_record(struct rig *rig, uint64_t ts_ns, const char *text)
{
	const uint64_t at = RIG_TEXT + rig->old_at;
	const uint16_t text_bytes = text ? (uint16_t)strlen(text) : 0;

	rig_put64(rig, at, ts_ns);
	rig_put16(rig, at + 8, text ? (uint16_t)ALIGN_UP(20U + text_bytes, 4) : 0);
	rig_put16(rig, at + 10, text_bytes);
	rig_put16(rig, at + 12, 0);
	*rig_at(rig, at + 14) = 0;
	*rig_at(rig, at + 15) = 4 << 5 | LINUX_RECORD_NEWLINE;
	rig_put32(rig, at + 16, 7);
	if (text)
		memcpy(rig_at(rig, at + 20), text, text_bytes);
	rig->old_at = text ? rig->old_at + ALIGN_UP(20U + text_bytes, 4) : 0;
}

/* ---- symbols ---- */

/* Offsets from RIG_BASE, in the order of 6.4 and later: what is before must not be behind */
enum {
	RIG_NUM = 0x30000, RIG_NAMES = 0x30008, RIG_TOKENS = 0x38000, RIG_INDEX = 0x39000, RIG_OFFSETS = 0x39200,
	RIG_SYMBOL_BASE = 0x3a000, RIG_ORC_IPS = 0x3b000, RIG_ORC = 0x3c000, RIG_MODULES = 0x3d000,
	RIG_CODE = 0x200000, RIG_CODE_END = 0x210000, RIG_INIT_CODE = 0x220000, RIG_INIT_END = 0x221000,
	RIG_STACK = 0x300000,
};

struct rig_symbol {
	uint64_t x; /* where, from RIG_BASE; below 16: an address itself, as those of a CPU's own variables are */
	const char *name; /* with its type before it */
};

/* Each character stands for itself, but for 1, which is "Tsys_". */
static inline void rig_tokens(const struct rig *rig)
{
	uint16_t at = 0;

	for (unsigned c = 0; c < 256; c++) {
		rig_put16(rig, RIG_INDEX + 2 * c, at);
		if (c == 1) {
			memcpy(rig_at(rig, RIG_TOKENS + at), "Tsys_", 6);
			at = (uint16_t)(at + 6);
		} else {
			*rig_at(rig, RIG_TOKENS + at) = c >= ' ' && c < 127 ? (uint8_t)c : 0;
			*rig_at(rig, RIG_TOKENS + at + 1U) = 0;
			at = (uint16_t)(at + 1 + (c >= ' ' && c < 127));
		}
	}
}

/* @list is in order */
static inline void rig_symbols(struct rig *rig, const struct rig_symbol *list, uint32_t n, bool absolute)
{
	uint64_t at = RIG_NAMES;

	rig_tokens(rig);
	rig_put32(rig, RIG_NUM, n);
	rig_put64(rig, RIG_SYMBOL_BASE, K(0));
	for (uint32_t i = 0; i < n; i++) {
		const size_t len = strlen(list[i].name);
		const int32_t offset = (int32_t)list[i].x;

		if (len >= 0x80)
			*rig_at(rig, at++) = (uint8_t)(0x80 | (len & 0x7f));
		*rig_at(rig, at++) = (uint8_t)(len >= 0x80 ? len >> 7 : len);
		memcpy(rig_at(rig, at), list[i].name, len);
		at += len;
		rig_put32(rig, RIG_OFFSETS + 4 * i, (uint32_t)(!absolute || list[i].x < 16 ? offset : -1 - offset));
	}
	rig_key(rig, "SYMBOL(kallsyms_names)=%llx", (unsigned long long)K(RIG_NAMES));
	rig_key(rig, "SYMBOL(kallsyms_num_syms)=%llx", (unsigned long long)K(RIG_NUM));
	rig_key(rig, "SYMBOL(kallsyms_token_table)=%llx", (unsigned long long)K(RIG_TOKENS));
	rig_key(rig, "SYMBOL(kallsyms_token_index)=%llx", (unsigned long long)K(RIG_INDEX));
	rig_key(rig, "SYMBOL(kallsyms_offsets)=%llx", (unsigned long long)K(RIG_OFFSETS));
	rig_key(rig, "SYMBOL(kallsyms_relative_base)=%llx", (unsigned long long)K(RIG_SYMBOL_BASE));
}

/* A kernel of three functions, the last of which is the idle loop, and its tables for unwinding */
static inline void rig_kernel(struct rig *rig, bool absolute)
{
	static const struct rig_symbol list[] = {
		{ 8, "Acpu_number" }, { RIG_ORC_IPS, "D__start_orc_unwind_ip" },
		{ RIG_ORC_IPS + 4 * 64, "D__stop_orc_unwind_ip" }, { RIG_ORC, "D__start_orc_unwind" },
		{ RIG_MODULES, "dmodules" },
		{ RIG_CODE, "T_stext" }, { RIG_CODE, "tfirst" }, { RIG_CODE + 0x100, "\001open" },
		{ RIG_CODE + 0x200, "tdo_idle" }, { RIG_CODE + 0x300, "t_raw_spin_lock" },
		{ RIG_CODE_END, "T_etext" }, { RIG_INIT_CODE, "T_sinittext" }, { RIG_INIT_END, "T_einittext" },
		{ RIG_SPAN - 1, "B_end" },
	};

	rig_symbols(rig, list, ARRAY_SIZE(list), absolute);
	rig_put64(rig, RIG_MODULES, K(RIG_MODULES));
}

/* Entry @i of the kernel's table: for code from @x on */
static inline void rig_orc(const struct rig *rig, unsigned i, uint64_t x, int16_t sp_offset, int16_t bp_offset,
			   uint16_t bits)
{
	rig_put32(rig, RIG_ORC_IPS + 4 * i, (uint32_t)(x - (RIG_ORC_IPS + 4 * i)));
	rig_put16(rig, RIG_ORC + 6 * i, (uint16_t)sp_offset);
	rig_put16(rig, RIG_ORC + 6 * i + 2, (uint16_t)bp_offset);
	rig_put16(rig, RIG_ORC + 6 * i + 4, bits);
}

/* ---- a module ---- */

#define RIG_AREA     0xffffffffc0000000ULL /* where modules are: from RIG_MODULE on, a large page of RAM */
#define RIG_MODULE   (6 * MIB)             /* guest-physical: what the kernel's tables have at RIG_AREA */

/* As 6.1 lays its struct out in the main: at 0x1000 of RIG_AREA, with its code, symbols and tables in 0x4000 bytes */
static inline void rig_module(const struct rig *rig)
{
	static const struct {
		uint32_t name;
		uint8_t info, other;
		uint16_t section;
		uint64_t value, size;
	} symbols[3] = { { 0 }, { 1, 2, 0, 1, RIG_AREA + 0x100, 0x40 }, { 6, 2, 0, 1, RIG_AREA + 0x200, 0 } };
	uint8_t *base = ram_base(rig->ram) + RIG_MODULE;
	const uint64_t fields[][2] = {
		{ 8, K(RIG_MODULES) }, { 16, K(RIG_MODULES) }, { 320, RIG_AREA }, { 328, 0x100000004000 },
		{ 480, 2 }, { 488, RIG_AREA + 0x300c }, { 496, RIG_AREA + 0x3000 },
		{ 552, RIG_AREA + 0x2000 }, { 560, ARRAY_SIZE(symbols) }, { 568, RIG_AREA + 0x2100 },
		{ 576, RIG_AREA + 0x2200 },
	};

	rig_put64(rig, RIG_PUD + 511 * 8, (RIG_BASE + RIG_PMD + 0x4000) | 3);
	rig_put64(rig, RIG_PMD + 0x4000, RIG_MODULE | 0x83);
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		memcpy(base + 0x1000 + fields[i][0], &fields[i][1], 8);
	memcpy(base + 0x1000 + 24, "rig_module", sizeof("rig_module"));
	memcpy(base + 0x2000, symbols, sizeof(symbols));
	memcpy(base + 0x2100, "\0open\0close", 12);
	rig_put64(rig, RIG_MODULES, RIG_AREA + 0x1008);
}

/* ---- a kernel that has told nothing yet ---- */

#define RIG_EARLY       0x100000
#define RIG_EARLY_NAMES 2100 /* symbols; one name in a hundred is a longer one */

enum {
	RIG_PHYS_BASE = 0x3e000, RIG_BANNER = 0x3e100, RIG_EARLY_TOKENS = RIG_EARLY + 0x20000,
	RIG_EARLY_INDEX = RIG_EARLY_TOKENS + 0x160, /* 95 characters that can be printed, 161 empty ones */
};

static inline uint64_t rig_early_name(const struct rig *rig, uint64_t at, const char *name)
{
	*rig_at(rig, at) = (uint8_t)strlen(name);
	memcpy(rig_at(rig, at + 1), name, strlen(name));
	return at + 1 + strlen(name);
}

/* kallsyms as before 6.4, or (@is_new) since: the addresses are behind the rest. The log is where rig_log() has it. */
static inline void rig_early(struct rig *rig, bool is_new)
{
	static const struct rig_symbol known[] = {
		{ RIG_PHYS_BASE, "Dphys_base" }, { RIG_PGD, "Dinit_top_pgt" }, { RIG_BANNER, "Dlinux_banner" },
		{ RIG_PRB, "dprb" },
	};
	const uint64_t bytes = ALIGN_UP(4 * RIG_EARLY_NAMES, 8), num = RIG_EARLY + bytes + 8;
	const uint64_t offsets = is_new ? RIG_EARLY_INDEX + 512 : RIG_EARLY;
	uint64_t at = num + 8, second = 0;
	uint16_t token = 0;

	for (unsigned c = 0; c < 256; c++) {
		const bool is_shown = c >= ' ' && c < 127;

		rig_put16(rig, RIG_EARLY_INDEX + 2 * c, token);
		*rig_at(rig, RIG_EARLY_TOKENS + token) = is_shown ? (uint8_t)c : 0;
		token = (uint16_t)(token + 1 + is_shown);
	}
	for (unsigned i = 0; i < RIG_EARLY_NAMES; i++) {
		const struct rig_symbol *k = i < ARRAY_SIZE(known) ? &known[i] : NULL;

		if (i == 256)
			second = at - num - 8;
		at = rig_early_name(rig, at, k ? k->name : "tx");
		rig_put32(rig, offsets + 4 * i, (uint32_t)(-1 - (int32_t)(k ? k->x : RIG_CODE + i)));
	}
	rig_put32(rig, ALIGN_UP(at, 8) + 4, (uint32_t)second);
	rig_put64(rig, num, RIG_EARLY_NAMES);
	rig_put64(rig, offsets + bytes, K(0));
	rig_put64(rig, RIG_PHYS_BASE, RIG_BASE);
	memcpy(rig_at(rig, RIG_BANNER), "Linux version 6.1.0-early (rig)", 31);
}

/* ---- struct page of each page frame ---- */

enum { RIG_ROOT = 0x2f0000, RIG_SECTIONS = 0x2f1000, RIG_PAGES = 0x300000, RIG_PAGE_BYTES = 64 };

/* Page flags of the rig's kernel, and what its pages have in place of a mapcount */
enum { RIG_LRU = 1 << 4, RIG_SLAB = 1 << 9, RIG_SWAP_CACHE = 1 << 10, RIG_HEAD = 1 << 16, RIG_SWAP_BACKED = 1 << 19,
       RIG_BROKEN = 1 << 22, RIG_HUGETLB = 1 << 23 };
#define RIG_BUDDY   ((uint32_t)-129)
#define RIG_OFFLINE ((uint32_t)-257)

/* As 6.1 lays them out, without what differs between versions */
static inline void rig_page_keys(struct rig *rig)
{
	static const char *const keys[] = {
		"LENGTH(mem_section)=1", "SIZE(mem_section)=16", "OFFSET(mem_section.section_mem_map)=0",
		"NUMBER(SECTION_SIZE_BITS)=27", "NUMBER(MAX_PHYSMEM_BITS)=35", "SIZE(page)=64", "OFFSET(page.flags)=0",
		"OFFSET(page._mapcount)=48", "OFFSET(page.mapping)=24", "OFFSET(page.private)=40",
		"OFFSET(page.compound_head)=8", "NUMBER(PG_lru)=4", "NUMBER(PG_swapcache)=10",
		"NUMBER(PG_swapbacked)=19", "NUMBER(PG_head_mask)=65536", "NUMBER(PG_hwpoison)=22",
		"NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129", "NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)=-257",
		"LENGTH(zone.free_area)=11",
	};

	rig_key(rig, "SYMBOL(mem_section)=%llx", (unsigned long long)K(RIG_ROOT));
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		rig_key(rig, "%s", keys[i]);
}

/* All pages are the kernel's own. */
static inline void rig_pages(struct rig *rig)
{
	rig_page_keys(rig);
	rig_key(rig, "NUMBER(PG_slab)=9");
	rig_key(rig, "OFFSET(page.compound_order)=17");
	rig_key(rig, "OFFSET(page.compound_dtor)=16");
	rig_key(rig, "NUMBER(HUGETLB_PAGE_DTOR)=2");
	rig_put64(rig, RIG_ROOT, K(RIG_SECTIONS));
	rig_put64(rig, RIG_SECTIONS, K(RIG_PAGES) | 0xb);
	for (unsigned i = 0; i < RIG_RAM / 4096; i++)
		rig_put32(rig, RIG_PAGES + i * RIG_PAGE_BYTES + 48, (uint32_t)-1);
}

static inline void rig_page(const struct rig *rig, uint64_t pfn, uint64_t flags, uint32_t mapcount, uint64_t mapping)
{
	const uint64_t at = RIG_PAGES + pfn * RIG_PAGE_BYTES;

	rig_put64(rig, at, flags);
	rig_put64(rig, at + 24, mapping);
	rig_put32(rig, at + 48, mapcount);
}

/* The first of 1 << @order free ones */
static inline void rig_free_pages(const struct rig *rig, uint64_t pfn, uint64_t order)
{
	rig_page(rig, pfn, 0, RIG_BUDDY, 0);
	rig_put64(rig, RIG_PAGES + pfn * RIG_PAGE_BYTES + 40, order);
}

/* 1 << @order that are one */
static inline void rig_compound(const struct rig *rig, uint64_t pfn, unsigned order, unsigned dtor, uint64_t flags,
				uint64_t mapping)
{
	rig_page(rig, pfn, flags | RIG_HEAD, (uint32_t)-1, mapping);
	for (uint64_t i = 1; i < 1ULL << order; i++)
		rig_put64(rig, RIG_PAGES + (pfn + i) * RIG_PAGE_BYTES + 8, K(RIG_PAGES + pfn * RIG_PAGE_BYTES) | 1);
	rig_put16(rig, RIG_PAGES + (pfn + 1) * RIG_PAGE_BYTES + 16, (uint16_t)(order << 8 | dtor));
}

#endif
