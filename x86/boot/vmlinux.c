/*
 * An ELF kernel without a multiboot header: an uncompressed Linux, or anything that starts by PVH.
 *
 * PVH: 32-bit protected mode at the address in a Xen note, ebx = struct hvm_start_info.
 * Spec: Xen, docs/misc/pvh.pandoc and xen/include/public/arch-x86/hvm/start_info.h
 * Otherwise the 64-bit entry of Linux, rsi = boot_params; nothing but Linux is entered there.
 * Spec: Linux, Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"
 */
#include "boot-internal.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PVH_NOTE_NAME "Xen"
#define PVH_NOTE_TYPE 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
#define PVH_MAGIC     0x336ec578
#define PVH_VERSION   1

/* An ELF file does not tell; this is what x86 Linux has had since 2.6.30, less the NUL. */
#define CMDLINE_BYTES 2047
/* Linux runs at __START_KERNEL_map and above, and is linked to be loaded so much lower. */
#define KERNEL_MAP 0xffffffff80000000ULL
#define SEARCH_BYTES (64 * KIB)

struct pvh_start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t n_modules;
	uint64_t modules;
	uint64_t cmdline;
	uint64_t rsdp;
	uint64_t memmap;
	uint32_t n_memmap;
	uint32_t reserved;
};

struct pvh_module {
	uint64_t start;
	uint64_t size_bytes;
	uint64_t cmdline;
	uint64_t reserved;
};

struct pvh_memmap {
	uint64_t start;
	uint64_t size_bytes;
	uint32_t type; /* as in e820 */
	uint32_t reserved;
};

static int put_memmap(struct boot *boot, struct pvh_start_info *info)
{
	struct e820_range map[E820_MAX];
	unsigned n = e820_build(boot->ram, map);
	struct pvh_memmap *entry;
	void *host;
	gpa_t at;
	int err = boot_info_alloc(boot, n * sizeof(*entry), 8, &at, &host);

	if (err)
		return err;
	entry = host;
	for (unsigned i = 0; i < n; i++)
		entry[i] = (struct pvh_memmap){ map[i].start, map[i].size_bytes, map[i].type, 0 };
	info->memmap = at.v;
	info->n_memmap = n;
	return 0;
}

static int put_module(struct boot *boot, struct pvh_start_info *info)
{
	struct pvh_module *module;
	void *host;
	gpa_t at;
	int err;

	if (!boot->initrd.size_bytes)
		return 0;
	err = boot_info_alloc(boot, sizeof(*module), 8, &at, &host);
	if (err)
		return err;
	module = host;
	module->start = boot->initrd.start;
	module->size_bytes = boot->initrd.size_bytes;
	info->modules = at.v;
	info->n_modules = 1;
	return 0;
}

static int enter_pvh(struct boot *boot, uint64_t entry)
{
	struct pvh_start_info *info;
	void *host;
	gpa_t at;
	int err = boot_info_alloc(boot, sizeof(*info), 8, &at, &host);

	if (err)
		return err;
	info = host;
	info->magic = PVH_MAGIC;
	info->version = PVH_VERSION;
	info->cmdline = boot->cmdline_at;
	info->rsdp = boot->cfg->rsdp.v;
	err = put_memmap(boot, info);
	if (!err)
		err = put_module(boot, info);
	if (err)
		return err;
	*boot->entry = (struct boot_entry){
		.mode = BOOT_PROTECTED32,
		.rip = entry,
		.rbx = at.v,
		.protocol = "ELF, PVH entry",
	};
	return 0;
}

static int enter_linux64(struct boot *boot, uint64_t entry)
{
	/* What the setup header of the bzImage around this kernel would say. */
	const struct setup_header hdr = {
		.boot_flag = 0xaa55,
		.header = 0x53726448, /* "HdrS" */
		.version = 0x020f,
		.loadflags = LOADED_HIGH,
		.initrd_addr_max = UINT32_MAX,
		.cmdline_size = CMDLINE_BYTES,
		.xloadflags = XLF_KERNEL_64,
	};

	*boot->entry = (struct boot_entry){
		.mode = BOOT_LONG64,
		.rip = entry,
		.protocol = "ELF, 64-bit entry",
	};
	return linux_params_put(boot, &hdr);
}

/* A program of some system says what it is, and so do other kernels. */
static int judge_program(const struct boot *boot, const struct elf_image *elf)
{
	static const struct {
		const char *name;
		uint32_t type;
		const char *is;
	} notes[] = {
		{ "GNU", NT_GNU_ABI_TAG, "a program of Linux" },
		{ "Go", 4, "a program written in Go" },
		{ "FreeBSD", 1, "of FreeBSD, and has no header that lkvm could start it by" },
		{ "NetBSD", 1, "of NetBSD, and has no header that lkvm could start it by" },
		{ "OpenBSD", 1, "of OpenBSD, and has no header that lkvm could start it by" },
	};
	uint32_t desc;

	for (size_t i = 0; i < ARRAY_SIZE(notes); i++) {
		int n = elf_find_note(boot, elf, notes[i].name, notes[i].type, &desc, sizeof(desc));

		if (n)
			return n < 0 ? n : file_err(&boot->kernel, -ENOEXEC, "is %s, not a kernel",
						    notes[i].is);
	}
	return 0;
}

/* Is it linked as Linux is? Other kernels are too: their authors have read the same sources. */
static bool is_linked_as_linux(const struct elf_image *elf)
{
	for (unsigned i = 0; elf->is64 && i < elf->n; i++)
		if (elf->seg[i].type == PT_LOAD && elf->seg[i].vaddr >= KERNEL_MAP &&
		    elf->seg[i].paddr == elf->seg[i].vaddr - KERNEL_MAP)
			return true;
	return false;
}

static int search_for_banner(const struct boot *boot, const struct elf_segment *seg, char *buf,
			     char ret[BOOT_RELEASE_BYTES])
{
	/* Pieces overlap by what a banner may be long, so that each is whole in one of them. */
	const uint64_t step = SEARCH_BYTES - BOOT_BANNER_BYTES;

	for (uint64_t at = 0; at < seg->filesz; at += step) {
		uint64_t left = seg->filesz - at;
		size_t n = left < SEARCH_BYTES ? (size_t)left : SEARCH_BYTES;
		int err = boot_file_read(&boot->kernel, seg->offset + at, buf, n);

		if (err)
			return err;
		if (boot_banner(buf, n, ret))
			return 1;
	}
	return 0;
}

/* Return: 1 and the release, 0 if it does not say that it is Linux, or -errno (logged) */
static int find_release(const struct boot *boot, const struct elf_image *elf,
			char ret[BOOT_RELEASE_BYTES])
{
	char *buf = malloc(SEARCH_BYTES);
	int n = 0;

	if (!buf)
		return log_err(-ENOMEM, "kernel '%s'", boot->kernel.name);
	for (unsigned i = 0; !n && i < elf->n; i++)
		if (elf->seg[i].type == PT_LOAD)
			n = search_for_banner(boot, &elf->seg[i], buf, ret);
	free(buf);
	return n;
}

/* Return: 1 and the entry, 0 if there is no such note, or -errno (logged) */
static int find_pvh(const struct boot *boot, const struct elf_image *elf, uint64_t *ret)
{
	int n = elf_find_note(boot, elf, PVH_NOTE_NAME, PVH_NOTE_TYPE, ret, sizeof(*ret));

	if (n <= 0)
		return n;
	if (n != 4 && n != 8)
		return file_err(&boot->kernel, -ENOEXEC,
				"damaged PVH note: %d bytes instead of 4 or 8", n);
	if (!elf_contains(elf, *ret))
		return file_err(&boot->kernel, -ENOEXEC,
				"damaged PVH note: entry %#" PRIx64 " is in none of the segments",
				*ret);
	return 1;
}

/* Nothing says how to start it, and to guess would be to run whatever is there. */
static int refuse(const struct boot *boot, const struct elf_image *elf)
{
	int err = judge_program(boot, elf);

	if (err)
		return err;
	if (!elf->is64)
		return file_err(&boot->kernel, -ENOEXEC,
				"is an i386 ELF file with neither a multiboot "
				"header nor a PVH note, the two ways to start one");
	return file_err(&boot->kernel, -ENOEXEC,
			"is an ELF file that is not Linux and has neither a multiboot header nor a PVH "
			"note: nothing says how to start it");
}

/* What is known of one ELF kernel */
struct vmlinux {
	struct elf_image elf;
	bool pvh;     /* it has that entry */
	bool linux64; /* it has Linux's 64-bit entry */
	uint64_t pvh_entry;
	uint64_t entry; /* Linux's */
	char release[BOOT_RELEASE_BYTES];
};

/* A large file takes milliseconds to read twice: not before its 64-bit entry is wanted. */
static int judge_linux(const struct boot *boot, struct vmlinux *v)
{
	int n = find_release(boot, &v->elf, v->release);

	if (n < 0)
		return n;
	v->linux64 = n && is_linked_as_linux(&v->elf);
	return v->linux64 ? elf_entry_paddr(boot, &v->elf, &v->entry) : 0;
}

static int judge(const struct boot *boot, struct vmlinux *v)
{
	int n = elf_read(boot, &v->elf), err = 0;

	if (n)
		return n;
	n = find_pvh(boot, &v->elf, &v->pvh_entry);
	if (n < 0)
		return n;
	v->pvh = n;
	if (!v->pvh || boot->cfg->pass_dtb)
		err = judge_linux(boot, v);
	if (!err && !v->pvh && !v->linux64)
		err = refuse(boot, &v->elf);
	return err;
}

/* PVH's start info has no room for a device tree, and of its 64-bit addresses Linux takes 32 bits. */
static int enter(struct boot *boot, struct vmlinux *v)
{
	bool high = boot->initrd.start > UINT32_MAX;
	int err = 0;

	if (v->pvh && !high && !(v->linux64 && boot->cfg->pass_dtb))
		return enter_pvh(boot, v->pvh_entry);
	if (!v->linux64)
		err = judge_linux(boot, v);
	if (!err && !v->linux64)
		err = file_err(&boot->kernel, -EFBIG,
			       "is not Linux: by PVH it can have no initrd above 4 GB");
	return err ? err : enter_linux64(boot, v->entry);
}

/* The release, of one that was not judged by it: all of it is in RAM now. */
static void find_loaded_release(const struct boot *boot, struct vmlinux *v)
{
	bool found = *v->release;

	for (unsigned i = 0; !found && i < v->elf.n; i++) {
		const struct elf_segment *seg = &v->elf.seg[i];
		void *at;

		found = seg->type == PT_LOAD &&
			!ram_window(boot->ram, GPA(seg->paddr), seg->filesz, 1, &at) &&
			boot_banner(at, seg->filesz, v->release);
	}
}

static int vmlinux_load(struct boot *boot)
{
	struct linux_image image = { .initrd_max = UINT32_MAX, .cmdline_bytes = CMDLINE_BYTES };
	struct vmlinux v = { 0 };
	int err = judge(boot, &v);

	image.initrd_anywhere = v.linux64 || is_linked_as_linux(&v.elf);
	if (!err)
		err = elf_load(boot, &v.elf);
	if (!err && boot->cfg->want_release)
		find_loaded_release(boot, &v);
	if (!err)
		err = linux_cmdline_put(boot, &image);
	if (!err)
		err = linux_initrd_load(boot, &image);
	if (!err)
		err = enter(boot, &v);
	if (!err)
		snprintf(boot->entry->release, sizeof(boot->entry->release), "%s", v.release);
	return err;
}

const struct boot_protocol vmlinux_protocol = { elf_match, vmlinux_load };
