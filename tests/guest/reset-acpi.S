/* Resets through the register that the FADT names. */
#include "guest.h"

	real_mode_start
	out8	PORT_ACPI_RESET, RESET_ACPI
1:	hlt
	jmp	1b
