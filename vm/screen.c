/* The guest's screen at the host's end: outputs, which its virtio-gpu draws on, and VNC viewers, who type and point. */
#include <errno.h>

#include "lkvm/log.h"
#include "lkvm/virtio-gpu.h"
#include "lkvm/virtio-input.h"
#include "lkvm/vnc.h"
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

/* ---- what viewers do; on their threads. A guest without a driver, or that takes nothing, misses it. ---- */

static int do_one(struct virtio_dev *dev, struct virtio_input_action action)
{
	return virtio_input_do(dev, &action, 1);
}

static void key(void *ctx, unsigned code, bool down)
{
	const struct vm *vm = ctx;
	const struct virtio_input_action action = { .what = VIRTIO_INPUT_KEY, .code = code, .down = down };

	if (do_one(vm->control.keyboard, action) == -EINVAL) /* of the mouse, then */
		do_one(vm->control.tablet, action);
}

static void point(void *ctx, unsigned x, unsigned y, unsigned width, unsigned height)
{
	const struct vm *vm = ctx;

	do_one(vm->control.tablet, (struct virtio_input_action){ .what = VIRTIO_INPUT_POINT,
								 .x = (int)virtio_input_axis(x, width),
								 .y = (int)virtio_input_axis(y, height) });
}

static void wheel(void *ctx, int right, int up)
{
	const struct vm *vm = ctx;

	do_one(vm->control.tablet, (struct virtio_input_action){ .what = VIRTIO_INPUT_WHEEL, .x = right, .y = up });
}

static unsigned within(unsigned size)
{
	return size < VIRTIO_GPU_SIZE_LEAST ? VIRTIO_GPU_SIZE_LEAST : size > VIRTIO_GPU_SIZE_MOST ? VIRTIO_GPU_SIZE_MOST : size;
}

static void resize(void *ctx, unsigned width, unsigned height)
{
	const struct vm *vm = ctx;

	virtio_gpu_resize(virtio_list_gpu(vm->virtio), 0, within(width), within(height));
}

int vm_make_vnc(struct vm *vm)
{
	static const struct vnc_hands hands = { key, point, wheel, resize };
	const struct vnc_setup setup = {
		.options = &vm->cfg->vnc,
		.title = vm->cfg->name,
		.display = vm->display,
		.loop = &vm->loop,
		.hands = &hands,
		.hands_ctx = vm,
	};
	int err = vm->cfg->vnc.wanted ? vnc_new(&setup, &vm->vnc) : 0;

	vm->control.vnc = vm->vnc;
	return err;
}

void vm_undo_vnc(struct vm *vm)
{
	vm->control.vnc = NULL;
	vnc_free(vm->vnc);
	vm->vnc = NULL;
}
