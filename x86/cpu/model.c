/* A CPU as a file: what of it this host has, and its MSRs (model-file.c: the file); see x86/cpu-model.h. */
#include "lkvm/x86/cpu-model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cpuid-internal.h"
#include "lkvm/log.h"

#define LEAF_XSAVE 0xd
#define EXT_SIZES  0x80000008

#define MSR_ARCH_CAPABILITIES 0x10a
#define ARCH_CAP_RSBA	      (1ull << 2)  /* these two take something away */
#define ARCH_CAP_RRSBA	      (1ull << 19)

static uint64_t xsave_components(const struct kvm_cpuid2 *table)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(table, LEAF_XSAVE, 0);

	return e ? (uint64_t)e->edx << 32 | e->eax : 0;
}

/* Instructions put it where this host's CPU wants it, whatever CPUID says. */
static int check_xsave(const struct kvm_cpuid2 *model, const struct kvm_cpuid2 *offer)
{
	const uint64_t wanted = xsave_components(model), have = xsave_components(offer);

	for (unsigned i = 0; i < 63; i++) {
		const struct kvm_cpuid_entry2 *m = i < 2 ? NULL : cpuid_find(model, LEAF_XSAVE, i);
		const struct kvm_cpuid_entry2 *h = i < 2 ? NULL : cpuid_find(offer, LEAF_XSAVE, i);

		if (!(wanted >> i & 1))
			continue;
		if (!(have >> i & 1))
			return log_errx(-ENOTSUP, "--cpu: part %u of XSAVE's area: not supported by this host's KVM", i);
		if (m && h && (m->eax != h->eax || m->ebx != h->ebx))
			return log_errx(-ENOTSUP, "--cpu: part %u of XSAVE's area: %u bytes at %u, but this host's CPU has "
					"%u at %u", i, m->eax, m->ebx, h->eax, h->ebx);
	}
	return 0;
}

static void vendor_of(const struct kvm_cpuid2 *table, char ret[13])
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(table, 0, 0);

	memset(ret, 0, 13);
	if (!e)
		return;
	memcpy(ret, &e->ebx, 4);
	memcpy(ret + 4, &e->edx, 4);
	memcpy(ret + 8, &e->ecx, 4);
}

static uint32_t phys_bits(const struct kvm_cpuid2 *table)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(table, EXT_SIZES, 0);

	return e ? e->eax & 0xff : 0;
}

static int check_kind(const struct kvm_cpuid2 *model, const struct kvm_cpuid2 *offer)
{
	char wanted[13], have[13];

	vendor_of(model, wanted);
	vendor_of(offer, have);
	if (strcmp(wanted, have))
		return log_errx(-ENOTSUP, "--cpu: a CPU of '%s', but this host's is of '%s'", wanted, have);
	if (phys_bits(model) > phys_bits(offer))
		return log_errx(-ENOTSUP, "--cpu: physical addresses of %u bits, but this host's CPU has %u",
				phys_bits(model), phys_bits(offer));
	return 0;
}

static int check_features(const struct kvm_cpuid2 *model, const struct kvm_cpuid2 *offer)
{
	char bit[CPUID_BIT_BYTES];
	const char *lacks = cpuid_lacks(offer, offer, model);

	if (lacks)
		return log_errx(-ENOTSUP, "--cpu: CPU feature '%s': not supported by this host's KVM", lacks);
	if (cpuid_lacks_bit(offer, model, bit))
		return log_errx(-ENOTSUP, "--cpu: CPU feature %s: not supported by this host's KVM", bit);
	return 0;
}

int cpu_model_check(const struct kvm_cpuid2 *model, const struct kvm_cpuid2 *offer)
{
	/* The guest's own topology decides these. */
	static const char *const topology[] = { "ht", "cmp_legacy", "topoext" };
	const size_t bytes = sizeof(*model) + model->nent * sizeof(model->entries[0]);
	struct kvm_cpuid2 *copy = malloc(bytes);
	int err;

	if (!copy)
		return log_err(-ENOMEM, "CPUID table");
	memcpy(copy, model, bytes);
	for (size_t i = 0; i < ARRAY_SIZE(topology); i++)
		cpuid_clear(copy, topology[i], false);
	err = check_kind(copy, offer);
	if (!err)
		err = check_features(copy, offer);
	if (!err)
		err = check_xsave(copy, offer);
	free(copy);
	return err;
}

/* ---- MSRs ---- */

union one_msr {
	struct kvm_msrs msrs;
	uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
};

/* @fd: of a vCPU, or, for what KVM can give, /dev/kvm. Return: 1; 0: there is none; or -errno */
static int transfer(int fd, unsigned long request, struct kvm_msr_entry *msr)
{
	union one_msr one = { .msrs = { .nmsrs = 1 } };
	int n;

	one.msrs.entries[0] = *msr;
	n = ioctl(fd, request, &one);
	*msr = one.msrs.entries[0];
	return n < 0 ? -errno : n;
}

/* Of /dev/kvm. Return: heap, or NULL */
static struct kvm_msr_list *msr_list(int kvm_fd, unsigned long request)
{
	struct kvm_msr_list none = { .nmsrs = 0 }, *list;

	if (ioctl(kvm_fd, request, &none) < 0 && errno != E2BIG)
		return NULL;
	list = calloc(1, sizeof(*list) + none.nmsrs * sizeof(list->indices[0]));
	if (!list)
		return NULL;
	list->nmsrs = none.nmsrs;
	if (ioctl(kvm_fd, request, list) < 0) {
		free(list);
		return NULL;
	}
	return list;
}

static bool is_in(const struct kvm_msr_list *list, uint32_t index)
{
	for (uint32_t i = 0; i < list->nmsrs; i++)
		if (list->indices[i] == index)
			return true;
	return false;
}

/* Which feature must be there for it */
static const char *feature_of(uint32_t index)
{
	if (index == MSR_ARCH_CAPABILITIES)
		return "arch_capabilities";
	if (index == 0x345) /* IA32_PERF_CAPABILITIES */
		return "pdcm";
	return index >= 0x480 && index <= 0x491 ? "vmx" : NULL;
}

static bool belongs(const struct kvm_cpuid2 *cpuid, uint32_t index)
{
	const char *feature = feature_of(index);

	return !feature || cpuid_has(cpuid, feature);
}

/* A vCPU of a machine of its own. Return: 0 or -errno */
static int trial_vcpu(int kvm_fd, const struct kvm_cpuid2 *cpuid, int *ret)
{
	const int vm = ioctl(kvm_fd, KVM_CREATE_VM, 0UL);
	const int vcpu = vm < 0 ? -1 : ioctl(vm, KVM_CREATE_VCPU, 0UL);
	int err = vcpu < 0 || ioctl(vcpu, KVM_SET_CPUID2, cpuid) ? -errno : 0;

	if (vm >= 0)
		close(vm); /* the vCPU keeps it */
	if (err && vcpu >= 0)
		close(vcpu);
	*ret = vcpu;
	return err;
}

/* An older KVM has no such lists: then there is none. One that KVM has, but no vCPU, is none either. */
static void take_msrs(int kvm_fd, int vcpu_fd, struct cpu_model *model)
{
	struct kvm_msr_list *features = msr_list(kvm_fd, KVM_GET_MSR_FEATURE_INDEX_LIST);
	struct kvm_msr_list *saved = msr_list(kvm_fd, KVM_GET_MSR_INDEX_LIST);

	for (uint32_t i = 0; features && saved && i < features->nmsrs && model->n_msrs < CPU_MODEL_MSRS; i++) {
		struct kvm_msr_entry msr = { .index = features->indices[i] }, set;

		if (!is_in(saved, msr.index) || !belongs(model->cpuid, msr.index) ||
		    transfer(kvm_fd, KVM_GET_MSRS, &msr) != 1)
			continue;
		set = msr;
		if (transfer(vcpu_fd, KVM_SET_MSRS, &set) == 1)
			model->msr[model->n_msrs++] = msr;
	}
	free(features);
	free(saved);
}

int cpu_model_of_host(int kvm_fd, bool tsc_deadline, struct cpu_model **ret)
{
	static const struct cpu_topology one = { 1, 1, 1, 1 };
	static const struct cpu_config as_usual;
	struct cpu_model *model = calloc(1, sizeof(*model));
	int err, vcpu;

	if (!model)
		return log_err(-ENOMEM, "CPU model");
	err = cpuid_build(kvm_fd, &one, &as_usual, tsc_deadline, &model->cpuid);
	if (!err) {
		err = trial_vcpu(kvm_fd, model->cpuid, &vcpu);
		if (err)
			log_err(err, "a vCPU for the CPU model");
	}
	if (err) {
		cpu_model_free(model);
		return err;
	}
	take_msrs(kvm_fd, vcpu, model);
	close(vcpu);
	*ret = model;
	return 0;
}

void cpu_model_free(struct cpu_model *model)
{
	if (!model)
		return;
	free(model->cpuid);
	free(model);
}

int cpu_model_check_msrs(int kvm_fd, const struct cpu_model *model)
{
	for (unsigned i = 0; i < model->n_msrs; i++) {
		struct kvm_msr_entry have = { .index = MSR_ARCH_CAPABILITIES };
		uint64_t lacks;

		if (model->msr[i].index != MSR_ARCH_CAPABILITIES)
			continue;
		if (transfer(kvm_fd, KVM_GET_MSRS, &have) != 1)
			have.data = 0;
		lacks = model->msr[i].data & ~(have.data | ARCH_CAP_RSBA | ARCH_CAP_RRSBA);
		if (lacks)
			return log_errx(-ENOTSUP, "--cpu: bit %d of MSR 0x%x: not supported by this host's KVM",
					__builtin_ctzll(lacks), MSR_ARCH_CAPABILITIES);
	}
	return 0;
}

int cpu_model_set_msrs(int vcpu_fd, unsigned id, const struct cpu_model *model, const struct kvm_cpuid2 *cpuid)
{
	for (unsigned i = 0; i < model->n_msrs; i++) {
		const struct kvm_msr_entry *want = &model->msr[i];
		struct kvm_msr_entry set = *want, now = { .index = want->index };
		int done;

		if (!belongs(cpuid, want->index))
			continue;
		done = transfer(vcpu_fd, KVM_SET_MSRS, &set);
		if (done < 0)
			return log_err(done, "KVM_SET_MSRS of vCPU %u", id);
		if (!done && (transfer(vcpu_fd, KVM_GET_MSRS, &now) != 1 || now.data != want->data))
			return log_errx(-ENOTSUP, "--cpu: this host's KVM cannot set MSR 0x%x to 0x%llx", want->index,
					(unsigned long long)want->data);
	}
	return 0;
}
