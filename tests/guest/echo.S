/* Sends back each byte that comes in; ends well at the first 'q'. */
#include "guest.h"

	real_mode_start
	out8	COM_DATA, '>'
1:	in8	COM_LSR
	testb	$LSR_DATA, %al
	jz	1b
	in8	COM_DATA
	outb	%al, %dx
	cmpb	$'q', %al
	jne	1b
	exit	0
