/*
 * Nodes of memory and CPUs, as the guest has them: the tables of x86/tables tell of them, a snapshot saves
 * them. Where the host's nodes come in: lkvm/ram.h's struct ram_policy.
 */
#ifndef LKVM_X86_NUMA_H
#define LKVM_X86_NUMA_H

#include "lkvm/ram.h"
#include "lkvm/x86/layout.h"

#define NUMA_NODES     64
#define NUMA_LOCAL     10 /* distance of a node to itself: ACPI 6.5, 5.2.17 */
#define NUMA_REMOTE    20 /* to another one, where nothing else was said */
#define NUMA_NO_WAY    255
#define NUMA_MAX_RANGES (NUMA_NODES + RAM_MAX_PARTS - 1)

/* Fixed widths and no padding: it is also the state that is saved. */
struct numa {
	uint32_t n;      /* nodes, 1 to NUMA_NODES */
	uint32_t n_cpus; /* 1 to MAX_VCPUS */
	uint64_t bytes[NUMA_NODES]; /* of RAM in each, by address; 0: it has none */
	uint8_t distance[NUMA_NODES * NUMA_NODES]; /* numa_pair(from, to) */
	uint32_t latency_ns[NUMA_NODES * NUMA_NODES]; /* of a CPU here to memory there; 0: not told */
	uint32_t bandwidth_mb[NUMA_NODES * NUMA_NODES]; /* MB/s */
	uint8_t node[MAX_VCPUS]; /* of each CPU */
};

struct numa_range {
	unsigned node;
	uint64_t start, bytes;
	bool hotplug; /* no RAM yet: some may be plugged in there */
};

static inline unsigned numa_pair(unsigned from, unsigned to)
{
	return from * NUMA_NODES + to;
}

/* x86/tables/numa.c */

/** numa_ranges() - where each node's RAM is, in order of address, around the gap; Return: how many */
unsigned numa_ranges(const struct numa *numa, struct numa_range ret[NUMA_MAX_RANGES]);
/** numa_has_cpu() - are there CPUs in this node? */
bool numa_has_cpu(const struct numa *numa, unsigned node);

#endif
