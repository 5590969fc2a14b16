/* Links: virtio/console.o virtio/console-port.o virtio/console-control.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/* The virtio console on a fake driver, with a fake at the host's end that is played by the test. */
#include "lkvm/virtio-console.h"

#include <errno.h>
#include <linux/virtio_console.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "fake-driver.h"
#include "lkvm/clock.h"
#include "lkvm/event.h"
#include "lkvm/timer.h"
#include "lkvm/types.h"
#include "unit.h"

#define SIZE      (1ULL << VIRTIO_CONSOLE_F_SIZE)
#define MULTIPORT (1ULL << VIRTIO_CONSOLE_F_MULTIPORT)
#define EMERG     (1ULL << VIRTIO_CONSOLE_F_EMERG_WRITE)

/* ---- the host's end ---- */

struct console {
	struct console_device device;
	unsigned attached;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t room; /* bytes that are still taken */
	char out[65536];
	size_t n_out;
	unsigned wanted;
};

static struct console con[VIRTIO_CONSOLE_MAX_PORTS];

void console_attach(struct console *c, const struct console_device *dev)
{
	if (!dev) {
		c->attached--;
		return;
	}
	c->attached++;
	c->device = *dev;
	c->device.resize(c->device.dev, 80, 25);
}

size_t console_put(struct console *c, const void *buf, size_t len)
{
	size_t n;

	pthread_mutex_lock(&c->lock);
	n = len < c->room ? len : c->room;
	ck_assert_uint_le(n, sizeof(c->out) - c->n_out);
	memcpy(c->out + c->n_out, buf, n);
	c->n_out += n;
	c->room -= n;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	return n;
}

void console_input_wanted(struct console *c)
{
	pthread_mutex_lock(&c->lock);
	c->wanted++;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

static void wait_change(struct console *c)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	ck_assert_int_eq(pthread_cond_timedwait(&c->changed, &c->lock, &until), 0);
}

#define NOTE(n) "\r\n[lkvm: " #n " bytes of output dropped]\r\n"

static void set_room(struct console *c, size_t room)
{
	pthread_mutex_lock(&c->lock);
	c->room = room;
	pthread_mutex_unlock(&c->lock);
}

/* The reader has read: there is room again. */
static void reader_reads(struct console *c, size_t room)
{
	set_room(c, room);
	c->device.writable(c->device.dev);
}

static void expect_out(struct console *c, const char *text)
{
	size_t len = strlen(text);

	pthread_mutex_lock(&c->lock);
	while (c->n_out < len)
		wait_change(c);
	ck_assert_uint_eq(c->n_out, len);
	ck_assert_mem_eq(c->out, text, len);
	pthread_mutex_unlock(&c->lock);
}

static size_t type(struct console *c, const char *text)
{
	return c->device.input(c->device.dev, (const uint8_t *)text, strlen(text));
}

/* ---- the timers of its patience, in place of util/timer.c's: they fire when the test says so ---- */

#define RETRIES 10

static struct virtio_dev *dev;
static struct tick {
	struct timer *timer;
	struct loop_source src;
	bool on;
} tick[VIRTIO_CONSOLE_MAX_PORTS];
static unsigned n_ticks;

static struct tick *tick_of(const struct timer *timer)
{
	unsigned i = 0;

	while (i < n_ticks && tick[i].timer != timer)
		i++;
	ck_assert_uint_lt(i, VIRTIO_CONSOLE_MAX_PORTS);
	n_ticks += i == n_ticks;
	return &tick[i];
}

static void tick_ready(struct loop_source *src, uint32_t events)
{
	struct tick *t = container_of(src, struct tick, src);

	(void)events;
	event_clear(src->fd);
	t->timer->fired(t->timer);
}

void timer_init(struct timer *timer, struct loop *loop, clockid_t clock, void (*fired)(struct timer *))
{
	ck_assert_int_eq(clock, CLOCK_MONOTONIC);
	ck_assert_ptr_eq(loop, &dev->loop);
	*timer = (struct timer){ .loop = loop, .fired = fired };
	*tick_of(timer) = (struct tick){ timer, { event_open(0), tick_ready }, false };
}

int timer_open(struct timer *timer)
{
	return loop_add(timer->loop, &tick_of(timer)->src, EPOLLIN);
}

void timer_fini(struct timer *timer)
{
	struct tick *t = tick_of(timer);

	loop_del(timer->loop, &t->src);
	close(t->src.fd);
	t->src.fd = -1;
}

int timer_set(struct timer *timer, uint64_t at_ns)
{
	uint64_t in_ns = CONSOLE_PATIENCE_MS * 1000000ULL / RETRIES, now = now_ns();

	ck_assert_uint_le(at_ns, now + in_ns);
	ck_assert_uint_gt(at_ns, now);
	tick_of(timer)->on = true;
	return 0;
}

void timer_stop(struct timer *timer)
{
	tick_of(timer)->on = false;
}

/* ---- the guest's end ---- */

static struct fake_driver drv;
static unsigned n_ports;

static bool want_multiport;
static const struct virtio_port_ops *want_ops; /* of port 0, if it is no console */

static void new_device(unsigned ports, struct console *const *consoles)
{
	struct virtio_console_setup setup = { .n_ports = ports, .multiport = want_multiport || ports > 1 };

	for (unsigned i = 0; i < ports; i++)
		setup.port[i] = virtio_port_console(consoles[i]);
	if (want_ops)
		setup.port[0].ops = want_ops;
	fake_init(&drv, 16);
	for (unsigned i = 0; i < VIRTIO_CONSOLE_MAX_PORTS; i++) {
		pthread_mutex_init(&con[i].lock, NULL);
		pthread_cond_init(&con[i].changed, NULL);
		con[i].room = SIZE_MAX;
	}
	n_ports = ports;
	n_ticks = 0;
	ck_assert_int_eq(virtio_console_new(drv.ram, "console0", &setup, &dev), 0);
	fake_attach(&drv, dev);
}

static void setup(unsigned ports)
{
	struct console *const all[] = { &con[0], &con[1], &con[2], &con[3] };

	new_device(ports, all);
}

static void teardown(void)
{
	virtio_console_free(dev);
	for (unsigned i = 0; i < VIRTIO_CONSOLE_MAX_PORTS; i++)
		ck_assert_uint_eq(con[i].attached, 0);
	fake_fini(&drv);
}

static void probe(uint64_t features)
{
	ck_assert(fake_probe(&drv, features | SIZE, 16));
}

static gpa_t guest_bytes(const void *bytes, size_t len)
{
	gpa_t at = fake_alloc(&drv, len, 1);

	memcpy(fake_at(&drv, at), bytes, len);
	return at;
}

/* Add output, do not wait. */
static void send(unsigned queue, const char *text)
{
	struct fake_buf buf = FAKE_OUT(guest_bytes(text, strlen(text)), (uint32_t)strlen(text));

	fake_irq_on(&drv.queue[queue], 0);
	ck_assert_int_ge(fake_add(&drv.queue[queue], &buf, 1), 0);
	if (fake_must_notify(&drv.queue[queue]))
		fake_notify(&drv, queue);
}

static void returned(unsigned queue)
{
	uint32_t written = 1;

	ck_assert_int_ge(fake_wait_used(&drv, queue, &written), 0);
	ck_assert_uint_eq(written, 0);
}

static bool has_returned(unsigned queue)
{
	uint32_t written;

	return fake_used(&drv.queue[queue], &written) >= 0;
}

static gpa_t add_buffer(unsigned queue, uint32_t len)
{
	gpa_t at = fake_alloc(&drv, len + 1, 8);
	struct fake_buf buf = FAKE_IN(at, len);

	fake_irq_on(&drv.queue[queue], 0);
	ck_assert_int_ge(fake_add(&drv.queue[queue], &buf, 1), 0);
	if (fake_must_notify(&drv.queue[queue]))
		fake_notify(&drv, queue);
	return at;
}

static void expect_in(unsigned queue, gpa_t at, const char *text)
{
	uint32_t written = 0;

	ck_assert_int_ge(fake_wait_used(&drv, queue, &written), 0);
	ck_assert_uint_eq(written, strlen(text));
	ck_assert_mem_eq(fake_at(&drv, at), text, written);
}

/*
 * The worker has begun and ended a turn. In each there are two places where it looks for input, so
 * two answers may come from a turn that had begun before, and two from the middle of the next.
 */
static void sync_worker(void)
{
	for (int i = 0; i < 5; i++) {
		gpa_t at = add_buffer(0, 8);

		ck_assert_uint_eq(type(&con[0], "s"), 1);
		expect_in(0, at, "s");
	}
}

static void ticks(unsigned n)
{
	struct pollfd fd = { .fd = tick[0].src.fd, .events = POLLIN };

	while (n--) {
		event_signal(tick[0].src.fd);
		do
			sync_worker();
		while (poll(&fd, 1, 0));
		sync_worker();
	}
}

static void expect_broken(void)
{
	/* The first one said that the size is there. */
	fake_wait_config_irq(&drv, 2);
	ck_assert_uint_eq(virtio_get_status(dev) & VIRTIO_CONFIG_S_NEEDS_RESET,
			  VIRTIO_CONFIG_S_NEEDS_RESET);
}

/* ---- configuration ---- */

START_TEST(test_features)
{
	setup(1);
	ck_assert_uint_eq(dev->device_features & 7, SIZE | EMERG);
	ck_assert_uint_eq(dev->n_queues, 2);
	ck_assert_uint_eq(dev->type->id, 3);
	teardown();
	setup(3);
	ck_assert_uint_eq(dev->device_features & 7, SIZE | EMERG | MULTIPORT);
	ck_assert_uint_eq(dev->n_queues, 8);
	teardown();
	want_multiport = true;
	setup(1);
	ck_assert_uint_eq(dev->device_features & 7, SIZE | EMERG | MULTIPORT);
	ck_assert_uint_eq(dev->n_queues, 4);
	teardown();
	virtio_console_free(NULL);
}
END_TEST

START_TEST(test_config)
{
	setup(3);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 2), 80);
	ck_assert_uint_eq(virtio_config_read(dev, 2, 2), 25);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 4), 25 << 16 | 80);
	ck_assert_uint_eq(virtio_config_read(dev, 4, 4), 3);
	ck_assert_uint_eq(virtio_config_read(dev, 8, 4), 0);
	ck_assert_uint_eq(virtio_config_read(dev, 12, 4), 0);
	ck_assert_uint_eq(virtio_config_read(dev, 8, 8), 0);
	teardown();
}
END_TEST

START_TEST(test_emergency_write)
{
	setup(1);
	virtio_config_write(dev, 8, 4, 0xffffff00 | 'e'); /* before anything is negotiated */
	virtio_config_write(dev, 8, 1, 'f');
	virtio_config_write(dev, 0, 4, 'x');
	virtio_config_write(dev, 4, 4, 'x');
	virtio_config_write(dev, 9, 1, 'x');
	expect_out(&con[0], "ef");
	ck_assert_uint_eq(virtio_config_read(dev, 0, 4), 25 << 16 | 80);
	probe(0);
	virtio_config_write(dev, 8, 4, 'g');
	expect_out(&con[0], "efg");
	set_room(&con[0], 0);
	virtio_config_write(dev, 8, 4, 'h'); /* lost, and nothing waits */
	expect_out(&con[0], "efg");
	teardown();
	new_device(1, &(struct console *){ NULL });
	virtio_config_write(dev, 8, 4, 'i');
	teardown();
}
END_TEST

START_TEST(test_resize)
{
	uint32_t generation;

	setup(1);
	con[0].device.resize(con[0].device.dev, 100, 40); /* nobody to tell yet */
	ck_assert_uint_eq(fake_config_irqs(&drv), 0);
	probe(0);
	ck_assert_uint_eq(fake_config_irqs(&drv), 1); /* Linux asks for the size only then */
	ck_assert_uint_eq(virtio_config_read(dev, 0, 4), 40 << 16 | 100);
	generation = atomic_load(&dev->config_generation);
	con[0].device.resize(con[0].device.dev, 132, 50);
	ck_assert_uint_eq(fake_config_irqs(&drv), 2);
	ck_assert_uint_ne(atomic_load(&dev->config_generation), generation);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 4), 50 << 16 | 132);
	con[0].device.resize(con[0].device.dev, 132, 50); /* no change */
	ck_assert_uint_eq(fake_config_irqs(&drv), 2);
	con[0].device.resize(con[0].device.dev, 132, 51);
	con[0].device.resize(con[0].device.dev, 133, 51);
	ck_assert_uint_eq(fake_config_irqs(&drv), 4);
	ck_assert(fake_probe(&drv, 0, 16)); /* without SIZE */
	ck_assert_uint_eq(fake_config_irqs(&drv), 4);
	teardown();
}
END_TEST

/* ---- output ---- */

static void check_output(uint64_t features)
{
	struct fake_buf bufs[3];

	setup(1);
	probe(features);
	bufs[0] = FAKE_OUT(guest_bytes("one ", 4), 4);
	bufs[1] = FAKE_OUT(guest_bytes("", 1), 0);
	bufs[2] = FAKE_OUT(guest_bytes("two ", 4), 4);
	ck_assert_int_eq(fake_request(&drv, 1, bufs, 3), 0);
	expect_out(&con[0], "one two ");
	for (int i = 0; i < 40; i++)
		ck_assert_int_eq(fake_request(&drv, 1, bufs, 1), 0);
	ck_assert_uint_eq(con[0].n_out, 8 + 40 * 4);
	memset(con[0].out, 0, sizeof(con[0].out));
	con[0].n_out = 0;
	teardown();
}

START_TEST(test_output)
{
	check_output(0);
	check_output(FAKE_EVENT_IDX | FAKE_INDIRECT);
}
END_TEST

/* The reader takes a little at a time: all arrives, in order, and the driver gets its buffers
 * after. */
START_TEST(test_slow_reader)
{
	struct fake_buf bufs[2];

	setup(1);
	probe(0);
	set_room(&con[0], 3);
	bufs[0] = FAKE_OUT(guest_bytes("abcd", 4), 4);
	bufs[1] = FAKE_OUT(guest_bytes("efgh", 4), 4);
	ck_assert_int_ge(fake_add(&drv.queue[1], bufs, 2), 0);
	send(1, "ijkl");
	expect_out(&con[0], "abc");
	ck_assert(!has_returned(1));
	reader_reads(&con[0], 3);
	expect_out(&con[0], "abcdef");
	ck_assert(!has_returned(1));
	reader_reads(&con[0], 4);
	expect_out(&con[0], "abcdefghij");
	returned(1);
	ck_assert(!has_returned(1));
	reader_reads(&con[0], SIZE_MAX);
	returned(1);
	expect_out(&con[0], "abcdefghijkl");
	send(1, "mn");
	returned(1);
	expect_out(&con[0], "abcdefghijklmn");
	teardown();
}
END_TEST

/* Nobody's patience ends while there is progress, be it of a byte, and each stop gets all of it. */
START_TEST(test_trickle)
{
	setup(1);
	probe(0);
	set_room(&con[0], 0);
	send(1, "abc");
	while (!__atomic_load_n(&tick[0].on, __ATOMIC_SEQ_CST))
		sync_worker(); /* it may have been in the middle of its start */
	for (int i = 0; i < 3; i++) {
		ck_assert(!has_returned(1));
		ticks(RETRIES - 1);
		set_room(&con[0], 1);
		ticks(1);
	}
	returned(1);
	sync_worker();
	ck_assert(!tick[0].on);
	ticks(1); /* one that was on its way */
	send(1, "d");
	ticks(RETRIES - 1);
	ck_assert(!has_returned(1));
	reader_reads(&con[0], SIZE_MAX);
	returned(1);
	expect_out(&con[0], "abcd");
	teardown();
}
END_TEST

START_TEST(test_stopped_reader)
{
	setup(1);
	probe(0);
	set_room(&con[0], 2);
	send(1, "abcde");
	ticks(RETRIES - 1);
	ck_assert(!has_returned(1));
	ticks(1);
	returned(1); /* the guest goes on all the same */
	sync_worker();
	ck_assert(!tick[0].on);
	for (int i = 0; i < 10; i++) {
		send(1, "dropped");
		returned(1); /* at once */
	}
	set_room(&con[0], SIZE_MAX);
	send(1, "dropped"); /* until the console says that there is room, not just a little */
	returned(1);
	expect_out(&con[0], "ab");
	con[0].device.writable(con[0].device.dev);
	expect_out(&con[0], "ab" NOTE(80));
	send(1, "again");
	returned(1);
	expect_out(&con[0], "ab" NOTE(80) "again");
	teardown();
}
END_TEST

START_TEST(test_nowhere)
{
	new_device(1, &(struct console *){ NULL });
	probe(0);
	send(1, "nobody");
	returned(1);
	teardown();
}
END_TEST

/* What the guest has sent before it ended is not lost, even if the worker has not looked yet. */
START_TEST(test_last_words)
{
	struct fake_buf buf;
	char err[100] = "";
	int err_fd;

	setup(1);
	probe(0);
	sync_worker();
	buf = FAKE_OUT(guest_bytes("last words", 10), 10);
	ck_assert_int_ge(fake_add(&drv.queue[1], &buf, 1), 0); /* without a notification */
	virtio_console_free(dev);
	expect_out(&con[0], "last words");
	fake_fini(&drv);

	setup(1);
	con[0].n_out = 0;
	probe(0);
	set_room(&con[0], 4);
	send(1, "very last");
	expect_out(&con[0], "very");
	set_room(&con[0], 3); /* no time to wait for more */
	err_fd = memfd_create("stderr", 0);
	ck_assert_int_eq(dup2(err_fd, 2), 2);
	virtio_console_free(dev);
	expect_out(&con[0], "very la");
	ck_assert_int_ge(pread(err_fd, err, sizeof(err) - 1, 0), 0);
	ck_assert_str_eq(err, "lkvm: warning: console0: port 0: 2 bytes of output dropped\n");
	fake_fini(&drv);
}
END_TEST

START_TEST(test_reset_with_held_output)
{
	setup(1);
	probe(FAKE_RESET);
	set_room(&con[0], 1);
	send(1, "abc");
	expect_out(&con[0], "a");
	probe(FAKE_RESET); /* a reset: the rest is gone, and it is said */
	reader_reads(&con[0], sizeof(NOTE(2)) - 1 + 1);
	expect_out(&con[0], "a" NOTE(2));
	send(1, "xyz");
	expect_out(&con[0], "a" NOTE(2) "x");
	virtio_queue_set(dev, 1, VIRTIO_QUEUE_RESET, 1);
	ck_assert(has_returned(1));
	reader_reads(&con[0], SIZE_MAX);
	expect_out(&con[0], "a" NOTE(2) "x" NOTE(2));
	fake_setup_queue(&drv, 1, 16);
	send(1, "new");
	returned(1);
	expect_out(&con[0], "a" NOTE(2) "x" NOTE(2) "new");
	teardown();
}
END_TEST

static void device_hold(bool whole_machine, bool on)
{
	if (!whole_machine) {
		virtio_hold(dev, VIRTIO_HOLD_TEST, on);
	} else if (on) {
		virtio_dev_hold_begin(dev);
		ck_assert(virtio_dev_hold_wait(dev, now_ms() + 10000));
	} else {
		virtio_dev_hold_end(dev);
	}
}

/* Output that waits for a reader stays where it is, whatever he does, and nothing of it is lost. */
static void hold_with_held_output(bool whole_machine)
{
	gpa_t at;

	setup(1);
	probe(0);
	set_room(&con[0], 1);
	send(1, "abc");
	expect_out(&con[0], "a");
	device_hold(whole_machine, true);
	ck_assert(!tick[0].on);
	at = add_buffer(0, 8);
	ck_assert_uint_eq(type(&con[0], "in"), 2);
	reader_reads(&con[0], SIZE_MAX);
	send(1, "xyz");
	event_signal(tick[0].src.fd); /* one that was on its way */
	poll(NULL, 0, 5);
	ck_assert(!has_returned(0) && !has_returned(1));
	expect_out(&con[0], "a");
	ck_assert_uint_eq(*(uint8_t *)fake_at(&drv, at), 0);
	device_hold(whole_machine, false);
	expect_in(0, at, "in");
	returned(1);
	returned(1);
	expect_out(&con[0], "abcxyz");
	ck_assert(!tick[0].on);
	teardown();
}

START_TEST(test_hold_with_held_output)
{
	hold_with_held_output(false);
}
END_TEST

START_TEST(test_pause_with_held_output)
{
	hold_with_held_output(true);
}
END_TEST

/* Its patience goes on where it was. */
static void hold_and_stopped_reader(bool whole_machine)
{
	setup(1);
	probe(0);
	set_room(&con[0], 1);
	send(1, "abc");
	ticks(RETRIES - 1);
	device_hold(whole_machine, true);
	device_hold(whole_machine, false);
	ticks(1);
	returned(1);
	reader_reads(&con[0], SIZE_MAX);
	expect_out(&con[0], "a" NOTE(2));
	teardown();
}

START_TEST(test_hold_and_stopped_reader)
{
	hold_and_stopped_reader(false);
}
END_TEST

START_TEST(test_pause_and_stopped_reader)
{
	hold_and_stopped_reader(true);
}
END_TEST

/* A device that stands still is reset: what was held is out of its reach. */
static void hold_and_reset(bool whole_machine)
{
	setup(1);
	probe(0);
	set_room(&con[0], 1);
	send(1, "abc");
	expect_out(&con[0], "a");
	device_hold(whole_machine, true);
	set_room(&con[0], SIZE_MAX);
	virtio_set_status(dev, 0);
	expect_out(&con[0], "a");
	device_hold(whole_machine, false);
	probe(0);
	reader_reads(&con[0], SIZE_MAX);
	expect_out(&con[0], "a" NOTE(2));
	send(1, "xyz");
	returned(1);
	expect_out(&con[0], "a" NOTE(2) "xyz");
	teardown();
}

START_TEST(test_hold_and_reset)
{
	hold_and_reset(false);
}
END_TEST

START_TEST(test_pause_and_reset)
{
	hold_and_reset(true);
}
END_TEST

/* Of a terminal that is resized meanwhile the driver hears later, and once. */
START_TEST(test_pause_and_resize)
{
	unsigned irqs, generation;

	setup(1);
	probe(0);
	device_hold(true, true);
	irqs = fake_config_irqs(&drv);
	generation = dev->config_generation;
	con[0].device.resize(con[0].device.dev, 100, 40);
	con[0].device.resize(con[0].device.dev, 101, 40);
	poll(NULL, 0, 5);
	ck_assert_uint_eq(fake_config_irqs(&drv), irqs);
	ck_assert_uint_eq(dev->config_generation, generation);
	device_hold(true, false);
	fake_wait_config_irq(&drv, irqs + 1);
	ck_assert_uint_eq(dev->config_generation, generation + 1);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 2), 101);
	device_hold(true, true);
	device_hold(true, false);
	ck_assert_uint_eq(fake_config_irqs(&drv), irqs + 1);
	teardown();
}
END_TEST

/* The machine ends while it stands still, and vm/end.c lets go of it before: the guest's last words are not lost. */
START_TEST(test_pause_and_end)
{
	setup(1);
	probe(0);
	device_hold(true, true);
	send(1, "bye");
	device_hold(true, false);
	ck_assert(virtio_dev_stop_wait(dev, now_ms() + 10000));
	expect_out(&con[0], "bye");
	teardown();
}
END_TEST

START_TEST(test_output_must_be_readable)
{
	setup(1);
	probe(0);
	add_buffer(1, 16);
	expect_broken();
	teardown();
}
END_TEST

/* ---- input ---- */

START_TEST(test_input)
{
	gpa_t one, two;

	setup(1);
	ck_assert_uint_eq(type(&con[0], "early"), 5); /* typed before there is a driver */
	probe(0);
	one = add_buffer(0, 3);
	expect_in(0, one, "ear");
	one = add_buffer(0, 64);
	expect_in(0, one, "ly");
	one = add_buffer(0, 64);
	two = add_buffer(0, 64);
	ck_assert_uint_eq(type(&con[0], "x"), 1);
	expect_in(0, one, "x");
	ck_assert_uint_eq(con[0].device.break_key, 0x0f); /* Ctrl-O: SysRq on Linux's hvc */
	ck_assert_uint_eq(type(&con[0], "y"), 1);
	expect_in(0, two, "y");
	ck_assert_uint_eq(con[0].wanted, 0);
	teardown();
}
END_TEST

/* A guest that does not read: the console keeps what does not fit, and is asked for it later. */
START_TEST(test_input_flow)
{
	static char many[5000], got[5000];
	size_t n, taken;

	setup(1);
	probe(0);
	for (size_t i = 0; i < sizeof(many) - 1; i++)
		many[i] = (char)('!' + i % 90);
	taken = type(&con[0], many);
	ck_assert_uint_gt(taken, 1000);
	ck_assert_uint_lt(taken, sizeof(many) - 1);
	ck_assert_uint_eq(type(&con[0], "z"), 0);
	for (n = 0; n < taken;) {
		gpa_t at = add_buffer(0, 1000);
		uint32_t written = 0;

		ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
		ck_assert(written > 0 && written <= 1000 && written <= taken - n);
		ck_assert_uint_eq(con[0].wanted, n + written == taken);
		memcpy(got + n, fake_at(&drv, at), written);
		n += written;
	}
	ck_assert_mem_eq(got, many, taken);
	ck_assert_uint_eq(type(&con[0], many + taken), sizeof(many) - 1 - taken);
	ck_assert_uint_eq(con[0].wanted, 1); /* nothing was refused since */
	teardown();
}
END_TEST

/* The ring of typed bytes goes round. */
START_TEST(test_input_ring)
{
	setup(1);
	probe(FAKE_EVENT_IDX);
	for (unsigned i = 0; i < 1000; i++) {
		char text[12];
		gpa_t at = add_buffer(0, 64);

		snprintf(text, sizeof(text), "line %u\n", i);
		ck_assert_uint_eq(type(&con[0], text), strlen(text));
		expect_in(0, at, text);
	}
	teardown();
}
END_TEST

START_TEST(test_input_needs_room)
{
	struct fake_buf bufs[2];

	setup(1);
	probe(0);
	bufs[0] = FAKE_OUT(fake_alloc(&drv, 8, 8), 8);
	bufs[1] = FAKE_IN(fake_alloc(&drv, 8, 8), 8);
	ck_assert_int_ge(fake_add(&drv.queue[0], bufs, 2), 0);
	ck_assert_uint_eq(type(&con[0], "x"), 1);
	expect_broken();
	probe(0); /* the byte is still there */
	expect_in(0, add_buffer(0, 8), "x");

	bufs[1] = FAKE_IN(fake_alloc(&drv, 8, 8), 0);
	ck_assert_int_ge(fake_add(&drv.queue[0], &bufs[1], 1), 0);
	ck_assert_uint_eq(type(&con[0], "y"), 1);
	fake_wait_config_irq(&drv, 4);
	teardown();
}
END_TEST

/* ---- several ports ---- */

static void control(uint32_t id, uint16_t event, uint16_t value)
{
	const struct virtio_console_control msg = { id, event, value };
	struct fake_buf buf = FAKE_OUT(guest_bytes(&msg, sizeof(msg)), sizeof(msg));

	ck_assert_int_eq(fake_request(&drv, 3, &buf, 1), 0);
}

static void expect_control(uint32_t id, uint16_t event, uint32_t more)
{
	struct {
		struct virtio_console_control head;
		uint16_t cols, rows;
	} msg = { 0 };
	gpa_t at = add_buffer(2, 64);
	uint32_t written = 0;

	ck_assert_int_ge(fake_wait_used(&drv, 2, &written), 0);
	memcpy(&msg, fake_at(&drv, at), sizeof(msg));
	ck_assert_uint_eq(msg.head.id, id);
	ck_assert_uint_eq(msg.head.event, event);
	ck_assert_uint_eq(msg.head.value, 1);
	ck_assert_uint_eq(written, more ? 12 : 8);
	if (more)
		ck_assert_uint_eq((uint32_t)msg.rows << 16 | msg.cols, more);
}

static void expect_name(uint32_t id)
{
	struct {
		struct virtio_console_control head;
		char name[32];
	} msg;
	char name[32];
	gpa_t at = add_buffer(2, 64);
	uint32_t written = 0;

	ck_assert_int_ge(fake_wait_used(&drv, 2, &written), 0);
	memcpy(&msg, fake_at(&drv, at), sizeof(msg));
	snprintf(name, sizeof(name), "lkvm.tty%u", id);
	ck_assert_uint_eq(msg.head.id, id);
	ck_assert_uint_eq(msg.head.event, VIRTIO_CONSOLE_PORT_NAME);
	ck_assert_uint_eq(written, sizeof(msg.head) + strlen(name)); /* without a NUL */
	ck_assert_mem_eq(msg.name, name, strlen(name));
}

static void port_ready(uint32_t id, uint32_t size)
{
	control(id, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_name(id);
	expect_control(id, VIRTIO_CONSOLE_CONSOLE_PORT, 0);
	expect_control(id, VIRTIO_CONSOLE_PORT_OPEN, 0);
	if (size)
		expect_control(id, VIRTIO_CONSOLE_RESIZE, size);
}

static void multiport(uint64_t features)
{
	probe(MULTIPORT | features);
	control(VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
	for (uint32_t i = 0; i < n_ports; i++)
		expect_control(i, VIRTIO_CONSOLE_PORT_ADD, 0);
	for (uint32_t i = 0; i < n_ports; i++) {
		port_ready(i, 25 << 16 | 80);
		control(i, VIRTIO_CONSOLE_PORT_OPEN, 1);
	}
}

/* No message is waiting: the buffer stays where it is. */
static void expect_no_control(void)
{
	add_buffer(2, 64);
	control(0, VIRTIO_CONSOLE_PORT_OPEN, 1); /* the worker is past whatever came before */
	ck_assert(!has_returned(2));
}

START_TEST(test_multiport)
{
	setup(3);
	multiport(0);
	for (unsigned i = 0; i < 3; i++) {
		unsigned rx = i ? 2 * i + 2 : 0;
		char text[8];
		gpa_t at;

		snprintf(text, sizeof(text), "port%u", i);
		send(rx + 1, text);
		returned(rx + 1);
		expect_out(&con[i], text);
		at = add_buffer(rx, 64);
		ck_assert_uint_eq(type(&con[i], text), 5);
		expect_in(rx, at, text);
	}
	expect_no_control();
	teardown();
}
END_TEST

START_TEST(test_multiport_resize)
{
	setup(2);
	con[1].device.resize(con[1].device.dev, 70, 20); /* a port that is not there yet */
	probe(MULTIPORT);
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_control(0, VIRTIO_CONSOLE_PORT_ADD, 0);
	expect_control(1, VIRTIO_CONSOLE_PORT_ADD, 0);
	port_ready(1, 20 << 16 | 70);
	con[1].device.resize(con[1].device.dev, 71, 21);
	expect_control(1, VIRTIO_CONSOLE_RESIZE, 21 << 16 | 71);
	con[0].device.resize(con[0].device.dev, 72, 22); /* port 0 is still not ready */
	expect_no_control();
	ck_assert_uint_eq(virtio_config_read(dev, 0, 4), 22 << 16 | 72);
	teardown();
}
END_TEST

START_TEST(test_multiport_without_size)
{
	setup(2);
	ck_assert(fake_probe(&drv, MULTIPORT, 16));
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_control(0, VIRTIO_CONSOLE_PORT_ADD, 0);
	expect_control(1, VIRTIO_CONSOLE_PORT_ADD, 0);
	port_ready(1, 0);
	con[1].device.resize(con[1].device.dev, 71, 21);
	expect_no_control();
	teardown();
}
END_TEST

static size_t named_put(void *end, const void *buf, size_t len)
{
	return console_put(end, buf, len);
}

static void named_wanted(void *end)
{
	console_input_wanted(end);
}

static void named_attach(void *end, const struct console_device *port)
{
	console_attach(end, port);
}

static atomic_uint opened, closed;

static void named_opened(void *end, bool open)
{
	ck_assert_ptr_eq(end, &con[0]);
	atomic_fetch_add(open ? &opened : &closed, 1);
}

static const struct virtio_port_ops named = {
	"lkvm.test", 16, named_put, named_wanted, named_attach, named_opened,
};

static void expect_named(void)
{
	static const char name[] = "lkvm.test";
	gpa_t at = add_buffer(2, 64);
	uint32_t written;

	ck_assert_int_ge(fake_wait_used(&drv, 2, &written), 0);
	ck_assert_uint_eq(written, sizeof(struct virtio_console_control) + strlen(name));
	ck_assert_mem_eq(fake_at(&drv, GPA(at.v + 8)), name, strlen(name));
}

static void setup_named(void)
{
	want_multiport = true;
	want_ops = &named;
	setup(1);
	probe(MULTIPORT);
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_control(0, VIRTIO_CONSOLE_PORT_ADD, 0);
	control(0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_named();
	expect_control(0, VIRTIO_CONSOLE_PORT_OPEN, 0);
	expect_control(0, VIRTIO_CONSOLE_RESIZE, 25 << 16 | 80);
	control(0, VIRTIO_CONSOLE_PORT_OPEN, 1);
}

/* No console of the guest's. Who is at the other end is told when it is opened and closed. */
START_TEST(test_named_port)
{
	gpa_t at;

	setup_named();
	control(0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	ck_assert_uint_eq(opened, 1);
	ck_assert_uint_eq(type(&con[0], "sixteen bytes are"), 16);
	at = add_buffer(0, 64);
	expect_in(0, at, "sixteen bytes ar");
	control(0, VIRTIO_CONSOLE_PORT_OPEN, 0);
	ck_assert_uint_eq(closed, 1);
	control(0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	probe(MULTIPORT); /* resets it */
	ck_assert_uint_eq(opened, 2);
	ck_assert_uint_eq(closed, 2);
	teardown();
}
END_TEST

/* However long its reader takes, nothing of it is dropped. */
START_TEST(test_named_port_waits)
{
	setup_named();
	set_room(&con[0], 2);
	send(1, "abcde");
	ticks(RETRIES * 5);
	ck_assert(!has_returned(1));
	reader_reads(&con[0], SIZE_MAX);
	returned(1);
	expect_out(&con[0], "abcde");
	teardown();
}
END_TEST

/* A program's bytes: no note is put among them. */
START_TEST(test_named_port_reset)
{
	setup_named();
	set_room(&con[0], 2);
	send(1, "abcde");
	expect_out(&con[0], "ab");
	probe(MULTIPORT);
	set_room(&con[0], SIZE_MAX);
	con[0].device.writable(con[0].device.dev);
	send(1, "next");
	returned(1);
	expect_out(&con[0], "abnext");
	teardown();
}
END_TEST

START_TEST(test_control_nonsense)
{
	setup(2);
	probe(MULTIPORT);
	control(2, VIRTIO_CONSOLE_PORT_READY, 1); /* there is no such port */
	control(0xffffffff, VIRTIO_CONSOLE_PORT_READY, 1);
	control(0, VIRTIO_CONSOLE_PORT_READY, 0); /* failed */
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 0);
	control(0, VIRTIO_CONSOLE_PORT_ADD, 1); /* not the driver's to send */
	control(0, VIRTIO_CONSOLE_CONSOLE_PORT, 1);
	control(0, VIRTIO_CONSOLE_RESIZE, 1);
	control(0, 77, 1);
	control(2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	control(0xffffffff, VIRTIO_CONSOLE_PORT_OPEN, 1);
	control(0, VIRTIO_CONSOLE_PORT_READY, 1); /* before it was added */
	expect_no_control();
	ck_assert_uint_eq(fake_config_irqs(&drv), 0);
	teardown();
}
END_TEST

/* A port is added once, and told about once. */
START_TEST(test_control_twice)
{
	setup(2);
	multiport(0);
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	control(0, VIRTIO_CONSOLE_PORT_READY, 1);
	control(1, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_no_control();
	teardown();
}
END_TEST

/* Input waits until the driver says that somebody listens, and again when nobody does. */
START_TEST(test_open)
{
	gpa_t at;

	want_multiport = true;
	setup(1);
	ck_assert_uint_eq(type(&con[0], "early"), 5);
	probe(MULTIPORT);
	at = add_buffer(0, 64);
	control(0, VIRTIO_CONSOLE_PORT_OPEN, 1); /* there is no port yet */
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_control(0, VIRTIO_CONSOLE_PORT_ADD, 0);
	port_ready(0, 25 << 16 | 80);
	ck_assert_uint_eq(type(&con[0], " bird"), 5);
	control(0, VIRTIO_CONSOLE_PORT_READY, 1); /* no effect, but the worker is past it */
	ck_assert(!has_returned(0));
	control(0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_in(0, at, "early bird");
	control(0, VIRTIO_CONSOLE_PORT_OPEN, 0);
	at = add_buffer(0, 64);
	ck_assert_uint_eq(type(&con[0], "late"), 4);
	control(0, VIRTIO_CONSOLE_PORT_READY, 1);
	ck_assert(!has_returned(0));
	control(0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_in(0, at, "late");
	ck_assert_uint_eq(type(&con[0], "er"), 2);
	probe(0); /* a driver without MULTIPORT */
	expect_in(0, add_buffer(0, 64), "er");
	teardown();
}
END_TEST

/* Queues that do not exist for a driver without MULTIPORT. */
START_TEST(test_multiport_not_accepted)
{
	const struct virtio_console_control ready = { 0, VIRTIO_CONSOLE_DEVICE_READY, 1 };
	struct fake_buf buf;

	setup(2);
	probe(0);
	add_buffer(2, 64);
	buf = FAKE_OUT(guest_bytes(&ready, sizeof(ready)), sizeof(ready));
	ck_assert_int_ge(fake_add(&drv.queue[3], &buf, 1), 0);
	fake_notify(&drv, 3);
	send(5, "port 1");
	sync_worker();
	sync_worker();
	ck_assert(!has_returned(2) && !has_returned(3) && !has_returned(5));
	ck_assert_uint_eq(con[1].n_out, 0);
	send(1, "port 0");
	returned(1);
	expect_out(&con[0], "port 0");
	teardown();
}
END_TEST

START_TEST(test_packed)
{
	setup(2);
	dev->device_features |= FAKE_PACKED;
	multiport(FAKE_PACKED);
	send(5, "packed");
	returned(5);
	expect_out(&con[1], "packed");
	ck_assert_uint_eq(type(&con[1], "back"), 4);
	expect_in(4, add_buffer(4, 64), "back");
	teardown();
}
END_TEST

/* Nothing of a port's state survives a reset. */
START_TEST(test_control_reset)
{
	setup(2);
	probe(MULTIPORT);
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1); /* two messages for which there is no buffer */
	probe(MULTIPORT);
	con[0].device.resize(con[0].device.dev, 1, 1);
	expect_no_control();
	con[0].device.resize(con[0].device.dev, 80, 25);
	multiport(0);
	teardown();
}
END_TEST

static void control_breaks(unsigned queue, struct fake_buf first, struct fake_buf second)
{
	struct fake_buf bufs[] = { first, second };
	unsigned before = fake_config_irqs(&drv);

	probe(MULTIPORT);
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	ck_assert_int_ge(fake_add(&drv.queue[queue], bufs, second.len ? 2 : 1), 0);
	fake_notify(&drv, queue);
	fake_wait_config_irq(&drv, before + 1);
	ck_assert(atomic_load(&dev->needs_reset));
}

START_TEST(test_control_malformed)
{
	const struct fake_buf none = { .len = 0 };
	struct fake_buf buf;
	gpa_t at;

	setup(2);
	at = fake_alloc(&drv, 64, 8);
	control_breaks(3, FAKE_OUT(at, 7), none); /* shorter than a message */
	control_breaks(3, FAKE_IN(at, 8), none);  /* on the wrong queue */
	control_breaks(3, FAKE_OUT(at, 8), FAKE_IN(at, 8));
	control_breaks(2, FAKE_OUT(at, 64), none); /* likewise */
	control_breaks(2, FAKE_OUT(at, 8), FAKE_IN(at, 64));
	control_breaks(2, FAKE_IN(at, 7), none); /* too small for a message */
	probe(MULTIPORT);
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_control(0, VIRTIO_CONSOLE_PORT_ADD, 0);
	control(0, VIRTIO_CONSOLE_PORT_READY, 1);
	buf = FAKE_IN(at, 16); /* too small for this one */
	ck_assert_int_ge(fake_add(&drv.queue[2], &buf, 1), 0);
	fake_notify(&drv, 2);
	fake_wait_config_irq(&drv, 7);
	multiport(0);
	teardown();
}
END_TEST

/* ---- life ---- */

START_TEST(test_new_failures)
{
	const struct virtio_console_setup two = {
		.port = { virtio_port_console(&con[0]), virtio_port_console(&con[1]) },
		.n_ports = 2,
		.multiport = true,
	};
	struct rlimit limit, saved;
	struct virtio_dev *none = NULL;
	unsigned failures = 0;

	setup(1); /* for the RAM */
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &saved), 0);
	limit = saved;
	for (limit.rlim_cur = 3; limit.rlim_cur < 100; limit.rlim_cur++) {
		struct virtio_dev *d = NULL;
		int err;

		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		err = virtio_console_new(drv.ram, "x", &two, &d);
		ck_assert(!err == !!d);
		if (!err) {
			virtio_console_free(d);
			break;
		}
		ck_assert_int_eq(err, -EMFILE);
		failures++;
	}
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &saved), 0);
	ck_assert_uint_ge(failures, 3);
	ck_assert_uint_eq(con[1].attached, 0);
	virtio_console_free(none);
	teardown();
}
END_TEST

UNIT_MAIN("virtio-console", test_features, test_config, test_emergency_write, test_resize,
	  test_output, test_slow_reader, test_trickle, test_stopped_reader, test_nowhere,
	  test_last_words, test_reset_with_held_output, test_hold_with_held_output,
	  test_pause_with_held_output, test_hold_and_stopped_reader, test_pause_and_stopped_reader,
	  test_hold_and_reset, test_pause_and_reset, test_pause_and_resize, test_pause_and_end,
	  test_output_must_be_readable, test_input,
	  test_input_flow, test_input_ring, test_input_needs_room, test_multiport,
	  test_multiport_resize, test_multiport_without_size, test_multiport_not_accepted,
	  test_packed, test_open, test_named_port, test_named_port_waits,
	  test_named_port_reset, test_control_nonsense, test_control_twice, test_control_reset,
	  test_control_malformed, test_new_failures)
