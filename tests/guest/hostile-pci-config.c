/* Configuration space, BAR and ways to both: PCI Local Bus 3.0; the window: virtio 1.2, 4.1.4.9 */
#include "hostile.h"

#define COMMAND        0x04
#define COMMAND_MEMORY 2
#define BAR0           0x10
#define BAR1           0x14 /* the high half of that */
#define BAR_TYPE       0x4  /* 64 bits */
#define BAR_BYTES      0x4000
#define STATUS_OFFSET  20 /* of the device status in the common configuration, which is at 0 */

static void read_only(const struct trial *t)
{
	const unsigned off = (unsigned)t->a, width = (unsigned)t->b;
	uint32_t old = pci_read(t->d->devfn, off, width);

	pci_write(t->d->devfn, off, width, ~old);
	EXPECT_EQ(pci_read(t->d->devfn, off, width), old);
	pci_write(t->d->devfn, off, width, 0);
	EXPECT_EQ(pci_read(t->d->devfn, off, width), old);
	EXPECT(vdev_works(t->d));
}

/* All capabilities but the fields of the window and the enable bits of MSI-X. */
static void read_only_caps(const struct trial *t)
{
	const unsigned id = (unsigned)t->a, fn = t->d->devfn;

	for (unsigned cap = pci_read(fn, 0x34, 1); cap; cap = pci_read(fn, cap + 1, 1)) {
		if (pci_read(fn, cap, 1) != id || cap == t->d->cap_window)
			continue;
		for (unsigned off = cap; off < cap + (id == 0x11 ? 12U : 16U); off++) {
			uint8_t old = (uint8_t)pci_read(fn, off, 1);

			if (id == 0x11 && off == cap + 3)
				continue;
			pci_write(fn, off, 1, (uint8_t)~old);
			EXPECT_EQ(pci_read(fn, off, 1), old);
		}
	}
	EXPECT(vdev_works(t->d));
}

static void command_bits(const struct trial *t)
{
	pci_write(t->d->devfn, COMMAND, 2, 0xffff);
	EXPECT_EQ(pci_read(t->d->devfn, COMMAND, 2), 0x406);
	EXPECT(vdev_works(t->d));
}

/* The bridge has nothing that may be written. */
static void bridge(const struct trial *t)
{
	for (unsigned off = 0; off < 64; off += 4) {
		uint32_t old = pci_read(0, off, 4);

		pci_write(0, off, 4, ~old);
		EXPECT_EQ(pci_read(0, off, 4), old);
	}
	EXPECT(vdev_works(t->d));
}

/* ---- ways to the configuration space ---- */

static void address_width(const struct trial *t)
{
	out32(PCI_ADDRESS, 0x80000000U);
	if (t->a == 1)
		out8((uint16_t)(PCI_ADDRESS + t->b), 0x55);
	else
		out16((uint16_t)(PCI_ADDRESS + t->b), 0x5555);
	EXPECT_EQ(in32(PCI_ADDRESS), 0x80000000U);
	EXPECT_EQ(in32(PCI_DATA), pci_read(0, 0, 4));
}

static void reset_port(const struct trial *t)
{
	out8(0xcf9, 0x0a);
	EXPECT_EQ(in8(0xcf9), 0x0a);
	out8(0xcf9, 0xf1);
	EXPECT_EQ(in8(0xcf9), 0);
	out16(0xcf9, 0x0606);
	EXPECT(vdev_works(t->d));
}

static void select_nobody(const struct trial *t)
{
	out32(PCI_ADDRESS, (uint32_t)t->a | COMMAND | (uint32_t)t->d->devfn << 8);
	EXPECT_EQ(in32(PCI_DATA), UINT32_MAX);
	out32(PCI_DATA, 0);
	EXPECT(vdev_works(t->d));
}

static void other_function(const struct trial *t)
{
	unsigned fn = t->d->devfn ^ (unsigned)t->a;

	pci_write(fn, COMMAND, 2, 0);
	pci_write(fn, BAR0, 4, (uint32_t)t->d->base);
	pci_write(fn, COMMAND, 2, 7);
	EXPECT_EQ(pci_read(fn, 0, 4), UINT32_MAX);
	EXPECT(vdev_works(t->d));
}

static void misaligned_port(const struct trial *t)
{
	out32(PCI_ADDRESS, 0x80000000U | (uint32_t)t->d->devfn << 8 | COMMAND);
	out32(PCI_DATA + 2, 0);
	out32(PCI_DATA + 1, 0);
	out16(PCI_DATA + 3, 0);
	out16(PCI_DATA + 1, 0);
	EXPECT_EQ(in32(PCI_DATA) & 0xffff, 6);
	EXPECT(vdev_works(t->d));
}

static uint64_t ecam(const struct trial *t, unsigned off)
{
	return ECAM + ((uint64_t)t->d->devfn << 12) + off;
}

static void ecam_misaligned(const struct trial *t)
{
	const unsigned width = (unsigned)t->a;

	for (unsigned off = COMMAND + 1; off % width; off++)
		mem_write(ecam(t, off), width, 0);
	EXPECT_EQ(mem_read(ecam(t, COMMAND), 2), 6);
	EXPECT(vdev_works(t->d));
}

static void ecam_quad(const struct trial *t)
{
	uint64_t both = pci_read(t->d->devfn, 0, 4) | (uint64_t)pci_read(t->d->devfn, 4, 4) << 32;

	EXPECT_EQ(mem_read(ecam(t, 0), 8), both);
	mem_write(ecam(t, 0), 8, both ^ UINT32_MAX);
	EXPECT_EQ(mem_read(ecam(t, 0), 8), both);
}

static void ecam_extended(const struct trial *t)
{
	for (unsigned off = 0x100; off < 0x1000; off += 0x9c) {
		EXPECT_EQ(mem_read(ecam(t, off), 4), UINT32_MAX);
		mem_write(ecam(t, off), 4, 0);
	}
	EXPECT_EQ(mem_read(ecam(t, 0xffc), 8) | UINT32_MAX, UINT64_MAX);
	EXPECT(vdev_works(t->d));
}

static void ecam_nobody(const struct trial *t)
{
	EXPECT_EQ(mem_read(ECAM + 0xff000, 4), UINT32_MAX);
	mem_write(ECAM + 0xff000 + COMMAND, 4, UINT32_MAX);
	EXPECT_EQ(mem_read(ECAM + 0x100000, 4), UINT32_MAX);
	mem_write(ECAM + 0x100000, 4, UINT32_MAX);
	EXPECT_EQ(mem_read(ECAM + 0xffffe, 4) | 0, UINT32_MAX);
	EXPECT(vdev_works(t->d));
}

/* ---- BAR 0 ---- */

static void move_bar(const struct vdev *d, uint64_t to)
{
	pci_write(d->devfn, BAR0, 4, (uint32_t)to);
	if (pci_read(d->devfn, BAR1, 4) != to >> 32)
		pci_write(d->devfn, BAR1, 4, (uint32_t)(to >> 32));
}

static void over_ram(const struct trial *t)
{
	volatile uint32_t *ram = mem32(t->a + STATUS_OFFSET);
	uint32_t old = *ram;

	move_bar(t->d, t->a);
	*ram = 0x12345678;
	EXPECT_EQ(*ram, 0x12345678);
	*ram = old;
	EXPECT(vdev_works(other_device()));
	move_bar(t->d, t->d->base);
	EXPECT(vdev_works(t->d));
}

/* Something else is there, and stays: @b bytes further it has a register that does not change. */
static void over_chip(const struct trial *t)
{
	uint32_t before = *mem32(t->a + t->b);

	move_bar(t->d, t->a);
	EXPECT_EQ(*mem32(t->a + t->b), before);
	EXPECT(vdev_works(other_device()));
	move_bar(t->d, t->d->base);
	EXPECT(vdev_works(t->d));
}

static void over_other_bar(const struct trial *t)
{
	const struct vdev *other = other_device();

	if (!other->pci)
		return expect_failed("over_other_bar", "the other device is on PCI", 0, 1);
	move_bar(t->d, other->base);
	EXPECT(vdev_works(other_device()));
	EXPECT_EQ(status(other), S_LIVE);
	notify(other, 0);
	move_bar(t->d, t->d->base);
	EXPECT(vdev_works(t->d));
	EXPECT(vdev_works(other_device()));
}

/* The other one is there first, and this one's BAR is what it would like to have then. */
static void other_bar_over_this(const struct trial *t)
{
	const struct vdev *other = other_device();

	move_bar(other, t->d->base);
	EXPECT(vdev_works(t->d));
	move_bar(t->d, other->base);
	move_bar(t->d, t->d->base);
	move_bar(other, other->base);
	pci_write(t->d->devfn, COMMAND, 2, 6);
	EXPECT(vdev_works(other_device()));
	EXPECT(vdev_works(t->d));
}

static void move_live(const struct trial *t)
{
	const uint64_t delta = t->a - t->d->base;
	const struct vbuf buf = { (uint64_t)t->d->buf, 16, D_WRITE };

	EXPECT(vdev_works(t->d) && asleep(t->r));
	move_bar(t->d, t->a);
	EXPECT_EQ(*mem32(t->d->base), UINT32_MAX);
	EXPECT_EQ(*mem8(t->d->reg[R_STATUS] + delta), S_LIVE);
	vring_add(t->r, &buf, 1);
	kick(t->r);
	EXPECT(quiet(t->r));
	*mem16(t->d->notify + delta) = 0;
	EXPECT(used_reaches(t->r, 2));
	move_bar(t->d, t->d->base);
	EXPECT(answered(t->r));
	EXPECT(vdev_works(t->d));
}

static void decode_off(const struct trial *t)
{
	const struct vbuf buf = { (uint64_t)t->d->buf, 16, D_WRITE };

	EXPECT(vdev_works(t->d) && asleep(t->r));
	pci_write(t->d->devfn, COMMAND, 2, 4);
	EXPECT_EQ(*mem32(t->d->base), UINT32_MAX);
	*mem8(t->d->reg[R_STATUS]) = 0;
	vring_add(t->r, &buf, 1);
	kick(t->r);
	EXPECT(quiet(t->r));
	pci_write(t->d->devfn, COMMAND, 2, 6);
	EXPECT_EQ(status(t->d), S_LIVE);
	kick(t->r);
	EXPECT(answered(t->r));
}

/* Without bus mastering the function leaves memory alone; what was asked meanwhile is not lost. */
static void not_master(const struct trial *t)
{
	const struct vbuf buf = { (uint64_t)t->d->buf, 16, D_WRITE };

	EXPECT(vdev_works(t->d));
	pci_write(t->d->devfn, COMMAND, 2, 2);
	vring_add(t->r, &buf, 1);
	kick(t->r);
	EXPECT(quiet(t->r));
	EXPECT_EQ(status(t->d), S_LIVE);
	pci_write(t->d->devfn, COMMAND, 2, 6);
	EXPECT(answered(t->r));
	EXPECT(vdev_works(t->d));
}

static void never_master(const struct trial *t)
{
	const struct vbuf buf = { (uint64_t)t->d->buf, 16, D_WRITE };

	pci_write(t->d->devfn, COMMAND, 2, 2);
	EXPECT(vdev_start(t->d, usual_features(t->d)));
	vring_add(t->r, &buf, 1);
	kick(t->r);
	EXPECT(quiet(t->r));
}

static void sizing_live(const struct trial *t)
{
	move_bar(t->d, UINT32_MAX);
	EXPECT_EQ(pci_read(t->d->devfn, BAR0, 4), (uint32_t)-BAR_BYTES | BAR_TYPE);
	pci_write(t->d->devfn, BAR1, 4, UINT32_MAX);
	EXPECT_EQ(pci_read(t->d->devfn, BAR1, 4), UINT32_MAX);
	move_bar(t->d, t->d->base);
	EXPECT(vdev_works(t->d));
}

static void low_bits(const struct trial *t)
{
	move_bar(t->d, t->d->base | (BAR_BYTES - 1));
	EXPECT_EQ(pci_read(t->d->devfn, BAR0, 4), (uint32_t)t->d->base | BAR_TYPE);
	EXPECT(vdev_works(t->d));
}

static void bar_in_pieces(const struct trial *t)
{
	const unsigned width = (unsigned)t->a;

	for (unsigned off = 0; off < 4; off += width)
		pci_write(t->d->devfn, BAR0 + off, width, 0);
	for (unsigned off = 0; off < 4; off += width)
		pci_write(t->d->devfn, BAR0 + off, width, (uint32_t)(t->d->base >> off * 8));
	EXPECT(vdev_works(t->d));
}

static void keep_moving(const struct trial *t)
{
	const struct vbuf buf = { (uint64_t)t->d->buf, 16, D_WRITE };

	for (unsigned i = 0; i < 300; i++) {
		vring_add(t->r, &buf, 1);
		kick(t->r);
		move_bar(t->d, t->d->base + (i % 7 + 1) * 0x100000);
		if (i % 5 == 0)
			pci_write(t->d->devfn, COMMAND, 2, 4);
		move_bar(t->d, t->d->base);
		pci_write(t->d->devfn, COMMAND, 2, 6);
		kick(t->r);
		EXPECT(answered(t->r));
	}
}

/* ---- the window into the BAR ---- */

struct window {
	uint32_t bar, off, len;
};

static void open_window(const struct trial *t, const struct window *w)
{
	pci_write(t->d->devfn, t->d->cap_window + 4, 1, w->bar);
	pci_write(t->d->devfn, t->d->cap_window + 8, 4, w->off);
	pci_write(t->d->devfn, t->d->cap_window + 12, 4, w->len);
}

/* A write of 0 that would reset the device if it arrived. a: offset | length << 32, b: width | bar
 * << 8 */
static void bad_window(const struct trial *t)
{
	const struct window w = { (uint32_t)(t->b >> 8), (uint32_t)t->a, (uint32_t)(t->a >> 32) };

	open_window(t, &w);
	pci_write(t->d->devfn, t->d->cap_window + 16, t->b & 0xff, 0);
	pci_read(t->d->devfn, t->d->cap_window + 16, t->b & 0xff);
	EXPECT_EQ(status(t->d), S_LIVE);
	EXPECT(vdev_works(t->d));
}

static void good_window(const struct trial *t)
{
	const struct window w = { 0, STATUS_OFFSET, 1 };

	open_window(t, &w);
	EXPECT_EQ(pci_read(t->d->devfn, t->d->cap_window + 16, 1), S_LIVE);
	pci_write(t->d->devfn, t->d->cap_window + 16, 1, 0);
	EXPECT_EQ(status(t->d), 0);
}

static void notify_by_window(const struct trial *t)
{
	const struct window w = { 0, (uint32_t)(t->d->notify - t->d->base), 2 };
	const struct vbuf buf = { (uint64_t)t->d->buf, 16, D_WRITE };

	open_window(t, &w);
	vring_add(t->r, &buf, 1);
	pci_write(t->d->devfn, t->d->cap_window + 16, 2, 0);
	EXPECT(answered(t->r));
}

/* Aligned or not, every offset at and around the end, every length. */
static void all_windows(const struct trial *t)
{
	for (uint32_t off = BAR_BYTES - 8; off < BAR_BYTES + 4; off++)
		for (uint32_t len = 0; len < 6; len++) {
			const struct window w = { 0, off, len };

			open_window(t, &w);
			pci_read(t->d->devfn, t->d->cap_window + 16, 4);
			pci_write(t->d->devfn, t->d->cap_window + 16, 4, UINT32_MAX);
		}
	EXPECT(vdev_works(t->d));
}

#define STATUS_LENGTH(len) (STATUS_OFFSET | (uint64_t)(len) << 32)

static const struct hostile cases[] = {
	{ "PCI 6.2.1 writing the vendor", read_only, 0x00, 2 },
	{ "PCI 6.2.1 writing the device id", read_only, 0x02, 2 },
	{ "PCI 6.2.3 writing the status", read_only, 0x06, 2 },
	{ "PCI 6.2.1 writing revision and class", read_only, 0x08, 4 },
	{ "PCI 6.2.1 writing the header type", read_only, 0x0e, 1 },
	{ "PCI 6.2.4 writing the self-test register", read_only, 0x0f, 1 },
	{ "PCI 6.2.5 writing BAR 2", read_only, 0x18, 4 },
	{ "PCI 6.2.5 writing BAR 5", read_only, 0x24, 4 },
	{ "PCI 6.2.4 writing the CardBus pointer", read_only, 0x28, 4 },
	{ "PCI 6.2.4 writing the subsystem", read_only, 0x2c, 4 },
	{ "PCI 6.2.5.2 writing the expansion ROM", read_only, 0x30, 4 },
	{ "PCI 6.7 writing the capability pointer", read_only, 0x34, 4 },
	{ "PCI 6.2.4 writing the interrupt pin", read_only, 0x3d, 1 },
	{ "PCI 6.2.4 writing grant and latency", read_only, 0x3e, 2 },
	{ "4.1.4.1 writing the virtio capabilities", read_only_caps, 0x09 },
	{ "PCI 6.8.2 writing size and place of the MSI-X table", read_only_caps, 0x11 },
	{ "PCI 6.2.2 all bits of the command register", command_bits },
	{ "PCI 6.2 writing the host bridge", bridge },
	{ "PCI 3.2.2.3.2 a byte to the address port", address_width, 1, 0 },
	{ "PCI 3.2.2.3.2 a byte within the address port", address_width, 1, 3 },
	{ "PCI 3.2.2.3.2 a word to the address port", address_width, 2, 2 },
	{ "PCI 3.2.2.3.2 the reset control register, without a reset", reset_port },
	{ "PCI 3.2.2.3.2 configuration not enabled", select_nobody, 0 },
	{ "PCI 3.2.2.3.2 bus 1", select_nobody, 0x80010000 },
	{ "PCI 3.2.2.3.2 bus 255", select_nobody, 0x80ff0000 },
	{ "PCI 3.2.2.3.4 a function that is not there", other_function, 7 },
	{ "PCI 3.2.2.3.4 a device that is not there", other_function, 0xa0 },
	{ "PCI 3.2.2.3.2 accesses over the end of the data port", misaligned_port },
	{ "PCIe 7.2.2 misaligned words in the ECAM", ecam_misaligned, 2 },
	{ "PCIe 7.2.2 misaligned doublewords in the ECAM", ecam_misaligned, 4 },
	{ "PCIe 7.2.2 misaligned quadwords in the ECAM", ecam_misaligned, 8 },
	{ "PCIe 7.2.2 quadwords in the ECAM", ecam_quad },
	{ "PCIe 7.2.2 extended configuration space", ecam_extended },
	{ "PCIe 7.2.2 nobody's part of the ECAM, and its end", ecam_nobody },
	{ "PCI 6.2.5.1 BAR moved over the rings in RAM", over_ram, 16 << 20 },
	{ "PCI 6.2.5.1 BAR moved over RAM at 0", over_ram, 0 },
	{ "PCI 6.2.5.1 BAR moved over the end of RAM", over_ram, RAM_END - 0x4000 },
	{ "PCI 6.2.5.1 BAR moved over the local APIC", over_chip, LAPIC, 0x30 },
	{ "PCI 6.2.5.1 BAR moved over the IOAPIC", over_chip, IOAPIC, 0x10 },
	{ "PCI 6.2.5.1 BAR moved over the ECAM", over_chip, ECAM, 0 },
	{ "PCI 6.2.5.1 BAR moved over the end of the ECAM", over_chip, ECAM + 0xfc000, 0 },
	{ "PCI 6.2.5.1 BAR moved to the last address", over_chip, 0xffffc000, STATUS_OFFSET },
	{ "PCI 6.2.5.1 BAR moved over another one's", over_other_bar },
	{ "PCI 6.2.5.1 another BAR moved over this one", other_bar_over_this },
	{ "PCI 6.2.5.1 BAR moved while the queue is live", move_live, 0xd4000000 },
	{ "PCI 6.2.5.1 BAR right below the bridge's window while the queue is live", move_live,
	  0xcfffc000 },
	{ "PCI 6.2.5.1 BAR right behind RAM while the queue is live", move_live, RAM_END },
	{ "PCI 6.2.5.1 BAR where RAM may have been while the queue is live", move_live, 0x10000000 },
	{ "PCI 6.2.5.1 BAR at 4 GB while the queue is live", move_live, 0x100000000 },
	{ "PCI 6.2.5.1 BAR above 4 GB while the queue is live", move_live, 0x17fffc000 },
	{ "PCI 6.2.5.1 BAR at the end of the window while the queue is live", move_live,
	  0xdfffc000 },
	{ "PCI 6.2.5.1 BAR right behind the ECAM while the queue is live", move_live, 0xe0100000 },
	{ "PCI 6.2.5.1 BAR right below the IOAPIC while the queue is live", move_live,
	  0xfebfc000 },
	{ "PCI 6.2.2 decoding switched off while the queue is live", decode_off },
	{ "PCI 6.2.2 bus mastering switched off while the queue is live", not_master },
	{ "PCI 6.2.2 bus mastering never switched on", never_master, .raw = true },
	{ "PCI 6.2.5.1 BAR sized while the queue is live", sizing_live },
	{ "PCI 6.2.5.1 low bits of the BAR", low_bits },
	{ "PCI 6.2.5.1 BAR written byte by byte", bar_in_pieces, 1 },
	{ "PCI 6.2.5.1 BAR written in halves", bar_in_pieces, 2 },
	{ "PCI 6.2.5.1 BAR moved again and again under load", keep_moving },
	{ "4.1.4.9.2 window into BAR 1", bad_window, STATUS_LENGTH(1), 1 | 1 << 8 },
	{ "4.1.4.9.2 window into BAR 255", bad_window, STATUS_LENGTH(1), 1 | 255 << 8 },
	{ "4.1.4.9.2 window of length 0", bad_window, STATUS_LENGTH(0), 1 },
	{ "4.1.4.9.2 window of length 3", bad_window, STATUS_LENGTH(3), 1 },
	{ "4.1.4.9.2 window of length 8", bad_window, STATUS_LENGTH(8), 4 },
	{ "4.1.4.9.2 window of length 2^32 - 1", bad_window, STATUS_LENGTH(UINT32_MAX), 4 },
	{ "4.1.4.9.2 window narrower than the access", bad_window, STATUS_LENGTH(1), 4 },
	{ "4.1.4.9.2 window wider than the access", bad_window, STATUS_LENGTH(4), 1 },
	{ "4.1.4.9.2 window at an odd offset", bad_window, (STATUS_OFFSET - 1) | 2ULL << 32, 2 },
	{ "4.1.4.9.2 window behind the BAR", bad_window, (BAR_BYTES + STATUS_OFFSET) | 1ULL << 32,
	  1 },
	{ "4.1.4.9.2 window at 2^32 - 1", bad_window, UINT32_MAX | 1ULL << 32, 1 },
	{ "4.1.4.9.2 windows of all lengths around the BAR's end", all_windows },
	{ "4.1.4.9.1 reset by the window", good_window },
	{ "4.1.4.9.1 notification by the window", notify_by_window },
};

const struct suite pci_config_suite = { .name = "pci-config",
					.victim = VIRTIO_RNG,
					.on = ON_PCI,
					.cases = cases,
					.n = N_CASES(cases) };
