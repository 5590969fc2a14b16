/* Links: virtio/state.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o hw/state.o hw/state-show.o util/json.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/* The state of the core and its queues, with a toy device of two queues that echoes. */
#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>

#include "fake-driver.h"
#include "state.h"
#include "virtio-state.h"

#define ACK         VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER      VIRTIO_CONFIG_S_DRIVER
#define FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define DRIVER_OK   VIRTIO_CONFIG_S_DRIVER_OK
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET
#define LIVE        (ACK | DRIVER | FEATURES_OK | DRIVER_OK)
#define TOY_A       3 /* feature bits; B needs A */
#define TOY_B       5

static struct fake_driver drv;
static struct virtio_dev toys[2], *dev; /* the one that is, and room for its twin */
static gpa_t out, in;
static atomic_bool keep; /* chains are taken, and stay: */
static atomic_uint kept;
static atomic_bool slow; /* what is drained takes until: */
static sem_t drained;

static void handle(struct virtio_dev *d, unsigned index)
{
	char bytes[64];
	size_t n = virtq_read(d->chain, 0, bytes, sizeof(bytes));

	if (atomic_load(&keep)) {
		atomic_fetch_add(&kept, 1);
		return;
	}
	n = virtq_write(d->chain, 0, bytes, n);
	virtio_push(d, index, d->chain->token, (uint32_t)n);
}

static void kick(struct virtio_dev *d, unsigned index)
{
	virtio_serve(d, index, handle);
}

static void drain(struct virtio_dev *d, int index)
{
	(void)d, (void)index;
	while (atomic_load(&slow) && sem_wait(&drained))
		;
}

static bool features_ok(const struct virtio_dev *d, uint64_t features)
{
	(void)d;
	return !(features >> TOY_B & 1) || features >> TOY_A & 1;
}

static struct virtio_type toy_type = {
	.name = "toy",
	.id = 42,
	.queue_size = 64,
	.kick = kick,
	.drain = drain,
	.features_ok = features_ok,
};

static void new_toy(struct virtio_dev *d)
{
	*d = (struct virtio_dev){ .type = &toy_type,
				  .name = "toy0",
				  .ram = drv.ram,
				  .n_queues = 2,
				  .device_features = FAKE_PACKED | 1U << TOY_A | 1U << TOY_B };
	ck_assert_int_eq(virtio_init(d), 0);
}

static void setup(void)
{
	fake_init(&drv, 4);
	out = fake_alloc(&drv, 64, 8);
	in = fake_alloc(&drv, 64, 8);
	dev = &toys[0];
	new_toy(dev);
	fake_attach(&drv, dev);
}

static void teardown(void)
{
	virtio_fini(dev);
	fake_fini(&drv);
}

static void echo(unsigned index)
{
	const struct fake_buf bufs[] = { FAKE_OUT(out, 20), FAKE_IN(in, 30) };
	static char count;

	memset(fake_at(&drv, out), ++count, 20);
	ck_assert_int_eq(fake_request(&drv, index, bufs, 2), 20);
	ck_assert_mem_eq(fake_at(&drv, in), fake_at(&drv, out), 20);
}

/* The device is saved and thrown away, and a new one, which stands still, gets the state. */
static void replace(void)
{
	struct virtio_dev *old = dev, *twin = &toys[dev == &toys[0]];
	struct state_buf saved = { 0 }, again = { 0 };
	struct state_reader in_saved;
	void *ram;

	ck_assert_int_eq(virtio_dev_save(old, &saved), 0);
	ram = ram_kept(drv.ram);
	virtio_fini(old);
	ram_restore(drv.ram, ram);
	new_toy(twin);
	fake_move(&drv, twin);
	hold(twin);
	in_saved = state_reader_of(&saved);
	ck_assert_msg(!virtio_dev_load(twin, &in_saved), "%s", in_saved.why);
	ck_assert_ptr_eq(in_saved.at, in_saved.end);
	ck_assert_int_eq(virtio_dev_save(twin, &again), 0);
	ck_assert_uint_eq(again.len, saved.len);
	ck_assert_mem_eq(again.data, saved.data, saved.len);
	state_buf_free(&saved);
	state_buf_free(&again);
	dev = twin;
}

static void restore(void)
{
	hold(dev);
	replace();
	virtio_dev_hold_end(dev);
}

START_TEST(test_table)
{
	state_test_table(&virtio_state_type);
}
END_TEST

/* Saved before each step of a driver, which notices nothing */
START_TEST(test_each_step)
{
	for (unsigned f = 0; f < 2; f++) {
		const uint64_t features = FAKE_VERSION_1 | (f ? FAKE_PACKED : 0) | 1U << TOY_A;
		const uint8_t steps[] = { ACK, ACK | DRIVER, ACK | DRIVER | FEATURES_OK };

		setup();
		drv.features = features;
		for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
			restore();
			if (steps[i] & FEATURES_OK) {
				virtio_set_features(dev, 0, (uint32_t)features);
				restore();
				virtio_set_features(dev, 1, (uint32_t)(features >> 32));
			}
			virtio_set_status(dev, steps[i]);
			ck_assert_uint_eq(virtio_get_status(dev), steps[i]);
		}
		ck_assert_uint_eq(virtio_get_driver_features(dev, 1), features >> 32);
		for (unsigned i = 0; i < 2; i++) {
			virtio_queue_set(dev, i, VIRTIO_QUEUE_SIZE, 8);
			restore();
			ck_assert_uint_eq(virtio_queue_get(dev, i, VIRTIO_QUEUE_SIZE), 8);
			fake_setup_queue(&drv, i, 16);
			restore();
			ck_assert_uint_eq(virtio_queue_get(dev, i, VIRTIO_QUEUE_READY), 1);
		}
		virtio_set_status(dev, LIVE);
		restore();
		ck_assert_uint_eq(virtio_get_status(dev), LIVE);
		echo(0);
		echo(1);
		virtio_set_status(dev, 0);
		restore();
		ck_assert_uint_eq(virtio_get_status(dev), 0);
		teardown();
	}
}
END_TEST

/* It refuses a driver as it would have: features that are no device's, a failed driver. */
START_TEST(test_refusing)
{
	setup();
	virtio_set_status(dev, ACK | DRIVER);
	virtio_set_features(dev, 1, 1);
	virtio_set_features(dev, 2, 1);
	restore();
	virtio_set_status(dev, ACK | DRIVER | FEATURES_OK);
	ck_assert_uint_eq(virtio_get_status(dev), ACK | DRIVER);
	virtio_set_status(dev, VIRTIO_CONFIG_S_FAILED);
	restore();
	virtio_set_status(dev, ACK | DRIVER | FEATURES_OK);
	ck_assert_uint_eq(virtio_get_status(dev), ACK | DRIVER | VIRTIO_CONFIG_S_FAILED);
	teardown();
}
END_TEST

static const uint64_t formats[] = {
	0,
	FAKE_EVENT_IDX | FAKE_INDIRECT,
	FAKE_PACKED,
	FAKE_PACKED | FAKE_EVENT_IDX | FAKE_INDIRECT,
};

/* Used for several laps of the ring, saved at each place of it, and used again */
START_TEST(test_requests)
{
	for (unsigned f = 0; f < ARRAY_SIZE(formats); f++) {
		setup();
		ck_assert(fake_probe(&drv, formats[f], 8));
		for (unsigned i = 0; i < 20; i++) {
			restore();
			echo(i % 2);
			echo(0);
		}
		teardown();
	}
}
END_TEST

/* Added and notified while it stood still: nobody notifies again, and the loaded one answers. */
START_TEST(test_waiting_requests)
{
	for (unsigned f = 0; f < ARRAY_SIZE(formats); f++) {
		uint32_t written;

		setup();
		ck_assert(fake_probe(&drv, formats[f], 8));
		echo(0);
		hold(dev);
		for (unsigned i = 0; i < 3; i++) {
			struct fake_buf buf = FAKE_OUT(out, 4);

			ck_assert_int_ge(fake_add(&drv.queue[0], &buf, 1), 0);
		}
		if (fake_must_notify(&drv.queue[0]))
			fake_notify(&drv, 0);
		replace();
		ck_assert_int_lt(fake_used(&drv.queue[0], &written), 0);
		virtio_dev_hold_end(dev);
		for (unsigned i = 0; i < 3; i++)
			ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
		echo(0);
		teardown();
	}
}
END_TEST

/* One queue was reset, and is set up anew in the twin. */
START_TEST(test_queue_that_was_reset)
{
	setup();
	ck_assert(fake_probe(&drv, FAKE_RESET, 8));
	echo(0);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_RESET, 1);
	restore();
	ck_assert_uint_eq(virtio_queue_get(dev, 0, VIRTIO_QUEUE_READY), 0);
	ck_assert_uint_eq(virtio_queue_get(dev, 0, VIRTIO_QUEUE_SIZE), 64);
	echo(1);
	fake_setup_queue(&drv, 0, 16);
	echo(0);
	teardown();
}
END_TEST

/* Of a broken device nothing is known but that; after a reset it is good. */
START_TEST(test_broken)
{
	struct fake_buf buf = FAKE_OUT(GPA(1ULL << 40), 4);

	setup();
	ck_assert(fake_probe(&drv, 0, 8));
	echo(1);
	ck_assert_int_eq(fake_request(&drv, 0, &buf, 1), -1);
	restore();
	ck_assert_uint_eq(virtio_get_status(dev), LIVE | NEEDS_RESET);
	ck_assert_uint_eq(virtio_queue_get(dev, 0, VIRTIO_QUEUE_READY), 1);
	fake_notify(&drv, 1);
	ck_assert(fake_probe(&drv, 0, 8));
	echo(0);
	echo(1);
	teardown();
}
END_TEST

/* A ring outside RAM is only a fault when it goes live. */
START_TEST(test_ring_that_is_not_live)
{
	setup();
	ck_assert(fake_negotiate(&drv, 0));
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_DESC, 1ULL << 40);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_READY, 1);
	restore();
	ck_assert_uint_eq(virtio_queue_get(dev, 0, VIRTIO_QUEUE_DESC), 1ULL << 40);
	virtio_set_status(dev, LIVE);
	ck_assert_uint_eq(virtio_get_status(dev), LIVE | NEEDS_RESET);
	restore();
	ck_assert_uint_eq(virtio_get_status(dev), LIVE | NEEDS_RESET);
	teardown();
}
END_TEST

/* A change of the configuration while it stood still is told by the twin. */
START_TEST(test_config)
{
	unsigned irqs;

	setup();
	ck_assert(fake_probe(&drv, 0, 8));
	virtio_config_begin(dev);
	virtio_config_end(dev);
	irqs = fake_config_irqs(&drv);
	hold(dev);
	replace();
	virtio_dev_hold_end(dev);
	ck_assert_uint_eq(atomic_load(&dev->config_generation), 1);
	ck_assert_uint_eq(fake_config_irqs(&drv), irqs);
	hold(dev);
	virtio_config_begin(dev);
	virtio_config_end(dev);
	replace();
	ck_assert_uint_eq(fake_config_irqs(&drv), irqs);
	virtio_dev_hold_end(dev);
	ck_assert_uint_eq(fake_config_irqs(&drv), irqs + 1);
	ck_assert_uint_eq(atomic_load(&dev->config_generation), 2);
	teardown();
}
END_TEST

/* Into one that has run, and has other rings and other features */
START_TEST(test_into_one_that_has_run)
{
	struct state_buf saved = { 0 };
	struct fake_queue queues[2];
	struct state_reader r;

	setup();
	ck_assert(fake_probe(&drv, FAKE_PACKED, 8));
	echo(0);
	hold(dev);
	ck_assert_int_eq(virtio_dev_save(dev, &saved), 0);
	virtio_dev_hold_end(dev);
	memcpy(queues, drv.queue, sizeof(queues));
	ck_assert(fake_probe(&drv, 0, 16));
	echo(0);
	echo(1);
	r = state_reader_of(&saved);
	ck_assert_int_eq(virtio_dev_load(dev, &r), -EBUSY); /* it runs */
	echo(1);
	hold(dev);
	r = state_reader_of(&saved);
	ck_assert_int_eq(virtio_dev_load(dev, &r), 0);
	assert_saves(&virtio_state_type, dev, &saved);
	memcpy(drv.queue, queues, sizeof(queues));
	drv.features = FAKE_PACKED | FAKE_VERSION_1;
	virtio_dev_hold_end(dev);
	echo(0);
	echo(1);
	state_buf_free(&saved);
	teardown();
}
END_TEST

/* Nothing is saved of one that does not stand still, or has something that the driver waits for. */
START_TEST(test_busy)
{
	struct fake_buf buf = FAKE_OUT(out, 4);
	struct state_buf saved = { 0 };

	setup();
	ck_assert_int_eq(virtio_dev_save(dev, &saved), -EBUSY);
	ck_assert(fake_probe(&drv, 0, 8));
	ck_assert_int_eq(virtio_dev_save(dev, &saved), -EBUSY);
	virtio_hold(dev, VIRTIO_HOLD_MASTER, true);
	ck_assert_int_eq(virtio_dev_save(dev, &saved), -EBUSY);
	virtio_hold(dev, VIRTIO_HOLD_MASTER, false);
	atomic_store(&keep, true);
	ck_assert_int_ge(fake_add(&drv.queue[0], &buf, 1), 0);
	fake_notify(&drv, 0);
	while (!atomic_load(&kept))
		sched_yield();
	hold(dev);
	ck_assert_int_eq(virtio_dev_save(dev, &saved), -EBUSY);
	ck_assert_uint_eq(saved.len, 0);
	/* One that takes it again */
	toy_type.retakes = true;
	replace();
	atomic_store(&keep, false);
	virtio_dev_hold_end(dev);
	ck_assert_int_eq(fake_wait_used(&drv, 0, &(uint32_t){ 0 }), 0);
	toy_type.retakes = false;
	teardown();
}
END_TEST

static int save_fails(void *object, void *state)
{
	(void)object, (void)state;
	return -EIO;
}

/* Not a record is left of a device that cannot be saved as a whole. */
START_TEST(test_part_that_fails)
{
	static const struct state_type failing = { .name = "failing", .version = 1, .save = save_fails };
	struct state_buf saved = { 0 };

	setup();
	hold(dev);
	state_saved(&virtio_state_type, dev, &saved);
	toy_type.state = &failing;
	ck_assert_int_eq(virtio_dev_save(dev, &saved), -EIO);
	toy_type.state = NULL;
	assert_saves(&virtio_state_type, dev, &saved);
	state_buf_free(&saved);
	teardown();
}
END_TEST

static void no_irq(struct virtio_dev *d, unsigned index)
{
	(void)d, (void)index;
}

static void no_config_irq(struct virtio_dev *d)
{
	(void)d;
}

/* A vCPU waits no time for a reset. */
static const struct virtio_transport_ops hasty = { .queue_irq = no_irq, .config_irq = no_config_irq };

/* A reset, of a queue or of the device, that takes its time: what is left then is no state. */
START_TEST(test_reset_that_is_not_complete)
{
	struct state_buf saved = { 0 };
	struct state_reader r;

	setup();
	sem_init(&drained, 0, 0);
	virtio_attach(dev, &hasty, NULL);
	ck_assert(fake_probe(&drv, FAKE_RESET, 8));
	for (unsigned queue = 0; queue < 2; queue++) {
		hold(dev);
		state_saved(&virtio_state_type, dev, &saved);
		while (!sem_trywait(&drained)) /* the last drain may have found slow to be over */
			;
		atomic_store(&slow, true);
		if (queue)
			virtio_queue_set(dev, 0, VIRTIO_QUEUE_RESET, 1);
		else
			virtio_set_status(dev, 0);
		ck_assert_int_eq(virtio_dev_save(dev, &(struct state_buf){ 0 }), -EBUSY);
		r = state_reader_of(&saved);
		if (!queue)
			ck_assert_int_eq(virtio_dev_load(dev, &r), -EBUSY);
		atomic_store(&slow, false);
		sem_post(&drained);
		while (virtio_queue_get(dev, 0, VIRTIO_QUEUE_READY))
			sched_yield();
		r = state_reader_of(&saved);
		ck_assert_int_eq(virtio_dev_load(dev, &r), 0);
		assert_saves(&virtio_state_type, dev, &saved);
		state_buf_free(&saved);
		virtio_dev_hold_end(dev);
	}
	sem_destroy(&drained);
	teardown();
}
END_TEST

/* What is in flight and does not end in time keeps a device from being loaded. */
START_TEST(test_end_that_takes_long)
{
	struct state_buf saved = { 0 };
	struct state_reader r;

	setup();
	sem_init(&drained, 0, 0);
	ck_assert(fake_probe(&drv, 0, 8));
	hold(dev);
	state_saved(&virtio_state_type, dev, &saved);
	atomic_store(&slow, true);
	r = state_reader_of(&saved);
	ck_assert_int_eq(virtio_dev_load(dev, &r), -EBUSY);
	atomic_store(&slow, false);
	sem_post(&drained);
	while (virtio_get_status(dev))
		sched_yield();
	r = state_reader_of(&saved);
	ck_assert_int_eq(virtio_dev_load(dev, &r), 0);
	virtio_dev_hold_end(dev);
	echo(0);
	state_buf_free(&saved);
	sem_destroy(&drained);
	teardown();
}
END_TEST

/* ---- what an enemy writes ---- */

static int try_field(const char *name, unsigned index, uint64_t value, const char *why)
{
	struct state_reader r;
	int err = state_try_field(&virtio_state_type, dev, name, index, value, &r);

	ck_assert_msg(!err || strstr(r.why, why), "%s", r.why);
	return err;
}

static void begin_hostile(uint64_t features)
{
	setup();
	ck_assert(fake_probe(&drv, features, 8));
	echo(0);
	hold(dev);
}

static void end_hostile(void)
{
	virtio_dev_hold_end(dev);
	echo(0);
	echo(1);
	teardown();
}

START_TEST(test_hostile_values)
{
	static const struct {
		const char *name;
		unsigned index;
		uint64_t value;
		int err;
		const char *why;
	} table[] = {
		{ "desc", 1, 4 * MIB, -EFAULT, "Bad address" },
		{ "desc", 0, 4 * MIB - 16, -EFAULT, "Bad address" },
		{ "desc", 0, UINT64_MAX - 15, -EFAULT, "Bad address" },
		{ "avail", 0, 4 * MIB, -EFAULT, "Bad address" },
		{ "used", 1, 4 * MIB, -EFAULT, "Bad address" },
		{ "desc", 0, 8, -EINVAL, "Invalid argument" },
		{ "avail", 0, 1, -EINVAL, "Invalid argument" },
		{ "used", 0, 2, -EINVAL, "Invalid argument" },
		{ "desc", 0, 0, 0, "" },
		{ "size", 0, 0, -ERANGE, "size" },
		{ "size", 0, 6, -EINVAL, "Invalid argument" },
		{ "size", 0, 64, 0, "" },
		{ "size", 0, 128, -ENODEV, "No such device" },
		{ "size", 0, 2048, -ERANGE, "size" },
		{ "ready", 0, 0, -ERANGE, "next" }, /* what does not run has no place */
		{ "ready", 1, 0, -ERANGE, "wrap" },
		{ "ready", 0, 2, -ERANGE, "ready" },
		{ "wrap", 0, 0, -ERANGE, "Numerical result" },
		{ "next", 0, 0xffff, 0, "" },
		{ "status", 0, 0, -ERANGE, "next" },
		{ "status", 0, DRIVER, -ERANGE, "status" },
		{ "status", 0, ACK | DRIVER_OK, -ERANGE, "status" },
		{ "status", 0, ACK | DRIVER | DRIVER_OK, -ERANGE, "status" },
		{ "status", 0, FEATURES_OK, -ERANGE, "status" },
		{ "status", 0, 0x10 | LIVE, -ERANGE, "status" },
		{ "status", 0, NEEDS_RESET | LIVE, -ERANGE, "status" },
		{ "status", 0, VIRTIO_CONFIG_S_FAILED | LIVE, 0, "" },
		{ "needs_reset", 0, 1, -ERANGE, "next" },
		{ "foreign_features", 0, 1, -ERANGE, "foreign_features" },
		{ "driver_features", 0, 0, -ENODEV, "No such device" },
		{ "driver_features", 0, FAKE_VERSION_1 | 1ULL << 63, -ENODEV, "No such device" },
		{ "driver_features", 0, FAKE_VERSION_1 | 1U << TOY_B, -ENODEV, "No such device" },
		{ "driver_features", 0, FAKE_VERSION_1 | 1U << TOY_A, 0, "" },
		{ "n", 0, 1, -ENODEV, "No such device" },
		{ "n", 0, 64, -ERANGE, "size" },
		{ "id", 0, 41, -ENODEV, "No such device" },
	};

	begin_hostile(0);
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		ck_assert_msg(try_field(table[i].name, table[i].index, table[i].value,
					table[i].why) == table[i].err,
			      "%s %u: 0x%lx", table[i].name, table[i].index, table[i].value);
	end_hostile();
}
END_TEST

START_TEST(test_hostile_packed)
{
	begin_hostile(FAKE_PACKED);
	ck_assert_int_eq(try_field("next", 0, 7, ""), 0);
	ck_assert_int_eq(try_field("next", 0, 8, "Numerical result"), -ERANGE);
	ck_assert_int_eq(try_field("next", 1, 0xffff, "Numerical result"), -ERANGE);
	ck_assert_int_eq(try_field("wrap", 1, 0, ""), 0);
	ck_assert_int_eq(try_field("size", 1, 6, ""), 0);
	ck_assert_int_eq(try_field("avail", 1, 4 * MIB - 2, "Invalid argument"), -EINVAL);
	ck_assert_int_eq(try_field("used", 1, 4 * MIB, "Bad address"), -EFAULT);
	end_hostile();
}
END_TEST

/* Of a device that does not run yet */
START_TEST(test_hostile_before)
{
	setup();
	ck_assert(fake_negotiate(&drv, 0));
	hold(dev);
	ck_assert_int_eq(try_field("needs_reset", 0, 1, "needs_reset"), -ERANGE);
	ck_assert_int_eq(try_field("next", 0, 1, "next"), -ERANGE);
	ck_assert_int_eq(try_field("wrap", 0, 1, "wrap"), -ERANGE);
	ck_assert_int_eq(try_field("desc", 0, UINT64_MAX, ""), 0);
	teardown();
}
END_TEST

/* Without a worker (a machine that is only shown) nothing can run. */
START_TEST(test_without_worker)
{
	struct state_buf saved = { 0 };
	struct state_reader r;

	begin_hostile(0);
	state_saved(&virtio_state_type, dev, &saved);
	new_toy(&toys[1]);
	virtio_attach(&toys[1], dev->transport_ops, &drv);
	hold(&toys[1]);
	r = state_reader_of(&saved);
	ck_assert_int_eq(state_load(&r, &virtio_state_type, &toys[1]), -ENODEV);
	state_buf_free(&saved);
	virtio_fini(&toys[1]);
	end_hostile();
}
END_TEST

static void use(void *object)
{
	virtio_dev_hold_end(object);
	for (unsigned i = 0; i < 2; i++) {
		struct fake_buf bufs[] = { FAKE_OUT(out, 20), FAKE_IN(in, 30) };

		if (drv.queue[i].n_free < 2)
			fake_queue_init(&drv.queue[i], &drv, 8, 0);
		fake_add(&drv.queue[i], bufs, 2);
		virtio_notify(object, i);
		virtio_queue_get(object, i, VIRTIO_QUEUE_READY);
		virtio_queue_set(object, i, VIRTIO_QUEUE_SIZE, 4);
	}
	virtio_get_status(object);
	virtio_set_features(object, 0, 0);
	hold(object);
}

START_TEST(test_hostile)
{
	for (unsigned f = 0; f < 2; f++) {
		setup();
		ck_assert(fake_probe(&drv, f ? FAKE_PACKED : 0, 8));
		echo(0);
		hold(dev);
		state_test_hostile(&virtio_state_type, dev, use);
		teardown();
	}
}
END_TEST

UNIT_MAIN("virtio-state", test_table, test_each_step, test_refusing, test_requests,
	  test_waiting_requests, test_queue_that_was_reset, test_broken, test_ring_that_is_not_live,
	  test_config, test_into_one_that_has_run, test_busy, test_part_that_fails,
	  test_reset_that_is_not_complete, test_end_that_takes_long, test_hostile_values,
	  test_hostile_packed, test_hostile_before, test_without_worker, test_hostile)
