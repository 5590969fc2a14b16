/* Boot protocols: look at the kernel file, and let the protocol that it belongs to load it. */
#include "boot-internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

#define STACK_BYTES 4096

/* The first match loads. Magic numbers decide, so a damaged file never becomes something else. */
static const struct boot_protocol *const protocols[] = {
	&bzimage_protocol,
	&uki_protocol,
	&multiboot_protocol,
	&multiboot2_protocol,
	&vmlinux_protocol,
	&flat_protocol,
};

int boot_read_head(struct boot *boot)
{
	uint64_t size = boot->kernel.size_bytes;

	/* Of what was there before it was unpacked, if it was; most of a small kernel's is never touched. */
	memset(boot->head, 0, boot->head_len);
	boot->head_len = size < sizeof(boot->head) ? size : sizeof(boot->head);
	return boot_file_read(&boot->kernel, 0, boot->head, boot->head_len);
}

/* Once only: what is packed twice is not a kernel. */
static int unpack(struct boot *boot, const char *packed)
{
	int err;

	if (!packed)
		return 0;
	err = decompress_kernel(boot);
	if (!err)
		err = boot_read_head(boot);
	if (!err && decompress_name(boot))
		err = file_err(&boot->kernel, -ENOEXEC, "is compressed with %s inside of %s",
			       decompress_name(boot), packed);
	return err;
}

static const struct boot_protocol *find_protocol(const struct boot *boot)
{
	size_t i = 0;

	/* The last one, flat, matches everything. */
	while (!protocols[i]->match(boot))
		i++;
	return protocols[i];
}

/* What the CPU finds in memory when it starts, where the kernel leaves room for it. */
static int put_tables(struct boot *boot)
{
	struct boot_entry *entry = boot->entry;
	uint64_t stack;
	int err;

	if (entry->mode == BOOT_REAL)
		return 0;
	err = boot_alloc(boot, "boot GDT", LAYOUT_GDT, BOOT_GDT_ENTRIES * 8, 8, &entry->gdt);
	if (!err)
		err = boot_alloc(boot, "boot stack", LAYOUT_STACK_TOP - STACK_BYTES, STACK_BYTES,
				 16, &stack);
	if (!err && entry->mode == BOOT_LONG64)
		err = boot_alloc(boot, "boot page tables", LAYOUT_PAGE_TABLES,
				 BOOT_PAGE_TABLES_BYTES, 4096, &entry->page_tables);
	if (err)
		return err;
	entry->rsp = stack + STACK_BYTES;
	return boot_tables_put(boot->ram, entry);
}

static int load(struct boot *boot)
{
	const struct boot_protocol *protocol;
	const char *packed;
	int err = boot_read_head(boot);

	if (err)
		return err;
	packed = decompress_name(boot);
	err = unpack(boot, packed);
	if (err)
		return err;
	protocol = find_protocol(boot);
	if (protocol == &flat_protocol)
		err = boot_judge_unknown(boot, packed);
	if (!err)
		err = protocol->load(boot);
	if (!err && boot->cfg->made && !boot->took_made)
		err = file_err(&boot->kernel, -ENOEXEC, "is no Linux and takes no %s", boot->cfg->made->name);
	if (!err && boot->cfg->dump_dtb)
		err = boot_dtb_dump(boot);
	if (!err)
		err = put_tables(boot);
	return err;
}

/* A folder stands for the kernel that was built in it; @ret_name is on the heap then. */
static int open_kernel(struct boot *boot, char **ret_name)
{
	const char *name = boot->cfg->kernel;
	int err = boot_find_in_tree(name, ret_name);

	switch (err) {
	case 0:
		return boot_file_open(boot->ram, &boot->kernel, "kernel", *ret_name);
	case -ENOTDIR:
		return boot_file_open(boot->ram, &boot->kernel, "kernel", name);
	case -ENOENT:
		return log_errx(-EISDIR,
				"kernel '%s': is a folder with neither arch/x86/boot/bzImage nor "
				"vmlinux in it", name);
	default:
		return log_err(err, "kernel '%s'", name);
	}
}

static int open_and_load(struct boot *boot)
{
	char *in_tree = NULL;
	int err = open_kernel(boot, &in_tree);

	if (!err)
		err = load(boot);
	boot->entry->cmdline = boot->cmdline;
	boot_file_close(&boot->kernel);
	free(boot->own_cmdline);
	free(in_tree);
	return err;
}

int boot_load(struct ram *ram, const struct boot_config *cfg, struct boot_entry *ret)
{
	struct boot_entry entry = { 0 };
	struct boot *boot;
	int err;

	if (boot_low_end(ram) < LAYOUT_HIGH)
		return log_errx(-EFBIG, "kernel '%s': guest RAM of %" PRIu64 " bytes is below 1 MB",
				cfg->kernel, boot_low_end(ram));
	/* Pages of its own: what is not touched need not be zeroed, most of the head above all. */
	boot = boot_reserve(sizeof(*boot));
	if (!boot)
		return log_err(-ENOMEM, "kernel '%s'", cfg->kernel);
	boot->ram = ram;
	boot->cfg = cfg;
	boot->entry = &entry;
	boot->kernel.fd = -1;
	boot->info_next = LAYOUT_BOOT_INFO;
	err = open_and_load(boot);
	munmap(boot, sizeof(*boot));
	if (err)
		return err;
	log_debug(LOG_BOOT, "kernel '%s': %s at %#" PRIx64, cfg->kernel, entry.protocol, entry.rip);
	*ret = entry;
	return 0;
}
