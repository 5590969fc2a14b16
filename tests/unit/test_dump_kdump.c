/* Links: vm/dump-kdump.o vm/dump-pack.o vm/dump-elf.o linux/vmcoreinfo.o x86/cpu/walk.o hw/ram.o hw/ram-touched.o hw/ram-save.o hw/state.o vm/dump-exclude.o linux/pages.o util/file.o util/lib.o */
/* The compressed format, read back: each field, and each page, which is unpacked by its library. */
#include <errno.h>
#include <fcntl.h>
#include <lzo/lzo1x.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "../../vm/dump-exclude.h"
#include "../../vm/dump-kdump.h"
#include "linux-rig.h"
#include "lkvm/lib.h"
#include "unit.h"

#define LZO(X) X(lzo1x_decompress_safe)
#define ZLIB(X) X(uncompress)
#define ZSTD(X) X(ZSTD_decompress)
static const struct lib_symbol lzo_symbols[] = { LZO(LIB_SYMBOL){ 0 } }, zlib_symbols[] = { ZLIB(LIB_SYMBOL){ 0 } },
			       zstd_symbols[] = { ZSTD(LIB_SYMBOL){ 0 } };
static const struct lib lzo_lib = { "liblzo2.so.2", "", lzo_symbols, false },
			zlib_lib = { "libz.so.1", "", zlib_symbols, false },
			zstd_lib = { "libzstd.so.1", "", zstd_symbols, false };
static struct {
	LZO(LIB_FIELD)
} lzo;
static struct {
	ZLIB(LIB_FIELD)
} zlib;
static struct {
	ZSTD(LIB_FIELD)
} zstd;

static const struct ram_config plain;
static const uint8_t *file;
static size_t file_bytes;

static struct ram *make_ram(uint64_t bytes)
{
	struct ram_backing backing = { .fd = -1, .advice = &plain };
	struct ram *ram;

	ck_assert_int_eq(ram_new(bytes, &backing, &ram), 0);
	return ram;
}

static uint64_t write_file(const struct dump_source *src, enum dump_compress how)
{
	const int fd = memfd_create("dump", MFD_CLOEXEC);
	struct dump_packer *packer;
	struct kdump *k;
	uint64_t written;
	struct stat st;
	char why[128];

	ck_assert_int_eq(dump_packer_new(how, &packer, why, sizeof(why)), 0);
	ck_assert_int_eq(kdump_new(src, packer, &k), 0);
	ck_assert_int_eq(kdump_write(k, fd, &written), 0);
	kdump_free(k);
	fstat(fd, &st);
	file_bytes = (size_t)st.st_size;
	file = mmap(NULL, file_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	ck_assert_ptr_ne(file, MAP_FAILED);
	close(fd);
	return written;
}

static void forget_file(void)
{
	munmap((void *)(uintptr_t)file, file_bytes);
}

static bool bit(unsigned which, uint64_t pfn)
{
	const struct kdump_header *h = (const struct kdump_header *)file;
	const uint64_t from = (1 + (uint64_t)h->sub_header_blocks + which * h->bitmap_blocks / 2) * 4096;

	return file[from + pfn / 8] >> pfn % 8 & 1;
}

/* The descriptor of a page that is there */
static const struct kdump_page *page_of(uint64_t pfn)
{
	const struct kdump_header *h = (const struct kdump_header *)file;
	const uint64_t at = (1 + (uint64_t)h->sub_header_blocks + h->bitmap_blocks) * 4096;
	uint64_t rank = 0;

	for (uint64_t i = 0; i < pfn; i++)
		rank += bit(1, i);
	return (const struct kdump_page *)(file + at) + rank;
}

static void check_page(uint64_t pfn, const uint8_t *want)
{
	const struct kdump_page *page = page_of(pfn);
	uint8_t text[4096];
	lzo_uint lzo_n = sizeof(text);
	uLongf zlib_n = sizeof(text);

	ck_assert(bit(1, pfn));
	ck_assert_uint_le(page->at + page->bytes, file_bytes);
	ck_assert_uint_eq(page->page_flags, 0);
	switch (page->flags) {
	case 0:
		ck_assert_uint_eq(page->bytes, sizeof(text));
		memcpy(text, file + page->at, sizeof(text));
		break;
	case 1:
		ck_assert_int_eq(zlib.uncompress(text, &zlib_n, file + page->at, page->bytes), Z_OK);
		break;
	case 2:
		ck_assert_int_eq(lzo.lzo1x_decompress_safe(file + page->at, page->bytes, text, &lzo_n, NULL), 0);
		break;
	default:
		ck_assert_uint_eq(page->flags, 0x20);
		ck_assert_uint_eq(zstd.ZSTD_decompress(text, sizeof(text), file + page->at, page->bytes), 4096);
	}
	ck_assert(!memcmp(text, want, sizeof(text)));
}

static void open_libraries(void)
{
	void *handle;

	ck_assert_int_eq(lib_open(&lzo_lib, &lzo, &handle), 0);
	ck_assert_int_eq(lib_open(&zlib_lib, &zlib, &handle), 0);
	ck_assert_int_eq(lib_open(&zstd_lib, &zstd, &handle), 0);
}

/* Bytes that no library makes smaller */
static void make_noise(uint8_t *at, size_t n)
{
	uint64_t x = 88172645463325252ULL;

	for (size_t i = 0; i < n; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		at[i] = (uint8_t)(x >> 32);
	}
}

START_TEST(test_pages)
{
	static const uint8_t zeros[4096];
	static const struct dump_cpu cpus[2];
	struct ram *ram = make_ram(3329 * MIB); /* a MiB above the gap */
	const struct dump_source src = { .ram = ram, .cpus = cpus, .n_cpus = 2 };
	uint8_t *base = ram_base(ram);
	const uint64_t last = RAM_GAP_END / 4096 + 255;

	open_libraries();
	memset(base + 4096, 'a', 4096);
	make_noise(base + 8192, 4096);
	base[last * 4096 + 4095] = 1;
	for (enum dump_compress how = DUMP_ZSTD; how <= DUMP_ZLIB; how++) {
		ck_assert_uint_eq(write_file(&src, how), 3 * 4096);
		for (unsigned which = 0; which <= 1; which++) {
			ck_assert(bit(which, 0) && bit(which, last) && !bit(which, last + 1));
			ck_assert(!bit(which, RAM_GAP_START / 4096) && bit(which, RAM_GAP_START / 4096 - 1));
			ck_assert(!bit(which, RAM_GAP_END / 4096 - 1));
		}
		check_page(0, zeros);
		check_page(1, base + 4096);
		check_page(2, base + 8192);
		ck_assert_uint_eq(page_of(2)->flags, 0);
		check_page(last - 1, zeros);
		ck_assert_uint_eq(page_of(0)->at, page_of(last - 1)->at);
		check_page(last, base + last * 4096);
		forget_file();
	}
	ram_free(ram);
}
END_TEST

START_TEST(test_header)
{
	static const uint32_t flags[] = { [DUMP_ZSTD] = 0x20, [DUMP_LZO] = 2, [DUMP_ZLIB] = 1 };
	static const struct dump_cpu cpus[3];
	static struct linux_guest guest;
	struct linux_scan scan = { 0 };
	struct rig rig = { 0 };
	struct dump_source src = { .cpus = cpus, .n_cpus = 3 };

	rig_start(&rig, false);
	rig_publish(&rig, RIG_NOTE);
	while (linux_find(&scan, rig.ram, &guest))
		;
	memcpy(rig_at(&rig, RIG_UTS + 4 * 65), "rig64", sizeof("rig64"));
	src.ram = rig.ram;
	for (enum dump_compress how = DUMP_ZSTD; how <= DUMP_ZLIB; how++) {
		const struct kdump_header *h;
		const struct kdump_sub_header *sub;

		src.guest = how == DUMP_LZO ? NULL : &guest;
		write_file(&src, how);
		h = (const struct kdump_header *)file;
		sub = (const struct kdump_sub_header *)(file + 4096);
		ck_assert(!memcmp(h->signature, "KDUMP   ", 8));
		ck_assert_int_eq(h->version, 6);
		ck_assert_str_eq(h->uts[4], src.guest ? "rig64" : "x86_64");
		ck_assert_str_eq(h->uts[2], src.guest ? "6.1.0-rig" : "");
		ck_assert_int_ne(h->seconds, 0);
		ck_assert_uint_eq(h->status, flags[how]);
		ck_assert_int_eq(h->block_bytes, 4096);
		ck_assert_uint_eq(h->bitmap_blocks, 2);
		ck_assert_uint_eq(h->max_pfn, RIG_RAM / 4096);
		ck_assert_int_eq(h->n_cpus, 3);
		ck_assert_int_eq(sub->dump_level, 1);
		ck_assert_uint_eq(sub->phys_base, src.guest ? RIG_BASE : 0);
		ck_assert_uint_eq(sub->max_pfn_64, RIG_RAM / 4096);
		ck_assert_uint_eq(sub->vmcoreinfo_bytes, src.guest ? rig.note_bytes : 0);
		ck_assert(!src.guest || !memcmp(file + sub->vmcoreinfo_at, rig.note, rig.note_bytes));
		ck_assert(!memcmp(file + sub->notes_at + 12, "CORE", 5));
		ck_assert_uint_ge(sub->notes_bytes, 3 * (20 + 336 + 20 + 440));
		ck_assert_uint_le(sub->notes_at + sub->notes_bytes, (1U + (unsigned)h->sub_header_blocks) * 4096U);
		forget_file();
	}
	ram_free(rig.ram);
}
END_TEST

/* Neither a bit nor a descriptor is there for what is left out, be it zeros or not. */
START_TEST(test_left_out)
{
	static const uint8_t zeros[4096];
	static const struct dump_cpu cpu;
	struct ram *ram = make_ram(64 * MIB);
	uint8_t bitmap[64 * MIB / 4096 / 8] = { [0] = 1 << 1 | 1 << 3 | 1 << 6, [sizeof(bitmap) - 1] = 1 << 7 };
	struct dump_exclude exclude = {
		.levels = DUMP_NO_FREE | DUMP_NO_USER, .bitmap = bitmap, .bitmap_bytes = sizeof(bitmap), .left_out.free = 4,
	};
	const struct dump_source src = { .ram = ram, .cpus = &cpu, .n_cpus = 1, .exclude = &exclude };
	uint8_t *base = ram_base(ram);
	const uint64_t last = 64 * MIB / 4096 - 1;

	open_libraries();
	for (unsigned i = 2; i < 6; i++) /* one of them is left out */
		memset(base + i * 4096, 'a' + (int)i, 4096);
	base[(last - 1) * 4096] = 1;
	ck_assert_uint_eq(write_file(&src, DUMP_ZLIB), 4 * 4096);
	ck_assert_int_eq(((const struct kdump_sub_header *)(file + 4096))->dump_level, 1 | 8 | 16);
	for (uint64_t pfn = 0; pfn <= last; pfn++) {
		const bool out = pfn == 1 || pfn == 3 || pfn == 6 || pfn == last;

		ck_assert(bit(0, pfn) && bit(1, pfn) == !out);
	}
	check_page(0, zeros);
	check_page(2, base + 2 * 4096);
	check_page(4, base + 4 * 4096);
	check_page(5, base + 5 * 4096);
	check_page(7, zeros);
	check_page(last - 1, base + (last - 1) * 4096);
	/* Their descriptors are all, and then come the pages. */
	ck_assert_uint_eq(page_of(0)->at, (uint64_t)((const uint8_t *)(page_of(last - 1) + 1) - file));
	forget_file();
	ram_free(ram);
}
END_TEST

/* The disk takes no more. */
START_TEST(test_full)
{
	static const struct dump_cpu cpu;
	struct ram *ram = make_ram(64 * MIB);
	const struct dump_source src = { .ram = ram, .cpus = &cpu, .n_cpus = 1 };
	const int fd = memfd_create("dump", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct dump_packer *packer;
	struct kdump *k;
	uint64_t written;
	char why[128];

	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
	ck_assert_int_eq(dump_packer_new(DUMP_ZLIB, &packer, why, sizeof(why)), 0);
	ck_assert_int_eq(kdump_new(&src, packer, &k), 0);
	ck_assert_int_eq(kdump_write(k, fd, &written), -EPERM);
	kdump_free(k);
	close(fd);
	ram_free(ram);
}
END_TEST

UNIT_MAIN("dump_kdump", test_pages, test_header, test_left_out, test_full)
