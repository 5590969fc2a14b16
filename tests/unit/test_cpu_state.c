/* Links: x86/cpu/state.o x86/cpu/state-chips.o x86/cpu/cpuid.o x86/cpu/cpuid-flags.o util/options.o hw/state.o hw/state-show.o util/json.o util/log.o */

/* A vCPU is saved in the middle of its work, and another, of another VM, goes on with it. Needs KVM. */
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lkvm/types.h"
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
	ck_assert_int_eq(cpuid_build(vm->fds.dev_fd, 1, &(struct cpu_config){ .n_features = 0 }, true,
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
	for (unsigned i = 0; i < KVM_CHIP_STATE_TYPES; i++)
		state_saved(kvm_chip_state_types[i], &vm->fds, buf);
	for (unsigned i = 0; i < CPU_STATE_TYPES; i++)
		state_saved(cpu_state_types[i], &vm->fds, buf);
	state_saved(&kvm_clock_state_type, &vm->fds, buf);
}

static void load(struct state_reader *in, const struct state_type *type, struct vm *vm)
{
	int err = state_load(in, type, &vm->fds);

	ck_assert_msg(!err, "%s (%d)", in->why, err);
}

static void load_all(struct vm *vm, const struct state_buf *buf)
{
	struct state_reader in = state_reader_of(buf);

	for (unsigned i = 0; i < KVM_CHIP_STATE_TYPES; i++)
		load(&in, kvm_chip_state_types[i], vm);
	for (unsigned i = 0; i < CPU_STATE_TYPES; i++)
		load(&in, cpu_state_types[i], vm);
	load(&in, &kvm_clock_state_type, vm);
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
	static const char *const moves[] = { "cpu-msrs", "kvm-clock" };
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
		bool can_differ = !strcmp(name, moves[0]) || !strcmp(name, moves[1]);
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

UNIT_MAIN("cpu-state", test_tables, test_goes_on, test_same, test_others)
