/* The other processors; see cpus.c. */
#ifndef GUEST_CPUS_H
#define GUEST_CPUS_H

#include "guest.h"

#define LAPIC_SVR 0x0f0

static inline void lapic_write(uint32_t reg, uint32_t value)
{
	*mem32(LAPIC + reg) = value;
}

static inline uint32_t lapic_read(uint32_t reg)
{
	return *mem32(LAPIC + reg);
}

/** start_cpus() - start all of them; returns before they run */
void start_cpus(void);
/** ap_main() - the program's own: what each of them does */
void ap_main(void);

#endif
