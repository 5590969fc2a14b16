/* The virtual machine as KVM knows it; see kvm.h. */
#include "lkvm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/event.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/log.h"
#include "lkvm/x86/cpu.h"
#include "lkvm/x86/layout.h"

#define KVM_PATH "/dev/kvm"
#define PAUSE_MS 1000 /* a request must be answered within 2 s */
#define SLOT_MAX_PAGES (1ULL << 31) /* a slot holds fewer */

/* What lkvm cannot do without; the rest is asked for where it is used. */
static const struct {
	int cap;
	const char *name;
} needed_caps[] = {
	{ KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP" },
	{ KVM_CAP_PIT2, "KVM_CAP_PIT2" },
	{ KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
	{ KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR" },
	{ KVM_CAP_SET_IDENTITY_MAP_ADDR, "KVM_CAP_SET_IDENTITY_MAP_ADDR" },
	{ KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID" },
	{ KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
	{ KVM_CAP_IRQFD, "KVM_CAP_IRQFD" },
	{ KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD" },
};

static int kvm_open_device(struct kvm *kvm)
{
	kvm->dev_fd = open(KVM_PATH, O_RDWR | O_CLOEXEC);
	if (kvm->dev_fd >= 0)
		return 0;
	switch (errno) {
	case ENOENT:
		return log_err(-ENOENT, "open '%s' (is the kvm_intel or kvm_amd module loaded, and "
					"virtualization enabled in the firmware?)", KVM_PATH);
	case EACCES:
		return log_err(-EACCES, "open '%s' (are you in the group 'kvm'?)", KVM_PATH);
	default:
		return log_err(-errno, "open '%s'", KVM_PATH);
	}
}

static int kvm_check_device(struct kvm *kvm)
{
	int version = ioctl(kvm->dev_fd, KVM_GET_API_VERSION, 0);

	if (version < 0)
		return log_errx(-ENODEV, "'%s' is not the KVM device", KVM_PATH);
	if (version != KVM_API_VERSION)
		return log_errx(-ENOTSUP, "'%s' speaks KVM API version %d, lkvm needs %d", KVM_PATH,
				version, KVM_API_VERSION);
	for (size_t i = 0; i < ARRAY_SIZE(needed_caps); i++)
		if (ioctl(kvm->dev_fd, KVM_CHECK_EXTENSION, needed_caps[i].cap) <= 0)
			return log_errx(-ENOTSUP, "this host's KVM lacks %s", needed_caps[i].name);
	kvm->tsc_deadline =
		ioctl(kvm->dev_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	return 0;
}

static int kvm_create_vm(struct kvm *kvm)
{
	int run_bytes = ioctl(kvm->dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	int type = 0;

	if (run_bytes < (int)sizeof(struct kvm_run))
		return log_err(run_bytes < 0 ? -errno : -EINVAL, "KVM_GET_VCPU_MMAP_SIZE");
	kvm->run_bytes = (size_t)run_bytes;
	do {
		kvm->vm_fd = ioctl(kvm->dev_fd, KVM_CREATE_VM, type);
	} while (kvm->vm_fd < 0 && errno == EINTR);
	if (kvm->vm_fd < 0)
		return log_err(-errno, "KVM_CREATE_VM");
	return 0;
}

int kvm_open(struct kvm *kvm)
{
	int err;

	*kvm = (struct kvm){ .dev_fd = -1, .vm_fd = -1, .wake_fd = -1, .debug_fd = -1 };
	pthread_mutex_init(&kvm->lock, NULL);
	clock_cond_init(&kvm->changed);
	bus_init(&kvm->pio);
	bus_init(&kvm->mmio);
	err = kvm_open_device(kvm);
	if (!err)
		err = kvm_check_device(kvm);
	if (!err)
		err = kvm_create_vm(kvm);
	if (err)
		return err;
	kvm_slots_init(kvm);
	kvm->wake_fd = event_open(0);
	return kvm->wake_fd < 0 ? log_err(kvm->wake_fd, "eventfd") : 0;
}

void kvm_close(struct kvm *kvm)
{
	int *const fds[] = { &kvm->wake_fd, &kvm->vm_fd, &kvm->dev_fd };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
	bus_fini(&kvm->pio);
	bus_fini(&kvm->mmio);
	kvm_slots_fini(kvm);
	pthread_cond_destroy(&kvm->changed);
	pthread_mutex_destroy(&kvm->lock);
}

static unsigned kvm_capability(const struct kvm *kvm, int cap, unsigned fallback)
{
	int n = ioctl(kvm->dev_fd, KVM_CHECK_EXTENSION, cap);

	return n > 0 ? (unsigned)n : fallback;
}

/* The fallbacks are those of the KVM documentation. */
unsigned kvm_recommended_vcpus(const struct kvm *kvm)
{
	return kvm_capability(kvm, KVM_CAP_NR_VCPUS, 4);
}

unsigned kvm_max_vcpus(const struct kvm *kvm)
{
	return kvm_capability(kvm, KVM_CAP_MAX_VCPUS, kvm_recommended_vcpus(kvm));
}

int kvm_create_irqchip(struct kvm *kvm)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	uint64_t identity = LAYOUT_IDENTITY;

	if (ioctl(kvm->vm_fd, KVM_SET_TSS_ADDR, LAYOUT_TSS) < 0)
		return log_err(-errno, "KVM_SET_TSS_ADDR");
	if (ioctl(kvm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
		return log_err(-errno, "KVM_SET_IDENTITY_MAP_ADDR");
	if (ioctl(kvm->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return log_err(-errno, "KVM_CREATE_IRQCHIP");
	if (ioctl(kvm->vm_fd, KVM_CREATE_PIT2, &pit) < 0)
		return log_err(-errno, "KVM_CREATE_PIT2");
	return 0;
}

void kvm_lose_ticks(const struct kvm *kvm)
{
	const struct kvm_reinject_control control = { .pit_reinject = 0 };

	if (kvm->vm_fd >= 0)
		ioctl(kvm->vm_fd, KVM_REINJECT_CONTROL, &control);
}

int kvm_use_wide_ids(struct kvm *kvm, unsigned max_id)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X2APIC_API,
		.args = { KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK },
	};
	unsigned ids = kvm_capability(kvm, KVM_CAP_MAX_VCPU_ID, kvm_max_vcpus(kvm));

	if (max_id >= ids)
		return log_errx(-EINVAL, "APIC id %u is too large (this host's KVM_CAP_MAX_VCPU_ID is %u): "
				"fewer CPUs, or sockets, dies and cores in powers of two", max_id, ids);
	if (ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &cap) < 0)
		return log_err(-errno, "KVM_CAP_X2APIC_API, which APIC ids above %d need", XAPIC_IDS - 1);
	kvm->wide_ids = true;
	return 0;
}

int kvm_check_ram_size(unsigned phys_bits, uint64_t size_bytes)
{
	const uint64_t limit = 1ULL << phys_bits;
	/* A part above the gap is the larger one wherever this limit matters. */
	const uint64_t slot_limit = (SLOT_MAX_PAGES - 1) * 4096;
	uint64_t end = size_bytes > RAM_GAP_START ? size_bytes + RAM_GAP_SIZE : size_bytes;

	if (end < size_bytes || end > limit)
		return log_errx(-EFBIG,
				"Guest memory of %lluMB needs addresses above this host's %u-bit "
				"physical address limit (at most %lluMB)",
				(unsigned long long)(size_bytes / MIB), phys_bits,
				(unsigned long long)((limit - RAM_GAP_SIZE) / MIB));
	if (size_bytes > RAM_GAP_START && size_bytes - RAM_GAP_START > slot_limit)
		return log_errx(-EFBIG,
				"Guest memory of %lluMB exceeds KVM's limit of 2^31 - 1 pages a "
				"memory slot (at most %lluMB)",
				(unsigned long long)(size_bytes / MIB),
				(unsigned long long)((slot_limit + RAM_GAP_START) / MIB));
	return 0;
}

void kvm_irq_line(struct kvm *kvm, unsigned gsi, bool level)
{
	struct kvm_irq_level line = { .irq = gsi, .level = level };

	if (ioctl(kvm->vm_fd, KVM_IRQ_LINE, &line) < 0)
		log_debug(LOG_DEVICE, "KVM_IRQ_LINE %u: %s", gsi, strerror(errno));
}

static void kvm_kick_all(struct kvm *kvm)
{
	for (unsigned i = 0; i < kvm->n_cpus; i++)
		kvm_cpu_kick(&kvm->cpus[i]);
}

static uint64_t pack_cause(enum stop_cause cause, uint32_t value)
{
	return (uint64_t)value << 32 | (uint32_t)cause;
}

/* From @from to @to, waking every parked thread. */
static int kvm_change_state(struct kvm *kvm, enum kvm_state from, enum kvm_state to)
{
	int ret = 0;

	pthread_mutex_lock(&kvm->lock);
	if (kvm->state == KVM_STOPPING)
		ret = -ESHUTDOWN;
	else if (kvm->state != from)
		ret = -EALREADY;
	else
		kvm->state = to;
	pthread_cond_broadcast(&kvm->changed);
	pthread_mutex_unlock(&kvm->lock);
	return ret;
}

/* Who asks for an end on its thread handles an exit. Return: a vCPU that does */
static unsigned likely_cpu(const struct kvm *kvm)
{
	for (unsigned i = 0; i < kvm->n_cpus; i++)
		if (atomic_load(&kvm->cpus[i].outside))
			return i;
	return 0;
}

static void pause_for_debugger(struct kvm *kvm)
{
	if (!kvm_change_state(kvm, KVM_RUNNING, KVM_PAUSED))
		kvm_kick_all(kvm);
	event_signal(atomic_load(&kvm->debug_fd));
}

void kvm_trap(struct kvm_cpu *cpu)
{
	if (atomic_load(&cpu->kvm->debug_fd) < 0) {
		if (!cpu->kvm->debugged) /* else it is of one that has just left */
			kvm_stop(cpu->kvm, STOP_FAULT, cpu->id);
		return;
	}
	cpu->debug = cpu->run->debug.arch;
	atomic_store(&cpu->trapped, true);
	pause_for_debugger(cpu->kvm);
}

/* Ends that somebody who debugs the guest wants to see. Return: is it held up? */
static bool caught(struct kvm *kvm, enum stop_cause cause, uint32_t value)
{
	const unsigned cpu = cause == STOP_FAULT ? value : likely_cpu(kvm);

	if (atomic_load(&kvm->debug_fd) < 0 ||
	    (cause != STOP_PANIC && cause != STOP_FAULT && cause != STOP_RESET))
		return false;
	if (cause == STOP_PANIC)
		kvm_note_panic(kvm);
	/* Of two vCPUs the first one counts; who looks at the copy waits until both are parked. */
	if (!atomic_exchange(&kvm->catching, true)) {
		kvm->caught_run = *kvm->cpus[cpu].run;
		atomic_store(&kvm->caught, pack_cause(cause, cpu));
		pause_for_debugger(kvm);
	}
	return true;
}

enum stop_cause kvm_caught(struct kvm *kvm, uint32_t *ret_value, unsigned *ret_cpu)
{
	const uint64_t what = atomic_exchange(&kvm->caught, 0);
	const enum stop_cause cause = (enum stop_cause)(uint32_t)what;

	if (what)
		atomic_store(&kvm->catching, false);

	*ret_cpu = (unsigned)(what >> 32);
	*ret_value = cause == STOP_FAULT ? *ret_cpu : 0;
	return cause;
}

void kvm_hold_cpu(struct kvm_cpu *cpu, bool held)
{
	pthread_mutex_lock(&cpu->kvm->lock);
	cpu->held = held;
	pthread_mutex_unlock(&cpu->kvm->lock);
}

void kvm_stop(void *opaque, enum stop_cause cause, uint32_t value)
{
	struct kvm *kvm = opaque;
	uint64_t none = 0;

	if (caught(kvm, cause, value))
		return;
	if (!atomic_compare_exchange_strong(&kvm->stop, &none, pack_cause(cause, value)))
		return;
	pthread_mutex_lock(&kvm->lock);
	kvm->state = KVM_STOPPING;
	pthread_cond_broadcast(&kvm->changed);
	pthread_mutex_unlock(&kvm->lock);
	kvm_kick_all(kvm);
	event_signal(kvm->wake_fd);
}

void kvm_note_panic(void *opaque)
{
	struct kvm *kvm = opaque;

	atomic_store(&kvm->panicked, true);
}

enum stop_cause kvm_stop_cause(const struct kvm *kvm, uint32_t *ret_value)
{
	uint64_t stop = atomic_load(&kvm->stop);

	if (ret_value)
		*ret_value = (uint32_t)(stop >> 32);
	return (enum stop_cause)(uint32_t)stop;
}

int kvm_start(struct kvm *kvm)
{
	kvm_cpu_kick_handler();
	for (unsigned i = 0; i < kvm->n_cpus; i++) {
		int err = kvm_cpu_start(&kvm->cpus[i]);

		if (err) {
			kvm_stop(kvm, STOP_HOST_ERROR, (uint32_t)-err);
			kvm_join(kvm, -1);
			return err;
		}
	}
	return kvm_change_state(kvm, KVM_CREATED, KVM_RUNNING);
}

static uint64_t exits_of(const struct kvm_cpu *cpu)
{
	return atomic_load_explicit(&cpu->stats.exits, memory_order_relaxed);
}

/* Has it been waited for in vain already, in the exit that it still handles? One in the guest only needs its turn. */
static bool is_stuck(const struct kvm_cpu *cpu)
{
	return atomic_load(&cpu->outside) && cpu->stuck_exits == exits_of(cpu) + 1;
}

/* Under the lock: is there a vCPU that is neither parked nor known to be stuck? */
static bool worth_waiting(const struct kvm *kvm)
{
	for (unsigned i = 0; i < kvm->n_cpus; i++)
		if (kvm->cpus[i].running && !is_stuck(&kvm->cpus[i]))
			return true;
	return false;
}

static void note_stuck(struct kvm *kvm)
{
	for (unsigned i = 0; i < kvm->n_cpus; i++)
		if (kvm->cpus[i].running)
			kvm->cpus[i].stuck_exits = exits_of(&kvm->cpus[i]) + 1;
}

/* Under the lock. Return: 0, -EINPROGRESS, -ESHUTDOWN */
static int wait_parked(struct kvm *kvm)
{
	const struct timespec deadline = clock_at(now_ms() + PAUSE_MS);
	int err = 0;

	while (!err && kvm->state == KVM_PAUSED && worth_waiting(kvm))
		err = pthread_cond_timedwait(&kvm->changed, &kvm->lock, &deadline);
	if (kvm->state != KVM_PAUSED)
		return -ESHUTDOWN;
	if (err)
		note_stuck(kvm);
	return kvm->n_running ? -EINPROGRESS : 0;
}

int kvm_pause(struct kvm *kvm)
{
	int ret = kvm_change_state(kvm, KVM_RUNNING, KVM_PAUSED), err = 0;

	if (ret && ret != -EALREADY)
		return ret;
	if (!ret)
		kvm_kick_all(kvm);
	pthread_mutex_lock(&kvm->lock);
	if (kvm->state != KVM_CREATED)
		err = wait_parked(kvm);
	pthread_mutex_unlock(&kvm->lock);
	return err ? err : ret;
}

bool kvm_outside(struct kvm *kvm)
{
	bool all = true;

	pthread_mutex_lock(&kvm->lock);
	for (unsigned i = 0; i < kvm->n_cpus; i++)
		all &= !kvm->cpus[i].running || atomic_load(&kvm->cpus[i].outside);
	pthread_mutex_unlock(&kvm->lock);
	return all;
}

/* Its kvm_run does not change while it handles the exit. */
static void describe(struct kvm_cpu *cpu, char *ret, size_t cap)
{
	struct kvm_run *run = cpu->run;
	const char *name = NULL;

	if (!atomic_load(&cpu->outside)) {
		snprintf(ret, cap, "vCPU %u is still in KVM_RUN", cpu->id);
	} else if (run->exit_reason == KVM_EXIT_MMIO) {
		name = bus_name(&cpu->kvm->mmio, run->mmio.phys_addr);
		snprintf(ret, cap, "vCPU %u is still in %s (address 0x%llx)", cpu->id,
			 name ? name : "a device", (unsigned long long)run->mmio.phys_addr);
	} else if (run->exit_reason == KVM_EXIT_IO) {
		name = bus_name(&cpu->kvm->pio, run->io.port);
		snprintf(ret, cap, "vCPU %u is still in %s (port 0x%x)", cpu->id,
			 name ? name : "a device", run->io.port);
	} else {
		snprintf(ret, cap, "vCPU %u still handles exit %u", cpu->id, run->exit_reason);
	}
}

void kvm_describe_busy(struct kvm *kvm, char *ret, size_t cap)
{
	struct kvm_cpu *busy = NULL;

	pthread_mutex_lock(&kvm->lock);
	for (unsigned i = 0; !busy && i < kvm->n_cpus; i++)
		if (kvm->cpus[i].running)
			busy = &kvm->cpus[i];
	pthread_mutex_unlock(&kvm->lock);
	if (busy)
		describe(busy, ret, cap);
	else
		snprintf(ret, cap, "no vCPU is busy any more");
}

void kvm_tell_pause(struct kvm *kvm)
{
	for (unsigned i = 0; i < kvm->n_cpus; i++)
		ioctl(kvm->cpus[i].fd, KVM_KVMCLOCK_CTRL, 0);
}

int kvm_resume(struct kvm *kvm)
{
	bool paused;

	pthread_mutex_lock(&kvm->lock);
	paused = kvm->state == KVM_PAUSED;
	pthread_mutex_unlock(&kvm->lock);
	/* A vCPU that is in the guest would keep it waiting for ever. */
	if (paused)
		kvm_tell_pause(kvm);
	return kvm_change_state(kvm, KVM_PAUSED, KVM_RUNNING);
}

int kvm_join(struct kvm *kvm, int timeout_ms)
{
	const int64_t deadline_ms = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
	struct pollfd woken = { .fd = kvm->wake_fd, .events = POLLIN };

	/* Whoever stopped the VM may still be kicking: a thread must not be joined before that is over. */
	while (kvm_stop_cause(kvm, NULL) != STOP_NONE && poll(&woken, 1, -1) < 0 && errno == EINTR)
		;
	for (unsigned i = 0; i < kvm->n_cpus; i++) {
		if (thread_join(kvm->cpus[i].thread, deadline_ms))
			return -ETIMEDOUT;
		kvm->cpus[i].thread = NULL;
	}
	return 0;
}
