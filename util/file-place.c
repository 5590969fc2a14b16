/* Where a file or folder is to be made; see file.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/file.h"
#include "lkvm/log.h"

int file_place_find(struct file_place *place, const char *path)
{
	size_t len = strlen(path);
	char *slash;

	while (len > 1 && path[len - 1] == '/')
		len--;
	place->path = strndup(path, len);
	if (!place->path)
		return log_err(-ENOMEM, "'%s'", path);
	slash = strrchr(place->path, '/');
	place->name = slash ? slash + 1 : place->path;
	if (!*place->name || !strcmp(place->name, ".") || !strcmp(place->name, ".."))
		return log_errx(-EINVAL, "'%s' is no name for what is to be made", path);
	if (strlen(place->name) >= FILE_PLACE_NAME_BYTES)
		return log_err(-ENAMETOOLONG, "'%s'", path);
	if (slash)
		*slash = '\0';
	place->folder_fd = open(!slash ? "." : slash == place->path ? "/" : place->path,
				O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return place->folder_fd < 0 ? log_err(-errno, "open the folder of '%s'", path) : 0;
}

void file_place_fini(struct file_place *place)
{
	if (place->folder_fd >= 0)
		close(place->folder_fd);
	free(place->path);
}
