/*
 * The files of lkvm/vm/module-index.h, made in memory:
 *
 *	modules.dep      kernel/fs/fuse/virtiofs.ko: kernel/fs/fuse/fuse.ko      all that it needs, backwards
 *	modules.alias    alias fs-fuse fuse
 *	modules.softdep  softdep ext4 pre: crypto-crc32c
 *	*.bin            the same for kmod; busybox reads texts
 *
 * There is no index of symbols: the kernel asks for almost none by name, and what a module depends on
 * stands in itself.
 */
#include "lkvm/vm/module-index.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/fs.h"
#include "lkvm/log.h"
#include "lkvm/types.h"
#include "lkvm/vm/kernel.h"
#include "lkvm/vm/kmod-index.h"
#include "lkvm/vm/modinfo.h"
#include "lkvm/vm/modules.h"

#define DEPTH_MOST 64 /* of what needs what */
#define NAME_BYTES 64

enum file { DEP, DEP_BIN, ALIAS, ALIAS_BIN, SOFTDEP, BUILTIN_BIN, BUILTIN_ALIAS_BIN, SYMBOLS_BIN, FILES };

const char *const module_index_names[FILES + 1] = {
	[DEP] = "modules.dep",
	[DEP_BIN] = "modules.dep.bin",
	[ALIAS] = "modules.alias",
	[ALIAS_BIN] = "modules.alias.bin",
	[SOFTDEP] = "modules.softdep",
	[BUILTIN_BIN] = "modules.builtin.bin",
	[BUILTIN_ALIAS_BIN] = "modules.builtin.alias.bin",
	[SYMBOLS_BIN] = "modules.symbols.bin",
};

struct module_index {
	struct kernel kernel; /* what of it there is to know: its modules */
	struct fs_made files;
	pthread_mutex_t lock; /* of what follows */
	bool made;
	int err;       /* why it could not be made */
	int fd[FILES];
};

struct module_entry {
	char *name, *path, *depends; /* heap; "fuse", "fs/fuse/fuse.ko", "a,b" */
	unsigned seen;
};

struct build {
	const char *prefix;
	struct module_entry *all;      /* heap, n of them; in the order of the list, then of names */
	struct module_entry **needed;  /* of one module, those that it stands on first */
	unsigned n, cap, n_needed, seen;
	FILE *text[FILES];             /* of those that are texts */
	struct kmod_index index[FILES];
	char *bytes[FILES];
	size_t len[FILES];
};

/* ---- names ---- */

/* "fs/fuse/virtio-fs.ko.xz" -> "virtio_fs"; false: it is too long, or none */
static bool name_of(const char *path, size_t len, char ret[NAME_BYTES])
{
	const char *slash = memrchr(path, '/', len), *base = slash ? slash + 1 : path;
	size_t n = 0, most = len - (size_t)(base - path);

	for (; n < most && n < NAME_BYTES && base[n] != '.'; n++)
		ret[n] = base[n] == '-' ? '_' : base[n];
	if (!n || n == NAME_BYTES)
		return false;
	ret[n] = '\0';
	return true;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct module_entry *)a)->name, ((const struct module_entry *)b)->name);
}

static struct module_entry *find(const struct build *b, char *name)
{
	const struct module_entry key = { .name = name };

	return bsearch(&key, b->all, b->n, sizeof(key), by_name);
}

/* ---- aliases ---- */

/* As kmod looks for it: '_' for '-', but within brackets */
static int add_alias(struct build *b, enum file file, const char *alias, const char *name)
{
	char key[1024];
	size_t len = strlen(alias);
	bool inside = false;
	int err;

	if (len >= sizeof(key))
		return 0;
	for (size_t i = 0; i <= len; i++) {
		inside = alias[i] == '[' || (inside && alias[i] != ']');
		key[i] = alias[i] == '-' && !inside ? '_' : alias[i];
	}
	err = kmod_index_add(&b->index[file], key, name);
	if (!err && file == ALIAS_BIN)
		fprintf(b->text[ALIAS], "alias %s %s\n", alias, name);
	return err == -EINVAL ? 0 : err;
}

static int add_words(struct build *b, const struct modinfo *info, const char *name)
{
	int err = 0;

	for (const char *v = NULL; !err && (v = modinfo_next(info, "alias", v));)
		err = add_alias(b, ALIAS_BIN, v, name);
	for (const char *v = NULL; (v = modinfo_next(info, "softdep", v));)
		if (!strchr(v, '\n'))
			fprintf(b->text[SOFTDEP], "softdep %s %s\n", name, v);
	return err;
}

/* ---- modules ---- */

static int add_entry(struct build *b, const char *name, const char *path, const char *depends)
{
	struct module_entry e = { strdup(name), strdup(path), strdup(depends ? depends : ""), 0 };

	if (b->n == b->cap) {
		unsigned cap = b->cap ? 2 * b->cap : 256;
		struct module_entry *more = reallocarray(b->all, cap, sizeof(*more));

		if (more) {
			b->all = more;
			b->cap = cap;
		}
	}
	if (b->n < b->cap && e.name && e.path && e.depends) {
		b->all[b->n++] = e;
		return 0;
	}
	free(e.name);
	free(e.path);
	free(e.depends);
	return -ENOMEM;
}

static int add_module(void *ctx, const char *path, const struct modinfo *info)
{
	char name[NAME_BYTES];
	int err;

	if (!name_of(path, strlen(path), name) || strpbrk(path, " \n"))
		return 0;
	err = add_entry(ctx, name, path, modinfo_next(info, "depends", NULL));
	return err ? err : add_words(ctx, info, name);
}

/* @e behind all that it needs */
static void need(struct build *b, struct module_entry *e, unsigned depth)
{
	char name[NAME_BYTES];

	if (e->seen == b->seen || depth == DEPTH_MOST)
		return;
	e->seen = b->seen;
	for (const char *at = e->depends; *at; at += strspn(at, ",")) {
		size_t len = strcspn(at, ",");
		struct module_entry *other = name_of(at, len, name) ? find(b, name) : NULL;

		if (other)
			need(b, other, depth + 1);
		at += len;
	}
	b->needed[b->n_needed++] = e;
}

static int add_dep(struct build *b, struct module_entry *e)
{
	char *line = NULL;
	size_t len;
	FILE *out = open_memstream(&line, &len);
	int err;

	if (!out)
		return -ENOMEM;
	b->n_needed = 0;
	b->seen++;
	need(b, e, 0);
	fprintf(out, "%s%s:", b->prefix, e->path);
	for (unsigned i = b->n_needed - 1; i--;)
		fprintf(out, " %s%s", b->prefix, b->needed[i]->path);
	err = fclose(out) ? -ENOMEM : kmod_index_add(&b->index[DEP_BIN], e->name, line);
	if (!err)
		fprintf(b->text[DEP], "%s\n", line);
	free(line);
	return err == -EINVAL ? 0 : err;
}

static int add_deps(struct build *b)
{
	int err = 0;

	if (!b->n)
		return 0;
	b->needed = calloc(b->n, sizeof(struct module_entry *)); /* each is seen once */
	if (!b->needed)
		return -ENOMEM;
	qsort(b->all, b->n, sizeof(*b->all), by_name);
	for (unsigned i = 0; !err && i < b->n; i++)
		if (!i || strcmp(b->all[i].name, b->all[i - 1].name))
			err = add_dep(b, &b->all[i]);
	return err;
}

/* ---- what is built in ---- */

static int add_builtin(struct build *b, const struct unpacked *list)
{
	const char *at = (const char *)list->bytes, *end = at + list->len;
	char name[NAME_BYTES];
	int err = 0;

	while (!err && at < end) {
		const char *nl = memchr(at, '\n', (size_t)(end - at));
		size_t len = (size_t)((nl ? nl : end) - at);

		if (name_of(at, len, name))
			err = kmod_index_add(&b->index[BUILTIN_BIN], name, "");
		if (err == -EINVAL)
			err = 0;
		at += len + 1;
	}
	return err;
}

/* Strings NAME.KEY=VALUE, a NUL behind each */
static int add_builtin_aliases(struct build *b, const struct unpacked *list)
{
	const char *at = (const char *)list->bytes, *end = at + list->len, *nul;
	char name[NAME_BYTES];
	int err = 0;

	for (; !err && at < end && (nul = memchr(at, 0, (size_t)(end - at))); at = nul + 1) {
		const char *alias = strstr(at, ".alias=");

		if (alias && name_of(at, (size_t)(alias - at), name))
			err = add_alias(b, BUILTIN_ALIAS_BIN, alias + strlen(".alias="), name);
	}
	return err;
}

/* ---- the files ---- */

static int read_all(struct build *b, const struct kernel *k)
{
	struct unpacked list = { 0 };
	struct modules *m;
	int err = modules_open(k, &m);

	if (err)
		return err;
	err = modules_each(m, add_module, b);
	modules_close(m);
	if (!err)
		err = add_deps(b);
	if (!err)
		err = modules_read_list(k, "modules.builtin", &list);
	if (!err)
		err = add_builtin(b, &list);
	unpacked_free(&list);
	if (!err)
		err = modules_read_list(k, "modules.builtin.modinfo", &list);
	if (!err)
		err = add_builtin_aliases(b, &list);
	unpacked_free(&list);
	return err;
}

static bool is_text(enum file file)
{
	return file == DEP || file == ALIAS || file == SOFTDEP;
}

static int build_begin(struct build *b)
{
	for (unsigned i = 0; i < FILES; i++) {
		if (!is_text(i))
			continue;
		b->text[i] = open_memstream(&b->bytes[i], &b->len[i]);
		if (!b->text[i])
			return -ENOMEM;
	}
	return 0;
}

static int build_end(struct build *b)
{
	int err = 0;

	for (unsigned i = 0; i < FILES; i++) {
		int one = 0;

		if (!is_text(i))
			one = err ? 0 : kmod_index_write(&b->index[i], &b->bytes[i], &b->len[i]);
		else if (b->text[i] && fclose(b->text[i]))
			one = -ENOMEM;
		err = err ? err : one;
	}
	return err;
}

static void build_free(struct build *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		free(b->all[i].name);
		free(b->all[i].path);
		free(b->all[i].depends);
	}
	free(b->all);
	free(b->needed);
	for (unsigned i = 0; i < FILES; i++) {
		free(b->bytes[i]);
		kmod_index_free(&b->index[i]);
	}
}

static int make_file(const char *name, const char *bytes, size_t len)
{
	int fd = memfd_create(name, MFD_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (len && write(fd, bytes, len) != (ssize_t)len)
		err = -ENOMEM;
	if (!err && fchmod(fd, 0444))
		err = -errno;
	if (err)
		close(fd);
	return err ? err : fd;
}

static int make_all(struct module_index *ix)
{
	struct build b = { .prefix = ix->kernel.kind == KERNEL_BUILT ? "kernel/" : "" };
	int err = build_begin(&b), end_err;

	if (!err)
		err = read_all(&b, &ix->kernel);
	end_err = build_end(&b);
	err = err ? err : end_err;
	for (unsigned i = 0; !err && i < FILES; i++) {
		ix->fd[i] = make_file(module_index_names[i], b.bytes[i], b.len[i]);
		err = ix->fd[i] < 0 ? ix->fd[i] : 0;
	}
	log_debug(LOG_BOOT, "lists of the %u modules in '%s' are made", b.n, ix->kernel.modules);
	build_free(&b);
	return err ? log_err(err, "lists of the modules in '%s'", ix->kernel.modules) : 0;
}

/* ---- for the guest ---- */

static int open_file(void *ctx, const char *name)
{
	return module_index_open(ctx, name);
}

int module_index_new(const char *modules, bool built, struct module_index **ret)
{
	struct module_index *ix;
	struct stat st;

	if (stat(modules, &st))
		return -errno;
	ix = calloc(1, sizeof(*ix));
	if (!ix)
		return -ENOMEM;
	ix->kernel = (struct kernel){ .image = (char *)modules, .modules = (char *)modules,
				      .kind = built ? KERNEL_BUILT : KERNEL_INSTALLED };
	ix->files = (struct fs_made){ st.st_dev, st.st_ino, open_file, ix };
	pthread_mutex_init(&ix->lock, NULL);
	for (unsigned i = 0; i < FILES; i++)
		ix->fd[i] = -1;
	*ret = ix;
	return 0;
}

const struct fs_made *module_index_files(const struct module_index *ix)
{
	return &ix->files;
}

void module_index_free(struct module_index *ix)
{
	if (!ix)
		return;
	for (unsigned i = 0; i < FILES; i++)
		if (ix->fd[i] >= 0)
			close(ix->fd[i]);
	pthread_mutex_destroy(&ix->lock);
	free(ix);
}

int module_index_open(struct module_index *ix, const char *name)
{
	unsigned i = 0;
	int err, fd;

	while (i < FILES && strcmp(name, module_index_names[i]))
		i++;
	if (i == FILES)
		return -ENOENT;
	pthread_mutex_lock(&ix->lock);
	if (!ix->made)
		ix->err = make_all(ix);
	ix->made = true;
	err = ix->err;
	pthread_mutex_unlock(&ix->lock);
	if (err)
		return err;
	fd = fcntl(ix->fd[i], F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}
