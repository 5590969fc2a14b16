/* Links: x86/cpu/cpuid.o x86/cpu/cpuid-topology.o x86/cpu/cpuid-flags.o util/keys.o util/options.o util/log.o */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lkvm/x86/cpu.h"
#include "unit.h"

/* Tables as KVM gives them, cut down to what is looked at */

#define MAX_ENTRIES 64

static uint64_t
	kvm_room[(sizeof(struct kvm_cpuid2) + MAX_ENTRIES * sizeof(struct kvm_cpuid_entry2)) /
		 sizeof(uint64_t)];
static struct kvm_cpuid2 *const kvm = (struct kvm_cpuid2 *)kvm_room;

static void leaf(uint32_t function, uint32_t index, uint32_t eax, uint32_t ebx, uint32_t ecx,
		 uint32_t edx)
{
	kvm->entries[kvm->nent++] = (struct kvm_cpuid_entry2){
		.function = function,
		.index = index,
		.flags = index ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
		.eax = eax,
		.ebx = ebx,
		.ecx = ecx,
		.edx = edx,
	};
}

/* A host with SSE to AVX-512, PKU and MPX state; two threads a core, 4 caches. */
static void intel(void)
{
	kvm->nent = 0;
	leaf(0, 0, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69);
	leaf(1, 0, 0x000506e3, 0x05100800, 0x7ffafbff & ~(1u << 24), 0xbfebfbff);
	leaf(4, 0, 0x1c004121, 0x01c0003f, 0x3f, 0);
	leaf(4, 1, 0x1c004122, 0x01c0003f, 0x3f, 0);
	leaf(4, 2, 0x1c004143, 0x01c0003f, 0x7ff, 0);
	leaf(4, 3, 0x1c03c163, 0x03c0003f, 0x1fff, 0);
	leaf(4, 4, 0, 0, 0, 0);
	leaf(7, 0, 2, 0xdfff7fff, 0x00405fde, 0xbc000400);
	leaf(7, 1, 0x30, 0, 0, 0);
	leaf(0xb, 0, 1, 2, 0x100, 5);
	leaf(0xb, 1, 4, 16, 0x201, 5);
	leaf(0xd, 0, 0x2ff, 0xa88, 0xa88, 0);
	leaf(0xd, 1, 0xf, 0, 0, 0);
	leaf(0xd, 2, 0x100, 0x240, 0, 0);
	leaf(0xd, 3, 0x40, 0x3c0, 0, 0);
	leaf(0xd, 4, 0x40, 0x400, 0, 0);
	leaf(0xd, 5, 0x40, 0x440, 0, 0);
	leaf(0xd, 6, 0x200, 0x480, 0, 0);
	leaf(0xd, 7, 0x400, 0x680, 0, 0);
	leaf(0xd, 9, 0x8, 0xa80, 0, 0);
	leaf(0xd, 15, 0x328, 0, 1, 0); /* supervisor state: not in this area */
	leaf(0x1f, 0, 1, 2, 0x100, 5);
	leaf(0x40000000, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d);
	leaf(0x40000001, 0, 0x01007afb, 0, 0, 0);
	leaf(0x80000000, 0, 0x80000008, 0, 0, 0);
	leaf(0x80000001, 0, 0, 0, 0x121, 0x2c100800);
	leaf(0x80000008, 0, 0x3027, 0, 0x1234, 0);
}

static void amd(void)
{
	kvm->nent = 0;
	leaf(0, 0, 0x10, 0x68747541, 0x444d4163, 0x69746e65);
	leaf(1, 0, 0x00830f10, 0x03080800, 0xfef83203, 0x178bfbff);
	leaf(7, 0, 0, 0x219c91a9, 0x400004, 0);
	leaf(0xb, 0, 0, 0, 0, 0);
	leaf(0xd, 0, 0x7, 0x340, 0x340, 0);
	leaf(0xd, 1, 0xf, 0, 0, 0);
	leaf(0xd, 2, 0x100, 0x240, 0, 0);
	leaf(0x40000000, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d);
	leaf(0x40000001, 0, 0x01007afb, 0, 0, 0);
	leaf(0x80000000, 0, 0x80000026, 0x68747541, 0x444d4163, 0x69746e65);
	leaf(0x80000001, 0, 0x00830f10, 0, 0x20c001f5, 0x2fd3fbff);
	leaf(0x80000008, 0, 0x3030, 0x9000, 0x7777, 0);
	leaf(0x8000001d, 0, 0x00004121, 0x01c0003f, 0x3f, 0);
	leaf(0x8000001d, 1, 0x00004122, 0x01c0003f, 0x3f, 0);
	leaf(0x8000001d, 2, 0x00004143, 0x01c0003f, 0x3ff, 0);
	leaf(0x8000001d, 3, 0x0001c163, 0x03c0003f, 0x3fff, 0);
	leaf(0x8000001d, 4, 0, 0, 0, 0);
	leaf(0x8000001e, 0, 0x55, 0x133, 0x207, 0x99);
	leaf(0x8000001f, 0, 0x3, 0x4173, 0, 0);
	leaf(0x80000026, 0, 0x1, 2, 0x100, 0);
}

static struct kvm_cpuid2 *table;

static const struct cpu_config nothing;

/* @words: as --cpu takes them */
static int features_of(struct cpu_config *ret, const char *words)
{
	char text[128];

	*ret = nothing;
	ck_assert_uint_lt((size_t)snprintf(text, sizeof(text), "%s", words), sizeof(text));
	return keys_parse("cpu", cpu_keys, ret, text);
}

/* Cores of one socket */
static const struct cpu_topology *cores(unsigned n)
{
	static struct cpu_topology t;

	t = (struct cpu_topology){ 1, 1, n, 1 };
	return &t;
}

static void adapt_to(const struct cpu_topology *t)
{
	free(table);
	table = NULL;
	ck_assert_int_eq(cpuid_adapt(kvm, t, &nothing, true, &table), 0);
}

static void adapt(unsigned cpus)
{
	adapt_to(cores(cpus));
}

static int adapt_with(unsigned cpus, const char *words)
{
	struct cpu_config cfg;

	ck_assert_int_eq(features_of(&cfg, words), 0);
	free(table);
	table = NULL;
	return cpuid_adapt(kvm, cores(cpus), &cfg, true, &table);
}

static const struct kvm_cpuid_entry2 *at(uint32_t function, uint32_t index)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(table, function, index);

	ck_assert_msg(e != NULL, "no leaf %#x.%u", function, index);
	return e;
}

#define check_leaf(function, index, a, b, c, d)                                                    \
	do {                                                                                       \
		const struct kvm_cpuid_entry2 *e_ = at(function, index);                           \
		ck_assert_uint_eq(e_->eax, a);                                                     \
		ck_assert_uint_eq(e_->ebx, b);                                                     \
		ck_assert_uint_eq(e_->ecx, c);                                                     \
		ck_assert_uint_eq(e_->edx, d);                                                     \
	} while (0)

/* cpus: bits of an id, ids in the package */
static const struct {
	unsigned cpus, bits, ids;
} sizes[] = {
	{ 1, 0, 1 },     { 2, 1, 2 },     { 3, 2, 4 },     { 4, 2, 4 },
	{ 5, 3, 8 },     { 8, 3, 8 },     { 9, 4, 16 },    { 64, 6, 64 },
	{ 65, 7, 128 },  { 128, 7, 128 }, { 129, 8, 255 }, /* 256 is one too many for the field */
	{ 255, 8, 255 },
};

START_TEST(test_features)
{
	intel();
	adapt(1);
	/* Hypervisor and TSC deadline on, MONITOR and OSXSAVE off, the rest as it was */
	ck_assert_uint_eq(at(1, 0)->ecx,
			  (0x7efafbff | 1u << 31 | 1u << 24) & ~(1u << 3 | 1u << 27));
	ck_assert_uint_eq(at(1, 0)->eax, 0x000506e3);
	ck_assert(cpuid_has(table, "hypervisor"));
	ck_assert(cpuid_has(table, "tsc_deadline_timer"));
	ck_assert(!cpuid_has(table, "monitor"));
	ck_assert(!cpuid_has(table, "osxsave"));
	ck_assert(!cpuid_has(table, "ospke"));
	ck_assert(!cpuid_has(table, "sgx"));
	ck_assert(cpuid_has(table, "pku"));
	check_leaf(0x40000000, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d);
	check_leaf(0x40000001, 0, 0x01007afb, 0, 0, 0);
}
END_TEST

START_TEST(test_tsc_deadline)
{
	struct kvm_cpuid2 *off = NULL;

	intel();
	cpuid_find(kvm, 1, 0)->ecx |= 1u << 24;
	ck_assert_int_eq(cpuid_adapt(kvm, cores(1), &nothing, false, &off), 0);
	ck_assert(!cpuid_has(off, "tsc_deadline"));
	free(off);
}
END_TEST

START_TEST(test_kvms_answer_is_left_alone)
{
	static uint8_t before[sizeof(kvm_room)];

	intel();
	memcpy(before, kvm, sizeof(kvm_room));
	ck_assert_int_eq(adapt_with(4, "-avx,-xsave"), 0);
	ck_assert_mem_eq(before, kvm, sizeof(kvm_room));
}
END_TEST

START_TEST(test_package)
{
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		intel();
		adapt(sizes[i].cpus);
		ck_assert_uint_eq(at(1, 0)->ebx, sizes[i].ids << 16 | 0x0800);
		ck_assert_int_eq(cpuid_has(table, "ht"), sizes[i].cpus > 1);
	}
}
END_TEST

START_TEST(test_levels)
{
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		intel();
		adapt(sizes[i].cpus);
		for (uint32_t f = 0xb; f <= 0x1f; f += 0x14) {
			check_leaf(f, 0, 0, 1, 0x100, 0);
			check_leaf(f, 1, sizes[i].bits, sizes[i].cpus, 0x201, 0);
			check_leaf(f, 2, 0, 0, 0x002, 0);
			ck_assert(!cpuid_find(table, f, 3));
			for (uint32_t n = 0; n < 3; n++)
				ck_assert_uint_eq(at(f, n)->flags, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
		}
	}
}
END_TEST

START_TEST(test_levels_need_the_leaf)
{
	intel();
	cpuid_find(kvm, 0, 0)->eax = 0xd;
	adapt(2);
	ck_assert(cpuid_find(table, 0xb, 1));
	ck_assert(!cpuid_find(table, 0x1f, 0)); /* the host's is gone as well */
	cpuid_find(kvm, 0, 0)->eax = 0xa;
	adapt(2);
	ck_assert(!cpuid_find(table, 0xb, 0));
}
END_TEST

START_TEST(test_intel_caches)
{
	intel();
	adapt(6); /* 8 ids */
	/* [31:26] ids of cores - 1, [25:14] ids that share it - 1 */
	check_leaf(4, 0, 7u << 26 | 0x121, 0x01c0003f, 0x3f, 0);
	check_leaf(4, 1, 7u << 26 | 0x122, 0x01c0003f, 0x3f, 0);
	check_leaf(4, 2, 7u << 26 | 0x143, 0x01c0003f, 0x7ff, 0);
	check_leaf(4, 3, 7u << 26 | 7u << 14 | 0x163, 0x03c0003f, 0x1fff, 0);
	check_leaf(4, 4, 0, 0, 0, 0);
	adapt(1);
	check_leaf(4, 3, 0x163, 0x03c0003f, 0x1fff, 0);
	adapt(65); /* 128 ids do not fit 6 bits */
	check_leaf(4, 0, 63u << 26 | 0x121, 0x01c0003f, 0x3f, 0);
	check_leaf(4, 3, 63u << 26 | 127u << 14 | 0x163, 0x03c0003f, 0x1fff, 0);
}
END_TEST

START_TEST(test_amd_caches)
{
	amd();
	adapt(6);
	check_leaf(0x8000001d, 0, 0x121, 0x01c0003f, 0x3f, 0);
	check_leaf(0x8000001d, 2, 0x143, 0x01c0003f, 0x3ff, 0);
	check_leaf(0x8000001d, 3, 7u << 14 | 0x163, 0x03c0003f, 0x3fff, 0);
	check_leaf(0x8000001d, 4, 0, 0, 0, 0);
}
END_TEST

START_TEST(test_amd_package)
{
	static const struct {
		unsigned cpus;
		uint32_t ecx;
	} want[] = { { 1, 0 }, { 2, 0x1001 }, { 3, 0x2002 }, { 4, 0x2003 }, { 255, 0x80fe } };

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		amd();
		adapt(want[i].cpus);
		check_leaf(0x80000008, 0, 0x3030, 0x9000, want[i].ecx, 0);
		ck_assert_int_eq(cpuid_has(table, "cmp_legacy"), want[i].cpus > 1);
		check_leaf(0x8000001e, 0, 0, 0, 0, 0);
	}
	ck_assert(!cpuid_find(table, 0x80000026, 0)); /* the host's topology */
	ck_assert(!cpuid_find(table, 0x8000001f, 0)); /* the host's memory encryption */
	ck_assert(!cpuid_has(table, "mwaitx"));
	intel();
	adapt(4);
	check_leaf(0x80000008, 0, 0x3027, 0, 0, 0);
	ck_assert(!cpuid_has(table, "cmp_legacy"));
	ck_assert(!cpuid_find(table, 0x8000001e, 0));
}
END_TEST

START_TEST(test_amd_nodes_follow_topoext)
{
	amd();
	ck_assert_int_eq(adapt_with(2, "-topoext"), 0);
	ck_assert(!cpuid_find(table, 0x8000001e, 0));
	/* KVM says topoext and gives no leaf: it is made up */
	for (uint32_t i = 0; i < kvm->nent; i++)
		if (kvm->entries[i].function == 0x8000001e)
			kvm->entries[i].function = 0x80000020;
	adapt(2);
	check_leaf(0x8000001e, 0, 0, 0, 0, 0);
	/* and where it may not have the leaf it may not have the bit */
	cpuid_find(kvm, 0x80000000, 0)->eax = 0x8000001d;
	adapt(2);
	ck_assert(!cpuid_find(table, 0x8000001e, 0));
	ck_assert(!cpuid_has(table, "topoext"));
}
END_TEST

START_TEST(test_apic_id)
{
	intel();
	adapt(255);
	cpuid_set_apic_id(table, cores(255), 254);
	cpuid_set_apic_id(table, cores(255), 129); /* leaves nothing of the first */
	ck_assert_uint_eq(at(1, 0)->ebx, 129u << 24 | 255 << 16 | 0x0800);
	for (uint32_t i = 0; i < 3; i++) {
		ck_assert_uint_eq(at(0xb, i)->edx, 129);
		ck_assert_uint_eq(at(0x1f, i)->edx, 129);
	}
	ck_assert_uint_eq(at(7, 0)->edx, 0xbc000400);
	amd();
	adapt(255);
	cpuid_set_apic_id(table, cores(255), 254);
	cpuid_set_apic_id(table, cores(255), 129);
	check_leaf(0x8000001e, 0, 129, 129, 0, 0);
}
END_TEST

static const struct cpu_topology four_levels = { 2, 3, 5, 2 }; /* 1, 3, 2 and 1 bits */

START_TEST(test_intel_topology)
{
	intel();
	adapt_to(&four_levels);
	ck_assert_uint_eq(at(1, 0)->ebx, 64 << 16 | 0x0800);
	check_leaf(4, 0, 31u << 26 | 1u << 14 | 0x121, 0x01c0003f, 0x3f, 0);
	check_leaf(4, 2, 31u << 26 | 1u << 14 | 0x143, 0x01c0003f, 0x7ff, 0);
	check_leaf(4, 3, 31u << 26 | 15u << 14 | 0x163, 0x03c0003f, 0x1fff, 0);
	check_leaf(0xb, 0, 1, 2, 0x100, 0);
	check_leaf(0xb, 1, 6, 30, 0x201, 0);
	check_leaf(0xb, 2, 0, 0, 0x002, 0);
	check_leaf(0x1f, 0, 1, 2, 0x100, 0);
	check_leaf(0x1f, 1, 4, 10, 0x201, 0);
	check_leaf(0x1f, 2, 6, 30, 0x502, 0);
	check_leaf(0x1f, 3, 0, 0, 0x003, 0);
	cpuid_set_apic_id(table, &four_levels, 59);
	ck_assert_uint_eq(at(1, 0)->ebx >> 24, 0x69); /* 1 10 100 1 */
	ck_assert_uint_eq(at(0x1f, 3)->edx, 0x69);
	/* A CPU without the leaf gets it where there are dies, and only there. */
	cpuid_find(kvm, 0, 0)->eax = 0xd;
	adapt_to(&four_levels);
	check_leaf(0x1f, 2, 6, 30, 0x502, 0);
	ck_assert_uint_eq(at(0, 0)->eax, 0x1f);
	adapt_to(&(struct cpu_topology){ 2, 1, 5, 2 });
	ck_assert(!cpuid_find(table, 0x1f, 0));
}
END_TEST

START_TEST(test_amd_topology)
{
	amd();
	adapt_to(&four_levels);
	check_leaf(0x80000008, 0, 0x3030, 0x9000, 0x601d, 0);
	check_leaf(0x8000001d, 0, 1u << 14 | 0x121, 0x01c0003f, 0x3f, 0);
	check_leaf(0x8000001d, 3, 15u << 14 | 0x163, 0x03c0003f, 0x3fff, 0);
	cpuid_set_apic_id(table, &four_levels, 59);
	check_leaf(0x8000001e, 0, 0x69, 1 << 8 | 0x14, 2 << 8 | 6, 0);
	ck_assert(!cpuid_find(table, 0x1f, 0));
}
END_TEST

/* A CPU of AMD's that has not the leaves which tell of threads: they are made of the older ones. */
START_TEST(test_amd_without_topoext)
{
	struct cpu_config cfg;

	amd();
	cpuid_find(kvm, 0x80000000, 0)->eax = 0x8000000a;
	cpuid_find(kvm, 0x80000001, 0)->ecx &= ~(1u << 22);
	for (uint32_t i = 0; i < kvm->nent; i++)
		if (kvm->entries[i].function >= 0x8000001d)
			kvm->entries[i].function += 0x100;
	leaf(0x80000005, 0, 0, 0, 0x40020140, 0x40020140);
	leaf(0x80000006, 0, 0, 0, 0x02008140, 0x00808140);
	adapt(4); /* cores need none of it */
	ck_assert(!cpuid_has(table, "topoext"));
	ck_assert(!cpuid_find(table, 0x8000001d, 0));
	adapt_to(&four_levels);
	ck_assert(cpuid_has(table, "topoext"));
	ck_assert_uint_eq(at(0x80000000, 0)->eax, 0x8000001e);
	/* 64 KB in 2 ways, twice, 512 KB and 16 MB in 16 ways, lines of 64 bytes */
	check_leaf(0x8000001d, 0, 1u << 14 | 0x121, 0x0040003f, 511, 0);
	check_leaf(0x8000001d, 1, 1u << 14 | 0x122, 0x0040003f, 511, 0);
	check_leaf(0x8000001d, 2, 1u << 14 | 0x143, 0x03c0003f, 511, 0);
	check_leaf(0x8000001d, 3, 15u << 14 | 0x163, 0x03c0003f, 16383, 0);
	check_leaf(0x8000001d, 4, 0, 0, 0, 0);
	ck_assert(cpuid_find(table, 0x8000001e, 0));
	/* but not against the user's word */
	ck_assert_int_eq(features_of(&cfg, "-topoext"), 0);
	free(table);
	table = NULL;
	ck_assert_int_eq(cpuid_adapt(kvm, &four_levels, &cfg, true, &table), 0);
	ck_assert(!cpuid_has(table, "topoext"));
	ck_assert(!cpuid_find(table, 0x8000001e, 0));
}
END_TEST

START_TEST(test_wide_ids)
{
	intel();
	adapt(255);
	ck_assert(!cpuid_has(table, "kvm_msi_ext_dest_id"));
	adapt(256);
	ck_assert(cpuid_has(table, "kvm_msi_ext_dest_id"));
	ck_assert_int_eq(adapt_with(256, "-kvm_msi_ext_dest_id"), 0);
	ck_assert(!cpuid_has(table, "kvm_msi_ext_dest_id"));
	adapt(4096);
	cpuid_set_apic_id(table, cores(4096), 4095);
	ck_assert_uint_eq(at(1, 0)->ebx, 0xffff0800);
	ck_assert_uint_eq(at(0xb, 0)->edx, 4095);
	check_leaf(4, 3, 63u << 26 | 4095u << 14 | 0x163, 0x03c0003f, 0x1fff, 0);
	/* few CPUs, but holes between their ids */
	adapt_to(&(struct cpu_topology){ 3, 1, 65, 1 });
	ck_assert(cpuid_has(table, "kvm_msi_ext_dest_id"));
}
END_TEST

/* Every id is another one, above the last, and none below the CPU's number. */
START_TEST(test_apic_ids)
{
	for (unsigned i = 0; i < 7 * 7 * 7 * 7; i++) {
		const struct cpu_topology t = { i % 7 + 1, i / 7 % 7 + 1, i / 49 % 7 + 1, i / 343 + 1 };
		const unsigned n = (unsigned)topology_cpus(&t);

		for (unsigned cpu = 1; cpu < n; cpu++)
			ck_assert_uint_gt(topology_apic_id(&t, cpu), topology_apic_id(&t, cpu - 1));
		ck_assert_uint_eq(topology_apic_id(&t, 0), 0);
		ck_assert_uint_lt(topology_max_apic_id(&t), t.sockets << topology_socket_shift(&t));
		ck_assert_uint_eq(topology_apic_id(&t, n / t.sockets), t.sockets > 1 ? 1u << topology_socket_shift(&t) :
			topology_apic_id(&t, n));
	}
	ck_assert_uint_eq(topology_apic_id(&(struct cpu_topology){ 0 }, 300), 300);
}
END_TEST

/* Flags */

START_TEST(test_minus)
{
	static const struct {
		const char *flag, *off, *on; /* names, separated by blanks */
	} want[] = {
		{ "-avx2", "avx2 avx512f avx512bw avx512vl avx_vnni avx512_bf16 avx512_vnni",
		  "avx fma f16c sse4_2 xsave" },
		{ "-avx", "avx avx2 fma f16c avx512f avx512_vpopcntdq vaes vpclmulqdq avx512_bf16",
		  "xsave aes pclmulqdq sse4_2 pku mpx" },
		{ "-xsave", "xsave xsaveopt xsavec xgetbv1 xsaves avx avx2 avx512cd pku mpx fma",
		  "sse4_2 aes fxsr" },
		{ "-avx512f", "avx512f avx512dq avx512vl avx512_bitalg", "avx2 avx fma" },
		{ "-sse3", "pni ssse3 sse4_1 avx", "sse2" }, /* by the other name */
		{ "-aes", "aes vaes", "avx pclmulqdq vpclmulqdq" },
		{ "-apic", "apic x2apic tsc_deadline_timer", "tsc" },
		{ "-sse4.1", "sse4_1 sse4_2", "ssse3" }, /* other punctuation */
		{ "-tsc-deadline", "tsc_deadline_timer", "tsc apic" },
		{ "-hypervisor", "hypervisor", "x2apic" },
		{ "-kvm_clock", "kvm_clocksource kvm_clocksource2 kvm_clocksource_stable_bit",
		  "kvm_steal_time" },
		{ "-kvm_clocksource", "kvm_clocksource",
		  "kvm_clocksource2 kvm_clocksource_stable_bit" },
	};

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		char words[200], *word, *rest;

		intel();
		ck_assert_int_eq(adapt_with(1, want[i].flag), 0);
		strcpy(words, want[i].off);
		for (rest = words; (word = strtok_r(rest, " ", &rest));)
			ck_assert_msg(!cpuid_has(table, word), "%s leaves %s", want[i].flag, word);
		strcpy(words, want[i].on);
		for (rest = words; (word = strtok_r(rest, " ", &rest));)
			ck_assert_msg(cpuid_has(table, word), "%s clears %s", want[i].flag, word);
	}
}
END_TEST

START_TEST(test_minus_in_both_places)
{
	amd();
	ck_assert_uint_eq(cpuid_find(kvm, 0x80000001, 0)->edx >> 23 & 3, 3);
	ck_assert_int_eq(adapt_with(1, "-mmx"), 0);
	ck_assert_uint_eq(at(1, 0)->edx >> 23 & 1, 0);
	ck_assert_uint_eq(at(0x80000001, 0)->edx >> 23 & 1, 0);
	ck_assert_uint_eq(at(0x80000001, 0)->edx >> 24 & 1, 1);
}
END_TEST

START_TEST(test_plus)
{
	intel();
	ck_assert_int_eq(adapt_with(1, "+monitor"), 0); /* off unless asked for */
	ck_assert(cpuid_has(table, "monitor"));
	ck_assert_int_eq(adapt_with(1, "-avx,+avx"), 0);
	ck_assert(cpuid_has(table, "avx"));
	ck_assert(!cpuid_has(table, "avx2"));
	ck_assert_int_eq(adapt_with(1, "+avx,-avx"), 0);
	ck_assert(!cpuid_has(table, "avx"));
	ck_assert_int_eq(adapt_with(1, "+tsc_deadline"), 0);
	/* In one of two places is enough, and stays in that one. */
	ck_assert_int_eq(adapt_with(1, "-mmx,+mmx"), 0);
	ck_assert_uint_eq(at(1, 0)->edx >> 23 & 1, 1);
	ck_assert_uint_eq(at(0x80000001, 0)->edx >> 23 & 1, 0);
	/* Not supported: in a leaf that is there, and in one that is not */
	ck_assert_int_eq(adapt_with(1, "+sse4a"), -ENOTSUP);
	ck_assert_int_eq(adapt_with(1, "+npt"), -ENOTSUP);
	ck_assert(table == NULL);
}
END_TEST

START_TEST(test_single_features)
{
	struct kvm_cpuid2 *copy;

	intel();
	ck_assert_int_eq(adapt_with(1, "-rtm"), 0);
	copy = table;
	table = NULL;
	cpuid_clear(copy, "avx", false);
	ck_assert(!cpuid_has(copy, "avx"));
	ck_assert(cpuid_has(copy, "avx2"));
	/* A leaf that only one of the two has */
	cpuid_find(copy, 7, 0)->function = 0x77;
	cpuid_clear(copy, "avx2", true);
	ck_assert(!cpuid_has(copy, "avx2"));
	ck_assert_int_eq(cpuid_set(copy, kvm, "avx2"), -ENOTSUP);
	ck_assert_int_eq(cpuid_set(kvm, copy, "avx2"), -ENOTSUP);
	ck_assert_int_eq(cpuid_set(copy, kvm, "avx"), 0);
	ck_assert(cpuid_has(copy, "avx"));
	free(copy);
}
END_TEST

START_TEST(test_xsave_state)
{
	static const struct {
		const char *flag;
		uint32_t components, bytes;
	} want[] = {
		{ "-rtm", 0x2ff, 0xa88 },     { "-pku", 0xff, 0xa80 },
		{ "-avx512f", 0x21f, 0xa88 }, /* PKRU stands behind the hole */
		{ "-mpx", 0x2e7, 0xa88 },     { "-avx", 0x21b, 0xa88 },
		{ "-xsave", 0, 0 },
	};

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		intel();
		ck_assert_int_eq(adapt_with(1, want[i].flag), 0);
		ck_assert_uint_eq(at(0xd, 0)->eax, want[i].components);
		ck_assert_uint_eq(at(0xd, 0)->ecx, want[i].bytes);
		for (uint32_t c = 2; c < 10; c++)
			if (cpuid_find(table, 0xd, c))
				ck_assert_int_eq(at(0xd, c)->eax != 0, want[i].components >> c & 1);
	}
	ck_assert_int_eq(adapt_with(1, "-avx,-pku,-mpx"), 0);
	check_leaf(0xd, 0, 3, 0xa88, 576, 0);
	amd();
	adapt(1);
	check_leaf(0xd, 0, 7, 0x340, 0x340, 0);
}
END_TEST

START_TEST(test_names)
{
	static const struct {
		const char *words, *name; /* NULL: refused */
		bool on;
	} cases[] = {
		{ "-avx2", "avx2", false },           { "+x2apic", "x2apic", true },
		{ "avx2", "avx2", true },             { "avx2=on", "avx2", true },
		{ "avx2=off", "avx2", false },        { "-sse4-2", "sse4_2", false },
		{ "-kvm-clock", "kvm_clock", false }, { "avx2=maybe", NULL, false },
		{ "avx2=", NULL, false },             { "+avx2=on", NULL, false },
		{ "", NULL, false },                  { "-", NULL, false },
		{ "-AVX2", NULL, false },             { "-avx22", NULL, false },
		{ "--avx2", NULL, false },            { "FEATURE", NULL, false },
	};
	struct cpu_config cfg;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int want = cases[i].name ? 0 : -EINVAL;

		ck_assert_msg(features_of(&cfg, cases[i].words) == want, "%s", cases[i].words);
		ck_assert_uint_eq(cfg.n_features, !want);
		if (want)
			continue;
		ck_assert_str_eq(cfg.feature[0].name, cases[i].name);
		ck_assert(cfg.feature[0].on == cases[i].on);
	}
}
END_TEST

START_TEST(test_too_many)
{
	struct cpu_config cfg = nothing;
	char word[8];

	for (unsigned i = 0; i <= CPU_MAX_FEATURES; i++)
		ck_assert_int_eq(keys_parse("cpu", cpu_keys, &cfg, strcpy(word, "-avx2")),
				 i < CPU_MAX_FEATURES ? 0 : -EINVAL);
}
END_TEST

START_TEST(test_poor_table)
{
	kvm->nent = 0;
	adapt(255); /* nothing there to adapt, and no host leaf to follow */
	ck_assert_uint_eq(table->nent, 0);
	leaf(0, 0, 0x1f, 0, 0, 0);
	leaf(0xd, 0, 7, 0, 0, 0);
	leaf(0x80000000, 0, 0x8000001e, 0, 0, 0);
	leaf(0x80000001, 0, 0, 0, 1u << 22, 0); /* every entry that can be added is */
	adapt(255);
	ck_assert_uint_eq(table->nent, 4 + 3 + 3 + 1 + 1); /* among them the end of no caches */
	cpuid_set_apic_id(table, cores(255), 9);
}
END_TEST

/* KVM_GET_SUPPORTED_CPUID: this stands in for libc's */

static uint32_t room_needed;
static int refusal, calls;

int ioctl(int fd, unsigned long request, ...)
{
	struct kvm_cpuid2 *arg;
	va_list ap;

	va_start(ap, request);
	arg = va_arg(ap, struct kvm_cpuid2 *);
	va_end(ap);
	calls++;
	if (fd != 42 || request != (unsigned long)KVM_GET_SUPPORTED_CPUID) {
		errno = ENOTTY;
		return -1;
	}
	if (refusal || arg->nent < room_needed) {
		errno = refusal ? refusal : E2BIG;
		return -1;
	}
	memcpy(arg->entries, kvm->entries, kvm->nent * sizeof(kvm->entries[0]));
	arg->nent = kvm->nent;
	return 0;
}

START_TEST(test_build)
{
	struct kvm_cpuid2 *built = NULL;

	intel();
	for (room_needed = 1; room_needed <= 512; room_needed *= 2) {
		calls = 0;
		ck_assert_int_eq(cpuid_build(42, cores(2), &nothing, true, &built), 0);
		ck_assert_int_eq(calls, room_needed <= 256 ? 1 : 2);
		adapt(2);
		ck_assert_uint_eq(built->nent, table->nent);
		ck_assert_mem_eq(built->entries, table->entries,
				 table->nent * sizeof(table->entries[0]));
		free(built);
	}
}
END_TEST

START_TEST(test_build_fails)
{
	struct kvm_cpuid2 *built = NULL;
	struct cpu_config bad;

	intel();
	ck_assert_int_eq(features_of(&bad, "+sse4a"), 0);
	ck_assert_int_eq(cpuid_build(42, cores(2), &bad, true, &built), -ENOTSUP);
	ck_assert_int_eq(cpuid_build(41, cores(2), &nothing, true, &built), -ENOTTY);
	refusal = EPERM;
	calls = 0;
	ck_assert_int_eq(cpuid_build(42, cores(2), &nothing, true, &built), -EPERM);
	ck_assert_int_eq(calls, 1);
	refusal = E2BIG; /* whatever the room: it gives up */
	ck_assert_int_eq(cpuid_build(42, cores(2), &nothing, true, &built), -E2BIG);
	ck_assert_int_lt(calls, 20);
	ck_assert_ptr_null(built);
}
END_TEST

/* What a guest has seen elsewhere, against what this host has */
START_TEST(test_check)
{
	struct cpu_config extra;
	struct kvm_cpuid2 *built;

	intel();
	ck_assert_int_eq(features_of(&extra, "+monitor"), 0); /* off by default, but there */
	ck_assert_int_eq(cpuid_build(42, cores(2), &extra, true, &built), 0);
	cpuid_set_apic_id(built, cores(2), 1);
	ck_assert_int_eq(cpuid_check(42, cores(2), true, built), 0);
	ck_assert_int_eq(cpuid_check(42, cores(2), false, built), -ENOTSUP); /* the timer's deadline */
	cpuid_clear(kvm, "avx2", false);
	ck_assert_int_eq(cpuid_check(42, cores(2), true, built), -ENOTSUP);
	cpuid_clear(built, "avx2", false);
	ck_assert_int_eq(cpuid_check(42, cores(2), true, built), 0);
	refusal = EPERM;
	ck_assert_int_eq(cpuid_check(42, cores(2), true, built), -EPERM);
	free(built);
}
END_TEST

UNIT_MAIN("cpuid", test_features, test_tsc_deadline, test_kvms_answer_is_left_alone, test_package,
	  test_levels, test_levels_need_the_leaf, test_intel_caches, test_amd_caches,
	  test_amd_package, test_amd_nodes_follow_topoext, test_apic_id, test_intel_topology, test_amd_topology,
	  test_amd_without_topoext, test_wide_ids, test_apic_ids, test_minus,
	  test_minus_in_both_places, test_plus, test_single_features, test_xsave_state,
	  test_names, test_too_many, test_poor_table, test_build, test_build_fails, test_check)
