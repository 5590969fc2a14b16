/*
 * Shows a picture on its screen: pixel (x, y) is 0x550000 + y * 256 + x, but a frame is 0xffffff. Then it waits for a
 * character on the serial port: 'c' makes the frame 0x00ff00 and nothing else, 'o' turns the screen off, 'q' ends.
 */
#include "multiboot.h"
#include "virtio.h"

#define MOST   8
#define WIDTH  200U
#define HEIGHT 100U

enum { CREATE = 0x101, SCANOUT = 0x103, FLUSH, TRANSFER, ATTACH };

static struct vdev devices[MOST];

static struct vdev *find(enum virtio_id id)
{
	const unsigned n = vdev_scan(devices, MOST);

	for (unsigned i = 0; i < n; i++)
		if (devices[i].id == id)
			return &devices[i];
	return NULL;
}

static void draw(struct vdev *d, uint32_t frame)
{
	volatile uint32_t *pixel = (volatile uint32_t *)(uint64_t)GPU_AREA;

	for (uint32_t y = 0; y < HEIGHT; y++)
		for (uint32_t x = 0; x < WIDTH; x++)
			pixel[y * WIDTH + x] = !x || !y || x == WIDTH - 1 || y == HEIGHT - 1 ? frame : 0x550000 + y * 256 + x;
	CHECK_EQ(gpu_words(d, TRANSFER, (uint32_t[]){ 0, 0, WIDTH, HEIGHT, 0, 0, 1, 0 }, 8), GPU_OK);
	CHECK_EQ(gpu_words(d, FLUSH, (uint32_t[]){ 0, 0, WIDTH, HEIGHT, 1, 0 }, 6), GPU_OK);
}

static uint8_t read_char(void)
{
	while (!(in8(COM_LSR) & LSR_DATA))
		asm volatile("pause");
	return in8(COM_DATA);
}

void guest_main(void)
{
	struct vdev *d = find(VIRTIO_GPU);

	CHECK(d != NULL);
	CHECK(vdev_start(d, d->offered & ~F_PACKED));
	CHECK_EQ(gpu_words(d, CREATE, (uint32_t[]){ 1, 2, WIDTH, HEIGHT }, 4), GPU_OK);
	CHECK_EQ(gpu_words(d, ATTACH, (uint32_t[]){ 1, 1, GPU_AREA, 0, WIDTH * HEIGHT * 4, 0 }, 6), GPU_OK);
	CHECK_EQ(gpu_words(d, SCANOUT, (uint32_t[]){ 0, 0, WIDTH, HEIGHT, 0, 1 }, 6), GPU_OK);
	draw(d, 0xffffff);
	print("ready\n");
	for (;;) {
		switch (read_char()) {
		case 'c':
			draw(d, 0x00ff00);
			print("drawn\n");
			break;
		case 'o':
			CHECK_EQ(gpu_words(d, SCANOUT, (uint32_t[]){ 0, 0, 0, 0, 0, 0 }, 6), GPU_OK);
			print("off\n");
			break;
		case 'q':
			return;
		default:
			break;
		}
	}
}
