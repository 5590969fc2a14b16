/* What the files of hw/ram*.c share; nobody else includes this. */
#ifndef LKVM_RAM_INTERNAL_H
#define LKVM_RAM_INTERNAL_H

#include <pthread.h>

#include "lkvm/ram.h"

/* What is beside it: hw/ram-beside.c */
struct ram_besides {
	pthread_mutex_t lock; /* of the table; nothing waits under it */
	struct ram_beside table[RAM_MAX_BESIDE];
	unsigned n; /* of them were ever used: the first ones */
	void (*mend)(void *ctx);
	void *mend_ctx;
};

struct ram {
	struct ram_map map;  /* first: ram_host() */
	uint64_t span_bytes; /* from guest address 0 to the end of the last part, or of the region */
	uint64_t reserved_bytes;
	void *reservation;
	int fd;              /* of the backing, -1: anonymous */
	bool shared;         /* what is in the file is what is in the RAM */
	uint64_t page_bytes; /* the least that can be given back */
	const struct ram_config *advice;
	atomic_uint holes; /* made in memory that began as a file */
	atomic_bool logging;
	_Atomic(uint64_t) soiled[RAM_BLOCK_WORDS];    /* blocks that are not there, but for ram_mend() */
	_Atomic(uint64_t) from_file[RAM_BLOCK_WORDS]; /* that began as pages of @fd and have not gone since */
	atomic_uint unplugs;
	_Atomic(uint64_t) *log; /* a bit a page of the span, gap included; kept once it was made */
	struct ram_besides besides;
};

/** ram_advise() - as the configuration has it; the names of what the host refuses are added to @refused */
void ram_advise(const struct ram *ram, uint8_t *host, uint64_t bytes, char *refused, size_t cap);

/** ram_block_at() - the block that is at @at, an address within the region */
static inline unsigned ram_block_at(const struct ram *ram, uint64_t at)
{
	return (unsigned)((at - ram->map.region.start) >> __builtin_ctzll(ram->map.region.block_bytes));
}

/** ram_block_get() - is it plugged? */
static inline bool ram_block_get(const struct ram *ram, unsigned n)
{
	return atomic_load_explicit(&ram->map.plugged[n / 64], memory_order_acquire) >> n % 64 & 1;
}

static inline bool ram_in_region(const struct ram *ram, uint64_t at)
{
	return at >= ram->map.region.start && at - ram->map.region.start < ram->map.region.bytes;
}

/** ram_bind() - the policies of the RAM for what is mapped anew at [@start, @start + @bytes); Return: 0 or -errno */
int ram_bind(const struct ram *ram, uint64_t start, uint64_t bytes);

#endif
