/*
 * A CPU as a file: CPUID and MSRs of a host's KVM as JSON, which `lkvm check --cpu-json` prints and `lkvm run --cpu
 * FILE` takes, so that two hosts give a guest the same CPU. Main thread.
 *
 *	{ "schema": 1,
 *	  "cpuid": [ { "function": "0xd", "index": "0x1", "eax": "0xf", "ebx": "0x0", "ecx": "0x0", "edx": "0x0" }, ... ],
 *	  "msrs": [ { "index": "0x10a", "value": "0x8000" }, ... ] }
 *
 * "index" is there only where the leaf has several; other members are passed over. What the topology decides is as
 * in a guest with one CPU, and is made anew for each guest. MSRs are those that tell what the CPU can do and that a
 * guest's snapshot has too.
 */
#ifndef LKVM_X86_CPU_MODEL_H
#define LKVM_X86_CPU_MODEL_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lkvm/crc32c.h"

#define CPU_MODEL_LEAVES 256 /* KVM takes no more */
#define CPU_MODEL_MSRS   64
#define CPU_MODEL_BYTES  (1 << 20) /* of its file */

struct cpu_model {
	struct kvm_cpuid2 *cpuid; /* heap */
	unsigned n_msrs;
	struct kvm_msr_entry msr[CPU_MODEL_MSRS];
};

/** cpu_model_read() - of a file; Return: 0; -errno, logged: "could not read CPU model 'x': REASON" */
int cpu_model_read(const char *path, struct cpu_model **ret);
void cpu_model_free(struct cpu_model *model);

/** cpu_model_of_host() - what KVM of this host can give; @kvm_fd: /dev/kvm; Return: 0 or -errno, logged */
int cpu_model_of_host(int kvm_fd, bool tsc_deadline, struct cpu_model **ret);
/** cpu_model_write() - as JSON; errors stay with the stream */
void cpu_model_write(const struct cpu_model *model, FILE *out);
/** cpu_model_checksum() - of what is in it */
static inline uint32_t cpu_model_checksum(const struct cpu_model *model)
{
	const uint32_t sum = crc32c(0, model->cpuid->entries, model->cpuid->nent * sizeof(model->cpuid->entries[0]));

	return crc32c(sum, model->msr, model->n_msrs * sizeof(model->msr[0]));
}

/**
 * cpu_model_check() - can a guest on this host have that CPU?
 * Vendor, features (by name, or by leaf and bit where they have none), width of addresses, parts of XSAVE's area.
 * @offer: what KVM of this host can give
 * Return: 0; -ENOTSUP or -ENOMEM, logged
 */
int cpu_model_check(const struct kvm_cpuid2 *model, const struct kvm_cpuid2 *offer);

/** cpu_model_check_msrs() - that of IA32_ARCH_CAPABILITIES: nothing that this host's CPU has not; Return: as above */
int cpu_model_check_msrs(int kvm_fd, const struct cpu_model *model);

/**
 * cpu_model_set_msrs() - of a vCPU that has its CPUID; those of features that @cpuid has not are left out
 * Return: 0 or -errno, logged
 */
int cpu_model_set_msrs(int vcpu_fd, unsigned id, const struct cpu_model *model, const struct kvm_cpuid2 *cpuid);

#endif
