/* Links: virtio/input.o virtio/state.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o hw/state.o util/event.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/*
 * Buffers, lights, questions of any kind to a keyboard and a tablet, and hands at them. The first byte is the features and
 * which of the two; then of each step a byte for what is done.
 *
 * Beside what the sanitizers find: once all has come up and the guest has taken all, it knows no key that is down, and
 * a device that stands still can be saved, and loaded from that.
 */
#include <endian.h>
#include <linux/input-event-codes.h>

#include "../unit/fake-driver.h"
#include "../../virtio/input-internal.h"
#include "hold.h"
#include "input.h"

#define RAM_MIB 2

static struct fake_driver d[2];
static struct virtio_dev *dev[2];
static uint64_t mark[2];
static uint64_t down[INPUT_WORDS]; /* as the guest knows it */

static void set_up(void)
{
	for (int i = 0; i < 2; i++) {
		fake_init(&d[i], RAM_MIB);
		check(!virtio_input_new(d[i].ram, "input0", i ? VIRTIO_INPUT_TABLET : VIRTIO_INPUT_KEYBOARD, true, &dev[i]));
		fake_attach(&d[i], dev[i]);
		mark[i] = d[i].next;
	}
}

static void probe(unsigned i, unsigned how)
{
	d[i].next = mark[i];
	memset(down, 0, sizeof(down));
	check(fake_probe(&d[i], dev[i]->device_features & ~((how & 1 ? FAKE_PACKED : 0) | (how & 4 ? FAKE_INDIRECT : 0) |
							    (how & 8 ? FAKE_EVENT_IDX : 0)), 16));
}

static bool waits(unsigned i)
{
	return input_of(dev[i])->n;
}

/* Only where one waits: else nothing would come */
static void take(unsigned i, uint32_t len, bool writable)
{
	const struct fake_buf buf = { GPA(0x100), len, writable };
	const uint16_t *event = fake_at(&d[i], GPA(0x100));

	if (fake_request(&d[i], 0, &buf, 1) < 0)
		return;
	check(le16toh(event[0]) <= EV_ABS);
	if (le16toh(event[0]) == EV_KEY) {
		check(le16toh(event[1]) < INPUT_MAX_KEY);
		down[le16toh(event[1]) / 64] ^= 1ULL << le16toh(event[1]) % 64;
	}
}

static void act(unsigned i, struct input *input)
{
	struct virtio_input_action a[4];
	const unsigned n = input_byte(input) % 5;

	for (unsigned k = 0; k < n; k++) {
		const unsigned how = input_byte(input);

		a[k] = (struct virtio_input_action){ .what = how % 4, .down = how & 0x10, .code = (unsigned)input_be(input, 2),
						     .x = (int)input_be(input, 2) - 100, .y = (int)input_be(input, 2) - 100 };
		if (how & 0x20)
			a[k].code = i ? BTN_LEFT + a[k].code % 8 : a[k].code % 250;
	}
	virtio_input_do(dev[i], a, n);
}

static void light(unsigned i, struct input *input)
{
	const unsigned how = input_byte(input);
	const struct fake_buf buf = { GPA(0x200), how & 1 ? 8 : how >> 1, how & 0x80 };
	uint16_t *event = fake_at(&d[i], GPA(0x200));

	event[0] = htole16(how & 2 ? EV_LED : input_byte(input));
	event[1] = htole16((uint16_t)input_be(input, 2));
	event[2] = input_byte(input);
	fake_request(&d[i], 1, &buf, 1);
	check(virtio_input_leds(dev[i]) <= 7);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, data + size };
	unsigned features, i;

	if (!d[0].ram)
		set_up();
	features = input_byte(&input);
	i = features >> 7;
	probe(i, features);
	for (unsigned steps = 0; input.at < input.end && steps < 200; steps++) {
		const unsigned what = input_byte(&input);

		if (dev[i]->needs_reset)
			probe(i, features);
		if (what < 100)
			act(i, &input);
		else if (what < 180 && waits(i))
			take(i, what < 175 ? 8 : what - 175, what != 175);
		else if (what < 220)
			light(i, &input);
		else if (what < 250)
			virtio_config_write(dev[i], what % 4, 1, input_byte(&input));
		else
			check(virtio_config_read(dev[i], 2, 1) <= 128);
	}
	if (dev[i]->needs_reset)
		return 0;
	virtio_input_release(dev[i]);
	while (waits(i))
		take(i, 8, true);
	for (unsigned k = 0; k < INPUT_WORDS; k++)
		check(!down[k]);
	if (features & 2)
		save_and_load(dev[i]);
	return 0;
}
