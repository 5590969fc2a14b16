/* The MADT: which CPUs and interrupt controllers there are. ACPI 6.5, 5.2.12 */
#include "acpi-internal.h"

/* What follows the header */
struct madt {
	uint32_t lapic_address;
	uint32_t flags;
} PACKED;

struct madt_lapic {
	uint8_t type, length;
	uint8_t processor_uid;
	uint8_t apic_id;
	uint32_t flags;
} PACKED;

struct madt_ioapic {
	uint8_t type, length;
	uint8_t id;
	uint8_t reserved;
	uint32_t address;
	uint32_t gsi_base;
} PACKED;

struct madt_override {
	uint8_t type, length;
	uint8_t bus;
	uint8_t source;
	uint32_t gsi;
	uint16_t flags;
} PACKED;

struct madt_lapic_nmi {
	uint8_t type, length;
	uint8_t processor_uid;
	uint16_t flags;
	uint8_t lint;
} PACKED;

struct madt_x2apic {
	uint8_t type, length;
	uint8_t reserved[2];
	uint32_t id;
	uint32_t flags;
	uint32_t processor_uid;
} PACKED;

struct madt_x2apic_nmi {
	uint8_t type, length;
	uint16_t flags;
	uint32_t processor_uid;
	uint8_t lint;
	uint8_t reserved[3];
} PACKED;

enum {
	MADT_LAPIC = 0,
	MADT_IOAPIC = 1,
	MADT_OVERRIDE = 2,
	MADT_LAPIC_NMI = 4,
	MADT_X2APIC = 9,
	MADT_X2APIC_NMI = 10,
};
enum { MADT_PCAT_COMPAT = 1, LAPIC_ENABLED = 1, MADT_ALL_PROCESSORS = 0xff };
#define MADT_ALL_X2APICS 0xffffffff
enum { MPS_INTI_ACTIVE_HIGH = 1, MPS_INTI_LEVEL = 3 << 2 };

/*
 * KVM leaves every interrupt where ISA has it: GSI n is pin n of the IOAPIC, the timer's 0 too
 * (its default routing table). So the SCI is the only one to differ from its bus: level triggered.
 */
static void put_interrupts(struct bytebuf *b, const struct hardware *hw, bool wide)
{
	const uint8_t sci_gsi = hw_find(hw, HW_POWER)->gsi;
	const struct madt_ioapic ioapic = {
		.type = MADT_IOAPIC,
		.length = sizeof(ioapic),
		.address = (uint32_t)hw_find(hw, HW_IOAPIC)->memory.base,
	};
	const struct madt_override sci = {
		.type = MADT_OVERRIDE,
		.length = sizeof(sci),
		.source = sci_gsi,
		.gsi = sci_gsi,
		.flags = MPS_INTI_ACTIVE_HIGH | MPS_INTI_LEVEL,
	};
	const struct madt_lapic_nmi nmi = {
		.type = MADT_LAPIC_NMI,
		.length = sizeof(nmi),
		.processor_uid = MADT_ALL_PROCESSORS,
		.lint = 1,
	};
	const struct madt_x2apic_nmi wide_nmi = {
		.type = MADT_X2APIC_NMI,
		.length = sizeof(wide_nmi),
		.processor_uid = MADT_ALL_X2APICS,
		.lint = 1,
	};

	bytebuf_put(b, &ioapic, sizeof(ioapic));
	bytebuf_put(b, &sci, sizeof(sci));
	bytebuf_put(b, &nmi, sizeof(nmi));
	if (wide)
		bytebuf_put(b, &wide_nmi, sizeof(wide_nmi));
}

/* 5.2.12.12: a CPU has the entry that its id fits into, never both. */
static void put_cpu(struct bytebuf *b, unsigned cpu, uint32_t id)
{
	const struct madt_lapic lapic = {
		.type = MADT_LAPIC,
		.length = sizeof(lapic),
		.processor_uid = (uint8_t)cpu,
		.apic_id = (uint8_t)id,
		.flags = LAPIC_ENABLED,
	};
	const struct madt_x2apic x2apic = {
		.type = MADT_X2APIC,
		.length = sizeof(x2apic),
		.id = id,
		.flags = LAPIC_ENABLED,
		.processor_uid = cpu,
	};

	if (id < XAPIC_IDS)
		bytebuf_put(b, &lapic, sizeof(lapic));
	else
		bytebuf_put(b, &x2apic, sizeof(x2apic));
}

size_t acpi_put_madt(struct bytebuf *b, const struct hardware *hw)
{
	const struct madt madt = {
		.lapic_address = (uint32_t)hw_find(hw, HW_LAPIC)->memory.base,
		.flags = MADT_PCAT_COMPAT,
	};
	size_t at = acpi_table_begin(b, "APIC", 5);

	bytebuf_put(b, &madt, sizeof(madt));
	for (unsigned i = 0; i < hw->cpus; i++)
		put_cpu(b, i, topology_apic_id(&hw->topology, i));
	put_interrupts(b, hw, topology_apic_id(&hw->topology, hw->cpus - 1) >= XAPIC_IDS);
	acpi_table_end(b, at);
	return at;
}
