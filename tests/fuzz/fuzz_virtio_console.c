/* Links: virtio/console.o virtio/console-port.o virtio/console-control.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o util/log.o util/loop.o tests/unit/fake-driver.o tests/unit/fake-ring.o */

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
#include <unistd.h>

#include "../unit/fake-driver.h"
#include "input.h"
#include "lkvm/event.h"
#include "lkvm/timer.h"
#include "lkvm/types.h"
#include "lkvm/virtio-console.h"

#define QUEUES 6

struct console {
	struct console_device device;
	atomic_ullong room;
};

static struct console con[2];
static struct fake_driver drv;
static struct virtio_dev *dev;
static struct tick {
	struct timer *timer;
	struct loop_source src;
} tick[2]; /* in place of util/timer.c */

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

static void tick_ready(struct loop_source *src, uint32_t events)
{
	struct tick *t = container_of(src, struct tick, src);

	(void)events;
	event_clear(src->fd);
	t->timer->fired(t->timer);
}

void timer_init(struct timer *timer, struct loop *loop, clockid_t clock, void (*fired)(struct timer *))
{
	check(clock == CLOCK_MONOTONIC);
	*timer = (struct timer){ .loop = loop, .fired = fired };
}

static struct tick *tick_of(struct timer *timer)
{
	struct tick *t = &tick[tick[0].timer && tick[0].timer != timer];

	t->timer = timer;
	return t;
}

int timer_open(struct timer *timer)
{
	return loop_add(timer->loop, &tick_of(timer)->src, EPOLLIN);
}

void timer_fini(struct timer *timer)
{
	loop_del(timer->loop, &tick_of(timer)->src);
}

int timer_set(struct timer *timer, uint64_t at_ns)
{
	check(timer == tick_of(timer)->timer && at_ns);
	return 0;
}

void timer_stop(struct timer *timer)
{
	check(timer == tick_of(timer)->timer);
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
		event_signal(tick[op >> 4 & 1].src.fd);
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
	const struct virtio_console_setup setup = {
		.port = { virtio_port_console(&con[0]), virtio_port_console(&con[1]) },
		.n_ports = 2,
		.multiport = true,
	};
	struct input in = { data, data + size };
	uint64_t features = input_byte(&in) & 7;

	for (unsigned i = 0; i < ARRAY_SIZE(tick); i++)
		tick[i] = (struct tick){ .src = { event_open(0), tick_ready } };
	fake_init(&drv, 4);
	check(!virtio_console_new(drv.ram, "console0", &setup, &dev));
	fake_attach(&drv, dev);
	fake_probe(&drv, features, 16);
	for (unsigned i = 0; in.at < in.end && i < 200; i++) {
		operation(&in, features);
		if (drv.next > 3 << 20) /* rings of many set-ups */
			break;
	}
	virtio_console_free(dev);
	fake_fini(&drv);
	close(tick[0].src.fd);
	close(tick[1].src.fd);
	return 0;
}
