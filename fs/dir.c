/* Reading the folders that a file server's guest has open. See server.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server.h"

#define ENTRIES_BYTES (16 * 1024)

void dir_init(struct dir_reader *d)
{
	*d = (struct dir_reader){ .entries = NULL };
	pthread_mutex_init(&d->lock, NULL);
}

void dir_fini(struct dir_reader *d)
{
	pthread_mutex_destroy(&d->lock);
	free(d->entries);
}

int dir_seek(struct dir_reader *d, int fd, uint64_t off)
{
	if (!d->entries) {
		d->entries = malloc(ENTRIES_BYTES);
		if (!d->entries)
			return -ENOMEM;
	} else if (off == d->next_off) {
		return 0;
	}
	d->at = d->len = 0;
	d->next_off = off;
	if (off > INT64_MAX)
		return -EINVAL;
	return lseek(fd, (off_t)off, SEEK_SET) < 0 ? -errno : 0;
}

const struct dir_entry *dir_peek(struct dir_reader *d, int fd, int *ret_err)
{
	long got;

	*ret_err = 0;
	if (d->at < d->len)
		return (const void *)(d->entries + d->at);
	got = syscall(SYS_getdents64, fd, d->entries, ENTRIES_BYTES);
	if (got <= 0) {
		*ret_err = got < 0 ? -errno : 0;
		return NULL;
	}
	d->at = 0;
	d->len = (unsigned)got;
	return (const void *)d->entries;
}

void dir_take(struct dir_reader *d, const struct dir_entry *e)
{
	d->next_off = (uint64_t)e->off;
	d->at += e->bytes;
}

bool dir_is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}
