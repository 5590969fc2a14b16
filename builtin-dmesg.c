/* `lkvm dmesg`: the log of a guest's kernel, which its lkvm reads from the guest's memory. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lkvm/builtin.h"
#include "lkvm/guests.h"
#include "lkvm/json.h"
#include "lkvm/log.h"
#include "lkvm/mask.h"
#include "lkvm/types.h"

#define LOOK_AGAIN_MS 200

enum { ENDS_LINE = 2, GOES_ON = 8 }; /* struct ipc_record's flags */

struct dmesg_config {
	const char *name;
	bool follow, json;
};

struct dmesg {
	const struct dmesg_config *cfg;
	const struct ipc_peer *guest;
	struct json json;
	bool is_open;         /* what was printed last has no line end yet, */
	uint32_t open_caller; /* and this one may go on with it */
	struct ipc_reply reply;
};

static const struct opt options[] = {
	{ .kind = OPT_STRING, .short_name = 'n', .name = "name", .arg = "NAME",
	  .help = "The guest; the same as NAME without the option.",
	  .offset = offsetof(struct dmesg_config, name), .complete = COMPLETE_GUEST },
	{ .kind = OPT_FLAG, .short_name = 'f', .name = "follow",
	  .help = "Go on with what comes, until the guest ends; wait for its kernel if there is none yet.",
	  .offset = offsetof(struct dmesg_config, follow) },
	{ .kind = OPT_FLAG, .short_name = 'j', .name = "json",
	  .help = "A JSON array, an object a record; with --follow no array, but one object after the other.",
	  .offset = offsetof(struct dmesg_config, json) },
	OPT_END,
};

/* ---- printing ---- */

static void print_json(struct dmesg *d, const struct ipc_record *r, const char *text)
{
	if (d->cfg->follow)
		json_init(&d->json, stdout);
	json_object(&d->json, NULL);
	json_u64(&d->json, "seq", r->seq);
	json_u64(&d->json, "time_ns", r->ts_ns);
	json_u64(&d->json, "facility", r->facility);
	json_u64(&d->json, "level", r->level);
	if (!r->has_caller)
		json_str(&d->json, "caller", NULL);
	else
		json_u64(&d->json, r->caller >> 31 ? "caller_cpu" : "caller", r->caller & ~(1U << 31));
	json_str(&d->json, "text", text);
	json_end(&d->json);
}

static void print_line(const struct ipc_record *r, char *line, size_t len)
{
	printf("[%5" PRIu64 ".%06" PRIu64 "] %.*s", r->ts_ns / 1000000000, r->ts_ns / 1000 % 1000000,
	       (int)mask_text(line, len, "\t"), line);
}

/* Each line has the time before it, as Linux does it; but one that goes on with the one before. */
static void print_text(struct dmesg *d, const struct ipc_record *r, char *text)
{
	const bool goes_on = d->is_open && r->flags & GOES_ON && r->caller == d->open_caller;
	size_t len = strcspn(text, "\n");

	if (goes_on)
		printf("%.*s", (int)mask_text(text, len, "\t"), text);
	else
		printf("%s", d->is_open ? "\n" : "");
	for (bool more = true, first = true; more; first = false) {
		more = text[len];
		if (!first || !goes_on)
			print_line(r, text, len);
		if (more)
			putchar('\n');
		text += len + more;
		len = strcspn(text, "\n");
	}
	d->is_open = !(r->flags & ENDS_LINE);
	d->open_caller = r->caller;
	if (!d->is_open)
		putchar('\n');
}

/* Return: 0 or -EPROTO */
static int print_records(struct dmesg *d)
{
	const uint8_t *at = d->reply.body + sizeof(struct ipc_dmesg_head), *end = d->reply.body + d->reply.len;
	char text[IPC_MAX_BODY + 1];
	struct ipc_record r;

	for (; at < end; at += r.text_bytes) {
		if ((size_t)(end - at) < sizeof(r))
			return -EPROTO;
		memcpy(&r, at, sizeof(r));
		at += sizeof(r);
		if (r.text_bytes > (size_t)(end - at))
			return -EPROTO;
		memcpy(text, at, r.text_bytes);
		text[r.text_bytes] = '\0';
		if (d->cfg->json)
			print_json(d, &r, text);
		else
			print_text(d, &r, text);
	}
	return 0;
}

/* ---- asking ---- */

static int failed(const struct dmesg *d, int err)
{
	const char *name = d->guest->name;

	switch (err) {
	case -ENOENT:
		return log_errx(err, "guest '%s': there is no Linux in its memory, or none that has come so far as to tell "
				"where its log is", name);
	case -ENODATA:
		return log_errx(err, "guest '%s': its kernel does not tell where its log is", name);
	case -EBADMSG:
	case -EFAULT:
		return log_errx(err, "guest '%s': its kernel's log is damaged", name);
	default:
		return ipc_failed(name, d->guest->pid, err);
	}
}

/* Return: 0, @req goes on with what comes next; -errno of the request */
static int ask(struct dmesg *d, struct ipc_dmesg *req)
{
	struct ipc_dmesg_head head;
	int err;

	do {
		err = ipc_call_again(d->guest->fd, IPC_DMESG, req, sizeof(*req), &d->reply);
		if (!err && d->reply.len < sizeof(head))
			err = -EPROTO;
		if (!err)
			err = print_records(d);
		if (err)
			return err;
		memcpy(&head, d->reply.body, sizeof(head));
		req->from = head.next;
	} while (head.more);
	return 0;
}

static int follow(struct dmesg *d)
{
	const struct timespec pause = { .tv_nsec = LOOK_AGAIN_MS * 1000000L };
	const struct timespec long_pause = { .tv_sec = 1 }; /* all of RAM is looked through for a kernel */
	struct ipc_dmesg req = { .flags = IPC_DMESG_FINISHED };
	int err;

	for (;;) {
		err = ask(d, &req);
		if (fflush(stdout))
			return log_err(-errno, "write 'standard output'");
		if (err == -ECONNRESET) /* it has ended */
			return 0;
		if (err && err != -ENOENT && err != -ENODATA)
			return failed(d, err);
		nanosleep(err == -ENOENT ? &long_pause : &pause, NULL);
	}
}

static int show(struct dmesg *d)
{
	struct ipc_dmesg req = { 0 };
	int err;

	json_init(&d->json, stdout);
	d->json.flat_depth = 1;
	if (d->cfg->json)
		json_array(&d->json, NULL);
	err = ask(d, &req);
	if (d->cfg->json)
		json_end(&d->json);
	return err ? failed(d, err) : 0;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	struct dmesg_config cfg = { 0 };
	struct ipc_peers guests = { 0 };
	int first, status;
	enum options_result result = options_parse(cmd, &cfg, argc, argv, &first, NULL);
	struct dmesg d = { .cfg = &cfg };

	if (result != OPTIONS_OK)
		return options_status(result);
	status = guests_choose_one(cmd->name, cfg.name, argv + first, argc - first, &guests);
	if (status == EXIT_SUCCESS) {
		d.guest = &guests.list[0];
		status = (cfg.follow ? follow(&d) : show(&d)) ? EXIT_FAILURE : EXIT_SUCCESS;
		if (d.is_open)
			putchar('\n');
	}
	ipc_peers_free(&guests);
	return status;
}

const struct command dmesg_command = {
	.name = "dmesg",
	.summary = "Show the log of a guest's kernel",
	.operands = "NAME",
	.operand_complete = COMPLETE_GUEST,
	.description = "Shows what the guest's Linux has logged, read from the guest's memory: also of a guest that hangs, is "
		       "paused, or has no console.",
	.opts = options,
	.run = run,
};
