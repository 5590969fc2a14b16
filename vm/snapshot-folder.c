/* The folder of a snapshot as whoever replaces or removes it sees it; see vm/snapshot-write.h. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/vm/snapshot-write.h"
#include "lkvm/vm/snapshot.h"

static bool is_part(const char *name)
{
	if (!strncmp(name, "disk", 4))
		return name[4] && name[4 + strspn(name + 4, "0123456789")] == '\0';
	return !strcmp(name, SNAPSHOT_STATE) || !strcmp(name, SNAPSHOT_RAM) || !strcmp(name, SNAPSHOT_WRITTEN);
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
	const struct dirent *entry;
	bool is = dir && has_magic(dirfd(dir));

	while (is && (entry = readdir(dir)))
		is = is_part(entry->d_name) || !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
	if (dir)
		closedir(dir);
	return is;
}
