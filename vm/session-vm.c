/*
 * The session of a machine: its step in vm/vm.c, the command that `lkvm run -- CMD` asks for, what is
 * done when it ends. Main thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/fs.h"
#include "lkvm/log.h"
#include "lkvm/mask.h"
#include "lkvm/stream.h"
#include "vm-internal.h"

#define GRACE_NS (5 * NS_PER_S)

static void command_ended(void *ctx, const struct session_exit *how, int output_err)
{
	struct vm *vm = ctx;
	struct run_result *r = vm->result;

	vm->output_err = output_err;
	if (!how)
		return;
	r->command_ended = true;
	r->command = *how;
	if (how->err)
		log_err(-(int)(how->err & 0xfff), "command '%s'", vm->cfg->session.argv[0]);
	session_bye(vm->session);
	kvm_stop(&vm->kvm, STOP_COMMAND, 0);
}

static struct session_command command_of(struct vm *vm)
{
	const struct session_config *s = &vm->cfg->session;

	return (struct session_command){
		.argv = s->argv,
		.envp = s->env,
		.cwd = s->cwd,
		.user = s->user,
		/* One that cannot be read was closed when lkvm started: main.c */
		.fd = { stream_allows(vm->setup.in_fd, O_RDONLY) ? vm->setup.in_fd : -1, vm->setup.out_fd,
			vm->setup.err_fd },
		.tty = vm->terminal,
		.lasting = true,
		.ctx = vm,
		.printed = vm->ktap_out ? vm_command_output : NULL,
		.ended = command_ended,
	};
}

/* Return: 0 or -errno, logged */
static int run_command(struct vm *vm)
{
	const struct session_command cmd = command_of(vm);
	const int err = cmd.argv ? session_run(vm->session, &cmd, NULL) : 0;

	return err ? log_err(err, "command '%s'", cmd.argv[0]) : 0;
}

static void is_up(struct vm *vm)
{
	vm->result->hello_ns = now_ns();
	vm_is_up(vm);
	if (vm->setup.ready)
		vm->setup.ready(vm->setup.ctx);
}

static void hello(void *ctx, const struct session_hello *hello)
{
	struct vm *vm = ctx;
	int err;

	log_debug(LOG_BOOT, "guest's init is up, kernel %s", hello->release);
	is_up(vm);
	err = run_command(vm);
	if (err)
		kvm_stop(&vm->kvm, STOP_HOST_ERROR, (uint32_t)-err);
}

static void send_plan(struct vm *vm)
{
	char *plan = NULL;
	size_t len;
	int err = vm_session_plan(vm, &plan, &len);

	if (!err)
		err = session_plan(vm->session, plan, len);
	free(plan);
	if (!err)
		return;
	log_err(err, "what the guest is to mount");
	kvm_stop(&vm->kvm, STOP_HOST_ERROR, (uint32_t)-err);
}

static void asked(void *ctx)
{
	vm_warm_save(ctx);
	send_plan(ctx);
}

/* The command that it runs is this lkvm's, unless that has another one; if there is none, it is a shell. */
static int go_on(struct vm *vm)
{
	struct session_config *s = &vm->cfg->session;
	struct session_command cmd;

	is_up(vm);
	if (!s->argv && s->shell[0] && !session_has_lasting(vm->session))
		s->argv = s->shell;
	if (s->argv) {
		session_attach(vm->session, NULL);
		return run_command(vm);
	}
	if (vm->terminal && !session_lasting_terminal(vm->session)) {
		console_free(vm->terminal);
		vm->terminal = NULL;
	}
	cmd = command_of(vm);
	vm->result->has_command = session_attach(vm->session, &cmd);
	return 0;
}

int vm_session_restored(struct vm *vm)
{
	if (!vm->session)
		return 0;
	session_wake(vm->session);
	if (session_is_up(vm->session))
		return go_on(vm);
	if (!vm->session_boot)
		return log_errx(-EBADMSG, "guest '%s' waits for what only another lkvm knows", vm->cfg->name);
	send_plan(vm);
	return 0;
}

/* The commands' end, and the guest's if it was to run one. A kernel that follows a panic goes its own way. */
static void give_up(struct vm *vm)
{
	const bool panicked = atomic_load(&vm->kvm.panicked) || console_panic_line(vm->console);

	session_give_up(vm->session);
	if (vm->cfg->session.argv && !panicked)
		kvm_stop(&vm->kvm, STOP_COMMAND, 0);
}

static void warn(struct vm *vm, const char *more)
{
	char why[SESSION_WHY_BYTES];

	session_why(vm->session, why);
	log_warn("guest '%s': %s%s", vm->cfg->name, why, more);
}

static void grace_over(struct timer *timer)
{
	struct vm *vm = container_of(timer, struct vm, grace);
	const uint64_t from = vm->lost_ns > vm->awake_ns ? vm->lost_ns : vm->awake_ns;

	if (kvm_stop_cause(&vm->kvm, NULL) != STOP_NONE)
		return;
	if (now_ns() < from + GRACE_NS && !timer_set(timer, from + GRACE_NS))
		return;
	warn(vm, ", and runs on");
	give_up(vm);
}

/*
 * A guest that ends closes the port too, and how it ends says more than that: it has some time. While it is
 * being ended there is nothing to be said.
 */
static void lost(void *ctx, const char *why)
{
	struct vm *vm = ctx;

	if (why) {
		warn(vm, "");
		give_up(vm);
	} else if (kvm_stop_cause(&vm->kvm, NULL) == STOP_NONE) {
		vm->lost_ns = now_ns();
		if (timer_set(&vm->grace, vm->lost_ns + GRACE_NS))
			give_up(vm);
	}
}

/* ---- the kernel's log ---- */

/* "<6>,1234,567890,-;text": the time is in us. Return: the text */
static const char *kmsg_text(const char *record, size_t len, unsigned long long *ret_us)
{
	const char *text = memchr(record, ';', len);
	unsigned long long seq;
	unsigned level;
	char head[64];
	size_t n = text ? (size_t)(text - record) : 0;

	if (!n || n >= sizeof(head))
		return NULL;
	memcpy(head, record, n);
	head[n] = '\0';
	return sscanf(head, "%u,%llu,%llu", &level, &seq, ret_us) == 3 ? text + 1 : NULL;
}

/* Nobody waits for its reader: what a pipe does not take at once is lost, and that is said once. */
static void write_kernel_log(struct vm *vm, char *line, size_t len)
{
	const char *name = vm->cfg->session.kernel_log;

	len = mask_text(line, len, "\n\t");
	if (!strcmp(name, "-")) {
		log_text(line, len);
		return;
	}
	if (write(vm->kernel_log_fd, line, len) < 0 && !vm->kernel_log_err) {
		vm->kernel_log_err = -errno;
		log_err(-errno, "write '%s'", name);
	}
}

/* Lines that follow the first are about the device; they begin with a blank. */
static void kmsg(void *ctx, const char *record, size_t len)
{
	struct vm *vm = ctx;
	const char *end = record + len, *text, *nl;
	unsigned long long us;
	char line[1100];
	int n;

	text = kmsg_text(record, len, &us);
	if (!text)
		return;
	nl = memchr(text, '\n', (size_t)(end - text));
	vm_kmsg_text(vm, text, (size_t)((nl ? nl : end) - text));
	n = snprintf(line, sizeof(line), "[%5llu.%06llu] %.*s", us / 1000000, us % 1000000,
		     (int)((nl ? nl : end) - text), text);
	if (n >= (int)sizeof(line))
		n = sizeof(line) - 1;
	line[n++] = '\n';
	console_scan_feed(&vm->kmsg_tail, (const uint8_t *)line, (size_t)n);
	if (vm->cfg->session.kernel_log)
		write_kernel_log(vm, line, (size_t)n);
}

static int open_kernel_log(struct vm *vm)
{
	const char *name = vm->cfg->session.kernel_log;

	vm->kernel_log_fd = -1;
	if (!name || !strcmp(name, "-"))
		return 0;
	vm->kernel_log_fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);
	return vm->kernel_log_fd < 0 ? log_err(-errno, "create '%s'", name) : 0;
}

/* ---- the step ---- */

static void quit(void *ctx)
{
	kvm_stop(&((struct vm *)ctx)->kvm, STOP_REQUEST, RUN_QUIT_KEY);
}

/* Where somebody sits, the command gets a terminal too. */
static int make_terminal(struct vm *vm)
{
	const struct console_config cfg = {
		.in_fd = vm->setup.in_fd,
		.out_fd = vm->setup.out_fd,
		.loop = &vm->loop,
		.unread = true,
		.quit = quit,
		.ctx = vm,
		.keys = vm->cfg->keys,
	};

	if (!isatty(vm->setup.in_fd) || !isatty(vm->setup.out_fd))
		return 0;
	return console_new(&cfg, &vm->terminal);
}

static void drop_lists(struct session_lists *lists)
{
	free(lists->modules);
	lists->modules = NULL;
}

/* A guest that goes on is not held up by them: it has the modules that it has loaded. */
static int make_lists(struct vm *vm)
{
	struct session_lists *lists = &vm->cfg->session.lists;
	const struct fs_made *files;
	int err;

	if (!lists->modules)
		return 0;
	err = module_index_new(lists->modules, lists->built, &vm->module_index);
	if (err == -ENOMEM || (err && !vm->cfg->snapshot))
		return log_err(err, "modules in '%s'", lists->modules);
	files = err ? NULL : module_index_files(vm->module_index);
	if (files && files->ino == lists->ino) {
		vm->cfg->folders[lists->folder].made = files;
		return 0;
	}
	log_warn("modprobe finds no modules in the guest any more: the folder '%s' is %s", lists->modules,
		 err ? "gone" : "another one");
	drop_lists(lists);
	return 0;
}

int vm_make_session_boot(struct vm *vm)
{
	const bool boots = vm->cfg->session.wanted && !vm->cfg->snapshot;
	int err = boots ? session_boot_new(vm->cfg, &vm->session_boot) : 0;

	return err ? err : make_lists(vm);
}

void vm_undo_session_boot(struct vm *vm)
{
	session_boot_free(vm->session_boot);
	module_index_free(vm->module_index);
}

int vm_make_session(struct vm *vm)
{
	const struct session_setup setup = {
		.loop = &vm->loop, .ctx = vm, .asked = asked, .hello = hello, .kmsg = kmsg, .lost = lost,
	};
	int err;

	vm->kernel_log_fd = -1;
	timer_init(&vm->grace, &vm->loop, CLOCK_MONOTONIC, grace_over);
	if (!vm->cfg->session.wanted)
		return 0;
	vm->result->has_command = vm->cfg->session.has_command;
	err = open_kernel_log(vm);
	if (!err)
		err = make_terminal(vm);
	return err ? err : session_new(&setup, &vm->session);
}

void vm_undo_session(struct vm *vm)
{
	timer_fini(&vm->grace);
	session_free(vm->session);
	vm->session = NULL;
	console_free(vm->terminal);
	vm->terminal = NULL;
	if (vm->kernel_log_fd >= 0)
		close(vm->kernel_log_fd);
	vm->kernel_log_fd = -1;
}
