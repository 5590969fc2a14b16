/*
 * Sockets, dies, cores, threads and who shares which cache, as CPUID tells of them: leaves 1, 4, 0xb and
 * 0x1f, AMD's 0x80000008, 0x8000001d and 0x8000001e. The ids are those of lkvm/x86/topology.h.
 */
#include <asm/kvm_para.h>
#include <string.h>

#include "cpuid-internal.h"
#include "lkvm/types.h"

enum { LEAF_FEATURES = 1, LEAF_CACHES = 4, LEAF_TOPOLOGY = 0xb, LEAF_TOPOLOGY_V2 = 0x1f };
enum {
	EXT_MAX = 0x80000000,
	EXT_FEATURES = 0x80000001,
	EXT_L1 = 0x80000005,
	EXT_L2_L3 = 0x80000006,
	EXT_SIZES = 0x80000008,
	EXT_CACHES = 0x8000001d,
	EXT_TOPOLOGY = 0x8000001e,
	EXT_TOPOLOGY_V2 = 0x80000026,
};
enum { LEVEL_END = 0, LEVEL_THREAD = 1, LEVEL_CORE = 2, LEVEL_DIE = 5 }; /* of 0xb and 0x1f */
enum { CACHE_DATA = 1, CACHE_CODE = 2, CACHE_UNIFIED = 3 };

#define FEATURES_EDX_HTT   (1u << 28)
#define EXT_ECX_CMP_LEGACY (1u << 1)
#define EXT_ECX_TOPOEXT    (1u << 22)

/* The table was made with room for what is added. */
static struct kvm_cpuid_entry2 *add(struct kvm_cpuid2 *table, uint32_t function, uint32_t index,
				    uint32_t flags)
{
	struct kvm_cpuid_entry2 *e = &table->entries[table->nent++];

	*e = (struct kvm_cpuid_entry2){ .function = function, .index = index, .flags = flags };
	return e;
}

static uint32_t max_leaf(const struct kvm_cpuid2 *table, uint32_t base)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(table, base, 0);

	return e ? e->eax : 0;
}

static void raise_max_leaf(struct kvm_cpuid2 *table, uint32_t base, uint32_t leaf)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(table, base, 0);

	if (e && e->eax < leaf)
		e->eax = leaf;
}

static bool is_amd(const struct kvm_cpuid2 *table)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(table, 0, 0);
	char vendor[12];

	if (!e)
		return false;
	memcpy(vendor, &e->ebx, 4);
	memcpy(vendor + 4, &e->edx, 4);
	memcpy(vendor + 8, &e->ecx, 4);
	return !memcmp(vendor, "AuthenticAMD", 12) || !memcmp(vendor, "HygonGenuine", 12);
}

static void set_field(uint32_t *reg, unsigned shift, unsigned width, uint32_t value)
{
	uint32_t mask = ((1u << width) - 1) << shift;

	*reg = (*reg & ~mask) | (value << shift & mask);
}

static uint32_t at_most(uint32_t value, uint32_t most)
{
	return value < most ? value : most;
}

static uint32_t per_die(const struct cpu_topology *t)
{
	return t->cores * t->threads;
}

static uint32_t per_socket(const struct cpu_topology *t)
{
	return t->dies * per_die(t);
}

/* Leaf 1: how many ids the package takes; each vCPU's own goes in later. */
static void adapt_package(struct kvm_cpuid2 *table, const struct cpu_topology *t)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(table, LEAF_FEATURES, 0);

	if (!e)
		return;
	set_field(&e->ebx, 24, 8, 0);
	set_field(&e->ebx, 16, 8, at_most(1u << topology_socket_shift(t), 255));
	e->edx = per_socket(t) > 1 ? e->edx | FEATURES_EDX_HTT : e->edx & ~FEATURES_EDX_HTT;
}

/* Caches of level 1 and 2 belong to one core, further ones to the die. */
static uint32_t cache_sharers(const struct cpu_topology *t, uint32_t eax)
{
	return (1u << ((eax >> 5 & 7) >= 3 ? topology_die_shift(t) : topology_core_shift(t))) - 1;
}

static void adapt_caches(struct kvm_cpuid2 *table, const struct cpu_topology *t)
{
	const uint32_t cores = (1u << (topology_socket_shift(t) - topology_core_shift(t))) - 1;

	for (uint32_t i = 0; i < table->nent; i++) {
		struct kvm_cpuid_entry2 *e = &table->entries[i];
		bool intel = e->function == LEAF_CACHES;

		if ((!intel && e->function != EXT_CACHES) || !(e->eax & 0x1f))
			continue;
		set_field(&e->eax, 14, 12, at_most(cache_sharers(t, e->eax), 0xfff));
		if (intel)
			set_field(&e->eax, 26, 6, at_most(cores, 63)); /* 63 stands for more, too */
	}
}

/* Leaves 0xb and 0x1f; only the second one knows dies, and the first one counts their cores as the package's. */
static void adapt_levels(struct kvm_cpuid2 *table, uint32_t function, const struct cpu_topology *t)
{
	const bool dies = function == LEAF_TOPOLOGY_V2 && t->dies > 1;
	const struct {
		uint32_t eax, ebx, type;
		bool none;
	} level[] = {
		{ topology_core_shift(t), t->threads, LEVEL_THREAD, false },
		{ topology_die_shift(t), per_die(t), LEVEL_CORE, !dies },
		{ topology_socket_shift(t), per_socket(t), dies ? LEVEL_DIE : LEVEL_CORE, false },
		{ 0, 0, LEVEL_END, false },
	};
	uint32_t index = 0;

	cpuid_drop(table, function);
	if (max_leaf(table, 0) < function)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(level); i++) {
		struct kvm_cpuid_entry2 *e;

		if (level[i].none)
			continue;
		e = add(table, function, index, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
		e->eax = level[i].eax;
		e->ebx = level[i].ebx;
		e->ecx = level[i].type << 8 | index++;
	}
}

/* ---- AMD ---- */

/* Of 0x80000006; 0: there is no such cache, or it says nothing */
static uint32_t ways(uint32_t code)
{
	static const uint8_t known[16] = { 0, 1, 2, 0, 4, 0, 8, 0, 16, 0, 32, 48, 64, 96, 128, 0 };

	return known[code & 0xf];
}

/* @kib: of the cache */
static void put_cache(struct kvm_cpuid2 *table, uint32_t *index, uint32_t type, uint32_t level, uint32_t kib,
		      uint32_t n_ways, uint32_t line)
{
	struct kvm_cpuid_entry2 *e;

	if (!kib || !n_ways || !line)
		return;
	e = add(table, EXT_CACHES, (*index)++, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	e->eax = 1u << 8 | level << 5 | type; /* needs no software to be initialised */
	e->ebx = (n_ways - 1) << 22 | (line - 1);
	e->ecx = kib * 1024 / (n_ways * line) - 1;
}

/* Of a CPU that tells of its caches the older way only: a guest that finds "topoext" does not look there. */
static void make_amd_caches(struct kvm_cpuid2 *table)
{
	const struct kvm_cpuid_entry2 *l1 = cpuid_find(table, EXT_L1, 0), *l2 = cpuid_find(table, EXT_L2_L3, 0);
	const uint32_t data = l1 ? l1->ecx : 0, code = l1 ? l1->edx : 0;
	const uint32_t second = l2 ? l2->ecx : 0, third = l2 ? l2->edx : 0;
	uint32_t index = 0;

	cpuid_drop(table, EXT_CACHES);
	put_cache(table, &index, CACHE_DATA, 1, data >> 24, data >> 16 & 0xff, data & 0xff);
	put_cache(table, &index, CACHE_CODE, 1, code >> 24, code >> 16 & 0xff, code & 0xff);
	put_cache(table, &index, CACHE_UNIFIED, 2, second >> 16, ways(second >> 12), second & 0xff);
	put_cache(table, &index, CACHE_UNIFIED, 3, (third >> 18) * 512, ways(third >> 12), third & 0xff);
	add(table, EXT_CACHES, index, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
}

static bool has_caches(const struct kvm_cpuid2 *table)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(table, EXT_CACHES, 0);

	return e && e->eax & 0x1f;
}

/* Leaf 0x8000001e is there if and only if "topoext" says so; what is each vCPU's own goes in later. */
static void adapt_amd_nodes(struct kvm_cpuid2 *table)
{
	cpuid_drop(table, EXT_TOPOLOGY);
	if (max_leaf(table, EXT_MAX) < EXT_TOPOLOGY)
		cpuid_clear(table, "topoext", false);
	else if (cpuid_has(table, "topoext"))
		add(table, EXT_TOPOLOGY, 0, 0);
	if (cpuid_has(table, "topoext") && !has_caches(table))
		make_amd_caches(table);
}

static void adapt_amd(struct kvm_cpuid2 *table, const struct cpu_topology *t)
{
	struct kvm_cpuid_entry2 *features = cpuid_find(table, EXT_FEATURES, 0);
	struct kvm_cpuid_entry2 *sizes = cpuid_find(table, EXT_SIZES, 0);
	const uint32_t cpus = per_socket(t);
	bool amd = is_amd(table);

	/* With HTT: what leaf 1 counts are cores; "topoext" tells of threads. */
	if (features && amd && cpus > 1)
		features->ecx |= EXT_ECX_CMP_LEGACY;
	else if (features)
		features->ecx &= ~EXT_ECX_CMP_LEGACY;
	if (sizes)
		sizes->ecx = amd ? at_most(topology_socket_shift(t), 15) << 12 | at_most(cpus - 1, 255) : 0;
	adapt_amd_nodes(table);
}

/* Threads and dies of AMD's are told by "topoext" alone, which only says that these leaves are there. */
static void offer_topoext(struct kvm_cpuid2 *offer, const struct cpu_topology *t)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(offer, EXT_FEATURES, 0);

	if (!e || !is_amd(offer) || (t->threads == 1 && t->dies == 1))
		return;
	e->ecx |= EXT_ECX_TOPOEXT;
	raise_max_leaf(offer, EXT_MAX, EXT_TOPOLOGY);
}

void cpuid_offer_topology(struct kvm_cpuid2 *offer, const struct cpu_topology *t)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(offer, KVM_CPUID_FEATURES, 0);

	offer_topoext(offer, t);
	if (t->dies > 1 && !is_amd(offer))
		raise_max_leaf(offer, 0, LEAF_TOPOLOGY_V2);
	/* An MSI's address has room for 15 bits of an id; kvm-irq.c passes them on. */
	if (e && topology_is_wide(t))
		e->eax |= 1u << KVM_FEATURE_MSI_EXT_DEST_ID;
}

void cpuid_adapt_topology(struct kvm_cpuid2 *table, const struct cpu_topology *t)
{
	adapt_package(table, t);
	adapt_levels(table, LEAF_TOPOLOGY, t);
	adapt_levels(table, LEAF_TOPOLOGY_V2, t);
	adapt_amd(table, t);
	adapt_caches(table, t);
	cpuid_drop(table, EXT_TOPOLOGY_V2); /* would tell of the host, and comes before the others */
}

static void set_amd_ids(struct kvm_cpuid_entry2 *e, const struct cpu_topology *t, uint32_t id)
{
	const uint32_t in_socket = id & ((1u << topology_socket_shift(t)) - 1);

	e->eax = id;
	e->ebx = (t->threads - 1) << 8 | (in_socket >> topology_core_shift(t) & 0xff);
	e->ecx = (t->dies - 1) << 8 | (id >> topology_die_shift(t) & 0xff);
}

void cpuid_set_apic_id(struct kvm_cpuid2 *table, const struct cpu_topology *t, unsigned cpu)
{
	const uint32_t id = topology_apic_id(t, cpu);

	for (uint32_t i = 0; i < table->nent; i++) {
		struct kvm_cpuid_entry2 *e = &table->entries[i];

		switch (e->function) {
		case LEAF_FEATURES:
			set_field(&e->ebx, 24, 8, id);
			break;
		case LEAF_TOPOLOGY:
		case LEAF_TOPOLOGY_V2:
			e->edx = id;
			break;
		case EXT_TOPOLOGY:
			set_amd_ids(e, t, id);
			break;
		}
	}
}
