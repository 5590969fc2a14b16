/* Reading and writing a part of a file, and whether a path is below another. Any thread. */
#ifndef LKVM_FILE_H
#define LKVM_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * file_read() - the bytes from @at on, whatever pieces they come in
 * Return: how many: less than @len only where the file ends; or -errno of pread()
 */
ssize_t file_read(int fd, void *dst, size_t len, uint64_t at);

/** file_write() - all of it; async-signal-safe; Return: 0, or -errno of pwrite() (-EIO: it took nothing) */
int file_write(int fd, const void *src, size_t len, uint64_t at);

/** file_is_in() - is @path @folder, or below it? Absolute ones, without links and slashes at their ends */
bool file_is_in(const char *path, const char *folder);

#endif
