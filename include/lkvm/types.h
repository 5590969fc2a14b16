/*
 * Types and small helpers that every module uses.
 *
 * gpa_t is a guest-physical address. It is a struct so that it can be mistaken neither for an
 * integer nor for a host pointer: only hw/ram.c turns one into host memory, and only with a length.
 */
#ifndef LKVM_TYPES_H
#define LKVM_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
	uint64_t v;
} gpa_t;

#define GPA(addr) ((gpa_t){ (addr) })

#define KIB (1ULL << 10)
#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

/* @align is a power of two; ALIGN_UP() wraps to 0 for a value within @align of 2^64. */
#define ALIGN_DOWN(x, align) ((x) & ~((uint64_t)(align) - 1))
#define ALIGN_UP(x, align)   ALIGN_DOWN((x) + ((uint64_t)(align) - 1), align)

#endif
