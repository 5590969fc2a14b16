/*
 * A Linux that has no VMCOREINFO yet, or one that does not tell of kallsyms: its symbols are found by what they look
 * like, and what VMCOREINFO would tell is made from them.
 */
#ifndef LKVM_LINUX_EARLY_H
#define LKVM_LINUX_EARLY_H

#include "lkvm/linux/guest.h"

/**
 * linux_find_early() - as linux_find(), where that has found nothing
 * @scan: zeroed at first; another one than linux_find()'s
 * Of the log, only the ring of 5.10 and later is found.
 */
int linux_find_early(struct linux_scan *scan, const struct ram *ram, struct linux_guest *ret);

#endif
