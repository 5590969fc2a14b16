/*
 * The networks of a machine that is saved, as the user had said what they are, and the configuration that makes them
 * again; see snapshot-internal.h. What the guest knows of each is the device's own state.
 *
 * Where they lead now is the user's to say: -n again, one for each in order. What he leaves out is as it was, but for
 * what a snapshot of somebody else's must not do: run programs, write files, take a descriptor.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/log.h"
#include "lkvm/net.h"
#include "lkvm/vm/run.h"
#include "snapshot-internal.h"
#include "vm-internal.h"

#define NAME_BYTES 20

struct network_state {
	uint32_t text_n; /* with its NUL */
	uint8_t text[4096];
};

static const struct state_field fields[] = {
	STATE_ONE(struct network_state, text_n, .max = sizeof(((struct network_state *)0)->text)),
	STATE_SOME(struct network_state, text, text_n),
};

static const char *check(const void *state)
{
	const struct network_state *st = state;

	return state_is_text(st->text, st->text_n) ? NULL : "text";
}

const struct state_type snapshot_network_type = {
	STATE_TYPE("network", 1, struct network_state, fields),
	.check = check,
};

static void network_name(char ret[NAME_BYTES], unsigned index)
{
	snprintf(ret, NAME_BYTES, "network%u", index);
}

int snapshot_describe_net(struct snapshot_writer *w, const struct net_config *net, unsigned i)
{
	struct network_state *st = calloc(1, sizeof(*st));
	char name[NAME_BYTES];
	int err;

	if (!st)
		return -ENOMEM;
	err = snapshot_note_path(strdup(net->arg), st->text, sizeof(st->text), &st->text_n);
	network_name(name, i);
	if (!err)
		err = snapshot_put(w, name, &snapshot_network_type, st);
	free(st);
	return err;
}

int snapshot_skip_nets(struct snapshot *snap, unsigned n)
{
	struct state_reader in;
	char name[NAME_BYTES];
	int err = 0;

	for (unsigned i = 0; !err && i < n; i++) {
		network_name(name, i);
		err = snapshot_find(snap, name, &in) ? -EBADMSG : 0;
	}
	return err;
}

/* In what is said of it, too, for who saves the machine again. Return: 0 or -ENOMEM, logged */
__attribute__((format(printf, 2, 3))) static int also(struct net_config *net, const char *format, ...)
{
	char word[64], *text;
	va_list args;

	va_start(args, format);
	vsnprintf(word, sizeof(word), format, args);
	va_end(args);
	if (asprintf(&text, "%s%s%s", net->arg, *net->arg ? "," : "", word) < 0)
		return log_err(-ENOMEM, "networks");
	free(net->arg);
	net->arg = text;
	return 0;
}

/* What is the guest's of it; the rest is as the user has it now. Return: 0 or -ENOMEM, logged */
static int keep(struct net_config *net, const struct net_config *was)
{
	const uint8_t *mac = was->mac;
	int err = 0;

	if (!net->queues && was->queues) {
		net->queues = was->queues;
		err = also(net, "queues=%u", net->queues);
	}
	if (!err && !net->mtu && was->mtu) {
		net->mtu = was->mtu;
		err = also(net, "mtu=%u", net->mtu);
	}
	if (!err && !net->has_mac && was->has_mac) {
		net->has_mac = true;
		memcpy(net->mac, mac, sizeof(net->mac));
		err = also(net, "mac=%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	}
	if (!err && !net->packed && was->packed) {
		net->packed = true;
		err = also(net, "packed");
	}
	if (!err && !net->rss && was->rss) {
		net->rss = true;
		err = also(net, "rss");
	}
	return err;
}

static int refuse(const struct vm_config *cfg, unsigned i, const struct net_config *was)
{
	return log_errx(-EINVAL, "network %u of the machine in '%s' was made with '-n %s': say by -n what it is now", i,
			cfg->restore, was->arg);
}

/* The device has what it had, wherever that came from. */
static int take_rom(const struct vm_config *cfg, struct net_config *net, unsigned i)
{
	const int has = snapshot_take_option_rom(cfg, i);

	if (!has && net->rom)
		return log_errx(-EINVAL, "network %u of the machine in '%s' was made without 'rom' (--net)", i, cfg->restore);
	net->rom = has > 0 ? "" : NULL;
	return has < 0 ? has : 0;
}

/* @given: by the user, or NULL */
static int take_net(struct vm_config *cfg, struct net_config *given, unsigned i, const struct network_state *st)
{
	struct net_config was, *net = &cfg->nets[i];
	int err = net_config_parse(&was, "net", (const char *)st->text);

	if (err > 0)
		err = log_errx(-EBADMSG, "snapshot '%s' is damaged: 'network%u'", cfg->restore, i);
	if (!err && given) {
		*net = *given;
		memset(given, 0, sizeof(*given));
		err = keep(net, &was);
	} else if (!err && (was.script || was.downscript || was.fd)) {
		err = refuse(cfg, i, &was);
	} else if (!err) {
		*net = was;
		net->pcap = NULL;
		net->ports_may_move = true; /* the first one may still have them */
		return 0;
	}
	net_config_free(&was);
	return err;
}

int snapshot_take_nets(struct vm_config *cfg, unsigned n)
{
	struct vm_config user = { .nets = cfg->nets, .n_nets = cfg->n_nets };
	struct network_state *st = calloc(1, sizeof(*st));
	char name[NAME_BYTES];
	int err = 0;

	cfg->nets = calloc(n + 1, sizeof(*cfg->nets));
	cfg->n_nets = 0;
	if (!st || !cfg->nets)
		err = log_err(-ENOMEM, "networks");
	else if (user.n_nets > n)
		err = log_errx(-EINVAL, "the machine in '%s' has %u networks, not %u (--net)", cfg->restore, n, user.n_nets);
	for (unsigned i = 0; !err && i < n; i++) {
		network_name(name, i);
		err = snapshot_take(cfg->snapshot, name, &snapshot_network_type, st);
		if (!err)
			err = take_net(cfg, i < user.n_nets ? &user.nets[i] : NULL, i, st);
		cfg->n_nets += !err;
		if (!err)
			err = take_rom(cfg, &cfg->nets[i], i);
	}
	free(st);
	run_free_nets(&user);
	return err;
}
