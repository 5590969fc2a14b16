/*
 * The three parts of `lkvm run`: options (builtin-run-options.c) -> machine (builtin-run.c) ->
 * exit status, report and --result (builtin-run-result.c).
 */
#ifndef LKVM_RUN_H
#define LKVM_RUN_H

#include <stdio.h>

#include "lkvm/config.h"
#include "lkvm/console.h"
#include "lkvm/kvm.h"
#include "lkvm/options.h"
#include "lkvm/pty.h"

/* builtin-run-options.c */

/*
 * Talk on the console from the first line on, end on a panic. The self-tests of the kernel's crypto
 * would take nearly half of the time to user space.
 */
#define RUN_CMDLINE(console) "console=" console " earlyprintk=ttyS0 panic=-1 cryptomgr.notests"
#define RUN_DEFAULT_CMDLINE  RUN_CMDLINE("ttyS0")
/* The first serial port leads to the same place: all goes there until the driver is loaded. */
#define RUN_VIRTIO_CMDLINE RUN_CMDLINE("hvc0")

extern const struct opt run_options[];
extern const char run_description[];

/**
 * run_config_parse() - command line to configuration
 * Return: OPTIONS_OK, OPTIONS_HELP or OPTIONS_BAD (one line was logged); run_config_free() always
 */
enum options_result run_config_parse(const struct command *cmd, int argc, char **argv,
				     struct vm_config *ret);
void run_config_free(struct vm_config *cfg);

/* builtin-run-disk.c: -d, a struct opt's parse(), and what it allocated */
int run_parse_disk(void *config, const struct opt *opt, const char *arg);
void run_free_disks(struct vm_config *cfg);

/* builtin-run-tty.c */

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

/* builtin-run-result.c */

/* How a run ended. */
struct run_result {
	enum stop_cause cause; /* STOP_NONE: it never started */
	uint32_t value;        /* of the cause */
	int status;            /* exit status of lkvm */
	uint64_t start_ns;     /* CLOCK_MONOTONIC: lkvm was started, */
	uint64_t boot_ns;      /* the vCPUs were started (0: never), */
	uint64_t end_ns;       /* and had ended */
	const char *panic;     /* the panic's line, or NULL */
	const char *last_lines; /* of the guest's console, or NULL */
	char *fault;            /* STOP_FAULT: why, in one line; heap, or NULL */
};

/** run_status() - the exit status of a cause; the table of lkvm-run(1) */
int run_status(enum stop_cause cause, uint32_t value, bool panicked);

/**
 * run_result_open() - --result FILE: create it before anything is started, empty
 * @ret: NULL if the option was not given
 * Return: 0 or -errno, logged
 */
int run_result_open(const struct vm_config *cfg, FILE **ret);
/** run_result_close() - write the result as JSON and close @out; takes NULL; 0 or -errno, logged */
int run_result_close(FILE *out, const struct vm_config *cfg, const struct run_result *result);

/** run_result_print() - tell the user on standard error about every ending but a good one */
void run_result_print(const struct kvm *kvm, const struct vm_config *cfg,
		      const struct run_result *result);

#endif
