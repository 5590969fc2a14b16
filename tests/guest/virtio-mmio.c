/*
 * virtio over MMIO with KVM's own eventfds: an entropy request goes out by a notification that
 * leaves no vCPU, and its interrupt arrives at the local APIC. The first device is the entropy
 * device, and there is no PCI.
 */
#include "guest.h"

#define DEVICE 0xe1000000
#define GSI    16
#define VECTOR 0x61

#define MAGIC           0x000
#define VERSION         0x004
#define DEVICE_ID       0x008
#define FEATURES        0x010
#define FEATURES_SEL    0x014
#define DRIVER_FEATURES 0x020
#define DRIVER_SEL      0x024
#define QUEUE_SEL       0x030
#define QUEUE_MAX       0x034
#define QUEUE_NUM       0x038
#define QUEUE_READY     0x044
#define QUEUE_NOTIFY    0x050
#define INT_STATUS      0x060
#define INT_ACK         0x064
#define STATUS          0x070
#define QUEUE_DESC      0x080
#define QUEUE_AVAIL     0x090
#define QUEUE_USED      0x0a0

#define ACKNOWLEDGE 1
#define DRIVER      2
#define DRIVER_OK   4
#define FEATURES_OK 8
#define VERSION_1   1 /* bit 32 */

#define IOAPIC_DATA (IOAPIC + 0x10)
#define APIC_SVR    (LAPIC + 0x0f0)
#define APIC_IRR    (LAPIC + 0x200)

/* The ring: 8 descriptors, in low memory that nobody uses */
#define DESC   0x60000
#define AVAIL  0x61000
#define USED   0x62000
#define BUFFER 0x63000
#define BYTES  256

static uint32_t rd(uint32_t reg)
{
	return *mem32(DEVICE + reg);
}

static void wr(uint32_t reg, uint32_t value)
{
	*mem32(DEVICE + reg) = value;
}

static void wr64(uint32_t reg, uint64_t value)
{
	wr(reg, (uint32_t)value);
	wr(reg + 4, (uint32_t)(value >> 32));
}

static void ioapic_write(uint32_t reg, uint32_t value)
{
	*mem32(IOAPIC) = reg;
	*mem32(IOAPIC_DATA) = value;
}

/* Edge triggered, active high, to this CPU, which has interrupts off: they stay pending. */
static void route(void)
{
	*mem32(APIC_SVR) = 0x1ff;
	ioapic_write(0x10 + 2 * GSI + 1, 0);
	ioapic_write(0x10 + 2 * GSI, VECTOR);
}

static bool pending(void)
{
	return *mem32(APIC_IRR + VECTOR / 32 * 16) >> VECTOR % 32 & 1;
}

static void probe(void)
{
	CHECK_EQ(rd(MAGIC), 0x74726976);
	CHECK_EQ(rd(VERSION), 2);
	CHECK_EQ(rd(DEVICE_ID), 4);
	wr(STATUS, 0);
	wr(STATUS, ACKNOWLEDGE);
	wr(STATUS, ACKNOWLEDGE | DRIVER);
	wr(FEATURES_SEL, 1);
	CHECK(rd(FEATURES) & VERSION_1);
	wr(DRIVER_SEL, 0);
	wr(DRIVER_FEATURES, 0);
	wr(DRIVER_SEL, 1);
	wr(DRIVER_FEATURES, VERSION_1);
	wr(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	CHECK(rd(STATUS) & FEATURES_OK);
	wr(QUEUE_SEL, 0);
	CHECK(rd(QUEUE_MAX) >= 8);
	wr(QUEUE_NUM, 8);
	wr64(QUEUE_DESC, DESC);
	wr64(QUEUE_AVAIL, AVAIL);
	wr64(QUEUE_USED, USED);
	wr(QUEUE_READY, 1);
	wr(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
	CHECK_EQ(rd(STATUS), ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

/* Descriptor 0, again and again. */
static void request(unsigned n)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < BYTES / 8; i++)
		*mem64(BUFFER + 8 * i) = 0;
	*mem64(DESC) = BUFFER;
	*mem32(DESC + 8) = BYTES;
	*mem32(DESC + 12) = 2; /* the device writes; no next one */
	*mem16(AVAIL + 4 + 2 * (n % 8)) = 0;
	*mem16(AVAIL + 2) = (uint16_t)(n + 1);
	wr(QUEUE_NOTIFY, 0);
	while (*mem16(USED + 2) != (uint16_t)(n + 1))
		asm volatile("pause");
	CHECK_EQ(*mem32(USED + 4 + 8 * (n % 8)), 0);
	CHECK_EQ(*mem32(USED + 8 + 8 * (n % 8)), BYTES);
	for (unsigned i = 0; i < BYTES / 8; i++)
		bits |= *mem64(BUFFER + 8 * i);
	CHECK_EQ(bits, UINT64_MAX); /* of 32 words: one chance in 2^26 to fail */
}

void guest_main(void)
{
	CHECK_EQ(*mem32(0xe0000000), 0xffffffff); /* no ECAM */
	out32(0xcf8, 0x80000000);
	CHECK_EQ(in32(0xcfc), 0xffffffff);
	CHECK_EQ(*mem32(DEVICE + 0x1000), 0xffffffff); /* no second device */
	route();
	probe();
	CHECK(!pending());
	for (unsigned n = 0; n < 20; n++)
		request(n);
	while (!pending())
		asm volatile("pause");
	CHECK_EQ(rd(INT_STATUS), 1);
	wr(INT_ACK, 1);
	CHECK_EQ(rd(INT_STATUS), 0);
	wr(STATUS, 0);
	CHECK_EQ(rd(STATUS), 0);
	CHECK_EQ(rd(QUEUE_READY), 0);
}
