/* `monitor` of gdb's: what else can be done to the machine, in words. The machine stands still. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "debugger.h"
#include "lkvm/console.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/linux/printk.h"
#include "lkvm/mask.h"
#include "lkvm/vm/control.h"
#include "lkvm/vm/snapshot-make.h"
#include "lkvm/x86/cpu.h"
#include "vm-internal.h"

struct monitor {
	struct debugger *d;
	unsigned cpu; /* that the debugger has chosen */
	const char *arg; /* the rest of the line, "" if there is none */
	FILE *out;
};

static int help(struct monitor *m);

static int reset(struct monitor *m)
{
	m->d->end(m->d->ctx, GDB_RESTART);
	return 0;
}

static int nmi(struct monitor *m)
{
	unsigned cpu = m->cpu;

	if (*m->arg && options_unsigned(m->arg, 0, m->d->vm->kvm.n_cpus - 1, &cpu)) {
		fprintf(m->out, "'%s' is not the number of a virtual CPU\n", m->arg);
		return 0;
	}
	if (ioctl(m->d->vm->kvm.cpus[cpu].fd, KVM_NMI) < 0)
		return -errno;
	fprintf(m->out, "vCPU %u gets it when it goes on\n", cpu);
	return 0;
}

static int sysrq(struct monitor *m)
{
	if (m->arg[0] <= ' ' || m->arg[0] > '~' || m->arg[1]) {
		fprintf(m->out, "sysrq needs one character\n");
		return 0;
	}
	if (!m->d->vm->console)
		return -ENODEV;
	console_send(m->d->vm->console, (const uint8_t *)m->arg, 1, true);
	fprintf(m->out, "the guest gets it when it goes on\n");
	return 0;
}

static int memmap(struct monitor *m)
{
	control_memmap(&m->d->vm->control, false, m->out);
	return 0;
}

static int clocks(struct monitor *m)
{
	control_clock(&m->d->vm->control, false, m->out);
	return 0;
}

static int translate(struct monitor *m)
{
	const struct kvm_sregs *sregs = x86_view_sregs(&m->d->views[m->cpu]);
	struct walk walk;
	char *end;
	uint64_t virt = strtoull(m->arg, &end, 16);

	if (end == m->arg || *end) {
		fprintf(m->out, "'%s' is not a hexadecimal address\n", m->arg);
		return 0;
	}
	if (!sregs)
		return -EIO;
	walk_page_tables(m->d->vm->ram, sregs, virt, &walk);
	fault_print_walk(m->out, m->d->vm->ram, virt, &walk);
	return 0;
}

/* ---- the kernel's log ---- */

static int dmesg(struct monitor *m)
{
	const struct linux_guest *guest;
	struct linux_record record;
	struct linux_log log;
	int err = debugger_linux(m->d, &guest);

	if (!err)
		err = linux_log_open(guest, &log);
	if (err) {
		fprintf(m->out, "no kernel's log is found: %s\n", strerror(-err));
		return 0;
	}
	while (!linux_log_next(&log, &record)) {
		record.text[mask_text(record.text, record.len, "\t\n")] = '\0';
		fprintf(m->out, "[%5llu.%06llu] %s\n", (unsigned long long)(record.ts_ns / 1000000000),
			(unsigned long long)(record.ts_ns / 1000 % 1000000), record.text);
	}
	return 0;
}

/* ---- a snapshot ---- */

/* It is freed here, or with the debugger. */
static void saved(void *ctx, int err, const char *why, const struct snapshot_made *made)
{
	struct debugger *d = ctx;
	char text[512];

	if (err)
		snprintf(text, sizeof(text), "it was not saved: %s\n", why);
	else
		snprintf(text, sizeof(text), "saved, %llu MB\n", (unsigned long long)(made->job.ram_bytes >> 20));
	snapshot_make_free(d->making);
	d->making = NULL;
	d->say(d->ctx, text);
}

/* The folder that it is to be in, and its name there. Return: -errno */
static int open_folder(const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	char *folder;
	int fd;

	*ret_name = slash ? slash + 1 : path;
	folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	if (!folder)
		return -ENOMEM;
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	free(folder);
	return fd;
}

static int snapshot(struct monitor *m)
{
	struct snapshot_make_config cfg = { .vm = m->d->vm, .over = saved, .ctx = m->d };
	const char *no = m->d->is_local ? control_no_snapshot(&m->d->vm->control) : "not for a debugger on a network";
	char why[256] = "";
	int err;

	if (!*m->arg)
		no = "which folder is it to be?";
	if (no) {
		fprintf(m->out, "it was not saved: %s\n", no);
		return 0;
	}
	cfg.folder_fd = open_folder(m->arg, &cfg.name);
	err = cfg.folder_fd < 0 ? cfg.folder_fd : snapshot_make_start(&cfg, &m->d->making, why, sizeof(why));
	if (!err)
		return GDB_LATER;
	m->d->making = NULL;
	fprintf(m->out, "it was not saved: %s\n", *why ? why : strerror(-err));
	return 0;
}

static const struct {
	const char *name, *arg, *help;
	int (*run)(struct monitor *m);
} monitors[] = {
	{ "help", "", "this list", help },
	{ "reset", "", "reset the guest, which ends it", reset },
	{ "nmi", "[CPU]", "send a non-maskable interrupt", nmi },
	{ "sysrq", "CHAR", "send a break and a character to the console", sysrq },
	{ "memmap", "", "memory, gap and devices", memmap },
	{ "translate", "ADDRESS", "walk the page tables of this CPU", translate },
	{ "clock", "", "the guest's clocks and the host's", clocks },
	{ "dmesg", "", "the log of the guest's kernel", dmesg },
	{ "snapshot", "DIR", "save the guest; a path as lkvm run's", snapshot },
};

static int help(struct monitor *m)
{
	for (size_t i = 0; i < ARRAY_SIZE(monitors); i++)
		fprintf(m->out, "%-9s %-8s %s\n", monitors[i].name, monitors[i].arg, monitors[i].help);
	return 0;
}

int debugger_monitor(void *ctx, unsigned cpu, const char *line, FILE *out)
{
	struct monitor m = { .d = ctx, .cpu = cpu, .out = out };
	const size_t n = strcspn(line, " ");

	m.arg = line + n + strspn(line + n, " ");
	for (size_t i = 0; i < ARRAY_SIZE(monitors); i++)
		if (strlen(monitors[i].name) == n && !strncmp(monitors[i].name, line, n))
			return monitors[i].run(&m);
	fprintf(out, "unknown command '%.*s'; `monitor help` has a list\n", (int)n, line);
	return 0;
}
