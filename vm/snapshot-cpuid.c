/* The CPUID table that the guest has seen, as a section of its snapshot; see vm/snapshot.h. */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>

#include "lkvm/log.h"
#include "snapshot-internal.h"

#define MAX_LEAVES 512

struct cpuid_state {
	uint32_t n;
	uint32_t function[MAX_LEAVES], index[MAX_LEAVES], flags[MAX_LEAVES];
	uint32_t eax[MAX_LEAVES], ebx[MAX_LEAVES], ecx[MAX_LEAVES], edx[MAX_LEAVES];
};

static const struct state_field cpuid_fields[] = {
	STATE_ONE(struct cpuid_state, n, .max = MAX_LEAVES),
	STATE_SOME(struct cpuid_state, function, n),
	STATE_SOME(struct cpuid_state, index, n),
	STATE_SOME(struct cpuid_state, flags, n, .bits = KVM_CPUID_FLAG_SIGNIFCANT_INDEX),
	STATE_SOME(struct cpuid_state, eax, n),
	STATE_SOME(struct cpuid_state, ebx, n),
	STATE_SOME(struct cpuid_state, ecx, n),
	STATE_SOME(struct cpuid_state, edx, n),
};

const struct state_type snapshot_cpuid_type = {
	STATE_TYPE("cpuid", 1, struct cpuid_state, cpuid_fields),
};

int snapshot_describe_cpuid(struct snapshot_writer *w, const struct kvm_cpuid2 *table)
{
	struct cpuid_state *st = calloc(1, sizeof(*st));
	int err;

	if (!st || table->nent > MAX_LEAVES) {
		free(st);
		return -ENOMEM;
	}
	st->n = table->nent;
	for (uint32_t i = 0; i < table->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &table->entries[i];

		st->function[i] = e->function;
		st->index[i] = e->index;
		st->flags[i] = e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		st->eax[i] = e->eax;
		st->ebx[i] = e->ebx;
		st->ecx[i] = e->ecx;
		st->edx[i] = e->edx;
	}
	err = snapshot_put(w, "cpuid", &snapshot_cpuid_type, st);
	free(st);
	return err;
}

int snapshot_take_cpuid(struct snapshot *snap, struct kvm_cpuid2 **ret)
{
	struct cpuid_state *st = calloc(1, sizeof(*st));
	struct kvm_cpuid2 *table = calloc(1, sizeof(*table) + MAX_LEAVES * sizeof(table->entries[0]));
	int err = st && table ? snapshot_take(snap, "cpuid", &snapshot_cpuid_type, st) :
				log_err(-ENOMEM, "CPUID table");

	for (uint32_t i = 0; !err && i < st->n; i++)
		table->entries[i] = (struct kvm_cpuid_entry2){
			.function = st->function[i], .index = st->index[i], .flags = st->flags[i],
			.eax = st->eax[i], .ebx = st->ebx[i], .ecx = st->ecx[i], .edx = st->edx[i],
		};
	if (!err) {
		table->nent = st->n;
		*ret = table;
		table = NULL;
	}
	free(table);
	free(st);
	return err;
}
