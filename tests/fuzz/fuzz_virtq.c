/* Links: virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o tests/unit/fake-ring.o */

/*
 * A ring in a small guest, and a driver that does anything. The first byte chooses the format, the
 * second the size; then operations, each a byte and its operands:
 *
 *	0 at(2) n bytes...      the driver writes n bytes into the page of rings and tables
 *	1 i addr(2) len(2) flags next	the driver writes a likely descriptor; with flag 8 of memory beside RAM
 *	2 i                     split: make head i available; packed: entry i
 *	3                       pop
 *	4 i len(1)              push one of those that are out
 *	5                       flush
 *	6, 7                    notify off, on
 *
 * Beside what the sanitizers find: every buffer of a chain lies in RAM, or what is lent for it can be
 * written, and the sums are right, no head of a split ring is out twice, a broken queue stays broken, and the
 * device writes nowhere but where it may.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../unit/fake-driver.h"
#include "../unit/ram-base.h"
#include "input.h"

#define DESC   0x1000U
#define AVAIL  0x2000U
#define USED   0x3000U
#define TABLES 0x4000U
#define END    0x6000U

/* Half of it can be read and written, a quarter only read, and the last quarter is nothing. */
#define BESIDE	     0x100000000ULL
#define BESIDE_BYTES 0x10000U

static struct fake_driver d;
static struct virtq vq;
static struct virtq_chain chain;
static uint64_t out[VIRTQ_MAX_SIZE];
static unsigned n_out;

static uint8_t *guest(unsigned at)
{
	return fake_at(&d, GPA(at));
}

static void check_chain(void)
{
	uint64_t bytes[2] = { 0, 0 };
	uint8_t *end = ram_base(d.ram) + ram_bytes(d.ram);

	check(chain.n_out + chain.n_in <= VIRTQ_MAX_SEGS);
	for (unsigned i = 0; i < chain.n_out + chain.n_in; i++) {
		uint8_t *at = chain.iov[i].iov_base;
		const bool lent = at < ram_base(d.ram) || at >= end;

		check(chain.iov[i].iov_len && (lent || chain.iov[i].iov_len <= (size_t)(end - at)));
		if (lent)
			memset(at, 0xdd, chain.iov[i].iov_len);
		bytes[i >= chain.n_out] += chain.iov[i].iov_len;
	}
	check(bytes[0] == chain.out_bytes && bytes[1] == chain.in_bytes);
	check(bytes[0] + bytes[1] <= 1ULL << 32);
	for (unsigned i = 0; i < n_out && !vq.setup.packed; i++)
		check(out[i] != chain.token);
}

static void pop(void)
{
	int broken = vq.broken, ret = virtq_pop(&vq, &chain);

	check(ret <= 1);
	check(!broken || ret == broken);
	check(ret >= 0 || (vq.broken == ret && virtq_pop(&vq, &chain) == ret));
	if (ret != 1)
		return;
	check_chain();
	out[n_out++] = chain.token;
	check(n_out <= vq.taken && vq.taken + vq.unflushed <= vq.setup.size);
}

static void push(struct input *in)
{
	unsigned pick = input_be(in, 1), len = input_be(in, 1);
	int ret;

	if (!n_out)
		return;
	pick %= n_out;
	ret = virtq_push(&vq, out[pick], len);
	check(ret == 0 || ret == 1 || (ret == -EFAULT && vq.broken == ret));
	out[pick] = out[--n_out];
}

/* The device's own operations, under the eye of a copy of the page. */
static void device(unsigned op, struct input *in)
{
	static uint8_t before[END - DESC];
	const unsigned size = vq.setup.size;

	memcpy(before, guest(DESC), sizeof(before));
	if (op == 4)
		push(in);
	else if (op == 5)
		virtq_flush(&vq);
	else if (op == 6)
		virtq_notify_off(&vq);
	else
		virtq_notify_on(&vq);
	if (vq.setup.packed) {
		memcpy(before, guest(DESC), 16UL * size);
		memcpy(before + USED - DESC, guest(USED), 4);
	} else {
		memcpy(before + USED - DESC, guest(USED), 6 + 8UL * size);
	}
	check(!memcmp(before, guest(DESC), sizeof(before)));
}

static void put_bytes(struct input *in)
{
	unsigned at = input_be(in, 2) % (END - DESC), n = input_be(in, 1) % 64;

	for (; n && at < END - DESC && in->at < in->end; n--)
		*guest(DESC + at++) = *in->at++;
}

/* Into the ring, or (odd @i of the upper half) into a table. */
static void put_desc(struct input *in)
{
	unsigned i = input_be(in, 1), addr = input_be(in, 2), len = input_be(in, 2), flags = input_be(in, 1);
	uint16_t last = (uint16_t)input_be(in, 1);
	const uint64_t where = flags & 8 ? BESIDE + addr : addr;
	struct vring_desc desc = { where, len, (uint16_t)(flags & 7), last };
	struct vring_packed_desc packed = { where, len, last, (uint16_t)(flags & 7) };
	void *at =
		i < 128 ? guest(DESC + 16 * (i % vq.setup.size)) : guest(TABLES + 16 * (i - 128));

	if (flags & VRING_DESC_F_INDIRECT) {
		desc.addr = packed.addr = TABLES + addr % 64;
		desc.len = packed.len = len % 20 * 16;
	}
	if (vq.setup.packed)
		memcpy(at, &packed, sizeof(packed));
	else
		memcpy(at, &desc, sizeof(desc));
}

static void make_available(struct input *in)
{
	unsigned i = input_be(in, 1);
	struct vring_avail *avail = (void *)guest(AVAIL);
	struct vring_packed_desc *ring = (void *)guest(DESC);

	if (vq.setup.packed) {
		ring[i % vq.setup.size].flags &= 7;
		ring[i % vq.setup.size].flags |=
			i & 0x80 ? 1U << VRING_PACKED_DESC_F_USED : 1U << VRING_PACKED_DESC_F_AVAIL;
	} else {
		avail->ring[avail->idx++ % vq.setup.size] = (uint16_t)i;
	}
}

static void make_guest(void)
{
	struct ram_beside beside = { GPA(BESIDE), BESIDE_BYTES, NULL, false };

	fake_init(&d, 1);
	beside.host = mmap(NULL, BESIDE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(beside.host != MAP_FAILED);
	check(!mprotect(beside.host, BESIDE_BYTES / 4 * 3, PROT_READ));
	check(!mprotect(beside.host, BESIDE_BYTES / 2, PROT_READ | PROT_WRITE));
	ram_beside_set(d.ram, 0, &beside);
}

static void setup(struct input *in)
{
	static const uint16_t sizes[] = { 1, 2, 4, 8, 16, 64, 3, 7 };
	unsigned format = input_be(in, 1), size = input_be(in, 1) % 8;
	const struct virtq_setup s = {
		.size = format & 1 ? sizes[size] : sizes[size % 6],
		.packed = format & 1,
		.event_idx = format & 2,
		.indirect = format & 4,
		.desc = GPA(DESC),
		.avail = GPA(AVAIL),
		.used = GPA(USED),
	};

	if (!d.ram)
		make_guest();
	virtq_fini(&vq);
	memset(guest(DESC), 0, END - DESC);
	n_out = 0;
	check(!virtq_init(&vq, d.ram, &s));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };

	setup(&in);
	while (in.at < in.end) {
		unsigned op = input_be(&in, 1) % 8;

		if (op == 0)
			put_bytes(&in);
		else if (op == 1)
			put_desc(&in);
		else if (op == 2)
			make_available(&in);
		else if (op == 3)
			pop();
		else
			device(op, &in);
	}
	return 0;
}
