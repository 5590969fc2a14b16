/* The folder of a snapshot as whoever replaces or removes it sees it; see vm/snapshot-write.h. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/types.h"
#include "lkvm/vm/snapshot-write.h"
#include "lkvm/vm/snapshot.h"

static bool is_numbered(const char *name, const char *begin)
{
	const size_t n = strlen(begin);

	return !strncmp(name, begin, n) && name[n] && name[n + strspn(name + n, "0123456789")] == '\0';
}

static bool is_part(const char *name)
{
	static const char *const names[] = { SNAPSHOT_STATE, SNAPSHOT_RAM, SNAPSHOT_WRITTEN, SNAPSHOT_FIRMWARE,
					     SNAPSHOT_VARS, SNAPSHOT_TOLD };

	if (is_numbered(name, "disk") || is_numbered(name, "rom"))
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

static DIR *open_folder(int folder_fd, const char *name)
{
	int fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (fd >= 0 && !dir)
		close(fd);
	return dir;
}

void snapshot_remove(int folder_fd, const char *name)
{
	DIR *dir = open_folder(folder_fd, name);
	const struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (is_part(entry->d_name))
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	unlinkat(folder_fd, name, AT_REMOVEDIR);
}

static bool has_parts_only(DIR *dir)
{
	const struct dirent *entry;
	bool only = true;

	while (only && (entry = readdir(dir)))
		only = is_part(entry->d_name) || !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
	return only;
}

/* ---- what others have left ---- */

static bool is_temp(const char *name)
{
	const size_t len = strlen(SNAPSHOT_TEMP);

	return !strncmp(name, SNAPSHOT_TEMP, len) && strlen(name) == SNAPSHOT_TEMP_BYTES - 1 &&
	       strspn(name + len, "0123456789abcdef") == SNAPSHOT_TEMP_BYTES - 1 - len;
}

bool snapshot_is_named(int folder_fd, const char *name, int fd)
{
	struct stat is, named;

	return !fstat(fd, &is) && !fstatat(folder_fd, name, &named, AT_SYMLINK_NOFOLLOW) &&
	       is.st_dev == named.st_dev && is.st_ino == named.st_ino;
}

static bool is_own(int fd)
{
	struct stat is;

	return !fstat(fd, &is) && is.st_uid == geteuid();
}

/* With the lock nobody gives it another name, but it may have got one before. */
static bool is_left(int folder_fd, const char *name, int fd)
{
	return is_own(fd) && !flock(fd, LOCK_EX | LOCK_NB) && snapshot_is_named(folder_fd, name, fd);
}

void snapshot_sweep(int folder_fd)
{
	DIR *folder = open_folder(folder_fd, ".");
	const struct dirent *entry;

	while (folder && (entry = readdir(folder))) {
		DIR *dir = is_temp(entry->d_name) ? open_folder(folder_fd, entry->d_name) : NULL;

		if (dir && is_left(folder_fd, entry->d_name, dirfd(dir)) && has_parts_only(dir))
			snapshot_remove(folder_fd, entry->d_name);
		if (dir)
			closedir(dir);
	}
	if (folder)
		closedir(folder);
}

/* ---- an older one ---- */

static bool has_magic(int dir_fd)
{
	char magic[sizeof(SNAPSHOT_MAGIC) - 1];
	int fd = openat(dir_fd, SNAPSHOT_STATE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	bool has = fd >= 0 && read(fd, magic, sizeof(magic)) == (ssize_t)sizeof(magic) &&
		   !memcmp(magic, SNAPSHOT_MAGIC, sizeof(magic));

	if (fd >= 0)
		close(fd);
	return has;
}

bool snapshot_is_there(int folder_fd, const char *name)
{
	DIR *dir = open_folder(folder_fd, name);
	const bool is = dir && has_magic(dirfd(dir)) && has_parts_only(dir);

	if (dir)
		closedir(dir);
	return is;
}
