/* Which pages of the guest's RAM lkvm itself wrote; see ram.h. A bit a page, set by any thread. */
#include <errno.h>
#include <stdlib.h>

#include "ram-internal.h"

#define WORD_PAGES 64

static uint64_t n_words(const struct ram *ram)
{
	return (ram->span_bytes / RAM_PAGE_BYTES + WORD_PAGES - 1) / WORD_PAGES;
}

int ram_log(struct ram *ram, bool on)
{
	/* Never freed before the RAM: a late ram_wrote() finds it. */
	if (on && !ram->log)
		ram->log = calloc(n_words(ram), sizeof(*ram->log));
	if (on && !ram->log)
		return -ENOMEM;
	for (uint64_t i = 0; on && i < n_words(ram); i++)
		atomic_store_explicit(&ram->log[i], 0, memory_order_relaxed);
	atomic_store(&ram->logging, on);
	return 0;
}

const atomic_bool *ram_logging(const struct ram *ram)
{
	return &ram->logging;
}

void ram_wrote(const struct ram *ram, const void *host, uint64_t len)
{
	uint64_t first, last;

	if (!atomic_load_explicit(&ram->logging, memory_order_relaxed) || !len)
		return;
	first = (uint64_t)((const uint8_t *)host - ram->map.base) / RAM_PAGE_BYTES;
	last = ((uint64_t)((const uint8_t *)host - ram->map.base) + len - 1) / RAM_PAGE_BYTES;
	for (uint64_t page = first; page <= last; page++)
		atomic_fetch_or_explicit(&ram->log[page / WORD_PAGES], 1ULL << page % WORD_PAGES,
					 memory_order_release);
}

void ram_log_take(struct ram *ram, gpa_t start, uint64_t bytes, uint64_t *bitmap)
{
	const uint64_t first = start.v / RAM_PAGE_BYTES / WORD_PAGES;
	uint64_t pages = bytes / RAM_PAGE_BYTES;

	if (!atomic_load(&ram->logging))
		return;
	for (uint64_t i = 0; pages; i++) {
		unsigned n = pages < WORD_PAGES ? (unsigned)pages : WORD_PAGES;
		uint64_t mask = n < WORD_PAGES ? (1ULL << n) - 1 : UINT64_MAX;

		bitmap[i] |= mask & atomic_fetch_and(&ram->log[first + i], ~mask);
		pages -= n;
	}
}
