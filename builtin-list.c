/* `lkvm list`: the running guests. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/builtin.h"
#include "lkvm/ipc.h"
#include "lkvm/json.h"
#include "lkvm/log.h"
#include "lkvm/types.h"

struct list_config {
	bool json;
};

static const struct opt options[] = {
	{ .kind = OPT_FLAG, .short_name = 'j', .name = "json",
	  .help = "A JSON array of objects instead of a table.",
	  .offset = offsetof(struct list_config, json) },
	OPT_END,
};

struct list {
	struct json *json; /* NULL: a table */
	bool begun;
};

/* Not before it is known that the guests can be listed. */
static void begin(struct list *list)
{
	if (list->begun)
		return;
	list->begun = true;
	if (list->json)
		json_array(list->json, NULL);
	else
		printf("%-20s %10s %-12s %10s %5s\n", "NAME", "PID", "STATE", "RAM", "CPUS");
}

static const char *size_text(uint64_t bytes, char *buf, size_t cap)
{
	if (bytes % MIB)
		snprintf(buf, cap, "%lluK", bytes / KIB);
	else
		snprintf(buf, cap, "%lluM", bytes / MIB);
	return buf;
}

static void show_row(const char *name, pid_t pid, const struct ipc_info *info)
{
	char ram[24];

	if (info)
		printf("%-20s %10d %-12s %10s %5u\n", name, pid, ipc_state_name(info->state),
		       size_text(info->ram_bytes, ram, sizeof(ram)), info->cpus);
	else
		printf("%-20s %10d %-12s %10s %5s\n", name, pid, "unresponsive", "-", "-");
}

static void show_json(struct json *json, const char *name, pid_t pid, const struct ipc_info *info)
{
	json_object(json, NULL);
	json_str(json, "name", name);
	json_i64(json, "pid", pid);
	json_str(json, "state", info ? ipc_state_name(info->state) : "unresponsive");
	if (info) {
		json_u64(json, "ram_bytes", info->ram_bytes);
		json_u64(json, "cpus", info->cpus);
		json_u64(json, "uptime_ns", info->uptime_ns);
	}
	json_end(json);
}

static int show(void *ctx, const char *name, int fd, pid_t pid)
{
	static struct ipc_reply reply;
	struct list *list = ctx;
	struct ipc_info info;
	int err = fd < 0 ? fd : ipc_call(fd, IPC_INFO, NULL, 0, &reply);
	bool known = !err && reply.len == sizeof(info);

	if (err == -ECONNRESET) /* it has ended just now */
		return 0;
	if (known)
		memcpy(&info, reply.body, sizeof(info));
	else
		log_err(err ? err : -EPROTO, "guest '%s'", name);
	begin(list);
	if (list->json)
		show_json(list->json, name, pid, known ? &info : NULL);
	else
		show_row(name, pid, known ? &info : NULL);
	return 0;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	enum options_result result;
	struct list_config cfg = { 0 };
	struct json json;
	struct list list = { NULL, false };
	int first, err;

	result = options_parse(cmd, &cfg, argc, argv, &first, NULL);
	if (result != OPTIONS_OK)
		return options_status(result);
	if (first < argc) {
		log_errx(0, "unexpected argument '%s'", argv[first]);
		return EXIT_USAGE;
	}
	if (cfg.json) {
		json_init(&json, stdout);
		json.flat_depth = 1;
		list.json = &json;
	}
	err = ipc_for_each(show, &list);
	if (err >= 0)
		begin(&list);
	if (list.begun && cfg.json)
		json_end(&json);
	if (fflush(stdout))
		err = log_err(-errno, "write the list");
	return err < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

const struct command list_command = {
	.name = "list",
	.summary = "List the running guests",
	.operands = "",
	.description = "Lists name, PID, state, memory and number of virtual CPUs of each guest of this "
		       "user. A guest that does not answer is listed as unresponsive; the socket that a "
		       "killed one has left is removed. With no guest the list is empty and the status 0.",
	.opts = options,
	.run = run,
};
