/*
 * What CPUID tells the guest: what KVM offers, less what this machine has not, with a topology and APIC
 * ids of its own, and with what --cpu changes (features by name: cpuid-flags.c). Main thread, while the
 * vCPUs are made.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lkvm/log.h"
#include "lkvm/x86/cpu.h"

#define FIRST_GUESS    256 /* KVM's own limit: with too little room the whole call was for nothing */
#define LAST_GUESS     4096
#define TOPOLOGY_EXTRA 7 /* most entries that are added: 3 each of 0xb and 0x1f, 0x8000001e */

enum { LEAF_FEATURES = 1, LEAF_CACHES = 4, LEAF_TOPOLOGY = 0xb, LEAF_XSAVE = 0xd };
enum { LEAF_TOPOLOGY_V2 = 0x1f };
enum {
	EXT_MAX = 0x80000000,
	EXT_FEATURES = 0x80000001,
	EXT_SIZES = 0x80000008,
	EXT_CACHES = 0x8000001d,
	EXT_TOPOLOGY = 0x8000001e,
	EXT_ENCRYPTION = 0x8000001f,
	EXT_TOPOLOGY_V2 = 0x80000026,
};

#define FEATURES_EDX_HTT          (1u << 28)
#define FEATURES_ECX_TSC_DEADLINE (1u << 24)
#define FEATURES_ECX_HYPERVISOR   (1u << 31)
#define EXT_ECX_CMP_LEGACY        (1u << 1)

/* Room for @entries, which whoever fills it in writes before they are read. */
static struct kvm_cpuid2 *table_new(uint32_t entries)
{
	struct kvm_cpuid2 *table;

	table = malloc(sizeof(*table) + entries * sizeof(table->entries[0]));
	if (table)
		*table = (struct kvm_cpuid2){ .nent = entries };
	return table;
}

static struct kvm_cpuid2 *table_copy(const struct kvm_cpuid2 *from, uint32_t extra)
{
	struct kvm_cpuid2 *table = table_new(from->nent + extra);

	if (!table)
		return NULL;
	memcpy(table->entries, from->entries, from->nent * sizeof(from->entries[0]));
	table->nent = from->nent;
	return table;
}

static void drop(struct kvm_cpuid2 *table, uint32_t function)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < table->nent; i++)
		if (table->entries[i].function != function)
			table->entries[n++] = table->entries[i];
	table->nent = n;
}

/* The table was made with room for what adapt_topology() adds. */
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

/* Bits of an APIC id that tell @cpus processors apart. */
static unsigned id_bits(unsigned cpus)
{
	unsigned bits = 0;

	while (1u << bits < cpus)
		bits++;
	return bits;
}

static void set_field(uint32_t *reg, unsigned shift, unsigned width, uint32_t value)
{
	uint32_t mask = ((1u << width) - 1) << shift;

	*reg = (*reg & ~mask) | (value << shift & mask);
}

/* Leaf 1: how many ids the package takes; each vCPU's own goes in later. */
static void adapt_package(struct kvm_cpuid2 *table, unsigned cpus)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(table, LEAF_FEATURES, 0);
	uint32_t ids = 1u << id_bits(cpus);

	if (!e)
		return;
	set_field(&e->ebx, 24, 8, 0);
	set_field(&e->ebx, 16, 8, ids < 255 ? ids : 255);
	e->edx = cpus > 1 ? e->edx | FEATURES_EDX_HTT : e->edx & ~FEATURES_EDX_HTT;
}

/* Caches of level 1 and 2 belong to one core, further ones to the package. */
static void adapt_caches(struct kvm_cpuid2 *table, unsigned cpus)
{
	uint32_t others = (1u << id_bits(cpus)) - 1;

	for (uint32_t i = 0; i < table->nent; i++) {
		struct kvm_cpuid_entry2 *e = &table->entries[i];
		bool intel = e->function == LEAF_CACHES;

		if ((!intel && e->function != EXT_CACHES) || !(e->eax & 0x1f))
			continue;
		set_field(&e->eax, 14, 12, (e->eax >> 5 & 7) >= 3 ? others : 0);
		if (intel)
			set_field(&e->eax, 26, 6, others); /* cores; 63 stands for more, too */
	}
}

/* Leaves 0xb and 0x1f: a level of threads with one a core, a level of cores, and the end. */
static void adapt_levels(struct kvm_cpuid2 *table, uint32_t function, unsigned cpus)
{
	const struct {
		uint32_t eax, ebx, type;
	} level[] = { { 0, 1, 1 }, { id_bits(cpus), cpus, 2 }, { 0, 0, 0 } };

	drop(table, function);
	if (max_leaf(table, 0) < function)
		return;
	for (uint32_t i = 0; i < ARRAY_SIZE(level); i++) {
		struct kvm_cpuid_entry2 *e =
			add(table, function, i, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);

		e->eax = level[i].eax;
		e->ebx = level[i].ebx;
		e->ecx = level[i].type << 8 | i;
	}
}

/* Leaf 0x8000001e is there if and only if "topoext" says so: one node, one thread a core. */
static void adapt_amd_nodes(struct kvm_cpuid2 *table)
{
	drop(table, EXT_TOPOLOGY);
	if (max_leaf(table, EXT_MAX) < EXT_TOPOLOGY)
		cpuid_clear(table, "topoext", false);
	else if (cpuid_has(table, "topoext"))
		add(table, EXT_TOPOLOGY, 0, 0);
}

static void adapt_amd(struct kvm_cpuid2 *table, unsigned cpus)
{
	struct kvm_cpuid_entry2 *features = cpuid_find(table, EXT_FEATURES, 0);
	struct kvm_cpuid_entry2 *sizes = cpuid_find(table, EXT_SIZES, 0);
	bool amd = is_amd(table);

	/* With HTT: what leaf 1 counts are cores, not threads. */
	if (features && amd && cpus > 1)
		features->ecx |= EXT_ECX_CMP_LEGACY;
	else if (features)
		features->ecx &= ~EXT_ECX_CMP_LEGACY;
	if (sizes)
		sizes->ecx = amd ? id_bits(cpus) << 12 | (cpus - 1) : 0;
	adapt_amd_nodes(table);
}

static void adapt_topology(struct kvm_cpuid2 *table, unsigned cpus)
{
	adapt_package(table, cpus);
	adapt_caches(table, cpus);
	adapt_levels(table, LEAF_TOPOLOGY, cpus);
	adapt_levels(table, LEAF_TOPOLOGY_V2, cpus);
	adapt_amd(table, cpus);
	drop(table, EXT_TOPOLOGY_V2); /* would tell of the host, and comes before the others */
}

/* State components that XSAVE keeps for a feature (SDM volume 1, 13.1). */
static const struct {
	unsigned component;
	const char *feature;
} xsave_components[] = {
	{ 2, "avx" },     { 3, "mpx" }, { 4, "mpx" },       { 5, "avx512f" },   { 6, "avx512f" },
	{ 7, "avx512f" }, { 9, "pku" }, { 17, "amx_tile" }, { 18, "amx_tile" },
};

#define XSAVE_LEGACY_BYTES 576

static void clear_regs(struct kvm_cpuid_entry2 *e)
{
	e->eax = e->ebx = e->ecx = e->edx = 0;
}

static uint32_t xsave_bytes(const struct kvm_cpuid2 *table, uint64_t components)
{
	uint32_t bytes = XSAVE_LEGACY_BYTES;

	for (unsigned i = 2; i < 63; i++) {
		const struct kvm_cpuid_entry2 *e = cpuid_find(table, LEAF_XSAVE, i);

		if (e && components >> i & 1 && e->ebx + e->eax > bytes)
			bytes = e->ebx + e->eax;
	}
	return bytes;
}

/* Leaf 0xd follows the features: no state without its instructions, and no room for it. */
static void adapt_xsave(struct kvm_cpuid2 *table)
{
	struct kvm_cpuid_entry2 *all = cpuid_find(table, LEAF_XSAVE, 0), *e;
	const bool xsave = cpuid_has(table, "xsave");

	if (!all)
		return;
	for (uint32_t i = 0; i < table->nent && !xsave; i++)
		if (table->entries[i].function == LEAF_XSAVE)
			clear_regs(&table->entries[i]);
	for (size_t i = 0; i < ARRAY_SIZE(xsave_components); i++) {
		unsigned component = xsave_components[i].component;

		if (cpuid_has(table, xsave_components[i].feature))
			continue;
		all->eax &= ~(1u << component);
		e = cpuid_find(table, LEAF_XSAVE, component);
		if (e)
			clear_regs(e);
	}
	if (all->eax)
		all->ecx = xsave_bytes(table, (uint64_t)all->edx << 32 | all->eax);
}

/* What KVM can do beyond its table: the hypervisor's own bit, and timers of the in-kernel LAPIC. */
static void add_capabilities(struct kvm_cpuid2 *offer, bool tsc_deadline)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(offer, LEAF_FEATURES, 0);

	if (!e)
		return;
	e->ecx |= FEATURES_ECX_HYPERVISOR;
	e->ecx &= ~FEATURES_ECX_TSC_DEADLINE;
	if (tsc_deadline)
		e->ecx |= FEATURES_ECX_TSC_DEADLINE;
}

/*
 * Off unless asked for: idling by MWAIT (it would spin, as KVM does not wait in it), SGX (there is
 * no EPC) and what the guest's own CR4 decides (KVM keeps those two). Gone: memory encryption.
 */
static void mask_host_only(struct kvm_cpuid2 *table)
{
	static const char *const off[] = {
		"monitor", "mwaitx", "sgx", "sgx_lc", "osxsave", "ospke"
	};

	for (size_t i = 0; i < ARRAY_SIZE(off); i++)
		cpuid_clear(table, off[i], false);
	drop(table, EXT_ENCRYPTION);
}

static int apply_features(struct kvm_cpuid2 *table, const struct kvm_cpuid2 *offer,
			  const struct cpu_config *cfg)
{
	for (unsigned i = 0; i < cfg->n_features; i++) {
		const struct cpu_feature *feature = &cfg->feature[i];

		if (!feature->on)
			cpuid_clear(table, feature->name, true);
		else if (cpuid_set(table, offer, feature->name))
			return log_errx(-ENOTSUP, "CPU feature '%s': not supported by this host's KVM",
					feature->name);
	}
	return 0;
}

int cpuid_adapt(const struct kvm_cpuid2 *supported, unsigned cpus, const struct cpu_config *cfg,
		bool tsc_deadline, struct kvm_cpuid2 **ret)
{
	struct kvm_cpuid2 *offer = table_copy(supported, 0), *table = NULL;
	int err = -ENOMEM;

	if (!offer)
		goto out;
	add_capabilities(offer, tsc_deadline);
	table = table_copy(offer, TOPOLOGY_EXTRA);
	if (!table)
		goto out;
	mask_host_only(table);
	err = apply_features(table, offer, cfg);
	if (err)
		goto out;
	adapt_xsave(table);
	adapt_topology(table, cpus);
	*ret = table;
	table = NULL;
out:
	free(table);
	free(offer);
	return err;
}

/* KVM says E2BIG while there is too little room for its answer. Return: heap, or NULL and errno */
static struct kvm_cpuid2 *get_supported(int kvm_fd)
{
	int err = E2BIG;

	for (uint32_t n = FIRST_GUESS; err == E2BIG && n <= LAST_GUESS; n *= 2) {
		struct kvm_cpuid2 *table = table_new(n);

		if (!table || ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, table) >= 0)
			return table;
		err = errno;
		free(table);
	}
	errno = err;
	return NULL;
}

int cpuid_build(int kvm_fd, unsigned cpus, const struct cpu_config *cfg, bool tsc_deadline,
		struct kvm_cpuid2 **ret)
{
	struct kvm_cpuid2 *supported = get_supported(kvm_fd);
	int err;

	if (!supported)
		return log_err(-errno, "KVM_GET_SUPPORTED_CPUID");
	err = cpuid_adapt(supported, cpus, cfg, tsc_deadline, ret);
	if (err == -ENOMEM)
		log_err(err, "CPUID table");
	free(supported);
	return err;
}

int cpuid_check(int kvm_fd, unsigned cpus, bool tsc_deadline, const struct kvm_cpuid2 *table)
{
	static const struct cpu_config as_usual;
	struct kvm_cpuid2 *supported = get_supported(kvm_fd), *usual = NULL;
	const char *lacks = NULL;
	int err;

	if (!supported)
		return log_err(-errno, "KVM_GET_SUPPORTED_CPUID");
	err = cpuid_adapt(supported, cpus, &as_usual, tsc_deadline, &usual);
	if (err)
		log_err(err, "CPUID table");
	else
		lacks = cpuid_lacks(supported, usual, table);
	free(supported);
	free(usual);
	if (err)
		return err;
	return lacks ? log_errx(-ENOTSUP, "CPU feature '%s', which the guest has: not supported by this host's KVM",
				lacks) : 0;
}

void cpuid_set_apic_id(struct kvm_cpuid2 *table, unsigned id)
{
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
			e->eax = id;
			set_field(&e->ebx, 0, 8, id); /* core */
			break;
		}
	}
}
