/* Reading and writing a part of a file; see file.h. */
#include "lkvm/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

ssize_t file_read(int fd, void *dst, size_t len, uint64_t at)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)dst + done, len - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int file_write(int fd, const void *src, size_t len, uint64_t at)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(fd, (const char *)src + done, len - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

bool file_is_in(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	if (len == 1) /* the root */
		return true;
	return !strncmp(path, folder, len) && (path[len] == '/' || !path[len]);
}

unsigned file_temp_folders(const char *ret[FILE_TEMP_FOLDERS])
{
	const char *own = getenv("TMPDIR");

	ret[0] = own && *own ? own : "/var/tmp";
	ret[1] = "/tmp";
	return own && *own ? 1 : 2;
}

uint64_t file_raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 0;
	if (limit.rlim_cur == limit.rlim_max)
		return limit.rlim_cur;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) && getrlimit(RLIMIT_NOFILE, &limit))
		return 0;
	return limit.rlim_cur;
}
