/*
 * The exits of a vCPU as events of a trace: the KVM_RUN loop of one that is traced; see kvm-cpu.h.
 *
 * An event stands for the time that the thread was outside of KVM. What KVM itself does for the guest is not seen.
 */
#include <stdio.h>
#include <string.h>

#include "kvm-cpu-loop.h"
#include "lkvm/access.h"
#include "lkvm/clock.h"
#include "lkvm/trace.h"
#include "lkvm/types.h"

static const struct trace_kind io_kind = {
	"exit,io", TRACE_SPAN, { { "port", true }, { "bytes", false }, { "count", false }, { "value", true } },
};
static const struct trace_kind mmio_kind = {
	"exit,mmio", TRACE_SPAN, { { "address", true }, { "bytes", false }, { "value", true } },
};
static const struct trace_kind other_kind = { "exit", TRACE_SPAN, { { "reason", false } } };
static const struct trace_kind kick_kind = { "exit,kick", TRACE_INSTANT, { { NULL, false } } };
static const struct trace_kind parked_kind = { "parked", TRACE_SPAN, { { NULL, false } } };

static const char *const reasons[] = {
	[KVM_EXIT_HLT] = "halt",
	[KVM_EXIT_IRQ_WINDOW_OPEN] = "interrupt window",
	[KVM_EXIT_SHUTDOWN] = "shutdown",
	[KVM_EXIT_FAIL_ENTRY] = "entry failed",
	[KVM_EXIT_INTR] = "signal",
	[KVM_EXIT_SET_TPR] = "set TPR",
	[KVM_EXIT_DEBUG] = "debug",
	[KVM_EXIT_INTERNAL_ERROR] = "internal error",
	[KVM_EXIT_SYSTEM_EVENT] = "system event",
	[KVM_EXIT_IOAPIC_EOI] = "end of interrupt",
};

static void set_device(struct trace_event *event, struct bus *bus, uint64_t addr)
{
	const char *name = bus_name(bus, addr);

	trace_device(event, name ? name : "");
}

static uint64_t io_value(const struct kvm_run *run)
{
	return access_get((const uint8_t *)run + run->io.data_offset, run->io.size);
}

/* Of the sizes that an access has, also in pieces */
static uint64_t mmio_value(const struct kvm_run *run)
{
	uint64_t value = 0;

	memcpy(&value, run->mmio.data, run->mmio.len < sizeof(value) ? run->mmio.len : sizeof(value));
	return value;
}

static void describe_io(struct kvm_cpu *cpu, struct trace_event *event)
{
	const struct kvm_run *run = cpu->run;

	event->kind = &io_kind;
	event->what = run->io.direction == KVM_EXIT_IO_OUT ? "out" : "in";
	event->arg[0] = run->io.port;
	event->arg[1] = run->io.size;
	event->arg[2] = run->io.count;
	set_device(event, &cpu->kvm->pio, run->io.port);
}

static void describe_mmio(struct kvm_cpu *cpu, struct trace_event *event)
{
	const struct kvm_run *run = cpu->run;

	event->kind = &mmio_kind;
	event->what = run->mmio.is_write ? "write" : "read";
	event->arg[0] = run->mmio.phys_addr;
	event->arg[1] = run->mmio.len;
	set_device(event, &cpu->kvm->mmio, run->mmio.phys_addr);
}

static void describe(struct kvm_cpu *cpu, struct trace_event *event)
{
	const uint32_t reason = cpu->run->exit_reason;

	if (reason == KVM_EXIT_IO) {
		describe_io(cpu, event);
	} else if (reason == KVM_EXIT_MMIO) {
		describe_mmio(cpu, event);
	} else {
		event->kind = &other_kind;
		event->what = reason < ARRAY_SIZE(reasons) && reasons[reason] ? reasons[reason] : "other";
		event->arg[0] = reason;
	}
}

/* What was read is known only behind the handler, and the rest perhaps only in front of it. */
static void traced_exit(struct kvm_cpu *cpu)
{
	struct trace_event event = { .at_ns = now_ns() };

	describe(cpu, &event);
	kvm_cpu_exit(cpu);
	if (event.kind == &io_kind)
		event.arg[3] = io_value(cpu->run);
	else if (event.kind == &mmio_kind)
		event.arg[2] = mmio_value(cpu->run);
	event.extent = now_ns() - event.at_ns;
	trace_put(cpu->track, &event);
}

static void traced_loop(struct kvm_cpu *cpu)
{
	struct trace_event event = { .kind = &parked_kind, .what = "parked", .at_ns = cpu->parked_ns };
	const uint64_t kicks = atomic_load(&cpu->stats.intr);

	trace_track_here(cpu->track);
	event.extent = now_ns() - event.at_ns;
	trace_put(cpu->track, &event);
	kvm_cpu_loop(cpu, traced_exit);
	cpu->parked_ns = now_ns();
	if (atomic_load(&cpu->stats.intr) == kicks)
		return;
	event = (struct trace_event){ .kind = &kick_kind, .what = "kick", .at_ns = cpu->parked_ns };
	trace_put(cpu->track, &event);
}

void kvm_cpu_trace(struct kvm_cpu *cpu, struct trace_track *track)
{
	cpu->track = track;
	cpu->parked_ns = now_ns();
	cpu->loop = traced_loop;
}
