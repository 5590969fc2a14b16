/* Benchmark: serial output as a careful driver does it, one status read before each of 64000 bytes. */
#include "guest.h"

void guest_main(void)
{
	for (unsigned i = 0; i < 64000; i++) {
		while (!(in8(COM_LSR) & LSR_READY))
			;
		out8(COM_DATA, '.');
	}
	out8(PORT_DEBUG_EXIT, 0);
	out8(PORT_I8042, RESET_I8042);
}
