/* Reports a panic through the pvpanic port and then stops doing anything. */
#include "guest.h"

	real_mode_start
	out8	PORT_PVPANIC, 1
1:	hlt
	jmp	1b
