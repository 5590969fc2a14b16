/*
 * Starts a PC BIOS, which is module 0 (of up to 256 KB), as a reset would: copied to where the
 * first megabyte ends, in real mode, at f000:fff0. The machine has no ROM, but that is all a BIOS
 * misses.
 */
#include "multiboot.h"

#define TRAMPOLINE 0x8000
#define MEGABYTE   0x100000

/* Runs at TRAMPOLINE, from the 32-bit part of long mode on; its own GDT is at its end. */
extern const uint8_t trampoline[], trampoline_gdt[], trampoline_end[];

asm("	.pushsection .rodata\n"
    "	.code32\n"
    "trampoline:\n"
    "	movl	%cr0, %eax\n"
    "	andl	$0x7fffffff, %eax\n" /* PG */
    "	movl	%eax, %cr0\n"
    "	movl	$0xc0000080, %ecx\n" /* EFER */
    "	rdmsr\n"
    "	andl	$~0x100, %eax\n" /* LME */
    "	wrmsr\n"
    "	movl	%cr4, %eax\n"
    "	andl	$~0x20, %eax\n" /* PAE */
    "	movl	%eax, %cr4\n"
    "	ljmpl	$0x10, $(" STRING(
	    TRAMPOLINE) " + 1f - trampoline)\n"
			"	.code16\n"
			"1:	movw	$0x18, %ax\n"
			"	movw	%ax, %ds\n"
			"	movw	%ax, %es\n"
			"	movw	%ax, %ss\n"
			"	movl	%cr0, %eax\n"
			"	andl	$~1, %eax\n" /* PE */
			"	movl	%eax, %cr0\n"
			"	ljmpw	$0, $(" STRING(
				TRAMPOLINE) " + 2f - trampoline)\n"
					    "2:	xorw	%ax, %ax\n"
					    "	movw	%ax, %ds\n"
					    "	movw	%ax, %es\n"
					    "	movw	%ax, %ss\n"
					    "	lidtl	" STRING(
						    TRAMPOLINE) " + 3f - trampoline\n"
								"	ljmpw	$0xf000, $0xfff0\n"
								"3:	.word	0x3ff\n"
								"	.long	0\n"
								"	.balign	8\n"
								"trampoline_gdt:\n" /* 32-bit code,
										       16-bit code,
										       16-bit data
										     */
								"	.quad	0, "
								"0x00cf9b000000ffff, "
								"0x00009b000000ffff, "
								"0x000093000000ffff\n"
								"trampoline_end:\n"
								"	.code64\n"
								"	.popsection\n");

static void copy(uint64_t to, uint64_t from, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i += 8)
		*mem64(to + i) = *mem64(from + i);
}

void guest_main(void)
{
	const struct mb_module *bios = (const struct mb_module *)(uintptr_t)mb_info()->mods_addr;
	const uint32_t bytes = bios->end - bios->start;
	const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) gdt = { (uint16_t)(trampoline_end - trampoline_gdt - 1),
					  TRAMPOLINE + (uint64_t)(trampoline_gdt - trampoline) };

	CHECK_EQ(mb_info()->mods_count, 1);
	CHECK(bytes >= 0x10000 && bytes <= 0x40000);
	copy(MEGABYTE - bytes, bios->start, bytes);
	copy(TRAMPOLINE, (uint64_t)trampoline, (uint64_t)(trampoline_end - trampoline));
	asm volatile("lgdt %0\n\t"
		     "pushq $8\n\t"
		     "pushq %1\n\t"
		     "lretq"
		     :
		     : "m"(gdt), "i"(TRAMPOLINE)
		     : "memory");
}
