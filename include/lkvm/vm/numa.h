/* --numa as the user gave it, and what becomes of it. */
#ifndef LKVM_VM_NUMA_H
#define LKVM_VM_NUMA_H

#include <stdio.h>

#include "lkvm/vm/config.h"
#include "lkvm/x86/numa.h"

struct numa_row {
	unsigned n, value[NUMA_NODES]; /* n 0: not given */
};

/* One --numa */
struct numa_option {
	uint64_t bytes;
	uint8_t cpus[MAX_VCPUS / 8];        /* bits */
	uint64_t host[RAM_HOST_NODES / 64]; /* bits */
	bool has_host;
	int policy; /* MPOL_*; 0: not given */
	struct numa_row distance, latency, bandwidth;
};

/**
 * run_choose_numa() - vm/numa.c: cfg->numa and the policies of cfg->ram, from what was given, if anything was
 * After run_choose_cpus(). RAM whose size was not given has that of all nodes. Of a snapshot's machine, which has its
 * nodes already, only the host's part is taken.
 * Return: 0; -EINVAL, logged with what does not fit; -ENOMEM, logged
 */
int run_choose_numa(struct vm_config *cfg);

/** run_numa_host() - where the RAM of @range is from: ", bound to host node 0", or "" */
const char *run_numa_host(const struct vm_config *cfg, const struct numa_range *range, char *buf, size_t cap);

#endif
