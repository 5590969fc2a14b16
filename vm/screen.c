/* The guest's screen at the host's end: outputs, which its virtio-gpu draws on, and who looks at them. */
#include <errno.h>

#include "lkvm/log.h"
#include "vm-internal.h"

int vm_make_screen(struct vm *vm)
{
	const struct vm_config *cfg = vm->cfg;
	int err = cfg->has_gpu ? display_new(cfg->gpu.outputs ? cfg->gpu.outputs : 1, &vm->display) : 0;

	vm->control.display = vm->display;
	return err ? log_err(err, "screen") : 0;
}

void vm_undo_screen(struct vm *vm)
{
	vm->control.display = NULL;
	display_free(vm->display);
	vm->display = NULL;
}
