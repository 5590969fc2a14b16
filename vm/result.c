/* `lkvm run`: how it ended, for the shell and for --result; see run.h and lkvm-json(5). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/json.h"
#include "lkvm/log.h"
#include "lkvm/version.h"
#include "lkvm/vm/junit.h"
#include "lkvm/vm/look.h"
#include "lkvm/vm/run.h"

#define RESULT_SCHEMA 1

enum {
	STATUS_TESTS = 1,
	STATUS_PANIC = 120,
	STATUS_FAULT = 121,
	STATUS_LOST = 122,
	STATUS_SPLAT = 123,
	STATUS_TIMEOUT = 124,
	STATUS_LKVM = 125,
	STATUS_SIGNAL = 128, /* + its number */
};

static const char *const cause_names[] = {
	[STOP_NONE] = "error",		[STOP_POWEROFF] = "poweroff",
	[STOP_RESET] = "reset",		[STOP_PANIC] = "panic",
	[STOP_HALT] = "halt",
	[STOP_DEBUG_EXIT] = "debug-exit", [STOP_FAULT] = "fault",
	[STOP_REQUEST] = "stop",	[STOP_SIGNAL] = "signal",
	[STOP_TIMEOUT] = "timeout",	[STOP_HOST_ERROR] = "error",
	[STOP_COMMAND] = "command",
};

/* Does a panic that came before make this one's end a panic's? What lkvm itself did stays that. */
static bool is_guests_end(enum stop_cause cause)
{
	return cause != STOP_NONE && cause != STOP_HOST_ERROR && cause != STOP_SIGNAL && cause != STOP_COMMAND;
}

/* The exit status of a cause: the table of lkvm-run(1) */
static int status_of(enum stop_cause cause, uint32_t value, bool panicked)
{
	if (panicked && is_guests_end(cause))
		return STATUS_PANIC;
	switch (cause) {
	case STOP_RESET:
	case STOP_POWEROFF:
	case STOP_HALT:
	case STOP_REQUEST:
		return 0;
	case STOP_FAULT:
		return STATUS_FAULT;
	case STOP_PANIC:
		return STATUS_PANIC;
	case STOP_DEBUG_EXIT:
		/* What wait(2) keeps of it is the low byte, as with QEMU. */
		return (int)((value << 1 | 1) & 0xff);
	case STOP_SIGNAL:
		return STATUS_SIGNAL + (int)value;
	case STOP_TIMEOUT:
		return STATUS_TIMEOUT;
	case STOP_COMMAND: /* unless it has told how it ended */
		return STATUS_LOST;
	case STOP_NONE:
	case STOP_HOST_ERROR:
		break;
	}
	return STATUS_LKVM;
}

const char *run_limit_name(uint32_t value)
{
	static const char *const names[CONFIG_LIMITS] = { "--timeout", "--boot-timeout", "--idle-timeout" };

	return value < CONFIG_LIMITS ? names[value] : names[LIMIT_RUN];
}

/* What the guest says is not trusted. */
int run_command_status(const struct session_exit *how)
{
	return how->signal ? STATUS_SIGNAL + (int)(how->signal & 0x7f) : (int)(how->code & 0xff);
}

static bool tests_failed(const struct run_result *r)
{
	for (size_t i = 0; i < ARRAY_SIZE(r->ktap); i++)
		if (r->ktap[i] && (ktap_count(r->ktap[i], KTAP_FAILED) || ktap_count(r->ktap[i], KTAP_BROKEN)))
			return true;
	return false;
}

/* A forbidden message counts more than what the guest itself made of it, but not if all ended badly. */
static void judge_splats(struct run_result *r)
{
	if (r->kernel_log && r->kernel_log->n_splats && !r->panicked &&
	    (is_guests_end(r->cause) || r->cause == STOP_COMMAND) && r->cause != STOP_FAULT && r->cause != STOP_TIMEOUT)
		r->status = STATUS_SPLAT;
}

void run_judge(struct run_result *r, const struct vm_config *cfg)
{
	r->panicked |= r->panic || r->cause == STOP_PANIC;
	r->status = status_of(r->cause, r->value, r->panicked);
	if ((r->cause == STOP_COMMAND || r->cause == STOP_POWEROFF) && r->command_ended)
		r->status = run_command_status(&r->command);
	r->panicked &= is_guests_end(r->cause);
	if (r->panicked)
		r->reason = "panic";
	else if (r->cause == STOP_RESET && r->rebooted)
		r->reason = "reboot";
	else
		r->reason = cause_names[r->cause];
	if (r->cause == STOP_RESET && !r->rebooted && !r->panicked)
		r->status = (int)cfg->reset_status;
	if (!r->status && r->has_command && !r->command_ended)
		r->status = STATUS_LOST;
	if (!r->status && tests_failed(r))
		r->status = STATUS_TESTS;
	judge_splats(r);
	if (!r->status && r->output_failed) {
		r->status = STATUS_LKVM;
		r->reason = "error";
	}
	if (r->panicked && !r->panic)
		r->panic = "reported by the guest's pvpanic driver";
}

/* What is not known yet is null. */
static void json_number(struct json *json, const char *key, uint64_t value)
{
	if (value)
		json_u64(json, key, value);
	else
		json_str(json, key, NULL);
}

static void write_splats(struct json *json, const struct kernel_log *log)
{
	json_array(json, "splats");
	for (unsigned i = 0; log && i < log->n_splats && i < KERNEL_LOG_SPLATS; i++)
		json_str(json, NULL, log->splat[i]);
	json_end(json);
}

static void write_ending(struct json *json, const struct run_result *r)
{
	json_u64(json, "status", (uint64_t)r->status);
	json_str(json, "reason", r->reason);
	json_str(json, "error", *r->error ? r->error : NULL);
	if (r->cause == STOP_DEBUG_EXIT)
		json_u64(json, "debug_exit", r->value);
	if (r->cause == STOP_SIGNAL)
		json_u64(json, "signal", r->value);
	if (r->cause == STOP_TIMEOUT)
		json_str(json, "limit", run_limit_name(r->value));
	if (r->command_ended && !r->command.signal)
		json_u64(json, "command_status", r->command.code);
	else
		json_str(json, "command_status", NULL);
	if (r->command_ended && r->command.signal)
		json_u64(json, "command_signal", r->command.signal);
	else
		json_str(json, "command_signal", NULL);
	json_str(json, "panic", r->panic);
	json_str(json, "fault", r->fault);
	write_splats(json, r->kernel_log);
}

static void write_arguments(struct json *json, char *const *argv)
{
	json_array(json, "arguments");
	json_str(json, NULL, "lkvm");
	for (; argv && *argv; argv++)
		json_str(json, NULL, *argv);
	json_end(json);
}

static void write_machine(struct json *json, const struct vm_config *cfg, const struct run_result *r)
{
	json_str(json, "version", lkvm_version);
	write_arguments(json, r->argv);
	json_str(json, "name", cfg->name);
	json_str(json, "kernel", cfg->kernel);
	json_str(json, "kernel_release", *r->release ? r->release : NULL);
	json_str(json, "cmdline", r->cmdline);
	json_number(json, "ram_bytes", cfg->ram.size_bytes);
	json_number(json, "cpus", cfg->cpus);
}

static void write_json(FILE *out, const struct vm_config *cfg, const struct run_result *r)
{
	struct json json;

	json_init(&json, out);
	json.flat_depth = 1;
	json_object(&json, NULL);
	json_u64(&json, "schema", RESULT_SCHEMA);
	write_ending(&json, r);
	write_machine(&json, cfg, r);
	json_u64(&json, "setup_ns", r->boot_ns ? r->boot_ns - r->start_ns : 0);
	json_u64(&json, "guest_ns", r->boot_ns ? r->end_ns - r->boot_ns : 0);
	json_u64(&json, "total_ns", r->end_ns - r->start_ns);
	json_str(&json, "start", !cfg->session.wanted ? NULL : r->warm ? "warm" : cfg->restore ? "restored" : "cold");
	json_number(&json, "boot_ns", r->hello_ns > r->boot_ns ? r->hello_ns - r->boot_ns : 0);
	json_number(&json, "command_ns", r->command_ended ? r->command.ran_ns : 0);
	json_str(&json, "console_tail", r->cause == STOP_NONE ? NULL : r->last_lines);
	look_json(&json, r->look);
	json_end(&json);
}

static void write_xml(FILE *out, const struct vm_config *cfg, const struct run_result *r)
{
	const struct junit_suite suites[] = { { "kernel", r->ktap[0] }, { "command", r->ktap[1] } };

	junit_write(out, suites, cfg->session.wanted ? 2 : 1);
}

static int write_file(struct run_file *file, const struct vm_config *cfg, const struct run_result *r,
		      void (*write)(FILE *out, const struct vm_config *cfg, const struct run_result *r))
{
	char *text = NULL;
	size_t len = 0;
	FILE *out;
	int err = 0;

	if (!file->path && file->fd < 0)
		return 0;
	out = open_memstream(&text, &len);
	if (!out)
		err = -errno;
	else
		write(out, cfg, r);
	if (out && fclose(out))
		err = -errno;
	if (err)
		run_file_close(file);
	else
		err = run_file_write(file, text, len);
	free(text);
	return err;
}

int run_result_write(struct run_file *file, const struct vm_config *cfg, const struct run_result *r)
{
	return write_file(file, cfg, r, write_json);
}

int run_junit_write(struct run_file *file, const struct vm_config *cfg, const struct run_result *r)
{
	return write_file(file, cfg, r, write_xml);
}
