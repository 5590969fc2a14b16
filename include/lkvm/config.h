/*
 * What the user asked for: filled once by builtin-run.c's option table, read by everyone after.
 */
#ifndef LKVM_CONFIG_H
#define LKVM_CONFIG_H

#include "lkvm/ram.h"

#define CONFIG_MAX_INITRDS 16
#define CONFIG_MAX_CPU_FLAGS 32
#define CONFIG_TTYS 4 /* serial or console ports */

struct disk_config;

struct vm_config {
	const char *name;   /* [A-Za-z0-9._-]{1,64}; default guest-PID */
	const char *kernel; /* never NULL after the kernel was chosen */
	const char *initrd[CONFIG_MAX_INITRDS];
	unsigned n_initrds;
	char *params;     /* all -p joined with blanks, heap, or NULL */
	bool nodefaults;  /* no default kernel command line */
	bool no_acpi;     /* a device tree instead of ACPI tables */
	const char *dump_dtb; /* file for the device tree, or NULL */
	const char *cpu_flag[CONFIG_MAX_CPU_FLAGS]; /* "-avx2", "+x2apic" */
	unsigned n_cpu_flags;
	unsigned cpus; /* 0: online CPUs of the host */
	struct ram_config ram;
	struct disk_config *disks; /* heap, n_disks of them; disk.h */
	unsigned n_disks;
	bool has_debug_exit;
	uint16_t debug_exit_port;
	bool console_virtio;      /* the console is hvc0, not ttyS0 */
	bool tty[CONFIG_TTYS];    /* 1 and up: this port leads to a pseudo terminal */
	bool virtio_mmio;         /* virtio devices over MMIO: no PCI */
	bool virtio_mmio_cmdline; /* announced on the kernel's command line only */
	bool no_rng;
	bool rng_packed, console_packed; /* they offer packed rings */
	unsigned timeout_s;       /* 0: none */
	const char *result;       /* file for the JSON result, or NULL */

	/* What some of the above point to where it is not argv; run_config_free() */
	char *name_heap, *kernel_heap, *cpu_flags_heap;
};

#endif
