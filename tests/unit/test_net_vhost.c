/* Links: virtio/net.o virtio/state.o virtio/pci.o virtio/pci-common.o virtio/mmio.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/pci-state.o hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o hw/ram.o hw/state.o hw/state-show.o net/net.o net/tap.o net/slirp.o net/frame-queue.o net/poll-set.o net/script.o net/switch.o net/switch-folder.o net/pcap.o util/json.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/*
 * Network devices whose frames vhost-net moves, over both transports: which queues are its, what it is told, and that
 * a queue can change hands at any time. The kernel is fake-vhost.h.
 */
#include "lkvm/virtio-net.h"
#include "fake-vhost.h"
#include "virtio-machine.h"

#define BIT(n) (1ULL << (n))
#define HDR    NET_HDR_BYTES
#define FRAME  60
#define FEATURES                                                                                                  \
	(BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) | BIT(VIRTIO_NET_F_MQ) |                     \
	 BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) | BIT(VIRTIO_NET_F_STATUS))
#define RINGS (FAKE_EVENT_IDX | FAKE_INDIRECT)
#define KERNEL                                                                                                    \
	(FAKE_VERSION_1 | FAKE_EVENT_IDX | FAKE_INDIRECT | BIT(VIRTIO_NET_F_MRG_RXBUF) |                          \
	 BIT(VHOST_F_LOG_ALL) | BIT(VHOST_NET_F_VIRTIO_NET_HDR))
#define CALLS 32 /* more than a probe makes */

static uint64_t kernel_features;
static unsigned pairs, fail_at;
static gpa_t out, in, cmd;

static struct virtio_dev *make(const struct ram *ram)
{
	struct net *net = rig_open(pairs, 1500);
	struct virtio_dev *d;

	fake_vhost_open(net, kernel_features);
	fake_vhost.fail_at = fail_at;
	ck_assert_int_eq(virtio_net_new(ram, "net0", net, &d), 0);
	return d;
}

static const struct machine_device device = { make, virtio_net_free };

static void build(unsigned kind, uint64_t kernel)
{
	kernel_features = kernel;
	rig_config = (struct net_config){ .mac = { 2, 0, 0, 0, 0, 1 }, .vhost = true };
	machine_new(&device, kind, 8);
	out = fake_alloc(&drv, 2048, 16);
	in = fake_alloc(&drv, 2048, 16);
	cmd = fake_alloc(&drv, 64, 16);
}

static void probe(uint64_t features)
{
	machine_probe(features, 64);
	fake_wait_up(&drv);
}

static void setup(unsigned kind, uint64_t features)
{
	pairs = 2;
	build(kind, KERNEL);
	probe(features);
}

static int command(uint8_t class, uint8_t number, const void *data, uint32_t n)
{
	uint8_t *bytes = fake_at(&drv, cmd);
	const struct fake_buf bufs[] = { FAKE_OUT(cmd, 2 + n), FAKE_IN(GPA(cmd.v + 63), 1) };

	bytes[0] = class;
	bytes[1] = number;
	memcpy(bytes + 2, data, n);
	ck_assert_int_eq(machine_request(4, bufs, 2), 1);
	return bytes[63];
}

static void add(unsigned queue, const struct fake_buf *buf)
{
	fake_irq_on(&drv.queue[queue], 0);
	ck_assert_int_ge(fake_add(&drv.queue[queue], buf, 1), 0);
	virtio_notify(dev, queue);
}

static uint8_t *prepare(uint8_t *frame, uint8_t seed)
{
	static const uint8_t to[NET_MAC_BYTES] = { 2, 0, 0, 0, 0, 9 };

	rig_fill(frame, FRAME, to, seed);
	memset(fake_at(&drv, out), 0, HDR);
	memcpy((char *)fake_at(&drv, out) + HDR, frame, FRAME);
	return frame;
}

static void assert_received(const uint8_t *frame, unsigned pair)
{
	uint32_t written;

	machine_wait_used(2 * pair, &written);
	ck_assert_uint_eq(written, HDR + FRAME);
	ck_assert_mem_eq((char *)fake_at(&drv, in) + HDR, frame, FRAME);
}

/* A frame each way by the kernel */
static void assert_kernel_passes(unsigned pair)
{
	const struct fake_buf sent = FAKE_OUT(out, HDR + FRAME), room = FAKE_IN(in, 2048);
	uint8_t frame[FRAME], got[2048] = { 0 };
	uint32_t written;

	fake_vhost_wait(2 * pair + 1, true);
	fake_vhost_wait(2 * pair, true);
	prepare(frame, (uint8_t)(pair + 1));
	add(2 * pair + 1, &sent);
	ck_assert_int_eq(fake_vhost_serve(drv.ram, 2 * pair + 1, got, sizeof(got), NULL, 0), HDR + FRAME);
	ck_assert_mem_eq(got + HDR, frame, FRAME);
	machine_wait_used(2 * pair + 1, &written);
	add(2 * pair, &room);
	memmove(got + HDR, frame, FRAME);
	ck_assert_int_eq(fake_vhost_serve(drv.ram, 2 * pair, NULL, 0, got, HDR + FRAME), 0);
	assert_received(frame, pair);
}

/* and by the worker */
static void assert_worker_passes(void)
{
	const struct fake_buf sent = FAKE_OUT(out, HDR + FRAME), room = FAKE_IN(in, 2048);
	struct virtio_net_hdr_v1 header = { 0 };
	uint8_t frame[FRAME], got[2048];
	uint32_t written;

	fake_vhost_wait(0, false);
	fake_vhost_wait(1, false);
	prepare(frame, 99);
	add(1, &sent);
	machine_wait_used(1, &written);
	ck_assert_int_eq(rig_get(0, &header, got, sizeof(got), 10000), FRAME);
	ck_assert_mem_eq(got, frame, FRAME);
	add(0, &room);
	rig_put(0, &(struct virtio_net_hdr_v1){ 0 }, frame, FRAME);
	assert_received(frame, 0);
}

/* ---- what it is told ---- */

START_TEST(test_features)
{
	pairs = 1;
	build(MACHINE_PCI, FAKE_VERSION_1 | FAKE_INDIRECT);
	ck_assert(!(dev->device_features & (FAKE_EVENT_IDX | FAKE_PACKED | BIT(VIRTIO_NET_F_MRG_RXBUF))));
	ck_assert(dev->device_features & FAKE_INDIRECT);
	ck_assert(dev->device_features & BIT(VIRTIO_NET_F_CTRL_VQ)); /* which is no matter to it */
	ck_assert(dev->device_features & FAKE_RESET);
	machine_free();
	build(MACHINE_PCI, KERNEL);
	ck_assert(dev->device_features & BIT(VIRTIO_NET_F_MRG_RXBUF));
	ck_assert(!(dev->device_features & BIT(VHOST_F_LOG_ALL)));
	probe(FEATURES & ~BIT(VIRTIO_NET_F_MQ) & ~BIT(VIRTIO_NET_F_CTRL_VQ) & ~BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) &
	      ~BIT(VIRTIO_NET_F_GUEST_ANNOUNCE));
	fake_vhost_wait(0, true);
	ck_assert_uint_eq(fake_vhost.host[0].acked, FAKE_VERSION_1 | BIT(VIRTIO_NET_F_MRG_RXBUF));
	machine_free();
}
END_TEST

START_TEST(test_memory)
{
	const struct fake_host *h = &fake_vhost.host[0];

	setup(MACHINE_PCI, FEATURES);
	fake_vhost_wait(1, true);
	ck_assert_uint_eq(h->n_regions, 1);
	ck_assert_uint_eq(h->memory[0].guest_phys_addr, 0);
	ck_assert_uint_eq(h->memory[0].memory_size, ram_bytes(drv.ram));
	ck_assert_uint_eq(h->memory[0].userspace_addr, (uintptr_t)ram_host(drv.ram, GPA(0), 1));
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(h->ring[i].kick, dev->queue[i].kick.fd);
		ck_assert_uint_eq(h->ring[i].at.flags, 0);
		ck_assert_uint_eq(h->ring[i].size, 64);
	}
	machine_free();
}
END_TEST

START_TEST(test_frames)
{
	static const uint64_t formats[] = { 0, RINGS };

	for (unsigned f = 0; f < ARRAY_SIZE(formats) * MACHINE_KINDS; f++) {
		setup(f % MACHINE_KINDS, formats[f / MACHINE_KINDS] | FEATURES);
		for (unsigned i = 0; i < 100; i++)
			assert_kernel_passes(0);
		ck_assert_int_eq(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, "\2\0\0\0\0\7", 6), 0);
		ck_assert_uint_eq(virtio_config_read(dev, 5, 1), 7);
		assert_kernel_passes(0);
		machine_free();
	}
}
END_TEST

/* ---- changing hands ---- */

START_TEST(test_link)
{
	uint8_t frame[FRAME];
	uint32_t written;

	for (unsigned kind = 0; kind < MACHINE_KINDS; kind++) {
		setup(kind, FEATURES | RINGS);
		assert_kernel_passes(0);
		for (unsigned i = 0; i < 3; i++) {
			virtio_net_set_link(dev, false);
			fake_vhost_wait(1, false);
			prepare(frame, 3);
			add(1, &FAKE_OUT(out, HDR + FRAME)); /* which is lost */
			machine_wait_used(1, &written);
			ck_assert_uint_eq(rig_end->net.counters.sent_dropped, i + 1);
			virtio_net_set_link(dev, true);
			assert_kernel_passes(0);
		}
		ck_assert_int_eq(rig_get(0, NULL, NULL, 0, 0), -1);
		machine_free();
	}
}
END_TEST

START_TEST(test_hold)
{
	for (unsigned kind = 0; kind < MACHINE_KINDS; kind++) {
		setup(kind, FEATURES | RINGS);
		for (unsigned i = 0; i < 5; i++)
			add(0, &FAKE_IN(in, 2048)); /* buffers that wait are taken by nobody */
		for (unsigned i = 0; i < 5; i++) {
			uint8_t bytes[HDR + FRAME] = { 0 };

			fake_vhost_wait(0, true);
			hold(dev);
			ck_assert(!fake_vhost_runs(0) && !fake_vhost_runs(1));
			ck_assert_int_eq(fake_vring(0)->kick, -1);
			ck_assert_int_eq(fake_vring(0)->call, -1);
			virtio_net_set_link(dev, i & 1); /* it still stands */
			virtio_net_set_link(dev, true);
			ck_assert(!fake_vhost_runs(0));
			virtio_dev_hold_end(dev);
			fake_vhost_wait(0, true);
			prepare(bytes + HDR, (uint8_t)i);
			ck_assert_int_eq(fake_vhost_serve(drv.ram, 0, NULL, 0, bytes, sizeof(bytes)), 0);
			assert_received(bytes + HDR, 0);
		}
		machine_free();
	}
}
END_TEST

/* Of the end only what it does by itself is heard of: each frame would wake the worker. */
START_TEST(test_quiet)
{
	uint8_t frame[FRAME];

	setup(MACHINE_PCI, FEATURES);
	assert_kernel_passes(0);
	rig_put(0, &(struct virtio_net_hdr_v1){ 0 }, prepare(frame, 1), FRAME);
	assert_kernel_passes(0);
	ck_assert_uint_eq(rig_end->net.counters.received + rig_end->net.counters.received_dropped, 0);
	machine_free();
}
END_TEST

START_TEST(test_reset)
{
	setup(MACHINE_PCI, FEATURES | RINGS);
	assert_kernel_passes(0);
	virtio_set_status(dev, 0);
	ck_assert_uint_eq(virtio_get_status(dev), 0);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(fake_vring(i)->backend, -1);
		ck_assert_int_eq(fake_vring(i)->kick, -1);
		ck_assert_int_eq(fake_vring(i)->err, -1);
	}
	probe(FEATURES);
	ck_assert_uint_eq(fake_vring(1)->base, 0);
	assert_kernel_passes(0);
	machine_free();
}
END_TEST

/* A queue alone */
START_TEST(test_queue_reset)
{
	setup(MACHINE_PCI, FEATURES | FAKE_RESET);
	assert_kernel_passes(0);
	virtio_queue_set(dev, 1, VIRTIO_QUEUE_RESET, 1);
	fake_vhost_wait(1, false);
	ck_assert(fake_vhost_runs(0));
	while (virtio_queue_get(dev, 1, VIRTIO_QUEUE_RESET))
		poll(NULL, 0, 1);
	machine_use_msix();
	fake_setup_queue(&drv, 1, 32);
	assert_kernel_passes(0);
	ck_assert_uint_eq(fake_vring(1)->size, 32);
	machine_free();
}
END_TEST

START_TEST(test_pairs)
{
	static const uint16_t one = 1, two = 2;

	setup(MACHINE_PCI, FEATURES | RINGS);
	assert_kernel_passes(0);
	ck_assert(!fake_vhost_runs(2));
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &two, 2), 0);
		ck_assert_uint_eq(rig_end->pairs, 2);
		assert_kernel_passes(0);
		assert_kernel_passes(1);
		ck_assert_int_eq(command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &one, 2), 0);
		ck_assert(!fake_vhost_runs(2) && !fake_vhost_runs(3));
		assert_kernel_passes(0);
	}
	machine_free();
}
END_TEST

START_TEST(test_restore)
{
	static const uint16_t two = 2;

	for (unsigned kind = 0; kind < MACHINE_KINDS; kind++) {
		setup(kind, FEATURES | RINGS);
		ck_assert_int_eq(command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &two, 2), 0);
		for (unsigned i = 0; i < 5; i++) {
			assert_kernel_passes(0);
			assert_kernel_passes(1);
			machine_restore();
		}
		assert_kernel_passes(1);
		machine_free();
	}
}
END_TEST

/* ---- interrupts ---- */

/* Wait until the kernel interrupts for queue 1 by @fd, or by another */
static void wait_call(int fd, bool is)
{
	const int64_t deadline = now_ms() + 10000;

	while ((*(volatile int *)&fake_vring(1)->call == fd) != is) {
		ck_assert(now_ms() < deadline);
		poll(NULL, 0, 1);
	}
}

/* KVM takes them where they are an eventfd; a vector that is another one is told at once. */
START_TEST(test_irqs)
{
	const unsigned msix = MACHINE_BAR + VIRTIO_PCI_COMMON_Q_MSIX;
	const int64_t deadline = now_ms() + 10000;
	int fd;

	setup(MACHINE_PCI, FEATURES);
	fake_vhost_wait(1, true);
	fd = machine_irq_fd(2);
	ck_assert_int_eq(fake_vring(0)->call, machine_irq_fd(1));
	ck_assert_int_eq(fake_vring(1)->call, fd);
	bus_out(&mmio, MACHINE_BAR + VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
	bus_out(&mmio, msix, 5, 2);
	wait_call(machine_irq_fd(5), true);
	bus_out(&mmio, msix, 2, 2);
	wait_call(fd, true);
	/* Without MSI-X it is the worker that raises the line. */
	config_out(MACHINE_DEVFN, machine_cap(PCI_CAP_ID_MSIX, 64) + PCI_MSIX_FLAGS, 0, 2);
	wait_call(fd, false);
	event_signal(fake_vring(1)->call);
	while (!fake_board_line_up(&fake, pci_function_at(host, MACHINE_DEVFN)->gsi)) {
		ck_assert(now_ms() < deadline);
		poll(NULL, 0, 1);
	}
	ck_assert_uint_eq(bus_in(&mmio, MACHINE_BAR + 0x800, 1), 1);
	machine_free();
}
END_TEST

/* ---- what goes wrong ---- */

/* Whatever it refuses, the worker does. */
START_TEST(test_refused)
{
	unsigned in_kernel = 0;

	pairs = 1;
	for (fail_at = 1; fail_at <= CALLS; fail_at++) {
		build(MACHINE_PCI, KERNEL);
		probe((FEATURES & ~BIT(VIRTIO_NET_F_MQ)) | RINGS);
		while (fake_vhost.calls < fail_at && !fake_vhost_runs(1))
			poll(NULL, 0, 1);
		if (fake_vhost.calls < fail_at) {
			assert_kernel_passes(0);
			in_kernel++;
		} else {
			assert_worker_passes();
			ck_assert_int_eq(fake_vring(0)->kick, -1);
			ck_assert_int_eq(fake_vring(1)->kick, -1);
		}
		fail_at = fake_vhost.fail_at;
		fake_vhost.fail_at = 0;
		machine_free();
	}
	ck_assert_uint_gt(in_kernel, 0);
	fail_at = 0;
}
END_TEST

/* What it cannot do: what is on the ring stays there, and is judged by the worker. */
START_TEST(test_error)
{
	const struct fake_buf outside = FAKE_OUT(GPA(0x40000000), HDR + FRAME);

	setup(MACHINE_PCI, FEATURES | RINGS);
	assert_kernel_passes(0);
	event_signal(fake_vring(1)->err);
	assert_worker_passes();
	ck_assert(!fake_vhost_runs(2));
	virtio_net_set_link(dev, false);
	virtio_net_set_link(dev, true);
	assert_worker_passes();
	ck_assert_int_ge(fake_add(&drv.queue[1], &outside, 1), 0);
	virtio_notify(dev, 1);
	while (!(virtio_get_status(dev) & VIRTIO_CONFIG_S_NEEDS_RESET))
		poll(NULL, 0, 1);
	probe(FEATURES);
	assert_kernel_passes(0);
	machine_free();
}
END_TEST

/* A place that it does not tell breaks the device, and nothing else. */
START_TEST(test_lost)
{
	setup(MACHINE_PCI, FEATURES);
	assert_kernel_passes(0);
	pthread_mutex_lock(&fake_vhost.lock);
	fake_vhost.fail_at = fake_vhost.calls + 5;
	pthread_mutex_unlock(&fake_vhost.lock);
	virtio_net_set_link(dev, false);
	while (!(virtio_get_status(dev) & VIRTIO_CONFIG_S_NEEDS_RESET))
		poll(NULL, 0, 1);
	virtio_net_set_link(dev, true);
	probe(FEATURES);
	assert_kernel_passes(0);
	machine_free();
}
END_TEST

/* Once the device is broken, nothing is served. */
START_TEST(test_broken)
{
	const struct fake_buf no_head = FAKE_OUT(cmd, 1);

	setup(MACHINE_PCI, FEATURES);
	assert_kernel_passes(0);
	ck_assert_int_ge(fake_add(&drv.queue[4], &no_head, 1), 0);
	virtio_notify(dev, 4);
	fake_vhost_wait(0, false);
	fake_vhost_wait(1, false);
	ck_assert(virtio_get_status(dev) & VIRTIO_CONFIG_S_NEEDS_RESET);
	probe(FEATURES);
	assert_kernel_passes(0);
	machine_free();
}
END_TEST

/* ---- what is said ---- */

static int open_with(const char *arg, char *words, size_t cap)
{
	struct net_config cfg;
	struct net *net;
	int err;

	ck_assert_int_eq(net_config_parse(&cfg, "net", arg), 0);
	err = net_open(&cfg, "net0", &net);
	log_last_error(words, cap);
	if (!err)
		net_close(net);
	net_config_free(&cfg);
	return err;
}

START_TEST(test_words)
{
	struct net_config cfg;
	char words[200];

	ck_assert_int_eq(open_with("tap,vhost=on,pcap=/nowhere/x", words, sizeof(words)), -EINVAL);
	ck_assert_str_eq(words, "net0: pcap= does not go with vhost=on: record at the interface (tcpdump -i)");
	ck_assert_int_eq(open_with("tap,vhost=on,packed", words, sizeof(words)), -EINVAL);
	ck_assert_str_eq(words, "net0: packed rings do not go with vhost=on");
	ck_assert_int_eq(net_config_parse(&cfg, "net", "tap,vhost=yes"), -EINVAL);
	net_config_free(&cfg);
	ck_assert_int_eq(net_config_parse(&cfg, "net", "user,vhost=on"), -EINVAL);
	net_config_free(&cfg);
	ck_assert_int_eq(net_config_parse(&cfg, "net", "tap,vhost=on,vhost=off"), 0);
	ck_assert(!cfg.vhost);
	net_config_free(&cfg);
}
END_TEST

UNIT_MAIN("net_vhost", test_features, test_memory, test_frames, test_link, test_hold, test_quiet, test_reset,
	  test_queue_reset, test_pairs, test_restore, test_irqs, test_refused, test_error, test_lost, test_broken, test_words)
