/*
 * What the boot processor says about itself and about cpus=N of the command line: one socket; where they
 * are "arranged", with threads=N in each core.
 */
#include "multiboot.h"

#define LEAF1_EBX_APIC_ID(ebx) ((ebx) >> 24)
#define LEAF1_EBX_LOGICAL(ebx) ((ebx) >> 16 & 0xff)
#define LEAF1_EDX_HTT          (1u << 28)
#define LEAF1_ECX_HYPERVISOR   (1u << 31)

#define LEVEL_TYPE(ecx) ((ecx) >> 8 & 0xff) /* 0 ends, 1 threads of a core, 2 cores of a package */

static void identity(uint64_t cpus)
{
	uint32_t r[4];

	cpuid(1, 0, r);
	CHECK_EQ(LEAF1_EBX_APIC_ID(r[1]), 0);
	CHECK(r[2] & LEAF1_ECX_HYPERVISOR);
	/* With one processor the bit should be 0, but software virtualizers were seen to force it. */
	if (cpus > 1)
		CHECK(r[3] & LEAF1_EDX_HTT);
	CHECK(LEAF1_EBX_LOGICAL(r[1]) >= cpus);
}

static void topology(uint64_t cpus, uint64_t threads)
{
	uint32_t r[4];

	cpuid(0, 0, r);
	if (r[0] < 0xb)
		return;
	cpuid(0xb, 0, r);
	CHECK_EQ(LEVEL_TYPE(r[2]), 1);
	CHECK_EQ(r[1], threads);
	CHECK(1ull << r[0] >= threads);
	CHECK_EQ(r[3], 0);
	cpuid(0xb, 1, r);
	CHECK_EQ(LEVEL_TYPE(r[2]), 2);
	CHECK_EQ(r[1], cpus);
	CHECK(1ull << r[0] >= cpus);
	CHECK_EQ(r[3], 0);
	cpuid(0xb, 2, r);
	CHECK_EQ(LEVEL_TYPE(r[2]), 0);
	CHECK_EQ(r[2] & 0xff, 2);
}

static void hypervisor(void)
{
	uint32_t r[4];

	cpuid(0x40000000, 0, r);
	CHECK(r[0] >= 0x40000001);
	CHECK_EQ(r[1], 0x4b4d564b); /* KVMKVMKVM */
	CHECK_EQ(r[2], 0x564b4d56);
	CHECK_EQ(r[3], 0x4d);
}

void guest_main(void)
{
	const uint64_t cpus = param(mb_cmdline(), "cpus");
	const bool arranged = param_word(mb_cmdline(), "arranged");

	identity(cpus);
	topology(cpus, arranged ? param(mb_cmdline(), "threads") : 1);
	hypervisor();
}
