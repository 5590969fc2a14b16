/* What the two kinds of log share; nobody else includes this. */
#ifndef LINUX_PRINTK_INTERNAL_H
#define LINUX_PRINTK_INTERNAL_H

#include "lkvm/linux/printk.h"

/* One key of VMCOREINFO that is a size or an offset: added to a field of the layout. */
struct linux_log_key {
	const char *key;
	size_t field; /* offset in struct linux_log_layout */
	bool is_optional;
};

/** linux_log_keys() - fill in what a table lists; Return: 0, -ENOENT, or -EBADMSG: more than @most */
int linux_log_keys(const struct linux_guest *guest, const struct linux_log_key *keys, size_t n, uint32_t most,
		   struct linux_log_layout *ret);
/** linux_log_fields() - the numbers of 16 and 8 bits that stand together in both kinds */
void linux_log_fields(const uint8_t *flags, struct linux_record *ret);

/* linux/printk-old.c */
int linux_old_log_open(struct linux_log *log);
void linux_old_log_seek(struct linux_log *log, uint64_t from);
int linux_old_log_next(struct linux_log *log, struct linux_record *ret);

#endif
