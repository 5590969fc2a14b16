/*
 * Benchmark: a screen of 1024x768 of which every pixel changes with each frame. Parameters: rate=, frames a second, 0: as
 * many as can be; frames=, how many, then it stands still. It prints "guest: ready" when something is shown.
 *
 * Two pictures are shown in turn, which are in memory from the beginning: drawing them takes nothing.
 */
#include "virtio.h"

#define START_INFO_CMDLINE 24 /* offset in PVH's struct hvm_start_info */
#define MOST_DEVICES 32
#define WIDTH  1024U
#define HEIGHT 768U
#define LINE_BYTES (WIDTH * 4U)
#define BYTES  (LINE_BYTES * HEIGHT)
#define BGRX   2

enum { CREATE = 0x101, SCANOUT = 0x103, FLUSH, TRANSFER, ATTACH };

static struct vdev devices[MOST_DEVICES];

static struct vdev *find_gpu(void)
{
	unsigned n = vdev_scan(devices, MOST_DEVICES);

	for (unsigned i = 0; i < n; i++)
		if (devices[i].id == VIRTIO_GPU)
			return &devices[i];
	print("no screen\n");
	guest_exit(3);
}

/* A picture is the same line from top to bottom: such a guest may run on a KVM that emulates each instruction. */
static void attach(struct vdev *d)
{
	volatile uint32_t *line = (volatile uint32_t *)(uint64_t)GPU_AREA, *req = line + 2 * WIDTH, *answer = req + 8 + 8 * HEIGHT;
	const uint32_t bytes = (8 + 8 * HEIGHT) * 4;

	for (uint32_t x = 0; x < WIDTH; x++) {
		line[x] = x * 0x010203;
		line[WIDTH + x] = ~line[x];
	}
	for (uint32_t i = 0; i < 8 + 8 * HEIGHT; i++)
		req[i] = 0;
	req[0] = ATTACH;
	req[6] = 1;
	req[7] = 2 * HEIGHT;
	for (uint32_t i = 0; i < 2 * HEIGHT; i++) {
		req[8 + 4 * i] = GPU_AREA + (i < HEIGHT ? 0 : LINE_BYTES);
		req[10 + 4 * i] = LINE_BYTES;
	}
	CHECK(vring_do(&d->ring[0], (struct vbuf[]){ { (uint64_t)req, bytes, 0 }, { (uint64_t)answer, 24, D_WRITE } }, 2));
	CHECK_EQ(*answer, GPU_OK);
}

static void show(struct vdev *d, uint64_t frame)
{
	CHECK_EQ(gpu_words(d, TRANSFER, (uint32_t[]){ 0, 0, WIDTH, HEIGHT, frame & 1 ? BYTES : 0, 0, 1, 0 }, 8), GPU_OK);
	CHECK_EQ(gpu_words(d, FLUSH, (uint32_t[]){ 0, 0, WIDTH, HEIGHT, 1, 0 }, 6), GPU_OK);
}

void guest_main(void)
{
	const char *cmdline = (const char *)*mem64((boot_rbx & UINT32_MAX) + START_INFO_CMDLINE);
	const uint64_t rate = param(cmdline, "rate"), frames = param(cmdline, "frames");
	struct vdev *d = find_gpu();

	CHECK(vdev_start(d, F_VERSION_1));
	CHECK_EQ(gpu_words(d, CREATE, (uint32_t[]){ 1, BGRX, WIDTH, HEIGHT }, 4), GPU_OK);
	attach(d);
	CHECK_EQ(gpu_words(d, SCANOUT, (uint32_t[]){ 0, 0, WIDTH, HEIGHT, 0, 1 }, 6), GPU_OK);
	for (uint64_t i = 0; i < frames; i++) {
		show(d, i);
		if (!i)
			print("guest: ready\n");
		if (rate)
			pause_ms((unsigned)(1000 / rate));
	}
	print("guest: still\n");
	for (;;)
		asm volatile("hlt");
}
