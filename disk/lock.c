/*
 * One guest an image. flock() locks belong to the open file, so they end with it, however lkvm
 * ends; they tell nobody who has them, but /proc/locks does.
 */
#include "disk-internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

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

int disk_lock(int fd, const char *name, bool exclusive)
{
	const char *how = exclusive ? "" : " for writing";
	int owner;

	if (!flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB))
		return 0;
	if (errno != EWOULDBLOCK)
		return log_err(-errno, "lock disk '%s'", name);
	owner = lock_owner(fd);
	if (owner)
		return log_errx(-EBUSY, "disk '%s' is in use%s by process %d", name, how, owner);
	return log_errx(-EBUSY, "disk '%s' is in use%s by another process", name, how);
}
