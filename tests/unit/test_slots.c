/* Links: kvm-slots.o hw/ram.o hw/ram-discard.o util/log.o */
/* Memory slots and dirty logs without KVM: the test plays its ioctls. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/kvm.h"
#include "lkvm/log.h"
#include "ram-base.h"
#include "unit.h"

#define FB 0xd8000000ULL

static struct kvm kvm;
static struct ram *ram;
static uint8_t *memory; /* a device's */

/* ---- KVM ---- */

static struct {
	int n_slots, read_only; /* what KVM_CHECK_EXTENSION says */
	unsigned calls;
	int fail;               /* errno of the next KVM_SET_USER_MEMORY_REGION */
	struct kvm_userspace_memory_region region[KVM_MAX_SLOTS];
	uint64_t dirty; /* the first word that KVM_GET_DIRTY_LOG gives */
} host;

static int check_extension(int cap)
{
	return cap == KVM_CAP_NR_MEMSLOTS ? host.n_slots : cap == KVM_CAP_READONLY_MEM ? host.read_only : 0;
}

static int set_region(const struct kvm_userspace_memory_region *region)
{
	host.calls++;
	if (host.fail) {
		errno = host.fail;
		host.fail = 0;
		return -1;
	}
	host.region[region->slot] = *region;
	return 0;
}

static int get_log(const struct kvm_dirty_log *log)
{
	ck_assert_uint_lt(log->slot, KVM_MAX_SLOTS);
	*(uint64_t *)log->dirty_bitmap = host.dirty;
	host.dirty = 0;
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	(void)fd;
	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	switch (request) {
	case KVM_CHECK_EXTENSION:
		return check_extension((int)(intptr_t)arg);
	case KVM_SET_USER_MEMORY_REGION:
		return set_region(arg);
	case KVM_GET_DIRTY_LOG:
		return get_log(arg);
	default:
		ck_abort_msg("ioctl %lx", request);
	}
}

static void start(uint64_t mib)
{
	static const struct ram_config plain;
	struct ram_backing backing = { .fd = -1, .advice = &plain };

	memset(&host, 0, sizeof(host));
	host.n_slots = 32764;
	host.read_only = 1;
	kvm = (struct kvm){ .dev_fd = 1000, .vm_fd = 1001 };
	kvm_slots_init(&kvm);
	ck_assert_int_eq(ram_new(mib * MIB, &backing, &ram), 0);
	ck_assert_int_eq(kvm_map_ram(&kvm, ram), 0);
	memory = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(memory, MAP_FAILED);
	dup2(memfd_create("log", 0), STDERR_FILENO);
}

static const char *last_line(void)
{
	static char text[4096];
	ssize_t n = pread(STDERR_FILENO, text, sizeof(text) - 1, 0);
	char *line;

	ck_assert_int_gt(n, 0);
	text[n - 1] = '\0';
	line = strrchr(text, '\n');
	return line ? line + 1 : text;
}

static int add(uint64_t at, uint64_t bytes, bool read_only)
{
	const struct kvm_slot slot = {
		.name = "fb", .at = GPA(at), .bytes = bytes, .host = memory, .read_only = read_only
	};

	return kvm_slot_add(&kvm, &slot);
}

START_TEST(test_ram_comes_first)
{
	start(4096);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t at = i ? RAM_GAP_END : 0;

		ck_assert_uint_eq(host.region[i].guest_phys_addr, at);
		ck_assert_uint_eq(host.region[i].memory_size, i ? 4096 * MIB - RAM_GAP_START : RAM_GAP_START);
		ck_assert_uint_eq(host.region[i].userspace_addr, (uintptr_t)ram_base(ram) + at);
		ck_assert_uint_eq(host.region[i].flags, 0);
	}
	ck_assert_int_eq(add(FB, 64 * KIB, false), 2);
}
END_TEST

START_TEST(test_add_move_remove)
{
	struct kvm_slot slot;

	start(64);
	ck_assert_int_eq(add(FB, 64 * KIB, false), 1);
	ck_assert_int_eq(add(FB + 64 * KIB, 4 * KIB, true), 2);
	ck_assert_uint_eq(host.region[1].userspace_addr, (uintptr_t)memory);
	ck_assert_uint_eq(host.region[1].flags, 0);
	ck_assert_uint_eq(host.region[2].flags, KVM_MEM_READONLY);

	ck_assert_int_eq(kvm_slot_move(&kvm, 1, GPA(FB + 32 * KIB)), -EEXIST); /* on slot 2 */
	ck_assert_str_eq(last_line(), "lkvm: memory of fb, 65536 bytes at 0xd8008000: other memory is there");
	ck_assert_int_eq(kvm_slot_move(&kvm, 1, GPA(FB - 32 * KIB)), 0); /* over itself */
	ck_assert_uint_eq(host.region[1].guest_phys_addr, FB - 32 * KIB);
	ck_assert_uint_eq(host.region[1].memory_size, 64 * KIB);
	host.fail = ENOMEM;
	ck_assert_int_eq(kvm_slot_move(&kvm, 1, GPA(FB - 64 * KIB)), -ENOMEM);
	ck_assert(kvm_slot_get(&kvm, 1, &slot));
	ck_assert_uint_eq(slot.at.v, FB - 32 * KIB);

	ck_assert_int_eq(kvm_slot_remove(&kvm, 1), 0);
	ck_assert_uint_eq(host.region[1].memory_size, 0);
	ck_assert(!kvm_slot_get(&kvm, 1, &slot));
	ck_assert_int_eq(add(FB - 32 * KIB, 4 * KIB, false), 1);
	kvm_slots_fini(&kvm);
}
END_TEST

/* What is beside RAM, devices find where the guest does. */
START_TEST(test_beside_ram)
{
	char byte;

	start(64);
	ck_assert(!ram_beside_has(ram, GPA(0), 1, false));
	ck_assert_int_eq(add(FB, 64 * KIB, false), 1);
	ck_assert_int_eq(add(64 * MIB, 4 * KIB, true), 2); /* where RAM ends */
	ck_assert(ram_beside_has(ram, GPA(FB), 64 * KIB, true));
	ck_assert(!ram_beside_has(ram, GPA(FB), 64 * KIB + 1, true));
	ck_assert(ram_beside_has(ram, GPA(64 * MIB), 4096, false) &&
		  !ram_beside_has(ram, GPA(64 * MIB), 4096, true));
	ck_assert_int_eq(ram_beside_write(ram, GPA(FB + 4099), "x", 1), 0);
	ck_assert_uint_eq(memory[4099], 'x');
	ck_assert_int_eq(ram_beside_read(ram, GPA(FB + 4099), &byte, 1), 0);
	ck_assert_int_eq(byte, 'x');
	ck_assert_int_eq(ram_beside_write(ram, GPA(64 * MIB), "x", 1), -EFAULT);

	ck_assert_int_eq(kvm_slot_move(&kvm, 1, GPA(FB - 64 * KIB)), 0);
	ck_assert(!ram_beside_has(ram, GPA(FB), 1, false) && ram_beside_has(ram, GPA(FB - 1), 1, false));
	host.fail = ENOMEM;
	ck_assert_int_eq(kvm_slot_move(&kvm, 1, GPA(FB)), -ENOMEM);
	ck_assert(!ram_beside_has(ram, GPA(FB), 1, false) && ram_beside_has(ram, GPA(FB - 1), 1, false));
	ck_assert_int_eq(kvm_slot_remove(&kvm, 1), 0);
	ck_assert_int_eq(kvm_slot_remove(&kvm, 2), 0);
	ck_assert(!ram_beside_has(ram, GPA(FB - 1), 1, false) && !ram_beside_has(ram, GPA(64 * MIB), 1, false));
	ck_assert_int_eq(kvm_slot_log(&kvm, 0, true), 0); /* RAM is not beside itself */
	ck_assert(!ram_beside_has(ram, GPA(0), 1, false));
	kvm_slots_fini(&kvm);
}
END_TEST

START_TEST(test_refused)
{
	static const struct {
		uint64_t at, bytes;
		int want;
	} table[] = {
		{ FB, 0, -EINVAL },
		{ FB + 1, 4096, -EINVAL },
		{ FB, 4095, -EINVAL },
		{ UINT64_MAX - 4095, 4096, -EINVAL },
		{ UINT64_MAX - 4095, 8192, -EINVAL },
		{ 0, 4096, -EEXIST },
		{ 64 * MIB - 4096, 4096, -EEXIST },
		{ 64 * MIB - 4096, 8192, -EEXIST },
	};
	unsigned before;

	start(64);
	before = host.calls;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		ck_assert_msg(add(table[i].at, table[i].bytes, false) == table[i].want, "line %zu", i);
	ck_assert_uint_eq(host.calls, before);
	ck_assert_int_eq(add(64 * MIB, 4096, false), 1);
	/* By now there were so many lines that no more come for a while. */
	kvm.slots.refused = (struct ratelimit){ 0 };
	host.read_only = 0;
	ck_assert_int_eq(add(FB, 4096, true), -ENOTSUP);
	ck_assert_str_eq(last_line(), "lkvm: memory of fb, 4096 bytes at 0xd8000000: this host's KVM lacks "
				      "KVM_CAP_READONLY_MEM");
	host.fail = EINVAL;
	ck_assert_int_eq(add(FB, 4096, false), -EINVAL);
	ck_assert_int_eq(add(FB, 4096, false), 2); /* the number is still free */
}
END_TEST

START_TEST(test_as_many_as_kvm_has)
{
	static const struct {
		int says;
		unsigned max;
	} table[] = { { 32764, KVM_MAX_SLOTS }, { 4, 4 }, { 0, 32 }, { -1, 32 } };

	start(64);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		host.n_slots = table[i].says;
		kvm_slots_init(&kvm);
		for (unsigned n = 0; n < table[i].max; n++)
			ck_assert_int_eq(add(FB + n * 8 * KIB, 4096, false), (int)n);
		ck_assert_int_eq(add(FB - 4096, 4096, false), -ENOSPC);
	}
}
END_TEST

/* ---- logs ---- */

static void take(unsigned n, uint64_t *bitmap, uint64_t words)
{
	struct kvm_slot slot;

	ck_assert(kvm_slot_get(&kvm, n, &slot));
	ck_assert_uint_eq(kvm_slot_log_words(&slot), words);
	memset(bitmap, 0, words * 8);
	ck_assert_int_eq(kvm_slot_log_take(&kvm, n, bitmap), 0);
}

START_TEST(test_log_has_both_halves)
{
	uint64_t bitmap[256], *high = malloc(0x30000 / 8);

	start(4096);
	ck_assert_int_eq(kvm_slot_log_take(&kvm, 0, bitmap), -ENOENT);
	ck_assert_int_eq(kvm_slot_log(&kvm, 1, true), 0);
	ck_assert_uint_eq(host.region[1].flags, KVM_MEM_LOG_DIRTY_PAGES);
	ck_assert_int_eq(ram_log(ram, true), 0);

	host.dirty = 0x5;
	ck_assert_int_eq(ram_write(ram, GPA(RAM_GAP_END + 0x1ffe), "1234", 4), 0); /* pages 1, 2 */
	ck_assert_int_eq(ram_write(ram, GPA(4096), "1234", 4), 0); /* of the other slot */
	take(1, high, 0x30000 / 64);
	ck_assert_uint_eq(high[0], 0x7);
	for (unsigned i = 1; i < 0x30000 / 64; i++)
		ck_assert_uint_eq(high[i], 0);
	take(1, high, 0x30000 / 64);
	ck_assert_uint_eq(high[0], 0);

	/* A new log is empty. */
	ck_assert_int_eq(ram_write(ram, GPA(RAM_GAP_END), "1", 1), 0);
	ck_assert_int_eq(ram_log(ram, false), 0);
	ck_assert_int_eq(ram_write(ram, GPA(RAM_GAP_END), "1", 1), 0);
	ck_assert_int_eq(ram_log(ram, true), 0);
	take(1, high, 0x30000 / 64);
	ck_assert_uint_eq(high[0], 0);
	ck_assert_int_eq(kvm_slot_log(&kvm, 1, false), 0);
	ck_assert_uint_eq(host.region[1].flags, 0);
	free(high);
}
END_TEST

static void add_written(void *ctx, gpa_t start, uint64_t bytes, const uint64_t *written)
{
	uint64_t *sum = ctx;

	sum[0]++;
	sum[1] += start.v + bytes;
	sum[2] |= written[0];
}

/* All that is RAM, and nothing else; not what is RAM only since then. */
START_TEST(test_log_of_all_ram)
{
	uint64_t sum[3] = { 0 };
	struct kvm_slot slot;
	int fb;

	start(4096);
	fb = add(FB, 64 * KIB, false);
	ck_assert_int_eq(kvm_ram_log(&kvm, true), 0);
	ck_assert(*ram_logging(ram));
	ck_assert_uint_eq(host.region[0].flags & host.region[1].flags, KVM_MEM_LOG_DIRTY_PAGES);
	ck_assert_uint_eq(host.region[fb].flags, 0);
	host.dirty = 4;
	ck_assert_int_eq(ram_write(ram, GPA(0x1000), "1", 1), 0);
	ck_assert_int_eq(kvm_ram_log_take(&kvm, add_written, sum), 0);
	ck_assert_uint_eq(sum[0], 2);
	ck_assert_uint_eq(sum[1], RAM_GAP_START + RAM_GAP_END + (4096 - 3328) * MIB);
	ck_assert_uint_eq(sum[2], 6);

	/* It was taken away, and is there again. */
	ck_assert(kvm_slot_get(&kvm, 1, &slot));
	ck_assert_int_eq(kvm_slot_remove(&kvm, 1), 0);
	slot.logged = false;
	ck_assert_int_eq(kvm_slot_add(&kvm, &slot), 1);
	ck_assert_int_eq(kvm_ram_log_take(&kvm, add_written, sum), 0);
	ck_assert_uint_eq(sum[0], 3);

	ck_assert_int_eq(kvm_ram_log(&kvm, false), 0);
	ck_assert(!*ram_logging(ram));
	ck_assert_uint_eq(host.region[0].flags | host.region[1].flags, 0);
	ck_assert_int_eq(kvm_ram_log_take(&kvm, add_written, sum), 0);
	ck_assert_uint_eq(sum[0], 3);

	/* All or none */
	host.fail = ENOMEM;
	ck_assert_int_eq(kvm_ram_log(&kvm, true), -ENOMEM);
	ck_assert(!*ram_logging(ram));
	ck_assert_uint_eq(host.region[0].flags | host.region[1].flags, 0);
}
END_TEST

START_TEST(test_log_bounds)
{
	uint64_t all[512] = { 0 }, bitmap[3];

	start(64);
	ck_assert(!*ram_logging(ram));
	ck_assert_int_eq(ram_log(ram, true), 0);
	ck_assert(*ram_logging(ram));
	ram_wrote(ram, ram_base(ram) + 0x3ffff, 1);            /* page 0x3f */
	ram_wrote(ram, ram_base(ram) + 0x3ffff, 2);            /* and 0x40 */
	ram_wrote(ram, ram_base(ram) + 0x50000, 0);            /* none */
	ram_wrote(ram, ram_base(ram) + 0x81000, 40 * 0x1000);  /* 0x81 to 0xa8 */
	ram_wrote(ram, ram_base(ram) + 64 * MIB - 1, 1);       /* the last one */
	memset(bitmap, 0, sizeof(bitmap));
	bitmap[0] = 1;
	ram_log_take(ram, GPA(0x40000), 66 * 4096, bitmap);
	ck_assert_uint_eq(bitmap[0], 1);
	ck_assert_uint_eq(bitmap[1], 2); /* 0x81, but not what is behind the 66 pages */
	ck_assert_uint_eq(bitmap[2], 0);
	ram_log_take(ram, GPA(0), 64 * MIB, all);
	ck_assert_uint_eq(all[0], 1ULL << 63);
	ck_assert_uint_eq(all[1], 0);
	ck_assert_uint_eq(all[2], ((1ULL << 41) - 1) & ~3ULL);
	ck_assert_uint_eq(all[255], 1ULL << 63);
}
END_TEST

/* ---- what is given back ---- */

static uint8_t page_of(uint64_t at)
{
	return ram_base(ram)[at];
}

static void check_discard(void)
{
	uint64_t bitmap[8] = { 0 };

	memset(ram_base(ram) + 0x10000, 0xaa, 0x10000);
	ck_assert_int_eq(ram_log(ram, true), 0);
	ck_assert_int_eq(ram_discard(ram, GPA(0x11001), 0x3000), 0); /* 0x12000 and 0x13000 whole */
	ck_assert(page_of(0x11fff) == 0xaa && page_of(0x14000) == 0xaa);
	ck_assert(!page_of(0x12000) && !page_of(0x13fff));
	ram_log_take(ram, GPA(0), 2 * MIB, bitmap);
	ck_assert_uint_eq(bitmap[0], 3ULL << 0x12);
	ck_assert_int_eq(ram_discard(ram, GPA(0x14001), 0x1ffe), 0); /* no whole page */
	ck_assert_int_eq(ram_discard(ram, GPA(0x15000), 0), 0);
	ck_assert(page_of(0x14001) == 0xaa && page_of(0x15000) == 0xaa);
}

START_TEST(test_discard)
{
	start(4096);
	check_discard();
	ck_assert_int_eq(ram_discard(ram, GPA(RAM_GAP_START - 4096), 8192), -EFAULT);
	ck_assert_int_eq(ram_discard(ram, GPA(UINT64_MAX - 4095), 4096), -EFAULT);
	ram_base(ram)[RAM_GAP_END] = 1;
	ck_assert_int_eq(ram_discard(ram, GPA(RAM_GAP_END), 4096), 0);
	ck_assert(!page_of(RAM_GAP_END));
}
END_TEST

static blkcnt_t blocks_of(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return st.st_blocks;
}

/* The file gets a hole where the RAM was, behind the gap too, and keeps its size. */
START_TEST(test_discard_of_a_file)
{
	static const struct ram_config plain = { .no_thp = true };
	struct ram_backing backing = { .fd = memfd_create("ram", 0), .shared = true, .advice = &plain };
	blkcnt_t before;

	ck_assert_int_eq(ftruncate(backing.fd, 3329 * (off_t)MIB), 0);
	ck_assert_int_eq(ram_new(3329 * MIB, &backing, &ram), 0);
	check_discard();
	memset(ram_base(ram) + RAM_GAP_END, 0xaa, 16 * KIB);
	before = blocks_of(backing.fd);
	ck_assert_int_eq(ram_discard(ram, GPA(RAM_GAP_END), 8 * KIB), 0);
	ck_assert_int_eq(before - blocks_of(backing.fd), 16);
	ck_assert(!page_of(RAM_GAP_END) && page_of(RAM_GAP_END + 8 * KIB) == 0xaa);
	ck_assert_int_eq(lseek(backing.fd, 0, SEEK_END), 3329 * (off_t)MIB);
	ram_free(ram);
	close(backing.fd);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { test_ram_comes_first, test_add_move_remove, test_beside_ram, test_refused,
				       test_as_many_as_kvm_has, test_log_has_both_halves, test_log_of_all_ram, test_log_bounds,
				       test_discard, test_discard_of_a_file, NULL };

	return unit_run("slots", tests);
}
