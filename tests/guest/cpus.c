/*
 * The other processors: started by INIT and SIPI, each enters long mode and calls ap_main() on a stack of
 * its own, of 1 KB.
 */
#include "cpus.h"

#define LAPIC_ICR   0x300
#define LAPIC_ICRH  0x310
#define ICR_INIT    0x0004500
#define ICR_SIPI    0x0004600
#define ICR_PENDING 0x0001000
#define ICR_OTHERS  0x00c0000

#define TRAMPOLINE 0x80000

extern const uint8_t trampoline[], trampoline_end[];

static void send(uint32_t command)
{
	lapic_write(LAPIC_ICRH, 0);
	lapic_write(LAPIC_ICR, command | ICR_OTHERS);
	while (lapic_read(LAPIC_ICR) & ICR_PENDING)
		;
}

void start_cpus(void)
{
	lapic_write(LAPIC_SVR, 0x1ff);
	for (size_t i = 0; trampoline + i < trampoline_end; i++)
		*mem8(TRAMPOLINE + i) = trampoline[i];
	send(ICR_INIT);
	send(ICR_SIPI | TRAMPOLINE >> 12);
	send(ICR_SIPI | TRAMPOLINE >> 12); /* the second is ignored by one that runs already */
}

/* Real mode at TRAMPOLINE, any segment base; the GDT and page tables are start.S's. */
asm("	.pushsection .data\n"
    "	.code16\n"
    "trampoline:\n"
    "	cli\n"
    "	movw	%cs, %ax\n"
    "	movw	%ax, %ds\n"
    "	lgdtl	2f - trampoline\n"
    "	movl	%cr4, %eax\n"
    "	orl	$0x20, %eax\n"
    "	movl	%eax, %cr4\n"
    "	movl	$pml4, %eax\n"
    "	movl	%eax, %cr3\n"
    "	movl	$0xc0000080, %ecx\n"
    "	rdmsr\n"
    "	orl	$0x100, %eax\n"
    "	wrmsr\n"
    "	movl	%cr0, %eax\n"
    "	andl	$0x9fffffff, %eax\n" /* caches on */
    "	orl	$0x80000001, %eax\n"
    "	movl	%eax, %cr0\n"
    "	ljmpl	$0x18, $1f\n"
    "2:	.word	31\n"
    "	.long	gdt\n"
    "trampoline_end:\n"
    "	.popsection\n"
    "	.text\n"
    "	.code64\n"
    "1:	movl	$1, %eax\n"
    "	lock xaddl %eax, stacks_used(%rip)\n"
    "	incl	%eax\n"
    "	shll	$10, %eax\n"
    "	leaq	stacks(%rip), %rsp\n"
    "	addq	%rax, %rsp\n"
    "	call	ap_main\n"
    "3:	hlt\n"
    "	jmp	3b\n"
    "	.pushsection .bss\n"
    "	.balign	16\n"
    "stacks: .skip	1025 * 1024\n"
    "stacks_used: .skip 4\n"
    "	.popsection\n");
