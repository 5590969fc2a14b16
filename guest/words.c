/* Becoming a command: its records, its user and folder, the search along PATH. See words.h. */
#include "words.h"

#include <errno.h>

#define PATH_MOST    4096
#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

bool words_init(struct words *w, size_t records)
{
	*w = (struct words){ .bytes = (records + 1) * 2 * sizeof(char *) };
	w->memory = map_memory(w->bytes);
	w->argv = w->memory;
	w->envp = w->argv + records + 1;
	return w->memory;
}

void words_fini(struct words *w)
{
	if (w->memory)
		SYS(munmap, w->memory, w->bytes);
	w->memory = NULL;
}

bool words_take(struct words *w, char *record)
{
	const char *value;

	if ((value = text_behind(record, "arg=")))
		w->argv[w->argc++] = record + (value - record);
	else if ((value = text_behind(record, "env=")))
		w->envp[w->envc++] = record + (value - record);
	else if ((value = text_behind(record, "cwd=")))
		w->cwd = value;
	else if ((value = text_behind(record, "user=")))
		w->user = value;
	return value;
}

static bool has_slash(const char *name)
{
	for (; *name; name++)
		if (*name == '/')
			return true;
	return false;
}

/* Whether execvp(3) tries the next folder then */
static bool goes_on(long err)
{
	return err == -ENOENT || err == -ENOTDIR || err == -EACCES || err == -ESTALE || err == -ENODEV ||
	       err == -ETIMEDOUT;
}

/* A folder after the other, until there is one that can be run. Return: -errno */
static long search(const struct words *w, const char *folders)
{
	const char *name = w->argv[0];
	const size_t name_len = text_len(name);
	char path[PATH_MOST];
	long err = -ENOENT, rc;

	if (!name_len)
		return err;
	for (;; folders++) {
		size_t n = 0;

		while (folders[n] && folders[n] != ':')
			n++;
		if (n + name_len + 2 <= sizeof(path)) {
			memcpy(path, folders, n);
			path[n] = '/';
			memcpy(path + n + 1, name, name_len + 1);
			rc = SYS(execve, n ? path : name, w->argv, w->envp);
			if (!goes_on(rc))
				return rc;
			if (rc == -EACCES)
				err = rc;
		}
		folders += n;
		if (!*folders)
			return err;
	}
}

static long run(const struct words *w)
{
	const char *folders = PATH_DEFAULT, *value;

	if (has_slash(w->argv[0]))
		return SYS(execve, w->argv[0], w->argv, w->envp);
	for (char **e = w->envp; *e; e++)
		if ((value = text_behind(*e, "PATH=")))
			folders = value;
	return search(w, folders);
}

void words_exec(const struct words *w, struct failure *ret)
{
	long err = w->user ? user_become(w->user, w->owns_streams) : 0;

	*ret = (struct failure){ err, "user", w->user, STATUS_NO_EXEC };
	if (err)
		return;
	err = w->cwd ? SYS(chdir, w->cwd) : 0;
	*ret = (struct failure){ err, "folder", w->cwd, STATUS_NO_EXEC };
	if (err)
		return;
	err = run(w);
	*ret = (struct failure){ err, "run", w->argv[0],
				 err == -ENOENT || err == -ENOTDIR ? STATUS_NO_SUCH : STATUS_NO_EXEC };
}
