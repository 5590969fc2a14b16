/* Links: virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o tests/unit/fake-ring.o */

/* The packed ring: what it does not share with the split ring. */
#include <errno.h>

#include "virtq-rig.h"

#define AVAIL (1U << VRING_PACKED_DESC_F_AVAIL)
#define USED  (1U << VRING_PACKED_DESC_F_USED)

static struct rig r;

/* An entry as the driver makes it available in lap 1 (wrap counter 1) or lap 2 (0). */
static void put(unsigned at, unsigned flags, uint16_t id, unsigned lap)
{
	r.q.ring[at] = (struct vring_packed_desc){
		.addr = r.buf.v,
		.len = 16,
		.id = id,
		.flags = (uint16_t)(flags | (lap == 1 ? AVAIL : USED)),
	};
}

/* What makes an entry available: both bits, against the wrap counter. */
START_TEST(test_available)
{
	static const struct {
		unsigned bits;
		bool lap1, lap2;
	} table[] = {
		{ 0, false, false },
		{ AVAIL, true, false },
		{ USED, false, true },
		{ AVAIL | USED, false, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		rig_init(&r, 1, FAKE_PACKED);
		put(0, 0, 0, 1);
		r.q.ring[0].flags = (uint16_t)table[i].bits;
		ck_assert_int_eq(virtq_notify_on(&r.vq), table[i].lap1);
		ck_assert_int_eq(virtq_pop(&r.vq, &r.c), table[i].lap1);
		rig_fini(&r);

		rig_init(&r, 1, FAKE_PACKED);
		rig_round(&r, 1);
		r.q.ring[0].flags = (uint16_t)table[i].bits;
		ck_assert_int_eq(virtq_notify_on(&r.vq), table[i].lap2);
		ck_assert_int_eq(virtq_pop(&r.vq, &r.c), table[i].lap2);
		rig_fini(&r);
	}
}
END_TEST

/* A used entry: id, length, both bits as the wrap counter, WRITE if something was written. */
START_TEST(test_used_entry)
{
	rig_init(&r, 2, FAKE_PACKED);
	for (unsigned lap = 1; lap <= 4; lap++) {
		const unsigned bits = lap % 2 ? AVAIL | USED : 0;

		ck_assert_int_ge(rig_add(&r), 0);
		ck_assert_int_ge(rig_add(&r), 0);
		virtq_push(&r.vq, rig_pop(&r, 1, 0), 33);
		virtq_push(&r.vq, rig_pop(&r, 1, 0), 0);
		virtq_flush(&r.vq);
		ck_assert_uint_eq(r.q.ring[0].flags, bits | VRING_DESC_F_WRITE);
		ck_assert_uint_eq(r.q.ring[0].len, 33);
		ck_assert_uint_eq(r.q.ring[1].flags, bits);
		for (uint32_t written; fake_used(&r.q, &written) >= 0;)
			;
	}
	rig_fini(&r);
}
END_TEST

/* The flags of a batch's first entry come last. */
START_TEST(test_batch_is_held_back)
{
	uint16_t before;

	rig_init(&r, 4, FAKE_PACKED);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_ge(rig_add(&r), 0);
	before = r.q.ring[0].flags;
	for (unsigned i = 0; i < 3; i++)
		virtq_push(&r.vq, rig_pop(&r, 1, 0), 0);
	ck_assert_uint_eq(r.q.ring[0].flags, before);
	ck_assert_uint_eq(r.q.ring[2].flags, AVAIL | USED);
	virtq_flush(&r.vq);
	ck_assert_uint_eq(r.q.ring[0].flags, AVAIL | USED);
	rig_fini(&r);
}
END_TEST

/* A batch whose first entry is before the end of the ring and whose last is behind it. */
START_TEST(test_batch_across_the_end)
{
	struct fake_buf bufs[2];
	uint32_t written;

	rig_init(&r, 5, FAKE_PACKED);
	rig_round(&r, 4);
	bufs[0] = bufs[1] = FAKE_OUT(r.buf, 16);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_ge(fake_add(&r.q, bufs, 2), 0);
	for (unsigned i = 0; i < 2; i++)
		virtq_push(&r.vq, rig_pop(&r, 2, 0), 0);
	ck_assert_int_eq(fake_used(&r.q, &written), -1);
	virtq_flush(&r.vq);
	ck_assert_uint_eq(r.q.ring[4].flags, AVAIL | USED);
	ck_assert_uint_eq(r.q.ring[1].flags, 0);
	ck_assert_int_ge(fake_used(&r.q, &written), 0);
	ck_assert_int_ge(fake_used(&r.q, &written), 0);
	ck_assert_int_eq(fake_used(&r.q, &written), -1);
	rig_fini(&r);
}
END_TEST

START_TEST(test_malformed)
{
	static const struct {
		uint16_t flags0, flags1, id;
		int want;
	} table[] = {
		{ 0, 0, 3, 1 },
		{ VRING_DESC_F_NEXT, 0, 3, 1 },
		{ VRING_DESC_F_NEXT, VRING_DESC_F_WRITE, 3, 1 },
		{ VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 0, 3, -EPROTO },
		{ VRING_DESC_F_NEXT, VRING_DESC_F_NEXT, 3, -EPROTO }, /* the third is not there */
		{ VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT, 0, 3, -EPROTO },
		{ VRING_DESC_F_NEXT, VRING_DESC_F_INDIRECT, 3, -EPROTO },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		rig_init(&r, 4, FAKE_PACKED | FAKE_INDIRECT);
		put(0, table[i].flags0, table[i].id, 1);
		put(1, table[i].flags1, table[i].id, 1);
		ck_assert_msg(virtq_pop(&r.vq, &r.c) == table[i].want, "line %zu", i);
		if (table[i].want < 0)
			rig_broken(&r, table[i].want);
		rig_fini(&r);
	}
}
END_TEST

/* A chain as long as the ring is good; one that goes round and on is not. */
START_TEST(test_longest)
{
	rig_init(&r, 4, FAKE_PACKED);
	for (unsigned i = 0; i < 4; i++)
		put(i, i < 3 ? VRING_DESC_F_NEXT : 0, 0, 1);
	rig_pop(&r, 4, 0);
	rig_fini(&r);

	/* Each entry is available in either lap: the driver changes it behind our back. */
	rig_init(&r, 1, FAKE_PACKED);
	put(0, VRING_DESC_F_NEXT, 0, 1);
	rig_broken(&r, -EPROTO);
	rig_fini(&r);
}
END_TEST

/* Chains of one, two and one entries come back in another order, each under the id of its last. */
static void check_ids(uint16_t first, uint16_t second, uint16_t third)
{
	uint64_t token[3];

	rig_init(&r, 4, FAKE_PACKED);
	put(0, 0, first, 1);
	put(1, VRING_DESC_F_NEXT, (uint16_t)~second, 1);
	put(2, 0, second, 1);
	put(3, 0, third, 1);
	for (unsigned i = 0; i < 3; i++)
		token[i] = rig_pop(&r, 1 + i % 2, 0);
	virtq_push(&r.vq, token[1], 1);
	virtq_push(&r.vq, token[2], 2);
	virtq_push(&r.vq, token[0], 3);
	virtq_flush(&r.vq);
	ck_assert_uint_eq(r.q.ring[0].id, second);
	ck_assert_uint_eq(r.q.ring[0].len, 1);
	ck_assert_uint_eq(r.q.ring[2].id, third);
	ck_assert_uint_eq(r.q.ring[2].len, 2);
	ck_assert_uint_eq(r.q.ring[3].id, first);
	ck_assert_uint_eq(r.q.ring[3].len, 3);
	/* All four entries are the driver's again. */
	for (unsigned i = 0; i < 4; i++)
		put(i, i < 3 ? VRING_DESC_F_NEXT : 0, third, 2);
	rig_pop(&r, 4, 0);
	rig_fini(&r);
}

/* Ids are the driver's: of any value, and the same one twice is its own trouble. */
START_TEST(test_any_id)
{
	check_ids(0, 1, 2);
	check_ids(3, 4, 5);
	check_ids(0xffff, 0x8000, 0);
	check_ids(VIRTQ_MAX_SIZE, 0xfffe, 0xffff);
	check_ids(2, 2, 2);
	check_ids(0xffff, 0xffff, 0xffff);
}
END_TEST

/* The driver makes an entry available again before it was given back: out, or not flushed. */
START_TEST(test_entry_twice)
{
	for (unsigned i = 0; i < 3; i++) {
		uint64_t token;

		rig_init(&r, 2, FAKE_PACKED);
		put(0, 0, 0, 1);
		token = rig_pop(&r, 1, 0);
		put(1, 0, 1, 1);
		rig_pop(&r, 1, 0);
		if (i)
			virtq_push(&r.vq, token, 0);
		if (i > 1)
			virtq_flush(&r.vq);
		put(0, 0, 0, 2);
		ck_assert_int_eq(virtq_pop(&r.vq, &r.c), i > 1 ? 1 : -EPROTO);
		rig_fini(&r);
	}
}
END_TEST

/* In a table only WRITE counts, and all of its descriptors do. */
START_TEST(test_table)
{
	static const uint16_t flags[] = { VRING_DESC_F_NEXT, VRING_DESC_F_INDIRECT, 0,
					  VRING_DESC_F_WRITE, 0xffff };
	struct vring_packed_desc *table;
	gpa_t at;

	rig_init(&r, 4, FAKE_PACKED | FAKE_INDIRECT);
	at = fake_alloc(&r.d, 16 * 5 + 1, 16);
	at.v++;
	table = fake_at(&r.d, at);
	for (unsigned i = 0; i < 5; i++) {
		struct vring_packed_desc d = { r.buf.v + i, 16, 9, flags[i] };

		memcpy((char *)table + 16 * i, &d, 16);
	}
	put(0, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE, 1, 1);
	r.q.ring[0].addr = at.v;
	r.q.ring[0].len = 16 * 5;
	rig_pop(&r, 3, 2);
	ck_assert_ptr_eq(r.c.iov[4].iov_base, fake_at(&r.d, rig_buf(&r, 4)));
	rig_fini(&r);
}
END_TEST

START_TEST(test_bad_table)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
		int want;
	} table[] = {
		{ 0x1000, 16, 1 },
		{ 0x1000, 0, -EPROTO },
		{ 0x1000, 15, -EPROTO },
		{ 0x1000, 17, -EPROTO },
		{ 0x1000, 16 * 1024, 1 },
		{ 0x1000, 16 * 1025, -EPROTO },
		{ RIG_MIB * MIB - 8, 16, -EFAULT },
		{ UINT64_MAX - 15, 16, -EFAULT },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		rig_init(&r, 4, FAKE_PACKED | FAKE_INDIRECT);
		put(0, VRING_DESC_F_INDIRECT, 0, 1);
		r.q.ring[0].addr = table[i].addr;
		r.q.ring[0].len = table[i].len;
		ck_assert_msg(virtq_pop(&r.vq, &r.c) == table[i].want, "line %zu", i);
		rig_fini(&r);
	}
}
END_TEST

/* What the driver's event suppression structure may say, in a ring of 8 with 6 entries used before.
 */
START_TEST(test_event_table)
{
	enum { ENABLE, DISABLE, DESC, RESERVED };
	static const struct {
		uint16_t flags, at, wrap, n;
		bool with, without; /* event index */
	} table[] = {
		{ ENABLE, 0, 0, 1, true, true },
		{ DISABLE, 6, 1, 1, false, false },
		{ RESERVED, 0, 0, 1, true, true },
		{ 0xfffc | ENABLE, 0, 0, 1, true, true },
		{ 0xfffc | DISABLE, 0, 0, 1, false, false },
		{ DESC, 6, 1, 1, true, true },
		{ DESC, 6, 0, 1, false, true },
		{ DESC, 7, 1, 1, false, true },
		{ DESC, 5, 1, 1, false, true },
		{ DESC, 7, 1, 2, true, true }, /* used_wrap is 0 behind it */
		{ DESC, 6, 1, 2, true, true },
		{ DESC, 5, 1, 2, false, true },
		{ DESC, 0, 0, 2, false, true },
		{ DESC, 0, 0, 3, true, true },
		{ DESC, 0, 1, 3, false, true },
		{ DESC, 6, 1, 3, true, true },
		{ DESC, 5, 1, 3, false, true },
		{ DESC, 1, 0, 3, false, true },
		{ DESC, 5, 0, 8, true, true },
		{ DESC, 6, 0, 8, false, true },
		{ DESC, 0x7fff, 0, 8, false, true }, /* outside the ring */
		{ DESC, 0x7fff, 1, 8, false, true },
	};

	for (size_t i = 0; i < 2 * ARRAY_SIZE(table); i++) {
		const bool with = i % 2;

		rig_init(&r, 8, FAKE_PACKED | (with ? FAKE_EVENT_IDX : 0));
		rig_round(&r, 6);
		r.q.driver_event->flags = table[i / 2].flags;
		r.q.driver_event->off_wrap = (uint16_t)(table[i / 2].at | table[i / 2].wrap << 15);
		ck_assert_msg(rig_round(&r, table[i / 2].n) ==
				      (with ? table[i / 2].with : table[i / 2].without),
			      "line %zu, %d", i / 2, with);
		rig_fini(&r);
	}
}
END_TEST

/* An event within a chain counts when the chain is used. */
START_TEST(test_event_inside_chain)
{
	for (uint16_t after = 0; after < 5; after++) {
		struct fake_buf bufs[4];

		rig_init(&r, 8, FAKE_PACKED | FAKE_EVENT_IDX);
		rig_round(&r, 6);
		for (unsigned i = 0; i < 4; i++)
			bufs[i] = FAKE_OUT(r.buf, 16);
		fake_add(&r.q, bufs, 4);
		fake_irq_on(&r.q, after);
		virtq_push(&r.vq, rig_pop(&r, 4, 0), 0);
		ck_assert_int_eq(virtq_flush(&r.vq), after < 4);
		rig_fini(&r);
	}
}
END_TEST

/* What we write into the device's event suppression structure. */
START_TEST(test_device_event)
{
	rig_init(&r, 3, FAKE_PACKED);
	virtq_notify_off(&r.vq);
	ck_assert_uint_eq(r.q.device_event->flags, VRING_PACKED_EVENT_FLAG_DISABLE);
	virtq_notify_on(&r.vq);
	ck_assert_uint_eq(r.q.device_event->flags, VRING_PACKED_EVENT_FLAG_ENABLE);
	rig_fini(&r);

	rig_init(&r, 3, FAKE_PACKED | FAKE_EVENT_IDX);
	for (unsigned i = 0; i < 7; i++) {
		virtq_notify_on(&r.vq);
		ck_assert_uint_eq(r.q.device_event->flags, VRING_PACKED_EVENT_FLAG_DESC);
		ck_assert_uint_eq(r.q.device_event->off_wrap, i % 3 | (i / 3 % 2 ? 0 : 0x8000));
		virtq_notify_off(&r.vq);
		ck_assert_uint_eq(r.q.device_event->flags, VRING_PACKED_EVENT_FLAG_DISABLE);
		rig_round(&r, 1);
	}
	rig_fini(&r);
}
END_TEST

UNIT_MAIN("virtq_packed", test_available, test_used_entry, test_batch_is_held_back,
	  test_batch_across_the_end, test_malformed, test_longest, test_any_id, test_entry_twice,
	  test_table, test_bad_table, test_event_table, test_event_inside_chain, test_device_event)
