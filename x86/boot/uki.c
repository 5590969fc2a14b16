/*
 * EFI programs, which are PE files. There is no firmware here to start one, but a unified kernel image
 * is a wrapper around what Linux needs: the sections .linux, .initrd and .cmdline are taken out of it
 * and used as -k, -i and -p would be.
 * Spec: UAPI Group, "Unified Kernel Image"; Microsoft, "PE Format"
 */
#include "boot-internal.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define PE_OFFSET_AT  0x3c
#define PE_HEAD_BYTES 24 /* signature and COFF header */
#define PE_AMD64      0x8664
#define SECTIONS_MAX  256
#define CMDLINE_MAX   LAYOUT_CMDLINE_MAX
#define PROFILE       ".profile" /* what follows one is for a choice in a boot menu */

struct section {
	char name[8]; /* no NUL if all are used */
	uint32_t virtual_bytes, virtual_at;
	uint32_t raw_bytes, raw_at;
	uint32_t unused[4];
};

struct pe {
	unsigned n;
	struct section section[SECTIONS_MAX];
};

/* Where the PE signature is, 0 if there is none in the head */
static size_t find_pe(const struct boot *boot)
{
	uint32_t at;

	if (boot->head_len < PE_OFFSET_AT + 4 || memcmp(boot->head, "MZ", 2))
		return 0;
	at = get_le32(boot->head + PE_OFFSET_AT);
	if (at > boot->head_len || boot->head_len - at < PE_HEAD_BYTES ||
	    memcmp(boot->head + at, "PE\0\0", 4))
		return 0;
	return at;
}

static bool uki_match(const struct boot *boot)
{
	return find_pe(boot) != 0;
}

static uint16_t le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static int read_sections(const struct boot *boot, struct pe *pe)
{
	size_t at = find_pe(boot);
	const uint8_t *coff = boot->head + at;
	unsigned machine = le16(coff + 4), n = le16(coff + 6), optional_bytes = le16(coff + 20);

	/* Linux for arm64 and others are PE files too, which say more of themselves elsewhere. */
	if (machine != PE_AMD64)
		return boot_judge_unknown(boot, NULL);
	if (n > SECTIONS_MAX)
		return file_err(&boot->kernel, -ENOEXEC,
				"damaged EFI program: %u sections, at most %d are known", n,
				SECTIONS_MAX);
	pe->n = n;
	return boot_file_read(&boot->kernel, at + PE_HEAD_BYTES + optional_bytes, pe->section,
			      n * sizeof(pe->section[0]));
}

/* Of the base profile; the virtual size is the true one, the raw size is rounded up. */
static const struct section *find_section(const struct pe *pe, const char *name)
{
	for (unsigned i = 0; i < pe->n; i++) {
		const struct section *s = &pe->section[i];

		if (!strncmp(s->name, PROFILE, sizeof(s->name)))
			return NULL;
		if (!strncmp(s->name, name, sizeof(s->name)))
			return s;
	}
	return NULL;
}

/* @ret: the section as a file of its own, which must not live longer than the kernel's */
static int open_section(const struct boot *boot, const struct section *s, const char *what,
			struct boot_file *ret)
{
	uint64_t len = s->virtual_bytes < s->raw_bytes ? s->virtual_bytes : s->raw_bytes;

	if (s->raw_at > boot->kernel.size_bytes || len > boot->kernel.size_bytes - s->raw_at)
		return file_err(&boot->kernel, -ENOEXEC,
				"truncated unified kernel image: section %.8s of %#" PRIx64
				" bytes at %#x, file of %#" PRIx64,
				s->name, len, s->raw_at, boot->kernel.size_bytes);
	boot_file_part(&boot->kernel, s->raw_at, len, what, ret);
	return 0;
}

static int read_cmdline(struct boot *boot, const struct section *s)
{
	struct boot_file file;
	char *text, *end;
	int err = open_section(boot, s, "kernel", &file);

	if (err)
		return err;
	if (file.size_bytes >= CMDLINE_MAX)
		return file_err(&boot->kernel, -EFBIG, "command line of %" PRIu64 " bytes inside",
				file.size_bytes);
	text = calloc(1, file.size_bytes + 1);
	if (!text)
		return log_err(-ENOMEM, "command line");
	boot->own_cmdline = text;
	err = boot_file_read(&file, 0, text, file.size_bytes);
	for (end = text; *end; end++)
		if (isspace((unsigned char)*end))
			*end = ' ';
	while (end > text && end[-1] == ' ')
		*--end = '\0';
	return err;
}

static int not_unified(const struct boot *boot)
{
	if (multiboot_protocol.match(boot))
		return file_err(&boot->kernel, -ENOEXEC,
				"is an EFI program, which needs firmware; its ELF form, in which Xen "
				"is called xen.gz, would do");
	return file_err(&boot->kernel, -ENOEXEC,
			"is an EFI program without a .linux section, which needs firmware");
}

/* The kernel is now what was inside. */
static int load_linux(struct boot *boot)
{
	int err = boot_read_head(boot);

	if (err)
		return err;
	if (bzimage_protocol.match(boot))
		return bzimage_protocol.load(boot);
	if (vmlinux_protocol.match(boot))
		return vmlinux_protocol.load(boot);
	return file_err(&boot->kernel, -ENOEXEC,
			"unified kernel image: what is in .linux is neither bzImage nor vmlinux");
}

static int uki_load(struct boot *boot)
{
	const struct section *linux_section, *initrd, *cmdline;
	struct boot_file kernel;
	struct pe pe = { .n = 0 };
	int err = read_sections(boot, &pe);

	if (err)
		return err;
	linux_section = find_section(&pe, ".linux");
	initrd = find_section(&pe, ".initrd");
	cmdline = find_section(&pe, ".cmdline");
	if (!linux_section)
		return not_unified(boot);
	err = open_section(boot, linux_section, "kernel", &kernel);
	if (!err && initrd)
		err = open_section(boot, initrd, "initrd", &boot->own_initrd);
	if (!err && cmdline)
		err = read_cmdline(boot, cmdline);
	if (err)
		return err;
	log_debug(LOG_BOOT, "unified kernel image: kernel of %" PRIu64 " bytes, initrd of %" PRIu64,
		  kernel.size_bytes, boot->own_initrd.size_bytes);
	/* Still the owner of what it is a part of */
	boot->kernel.base = kernel.base;
	boot->kernel.size_bytes = kernel.size_bytes;
	return load_linux(boot);
}

const struct boot_protocol uki_protocol = { uki_match, uki_load };
