/* `lkvm mem`: how much memory a guest has, beyond what it was started with. */
#include "builtin-size.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/builtin.h"
#include "lkvm/json.h"
#include "lkvm/log.h"
#include "lkvm/ram.h"

static int failed(const struct ipc_peer *guest, const char *size, int err, const struct ipc_mem_end *end)
{
	char ram[32], max[32];

	if (err == -ENODEV)
		return log_errx(err, "guest '%s' can have no more than it was started with: that takes --mem-max", guest->name);
	if (err != -ERANGE)
		return ipc_failed(guest->name, guest->pid, err);
	return log_errx(err, "guest '%s' cannot have %s: it was started with %s, below which goes `lkvm balloon`, and can "
			"have %s (--mem-max)", guest->name, size, ram_mb_text(end->ram_bytes, ram, sizeof(ram)),
			ram_mb_text(end->max_bytes, max, sizeof(max)));
}

/* Blocks are not always what was asked for. */
static void say_rounded(const struct ipc_size *req, const char *size, const struct ipc_mem_end *end)
{
	const uint64_t wants = end->ram_bytes + end->target_bytes;
	char text[2][32];

	if (req->how == IPC_SIZE_THAT ? req->bytes == wants :
	    req->how == IPC_SIZE_SHOW || req->how == IPC_SIZE_MAX || req->bytes % end->block_bytes == 0)
		return;
	log_info("mem: %s becomes %s in all: memory is plugged in blocks of %s", size,
		 ram_mb_text(wants, text[0], sizeof(text[0])), ram_mb_text(end->block_bytes, text[1], sizeof(text[1])));
}

static void show(const struct ipc_mem_end *end, bool as_json)
{
	const uint64_t has = end->ram_bytes + end->plugged_bytes, wants = end->ram_bytes + end->target_bytes;
	char text[3][32];
	struct json json;

	if (as_json) {
		json_init(&json, stdout);
		json_object(&json, NULL);
		json_u64(&json, "ram_bytes", end->ram_bytes);
		json_u64(&json, "max_bytes", end->max_bytes);
		json_u64(&json, "block_bytes", end->block_bytes);
		json_u64(&json, "size_bytes", has);
		json_u64(&json, "target_bytes", wants);
		json_bool(&json, "driver", end->has_driver);
		json_end(&json);
		return;
	}
	printf("%s of %s", ram_mb_text(has, text[0], sizeof(text[0])),
	       ram_mb_text(end->max_bytes, text[1], sizeof(text[1])));
	if (has != wants)
		printf(", to be %s", ram_mb_text(wants, text[2], sizeof(text[2])));
	puts(end->has_driver ? "" : "; the guest has no driver for memory that is plugged");
}

/* Return: 0, or -errno, logged: it is not as it was to be */
static int check(const struct ipc_peer *guest, const struct ipc_mem_end *end)
{
	char has[32], wants[32];

	if (end->plugged_bytes == end->target_bytes)
		return 0;
	if (!end->has_driver)
		return log_errx(-ENODEV, "guest '%s' does not follow: it has no driver for memory that is plugged, or none yet "
				"(virtio_mem)", guest->name);
	return log_errx(-ETIMEDOUT, "guest '%s' has not followed in time: it has %s, and is to have %s%s", guest->name,
			ram_mb_text(end->ram_bytes + end->plugged_bytes, has, sizeof(has)),
			ram_mb_text(end->ram_bytes + end->target_bytes, wants, sizeof(wants)),
			end->n_busy ? "; the host had no memory, or no memory slot, now and then" :
			end->plugged_bytes > end->target_bytes ? "; it uses what it has not given back" : "");
}

static int tell(const struct ipc_peer *guest, const struct size_config *cfg, const char *size, const struct ipc_size *req, int err,
		const void *answer, bool waited)
{
	struct ipc_mem_end end;

	memcpy(&end, answer, sizeof(end));
	if (err)
		return failed(guest, size, err, &end);
	if (size)
		say_rounded(req, size, &end);
	show(&end, cfg->json);
	return waited ? check(guest, &end) : 0;
}

static int mem_run(const struct command *cmd, int argc, char **argv)
{
	static const struct size_kind kind = {
		.op = IPC_MEM,
		.answer_bytes = sizeof(struct ipc_mem_end),
		.whole_pages = false,
		.tell = tell,
	};

	return size_run(cmd, argc, argv, &kind);
}

const struct command mem_command = {
	.name = "mem",
	.summary = "Show or set how much memory is plugged into a guest",
	.operands = "NAME [SIZE|+SIZE|-SIZE|max]",
	.operand_complete = COMPLETE_GUEST,
	.description = "Without SIZE, shows how much memory a guest has, with what was plugged into it since it was started. "
		       "With SIZE, memory is plugged or unplugged until it has that much in all, and lkvm waits until the guest "
		       "has followed. +SIZE and -SIZE are so much more or less than it was to have, max is all that it can have. "
		       "The guest must have been started with --mem-max, and never has less than its --mem.",
	.opts = size_options,
	.run = mem_run,
};
