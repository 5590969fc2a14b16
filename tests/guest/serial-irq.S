/* The first serial port's interrupt (line 4): transmitter empty, then received data, then none. */
#include "guest.h"

	real_mode_start
	xorw	%ax, %ax
	movw	%ax, %fs
	movw	$interrupt, %fs:0x24 * 4
	movw	%cs, %fs:0x24 * 4 + 2

	out8	0x20, 0x11
	out8	0x21, 0x20
	out8	0x21, 4
	out8	0x21, 1
	out8	0x21, 0xef		/* only line 4 */

	in8	COM_IIR
	testb	$1, %al			/* nothing pending */
	check	1, nz
	out8	COM_MCR, 0x0b		/* OUT2 lets the interrupt through */
	xorw	%bp, %bp
	sti
	out8	COM_IER, 0x02		/* transmitter empty: it is, so an interrupt comes at once */
1:	cmpw	$1, %bp
	jb	1b
	cmpb	$0x02, identification
	check	2, e
	in8	COM_IIR			/* reading it has cleared the cause */
	testb	$1, %al
	check	3, nz

	out8	COM_DATA, 'x'		/* sent: empty again */
2:	cmpw	$2, %bp
	jb	2b
	cmpb	$0x02, identification
	check	4, e

	out8	COM_IER, 0x01
	out8	COM_MCR, 0x1b		/* loop-back: what is sent comes in */
	out8	COM_IER, 0x01
	out8	COM_DATA, 'y'
3:	in8	COM_LSR
	testb	$LSR_DATA, %al
	jz	3b
	in8	COM_IIR
	andb	$0x0f, %al
	cmpb	$0x04, %al		/* received data */
	check	5, e
	in8	COM_DATA
	cmpb	$'y', %al
	check	6, e
	in8	COM_IIR
	testb	$1, %al
	check	7, nz
	cli
	exit	0

interrupt:
	pushw	%ax
	pushw	%dx
	in8	COM_IIR
	andb	$0x0f, %al
	movb	%al, %cs:identification
	incw	%bp
	movb	$0x20, %al
	outb	%al, $0x20
	popw	%dx
	popw	%ax
	iretw
identification:
	.byte	0xff
