/*
 * How a C guest gets from the state in which its boot protocol starts it into long mode, with the
 * first 6 GB mapped one to one. Exactly one of START_FLAT, START_MULTIBOOT, START_MULTIBOOT2,
 * START_PVH and START_BZIMAGE is defined.
 */
#include "guest.h"

#define CODE32     0x08
#define DATA32     0x10
#define CODE64     0x18
#define MAPPED_GIB 6

#ifdef START_FLAT
	.section .start, "ax"
	real_mode_start
	lgdtl	%cs:gdt_pointer - 0x10000
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	movw	$DATA32, %ax		/* start32 expects flat data, as the other protocols give it */
	movw	%ax, %ds
	ljmpl	$CODE32, $start32
#endif

#ifdef START_MULTIBOOT
/* Multiboot 0.6.96, 3.1: modules on page boundaries, memory information wanted */
#define MB_MAGIC 0x1badb002
#define MB_FLAGS 0x3
	.section .start, "a"
	.balign	4
	.long	MB_MAGIC, MB_FLAGS, -(MB_MAGIC + MB_FLAGS)
#endif

#ifdef START_MULTIBOOT2
/* Multiboot2 2.0, 3.1: no tag but the end */
#define MB2_MAGIC 0xe85250d6
	.section .start, "a"
	.balign	8
	.long	MB2_MAGIC, 0, 24, -(MB2_MAGIC + 24)
	.long	0, 8
#endif

#ifdef START_PVH
	.section .note.pvh, "a", @note
	.long	4, 4, 18		/* name and value are 4 bytes; XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	_start
#endif

#ifdef START_BZIMAGE
/* The setup sectors. Documentation/x86/boot.rst, "The Real-Mode Kernel Header" */
	.section .setup, "a"
	.org	0x1f1
	.byte	1			/* setup_sects, after the boot sector */
	.word	0			/* root_flags */
	.long	pm_paragraphs		/* syssize */
	.org	0x1fe
	.word	0xaa55			/* boot_flag */
	.byte	0xeb, 0x6a		/* jump over this header */
	.ascii	"HdrS"
	.word	0x20f			/* version */
	.org	0x211
	.byte	1			/* loadflags: LOADED_HIGH */
	.org	0x214
	.long	0x100000		/* code32_start */
	.org	0x22c
	.long	0x37ffffff		/* initrd_addr_max */
	.long	0x200000		/* kernel_alignment */
	.byte	0, 21			/* relocatable_kernel, min_alignment */
	.word	1			/* xloadflags: XLF_KERNEL_64 */
	.long	255			/* cmdline_size */
	.org	0x258
	.quad	0x100000		/* pref_address */
	.long	0x100000		/* init_size */
	.org	0x400
	.section .start, "ax"
	.code32
	movl	$1, %eax		/* the 32-bit entry: must not be taken */
	outb	%al, $PORT_DEBUG_EXIT
	.org	0x200
	.code64
	.globl	_start
_start:
	movq	%rax, boot_rax(%rip)
	movq	%rbx, boot_rbx(%rip)
	movq	%rsi, boot_rsi(%rip)
	movl	$pml4, %eax
	movq	%rax, %cr3
	jmp	start64
#endif

	.text
	.code32
#if defined(START_MULTIBOOT) || defined(START_MULTIBOOT2) || defined(START_PVH)
	.globl _start
_start:
#endif
start32:
	movl	%eax, boot_rax
	movl	%ebx, boot_rbx
	movl	%esi, boot_rsi
	lgdtl	gdt_pointer
	ljmpl	$CODE32, $1f
1:	movw	$DATA32, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	%cr4, %eax
	orl	$0x20, %eax		/* PAE */
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx	/* EFER */
	rdmsr
	orl	$0x100, %eax		/* LME */
	wrmsr
	movl	%cr0, %eax
	orl	$0x80000001, %eax	/* PG, PE */
	movl	%eax, %cr0
	ljmpl	$CODE64, $start64

	.code64
start64:
	cld
	movl	$bss_start, %edi
	movl	$bss_end, %ecx
	subl	%edi, %ecx
	xorl	%eax, %eax
	rep stosb
	movl	$stack_top, %esp
	call	guest_main
	movl	$0, %edi
	call	guest_exit

	.data
	.globl	boot_rax, boot_rbx, boot_rsi
boot_rax: .quad	0
boot_rbx: .quad	0
boot_rsi: .quad	0

	.balign	8
gdt:	.quad	0
	.quad	0x00cf9b000000ffff	/* 32-bit code */
	.quad	0x00cf93000000ffff	/* data */
	.quad	0x00af9b000000ffff	/* 64-bit code */
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt

/* Built by the assembler: filling 3000 entries at run time would take longer than most tests. */
	.balign	4096
	.globl	pml4, gdt
pml4:	.quad	pdpt + 3
	.fill	511, 8, 0
pdpt:
	.set	i, 0
	.rept	MAPPED_GIB
	.quad	pages + i * 4096 + 3
	.set	i, i + 1
	.endr
	.fill	512 - MAPPED_GIB, 8, 0
pages:
	.set	i, 0
	.rept	MAPPED_GIB * 512
	.quad	i * 0x200000 + 0x83	/* 2 MB page, writable, present */
	.set	i, i + 1
	.endr

	.bss
	.balign	16
	.skip	8192
stack_top:
