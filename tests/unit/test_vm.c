/* Links: kvm.o kvm-slots.o kvm-cpu.o hw/bus.o hw/ram.o util/log.o x86/cpu/fault.o x86/cpu/walk.o */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lkvm/kvm-cpu.h"
#include "lkvm/kvm.h"
#include "unit.h"

#define N_CPUS 2

/* The address sanitizer keeps freed memory for a while. */
#define SLACK_KIB (ADDRESS_SANITIZER ? 512 : 0)

/* A machine without devices: both CPUs start at the reset vector, in the gap, or wait for their IPI. */
static void vm_cycle(void)
{
	const struct ram_config plain = { 0 };
	struct ram_backing backing = { .fd = -1, .advice = &plain };
	struct kvm_cpu cpus[N_CPUS];
	struct ram *ram;
	struct kvm kvm;

	ck_assert_int_eq(ram_new(3329 * MIB, &backing, &ram), 0);
	ck_assert_int_eq(kvm_open(&kvm), 0);
	ck_assert_int_eq(kvm_map_ram(&kvm, ram), 0);
	ck_assert_int_eq(kvm_create_irqchip(&kvm), 0);
	kvm.cpus = cpus;
	for (unsigned i = 0; i < N_CPUS; i++, kvm.n_cpus++)
		ck_assert_int_eq(kvm_cpu_init(&cpus[i], &kvm, i, i), 0);
	ck_assert_int_eq(ram_write(ram, GPA(RAM_GAP_END), "x", 1), 0);
	ck_assert_int_eq(kvm_start(&kvm), 0);
	kvm_stop(&kvm, STOP_REQUEST, 0);
	ck_assert_int_eq(kvm_join(&kvm, -1), 0);
	ck_assert_int_ne(kvm_stop_cause(&kvm, NULL), STOP_NONE);
	for (unsigned i = 0; i < N_CPUS; i++)
		kvm_cpu_fini(&cpus[i]);
	kvm_close(&kvm);
	ram_free(ram);
}

static long status_number(const char *key)
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

START_TEST(test_teardown_leaves_nothing)
{
	long kib;
	unsigned fds;

	/* The C library keeps the first threads' stacks. */
	for (unsigned i = 0; i < 3; i++)
		vm_cycle();
	kib = status_number("VmSize:");
	fds = unit_entries("/proc/self/fd");
	for (unsigned i = 0; i < 100; i++)
		vm_cycle();
	ck_assert_uint_eq(unit_entries("/proc/self/fd"), fds);
	ck_assert_int_le(labs(status_number("VmSize:") - kib), SLACK_KIB);
	ck_assert_int_eq(status_number("Threads:"), 1);
}
END_TEST

/* A device's memory beside the RAM, and KVM's log of pages that nobody writes. */
START_TEST(test_slots)
{
	const struct ram_config plain = { 0 };
	struct ram_backing backing = { .fd = -1, .advice = &plain };
	struct kvm_slot fb = { .name = "fb", .at = GPA(0xd8000000), .bytes = 64 * KIB };
	uint64_t bitmap[64 * MIB / 4096 / 64] = { 0 };
	struct ram *ram;
	struct kvm kvm;

	ck_assert_int_eq(ram_new(64 * MIB, &backing, &ram), 0);
	ck_assert_int_eq(kvm_open(&kvm), 0);
	ck_assert_int_eq(kvm_map_ram(&kvm, ram), 0);
	fb.host = mmap(NULL, fb.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(fb.host, MAP_FAILED);
	ck_assert_int_eq(kvm_slot_add(&kvm, &fb), 1);
	ck_assert_int_eq(kvm_slot_move(&kvm, 1, GPA(0x8000000000)), 0); /* above 4 GB, as a BAR may go */
	ck_assert_int_eq(kvm_slot_move(&kvm, 1, GPA(0x3ff0000)), -EEXIST);
	ck_assert_int_eq(kvm_slot_remove(&kvm, 1), 0);
	fb.read_only = true;
	ck_assert_int_eq(kvm_slot_add(&kvm, &fb), 1);

	ck_assert_int_eq(kvm_slot_log(&kvm, 0, true), 0);
	ck_assert_int_eq(ram_log(ram, true), 0);
	ck_assert_int_eq(ram_write(ram, GPA(0x41000), "x", 1), 0);
	ck_assert_int_eq(kvm_slot_log_take(&kvm, 0, bitmap), 0);
	ck_assert_uint_eq(bitmap[1], 2);
	ck_assert_int_eq(kvm_slot_log(&kvm, 0, false), 0);
	ck_assert_int_eq(kvm_slot_log_take(&kvm, 0, bitmap), -ENOENT);
	kvm_close(&kvm);
	munmap(fb.host, fb.bytes);
	ram_free(ram);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { test_teardown_leaves_nothing, test_slots, NULL };

	if (!access("/dev/kvm", R_OK | W_OK))
		return unit_run("vm", tests);
	puts("ok 1 - vm # SKIP /dev/kvm cannot be opened\n1..1");
	return EXIT_SUCCESS;
}
