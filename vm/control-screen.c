/* The guest's screen, for who asks for a picture of it; see control.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/display.h"
#include "lkvm/json.h"
#include "vm-internal.h"

/* To write it waits for nobody: that it can be sealed says what it is. */
static bool is_memory(int fd)
{
	return fcntl(fd, F_GET_SEALS) >= 0;
}

static int write_all(int fd, const struct display_image *image)
{
	const size_t bytes = (size_t)image->width * image->height * DISPLAY_PIXEL_BYTES;
	size_t done = 0;

	while (done < bytes) {
		const ssize_t n = pwrite(fd, image->pixels + done, bytes - done, (off_t)done);

		if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int copy_to(int fd, struct display *display, uint32_t output, struct ipc_screen_end *ret)
{
	struct display_image image = { 0 };
	int err;

	if (!is_memory(fd))
		return -EINVAL;
	err = display_copy(display, output, &image);
	if (err)
		return err;
	*ret = (struct ipc_screen_end){ image.width, image.height };
	err = write_all(fd, &image);
	display_image_free(&image);
	return err;
}

int control_screen(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	struct ipc_screen_end end;
	struct ipc_screen req;
	int fd, err;

	memcpy(&req, body, sizeof(req));
	if (!ctl->display)
		return -ENODEV;
	if (req.output >= display_outputs(ctl->display))
		return -ENXIO;
	fd = ipc_take_fd(reply->to, 0);
	if (fd < 0)
		return -EINVAL;
	err = copy_to(fd, ctl->display, req.output, &end);
	close(fd);
	if (err)
		return err;
	memcpy(reply->body, &end, sizeof(end));
	reply->len = sizeof(end);
	return 0;
}

void control_screen_text(const struct control *ctl, FILE *out)
{
	uint32_t width, height;

	for (unsigned i = 0; ctl->display && i < display_outputs(ctl->display); i++)
		if (display_size(ctl->display, i, &width, &height))
			fprintf(out, "screen:   output %u shows %ux%u\n", i, width, height);
		else
			fprintf(out, "screen:   output %u is off\n", i);
	if (ctl->vnc)
		fprintf(out, "VNC:      %s, %u viewers\n", vnc_where(ctl->vnc), vnc_viewers(ctl->vnc));
}

void control_screen_json(const struct control *ctl, struct json *json)
{
	uint32_t width, height;

	json_array(json, "screen");
	for (unsigned i = 0; ctl->display && i < display_outputs(ctl->display); i++) {
		const bool on = display_size(ctl->display, i, &width, &height);

		json_object(json, NULL);
		json_bool(json, "on", on);
		json_u64(json, "width", width);
		json_u64(json, "height", height);
		json_end(json);
	}
	json_end(json);
	if (!ctl->vnc)
		return;
	json_object(json, "vnc");
	json_str(json, "address", vnc_where(ctl->vnc));
	json_u64(json, "viewers", vnc_viewers(ctl->vnc));
	json_end(json);
}
