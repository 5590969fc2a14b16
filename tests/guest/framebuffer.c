/*
 * Draws the picture of screen.c into the frame buffer of a virtio-gpu, without any driver, as a kernel does that boots:
 * the function decodes it from the beginning. Started with --gpu=200x100. Then it waits for a character on the serial
 * port: 'c' draws it with a frame of 0x00ff00, 'm' moves the BAR away and draws in 0x0000ff there, 'd' starts the driver and
 * shows black by it, 'r' resets that, 'q' ends.
 */
#include "multiboot.h"
#include "virtio.h"

#define MOST   8
#define WIDTH  200U
#define HEIGHT 100U
#define MOVED  0xd8000000U

enum { CLASS = 8, COMMAND = 4, BAR2 = 0x18, COMMAND_MEMORY = 2, VGA = 0x030000 };

static unsigned find_screen(void)
{
	for (unsigned devfn = 0; devfn < 256; devfn++)
		if (pci_read(devfn, CLASS, 4) >> 8 == VGA)
			return devfn;
	check_failed(__FILE__, "display controllers", 0, 1);
}

static void draw(unsigned devfn, uint32_t frame)
{
	volatile uint32_t *pixel = (volatile uint32_t *)(uint64_t)(pci_read(devfn, BAR2, 4) & ~0xfU);

	for (uint32_t y = 0; y < HEIGHT; y++)
		for (uint32_t x = 0; x < WIDTH; x++)
			pixel[y * WIDTH + x] = !x || !y || x == WIDTH - 1 || y == HEIGHT - 1 ? frame : 0x550000 + y * 256 + x;
	CHECK_EQ(pixel[0], frame);
}

/* The old place is nobody's then. */
static void move(unsigned devfn)
{
	volatile uint32_t *old = (volatile uint32_t *)(uint64_t)(pci_read(devfn, BAR2, 4) & ~0xfU);

	pci_write(devfn, BAR2, 4, MOVED);
	CHECK_EQ(*old, 0xffffffff);
	CHECK_EQ(*(volatile uint32_t *)(uint64_t)MOVED, 0x00ff00);
}

void guest_main(void)
{
	static struct vdev devices[MOST];
	const unsigned devfn = find_screen();
	struct vdev *d = NULL;

	CHECK(pci_read(devfn, COMMAND, 2) & COMMAND_MEMORY);
	draw(devfn, 0xffffff);
	print("ready\n");
	for (;;) {
		switch (read_char()) {
		case 'c':
			draw(devfn, 0x00ff00);
			print("drawn\n");
			break;
		case 'm':
			move(devfn);
			draw(devfn, 0x0000ff);
			print("moved\n");
			break;
		case 'd':
			d = gpu_show_black(devices, MOST, WIDTH, HEIGHT);
			print("driven\n");
			break;
		case 'r':
			vdev_reset(d);
			print("reset\n");
			break;
		case 'q':
			return;
		default:
			break;
		}
	}
}
