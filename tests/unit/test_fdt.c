/* Links: x86/tables/fdt.o hw/ram.o */

/* The device tree, read back with libfdt as a kernel does, and with dtc, which knows the rules. */
#include "lkvm/x86/fdt.h"

#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hardware-rig.h"
#include "lkvm/virtio-mmio.h"
#include "lkvm/x86/layout.h"
#include "lkvm/x86/numa.h"
#include "unit.h"

static struct ram *ram;
static char *dtb;
static size_t dtb_bytes;

static const struct virtio_mmio_place places[] = { { 0xe1000000, 16 }, { 0xe1001000, 5 } };

static struct hardware full(void)
{
	struct hardware hw = rig_hardware(2, RIG_ALL);

	hw.virtio_mmio = places;
	hw.n_virtio_mmio = ARRAY_SIZE(places);
	return hw;
}

static void make_ram(uint64_t bytes)
{
	static const struct ram_config plain;
	struct ram_backing backing = { .fd = -1, .advice = &plain };

	ck_assert_int_eq(ram_new(bytes, &backing, &ram), 0);
}

static void build_with(const struct fdt_config *cfg)
{
	const char *why = "untouched";
	void *blob = NULL;

	ck_assert_int_eq(fdt_build(cfg, &blob, &dtb_bytes, &why), 0);
	ck_assert_ptr_null(why);
	free(dtb);
	dtb = blob;
	ck_assert_int_eq(fdt_check_full(dtb, dtb_bytes), 0);
	ck_assert_uint_eq(fdt_totalsize(dtb), dtb_bytes);
}

static void build(const struct hardware *hw)
{
	const struct fdt_config cfg = { .hardware = hw, .ram = ram };

	build_with(&cfg);
}

static void build_full(void)
{
	struct hardware hw = full();

	build(&hw);
}

/* ---- reading ---- */

static int node(const char *path)
{
	int at = fdt_path_offset(dtb, path);

	ck_assert_msg(at >= 0, "no node %s", path);
	return at;
}

static bool has_node(const char *path)
{
	return fdt_path_offset(dtb, path) >= 0;
}

static const char *string(const char *path, const char *name)
{
	int len;
	const char *s = fdt_getprop(dtb, node(path), name, &len);

	ck_assert_msg(s && len && !s[len - 1], "%s has no string %s", path, name);
	return s;
}

static bool has(const char *path, const char *name)
{
	return fdt_getprop(dtb, node(path), name, NULL);
}

#define check_cells(path, name, ...)                                                               \
	do {                                                                                       \
		static const uint32_t want[] = { __VA_ARGS__ };                                    \
		int len_;                                                                          \
		const fdt32_t *got_ = fdt_getprop(dtb, node(path), name, &len_);                   \
		ck_assert_msg(got_ &&len_ == sizeof(want), "%s: %s", path, name);                  \
		for (size_t i_ = 0; i_ < ARRAY_SIZE(want); i_++)                                   \
			ck_assert_uint_eq(fdt32_ld(&got_[i_]), want[i_]);                          \
	} while (0)

/* dtc's complaints: there may be none. */
static void dtc(void)
{
	char path[64], said[4096] = "";
	int fd = memfd_create("dtb", 0), status;
	FILE *pipe;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, dtb, dtb_bytes), (ssize_t)dtb_bytes);
	snprintf(path, sizeof(path), "dtc -I dtb -O dtb -o /dev/null /proc/%d/fd/%d 2>&1", getpid(),
		 fd);
	pipe = popen(path, "r");
	ck_assert_ptr_nonnull(pipe);
	said[fread(said, 1, sizeof(said) - 1, pipe)] = '\0';
	status = pclose(pipe);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status) && !*said, "dtc: %s", said);
	close(fd);
}

/* ---- tests ---- */

START_TEST(test_root)
{
	make_ram(64 * MIB);
	build_full();
	ck_assert_str_eq(string("/", "compatible"), "lkvm,x86");
	ck_assert_str_eq(string("/", "model"), "lkvm");
	check_cells("/", "#address-cells", 2);
	check_cells("/", "#size-cells", 2);
	check_cells("/", "interrupt-parent", 1);
	dtc();
}
END_TEST

START_TEST(test_memory)
{
	make_ram(64 * MIB);
	build_full();
	ck_assert_str_eq(string("/memory@0", "device_type"), "memory");
	check_cells("/memory@0", "reg", 0, 0, 0, 0x04000000);
	ck_assert(!has_node("/memory@100000000"));
	dtc();
	ram_free(ram);

	make_ram(8192 * MIB);
	build_full();
	check_cells("/memory@0", "reg", 0, 0, 0, 0xd0000000);
	ck_assert_str_eq(string("/memory@100000000", "device_type"), "memory");
	check_cells("/memory@100000000", "reg", 1, 0, 1, 0x30000000);
	dtc();
}
END_TEST

START_TEST(test_cpus)
{
	struct hardware hw = full();
	int at, n = 0;

	make_ram(64 * MIB);
	build_full();
	check_cells("/cpus/cpu@1", "reg", 1);
	ck_assert_str_eq(string("/cpus/cpu@1", "device_type"), "cpu");
	ck_assert(!has_node("/cpus/cpu@2"));

	hw.cpus = MAX_VCPUS; /* more than the first buffer holds */
	build(&hw);
	fdt_for_each_subnode(at, dtb, node("/cpus"))
	{
		const fdt32_t *reg = fdt_getprop(dtb, at, "reg", NULL);

		ck_assert_uint_eq(fdt32_ld(reg), (uint32_t)n);
		n++;
	}
	ck_assert_int_eq(n, MAX_VCPUS);
	ck_assert(has_node("/cpus/cpu@fff"));
	dtc();
}
END_TEST

START_TEST(test_numa)
{
	static struct numa numa = {
		.n = 2, .n_cpus = 2, .bytes = { 2 * GIB, 2 * GIB }, .node = { 1, 0 },
		.distance = { [0] = 10, [1] = 31, [NUMA_NODES] = 21, [NUMA_NODES + 1] = 10 },
	};
	struct hardware hw = full();

	hw.numa = &numa;
	make_ram(4096 * MIB);
	build(&hw);
	check_cells("/cpus/cpu@0", "numa-node-id", 1);
	check_cells("/cpus/cpu@1", "numa-node-id", 0);
	check_cells("/memory@0", "reg", 0, 0, 0, 0x80000000);
	check_cells("/memory@0", "numa-node-id", 0);
	check_cells("/memory@80000000", "reg", 0, 0x80000000, 0, 0x50000000);
	check_cells("/memory@80000000", "numa-node-id", 1);
	check_cells("/memory@100000000", "reg", 1, 0, 0, 0x30000000);
	check_cells("/memory@100000000", "numa-node-id", 1);
	ck_assert_str_eq(string("/distance-map", "compatible"), "numa-distance-map-v1");
	check_cells("/distance-map", "distance-matrix", 0, 0, 10, 0, 1, 31, 1, 0, 21, 1, 1, 10);
	dtc();
}
END_TEST

/* What arch/x86/kernel/devicetree.c looks for. */
START_TEST(test_interrupt_controllers)
{
	int ioapic, lapic;

	make_ram(64 * MIB);
	build_full();
	ioapic = fdt_node_offset_by_compatible(dtb, -1, "intel,ce4100-ioapic");
	lapic = fdt_node_offset_by_compatible(dtb, -1, "intel,ce4100-lapic");
	ck_assert_int_eq(ioapic, node("/soc/interrupt-controller@fec00000"));
	ck_assert_int_eq(lapic, node("/soc/interrupt-controller@fee00000"));
	ck_assert_uint_eq(fdt_get_phandle(dtb, ioapic), 1);
	check_cells("/soc/interrupt-controller@fec00000", "reg", 0, 0xfec00000, 0, 0x1000);
	check_cells("/soc/interrupt-controller@fec00000", "#interrupt-cells", 2);
	check_cells("/soc/interrupt-controller@fec00000", "#address-cells", 0);
	ck_assert(has("/soc/interrupt-controller@fec00000", "interrupt-controller"));
	check_cells("/soc/interrupt-controller@fee00000", "reg", 0, 0xfee00000, 0, 0x1000);
	ck_assert(has("/soc/interrupt-controller@fee00000", "intel,virtual-wire-mode"));
}
END_TEST

START_TEST(test_isa)
{
	make_ram(64 * MIB);
	build_full();
	ck_assert_str_eq(string("/soc", "compatible"), "simple-bus");
	ck_assert(has("/soc", "ranges"));
	ck_assert_str_eq(string("/soc/isa@0", "compatible"), "isa");
	check_cells("/soc/isa@0", "ranges", 1, 0, 0, 0, 0x10000);
	ck_assert_str_eq(string("/soc/isa@0/serial@i3f8", "compatible"), "ns16550a");
	check_cells("/soc/isa@0/serial@i3f8", "reg", 1, 0x3f8, 8);
	check_cells("/soc/isa@0/serial@i3f8", "interrupts", 4, 0);
	check_cells("/soc/isa@0/serial@i3f8", "clock-frequency", 1843200);
	check_cells("/soc/isa@0/serial@i3f8", "current-speed", 115200);
	check_cells("/soc/isa@0/serial@i2f8", "interrupts", 3, 0);
	check_cells("/soc/isa@0/serial@i3e8", "interrupts", 4, 0);
	check_cells("/soc/isa@0/serial@i2e8", "interrupts", 3, 0);
	ck_assert_str_eq(string("/soc/isa@0/rtc@i70", "compatible"), "motorola,mc146818");
	check_cells("/soc/isa@0/rtc@i70", "reg", 1, 0x70, 2);
	check_cells("/soc/isa@0/rtc@i70", "interrupts", 8, 0);
}
END_TEST

START_TEST(test_serial_follows_the_machine)
{
	static const char *const com[] = { "/soc/isa@0/serial@i3f8", "/soc/isa@0/serial@i2f8",
					   "/soc/isa@0/serial@i3e8", "/soc/isa@0/serial@i2e8" };

	make_ram(64 * MIB);
	for (unsigned mask = 0; mask < 16; mask++) {
		struct hardware hw = rig_hardware(1, mask);

		build(&hw);
		for (unsigned i = 0; i < 4; i++)
			ck_assert_int_eq(has_node(com[i]), (int)(mask >> i & 1));
		/* a path to nowhere would be worse than none */
		ck_assert_int_eq(has("/chosen", "stdout-path"), (int)(mask & RIG_COM1));
	}
	dtc();
}
END_TEST

START_TEST(test_virtio_mmio)
{
	static struct virtio_mmio_place many[VIRTIO_MMIO_MAX];
	struct hardware hw = rig_hardware(255, 0);

	make_ram(64 * MIB);
	build_full();
	ck_assert_str_eq(string("/soc/virtio_mmio@e1000000", "compatible"), "virtio,mmio");
	check_cells("/soc/virtio_mmio@e1000000", "reg", 0, 0xe1000000, 0, 0x1000);
	check_cells("/soc/virtio_mmio@e1000000", "interrupts", 16, 0);
	check_cells("/soc/virtio_mmio@e1001000", "interrupts", 5, 0);
	ck_assert(has("/soc/virtio_mmio@e1001000", "dma-coherent"));
	ck_assert(!has_node("/soc/virtio_mmio@e1002000"));
	for (unsigned i = 0; i < VIRTIO_MMIO_MAX; i++)
		many[i] = (struct virtio_mmio_place){ 0xe1000000 + i * 0x1000, 16 + i % 8 };
	hw.virtio_mmio = many;
	hw.n_virtio_mmio = VIRTIO_MMIO_MAX;
	build(&hw);
	check_cells("/soc/virtio_mmio@e107f000", "interrupts", 23, 0);
	/* Beside kernel and initrd data there must be room for it in low memory. */
	ck_assert_uint_lt(dtb_bytes, LAYOUT_BOOT_INFO_END - LAYOUT_BOOT_INFO - 1024);
	dtc();
}
END_TEST

/* What drivers/virt/vmgenid.c looks for. */
START_TEST(test_vmgenid)
{
	struct hardware hw = rig_hardware(2, RIG_ALL & ~RIG_VMGENID);

	make_ram(64 * MIB);
	build_full();
	ck_assert_str_eq(string("/soc/rng@fec10000", "compatible"), "microsoft,vmgenid");
	check_cells("/soc/rng@fec10000", "reg", 0, 0xfec10000, 0, 16);
	check_cells("/soc/rng@fec10000", "interrupts", 13, 0);
	dtc();
	build(&hw);
	ck_assert(!has_node("/soc/rng@fec10000"));
}
END_TEST

START_TEST(test_pci)
{
	struct hardware hw = full();

	make_ram(64 * MIB);
	build_full();
	ck_assert_str_eq(string("/soc/pcie@e0000000", "compatible"), "pci-host-ecam-generic");
	ck_assert_str_eq(string("/soc/pcie@e0000000", "device_type"), "pci");
	check_cells("/soc/pcie@e0000000", "reg", 0, 0xe0000000, 0, 0x100000);
	check_cells("/soc/pcie@e0000000", "bus-range", 0, 0);
	check_cells("/soc/pcie@e0000000", "ranges", 0x02000000, 0, 0xd0000000, 0, 0xd0000000, 0,
		    0x10000000, 0x03000000, 1, 0x40000000, 1, 0x40000000, 0xe, 0xc0000000);
	check_cells("/soc/pcie@e0000000", "interrupt-map-mask", 0x3800, 0, 0, 7);
	check_cells("/soc/pcie@e0000000", "interrupt-map",
		    0x0000, 0, 0, 1, 1, 16, 1, 0x0800, 0, 0, 1, 1, 17, 1,
		    0x1000, 0, 0, 1, 1, 18, 1, 0x1800, 0, 0, 1, 1, 19, 1,
		    0x2000, 0, 0, 1, 1, 20, 1, 0x2800, 0, 0, 1, 1, 21, 1,
		    0x3000, 0, 0, 1, 1, 22, 1, 0x3800, 0, 0, 1, 1, 23, 1);
	dtc();
	hw = rig_hardware(2, RIG_ALL & ~RIG_PCI);
	build(&hw);
	ck_assert(!has_node("/soc/pcie@e0000000"));
}
END_TEST

START_TEST(test_chosen)
{
	struct hardware hw = full();
	struct fdt_config cfg = { .hardware = &hw,
				  .bootargs = "console=ttyS0 quiet",
				  .initrd_start = 0x123456000,
				  .initrd_bytes = 0x789 };
	const char *path;

	make_ram(64 * MIB);
	cfg.ram = ram;
	build_with(&cfg);
	ck_assert_str_eq(string("/chosen", "bootargs"), "console=ttyS0 quiet");
	check_cells("/chosen", "linux,initrd-start", 1, 0x23456000);
	check_cells("/chosen", "linux,initrd-end", 1, 0x23456789);
	path = string("/chosen", "stdout-path");
	ck_assert_int_eq(fdt_path_offset_namelen(dtb, path, (int)(strrchr(path, ':') - path)),
			 node("/soc/isa@0/serial@i3f8"));
	dtc();

	cfg.bootargs = NULL;
	cfg.initrd_bytes = 0;
	build_with(&cfg);
	ck_assert(!has("/chosen", "bootargs"));
	ck_assert(!has("/chosen", "linux,initrd-start"));
	ck_assert(!has("/chosen", "linux,initrd-end"));
	dtc();
}
END_TEST

/* More than a tree may be: an error with libfdt's word for it, not an endless loop. */
START_TEST(test_too_large)
{
	static char args[(1 << 20) + 1];
	struct hardware hw = full();
	struct fdt_config cfg = { .hardware = &hw, .bootargs = args };
	void *blob = &cfg;
	size_t bytes = 7;
	const char *why = NULL;

	make_ram(64 * MIB);
	cfg.ram = ram;
	memset(args, 'x', sizeof(args) - 1);
	ck_assert_int_eq(fdt_build(&cfg, &blob, &bytes, &why), -EINVAL);
	ck_assert_str_eq(why, "FDT_ERR_NOSPACE");
	ck_assert_ptr_eq(blob, &cfg);
	ck_assert_uint_eq(bytes, 7);
	args[700000] = '\0';
	build_with(&cfg);
	ck_assert_uint_eq(strlen(string("/chosen", "bootargs")), 700000);
}
END_TEST

UNIT_MAIN("fdt", test_root, test_memory, test_cpus, test_numa, test_interrupt_controllers, test_isa,
	  test_serial_follows_the_machine, test_virtio_mmio, test_vmgenid, test_pci, test_chosen, test_too_large)
