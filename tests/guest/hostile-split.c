/* Descriptors, chains, indirect tables and indexes of the split ring: virtio 1.2, 2.7 */
#include "hostile.h"

/* An indirect table that is good in itself; cases spoil it, or how it is referred to. */
static struct vdesc *table_of(const struct trial *t, unsigned n)
{
	struct vdesc *table = (struct vdesc *)(t->d->buf + 0x4000);
	struct vbuf buf[4];

	for (unsigned i = 0; i < n; i++)
		buf[i] = (struct vbuf){ (uint64_t)t->d->buf + 0x100 * i, 16, D_WRITE };
	put_table(table, buf, n);
	return table;
}

static void offer_table(const struct trial *t, const void *table, uint32_t len, uint16_t flags)
{
	put_desc(t->r, 0, (uint64_t)table, len, D_INDIRECT | flags, 0);
	offer(t->r, 0);
}

/* ---- buffers ---- */

static void buffer_at(const struct trial *t)
{
	put_desc(t->r, 0, t->a, (uint32_t)t->b, D_WRITE, 0);
	offer(t->r, 0);
	EXPECT(needs_reset(t->d));
}

/* Behind a good one */
static void second_buffer_at(const struct trial *t)
{
	put_desc(t->r, 0, (uint64_t)t->d->buf, 16, D_WRITE | D_NEXT, 1);
	put_desc(t->r, 1, t->a, (uint32_t)t->b, D_WRITE, 0);
	offer(t->r, 0);
	EXPECT(needs_reset(t->d));
}

static void readable_buffer_at(const struct trial *t)
{
	put_desc(t->r, 0, t->a, (uint32_t)t->b, 0, 0);
	offer(t->r, 0);
	EXPECT(needs_reset(t->d));
}

static void buffer_in_device(const struct trial *t)
{
	put_desc(t->r, 0, t->d->base + t->a, 16, D_WRITE, 0);
	offer(t->r, 0);
	EXPECT(needs_reset(t->d));
}

/* Random numbers into the ring's own memory: what comes of it is the driver's fault, but no more.
 */
static void buffer_is_ring(const struct trial *t)
{
	const uint64_t part = (uint64_t)t->r->desc + t->a;

	for (uint16_t i = 0; i < 8; i++)
		put_desc(t->r, i, part + i * 16, 0x1000, D_WRITE, 0);
	for (uint16_t i = 0; i < 8; i++)
		offer(t->r, i);
	pause_ms(5);
}

static void order_of_buffers(const struct trial *t)
{
	put_desc(t->r, 0, (uint64_t)t->d->buf, 16, D_WRITE | D_NEXT, 1);
	put_desc(t->r, 1, (uint64_t)t->d->buf, 16, 0, 0);
	offer(t->r, 0);
	EXPECT(needs_reset(t->d));
}

/* Empty buffers are nowhere forbidden, so even a bad address behind one does no harm. */
static void empty_buffers(const struct trial *t)
{
	put_desc(t->r, 0, t->a, 0, D_WRITE | D_NEXT, 1);
	put_desc(t->r, 1, (uint64_t)t->d->buf, 16, D_WRITE | D_NEXT, 2);
	put_desc(t->r, 2, t->a, 0, D_WRITE, 0);
	offer(t->r, 0);
	EXPECT(answered(t->r));
	EXPECT_EQ(t->r->used_len, 16);
}

static void reserved_flags(const struct trial *t)
{
	put_desc(t->r, 0, (uint64_t)t->d->buf, 16, D_WRITE | 0xfff8, 0xffff);
	offer(t->r, 0);
	EXPECT(answered(t->r));
	EXPECT_EQ(t->r->used_len, 16);
}

/* ---- chains ---- */

/* Descriptors 0 to b are chained; the last one's next is a. */
static void chain_ends_at(const struct trial *t)
{
	for (unsigned i = 0; i <= t->b; i++)
		put_desc(t->r, i, (uint64_t)t->d->buf, 16, D_WRITE | D_NEXT, (uint16_t)(i + 1));
	t->r->desc[t->b].next = (uint16_t)t->a;
	offer(t->r, 0);
	EXPECT(needs_reset(t->d));
}

static void loop_of_all(const struct trial *t)
{
	for (unsigned i = 0; i < t->r->size; i++)
		put_desc(t->r, i, (uint64_t)t->d->buf, 16, D_WRITE | D_NEXT,
			 (uint16_t)((i + 1) % t->r->size));
	offer(t->r, 0);
	EXPECT(needs_reset(t->d));
}

static void next_is_size(const struct trial *t)
{
	put_desc(t->r, 0, (uint64_t)t->d->buf, 16, D_WRITE | D_NEXT, t->r->size);
	offer(t->r, 0);
	EXPECT(needs_reset(t->d));
}

/* ---- indexes ---- */

static void head_at(const struct trial *t)
{
	offer(t->r, (uint16_t)(t->a ? t->a : t->r->size));
	EXPECT(needs_reset(t->d));
}

static void index_jumps(const struct trial *t)
{
	put_desc(t->r, 0, (uint64_t)t->d->buf, 16, D_WRITE, 0);
	t->r->avail->idx = (uint16_t)(t->a ? t->a : t->r->size + 1U);
	kick(t->r);
	EXPECT(needs_reset(t->d));
}

static void index_goes_back(const struct trial *t)
{
	EXPECT(vdev_works(t->d));
	EXPECT(vdev_works(t->d));
	t->r->avail->idx--;
	kick(t->r);
	EXPECT(needs_reset(t->d));
}

/* What the device has to know of its own ring it does not read back. */
static void scribble_on_used(const struct trial *t)
{
	EXPECT(vdev_works(t->d));
	t->r->used->flags = 0xffff;
	t->r->used->idx = 0x1234;
	t->r->used->ring[0].id = UINT32_MAX;
	put_desc(t->r, 0, (uint64_t)t->d->buf, 16, D_WRITE, 0);
	offer(t->r, 0);
	EXPECT(used_reaches(t->r, 2));
	EXPECT_EQ(t->r->used->ring[1].id, 0);
	EXPECT_EQ(t->r->used->ring[1].len, 16);
}

static void avail_flags(const struct trial *t)
{
	t->r->avail->flags = (uint16_t)t->a;
	for (unsigned i = 0; i < 10; i++)
		EXPECT(vdev_works(t->d));
}

static void used_event(const struct trial *t)
{
	for (unsigned i = 0; i < 10; i++) {
		t->r->avail->ring[t->r->size] = (uint16_t)(t->a + i * 0x3333);
		EXPECT(vdev_works(t->d));
	}
}

static void same_head_all_over(const struct trial *t)
{
	put_desc(t->r, 0, (uint64_t)t->d->buf, 16, D_WRITE, 0);
	for (unsigned i = 0; i < t->r->size; i++)
		t->r->avail->ring[i] = 0;
	t->r->avail->idx = t->r->size;
	kick(t->r);
	pause_ms(5);
	EXPECT(t->r->used->idx <= t->r->size);
}

/* ---- rewritten under the device's eyes ---- */

static uint32_t noise(void)
{
	static uint32_t state = 2463534242;

	state ^= state << 13;
	state ^= state >> 17;
	return state ^= state << 5;
}

static void rewrite_descriptors(const struct trial *t)
{
	for (unsigned i = 0; i < 400; i++) {
		unsigned at = noise() % 8;

		put_desc(t->r, at, (uint64_t)t->d->buf + (noise() & 0xfff), noise() & 0xfff,
			 (uint16_t)(noise() & 7), noise() & 7);
		t->r->avail->ring[noise() % t->r->size] = (uint16_t)at;
		t->r->avail->idx++;
		kick(t->r);
	}
}

static void rewrite_table(const struct trial *t)
{
	volatile struct vdesc *table = table_of(t, 4);

	put_desc(t->r, 0, (uint64_t)table, 4 * sizeof(*table), D_INDIRECT, 0);
	for (unsigned i = 0; i < 200; i++) {
		offer(t->r, 0);
		table[1].next = (uint16_t)noise();
		table[2].addr = (uint64_t)noise() << 8;
		table[1].next = 2;
		table[2].addr = (uint64_t)t->d->buf;
	}
}

static void rewrite_index(const struct trial *t)
{
	put_desc(t->r, 0, (uint64_t)t->d->buf, 16, D_WRITE, 0);
	for (unsigned i = 0; i < 400; i++) {
		t->r->avail->idx = (uint16_t)(i & 1 ? noise() : i / 2);
		kick(t->r);
	}
}

/* ---- indirect tables ---- */

static void table_length(const struct trial *t)
{
	offer_table(t, table_of(t, 2), (uint32_t)t->a, 0);
	EXPECT(needs_reset(t->d));
}

static void table_at(const struct trial *t)
{
	offer_table(t, (void *)t->a, 64, 0);
	EXPECT(needs_reset(t->d));
}

/* As long as its memory, one more than a chain may have here. */
static void table_too_long(const struct trial *t)
{
	struct vdesc *table = (struct vdesc *)(48ULL << 20);
	const unsigned n = 1025;

	for (unsigned i = 0; i < n; i++)
		table[i] = (struct vdesc){ .addr = (uint64_t)t->d->buf, .len = 1,
					   .flags = D_WRITE | D_NEXT, .next = (uint16_t)(i + 1) };
	table[n - 1].flags = D_WRITE;
	offer_table(t, table, n * sizeof(*table), 0);
	EXPECT(needs_reset(t->d));
}

static void table_with_next(const struct trial *t)
{
	put_desc(t->r, 1, (uint64_t)t->d->buf, 16, D_WRITE, 0);
	put_desc(t->r, 0, (uint64_t)table_of(t, 2), 32, D_INDIRECT | D_NEXT, 1);
	offer(t->r, 0);
	EXPECT(needs_reset(t->d));
}

static void table_in_table(const struct trial *t)
{
	struct vdesc *table = table_of(t, 2), *inner = table + 8;

	inner[0] = (struct vdesc){ .addr = (uint64_t)t->d->buf, .len = 16, .flags = D_WRITE };
	table[1] = (struct vdesc){ .addr = (uint64_t)inner, .len = 16, .flags = D_INDIRECT };
	offer_table(t, table, 32, 0);
	EXPECT(needs_reset(t->d));
}

static void table_in_itself(const struct trial *t)
{
	struct vdesc *table = table_of(t, 2);

	table[1] = (struct vdesc){ .addr = (uint64_t)table, .len = 32, .flags = D_INDIRECT };
	offer_table(t, table, 32, 0);
	EXPECT(needs_reset(t->d));
}

static void table_is_ring(const struct trial *t)
{
	offer_table(t, (void *)t->r->desc, 32, 0);
	EXPECT(needs_reset(t->d));
}

static void table_next(const struct trial *t)
{
	struct vdesc *table = table_of(t, 2);

	table[1].flags = D_WRITE | D_NEXT;
	table[1].next = (uint16_t)t->a;
	offer_table(t, table, 32, 0);
	EXPECT(needs_reset(t->d));
}

static void table_order(const struct trial *t)
{
	struct vdesc *table = table_of(t, 2);

	table[1].flags = 0;
	offer_table(t, table, 32, 0);
	EXPECT(needs_reset(t->d));
}

static void table_buffer_at(const struct trial *t)
{
	struct vdesc *table = table_of(t, 2);

	table[1].addr = t->a;
	offer_table(t, table, 32, 0);
	EXPECT(needs_reset(t->d));
}

static void table_good(const struct trial *t)
{
	offer_table(t, table_of(t, 2), 32, (uint16_t)t->a);
	EXPECT(answered(t->r));
	EXPECT_EQ(t->r->used_len, 32);
}

static void table_not_negotiated(const struct trial *t)
{
	offer_table(t, table_of(t, 2), 32, 0);
	EXPECT(needs_reset(t->d));
}

static void table_behind_buffer(const struct trial *t)
{
	put_desc(t->r, 1, (uint64_t)t->d->buf + 0x800, 16, D_WRITE | D_NEXT, 0);
	put_desc(t->r, 0, (uint64_t)table_of(t, 2), 32, D_INDIRECT, 0);
	offer(t->r, 1);
	EXPECT(answered(t->r));
	EXPECT_EQ(t->r->used_len, 48);
}

static void table_odd_address(const struct trial *t)
{
	const uint8_t *from = (const uint8_t *)table_of(t, 2);
	volatile uint8_t *to = t->d->buf + 0x5001;

	for (unsigned i = 0; i < 32; i++)
		to[i] = from[i];
	offer_table(t, (void *)to, 32, 0);
	EXPECT(answered(t->r));
	EXPECT_EQ(t->r->used_len, 32);
}

/* ---- sums: buffers of 32 MB each, all of them the same memory ---- */

#define LARGE (32U << 20)

static unsigned large_table(struct vdesc *table, uint64_t bytes)
{
	unsigned n = 0;

	for (; bytes; n++) {
		uint32_t len = bytes < LARGE ? (uint32_t)bytes : LARGE;

		table[n] =
			(struct vdesc){ .addr = 64 << 20, .len = len, .flags = D_WRITE | D_NEXT };
		table[n].next = (uint16_t)(n + 1);
		bytes -= len;
	}
	table[n - 1].flags = D_WRITE;
	return n;
}

static void sum_too_large(const struct trial *t)
{
	struct vdesc *table = (struct vdesc *)(48ULL << 20);

	offer_table(t, table, large_table(table, t->a) * (uint32_t)sizeof(*table), 0);
	EXPECT(needs_reset(t->d));
}

static void sum_just_right(const struct trial *t)
{
	struct vdesc *table = (struct vdesc *)(48ULL << 20);

	offer_table(t, table, large_table(table, FOUR_GB) * (uint32_t)sizeof(*table), 0);
	EXPECT(answered(t->r));
	EXPECT(t->r->used_len);
}

static void sum_too_large_direct(const struct trial *t)
{
	for (unsigned i = 0; i < t->r->size; i++)
		put_desc(t->r, i, 16 << 20, 100 << 20, D_WRITE | D_NEXT, (uint16_t)(i + 1));
	t->r->desc[t->r->size - 1].flags = D_WRITE;
	offer(t->r, 0);
	EXPECT(needs_reset(t->d));
}

/* The device writes all of it, so what was there before makes no difference to it. */
static void dirty_used_ring(const struct trial *t)
{
	const struct vbuf buf = { (uint64_t)t->d->buf, 16, D_WRITE };

	vdev_features(t->d, usual_features(t->d));
	vring_setup(t->r, 0);
	for (unsigned i = 0; i < VRING_MOST + 1; i++)
		((volatile uint64_t *)t->r->used)[i] = UINT64_MAX;
	reg_write(t->d, R_QUEUE_READY, 1);
	set_status(t->d, S_LIVE);
	vring_add(t->r, &buf, 1);
	kick(t->r);
	EXPECT(used_reaches(t->r, 1));
	EXPECT(asleep(t->r));
	EXPECT(answered(t->r));
	EXPECT_EQ(t->r->used_id, 0);
	EXPECT_EQ(t->r->used_len, 16);
	EXPECT(vdev_works(t->d));
}

static const struct hostile cases[] = {
	{ "2.7.5 buffer in the gap", buffer_at, GAP_START, 16 },
	{ "2.7.5 buffer at the end of RAM", buffer_at, RAM_END, 1 },
	{ "2.7.5 buffer over the end of RAM", buffer_at, RAM_END - 8, 9 },
	{ "2.7.5 buffer round 2^64", buffer_at, UINT64_MAX - 7, 16 },
	{ "2.7.5 buffer at the last address there is", buffer_at, UINT64_MAX, 1 },
	{ "2.7.5 buffer at 2^63", buffer_at, 1ULL << 63, 16 },
	{ "2.7.5 buffer at 4 GB", buffer_at, FOUR_GB, 16 },
	{ "2.7.5 buffer that ends at 4 GB", buffer_at, FOUR_GB - 16, 16 },
	{ "2.7.5 buffer on the local APIC", buffer_at, LAPIC, 16 },
	{ "2.7.5 buffer on the IOAPIC", buffer_at, IOAPIC, 16 },
	{ "2.7.5 buffer on the PCI configuration space", buffer_at, ECAM, 16 },
	{ "2.7.5 buffer on the device's own registers", buffer_in_device, 0 },
	{ "2.7.5 buffer of 2^32 - 1 bytes", buffer_at, 0, UINT32_MAX },
	{ "2.7.5 buffer of 2^31 bytes", buffer_at, 0, 1U << 31 },
	{ "2.7.5 buffer of one byte more than RAM", buffer_at, 0, RAM_END + 1 },
	{ "2.7.5 second buffer in the gap", second_buffer_at, GAP_START, 16 },
	{ "2.7.5 second buffer of 2^32 - 1 bytes", second_buffer_at, 16 << 20, UINT32_MAX },
	{ "2.7.5 second buffer round 2^64", second_buffer_at, UINT64_MAX - 15, 4096 },
	{ "2.7.5 readable buffer in the gap", readable_buffer_at, GAP_START, 16 },
	{ "2.7.5 readable buffer over the end of RAM", readable_buffer_at, RAM_END - 1, 2 },
	{ "2.7.5 buffers that are the descriptor table", buffer_is_ring, 0 },
	{ "2.7.5 buffers that are the available ring", buffer_is_ring, 0x1000 },
	{ "2.7.5 buffers that are the used ring", buffer_is_ring, 0x2000 },
	{ "2.7.4.2 readable buffer behind a writable one", order_of_buffers },
	{ "2.7.5 empty buffers", empty_buffers, 0 },
	{ "2.7.5 empty buffers in the gap", empty_buffers, GAP_START },
	{ "2.7.5 reserved descriptor flags", reserved_flags },
	{ "2.7.5.2 a descriptor that is its own next", chain_ends_at, 0, 0 },
	{ "2.7.5.2 a loop of two", chain_ends_at, 0, 1 },
	{ "2.7.5.2 a loop behind a good part", chain_ends_at, 5, 8 },
	{ "2.7.5.2 a loop of the whole table", loop_of_all },
	{ "2.7.5 next behind the table", next_is_size },
	{ "2.7.5 next 65535", chain_ends_at, 65535, 2 },
	{ "2.7.5 next 32768", chain_ends_at, 32768, 0 },
	{ "2.7.6 head behind the table", head_at, 0 },
	{ "2.7.6 head 65535", head_at, 65535 },
	{ "2.7.6 head 32768", head_at, 32768 },
	{ "2.7.6 available index more than a ring ahead", index_jumps, 0 },
	{ "2.7.6 available index half its range ahead", index_jumps, 32768 },
	{ "2.7.6 available index 65535", index_jumps, 65535 },
	{ "2.7.6.1 available index decremented", index_goes_back },
	{ "2.7.6 one head in all entries", same_head_all_over },
	{ "2.7.10.1 a used ring that was not cleared", dirty_used_ring, .raw = true },
	{ "2.7.8 used ring overwritten by the driver", scribble_on_used },
	{ "2.7.7.1 flags of the available ring all ones", avail_flags, 0xffff },
	{ "2.7.7.1 reserved flag of the available ring", avail_flags, 2 },
	{ "2.7.7.1 flag set with event indexes negotiated", avail_flags, 1,
	  .features = F_VERSION_1 | F_EVENT_IDX },
	{ "2.7.7.1 used event anywhere", used_event, 0x8000,
	  .features = F_VERSION_1 | F_EVENT_IDX },
	{ "2.7.13 descriptors rewritten while in use", rewrite_descriptors },
	{ "2.7.13 indirect table rewritten while in use", rewrite_table },
	{ "2.7.13 available index rewritten while in use", rewrite_index },
	{ "2.7.5.3 indirect table of 0 bytes", table_length, 0 },
	{ "2.7.5.3 indirect table of 1 byte", table_length, 1 },
	{ "2.7.5.3 indirect table of 15 bytes", table_length, 15 },
	{ "2.7.5.3 indirect table of 33 bytes", table_length, 33 },
	{ "2.7.5.3 indirect table of 2^32 - 16 bytes", table_length, 0xfffffff0 },
	{ "2.7.5.3 indirect table of 2^32 - 1 bytes", table_length, UINT32_MAX },
	{ "2.7.5.3.1 indirect table longer than a chain may be", table_too_long },
	{ "2.7.5.3 indirect table in the gap", table_at, GAP_START },
	{ "2.7.5.3 indirect table over the end of RAM", table_at, RAM_END - 32 },
	{ "2.7.5.3 indirect table round 2^64", table_at, UINT64_MAX - 31 },
	{ "2.7.5.3 indirect table on the local APIC", table_at, LAPIC },
	{ "2.7.5.3.1 INDIRECT together with NEXT", table_with_next },
	{ "2.7.5.3.1 indirect table in an indirect table", table_in_table },
	{ "2.7.5.3.1 indirect table in itself", table_in_itself },
	{ "2.7.5.3.1 descriptor table as its own indirect table", table_is_ring },
	{ "2.7.5.3.1 INDIRECT, not negotiated", table_not_negotiated, .features = F_VERSION_1 },
	{ "2.7.5.3 next behind the indirect table", table_next, 2 },
	{ "2.7.5.3 next 65535 in the indirect table", table_next, 65535 },
	{ "2.7.5.3 a loop in the indirect table", table_next, 0 },
	{ "2.7.5.3 own next in the indirect table", table_next, 1 },
	{ "2.7.4.2 readable behind writable in the indirect table", table_order },
	{ "2.7.5.3 indirect table with a buffer in the gap", table_buffer_at, GAP_START },
	{ "2.7.5.3 indirect table with a buffer past RAM", table_buffer_at, RAM_END - 15 },
	{ "2.7.5.3.2 WRITE on an indirect descriptor", table_good, D_WRITE },
	{ "2.7.5.3.2 a buffer, then an indirect table", table_behind_buffer },
	{ "2.7.5.3 indirect table at an odd address", table_odd_address },
	{ "2.7.5.2 a chain of 2^32 + 1 bytes", sum_too_large, FOUR_GB + 1 },
	{ "2.7.5.2 a chain of 8 GB", sum_too_large, 2 * FOUR_GB },
	{ "2.7.5.2 a chain of 6 GB without a table", sum_too_large_direct },
	{ "2.7.5.2 a chain of 2^32 bytes, which is allowed", sum_just_right },
};

const struct suite split_suite = { .name = "split", .victim = VIRTIO_RNG, .cases = cases,
				   .n = N_CASES(cases) };
