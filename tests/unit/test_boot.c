/* Links: x86/boot/boot.o x86/boot/file.o x86/boot/find.o x86/boot/linux.o x86/boot/dtb.o x86/boot/judge.o x86/boot/place.o x86/tables/fdt.o x86/boot/tables.o x86/boot/bzimage.o x86/boot/decompress.o x86/boot/decompress-codecs.o x86/boot/e820.o x86/boot/elf.o x86/boot/flat.o x86/boot/multiboot.o x86/boot/multiboot2.o x86/boot/uki.o x86/boot/vmlinux.o hw/ram.o util/log.o */
/* Files, the choice of protocol, flat binaries, boot tables, the memory map, finding a kernel. */
#include "boot-rig.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/time.h>

START_TEST(test_no_kernel_file)
{
	struct rig rig;

	rig_init(&rig, 64);
	rig.cfg.kernel = "/nonexistent/bzImage";
	rig_load_fails(&rig, -ENOENT, "kernel '/nonexistent/bzImage'", "No such file");
	rig.cfg.kernel = "/proc";
	rig_load_fails(&rig, -EISDIR, "kernel '/proc'", "is a folder with neither arch/x86/boot/bzImage");
	rig.cfg.kernel = "/dev/null";
	rig_load_fails(&rig, -ENOEXEC, "kernel '/dev/null'", "neither a regular file nor a pipe");
	rig.cfg.kernel = rig_file("", 0);
	rig_load_fails(&rig, -ENOEXEC, rig.cfg.kernel, "is empty");
}
END_TEST

/* A FIFO without a writer must not hang lkvm, and a pipe is no file. */
START_TEST(test_fifo)
{
	char dir[] = "/tmp/test_boot.XXXXXX", path[64];
	struct rig rig;
	int fds[2];

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	rig_init(&rig, 64);
	rig.cfg.kernel = path;
	rig_load_fails(&rig, -ENOEXEC, path, "is a pipe that nothing comes out of");
	unlink(path);
	rmdir(dir);
	ck_assert_int_eq(pipe(fds), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[0]);
	ck_assert_int_eq(write(fds[1], "\xf4\0x", 3), 3);
	close(fds[1]);
	rig_load_flat(&rig);
	ck_assert_mem_eq(rig_at(&rig, LAYOUT_FLAT, 4), "\xf4\0x\0", 4);
}
END_TEST

/* @bytes out of a pipe, with pauses: its name */
static const char *slow_pipe(const uint8_t *bytes, size_t len)
{
	static char path[8][32];
	static unsigned n;
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	if (!fork()) {
		for (size_t at = 0; at < len; at += 1000) {
			usleep(1000);
			if (write(fds[1], bytes + at, len - at < 1000 ? len - at : 1000) <= 0)
				_exit(1);
		}
		_exit(0);
	}
	close(fds[1]);
	ck_assert_uint_lt(n, 8);
	snprintf(path[n], sizeof(path[n]), "/proc/self/fd/%d", fds[0]);
	return path[n++];
}

/* Kernel and initrd as `-k <(zcat x) -i <(zcat y)` gives them, whatever the writer's pace */
START_TEST(test_pipes)
{
	static uint8_t kernel[65536], initrd[3001];
	struct bz bz = bz_default();
	struct rig rig;
	int fd;

	rig_init(&rig, 64);
	fd = open(bz_file(&bz), O_RDONLY);
	rig_pattern(initrd, sizeof(initrd), 9);
	rig.cfg.kernel = slow_pipe(kernel, (size_t)pread(fd, kernel, sizeof(kernel), 0));
	rig_add_initrd(&rig, slow_pipe(initrd, sizeof(initrd)));
	rig_add_initrd(&rig, rig_file("tail", 4));
	rig_load_ok(&rig);
	ck_assert_str_eq(rig.entry.protocol, "bzImage, 64-bit entry");
	ck_assert_mem_eq(rig_at(&rig, 0x1000000, BZ_CODE_BYTES), kernel + 1024, BZ_CODE_BYTES);
	ck_assert_mem_eq(rig_at(&rig, 0x3fff000, sizeof(initrd)), initrd, sizeof(initrd));
	ck_assert_mem_eq(rig_at(&rig, 0x3fff000 + 3004, 4), "tail", 4);
}
END_TEST

/* What never ends must not take all of the host's memory. */
START_TEST(test_endless_pipe)
{
	static uint8_t much[4 * LAYOUT_HIGH + 1];
	struct rig rig;

	rig_init(&rig, LAYOUT_HIGH / MIB);
	rig.cfg.kernel = slow_pipe(much, sizeof(much));
	rig_load_fails(&rig, -EFBIG, rig.cfg.kernel, "more than 4194304 bytes come out of it");
}
END_TEST

START_TEST(test_unreadable)
{
	char path[] = "/tmp/test_boot.XXXXXX";
	int fd = mkstemp(path);
	struct rig rig;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fchmod(fd, 0), 0);
	rig_init(&rig, 64);
	rig.cfg.kernel = path;
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(65534), 0);
	rig_load_fails(&rig, -EACCES, path, "Permission denied");
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
	unlink(path);
}
END_TEST

/* For files of no size that matters */
static struct ram *small_ram(void)
{
	static struct rig rig;

	if (!rig.ram)
		rig_init(&rig, 2);
	return rig.ram;
}

/* The file is cut while it is read: an error, no SIGBUS and no endless loop. */
START_TEST(test_file_shrinks)
{
	uint8_t buf[16] = { 0 };
	struct boot_file file;
	int log_fd = memfd_create("log", 0);
	char line[256] = "";

	dup2(log_fd, STDERR_FILENO);
	ck_assert_int_eq(boot_file_open(small_ram(), &file, "kernel", rig_file("0123456789abcdef", 16)), 0);
	ck_assert_uint_eq(file.size_bytes, 16);
	ck_assert_int_eq(truncate(file.name, 5), 0);
	ck_assert_int_eq(boot_file_read(&file, 0, buf, 16), -ENOEXEC);
	ck_assert_int_gt(pread(log_fd, line, sizeof(line) - 1, 0), 0);
	ck_assert_ptr_nonnull(strstr(line, "shrank while it was read"));
	boot_file_close(&file);
	ck_assert_int_eq(file.fd, -1);
}
END_TEST

START_TEST(test_read_bounds)
{
	static const struct {
		uint64_t off, len;
		int err;
	} cases[] = {
		{ 0, 4, 0 },
		{ 4, 0, 0 },
		{ 3, 1, 0 },
		{ 0, 5, -ENOEXEC },
		{ 5, 0, -ENOEXEC },
		{ 4, UINT64_MAX, -ENOEXEC },
		{ UINT64_MAX, 1, -ENOEXEC },
		{ UINT64_MAX, 2, -ENOEXEC },
	};
	uint8_t mem[4] = "abcd";
	struct boot_file file;

	for (int in_memory = 0; in_memory < 2; in_memory++) {
		ck_assert_int_eq(boot_file_open(small_ram(), &file, "kernel", rig_file("abcd", 4)), 0);
		file.mem = in_memory ? mem : NULL;
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
			uint8_t buf[4] = { 0 };

			ck_assert_int_eq(boot_file_read(&file, cases[i].off, buf, cases[i].len),
					 cases[i].err);
			if (!cases[i].err)
				ck_assert_mem_eq(buf, mem + cases[i].off, cases[i].len);
		}
		file.mem = NULL;
		boot_file_close(&file);
	}
}
END_TEST

START_TEST(test_flat)
{
	static uint8_t program[0x9fc00 - 0x10000 + 1];
	struct rig rig;

	rig_pattern(program, sizeof(program), 6);
	rig_init(&rig, 64);
	rig.cfg.default_cmdline = "console=ttyS0";
	rig.cfg.kernel = rig_file("\xf4", 1);
	rig_load_flat(&rig);
	ck_assert_uint_eq(rig.entry.real_segment, 0x1000);
	ck_assert_uint_eq(rig.entry.rip, 0);
	ck_assert_uint_lt(rig.entry.rsp, 0x10000);
	ck_assert_uint_eq(*(uint8_t *)rig_at(&rig, 0x10000, 1), 0xf4);
	rig.cfg.kernel = rig_file(program, sizeof(program) - 1);
	rig_load_flat(&rig);
	ck_assert_mem_eq(rig_at(&rig, 0x10000, sizeof(program) - 1), program, sizeof(program) - 1);
	rig.cfg.kernel = rig_file(program, sizeof(program));
	rig_load_fails(&rig, -EFBIG, rig.cfg.kernel,
		       "with 588801 bytes too large for a flat binary (at most 588800)");
}
END_TEST

START_TEST(test_flat_takes_nothing)
{
	struct rig rig;

	rig_init(&rig, 64);
	rig.cfg.kernel = rig_file("\xf4", 1);
	rig.cfg.cmdline = "x";
	ck_assert_int_eq(rig_load(&rig), 0);
	ck_assert_ptr_nonnull(strstr(rig.log, "gets no command line"));
	rig.cfg.cmdline = "";
	rig_load_flat(&rig);
	rig_add_initrd(&rig, "/some/initrd");
	rig_load_fails(&rig, -ENOEXEC, "initrd '/some/initrd'", "is a flat binary and takes none");
}
END_TEST

START_TEST(test_foreign)
{
	static const struct {
		size_t at;
		const char *magic;
		size_t len;
		const char *text;
	} cases[] = {
		{ 0x38, "ARMd", 4, "arm64" },
		{ 0x38, "RSC\x05", 4, "riscv" },
		{ 0x24, "\x18\x28\x6f\x01", 4, "for arm," },
		{ 0, "MZ\xff", 3, "EFI or DOS program" },
		{ 0x38, "\xcd\x23\x82\x81", 4, "for another machine" },
		{ 0, "!<arch>\ndebian-binary", 21, "a Debian package" },
		{ 0, "\x89PNG\r\n", 6, "PNG picture" },
		{ 257, "ustar", 5, "a tar archive" },
		{ 0x438, "\x53\xef", 2, "an ext file system" },
		{ 510, "\x55\xaa", 2, "a boot sector or disk image" },
		{ 512, "EFI PART", 8, "a disk image" },
		{ 0x8001, "CD001", 5, "an ISO image" },
		{ 0, "\x27\x05\x19\x56", 4, "U-Boot image" },
		{ 0, "QFI\xfb", 4, "qcow2" },
		{ 0, "!<arch>\n", 8, "archive" },
		{ 0, "070701", 6, "cpio archive" },
	};
	static uint8_t bytes[0x9000];
	struct rig rig;

	rig_init(&rig, 64);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t end = cases[i].at + cases[i].len;

		memset(bytes, cases[i].at ? 1 : 0, sizeof(bytes));
		memcpy(bytes + cases[i].at, cases[i].magic, cases[i].len);
		rig.cfg.kernel = rig_file(bytes, sizeof(bytes));
		rig_load_fails(&rig, -ENOEXEC, rig.cfg.kernel, cases[i].text);
		/* As short as can be, and one byte too short */
		rig.cfg.kernel = rig_file(bytes, end);
		rig_load_fails(&rig, -ENOEXEC, rig.cfg.kernel, cases[i].text);
		if (cases[i].at) {
			rig.cfg.kernel = rig_file(bytes, end - 1);
			rig_load_flat(&rig);
		}
	}
}
END_TEST

/* Text is refused however it is written, code is not. */
START_TEST(test_text)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *text;
	} cases[] = {
		{ "root:$y$j9T$:19000:0:99999:7:::\n", 32, "a text file" },
		{ "#\n# Automatically generated file\n", 33, "a text file" },
		{ "ffffffff81000000 T _text\r\n", 26, "a text file" },
		{ "#!/bin/sh\n", 10, "a script" },
		{ "\xc3\xa9t\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xa7", 14, "a text file" },
		{ "cut \xe2\x82", 6, NULL },
		{ "\0\0\0\0", 4, "nothing but zeros" },
		{ "\xeb\xfe", 2, NULL },
		{ "text\0", 5, NULL },
		{ "text\x7f", 5, NULL },
		{ "\xc0\x80", 2, NULL },
		{ "\xe9t\xe9", 3, NULL },
	};
	struct rig rig;

	rig_init(&rig, 64);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		rig.cfg.kernel = rig_file(cases[i].bytes, cases[i].len);
		if (cases[i].text)
			rig_load_fails(&rig, -ENOEXEC, rig.cfg.kernel, cases[i].text);
		else
			rig_load_flat(&rig);
	}
}
END_TEST

/* A bzImage is a PE file too, and may have a multiboot header among its bytes. */
START_TEST(test_order)
{
	struct bz bz = bz_default();
	struct elf_file f;
	struct rig rig;
	int fd;

	rig_init(&rig, 64);
	rig.cfg.kernel = bz_file(&bz);
	fd = open(rig.cfg.kernel, O_WRONLY);
	ck_assert_int_eq(pwrite(fd, "MZ", 2, 0), 2);
	ck_assert_int_eq(pwrite(fd, "\x02\xb0\xad\x1b\x00\x00\x00\x00\xfe\x4f\x52\xe4", 12, 16),
			 12);
	rig_load_ok(&rig);
	ck_assert_str_eq(rig.entry.protocol, "bzImage, 64-bit entry");
	/* Without the checksum it is no multiboot kernel, but still a vmlinux. */
	elf_init(&f, 0x1000000);
	elf_add(&f, PT_LOAD, 0, 0xffffffff81000000, 0x1000000, 4096, 4096);
	elf_banner(&f, 3000, ELF_BANNER);
	memcpy(f.data, "\x02\xb0\xad\x1b\x00\x00\x00\x00\x00\x00\x00\x00", 12);
	rig.cfg.kernel = elf_path(&f);
	rig_load_ok(&rig);
	ck_assert_str_eq(rig.entry.protocol, "ELF, 64-bit entry");
	memcpy(f.data + 8, "\xfe\x4f\x52\xe4", 4);
	rig.cfg.kernel = elf_path(&f);
	rig_load_ok(&rig);
	ck_assert_str_eq(rig.entry.protocol, "multiboot");
}
END_TEST

/* Every address below 4 GB is mapped to itself, by 2 MB pages, and nothing above. */
START_TEST(test_page_map)
{
	const struct boot_entry entry = { .mode = BOOT_LONG64,
					  .gdt = LAYOUT_GDT,
					  .page_tables = LAYOUT_PAGE_TABLES };
	const uint64_t *pml4, *pdpt;
	struct rig rig;

	rig_init(&rig, 64);
	memset(rig_at(&rig, 0, 0x10000), 0xff, 0x10000);
	ck_assert_int_eq(boot_tables_put(rig.ram, &entry), 0);
	pml4 = rig_at(&rig, LAYOUT_PAGE_TABLES, 4096);
	ck_assert_uint_eq(pml4[0], (LAYOUT_PAGE_TABLES + 4096) | 3);
	pdpt = rig_at(&rig, pml4[0] & ~0xfffULL, 4096);
	for (unsigned i = 0; i < 512; i++) {
		const uint64_t *pd;

		if (i)
			ck_assert_uint_eq(pml4[i], 0);
		if (i >= 4) {
			ck_assert_uint_eq(pdpt[i], 0);
			continue;
		}
		ck_assert_uint_eq(pdpt[i] & 0xfff, 3);
		pd = rig_at(&rig, pdpt[i] & ~0xfffULL, 4096);
		ck_assert_uint_lt((pdpt[i] & ~0xfffULL) + 4095, LAYOUT_FLAT);
		for (uint64_t j = 0; j < 512; j++)
			ck_assert_uint_eq(pd[j], (i * 512 + j) * 2 * MIB | 0x83);
	}
}
END_TEST

/* Fields of a segment descriptor: Intel SDM volume 3, figure 3-8 */
static void check_descriptor(const uint64_t *gdt, unsigned selector, unsigned type, unsigned l,
			     unsigned db)
{
	uint64_t d = gdt[selector >> 3];

	ck_assert_uint_eq(d >> 16 & 0xffffff, 0);
	ck_assert_uint_eq(d >> 56, 0);
	ck_assert_uint_eq(d & 0xffff, 0xffff);
	ck_assert_uint_eq(d >> 48 & 0xf, 0xf);
	ck_assert_uint_eq(d >> 40 & 0xff, 0x90 | type);
	ck_assert_uint_eq(d >> 53 & 1, l);
	ck_assert_uint_eq(d >> 54 & 1, db);
	ck_assert_uint_eq(d >> 55 & 1, 1);
}

START_TEST(test_gdt)
{
	static const enum boot_mode modes[] = { BOOT_PROTECTED32, BOOT_LONG64 };
	struct boot_entry entry = { .gdt = LAYOUT_GDT, .page_tables = LAYOUT_PAGE_TABLES };
	struct rig rig;

	rig_init(&rig, 64);
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		bool wide = modes[i] == BOOT_LONG64;
		const uint64_t *gdt = rig_at(&rig, LAYOUT_GDT, BOOT_GDT_ENTRIES * 8);

		entry.mode = modes[i];
		memset(rig_at(&rig, 0, 0x10000), 0xff, 0x10000);
		ck_assert_int_eq(boot_tables_put(rig.ram, &entry), 0);
		ck_assert_uint_eq(gdt[0], 0);
		check_descriptor(gdt, BOOT_CS, 0xb, wide, !wide);
		check_descriptor(gdt, BOOT_DS, 0x3, 0, 1);
		ck_assert_uint_eq(gdt[BOOT_TR >> 3], 0x00008b0000000067);
		ck_assert_uint_eq(gdt[(BOOT_TR >> 3) + 1], 0);
		ck_assert_uint_eq(*(uint8_t *)rig_at(&rig, LAYOUT_PAGE_TABLES, 1), wide ? 3 : 0xff);
	}
	/* A real-mode program finds its interrupt vectors and the rest as it was. */
	memset(rig_at(&rig, 0, 0x10000), 0xff, 0x10000);
	entry.mode = BOOT_REAL;
	ck_assert_int_eq(boot_tables_put(rig.ram, &entry), 0);
	for (unsigned i = 0; i < 0x10000; i++)
		ck_assert_uint_eq(*(uint8_t *)rig_at(&rig, i, 1), 0xff);
}
END_TEST

/* RAM that has not even the low area */
START_TEST(test_tiny_ram)
{
	static struct ram_config advice;
	struct ram_backing backing = { .fd = -1, .advice = &advice };
	struct boot_entry entry = { .mode = BOOT_PROTECTED32,
				    .gdt = LAYOUT_GDT,
				    .page_tables = LAYOUT_PAGE_TABLES };
	struct rig rig = { 0 };

	ck_assert_int_eq(ram_new(LAYOUT_HIGH - 4096, &backing, &rig.ram), 0);
	rig.cfg.kernel = rig_file("\xf4", 1);
	rig_load_fails(&rig, -EFBIG, rig.cfg.kernel, "guest RAM of 1044480 bytes is below 1 MB");
	ram_free(rig.ram);
	ck_assert_int_eq(ram_new(LAYOUT_HIGH, &backing, &rig.ram), 0);
	rig_load_flat(&rig);
	ram_free(rig.ram);
	ck_assert_int_eq(ram_new(LAYOUT_PAGE_TABLES + 5 * 4096, &backing, &rig.ram), 0);
	ck_assert_int_eq(boot_tables_put(rig.ram, &entry), 0);
	entry.mode = BOOT_LONG64;
	ck_assert_int_eq(boot_tables_put(rig.ram, &entry), -EFAULT);
	ram_free(rig.ram);
}
END_TEST

START_TEST(test_segment_to_ram)
{
	int log_fd = memfd_create("log", 0);
	struct boot_file file;
	struct rig rig;

	rig_init(&rig, 64);
	dup2(log_fd, STDERR_FILENO);
	ck_assert_int_eq(boot_file_open(small_ram(), &file, "kernel", rig_file("abcd", 4)), 0);
	memset(rig_at(&rig, 0x200000, 16), 0xff, 16);
	ck_assert_int_eq(boot_segment_to_ram(&file, 1, 2, rig.ram, GPA(0x200000), 6), 0);
	ck_assert_mem_eq(rig_at(&rig, 0x200000, 8), "bc\0\0\0\0\xff\xff", 8);
	ck_assert_int_eq(boot_segment_to_ram(&file, 0, 4, rig.ram, GPA(0x3fffffc), 4), 0);
	ck_assert_int_eq(boot_segment_to_ram(&file, 0, 4, rig.ram, GPA(0x3fffffc), 5), -EFBIG);
	ck_assert_int_eq(boot_segment_to_ram(&file, 0, 5, rig.ram, GPA(0x200000), 5), -ENOEXEC);
	boot_file_close(&file);
}
END_TEST

/* What pread() does, once, then as usual */
static enum pread_result { AS_USUAL, INTERRUPTED, FAILS, SHORT } pread_does;

ssize_t pread(int fd, void *buf, size_t len, off_t off)
{
	ssize_t (*real)(int, void *, size_t, off_t) =
		(ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
	enum pread_result does = pread_does;

	pread_does = AS_USUAL;
	if (does == INTERRUPTED || does == FAILS) {
		errno = does == INTERRUPTED ? EINTR : EIO;
		return -1;
	}
	return real(fd, buf, does == SHORT ? 1 : len, off);
}

START_TEST(test_read_failures)
{
	struct rig rig;

	rig_init(&rig, 64);
	rig.cfg.kernel = rig_file("\xf4rogram", 7);
	pread_does = FAILS;
	rig_load_fails(&rig, -EIO, rig.cfg.kernel, "read: Input/output error");
	pread_does = INTERRUPTED;
	rig_load_flat(&rig);
	memset(rig_at(&rig, LAYOUT_FLAT, 7), 0, 7);
	pread_does = SHORT;
	rig_load_flat(&rig);
	ck_assert_str_eq(rig_at(&rig, LAYOUT_FLAT, 8), "\xf4rogram");
}
END_TEST

START_TEST(test_info_alloc)
{
	struct boot boot = { .kernel = { .what = "kernel", .name = "k" },
			     .info_next = LAYOUT_BOOT_INFO };
	struct rig rig;
	uint8_t *host;
	void *p;
	gpa_t at;

	rig_init(&rig, 64);
	boot.ram = rig.ram;
	memset(rig_at(&rig, LAYOUT_BOOT_INFO, 64), 0xff, 64);
	ck_assert_int_eq(boot_info_alloc(&boot, 5, 1, &at, &p), 0);
	ck_assert_uint_eq(at.v, LAYOUT_BOOT_INFO);
	ck_assert_int_eq(boot_info_alloc(&boot, 8, 16, &at, &p), 0);
	ck_assert_uint_eq(at.v, LAYOUT_BOOT_INFO + 16);
	host = rig_at(&rig, LAYOUT_BOOT_INFO, 64);
	ck_assert_ptr_eq(p, host + 16);
	ck_assert_mem_eq(host, "\0\0\0\0\0\xff", 6);
	ck_assert_mem_eq(host + 15, "\xff\0\0\0\0\0\0\0\0\xff", 10);
	/* The last byte can be had, the one behind it cannot. */
	boot.info_next = LAYOUT_BOOT_INFO_END - 8;
	ck_assert_int_eq(boot_info_alloc(&boot, 9, 8, &at, &p), -EFBIG);
	ck_assert_int_eq(boot_info_alloc(&boot, 8, 8, &at, &p), 0);
	ck_assert_int_eq(boot_info_alloc(&boot, 1, 8, &at, &p), -EFBIG);
}
END_TEST

START_TEST(test_e820)
{
	static const struct {
		uint64_t mib;
		unsigned n;
		uint64_t low_end, high_end;
	} cases[] = {
		{ 64, 4, 0x4000000, 0 },
		{ 3327, 4, 0xcff00000, 0 },
		{ 3328, 4, 0xd0000000, 0 },
		{ 3329, 5, 0xd0000000, 0x100100000 },
		{ 4096, 5, 0xd0000000, 0x130000000 },
		{ 8192, 5, 0xd0000000, 0x230000000 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct e820_range want[] = {
			{ 0, 0x9fc00, 1 },
			{ 0x9fc00, 0x400, 2 },
			{ 0xe0000, 0x20000, 2 },
			{ 0x100000, cases[i].low_end - 0x100000, 1 },
			{ 0x100000000, cases[i].high_end - 0x100000000, 1 },
		};
		struct e820_range got[E820_MAX];
		struct rig rig;

		rig_init(&rig, cases[i].mib);
		ck_assert_uint_eq(e820_build(rig.ram, got), cases[i].n);
		for (unsigned j = 0; j < cases[i].n; j++) {
			ck_assert_uint_eq(got[j].start, want[j].start);
			ck_assert_uint_eq(got[j].size_bytes, want[j].size_bytes);
			ck_assert_uint_eq(got[j].type, want[j].type);
		}
		ram_free(rig.ram);
	}
}
END_TEST

START_TEST(test_debug_messages)
{
	struct bz bz = bz_default();
	struct rig rig;

	rig_init(&rig, 64);
	rig.cfg.kernel = bz_file(&bz);
	rig.cfg.cmdline = "panic=-1";
	rig_add_initrd(&rig, rig_file("x", 1));
	log_set_topics(LOG_BOOT);
	ck_assert_int_eq(rig_load(&rig), 0);
	ck_assert_ptr_nonnull(strstr(rig.log, "command line at 0x20000: panic=-1\n"));
	ck_assert_ptr_nonnull(strstr(rig.log, "at 0x3fff000, 1 bytes\n"));
	ck_assert_ptr_nonnull(
		strstr(rig.log, "kernel at [0x1000000, 0x1001000), needs RAM up to 0x1800000\n"));
	ck_assert_ptr_nonnull(strstr(rig.log, "bzImage, 64-bit entry at 0x1000200\n"));
}
END_TEST

/* A folder of its own as current directory, with boot/ in it */
static void make_file(const char *path, long mtime)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0644);
	const struct timespec t = { mtime, 5 }, times[2] = { t, t };

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(futimens(fd, times), 0);
	close(fd);
}

static void check_found(const char *want)
{
	char *got = NULL;
	int err = boot_find_kernel_in("boot", "6.1-this", &got);

	if (want) {
		ck_assert_int_eq(err, 0);
		ck_assert_str_eq(got, want);
	} else {
		ck_assert_int_eq(err, -ENOENT);
		ck_assert_ptr_null(got);
	}
	free(got);
}

START_TEST(test_find_kernel)
{
	char dir[] = "/tmp/test_boot.XXXXXX";

	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(chdir(dir), 0);
	check_found(NULL);
	mkdir("boot", 0755);
	check_found(NULL);
	mkdir("boot/vmlinuz-folder", 0755);
	check_found(NULL);
	/* From the last choice to the first */
	make_file("boot/vmlinuz-5.10", 1000);
	check_found("boot/vmlinuz-5.10");
	make_file("boot/vmlinuz-5.9", 3000);
	check_found("boot/vmlinuz-5.9");
	make_file("boot/vmlinuz-6.0", 2000);
	check_found("boot/vmlinuz-5.9");
	/* Nanoseconds count only within the same second. */
	ck_assert_int_eq(utimensat(AT_FDCWD, "boot/vmlinuz-6.0",
				   (const struct timespec[2]){ { 3000, 4 }, { 3000, 4 } }, 0),
			 0);
	check_found("boot/vmlinuz-5.9");
	ck_assert_int_eq(utimensat(AT_FDCWD, "boot/vmlinuz-6.0",
				   (const struct timespec[2]){ { 3000, 6 }, { 3000, 6 } }, 0),
			 0);
	check_found("boot/vmlinuz-6.0");
	ck_assert_int_eq(utimensat(AT_FDCWD, "boot/vmlinuz-6.0",
				   (const struct timespec[2]){ { 3001, 0 }, { 3001, 0 } }, 0),
			 0);
	check_found("boot/vmlinuz-6.0");
	make_file("boot/vmlinuz-6.1-this", 500);
	check_found("boot/vmlinuz-6.1-this");
	make_file("vmlinux", 500);
	check_found("./vmlinux");
	mkdir("arch", 0755);
	mkdir("arch/x86", 0755);
	mkdir("arch/x86/boot", 0755);
	make_file("arch/x86/boot/bzImage", 500);
	check_found("arch/x86/boot/bzImage");
	mkdir("bzImage", 0755);
	check_found("arch/x86/boot/bzImage");
	rmdir("bzImage");
	make_file("bzImage", 500);
	check_found("./bzImage");
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(execlp("rm", "rm", "-rf", dir, NULL), 0);
}
END_TEST

/* A folder is the kernel that was built in it. */
START_TEST(test_tree)
{
	static const char *const images[] = { "vmlinux", "bzImage", "arch/x86/boot/bzImage" };
	char dir[] = "/tmp/test_boot.XXXXXX", path[128];
	struct rig rig;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	rig_init(&rig, 64);
	rig.cfg.kernel = dir;
	rig_load_fails(&rig, -EISDIR, dir, "neither arch/x86/boot/bzImage nor vmlinux in it");
	ck_assert_int_eq(chdir(dir), 0);
	mkdir("arch", 0755);
	mkdir("arch/x86", 0755);
	mkdir("arch/x86/boot", 0755);
	mkdir("vmlinuz", 0755);
	for (size_t i = 0; i < ARRAY_SIZE(images); i++) {
		int fd = open(images[i], O_WRONLY | O_CREAT, 0644);

		ck_assert_int_eq(write(fd, "\xf4", 1), 1);
		close(fd);
		snprintf(path, sizeof(path), "kernel '%s/%s' has no known", dir, images[i]);
		rig_load_warns(&rig, path);
	}
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(execlp("rm", "rm", "-rf", dir, NULL), 0);
}
END_TEST

/* A kernel that can be read comes before one that cannot, and that before none. */
START_TEST(test_find_unreadable)
{
	char dir[] = "/tmp/test_boot.XXXXXX";

	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(chmod(dir, 0755), 0);
	ck_assert_int_eq(chdir(dir), 0);
	mkdir("boot", 0755);
	make_file("boot/vmlinuz-6.1-this", 500);
	ck_assert_int_eq(chmod("boot/vmlinuz-6.1-this", 0), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(setreuid(65534, 65534), 0);
	check_found("boot/vmlinuz-6.1-this");
}
END_TEST

UNIT_MAIN("boot", test_tree, test_no_kernel_file, test_fifo, test_pipes, test_endless_pipe, test_text, test_unreadable, test_file_shrinks,
	  test_read_bounds, test_flat, test_flat_takes_nothing, test_foreign, test_order,
	  test_page_map, test_gdt, test_tiny_ram, test_segment_to_ram, test_read_failures,
	  test_info_alloc, test_e820, test_debug_messages, test_find_kernel, test_find_unreadable)
