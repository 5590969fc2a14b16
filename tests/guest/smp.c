/*
 * Starts every other processor of cpus=N by INIT and SIPI; each enters long mode and reports its
 * APIC id as its LAPIC, CPUID leaf 1 and leaf 0xb tell it. All must be there, each id once.
 */
#include "cpus.h"
#include "multiboot.h"

#define LAPIC_ID    0x020
#define MAX_CPUS   256

static volatile uint8_t seen[MAX_CPUS];
static volatile uint32_t n_seen, n_bad;

static uint32_t own_id(void)
{
	uint32_t leaf0[4], leaf1[4], leafb[4], id = lapic_read(LAPIC_ID) >> 24;

	cpuid(0, 0, leaf0);
	cpuid(1, 0, leaf1);
	if (leaf1[1] >> 24 != id)
		return MAX_CPUS;
	cpuid(0xb, 0, leafb);
	if (leaf0[0] >= 0xb && leafb[3] != id)
		return MAX_CPUS;
	return id;
}

void ap_main(void)
{
	uint32_t id = own_id();

	if (id >= MAX_CPUS)
		__atomic_fetch_add(&n_bad, 1, __ATOMIC_SEQ_CST);
	else
		seen[id]++;
	__atomic_fetch_add(&n_seen, 1, __ATOMIC_SEQ_CST);
}

void guest_main(void)
{
	const uint64_t cpus = param(mb_cmdline(), "cpus");

	CHECK_EQ(own_id(), 0);
	start_cpus();
	while (n_seen < cpus - 1)
		asm volatile("pause");

	CHECK_EQ(n_bad, 0);
	CHECK_EQ(seen[0], 0);
	for (unsigned i = 1; i < cpus; i++)
		CHECK_EQ(seen[i], 1);
	CHECK_EQ(n_seen, cpus - 1);
}
