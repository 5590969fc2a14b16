/*
 * `lkvm run --trace FILE`: what the machine does, with times, for a viewer; the file is util/trace.c's.
 *
 * A machine that is not traced has nothing of this: what is hooked on here are tables and functions that were
 * chosen anyway - a vCPU's loop, a device's transport and its queues, how a line is driven.
 */
#include "lkvm/trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lkvm/clock.h"
#include "lkvm/log.h"
#include "lkvm/pci.h"
#include "lkvm/virtio-trace.h"
#include "lkvm/vm/hardware.h"
#include "lkvm/x86/clock.h"
#include "vm-internal.h"

struct vm_trace {
	struct vm *vm;
	struct trace *trace;
	bool hangs; /* its file does */
	struct trace_track *interrupts;
	struct hardware hw; /* whose chips' names are */
	char process[IPC_NAME_MAX + 8];
	unsigned n_devices;
	struct virtio_trace *device[PCI_MAX_FUNCTIONS];
};

/* ---- clocks ---- */

static void add(struct trace_facts *facts, const char *key, uint64_t value)
{
	facts->fact[facts->n++] = (struct trace_fact){ key, value };
}

/* Where the host's and the guest's clocks stand at one moment; empty if KVM does not tell */
static struct trace_facts look_at_clocks(const struct kvm *kvm)
{
	const struct kvm_fds fds = kvm_fds_of(kvm, 0);
	struct trace_facts ret = { 0 };
	struct clock_moment at;
	uint64_t offset;

	if (clock_look(&fds, &at))
		return ret;
	add(&ret, "monotonic_ns", at.monotonic_ns);
	add(&ret, "realtime_ns", at.realtime_ns);
	add(&ret, "kvm_clock_ns", at.clock_ns);
	add(&ret, "guest_tsc", at.tsc);
	add(&ret, "guest_tsc_khz", clock_tsc_khz(&fds));
	if (!clock_tsc_offset(&fds, &offset))
		add(&ret, "guest_tsc_offset", offset);
	return ret;
}

/* ---- lines ---- */

static const char *source_name(const struct vm_trace *t, unsigned source)
{
	struct pci_host *pci = virtio_list_pci(t->vm->virtio);

	if (source >= LINE_SOURCE_CHIP)
		return t->hw.row[source - LINE_SOURCE_CHIP].type->name;
	return pci ? pci_function_at(pci, source - LINE_SOURCE_PCI)->name : "";
}

static void line_changes(void *ctx, unsigned gsi, unsigned source, bool level)
{
	static const struct trace_kind kind = {
		"interrupt,line", TRACE_INSTANT, { { "gsi", false }, { "level", false } },
	};
	const struct vm_trace *t = ctx;
	struct trace_event event = {
		.kind = &kind,
		.what = level ? "line up" : "line down",
		.at_ns = now_ns(),
		.arg = { gsi, level },
	};

	trace_device(&event, source_name(t, source));
	trace_put(t->interrupts, &event);
}

/* ---- the step ---- */

static int trace_device_of(void *ctx, const char *name, struct virtio_dev *dev)
{
	struct vm_trace *t = ctx;
	struct trace_track *requests = trace_track(t->trace, NULL);
	int err = requests ? 0 : -ENOMEM;

	if (!err)
		err = virtio_trace_new(dev, t->n_devices, requests, t->interrupts, &t->device[t->n_devices]);
	if (err)
		return log_err(err, "trace of %s", name);
	t->n_devices++;
	return 0;
}

static int trace_cpus(struct vm_trace *t)
{
	for (unsigned i = 0; i < t->vm->kvm.n_cpus; i++) {
		struct trace_track *track;
		char name[16];

		snprintf(name, sizeof(name), "vcpu/%u", i);
		track = trace_track(t->trace, name);
		if (!track)
			return log_err(-ENOMEM, "trace of vCPU %u", i);
		kvm_cpu_trace(&t->vm->kvm.cpus[i], track);
	}
	return 0;
}

static int hook_on(struct vm_trace *t)
{
	int err;

	t->interrupts = trace_track(t->trace, "interrupts");
	if (!t->interrupts)
		return log_err(-ENOMEM, "trace of interrupts");
	hardware_of(t->vm->cfg, &t->hw);
	err = trace_cpus(t);
	if (!err)
		err = virtio_list_each(t->vm->virtio, trace_device_of, t);
	if (!err)
		kvm_irq_watch(t->vm->irq, line_changes, t);
	return err;
}

int vm_make_trace_file(struct vm *vm)
{
	struct vm_trace *t;

	if (!vm->cfg->trace)
		return 0;
	t = vm->trace = calloc(1, sizeof(*t));
	if (!t)
		return log_err(-ENOMEM, "trace");
	t->vm = vm;
	snprintf(t->process, sizeof(t->process), "lkvm %s", vm->cfg->name);
	return trace_open(vm->cfg->trace, t->process, &t->trace);
}

void vm_undo_trace_file(struct vm *vm)
{
	if (!vm->trace || vm->trace->hangs)
		return;
	trace_free(vm->trace->trace);
	free(vm->trace);
	vm->trace = NULL;
}

int vm_make_trace(struct vm *vm)
{
	return vm->trace ? hook_on(vm->trace) : 0;
}

int vm_trace_begin(struct vm *vm)
{
	struct trace_facts facts;
	int err;

	if (!vm->trace)
		return 0;
	facts = look_at_clocks(&vm->kvm);
	err = trace_begin(vm->trace->trace, &facts);
	return err ? log_err(err, "thread of the trace") : 0;
}

static void unhook(struct vm_trace *t)
{
	kvm_irq_watch(t->vm->irq, NULL, NULL);
	for (unsigned i = 0; i < t->n_devices; i++)
		virtio_trace_free(t->device[i]);
	t->n_devices = 0;
}

/* Threads that hang may still put events, and are left with what they need for that. */
void vm_undo_trace(struct vm *vm)
{
	const bool hung = vm->result->hung;
	struct trace_facts facts = { 0 };
	struct vm_trace *t = vm->trace;

	if (!t)
		return;
	if (!hung)
		facts = look_at_clocks(&vm->kvm);
	t->hangs = !trace_end(t->trace, &facts, vm->end_ms);
	if (t->hangs)
		log_warn("trace '%s' hangs: its end is missing", vm->cfg->trace);
	if (!hung)
		unhook(t);
}
