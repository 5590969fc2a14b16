/*
 * Copying to and from memory that may not be there: a mapping of a file has pages only as far as the
 * file goes, and whoever owns the file can cut it at any time. Any thread.
 */
#ifndef LKVM_COPY_H
#define LKVM_COPY_H

#include <stddef.h>

/** copy_read() - Return: 0, or -EFAULT where there is not all of it; then @dst may be changed in part */
int copy_read(void *dst, const void *from, size_t len);
/** copy_write() - likewise; -EFAULT also where it may not be written */
int copy_write(void *to, const void *src, size_t len);

#endif
