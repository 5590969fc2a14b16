/*
 * Intel's MultiProcessor table, for kernels that do not use ACPI: CPUs, IOAPIC, and which interrupt is
 * which of its pins. vm/boot.c calls it once, on the main thread, before any vCPU runs.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "lkvm/x86/acpi.h"
#include "lkvm/x86/aml.h"
#include "lkvm/x86/layout.h"

#define PACKED __attribute__((packed))

/* MP 1.4, 4.1 */
struct mp_floating {
	char signature[4];
	uint32_t table;
	uint8_t length; /* in units of 16 bytes */
	uint8_t revision;
	uint8_t checksum;
	uint8_t feature[5]; /* all 0: there is a table, and virtual wire mode */
} PACKED;

/* 4.2 */
struct mp_header {
	char signature[4];
	uint16_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[8];
	char product_id[12];
	uint32_t oem_table;
	uint16_t oem_table_size;
	uint16_t n_entries;
	uint32_t lapic;
	uint16_t extended_length;
	uint8_t extended_checksum;
	uint8_t reserved;
} PACKED;

/* 4.3.1 to 4.3.5 */
struct mp_processor {
	uint8_t type;
	uint8_t apic_id;
	uint8_t apic_version;
	uint8_t flags;
	uint32_t signature;
	uint32_t features;
	uint32_t reserved[2];
} PACKED;

struct mp_bus {
	uint8_t type;
	uint8_t id;
	char name[6];
} PACKED;

struct mp_ioapic {
	uint8_t type;
	uint8_t id;
	uint8_t version;
	uint8_t flags;
	uint32_t address;
} PACKED;

struct mp_interrupt {
	uint8_t type;
	uint8_t interrupt;
	uint16_t flags;
	uint8_t bus;
	uint8_t bus_irq;
	uint8_t apic;
	uint8_t pin;
} PACKED;

enum { MP_PROCESSOR, MP_BUS, MP_IOAPIC, MP_IO_INTERRUPT, MP_LOCAL_INTERRUPT };
enum { INT_VECTORED = 0, INT_NMI = 1, INT_EXTINT = 3 };
enum { FLAGS_AS_BUS = 0, FLAGS_ACTIVE_HIGH_LEVEL = 1 | 3 << 2 };
enum { CPU_ENABLED = 1, CPU_BOOT = 2, IOAPIC_ENABLED = 1 };

#define MP_REVISION    4 /* 1.4 */
#define LAPIC_VERSION  0x14
/*
 * KVM's after reset. Not 1: that is what Linux calls the IOAPIC of a device tree, and it would look for
 * this table's interrupts there, where its code does not expect them; 6.1 panics.
 */
#define IOAPIC_ID      0
#define IOAPIC_VERSION 0x11
#define ALL_LAPICS     0xff
#define BUS_PCI        0 /* its number in the machine, as MP 1.4, D.3 asks for */
#define BUS_ISA        1
#define PCI_DEVICES    32
#define PCI_INTA       0
#define N_ISA_IRQS     16
#define ISA_CASCADE    2 /* of the two PICs: no device there */
#define FEATURE_FPU    (1u << 0)
#define FEATURE_APIC   (1u << 9)
#define ANY_SIGNATURE  0x600 /* kernels ask CPUID */

/* The BIOS data area's words that lead to the EBDA, and the EBDA's own first byte */
#define BDA_EBDA_SEGMENT 0x40e
#define BDA_BASE_KIB     0x413
#define EBDA_KIB         1
#define EBDA_FLOATING    16 /* where in it the pointer stands */

/* Of CPUs whose ids fit: the rest is for kernels that read the MADT. Return: how many */
static unsigned put_processors(struct bytebuf *b, const struct hardware *hw)
{
	unsigned i;

	for (i = 0; i < hw->cpus && topology_apic_id(&hw->topology, i) < XAPIC_IDS; i++) {
		const struct mp_processor cpu = {
			.type = MP_PROCESSOR,
			.apic_id = (uint8_t)topology_apic_id(&hw->topology, i),
			.apic_version = LAPIC_VERSION,
			.flags = i ? CPU_ENABLED : CPU_ENABLED | CPU_BOOT,
			.signature = ANY_SIGNATURE,
			.features = FEATURE_FPU | FEATURE_APIC,
		};

		bytebuf_put(b, &cpu, sizeof(cpu));
	}
	return i;
}

/* As the MADT says it: ISA interrupt n is pin n, and only the SCI is not what its bus is. */
static unsigned put_isa_interrupts(struct bytebuf *b, const struct hardware *hw)
{
	const unsigned sci = hw_find(hw, HW_POWER)->gsi;
	unsigned n = 0;

	for (unsigned irq = 0; irq < N_ISA_IRQS; irq++) {
		const struct mp_interrupt entry = {
			.type = MP_IO_INTERRUPT,
			.interrupt = INT_VECTORED,
			.flags = irq == sci ? FLAGS_ACTIVE_HIGH_LEVEL : FLAGS_AS_BUS,
			.bus = BUS_ISA,
			.bus_irq = (uint8_t)irq,
			.apic = IOAPIC_ID,
			.pin = (uint8_t)irq,
		};

		if (irq == ISA_CASCADE)
			continue;
		bytebuf_put(b, &entry, sizeof(entry));
		n++;
	}
	return n;
}

/* As the DSDT's _PRT says it. A source is device << 2 | pin: D.3 */
static unsigned put_pci_interrupts(struct bytebuf *b)
{
	for (unsigned device = 0; device < PCI_DEVICES; device++) {
		const struct mp_interrupt entry = {
			.type = MP_IO_INTERRUPT,
			.interrupt = INT_VECTORED,
			.flags = FLAGS_ACTIVE_HIGH_LEVEL,
			.bus = BUS_PCI,
			.bus_irq = (uint8_t)(device << 2 | PCI_INTA),
			.apic = IOAPIC_ID,
			.pin = (uint8_t)(GSI_PCI_FIRST + device % GSI_PCI_PINS),
		};

		bytebuf_put(b, &entry, sizeof(entry));
	}
	return PCI_DEVICES;
}

/* KVM wires the PIC to LINT0 of the boot CPU (not to a pin of the IOAPIC), NMI to all LINT1. */
static unsigned put_local_interrupts(struct bytebuf *b)
{
	const struct mp_interrupt entry[] = {
		{ .type = MP_LOCAL_INTERRUPT, .interrupt = INT_EXTINT, .apic = 0, .pin = 0 },
		{ .type = MP_LOCAL_INTERRUPT, .interrupt = INT_NMI, .apic = ALL_LAPICS, .pin = 1 },
	};

	bytebuf_put(b, entry, sizeof(entry));
	return ARRAY_SIZE(entry);
}

/* Return: number of entries, sorted by type as 4.3 asks for */
static unsigned put_entries(struct bytebuf *b, const struct hardware *hw)
{
	static const struct mp_bus pci = { .type = MP_BUS, .id = BUS_PCI, .name = "PCI   " };
	static const struct mp_bus isa = { .type = MP_BUS, .id = BUS_ISA, .name = "ISA   " };
	const struct mp_ioapic ioapic = {
		.type = MP_IOAPIC,
		.id = IOAPIC_ID,
		.version = IOAPIC_VERSION,
		.flags = IOAPIC_ENABLED,
		.address = (uint32_t)hw_find(hw, HW_IOAPIC)->memory.base,
	};
	const bool has_pci = hw_find(hw, HW_PCI);
	unsigned n = put_processors(b, hw) + 2;

	if (has_pci) {
		bytebuf_put(b, &pci, sizeof(pci));
		n++;
	}
	bytebuf_put(b, &isa, sizeof(isa));
	bytebuf_put(b, &ioapic, sizeof(ioapic));
	n += put_isa_interrupts(b, hw);
	if (has_pci)
		n += put_pci_interrupts(b);
	n += put_local_interrupts(b);
	return n;
}

static void put_table(struct bytebuf *b, const struct hardware *hw)
{
	struct mp_header h = {
		.revision = MP_REVISION,
		.lapic = (uint32_t)hw_find(hw, HW_LAPIC)->memory.base,
	};

	memcpy(h.signature, "PCMP", sizeof(h.signature));
	memcpy(h.oem_id, "LKVM    ", sizeof(h.oem_id));
	memcpy(h.product_id, "LKVM        ", sizeof(h.product_id));
	bytebuf_put(b, &h, sizeof(h));
	h.n_entries = (uint16_t)put_entries(b, hw);
	if (bytebuf_full(b))
		return;
	h.length = (uint16_t)b->len;
	memcpy(b->data, &h, sizeof(h));
	h.checksum = (uint8_t)-bytebuf_sum(b, 0, b->len);
	memcpy(b->data, &h, sizeof(h));
}

static int write_floating(struct ram *ram, uint64_t table)
{
	struct mp_floating mp = {
		.table = (uint32_t)table,
		.length = sizeof(mp) / 16,
		.revision = MP_REVISION,
	};
	const struct bytebuf b = { .data = (uint8_t *)&mp, .cap = sizeof(mp), .len = sizeof(mp) };

	memcpy(mp.signature, "_MP_", sizeof(mp.signature));
	mp.checksum = (uint8_t)-bytebuf_sum(&b, 0, sizeof(mp));
	return ram_write(ram, GPA(LAYOUT_EBDA + EBDA_FLOATING), &mp, sizeof(mp));
}

static int write_ebda(struct ram *ram)
{
	const uint16_t segment = LAYOUT_EBDA >> 4, base_kib = LAYOUT_EBDA / KIB;
	const uint8_t ebda_kib = EBDA_KIB;
	int err;

	err = ram_write(ram, GPA(BDA_EBDA_SEGMENT), &segment, sizeof(segment));
	if (!err)
		err = ram_write(ram, GPA(BDA_BASE_KIB), &base_kib, sizeof(base_kib));
	if (!err)
		err = ram_write(ram, GPA(LAYOUT_EBDA), &ebda_kib, sizeof(ebda_kib));
	return err;
}

int mptable_build(struct ram *ram, const struct hardware *hw, gpa_t at, gpa_t *ret_end)
{
	struct bytebuf b = { 0 };
	uint64_t start;
	void *host;
	int err;

	assert(hw->cpus >= 1 && hw->cpus <= MAX_VCPUS);
	if (at.v >= LAYOUT_BIOS_END)
		return -ENOSPC;
	start = ALIGN_UP(at.v, 16);
	b.cap = LAYOUT_BIOS_END - start;
	err = ram_window(ram, GPA(start), b.cap, 16, &host);
	if (err)
		return err;
	b.data = host;
	put_table(&b, hw);
	if (bytebuf_full(&b))
		return -ENOSPC;
	err = write_ebda(ram);
	if (!err)
		err = write_floating(ram, start);
	if (!err)
		*ret_end = GPA(start + b.len);
	return err;
}
