/* Links: kvm.o kvm-slots.o kvm-cpu.o hw/bus.o hw/ram.o util/log.o x86/cpu/fault.o x86/cpu/walk.o */
/*
 * Pausing and joining vCPUs, some of which do not come out of a device: without KVM, as the test plays
 * the ioctl that runs the guest.
 */
#include <errno.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/kvm.h"
#include "unit.h"

#define N_CPUS 3
#define WINDOW 0xd0000000ULL

static struct kvm kvm;
static struct kvm_cpu cpus[N_CPUS];
static sem_t in_device, leave_device;
static atomic_bool no_turn; /* no vCPU comes out of the guest */
static atomic_uint n_go; /* bit: this vCPU is to access the device */

static struct kvm_cpu *cpu_of(int fd)
{
	return &cpus[fd - 1000];
}

/* In the guest, until a kick, or until the test wants an exit. */
static int run_guest(struct kvm_cpu *cpu)
{
	while (atomic_load(&no_turn) || !__atomic_load_n(&cpu->run->immediate_exit, __ATOMIC_SEQ_CST)) {
		if (atomic_fetch_and(&n_go, ~(1U << cpu->id)) & 1U << cpu->id) {
			cpu->run->exit_reason = KVM_EXIT_MMIO;
			cpu->run->mmio.phys_addr = WINDOW + 0x14;
			cpu->run->mmio.len = 4;
			cpu->run->mmio.is_write = 1;
			return 0;
		}
		usleep(1000);
	}
	errno = EINTR;
	return -1;
}

int ioctl(int fd, unsigned long request, ...)
{
	return request == KVM_RUN ? run_guest(cpu_of(fd)) : 0;
}

static void device_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	(void)dev, (void)off, (void)len, (void)value;
	sem_post(&in_device);
	while (sem_wait(&leave_device) && errno == EINTR)
		;
}

static const struct bus_ops ops = { .write = device_write };
static const struct bus_range window = { .base = WINDOW, .size = 0x1000, .ops = &ops, .name = "blk0" };

/* What kvm_open() does where there is a /dev/kvm. */
static void open_kvm(void)
{
	pthread_condattr_t attr;
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	kvm = (struct kvm){ .dev_fd = -1, .vm_fd = -1, .wake_fd = fds[0], .cpus = cpus, .n_cpus = N_CPUS };
	ck_assert_int_eq(write(fds[1], "x", 1), 1); /* kvm_stop() will have woken the main thread */
	pthread_mutex_init(&kvm.lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&kvm.changed, &attr);
	bus_init(&kvm.pio);
	bus_init(&kvm.mmio);
	ck_assert_int_eq(bus_add(&kvm.mmio, &window), 0);
}

static void start(void)
{
	open_kvm();
	sem_init(&in_device, 0, 0);
	sem_init(&leave_device, 0, 0);
	for (unsigned i = 0; i < N_CPUS; i++)
		cpus[i] = (struct kvm_cpu){ .kvm = &kvm, .id = i, .fd = 1000 + (int)i,
					    .run = calloc(1, sizeof(struct kvm_run)) };
	ck_assert_int_eq(kvm_start(&kvm), 0);
}

static void into_device(unsigned cpu)
{
	atomic_fetch_or(&n_go, 1U << cpu);
	while (sem_wait(&in_device) && errno == EINTR)
		;
}

static const char *busy(void)
{
	static char text[128];

	kvm_describe_busy(&kvm, text, sizeof(text));
	return text;
}

static void finish(void)
{
	kvm_stop(&kvm, STOP_REQUEST, 0);
	ck_assert_int_eq(kvm_join(&kvm, 20000), 0);
	for (unsigned i = 0; i < N_CPUS; i++)
		ck_assert(!cpus[i].thread);
}

START_TEST(test_pause)
{
	start();
	ck_assert_int_eq(kvm_pause(&kvm), 0);
	ck_assert(kvm_outside(&kvm));
	ck_assert_int_eq(kvm_pause(&kvm), -EALREADY);
	ck_assert_int_eq(kvm_resume(&kvm), 0);
	ck_assert_int_eq(kvm_resume(&kvm), -EALREADY);
	finish();
	ck_assert_int_eq(kvm_pause(&kvm), -ESHUTDOWN);
}
END_TEST

/* The first request waits a while, later ones only for something new. */
START_TEST(test_pause_stuck)
{
	int64_t begin = now_ms();

	start();
	into_device(1);
	ck_assert_int_eq(kvm_pause(&kvm), -EINPROGRESS);
	ck_assert_int_ge(now_ms() - begin, 900);
	ck_assert_str_eq(busy(), "vCPU 1 is still in blk0 (address 0xd0000014)");
	ck_assert(kvm_outside(&kvm));
	ck_assert_int_eq(kvm.state, KVM_PAUSED);
	begin = now_ms();
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(kvm_pause(&kvm), -EINPROGRESS);
	ck_assert_int_eq(kvm_resume(&kvm), 0);
	ck_assert_int_eq(kvm_pause(&kvm), -EINPROGRESS);
	ck_assert_int_lt(now_ms() - begin, 15000);

	sem_post(&leave_device); /* paused: it parks now */
	while (kvm_pause(&kvm) == -EINPROGRESS)
		usleep(1000);
	ck_assert_str_eq(busy(), "no vCPU is busy any more");
	ck_assert_int_eq(kvm_resume(&kvm), 0);

	into_device(1); /* the next access is waited for as the first was */
	begin = now_ms();
	ck_assert_int_eq(kvm_pause(&kvm), -EINPROGRESS);
	ck_assert_int_ge(now_ms() - begin, 900);
	sem_post(&leave_device);
	finish();
}
END_TEST

/* One in the guest is waited for each time: it comes out as soon as the host lets it. */
START_TEST(test_pause_no_turn)
{
	start();
	while (kvm.n_running < N_CPUS)
		usleep(1000);
	atomic_store(&no_turn, true);
	ck_assert_int_eq(kvm_pause(&kvm), -EINPROGRESS);
	ck_assert(!kvm_outside(&kvm));
	atomic_store(&no_turn, false);
	ck_assert_int_eq(kvm_pause(&kvm), -EALREADY);
	finish();
}
END_TEST

START_TEST(test_join_stuck)
{
	start();
	into_device(0);
	into_device(2);
	kvm_stop(&kvm, STOP_TIMEOUT, 0);
	ck_assert_int_eq(kvm_join(&kvm, 100), -ETIMEDOUT);
	ck_assert_str_eq(busy(), "vCPU 0 is still in blk0 (address 0xd0000014)");
	ck_assert_int_eq(kvm_join(&kvm, 0), -ETIMEDOUT);
	sem_post(&leave_device);
	sem_post(&leave_device);
	ck_assert_int_eq(kvm_join(&kvm, 20000), 0);
	ck_assert_int_eq(kvm_join(&kvm, 0), 0);
}
END_TEST

UNIT_MAIN("hold", test_pause, test_pause_stuck, test_pause_no_turn, test_join_stuck)
