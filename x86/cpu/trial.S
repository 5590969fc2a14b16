/*
 * The guests of `lkvm check`: small programs that tell whether this host can really run guests.
 * Position-independent; loaded at LAYOUT_FLAT. Each ends by writing TRIAL_OK, or the number of what
 * failed, to the debug-exit port.
 */
#define TRIAL_OK	0x2a
#define TRIAL_PORT	0xf4
#define LAPIC		0xfee00000
#define VECTOR		0x40

	.section .rodata
	.globl trial_real, trial_real_end, trial_long, trial_long_end

	.code16
trial_real:
	movw	$0x1234, %ax
	movw	%ax, 0x2000		/* ds = cs: memory behind the program */
	movw	0x2000, %bx
	addw	$0x4321, %bx
	cmpw	$0x5555, %bx
	movb	$1, %al
	jne	1f
	movb	$TRIAL_OK, %al
1:	outb	%al, $TRIAL_PORT
2:	hlt
	jmp	2b
trial_real_end:

	.code64
trial_long:
	/* 1: SSE arithmetic, after switching it on as a kernel does */
	movq	%cr0, %rax
	andl	$~(1 << 2), %eax	/* EM off */
	orl	$(1 << 1), %eax		/* MP on */
	movq	%rax, %cr0
	movq	%cr4, %rax
	orl	$(3 << 9), %eax		/* OSFXSR, OSXMMEXCPT */
	movq	%rax, %cr4
	movl	$6, %eax
	cvtsi2sd %eax, %xmm0
	movl	$7, %eax
	cvtsi2sd %eax, %xmm1
	mulsd	%xmm1, %xmm0
	cvttsd2si %xmm0, %eax
	cmpl	$42, %eax
	movb	$1, %al
	jne	3f

	/* 2: an interrupt of the local APIC to itself, through an IDT with one gate */
	leaq	handler(%rip), %rax
	leaq	0x2000+trial_long(%rip), %rdi	/* room behind the program */
	leaq	VECTOR*16(%rdi), %rsi
	movw	%ax, (%rsi)
	movw	%cs, 2(%rsi)
	movw	$0x8e00, 4(%rsi)	/* present, interrupt gate */
	shrq	$16, %rax
	movw	%ax, 6(%rsi)
	shrq	$16, %rax
	movq	%rax, 8(%rsi)
	subq	$16, %rsp
	movw	$(VECTOR*16+15), (%rsp)
	movq	%rdi, 2(%rsp)
	lidt	(%rsp)
	movl	$LAPIC, %edi
	movl	$0x1ff, 0xf0(%rdi)	/* spurious vector register: APIC on */
	xorl	%ebx, %ebx
	sti
	movl	$(1 << 18 | VECTOR), 0x300(%rdi)	/* interrupt command: self, fixed */
	movl	$1000, %ecx
1:	pause
	testl	%ebx, %ebx
	jnz	2f
	loop	1b
2:	cli
	cmpl	$1, %ebx
	movb	$2, %al
	jne	3f
	movb	$TRIAL_OK, %al
3:	outb	%al, $TRIAL_PORT
4:	hlt
	jmp	4b

handler:
	incl	%ebx
	movl	$0, 0xb0(%rdi)		/* end of interrupt */
	iretq
trial_long_end:

	.section .note.GNU-stack, "", @progbits
