/* Links: x86/cpu/state.o x86/cpu/state-chips.o x86/cpu/state-clock.o hw/ram.o hw/ram-size.o hw/ram-backing.o hw/ram-fault.o hw/ram-log.o hw/ram-plug.o hw/ram-beside.o x86/cpu/cpuid.o x86/cpu/cpuid-topology.o x86/cpu/cpuid-flags.o util/options.o hw/state.o hw/state-show.o util/json.o util/log.o */

/* A vCPU is saved in the middle of its work, and another, of another VM, goes on with it. Needs KVM. */
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/types.h"
#include "lkvm/x86/clock.h"
#include "lkvm/x86/cpu.h"
#include "lkvm/x86/state.h"
#include "state.h"

#define RAM_BYTES 0x10000
#define CODE      0x1000
#define PORT      0x10
#define TSC       0x10
#define SYSENTER  0x174

/*
 * Counts in EBX and in XMM0, and sends that, by way of memory in AX: 2, 3, 4... In real mode. A software
 * virtualizer may have no x87 arithmetic, but has these moves.
 */
static const uint8_t code[] = {
	0xc7, 0x06, 0x00, 0x20, 0x01, 0x00, /*	mov word [0x2000], 1 */
	0x0f, 0x10, 0x06, 0x00, 0x20,       /*	movups xmm0, [0x2000] */
	0x66, 0x43,                         /* 1:	inc ebx */
	0x0f, 0x11, 0x06, 0x00, 0x20,       /*	movups [0x2000], xmm0 */
	0xff, 0x06, 0x00, 0x20,             /*	inc word [0x2000] */
	0x0f, 0x10, 0x06, 0x00, 0x20,       /*	movups xmm0, [0x2000] */
	0xa1, 0x00, 0x20,                   /*	mov ax, [0x2000] */
	0xc7, 0x06, 0x00, 0x20, 0x00, 0x00, /*	mov word [0x2000], 0 */
	0xe7, PORT,                         /*	out PORT, ax */
	0xeb, 0xe3,                         /*	jmp 1b */
};

#define CR4_OSFXSR (1 << 9)

struct vm {
	struct kvm_fds fds;
	uint8_t *ram;
	struct kvm_run *run;
	size_t run_bytes;
};

static void vm_new(struct vm *vm)
{
	struct kvm_userspace_memory_region slot = { .memory_size = RAM_BYTES };
	struct kvm_pit_config pit = { 0 };
	struct kvm_cpuid2 *cpuid;
	int bytes;

	*vm = (struct vm){ 0 };
	vm->fds.dev_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(vm->fds.dev_fd, 0);
	vm->fds.vm_fd = ioctl(vm->fds.dev_fd, KVM_CREATE_VM, 0UL);
	ck_assert_int_ge(vm->fds.vm_fd, 0);
	vm->ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	slot.userspace_addr = (uintptr_t)vm->ram;
	ck_assert_int_eq(ioctl(vm->fds.vm_fd, KVM_SET_USER_MEMORY_REGION, &slot), 0);
	ck_assert_int_eq(ioctl(vm->fds.vm_fd, KVM_CREATE_IRQCHIP, 0UL), 0);
	ck_assert_int_eq(ioctl(vm->fds.vm_fd, KVM_CREATE_PIT2, &pit), 0);
	vm->fds.vcpu_fd = ioctl(vm->fds.vm_fd, KVM_CREATE_VCPU, 0UL);
	ck_assert_int_ge(vm->fds.vcpu_fd, 0);
	bytes = ioctl(vm->fds.dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0UL);
	ck_assert_int_gt(bytes, 0);
	vm->run_bytes = (size_t)bytes;
	vm->run = mmap(NULL, vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->fds.vcpu_fd, 0);
	ck_assert_ptr_ne(vm->run, MAP_FAILED);
	ck_assert_int_eq(cpuid_build(vm->fds.dev_fd, &(struct cpu_topology){ 1, 1, 1, 1 }, &(struct cpu_config){ .n_features = 0 }, true,
				     &cpuid), 0);
	ck_assert_int_eq(ioctl(vm->fds.vcpu_fd, KVM_SET_CPUID2, cpuid), 0);
	free(cpuid);
}

static void vm_free(struct vm *vm)
{
	munmap(vm->run, vm->run_bytes);
	munmap(vm->ram, RAM_BYTES);
	close(vm->fds.vcpu_fd);
	close(vm->fds.vm_fd);
	close(vm->fds.dev_fd);
}

static void start(struct vm *vm)
{
	struct kvm_regs regs = { .rip = CODE, .rflags = 2, .r15 = 0x1515151515151515 };
	struct kvm_sregs sregs;

	memcpy(vm->ram + CODE, code, sizeof(code));
	ck_assert_int_eq(ioctl(vm->fds.vcpu_fd, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	sregs.cr4 |= CR4_OSFXSR;
	ck_assert_int_eq(ioctl(vm->fds.vcpu_fd, KVM_SET_SREGS, &sregs), 0);
	ck_assert_int_eq(ioctl(vm->fds.vcpu_fd, KVM_SET_REGS, &regs), 0);
}

/* Return: what it sends next */
static unsigned next(struct vm *vm)
{
	uint16_t value;

	ck_assert_int_eq(ioctl(vm->fds.vcpu_fd, KVM_RUN, 0UL), 0);
	ck_assert_uint_eq(vm->run->exit_reason, KVM_EXIT_IO);
	ck_assert_uint_eq(vm->run->io.port, PORT);
	memcpy(&value, (uint8_t *)vm->run + vm->run->io.data_offset, sizeof(value));
	return value;
}

/* The output instruction is done. */
static void settle(struct vm *vm)
{
	vm->run->immediate_exit = 1;
	ck_assert_int_eq(ioctl(vm->fds.vcpu_fd, KVM_RUN, 0UL), -1);
	ck_assert_int_eq(errno, EINTR);
	vm->run->immediate_exit = 0;
}

static void save_all(struct vm *vm, struct state_buf *buf)
{
	settle(vm);
	state_saved(&kvm_clock_state_type, &vm->fds, buf);
	for (unsigned i = 0; i < KVM_CHIP_STATE_TYPES; i++)
		state_saved(kvm_chip_state_types[i], &vm->fds, buf);
	for (unsigned i = 0; i < CPU_STATE_TYPES; i++)
		state_saved(cpu_state_types[i], &vm->fds, buf);
}

static void load(struct state_reader *in, const struct state_type *type, struct vm *vm)
{
	int err = state_load(in, type, &vm->fds);

	ck_assert_msg(!err, "%s (%d)", in->why, err);
}

static void load_all(struct vm *vm, const struct state_buf *buf)
{
	struct state_reader in = state_reader_of(buf);

	load(&in, &kvm_clock_state_type, vm);
	for (unsigned i = 0; i < KVM_CHIP_STATE_TYPES; i++)
		load(&in, kvm_chip_state_types[i], vm);
	for (unsigned i = 0; i < CPU_STATE_TYPES; i++)
		load(&in, cpu_state_types[i], vm);
	ck_assert_ptr_eq(in.at, in.end);
}

static uint64_t msr(struct vm *vm, uint32_t index, const uint64_t *set)
{
	union {
		struct kvm_msrs msrs;
		uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} one = { .msrs = { .nmsrs = 1 } };

	one.msrs.entries[0] = (struct kvm_msr_entry){ .index = index, .data = set ? *set : 0 };
	ck_assert_int_eq(ioctl(vm->fds.vcpu_fd, set ? KVM_SET_MSRS : KVM_GET_MSRS, &one), 1);
	return one.msrs.entries[0].data;
}

START_TEST(test_tables)
{
	for (unsigned i = 0; i < KVM_CHIP_STATE_TYPES; i++)
		state_test_table(kvm_chip_state_types[i]);
	for (unsigned i = 0; i < CPU_STATE_TYPES; i++)
		state_test_table(cpu_state_types[i]);
	state_test_table(&kvm_clock_state_type);
}
END_TEST

/* Each goes on in the next, several times. */
START_TEST(test_goes_on)
{
	struct vm vm;
	unsigned want = 2;

	vm_new(&vm);
	start(&vm);
	for (unsigned round = 0; round < 4; round++) {
		struct state_buf saved = { 0 };
		struct kvm_regs regs;
		struct vm other;

		for (unsigned i = 0; i < 5; i++)
			ck_assert_uint_eq(next(&vm), want++);
		save_all(&vm, &saved);
		vm_new(&other);
		memcpy(other.ram, vm.ram, RAM_BYTES);
		vm_free(&vm);
		vm = other;
		load_all(&vm, &saved);
		state_buf_free(&saved);
		ck_assert_int_eq(ioctl(vm.fds.vcpu_fd, KVM_GET_REGS, &regs), 0);
		ck_assert_uint_eq(regs.rbx, want - 2);
		ck_assert_uint_eq(regs.r15, 0x1515151515151515);
	}
	ck_assert_uint_eq(next(&vm), want);
	vm_free(&vm);
}
END_TEST

/* What does not change by itself is the same when it is saved once more. */
START_TEST(test_same)
{
	static const char *const moves[] = { "cpu-msrs", "kvm-clock", "cpu-tsc" };
	struct state_buf saved = { 0 }, again = { 0 };
	struct state_reader a, b;
	struct vm vm, other;
	unsigned n = 0;

	vm_new(&vm);
	start(&vm);
	next(&vm);
	save_all(&vm, &saved);
	vm_new(&other);
	load_all(&other, &saved);
	save_all(&other, &again);
	a = state_reader_of(&saved);
	b = state_reader_of(&again);
	for (char name[STATE_NAME_MAX + 1]; !state_next(&a, name); n++) {
		bool can_differ = !strcmp(name, moves[0]) || !strcmp(name, moves[1]) || !strcmp(name, moves[2]);
		int differ = state_diff(&a, &b, can_differ ? NULL : stderr);

		ck_assert_msg(can_differ ? differ >= 0 : !differ, "%s: %d", name, differ);
	}
	ck_assert_uint_eq(n, KVM_CHIP_STATE_TYPES + CPU_STATE_TYPES + 1);
	state_buf_free(&saved);
	state_buf_free(&again);
	vm_free(&vm);
	vm_free(&other);
}
END_TEST

/* MSRs, debug registers, chips and the clock of a vCPU that has yet to run. */
START_TEST(test_others)
{
	const uint64_t sysenter = 0x1234;
	struct kvm_debugregs debug = { .db = { 0x11, 0x22, 0x33, 0x44 }, .dr7 = 0x400 };
	struct kvm_irqchip ioapic = { .chip_id = KVM_IRQCHIP_IOAPIC };
	struct kvm_clock_data clock = { .clock = 86400000000000ULL };
	struct kvm_pit_state2 pit;
	struct state_buf saved = { 0 };
	struct vm vm, other;
	uint64_t tsc;

	vm_new(&vm);
	start(&vm);
	msr(&vm, SYSENTER, &sysenter);
	debug.dr6 = 0xffff0ff0;
	ck_assert_int_eq(ioctl(vm.fds.vcpu_fd, KVM_SET_DEBUGREGS, &debug), 0);
	ck_assert_int_eq(ioctl(vm.fds.vm_fd, KVM_GET_IRQCHIP, &ioapic), 0);
	ioapic.chip.ioapic.redirtbl[7].bits = 0x10031; /* masked */
	ck_assert_int_eq(ioctl(vm.fds.vm_fd, KVM_SET_IRQCHIP, &ioapic), 0);
	ck_assert_int_eq(ioctl(vm.fds.vm_fd, KVM_SET_CLOCK, &clock), 0);
	ck_assert_int_eq(ioctl(vm.fds.vm_fd, KVM_GET_PIT2, &pit), 0);
	pit.channels[2].count = 0x1234;
	pit.channels[2].mode = 3;
	ck_assert_int_eq(ioctl(vm.fds.vm_fd, KVM_SET_PIT2, &pit), 0);
	tsc = msr(&vm, TSC, NULL);
	save_all(&vm, &saved);
	vm_free(&vm);

	vm_new(&other);
	load_all(&other, &saved);
	ck_assert_uint_eq(msr(&other, SYSENTER, NULL), sysenter);
	ck_assert_uint_ge(msr(&other, TSC, NULL), tsc); /* it never goes back */
	memset(&debug, 0, sizeof(debug));
	ck_assert_int_eq(ioctl(other.fds.vcpu_fd, KVM_GET_DEBUGREGS, &debug), 0);
	ck_assert_uint_eq(debug.db[3], 0x44);
	memset(&ioapic.chip, 0, sizeof(ioapic.chip));
	ck_assert_int_eq(ioctl(other.fds.vm_fd, KVM_GET_IRQCHIP, &ioapic), 0);
	ck_assert_uint_eq(ioapic.chip.ioapic.redirtbl[7].bits, 0x10031);
	ck_assert_int_eq(ioctl(other.fds.vm_fd, KVM_GET_PIT2, &pit), 0);
	ck_assert_uint_eq(pit.channels[2].count, 0x1234);
	ck_assert_uint_eq(pit.channels[2].mode, 3);
	ck_assert_int_eq(ioctl(other.fds.vm_fd, KVM_GET_CLOCK, &clock), 0);
	ck_assert_uint_ge(clock.clock, 86400000000000ULL);
	ck_assert_uint_le(clock.clock, 86400000000000ULL + 600000000000ULL);
	state_buf_free(&saved);
	vm_free(&other);
}
END_TEST

/* ---- clocks ---- */

#define SECOND_NS 1000000000ULL
#define AWAY_NS   (100 * SECOND_NS) /* what was saved is made to be so old */
#define LATE_NS   (60 * SECOND_NS)  /* no host takes longer */

/* The record of @type in @buf, with @value in a field */
static void change(struct state_buf *buf, const struct state_type *type, const char *name, uint64_t value)
{
	struct state_reader in = state_reader_of(buf);
	const struct state_field *f = type->fields;
	void *state = calloc(1, type->size);

	ck_assert_int_eq(state_unpack(&in, type, state), 0);
	while (strcmp(f->name, name))
		ck_assert_ptr_ne(++f, type->fields + type->n);
	state_set(state, f, 0, value);
	buf->len = 0;
	ck_assert_int_eq(state_pack(buf, type, state), 0);
	free(state);
}

static const struct state_type *cpu_type(const char *name)
{
	for (unsigned i = 0; i < CPU_STATE_TYPES; i++)
		if (!strcmp(cpu_state_types[i]->name, name))
			return cpu_state_types[i];
	ck_abort_msg("no type %s", name);
	return NULL;
}

static void load_one(const struct state_buf *buf, const struct state_type *type, struct kvm_fds *fds)
{
	struct state_reader in = state_reader_of(buf);

	ck_assert_msg(!state_load(&in, type, fds), "%s", in.why);
}

/* Of a machine with so many vCPUs: the clock and, of each, frequency and counter, as lkvm loads them. */
#define MOST_CPUS 2

struct clocks_saved {
	struct state_buf clock, tsc[MOST_CPUS], msrs[MOST_CPUS];
	struct clock_moment at;
};

static void save_clocks(struct kvm_fds *cpus, unsigned n, struct clocks_saved *ret)
{
	*ret = (struct clocks_saved){ 0 };
	ck_assert_int_eq(clock_look(&cpus[0], &ret->at), 0);
	state_saved(&kvm_clock_state_type, &cpus[0], &ret->clock);
	for (unsigned i = 0; i < n; i++) {
		state_saved(cpu_type("cpu-tsc"), &cpus[i], &ret->tsc[i]);
		state_saved(cpu_type("cpu-msrs"), &cpus[i], &ret->msrs[i]);
	}
}

static void load_clocks(const struct clocks_saved *saved, struct kvm_fds *cpus, unsigned n, struct clock_load *how)
{
	cpus[0].clocks = how;
	load_one(&saved->clock, &kvm_clock_state_type, &cpus[0]);
	for (unsigned i = 0; i < n; i++) {
		cpus[i].cpu = i;
		cpus[i].clocks = how;
		load_one(&saved->tsc[i], cpu_type("cpu-tsc"), &cpus[i]);
		load_one(&saved->msrs[i], cpu_type("cpu-msrs"), &cpus[i]);
	}
}

static void clocks_free(struct clocks_saved *saved)
{
	state_buf_free(&saved->clock);
	for (unsigned i = 0; i < MOST_CPUS; i++) {
		state_buf_free(&saved->tsc[i]);
		state_buf_free(&saved->msrs[i]);
	}
}

static uint32_t khz_of(const struct kvm_fds *fds)
{
	int khz = ioctl(fds->vcpu_fd, KVM_GET_TSC_KHZ, 0UL);

	ck_assert_int_gt(khz, 0);
	return (uint32_t)khz;
}

/* kvm-clock has gone on by @least_ns, and LATE_NS more at most; the counter by the same, up to a millisecond. */
static void assert_gone_on(const struct clock_moment *then, struct kvm_fds *fds, uint64_t least_ns)
{
	const uint32_t khz = khz_of(fds);
	struct clock_moment now;
	uint64_t offset;
	int64_t apart;

	ck_assert_int_eq(clock_look(fds, &now), 0);
	ck_assert_uint_ge(now.clock_ns, then->clock_ns + least_ns);
	ck_assert_uint_lt(now.clock_ns, then->clock_ns + least_ns + LATE_NS);
	ck_assert_uint_ge(now.tsc, then->tsc);
	if (clock_tsc_offset(fds, &offset))
		return; /* Linux before 5.16 */
	apart = (int64_t)(now.tsc - then->tsc) -
		clock_ticks((int64_t)(now.clock_ns - then->clock_ns), khz);
	ck_assert_int_lt(apart, khz);
	ck_assert_int_gt(apart, -(int64_t)khz);
}

static void clocks_elsewhere(bool host, uint64_t least_ns)
{
	struct clock_load how = { .host = host };
	struct kvm_clock_data set = { .clock = 5000 * SECOND_NS };
	struct clocks_saved saved;
	struct vm vm, other;

	vm_new(&vm);
	ck_assert_int_eq(ioctl(vm.fds.vm_fd, KVM_SET_CLOCK, &set), 0);
	save_clocks(&vm.fds, 1, &saved);
	vm_free(&vm);
	change(&saved.clock, &kvm_clock_state_type, "realtime_ns", saved.at.realtime_ns - AWAY_NS);
	vm_new(&other);
	load_clocks(&saved, &other.fds, 1, &how);
	assert_gone_on(&saved.at, &other.fds, least_ns);
	clocks_free(&saved);
	vm_free(&other);
}

START_TEST(test_clock_saved)
{
	clocks_elsewhere(false, 0);
}
END_TEST

START_TEST(test_clock_host)
{
	clocks_elsewhere(true, AWAY_NS);
}
END_TEST

/* A host whose time is behind that of the other: nothing has passed. */
START_TEST(test_clock_behind)
{
	struct clock_load how = { .host = true };
	struct clocks_saved saved;
	struct vm vm, other;

	vm_new(&vm);
	save_clocks(&vm.fds, 1, &saved);
	vm_free(&vm);
	change(&saved.clock, &kvm_clock_state_type, "realtime_ns", saved.at.realtime_ns + AWAY_NS);
	vm_new(&other);
	load_clocks(&saved, &other.fds, 1, &how);
	assert_gone_on(&saved.at, &other.fds, 0);
	vm_free(&other);

	/* One that does not say when it was */
	change(&saved.clock, &kvm_clock_state_type, "realtime_ns", 0);
	vm_new(&other);
	other.fds.clocks = &how;
	{
		struct state_reader in = state_reader_of(&saved.clock);

		ck_assert_int_eq(state_load(&in, &kvm_clock_state_type, &other.fds), -ENOTSUP);
	}
	ck_assert_str_eq(how.why, "it does not say when it was saved: --clock saved");
	clocks_free(&saved);
	vm_free(&other);
}
END_TEST

static void second_cpu(struct vm *vm, struct kvm_fds ret[2])
{
	ret[0] = ret[1] = vm->fds;
	ret[1].vcpu_fd = ioctl(vm->fds.vm_fd, KVM_CREATE_VCPU, 1UL);
	ck_assert_int_ge(ret[1].vcpu_fd, 0);
}

/* The counters stay as far apart as they were, to the tick. */
START_TEST(test_clock_in_step)
{
	static const uint64_t aparts[] = { 0, 12345 };

	for (unsigned i = 0; i < 2; i++) {
		struct clock_load how = { .host = i };
		struct kvm_fds cpus[2], others[2];
		struct clocks_saved saved;
		struct vm vm, other;
		uint64_t a, b;
		const struct kvm_device_attr set = { .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET,
						     .addr = (uintptr_t)&b };

		vm_new(&vm);
		second_cpu(&vm, cpus);
		if (!clock_tsc_offset(&cpus[0], &a)) {
			b = a + aparts[i];
			ck_assert_int_eq(ioctl(cpus[1].vcpu_fd, KVM_SET_DEVICE_ATTR, &set), 0);
			save_clocks(cpus, 2, &saved);
			vm_new(&other);
			second_cpu(&other, others);
			load_clocks(&saved, others, 2, &how);
			ck_assert_int_eq(clock_tsc_offset(&others[0], &a), 0);
			ck_assert_int_eq(clock_tsc_offset(&others[1], &b), 0);
			ck_assert_uint_eq(b - a, aparts[i]);
			clocks_free(&saved);
			close(others[1].vcpu_fd);
			vm_free(&other);
		}
		close(cpus[1].vcpu_fd);
		vm_free(&vm);
	}
}
END_TEST

static int load_khz(struct vm *vm, uint32_t khz, struct clock_load *how)
{
	struct state_buf tsc = { 0 };
	struct state_reader in;
	int err;

	state_saved(cpu_type("cpu-tsc"), &vm->fds, &tsc);
	change(&tsc, cpu_type("cpu-tsc"), "khz", khz);
	in = state_reader_of(&tsc);
	vm->fds.clocks = how;
	err = state_load(&in, cpu_type("cpu-tsc"), &vm->fds);
	state_buf_free(&tsc);
	return err;
}

/* A KVM that cannot scale would do something else with one that is faster. */
START_TEST(test_tsc_frequency)
{
	struct clock_load how = { 0 };
	uint32_t khz;
	bool scales;
	struct vm vm;

	vm_new(&vm);
	khz = khz_of(&vm.fds);
	scales = ioctl(vm.fds.vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) > 0;
	ck_assert_int_eq(load_khz(&vm, khz + khz / 10000, &how), 0);
	ck_assert_int_eq(load_khz(&vm, khz, &how), 0);
	ck_assert_str_eq(how.why, "");
	for (int sign = -1; sign <= 1; sign += 2) {
		const uint32_t other = (uint32_t)((int64_t)khz + sign * (int64_t)(khz / 100));
		char want[160];

		snprintf(want, sizeof(want), "its time stamp counter has %u kHz, this host's %u kHz, which its "
			 "KVM cannot scale", other, khz);
		ck_assert_int_eq(load_khz(&vm, other, &how), scales ? 0 : -ENOTSUP);
		ck_assert_str_eq(how.why, scales ? "" : want);
		if (!scales)
			ck_assert_uint_eq(khz_of(&vm.fds), khz);
	}
	vm_free(&vm);
}
END_TEST

/* ---- timers ---- */

static uint32_t lapic(const struct kvm_lapic_state *apic, unsigned at)
{
	uint32_t value;

	memcpy(&value, apic->regs + at, sizeof(value));
	return value;
}

static void set_lapic(struct kvm_lapic_state *apic, unsigned at, uint32_t value)
{
	memcpy(apic->regs + at, &value, sizeof(value));
}

/* What is left of a LAPIC timer's time when @passed_ns more have passed */
static uint32_t left(uint32_t count, uint32_t divide, uint32_t mode, uint64_t passed_ns)
{
	struct clock_load how = { .passed_ns = passed_ns };
	struct kvm_lapic_state apic;
	struct state_buf saved = { 0 };
	struct vm vm;

	vm_new(&vm);
	ck_assert_int_eq(ioctl(vm.fds.vcpu_fd, KVM_GET_LAPIC, &apic), 0);
	set_lapic(&apic, 0xf0, 0x1ff);
	set_lapic(&apic, 0x320, 0x10030 | mode); /* masked */
	set_lapic(&apic, 0x3e0, divide);
	set_lapic(&apic, 0x380, count);
	set_lapic(&apic, 0x390, count);
	ck_assert_int_eq(state_pack(&saved, cpu_type("cpu-lapic"), &apic), 0);
	vm.fds.clocks = &how;
	load_one(&saved, cpu_type("cpu-lapic"), &vm.fds);
	ck_assert_int_eq(ioctl(vm.fds.vcpu_fd, KVM_GET_LAPIC, &apic), 0);
	state_buf_free(&saved);
	vm_free(&vm);
	return lapic(&apic, 0x390);
}

START_TEST(test_lapic_timer)
{
	const uint32_t count = 4000000000, by_1 = 0xb, by_2 = 0, by_16 = 3, by_128 = 0xa;
	const uint32_t once = 0, again = 0x20000;

	ck_assert_uint_gt(left(count, by_128, once, 0), count - LATE_NS / 128);
	ck_assert_uint_gt(left(count, by_128, again, 0), count - LATE_NS / 128);
	ck_assert_uint_lt(left(count, by_1, once, SECOND_NS), 3000000001);
	ck_assert_uint_lt(left(count, by_2, once, SECOND_NS), 3500000001);
	ck_assert_uint_lt(left(count, by_16, once, 16 * SECOND_NS), 3000000001);
	ck_assert_uint_gt(left(count, by_128, once, 128 * SECOND_NS), 3000000000U - (uint32_t)(LATE_NS / 128));
	ck_assert_uint_lt(left(count, by_128, again, 128 * SECOND_NS), 3000000001);
	ck_assert_uint_gt(left(count, by_128, again, 128 * SECOND_NS), 3000000000U - (uint32_t)(LATE_NS / 128));
	/* It was due, and begins anew or has ended. */
	ck_assert_uint_gt(left(count, by_128, again, 5000 * SECOND_NS), count - LATE_NS / 128);
	ck_assert_uint_le(left(count, by_128, once, 5000 * SECOND_NS), 1);
}
END_TEST

static uint32_t pit_count(struct vm *vm, unsigned channel, uint8_t mode, uint32_t count)
{
	struct kvm_pit_state2 pit;
	struct state_buf saved = { 0 };
	struct state_reader in;
	uint64_t since_ns;

	ck_assert_int_eq(ioctl(vm->fds.vm_fd, KVM_GET_PIT2, &pit), 0);
	pit.channels[channel].count = count;
	pit.channels[channel].mode = mode;
	ck_assert_int_eq(ioctl(vm->fds.vm_fd, KVM_SET_PIT2, &pit), 0);
	for (since_ns = now_ns(); now_ns() - since_ns < 2000000;)
		;
	state_saved(kvm_chip_state_types[3], &vm->fds, &saved);
	in = state_reader_of(&saved);
	ck_assert_int_eq(state_unpack(&in, kvm_chip_state_types[3], &pit), 0);
	state_buf_free(&saved);
	return pit.channels[channel].count;
}

/* 2 ms are 2386 ticks. Of channel 0 KVM does not tell when it began. */
START_TEST(test_pit)
{
	struct vm vm;

	vm_new(&vm);
	ck_assert_uint_le(pit_count(&vm, 2, 0, 0xffff), 0xffff - 2386);
	ck_assert_uint_le(pit_count(&vm, 2, 4, 0xffff), 0xffff - 2386);
	ck_assert_uint_eq(pit_count(&vm, 2, 0, 1000), 1); /* it was due */
	ck_assert_uint_eq(pit_count(&vm, 2, 2, 0xffff), 0xffff);
	ck_assert_uint_eq(pit_count(&vm, 2, 3, 0xffff), 0xffff);
	ck_assert_uint_eq(pit_count(&vm, 0, 0, 0xffff), 0xffff);
	vm_free(&vm);
}
END_TEST

/* Some KVMs keep no offset: a guest has the host's counter. Outside of a test, where nothing can be asserted. */
static bool offset_is_kept(void)
{
	uint64_t a = 0, b = 0;
	const struct kvm_device_attr set = { .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET,
					     .addr = (uintptr_t)&b };
	struct kvm_fds fds = { .dev_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC) };
	bool kept = true;

	fds.vm_fd = ioctl(fds.dev_fd, KVM_CREATE_VM, 0UL);
	fds.vcpu_fd = ioctl(fds.vm_fd, KVM_CREATE_VCPU, 0UL);
	if (!clock_tsc_offset(&fds, &a)) {
		b = a + 12345;
		kept = !ioctl(fds.vcpu_fd, KVM_SET_DEVICE_ATTR, &set) && !clock_tsc_offset(&fds, &a) && a == b;
	}
	close(fds.vcpu_fd);
	close(fds.vm_fd);
	close(fds.dev_fd);
	return kept;
}

/* What check says, and one test more, which is skipped and says why */
static int run_without_counter(const TTest *const *tests)
{
	char path[] = "/tmp/lkvm-unit-XXXXXX", line[4096];
	const int fd = mkstemp(path), status = unit_run_to(path, "cpu-state", tests);
	FILE *tap = fopen(path, "r");
	unsigned n = 0;

	while (tap && fgets(line, sizeof(line), tap)) {
		if (!strncmp(line, "1..", 3))
			continue;
		n += !strncmp(line, "ok ", 3) || !strncmp(line, "not ok ", 7);
		fputs(line, stdout);
	}
	printf("ok %u - four tests of the time stamp counter # SKIP NOT TESTED: a guest has the host's counter\n1..%u\n",
	       n + 1, n + 1);
	if (tap)
		fclose(tap);
	unlink(path);
	close(fd);
	return status;
}

#define TESTS test_tables, test_goes_on, test_same, test_others, test_tsc_frequency, test_lapic_timer, test_pit
#define TESTS_OF_THE_COUNTER test_clock_saved, test_clock_host, test_clock_behind, test_clock_in_step

int main(void)
{
	const TTest *const all[] = { TESTS, TESTS_OF_THE_COUNTER, NULL }, *const some[] = { TESTS, NULL };

	if (!access("/dev/kvm", R_OK | W_OK))
		return offset_is_kept() ? unit_run("cpu-state", all) : run_without_counter(some);
	puts("ok 1 - cpu-state # SKIP /dev/kvm cannot be opened\n1..1");
	return EXIT_SUCCESS;
}
