/*
 * `lkvm run`: one machine (vm/vm.c) as this process's job. Here is what belongs to the process: signals,
 * the terminal, the exit status and --result.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lkvm/builtin.h"
#include "lkvm/clock.h"
#include "lkvm/console.h"
#include "lkvm/console/tty.h"
#include "lkvm/ipc.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/log.h"
#include "lkvm/vm/vm.h"

#define LARGE_BYTES (128 << 10)
#define GRACE_S 2 /* between the end's own limit and that of the process */

struct run {
	struct vm *vm; /* NULL before it is made, and after it was freed */
	struct vm_config cfg;
	struct run_result result;
	struct run_file result_file; /* --result */
	struct run_file junit_file;  /* --junit */
	sigset_t ending;             /* signals that end lkvm */
	struct loop_source signals;  /* signalfd */
	bool signalled;              /* one has come while the guest ran */
	int detach_fd;               /* --detach: who is told that it runs; -1: nobody */
};

/* ---- signals ---- */

/* A signal handler has no argument: hence this one pointer, set while the process has a machine. */
static struct run *running;

/* What must not be left behind on a sudden end. */
static void clean_up_now(void)
{
	tty_restore();
	if (running)
		vm_unlink_now(running->vm);
}

/* While the machine is built, and at the second signal, nobody waits for an orderly end. */
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

static void arm_signals(const sigset_t *ending, void (*handler)(int))
{
	const struct sigaction act = { .sa_handler = handler };

	for (int sig = 1; sig < SIGRTMIN; sig++)
		if (sigismember(ending, sig))
			sigaction(sig, &act, NULL);
}

/*
 * The end has a time limit. What hangs is given up by its name before this comes (vm/end.c); here it
 * is a call that frees something, in the kernel. No lock may be taken.
 */
static void on_end_limit(int sig)
{
	const struct run *run = running;
	char line[256];
	int len;

	(void)sig;
	clean_up_now();
	len = snprintf(line, sizeof(line), "lkvm: guest '%s' has not ended in time: it hangs in: %s\n",
		       run->cfg.name, vm_step(run->vm));
	log_set_patience(0);
	log_text(line, (size_t)len);
	_exit(run->result.status ? run->result.status : EXIT_USAGE);
}

/*
 * The first signal, but the machine is ending already, for another reason: what is waited for out of
 * courtesy is not waited for any more, and what hangs gets one more second.
 */
static void on_late_signal(int sig)
{
	int err = errno;

	(void)sig;
	arm_signals(&running->ending, on_sudden_signal);
	alarm(vm_hurry(running->vm) + GRACE_S);
	errno = err;
}

static void limit_end(void *ctx, unsigned seconds)
{
	(void)ctx;
	alarm(seconds ? seconds + GRACE_S : 0);
}

/* Whatever the main thread is waiting for from now on, signals are heard. */
static void hear_signals(void *ctx)
{
	const struct sigaction limit = { .sa_handler = on_end_limit };
	struct run *run = ctx;
	sigset_t heard = run->ending;

	sigaction(SIGALRM, &limit, NULL);
	if (!run->signalled && run->result.boot_ns)
		arm_signals(&run->ending, on_late_signal);
	sigaddset(&heard, SIGALRM);
	pthread_sigmask(SIG_UNBLOCK, &heard, NULL);
}

static void signals_ready(struct loop_source *src, uint32_t events)
{
	struct run *run = container_of(src, struct run, signals);
	struct console *console = vm_console(run->vm);
	struct signalfd_siginfo info;

	(void)events;
	if (read(src->fd, &info, sizeof(info)) != sizeof(info))
		return;
	switch (info.ssi_signo) {
	case SIGTSTP:
		console_suspend(console);
		break;
	case SIGCONT:
		console_continued(console);
		break;
	case SIGWINCH:
		console_resized(console);
		break;
	case KVM_KICK_SIGNAL:
		break;
	default:
		/* A second one ends lkvm at once. */
		run->signalled = true;
		pthread_sigmask(SIG_UNBLOCK, &run->ending, NULL);
		vm_stop(run->vm, STOP_SIGNAL, info.ssi_signo);
	}
}

/* Until the guest runs, they end lkvm at once. */
static void arm_first_signals(struct run *run)
{
	/* Writing to a reader that left is an error code, not the end. */
	signal(SIGPIPE, SIG_IGN);
	/* So is writing beyond what `ulimit -f` allows. */
	signal(SIGXFSZ, SIG_IGN);
	run->ending = ending_signals();
	arm_signals(&run->ending, on_sudden_signal);
}

/* From now on they come through the event loop. */
static int take_signals(struct run *run)
{
	sigset_t set = run->ending;
	int err;

	sigaddset(&set, SIGTSTP);
	sigaddset(&set, SIGCONT);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, KVM_KICK_SIGNAL);
	run->signals = (struct loop_source){ signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
					     signals_ready };
	if (run->signals.fd < 0)
		return log_err(-errno, "signalfd");
	err = loop_add(vm_loop(run->vm), &run->signals, EPOLLIN);
	if (err)
		return log_err(err, "event loop");
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return 0;
}

/* ---- the end ---- */

static void not_written(struct run *run, const char *name, int err)
{
	if (!err)
		return;
	log_err(err, "write '%s'", name);
	if (!run->result.status)
		run->result.status = EXIT_USAGE;
}

static void write_result(struct run *run)
{
	not_written(run, run->cfg.result, run_result_write(&run->result_file, &run->cfg, &run->result));
}

/* The reason of the run's end is the last that is said. */
static void report(void *ctx)
{
	struct run *run = ctx;
	struct run_result *r = &run->result;

	tty_restore();
	run_judge(r, &run->cfg);
	if (r->hung && !r->status)
		r->status = EXIT_USAGE;
	if (r->cause == STOP_REQUEST || (r->status && r->cause != STOP_DEBUG_EXIT))
		console_end_line(vm_console(run->vm));
	not_written(run, run->cfg.junit, run_junit_write(&run->junit_file, &run->cfg, r));
	write_result(run);
	run_report(vm_kvm(run->vm), &run->cfg, r);
}

/* A run that never started, for whoever reads --result. */
static void write_failure(struct run *run)
{
	struct run_result *r = &run->result;

	if (!*r->error)
		log_last_error(r->error, sizeof(r->error));
	r->end_ns = now_ns();
	run_judge(r, &run->cfg);
	write_result(run);
}

/* A thread that hangs may use anything at any time. What others could see of us goes, the rest stays. */
static void leave_behind(const struct run *run)
{
	fflush(NULL);
	clean_up_now();
	_exit(run->result.status);
}

/*
 * The command line is wrong, perhaps in front of --result: an older result must not be taken for this
 * run's. That a new one cannot be made goes unsaid, as one line is said already.
 */
static void write_refusal(struct run *run, const char *name)
{
	if (run_file_open(&run->result_file, name))
		return;
	run->cfg.result = name;
	write_failure(run);
}

/* ---- --detach ---- */

/*
 * The parent's part: it waits until the guest runs, which its name tells, or has failed. If it goes away
 * before that, so does the guest (PR_SET_PDEATHSIG).
 */
static int wait_until_ready(int fd, pid_t child)
{
	char name[IPC_NAME_MAX + 1];
	size_t len = 0;
	ssize_t n;
	int status;

	do {
		n = read(fd, name + len, sizeof(name) - len);
		len += n > 0 ? (size_t)n : 0;
	} while (n > 0 || (n < 0 && errno == EINTR));
	if (len) {
		printf("%.*s\n", (int)len, name);
		return EXIT_SUCCESS;
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return EXIT_USAGE;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/*
 * From here on there are two. Return: true in the child, which goes on in a session of its own; false in
 * the parent, whose exit status is then known
 */
static bool detach(struct run *run)
{
	const pid_t parent = getpid();
	int fds[2];
	pid_t child;

	if (pipe2(fds, O_CLOEXEC)) {
		log_err(-errno, "pipe");
		return false;
	}
	child = fork();
	if (child) {
		if (child < 0)
			log_err(-errno, "fork");
		close(fds[1]);
		if (child > 0)
			run->result.status = wait_until_ready(fds[0], child);
		close(fds[0]);
		return false;
	}
	close(fds[0]);
	run->detach_fd = fds[1];
	setsid();
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(EXIT_USAGE);
	return true;
}

static int use_null(int first, int last)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = first; null >= 0 && fd <= last; fd++)
		dup2(null, fd);
	if (null < 0)
		return log_err(-errno, "open '/dev/null'");
	close(null);
	return 0;
}

/* Standard error is the caller's until now: failures are told there. */
static void ready(void *ctx)
{
	struct run *run = ctx;
	const char *name = run->cfg.name;
	ssize_t n;

	if (run->detach_fd < 0)
		return;
	prctl(PR_SET_PDEATHSIG, 0);
	n = write(run->detach_fd, name, strlen(name));
	close(run->detach_fd);
	run->detach_fd = -1;
	if (n < 0 || use_null(STDERR_FILENO, STDERR_FILENO))
		vm_stop(run->vm, STOP_REQUEST, 0);
}

/* ---- all together ---- */

static void drive(struct run *run)
{
	int err;

	running = run;
	arm_first_signals(run);
	err = vm_build(run->vm);
	if (!err)
		err = take_signals(run);
	if (!err)
		err = vm_run(run->vm);
	if (err)
		log_last_error(run->result.error, sizeof(run->result.error));
	if (vm_end(run->vm))
		leave_behind(run);
	alarm(0);
	running = NULL;
	if (run->signals.fd >= 0)
		close(run->signals.fd);
}

static int open_file(struct run_file *file, const char *name)
{
	int err = run_file_open(file, name);

	return err ? log_err(err, "create '%s'", name) : 0;
}

static void run_machine(struct run *run)
{
	const struct vm_setup setup = {
		.config = &run->cfg,
		.result = &run->result,
		.in_fd = STDIN_FILENO,
		.out_fd = STDOUT_FILENO,
		.err_fd = STDERR_FILENO,
		.ctx = run,
		.ready = ready,
		.clean_up = clean_up_now,
		.ending = hear_signals,
		.limit = limit_end,
		.ended = report,
	};

	if (open_file(&run->result_file, run->cfg.result))
		return;
	if (open_file(&run->junit_file, run->cfg.junit)) {
		write_failure(run);
		return;
	}
	if (run->detach_fd >= 0 && use_null(STDIN_FILENO, STDOUT_FILENO))
		return;
	if (!vm_new(&setup, &run->vm))
		drive(run);
	vm_free(run->vm);
	if (run->result.cause == STOP_NONE)
		write_failure(run);
}

static void show_machine(struct run *run)
{
	const struct vm_setup setup = { .config = &run->cfg, .result = &run->result };

	if (vm_new(&setup, &run->vm))
		return;
	if (!vm_show(run->vm, stdout))
		run->result.status = EXIT_SUCCESS;
	vm_end(run->vm);
	vm_free(run->vm);
}

/* Parsing changes the order of @argv. */
static char **copy_arguments(int argc, char **argv)
{
	char **copy = calloc((size_t)argc + 1, sizeof(*copy));

	if (copy)
		memcpy(copy, argv, (size_t)argc * sizeof(*copy));
	return copy;
}

static void run_free(struct run *run)
{
	run_config_free(&run->cfg);
	run_file_close(&run->junit_file);
	free(run->result.fault);
	free(run->result.cmdline);
	free(run->result.argv);
}

static int run_command_run(const struct command *cmd, int argc, char **argv)
{
	struct run run = { .result = { .start_ns = now_ns(), .status = EXIT_USAGE }, .signals.fd = -1,
			   .junit_file.fd = -1, .detach_fd = -1 };
	const char *result = options_peek(cmd, argc, argv, "result");
	const bool dry = options_peek(cmd, argc, argv, "dry-run"); /* leaves older results alone */

	if (!dry && options_peek(cmd, argc, argv, "detach") && !detach(&run))
		return run.result.status;
	/* What is large and only needed while the machine is made goes back to the host, however much of it there was. */
	mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
	run.result.argv = copy_arguments(argc, argv);
	if (!run.result.argv) {
		log_err(-ENOMEM, "command line");
		return EXIT_USAGE;
	}
	switch (run_config_parse(cmd, argc, argv, &run.cfg)) {
	case OPTIONS_OK:
		if (run.cfg.dry_run)
			show_machine(&run);
		else
			run_machine(&run);
		break;
	case OPTIONS_HELP:
		run.result.status = EXIT_SUCCESS;
		break;
	case OPTIONS_BAD:
		write_refusal(&run, dry ? NULL : result);
		break;
	}
	run_free(&run);
	return run.result.status;
}

const struct command run_command = {
	.name = "run",
	.summary = "Boot a kernel in a new virtual machine",
	.operands = "[KERNEL] [-- COMMAND [ARGUMENT]...]",
	.operand_complete = COMPLETE_FILE,
	.description = run_description,
	.opts = run_options,
	.run = run_command_run,
};
