/* A model-specific register that does not exist is a general protection fault, no more. */
#include "guest.h"

	real_mode_start
	xorw	%ax, %ax
	movw	%ax, %fs
	movw	$protection_fault, %fs:13 * 4
	movw	%cs, %fs:13 * 4 + 2
	xorw	%bp, %bp
	movl	$0xdeadbeef, %ecx
	rdmsr
	cmpw	$1, %bp
	check	1, e
	movl	$0xdeadbeef, %ecx
	xorl	%eax, %eax
	xorl	%edx, %edx
	wrmsr
	cmpw	$2, %bp
	check	2, e
	exit	0

protection_fault:
	incw	%bp
	pushw	%di
	movw	%sp, %di
	addw	$2, %ss:2(%di)		/* rdmsr and wrmsr have two bytes */
	popw	%di
	iretw
