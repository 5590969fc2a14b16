/* Links: linux/vmcoreinfo.o linux/kallsyms.o linux/modules.o linux/unwind.o linux/activity.o x86/cpu/walk.o hw/ram.o hw/ram-touched.o */
#include <errno.h>

#include "linux-rig.h"
#include "lkvm/linux/activity.h"
#include "unit.h"

#define CALL(format) ((format) ? 2 << 8 : 0)
#define REGS(format) ((format) ? 3 << 8 : 1 << 8)
#define IRET(format) ((format) ? 4 << 8 : 2 << 8)
#define END(format)  ((format) ? 1 << 8 : 1 << 10)
enum { SP = 5, BP = 4, R10 = 6, BP_INDIRECT = 8, SP_INDIRECT = 9, BP_IS_AT = 1 << 4 };

static struct rig rig;
static struct linux_guest guest;
static struct linux_symbols *symbols;
static struct linux_trace trace;
static struct kvm_regs regs;
static struct kvm_sregs sregs;

/* All entries of the table are calls but for what a test changes: code from RIG_CODE on, 0x40 bytes each */
static void start(int format)
{
	rig_start(&rig, false);
	rig_kernel(&rig, true);
	for (unsigned i = 0; i < 64; i++)
		rig_orc(&rig, i, RIG_CODE + 0x40 * i, 16, 0, (uint16_t)(SP | CALL(format)));
	linux_symbols_free(symbols);
	ck_assert_int_eq(linux_judge(rig.ram, GPA(0), rig.note, rig.note_bytes, &guest), 2);
	ck_assert_int_eq(linux_symbols_new(&guest, &symbols), 0);
	regs = (struct kvm_regs){ .rip = K(RIG_CODE + 0x10), .rsp = K(RIG_STACK), .rflags = 1 << 9 };
	sregs = (struct kvm_sregs){ .cs = { .selector = 0x10, .l = 1 } };
}

static void entry(unsigned i, int16_t sp_offset, int16_t bp_offset, int bits)
{
	rig_orc(&rig, i, RIG_CODE + 0x40 * i, sp_offset, bp_offset, (uint16_t)bits);
}

static void stack(unsigned at, uint64_t value)
{
	rig_put64(&rig, RIG_STACK + at, value);
}

static void go(const char *by, bool is_complete, unsigned n)
{
	linux_unwind(symbols, &regs, &sregs, &trace);
	ck_assert_str_eq(trace.by, by);
	ck_assert_int_eq(trace.is_complete, is_complete);
	ck_assert_uint_eq(trace.n, n);
}

static void expect(unsigned i, const char *want)
{
	char text[700];

	ck_assert_str_eq(linux_frame_text(symbols, &trace.frame[i], text, sizeof(text)), want);
}

START_TEST(test_calls)
{
	for (int format = 0; format <= 1; format++) {
		start(format);
		entry(7, 0, 0, END(format));
		stack(8, K(RIG_CODE + 0x140));
		stack(24, K(RIG_CODE + 0x1d0));
		go("orc", true, 3);
		expect(0, "_stext+0x10/0x100");
		expect(1, "sys_open+0x40/0x100");
		expect(2, "sys_open+0xd0/0x100");
		/* the call was the last of its function: what counts is what is before it */
		stack(8, K(RIG_CODE + 0x100));
		go("orc", true, 3);
		expect(1, "_stext+0x100/0x100");
	}
}
END_TEST

/* By each register, and with a frame pointer that was saved */
START_TEST(test_registers)
{
	const struct {
		int bits;
		int16_t offset;
	} ways[] = { { SP, 16 }, { BP, 8 }, { R10, 0 }, { BP_INDIRECT, -8 }, { SP_INDIRECT, -32 } };

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		start(1);
		entry(0, ways[i].offset, -16, ways[i].bits | CALL(1) | BP_IS_AT);
		entry(5, 16, 0, BP | CALL(1));
		entry(7, 0, 0, END(1));
		regs.rbp = K(RIG_STACK + 8);
		regs.r10 = K(RIG_STACK + 16);
		stack(0, i == 3 ? K(RIG_STACK + 16) : i == 4 ? K(RIG_STACK + 48) : K(RIG_STACK + 100));
		if (i < 3)
			stack(0, K(RIG_STACK + 64)); /* the saved frame pointer */
		stack(8, K(RIG_CODE + 0x150));
		stack(72, K(RIG_CODE + 0x1d0));
		linux_unwind(symbols, &regs, &sregs, &trace);
		ck_assert_msg(trace.n >= 2 && trace.frame[1].ip == K(RIG_CODE + 0x150), "way %zu", i);
		if (i < 3)
			ck_assert_msg(trace.is_complete && trace.n == 3, "way %zu: %u", i, trace.n);
	}
}
END_TEST

/* An interrupt, whose registers are on the stack: SP and BP go on from there. Then one from user space. */
START_TEST(test_interrupts)
{
	for (int format = 0; format <= 1; format++) {
		start(format);
		entry(0, 0, 0, SP | REGS(format));
		entry(4, 8, 0, BP | CALL(format));
		entry(6, 8, 0, SP | IRET(format));
		stack(32, K(RIG_STACK + 0x400)); /* BP */
		stack(128, K(RIG_CODE + 0x100));
		stack(136, 0x10);
		stack(152, K(RIG_STACK + 0x300));
		stack(0x400, K(RIG_CODE + 0x190)); /* what called it */
		stack(0x410, 0x401000);
		stack(0x418, 0x33);
		stack(0x428, 0x7fff0000);
		go("orc", true, 4);
		expect(1, "sys_open+0x0/0x100"); /* it was interrupted at its first instruction */
		expect(2, "sys_open+0x90/0x100");
		expect(3, "0x401000 in user space");
	}
}
END_TEST

START_TEST(test_user)
{
	char text[80];

	start(1);
	sregs.cs.selector = 0x33;
	regs.rip = 0x401000;
	go("none", true, 1);
	expect(0, "0x401000 in user space");
	ck_assert_str_eq(linux_activity(symbols, &trace, &regs, &sregs, false, text, sizeof(text)),
			 "in user space (64-bit)");
	linux_symbols_free(symbols);
	symbols = NULL;
	sregs.cs.selector = 0x10;
	go("none", false, 1);
	expect(0, "0x401000");
	ck_assert_str_eq(linux_activity(NULL, &trace, &regs, &sregs, true, text, sizeof(text)), "halted");
}
END_TEST

START_TEST(test_frame_pointers)
{
	rig_start(&rig, false);
	start(1);
	rig_put32(&rig, RIG_ORC_IPS, 0); /* no table */
	memset(rig_at(&rig, RIG_ORC), 0, 6 * 64);
	regs.rbp = K(RIG_STACK + 0x40);
	stack(0x40, K(RIG_STACK + 0x80));
	stack(0x48, K(RIG_CODE + 0x120));
	stack(0x80, 0);
	stack(0x88, K(RIG_CODE + 0x180));
	stack(0x100, K(RIG_CODE + 0x220));
	go("frame pointers", false, 4);
	expect(1, "sys_open+0x20/0x100");
	expect(2, "sys_open+0x80/0x100");
	expect(3, "? do_idle+0x20/0x100");
	for (unsigned i = 0; i < 3; i++) {
		static const uint64_t bad[] = { K(RIG_STACK - 8), K(RIG_STACK + 0x41), K(RIG_STACK + 0x8000) };

		regs.rbp = bad[i];
		linux_unwind(symbols, &regs, &sregs, &trace);
		ck_assert_str_eq(trace.by, "guess");
		expect(1, "? sys_open+0x20/0x100");
	}
}
END_TEST

/* No trace is longer than there is room for, and none goes on where there is no code. */
START_TEST(test_bounds)
{
	start(1);
	entry(0, 8, 0, SP | CALL(1));
	entry(4, 0, 0, SP | CALL(1)); /* the stack stands still, and the same address is found again */
	stack(0, K(RIG_CODE + 0x110));
	go("orc", false, LINUX_FRAMES);
	start(1);
	stack(8, 0x1234);
	stack(64, K(RIG_CODE + 0x220));
	go("guess", false, 2);
	regs.rsp = 0x1000;
	go("guess", false, 1);
	regs.rip = 0;
	go("guess", false, 1);
}
END_TEST

START_TEST(test_activity)
{
	char text[80];

	start(1);
	entry(0, 16, 0, SP | CALL(1));
	entry(9, 0, 0, END(1));
	stack(8, K(RIG_CODE + 0x250));
	linux_unwind(symbols, &regs, &sregs, &trace);
	ck_assert_str_eq(linux_activity(symbols, &trace, &regs, &sregs, false, text, sizeof(text)), "idle");
	ck_assert_str_eq(linux_activity(symbols, &trace, &regs, &sregs, true, text, sizeof(text)), "idle, halted");
	regs.rflags = 0;
	regs.rip = K(RIG_CODE + 0x310);
	linux_unwind(symbols, &regs, &sregs, &trace);
	ck_assert_str_eq(linux_activity(symbols, &trace, &regs, &sregs, false, text, sizeof(text)),
			 "spins for a lock, interrupts off");
	regs.rip = K(RIG_CODE + 0x10);
	stack(8, K(RIG_CODE + 0x20));
	linux_unwind(symbols, &regs, &sregs, &trace);
	ck_assert_str_eq(linux_activity(symbols, &trace, &regs, &sregs, false, text, sizeof(text)),
			 "runs in the kernel, interrupts off");
}
END_TEST

UNIT_MAIN("unwind", test_calls, test_registers, test_interrupts, test_user, test_frame_pointers, test_bounds,
	  test_activity)
