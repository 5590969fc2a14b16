/*
 * `lkvm run`: build a machine, let it run, take it apart again.
 *
 * Start here: steps[] is the order in which everything comes to life, and, backwards, how it ends.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "lkvm/builtin.h"
#include "lkvm/clock.h"
#include "lkvm/console.h"
#include "lkvm/control.h"
#include "lkvm/ipc.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/kvm-irq.h"
#include "lkvm/log.h"
#include "lkvm/run.h"
#include "lkvm/tty.h"
#include "lkvm/virtio-mmio.h"
#include "lkvm/x86/acpi.h"
#include "lkvm/x86/boot.h"
#include "lkvm/x86/cpu.h"
#include "lkvm/x86/layout.h"
#include "lkvm/x86/platform.h"
#include "lkvm/x86/virtio-list.h"

#define LAST_LINES_BYTES 4096
#define DRAIN_PATIENCE_MS 500

struct vm {
	struct vm_config cfg;
	struct loop loop;
	sigset_t ending;            /* signals that end lkvm */
	struct loop_source signals; /* signalfd */
	struct loop_source wake;    /* kvm.wake_fd */
	struct loop_source timer;   /* timerfd of --timeout, -1: none */
	struct ipc_server *ipc;
	struct control control;
	struct kvm kvm;
	struct ram_backing backing;
	struct ram ram;
	struct console *console;
	struct run_ttys ttys;
	struct platform *platform;
	struct kvm_irq *irq;
	struct virtio_list *virtio;
	char *cmdline; /* heap, or NULL: the default one as it is */
	struct boot_entry entry;
	struct kvm_cpuid2 *cpuid;
	struct run_result result;
	FILE *result_file; /* --result, or NULL */
};

/* ---- signals ---- */

/* What must not be left behind on a sudden end. A signal handler has no argument: hence this one pointer. */
static struct ipc_server *leftover_socket;

static void clean_up_now(void)
{
	tty_restore();
	ipc_server_unlink_now(leftover_socket);
}

/* While the machine is built, and again once it is being stopped, nobody waits for an orderly end. */
static void on_sudden_signal(int sig)
{
	clean_up_now();
	_exit(128 + sig);
}

/* nohup's wish is respected. SIGINT is ignored in every background job of a script, so not that. */
static bool hangup_ignored(void)
{
	struct sigaction act;

	return !sigaction(SIGHUP, NULL, &act) && act.sa_handler == SIG_IGN;
}

static sigset_t ending_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGQUIT);
	if (!hangup_ignored())
		sigaddset(&set, SIGHUP);
	return set;
}

static void arm_sudden_signals(const sigset_t *ending)
{
	const struct sigaction act = { .sa_handler = on_sudden_signal };

	for (int sig = 1; sig < SIGRTMIN; sig++)
		if (sigismember(ending, sig))
			sigaction(sig, &act, NULL);
}

static void signals_ready(struct loop_source *src, uint32_t events)
{
	struct vm *m = container_of(src, struct vm, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(src->fd, &info, sizeof(info)) != sizeof(info))
		return;
	switch (info.ssi_signo) {
	case SIGTSTP:
		console_suspend(m->console);
		break;
	case SIGCONT:
		console_continued(m->console);
		break;
	case SIGWINCH:
		console_resized(m->console);
		break;
	case KVM_KICK_SIGNAL:
		break;
	default:
		/* A second one ends lkvm at once. */
		pthread_sigmask(SIG_UNBLOCK, &m->ending, NULL);
		kvm_stop(&m->kvm, STOP_SIGNAL, info.ssi_signo);
	}
}

/* Signals of a running machine: they come through the event loop. */
static sigset_t handled_signals(const struct vm *m)
{
	sigset_t set = m->ending;

	sigaddset(&set, SIGTSTP);
	sigaddset(&set, SIGCONT);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, KVM_KICK_SIGNAL);
	return set;
}

static int do_signals(struct vm *m)
{
	sigset_t set;

	/* Writing to a reader that left is an error code, not the end. */
	signal(SIGPIPE, SIG_IGN);
	m->ending = ending_signals();
	arm_sudden_signals(&m->ending);
	set = handled_signals(m);
	m->signals = (struct loop_source){ signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
					   signals_ready };
	return m->signals.fd < 0 ? log_err(-errno, "signalfd") : 0;
}

static void undo_signals(struct vm *m)
{
	if (m->signals.fd >= 0)
		close(m->signals.fd);
}

/* ---- event loop ---- */

static void wake_ready(struct loop_source *src, uint32_t events)
{
	(void)events;
	loop_quit(&container_of(src, struct vm, wake)->loop);
}

static int do_loop(struct vm *m)
{
	int err = loop_init(&m->loop);

	if (!err)
		err = loop_add(&m->loop, &m->signals, EPOLLIN);
	return err ? log_err(err, "event loop") : 0;
}

static void undo_loop(struct vm *m)
{
	loop_fini(&m->loop);
}

/* ---- RAM ---- */

/* Allowed: a guest rarely touches all that it has. But the user should know. */
static void warn_large(uint64_t bytes, uint64_t host_bytes)
{
	uint64_t limit = ram_cgroup_bytes();
	char cgroup[64] = "";

	if (limit < host_bytes)
		snprintf(cgroup, sizeof(cgroup), ", cgroup limit %lluMB",
			 (unsigned long long)(limit / MIB));
	log_warn("Guest memory size %lluMB exceeds host physical RAM size %lluMB (%lluMB available "
		 "now%s)",
		 (unsigned long long)(bytes / MIB), (unsigned long long)(host_bytes / MIB),
		 (unsigned long long)(ram_available_bytes() / MIB), cgroup);
}

/* Not given: all that the host has online. */
static void choose_cpus(struct vm *m)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);

	if (m->cfg.cpus)
		return;
	m->cfg.cpus = online > 0 ? (unsigned)online : 1;
	if (m->cfg.cpus > MAX_VCPUS)
		m->cfg.cpus = MAX_VCPUS;
}

/* Allocating more than there is would call the OOM killer, on whom it likes. */
static int check_prealloc(const struct ram_config *cfg, uint64_t host_bytes)
{
	uint64_t limit, most;

	if (!cfg->prealloc || cfg->path)
		return 0;
	limit = ram_cgroup_bytes();
	most = host_bytes && host_bytes < limit ? host_bytes : limit;
	if (cfg->size_bytes <= most)
		return 0;
	return log_errx(-ENOMEM, "--mem-prealloc: guest RAM of %lluMB is more than the %lluMB of %s",
			(unsigned long long)(cfg->size_bytes / MIB),
			(unsigned long long)(most / MIB), most == limit ? "lkvm's cgroup" : "this host");
}

static int choose_ram_size(struct vm *m)
{
	const char *failed;
	uint64_t host = ram_host_bytes(&failed);
	uint64_t *bytes = &m->cfg.ram.size_bytes;
	bool chosen = *bytes;

	if (failed)
		log_warn("sysconf(%s) failed", failed);
	if (!chosen)
		*bytes = ram_default_bytes(m->cfg.cpus, host);
	if (host && *bytes > host)
		warn_large(*bytes, host);
	else if (host && !chosen && *bytes > host / 5 * 4)
		log_warn("host RAM of %lluMB is little for a guest of %lluMB",
			 (unsigned long long)(host / MIB), (unsigned long long)(*bytes / MIB));
	return check_prealloc(&m->cfg.ram, host);
}

static int do_ram(struct vm *m)
{
	uint64_t *bytes = &m->cfg.ram.size_bytes;
	int err;

	choose_cpus(m);
	err = choose_ram_size(m);
	if (!err)
		err = kvm_check_ram_size(cpu_phys_bits(), *bytes);
	if (!err)
		err = ram_backing_open(&m->backing, &m->cfg.ram, *bytes);
	if (err)
		return err;
	err = ram_init(&m->ram, *bytes, &m->backing);
	if (err)
		return ram_backing_failed(&m->backing, *bytes, err);
	if (m->backing.refused[0])
		log_debug(LOG_RAM, "the host refused memory advice:%s", m->backing.refused);
	ram_fault_report(&m->ram, clean_up_now);
	return 0;
}

static void undo_ram(struct vm *m)
{
	ram_fault_report(NULL, NULL);
	ram_fini(&m->ram);
	ram_backing_close(&m->backing);
}

/* ---- VM ---- */

static int check_cpus(struct vm *m)
{
	unsigned most = kvm_max_vcpus(&m->kvm), good = kvm_recommended_vcpus(&m->kvm);

	if (m->cfg.cpus > most)
		return log_errx(-EINVAL, "Too many CPUs: %u (this host's KVM_CAP_MAX_VCPUS is %u)",
				m->cfg.cpus, most);
	if (m->cfg.cpus > good)
		log_warn("%u CPUs are more than this host's KVM_CAP_NR_VCPUS recommends (%u)",
			 m->cfg.cpus, good);
	return 0;
}

static int do_vm(struct vm *m)
{
	int err = kvm_open(&m->kvm);

	if (err)
		return err;
	m->wake = (struct loop_source){ m->kvm.wake_fd, wake_ready };
	err = loop_add(&m->loop, &m->wake, EPOLLIN);
	return err ? log_err(err, "event loop") : check_cpus(m);
}

static void undo_vm(struct vm *m)
{
	kvm_close(&m->kvm);
}

/* ---- control socket ---- */

static int do_socket(struct vm *m)
{
	int err = ipc_server_new(&m->loop, m->cfg.name, control_handle, &m->control, &m->ipc);

	leftover_socket = m->ipc;
	return err;
}

static void undo_socket(struct vm *m)
{
	leftover_socket = NULL;
	ipc_server_free(m->ipc);
	m->ipc = NULL;
}

static int do_irqchip(struct vm *m)
{
	int err = kvm_map_ram(&m->kvm, &m->ram);

	if (!err)
		err = kvm_create_irqchip(&m->kvm);
	return err ? err : kvm_irq_new(&m->kvm, &m->irq);
}

static void undo_irqchip(struct vm *m)
{
	kvm_irq_free(m->irq);
}

/* ---- console, devices ---- */

static void console_quit(void *ctx)
{
	kvm_stop(&((struct vm *)ctx)->kvm, STOP_REQUEST, 0);
}

static void console_panic(void *ctx)
{
	kvm_stop(&((struct vm *)ctx)->kvm, STOP_PANIC, 0);
}

static int do_console(struct vm *m)
{
	struct console_config cfg = {
		.in_fd = STDIN_FILENO,
		.out_fd = STDOUT_FILENO,
		.loop = &m->loop,
		.quit = console_quit,
		.panic = console_panic,
		.ctx = m,
	};

	int err = console_new(&cfg, &m->console);

	return err ? err : run_ttys_open(&m->ttys, &m->cfg, &m->loop, m->console);
}

static void undo_console(struct vm *m)
{
	run_ttys_close(&m->ttys, &m->cfg);
	console_free(m->console);
}

static int do_platform(struct vm *m)
{
	/* With a virtio console further terminals are its ports. */
	struct console *const first[CONFIG_TTYS] = { m->console };
	const struct platform_env env = {
		.config = &m->cfg,
		.kvm = &m->kvm,
		.machine = kvm_irq_machine(m->irq),
		.loop = &m->loop,
		.console = m->cfg.console_virtio ? first : m->ttys.console,
	};

	return platform_new(&env, &m->platform);
}

static void undo_platform(struct vm *m)
{
	platform_free(m->platform);
}

/* A live disk takes eight: with the usual limit of 1024 a hundred of them would be too many. */
static void raise_fd_limit(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files))
		return;
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files))
		log_debug(LOG_DEVICE, "limit of open files: %s", strerror(errno));
}

static int do_virtio(struct vm *m)
{
	const struct virtio_env env = {
		.config = &m->cfg,
		.ram = &m->ram,
		.pio = &m->kvm.pio,
		.mmio = &m->kvm.mmio,
		.machine = kvm_irq_machine(m->irq),
		.console = m->ttys.console,
	};

	raise_fd_limit();
	return virtio_list_new(&env, &m->virtio);
}

static void undo_virtio(struct vm *m)
{
	virtio_list_free(m->virtio);
	m->virtio = NULL;
}

/* ---- boot ---- */

static int build_tables(struct vm *m, const struct acpi_config *acpi, gpa_t *ret_rsdp,
			uint64_t *ret_bytes)
{
	gpa_t end = GPA(LAYOUT_BIOS);
	int err = m->cfg.no_acpi ? 0 : acpi_build(&m->ram, acpi, ret_rsdp, &end);

	if (err)
		return log_err(err, "ACPI tables");
	*ret_bytes = end.v - LAYOUT_BIOS;
	err = mptable_build(&m->ram, m->cfg.cpus, acpi->has_pci, GPA(ALIGN_UP(end.v, 16)), &end);
	return err ? log_err(err, "MP table") : 0;
}

/*
 * Where the virtio-mmio devices are, for a guest that is to find it on its command line: behind the
 * default one. Each device takes "virtio_mmio.device=4K@0xe1000000:10 ".
 */
static int announce_virtio(struct vm *m, const char *cmdline)
{
	unsigned n;
	const struct virtio_mmio_place *place = virtio_list_mmio(m->virtio, &n);
	FILE *f = open_memstream(&m->cmdline, &(size_t){ 0 });

	if (!f)
		return log_err(-errno, "kernel command line");
	fputs(cmdline ? cmdline : "", f);
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "%svirtio_mmio.device=4K@%#llx:%u", i || cmdline ? " " : "",
			(unsigned long long)place[i].base, place[i].gsi);
	return fclose(f) ? log_err(-errno, "kernel command line") : 0;
}

static struct acpi_config describe(const struct vm *m)
{
	struct acpi_config hardware = {
		.cpus = m->cfg.cpus,
		.has_pvpanic = true,
		.com = { true, true, true, true },
		.has_pci = !m->cfg.virtio_mmio,
	};

	/* Devices that are announced twice would be there twice. */
	if (!m->cfg.virtio_mmio_cmdline)
		hardware.virtio_mmio = virtio_list_mmio(m->virtio, &hardware.n_virtio_mmio);
	return hardware;
}

/*
 * A Linux that has a device tree does not use the MP table's ISA interrupts, which are all that it can
 * be told of on its command line, and of the PICs only the first one works then.
 */
static bool pass_dtb(const struct vm_config *cfg)
{
	return cfg->no_acpi && !cfg->virtio_mmio_cmdline;
}

static const char *default_cmdline(const struct vm_config *cfg)
{
	if (cfg->nodefaults)
		return NULL;
	return cfg->console_virtio ? RUN_VIRTIO_CMDLINE : RUN_DEFAULT_CMDLINE;
}

static int do_boot(struct vm *m)
{
	const struct acpi_config hardware = describe(m);
	struct boot_config boot = {
		.kernel = m->cfg.kernel,
		.initrd = m->cfg.initrd,
		.n_initrds = m->cfg.n_initrds,
		.cmdline = m->cfg.params,
		.default_cmdline = default_cmdline(&m->cfg),
		.machine = &hardware,
		.pass_dtb = pass_dtb(&m->cfg),
		.dump_dtb = m->cfg.dump_dtb,
	};
	int err = build_tables(m, &hardware, &boot.rsdp, &boot.acpi_bytes);

	if (!err && m->cfg.virtio_mmio_cmdline) {
		err = announce_virtio(m, boot.default_cmdline);
		boot.default_cmdline = m->cmdline;
	}
	return err ? err : boot_load(&m->ram, &boot, &m->entry);
}

static void undo_boot(struct vm *m)
{
	free(m->cmdline);
}

/* ---- vCPUs ---- */

static int do_cpus(struct vm *m)
{
	struct kvm *kvm = &m->kvm;
	int err = cpuid_build(kvm->dev_fd, m->cfg.cpus, m->cfg.cpu_flag, m->cfg.n_cpu_flags,
			      kvm->tsc_deadline, &m->cpuid);

	if (err)
		return err;
	kvm->cpus = calloc(m->cfg.cpus, sizeof(*kvm->cpus));
	if (!kvm->cpus)
		return log_err(-ENOMEM, "vCPUs");
	for (unsigned id = 0; !err && id < m->cfg.cpus; id++) {
		struct kvm_cpu *cpu = &kvm->cpus[id];

		kvm->n_cpus = id + 1;
		err = kvm_cpu_init(cpu, kvm, id);
		if (!err)
			err = regs_setup(cpu->fd, id, m->cpuid, id ? NULL : &m->entry);
	}
	return err;
}

static void undo_cpus(struct vm *m)
{
	for (unsigned id = 0; id < m->kvm.n_cpus; id++)
		kvm_cpu_fini(&m->kvm.cpus[id]);
	free(m->kvm.cpus);
	free(m->cpuid);
	m->kvm.cpus = NULL;
	m->kvm.n_cpus = 0;
}

/* ---- time limit ---- */

static void timer_ready(struct loop_source *src, uint32_t events)
{
	(void)events;
	kvm_stop(&container_of(src, struct vm, timer)->kvm, STOP_TIMEOUT, 0);
}

static int do_timer(struct vm *m)
{
	const struct itimerspec when = { .it_value.tv_sec = m->cfg.timeout_s };
	int err;

	m->timer = (struct loop_source){ -1, timer_ready };
	if (!m->cfg.timeout_s)
		return 0;
	m->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (m->timer.fd < 0 || timerfd_settime(m->timer.fd, 0, &when, NULL))
		return log_err(-errno, "timer of --timeout");
	err = loop_add(&m->loop, &m->timer, EPOLLIN);
	return err ? log_err(err, "event loop") : 0;
}

static void undo_timer(struct vm *m)
{
	if (m->timer.fd >= 0)
		close(m->timer.fd);
}

/* ---- run ---- */

/*
 * How long a reader of the console may stand still before the rest is dropped. After an ending of
 * the guest's own he may take his time; one that the host asked for must not hang on him.
 */
static int drain_patience(enum stop_cause cause)
{
	switch (cause) {
	case STOP_REQUEST:
	case STOP_SIGNAL:
	case STOP_TIMEOUT:
	case STOP_HOST_ERROR:
		return DRAIN_PATIENCE_MS;
	default:
		return -1;
	}
}

/* Until the guest has ended and everything that it printed is written. */
static int do_run(struct vm *m)
{
	const sigset_t handled = handled_signals(m);
	int err;

	pthread_sigmask(SIG_BLOCK, &handled, NULL);
	m->control = (struct control){
		.kvm = &m->kvm,
		.platform = m->platform,
		.console = m->console,
		.config = &m->cfg,
		.start_ns = m->result.start_ns,
	};
	err = console_start(m->console);
	if (!err)
		err = run_ttys_start(&m->ttys, &m->cfg);
	if (!err)
		err = kvm_start(&m->kvm);
	if (err)
		return err;
	m->result.boot_ns = now_ns();
	err = loop_run(&m->loop);
	if (err)
		kvm_stop(&m->kvm, STOP_HOST_ERROR, (uint32_t)-err);
	kvm_join(&m->kvm);
	m->result.end_ns = now_ns();
	m->result.cause = kvm_stop_cause(&m->kvm, &m->result.value);
	/* Now, because a virtio console may still have output of the guest. */
	undo_virtio(m);
	/* Nobody answers requests any more, and the output's reader may take his time. */
	undo_socket(m);
	/* The terminal's job control must not cut the output short. */
	signalfd(m->signals.fd, &m->ending, 0);
	console_drain(m->console, m->signals.fd, drain_patience(m->result.cause));
	return 0;
}

static char *fault_reason(const struct kvm_cpu *cpu)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	kvm_cpu_print_reason(out, cpu);
	fclose(out);
	return text;
}

/* Judge and report while the console and the vCPUs are still there to be asked. */
static void undo_run(struct vm *m)
{
	static char last_lines[LAST_LINES_BYTES];
	struct run_result *r = &m->result;

	if (r->cause == STOP_NONE)
		return;
	tty_restore();
	r->panic = console_panic_line(m->console);
	console_last_lines(m->console, last_lines, sizeof(last_lines));
	r->last_lines = last_lines;
	if (r->cause == STOP_FAULT)
		r->fault = fault_reason(&m->kvm.cpus[r->value]);
	r->status = run_status(r->cause, r->value, r->panic);
	run_result_print(&m->kvm, &m->cfg, r);
	if (run_result_close(m->result_file, &m->cfg, r))
		r->status = EXIT_USAGE;
	m->result_file = NULL;
	free(r->fault);
}

static const struct step {
	const char *name;
	int (*make)(struct vm *m); /* 0 or -errno, logged */
	void (*undo)(struct vm *m); /* also after its own make() failed half-way; may be NULL */
} steps[] = {
	{ "signals", do_signals, undo_signals },
	{ "event loop", do_loop, undo_loop },
	{ "RAM", do_ram, undo_ram },
	{ "VM", do_vm, undo_vm },
	{ "control socket", do_socket, undo_socket },
	{ "memory slots, interrupt chips", do_irqchip, undo_irqchip },
	{ "console", do_console, undo_console },
	{ "chips", do_platform, undo_platform },
	{ "virtio devices", do_virtio, undo_virtio },
	{ "kernel", do_boot, undo_boot },
	{ "vCPUs", do_cpus, undo_cpus },
	{ "time limit", do_timer, undo_timer },
	{ "run", do_run, undo_run },
};

static void machine_run(struct vm *m)
{
	size_t i = 0;
	int err = 0;

	while (!err && i < ARRAY_SIZE(steps)) {
		err = steps[i].make(m);
		i++;
	}
	if (err)
		log_debug(LOG_BOOT, "step '%s' failed", steps[i - 1].name);
	while (i-- > 0)
		if (steps[i].undo)
			steps[i].undo(m);
}

/* Return: the exit status */
static int run_machine(struct vm *m)
{
	if (run_result_open(&m->cfg, &m->result_file))
		return EXIT_USAGE;
	machine_run(m);
	/* Still open: the guest never started. */
	m->result.end_ns = now_ns();
	run_result_close(m->result_file, &m->cfg, &m->result);
	return m->result.status;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	/* Static: it is large, and a process runs one machine. Everything else gets a pointer to it. */
	static struct vm m;
	int status = EXIT_USAGE;

	m.result = (struct run_result){ .start_ns = now_ns(), .status = EXIT_USAGE };
	m.backing.fd = -1;
	switch (run_config_parse(cmd, argc, argv, &m.cfg)) {
	case OPTIONS_OK:
		status = run_machine(&m);
		break;
	case OPTIONS_HELP:
		status = EXIT_SUCCESS;
		break;
	case OPTIONS_BAD:
		break;
	}
	run_config_free(&m.cfg);
	return status;
}

const struct command run_command = {
	.name = "run",
	.summary = "Boot a kernel in a new virtual machine",
	.operands = "[KERNEL]",
	.operand_complete = COMPLETE_FILE,
	.description = run_description,
	.opts = run_options,
	.run = run,
};
