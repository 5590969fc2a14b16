/*
 * An eventfd: what one thread (or KVM) tells another that waits for it, in an event loop or in
 * poll(). It is a bare descriptor, since most of them are handed to KVM or stand in a loop_source;
 * close() ends it.
 *
 * Signals add up until somebody clears them. Whoever watches it edge triggered need not clear it.
 */
#ifndef LKVM_EVENT_H
#define LKVM_EVENT_H

#include <stdint.h>

/** event_open() - @signals: how often it is signalled already; Return: the descriptor, or -errno */
int event_open(unsigned signals);

/** event_signal() - any thread, and signal handlers; never blocks; errno stays */
void event_signal(int fd);

/** event_clear() - Return: how many signals there were; 0: none */
uint64_t event_clear(int fd);

#endif
