/* How a queue is set up, and the reset of a queue: virtio 1.2, 2.6 and 2.7 */
#include "hostile.h"

static void set_up(const struct trial *t)
{
	vdev_features(t->d, usual_features(t->d));
	vring_setup(t->r, 0);
}

static void go(const struct trial *t)
{
	reg_write(t->d, R_QUEUE_READY, 1);
	set_status(t->d, S_LIVE);
}

/* More requests than the ring has entries: a size other than the driver's would show. */
static bool ring_works(const struct trial *t)
{
	for (unsigned i = 0; i < t->r->size + 6U; i++)
		if (!vdev_works(t->d))
			return false;
	return true;
}

/* ---- addresses ---- */

static void part_at(const struct trial *t)
{
	set_up(t);
	queue_address(t->d, (enum vreg)t->a, t->b);
	go(t);
	EXPECT(needs_reset(t->d));
}

static void part_in_device(const struct trial *t)
{
	set_up(t);
	queue_address(t->d, (enum vreg)t->a, t->d->base);
	go(t);
	EXPECT(needs_reset(t->d));
}

static void part_misaligned(const struct trial *t)
{
	const enum vreg part = (enum vreg)t->a;
	uint64_t at = part == R_DESC  ? (uint64_t)t->r->desc :
		      part == R_AVAIL ? (uint64_t)t->r->avail :
					(uint64_t)t->r->used;

	set_up(t);
	queue_address(t->d, part, at + t->b);
	go(t);
	EXPECT(needs_reset(t->d));
}

/* The device may do what it likes with a ring that overwrites itself, but only to that ring. */
static void overlap(const struct trial *t)
{
	const struct vbuf buf = { (uint64_t)t->d->buf, 16, D_WRITE };

	set_up(t);
	queue_address(t->d, R_AVAIL, (uint64_t)t->r->desc + t->a);
	queue_address(t->d, R_USED, (uint64_t)t->r->desc + t->b);
	go(t);
	vring_add(t->r, &buf, 1);
	for (unsigned i = 0; i < 10; i++) {
		kick(t->r);
		*mem16((uint64_t)t->r->desc + t->a + 2) = (uint16_t)(i * 7);
	}
	pause_ms(2);
}

static void never_set(const struct trial *t)
{
	vdev_features(t->d, usual_features(t->d));
	reg_write(t->d, R_QUEUE_SELECT, 0);
	go(t);
	kick(t->r);
	pause_ms(2);
}

/* ---- size ---- */

static void bad_size(const struct trial *t)
{
	set_up(t);
	reg_write(t->d, R_QUEUE_SIZE, t->a);
	go(t);
	EXPECT_EQ(status(t->d), S_LIVE);
	EXPECT(ring_works(t));
}

static void twice_the_size(const struct trial *t)
{
	set_up(t);
	reg_write(t->d, R_QUEUE_SIZE, reg_read(t->d, R_QUEUE_MAX) * 2);
	go(t);
	EXPECT(ring_works(t));
}

static void smallest_size(const struct trial *t)
{
	vdev_features(t->d, usual_features(t->d));
	vring_setup(t->r, (uint16_t)t->a);
	go(t);
	EXPECT(ring_works(t));
}

/* ---- what is ready is frozen ---- */

static void change_ready(const struct trial *t)
{
	set_up(t);
	reg_write(t->d, R_QUEUE_READY, 1);
	if (t->a == R_QUEUE_SIZE)
		reg_write(t->d, R_QUEUE_SIZE, 8);
	else
		queue_address(t->d, (enum vreg)t->a, GAP_START);
	go(t);
	EXPECT(ring_works(t));
}

static void change_live(const struct trial *t)
{
	queue_address(t->d, R_DESC, GAP_START);
	queue_address(t->d, R_AVAIL, GAP_START);
	queue_address(t->d, R_USED, GAP_START);
	reg_write(t->d, R_QUEUE_SIZE, 8);
	reg_write(t->d, R_QUEUE_READY, 1);
	EXPECT(ring_works(t));
}

static void ready_value(const struct trial *t)
{
	set_up(t);
	reg_write(t->d, R_QUEUE_READY, t->a);
	EXPECT_EQ(reg_read(t->d, R_QUEUE_READY), 0);
}

static void ready_twice(const struct trial *t)
{
	for (unsigned i = 0; i < 20; i++)
		reg_write(t->d, R_QUEUE_READY, 1);
	EXPECT_EQ(reg_read(t->d, R_QUEUE_READY), 1);
	EXPECT(ring_works(t));
}

/* ---- queues that do not exist ---- */

static void no_such_queue(const struct trial *t)
{
	reg_write(t->d, R_QUEUE_SELECT, t->a);
	EXPECT_EQ(reg_read(t->d, R_QUEUE_MAX), 0);
	reg_write(t->d, R_QUEUE_SIZE, 8);
	queue_address(t->d, R_DESC, 0x1000);
	queue_address(t->d, R_AVAIL, 0x2000);
	queue_address(t->d, R_USED, 0x3000);
	reg_write(t->d, R_QUEUE_READY, 1);
	EXPECT_EQ(reg_read(t->d, R_QUEUE_READY), 0);
	reg_write(t->d, R_QUEUE_RESET, 1);
	EXPECT(queue_is_reset(t->d));
	reg_write(t->d, R_QUEUE_SELECT, 0);
	EXPECT(ring_works(t));
}

static void notify_nobody(const struct trial *t)
{
	notify(t->d, 1);
	notify(t->d, 5);
	EXPECT(quiet(t->r));
	EXPECT_EQ(status(t->d), S_LIVE);
	EXPECT(vdev_works(t->d));
}

static void notify_again_and_again(const struct trial *t)
{
	for (unsigned i = 0; i < 500; i++)
		kick(t->r);
	EXPECT(quiet(t->r));
	EXPECT(ring_works(t));
}

/* ---- reset of a queue ---- */

static bool reset_queue(const struct trial *t)
{
	reg_write(t->d, R_QUEUE_SELECT, 0);
	reg_write(t->d, R_QUEUE_RESET, 1);
	return queue_is_reset(t->d);
}

static bool again(const struct trial *t)
{
	vring_setup(t->r, 0);
	reg_write(t->d, R_QUEUE_READY, 1);
	return ring_works(t);
}

static void reset_ignored(const struct trial *t)
{
	reg_write(t->d, R_QUEUE_RESET, t->a);
	EXPECT_EQ(reg_read(t->d, R_QUEUE_READY), 1);
	EXPECT(ring_works(t));
}

static void reset_idle(const struct trial *t)
{
	vdev_features(t->d, usual_features(t->d));
	set_status(t->d, S_LIVE);
	EXPECT(reset_queue(t));
	EXPECT(reset_queue(t));
	EXPECT(again(t));
}

static void reset_before_driver_ok(const struct trial *t)
{
	set_up(t);
	reg_write(t->d, R_QUEUE_READY, 1);
	EXPECT(reset_queue(t));
	vring_setup(t->r, 0);
	go(t);
	EXPECT(ring_works(t));
}

static void reset_in_flight(const struct trial *t)
{
	uint16_t used;

	for (unsigned n = 0; n < 20; n++) {
		for (uint16_t i = 0; i < t->r->size; i++) {
			put_desc(t->r, i, (uint64_t)t->d->buf, 0x1000, D_WRITE, 0);
			t->r->avail->ring[i] = i;
		}
		t->r->avail->idx = t->r->size;
		kick(t->r);
		EXPECT(reset_queue(t));
		used = t->r->used->idx;
		kick(t->r);
		pause_ms(2);
		EXPECT_EQ(t->r->used->idx, used);
		vring_setup(t->r, 0);
		reg_write(t->d, R_QUEUE_READY, 1);
	}
	EXPECT(ring_works(t));
}

static void reset_other_size(const struct trial *t)
{
	EXPECT(reset_queue(t));
	vring_setup(t->r, 4);
	reg_write(t->d, R_QUEUE_READY, 1);
	EXPECT(ring_works(t));
}

static void reset_bad_ring(const struct trial *t)
{
	EXPECT(reset_queue(t));
	vring_setup(t->r, 0);
	queue_address(t->d, (enum vreg)t->a, t->b);
	reg_write(t->d, R_QUEUE_READY, 1);
	EXPECT(needs_reset(t->d));
}

static void reset_heals_nothing(const struct trial *t)
{
	offer(t->r, t->r->size);
	EXPECT(needs_reset(t->d));
	EXPECT(reset_queue(t));
	vring_setup(t->r, 0);
	reg_write(t->d, R_QUEUE_READY, 1);
	EXPECT_EQ(status(t->d), S_LIVE | S_NEEDS_RESET);
	put_desc(t->r, 0, (uint64_t)t->d->buf, 16, D_WRITE, 0);
	offer(t->r, 0);
	EXPECT(quiet(t->r));
}

static void reset_forgets(const struct trial *t)
{
	EXPECT(reset_queue(t));
	reg_write(t->d, R_QUEUE_READY, 1);
	kick(t->r);
	pause_ms(2);
}

#define PARTS_AT(what, addr)                                                                       \
	{ "2.7 descriptor table " what, part_at, R_DESC, addr, .raw = true },                      \
	{ "2.7 available ring " what, part_at, R_AVAIL, addr, .raw = true },                       \
	{ "2.7 used ring " what, part_at, R_USED, addr, .raw = true }

static const struct hostile cases[] = {
	PARTS_AT("in the gap", GAP_START),
	PARTS_AT("at the end of RAM", RAM_END),
	PARTS_AT("at the local APIC", LAPIC),
	PARTS_AT("above 4 GB, where nothing is", FOUR_GB),
	PARTS_AT("that goes round 2^64", UINT64_MAX - 15),
	{ "2.7 descriptor table over the end of RAM", part_at, R_DESC, RAM_END - 16, .raw = true },
	{ "2.7 available ring over the end of RAM", part_at, R_AVAIL, RAM_END - 16, .raw = true },
	{ "2.7 used ring over the end of RAM", part_at, R_USED, RAM_END - 16, .raw = true },
	{ "2.7 descriptor table in the device's registers", part_in_device, R_DESC, .raw = true },
	{ "2.7 used ring in the device's registers", part_in_device, R_USED, .raw = true },
	{ "2.7.1 descriptor table not at a multiple of 16", part_misaligned, R_DESC, 8,
	  .raw = true },
	{ "2.7.1 available ring at an odd address", part_misaligned, R_AVAIL, 1, .raw = true },
	{ "2.7.1 used ring not at a multiple of 4", part_misaligned, R_USED, 2, .raw = true },
	{ "2.7 all parts at one address", overlap, 0, 0, .raw = true },
	{ "2.7 used ring over the descriptor table", overlap, 0x1000, 0, .raw = true },
	{ "2.7 used ring over the available ring", overlap, 0x1000, 0x1000, .raw = true },
	{ "2.7 addresses never written", never_set, .raw = true },
	{ "2.7 queue size 0", bad_size, 0, .raw = true },
	{ "2.7 queue size 3", bad_size, 3, .raw = true },
	{ "2.7 queue size 63", bad_size, 63, .raw = true },
	{ "2.7 queue size 65535", bad_size, 65535, .raw = true },
	{ "2.7 queue size 32768", bad_size, 32768, .raw = true },
	{ "2.7 queue size above the device's", twice_the_size, .raw = true },
	{ "2.7 queue size 1", smallest_size, 1, .raw = true },
	{ "2.7 queue size 2", smallest_size, 2, .raw = true },
	{ "4.1.4.3.2 size changed when ready", change_ready, R_QUEUE_SIZE, .raw = true },
	{ "4.1.4.3.2 descriptor table moved when ready", change_ready, R_DESC, .raw = true },
	{ "4.1.4.3.2 available ring moved when ready", change_ready, R_AVAIL, .raw = true },
	{ "4.1.4.3.2 used ring moved when ready", change_ready, R_USED, .raw = true },
	{ "4.1.4.3.2 everything changed while working", change_live },
	{ "4.1.4.3.2 queue made ready by a 2", ready_value, 2, .raw = true },
	{ "4.1.4.3.2 queue made ready by ones", ready_value, 0xffff, .raw = true },
	{ "4.1.4.3.2 queue made ready again and again", ready_twice },
	{ "4.1.4.3 queue 1 of 1", no_such_queue, 1 },
	{ "4.1.4.3 queue 65535", no_such_queue, 65535 },
	{ "2.3 notification of a queue that is not there", notify_nobody },
	{ "2.7.13.4 notifications without a buffer", notify_again_and_again },
	{ "2.6.1 queue reset, not negotiated", reset_ignored, 1, .features = F_VERSION_1 },
	{ "2.6.1 queue reset by a 2", reset_ignored, 2 },
	{ "2.6.1 queue reset by a 0", reset_ignored, 0 },
	{ "2.6.1 queue reset by ones", reset_ignored, 0xffff },
	{ "2.6.1 reset of a queue that is not ready", reset_idle, .raw = true },
	{ "2.6.1 queue reset before DRIVER_OK", reset_before_driver_ok, .raw = true },
	{ "2.6.1.1 queue reset with a ring full of requests", reset_in_flight },
	{ "2.6.1.2 ready again with another size", reset_other_size },
	{ "2.6.1.2 ready again in the gap", reset_bad_ring, R_DESC, GAP_START },
	{ "2.6.1.2 ready again with a used ring past RAM", reset_bad_ring, R_USED, RAM_END },
	{ "2.6.1.2 ready again without addresses", reset_forgets },
	{ "2.6.1 queue reset of a broken device", reset_heals_nothing },
};

const struct suite queue_suite = { .name = "queue", .victim = VIRTIO_RNG, .cases = cases,
				   .n = N_CASES(cases) };
