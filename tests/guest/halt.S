/* Halts with interrupts off: only the host can end this. Says so first. */
#include "guest.h"

	real_mode_start
	out8	COM_DATA, 'H'
	out8	COM_DATA, '\n'
1:	hlt
	jmp	1b
