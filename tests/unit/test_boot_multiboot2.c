/* Links: x86/boot/boot.o x86/boot/file.o x86/boot/find.o x86/boot/linux.o x86/boot/dtb.o x86/boot/judge.o x86/boot/place.o x86/tables/fdt.o x86/boot/tables.o x86/boot/bzimage.o x86/boot/decompress.o x86/boot/decompress-codecs.o x86/boot/e820.o x86/boot/elf.o x86/boot/flat.o x86/boot/multiboot.o x86/boot/multiboot2.o x86/boot/uki.o x86/boot/vmlinux.o hw/ram.o util/log.o */
/* Multiboot 2: the header and its tags, both ways to place the kernel, the tags handed over. */
#include "boot-rig.h"

#define MAGIC 0xe85250d6U

/* A kernel with a header at @at: tags are added one after another. */
struct image {
	uint8_t bytes[40960];
	size_t at, len, tags;
	uint32_t magic, arch, length, checksum; /* magic 0: as it should be; length 0: what it is */
};

static void image_init(struct image *img, size_t at)
{
	memset(img, 0, sizeof(*img));
	img->at = at;
	img->len = sizeof(img->bytes);
	rig_pattern(img->bytes, img->len, 5);
}

static void add_tag(struct image *img, uint16_t type, uint16_t flags, uint32_t size,
		    const uint32_t *word, unsigned words)
{
	uint8_t *tag = img->bytes + img->at + 16 + img->tags;

	memset(tag, 0, 8 + words * 4 + 8);
	memcpy(tag, &type, 2);
	memcpy(tag + 2, &flags, 2);
	memcpy(tag + 4, &size, 4);
	if (words)
		memcpy(tag + 8, word, words * 4);
	img->tags += ALIGN_UP(8 + words * 4, 8);
}

#define TAG(img, type, flags, ...)                                                                 \
	add_tag(img, type, flags, 8 + sizeof((uint32_t[]){ __VA_ARGS__ }),                         \
		(uint32_t[]){ __VA_ARGS__ }, sizeof((uint32_t[]){ __VA_ARGS__ }) / 4)

static void finish(struct image *img)
{
	uint32_t head[4] = { MAGIC, img->arch, 0, 0 };

	add_tag(img, 0, 0, 8, NULL, 0);
	head[2] = img->length ? img->length : (uint32_t)(16 + img->tags);
	head[3] = -(head[0] + head[1] + head[2]) + img->checksum;
	memcpy(img->bytes + img->at, head, sizeof(head));
}

static const char *image_file(struct image *img)
{
	finish(img);
	return rig_file(img->bytes, img->len);
}

/* Loaded from byte @skip of the file on to 2 MB, 3000 bytes, bss up to 5000, entry 16 */
static void flat_image(struct image *img, size_t at, size_t skip)
{
	image_init(img, at);
	TAG(img, 2, 0, (uint32_t)(0x200000 + at - skip), 0x200000, 0x200000 + 3000, 0x200000 + 5000);
	TAG(img, 3, 0, 0x200010);
}

static const uint32_t *find_tag(struct rig *rig, uint32_t type, unsigned nth)
{
	const uint8_t *info = rig_at(rig, rig->entry.rbx, 8);
	uint32_t total = *(const uint32_t *)info, at = 8;

	info = rig_at(rig, rig->entry.rbx, total);
	while (at < total) {
		const uint32_t *tag = (const void *)(info + at);

		ck_assert_uint_ge(tag[1], 8);
		ck_assert_uint_le(tag[1], total - at);
		if (tag[0] == type && !nth--)
			return tag;
		if (!tag[0])
			ck_assert_uint_eq(at + 8, total);
		at += (uint32_t)ALIGN_UP(tag[1], 8);
	}
	return NULL;
}

static void check_entry(const struct rig *rig, uint64_t rip)
{
	ck_assert_int_eq(rig->entry.mode, BOOT_PROTECTED32);
	ck_assert_uint_eq(rig->entry.rip, rip);
	ck_assert_uint_eq(rig->entry.rax, 0x36d76289);
	ck_assert_uint_eq(rig->entry.rbx & 7, 0);
	ck_assert_str_eq(rig->entry.protocol, "multiboot2");
}

START_TEST(test_addresses)
{
	static const struct {
		size_t at, skip;
	} cases[] = { { 0, 0 }, { 64, 0 }, { 8192, 8000 }, { 32768 - 64, 32000 } };
	static const uint8_t zeros[2000];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct image img;
		struct rig rig;

		rig_init(&rig, 64);
		memset(rig_at(&rig, 0x200000, 8192), 0xaa, 8192);
		flat_image(&img, cases[i].at, cases[i].skip);
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

/* A load address of -1 is the start of the file. */
START_TEST(test_whole_file)
{
	struct image img;
	struct rig rig;

	rig_init(&rig, 64);
	image_init(&img, 64);
	TAG(&img, 2, 0, 0x200040, 0xffffffff, 0, 0);
	TAG(&img, 3, 0, 0x200000);
	rig.cfg.kernel = image_file(&img);
	rig_load_ok(&rig);
	check_entry(&rig, 0x200000);
	ck_assert_mem_eq(rig_at(&rig, 0x200000, img.len), img.bytes, img.len);
}
END_TEST

START_TEST(test_information)
{
	static const uint8_t rsdp[36] = "RSD PTR ????????";
	struct image img;
	struct rig rig;
	const uint32_t *tag;

	rig_init(&rig, 64);
	flat_image(&img, 0, 0);
	TAG(&img, 1, 0, 4, 6, 8, 21);
	TAG(&img, 10, 0, 0x100000, 0xffffffff, 0x1000, 0);
	rig.cfg.kernel = image_file(&img);
	rig.cfg.cmdline = "one two";
	rig.cfg.default_cmdline = "not for this one";
	rig.cfg.rsdp = GPA(LAYOUT_BIOS);
	memcpy(rig_at(&rig, LAYOUT_BIOS, 36), rsdp, 36);
	rig_add_initrd(&rig, rig_file("first", 5));
	rig_load_ok(&rig);
	ck_assert_str_eq((const char *)&find_tag(&rig, 1, 0)[2], "one two");
	ck_assert_str_eq((const char *)&find_tag(&rig, 2, 0)[2], "lkvm");
	tag = find_tag(&rig, 4, 0);
	ck_assert_uint_eq(tag[2], 639);
	ck_assert_uint_eq(tag[3], 63 * 1024);
	tag = find_tag(&rig, 6, 0);
	ck_assert_uint_eq(tag[1], 16 + 4 * 24);
	ck_assert_uint_eq(tag[2], 24);
	/* The last one is the RAM from 1 MB on. */
	ck_assert_uint_eq(tag[4 + 3 * 6], 0x100000);
	ck_assert_uint_eq(tag[4 + 3 * 6 + 2], 63 << 20);
	ck_assert_uint_eq(tag[4 + 3 * 6 + 4], 1);
	ck_assert_uint_eq(find_tag(&rig, 14, 0)[1], 28);
	ck_assert_mem_eq(&find_tag(&rig, 14, 0)[2], rsdp, 20);
	ck_assert_mem_eq(&find_tag(&rig, 15, 0)[2], rsdp, 36);
	ck_assert_uint_eq(find_tag(&rig, 21, 0)[2], 0x200000);
	ck_assert_ptr_nonnull(find_tag(&rig, 0, 0));
	ck_assert_ptr_null(find_tag(&rig, 8, 0));
}
END_TEST

START_TEST(test_modules)
{
	char text[64];
	struct image img;
	struct rig rig;

	rig_init(&rig, 64);
	flat_image(&img, 0, 0);
	rig.cfg.kernel = image_file(&img);
	rig_add_initrd(&rig, rig_file("first", 5));
	snprintf(text, sizeof(text), "%s with words", rig_file("second", 6));
	rig_add_initrd(&rig, text);
	rig_load_ok(&rig);
	for (unsigned i = 0; i < 2; i++) {
		const uint32_t *tag = find_tag(&rig, 3, i);

		ck_assert_uint_ge(tag[2], 0x200000 + 5000);
		ck_assert_uint_eq(tag[2] & 0xfff, 0);
		ck_assert_uint_eq(tag[3] - tag[2], i ? 6 : 5);
		ck_assert_mem_eq(rig_at(&rig, tag[2], 5), i ? "secon" : "first", 5);
		ck_assert_str_eq((const char *)&tag[4], rig.initrd[i]);
	}
	ck_assert_ptr_null(find_tag(&rig, 3, 2));
	rig_add_initrd(&rig, "/nonexistent");
	rig_load_fails(&rig, -ENOENT, "/nonexistent", "No such file");
}
END_TEST

static struct elf_file elf_kernel(const struct image *header)
{
	struct elf_file f;

	elf_init(&f, 0xffffffff80200020);
	elf_add(&f, PT_LOAD, 0, 0xffffffff80200000, 0x200000, 4096, 8192);
	memcpy(f.data, header->bytes, 16 + header->tags);
	return f;
}

/* A 64-bit ELF file is entered in 32-bit mode all the same, and never as Linux. */
START_TEST(test_elf)
{
	static const uint32_t mb1[3] = { 0x1badb002, 0, -0x1badb002U };
	struct elf_file f;
	struct image img;
	struct rig rig;

	rig_init(&rig, 64);
	image_init(&img, 0);
	finish(&img);
	f = elf_kernel(&img);
	rig.cfg.kernel = elf_path(&f);
	rig_load_ok(&rig);
	check_entry(&rig, 0x200020);
	ck_assert_mem_eq(rig_at(&rig, 0x200000, 4096), f.data, 4096);
	/* Its own entry */
	image_init(&img, 0);
	TAG(&img, 3, 0, 0x200030);
	finish(&img);
	f = elf_kernel(&img);
	rig.cfg.kernel = elf_path(&f);
	rig_load_ok(&rig);
	check_entry(&rig, 0x200030);
	elf_make32(&f);
	rig.cfg.kernel = elf_path(&f);
	rig_load_ok(&rig);
	check_entry(&rig, 0x200030);
	/* Multiboot 1 comes first. */
	memcpy(f.data + 256, mb1, sizeof(mb1));
	f.ehdr.e_entry = 0x80200020;
	f.phdr[0].p_vaddr = 0x80200000;
	rig.cfg.kernel = elf_path(&f);
	rig_load_ok(&rig);
	ck_assert_str_eq(rig.entry.protocol, "multiboot");
}
END_TEST

START_TEST(test_damaged)
{
	static const struct {
		uint32_t type, flags, size, word[4];
		const char *text;
	} tags[] = {
		{ 2, 0, 23, { 0x200000, 0x200000 }, "tag 2 with 23 bytes" },
		{ 3, 0, 11, { 0x200010 }, "tag 3 with 11 bytes" },
		{ 1, 0, 7, { 1 }, "tag 1 with 7 bytes" },
		{ 1, 1, 0, { 1 }, "tag 1 with 0 bytes" },
		{ 1, 0, 0x7fffffff, { 1 }, "tag 1 with 2147483647 bytes" },
		{ 1, 0, 0xffffffff, { 1 }, "tag 1 with 4294967295 bytes" },
		{ 1, 0, 12, { 22 }, "unknown information 22" },
		{ 1, 0, 24, { 1, 2, 3, 0xffffffff }, "unknown information 4294967295" },
		{ 11, 0, 8, { 0 }, "unknown feature 11" },
		{ 0xffff, 2, 8, { 0 }, "unknown feature 65535" },
		{ 2, 0, 24, { 0x1fffff, 0x200000, 0, 0 }, "load address 0x200000, header at 0x1fffff" },
		{ 3, 0, 12, { 0x1fffff }, "entry 0x1fffff is not in" },
		{ 2, 0, 24, { 0x9ff00, 0x9ff00, 0, 0 }, "entry 0x200010 is not in" },
	};
	struct image img;
	struct rig rig;

	rig_init(&rig, 64);
	for (size_t i = 0; i < ARRAY_SIZE(tags); i++) {
		flat_image(&img, 64, 0);
		add_tag(&img, (uint16_t)tags[i].type, (uint16_t)tags[i].flags, tags[i].size,
			tags[i].word, tags[i].size == 12 ? 1 : 4);
		rig.cfg.kernel = image_file(&img);
		rig_load_fails(&rig, -ENOEXEC, rig.cfg.kernel, tags[i].text);
	}
	flat_image(&img, 64, 0);
	img.length = 40960 - 64 + 1;
	rig.cfg.kernel = image_file(&img);
	rig_load_fails(&rig, -ENOEXEC, rig.cfg.kernel, "bytes long, with room for 32704");
	flat_image(&img, 64, 0);
	img.arch = 4;
	rig.cfg.kernel = image_file(&img);
	rig_load_fails(&rig, -ENOEXEC, rig.cfg.kernel, "for architecture 4");
	flat_image(&img, 64, 0);
	img.checksum = 1;
	rig.cfg.kernel = image_file(&img);
	rig_load_fails(&rig, -ENOEXEC, rig.cfg.kernel, "multiboot2 header with a bad checksum");
	image_init(&img, 64);
	rig.cfg.kernel = image_file(&img);
	rig_load_fails(&rig, -ENOEXEC, rig.cfg.kernel, "without addresses in a file that is not ELF");
	image_init(&img, 64);
	TAG(&img, 2, 0, 0x200040, 0x200000, 0, 0);
	rig.cfg.kernel = image_file(&img);
	rig_load_fails(&rig, -ENOEXEC, rig.cfg.kernel, "addresses without an entry");
}
END_TEST

/* What is optional, or means nothing here, is passed over; a video mode is worth a word. */
START_TEST(test_other_tags)
{
	struct image img;
	struct rig rig;

	rig_init(&rig, 64);
	flat_image(&img, 8, 0);
	TAG(&img, 1, 1, 99);
	TAG(&img, 4, 0, 3);
	TAG(&img, 5, 1, 640, 480, 32);
	add_tag(&img, 6, 0, 8, NULL, 0);
	add_tag(&img, 7, 0, 8, NULL, 0);
	TAG(&img, 8, 0, 0x200000);
	TAG(&img, 9, 0, 0x200000);
	TAG(&img, 99, 1, 1, 2, 3);
	rig.cfg.kernel = image_file(&img);
	rig_load_ok(&rig);
	check_entry(&rig, 0x200010);
	TAG(&img, 5, 0, 640, 480, 32);
	img.tags -= 8 + 24;
	TAG(&img, 5, 0, 640, 480, 32);
	rig.cfg.kernel = image_file(&img);
	rig_load_warns(&rig, "asks for a video mode, but this machine has no display");
}
END_TEST

/* Only within the first 32 KB, on a multiple of 8 */
START_TEST(test_search)
{
	static const size_t places[] = { 32768, 60 };
	struct image img;
	struct rig rig;

	rig_init(&rig, 64);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		flat_image(&img, places[i], 0);
		rig.cfg.kernel = image_file(&img);
		rig_load_flat(&rig);
	}
}
END_TEST

UNIT_MAIN("boot-multiboot2", test_addresses, test_whole_file, test_information, test_modules,
	  test_elf, test_damaged, test_other_tags, test_search)
