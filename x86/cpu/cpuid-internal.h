/* What x86/cpu/cpuid*.c share; nobody else includes this. */
#ifndef X86_CPU_CPUID_INTERNAL_H
#define X86_CPU_CPUID_INTERNAL_H

#include "lkvm/x86/cpu.h"

/* Entries that cpuid_adapt_topology() may add: 3 of leaf 0xb, 4 of 0x1f, 5 of 0x8000001d, 0x8000001e */
#define CPUID_TOPOLOGY_EXTRA 13

/** cpuid_drop() - remove all entries of a leaf */
void cpuid_drop(struct kvm_cpuid2 *table, uint32_t function);

/* x86/cpu/cpuid-flags.c */

#define CPUID_BIT_BYTES 48

/**
 * cpuid_lacks_bit() - is there a bit in @table, of the registers that have features, which @offer has not and which has
 * no name? Then @ret is its place: "0x7.1 EAX bit 9"
 */
bool cpuid_lacks_bit(const struct kvm_cpuid2 *offer, const struct kvm_cpuid2 *table, char ret[CPUID_BIT_BYTES]);

/* x86/cpu/cpuid-topology.c */

/** cpuid_offer_topology() - add the features to what KVM offers that only say how the topology is told */
void cpuid_offer_topology(struct kvm_cpuid2 *offer, const struct cpu_topology *topology);
/** cpuid_adapt_topology() - all leaves that tell of it; @table has room for CPUID_TOPOLOGY_EXTRA more */
void cpuid_adapt_topology(struct kvm_cpuid2 *table, const struct cpu_topology *topology);

#endif
