/* Links: kvm.o kvm-cpu.o hw/bus.o hw/ram.o util/log.o x86/fault.o x86/walk.o */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/kvm-cpu.h"
#include "lkvm/kvm.h"
#include "unit.h"

#define N_CPUS 2

/* The address sanitizer keeps freed memory for a while. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define SLACK_KIB 512
#else
#define SLACK_KIB 0
#endif

/* A machine without devices: both CPUs start at the reset vector, in the gap, or wait for their IPI. */
static void vm_cycle(void)
{
	const struct ram_config plain = { 0 };
	struct ram_backing backing = { .fd = -1, .advice = &plain };
	struct kvm_cpu cpus[N_CPUS];
	struct ram ram;
	struct kvm kvm;

	ck_assert_int_eq(ram_init(&ram, 3329 * MIB, &backing), 0);
	ck_assert_int_eq(kvm_open(&kvm), 0);
	ck_assert_int_eq(kvm_map_ram(&kvm, &ram), 0);
	ck_assert_int_eq(kvm_create_irqchip(&kvm), 0);
	kvm.cpus = cpus;
	for (unsigned i = 0; i < N_CPUS; i++, kvm.n_cpus++)
		ck_assert_int_eq(kvm_cpu_init(&cpus[i], &kvm, i), 0);
	ck_assert_int_eq(ram_write(&ram, GPA(RAM_GAP_END), "x", 1), 0);
	ck_assert_int_eq(kvm_start(&kvm), 0);
	kvm_stop(&kvm, STOP_REQUEST, 0);
	kvm_join(&kvm);
	ck_assert_int_ne(kvm_stop_cause(&kvm, NULL), STOP_NONE);
	for (unsigned i = 0; i < N_CPUS; i++)
		kvm_cpu_fini(&cpus[i]);
	kvm_close(&kvm);
	ram_fini(&ram);
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

static unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

START_TEST(test_teardown_leaves_nothing)
{
	long kib;
	unsigned fds;

	/* The C library keeps the first threads' stacks. */
	for (unsigned i = 0; i < 3; i++)
		vm_cycle();
	kib = status_number("VmSize:");
	fds = count_fds();
	for (unsigned i = 0; i < 100; i++)
		vm_cycle();
	ck_assert_uint_eq(count_fds(), fds);
	ck_assert_int_le(labs(status_number("VmSize:") - kib), SLACK_KIB);
	ck_assert_int_eq(status_number("Threads:"), 1);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { test_teardown_leaves_nothing, NULL };
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		printf("1..1\nok 1 - whole VMs # SKIP /dev/kvm: %s\n", strerror(errno));
		return EXIT_SUCCESS;
	}
	close(fd);
	return unit_run("vm", tests);
}
