/* Runs in a loop that never leaves the guest: for who looks at it from outside. */
#include "guest.h"

void guest_main(void)
{
	print("ready\n");
	for (;;)
		asm volatile("nop");
}
