/* Status and features: virtio 1.2, 2.1, 2.2, 2.4, 3.1 */
#include "hostile.h"

/* Writes a, then b: what follows is as if only what came before its time had not been asked for. */
static void out_of_order(const struct trial *t)
{
	set_status(t->d, (uint8_t)t->a);
	set_status(t->d, (uint8_t)(t->a | t->b));
	EXPECT_EQ(status(t->d), t->a);
}

static void all_at_once(const struct trial *t)
{
	set_status(t->d, (uint8_t)t->a);
	EXPECT_EQ(status(t->d), t->b);
}

static void request_too_early(const struct trial *t)
{
	const struct vbuf buf = { (uint64_t)t->d->buf, 16, D_WRITE };

	set_status(t->d, S_ACKNOWLEDGE | S_DRIVER);
	vring_setup(t->r, 0);
	reg_write(t->d, R_QUEUE_READY, 1);
	set_status(t->d, S_ACKNOWLEDGE | S_DRIVER | S_DRIVER_OK);
	vring_add(t->r, &buf, 1);
	kick(t->r);
	EXPECT(quiet(t->r));
}

static void notify_before_driver_ok(const struct trial *t)
{
	const struct vbuf buf = { (uint64_t)t->d->buf, 16, D_WRITE };

	vdev_features(t->d, usual_features(t->d));
	vring_setup(t->r, 0);
	reg_write(t->d, R_QUEUE_READY, 1);
	vring_add(t->r, &buf, 1);
	kick(t->r);
	EXPECT(quiet(t->r));
	set_status(t->d, S_LIVE);
	EXPECT(answered(t->r));
}

static void clear_bits(const struct trial *t)
{
	set_status(t->d, (uint8_t)t->a);
	EXPECT_EQ(status(t->d), S_LIVE);
	EXPECT(vdev_works(t->d));
}

static void no_queue(const struct trial *t)
{
	vdev_features(t->d, usual_features(t->d));
	set_status(t->d, S_LIVE);
	kick(t->r);
	EXPECT(quiet(t->r));
	EXPECT_EQ(status(t->d), S_LIVE);
}

static void go_on_when_broken(const struct trial *t)
{
	const struct vbuf buf = { (uint64_t)t->d->buf, 16, D_WRITE };

	offer(t->r, t->r->size);
	EXPECT(needs_reset(t->d));
	set_status(t->d, S_LIVE);
	t->r->avail->idx = 0;
	vring_add(t->r, &buf, 1);
	kick(t->r);
	EXPECT(quiet(t->r));
	EXPECT_EQ(status(t->d), S_LIVE | S_NEEDS_RESET);
}

static void fill_ring(struct vring *r)
{
	for (uint16_t i = 0; i < r->size; i++) {
		put_desc(r, i, (uint64_t)r->dev->buf, 0x1000, D_WRITE, 0);
		r->avail->ring[i] = i;
	}
	r->avail->idx = r->size;
	kick(r);
}

static void reset_in_flight(const struct trial *t)
{
	uint16_t used;

	for (unsigned i = 0; i < 20; i++) {
		fill_ring(t->r);
		vdev_reset(t->d);
		EXPECT_EQ(status(t->d), 0);
		used = t->r->used->idx;
		pause_ms(2);
		EXPECT_EQ(t->r->used->idx, used);
		EXPECT(vdev_start(t->d, usual_features(t->d)));
	}
}

static void many_resets(const struct trial *t)
{
	for (unsigned i = 0; i < 50; i++) {
		EXPECT(vdev_start(t->d, usual_features(t->d)));
		kick(t->r);
	}
	EXPECT(vdev_works(t->d));
}

static void bad_features(const struct trial *t)
{
	uint64_t features = t->a ? usual_features(t->d) | t->a : 0;

	EXPECT_EQ(t->d->offered & t->a, 0);
	EXPECT_EQ(vdev_features(t->d, features), S_ACKNOWLEDGE | S_DRIVER);
}

static void all_features(const struct trial *t)
{
	EXPECT_EQ(vdev_features(t->d, UINT64_MAX), S_ACKNOWLEDGE | S_DRIVER);
}

/* Into a word of features that no device has, before the right ones. */
static void foreign_features(const struct trial *t)
{
	const uint8_t before = S_ACKNOWLEDGE | S_DRIVER;

	set_status(t->d, before);
	reg_write(t->d, R_DEVICE_SELECT, t->a);
	EXPECT_EQ(reg_read(t->d, R_DEVICE_FEATURES), 0);
	reg_write(t->d, R_DRIVER_SELECT, t->a);
	reg_write(t->d, R_DRIVER_FEATURES, 1);
	reg_write(t->d, R_DRIVER_SELECT, 1);
	reg_write(t->d, R_DRIVER_FEATURES, F_VERSION_1 >> 32);
	set_status(t->d, before | S_FEATURES_OK);
	EXPECT_EQ(status(t->d), before);
}

static void correct_features(const struct trial *t)
{
	EXPECT_EQ(vdev_features(t->d, F(50)), S_ACKNOWLEDGE | S_DRIVER);
	reg_write(t->d, R_DRIVER_SELECT, 1);
	reg_write(t->d, R_DRIVER_FEATURES, F_VERSION_1 >> 32);
	set_status(t->d, S_LIVE & ~S_DRIVER_OK);
	EXPECT_EQ(status(t->d), S_LIVE & ~S_DRIVER_OK);
}

/* Indirect descriptors, which were not accepted in time, are still not. */
static void late_features(const struct trial *t)
{
	const struct vbuf buf = { (uint64_t)t->d->buf, 16, D_WRITE };
	uint8_t *table = t->d->buf + 0x1000;

	reg_write(t->d, R_DRIVER_SELECT, 0);
	reg_write(t->d, R_DRIVER_FEATURES, F_INDIRECT);
	put_table((struct vdesc *)table, &buf, 1);
	put_desc(t->r, 0, (uint64_t)table, sizeof(struct vdesc), D_INDIRECT, 0);
	offer(t->r, 0);
	EXPECT(needs_reset(t->d));
}

static void late_features_drop(const struct trial *t)
{
	reg_write(t->d, R_DRIVER_SELECT, 1);
	reg_write(t->d, R_DRIVER_FEATURES, 0);
	set_status(t->d, S_LIVE);
	EXPECT_EQ(status(t->d), S_LIVE);
	EXPECT(vdev_works(t->d));
}

static void write_read_only(const struct trial *t)
{
	enum vreg r = (enum vreg)t->a;
	uint64_t old = reg_read(t->d, r);

	reg_write(t->d, r, ~old);
	EXPECT_EQ(reg_read(t->d, r), old);
}

static const struct hostile cases[] = {
	{ "2.1.1 DRIVER without ACKNOWLEDGE", out_of_order, 0, S_DRIVER, .raw = true },
	{ "2.1.1 FEATURES_OK without ACKNOWLEDGE", out_of_order, 0, S_FEATURES_OK, .raw = true },
	{ "2.1.1 FEATURES_OK without DRIVER", out_of_order, S_ACKNOWLEDGE, S_FEATURES_OK,
	  .raw = true },
	{ "3.1.1 DRIVER_OK without FEATURES_OK", out_of_order, S_ACKNOWLEDGE | S_DRIVER,
	  S_DRIVER_OK, .raw = true },
	{ "3.1.1 DRIVER_OK as the first bit", out_of_order, 0, S_DRIVER_OK, .raw = true },
	{ "2.1.1 NEEDS_RESET, which is the device's", out_of_order, S_ACKNOWLEDGE, S_NEEDS_RESET,
	  .raw = true },
	{ "2.1 reserved status bits", out_of_order, S_ACKNOWLEDGE, 0x30, .raw = true },
	{ "2.1.1 going on after FAILED", out_of_order, S_FAILED, S_ACKNOWLEDGE | S_DRIVER,
	  .raw = true },
	{ "2.1.1 FAILED while working, then going on", out_of_order, S_LIVE | S_FAILED,
	  S_DRIVER_OK },
	{ "2.1 all status bits at once", all_at_once, 0xff, S_FAILED, .raw = true },
	{ "3.1.1 all steps at once, no feature accepted", all_at_once, S_LIVE,
	  S_ACKNOWLEDGE | S_DRIVER, .raw = true },
	{ "3.1.1 a request without FEATURES_OK", request_too_early, .raw = true },
	{ "2.1.2 a notification before DRIVER_OK", notify_before_driver_ok, .raw = true },
	{ "2.1.1 clearing all status bits but one", clear_bits, S_ACKNOWLEDGE },
	{ "2.1.1 clearing DRIVER_OK", clear_bits, S_LIVE & ~S_DRIVER_OK },
	{ "3.1.1 DRIVER_OK twice", clear_bits, S_LIVE },
	{ "3.1.1 DRIVER_OK without a queue", no_queue, .raw = true },
	{ "2.1.1 going on after NEEDS_RESET without a reset", go_on_when_broken },
	{ "2.4.1 reset with a ring full of requests in flight", reset_in_flight },
	{ "2.4 fifty resets", many_resets },
	{ "2.2.1 a feature that is not offered", bad_features, F(50), .raw = true },
	{ "2.2.1 bit 63", bad_features, F(63), .raw = true },
	{ "2.2.1 a feature of another kind of device", bad_features, F(5), .raw = true },
	{ "2.2.1 the packed ring, which is not offered", bad_features, F_PACKED, .raw = true },
	{ "6.1 VERSION_1 not accepted", bad_features, 0, .raw = true },
	{ "2.2.1 all features", all_features, .raw = true },
	{ "2.2.1 feature bit 64", foreign_features, 2, .raw = true },
	{ "2.2.1 the last word of features", foreign_features, UINT32_MAX, .raw = true },
	{ "2.2.2 the right features after wrong ones", correct_features, .raw = true },
	{ "2.2.1 features changed while working", late_features, .features = F_VERSION_1 },
	{ "2.2.1 VERSION_1 taken back while working", late_features_drop },
	{ "2.2 writing the offered features", write_read_only, R_DEVICE_FEATURES, .raw = true },
	{ "2.5.1 writing the configuration generation", write_read_only, R_GENERATION,
	  .raw = true },
};

const struct suite status_suite = { .name = "status", .victim = VIRTIO_RNG, .cases = cases,
				    .n = N_CASES(cases) };
