/*
 * What a debugger is tried on: functions to stop in, data to watch, instructions to step through, and with cpus=2
 * another processor that counts; with the word "traps" it has breakpoint instructions of its own. Ends well when somebody has set "quit".
 */
#include "cpus.h"
#include "multiboot.h"

volatile uint64_t beats, others, watched, quit;
volatile uint8_t text[16] = "0123456789abcde";

static __attribute__((noinline)) void beat(void)
{
	beats++;
}

static __attribute__((noinline)) void touch(uint64_t value)
{
	watched = value;
}

/* ---- breakpoint instructions of the guest's own: nobody else hears of them ---- */

volatile uint64_t traps;

asm(".globl on_trap\n"
    "on_trap: incq traps\n"
    "	iretq\n");
void on_trap(void);

static struct {
	uint16_t low, selector, flags, middle;
	uint32_t high, reserved;
} idt[4];

static void take_traps(void)
{
	const uint64_t at = (uint64_t)on_trap;
	const struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t base;
	} pointer = { sizeof(idt) - 1, (uint64_t)idt };
	uint16_t cs;

	asm("mov %%cs, %0" : "=r"(cs));
	idt[3].low = (uint16_t)at;
	idt[3].selector = cs;
	idt[3].flags = 0x8e00; /* present, interrupt gate */
	idt[3].middle = (uint16_t)(at >> 16);
	idt[3].high = (uint32_t)(at >> 32);
	asm volatile("lidt %0" : : "m"(pointer));
}

/* ---- what it does ---- */

/* 3 instructions a round, 10,002 in all */
static __attribute__((noinline)) void many_steps(void)
{
	asm volatile("mov $3334, %%ecx\n"
		     "1: nop\n"
		     "   dec %%ecx\n"
		     "   jnz 1b\n" ::: "ecx", "cc");
}

void ap_main(void)
{
	for (;;)
		others++;
}

void guest_main(void)
{
	const bool own_traps = param_word(mb_cmdline(), "traps");
	uint64_t i;

	if (param(mb_cmdline(), "cpus") > 1)
		start_cpus();
	take_traps();
	print("ready\n");
	for (i = 0; !quit; i++) {
		if (own_traps)
			asm volatile("int3");
		beat();
		touch(i);
		many_steps();
	}
	CHECK_EQ(traps, own_traps ? i : 0);
	CHECK_EQ(text[15], 0);
}
