/*
 * The ACPI tables: RSDP, XSDT, FADT, FACS, MADT, DSDT and MCFG, one behind the other in the BIOS area; below
 * it SRAT, SLIT and HMAT, where the machine has NUMA nodes.
 * vm/boot.c calls it once, on the main thread, before any vCPU runs. Each put_X() appends a table and
 * returns where it is; what does not fit shows at the end (bytebuf_full()).
 */
#include "lkvm/x86/acpi.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "acpi-internal.h"
#include "lkvm/chips.h"
#include "lkvm/x86/layout.h"

#define OEM_ID       "LKVM  "
#define OEM_TABLE_ID "LKVM    "
#define CREATOR_ID   "LKVM"

/* ACPI 6.5, 5.2.3.2 */
struct gas {
	uint8_t space; /* GAS_IO */
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access_size;
	uint64_t address;
} PACKED;

enum { GAS_IO = 1 };
enum { GAS_BYTE = 1, GAS_WORD = 2, GAS_DWORD = 3 };

#define GAS_PORT(port, bits, access)                                                               \
	{                                                                                          \
		.space = GAS_IO, .bit_width = (bits), .access_size = (access), .address = (port)   \
	}

/* 5.2.5.3 */
struct rsdp {
	char signature[8];
	uint8_t checksum; /* of the first RSDP_V1_BYTES */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum; /* of all */
	uint8_t reserved[3];
} PACKED;

#define RSDP_V1_BYTES 20

/* 5.2.6 */
struct header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} PACKED;

/* 5.2.9, what follows the header */
struct fadt {
	uint32_t firmware_ctrl;
	uint32_t dsdt;
	uint8_t reserved1;
	uint8_t preferred_pm_profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable;
	uint8_t acpi_disable;
	uint8_t s4bios_req;
	uint8_t pstate_cnt;
	uint32_t pm1a_evt_blk;
	uint32_t pm1b_evt_blk;
	uint32_t pm1a_cnt_blk;
	uint32_t pm1b_cnt_blk;
	uint32_t pm2_cnt_blk;
	uint32_t pm_tmr_blk;
	uint32_t gpe0_blk;
	uint32_t gpe1_blk;
	uint8_t pm1_evt_len;
	uint8_t pm1_cnt_len;
	uint8_t pm2_cnt_len;
	uint8_t pm_tmr_len;
	uint8_t gpe0_blk_len;
	uint8_t gpe1_blk_len;
	uint8_t gpe1_base;
	uint8_t cst_cnt;
	uint16_t p_lvl2_lat;
	uint16_t p_lvl3_lat;
	uint16_t flush_size;
	uint16_t flush_stride;
	uint8_t duty_offset;
	uint8_t duty_width;
	uint8_t day_alrm;
	uint8_t mon_alrm;
	uint8_t century;
	uint16_t iapc_boot_arch;
	uint8_t reserved2;
	uint32_t flags;
	struct gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_firmware_ctrl;
	uint64_t x_dsdt;
	struct gas x_pm1a_evt_blk;
	struct gas x_pm1b_evt_blk;
	struct gas x_pm1a_cnt_blk;
	struct gas x_pm1b_cnt_blk;
	struct gas x_pm2_cnt_blk;
	struct gas x_pm_tmr_blk;
	struct gas x_gpe0_blk;
	struct gas x_gpe1_blk;
	struct gas sleep_control;
	struct gas sleep_status;
	char hypervisor_vendor[8];
} PACKED;

enum {
	FADT_WBINVD = 1 << 0,
	FADT_PROC_C1 = 1 << 2,
	/* PWR_BUTTON, bit 4, is clear: the power button is in the fixed registers */
	FADT_SLP_BUTTON = 1 << 5, /* set: a sleep button is not, and there is no other */
	FADT_FIX_RTC = 1 << 6,    /* set: nor is the RTC's alarm */
	FADT_TMR_VAL_EXT = 1 << 8,
	FADT_RESET_REG_SUP = 1 << 10,
};

enum {
	/*
	 * The 8042 bit stays clear although its ports are there: kernels then do not spend time
	 * looking for a keyboard, and a reset through it works all the same.
	 */
	BOOT_ARCH_LEGACY_DEVICES = 1 << 0,
	BOOT_ARCH_NO_VGA = 1 << 2,
};

#define PM_PROFILE_DESKTOP 1
#define NO_C2_LATENCY      0x0fff /* over 100 us: there is no C2 */
#define NO_C3_LATENCY      0x0fff /* over 1000 us: there is no C3 */
#define RTC_CENTURY        0x32

/* 5.2.10 */
struct facs {
	char signature[4];
	uint32_t length;
	uint32_t hardware_signature;
	uint32_t waking_vector;
	uint32_t global_lock;
	uint32_t flags;
	uint64_t x_waking_vector;
	uint8_t version;
	uint8_t reserved1[3];
	uint32_t ospm_flags;
	uint8_t reserved2[24];
} PACKED;

#define FACS_ALIGN 64

/* PCI Firmware Specification 3.2, 4.1.2, what follows the header: the ECAM of one bus */
struct mcfg {
	uint8_t reserved1[8];
	uint64_t ecam;
	uint16_t segment;
	uint8_t first_bus, last_bus;
	uint8_t reserved2[4];
} PACKED;

_Static_assert(sizeof(struct mcfg) == 24, "MCFG");
_Static_assert(sizeof(struct rsdp) == 36, "RSDP");
_Static_assert(sizeof(struct header) + sizeof(struct fadt) == 276, "FADT");
_Static_assert(sizeof(struct facs) == 64, "FACS");

static uint64_t address_of(size_t at)
{
	return LAYOUT_BIOS + at;
}

size_t acpi_table_begin(struct bytebuf *b, const char *signature, uint8_t revision)
{
	struct header h = {
		.revision = revision,
		.oem_id = OEM_ID,
		.oem_revision = 1,
		.creator_revision = 1,
	};

	memcpy(h.signature, signature, sizeof(h.signature));
	memcpy(h.oem_table_id, OEM_TABLE_ID, sizeof(h.oem_table_id));
	memcpy(h.creator_id, CREATOR_ID, sizeof(h.creator_id));
	bytebuf_align(b, 16);
	return bytebuf_put(b, &h, sizeof(h));
}

void acpi_table_end(struct bytebuf *b, size_t at)
{
	uint32_t length = (uint32_t)(b->len - at);
	uint8_t sum;

	if (bytebuf_full(b))
		return;
	memcpy(b->data + at + offsetof(struct header, length), &length, sizeof(length));
	sum = bytebuf_sum(b, at, length);
	b->data[at + offsetof(struct header, checksum)] = (uint8_t)-sum;
}

static size_t put_facs(struct bytebuf *b)
{
	struct facs facs = { .signature = "FACS", .length = sizeof(facs), .version = 2 };

	bytebuf_align(b, FACS_ALIGN);
	return bytebuf_put(b, &facs, sizeof(facs));
}

static void put_s5(struct bytebuf *b)
{
	size_t pkg;

	aml_name(b, "_S5_");
	pkg = aml_package(b, 4);
	aml_int(b, POWER_SLP_TYP_S5); /* PM1a; there is no PM1b */
	aml_int(b, 0);
	aml_int(b, 0);
	aml_int(b, 0);
	aml_end(b, pkg);
}

#define ACPI_STA_ALL   0x0f /* present, enabled, shown, working */
#define EISA_ID_LENGTH 7

/* A device at fixed ports. */
static void put_isa_device(struct bytebuf *b, const struct hw_row *row)
{
	size_t dev = aml_device(b, row->acpi.name);
	size_t crs;

	aml_name(b, "_HID");
	if (strlen(row->acpi.id) == EISA_ID_LENGTH)
		aml_eisa_id(b, row->acpi.id);
	else
		aml_string(b, row->acpi.id);
	aml_name(b, "_UID");
	aml_int(b, row->acpi.uid);
	aml_name(b, "_STA");
	aml_int(b, ACPI_STA_ALL);
	crs = aml_crs(b);
	aml_crs_io(b, row->port[0].base, (uint8_t)row->port[0].size);
	if (row->gsi)
		aml_crs_irq(b, row->gsi);
	aml_crs_end(b, crs);
	aml_end(b, dev);
}

static void put_devices(struct bytebuf *b, const struct hardware *hw)
{
	for (unsigned i = 0; i < hw->n_rows; i++)
		if (hw->row[i].acpi.name)
			put_isa_device(b, &hw->row[i]);
}

static size_t put_dsdt(struct bytebuf *b, const struct hardware *hw)
{
	size_t at = acpi_table_begin(b, "DSDT", 2); /* 2: integers have 64 bits */
	const struct hw_row *vmgenid = hw_find(hw, HW_VMGENID);
	size_t scope;

	put_s5(b);
	scope = aml_scope(b, "_SB_");
	put_devices(b, hw);
	if (vmgenid)
		acpi_put_vmgenid(b, vmgenid);
	if (hw_find(hw, HW_PCI))
		acpi_put_pci(b, hw);
	acpi_put_virtio_mmio(b, hw->virtio_mmio, hw->n_virtio_mmio);
	aml_end(b, scope);
	acpi_table_end(b, at);
	return at;
}

static size_t put_fadt(struct bytebuf *b, const struct hardware *hw, size_t facs, size_t dsdt)
{
	const struct hw_row *power = hw_find(hw, HW_POWER);
	const uint32_t base = power->port[0].base;
	const struct fadt fadt = {
		.firmware_ctrl = (uint32_t)address_of(facs), /* or x_firmware_ctrl, never both */
		.dsdt = (uint32_t)address_of(dsdt),
		.x_dsdt = address_of(dsdt),
		.preferred_pm_profile = PM_PROFILE_DESKTOP,
		.sci_int = power->gsi,
		.smi_cmd = 0, /* no legacy mode: ACPI is always enabled */
		.pm1a_evt_blk = base + POWER_PM1_STS,
		.pm1a_cnt_blk = base + POWER_PM1_CNT,
		.pm_tmr_blk = base + POWER_PM_TMR,
		.pm1_evt_len = 4,
		.pm1_cnt_len = 2,
		.pm_tmr_len = 4,
		.x_pm1a_evt_blk = GAS_PORT(base + POWER_PM1_STS, 32, GAS_WORD),
		.x_pm1a_cnt_blk = GAS_PORT(base + POWER_PM1_CNT, 16, GAS_WORD),
		.x_pm_tmr_blk = GAS_PORT(base + POWER_PM_TMR, 32, GAS_DWORD),
		.p_lvl2_lat = NO_C2_LATENCY,
		.p_lvl3_lat = NO_C3_LATENCY,
		.century = RTC_CENTURY,
		.iapc_boot_arch = BOOT_ARCH_LEGACY_DEVICES | BOOT_ARCH_NO_VGA,
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC |
			 FADT_TMR_VAL_EXT | FADT_RESET_REG_SUP,
		.reset_reg = GAS_PORT(base + POWER_RESET, 8, GAS_BYTE),
		.reset_value = POWER_RESET_VALUE,
		.minor_version = 4,
		.hypervisor_vendor = "LKVM",
	};
	size_t at = acpi_table_begin(b, "FACP", 6);

	bytebuf_put(b, &fadt, sizeof(fadt));
	acpi_table_end(b, at);
	return at;
}

static size_t put_mcfg(struct bytebuf *b, const struct hw_row *pci)
{
	const struct mcfg mcfg = { .ecam = pci->memory.base };
	size_t at = acpi_table_begin(b, "MCFG", 1);

	bytebuf_put(b, &mcfg, sizeof(mcfg));
	acpi_table_end(b, at);
	return at;
}

/* What the XSDT names */
struct tables {
	unsigned n;
	uint64_t at[8];
};

static void note(struct tables *tables, uint64_t at)
{
	tables->at[tables->n++] = at;
}

static size_t put_xsdt(struct bytebuf *b, const struct tables *tables)
{
	size_t at = acpi_table_begin(b, "XSDT", 1);

	bytebuf_put(b, tables->at, tables->n * sizeof(tables->at[0]));
	acpi_table_end(b, at);
	return at;
}

/* They grow with CPUs and nodes, so they have a place of their own. Return: 0, -EFAULT, -ENOSPC */
static int put_numa(struct ram *ram, const struct hardware *hw, struct tables *tables)
{
	struct bytebuf b = { .cap = LAYOUT_BIOS - LAYOUT_NUMA };
	void *host;
	int err = ram_window(ram, GPA(LAYOUT_NUMA), b.cap, 16, &host);

	if (err)
		return err;
	b.data = host;
	note(tables, LAYOUT_NUMA + acpi_put_srat(&b, hw));
	note(tables, LAYOUT_NUMA + acpi_put_slit(&b, hw->numa));
	if (acpi_has_hmat(hw->numa))
		note(tables, LAYOUT_NUMA + acpi_put_hmat(&b, hw->numa));
	return bytebuf_full(&b) ? -ENOSPC : 0;
}

static int put_all(struct bytebuf *b, struct ram *ram, const struct hardware *hw, size_t *ret_xsdt)
{
	const struct hw_row *pci = hw_find(hw, HW_PCI);
	struct tables tables = { 0 };
	size_t facs = put_facs(b), dsdt = put_dsdt(b, hw);
	int err = 0;

	note(&tables, address_of(put_fadt(b, hw, facs, dsdt)));
	note(&tables, address_of(acpi_put_madt(b, hw)));
	if (pci && pci->memory.size)
		note(&tables, address_of(put_mcfg(b, pci)));
	if (hw->numa)
		err = put_numa(ram, hw, &tables);
	*ret_xsdt = put_xsdt(b, &tables);
	return err ? err : bytebuf_full(b) ? -ENOSPC : 0;
}

static void fill_rsdp(struct bytebuf *b, size_t at, size_t xsdt)
{
	struct rsdp rsdp = {
		.oem_id = OEM_ID,
		.revision = 2,
		.length = sizeof(rsdp),
		.xsdt = address_of(xsdt),
	};

	memcpy(rsdp.signature, "RSD PTR ", sizeof(rsdp.signature));
	memcpy(b->data + at, &rsdp, sizeof(rsdp));
	rsdp.checksum = (uint8_t)-bytebuf_sum(b, at, RSDP_V1_BYTES);
	memcpy(b->data + at, &rsdp, sizeof(rsdp));
	rsdp.extended_checksum = (uint8_t)-bytebuf_sum(b, at, sizeof(rsdp));
	memcpy(b->data + at, &rsdp, sizeof(rsdp));
}

int acpi_build(struct ram *ram, const struct hardware *hw, gpa_t *ret_rsdp, gpa_t *ret_end)
{
	static const struct rsdp empty;
	struct bytebuf b = { .cap = LAYOUT_BIOS_END - LAYOUT_BIOS };
	size_t rsdp, xsdt;
	void *bios;
	int err;

	assert(hw->cpus >= 1 && hw->cpus <= MAX_VCPUS);
	err = ram_window(ram, GPA(LAYOUT_BIOS), b.cap, 16, &bios);
	if (err)
		return err;
	b.data = bios;
	rsdp = bytebuf_put(&b, &empty, sizeof(empty)); /* first: kernels look for it on 16 bytes */
	err = put_all(&b, ram, hw, &xsdt);
	if (err)
		return err;
	fill_rsdp(&b, rsdp, xsdt);
	*ret_rsdp = GPA(address_of(rsdp));
	*ret_end = GPA(address_of(b.len));
	return 0;
}
