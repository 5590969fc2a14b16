/* Links: hw/ram.o hw/ram-fault.o hw/ram-log.o hw/ram-plug.o */
#include <dirent.h>
#include <errno.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../hw/ram-internal.h"
#include "ram-base.h"
#include "unit.h"

static const struct ram_config plain;
static struct ram *ram;

static int init(uint64_t mib)
{
	struct ram_backing backing = { .fd = -1, .advice = &plain };

	return ram_new(mib * MIB, &backing, &ram);
}

START_TEST(test_layout)
{
	static const struct {
		uint64_t mib, span_mib;
		unsigned n;
		uint64_t size0, size1;
	} table[] = {
		{ 64, 64, 1, 64 * MIB, 0 },
		{ 3327, 3327, 1, 0xcff00000, 0 },
		{ 3328, 4096, 1, 0xd0000000, 0 },
		{ 3329, 4097, 2, 0xd0000000, 0x100000 },
		{ 4096, 4864, 2, 0xd0000000, 0x30000000 },
		{ 8192, 8960, 2, 0xd0000000, 0x130000000 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct ram_part part[RAM_MAX_PARTS];
		uint64_t span = 0;

		ck_assert_uint_eq(ram_layout(table[i].mib * MIB, part, &span), table[i].n);
		ck_assert_uint_eq(span, table[i].span_mib * MIB);
		ck_assert_uint_eq(part[0].start.v, 0);
		ck_assert_uint_eq(part[0].size_bytes, table[i].size0);
		if (table[i].n == 2) {
			ck_assert_uint_eq(part[1].start.v, 0x100000000);
			ck_assert_uint_eq(part[1].size_bytes, table[i].size1);
		}
	}
}
END_TEST

START_TEST(test_access_is_all_or_nothing)
{
	static const struct {
		uint64_t at, len;
		int want;
	} table[] = {
		{ 0, 1, 0 },
		{ 0, 0, 0 },
		{ 0xcfffffff, 1, 0 },
		{ 0xcfffffff, 2, -EFAULT }, /* into the gap */
		{ 0xd0000000, 0, 0 },
		{ 0xd0000000, 1, -EFAULT },
		{ 0xd0000001, 0, -EFAULT },
		{ 0xffffffff, 1, -EFAULT },
		{ 0xffffffff, 2, -EFAULT }, /* out of the gap */
		{ 0x100000000, 8, 0 },
		{ 0x1000ffff8, 8, 0 },
		{ 0x1000ffff9, 8, -EFAULT },
		{ 0x100100000, 1, -EFAULT },
		{ 0xcffffff0, 0x30000020, -EFAULT }, /* across the whole gap */
		{ UINT64_MAX, 1, -EFAULT },
		{ UINT64_MAX, 2, -EFAULT }, /* the sum wraps to 1 */
		{ 8, UINT64_MAX - 7, -EFAULT }, /* the sum wraps to 0 */
		{ 1, UINT64_MAX, -EFAULT },
	};

	ck_assert_int_eq(init(3329), 0);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		void *window = NULL;
		uint8_t *host = ram_host(ram, GPA(table[i].at), table[i].len);
		int w = ram_window(ram, GPA(table[i].at), table[i].len, 1, &window);

		ck_assert_msg(w == table[i].want, "window %lx + %lx: %d", table[i].at, table[i].len,
			      w);
		ck_assert_ptr_eq(host, w ? NULL : ram_base(ram) + table[i].at);
		ck_assert_ptr_eq(window, host);
	}
	ram_free(ram);
}
END_TEST

START_TEST(test_read_write)
{
	uint8_t in[16], out[16] = "fifteen letters";

	ck_assert_int_eq(init(3329), 0);
	ck_assert_int_eq(ram_write(ram, GPA(0x1000ffff0), out, 16), 0);
	ck_assert_int_eq(ram_read(ram, GPA(0x1000ffff0), in, 16), 0);
	ck_assert_mem_eq(in, out, 16);

	/* A write that does not fit leaves no byte behind, a read none in the caller's buffer. */
	ck_assert_int_eq(ram_write(ram, GPA(0xcffffff8), out, 16), -EFAULT);
	ck_assert_int_eq(ram_read(ram, GPA(0xcffffff8), in, 8), 0);
	ck_assert_mem_eq(in, "\0\0\0\0\0\0\0\0", 8);
	memcpy(in, out, 16);
	ck_assert_int_eq(ram_read(ram, GPA(0xcffffff8), in, 16), -EFAULT);
	ck_assert_mem_eq(in, out, 16);
	ram_free(ram);
}
END_TEST

START_TEST(test_window_arguments)
{
	void *window = &window;

	ck_assert_int_eq(init(64), 0);
	ck_assert_int_eq(ram_window(ram, GPA(0x1001), 16, 16, &window), -EINVAL);
	ck_assert_ptr_eq(window, &window);
	ck_assert_int_eq(ram_window(ram, GPA(0x1000), 16, 4096, &window), 0);
	ram_free(ram);
}
END_TEST

START_TEST(test_gpa_of)
{
	gpa_t gpa = GPA(7);

	ck_assert_int_eq(init(3329), 0);
	ck_assert_int_eq(ram_gpa_of(ram, &gpa, &gpa), -EFAULT);
	ck_assert_int_eq(ram_gpa_of(ram, ram_base(ram) + 0xd0000000, &gpa), 0);
	ck_assert_uint_eq(gpa.v, 0xd0000000);
	ck_assert_int_eq(ram_gpa_of(ram, ram_base(ram) - 1, &gpa), -EFAULT);
	ck_assert_int_eq(ram_gpa_of(ram, ram_base(ram) + ram->span_bytes, &gpa), -EFAULT);
	ck_assert_uint_eq(gpa.v, 0xd0000000);
	ram_free(ram);
}
END_TEST

/* Permissions and VmFlags of the mapping at @at in smaps; false if nothing is mapped there. */
static bool mapping_of(const void *at, char perms[8], char flags[256])
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];
	bool inside = false;

	perms[0] = flags[0] = '\0';
	while (fgets(line, sizeof(line), f)) {
		unsigned long from, to;
		char p[8];

		if (sscanf(line, "%lx-%lx %7s", &from, &to, p) == 3) {
			inside = (uintptr_t)at >= from && (uintptr_t)at < to;
			if (inside)
				strcpy(perms, p);
		} else if (inside && !strncmp(line, "VmFlags:", 8)) {
			snprintf(flags, 256, "%.*s", (int)strcspn(line + 8, "\n"), line + 8);
		}
	}
	fclose(f);
	return perms[0];
}

START_TEST(test_mapping)
{
	struct ram_backing backing = { .fd = -1, .advice = &plain, .refused = "stale" };
	char perms[8], flags[256];

	ck_assert_int_eq(ram_new(3329 * MIB, &backing, &ram), 0);
	ck_assert_str_eq(backing.refused, "");
	ck_assert_uint_eq((uintptr_t)ram_base(ram) % (2 * MIB), 0);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert(mapping_of(ram_base(ram) + ram->map.part[i].start.v, perms, flags));
		ck_assert_str_eq(perms, "rw-p");
		ck_assert_ptr_nonnull(strstr(flags, " mg"));
		ck_assert_ptr_nonnull(strstr(flags, " hg"));
		ck_assert_ptr_nonnull(strstr(flags, " dc"));
		ck_assert_ptr_nonnull(strstr(flags, " dd"));
		ck_assert_ptr_nonnull(strstr(flags, " nr"));
	}
	static const uint64_t none[] = { 0xd0000000, 0xe0000000, 0xffffffff, 0x100100000 };
	for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
		ck_assert(mapping_of(ram_base(ram) + none[i], perms, flags));
		ck_assert_str_eq(perms, "---p");
	}
	ck_assert(mapping_of(ram_base(ram) - 1, perms, flags));
	ck_assert_str_eq(perms, "---p");
	ram_free(ram);
}
END_TEST

/* A byte in the lowest memory takes small pages, and elsewhere a huge one where the host has them. */
START_TEST(test_low_memory_is_small)
{
	unsigned char resident[512];
	unsigned n = 0;

	ck_assert_int_eq(init(64), 0);
	ck_assert_int_eq(ram_write(ram, GPA(0xfffff), "xy", 2), 0);
	ck_assert_int_eq(mincore(ram_base(ram), 2 * MIB, resident), 0);
	for (unsigned i = 0; i < 512; i++)
		n += resident[i] & 1;
	ck_assert_uint_eq(n, 3); /* the first page, and these two */
	ram_free(ram);
}
END_TEST

START_TEST(test_advice_can_be_switched_off)
{
	const struct ram_config off = { .no_merge = true, .no_thp = true, .fork = true, .dump = true };
	struct ram_backing backing = { .fd = -1, .advice = &off };
	char perms[8], flags[256];

	ck_assert_int_eq(ram_new(64 * MIB, &backing, &ram), 0);
	ck_assert(mapping_of(ram_base(ram), perms, flags));
	ck_assert_ptr_null(strstr(flags, " mg"));
	ck_assert_ptr_null(strstr(flags, " hg"));
	ck_assert_ptr_null(strstr(flags, " dc"));
	ck_assert_ptr_null(strstr(flags, " dd"));
	ram_free(ram);
}
END_TEST

/* A file holds the parts back to back, and what the guest writes is in it. */
/* The policy of a page: mbind(2). Each Linux with NUMA has a node 0. */
static int policy_at(uint64_t at)
{
	int mode = -1;

	ck_assert_int_eq(syscall(SYS_get_mempolicy, &mode, NULL, 0, ram_base(ram) + at, MPOL_F_ADDR), 0);
	return mode;
}

START_TEST(test_policies)
{
	struct ram_policy policy[] = {
		{ .start = 0, .bytes = RAM_GAP_START - 4096, .mode = MPOL_BIND, .nodes = { 1 } },
		{ .start = RAM_GAP_END + 4096, .bytes = 4096, .mode = MPOL_INTERLEAVE, .nodes = { 1 } },
	};
	const struct ram_config cfg = { .policy = policy, .n_policies = ARRAY_SIZE(policy) };
	struct ram_backing backing = { .fd = -1, .advice = &cfg };

	if (syscall(SYS_get_mempolicy, NULL, NULL, 0, NULL, 0) && errno == ENOSYS)
		return; /* the host's kernel has no NUMA */
	ck_assert_int_eq(ram_new(4096 * MIB, &backing, &ram), 0);
	ck_assert(!backing.unbound);
	ck_assert_int_eq(policy_at(0), MPOL_BIND); /* page 0 is touched when the RAM is made */
	ck_assert_int_eq(policy_at(RAM_GAP_START - 8192), MPOL_BIND);
	ck_assert_int_eq(policy_at(RAM_GAP_START - 4096), MPOL_DEFAULT);
	ck_assert_int_eq(policy_at(RAM_GAP_END), MPOL_DEFAULT);
	ck_assert_int_eq(policy_at(RAM_GAP_END + 4096), MPOL_INTERLEAVE);
	ck_assert_int_eq(policy_at(RAM_GAP_END + 8192), MPOL_DEFAULT);
	ram_free(ram);

	policy[1].nodes[0] = 0;
	policy[1].nodes[15] = 1ULL << 63; /* node 1023 */
	ck_assert_int_eq(ram_new(4096 * MIB, &backing, &ram), -EINVAL);
	ck_assert(backing.unbound);
}
END_TEST

START_TEST(test_shared_file)
{
	struct ram_backing backing = { .fd = memfd_create("ram", 0), .shared = true,
				       .advice = &plain };
	char got[5] = "";

	ck_assert_int_eq(ftruncate(backing.fd, 3329 * (off_t)MIB), 0);
	ck_assert_int_eq(ram_new(3329 * MIB, &backing, &ram), 0);
	ck_assert_int_eq(ram_write(ram, GPA(0x100000000), "high", 4), 0);
	ck_assert_int_eq(pread(backing.fd, got, 4, 0xd0000000), 4);
	ck_assert_str_eq(got, "high");
	ram_free(ram);
	close(backing.fd);
}
END_TEST

START_TEST(test_impossible_sizes)
{
	struct ram_backing backing = { .fd = -1, .advice = &plain };
	const uint64_t sizes[] = { UINT64_MAX & ~4095ULL, 1ULL << 63, 1ULL << 47,
				   UINT64_MAX - RAM_GAP_SIZE - 4095 };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		ram = NULL;
		ck_assert_int_eq(ram_new(sizes[i], &backing, &ram), -ENOMEM);
		ck_assert_ptr_null(ram);
	}
}
END_TEST

static long status_kib(const char *key)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	long value = -1;

	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			value = strtol(line + strlen(key), NULL, 10);
	fclose(f);
	return value;
}

START_TEST(test_no_leak)
{
	long before;

	ck_assert_int_eq(init(3329), 0);
	ram_free(ram);
	before = status_kib("VmSize:");
	for (unsigned i = 0; i < 100; i++) {
		ck_assert_int_eq(init(3329), 0);
		ck_assert_int_eq(ram_write(ram, GPA(0x100000000), "x", 1), 0);
		ram_free(ram);
	}
	ck_assert_int_eq(status_kib("VmSize:"), before);
}
END_TEST

START_TEST(test_terabyte_costs_nothing)
{
	long before = status_kib("VmRSS:");

	ck_assert_int_eq(init(1 << 20), 0);
	ck_assert_int_eq(ram_write(ram, GPA(0x100000000), "x", 1), 0);
	/* One huge page at most for the byte written, and the page tables. */
	ck_assert_int_lt(status_kib("VmRSS:") - before, 4096);
	ram_free(ram);
}
END_TEST

/* What a process says on standard error before the signal ends it. */
static void dies_saying(int want_signal, const char *want, void (*crime)(void))
{
	char said[256] = "";
	int pipe_fd[2], status;
	pid_t pid;

	ck_assert_int_eq(pipe(pipe_fd), 0);
	pid = fork();
	if (!pid) {
		dup2(pipe_fd[1], STDERR_FILENO);
		crime();
		_exit(0);
	}
	close(pipe_fd[1]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), want_signal);
	ck_assert_int_ge(read(pipe_fd[0], said, sizeof(said) - 1), 0);
	ck_assert_str_eq(said, want);
	close(pipe_fd[0]);
}

static void clean_up(void)
{
	if (write(STDERR_FILENO, "cleaned up ", 11) != 11)
		_exit(1);
}

static void touch_gap(void)
{
	if (!init(3329) && !ram_fault_report(ram, clean_up))
		*(volatile char *)(ram_base(ram) + 0xd0000040) = 1;
}

static void touch_elsewhere(void)
{
	if (!init(64) && !ram_fault_report(ram, clean_up))
		raise(SIGSEGV);
}

static void fail_assertion(void)
{
	if (!init(64) && !ram_fault_report(ram, clean_up))
		raise(SIGABRT);
}

static void fault_unreported(void)
{
	if (!init(64) && !ram_fault_report(ram, clean_up) && !ram_fault_report(NULL, NULL))
		*(volatile char *)(ram_base(ram) + ram->span_bytes) = 1;
}

static void touch_truncated_file(void)
{
	struct ram_backing backing = { .fd = memfd_create("ram", 0), .shared = true,
				       .advice = &plain };

	if (!ram_new(64 * MIB, &backing, &ram) && !ram_fault_report(ram, clean_up))
		*(volatile char *)(ram_base(ram) + 0x5000) = 1;
}

START_TEST(test_fault_names_the_guest_address)
{
	dies_saying(SIGSEGV,
		    "cleaned up \r\nlkvm: internal error: access to guest address "
		    "0x00000000d0000040, which is not RAM\r\n", touch_gap);
	dies_saying(SIGBUS,
		    "cleaned up \r\nlkvm: the host has no memory left for guest address "
		    "0x0000000000005000\r\n", touch_truncated_file);
	dies_saying(SIGSEGV, "cleaned up ", touch_elsewhere);
	dies_saying(SIGABRT, "cleaned up ", fail_assertion);
	dies_saying(SIGSEGV, "", fault_unreported);
}
END_TEST

UNIT_MAIN("ram", test_policies, test_layout, test_access_is_all_or_nothing, test_read_write,
	  test_window_arguments, test_gpa_of, test_mapping, test_low_memory_is_small,
	  test_advice_can_be_switched_off, test_shared_file, test_impossible_sizes,
	  test_no_leak, test_terabyte_costs_nothing,
	  test_fault_names_the_guest_address)
