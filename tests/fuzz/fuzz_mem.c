/* Links: virtio/mem.o virtio/mem-state.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o hw/ram-plug.o hw/ram-fault.o hw/ram-log.o util/event.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/*
 * Requests of any kind to the memory device, in buffers anywhere, those in blocks that come and go too, while somebody
 * asks for more and less, and the host now and then has no memory slot. Of each step a byte says what is done, then how.
 *
 * Beside what the sanitizers find: each block that is plugged has its slot, no other has, what comes is zeros, and never
 * is more plugged than was asked for.
 */
#include <errno.h>
#include <linux/virtio_mem.h>

#include "../unit/fake-driver.h"
#include "input.h"
#include "lkvm/types.h"
#include "lkvm/virtio-mem.h"

#define START  (4 * GIB)
#define BLOCK  (2 * MIB)
#define BLOCKS 8U
#define MOST   6U
#define RAM_MIB 2U

static struct fake_driver d;
static struct virtio_dev *dev;
static gpa_t area;
static uint64_t mark;
static int slot_of[BLOCKS + 1]; /* by block: 1: it has one */
static unsigned fails; /* bits: the next calls that fail */

static bool fail(void)
{
	const bool now = fails & 1;

	fails >>= 1;
	return now;
}

/* The number of a slot is that of its block. */
static int add(void *ctx, const char *name, uint64_t addr, void *host, uint64_t bytes, bool read_only)
{
	const unsigned n = (unsigned)((addr - START) / BLOCK);

	(void)ctx, (void)name;
	check(n < BLOCKS && bytes == BLOCK && !read_only && host == fake_at(&d, GPA(addr)) && !slot_of[n]);
	if (fail())
		return -ENOSPC;
	slot_of[n] = 1;
	return (int)n;
}

static int take_away(void *ctx, unsigned n)
{
	(void)ctx;
	check(n < BLOCKS && slot_of[n] && ram_host(d.ram, GPA(START + n * BLOCK), BLOCK));
	if (fail())
		return -ENOMEM;
	slot_of[n] = 0;
	return 0;
}

static void set_up(void)
{
	static const struct board_ops ops = { .memory_add = add, .memory_remove = take_away };
	static const struct mem_setup setup = { .most_bytes = MOST * BLOCK, .node = -1 };

	fake_region = (struct ram_region){ START, BLOCKS * BLOCK, BLOCK };
	fake_init(&d, RAM_MIB);
	check(!ram_fault_report(d.ram, NULL));
	check(!virtio_mem_new(d.ram, "mem0", &(struct board){ &ops, NULL }, &setup, &dev));
	fake_attach(&d, dev);
	area = fake_alloc(&d, 64 * KIB, 4096);
	mark = d.next;
}

static void probe(void)
{
	d.next = mark;
	check(fake_probe(&d, 1ULL << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE | FAKE_EVENT_IDX, 16));
}

/* Near to where one should be, in RAM or in a block, plugged or not; or anywhere */
static uint64_t some_address(struct input *input)
{
	const unsigned a = input_be(input, 1), b = input_be(input, 1);

	if (a < 0x40)
		return area.v + b * 16;
	if (a < 0xc0)
		return START + a % (BLOCKS + 1) * BLOCK - (a & 0x40 ? b : 0);
	if (a < 0xf0)
		return START + a % BLOCKS * BLOCK + b * 4096;
	return input_le(input, 8) | 1ULL << 40; /* not where look() looks */
}

static void request(struct input *input)
{
	struct virtio_mem_req req = { .type = (uint16_t)(input_be(input, 1) % 5) };
	const unsigned how = input_be(input, 1), n = input_be(input, 1);
	gpa_t out = how & 1 ? GPA(some_address(input)) : area, in = how & 2 ? GPA(some_address(input)) : GPA(area.v + 4096);
	struct fake_buf buf[2];

	req.u.plug.addr = how & 4 ? some_address(input) : START + n % BLOCKS * BLOCK;
	req.u.plug.nb_blocks = (uint16_t)(how & 8 ? input_be(input, 2) : 1 + n / BLOCKS % 4);
	buf[0] = FAKE_OUT(out, how & 16 ? n : sizeof(req));
	buf[1] = FAKE_IN(in, how & 32 ? n % 16 : sizeof(struct virtio_mem_resp));
	if (!buf[0].len || !buf[1].len)
		return;
	if (ram_host(d.ram, out, sizeof(req)))
		memcpy(fake_at(&d, out), &req, sizeof(req));
	fake_request(&d, 0, buf, 2);
}

/* The worker has come to the end of it. */
static void look(void)
{
	uint64_t *word;

	virtio_hold(dev, VIRTIO_HOLD_TEST, true);
	for (unsigned n = 0; n < BLOCKS; n++) {
		word = fake_at(&d, GPA(START + n * BLOCK + MIB));
		/* Where the host has failed twice a block may be there without a slot; never the other way round. */
		check(!slot_of[n] || ram_plugged(d.ram, n, 1));
		if (!ram_plugged(d.ram, n, 1))
			continue;
		check(*word == 0 || *word == n + 1);
		*word = n + 1;
	}
	check(ram_plugged_bytes(d.ram) <= MOST * BLOCK);
	virtio_hold(dev, VIRTIO_HOLD_TEST, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, data + size };
	struct mem_view v;

	if (!d.ram)
		set_up();
	fails = 0;
	virtio_mem_set(dev, MOST * BLOCK);
	probe();
	for (unsigned steps = 0; input.at < input.end && steps < 64; steps++) {
		const unsigned what = input_be(&input, 1) % 16;

		if (dev->needs_reset)
			probe();
		if (what < 12)
			request(&input);
		else if (what == 12)
			virtio_mem_set(dev, input_be(&input, 1) % (MOST + 1) * BLOCK);
		else if (what == 13)
			fails = input_be(&input, 1);
		else if (what == 14)
			virtio_config_write(dev, input_be(&input, 1) % 64, 1U << input_be(&input, 1) % 4, input_le(&input, 8));
		else
			virtio_mem_view(dev, &v);
		look();
	}
	/* Nothing is left for the next one. */
	fails = 0;
	probe();
	memset(fake_at(&d, area), 0, 64);
	*(uint16_t *)fake_at(&d, area) = VIRTIO_MEM_REQ_UNPLUG_ALL;
	check(fake_request(&d, 0, (struct fake_buf[]){ FAKE_OUT(area, 24), FAKE_IN(GPA(area.v + 4096), 10) }, 2) == 10);
	check(!ram_plugged_bytes(d.ram));
	return 0;
}
