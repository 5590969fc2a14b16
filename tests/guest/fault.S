/* An x87 instruction with an operand in no memory: KVM must emulate it and cannot, on any host. */
#include "guest.h"

	real_mode_start
	lgdtl	gdt_pointer
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	movw	$8, %ax
	movw	%ax, %ds
	fninit
	movl	$GAP_START, %ebx
	fadds	(%ebx)
	exit	1
gdt:	.quad	0, 0x00cf93000000ffff
gdt_pointer:
	.word	. - gdt - 1
	.long	0x10000 + gdt
