/*
 * The three parts of `lkvm run`: options (vm/options.c) -> machine (vm/vm.c) ->
 * exit status and result (vm/result.c), report (vm/report.c).
 */
#ifndef LKVM_VM_RUN_H
#define LKVM_VM_RUN_H

#include <stdio.h>

#include "lkvm/console.h"
#include "lkvm/console/pty.h"
#include "lkvm/kvm.h"
#include "lkvm/board.h"
#include "lkvm/options.h"
#include "lkvm/session.h"
#include "lkvm/vm/config.h"
#include "lkvm/vm/control.h"
#include "lkvm/vm/ktap.h"
#include "lkvm/x86/boot.h"

/* vm/options.c */

/*
 * Talk on the console from the first line on, end on a panic. The self-tests of the kernel's crypto
 * would take nearly half of the time to user space.
 */
#define RUN_CMDLINE(console) "console=" console " earlyprintk=ttyS0 panic=-1 cryptomgr.notests"
#define RUN_DEFAULT_CMDLINE  RUN_CMDLINE("ttyS0")
/* The first serial port leads to the same place: all goes there until the driver is loaded. */
#define RUN_VIRTIO_CMDLINE RUN_CMDLINE("hvc0")
/*
 * With a command its output is what counts, and the kernel's log comes another way. At a time-out the kernel
 * is asked where it is.
 */
#define RUN_SESSION_CMDLINE RUN_DEFAULT_CMDLINE " quiet sysrq_always_enabled"

extern const struct opt run_options[];
extern const struct opt_value run_clock_values[]; /* of --clock: keys.h */
extern const char run_description[];

/**
 * run_config_parse() - command line to configuration
 * Return: OPTIONS_OK, OPTIONS_HELP or OPTIONS_BAD (one line was logged); run_config_free() always
 */
enum options_result run_config_parse(const struct command *cmd, int argc, char **argv,
				     struct vm_config *ret);
void run_config_free(struct vm_config *cfg);

/* vm/options-cpu.c: parse() of --cpus, with its keys, --cpu and --pin */
extern const struct opt_key run_topology_keys[];
int run_parse_cpus(void *config, const struct opt *opt, const char *arg);
int run_parse_cpu(void *config, const struct opt *opt, const char *arg);
int run_parse_pin(void *config, const struct opt *opt, const char *arg);
/**
 * run_parse_ranges() - "0-3,8", with @separator in place of the comma
 * @add: called for each number, in order; what it returns ends that, if it is not 0
 * Return: 0, -EINVAL, or what @add returned; not logged
 */
int run_parse_ranges(const char *text, char separator, unsigned max, int (*add)(void *ctx, unsigned n), void *ctx);

/* vm/options-numa.c: parse() of --numa, its keys, and what it allocated */
extern const struct opt_key run_numa_keys[];
int run_parse_numa(void *config, const struct opt *opt, const char *arg);
void run_free_numa(struct vm_config *cfg);

/* vm/options-disk.c: -d, a struct opt's parse(), and what it allocated */
int run_parse_disk(void *config, const struct opt *opt, const char *arg);
int run_add_root_disk(struct vm_config *cfg, const struct opt *opt, const char *arg);
void run_free_disks(struct vm_config *cfg);

/** run_parse_fs(), run_parse_9p() - parse() of --fs and --9p: options-fs.c */
int run_parse_fs(void *config, const struct opt *opt, const char *arg);
int run_parse_9p(void *config, const struct opt *opt, const char *arg);
void run_free_folders(struct vm_config *cfg);

/* vm/options-mem.c: parse() of --mem-max, as ram_parse_size() */
int run_parse_mem_max(void *config, const struct opt *opt, const char *arg);
/** run_choose_mem() - when RAM and nodes are chosen: where memory may be plugged (cfg->ram.region); 0 or -errno, logged */
int run_choose_mem(struct vm_config *cfg);

/* vm/options-pmem.c: --pmem, and what it allocated */
int run_parse_pmem(void *config, const struct opt *opt, const char *arg);
void run_free_pmems(struct vm_config *cfg);

/* vm/options-net.c: -n, -P, and what they allocated */
int run_parse_net(void *config, const struct opt *opt, const char *arg);
int run_parse_port(void *config, const struct opt *opt, const char *arg);
/** run_take_ports() - when all options are known: give them to their network; 0 or -errno, logged */
int run_take_ports(struct vm_config *cfg);
void run_free_nets(struct vm_config *cfg);
void run_free_ports(struct vm_config *cfg);

/* vm/options-session.c: parse() of --root, --ro and --rw, --hide, --overlay-size, --dax, --env */
int run_parse_root(void *config, const struct opt *opt, const char *arg);
int run_parse_share(void *config, const struct opt *opt, const char *arg);
int run_parse_hide(void *config, const struct opt *opt, const char *arg);
int run_parse_dax(void *config, const struct opt *opt, const char *arg);
int run_parse_overlay(void *config, const struct opt *opt, const char *arg);
int run_parse_env(void *config, const struct opt *opt, const char *arg);
/* The same for another command's session_config: one --env; all that a command needs; 0 or -errno, logged */
int run_env_add(struct session_config *s, const struct opt *opt, const char *arg);
int run_env_fill(struct session_config *s);
void run_env_free(struct session_config *s);
/** run_take_command() - the words behind `--`, and what the session has by default; 0 or -errno, logged */
int run_take_command(struct vm_config *cfg, char **words, int n);
/** run_take_shell() - a shell, should a guest of a snapshot run no command; 0 or -errno, logged */
int run_take_shell(struct vm_config *cfg);
void run_free_session(struct vm_config *cfg);

/* vm/ttys.c */

struct run_ttys {
	struct console *console[CONFIG_TTYS]; /* the first is standard input and output; NULL: nowhere */
	struct pty pty[CONFIG_TTYS];
};

/**
 * run_ttys_open() - a pseudo terminal for each --tty
 * Return: 0 or -errno, logged; run_ttys_close() in either case
 */
int run_ttys_open(struct run_ttys *ttys, const struct vm_config *cfg, struct loop *loop,
		  struct console *first);
/** run_ttys_start() - say what their names are, and read input from now on; 0 or -errno, logged */
int run_ttys_start(struct run_ttys *ttys, const struct vm_config *cfg);
void run_ttys_close(struct run_ttys *ttys, const struct vm_config *cfg);

/* vm/result-file.c: --result FILE */

struct run_file {
	char *path; /* what will be replaced; heap, or NULL */
	int fd;     /* what is written to as it is, or -1 */
};

/**
 * run_file_open() - remove an older file of this name, and see that a new one can be made
 * @name: "-" is standard output; NULL: none
 * Return: 0 or -errno, not logged; run_file_close() in either case
 */
int run_file_open(struct run_file *file, const char *name);
/** run_file_write() - all of it, then run_file_close(); 0 or -errno, not logged: the file is not there */
int run_file_write(struct run_file *file, const char *text, size_t len);
void run_file_close(struct run_file *file);

/* vm/result.c */

/* struct run_result.value of STOP_REQUEST */
enum { RUN_STOP_COMMAND, RUN_QUIT_KEY };

/* How a run ended. */
struct run_result {
	enum stop_cause cause; /* STOP_NONE: it never started */
	uint32_t value;        /* of the cause */
	bool rebooted;         /* STOP_RESET: the guest's kernel had announced it */
	bool kvm_failed;       /* STOP_FAULT: not by the guest's doing */
	bool output_failed;    /* standard output has not taken all; @error says why */
	bool hung;             /* it was left behind as it did not end; @error says what hangs */
	bool silent;           /* the guest has printed nothing */
	bool panicked;         /* it has panicked at some time; run_judge() */
	bool has_command;      /* `-- CMD`: was one wanted, */
	bool command_ended;    /* and has it ended? Then: */
	struct session_exit command;
	bool warm;             /* it went on from a warm start, in place of booting */
	uint64_t hello_ns;     /* when the session's init was up, 0: never */
	int status;            /* exit status of lkvm; run_judge() */
	const char *reason;    /* the same as a word; run_judge() */
	uint64_t start_ns;     /* CLOCK_MONOTONIC: lkvm was started, */
	uint64_t boot_ns;      /* the vCPUs were started (0: never), */
	uint64_t end_ns;       /* and had ended */
	const char *panic;     /* the panic's line, or NULL */
	const struct kernel_log *kernel_log; /* what --fail-on forbids; NULL: nobody looked */
	const struct ktap *ktap[2]; /* --ktap: the kernel's log, the command's output; NULL: not looked at */
	char last_lines[4096];  /* of the guest's console, or "" */
	const struct look *look; /* what was in its memory when it ended badly; NULL: nobody looked */
	char *fault;            /* STOP_FAULT: why, in one line; heap, or NULL */
	char error[1024];       /* what lkvm itself failed at, or "" */
	char release[128];      /* of the guest's kernel, or "" */
	char *cmdline;          /* that it was given; heap, or NULL */
	char **argv;            /* lkvm's arguments, NULL at the end; heap, or NULL */
};

/**
 * run_note_kernel() - vm/boot.c: copy what report and result need, before the guest can change it
 * Return: 0 or -ENOMEM, logged
 */
int run_note_kernel(struct run_result *result, const struct boot_entry *entry);
/** run_limit_name() - the option whose time has passed, by STOP_TIMEOUT's value */
const char *run_limit_name(uint32_t value);
/** run_command_status() - that of a command as a shell has it */
int run_command_status(const struct session_exit *how);
/** run_judge() - fill in status, reason and panicked from what else is in there */
void run_judge(struct run_result *result, const struct vm_config *cfg);
/** run_result_write() - as JSON; 0 or -errno, not logged; @file is closed */
int run_result_write(struct run_file *file, const struct vm_config *cfg,
		     const struct run_result *result);
/** run_junit_write() - likewise, the tests as JUnit XML */
int run_junit_write(struct run_file *file, const struct vm_config *cfg, const struct run_result *result);

/* vm/ram.c */

/**
 * run_choose_size() - number of CPUs and size of RAM, where they were not given; warnings about them
 * Return: 0; -EINVAL, logged: the CPUs cannot be arranged as asked for; -ENOMEM, logged: --mem-prealloc
 *	would take more than there is
 */
int run_choose_size(struct vm_config *cfg);

/** run_choose_cpus() - vm/topology.c: the part of it that is about CPUs; no level of cfg->topology is zero then */
int run_choose_cpus(struct vm_config *cfg);

/* vm/boot.c */

struct virtio_list;

/** run_smbios() - the tables of the machine that @cfg asks for, by smbios_build(), whose returns it has */
int run_smbios(const struct vm_config *cfg, struct ram *ram, gpa_t at, gpa_t *ret_end);
/**
 * run_boot() - build the tables, load the kernel and all that goes with it
 * @made: one more initrd, or NULL
 * Return: 0 or -errno, logged
 */
int run_boot(const struct vm_config *cfg, struct ram *ram, const struct virtio_list *virtio,
	     const struct boot_made *made, struct boot_entry *ret);

/* vm/describe.c */

/** run_no_board() - for devices of a machine that is only shown */
struct board run_no_board(void);
/**
 * run_describe() - the machine as text: kernel, command line, devices, memory map
 * @machine: only what control_memmap() looks at need be there
 */
void run_describe(FILE *out, const struct control *machine, const struct boot_entry *entry,
		  const char *cmdline);

/* vm/report.c */

/** run_report() - tell the user on standard error about every ending but a good one; last the reason */
void run_report(const struct kvm *kvm, const struct vm_config *cfg, const struct run_result *result);

#endif
