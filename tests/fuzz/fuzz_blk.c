/* Links: virtio/blk.o virtio/blk-parse.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o disk/disk.o disk/raw.o disk/raw-io.o disk/raw-ring.o disk/request.o disk/format.o disk/lock.o disk/overlay.o disk/nbd.o disk/qemu-nbd.o disk/image.o disk/image-vmdk.o disk/image-graph.o util/confine.o util/json.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/*
 * Requests of any kind in any layout, one after the other, to a block device on a disk in memory. A
 * request is: kind, sector, ranges or pattern, then how its readable and its writable bytes are cut
 * into buffers, and which of them are named by another address, beside RAM.
 *
 * Beside what the sanitizers find: every request that has room for a status gets one, what succeeded
 * has done just what it says, what failed has done nothing, and nothing else of the disk, of its
 * size, or of the guest's memory has changed.
 */
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../unit/fake-driver.h"
#include "input.h"
#include "lkvm/virtio-blk.h"

#define SECTORS 64U
#define BYTES   (SECTORS * 512U)
#define AREA    (96U * 1024)
#define BUFS    12U
#define BESIDE  (4 * GIB) /* from here on all of the RAM is seen once more, as if it were not RAM */

static struct fake_driver d;
static struct virtio_dev *dev;
static int image;
static uint8_t model[BYTES], seen[BYTES], out_copy[AREA], in_copy[AREA];
static gpa_t out, in;
static uint64_t mark; /* where the guest's memory is free again */

static void set_up(void)
{
	static char path[64];
	static struct disk_config cfg = { .path = path, .serial = "fuzz" };
	struct ram_beside beside = { GPA(BESIDE), 2 * MIB, NULL, false };
	struct disk *disk;

	image = memfd_create("image", MFD_CLOEXEC);
	check(!ftruncate(image, BYTES));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", image);
	fake_init(&d, 2);
	beside.host = fake_at(&d, GPA(0));
	ram_beside_set(d.ram, 0, &beside);
	check(!disk_open(&cfg, &disk));
	check(!virtio_blk_new(d.ram, "blk0", disk, &cfg, &dev));
	fake_attach(&d, dev);
	out = fake_alloc(&d, AREA, 16);
	in = fake_alloc(&d, AREA, 16);
	mark = d.next;
}

static void probe(unsigned features)
{
	uint64_t mask = 1ULL << VIRTIO_BLK_F_FLUSH | 1ULL << VIRTIO_BLK_F_DISCARD |
			1ULL << VIRTIO_BLK_F_WRITE_ZEROES | FAKE_INDIRECT | FAKE_EVENT_IDX;

	d.next = mark;
	if (features & 1)
		mask &= ~(FAKE_INDIRECT | FAKE_EVENT_IDX);
	if (features & 2)
		mask &= ~(1ULL << VIRTIO_BLK_F_FLUSH);
	check(fake_probe(&d, mask, 16));
}

static uint64_t some_sector(struct input *input)
{
	static const uint64_t odd[] = { SECTORS, SECTORS - 1, UINT64_MAX, UINT64_MAX - 1, 1ULL << 55,
					(1ULL << 55) - 1, 1ULL << 63, 0 };
	unsigned a = input_be(input, 1);

	return a < 128 ? a % (SECTORS + 4) : odd[a % 8];
}

static uint32_t some_count(struct input *input)
{
	static const uint32_t odd[] = { UINT32_MAX, 1U << 31, 1U << 23, (1U << 18) + 1 };
	unsigned a = input_be(input, 1);

	return a < 240 ? a % (SECTORS + 2) : odd[a % 4];
}

static uint32_t some_length(struct input *input)
{
	static const uint32_t usual[] = { 1, 16, 512, 1024, 4096, 511, 513, 0, 32, 20, 15, 17, 32768 };
	unsigned a = input_be(input, 1);

	return a < 200 ? usual[a % ARRAY_SIZE(usual)] : a * 3;
}

/* Header, then ranges or a pattern */
static void fill_out(struct input *input, uint32_t type)
{
	struct virtio_blk_outhdr header = { .type = type, .sector = some_sector(input) };
	unsigned seed = input_be(input, 1);

	for (unsigned i = 0; i < AREA; i++)
		out_copy[i] = (uint8_t)(seed + i * 7 + i / 512);
	memcpy(out_copy, &header, sizeof(header));
	for (unsigned i = 0; i < 3 && type != VIRTIO_BLK_T_OUT; i++) {
		struct virtio_blk_discard_write_zeroes r = { .sector = some_sector(input),
							     .num_sectors = some_count(input),
							     .flags = input_be(input, 1) % 4 ? 0 : seed };

		memcpy(out_copy + 16 + i * sizeof(r), &r, sizeof(r));
	}
	memcpy(fake_at(&d, out), out_copy, AREA);
	memset(in_copy, 0xa5, AREA);
	memset(fake_at(&d, in), 0xa5, AREA);
}

static unsigned cut(struct input *input, gpa_t area, bool writable, struct fake_buf *bufs,
		    uint32_t *ret_bytes)
{
	const unsigned how = input_be(input, 1), n = how % (BUFS / 2 + 1);
	unsigned used = 0;
	uint32_t at = 0;

	for (unsigned i = 0; i < n; i++) {
		uint32_t len = some_length(input);

		if (!len || len > AREA - at)
			continue;
		bufs[used++] = (struct fake_buf){ GPA((how / 8 >> i & 1 ? BESIDE : 0) + area.v + at), len, writable };
		at += len;
	}
	*ret_bytes = at;
	return used;
}

static void zero_ranges(uint32_t bytes)
{
	for (uint32_t at = 16; at < bytes; at += 16) {
		struct virtio_blk_discard_write_zeroes r;

		memcpy(&r, out_copy + at, sizeof(r));
		check(r.sector <= SECTORS && r.num_sectors <= SECTORS - r.sector);
		memset(model + r.sector * 512, 0, r.num_sectors * 512ULL);
	}
}

/* What a request that succeeded must have done */
static void apply(uint32_t out_bytes, uint32_t in_bytes)
{
	struct virtio_blk_outhdr header;
	uint64_t bytes;

	check(out_bytes >= 16);
	memcpy(&header, out_copy, sizeof(header));
	bytes = header.type == VIRTIO_BLK_T_OUT ? out_bytes - 16 : in_bytes - 1;
	if (header.type == VIRTIO_BLK_T_IN || header.type == VIRTIO_BLK_T_OUT)
		check(bytes % 512 == 0 && header.sector <= SECTORS &&
		      bytes / 512 <= SECTORS - header.sector);
	if (header.type == VIRTIO_BLK_T_IN)
		memcpy(in_copy, model + header.sector * 512, bytes);
	else if (header.type == VIRTIO_BLK_T_OUT)
		memcpy(model + header.sector * 512, out_copy + 16, bytes);
	else if (header.type == VIRTIO_BLK_T_GET_ID)
		memcpy(in_copy, "fuzz\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", bytes < 20 ? bytes : 20);
	else if (header.type == VIRTIO_BLK_T_DISCARD || header.type == VIRTIO_BLK_T_WRITE_ZEROES)
		zero_ranges(out_bytes);
	else
		check(header.type == VIRTIO_BLK_T_FLUSH);
}

static void check_all(void)
{
	check(pread(image, seen, BYTES, 0) == BYTES && lseek(image, 0, SEEK_END) == BYTES);
	check(!memcmp(seen, model, BYTES));
	check(!memcmp(fake_at(&d, out), out_copy, AREA));
	check(!memcmp(fake_at(&d, in), in_copy, AREA));
}

static void request(struct input *input)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH,
					  VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_DISCARD,
					  VIRTIO_BLK_T_WRITE_ZEROES, 14, 0x80000000 };
	struct fake_buf bufs[BUFS];
	uint32_t out_bytes, in_bytes;
	unsigned n;
	int64_t written;
	uint8_t status;

	fill_out(input, types[input_be(input, 1) % ARRAY_SIZE(types)]);
	n = cut(input, out, false, bufs, &out_bytes);
	n += cut(input, in, true, bufs + n, &in_bytes);
	if (!n)
		return;
	written = fake_request(&d, 0, bufs, n);
	check((written < 0) == !in_bytes && written <= in_bytes);
	if (written < 0) {
		probe(0);
		return;
	}
	status = ((uint8_t *)fake_at(&d, in))[in_bytes - 1];
	check(status <= VIRTIO_BLK_S_UNSUPP);
	if (status == VIRTIO_BLK_S_OK)
		apply(out_bytes, in_bytes);
	in_copy[in_bytes - 1] = status;
	check_all();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, data + size };

	if (!dev)
		set_up();
	memset(model, 0x11, BYTES);
	check(pwrite(image, model, BYTES, 0) == BYTES);
	probe(input_be(&input, 1));
	while (input.at < input.end) {
		request(&input);
		if (d.next > MIB)
			probe(0);
	}
	return 0;
}
