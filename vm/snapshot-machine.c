/*
 * What a machine that is saved is made of, and the configuration that makes it again; see vm/snapshot.h.
 *
 * Not what belongs to the host's end: name, logs, time limits, where the console leads. Those are options
 * of each run.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/crc32c.h"
#include "lkvm/disk.h"
#include "lkvm/file.h"
#include "lkvm/log.h"
#include "lkvm/x86/layout.h"
#include "snapshot-internal.h"
#include "vm-internal.h"

#define MAX_DISKS    255
#define SAMPLES      64 /* of a disk's contents */
#define SAMPLE_BYTES 4096

/* ---- the machine ---- */

struct machine_state {
	uint64_t ram_bytes;
	uint32_t cpus, disks;
	uint16_t debug_exit_port;
	uint8_t has_debug_exit, has_uuid;
	uint8_t uuid[16];
	uint8_t no_acpi, test_device, console_virtio, hvc_packed;
	uint8_t virtio_mmio, virtio_mmio_cmdline, no_rng, rng_packed;
	uint8_t tty[CONFIG_TTYS];
};

#define FLAG(member) STATE_ONE(struct machine_state, member, .max = 1)

static const struct state_field machine_fields[] = {
	STATE_ONE(struct machine_state, ram_bytes),
	STATE_ONE(struct machine_state, cpus, .max = MAX_VCPUS),
	STATE_ONE(struct machine_state, disks, .max = MAX_DISKS),
	STATE_ONE(struct machine_state, debug_exit_port, .max = 0xfffc),
	FLAG(has_debug_exit),
	FLAG(has_uuid),
	STATE_ARRAY(struct machine_state, uuid),
	FLAG(no_acpi),
	FLAG(test_device),
	FLAG(console_virtio),
	FLAG(hvc_packed),
	FLAG(virtio_mmio),
	FLAG(virtio_mmio_cmdline),
	FLAG(no_rng),
	FLAG(rng_packed),
	STATE_ARRAY(struct machine_state, tty, .max = 1),
};

static const char *machine_check(const void *state)
{
	const struct machine_state *st = state;

	if (st->ram_bytes % RAM_PAGE_BYTES || !st->ram_bytes || st->ram_bytes > INT64_MAX)
		return "ram_bytes";
	return st->cpus ? NULL : "cpus";
}

const struct state_type snapshot_machine_type = {
	STATE_TYPE("machine", 1, struct machine_state, machine_fields),
	.check = machine_check,
};

/* What is on or off, and the option that says so */
static const struct {
	size_t in_config, in_state;
	const char *option;
} flags[] = {
#define BOTH(config_member, state_member, option)                                                  \
	{ offsetof(struct vm_config, config_member),                                               \
	  offsetof(struct machine_state, state_member), option }
	BOTH(no_acpi, no_acpi, "no-acpi"),
	BOTH(test_device, test_device, "test-device"),
	BOTH(console_virtio, console_virtio, "console virtio"),
	BOTH(hvc.packed, hvc_packed, "console virtio,packed"),
	BOTH(virtio_mmio, virtio_mmio, "virtio-transport mmio"),
	BOTH(virtio_mmio_cmdline, virtio_mmio_cmdline, "virtio-transport mmio,cmdline"),
	BOTH(no_rng, no_rng, "rng off"),
	BOTH(rng.packed, rng_packed, "rng packed"),
	BOTH(has_debug_exit, has_debug_exit, "debug-exit"),
	BOTH(has_uuid, has_uuid, "uuid"),
	BOTH(tty[1], tty[1], "tty 1"),
	BOTH(tty[2], tty[2], "tty 2"),
	BOTH(tty[3], tty[3], "tty 3"),
#undef BOTH
};

static void describe_machine(const struct vm_config *cfg, struct machine_state *st)
{
	*st = (struct machine_state){
		.ram_bytes = cfg->ram.size_bytes,
		.cpus = cfg->cpus,
		.disks = cfg->n_disks,
		.debug_exit_port = cfg->debug_exit_port,
	};
	memcpy(st->uuid, cfg->uuid, sizeof(st->uuid));
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		*((uint8_t *)st + flags[i].in_state) = *(const bool *)((const char *)cfg + flags[i].in_config);
}

/* ---- its disks ---- */

struct disk_state {
	uint64_t size_bytes;
	uint64_t device, inode, mtime_ns; /* of the file that it was, */
	uint32_t checksum;                /* of some of its bytes: all only of one that was not copied */
	uint32_t queues, path_n;
	uint8_t read_only, direct, packed, copied;
	uint8_t serial[24], format[16]; /* with a NUL; empty: none was given */
	uint8_t path[4096];
};

static const struct state_field disk_fields[] = {
	STATE_ONE(struct disk_state, size_bytes),
	STATE_ONE(struct disk_state, device),
	STATE_ONE(struct disk_state, inode),
	STATE_ONE(struct disk_state, mtime_ns),
	STATE_ONE(struct disk_state, checksum),
	STATE_ONE(struct disk_state, queues, .max = DISK_MAX_QUEUES),
	STATE_ONE(struct disk_state, path_n, .max = sizeof(((struct disk_state *)0)->path)),
	STATE_ONE(struct disk_state, read_only, .max = 1),
	STATE_ONE(struct disk_state, direct, .max = 1),
	STATE_ONE(struct disk_state, packed, .max = 1),
	STATE_ONE(struct disk_state, copied, .max = 1),
	STATE_ARRAY(struct disk_state, serial),
	STATE_ARRAY(struct disk_state, format),
	STATE_SOME(struct disk_state, path, path_n),
};

static const char *disk_check(const void *state)
{
	const struct disk_state *st = state;

	if (st->serial[sizeof(st->serial) - 1])
		return "serial";
	if (st->format[sizeof(st->format) - 1])
		return "format";
	return st->path_n && !st->path[st->path_n - 1] && memchr(st->path, 0, st->path_n) ==
	       st->path + st->path_n - 1 ? NULL : "path";
}

const struct state_type snapshot_disk_type = {
	STATE_TYPE("disk", 1, struct disk_state, disk_fields),
	.check = disk_check,
};

/* So that a file whose times were set back is not taken for what it was. Return: 0 or -errno */
static int sample(int fd, uint64_t bytes, uint32_t *ret)
{
	const uint64_t step = bytes / SAMPLES / SAMPLE_BYTES * SAMPLE_BYTES;
	uint8_t buf[SAMPLE_BYTES];

	*ret = 0;
	for (uint64_t i = 0; i < SAMPLES; i++) {
		ssize_t n = file_read(fd, buf, sizeof(buf), i * (step ? step : SAMPLE_BYTES));

		if (n < 0)
			return (int)n;
		*ret = crc32c(*ret, buf, (size_t)n);
	}
	return 0;
}

/* Of what @path leads to. Return: 0 or -errno */
static int identify(const char *path, struct disk_state *st)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err = 0;
	struct stat is;
	off_t end;

	if (fd < 0)
		return -errno;
	end = lseek(fd, 0, SEEK_END);
	if (end < 0 || fstat(fd, &is))
		err = -errno;
	if (!err)
		err = sample(fd, (uint64_t)end, &st->checksum);
	close(fd);
	if (err)
		return err;
	st->size_bytes = (uint64_t)end;
	st->device = S_ISBLK(is.st_mode) ? is.st_rdev : is.st_dev;
	st->inode = S_ISBLK(is.st_mode) ? 0 : is.st_ino;
	st->mtime_ns = (uint64_t)is.st_mtim.tv_sec * NS_PER_S + (uint64_t)is.st_mtim.tv_nsec;
	return 0;
}

/* Of one that is copied its file is of no more use, and may be gone. @disk: as it is now */
static int describe_file(const struct disk_config *cfg, const struct disk *disk, struct disk_state *st)
{
	char *path = st->copied ? strdup(cfg->path) : realpath(cfg->path, NULL);
	int err = path ? 0 : -errno;

	if (!err && strlen(path) >= sizeof(st->path))
		err = -ENAMETOOLONG;
	if (!err) {
		st->path_n = (uint32_t)strlen(path) + 1;
		memcpy(st->path, path, st->path_n);
		st->size_bytes = disk->size_bytes;
		err = st->copied ? 0 : identify(path, st);
	}
	free(path);
	return err;
}

static int describe_disk(struct snapshot_writer *w, const struct vm *vm, unsigned i, bool copied)
{
	const struct disk_config *disk = &vm->cfg->disks[i];
	struct disk_state *st = calloc(1, sizeof(*st));
	char name[SNAPSHOT_DISK_BYTES];
	int err;

	if (!st)
		return -ENOMEM;
	st->queues = disk->queues;
	st->read_only = disk->read_only;
	st->direct = disk->direct;
	st->packed = disk->packed;
	st->copied = copied;
	snprintf((char *)st->serial, sizeof(st->serial), "%s", disk->serial ? disk->serial : "");
	/* Where it is may have another extension than how it was called. */
	snprintf((char *)st->format, sizeof(st->format), "%s", disk_format(disk) ? disk_format(disk) : "");
	err = describe_file(disk, virtio_list_disk(vm->virtio, i), st);
	snapshot_disk_name(name, i);
	if (!err)
		err = snapshot_begin(w, name);
	if (!err)
		err = state_pack(&w->buf, &snapshot_disk_type, st);
	free(st);
	return err;
}

/* ---- the configuration from it ---- */

/* What has no meaning for a machine that exists already. Return: 0 or -EINVAL, logged */
static int refuse_options(const struct vm_config *cfg)
{
	const struct {
		bool given;
		const char *option;
	} all[] = {
		{ cfg->kernel, "kernel" },
		{ cfg->n_initrds, "initrd" },
		{ cfg->params, "params" },
		{ cfg->nodefaults, "nodefaults" },
		{ cfg->cpu.n_features, "cpu" },
		{ cfg->dump_dtb, "dump-dtb" },
		{ cfg->dry_run, "dry-run" },
		{ cfg->n_disks, "disk" },
		{ cfg->n_folders, "fs" },
		{ cfg->session.wanted && !cfg->session.has_command, "root" },
		{ cfg->ram.path, "mem-path" },
		{ cfg->ram.share, "mem-share" },
		{ cfg->ram.hugetlbfs, "hugetlbfs" },
		{ cfg->ram.hugepages, "hugepages" },
	};
	int err = 0;

	if (cfg->session.has_command)
		err = log_errx(-EINVAL, "a command does not go with --restore yet");
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].given)
			err = log_errx(-EINVAL, "--%s does not go with --restore: the machine is there already",
				       all[i].option);
	return err;
}

static int other(const struct vm_config *cfg, const char *option)
{
	return log_errx(-EINVAL, "the machine in '%s' was made without --%s", cfg->restore, option);
}

/* Each difference, not only the first. Return: 0 or -EINVAL, logged */
static int compare(const struct vm_config *cfg, const struct machine_state *st)
{
	char has[32], wants[32];
	int err = refuse_options(cfg);

	if (cfg->ram.size_bytes && cfg->ram.size_bytes != st->ram_bytes)
		err = log_errx(-EINVAL, "the machine in '%s' has %s of RAM, not %s (--mem)", cfg->restore,
			       ram_mb_text(st->ram_bytes, has, sizeof(has)),
			       ram_mb_text(cfg->ram.size_bytes, wants, sizeof(wants)));
	if (cfg->cpus && cfg->cpus != st->cpus)
		err = log_errx(-EINVAL, "the machine in '%s' has %u CPUs, not %u (--cpus)", cfg->restore,
			       st->cpus, cfg->cpus);
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (*(const bool *)((const char *)cfg + flags[i].in_config) &&
		    !*((const uint8_t *)st + flags[i].in_state))
			err = other(cfg, flags[i].option);
	if (cfg->has_debug_exit && st->has_debug_exit && cfg->debug_exit_port != st->debug_exit_port)
		err = log_errx(-EINVAL, "the machine in '%s' has its debug exit at 0x%x, not 0x%x",
			       cfg->restore, st->debug_exit_port, cfg->debug_exit_port);
	if (cfg->has_uuid && st->has_uuid && memcmp(cfg->uuid, st->uuid, sizeof(st->uuid)))
		err = log_errx(-EINVAL, "the machine in '%s' has another UUID", cfg->restore);
	return err;
}

static int check_ram_file(const struct vm_config *cfg, uint64_t bytes)
{
	struct stat st;

	if (fstat(snapshot_ram(cfg->snapshot), &st))
		return log_err(-errno, "'%s/%s'", cfg->restore, SNAPSHOT_RAM);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != bytes)
		return log_errx(-EBADMSG, "snapshot '%s' is damaged: '%s' is not as long as its RAM",
				cfg->restore, SNAPSHOT_RAM);
	return 0;
}

static int take_machine(struct vm_config *cfg, uint32_t *ret_disks)
{
	struct machine_state st;
	int err = snapshot_take(cfg->snapshot, "machine", &snapshot_machine_type, &st);

	if (!err)
		err = compare(cfg, &st);
	if (!err)
		err = check_ram_file(cfg, st.ram_bytes);
	if (err)
		return err;
	cfg->ram.size_bytes = st.ram_bytes;
	cfg->ram.saved = true;
	cfg->ram.saved_fd = snapshot_ram(cfg->snapshot);
	cfg->cpus = st.cpus;
	cfg->debug_exit_port = st.debug_exit_port;
	memcpy(cfg->uuid, st.uuid, sizeof(st.uuid));
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		*(bool *)((char *)cfg + flags[i].in_config) = *((const uint8_t *)&st + flags[i].in_state);
	*ret_disks = st.disks;
	return 0;
}

/* One that stayed where it was has to be what it was. */
static int check_unchanged(const struct disk_state *st)
{
	const char *path = (const char *)st->path, *what = NULL;
	struct disk_state now = { 0 };
	int err = identify(path, &now);

	if (err)
		return log_err(err, "disk '%s', which the snapshot needs as it was", path);
	if (now.size_bytes != st->size_bytes)
		what = "it has another size";
	else if (now.device != st->device || now.inode != st->inode)
		what = "it is another file";
	else if (now.mtime_ns != st->mtime_ns)
		what = "it was written";
	else if (now.checksum != st->checksum)
		what = "its contents are others";
	return what ? log_errx(-ESTALE, "Disk '%s' changed since the snapshot (%s); refusing to restore", path,
			       what) : 0;
}

static int check_copy(const struct vm_config *cfg, const struct disk_state *st, unsigned i)
{
	const int dir_fd = snapshot_folder(cfg->snapshot);
	char name[SNAPSHOT_DISK_BYTES];
	struct stat is;

	snapshot_disk_name(name, i);
	if (fstatat(dir_fd, name, &is, AT_SYMLINK_NOFOLLOW))
		return log_err(-errno, "'%s/%s'", cfg->restore, name);
	if (!S_ISREG(is.st_mode) || (uint64_t)is.st_size != st->size_bytes)
		return log_errx(-EBADMSG, "snapshot '%s' is damaged: '%s' is not as long as the disk", cfg->restore,
				name);
	return 0;
}

/* RAM and disks are of one instant until the disks are written. */
static int check_written(const struct vm_config *cfg)
{
	const int dir_fd = snapshot_folder(cfg->snapshot);
	int fd;

	if (!faccessat(dir_fd, SNAPSHOT_WRITTEN, F_OK, AT_SYMLINK_NOFOLLOW))
		return log_errx(-ESTALE, "The disks of snapshot '%s' were written since (--disks rw); refusing to restore",
				cfg->restore);
	if (!cfg->disks_rw)
		return 0;
	fd = openat(dir_fd, SNAPSHOT_WRITTEN, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return log_err(-errno, "create '%s/%s'", cfg->restore, SNAPSHOT_WRITTEN);
	close(fd);
	return 0;
}

/* The strings are one block of memory, which begins with the path: run_free_disks(). */
static int take_disk(struct vm_config *cfg, const struct disk_state *st, unsigned i)
{
	struct disk_config *disk = &cfg->disks[i];
	char *text = NULL;
	int len;

	*disk = (struct disk_config){
		.queues = st->queues,
		.read_only = st->read_only,
		.direct = st->direct && !st->copied, /* not each file system has it */
		.packed = st->packed,
		.ephemeral = st->copied && !cfg->disks_rw,
	};
	if (st->copied)
		len = asprintf(&text, "%s/disk%u%c%s%craw", cfg->restore, i, 0, st->serial, 0);
	else
		len = asprintf(&text, "%s%c%s%c%s", st->path, 0, st->serial, 0, st->format);
	if (len < 0)
		return log_err(-ENOMEM, "disk '%s'", st->path);
	disk->path = text;
	text += strlen(text) + 1;
	disk->serial = *text ? text : NULL;
	text += strlen(text) + 1;
	disk->format = *text ? text : NULL;
	return st->copied ? check_copy(cfg, st, i) : check_unchanged(st);
}

static int take_disks(struct vm_config *cfg, uint32_t n)
{
	struct disk_state *st = calloc(1, sizeof(*st));
	int err = 0;

	cfg->disks = calloc(n + 1, sizeof(*cfg->disks));
	if (!st || !cfg->disks)
		err = log_err(-ENOMEM, "disks");
	for (unsigned i = 0; !err && i < n; i++) {
		char name[SNAPSHOT_DISK_BYTES];

		snapshot_disk_name(name, i);
		err = snapshot_take(cfg->snapshot, name, &snapshot_disk_type, st);
		if (err)
			break;
		cfg->n_disks++;
		err = take_disk(cfg, st, i);
	}
	free(st);
	return err;
}

int snapshot_take_config(struct vm_config *cfg)
{
	uint32_t n_disks;
	int err = take_machine(cfg, &n_disks);

	if (!err)
		err = take_disks(cfg, n_disks);
	return err ? err : check_written(cfg);
}

/* ---- all of it ---- */

int snapshot_describe(struct snapshot_writer *w, const struct vm *vm, const bool *copied, char *ret_why,
		      size_t cap)
{
	struct machine_state st;
	int err = snapshot_begin(w, "machine");

	describe_machine(vm->cfg, &st);
	if (!err)
		err = state_pack(&w->buf, &snapshot_machine_type, &st);
	snprintf(ret_why, cap, "its description: %s", strerror(ENOMEM));
	for (unsigned i = 0; !err && i < vm->cfg->n_disks; i++) {
		err = describe_disk(w, vm, i, copied[i]);
		if (err)
			snprintf(ret_why, cap, "disk '%s': %s", vm->cfg->disks[i].path, strerror(-err));
	}
	return err ? err : snapshot_describe_cpuid(w, vm->cpuid);
}
