/* Links: virtio/gpu.o virtio/state.o virtio/pci.o virtio/pci-common.o virtio/mmio.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/pci-state.o hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o hw/ram.o hw/state.o hw/state-show.o util/event.o util/json.o util/log.o util/loop.o util/keys.o util/options.o tests/unit/fake-driver.o tests/unit/fake-ring.o */
#include "../../virtio/gpu-internal.h"
#include "gpu-driver.h"
#include "virtio-machine.h"

#define EDID   (1ULL << VIRTIO_GPU_F_EDID)
#define OK     VIRTIO_GPU_RESP_OK_NODATA
#define AREA   0x200000ULL
#define WIDTH  300U /* more than a piece of pixels */
#define HEIGHT 100U

static struct display *display;
static bool with_framebuffer;

static struct virtio_dev *make(const struct ram *ram)
{
	const struct virtio_gpu_options options = { .packed = true, .outputs = 2, .framebuffer = with_framebuffer };
	struct virtio_dev *d;

	ck_assert_int_eq(display_new(2, &display), 0);
	ck_assert_int_eq(virtio_gpu_new(ram, "gpu0", display, &options, &d), 0);
	return d;
}

static void unmake(struct virtio_dev *d)
{
	virtio_gpu_free(d);
	display_free(display);
}

static const struct machine_device device = { make, unmake };
static const uint64_t formats[] = { 0, FAKE_EVENT_IDX, FAKE_PACKED | FAKE_EVENT_IDX };

static uint32_t gpu_do(unsigned queue, const void *req, size_t bytes, void *resp, size_t resp_bytes)
{
	const struct fake_buf bufs[] = { FAKE_OUT(GPA(0x100), (uint32_t)bytes), FAKE_IN(GPA(0x800), (uint32_t)resp_bytes) };
	struct virtio_gpu_ctrl_hdr hdr;

	memcpy(fake_at(&drv, GPA(0x100)), req, bytes);
	ck_assert_uint_eq(machine_request(queue, bufs, 2), resp_bytes);
	memcpy(resp, fake_at(&drv, GPA(0x800)), resp_bytes);
	memcpy(&hdr, resp, sizeof(hdr));
	return le32toh(hdr.type);
}

static void draw(uint32_t seed)
{
	uint32_t *pixels = fake_at(&drv, GPA(AREA));

	for (uint32_t i = 0; i < WIDTH * HEIGHT; i++)
		pixels[i] = i < 1000 || i > 28000 ? htole32(seed + i) : 0;
}

static void use_all(void)
{
	static const uint64_t pieces[][2] = { { AREA, 1000 }, { AREA + 1000, WIDTH * HEIGHT * 4 - 1000 } };

	ck_assert_uint_eq(gpu_make(7, VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM, WIDTH, HEIGHT), OK);
	ck_assert_uint_eq(gpu_make(7 + 256, VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM, 64, 64), OK);
	ck_assert_uint_eq(gpu_attach_to(7, pieces, 2), OK);
	ck_assert_uint_eq(gpu_attach_to(7 + 256, pieces, 0), OK);
	ck_assert_uint_eq(gpu_scanout_of(1, 7, 0, 0, WIDTH, HEIGHT), OK);
	ck_assert_uint_eq(gpu_cursor_to(VIRTIO_GPU_CMD_UPDATE_CURSOR, 1, 7 + 256, 5, 6, 7, 8), OK);
	virtio_gpu_resize(dev, 1, 555, 444);
}

static void expect_shown(uint32_t seed)
{
	struct display_image image;
	unsigned bad = 0;

	ck_assert_int_eq(display_copy(display, 0, &image), -ENODATA);
	ck_assert_int_eq(display_copy(display, 1, &image), 0);
	ck_assert(image.width == WIDTH && image.height == HEIGHT);
	for (uint32_t i = 0; i < WIDTH * HEIGHT; i++)
		bad += le32toh(((uint32_t *)(void *)image.pixels)[i]) != (i < 1000 || i > 28000 ? seed + i : 0);
	ck_assert_uint_eq(bad, 0);
	display_image_free(&image);
}

START_TEST(test_goes_on)
{
	for (unsigned f = 0; f < ARRAY_SIZE(formats) * MACHINE_KINDS; f++) {
		machine_new(&device, f % MACHINE_KINDS, 4);
		machine_probe(formats[f / MACHINE_KINDS] | EDID, 8);
		use_all();
		for (uint32_t i = 0; i < 4; i++) {
			draw(0x10000 * i);
			ck_assert_uint_eq(gpu_transfer_of(7, 0, 0, WIDTH, HEIGHT, 0), OK);
			ck_assert_uint_eq(gpu_flush_of(7, 0, 0, WIDTH, HEIGHT), OK);
			machine_restore();
			expect_shown(0x10000 * i);
			ck_assert_uint_eq(virtio_config_read(dev, 0, 4), VIRTIO_GPU_EVENT_DISPLAY);
			ck_assert_uint_eq(gpu_make(7, VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM, 1, 1),
					  VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID);
		}
		/* Of no cursor the hot spot is not looked at. */
		ck_assert_uint_eq(gpu_cursor_to(VIRTIO_GPU_CMD_UPDATE_CURSOR, 0, 0, 5, 6, 0x4000, UINT32_MAX), OK);
		ck_assert_uint_eq(gpu_unref(7), OK);
		ck_assert_uint_eq(gpu_detach_of(7 + 256), OK);
		machine_restore();
		ck_assert_uint_eq(gpu_unref(7), VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID);
		machine_free();
	}
}
END_TEST

static uint32_t *framebuffer(unsigned pixel)
{
	return (uint32_t *)dev->shm.host + pixel;
}

static uint32_t shown(unsigned pixel)
{
	struct display_image image;
	uint32_t p;

	ck_assert_int_eq(display_copy(display, 0, &image), 0);
	memcpy(&p, image.pixels + 4 * (size_t)pixel, 4);
	display_image_free(&image);
	return p;
}

/* Before the driver, and behind it: what the guest has written is still there. */
START_TEST(test_framebuffer)
{
	const unsigned last = 1024 * 768 - 1, behind = 1024 * 1024 - 1;

	with_framebuffer = true;
	machine_new(&device, MACHINE_PCI, 4);
	machine_probe(EDID, 8);
	*framebuffer(5) = 0x111111;
	*framebuffer(last) = 0x222222;
	*framebuffer(behind) = 0x333333;
	for (int i = 0; i < 2; i++) {
		machine_restore();
		ck_assert_uint_eq(*framebuffer(5), 0x111111);
		ck_assert_uint_eq(*framebuffer(behind), 0x333333);
		ck_assert_uint_eq(shown(last), 0x222222);
		*framebuffer(6) = 0x444444;
		ck_assert_uint_eq(shown(6), 0x444444);
	}
	ck_assert_uint_eq(gpu_make(1, VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM, WIDTH, HEIGHT), OK);
	ck_assert_uint_eq(gpu_scanout_of(0, 1, 0, 0, WIDTH, HEIGHT), OK);
	machine_restore();
	ck_assert_uint_eq(shown(5), 0);
	ck_assert_uint_eq(*framebuffer(5), 0x111111);
	ck_assert_uint_eq(gpu_scanout_of(0, 0, 0, 0, 0, 0), OK);
	machine_restore();
	ck_assert_int_eq(display_copy(display, 0, &(struct display_image){ 0 }), -ENODATA);
	hold(dev);
	ck_assert_int_eq(machine_load_field("framebuffer_shown", 1), 0);
	ck_assert_uint_eq(shown(5), 0x111111);
	virtio_dev_hold_end(dev);
	machine_free();
	with_framebuffer = false;
}
END_TEST

/* The same where it is another's */
START_TEST(test_backdrop)
{
	static uint32_t memory[30 * 20] = { 0x111111 };
	const struct display_backdrop backdrop = { 30, 20, 30 * 4, (uint8_t *)memory };

	machine_new(&device, MACHINE_PCI, 4);
	machine_probe(EDID, 8);
	ck_assert_int_eq(display_backdrop(display, 0, &backdrop), 0);
	machine_restore();
	ck_assert_int_eq(display_backdrop(display, 0, &backdrop), 0);
	ck_assert_uint_eq(shown(0), 0x111111);
	ck_assert_uint_eq(gpu_scanout_of(0, 0, 0, 0, 0, 0), OK);
	ck_assert_uint_eq(shown(0), 0x111111);
	ck_assert_uint_eq(gpu_make(1, VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM, WIDTH, HEIGHT), OK);
	ck_assert_uint_eq(gpu_scanout_of(0, 1, 0, 0, WIDTH, HEIGHT), OK);
	machine_restore();
	ck_assert_int_eq(display_backdrop(display, 0, &backdrop), 0);
	ck_assert_uint_eq(shown(0), 0);
	ck_assert_uint_eq(gpu_scanout_of(0, 0, 0, 0, 0, 0), OK);
	ck_assert_int_eq(display_copy(display, 0, &(struct display_image){ 0 }), -ENODATA);
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(shown(0), 0x111111);
	machine_free();
}
END_TEST

START_TEST(test_blob)
{
	machine_new(&device, MACHINE_PCI, 4);
	machine_probe(EDID | 1ULL << VIRTIO_GPU_F_RESOURCE_BLOB, 8);
	((uint32_t *)fake_at(&drv, GPA(AREA)))[5] = htole32(0x123456);
	ck_assert_uint_eq(gpu_make_blob(3, VIRTIO_GPU_BLOB_MEM_GUEST, 0x10000, AREA, 0x10000), OK);
	ck_assert_uint_eq(gpu_make_blob(4, VIRTIO_GPU_BLOB_MEM_GUEST, 0x10000, 0, 0), OK);
	ck_assert_uint_eq(gpu_scanout_blob(0, 3, (struct gpu_blob_scanout){ 1, 0, 10, 1, VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM, 11, 1, 44, 0 }),
			  OK);
	ck_assert_uint_eq(gpu_cursor_to(VIRTIO_GPU_CMD_UPDATE_CURSOR, 1, 3, 5, 6, 7, 8), OK);
	for (int i = 0; i < 2; i++) {
		machine_restore();
		ck_assert_uint_eq(shown(4), 0x123456);
		ck_assert_uint_eq(gpu_flush_of(3, 0, 0, 11, 1), OK);
		ck_assert_uint_eq(gpu_flush_of(3, 0, 0, 12, 1), VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER);
		ck_assert_uint_eq(gpu_detach_of(4), VIRTIO_GPU_RESP_ERR_UNSPEC);
	}
	/* Its memory may have been taken away while it was shown. */
	ck_assert_uint_eq(gpu_detach_of(3), OK);
	machine_restore();
	ck_assert_uint_eq(gpu_flush_of(3, 0, 0, 11, 1), VIRTIO_GPU_RESP_ERR_UNSPEC);
	hold(dev);
	ck_assert_int_eq(machine_load_field("stride", 43), 0); /* that stands in front of the resources it is judged by */
	virtio_dev_hold_end(dev);
	machine_free();
}
END_TEST

/* Of each kind of record */
START_TEST(test_tables)
{
	state_test_table(&gpu_state_type);
	state_test_table(&gpu_resource_state_type);
	state_test_table(&gpu_entries_state_type);
	state_test_table(&gpu_pixels_state_type);
}
END_TEST

static void use(void *object)
{
	(void)object;
}

START_TEST(test_hostile)
{
	machine_new(&device, MACHINE_PCI, 4);
	machine_probe(EDID, 8);
	machine_test_hostile(dev->type->state, dev, use);
	hold(dev);
	ck_assert_int_eq(machine_load_field("outputs", 1), -ENODEV);
	ck_assert_int_eq(machine_load_field("width", VIRTIO_GPU_SIZE_LEAST - 1), -ERANGE);
	virtio_dev_hold_end(dev);
	machine_free();
}
END_TEST

/* Every byte of the whole record that is another, and every place where it ends too early: never a crash. */
START_TEST(test_damaged)
{
	struct state_buf saved = { 0 };

	machine_new(&device, MACHINE_PCI, 4);
	machine_probe(EDID, 8);
	use_all();
	hold(dev);
	ck_assert_int_eq(virtio_dev_save(dev, &saved), 0);
	for (size_t i = 0; i < saved.len; i += i < 4000 ? 7 : 4999) {
		struct state_reader in = state_reader_of(&saved);

		saved.data[i] ^= 0x41;
		virtio_dev_load(dev, &in);
		saved.data[i] ^= 0x41;
		in = state_reader_of(&saved);
		in.end = in.at + i;
		ck_assert_int_ne(virtio_dev_load(dev, &in), 0);
	}
	struct state_reader in = state_reader_of(&saved);

	ck_assert_msg(!virtio_dev_load(dev, &in), "%s", in.why);
	state_buf_free(&saved);
	virtio_dev_hold_end(dev);
	machine_free();
}
END_TEST

UNIT_MAIN("gpu-state", test_goes_on, test_framebuffer, test_backdrop, test_blob, test_tables, test_hostile, test_damaged)
