/* Links: virtio/gpu.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o hw/state.o util/event.o util/log.o util/loop.o util/keys.o util/options.o tests/unit/fake-driver.o tests/unit/fake-ring.o */
#include "lkvm/virtio-gpu.h"

#include <errno.h>

#include "fake-driver.h"
#include "gpu-driver.h"
#include "lkvm/types.h"
#include "unit.h"

#define RAM_MIB 16
#define BIT(n)  (1ULL << (n))
#define EDID    BIT(VIRTIO_GPU_F_EDID)
#define WITH_BLOBS BIT(VIRTIO_GPU_F_RESOURCE_BLOB)
#define OK      VIRTIO_GPU_RESP_OK_NODATA
#define BGRX    VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM
#define AREA    0x800000ULL /* of the guest's memory */

#define ERR(name) VIRTIO_GPU_RESP_ERR_##name

static struct fake_driver drv;
static struct virtio_dev *dev;
static struct display *display;
static gpa_t req_at, resp_at;

static struct virtio_gpu_options options;

static void setup_outputs(uint64_t features, unsigned outputs)
{
	options.outputs = outputs;
	options.width = 800;
	options.height = 600;

	fake_init(&drv, RAM_MIB);
	ck_assert_int_eq(display_new(outputs, &display), 0);
	ck_assert_int_eq(virtio_gpu_new(drv.ram, "gpu0", display, &options, &dev), 0);
	fake_attach(&drv, dev);
	req_at = fake_alloc(&drv, 4096, 8);
	resp_at = fake_alloc(&drv, 4096, 8);
	ck_assert(fake_probe(&drv, features, 16));
}

static void setup(void)
{
	setup_outputs(EDID, 1);
}

static void teardown(void)
{
	virtio_gpu_free(dev);
	display_free(display);
	fake_fini(&drv);
}

static uint32_t gpu_do(unsigned queue, const void *req, size_t bytes, void *resp, size_t resp_bytes)
{
	const struct fake_buf bufs[] = { FAKE_OUT(req_at, (uint32_t)bytes), FAKE_IN(resp_at, (uint32_t)resp_bytes) };
	struct virtio_gpu_ctrl_hdr hdr;
	int64_t got;

	memcpy(fake_at(&drv, req_at), req, bytes);
	memset(fake_at(&drv, resp_at), 0xee, resp_bytes);
	got = fake_request(&drv, queue, bufs, resp_bytes ? 2 : 1);
	if (got < (int64_t)sizeof(hdr))
		return 0;
	memcpy(resp, fake_at(&drv, resp_at), resp_bytes);
	memcpy(&hdr, resp, sizeof(hdr));
	ck_assert_uint_eq(hdr.padding[0] | hdr.padding[1] | hdr.padding[2], 0);
	return le32toh(hdr.type);
}

static uint32_t *area(void)
{
	return fake_at(&drv, GPA(AREA));
}

static uint32_t seen(uint32_t x, uint32_t y)
{
	struct display_image image;
	uint32_t pixel;

	ck_assert_int_eq(display_copy(display, 0, &image), 0);
	ck_assert(x < image.width && y < image.height);
	memcpy(&pixel, image.pixels + ((size_t)y * image.width + x) * 4, 4);
	display_image_free(&image);
	return pixel & 0xffffff;
}

START_TEST(test_type)
{
	setup();
	ck_assert_uint_eq(dev->type->id, VIRTIO_ID_GPU);
	ck_assert_uint_eq(dev->n_queues, 2);
	ck_assert_uint_eq(dev->config_bytes, sizeof(struct virtio_gpu_config));
	ck_assert_uint_eq(virtio_config_read(dev, 8, 4), 1);
	ck_assert_uint_eq(virtio_config_read(dev, 12, 4), 0);
	ck_assert(!(dev->device_features & BIT(VIRTIO_GPU_F_VIRGL)));
	teardown();
	virtio_gpu_free(NULL);
}
END_TEST

START_TEST(test_display_info)
{
	const struct virtio_gpu_ctrl_hdr req = GPU_HDR(GET_DISPLAY_INFO);
	struct virtio_gpu_resp_display_info info;

	setup_outputs(0, 3);
	ck_assert_uint_eq(gpu_do(GPU_CONTROL, &req, sizeof(req), &info, sizeof(info)), VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	for (unsigned i = 0; i < VIRTIO_GPU_MAX_SCANOUTS; i++) {
		ck_assert_uint_eq(le32toh(info.pmodes[i].enabled), i < 3);
		ck_assert_uint_eq(le32toh(info.pmodes[i].r.x), i < 3 ? i * 800 : 0);
		ck_assert_uint_eq(le32toh(info.pmodes[i].r.width), i < 3 ? 800 : 0);
		ck_assert_uint_eq(le32toh(info.pmodes[i].r.height), i < 3 ? 600 : 0);
	}
	/* No room for all of it */
	ck_assert_uint_eq(gpu_do(GPU_CONTROL, &req, sizeof(req), &info, sizeof(info) - 1), ERR(INVALID_PARAMETER));
	teardown();
}
END_TEST

/* What a driver reads from it: checksum, the size, frames a second */
static void check_edid(const uint8_t *e, uint32_t width, uint32_t height)
{
	static const uint8_t magic[] = { 0, 255, 255, 255, 255, 255, 255, 0 };
	const uint8_t *t = e + 54;
	const uint32_t clock = (uint32_t)(t[0] | t[1] << 8) * 10;
	const uint32_t h_blank = t[3] | (t[4] & 15U) << 8, v_blank = t[6] | (t[7] & 15U) << 8;
	const uint32_t h_front = t[8] | (t[11] & 0xc0U) << 2, h_sync = t[9] | (t[11] & 0x30U) << 4;
	const uint32_t v_front = t[10] >> 4 | (t[11] & 0x0cU) << 2, v_sync = (t[10] & 15U) | (t[11] & 3U) << 4;
	uint8_t sum = 0;

	for (unsigned i = 0; i < 128; i++)
		sum = (uint8_t)(sum + e[i]);
	ck_assert_uint_eq(sum, 0);
	ck_assert_mem_eq(e, magic, sizeof(magic));
	ck_assert_uint_eq(t[2] | (t[4] & 0xf0U) << 4, width);
	ck_assert_uint_eq(t[5] | (t[7] & 0xf0U) << 4, height);
	ck_assert_uint_le(h_front + h_sync, h_blank);
	ck_assert_uint_le(v_front + v_sync, v_blank);
	ck_assert(h_front && h_sync && v_front && v_sync);
	const uint64_t rate = clock * 1000ULL / ((uint64_t)(width + h_blank) * (height + v_blank));

	ck_assert_msg(rate >= 30 && rate <= 60, "%u x %u: %u frames a second", width, height, (unsigned)rate);
	ck_assert_mem_eq(e + 72, "\0\0\0\xfc\0lkvm\n        ", 18);
}

START_TEST(test_edid)
{
	static const uint32_t sizes[][2] = { { 64, 64 }, { 1024, 768 }, { 1920, 1080 }, { 3840, 2160 }, { 4095, 4095 } };
	struct virtio_gpu_cmd_get_edid req = { .hdr = GPU_HDR(GET_EDID) };
	struct virtio_gpu_resp_edid resp;

	setup_outputs(EDID, 2);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		req.scanout = htole32(1);
		virtio_gpu_resize(dev, 1, sizes[i][0], sizes[i][1]);
		ck_assert_uint_eq(gpu_do(GPU_CONTROL, &req, sizeof(req), &resp, sizeof(resp)), VIRTIO_GPU_RESP_OK_EDID);
		ck_assert_uint_eq(le32toh(resp.size), 128);
		check_edid(resp.edid, sizes[i][0], sizes[i][1]);
	}
	req.scanout = htole32(2);
	ck_assert_uint_eq(gpu_do(GPU_CONTROL, &req, sizeof(req), &resp, sizeof(resp)), ERR(INVALID_SCANOUT_ID));
	ck_assert(fake_probe(&drv, 0, 16));
	req.scanout = 0;
	ck_assert_uint_eq(gpu_do(GPU_CONTROL, &req, sizeof(req), &resp, sizeof(resp)), ERR(UNSPEC));
	teardown();
}
END_TEST

START_TEST(test_create)
{
	static const struct {
		uint32_t id, format, width, height, want;
	} table[] = {
		{ 0, BGRX, 10, 10, ERR(INVALID_RESOURCE_ID) },
		{ 1, 0, 10, 10, ERR(INVALID_PARAMETER) },
		{ 1, 5, 10, 10, ERR(INVALID_PARAMETER) },
		{ 1, BGRX, 0, 10, ERR(INVALID_PARAMETER) },
		{ 1, BGRX, 10, 0, ERR(INVALID_PARAMETER) },
		{ 1, BGRX, 16385, 1, ERR(INVALID_PARAMETER) },
		{ 1, BGRX, 1, 16385, ERR(INVALID_PARAMETER) },
		{ 1, BGRX, 0x80000000, 2, ERR(INVALID_PARAMETER) },
		{ 1, BGRX, UINT32_MAX, UINT32_MAX, ERR(INVALID_PARAMETER) },
		{ 1, BGRX, 16384, 16384, ERR(OUT_OF_MEMORY) },
		{ 1, BGRX, 16384, 2049, ERR(OUT_OF_MEMORY) },
		{ 1, BGRX, 16384, 2048, OK },
		{ 1, BGRX, 1, 1, ERR(INVALID_RESOURCE_ID) },
		{ 2, BGRX, 1, 1, ERR(OUT_OF_MEMORY) },
	};

	setup();
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		ck_assert_msg(gpu_make(table[i].id, table[i].format, table[i].width, table[i].height) == table[i].want,
			      "case %u", (unsigned)i);
	ck_assert_uint_eq(gpu_unref(1), OK);
	ck_assert_uint_eq(gpu_unref(1), ERR(INVALID_RESOURCE_ID));
	ck_assert_uint_eq(gpu_unref(0), ERR(INVALID_RESOURCE_ID));
	ck_assert_uint_eq(gpu_make(UINT32_MAX, VIRTIO_GPU_FORMAT_R8G8B8X8_UNORM, 16384, 2048), OK);
	ck_assert(fake_probe(&drv, EDID, 16));
	ck_assert_uint_eq(gpu_make(1, BGRX, 16384, 2048), OK);
	teardown();
}
END_TEST

/* However small they are */
START_TEST(test_many)
{
	setup();
	for (uint32_t i = 0; i < VIRTIO_GPU_MAX_RESOURCES; i++)
		ck_assert_uint_eq(gpu_make(1 + i * 256, BGRX, 1, 1), OK);
	ck_assert_uint_eq(gpu_make(2, BGRX, 1, 1), ERR(OUT_OF_MEMORY));
	ck_assert_uint_eq(gpu_unref(1 + 77 * 256), OK);
	ck_assert_uint_eq(gpu_make(2, BGRX, 1, 1), OK);
	teardown();
}
END_TEST

START_TEST(test_attach)
{
	static const uint64_t good[][2] = { { AREA, 256 }, { AREA + 4096, 144 } };
	static const uint64_t bad[][2] = {
		{ RAM_MIB * MIB, 1 }, { RAM_MIB * MIB - 1, 2 }, { UINT64_MAX, 1 }, { UINT64_MAX, 0 }, { 0xd0000000, 4096 },
		{ 0, UINT32_MAX },
	};

	setup();
	ck_assert_uint_eq(gpu_make(1, BGRX, 10, 10), OK);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_uint_eq(gpu_attach_to(1, &bad[i], 1), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_attach_to(2, good, 2), ERR(INVALID_RESOURCE_ID));
	ck_assert_uint_eq(gpu_attach_told(1, good, 2, 3), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_attach_told(1, good, 2, VIRTIO_GPU_MAX_ENTRIES + 1), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_attach_told(1, good, 2, UINT32_MAX), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_transfer_of(1, 0, 0, 1, 1, 0), ERR(UNSPEC));
	ck_assert_uint_eq(gpu_detach_of(1), ERR(UNSPEC));
	ck_assert_uint_eq(gpu_attach_told(1, good, 2, 1), OK);
	ck_assert_uint_eq(gpu_attach_to(1, good, 2), ERR(UNSPEC));
	ck_assert_uint_eq(gpu_transfer_of(1, 0, 0, 10, 10, 0), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_detach_of(1), OK);
	ck_assert_uint_eq(gpu_detach_of(2), ERR(INVALID_RESOURCE_ID));
	ck_assert_uint_eq(gpu_attach_to(1, good, 2), OK);
	ck_assert_uint_eq(gpu_transfer_of(1, 0, 0, 10, 10, 0), OK);
	ck_assert_uint_eq(gpu_detach_of(1), OK);
	ck_assert_uint_eq(gpu_attach_to(1, NULL, 0), OK);
	ck_assert_uint_eq(gpu_transfer_of(1, 0, 0, 1, 1, 0), ERR(INVALID_PARAMETER));
	teardown();
}
END_TEST

/* Lists count as memory, too. */
START_TEST(test_lists_are_counted)
{
	enum { MOST = VIRTIO_GPU_MAX_ENTRIES };
	const gpa_t list = GPA(4 * MIB);
	struct virtio_gpu_resource_attach_backing *head;
	struct fake_buf bufs[3];
	uint32_t *answer;

	setup();
	head = fake_at(&drv, req_at);
	answer = fake_at(&drv, resp_at);
	for (unsigned i = 0; i < MOST; i++)
		((struct virtio_gpu_mem_entry *)fake_at(&drv, list))[i] = (struct virtio_gpu_mem_entry){ htole64(AREA), htole32(4), 0 };
	ck_assert_uint_eq(gpu_make(1, BGRX, 16384, 2047), OK);
	ck_assert_uint_eq(gpu_make(2, BGRX, 1, 1), OK);
	*head = (struct virtio_gpu_resource_attach_backing){ GPU_HDR(RESOURCE_ATTACH_BACKING), htole32(2), htole32(MOST) };
	bufs[0] = FAKE_OUT(req_at, sizeof(*head));
	bufs[1] = FAKE_OUT(list, MOST * 16);
	bufs[2] = FAKE_IN(resp_at, 24);
	ck_assert_int_eq(fake_request(&drv, GPU_CONTROL, bufs, 3), 24);
	ck_assert_uint_eq(le32toh(*answer), ERR(OUT_OF_MEMORY));
	ck_assert_uint_eq(gpu_unref(1), OK);
	*head = (struct virtio_gpu_resource_attach_backing){ GPU_HDR(RESOURCE_ATTACH_BACKING), htole32(2), htole32(MOST) };
	ck_assert_int_eq(fake_request(&drv, GPU_CONTROL, bufs, 3), 24);
	ck_assert_uint_eq(le32toh(*answer), OK);
	ck_assert_uint_eq(gpu_transfer_of(2, 0, 0, 1, 1, (MOST - 1) * 4), OK);
	ck_assert_uint_eq(gpu_transfer_of(2, 0, 0, 1, 1, MOST * 4), ERR(INVALID_PARAMETER));
	teardown();
}
END_TEST

static void shown_resource(uint32_t width, uint32_t height)
{
	const uint64_t entry[][2] = { { AREA, (uint64_t)width * height * 4 } };

	ck_assert_uint_eq(gpu_make(1, BGRX, width, height), OK);
	ck_assert_uint_eq(gpu_attach_to(1, entry, 1), OK);
	ck_assert_uint_eq(gpu_scanout_of(0, 1, 0, 0, width, height), OK);
	for (uint32_t i = 0; i < width * height; i++)
		area()[i] = htole32(0x10000 + i);
}

/* Only what is transferred and flushed is seen, and at its place. */
START_TEST(test_draw)
{
	setup();
	shown_resource(40, 30);
	ck_assert_uint_eq(seen(0, 0), 0);
	ck_assert_uint_eq(gpu_transfer_of(1, 5, 6, 7, 8, (6 * 40 + 5) * 4), OK);
	ck_assert_uint_eq(seen(5, 6), 0);
	ck_assert_uint_eq(gpu_flush_of(1, 6, 7, 3, 3), OK);
	for (uint32_t y = 0; y < 30; y++)
		for (uint32_t x = 0; x < 40; x++)
			ck_assert_uint_eq(seen(x, y), x >= 6 && x < 9 && y >= 7 && y < 10 ? 0x10000 + y * 40 + x : 0);
	ck_assert_uint_eq(gpu_flush_of(1, 0, 0, 40, 30), OK);
	for (uint32_t y = 0; y < 30; y++)
		for (uint32_t x = 0; x < 40; x++)
			ck_assert_uint_eq(seen(x, y), x >= 5 && x < 12 && y >= 6 && y < 14 ? 0x10000 + y * 40 + x : 0);
	teardown();
}
END_TEST

/* Memory in pieces of any length, also within a pixel */
START_TEST(test_pieces)
{
	static const uint64_t pieces[][2] = { { AREA, 3 }, { AREA, 0 }, { AREA + 3, 10 }, { AREA + 13, 1 }, { AREA + 14, 4786 } };

	setup();
	ck_assert_uint_eq(gpu_make(1, BGRX, 40, 30), OK);
	ck_assert_uint_eq(gpu_attach_to(1, pieces, ARRAY_SIZE(pieces)), OK);
	ck_assert_uint_eq(gpu_scanout_of(0, 1, 0, 0, 40, 30), OK);
	for (uint32_t i = 0; i < 1200; i++)
		area()[i] = htole32(0x20000 + i);
	ck_assert_uint_eq(gpu_transfer_of(1, 0, 0, 40, 30, 0), OK);
	ck_assert_uint_eq(gpu_flush_of(1, 0, 0, 40, 30), OK);
	for (uint32_t i = 0; i < 1200; i++)
		ck_assert_uint_eq(seen(i % 40, i / 40), 0x20000 + i);
	teardown();
}
END_TEST

#define BLOB VIRTIO_GPU_BLOB_MEM_GUEST

START_TEST(test_blob_create)
{
	setup_outputs(EDID | WITH_BLOBS, 1);
	ck_assert_uint_eq(gpu_make_blob(0, BLOB, 4096, AREA, 4096), ERR(INVALID_RESOURCE_ID));
	ck_assert_uint_eq(gpu_make_blob(1, BLOB, 0, AREA, 4096), ERR(INVALID_PARAMETER));
	for (uint32_t mem = 0; mem < 5; mem++)
		if (mem != BLOB)
			ck_assert_uint_eq(gpu_make_blob(1, mem, 4096, AREA, 4096), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_make_blob(1, BLOB, 4096, (uint64_t)RAM_MIB << 20, 4096), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_make_blob(1, BLOB, 4096, AREA, 4096), OK);
	ck_assert_uint_eq(gpu_make_blob(1, BLOB, 4096, AREA, 4096), ERR(INVALID_RESOURCE_ID));
	ck_assert_uint_eq(gpu_make(1, BGRX, 1, 1), ERR(INVALID_RESOURCE_ID));
	ck_assert_uint_eq(gpu_attach_to(1, (const uint64_t[][2]){ { AREA, 4096 } }, 1), ERR(UNSPEC));
	/* What is copied there is there. */
	ck_assert_uint_eq(gpu_transfer_of(1, 0, 0, UINT32_MAX, UINT32_MAX, UINT64_MAX), OK);
	ck_assert_uint_eq(gpu_scanout_of(0, 1, 0, 0, 1, 1), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_unref(1), OK);
	ck_assert_uint_eq(gpu_unref(1), ERR(INVALID_RESOURCE_ID));
	teardown();
	/* Who has not negotiated them has none. */
	setup();
	ck_assert_uint_eq(gpu_make_blob(1, BLOB, 4096, AREA, 4096), ERR(UNSPEC));
	ck_assert_uint_eq(gpu_scanout_blob(0, 0, (struct gpu_blob_scanout){ 0 }), ERR(UNSPEC));
	teardown();
}
END_TEST

START_TEST(test_blob_layouts)
{
	static const struct gpu_blob_scanout good = { 0, 0, 40, 30, BGRX, 40, 30, 160, 100 };
	static const struct gpu_blob_scanout bad[] = {
		{ 0, 0, 40, 30, 0, 40, 30, 160, 0 },    { 0, 0, 40, 30, BGRX, 40, 30, 159, 0 },
		{ 0, 0, 40, 30, BGRX, 40, 30, 160, 101 }, { 0, 0, 40, 30, BGRX, 40, 30, 164, 0 },
		{ 0, 0, 40, 30, BGRX, 40, 30, UINT32_MAX, UINT32_MAX }, { 0, 0, 0, 0, BGRX, 0, 30, 160, 0 },
		{ 0, 0, 40, 30, BGRX, 40, 0, 160, 0 },  { 0, 0, 41, 30, BGRX, 40, 30, 160, 0 },
		{ 1, 0, 40, 30, BGRX, 40, 30, 160, 0 }, { 0, 30, 40, 1, BGRX, 40, 30, 160, 0 },
		{ 0, 0, 1, 1, BGRX, DISPLAY_MAX_SIZE + 1, 1, 4, 0 }, { 0, 0, 1, 1, BGRX, 1, DISPLAY_MAX_SIZE + 1, 0, 0 },
		{ 0, 0, 1, 1, BGRX, 1U << 30, 1, 0, 0 },
	};

	setup_outputs(EDID | WITH_BLOBS, 1);
	ck_assert_uint_eq(gpu_make_blob(1, BLOB, 4900, AREA, 8192), OK);
	ck_assert_uint_eq(gpu_make(2, BGRX, 40, 30), OK);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(gpu_scanout_blob(0, 1, bad[i]) == ERR(INVALID_PARAMETER), "%zu", i);
	ck_assert_uint_eq(gpu_scanout_blob(0, 2, good), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_scanout_blob(0, 3, good), ERR(INVALID_RESOURCE_ID));
	ck_assert_uint_eq(gpu_scanout_blob(1, 1, good), ERR(INVALID_SCANOUT_ID));
	ck_assert_uint_eq(gpu_scanout_blob(0, 1, good), OK);
	ck_assert_uint_eq(gpu_flush_of(1, 0, 0, 41, 30), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_flush_of(1, UINT32_MAX, 0, 2, 1), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_flush_of(1, 0, 0, 40, 30), OK);
	/* Without memory, or with too little of it, there is nothing to show. */
	ck_assert_uint_eq(gpu_detach_of(1), OK);
	ck_assert_uint_eq(gpu_flush_of(1, 0, 0, 40, 30), ERR(UNSPEC));
	ck_assert_uint_eq(gpu_attach_to(1, (const uint64_t[][2]){ { AREA, 4899 } }, 1), OK);
	ck_assert_uint_eq(gpu_flush_of(1, 0, 0, 1, 1), ERR(UNSPEC));
	ck_assert_uint_eq(gpu_scanout_blob(0, 0, bad[0]), OK);
	ck_assert_uint_eq(gpu_flush_of(1, 0, 0, UINT32_MAX, 1), OK);
	teardown();
}
END_TEST

/* A part of a picture in pieces of memory, with lines that are longer than what is shown of them */
START_TEST(test_blob_shown)
{
	static const uint64_t pieces[][2] = { { AREA + 5, 3 }, { AREA, 5 }, { AREA + 8, 8000 } };

	setup_outputs(EDID | WITH_BLOBS, 1);
	for (uint32_t i = 0; i < 2000; i++)
		area()[i] = htole32(0x10000 + i);
	ck_assert_uint_eq(gpu_make_blob(1, BLOB, 8000, 0, 0), OK);
	ck_assert_uint_eq(gpu_attach_to(1, pieces, 3), OK);
	ck_assert_uint_eq(gpu_scanout_blob(0, 1, (struct gpu_blob_scanout){ 5, 6, 20, 10, BGRX, 40, 30, 200, 400 }), OK);
	ck_assert_uint_eq(seen(0, 0), 0);
	ck_assert_uint_eq(gpu_flush_of(1, 4, 7, 3, 2), OK);
	for (uint32_t y = 0; y < 10; y++)
		for (uint32_t x = 0; x < 20; x++)
			ck_assert_uint_eq(seen(x, y), x < 2 && y >= 1 && y < 3 ? 0x10000 + 100 + (y + 6) * 50 + x + 5 : 0);
	ck_assert_uint_eq(gpu_flush_of(1, 0, 0, 40, 30), OK);
	for (uint32_t y = 0; y < 10; y++)
		for (uint32_t x = 0; x < 20; x++)
			ck_assert_uint_eq(seen(x, y), 0x10000 + 100 + (y + 6) * 50 + x + 5);
	/* Pieces are looked at: the first pixels of all are not in order. */
	ck_assert_uint_eq(gpu_scanout_blob(0, 1, (struct gpu_blob_scanout){ 0, 0, 2, 1, BGRX, 2, 1, 8, 0 }), OK);
	ck_assert_uint_eq(gpu_flush_of(1, 0, 0, 2, 1), OK);
	ck_assert_uint_eq(seen(0, 0), 0x000100);
	teardown();
}
END_TEST

/* More than is copied at a time */
START_TEST(test_blob_large)
{
	setup_outputs(EDID | WITH_BLOBS, 1);
	ck_assert_uint_eq(gpu_make_blob(1, BLOB, 4 * MIB, AREA, 4 * MIB), OK);
	ck_assert_uint_eq(gpu_scanout_blob(0, 1, (struct gpu_blob_scanout){ 0, 0, 1023, 1000, BGRX, 1023, 1000, 4092, 0 }), OK);
	for (uint32_t i = 0; i < 1023 * 1000; i++)
		area()[i] = htole32(i);
	ck_assert_uint_eq(gpu_flush_of(1, 0, 0, 1023, 1000), OK);
	ck_assert_uint_eq(seen(1022, 999), 1023 * 1000 - 1);
	ck_assert_uint_eq(seen(0, 64), 1023 * 64);
	ck_assert_uint_eq(seen(1022, 63), 1023 * 64 - 1);
	teardown();
}
END_TEST

START_TEST(test_blob_cursor)
{
	struct display_view view;
	struct display_image image = { 0 };
	static struct display_cursor cursor;
	struct display_update up;

	setup_outputs(EDID | WITH_BLOBS, 1);
	display_view_open(display, 0, -1, &view);
	area()[65] = htole32(0xaa123456);
	ck_assert_uint_eq(gpu_make_blob(1, BLOB, 64 * 64 * 4, AREA, 64 * 64 * 4), OK);
	ck_assert_uint_eq(gpu_make_blob(2, BLOB, 64 * 64 * 4 - 1, AREA, 64 * 64 * 4), OK);
	ck_assert_uint_eq(gpu_make_blob(3, BLOB, 64 * 64 * 4, AREA, 64 * 64 * 4 - 1), OK);
	ck_assert_uint_eq(gpu_cursor_to(VIRTIO_GPU_CMD_UPDATE_CURSOR, 0, 2, 0, 0, 0, 0), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_cursor_to(VIRTIO_GPU_CMD_UPDATE_CURSOR, 0, 3, 0, 0, 0, 0), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_cursor_to(VIRTIO_GPU_CMD_UPDATE_CURSOR, 0, 1, 0, 0, 64, 0), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_cursor_to(VIRTIO_GPU_CMD_UPDATE_CURSOR, 0, 1, 7, 8, 1, 1), OK);
	ck_assert_int_eq(display_view_take(&view, &image, &cursor, &up), 0);
	ck_assert(cursor.visible && cursor.x == 7 && cursor.hot_y == 1);
	ck_assert_mem_eq(cursor.pixels + 65 * 4, "\x56\x34\x12\xaa", 4);
	display_view_close(&view);
	display_image_free(&image);
	teardown();
}
END_TEST

START_TEST(test_rectangles)
{
	static const struct {
		uint32_t x, y, w, h;
	} bad[] = {
		{ 0, 0, 0, 1 }, { 0, 0, 1, 0 }, { 0, 0, 41, 1 }, { 0, 0, 1, 31 }, { 40, 0, 1, 1 }, { 0, 30, 1, 1 },
		{ 39, 0, 2, 1 }, { 0, 29, 1, 2 }, { UINT32_MAX, 0, 1, 1 }, { 1, 0, UINT32_MAX, 1 }, { 0, 1, 1, UINT32_MAX },
	};

	setup();
	shown_resource(40, 30);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_uint_eq(gpu_transfer_of(1, bad[i].x, bad[i].y, bad[i].w, bad[i].h, 0), ERR(INVALID_PARAMETER));
		ck_assert_uint_eq(gpu_flush_of(1, bad[i].x, bad[i].y, bad[i].w, bad[i].h), ERR(INVALID_PARAMETER));
		ck_assert_uint_eq(gpu_scanout_of(0, 1, bad[i].x, bad[i].y, bad[i].w, bad[i].h), ERR(INVALID_PARAMETER));
	}
	ck_assert_uint_eq(gpu_transfer_of(1, 0, 0, 40, 30, 1), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_transfer_of(1, 0, 0, 1, 1, UINT64_MAX), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_transfer_of(1, 0, 0, 1, 1, UINT64_MAX - 3), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_transfer_of(1, 39, 29, 1, 1, 4796), OK);
	ck_assert_uint_eq(gpu_transfer_of(1, 39, 29, 1, 1, 4797), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_transfer_of(2, 0, 0, 1, 1, 0), ERR(INVALID_RESOURCE_ID));
	ck_assert_uint_eq(gpu_flush_of(2, 0, 0, 1, 1), ERR(INVALID_RESOURCE_ID));
	teardown();
}
END_TEST

/* A part of a resource is shown; another one beside it. */
START_TEST(test_scanout)
{
	uint32_t width, height;

	setup_outputs(EDID, 2);
	shown_resource(40, 30);
	ck_assert_uint_eq(gpu_scanout_of(0, 1, 10, 20, 16, 10), OK);
	ck_assert_uint_eq(gpu_scanout_of(1, 1, 0, 0, 40, 30), OK);
	ck_assert(display_size(display, 0, &width, &height));
	ck_assert(width == 16 && height == 10);
	ck_assert_uint_eq(gpu_transfer_of(1, 0, 0, 40, 30, 0), OK);
	ck_assert_uint_eq(gpu_flush_of(1, 0, 0, 40, 30), OK);
	for (uint32_t y = 0; y < 10; y++)
		for (uint32_t x = 0; x < 16; x++)
			ck_assert_uint_eq(seen(x, y), 0x10000 + (y + 20) * 40 + x + 10);
	ck_assert_uint_eq(gpu_flush_of(1, 0, 0, 10, 20), OK); /* beside it */
	ck_assert_uint_eq(gpu_scanout_of(2, 1, 0, 0, 1, 1), ERR(INVALID_SCANOUT_ID));
	ck_assert_uint_eq(gpu_scanout_of(0, 2, 0, 0, 1, 1), ERR(INVALID_RESOURCE_ID));
	ck_assert_uint_eq(gpu_scanout_of(0, 0, 9, 9, 9, 9), OK);
	ck_assert(!display_size(display, 0, &width, &height));
	ck_assert(display_size(display, 1, &width, &height));
	ck_assert_uint_eq(gpu_unref(1), OK);
	ck_assert(!display_size(display, 1, &width, &height));
	teardown();
}
END_TEST

START_TEST(test_reset)
{
	uint32_t width, height;

	setup();
	shown_resource(40, 30);
	ck_assert(display_size(display, 0, &width, &height));
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(virtio_get_status(dev), 0);
	ck_assert(!display_size(display, 0, &width, &height));
	ck_assert(fake_probe(&drv, EDID, 16));
	ck_assert_uint_eq(gpu_unref(1), ERR(INVALID_RESOURCE_ID));
	teardown();
}
END_TEST

/* The limit is one for what is shown, too. */
START_TEST(test_too_much_shown)
{
	setup_outputs(EDID, 2);
	ck_assert_uint_eq(gpu_make(1, BGRX, 16384, 2048), OK);
	ck_assert_uint_eq(gpu_scanout_of(0, 1, 0, 0, 16384, 1025), OK);
	ck_assert_uint_eq(gpu_scanout_of(1, 1, 0, 0, 16384, 1024), ERR(OUT_OF_MEMORY));
	ck_assert_uint_eq(gpu_scanout_of(1, 1, 0, 0, 16384, 1023), OK);
	teardown();
}
END_TEST

START_TEST(test_fence)
{
	const struct virtio_gpu_resource_unref req = {
		{ htole32(VIRTIO_GPU_CMD_RESOURCE_UNREF), htole32(VIRTIO_GPU_FLAG_FENCE), htole64(0x123456789a), htole32(7), 0,
		  { 0 } }, htole32(9), 0 };
	struct virtio_gpu_ctrl_hdr resp;

	setup();
	ck_assert_uint_eq(gpu_do(GPU_CONTROL, &req, sizeof(req), &resp, sizeof(resp)), ERR(INVALID_RESOURCE_ID));
	ck_assert_uint_eq(le32toh(resp.flags), VIRTIO_GPU_FLAG_FENCE);
	ck_assert_uint_eq(le64toh(resp.fence_id), 0x123456789a);
	ck_assert_uint_eq(le32toh(resp.ctx_id), 7);
	teardown();
}
END_TEST

START_TEST(test_framing)
{
	struct virtio_gpu_update_cursor req = { .hdr = GPU_HDR(RESOURCE_CREATE_2D) };
	uint8_t resp[64];

	setup();
	for (size_t n = 24; n < 40; n++)
		ck_assert_uint_eq(gpu_do(GPU_CONTROL, &req, n, resp, 24), ERR(INVALID_PARAMETER));
	for (unsigned queue = GPU_CONTROL; queue <= GPU_CURSOR; queue++) {
		static const uint32_t none[] = { 0, 0x100 + 8, VIRTIO_GPU_CMD_CTX_CREATE, VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB,
						 VIRTIO_GPU_RESP_OK_NODATA, UINT32_MAX };

		for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
			req.hdr.type = htole32(none[i]);
			ck_assert_uint_eq(gpu_do(queue, &req, sizeof(req), resp, 24), ERR(UNSPEC));
		}
	}
	/* Of the other queue */
	req.hdr.type = htole32(VIRTIO_GPU_CMD_MOVE_CURSOR);
	ck_assert_uint_eq(gpu_do(GPU_CONTROL, &req, sizeof(req), resp, 24), ERR(UNSPEC));
	req.hdr.type = htole32(VIRTIO_GPU_CMD_GET_DISPLAY_INFO);
	ck_assert_uint_eq(gpu_do(GPU_CURSOR, &req, sizeof(req), resp, 24), ERR(UNSPEC));
	for (unsigned i = 0; i < 6; i++) {
		static const struct {
			unsigned queue, out, in;
		} bad[] = { { 0, 23, 24 }, { 0, 24, 23 }, { 0, 56, 0 }, { 0, 0, 24 }, { 1, 23, 0 }, { 1, 56, 1 } };

		gpu_do(bad[i].queue, &req, bad[i].out, resp, bad[i].in);
		ck_assert_msg(dev->needs_reset, "case %u", i);
		ck_assert(fake_probe(&drv, EDID, 16));
	}
	teardown();
}
END_TEST

START_TEST(test_cursor)
{
	struct display_view view;
	struct display_image image = { 0 };
	struct display_update up;
	static struct display_cursor c;
	const uint64_t entry[][2] = { { AREA, 64 * 64 * 4 } };

	setup();
	display_view_open(display, 0, -1, &view);
	ck_assert_uint_eq(gpu_make(1, VIRTIO_GPU_FORMAT_A8R8G8B8_UNORM, 64, 64), OK);
	ck_assert_uint_eq(gpu_make(2, BGRX, 64, 63), OK);
	ck_assert_uint_eq(gpu_attach_to(1, entry, 1), OK);
	memcpy(area(), "\x44\x11\x22\x33", 4);
	ck_assert_uint_eq(gpu_transfer_of(1, 0, 0, 64, 64, 0), OK);
	ck_assert_uint_eq(gpu_cursor_to(VIRTIO_GPU_CMD_UPDATE_CURSOR, 0, 1, 100, 50, 3, 4), OK);
	ck_assert_int_eq(display_view_take(&view, &image, &c, &up), 0);
	ck_assert(up.cursor_changed && c.visible);
	ck_assert(c.x == 100 && c.y == 50 && c.hot_x == 3 && c.hot_y == 4);
	ck_assert_mem_eq(c.pixels, "\x33\x22\x11\x44", 4);
	ck_assert_uint_eq(gpu_cursor_to(VIRTIO_GPU_CMD_MOVE_CURSOR, 0, 0, 101, 51, 0, 0), OK);
	ck_assert_uint_eq(gpu_cursor_to(VIRTIO_GPU_CMD_UPDATE_CURSOR, 0, 2, 0, 0, 0, 0), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_cursor_to(VIRTIO_GPU_CMD_UPDATE_CURSOR, 0, 1, 0, 0, 64, 0), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_cursor_to(VIRTIO_GPU_CMD_UPDATE_CURSOR, 0, 1, 0, 0, 0, UINT32_MAX), ERR(INVALID_PARAMETER));
	ck_assert_uint_eq(gpu_cursor_to(VIRTIO_GPU_CMD_UPDATE_CURSOR, 0, 3, 0, 0, 0, 0), ERR(INVALID_RESOURCE_ID));
	ck_assert_uint_eq(gpu_cursor_to(VIRTIO_GPU_CMD_UPDATE_CURSOR, 1, 1, 0, 0, 0, 0), ERR(INVALID_SCANOUT_ID));
	ck_assert_uint_eq(gpu_cursor_to(VIRTIO_GPU_CMD_MOVE_CURSOR, UINT32_MAX, 1, 0, 0, 0, 0), ERR(INVALID_SCANOUT_ID));
	/* The image stays when its resource goes, and goes when there is none. */
	ck_assert_uint_eq(gpu_unref(1), OK);
	ck_assert_int_eq(display_view_take(&view, &image, &c, &up), 0);
	ck_assert(!up.cursor_changed);
	ck_assert_uint_eq(gpu_cursor_to(VIRTIO_GPU_CMD_UPDATE_CURSOR, 0, 0, 0, 0, 0, 0), OK);
	ck_assert_int_eq(display_view_take(&view, &image, &c, &up), 0);
	ck_assert(up.cursor_changed && !c.visible);
	display_view_close(&view);
	teardown();
}
END_TEST

START_TEST(test_resize)
{
	unsigned irqs;

	setup();
	irqs = fake_config_irqs(&drv);
	virtio_gpu_resize(dev, 0, 800, 600); /* as it is */
	virtio_gpu_resize(dev, 1, 900, 600);
	virtio_gpu_resize(dev, 0, 63, 600);
	virtio_gpu_resize(dev, 0, 640, 4096);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 4), 0);
	ck_assert_uint_eq(fake_config_irqs(&drv), irqs);
	virtio_gpu_resize(dev, 0, 640, 480);
	fake_wait_config_irq(&drv, irqs + 1);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 4), VIRTIO_GPU_EVENT_DISPLAY);
	virtio_config_write(dev, 0, 4, 1);
	virtio_config_write(dev, 4, 2, 1);
	virtio_config_write(dev, 4, 4, 2);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 4), VIRTIO_GPU_EVENT_DISPLAY);
	ck_assert_uint_eq(virtio_config_read(dev, 4, 4), 0);
	virtio_config_write(dev, 4, 4, 1);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 4), 0);
	teardown();
}
END_TEST

static uint32_t shown_pixel(void)
{
	struct display_image image;
	uint32_t p;

	ck_assert_int_eq(display_copy(display, 0, &image), 0);
	memcpy(&p, image.pixels + 4 * 799, 4);
	display_image_free(&image);
	return p;
}

/* It is shown until the driver shows something, not if that turns an output off, and again after a reset. */
START_TEST(test_framebuffer)
{
	uint32_t width, height, *pixels;

	options.framebuffer = true;
	setup_outputs(EDID, 2);
	ck_assert(virtio_gpu_framebuffer(dev, &width, &height));
	ck_assert(width == 800 && height == 600);
	ck_assert(dev->shm.bar_only && !dev->shm.read_only);
	ck_assert_uint_eq(dev->shm.bytes, 2 * MIB);
	pixels = dev->shm.host;
	pixels[799] = 0x123456;
	ck_assert_uint_eq(shown_pixel(), 0x123456);
	ck_assert(!display_size(display, 1, &width, &height));
	ck_assert_uint_eq(gpu_make(1, BGRX, 800, 600), OK);
	ck_assert_uint_eq(gpu_scanout_of(0, 0, 0, 0, 0, 0), OK);
	ck_assert_uint_eq(gpu_scanout_of(1, 1, 0, 0, 10, 10), OK);
	pixels[799] = 0x654321;
	ck_assert_uint_eq(shown_pixel(), 0x654321);
	ck_assert_uint_eq(gpu_scanout_of(0, 1, 0, 0, 800, 600), OK);
	pixels[799] = 0x777777;
	ck_assert_uint_eq(shown_pixel(), 0);
	ck_assert_uint_eq(gpu_scanout_of(0, 0, 0, 0, 0, 0), OK);
	ck_assert(!display_size(display, 0, &width, &height));
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(shown_pixel(), 0x777777);
	options.framebuffer = false;
	teardown();
}
END_TEST

START_TEST(test_option)
{
	static const char *const bad[] = { "", "x", "64", "64x", "x64", "63x64", "64x63", "4096x64", "64x4096", "64x64x", "-64x64",
					   "64x-64", "64 x64", "64x 64", "+64x64", "1e3x64", "99999999999999999999x64" };
	struct virtio_gpu_options o = { 0 };

	log_set_patience(0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(virtio_gpu_size(&o, "gpu", bad[i]), -EINVAL);
	ck_assert(!o.width && !o.height);
	ck_assert_int_eq(virtio_gpu_size(&o, "gpu", "4095x64"), 0);
	ck_assert(o.width == 4095 && o.height == 64);
}
END_TEST

UNIT_MAIN("gpu", test_type, test_display_info, test_edid, test_create, test_many, test_attach, test_lists_are_counted, test_draw,
	  test_pieces, test_blob_create, test_blob_layouts, test_blob_shown, test_blob_large, test_blob_cursor, test_rectangles, test_scanout, test_reset, test_too_much_shown, test_fence, test_framing, test_cursor,
	  test_resize, test_framebuffer, test_option)
