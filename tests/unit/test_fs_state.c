/* Links: virtio/fs.o virtio/share.o virtio/state.o virtio/pci.o virtio/pci-common.o virtio/mmio.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-split.o virtio/virtq-packed.o hw/pci-state.o hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o hw/ram.o hw/state.o hw/state-show.o fs/tree.o fs/tree-fd.o fs/tree-ops.o fs/ids.o fs/server.o fs/dir.o fs/locks.o fs/fuse.o fs/fuse-reply.o fs/fuse-handle.o fs/fuse-names.o fs/fuse-attr.o fs/fuse-file.o fs/fuse-dir.o fs/fuse-lock.o util/json.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/* The state of the file system device, over both transports: what of a session can be carried over. */
#include <linux/fuse.h>
#include <linux/virtio_fs.h>

#include "folder-machine.h"
#include "lkvm/virtio-fs.h"

static struct virtio_dev *make(const struct ram *ram)
{
	struct virtio_dev *d;
	struct fuse *fuse;

	ck_assert_int_eq(fuse_new(&cfg, &fuse), 0);
	ck_assert_int_eq(virtio_fs_new(ram, "fs0", &cfg, fuse, &d), 0);
	return d;
}

static const struct machine_device device = { make, virtio_fs_free };

static void setup(unsigned kind, uint64_t features)
{
	folder_machine_new(&device, kind, features);
}

static unsigned fill_bufs(struct fake_buf bufs[2], uint32_t op, uint64_t node, const void *arg,
			  size_t bytes)
{
	static uint64_t unique;
	struct fuse_in_header head = { .len = (uint32_t)(sizeof(head) + bytes), .opcode = op,
				       .unique = ++unique, .nodeid = node };

	memcpy(fake_at(&drv, out), &head, sizeof(head));
	memcpy((char *)fake_at(&drv, out) + sizeof(head), arg, bytes);
	bufs[0] = FAKE_OUT(out, head.len);
	bufs[1] = FAKE_IN(in, ROOM);
	return 2;
}

/* Return: what the server says, 0 or -errno */
static int request(uint32_t op, uint64_t node, const void *arg, size_t bytes)
{
	const struct fuse_out_header *head = fake_at(&drv, in);
	struct fake_buf bufs[2];
	unsigned n = fill_bufs(bufs, op, node, arg, bytes);

	ck_assert_uint_eq(machine_request(1, bufs, n), head->len);
	return head->error;
}

static const void *body(void)
{
	return (char *)fake_at(&drv, in) + sizeof(struct fuse_out_header);
}

static void mount(void)
{
	const struct fuse_init_in init = { .major = 7, .minor = 36, .flags = UINT32_MAX };

	ck_assert_int_eq(request(FUSE_INIT, 0, &init, sizeof(init)), 0);
}

static int look_at_root(void)
{
	const struct fuse_getattr_in arg = { 0 };

	return request(FUSE_GETATTR, FUSE_ROOT_ID, &arg, sizeof(arg));
}

static uint64_t look(const char *name)
{
	struct fuse_entry_out entry;

	ck_assert_int_eq(request(FUSE_LOOKUP, FUSE_ROOT_ID, name, strlen(name) + 1), 0);
	memcpy(&entry, body(), sizeof(entry));
	return entry.nodeid;
}

static uint64_t open_node(uint32_t op, uint64_t node)
{
	const struct fuse_open_in arg = { .flags = op == FUSE_OPEN ? O_RDWR : O_RDONLY };
	struct fuse_open_out opened;

	ck_assert_int_eq(request(op, node, &arg, sizeof(arg)), 0);
	memcpy(&opened, body(), sizeof(opened));
	return opened.fh;
}

static void forget(uint64_t node)
{
	struct {
		struct fuse_in_header head;
		struct fuse_forget_in arg;
	} msg = { { .len = sizeof(msg), .opcode = FUSE_FORGET, .nodeid = node }, { 1 } };
	struct fake_buf buf = FAKE_OUT(out, sizeof(msg));

	memcpy(fake_at(&drv, out), &msg, sizeof(msg));
	machine_request(0, &buf, 1);
}

START_TEST(test_mounted)
{
	static const uint64_t formats[] = { 0, FAKE_EVENT_IDX | FAKE_INDIRECT };

	for (unsigned f = 0; f < ARRAY_SIZE(formats) * MACHINE_KINDS; f++) {
		uint64_t node;

		setup(f % MACHINE_KINDS, formats[f / MACHINE_KINDS]);
		machine_restore();
		ck_assert_int_lt(look_at_root(), 0); /* it has not mounted */
		mount();
		machine_restore();
		for (unsigned i = 0; i < 5; i++) {
			ck_assert_int_eq(look_at_root(), 0);
			node = look("file");
			ck_assert_uint_ne(node, 0);
			if (!i)
				open_node(FUSE_OPEN, node);
			machine_restore();
			forget(node);
			machine_restore();
		}
		ck_assert_int_eq(request(FUSE_DESTROY, 0, "", 0), 0);
		machine_restore();
		ck_assert_int_lt(look_at_root(), 0);
		mount();
		folder_machine_free();
	}
}
END_TEST

/* Somebody waits for a lock that another has. */
START_TEST(test_waiter)
{
	struct fuse_lk_in arg = { .owner = 1, .lk = { 0, 10, F_WRLCK, 7 } };
	struct state_buf saved = { 0 };
	struct fake_buf bufs[2];
	uint64_t node;
	unsigned n;

	setup(MACHINE_PCI, 0);
	mount();
	node = look("file");
	arg.fh = open_node(FUSE_OPEN, node);
	ck_assert_int_eq(request(FUSE_SETLK, node, &arg, sizeof(arg)), 0);
	arg.owner = 2;
	n = fill_bufs(bufs, FUSE_SETLKW, node, &arg, sizeof(arg));
	ck_assert_int_ge(fake_add(&drv.queue[1], bufs, n), 0);
	virtio_notify(dev, 1);
	for (;;) {
		int err;

		hold(dev);
		err = virtio_dev_save(dev, &saved);
		if (err) {
			ck_assert_int_eq(err, -EBUSY);
			break;
		}
		saved.len = 0;
		virtio_dev_hold_end(dev); /* it was not taken off the ring yet */
		poll(NULL, 0, 1);
	}
	state_buf_free(&saved);
	folder_machine_free();
}
END_TEST

/* Another folder, by all that the guest can tell */
START_TEST(test_another)
{
	const struct fs_config others[] = {
		{ .tag = "shares" },
		{ .tag = "share", .read_only = true },
		{ .tag = "share", .cache = FS_CACHE_ALWAYS },
		{ .tag = "share", .one_mount = true },
		{ .tag = "share", .window_bytes = 64 * MIB },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
		setup(MACHINE_MMIO_BUS, 0);
		cfg = others[i];
		cfg.path = folder;
		ck_assert_int_eq(machine_reload("No such device"), -ENODEV);
		folder_machine_free();
	}
}
END_TEST

/* What it had open before is closed. */
START_TEST(test_into_one_that_has_run)
{
	struct state_buf saved = { 0 };

	setup(MACHINE_PCI, 0);
	mount();
	hold(dev);
	machine_save(&saved);
	virtio_dev_hold_end(dev);
	open_node(FUSE_OPEN, look("file"));
	hold(dev);
	machine_load(&saved);
	assert_machine_saves(&saved);
	state_buf_free(&saved);
	folder_machine_free();
}
END_TEST

START_TEST(test_hostile_values)
{
	struct state_buf saved = { 0 };
	struct state_reader r;

	setup(MACHINE_PCI, 0);
	mount();
	hold(dev);
	ck_assert_int_eq(machine_load_field("read_only", 2), -ERANGE);
	ck_assert_int_eq(machine_load_field("cache", 3), -ERANGE);
	ck_assert_int_eq(machine_load_field("one_mount", 2), -ERANGE);
	ck_assert_int_eq(dev->type->save_more(dev, &saved), 0);
	r = state_reader_of(&saved);
	ck_assert_int_eq(dev->type->load_more(dev, &r), 0);
	/* A session of a driver that has not begun */
	virtio_set_status(dev, 0);
	r = state_reader_of(&saved);
	ck_assert_int_eq(dev->type->load_more(dev, &r), -EINVAL);
	state_buf_free(&saved);
	folder_machine_free();
}
END_TEST

static void use(void *object)
{
	virtio_dev_hold_end(object);
	look_at_root();
	hold(object);
}

START_TEST(test_hostile)
{
	setup(MACHINE_PCI, 0);
	mount();
	machine_test_hostile(dev->type->state, dev, use);
	ck_assert_int_eq(look_at_root(), 0);
	folder_machine_free();
}
END_TEST

UNIT_MAIN("fs-state", test_mounted, test_waiter, test_another,
	  test_into_one_that_has_run, test_hostile_values, test_hostile)
