/* What the files of hw/ram*.c share; nobody else includes this. */
#ifndef LKVM_RAM_INTERNAL_H
#define LKVM_RAM_INTERNAL_H

#include <pthread.h>

#include "lkvm/ram.h"

/* What is beside it: hw/ram-beside.c */
struct ram_besides {
	pthread_mutex_t lock; /* of the table; nothing waits under it */
	struct ram_beside table[RAM_MAX_BESIDE];
	void (*mend)(void *ctx);
	void *mend_ctx;
};

struct ram {
	struct ram_map map;  /* first: ram_host() */
	uint64_t span_bytes; /* from guest address 0 to the end of the last part */
	uint64_t reserved_bytes;
	void *reservation;
	int fd;              /* of the backing, -1: anonymous */
	bool shared;         /* what is in the file is what is in the RAM */
	uint64_t page_bytes; /* the least that can be given back */
	const struct ram_config *advice;
	atomic_uint holes; /* made in memory that began as a file */
	atomic_bool logging;
	_Atomic(uint64_t) *log; /* a bit a page of the span, gap included; kept once it was made */
	struct ram_besides besides;
};

/** ram_advise() - as the configuration has it; the names of what the host refuses are added to @refused */
void ram_advise(const struct ram *ram, uint8_t *host, uint64_t bytes, char *refused, size_t cap);

/** ram_bind() - the policies of the RAM for what is mapped anew at [@start, @start + @bytes); Return: 0 or -errno */
int ram_bind(const struct ram *ram, uint64_t start, uint64_t bytes);

#endif
