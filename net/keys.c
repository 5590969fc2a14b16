/* What -n KIND,key,key=value may say of a network: the keys of struct net_config. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/log.h"
#include "lkvm/net.h"
#include "lkvm/options.h"

static int set_mac(void *config, const char *option, const char *value)
{
	struct net_config *net = config;
	uint8_t mac[NET_MAC_BYTES];
	int end = 0;

	if (sscanf(value, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
		   &mac[5], &end) != NET_MAC_BYTES ||
	    value[end] || end != 17 || strspn(value, "0123456789abcdefABCDEF:") != 17)
		return log_errx(-EINVAL, "option '--%s': '%s' is not an address like 02:00:00:00:00:01", option, value);
	if ((mac[0] & 1) || !memcmp(mac, (uint8_t[NET_MAC_BYTES]){ 0 }, sizeof(mac)))
		return log_errx(-EINVAL, "option '--%s': '%s' is not the address of one station", option, value);
	memcpy(net->mac, mac, sizeof(mac));
	net->has_mac = true;
	return 0;
}

static int set_fd(void *config, const char *option, const char *value)
{
	unsigned fd;

	if (options_unsigned(value, 0, 1U << 20, &fd))
		return log_errx(-EINVAL, "option '--%s': '%s' is not the number of a descriptor", option, value);
	((struct net_config *)config)->fd = value;
	return 0;
}

static int set_ifname(void *config, const char *option, const char *value)
{
	if (strlen(value) > 15 || strpbrk(value, "/ ") || !strcmp(value, ".") || !strcmp(value, ".."))
		return log_errx(-EINVAL, "option '--%s': '%s' is not the name of an interface", option, value);
	((struct net_config *)config)->ifname = value;
	return 0;
}

static int add_forward(void *config, const char *option, const char *value)
{
	struct net_config *net = config;

	if (net->n_forwards == NET_MAX_FORWARDS)
		return log_errx(-EINVAL, "option '--%s': more than %d forwards", option, NET_MAX_FORWARDS);
	return net_forward_parse(option, value, &net->forward[net->n_forwards++]);
}

static int set_loopback(void *config, const char *option, const char *value)
{
	struct net_config *net = config;

	net->no_loopback = !strcmp(value, "off");
	return net->no_loopback || !strcmp(value, "on") ?
		       0 : log_errx(-EINVAL, "option '--%s': loopback is on or off, not '%s'", option, value);
}

static int set_vhost(void *config, const char *option, const char *value)
{
	struct net_config *net = config;

	net->vhost = !strcmp(value, "on");
	return net->vhost || !strcmp(value, "off") ?
		       0 : log_errx(-EINVAL, "option '--%s': vhost is on or off, not '%s'", option, value);
}

static int set_switch(void *config, const char *option, const char *value)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	const size_t len = strlen(value);

	if (!len || len > 32 || strspn(value, allowed) != len)
		return log_errx(-EINVAL, "option '--%s': '%s' is not the name of a switch (1 to 32 of A-Z a-z 0-9 . _ -)",
				option, value);
	((struct net_config *)config)->switch_name = value;
	return 0;
}

#define FIELD(member) .offset = offsetof(struct net_config, member)

/* Of every kind */
#define COMMON_KEYS                                                                                            \
	{ "mac", "ADDR", .kind = KEY_PARSE, .parse = set_mac,                                                  \
	  .help = "The device's address: 02:00:00:00:00:01.\n"                                                 \
		  "By default one that is made of the guest's name, the user, the host and the device's "      \
		  "number: the next guest of this name has the same." },                                       \
	{ "mtu", "BYTES", .kind = KEY_UNSIGNED, FIELD(mtu), .min = 1280, .max = NET_MAX_MTU,                   \
	  .help = "The link's MTU, of which the guest is told (as the other end has it)." },                   \
	{ "pcap", "FILE", .kind = KEY_STRING, FIELD(pcap),                                                     \
	  .help = "Record what passes in this file.\n"                                                        \
		  "tshark, tcpdump and the like read it, also while it grows. An older file is replaced." },   \
	{ "rom", "FILE", .kind = KEY_STRING, FIELD(rom),                                                       \
	  .help = "The device's option ROM, with which firmware boots from the network.\n"                    \
		  "Of iPXE's, efi-virtio.rom or pxe-virtio.rom. With --firmware only." },                      \
	{ "queues", "N", .kind = KEY_UNSIGNED, FIELD(queues), .min = 1, .max = NET_MAX_PAIRS,                  \
	  .help = "Pairs of queues, 1 to 8 (1).\n"                                                             \
		  "One thread serves all of them. Of kinds other than tap with rss only." },                   \
	{ "rss", .kind = KEY_FLAG, FIELD(rss),                                                                 \
	  .help = "lkvm spreads frames over the queues as the guest says (RSS), and tells their hashes.\n"     \
		  "By ethtool -X, and of which fields by ethtool -N. It costs a copy of each frame." },        \
	{ "packed", .kind = KEY_FLAG, FIELD(packed),                                                           \
	  .help = "Offer packed virtqueues, for the development of drivers." }

/* Of both kinds of user-mode networking */
#define USER_KEYS												\
	{ "hostfwd", "FORWARD", .kind = KEY_PARSE, .parse = add_forward,					\
	  .help = "Let a port of the host lead to one of the guest, as often as wanted.\n"			\
		  "FORWARD is [tcp|udp]:[ADDR]:PORT-[ADDR]:PORT, first the host's. "				\
		  "Without the first ADDR only programs on this host reach it (127.0.0.1); 0.0.0.0 is for all. PORT 0 of "	\
		  "the host is any free one, which `lkvm list` tells." },					\
	{ "restrict", .kind = KEY_FLAG, FIELD(restricted),							\
	  .help = "The guest gets nowhere; only forwards lead to it.\n"						\
		  "Those of UDP in one direction only." },							\
	{ "loopback", "on|off", .kind = KEY_PARSE, .parse = set_loopback,					\
	  .help = "Does the gateway, 10.0.2.2 and fec0::2, lead to this host's 127.0.0.1 and ::1? (on)" }

static const struct opt_key passt_keys[] = {
	USER_KEYS,
	COMMON_KEYS,
	KEYS_END,
};

static const struct opt_key user_keys[] = {
	USER_KEYS,
	{ "tftp", "DIR", .kind = KEY_STRING, FIELD(tftp),
	  .help = "A folder whose files the guest may load by TFTP, from the gateway." },
	{ "bootfile", "NAME", .kind = KEY_STRING, FIELD(bootfile),
	  .help = "Which file DHCP tells to boot." },
	COMMON_KEYS,
	KEYS_END,
};

static const struct opt_key switch_keys[] = {
	{ "name", "NAME", .kind = KEY_PARSE, .parse = set_switch,
	  .help = "Which one: switch=NAME says the same." },
	COMMON_KEYS,
	KEYS_END,
};

static const struct opt_key tap_keys[] = {
	{ "ifname", "NAME", .kind = KEY_PARSE, .parse = set_ifname,
	  .help = "The interface: one that is there, or its name if it is new.\n"
		  "A new one is gone with the guest. Without a name the host chooses one." },
	{ "fd", "N", .kind = KEY_PARSE, .parse = set_fd,
	  .help = "It is open already, as this descriptor of lkvm's.\n"
		  "For macvtap, too: fd=3 3<>/dev/tapN." },
	{ "script", "FILE", .kind = KEY_STRING, FIELD(script),
	  .help = "Program that sets the interface up, with its name as argument; lkvm then does nothing to it.\n"
		  "It is run without a shell, and has a minute. If it fails the guest does not start." },
	{ "downscript", "FILE", .kind = KEY_STRING, FIELD(downscript),
	  .help = "Program that is run at the end, likewise." },
	{ "vhost", "on|off", .kind = KEY_PARSE, .parse = set_vhost,
	  .help = "Does the host's kernel move the frames (/dev/vhost-net)? (off)" },
	COMMON_KEYS,
	KEYS_END,
};

const struct opt_value net_values[] = {
	[NET_USER] = { "user", .keys = user_keys, .implied = true,
		       .help = "User-mode networking: the guest reaches what lkvm reaches, without a privilege." },
	[NET_TAP] = { "tap", .keys = tap_keys,
		      .help = "A tap interface of the host's. A new one needs CAP_NET_ADMIN." },
	[NET_SWITCH] = { "switch", .keys = switch_keys,
			 .help = "A network of the guests of one user that name the same switch." },
	[NET_PASST] = { "passt", .keys = passt_keys, .help = "As user, by the program passt." },
	[NET_KINDS] = { "none", .help = "No network: takes back those that stand before it." },
	VALUES_END,
};

/* Return: which of net_values[], NET_USER if @word is a key of that; NET_KINDS + 1: none */
static unsigned find_kind(const char *word)
{
	const size_t len = strcspn(word, "=");

	for (unsigned i = 0; i <= NET_KINDS; i++)
		if (strlen(net_values[i].name) == len && !strncmp(net_values[i].name, word, len))
			return i;
	return NET_KINDS + 1;
}

/* `switch=NAME` */
static int take_value(struct net_config *cfg, const char *option, char *word)
{
	const char *value = strchr(word, '=');

	if (value && cfg->kind != NET_SWITCH)
		return log_errx(-EINVAL, "option '--%s': '%.*s' takes no value", option, (int)(value - word), word);
	return value ? set_switch(cfg, option, value + 1) : 0;
}

static int unknown(const char *option, const char *word)
{
	return log_errx(-EINVAL, "option '--%s': unknown '%s' (known: user, tap, switch=NAME, passt, none, and keys "
				 "of user)", option, word);
}

static bool is_user_key(const char *word)
{
	const size_t sign = *word == '+' || *word == '-', len = strcspn(word + sign, "=,");

	for (const struct opt_key *key = user_keys; key->name; key++)
		if (strlen(key->name) == len && !strncmp(key->name, word + sign, len))
			return true;
	return false;
}

int net_config_parse(struct net_config *cfg, const char *option, const char *arg)
{
	char *rest, *first;
	unsigned kind;
	int err;

	*cfg = (struct net_config){ .kind = NET_USER, .arg = strdup(arg ? arg : "") };
	cfg->text = rest = strdup(arg ? arg : "");
	if (!cfg->arg || !rest)
		return log_err(-ENOMEM, "option '--%s'", option);
	if (!*rest)
		return 0;
	if (is_user_key(rest))
		return keys_parse(option, user_keys, cfg, rest);
	first = keys_word(&rest);
	kind = find_kind(first);
	if (kind > NET_KINDS)
		return unknown(option, first);
	if (kind == NET_KINDS)
		return strcmp(cfg->arg, "none") ? log_errx(-EINVAL, "option '--%s': nothing can stand behind 'none'", option) : 1;
	cfg->kind = (enum net_kind)kind;
	err = take_value(cfg, option, first);
	return err ? err : keys_parse(option, net_values[kind].keys, cfg, rest);
}

void net_config_free(struct net_config *cfg)
{
	free(cfg->text);
	free(cfg->arg);
	cfg->text = cfg->arg = NULL;
}
