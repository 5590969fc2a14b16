/*
 * What the boot protocols share with x86/boot.c; nobody else includes this.
 *
 * One struct boot lives through one boot_load(). A protocol is a row of the table in boot.c:
 * match() looks at the first bytes of the kernel file, load() puts everything into guest RAM and
 * fills in the entry state. load() returns 0, or -errno after one logged line that names the file.
 */
#ifndef LKVM_X86_BOOT_INTERNAL_H
#define LKVM_X86_BOOT_INTERNAL_H

#include <string.h>

#include "lkvm/log.h"
#include "lkvm/x86/boot.h"
#include "lkvm/x86/layout.h"

/* Enough to find a multiboot header, which may start anywhere in there. */
#define BOOT_HEAD_BYTES 8192

struct boot_file {
	const char *what; /* "kernel", "initrd", "module": for messages */
	const char *name; /* as the user wrote it, likewise */
	int fd;
	uint64_t size_bytes;
	uint8_t *mem; /* the contents, once unpacked on the host; else NULL */
};

struct linux_initrd {
	uint64_t start;
	uint64_t size_bytes; /* 0: none */
};

struct boot {
	struct ram *ram;
	const struct boot_config *cfg;
	struct boot_entry *entry;
	struct boot_file kernel;
	uint8_t head[BOOT_HEAD_BYTES]; /* first bytes of the kernel, zeros behind its end */
	size_t head_len;
	uint64_t info_next; /* first free byte in [LAYOUT_BOOT_INFO, LAYOUT_BOOT_INFO_END) */
	/* What has been placed so far, for the device tree */
	const char *cmdline; /* in guest RAM; NULL: none */
	struct linux_initrd initrd;
};

struct boot_protocol {
	bool (*match)(const struct boot *boot);
	int (*load)(struct boot *boot);
};

extern const struct boot_protocol bzimage_protocol, multiboot_protocol, vmlinux_protocol,
	flat_protocol;

/* "lkvm: kernel '/path': REASON" for everything that is wrong with one file */
#define file_err(file, err, fmt, ...)                                                              \
	log_errx(err, "%s '%s': " fmt, (file)->what, (file)->name, ##__VA_ARGS__)

/* Little-endian fields at any alignment. */
static inline uint32_t get_le32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* x86/boot-file.c */

/**
 * boot_file_open() - open a regular file; anything else is refused
 * Return: 0, or -errno after one logged line; then there is nothing to close
 */
int boot_file_open(struct boot_file *file, const char *what, const char *name);
void boot_file_close(struct boot_file *file);

/** boot_file_read() - read exactly @len bytes; Return: 0, or -errno after one logged line */
int boot_file_read(const struct boot_file *file, uint64_t off, void *dst, uint64_t len);

/** boot_file_to_ram() - the same, from the page cache straight into the guest's RAM */
int boot_file_to_ram(const struct boot_file *file, uint64_t off, const struct ram *ram, gpa_t dst,
		     uint64_t len);

/** boot_segment_to_ram() - the same for @filesz bytes, with zeros behind them up to @memsz */
int boot_segment_to_ram(const struct boot_file *file, uint64_t off, uint64_t filesz,
			const struct ram *ram, gpa_t dst, uint64_t memsz);

/* x86/boot-place.c */

/** boot_low_end() - end of the RAM below the gap: nothing is loaded above it */
uint64_t boot_low_end(const struct ram *ram);

/** boot_low() - guest memory below 1 MB, at an address of layout.h; boot_load() checked it */
void *boot_low(const struct ram *ram, uint64_t at, uint64_t len);

/**
 * boot_place_check() - may @len bytes of the kernel go to @at?
 * They must be in RAM below the gap and leave alone what boot_load() itself writes.
 * Return: 0, or -EFBIG (no RAM there) or -ENOEXEC (in the way) after one logged line
 */
int boot_place_check(const struct boot *boot, uint64_t at, uint64_t len);

/**
 * boot_info_alloc() - zeroed room for a table that the guest gets a pointer to
 * @align: power of two
 * Return: 0, or -EFBIG after one logged line
 */
int boot_info_alloc(struct boot *boot, size_t len, size_t align, gpa_t *ret_at, void **ret_host);

/** boot_info_string() - a copy of @str for the guest, NUL included */
int boot_info_string(struct boot *boot, const char *str, gpa_t *ret_at);

/**
 * boot_cmdline_put() - write "@first @second" to LAYOUT_CMDLINE; either may be NULL or empty
 * @max_bytes: what the kernel takes, without the NUL
 * Return: 0, or -EFBIG after one logged line: it is never cut
 */
int boot_cmdline_put(struct boot *boot, const char *first, const char *second,
		     uint64_t max_bytes);

/* x86/boot-linux.c: what bzImage and vmlinux have in common */

struct setup_header;

/* What the shared part must know about a kernel that was placed. */
struct linux_image {
	uint64_t end;           /* of the memory that it needs to unpack itself and start */
	uint64_t initrd_max;    /* highest address of the initrd's last byte */
	uint64_t cmdline_bytes; /* longest command line, without the NUL */
};

/** linux_cmdline_put() - the default command line, then the user's */
int linux_cmdline_put(struct boot *boot, const struct linux_image *image);

/** linux_initrd_load() - all initrds, one after another, as high as possible; sets @boot->initrd */
int linux_initrd_load(struct boot *boot, const struct linux_image *image);

/**
 * linux_params_put() - write the zero page (struct boot_params) and its setup_data chain
 * @hdr: the kernel's setup header; what belongs to the boot loader is filled in here
 * Spec: Linux, Documentation/arch/x86/boot.rst and zero-page.rst
 */
int linux_params_put(struct boot *boot, const struct setup_header *hdr);

/* x86/boot-dtb.c: the device tree, as far as it is wanted */

/**
 * boot_dtb_build() - the machine of the configuration, and what has been placed
 * @ret: heap, free() it
 * Return: 0, or -errno after one logged line
 */
int boot_dtb_build(const struct boot *boot, void **ret, size_t *ret_bytes);

/** boot_dtb_dump() - write it to the file that was asked for; 0, or -errno after one logged line */
int boot_dtb_dump(const struct boot *boot);

/* x86/elf.c: the reader for vmlinux and multiboot */

#define ELF_MAX_SEGMENTS 64

struct elf_segment {
	uint32_t type;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

struct elf_image {
	bool is64;
	uint16_t machine;
	uint64_t entry; /* as in the file; see elf_entry_paddr() */
	unsigned n;
	struct elf_segment seg[ELF_MAX_SEGMENTS];
	uint64_t end; /* of the highest segment in guest RAM, after elf_load() */
};

bool elf_match(const struct boot *boot);

/**
 * elf_read() - judge the ELF header, read and judge the program headers
 * Return: 0, or -ENOEXEC after one logged line that says what is wrong
 */
int elf_read(const struct boot *boot, struct elf_image *ret);

/** elf_load() - copy the PT_LOAD segments to their physical addresses, zero what follows them */
int elf_load(const struct boot *boot, struct elf_image *elf);

/**
 * elf_entry_paddr() - the physical address of the entry point
 * It is one already in a Linux vmlinux; others give a virtual address.
 * Return: 0, or -ENOEXEC (logged) if it is in no loaded segment
 */
int elf_entry_paddr(const struct boot *boot, const struct elf_image *elf, uint64_t *ret);

/** elf_contains() - is @paddr in the file's part of a loaded segment? */
bool elf_contains(const struct elf_image *elf, uint64_t paddr);

/**
 * elf_find_note() - descriptor of the first note @name, @type in the PT_NOTE segments
 * @ret: the descriptor's first @cap bytes, zero filled
 * Return: its length, 0 if there is none, or -errno after one logged line
 */
int elf_find_note(const struct boot *boot, const struct elf_image *elf, const char *name,
		  uint32_t type, void *ret, size_t cap);

/* x86/decompress.c */

/** decompress_name() - "gzip", "xz" ... if the kernel has the magic number of one, else NULL */
const char *decompress_name(const struct boot *boot);

/**
 * decompress_kernel() - unpack the kernel on the host: from now on it is read from memory
 * Return: 0, or -errno after one logged line: -ENOEXEC damaged, -EFBIG unpacks to too much,
 *	-ENOTSUP the library is missing
 */
int decompress_kernel(struct boot *boot);

/* x86/boot-find.c */

/** boot_find_kernel_in() - boot_find_kernel() with another /boot and `uname -r`, for tests */
int boot_find_kernel_in(const char *boot_dir, const char *release, char **ret);

#endif
