/* Links: virtio/p9.o virtio/share.o virtio/state.o virtio/pci.o virtio/pci-common.o virtio/mmio.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-split.o virtio/virtq-packed.o hw/pci-state.o hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o hw/ram.o hw/state.o hw/state-show.o fs/tree.o fs/tree-fd.o fs/tree-ops.o fs/ids.o fs/server.o fs/dir.o fs/locks.o fs/p9.o fs/p9-session.o fs/p9-fid.o fs/p9-names.o fs/p9-attr.o fs/p9-xattr.o fs/p9-file.o fs/p9-lock.o util/json.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/* The 9P device over both transports: its tag, requests over the ring, resets, its state. */
#include <linux/virtio_9p.h>

#include "folder-machine.h"
#include "lkvm/virtio-p9.h"

static struct p9 *p9;

static struct virtio_dev *make(const struct ram *ram)
{
	struct virtio_dev *d;

	ck_assert_int_eq(p9_new(&cfg, &p9), 0);
	ck_assert_int_eq(virtio_p9_new(ram, "9p0", &cfg, p9, &d), 0);
	return d;
}

static const struct machine_device device = { make, virtio_p9_free };

static void setup(unsigned kind, uint64_t features)
{
	folder_machine_new(&device, kind, features);
}

static void fill(struct fake_buf bufs[2], uint8_t type, const void *body, size_t bytes)
{
	const uint32_t size = (uint32_t)(7 + bytes);
	uint8_t *at = fake_at(&drv, out);

	memcpy(at, &size, 4);
	at[4] = type;
	at[5] = type;
	at[6] = 0;
	memcpy(at + 7, body, bytes);
	bufs[0] = FAKE_OUT(out, size);
	bufs[1] = FAKE_IN(in, ROOM);
}

static const uint8_t *reply(void)
{
	return fake_at(&drv, in);
}

/* Return: the reply's error, 0 or -errno */
static int request(uint8_t type, const void *body, size_t bytes)
{
	struct fake_buf bufs[2];
	uint32_t written, ecode;

	fill(bufs, type, body, bytes);
	written = machine_request(0, bufs, 2);
	ck_assert_uint_ge(written, 7);
	memcpy(&ecode, reply() + 7, 4);
	return reply()[4] == 7 ? -(int)ecode : 0;
}

static int begin(void)
{
	return request(100, "\0\x20\0\0\x08\0" "9P2000.L", 14);
}

static int attach(void)
{
	return request(104, "\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0", 16);
}

static int walk(uint32_t to, const char *name)
{
	uint8_t body[64] = { [8] = 1, [10] = (uint8_t)strlen(name) };

	memcpy(body + 4, &to, 4);
	memcpy(body + 12, name, strlen(name));
	return request(110, body, 12 + strlen(name));
}

static int clunk(uint32_t fid)
{
	return request(120, &fid, 4);
}

START_TEST(test_config)
{
	static const char tag[] = "a tag that has all of its 36 letters";

	setup(MACHINE_PCI, 0);
	ck_assert_uint_eq(dev->type->id, VIRTIO_ID_9P);
	ck_assert_uint_eq(dev->n_queues, 1);
	ck_assert(virtio_get_features(dev, 0) & 1 << VIRTIO_9P_MOUNT_TAG);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 2), 5);
	for (unsigned i = 0; i < 5; i++)
		ck_assert_uint_eq(virtio_config_read(dev, 2 + i, 1), (uint8_t)"share"[i]);
	ck_assert_uint_eq(virtio_config_read(dev, 7, 1), 0);
	folder_machine_free();
	/* One that is only shown */
	cfg.tag = tag;
	fake_init(&drv, 1);
	ck_assert_int_eq(virtio_p9_new(drv.ram, "9p0", &cfg, NULL, &dev), 0);
	fake_attach(&drv, dev);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 2), 36);
	ck_assert_uint_eq(virtio_config_read(dev, 37, 1), 's');
	virtio_p9_free(dev);
	fake_fini(&drv);
	virtio_p9_free(NULL);
}
END_TEST

START_TEST(test_requests)
{
	static const uint64_t formats[] = { 0, FAKE_EVENT_IDX | FAKE_INDIRECT };

	for (unsigned f = 0; f < ARRAY_SIZE(formats) * MACHINE_KINDS; f++) {
		setup(f % MACHINE_KINDS, formats[f / MACHINE_KINDS]);
		ck_assert_int_eq(attach(), -EPROTO);
		ck_assert_int_eq(begin(), 0);
		ck_assert_int_eq(attach(), 0);
		for (uint32_t i = 1; i < 200; i++)
			ck_assert_int_eq(walk(i, i % 2 ? "file" : "big"), 0);
		ck_assert_int_eq(walk(200, "none"), -ENOENT);
		ck_assert_uint_eq(p9_count(p9).fids, 200);
		/* A reset is as if the guest had never been. */
		virtio_set_status(dev, 0);
		ck_assert_uint_eq(virtio_get_status(dev), 0);
		ck_assert_uint_eq(p9_count(p9).fids, 0);
		ck_assert_uint_eq(p9_count(p9).fds, 1);
		machine_probe(0, 64);
		ck_assert_int_eq(attach(), -EPROTO);
		folder_machine_free();
	}
}
END_TEST

/* Fid 1 is the file, open; process @who locks it, and waits for that. */
static const uint8_t *lock_by(uint8_t who)
{
	static uint8_t body[31];

	memset(body, 0, sizeof(body));
	body[0] = 1;
	body[4] = 1;
	body[5] = 1;
	body[25] = who;
	return body;
}

/* One that waits is over before the Tflush that takes it back, and keeps no reset. */
START_TEST(test_waiters)
{
	struct fake_buf bufs[2];
	uint32_t written;

	setup(MACHINE_PCI, 0);
	begin();
	attach();
	walk(1, "file");
	ck_assert_int_eq(request(12, "\1\0\0\0\2\0\0\0", 8), 0);
	ck_assert_int_eq(request(52, lock_by(7), 31), 0);
	fill(bufs, 52, lock_by(8), 31);
	ck_assert_int_ge(fake_add(&drv.queue[0], bufs, 2), 0);
	virtio_notify(dev, 0);
	while (!p9_count(p9).waiters)
		poll(NULL, 0, 1);
	out = fake_alloc(&drv, ROOM, 8);
	in = fake_alloc(&drv, ROOM, 8);
	fill(bufs, 108, "\64\0", 2);
	ck_assert_int_ge(fake_add(&drv.queue[0], bufs, 2), 0);
	virtio_notify(dev, 0);
	machine_wait_used(0, &written);
	ck_assert_uint_eq(written, 11);
	machine_wait_used(0, &written);
	ck_assert_uint_eq(written, 7);
	ck_assert_uint_eq(p9_count(p9).begun, 0);
	fill(bufs, 52, lock_by(8), 31);
	ck_assert_int_ge(fake_add(&drv.queue[0], bufs, 2), 0);
	virtio_notify(dev, 0);
	while (!p9_count(p9).waiters)
		poll(NULL, 0, 1);
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(virtio_get_status(dev), 0);
	ck_assert_uint_eq(p9_count(p9).waiters, 0);
	folder_machine_free();
}
END_TEST

START_TEST(test_state)
{
	for (unsigned kind = 0; kind < MACHINE_KINDS; kind++) {
		setup(kind, 0);
		machine_restore();
		ck_assert_int_eq(attach(), -EPROTO);
		ck_assert_int_eq(begin(), 0);
		machine_restore();
		ck_assert_int_eq(attach(), 0);
		ck_assert_int_eq(walk(1, "file"), 0);
		machine_restore();
		ck_assert_int_eq(clunk(1), 0);
		ck_assert_int_eq(clunk(0), 0);
		machine_restore();
		ck_assert_uint_eq(p9_count(p9).msize, 8192);
		ck_assert_int_eq(attach(), 0);
		folder_machine_free();
	}
}
END_TEST

START_TEST(test_another)
{
	setup(MACHINE_PCI, 0);
	cfg.tag = "shares";
	ck_assert_int_eq(machine_reload("No such device"), -ENODEV);
	folder_machine_free();
	setup(MACHINE_PCI, 0);
	cfg.read_only = true;
	ck_assert_int_eq(machine_reload("No such device"), -ENODEV);
	folder_machine_free();
}
END_TEST

static void use(void *object)
{
	virtio_dev_hold_end(object);
	attach();
	clunk(0);
	hold(object);
}

START_TEST(test_hostile)
{
	struct state_buf saved = { 0 };
	struct state_reader r;

	setup(MACHINE_PCI, 0);
	hold(dev);
	ck_assert_int_eq(machine_load_field("read_only", 2), -ERANGE);
	folder_machine_free();
	/* A session of a driver that has not begun */
	setup(MACHINE_PCI, 0);
	begin();
	hold(dev);
	ck_assert_int_eq(dev->type->save_more(dev, &saved), 0);
	r = state_reader_of(&saved);
	ck_assert_int_eq(dev->type->load_more(dev, &r), 0);
	virtio_set_status(dev, 0);
	r = state_reader_of(&saved);
	ck_assert_int_eq(dev->type->load_more(dev, &r), -EINVAL);
	ck_assert_uint_eq(p9_count(p9).msize, 0);
	state_buf_free(&saved);
	folder_machine_free();
	setup(MACHINE_PCI, 0);
	begin();
	machine_test_hostile(dev->type->state, dev, use);
	ck_assert_int_eq(attach(), 0);
	folder_machine_free();
}
END_TEST

UNIT_MAIN("virtio_p9", test_config, test_requests, test_waiters, test_state, test_another, test_hostile)
