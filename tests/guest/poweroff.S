/* Enters ACPI sleep state S5. */
#include "guest.h"

	real_mode_start
	movw	$PORT_PM1_CNT, %dx
	movw	$SLEEP_S5, %ax
	outw	%ax, %dx
1:	hlt
	jmp	1b
