/*
 * A window through which the guest looks into files themselves: its addresses are memory of the
 * guest's, and what is mapped there is the host's page cache (DAX).
 *
 *	|  unit  |  unit  |  unit  | ...		2 MiB each: of one file, or nothing
 *	 file...  nothing  file. zeros nothing
 *
 * All of it is reserved for as long as the window is there: a part in which nothing is mapped is not
 * there, for the guest as for lkvm. Behind the end of a file are zeros up to the end of its unit, as far as
 * anybody knows: who learns that the file is longer, and is going to tell the guest, calls window_grown()
 * before. A file that its owner cuts has pages missing, and a CPU that touches one is stopped by KVM, or
 * stands still: KVM may hope for the page, in vain, and tells nobody. So somebody has to look now and then:
 * window_look() puts zeros there, too.
 *
 * Any thread.
 */
#ifndef FS_WINDOW_H
#define FS_WINDOW_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lkvm/fs.h"

#define WINDOW_SHIFT 21
#define WINDOW_UNIT  (1U << WINDOW_SHIFT) /* what Linux maps at a time, and a large page */

_Static_assert(WINDOW_UNIT == FS_WINDOW_UNIT, "both");

struct window;
struct state_buf;
struct state_reader;
struct state_type;

/* What is to be mapped. */
struct window_file {
	uint64_t node; /* its number, for those below that look for it */
	int fd;        /* open to read and, for @writable, to write; may be closed afterwards; -1: zeros, it is gone */
	uint64_t off;  /* a multiple of WINDOW_UNIT */
	bool writable;
};

/** window_new() - @bytes: a multiple of WINDOW_UNIT, at most FS_WINDOW_MOST; Return: 0, -ENOMEM */
int window_new(uint64_t bytes, struct window **ret);
/** window_free() - no CPU of the guest's runs any more; takes NULL */
void window_free(struct window *w);
/** window_memory() - its beginning, aligned to WINDOW_UNIT; Return: NULL for NULL */
void *window_memory(const struct window *w);

/**
 * window_map() - let [@at, @at + @bytes) be this part of a file, instead of what was there
 * @at: a multiple of WINDOW_UNIT; @bytes: of the page size. The rest of the last unit is nothing then.
 * Return: 0; -EINVAL: not so, or not in the window, or no such part of a file; -errno of mmap(): then it is
 * as it was, or nothing
 */
int window_map(struct window *w, uint64_t at, uint64_t bytes, const struct window_file *file);
/** window_unmap() - all units of which this is a part are nothing; Return: 0, -EINVAL, -ENOMEM */
int window_unmap(struct window *w, uint64_t at, uint64_t bytes);
/** window_clear() - all are nothing */
void window_clear(struct window *w);
/** window_mapped() - how many units are of files */
unsigned window_mapped(struct window *w);

/** window_each() - of each unit that is of a file, where it is, how much, of what; Return: 0, or what @each did */
int window_each(struct window *w, int (*each)(void *arg, uint64_t at, uint32_t bytes, const struct window_file *file),
		void *arg);

/**
 * window_look() - has a file become shorter? What was there of it is zeros then
 * @size_of: how long the file @node is; UINT64_MAX: it is not known. It may wait for the host.
 * Return: was there one?
 */
bool window_look(struct window *w, uint64_t (*size_of)(void *arg, uint64_t node), void *arg);
/**
 * window_is_behind() - file @node is @size long: has it something of which there are zeros?
 * Then the guest is not to know that size before window_grown().
 */
bool window_is_behind(struct window *w, uint64_t node, uint64_t size);
/**
 * window_grown() - all of this file that is mapped is there, as long as it is now
 * @file: as above; @file->off is ignored
 * Return: 0; -errno: it is as it was
 */
int window_grown(struct window *w, const struct window_file *file);

/* ---- window-state.c ---- */

extern const struct state_type window_state_type; /* for the test of its table */
/** window_save() - append what is mapped; Return: 0 or -ENOMEM */
int window_save(struct window *w, struct state_buf *buf);
/**
 * window_load() - map it again, in one in which nothing is
 * @open: the file, for a moment; Return: a descriptor, or -1: there are zeros then; @close: as it was opened
 * Return: 0, -ENOMEM, -errno of window_map() or state_unpack(), with in->why
 */
int window_load(struct window *w, struct state_reader *in, int (*open)(void *arg, const struct window_file *file),
		void (*close)(void *arg, int fd), void *arg);

#endif
