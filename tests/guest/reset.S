/* Resets the machine at once through the keyboard controller, as most kernels do first. */
#include "guest.h"

	real_mode_start
	out8	PORT_I8042, RESET_I8042
1:	hlt
	jmp	1b
