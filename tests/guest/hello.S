/* Prints one line and powers off. */
#include "guest.h"

	real_mode_start
	movw	$text, %si
1:	in8	COM_LSR
	testb	$LSR_READY, %al
	jz	1b
	movw	$COM_DATA, %dx
	lodsb
	testb	%al, %al
	jz	2f
	outb	%al, %dx
	jmp	1b
2:	movw	$PORT_PM1_CNT, %dx
	movw	$SLEEP_S5, %ax
	outw	%ax, %dx
	hlt
text:	.asciz	"hello from the guest\n"
