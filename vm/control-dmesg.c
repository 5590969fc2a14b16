/*
 * `lkvm dmesg`: the log of the guest's kernel, as much of it as goes into an answer; see control.h. No vCPU is
 * asked or stopped for it.
 */
#include <errno.h>
#include <string.h>

#include "lkvm/linux/printk.h"
#include "lkvm/vm/control.h"

static void add_record(struct ipc_reply *reply, const struct linux_record *r)
{
	const struct ipc_record head = {
		.seq = r->seq,
		.ts_ns = r->ts_ns,
		.caller = r->caller,
		.text_bytes = r->len,
		.facility = r->facility,
		.level = r->level,
		.flags = r->flags,
		.has_caller = r->has_caller,
	};

	memcpy(reply->body + reply->len, &head, sizeof(head));
	memcpy(reply->body + reply->len + sizeof(head), r->text, r->len);
	reply->len += sizeof(head) + r->len;
}

/* Return: is there no more? A damaged log ends where the damage is. */
static bool add_records(struct ipc_reply *reply, struct linux_log *log)
{
	struct linux_record record;

	while (reply->len + sizeof(struct ipc_record) + sizeof(record.text) <= sizeof(reply->body)) {
		if (linux_log_next(log, &record))
			return true;
		add_record(reply, &record);
	}
	return false;
}

int control_dmesg(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	struct ipc_dmesg_head head = { 0 };
	const struct linux_guest *guest;
	struct ipc_dmesg req;
	struct linux_log log;
	int err = control_linux(ctl, &guest);

	memcpy(&req, body, sizeof(req));
	if (req.flags & ~(uint32_t)IPC_DMESG_FINISHED)
		return -EINVAL;
	if (err)
		return err;
	err = linux_log_open(guest, &log);
	if (err)
		return err == -ENOENT ? -ENODATA : err;
	log.finished_only = req.flags & IPC_DMESG_FINISHED;
	linux_log_seek(&log, req.from);
	reply->len = sizeof(head);
	head.more = !add_records(reply, &log);
	head.next = linux_log_tell(&log);
	memcpy(reply->body, &head, sizeof(head));
	return 0;
}
