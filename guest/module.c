/* See module.h. */
#include "module.h"

#include "sys.h"

#include <errno.h>
#include <fcntl.h>

static long load_module(const char *path)
{
	long fd = SYS(open, path, O_RDONLY | O_CLOEXEC), err;

	if (fd < 0)
		return complain(fd, "module", path);
	err = SYS(finit_module, fd, "", 0);
	SYS(close, fd);
	if (!err || err == -EEXIST)
		return 0;
	return complain(err, err == -ENOENT ? "symbol of module" : "module", path);
}

void load_modules(const char *list)
{
	size_t len = 0;
	char *at = read_all(list, &len), *line = at;

	for (size_t i = 0; at && i < len; i++) {
		if (at[i] != '\n')
			continue;
		at[i] = '\0';
		load_module(line);
		line = at + i + 1;
	}
}
