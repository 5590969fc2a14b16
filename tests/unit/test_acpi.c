/* Links: x86/tables/acpi.o x86/tables/acpi-madt.o x86/tables/acpi-numa.o x86/tables/numa.o x86/tables/acpi-pci.o x86/tables/acpi-virtio.o x86/tables/acpi-vmgenid.o x86/tables/aml.o hw/ram.o hw/ram-fault.o hw/ram-log.o hw/ram-plug.o */
#include "lkvm/x86/acpi.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hardware-rig.h"
#include "lkvm/virtio-mmio.h"
#include "lkvm/x86/aml.h"
#include "lkvm/x86/layout.h"
#include "lkvm/x86/numa.h"
#include "ram-base.h"
#include "unit.h"

static struct ram *ram;
static uint64_t rsdp, end;

static int make_ram(uint64_t bytes)
{
	static const struct ram_config plain;
	struct ram_backing backing = { .fd = -1, .advice = &plain };

	return ram_new(bytes, &backing, &ram);
}

/* The tables in memory that holds something else already, as a file used as RAM may. */
static void build(const struct hardware *hw)
{
	gpa_t at = GPA(0), past = GPA(0);

	ck_assert_int_eq(make_ram(2 * MIB), 0);
	memset(ram_base(ram), 0xa5, 2 * MIB);
	ck_assert_int_eq(acpi_build(ram, hw, &at, &past), 0);
	rsdp = at.v;
	end = past.v;
}

static const struct virtio_mmio_place places[] = { { 0xe1000000, 23 }, { 0xe1001000, 5 } };

/* No machine has both PCI and virtio over MMIO, but tables may. */
static struct hardware full(void)
{
	struct hardware hw = rig_hardware(2, RIG_ALL);

	hw.virtio_mmio = places;
	hw.n_virtio_mmio = ARRAY_SIZE(places);
	return hw;
}

static void build_full(void)
{
	struct hardware hw = full();

	build(&hw);
}

static uint64_t get(uint64_t at, unsigned n)
{
	uint64_t v = 0;

	ck_assert_int_eq(ram_read(ram, GPA(at), &v, n), 0);
	return v;
}

static unsigned sum(uint64_t at, uint64_t n)
{
	unsigned s = 0;

	for (uint64_t i = 0; i < n; i++)
		s += (unsigned)get(at + i, 1);
	return s & 0xff;
}

static bool is(uint64_t at, const char *text)
{
	return !memcmp(ram_base(ram) + at, text, strlen(text));
}

/* Address of a table, found as a kernel finds it. */
static uint64_t find(const char *signature)
{
	uint64_t xsdt = get(rsdp + 24, 8);
	uint64_t n = (get(xsdt + 4, 4) - 36) / 8;

	ck_assert(is(xsdt, "XSDT"));
	ck_assert_uint_lt(n, 64);
	if (!strcmp(signature, "XSDT"))
		return xsdt;
	for (uint64_t i = 0; i < n; i++)
		if (is(get(xsdt + 36 + 8 * i, 8), signature))
			return get(xsdt + 36 + 8 * i, 8);
	ck_assert_str_eq(signature, "DSDT");
	return get(find("FACP") + 140, 8);
}

#define check_bytes(at, ...)                                                                       \
	do {                                                                                       \
		static const uint8_t want[] = { __VA_ARGS__ };                                     \
		ck_assert_mem_eq(ram_base(ram) + (at), want, sizeof(want));                             \
	} while (0)

START_TEST(test_rsdp)
{
	build_full();
	ck_assert_uint_eq(rsdp, 0xe0000);
	ck_assert(is(rsdp, "RSD PTR "));
	ck_assert_uint_eq(get(rsdp + 15, 1), 2);
	ck_assert_uint_eq(get(rsdp + 20, 4), 36);
	ck_assert_uint_eq(sum(rsdp, 20), 0);
	ck_assert_uint_eq(sum(rsdp, 36), 0);
	ck_assert_uint_eq(get(rsdp + 16, 4), 0); /* no RSDT */
	ck_assert_uint_eq(get(rsdp + 33, 3), 0);
}
END_TEST

START_TEST(test_headers)
{
	static const struct {
		const char *signature;
		unsigned revision;
	} table[] = { { "XSDT", 1 }, { "FACP", 6 }, { "APIC", 5 }, { "MCFG", 1 }, { "DSDT", 2 } };

	build_full();
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		uint64_t at = find(table[i].signature);
		uint64_t len = get(at + 4, 4);

		ck_assert(is(at, table[i].signature));
		ck_assert_uint_eq(at % 16, 0);
		ck_assert_uint_ge(at, LAYOUT_BIOS);
		ck_assert_uint_ge(len, 36);
		ck_assert_uint_le(at + len, end);
		ck_assert_uint_eq(get(at + 8, 1), table[i].revision);
		ck_assert_uint_eq(sum(at, len), 0);
		ck_assert(is(at + 10, "LKVM  LKVM    "));
	}
	ck_assert_uint_le(end, LAYOUT_BIOS_END);
	ck_assert_uint_eq(get(find("XSDT") + 4, 4), 36 + 3 * 8);
	ck_assert_uint_eq(get(end, 1), 0xa5); /* nothing was written behind them */
}
END_TEST

/* Offsets are those of ACPI 6.4, table 5.9. */
START_TEST(test_fadt)
{
	static const struct {
		unsigned offset, bytes;
		uint64_t want;
	} field[] = {
		{ 4, 4, 276 },         /* length */
		{ 45, 1, 1 },          /* desktop */
		{ 46, 2, 9 },          /* SCI_INT */
		{ 48, 4, 0 },          /* SMI_CMD */
		{ 52, 4, 0 },          /* ACPI_ENABLE ... PSTATE_CNT */
		{ 56, 4, 0x600 },      /* PM1a_EVT_BLK */
		{ 60, 4, 0 },          /* PM1b_EVT_BLK */
		{ 64, 4, 0x604 },      /* PM1a_CNT_BLK */
		{ 68, 8, 0 },          /* PM1b_CNT_BLK, PM2_CNT_BLK */
		{ 76, 4, 0x608 },      /* PM_TMR_BLK */
		{ 80, 8, 0 },          /* GPE0_BLK, GPE1_BLK */
		{ 88, 4, 0x04000204 }, /* PM1_EVT_LEN 4, PM1_CNT_LEN 2, PM2_CNT_LEN 0, PM_TMR_LEN 4
					*/
		{ 92, 4, 0 },
		{ 96, 4, 0x0fff0fff },  /* no C2, no C3 */
		{ 108, 1, 0x32 },       /* CENTURY */
		{ 109, 2, 0x5 },        /* IAPC_BOOT_ARCH: legacy devices, no 8042, no VGA */
		{ 112, 4, 0x565 },      /* flags */
		{ 116, 4, 0x01000801 }, /* RESET_REG: I/O, 8 bits, byte access */
		{ 120, 8, 0x60c },
		{ 128, 1, 6 },          /* RESET_VALUE */
		{ 131, 1, 4 },          /* minor version */
		{ 132, 8, 0 },          /* X_FIRMWARE_CTRL: the 32-bit field is used */
		{ 148, 4, 0x02002001 }, /* X_PM1a_EVT_BLK: I/O, 32 bits, word access */
		{ 152, 8, 0x600 },
		{ 172, 4, 0x02001001 }, /* X_PM1a_CNT_BLK: I/O, 16 bits, word access */
		{ 176, 8, 0x604 },
		{ 208, 4, 0x03002001 }, /* X_PM_TMR_BLK: I/O, 32 bits, dword access */
		{ 212, 8, 0x608 },
		{ 244, 8, 0 },          /* sleep registers: of reduced hardware only */
		{ 268, 8, 0x4d564b4c }, /* "LKVM" */
	};
	uint64_t fadt, facs;

	build_full();
	fadt = find("FACP");
	for (size_t i = 0; i < ARRAY_SIZE(field); i++)
		ck_assert_msg(get(fadt + field[i].offset, field[i].bytes) == field[i].want,
			      "offset %u: %#llx, not %#llx", field[i].offset,
			      (unsigned long long)get(fadt + field[i].offset, field[i].bytes),
			      (unsigned long long)field[i].want);
	ck_assert_uint_eq(get(fadt + 40, 4), find("DSDT"));
	facs = get(fadt + 36, 4);
	ck_assert_uint_eq(facs % 64, 0);
	ck_assert(is(facs, "FACS"));
	ck_assert_uint_eq(get(facs + 4, 4), 64);
	ck_assert_uint_eq(get(facs + 32, 1), 2);
	for (unsigned i = 8; i < 64; i++)
		ck_assert_uint_eq(get(facs + i, 1), i == 32 ? 2 : 0);
}
END_TEST

START_TEST(test_madt)
{
	uint64_t madt;

	build_full();
	madt = find("APIC");
	ck_assert_uint_eq(get(madt + 4, 4), 44 + 2 * 8 + 12 + 10 + 6);
	/* clang-format off */
	check_bytes(madt + 36,
		0x00, 0x00, 0xe0, 0xfe, 0x01, 0x00, 0x00, 0x00,	/* LAPICs' address; there are two PICs too */
		0, 8, 0, 0, 1, 0, 0, 0,				/* CPU 0, enabled */
		0, 8, 1, 1, 1, 0, 0, 0,				/* CPU 1 */
		1, 12, 0, 0, 0x00, 0x00, 0xc0, 0xfe, 0, 0, 0, 0, /* IOAPIC 0, from GSI 0 on */
		2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0,		/* ISA 9 is GSI 9, active high, level */
		4, 6, 0xff, 0, 0, 1);				/* NMI is every CPU's LINT1 */
	/* clang-format on */
}
END_TEST

START_TEST(test_most_cpus)
{
	struct hardware hw = full();
	uint64_t madt;

	hw.cpus = 255;
	build(&hw);
	madt = find("APIC");
	ck_assert_uint_eq(get(madt + 4, 4), 44 + 255 * 8 + 12 + 10 + 6);
	ck_assert_uint_eq(sum(madt, get(madt + 4, 4)), 0);
	for (unsigned i = 0; i < 255; i++) {
		ck_assert_uint_eq(get(madt + 44 + 8 * i, 2), 0x0800);
		ck_assert_uint_eq(get(madt + 46 + 8 * i, 2), i << 8 | i);
	}
	ck_assert_uint_eq(get(madt + 44 + 8 * 255, 2), 0x0c01);
	ck_assert_uint_le(end, LAYOUT_BIOS_END);
}
END_TEST

/* Ids that do not fit xAPIC mode have entries of x2APIC's, and NMI has both. */
START_TEST(test_wide_ids)
{
	struct hardware hw = full();
	uint64_t madt, at;

	hw.cpus = 300;
	build(&hw);
	madt = find("APIC");
	at = madt + 44 + 255 * 8;
	ck_assert_uint_eq(get(madt + 4, 4), 44 + 255 * 8 + 45 * 16 + 12 + 10 + 6 + 12);
	check_bytes(at, 9, 16, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 255, 0, 0, 0);
	check_bytes(at + 44 * 16, 9, 16, 0, 0, 0x2b, 1, 0, 0, 1, 0, 0, 0, 0x2b, 1, 0, 0);
	check_bytes(at + 45 * 16 + 12 + 10,
		4, 6, 0xff, 0, 0, 1,
		10, 12, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0);
}
END_TEST

/* Three cores take two bits. */
START_TEST(test_ids_of_sockets)
{
	struct hardware hw = full();
	uint64_t madt;

	hw.cpus = 6;
	hw.topology = (struct cpu_topology){ 2, 1, 3, 1 };
	build(&hw);
	madt = find("APIC");
	check_bytes(madt + 44 + 2 * 8, 0, 8, 2, 2, 1, 0, 0, 0, 0, 8, 3, 4, 1, 0, 0, 0);
}
END_TEST

/* Two nodes: 4 GB around the gap with CPU 0, and 1 GB more; CPU 1, in a node of its own, has no RAM. */
static struct numa nodes;

static void build_numa(bool speeds)
{
	struct hardware hw = full();

	nodes = (struct numa){ .n = 3, .n_cpus = 2, .bytes = { 4 * GIB, GIB }, .node = { 0, 2 } };
	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k < 3; k++) {
			nodes.distance[numa_pair(i, k)] = (uint8_t)(i == k ? 10 : 11 + i + k);
			nodes.latency_ns[numa_pair(i, k)] = speeds ? 100 + 10 * i + k : 0;
			nodes.bandwidth_mb[numa_pair(i, k)] = speeds ? 655340 + i : 0;
		}
	hw.numa = &nodes;
	build(&hw);
}

START_TEST(test_numa)
{
	uint64_t at;

	build_numa(false);
	at = find("SRAT");
	ck_assert_uint_ge(at, LAYOUT_NUMA);
	ck_assert_uint_eq(get(at + 4, 4), 48 + 2 * 16 + 3 * 40);
	ck_assert_uint_eq(sum(at, get(at + 4, 4)), 0);
	/* clang-format off */
	check_bytes(at + 36,
		1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 16, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,	/* APIC id 0 in domain 0 */
		0, 16, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,	/* 1 in 2 */
		1, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xd0, 0, 0, 0, 0,
		0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		1, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x30, 0, 0, 0, 0,
		0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		1, 40, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x30, 1, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0,
		0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	at = find("SLIT");
	ck_assert_uint_eq(get(at + 4, 4), 36 + 8 + 9);
	check_bytes(at + 36, 3, 0, 0, 0, 0, 0, 0, 0, 10, 12, 13, 12, 10, 14, 13, 14, 10);
	/* clang-format on */
	ck_assert_uint_eq(get(find("XSDT") + 4, 4), 36 + 8 * 5); /* and no HMAT */
}
END_TEST

START_TEST(test_hmat)
{
	uint64_t at;

	build_numa(true);
	at = find("HMAT");
	ck_assert_uint_eq(get(at + 4, 4), 40 + 2 * 40 + 2 * (32 + 8 + 8 + 8));
	ck_assert_uint_eq(sum(at, get(at + 4, 4)), 0);
	/* clang-format off */
	check_bytes(at + 40, /* whose CPUs are nearest: domain 1 has none */
		0, 0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		1, 0, 0, 0, 56, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, /* latency */
		0, 0, 0, 0, 0xe8, 3, 0, 0, 0, 0, 0, 0,			/* in 1000 ps */
		0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0,		/* domains 0 and 2 ask 0 and 1 */
		100, 0, 101, 0, 120, 0, 121, 0,
		1, 0, 0, 0, 56, 0, 0, 0, 0, 3, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, /* bandwidth */
		0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0,			/* in 10 MB/s, as it is large */
		0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0,
		0xfe, 0xff, 0xfe, 0xff, 0xfe, 0xff, 0xfe, 0xff);
	/* clang-format on */
}
END_TEST

/* The most of all: it fits, and ids that need it have entries of x2APIC's. */
START_TEST(test_most_numa)
{
	struct hardware hw = full();
	uint64_t at;

	nodes = (struct numa){ .n = NUMA_NODES, .n_cpus = MAX_VCPUS };
	for (unsigned i = 0; i < MAX_VCPUS; i++)
		nodes.node[i] = i % NUMA_NODES;
	for (unsigned i = 0; i < NUMA_NODES; i++)
		nodes.bytes[i] = GIB;
	for (unsigned i = 0; i < NUMA_NODES * NUMA_NODES; i++)
		nodes.latency_ns[i] = nodes.bandwidth_mb[i] = 7;
	hw.numa = &nodes;
	hw.cpus = MAX_VCPUS;
	hw.virtio_mmio = NULL;
	hw.n_virtio_mmio = 0;
	build(&hw);
	at = find("SRAT");
	ck_assert_uint_eq(get(at + 4, 4), 48 + 255 * 16 + (MAX_VCPUS - 255) * 24 + 65 * 40);
	check_bytes(at + 48 + 255 * 16,
		2, 24, 0, 0, 63, 0, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	ck_assert_uint_le(find("HMAT") + get(find("HMAT") + 4, 4), LAYOUT_BIOS);
}
END_TEST

START_TEST(test_dsdt)
{
	struct hardware hw = rig_hardware(1, RIG_COM1);
	uint64_t dsdt;

	build(&hw);
	dsdt = find("DSDT");
	/* clang-format off */
	check_bytes(dsdt + 36,
		0x08, '_', 'S', '5', '_', 0x12, 0x07, 0x04, 0x0a, 0x05, 0x00, 0x00, 0x00,
		/* 110 bytes: the length itself 2, the name 4, two devices of 52 */
		0x10, 0x4e, 0x06, '_', 'S', 'B', '_',
		/* 50 bytes: the length itself 1, name 4, _HID 10, _UID 6, _STA 7, _CRS 22 */
		0x5b, 0x82, 0x32, 'C', 'O', 'M', '1',
		0x08, '_', 'H', 'I', 'D', 0x0c, 0x41, 0xd0, 0x05, 0x01,
		0x08, '_', 'U', 'I', 'D', 0x01,
		0x08, '_', 'S', 'T', 'A', 0x0a, 0x0f,
		0x08, '_', 'C', 'R', 'S', 0x11, 0x10, 0x0a, 0x0d,
		0x47, 0x01, 0xf8, 0x03, 0xf8, 0x03, 0x01, 0x08,
		0x22, 0x10, 0x00,
		0x79, 0x00,
		0x5b, 0x82, 0x32, 'R', 'T', 'C', '0',
		0x08, '_', 'H', 'I', 'D', 0x0c, 0x41, 0xd0, 0x0b, 0x00,
		0x08, '_', 'U', 'I', 'D', 0x00);
	/* clang-format on */
	ck_assert_uint_eq(get(dsdt + 4, 4), 36 + 13 + 1 + 110);
}
END_TEST

START_TEST(test_mcfg)
{
	struct hardware hw = full();
	uint64_t mcfg;

	build_full();
	mcfg = find("MCFG");
	ck_assert_uint_eq(get(mcfg + 4, 4), 60);
	/* clang-format off */
	check_bytes(mcfg + 36,
		0, 0, 0, 0, 0, 0, 0, 0,
		0x00, 0x00, 0x00, 0xe0, 0, 0, 0, 0,	/* where bus 0 is */
		0, 0, 0, 0, 0, 0, 0, 0);		/* segment 0, buses 0 to 0 */
	/* clang-format on */
	ram_free(ram);
	hw = rig_hardware(2, RIG_ALL & ~RIG_PCI);
	build(&hw);
	ck_assert_uint_eq(get(find("XSDT") + 4, 4), 36 + 2 * 8);
}
END_TEST

static bool dsdt_has(const char *name)
{
	const uint64_t dsdt = get(find("FACP") + 40, 4);
	const uint8_t *at = ram_host(ram, GPA(dsdt), get(dsdt + 4, 4));

	return memmem(at, get(dsdt + 4, 4), name, 4);
}

/* A bridge that has none: no table, no window that is reserved, no features of PCI Express to be had */
START_TEST(test_no_ecam)
{
	struct hardware hw = full();

	build(&hw);
	ck_assert(dsdt_has("ECAM") && dsdt_has("_OSC") && dsdt_has("\x41\xd0\x0a\x08") && dsdt_has("\x41\xd0\x0a\x03"));
	ram_free(ram);
	for (unsigned i = 0; i < hw.n_rows; i++)
		if (hw.row[i].role == HW_PCI)
			hw.row[i].memory.size = 0;
	build(&hw);
	ck_assert_uint_eq(get(find("XSDT") + 4, 4), 36 + 2 * 8);
	ck_assert(!dsdt_has("ECAM") && !dsdt_has("_OSC") && !dsdt_has("\x41\xd0\x0a\x08"));
	ck_assert(dsdt_has("\x41\xd0\x0a\x03") && dsdt_has("_PRT"));
	ram_free(ram);
}
END_TEST

/* Where these bytes are in the DSDT; each must be there once. */
static uint64_t find_bytes(const void *bytes, size_t n)
{
	uint64_t dsdt = find("DSDT"), len = get(dsdt + 4, 4);
	const uint8_t *at = memmem(ram_base(ram) + dsdt, len, bytes, n);

	ck_assert_ptr_nonnull(at);
	ck_assert_ptr_null(memmem(at + 1, (size_t)(ram_base(ram) + dsdt + len - at - 1), bytes, n));
	return (uint64_t)(at - ram_base(ram));
}

START_TEST(test_pci_bridge)
{
	/* clang-format off */
	static const uint8_t bridge[] = {
		'P', 'C', 'I', '0',
		0x08, '_', 'H', 'I', 'D', 0x0c, 0x41, 0xd0, 0x0a, 0x08,
		0x08, '_', 'C', 'I', 'D', 0x0c, 0x41, 0xd0, 0x0a, 0x03,
		0x08, '_', 'U', 'I', 'D', 0x00,
		0x08, '_', 'C', 'R', 'S', 0x11, 0x46, 0x07, 0x0a, 0x72,
		/* bus 0 to 0 */
		0x88, 13, 0, 2, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
		0x47, 0x01, 0xf8, 0x0c, 0xf8, 0x0c, 0x01, 0x08,
		/* ports 0xc000 to 0xffff */
		0x88, 13, 0, 1, 0x0c, 3, 0, 0, 0x00, 0xc0, 0xff, 0xff, 0, 0, 0x00, 0x40,
		/* 0xd0000000 to 0xdfffffff */
		0x87, 23, 0, 0, 0x0c, 1, 0, 0, 0, 0, 0, 0, 0, 0xd0, 0xff, 0xff, 0xff, 0xdf,
		0, 0, 0, 0, 0, 0, 0, 0x10,
		/* 0x140000000 to 0xfffffffff */
		0x8a, 43, 0, 0, 0x0c, 1, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0x40, 0x01, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0x0e, 0, 0, 0,
		0x79, 0x00,
		0x08, '_', 'P', 'R', 'T', 0x12,
	};
	static const uint8_t ecam[] = {
		'E', 'C', 'A', 'M',
		0x08, '_', 'H', 'I', 'D', 0x0c, 0x41, 0xd0, 0x0c, 0x02,
		0x08, '_', 'U', 'I', 'D', 0x00,
		0x08, '_', 'C', 'R', 'S', 0x11, 0x11, 0x0a, 0x0e,
		0x86, 9, 0, 1, 0, 0, 0, 0xe0, 0, 0, 0x10, 0,
		0x79, 0x00,
	};
	/* clang-format on */
	uint64_t at;

	build_full();
	find_bytes(ecam, sizeof(ecam));
	at = find_bytes(bridge, sizeof(bridge)) + sizeof(bridge);
	ck_assert_uint_eq(get(at + 2, 1), 32);
	at += 3;
	for (unsigned i = 0; i < 32; i++) {
		uint8_t want[] = { 0x12, 0x0b, 4, 0x0c, 0xff, 0xff, (uint8_t)i, 0, 0x00, 0x00,
				   0x0a, (uint8_t)(16 + i % 8) };

		if (!i) { /* the address is short enough for a word */
			const uint8_t first[] = { 0x12, 0x09, 4, 0x0b, 0xff, 0xff, 0, 0, 0x0a, 16 };

			ck_assert_mem_eq(ram_base(ram) + at, first, sizeof(first));
			at += sizeof(first);
			continue;
		}
		ck_assert_mem_eq(ram_base(ram) + at, want, sizeof(want));
		at += sizeof(want);
	}
	check_bytes(at, 0x14, 0x33, '_', 'O', 'S', 'C', 0x0c); /* 4 arguments, serialized */
	at += 1 + 0x33;
	check_bytes(at - 2, 0xa4, 0x6b); /* returns the last one */
	check_bytes(at, 0x5b, 0x82); /* the ECAM's device */
}
END_TEST

/* Is there a device of this name in the DSDT? */
static bool has_device(const char *name)
{
	uint64_t dsdt = find("DSDT");

	return memmem(ram_base(ram) + dsdt, get(dsdt + 4, 4), name, 4);
}

START_TEST(test_devices_follow_the_machine)
{
	static const char *const com[4] = { "COM1", "COM2", "COM3", "COM4" };

	for (unsigned mask = 0; mask <= RIG_ALL; mask++) {
		struct hardware hw = rig_hardware(1, mask);

		build(&hw);
		for (unsigned i = 0; i < 4; i++)
			ck_assert_int_eq(has_device(com[i]), (int)(mask >> i & 1));
		ck_assert_int_eq(has_device("PEVT"), !!(mask & RIG_PVPANIC));
		ck_assert_int_eq(has_device("PCI0"), !!(mask & RIG_PCI));
		ck_assert_int_eq(has_device("ECAM"), !!(mask & RIG_PCI));
		ck_assert_int_eq(has_device("VGEN"), !!(mask & RIG_VMGENID));
		ck_assert_int_eq(has_device("GED0"), !!(mask & RIG_VMGENID));
		ck_assert(has_device("RTC0"));
		ck_assert_uint_eq(sum(find("DSDT"), get(find("DSDT") + 4, 4)), 0);
		ram_free(ram);
	}
}
END_TEST

START_TEST(test_virtio_mmio)
{
	static struct virtio_mmio_place many[VIRTIO_MMIO_MAX];
	struct hardware hw = full();
	/* clang-format off */
	static const uint8_t second[] = {
		'V', 'R', '0', '1',
		0x08, '_', 'H', 'I', 'D', 0x0d, 'L', 'N', 'R', 'O', '0', '0', '0', '5', 0,
		0x08, '_', 'U', 'I', 'D', 0x01,
		0x08, '_', 'C', 'C', 'A', 0x01,
		0x08, '_', 'C', 'R', 'S', 0x11, 0x1a, 0x0a, 0x17,
		0x86, 9, 0, 1, 0x00, 0x10, 0x00, 0xe1, 0x00, 0x10, 0, 0, /* writable, 4 KiB at 0xe1001000 */
		0x89, 6, 0, 0x0b, 1, 5, 0, 0, 0, /* consumer, edge, high, shared; GSI 5 */
		0x79, 0,
	};
	/* clang-format on */

	build_full();
	find_bytes(second, sizeof(second));
	ck_assert(has_device("VR00"));
	ck_assert(!has_device("VR02"));
	ram_free(ram);

	for (unsigned i = 0; i < VIRTIO_MMIO_MAX; i++)
		many[i] = (struct virtio_mmio_place){ 0xe1000000 + i * 0x1000, 16 + i % 8 };
	hw.cpus = 255;
	hw.virtio_mmio = many;
	hw.n_virtio_mmio = VIRTIO_MMIO_MAX;
	build(&hw);
	ck_assert(has_device("VR7F"));
	ck_assert_uint_lt(end - LAYOUT_BIOS, 0x6000); /* there is ample room for the MP table */
	ram_free(ram);

	hw.n_virtio_mmio = 0;
	build(&hw);
	ck_assert(!has_device("VR00"));
}
END_TEST

START_TEST(test_vmgenid)
{
	/* clang-format off */
	static const uint8_t devices[] = {
		'V', 'G', 'E', 'N',
		0x08, '_', 'H', 'I', 'D', 0x0d, 'L', 'K', 'V', 'M', '0', '0', '0', '1', 0,
		0x08, '_', 'C', 'I', 'D', 0x12, 0x1c, 0x02,
		0x0d, 'V', 'M', 'G', 'E', 'N', 'C', 'T', 'R', 0,
		0x0d, 'V', 'M', '_', 'G', 'e', 'n', '_', 'C', 'o', 'u', 'n', 't', 'e', 'r', 0,
		0x08, '_', 'D', 'D', 'N', 0x0d, 'V', 'M', '_', 'G', 'e', 'n', '_', 'C', 'o', 'u', 'n', 't', 'e', 'r', 0,
		0x08, 'A', 'D', 'D', 'R', 0x12, 0x08, 0x02, 0x0c, 0x00, 0x00, 0xc1, 0xfe, 0x00,
		0x5b, 0x82, 0x3c, 'G', 'E', 'D', '0',
		0x08, '_', 'H', 'I', 'D', 0x0d, 'A', 'C', 'P', 'I', '0', '0', '1', '3', 0,
		0x08, '_', 'U', 'I', 'D', 0x00,
		0x08, '_', 'C', 'R', 'S', 0x11, 0x0e, 0x0a, 0x0b,
		0x89, 6, 0, 0x0b, 1, 13, 0, 0, 0, /* consumer, edge, high, shared; GSI 13 */
		0x79, 0,
		0x14, 0x0d, '_', 'E', 'V', 'T', 0x01, /* one argument */
		0x86, 'V', 'G', 'E', 'N', 0x0a, 0x80,
	};
	/* clang-format on */

	build_full();
	find_bytes(devices, sizeof(devices));
}
END_TEST

START_TEST(test_no_ram_there)
{
	const struct hardware hw = full();
	gpa_t at = GPA(1), past = GPA(2);

	ck_assert_int_eq(make_ram(LAYOUT_BIOS_END - 0x1000), 0); /* a page short of LAYOUT_BIOS_END */
	ck_assert_int_eq(acpi_build(ram, &hw, &at, &past), -EFAULT);
	ck_assert_uint_eq(at.v, 1);
	ck_assert_uint_eq(past.v, 2);
}
END_TEST

/* The encoder */

static struct bytebuf buf;
static uint8_t room[0x20000];

static void buf_new(size_t cap)
{
	memset(room, 0xee, sizeof(room));
	buf = (struct bytebuf){ .data = room, .cap = cap };
}

START_TEST(test_int)
{
	static const struct {
		uint64_t value;
		uint8_t n, bytes[9];
	} table[] = {
		{ 0, 1, { 0x00 } },
		{ 1, 1, { 0x01 } },
		{ 2, 2, { 0x0a, 2 } },
		{ 0xff, 2, { 0x0a, 0xff } },
		{ 0x100, 3, { 0x0b, 0, 1 } },
		{ 0xffff, 3, { 0x0b, 0xff, 0xff } },
		{ 0x10000, 5, { 0x0c, 0, 0, 1, 0 } },
		{ 0xffffffff, 5, { 0x0c, 0xff, 0xff, 0xff, 0xff } },
		{ 0x100000000, 9, { 0x0e, 0, 0, 0, 0, 1, 0, 0, 0 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		buf_new(sizeof(room));
		aml_int(&buf, table[i].value);
		ck_assert_uint_eq(buf.len, table[i].n);
		ck_assert_mem_eq(room, table[i].bytes, table[i].n);
	}
}
END_TEST

START_TEST(test_pkg_length)
{
	static const struct {
		unsigned content;
		uint8_t n, bytes[4];
	} table[] = {
		{ 4, 1, { 0x05 } },
		{ 62, 1, { 0x3f } },
		{ 63, 2, { 0x41, 0x04 } }, /* 65 in all */
		{ 4093, 2, { 0x4f, 0xff } },
		{ 4094, 3, { 0x81, 0x00, 0x01 } }, /* 4097 in all */
		{ 0x10000, 3, { 0x83, 0x00, 0x10 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		size_t mark;

		buf_new(sizeof(room));
		mark = aml_scope(&buf, "_SB_");
		while (buf.len < mark + table[i].content)
			bytebuf_put(&buf, "x", 1);
		aml_end(&buf, mark);
		ck_assert_uint_eq(buf.len, 1 + table[i].content + table[i].n);
		ck_assert_uint_eq(room[0], 0x10);
		ck_assert_mem_eq(room + 1, table[i].bytes, table[i].n);
		ck_assert_mem_eq(room + 1 + table[i].n, "_SB_", 4);
		ck_assert_uint_eq(room[buf.len], 0xee);
	}
}
END_TEST

START_TEST(test_string_and_eisa_id)
{
	buf_new(sizeof(room));
	aml_string(&buf, "QEMU0001");
	aml_eisa_id(&buf, "PNP0A08");
	ck_assert_uint_eq(buf.len, 15);
	ck_assert_mem_eq(room, "\x0dQEMU0001\0\x0c\x41\xd0\x0a\x08", 15);
}
END_TEST

START_TEST(test_align)
{
	buf_new(80);
	ck_assert_uint_eq(bytebuf_align(&buf, 64), 0);
	bytebuf_put(&buf, "x", 1);
	ck_assert_uint_eq(bytebuf_align(&buf, 64), 64);
	for (unsigned i = 1; i < 64; i++)
		ck_assert_uint_eq(room[i], 0);
	ck_assert_uint_eq(bytebuf_align(&buf, 64), 64);
	ck_assert(!bytebuf_full(&buf));
	bytebuf_put(&buf, "x", 1);
	bytebuf_align(&buf, 64); /* 128: does not fit */
	ck_assert(bytebuf_full(&buf));
}
END_TEST

static void put_sample(void)
{
	size_t dev = aml_device(&buf, "COM1");
	size_t crs = aml_crs(&buf);

	aml_crs_io(&buf, 0x3f8, 8);
	aml_crs_end(&buf, crs);
	bytebuf_align(&buf, 16);
	aml_name(&buf, "_UID");
	aml_int(&buf, 0x12345);
	aml_end(&buf, dev);
}

START_TEST(test_full_buffer_is_not_passed)
{
	size_t need;

	buf_new(sizeof(room));
	put_sample();
	need = buf.len;
	ck_assert_uint_gt(need, 30);
	for (size_t cap = 0; cap <= need; cap++) {
		buf_new(cap);
		put_sample();
		ck_assert_int_eq(bytebuf_full(&buf), cap < need);
		for (size_t i = cap; i < cap + 64; i++)
			ck_assert_uint_eq(room[i], 0xee);
	}
}
END_TEST

START_TEST(test_full_buffer_stays_full)
{
	buf_new(4);
	bytebuf_put(&buf, "12345", 5);
	ck_assert(bytebuf_full(&buf));
	bytebuf_put(&buf, "1", 1); /* would fit */
	bytebuf_put(&buf, "", 0);
	ck_assert(bytebuf_full(&buf));
	ck_assert_uint_eq(room[0], 0xee);
}
END_TEST

/* What ACPICA says of the tables */

static char dir[] = "/tmp/lkvm-acpi-XXXXXX";

/* Run a command within dir, its output to the file "log"; Return: its exit status */
static int run(const char *fmt, ...)
{
	char arg[200], cmd[300];
	va_list ap;
	int status;

	va_start(ap, fmt);
	vsnprintf(arg, sizeof(arg), fmt, ap);
	va_end(ap);
	snprintf(cmd, sizeof(cmd), "cd %s && %s >log 2>&1 </dev/null", dir, arg);
	status = system(cmd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static size_t slurp(const char *name, char *ret, size_t cap)
{
	char path[100];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "r");
	ck_assert_msg(f != NULL, "%s is missing", path);
	n = fread(ret, 1, cap - 1, f);
	ret[n] = '\0';
	fclose(f);
	return n;
}

static void dump(const char *name, uint64_t at, uint64_t bytes)
{
	char path[100];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	ck_assert(f != NULL);
	ck_assert_uint_eq(fwrite(ram_base(ram) + at, 1, bytes, f), bytes);
	ck_assert_int_eq(fclose(f), 0);
}

static void no_complaint(const char *what, const char *table)
{
	static char log[100000];
	static const char *const bad[] = { "Warning", "Error",  "rror:",
					   "Invalid", "Remark", "Failed" };

	slurp("log", log, sizeof(log));
	if (strstr(log, "0 Errors, 0 Warnings, 0 Remarks"))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(!strstr(log, bad[i]), "iasl %s %s: %s", what, table, log);
}

/*
 * Disassemble, look for complaints, compile what came out and compare with what went in, but for
 * the @skip bytes of the header, in which the compiler names itself.
 */
static void check_with_iasl(const char *name, uint64_t at, uint64_t bytes, size_t skip)
{
	static char again[100000];
	size_t n;

	dump(name, at, bytes);
	ck_assert_int_eq(run("iasl -d %s", name), 0);
	no_complaint("-d", name);
	ck_assert_int_eq(run("iasl -p again %.4s.dsl", name), 0);
	no_complaint("of disassembled", name);
	n = slurp("again.aml", again, sizeof(again));
	ck_assert_uint_eq(n, bytes);
	ck_assert_mem_eq(again + skip, ram_base(ram) + at + skip, bytes - skip);
}

START_TEST(test_iasl_reads_the_tables)
{
	static const char *const table[] = { "XSDT", "FACP", "APIC", "MCFG", "DSDT", "SRAT", "SLIT", "HMAT" };
	char name[10];

	ck_assert_msg(!system("command -v iasl >/dev/null"), "no iasl: install acpica-tools");
	ck_assert(mkdtemp(dir) != NULL);
	build_numa(true);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		snprintf(name, sizeof(name), "%s.aml", table[i]);
		check_with_iasl(name, find(table[i]), get(find(table[i]) + 4, 4), 36);
	}
	check_with_iasl("FACS.aml", get(find("FACP") + 36, 4), 64, 0);
	ck_assert_int_eq(run("rm -rf %s", dir), 0);
}
END_TEST

UNIT_MAIN("acpi", test_rsdp, test_headers, test_fadt, test_madt, test_most_cpus, test_wide_ids, test_ids_of_sockets,
	  test_numa, test_hmat, test_most_numa, test_dsdt, test_mcfg, test_no_ecam, test_pci_bridge, test_devices_follow_the_machine,
	  test_virtio_mmio, test_vmgenid, test_no_ram_there, test_int, test_pkg_length,
	  test_string_and_eisa_id, test_align, test_full_buffer_is_not_passed,
	  test_full_buffer_stays_full, test_iasl_reads_the_tables)
