/*
 * The kernel's log, read from its memory: the ring of descriptors that Linux has had since 5.10, and the buffer of
 * records of before. VMCOREINFO names their fields. While the guest runs, records come and go under our
 * hands: one that has changed meanwhile is left out.
 */
#ifndef LKVM_LINUX_PRINTK_H
#define LKVM_LINUX_PRINTK_H

#include "lkvm/linux/guest.h"

#define LINUX_TEXT_BYTES 8192 /* of one record at most; the kernel's own are shorter than 2 KiB */

enum { LINUX_RECORD_NEWLINE = 2, LINUX_RECORD_CONT = 8 }; /* Linux's LOG_NEWLINE and LOG_CONT */

struct linux_record {
	uint64_t seq;
	uint64_t ts_ns;    /* since boot */
	uint32_t caller;   /* bit 31 is set: the number of a CPU; else that of a task */
	bool has_caller;
	uint8_t facility, level, flags;
	uint32_t len;
	char text[LINUX_TEXT_BYTES];
};

/* Sizes and offsets that VMCOREINFO tells, judged. */
struct linux_log_layout {
	uint32_t desc_bytes, state, begin, next; /* of a descriptor; counted in it */
	uint32_t info_bytes, seq, ts, text_len, caller; /* of what is known of a record */
	uint32_t len, dict_len; /* of a record of the old buffer, which has ts, text_len and caller, too */
};

/* A log, and where in it is being read. Filled by linux_log_open(). */
struct linux_log {
	const struct linux_guest *guest;
	struct linux_log_layout layout;
	bool is_old;        /* the buffer of records */
	bool finished_only; /* the caller's: leave a line out to which more may come */
	uint64_t text, text_bytes;    /* the ring of texts, or the buffer */
	uint64_t descs, infos, count; /* new: of descriptors */
	uint64_t first, end; /* ids of descriptors, or offsets of records; @end is the first that is not there */
	uint64_t at;
	uint64_t next;       /* what linux_log_tell() says */
	uint64_t left;       /* so many steps at most, whatever the guest has in there */
	uint64_t seq;        /* old: of the record at @at, counted from the first one */
	bool wrapped;        /* old: it has gone on at the buffer's start, as it may once */
};

/**
 * linux_log_open() - at the first record that is there
 * Return: 0; -ENOENT: VMCOREINFO does not tell of a log; -EFAULT: it cannot be read; -EBADMSG: what is there
 *	can be none
 */
int linux_log_open(const struct linux_guest *guest, struct linux_log *ret);
/**
 * linux_log_seek() - right after linux_log_open(): go on where an earlier one was
 * @from: of its linux_log_tell(); 0: at the first. If that is not there any more: at the first that is.
 */
void linux_log_seek(struct linux_log *log, uint64_t from);
/** linux_log_tell() - where what was not read yet begins */
uint64_t linux_log_tell(const struct linux_log *log);
/** linux_log_next() - Return: 0; -ENODATA: there are no more; -EBADMSG: it is damaged here, and ends */
int linux_log_next(struct linux_log *log, struct linux_record *ret);

#endif
