/* `lkvm run --numa mem=SIZE,cpus=LIST,...`: a node, from the command line; vm/numa.c makes nodes of them. */
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/keys.h"
#include "lkvm/log.h"
#include "lkvm/options.h"
#include "lkvm/vm/numa.h"
#include "lkvm/vm/run.h"

#define SEPARATOR ':' /* within a value: a comma begins the next key */

static int bad(const char *option, const char *key, const char *value, const char *what)
{
	return log_errx(-EINVAL, "option '--%s': %s '%s' is no %s", option, key, value, what);
}

static int parse_mem(void *config, const char *option, const char *value)
{
	struct numa_option *node = config;

	switch (ram_parse_size(value, &node->bytes)) {
	case RAM_SIZE_OK:
	case RAM_SIZE_SMALL:
		return node->bytes % RAM_PAGE_BYTES ? bad(option, "mem", value, "multiple of the page size (4096B)") : 0;
	case RAM_SIZE_ZERO:
		node->bytes = 0;
		return 0;
	case RAM_SIZE_PAGES:
		return bad(option, "mem", value, "multiple of the page size (4096B)");
	default:
		return bad(option, "mem", value, "size (512, 512M, 2G)");
	}
}

static int add_cpu(void *ctx, unsigned n)
{
	struct numa_option *node = ctx;

	node->cpus[n / 8] |= (uint8_t)(1 << n % 8);
	return 0;
}

static int parse_cpus(void *config, const char *option, const char *value)
{
	return run_parse_ranges(value, SEPARATOR, MAX_VCPUS - 1, add_cpu, config) ?
		       bad(option, "cpus", value, "list of CPUs (0-3:8)") : 0;
}

static int add_host(void *ctx, unsigned n)
{
	struct numa_option *node = ctx;

	node->host[n / 64] |= 1ULL << n % 64;
	node->has_host = true;
	return 0;
}

static int parse_host(void *config, const char *option, const char *value)
{
	return run_parse_ranges(value, SEPARATOR, RAM_HOST_NODES - 1, add_host, config) ?
		       bad(option, "host", value, "list of the host's nodes (0:1)") : 0;
}

static int parse_policy(void *config, const char *option, const char *value)
{
	static const struct {
		const char *name;
		int policy;
	} all[] = {
		{ "bind", MPOL_BIND }, { "preferred", MPOL_PREFERRED }, { "interleave", MPOL_INTERLEAVE },
	};
	struct numa_option *node = config;

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (!strcmp(value, all[i].name)) {
			node->policy = all[i].policy;
			return 0;
		}
	return bad(option, "policy", value, "policy (bind, preferred, interleave)");
}

/* Numbers from @min to @max, one for each node from the first on */
static int parse_row(struct numa_row *row, const char *value, unsigned min, unsigned max)
{
	char *text = strdup(value), *rest = text, *word;
	int err = text ? 0 : -ENOMEM;

	row->n = 0;
	while (!err && (word = strsep(&rest, ":"))) {
		if (row->n == NUMA_NODES)
			err = -EINVAL;
		else
			err = options_unsigned(word, min, max, &row->value[row->n++]);
	}
	free(text);
	return err;
}

static int parse_dist(void *config, const char *option, const char *value)
{
	return parse_row(&((struct numa_option *)config)->distance, value, NUMA_LOCAL, NUMA_NO_WAY) ?
		       bad(option, "dist", value, "list of distances, from 10 to 255 (10:20)") : 0;
}

static int parse_latency(void *config, const char *option, const char *value)
{
	return parse_row(&((struct numa_option *)config)->latency, value, 1, 1000000) ?
		       bad(option, "latency", value, "list of nanoseconds (80:150)") : 0;
}

static int parse_bandwidth(void *config, const char *option, const char *value)
{
	return parse_row(&((struct numa_option *)config)->bandwidth, value, 1, 100000000) ?
		       bad(option, "bandwidth", value, "list of MB/s (40000:10000)") : 0;
}

const struct opt_key run_numa_keys[] = {
	{ "mem", "SIZE", .kind = KEY_PARSE, .parse = parse_mem,
	  .help = "RAM of the node, as of --mem (none). The nodes have all of the guest's; without --mem it has theirs." },
	{ "cpus", "LIST", .kind = KEY_PARSE, .parse = parse_cpus,
	  .help = "Its CPUs, 0-3:8 for example (none). Each CPU is in one node." },
	{ "host", "NODES", .kind = KEY_PARSE, .parse = parse_host,
	  .help = "Take the node's RAM from these NUMA nodes of the host, 0:1 for example. Also with --restore." },
	{ "policy", "bind|preferred|interleave", .kind = KEY_PARSE, .parse = parse_policy,
	  .help = "From them alone (bind), from others too if they are full, or from each in turn." },
	{ "dist", "N:N...", .kind = KEY_PARSE, .parse = parse_dist,
	  .help = "Distance to each node, in order; 10 to itself. Default: as that node says of this one, else 20." },
	{ "latency", "NS:NS...", .kind = KEY_PARSE, .parse = parse_latency,
	  .help = "How long the node's CPUs wait for the memory of each node, for the guest to know (ACPI's HMAT)." },
	{ "bandwidth", "MB:MB...", .kind = KEY_PARSE, .parse = parse_bandwidth,
	  .help = "How many MB/s they get from each, likewise." },
	KEYS_END,
};

int run_parse_numa(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	struct numa_option *nodes = reallocarray(cfg->numa_options, cfg->n_numa_options + 1, sizeof(*nodes));
	char *text = strdup(arg);
	int err;

	if (nodes)
		cfg->numa_options = nodes;
	if (!nodes || !text || cfg->n_numa_options == NUMA_NODES) {
		free(text);
		return nodes && text ? log_errx(-EINVAL, "option '--%s': more than %d nodes", opt->name, NUMA_NODES) :
				       log_err(-ENOMEM, "option '--%s'", opt->name);
	}
	nodes[cfg->n_numa_options] = (struct numa_option){ .policy = 0 };
	err = keys_parse(opt->name, opt->keys, &nodes[cfg->n_numa_options++], text);
	free(text);
	return err;
}

void run_free_numa(struct vm_config *cfg)
{
	free(cfg->numa_options);
	free(cfg->numa);
	free(cfg->ram_policies);
}
