/* Channel 0 of the timer interrupts through the PIC; channel 2 counts down and its gate works. */
#include "guest.h"

	.set	TICKS, 5
	.set	RELOAD, 1193182 / 1000

	real_mode_start
	xorw	%ax, %ax
	movw	%ax, %fs
	movw	$tick, %fs:0x20 * 4
	movw	%cs, %fs:0x20 * 4 + 2

	out8	0x20, 0x11		/* ICW1..4: vectors from 0x20 and 0x28 */
	out8	0xa0, 0x11
	out8	0x21, 0x20
	out8	0xa1, 0x28
	out8	0x21, 4
	out8	0xa1, 2
	out8	0x21, 1
	out8	0xa1, 1
	out8	0x21, 0xfe		/* only the timer */
	out8	0xa1, 0xff
	in8	0x21
	cmpb	$0xfe, %al
	check	1, e

	xorw	%bp, %bp
	out8	0x43, 0x34		/* channel 0, low then high byte, rate generator */
	out8	0x40, RELOAD & 0xff
	out8	0x40, RELOAD >> 8
	sti
1:	hlt
	cmpw	$TICKS, %bp
	jb	1b
	cli
	out8	0x21, 0xff

	in8	0x61			/* channel 2: gate off, mode 0, gate on, wait for its output */
	andb	$0xfc, %al
	outb	%al, %dx
	out8	0x43, 0xb0
	out8	0x42, 0x00
	out8	0x42, 0x04
	in8	0x61
	testb	$0x20, %al
	check	2, z
	orb	$1, %al
	outb	%al, %dx
2:	in8	0x61
	testb	$0x20, %al
	jz	2b
	exit	0

tick:
	incw	%bp
	pushw	%ax
	movb	$0x20, %al
	outb	%al, $0x20
	popw	%ax
	iretw
