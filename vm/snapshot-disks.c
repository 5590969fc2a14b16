/*
 * The disks of a machine that is saved, and the configuration that gives it them again; see snapshot-internal.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/disk.h"
#include "lkvm/log.h"
#include "lkvm/vm/run.h"
#include "snapshot-internal.h"
#include "vm-internal.h"

struct disk_state {
	uint64_t size_bytes;
	uint64_t device, inode, mtime_ns; /* of the file that it was, */
	uint32_t checksum;                /* of some of its bytes: all only of one that was not copied */
	uint32_t queues, path_n;
	uint8_t read_only, direct, packed, copied;
	uint8_t serial[24], format[16]; /* with a NUL; empty: none was given */
	uint8_t path[4096];
	uint64_t sequence; /* of a block device: the how many-th that this host has seen; 0: it does not tell */
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
	STATE_ONE(struct disk_state, sequence, .since = 2),
};

static const char *disk_check(const void *state)
{
	const struct disk_state *st = state;

	if (st->serial[sizeof(st->serial) - 1])
		return "serial";
	if (st->format[sizeof(st->format) - 1])
		return "format";
	return state_is_text(st->path, st->path_n) ? NULL : "path";
}

const struct state_type snapshot_disk_type = {
	STATE_TYPE("disk", 2, struct disk_state, disk_fields),
	.check = disk_check,
};

/* Of what @path leads to. Return: 0 or -errno */
static int identify(const char *path, struct disk_state *st)
{
	struct snapshot_identity id;
	int err = snapshot_identify(path, &id);

	if (err)
		return err;
	st->size_bytes = id.size_bytes;
	st->device = id.device;
	st->inode = id.inode;
	st->sequence = id.sequence;
	st->mtime_ns = id.mtime_ns;
	st->checksum = id.checksum;
	return 0;
}

/* Of one that is copied its file is of no more use, and may be gone. @disk: as it is now */
static int describe_file(const struct disk_config *cfg, const struct disk *disk, struct disk_state *st)
{
	char *path = st->copied ? strdup(cfg->path) : realpath(cfg->path, NULL);
	int err = snapshot_note_path(path, st->path, sizeof(st->path), &st->path_n);

	st->size_bytes = disk->size_bytes;
	return err || st->copied ? err : identify((const char *)st->path, st);
}

int snapshot_describe_disk(struct snapshot_writer *w, const struct vm *vm, unsigned i, bool copied)
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
		err = snapshot_put(w, name, &snapshot_disk_type, st);
	free(st);
	return err;
}

/* One that stayed where it was has to be what it was. */
static int check_unchanged(const char *path, const struct disk_state *st)
{
	const struct snapshot_identity was = {
		.size_bytes = st->size_bytes, .device = st->device, .inode = st->inode, .mtime_ns = st->mtime_ns,
		.sequence = st->sequence, .checksum = st->checksum,
	};

	return snapshot_check_unchanged(path, &was, "disk", "it was");
}

int snapshot_same_disks(struct snapshot *snap, const struct vm_config *cfg)
{
	struct disk_state *st = calloc(1, sizeof(*st));
	int err = st ? 0 : -ENOMEM;

	for (unsigned i = 0; !err && i < cfg->n_disks; i++) {
		char name[SNAPSHOT_DISK_BYTES];

		snapshot_disk_name(name, i);
		err = snapshot_take(snap, name, &snapshot_disk_type, st);
		if (!err)
			err = st->copied ? -EINVAL : check_unchanged(cfg->disks[i].path, st);
	}
	free(st);
	return err;
}

static int check_copy(const struct vm_config *cfg, const struct disk_state *st, unsigned i)
{
	char name[SNAPSHOT_DISK_BYTES];

	snapshot_disk_name(name, i);
	return snapshot_check_part(cfg->snapshot, name, st->size_bytes, "the disk");
}

/* ---- what the user says of them: where they are now ---- */

static int refuse(const struct vm_config *cfg, unsigned i, const char *key)
{
	return log_errx(-EINVAL, "disk %u of the machine in '%s' was made without '%s' (--disk)", i, cfg->restore, key);
}

/* To the guest it is what it was. Return: 0 or -EINVAL, logged */
static int compare_disk(const struct vm_config *cfg, unsigned i, const struct disk_config *given,
			const struct disk_state *st)
{
	const char *format = disk_format(given);
	int err = 0;

	if (st->copied && strcmp(given->path, (const char *)st->path))
		err = log_errx(-EINVAL, "disk %u of the machine in '%s' is a copy of '%s', not '%s' (--disk)", i,
			       cfg->restore, st->path, given->path);
	if (given->read_only && !st->read_only)
		err = refuse(cfg, i, "ro");
	if (given->packed && !st->packed)
		err = refuse(cfg, i, "packed");
	if (given->backing_on || given->n_backing)
		err = refuse(cfg, i, "backing");
	if (given->serial && strcmp(given->serial, (const char *)st->serial))
		err = refuse(cfg, i, "serial");
	if (given->queues && given->queues != st->queues)
		err = refuse(cfg, i, "queues");
	if (!format || strcmp(format, (const char *)st->format))
		err = refuse(cfg, i, "format");
	return err;
}

/*
 * The strings are one block of memory, which begins with the path: run_free_disks().
 * @given: by the user, or NULL
 */
static int make_config(const struct vm_config *cfg, const struct disk_config *given, const struct disk_state *st,
		       unsigned i, struct disk_config *ret)
{
	char folder[PATH_MAX] = "";
	const char *path = (const char *)st->path, *key = NULL;
	char *text;
	int len;

	*ret = (struct disk_config){
		.queues = st->queues,
		.read_only = st->read_only,
		.direct = (st->direct || (given && given->direct)) && !st->copied, /* not each file system has it */
		.packed = st->packed,
		.ephemeral = (st->copied && !cfg->disks_rw) || (given && given->ephemeral),
	};
	if (st->copied && snprintf(folder, sizeof(folder), "%s/disk%u", cfg->restore, i) >= (int)sizeof(folder))
		return log_err(-ENAMETOOLONG, "'%s'", cfg->restore);
	if (st->copied) {
		path = folder;
	} else if (given) {
		path = given->path;
		key = given->key_file;
	}
	len = asprintf(&text, "%s%c%s%c%s%c%s", path, 0, st->serial, 0, st->copied ? "raw" : (const char *)st->format,
		       0, key ? key : "");
	if (len < 0)
		return log_err(-ENOMEM, "disk '%s'", path);
	ret->path = text;
	text += strlen(text) + 1;
	ret->serial = *text ? text : NULL;
	text += strlen(text) + 1;
	ret->format = *text ? text : NULL;
	text += strlen(text) + 1;
	ret->key_file = *text ? text : NULL;
	return 0;
}

static int take_disk(struct vm_config *cfg, const struct disk_config *given, struct disk_state *st, unsigned i)
{
	char name[SNAPSHOT_DISK_BYTES];
	int err;

	snapshot_disk_name(name, i);
	err = snapshot_take(cfg->snapshot, name, &snapshot_disk_type, st);
	if (!err && given)
		err = compare_disk(cfg, i, given, st);
	if (!err)
		err = make_config(cfg, given, st, i, &cfg->disks[i]);
	if (err)
		return err;
	cfg->n_disks++;
	return st->copied ? check_copy(cfg, st, i) : check_unchanged(cfg->disks[i].path, st);
}

int snapshot_take_disks(struct vm_config *cfg, unsigned n)
{
	struct vm_config user = { .disks = cfg->disks, .n_disks = cfg->n_disks };
	struct disk_state *st = calloc(1, sizeof(*st));
	int err = 0;

	cfg->disks = calloc(n + 1, sizeof(*cfg->disks));
	cfg->n_disks = 0;
	if (!st || !cfg->disks)
		err = log_err(-ENOMEM, "disks");
	else if (user.n_disks > n)
		err = log_errx(-EINVAL, "the machine in '%s' has %u disks, not %u (--disk)", cfg->restore, n,
			       user.n_disks);
	for (unsigned i = 0; !err && i < n; i++)
		err = take_disk(cfg, i < user.n_disks ? &user.disks[i] : NULL, st, i);
	free(st);
	run_free_disks(&user);
	return err;
}

static int refuse_written(const struct snapshot *snap)
{
	return log_errx(-ESTALE, "The disks of snapshot '%s' were written since (--disks rw); refusing to restore",
			snapshot_path(snap));
}

int snapshot_check_written(const struct snapshot *snap)
{
	return faccessat(snapshot_folder(snap), SNAPSHOT_WRITTEN, F_OK, AT_SYMLINK_NOFOLLOW) ? 0 : refuse_written(snap);
}

int snapshot_note_written(const struct snapshot *snap)
{
	int fd = openat(snapshot_folder(snap), SNAPSHOT_WRITTEN, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
			0600);

	if (fd < 0)
		return errno == EEXIST ? refuse_written(snap) :
					 log_err(-errno, "create '%s/%s'", snapshot_path(snap), SNAPSHOT_WRITTEN);
	close(fd);
	return 0;
}
