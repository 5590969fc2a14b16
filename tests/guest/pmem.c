/*
 * Looks at its persistent memory, prints what is there, and then does what characters on the serial port say: 'w' writes
 * 0x5a5a5a5a to its second page and to the last word, 'r' prints both, 'f' flushes, 'q' ends.
 */
#include "multiboot.h"
#include "virtio.h"

#define MOST 8
#define PAGE 0x1000U

static struct vdev devices[MOST];

static struct vdev *find(enum virtio_id id)
{
	const unsigned n = vdev_scan(devices, MOST);

	for (unsigned i = 0; i < n; i++)
		if (devices[i].id == id)
			return &devices[i];
	return NULL;
}

static void say(const char *what, uint64_t value)
{
	print(what);
	print_hex(value);
	print("\n");
}

static void flush(struct vdev *d)
{
	volatile uint32_t *word = (volatile uint32_t *)d->buf;

	word[0] = 0;
	CHECK(vring_do(&d->ring[0], (struct vbuf[]){ { (uint64_t)word, 4, 0 }, { (uint64_t)(word + 1), 4, D_WRITE } }, 2));
	say("flush ", word[1]);
}

void guest_main(void)
{
	struct vdev *d = find(VIRTIO_PMEM);
	uint64_t start, bytes;

	CHECK(d != NULL);
	CHECK(vdev_start(d, F_VERSION_1));
	start = mem_read(d->config, 8);
	bytes = mem_read(d->config + 8, 8);
	say("start ", start);
	say("bytes ", bytes);
	for (;;) {
		switch (read_char()) {
		case 'w':
			*mem32(start + PAGE) = *mem32(start + bytes - 4) = 0x5a5a5a5a;
			print("written\n");
			break;
		case 'r':
			say("second page ", *mem32(start + PAGE));
			say("last word ", *mem32(start + bytes - 4));
			break;
		case 'f':
			flush(d);
			break;
		case 'q':
			return;
		}
	}
}
