/* `lkvm balloon`: how much memory a guest has, of what it was started with. */
#include "builtin-size.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/builtin.h"
#include "lkvm/json.h"
#include "lkvm/log.h"
#include "lkvm/ram.h"

static int failed(const struct ipc_peer *guest, const char *size, int err, const struct ipc_balloon_end *end)
{
	char ram[32], now[32];

	if (err == -ENODEV)
		return log_errx(err, "guest '%s' has no balloon: it was started with --no-balloon", guest->name);
	if (err != -ERANGE)
		return ipc_failed(guest->name, guest->pid, err);
	return log_errx(err, "guest '%s' cannot have %s: it has %s of RAM, and %s of that now", guest->name, size,
			ram_mb_text(end->ram_bytes, ram, sizeof(ram)),
			ram_mb_text(end->ram_bytes - end->actual_bytes, now, sizeof(now)));
}

static void show(const struct ipc_balloon_end *end, bool as_json)
{
	const uint64_t has = end->ram_bytes - end->actual_bytes, wants = end->ram_bytes - end->target_bytes;
	char text[3][32];
	struct json json;

	if (as_json) {
		json_init(&json, stdout);
		json_object(&json, NULL);
		json_u64(&json, "ram_bytes", end->ram_bytes);
		json_u64(&json, "size_bytes", has);
		json_u64(&json, "target_bytes", wants);
		json_bool(&json, "driver", end->has_driver);
		json_end(&json);
		return;
	}
	printf("%s of %s", ram_mb_text(has, text[0], sizeof(text[0])),
	       ram_mb_text(end->ram_bytes, text[1], sizeof(text[1])));
	if (has != wants)
		printf(", to be %s", ram_mb_text(wants, text[2], sizeof(text[2])));
	puts(end->has_driver ? "" : "; the guest has no driver for its balloon");
}

/* Return: 0, or -errno, logged: it is not as it was to be */
static int check(const struct ipc_peer *guest, const struct ipc_balloon_end *end)
{
	char has[32], wants[32];

	if (end->actual_bytes == end->target_bytes)
		return 0;
	if (!end->has_driver)
		return log_errx(-ENODEV, "guest '%s' does not follow: it has no driver for its balloon, or none yet",
				guest->name);
	return log_errx(-ETIMEDOUT, "guest '%s' has not followed in time: it has %s, and is to have %s", guest->name,
			ram_mb_text(end->ram_bytes - end->actual_bytes, has, sizeof(has)),
			ram_mb_text(end->ram_bytes - end->target_bytes, wants, sizeof(wants)));
}

static int tell(const struct ipc_peer *guest, const struct size_config *cfg, const char *size, const struct ipc_size *req, int err,
		const void *answer, bool waited)
{
	struct ipc_balloon_end end;

	(void)req;
	memcpy(&end, answer, sizeof(end));
	if (err)
		return failed(guest, size, err, &end);
	show(&end, cfg->json);
	return waited ? check(guest, &end) : 0;
}

static int balloon_run(const struct command *cmd, int argc, char **argv)
{
	static const struct size_kind kind = {
		.op = IPC_BALLOON,
		.answer_bytes = sizeof(struct ipc_balloon_end),
		.whole_pages = true,
		.tell = tell,
	};

	return size_run(cmd, argc, argv, &kind);
}

const struct command balloon_command = {
	.name = "balloon",
	.summary = "Show or set how much memory a guest has",
	.operands = "NAME [SIZE|+SIZE|-SIZE|max]",
	.operand_complete = COMPLETE_GUEST,
	.description = "Without SIZE, shows how much of its RAM a guest has. With SIZE, the guest gives memory back to the host "
		       "until it has no more than that, or takes so much back; lkvm waits until it has. +SIZE and -SIZE are so "
		       "much more or less than now, max is all of its RAM.",
	.opts = size_options,
	.run = balloon_run,
};
