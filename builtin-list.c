/* `lkvm list`: the running guests. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/builtin.h"
#include "lkvm/clock.h"
#include "lkvm/guests.h"
#include "lkvm/json.h"
#include "lkvm/log.h"
#include "lkvm/mask.h"
#include "lkvm/net-forward.h"
#include "lkvm/ram.h"
#include "lkvm/types.h"

#define ANSWER_MS 1000 /* for all guests together: nobody waits longer for a list */

#define COMMAND_SHOWN 60

struct list_config {
	bool json, quiet;
};

static const struct opt options[] = {
	{ .kind = OPT_FLAG, .short_name = 'j', .name = "json",
	  .help = "A JSON array of objects instead of a table.",
	  .offset = offsetof(struct list_config, json) },
	{ .kind = OPT_FLAG, .short_name = 'q', .name = "quiet",
	  .help = "Only the names, one a line. The guests are not asked for anything, so that one which "
		  "cannot answer is no matter.",
	  .offset = offsetof(struct list_config, quiet) },
	OPT_END,
};

static const char *silent_state(const struct ipc_peer *p)
{
	return ipc_peer_stopped(p) ? "stopped" : "unresponsive";
}

static unsigned n_forwards(const struct ipc_peer *p)
{
	const size_t room = (p->len - sizeof(struct ipc_info)) / sizeof(struct ipc_forward);
	struct ipc_info info;

	memcpy(&info, p->body, sizeof(info));
	return info.n_forwards < room ? info.n_forwards : (unsigned)room;
}

static struct ipc_forward forward_at(const struct ipc_peer *p, unsigned i)
{
	struct ipc_forward forward;

	memcpy(&forward, (const char *)p->body + sizeof(struct ipc_info) + i * sizeof(forward), sizeof(forward));
	return forward;
}

/* The words behind all that; the body has a NUL behind it. Return: the first, or the one after @word; or NULL */
static const char *next_word(const struct ipc_peer *p, const char *word)
{
	const size_t first = sizeof(struct ipc_info) + n_forwards(p) * sizeof(struct ipc_forward);
	const char *next = word ? word + strlen(word) + 1 : (const char *)p->body + first;

	return next < (const char *)p->body + p->len ? next : NULL;
}

static void show_command(const struct ipc_peer *p)
{
	char text[4 * COMMAND_SHOWN] = "";
	size_t len = 0, shown;

	if (!next_word(p, NULL))
		return;
	for (const char *word = next_word(p, NULL); word && len < sizeof(text) - 1; word = next_word(p, word))
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", len ? " " : "", word);
	shown = mask_text(text, strlen(text), "");
	len = shown;
	if (shown > COMMAND_SHOWN)
		for (shown = COMMAND_SHOWN; shown && (text[shown] & 0xc0) == 0x80;)
			shown--;
	printf(" %.*s%s", (int)shown, text, shown < len ? "..." : "");
}

/* A line each, below the guest's */
static void show_forwards(const struct ipc_peer *p)
{
	char text[NET_FORWARD_TEXT_BYTES];

	for (unsigned i = 0; i < n_forwards(p); i++) {
		const struct ipc_forward at = forward_at(p, i);
		const struct net_forward f = { at.udp, { at.host }, { at.guest }, at.host_port, at.guest_port };

		printf("  %s\n", net_forward_text(&f, f.guest, text));
	}
}

static void show_json_forwards(struct json *json, const struct ipc_peer *p)
{
	char text[INET_ADDRSTRLEN];

	json_array(json, "forwards");
	for (unsigned i = 0; i < n_forwards(p); i++) {
		const struct ipc_forward f = forward_at(p, i);

		json_object(json, NULL);
		json_str(json, "protocol", f.udp ? "udp" : "tcp");
		json_str(json, "host_address", inet_ntop(AF_INET, &f.host, text, sizeof(text)));
		json_u64(json, "host_port", f.host_port);
		json_str(json, "guest_address", inet_ntop(AF_INET, &f.guest, text, sizeof(text)));
		json_u64(json, "guest_port", f.guest_port);
		json_end(json);
	}
	json_end(json);
}

static void show_row(const struct ipc_peer *p, const struct ipc_info *info)
{
	char ram[24], uptime[32];

	if (info) {
		printf("%-20s %10d %-12s %8s %10s %5u", p->name, p->pid, ipc_state_name(info->state),
		       duration_text(info->uptime_ns, uptime, sizeof(uptime)),
		       ram_mb_text(info->ram_bytes, ram, sizeof(ram)), info->cpus);
		show_command(p);
		putchar('\n');
		show_forwards(p);
		if (info->vnc[0])
			printf("  vnc %s\n", info->vnc);
	} else {
		printf("%-20s %10d %-12s %8s %10s %5s\n", p->name, p->pid, silent_state(p), "-", "-",
		       "-");
	}
}

static void show_json(struct json *json, const struct ipc_peer *p, const struct ipc_info *info)
{
	json_object(json, NULL);
	json_str(json, "name", p->name);
	json_i64(json, "pid", p->pid);
	json_str(json, "state", info ? ipc_state_name(info->state) : silent_state(p));
	if (info) {
		json_u64(json, "ram_bytes", info->ram_bytes);
		json_u64(json, "cpus", info->cpus);
		json_u64(json, "uptime_ns", info->uptime_ns);
		if (n_forwards(p))
			show_json_forwards(json, p);
		if (info->vsock_cid) {
			json_object(json, "vsock");
			json_u64(json, "cid", info->vsock_cid);
			json_str(json, "path", info->vsock_path);
			json_end(json);
		}
		if (info->vnc[0])
			json_str(json, "vnc", info->vnc);
		if (next_word(p, NULL))
			json_array(json, "command");
		for (const char *word = next_word(p, NULL); word; word = next_word(p, word))
			json_str(json, NULL, word);
		if (next_word(p, NULL))
			json_end(json);
	}
	json_end(json);
}

static void show(struct json *json, struct ipc_peer *p)
{
	struct ipc_info info;
	bool known = !p->err && p->len >= sizeof(info);

	if (p->err == -ECONNRESET || p->err == -ECONNREFUSED) /* it has ended */
		return;
	if (known) {
		memcpy(&info, p->body, sizeof(info));
		info.vsock_path[sizeof(info.vsock_path) - 1] = '\0';
		info.vnc[sizeof(info.vnc) - 1] = '\0';
		mask_text(info.vnc, strlen(info.vnc), "");
	} else if (!p->err) {
		p->err = -EPROTO;
	}
	if (json)
		show_json(json, p, known ? &info : NULL);
	else
		show_row(p, known ? &info : NULL);
}

static void show_all(const struct list_config *cfg, struct ipc_peers *peers)
{
	struct json json;

	if (cfg->json) {
		json_init(&json, stdout);
		json.flat_depth = 1;
		json_array(&json, NULL);
	} else {
		printf("%-20s %10s %-12s %8s %10s %5s %s\n", "NAME", "PID", "STATE", "UPTIME", "RAM",
		       "CPUS", "COMMAND");
	}
	for (unsigned i = 0; i < peers->n; i++)
		show(cfg->json ? &json : NULL, &peers->list[i]);
	if (cfg->json)
		json_end(&json);
}

static void show_names(const struct ipc_peers *peers)
{
	for (unsigned i = 0; i < peers->n; i++)
		if (peers->list[i].err != -ECONNREFUSED)
			printf("%s\n", peers->list[i].name);
}

static int list(const struct list_config *cfg, struct ipc_peers *peers)
{
	/* Those who could not even be connected to have been told of. */
	for (unsigned i = 0; i < peers->n; i++)
		peers->list[i].skip = peers->list[i].err;
	if (!cfg->quiet && ipc_peers_ask(peers, IPC_INFO, NULL, 0, ANSWER_MS))
		return EXIT_FAILURE;
	if (cfg->quiet)
		show_names(peers);
	else
		show_all(cfg, peers);
	for (unsigned i = 0; i < peers->n; i++)
		if (peers->list[i].err && !peers->list[i].skip && peers->list[i].err != -ECONNRESET)
			ipc_peer_failed(&peers->list[i]);
	return EXIT_SUCCESS;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	enum options_result result;
	struct list_config cfg = { 0 };
	struct ipc_peers peers = { 0 };
	struct guest_choice choice = { .may_be_none = true };
	int first, status;

	result = options_parse(cmd, &cfg, argc, argv, &first, NULL);
	if (result != OPTIONS_OK)
		return options_status(result);
	if (cfg.json && cfg.quiet) {
		log_errx(0, "list: either --json or --quiet");
		return EXIT_USAGE;
	}
	choice.word = argv + first;
	choice.n = argc - first;
	choice.all = !choice.n;
	status = guests_choose(&choice, &peers);
	/* A guest that is there but cannot be talked to is listed; no list at all is a failure. */
	if (status != EXIT_USAGE && (status == EXIT_SUCCESS || peers.n))
		status = list(&cfg, &peers);
	ipc_peers_free(&peers);
	if (fflush(stdout)) {
		log_err(-errno, "write the list");
		return EXIT_FAILURE;
	}
	return status;
}

const struct command list_command = {
	.name = "list",
	.summary = "List the running guests",
	.operands = "[NAME|PATTERN]...",
	.operand_complete = COMPLETE_GUEST,
	.description = "Lists name, PID, state, time since the start, memory, number of virtual CPUs and the "
		       "command behind -- of each guest of this user, or of those that are named. A guest that does not answer "
		       "within a second is listed as unresponsive, or as stopped if its process is; the "
		       "socket that a killed one has left is removed. With no guest the list is empty and "
		       "the status 0.",
	.opts = options,
	.run = run,
};
