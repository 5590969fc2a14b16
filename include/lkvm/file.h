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

#define FILE_TEMP_FOLDERS 2

/**
 * file_temp_folders() - where large temporary files may be, the best first
 * The one that the user wants, TMPDIR, or none; else on a disk rather than in memory: /tmp is often the latter.
 * Return: how many
 */
unsigned file_temp_folders(const char *ret[FILE_TEMP_FOLDERS]);

/**
 * file_raise_limit() - as many open files as this process may have
 * A live disk takes eight, a folder as many as its guest has seen: the usual limit of 1024 is soon reached.
 * Return: how many that are now, 0 if the host does not tell
 */
uint64_t file_raise_limit(void);

/**
 * file_sample() - util/file-sample.c: a checksum of some of it, all over its @bytes; of 256 KiB and less it is all
 * So that a file whose times were set back is not taken for what it was.
 * Return: 0 or -errno
 */
int file_sample(int fd, uint64_t bytes, uint32_t *ret);

#define FILE_PLACE_NAME_BYTES 256 /* of a name, with a NUL */

/* util/file-place.c: where something is to be made: in this folder, by this name. Zeroed, but for the fd: -1 */
struct file_place {
	int folder_fd;
	char *path; /* heap; @name is in it */
	const char *name;
};

/** file_place_find() - of a path as the user writes it; Return: 0, or -errno, logged; then file_place_fini() */
int file_place_find(struct file_place *place, const char *path);
void file_place_fini(struct file_place *place);

/** file_is_in() - is @path @folder, or below it? Absolute ones, without links and slashes at their ends */
bool file_is_in(const char *path, const char *folder);

#endif
