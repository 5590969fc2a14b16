/*
 * How the vCPUs are arranged in sockets, dies, cores and threads, and the APIC ids that follow: each level
 * has as many bits as its members need, so the ids have holes where a number is no power of two.
 *
 *	| socket | die | core | thread |
 */
#ifndef LKVM_X86_TOPOLOGY_H
#define LKVM_X86_TOPOLOGY_H

#include <stdbool.h>
#include <stdint.h>

#define XAPIC_IDS 255 /* below this one an APIC id fits 8 bits; 255 itself is all of them */

/* All zero: the CPUs are cores of one socket, and a CPU's id is its number. */
struct cpu_topology {
	uint32_t sockets, dies, cores, threads; /* in all; of a socket; of a die; of a core */
};

/** topology_bits() - bits that tell @n things apart */
static inline unsigned topology_bits(unsigned n)
{
	unsigned bits = 0;

	while (bits < 31 && 1u << bits < n)
		bits++;
	return bits;
}

/* Where in an APIC id the number of the core, die or socket begins */
static inline unsigned topology_core_shift(const struct cpu_topology *t)
{
	return topology_bits(t->threads);
}

static inline unsigned topology_die_shift(const struct cpu_topology *t)
{
	return topology_core_shift(t) + topology_bits(t->cores);
}

static inline unsigned topology_socket_shift(const struct cpu_topology *t)
{
	return topology_die_shift(t) + topology_bits(t->dies);
}

/** topology_apic_id() - of vCPU @cpu; it is never below @cpu, and grows with it */
static inline uint32_t topology_apic_id(const struct cpu_topology *t, unsigned cpu)
{
	unsigned core, die;

	if (!t->cores)
		return cpu;
	core = cpu / t->threads;
	die = core / t->cores;
	return die / t->dies << topology_socket_shift(t) | die % t->dies << topology_die_shift(t) |
	       core % t->cores << topology_core_shift(t) | cpu % t->threads;
}

/** topology_cpus() - how many CPUs there are; no level is zero */
static inline uint64_t topology_cpus(const struct cpu_topology *t)
{
	return (uint64_t)t->sockets * t->dies * t->cores * t->threads;
}

/** topology_max_apic_id() - the largest; no level is zero */
static inline uint32_t topology_max_apic_id(const struct cpu_topology *t)
{
	return topology_apic_id(t, (unsigned)topology_cpus(t) - 1);
}

/** topology_is_wide() - does any CPU have an APIC id that only x2APIC mode knows? No level is zero */
static inline bool topology_is_wide(const struct cpu_topology *t)
{
	return topology_max_apic_id(t) >= XAPIC_IDS;
}

#endif
