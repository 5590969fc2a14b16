/* Links: virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/*
 * Register accesses in any order to a device that echoes, with its worker. Each operation is a byte
 * and its operands:
 *
 *	0 v              status            1 sel v(4)        features
 *	2 i field v(2)   queue field       3 off w v         configuration, read and written
 *	4 i              notify            5 i               a working ring for queue i
 *	6 i n bytes...   bytes into the rings               7 what   the device breaks, changes
 *	8                the next step of a good driver
 *
 * Beside what the sanitizers find: the status never shows a bit before those it needs, and a reset
 * leaves nothing behind.
 */
#include <stdlib.h>
#include <string.h>

#include "../unit/fake-driver.h"
#include "input.h"

static struct fake_driver d;
static struct virtio_dev dev;
static uint32_t config[4];

static uint64_t config_read(struct virtio_dev *v, unsigned off, unsigned width)
{
	uint64_t value = 0;

	check(off + width <= v->config_bytes);
	memcpy(&value, (char *)config + off, width);
	return value;
}

static void config_write(struct virtio_dev *v, unsigned off, unsigned width, uint64_t value)
{
	check(off + width <= v->config_bytes);
	memcpy((char *)config + off, &value, width);
}

static const struct virtio_type type = {
	.name = "echo",
	.id = 42,
	.queue_size = 64,
	.kick = fake_echo,
	.config_read = config_read,
	.config_write = config_write,
};

static void check_status(void)
{
	unsigned status = virtio_get_status(&dev) & 15U;

	check(status == 0 || status == 1 || status == 3 || status == 11 || status == 15);
	check(!dev.live || status == 15);
}

static void set_status(uint8_t value)
{
	unsigned before = virtio_get_status(&dev);

	virtio_set_status(&dev, value);
	if (value) {
		check((virtio_get_status(&dev) & before) == before);
		return;
	}
	check(!virtio_get_status(&dev) && !dev.live && !dev.driver_features);
	for (unsigned i = 0; i < dev.n_queues; i++) {
		check(!virtio_queue_get(&dev, i, VIRTIO_QUEUE_READY));
		check(virtio_queue_get(&dev, i, VIRTIO_QUEUE_SIZE) == type.queue_size);
		check(d.notify_fd[i] < 0);
	}
}

static void good_step(void)
{
	static const uint8_t after[] = { 1, 3, 3, 11, 11, 11, 11, 11, 11, 11, 11, 15 };
	unsigned status = virtio_get_status(&dev) & 15U;

	if (status == 3) {
		virtio_set_features(&dev, 1, 1);
		set_status(11);
	} else {
		set_status(status < sizeof(after) ? after[status] : 15);
	}
}

static void set_queue(struct input *in)
{
	unsigned index = input_be(in, 1) % 4, field = input_be(in, 1) % 7, value = input_be(in, 2);
	uint64_t wide = value;

	if (field >= VIRTIO_QUEUE_DESC && field <= VIRTIO_QUEUE_USED)
		wide = (uint64_t)value << 4;
	virtio_queue_set(&dev, index, field, wide);
	virtio_queue_get(&dev, index, field);
}

static void write_rings(struct input *in)
{
	unsigned at = input_be(in, 2), n = input_be(in, 1) % 64;

	for (; n && in->at < in->end; n--)
		__atomic_store_n((uint8_t *)fake_at(&d, GPA(4 * KIB + at++)), *in->at++,
				 __ATOMIC_RELAXED);
}

/* A ring with one request in it; the driver's features decide the format. */
static void good_queue(unsigned index)
{
	struct fake_buf bufs[] = { FAKE_OUT(GPA(64), 20), FAKE_IN(GPA(128), 30) };

	d.features = dev.driver_features;
	fake_setup_queue(&d, index, 8);
	fake_add(&d.queue[index], bufs, 2);
	d.next = d.next > 128 * KIB ? 4 * KIB : d.next;
}

static void step(unsigned op, struct input *in)
{
	unsigned a = input_be(in, op == 8 ? 0 : 1);

	if (op == 0) {
		set_status((uint8_t)a);
	} else if (op == 1) {
		virtio_set_features(&dev, a % 4, input_be(in, 4));
		virtio_get_features(&dev, a);
	} else if (op == 2) {
		in->at--;
		set_queue(in);
	} else if (op == 3) {
		unsigned width = input_be(in, 1) % 10;

		virtio_config_read(&dev, a % 20, width);
		virtio_config_write(&dev, a % 20, width, input_be(in, 1));
	} else if (op == 4) {
		virtio_notify(&dev, a % 4);
	} else if (op == 5) {
		good_queue(a % 2);
	} else if (op == 6) {
		in->at--;
		write_rings(in);
	} else if (op == 7) {
		virtio_config_begin(&dev);
		config[0]++;
		virtio_config_end(&dev);
		if (a % 8 == 0)
			virtio_break(&dev, "fuzz");
	} else {
		good_step();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };

	fake_init(&d, 1);
	dev = (struct virtio_dev){
		.type = &type,
		.name = "echo0",
		.ram = d.ram,
		.n_queues = 2,
		.config_bytes = 12,
		.device_features = FAKE_PACKED,
	};
	check(!virtio_init(&dev));
	fake_attach(&d, &dev);
	while (in.at < in.end) {
		unsigned op = input_be(&in, 1) % 9;

		if (in.at == in.end && op != 8)
			break;
		step(op, &in);
		check_status();
	}
	virtio_fini(&dev);
	check(d.notify_fd[0] < 0 && d.notify_fd[1] < 0);
	fake_fini(&d);
	return 0;
}
