/* Links: virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/*
 * The core, with a toy device of two queues: it echoes what it reads from a chain, or holds the
 * chains until it is drained.
 */
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fake-driver.h"
#include "lkvm/clock.h"
#include "lkvm/event.h"

#define ACK         VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER      VIRTIO_CONFIG_S_DRIVER
#define FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define DRIVER_OK   VIRTIO_CONFIG_S_DRIVER_OK
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET
#define FAILED      VIRTIO_CONFIG_S_FAILED
#define LIVE        (ACK | DRIVER | FEATURES_OK | DRIVER_OK)

#define TOY_A 3 /* feature bits; B needs A */
#define TOY_B 5

struct toy {
	struct virtio_dev dev;
	uint32_t config[4];
	/* What to do */
	atomic_bool hold, careless; /* does not complete what it drains */
	int activate_ret;
	void (*on_kick)(struct virtio_dev *dev, unsigned index);
	void (*on_handle)(struct virtio_dev *dev, unsigned index);
	void (*on_commit)(struct virtio_dev *dev);
	void (*on_drain)(void);
	void (*on_activate)(void);
	/* What happened */
	atomic_uint activates, kicks[2], handled, resets, ends, kicks_after_end;
	atomic_uint drains[2];
	atomic_bool ended;
	uint64_t held[2][64];
	unsigned n_held[2];
	sigset_t mask;
	char thread[16];
	atomic_int tid, activate_tid;
};

static struct toy toy;
static struct virtio_dev *const dev = &toy.dev;
static struct fake_driver drv;
static gpa_t out, in;

static void toy_handle(struct virtio_dev *d, unsigned index)
{
	char bytes[256];
	size_t n = virtq_read(d->chain, 0, bytes, sizeof(bytes));

	if (toy.on_handle)
		toy.on_handle(d, index);
	atomic_fetch_add(&toy.handled, 1);
	if (toy.hold) {
		toy.held[index][toy.n_held[index]++] = d->chain->token;
		return;
	}
	n = virtq_write(d->chain, 0, bytes, n);
	virtio_push(d, index, d->chain->token, (uint32_t)n);
}

static void toy_kick(struct virtio_dev *d, unsigned index)
{
	atomic_fetch_add(&toy.kicks[index], 1);
	if (atomic_load(&toy.ended))
		atomic_fetch_add(&toy.kicks_after_end, 1);
	pthread_sigmask(SIG_BLOCK, NULL, &toy.mask);
	pthread_getname_np(pthread_self(), toy.thread, sizeof(toy.thread));
	toy.tid = gettid();
	if (toy.on_kick)
		toy.on_kick(d, index);
	else
		virtio_serve(d, index, toy_handle);
}

static void toy_commit(struct virtio_dev *d)
{
	if (toy.on_commit)
		toy.on_commit(d);
}

static void toy_drain_queue(struct virtio_dev *d, unsigned index)
{
	for (unsigned i = 0; i < toy.n_held[index]; i++)
		virtio_push(d, index, toy.held[index][i], 0);
	toy.n_held[index] = 0;
	if (!toy.careless)
		virtio_complete(d, index);
}

static void toy_drain(struct virtio_dev *d, int index)
{
	if (toy.on_drain)
		toy.on_drain();
	if (index >= 0) {
		toy_drain_queue(d, (unsigned)index);
		atomic_fetch_add(&toy.drains[index], 1);
		return;
	}
	toy_drain_queue(d, 0);
	toy_drain_queue(d, 1);
	atomic_fetch_add(&toy.ends, 1);
	atomic_store(&toy.ended, true);
}

static bool toy_busy(const struct virtio_dev *d)
{
	(void)d;
	return toy.n_held[0] + toy.n_held[1];
}

static int toy_activate(struct virtio_dev *d)
{
	ck_assert_int_ge(d->loop.epfd, 0);
	if (toy.on_activate)
		toy.on_activate();
	toy.activate_tid = gettid();
	atomic_fetch_add(&toy.activates, 1);
	atomic_store(&toy.ended, false);
	return toy.activate_ret;
}

static void toy_reset(struct virtio_dev *d)
{
	ck_assert(!d->live);
	atomic_fetch_add(&toy.resets, 1);
}

static bool toy_features_ok(const struct virtio_dev *d, uint64_t features)
{
	ck_assert_ptr_eq(d, dev);
	ck_assert(features & FAKE_VERSION_1);
	return !(features & 1 << TOY_B) || (features & 1 << TOY_A);
}

static uint64_t toy_config_read(struct virtio_dev *d, unsigned off, unsigned width)
{
	uint64_t value = 0;

	ck_assert_ptr_eq(d, dev);
	ck_assert_uint_le(off + width, d->config_bytes);
	memcpy(&value, (char *)toy.config + off, width);
	return value;
}

static void toy_config_write(struct virtio_dev *d, unsigned off, unsigned width, uint64_t value)
{
	ck_assert_uint_le(off + width, d->config_bytes);
	memcpy((char *)toy.config + off, &value, width);
}

static const struct virtio_type toy_type = {
	.name = "toy",
	.id = 42,
	.queue_size = 64,
	.features_ok = toy_features_ok,
	.activate = toy_activate,
	.kick = toy_kick,
	.commit = toy_commit,
	.drain = toy_drain,
	.busy = toy_busy,
	.reset = toy_reset,
	.config_read = toy_config_read,
	.config_write = toy_config_write,
};

/* A device may do without most of it. */
static const struct virtio_type least_type = {
	.name = "least", .id = 43, .queue_size = 64, .kick = toy_kick
};

static void setup_type(const struct virtio_type *type, uint64_t offered)
{
	fake_init(&drv, 16);
	toy = (struct toy){
		.dev = {
			.type = type,
			.name = "toy0",
			.ram = drv.ram,
			.n_queues = 2,
			.config_bytes = 12,
			.device_features = offered,
		},
		.config = { 0x03020100, 0x07060504, 0x0b0a0908, 0xdeadbeef },
	};
	ck_assert_int_eq(virtio_init(dev), 0);
	fake_attach(&drv, dev);
	out = fake_alloc(&drv, 64, 1);
	in = fake_alloc(&drv, 64, 1);
}

static void setup(uint64_t offered)
{
	setup_type(&toy_type, offered);
}

static void teardown(void)
{
	virtio_fini(dev);
	fake_fini(&drv);
}

/* Threads of this process that are named like the worker. */
static unsigned workers(void)
{
	DIR *tasks = opendir("/proc/self/task");
	unsigned n = 0;

	ck_assert_ptr_nonnull(tasks);
	for (struct dirent *task; (task = readdir(tasks));) {
		char path[300], comm[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", task->d_name);
		f = fopen(path, "r");
		if (f && fgets(comm, sizeof(comm), f))
			n += !strcmp(comm, "dev/toy0\n");
		if (f)
			fclose(f);
	}
	closedir(tasks);
	return n;
}

/* It takes its name itself, and the kernel forgets it a moment after it was joined. */
static void wait_workers(unsigned n)
{
	while (workers() != n)
		sched_yield();
}

/* One request goes through queue @index. */
static int64_t echo(unsigned index)
{
	struct fake_buf bufs[] = { FAKE_OUT(out, 20), FAKE_IN(in, 10),
				   FAKE_IN(GPA(in.v + 10), 30) };
	static unsigned char pattern;
	int64_t n;

	memset(fake_at(&drv, out), ++pattern, 20);
	n = fake_request(&drv, index, bufs, 3);
	if (n >= 0)
		ck_assert(!memcmp(fake_at(&drv, in), fake_at(&drv, out), 20));
	return n;
}

/* Adds one readable buffer to queue @index and tells nobody. */
static void add(unsigned index)
{
	struct fake_buf buf = FAKE_OUT(out, 20);

	ck_assert_int_ge(fake_add(&drv.queue[index], &buf, 1), 0);
}

static void wait_for(atomic_uint *counter, unsigned value)
{
	while (atomic_load(counter) < value)
		sched_yield();
}

START_TEST(test_echo)
{
	static const uint64_t formats[] = {
		0,
		FAKE_EVENT_IDX,
		FAKE_INDIRECT,
		FAKE_EVENT_IDX | FAKE_INDIRECT,
	};

	for (size_t i = 0; i < 4 * ARRAY_SIZE(formats); i++) {
		uint64_t features = formats[i / 4] | (i & 1 ? FAKE_PACKED : 0);

		setup_type(i & 2 ? &toy_type : &least_type, features);
		drv.no_notify_fd = i & 2;
		ck_assert(fake_probe(&drv, features, 16));
		for (unsigned n = 0; n < 100; n++)
			ck_assert_int_eq(echo(n % 2), 20);
		teardown();
	}
}
END_TEST

/* ---- status ---- */

START_TEST(test_status)
{
	static const struct {
		uint8_t write[6], read[6];
	} table[] = {
		/* the way it is meant */
		{ { 0, 1, 3, 11, 15, 0 }, { 0, 1, 3, 11, 15, 0 } },
		{ { 11, 15 }, { 11, 15 } },
		{ { 15 }, { 15 } },
		/* each bit needs those before it */
		{ { 2, 8, 4, 10, 14, 12 }, { 0, 0, 0, 0, 0, 0 } },
		{ { 1, 9, 5, 13 }, { 1, 1, 1, 1 } },
		{ { 3, 7, 4 }, { 3, 3, 3 } },
		/* bits that are set stay so */
		{ { 3, 1, 2, 8, 4, 1 }, { 3, 3, 3, 11, 15, 15 } },
		/* not the driver's bits */
		{ { 64, 16, 32, 0x70, 0x73 }, { 0, 0, 0, 0, 3 } },
		/* nothing follows FAILED but reset */
		{ { 3, 128, 131, 139, 0, 3 }, { 3, 131, 131, 131, 0, 3 } },
		{ { 15, 143, 15, 0, 15 }, { 15, 143, 143, 0, 15 } },
		{ { 143, 0 }, { 128, 0 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		setup(0);
		for (unsigned j = 0; j < 6; j++) {
			/* features may be written before they are judged, and are forgotten at
			 * reset */
			virtio_set_features(dev, 1, 1);
			if (j && !table[i].write[j] && !table[i].read[j] &&
			    table[i].read[j - 1] == 0)
				break;
			virtio_set_status(dev, table[i].write[j]);
			ck_assert_msg(virtio_get_status(dev) == table[i].read[j],
				      "line %zu, step %u: %#x", i, j, virtio_get_status(dev));
			if (!table[i].read[j] && !table[i].write[j] && j)
				ck_assert_uint_eq(dev->driver_features, 0);
		}
		teardown();
	}
}
END_TEST

START_TEST(test_features_offered)
{
	setup(1 << TOY_A);
	ck_assert_uint_eq(virtio_get_features(dev, 0),
			  1U << TOY_A | (uint32_t)(FAKE_INDIRECT | FAKE_EVENT_IDX));
	ck_assert_uint_eq(virtio_get_features(dev, 1),
			  (uint32_t)(FAKE_VERSION_1 >> 32 | FAKE_RESET >> 32));
	ck_assert_uint_eq(virtio_get_features(dev, 2), 0);
	ck_assert_uint_eq(virtio_get_features(dev, UINT32_MAX), 0);
	teardown();
	setup(FAKE_PACKED);
	ck_assert(virtio_get_features(dev, 1) & (uint32_t)(FAKE_PACKED >> 32));
	teardown();
}
END_TEST

START_TEST(test_features_judged)
{
	static const struct {
		uint32_t low, high, beyond;
		bool good;
	} table[] = {
		{ 0, 1, 0, true },           { 0, 0, 0, false }, /* without VERSION_1 */
		{ 1 << TOY_A, 1, 0, true },  { 1 << TOY_A | 1 << TOY_B, 1, 0, true },
		{ 1 << TOY_B, 1, 0, false },                     /* B needs A */
		{ 1 << TOY_A, 0, 0, false }, { 1, 1, 0, false }, /* not offered */
		{ 0, 5, 0, false },          { 0, 1, 1, false }, /* bit 64 */
		{ 0, 1, 0, true },                               /* which is forgotten at reset */
	};

	setup(1 << TOY_A | 1 << TOY_B);
	for (size_t i = 0; i < 2 * ARRAY_SIZE(table); i++) {
		virtio_set_status(dev, 0);
		virtio_set_status(dev, ACK | DRIVER);
		/* A refused set may be replaced by another one. */
		if (i % 2) {
			virtio_set_features(dev, 0, UINT32_MAX);
			virtio_set_features(dev, 1, UINT32_MAX);
			virtio_set_status(dev, ACK | DRIVER | FEATURES_OK);
			ck_assert_uint_eq(virtio_get_status(dev), ACK | DRIVER);
		}
		virtio_set_features(dev, 0, table[i / 2].low);
		virtio_set_features(dev, 1, table[i / 2].high);
		virtio_set_features(dev, 2, table[i / 2].beyond);
		virtio_set_features(dev, 3, 0);
		virtio_set_status(dev, ACK | DRIVER | FEATURES_OK);
		ck_assert_msg(!!(virtio_get_status(dev) & FEATURES_OK) == table[i / 2].good,
			      "line %zu", i / 2);
		/* no DRIVER_OK without it */
		virtio_set_status(dev, LIVE);
		ck_assert_uint_eq(virtio_get_status(dev), table[i / 2].good ? LIVE : ACK | DRIVER);
		ck_assert_int_eq(dev->live, table[i / 2].good);
	}
	teardown();
}
END_TEST

START_TEST(test_features_frozen)
{
	setup(1 << TOY_A | 1 << TOY_B);
	ck_assert(fake_negotiate(&drv, 1 << TOY_A));
	virtio_set_features(dev, 0, 0);
	virtio_set_features(dev, 1, 0);
	virtio_set_features(dev, 2, 1);
	ck_assert(virtio_has(dev, TOY_A));
	ck_assert(!virtio_has(dev, TOY_B));
	ck_assert(virtio_has(dev, VIRTIO_F_VERSION_1));
	ck_assert(!dev->foreign_features);
	/* The status may only have been read wrongly before. */
	virtio_set_status(dev, LIVE);
	ck_assert_uint_eq(virtio_get_status(dev), LIVE);
	virtio_set_status(dev, 0);
	ck_assert(!virtio_has(dev, TOY_A));
	teardown();
}
END_TEST

/* ---- queues ---- */

static uint64_t get(unsigned index, enum virtio_queue_field field)
{
	return virtio_queue_get(dev, index, field);
}

START_TEST(test_queue_size)
{
	static const struct {
		uint64_t size;
		bool split, packed;
	} table[] = {
		{ 1, true, true },
		{ 32, true, true },
		{ 0, false, false },
		{ 65, false, false },
		{ 128, false, false },
		{ 33, false, true },
		{ 63, false, true },
		{ 65536, false, false },
		{ 65536 + 32, false, false },
		{ UINT64_MAX, false, false },
	};

	for (unsigned packed = 0; packed < 2; packed++) {
		setup(FAKE_PACKED);
		for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
			bool good = packed ? table[i].packed : table[i].split;

			ck_assert(fake_negotiate(&drv, packed ? FAKE_PACKED : 0));
			ck_assert_uint_eq(get(1, VIRTIO_QUEUE_SIZE), 64);
			virtio_queue_set(dev, 1, VIRTIO_QUEUE_SIZE, table[i].size);
			ck_assert_msg(get(1, VIRTIO_QUEUE_SIZE) == (good ? table[i].size : 64),
				      "line %zu", i);
		}
		ck_assert_uint_eq(get(1, VIRTIO_QUEUE_MAX_SIZE), 64);
		teardown();
	}
}
END_TEST

/* All fields read back, can be written until the queue is ready, and are forgotten at reset. */
START_TEST(test_queue_fields)
{
	static const enum virtio_queue_field fields[] = {
		VIRTIO_QUEUE_SIZE,
		VIRTIO_QUEUE_DESC,
		VIRTIO_QUEUE_AVAIL,
		VIRTIO_QUEUE_USED,
	};

	setup(0);
	ck_assert(fake_negotiate(&drv, 0));
	for (unsigned i = 0; i < 4; i++) {
		virtio_queue_set(dev, 0, fields[i], 16 + i * 0x1000000000ULL);
		ck_assert_uint_eq(get(0, fields[i]), 16 + i * 0x1000000000ULL);
		ck_assert_uint_eq(get(1, fields[i]), i ? 0 : 64);
	}
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_READY, 2);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_READY, 1ULL << 32 | 1);
	ck_assert_uint_eq(get(0, VIRTIO_QUEUE_READY), 0);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_READY, 1);
	ck_assert_uint_eq(get(0, VIRTIO_QUEUE_READY), 1);
	for (unsigned i = 0; i < 4; i++) {
		virtio_queue_set(dev, 0, fields[i], 32);
		ck_assert_uint_eq(get(0, fields[i]), 16 + i * 0x1000000000ULL);
	}
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_MAX_SIZE, 4);
	ck_assert_uint_eq(get(0, VIRTIO_QUEUE_MAX_SIZE), 64);
	/* Not without the feature */
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_RESET, 1);
	ck_assert_uint_eq(get(0, VIRTIO_QUEUE_READY), 1);
	ck_assert_uint_eq(get(0, VIRTIO_QUEUE_RESET), 0);
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(get(0, VIRTIO_QUEUE_READY), 0);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_uint_eq(get(0, fields[i]), i ? 0 : 64);
	teardown();
}
END_TEST

START_TEST(test_queue_index)
{
	static const unsigned bad[] = { 2, 3, 64, 65535, UINT32_MAX };

	setup(0);
	ck_assert(fake_probe(&drv, FAKE_RESET, 16));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		for (unsigned field = VIRTIO_QUEUE_MAX_SIZE; field <= VIRTIO_QUEUE_RESET; field++) {
			virtio_queue_set(dev, bad[i], field, 1);
			ck_assert_uint_eq(get(bad[i], field), 0);
			virtio_notify(dev, bad[i]);
		}
	ck_assert_int_eq(echo(0), 20);
	teardown();
}
END_TEST

/* ---- life of the worker ---- */

/* Nothing is taken before DRIVER_OK, and what was added before it needs no notification. */
START_TEST(test_driver_ok)
{
	uint32_t written;
	pid_t worker;

	setup(0);
	ck_assert(fake_negotiate(&drv, 0));
	fake_setup_queue(&drv, 0, 16);
	add(0);
	virtio_notify(dev, 0);
	wait_workers(1); /* made with the device, it does nothing */
	ck_assert_uint_eq(drv.queue[0].used->idx, 0);
	ck_assert_uint_eq(atomic_load(&toy.activates), 0);
	virtio_set_status(dev, LIVE);
	fake_wait_up(&drv);
	ck_assert_uint_eq(atomic_load(&toy.activates), 1);
	ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
	ck_assert_str_eq(toy.thread, "dev/toy0");
	worker = toy.tid;
	ck_assert_int_eq(toy.activate_tid, worker);
	/* The other queue is not there: nothing may come of a notification. */
	virtio_notify(dev, 1);
	ck_assert_int_eq(drv.notify_fd[1], -1);
	ck_assert_int_eq(echo(0), 20);
	ck_assert_uint_eq(atomic_load(&toy.kicks[1]), 0);
	/* Again DRIVER_OK: no second worker */
	virtio_set_status(dev, LIVE);
	ck_assert_uint_eq(atomic_load(&toy.activates), 1);
	ck_assert_uint_eq(workers(), 1);
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(atomic_load(&toy.ends), 1);
	ck_assert_int_eq(drv.notify_fd[0], -1);
	/* It survives the reset: a vCPU makes no thread. */
	ck_assert_uint_eq(workers(), 1);
	ck_assert(fake_probe(&drv, 0, 16));
	ck_assert_int_eq(echo(0), 20);
	ck_assert_int_eq(toy.tid, worker);
	teardown();
}
END_TEST

/* The process's signals are others' business, but a fault of its own must be reported. */
START_TEST(test_worker_signals)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE };
	const int others[] = { SIGINT, SIGTERM, SIGUSR1, SIGCHLD, SIGWINCH, SIGRTMIN };
	sigset_t now;

	setup(0);
	ck_assert(fake_probe(&drv, 0, 16));
	ck_assert_int_eq(echo(0), 20);
	virtio_set_status(dev, 0);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		ck_assert_int_eq(sigismember(&toy.mask, faults[i]), 0);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		ck_assert_int_eq(sigismember(&toy.mask, others[i]), 1);
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	ck_assert_int_eq(sigismember(&now, SIGINT), 0);
	teardown();
}
END_TEST

START_TEST(test_late_queue)
{
	setup(FAKE_PACKED);
	for (unsigned packed = 0; packed < 2; packed++) {
		ck_assert(fake_negotiate(&drv, packed ? FAKE_PACKED : 0));
		fake_setup_queue(&drv, 0, 16);
		virtio_set_status(dev, LIVE);
		ck_assert_int_eq(echo(0), 20);
		fake_setup_queue(&drv, 1, 32);
		ck_assert_int_eq(echo(1), 20);
		ck_assert_int_eq(echo(0), 20);
		/* Once more is once too often: it goes on where it was. */
		virtio_queue_set(dev, 1, VIRTIO_QUEUE_READY, 1);
		ck_assert_int_eq(echo(1), 20);
		ck_assert_uint_eq(atomic_load(&toy.activates), packed + 1);
	}
	teardown();
}
END_TEST

/* One queue is drained and forgotten, the other goes on; then it starts again, in another size. */
START_TEST(test_queue_reset)
{
	uint32_t written;

	setup(0);
	ck_assert(fake_probe(&drv, FAKE_RESET, 16));
	for (unsigned round = 1; round <= 10; round++) {
		toy.hold = true;
		add(1);
		fake_notify(&drv, 1);
		wait_for(&toy.handled, round * 3 - 2);
		virtio_queue_set(dev, 1, VIRTIO_QUEUE_RESET, 0);
		virtio_queue_set(dev, 1, VIRTIO_QUEUE_RESET, 2);
		ck_assert_uint_eq(atomic_load(&toy.drains[1]), round - 1);
		/* By PCI's register, or by MMIO's */
		if (round % 2)
			virtio_queue_set(dev, 1, VIRTIO_QUEUE_RESET, 1);
		else
			virtio_queue_set(dev, 1, VIRTIO_QUEUE_READY, 0);
		ck_assert_uint_eq(atomic_load(&toy.drains[1]), round);
		ck_assert_int_ge(fake_used(&drv.queue[1], &written), 0);
		ck_assert_uint_eq(get(1, VIRTIO_QUEUE_RESET), 0);
		ck_assert_uint_eq(get(1, VIRTIO_QUEUE_READY), 0);
		ck_assert_uint_eq(get(1, VIRTIO_QUEUE_SIZE), round % 2 ? 64 : 32);
		ck_assert_int_eq(drv.notify_fd[1], -1);
		virtio_notify(dev, 1);
		toy.hold = false;
		ck_assert_int_eq(echo(0), 20);
		fake_setup_queue(&drv, 1, 32);
		ck_assert_int_eq(echo(1), 20);
	}
	ck_assert_uint_eq(atomic_load(&toy.drains[0]), 0);
	ck_assert_uint_eq(atomic_load(&toy.activates), 1);
	ck_assert_uint_eq(virtio_get_status(dev), LIVE);
	teardown();
}
END_TEST

/* A batch is one interrupt. */
START_TEST(test_one_interrupt)
{
	uint32_t written;

	setup(FAKE_PACKED);
	for (unsigned i = 0; i < 4; i++) {
		unsigned before = fake_queue_irqs(&drv, 0);

		ck_assert(fake_negotiate(&drv,
					 (i & 1 ? FAKE_PACKED : 0) | (i & 2 ? FAKE_EVENT_IDX : 0)));
		fake_setup_queue(&drv, 0, 16);
		for (unsigned n = 0; n < 10; n++)
			add(0);
		virtio_set_status(dev, LIVE);
		for (unsigned n = 0; n < 10; n++)
			ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
		virtio_set_status(dev, 0);
		ck_assert_uint_eq(fake_queue_irqs(&drv, 0) - before, 1);
	}
	ck_assert_uint_eq(fake_queue_irqs(&drv, 1), 0);
	teardown();
}
END_TEST

/* After a reset all is as in the beginning: 50 times, with requests in flight. */
START_TEST(test_reset_in_flight)
{
	setup(FAKE_PACKED);
	for (unsigned i = 0; i < 50; i++) {
		unsigned before = atomic_load(&toy.handled);
		uint32_t written;

		toy.hold = true;
		ck_assert(fake_probe(&drv, i % 2 ? FAKE_PACKED : 0, 16));
		for (unsigned n = 0; n < 5; n++)
			add(i / 2 % 2);
		fake_notify(&drv, i / 2 % 2);
		wait_for(&toy.handled, before + 5);
		virtio_set_status(dev, 0);
		ck_assert_uint_eq(virtio_get_status(dev), 0);
		ck_assert_uint_eq(atomic_load(&toy.ends), i + 1);
		/* All came back before the reset was over. */
		for (unsigned n = 0; n < 5; n++)
			ck_assert_int_ge(fake_used(&drv.queue[i / 2 % 2], &written), 0);
		toy.hold = false;
		drv.next = 1 * MIB;
	}
	ck_assert_uint_eq(atomic_load(&toy.kicks_after_end), 0);
	ck_assert_uint_eq(atomic_load(&toy.resets), 100); /* each probe begins with one */
	teardown();
}
END_TEST

static atomic_bool stop;

/* Another vCPU: it sends requests whatever the state is, and looks for one that comes too late. */
static void *sender(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop)) {
		virtio_notify(dev, 0);
		virtio_notify(dev, 1);
		virtio_get_status(dev);
		virtio_config_read(dev, 0, 4);
		virtio_queue_get(dev, 0, VIRTIO_QUEUE_SIZE);
	}
	return NULL;
}

START_TEST(test_reset_at_any_moment)
{
	pthread_t thread;

	setup(0);
	drv.no_notify_fd = true;
	atomic_store(&stop, false);
	ck_assert_int_eq(pthread_create(&thread, NULL, sender, NULL), 0);
	for (unsigned i = 0; i < 300; i++) {
		struct vring_used *used;
		uint16_t idx;

		ck_assert(fake_probe(&drv, 0, 16));
		used = drv.queue[0].used;
		for (unsigned n = 0; n < i % 17; n++)
			add(0);
		for (unsigned n = 0; n < i % 7 * 20; n++)
			sched_yield();
		virtio_set_status(dev, 0);
		idx = used->idx;
		/* The device has no memory of it any more: its owner may do with it what it likes.
		 */
		memset(fake_at(&drv, drv.queue[0].setup.desc), 0xff, 256);
		ck_assert_uint_eq(used->idx, idx);
		drv.next = 1 * MIB;
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(atomic_load(&toy.ends), 300);
	teardown();
}
END_TEST

static sem_t gate, at_gate;

static void wait_at_gate(struct virtio_dev *d, unsigned index)
{
	(void)d;
	(void)index;
	sem_post(&at_gate);
	sem_wait(&gate);
}

static void *reset_device(void *arg)
{
	(void)arg;
	virtio_set_status(dev, 0);
	return NULL;
}

static void *reset_queue(void *arg)
{
	(void)arg;
	virtio_queue_set(dev, 1, VIRTIO_QUEUE_RESET, 1);
	return NULL;
}

/* A notification of queue 1 that arrives together with the order to end. */
static void notify_and(void *(*order)(void *))
{
	struct pollfd called;
	pthread_t thread;

	setup(0);
	sem_init(&gate, 0, 0);
	sem_init(&at_gate, 0, 0);
	ck_assert(fake_probe(&drv, FAKE_RESET, 16));
	wait_for(&toy.kicks[1], 1);
	toy.on_handle = wait_at_gate;
	add(0);
	fake_notify(&drv, 0);
	sem_wait(&at_gate);
	called = (struct pollfd){ dev->call.fd, POLLIN, 0 };
	ck_assert_int_eq(pthread_create(&thread, NULL, order, NULL), 0);
	ck_assert_int_eq(poll(&called, 1, -1), 1);
	fake_notify(&drv, 1);
	toy.on_handle = NULL;
	sem_post(&gate);
	pthread_join(thread, NULL);
}

/* It is not served behind the drain. */
START_TEST(test_no_kick_after_drain)
{
	uint32_t written;

	notify_and(reset_device);
	ck_assert_uint_eq(atomic_load(&toy.ends), 1);
	ck_assert_uint_eq(atomic_load(&toy.kicks_after_end), 0);
	teardown();

	notify_and(reset_queue);
	ck_assert_uint_eq(atomic_load(&toy.drains[1]), 1);
	ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
	ck_assert_int_eq(echo(0), 20);
	ck_assert_uint_eq(atomic_load(&toy.kicks[1]), 1);
	teardown();
}
END_TEST

/* What is left in the ring then is no reason to go on looking into it. */
START_TEST(test_queue_reset_while_served)
{
	struct pollfd called;
	pthread_t thread;

	setup(0);
	sem_init(&gate, 0, 0);
	sem_init(&at_gate, 0, 0);
	ck_assert(fake_probe(&drv, FAKE_RESET, 16));
	toy.on_handle = wait_at_gate;
	for (unsigned i = 0; i < 3; i++)
		add(1);
	fake_notify(&drv, 1);
	sem_wait(&at_gate);
	called = (struct pollfd){ dev->call.fd, POLLIN, 0 };
	ck_assert_int_eq(pthread_create(&thread, NULL, reset_queue, NULL), 0);
	ck_assert_int_eq(poll(&called, 1, -1), 1);
	toy.on_handle = NULL;
	sem_post(&gate);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(get(1, VIRTIO_QUEUE_RESET), 0);
	ck_assert_uint_eq(atomic_load(&toy.handled), 1);
	teardown();
}
END_TEST

/* At the machine's end nobody is left to stop a queue, so nobody waits for that. */
START_TEST(test_queue_reset_behind_the_end)
{
	int64_t start;

	setup(0);
	ck_assert(fake_probe(&drv, FAKE_RESET, 16));
	virtio_dev_stop_begin(dev);
	while (!atomic_load(&dev->has_ended))
		sched_yield();
	start = now_ms();
	virtio_queue_set(dev, 1, VIRTIO_QUEUE_RESET, 1);
	ck_assert_int_lt(now_ms() - start, dev->transport_ops->patience_ms / 2);
	teardown();
}
END_TEST

/* The driver's other CPU refills the ring as fast as it is emptied. */
static void refill(struct fake_driver *d, unsigned index)
{
	uint32_t written;

	if (atomic_load(&toy.ends))
		return;
	while (fake_used(&d->queue[index], &written) >= 0)
		;
	/* Not a divisor of what is left of a turn */
	for (unsigned n = 0; n < 4; n++)
		add(index);
}

START_TEST(test_reset_of_a_busy_device)
{
	setup(0);
	ck_assert(fake_negotiate(&drv, 0));
	fake_setup_queue(&drv, 0, 16);
	drv.on_queue_irq = refill;
	add(0);
	virtio_set_status(dev, LIVE);
	/* More than one turn of the loop: what one leaves is not forgotten. */
	wait_for(&toy.handled, 100);
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(atomic_load(&toy.ends), 1);
	teardown();
}
END_TEST

/* ---- broken ---- */

static void break_ring(unsigned index)
{
	struct fake_queue *q = &drv.queue[index];

	q->avail->ring[q->next_avail++ % q->setup.size] = 0xffff;
	__atomic_store_n(&q->avail->idx, q->next_avail, __ATOMIC_RELEASE);
	fake_notify(&drv, index);
}

START_TEST(test_broken_ring)
{
	setup(0);
	for (unsigned i = 1; i <= 3; i++) {
		unsigned handled;

		ck_assert(fake_probe(&drv, FAKE_RESET, 16));
		ck_assert_int_eq(echo(0), 20);
		break_ring(0);
		fake_wait_config_irq(&drv, i);
		ck_assert_uint_eq(virtio_get_status(dev), LIVE | NEEDS_RESET);
		/* Nothing is served any more, of the other queue neither. */
		handled = atomic_load(&toy.handled);
		add(1);
		fake_notify(&drv, 1);
		virtio_queue_set(dev, 1, VIRTIO_QUEUE_RESET, 1);
		ck_assert_uint_eq(atomic_load(&toy.handled), handled);
		ck_assert_uint_eq(drv.queue[1].used->idx, 0);
		/* One interrupt for all of it */
		virtio_break(dev, "again");
		ck_assert_uint_eq(fake_config_irqs(&drv), i);
		virtio_set_status(dev, 0);
		ck_assert_uint_eq(virtio_get_status(dev), 0);
	}
	ck_assert(fake_probe(&drv, 0, 16));
	ck_assert_int_eq(echo(1), 20);
	teardown();
}
END_TEST

/* A buffer outside RAM, and what is in flight then: it may still complete. */
START_TEST(test_broken_in_flight)
{
	struct fake_buf bad;
	uint32_t written;

	setup(0);
	toy.hold = true;
	ck_assert(fake_probe(&drv, 0, 16));
	add(0);
	fake_notify(&drv, 0);
	wait_for(&toy.handled, 1);
	bad = FAKE_OUT(GPA(RAM_GAP_START), 20);
	ck_assert_int_ge(fake_add(&drv.queue[0], &bad, 1), 0);
	fake_notify(&drv, 0);
	fake_wait_config_irq(&drv, 1);
	virtio_set_status(dev, 0);
	ck_assert_int_ge(fake_used(&drv.queue[0], &written), 0);
	ck_assert_int_eq(fake_used(&drv.queue[0], &written), -1);
	teardown();
}
END_TEST

static void break_in_handler(struct virtio_dev *d, unsigned index)
{
	virtio_break(d, "queue %u: a request that nobody understands", index);
}

/* A device breaks itself within a batch: the rest of the batch stays where it is. */
START_TEST(test_broken_request)
{
	setup(0);
	ck_assert(fake_negotiate(&drv, 0));
	fake_setup_queue(&drv, 0, 16);
	toy.on_handle = break_in_handler;
	for (unsigned i = 0; i < 5; i++)
		add(0);
	virtio_set_status(dev, LIVE);
	fake_wait_config_irq(&drv, 1);
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(atomic_load(&toy.handled), 1);
	ck_assert_uint_eq(drv.queue[0].used->idx, 1);
	teardown();
}
END_TEST

/* Rings that are not in RAM, or misaligned: at DRIVER_OK, or later. */
START_TEST(test_bad_addresses)
{
	static const enum virtio_queue_field fields[] = {
		VIRTIO_QUEUE_DESC,
		VIRTIO_QUEUE_AVAIL,
		VIRTIO_QUEUE_USED,
	};
	static const uint64_t bad[] = { RAM_GAP_START, 0x1001, UINT64_MAX, 16 * MIB - 1 };
	unsigned irqs = 0;

	setup(0);
	for (unsigned i = 0; i < 3 * ARRAY_SIZE(bad) * 2; i++) {
		const bool late = i % 2;

		ck_assert(fake_negotiate(&drv, 0));
		if (late)
			virtio_set_status(dev, LIVE);
		fake_setup_queue(&drv, 0, 16);
		if (late)
			ck_assert_int_eq(echo(0), 20);
		virtio_queue_set(dev, 1, VIRTIO_QUEUE_DESC, 0x1000);
		virtio_queue_set(dev, 1, VIRTIO_QUEUE_AVAIL, 0x2000);
		virtio_queue_set(dev, 1, VIRTIO_QUEUE_USED, 0x3000);
		virtio_queue_set(dev, 1, fields[i / 2 % 3], bad[i / 6]);
		virtio_queue_set(dev, 1, VIRTIO_QUEUE_READY, 1);
		virtio_set_status(dev, LIVE);
		ck_assert_uint_eq(virtio_get_status(dev), LIVE | NEEDS_RESET);
		ck_assert_uint_eq(fake_config_irqs(&drv), ++irqs);
		ck_assert_int_eq(drv.notify_fd[1], -1);
		ck_assert_int_eq(dev->live, late);
		virtio_queue_set(dev, 0, VIRTIO_QUEUE_READY, 0);
		virtio_queue_set(dev, 0, VIRTIO_QUEUE_READY, 1);
		ck_assert_int_eq(drv.notify_fd[0] >= 0, late);
		ck_assert_uint_eq(fake_config_irqs(&drv), irqs);
	}
	ck_assert(fake_probe(&drv, 0, 16));
	ck_assert_int_eq(echo(1), 20);
	teardown();
}
END_TEST

START_TEST(test_activate_fails)
{
	setup(0);
	toy.activate_ret = -EIO;
	ck_assert(!fake_probe(&drv, 0, 16));
	ck_assert_uint_eq(virtio_get_status(dev), LIVE | NEEDS_RESET);
	ck_assert_uint_eq(fake_config_irqs(&drv), 1);
	fake_notify(&drv, 0);
	/* Nobody serves it, so each request of the driver is done at once. */
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_READY, 0);
	ck_assert_uint_eq(virtio_queue_get(dev, 0, VIRTIO_QUEUE_READY), 0);
	virtio_dev_hold_begin(dev);
	ck_assert(virtio_dev_hold_wait(dev, 0));
	virtio_dev_hold_end(dev);
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(virtio_get_status(dev), 0);
	ck_assert_uint_eq(atomic_load(&toy.kicks[0]) + atomic_load(&toy.ends), 0);
	toy.activate_ret = 0;
	ck_assert(fake_probe(&drv, 0, 16));
	ck_assert_int_eq(echo(1), 20);
	teardown();
}
END_TEST

static sem_t may_activate;

static void slow_activate(void)
{
	while (sem_wait(&may_activate))
		;
}

/* What the device does first may take time: the vCPU does not wait, and the device does not stand still. */
START_TEST(test_slow_activate)
{
	uint32_t written;

	setup(0);
	sem_init(&may_activate, 0, 0);
	toy.on_activate = slow_activate;
	ck_assert(fake_negotiate(&drv, 0));
	fake_setup_queue(&drv, 0, 16);
	virtio_hold(dev, VIRTIO_HOLD_MASTER, true); /* it is to start parked */
	virtio_set_status(dev, LIVE);
	ck_assert_uint_eq(virtio_get_status(dev), LIVE);
	add(0);
	fake_notify(&drv, 0);
	virtio_dev_hold_begin(dev);
	ck_assert(!virtio_dev_hold_wait(dev, now_ms() + 20));
	sem_post(&may_activate);
	ck_assert(virtio_dev_hold_wait(dev, now_ms() + 10000));
	ck_assert_uint_eq(atomic_load(&toy.activates), 1);
	virtio_dev_hold_end(dev);
	virtio_hold(dev, VIRTIO_HOLD_MASTER, false);
	ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
	teardown();
	sem_destroy(&may_activate);
}
END_TEST

/* A driver that gives up at once, and one that does not even wait for that. */
START_TEST(test_reset_at_once)
{
	setup(0);
	for (unsigned i = 0; i < 300; i++) {
		ck_assert(fake_negotiate(&drv, 0));
		fake_setup_queue(&drv, 0, 16);
		virtio_set_status(dev, LIVE);
		if (i % 3 == 1)
			virtio_queue_set(dev, 0, VIRTIO_QUEUE_READY, 0);
		if (i % 3 == 2)
			fake_notify(&drv, 0);
		virtio_set_status(dev, 0);
		ck_assert_uint_eq(virtio_get_status(dev), 0);
		ck_assert_uint_eq(atomic_load(&toy.activates), i + 1);
		ck_assert_uint_eq(atomic_load(&toy.ends), i + 1);
	}
	ck_assert_uint_eq(atomic_load(&toy.kicks_after_end), 0);
	teardown();
}
END_TEST

/* What went to standard error says @what in each of @n lines. */
static void check_messages(FILE *messages, const char *what, unsigned n)
{
	char line[256];

	rewind(messages);
	for (; fgets(line, sizeof(line), messages); n--)
		ck_assert_msg(strstr(line, what) && strstr(line, "toy0"), "%s", line);
	ck_assert_uint_eq(n, 0);
}

/* From here on the numbers of descriptors that are open have no holes: some may be inherited. */
static void fill_descriptors(void)
{
	int top = 0, fd = 0;
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)))
		top = atoi(entry->d_name) > top ? atoi(entry->d_name) : top;
	closedir(dir);
	while (fd >= 0 && fd < top)
		fd = dup(0);
	ck_assert_int_ge(fd, top);
}

/* The host has one descriptor too few, two, ...: broken until the reset, nothing leaks. */
START_TEST(test_host_failures)
{
	FILE *messages = tmpfile();
	struct rlimit limit, low;
	int first_free;
	unsigned failures = 0;

	ck_assert_ptr_nonnull(messages);
	ck_assert_int_eq(dup2(fileno(messages), STDERR_FILENO), STDERR_FILENO);
	setup(0);
	fill_descriptors();
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	first_free = dup(0);
	close(first_free);
	for (rlim_t n = 0;; n++) {
		bool good;

		low = (struct rlimit){ (rlim_t)first_free + n, limit.rlim_max };
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
		good = fake_probe(&drv, 0, 16);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		if (good)
			break;
		failures++;
		ck_assert_uint_eq(virtio_get_status(dev), LIVE | NEEDS_RESET);
		ck_assert_uint_eq(fake_config_irqs(&drv), failures);
		virtio_set_status(dev, 0);
		ck_assert_int_eq(dup(0), first_free);
		close(first_free);
	}
	ck_assert_uint_eq(failures, 4); /* epoll, the call, two queues */
	check_messages(messages, "Too many open files", failures);
	ck_assert_int_eq(echo(1), 20);
	teardown();
	ck_assert_int_eq(dup(0), first_free);
}
END_TEST

/* ---- configuration ---- */

START_TEST(test_config)
{
	static const struct {
		uint64_t off;
		unsigned width;
		uint64_t want;
	} table[] = {
		{ 0, 1, 0x00 },        { 5, 1, 0x05 },
		{ 11, 1, 0x0b },       { 10, 2, 0x0b0a },
		{ 8, 4, 0x0b0a0908 },  { 0, 8, 0x0706050403020100 },
		{ 12, 1, 0 }, /* behind the end */
		{ 12, 4, 0 },          { 8, 8, 0 },
		{ 11, 2, 0 },          { 10, 4, 0 }, /* misaligned */
		{ 1, 2, 0 },           { 4, 8, 0 },
		{ 0, 0, 0 }, /* no such width */
		{ 0, 3, 0 },           { 0, 16, 0 },
		{ 0x100000000, 4, 0 }, /* does not wrap */
		{ UINT64_MAX, 1, 0 },  { UINT64_MAX - 3, 4, 0 },
	};

	setup(0);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		ck_assert_msg(virtio_config_read(dev, table[i].off, table[i].width) ==
				      table[i].want,
			      "line %zu", i);
	for (size_t i = 6; i < ARRAY_SIZE(table); i++)
		virtio_config_write(dev, table[i].off, table[i].width, UINT64_MAX);
	ck_assert_uint_eq(toy.config[0], 0x03020100);
	ck_assert_uint_eq(toy.config[2], 0x0b0a0908);
	ck_assert_uint_eq(toy.config[3], 0xdeadbeef);
	virtio_config_write(dev, 10, 2, 0x1234);
	ck_assert_uint_eq(toy.config[2], 0x12340908);
	teardown();
	setup_type(&least_type, 0);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 4), 0);
	virtio_config_write(dev, 0, 4, 1);
	teardown();
}
END_TEST

START_TEST(test_config_interrupt)
{
	unsigned generation;

	setup(0);
	generation = atomic_load(&dev->config_generation);
	virtio_config_begin(dev);
	virtio_config_end(dev);
	ck_assert_uint_eq(atomic_load(&dev->config_generation), generation + 1);
	virtio_break(dev, "before DRIVER_OK");
	ck_assert_uint_eq(fake_config_irqs(&drv), 0); /* not before DRIVER_OK */
	ck_assert_uint_eq(virtio_get_status(dev), NEEDS_RESET);
	ck_assert(fake_probe(&drv, 0, 16));
	virtio_config_begin(dev);
	virtio_config_end(dev);
	ck_assert_uint_eq(atomic_load(&dev->config_generation), generation + 2);
	ck_assert_uint_eq(fake_config_irqs(&drv), 1);
	teardown();
}
END_TEST

static void *changer(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop)) {
		virtio_config_begin(dev);
		toy.config[0]++;
		sched_yield();
		toy.config[1]++;
		sched_yield();
		virtio_config_end(dev);
	}
	return NULL;
}

/* Two halves and the generation, as a driver reads them: never one old and one new. */
START_TEST(test_config_is_whole)
{
	unsigned good = 0;
	pthread_t thread;

	setup(0);
	toy.config[0] = toy.config[1] = 0;
	atomic_store(&stop, false);
	ck_assert_int_eq(pthread_create(&thread, NULL, changer, NULL), 0);
	while (good < 3000) {
		unsigned before = atomic_load(&dev->config_generation);
		uint64_t low = virtio_config_read(dev, 0, 4), high = virtio_config_read(dev, 4, 4);

		if (atomic_load(&dev->config_generation) != before)
			continue;
		ck_assert_uint_eq(low, high);
		good++;
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	teardown();
}
END_TEST

static void change_and_break(struct virtio_dev *d, unsigned index)
{
	virtio_config_begin(d);
	virtio_config_end(d);
	virtio_break(d, "queue %u", index);
}

/* The worker tells the driver something while a vCPU holds the lock and waits for it. */
START_TEST(test_reset_while_telling)
{
	pthread_t thread;

	setup(0);
	toy.on_kick = change_and_break;
	atomic_store(&stop, false);
	ck_assert_int_eq(pthread_create(&thread, NULL, sender, NULL), 0);
	for (unsigned i = 0; i < 300; i++) {
		fake_probe(&drv, FAKE_RESET, 16);
		virtio_queue_set(dev, i % 2, VIRTIO_QUEUE_RESET, 1);
		virtio_set_status(dev, 0);
		ck_assert_uint_eq(virtio_get_status(dev), 0);
		drv.next = 1 * MIB;
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	teardown();
}
END_TEST

/* ---- serving ---- */

/* The driver adds one more to the first. */
static bool must_notify;

static void add_in_commit(struct virtio_dev *d)
{
	if (atomic_load(&toy.handled) != 1)
		return;
	fake_must_notify(&drv.queue[0]);
	add(0);
	must_notify = fake_must_notify(&drv.queue[0]);
	ck_assert_uint_eq(d->queue[0].vq.taken, 0);
}

/* What comes while a batch is begun is served without a notification, in either format. */
START_TEST(test_commit)
{
	static const uint64_t features[] = { 0, FAKE_EVENT_IDX, FAKE_PACKED,
					     FAKE_PACKED | FAKE_EVENT_IDX };

	for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
		uint32_t written;

		setup(FAKE_PACKED);
		toy.on_commit = add_in_commit;
		must_notify = true;
		ck_assert(fake_negotiate(&drv, features[i]));
		fake_setup_queue(&drv, 0, 16);
		add(0);
		virtio_set_status(dev, LIVE);
		ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
		ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
		ck_assert(!must_notify);
		teardown();
	}
}
END_TEST

/* Nobody reads the eventfd of the notifications: all that came are still in it, each served once. */
START_TEST(test_notifications_stay)
{
	uint64_t came;
	int fd;

	setup(0);
	ck_assert(fake_probe(&drv, 0, 16));
	fd = drv.notify_fd[0];
	wait_for(&toy.kicks[0], 1);
	ck_assert_int_eq(eventfd_write(fd, 5), 0);
	ck_assert_int_eq(echo(0), 20);
	ck_assert_int_eq(echo(0), 20);
	ck_assert_int_eq(read(fd, &came, sizeof(came)), sizeof(came));
	ck_assert_uint_ge(came, 1 + 5);
	ck_assert_uint_le(atomic_load(&toy.kicks[0]), 1 + 1 + 2);
	teardown();
}
END_TEST

/* Queue 1: those of queue 0 come to their end. */
static void end_of_other(struct virtio_dev *d, unsigned index)
{
	if (!index) {
		virtio_serve(d, 0, toy_handle);
		return;
	}
	for (unsigned i = 0; i < toy.n_held[0]; i++)
		virtio_push(d, 0, toy.held[0][i], 0);
	toy.n_held[0] = 0;
	virtio_complete(d, 0);
}

/* Requests with more beside RAM than is lent at a time: each waits for the one before, and nobody asks. */
START_TEST(test_much_beside_ram)
{
	const uint32_t bytes = VIRTQ_MAX_LOAN / 2 + 1;
	const struct fake_buf buf = FAKE_OUT(GPA(GIB), bytes);
	struct ram_beside beside = { GPA(GIB), VIRTQ_MAX_LOAN, NULL, false };
	uint32_t written;

	setup(0);
	beside.host = mmap(NULL, VIRTQ_MAX_LOAN, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(beside.host, MAP_FAILED);
	ram_beside_set(drv.ram, 0, &beside);
	toy.hold = true;
	toy.on_kick = end_of_other;
	ck_assert(fake_probe(&drv, 0, 8));
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_ge(fake_add(&drv.queue[0], &buf, 1), 0);
	fake_notify(&drv, 0);
	for (unsigned i = 1; i <= 3; i++) {
		while (atomic_load(&toy.handled) < i)
			sched_yield();
		ck_assert_uint_eq(atomic_load(&toy.handled), i);
		fake_notify(&drv, 1);
		ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
	}
	teardown();
	munmap(beside.host, VIRTQ_MAX_LOAN);
}
END_TEST

static void serve_both(struct virtio_dev *d, unsigned index)
{
	(void)index;
	virtio_serve(d, 0, toy_handle);
	virtio_serve(d, 1, toy_handle);
	ck_assert(!virtio_pop(d, 1));
	virtio_complete(d, 1);
}

/* When the second one is done, so is all that the worker did about the first. */
static void echo_twice(void)
{
	ck_assert_int_eq(echo(0), 20);
	ck_assert_int_eq(echo(0), 20);
}

/*
 * A device may look at a queue that the driver has not set up, or has stopped: its ring is then
 * left alone, even with something unflushed.
 */
START_TEST(test_serve_absent_queue)
{
	setup(0);
	toy.on_kick = serve_both;
	ck_assert(fake_negotiate(&drv, FAKE_RESET));
	fake_setup_queue(&drv, 0, 16);
	virtio_set_status(dev, LIVE);
	ck_assert_int_eq(echo(0), 20);
	fake_setup_queue(&drv, 1, 16);
	ck_assert_int_eq(echo(1), 20);
	toy.hold = toy.careless = true;
	add(1);
	fake_notify(&drv, 1);
	wait_for(&toy.handled, 3);
	virtio_queue_set(dev, 1, VIRTIO_QUEUE_RESET, 1);
	toy.hold = toy.careless = false;
	echo_twice();
	ck_assert_uint_eq(drv.queue[1].used->idx, 1);
	/* The same where it was live before a reset of the whole device */
	ck_assert(fake_probe(&drv, 0, 16));
	ck_assert(fake_negotiate(&drv, 0));
	fake_setup_queue(&drv, 0, 16);
	add(1);
	virtio_set_status(dev, LIVE);
	echo_twice();
	ck_assert_uint_eq(drv.queue[1].used->idx, 0);
	teardown();
}
END_TEST

/* A held device gives back what is in flight, takes nothing, and then goes on where it was. */
START_TEST(test_hold)
{
	uint32_t written;

	setup(FAKE_PACKED);
	for (unsigned round = 0; round < 10; round++) {
		unsigned before = atomic_load(&toy.handled);

		ck_assert(fake_probe(&drv, round & 1 ? FAKE_PACKED : 0, 16));
		drv.no_notify_fd = round & 2;
		ck_assert_int_eq(echo(0), 20);
		toy.hold = true;
		add(0);
		add(1);
		fake_notify(&drv, 0);
		fake_notify(&drv, 1);
		wait_for(&toy.handled, before + 3);
		virtio_hold(dev, VIRTIO_HOLD_TEST, true);
		virtio_hold(dev, VIRTIO_HOLD_TEST, true);
		toy.hold = false;
		ck_assert_int_ge(fake_used(&drv.queue[0], &written), 0);
		ck_assert_int_ge(fake_used(&drv.queue[1], &written), 0);
		add(0);
		add(0);
		fake_notify(&drv, 0);
		poll(NULL, 0, 2);
		ck_assert_int_lt(fake_used(&drv.queue[0], &written), 0);
		ck_assert_uint_eq(atomic_load(&toy.handled), before + 3);
		ck_assert_uint_eq(get(0, VIRTIO_QUEUE_READY), 1);
		virtio_hold(dev, VIRTIO_HOLD_TEST, false);
		virtio_hold(dev, VIRTIO_HOLD_TEST, false);
		ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
		ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
		ck_assert_int_eq(echo(0), 20);
		ck_assert_int_eq(echo(1), 20);
		ck_assert_uint_eq(virtio_get_status(dev), LIVE);
	}
	ck_assert_uint_eq(atomic_load(&toy.activates), 10);
	teardown();
}
END_TEST

/* What the driver does meanwhile counts, but only later. */
START_TEST(test_hold_and_set_up)
{
	uint32_t written;

	setup(0);
	virtio_hold(dev, VIRTIO_HOLD_TEST, true);
	ck_assert(fake_negotiate(&drv, FAKE_RESET));
	fake_setup_queue(&drv, 0, 16);
	virtio_set_status(dev, LIVE);
	fake_setup_queue(&drv, 1, 16); /* live already */
	add(0);
	add(1);
	fake_notify(&drv, 0);
	poll(NULL, 0, 2);
	ck_assert_uint_eq(atomic_load(&toy.handled), 0);
	virtio_queue_set(dev, 1, VIRTIO_QUEUE_RESET, 1);
	virtio_hold(dev, VIRTIO_HOLD_TEST, false);
	ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
	ck_assert_uint_eq(atomic_load(&toy.handled), 1);
	virtio_hold(dev, VIRTIO_HOLD_TEST, true);
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(atomic_load(&toy.ends), 1);
	virtio_hold(dev, VIRTIO_HOLD_TEST, false);
	ck_assert(fake_probe(&drv, 0, 16));
	ck_assert_int_eq(echo(1), 20);
	virtio_hold(dev, VIRTIO_HOLD_TEST, true);
	teardown();
}
END_TEST

/* ---- the whole machine stands still ---- */

/* What the toy holds comes to its end when the test says so. */
static void toy_finish(struct loop_source *src, uint32_t events)
{
	(void)events;
	event_clear(src->fd);
	toy_drain_queue(dev, 0);
	virtio_idle(dev);
	toy_drain_queue(dev, 1);
	virtio_idle(dev);
	virtio_idle(dev);
}

/* It waits for what has been taken, but not for ever, and may be called off. */
START_TEST(test_pause)
{
	struct loop_source finish = { event_open(0), toy_finish };
	uint32_t written;

	setup(0);
	ck_assert(fake_probe(&drv, 0, 16));
	ck_assert_int_eq(echo(0), 20);
	ck_assert_int_eq(loop_add(&dev->loop, &finish, EPOLLIN), 0);
	for (unsigned round = 1; round <= 4; round++) {
		unsigned before = atomic_load(&toy.handled);

		toy.hold = true;
		add(0);
		add(1);
		fake_notify(&drv, 0);
		fake_notify(&drv, 1);
		wait_for(&toy.handled, before + 2);
		virtio_dev_hold_begin(dev);
		ck_assert(!virtio_dev_hold_wait(dev, now_ms() + 20));
		if (round % 2) {
			virtio_dev_hold_end(dev);
			virtio_dev_hold_begin(dev);
		}
		toy.hold = false;
		add(0);
		fake_notify(&drv, 0);
		event_signal(finish.fd);
		ck_assert(virtio_dev_hold_wait(dev, now_ms() + 10000));
		ck_assert_uint_eq(toy.n_held[0] + toy.n_held[1], 0);
		ck_assert_uint_eq(dev->queue[0].vq.taken, 0);
		virtio_dev_hold_end(dev);
		for (unsigned i = 0; i < 2; i++)
			ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
		ck_assert_int_ge(fake_wait_used(&drv, 1, &written), 0);
	}
	teardown();
	close(finish.fd);
}
END_TEST

/* One reason more or less changes nothing. Without bus mastering, what has not begun stays so. */
START_TEST(test_pause_reasons)
{
	uint32_t written;

	setup(0);
	virtio_dev_hold_begin(dev); /* nothing is live */
	ck_assert(virtio_dev_hold_wait(dev, 0));
	ck_assert(fake_probe(&drv, 0, 16)); /* by a vCPU that should be parked */
	add(0);
	fake_notify(&drv, 0);
	virtio_hold(dev, VIRTIO_HOLD_MASTER, true);
	virtio_dev_hold_end(dev);
	ck_assert(virtio_dev_hold_wait(dev, now_ms() + 10000));
	virtio_dev_hold_end(dev);
	poll(NULL, 0, 2);
	ck_assert_uint_eq(atomic_load(&toy.handled), 0);
	virtio_dev_hold_begin(dev);
	virtio_hold(dev, VIRTIO_HOLD_MASTER, false);
	ck_assert(virtio_dev_hold_wait(dev, now_ms() + 10000));
	poll(NULL, 0, 2);
	ck_assert_uint_eq(atomic_load(&toy.handled), 0);
	virtio_dev_hold_end(dev);
	ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
	/* A device that stands still can be reset, and be live again behind that. */
	virtio_dev_hold_begin(dev);
	ck_assert(virtio_dev_hold_wait(dev, now_ms() + 10000));
	virtio_set_status(dev, 0);
	ck_assert(fake_probe(&drv, 0, 16));
	virtio_dev_hold_end(dev);
	ck_assert_int_eq(echo(1), 20);
	teardown();
}
END_TEST

/* A driver at full speed is stopped at any moment. */
START_TEST(test_pause_at_any_moment)
{
	uint32_t written;

	setup(FAKE_PACKED);
	for (unsigned round = 0; round < 200; round++) {
		uint16_t taken;
		unsigned handled, irqs;

		if (round % 20 == 0)
			ck_assert(fake_probe(&drv, round & 1 ? FAKE_PACKED : 0, 16));
		for (unsigned i = 0; i < 8; i++) {
			fake_irq_on(&drv.queue[0], 0);
			add(0);
			fake_notify(&drv, 0);
		}
		virtio_dev_hold_begin(dev);
		ck_assert(virtio_dev_hold_wait(dev, now_ms() + 10000));
		handled = atomic_load(&toy.handled);
		taken = dev->queue[0].vq.taken;
		irqs = fake_queue_irqs(&drv, 0);
		ck_assert_uint_eq(taken, 0);
		add(1);
		fake_notify(&drv, 1);
		virtio_again(dev, 0);
		sched_yield();
		ck_assert_uint_eq(atomic_load(&toy.handled), handled);
		ck_assert_uint_eq(fake_queue_irqs(&drv, 0), irqs);
		virtio_dev_hold_end(dev);
		for (unsigned i = 0; i < 8; i++)
			ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
		ck_assert_int_ge(fake_wait_used(&drv, 1, &written), 0);
	}
	teardown();
}
END_TEST

/* What the device has to say of its configuration is kept. */
START_TEST(test_pause_and_config)
{
	unsigned irqs;

	setup(0);
	ck_assert(fake_probe(&drv, 0, 16));
	virtio_dev_hold_begin(dev);
	ck_assert(virtio_dev_hold_wait(dev, now_ms() + 10000));
	irqs = fake_config_irqs(&drv);
	for (unsigned i = 0; i < 2; i++) {
		virtio_config_begin(dev);
		virtio_config_end(dev);
	}
	ck_assert_uint_eq(fake_config_irqs(&drv), irqs);
	ck_assert_uint_eq(dev->config_generation, 0);
	virtio_dev_hold_end(dev);
	ck_assert_uint_eq(fake_config_irqs(&drv), irqs + 1);
	ck_assert_uint_eq(dev->config_generation, 1);
	teardown();
}
END_TEST

/* At the machine's end what is on the rings of a device that stands still stays there. */
START_TEST(test_pause_to_the_end)
{
	for (unsigned round = 0; round < 50; round++) {
		setup(0);
		ck_assert(fake_probe(&drv, 0, 16));
		virtio_dev_hold_begin(dev);
		ck_assert(virtio_dev_hold_wait(dev, now_ms() + 10000));
		add(0);
		fake_notify(&drv, 0);
		virtio_dev_stop_begin(dev);
		ck_assert(virtio_dev_stop_wait(dev, now_ms() + 10000));
		ck_assert_uint_eq(atomic_load(&toy.handled), 0);
		ck_assert_uint_eq(atomic_load(&toy.ends), 1);
		teardown();
	}
}
END_TEST

static unsigned open_fds(void)
{
	int fd = dup(0);

	close(fd);
	return (unsigned)fd;
}

/* virtio_fini() of a live device, and of one that never lived */
START_TEST(test_fini)
{
	unsigned fds = open_fds();

	for (unsigned i = 0; i < 100; i++) {
		setup(0);
		if (i % 2)
			ck_assert(fake_probe(&drv, 0, 16));
		teardown();
		ck_assert_uint_eq(atomic_load(&toy.ends), i % 2);
	}
	wait_workers(0);
	ck_assert_uint_eq(open_fds(), fds);
}
END_TEST

static sem_t let_on;

static void stubborn_kick(struct virtio_dev *d, unsigned index)
{
	(void)index;
	atomic_fetch_add(&toy.handled, 1);
	while (sem_wait(&let_on))
		;
	(void)d;
}

/* The machine's end: asked for without waiting, waited for only so long. */
START_TEST(test_stop)
{
	setup(0);
	virtio_dev_stop_begin(dev); /* nothing to stop */
	ck_assert(virtio_dev_stop_wait(dev, 0));
	wait_workers(0);
	fake_probe(&drv, 0, 16); /* a vCPU that still runs */
	ck_assert_uint_eq(atomic_load(&toy.activates), 0);
	ck_assert(virtio_dev_stop_wait(dev, 0));
	ck_assert_int_eq(virtio_dev_start(dev), 0);
	sem_init(&let_on, 0, 1);
	toy.on_kick = stubborn_kick;
	ck_assert(fake_probe(&drv, 0, 16));
	wait_for(&toy.handled, 2);
	virtio_dev_stop_begin(dev);
	virtio_dev_stop_begin(dev);
	ck_assert(!virtio_dev_stop_wait(dev, now_ms() + 20));
	ck_assert_uint_eq(atomic_load(&toy.ends), 0);
	sem_post(&let_on);
	ck_assert(virtio_dev_stop_wait(dev, now_ms() + 10000));
	ck_assert(virtio_dev_stop_wait(dev, 0));
	ck_assert_uint_eq(atomic_load(&toy.ends), 1);
	wait_workers(0);
	sem_destroy(&let_on);
	teardown();
}
END_TEST

/* ---- a host that takes its time ---- */

static void slow_drain(void)
{
	while (sem_wait(&let_on))
		;
}

static void setup_slow(void)
{
	static struct virtio_transport_ops ops;

	setup(0);
	ops = *dev->transport_ops;
	ops.patience_ms = 500;
	virtio_attach(dev, &ops, &drv);
	sem_init(&let_on, 0, 0);
	toy.on_drain = slow_drain;
	ck_assert(fake_probe(&drv, FAKE_RESET, 16));
	ck_assert_int_eq(echo(0), 20);
}

static void teardown_slow(void)
{
	for (unsigned i = 0; i < 100; i++)
		sem_post(&let_on);
	teardown();
	sem_destroy(&let_on);
}

static void wait_status(uint8_t status)
{
	while (virtio_get_status(dev) != status)
		sched_yield();
}

/* No vCPU stands for long, nor, if it comes again and again, for much longer. */
START_TEST(test_slow_reset)
{
	int64_t start;

	setup_slow();
	start = now_ms();
	virtio_set_status(dev, 0);
	ck_assert_int_ge(now_ms() - start, 500);
	ck_assert_int_le(now_ms() - start, 1500);
	ck_assert_uint_eq(virtio_get_status(dev), LIVE);
	for (unsigned i = 0; i < 50; i++) {
		virtio_set_status(dev, 0);
		virtio_hold(dev, VIRTIO_HOLD_TEST, true);
		virtio_hold(dev, VIRTIO_HOLD_TEST, false);
		virtio_queue_set(dev, i % 2, VIRTIO_QUEUE_READY, 0);
	}
	ck_assert_int_le(now_ms() - start, 2500);
	/* Not complete, so nothing else is possible; others may look. */
	virtio_set_status(dev, ACK);
	virtio_set_features(dev, 0, 1);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_SIZE, 8);
	virtio_notify(dev, 0);
	ck_assert_uint_eq(virtio_get_status(dev), LIVE);
	ck_assert_uint_eq(atomic_load(&toy.resets), 1);
	sem_post(&let_on);
	wait_status(0);
	ck_assert_uint_eq(atomic_load(&toy.resets), 2);
	ck_assert_uint_eq(get(0, VIRTIO_QUEUE_SIZE), 64);
	ck_assert_uint_eq(virtio_get_driver_features(dev, 0), 0);
	toy.on_drain = NULL;
	ck_assert(fake_probe(&drv, 0, 16));
	ck_assert_int_eq(echo(1), 20);
	teardown_slow();
}
END_TEST

START_TEST(test_slow_queue_reset)
{
	setup_slow();
	for (unsigned i = 0; i < 2; i++) {
		virtio_queue_set(dev, 1, i ? VIRTIO_QUEUE_RESET : VIRTIO_QUEUE_READY, i);
		ck_assert_uint_eq(get(1, VIRTIO_QUEUE_READY), 1);
		ck_assert_uint_eq(get(1, VIRTIO_QUEUE_RESET), i);
		virtio_queue_set(dev, 1, VIRTIO_QUEUE_SIZE, 8);
		virtio_queue_set(dev, 1, VIRTIO_QUEUE_READY, 1);
		ck_assert_uint_eq(get(1, VIRTIO_QUEUE_SIZE), 16);
		sem_post(&let_on);
		while (get(1, VIRTIO_QUEUE_READY))
			sched_yield();
		ck_assert_uint_eq(get(1, VIRTIO_QUEUE_RESET), 0);
		ck_assert_uint_eq(get(1, VIRTIO_QUEUE_SIZE), i ? 64 : 16);
		fake_setup_queue(&drv, 1, 16);
		ck_assert_int_eq(echo(1), 20);
	}
	/* One that is under way when the device is reset */
	virtio_queue_set(dev, 1, VIRTIO_QUEUE_RESET, 1);
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(virtio_get_status(dev), LIVE);
	sem_post(&let_on);
	sem_post(&let_on);
	wait_status(0);
	ck_assert_uint_eq(get(1, VIRTIO_QUEUE_RESET), 0);
	teardown_slow();
}
END_TEST

/* It ends later, or is called off. A reason of its own is not called off by another. */
START_TEST(test_slow_hold)
{
	setup_slow();
	virtio_hold(dev, VIRTIO_HOLD_TEST, true);
	virtio_hold(dev, VIRTIO_HOLD_MASTER, true);
	virtio_hold(dev, VIRTIO_HOLD_TEST, false);
	sem_post(&let_on);
	sem_post(&let_on);
	while (!atomic_load(&dev->is_held))
		sched_yield();
	ck_assert_uint_eq(virtio_get_status(dev), LIVE);
	add(0);
	fake_notify(&drv, 0);
	poll(NULL, 0, 20);
	ck_assert_uint_eq(drv.queue[0].used->idx, 1);
	virtio_hold(dev, VIRTIO_HOLD_MASTER, false);
	ck_assert_int_ge(fake_wait_used(&drv, 0, &(uint32_t){ 0 }), 0);
	ck_assert_int_eq(echo(1), 20);
	teardown_slow();
}
END_TEST

UNIT_MAIN("virtio", test_echo, test_status, test_features_offered, test_features_judged,
	  test_features_frozen, test_queue_size, test_queue_fields, test_queue_index,
	  test_driver_ok, test_worker_signals, test_late_queue, test_queue_reset,
	  test_one_interrupt, test_reset_in_flight, test_reset_at_any_moment,
	  test_no_kick_after_drain, test_queue_reset_while_served,
	  test_queue_reset_behind_the_end, test_reset_of_a_busy_device, test_broken_ring,
	  test_broken_in_flight, test_broken_request, test_bad_addresses, test_activate_fails, test_slow_activate, test_reset_at_once,
	  test_host_failures, test_config, test_config_interrupt, test_config_is_whole,
	  test_reset_while_telling, test_commit, test_notifications_stay,
	  test_much_beside_ram, test_serve_absent_queue,
	  test_hold, test_hold_and_set_up,
	  test_pause, test_pause_reasons, test_pause_at_any_moment, test_pause_and_config, test_pause_to_the_end,
	  test_fini, test_stop, test_slow_reset, test_slow_queue_reset, test_slow_hold)
