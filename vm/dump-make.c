/* Making a dump of a machine; see lkvm/vm/dump.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dump-job.h"
#include "lkvm/clock.h"
#include "lkvm/log.h"
#include "lkvm/types.h"
#include "lkvm/vm/dump.h"
#include "lkvm/vm/hold.h"
#include "vm-internal.h"

#define MODE_FILE 0600 /* RAM is full of secrets */
#define MSR_KERNEL_GS_BASE 0xc0000102

struct dump_making {
	struct dump_make_config cfg;
	struct dump_file file;
	struct ram_child child;
	struct dump_packer *packer; /* NULL: there is none, or the file has it */
	struct dump_cpu *cpus;
	bool held;         /* the guest stands still for it, */
	bool is_there;     /* the file has its name */
	uint64_t since_ns; /* from then on */
	struct dump_made made;
};

/* ---- the guest stands still and goes on ---- */

static void release(struct dump_making *d)
{
	if (!d->held)
		return;
	d->held = false;
	vm_release(d->cfg.vm, VM_HOLD_DUMP);
	d->made.pause_ns = now_ns() - d->since_ns;
}

/* A device that hangs hinders nobody: it may still write a few bytes, but dumps are for guests that hang in it. */
static int hold(struct dump_making *d, char *ret_why, size_t cap)
{
	int err;

	if (d->cfg.has_ended)
		return 0;
	d->since_ns = now_ns();
	err = vm_hold_patiently(d->cfg.vm, VM_HOLD_DUMP);
	d->held = !err || err == -EINPROGRESS;
	if (err != -EINPROGRESS || kvm_outside(&d->cfg.vm->kvm))
		return d->held ? 0 : err;
	vm_describe_busy(d->cfg.vm, ret_why, cap);
	return -EBUSY;
}

/* ---- its state ---- */

static int get_cpu(int fd, struct dump_cpu *ret)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msr = { .head.nmsrs = 1, .entry.index = MSR_KERNEL_GS_BASE };

	if (ioctl(fd, KVM_GET_REGS, &ret->regs) < 0 || ioctl(fd, KVM_GET_SREGS, &ret->sregs) < 0)
		return -errno;
	ret->kernel_gs_base = ioctl(fd, KVM_GET_MSRS, &msr) == 1 ? msr.entry.data : 0;
	return 0;
}

static int make_format(struct dump_making *d, const struct dump_source *src)
{
	struct dump_packer *packer = d->packer;

	if (!packer)
		return dump_elf_head(src, &d->file.head);
	d->packer = NULL;
	return kdump_new(src, packer, &d->file.kdump);
}

static int make_head(struct dump_making *d, const struct linux_guest *guest)
{
	const struct kvm *kvm = &d->cfg.vm->kvm;
	struct dump_source src = {
		.ram = d->cfg.vm->ram, .cpus = d->cpus, .n_cpus = kvm->n_cpus, .exclude = &d->file.exclude,
	};
	int err = 0;

	if (guest) {
		src.guest = guest;
		linux_map(guest, &src.map);
		d->made.has_linux = true;
	}
	for (unsigned i = 0; !err && i < kvm->n_cpus; i++)
		err = get_cpu(kvm->cpus[i].fd, &d->cpus[i]);
	return err ? err : make_format(d, &src);
}

/* Once the vCPUs have ended nobody can ask again. */
static int choose_pages(struct dump_making *d, const struct linux_guest *guest, char *ret_why, size_t cap)
{
	const struct ram *ram = d->cfg.vm->ram;
	int err = dump_exclude_init(&d->file.exclude, ram, d->cfg.exclude, guest, ret_why, cap);

	if (err != -ENODATA || !d->cfg.has_ended)
		return err;
	log_warn("the dump has all pages: %s", ret_why);
	ret_why[0] = '\0';
	return dump_exclude_init(&d->file.exclude, ram, d->cfg.exclude & DUMP_NO_ZERO, NULL, ret_why, cap);
}

/* ---- the file ---- */

static int failed(int err, char *ret_why, size_t cap, const char *what)
{
	snprintf(ret_why, cap, "%s: %s", what, strerror(-err));
	return err;
}

/* Without a name, where the file system can do that: then nothing stays, whoever is killed */
static int create(struct dump_file *file)
{
	uint32_t random;

	file->fd = openat(file->folder_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, MODE_FILE);
	if (file->fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL))
		return file->fd < 0 ? -errno : 0;
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	snprintf(file->temp, sizeof(file->temp), DUMP_TEMP "%08x", random);
	file->fd = openat(file->folder_fd, file->temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, MODE_FILE);
	if (file->fd >= 0)
		return 0;
	file->temp[0] = '\0'; /* it is not ours to remove */
	return -errno;
}

static int make_file(struct dump_file *file, char *ret_why, size_t cap)
{
	struct stat st;
	int err;

	if (!fstatat(file->folder_fd, file->name, &st, AT_SYMLINK_NOFOLLOW)) {
		snprintf(ret_why, cap, "it exists, and is not replaced");
		return -EEXIST;
	}
	err = errno == ENOENT ? create(file) : -errno;
	return err ? failed(err, ret_why, cap, "create a file") : 0;
}

/* ---- the child ---- */

static void tell_over(struct dump_making *d, int err, const char *why)
{
	ram_child_hush(&d->child);
	release(d);
	d->cfg.over(d->cfg.ctx, err, why, &d->made);
}

static void child_says(void *ctx, int pipe_fd)
{
	static const char *const what[] = { [DUMP_WRITE] = "write it", [DUMP_NAME] = "give it its name" };
	struct dump_making *d = ctx;
	struct dump_report report;
	ssize_t n = read(pipe_fd, &report, sizeof(report));
	char why[128];

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n != sizeof(report) || report.step > DUMP_DONE) {
		tell_over(d, -EIO, "the process that wrote it has died");
		return;
	}
	d->made.ram_bytes = report.ram_bytes;
	d->made.left_out = report.left_out;
	d->made.left_out.zero = (report.all_bytes - report.ram_bytes) / RAM_PAGE_BYTES -
				dump_excluded_pages(&(struct dump_exclude){ .left_out = report.left_out });
	if (report.step == DUMP_COPIED) {
		release(d);
	} else if (report.step == DUMP_DONE) {
		d->is_there = true;
		tell_over(d, 0, "");
	} else {
		failed(report.err, why, sizeof(why), what[report.step]);
		tell_over(d, report.err, why);
	}
}

static void child_over(void *ctx, bool is_dead)
{
	struct dump_making *d = ctx;

	(void)is_dead;
	if (*d->file.temp && !d->is_there)
		unlinkat(d->file.folder_fd, d->file.temp, 0);
	if (d->file.fd >= 0)
		close(d->file.fd);
	close(d->file.folder_fd);
	dump_packer_free(d->packer);
	kdump_free(d->file.kdump);
	dump_exclude_fini(&d->file.exclude);
	state_buf_free(&d->file.head);
	free(d->file.name);
	free(d->cpus);
	free(d);
}

__attribute__((noreturn)) static void child_runs(void *ctx, int pipe_fd)
{
	struct dump_making *d = ctx;

	dump_child(&d->file, pipe_fd);
}

static int start_child(struct dump_making *d, char *ret_why, size_t cap)
{
	const struct vm_config *cfg = d->cfg.vm->cfg;
	const int keep[] = { d->file.folder_fd, d->file.fd };
	int err = ram_child_start(&d->child, keep, ARRAY_SIZE(keep));

	if (err)
		return failed(err, ret_why, cap, "start a process that writes it");
	/* Else the child's RAM does not stay as it was; where huge pages are short, the host takes them from it. */
	if (!ram_backing_shared(&cfg->ram) && !cfg->ram.hugepages)
		release(d);
	return 0;
}

/* ---- all together ---- */

static int start(struct dump_making *d, char *ret_why, size_t cap)
{
	const struct linux_guest *guest = NULL;
	int err;

	d->file.name = strdup(d->cfg.name);
	d->cpus = calloc(d->cfg.vm->kvm.n_cpus, sizeof(*d->cpus));
	if (!d->file.name || !d->cpus)
		return -ENOMEM;
	err = make_file(&d->file, ret_why, cap);
	if (!err && d->cfg.compress != DUMP_ELF)
		err = dump_packer_new(d->cfg.compress, &d->packer, ret_why, cap);
	if (!err)
		err = control_linux_told(&d->cfg.vm->control, &guest);
	if (err && err != -ENOENT)
		return err;
	err = choose_pages(d, guest, ret_why, cap);
	if (!err)
		err = hold(d, ret_why, cap);
	if (!err)
		err = make_head(d, guest);
	return err ? err : start_child(d, ret_why, cap);
}

static void init_child(struct dump_making *d)
{
	const struct ram_child_config cfg = {
		.dying = &d->cfg.vm->control.dying,
		.loop = &d->cfg.vm->loop,
		.ram = d->cfg.vm->ram,
		.run = child_runs,
		.says = child_says,
		.over = child_over,
		.ctx = d,
	};

	ram_child_init(&d->child, &cfg);
}

int dump_make_start(const struct dump_make_config *cfg, struct dump_making **ret, char *ret_why, size_t cap)
{
	struct dump_making *d = calloc(1, sizeof(*d));
	int err;

	ret_why[0] = '\0';
	if (!d) {
		close(cfg->folder_fd);
		return -ENOMEM;
	}
	d->cfg = *cfg;
	d->file = (struct dump_file){ .folder_fd = cfg->folder_fd, .fd = -1, .ram = cfg->vm->ram };
	init_child(d);
	err = start(d, ret_why, cap);
	if (err)
		dump_make_free(d);
	else
		*ret = d;
	return err;
}

void dump_make_free(struct dump_making *d)
{
	if (!d)
		return;
	release(d);
	ram_child_free(&d->child);
}
