/* `lkvm stat`: what guests have cost so far. */
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

#define ANSWER_MS 5000

struct stat_config {
	const char *name;
	bool all, json, exits;
};

static const struct opt options[] = {
	{ .kind = OPT_STRING, .short_name = 'n', .name = "name", .arg = "NAME",
	  .help = "The guest; the same as NAME without the option.",
	  .offset = offsetof(struct stat_config, name), .complete = COMPLETE_GUEST },
	{ .kind = OPT_FLAG, .short_name = 'a', .name = "all", .help = "All guests of this user.",
	  .offset = offsetof(struct stat_config, all) },
	{ .kind = OPT_FLAG, .short_name = 'j', .name = "json",
	  .help = "A JSON object instead of text; with --all or a pattern an array of them.",
	  .offset = offsetof(struct stat_config, json) },
	{ .kind = OPT_FLAG, .name = "exits",
	  .help = "Instead, why the virtual CPUs have left the guest, as KVM counts it, and for which ports and addresses: of "
		  "one guest, which is looked at for a second.",
	  .offset = offsetof(struct stat_config, exits) },
	OPT_END,
};

/* ---- exits ---- */

#define LOOKS      200
#define LOOK_NS    (5 * 1000000L)
#define MAX_PLACES 256
#define MAX_CPUS   512 /* that fit into an answer */

struct place {
	enum ipc_exit_kind kind;
	uint64_t address;
	bool is_write;
	char device[24];
	uint64_t n;
};

static struct place place_of(enum ipc_exit_kind kind, const struct ipc_last_exit *last)
{
	struct place p = { .kind = kind };

	if (kind == IPC_EXIT_PORT) {
		p.address = last->port;
		p.is_write = last->is_out;
	} else if (kind == IPC_EXIT_MEMORY) {
		p.address = last->address;
		p.is_write = last->is_write;
	}
	if (kind == IPC_EXIT_PORT || kind == IPC_EXIT_MEMORY)
		snprintf(p.device, sizeof(p.device), "%.23s",
			 kind == IPC_EXIT_PORT ? last->port_device : last->device);
	return p;
}

static void add_place(struct place *places, unsigned *n, const struct place *new, uint64_t exits)
{
	unsigned i = 0;

	while (i < *n && (places[i].kind != new->kind || places[i].address != new->address ||
			  places[i].is_write != new->is_write))
		i++;
	if (i == MAX_PLACES)
		return;
	if (i == *n)
		places[(*n)++] = *new;
	places[i].n += exits;
}

/* All exits of a vCPU since the look before are counted as what the last one was. */
static void count_exits(const struct ipc_reply *reply, struct ipc_last_exit *before, bool is_first, struct place *places,
			unsigned *n)
{
	struct ipc_last_exit now;

	for (unsigned i = 0; i < MAX_CPUS && (i + 1) * sizeof(now) <= reply->len; i++) {
		memcpy(&now, reply->body + i * sizeof(now), sizeof(now));
		const enum ipc_exit_kind kind = ipc_exit_kind(&before[i], &now);
		const struct place p = place_of(kind, &now);

		if (!is_first && kind != IPC_EXIT_NONE)
			add_place(places, n, &p, now.exits - before[i].exits);
		before[i] = now;
	}
}

static int look_at_exits(const struct ipc_peer *guest, struct place *places, unsigned *n)
{
	const struct timespec pause = { .tv_nsec = LOOK_NS };
	struct ipc_last_exit before[MAX_CPUS];
	struct ipc_reply reply;
	int err = 0;

	memset(before, 0, sizeof(before));
	for (unsigned look = 0; !err && look < LOOKS; look++) {
		err = ipc_call(guest->fd, IPC_LAST_EXITS, NULL, 0, &reply);
		if (!err)
			count_exits(&reply, before, !look, places, n);
		nanosleep(&pause, NULL);
	}
	return err;
}

static int by_number(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return (x->n < y->n) - (x->n > y->n);
}

static const char *kind_of(const struct place *p)
{
	if (p->kind == IPC_EXIT_PORT)
		return p->is_write ? "out" : "in";
	if (p->kind == IPC_EXIT_MEMORY)
		return p->is_write ? "write" : "read";
	return p->kind == IPC_EXIT_SEVERAL ? "ports or memory, not seen which" : "other";
}

static bool has_address(const struct place *p)
{
	return p->kind == IPC_EXIT_PORT || p->kind == IPC_EXIT_MEMORY;
}

static void print_place(const struct place *p)
{
	printf("%12" PRIu64 "  %s", p->n, kind_of(p));
	if (has_address(p))
		printf(" 0x%" PRIx64 "  %s", p->address, p->device);
	putchar('\n');
}

static void show_places(const struct place *places, unsigned n, bool as_json)
{
	struct json json;

	json_init(&json, stdout);
	json.flat_depth = 1;
	if (as_json)
		json_array(&json, NULL);
	else if (n)
		puts("in one second, about");
	for (unsigned i = 0; i < n; i++) {
		if (!as_json) {
			print_place(&places[i]);
			continue;
		}
		json_object(&json, NULL);
		json_str(&json, "kind", kind_of(&places[i]));
		if (has_address(&places[i]))
			json_hex(&json, "address", places[i].address);
		else
			json_str(&json, "address", NULL);
		json_str(&json, "device", *places[i].device ? places[i].device : NULL);
		json_u64(&json, "exits", places[i].n);
		json_end(&json);
	}
	if (as_json)
		json_end(&json);
}

/* As JSON: an object with KVM's counters, which come as an array, and the places. */
static int show_exits(const struct ipc_peer *guest, bool as_json)
{
	struct place places[MAX_PLACES];
	const uint32_t want = as_json;
	unsigned n = 0;
	int err;

	if (as_json)
		printf("{\n\"vcpus\":\n");
	err = ipc_show(guest->fd, guest->name, IPC_EXITS, &want, sizeof(want));
	if (err)
		return err;
	err = look_at_exits(guest, places, &n);
	if (err)
		return ipc_failed(guest->name, guest->pid, err);
	qsort(places, n, sizeof(places[0]), by_number);
	if (as_json)
		printf(",\n\"places\":\n");
	show_places(places, n, as_json);
	if (as_json)
		printf("}\n");
	return 0;
}

static int stat_exits(const struct stat_config *cfg, char **words, int n)
{
	struct ipc_peers guests = { 0 };
	int status = guests_choose_one("stat", cfg->name, words, n, &guests);

	if (status == EXIT_SUCCESS)
		status = show_exits(&guests.list[0], cfg->json) ? EXIT_FAILURE : EXIT_SUCCESS;
	ipc_peers_free(&guests);
	return status;
}

/* ---- the rest ---- */

/* @several: more than one may come. Return: EXIT_SUCCESS, or EXIT_FAILURE if one has not answered */
static int show(const struct ipc_peers *peers, bool json, bool several)
{
	int status = EXIT_SUCCESS;
	unsigned n = 0;

	if (json && several)
		printf("[");
	for (unsigned i = 0; i < peers->n; i++) {
		const struct ipc_peer *p = &peers->list[i];
		size_t len = p->len;

		if (p->skip || p->err == -ECONNRESET)
			continue;
		if (p->err) {
			ipc_peer_failed(p);
			status = EXIT_FAILURE;
			continue;
		}
		while (json && several && len && p->body[len - 1] == '\n')
			len--;
		if (several)
			printf("%s", json ? n ? ",\n" : "\n" : n ? "\n" : "");
		ipc_print(p->body, len);
		n++;
	}
	if (json && several)
		printf(n ? "\n]\n" : "]\n");
	return status;
}

static bool has_pattern(const struct guest_choice *choice)
{
	for (int i = 0; i < choice->n; i++)
		if (strpbrk(choice->word[i], "*?["))
			return true;
	return choice->option && strpbrk(choice->option, "*?[");
}

static int stat_guests(const struct stat_config *cfg, const struct guest_choice *choice)
{
	bool several = choice->all || choice->n + !!choice->option > 1 || has_pattern(choice);
	struct ipc_peers peers = { 0 };
	uint32_t json = cfg->json;
	int status = guests_choose(choice, &peers);

	for (unsigned i = 0; i < peers.n; i++)
		peers.list[i].skip = peers.list[i].err;
	if (status == EXIT_SUCCESS || peers.n) {
		if (ipc_peers_ask(&peers, IPC_STAT, &json, sizeof(json), ANSWER_MS))
			status = EXIT_FAILURE;
		else if (several || (peers.n && !peers.list[0].skip))
			status |= show(&peers, json, several);
	}
	ipc_peers_free(&peers);
	return status;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	enum options_result result;
	struct stat_config cfg = { 0 };
	struct guest_choice choice = { 0 };
	int first, status;

	result = options_parse(cmd, &cfg, argc, argv, &first, NULL);
	if (result != OPTIONS_OK)
		return options_status(result);
	choice = (struct guest_choice){ cfg.name, argv + first, argc - first, cfg.all, false };
	if (cfg.all == (cfg.name || choice.n)) {
		log_errx(0, cfg.all ? "stat: either NAME or --all" : "stat: which guest? NAME or --all");
		return EXIT_USAGE;
	}
	if (cfg.exits && cfg.all) {
		log_errx(0, "stat: --exits is for one guest");
		return EXIT_USAGE;
	}
	status = cfg.exits ? stat_exits(&cfg, argv + first, argc - first) : stat_guests(&cfg, &choice);
	if (fflush(stdout)) {
		log_err(-errno, "write to standard output");
		return EXIT_FAILURE;
	}
	return status;
}

const struct command stat_command = {
	.name = "stat",
	.summary = "Show a guest's counters",
	.operands = "[NAME|PATTERN]...",
	.operand_complete = COMPLETE_GUEST,
	.description = "Shows state, uptime, configured and resident memory, console output, what networks have passed, and for "
		       "each virtual CPU how often it has left the guest and why: port and memory "
		       "accesses, halts, interruptions by lkvm itself.",
	.opts = options,
	.run = run,
};
