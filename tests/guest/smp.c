/*
 * Starts every other processor of cpus=N by INIT and SIPI; each enters long mode and reports its
 * APIC id as its LAPIC, CPUID leaf 1 and leaf 0xb tell it. All must be there, each id once.
 */
#include "multiboot.h"

#define LAPIC_ID    0x020
#define LAPIC_SVR   0x0f0
#define LAPIC_ICR   0x300
#define LAPIC_ICRH  0x310
#define ICR_INIT    0x0004500
#define ICR_SIPI    0x0004600
#define ICR_PENDING 0x0001000
#define ICR_OTHERS  0x00c0000

#define TRAMPOLINE 0x80000
#define MAX_CPUS   256

extern const uint8_t trampoline[], trampoline_end[];
/* Called by the trampoline, each processor on its own stack. */
void ap_main(void);

static volatile uint8_t seen[MAX_CPUS];
static volatile uint32_t n_seen, n_bad;

static void lapic_write(uint32_t reg, uint32_t value)
{
	*mem32(LAPIC + reg) = value;
}

static uint32_t lapic_read(uint32_t reg)
{
	return *mem32(LAPIC + reg);
}

static uint32_t own_id(void)
{
	uint32_t leaf0[4], leaf1[4], leafb[4], id = lapic_read(LAPIC_ID) >> 24;

	cpuid(0, 0, leaf0);
	cpuid(1, 0, leaf1);
	if (leaf1[1] >> 24 != id)
		return MAX_CPUS;
	cpuid(0xb, 0, leafb);
	if (leaf0[0] >= 0xb && leafb[3] != id)
		return MAX_CPUS;
	return id;
}

void ap_main(void)
{
	uint32_t id = own_id();

	if (id >= MAX_CPUS)
		__atomic_fetch_add(&n_bad, 1, __ATOMIC_SEQ_CST);
	else
		seen[id]++;
	__atomic_fetch_add(&n_seen, 1, __ATOMIC_SEQ_CST);
}

static void send(uint32_t command)
{
	lapic_write(LAPIC_ICRH, 0);
	lapic_write(LAPIC_ICR, command | ICR_OTHERS);
	while (lapic_read(LAPIC_ICR) & ICR_PENDING)
		;
}

void guest_main(void)
{
	const uint64_t cpus = param(mb_cmdline(), "cpus");

	CHECK_EQ(own_id(), 0);
	lapic_write(LAPIC_SVR, 0x1ff);
	for (size_t i = 0; trampoline + i < trampoline_end; i++)
		*mem8(TRAMPOLINE + i) = trampoline[i];
	send(ICR_INIT);
	send(ICR_SIPI | TRAMPOLINE >> 12);
	send(ICR_SIPI | TRAMPOLINE >> 12); /* the second is ignored by one that runs already */
	while (n_seen < cpus - 1)
		asm volatile("pause");

	CHECK_EQ(n_bad, 0);
	CHECK_EQ(seen[0], 0);
	for (unsigned i = 1; i < cpus; i++)
		CHECK_EQ(seen[i], 1);
	CHECK_EQ(n_seen, cpus - 1);
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
    "stacks: .skip	256 * 1024\n"
    "stacks_used: .skip 4\n"
    "	.popsection\n");
