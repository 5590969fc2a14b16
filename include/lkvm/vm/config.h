/*
 * What the user asked for: filled once by the option table of vm/options.c, read by everyone after.
 */
#ifndef LKVM_VM_CONFIG_H
#define LKVM_VM_CONFIG_H

#include "lkvm/console/keys.h"
#include "lkvm/ram.h"
#include "lkvm/virtio-balloon.h"
#include "lkvm/virtio-console.h"
#include "lkvm/virtio-gpu.h"
#include "lkvm/virtio-rng.h"
#include "lkvm/vnc.h"
#include "lkvm/vsock.h"
#include "lkvm/vm/gdb.h"
#include "lkvm/vm/dump.h"
#include "lkvm/vm/kernel-log.h"
#include "lkvm/x86/cpu.h"

#define CONFIG_MAX_INITRDS 16
#define CONFIG_TTYS 4 /* serial or console ports */

struct disk_config;
struct numa;
struct numa_option;
struct pmem_config;
struct fs_config;
struct net_config;
struct net_forward;
struct snapshot;

struct session_share {
	char *path, *at; /* heap: the host's folder, and where it is in the guest */
	bool read_only;
};

#define SESSION_ROOT_SERIAL "lkvm.root"

/* Lists of a kernel's modules that lkvm makes, as nobody else has: module-index.h */
struct session_lists {
	char *modules;   /* heap: the folder that they are of; NULL: none are made */
	bool built;      /* the kernel was built there */
	unsigned folder; /* vm_config's, in which they seem to be */
	uint64_t ino;    /* of @modules, when the guest was started */
};

/* `lkvm run -- CMD` */
struct session_config {
	bool wanted, has_command;
	bool dax;          /* of all its folders */
	char *const *argv; /* not copied; @shell if !has_command; NULL: none (--detach) */
	char *shell[2];    /* also with --restore, for a guest that runs nothing; [0] NULL: not wanted */
	char *root;        /* folder, heap; NULL: the host's own, or a disk */
	bool root_disk;    /* the one with the serial number SESSION_ROOT_SERIAL */
	struct session_share *shares; /* heap, n_shares of them */
	unsigned n_shares;
	char **hide, **env; /* heap, NULL at the end: paths; NAME=VALUE */
	unsigned n_hide, n_env;
	const char *cwd, *user; /* NULL: root */
	char *cwd_heap;
	char *overlay;          /* size of the writable layer as tmpfs takes it, heap; NULL: half of RAM */
	const char *kernel_log; /* file for the kernel's log, or NULL */
	struct session_lists lists;
};

/* Does a session go on from where another one was ready for its command? */
enum config_warm { WARM_ON, WARM_OFF, WARM_REFRESH };

enum config_limit { LIMIT_RUN, LIMIT_BOOT, LIMIT_IDLE, CONFIG_LIMITS };

struct vm_config {
	const char *name;   /* [A-Za-z0-9._-]{1,64}; default guest-PID */
	const char *kernel; /* never NULL after the kernel was chosen; with firmware alone it is that */
	const char *firmware; /* file, or NULL: it runs from the reset vector, and may be told of a kernel */
	const char *firmware_vars; /* file of its variables, or NULL; */
	bool vars_private; /* what is written to them goes with the machine */
	const char *initrd[CONFIG_MAX_INITRDS];
	unsigned n_initrds;
	char *params;     /* all -p joined with blanks, heap, or NULL */
	bool nodefaults;  /* no default kernel command line */
	bool no_acpi;     /* a device tree instead of ACPI tables */
	const char *dump_dtb; /* file for the device tree, or NULL */
	struct cpu_config cpu;
	unsigned cpus; /* 0: online CPUs of the host */
	struct cpu_topology topology; /* 0: not given; none is after run_choose_size() */
	struct ram_config ram;
	uint64_t mem_max; /* bytes, with what may be plugged; 0: none may. After run_choose_mem() RAM and whole blocks */
	struct numa_option *numa_options; /* heap, n_numa_options of them; vm/numa.h */
	unsigned n_numa_options;
	struct numa *numa; /* heap: what they come to (run_choose_numa()), or a snapshot's; NULL: no nodes */
	struct ram_policy *ram_policies; /* heap: @ram's */
	unsigned *pin; /* heap: vCPU n runs on the host's CPU pin[n % n_pin]; NULL: on any */
	unsigned n_pin;
	struct disk_config *disks; /* heap, n_disks of them; disk.h */
	unsigned n_disks;
	struct fs_config *folders; /* heap, n_folders of them; fs.h */
	unsigned n_folders;
	struct pmem_config *pmems; /* heap, n_pmems of them; pmem.h */
	unsigned n_pmems;
	struct net_config *nets; /* heap, n_nets of them; net.h */
	unsigned n_nets;
	struct net_forward *ports; /* heap, n_ports of them, of --port: the first user network's */
	unsigned n_ports;
	struct session_config session;
	enum config_warm warm;
	bool has_uuid;
	uint8_t uuid[16]; /* as SMBIOS has it */
	bool no_end_on_halt; /* a kernel that says that it has halted goes on */
	bool test_device;
	bool has_debug_exit;
	uint16_t debug_exit_port;
	bool console_virtio;      /* the console is hvc0, not ttyS0 */
	bool tty[CONFIG_TTYS];    /* 1 and up: this port leads to a pseudo terminal */
	bool virtio_mmio;         /* virtio devices over MMIO: no PCI */
	bool virtio_mmio_cmdline; /* announced on the kernel's command line only */
	bool no_rng;
	struct virtio_rng_config rng;
	bool has_vsock;
	struct vsock_config vsock;
	bool no_balloon;
	struct virtio_balloon_options balloon;
	bool has_gpu;
	struct virtio_gpu_options gpu;
	struct vnc_options vnc;
	struct virtio_console_options hvc;
	struct {
		const char *text; /* as it was given, NULL: none */
		uint64_t ns;      /* 0: none */
	} limit[CONFIG_LIMITS];   /* --timeout, --boot-timeout, --idle-timeout */
	unsigned reset_status;    /* exit status of a reset that no reboot announced */
	bool ktap;                /* results of tests are looked for */
	const char *junit;        /* file for them as JUnit XML, or NULL */
	unsigned fail_on;         /* enum kernel_log_kind: messages of the kernel that are forbidden */
	struct kernel_log_allow allow;
	unsigned debug_topics;    /* that were asked for so far: enum log_topic */
	const char *log;          /* file for a copy of the console's output, or NULL */
	struct console_keys keys; /* --escape */
	bool detach;              /* the guest runs on in the background */
	bool dry_run, verbose;    /* say what the machine is, and do not run it, or do */
	unsigned stop_timeout_s;  /* how long the end may take; 0: the default */
	bool no_socket;           /* nobody can ask this guest for anything */
	struct gdb_config gdb;
	const char *result;       /* file for the JSON result, or NULL */
	const char *trace;        /* file for events, or NULL */
	const char *report;       /* folder for what is known of a bad end, or NULL */
	struct dump_on dump_on;   /* a bad end leaves a dump */
	const char *restore;      /* folder of a snapshot that the machine goes on from, or NULL; */
	struct snapshot *snapshot; /* which is this one, */
	bool disks_rw;            /* whose disks are written, */
	bool clock_given, clock_host; /* and whose clock has counted the time since (--clock) */

	/* What some of the above point to where it is not argv; run_config_free() */
	char *name_heap, *kernel_heap, *vsock_heap, *gpu_heap, *firmware_heap, *vars_heap;
};

#endif
