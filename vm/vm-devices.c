/* Steps of a machine (steps[] of vm.c): its chips and its virtio devices. */
#include "vm-internal.h"

static struct board interrupts(const struct vm *vm)
{
	return vm->irq ? kvm_irq_board(vm->irq) : run_no_board();
}

int vm_make_chips(struct vm *vm)
{
	/* With a virtio console further terminals are its ports. */
	struct console *const first[CONFIG_TTYS] = { vm->console };
	const struct platform_env env = {
		.config = vm->cfg,
		.kvm = &vm->kvm,
		.board = interrupts(vm),
		.loop = &vm->loop,
		.console = vm->cfg->console_virtio ? first : vm->ttys.console,
	};

	return platform_new(&env, &vm->platform);
}

void vm_undo_chips(struct vm *vm)
{
	platform_free(vm->platform);
	vm->platform = NULL;
}

static bool mend(void *ctx)
{
	return virtio_list_mend(ctx);
}

static void mend_for_device(void *ctx)
{
	virtio_list_mend(ctx);
}

int vm_make_virtio(struct vm *vm)
{
	const struct virtio_env env = {
		.config = vm->cfg,
		.ram = vm->ram,
		.pio = &vm->kvm.pio,
		.mmio = &vm->kvm.mmio,
		.board = interrupts(vm),
		.console = vm->ttys.console,
		.session = session_port(vm->session),
		.display = vm->display,
		.to_be_shown = vm->cfg->dry_run,
	};
	int err = virtio_list_new(&env, &vm->virtio);

	if (err)
		return err;
	vm->control.vsock = virtio_list_vsock(vm->virtio);
	vm->kvm.mend_ctx = vm->virtio;
	vm->kvm.mend = mend;
	ram_beside_mend(vm->ram, mend_for_device, vm->virtio);
	vm->control.balloon = virtio_list_balloon(vm->virtio);
	vm->control.mem = virtio_list_mem(vm->virtio);
	vm->control.keyboard = virtio_list_keyboard(vm->virtio);
	vm->control.tablet = virtio_list_tablet(vm->virtio);
	return 0;
}

void vm_undo_virtio(struct vm *vm)
{
	control_end_balloon(&vm->control);
	control_end_mem(&vm->control);
	vm->control.vsock = vm->control.balloon = vm->control.mem = NULL;
	vm->control.keyboard = vm->control.tablet = NULL;
	virtio_list_free(vm->virtio);
	vm->virtio = NULL;
}
