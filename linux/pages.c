/* See lkvm/linux/pages.h. */
#include "lkvm/linux/pages.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "lkvm/types.h"

#define NONE           UINT64_MAX
#define MOST_ORDER     18 /* a page of 1 GiB */
#define MOST_PAGE      256 /* bytes of a struct page */
#define SECTION_HAS_MAP 2ULL /* include/linux/mmzone.h: SECTION_HAS_MEM_MAP */
#define SECTION_FLAGS  0xfffULL /* are below this */
#define MAPPING_ANON   1ULL /* include/linux/page-flags.h */
#define TAIL           1ULL /* in compound_head */
#define ORDER_IN_FLAGS 0xffULL /* of the second page, since 6.6 */

struct key {
	const char *name;
	size_t offset; /* of struct linux_page_layout */
	uint64_t min, max;
};

#define FIELD(field) offsetof(struct linux_page_layout, field)

/* Without any of these there is nothing to go by. */
static const struct key needed[] = {
	{ "SYMBOL(mem_section)", FIELD(sections), 1, UINT64_MAX },
	{ "LENGTH(mem_section)", FIELD(n_roots), 1, 1ULL << 40 },
	{ "SIZE(mem_section)", FIELD(section_bytes), 8, RAM_PAGE_BYTES },
	{ "OFFSET(mem_section.section_mem_map)", FIELD(section_map), 0, RAM_PAGE_BYTES },
	{ "NUMBER(SECTION_SIZE_BITS)", FIELD(section_bits), 16, 40 },
	{ "NUMBER(MAX_PHYSMEM_BITS)", FIELD(physical_bits), 32, 52 },
	{ "SIZE(page)", FIELD(page_bytes), 40, MOST_PAGE },
	{ "OFFSET(page.flags)", FIELD(flags), 0, MOST_PAGE },
	{ "OFFSET(page._mapcount)", FIELD(mapcount), 0, MOST_PAGE },
	{ "OFFSET(page.mapping)", FIELD(mapping), 0, MOST_PAGE },
	{ "OFFSET(page.private)", FIELD(private), 0, MOST_PAGE },
	{ "OFFSET(page.compound_head)", FIELD(compound_head), 0, MOST_PAGE },
	{ "NUMBER(PG_lru)", FIELD(lru), 0, 63 },
	{ "NUMBER(PG_swapcache)", FIELD(swap_cache), 0, 63 },
	{ "NUMBER(PG_swapbacked)", FIELD(swap_backed), 0, 63 },
	{ "NUMBER(PG_head_mask)", FIELD(head_mask), 1, UINT64_MAX },
	{ "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)", FIELD(buddy), 0, UINT64_MAX },
	{ "LENGTH(zone.free_area)", FIELD(n_orders), 1, MOST_ORDER + 1 },
};

/* These came and went with the kernel's versions. */
static const struct key optional[] = {
	{ "NUMBER(PG_slab)", FIELD(slab_bit), 0, 63 },
	{ "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)", FIELD(slab_type), 0, UINT64_MAX },
	{ "NUMBER(PG_hwpoison)", FIELD(hwpoison_bit), 0, 63 },
	{ "NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)", FIELD(offline_type), 0, UINT64_MAX },
	{ "OFFSET(page.compound_order)", FIELD(compound_order), 0, MOST_PAGE },
	{ "OFFSET(folio._folio_order)", FIELD(folio_order), 0, 2 * MOST_PAGE },
	{ "OFFSET(page.compound_dtor)", FIELD(compound_dtor), 0, MOST_PAGE },
	{ "OFFSET(folio._folio_dtor)", FIELD(folio_dtor), 0, 2 * MOST_PAGE },
	{ "NUMBER(HUGETLB_PAGE_DTOR)", FIELD(hugetlb_dtor), 0, 255 },
	{ "NUMBER(PG_hugetlb)", FIELD(hugetlb_bit), 0, 63 },
	{ "NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)", FIELD(hugetlb_type), 0, UINT64_MAX },
};

/* ---- where it all is ---- */

static bool take(const struct linux_guest *guest, const struct key *key, struct linux_page_layout *l)
{
	uint64_t value;

	if (linux_key(guest, key->name, &value) || value < key->min || value > key->max)
		return false;
	memcpy((uint8_t *)l + key->offset, &value, sizeof(value));
	return true;
}

/* What is left of @bytes for 8 of them from @offset on */
static bool has_8(uint64_t bytes, uint64_t offset)
{
	return bytes >= 8 && offset <= bytes - 8;
}

/* In the second struct page; folio's offsets are from the first one on. */
static uint64_t in_second(const struct linux_page_layout *l, uint64_t of_page, uint64_t of_folio)
{
	if (of_page == NONE && of_folio != NONE && of_folio >= l->page_bytes)
		of_page = of_folio - l->page_bytes;
	return of_page < l->page_bytes ? of_page : NONE;
}

/* All that is read of it is in it. Return: NULL, or what is wrong */
static const char *judge(struct linux_page_layout *l)
{
	const uint64_t fields[] = { l->flags, l->mapping, l->private, l->compound_head };
	uint64_t per_root;

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (!has_8(l->page_bytes, fields[i]))
			return "SIZE(page)";
	if (l->mapcount > l->page_bytes - 4)
		return "OFFSET(page._mapcount)";
	if (!has_8(l->section_bytes, l->section_map))
		return "OFFSET(mem_section.section_mem_map)";
	if (l->section_bits >= l->physical_bits)
		return "NUMBER(SECTION_SIZE_BITS)";
	/* With SPARSEMEM_EXTREME, which x86-64 has: a root is a page of sections. */
	per_root = RAM_PAGE_BYTES / l->section_bytes;
	if (l->n_roots != ((1ULL << (l->physical_bits - l->section_bits)) + per_root - 1) / per_root)
		return "LENGTH(mem_section)";
	if (l->slab_bit == NONE && l->slab_type == NONE)
		return "NUMBER(PG_slab)";
	l->compound_order = in_second(l, l->compound_order, l->folio_order);
	l->compound_dtor = in_second(l, l->compound_dtor, l->folio_dtor);
	return NULL;
}

int linux_pages_open(const struct linux_guest *guest, struct linux_pages *ret, const char **ret_missing)
{
	const char *wrong;

	*ret = (struct linux_pages){ .guest = guest, .section = NONE };
	memset(&ret->l, 0xff, sizeof(ret->l));
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (!take(guest, &needed[i], &ret->l)) {
			*ret_missing = needed[i].name;
			return -ENODATA;
		}
	for (size_t i = 0; i < ARRAY_SIZE(optional); i++)
		take(guest, &optional[i], &ret->l);
	wrong = judge(&ret->l);
	if (wrong)
		*ret_missing = wrong;
	return wrong ? -ENODATA : 0;
}

/* ---- a struct page ---- */

/* Return: struct linux_pages' map */
static uint64_t map_of(const struct linux_pages *p, uint64_t section)
{
	const uint64_t per_root = RAM_PAGE_BYTES / p->l.section_bytes, root = section / per_root;
	uint64_t at, map;

	if (root >= p->l.n_roots || linux_read_u64(p->guest, p->l.sections + root * 8, &at) || !at)
		return 0;
	at += section % per_root * p->l.section_bytes + p->l.section_map;
	if (linux_read_u64(p->guest, at, &map) || !(map & SECTION_HAS_MAP))
		return 0;
	return map & ~SECTION_FLAGS;
}

static int read_page(struct linux_pages *p, uint64_t pfn, uint8_t ret[MOST_PAGE])
{
	const uint64_t section = pfn >> (p->l.section_bits - 12);

	if (section != p->section) {
		p->section = section;
		p->map = map_of(p, section);
	}
	return p->map ? linux_read(p->guest, p->map + pfn * p->l.page_bytes, ret, p->l.page_bytes) : -EFAULT;
}

static uint64_t get(const uint8_t *page, uint64_t offset)
{
	uint64_t value;

	memcpy(&value, page + offset, sizeof(value));
	return value;
}

static bool has_bit(uint64_t flags, uint64_t bit)
{
	return bit != NONE && flags >> bit & 1;
}

/* What a page is used for may stand where pages of programs count who maps them. */
static bool is_type(uint32_t mapcount, uint64_t type)
{
	return type != NONE && mapcount == (uint32_t)type;
}

/* ---- judging one ---- */

struct facts {
	uint64_t flags, mapping, private;
	uint32_t mapcount;
	unsigned order; /* of a compound page that begins here */
	bool hugetlb;
};

/* The second page of a compound one has what is known of all of it. */
static void look_at_second(struct linux_pages *p, uint64_t pfn, struct facts *f)
{
	const struct linux_page_layout *l = &p->l;
	uint8_t page[MOST_PAGE];
	uint64_t order;

	if (read_page(p, pfn + 1, page))
		return;
	order = l->compound_order != NONE ? page[l->compound_order] : get(page, l->flags) & ORDER_IN_FLAGS;
	if (order <= MOST_ORDER && !(pfn & ((1ULL << order) - 1)))
		f->order = (unsigned)order;
	f->hugetlb = has_bit(get(page, l->flags), l->hugetlb_bit) ||
		     (l->compound_dtor != NONE && l->hugetlb_dtor == page[l->compound_dtor]);
}

static enum linux_page_kind judge_page(const struct linux_page_layout *l, const struct facts *f)
{
	const bool slab = has_bit(f->flags, l->slab_bit) || is_type(f->mapcount, l->slab_type);
	const bool anonymous = f->mapping & MAPPING_ANON && !slab;

	if (!slab && is_type(f->mapcount, l->buddy))
		return LINUX_PAGE_FREE;
	if (!anonymous && (has_bit(f->flags, l->lru) ||
			   (has_bit(f->flags, l->swap_cache) && has_bit(f->flags, l->swap_backed))))
		return LINUX_PAGE_CACHE;
	if (anonymous || f->hugetlb || is_type(f->mapcount, l->hugetlb_type))
		return LINUX_PAGE_USER;
	if (has_bit(f->flags, l->hwpoison_bit) || (!slab && is_type(f->mapcount, l->offline_type)))
		return LINUX_PAGE_UNUSABLE;
	return LINUX_PAGE_OTHER;
}

enum linux_page_kind linux_page_kind(struct linux_pages *p, uint64_t pfn, uint64_t *ret_n)
{
	const struct linux_page_layout *l = &p->l;
	enum linux_page_kind kind;
	uint8_t page[MOST_PAGE];
	struct facts f = { 0 };

	*ret_n = 1;
	/* A part of a compound page is what its first page is, which has told of it. */
	if (read_page(p, pfn, page) || get(page, l->compound_head) & TAIL)
		return LINUX_PAGE_OTHER;
	f.flags = get(page, l->flags);
	f.mapping = get(page, l->mapping);
	f.private = get(page, l->private);
	memcpy(&f.mapcount, page + l->mapcount, sizeof(f.mapcount));
	if (f.flags & l->head_mask)
		look_at_second(p, pfn, &f);
	kind = judge_page(l, &f);
	if (kind == LINUX_PAGE_FREE) {
		if (f.private >= l->n_orders || pfn & ((1ULL << f.private) - 1))
			return LINUX_PAGE_OTHER;
		f.order = (unsigned)f.private;
	}
	*ret_n = kind == LINUX_PAGE_OTHER ? 1 : 1ULL << f.order;
	return kind;
}
