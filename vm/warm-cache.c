/* The folder of the warm starts; see lkvm/vm/warm.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/ram.h"
#include "lkvm/vm/snapshot-write.h"
#include "lkvm/vm/warm.h"

/* ---- the section ---- */

static const struct state_field section_fields[] = {
	STATE_ONE(struct warm_section, recipe_n, .max = sizeof(((struct warm_section *)0)->recipe)),
	STATE_ONE(struct warm_section, cmdline_n, .max = sizeof(((struct warm_section *)0)->cmdline)),
	STATE_ONE(struct warm_section, release_n, .max = sizeof(((struct warm_section *)0)->release)),
	STATE_SOME(struct warm_section, recipe, recipe_n),
	STATE_SOME(struct warm_section, cmdline, cmdline_n),
	STATE_SOME(struct warm_section, release, release_n),
};

static const char *section_check(const void *state)
{
	const struct warm_section *st = state;

	if (!state_is_text(st->recipe, st->recipe_n))
		return "recipe";
	if (!state_is_text(st->cmdline, st->cmdline_n))
		return "cmdline";
	return state_is_text(st->release, st->release_n) ? NULL : "release";
}

const struct state_type warm_section_type = {
	STATE_TYPE("warm", 1, struct warm_section, section_fields),
	.check = section_check,
};

/* ---- the folder ---- */

/* FNV-1a, of 64 bits */
void warm_key(const char *recipe, char ret[WARM_KEY_BYTES])
{
	uint64_t hash = 0xcbf29ce484222325;

	for (; *recipe; recipe++)
		hash = (hash ^ (uint8_t)*recipe) * 0x100000001b3;
	snprintf(ret, WARM_KEY_BYTES, "%016llx", (unsigned long long)hash);
}

/* With those above it, which are as others make them; its own is for nobody else. */
static int make_folders(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0777) && errno != EEXIST) {
			*slash = '/';
			return -errno;
		}
		*slash = '/';
	}
	return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

static int choose_folder(char **ret_path)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int len;

	if (cache && *cache == '/')
		len = asprintf(ret_path, "%s/lkvm/warm", cache);
	else if (home && *home == '/')
		len = asprintf(ret_path, "%s/.cache/lkvm/warm", home);
	else
		return -ENOENT;
	return len < 0 ? -ENOMEM : 0;
}

/* What is in it becomes a guest's RAM. */
static int open_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (!fstat(fd, &st) && st.st_uid == geteuid() && !(st.st_mode & 022))
		return fd;
	close(fd);
	return -EPERM;
}

int warm_folder(char **ret_path)
{
	char *path = NULL;
	int fd = choose_folder(&path);

	if (!fd)
		fd = open_folder(path);
	if (fd == -ENOENT && path) {
		fd = make_folders(path);
		if (!fd)
			fd = open_folder(path);
	}
	if (fd < 0)
		free(path);
	else
		*ret_path = path;
	return fd;
}

/* ---- what is in it ---- */

static bool is_key(const char *name)
{
	return strlen(name) == WARM_KEY_BYTES - 1 && strspn(name, "0123456789abcdef") == WARM_KEY_BYTES - 1;
}

static int look_at(int folder_fd, const char *key, struct warm_entry *ret)
{
	static const char *const parts[] = { "", "/state", "/ram" };
	char path[WARM_KEY_BYTES + 8];
	struct stat st;

	memcpy(ret->key, key, WARM_KEY_BYTES);
	ret->bytes = 0;
	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", key, parts[i]);
		if (fstatat(folder_fd, path, &st, AT_SYMLINK_NOFOLLOW))
			return -errno;
		ret->bytes += (uint64_t)st.st_blocks * 512;
		if (!i)
			ret->used = st.st_mtim;
	}
	return 0;
}

static int by_use(const void *a, const void *b)
{
	const struct timespec *s = &((const struct warm_entry *)a)->used, *t = &((const struct warm_entry *)b)->used;

	if (s->tv_sec != t->tv_sec)
		return s->tv_sec < t->tv_sec ? 1 : -1;
	return s->tv_nsec < t->tv_nsec ? 1 : s->tv_nsec > t->tv_nsec ? -1 : 0;
}

static int add_entry(int folder_fd, const char *name, struct warm_entry **list, int n)
{
	struct warm_entry entry, *more;

	if (!is_key(name) || look_at(folder_fd, name, &entry))
		return n; /* no entry, or it goes at this moment */
	more = reallocarray(*list, (size_t)n + 1, sizeof(**list));
	if (!more)
		return -ENOMEM;
	*list = more;
	more[n] = entry;
	return n + 1;
}

int warm_entries(int folder_fd, struct warm_entry **ret)
{
	int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), n = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	*ret = NULL;
	if (!dir) {
		int err = -errno;

		if (fd >= 0)
			close(fd);
		return err;
	}
	while (n >= 0 && (entry = readdir(dir)))
		n = add_entry(folder_fd, entry->d_name, ret, n);
	closedir(dir);
	if (n < 0)
		free(*ret);
	else if (n)
		qsort(*ret, (size_t)n, sizeof(**ret), by_use);
	return n;
}

int warm_limit(uint64_t *ret)
{
	const char *text = getenv("LKVM_WARM_LIMIT");
	enum ram_size_error why;

	*ret = WARM_DEFAULT_LIMIT;
	if (!text || !*text)
		return 0;
	why = ram_parse_size(text, ret);
	if (why == RAM_SIZE_ZERO)
		*ret = 0;
	else if (why != RAM_SIZE_OK && why != RAM_SIZE_SMALL)
		return -EINVAL;
	return 0;
}

void warm_shrink(int folder_fd, uint64_t limit, const char *kept)
{
	struct warm_entry *list;
	int n = warm_entries(folder_fd, &list);
	uint64_t sum = 0;

	for (int i = 0; i < n; i++) {
		sum += list[i].bytes;
		if (sum <= limit || (kept && !strcmp(list[i].key, kept)))
			continue;
		sum -= list[i].bytes;
		snapshot_remove(folder_fd, list[i].key);
	}
	if (n >= 0)
		free(list);
}
