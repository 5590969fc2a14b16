/* Links: virtio/console.o virtio/console-port.o virtio/console-control.o virtio/state.o virtio/pci.o virtio/pci-common.o virtio/mmio.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/pci-state.o hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o hw/ram.o hw/state.o hw/state-show.o util/json.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/* The state of the virtio console, over both transports, with a fake at the host's end. */
#include <linux/virtio_console.h>
#include <stdio.h>

#include "lkvm/timer.h"
#include "lkvm/virtio-console.h"
#include "virtio-machine.h"

#define SIZE      (1ULL << VIRTIO_CONSOLE_F_SIZE)
#define MULTIPORT (1ULL << VIRTIO_CONSOLE_F_MULTIPORT)
#define CONTROL   2 /* queues 2 and 3 */

/* ---- the host's end---- */

struct console {
	struct console_device device;
	uint16_t rows; /* of its terminal */
	atomic_uint room, wanted, opened;
	pthread_mutex_t lock;
	char out[4096];
	size_t n_out;
};

static struct console con[2];

void console_attach(struct console *c, const struct console_device *end)
{
	if (!end)
		return;
	c->device = *end;
	c->device.resize(c->device.dev, 80, c->rows);
}

size_t console_put(struct console *c, const void *buf, size_t len)
{
	pthread_mutex_lock(&c->lock);
	if (len > atomic_load(&c->room))
		len = atomic_load(&c->room);
	atomic_fetch_sub(&c->room, (unsigned)len);
	ck_assert_uint_le(len, sizeof(c->out) - c->n_out);
	memcpy(c->out + c->n_out, buf, len);
	c->n_out += len;
	pthread_mutex_unlock(&c->lock);
	return len;
}

void console_input_wanted(struct console *c)
{
	atomic_fetch_add(&c->wanted, 1);
}

/* It comes, and nothing more. */
static void expect_out(struct console *c, const char *text)
{
	size_t n = 0;

	for (unsigned i = 0; n < strlen(text) && i < 10000; i++) {
		poll(NULL, 0, i > 10);
		pthread_mutex_lock(&c->lock);
		n = c->n_out;
		pthread_mutex_unlock(&c->lock);
	}
	ck_assert_uint_eq(n, strlen(text));
	ck_assert_mem_eq(c->out, text, n);
}

static size_t type(struct console *c, const char *text)
{
	return c->device.input(c->device.dev, (const uint8_t *)text, strlen(text));
}

/* The timers of its patience fire when the test says so. */

static struct tick {
	struct timer *timer;
	struct loop_source src;
} tick; /* of port 0 */

static void tick_ready(struct loop_source *src, uint32_t events)
{
	(void)events;
	event_clear(src->fd);
	tick.timer->fired(tick.timer);
}

void timer_init(struct timer *t, struct loop *loop, clockid_t clock, void (*fired)(struct timer *timer))
{
	(void)clock;
	*t = (struct timer){ .loop = loop, .fired = fired };
}

int timer_open(struct timer *t)
{
	if (tick.timer)
		return 0;
	tick.timer = t;
	return loop_add(t->loop, &tick.src, EPOLLIN);
}

void timer_fini(struct timer *t)
{
	if (tick.timer != t)
		return;
	loop_del(t->loop, &tick.src);
	tick.timer = NULL;
}

int timer_set(struct timer *t, uint64_t at_ns)
{
	(void)t, (void)at_ns;
	return 0;
}

void timer_stop(struct timer *t)
{
	(void)t;
}

/* ---- the device ---- */

static unsigned n_ports;
static struct virtio_port_ops named;
static bool has_name, leads_nowhere;

static size_t named_put(void *end, const void *buf, size_t len)
{
	return console_put(end, buf, len);
}

static void named_wanted(void *end)
{
	console_input_wanted(end);
}

static void named_attach(void *end, const struct console_device *device)
{
	console_attach(end, device);
}

static void named_opened(void *end, bool open)
{
	atomic_store(&((struct console *)end)->opened, open);
}

static struct virtio_dev *make(const struct ram *ram)
{
	struct virtio_console_setup setup = { .n_ports = n_ports, .multiport = n_ports > 1 };
	struct virtio_dev *d;

	for (unsigned i = 0; i < n_ports; i++)
		setup.port[i] = virtio_port_console(leads_nowhere ? NULL : &con[i]);
	named = (struct virtio_port_ops){ "a.name", 16, named_put, named_wanted, named_attach,
					  named_opened };
	if (has_name)
		setup.port[1].ops = &named;
	setup.options.packed = true;
	ck_assert_int_eq(virtio_console_new(ram, "console0", &setup, &d), 0);
	return d;
}

static const struct machine_device device = { make, virtio_console_free };

static void setup(unsigned kind, unsigned ports, uint64_t features)
{
	n_ports = ports;
	if (!tick.src.ready)
		tick.src = (struct loop_source){ event_open(0), tick_ready };
	for (unsigned i = 0; i < ARRAY_SIZE(con); i++) {
		con[i] = (struct console){ .rows = 25, .room = 4096 };
		pthread_mutex_init(&con[i].lock, NULL);
	}
	machine_new(&device, kind, 4);
	machine_probe(features, 16);
}

/* Adds output, and does not wait */
static void say(unsigned queue, const char *text)
{
	gpa_t at = fake_alloc(&drv, strlen(text), 1);
	struct fake_buf buf = FAKE_OUT(at, (uint32_t)strlen(text));

	memcpy(fake_at(&drv, at), text, strlen(text));
	ck_assert_int_ge(fake_add(&drv.queue[queue], &buf, 1), 0);
	virtio_notify(dev, queue);
}

static bool has_returned(unsigned queue)
{
	uint32_t written;

	return fake_used(&drv.queue[queue], &written) >= 0;
}

static void returned(unsigned queue)
{
	uint32_t written;

	ck_assert_int_ge(machine_wait_used(queue, &written), 0);
	ck_assert_uint_eq(written, 0);
}

static gpa_t room_for(unsigned queue, uint32_t len)
{
	gpa_t at = fake_alloc(&drv, len, 8);
	struct fake_buf buf = FAKE_IN(at, len);

	ck_assert_int_ge(fake_add(&drv.queue[queue], &buf, 1), 0);
	virtio_notify(dev, queue);
	return at;
}

static void expect_in(unsigned queue, gpa_t at, const char *text)
{
	uint32_t written;

	ck_assert_int_ge(machine_wait_used(queue, &written), 0);
	ck_assert_uint_eq(written, strlen(text));
	ck_assert_mem_eq(fake_at(&drv, at), text, written);
}

START_TEST(test_output)
{
	static const uint64_t formats[] = { SIZE, FAKE_EVENT_IDX, FAKE_PACKED | FAKE_EVENT_IDX };

	for (unsigned f = 0; f < ARRAY_SIZE(formats) * MACHINE_KINDS; f++) {
		setup(f % MACHINE_KINDS, 1, formats[f / MACHINE_KINDS]);
		for (unsigned i = 0; i < 10; i++) {
			say(1, "tick ");
			returned(1);
			machine_restore();
		}
		expect_out(&con[0], "tick tick tick tick tick tick tick tick tick tick ");
		machine_free();
	}
}
END_TEST

/* The reader has stopped in the middle of a chain: each byte is printed once. */
START_TEST(test_output_that_is_held)
{
	static const uint64_t formats[] = { 0, FAKE_PACKED };

	for (unsigned f = 0; f < ARRAY_SIZE(formats) * MACHINE_KINDS; f++) {
		setup(f % MACHINE_KINDS, 1, formats[f / MACHINE_KINDS]);
		say(1, "a");
		returned(1);
		atomic_store(&con[0].room, 3);
		say(1, "hello ");
		say(1, "world");
		expect_out(&con[0], "ahel");
		machine_restore();
		machine_restore(); /* before and after it was taken again */
		expect_out(&con[0], "ahel");
		hold(dev);
		machine_replace();
		atomic_store(&con[0].room, 4096);
		con[0].device.writable(con[0].device.dev);
		virtio_dev_hold_end(dev);
		returned(1);
		returned(1);
		expect_out(&con[0], "ahello world");
		say(1, "!");
		returned(1);
		expect_out(&con[0], "ahello world!");
		machine_free();
	}
}
END_TEST

/* How far it was is forgotten with the queue. */
START_TEST(test_held_and_reset)
{
	for (unsigned queue = 0; queue < 2; queue++) {
		setup(MACHINE_PCI, 1, FAKE_RESET);
		atomic_store(&con[0].room, 3);
		say(1, "hello");
		expect_out(&con[0], "hel");
		hold(dev);
		machine_replace();
		if (queue) {
			virtio_queue_set(dev, 1, VIRTIO_QUEUE_RESET, 1);
			while (virtio_queue_get(dev, 1, VIRTIO_QUEUE_READY))
				poll(NULL, 0, 1);
			virtio_dev_hold_end(dev);
			fake_setup_queue(&drv, 1, 16);
			bus_out(&mmio, MACHINE_BAR + VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
			bus_out(&mmio, MACHINE_BAR + VIRTIO_PCI_COMMON_Q_MSIX, 2, 2);
		} else {
			virtio_set_status(dev, 0);
			virtio_dev_hold_end(dev);
			machine_probe(0, 16);
		}
		atomic_store(&con[0].room, 4096);
		say(1, "world");
		returned(1);
		expect_out(&con[0], "helworld");
		machine_free();
	}
}
END_TEST

/* Of each port */
static void set_field(const char *name, uint64_t value)
{
	struct state_reader why;

	for (unsigned i = 0; i < n_ports; i++)
		ck_assert_int_eq(
			state_load_field(dev->type->state, dev, name, i, value, &why), 0);
}

static void drop(void)
{
	atomic_store(&con[0].room, 1);
	say(1, "hello");
	while (!has_returned(1)) {
		event_signal(tick.src.fd);
		poll(NULL, 0, 1);
	}
}

/* The reader of the old one has stopped reading, and that of the new one hears what he has missed. */
START_TEST(test_output_that_is_dropped)
{
	struct state_buf saved = { 0 };

	setup(MACHINE_PCI, 1, 0);
	drop();
	hold(dev);
	machine_save(&saved);
	machine_load(&saved);
	atomic_store(&con[0].room, 4096);
	virtio_dev_hold_end(dev);
	say(1, "world");
	returned(1);
	expect_out(&con[0], "h\r\n[lkvm: 4 bytes of output dropped]\r\nworld");
	state_buf_free(&saved);
	machine_free();
}
END_TEST

/* Into one whose reader had stopped: it does not go on dropping. */
START_TEST(test_dropped_no_more)
{
	struct state_buf saved = { 0 };

	setup(MACHINE_PCI, 1, 0);
	hold(dev);
	machine_save(&saved);
	virtio_dev_hold_end(dev);
	drop();
	hold(dev);
	machine_load(&saved);
	atomic_store(&con[0].room, 4096);
	virtio_dev_hold_end(dev);
	expect_out(&con[0], "hhello"); /* which is still on the ring */
	state_buf_free(&saved);
	machine_free();
}
END_TEST

/* Nobody is told of it where there is nobody, or where it would be among the bytes of a program. */
START_TEST(test_dropped_and_not_told)
{
	leads_nowhere = true;
	setup(MACHINE_PCI, 1, 0);
	hold(dev);
	set_field("dropped", 5);
	virtio_dev_hold_end(dev);
	say(1, "world");
	returned(1);
	machine_free();
	leads_nowhere = false;
	has_name = true;
	setup(MACHINE_PCI, 2, MULTIPORT);
	hold(dev);
	set_field("dropped", 5);
	virtio_dev_hold_end(dev);
	say(5, "world");
	returned(5);
	expect_out(&con[1], "world");
	machine_free();
	has_name = false;
}
END_TEST

/* How far it was with a chain means nothing to a driver that begins anew. */
START_TEST(test_held_before_a_driver)
{
	setup(MACHINE_PCI, 1, 0);
	virtio_set_status(dev, 0);
	hold(dev);
	set_field("taken", 3);
	virtio_dev_hold_end(dev);
	machine_probe(0, 16);
	say(1, "hello");
	returned(1);
	expect_out(&con[0], "hello");
	machine_free();
}
END_TEST

/* What was typed and nobody has taken, from the middle of its ring */
START_TEST(test_input)
{
	for (unsigned kind = 0; kind < MACHINE_KINDS; kind++) {
		struct state_buf saved = { 0 };
		struct state_reader r;
		gpa_t at;

		setup(kind, 1, 0);
		at = room_for(0, 8);
		ck_assert_uint_eq(type(&con[0], "abc"), 3);
		expect_in(0, at, "abc");
		machine_restore();
		ck_assert_uint_eq(type(&con[0], "defgh"), 5);
		machine_restore();
		at = room_for(0, 3);
		expect_in(0, at, "def");
		machine_restore();
		ck_assert_uint_eq(type(&con[0], "ij"), 2);
		at = room_for(0, 8);
		expect_in(0, at, "ghij");
		/* Into one that has run, whose ring is not at its beginning */
		ck_assert_uint_eq(type(&con[0], "kl"), 2);
		hold(dev);
		state_saved(dev->type->state, dev, &saved);
		virtio_dev_hold_end(dev);
		expect_in(0, room_for(0, 8), "kl");
		hold(dev);
		r = state_reader_of(&saved);
		ck_assert_int_eq(state_load(&r, dev->type->state, dev), 0);
		virtio_dev_hold_end(dev);
		expect_in(0, room_for(0, 8), "kl");
		state_buf_free(&saved);
		machine_free();
	}
}
END_TEST

/* The other end has more than the port held, and is asked for it though the port holds nothing now. */
START_TEST(test_input_that_was_refused)
{
	static char much[8192];
	struct state_buf saved = { 0 };

	setup(MACHINE_PCI, 1, 0);
	memset(much, 'x', sizeof(much) - 1);
	hold(dev);
	machine_save(&saved);
	ck_assert_uint_lt(type(&con[0], much), sizeof(much) - 1);
	ck_assert_uint_eq(atomic_load(&con[0].wanted), 0);
	machine_load(&saved);
	ck_assert_uint_eq(atomic_load(&con[0].wanted), 1);
	state_buf_free(&saved);
	machine_free();
}
END_TEST

/* ---- several ports ---- */

static void tell(uint32_t id, uint16_t event, uint16_t value)
{
	const struct virtio_console_control msg = { id, event, value };
	gpa_t at = fake_alloc(&drv, sizeof(msg), 8);
	struct fake_buf buf = FAKE_OUT(at, sizeof(msg));

	memcpy(fake_at(&drv, at), &msg, sizeof(msg));
	ck_assert_uint_eq(machine_request(CONTROL + 1, &buf, 1), 0);
}

static void expect_told(uint32_t id, uint16_t event)
{
	gpa_t at = room_for(CONTROL, 64);
	struct virtio_console_control msg;
	uint32_t written;

	machine_wait_used(CONTROL, &written);
	memcpy(&msg, fake_at(&drv, at), sizeof(msg));
	ck_assert_uint_eq(msg.id, id);
	ck_assert_uint_eq(msg.event, event);
}

/* Up to a port that is open; saved before each message of the device, which is sent once */
static void open_ports(void)
{
	tell(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	for (unsigned i = 0; i < 2; i++) {
		machine_restore();
		expect_told(i, VIRTIO_CONSOLE_PORT_ADD);
	}
	tell(1, VIRTIO_CONSOLE_PORT_READY, 1);
	machine_restore();
	expect_told(1, VIRTIO_CONSOLE_PORT_NAME);
	machine_restore();
	if (!has_name)
		expect_told(1, VIRTIO_CONSOLE_CONSOLE_PORT);
	machine_restore();
	expect_told(1, VIRTIO_CONSOLE_PORT_OPEN);
	machine_restore();
	expect_told(1, VIRTIO_CONSOLE_RESIZE);
	machine_restore();
}

START_TEST(test_ports)
{
	for (unsigned kind = 0; kind < MACHINE_KINDS; kind++) {
		gpa_t at, early;

		setup(kind, 2, SIZE | MULTIPORT);
		open_ports();
		ck_assert_uint_eq(type(&con[1], "early"), 5);
		early = room_for(4, 8);
		machine_restore();
		poll(NULL, 0, 5);
		ck_assert_uint_eq(((uint8_t *)fake_at(&drv, early))[0], 0); /* nobody has it open */
		tell(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
		expect_in(4, early, "early");
		machine_restore();
		at = room_for(4, 8);
		ck_assert_uint_eq(type(&con[1], "late"), 4);
		expect_in(4, at, "late");
		say(5, "out");
		returned(5);
		expect_out(&con[1], "out");
		expect_out(&con[0], "");
		tell(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
		machine_restore();
		machine_free();
	}
}
END_TEST

/* The other end hears that the guest has it open. */
START_TEST(test_port_with_a_name)
{
	has_name = true;
	setup(MACHINE_PCI, 2, SIZE | MULTIPORT);
	open_ports();
	tell(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	ck_assert_uint_eq(atomic_load(&con[1].opened), 1);
	atomic_store(&con[1].opened, 0);
	machine_restore();
	ck_assert_uint_eq(atomic_load(&con[1].opened), 1);
	tell(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	machine_restore();
	ck_assert_uint_eq(atomic_load(&con[1].opened), 0);
	machine_free();
	has_name = false;
}
END_TEST

/* ---- the terminal ---- */

/* Has another size when the machine is loaded: the driver is told, in the way that it has chosen. */
START_TEST(test_another_size)
{
	struct state_buf saved = { 0 };

	setup(MACHINE_PCI, 1, SIZE);
	while (machine_irq(0, 0))
		;
	hold(dev);
	machine_save(&saved);
	machine_unbuild();
	con[0].rows = 50;
	machine_build();
	hold(dev);
	machine_load(&saved);
	virtio_dev_hold_end(dev);
	ck_assert(machine_irq(0, 10000));
	ck_assert_uint_eq(virtio_config_read(dev, 2, 2), 50);
	machine_free();
	state_buf_free(&saved);

	setup(MACHINE_PCI, 2, SIZE | MULTIPORT);
	open_ports();
	hold(dev);
	machine_save(&saved);
	machine_unbuild();
	con[1].rows = 50;
	machine_build();
	hold(dev);
	machine_load(&saved);
	virtio_dev_hold_end(dev);
	expect_told(1, VIRTIO_CONSOLE_RESIZE);
	machine_free();
	state_buf_free(&saved);
}
END_TEST

/* Changed while the machine stood still, before it was saved */
START_TEST(test_size_changes)
{
	setup(MACHINE_PCI, 2, SIZE | MULTIPORT);
	open_ports();
	hold(dev);
	con[1].rows = 60;
	con[1].device.resize(con[1].device.dev, 80, 60);
	machine_replace();
	virtio_dev_hold_end(dev);
	expect_told(1, VIRTIO_CONSOLE_RESIZE);
	machine_free();
}
END_TEST

/* ---- what an enemy writes ---- */

static int try_field(const char *name, unsigned index, uint64_t value)
{
	struct state_reader why;

	return state_try_field(dev->type->state, dev, name, index, value, &why);
}

START_TEST(test_hostile_values)
{
	setup(MACHINE_PCI, 2, SIZE | MULTIPORT);
	open_ports();
	ck_assert_uint_eq(type(&con[1], "abc"), 3);
	hold(dev);
	/* Port 0 is added, port 1 is ready. */
	ck_assert_int_eq(try_field("n", 0, 1), -ERANGE); /* one has the other's input */
	ck_assert_int_eq(try_field("n", 0, 3), -ENODEV);
	ck_assert_int_eq(try_field("ready", 0, 1), 0);
	ck_assert_int_eq(try_field("added", 1, 0), -ERANGE);
	ck_assert_int_eq(try_field("added", 1, 2), -ERANGE);
	ck_assert_int_eq(try_field("open", 0, 1), -ERANGE);
	ck_assert_int_eq(try_field("open", 1, 1), 0);
	ck_assert_int_eq(try_field("send", 0, 1), -ERANGE);
	ck_assert_int_eq(try_field("send", 0, 2), -ERANGE);
	ck_assert_int_eq(try_field("send", 1, 0x20), -ERANGE);
	ck_assert_int_eq(try_field("send", 1, 0x1e), 0);
	ck_assert_int_eq(try_field("console", 1, 0), -ENODEV);
	ck_assert_int_eq(try_field("resized", 1, 2), -ERANGE);
	ck_assert_int_eq(try_field("port_in", 1, 4), -ERANGE);
	ck_assert_int_eq(try_field("port_in", 0, 1), -ERANGE);
	ck_assert_int_eq(try_field("port_in", 0, UINT32_MAX), -ERANGE);
	ck_assert_int_eq(try_field("taken", 1, UINT64_MAX), 0);
	ck_assert_int_eq(try_field("dropped", 1, UINT64_MAX), 0);
	machine_free();
}
END_TEST

/* Of a driver that knows of one port only; and a port with a name is no console. */
START_TEST(test_hostile_ports)
{
	setup(MACHINE_PCI, 1, SIZE);
	hold(dev);
	ck_assert_int_eq(try_field("added", 0, 1), -ENODEV);
	ck_assert_int_eq(try_field("send", 0, 1), -ENODEV);
	machine_free();
	has_name = true;
	setup(MACHINE_PCI, 2, SIZE | MULTIPORT);
	open_ports();
	hold(dev);
	ck_assert_int_eq(try_field("send", 1, 4), -ERANGE);
	ck_assert_int_eq(try_field("send", 1, 2), 0);
	machine_free();
	has_name = false;
}
END_TEST

/* More input than the port can hold, which is less here than it might be */
START_TEST(test_hostile_input)
{
	struct state_buf saved = { 0 };
	struct state_reader r;

	has_name = true;
	setup(MACHINE_PCI, 2, SIZE | MULTIPORT);
	named.in_bytes = 4;
	ck_assert_uint_eq(type(&con[1], "four"), 4);
	hold(dev);
	state_saved(dev->type->state, dev, &saved);
	named.in_bytes = 3;
	r = state_reader_of(&saved);
	ck_assert_int_eq(state_load(&r, dev->type->state, dev), -ENODEV);
	named.in_bytes = 16;
	state_buf_free(&saved);
	machine_free();
	has_name = false;
}
END_TEST

static void use(void *object)
{
	for (unsigned i = 0; i < 2; i++)
		con[i].n_out = 0;
	virtio_dev_hold_end(object);
	for (unsigned i = 0; i < dev->n_queues; i++)
		virtio_notify(object, i);
	type(&con[1], "z");
	con[0].device.writable(con[0].device.dev);
	if (drv.queue[1].n_free) {
		struct fake_buf buf = FAKE_OUT(GPA(0x100), 7);

		fake_add(&drv.queue[1], &buf, 1);
		virtio_notify(object, 1);
		returned(1);
	}
	hold(object);
}

START_TEST(test_hostile)
{
	setup(MACHINE_PCI, 2, SIZE | MULTIPORT);
	open_ports();
	ck_assert_uint_eq(type(&con[1], "abc"), 3);
	for (unsigned i = 0; i < 2; i++)
		atomic_store(&con[i].room, UINT32_MAX);
	machine_test_hostile(dev->type->state, dev, use);
	machine_free();
}
END_TEST

UNIT_MAIN("console-state", test_output, test_output_that_is_held, test_output_that_is_dropped,
	  test_dropped_no_more, test_dropped_and_not_told, test_held_and_reset, test_held_before_a_driver, test_input,
	  test_input_that_was_refused, test_ports, test_port_with_a_name, test_another_size,
	  test_size_changes, test_hostile_values, test_hostile_ports, test_hostile_input,
	  test_hostile)
