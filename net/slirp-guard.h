/*
 * Which of a guest's frames the user end (slirp.c) gives to its library: none that reach this host's own servers where
 * that is forbidden, and none that make it keep more than is good for lkvm. One thread.
 */
#ifndef NET_SLIRP_GUARD_H
#define NET_SLIRP_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUARD_FRAGMENTS   4096  /* that may wait for others of their packet: so many ... */
#define GUARD_FRAGMENT_MS 30000 /* ... in the time for which the library keeps them */

struct slirp_guard {
	bool no_loopback;
	unsigned most_sockets; /* of the library's; from there on none is opened */
	unsigned n_fragments;
	int64_t since_ms; /* that they are counted */
};

/**
 * guard_passes() - @frame: a copy, which the guest cannot change any more
 * @n_sockets: that are open
 */
bool guard_passes(struct slirp_guard *g, const uint8_t *frame, size_t len, unsigned n_sockets, int64_t now_ms);

/** guard_teaches() - is it about addresses (ARP, and what has its place in IPv6)? */
bool guard_teaches(const uint8_t *frame, size_t len);

#endif
