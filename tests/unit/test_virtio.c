/* Links: virtio/virtio.o virtio/virtq.o hw/ram.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/* The core, with a device that echoes: what it reads from a chain it writes back, times one. */
#include "unit.h"

#include <string.h>

#include "fake-driver.h"

static struct virtio_dev dev;
static struct fake_driver drv;

static void echo_one(struct virtio_dev *d, unsigned index)
{
	char bytes[256];
	size_t n = virtq_read(d->chain, 0, bytes, sizeof(bytes));

	n = virtq_write(d->chain, 0, bytes, n);
	virtq_push(&d->queue[index].vq, d->chain->id, (uint32_t)n);
}

static void echo_kick(struct virtio_dev *d, unsigned index)
{
	virtio_serve(d, index, echo_one);
}

static const struct virtio_type echo = {
	.name = "echo",
	.id = 42,
	.queue_size = 64,
	.kick = echo_kick,
};

static void setup(uint64_t offered)
{
	fake_init(&drv, 16);
	dev = (struct virtio_dev){ .type = &echo, .name = "echo0", .ram = &drv.ram, .n_queues = 2,
				   .device_features = offered };
	ck_assert_int_eq(virtio_init(&dev), 0);
	fake_attach(&drv, &dev);
}

static void teardown(void)
{
	virtio_fini(&dev);
	fake_fini(&drv);
}

static void echo_some(uint64_t features)
{
	gpa_t out, in;

	setup(features);
	ck_assert(fake_probe(&drv, features, 16));
	out = fake_alloc(&drv, 64, 1);
	in = fake_alloc(&drv, 64, 1);
	for (int i = 0; i < 100; i++) {
		struct fake_buf bufs[] = { FAKE_OUT(out, 20), FAKE_IN(in, 10), FAKE_IN(GPA(in.v + 10), 30) };

		memset(fake_at(&drv, out), i, 20);
		ck_assert_int_eq(fake_request(&drv, (unsigned)i % 2, bufs, 3), 20);
		ck_assert(!memcmp(fake_at(&drv, in), fake_at(&drv, out), 20));
	}
	teardown();
}

START_TEST(test_echo)
{
	static const uint64_t formats[] = {
		0, FAKE_EVENT_IDX, FAKE_INDIRECT, FAKE_EVENT_IDX | FAKE_INDIRECT,
	};

	for (size_t i = 0; i < 4; i++) {
		echo_some(formats[i]);
		echo_some(formats[i] | FAKE_PACKED);
	}
}
END_TEST

UNIT_MAIN("virtio", test_echo)
