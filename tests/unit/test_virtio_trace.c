/* Links: virtio/trace.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/* A device that is traced: the events are kept here. */
#include "lkvm/virtio-trace.h"

#include <string.h>

#include "fake-driver.h"
#include "lkvm/types.h"
#include "unit.h"

#define MOST	64
#define QUEUES	2
#define NUMBER	3
#define SECTOR	77

static struct {
	pthread_mutex_t lock;
	unsigned n;
	struct trace_event event[MOST];
	struct trace_track *track[MOST];
} seen = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Only their addresses count. */
static char requests_here, interrupts_here;
#define REQUESTS   ((struct trace_track *)&requests_here)
#define INTERRUPTS ((struct trace_track *)&interrupts_here)

void trace_put(struct trace_track *track, const struct trace_event *event)
{
	pthread_mutex_lock(&seen.lock);
	ck_assert_uint_lt(seen.n, MOST);
	seen.track[seen.n] = track;
	seen.event[seen.n++] = *event;
	pthread_mutex_unlock(&seen.lock);
}

void trace_device(struct trace_event *event, const char *name)
{
	strcpy(event->device, name);
}

/* ---- the device: requests of queue 1 stay with it ---- */

static struct virtio_dev dev;
static struct fake_driver drv;
static struct virtio_trace *trace;

static void handle(struct virtio_dev *d, unsigned index)
{
	if (!index)
		virtio_push(d, index, d->chain->token, 5);
}

static void kick(struct virtio_dev *d, unsigned index)
{
	virtio_serve(d, index, handle);
}

static void describe(unsigned index, const struct virtq_chain *c, struct virtio_asked *ret)
{
	ck_assert_str_eq(ret->what, "request");
	ck_assert_uint_eq(ret->bytes, c->out_bytes + c->in_bytes);
	if (!index)
		return;
	*ret = (struct virtio_asked){ .what = "write", .bytes = 1, .has_sector = true, .sector = SECTOR };
}

static const struct virtio_type type = {
	.name = "toy", .id = VIRTIO_ID_BLOCK, .queue_size = 16, .kick = kick, .describe = describe,
};

static const struct virtio_transport_ops *setup(uint64_t features)
{
	const struct virtio_transport_ops *real;

	seen.n = 0;
	fake_init(&drv, 4);
	dev = (struct virtio_dev){ .type = &type, .name = "toy0", .ram = drv.ram, .n_queues = QUEUES,
				   .device_features = 1ULL << VIRTIO_F_RING_PACKED };
	ck_assert_int_eq(virtio_init(&dev), 0);
	fake_attach(&drv, &dev);
	real = dev.transport_ops;
	ck_assert_int_eq(virtio_trace_new(&dev, NUMBER, REQUESTS, INTERRUPTS, &trace), 0);
	ck_assert(fake_probe(&drv, features, 8));
	return real;
}

static void teardown(void)
{
	virtio_fini(&dev);
	virtio_trace_free(trace);
	fake_fini(&drv);
}

static void ask(unsigned index)
{
	const struct fake_buf bufs[] = { FAKE_OUT(fake_alloc(&drv, 16, 1), 16), FAKE_IN(fake_alloc(&drv, 16, 1), 16) };

	ck_assert_int_ge(fake_add(&drv.queue[index], bufs, 2), 0);
	fake_notify(&drv, index);
}

static void wait_for(unsigned n)
{
	bool there;

	do {
		pthread_mutex_lock(&seen.lock);
		there = seen.n >= n;
		pthread_mutex_unlock(&seen.lock);
	} while (!there);
}

static void expect(unsigned i, struct trace_track *track, enum trace_phase phase, const char *what)
{
	const struct trace_event *e = &seen.event[i];

	ck_assert_uint_lt(i, seen.n);
	ck_assert_ptr_eq(seen.track[i], track);
	ck_assert_int_eq(e->kind->phase, phase);
	ck_assert_str_eq(e->what, what);
	ck_assert_str_eq(e->device, "toy0");
	ck_assert(!i || e->at_ns >= e[-1].at_ns);
}

static const uint64_t formats[] = { 0, FAKE_PACKED };

START_TEST(test_request)
{
	for (size_t f = 0; f < ARRAY_SIZE(formats); f++) {
		uint32_t written;

		setup(formats[f]);
		for (unsigned i = 0; i < 12; i++) { /* more than the ring has */
			ask(0);
			ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
			ck_assert_uint_eq(written, 5);
			wait_for(3 * (i + 1));
			expect(3 * i, REQUESTS, TRACE_BEGIN, "request");
			expect(3 * i + 1, REQUESTS, TRACE_END, "request");
			expect(3 * i + 2, INTERRUPTS, TRACE_INSTANT, "interrupt");
			ck_assert_uint_eq(seen.event[3 * i].extent, ((NUMBER + 1ULL) << 48) + i);
			ck_assert_uint_eq(seen.event[3 * i].extent, seen.event[3 * i + 1].extent);
			ck_assert(seen.event[3 * i].arg[0] == 0 && seen.event[3 * i].arg[1] == 32);
			ck_assert(!seen.event[3 * i].kind->arg[2].key);
			ck_assert_str_eq(seen.event[3 * i + 1].kind->arg[0].key, "written");
			ck_assert_uint_eq(seen.event[3 * i + 1].arg[0], 5);
		}
		teardown();
	}
}
END_TEST

/* What the device has when its queues end is not given back any more. */
START_TEST(test_cancelled)
{
	for (size_t f = 0; f < ARRAY_SIZE(formats); f++) {
		setup(formats[f]);
		for (unsigned i = 0; i < 3; i++) {
			ask(1);
			wait_for(i + 1);
			expect(i, REQUESTS, TRACE_BEGIN, "write");
			ck_assert_str_eq(seen.event[i].kind->arg[2].key, "sector");
			ck_assert(seen.event[i].arg[0] == 1 && seen.event[i].arg[1] == 1 && seen.event[i].arg[2] == SECTOR);
		}
		virtio_set_status(&dev, 0);
		ck_assert_uint_eq(seen.n, 6);
		for (unsigned i = 3; i < 6; i++) {
			expect(i, REQUESTS, TRACE_END, "write");
			ck_assert_str_eq(seen.event[i].kind->arg[0].key, "cancelled");
			ck_assert_uint_eq(seen.event[i].extent, seen.event[i - 3].extent);
		}
		/* The next driver's are others. */
		ck_assert(fake_probe(&drv, formats[f], 8));
		ask(1);
		wait_for(7);
		ck_assert_uint_eq(seen.event[6].extent, seen.event[2].extent + 1);
		teardown();
	}
}
END_TEST

START_TEST(test_config)
{
	setup(0);
	virtio_config_begin(&dev);
	virtio_config_end(&dev);
	fake_wait_config_irq(&drv, 1);
	wait_for(1);
	expect(0, INTERRUPTS, TRACE_INSTANT, "configuration interrupt");
	teardown();
}
END_TEST

/* The device is what it was. */
START_TEST(test_free)
{
	const struct virtio_transport_ops *real = setup(0);
	uint32_t written;

	ck_assert_ptr_ne(dev.transport_ops, real);
	ck_assert(dev.transport_ops->notify_fd == real->notify_fd && dev.transport_ops->patience_ms == real->patience_ms);
	virtio_set_status(&dev, 0);
	virtio_trace_free(trace);
	trace = NULL;
	ck_assert_ptr_eq(dev.transport_ops, real);
	ck_assert(fake_probe(&drv, 0, 8));
	ask(0);
	ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
	ck_assert_uint_eq(seen.n, 0);
	teardown();
	virtio_trace_free(NULL);
}
END_TEST

UNIT_MAIN("virtio_trace", test_request, test_cancelled, test_config, test_free)
