/* No kernel was named: where users and kernel developers keep theirs. */
#include "boot-internal.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Return: 0 and a copy of @path if it is a file that access(2) allows @mode for, else -ENOENT */
static int take(const char *path, int mode, char **ret)
{
	struct stat st;
	char *copy;

	if (stat(path, &st) || !S_ISREG(st.st_mode) || access(path, mode))
		return -ENOENT;
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return 0;
}

static int take_release(const char *boot_dir, const char *release, int mode, char **ret)
{
	char *path;
	int err;

	if (asprintf(&path, "%s/vmlinuz-%s", boot_dir, release) < 0)
		return -ENOMEM;
	err = take(path, mode, ret);
	free(path);
	return err;
}

static int newest(const glob_t *g, int mode, char **ret)
{
	struct timespec best = { 0 };
	const char *path = NULL;

	for (size_t i = 0; i < g->gl_pathc; i++) {
		struct stat st;

		if (stat(g->gl_pathv[i], &st) || !S_ISREG(st.st_mode) ||
		    access(g->gl_pathv[i], mode))
			continue;
		if (path &&
		    (st.st_mtim.tv_sec < best.tv_sec ||
		     (st.st_mtim.tv_sec == best.tv_sec && st.st_mtim.tv_nsec < best.tv_nsec)))
			continue;
		path = g->gl_pathv[i];
		best = st.st_mtim;
	}
	return path ? take(path, mode, ret) : -ENOENT;
}

static int take_newest(const char *boot_dir, int mode, char **ret)
{
	glob_t g = { 0 };
	char *pattern;
	int err = -ENOENT;

	if (asprintf(&pattern, "%s/vmlinuz-*", boot_dir) < 0)
		return -ENOMEM;
	if (!glob(pattern, 0, NULL, &g))
		err = newest(&g, mode, ret);
	globfree(&g);
	free(pattern);
	return err;
}

size_t boot_tree_len(const char *image)
{
	static const char boot[] = "arch/x86/boot/";
	const size_t below = sizeof(boot) - 1;
	const char *slash = strrchr(image, '/');
	size_t len = slash ? (size_t)(slash + 1 - image) : 0;

	if (len >= below && !memcmp(image + len - below, boot, below))
		len -= below;
	return len;
}

int boot_find_in_tree(const char *path, char **ret)
{
	static const char *const images[] = { "arch/x86/boot/bzImage", "bzImage", "vmlinux" };
	struct stat st;
	int err = -ENOENT;

	if (stat(path, &st) || !S_ISDIR(st.st_mode))
		return -ENOTDIR;
	for (size_t i = 0; err == -ENOENT && i < ARRAY_SIZE(images); i++) {
		char *image;

		if (asprintf(&image, "%s/%s", path, images[i]) < 0)
			return -ENOMEM;
		err = take(image, F_OK, ret);
		free(image);
	}
	return err;
}

static int find(const char *boot_dir, const char *release, int mode, char **ret)
{
	static const char *const tree[] = { "./bzImage", "arch/x86/boot/bzImage", "./vmlinux" };
	int err = -ENOENT;

	for (size_t i = 0; err == -ENOENT && i < ARRAY_SIZE(tree); i++)
		err = take(tree[i], mode, ret);
	if (err == -ENOENT)
		err = take_release(boot_dir, release, mode, ret);
	if (err == -ENOENT)
		err = take_newest(boot_dir, mode, ret);
	return err;
}

int boot_find_kernel_in(const char *boot_dir, const char *release, char **ret)
{
	int err = find(boot_dir, release, R_OK, ret);

	/* Some distributions let only root read /boot. Opening the kernel will say so. */
	if (err == -ENOENT)
		err = find(boot_dir, release, F_OK, ret);
	return err;
}

int boot_find_kernel(char **ret)
{
	struct utsname uts;

	if (uname(&uts))
		uts.release[0] = '\0';
	return boot_find_kernel_in("/boot", uts.release, ret);
}
