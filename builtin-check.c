/*
 * `lkvm check`: can this host run guests? Found out by running some: CPUID flags and loaded modules
 * tell what ought to work, not what does.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/builtin.h"
#include "lkvm/chips.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/log.h"
#include "lkvm/x86/boot.h"
#include "lkvm/x86/cpu.h"
#include "lkvm/x86/layout.h"

#define TRIAL_OK	 0x2a /* x86/trial.S */
#define TRIAL_RAM_BYTES	 (4 * MIB)
#define TRIAL_TIMEOUT_MS 5000

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

/* Everything of one trial's machine; the parts are those of `lkvm run`. */
struct trial_machine {
	struct kvm kvm;
	struct kvm_cpu cpu;
	struct ram ram;
	struct kvm_cpuid2 *cpuid;
	void *debug_exit;
};

static int add_debug_exit(struct trial_machine *m)
{
	const struct device_env env = { .stop = kvm_stop, .machine = &m->kvm };
	struct bus_range range = { .base = PORT_DEBUG_EXIT, .size = 4, .ops = &debug_exit_type.io,
				   .name = debug_exit_type.name };
	int err;

	m->debug_exit = calloc(1, debug_exit_type.size);
	if (!m->debug_exit)
		return log_err(-ENOMEM, "%s", debug_exit_type.name);
	range.dev = m->debug_exit;
	err = debug_exit_type.init(m->debug_exit, &env);
	if (!err)
		err = bus_add(&m->kvm.pio, &range);
	return err ? log_err(err, "%s", debug_exit_type.name) : 0;
}

static int load(struct trial_machine *m, const struct trial *trial)
{
	static const struct ram_config plain;
	struct ram_backing backing = { .fd = -1, .advice = &plain };
	int err = ram_init(&m->ram, TRIAL_RAM_BYTES, &backing);

	if (!err)
		err = boot_tables_put(&m->ram, trial->mode);
	if (!err)
		err = ram_write(&m->ram, GPA(LAYOUT_FLAT), trial->code,
				(size_t)(trial->code_end - trial->code));
	return err ? log_err(err, "guest RAM") : kvm_map_ram(&m->kvm, &m->ram);
}

static int make_cpu(struct trial_machine *m, const struct trial *trial)
{
	const struct boot_entry entry = {
		.mode = trial->mode,
		.rip = trial->mode == BOOT_REAL ? 0 : LAYOUT_FLAT,
		.rsp = trial->mode == BOOT_REAL ? 0xfff0 : LAYOUT_STACK_TOP,
		.real_segment = LAYOUT_FLAT >> 4,
	};
	int err = cpuid_build(m->kvm.dev_fd, 1, NULL, 0, m->kvm.tsc_deadline, &m->cpuid);

	if (err)
		return err;
	m->kvm.cpus = &m->cpu;
	m->kvm.n_cpus = 1;
	err = kvm_cpu_init(&m->cpu, &m->kvm, 0);
	return err ? err : regs_setup(m->cpu.fd, 0, m->cpuid, &entry);
}

static enum stop_cause wait_for_end(struct trial_machine *m, uint32_t *ret_value)
{
	struct pollfd woken = { .fd = m->kvm.wake_fd, .events = POLLIN };

	if (poll(&woken, 1, TRIAL_TIMEOUT_MS) <= 0)
		kvm_stop(&m->kvm, STOP_TIMEOUT, 0);
	kvm_join(&m->kvm);
	return kvm_stop_cause(&m->kvm, ret_value);
}

static bool judge(struct trial_machine *m, const struct trial *trial)
{
	uint32_t value;

	switch (wait_for_end(m, &value)) {
	case STOP_DEBUG_EXIT:
		if (value == TRIAL_OK)
			return true;
		printf("FAILED: %s\n", value < ARRAY_SIZE(trial->failures) && trial->failures[value] ?
						trial->failures[value] : "it went astray");
		break;
	case STOP_FAULT:
		printf("FAILED: ");
		kvm_cpu_print_reason(stdout, &m->cpu);
		printf("\n");
		break;
	default:
		printf("FAILED: it did not end\n");
	}
	return false;
}

static void free_machine(struct trial_machine *m)
{
	kvm_cpu_fini(&m->cpu);
	ram_fini(&m->ram);
	kvm_close(&m->kvm);
	free(m->debug_exit);
	free(m->cpuid);
}

static bool try_guest(const struct trial *trial)
{
	struct trial_machine m = { .cpu.fd = -1 };
	bool ok = false;

	printf("%-42s", trial->name);
	fflush(stdout);
	if (!kvm_open(&m.kvm) && !load(&m, trial) && !kvm_create_irqchip(&m.kvm) &&
	    !add_debug_exit(&m) && !make_cpu(&m, trial) && !kvm_start(&m.kvm))
		ok = judge(&m, trial);
	if (ok)
		printf("ok\n");
	free_machine(&m);
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

/* What kept the VM from being created stands on standard error already, unless the device is missing. */
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
	printf(ok ? "ok\n" : "FAILED\n");
	return ok;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	enum options_result result;
	bool have_vm, ok;
	int operands;

	result = options_parse(cmd, NULL, argc, argv, &operands, NULL);
	if (result != OPTIONS_OK)
		return options_status(result);
	ok = have_vm = try_vm();
	for (size_t i = 0; ok && i < ARRAY_SIZE(trials); i++)
		ok = try_guest(&trials[i]);
	if (ok)
		printf("\nThis host can run Linux guests.\n");
	else
		print_advice(have_vm);
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

static const struct opt check_options[] = { OPT_END };

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
