/* `lkvm run --numa`: the nodes of all that was given, checked; see lkvm/vm/numa.h. */
#include "lkvm/vm/numa.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/log.h"
#include "lkvm/vm/run.h"

#define SMALLEST (64 * MIB) /* of --mem */

static unsigned long long mib(uint64_t bytes)
{
	return bytes / MIB;
}

/* ---- memory ---- */

static int take_memory(struct vm_config *cfg, struct numa *numa)
{
	uint64_t *size = &cfg->ram.size_bytes, sum = 0;

	for (unsigned i = 0; i < numa->n; i++) {
		numa->bytes[i] = cfg->numa_options[i].bytes;
		if (__builtin_add_overflow(sum, numa->bytes[i], &sum))
			return log_errx(-EINVAL, "--numa: node %u makes it more RAM than there are addresses", i);
	}
	if (*size && sum != *size)
		return log_errx(-EINVAL, "--numa: the nodes have %lluKB of RAM in all, the guest has %lluKB (--mem)",
				(unsigned long long)(sum / KIB), (unsigned long long)(*size / KIB));
	if (sum < SMALLEST && !*size)
		return log_errx(-EINVAL, "--numa: the nodes have %lluMB of RAM in all (min 64MB)", mib(sum));
	*size = sum;
	return 0;
}

/* ---- CPUs ---- */

static bool has_cpu(const struct numa_option *node, unsigned cpu)
{
	return node->cpus[cpu / 8] >> cpu % 8 & 1;
}

static int take_cpu(const struct vm_config *cfg, struct numa *numa, unsigned cpu)
{
	unsigned found = NUMA_NODES;

	for (unsigned i = 0; i < numa->n; i++) {
		if (!has_cpu(&cfg->numa_options[i], cpu))
			continue;
		if (cpu >= cfg->cpus)
			return log_errx(-EINVAL, "--numa: node %u has CPU %u, but there are only %u (--cpus)", i, cpu,
					cfg->cpus);
		if (found < NUMA_NODES)
			return log_errx(-EINVAL, "--numa: CPU %u is in node %u and in node %u", cpu, found, i);
		found = i;
	}
	if (cpu >= cfg->cpus)
		return 0;
	if (found == NUMA_NODES)
		return log_errx(-EINVAL, "--numa: CPU %u is in no node", cpu);
	numa->node[cpu] = (uint8_t)found;
	return 0;
}

static int take_cpus(const struct vm_config *cfg, struct numa *numa)
{
	int err = 0;

	numa->n_cpus = cfg->cpus;
	for (unsigned cpu = 0; !err && cpu < MAX_VCPUS; cpu++)
		err = take_cpu(cfg, numa, cpu);
	for (unsigned i = 0; !err && i < numa->n; i++)
		if (!numa->bytes[i] && !numa_has_cpu(numa, i))
			err = log_errx(-EINVAL, "--numa: node %u has neither RAM nor CPUs", i);
	return err;
}

/* ---- distances, speeds ---- */

static int check_row(const struct vm_config *cfg, const struct numa_row *row, unsigned node, const char *key)
{
	return !row->n || row->n == cfg->n_numa_options ? 0 :
		       log_errx(-EINVAL, "--numa: node %u has %u values in %s=, one for each of %u nodes is needed", node,
				row->n, key, cfg->n_numa_options);
}

static int check_distances(const struct numa *numa, const struct numa_row *row, unsigned node)
{
	for (unsigned to = 0; row->n && to < numa->n; to++)
		if (to == node ? row->value[to] != NUMA_LOCAL : row->value[to] == NUMA_LOCAL)
			return log_errx(-EINVAL, "--numa: the distance of node %u to node %u is %u: 10 is that to itself",
					node, to, row->value[to]);
	return 0;
}

static unsigned distance(const struct vm_config *cfg, unsigned from, unsigned to)
{
	const struct numa_row *there = &cfg->numa_options[from].distance, *back = &cfg->numa_options[to].distance;

	if (from == to)
		return NUMA_LOCAL;
	return there->n ? there->value[to] : back->n ? back->value[from] : NUMA_REMOTE;
}

static int take_distances(const struct vm_config *cfg, struct numa *numa)
{
	int err = 0;

	for (unsigned i = 0; !err && i < numa->n; i++) {
		err = check_row(cfg, &cfg->numa_options[i].distance, i, "dist");
		if (!err)
			err = check_distances(numa, &cfg->numa_options[i].distance, i);
	}
	for (unsigned i = 0; !err && i < numa->n; i++)
		for (unsigned k = 0; k < numa->n; k++)
			numa->distance[numa_pair(i, k)] = (uint8_t)distance(cfg, i, k);
	return err;
}

/* Where one node has it, each node with CPUs has it. @offset: of the row in struct numa_option */
static int take_speeds(const struct vm_config *cfg, const struct numa *numa, size_t offset, const char *key,
		       uint32_t *ret)
{
	const struct numa_row *row[NUMA_NODES];
	bool any = false;
	int err = 0;

	for (unsigned i = 0; !err && i < numa->n; i++) {
		row[i] = (const struct numa_row *)((const char *)&cfg->numa_options[i] + offset);
		any |= row[i]->n;
		err = check_row(cfg, row[i], i, key);
	}
	for (unsigned i = 0; !err && any && i < numa->n; i++) {
		if (!!row[i]->n != numa_has_cpu(numa, i))
			err = log_errx(-EINVAL, "--numa: node %u has %s %s=, of which others have one", i,
				       row[i]->n ? "no CPUs, but" : "no", key);
		for (unsigned k = 0; !err && row[i]->n && k < numa->n; k++)
			ret[numa_pair(i, k)] = row[i]->value[k];
	}
	return err;
}

/* ---- the host's nodes ---- */

static int check_host(const struct numa_option *node, unsigned number)
{
	char path[64];

	if (node->policy && !node->has_host)
		return log_errx(-EINVAL, "--numa: node %u has policy=, but no host=", number);
	for (unsigned i = 0; i < RAM_HOST_NODES; i++) {
		if (!(node->host[i / 64] >> i % 64 & 1))
			continue;
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%u", i);
		if (access(path, F_OK))
			return log_errx(-EINVAL, "--numa: node %u: the host has no node %u", number, i);
	}
	return 0;
}

/* One node can be preferred since there are policies, several since Linux 5.15. */
static int policy_of(const struct numa_option *node)
{
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(node->host); i++)
		n += (unsigned)__builtin_popcountll(node->host[i]);
	if (node->policy == MPOL_PREFERRED && n > 1)
		return MPOL_PREFERRED_MANY;
	return node->policy ? node->policy : MPOL_BIND;
}

static int choose_policies(struct vm_config *cfg, const struct numa *numa)
{
	struct numa_range range[NUMA_MAX_RANGES];
	unsigned n = numa_ranges(numa, range);
	struct ram_policy *policies = calloc(n, sizeof(*policies));

	if (!policies)
		return log_err(-ENOMEM, "NUMA nodes");
	free(cfg->ram_policies);
	cfg->ram_policies = policies;
	cfg->ram.policy = policies;
	cfg->ram.n_policies = 0;
	for (unsigned i = 0; i < n; i++) {
		const struct numa_option *node = &cfg->numa_options[range[i].node];
		struct ram_policy *policy = &policies[cfg->ram.n_policies];

		if (!node->has_host)
			continue;
		*policy = (struct ram_policy){ .start = range[i].start, .bytes = range[i].bytes, .mode = policy_of(node) };
		memcpy(policy->nodes, node->host, sizeof(policy->nodes));
		cfg->ram.n_policies++;
	}
	return 0;
}

static void list_nodes(FILE *f, const uint64_t *nodes)
{
	const char *before = "";

	for (unsigned i = 0; i < RAM_HOST_NODES; i++)
		if (nodes[i / 64] >> i % 64 & 1) {
			fprintf(f, "%s%u", before, i);
			before = ":";
		}
}

const char *run_numa_host(const struct vm_config *cfg, const struct numa_range *range, char *buf, size_t cap)
{
	FILE *f = fmemopen(buf, cap, "w");

	buf[0] = '\0';
	for (unsigned i = 0; f && i < cfg->ram.n_policies; i++) {
		const struct ram_policy *policy = &cfg->ram.policy[i];

		if (policy->start != range->start)
			continue;
		fprintf(f, ", %s host=", policy->mode == MPOL_BIND ? "bind" :
			policy->mode == MPOL_INTERLEAVE ? "interleave" : "preferred");
		list_nodes(f, policy->nodes);
	}
	if (f)
		fclose(f);
	return buf;
}

/* ---- all together ---- */

static int fill(struct vm_config *cfg, struct numa *numa)
{
	int err = take_memory(cfg, numa);

	if (!err)
		err = take_cpus(cfg, numa);
	if (!err)
		err = take_distances(cfg, numa);
	if (!err)
		err = take_speeds(cfg, numa, offsetof(struct numa_option, latency), "latency", numa->latency_ns);
	if (!err)
		err = take_speeds(cfg, numa, offsetof(struct numa_option, bandwidth), "bandwidth", numa->bandwidth_mb);
	return err;
}

/* Does it say only where RAM comes from? */
static bool only_host(const struct numa_option *node)
{
	static const uint8_t none[sizeof(node->cpus)];

	return !node->bytes && !memcmp(node->cpus, none, sizeof(none)) && !node->distance.n && !node->latency.n &&
	       !node->bandwidth.n;
}

static bool only_hosts(const struct vm_config *cfg)
{
	for (unsigned i = 0; i < cfg->n_numa_options; i++)
		if (!only_host(&cfg->numa_options[i]))
			return false;
	return true;
}

/* The machine of a snapshot has its nodes, or none. */
static int compare(struct vm_config *cfg, struct numa *numa)
{
	int err;

	if (!cfg->numa)
		return log_errx(-EINVAL, "the machine in '%s' was made without --numa", cfg->restore);
	if (cfg->numa->n != numa->n)
		return log_errx(-EINVAL, "the machine in '%s' has %u NUMA nodes, not %u (--numa)", cfg->restore,
				cfg->numa->n, numa->n);
	if (only_hosts(cfg))
		return 0;
	err = fill(cfg, numa);
	if (err || !memcmp(cfg->numa, numa, sizeof(*numa)))
		return err;
	return log_errx(-EINVAL, "the machine in '%s' has other NUMA nodes (--numa)", cfg->restore);
}

int run_choose_numa(struct vm_config *cfg)
{
	struct numa *numa;
	int err = 0;

	if (!cfg->n_numa_options)
		return 0;
	for (unsigned i = 0; !err && i < cfg->n_numa_options; i++)
		err = check_host(&cfg->numa_options[i], i);
	if (err)
		return err;
	numa = calloc(1, sizeof(*numa));
	if (!numa)
		return log_err(-ENOMEM, "NUMA nodes");
	numa->n = cfg->n_numa_options;
	err = cfg->restore ? compare(cfg, numa) : fill(cfg, numa);
	if (cfg->restore || err) {
		free(numa);
	} else {
		free(cfg->numa);
		cfg->numa = numa;
	}
	return err ? err : choose_policies(cfg, cfg->numa);
}
