/* A folder for one test, which is the current one in it, and files in that. */
#ifndef TESTS_OWN_FOLDER_H
#define TESTS_OWN_FOLDER_H

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

static char own_folder[64];

static inline void enter_own_folder(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(own_folder, sizeof(own_folder), "%.40s/lkvm-XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(own_folder));
	ck_assert_int_eq(chdir(own_folder), 0);
}

static inline void leave_own_folder(void)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf '%s'", own_folder);
	ck_assert_int_eq(system(command), 0);
}

/* A file, and the folders that its name has */
static inline void put(const char *path, const void *bytes, size_t len)
{
	char folder[128];
	int fd;

	for (const char *at = path; (at = strchr(at, '/')); at++) {
		snprintf(folder, sizeof(folder), "%.*s", (int)(at - path), path);
		mkdir(folder, 0755);
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	ck_assert_msg(fd >= 0, "%s", path);
	ck_assert_int_eq(write(fd, bytes, len), (ssize_t)len);
	close(fd);
}

static inline void put_text(const char *path, const char *text)
{
	put(path, text, strlen(text));
}

#endif
