/*
 * Multiboot 1: small kernels and kvm-unit-tests.
 *
 * A header within the first 8 KB says where the file goes: by its own address fields, else as the
 * ELF file that it is. The kernel starts in 32-bit protected mode, eax = magic, ebx = information.
 * Spec: Multiboot Specification 0.6.96, chapter 3
 */
#include "multiboot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define HEADER_MAGIC 0x1badb002U
#define HEADER_AREA  8192
#define LOADER_MAGIC 0x2badb002U
#define MODULE_ALIGN 4096

/* Header flags: the low half are demands, which must all be understood */
#define HEADER_PAGE_ALIGN (1U << 0)
#define HEADER_MEMORY     (1U << 1)
#define HEADER_VIDEO      (1U << 2)
#define HEADER_ADDRESSES  (1U << 16)
#define HEADER_DEMANDS    0xffffU
#define HEADER_KNOWN      (HEADER_PAGE_ALIGN | HEADER_MEMORY | HEADER_VIDEO)

/* Information flags */
#define INFO_MEMORY      (1U << 0)
#define INFO_CMDLINE     (1U << 2)
#define INFO_MODULES     (1U << 3)
#define INFO_MMAP        (1U << 6)
#define INFO_LOADER_NAME (1U << 9)

struct mb_header {
	uint32_t magic, flags, checksum;
	struct mb_addresses addr;
};

#define HEADER_SHORT offsetof(struct mb_header, addr)

struct mb_info {
	uint32_t flags;
	uint32_t mem_lower_kib, mem_upper_kib;
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length, mmap_addr;
	uint32_t drives_length, drives_addr;
	uint32_t config_table;
	uint32_t boot_loader_name;
};

struct mb_module {
	uint32_t start, end;
	uint32_t cmdline;
	uint32_t reserved;
};

struct mb_mmap {
	uint32_t size; /* of what follows */
	uint64_t start, size_bytes;
	uint32_t type;
} __attribute__((packed));

/* The kernel where it will be: a file range, and memory behind it that must be zero. */
struct placed {
	uint64_t offset, filesz;
	uint64_t start, memsz;
};

/* Return: offset of a header with a good checksum, or else of one with a bad one, or -1 */
static int find_header(const struct boot *boot, bool *ret_good)
{
	const uint8_t *head = boot->head;
	int bad = -1;

	for (size_t i = 0; i + HEADER_SHORT <= boot->head_len && i < HEADER_AREA; i += 4) {
		if (get_le32(head + i) != HEADER_MAGIC)
			continue;
		*ret_good =
			get_le32(head + i) + get_le32(head + i + 4) + get_le32(head + i + 8) == 0;
		if (*ret_good)
			return (int)i;
		bad = (int)i;
	}
	return bad;
}

/* An ELF file with a bad header may be a vmlinux that just contains the number. */
static bool multiboot_match(const struct boot *boot)
{
	bool good = false;

	return find_header(boot, &good) >= 0 && (good || !elf_match(boot));
}

static int read_header(const struct boot *boot, size_t at, struct mb_header *ret)
{
	const struct boot_file *file = &boot->kernel;
	bool addresses = get_le32(boot->head + at + 4) & HEADER_ADDRESSES;
	uint32_t unknown;

	if (addresses && (sizeof(*ret) > boot->head_len - at || sizeof(*ret) > HEADER_AREA - at))
		return file_err(file, -ENOEXEC,
				"damaged multiboot header: no room for its addresses");
	memset(ret, 0, sizeof(*ret));
	memcpy(ret, boot->head + at, addresses ? sizeof(*ret) : HEADER_SHORT);
	unknown = ret->flags & HEADER_DEMANDS & ~HEADER_KNOWN;
	if (unknown)
		return file_err(file, -ENOEXEC, "multiboot header demands unknown features %#x",
				unknown);
	if (ret->flags & HEADER_VIDEO)
		log_warn("kernel '%s' asks for a video mode, but this machine has no display",
			 file->name);
	return 0;
}

/* Turn the address fields into a place; each must be on the right side of the others. */
static int judge_addresses(const struct boot *boot, const struct mb_addresses *h, uint64_t header_at,
			   struct placed *ret)
{
	const struct boot_file *file = &boot->kernel;
	uint64_t before = (uint64_t)h->header_addr - h->load_addr;
	uint64_t rest;

	if (h->header_addr < h->load_addr || before > header_at)
		return file_err(file, -ENOEXEC,
				"damaged multiboot header: load address %#x, header at %#x, "
				"which is %#" PRIx64 " in the file",
				h->load_addr, h->header_addr, header_at);
	ret->offset = header_at - before;
	rest = file->size_bytes - ret->offset;
	ret->start = h->load_addr;
	ret->filesz = h->load_end_addr ? (uint64_t)h->load_end_addr - h->load_addr : rest;
	if (h->load_end_addr && h->load_end_addr < h->load_addr)
		return file_err(file, -ENOEXEC,
				"damaged multiboot header: ends at %#x, starts at %#x",
				h->load_end_addr, h->load_addr);
	if (ret->filesz > rest)
		return file_err(file, -ENOEXEC,
				"truncated multiboot kernel: %" PRIu64
				" bytes to load, file has %" PRIu64 " of them",
				ret->filesz, rest);
	ret->memsz = h->bss_end_addr ? (uint64_t)h->bss_end_addr - h->load_addr : ret->filesz;
	if (h->bss_end_addr && (h->bss_end_addr < h->load_addr || ret->memsz < ret->filesz))
		return file_err(file, -ENOEXEC,
				"damaged multiboot header: bss ends at %#x, file at %#" PRIx64,
				h->bss_end_addr, ret->start + ret->filesz);
	if (h->entry_addr < h->load_addr || h->entry_addr - h->load_addr >= ret->filesz)
		return file_err(file, -ENOEXEC,
				"damaged multiboot header: entry %#x is not in [%#" PRIx64
				", %#" PRIx64 ")",
				h->entry_addr, ret->start, ret->start + ret->filesz);
	return 0;
}

int multiboot_load_flat(struct boot *boot, const struct mb_addresses *addr, uint64_t header_at)
{
	struct placed p = { 0 };
	int err = judge_addresses(boot, addr, header_at, &p);

	if (!err)
		err = boot_claim(boot, p.start, p.memsz);
	if (!err)
		err = boot_segment_to_ram(&boot->kernel, p.offset, p.filesz, boot->ram,
					  GPA(p.start), p.memsz);
	if (!err)
		log_debug(LOG_BOOT,
			  "kernel at [%#" PRIx64 ", %#" PRIx64 "), %#" PRIx64 " from the file",
			  p.start, p.start + p.memsz, p.filesz);
	return err;
}

static int load_elf(struct boot *boot, uint64_t *ret_entry)
{
	struct elf_image elf;
	int err;

	if (!elf_match(boot))
		return file_err(&boot->kernel, -ENOEXEC,
				"multiboot header without addresses in a file that is not ELF");
	err = elf_read(boot, &elf);
	if (!err)
		err = elf_entry_paddr(boot, &elf, ret_entry);
	return err ? err : elf_load(boot, &elf);
}

static int load_kernel(struct boot *boot, uint64_t *ret_entry)
{
	struct mb_header header;
	bool good = false;
	int at = find_header(boot, &good);
	int err;

	if (!good)
		return file_err(&boot->kernel, -ENOEXEC, "multiboot header with a bad checksum");
	err = read_header(boot, (size_t)at, &header);
	if (err)
		return err;
	if (!(header.flags & HEADER_ADDRESSES))
		return load_elf(boot, ret_entry);
	*ret_entry = header.addr.entry_addr;
	return multiboot_load_flat(boot, &header.addr, (uint64_t)at);
}

static int load_module(const struct boot *boot, const char *path, uint64_t *next,
		       struct mb_loaded *ret)
{
	struct boot_file file;
	uint64_t start = ALIGN_UP(*next, MODULE_ALIGN);
	uint64_t end = boot_low_end(boot->ram);
	char hint[BOOT_HINT_BYTES];
	int err = boot_file_open(boot->ram, &file, "module", path);

	if (err)
		return err;
	if (start > end || file.size_bytes > end - start)
		err = file_err(&file, -EFBIG,
			       "does not fit: it needs %" PRIu64 " bytes at %#" PRIx64
			       ", but RAM ends at %#" PRIx64 "%s",
			       file.size_bytes, start, end,
			       boot_size_hint(start, file.size_bytes, hint));
	else
		err = boot_file_to_ram(&file, 0, boot->ram, GPA(start), file.size_bytes);
	if (!err) {
		log_debug(LOG_BOOT, "module '%s' at %#" PRIx64 ", %" PRIu64 " bytes", path, start,
			  file.size_bytes);
		ret->start = (uint32_t)start;
		ret->end = (uint32_t)(start + file.size_bytes);
		*next = start + file.size_bytes;
	}
	boot_file_close(&file);
	return err;
}

int multiboot_load_modules(struct boot *boot, struct mb_loaded *ret)
{
	const struct boot_config *cfg = boot->cfg;
	uint64_t start = ALIGN_UP(boot_taken_end(boot), MODULE_ALIGN), next = start;
	int err = 0;

	for (unsigned i = 0; !err && i < cfg->n_initrds; i++) {
		const char *text = cfg->initrd[i];
		char *path = strndup(text, strcspn(text, " "));

		if (!path)
			return log_err(-ENOMEM, "module '%s'", text);
		err = load_module(boot, path, &next, &ret[i]);
		free(path);
	}
	return err ? err : boot_take(boot, start, next - start, "modules");
}

static int put_modules(struct boot *boot, struct mb_info *info)
{
	const struct boot_config *cfg = boot->cfg;
	struct mb_module *module;
	struct mb_loaded *loaded;
	void *host;
	gpa_t at, cmdline;
	int err;

	if (!cfg->n_initrds)
		return 0;
	err = boot_info_alloc(boot, cfg->n_initrds * sizeof(*module), 4, &at, &host);
	if (err)
		return err;
	module = host;
	loaded = calloc(cfg->n_initrds, sizeof(*loaded));
	if (!loaded)
		return log_err(-ENOMEM, "modules");
	err = multiboot_load_modules(boot, loaded);
	for (unsigned i = 0; !err && i < cfg->n_initrds; i++) {
		err = boot_info_string(boot, cfg->initrd[i], &cmdline);
		if (!err)
			module[i] = (struct mb_module){ loaded[i].start, loaded[i].end,
							(uint32_t)cmdline.v, 0 };
	}
	free(loaded);
	info->flags |= INFO_MODULES;
	info->mods_count = cfg->n_initrds;
	info->mods_addr = (uint32_t)at.v;
	return err;
}

static int put_memory(struct boot *boot, struct mb_info *info)
{
	struct e820_range map[E820_MAX];
	unsigned n = e820_build(boot->ram, map);
	struct mb_mmap *entry;
	void *host;
	gpa_t at;
	int err = boot_info_alloc(boot, n * sizeof(*entry), 4, &at, &host);

	if (err)
		return err;
	entry = host;
	for (unsigned i = 0; i < n; i++)
		entry[i] = (struct mb_mmap){ sizeof(*entry) - sizeof(entry->size), map[i].start,
					     map[i].size_bytes, map[i].type };
	info->flags |= INFO_MEMORY | INFO_MMAP;
	info->mem_lower_kib = LAYOUT_EBDA / KIB;
	info->mem_upper_kib = (uint32_t)((boot_low_end(boot->ram) - LAYOUT_HIGH) / KIB);
	info->mmap_addr = (uint32_t)at.v;
	info->mmap_length = (uint32_t)(n * sizeof(*entry));
	return 0;
}

/* The convention is that of a shell: the kernel's own name comes first. */
static int put_strings(struct boot *boot, struct mb_info *info)
{
	const struct boot_config *cfg = boot->cfg;
	const char *const part[BOOT_CMDLINE_PARTS] = { boot->kernel.name, cfg->cmdline };
	gpa_t name;
	int err = boot_cmdline_put(boot, part, LAYOUT_CMDLINE_MAX - 1);

	if (!err)
		err = boot_info_string(boot, MB_LOADER_NAME, &name);
	if (err)
		return err;
	info->flags |= INFO_CMDLINE | INFO_LOADER_NAME;
	info->cmdline = (uint32_t)boot->cmdline_at;
	info->boot_loader_name = (uint32_t)name.v;
	return 0;
}

static int multiboot_load(struct boot *boot)
{
	uint64_t entry = 0;
	void *host;
	gpa_t at;
	int err = load_kernel(boot, &entry);

	if (!err)
		err = boot_info_alloc(boot, sizeof(struct mb_info), 4, &at, &host);
	if (!err)
		err = put_memory(boot, host);
	if (!err)
		err = put_strings(boot, host);
	if (!err)
		err = put_modules(boot, host);
	if (err)
		return err;
	*boot->entry = (struct boot_entry){
		.mode = BOOT_PROTECTED32,
		.rip = entry,
		.rax = LOADER_MAGIC,
		.rbx = at.v,
		.protocol = "multiboot",
	};
	return 0;
}

const struct boot_protocol multiboot_protocol = { multiboot_match, multiboot_load };
