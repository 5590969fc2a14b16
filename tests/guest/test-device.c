/* The test device: what was written reads back, lines are raised, a flush leaves memory as it is. */
#include "guest.h"

#define TEST_PORT   0xe0
#define TEST_FLUSH  0xe4
#define TEST_BYTES  0xe8
#define TEST_LINES  0x2000
#define TEST_MEMORY 0xff000000ULL
#define PIC_MASTER  0x20
#define PIC_SLAVE   0xa0
#define PIC_ELCR    0x4d0
#define LEVEL       (1 << 15) /* of an IOAPIC entry */
#define REMOTE_IRR  (1 << 14)
#define LAPIC_SVR   (LAPIC + 0xf0)
#define LAPIC_IRR   (LAPIC + 0x200)

static void reads_back(void)
{
	out32(TEST_PORT, 0x12345678);
	CHECK_EQ(in32(TEST_PORT), 0x12345678);
	CHECK_EQ(in16(TEST_PORT), 0x5678);
	CHECK_EQ(in8(TEST_PORT), 0x78);
	out16(TEST_PORT, 0xabcd);
	out8(TEST_PORT + 3, 0xef);
	CHECK_EQ(in32(TEST_BYTES), 0xef34abcd);
	*mem64(TEST_MEMORY) = 0x0123456789abcdef;
	*mem16(TEST_MEMORY + 2) = 0x5555;
	*mem8(TEST_MEMORY + 7) = 0xaa;
	CHECK_EQ(*mem64(TEST_MEMORY), 0xaa2345675555cdef);
	*mem32(TEST_MEMORY + 0xfffc) = 0xfeedface;
	CHECK_EQ(*mem32(TEST_MEMORY + 0xfffc), 0xfeedface);
	CHECK_EQ(*mem32(TEST_MEMORY + 0x10000), 0xffffffff);
}

static void flush(void)
{
	static volatile uint32_t word __attribute__((aligned(4096)));

	word = 0x600dd00d;
	out32(TEST_FLUSH, (uint32_t)(uint64_t)&word);
	CHECK_EQ(word, 0x600dd00d);
	word = 1;
	CHECK_EQ(word, 1);
	out32(TEST_FLUSH, 0xfffff000); /* no RAM */
}

static uint32_t ioapic_read(unsigned reg)
{
	*mem32(IOAPIC) = reg;
	return *mem32(IOAPIC + 0x10);
}

static void ioapic_route(unsigned pin, uint32_t low)
{
	*mem32(IOAPIC) = 0x11 + 2 * pin;
	*mem32(IOAPIC + 0x10) = 0; /* CPU 0 */
	*mem32(IOAPIC) = 0x10 + 2 * pin;
	*mem32(IOAPIC + 0x10) = low;
}

/* Interrupts stay off: what the local APIC has been asked is in its IRR. */
static bool asked(unsigned vector)
{
	return *mem32(LAPIC_IRR + vector / 32 * 0x10) >> vector % 32 & 1;
}

static bool at_pic(unsigned irq)
{
	const uint16_t port = irq < 8 ? PIC_MASTER : PIC_SLAVE;

	out8(port, 0x0a); /* OCW3: read the IRR */
	return in8(port) >> irq % 8 & 1;
}

/* INTA of PCI arrives at the PICs too, and as a level: lowered, it is gone. */
static void pci_lines(void)
{
	static const uint8_t irq[] = { 7, 10, 11, 5, 14, 15, 6, 12 };
	unsigned level = 0;

	for (unsigned i = 0; i < sizeof(irq); i++) {
		CHECK(!at_pic(irq[i]));
		out8((uint16_t)(TEST_LINES + 16 + i), 1);
		for (unsigned j = 0; j < sizeof(irq); j++)
			CHECK_EQ(at_pic(irq[j]), i == j);
		out8((uint16_t)(TEST_LINES + 16 + i), 0);
		CHECK(!at_pic(irq[i]));
		level |= 1U << irq[i];
	}
	CHECK_EQ(in8(PIC_ELCR) | in8(PIC_ELCR + 1) << 8, level);
}

static void lines(void)
{
	out8(TEST_LINES + 5, 1);
	CHECK(at_pic(5));
	out8(TEST_LINES + 5, 0);

	*mem32(LAPIC_SVR) = 0x1ff;
	ioapic_route(20, 0x51);
	CHECK(!asked(0x51));
	out8(TEST_LINES + 20, 1);
	CHECK(asked(0x51));
	out8(TEST_LINES + 20, 0);
	CHECK(!(ioapic_read(0x10 + 2 * 20) & REMOTE_IRR));

	ioapic_route(23, 0x52 | LEVEL);
	CHECK(!asked(0x52));
	out8(TEST_LINES + 23, 0xff);
	CHECK(asked(0x52));
	CHECK(ioapic_read(0x10 + 2 * 23) & REMOTE_IRR);
	out8(TEST_LINES + 23, 0);
}

void guest_main(void)
{
	reads_back();
	flush();
	lines();
	pci_lines();
}
