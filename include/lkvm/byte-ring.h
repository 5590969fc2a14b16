/*
 * Bytes into and out of a ring, at a position that may be any: it is taken modulo the ring's size. Who may
 * write where, and when, is its owner's to know.
 */
#ifndef LKVM_BYTE_RING_H
#define LKVM_BYTE_RING_H

#include <stddef.h>
#include <stdint.h>

/** byte_ring_put() - copy @len bytes, at most @size, into the ring of @size bytes */
void byte_ring_put(uint8_t *ring, size_t size, uint64_t at, const void *src, size_t len);
/** byte_ring_get() - and out of it */
void byte_ring_get(const uint8_t *ring, size_t size, uint64_t at, void *dst, size_t len);

#endif
