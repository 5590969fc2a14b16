/*
 * `lkvm check`: can this host run guests? Found out by running some: CPUID flags and loaded modules
 * tell what ought to work, not what does.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/builtin.h"
#include "lkvm/clock.h"
#include "lkvm/log.h"
#include "lkvm/vm/vm.h"
#include "lkvm/x86/boot.h"
#include "lkvm/x86/cpu-model.h"
#include "lkvm/x86/layout.h"

#define TRIAL_OK	 0x2a /* x86/cpu/trial.S */
#define TRIAL_RAM_BYTES	 (4 * MIB)
#define TRIAL_TIMEOUT_NS (5 * NS_PER_S)

struct check_config {
	bool cpu_json;
};

extern const uint8_t trial_real[], trial_real_end[], trial_long[], trial_long_end[];

struct trial {
	const char *name;
	const uint8_t *code, *code_end;
	enum boot_mode mode;
	const char *failures[3]; /* by the number that the guest reports */
};

static const struct trial trials[] = {
	{ "real-mode guest", trial_real, trial_real_end, BOOT_REAL,
	  { NULL, "its arithmetic is wrong", NULL } },
	{ "long-mode guest with SSE and interrupts", trial_long, trial_long_end, BOOT_LONG64,
	  { NULL, "its SSE arithmetic is wrong", "its interrupt did not arrive" } },
};

/* One trial: a machine as `lkvm run` makes it, but with a few bytes of ours in place of a kernel. */
struct attempt {
	const struct trial *trial;
	struct vm_config cfg;
	struct run_result result;
	struct vm *vm;
};

static struct boot_entry entry_of(const struct trial *trial)
{
	return (struct boot_entry){
		.mode = trial->mode,
		.rip = trial->mode == BOOT_REAL ? 0 : LAYOUT_FLAT,
		.rsp = trial->mode == BOOT_REAL ? 0xfff0 : LAYOUT_STACK_TOP,
		.gdt = LAYOUT_GDT,
		.page_tables = LAYOUT_PAGE_TABLES,
		.real_segment = LAYOUT_FLAT >> 4,
	};
}

static int load(void *ctx, struct ram *ram, struct boot_entry *ret)
{
	const struct trial *trial = ((struct attempt *)ctx)->trial;
	const size_t len = (size_t)(trial->code_end - trial->code);
	int err;

	*ret = entry_of(trial);
	err = boot_tables_put(ram, ret);
	if (!err)
		err = ram_write(ram, GPA(LAYOUT_FLAT), trial->code, len);
	return err ? log_err(err, "guest RAM") : 0;
}

/* The reason stands beside the result, not on another stream. */
static void print_failure(void)
{
	char text[1024];

	log_last_error(text, sizeof(text));
	printf("FAILED: %s\n", text);
}

static bool judge(const struct attempt *a)
{
	const struct run_result *r = &a->result;
	const char *known = r->value < ARRAY_SIZE(a->trial->failures) ? a->trial->failures[r->value] : NULL;

	switch (r->cause) {
	case STOP_DEBUG_EXIT:
		if (r->value == TRIAL_OK)
			return true;
		printf("FAILED: %s\n", known ? known : "it went astray");
		break;
	case STOP_FAULT:
		printf("FAILED: %s\n", r->fault ? r->fault : "it could not go on");
		break;
	default:
		printf("FAILED: it did not end\n");
	}
	return false;
}

static bool try_machine(struct attempt *a)
{
	const struct vm_setup setup = {
		.config = &a->cfg,
		.result = &a->result,
		.in_fd = -1,
		.out_fd = -1,
		.ctx = a,
		.load = load,
	};
	bool ran;

	if (vm_new(&setup, &a->vm))
		return false;
	ran = !vm_build(a->vm) && !vm_run(a->vm);
	if (!vm_end(a->vm))
		vm_free(a->vm);
	return ran;
}

static bool try_guest(const struct trial *trial)
{
	struct attempt a = {
		.trial = trial,
		.cfg = {
			.name = "check",
			.cpus = 1,
			.ram.size_bytes = TRIAL_RAM_BYTES,
			.has_debug_exit = true,
			.debug_exit_port = PORT_DEBUG_EXIT,
			.limit[LIMIT_RUN].ns = TRIAL_TIMEOUT_NS,
			.no_rng = true,
			.no_balloon = true,
			.no_socket = true,
		},
	};
	bool ok = false;

	printf("%-42s", trial->name);
	fflush(stdout);
	if (try_machine(&a))
		ok = judge(&a);
	else
		print_failure();
	if (ok)
		printf("ok\n");
	free(a.result.fault);
	return ok;
}

static bool cpu_has_virtualization(void)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[8192];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = !strncmp(line, "flags", 5) && (strstr(line, " vmx") || strstr(line, " svm"));
	if (f)
		fclose(f);
	return found;
}

static void print_firmware_advice(void)
{
	if (cpu_has_virtualization())
		printf("Its CPU has hardware virtualization: load the module with `modprobe kvm_intel` or\n"
		       "`modprobe kvm_amd`.\n");
	else
		printf("Its CPU shows neither VT-x (vmx) nor AMD-V (svm). On a real machine, switch\n"
		       "virtualization on in the firmware set-up; in a virtual machine, let its host\n"
		       "pass it on (nested virtualization: CPU type 'host').\n");
}

static void print_advice(bool have_vm)
{
	printf("\nThis host cannot run Linux guests.\n");
	if (!have_vm && !access("/dev/kvm", F_OK))
		printf("Its KVM cannot be used; the reason stands above.\n");
	else if (!have_vm || !cpu_has_virtualization())
		print_firmware_advice();
	else
		printf("Its KVM creates virtual machines, but does not run them properly: see the\n"
		       "kernel's messages (dmesg).\n");
}

static bool try_vm(void)
{
	struct kvm kvm;
	bool ok;

	printf("%-42s", "virtual machine");
	fflush(stdout);
	ok = !kvm_open(&kvm);
	kvm_close(&kvm);
	if (ok)
		printf("ok\n");
	else
		print_failure();
	return ok;
}

static int print_cpu(void)
{
	struct cpu_model *model = NULL;
	struct kvm kvm;
	int err = kvm_open(&kvm);

	if (!err)
		err = cpu_model_of_host(kvm.dev_fd, kvm.tsc_deadline, &model);
	if (!err)
		cpu_model_write(model, stdout);
	kvm_close(&kvm);
	cpu_model_free(model);
	if (!err && fflush(stdout))
		err = log_err(-errno, "write the CPU model");
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	struct check_config cfg = { 0 };
	enum options_result result;
	bool have_vm, ok;
	int operands;

	result = options_parse(cmd, &cfg, argc, argv, &operands, NULL);
	if (result != OPTIONS_OK)
		return options_status(result);
	if (cfg.cpu_json)
		return print_cpu();
	log_hold_errors(true);
	ok = have_vm = try_vm();
	for (size_t i = 0; ok && i < ARRAY_SIZE(trials); i++)
		ok = try_guest(&trials[i]);
	if (ok)
		printf("\nThis host can run Linux guests.\n");
	else
		print_advice(have_vm);
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

static const struct opt check_options[] = {
	{ .kind = OPT_FLAG, .name = "cpu-json", .offset = offsetof(struct check_config, cpu_json),
	  .help = "Instead, print the CPU that this host can give a guest, as JSON: a file for `lkvm run --cpu`. It has "
		  "what KVM supports of CPUID, and the MSRs that tell what the CPU can do." },
	OPT_END,
};

const struct command check_command = {
	.name = "check",
	.summary = "Tell whether this host can run guests",
	.operands = "",
	.description =
		"Tries to create a virtual machine and to run small guests in it: one in real mode, one\n"
		"in long mode that uses SSE and takes an interrupt. Names what is missing and how to get\n"
		"it. Exit status: 0 if Linux guests can be run, 1 if not.",
	.opts = check_options,
	.run = run,
};
