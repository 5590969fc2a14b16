/* Links: virtio/state.o virtio/blk.o virtio/blk-parse.o virtio/console.o virtio/console-port.o virtio/console-control.o virtio/fs.o virtio/share.o virtio/pci.o virtio/pci-common.o virtio/mmio.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o hw/ram.o hw/state.o hw/state-show.o fs/tree.o fs/tree-fd.o fs/tree-ops.o fs/ids.o fs/server.o fs/dir.o fs/locks.o fs/fuse.o fs/fuse-reply.o fs/fuse-handle.o fs/fuse-names.o fs/fuse-attr.o fs/fuse-file.o fs/fuse-dir.o fs/fuse-lock.o util/json.o util/log.o util/loop.o util/timer.o tests/unit/fake-driver.o tests/unit/fake-ring.o */

/*
 * Saved state as an enemy would write it, into a virtio device that is in use and stands still. The
 * first byte chooses
 *
 *	bits 0, 1	the device: a disk, a console with two ports, a folder, one that echoes
 *	bits 2, 3	its transport: PCI, MMIO, or the fake driver's
 *	bits 4, 5	what is loaded: the core's state, the transport's, the device's own, or all of
 *			it, by changes as for one; of a folder then its session only, which is in use
 *	bits 6, 7	the ring: packed, event index
 *
 * and the rest is as state.h says. Then the device goes on with what it has been given, and must still
 * do what each device does: stand still in time, and be reset.
 */
#include <poll.h>
#include <sched.h>

#include "../unit/fake-board.h"
#include "../unit/fake-driver.h"
#include "lkvm/clock.h"
#include "lkvm/virtio-blk.h"
#include "lkvm/virtio-console.h"
#include "lkvm/virtio-fs.h"
#include "lkvm/virtio-mmio.h"
#include "lkvm/virtio-pci.h"
#include "lkvm/x86/layout.h"
#include "state.h"

#define DISK_BYTES 65536
#define MMIO_BASE  0xe1000000ULL

struct console {
	struct console_device device;
};

static struct console con[2];
static struct fake_driver drv;
static struct virtio_dev *dev;
static struct fake_board fake;
static struct bus pio, mmio;
static struct pci_host *host;
static struct virtio_pci *vp;
static struct virtio_mmio_host *mmio_host;

void console_attach(struct console *c, const struct console_device *device)
{
	if (!device)
		return;
	c->device = *device;
	c->device.resize(c->device.dev, 80, 25);
}

size_t console_put(struct console *c, const void *buf, size_t len)
{
	static _Thread_local uint8_t taken[1 << 16];

	(void)c;
	len = len < sizeof(taken) ? len : sizeof(taken);
	memcpy(taken, buf, len);
	return len;
}

void console_input_wanted(struct console *c)
{
	(void)c;
}

/* ---- a disk that does nothing, at once: a real one takes long to leave ---- */

static struct {
	struct disk disk;
	struct disk_request *queued[1024];
	unsigned n;
} null;

static int null_attach(struct disk *disk, struct loop *loop)
{
	(void)disk, (void)loop;
	return 0;
}

static void null_detach(struct disk *disk, struct loop *loop)
{
	(void)disk, (void)loop;
}

static void null_submit(struct disk *disk, struct disk_request *req)
{
	(void)disk;
	check(null.n < ARRAY_SIZE(null.queued));
	null.queued[null.n++] = req;
}

static void null_commit(struct disk *disk)
{
	while (null.n && !disk->held) {
		struct disk_request *req = null.queued[--null.n];

		req->done(req, 0);
	}
}

static void null_drain(struct disk *disk, bool all)
{
	disk->held = true;
	for (unsigned i = 0; i < null.n; i++) {
		struct disk_request *req = null.queued[i];

		if (!all && !req->cancelled)
			continue;
		null.queued[i--] = null.queued[--null.n];
		req->done(req, -ECANCELED);
	}
}

void disk_failed(struct disk *disk, const struct disk_request *req, int err)
{
	(void)disk, (void)req, (void)err;
}

void disk_leave(struct disk *disk)
{
	(void)disk;
}

void disk_close(struct disk *disk)
{
	(void)disk;
	check(!null.n);
}

/* ---- devices ---- */

static struct virtio_dev *blk_new(void)
{
	static const struct disk_ops ops = { .attach = null_attach,
					     .detach = null_detach,
					     .submit = null_submit,
					     .commit = null_commit,
					     .drain = null_drain };
	static const struct disk_config cfg = { .queues = 2, .packed = true };
	struct virtio_dev *d;

	null.disk = (struct disk){ .ops = &ops, .name = "null", .size_bytes = DISK_BYTES,
				   .block_bytes = 512, .physical_bytes = 512 };
	check(!virtio_blk_new(drv.ram, "blk0", &null.disk, &cfg, &d));
	return d;
}

static struct virtio_dev *console_new_device(void)
{
	struct virtio_console_setup setup = { .n_ports = 2, .multiport = true, .options.packed = true };
	struct virtio_dev *d;

	for (unsigned i = 0; i < 2; i++)
		setup.port[i] = virtio_port_console(&con[i]);
	check(!virtio_console_new(drv.ram, "console0", &setup, &d));
	return d;
}

static struct virtio_dev *fs_new(void)
{
	const struct fs_config cfg = { .path = "/proc/self/fdinfo", .tag = "share", .read_only = true };
	struct virtio_dev *d;
	struct fuse *fuse;

	check(!fuse_new(&cfg, &fuse));
	check(!virtio_fs_new(drv.ram, "fs0", &cfg, fuse, &d));
	return d;
}

static const struct virtio_type echo = {
	.name = "echo", .id = 42, .queue_size = 64, .kick = fake_echo
};

static struct virtio_dev *echo_new(void)
{
	struct virtio_dev *d = calloc(1, sizeof(*d));

	check(d);
	*d = (struct virtio_dev){ .type = &echo,
				  .name = "echo0",
				  .ram = drv.ram,
				  .n_queues = 2,
				  .device_features = FAKE_PACKED };
	check(!virtio_init(d));
	return d;
}

static void echo_free(struct virtio_dev *d)
{
	virtio_fini(d);
	free(d);
}

static const struct {
	struct virtio_dev *(*make)(void);
	void (*free)(struct virtio_dev *d);
} devices[] = {
	{ blk_new, virtio_blk_free },
	{ console_new_device, virtio_console_free },
	{ fs_new, virtio_fs_free },
	{ echo_new, echo_free },
};

/* ---- transports ---- */

static int mmio_notify(void *ctx, int fd, bool is_pio, uint64_t addr, unsigned len, int64_t match,
		       bool on)
{
	(void)ctx, (void)fd, (void)is_pio, (void)addr, (void)len, (void)match, (void)on;
	return -ENOSYS;
}

static int mmio_irqfd(void *ctx, int fd, unsigned gsi, bool on)
{
	(void)ctx, (void)fd, (void)gsi, (void)on;
	return 0;
}

static void plug_pci(void)
{
	const uint64_t command = LAYOUT_ECAM + (8 << 12) + PCI_COMMAND;
	struct board board = fake_board_init(&fake);
	uint16_t on = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	check(!pci_host_new(&pio, &mmio, &board, &host));
	check(!virtio_pci_new(host, dev, &vp));
	bus_rw(&mmio, command, (uint8_t *)&on, sizeof(on), true);
}

static void plug_mmio(void)
{
	static const struct board_ops ops = { .notify = mmio_notify, .irqfd = mmio_irqfd };
	static const uint8_t gsi = 5;
	const struct virtio_mmio_config cfg = {
		.board = { &ops, NULL }, .bus = &mmio, .base = MMIO_BASE, .gsi = &gsi, .n_gsis = 1
	};

	check(!virtio_mmio_host_new(&cfg, &mmio_host));
	check(!virtio_mmio_add(mmio_host, dev));
}

static void plug(unsigned transport)
{
	bus_init(&pio);
	bus_init(&mmio);
	vp = NULL;
	host = NULL;
	mmio_host = NULL;
	fake_attach(&drv, dev);
	if (transport == 0)
		plug_pci();
	else if (transport == 1)
		plug_mmio();
}

static void unplug(void)
{
	virtio_pci_free(vp);
	pci_host_free(host);
	virtio_mmio_host_free(mmio_host);
	bus_fini(&pio);
	bus_fini(&mmio);
}

/* ---- use ---- */

static void hold(void)
{
	virtio_dev_hold_begin(dev);
	check(virtio_dev_hold_wait(dev, now_ms() + 10000));
}

/* A request of which no device knows anything, on each queue */
static void add_requests(void)
{
	for (unsigned i = 0; i < dev->n_queues; i++) {
		struct fake_buf bufs[] = { FAKE_OUT(GPA(64), 40), FAKE_IN(GPA(1024), 512) };

		fake_add(&drv.queue[i], bufs, 2);
		virtio_notify(dev, i);
	}
}

static void look_at_registers(void)
{
	uint64_t base = vp ? LAYOUT_PCI_WINDOW : MMIO_BASE;

	for (unsigned off = 0; off < 0x40; off += 4) {
		uint8_t bytes[4];

		bus_rw(&mmio, base + off, bytes, 4, false);
		bus_rw(&mmio, base + off + 0x800, bytes, 1, false);
		bus_rw(&mmio, base + off + 0x1000, bytes, 4, false);
	}
	virtio_get_status(dev);
}

/* What a folder has more than others: a guest that has mounted it, with a file and itself open */
static const uint8_t session[] = {
#define HEAD(len, op, node) len, 0, 0, 0, op, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, node, 0, 0, 0, 0, 0, 0, 0, \
			    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
	HEAD(56, 26, 0), 7, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* INIT */
	HEAD(42, 1, 1), '0', 0,					 /* LOOKUP */
	HEAD(48, 27, 1), 0, 0, 0, 0, 0, 0, 0, 0,			 /* OPENDIR */
	HEAD(48, 14, 2), 0, 0, 0, 0, 0, 0, 0, 0,			 /* OPEN */
#undef HEAD
};

static void begin_session(void)
{
	for (size_t at = 0; at < sizeof(session); at += session[at]) {
		struct fake_buf bufs[] = { FAKE_OUT(GPA(64), session[at]), FAKE_IN(GPA(1024), 512) };
		uint32_t written;

		memcpy(fake_at(&drv, GPA(64)), session + at, session[at]);
		check(fake_add(&drv.queue[1], bufs, 2) >= 0);
		virtio_notify(dev, 1);
		while (fake_used(&drv.queue[1], &written) < 0) /* the transport has the interrupt */
			sched_yield();
	}
}

static void try_session(struct input *in)
{
	struct state_buf buf = { 0 };
	struct state_reader r;

	check(!dev->type->save_more(dev, &buf));
	while (in->at < in->end) {
		uint64_t at = input_le(in, 2) % buf.len;

		buf.data[at] = input_byte(in);
	}
	r = (struct state_reader){ .at = buf.data, .end = buf.data + buf.len };
	check(!dev->type->load_more(dev, &r) || r.why[0]);
	state_buf_free(&buf);
}

static void try_all(struct input *in)
{
	struct state_buf buf = { 0 };
	struct state_reader r;

	if (dev->type->save_more) {
		try_session(in);
		return;
	}
	check(!virtio_dev_save(dev, &buf));
	while (in->at < in->end) {
		uint64_t at = input_le(in, 2) % buf.len;

		buf.data[at] = input_byte(in);
	}
	r = (struct state_reader){ .at = buf.data, .end = buf.data + buf.len };
	check(!virtio_dev_load(dev, &r) || r.why[0]);
	state_buf_free(&buf);
}

static void try_part(unsigned part, struct input *in)
{
	if (part == 3)
		try_all(in);
	else if (part == 2 && dev->type->state)
		try_one(dev->type->state, dev, in);
	else if (part == 1 && dev->transport_ops->state)
		try_one(dev->transport_ops->state, dev->transport, in);
	else
		try_one(&virtio_state_type, dev, in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	const unsigned way = input_byte(&in), kind = way & 3;
	const uint64_t features = (way & 0x40 ? FAKE_PACKED : 0) | (way & 0x80 ? FAKE_EVENT_IDX : 0) |
				  (kind == 1 ? 1ULL << 1 : 0); /* MULTIPORT */

	fake_init(&drv, 1);
	dev = devices[kind].make();
	plug(way >> 2 & 3);
	check(fake_probe(&drv, features & dev->device_features, 16));
	if (kind == 2)
		begin_session();
	add_requests();
	hold();
	try_part(way >> 4 & 3, &in);
	add_requests();
	virtio_dev_hold_end(dev);
	look_at_registers();
	poll(NULL, 0, 1); /* the worker's */
	hold();
	virtio_dev_hold_end(dev);
	virtio_set_status(dev, 0);
	check(!virtio_get_status(dev));
	devices[kind].free(dev);
	unplug();
	fake_fini(&drv);
	return 0;
}
