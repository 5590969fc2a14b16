/* Links: x86/boot/boot.o x86/boot/file.o x86/boot/find.o x86/boot/linux.o x86/boot/dtb.o x86/boot/judge.o x86/boot/place.o x86/tables/fdt.o x86/boot/tables.o x86/boot/bzimage.o x86/boot/decompress.o x86/boot/decompress-codecs.o x86/boot/e820.o x86/boot/elf.o x86/boot/flat.o x86/boot/multiboot.o x86/boot/multiboot2.o x86/boot/uki.o x86/boot/vmlinux.o hw/ram.o util/log.o */
/* Unified kernel images: what their sections hold is started; other EFI programs are named. */
#include "boot-rig.h"

#include <fcntl.h>

#define PE_AT      0x80
#define SECTION_AT (PE_AT + 24 + 240)

struct uki {
	uint8_t bytes[65536];
	uint16_t machine, n;
	size_t end;
};

static void uki_init(struct uki *u)
{
	memset(u, 0, sizeof(*u));
	u->machine = 0x8664;
	u->end = 4096;
}

/* @name at the next multiple of 512; its raw size is rounded up, as the tools do */
static uint8_t *add_section(struct uki *u, const char *name, const void *data, uint32_t len)
{
	uint8_t *section = u->bytes + SECTION_AT + 40 * u->n++;
	const uint32_t words[4] = { len, 0x100000, (uint32_t)ALIGN_UP(len, 512), (uint32_t)u->end };

	strncpy((char *)section, name, 8);
	memcpy(section + 8, words, sizeof(words));
	memset(u->bytes + u->end, 0xee, ALIGN_UP(len, 512));
	memcpy(u->bytes + u->end, data, len);
	u->end += ALIGN_UP(len, 512);
	return section;
}

static const char *uki_path(struct uki *u)
{
	const uint32_t at = PE_AT;
	const uint16_t optional = 240;

	memcpy(u->bytes, "MZ", 2);
	memcpy(u->bytes + 0x3c, &at, 4);
	memcpy(u->bytes + PE_AT, "PE\0\0", 4);
	memcpy(u->bytes + PE_AT + 4, &u->machine, 2);
	memcpy(u->bytes + PE_AT + 6, &u->n, 2);
	memcpy(u->bytes + PE_AT + 20, &optional, 2);
	return rig_file(u->bytes, u->end);
}

static void add_kernel(struct uki *u, const char *name)
{
	struct bz bz = bz_default();
	uint8_t kernel[8192];
	int fd = open(bz_file(&bz), O_RDONLY);

	add_section(u, name, kernel, (uint32_t)pread(fd, kernel, sizeof(kernel), 0));
	close(fd);
}

static const struct boot_params *zero_page(struct rig *rig)
{
	ck_assert_str_eq(rig->entry.protocol, "bzImage, 64-bit entry");
	return rig_at(rig, rig->entry.rsi, sizeof(struct boot_params));
}

START_TEST(test_all_sections)
{
	const struct boot_params *p;
	uint8_t code[BZ_CODE_BYTES];
	struct uki u;
	struct rig rig;

	uki_init(&u);
	add_section(&u, ".text", "stub", 4);
	add_section(&u, ".cmdline", " root=/dev/vda\nquiet \n\0\0", 25);
	add_section(&u, ".initrd", "first", 5);
	add_kernel(&u, ".linux");
	rig_init(&rig, 64);
	rig.cfg.kernel = uki_path(&u);
	rig.cfg.default_cmdline = "console=ttyS0";
	rig.cfg.cmdline = "more";
	rig_add_initrd(&rig, rig_file("second", 6));
	rig_load_ok(&rig);
	p = zero_page(&rig);
	rig_pattern(code, sizeof(code), 1);
	ck_assert_mem_eq(rig_at(&rig, 0x1000000, sizeof(code)), code, sizeof(code));
	ck_assert_str_eq(rig_string(&rig, p->hdr.cmd_line_ptr),
			 "console=ttyS0  root=/dev/vda quiet more");
	ck_assert_uint_eq(p->hdr.ramdisk_size, 8 + 6);
	ck_assert_mem_eq(rig_at(&rig, p->hdr.ramdisk_image, 14), "first\0\0\0second", 14);
}
END_TEST

/* The kernel alone; sections of a further profile are not for us. */
START_TEST(test_linux_only)
{
	struct uki u;
	struct rig rig;

	uki_init(&u);
	add_kernel(&u, ".linux");
	add_section(&u, ".profile", "ID=other", 8);
	add_section(&u, ".cmdline", "rescue", 6);
	rig_init(&rig, 64);
	rig.cfg.kernel = uki_path(&u);
	rig_load_ok(&rig);
	ck_assert_str_eq(rig_string(&rig, zero_page(&rig)->hdr.cmd_line_ptr), "");
	ck_assert_uint_eq(zero_page(&rig)->hdr.ramdisk_size, 0);
}
END_TEST

/* Out of a pipe the sections are parts of memory, not of a file. */
START_TEST(test_pipe)
{
	struct uki u;
	struct rig rig;
	char path[32];
	int fds[2];

	uki_init(&u);
	add_kernel(&u, ".linux");
	add_section(&u, ".initrd", "cpio", 4);
	uki_path(&u);
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(write(fds[1], u.bytes, u.end), (ssize_t)u.end);
	close(fds[1]);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[0]);
	rig_init(&rig, 64);
	rig.cfg.kernel = path;
	rig_load_ok(&rig);
	ck_assert_mem_eq(rig_at(&rig, zero_page(&rig)->hdr.ramdisk_image, 4), "cpio", 4);
}
END_TEST

START_TEST(test_vmlinux_inside)
{
	static uint8_t img[ELF_DATA_AT + 8192];
	struct elf_file f;
	struct uki u;
	struct rig rig;

	elf_init(&f, 0x1000000);
	elf_add(&f, PT_LOAD, 0, 0xffffffff81000000, 0x1000000, 4096, 4096);
	elf_banner(&f, 3000, ELF_BANNER);
	uki_init(&u);
	add_section(&u, ".linux", img, (uint32_t)elf_bytes(&f, img));
	rig_init(&rig, 64);
	rig.cfg.kernel = uki_path(&u);
	rig_load_ok(&rig);
	ck_assert_str_eq(rig.entry.protocol, "ELF, 64-bit entry");
}
END_TEST

static void fails(struct uki *u, int err, const char *text)
{
	struct rig rig;

	rig_init(&rig, 64);
	rig.cfg.kernel = uki_path(u);
	rig_load_fails(&rig, err, rig.cfg.kernel, text);
	ram_free(rig.ram);
}

START_TEST(test_other_programs)
{
	static const uint32_t mb[3] = { 0x1badb002, 0, -0x1badb002U };
	static const uint8_t gzip[8] = { 0x1f, 0x8b, 8 };
	static uint8_t line[65536 - 8192];
	struct uki u;

	uki_init(&u);
	add_section(&u, ".text", "code", 4);
	fails(&u, -ENOEXEC, "an EFI program without a .linux section");
	add_section(&u, ".multibo", mb, sizeof(mb));
	fails(&u, -ENOEXEC, "its ELF form, in which Xen is called xen.gz, would do");
	u.machine = 0xaa64;
	fails(&u, -ENOEXEC, "is an EFI or DOS program");
	memcpy(u.bytes + 0x38, "ARMd", 4);
	fails(&u, -ENOEXEC, "is a Linux kernel for arm64");
	uki_init(&u);
	add_section(&u, ".linux", gzip, sizeof(gzip));
	fails(&u, -ENOEXEC, "what is in .linux is neither bzImage nor vmlinux");
	uki_init(&u);
	add_kernel(&u, ".linux");
	memset(line, 'x', sizeof(line));
	add_section(&u, ".cmdline", line, 3000);
	fails(&u, -EFBIG, "command line of 3000 bytes, but this kernel takes 2047");
}
END_TEST

START_TEST(test_damaged)
{
	static const struct {
		size_t at; /* in the section header of .initrd */
		uint32_t value;
		const char *text;
	} cases[] = {
		{ 20, 0xffffffff, "section .initrd of 0x5 bytes at 0xffffffff" },
		{ 20, 65536, "truncated unified kernel image" },
	};
	uint8_t *section;
	struct uki u;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uki_init(&u);
		add_kernel(&u, ".linux");
		section = add_section(&u, ".initrd", "first", 5);
		memcpy(section + cases[i].at, &cases[i].value, 4);
		fails(&u, -ENOEXEC, cases[i].text);
	}
	uki_init(&u);
	add_kernel(&u, ".linux");
	u.end -= 513;
	fails(&u, -ENOEXEC, "truncated unified kernel image: section .linux");
	uki_init(&u);
	u.n = 257;
	fails(&u, -ENOEXEC, "257 sections, at most 256");
	uki_init(&u);
	add_kernel(&u, ".linux");
	u.end = SECTION_AT + 39;
	fails(&u, -ENOEXEC, "is truncated");
	/* No PE signature where the file says: some old program */
	uki_init(&u);
	u.bytes[0] = 1;
	u.end = PE_AT + 3;
	fails(&u, -ENOEXEC, "EFI or DOS program");
}
END_TEST

UNIT_MAIN("boot-uki", test_all_sections, test_linux_only, test_pipe, test_vmlinux_inside,
	  test_other_programs, test_damaged)
