/*
 * An undefined instruction with no interrupt table to report it through: a triple fault. restart.S and
 * unannounced.S say something before.
 */
#include "guest.h"

	real_mode_start
#ifdef TEXT
	movw	$text, %si
	movw	$text_end - text, %cx
	movw	$0x3f8, %dx
	rep outsb %cs:(%si), (%dx)
#endif
	lgdtl	gdt_pointer
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$8, $0x10000 + 1f
	.code32
1:	lidtl	%cs:0x10000 + null_idt
	ud2
	out8	PORT_DEBUG_EXIT, 1
gdt:	.quad	0, 0x00cf9b000000ffff
gdt_pointer:
	.word	. - gdt - 1
	.long	0x10000 + gdt
null_idt:
	.word	0
	.long	0
#ifdef TEXT
text:	.ascii	TEXT
text_end:
#endif
