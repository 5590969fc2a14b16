/* Links: virtio/vsock.o virtio/vsock-rx.o virtio/vsock-tx.o virtio/vsock-conn.o virtio/vsock-buffer.o virtio/vsock-state.o vsock/host.o vsock/hello.o virtio/state.o virtio/pci.o virtio/pci-common.o virtio/mmio.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/pci-state.o hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o hw/ram.o hw/state.o hw/state-show.o util/file.o util/json.o util/log.o util/loop.o util/timer.o tests/unit/fake-driver.o tests/unit/fake-ring.o */

/* A guest that goes on elsewhere: it has no connections any more, is told so, and can have new ones. */
#include <sys/socket.h>

#include "../../virtio/vsock-internal.h"
#include "own-folder.h"
#include "virtio-machine.h"

#define CID   77
#define RX    0x10000 /* buffers, of 0x1000 */
#define TX    0x8000
#define EVENT 0x9000

static unsigned fixed;

static struct virtio_dev *make(const struct ram *ram)
{
	const struct vsock_config cfg = { .cid = fixed, .packed = true };
	struct vsock_host vsock = { .fd = { -1, -1 } };
	struct virtio_dev *d;

	ck_assert_int_eq(vsock_host_open("s", &vsock), 0);
	ck_assert_int_eq(virtio_vsock_new(ram, "vsock0", &cfg, fixed ? fixed : CID, &vsock, &d), 0);
	return d;
}

static const struct machine_device device = { make, virtio_vsock_free };

static void setup(unsigned kind, uint64_t features)
{
	fixed = 0;
	enter_own_folder();
	machine_new(&device, kind, 4);
	machine_probe(features, 8);
}

static void teardown(void)
{
	machine_free();
	leave_own_folder();
}

static void give_buffers(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const struct fake_buf buf = FAKE_IN(GPA(RX + i * 0x1000), 0x1000);

		ck_assert_int_ge(fake_add(&drv.queue[RX_QUEUE], &buf, 1), 0);
	}
	virtio_notify(dev, RX_QUEUE);
}

static void say(uint16_t op, uint32_t guest_port)
{
	const struct virtio_vsock_hdr hdr = { .src_cid = CID, .dst_cid = VSOCK_HOST_CID, .src_port = guest_port,
					      .dst_port = 1, .type = VIRTIO_VSOCK_TYPE_STREAM, .op = op };
	const struct fake_buf buf = FAKE_OUT(GPA(TX), sizeof(hdr));

	memcpy(fake_at(&drv, buf.at), &hdr, sizeof(hdr));
	ck_assert_uint_eq(machine_request(TX_QUEUE, &buf, 1), 0);
}

/* Buffers are used in the order in which they were given; @i: of this one */
static void hear(uint16_t op, unsigned i)
{
	struct virtio_vsock_hdr hdr;
	uint32_t written;

	machine_wait_used(RX_QUEUE, &written);
	memcpy(&hdr, fake_at(&drv, GPA(RX + i * 0x1000)), sizeof(hdr));
	ck_assert_uint_eq(hdr.op, op);
	ck_assert_uint_eq(written, sizeof(hdr));
}

static int listen_at(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(addr.sun_path, path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fd, 8), 0);
	return fd;
}

static void assert_event(bool ready)
{
	const struct fake_buf buf = FAKE_IN(GPA(EVENT), sizeof(struct virtio_vsock_event));
	uint32_t written = 0;

	if (!ready)
		ck_assert_int_ge(fake_add(&drv.queue[EVENT_QUEUE], &buf, 1), 0);
	virtio_notify(dev, EVENT_QUEUE);
	machine_wait_used(EVENT_QUEUE, &written);
	ck_assert_uint_eq(written, 4);
	ck_assert_uint_eq(*(uint32_t *)fake_at(&drv, buf.at), VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
}

/* Buffers that were taken and not used yet are there again, too. */
START_TEST(test_restore)
{
	static const uint64_t formats[] = { 0, FAKE_EVENT_IDX, FAKE_PACKED | FAKE_EVENT_IDX };

	for (unsigned f = 0; f < ARRAY_SIZE(formats) * MACHINE_KINDS; f++) {
		const struct fake_buf event = FAKE_IN(GPA(EVENT), sizeof(struct virtio_vsock_event));
		int listener, fd;
		char byte;

		setup(f % MACHINE_KINDS, formats[f / MACHINE_KINDS]);
		listener = listen_at("s_1");
		memset(fake_at(&drv, event.at), 0xff, event.len);
		give_buffers(8);
		say(VIRTIO_VSOCK_OP_REQUEST, 5);
		fd = accept(listener, NULL, NULL);
		hear(VIRTIO_VSOCK_OP_RESPONSE, 0);
		if (f & 1) { /* the driver waits for events already */
			fake_add(&drv.queue[EVENT_QUEUE], &event, 1);
			virtio_notify(dev, EVENT_QUEUE);
		}
		machine_restore();
		ck_assert_int_eq(recv(fd, &byte, 1, 0), 0);
		close(fd);
		assert_event(f & 1);
		say(VIRTIO_VSOCK_OP_CREDIT_REQUEST, 5); /* of the old one */
		hear(VIRTIO_VSOCK_OP_RST, 1);
		for (unsigned i = 2; i < 8; i++) {
			say(VIRTIO_VSOCK_OP_REQUEST, 5 + i);
			close(accept(listener, NULL, NULL));
			hear(VIRTIO_VSOCK_OP_RESPONSE, i);
			say(VIRTIO_VSOCK_OP_RST, 5 + i);
		}
		close(listener);
		teardown();
	}
}
END_TEST

/* Where nobody drives it there is nobody to be told; what it is called is known all the same. */
START_TEST(test_before_a_driver)
{
	const struct fake_buf event = FAKE_IN(GPA(EVENT), sizeof(struct virtio_vsock_event));
	uint32_t written;

	fixed = 0;
	enter_own_folder();
	machine_new(&device, MACHINE_PCI, 4);
	machine_restore();
	machine_probe(0, 8);
	fake_add(&drv.queue[EVENT_QUEUE], &event, 1);
	virtio_notify(dev, EVENT_QUEUE);
	give_buffers(1);
	say(VIRTIO_VSOCK_OP_REQUEST, 5);
	hear(VIRTIO_VSOCK_OP_RST, 0);
	ck_assert_int_lt(fake_used(&drv.queue[EVENT_QUEUE], &written), 0);
	teardown();
}
END_TEST

/* Another CID is the guest's only if it was wanted. */
START_TEST(test_cid)
{
	struct state_buf saved = { 0 };
	struct state_reader in;

	for (unsigned i = 0; i < 2; i++) {
		setup(MACHINE_PCI, 0);
		hold(dev);
		((struct vsock *)dev)->st.guest_cid = 1000;
		state_saved(dev->type->state, dev, &saved);
		((struct vsock *)dev)->st.guest_cid = CID;
		((struct vsock *)dev)->cid_fixed = i;
		in = state_reader_of(&saved);
		ck_assert_int_eq(state_load(&in, dev->type->state, dev), 0);
		ck_assert_uint_eq(virtio_vsock_cid(dev), i ? CID : 1000);
		ck_assert_uint_eq(virtio_config_read(dev, 0, 8), i ? CID : 1000);
		ck_assert_int_eq(machine_load_field("guest_cid", 2), -ERANGE);
		ck_assert_int_eq(machine_load_field("guest_cid", 0xffffffff), -ERANGE);
		ck_assert_int_eq(machine_load_field("guest_cid", 3), 0);
		virtio_dev_hold_end(dev);
		state_buf_free(&saved);
		teardown();
	}
}
END_TEST

static void use(void *object)
{
	virtio_dev_hold_end(object);
	for (unsigned i = 0; i < N_QUEUES; i++)
		virtio_notify(object, i);
	hold(object);
}

START_TEST(test_hostile)
{
	setup(MACHINE_PCI, 0);
	give_buffers(8);
	machine_test_hostile(dev->type->state, dev, use);
	teardown();
}
END_TEST

UNIT_MAIN("vsock-state", test_restore, test_before_a_driver, test_cid, test_hostile)
