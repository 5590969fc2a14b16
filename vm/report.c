/* `lkvm run`: what the user is told about the end of a run, on standard error; see run.h. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/kvm-cpu.h"
#include "lkvm/log.h"
#include "lkvm/mask.h"
#include "lkvm/vm/look.h"
#include "lkvm/vm/run.h"
#include "lkvm/x86/cpu.h"

#define FAILED_NAMES 20 /* of tests */
#define TIMEOUT_CPUS 16 /* whose registers are shown */
#define LOOK_LINES   40 /* of what is in the guest's memory */

/* Are two descriptors the same terminal, pipe or file? */
static bool same_file(int a, int b)
{
	struct stat sa, sb;

	return !fstat(a, &sa) && !fstat(b, &sb) && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* The kernel's last words, unless they stand right above: standard output has had them all. */
static void print_last_lines(FILE *out, const struct vm_config *cfg, const struct run_result *r)
{
	char *text;
	size_t len;

	if (!*r->last_lines || (!cfg->session.wanted && same_file(STDOUT_FILENO, STDERR_FILENO)))
		return;
	text = strdup(r->last_lines);
	if (!text)
		return;
	len = mask_text(text, strlen(text), "\n");
	fprintf(out, "lkvm: the guest's last lines:\n%.*s%s", (int)len, text,
		text[len - 1] == '\n' ? "" : "\n");
	free(text);
}

/* Where each CPU was when the guest was ended. */
static void print_cpus(FILE *out, const struct kvm *kvm)
{
	for (unsigned i = 0; i < kvm->n_cpus; i++) {
		struct kvm_regs regs;
		struct kvm_sregs sregs;

		if (i == TIMEOUT_CPUS) {
			fprintf(out, "lkvm: %u more vCPUs\n", kvm->n_cpus - i);
			return;
		}
		if (!ioctl(kvm->cpus[i].fd, KVM_GET_REGS, &regs) &&
		    !ioctl(kvm->cpus[i].fd, KVM_GET_SREGS, &sregs))
			fault_print_general(out, i, &regs, &sregs);
	}
}

/* A guest that never said a word, or a CPU that KVM does not run: the host may be the reason. */
static const char *hint(const struct run_result *r)
{
	/* Whoever stops a guest does not wonder at that. */
	if (r->silent && (r->cause != STOP_REQUEST || r->value == RUN_QUIT_KEY))
		return "; it never printed anything: see `lkvm check`";
	return r->cause == STOP_FAULT && r->kvm_failed ? ": see `lkvm check`" : "";
}

static const char *quit_key(const struct vm_config *cfg, char *buf, size_t cap)
{
	char key[CONSOLE_KEY_NAME];

	console_keys_name(&cfg->keys, key);
	snprintf(buf, cap, "by %s x", key);
	return buf;
}

/* Why the guest has ended; NULL: it did what it should */
static const char *reason_text(const struct vm_config *cfg, const struct run_result *r, char *buf,
			       size_t cap)
{
	const bool lost = r->has_command && !r->command_ended;

	switch (r->cause) {
	case STOP_COMMAND:
		return NULL; /* what is to be said is the command's */
	case STOP_POWEROFF:
		return lost ? "before the command did" : NULL;
	case STOP_FAULT:
		return r->fault;
	case STOP_TIMEOUT:
		snprintf(buf, cap, "%s %s passed", run_limit_name(r->value), cfg->limit[r->value].text);
		return buf;
	case STOP_SIGNAL:
		return strsignal((int)r->value);
	case STOP_REQUEST:
		return r->value == RUN_QUIT_KEY ? quit_key(cfg, buf, cap) : "by `lkvm stop`";
	case STOP_HOST_ERROR:
		return r->error;
	case STOP_HALT:
		return "its kernel has halted (--no-end-on-halt lets it go on)";
	case STOP_RESET:
		if (!r->rebooted && (lost || cfg->reset_status))
			return "it reset the machine without an orderly reboot";
		return lost ? "before the command did" : NULL;
	default:
		return NULL;
	}
}

/* Names of those that failed, a few; Return: how many were not named */
static unsigned long print_failed(const struct ktap *k, unsigned *left)
{
	unsigned long all = ktap_count(k, KTAP_FAILED) + ktap_count(k, KTAP_BROKEN);
	const struct ktap_case *c;

	for (size_t i = 0; *left && (c = ktap_case(k, i)); i++) {
		const bool broken = c->verdict == KTAP_BROKEN;

		if (!broken && c->verdict != KTAP_FAILED)
			continue;
		log_info("ktap: failed: %s%s%s%s%.*s", c->suite ? c->suite : "", c->suite ? "." : "", c->name,
			 broken && c->why ? ": " : "", broken && c->why ? (int)strcspn(c->why, "\n") : 0,
			 broken && c->why ? c->why : "");
		--*left;
		--all;
	}
	return all;
}

static void print_totals(const unsigned long count[KTAP_VERDICTS])
{
	char todo[40] = "", broken[40] = "";

	if (count[KTAP_TODO])
		snprintf(todo, sizeof(todo), ", %lu to do", count[KTAP_TODO]);
	if (count[KTAP_BROKEN])
		snprintf(broken, sizeof(broken), ", %lu broken off", count[KTAP_BROKEN]);
	log_info("ktap: %lu passed, %lu failed, %lu skipped%s%s", count[KTAP_PASSED], count[KTAP_FAILED],
		 count[KTAP_SKIPPED], todo, broken);
}

static void print_tests(const struct vm_config *cfg, const struct run_result *r)
{
	unsigned long count[KTAP_VERDICTS] = { 0 }, more = 0;
	unsigned left = FAILED_NAMES;
	bool seen = false;

	if (!cfg->ktap)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(r->ktap); i++) {
		if (!r->ktap[i])
			continue;
		seen |= ktap_seen(r->ktap[i]);
		more += print_failed(r->ktap[i], &left);
		for (unsigned v = 0; v < KTAP_VERDICTS; v++)
			count[v] += ktap_count(r->ktap[i], v);
	}
	if (more)
		log_info("ktap: failed: %lu more", more);
	if (seen)
		print_totals(count);
	else
		log_info("ktap: no tests were seen");
}

static void print_splats(const struct vm_config *cfg, const struct kernel_log *log)
{
	char more[48] = "";

	if (!log || !log->n_splats)
		return;
	if (log->n_splats > 1)
		snprintf(more, sizeof(more), " (and %u more)", log->n_splats - 1);
	log_info("guest '%s': forbidden kernel message: %s%s", cfg->name, log->splat[0], more);
}

static void print_reason(const struct vm_config *cfg, const struct run_result *r)
{
	char buf[128];
	const char *text = reason_text(cfg, r, buf, sizeof(buf));

	if (r->hung)
		log_info("guest '%s' has not ended in time: %s", cfg->name, r->error);
	if (r->panicked)
		log_info("guest '%s' panicked: %s", cfg->name, r->panic);
	else if (text)
		log_info("guest '%s' ended: %s%s", cfg->name, text, hint(r));
	if (r->output_failed)
		log_info("guest '%s': its output is incomplete: %s", cfg->name, r->error);
	print_splats(cfg, r->kernel_log);
}

static void print_details(FILE *out, const struct kvm *kvm, const struct vm_config *cfg,
			  const struct run_result *r)
{
	if (r->panicked || r->cause == STOP_FAULT || r->cause == STOP_TIMEOUT ||
	    (r->has_command && !r->command_ended))
		print_last_lines(out, cfg, r);
	if (r->cause == STOP_FAULT)
		kvm_cpu_print_fault(out, &kvm->cpus[r->value]);
	if (look_knows_kernel(r->look))
		look_print(out, r->look, r->last_lines, LOOK_LINES);
	else if (r->cause == STOP_TIMEOUT && !r->panicked && !r->hung)
		print_cpus(out, kvm);
}

/* As one text, which like a message does not wait for ever for its reader. */
void run_report(const struct kvm *kvm, const struct vm_config *cfg, const struct run_result *r)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (out) {
		print_details(out, kvm, cfg, r);
		fclose(out);
	}
	if (len)
		log_text(text, len);
	free(text);
	print_tests(cfg, r);
	print_reason(cfg, r);
}
