/*
 * What CPUID tells the guest: what KVM offers, less what this machine has not, with a topology of its own
 * (cpuid-topology.c), or what a file says (model.c), and with what --cpu changes (features by name: cpuid-flags.c). Main thread, while
 * the vCPUs are made.
 */
#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "cpuid-internal.h"
#include "lkvm/log.h"
#include "lkvm/x86/cpu-model.h"

#define FIRST_GUESS    256 /* KVM's own limit: with too little room the whole call was for nothing */
#define LAST_GUESS     4096

enum { LEAF_FEATURES = 1, LEAF_XSAVE = 0xd };
enum { EXT_L1 = 0x80000005, EXT_ENCRYPTION = 0x8000001f };

#define FEATURES_ECX_TSC_DEADLINE (1u << 24)
#define FEATURES_ECX_HYPERVISOR   (1u << 31)

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

void cpuid_drop(struct kvm_cpuid2 *table, uint32_t function)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < table->nent; i++)
		if (table->entries[i].function != function)
			table->entries[n++] = table->entries[i];
	table->nent = n;
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
	cpuid_drop(table, EXT_ENCRYPTION);
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

int cpuid_adapt(const struct kvm_cpuid2 *supported, const struct cpu_topology *topology,
		const struct cpu_config *cfg, bool tsc_deadline, struct kvm_cpuid2 **ret)
{
	struct kvm_cpuid2 *offer = table_copy(supported, 0), *table = NULL;
	int err = -ENOMEM;

	if (!offer)
		goto out;
	add_capabilities(offer, tsc_deadline);
	cpuid_offer_topology(offer, topology);
	err = cfg->model ? cpu_model_check(cfg->model->cpuid, offer) : 0;
	if (err)
		goto out;
	err = -ENOMEM;
	table = table_copy(cfg->model ? cfg->model->cpuid : offer, CPUID_TOPOLOGY_EXTRA);
	if (!table)
		goto out;
	if (cfg->model)
		cpuid_offer_topology(table, topology);
	mask_host_only(table);
	err = apply_features(table, offer, cfg);
	if (err)
		goto out;
	adapt_xsave(table);
	cpuid_adapt_topology(table, topology);
	*ret = table;
	table = NULL;
out:
	free(table);
	free(offer);
	return err;
}

/* KVM says nothing of AMD's first caches, unlike of the others: they are what the host's CPU has. */
static void fill_first_caches(struct kvm_cpuid2 *table)
{
	struct kvm_cpuid_entry2 *e = table ? cpuid_find(table, EXT_L1, 0) : NULL;

	if (e && !(e->eax | e->ebx | e->ecx | e->edx))
		__get_cpuid(EXT_L1, &e->eax, &e->ebx, &e->ecx, &e->edx);
}

/* KVM says E2BIG while there is too little room for its answer. Return: heap, or NULL and errno */
static struct kvm_cpuid2 *get_supported(int kvm_fd)
{
	int err = E2BIG;

	for (uint32_t n = FIRST_GUESS; err == E2BIG && n <= LAST_GUESS; n *= 2) {
		struct kvm_cpuid2 *table = table_new(n);

		if (!table || ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, table) >= 0) {
			fill_first_caches(table);
			return table;
		}
		err = errno;
		free(table);
	}
	errno = err;
	return NULL;
}

int cpuid_build(int kvm_fd, const struct cpu_topology *topology, const struct cpu_config *cfg,
		bool tsc_deadline, struct kvm_cpuid2 **ret)
{
	struct kvm_cpuid2 *supported = get_supported(kvm_fd);
	int err;

	if (!supported)
		return log_err(-errno, "KVM_GET_SUPPORTED_CPUID");
	err = cfg->model ? cpu_model_check_msrs(kvm_fd, cfg->model) : 0;
	if (!err)
		err = cpuid_adapt(supported, topology, cfg, tsc_deadline, ret);
	if (err == -ENOMEM)
		log_err(err, "CPUID table");
	free(supported);
	return err;
}

int cpuid_check(int kvm_fd, const struct cpu_topology *topology, bool tsc_deadline,
		const struct kvm_cpuid2 *table)
{
	static const struct cpu_config as_usual;
	struct kvm_cpuid2 *supported = get_supported(kvm_fd), *usual = NULL;
	const char *lacks = NULL;
	int err;

	if (!supported)
		return log_err(-errno, "KVM_GET_SUPPORTED_CPUID");
	err = cpuid_adapt(supported, topology, &as_usual, tsc_deadline, &usual);
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
