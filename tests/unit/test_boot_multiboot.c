/* Links: x86/boot/boot.o x86/boot/file.o x86/boot/find.o x86/boot/linux.o x86/boot/dtb.o x86/boot/judge.o x86/boot/place.o x86/tables/fdt.o x86/boot/tables.o x86/boot/bzimage.o x86/boot/decompress.o x86/boot/decompress-codecs.o x86/boot/e820.o x86/boot/elf.o x86/boot/flat.o x86/boot/multiboot.o x86/boot/multiboot2.o x86/boot/uki.o x86/boot/vmlinux.o hw/ram.o util/log.o */
/* Multiboot 1: the header, both ways to place the kernel, the information handed over. */
#include "boot-rig.h"

#define MAGIC 0x1badb002U

/* As the specification numbers them */
struct info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4],
		mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name;
};

struct module {
	uint32_t start, end, cmdline, reserved;
};

struct header {
	uint32_t magic, flags, checksum, header_addr, load_addr, load_end_addr, bss_end_addr,
		entry_addr;
};

struct image {
	uint8_t bytes[12288];
	size_t header_at, len;
	struct header h;
};

/* Header at @at of the file, which is loaded from its byte @skip on to 2 MB */
static void image_init(struct image *img, size_t at, size_t skip)
{
	img->header_at = at;
	img->len = sizeof(img->bytes);
	rig_pattern(img->bytes, img->len, 4);
	img->h = (struct header){
		.magic = MAGIC,
		.flags = 1 << 16 | 3,
		.header_addr = (uint32_t)(0x200000 + at - skip),
		.load_addr = 0x200000,
		.load_end_addr = 0x200000 + 3000,
		.bss_end_addr = 0x200000 + 5000,
		.entry_addr = 0x200010,
	};
}

static const char *image_file(struct image *img)
{
	size_t room = img->len - img->header_at;

	img->h.checksum = -(img->h.magic + img->h.flags);
	memcpy(img->bytes + img->header_at, &img->h, room < sizeof(img->h) ? room : sizeof(img->h));
	return rig_file(img->bytes, img->len);
}

static void image_fails(struct image *img, int err, const char *text)
{
	struct rig rig;

	rig_init(&rig, 64);
	rig.cfg.kernel = image_file(img);
	rig_load_fails(&rig, err, rig.cfg.kernel, text);
	ram_free(rig.ram);
}

static struct info *check_entry(struct rig *rig, uint64_t rip)
{
	ck_assert_int_eq(rig->entry.mode, BOOT_PROTECTED32);
	ck_assert_uint_eq(rig->entry.rip, rip);
	ck_assert_uint_eq(rig->entry.rax, 0x2badb002);
	ck_assert_uint_eq(rig->entry.rbx & 3, 0);
	ck_assert_str_eq(rig->entry.protocol, "multiboot");
	return rig_at(rig, rig->entry.rbx, sizeof(struct info));
}

START_TEST(test_addresses)
{
	static const struct {
		size_t at, skip;
	} cases[] = { { 0, 0 }, { 64, 0 }, { 4096, 4096 }, { 4096, 100 }, { 8192 - 32, 0 } };
	static const uint8_t zeros[2000];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct image img;
		struct rig rig;

		rig_init(&rig, 64);
		memset(rig_at(&rig, 0x200000, 8192), 0xaa, 8192);
		image_init(&img, cases[i].at, cases[i].skip);
		rig.cfg.kernel = image_file(&img);
		rig_load_ok(&rig);
		check_entry(&rig, 0x200010);
		ck_assert_mem_eq(rig_at(&rig, 0x200000, 3000), img.bytes + cases[i].skip, 3000);
		ck_assert_mem_eq(rig_at(&rig, 0x200000 + 3000, 2000), zeros, 2000);
		ck_assert_uint_eq(*(uint8_t *)rig_at(&rig, 0x200000 + 5000, 1), 0xaa);
		ram_free(rig.ram);
	}
}
END_TEST

/* No end given: to the end of the file; no bss given: none */
START_TEST(test_addresses_open_end)
{
	struct image img;
	struct rig rig;

	rig_init(&rig, 64);
	memset(rig_at(&rig, 0x200000, 16384), 0xaa, 16384);
	image_init(&img, 64, 32);
	img.h.load_end_addr = 0;
	img.h.bss_end_addr = 0;
	rig.cfg.kernel = image_file(&img);
	rig_load_ok(&rig);
	ck_assert_mem_eq(rig_at(&rig, 0x200000, 12288 - 32), img.bytes + 32, 12288 - 32);
	ck_assert_uint_eq(*(uint8_t *)rig_at(&rig, 0x200000 + 12288 - 32, 1), 0xaa);
}
END_TEST

enum field { HEADER_ADDR, LOAD_ADDR, LOAD_END, BSS_END, ENTRY, FLAGS, LEN };

START_TEST(test_damaged_header)
{
	static const struct {
		enum field field;
		uint32_t value;
		int err;
		const char *text;
	} cases[] = {
		{ HEADER_ADDR, 0x1fffff, -ENOEXEC, "load address 0x200000, header at 0x1fffff" },
		{ HEADER_ADDR, 0x200041, -ENOEXEC, "which is 0x40 in the file" },
		{ LOAD_END, 0x1fffff, -ENOEXEC, "ends at 0x1fffff, starts at 0x200000" },
		{ LOAD_END, 0x200000 + 12289, -ENOEXEC, "12289 bytes to load, file has 12288" },
		{ LOAD_END, 0x200010, -ENOEXEC, "entry 0x200010 is not in" },
		{ BSS_END, 0x200000 + 2999, -ENOEXEC, "bss ends at 0x200bb7, file at 0x200bb8" },
		{ BSS_END, 0x100000, -ENOEXEC, "bss ends at 0x100000" },
		{ BSS_END, 0x4000001, -EFBIG, "RAM ends at 0x4000000" },
		{ ENTRY, 0x1fffff, -ENOEXEC, "entry 0x1fffff is not in [0x200000, 0x200bb8)" },
		{ ENTRY, 0x200000 + 3000, -ENOEXEC, "entry 0x200bb8 is not in" },
		{ FLAGS, 1 << 16 | 1 << 3, -ENOEXEC, "unknown features 0x8" },
		{ FLAGS, 1 << 16 | 0xffff, -ENOEXEC, "unknown features 0xfff8" },
		{ FLAGS, 3, -ENOEXEC, "without addresses in a file that is not ELF" },
		{ LEN, 64 + 31, -ENOEXEC, "no room for its addresses" },
		{ LEN, 64 + 12, -ENOEXEC, "no room for its addresses" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct image img;

		image_init(&img, 64, 0);
		switch (cases[i].field) {
		case HEADER_ADDR:
			img.h.header_addr = cases[i].value;
			break;
		case LOAD_ADDR:
			img.h.load_addr = cases[i].value;
			break;
		case LOAD_END:
			img.h.load_end_addr = cases[i].value;
			break;
		case BSS_END:
			img.h.bss_end_addr = cases[i].value;
			break;
		case ENTRY:
			img.h.entry_addr = cases[i].value;
			break;
		case FLAGS:
			img.h.flags = cases[i].value;
			break;
		case LEN:
			img.len = cases[i].value;
			break;
		}
		image_fails(&img, cases[i].err, cases[i].text);
	}
}
END_TEST

/* The entry may be the first byte or the last, the bss empty. */
START_TEST(test_address_limits)
{
	struct image img;
	struct rig rig;

	image_init(&img, 64, 0);
	rig_init(&rig, 64);
	img.h.entry_addr = 0x200000;
	img.h.bss_end_addr = img.h.load_end_addr;
	rig.cfg.kernel = image_file(&img);
	rig_load_ok(&rig);
	check_entry(&rig, 0x200000);
	img.h.entry_addr = 0x200000 + 2999;
	rig.cfg.kernel = image_file(&img);
	rig_load_ok(&rig);
	check_entry(&rig, 0x200000 + 2999);
}
END_TEST

static void check_apart(uint64_t start, uint64_t end, uint64_t at, uint64_t len)
{
	ck_assert_msg(at >= end || at + len <= start, "%#lx overlaps [%#lx, %#lx)", at, start, end);
}

START_TEST(test_low_address)
{
	struct image img;
	struct rig rig;

	/* Where GDT, stack and command line use to be, and all of the low RAM: they make way. */
	static const struct {
		uint32_t at, bss_end;
		bool high; /* there is no place left below 1 MB */
	} cases[] = {
		{ 0, 0, false },	  { 0x500, 0, false },	     { 0x7c00, 0, false },
		{ 0x8000, 0, false },	  { 0x10000, 0, false },     { 0x1f001, 0, false },
		{ 0x8000, 0x9fc00, false }, { 0x500, 0x9fc00, true }, { 0, 0x9fc00, true },
		{ 0x500, 0x9fb00, true }, { 0x1000, 0x30000, false },
	};
	const uint32_t bytes = sizeof(img.bytes);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint32_t at = cases[i].at, end = cases[i].bss_end ? cases[i].bss_end : at + bytes;
		const struct module *mod;
		const struct info *info;

		image_init(&img, 0, 0);
		img.h.header_addr = img.h.load_addr = at;
		img.h.load_end_addr = 0;
		img.h.bss_end_addr = cases[i].bss_end;
		img.h.entry_addr = at + 0x20;
		rig_init(&rig, 64);
		rig.cfg.kernel = image_file(&img);
		rig.cfg.cmdline = "a b";
		rig_add_initrd(&rig, rig_file("m", 1));
		rig_load_ok(&rig);
		info = check_entry(&rig, at + 0x20);
		/* All of it is there, its bss still zero, and modules are above 1 MB in any case. */
		ck_assert_mem_eq(rig_at(&rig, at, bytes), img.bytes, bytes);
		for (uint32_t j = at + bytes; j < end; j++)
			ck_assert_uint_eq(*(uint8_t *)rig_at(&rig, j, 1), 0);
		ck_assert_str_eq(strchr(rig_string(&rig, info->cmdline), ' '), " a b");
		check_apart(at, end, info->cmdline, 256);
		check_apart(at, end, rig.entry.gdt, BOOT_GDT_ENTRIES * 8);
		check_apart(at, end, rig.entry.rsp - 4096, 4096);
		check_apart(rig.entry.gdt, rig.entry.gdt + 48, rig.entry.rsp - 4096, 4096);
		ck_assert_uint_eq(rig.entry.rsp > 0x100000, cases[i].high);
		mod = rig_at(&rig, info->mods_addr, sizeof(*mod));
		ck_assert_uint_ge(mod->start, 0x100000);
		ck_assert_mem_eq(rig_at(&rig, mod->start, 1), "m", 1);
		check_apart(mod->start, mod->end, info->cmdline, 256);
		check_apart(mod->start, mod->end, rig.entry.rsp - 4096, 4096);
		ram_free(rig.ram);
	}
}
END_TEST

/* A header must be within the first 8 KB, on a multiple of 4, its checksum good. */
START_TEST(test_search)
{
	struct image img;
	struct rig rig;

	/* Without a header it is a flat binary. */
	image_init(&img, 8192, 0);
	rig_init(&rig, 64);
	rig.cfg.kernel = image_file(&img);
	rig_load_flat(&rig);
	image_init(&img, 62, 0);
	rig.cfg.kernel = image_file(&img);
	rig_load_flat(&rig);
	/* The magic number decides: a bad checksum does not make it one. */
	image_init(&img, 64, 0);
	image_file(&img);
	img.bytes[64 + 8] ^= 1;
	rig.cfg.kernel = rig_file(img.bytes, img.len);
	rig_load_fails(&rig, -ENOEXEC, rig.cfg.kernel, "multiboot header with a bad checksum");
	/* A bad one before a good one is passed over. */
	memmove(img.bytes + 128, img.bytes + 64, sizeof(img.h));
	img.h.header_addr += 64;
	img.header_at = 128;
	rig.cfg.kernel = image_file(&img);
	rig_load_ok(&rig);
	check_entry(&rig, 0x200010);
}
END_TEST

START_TEST(test_video)
{
	struct image img;
	struct rig rig;

	image_init(&img, 64, 0);
	img.h.flags |= 4;
	rig_init(&rig, 64);
	rig.cfg.kernel = image_file(&img);
	ck_assert_int_eq(rig_load(&rig), 0);
	ck_assert_ptr_nonnull(strstr(rig.log, "no display"));
	ck_assert_uint_eq(check_entry(&rig, 0x200010)->flags, 0x245);
}
END_TEST

static void elf_image(struct elf_file *f, bool is32)
{
	struct header h = { .magic = MAGIC, .flags = 3, .checksum = -(MAGIC + 3) };

	elf_init(f, 0x400000);
	elf_add(f, PT_LOAD, 0, 0x400000, 0x400000, 4096, 6000);
	memcpy(f->data + 256, &h, 12);
	if (is32)
		elf_make32(f);
}

START_TEST(test_elf)
{
	for (int is32 = 0; is32 < 2; is32++) {
		struct elf_file f;
		struct rig rig;

		elf_image(&f, is32);
		rig_init(&rig, 64);
		rig.cfg.kernel = elf_path(&f);
		rig_load_ok(&rig);
		check_entry(&rig, 0x400000);
		ck_assert_mem_eq(rig_at(&rig, 0x400000, 4096), f.data, 4096);
		ram_free(rig.ram);
	}
}
END_TEST

START_TEST(test_damaged_elf)
{
	struct elf_file f;
	struct rig rig;

	rig_init(&rig, 64);
	elf_image(&f, true);
	f.ehdr.e_entry = 0x500000;
	rig.cfg.kernel = elf_path(&f);
	rig_load_fails(&rig, -ENOEXEC, rig.cfg.kernel, "entry 0x500000 is in none");
	elf_image(&f, true);
	f.ehdr.e_machine = EM_ARM;
	rig.cfg.kernel = elf_path(&f);
	rig_load_fails(&rig, -ENOEXEC, rig.cfg.kernel, "is for arm");
	elf_image(&f, true);
	f.phdr[0].p_paddr = 0x4000000;
	rig.cfg.kernel = elf_path(&f);
	rig_load_fails(&rig, -EFBIG, rig.cfg.kernel, "RAM ends at 0x4000000");
}
END_TEST

START_TEST(test_info)
{
	struct elf_file f;
	struct rig rig;
	struct info *info;
	char line[64];

	elf_image(&f, true);
	rig_init(&rig, 4096);
	memset(rig_at(&rig, 0, 0x40000), 0xaa, 0x40000);
	rig.cfg.kernel = elf_path(&f);
	rig.cfg.default_cmdline = "console=ttyS0"; /* not for this one */
	rig.cfg.cmdline = "a b";
	rig_load_ok(&rig);
	info = check_entry(&rig, 0x400000);
	ck_assert_uint_eq(info->flags, 0x245);
	ck_assert_uint_eq(info->mem_lower, 639);
	ck_assert_uint_eq(info->mem_upper, (0xd0000000 - 0x100000) / 1024);
	snprintf(line, sizeof(line), "%s a b", rig.cfg.kernel);
	ck_assert_str_eq(rig_string(&rig, info->cmdline), line);
	ck_assert_str_eq(rig_string(&rig, info->boot_loader_name), "lkvm");
	ck_assert_uint_eq(info->mods_count, 0);
	ck_assert_uint_eq(info->drives_length, 0);
}
END_TEST

START_TEST(test_mmap)
{
	struct e820_range map[E820_MAX];
	struct elf_file f;
	struct rig rig;
	struct info *info;
	unsigned n;

	elf_image(&f, true);
	rig_init(&rig, 4096);
	rig.cfg.kernel = elf_path(&f);
	rig_load_ok(&rig);
	info = check_entry(&rig, 0x400000);
	n = e820_build(rig.ram, map);
	ck_assert_uint_eq(info->mmap_length, n * 24);
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *e = rig_at(&rig, info->mmap_addr + i * 24, 24);

		ck_assert_uint_eq(get_le32(e), 20);
		ck_assert_mem_eq(e + 4, &map[i].start, 8);
		ck_assert_mem_eq(e + 12, &map[i].size_bytes, 8);
		ck_assert_uint_eq(get_le32(e + 20), map[i].type);
	}
}
END_TEST

/* Above the kernel, each on a page of its own; an empty one is one too; all of -i is its command
 * line */
START_TEST(test_modules)
{
	static uint8_t data[5000];
	char with_words[64];
	struct elf_file f;
	struct rig rig;
	struct info *info;
	struct module *m;

	rig_pattern(data, sizeof(data), 5);
	elf_image(&f, true);
	rig_init(&rig, 64);
	rig.cfg.kernel = elf_path(&f);
	snprintf(with_words, sizeof(with_words), "%s one two", rig_file(data, sizeof(data)));
	rig_add_initrd(&rig, with_words);
	rig_add_initrd(&rig, rig_file("", 0));
	rig_add_initrd(&rig, rig_file("KEY=VALUE\n", 10));
	rig_load_ok(&rig);
	info = check_entry(&rig, 0x400000);
	ck_assert_uint_eq(info->flags, 0x24d);
	ck_assert_uint_eq(info->mods_count, 3);
	m = rig_at(&rig, info->mods_addr, 3 * sizeof(*m));
	ck_assert_uint_eq(m[0].start, 0x402000);
	ck_assert_uint_eq(m[0].end, 0x402000 + 5000);
	ck_assert_mem_eq(rig_at(&rig, m[0].start, 5000), data, 5000);
	ck_assert_str_eq(rig_string(&rig, m[0].cmdline), with_words);
	ck_assert_uint_eq(m[1].start, 0x404000);
	ck_assert_uint_eq(m[1].end, 0x404000);
	ck_assert_uint_eq(m[2].start, 0x404000);
	ck_assert_uint_eq(m[2].end, 0x404000 + 10);
	ck_assert_uint_eq(m[2].reserved, 0);
	ck_assert_str_eq(rig_string(&rig, m[2].cmdline), rig.initrd[2]);
}
END_TEST

START_TEST(test_module_errors)
{
	static char words[70000];
	struct elf_file f;
	struct rig rig;
	const char *big;
	int fd = memfd_create("big", 0);

	ck_assert_int_eq(ftruncate(fd, 0x3bfe001), 0);
	elf_image(&f, true);
	rig_init(&rig, 64);
	rig.cfg.kernel = elf_path(&f);
	rig_add_initrd(&rig, "/nonexistent/module words");
	rig_load_fails(&rig, -ENOENT, "module '/nonexistent/module'", "No such file");
	snprintf(words, sizeof(words), "/proc/self/fd/%d", fd);
	rig.initrd[0] = words;
	rig_load_fails(&rig, -EFBIG, words,
		       "needs 62906369 bytes at 0x402000, but RAM ends at 0x4000000; -m 65 has room for it");
	ck_assert_int_eq(ftruncate(fd, 0x3bfe000), 0);
	rig_load_ok(&rig);
	big = rig_file("x", 1);
	snprintf(words, sizeof(words), "%s ", big);
	memset(words + strlen(words), 'w', sizeof(words) - 1 - strlen(words));
	rig_load_fails(&rig, -EFBIG, rig.cfg.kernel, "exceeds 65280 bytes");
	/* A second one behind a kernel that ends with the RAM */
	f.phdr[0].p_memsz = 0x3c00000;
	rig.cfg.kernel = elf_path(&f);
	rig.initrd[0] = big;
	rig_load_fails(&rig, -EFBIG, big, "needs 1 bytes at 0x4000000");
}
END_TEST

/* More modules than their table has room for */
START_TEST(test_too_many_modules)
{
	static const char *many[5000];
	struct elf_file f;
	struct rig rig;

	elf_image(&f, true);
	rig_init(&rig, 64);
	rig.cfg.kernel = elf_path(&f);
	many[0] = rig_file("x", 1);
	for (size_t i = 1; i < ARRAY_SIZE(many); i++)
		many[i] = many[0];
	rig.cfg.initrd = many;
	rig.cfg.n_initrds = ARRAY_SIZE(many);
	rig_load_fails(&rig, -EFBIG, rig.cfg.kernel, "exceeds 65280 bytes");
}
END_TEST

START_TEST(test_cmdline_limit)
{
	static char line[70000];
	struct elf_file f;
	struct rig rig;
	size_t name;

	elf_image(&f, true);
	rig_init(&rig, 64);
	rig.cfg.kernel = elf_path(&f);
	name = strlen(rig.cfg.kernel) + 1;
	memset(line, 'x', sizeof(line));
	line[65535 - name] = '\0';
	rig.cfg.cmdline = line;
	rig_load_ok(&rig);
	line[65535 - name] = 'x';
	line[65536 - name] = '\0';
	rig_load_fails(&rig, -EFBIG, rig.cfg.kernel, "65536 bytes, but this kernel takes 65535");
}
END_TEST

UNIT_MAIN("boot-multiboot", test_addresses, test_addresses_open_end, test_damaged_header,
	  test_address_limits, test_low_address, test_search, test_video, test_elf,
	  test_damaged_elf, test_info, test_mmap, test_modules, test_module_errors,
	  test_too_many_modules, test_cmdline_limit)
