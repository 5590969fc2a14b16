/*
 * An ELF kernel without a multiboot header: an uncompressed Linux, or anything that starts by PVH.
 *
 * PVH: 32-bit protected mode at the address in a Xen note, ebx = struct hvm_start_info.
 * Spec: Xen, docs/misc/pvh.pandoc and xen/include/public/arch-x86/hvm/start_info.h
 * Otherwise the 64-bit entry of Linux, rsi = boot_params.
 * Spec: Linux, Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"
 */
#include "boot-internal.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <inttypes.h>

#define PVH_NOTE_NAME "Xen"
#define PVH_NOTE_TYPE 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
#define PVH_MAGIC     0x336ec578
#define PVH_VERSION   1

/* An ELF file does not tell; this is what x86 Linux has had since 2.6.30, less the NUL. */
#define CMDLINE_BYTES 2047

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
	info->cmdline = LAYOUT_CMDLINE;
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
		.rsp = LAYOUT_STACK_TOP,
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
		.rsi = LAYOUT_ZERO_PAGE,
		.rsp = LAYOUT_STACK_TOP,
		.protocol = "ELF, 64-bit entry",
	};
	return linux_params_put(boot, &hdr);
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

static int vmlinux_load(struct boot *boot)
{
	struct linux_image image = { .initrd_max = UINT32_MAX, .cmdline_bytes = CMDLINE_BYTES };
	struct elf_image elf;
	uint64_t entry = 0;
	int err = elf_read(boot, &elf);
	int pvh;

	if (err)
		return err;
	/* PVH's start info has no room for a device tree. */
	pvh = boot->cfg->pass_dtb && elf.is64 ? 0 : find_pvh(boot, &elf, &entry);
	if (pvh < 0)
		return pvh;
	if (!pvh && !elf.is64)
		return file_err(&boot->kernel, -ENOEXEC,
				"is an i386 ELF file with neither a multiboot "
				"header nor a PVH note, the two ways to start one");
	if (!pvh)
		err = elf_entry_paddr(boot, &elf, &entry);
	if (!err)
		err = elf_load(boot, &elf);
	image.end = elf.end;
	if (!err)
		err = linux_cmdline_put(boot, &image);
	if (!err)
		err = linux_initrd_load(boot, &image);
	if (err)
		return err;
	return pvh ? enter_pvh(boot, entry) : enter_linux64(boot, entry);
}

const struct boot_protocol vmlinux_protocol = { elf_match, vmlinux_load };
