/* One vCPU: its thread, the KVM_RUN loop, and what each exit means; see kvm-cpu.h. */
#include "lkvm/kvm-cpu.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm-cpu-loop.h"
#include "lkvm/log.h"
#include "lkvm/x86/cpu.h"

static const struct thread_type vcpu_threads = {
	.name = "vcpu",
	.stack_bytes = 256 * KIB,
	.signal = KVM_KICK_SIGNAL,
};

int kvm_cpu_init(struct kvm_cpu *cpu, struct kvm *kvm, unsigned id, uint32_t apic_id)
{
	void *run;

	*cpu = (struct kvm_cpu){ .kvm = kvm, .id = id };
	cpu->fd = ioctl(kvm->vm_fd, KVM_CREATE_VCPU, (unsigned long)apic_id);
	if (cpu->fd < 0)
		return log_err(-errno, "KVM_CREATE_VCPU %u", id);
	run = mmap(NULL, kvm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
	if (run == MAP_FAILED)
		return log_err(-errno, "map kvm_run of vCPU %u", id);
	cpu->run = run;
	return 0;
}

void kvm_cpu_fini(struct kvm_cpu *cpu)
{
	if (cpu->run)
		munmap(cpu->run, cpu->kvm->run_bytes);
	if (cpu->fd >= 0)
		close(cpu->fd);
	cpu->run = NULL;
	cpu->fd = -1;
}

static void on_kick(int sig)
{
	/* Empty on purpose: the signal's only effect is that KVM_RUN returns. */
	(void)sig;
}

void kvm_cpu_kick_handler(void)
{
	struct sigaction act = { .sa_handler = on_kick };

	sigaction(KVM_KICK_SIGNAL, &act, NULL);
}

void kvm_cpu_kick(struct kvm_cpu *cpu)
{
	if (!cpu->thread)
		return;
	__atomic_store_n(&cpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	thread_signal(cpu->thread);
}

/* Under the lock: for the debugger, whatever others do */
static bool is_held(const struct kvm_cpu *cpu)
{
	return cpu->held || atomic_load(&cpu->trapped) || atomic_load(&cpu->kvm->caught);
}

/* Wait until the VM runs. Return: false once it stops. */
static bool cpu_enter(struct kvm_cpu *cpu)
{
	struct kvm *kvm = cpu->kvm;
	bool run;

	pthread_mutex_lock(&kvm->lock);
	while (kvm->state == KVM_CREATED || kvm->state == KVM_PAUSED || (kvm->state == KVM_RUNNING && is_held(cpu)))
		pthread_cond_wait(&kvm->changed, &kvm->lock);
	run = kvm->state == KVM_RUNNING;
	kvm->n_running += run;
	cpu->running = run;
	pthread_cond_broadcast(&kvm->changed);
	pthread_mutex_unlock(&kvm->lock);
	return run;
}

static void cpu_leave(struct kvm_cpu *cpu)
{
	struct kvm *kvm = cpu->kvm;

	pthread_mutex_lock(&kvm->lock);
	kvm->n_running--;
	cpu->running = false;
	pthread_cond_broadcast(&kvm->changed);
	pthread_mutex_unlock(&kvm->lock);
}

/*
 * A string instruction brings many elements in one exit: reads only on KVM, and no more than fill a
 * page. It is complete when KVM_RUN is called again, so a pause has to wait for all of them; after a
 * stop nobody will ever see the rest.
 */
static void exit_io(struct kvm_cpu *cpu)
{
	struct kvm_run *run = cpu->run;
	const bool write = run->io.direction == KVM_EXIT_IO_OUT;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	kvm_cpu_count(&cpu->stats.io);
	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (i && atomic_load_explicit(&cpu->kvm->stop, memory_order_relaxed))
			break;
		if (!bus_rw(&cpu->kvm->pio, run->io.port, data, run->io.size, write))
			continue;
		log_debug(LOG_IOPORT, "%s port 0x%x, %u bytes", write ? "write to" : "read of",
			  run->io.port, run->io.size);
	}
}

/* A KVM that emulates what it runs comes here for a device's memory that is gone: it may be there once it was mended. */
static int beside_rw(const struct kvm *kvm, gpa_t at, uint8_t *data, unsigned len, bool write)
{
	return write ? ram_beside_write(kvm->ram, at, data, len) : ram_beside_read(kvm->ram, at, data, len);
}

static void exit_mmio(struct kvm_cpu *cpu)
{
	struct kvm_run *run = cpu->run;
	const bool write = run->mmio.is_write;
	unsigned len = run->mmio.len;
	/* An access that crosses a page comes in two pieces of any length: devices see bytes then. */
	unsigned step = len & (len - 1) ? 1 : len;

	kvm_cpu_count(&cpu->stats.mmio);
	for (unsigned off = 0; off < len; off += step) {
		if (!bus_rw(&cpu->kvm->mmio, run->mmio.phys_addr + off, run->mmio.data + off, step, write) ||
		    !beside_rw(cpu->kvm, GPA(run->mmio.phys_addr + off), run->mmio.data + off, step, write))
			continue;
		log_debug(LOG_MMIO, "%s 0x%llx, %u bytes", write ? "write to" : "read of",
			  (unsigned long long)run->mmio.phys_addr + off, step);
	}
}

static void exit_system_event(struct kvm_cpu *cpu)
{
	switch (cpu->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		kvm_stop(cpu->kvm, STOP_POWEROFF, 0);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		kvm_stop(cpu->kvm, STOP_RESET, 0);
		break;
	case KVM_SYSTEM_EVENT_CRASH:
		kvm_stop(cpu->kvm, STOP_PANIC, 0);
		break;
	default:
		kvm_stop(cpu->kvm, STOP_FAULT, cpu->id);
	}
}

/* Everything that cannot be gone on from ends the VM; kvm_cpu_print_fault() tells what it was. */
void kvm_cpu_exit(struct kvm_cpu *cpu)
{
	kvm_cpu_count(&cpu->stats.exits);
	switch (cpu->run->exit_reason) {
	case KVM_EXIT_IO:
		exit_io(cpu);
		break;
	case KVM_EXIT_MMIO:
		exit_mmio(cpu);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_SET_TPR:
	case KVM_EXIT_IOAPIC_EOI:
		kvm_cpu_count(&cpu->stats.other);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		exit_system_event(cpu);
		break;
	case KVM_EXIT_DEBUG:
		kvm_trap(cpu);
		break;
	default:
		/* HLT is among these: with the in-kernel LAPIC KVM itself waits for the interrupt. */
		kvm_stop(cpu->kvm, STOP_FAULT, cpu->id);
	}
}

static void plain_loop(struct kvm_cpu *cpu)
{
	kvm_cpu_loop(cpu, kvm_cpu_exit);
}

static void cpu_thread(void *arg)
{
	struct kvm_cpu *cpu = arg;

	while (cpu_enter(cpu)) {
		cpu->loop(cpu);
		cpu_leave(cpu);
	}
}

static int pin(const struct kvm_cpu *cpu)
{
	const struct kvm *kvm = cpu->kvm;
	const unsigned host = kvm->n_pin ? kvm->pin[cpu->id % kvm->n_pin] : 0;
	int err = kvm->n_pin ? thread_pin(cpu->thread, host) : 0;

	return err ? log_err(err, "--pin: vCPU %u on the host's CPU %u", cpu->id, host) : 0;
}

int kvm_cpu_start(struct kvm_cpu *cpu)
{
	char name[16];
	int err;

	if (!cpu->loop)
		cpu->loop = plain_loop;
	snprintf(name, sizeof(name), "%u", cpu->id);
	err = thread_new(&vcpu_threads, name, cpu_thread, cpu, &cpu->thread);
	return err ? log_err(err, "start the thread of vCPU %u", cpu->id) : pin(cpu);
}

static const char *const internal_error[] = {
	[KVM_INTERNAL_ERROR_EMULATION] = "emulation failure",
	[KVM_INTERNAL_ERROR_SIMUL_EX] = "simultaneous exceptions",
	[KVM_INTERNAL_ERROR_DELIVERY_EV] = "event delivery failed",
	[KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "unexpected exit reason",
};

static void print_internal_error(FILE *out, const struct kvm_run *run)
{
	uint32_t sub = run->internal.suberror;
	const char *what = sub < ARRAY_SIZE(internal_error) ? internal_error[sub] : NULL;

	fprintf(out, "KVM internal error, suberror %u (%s)", sub, what ? what : "unknown");
}

/* What else KVM says about an internal error: words whose meaning depends on the suberror. */
static void print_internal_data(FILE *out, const struct kvm_cpu *cpu)
{
	const struct kvm_run *run = cpu->run;

	if (cpu->run_errno || run->exit_reason != KVM_EXIT_INTERNAL_ERROR || !run->internal.ndata)
		return;
	fprintf(out, "lkvm: vCPU %u: KVM's data:", cpu->id);
	for (uint32_t i = 0; i < run->internal.ndata && i < ARRAY_SIZE(run->internal.data); i++)
		fprintf(out, " 0x%llx", (unsigned long long)run->internal.data[i]);
	fputc('\n', out);
}

bool kvm_cpu_failed(const struct kvm_cpu *cpu)
{
	const uint32_t reason = cpu->run->exit_reason;

	return cpu->run_errno || reason == KVM_EXIT_INTERNAL_ERROR || reason == KVM_EXIT_FAIL_ENTRY;
}

bool kvm_cpu_triple_fault(const struct kvm_cpu *cpu)
{
	return !cpu->run_errno && cpu->run->exit_reason == KVM_EXIT_SHUTDOWN;
}

void kvm_cpu_print_reason(FILE *out, const struct kvm_cpu *cpu)
{
	const struct kvm_run *run = cpu->run;

	if (cpu->run_errno) {
		fprintf(out, "KVM_RUN: %s%s", strerror(cpu->run_errno),
			cpu->run_errno == EFAULT ? ": the guest has used memory which the host does not have" : "");
		return;
	}
	switch (run->exit_reason) {
	case KVM_EXIT_SHUTDOWN:
		fprintf(out, "triple fault");
		break;
	case KVM_EXIT_HLT:
		fprintf(out, "halted for ever");
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		print_internal_error(out, run);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		fprintf(out, "the CPU refused to enter the guest, hardware reason 0x%llx",
			(unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_UNKNOWN:
		fprintf(out, "unknown exit, hardware reason 0x%llx",
			(unsigned long long)run->hw.hardware_exit_reason);
		break;
	case KVM_EXIT_DEBUG:
		fprintf(out, "debug exception 0x%x at 0x%llx", run->debug.arch.exception,
			(unsigned long long)run->debug.arch.pc);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		fprintf(out, "system event %u", run->system_event.type);
		break;
	default:
		fprintf(out, "unhandled KVM exit reason %u", run->exit_reason);
	}
}

void kvm_cpu_print_fault(FILE *out, const struct kvm_cpu *cpu)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;

	fprintf(out, "lkvm: vCPU %u: ", cpu->id);
	kvm_cpu_print_reason(out, cpu);
	fputc('\n', out);
	print_internal_data(out, cpu);
	if (ioctl(cpu->fd, KVM_GET_REGS, &regs) || ioctl(cpu->fd, KVM_GET_SREGS, &sregs)) {
		fprintf(out, "lkvm: vCPU %u: its registers cannot be read: %s\n", cpu->id,
			strerror(errno));
		return;
	}
	if (kvm_cpu_triple_fault(cpu) && fault_after_reset(&regs, &sregs))
		fprintf(out, "lkvm: vCPU %u: this host's KVM does not keep the registers of a triple "
			     "fault; these are those after the reset that follows it\n", cpu->id);
	fault_print_regs(out, cpu->kvm->ram, cpu->id, &regs, &sregs);
}
