/* Links: vm/control-input.o display/display.o virtio/input.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o hw/state.o util/event.o util/log.o util/loop.o tests/unit/fake-driver.o tests/unit/fake-ring.o */
#include <errno.h>
#include <linux/input.h>
#include <string.h>

#include "fake-driver.h"
#include "lkvm/display.h"
#include "lkvm/ipc.h"
#include "lkvm/types.h"
#include "lkvm/virtio-input.h"
#include "lkvm/vm/control.h"
#include "unit.h"

static struct fake_driver drv[2];
static struct control ctl;

static int ask(uint32_t tablet, uint32_t output, const struct ipc_input_event *event, uint32_t n)
{
	struct ipc_input req = { .tablet = tablet, .output = output, .n = n };
	static struct ipc_reply reply;

	memcpy(req.event, event, (n < IPC_INPUT_EVENTS ? n : IPC_INPUT_EVENTS) * sizeof(*event));
	return control_input(&ctl, &req, &reply);
}

static void attach(struct fake_driver *d, struct virtio_dev *dev)
{
	fake_attach(d, dev);
	ck_assert(fake_probe(d, 0, 16));
}

static void expect(struct fake_driver *d, unsigned type, unsigned code, uint32_t value)
{
	const struct fake_buf buf = FAKE_IN(GPA(0x100), 8);
	struct input_event_wire {
		uint16_t type, code;
		uint32_t value;
	} e;

	ck_assert_int_eq(fake_request(d, 0, &buf, 1), 8);
	memcpy(&e, fake_at(d, GPA(0x100)), sizeof(e));
	ck_assert_uint_eq(le16toh(e.type), type);
	ck_assert_uint_eq(le16toh(e.code), code);
	ck_assert_uint_eq(le32toh(e.value), value);
}

START_TEST(test_input)
{
	static const struct ipc_input_event keys[] = { { .code = KEY_A, .down = 1 }, { .code = KEY_A } };
	static const struct ipc_input_event click[] = { { .x = 99, .y = 0 }, { .code = BTN_LEFT, .down = 1 } };
	static const struct ipc_input_event beyond = { .x = 100, .y = 0 }, below = { .x = 0, .y = 50 };
	static const struct ipc_input_event many[IPC_INPUT_EVENTS];
	static const struct ipc_input_event none = { .code = 9999, .down = 1 };

	for (int i = 0; i < 2; i++)
		fake_init(&drv[i], 4);
	ck_assert_int_eq(ask(0, 0, keys, 2), -ENODEV);
	ck_assert_int_eq(display_new(2, &ctl.display), 0);
	ck_assert_int_eq(virtio_input_new(drv[0].ram, "keyboard0", VIRTIO_INPUT_KEYBOARD, false, &ctl.keyboard), 0);
	ck_assert_int_eq(virtio_input_new(drv[1].ram, "tablet0", VIRTIO_INPUT_TABLET, false, &ctl.tablet), 0);
	attach(&drv[0], ctl.keyboard);
	ck_assert_int_eq(ask(1, 0, click + 1, 1), -ENOTCONN);
	attach(&drv[1], ctl.tablet);
	ck_assert_int_eq(ask(0, 0, keys, 2), 0);
	expect(&drv[0], EV_KEY, KEY_A, 1);
	expect(&drv[0], EV_SYN, SYN_REPORT, 0);
	expect(&drv[0], EV_KEY, KEY_A, 0);
	ck_assert_int_eq(ask(1, 0, keys, 2), -EINVAL);
	ck_assert_int_eq(ask(0, 0, &none, 1), -EINVAL);
	ck_assert_int_eq(ask(1, 0, click, 2), -ENODATA);
	ck_assert_int_eq(display_resize(ctl.display, 1, 100, 50), 0);
	ck_assert_int_eq(ask(1, 0, click, 2), -ENODATA);
	ck_assert_int_eq(ask(1, 2, click, 2), -ENXIO);
	ck_assert_int_eq(ask(1, 1, &beyond, 1), -EINVAL);
	ck_assert_int_eq(ask(1, 1, &below, 1), -EINVAL);
	ck_assert_int_eq(ask(0, 1, click, 1), -EINVAL); /* a keyboard points nowhere */
	ck_assert_int_eq(ask(1, 1, click, 2), 0);
	expect(&drv[1], EV_ABS, ABS_X, virtio_input_axis(99, 100));
	expect(&drv[1], EV_ABS, ABS_Y, virtio_input_axis(0, 50));
	expect(&drv[1], EV_SYN, SYN_REPORT, 0);
	expect(&drv[1], EV_KEY, BTN_LEFT, 1);
	ck_assert_int_eq(ask(1, 1, many, IPC_INPUT_EVENTS), 0);
	ck_assert_int_eq(ask(1, 1, many, IPC_INPUT_EVENTS + 1), -EINVAL);
	ck_assert_int_eq(ask(1, 1, many, UINT32_MAX), -EINVAL);
	virtio_input_free(ctl.keyboard);
	virtio_input_free(ctl.tablet);
	display_free(ctl.display);
	for (int i = 0; i < 2; i++)
		fake_fini(&drv[i]);
}
END_TEST

UNIT_MAIN("control-input", test_input)
