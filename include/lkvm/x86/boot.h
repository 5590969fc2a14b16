/*
 * Boot protocols: put a kernel, its initrds and its command line into guest RAM and say in which
 * state the first vCPU starts. Main thread, before any vCPU runs.
 *
 * What the file is decides the protocol (the first match in the table of x86/boot/boot.c):
 *
 *	bzImage    "HdrS" at 0x202        64-bit entry, or 32-bit entry where XLF_KERNEL_64 is not set
 *	UKI        PE with .linux         what is in its sections, as if given one by one
 *	multiboot  magic in first 8 KB    ELF or address fields; 32-bit entry
 *	multiboot2 magic in first 32 KB   likewise
 *	ELF        PVH note               what it says
 *	           linked as Linux, banner  its 64-bit entry with boot_params; all others are refused
 *	compressed x86/boot/decompress-codecs.c  unpacked on the host, then looked at again
 *	flat       anything else small    real mode at 0x1000:0, with a warning, unless x86/boot/judge.c
 *	                                  knows what it is
 */
#ifndef LKVM_X86_BOOT_H
#define LKVM_X86_BOOT_H

#include "lkvm/ram.h"

enum boot_mode {
	BOOT_REAL,        /* cs:ip = real_segment:rip: flat binary, bzImage without any other entry */
	BOOT_PROTECTED32, /* flat 4 GB segments, paging off: multiboot, PVH, bzImage's 32-bit entry */
	BOOT_LONG64,      /* identity map of the first 4 GB */
	BOOT_RESET,       /* as a CPU is reset: firmware */
};

/*
 * Selectors of the boot GDT: the Linux boot protocol asks for these two, PVH for a task
 * register. Code is 64-bit for BOOT_LONG64, else 32-bit; both segments are flat. In long mode the
 * TSS descriptor takes two entries.
 */
#define BOOT_CS 0x10
#define BOOT_DS 0x18
#define BOOT_TR 0x20
#define BOOT_GDT_ENTRIES 6

/* State of the boot vCPU; x86/cpu/regs.c turns it into KVM_SET_SREGS and KVM_SET_REGS. */
struct boot_entry {
	enum boot_mode mode;
	uint64_t rip;
	uint64_t rax, rbx, rsi, rsp;
	uint64_t gdt, page_tables; /* where boot_tables_put() puts them; unused ones are 0 */
	uint16_t real_segment; /* BOOT_REAL: cs = ds = es = ss */
	const char *protocol;  /* for messages: "bzImage, 64-bit entry" */
	char release[65];      /* of Linux, as the file tells it; "" unknown; not to be trusted */
	const char *cmdline;   /* in guest RAM, so valid until a vCPU runs; NULL: none */
};

struct hardware;

/* An initrd that is made on the spot: written straight to where it shall be, once */
struct boot_made {
	const char *name; /* for messages */
	uint64_t bytes;
	void (*write)(const void *ctx, void *dst); /* all @bytes */
	uint32_t (*sum)(const void *ctx);          /* CRC-32C of them */
	const void *ctx;
};

/* Pixels of 0x00RRGGBB in lines of @width, for a kernel's console before it has a driver; width 0: none */
struct boot_framebuffer {
	uint64_t at;
	uint32_t width, height;
};

struct boot_config {
	const char *kernel;              /* path of a file, a pipe, or the folder where one was built */
	const char *const *initrd;       /* paths of files or pipes (multiboot: modules; text after a blank is the module's command line) */
	unsigned n_initrds;
	const struct boot_made *made;    /* one more, behind these, for Linux only; NULL: none */
	const char *cmdline;             /* complete; NULL: none */
	const char *default_cmdline;     /* put in front for Linux only (bzImage and vmlinux); NULL: none */
	struct boot_framebuffer framebuffer; /* that Linux is told of, and takes if it is below 4 GB */
	gpa_t rsdp;                      /* ACPI root pointer, 0 if none */
	uint64_t acpi_bytes;
	const struct hardware *hardware; /* for the device tree; NULL: none of what follows */
	bool pass_dtb;                   /* give Linux a device tree (SETUP_DTB) */
	const char *dump_dtb;            /* write the device tree to this file; NULL: do not */
	bool want_release;               /* also where it takes milliseconds to find: in an ELF file */
};

/**
 * boot_load() - load everything that the first instruction needs
 * Writes kernel, initrds, command line, boot_params (or start info, multiboot info), GDT and page
 * tables into @ram. Every size in the file is checked against the file and against the RAM.
 * Return: 0, or -errno after one logged line that names the file and what is wrong with it:
 *	-ENOENT, -EACCES, -EISDIR, -ENOEXEC (damaged, truncated, wrong architecture),
 *	-EFBIG (does not fit: both numbers are in the message), -ENOTSUP (library missing)
 */
int boot_load(struct ram *ram, const struct boot_config *cfg, struct boot_entry *ret);

/** boot_find_kernel() - no kernel was named: ./bzImage, arch/x86/boot/bzImage, ./vmlinux,
 * /boot/vmlinuz-$(uname -r), then the newest /boot/vmlinuz-*.
 * Return: 0 and a heap string, or -ENOENT (not logged)
 */
int boot_find_kernel(char **ret);

/** boot_find_kernel_in() - the same with another /boot and `uname -r` */
int boot_find_kernel_in(const char *boot_dir, const char *release, char **ret);

/**
 * boot_find_in_tree() - the kernel in the folder where one was built
 * Return: 0 and a heap string; -ENOTDIR @path is no folder, -ENOENT none in it (not logged)
 */
int boot_find_in_tree(const char *path, char **ret);

/**
 * boot_tree_len() - how much of the path @image is the folder where it was built, if it is such an image,
 * or else the one that it lies in: with the slash at its end, 0 for the current one
 */
size_t boot_tree_len(const char *image);

/* x86/boot/banner.c */

#define BOOT_RELEASE_BYTES 65 /* of Linux, with the NUL: __NEW_UTS_LEN and one */
#define BOOT_BANNER_BYTES  80 /* by so many must pieces overlap that are searched one by one */

/** boot_banner() - the release of Linux whose first message stands in @p; Return: is one there? */
bool boot_banner(const char *p, size_t len, char ret[BOOT_RELEASE_BYTES]);

/* x86/boot/tables.c: also for the guests of `lkvm check` */

#define BOOT_PAGE_TABLES_BYTES (6 * 4096)

/**
 * boot_tables_put() - what the mode of @entry needs, at the addresses in there: a GDT, and for
 * BOOT_LONG64 the identity map, on a page boundary
 * Return: 0, -EFAULT or -EINVAL
 */
int boot_tables_put(struct ram *ram, const struct boot_entry *entry);

/* x86/boot/e820.c: the memory map that the guest is told, also for `lkvm debug --memmap` */
struct e820_range {
	uint64_t start, size_bytes;
	uint32_t type; /* 1 RAM, 2 reserved */
};
#define E820_MAX 8

/** e820_build() - Return: number of ranges, sorted, not overlapping */
unsigned e820_build(const struct ram *ram, struct e820_range ret[E820_MAX]);

/**
 * boot_compression() - the @i-th way in which a kernel may be compressed, NULL after the last
 * @ret_usable: was it built in, and is its library on this host?
 */
const char *boot_compression(unsigned i, bool *ret_usable);

#endif
