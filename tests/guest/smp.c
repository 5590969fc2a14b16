/*
 * Starts every other processor of cpus=N by INIT and SIPI; each enters long mode and reports its
 * APIC id as its LAPIC, CPUID leaf 1 and leaf 0xb tell it. All must be there, each id once, and where they are
 * "arranged": threads=N in each core, cores=N in each socket. With "wide" they ask in x2APIC mode.
 */
#include "cpus.h"
#include "multiboot.h"

#define LAPIC_ID    0x020
#define MAX_IDS    4096

#define MSR_APIC_BASE   0x1b
#define APIC_BASE_X2    0xc00 /* enabled, in x2APIC mode */
#define MSR_X2APIC_ID   0x802

static volatile uint8_t seen[MAX_IDS];
static volatile uint32_t n_seen, n_bad;
static bool wide;

static uint32_t lapic_id(void)
{
	if (!wide)
		return lapic_read(LAPIC_ID) >> 24;
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2);
	return (uint32_t)rdmsr(MSR_X2APIC_ID);
}

static uint32_t own_id(void)
{
	uint32_t leaf0[4], leaf1[4], leafb[4], id = lapic_id();

	cpuid(0, 0, leaf0);
	cpuid(1, 0, leaf1);
	if (leaf1[1] >> 24 != (id & 0xff))
		return MAX_IDS;
	cpuid(0xb, 0, leafb);
	if (leaf0[0] >= 0xb && leafb[3] != id)
		return MAX_IDS;
	return id;
}

static unsigned bits(uint64_t n)
{
	unsigned bits = 0;

	while (1u << bits < n)
		bits++;
	return bits;
}

static uint64_t id_of(uint64_t cpu, uint64_t threads, uint64_t cores)
{
	const uint64_t core = cpu / threads;

	return (core / cores << bits(cores) | core % cores) << bits(threads) | cpu % threads;
}

void ap_main(void)
{
	uint32_t id = own_id();

	if (id >= MAX_IDS)
		__atomic_fetch_add(&n_bad, 1, __ATOMIC_SEQ_CST);
	else
		seen[id]++;
	__atomic_fetch_add(&n_seen, 1, __ATOMIC_SEQ_CST);
}

void guest_main(void)
{
	const uint64_t cpus = param(mb_cmdline(), "cpus");
	const bool arranged = param_word(mb_cmdline(), "arranged");
	const uint64_t threads = arranged ? param(mb_cmdline(), "threads") : 1;
	const uint64_t cores = arranged ? param(mb_cmdline(), "cores") : cpus;

	wide = param_word(mb_cmdline(), "wide");

	start_cpus();
	while (n_seen < cpus - 1)
		asm volatile("pause");

	CHECK_EQ(own_id(), 0);
	CHECK_EQ(n_bad, 0);
	CHECK_EQ(seen[0], 0);
	for (unsigned i = 1; i < cpus; i++)
		CHECK_EQ(seen[id_of(i, threads, cores)], 1);
	CHECK_EQ(n_seen, cpus - 1);
}
