/* String instructions on ports: many elements in one exit, each width, forwards and backwards. */
#include "guest.h"

	.set	buffer, 0x8000

	real_mode_start
	movw	$text, %si
	movw	$text_end - text, %cx
	movw	$COM_DATA, %dx
	rep outsb

	movw	$buffer, %di		/* nobody answers: all ones, and not one byte more */
	movw	$64, %cx
	movw	$PORT_NOBODY, %dx
	rep insb
	cmpl	$0xffffffff, buffer
	check	1, e
	cmpl	$0xffffffff, buffer + 60
	check	2, e
	cmpl	$0, buffer + 64
	check	3, e

	movw	$buffer + 0x100, %di
	movw	$16, %cx
	rep insw
	cmpl	$0xffffffff, buffer + 0x100 + 28
	check	4, e
	cmpl	$0, buffer + 0x100 + 32
	check	5, e

	movw	$buffer + 0x200, %di
	movw	$16, %cx
	rep insl
	cmpl	$0xffffffff, buffer + 0x200 + 60
	check	6, e
	cmpl	$0, buffer + 0x200 + 64
	check	7, e

	movw	$COM_SCR, %dx		/* the last of three bytes stays in the scratch register */
	movw	$text, %si
	movw	$3, %cx
	rep outsb
	inb	%dx, %al
	cmpb	$'r', %al
	check	8, e
	movw	$buffer + 0x300, %di
	movw	$5, %cx
	rep insb
	cmpl	$0x72727272, buffer + 0x300
	check	9, e
	cmpl	$0x00000072, buffer + 0x304
	check	10, e

	std
	movw	$text + 2, %si
	movw	$3, %cx
	rep outsb
	cld
	inb	%dx, %al
	cmpb	$'s', %al
	check	11, e

	movw	$0, %cx			/* a count of zero does nothing */
	movb	$'Z', %al
	outb	%al, %dx
	movw	$text, %si
	rep outsb
	inb	%dx, %al
	cmpb	$'Z', %al
	check	12, e
	exit	0

text:	.ascii	"string output\n"
text_end:
