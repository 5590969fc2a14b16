/*
 * `lkvm snapshot`: the guest stands still, its state is noted, its disks are copied; then it goes on, while
 * RAM is written. See control.h and snapshot-write.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/disk.h"
#include "lkvm/log.h"
#include "lkvm/vm/hold.h"
#include "lkvm/vm/snapshot-write.h"
#include "vm-internal.h"

/* One at a time */
struct control_snapshot {
	struct control *ctl;
	struct ipc_client *client;
	struct snapshot_job *job;
	bool stop;
	bool held;         /* the guest stands still for it, */
	uint64_t since_ns; /* from then on, */
	uint64_t pause_ns; /* or did, for so long */
};

/* ---- the guest stands still and goes on ---- */

static void release(struct control_snapshot *s)
{
	if (!s->held)
		return;
	s->held = false;
	vm_release(s->ctl->vm, VM_HOLD_SNAPSHOT);
	s->pause_ns = now_ns() - s->since_ns;
}

static void copied(void *ctx)
{
	struct control_snapshot *s = ctx;

	if (!s->stop)
		release(s);
}

static void snapshot_free(struct control_snapshot *s)
{
	s->ctl->snapshot = NULL;
	snapshot_job_free(s->job);
	release(s);
	free(s);
}

/* ---- the end of it ---- */

static void over(void *ctx, int err, const char *why)
{
	struct control_snapshot *s = ctx;
	const struct snapshot_job_done *done = snapshot_job_done(s->job);
	const struct ipc_snapshot_end end = {
		.pause_ns = s->held ? now_ns() - s->since_ns : s->pause_ns,
		.ram_bytes = done->ram_bytes,
		.disks = done->disks,
		.shared = done->shared,
	};
	struct ipc_client *client = s->client;
	struct kvm *kvm = s->ctl->kvm;
	const bool stop = s->stop && !err;

	/* One that is to end does not run on for a moment: what it did then would be in no snapshot. */
	if (stop) {
		kvm_stop(kvm, STOP_REQUEST, 0);
		s->held = false;
	}
	snapshot_free(s);
	if (err)
		ipc_answer(client, err, why, strlen(why));
	else
		ipc_answer(client, 0, &end, sizeof(end));
}

static void more(void *ctx, enum ipc_op op, const void *body, size_t len)
{
	(void)ctx, (void)op, (void)body, (void)len;
}

/* Who has asked is gone, by Ctrl-C: nobody wants it any more. */
static void gone(void *ctx)
{
	snapshot_free(ctx);
}

static const struct ipc_late waiting = { more, gone };

void control_end_snapshot(struct control *ctl)
{
	static const char why[] = "the guest ended before";
	struct control_snapshot *s = ctl->snapshot;
	struct ipc_client *client;

	if (!s)
		return;
	client = s->client;
	s->held = false;
	snapshot_free(s);
	ipc_answer(client, -ESHUTDOWN, why, strlen(why));
}

/* ---- the begin ---- */

static int say(struct ipc_reply *reply, int err, const char *why)
{
	snprintf((char *)reply->body, sizeof(reply->body), "%s", why);
	reply->len = strlen((char *)reply->body);
	return err;
}

static int say_error(struct ipc_reply *reply, int err, const char *what)
{
	char why[256];

	snprintf(why, sizeof(why), "%s: %s", what, strerror(-err));
	return say(reply, err, why);
}

/* Return: 0, or -errno with the reason in @reply */
static int check(const struct control *ctl, struct ipc_snapshot *req, struct ipc_reply *reply)
{
	const char *name = req->name;
	const uint32_t known = IPC_SNAPSHOT_STOP | IPC_SNAPSHOT_FORCE | IPC_SNAPSHOT_NO_DISKS |
			       IPC_SNAPSHOT_BRIEF;

	req->name[sizeof(req->name) - 1] = '\0';
	if ((req->flags & ~known) || !*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	if (ctl->snapshot)
		return say(reply, -EBUSY, "another one is being made");
	if (ctl->config->session.wanted || ctl->config->n_folders)
		return say(reply, -EOPNOTSUPP,
			   "it uses folders of the host, and what it knows of their files cannot be saved yet");
	return 0;
}

/* Of each disk that is to be copied, where its contents are. Read-only ones stay where they are. */
static int find_disks(const struct vm *vm, bool copy, struct disk_source *disks, bool *ret_copied,
		      struct ipc_reply *reply)
{
	for (unsigned i = 0; i < vm->cfg->n_disks; i++) {
		const struct disk_config *cfg = &vm->cfg->disks[i];
		char why[256];

		disks[i] = (struct disk_source){ .fd = -1, .top_fd = -1 };
		ret_copied[i] = copy && !cfg->read_only;
		if (!copy && cfg->ephemeral && !cfg->read_only) {
			snprintf(why, sizeof(why), "disk '%s' is ephemeral: what was written to it must be copied",
				 cfg->path);
			return say(reply, -EOPNOTSUPP, why);
		}
		if (cfg->backing_on || cfg->n_backing || cfg->key_file) {
			snprintf(why, sizeof(why), "disk '%s' needs backing= or key-file=, which is not kept", cfg->path);
			return say(reply, -EOPNOTSUPP, why);
		}
		if (ret_copied[i] && disk_source(virtio_list_disk(vm->virtio, i), &disks[i])) {
			snprintf(why, sizeof(why), "disk '%s' is no raw image: it can be read-only, but not be copied",
				 cfg->path);
			return say(reply, -EOPNOTSUPP, why);
		}
	}
	return 0;
}

/* What the machine is, now. Return: 0, or -errno with the reason in @reply */
static int note_state(struct vm *vm, const bool *is_copied, struct snapshot_writer *w, struct ipc_reply *reply)
{
	char why[256];
	int err = snapshot_describe(w, vm, is_copied, why, sizeof(why));

	if (!err)
		err = snapshot_save_parts(w, vm, why, sizeof(why));
	if (err)
		return say(reply, err, why);
	return snapshot_end(w);
}

static int save_held(struct control_snapshot *s, uint32_t flags, struct ipc_reply *reply)
{
	struct vm *vm = s->ctl->vm;
	const unsigned n = vm->cfg->n_disks;
	struct disk_source *disks = calloc(n + 1, sizeof(*disks));
	bool *is_copied = calloc(n + 1, sizeof(*is_copied));
	struct snapshot_writer w = { 0 };
	int err = disks && is_copied ? 0 : -ENOMEM;

	if (!err)
		err = find_disks(vm, !(flags & IPC_SNAPSHOT_NO_DISKS), disks, is_copied, reply);
	if (!err)
		err = note_state(vm, is_copied, &w, reply);
	if (!err) {
		err = snapshot_job_start(s->job, &w.buf, disks, n);
		if (err)
			say_error(reply, err, "start a process that writes it");
	}
	state_buf_free(&w.buf);
	free(disks);
	free(is_copied);
	return err;
}

static int hold(struct control_snapshot *s, struct ipc_reply *reply)
{
	struct vm *vm = s->ctl->vm;
	int err;

	s->since_ns = now_ns();
	err = vm_hold(vm, VM_HOLD_SNAPSHOT);
	s->held = !err || err == -EINPROGRESS;
	if (err != -EINPROGRESS)
		return err;
	vm_describe_busy(vm, (char *)reply->body, sizeof(reply->body));
	reply->len = strlen((char *)reply->body);
	return -EBUSY;
}

static int start(struct control_snapshot *s, const struct ipc_snapshot *req, int folder_fd,
		 struct ipc_reply *reply)
{
	struct vm *vm = s->ctl->vm;
	const struct snapshot_job_config cfg = {
		.loop = &vm->loop,
		.folder_fd = folder_fd,
		.name = req->name,
		.replace = req->flags & IPC_SNAPSHOT_FORCE,
		.brief = req->flags & IPC_SNAPSHOT_BRIEF,
		/* Where huge pages are short, the host takes them from a child for the guest. */
		.ram_first = ram_backing_shared(&vm->cfg->ram) || vm->cfg->ram.hugepages,
		.ram = vm->ram,
		.copied = copied,
		.over = over,
		.ctx = s,
	};
	char why[256] = "";
	int err = snapshot_job_new(&cfg, &s->job, why, sizeof(why));

	if (err)
		return say(reply, err, why);
	err = hold(s, reply);
	return err ? err : save_held(s, req->flags, reply);
}

int control_snapshot(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	struct control_snapshot *s;
	struct ipc_snapshot req;
	int folder_fd = -1, err;

	memcpy(&req, body, sizeof(req));
	err = check(ctl, &req, reply);
	if (err)
		return err;
	err = ipc_take_fds(reply->to, 0, 1, &folder_fd);
	if (err) {
		if (folder_fd >= 0)
			close(folder_fd);
		return err;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		close(folder_fd);
		return -ENOMEM;
	}
	s->ctl = ctl;
	s->client = reply->to;
	s->stop = req.flags & IPC_SNAPSHOT_STOP;
	ctl->snapshot = s;
	err = start(s, &req, folder_fd, reply);
	if (!err)
		err = ipc_later(s->client, &waiting, s);
	if (err < 0)
		snapshot_free(s);
	return err;
}
