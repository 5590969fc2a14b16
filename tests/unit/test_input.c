/* Links: virtio/input.o virtio/state.o virtio/pci.o virtio/pci-common.o virtio/mmio.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/pci-state.o hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o hw/ram.o hw/state.o hw/state-show.o util/event.o util/json.o util/log.o util/loop.o tests/unit/fake-driver.o tests/unit/fake-ring.o */
#include "lkvm/virtio-input.h"

#include <errno.h>
#include <linux/input.h>
#include <linux/virtio_input.h>

#include "../../virtio/input-internal.h"
#include "virtio-machine.h"

enum { EVENTS, STATUS };

static struct virtio_dev *make_keyboard(const struct ram *ram)
{
	struct virtio_dev *d;

	ck_assert_int_eq(virtio_input_new(ram, "keyboard0", VIRTIO_INPUT_KEYBOARD, true, &d), 0);
	return d;
}

static struct virtio_dev *make_tablet(const struct ram *ram)
{
	struct virtio_dev *d;

	ck_assert_int_eq(virtio_input_new(ram, "tablet0", VIRTIO_INPUT_TABLET, true, &d), 0);
	return d;
}

static const struct machine_device keyboard = { make_keyboard, virtio_input_free };
static const struct machine_device tablet = { make_tablet, virtio_input_free };

static void start(const struct machine_device *device, uint64_t features)
{
	machine_new(device, MACHINE_PCI, 4);
	machine_probe(features, 8);
}

static int key(unsigned code, bool down)
{
	return virtio_input_do(dev, &(struct virtio_input_action){ .what = VIRTIO_INPUT_KEY, .code = code, .down = down }, 1);
}

static int point(int x, int y)
{
	return virtio_input_do(dev, &(struct virtio_input_action){ .what = VIRTIO_INPUT_POINT, .x = x, .y = y }, 1);
}

static int wheel(int x, int y)
{
	return virtio_input_do(dev, &(struct virtio_input_action){ .what = VIRTIO_INPUT_WHEEL, .x = x, .y = y }, 1);
}

/* The next event is this one; waits for it */
static void expect(unsigned type, unsigned code, int value)
{
	const struct fake_buf buf = FAKE_IN(GPA(0x100), 8);
	struct virtio_input_event e;

	ck_assert_uint_eq(machine_request(EVENTS, &buf, 1), sizeof(e));
	memcpy(&e, fake_at(&drv, GPA(0x100)), sizeof(e));
	ck_assert_msg(le16toh(e.type) == type && le16toh(e.code) == code && (int)le32toh(e.value) == value,
		      "event %u %u %d, not %u %u %d", le16toh(e.type), le16toh(e.code), (int)le32toh(e.value), type, code, value);
}

static void expect_key(unsigned code, int value)
{
	expect(EV_KEY, code, value);
	expect(EV_SYN, SYN_REPORT, 0);
}

static void send_status(unsigned type, unsigned code, int value)
{
	const struct virtio_input_event e = { htole16((uint16_t)type), htole16((uint16_t)code), htole32((uint32_t)value) };
	const struct fake_buf buf = FAKE_OUT(GPA(0x200), 8);

	memcpy(fake_at(&drv, GPA(0x200)), &e, sizeof(e));
	ck_assert_uint_eq(machine_request(STATUS, &buf, 1), 0);
}

/* ---- what it says of itself ---- */

static unsigned ask(unsigned select, unsigned subsel)
{
	virtio_config_write(dev, 0, 1, select);
	virtio_config_write(dev, 1, 1, subsel);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 1), select);
	ck_assert_uint_eq(virtio_config_read(dev, 1, 1), subsel);
	return (unsigned)virtio_config_read(dev, 2, 1);
}

static bool has_bit(unsigned type, unsigned bit)
{
	return bit / 8 < ask(VIRTIO_INPUT_CFG_EV_BITS, type) && virtio_config_read(dev, 8 + bit / 8, 1) >> bit % 8 & 1;
}

START_TEST(test_keyboard_says)
{
	start(&keyboard, 0);
	ck_assert_uint_eq(dev->type->id, VIRTIO_ID_INPUT);
	ck_assert_uint_eq(dev->config_bytes, sizeof(struct virtio_input_config));
	ck_assert_uint_eq(ask(VIRTIO_INPUT_CFG_UNSET, 0), 0);
	ck_assert_uint_eq(ask(VIRTIO_INPUT_CFG_ID_NAME, 0), strlen("lkvm keyboard"));
	ck_assert_uint_eq(virtio_config_read(dev, 8, 1), 'l');
	ck_assert_uint_eq(ask(VIRTIO_INPUT_CFG_ID_NAME, 1), 0);
	ck_assert_uint_eq(ask(VIRTIO_INPUT_CFG_ID_DEVIDS, 0), 8);
	ck_assert_uint_eq(ask(VIRTIO_INPUT_CFG_PROP_BITS, 0), 0);
	ck_assert(has_bit(EV_KEY, KEY_A));
	ck_assert(has_bit(EV_KEY, KEY_MICMUTE));
	ck_assert(!has_bit(EV_KEY, KEY_RESERVED));
	ck_assert(!has_bit(EV_KEY, BTN_LEFT));
	ck_assert(has_bit(EV_LED, LED_CAPSL));
	ck_assert(has_bit(EV_REP, REP_DELAY));
	ck_assert_uint_eq(ask(VIRTIO_INPUT_CFG_EV_BITS, EV_ABS), 0);
	ck_assert_uint_eq(ask(VIRTIO_INPUT_CFG_EV_BITS, 255), 0);
	ck_assert_uint_eq(ask(VIRTIO_INPUT_CFG_ABS_INFO, ABS_X), 0);
	ck_assert_uint_eq(ask(255, 255), 0);
	/* Wide writes and what is read only change nothing. */
	virtio_config_write(dev, 0, 4, 0x01010101);
	virtio_config_write(dev, 2, 1, 7);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 4), 0x0000ffff);
	machine_free();
	virtio_input_free(NULL);
}
END_TEST

START_TEST(test_tablet_says)
{
	start(&tablet, 0);
	ck_assert_uint_eq(ask(VIRTIO_INPUT_CFG_ABS_INFO, ABS_X), 20);
	ck_assert_uint_eq(virtio_config_read(dev, 12, 4), VIRTIO_INPUT_AXIS - 1);
	ck_assert_uint_eq(ask(VIRTIO_INPUT_CFG_ABS_INFO, ABS_Z), 0);
	ck_assert(has_bit(EV_KEY, BTN_LEFT));
	ck_assert(has_bit(EV_KEY, BTN_EXTRA));
	ck_assert(!has_bit(EV_KEY, KEY_A));
	ck_assert(has_bit(EV_ABS, ABS_Y));
	ck_assert(has_bit(EV_REL, REL_WHEEL));
	ck_assert_uint_eq(ask(VIRTIO_INPUT_CFG_EV_BITS, EV_LED), 0);
	machine_free();
}
END_TEST

/* ---- events ---- */

START_TEST(test_keys)
{
	static const uint64_t formats[] = { 0, FAKE_EVENT_IDX, FAKE_PACKED | FAKE_EVENT_IDX };

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		start(&keyboard, formats[i]);
		ck_assert_int_eq(key(KEY_A, true), 0);
		ck_assert_int_eq(key(KEY_A, true), 0); /* no event */
		ck_assert_int_eq(key(KEY_A, false), 0);
		ck_assert_int_eq(key(KEY_B, false), 0); /* likewise */
		ck_assert_int_eq(key(KEY_B, true), 0);
		expect_key(KEY_A, 1);
		expect_key(KEY_A, 0);
		expect_key(KEY_B, 1);
		virtio_input_release(dev);
		expect_key(KEY_B, 0);
		ck_assert_int_eq(key(0, true), -EINVAL);
		ck_assert_int_eq(key(KEY_MICMUTE + 1, true), -EINVAL);
		ck_assert_int_eq(key(BTN_LEFT, true), -EINVAL);
		ck_assert_int_eq(key(UINT32_MAX, true), -EINVAL);
		ck_assert_int_eq(point(1, 1), -EINVAL);
		ck_assert_int_eq(wheel(1, 1), -EINVAL);
		machine_free();
	}
}
END_TEST

START_TEST(test_pointer)
{
	start(&tablet, 0);
	ck_assert_int_eq(point(5, VIRTIO_INPUT_AXIS - 1), 0);
	expect(EV_ABS, ABS_X, 5);
	expect(EV_ABS, ABS_Y, VIRTIO_INPUT_AXIS - 1);
	expect(EV_SYN, SYN_REPORT, 0);
	ck_assert_int_eq(wheel(0, -1), 0);
	expect(EV_REL, REL_WHEEL, -1);
	expect(EV_SYN, SYN_REPORT, 0);
	ck_assert_int_eq(wheel(2, 0), 0);
	expect(EV_REL, REL_HWHEEL, 2);
	expect(EV_SYN, SYN_REPORT, 0);
	ck_assert_int_eq(key(BTN_LEFT, true), 0);
	expect_key(BTN_LEFT, 1);
	ck_assert_int_eq(point(-1, 0), -EINVAL);
	ck_assert_int_eq(point(0, VIRTIO_INPUT_AXIS), -EINVAL);
	ck_assert_int_eq(key(KEY_A, true), -EINVAL);
	ck_assert_int_eq(key(BTN_LEFT - 1, true), -EINVAL);
	ck_assert_int_eq(key(BTN_EXTRA + 1, true), -EINVAL);
	machine_free();
}
END_TEST

/* Pixels of any screen are told from one another by the axis. */
START_TEST(test_axis)
{
	for (unsigned size = 1; size <= 4096; size += size < 10 ? 1 : 409)
		for (unsigned at = 0; at < size; at++) {
			const unsigned axis = virtio_input_axis(at, size);

			ck_assert_uint_lt(axis, VIRTIO_INPUT_AXIS);
			ck_assert_uint_eq((unsigned)((uint64_t)axis * size / VIRTIO_INPUT_AXIS), at);
		}
}
END_TEST

START_TEST(test_all_or_nothing)
{
	static const struct virtio_input_action bad[] = { { .what = VIRTIO_INPUT_KEY, .code = KEY_A, .down = true },
							  { .what = VIRTIO_INPUT_KEY, .code = 999, .down = true } };

	start(&keyboard, 0);
	ck_assert_int_eq(virtio_input_do(dev, bad, 2), -EINVAL);
	ck_assert_int_eq(virtio_input_do(dev, bad, 0), 0);
	ck_assert_int_eq(key(KEY_C, true), 0);
	expect_key(KEY_C, 1);
	machine_free();
}
END_TEST

/* It is full, and still all that is down comes up. */
START_TEST(test_full)
{
	unsigned n = 0;

	start(&keyboard, 0);
	for (unsigned code = 1; code <= KEY_MICMUTE; code++)
		ck_assert_int_eq(key(code, true), 0);
	while (!key(KEY_A, false) && !key(KEY_A, true))
		ck_assert_uint_lt(++n, INPUT_RING);
	ck_assert_int_eq(key(KEY_A, true), -EAGAIN);
	virtio_input_release(dev);
	ck_assert_int_eq(key(KEY_A, true), -EAGAIN);
	for (unsigned code = 1; code <= KEY_MICMUTE; code++)
		expect_key(code, 1);
	for (unsigned i = 0; i < n; i++) {
		expect_key(KEY_A, 0);
		expect_key(KEY_A, 1);
	}
	expect_key(KEY_A, 0); /* the one that was refused to go down again */
	for (unsigned code = 1; code <= KEY_MICMUTE; code++)
		if (code != KEY_A)
			expect_key(code, 0);
	ck_assert_int_eq(key(KEY_A, true), 0);
	expect_key(KEY_A, 1);
	machine_free();
}
END_TEST

START_TEST(test_no_driver)
{
	machine_new(&keyboard, MACHINE_PCI, 4);
	ck_assert_int_eq(key(KEY_A, true), -ENOTCONN);
	virtio_input_release(dev);
	machine_probe(0, 8);
	ck_assert_int_eq(key(KEY_A, true), 0);
	machine_probe(0, 8); /* a driver that begins anew has no key down, and gets no old event */
	ck_assert_int_eq(key(KEY_B, true), 0);
	expect_key(KEY_B, 1);
	machine_free();
}
END_TEST

START_TEST(test_lights)
{
	start(&keyboard, 0);
	ck_assert_uint_eq(virtio_input_leds(dev), 0);
	send_status(EV_LED, LED_CAPSL, 1);
	send_status(EV_LED, LED_NUML, 7);
	ck_assert_uint_eq(virtio_input_leds(dev), 1U << LED_CAPSL | 1U << LED_NUML);
	send_status(EV_LED, LED_CAPSL, 0);
	send_status(EV_LED, LED_COMPOSE, 1);
	send_status(EV_LED, 0xffff, 1);
	send_status(EV_SND, LED_SCROLLL, 1);
	ck_assert_uint_eq(virtio_input_leds(dev), 1U << LED_NUML);
	machine_free();
}
END_TEST

/* Buffers that cannot hold an event break the device, and nothing else. */
START_TEST(test_bad_buffers)
{
	static const struct {
		unsigned queue;
		struct fake_buf buf;
	} bad[] = {
		{ EVENTS, { GPA(0x100), 7, true } },
		{ EVENTS, { GPA(0x100), 8, false } },
		{ STATUS, { GPA(0x100), 7, false } },
		{ STATUS, { GPA(0x100), 8, true } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const struct fake_buf good = FAKE_IN(GPA(0x100), 8);

		fake_init(&drv, 4);
		dev = make_keyboard(drv.ram);
		fake_attach(&drv, dev);
		ck_assert(fake_probe(&drv, 0, 8));
		ck_assert_int_eq(key(KEY_A, true), 0);
		ck_assert_int_eq(fake_request(&drv, bad[i].queue, &bad[i].buf, 1), -1);
		ck_assert(atomic_load(&dev->needs_reset));
		ck_assert_int_eq(key(KEY_A, false), -ENOTCONN);
		ck_assert(fake_probe(&drv, 0, 8));
		ck_assert_int_eq(key(KEY_B, true), 0);
		ck_assert_int_eq(fake_request(&drv, EVENTS, &good, 1), 8);
		virtio_input_free(dev);
		fake_fini(&drv);
	}
}
END_TEST

/* ---- saved ---- */

/* Whoever held a key is not there any more: it comes up, also one of which the guest has not heard. */
START_TEST(test_goes_on)
{
	for (unsigned kind = 0; kind < MACHINE_KINDS; kind++) {
		machine_new(&keyboard, kind, 4);
		machine_probe(FAKE_EVENT_IDX, 8);
		send_status(EV_LED, LED_SCROLLL, 1);
		ask(VIRTIO_INPUT_CFG_EV_BITS, EV_KEY);
		ck_assert_int_eq(key(KEY_A, true), 0);
		expect_key(KEY_A, 1);
		ck_assert_int_eq(key(KEY_B, true), 0);
		machine_restore();
		expect_key(KEY_A, 0);
		expect_key(KEY_B, 0);
		ck_assert_uint_eq(virtio_input_leds(dev), 1U << LED_SCROLLL);
		ck_assert_uint_eq(virtio_config_read(dev, 0, 2), VIRTIO_INPUT_CFG_EV_BITS | EV_KEY << 8);
		ck_assert_int_eq(key(KEY_C, true), 0);
		expect_key(KEY_C, 1);
		machine_free();
	}
}
END_TEST

static void use(void *object)
{
	(void)object;
	virtio_input_release(dev);
}

START_TEST(test_hostile_state)
{
	state_test_table(&input_state_type);
	start(&keyboard, 0);
	machine_test_hostile(&input_state_type, dev, use);
	machine_free();
}
END_TEST

UNIT_MAIN("input", test_keyboard_says, test_tablet_says, test_keys, test_pointer, test_axis, test_all_or_nothing, test_full,
	  test_no_driver, test_lights, test_bad_buffers, test_goes_on, test_hostile_state)
