/* Links: hw/ram-size.o */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/ram.h"
#include "unit.h"

/* sysconf() of the C library is replaced, so that its failures can be played. */
static long fake_pages = 1000, fake_page_bytes = 4096;

long sysconf(int name)
{
	return name == _SC_PHYS_PAGES ? fake_pages : name == _SC_PAGE_SIZE ? fake_page_bytes : -1;
}

START_TEST(test_default)
{
	static const struct {
		unsigned cpus;
		uint64_t host_mib, guest_mib;
	} table[] = {
		{ 1, 24105, 256 },
		{ 2, 24105, 320 },
		{ 4, 8192, 448 },
		{ 2, 400, 320 },
		{ 2, 399, 319 },
		{ 2, 300, 240 },
		{ 2, 80, 64 },
		{ 2, 79, 64 },
		{ 2, 0, 64 },
		{ 255, 8192, 6553 },
		/* A 32-bit number of bytes overflows from here on. */
		{ 255, 1 << 20, 16512 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		uint64_t bytes = ram_default_bytes(table[i].cpus, table[i].host_mib * MIB);

		ck_assert_msg(bytes / MIB == table[i].guest_mib, "cpus %u, host %lu: %lu MB",
			      table[i].cpus, table[i].host_mib, (unsigned long)(bytes / MIB));
		ck_assert_uint_eq(bytes % 4096, 0);
	}
	/* No overflow at the far end. */
	ck_assert_uint_eq(ram_default_bytes(UINT32_MAX, UINT64_MAX),
			  64 * MIB * (UINT32_MAX + 3ULL));
}
END_TEST

START_TEST(test_default_is_four_fifths)
{
	/* 0.8 exactly, to the byte, before it is rounded down to pages. */
	for (uint64_t host = 81 * MIB; host < 81 * MIB + 5 * 4096; host += 1024)
		ck_assert_uint_eq(ram_default_bytes(255, host), host * 4 / 5 / 4096 * 4096);
}
END_TEST

START_TEST(test_specifier)
{
	static const struct {
		const char *arg;
		enum ram_size_error want;
		uint64_t bytes;
	} table[] = {
		{ "256", RAM_SIZE_OK, 256 * MIB },
		{ "256M", RAM_SIZE_OK, 256 * MIB },
		{ "262144K", RAM_SIZE_OK, 256 * MIB },
		{ "262144k", RAM_SIZE_OK, 256 * MIB },
		{ "268435456B", RAM_SIZE_OK, 256 * MIB },
		{ "1g", RAM_SIZE_OK, GIB },
		{ "1T", RAM_SIZE_OK, 1024 * GIB },
		{ "1P", RAM_SIZE_OK, 1024 * 1024 * GIB },
		{ "0000256", RAM_SIZE_OK, 256 * MIB },
		{ "64", RAM_SIZE_OK, 64 * MIB },
		{ "16383P", RAM_SIZE_OK, 16383ULL << 50 },
		{ "", RAM_SIZE_SPECIFIER, 0 },
		{ "abc", RAM_SIZE_SPECIFIER, 0 },
		{ "-5", RAM_SIZE_SPECIFIER, 0 },
		{ "+5", RAM_SIZE_SPECIFIER, 0 },
		{ " 64", RAM_SIZE_SPECIFIER, 0 },
		{ "64 ", RAM_SIZE_SPECIFIER, 0 },
		{ "0x100", RAM_SIZE_SPECIFIER, 0 },
		{ "1.5G", RAM_SIZE_SPECIFIER, 0 },
		{ "256MB", RAM_SIZE_SPECIFIER, 0 },
		{ "256E", RAM_SIZE_SPECIFIER, 0 },
		{ "M", RAM_SIZE_SPECIFIER, 0 },
		{ "64\r", RAM_SIZE_SPECIFIER, 0 },
		{ "0", RAM_SIZE_ZERO, 0 },
		{ "0P", RAM_SIZE_ZERO, 0 },
		{ "18446744073709551616", RAM_SIZE_OVERFLOW, 0 },
		{ "18446744073709551616B", RAM_SIZE_OVERFLOW, 0 },
		{ "99999999999999999999999", RAM_SIZE_OVERFLOW, 0 },
		{ "17592186044416M", RAM_SIZE_OVERFLOW, 0 },
		{ "16777217T", RAM_SIZE_OVERFLOW, 0 },
		{ "16384P", RAM_SIZE_OVERFLOW, 0 },
		{ "63", RAM_SIZE_SMALL, 63 * MIB },
		{ "1K", RAM_SIZE_SMALL, KIB },
		{ "67108863B", RAM_SIZE_SMALL, 64 * MIB - 1 },
		{ "67108865B", RAM_SIZE_PAGES, 64 * MIB + 1 },
		{ "65537K", RAM_SIZE_PAGES, 65537 * KIB },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		uint64_t bytes = 0;

		ck_assert_msg(ram_parse_size(table[i].arg, &bytes) == table[i].want, "'%s'",
			      table[i].arg);
		ck_assert_msg(bytes == table[i].bytes, "'%s' gives %lu", table[i].arg, bytes);
	}
}
END_TEST

START_TEST(test_host)
{
	const char *failed = "untouched";

	ck_assert_uint_eq(ram_host_bytes(&failed), 4096000);
	ck_assert_ptr_null(failed);

	fake_pages = -1;
	ck_assert_uint_eq(ram_host_bytes(&failed), 0);
	ck_assert_str_eq(failed, "_SC_PHYS_PAGES");

	fake_pages = 1000, fake_page_bytes = -1;
	ck_assert_uint_eq(ram_host_bytes(&failed), 0);
	ck_assert_str_eq(failed, "_SC_PAGE_SIZE");

	fake_pages = 0x7fffffffffffffff, fake_page_bytes = 4096;
	ck_assert_uint_eq(ram_host_bytes(&failed), UINT64_MAX);
	ck_assert_ptr_null(failed);
}
END_TEST

/* Files of a host, instead of the real ones; the last has no path. */
static const struct file {
	const char *path, *text;
} * fake_files;

FILE *fopen(const char *path, const char *mode)
{
	for (const struct file *f = fake_files; f->path; f++)
		if (!strcmp(f->path, path))
			return fmemopen((void *)(uintptr_t)f->text, strlen(f->text), mode);
	errno = ENOENT;
	return NULL;
}

START_TEST(test_available)
{
	const struct file none[] = { { 0 } };
	const struct file host[] = {
		{ "/proc/meminfo", "MemTotal:       24683892 kB\nMemFree:         1 kB\n"
				   "MemAvailable:   16000000 kB\nBuffers: 5 kB\n" },
		{ 0 },
	};

	fake_files = none;
	ck_assert_uint_eq(ram_available_bytes(), 0);
	fake_files = host;
	ck_assert_uint_eq(ram_available_bytes(), 16000000 * KIB);
}
END_TEST

START_TEST(test_cgroup)
{
	const struct file none[] = { { 0 } };
	const struct file v2[] = {
		{ "/proc/self/cgroup", "0::/user.slice/app.scope\n" },
		{ "/sys/fs/cgroup/user.slice/app.scope/memory.max", "max\n" },
		{ "/sys/fs/cgroup/user.slice/memory.max", "1000000\n" },
		{ 0 },
	};
	const struct file container[] = {
		{ "/proc/self/cgroup", "0::/\n" },
		{ "/sys/fs/cgroup/memory.max", "4096\n" },
		{ 0 },
	};
	const struct file v1[] = {
		{ "/proc/self/cgroup", "9:name=systemd:/a\n5:memory:/a/b\n4:cpu:/c\n0::/a\n" },
		{ "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "30000\n" },
		{ "/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "20000\n" },
		{ "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n" },
		{ "/sys/fs/cgroup/memory/c/memory.limit_in_bytes", "1\n" },
		{ 0 },
	};

	fake_files = none;
	ck_assert_uint_eq(ram_cgroup_bytes(), UINT64_MAX);
	fake_files = v2;
	ck_assert_uint_eq(ram_cgroup_bytes(), 1000000);
	fake_files = container;
	ck_assert_uint_eq(ram_cgroup_bytes(), 4096);
	fake_files = v1;
	ck_assert_uint_eq(ram_cgroup_bytes(), 20000);
}
END_TEST

START_TEST(test_text)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{ 0, "0MB" }, { 64 * MIB, "64MB" }, { 64 * MIB - 4096, "63.996MB" },
		{ MIB + 4096, "1.003MB" }, { UINT64_MAX, "17592186044415.999MB" },
	};
	char buf[24];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_str_eq(ram_mb_text(cases[i].bytes, buf, sizeof(buf)), cases[i].text);
}
END_TEST

UNIT_MAIN("ram-size", test_default, test_default_is_four_fifths, test_specifier, test_host,
	  test_available, test_cgroup, test_text)
