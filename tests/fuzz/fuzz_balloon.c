/* Links: virtio/balloon.o virtio/balloon-state.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o hw/ram-discard.o hw/ram-log.o util/event.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/*
 * Buffers of any kind on any queue of the balloon, and its configuration, one after the other: lists of pages,
 * statistics, hints, free pages; and somebody who asks for hints. The first byte is the features; then of each step a byte for the queue or what else is done,
 * then how the buffer is made.
 *
 * Beside what the sanitizers find: a page that is in no list and not free keeps what is in it, nobody sees more in
 * the balloon than there is RAM, and a page of which there was no hint is in none.
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
static struct ram_spare *spare;
static bool gone[PAGES + 1], hinted[PAGES + 1];

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
	memset(hinted, 0, sizeof(hinted));
	ram_spare_free(spare);
	check(!ram_spare_new(d.ram, &spare));
}

static void look(void)
{
	struct balloon_view v;

	for (unsigned page = FIRST; page < PAGES; page++) {
		const uint8_t *at = fake_at(&d, GPA(page * 4096ULL));

		check(hinted[page] || !ram_spare_has(spare, GPA(page * 4096ULL)));
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

/* @stay: it is a hint, and no more */
static struct fake_buf some_free(struct input *input, bool stay)
{
	const uint64_t at = FIRST * 4096ULL + input_be(input, 2) * 13ULL;
	const uint32_t len = input_be(input, 2) * 5;

	for (uint64_t page = at / 4096; page <= (at + len) / 4096 && page < PAGES; page++) {
		gone[page] |= !stay;
		hinted[page] = true;
	}
	return FAKE_IN(GPA(at), len);
}

/* Often enough the one that is asked for, or the end */
static struct fake_buf some_id(struct input *input)
{
	const unsigned what = input_be(input, 1);
	uint32_t *id = fake_at(&d, area);

	*id = what < 128 ? (uint32_t)virtio_config_read(dev, 8, 4) : what < 160 ? 0 : what;
	return FAKE_OUT(area, what % 16 ? 4 : what);
}

/* Which queue is which depends on what was negotiated. */
static struct fake_buf some_buffer(struct input *input, unsigned queue)
{
	const bool stats = virtio_has(dev, VIRTIO_BALLOON_F_STATS_VQ);
	const bool hints = virtio_has(dev, VIRTIO_BALLOON_F_FREE_PAGE_HINT);

	if (queue < 2)
		return some_list(input);
	if (queue == 2 && stats)
		return some_stats(input);
	if (hints && queue < 4 && input_be(input, 1) % 2)
		return some_id(input);
	return some_free(input, hints && queue == (stats ? 3 : 2));
}

static void request(struct input *input, unsigned queue)
{
	const unsigned how = input_be(input, 1);
	struct fake_buf buf[2] = { some_buffer(input, queue) };

	if (how & 1)
		buf[0].writable = !buf[0].writable;
	buf[1] = (struct fake_buf){ area, how >> 3, how & 2 };
	if (queue < 2 && how & 4)
		memset(gone, true, sizeof(gone)); /* a list of anything */
	/* What it keeps is not answered: statistics. */
	if (queue == 2 && virtio_has(dev, VIRTIO_BALLOON_F_STATS_VQ)) {
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
	case 8:
		virtio_balloon_hint_end(dev);
		if (off % 4)
			virtio_balloon_hint_begin(dev, spare, -1);
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
		const unsigned what = input_be(&input, 1) % 10;

		if (dev->needs_reset)
			probe(features);
		if (what < 5)
			request(&input, what);
		else
			other(&input, what);
	}
	/* The worker has come to the end of it. */
	virtio_hold(dev, VIRTIO_HOLD_TEST, true);
	virtio_balloon_hint_end(dev);
	look();
	virtio_hold(dev, VIRTIO_HOLD_TEST, false);
	return 0;
}
