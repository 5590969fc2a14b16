/*
 * From what the user calls a kernel to its image, its release and its modules:
 *
 *	folder of a build   arch/x86/boot/bzImage   include/config/kernel.release   modules.order here
 *	release             /boot/vmlinuz-REL       REL                             /lib/modules/REL
 *	bzImage             itself                  header                          as above
 *	vmlinux             itself                  its "Linux version"             as above
 */
#include "lkvm/vm/kernel.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "lkvm/log.h"
#include "lkvm/types.h"
#include "lkvm/x86/boot.h"

#define HEADER_AT    offsetof(struct boot_params, hdr)
#define HDRS_AT      0x202
#define VERSION_BASE 0x200 /* what kernel_version counts from */
#define STEP_BYTES   (256 * KIB)
#define BANNER_MOST  (64 * MIB) /* it stands in .rodata, far in front of debug information */

static bool exists(const char *path, mode_t type)
{
	struct stat st;

	return !stat(path, &st) && (st.st_mode & S_IFMT) == type;
}

static bool may_be_in_release(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("+-._~", c));
}

/* Up to a blank, a newline, a NUL or @len; Return: is it one that may become part of a path? */
static bool take_release(const char *text, size_t len, char ret[KERNEL_RELEASE_BYTES])
{
	size_t n = 0;

	while (n < len && may_be_in_release(text[n]))
		n++;
	if (!n || n >= KERNEL_RELEASE_BYTES || *text == '.')
		return false;
	if (n < len && text[n] != ' ' && text[n] != '\n' && text[n])
		return false;
	memcpy(ret, text, n);
	ret[n] = '\0';
	return true;
}

static void read_release_file(const char *tree, char ret[KERNEL_RELEASE_BYTES])
{
	char path[4096], text[KERNEL_RELEASE_BYTES + 1];
	ssize_t n;
	int fd;

	if (snprintf(path, sizeof(path), "%s/include/config/kernel.release", tree) >= (int)sizeof(path))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return;
	n = read(fd, text, sizeof(text));
	if (n > 0)
		take_release(text, (size_t)n, ret);
	close(fd);
}

static void release_of_bzimage(int fd, const uint8_t *head, char ret[KERNEL_RELEASE_BYTES])
{
	char text[KERNEL_RELEASE_BYTES + 1];
	struct setup_header hdr;
	ssize_t n;

	memcpy(&hdr, head + HEADER_AT, sizeof(hdr));
	if (!hdr.kernel_version)
		return;
	n = pread(fd, text, sizeof(text), VERSION_BASE + hdr.kernel_version);
	if (n > 0)
		take_release(text, (size_t)n, ret);
}

static void release_of_vmlinux(int fd, char ret[KERNEL_RELEASE_BYTES])
{
	const size_t overlap = BOOT_BANNER_BYTES;
	char *piece = malloc(STEP_BYTES), found[BOOT_RELEASE_BYTES];
	ssize_t n;

	for (off_t at = 0; piece && at < (off_t)BANNER_MOST; at += n - (ssize_t)overlap) {
		n = pread(fd, piece, STEP_BYTES, at);
		if (n > 0 && boot_banner(piece, (size_t)n, found)) {
			take_release(found, sizeof(found), ret);
			break;
		}
		if (n <= (ssize_t)overlap)
			break;
	}
	free(piece);
}

/* Return: 0, or -errno of open() */
static int release_of_image(const char *image, char ret[KERNEL_RELEASE_BYTES])
{
	uint8_t head[HEADER_AT + sizeof(struct setup_header)] = { 0 };
	int fd;

	if (!exists(image, S_IFREG)) /* nothing is taken out of a pipe, whose writer would notice */
		return 0;
	fd = open(image, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	if (pread(fd, head, sizeof(head), 0) > 0) {
		if (!memcmp(head + HDRS_AT, "HdrS", 4))
			release_of_bzimage(fd, head, ret);
		else if (!memcmp(head, "\x7f" "ELF", 4))
			release_of_vmlinux(fd, ret);
	}
	close(fd);
	return 0;
}

/* Return: 0, -ENOENT it is no folder, -ENOMEM (logged) */
__attribute__((format(printf, 3, 4)))
static int take_folder(struct kernel *k, enum kernel_modules kind, const char *fmt, ...)
{
	va_list ap;
	char *path;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&path, fmt, ap);
	va_end(ap);
	if (n < 0)
		return log_err(-ENOMEM, "kernel '%s'", k->image);
	if (!exists(path, S_IFDIR)) {
		free(path);
		return -ENOENT;
	}
	k->modules = path;
	k->kind = kind;
	return 0;
}

/* lib/modules/RELEASE: beside the image's folder (/srv/boot and /srv/lib), else of this host */
static int find_installed(const char *root, const char *beside, struct kernel *k)
{
	int err = -ENOENT;

	if (!*k->release)
		return 0;
	if (beside)
		err = take_folder(k, KERNEL_INSTALLED, "%s/lib/modules/%s", beside, k->release);
	if (err == -ENOENT)
		err = take_folder(k, KERNEL_INSTALLED, "%s/lib/modules/%s", root, k->release);
	return err == -ENOENT ? 0 : err;
}

static bool has_order(const char *tree)
{
	char path[4096];

	return snprintf(path, sizeof(path), "%s/modules.order", tree) < (int)sizeof(path) &&
	       exists(path, S_IFREG);
}

/* INSTALL_MOD_PATH may have been the tree itself; modules.order says that something is to be had. */
static int look_in_tree(const char *root, const char *tree, struct kernel *k)
{
	read_release_file(tree, k->release);
	if (!*k->release)
		release_of_image(k->image, k->release);
	if (has_order(tree))
		return take_folder(k, KERNEL_BUILT, "%s", tree);
	return find_installed(root, tree, k);
}

/* The folder that an image was built in, on the heap; NULL: none, or no memory */
static char *tree_of_image(const char *image)
{
	char *tree, *mark;
	bool is_tree;

	if (asprintf(&tree, "%.*s.", (int)boot_tree_len(image), image) < 0)
		return NULL;
	if (asprintf(&mark, "%s/include/config", tree) < 0) {
		free(tree);
		return NULL;
	}
	is_tree = exists(mark, S_IFDIR);
	free(mark);
	if (is_tree)
		return tree;
	free(tree);
	return NULL;
}

static int look_beside(const char *root, struct kernel *k)
{
	const char *slash = strrchr(k->image, '/');
	char *beside;
	int err;

	release_of_image(k->image, k->release);
	if (asprintf(&beside, "%.*s..", slash ? (int)(slash + 1 - k->image) : 0, k->image) < 0)
		return log_err(-ENOMEM, "kernel '%s'", k->image);
	err = find_installed(root, beside, k);
	free(beside);
	return err;
}

static int look_around(const char *root, struct kernel *k)
{
	char *tree = tree_of_image(k->image);
	int err = tree ? look_in_tree(root, tree, k) : look_beside(root, k);

	free(tree);
	return err;
}

static int image_of_release(const char *root, const char *name, char **ret)
{
	static const char *const place[][2] = { { "/boot/vmlinuz-", "" },
						{ "/lib/modules/", "/vmlinuz" } };
	char release[KERNEL_RELEASE_BYTES];

	if (!take_release(name, strlen(name) + 1, release) || !access(name, F_OK))
		return -ENOENT;
	for (size_t i = 0; i < ARRAY_SIZE(place); i++) {
		char *path;

		if (asprintf(&path, "%s%s%s%s", root, place[i][0], release, place[i][1]) < 0)
			return -ENOMEM;
		if (exists(path, S_IFREG)) {
			*ret = path;
			return 0;
		}
		free(path);
	}
	return -ENOENT;
}

int kernel_of_release(const char *name, char **ret)
{
	return image_of_release("", name, ret);
}

int kernel_is_linux(const char *name)
{
	char release[KERNEL_RELEASE_BYTES] = "", *image = NULL;
	int err = release_of_image(boot_find_in_tree(name, &image) ? name : image, release);

	free(image);
	return err ? log_err(err, "kernel '%s'", name) : *release != '\0';
}

/* Return: 0; -ENOENT none was named and none found (not logged), or -errno, logged */
static int find_image(const char *root, const char *name, char **ret)
{
	int err = boot_find_in_tree(name, ret);

	if (err == -ENOENT)
		return log_errx(err, "kernel '%s': is a folder with neither arch/x86/boot/bzImage nor "
				     "vmlinux in it", name);
	if (err == -ENOTDIR)
		err = image_of_release(root, name, ret);
	if (err != -ENOENT)
		return err ? log_err(err, "kernel '%s'", name) : 0;
	if (access(name, F_OK))
		return log_err(-errno, "kernel '%s'", name);
	*ret = strdup(name);
	return *ret ? 0 : log_err(-ENOMEM, "kernel '%s'", name);
}

static int find_default(const char *root, char **ret)
{
	struct utsname uts;
	char *boot_dir;
	int err;

	if (uname(&uts))
		uts.release[0] = '\0';
	if (asprintf(&boot_dir, "%s/boot", root) < 0)
		return -ENOMEM;
	err = boot_find_kernel_in(boot_dir, uts.release, ret);
	free(boot_dir);
	return err ? log_errx(err, "no kernel found: name one with -k") : 0;
}

int kernel_find_below(const char *root, const char *name, struct kernel *ret)
{
	struct kernel k = { 0 };
	int err = name ? find_image(root, name, &k.image) : find_default(root, &k.image);

	if (err)
		return err;
	err = look_around(root, &k);
	if (err) {
		kernel_free(&k);
		return err;
	}
	*ret = k;
	log_debug(LOG_BOOT, "kernel '%s', release %s, modules in %s", k.image,
		  *k.release ? k.release : "unknown", k.modules ? k.modules : "no folder");
	return 0;
}

int kernel_find(const char *name, struct kernel *ret)
{
	return kernel_find_below("", name, ret);
}

void kernel_free(struct kernel *k)
{
	free(k->image);
	free(k->modules);
	k->image = k->modules = NULL;
}
