/* What init learns from lkvm while it has nothing to do yet: its plan; and that it goes on from a snapshot. */
#ifndef GUEST_ASK_H
#define GUEST_ASK_H

#include "channel.h"

/* ASK, then waits for the PLAN, however long that takes. Return: its records, which stay; a BYE powers off */
char *ask_plan(struct channel *ch, size_t *ret_len);

/* A WAKE: the clock is set, and the random numbers are others than those of the next one. */
void take_wake(const uint8_t *body, size_t len);

#endif
