/*
 * Boot protocols: put a kernel, its initrds and its command line into guest RAM and say in which
 * state the first vCPU starts. Main thread, before any vCPU runs.
 *
 * What the file is decides the protocol (the first match in the table of x86/boot.c):
 *
 *	bzImage    "HdrS" at 0x202        64-bit entry, or 32-bit entry where XLF_KERNEL_64 is not set
 *	multiboot  magic in first 8 KB    ELF or address fields; 32-bit entry
 *	ELF        vmlinux                PVH note, else its 64-bit entry with boot_params
 *	compressed gzip xz zstd lz4       unpacked on the host, then looked at again
 *	flat       anything else small    real mode at 0x1000:0
 */
#ifndef LKVM_X86_BOOT_H
#define LKVM_X86_BOOT_H

#include "lkvm/ram.h"

enum boot_mode {
	BOOT_REAL,        /* cs:ip = real_segment:rip: flat binary, bzImage without any other entry */
	BOOT_PROTECTED32, /* flat 4 GB segments, paging off: multiboot, PVH, bzImage's 32-bit entry */
	BOOT_LONG64,      /* identity map of the first 4 GB at LAYOUT_PAGE_TABLES */
};

/*
 * Selectors of the GDT at LAYOUT_GDT: the Linux boot protocol asks for these two, PVH for a task
 * register. Code is 64-bit for BOOT_LONG64, else 32-bit; both segments are flat. In long mode the
 * TSS descriptor takes two entries.
 */
#define BOOT_CS 0x10
#define BOOT_DS 0x18
#define BOOT_TR 0x20
#define BOOT_GDT_ENTRIES 6

/* State of the boot vCPU; x86/regs.c turns it into KVM_SET_SREGS and KVM_SET_REGS. */
struct boot_entry {
	enum boot_mode mode;
	uint64_t rip;
	uint64_t rax, rbx, rsi, rsp;
	uint16_t real_segment; /* BOOT_REAL: cs = ds = es = ss */
	const char *protocol;  /* for messages: "bzImage, 64-bit entry" */
};

struct acpi_config;

struct boot_config {
	const char *kernel;              /* path */
	const char *const *initrd;       /* paths (multiboot: modules; text after a blank is the module's command line) */
	unsigned n_initrds;
	const char *cmdline;             /* complete; NULL: none */
	const char *default_cmdline;     /* put in front for Linux only (bzImage and vmlinux); NULL: none */
	gpa_t rsdp;                      /* ACPI root pointer, 0 if none */
	uint64_t acpi_bytes;
	const struct acpi_config *machine; /* for the device tree; NULL: none of what follows */
	bool pass_dtb;                   /* give Linux a device tree (SETUP_DTB) */
	const char *dump_dtb;            /* write the device tree to this file; NULL: do not */
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

/* x86/boot-tables.c: also for the guests of `lkvm check` */

/** boot_tables_put() - GDT, and for BOOT_LONG64 the identity map; Return: 0 or -EFAULT */
int boot_tables_put(struct ram *ram, enum boot_mode mode);

/* x86/e820.c: the memory map that the guest is told, also for `lkvm debug --memmap` */
struct e820_range {
	uint64_t start, size_bytes;
	uint32_t type; /* 1 RAM, 2 reserved */
};
#define E820_MAX 8

/** e820_build() - Return: number of ranges, sorted, not overlapping */
unsigned e820_build(const struct ram *ram, struct e820_range ret[E820_MAX]);

#endif
