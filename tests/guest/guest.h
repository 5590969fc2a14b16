/*
 * What every guest program knows about the machine. The numbers are the machine's contract with
 * its guests, so they are written down here once more instead of being taken from lkvm's headers.
 *
 * A guest ends through the debug-exit port: 0 means that all was well (lkvm's status 1), any other
 * value means that a check failed; C guests have then printed the line on the first serial port.
 */
#ifndef GUEST_H
#define GUEST_H

#define PORT_DEBUG_EXIT 0xf4
#define PORT_I8042      0x64
#define PORT_PM1_CNT    0x604
#define PORT_ACPI_RESET 0x60c
#define PORT_PVPANIC    0x505
#define PORT_NOBODY     0x1230 /* no device here or up to 16 ports further */

#define COM1     0x3f8
#define COM_DATA (COM1 + 0)
#define COM_IER  (COM1 + 1)
#define COM_IIR  (COM1 + 2)
#define COM_FCR  (COM1 + 2)
#define COM_LCR  (COM1 + 3)
#define COM_MCR  (COM1 + 4)
#define COM_LSR  (COM1 + 5)
#define COM_MSR  (COM1 + 6)
#define COM_SCR  (COM1 + 7)

#define LSR_DATA  0x01
#define LSR_READY 0x20 /* the transmitter takes a byte */

#define RESET_I8042 0xfe
#define RESET_ACPI  0x06
#define SLEEP_S5    ((5 << 10) | (1 << 13)) /* SLP_TYP and SLP_EN */

#define GAP_START 0xd0000000
#define LAPIC     0xfee00000
#define IOAPIC    0xfec00000
#define VMGENID   0xfec10000 /* 16 bytes */

#ifdef __ASSEMBLER__

/* Flat binaries start at 1000:0 in real mode; this makes the program's own data reachable. */
	.macro real_mode_start
	.code16
	.globl _start
_start:
	cli
	cld
	movw	%cs, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movw	$0xfff0, %sp
	.endm

	.macro out8 port, value
	movw	$\port, %dx
	movb	$\value, %al
	outb	%al, %dx
	.endm

	.macro in8 port
	movw	$\port, %dx
	inb	%dx, %al
	.endm

	.macro exit value
	out8	PORT_DEBUG_EXIT, \value
	hlt
	.endm

/* Ends with NUMBER unless the flags satisfy COND. */
	.macro check number, cond
	j\cond	.Lok\@
	exit	\number
.Lok\@:
	.endm

#else

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Registers at the program's first instruction: start.S keeps them for the boot protocol's test. */
extern uint64_t boot_rax, boot_rbx, boot_rsi;

/* Each C guest is this function; returning is success. */
void guest_main(void);

_Noreturn void guest_exit(uint8_t value);
void print(const char *text);
/* The next one that comes by the serial port */
uint8_t read_char(void);
void print_hex(uint64_t value);
void print_decimal(uint64_t value);
/** print_difference() - "WHERE: WHAT is GOT, not WANT", a line */
void print_difference(const char *where, const char *what, uint64_t got, uint64_t want);
_Noreturn void check_failed(const char *where, const char *what, uint64_t got, uint64_t want);

#define STRING_(x) #x
#define STRING(x)  STRING_(x)

/* @got is evaluated once; on failure both values are printed and the guest ends. */
#define CHECK_EQ(got, want)                                                                        \
	do {                                                                                       \
		uint64_t got_ = (uint64_t)(got), want_ = (uint64_t)(want);                         \
		if (got_ != want_)                                                                 \
			check_failed(__FILE__ ":" STRING(__LINE__), #got, got_, want_);            \
	} while (0)
#define CHECK(cond) CHECK_EQ(!!(cond), true)

static inline void out8(uint16_t port, uint8_t value)
{
	asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void out16(uint16_t port, uint16_t value)
{
	asm volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void out32(uint16_t port, uint32_t value)
{
	asm volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline uint16_t in16(uint16_t port)
{
	uint16_t value;

	asm volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t value;

	asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline volatile uint8_t *mem8(uint64_t at)
{
	return (volatile uint8_t *)at;
}

static inline volatile uint16_t *mem16(uint64_t at)
{
	return (volatile uint16_t *)at;
}

static inline volatile uint32_t *mem32(uint64_t at)
{
	return (volatile uint32_t *)at;
}

static inline volatile uint64_t *mem64(uint64_t at)
{
	return (volatile uint64_t *)at;
}

static inline uint64_t rdmsr(uint32_t index)
{
	uint32_t low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
	return (uint64_t)high << 32 | low;
}

static inline void wrmsr(uint32_t index, uint64_t value)
{
	asm volatile("wrmsr" : : "c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

static inline void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
	asm volatile("cpuid"
		     : "=a"(ret[0]), "=b"(ret[1]), "=c"(ret[2]), "=d"(ret[3])
		     : "a"(leaf), "c"(subleaf));
}

bool str_equal(const char *a, const char *b);
/* The decimal number after "NAME=" in a kernel command line; ends the guest if there is none. */
uint64_t param(const char *cmdline, const char *name);
/* Is @word one of the words of a kernel command line? */
bool param_word(const char *cmdline, const char *word);

/* ---- the real-time clock ---- */

static inline uint8_t cmos(uint8_t reg)
{
	out8(0x70, reg);
	return in8(0x71);
}

static inline void set_cmos(uint8_t reg, uint8_t value)
{
	out8(0x70, reg);
	out8(0x71, value);
}

#endif
#endif
