/* The NUMA nodes of a machine that is saved, as a section of its snapshot; see vm/snapshot.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/log.h"
#include "lkvm/x86/numa.h"
#include "snapshot-internal.h"
#include "vm-internal.h"

#define NUMA "numa"

static const struct state_field numa_fields[] = {
	STATE_ONE(struct numa, n, .max = NUMA_NODES),
	STATE_ONE(struct numa, n_cpus, .max = MAX_VCPUS),
	STATE_SOME(struct numa, bytes, n),
	STATE_ARRAY(struct numa, distance),
	STATE_ARRAY(struct numa, latency_ns),
	STATE_ARRAY(struct numa, bandwidth_mb),
	STATE_SOME(struct numa, node, n_cpus, .max = NUMA_NODES - 1),
};

static bool has_distances(const struct numa *st)
{
	for (unsigned i = 0; i < st->n; i++)
		for (unsigned k = 0; k < st->n; k++) {
			unsigned d = st->distance[numa_pair(i, k)];

			if (i == k ? d != NUMA_LOCAL : d <= NUMA_LOCAL)
				return false;
		}
	return true;
}

static const char *numa_check(const void *state)
{
	const struct numa *st = state;

	if (!st->n)
		return "n";
	if (!st->n_cpus)
		return "n_cpus";
	for (unsigned i = 0; i < st->n; i++)
		if (st->bytes[i] % RAM_PAGE_BYTES || st->bytes[i] > INT64_MAX / NUMA_NODES)
			return "bytes";
	for (unsigned i = 0; i < st->n_cpus; i++)
		if (st->node[i] >= st->n)
			return "node";
	return has_distances(st) ? NULL : "distance";
}

const struct state_type snapshot_numa_type = {
	STATE_TYPE("numa", 1, struct numa, numa_fields),
	.check = numa_check,
};

int snapshot_describe_numa(struct snapshot_writer *w, const struct numa *numa)
{
	return numa ? snapshot_put(w, NUMA, &snapshot_numa_type, numa) : 0;
}

void snapshot_skip_numa(struct snapshot *snap)
{
	struct state_reader in;

	snapshot_find(snap, NUMA, &in);
}

static int check_machine(const struct vm_config *cfg, const struct numa *numa)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < numa->n; i++)
		sum += numa->bytes[i];
	return sum == cfg->ram.size_bytes && numa->n_cpus == cfg->cpus ? 0 :
		       log_errx(-EBADMSG, "snapshot '%s' is damaged: its NUMA nodes are not those of the machine",
				cfg->restore);
}

int snapshot_take_numa(struct vm_config *cfg)
{
	struct numa *numa = calloc(1, sizeof(*numa));
	int err = numa ? snapshot_take_any(cfg->snapshot, NUMA, &snapshot_numa_type, numa) :
			 log_err(-ENOMEM, "NUMA nodes");

	if (!err)
		err = check_machine(cfg, numa);
	if (err)
		free(numa);
	else
		cfg->numa = numa;
	return err == -ENOENT ? 0 : err;
}
