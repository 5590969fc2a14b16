/* Links: virtio/balloon.o virtio/balloon-state.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o hw/ram-discard.o hw/ram-log.o util/event.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/*
 * Buffers of any kind on any queue of the balloon, and its configuration, one after the other: lists of pages,
 * statistics, free pages. The first byte is the features; then of each step a byte for the queue or what else is done,
 * then how the buffer is made.
 *
 * Beside what the sanitizers find: a page that is in no list and not free keeps what is in it, and nobody sees more in
 * the balloon than there is RAM.
 */
#include "../unit/fake-driver.h"
#include "input.h"
#include "lkvm/types.h"
#include "lkvm/virtio-balloon.h"

#define RAM_MIB 2U
#define PAGES   (RAM_MIB * 256)
#define FIRST   256U /* from here on pages come and go; the rings are below */
#define AREA    (80U * 1024)

static struct fake_driver d;
static struct virtio_dev *dev;
static gpa_t area;
static uint64_t mark;
static bool gone[PAGES + 1];

static void set_up(void)
{
	static const struct virtio_balloon_options options = { .packed = true };

	fake_init(&d, RAM_MIB);
	check(!virtio_balloon_new(d.ram, "balloon0", &options, &dev));
	fake_attach(&d, dev);
	area = fake_alloc(&d, AREA, 4096);
	mark = d.next;
}

static void fill(void)
{
	for (unsigned page = FIRST; page < PAGES; page++) {
		memset(fake_at(&d, GPA(page * 4096ULL)), (int)(page % 255 + 1), 4096);
		gone[page] = false;
	}
}

static void look(void)
{
	struct balloon_view v;

	for (unsigned page = FIRST; page < PAGES; page++) {
		const uint8_t *at = fake_at(&d, GPA(page * 4096ULL));

		check(gone[page] || (at[0] == page % 255 + 1 && at[4095] == at[0]));
	}
	virtio_balloon_view(dev, &v);
	check(v.actual_bytes <= RAM_MIB * MIB && v.ram_bytes == RAM_MIB * MIB);
}

static uint32_t some_page(struct input *input)
{
	static const uint32_t odd[] = { 0, PAGES, PAGES - 1, UINT32_MAX, 0xd0000, 0x100000, FIRST, FIRST + 1 };
	unsigned a = input_be(input, 1);

	return a < 64 ? odd[a % 8] : FIRST + a;
}

/* A list of pages; what it names may go */
static struct fake_buf some_list(struct input *input)
{
	const unsigned n = input_be(input, 1), more = n % 7 ? 0 : n % 4;
	uint32_t *list = fake_at(&d, area);

	for (unsigned i = 0; i < n; i++) {
		list[i] = some_page(input);
		/* not what the driver needs */
		if (list[i] < FIRST)
			list[i] = FIRST;
		if (list[i] < PAGES)
			gone[list[i]] = true;
	}
	return FAKE_OUT(area, n * 4 + more);
}

static struct fake_buf some_stats(struct input *input)
{
	const unsigned n = input_be(input, 1);
	uint8_t *at = fake_at(&d, area);

	for (unsigned i = 0; i < n; i++)
		at[i] = input_byte(input);
	return FAKE_OUT(area, n);
}

static struct fake_buf some_free(struct input *input)
{
	const uint64_t at = FIRST * 4096ULL + input_be(input, 2) * 13ULL;
	const uint32_t len = input_be(input, 2) * 5;

	for (uint64_t page = at / 4096; page <= (at + len) / 4096 && page < PAGES; page++)
		gone[page] = true;
	return FAKE_IN(GPA(at), len);
}

static void request(struct input *input, unsigned queue)
{
	const unsigned how = input_be(input, 1);
	struct fake_buf buf[2] = { queue < 2 ? some_list(input) : queue == 2 ? some_stats(input) : some_free(input) };

	if (how & 1)
		buf[0].writable = !buf[0].writable;
	buf[1] = (struct fake_buf){ area, how >> 3, how & 2 };
	if (queue < 2 && how & 4)
		memset(gone, true, sizeof(gone)); /* a list of anything */
	/* What it keeps is not answered: statistics. */
	if (queue == 2) {
		fake_add(&d.queue[queue], buf, how & 4 ? 2 : 1);
		fake_notify(&d, queue);
	} else {
		fake_request(&d, queue, buf, how & 4 ? 2 : 1);
	}
}

static void other(struct input *input, unsigned what)
{
	const unsigned off = input_be(input, 1) % 20, width = 1U << input_be(input, 1) % 4;
	struct balloon_view v;

	switch (what) {
	case 5:
		virtio_config_write(dev, off, width, input_le(input, 8));
		break;
	case 6:
		virtio_config_read(dev, off, width);
		break;
	case 7:
		virtio_balloon_set(dev, off * 64 * KIB);
		break;
	default:
		virtio_balloon_view(dev, &v);
		virtio_balloon_ask(dev);
	}
}

static void probe(unsigned how)
{
	const uint64_t all = dev->device_features;

	d.next = mark;
	/* Each queue has a feature: without it, and with it, and in both formats */
	check(fake_probe(&d, all & ~((uint64_t)(how & 0x3e) | (how & 1 ? FAKE_PACKED : 0) |
				     (how & 0x40 ? FAKE_INDIRECT : 0) | (how & 0x80 ? FAKE_EVENT_IDX : 0)), 16));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, data + size };
	unsigned features;

	if (!d.ram)
		set_up();
	features = input_be(&input, 1);
	probe(features);
	fill();
	for (unsigned steps = 0; input.at < input.end && steps < 64; steps++) {
		const unsigned what = input_be(&input, 1) % 9;

		if (dev->needs_reset)
			probe(features);
		if (what < 5)
			request(&input, what);
		else
			other(&input, what);
	}
	/* The worker has come to the end of it. */
	virtio_hold(dev, VIRTIO_HOLD_TEST, true);
	look();
	virtio_hold(dev, VIRTIO_HOLD_TEST, false);
	return 0;
}
