/* `lkvm run`: what start-up puts into guest RAM - tables, kernel, command line; see run.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/log.h"
#include "lkvm/virtio-mmio.h"
#include "lkvm/vm/devices.h"
#include "lkvm/vm/hardware.h"
#include "lkvm/vm/run.h"
#include "lkvm/x86/acpi.h"
#include "lkvm/x86/layout.h"

struct run_boot {
	const struct vm_config *cfg;
	struct ram *ram;
	const struct virtio_list *virtio;
	const struct boot_made *made;
	char *cmdline; /* heap, or NULL: the default one as it is */
};

int run_smbios(const struct vm_config *cfg, struct ram *ram, gpa_t at, gpa_t *ret_end)
{
	const struct smbios_config smbios = {
		.topology = cfg->topology,
		.ram_bytes = cfg->ram.size_bytes,
		.uuid = cfg->has_uuid ? cfg->uuid : NULL,
	};

	return smbios_build(ram, &smbios, at, ret_end);
}

static int build_bios(struct run_boot *b, const struct hardware *hw, gpa_t at)
{
	int err = run_smbios(b->cfg, b->ram, at, &at);

	if (!err)
		err = reset_vector_build(b->ram, hw);
	return err ? log_err(err, "SMBIOS") : 0;
}

static int build_tables(struct run_boot *b, const struct hardware *hw, gpa_t *ret_rsdp,
			uint64_t *ret_bytes)
{
	gpa_t end = GPA(LAYOUT_BIOS);
	int err = b->cfg->no_acpi ? 0 : acpi_build(b->ram, hw, ret_rsdp, &end);

	if (err)
		return log_err(err, "ACPI tables");
	*ret_bytes = end.v - LAYOUT_BIOS;
	err = mptable_build(b->ram, hw, GPA(ALIGN_UP(end.v, 16)), &end);
	/* Thousands of CPUs leave no room for it, nor does it know them. */
	if (err && (err != -ENOSPC || b->cfg->no_acpi))
		return log_err(err, "MP table");
	return build_bios(b, hw, end);
}

/*
 * Where the virtio-mmio devices are, for a guest that is to find it on its command line: behind the
 * default one. Each device takes "virtio_mmio.device=4K@0xe1000000:10 ".
 */
static void announce_virtio(const struct run_boot *b, bool first, FILE *f)
{
	unsigned n;
	const struct virtio_mmio_place *place = virtio_list_mmio(b->virtio, &n);

	for (unsigned i = 0; i < n; i++)
		fprintf(f, "%svirtio_mmio.device=4K@%#llx:%u", i || !first ? " " : "",
			(unsigned long long)place[i].base, place[i].gsi);
}

/* KVM's IOAPIC has room for 8 bits of an id: its interrupts must go to CPUs that it can name. */
static void keep_from_wide_ids(const struct run_boot *b, FILE *f)
{
	unsigned n = b->cfg->cpus;

	while (topology_apic_id(&b->cfg->topology, n - 1) >= XAPIC_IDS)
		n--;
	fprintf(f, " irqaffinity=0-%u", n - 1);
}

/*
 * Memory that is plugged is of no use until it is online, and without a udev that does so nobody would. Movable, so that
 * it can be unplugged again, as long as the kernel has enough of the other kind: 6.1 and later know how to tell.
 */
static const char online[] = " memhp_default_state=online memory_hotplug.online_policy=auto-movable";

static bool has_screen(const struct run_boot *b)
{
	return virtio_list_framebuffer(b->virtio).width;
}

/* What the machine adds to the default command line, which is left out by --nodefaults (NULL) */
static int add_to_cmdline(struct run_boot *b, const char *cmdline)
{
	FILE *f = open_memstream(&b->cmdline, &(size_t){ 0 });

	if (!f)
		return log_err(-errno, "kernel command line");
	if (cmdline && has_screen(b))
		fputs("console=tty0 ", f); /* beside the one that follows, which stays /dev/console */
	fputs(cmdline ? cmdline : "", f);
	if (cmdline && topology_is_wide(&b->cfg->topology))
		keep_from_wide_ids(b, f);
	if (cmdline && b->cfg->mem_max)
		fputs(online, f);
	if (b->cfg->virtio_mmio_cmdline)
		announce_virtio(b, !cmdline, f);
	return fclose(f) ? log_err(-errno, "kernel command line") : 0;
}

/*
 * A Linux that has a device tree does not use the MP table's ISA interrupts, which are all that it can
 * be told of on its command line, and of the PICs only the first one works then.
 */
static bool pass_dtb(const struct vm_config *cfg)
{
	return cfg->no_acpi && !cfg->virtio_mmio_cmdline;
}

static const char *default_cmdline(const struct vm_config *cfg)
{
	if (cfg->nodefaults)
		return NULL;
	if (cfg->session.wanted)
		return RUN_SESSION_CMDLINE;
	return cfg->console_virtio ? RUN_VIRTIO_CMDLINE : RUN_DEFAULT_CMDLINE;
}

static int load(struct run_boot *b, struct boot_entry *ret)
{
	const struct vm_config *cfg = b->cfg;
	struct hardware hardware;
	struct boot_config boot = {
		.kernel = cfg->kernel,
		.initrd = cfg->initrd,
		.n_initrds = cfg->n_initrds,
		.made = b->made,
		.cmdline = cfg->params,
		.default_cmdline = default_cmdline(cfg),
		.hardware = &hardware,
		.framebuffer = virtio_list_framebuffer(b->virtio),
		.pass_dtb = pass_dtb(cfg),
		.dump_dtb = cfg->dry_run ? NULL : cfg->dump_dtb,
		/* Of a session: for later runs that go on from it */
		.want_release = cfg->dry_run || cfg->verbose || cfg->result || cfg->session.wanted,
	};
	int err;

	hardware_of(cfg, &hardware);
	/* Devices that are announced twice would be there twice. */
	if (!cfg->virtio_mmio_cmdline)
		hardware.virtio_mmio = virtio_list_mmio(b->virtio, &hardware.n_virtio_mmio);
	err = build_tables(b, &hardware, &boot.rsdp, &boot.acpi_bytes);
	if (!err && (cfg->virtio_mmio_cmdline ||
		     (boot.default_cmdline && (topology_is_wide(&cfg->topology) || cfg->mem_max || has_screen(b))))) {
		err = add_to_cmdline(b, boot.default_cmdline);
		boot.default_cmdline = b->cmdline;
	}
	return err ? err : boot_load(b->ram, &boot, ret);
}

int run_boot(const struct vm_config *cfg, struct ram *ram, const struct virtio_list *virtio,
	     const struct boot_made *made, struct boot_entry *ret)
{
	static const struct boot_entry reset = {
		.mode = BOOT_RESET, .protocol = "firmware", .rip = LAYOUT_FIRMWARE_START,
	};
	struct run_boot b = { .cfg = cfg, .ram = ram, .virtio = virtio, .made = made };
	int err = 0;

	if (cfg->firmware)
		*ret = reset;
	else
		err = load(&b, ret);

	free(b.cmdline);
	return err;
}

/* For report and result, when the guest may have changed it. */
int run_note_kernel(struct run_result *r, const struct boot_entry *entry)
{
	snprintf(r->release, sizeof(r->release), "%s", entry->release);
	if (entry->cmdline)
		r->cmdline = strdup(entry->cmdline);
	return entry->cmdline && !r->cmdline ? log_err(-ENOMEM, "kernel command line") : 0;
}
