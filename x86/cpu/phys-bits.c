/* Width of physical addresses; see cpu.h. */
#include <cpuid.h>

#include "lkvm/x86/cpu.h"

#define LEAST_BITS 36

/* To ask is an exit where the host is a virtual machine itself, so who needs little does not. */
unsigned cpu_phys_bits_for(uint64_t ram_bytes)
{
	unsigned eax, ebx, ecx, edx;

	if (ram_bytes >> (LEAST_BITS - 1) == 0 || !__get_cpuid(0x80000008, &eax, &ebx, &ecx, &edx))
		return LEAST_BITS;
	return eax & 0xff;
}
