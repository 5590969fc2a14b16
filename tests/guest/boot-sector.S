/*
 * A disk's first sector, for a BIOS: copies what sectors 2 and 3 have to sectors 8 and 9 by the
 * BIOS's functions 42h and 43h of interrupt 13h, in two requests, and reads it back.
 */
#include "guest.h"

#define BUFFER 0x8000
#define BACK   0x9000
#define BYTES  1024

	.code16
	.globl _start
_start:	ljmpw	$0x7c0, $1f		/* loaded at 0:7c00, linked for 0 */
1:	cli
	cld
	movw	%cs, %ax
	movw	%ax, %ds
	xorw	%ax, %ax
	movw	%ax, %es
	movw	%ax, %ss
	movw	$0x7c00, %sp
	sti
	movb	%dl, drive

	movb	$0x42, %ah		/* read */
	movw	$BUFFER, %bx
	movb	$2, %cl
	call	transfer
	movb	$0x43, %ah		/* write */
	movb	$8, %cl
	call	transfer
	movb	$0x42, %ah
	movw	$BACK, %bx
	call	transfer

	movw	%es, %ax
	movw	%ax, %ds
	movw	$BUFFER, %si
	movw	$BACK, %di
	movw	$BYTES, %cx
	repe cmpsb
	check	2, e
	exit	0

/* Function %ah: two sectors from %cl on, memory at 0:%bx */
transfer:
	movb	%cl, lba
	movw	%bx, address
	movb	drive, %dl
	xorb	%al, %al		/* write without verification */
	movw	$packet, %si
	int	$0x13
	check	1, nc
	ret

drive:	.byte	0
	.balign	4
packet:	.byte	16, 0
	.word	BYTES / 512
address:
	.word	0, 0
lba:	.quad	0

	.org	510
	.word	0xaa55
