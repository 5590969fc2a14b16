/*
 * What the guest's kernel says, line by line, for whoever judges it, and what its command prints; see
 * vm-internal.h. Main thread.
 *
 * A session gets the whole log as records of /dev/kmsg, from the first line on, as soon as its init runs;
 * until then, and in a plain boot, there is what the kernel prints on its console.
 */
#include <errno.h>
#include <string.h>

#include "lkvm/log.h"
#include "lkvm/vm/gdb.h"
#include "vm-internal.h"

#define LINE_BYTES 1024 /* as long as the kernel makes them */

static void kernel_line(struct vm *vm, const char *line)
{
	vm_limits_hear(vm, line);
	vm_gdb_hear(vm, line);
	kernel_log_line(&vm->kernel_log, line);
	if (!vm->ktap_log)
		return;
	ktap_feed(vm->ktap_log, line, strlen(line));
	ktap_feed(vm->ktap_log, "\n", 1);
}

void vm_console_message(void *ctx, const char *text)
{
	struct vm *vm = ctx;

	if (!vm->has_kmsg)
		kernel_line(vm, text);
	else
		vm_limits_hear(vm, text);
}

static int watch_log(struct vm *vm)
{
	int err = 0;

	kernel_log_init(&vm->kernel_log, vm->cfg->fail_on, &vm->cfg->allow);
	ktap_free(vm->ktap_log);
	vm->ktap_log = NULL;
	if (vm->cfg->ktap)
		err = ktap_new(vm->cfg->junit, &vm->ktap_log);
	return err ? log_err(err, "KTAP") : 0;
}

/* What the console has said so far is in the log too. */
static void begin_kmsg(struct vm *vm)
{
	int err = watch_log(vm);

	vm->has_kmsg = true;
	if (err)
		kvm_stop(&vm->kvm, STOP_HOST_ERROR, (uint32_t)-err);
}

/* A newline within a message is written as an escape, as all control characters are. */
void vm_kmsg_text(struct vm *vm, const char *text, size_t len)
{
	char line[LINE_BYTES];
	size_t n = 0;

	if (!vm->has_kmsg)
		begin_kmsg(vm);
	for (size_t i = 0; i < len; i++) {
		const bool newline = len - i >= 4 && !memcmp(text + i, "\\x0a", 4);

		if (newline) {
			line[n] = '\0';
			kernel_line(vm, line);
			n = 0;
			i += 3;
		} else if (n < sizeof(line) - 1 && text[i]) {
			line[n++] = text[i];
		}
	}
	line[n] = '\0';
	kernel_line(vm, line);
}

/*
 * A console that is quiet has not what led to a time-out; but one that answered then, when the log did not
 * come any more, has.
 */
void vm_last_lines(const struct vm *vm, char *ret, size_t cap)
{
	const bool answered = vm->kmsg_tail.n_done != vm->passed_lines || console_active_ns(vm->console) < vm->passed_ns;

	if (vm->has_kmsg && vm->passed_ns && answered)
		console_scan_last(&vm->kmsg_tail, ret, cap);
	else
		console_last_lines(vm->console, ret, cap);
}

void vm_command_output(void *ctx, const void *bytes, size_t len)
{
	struct vm *vm = ctx;

	ktap_feed(vm->ktap_out, bytes, len);
}

void vm_end_watch(struct vm *vm)
{
	kernel_log_end(&vm->kernel_log);
	vm->result->kernel_log = &vm->kernel_log;
	if (vm->ktap_log)
		ktap_end(vm->ktap_log);
	if (vm->ktap_out)
		ktap_end(vm->ktap_out);
	vm->result->ktap[0] = vm->ktap_log;
	vm->result->ktap[1] = vm->ktap_out;
}

int vm_make_watch(struct vm *vm)
{
	int err = watch_log(vm);

	if (!err && vm->ktap_log && vm->cfg->session.wanted)
		err = ktap_new(vm->cfg->junit, &vm->ktap_out) ? log_err(-ENOMEM, "KTAP") : 0;
	return err;
}

void vm_undo_watch(struct vm *vm)
{
	ktap_free(vm->ktap_log);
	ktap_free(vm->ktap_out);
	vm->ktap_log = vm->ktap_out = NULL;
	vm->result->ktap[0] = vm->result->ktap[1] = NULL;
	vm->result->kernel_log = NULL;
}
