/* See lkvm/vm/snapshot-make.h. */
#include "lkvm/vm/gdb.h"
#include "lkvm/vm/snapshot-make.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/disk.h"
#include "lkvm/vm/hold.h"
#include "snapshot-hint.h"
#include "vm-internal.h"

#define END_PATIENCE_MS 1000 /* of a writer that is killed, but not dead */

struct snapshot_making {
	struct snapshot_make_config cfg;
	struct snapshot_job *job;
	struct snapshot_hint *hint; /* NULL: the guest is not asked what is free, or not any more; */
	const char *no_hint;        /* then why, if it was to be */
	uint64_t spare_bytes;       /* that it has said are */
	bool held;         /* the guest stands still for it, */
	uint64_t since_ns; /* from then on, */
	uint64_t pause_ns; /* or did, for so long */
};

/* Where a function says why it failed */
struct why {
	char *text;
	size_t cap;
};

__attribute__((format(printf, 3, 4))) static int say(const struct why *why, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why->text, why->cap, fmt, args);
	va_end(args);
	return err;
}

/* ---- the guest stands still and goes on ---- */

static int hold(struct snapshot_making *t, const struct why *why)
{
	int err;

	t->since_ns = now_ns();
	err = vm_hold_patiently(t->cfg.vm, VM_HOLD_SNAPSHOT);
	t->held = !err || err == -EINPROGRESS;
	if (err != -EINPROGRESS)
		return err;
	vm_describe_busy(t->cfg.vm, why->text, why->cap);
	return -EBUSY;
}

static void release(struct snapshot_making *t)
{
	if (!t->held)
		return;
	t->held = false;
	vm_release(t->cfg.vm, VM_HOLD_SNAPSHOT);
	t->pause_ns = now_ns() - t->since_ns;
}

/* Not while the guest stands still for this: KVM takes its time to end a log. */
static void forget_hint(struct snapshot_making *t)
{
	snapshot_hint_free(t->hint);
	t->hint = NULL;
}

static void copied(void *ctx)
{
	struct snapshot_making *t = ctx;

	if (!t->cfg.stay)
		release(t);
	forget_hint(t);
}

static void over(void *ctx, int err, const char *why)
{
	struct snapshot_making *t = ctx;
	const struct snapshot_made made = {
		.pause_ns = t->held ? now_ns() - t->since_ns : t->pause_ns,
		.spare_bytes = t->spare_bytes,
		.no_hint = t->no_hint,
		.job = *snapshot_job_done(t->job),
	};

	t->cfg.over(t->cfg.ctx, err, why, &made);
}

void snapshot_make_keep_still(struct snapshot_making *t)
{
	t->held = false;
}

void snapshot_make_free(struct snapshot_making *t)
{
	if (!t)
		return;
	snapshot_job_free(t->job);
	release(t);
	forget_hint(t);
	free(t);
}

void snapshot_make_end(struct vm *vm, struct snapshot_making *t)
{
	if (t)
		snapshot_make_keep_still(t);
	snapshot_make_free(t);
	ram_children_end(&vm->control.dying, now_ms() + END_PATIENCE_MS);
}

/* ---- what it is ---- */

/* Of each disk that is to be copied, where its contents are. Read-only ones stay where they are. */
static int find_disks(const struct snapshot_making *t, struct disk_source *disks, bool *ret_copied,
		      const struct why *why)
{
	const struct vm *vm = t->cfg.vm;
	const bool copy = !t->cfg.no_disks;

	for (unsigned i = 0; i < vm->cfg->n_disks; i++) {
		const struct disk_config *cfg = &vm->cfg->disks[i];

		disks[i] = (struct disk_source){ .fd = -1, .top_fd = -1 };
		ret_copied[i] = copy && !cfg->read_only;
		if (!copy && cfg->ephemeral && !cfg->read_only)
			return say(why, -EOPNOTSUPP,
				   "disk '%s' is ephemeral: what was written to it must be copied", cfg->path);
		/* Whether these are what they were could not be told. */
		if (cfg->backing_on || cfg->n_backing)
			return say(why, -EOPNOTSUPP, "disk '%s' may name other files (backing)", cfg->path);
		if (disk_format(cfg) && !strcmp(disk_format(cfg), "nbd"))
			return say(why, -EOPNOTSUPP, "disk '%s' is on a server", cfg->path);
		if (ret_copied[i] && disk_source(virtio_list_disk(vm->virtio, i), &disks[i]))
			return say(why, -EOPNOTSUPP,
				   "disk '%s' is no raw image: it can be read-only, but not be copied", cfg->path);
	}
	return 0;
}

/* What the machine is, now */
static int note_state(const struct snapshot_making *t, const bool *is_copied, struct snapshot_writer *w,
		      const struct why *why)
{
	int err = snapshot_describe(w, t->cfg.vm, is_copied, !t->cfg.no_disks, why->text, why->cap);

	if (!err)
		err = snapshot_save_parts(w, t->cfg.vm, why->text, why->cap);
	if (err)
		return err;
	why->text[0] = '\0';
	if (t->cfg.describe)
		err = t->cfg.describe(t->cfg.ctx, w);
	return err ? err : snapshot_end(w);
}

/* Return: what need not be saved, until forget_hint(); NULL: all is to be */
static const struct ram_spare *end_hint(struct snapshot_making *t)
{
	const struct ram_spare *spare = t->hint ? snapshot_hint_end(t->hint, &t->no_hint) : NULL;

	if (spare)
		t->spare_bytes = ram_spare_bytes(spare);
	return spare;
}

static int save(struct snapshot_making *t, const struct why *why)
{
	const unsigned n = t->cfg.vm->cfg->n_disks;
	struct disk_source *disks = calloc(n + 1, sizeof(*disks));
	bool *is_copied = calloc(n + 1, sizeof(*is_copied));
	const struct ram_spare *spare;
	struct snapshot_writer w = { 0 };
	int err = disks && is_copied ? 0 : -ENOMEM;

	if (!err)
		err = find_disks(t, disks, is_copied, why);
	/* Before its state: that the guest gets its pages back is part of that. */
	spare = err ? NULL : end_hint(t);
	if (!err)
		err = note_state(t, is_copied, &w, why);
	if (!err) {
		err = snapshot_job_add(t->job, w.pieces, w.n_pieces);
		if (!err)
			err = snapshot_job_start(t->job, &w.buf, disks, n, spare);
		if (err)
			say(why, err, "start a process that writes it: %s", strerror(-err));
	}
	state_buf_free(&w.buf);
	free(w.pieces);
	free(disks);
	free(is_copied);
	return err;
}

/* ---- the begin ---- */

static int hold_and_save(struct snapshot_making *t, const struct why *why)
{
	int err = hold(t, why);

	return err ? err : save(t, why);
}

/* What it hints is there. */
static void told(void *ctx)
{
	struct snapshot_making *t = ctx;
	char text[256] = "";
	const struct why why = { text, sizeof(text) };
	int err = hold_and_save(t, &why);

	if (!err)
		return;
	over(t, err, *text ? text : strerror(-err));
}

static int start(struct snapshot_making *t, const struct why *why)
{
	struct vm *vm = t->cfg.vm;
	const struct snapshot_job_config cfg = {
		.dying = &vm->control.dying,
		.loop = &vm->loop,
		.folder_fd = t->cfg.folder_fd,
		.name = t->cfg.name,
		.replace = t->cfg.replace,
		.brief = t->cfg.brief,
		/* Where huge pages are short, the host takes them from a child for the guest. */
		.ram_first = ram_backing_shared(&vm->cfg->ram) || vm->cfg->ram.hugepages,
		.ram = vm->ram,
		.copied = copied,
		.over = over,
		.ctx = t,
	};
	int err = snapshot_job_new(&cfg, &t->job, why->text, why->cap);

	if (!err && t->cfg.hint && !snapshot_hint_begin(vm, told, t, &t->hint, &t->no_hint))
		return 0;
	return err ? err : hold_and_save(t, why);
}

int snapshot_make_start(const struct snapshot_make_config *cfg, struct snapshot_making **ret, char *ret_why,
			size_t cap)
{
	struct snapshot_making *t = calloc(1, sizeof(*t));
	const struct why why = { ret_why, cap };
	int err;

	ret_why[0] = '\0';
	if (!t) {
		close(cfg->folder_fd);
		return -ENOMEM;
	}
	t->cfg = *cfg;
	err = start(t, &why);
	if (err)
		snapshot_make_free(t);
	else
		*ret = t;
	return err;
}
