/* The guest's keyboard and pointer, for who types and clicks from the command line; see control.h. */
#include <errno.h>
#include <string.h>

#include "lkvm/display.h"
#include "lkvm/types.h"
#include "lkvm/virtio-input.h"
#include "vm-internal.h"

/* Return: 0 or as IPC_INPUT says */
static int place(struct display *display, uint32_t output, const struct ipc_input_event *e, struct virtio_input_action *ret)
{
	uint32_t width, height;

	if (output >= display_outputs(display))
		return -ENXIO;
	if (!display_size(display, output, &width, &height))
		return -ENODATA;
	if (e->x >= width || e->y >= height)
		return -EINVAL;
	*ret = (struct virtio_input_action){ .what = VIRTIO_INPUT_POINT,
					     .x = (int)virtio_input_axis(e->x, width),
					     .y = (int)virtio_input_axis(e->y, height) };
	return 0;
}

int control_input(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	struct virtio_input_action action[IPC_INPUT_EVENTS];
	struct ipc_input req;

	(void)reply;
	memcpy(&req, body, sizeof(req));
	if (!ctl->keyboard || !ctl->tablet || !ctl->display)
		return -ENODEV;
	if (req.n > ARRAY_SIZE(action))
		return -EINVAL;
	for (uint32_t i = 0; i < req.n; i++) {
		const struct ipc_input_event *e = &req.event[i];
		int err;

		action[i] = (struct virtio_input_action){ .what = VIRTIO_INPUT_KEY, .code = e->code, .down = e->down };
		err = e->code ? 0 : place(ctl->display, req.output, e, &action[i]);
		if (err)
			return err;
	}
	return virtio_input_do(req.tablet ? ctl->tablet : ctl->keyboard, action, req.n);
}
