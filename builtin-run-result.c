/* `lkvm run`: how it ended, for the shell, for the user and for --result; see run.h. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/json.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/log.h"
#include "lkvm/run.h"

enum {
	STATUS_PANIC = 120,
	STATUS_FAULT = 121,
	STATUS_TIMEOUT = 124,
	STATUS_LKVM = 125,
	STATUS_SIGNAL = 128, /* + its number */
};

static const char *const cause_names[] = {
	[STOP_NONE] = "error",		[STOP_POWEROFF] = "poweroff",
	[STOP_RESET] = "reset",		[STOP_PANIC] = "panic",
	[STOP_DEBUG_EXIT] = "debug-exit", [STOP_FAULT] = "fault",
	[STOP_REQUEST] = "stop",	[STOP_SIGNAL] = "signal",
	[STOP_TIMEOUT] = "timeout",	[STOP_HOST_ERROR] = "error",
};

int run_status(enum stop_cause cause, uint32_t value, bool panicked)
{
	switch (cause) {
	case STOP_RESET:
		/* panic=-1: the kernel resets the machine after its last words. */
		return panicked ? STATUS_PANIC : 0;
	case STOP_FAULT:
		return panicked ? STATUS_PANIC : STATUS_FAULT;
	case STOP_POWEROFF:
	case STOP_REQUEST:
		return 0;
	case STOP_PANIC:
		return STATUS_PANIC;
	case STOP_DEBUG_EXIT:
		/* What wait(2) keeps of it is the low byte, as with QEMU. */
		return (int)((value << 1 | 1) & 0xff);
	case STOP_SIGNAL:
		return STATUS_SIGNAL + (int)value;
	case STOP_TIMEOUT:
		return STATUS_TIMEOUT;
	case STOP_NONE:
	case STOP_HOST_ERROR:
		break;
	}
	return STATUS_LKVM;
}

static void write_json(FILE *out, const struct vm_config *cfg, const struct run_result *r)
{
	struct json json;
	bool panic = r->status == STATUS_PANIC;

	json_init(&json, out);
	json_object(&json, NULL);
	json_u64(&json, "status", (uint64_t)r->status);
	json_str(&json, "reason", panic ? "panic" : cause_names[r->cause]);
	if (r->cause == STOP_DEBUG_EXIT)
		json_u64(&json, "debug_exit", r->value);
	if (r->cause == STOP_SIGNAL)
		json_u64(&json, "signal", r->value);
	json_str(&json, "command_status", NULL);
	json_str(&json, "panic", panic ? r->panic : NULL);
	json_str(&json, "fault", r->fault);
	json_str(&json, "name", cfg->name);
	json_str(&json, "kernel", cfg->kernel);
	json_u64(&json, "setup_ns", r->boot_ns ? r->boot_ns - r->start_ns : 0);
	json_u64(&json, "guest_ns", r->boot_ns ? r->end_ns - r->boot_ns : 0);
	json_u64(&json, "total_ns", r->end_ns - r->start_ns);
	json_str(&json, "console_tail", r->last_lines);
	json_end(&json);
}

int run_result_open(const struct vm_config *cfg, FILE **ret)
{
	*ret = cfg->result ? fopen(cfg->result, "we") : NULL;
	return cfg->result && !*ret ? log_err(-errno, "create '%s'", cfg->result) : 0;
}

int run_result_close(FILE *out, const struct vm_config *cfg, const struct run_result *result)
{
	int err = 0;

	if (!out)
		return 0;
	write_json(out, cfg, result);
	if (ferror(out))
		err = -EIO;
	if (fclose(out) && !err)
		err = -errno;
	return err ? log_err(err, "write '%s'", cfg->result) : 0;
}

/* Are two descriptors the same terminal, pipe or file? */
static bool same_file(int a, int b)
{
	struct stat sa, sb;

	return !fstat(a, &sa) && !fstat(b, &sb) && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* The kernel's last words, unless they stand right above: standard output has had them all. */
static void print_last_lines(const struct run_result *r)
{
	if (!r->last_lines || !*r->last_lines || same_file(STDOUT_FILENO, STDERR_FILENO))
		return;
	fprintf(stderr, "lkvm: the guest's last lines:\n%s", r->last_lines);
	if (r->last_lines[strlen(r->last_lines) - 1] != '\n')
		fputc('\n', stderr);
}

void run_result_print(const struct kvm *kvm, const struct vm_config *cfg, const struct run_result *r)
{
	if (r->status == STATUS_PANIC) {
		print_last_lines(r);
		log_info("guest '%s' panicked: %s", cfg->name,
			 r->panic ? r->panic : "reported by its pvpanic driver");
	}
	switch (r->cause) {
	case STOP_FAULT:
		if (r->status == STATUS_FAULT)
			print_last_lines(r);
		kvm_cpu_print_fault(stderr, &kvm->cpus[r->value]);
		break;
	case STOP_TIMEOUT:
		log_info("guest '%s' ended: --timeout of %u s passed", cfg->name, cfg->timeout_s);
		break;
	case STOP_SIGNAL:
		log_info("guest '%s' ended: %s", cfg->name, strsignal((int)r->value));
		break;
	case STOP_HOST_ERROR:
		log_err(-(int)r->value, "guest '%s' ended", cfg->name);
		break;
	default:
		break;
	}
	fflush(stderr);
}
