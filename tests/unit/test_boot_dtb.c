/* Links: x86/boot/boot.o x86/boot/file.o x86/boot/find.o x86/boot/linux.o x86/boot/dtb.o x86/boot/judge.o x86/boot/place.o x86/tables/fdt.o x86/boot/tables.o x86/boot/bzimage.o x86/boot/decompress.o x86/boot/decompress-codecs.o x86/boot/e820.o x86/boot/elf.o x86/boot/flat.o x86/boot/multiboot.o x86/boot/multiboot2.o x86/boot/uki.o x86/boot/vmlinux.o hw/ram.o util/log.o */

/* The device tree on its way to the guest (SETUP_DTB) and to a file; what is in it: test_fdt. */
#include <fcntl.h>
#include <libfdt.h>

#include "boot-rig.h"
#include "hardware-rig.h"

static struct hardware hardware;

/* A bzImage with command line and initrd, and all that may be asked for. */
static void rig_bz(struct rig *rig, const struct bz *bz)
{
	rig_init(rig, 64);
	rig->cfg.kernel = bz_file(bz);
	rig->cfg.default_cmdline = "console=ttyS0";
	rig->cfg.cmdline = "quiet";
	hardware = rig_hardware(3, RIG_COM1);
	rig->cfg.hardware = &hardware;
	rig_add_initrd(rig, rig_file("cpio", 4));
}

/* The setup_data node of @type, or NULL; the chain must end. */
static struct setup_data *find(struct rig *rig, uint32_t type)
{
	struct boot_params *p = rig_at(rig, LAYOUT_ZERO_PAGE, sizeof(*p));
	struct setup_data *found = NULL;
	uint64_t at = p->hdr.setup_data;

	for (int i = 0; at; i++) {
		struct setup_data *node = rig_at(rig, at, sizeof(*node));

		ck_assert_int_lt(i, 10);
		ck_assert_uint_eq(at % 8, 0);
		rig_at(rig, at, sizeof(*node) + node->len);
		if (node->type == type)
			found = node;
		at = node->next;
	}
	return found;
}

static void check_dtb(const void *dtb, size_t bytes, const char *bootargs, uint64_t initrd)
{
	int chosen = fdt_path_offset(dtb, "/chosen");
	const fdt64_t *start = fdt_getprop(dtb, chosen, "linux,initrd-start", NULL);
	const fdt64_t *end = fdt_getprop(dtb, chosen, "linux,initrd-end", NULL);

	ck_assert_int_eq(fdt_check_full(dtb, bytes), 0);
	ck_assert_str_eq(fdt_getprop(dtb, chosen, "bootargs", NULL), bootargs);
	ck_assert(!start == !initrd);
	if (initrd) {
		ck_assert_uint_eq(fdt64_ld(start), initrd);
		ck_assert_uint_eq(fdt64_ld(end), initrd + 4);
	}
	ck_assert_int_ge(fdt_path_offset(dtb, "/cpus/cpu@2"), 0);
	ck_assert_int_ge(fdt_path_offset(dtb, "/soc/isa@0/serial@i3f8"), 0);
}

static uint64_t ramdisk(struct rig *rig)
{
	return ((struct boot_params *)rig_at(rig, LAYOUT_ZERO_PAGE, 4096))->hdr.ramdisk_image;
}

START_TEST(test_none_by_default)
{
	struct bz bz = bz_default();
	struct rig rig;

	rig_bz(&rig, &bz);
	rig_load_ok(&rig);
	ck_assert_ptr_null(find(&rig, SETUP_DTB));
	ck_assert_ptr_nonnull(find(&rig, 9));
}
END_TEST

START_TEST(test_bzimage)
{
	struct bz bz = bz_default();
	struct setup_data *node;
	struct rig rig;

	rig_bz(&rig, &bz);
	rig.cfg.pass_dtb = true;
	rig_load_ok(&rig);
	node = find(&rig, SETUP_DTB);
	ck_assert_ptr_nonnull(node);
	check_dtb(node->data, node->len, "console=ttyS0 quiet", ramdisk(&rig));
	ck_assert_ptr_nonnull(find(&rig, 9)); /* the seed is still there */
}
END_TEST

/* Before 2.09 there is no setup_data; the kernel starts without a device tree. */
START_TEST(test_old_bzimage)
{
	struct bz bz = bz_default();
	struct rig rig;

	bz.hdr.version = 0x208;
	bz.hdr.xloadflags = 0;
	rig_bz(&rig, &bz);
	rig.cfg.pass_dtb = true;
	rig_load_ok(&rig);
	ck_assert_ptr_null(find(&rig, SETUP_DTB));
}
END_TEST

/* PVH's start info has no room for it, so a 64-bit vmlinux starts at its other entry. */
START_TEST(test_vmlinux)
{
	uint64_t pvh_entry = 0x1000000;
	struct setup_data *node;
	struct elf_file f;
	struct rig rig;
	size_t end;

	elf_init(&f, 0x1000010);
	elf_add(&f, PT_LOAD, 0, 0xffffffff81000000, 0x1000000, 4096, 4096);
	elf_banner(&f, 3000, ELF_BANNER);
	end = elf_note(&f, 6000, "Xen", 18, &pvh_entry, 8);
	elf_add(&f, PT_NOTE, 6000, 0, 0, end - 6000, end - 6000);
	rig_init(&rig, 64);
	rig.cfg.kernel = elf_path(&f);
	hardware = rig_hardware(3, RIG_COM1);
	rig.cfg.hardware = &hardware;
	rig.cfg.cmdline = "quiet";
	rig_load_ok(&rig);
	ck_assert_str_eq(rig.entry.protocol, "ELF, PVH entry");
	rig.cfg.pass_dtb = true;
	rig_load_ok(&rig);
	ck_assert_str_eq(rig.entry.protocol, "ELF, 64-bit entry");
	node = find(&rig, SETUP_DTB);
	ck_assert_ptr_nonnull(node);
	check_dtb(node->data, node->len, "quiet", 0);
	/* What is not Linux has no such entry. */
	elf_banner(&f, 3000, "Minux");
	rig.cfg.kernel = elf_path(&f);
	rig_load_ok(&rig);
	ck_assert_str_eq(rig.entry.protocol, "ELF, PVH entry");
}
END_TEST

START_TEST(test_dump)
{
	static char file[65536];
	char path[] = "/tmp/lkvm-dtb-XXXXXX";
	struct bz bz = bz_default();
	struct setup_data *node;
	struct rig rig;
	ssize_t n;
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	rig_bz(&rig, &bz);
	rig.cfg.dump_dtb = path;
	rig_load_ok(&rig);
	n = pread(fd, file, sizeof(file), 0);
	ck_assert_int_gt(n, 0);
	check_dtb(file, (size_t)n, "console=ttyS0 quiet", ramdisk(&rig));
	ck_assert_ptr_null(find(&rig, SETUP_DTB)); /* written is not passed */

	/* What the guest gets is what the file has, and an old file is replaced. */
	ck_assert_int_eq(ftruncate(fd, 60000), 0);
	rig.cfg.pass_dtb = true;
	rig_load_ok(&rig);
	node = find(&rig, SETUP_DTB);
	ck_assert_int_eq(pread(fd, file, sizeof(file), 0), node->len);
	ck_assert_mem_eq(file, node->data, node->len);
	unlink(path);
}
END_TEST

/* A kernel that is not Linux is described, too. */
START_TEST(test_dump_flat)
{
	static char file[65536];
	char path[] = "/tmp/lkvm-dtb-XXXXXX";
	int fd = mkstemp(path);
	struct rig rig;

	rig_init(&rig, 64);
	rig.cfg.kernel = rig_file("\xf4", 1);
	hardware = rig_hardware(3, RIG_COM1);
	rig.cfg.hardware = &hardware;
	rig.cfg.dump_dtb = path;
	rig_load_flat(&rig);
	ck_assert_int_gt(pread(fd, file, sizeof(file), 0), 0);
	ck_assert_int_eq(fdt_check_full(file, sizeof(file)), 0);
	ck_assert_ptr_null(fdt_getprop(file, fdt_path_offset(file, "/chosen"), "bootargs", NULL));
	unlink(path);
}
END_TEST

START_TEST(test_dump_fails)
{
	struct bz bz = bz_default();
	struct rig rig;

	rig_bz(&rig, &bz);
	rig.cfg.dump_dtb = "/nonexistent/dtb";
	rig_load_fails(&rig, -ENOENT, "/nonexistent/dtb", "write device tree");
	rig.cfg.dump_dtb = "/dev/full";
	rig_load_fails(&rig, -ENOSPC, "/dev/full", "write device tree");
}
END_TEST

/* It goes into 64 KB of low memory. */
START_TEST(test_no_room)
{
	static char args[58000];
	struct hardware most = rig_hardware(255, 0);
	struct bz bz = bz_default();
	struct rig rig;

	memset(args, 'x', sizeof(args) - 1);
	bz.hdr.cmdline_size = 65535;
	rig_bz(&rig, &bz);
	rig.cfg.pass_dtb = true;
	rig.cfg.cmdline = args;
	rig_load_ok(&rig);
	rig.cfg.hardware = &most;
	rig_load_fails(&rig, -EFBIG, rig.cfg.kernel, "boot information of");
}
END_TEST

UNIT_MAIN("boot-dtb", test_none_by_default, test_bzimage, test_old_bzimage, test_vmlinux, test_dump,
	  test_dump_flat, test_dump_fails, test_no_room)
