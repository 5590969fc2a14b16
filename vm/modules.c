/*
 * Modules by name, with what they need. libkmod would want depmod's indexes, which the folder of a
 * build lacks; what is needed of it is a list and a few strings.
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

#define FILE_MOST   (64 * MIB) /* a list or a module, packed or not */
#define NAME_BYTES  64         /* MODULE_NAME_LEN */
#define VALUE_BYTES 4096

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

static int load_line(const struct modules *m, const char *line, size_t len, struct unpacked *ret,
		     struct modinfo *ret_info)
{
	char *path;
	int err = path_of(m, line, len, &path), fd;

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

/* ---- what it needs ---- */

/* What is on the way to the list: a circle of dependencies ends there. */
struct walk {
	const struct modules *m;
	struct module_list *list;
	char under[MODULES_MOST][NAME_BYTES];
	unsigned n_under;
};

static int add(struct walk *w, const char *name, bool soft);

/* Names with commas or blanks between them */
static int add_names(struct walk *w, const char *names, size_t len, bool soft)
{
	char name[NAME_BYTES];
	int err = 0;

	for (const char *at = names, *end = names + len; !err && at < end;) {
		size_t n = 0;

		while (at + n < end && at[n] != ',' && at[n] != ' ')
			n++;
		if (n >= sizeof(name))
			return log_errx(-ENOEXEC, "module '%s': damaged", w->under[w->n_under - 1]);
		memcpy(name, at, n);
		name[n] = '\0';
		if (n)
			err = add(w, name, soft);
		at += n + 1;
	}
	return err;
}

/* "softdep=pre: a b post: c": the part of @which */
static int add_soft(struct walk *w, const struct modinfo *info, const char *which)
{
	static const char *const part[] = { "pre:", "post:" };
	int err = 0;

	for (const char *v = NULL; !err && (v = modinfo_next(info, "softdep", v));) {
		const char *at = strstr(v, which), *end;

		if (!at)
			continue;
		at += strlen(which);
		end = at + strlen(at);
		for (size_t i = 0; i < ARRAY_SIZE(part); i++) {
			const char *next = strstr(at, part[i]);

			if (next && next < end)
				end = next;
		}
		err = add_names(w, at, (size_t)(end - at), true);
	}
	return err;
}

static int add_hard(struct walk *w, const struct modinfo *info)
{
	const char *depends = modinfo_next(info, "depends", NULL);

	return depends ? add_names(w, depends, strlen(depends), false) : 0;
}

static int append(struct walk *w, const char *name, struct unpacked *elf)
{
	struct module *new = &w->list->list[w->list->n];

	if (w->list->n == MODULES_MOST)
		return log_errx(-E2BIG, "module '%s': more than %d modules are needed", name, MODULES_MOST);
	new->name = strdup(name);
	if (!new->name)
		return log_err(-ENOMEM, "module '%s'", name);
	new->file = *elf;
	w->list->n++;
	*elf = (struct unpacked){ 0 };
	return 0;
}

static int add_file(struct walk *w, const char *name, const char *line, size_t len)
{
	struct unpacked elf = { 0 };
	struct modinfo info = { 0 };
	int err = load_line(w->m, line, len, &elf, &info);

	if (!err)
		err = add_soft(w, &info, "pre:");
	if (!err)
		err = add_hard(w, &info);
	if (!err)
		err = append(w, name, &elf);
	if (!err)
		err = add_soft(w, &info, "post:");
	modinfo_free(&info);
	unpacked_free(&elf);
	return err;
}

static bool is_known(const struct walk *w, const char *name)
{
	for (unsigned i = 0; i < w->n_under; i++)
		if (!strcmp(w->under[i], name))
			return true;
	for (unsigned i = 0; i < w->list->n; i++)
		if (!strcmp(w->list->list[i].name, name))
			return true;
	return false;
}

static int add(struct walk *w, const char *wanted, bool soft)
{
	char *name = w->under[w->n_under];
	const char *line;
	size_t len;
	int err;

	if (w->n_under == MODULES_MOST - 1 || strlen(wanted) >= NAME_BYTES)
		return log_errx(-E2BIG, "module '%s': needs too much", wanted);
	for (len = 0; len <= strlen(wanted); len++)
		name[len] = wanted[len] == '-' ? '_' : wanted[len];
	if (is_known(w, name) || find_line(&w->m->builtin, name, &len))
		return 0;
	line = find_module(w->m, name, &len);
	if (!line)
		return soft ? 0 :
			      log_errx(-ENOENT, "kernel '%s' has no module '%s', and not built in either",
				       w->m->kernel->image, name);
	w->n_under++;
	err = add_file(w, name, line, len);
	w->n_under--;
	return err;
}

int modules_add(const struct modules *m, const char *name, struct module_list *list)
{
	struct walk *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return log_err(-ENOMEM, "module '%s'", name);
	w->m = m;
	w->list = list;
	err = add(w, name, false);
	free(w);
	return err;
}

void module_list_free(struct module_list *list)
{
	for (unsigned i = 0; i < list->n; i++) {
		free(list->list[i].name);
		unpacked_free(&list->list[i].file);
	}
	list->n = 0;
}
