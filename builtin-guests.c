/* The guests that a command is for: names, patterns, or all of them; see guests.h. */
#include <errno.h>
#include <fnmatch.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/guests.h"
#include "lkvm/log.h"
#include "lkvm/options.h"
#include "lkvm/types.h"
#include "lkvm/vm/snapshot-write.h"

#define PATTERN_MAX 256
#define SAVE_PATIENCE_MS 10000 /* then the user hears what is being waited for */

static bool is_pattern(const char *text)
{
	return strpbrk(text, "*?[") != NULL;
}

/* A pattern is made of what names are made of, and of what stands for it. */
static bool is_choice(const char *text)
{
	static const char allowed[] = "*?[]!^-._ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

	if (!is_pattern(text))
		return ipc_name_valid(text);
	return strlen(text) <= PATTERN_MAX && strspn(text, allowed) == strlen(text);
}

static bool chosen(const struct ipc_peers *peers, const char *choice)
{
	for (unsigned i = 0; i < peers->n; i++)
		if (!fnmatch(choice, peers->list[i].name, 0))
			return true;
	return false;
}

static void log_no_guest(const char *choice)
{
	struct ipc_peers all = { 0 };
	const char **names, *nearest = NULL;
	char meant[OPT_MEANT_BYTES];
	unsigned n = 0;

	if (is_pattern(choice)) {
		log_errx(0, "no guest matches '%s'", choice);
		return;
	}
	ipc_peers_find(&all, NULL);
	names = calloc(all.n + 1, sizeof(*names));
	for (unsigned i = 0; names && i < all.n; i++)
		if (all.list[i].err != -ECONNREFUSED)
			names[n++] = all.list[i].name;
	if (n)
		nearest = options_nearest(choice, names, n);
	log_errx(0, "no guest named '%s' is running%s", choice, options_meant(meant, "", nearest));
	free(names);
	ipc_peers_free(&all);
}

static int find(const struct guest_choice *choice, const char *word, struct ipc_peers *ret)
{
	int n = ipc_peers_find(ret, word);

	if (n < 0)
		return EXIT_FAILURE;
	if (n || !word || choice->may_be_none || chosen(ret, word))
		return EXIT_SUCCESS;
	log_no_guest(word);
	return EXIT_FAILURE;
}

/* One that was named is missed. Others had only to be told of. */
static int judge(const struct guest_choice *choice, const struct ipc_peer *p)
{
	bool named = choice->option && !strcmp(choice->option, p->name);

	if (!p->err)
		return EXIT_SUCCESS;
	for (int i = 0; i < choice->n; i++)
		named |= !strcmp(choice->word[i], p->name);
	if (p->err == -ECONNREFUSED && !named) {
		log_warn("guest '%s' has died; its control socket was removed", p->name);
		return EXIT_SUCCESS;
	}
	ipc_peer_failed(p);
	return EXIT_FAILURE;
}

int guests_choose(const struct guest_choice *choice, struct ipc_peers *ret)
{
	int status = EXIT_SUCCESS;

	for (int i = choice->option ? -1 : 0; i < choice->n; i++) {
		const char *word = i < 0 ? choice->option : choice->word[i];

		if (is_choice(word))
			continue;
		log_errx(0, "invalid guest name '%s'", word);
		return EXIT_USAGE;
	}
	if (choice->all)
		status |= find(choice, NULL, ret);
	if (choice->option)
		status |= find(choice, choice->option, ret);
	for (int i = 0; i < choice->n; i++)
		status |= find(choice, choice->word[i], ret);
	for (unsigned i = 0; i < ret->n; i++)
		status |= judge(choice, &ret->list[i]);
	return status;
}

int guests_choose_one(const char *command, const char *option, char **words, int n, struct ipc_peers *ret)
{
	struct guest_choice choice = { .option = option, .word = words, .n = n };
	int status;

	if (n + !!option != 1) {
		log_errx(0, "%s: give one NAME", command);
		return EXIT_USAGE;
	}
	status = guests_choose(&choice, ret);
	if (status == EXIT_SUCCESS && ret->n != 1) {
		log_errx(0, "%s: give one NAME, '%s' is %u guests", command, option ? option : words[0],
			 ret->n);
		return EXIT_USAGE;
	}
	return status;
}

/* ---- to save one ---- */

static int not_saved(const struct ipc_peer *guest, const char *dir, int err, const struct ipc_reply *reply)
{
	if (!reply->len)
		return ipc_failed(guest->name, guest->pid, err);
	return log_errx(err, "guest '%s' cannot be saved in '%s': %.*s", guest->name, dir, (int)reply->len,
			(const char *)reply->body);
}

void guests_tell_no_hint(const struct ipc_peer *guest, const struct ipc_snapshot_end *end)
{
	if (*end->no_hint)
		log_warn("guest '%s' could not be asked what is free (--hint): %.*s", guest->name,
			 (int)sizeof(end->no_hint), end->no_hint);
}

int guests_save(const struct ipc_peer *guest, const char *dir, int folder_fd, const char *name, uint32_t flags,
		struct ipc_snapshot_end *ret)
{
	struct pollfd answer = { .fd = guest->fd, .events = POLLIN };
	struct ipc_snapshot req = { .flags = flags };
	static struct ipc_reply reply;
	int err, n;

	snapshot_sweep(folder_fd);
	snprintf(req.name, sizeof(req.name), "%s", name);
	reply.len = 0;
	err = ipc_send(guest->fd, IPC_SNAPSHOT, &req, sizeof(req), &folder_fd, 1);
	if (err)
		return not_saved(guest, dir, err, &reply);
	while ((n = poll(&answer, 1, SAVE_PATIENCE_MS)) < 1)
		if (!n)
			log_info("still saving guest '%s'", guest->name);
	err = ipc_receive(guest->fd, &reply);
	if (err)
		return not_saved(guest, dir, err, &reply);
	if (reply.len != sizeof(*ret))
		return ipc_failed(guest->name, guest->pid, -EPROTO);
	memcpy(ret, reply.body, sizeof(*ret));
	return 0;
}
