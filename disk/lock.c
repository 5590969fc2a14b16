/*
 * One guest an image. The locks belong to the open file, so they end with it, however lkvm ends.
 * Between lkvms it is flock(), whose owner /proc/locks tells.
 *
 * QEMU and its tools (our own qemu-nbd, which may have a raw file as its backing file) lock bytes
 * of the file instead: each for something that is done with the image, or must not be done by
 * others meanwhile. Raw files are locked in that way as well.
 */
#include "disk-internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lkvm/log.h"

/* Return: a process that has a flock() on the file, 0 if /proc/locks tells none */
static int lock_owner(int fd)
{
	char line[256];
	struct stat st;
	int owner = 0;
	FILE *f;

	if (fstat(fd, &st))
		return 0;
	f = fopen("/proc/locks", "re");
	while (f && !owner && fgets(line, sizeof(line), f)) {
		unsigned major_nr, minor_nr;
		uint64_t inode;
		int pid;

		if (sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%" SCNu64, &pid, &major_nr, &minor_nr,
			   &inode) == 4 &&
		    inode == st.st_ino && makedev(major_nr, minor_nr) == st.st_dev)
			owner = pid;
	}
	if (f)
		fclose(f);
	return owner > 0 ? owner : 0;
}

static int in_use(const char *name, const char *how, int owner)
{
	if (owner == getpid())
		return log_errx(-EBUSY, "disk '%s' is given twice, and the guest may write to it", name);
	if (owner)
		return log_errx(-EBUSY, "disk '%s' is in use%s by process %d", name, how, owner);
	return log_errx(-EBUSY, "disk '%s' is in use%s by another process", name, how);
}

int disk_lock(int fd, const char *name, bool exclusive)
{
	const char *how = exclusive ? "" : " for writing";

	if (!flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB))
		return 0;
	if (errno != EWOULDBLOCK)
		return log_err(-errno, "lock disk '%s'", name);
	return in_use(name, how, lock_owner(fd));
}

/* ---- QEMU's locks ---- */

#define DOES    100 /* the bytes from here on: who holds one does this */
#define FORBIDS 200 /* and from here on: does not want others to */
#define READ    0
#define WRITE   1
#define RESIZE  3

static bool has_fd_on(int proc, const char *pid, const struct stat *file)
{
	char path[300];
	struct dirent *entry;
	bool found = false;
	struct stat st;
	DIR *fds;
	int dir;

	snprintf(path, sizeof(path), "%s/fd", pid);
	dir = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fds = dir < 0 ? NULL : fdopendir(dir);
	while (fds && !found && (entry = readdir(fds)))
		found = !fstatat(dirfd(fds), entry->d_name, &st, 0) && st.st_ino == file->st_ino &&
			st.st_dev == file->st_dev;
	if (fds)
		closedir(fds);
	else if (dir >= 0)
		close(dir);
	return found;
}

/* Byte locks have no owner that the kernel tells. Return: a process that has the file open, or 0 */
static int user_of(int fd)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	struct stat file;
	int user = 0;

	while (proc && !user && (entry = readdir(proc))) {
		int pid = (int)strtol(entry->d_name, NULL, 10); /* 0: not a process */

		if (pid > 0 && pid != getpid() && !fstat(fd, &file) &&
		    has_fd_on(dirfd(proc), entry->d_name, &file))
			user = pid;
	}
	if (proc)
		closedir(proc);
	return user;
}

static void lock_byte(int fd, off_t at)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1 };

	/* Nobody locks these bytes for writing; a file system that knows no such locks does
	 * without. */
	if (fcntl(fd, F_OFD_SETLK, &lock))
		log_debug(LOG_DEVICE, "lock of byte %d: %s", (int)at, strerror(errno));
}

static bool is_locked(int fd, off_t at)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1 };

	return !fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;
}

static bool forbidden(int fd, bool writes)
{
	return is_locked(fd, FORBIDS + READ) || (writes && is_locked(fd, FORBIDS + WRITE));
}

static bool done_by_others(int fd, bool writes)
{
	return is_locked(fd, DOES + WRITE) || is_locked(fd, DOES + RESIZE) ||
	       (writes && is_locked(fd, DOES + READ));
}

int disk_lock_bytes(int fd, const char *name, bool writes)
{
	lock_byte(fd, DOES + READ);
	lock_byte(fd, FORBIDS + WRITE);
	lock_byte(fd, FORBIDS + RESIZE);
	if (writes) {
		lock_byte(fd, DOES + WRITE);
		lock_byte(fd, FORBIDS + READ);
	}
	/* Only now: of two that do this at the same time at least one sees the other. */
	if (forbidden(fd, writes) || done_by_others(fd, writes))
		return in_use(name, writes ? "" : " for writing", user_of(fd));
	return 0;
}
