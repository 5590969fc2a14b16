/* `lkvm dump`: who asks waits until the file is there. See control.h and lkvm/vm/dump.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/types.h"
#include "lkvm/vm/dump.h"
#include "vm-internal.h"

/* One at a time */
struct control_dump {
	struct control *ctl;
	struct ipc_client *client;
	struct dump_making *making;
};

static void dump_free(struct control_dump *d)
{
	d->ctl->dump = NULL;
	dump_make_free(d->making);
	free(d);
}

/* ---- the end of it ---- */

static void over(void *ctx, int err, const char *why, const struct dump_made *made)
{
	struct control_dump *d = ctx;
	const struct ipc_dump_end end = {
		.pause_ns = made->pause_ns, .ram_bytes = made->ram_bytes, .has_linux = made->has_linux,
		.left_out = made->left_out,
	};
	struct ipc_client *client = d->client;

	dump_free(d);
	if (err)
		ipc_answer(client, err, why, strlen(why));
	else
		ipc_answer(client, 0, &end, sizeof(end));
}

/* Who has asked is gone, by Ctrl-C: nobody wants it any more. */
static void gone(void *ctx)
{
	dump_free(ctx);
}

static const struct ipc_late waiting = { .gone = gone };

void control_end_dump(struct control *ctl)
{
	static const char why[] = "the guest ended before";
	struct control_dump *d = ctl->dump;
	struct ipc_client *client = d ? d->client : NULL;

	if (!d)
		return;
	dump_free(d);
	ipc_answer(client, -ESHUTDOWN, why, strlen(why));
}

/* ---- the begin ---- */

/* Return: 0, or -errno with the reason in @reply */
static int check(const struct control *ctl, struct ipc_dump *req, struct ipc_reply *reply)
{
	const char *name = req->name;

	req->name[sizeof(req->name) - 1] = '\0';
	if (req->compress > DUMP_ZLIB || req->exclude & ~(uint32_t)DUMP_NO_ALL || !*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	return ctl->dump ? ipc_say(reply, -EBUSY, "another one is being made") : 0;
}

static int start(struct control_dump *d, const struct ipc_dump *req, int folder_fd, struct ipc_reply *reply)
{
	const struct dump_make_config cfg = {
		.vm = d->ctl->vm,
		.folder_fd = folder_fd,
		.name = req->name,
		.compress = (enum dump_compress)req->compress,
		.exclude = req->exclude,
		.over = over,
		.ctx = d,
	};
	char why[256];
	int err = dump_make_start(&cfg, &d->making, why, sizeof(why));

	if (err)
		d->making = NULL;
	return err && *why ? ipc_say(reply, err, why) : err;
}

int control_dump(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	struct control_dump *d;
	struct ipc_dump req;
	int folder_fd = -1, err;

	memcpy(&req, body, sizeof(req));
	err = check(ctl, &req, reply);
	if (!err)
		err = ipc_take_fds(reply->to, 0, 1, &folder_fd);
	d = err ? NULL : calloc(1, sizeof(*d));
	if (!d) {
		if (folder_fd >= 0)
			close(folder_fd);
		return err ? err : -ENOMEM;
	}
	d->ctl = ctl;
	d->client = reply->to;
	ctl->dump = d;
	err = start(d, &req, folder_fd, reply);
	if (!err)
		err = ipc_later(d->client, &waiting, d);
	if (err < 0)
		dump_free(d);
	return err;
}
