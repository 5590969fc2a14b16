/*
 * A machine: made in the order of steps[], ended in the opposite order; see lkvm/vm/vm.h.
 *
 * Start here. Each step is a few lines around the part that it makes; only this table calls an undo.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/event.h"
#include "lkvm/file.h"
#include "lkvm/ipc.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/log.h"
#include "lkvm/virtio-vsock.h"
#include "lkvm/vm/gdb.h"
#include "lkvm/x86/cpu.h"
#include "vm-internal.h"

#define BUILD_PATIENCE_MS 1000 /* of messages with a standard error that stands still */

/* ---- event loop ---- */

static void wake_ready(struct loop_source *src, uint32_t events)
{
	(void)events;
	loop_quit(&container_of(src, struct vm, wake)->loop);
}

int vm_make_loop(struct vm *vm)
{
	int err = loop_init(&vm->loop);

	return err ? log_err(err, "event loop") : 0;
}

void vm_undo_loop(struct vm *vm)
{
	loop_fini(&vm->loop);
}

/* ---- RAM ---- */

int vm_make_sizes(struct vm *vm)
{
	return run_choose_size(vm->cfg);
}

int vm_make_ram(struct vm *vm)
{
	uint64_t *bytes = &vm->cfg->ram.size_bytes;
	int err = kvm_check_ram_size(cpu_phys_bits_for(*bytes), *bytes);

	if (!err)
		err = ram_backing_open(&vm->backing, &vm->cfg->ram, *bytes);
	if (err)
		return err;
	err = ram_new(*bytes, &vm->backing, &vm->ram);
	if (err)
		return ram_backing_failed(&vm->backing, *bytes, err);
	if (vm->backing.refused[0])
		log_debug(LOG_RAM, "the host refused memory advice:%s", vm->backing.refused);
	if (vm->setup.clean_up)
		ram_fault_report(vm->ram, vm->setup.clean_up);
	return 0;
}

void vm_undo_ram(struct vm *vm)
{
	if (vm->setup.clean_up)
		ram_fault_report(NULL, NULL);
	ram_free(vm->ram);
	vm->ram = NULL;
	ram_backing_close(&vm->backing);
}

/* ---- VM ---- */

static int check_cpus(struct vm *vm)
{
	unsigned most = kvm_max_vcpus(&vm->kvm), good = kvm_recommended_vcpus(&vm->kvm);

	if (vm->cfg->cpus > most)
		return log_errx(-EINVAL, "Too many CPUs: %u (this host's KVM_CAP_MAX_VCPUS is %u)",
				vm->cfg->cpus, most);
	if (vm->cfg->cpus > good)
		log_warn("%u CPUs are more than this host's KVM_CAP_NR_VCPUS recommends (%u)",
			 vm->cfg->cpus, good);
	return 0;
}

static int make_vm(struct vm *vm)
{
	int err = kvm_open(&vm->kvm);

	if (err)
		return err;
	vm->wake = (struct loop_source){ vm->kvm.wake_fd, wake_ready };
	err = loop_add(&vm->loop, &vm->wake, EPOLLIN);
	return err ? log_err(err, "event loop") : check_cpus(vm);
}

static void undo_vm(struct vm *vm)
{
	kvm_close(&vm->kvm);
}

/* ---- memory slots, interrupt chips ---- */

static int make_irqchip(struct vm *vm)
{
	int err = kvm_map_ram(&vm->kvm, vm->ram);

	if (!err)
		err = kvm_create_irqchip(&vm->kvm);
	if (!err && topology_is_wide(&vm->cfg->topology))
		err = kvm_use_wide_ids(&vm->kvm, topology_max_apic_id(&vm->cfg->topology));
	return err ? err : kvm_irq_new(&vm->kvm, !vm->cfg->virtio_mmio, &vm->irq);
}

static void undo_irqchip(struct vm *vm)
{
	kvm_irq_free(vm->irq);
	vm->irq = NULL;
}

/* ---- control socket ---- */

static int make_socket(struct vm *vm)
{
	vm->control = (struct control){
		.vm = vm,
		.kvm = &vm->kvm,
		.platform = vm->platform,
		.console = vm->console,
		.session = vm->session,
		.config = vm->cfg,
		.start_ns = vm->result->start_ns,
	};
	if (vm->cfg->no_socket)
		return 0;
	return ipc_server_new(&vm->loop, vm->cfg->name, control_handle, &vm->control, &vm->ipc);
}

static void undo_socket(struct vm *vm)
{
	struct ipc_server *ipc = vm->ipc;

	control_end_dump(&vm->control);
	control_end_snapshot(&vm->control);
	control_end_consoles(&vm->control, vm->hurry_fd);
	control_end_linux(&vm->control);
	vm->ipc = NULL;
	ipc_server_free(ipc);
}

/* ---- boot ---- */

int vm_make_kernel(struct vm *vm)
{
	int err;

	if (vm->cfg->snapshot)
		return 0; /* it is in RAM, and runs */
	if (vm->setup.load)
		return vm->setup.load(vm->setup.ctx, vm->ram, &vm->entry);
	err = run_boot(vm->cfg, vm->ram, vm->virtio, session_boot_made(vm->session_boot), &vm->entry);
	return err ? err : run_note_kernel(vm->result, &vm->entry);
}

/* ---- vCPUs ---- */

static int make_cpus(struct vm *vm)
{
	struct kvm *kvm = &vm->kvm;
	int err = vm->cfg->snapshot ? vm_restore_cpuid(vm) :
				      cpuid_build(kvm->dev_fd, &vm->cfg->topology, &vm->cfg->cpu,
						  kvm->tsc_deadline, &vm->cpuid);

	if (err)
		return err;
	file_raise_limit();
	kvm->pin = vm->cfg->pin;
	kvm->n_pin = vm->cfg->n_pin;
	kvm->cpus = calloc(vm->cfg->cpus, sizeof(*kvm->cpus));
	if (!kvm->cpus)
		return log_err(-ENOMEM, "vCPUs");
	for (unsigned id = 0; !err && id < vm->cfg->cpus; id++) {
		kvm->n_cpus = id + 1;
		err = kvm_cpu_init(&kvm->cpus[id], kvm, id, topology_apic_id(&vm->cfg->topology, id));
	}
	return err;
}

static void undo_cpus(struct vm *vm)
{
	for (unsigned id = 0; id < vm->kvm.n_cpus; id++)
		kvm_cpu_fini(&vm->kvm.cpus[id]);
	free(vm->kvm.cpus);
	free(vm->cpuid);
	vm->kvm.cpus = NULL;
	vm->kvm.n_cpus = 0;
}

static int make_registers(struct vm *vm)
{
	const bool fresh = !vm->cfg->snapshot;
	int err = 0;

	for (unsigned id = 0; !err && id < vm->kvm.n_cpus; id++)
		err = regs_setup(vm->kvm.cpus[id].fd, id, &vm->cfg->topology, vm->cpuid,
				 vm->cfg->cpu.model, !id && fresh ? &vm->entry : NULL);
	return err || fresh ? err : vm_restore(vm);
}

/* ---- run ---- */

/* As one text, which like a message does not wait for ever for its reader. */
static int say_what(struct vm *vm)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int err = out ? vm_describe(vm, out) : -errno;

	if (out && fclose(out) && !err)
		err = -ENOMEM;
	if (!err)
		log_text(text, len);
	free(text);
	return err ? log_err(err, "description of the machine") : 0;
}

static int make_run(struct vm *vm)
{
	int err = vm->cfg->verbose ? say_what(vm) : 0;

	if (!err)
		err = console_start(vm->console);
	if (!err && vm->terminal)
		err = console_start(vm->terminal);
	if (!err)
		err = run_ttys_start(&vm->ttys, vm->cfg);
	if (!err && vm->cfg->snapshot)
		err = vm_session_restored(vm);
	/* A guest can make lkvm complain, and nobody may have to wait for who reads that. */
	log_set_patience(0);
	vm_gdb_before_run(vm);
	if (!err)
		err = vm_trace_begin(vm);
	if (!err)
		err = kvm_start(&vm->kvm);
	if (!err)
		vm_gdb_after_run(vm);
	if (!err)
		vm->result->boot_ns = now_ns();
	return err;
}

/* ---- all together ---- */

static const struct vm_step steps[] = {
	{ "event loop", vm_make_loop, vm_undo_loop, NOT_IF_HUNG },
	{ "trace's file", vm_make_trace_file, vm_undo_trace_file, NOT_IF_HUNG },
	{ "session's kernel", vm_make_session_boot, vm_undo_session_boot, NOT_IF_HUNG },
	{ "sizes", vm_make_sizes, NULL, NOT_IF_HUNG },
	{ "warm start", vm_make_warm, vm_undo_warm, NOT_IF_HUNG },
	{ "RAM", vm_make_ram, vm_undo_ram, NOT_IF_HUNG },
	{ "VM", make_vm, undo_vm, NOT_IF_HUNG },
	{ "memory slots, interrupt chips", make_irqchip, undo_irqchip, NOT_IF_HUNG },
	{ "vCPUs", make_cpus, undo_cpus, NOT_IF_HUNG },
	{ "watch", vm_make_watch, vm_undo_watch, NOT_IF_HUNG },
	{ "console", vm_make_console, vm_undo_console, NOT_IF_HUNG },
	{ "session", vm_make_session, vm_undo_session, NOT_IF_HUNG },
	{ "chips", vm_make_chips, vm_undo_chips, NOT_IF_HUNG },
	{ "report", NULL, vm_undo_report, HUNG_TOO },
	{ "console output", NULL, vm_undo_output, HUNG_TOO },
	{ "control socket", make_socket, undo_socket, HUNG_TOO },
	{ "screen", vm_make_screen, vm_undo_screen, NOT_IF_HUNG },
	{ "virtio devices", vm_make_virtio, vm_undo_virtio, NOT_IF_HUNG },
	{ "VNC", vm_make_vnc, vm_undo_vnc, NOT_IF_HUNG },
	{ "firmware", vm_make_firmware, vm_undo_firmware, NOT_IF_HUNG },
	{ "trace", vm_make_trace, vm_undo_trace, HUNG_TOO },
	{ "kernel", vm_make_kernel, NULL, NOT_IF_HUNG },
	{ "registers", make_registers, NULL, NOT_IF_HUNG },
	{ "time limits", vm_make_limits, vm_undo_limits, NOT_IF_HUNG },
	{ "debugger", vm_make_gdb, vm_undo_gdb, NOT_IF_HUNG },
	{ "run", make_run, vm_undo_run, HUNG_TOO },
};

int vm_make(struct vm *vm, const struct vm_step *table, unsigned n)
{
	int err = 0;

	vm->steps = table;
	while (!err && vm->n_made < n) {
		const struct vm_step *step = &table[vm->n_made++];

		vm->step = step->name;
		if (step->make)
			err = step->make(vm);
		if (err)
			log_debug(LOG_BOOT, "step '%s' failed", step->name);
	}
	return err;
}

static void undo(struct vm *vm)
{
	const struct vm_step *step = &vm->steps[--vm->n_made];

	vm->step = step->name;
	if (step->undo && (step->end == HUNG_TOO || !vm->result->hung))
		step->undo(vm);
}

/* A warm start is an attempt, of which nothing stays if it fails. */
static int build_cold(struct vm *vm)
{
	while (vm->steps[vm->n_made - 1].make != vm_make_warm)
		undo(vm);
	vm_warm_failed(vm);
	return vm_make(vm, steps, ARRAY_SIZE(steps) - 1);
}

int vm_build(struct vm *vm)
{
	int err;

	/* No time limit is there yet for a message whose reader stands still. */
	log_set_patience(BUILD_PATIENCE_MS);
	err = vm_make(vm, steps, ARRAY_SIZE(steps) - 1);
	if (err && vm_is_warm(vm))
		err = build_cold(vm);
	if (!err && vm->session_boot)
		session_boot_loaded(vm->session_boot);
	vm_warm_built(vm);
	return err;
}

int vm_run(struct vm *vm)
{
	int err = vm_make(vm, steps, ARRAY_SIZE(steps));

	if (err)
		return err;
	if (vm->setup.ready && !vm->session)
		vm->setup.ready(vm->setup.ctx);
	err = loop_run(&vm->loop);
	if (err)
		vm_stop(vm, STOP_HOST_ERROR, (uint32_t)-err);
	return 0;
}

int vm_end(struct vm *vm)
{
	vm_begin_end(vm);
	while (vm->n_made > 0)
		undo(vm);
	return vm->result->hung ? -EBUSY : 0;
}

int vm_new(const struct vm_setup *setup, struct vm **ret)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return log_err(-ENOMEM, "machine");
	vm->setup = *setup;
	vm->cfg = setup->config;
	vm->result = setup->result;
	vm->backing.fd = -1;
	vm->step = "start";
	vm->hurry_fd = event_open(0);
	if (vm->hurry_fd < 0) {
		int err = log_err(vm->hurry_fd, "eventfd");

		free(vm);
		return err;
	}
	*ret = vm;
	return 0;
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	close(vm->hurry_fd);
	free(vm);
}

struct loop *vm_loop(struct vm *vm)
{
	return &vm->loop;
}

struct kvm *vm_kvm(struct vm *vm)
{
	return &vm->kvm;
}

struct console *vm_console(struct vm *vm)
{
	return vm->terminal ? vm->terminal : vm->console;
}

void vm_stop(struct vm *vm, enum stop_cause cause, uint32_t value)
{
	kvm_stop(&vm->kvm, cause, value);
}

const char *vm_step(const struct vm *vm)
{
	return vm->step;
}

void vm_unlink_now(const struct vm *vm)
{
	if (vm->control.vsock)
		vsock_host_unlink_now(virtio_vsock_host(vm->control.vsock));
	vnc_unlink_now(vm->vnc);
	ipc_server_unlink_now(vm->ipc);
	vm_gdb_unlink_now(vm);
}
