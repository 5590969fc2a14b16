/* Links: vm/dump-exclude.o linux/pages.o linux/vmcoreinfo.o x86/cpu/walk.o hw/ram.o hw/ram-touched.o hw/ram-save.o util/file.o */
/* What pages are to a kernel, of any version, and whatever it says of them; and what a dump leaves out by that. */
#include <errno.h>

#include "../../vm/dump-exclude.h"
#include "linux-rig.h"
#include "unit.h"

#define ANON       (K(0x1000) | 1)

static struct rig rig;
static struct linux_guest guest;
static struct linux_pages pages;

static void find(void)
{
	struct linux_scan scan = { 0 };

	rig_publish(&rig, RIG_NOTE);
	while (linux_find(&scan, rig.ram, &guest))
		;
}

static void start(void)
{
	const char *missing;

	rig_start(&rig, false);
	rig_pages(&rig);
	find();
	ck_assert_int_eq(linux_pages_open(&guest, &pages, &missing), 0);
}

static void expect(uint64_t pfn, enum linux_page_kind kind, uint64_t n)
{
	uint64_t got_n = 0;
	enum linux_page_kind got = linux_page_kind(&pages, pfn, &got_n);

	ck_assert_msg(got == kind && got_n == n, "page frame %llu: %d, %llu", (unsigned long long)pfn, got,
		      (unsigned long long)got_n);
}

START_TEST(test_kinds)
{
	start();
	expect(8, LINUX_PAGE_OTHER, 1);
	rig_page(&rig, 8, RIG_LRU, 0, K(0x1000));
	expect(8, LINUX_PAGE_CACHE, 1);
	rig_page(&rig, 8, RIG_LRU, 0, ANON);
	expect(8, LINUX_PAGE_USER, 1);
	rig_page(&rig, 8, 0, 0, ANON); /* on its way to the list */
	expect(8, LINUX_PAGE_USER, 1);
	rig_page(&rig, 8, RIG_SWAP_CACHE, 0, 0);
	expect(8, LINUX_PAGE_OTHER, 1);
	rig_page(&rig, 8, RIG_SWAP_CACHE | RIG_SWAP_BACKED, 0, 0);
	expect(8, LINUX_PAGE_CACHE, 1);
	rig_page(&rig, 8, RIG_BROKEN, 0, 0);
	expect(8, LINUX_PAGE_UNUSABLE, 1);
	rig_page(&rig, 8, 0, RIG_OFFLINE, 0);
	expect(8, LINUX_PAGE_UNUSABLE, 1);
	/* What a slab has in these places is no mapping and no count. */
	rig_page(&rig, 8, RIG_SLAB, RIG_BUDDY, ANON);
	expect(8, LINUX_PAGE_OTHER, 1);
	rig_page(&rig, 8, RIG_SLAB, RIG_OFFLINE, 0);
	expect(8, LINUX_PAGE_OTHER, 1);
}
END_TEST

START_TEST(test_free)
{
	start();
	for (unsigned order = 0; order < 11; order++) {
		rig_free_pages(&rig, 1024, order);
		expect(1024, LINUX_PAGE_FREE, 1ULL << order);
	}
	rig_free_pages(&rig, 1024, 11); /* more than the kernel has */
	expect(1024, LINUX_PAGE_OTHER, 1);
	rig_free_pages(&rig, 1024, UINT64_MAX);
	expect(1024, LINUX_PAGE_OTHER, 1);
	rig_free_pages(&rig, 1025, 1); /* none begins there */
	expect(1025, LINUX_PAGE_OTHER, 1);
}
END_TEST

START_TEST(test_compound)
{
	start();
	rig_compound(&rig, 512, 9, 1, RIG_LRU, ANON);
	expect(512, LINUX_PAGE_USER, 512);
	expect(513, LINUX_PAGE_OTHER, 1);
	rig_compound(&rig, 512, 9, 2, 0, 0); /* of hugetlbfs */
	expect(512, LINUX_PAGE_USER, 512);
	rig_compound(&rig, 512, 9, 3, 0, 0);
	expect(512, LINUX_PAGE_OTHER, 1);
	rig_compound(&rig, 1024, 2, 1, RIG_LRU, K(0x1000));
	expect(1024, LINUX_PAGE_CACHE, 4);
	rig_put16(&rig, RIG_PAGES + 1025 * RIG_PAGE_BYTES + 16, 0xff00); /* an order that cannot be */
	expect(1024, LINUX_PAGE_CACHE, 1);
	rig_compound(&rig, 1030, 1, 1, RIG_LRU, ANON);
	rig_put16(&rig, RIG_PAGES + 1031 * RIG_PAGE_BYTES + 16, 2 << 8); /* nor there */
	expect(1030, LINUX_PAGE_USER, 1);
}
END_TEST

/* 6.3: offsets of a folio; 6.6: the order in the second page's flags, hugetlb a flag there; 6.10: kinds of pages */
START_TEST(test_versions)
{
	static const char *const keys[][5] = {
		{ "NUMBER(PG_slab)=9", "OFFSET(folio._folio_order)=81", "OFFSET(folio._folio_dtor)=80",
		  "NUMBER(HUGETLB_PAGE_DTOR)=2" },
		{ "NUMBER(PG_slab)=9", "NUMBER(PG_hugetlb)=23" },
		{ "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)=-184549376", "NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)=-201326592" },
	};

	for (unsigned v = 0; v < ARRAY_SIZE(keys); v++) {
		const char *missing;

		start();
		rig.note_bytes = (size_t)(strstr(rig.note, "NUMBER(PG_slab)") - rig.note);
		for (unsigned i = 0; keys[v][i]; i++)
			rig_key(&rig, "%s", keys[v][i]);
		find();
		ck_assert_int_eq(linux_pages_open(&guest, &pages, &missing), 0);
		rig_compound(&rig, 512, 3, 2, 0, 0);
		if (v)
			rig_put64(&rig, RIG_PAGES + 513 * RIG_PAGE_BYTES, 3 | (v == 1 ? RIG_HUGETLB : 0));
		if (v == 2)
			rig_page(&rig, 512, RIG_HEAD, (uint32_t)-201326592, 0);
		expect(512, LINUX_PAGE_USER, 8);
		rig_page(&rig, 8, v == 2 ? 0 : RIG_SLAB, (uint32_t)-184549376, ANON);
		expect(8, LINUX_PAGE_OTHER, 1);
	}
}
END_TEST

/* What cannot be read is the kernel's own. */
START_TEST(test_unreadable)
{
	start();
	rig_page(&rig, 8, RIG_LRU, 0, ANON);
	rig_put64(&rig, RIG_SECTIONS, K(RIG_PAGES) | 1); /* no array */
	expect(8, LINUX_PAGE_OTHER, 1);
	start();
	rig_put64(&rig, RIG_SECTIONS, K(RIG_SPAN) | 3);
	expect(8, LINUX_PAGE_OTHER, 1);
	start();
	rig_put64(&rig, RIG_ROOT, 0);
	expect(8, LINUX_PAGE_OTHER, 1);
	start();
	rig_put64(&rig, RIG_ROOT, K(RIG_SPAN));
	expect(8, LINUX_PAGE_OTHER, 1);
	start();
	expect((1ULL << 40), LINUX_PAGE_OTHER, 1);
	rig_put64(&rig, RIG_SECTIONS + 16 * 255, K(RIG_PAGES) | 3);
	expect((256ULL << 15) - 1, LINUX_PAGE_OTHER, 1);
	expect((256ULL << 15), LINUX_PAGE_OTHER, 1);
	/* The second page of the last one that is there */
	start();
	rig_put64(&rig, RIG_SECTIONS, K(RIG_SPAN) - 0x1000 + 3);
	rig_put64(&rig, RIG_SPAN - 64, RIG_HEAD);
	rig_put64(&rig, RIG_SPAN - 64 + 24, ANON);
	expect(63, LINUX_PAGE_USER, 1);
}
END_TEST

START_TEST(test_missing)
{
	static const struct {
		const char *line, *instead, *missing;
	} cases[] = {
		{ "NUMBER(PG_lru)=4", "NUMBER(PG_lrx)=4", "NUMBER(PG_lru)" },
		{ "NUMBER(PG_lru)=4", "NUMBER(PG_lru)=64", "NUMBER(PG_lru)" },
		{ "SIZE(page)=64", "SIZE(page)=32", "SIZE(page)" },
		{ "SIZE(page)=64", "SIZE(page)=999", "SIZE(page)" },
		{ "SIZE(page)=64", "SIZE(page)=47", "SIZE(page)" },
		{ "SIZE(page)=64", "SIZE(page)=48", "OFFSET(page._mapcount)" },
		{ "_mem_map)=0", "_mem_map)=9", "OFFSET(mem_section.section_mem_map)" },
		{ "SIZE(mem_section)=16", "SIZE(mem_section)=4", "SIZE(mem_section)" },
		{ "MAX_PHYSMEM_BITS)=35", "MAX_PHYSMEM_BITS)=36", "LENGTH(mem_section)" },
		{ "SECTION_SIZE_BITS)=27", "SECTION_SIZE_BITS)=36", "NUMBER(SECTION_SIZE_BITS)" },
		{ "NUMBER(PG_slab)=9", "NUMBER(PG_slax)=9", "NUMBER(PG_slab)" },
		{ "free_area)=11", "free_area)=20", "LENGTH(zone.free_area)" },
		{ "SYMBOL(mem_section)", "SYMBOX(mem_section)", "SYMBOL(mem_section)" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *missing = NULL;
		char rest[sizeof(rig.note)], *at;

		start();
		at = strstr(rig.note, cases[i].line);
		ck_assert_ptr_nonnull(at);
		strcpy(rest, at + strlen(cases[i].line));
		strcpy(stpcpy(at, cases[i].instead), rest);
		rig.note_bytes = strlen(rig.note);
		find();
		ck_assert_int_eq(linux_pages_open(&guest, &pages, &missing), -ENODATA);
		ck_assert_str_eq(missing, cases[i].missing);
	}
}
END_TEST

/* ---- what a dump leaves out ---- */

static unsigned n_runs;
static uint64_t run_at[8], run_pages[8];

static int note_run(void *ctx, gpa_t at, const uint8_t *host, size_t bytes)
{
	(void)ctx;
	ck_assert_uint_lt(n_runs, ARRAY_SIZE(run_at));
	ck_assert_ptr_eq(host, ram_base(rig.ram) + at.v);
	run_at[n_runs] = at.v / 4096;
	run_pages[n_runs++] = bytes / 4096;
	return at.v / 4096 == 9 ? -EIO : 0;
}

START_TEST(test_left_out)
{
	static const struct {
		unsigned levels;
		struct ipc_dump_pages n;
	} cases[] = {
		{ DUMP_NO_FREE, { .free = 8, .unusable = 1 } },
		{ DUMP_NO_CACHE, { .cache = 2, .unusable = 1 } },
		{ DUMP_NO_USER, { .user = 1, .unusable = 1 } },
		{ DUMP_NO_ALL, { .free = 8, .cache = 2, .user = 1, .unusable = 1 } },
	};
	struct dump_exclude e;
	char why[200] = "";

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		start();
		rig_free_pages(&rig, 2040, 3); /* to the end of RAM */
		rig_page(&rig, 5, RIG_LRU, 0, K(0x1000));
		rig_page(&rig, 6, RIG_LRU, 0, K(0x1000));
		rig_page(&rig, 10, RIG_LRU, 0, ANON);
		rig_page(&rig, 11, RIG_BROKEN, 0, 0);
		ck_assert_int_eq(dump_exclude_init(&e, rig.ram, cases[i].levels, &guest, why, sizeof(why)), 0);
		dump_exclude_look(&e);
		ck_assert_mem_eq(&e.left_out, &cases[i].n, sizeof(e.left_out));
		ck_assert_uint_eq(dump_excluded_pages(&e), cases[i].n.free + cases[i].n.cache + cases[i].n.user + 1);
		for (uint64_t pfn = 0; pfn < RIG_RAM / 4096; pfn++)
			ck_assert_int_eq(dump_excludes(&e, pfn),
					 (pfn >= 2040 && cases[i].levels & DUMP_NO_FREE) ||
					 ((pfn == 5 || pfn == 6) && cases[i].levels & DUMP_NO_CACHE) ||
					 (pfn == 10 && cases[i].levels & DUMP_NO_USER) || pfn == 11);
		dump_exclude_fini(&e);
	}
}
END_TEST

/* A block that claims more than there is: no bit behind RAM's end is set. */
START_TEST(test_end)
{
	struct dump_exclude e;
	char why[200] = "";

	start();
	rig_compound(&rig, 1024, 9, 1, RIG_LRU, ANON);
	rig_put16(&rig, RIG_PAGES + 1025 * RIG_PAGE_BYTES + 16, 10 << 8);
	rig_compound(&rig, 0, 1, 1, RIG_LRU, ANON);
	rig_put16(&rig, RIG_PAGES + 1 * RIG_PAGE_BYTES + 16, 18 << 8);
	ck_assert_int_eq(dump_exclude_init(&e, rig.ram, DUMP_NO_USER, &guest, why, sizeof(why)), 0);
	dump_exclude_look(&e);
	ck_assert_uint_eq(e.left_out.user, RIG_RAM / 4096);
	dump_exclude_fini(&e);
}
END_TEST

START_TEST(test_runs)
{
	struct dump_exclude e;
	char why[200] = "";

	start();
	memset(ram_base(rig.ram) + 4 * 4096, 1, 8 * 4096); /* 4 to 11 */
	rig_page(&rig, 4, RIG_LRU, 0, ANON);
	rig_page(&rig, 7, RIG_LRU, 0, ANON);
	rig_page(&rig, 8, RIG_LRU, 0, ANON);
	ck_assert_int_eq(dump_exclude_init(&e, rig.ram, DUMP_NO_USER, &guest, why, sizeof(why)), 0);
	dump_exclude_look(&e);
	n_runs = 0;
	ck_assert_int_eq(dump_each_run(&e, rig.ram, note_run, NULL), -EIO);
	ck_assert_uint_eq(n_runs, 2);
	ck_assert_uint_eq(run_at[0], 5);
	ck_assert_uint_eq(run_pages[0], 2);
	ck_assert_uint_eq(run_at[1], 9);
	ck_assert_uint_eq(run_pages[1], 3);
	dump_exclude_fini(&e);
	n_runs = 0;
	dump_each_run(NULL, rig.ram, note_run, NULL);
	ck_assert_uint_eq(run_at[0], 4);
	ck_assert_uint_eq(run_pages[0], 8);
}
END_TEST

START_TEST(test_no_linux)
{
	struct dump_exclude e;
	char why[200] = "";

	start();
	ck_assert_int_eq(dump_exclude_init(&e, rig.ram, DUMP_NO_ZERO, NULL, why, sizeof(why)), 0);
	dump_exclude_look(&e);
	ck_assert(!dump_excludes(&e, 5) && !dump_excluded_pages(&e));
	ck_assert_int_eq(dump_exclude_init(&e, rig.ram, DUMP_NO_ALL, NULL, why, sizeof(why)), -ENODATA);
	ck_assert_ptr_nonnull(strstr(why, "there is no Linux"));
	rig.note_bytes = (size_t)(strstr(rig.note, "NUMBER(PG_slab)") - rig.note);
	find();
	ck_assert_int_eq(dump_exclude_init(&e, rig.ram, DUMP_NO_ALL, &guest, why, sizeof(why)), -ENODATA);
	ck_assert_ptr_nonnull(strstr(why, "VMCOREINFO has no valid NUMBER(PG_slab)"));
}
END_TEST

UNIT_MAIN("pages", test_kinds, test_free, test_compound, test_versions, test_unreadable, test_missing, test_left_out,
	  test_end, test_runs, test_no_linux)
