/*
 * What the boot protocols share with x86/boot/boot.c; nobody else includes this.
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

/* Enough to find a multiboot2 header, which may end anywhere in 32 KB, and the magic of an ISO image */
#define BOOT_HEAD_BYTES 0x9000
/* A kernel with all its debug information is a few times larger than what of it is loaded. */
#define BOOT_FILE_RAM_MULTIPLE 4

struct boot_file {
	const char *what; /* "kernel", "initrd", "module": for messages */
	const char *name; /* as the user wrote it, likewise */
	int fd;
	uint64_t size_bytes;
	uint64_t base; /* where it begins in the file or in memory */
	uint8_t *mem;  /* the contents, of a pipe or once unpacked on the host; else NULL */
	uint64_t mem_bytes;
	bool borrowed; /* fd and mem are another's */
};

/* A stretch of guest memory that is no longer free */
struct boot_range {
	uint64_t start, end;
	const char *what;
};

#define BOOT_MAX_TAKEN 96 /* ELF_MAX_SEGMENTS, and what lkvm itself places */

struct linux_initrd {
	uint64_t start;
	uint64_t size_bytes; /* 0: none */
};

struct boot {
	struct ram *ram;
	const struct boot_config *cfg;
	struct boot_entry *entry;
	struct boot_file kernel;
	struct boot_file own_initrd; /* what a unified kernel image brings along; no bytes: none */
	char *own_cmdline;           /* likewise, on the heap; NULL: none */
	uint8_t head[BOOT_HEAD_BYTES]; /* first bytes of the kernel, zeros behind its end */
	size_t head_len;
	struct boot_range taken[BOOT_MAX_TAKEN];
	unsigned n_taken;
	uint64_t info_next; /* first free byte in [LAYOUT_BOOT_INFO, LAYOUT_BOOT_INFO_END) */
	/* What has been placed so far, for the device tree */
	const char *cmdline; /* in guest RAM; NULL: none */
	uint64_t cmdline_at; /* its guest address */
	struct linux_initrd initrd;
	bool took_made; /* cfg->made is in there */
};

struct boot_protocol {
	bool (*match)(const struct boot *boot);
	int (*load)(struct boot *boot);
};

extern const struct boot_protocol bzimage_protocol, uki_protocol, multiboot_protocol,
	multiboot2_protocol, vmlinux_protocol, flat_protocol;

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

/* x86/boot/file.c */

/**
 * boot_file_open() - open a regular file, or read a pipe to its end; anything else is refused
 * Waits for a pipe's writer, but not for one to come.
 * Return: 0, or -errno after one logged line; then there is nothing to close
 */
int boot_file_open(const struct ram *ram, struct boot_file *file, const char *what,
		   const char *name);
void boot_file_close(struct boot_file *file);

/** boot_file_most() - the most bytes that a pipe or a compressed file may come to */
uint64_t boot_file_most(const struct ram *ram);

/** boot_file_part() - [@off, @off + @len) of @whole, which stays open longer; caller checked both */
void boot_file_part(const struct boot_file *whole, uint64_t off, uint64_t len, const char *what,
		    struct boot_file *ret);

/** boot_reserve() - memory that takes none until it is written; NULL if there is no room; munmap() it */
void *boot_reserve(size_t len);

/* x86/boot/boot.c */

/** boot_read_head() - fill in @boot->head; Return: 0, or -errno after one logged line */
int boot_read_head(struct boot *boot);

/* x86/boot/judge.c */

/**
 * boot_judge_unknown() - is a file that no protocol fits clearly something else than code?
 * @packed: the compression that it was unpacked from, or NULL
 * Return: 0, or -ENOEXEC after one logged line that says what it is
 */
int boot_judge_unknown(const struct boot *boot, const char *packed);

/** boot_file_read() - read exactly @len bytes; Return: 0, or -errno after one logged line */
int boot_file_read(const struct boot_file *file, uint64_t off, void *dst, uint64_t len);

/** boot_file_to_ram() - the same, from the page cache straight into the guest's RAM */
int boot_file_to_ram(const struct boot_file *file, uint64_t off, const struct ram *ram, gpa_t dst,
		     uint64_t len);

/** boot_segment_to_ram() - the same for @filesz bytes, with zeros behind them up to @memsz */
int boot_segment_to_ram(const struct boot_file *file, uint64_t off, uint64_t filesz,
			const struct ram *ram, gpa_t dst, uint64_t memsz);

/* x86/boot/place.c */

/** boot_low_end() - end of the RAM below the gap: nothing is loaded above it */
uint64_t boot_low_end(const struct ram *ram);

/** boot_low() - guest memory that is known to be RAM: below 1 MB, or from boot_alloc() */
void *boot_low(const struct ram *ram, uint64_t at, uint64_t len);

/**
 * boot_claim() - @len bytes of the kernel go to @at
 * They must be in RAM below the gap and leave alone what stands in [LAYOUT_EBDA, LAYOUT_HIGH).
 * Parts of a kernel may overlap. All claims come before the first boot_alloc().
 * Return: 0, or -EFBIG (no RAM there) or -ENOEXEC (in the way) after one logged line
 */
int boot_claim(struct boot *boot, uint64_t at, uint64_t len);

#define BOOT_HINT_BYTES 48

/** boot_size_hint() - "; -m N has room for it", or nothing if no RAM can be there; Return: @ret */
const char *boot_size_hint(uint64_t at, uint64_t len, char ret[BOOT_HINT_BYTES]);

/** boot_take() - mark a place that the caller has found free; 0, or -ENOEXEC (logged) */
int boot_take(struct boot *boot, uint64_t at, uint64_t len, const char *what);

/** boot_taken_end() - end of the highest claim or allocation, at least LAYOUT_HIGH */
uint64_t boot_taken_end(const struct boot *boot);

/**
 * boot_alloc() - room for something of lkvm's own, away from the kernel
 * At @want if that is free, else in low RAM, else above the kernel.
 * @what:  for messages
 * @align: power of two; @want is a multiple of it
 * Return: 0, or -EFBIG after one logged line if no place is left
 */
int boot_alloc(struct boot *boot, const char *what, uint64_t want, uint64_t len, uint64_t align,
	       uint64_t *ret);

/**
 * boot_info_alloc() - zeroed room for a table that the guest gets a pointer to
 * @align: power of two
 * Return: 0, or -EFBIG after one logged line
 */
int boot_info_alloc(struct boot *boot, size_t len, size_t align, gpa_t *ret_at, void **ret_host);

/** boot_info_string() - a copy of @str for the guest, NUL included */
int boot_info_string(struct boot *boot, const char *str, gpa_t *ret_at);

/**
 * boot_cmdline_put() - write the parts with a blank between them, set @boot->cmdline_at
 * @part: may be NULL or empty
 * @max_bytes: what the kernel takes, without the NUL
 * Return: 0, or -EFBIG after one logged line: it is never cut
 */
#define BOOT_CMDLINE_PARTS 3
int boot_cmdline_put(struct boot *boot, const char *const part[BOOT_CMDLINE_PARTS],
		     uint64_t max_bytes);

/* x86/boot/linux.c: what bzImage and vmlinux have in common */

struct setup_header;

/* What the shared part must know about a kernel that was placed. */
struct linux_image {
	uint64_t initrd_max;    /* highest address of the initrd's last byte, as the header says */
	bool initrd_anywhere;   /* it can be higher, above 4 GB too */
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

/* x86/boot/dtb.c: the device tree, as far as it is wanted */

/**
 * boot_dtb_build() - the machine of the configuration, and what has been placed
 * @ret: heap, free() it
 * Return: 0, or -errno after one logged line
 */
int boot_dtb_build(const struct boot *boot, void **ret, size_t *ret_bytes);

/** boot_dtb_dump() - write it to the file that was asked for; 0, or -errno after one logged line */
int boot_dtb_dump(const struct boot *boot);

/* x86/boot/elf.c: the reader for vmlinux and multiboot */

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
};

bool elf_match(const struct boot *boot);

/**
 * elf_read() - judge the ELF header, read and judge the program headers
 * Return: 0, or -ENOEXEC after one logged line that says what is wrong
 */
int elf_read(const struct boot *boot, struct elf_image *ret);

/** elf_load() - copy the PT_LOAD segments to their physical addresses, zero what follows them */
int elf_load(struct boot *boot, const struct elf_image *elf);

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

/* x86/boot/decompress.c */

/** decompress_name() - "gzip", "xz" ... if the kernel has the magic number of one, else NULL */
const char *decompress_name(const struct boot *boot);

/**
 * decompress_kernel() - unpack the kernel on the host: from now on it is read from memory
 * Return: 0, or -errno after one logged line: -ENOEXEC damaged, -EFBIG unpacks to too much,
 *	-ENOTSUP the library is missing
 */
int decompress_kernel(struct boot *boot);

#endif
