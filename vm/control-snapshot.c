/* `lkvm snapshot`: who asks waits until it is there. See control.h and lkvm/vm/snapshot-make.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/types.h"
#include "lkvm/vm/hold.h"
#include "lkvm/vm/snapshot-make.h"
#include "vm-internal.h"

/* One at a time */
struct control_snapshot {
	struct control *ctl;
	struct ipc_client *client;
	struct snapshot_making *making;
	bool stop;
};

static void snapshot_free(struct control_snapshot *s)
{
	s->ctl->snapshot = NULL;
	snapshot_make_free(s->making);
	free(s);
}

/* ---- the end of it ---- */

static void over(void *ctx, int err, const char *why, const struct snapshot_made *made)
{
	struct control_snapshot *s = ctx;
	struct ipc_snapshot_end end = {
		.pause_ns = made->pause_ns,
		.spare_bytes = made->spare_bytes,
		.ram_bytes = made->job.ram_bytes,
		.disks = made->job.disks,
		.shared = made->job.shared,
	};
	struct ipc_client *client = s->client;

	snprintf(end.no_hint, sizeof(end.no_hint), "%s", made->no_hint ? made->no_hint : "");
	/* One that is to end does not run on for a moment: what it did then would be in no snapshot. */
	if (s->stop && !err) {
		s->ctl->is_saved = true;
		kvm_stop(s->ctl->kvm, STOP_REQUEST, 0);
		snapshot_make_keep_still(s->making);
	}
	snapshot_free(s);
	if (err)
		ipc_answer(client, err, why, strlen(why));
	else
		ipc_answer(client, 0, &end, sizeof(end));
}

/* Who has asked is gone, by Ctrl-C: nobody wants it any more. */
static void gone(void *ctx)
{
	snapshot_free(ctx);
}

static const struct ipc_late waiting = { .gone = gone };

void control_end_snapshot(struct control *ctl)
{
	static const char why[] = "the guest ended before";
	struct control_snapshot *s = ctl->snapshot;

	snapshot_make_end(container_of(ctl, struct vm, control), s ? s->making : NULL);
	if (!s)
		return;
	s->making = NULL;
	ipc_answer(s->client, -ESHUTDOWN, why, strlen(why));
	snapshot_free(s);
}

/* ---- the begin ---- */

const char *control_no_snapshot(const struct control *ctl)
{
	const struct vm *vm = container_of(ctl, struct vm, control);

	if (ctl->snapshot || vm->holds >> VM_HOLD_SNAPSHOT & 1)
		return "another one is being made";
	if (ctl->session && !session_is_up(ctl->session))
		return "it is not ready for a command yet, and what it is to mount is not saved";
	return NULL;
}

/* Return: 0, or -errno with the reason in @reply */
static int check(const struct control *ctl, struct ipc_snapshot *req, struct ipc_reply *reply)
{
	const char *name = req->name;
	const uint32_t known = IPC_SNAPSHOT_STOP | IPC_SNAPSHOT_FORCE | IPC_SNAPSHOT_NO_DISKS |
			       IPC_SNAPSHOT_BRIEF | IPC_SNAPSHOT_HINT;

	req->name[sizeof(req->name) - 1] = '\0';
	if ((req->flags & ~known) || !*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	if (control_no_snapshot(ctl))
		return ipc_say(reply, ctl->snapshot ? -EBUSY : -EOPNOTSUPP, control_no_snapshot(ctl));
	return 0;
}

static int start(struct control_snapshot *s, const struct ipc_snapshot *req, int folder_fd,
		 struct ipc_reply *reply)
{
	const struct snapshot_make_config cfg = {
		.vm = s->ctl->vm,
		.folder_fd = folder_fd,
		.name = req->name,
		.replace = req->flags & IPC_SNAPSHOT_FORCE,
		.brief = req->flags & IPC_SNAPSHOT_BRIEF,
		.no_disks = req->flags & IPC_SNAPSHOT_NO_DISKS,
		.hint = req->flags & IPC_SNAPSHOT_HINT,
		.stay = s->stop,
		.over = over,
		.ctx = s,
	};
	char why[256];
	int err = snapshot_make_start(&cfg, &s->making, why, sizeof(why));

	if (err)
		s->making = NULL;
	return err && *why ? ipc_say(reply, err, why) : err;
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
