/*
 * --firmware: the ROM, the chip set's registers that it needs, and what it is told by fw_cfg; see vm-internal.h. Main
 * thread, before any vCPU runs.
 */
#include <errno.h>
#include <string.h>

#include "lkvm/fw-cfg.h"
#include "lkvm/log.h"
#include "lkvm/pci.h"
#include "lkvm/vm/hardware.h"
#include "lkvm/vm/rom.h"
#include "lkvm/vm/vars.h"
#include "lkvm/x86/acpi.h"
#include "lkvm/x86/layout.h"
#include "vm-internal.h"

#define E820_RAM 1

struct e820_entry {
	uint64_t start, bytes;
	uint32_t type;
} __attribute__((packed));

static int tell_ram(const struct vm *vm, void *fw)
{
	struct e820_entry e820[RAM_MAX_PARTS];
	unsigned n;
	const struct ram_part *part = ram_parts(vm->ram, &n);

	for (unsigned i = 0; i < n; i++)
		e820[i] = (struct e820_entry){ part[i].start.v, part[i].size_bytes, E820_RAM };
	return fw_cfg_file(fw, "etc/e820", e820, n * sizeof(e820[0]));
}

static int add_acpi_files(void *fw, const struct acpi_files *files)
{
	int err = fw_cfg_file(fw, ACPI_RSDP_FILE, files->rsdp.data, files->rsdp.len);

	if (!err)
		err = fw_cfg_file(fw, ACPI_TABLES_FILE, files->tables.data, files->tables.len);
	return err ? err : fw_cfg_file(fw, ACPI_LOADER_FILE, files->steps.data, files->steps.len);
}

/* Made where they are for a guest without firmware, which is RAM below the ROM; nothing is left there. */
static int tell_acpi(const struct vm *vm, void *fw)
{
	const uint64_t bytes = LAYOUT_BIOS_END - LAYOUT_NUMA;
	struct acpi_files files;
	struct hardware hw;
	gpa_t rsdp, end;
	void *area;
	int err;

	if (vm->cfg->no_acpi)
		return 0;
	hardware_of(vm->cfg, &hw);
	err = acpi_build(vm->ram, &hw, &rsdp, &end);
	if (!err)
		err = acpi_files_build(vm->ram, rsdp, &files);
	if (err)
		return err;
	err = add_acpi_files(fw, &files);
	acpi_files_free(&files);
	if (!err)
		err = ram_window(vm->ram, GPA(LAYOUT_NUMA), bytes, RAM_PAGE_BYTES, &area);
	if (!err)
		memset(area, 0, bytes);
	return err;
}

/* Likewise; firmware places the table and tells the entry point where it is. */
static int tell_smbios(const struct vm *vm, void *fw)
{
	gpa_t end;
	uint8_t *entry, *table;
	int err = run_smbios(vm->cfg, vm->ram, GPA(LAYOUT_BIOS), &end);

	if (err)
		return err;
	entry = ram_host(vm->ram, GPA(LAYOUT_SMBIOS), SMBIOS_ENTRY_BYTES);
	table = ram_host(vm->ram, GPA(LAYOUT_BIOS), end.v - LAYOUT_BIOS);
	if (!entry || !table)
		return -EFAULT;
	err = fw_cfg_file(fw, "etc/smbios/smbios-anchor", entry, SMBIOS_ENTRY_BYTES);
	if (!err)
		err = fw_cfg_file(fw, "etc/smbios/smbios-tables", table, end.v - LAYOUT_BIOS);
	memset(entry, 0, SMBIOS_ENTRY_BYTES);
	memset(table, 0, end.v - LAYOUT_BIOS);
	return err;
}

/* No menu that waits for a key, and its words and those of BIOS calls on the serial console, where that is the console. */
static int tell_seabios(const struct vm *vm, void *fw)
{
	static const uint16_t menu = 0, console_port = 0x3f8;
	int err = fw_cfg_file(fw, "etc/show-boot-menu", &menu, sizeof(menu));

	if (!err && !vm->cfg->console_virtio)
		err = fw_cfg_file(fw, "etc/sercon-port", &console_port, sizeof(console_port));
	return err;
}

static int tell(const struct vm *vm, void *fw)
{
	const struct vm_config *cfg = vm->cfg;
	int err = fw_cfg_number(fw, FW_CFG_CPUS, cfg->cpus, 2);

	if (!err)
		err = fw_cfg_number(fw, FW_CFG_MAX_CPUS, cfg->cpus, 2);
	if (!err)
		err = fw_cfg_number(fw, FW_CFG_RAM_BYTES, cfg->ram.size_bytes, 8);
	if (!err)
		err = fw_cfg_number(fw, FW_CFG_NO_GRAPHICS, !vm->display, 2);
	if (!err && cfg->has_uuid)
		err = fw_cfg_item(fw, FW_CFG_UUID, cfg->uuid, sizeof(cfg->uuid));
	if (!err)
		err = tell_ram(vm, fw);
	if (!err)
		err = tell_seabios(vm, fw);
	if (!err)
		err = tell_smbios(vm, fw);
	return err ? err : tell_acpi(vm, fw);
}

static int make_vars(struct vm *vm)
{
	const struct vm_config *cfg = vm->cfg;
	const enum vars_use use = cfg->dry_run ? VARS_SHOW : cfg->vars_private ? VARS_PRIVATE : VARS_WRITE;
	const uint64_t bytes = rom_bytes(vm->rom);
	int err;

	if (!cfg->firmware_vars)
		return 0;
	err = vars_open(cfg->firmware_vars, ROM_MAX - bytes, use, &vm->vars);
	return err ? err : vars_map(vm->vars, &vm->kvm, GPA(RAM_GAP_END - bytes));
}

static int tell_all(const struct vm *vm, void *fw)
{
	int err = tell(vm, fw);

	return err ? log_err(err, "what firmware is told") : firmware_tell_kernel(vm, fw);
}

int vm_make_firmware(struct vm *vm)
{
	void *fw = platform_fw_cfg(vm->platform);
	int err;

	if (!vm->cfg->firmware)
		return 0;
	err = rom_load(vm->cfg->firmware, &vm->rom);
	if (!err)
		err = rom_map(vm->rom, &vm->kvm);
	if (!err)
		err = make_vars(vm);
	if (err)
		return err;
	/* OVMF's handler lets another tick interrupt it, so that many of them at once take up its stack. */
	kvm_lose_ticks(&vm->kvm);
	pci_host_pam(virtio_list_pci(vm->virtio), rom_pam, vm->rom);
	err = vm->cfg->snapshot ? snapshot_take_told(vm->cfg->snapshot, fw) : tell_all(vm, fw);
	return err ? err : firmware_tell_screen(vm, fw);
}

void vm_undo_firmware(struct vm *vm)
{
	vars_close(vm->vars);
	rom_free(vm->rom);
	vm->vars = NULL;
	vm->rom = NULL;
}
