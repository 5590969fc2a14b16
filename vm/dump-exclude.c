/* See vm/dump-exclude.h. After dump_exclude_init() nothing is allocated. */
#include "dump-exclude.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "lkvm/types.h"

/* ---- which pages ---- */

static int why_not(char *ret_why, size_t cap, const char *missing)
{
	if (missing)
		snprintf(ret_why, cap, "its Linux does not tell what its pages are: VMCOREINFO has no valid %s", missing);
	else
		snprintf(ret_why, cap, "there is no Linux in its memory that tells what its pages are; "
			 "'zero' alone can be left out");
	return -ENODATA;
}

int dump_exclude_init(struct dump_exclude *ret, const struct ram *ram, unsigned levels, const struct linux_guest *guest,
		      char *ret_why, size_t cap)
{
	const char *missing = NULL;
	void *bitmap;

	*ret = (struct dump_exclude){ .ram = ram, .levels = levels };
	if (!(levels & ~(unsigned)DUMP_NO_ZERO))
		return 0;
	if (!guest || linux_pages_open(guest, &ret->pages, &missing))
		return why_not(ret_why, cap, missing);
	ret->bitmap_bytes = ALIGN_UP(ram_end(ram) / RAM_PAGE_BYTES, 8) / 8;
	bitmap = mmap(NULL, ret->bitmap_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (bitmap == MAP_FAILED)
		return -ENOMEM;
	ret->bitmap = bitmap;
	return 0;
}

void dump_exclude_fini(struct dump_exclude *e)
{
	if (e->bitmap)
		munmap(e->bitmap, e->bitmap_bytes);
	e->bitmap = NULL;
}

/* Return: what counts those that are left out; NULL: they are not */
static uint64_t *counter(struct dump_exclude *e, enum linux_page_kind kind)
{
	struct ipc_dump_pages *n = &e->left_out;

	switch (kind) {
	case LINUX_PAGE_FREE:
		return e->levels & DUMP_NO_FREE ? &n->free : NULL;
	case LINUX_PAGE_CACHE:
		return e->levels & DUMP_NO_CACHE ? &n->cache : NULL;
	case LINUX_PAGE_USER:
		return e->levels & DUMP_NO_USER ? &n->user : NULL;
	case LINUX_PAGE_UNUSABLE:
		return &n->unusable;
	default:
		return NULL;
	}
}

static void look_at_area(struct dump_exclude *e, const struct ram_part *area)
{
	uint64_t pfn = area->start.v / RAM_PAGE_BYTES, n;
	const uint64_t end = pfn + area->size_bytes / RAM_PAGE_BYTES;

	while (pfn < end) {
		uint64_t *count = counter(e, linux_page_kind(&e->pages, pfn, &n));

		if (n > end - pfn)
			n = end - pfn;
		if (count)
			*count += n;
		for (; n; n--, pfn++)
			if (count)
				e->bitmap[pfn / 8] |= (uint8_t)(1 << pfn % 8);
	}
}

void dump_exclude_look(struct dump_exclude *e)
{
	struct ram_part area[RAM_MAX_AREAS];
	const unsigned n = ram_areas(e->ram, area);

	for (unsigned i = 0; e->bitmap && i < n; i++)
		look_at_area(e, &area[i]);
}

uint64_t dump_excluded_pages(const struct dump_exclude *e)
{
	return e ? e->left_out.free + e->left_out.cache + e->left_out.user + e->left_out.unusable : 0;
}

/* ---- what is left ---- */

struct filter {
	const struct dump_exclude *exclude;
	ram_run_fn run;
	void *ctx;
};

static int filter_run(void *ctx, gpa_t at, const uint8_t *host, size_t bytes)
{
	const struct filter *f = ctx;
	const uint64_t pfn = at.v / RAM_PAGE_BYTES, n = bytes / RAM_PAGE_BYTES;
	uint64_t first;
	int err = 0;

	for (uint64_t i = 0; !err && i < n; i++) {
		for (first = i; i < n && !dump_excludes(f->exclude, pfn + i); i++)
			;
		if (i > first)
			err = f->run(f->ctx, GPA(at.v + first * RAM_PAGE_BYTES), host + first * RAM_PAGE_BYTES,
				     (i - first) * RAM_PAGE_BYTES);
	}
	return err;
}

int dump_each_run(const struct dump_exclude *e, const struct ram *ram, ram_run_fn run, void *ctx)
{
	struct filter f = { e, run, ctx };

	return ram_each_run(ram, filter_run, &f);
}
