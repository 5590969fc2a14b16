/* Links: virtio/net.o virtio/state.o virtio/pci.o virtio/pci-common.o virtio/mmio.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/pci-state.o hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o hw/ram.o hw/state.o hw/state-show.o net/net.o net/tap.o net/slirp.o net/frame-queue.o net/poll-set.o net/script.o net/switch.o net/switch-folder.o net/pcap.o util/json.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/* The state of the network device, over both transports, on a socket pair. */
#include "lkvm/virtio-net.h"
#include "net-rig.h"
#include "virtio-machine.h"

#define BIT(n) (1ULL << (n))
#define HDR    NET_HDR_BYTES
#define FEATURES                                                                                                  \
	(BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_VLAN) |                    \
	 BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) | BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_MRG_RXBUF) |                   \
	 BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) | BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) |         \
	 BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | BIT(VIRTIO_NET_F_STATUS))

static unsigned pairs, mtu, steered, offloads = RIG_ALL;
static uint8_t own[NET_MAC_BYTES];
static gpa_t out, in, cmd;

static struct virtio_dev *make(const struct ram *ram)
{
	struct virtio_dev *d;

	memcpy(rig_config.mac, own, sizeof(own));
	rig_open(steered ? 1 : pairs, mtu)->steered = steered;
	rig_end->net.offloads = offloads;
	ck_assert_int_eq(virtio_net_new(ram, "net0", &rig_end->net, &d), 0);
	return d;
}

static const struct machine_device device = { make, virtio_net_free };

static void setup(unsigned kind, uint64_t features)
{
	pairs = 2;
	mtu = 1500;
	memcpy(own, (uint8_t[]){ 2, 0, 0, 0, 0, 1 }, sizeof(own));
	rig_config = (struct net_config){ .packed = features & FAKE_PACKED };
	machine_new(&device, kind, 8);
	out = fake_alloc(&drv, 2048, 16);
	in = fake_alloc(&drv, 2048, 16);
	cmd = fake_alloc(&drv, 64, 16);
	machine_probe(features, 64);
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

/* A frame each way */
static void assert_passes(const uint8_t *to)
{
	const struct fake_buf sent = FAKE_OUT(out, HDR + 60), room = FAKE_IN(in, 2048);
	struct virtio_net_hdr_v1 header = { 0 };
	uint8_t frame[60], got[2048];
	uint32_t written;

	rig_fill(frame, sizeof(frame), to, 1);
	memset(fake_at(&drv, out), 0, HDR);
	memcpy((char *)fake_at(&drv, out) + HDR, frame, sizeof(frame));
	machine_request(1, &sent, 1);
	ck_assert_int_eq(rig_get(0, &header, got, sizeof(got), 10000), 60);
	ck_assert_int_ge(fake_add(&drv.queue[0], &room, 1), 0);
	virtio_notify(dev, 0);
	rig_put(0, &(struct virtio_net_hdr_v1){ 0 }, frame, sizeof(frame));
	machine_wait_used(0, &written);
	ck_assert_uint_eq(written, HDR + 60);
	ck_assert_mem_eq((char *)fake_at(&drv, in) + HDR, frame, sizeof(frame));
}

START_TEST(test_frames)
{
	static const uint64_t formats[] = { 0, FAKE_EVENT_IDX | FAKE_INDIRECT, FAKE_PACKED | FAKE_EVENT_IDX };

	for (unsigned f = 0; f < ARRAY_SIZE(formats) * MACHINE_KINDS; f++) {
		setup(f % MACHINE_KINDS, formats[f / MACHINE_KINDS] | FEATURES);
		for (unsigned i = 0; i < 4; i++) {
			assert_passes(own);
			machine_restore();
		}
		assert_passes(own);
		machine_free();
	}
}
END_TEST

/* Buffers that the device has taken for frames to come, and with it the place in the ring */
START_TEST(test_buffers)
{
	const struct fake_buf room = FAKE_IN(in, 2048);
	uint8_t frame[60];
	uint32_t written;

	for (unsigned kind = 0; kind < MACHINE_KINDS; kind++) {
		setup(kind, FEATURES | FAKE_EVENT_IDX);
		rig_fill(frame, sizeof(frame), own, 2);
		for (unsigned i = 0; i < 20; i++)
			ck_assert_int_ge(fake_add(&drv.queue[0], &room, 1), 0);
		virtio_notify(dev, 0);
		for (unsigned i = 0; i < 10; i++) {
			rig_put(0, &(struct virtio_net_hdr_v1){ 0 }, frame, sizeof(frame));
			machine_wait_used(0, &written);
			machine_restore();
		}
		machine_free();
	}
}
END_TEST

START_TEST(test_choices)
{
	static const uint8_t off = 0, mac[NET_MAC_BYTES] = { 2, 0, 0, 0, 0, 7 };
	static const uint16_t two = 2, vlan = 77;
	static const uint64_t csum = BIT(VIRTIO_NET_F_GUEST_CSUM);
	struct state_buf saved = { 0 };

	setup(MACHINE_PCI, FEATURES);
	ck_assert_int_eq(command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &off, 1), 0);
	ck_assert_int_eq(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, sizeof(mac)), 0);
	ck_assert_int_eq(command(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &vlan, 2), 0);
	ck_assert_int_eq(command(VIRTIO_NET_CTRL_MQ, 0, &two, 2), 0);
	ck_assert_int_eq(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &csum, 8), 0);
	virtio_net_set_link(dev, false);
	hold(dev);
	machine_save(&saved);
	machine_unbuild();
	own[5] = 99;
	machine_build();
	hold(dev);
	machine_load(&saved);
	virtio_dev_hold_end(dev);
	ck_assert_uint_eq(rig_end->pairs, 2);
	ck_assert_uint_eq(rig_end->offloads, NET_CSUM);
	ck_assert_uint_eq(virtio_config_read(dev, 5, 1), 7); /* the driver runs: it has read its address */
	for (unsigned i = 0; i < 10000 && virtio_config_read(dev, 6, 2) != VIRTIO_NET_S_ANNOUNCE; i++)
		poll(NULL, 0, 1); /* once the worker goes on */
	ck_assert_uint_eq(virtio_config_read(dev, 6, 2), VIRTIO_NET_S_ANNOUNCE);
	virtio_net_set_link(dev, true);
	ck_assert_int_eq(command(VIRTIO_NET_CTRL_ANNOUNCE, 0, &off, 0), 0);
	ck_assert_uint_eq(virtio_config_read(dev, 6, 2), VIRTIO_NET_S_LINK_UP);
	assert_passes(mac);
	state_buf_free(&saved);
	machine_free();
}
END_TEST

/* Without a driver it has the address that goes with the new machine. */
START_TEST(test_address)
{
	struct state_buf saved = { 0 };

	setup(MACHINE_PCI, FEATURES);
	virtio_set_status(dev, 0);
	hold(dev);
	machine_save(&saved);
	machine_unbuild();
	own[5] = 99;
	machine_build();
	hold(dev);
	machine_load(&saved);
	virtio_dev_hold_end(dev);
	ck_assert_uint_eq(virtio_config_read(dev, 5, 1), 99);
	state_buf_free(&saved);
	machine_free();
}
END_TEST

START_TEST(test_another)
{
	for (unsigned i = 0; i < 2; i++) {
		struct state_buf saved = { 0 };
		const struct state_type *type;
		struct state_reader r;

		setup(MACHINE_PCI, 0);
		type = dev->type->state;
		state_saved(type, dev, &saved);
		machine_unbuild();
		pairs = i ? 2 : 1;
		mtu = i ? 9000 : 1500;
		machine_build();
		r = state_reader_of(&saved);
		ck_assert_int_eq(state_load(&r, type, dev), -ENODEV);
		state_buf_free(&saved);
		machine_free();
	}
}
END_TEST

/* An offload that the driver has negotiated, and this host's end has not */
START_TEST(test_without_offload)
{
	static const struct {
		uint64_t features;
		unsigned offload;
	} table[] = {
		{ BIT(VIRTIO_NET_F_CSUM), NET_CSUM },
		{ BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4), NET_TSO4 },
		{ BIT(VIRTIO_NET_F_CSUM) | BIT(56), NET_USO },
		{ BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(54) | BIT(55), NET_USO },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		setup(MACHINE_PCI, table[i].features);
		ck_assert_int_eq(machine_reload(""), 0);
		virtio_dev_hold_end(dev);
		offloads = RIG_ALL & ~table[i].offload;
		ck_assert_int_eq(machine_reload("No such device"), -ENODEV);
		virtio_dev_hold_end(dev);
		machine_free();
		offloads = RIG_ALL;
	}
}
END_TEST

START_TEST(test_hostile_values)
{
	setup(MACHINE_PCI, BIT(VIRTIO_NET_F_CTRL_VQ));
	hold(dev);
	ck_assert_int_eq(machine_load_field("promisc", 2), -ERANGE);
	ck_assert_int_eq(machine_load_field("unplugged", 2), -ERANGE);
	ck_assert_int_eq(machine_load_field("pairs", 3), -ERANGE);
	ck_assert_int_eq(machine_load_field("pairs", 2), -EINVAL); /* MQ was not negotiated */
	ck_assert_int_eq(machine_load_field("pairs", 0), -EINVAL); /* there is a driver */
	ck_assert_int_eq(machine_load_field("offloads", NET_CSUM), -EINVAL);
	ck_assert_int_eq(machine_load_field("offloads", 1U << 20), -ERANGE);
	ck_assert_int_eq(machine_load_field("announce", 1), -EINVAL);
	ck_assert_int_eq(machine_load_field("max_pairs", 8), -ENODEV);
	virtio_dev_hold_end(dev);
	assert_passes(own);
	machine_free();
}
END_TEST

static void use(void *object)
{
	virtio_dev_hold_end(object);
	virtio_config_read(object, 0, 4);
	hold(object);
}

#define STEERING (FEATURES | BIT(VIRTIO_NET_F_RSS) | BIT(VIRTIO_NET_F_HASH_REPORT))
#define HASH_HDR 20

/* What has no hash goes to the second pair; a key of three bytes. */
static void steer(void)
{
	static const uint8_t rss[] = { 0x3f, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 2, 0, 3, 0xaa, 0xbb, 0xcc };

	ck_assert_int_eq(command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, rss, sizeof(rss)), 0);
}

START_TEST(test_steering)
{
	steered = 2;
	for (unsigned kind = 0; kind < MACHINE_KINDS; kind++) {
		uint8_t frame[60];
		uint32_t written;

		setup(kind, STEERING);
		steer();
		rig_fill(frame, sizeof(frame), own, 2);
		for (unsigned i = 0; i < 4; i++) {
			machine_restore();
			ck_assert_int_ge(fake_add(&drv.queue[2], &FAKE_IN(in, 2048), 1), 0);
			virtio_notify(dev, 2);
			rig_put(0, &(struct virtio_net_hdr_v1){ 0 }, frame, sizeof(frame));
			machine_wait_used(2, &written);
			ck_assert_uint_eq(written, HASH_HDR + sizeof(frame));
		}
		machine_free();
	}
	steered = 0;
}
END_TEST

START_TEST(test_hostile_steering)
{
	static const uint8_t hashes[] = { 0x3f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3 };

	steered = 2;
	setup(MACHINE_PCI, STEERING);
	steer();
	hold(dev);
	ck_assert_int_eq(machine_load_field("hash_types", 0x40), -ERANGE);
	ck_assert_int_eq(machine_load_field("key_bytes", 41), -ERANGE);
	ck_assert_int_eq(machine_load_field("n_table", 129), -ERANGE);
	ck_assert_int_eq(machine_load_field("n_table", 3), -ERANGE);
	ck_assert_int_eq(machine_load_field("table", 2), -ERANGE);
	ck_assert_int_eq(machine_load_field("unclassified", 2), -ERANGE);
	virtio_dev_hold_end(dev);
	machine_test_hostile(dev->type->state, dev, use);
	machine_free();
	/* without RSS there is no table, and with neither nothing at all */
	setup(MACHINE_PCI, STEERING & ~BIT(VIRTIO_NET_F_RSS));
	ck_assert_int_eq(command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_HASH_CONFIG, hashes, sizeof(hashes)), 0);
	hold(dev);
	ck_assert_int_eq(machine_load_field("n_table", 1), -EINVAL);
	ck_assert_int_eq(machine_load_field("hash_types", 1), 0);
	virtio_dev_hold_end(dev);
	machine_free();
	setup(MACHINE_PCI, FEATURES);
	hold(dev);
	ck_assert_int_eq(machine_load_field("hash_types", 1), -EINVAL);
	ck_assert_int_eq(machine_load_field("key_bytes", 1), -EINVAL);
	virtio_dev_hold_end(dev);
	machine_free();
	steered = 0;
}
END_TEST

START_TEST(test_hostile)
{
	setup(MACHINE_PCI, FEATURES);
	machine_test_hostile(dev->type->state, dev, use);
	machine_free();
}
END_TEST

UNIT_MAIN("net-state", test_frames, test_buffers, test_choices, test_address, test_another, test_without_offload, test_hostile_values,
	  test_steering, test_hostile_steering, test_hostile)
