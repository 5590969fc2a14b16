/* Links: x86/boot/boot.o x86/boot/file.o x86/boot/find.o x86/boot/linux.o x86/boot/dtb.o x86/boot/judge.o x86/boot/place.o x86/tables/fdt.o x86/boot/tables.o x86/boot/bzimage.o x86/boot/decompress.o x86/boot/decompress-codecs.o x86/boot/e820.o x86/boot/elf.o x86/boot/flat.o x86/boot/multiboot.o x86/boot/multiboot2.o x86/boot/uki.o x86/boot/vmlinux.o hw/ram.o util/log.o */
/* ELF kernels: PVH note, else the 64-bit entry of Linux; damaged and foreign ELF files. */
#include <fcntl.h>

#include "boot-rig.h"

#define XEN_PHYS32_ENTRY 18

/* Text at 16 MB with virtual addresses far above, a segment with bss, one that is empty. */
static void vmlinux(struct elf_file *f)
{
	elf_init(f, 0x1000010);
	elf_add(f, PT_LOAD, 0, 0xffffffff81000000, 0x1000000, 4096, 4096);
	elf_add(f, PT_LOAD, 4096, 0, 0x1001000, 1000, 3000);
	elf_add(f, PT_LOAD, 0, 0, 0, 0, 0);
	elf_banner(f, 3000, ELF_BANNER);
}

static void pvh(struct elf_file *f, const void *desc, uint32_t len)
{
	uint64_t other = 0xffff;
	size_t end;

	vmlinux(f);
	end = elf_note(f, 6000, "Linux", XEN_PHYS32_ENTRY, &other, 8);
	end = elf_note(f, end, "Xen", 5, &other, 7);
	end = elf_note(f, end, "Xen", XEN_PHYS32_ENTRY, desc, len);
	elf_add(f, PT_NOTE, 6000, 0, 0, end - 6000, end - 6000);
}

static void check_segments(struct rig *rig, const struct elf_file *f)
{
	static const uint8_t zeros[2000];

	ck_assert_mem_eq(rig_at(rig, 0x1000000, 4096), f->data, 4096);
	ck_assert_mem_eq(rig_at(rig, 0x1001000, 1000), f->data + 4096, 1000);
	ck_assert_mem_eq(rig_at(rig, 0x1001000 + 1000, 2000), zeros, 2000);
	/* What is behind the bss is nobody's. */
	ck_assert_uint_eq(*(uint8_t *)rig_at(rig, 0x1001000 + 3000, 1), 0xaa);
}

static void load_ok(struct rig *rig, const struct elf_file *f)
{
	rig_init(rig, 64);
	memset(rig_at(rig, 0x1000000, 0x3000), 0xaa, 0x3000);
	memset(rig_at(rig, 0, 0x40000), 0xaa, 0x40000);
	rig->cfg.kernel = elf_path(f);
	rig->cfg.rsdp = GPA(0xe0000);
	rig->cfg.default_cmdline = "console=ttyS0";
	rig->cfg.cmdline = "quiet";
	rig_add_initrd(rig, rig_file("cpio", 4));
	rig_load_ok(rig);
}

static void load_fails(const struct elf_file *f, int err, const char *text)
{
	struct rig rig;

	rig_init(&rig, 64);
	rig.cfg.kernel = elf_path(f);
	rig_load_fails(&rig, err, rig.cfg.kernel, text);
	ram_free(rig.ram);
}

START_TEST(test_linux64)
{
	struct boot_params *p;
	struct elf_file f;
	struct rig rig;

	vmlinux(&f);
	load_ok(&rig, &f);
	ck_assert_int_eq(rig.entry.mode, BOOT_LONG64);
	ck_assert_uint_eq(rig.entry.rip, 0x1000010);
	ck_assert_uint_eq(rig.entry.rsi, LAYOUT_ZERO_PAGE);
	ck_assert_str_eq(rig.entry.protocol, "ELF, 64-bit entry");
	check_segments(&rig, &f);
	p = rig_at(&rig, LAYOUT_ZERO_PAGE, sizeof(*p));
	ck_assert_uint_eq(p->hdr.boot_flag, 0xaa55);
	ck_assert_uint_eq(p->hdr.header, 0x53726448);
	ck_assert_uint_ge(p->hdr.version, 0x209);
	ck_assert_uint_eq(p->hdr.ramdisk_image, 0x3fff000);
	ck_assert_uint_eq(p->hdr.ramdisk_size, 4);
	ck_assert_uint_ne(p->hdr.setup_data, 0);
	ck_assert_uint_eq(p->acpi_rsdp_addr, 0xe0000);
	ck_assert_str_eq(rig_string(&rig, p->hdr.cmd_line_ptr), "console=ttyS0 quiet");
	ram_free(rig.ram);
}
END_TEST

/* An entry that is a virtual address, as of a kernel that is not Linux */
START_TEST(test_entry_virtual)
{
	struct elf_file f;
	struct rig rig;

	vmlinux(&f);
	f.ehdr.e_entry = 0xffffffff81000020;
	load_ok(&rig, &f);
	ck_assert_uint_eq(rig.entry.rip, 0x1000020);
	/* Physical comes first: the second segment has this one among its virtual addresses. */
	vmlinux(&f);
	f.phdr[1].p_vaddr = 0x1000000;
	f.ehdr.e_entry = 0x1000040;
	ram_free(rig.ram);
	load_ok(&rig, &f);
	ck_assert_uint_eq(rig.entry.rip, 0x1000040);
	/* The last byte of the file's part is in, the first of the bss is not. */
	vmlinux(&f);
	f.ehdr.e_entry = 999;
	ram_free(rig.ram);
	load_ok(&rig, &f);
	ck_assert_uint_eq(rig.entry.rip, 0x1001000 + 999);
	f.ehdr.e_entry = 1000;
	load_fails(&f, -ENOEXEC, "entry 0x3e8 is in none of its segments");
	f.ehdr.e_entry = 0x1001000 + 1000;
	load_fails(&f, -ENOEXEC, "is in none of its segments");
	ram_free(rig.ram);
}
END_TEST

struct start_info {
	uint32_t magic, version, flags, n_modules;
	uint64_t modules, cmdline, rsdp, memmap;
	uint32_t n_memmap, reserved;
};

static void check_pvh(const struct elf_file *f, bool with_initrd)
{
	struct e820_range map[E820_MAX];
	const struct start_info *info;
	const uint64_t *module;
	struct rig rig;
	unsigned n;

	load_ok(&rig, f);
	if (!with_initrd) {
		rig.cfg.n_initrds = 0;
		rig_load_ok(&rig);
	}
	ck_assert_int_eq(rig.entry.mode, BOOT_PROTECTED32);
	ck_assert_uint_eq(rig.entry.rip, 0x1000123);
	ck_assert_str_eq(rig.entry.protocol, "ELF, PVH entry");
	info = rig_at(&rig, rig.entry.rbx, sizeof(*info));
	ck_assert_uint_eq(info->magic, 0x336ec578);
	ck_assert_uint_eq(info->version, 1);
	ck_assert_uint_eq(info->flags, 0);
	ck_assert_uint_eq(info->reserved, 0);
	ck_assert_uint_eq(info->rsdp, 0xe0000);
	ck_assert_str_eq(rig_string(&rig, info->cmdline), "console=ttyS0 quiet");
	ck_assert_uint_eq(info->n_modules, with_initrd ? 1 : 0);
	if (with_initrd) {
		module = rig_at(&rig, info->modules, 32);
		ck_assert_uint_eq(module[0], 0x3fff000);
		ck_assert_uint_eq(module[1], 4);
		ck_assert_uint_eq(module[2], 0);
		ck_assert_mem_eq(rig_at(&rig, module[0], 4), "cpio", 4);
	}
	n = e820_build(rig.ram, map);
	ck_assert_uint_eq(info->n_memmap, n);
	for (unsigned i = 0; i < n; i++) {
		const struct e820_range *r = rig_at(&rig, info->memmap + i * 24, 24);

		ck_assert_uint_eq(r->start, map[i].start);
		ck_assert_uint_eq(r->size_bytes, map[i].size_bytes);
		ck_assert_uint_eq(r->type, map[i].type);
	}
	check_segments(&rig, f);
	ram_free(rig.ram);
}

START_TEST(test_pvh)
{
	uint64_t entry = 0x1000123;
	struct elf_file f;

	pvh(&f, &entry, 8);
	check_pvh(&f, true);
	check_pvh(&f, false);
	pvh(&f, &entry, 4);
	check_pvh(&f, true);
	elf_make32(&f);
	f.ehdr.e_entry = 0;
	check_pvh(&f, true);
}
END_TEST

/* Notes in a segment aligned to 8, as GNU properties are */
START_TEST(test_pvh_align8)
{
	uint64_t entry = 0x1000123, property = 0;
	struct elf_file f;
	size_t end;

	vmlinux(&f);
	end = elf_note(&f, 6000, "GNU", 5, &property, 4); /* ends 4 short of a multiple of 8 */
	elf_note(&f, end + 4, "Xen", XEN_PHYS32_ENTRY, &entry, 8);
	elf_add(&f, PT_NOTE, 6000, 0, 0, 100, 100)->p_align = 8;
	check_pvh(&f, true);
}
END_TEST

START_TEST(test_damaged_notes)
{
	uint64_t entry = 0x1000123;
	struct elf_file f;

	pvh(&f, &entry, 7);
	load_fails(&f, -ENOEXEC, "PVH note: 7 bytes instead of 4 or 8");
	entry = 0x5000000;
	pvh(&f, &entry, 8);
	load_fails(&f, -ENOEXEC, "PVH note: entry 0x5000000 is in none of the segments");
	entry = 0x1000123;
	pvh(&f, &entry, 8);
	f.phdr[3].p_filesz -= 1;
	load_fails(&f, -ENOEXEC, "note longer than its segment");
	pvh(&f, &entry, 8);
	memset(f.data + 6000, 0xff, 8);
	load_fails(&f, -ENOEXEC, "note longer than its segment");
	pvh(&f, &entry, 8);
	f.phdr[3].p_offset = 0x10000;
	load_fails(&f, -ENOEXEC, "truncated ELF file: segment");
}
END_TEST

/* Notes without the right one, and some that end in the middle of a header, are just no PVH. */
START_TEST(test_other_notes)
{
	uint64_t entry = 0x1000123;
	struct elf_file f;
	struct rig rig;

	pvh(&f, &entry, 8);
	f.phdr[3].p_filesz = 11;
	load_ok(&rig, &f);
	ck_assert_int_eq(rig.entry.mode, BOOT_LONG64);
	ram_free(rig.ram);
	pvh(&f, &entry, 8);
	f.phdr[3].p_filesz = 0;
	load_ok(&rig, &f);
	ck_assert_int_eq(rig.entry.mode, BOOT_LONG64);
	ram_free(rig.ram);
}
END_TEST

/* 64 program headers, the last one of which matters */
START_TEST(test_most_segments)
{
	static uint8_t img[ELF_DATA_AT + 8192];
	Elf64_Phdr last;
	struct elf_file f;
	struct rig rig;

	vmlinux(&f);
	last = f.phdr[0];
	f.phdr[0].p_type = PT_NULL;
	f.ehdr.e_phnum = 64;
	elf_bytes(&f, img);
	memcpy(img + sizeof(Elf64_Ehdr) + 63 * sizeof(last), &last, sizeof(last));
	rig_init(&rig, 64);
	rig.cfg.kernel = rig_file(img, sizeof(img));
	rig_load_ok(&rig);
	ck_assert_mem_eq(rig_at(&rig, 0x1000000, 4096), f.data, 4096);
	ram_free(rig.ram);
}
END_TEST

/* A megabyte of notes is not worth reading. */
START_TEST(test_notes_too_large)
{
	static uint8_t img[ELF_DATA_AT + (1 << 20) + 1];
	struct elf_file f;
	struct rig rig;

	vmlinux(&f);
	elf_add(&f, PT_NOTE, 0, 0, 0, (1 << 20) + 1, 0);
	elf_bytes(&f, img);
	rig_init(&rig, 64);
	rig.cfg.kernel = rig_file(img, sizeof(img));
	rig_load_fails(&rig, -ENOEXEC, rig.cfg.kernel, "1048577 bytes of notes");
	f.phdr[3].p_filesz--;
	elf_bytes(&f, img);
	memset(img + ELF_DATA_AT, 0, 12);
	rig.cfg.kernel = rig_file(img, sizeof(img));
	rig_load_fails(&rig, -ENOEXEC, rig.cfg.kernel, "note longer than its segment");
	ram_free(rig.ram);
}
END_TEST

static const struct {
	uint16_t machine;
	const char *text;
} machines[] = {
	{ EM_AARCH64, "is for arm64" }, { EM_RISCV, "is for riscv" }, { EM_ARM, "is for arm," },
	{ EM_PPC64, "is for ppc64" },   { 9999, "ELF machine 9999" }, { 0, "ELF machine 0" },
};

START_TEST(test_machines)
{
	struct elf_file f;

	for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
		vmlinux(&f);
		f.ehdr.e_machine = machines[i].machine;
		load_fails(&f, -ENOEXEC, machines[i].text);
	}
	vmlinux(&f);
	f.ehdr.e_ident[EI_DATA] = ELFDATA2MSB;
	f.ehdr.e_machine = __builtin_bswap16(EM_S390);
	load_fails(&f, -ENOEXEC, "is for s390");
	vmlinux(&f);
	elf_make32(&f);
	load_fails(&f, -ENOEXEC, "i386 ELF file with neither a multiboot header nor a PVH note");
}
END_TEST

START_TEST(test_damaged_header)
{
	struct elf_file f;

	vmlinux(&f);
	f.ehdr.e_ident[EI_CLASS] = 3;
	load_fails(&f, -ENOEXEC, "class 3");
	vmlinux(&f);
	f.ehdr.e_ident[EI_DATA] = 7;
	load_fails(&f, -ENOEXEC, "data encoding 7");
	vmlinux(&f);
	f.ehdr.e_type = ET_REL;
	load_fails(&f, -ENOEXEC, "object file or module");
	f.ehdr.e_type = ET_CORE;
	load_fails(&f, -ENOEXEC, "ELF type 4");
	vmlinux(&f);
	f.ehdr.e_phentsize = 55;
	load_fails(&f, -ENOEXEC, "program headers of 55 bytes instead of 56");
	vmlinux(&f);
	f.ehdr.e_phnum = 0;
	load_fails(&f, -ENOEXEC, "0 program headers");
	f.ehdr.e_phnum = 65;
	load_fails(&f, -ENOEXEC, "65 program headers");
	vmlinux(&f);
	f.ehdr.e_phoff = ELF_DATA_AT + 8192 - 167;
	load_fails(&f, -ENOEXEC, "is truncated");
	f.ehdr.e_phoff = UINT64_MAX - 100;
	load_fails(&f, -ENOEXEC, "is truncated");
}
END_TEST

/* However short: it starts with the magic number, so it is never a flat binary. */
START_TEST(test_truncated)
{
	static const size_t sizes[] = { 4, 5, 16, 51, 63 };
	struct elf_file f;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		vmlinux(&f);
		f.file_bytes = sizes[i];
		load_fails(&f, -ENOEXEC, "truncated ELF file: no room for its header");
	}
	f.file_bytes = 64;
	load_fails(&f, -ENOEXEC, "is truncated: bytes up to 0xe8 needed, it has 0x40");
	f.file_bytes = 4096;
	load_fails(&f, -ENOEXEC,
		   "truncated ELF file: segment of 0x1000 bytes at 0x1000, file of 0x1000");
	elf_make32(&f);
	f.file_bytes = 51;
	load_fails(&f, -ENOEXEC, "truncated ELF file: no room for its header");
}
END_TEST

START_TEST(test_damaged_segments)
{
	static const struct {
		uint64_t offset, paddr, filesz, memsz;
		int err;
		const char *text;
	} cases[] = {
		{ 0, 0x1000000, 4096, 4095, -ENOEXEC, "segment of 0x1000 bytes in 0xfff bytes" },
		{ 8192, 0x1000000, 4097, 4097, -ENOEXEC, "truncated ELF file" },
		{ UINT64_MAX, 0x1000000, 1, 1, -ENOEXEC, "truncated ELF file" },
		{ 8192, 0x1000000, UINT64_MAX - 100, UINT64_MAX, -ENOEXEC, "truncated ELF file" },
		{ 4096, 0x3fff000, 4096, 4097, -EFBIG, "RAM ends at 0x4000000" },
		{ 4096, 0x4000001, 1, 1, -EFBIG, "RAM ends at 0x4000000" },
		{ 4096, UINT64_MAX, 1, 2, -EFBIG, "RAM ends at 0x4000000" },
		{ 4096, 0x1000000, 1, UINT64_MAX, -EFBIG, "needs 0xffffffffffffffff bytes" },
		{ 4096, 0x9fbff, 1, 2, -ENOEXEC, "overlaps EBDA" },
		{ 4096, 0xfffff, 1, 1, -ENOEXEC, "overlaps EBDA" },
		{ 4096, 0x10000, 0, 0xf1000, -ENOEXEC, "overlaps EBDA" },
	};
	struct elf_file f;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		Elf64_Phdr *p;

		vmlinux(&f);
		p = elf_add(&f, PT_LOAD, 0, 0, cases[i].paddr, cases[i].filesz, cases[i].memsz);
		p->p_offset = cases[i].offset;
		load_fails(&f, cases[i].err, cases[i].text);
	}
	vmlinux(&f);
	elf_add(&f, PT_INTERP, 0, 0, 0, 8, 8);
	load_fails(&f, -ENOEXEC, "program of an operating system");
	elf_init(&f, 0x1000000);
	elf_add(&f, PT_GNU_STACK, 0, 0, 0, 0, 0);
	load_fails(&f, -ENOEXEC, "nothing says how to start it");
}
END_TEST

/* The free places below 1 MB can be used, up to their last byte. */
START_TEST(test_low_segments)
{
	struct elf_file f;
	struct rig rig;

	vmlinux(&f);
	elf_add(&f, PT_LOAD, 0, 0, 0x10000, 16, 0x10000);
	elf_add(&f, PT_LOAD, 0, 0, 0x40000, 16, 0x5fc00);
	elf_add(&f, PT_LOAD, 0, 0, 0x100000, 16, 16);
	load_ok(&rig, &f);
	ck_assert_mem_eq(rig_at(&rig, 0x40000, 16), f.data, 16);
	ram_free(rig.ram);
}
END_TEST

/* The initrd stays clear of the highest segment, whichever it is in the file. */
START_TEST(test_initrd_above_segments)
{
	struct elf_file f;
	struct rig rig;

	vmlinux(&f);
	f.phdr[2].p_paddr = 0x3000000;
	f.phdr[2].p_memsz = 0xfff001;
	rig_init(&rig, 64);
	rig.cfg.kernel = elf_path(&f);
	rig_add_initrd(&rig, rig_file("x", 1));
	rig_load_fails(&rig, -EFBIG, rig.initrd[0], "kernel's end 0x3fff001");
	f.phdr[2].p_memsz = 0xfff000;
	rig.cfg.kernel = elf_path(&f);
	rig_load_ok(&rig);
	ram_free(rig.ram);
}
END_TEST

START_TEST(test_cmdline_limit)
{
	char line[2049];
	struct elf_file f;
	struct rig rig;

	memset(line, 'x', sizeof(line));
	vmlinux(&f);
	rig_init(&rig, 64);
	rig.cfg.kernel = elf_path(&f);
	rig.cfg.cmdline = line;
	line[2047] = '\0';
	rig_load_ok(&rig);
	line[2047] = 'x';
	line[2048] = '\0';
	rig_load_fails(&rig, -EFBIG, rig.cfg.kernel, "2048 bytes, but this kernel takes 2047");
	ram_free(rig.ram);
}
END_TEST

/* Linux takes an initrd above 4 GB by its own protocol only. */
START_TEST(test_pvh_initrd_above_4g)
{
	static uint8_t data[2 * MIB];
	const struct boot_params *p;
	uint64_t entry = 0x1000123;
	struct elf_file f;
	struct rig rig;

	pvh(&f, &entry, 8);
	elf_add(&f, PT_LOAD, 0, 0xffffffff82000000, 0xcfe00000, 16, 4096);
	rig_init(&rig, 4096);
	rig.cfg.kernel = elf_path(&f);
	rig_add_initrd(&rig, rig_file("small", 5));
	rig_load_ok(&rig);
	ck_assert_str_eq(rig.entry.protocol, "ELF, PVH entry");
	rig_pattern(data, sizeof(data), 8);
	rig.initrd[0] = rig_file(data, sizeof(data));
	rig_load_ok(&rig);
	ck_assert_str_eq(rig.entry.protocol, "ELF, 64-bit entry");
	ck_assert_uint_eq(rig.entry.rip, 0x1000010);
	p = rig_at(&rig, rig.entry.rsi, sizeof(*p));
	ck_assert_uint_eq(p->hdr.ramdisk_image, 0x2fe00000);
	ck_assert_uint_eq(p->ext_ramdisk_image, 1);
	ck_assert_mem_eq(rig_at(&rig, 0x12fe00000, sizeof(data)), data, sizeof(data));
	/* Another kernel that lives where Linux does */
	elf_banner(&f, 3000, "Minux");
	rig.cfg.kernel = elf_path(&f);
	rig_load_fails(&rig, -EFBIG, rig.cfg.kernel, "by PVH it can have no initrd above 4 GB");
	ram_free(rig.ram);
}
END_TEST

/* Programs and other kernels are refused, by what their notes say if they say anything. */
START_TEST(test_no_kernel)
{
	static const struct {
		const char *name;
		uint32_t type;
		const char *text;
	} cases[] = {
		{ "GNU", 1, "is a program of Linux, not a kernel" },
		{ "Go", 4, "is a program written in Go" },
		{ "FreeBSD", 1, "is of FreeBSD" },
		{ "NetBSD", 1, "is of NetBSD" },
		{ "OpenBSD", 1, "is of OpenBSD" },
		{ "GNU", 3, "is an ELF file that is not Linux and has neither" },
	};
	const uint32_t desc[4] = { 0, 3, 2, 0 };
	struct elf_file f;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		elf_init(&f, 0x401000);
		elf_add(&f, PT_LOAD, 0, 0x401000, 0x401000, 4096, 4096);
		elf_add(&f, PT_NOTE, 6000, 0, 0,
			elf_note(&f, 6000, cases[i].name, cases[i].type, desc, 16) - 6000, 0);
		/* Linux's words are in many a program. */
		elf_banner(&f, 3000, ELF_BANNER);
		load_fails(&f, -ENOEXEC, cases[i].text);
	}
}
END_TEST

#define DIGITS "012345678901234567890123456789012345678901234567890123456789"

/* The banner, wherever it is; what only looks like one is none. */
START_TEST(test_banner)
{
	static const struct {
		size_t at;
		const char *text;
		const char *release; /* NULL: refused */
	} cases[] = {
		{ 3000, "Linux version 6.1.0-x (me@here) #1", "6.1.0-x" },
		{ 0, "Linux version 2.6.18 (root@x", "2.6.18" },
		{ 5077, "Linux version 4.9 (x)", "4.9" }, /* known where the second segment ends */
		{ 5078, "Linux version 4.9 (x)", NULL },  /* a byte less of it is loaded */
		{ 3000, "Linux version %s (x)", NULL },
		{ 3000, "Linux version 6.1", NULL },
		{ 3000, "Linux version  (x)", NULL },
		{ 3000, "Linux version 6.\x01 (x)", NULL },
		{ 3000, "Linux version 6.\xe9 (x)", NULL },
		{ 3000, "linux version 6.1 (x)", NULL },
		{ 3000, "Linux version Linux version 6.2 (x)", "6.2" },
		{ 3000, "Linux xxLinux version 6.3 (x)", "6.3" },
		{ 3000, "Linux version " DIGITS "0123 (x", DIGITS "0123" },
		{ 3000, "Linux version " DIGITS "01234 (x", NULL },
	};
	struct elf_file f;
	struct rig rig;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		vmlinux(&f);
		memset(f.data + 3000, 0, 100);
		elf_banner(&f, cases[i].at, cases[i].text);
		if (!cases[i].release) {
			load_fails(&f, -ENOEXEC, "is not Linux and has neither a multiboot header nor");
			continue;
		}
		load_ok(&rig, &f);
		ck_assert_str_eq(rig.entry.release, cases[i].release);
		ram_free(rig.ram);
	}
}
END_TEST

/* A file is searched piece by piece: a banner across the edge of two is found as well. */
START_TEST(test_banner_anywhere)
{
	static uint8_t img[ELF_DATA_AT + 0x40000];
	const unsigned step = 0x10000 - 14 - 64 - 2;
	struct elf_file f;
	struct rig rig;
	int fd;

	elf_init(&f, 0x1000010);
	elf_add(&f, PT_LOAD, 0, 0xffffffff81000000, 0x1000000, 0x40000, 0x40000);
	elf_bytes(&f, img);
	rig_init(&rig, 64);
	rig.cfg.kernel = rig_file(img, sizeof(img));
	fd = open(rig.cfg.kernel, O_WRONLY);
	for (unsigned i = 0; i < 3 * 150; i++) {
		off_t at = ELF_DATA_AT + (1 + i / 150) * step + i % 150 - 50;

		ck_assert_int_eq(pwrite(fd, ELF_BANNER, sizeof(ELF_BANNER), at), sizeof(ELF_BANNER));
		rig_load_ok(&rig);
		ck_assert_str_eq(rig.entry.release, "6.1.0-x");
		ck_assert_int_eq(pwrite(fd, "\0", 1, at), 1);
	}
	ram_free(rig.ram);
}
END_TEST

/* The words alone do not make it: it is where Linux thinks it is, and its segments are loaded there. */
START_TEST(test_linked_as_linux)
{
	static const struct {
		uint64_t vaddr, paddr;
		bool is_linux;
	} cases[] = {
		{ 0xffffffff81000000, 0x1000000, true },
		{ 0xffffffff80200000, 0x200000, true },
		{ 0xffffffff81000000, 0x2000000, false },
		{ 0x1000000, 0x1000000, false },
		{ 0xffffffff7fffffff, 0x1000000, false },
		{ 0xffff800001000000, 0x1000000, false },
	};
	struct elf_file f;
	struct rig rig;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		elf_init(&f, cases[i].vaddr + 16);
		elf_add(&f, PT_LOAD, 0, cases[i].vaddr, cases[i].paddr, 4096, 4096);
		elf_banner(&f, 3000, ELF_BANNER);
		if (!cases[i].is_linux) {
			load_fails(&f, -ENOEXEC, "is not Linux");
			continue;
		}
		load_ok(&rig, &f);
		ck_assert_uint_eq(rig.entry.rip, cases[i].paddr + 16);
		ram_free(rig.ram);
	}
}
END_TEST

/* Where PVH is the way in, its release is looked for only if somebody asks. */
START_TEST(test_pvh_release)
{
	uint64_t entry = 0x1000123;
	struct elf_file f;
	struct rig rig;

	for (unsigned is32 = 0; is32 < 2; is32++) {
		pvh(&f, &entry, 8);
		if (is32)
			elf_make32(&f);
		load_ok(&rig, &f);
		ck_assert_str_eq(rig.entry.release, "");
		rig.cfg.want_release = true;
		rig_load_ok(&rig);
		ck_assert_str_eq(rig.entry.release, "6.1.0-x");
		ck_assert_str_eq(rig.entry.protocol, "ELF, PVH entry");
		ram_free(rig.ram);
	}
}
END_TEST

/* A kernel for the 64-bit entry where everything else uses to be: page tables and zero page make way. */
START_TEST(test_low_linux64)
{
	const struct boot_params *p;
	struct elf_file f;
	struct rig rig;

	vmlinux(&f);
	elf_add(&f, PT_LOAD, 0, 0xffffffff80001000, 0x500, 8192, 0x80000);
	load_ok(&rig, &f);
	ck_assert_uint_ge(rig.entry.page_tables, 0x80500);
	ck_assert_uint_eq(rig.entry.page_tables & 0xfff, 0);
	ck_assert_uint_ge(rig.entry.rsi, 0x80500);
	ck_assert_uint_ge(rig.entry.gdt, 0x80500);
	ck_assert_uint_ge(rig.entry.rsp - 4096, 0x80500);
	ck_assert_mem_eq(rig_at(&rig, 0x500, 8192), f.data, 8192);
	p = rig_at(&rig, rig.entry.rsi, sizeof(*p));
	ck_assert_str_eq(rig_string(&rig, p->hdr.cmd_line_ptr), "console=ttyS0 quiet");
	ck_assert_uint_eq(*(uint64_t *)rig_at(&rig, rig.entry.page_tables, 8),
			  (rig.entry.page_tables + 4096) | 3);
	ram_free(rig.ram);
}
END_TEST

UNIT_MAIN("boot-elf", test_banner, test_banner_anywhere, test_linked_as_linux, test_pvh_release, test_pvh_initrd_above_4g, test_no_kernel, test_low_linux64, test_linux64, test_entry_virtual, test_pvh, test_pvh_align8,
	  test_damaged_notes, test_other_notes, test_most_segments, test_notes_too_large,
	  test_machines, test_damaged_header, test_truncated, test_damaged_segments,
	  test_low_segments, test_initrd_above_segments, test_cmdline_limit)
