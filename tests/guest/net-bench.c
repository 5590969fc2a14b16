/*
 * Benchmark: frames of 64 bytes from a driver that does nothing but send them, through the first network device.
 * Parameter: packets=, how many. It prints "guest: begin packets", after a while "guest: go", and at the end
 * "guest: wire: packets 0", and waits again: whoever counts and measures does so outside.
 *
 * All descriptors and the whole available ring are written before it begins. As many frames are under way as the ring
 * has room for; used ones are made available again in batches. It polls, and wants no interrupts.
 */
#include "virtio.h"

#define START_INFO_CMDLINE 24 /* offset in PVH's struct hvm_start_info */
#define MOST_DEVICES 32
#define NO_INTERRUPT 1
#define NO_NOTIFY    1
#define HEADER       12
#define FRAME        64

static struct vdev devices[MOST_DEVICES];

static struct vdev *find_net(void)
{
	unsigned n = vdev_scan(devices, MOST_DEVICES);

	for (unsigned i = 0; i < n; i++)
		if (devices[i].id == VIRTIO_NET)
			return &devices[i];
	print("no network device\n");
	guest_exit(3);
}

/* One frame to nobody, of a protocol that nobody has; the device only reads it. */
static void prepare(struct vring *r)
{
	uint8_t *frame = r->dev->buf + HEADER;

	for (unsigned i = 0; i < HEADER + FRAME; i++)
		r->dev->buf[i] = 0;
	frame[0] = frame[6] = 2;
	frame[5] = 9;
	frame[12] = 0x88;
	frame[13] = 0xb5;
	for (unsigned i = 0; i < r->size; i++) {
		put_desc(r, i, (uint64_t)r->dev->buf, HEADER + FRAME, 0, 0);
		r->avail->ring[i] = (uint16_t)i;
	}
	r->avail->flags = NO_INTERRUPT;
}

/* Heads come back in any order, but each before the ring is full again. */
static void send(struct vring *r, uint16_t n)
{
	const uint16_t first = r->avail->idx;

	for (uint16_t i = 0; i < n; i++)
		r->avail->ring[(uint16_t)(first + i) % r->size] = (uint16_t)r->used->ring[r->next++ % r->size].id;
	asm volatile("" : : : "memory");
	r->avail->idx = (uint16_t)(first + n);
	asm volatile("lock addl $0, (%%rsp)" : : : "memory");
	if (!(r->used->flags & NO_NOTIFY))
		kick(r);
}

static uint16_t wait(const struct vring *r)
{
	struct deadline patience = { 0 };

	while (r->used->idx == r->next)
		for (unsigned i = 0; r->used->idx == r->next && i < 10000; i++)
			if (i == 9999 && !in_time(&patience)) {
				print("no answer\n");
				guest_exit(3);
			}
	return (uint16_t)(r->used->idx - r->next);
}

static void run(struct vring *r, uint64_t packets)
{
	r->avail->idx = r->size;
	kick(r);
	for (uint64_t sent = r->size; sent < packets;) {
		const uint16_t n = wait(r);

		send(r, n);
		sent += n;
	}
	while (r->used->idx != r->avail->idx)
		r->next = (uint16_t)(r->next + wait(r));
}

void guest_main(void)
{
	const char *cmdline = (const char *)*mem64((boot_rbx & UINT32_MAX) + START_INFO_CMDLINE);
	struct vdev *d = find_net();
	struct vring *r = &d->ring[1];

	CHECK(vdev_start(d, F_VERSION_1));
	prepare(r);
	print("guest: begin packets\n");
	pause_ms(200);
	print("guest: go\n");
	run(r, param(cmdline, "packets"));
	print("guest: wire: packets 0\n");
	pause_ms(200);
	vdev_reset(d);
}
