/* Never leaves the guest by itself. Says so first. */
#include "guest.h"

	real_mode_start
	out8	COM_DATA, 'L'
	out8	COM_DATA, '\n'
1:	jmp	1b
