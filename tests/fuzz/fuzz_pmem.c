/* Links: virtio/pmem.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o disk/pmem.o disk/lock.o hw/ram.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/*
 * Requests of any kind to persistent memory, one or several at once, in buffers anywhere, that memory too, while the
 * file becomes shorter and longer, and a flush may fail. The first byte says whether the guest may write, and the ring's
 * format; then of each step a byte says what is done.
 *
 * Beside what the sanitizers find: each request has the answer that it must have, and what is read only stays as it was.
 */
#include <errno.h>
#include <linux/virtio_pmem.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../unit/fake-driver.h"
#include "input.h"
#include "lkvm/types.h"
#include "lkvm/virtio-pmem.h"

#define AT      (4 * GIB)
#define FILE_BYTES (5 * 4096U + 100)
#define RAM_MIB 2U
#define AREA    (64U * 1024)
#define MOST    4U /* requests at once */

static struct fake_driver d;
static struct virtio_dev *dev;
static struct pmem *pmem;
static gpa_t area;
static uint64_t mark;
static int file = -1;
static bool fails, failed; /* the next flush; one has */
static bool is_cut;

int fdatasync(int fd)
{
	(void)fd;
	failed |= fails;
	errno = EIO;
	return fails ? -1 : 0;
}

static int add(void *ctx, const char *name, uint64_t addr, void *host, uint64_t bytes, bool read_only)
{
	const struct ram_beside beside = { GPA(addr), bytes, host, read_only };

	(void)ctx, (void)name;
	ram_beside_set(d.ram, 0, &beside);
	return 0;
}

static int take_away(void *ctx, unsigned number)
{
	static const struct ram_beside nothing;

	(void)ctx, (void)number;
	ram_beside_set(d.ram, 0, &nothing);
	return 0;
}

static void mend(void *ctx)
{
	(void)ctx;
	dev->type->mend(dev);
}

static void make(bool read_only)
{
	static const struct board_ops ops = { .memory_add = add, .memory_remove = take_away };
	struct pmem_config cfg = { .read_only = read_only };
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	cfg.path = path;
	check(!pmem_size(&cfg) && !pmem_open(&cfg, &pmem));
	pmem->cfg.path = "it";
	check(!virtio_pmem_new(d.ram, "pmem0", &(struct board){ &ops, NULL }, pmem, GPA(AT), cfg.bytes, &dev));
	if (d.queue)
		fake_move(&d, dev);
	else
		fake_attach(&d, dev);
}

static void set_up(bool read_only)
{
	static uint8_t text[FILE_BYTES];

	if (!d.ram) {
		fake_init(&d, RAM_MIB);
		ram_beside_mend(d.ram, mend, NULL);
		area = fake_alloc(&d, AREA, 4096);
		file = memfd_create("pmem", MFD_CLOEXEC);
		mark = d.next;
	}
	if (dev && (failed || is_cut || pmem->cfg.read_only != read_only)) {
		virtio_pmem_free(dev);
		dev = NULL;
	}
	memset(text, 'x', sizeof(text));
	check(!ftruncate(file, FILE_BYTES) && pwrite(file, text, sizeof(text), 0) == FILE_BYTES);
	if (!dev)
		make(read_only);
	fails = failed = is_cut = false;
}

static void probe(uint64_t features)
{
	d.next = mark;
	check(fake_probe(&d, features & dev->device_features, 16));
}

/* In RAM, or in the region and near to its ends; or anywhere */
static gpa_t some_address(struct input *input, gpa_t usual)
{
	const unsigned a = input_be(input, 1), b = input_be(input, 1);

	if (a < 0x80)
		return usual;
	if (a < 0xc0)
		return GPA(AT + (a & 7) * 4096 - (a & 8 ? b & 7 : 0) + (a & 0x10 ? b * 4 : 0));
	if (a < 0xe0)
		return GPA(AT + PMEM_UNIT - b);
	return GPA(input_le(input, 8) | 1ULL << 40);
}

struct request {
	uint32_t type;
	gpa_t answer;
	int id;
};

/* One, in two buffers or four; Return: there was room for it */
static bool add_request(struct input *input, unsigned n, struct request *ret)
{
	const gpa_t in = GPA(area.v + n * 64), out = GPA(area.v + 4096 + n * 64);
	const unsigned how = input_be(input, 1), len = how & 1 ? input_be(input, 1) : 4, room = how & 2 ? input_be(input, 1) : 4;
	const gpa_t from = some_address(input, in);
	struct fake_buf buf[4];

	*ret = (struct request){ .type = how & 4 ? input_be(input, 4) : 0, .answer = some_address(input, out), .id = -1 };
	if (!len || !room)
		return false;
	memcpy(fake_at(&d, in), &ret->type, sizeof(ret->type));
	memset(fake_at(&d, out), 0x5a, 4);
	/* What is in the memory itself may change under the device's hands. */
	if (from.v != in.v || len != 4 || room != 4 || ret->answer.v != out.v)
		ret->answer = GPA(0);
	buf[0] = FAKE_OUT(from, len);
	buf[1] = FAKE_IN(ret->answer.v ? out : some_address(input, out), room);
	if (how & 8 && len > 1 && room > 1) {
		buf[2] = FAKE_IN(buf[1].at, 1);
		buf[3] = FAKE_IN(GPA(buf[1].at.v + 1), room - 1);
		buf[1] = FAKE_OUT(GPA(from.v + 1), len - 1);
		buf[0].len = 1;
		ret->id = fake_add(&d.queue[0], buf, 4);
	} else {
		ret->id = fake_add(&d.queue[0], buf, 2);
	}
	return ret->id >= 0;
}

static void judge(const struct request *r, uint32_t written)
{
	uint32_t answer;

	check(written == 4);
	if (!r->answer.v)
		return;
	memcpy(&answer, fake_at(&d, r->answer), sizeof(answer));
	check(answer == (r->type || (failed && !pmem->cfg.read_only)));
}

static void requests(struct input *input)
{
	struct request r[MOST];
	unsigned n = 0, want = 1 + input_be(input, 1) % MOST;
	uint32_t written;

	/* Those before one that fails are answered with it, or before. */
	if (fails)
		want = 1;
	for (unsigned i = 0; i < want; i++)
		n += add_request(input, n, &r[n]);
	fake_notify(&d, 0);
	for (unsigned left = n; left; left--) {
		int id = fake_wait_used(&d, 0, &written);

		if (id < 0)
			return;
		for (unsigned i = 0; i < n; i++)
			if (r[i].id == id)
				judge(&r[i], written);
	}
}

static void look(void)
{
	uint8_t byte[FILE_BYTES];
	ssize_t n;

	if (!pmem->cfg.read_only || is_cut)
		return;
	n = pread(file, byte, sizeof(byte), 0);
	for (ssize_t i = 0; i < n; i++)
		check(byte[i] == 'x');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, data + size };
	const unsigned first = input_be(&input, 1);
	const uint64_t features = (first & 2 ? FAKE_EVENT_IDX : 0) | (first & 4 ? FAKE_PACKED : 0);

	set_up(first & 1);
	probe(features);
	for (unsigned steps = 0; input.at < input.end && steps < 64; steps++) {
		const unsigned what = input_be(&input, 1) % 16;

		if (dev->needs_reset)
			probe(features);
		if (what < 11) {
			requests(&input);
		} else if (what == 11) {
			is_cut = true;
			check(!ftruncate(file, input_be(&input, 2) % (2 * FILE_BYTES)));
		} else if (what == 12) {
			fails = true;
		} else if (what == 13) {
			virtio_config_write(dev, input_be(&input, 1) % 32, 1U << input_be(&input, 1) % 4, input_le(&input, 8));
		} else if (what == 14) {
			virtio_config_read(dev, input_be(&input, 1) % 32, 1U << input_be(&input, 1) % 4);
		} else {
			dev->type->mend(dev);
		}
		look();
	}
	check(virtio_config_read(dev, 0, 8) == AT && virtio_config_read(dev, 8, 8) == PMEM_UNIT);
	/* The worker has come to the end of it. */
	virtio_hold(dev, VIRTIO_HOLD_TEST, true);
	virtio_hold(dev, VIRTIO_HOLD_TEST, false);
	return 0;
}
