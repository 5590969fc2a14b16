/*
 * Multiboot 2: a header of tags within the first 32 KB, on a multiple of 8. The kernel starts in
 * 32-bit protected mode, eax = magic, ebx = the information, which is a list of tags too.
 *
 * A file that has a multiboot 1 header as well is started by that one. The tags that concern EFI have
 * no meaning here, as the specification wants it where there is no EFI.
 * Spec: Multiboot2 Specification 2.0, chapter 3
 */
#include "multiboot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define HEADER_MAGIC 0xe85250d6U
#define LOADER_MAGIC 0x36d76289U
#define HEADER_AREA  32768
#define HEADER_BYTES 16 /* magic, architecture, length, checksum */
#define ARCH_I386    0
#define TAG_ALIGN    8
#define TAG_OPTIONAL 1

enum header_tag {
	TAG_END = 0,
	TAG_INFO_REQUEST = 1,
	TAG_ADDRESS = 2,
	TAG_ENTRY = 3,
	TAG_CONSOLE = 4,
	TAG_FRAMEBUFFER = 5,
	TAG_MODULE_ALIGN = 6,
	TAG_EFI_BOOT_SERVICES = 7,
	TAG_ENTRY_EFI32 = 8,
	TAG_ENTRY_EFI64 = 9,
	TAG_RELOCATABLE = 10,
};

enum info_tag {
	INFO_END = 0,
	INFO_CMDLINE = 1,
	INFO_LOADER_NAME = 2,
	INFO_MODULE = 3,
	INFO_MEMORY = 4,
	INFO_MMAP = 6,
	INFO_ACPI_OLD = 14,
	INFO_ACPI_NEW = 15,
	INFO_LOAD_BASE = 21,
};

/* What the header asks for. */
struct wishes {
	uint64_t header_at;
	struct mb_addresses addr; /* entry_addr is that of its own tag */
	bool has_addresses, has_entry, relocatable;
};

/* Return: offset of a header, or -1; one with a good checksum comes first */
static int find_header(const struct boot *boot, bool *ret_good)
{
	const uint8_t *head = boot->head;
	int bad = -1;

	for (size_t i = 0; i + HEADER_BYTES <= boot->head_len && i < HEADER_AREA; i += TAG_ALIGN) {
		if (get_le32(head + i) != HEADER_MAGIC)
			continue;
		*ret_good = get_le32(head + i) + get_le32(head + i + 4) + get_le32(head + i + 8) +
				    get_le32(head + i + 12) == 0;
		if (*ret_good)
			return (int)i;
		bad = (int)i;
	}
	return bad;
}

/* An ELF file with a bad header may be one that just contains the number. */
static bool multiboot2_match(const struct boot *boot)
{
	bool good = false;

	return find_header(boot, &good) >= 0 && (good || !elf_match(boot));
}

static unsigned tag_type(const uint8_t *tag)
{
	return tag[0] | (unsigned)tag[1] << 8;
}

static uint32_t field(const uint8_t *tag, unsigned i)
{
	return get_le32(tag + 8 + 4 * i);
}

/* A kernel looks at what it is given; only what nobody has heard of is too much to ask. */
static int judge_request(const struct boot *boot, const uint8_t *tag, uint32_t size)
{
	for (unsigned i = 0; 8 + 4 * (i + 1) <= size; i++)
		if (field(tag, i) > INFO_LOAD_BASE)
			return file_err(&boot->kernel, -ENOEXEC,
					"multiboot2 header demands unknown information %u",
					field(tag, i));
	return 0;
}

static int tag_too_short(const struct boot *boot, unsigned type, uint32_t size)
{
	return file_err(&boot->kernel, -ENOEXEC,
			"damaged multiboot2 header: tag %u with %u bytes", type, size);
}

/* @tag has @size bytes, 8 at least, all of them in the header. */
static int take_tag(const struct boot *boot, const uint8_t *tag, uint32_t size, struct wishes *w)
{
	unsigned type = tag_type(tag);
	bool optional = tag[2] & TAG_OPTIONAL;

	switch (type) {
	case TAG_INFO_REQUEST:
		return optional ? 0 : judge_request(boot, tag, size);
	case TAG_ADDRESS:
		if (size < 24)
			return tag_too_short(boot, type, size);
		w->has_addresses = true;
		w->addr.header_addr = field(tag, 0);
		w->addr.load_addr = field(tag, 1);
		w->addr.load_end_addr = field(tag, 2);
		w->addr.bss_end_addr = field(tag, 3);
		/* From the first byte of the file on */
		if (w->addr.load_addr == UINT32_MAX)
			w->addr.load_addr = w->addr.header_addr - (uint32_t)w->header_at;
		return 0;
	case TAG_ENTRY:
		if (size < 12)
			return tag_too_short(boot, type, size);
		w->has_entry = true;
		w->addr.entry_addr = field(tag, 0);
		return 0;
	case TAG_FRAMEBUFFER:
		if (!optional)
			log_warn("kernel '%s' asks for a video mode, but this machine has no "
				 "display", boot->kernel.name);
		return 0;
	case TAG_RELOCATABLE:
		w->relocatable = true;
		return 0;
	case TAG_CONSOLE:
	case TAG_MODULE_ALIGN: /* always so */
	case TAG_EFI_BOOT_SERVICES:
	case TAG_ENTRY_EFI32:
	case TAG_ENTRY_EFI64:
		return 0;
	default:
		return optional ? 0 : file_err(&boot->kernel, -ENOEXEC,
					       "multiboot2 header demands unknown feature %u", type);
	}
}

static int read_tags(const struct boot *boot, struct wishes *w)
{
	const uint8_t *header = boot->head + w->header_at;
	uint32_t len = get_le32(header + 8), at = HEADER_BYTES;
	size_t room = boot->head_len < HEADER_AREA ? boot->head_len : HEADER_AREA;

	if (len > room - w->header_at)
		return file_err(&boot->kernel, -ENOEXEC,
				"damaged multiboot2 header: %u bytes long, with room for %zu", len,
				room - w->header_at);
	while (at <= len && len - at >= 8) {
		const uint8_t *tag = header + at;
		uint32_t size = get_le32(tag + 4);
		int err;

		if (tag_type(tag) == TAG_END)
			return 0;
		if (size < 8 || size > len - at)
			return tag_too_short(boot, tag_type(tag), size);
		err = take_tag(boot, tag, size, w);
		if (err)
			return err;
		/* The header ends below 32 KB, so this cannot wrap. */
		at += (uint32_t)ALIGN_UP(size, TAG_ALIGN);
	}
	return 0;
}

static int load_elf(struct boot *boot, const struct wishes *w, uint64_t *ret_entry)
{
	struct elf_image elf;
	int err;

	if (!elf_match(boot))
		return file_err(&boot->kernel, -ENOEXEC,
				"multiboot2 header without addresses in a file that is not ELF");
	err = elf_read(boot, &elf);
	*ret_entry = w->addr.entry_addr;
	if (!err && w->has_entry && !elf_contains(&elf, *ret_entry))
		err = file_err(&boot->kernel, -ENOEXEC,
			       "damaged multiboot2 header: entry %#" PRIx64
			       " is in none of the segments", *ret_entry);
	if (!err && !w->has_entry)
		err = elf_entry_paddr(boot, &elf, ret_entry);
	return err ? err : elf_load(boot, &elf);
}

static int load_kernel(struct boot *boot, uint64_t *ret_entry, bool *ret_relocatable)
{
	struct wishes w = { 0 };
	bool good = false;
	int at = find_header(boot, &good);
	int err;

	if (!good)
		return file_err(&boot->kernel, -ENOEXEC, "multiboot2 header with a bad checksum");
	w.header_at = (uint64_t)at;
	if (get_le32(boot->head + at + 4) != ARCH_I386)
		return file_err(&boot->kernel, -ENOEXEC,
				"multiboot2 header for architecture %u, but this machine is x86-64",
				get_le32(boot->head + at + 4));
	err = read_tags(boot, &w);
	if (err)
		return err;
	*ret_relocatable = w.relocatable;
	if (!w.has_addresses)
		return load_elf(boot, &w, ret_entry);
	if (!w.has_entry)
		return file_err(&boot->kernel, -ENOEXEC,
				"damaged multiboot2 header: addresses without an entry");
	*ret_entry = w.addr.entry_addr;
	return multiboot_load_flat(boot, &w.addr, w.header_at);
}

/* ---- the information, made on the host and copied as a whole ---- */

static void put_tag(FILE *f, enum info_tag type, const void *a, size_t a_len, const void *b,
		    size_t b_len)
{
	static const uint8_t zeros[TAG_ALIGN];
	const uint32_t head[2] = { type, (uint32_t)(sizeof(head) + a_len + b_len) };

	fwrite(head, 1, sizeof(head), f);
	fwrite(a, 1, a_len, f);
	fwrite(b, 1, b_len, f);
	fwrite(zeros, 1, ALIGN_UP(head[1], TAG_ALIGN) - head[1], f);
}

static void put_memory(FILE *f, const struct boot *boot)
{
	const uint32_t limits[2] = { LAYOUT_EBDA / KIB,
				     (uint32_t)((boot_low_end(boot->ram) - LAYOUT_HIGH) / KIB) };
	struct e820_range map[E820_MAX];
	struct {
		uint64_t start, size_bytes;
		uint32_t type, reserved;
	} entry[E820_MAX] = { 0 };
	const uint32_t entries[2] = { sizeof(entry[0]), 0 };
	unsigned n = e820_build(boot->ram, map);

	for (unsigned i = 0; i < n; i++) {
		entry[i].start = map[i].start;
		entry[i].size_bytes = map[i].size_bytes;
		entry[i].type = map[i].type;
	}
	put_tag(f, INFO_MEMORY, limits, sizeof(limits), "", 0);
	put_tag(f, INFO_MMAP, entries, sizeof(entries), entry, n * sizeof(entry[0]));
}

/* The root pointer itself, not where it is: once as ACPI 1.0 knows it, once whole. */
static void put_acpi(FILE *f, const struct boot *boot)
{
	uint8_t rsdp[36];

	if (!boot->cfg->rsdp.v || ram_read(boot->ram, boot->cfg->rsdp, rsdp, sizeof(rsdp)))
		return;
	put_tag(f, INFO_ACPI_OLD, rsdp, 20, "", 0);
	put_tag(f, INFO_ACPI_NEW, rsdp, sizeof(rsdp), "", 0);
}

static int put_modules(FILE *f, struct boot *boot)
{
	const struct boot_config *cfg = boot->cfg;
	struct mb_loaded *loaded = calloc(cfg->n_initrds + 1, sizeof(*loaded));
	int err;

	if (!loaded)
		return log_err(-ENOMEM, "modules");
	err = multiboot_load_modules(boot, loaded);
	for (unsigned i = 0; !err && i < cfg->n_initrds; i++)
		put_tag(f, INFO_MODULE, &loaded[i], sizeof(loaded[i]), cfg->initrd[i],
			strlen(cfg->initrd[i]) + 1);
	free(loaded);
	return err;
}

static int build(FILE *f, struct boot *boot, bool relocatable)
{
	const char *cmdline = boot->cfg->cmdline ? boot->cfg->cmdline : "";
	const uint32_t head[2] = { 0, 0 };
	uint32_t base = UINT32_MAX;
	int err;

	for (unsigned i = 0; i < boot->n_taken; i++)
		if (boot->taken[i].start < base)
			base = (uint32_t)boot->taken[i].start;
	fwrite(head, 1, sizeof(head), f);
	put_tag(f, INFO_CMDLINE, cmdline, strlen(cmdline) + 1, "", 0);
	put_tag(f, INFO_LOADER_NAME, MB_LOADER_NAME, sizeof(MB_LOADER_NAME), "", 0);
	put_memory(f, boot);
	put_acpi(f, boot);
	if (relocatable)
		put_tag(f, INFO_LOAD_BASE, &base, sizeof(base), "", 0);
	err = put_modules(f, boot);
	put_tag(f, INFO_END, "", 0, "", 0);
	return err;
}

static int put_info(struct boot *boot, bool relocatable, gpa_t *ret)
{
	char *info = NULL;
	size_t len = 0;
	void *host;
	FILE *f = open_memstream(&info, &len);
	int err;

	if (!f)
		return log_err(-errno, "multiboot2 information");
	err = build(f, boot, relocatable);
	if (fclose(f) && !err)
		err = log_err(-errno, "multiboot2 information");
	if (!err)
		err = boot_info_alloc(boot, len, TAG_ALIGN, ret, &host);
	if (!err) {
		memcpy(host, info, len);
		*(uint32_t *)host = (uint32_t)len;
	}
	free(info);
	return err;
}

static int multiboot2_load(struct boot *boot)
{
	bool relocatable = false;
	uint64_t entry = 0;
	gpa_t info = GPA(0);
	int err = load_kernel(boot, &entry, &relocatable);

	if (!err)
		err = put_info(boot, relocatable, &info);
	if (err)
		return err;
	boot->cmdline = boot->cfg->cmdline;
	*boot->entry = (struct boot_entry){
		.mode = BOOT_PROTECTED32,
		.rip = entry,
		.rax = LOADER_MAGIC,
		.rbx = info.v,
		.protocol = "multiboot2",
	};
	return 0;
}

const struct boot_protocol multiboot2_protocol = { multiboot2_match, multiboot2_load };
