/*
 * Shows a picture on its screen: pixel (x, y) is 0x550000 + y * 256 + x, but a frame is 0xffffff. Then it waits for a
 * character on the serial port: 'c' makes the frame 0x00ff00 and nothing else, 'o' turns the screen off, 'q' ends.
 * 'd' says which size the host wants: "wants WIDTHxHEIGHT".
 * 'i' listens to the keyboard and the tablet: each event is a line, "k TYPE CODE VALUE" or "t ...", up to when escape
 * has come up; 'I' does so where they have been started before (by who went on from a snapshot).
 */
#include "multiboot.h"
#include "virtio.h"

#define MOST   8
#define WIDTH  200U
#define HEIGHT 100U

enum { INFO = 0x100, CREATE, SCANOUT = 0x103, FLUSH, TRANSFER, ATTACH };

static struct vdev devices[MOST];

static unsigned n_devices;

static struct vdev *find(enum virtio_id id, unsigned index)
{
	for (unsigned i = 0; i < n_devices; i++)
		if (devices[i].id == id && !index--)
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

static void say_size(struct vdev *d)
{
	const volatile uint32_t *mode = (volatile uint32_t *)(d->buf + 0x1000 + 24); /* x, y, width, height of the first */

	for (unsigned i = 0; i < 6; i++)
		((volatile uint32_t *)d->buf)[i] = i ? 0 : INFO;
	CHECK_EQ(gpu_send(d, 24, 408), 0x1101);
	print("wants ");
	print_decimal(mode[2]);
	print("x");
	print_decimal(mode[3]);
	print("\n");
}

#define EVENT_BYTES 8U

static void ask_event(struct vdev *d)
{
	put_desc(&d->ring[0], 0, (uint64_t)d->buf, EVENT_BYTES, D_WRITE, 0);
	offer(&d->ring[0], 0);
}

/* Return: has escape come up? */
static bool show_event(struct vdev *d, const char *whose)
{
	const volatile uint32_t *event = (volatile uint32_t *)d->buf;
	const uint32_t type = event[0] & 0xffff, code = event[0] >> 16, value = event[1];

	CHECK(answered(&d->ring[0]));
	if (type) {
		print(whose);
		print_decimal(type);
		print(" ");
		print_decimal(code);
		print(" ");
		print_decimal(value);
		print("\n");
	}
	ask_event(d);
	return type == 1 && code == 1 && !value;
}

static void listen(struct vdev *const in[2], bool start)
{
	static const char *const whose[] = { "k ", "t " };
	bool done = false;

	for (int i = 0; start && i < 2; i++) {
		CHECK(vdev_start(in[i], in[i]->offered & ~F_PACKED));
		ask_event(in[i]);
	}
	print("listens\n");
	while (!done)
		for (int i = 0; i < 2 && !done; i++)
			if (in[i]->ring[0].used->idx != in[i]->ring[0].next)
				done = show_event(in[i], whose[i]);
	print("heard\n");
}

void guest_main(void)
{
	struct vdev *d, *in[2];

	n_devices = vdev_scan(devices, MOST);
	d = find(VIRTIO_GPU, 0);
	in[0] = find(VIRTIO_INPUT, 0);
	in[1] = find(VIRTIO_INPUT, 1);
	CHECK(d && in[0] && in[1]);
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
		case 'd':
			say_size(d);
			break;
		case 'i':
			listen(in, true);
			break;
		case 'I':
			listen(in, false);
			break;
		case 'q':
			return;
		default:
			break;
		}
	}
}
