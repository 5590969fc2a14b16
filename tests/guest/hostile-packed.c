/* The packed ring: virtio 1.2, 2.8. Its victim is a block device, which alone offers it. */
#include "hostile.h"

#define HEADER(d) { BLK_HEADER(d), 16, D_NEXT }
#define DATA(d)   { BLK_DATA(d), SECTOR, D_WRITE | D_NEXT }
#define ANSWER(d) { BLK_STATUS(d), 1, D_WRITE }

#define EVENT_RESERVED 0x30000
#define EVENT_DESC     0x20000

/* The first descriptor last, as it is the one that makes the list available. */
static void send(const struct trial *t, const struct vbuf *buf, unsigned n, uint16_t id)
{
	blk_header(t->d, BLK_IN, 9);
	for (unsigned i = n; i-- > 0;)
		put_packed(t->r, i, &buf[i], id);
	kick(t->r);
}

static void refused(const struct trial *t, const struct vbuf *buf, unsigned n, uint16_t id)
{
	send(t, buf, n, id);
	EXPECT(needs_reset(t->d));
}

/* Several rounds of the ring */
static bool ring_works(const struct trial *t)
{
	for (unsigned i = 0; i < t->r->size + 8U; i++)
		if (!vdev_works(t->d))
			return false;
	return true;
}

/* ---- buffers and lists ---- */

static void buffer_at(const struct trial *t)
{
	const struct vbuf list[] = { HEADER(t->d), { t->a, (uint32_t)t->b, D_WRITE | D_NEXT },
				     ANSWER(t->d) };

	refused(t, list, 3, 0);
}

static void order_of_buffers(const struct trial *t)
{
	const struct vbuf list[] = { DATA(t->d), HEADER(t->d), ANSWER(t->d) };

	refused(t, list, 3, 0);
}

/* Ids are the driver's own business. */
static void any_id(const struct trial *t)
{
	const struct vbuf list[] = { HEADER(t->d), DATA(t->d), ANSWER(t->d) };
	const uint16_t id = (uint16_t)(t->a ? t->a : t->r->size);

	send(t, list, 3, id);
	EXPECT(packed_answered(t->r, 3));
	EXPECT_EQ(t->r->used_id, id);
	EXPECT_EQ(*mem8(BLK_STATUS(t->d)), BLK_OK);
	EXPECT(blk_pattern((uint8_t *)BLK_DATA(t->d), 9));
}

static void same_id(const struct trial *t)
{
	const struct vbuf list[] = { HEADER(t->d), DATA(t->d), ANSWER(t->d),
				     HEADER(t->d), DATA(t->d), ANSWER(t->d) };

	send(t, list, 6, 5);
	for (unsigned i = 0; i < 2; i++) {
		EXPECT(packed_answered(t->r, 3));
		EXPECT_EQ(t->r->used_id, 5);
	}
	EXPECT(ring_works(t));
}

static void unfinished_list(const struct trial *t)
{
	const struct vbuf list[] = { HEADER(t->d), DATA(t->d) };

	refused(t, list, 2, 0);
}

static void endless_list(const struct trial *t)
{
	const struct vbuf data = DATA(t->d);
	const uint16_t size = t->r->size;

	blk_header(t->d, BLK_IN, 9);
	for (unsigned i = size; i-- > 0;)
		put_packed(t->r, i, &data, 0);
	kick(t->r);
	EXPECT(needs_reset(t->d));
}

static void longer_than_ring(const struct trial *t)
{
	const struct vbuf list[] = { HEADER(t->d), DATA(t->d), ANSWER(t->d) };

	vdev_features(t->d, usual_features(t->d) | F_PACKED);
	vring_setup(t->r, 2);
	reg_write(t->d, R_QUEUE_READY, 1);
	set_status(t->d, S_LIVE);
	send(t, list, 2, 0);
	EXPECT(needs_reset(t->d));
}

static void empty_buffers(const struct trial *t)
{
	const struct vbuf list[] = { HEADER(t->d), { GAP_START, 0, D_WRITE | D_NEXT }, DATA(t->d),
				     ANSWER(t->d) };

	send(t, list, 4, 3);
	EXPECT(packed_answered(t->r, 4));
	EXPECT_EQ(t->r->used_id, 3);
	EXPECT_EQ(*mem8(BLK_STATUS(t->d)), BLK_OK);
}

static void reserved_flags(const struct trial *t)
{
	const struct vbuf list[] = { { BLK_HEADER(t->d), 16, D_NEXT | 0x7f78 },
				     DATA(t->d),
				     ANSWER(t->d) };

	send(t, list, 3, 0);
	EXPECT(packed_answered(t->r, 3));
}

/* The two bits say that the descriptor is not there. */
static void not_available(const struct trial *t)
{
	const struct vbuf list[] = { { BLK_HEADER(t->d), 16, (uint16_t)(D_NEXT ^ t->a) },
				     DATA(t->d),
				     ANSWER(t->d) };

	send(t, list, 3, 0);
	pause_ms(10);
	EXPECT_EQ(t->r->desc[0].id, 0);
	EXPECT_EQ(status(t->d), S_LIVE);
	EXPECT(ring_works(t));
}

/* ---- indirect ---- */

static struct vdesc *table_of(const struct trial *t)
{
	struct vdesc *table = (struct vdesc *)(t->d->buf + 0x4000);

	blk_header(t->d, BLK_IN, 9);
	table[0] = (struct vdesc){ .addr = BLK_HEADER(t->d), .len = 16 };
	table[1] = (struct vdesc){ .addr = BLK_DATA(t->d), .len = SECTOR };
	table[2] = (struct vdesc){ .addr = BLK_STATUS(t->d), .len = 1 };
	for (unsigned i = 0; i < 3; i++) {
		table[i].id = 0;
		table[i].packed_flags = i ? D_WRITE : 0;
	}
	return table;
}

static void table_length(const struct trial *t)
{
	const struct vbuf one = { (uint64_t)table_of(t), (uint32_t)t->a, D_INDIRECT };

	refused(t, &one, 1, 0);
}

static void table_at(const struct trial *t)
{
	const struct vbuf one = { t->a, 48, D_INDIRECT };

	refused(t, &one, 1, 0);
}

static void table_with_next(const struct trial *t)
{
	const struct vbuf list[] = { { (uint64_t)table_of(t), 48, D_INDIRECT | D_NEXT },
				     ANSWER(t->d) };

	refused(t, list, 2, 0);
}

static void table_behind_buffer(const struct trial *t)
{
	const struct vbuf list[] = { HEADER(t->d), { (uint64_t)table_of(t), 48, D_INDIRECT } };

	refused(t, list, 2, 0);
}

static void table_good(const struct trial *t)
{
	const struct vbuf one = { (uint64_t)table_of(t), 48, (uint16_t)(D_INDIRECT | t->a) };

	send(t, &one, 1, 0);
	EXPECT(packed_answered(t->r, 1));
	EXPECT_EQ(*mem8(BLK_STATUS(t->d)), BLK_OK);
}

/* In a table no flag but WRITE counts: the buffer is one. */
static void table_flags(const struct trial *t)
{
	struct vdesc *table = table_of(t);
	const struct vbuf one = { (uint64_t)table, 48, D_INDIRECT };

	table[1].packed_flags = (uint16_t)(D_WRITE | t->a);
	send(t, &one, 1, 0);
	EXPECT(packed_answered(t->r, 1));
	EXPECT_EQ(*mem8(BLK_STATUS(t->d)), BLK_OK);
	EXPECT(blk_pattern((uint8_t *)BLK_DATA(t->d), 9));
}

static void table_order(const struct trial *t)
{
	struct vdesc *table = table_of(t);
	const struct vbuf one = { (uint64_t)table, 48, D_INDIRECT };

	table[2].packed_flags = 0;
	refused(t, &one, 1, 0);
}

static void table_buffer_at(const struct trial *t)
{
	struct vdesc *table = table_of(t);
	const struct vbuf one = { (uint64_t)table, 48, D_INDIRECT };

	table[1].addr = t->a;
	refused(t, &one, 1, 0);
}

static void table_not_negotiated(const struct trial *t)
{
	const struct vbuf one = { (uint64_t)table_of(t), 48, D_INDIRECT };

	refused(t, &one, 1, 0);
}

/* ---- set-up ---- */

static void set_up(const struct trial *t)
{
	vdev_features(t->d, usual_features(t->d) | F_PACKED);
	vring_setup(t->r, 0);
}

static void part_at(const struct trial *t)
{
	set_up(t);
	queue_address(t->d, (enum vreg)t->a, t->b);
	reg_write(t->d, R_QUEUE_READY, 1);
	set_status(t->d, S_LIVE);
	EXPECT(needs_reset(t->d));
}

static void part_misaligned(const struct trial *t)
{
	const enum vreg part = (enum vreg)t->a;
	uint64_t at = part == R_DESC  ? (uint64_t)t->r->desc :
		      part == R_AVAIL ? (uint64_t)t->r->avail :
					(uint64_t)t->r->used;

	part_at(&(struct trial){ t->d, t->r, t->a, at + t->b });
}

static void size_works(const struct trial *t)
{
	vdev_features(t->d, usual_features(t->d) | F_PACKED);
	vring_setup(t->r, (uint16_t)t->a);
	reg_write(t->d, R_QUEUE_READY, 1);
	set_status(t->d, S_LIVE);
	EXPECT(ring_works(t));
}

static void bad_size(const struct trial *t)
{
	set_up(t);
	reg_write(t->d, R_QUEUE_SIZE, t->a);
	reg_write(t->d, R_QUEUE_READY, 1);
	set_status(t->d, S_LIVE);
	EXPECT(ring_works(t));
}

static void features(const struct trial *t)
{
	EXPECT_EQ(vdev_features(t->d, t->a), S_ACKNOWLEDGE | S_DRIVER);
}

/* ---- event suppression ---- */

static void driver_event(const struct trial *t)
{
	for (unsigned i = 0; i < t->r->size; i++) {
		*(volatile uint32_t *)t->r->avail = (uint32_t)t->a;
		EXPECT(vdev_works(t->d));
	}
}

static void device_event(const struct trial *t)
{
	*(volatile uint32_t *)t->r->used = UINT32_MAX;
	EXPECT(ring_works(t));
}

static void queue_reset(const struct trial *t)
{
	const struct vbuf list[] = { HEADER(t->d), DATA(t->d), ANSWER(t->d) };

	for (unsigned i = 0; i < 10; i++) {
		send(t, list, 3, (uint16_t)i);
		reg_write(t->d, R_QUEUE_RESET, 1);
		EXPECT(queue_is_reset(t->d));
		vring_setup(t->r, (uint16_t)(8 + i));
		reg_write(t->d, R_QUEUE_READY, 1);
	}
	EXPECT(ring_works(t));
}

static const struct hostile cases[] = {
	{ "2.8.13 buffer in the gap", buffer_at, GAP_START, SECTOR },
	{ "2.8.13 buffer over the end of RAM", buffer_at, RAM_END - 256, SECTOR },
	{ "2.8.13 buffer round 2^64", buffer_at, UINT64_MAX - 15, SECTOR },
	{ "2.8.13 buffer of 2^32 - 1 bytes", buffer_at, 0, UINT32_MAX },
	{ "2.8.13 buffer on the local APIC", buffer_at, LAPIC, SECTOR },
	{ "2.8.17 readable buffer behind a writable one", order_of_buffers },
	{ "2.8.13 id of the ring's size, which is allowed", any_id, 0 },
	{ "2.8.13 id 65535, which is allowed", any_id, 65535 },
	{ "2.8.13 one id for two buffers", same_id },
	{ "2.8.17 a list whose end is not available", unfinished_list },
	{ "2.8.17 a list without an end", endless_list },
	{ "2.8.17 a list longer than the ring", longer_than_ring, .raw = true },
	{ "2.8.13 an empty buffer in the gap", empty_buffers },
	{ "2.8.13 reserved descriptor flags", reserved_flags },
	{ "2.8.1 both AVAIL and USED", not_available, D_USED },
	{ "2.8.1 neither AVAIL nor USED", not_available, D_AVAIL },
	{ "2.8.1 the wrong wrap counter", not_available, D_AVAIL | D_USED },
	{ "2.8.7 indirect table of 0 bytes", table_length, 0 },
	{ "2.8.7 indirect table of 15 bytes", table_length, 15 },
	{ "2.8.7 indirect table of 49 bytes", table_length, 49 },
	{ "2.8.7 indirect table of 2^32 - 16 bytes", table_length, 0xfffffff0 },
	{ "2.8.7 indirect table in the gap", table_at, GAP_START },
	{ "2.8.7 indirect table over the end of RAM", table_at, RAM_END - 32 },
	{ "2.8.7 indirect table round 2^64", table_at, UINT64_MAX - 31 },
	{ "2.8.19 INDIRECT together with NEXT", table_with_next },
	{ "2.8.19 INDIRECT at the end of a list", table_behind_buffer },
	{ "2.8.19 INDIRECT, not negotiated", table_not_negotiated,
	  .features = F_VERSION_1 | F_PACKED },
	{ "2.8.7 WRITE on an indirect descriptor", table_good, D_WRITE },
	{ "2.8.19 INDIRECT in an indirect table", table_flags, D_INDIRECT },
	{ "2.8.19 NEXT in an indirect table", table_flags, D_NEXT },
	{ "2.8.19 all other flags in an indirect table", table_flags, 0xfff8 },
	{ "2.8.17 readable behind writable in an indirect table", table_order },
	{ "2.8.7 indirect table with a buffer in the gap", table_buffer_at, GAP_START },
	{ "2.8.10.1 descriptor ring in the gap", part_at, R_DESC, GAP_START, .raw = true },
	{ "2.8.10.1 driver events in the gap", part_at, R_AVAIL, GAP_START, .raw = true },
	{ "2.8.10.1 device events in the gap", part_at, R_USED, GAP_START, .raw = true },
	{ "2.8.10.1 descriptor ring over the end of RAM", part_at, R_DESC, RAM_END - 16,
	  .raw = true },
	{ "2.8.10.1 device events behind RAM", part_at, R_USED, RAM_END, .raw = true },
	{ "2.8.10.1 device events round 2^64", part_at, R_USED, UINT64_MAX - 3, .raw = true },
	{ "2.8.11 descriptor ring not at a multiple of 16", part_misaligned, R_DESC, 8,
	  .raw = true },
	{ "2.8.11 driver events not at a multiple of 4", part_misaligned, R_AVAIL, 2, .raw = true },
	{ "2.8.11 device events at an odd address", part_misaligned, R_USED, 1, .raw = true },
	{ "2.8.10.1 ring of 5, which is allowed", size_works, 5, .raw = true },
	{ "2.8.10.1 ring of 3, which is allowed", size_works, 3, .raw = true },
	{ "2.8.10.1 ring of 0", bad_size, 0, .raw = true },
	{ "2.8.10.1 ring of 32768", bad_size, 32768, .raw = true },
	{ "6.1 the packed ring without VERSION_1", features, F_PACKED, .raw = true },
	{ "2.8.14 reserved event flags", driver_event, EVENT_RESERVED },
	{ "2.8.14 event flags for one descriptor, not negotiated", driver_event, EVENT_DESC },
	{ "2.8.14 event offset behind the ring", driver_event, EVENT_DESC | 0x7fff,
	  .features = F_VERSION_1 | F_PACKED | F_EVENT_IDX },
	{ "2.8.14 event of the wrong round", driver_event, EVENT_DESC | 0x8000,
	  .features = F_VERSION_1 | F_PACKED | F_EVENT_IDX },
	{ "2.8.14 all bits of the driver's event structure", driver_event, UINT32_MAX },
	{ "2.8.14 writing the device's event structure", device_event },
	{ "2.6.1.1 queue reset with a request in flight", queue_reset },
};

const struct suite packed_suite = { .name = "packed", .victim = VIRTIO_BLK, .must_offer = F_PACKED,
				    .extra = F_PACKED, .cases = cases, .n = N_CASES(cases) };
