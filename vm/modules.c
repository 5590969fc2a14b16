/*
 * The modules of a kernel: which there are, and their files. libkmod would want depmod's indexes, which
 * the folder of a build lacks; what is needed of it is a list and a few strings.
 */
#include "lkvm/vm/modules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/file.h"
#include "lkvm/log.h"
#include "lkvm/types.h"

#define FILE_MOST (64 * MIB) /* a list or a module, packed or not */

struct modules {
	const struct kernel *kernel;
	struct unpacked order, dep, builtin; /* texts; no bytes: there is none */
};

/* ---- files ---- */

static int map_fd(int fd, struct unpacked *ret)
{
	struct stat st;
	uint8_t *p;
	ssize_t n;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > FILE_MOST)
		return -EFBIG;
	if (!st.st_size)
		return 0;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	n = file_read(fd, p, (size_t)st.st_size, 0);
	if (n < st.st_size) {
		munmap(p, (size_t)st.st_size);
		return n < 0 ? (int)n : -EIO;
	}
	*ret = (struct unpacked){ .bytes = p, .len = (size_t)st.st_size };
	return 0;
}

static int open_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	return fd < 0 ? -errno : fd;
}

/* Return: 0 or -errno, not logged */
static int read_file(const char *path, struct unpacked *ret)
{
	int fd = open_file(path), err;

	if (fd < 0)
		return fd;
	err = map_fd(fd, ret);
	close(fd);
	return err;
}

int modules_read_list(const struct kernel *k, const char *name, struct unpacked *ret)
{
	char *path;
	int err;

	if (asprintf(&path, "%s/%s", k->modules, name) < 0)
		return log_err(-ENOMEM, "modules");
	err = read_file(path, ret);
	if (err && err != -ENOENT)
		log_err(err, "list of modules '%s'", path);
	free(path);
	return err == -ENOENT ? 0 : err;
}

const struct kernel *modules_kernel(const struct modules *m)
{
	return m->kernel;
}

int modules_open(const struct kernel *k, struct modules **ret)
{
	struct modules *m = calloc(1, sizeof(*m));
	int err = 0;

	if (!m)
		return log_err(-ENOMEM, "modules");
	m->kernel = k;
	if (k->modules) {
		err = modules_read_list(k, "modules.order", &m->order);
		if (!err)
			err = modules_read_list(k, "modules.dep", &m->dep);
		if (!err)
			err = modules_read_list(k, "modules.builtin", &m->builtin);
	}
	if (err) {
		modules_close(m);
		return err;
	}
	*ret = m;
	return 0;
}

void modules_close(struct modules *m)
{
	if (!m)
		return;
	unpacked_free(&m->order);
	unpacked_free(&m->dep);
	unpacked_free(&m->builtin);
	free(m);
}

/* ---- lists: a path a line, ".../NAME.ko", of newer builds ".../NAME.o", in modules.dep with ':' behind ---- */

static bool same_letter(char a, char b)
{
	return (a == '-' ? '_' : a) == (b == '-' ? '_' : b);
}

static bool is_name(const char *base, size_t len, const char *name)
{
	size_t i;

	for (i = 0; i < len && name[i]; i++)
		if (!same_letter(base[i], name[i]))
			return false;
	return !name[i] && len - i >= 2 && base[i] == '.' && (base[i + 1] == 'k' || base[i + 1] == 'o');
}

/* The path of the line behind that of @after, which is NULL for the first one; NULL: no more */
static const char *next_path(const struct unpacked *list, const char *after, size_t *ret_len)
{
	const char *at = (const char *)list->bytes, *end = at + list->len, *nl, *colon;

	if (after) {
		nl = memchr(after, '\n', (size_t)(end - after));
		at = nl ? nl + 1 : end;
	}
	if (at >= end)
		return NULL;
	nl = memchr(at, '\n', (size_t)(end - at));
	*ret_len = (size_t)((nl ? nl : end) - at);
	colon = memchr(at, ':', *ret_len);
	if (colon)
		*ret_len = (size_t)(colon - at);
	return at;
}

/* The path of @name's line; NULL: none */
static const char *find_line(const struct unpacked *list, const char *name, size_t *ret_len)
{
	const char *path = NULL;
	size_t len;

	while ((path = next_path(list, path, &len))) {
		const char *slash = memrchr(path, '/', len), *base = slash ? slash + 1 : path;

		if (is_name(base, (size_t)(path + len - base), name)) {
			*ret_len = len;
			break;
		}
	}
	return path;
}

static const char *find_module(const struct modules *m, const char *name, size_t *ret_len)
{
	const char *path = find_line(&m->order, name, ret_len);

	return path ? path : find_line(&m->dep, name, ret_len);
}

enum module_place modules_find(const struct modules *m, const char *name)
{
	size_t len;

	if (find_line(&m->builtin, name, &len))
		return MODULE_BUILT_IN;
	return find_module(m, name, &len) ? MODULE_FILE : MODULE_NONE;
}

/* ---- one module ---- */

/* modules.order names plain modules; what was installed may be packed. @path becomes that of the file. */
static int find_packed(char **path)
{
	static const char *const packing[] = { "", ".xz", ".zst", ".gz" };

	for (size_t i = 0; i < ARRAY_SIZE(packing); i++) {
		char *packed;

		if (asprintf(&packed, "%s%s", *path, packing[i]) < 0)
			return -ENOMEM;
		if (!access(packed, F_OK)) {
			free(*path);
			*path = packed;
			return 0;
		}
		free(packed);
	}
	return -ENOENT;
}

/* @ret: the file unpacked, @ret_info: what it says of itself */
static int load_fd(const char *path, int fd, struct unpacked *ret, struct modinfo *ret_info)
{
	struct unpacked packed = { 0 };
	int err = map_fd(fd, &packed);

	if (err)
		return log_err(err, "module '%s'", path);
	err = unpack("module", path, packed.bytes, packed.len, FILE_MOST, ret);
	if (err == -EINVAL) {
		*ret = packed;
		err = 0;
	} else {
		unpacked_free(&packed);
	}
	if (err)
		return err;
	err = modinfo_find(ret->bytes, ret->len, ret_info);
	if (!err)
		return 0;
	unpacked_free(ret);
	return log_errx(err, "module '%s': is no module for x86-64, or damaged", path);
}

/* "kernel/fs/fuse/fuse.ko": of a build it lies in fs/fuse, and newer ones list what it is made of. */
static int path_of(const struct modules *m, const char *line, size_t len, char **ret)
{
	static const char top[] = "kernel/";
	const bool object = len > 2 && !memcmp(line + len - 2, ".o", 2);
	char *plain;
	int n;

	if (m->kernel->kind == KERNEL_BUILT && len > sizeof(top) && !memcmp(line, top, sizeof(top) - 1)) {
		if (asprintf(&plain, "%s/%.*s", m->kernel->modules, (int)len, line) < 0)
			return log_err(-ENOMEM, "modules");
		if (access(plain, F_OK)) { /* the kernel's own folder kernel/ has modules too */
			line += sizeof(top) - 1;
			len -= sizeof(top) - 1;
		}
		free(plain);
	}
	n = asprintf(ret, "%s/%.*s%s", m->kernel->modules, (int)(object ? len - 1 : len), line,
		     object ? "ko" : "");
	return n < 0 ? log_err(-ENOMEM, "modules") : 0;
}

int modules_load(const struct modules *m, const char *name, struct unpacked *ret, struct modinfo *ret_info)
{
	size_t len;
	const char *line = find_module(m, name, &len);
	char *path;
	int err, fd;

	if (!line)
		return log_errx(-ENOENT, "kernel '%s' has no module '%s', and not built in either",
				m->kernel->image, name);
	err = path_of(m, line, len, &path);
	if (err)
		return err;
	find_packed(&path);
	fd = open_file(path);
	if (fd < 0) {
		err = log_err(fd, "module '%s'", path);
	} else {
		err = load_fd(path, fd, ret, ret_info);
		close(fd);
	}
	free(path);
	return err;
}

/* ---- all of them ---- */

/* A plain one may be large, with what debuggers read. */
static int read_info(const char *path, struct modinfo *ret)
{
	int fd = open_file(path), err = fd;
	struct unpacked elf = { 0 };

	if (fd < 0)
		return err;
	err = modinfo_read(fd, ret);
	if (err == -ENOEXEC)
		err = load_fd(path, fd, &elf, ret);
	unpacked_free(&elf);
	close(fd);
	return err;
}

int modules_each(const struct modules *m,
		 int (*visit)(void *ctx, const char *path, const struct modinfo *info), void *ctx)
{
	const struct unpacked *list = m->order.len ? &m->order : &m->dep;
	const char *line = NULL;
	size_t len;
	int err = 0;

	while (!err && (line = next_path(list, line, &len))) {
		struct modinfo info = { 0 };
		char *path;

		err = path_of(m, line, len, &path);
		if (err)
			break;
		if (!find_packed(&path) && !read_info(path, &info))
			err = visit(ctx, path + strlen(m->kernel->modules) + 1, &info);
		modinfo_free(&info);
		free(path);
	}
	return err;
}
