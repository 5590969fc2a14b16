/*
 * A folder to share, for tests of fs/, in a temporary one that is also what lies outside of it:
 *
 *	secret, share/{file, big, fifo, dir/file, swap/secret}, and links in share that lead out:
 *	up -> .., out -> ../secret, dangling -> ../made, swap-link -> ..
 */
#ifndef TESTS_FOLDER_H
#define TESTS_FOLDER_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define FOLDER_SECRET "nobody's business"
#define FOLDER_BIG    (3 << 20)

static char folder_outside[64]; /* the temporary one */
static char folder[80];         /* share */
static int folder_fd = -1;

static inline void folder_need(bool ok)
{
	if (!ok) {
		perror("test folder");
		abort();
	}
}

static inline void folder_write(const char *name, const void *bytes, size_t len)
{
	int fd = openat(folder_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	folder_need(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
	close(fd);
}

static inline struct stat folder_stat(const char *name)
{
	struct stat st;

	folder_need(!fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW));
	return st;
}

static inline void folder_link(const char *from, const char *to)
{
	folder_need(!linkat(folder_fd, from, folder_fd, to, 0));
}

static inline void folder_unlink(const char *name)
{
	folder_need(!unlinkat(folder_fd, name, 0));
}

static inline void folder_chmod(const char *name, mode_t mode)
{
	folder_need(!fchmodat(folder_fd, name, mode, 0));
}

static inline void folder_exchange(const char *a, const char *b)
{
	folder_need(!renameat2(folder_fd, a, folder_fd, b, RENAME_EXCHANGE));
}

static inline void folder_symlink(const char *to, const char *name)
{
	folder_need(!symlinkat(to, folder_fd, name));
}

/* Makes it; the process's umask does not matter */
static inline void folder_make(void)
{
	static uint8_t big[FOLDER_BIG];
	const char *tmp = getenv("TMPDIR");
	mode_t old = umask(022);

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 7 + (i >> 12));
	snprintf(folder_outside, sizeof(folder_outside), "%.40s/lkvm-XXXXXX", tmp ? tmp : "/tmp");
	folder_need(mkdtemp(folder_outside));
	snprintf(folder, sizeof(folder), "%s/share", folder_outside);
	folder_need(!mkdir(folder, 0755));
	folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	folder_need(folder_fd >= 0);
	folder_write("../secret", FOLDER_SECRET, sizeof(FOLDER_SECRET));
	folder_write("file", "hello", 5);
	folder_write("big", big, sizeof(big));
	folder_need(!mkdirat(folder_fd, "dir", 0755) && !mkdirat(folder_fd, "swap", 0755));
	folder_write("dir/file", "in dir", 6);
	folder_write("swap/secret", "none", 4);
	folder_need(!mkfifoat(folder_fd, "fifo", 0644));
	folder_symlink("..", "up");
	folder_symlink("../secret", "out");
	folder_symlink("../made", "dangling");
	folder_symlink("..", "swap-link");
	umask(old);
}

static inline ino_t folder_outside_ino(void)
{
	return folder_stat("../secret").st_ino;
}

/* What lies outside has not changed. */
static inline void folder_check_outside(void)
{
	char bytes[64] = "";
	int fd = openat(folder_fd, "../secret", O_RDONLY | O_CLOEXEC);

	folder_need(fd >= 0 && read(fd, bytes, sizeof(bytes)) == sizeof(FOLDER_SECRET));
	close(fd);
	folder_need(!memcmp(bytes, FOLDER_SECRET, sizeof(FOLDER_SECRET)));
	folder_need(faccessat(folder_fd, "../made", F_OK, AT_SYMLINK_NOFOLLOW) < 0);
	folder_need(folder_stat("../secret").st_nlink == 1);
	folder_need((folder_stat("../secret").st_mode & 0777) == 0644);
}

static inline void folder_remove(void)
{
	char command[128];

	close(folder_fd);
	folder_fd = -1;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder_outside);
	folder_need(!system(command));
}

#endif
