/*
 * A machine that is only shown: the parts of a real one that need neither KVM nor anything that others
 * could see; see lkvm/vm/vm.h.
 */
#include <errno.h>

#include "lkvm/log.h"
#include "vm-internal.h"

int vm_describe(struct vm *vm, FILE *out)
{
	const struct control control = { .kvm = &vm->kvm, .config = vm->cfg };

	run_describe(out, &control, &vm->entry, vm->result->cmdline);
	if (fflush(out))
		return -errno;
	return ferror(out) ? -EIO : 0;
}

/* Room for what start-up puts there; where the guest's would come from stays untouched. */
static int show_ram(struct vm *vm)
{
	struct ram_config asked = vm->cfg->ram;
	int err;

	vm->cfg->ram = (struct ram_config){ .size_bytes = asked.size_bytes, .region = asked.region };
	err = vm_make_ram(vm);
	vm->cfg->ram = asked;
	return err;
}

static int show_vm(struct vm *vm)
{
	vm->kvm = (struct kvm){ .dev_fd = -1, .vm_fd = -1, .wake_fd = -1 };
	bus_init(&vm->kvm.pio);
	bus_init(&vm->kvm.mmio);
	kvm_slots_init(&vm->kvm);
	return kvm_map_ram(&vm->kvm, vm->ram);
}

static void undo_show_vm(struct vm *vm)
{
	kvm_slots_fini(&vm->kvm);
	bus_fini(&vm->kvm.pio);
	bus_fini(&vm->kvm.mmio);
}

static int show_console(struct vm *vm)
{
	const struct console_config cfg = { .in_fd = -1, .out_fd = -1, .loop = &vm->loop };
	int err = console_new(&cfg, &vm->console);

	vm->ttys.console[0] = vm->console;
	return err;
}

static void undo_show_console(struct vm *vm)
{
	console_free(vm->console);
}

static const struct vm_step shown[] = {
	{ "event loop", vm_make_loop, vm_undo_loop, NOT_IF_HUNG },
	{ "session's kernel", vm_make_session_boot, vm_undo_session_boot, NOT_IF_HUNG },
	{ "sizes", vm_make_sizes, NULL, NOT_IF_HUNG },
	{ "RAM", show_ram, vm_undo_ram, NOT_IF_HUNG },
	{ "VM", show_vm, undo_show_vm, NOT_IF_HUNG },
	{ "console", show_console, undo_show_console, NOT_IF_HUNG },
	{ "chips", vm_make_chips, vm_undo_chips, NOT_IF_HUNG },
	{ "screen", vm_make_screen, vm_undo_screen, NOT_IF_HUNG },
	{ "virtio devices", vm_make_virtio, vm_undo_virtio, NOT_IF_HUNG },
	{ "firmware", vm_make_firmware, vm_undo_firmware, NOT_IF_HUNG },
	{ "kernel", vm_make_kernel, NULL, NOT_IF_HUNG },
};

int vm_show(struct vm *vm, FILE *out)
{
	int err = vm_make(vm, shown, ARRAY_SIZE(shown));

	if (err)
		return err;
	err = vm_describe(vm, out);
	return err ? log_err(err, "write 'standard output'") : 0;
}
