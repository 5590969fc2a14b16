/* Links: x86/boot/boot.o x86/boot/file.o x86/boot/find.o x86/boot/linux.o x86/boot/dtb.o x86/boot/judge.o x86/boot/place.o x86/tables/fdt.o x86/boot/tables.o x86/boot/bzimage.o x86/boot/decompress.o x86/boot/decompress-codecs.o x86/boot/e820.o x86/boot/elf.o x86/boot/flat.o x86/boot/multiboot.o x86/boot/multiboot2.o x86/boot/uki.o x86/boot/vmlinux.o hw/ram.o util/log.o */
/* The bzImage protocol, and what it shares with vmlinux: command line, initrds, zero page. */
#include "boot-rig.h"

#include <dlfcn.h>
#include <sys/random.h>

static struct boot_params *zero_page(struct rig *rig)
{
	return rig_at(rig, LAYOUT_ZERO_PAGE, sizeof(struct boot_params));
}

static void check_code(struct rig *rig, uint64_t at, size_t len)
{
	static uint8_t want[BZ_CODE_BYTES];

	rig_pattern(want, sizeof(want), 1);
	ck_assert_mem_eq(rig_at(rig, at, len), want, len);
}

START_TEST(test_entry64)
{
	struct bz bz = bz_default();
	struct rig rig;

	rig_init(&rig, 64);
	rig.cfg.kernel = bz_file(&bz);
	rig_load_ok(&rig);
	ck_assert_int_eq(rig.entry.mode, BOOT_LONG64);
	ck_assert_uint_eq(rig.entry.rip, 0x1000200);
	ck_assert_uint_eq(rig.entry.rsi, LAYOUT_ZERO_PAGE);
	ck_assert_uint_eq(rig.entry.rsp, LAYOUT_STACK_TOP);
	ck_assert_str_eq(rig.entry.protocol, "bzImage, 64-bit entry");
	check_code(&rig, 0x1000000, BZ_CODE_BYTES);
}
END_TEST

/* Whatever RAM held before, the zero page says only what it should. */
START_TEST(test_zero_page)
{
	struct bz bz = bz_default();
	struct boot_params *p;
	struct rig rig;

	rig_init(&rig, 64);
	memset(rig_at(&rig, 0, 0xa0000), 0xaa, 0xa0000);
	rig.cfg.kernel = bz_file(&bz);
	rig.cfg.rsdp = GPA(0xe1230);
	rig_load_ok(&rig);
	p = zero_page(&rig);
	ck_assert_uint_eq(p->sentinel, 0);
	ck_assert_uint_eq(p->screen_info.orig_video_isVGA, 0);
	ck_assert_uint_eq(p->acpi_rsdp_addr, 0xe1230);
	ck_assert_uint_eq(p->hdr.header, bz.hdr.header);
	ck_assert_uint_eq(p->hdr.version, 0x20f);
	ck_assert_uint_eq(p->hdr.type_of_loader, 0xff);
	ck_assert_uint_eq(p->hdr.loadflags, LOADED_HIGH);
	ck_assert_uint_eq(p->hdr.code32_start, 0x1000000);
	ck_assert_uint_eq(p->hdr.cmd_line_ptr, LAYOUT_CMDLINE);
	ck_assert_uint_eq(p->ext_cmd_line_ptr, 0);
	ck_assert_uint_eq(p->hdr.ramdisk_image, 0);
	ck_assert_uint_eq(p->hdr.ramdisk_size, 0);
	ck_assert_uint_eq(p->hdr.init_size, bz.hdr.init_size);
	ck_assert_str_eq(rig_string(&rig, LAYOUT_CMDLINE), "");
}
END_TEST

/* Spec: Linux, include/uapi/linux/screen_info.h */
START_TEST(test_framebuffer)
{
	const struct screen_info *screen;
	struct bz bz = bz_default();
	struct rig rig;

	rig_init(&rig, 64);
	rig.cfg.kernel = bz_file(&bz);
	rig.cfg.framebuffer = (struct boot_framebuffer){ 0xd1000000, 1023, 769 };
	rig_load_ok(&rig);
	screen = &zero_page(&rig)->screen_info;
	ck_assert_uint_eq(screen->orig_video_isVGA, VIDEO_TYPE_VLFB);
	ck_assert_uint_eq(screen->lfb_base, 0xd1000000);
	ck_assert_uint_eq(screen->ext_lfb_base, 0);
	ck_assert(screen->lfb_width == 1023 && screen->lfb_height == 769 && screen->lfb_depth == 32);
	ck_assert_uint_eq(screen->lfb_linelength, 1023 * 4);
	ck_assert_uint_eq(screen->lfb_size, 49); /* 64 KB each: 48.01 */
	ck_assert(screen->red_pos == 16 && screen->green_pos == 8 && !screen->blue_pos && screen->rsvd_pos == 24);
	ck_assert(screen->red_size == 8 && screen->green_size == 8 && screen->blue_size == 8 && screen->rsvd_size == 8);
	ck_assert_uint_eq(screen->capabilities, VIDEO_CAPABILITY_64BIT_BASE);
}
END_TEST

START_TEST(test_e820_in_zero_page)
{
	struct bz bz = bz_default();
	struct e820_range map[E820_MAX];
	struct boot_params *p;
	struct rig rig;
	unsigned n;

	rig_init(&rig, 4096);
	rig.cfg.kernel = bz_file(&bz);
	rig_load_ok(&rig);
	n = e820_build(rig.ram, map);
	p = zero_page(&rig);
	ck_assert_uint_eq(p->e820_entries, n);
	for (unsigned i = 0; i < n; i++) {
		ck_assert_uint_eq(p->e820_table[i].addr, map[i].start);
		ck_assert_uint_eq(p->e820_table[i].size, map[i].size_bytes);
		ck_assert_uint_eq(p->e820_table[i].type, map[i].type);
	}
}
END_TEST

START_TEST(test_rng_seed)
{
	static const uint8_t zeros[32];
	struct bz bz = bz_default();
	struct setup_data *node;
	uint8_t first[32];
	struct rig rig;

	rig_init(&rig, 64);
	rig.cfg.kernel = bz_file(&bz);
	rig_load_ok(&rig);
	node = rig_at(&rig, zero_page(&rig)->hdr.setup_data, sizeof(*node) + 32);
	ck_assert_uint_eq(node->type, 9);
	ck_assert_uint_eq(node->len, 32);
	ck_assert_uint_eq(node->next, 0);
	ck_assert_mem_ne(node->data, zeros, 32);
	memcpy(first, node->data, 32);
	rig_load_ok(&rig);
	ck_assert_mem_ne(node->data, first, 32);
}
END_TEST

static bool no_random;

ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
	ssize_t (*real)(void *, size_t, unsigned) =
		(ssize_t(*)(void *, size_t, unsigned))dlsym(RTLD_NEXT, "getrandom");

	if (!no_random)
		return real(buf, len, flags);
	errno = ENOSYS;
	return -1;
}

START_TEST(test_no_random)
{
	struct bz bz = bz_default();
	struct rig rig;

	rig_init(&rig, 64);
	rig.cfg.kernel = bz_file(&bz);
	no_random = true;
	rig_load_fails(&rig, -ENOSYS, "getrandom", "Function not implemented");
}
END_TEST

/* The file's own setup_data is a number from the file: not for the guest to follow. */
START_TEST(test_setup_data_of_the_file)
{
	struct bz bz = bz_default();
	struct rig rig;

	bz.hdr.setup_data = 0xdeadbeef;
	rig_init(&rig, 64);
	rig.cfg.kernel = bz_file(&bz);
	rig_load_ok(&rig);
	ck_assert_uint_eq(
		((struct setup_data *)rig_at(&rig, zero_page(&rig)->hdr.setup_data, 16))->next, 0);
}
END_TEST

START_TEST(test_entry32)
{
	static const struct {
		uint16_t version, xloadflags;
	} cases[] = { { 0x20f, 0 }, { 0x20b, XLF_KERNEL_64 },
		      { 0x20a, 0 }, { 0x205, 0 },
		      { 0x208, 0 }, { 0x209, 0 } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bz bz = bz_default();
		uint64_t load = cases[i].version >= 0x20a ? 0x1000000 : 0x200000;
		struct rig rig;

		bz.hdr.version = cases[i].version;
		bz.hdr.xloadflags = cases[i].xloadflags;
		rig_init(&rig, 64);
		rig.cfg.kernel = bz_file(&bz);
		rig_load_ok(&rig);
		ck_assert_int_eq(rig.entry.mode, BOOT_PROTECTED32);
		ck_assert_uint_eq(rig.entry.rip, load);
		ck_assert_uint_eq(rig.entry.rsi, LAYOUT_ZERO_PAGE);
		ck_assert_uint_eq(rig.entry.rbx, 0);
		check_code(&rig, load, BZ_CODE_BYTES);
		/* setup_data came with 2.09 */
		ck_assert(!!zero_page(&rig)->hdr.setup_data == (cases[i].version >= 0x209));
		ram_free(rig.ram);
	}
}
END_TEST

START_TEST(test_real_entry)
{
	struct bz bz = bz_default();
	struct setup_header hdr;
	struct rig rig;

	bz.hdr.version = 0x207;
	bz.hdr.xloadflags = 0;
	bz.hdr.code32_start = 0;
	bz.hdr.relocatable_kernel = 0;
	bz.hdr.kernel_alignment = 0;
	rig_init(&rig, 64);
	rig.cfg.kernel = bz_file(&bz);
	rig.cfg.cmdline = "dhcp";
	rig_add_initrd(&rig, rig_file("abc", 3));
	ck_assert_int_eq(rig_load(&rig), 0);
	ck_assert_ptr_nonnull(strstr(rig.log, "real mode"));
	ck_assert_int_eq(rig.entry.mode, BOOT_REAL);
	ck_assert_uint_eq(rig.entry.real_segment, 0x1000);
	ck_assert_uint_eq(rig.entry.rip, 0x200);
	check_code(&rig, 0x100000, BZ_CODE_BYTES);
	memcpy(&hdr, rig_at(&rig, 0x101f1, sizeof(hdr)), sizeof(hdr));
	ck_assert_uint_eq(hdr.type_of_loader, 0xff);
	ck_assert_uint_eq(hdr.loadflags, LOADED_HIGH | CAN_USE_HEAP);
	ck_assert_uint_eq(hdr.cmd_line_ptr, LAYOUT_CMDLINE);
	ck_assert_uint_eq(hdr.ramdisk_size, 3);
	ck_assert_str_eq(rig_at(&rig, hdr.ramdisk_image, 4), "abc");
	ck_assert_uint_lt(hdr.heap_end_ptr + 0x200, rig.entry.rsp);
	/* Behind the header is the setup code, which must stay as it was. */
	ck_assert_uint_eq(hdr.cmdline_size, bz.hdr.cmdline_size);
	ck_assert_str_eq(rig_string(&rig, LAYOUT_CMDLINE), "dhcp");
}
END_TEST

START_TEST(test_real_entry_setup_too_long)
{
	struct bz bz = bz_default();
	struct rig rig;

	bz.hdr.version = 0x207;
	bz.hdr.code32_start = 0;
	bz.hdr.setup_sects = 63;
	rig_init(&rig, 64);
	rig.cfg.kernel = bz_file(&bz);
	ck_assert_int_eq(rig_load(&rig), 0);
	bz.hdr.setup_sects = 64;
	rig.cfg.kernel = bz_file(&bz);
	rig_load_fails(&rig, -ENOEXEC, rig.cfg.kernel,
		       "setup of 33280 bytes, at most 32768 can run");
}
END_TEST

/* Load address: pref_address, aligned, not below 1 MB; 1 MB if the kernel cannot be moved */
START_TEST(test_load_address)
{
	static const struct {
		bool relocatable;
		uint64_t pref, align, want;
	} cases[] = {
		{ true, 0x1000000, 0x200000, 0x1000000 },
		{ true, 0x1000001, 0x200000, 0x1200000 },
		{ true, 0, 0x1000, 0x100000 },
		{ true, 0x100000, 0x1000000, 0x1000000 },
		{ false, 0x1000000, 0x200000, 0x100000 },
		{ false, 0x100000, 0, 0x100000 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bz bz = bz_default();
		struct rig rig;

		bz.hdr.relocatable_kernel = cases[i].relocatable;
		bz.hdr.pref_address = cases[i].pref;
		bz.hdr.kernel_alignment = (uint32_t)cases[i].align;
		rig_init(&rig, 64);
		rig.cfg.kernel = bz_file(&bz);
		rig_load_ok(&rig);
		ck_assert_uint_eq(rig.entry.rip, cases[i].want + 0x200);
		check_code(&rig, cases[i].want, BZ_CODE_BYTES);
		ram_free(rig.ram);
	}
}
END_TEST

START_TEST(test_setup_sects_zero_is_four)
{
	struct bz bz = bz_default();
	struct rig rig;

	bz.hdr.setup_sects = 0;
	rig_init(&rig, 64);
	rig.cfg.kernel = bz_file(&bz);
	rig_load_ok(&rig);
	check_code(&rig, 0x1000000, BZ_CODE_BYTES);
}
END_TEST

/* syssize counts paragraphs: the last may be short in the file; what follows is not the kernel */
START_TEST(test_syssize)
{
	struct bz bz = bz_default();
	struct rig rig;

	rig_init(&rig, 64);
	bz.code_bytes = BZ_CODE_BYTES - 15;
	rig.cfg.kernel = bz_file(&bz);
	rig_load_ok(&rig);
	check_code(&rig, 0x1000000, BZ_CODE_BYTES - 15);
	bz.code_bytes = BZ_CODE_BYTES - 16;
	rig.cfg.kernel = bz_file(&bz);
	rig_load_fails(&rig, -ENOEXEC, rig.cfg.kernel,
		       "truncated bzImage: kernel of 4096 bytes, file has 4080");
	bz.code_bytes = BZ_CODE_BYTES + 8;
	rig.cfg.kernel = bz_file(&bz);
	rig_load_ok(&rig);
	ck_assert_uint_eq(*(uint64_t *)rig_at(&rig, 0x1000000 + BZ_CODE_BYTES, 8), 0);
	/* Before 2.04 it had 16 bits and meant little. */
	bz.hdr.version = 0x203;
	bz.hdr.syssize = 0xffffffff;
	rig.cfg.kernel = bz_file(&bz);
	rig_load_ok(&rig);
	check_code(&rig, 0x100000, BZ_CODE_BYTES);
}
END_TEST

/* Bytes behind the header's end are code, even if the version promises fields there. */
START_TEST(test_header_end)
{
	struct bz bz = bz_default();
	struct rig rig;

	bz.hdr.jump = (0x260 - 0x202) << 8 | 0xeb; /* ends before init_size */
	rig_init(&rig, 64);
	rig.cfg.kernel = bz_file(&bz);
	rig_load_ok(&rig);
	ck_assert_uint_eq(rig.entry.rip, 0x1000200);
	ck_assert_uint_eq(zero_page(&rig)->hdr.init_size, 0);
	/* And it cannot end behind the room for it in the zero page. */
	bz.hdr.jump = 0xffeb;
	rig.cfg.kernel = bz_file(&bz);
	rig_load_ok(&rig);
	ck_assert_uint_eq(zero_page(&rig)->hdr.init_size, bz.hdr.init_size);
	ck_assert_uint_eq(zero_page(&rig)->edd_mbr_sig_buffer[0], 0);
}
END_TEST

enum change { BOOT_FLAG, VERSION, LOADFLAGS, ALIGNMENT, SECTS, CODE_BYTES, FILE_BYTES, PREF, INIT };

START_TEST(test_damaged_headers)
{
	static const struct {
		enum change what;
		uint64_t value;
		int err;
		const char *text;
	} cases[] = {
		{ BOOT_FLAG, 0x55aa, -ENOEXEC, "boot flag 0x55aa instead of 0xaa55" },
		{ VERSION, 0x0201, -ENOEXEC, "boot protocol 2.01" },
		{ VERSION, 0x0100, -ENOEXEC, "boot protocol 1.00" },
		{ VERSION, 0x0300, -ENOEXEC, "boot protocol 3.00" },
		{ LOADFLAGS, 0, -ENOEXEC, "zImage" },
		{ ALIGNMENT, 0, -ENOEXEC, "kernel_alignment 0 is not a power of two" },
		{ ALIGNMENT, 0x300000, -ENOEXEC, "kernel_alignment 0x300000" },
		{ SECTS, 255, -ENOEXEC, "truncated bzImage: setup of 131072 bytes, file of 5120" },
		{ FILE_BYTES, 0x206, -ENOEXEC, "boot protocol 0.00" },
		{ FILE_BYTES, 0x290, -ENOEXEC,
		  "truncated bzImage: setup of 1024 bytes, file of 656" },
		{ FILE_BYTES, 1024, -ENOEXEC, "setup of 1024 bytes, file of 1024" },
		{ FILE_BYTES, 1025, -ENOEXEC, "kernel of 4096 bytes, file has 1 of them" },
		{ CODE_BYTES, 0x200, -ENOEXEC, "64-bit entry behind its end, 512 bytes" },
		{ PREF, 0x4000000, -EFBIG,
		  "needs 0x1000 bytes at 0x4000000, but RAM ends at 0x4000000" },
		{ PREF, UINT64_MAX, -EFBIG, "0xffffffffffffffff" },
		{ PREF, UINT64_MAX - 0xfff, -EFBIG, "0xfffffffffffff000" },
		{ PREF, 0x3800000, -EFBIG, "needs 0x800001 bytes at 0x3800000" },
		{ INIT, 0x3000001, -EFBIG,
		  "needs 0x3000001 bytes at 0x1000000, but RAM ends at 0x4000000" },
		{ INIT, 0xffffffff, -EFBIG, "needs 0xffffffff bytes" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bz bz = bz_default();
		uint64_t v = cases[i].value;
		struct rig rig;

		rig_init(&rig, 64);
		switch (cases[i].what) {
		case BOOT_FLAG:
			bz.hdr.boot_flag = (uint16_t)v;
			break;
		case VERSION:
			bz.hdr.version = (uint16_t)v;
			break;
		case LOADFLAGS:
			bz.hdr.loadflags = (uint8_t)v;
			break;
		case ALIGNMENT:
			bz.hdr.kernel_alignment = (uint32_t)v;
			break;
		case SECTS:
			bz.hdr.setup_sects = (uint8_t)v;
			bz.file_bytes = 5120;
			break;
		case CODE_BYTES:
			bz.code_bytes = v;
			bz.hdr.syssize = (uint32_t)v / 16;
			break;
		case FILE_BYTES:
			bz.file_bytes = v;
			break;
		case PREF:
			bz.hdr.pref_address = v;
			break;
		case INIT:
			bz.hdr.init_size = (uint32_t)v;
			break;
		}
		if (v == 0x3800000)
			bz.hdr.init_size = 0x800001;
		rig.cfg.kernel = bz_file(&bz);
		rig_load_fails(&rig, cases[i].err, rig.cfg.kernel, cases[i].text);
		ram_free(rig.ram);
	}
}
END_TEST

/* Just enough RAM, both for a kernel that moves and for one that does not */
START_TEST(test_init_size_exact)
{
	struct bz bz = bz_default();
	struct rig rig;

	rig_init(&rig, 64);
	bz.hdr.init_size = 0x3000000;
	rig.cfg.kernel = bz_file(&bz);
	rig_load_ok(&rig);
	bz.hdr.relocatable_kernel = 0;
	rig.cfg.kernel = bz_file(&bz);
	rig_load_ok(&rig);
	bz.hdr.init_size++;
	rig.cfg.kernel = bz_file(&bz);
	rig_load_fails(&rig, -EFBIG, rig.cfg.kernel, "needs 0x3000001 bytes at 0x1000000");
}
END_TEST

/* A kernel that moves itself into the low area would destroy what it is given. */
START_TEST(test_pref_address_low)
{
	struct bz bz = bz_default();
	struct rig rig;

	rig_init(&rig, 64);
	bz.hdr.relocatable_kernel = 0;
	bz.hdr.pref_address = 0x20000;
	rig.cfg.kernel = bz_file(&bz);
	rig_load_fails(&rig, -ENOEXEC, rig.cfg.kernel, "overlaps");
}
END_TEST

static void cmdline_case(uint16_t version, const char *first, size_t user_bytes, const char *error)
{
	static char user[70000];
	struct bz bz = bz_default();
	struct rig rig;

	rig_init(&rig, 64);
	bz.hdr.version = version;
	bz.hdr.cmdline_size = version == 0x20f ? 2047 : UINT32_MAX;
	memset(user, 'u', sizeof(user));
	user[user_bytes] = '\0';
	rig.cfg.kernel = bz_file(&bz);
	rig.cfg.default_cmdline = first;
	rig.cfg.cmdline = user;
	if (error) {
		rig_load_fails(&rig, -EFBIG, rig.cfg.kernel, error);
	} else {
		rig_load_ok(&rig);
		ck_assert_uint_eq(strlen(rig_at(&rig, LAYOUT_CMDLINE, LAYOUT_CMDLINE_MAX)),
				  strlen(first) + user_bytes + (*first && user_bytes));
	}
	ram_free(rig.ram);
}

START_TEST(test_cmdline_limits)
{
	cmdline_case(0x20f, "", 2047, NULL);
	cmdline_case(0x20f, "", 2048, "command line of 2048 bytes, but this kernel takes 2047");
	cmdline_case(0x20f, "console=ttyS0", 2033, NULL);
	cmdline_case(0x20f, "console=ttyS0", 2034, "of 2048 bytes, but this kernel takes 2047");
	cmdline_case(0x206, "", 256, NULL);
	cmdline_case(0x205, "", 255, NULL);
	cmdline_case(0x205, "", 256, "of 256 bytes, but this kernel takes 255");
	cmdline_case(0x20e, "", 65535, NULL);
	cmdline_case(0x20e, "", 65536, "of 65536 bytes, but this kernel takes 65535");
}
END_TEST

START_TEST(test_cmdline_joined)
{
	static const struct {
		const char *first, *second, *want;
	} cases[] = {
		{ "a=1 b", "c", "a=1 b c" },
		{ "a", NULL, "a" },
		{ NULL, "c", "c" },
		{ "a", "", "a" },
		{ "", "c", "c" },
		{ NULL, NULL, "" },
	};
	struct bz bz = bz_default();
	struct rig rig;

	rig_init(&rig, 64);
	rig.cfg.kernel = bz_file(&bz);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		rig.cfg.default_cmdline = cases[i].first;
		rig.cfg.cmdline = cases[i].second;
		rig_load_ok(&rig);
		ck_assert_str_eq(rig_string(&rig, LAYOUT_CMDLINE), cases[i].want);
	}
}
END_TEST

/* Several initrds are one blob: in order, each on a multiple of 4, zeros between them */
START_TEST(test_initrds_joined)
{
	struct bz bz = bz_default();
	struct boot_params *p;
	struct rig rig;

	rig_init(&rig, 64);
	memset(rig_at(&rig, 0x3fff000, 0x1000), 0xaa, 0x1000);
	rig.cfg.kernel = bz_file(&bz);
	rig_add_initrd(&rig, rig_file("onion", 5));
	rig_add_initrd(&rig, rig_file("four", 4));
	rig_add_initrd(&rig, rig_file("x", 1));
	rig_load_ok(&rig);
	p = zero_page(&rig);
	ck_assert_uint_eq(p->hdr.ramdisk_image, 0x3fff000);
	ck_assert_uint_eq(p->hdr.ramdisk_size, 13);
	ck_assert_uint_eq(p->ext_ramdisk_image, 0);
	ck_assert_uint_eq(p->ext_ramdisk_size, 0);
	ck_assert_mem_eq(rig_at(&rig, 0x3fff000, 14), "onion\0\0\0fourx\xaa", 14);
}
END_TEST

static void write_made(const void *ctx, void *dst)
{
	memcpy(dst, ctx, strlen(ctx));
}

/* One that is made on the spot stands behind the others, or alone. */
START_TEST(test_initrd_made)
{
	struct boot_made made = { .name = "initramfs", .bytes = 6, .write = write_made, .ctx = "making" };
	struct bz bz = bz_default();
	struct rig rig;

	rig_init(&rig, 64);
	memset(rig_at(&rig, 0x3fff000, 0x1000), 0xaa, 0x1000);
	rig.cfg.kernel = bz_file(&bz);
	rig.cfg.made = &made;
	rig_load_ok(&rig);
	ck_assert_uint_eq(zero_page(&rig)->hdr.ramdisk_size, 6);
	ck_assert_mem_eq(rig_at(&rig, 0x3fff000, 7), "making\xaa", 7);
	rig_add_initrd(&rig, rig_file("onion", 5));
	rig_load_ok(&rig);
	ck_assert_uint_eq(zero_page(&rig)->hdr.ramdisk_size, 14);
	ck_assert_mem_eq(rig_at(&rig, 0x3fff000, 15), "onion\0\0\0making\xaa", 15);
	made.bytes = 0x10000000;
	rig_load_fails(&rig, -EFBIG, "initramfs", "does not fit");
	rig.cfg.kernel = rig_file("\xeb\xfe no Linux", 11);
	rig.cfg.n_initrds = 0;
	rig_load_fails(&rig, -ENOEXEC, rig.cfg.kernel, "no known kernel header");
}
END_TEST

START_TEST(test_initrd_empty)
{
	struct bz bz = bz_default();
	struct rig rig;

	rig_init(&rig, 64);
	rig.cfg.kernel = bz_file(&bz);
	rig_add_initrd(&rig, rig_file("", 0));
	ck_assert_int_eq(rig_load(&rig), 0);
	ck_assert_ptr_nonnull(strstr(rig.log, "is empty"));
	ck_assert_uint_eq(zero_page(&rig)->hdr.ramdisk_image, 0);
	ck_assert_uint_eq(zero_page(&rig)->hdr.ramdisk_size, 0);
}
END_TEST

/* As high as the kernel reaches: initrd_addr_max, the gap, the end of RAM */
START_TEST(test_initrd_place)
{
	static const struct {
		uint64_t mib;
		uint16_t version;
		uint32_t max;
		uint64_t want;
	} cases[] = {
		{ 64, 0x20f, 0x7fffffff, 0x3fff000 },    { 64, 0x20f, 0x3ffffff, 0x3fff000 },
		{ 64, 0x20f, 0x3fffffe, 0x3ffe000 },     { 64, 0x20f, 0x2ffffff, 0x2fff000 },
		{ 1024, 0x20f, 0x37ffffff, 0x37fff000 }, { 1024, 0x202, 0xffffffff, 0x37fff000 },
		{ 1024, 0x203, 0xffffffff, 0x3ffff000 }, { 4096, 0x20f, 0x7fffffff, 0x7ffff000 },
		{ 4096, 0x20f, 0xffffffff, 0xcffff000 },
	};
	static uint8_t data[4096];

	rig_pattern(data, sizeof(data), 3);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bz bz = bz_default();
		struct rig rig;

		bz.hdr.version = cases[i].version;
		bz.hdr.initrd_addr_max = cases[i].max;
		rig_init(&rig, cases[i].mib);
		rig.cfg.kernel = bz_file(&bz);
		rig_add_initrd(&rig, rig_file(data, sizeof(data)));
		rig_load_ok(&rig);
		ck_assert_uint_eq(zero_page(&rig)->hdr.ramdisk_image, cases[i].want);
		ck_assert_uint_eq(zero_page(&rig)->hdr.ramdisk_size, sizeof(data));
		ck_assert_mem_eq(rig_at(&rig, cases[i].want, sizeof(data)), data, sizeof(data));
		ram_free(rig.ram);
	}
}
END_TEST

static const char *sparse_file(uint64_t bytes)
{
	static char path[4][32];
	static unsigned n;
	int fd = memfd_create("sparse", 0);

	ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
	snprintf(path[n], sizeof(path[n]), "/proc/self/fd/%d", fd);
	return path[n++];
}

/* Between the kernel's 0x1800000 and the end at 0x4000000 are 0x2800000 bytes. */
START_TEST(test_initrd_too_large)
{
	struct bz bz = bz_default();
	struct rig rig;

	rig_init(&rig, 64);
	rig.cfg.kernel = bz_file(&bz);
	rig_add_initrd(&rig, sparse_file(0x2800000));
	rig_load_ok(&rig);
	ck_assert_uint_eq(zero_page(&rig)->hdr.ramdisk_image, 0x1800000);
	rig.initrd[0] = sparse_file(0x2800001);
	rig_load_fails(&rig, -EFBIG, rig.initrd[0], "41943041 bytes in all, 41943040 bytes free");
	rig_load_fails(&rig, -EFBIG, rig.initrd[0], "; -m 65 has room for it");
	/* The first byte of the last free page is taken, so its start is not free. */
	bz.hdr.init_size = 0x800001;
	rig.cfg.kernel = bz_file(&bz);
	rig.initrd[0] = sparse_file(0x27fffff);
	rig_load_fails(&rig, -EFBIG, rig.initrd[0], "kernel's end 0x1800001");
	/* Two that would fit alone */
	rig.initrd[0] = sparse_file(0x2000000);
	rig.initrd[1] = rig.initrd[0];
	rig.cfg.n_initrds = 2;
	rig_load_fails(&rig, -EFBIG, rig.initrd[0], "67108864 bytes in all");
	/* The kernel ends above what it can reach. */
	bz.hdr.initrd_addr_max = 0x10;
	rig.cfg.kernel = bz_file(&bz);
	rig.initrd[0] = rig_file("x", 1);
	rig.cfg.n_initrds = 1;
	rig_load_fails(&rig, -EFBIG, rig.initrd[0], "0 bytes free");
	rig_load_fails(&rig, -EFBIG, rig.initrd[0], "; this kernel can take none above 0x11");
}
END_TEST

/*
 * Where the kernel's end leaves room for it: below initrd_addr_max, else below the gap, else above 4 GB;
 * the last two only where the kernel says that it may be there.
 */
START_TEST(test_initrd_above_4g)
{
	static const struct {
		uint64_t mib;
		uint32_t kernel_end;
		bool anywhere, entry64;
		uint64_t want;
		const char *text;
	} cases[] = {
		{ 8192, 0x1800000, true, true, 0x7fe00000, NULL },
		{ 8192, 0x7ff00000, true, true, 0xcfe00000, NULL },
		{ 8192, 0xcff00000, true, true, 0x22fe00000, NULL },
		{ 8192, 0xcff00000, false, true, 0, "can take none above 0x80000000" },
		{ 8192, 0xcff00000, true, false, 0, "can take none above 0x80000000" },
		{ 3330, 0xcff00000, true, true, 0x100000000, NULL },
		{ 3329, 0xcff00000, true, true, 0, "-m 3330 has room for it" },
		{ 3328, 0xcff00000, true, true, 0, "-m 3330 has room for it" },
		{ 3328, 0xcff00000, false, true, 0, "can take none above 0x80000000" },
		{ 2047, 0x7fe00000, false, true, 0, "-m 2048 has room for it" },
	};
	static uint8_t data[2 * MIB];

	rig_pattern(data, sizeof(data), 3);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t want = cases[i].want;
		struct bz bz = bz_default();
		struct rig rig;

		bz.hdr.init_size = cases[i].kernel_end - 0x1000000;
		bz.hdr.xloadflags = (uint16_t)((cases[i].entry64 ? XLF_KERNEL_64 : 0) |
					       (cases[i].anywhere ? XLF_CAN_BE_LOADED_ABOVE_4G : 0));
		rig_init(&rig, cases[i].mib);
		rig.cfg.kernel = bz_file(&bz);
		rig_add_initrd(&rig, rig_file(data, sizeof(data)));
		if (cases[i].text) {
			rig_load_fails(&rig, -EFBIG, rig.initrd[0], cases[i].text);
		} else {
			rig_load_ok(&rig);
			ck_assert_uint_eq(zero_page(&rig)->hdr.ramdisk_image, (uint32_t)want);
			ck_assert_uint_eq(zero_page(&rig)->ext_ramdisk_image, want >> 32);
			ck_assert_uint_eq(zero_page(&rig)->hdr.ramdisk_size, sizeof(data));
			ck_assert_uint_eq(zero_page(&rig)->ext_ramdisk_size, 0);
			ck_assert_mem_eq(rig_at(&rig, want, sizeof(data)), data, sizeof(data));
		}
		ram_free(rig.ram);
	}
}
END_TEST

/* The kernel itself needs more than there is. */
START_TEST(test_kernel_too_large)
{
	struct bz bz = bz_default();
	struct rig rig;

	rig_init(&rig, 64);
	bz.hdr.init_size = 0x3000001;
	rig.cfg.kernel = bz_file(&bz);
	rig_load_fails(&rig, -EFBIG, rig.cfg.kernel, "RAM ends at 0x4000000; -m 65 has room for it");
	bz.hdr.init_size = 0xcf000001;
	rig.cfg.kernel = bz_file(&bz);
	rig_load_fails(&rig, -EFBIG, rig.cfg.kernel, "RAM ends at 0x4000000\n");
}
END_TEST

/* 2^63 bytes together: the sum must not wrap to something small. */
START_TEST(test_initrd_sum)
{
	struct bz bz = bz_default();
	const char *huge = sparse_file(INT64_MAX - 4095);
	struct rig rig;

	rig_init(&rig, 64);
	rig.cfg.kernel = bz_file(&bz);
	for (int i = 0; i < 4; i++)
		rig_add_initrd(&rig, huge);
	rig_load_fails(&rig, -EFBIG, huge, "is too large");
}
END_TEST

START_TEST(test_initrd_missing)
{
	struct bz bz = bz_default();
	struct rig rig;

	rig_init(&rig, 64);
	rig.cfg.kernel = bz_file(&bz);
	rig_add_initrd(&rig, rig_file("ok", 2));
	rig_add_initrd(&rig, "/nonexistent/initrd");
	rig_load_fails(&rig, -ENOENT, "initrd '/nonexistent/initrd'", "No such file");
	rig.initrd[1] = "/";
	rig_load_fails(&rig, -EISDIR, "initrd '/'", "Is a directory");
}
END_TEST

START_TEST(test_release)
{
	static const struct {
		const char *text;
		uint16_t at; /* 0x200 less */
		const char *release;
	} cases[] = {
		{ "6.1.0-x (me) #1 SMP", 0x100, "6.1.0-x" },
		{ "6.1.0", 0x100, "6.1.0" },
		{ "6.1.0-x (me)", 0, "" },       /* there is none */
		{ "6.1.0-x (me)", 0x1fc, "6.1." }, /* the setup part ends here */
		{ "6.1.0-x (me)", 0x200, "" },
		{ "6.1.0-x (me)", 0xffff, "" },
		{ " 6.1", 0x100, "" },
		{ "", 0x100, "" },
		{ "0123456789012345678901234567890123456789012345678901234567890123456789", 0x100,
		  "0123456789012345678901234567890123456789012345678901234567890123" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bz bz = bz_default();
		struct rig rig;

		rig_init(&rig, 64);
		bz.hdr.kernel_version = cases[i].at;
		bz.version_text = cases[i].text;
		rig.cfg.kernel = bz_file(&bz);
		rig_load_ok(&rig);
		ck_assert_str_eq(rig.entry.release, cases[i].release);
	}
}
END_TEST

UNIT_MAIN("boot-bzimage", test_release, test_entry64, test_zero_page, test_framebuffer, test_e820_in_zero_page, test_rng_seed,
	  test_no_random, test_setup_data_of_the_file, test_entry32, test_real_entry,
	  test_real_entry_setup_too_long, test_load_address, test_setup_sects_zero_is_four,
	  test_syssize, test_header_end, test_damaged_headers, test_init_size_exact,
	  test_pref_address_low, test_cmdline_limits, test_cmdline_joined, test_initrds_joined,
	  test_initrd_made,
	  test_initrd_empty, test_initrd_place, test_initrd_too_large, test_initrd_sum, test_initrd_above_4g,
	  test_kernel_too_large,
	  test_initrd_missing)
