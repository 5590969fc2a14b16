/* Pages that need not be saved; see ram.h. A bit a page, as of hw/ram-log.c. */
#include <errno.h>
#include <stdlib.h>

#include "lkvm/ram.h"

#define WORD_PAGES 64

struct ram_spare {
	uint64_t n_pages; /* from guest address 0 on */
	uint64_t page[];  /* bits */
};

int ram_spare_new(const struct ram *ram, struct ram_spare **ret)
{
	const uint64_t pages = ram_end(ram) / RAM_PAGE_BYTES;
	struct ram_spare *spare =
		calloc(1, sizeof(*spare) + (pages + WORD_PAGES - 1) / WORD_PAGES * sizeof(spare->page[0]));

	if (!spare)
		return -ENOMEM;
	spare->n_pages = pages;
	*ret = spare;
	return 0;
}

void ram_spare_free(struct ram_spare *spare)
{
	free(spare);
}

/* Of the pages of word @word: those from @first up to @end */
static uint64_t bits_of(uint64_t word, uint64_t first, uint64_t end)
{
	const uint64_t from = word * WORD_PAGES, to = from + WORD_PAGES;
	uint64_t bits = UINT64_MAX;

	if (first > from)
		bits &= UINT64_MAX << (first - from);
	if (end < to)
		bits &= UINT64_MAX >> (to - end);
	return bits;
}

void ram_spare_add(struct ram_spare *spare, gpa_t at, uint64_t bytes)
{
	const uint64_t most = spare->n_pages * RAM_PAGE_BYTES;
	uint64_t first, end;

	if (at.v >= most)
		return;
	bytes = bytes < most - at.v ? bytes : most - at.v;
	first = (at.v + RAM_PAGE_BYTES - 1) / RAM_PAGE_BYTES;
	end = (at.v + bytes) / RAM_PAGE_BYTES;
	if (first >= end)
		return;
	for (uint64_t word = first / WORD_PAGES; word <= (end - 1) / WORD_PAGES; word++)
		spare->page[word] |= bits_of(word, first, end);
}

void ram_spare_add_unwritten(struct ram_spare *spare, const struct ram_spare *from, gpa_t start, uint64_t bytes,
			     const uint64_t *written)
{
	const uint64_t first = start.v / RAM_PAGE_BYTES;
	const uint64_t end = first + bytes / RAM_PAGE_BYTES;

	for (uint64_t word = first / WORD_PAGES; word * WORD_PAGES < end; word++)
		spare->page[word] |=
			from->page[word] & ~written[word - first / WORD_PAGES] & bits_of(word, first, end);
}

bool ram_spare_has(const struct ram_spare *spare, gpa_t at)
{
	const uint64_t page = at.v / RAM_PAGE_BYTES;

	return page < spare->n_pages && spare->page[page / WORD_PAGES] >> page % WORD_PAGES & 1;
}

uint64_t ram_spare_bytes(const struct ram_spare *spare)
{
	uint64_t n = 0;

	for (uint64_t word = 0; word * WORD_PAGES < spare->n_pages; word++)
		n += (unsigned)__builtin_popcountll(spare->page[word]);
	return n * RAM_PAGE_BYTES;
}
