/*
 * MSI-X: PCI Local Bus 3.0, 6.8.2; virtio 1.2, 4.1.5.1. Interrupts are never taken here: what has
 * been delivered is pending in the local APIC, so each case uses an interrupt number of its own.
 */
#include "hostile.h"

#define ENABLE       0x8000
#define MASKALL      0x4000
#define QUEUE_VECTOR 1

#define SVR 0x0f0
#define IRR 0x200

static uint8_t fresh_number(void)
{
	static uint8_t next = 0x30;

	*mem32(LAPIC + SVR) = 0x1ff;
	return next++;
}

static bool delivered(uint8_t number)
{
	return *mem32(LAPIC + IRR + number / 32 * 0x10) >> number % 32 & 1;
}

static bool arrives(uint8_t number)
{
	struct deadline wait = { 0 };

	while (!delivered(number))
		if (!in_time(&wait))
			return false;
	return true;
}

static void msix_control(const struct trial *t, uint16_t bits)
{
	pci_write(t->d->devfn, t->d->cap_msix + 2, 2, bits);
}

static uint64_t entry(const struct trial *t)
{
	return t->d->table + QUEUE_VECTOR * 16;
}

static void set_entry(const struct trial *t, uint64_t addr, uint32_t data, uint32_t control)
{
	mem_write(entry(t), 4, addr & UINT32_MAX);
	mem_write(entry(t) + 4, 4, addr >> 32);
	mem_write(entry(t) + 8, 4, data);
	mem_write(entry(t) + 12, 4, control);
}

/* Queue 0 has vector 1, which is interrupt @number; the vector must be set while MSI-X is on. */
static void route(const struct trial *t, uint8_t number, uint32_t control)
{
	msix_control(t, ENABLE);
	set_entry(t, LAPIC, number, control);
	mem_write(t->d->reg[R_DEVICE_SELECT] + 26, 2, QUEUE_VECTOR);
}

static bool pending(const struct trial *t)
{
	return mem_read(t->d->pba, 8) >> QUEUE_VECTOR & 1;
}

static bool becomes_pending(const struct trial *t)
{
	struct deadline wait = { 0 };

	while (!pending(t))
		if (!in_time(&wait))
			return false;
	return true;
}

/* ---- delivery, and what holds it back ---- */

static bool interrupts(const struct trial *t)
{
	uint8_t number = fresh_number();

	route(t, number, 0);
	return vdev_works(t->d) && arrives(number);
}

static void good(const struct trial *t)
{
	EXPECT(interrupts(t));
	EXPECT(interrupts(t));
}

static void masked_entry(const struct trial *t)
{
	uint8_t number = fresh_number();

	route(t, number, 1);
	EXPECT(vdev_works(t->d));
	EXPECT(becomes_pending(t));
	EXPECT(!delivered(number));
	mem_write(entry(t) + 12, 4, 0);
	EXPECT(arrives(number));
	EXPECT(!pending(t));
}

static void masked_function(const struct trial *t)
{
	uint8_t number = fresh_number();

	route(t, number, 0);
	msix_control(t, ENABLE | MASKALL);
	EXPECT(vdev_works(t->d));
	EXPECT(becomes_pending(t));
	EXPECT(!delivered(number));
	msix_control(t, ENABLE);
	EXPECT(arrives(number));
}

/* The request is served before; its message is held back alone. */
static void not_master(const struct trial *t)
{
	uint8_t number = fresh_number();

	route(t, number, 1);
	EXPECT(vdev_works(t->d));
	EXPECT(becomes_pending(t));
	pci_write(t->d->devfn, 4, 2, 2);
	mem_write(entry(t) + 12, 4, 0);
	pause_ms(5);
	EXPECT(pending(t) && !delivered(number));
	pci_write(t->d->devfn, 4, 2, 6);
	EXPECT(arrives(number));
}

static void disabled(const struct trial *t)
{
	uint8_t number = fresh_number();

	route(t, number, 0);
	msix_control(t, 0);
	mem_read(t->d->isr, 1);
	EXPECT(vdev_works(t->d));
	pause_ms(5);
	EXPECT(!delivered(number));
	EXPECT_EQ(mem_read(t->d->isr, 1), 1);
	EXPECT(interrupts(t));
}

static void no_vector(const struct trial *t)
{
	uint8_t number = fresh_number();

	route(t, number, 0);
	mem_write(t->d->reg[R_DEVICE_SELECT] + 26, 2, 0xffff);
	EXPECT(vdev_works(t->d));
	pause_ms(5);
	EXPECT(!delivered(number));
	EXPECT(interrupts(t));
}

static void pending_at_reset(const struct trial *t)
{
	uint8_t number = fresh_number();

	route(t, number, 1);
	EXPECT(vdev_works(t->d));
	EXPECT(becomes_pending(t));
	vdev_reset(t->d);
	EXPECT(!pending(t));
	mem_write(entry(t) + 12, 4, 0);
	EXPECT(!delivered(number));
}

static void masked_and_unmasked(const struct trial *t)
{
	uint8_t number = fresh_number();

	route(t, number, 0);
	for (unsigned i = 0; i < 200; i++) {
		mem_write(entry(t) + 12, 4, 1);
		kick(t->r);
		mem_write(entry(t) + 12, 4, 0);
	}
	EXPECT(vdev_works(t->d));
	EXPECT(arrives(number));
}

/* ---- the table ---- */

/* More often than the host has interrupt routes. */
static void rewrite_often(const struct trial *t)
{
	route(t, 0x20, 0);
	for (uint32_t i = 0; i < 6000; i++)
		mem_write(entry(t) + 8, 4, 0x4000 | (i & 0xff));
	EXPECT(interrupts(t));
}

static void rewrite_under_load(const struct trial *t)
{
	route(t, fresh_number(), 0);
	for (uint32_t i = 0; i < 300; i++) {
		put_desc(t->r, 0, (uint64_t)t->d->buf, 16, D_WRITE, 0);
		offer(t->r, 0);
		mem_write(entry(t), 4, LAPIC + (i << 12));
		mem_write(entry(t) + 12, 4, i & 1);
		mem_write(entry(t), 4, LAPIC);
		EXPECT(answered(t->r));
	}
	EXPECT(interrupts(t));
}

/* An interrupt is no write to memory, whatever its address says. */
static void address_at(const struct trial *t)
{
	volatile uint32_t *ram = mem32(40 << 20);

	*ram = 0x5a5a5a5a;
	route(t, fresh_number(), 0);
	set_entry(t, t->a, (uint32_t)t->b, 0);
	EXPECT(vdev_works(t->d));
	pause_ms(5);
	EXPECT_EQ(*ram, 0x5a5a5a5a);
	EXPECT(interrupts(t));
}

static void table_width(const struct trial *t)
{
	const unsigned width = (unsigned)t->b;
	uint64_t low, high;

	set_entry(t, LAPIC, 0x44, 1);
	low = mem_read(entry(t), 8);
	high = mem_read(entry(t) + 8, 8);
	mem_write(entry(t) + t->a, width, 0);
	mem_write(entry(t) + t->a, width, UINT64_MAX);
	EXPECT_EQ(mem_read(entry(t), 8), low);
	EXPECT_EQ(mem_read(entry(t) + 8, 8), high);
	EXPECT(interrupts(t));
}

static void vector_control(const struct trial *t)
{
	mem_write(entry(t) + 12, 4, UINT32_MAX);
	EXPECT_EQ(mem_read(entry(t) + 12, 4), 1);
	mem_write(entry(t) + 12, 4, UINT32_MAX - 1);
	EXPECT_EQ(mem_read(entry(t) + 12, 4), 0);
	EXPECT(interrupts(t));
}

static void behind_table(const struct trial *t)
{
	for (unsigned off = t->d->n_vectors * 16; off < 0x800; off += 124) {
		mem_write(t->d->table + off, 4, UINT32_MAX);
		EXPECT_EQ(mem_read(t->d->table + off, 4), 0);
	}
	EXPECT(interrupts(t));
}

static void write_pba(const struct trial *t)
{
	mem_write(t->d->pba, 8, UINT64_MAX);
	EXPECT_EQ(mem_read(t->d->pba, 8), 0);
	mem_write(t->d->pba, 4, UINT32_MAX);
	mem_write(t->d->pba + 8, 8, UINT64_MAX);
	EXPECT_EQ(mem_read(t->d->pba, 4), 0);
	EXPECT(interrupts(t));
}

static void enable_garbage(const struct trial *t)
{
	msix_control(t, ENABLE | MASKALL);
	for (unsigned i = 0; i < t->d->n_vectors; i++)
		for (unsigned off = 0; off < 16; off += 4)
			mem_write(t->d->table + i * 16 + off, 4, UINT32_MAX - (off == 12));
	mem_write(t->d->reg[R_DEVICE_SELECT] + 26, 2, QUEUE_VECTOR);
	msix_control(t, ENABLE);
	EXPECT(vdev_works(t->d));
	EXPECT(interrupts(t));
}

static void on_and_off(const struct trial *t)
{
	const struct vbuf buf = { (uint64_t)t->d->buf, 16, D_WRITE };

	route(t, fresh_number(), 0);
	for (unsigned i = 0; i < 200; i++) {
		vring_add(t->r, &buf, 1);
		kick(t->r);
		msix_control(t, i & 1 ? 0 : ENABLE);
		EXPECT(answered(t->r));
	}
	EXPECT(interrupts(t));
}

static const struct hostile cases[] = {
	{ "4.1.5.1 an interrupt, to know that the others can fail", good },
	{ "PCI 6.8.2.9 interrupt of a masked entry", masked_entry },
	{ "PCI 6.8.2.3 interrupt of a masked function", masked_function },
	{ "PCI 6.8.2.3 interrupt with MSI-X switched off", disabled },
	{ "PCI 6.2.2 interrupt without bus mastering", not_master },
	{ "4.1.5.1.2 interrupt of a queue without a vector", no_vector },
	{ "2.4.1 reset with a pending interrupt", pending_at_reset },
	{ "PCI 6.8.2.9 entry masked and unmasked under load", masked_and_unmasked },
	{ "PCI 6.8.2.8 entry rewritten 6000 times", rewrite_often },
	{ "PCI 6.8.2.6 entry rewritten under load", rewrite_under_load },
	{ "PCI 6.8.2.6 message to RAM", address_at, 40 << 20, 0x41 },
	{ "PCI 6.8.2.6 message to the gap", address_at, GAP_START, 0x41 },
	{ "PCI 6.8.2.7 message above 4 GB", address_at, FOUR_GB | LAPIC, 0x41 },
	{ "PCI 6.8.2.6 message to a processor that is not there", address_at, LAPIC | 0xfe000,
	  0x41 },
	{ "PCI 6.8.2.6 message to all, lowest priority", address_at, LAPIC | 0xff008, 0x141 },
	{ "PCI 6.8.2.8 message with a reserved interrupt number", address_at, LAPIC, 3 },
	{ "PCI 6.8.2.8 message with a reserved delivery mode", address_at, LAPIC, 0x300 },
	{ "PCI 6.8.2.8 message with all reserved bits", address_at, LAPIC | 0xff3, 0xffff0041 },
	{ "PCI 6.8.2 a byte of the table", table_width, 8, 1 },
	{ "PCI 6.8.2 a word of the table", table_width, 8, 2 },
	{ "PCI 6.8.2 a misaligned doubleword of the table", table_width, 6, 4 },
	{ "PCI 6.8.2 a misaligned quadword of the table", table_width, 4, 8 },
	{ "PCI 6.8.2.9 reserved bits of the vector control", vector_control },
	{ "PCI 6.8.2 behind the table", behind_table },
	{ "PCI 6.8.2.10 writing the pending bits", write_pba },
	{ "PCI 6.8.2.3 enabled with a table of ones", enable_garbage },
	{ "PCI 6.8.2.3 switched on and off under load", on_and_off },
};

const struct suite msix_suite = {
	.name = "msix", .victim = VIRTIO_RNG, .on = ON_PCI, .cases = cases, .n = N_CASES(cases)
};
