/* Links: virtio/fs.o virtio/share.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-split.o virtio/virtq-packed.o hw/ram.o fs/tree.o fs/tree-fd.o fs/tree-ops.o fs/ids.o fs/server.o fs/dir.o fs/locks.o fs/fuse.o fs/fuse-reply.o fs/fuse-handle.o fs/fuse-names.o fs/fuse-attr.o fs/fuse-file.o fs/fuse-dir.o fs/fuse-lock.o util/copy.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/* The file system device: requests over the rings, several at a time, slow ones, resets, holds. */
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>

#include "fake-driver.h"
#include "folder.h"
#include "lkvm/clock.h"
#include "lkvm/copy.h"
#include "lkvm/virtio-fs.h"

#define ROOM 4096

static struct fake_driver drv;
static struct virtio_dev *dev;
static struct fuse *fuse;

/* A request in guest memory */
struct rq {
	gpa_t out, in;
	uint32_t out_bytes;
	int id;
};

static void probe(uint64_t features)
{
	ck_assert(fake_probe(&drv, features, 128));
}

static uint64_t window_bytes;

static void setup(uint64_t features)
{
	const struct fs_config cfg = { .path = folder, .tag = "share", .window_bytes = window_bytes };

	folder_make();
	fake_init(&drv, 64);
	ck_assert_int_eq(fuse_new(&cfg, &fuse), 0);
	ck_assert_int_eq(virtio_fs_new(drv.ram, "fs0", &cfg, fuse, &dev), 0);
	fake_attach(&drv, dev);
	probe(features);
}

static void teardown(void)
{
	virtio_fs_free(dev);
	fake_fini(&drv);
	folder_remove();
}

static struct rq build(uint32_t op, uint64_t node, const void *arg, size_t arg_bytes)
{
	static uint64_t unique;
	struct fuse_in_header head = { .len = (uint32_t)(sizeof(head) + arg_bytes), .opcode = op,
				       .unique = ++unique, .nodeid = node };
	struct rq r = { fake_alloc(&drv, head.len, 8), fake_alloc(&drv, ROOM, 8), head.len, -1 };

	memcpy(fake_at(&drv, r.out), &head, sizeof(head));
	memcpy((char *)fake_at(&drv, r.out) + sizeof(head), arg, arg_bytes);
	return r;
}

static void add(struct rq *r)
{
	const uint32_t head = sizeof(struct fuse_in_header);
	const struct fake_buf bufs[] = { FAKE_OUT(r->out, head), FAKE_OUT(GPA(r->out.v + head), r->out_bytes - head),
					 FAKE_IN(r->in, 16), FAKE_IN(GPA(r->in.v + 16), ROOM - 16) };

	r->id = fake_add(&drv.queue[1], bufs, 4);
	ck_assert_int_ge(r->id, 0);
}

static void *body(const struct rq *r)
{
	return (char *)fake_at(&drv, r->in) + sizeof(struct fuse_out_header);
}

static int error(const struct rq *r)
{
	return ((struct fuse_out_header *)fake_at(&drv, r->in))->error;
}

/* One whole request */
static int request(struct rq *r)
{
	uint32_t written;

	add(r);
	fake_notify(&drv, 1);
	ck_assert_int_eq(fake_wait_used(&drv, 1, &written), r->id);
	ck_assert_uint_eq(written, ((struct fuse_out_header *)fake_at(&drv, r->in))->len);
	return error(r);
}

static void mount(void)
{
	const struct fuse_init_in init = { .major = 7, .minor = 36, .flags = UINT32_MAX };
	struct rq r = build(FUSE_INIT, 0, &init, sizeof(init));

	ck_assert_int_eq(request(&r), 0);
}

static uint64_t look(const char *name)
{
	struct rq r = build(FUSE_LOOKUP, FUSE_ROOT_ID, name, strlen(name) + 1);
	struct fuse_entry_out entry;

	ck_assert_int_eq(request(&r), 0);
	memcpy(&entry, body(&r), sizeof(entry));
	return entry.nodeid;
}

static uint64_t open_file(uint64_t node)
{
	const struct fuse_open_in arg = { .flags = O_RDWR };
	struct rq r = build(FUSE_OPEN, node, &arg, sizeof(arg));
	struct fuse_open_out out;

	ck_assert_int_eq(request(&r), 0);
	memcpy(&out, body(&r), sizeof(out));
	return out.fh;
}

START_TEST(test_config)
{
	setup(0);
	ck_assert_uint_eq(dev->type->id, VIRTIO_ID_FS);
	ck_assert_uint_eq(dev->n_queues, 2);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 1), 's');
	ck_assert_uint_eq(virtio_config_read(dev, 4, 1), 'e');
	ck_assert_uint_eq(virtio_config_read(dev, 5, 1), 0);
	ck_assert_uint_eq(virtio_config_read(dev, 36, 4), 1);
	teardown();
	virtio_fs_free(NULL);
}
END_TEST

/* A file as memory; what the host cuts of it becomes zeros in time, even if all that come are other requests. */
START_TEST(test_files_as_memory)
{
	const struct fuse_setupmapping_in map = { .fh = UINT64_MAX, .len = FS_WINDOW_UNIT };
	struct rq r;
	uint8_t byte = 0;

	setup(0);
	ck_assert_uint_eq(dev->shm.bytes, 0);
	teardown();
	window_bytes = 4 * FS_WINDOW_UNIT;
	setup(0);
	ck_assert(dev->shm.bytes == window_bytes && dev->shm.host == fuse_memory(fuse) && !dev->shm.id);
	mount();
	r = build(FUSE_SETUPMAPPING, look("big"), &map, sizeof(map));
	ck_assert_int_eq(request(&r), 0);
	ck_assert(!copy_read(&byte, (char *)dev->shm.host + 4099, 1) && byte);
	ck_assert_int_eq(ftruncate(openat(folder_fd, "big", O_WRONLY), 1), 0);
	while (copy_read(&byte, (char *)dev->shm.host + 4099, 1))
		usleep(1000); /* the device looks at the file again now and then */
	ck_assert_uint_eq(byte, 0);
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(fuse_count(fuse).mapped, 0);
	teardown();
	window_bytes = 0;
}
END_TEST

static void check_requests(uint64_t features)
{
	const struct fuse_read_in read_arg = { .size = ROOM - 16 };
	struct fuse_read_in arg = read_arg;
	struct {
		struct fuse_in_header in;
		struct fuse_forget_in arg;
	} forget = { { .len = sizeof(forget), .opcode = FUSE_FORGET }, { 1 } };
	gpa_t at;
	uint64_t node;

	setup(features);
	mount();
	node = look("big");
	arg.fh = open_file(node);
	for (arg.offset = 0; arg.offset < 40000; arg.offset += arg.size) {
		struct rq r = build(FUSE_READ, node, &arg, sizeof(arg));

		ck_assert_int_eq(request(&r), 0);
		for (unsigned i = 0; i < arg.size; i++)
			ck_assert_uint_eq(((uint8_t *)body(&r))[i],
					  (uint8_t)((arg.offset + i) * 7 + ((arg.offset + i) >> 12)));
	}
	forget.in.nodeid = look("file");
	ck_assert_uint_eq(fuse_count(fuse).nodes, 3);
	at = fake_alloc(&drv, sizeof(forget), 8);
	memcpy(fake_at(&drv, at), &forget, sizeof(forget));
	struct fake_buf buf = FAKE_OUT(at, sizeof(forget));

	ck_assert_int_eq(fake_request(&drv, 0, &buf, 1), 0);
	ck_assert_uint_eq(fuse_count(fuse).nodes, 2);
	/* A reset is as if the guest had never been. */
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(virtio_get_status(dev), 0);
	ck_assert_uint_eq(fuse_count(fuse).nodes, 1);
	ck_assert_uint_eq(fuse_count(fuse).handles, 0);
	probe(features);
	mount();
	look("dir");
	teardown();
}

START_TEST(test_split)
{
	check_requests(FAKE_EVENT_IDX | FAKE_INDIRECT);
}
END_TEST

START_TEST(test_malformed)
{
	gpa_t at;

	setup(0);
	at = fake_alloc(&drv, 64, 8);
	struct fake_buf bufs[] = { FAKE_OUT(at, 20), FAKE_IN(at, 40) };
	struct fake_buf in = FAKE_IN(at, 64);

	ck_assert_int_eq(fake_request(&drv, 1, bufs, 2), 16); /* half a header */
	ck_assert_int_eq(fake_request(&drv, 1, bufs, 1), 0);
	ck_assert_int_eq(fake_request(&drv, 1, &in, 1), 16);
	ck_assert_int_eq(fake_request(&drv, 0, &in, 1), 16);
	mount();
	teardown();
}
END_TEST

/* More at once than are taken off the ring at a time */
START_TEST(test_many)
{
	static struct rq r[30];
	unsigned n = 0;

	setup(0);
	mount();
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 30; i++) {
			r[i] = build(FUSE_LOOKUP, FUSE_ROOT_ID, i % 2 ? "file" : "none", 5);
			add(&r[i]);
		}
		fake_notify(&drv, 1);
		for (unsigned i = 0; i < 30; i++) {
			uint32_t written;

			ck_assert_int_ge(fake_wait_used(&drv, 1, &written), 0);
			n++;
		}
		for (unsigned i = 0; i < 30; i++)
			ck_assert_int_eq(error(&r[i]), i % 2 ? 0 : -ENOENT);
	}
	ck_assert_uint_eq(n, 600);
	teardown();
}
END_TEST

/* How often the worker, the thread dev/fs0, has had to wait */
static long worker_waits(void)
{
	char path[64], line[128];
	struct dirent *e;
	DIR *tasks = opendir("/proc/self/task");
	long waits = -1;

	ck_assert_ptr_nonnull(tasks);
	while (waits < 0 && (e = readdir(tasks))) {
		bool is_worker = false;
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%.10s/status", e->d_name);
		f = fopen(path, "r");
		while (f && fgets(line, sizeof(line), f)) {
			is_worker |= !strcmp(line, "Name:\tdev/fs0\n");
			if (is_worker && sscanf(line, "voluntary_ctxt_switches: %ld", &waits) == 1)
				break;
		}
		if (f)
			fclose(f);
	}
	closedir(tasks);
	ck_assert_int_ge(waits, 0);
	return waits;
}

/* The thread that a kick wakes does all: the worker has no part in it. */
START_TEST(test_one_thread)
{
	long waits;

	setup(0);
	mount();
	look("file");
	poll(NULL, 0, 50); /* until it rests */
	waits = worker_waits();
	for (unsigned i = 0; i < 100; i++)
		look("file");
	ck_assert_int_eq(worker_waits(), waits);
	teardown();
}
END_TEST

/* Who truncates a leased file by its name waits until the one who has the lease gives it back. */
static int lease(const char *name)
{
	int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC);

	signal(SIGIO, SIG_IGN);
	folder_need(fd >= 0 && !fcntl(fd, F_SETLEASE, F_WRLCK));
	return fd;
}

static struct rq slow_request(uint64_t node)
{
	const struct fuse_setattr_in arg = { .valid = FATTR_SIZE, .size = 1 };

	return build(FUSE_SETATTR, node, &arg, sizeof(arg));
}

START_TEST(test_slow)
{
	struct rq slow[4];
	uint64_t node;
	uint32_t written;
	int fd;

	setup(0);
	mount();
	node = look("file");
	fd = lease("file");
	for (unsigned i = 0; i < 4; i++) {
		slow[i] = slow_request(node);
		add(&slow[i]);
	}
	fake_notify(&drv, 1);
	/* All others go on. */
	for (unsigned i = 0; i < 100; i++)
		look("dir");
	ck_assert_int_eq(fake_used(&drv.queue[1], &written), -1);
	close(fd);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_ge(fake_wait_used(&drv, 1, &written), 0);
	ck_assert_int_eq(error(&slow[3]), 0);
	teardown();
}
END_TEST

/* A reset waits for what the host has begun, but no vCPU does for long. */
START_TEST(test_slow_reset)
{
	struct virtio_transport_ops hasty;
	struct rq slow;
	int64_t start;
	int fd;

	setup(0);
	hasty = *dev->transport_ops;
	hasty.patience_ms = 100;
	dev->transport_ops = &hasty;
	mount();
	slow = slow_request(look("file"));
	fd = lease("file");
	add(&slow);
	fake_notify(&drv, 1);
	look("dir");
	start = now_ms();
	virtio_set_status(dev, 0);
	ck_assert_int_lt(now_ms() - start, 2000);
	ck_assert_uint_ne(virtio_get_status(dev), 0);
	close(fd);
	while (virtio_get_status(dev))
		usleep(1000);
	ck_assert_uint_eq(fuse_count(fuse).nodes, 1);
	probe(0);
	mount();
	/* At the machine's end, too: it is named, and left behind. */
	slow = slow_request(look("file"));
	fd = lease("file");
	add(&slow);
	fake_notify(&drv, 1);
	look("dir");
	ck_assert(!virtio_dev_stop_wait(dev, now_ms() + 50));
	close(fd);
	ck_assert(virtio_dev_stop_wait(dev, now_ms() + 10000));
	teardown();
}
END_TEST

static struct rq lock_request(uint32_t op, uint64_t node, uint64_t fh, uint64_t owner, uint32_t type)
{
	const struct fuse_lk_in arg = { .fh = fh, .owner = owner, .lk = { 0, 9, type, 1 } };

	return build(op, node, &arg, sizeof(arg));
}

START_TEST(test_locks)
{
	struct rq r, wait;
	uint64_t node, fh;
	uint32_t written;
	int64_t start;

	setup(0);
	mount();
	node = look("file");
	fh = open_file(node);
	r = lock_request(FUSE_SETLK, node, fh, 1, F_WRLCK);
	ck_assert_int_eq(request(&r), 0);
	wait = lock_request(FUSE_SETLKW, node, fh, 2, F_WRLCK);
	add(&wait);
	fake_notify(&drv, 1);
	look("dir");
	ck_assert_int_eq(fake_used(&drv.queue[1], &written), -1);
	r = lock_request(FUSE_SETLK, node, fh, 1, F_UNLCK);
	add(&r);
	fake_notify(&drv, 1);
	ck_assert_int_ge(fake_wait_used(&drv, 1, &written), 0);
	ck_assert_int_ge(fake_wait_used(&drv, 1, &written), 0);
	ck_assert_int_eq(error(&wait), 0);
	/* One of the host's is seen without being told of. */
	int fd = openat(folder_fd, "big", O_RDWR);
	struct flock lock = { .l_type = F_WRLCK };

	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
	node = look("big");
	fh = open_file(node);
	wait = lock_request(FUSE_SETLKW, node, fh, 2, F_WRLCK);
	add(&wait);
	fake_notify(&drv, 1);
	look("dir");
	close(fd);
	ck_assert_int_eq(fake_wait_used(&drv, 1, &written), wait.id);
	ck_assert_int_eq(error(&wait), 0);
	/* Nor does who waits keep a reset. */
	wait = lock_request(FUSE_SETLKW, node, fh, 3, F_WRLCK);
	add(&wait);
	fake_notify(&drv, 1);
	look("dir");
	start = now_ms();
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(virtio_get_status(dev), 0);
	ck_assert_int_lt(now_ms() - start, 900);
	ck_assert_uint_eq(fuse_count(fuse).fds, 1);
	teardown();
}
END_TEST

/* Held, the device writes nothing, not even to those who get their lock meanwhile. */
START_TEST(test_hold)
{
	struct rq r, wait;
	uint64_t node, fh;
	uint32_t written;
	struct flock lock = { .l_type = F_WRLCK };
	int fd;

	setup(0);
	mount();
	node = look("file");
	fh = open_file(node);
	fd = openat(folder_fd, "file", O_RDWR);
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
	wait = lock_request(FUSE_SETLKW, node, fh, 2, F_WRLCK);
	add(&wait);
	fake_notify(&drv, 1);
	look("dir");
	virtio_hold(dev, VIRTIO_HOLD_TEST, true);
	close(fd);
	r = build(FUSE_LOOKUP, FUSE_ROOT_ID, "file", 5);
	add(&r);
	fake_notify(&drv, 1);
	usleep(100 * 1000); /* nothing comes, and it tells nobody so */
	ck_assert_int_eq(fake_used(&drv.queue[1], &written), -1);
	ck_assert_uint_eq(((struct fuse_out_header *)fake_at(&drv, wait.in))->len, 0);
	virtio_hold(dev, VIRTIO_HOLD_TEST, false);
	ck_assert_int_ge(fake_wait_used(&drv, 1, &written), 0);
	ck_assert_int_ge(fake_wait_used(&drv, 1, &written), 0);
	ck_assert_int_eq(error(&wait), 0);
	ck_assert_int_eq(error(&r), 0);
	teardown();
}
END_TEST

/* For a pause all that was taken off the rings comes to its end first, but for who waits for a lock. */
START_TEST(test_pause)
{
	struct rq slow[12], r, wait;
	uint64_t node, big, fh;
	uint32_t written;
	unsigned n = 0;
	int fd;

	setup(0);
	mount();
	node = look("file");
	big = look("big");
	fh = open_file(big);
	r = lock_request(FUSE_SETLK, big, fh, 1, F_WRLCK);
	ck_assert_int_eq(request(&r), 0);
	wait = lock_request(FUSE_SETLKW, big, fh, 2, F_WRLCK);
	add(&wait);
	fake_notify(&drv, 1);
	look("dir");
	fd = lease("file");
	for (unsigned i = 0; i < 12; i++) { /* more than there are threads */
		slow[i] = slow_request(node);
		add(&slow[i]);
	}
	fake_notify(&drv, 1);
	poll(NULL, 0, 20);
	virtio_dev_hold_begin(dev);
	ck_assert(!virtio_dev_hold_wait(dev, now_ms() + 50));
	close(fd);
	ck_assert(virtio_dev_hold_wait(dev, now_ms() + 10000));
	while (fake_used(&drv.queue[1], &written) >= 0)
		n++;
	ck_assert_uint_gt(n, 0);
	ck_assert_uint_lt(n, 12); /* what nobody had begun stays on the ring */
	virtio_dev_hold_end(dev);
	for (; n < 12; n++)
		ck_assert_int_ge(fake_wait_used(&drv, 1, &written), 0);
	r = lock_request(FUSE_SETLK, big, fh, 1, F_UNLCK);
	add(&r);
	fake_notify(&drv, 1);
	ck_assert_int_ge(fake_wait_used(&drv, 1, &written), 0);
	ck_assert_int_ge(fake_wait_used(&drv, 1, &written), 0);
	ck_assert_int_eq(error(&wait), 0);
	teardown();
}
END_TEST

/* A device that is only shown */
START_TEST(test_shown)
{
	const struct fs_config cfg = { .tag = "a tag that has all of its 36 letters" };

	fake_init(&drv, 1);
	ck_assert_int_eq(virtio_fs_new(drv.ram, "fs0", &cfg, NULL, &dev), 0);
	fake_attach(&drv, dev);
	ck_assert_uint_eq(virtio_config_read(dev, 35, 1), 's');
	ck_assert_uint_eq(virtio_config_read(dev, 36, 4), 1);
	virtio_fs_free(dev);
	fake_fini(&drv);
}
END_TEST

UNIT_MAIN("virtio_fs", test_config, test_files_as_memory, test_split, test_malformed, test_many, test_one_thread, test_slow,
	  test_slow_reset, test_locks, test_hold, test_pause, test_shown)
