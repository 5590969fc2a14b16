/* Writes lines to the console for ever, waiting for the transmitter as a kernel does. */
#include "guest.h"

	real_mode_start
	movb	$'\n', %bl
1:	in8	COM_LSR
	testb	$LSR_READY, %al
	jz	1b
	movw	$COM_DATA, %dx
	movb	%bl, %al
	outb	%al, %dx
	xorb	$'\n' ^ 'f', %bl
	jmp	1b
