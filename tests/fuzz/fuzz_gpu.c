/* Links: virtio/gpu.o virtio/state.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o hw/state.o util/event.o util/log.o util/loop.o util/keys.o util/options.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/*
 * Requests of any kind to virtio-gpu, and its configuration, one after the other; sizes, numbers and rectangles are
 * mostly such as can be. The first byte is the features; then of each step a byte for what is done.
 *
 * Beside what the sanitizers find: a viewer's image is that of the display, and a device that stands still can be
 * saved, and loaded from that.
 */
#include <endian.h>
#include <linux/virtio_gpu.h>

#include "../unit/fake-driver.h"
#include "hold.h"
#include "input.h"
#include "lkvm/virtio-gpu.h"

#define RAM_MIB 2
#define OUTPUTS 2
#define AREA    0x100000U

static struct fake_driver d;
static struct virtio_dev *dev;
static struct display *display;
static struct display_view view[OUTPUTS];
static struct display_image image[OUTPUTS];
static gpa_t req_at, resp_at;
static uint64_t mark;

static void set_up(void)
{
	static const struct virtio_gpu_options options = { .packed = true, .outputs = OUTPUTS };

	fake_init(&d, RAM_MIB);
	check(!display_new(OUTPUTS, &display));
	check(!virtio_gpu_new(d.ram, "gpu0", display, &options, &dev));
	fake_attach(&d, dev);
	for (unsigned i = 0; i < OUTPUTS; i++)
		display_view_open(display, i, -1, &view[i]);
	req_at = fake_alloc(&d, 4096, 8);
	resp_at = fake_alloc(&d, 4096, 8);
	mark = d.next;
}

static void probe(unsigned how)
{
	d.next = mark;
	check(fake_probe(&d, dev->device_features & ~((uint64_t)(how & 2) | (how & 1 ? FAKE_PACKED : 0) |
						      (how & 4 ? FAKE_INDIRECT : 0) | (how & 8 ? FAKE_EVENT_IDX : 0)), 16));
}

static uint32_t some_number(struct input *input)
{
	static const uint32_t odd[] = { 0, 1, 63, 64, 65, 16384, 16385, 0x7fffffff, 0x80000000, UINT32_MAX };
	const unsigned a = input_byte(input);

	return a < 200 ? a % 70 : odd[a % 10];
}

static struct virtio_gpu_rect some_rect(struct input *input)
{
	return (struct virtio_gpu_rect){ some_number(input), some_number(input), some_number(input), some_number(input) };
}

static uint32_t some_id(struct input *input)
{
	return input_byte(input) % 6;
}

static uint32_t some_format(struct input *input)
{
	static const uint8_t formats[] = { 1, 2, 3, 4, 67, 68, 121, 134, 0 };

	return formats[input_byte(input) % sizeof(formats)];
}

union request {
	struct virtio_gpu_ctrl_hdr hdr;
	struct virtio_gpu_resource_create_2d create;
	struct virtio_gpu_set_scanout scanout;
	struct virtio_gpu_resource_flush flush;
	struct virtio_gpu_transfer_to_host_2d transfer;
	struct virtio_gpu_resource_unref unref;
	struct virtio_gpu_cmd_get_edid edid;
	struct virtio_gpu_update_cursor cursor;
	struct {
		struct virtio_gpu_resource_attach_backing head;
		struct virtio_gpu_mem_entry entry[8];
	} attach;
	struct {
		struct virtio_gpu_resource_create_blob head;
		struct virtio_gpu_mem_entry entry[4];
	} blob;
	struct virtio_gpu_set_scanout_blob scanout_blob;
	uint8_t bytes[256];
};

static void fill_attach(struct input *input, union request *req)
{
	const unsigned n = input_byte(input);

	req->attach.head.resource_id = some_id(input);
	req->attach.head.nr_entries = n < 250 ? n % 9 : UINT32_MAX - n;
	for (unsigned i = 0; i < n % 9 && i < 8; i++) {
		const unsigned at = input_byte(input);

		req->attach.entry[i].addr = at < 250 ? AREA + at * 1000 : UINT64_MAX - at;
		req->attach.entry[i].length = input_be(input, 2);
	}
}

static void fill_blob(struct input *input, union request *req)
{
	const unsigned n = input_byte(input);

	req->blob.head.resource_id = some_id(input);
	req->blob.head.blob_mem = n < 240 ? VIRTIO_GPU_BLOB_MEM_GUEST : n;
	req->blob.head.nr_entries = n % 4;
	req->blob.head.size = n & 0x10 ? input_le(input, 8) : some_number(input) * 400ULL;
	for (unsigned i = 0; i < n % 4; i++) {
		req->blob.entry[i].addr = AREA + input_byte(input) * 1000;
		req->blob.entry[i].length = input_be(input, 2);
	}
}

/* Return: the queue */
static unsigned fill(struct input *input, union request *req)
{
	const unsigned what = input_byte(input) % 15;

	req->hdr.type = VIRTIO_GPU_CMD_GET_DISPLAY_INFO + what;
	req->hdr.flags = input_byte(input) & 1;
	switch (req->hdr.type) {
	case VIRTIO_GPU_CMD_RESOURCE_CREATE_2D:
		req->create.resource_id = some_id(input);
		req->create.format = some_format(input);
		req->create.width = some_number(input);
		req->create.height = some_number(input);
		break;
	case VIRTIO_GPU_CMD_SET_SCANOUT:
		req->scanout.r = some_rect(input);
		req->scanout.scanout_id = input_byte(input) % 3;
		req->scanout.resource_id = some_id(input);
		break;
	case VIRTIO_GPU_CMD_RESOURCE_FLUSH:
		req->flush.r = some_rect(input);
		req->flush.resource_id = some_id(input);
		break;
	case VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D:
		req->transfer.r = some_rect(input);
		req->transfer.offset = input_byte(input) & 1 ? input_le(input, 8) : some_number(input) * 4ULL;
		req->transfer.resource_id = some_id(input);
		break;
	case VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING:
		fill_attach(input, req);
		break;
	case VIRTIO_GPU_CMD_RESOURCE_UNREF:
	case VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING:
		req->unref.resource_id = some_id(input);
		break;
	case VIRTIO_GPU_CMD_GET_EDID:
		req->edid.scanout = some_id(input);
		break;
	case VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB:
		fill_blob(input, req);
		break;
	case VIRTIO_GPU_CMD_SET_SCANOUT_BLOB:
		req->scanout_blob.r = some_rect(input);
		req->scanout_blob.scanout_id = input_byte(input) % 3;
		req->scanout_blob.resource_id = some_id(input);
		req->scanout_blob.width = some_number(input);
		req->scanout_blob.height = some_number(input);
		req->scanout_blob.format = some_format(input);
		req->scanout_blob.strides[0] = some_number(input) * 4;
		req->scanout_blob.offsets[0] = some_number(input);
		break;
	case VIRTIO_GPU_CMD_GET_DISPLAY_INFO + 14: /* which there is not: a cursor instead */
		req->hdr.type = VIRTIO_GPU_CMD_UPDATE_CURSOR + (input_byte(input) & 1);
		req->cursor.pos.scanout_id = input_byte(input) % 3;
		req->cursor.pos.x = some_number(input);
		req->cursor.resource_id = some_id(input);
		req->cursor.hot_x = some_number(input);
		req->cursor.hot_y = some_number(input);
		return 1;
	default:
		break;
	}
	return 0;
}

static void request(struct input *input)
{
	const unsigned how = input_byte(input);
	union request req = { .bytes = { 0 } };
	const unsigned queue = fill(input, &req);
	const uint32_t bytes = how & 0x10 ? sizeof(req) : input_byte(input);
	const struct fake_buf bufs[] = {
		FAKE_OUT(req_at, bytes < 20 ? bytes : 20),
		FAKE_OUT(GPA(req_at.v + 20), bytes < 20 ? 0 : bytes - 20),
		FAKE_IN(resp_at, how & 0x20 ? input_byte(input) : 2048),
	};

	memcpy(fake_at(&d, req_at), &req, sizeof(req));
	fake_request(&d, queue ^ (how & 0x40 && how & 0x80), bufs, 3);
}

static void other(struct input *input)
{
	const unsigned off = input_byte(input) % 20, width = 1U << input_byte(input) % 4;

	switch (input_byte(input) % 4) {
	case 0:
		virtio_config_write(dev, off, width, input_le(input, 8));
		break;
	case 1:
		virtio_config_read(dev, off, width);
		break;
	default:
		virtio_gpu_resize(dev, off, some_number(input), some_number(input));
	}
}

static void look(void)
{
	for (unsigned i = 0; i < OUTPUTS; i++) {
		struct display_image now = { 0 };
		struct display_update up;

		check(!display_view_take(&view[i], &image[i], NULL, &up));
		check(up.n <= DISPLAY_VIEW_RECTS);
		if (display_copy(display, i, &now)) {
			check(!image[i].pixels);
			continue;
		}
		check(now.width == image[i].width && now.height == image[i].height);
		check(!memcmp(now.pixels, image[i].pixels, (size_t)now.width * now.height * 4));
		display_image_free(&now);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, data + size };
	unsigned features;

	if (!d.ram)
		set_up();
	features = input_byte(&input);
	probe(features);
	for (unsigned steps = 0; input.at < input.end && steps < 64; steps++) {
		const unsigned what = input_byte(&input);

		if (dev->needs_reset)
			probe(features);
		if (what < 230)
			request(&input);
		else
			other(&input);
		if (what % 8 == 0)
			look();
	}
	look();
	if (features & 0x80) {
		save_and_load(dev);
		look(); /* where an output was not drawn again its resource may be newer */
	}
	return 0;
}
