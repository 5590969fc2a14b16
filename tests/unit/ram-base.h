/* A test looks at guest memory from the host's side. */
#ifndef LKVM_RAM_BASE_H
#define LKVM_RAM_BASE_H

#include "lkvm/ram.h"

/* Host address of guest address 0; what lies behind the RAM's end faults. */
static inline uint8_t *ram_base(const struct ram *ram)
{
	return ram_host(ram, GPA(0), 0);
}

#endif
