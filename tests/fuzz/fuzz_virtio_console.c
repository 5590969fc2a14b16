/* Links: virtio/console.o virtio/virtio.o virtio/virtq.o hw/ram.o util/log.o util/loop.o tests/unit/fake-driver.o tests/unit/fake-ring.o */

/*
 * What a driver puts into the queues of a console with two ports, while the host types, resizes the
 * terminal, and reads or does not. The first byte chooses the features; of each operation the first
 * byte says what it is, and where a length or a value is needed it is the next one:
 *
 *	0 LEN BYTES    a buffer to read on queue (op >> 4) % 6    4 VALUE     room for so much output
 *	1 LEN          a buffer to write to, likewise             5 ROWS      the terminal's size
 *	2 LEN BYTES    both in one chain                          6           the timer ticks
 *	3 LEN BYTES    typed on port (op >> 4) % 2                7 BYTE      emergency write
 *	8              reset and set-up again
 *
 * The rings are right: bad ones are fuzz_virtq's. What goes wrong is for the sanitizers to find,
 * and for libFuzzer's limit of time: a worker that waits hangs the reset at the end.
 */
#include <linux/virtio_console.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include "../unit/fake-driver.h"
#include "input.h"
#include "lkvm/virtio-console.h"

#define QUEUES 6

struct console {
	struct console_device device;
	atomic_ullong room;
};

static struct console con[2];
static struct fake_driver drv;
static struct virtio_dev *dev;
static int timer[2] = { -1, -1 };

void console_attach(struct console *c, const struct console_device *device)
{
	if (device)
		c->device = *device;
}

size_t console_put(struct console *c, const void *buf, size_t len)
{
	static _Thread_local uint8_t taken[1 << 16];
	unsigned long long room = atomic_load(&c->room);

	len = len < room ? len : room;
	memcpy(taken, buf, len);
	atomic_fetch_sub(&c->room, len);
	return len;
}

void console_input_wanted(struct console *c)
{
	(void)c;
}

int timerfd_create(clockid_t clock, int flags)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	(void)clock, (void)flags;
	timer[timer[0] >= 0] = fd;
	return fd;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old)
{
	(void)fd, (void)flags, (void)when, (void)old;
	return 0;
}

static size_t take_bytes(struct input *in, void *dst, size_t n)
{
	size_t left = (size_t)(in->end - in->at);

	n = n < left ? n : left;
	memcpy(dst, in->at, n);
	in->at += n;
	return n;
}

static void add(unsigned queue, const struct fake_buf *bufs, unsigned n)
{
	struct fake_queue *q = &drv.queue[queue];
	uint32_t written;

	while (fake_used(q, &written) >= 0)
		;
	fake_add(q, bufs, n); /* no room in the ring: an operation without effect */
	fake_notify(&drv, queue);
}

static void driver_adds(struct input *in, unsigned queue, bool readable, bool writable)
{
	uint32_t len = input_byte(in);
	gpa_t out = GPA(0x100000), back = GPA(0x101000);
	struct fake_buf bufs[2];
	unsigned n = 0;

	if (readable) {
		take_bytes(in, fake_at(&drv, out), len);
		bufs[n++] = FAKE_OUT(out, len);
	}
	if (writable)
		bufs[n++] = FAKE_IN(back, len);
	add(queue, bufs, n);
}

static void host_types(struct console *c, struct input *in)
{
	uint8_t bytes[256];
	size_t n = take_bytes(in, bytes, input_byte(in));

	check(c->device.input(c->device.dev, bytes, n) <= n);
}

static void host_reads(struct console *c, unsigned room)
{
	atomic_store(&c->room, room);
	c->device.writable(c->device.dev);
}

static void operation(struct input *in, uint64_t features)
{
	uint8_t op = input_byte(in);
	struct console *c = &con[op >> 4 & 1];

	switch (op & 15) {
	case 0:
		driver_adds(in, (op >> 4) % QUEUES, true, false);
		break;
	case 1:
		driver_adds(in, (op >> 4) % QUEUES, false, true);
		break;
	case 2:
		driver_adds(in, (op >> 4) % QUEUES, true, true);
		break;
	case 3:
		host_types(c, in);
		break;
	case 4:
		host_reads(c, input_byte(in));
		break;
	case 5:
		c->device.resize(c->device.dev, 80, input_byte(in));
		break;
	case 6:
		eventfd_write(timer[op >> 4 & 1], 1);
		break;
	case 7:
		virtio_config_write(dev, 8, 4, input_byte(in));
		break;
	case 8:
		fake_probe(&drv, features, 16);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct console *const consoles[] = { &con[0], &con[1] };
	struct input in = { data, data + size };
	uint64_t features = input_byte(&in) & 7;

	timer[0] = timer[1] = -1;
	fake_init(&drv, 4);
	check(!virtio_console_new(&drv.ram, "console0",
				  &(struct virtio_console_setup){ consoles, 2, true }, &dev));
	fake_attach(&drv, dev);
	fake_probe(&drv, features, 16);
	for (unsigned i = 0; in.at < in.end && i < 200; i++) {
		operation(&in, features);
		if (drv.next > 3 << 20) /* rings of many set-ups */
			break;
	}
	virtio_console_free(dev);
	fake_fini(&drv);
	return 0;
}
