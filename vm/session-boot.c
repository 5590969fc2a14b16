/* What a session boots into; see lkvm/vm/session-boot.h. */
#include "lkvm/vm/session-boot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lkvm/disk.h"
#include "lkvm/file.h"
#include "lkvm/fs.h"
#include "lkvm/log.h"
#include "lkvm/types.h"
#include "lkvm/vm/guest-init.h"
#include "lkvm/vm/initramfs.h"
#include "lkvm/vm/kernel.h"
#include "lkvm/vm/module-index.h"
#include "lkvm/vm/modules.h"

#define ROOT_TAG    "lkvm.root"
#define MODULES_TAG "lkvm.modules"
#define P9_OPTIONS  "trans=virtio,version=9p2000.L,msize=512000"

#define ROOT_FS 5

/* That a disk may have as its root: guest/disk.c finds out which one it is. */
static const char *const root_fs[ROOT_FS] = { "ext4", "xfs", "btrfs", "squashfs", "erofs" };

struct session_boot {
	struct kernel kernel;
	struct module_list modules;
	char *module_names; /* a line each, as they are loaded */
	size_t module_names_len;
	char *plan; /* for init, when it asks: guest/init.c says what it may hold */
	size_t plan_len;
	struct initramfs fs;
	struct boot_made made;
	struct module_list fs_modules[ROOT_FS];
	char *fs_names[ROOT_FS]; /* as module_names */
	size_t fs_names_len[ROOT_FS];
	bool no_files; /* the kernel has neither, and needs neither */
	bool p9; /* the host's files come by 9P: the kernel has no virtio-fs */
};

/* ---- modules ---- */

static const struct {
	const char *name;
	const char *what; /* is lost without it */
} needs[] = {
	{ "overlay", "overlay file system: the root could not be written" },
	{ "virtio_console", "virtio console: it cannot be given a command" },
};

static int need(struct session_boot *b, const struct modules *m, const char *name, const char *what)
{
	/* Without a list of its modules nothing is known. If it lacks something, init will say so. */
	if (b->kernel.kind == KERNEL_NO_MODULES)
		return 0;
	if (modules_find(m, name) == MODULE_NONE)
		return log_errx(-ENOTSUP, "kernel '%s' has no %s", b->kernel.image, what);
	return modules_add(m, name, &b->modules);
}

/* Virtio-fs where the kernel has it, else 9P */
static int need_files(struct session_boot *b, const struct modules *m, bool optional)
{
	static const char *const lost = "virtio-fs and no 9p: it cannot use the host's files";
	int err;

	b->no_files = optional && b->kernel.kind != KERNEL_NO_MODULES &&
		      modules_find(m, "virtiofs") == MODULE_NONE && modules_find(m, "9p") == MODULE_NONE;
	if (b->no_files)
		return 0;
	b->p9 = b->kernel.kind != KERNEL_NO_MODULES && modules_find(m, "virtiofs") == MODULE_NONE &&
		modules_find(m, "9p") != MODULE_NONE;
	log_debug(LOG_BOOT, "the host's files come by %s", b->p9 ? "9p, as the kernel has no virtio-fs" : "virtio-fs");
	if (!b->p9)
		return need(b, m, "virtiofs", lost);
	err = need(b, m, "9pnet_virtio", lost);
	return err ? err : need(b, m, "9p", lost);
}

/* Of those that it has, for init to choose from */
static int find_root_fs(struct session_boot *b, const struct modules *m)
{
	int err = 0;

	for (unsigned i = 0; !err && i < ROOT_FS; i++)
		if (modules_find(m, root_fs[i]) == MODULE_FILE)
			err = modules_add(m, root_fs[i], &b->fs_modules[i]);
	return err;
}

static int find_modules(struct session_boot *b, const struct vm_config *cfg)
{
	const char *bus = cfg->virtio_mmio ? "virtio_mmio" : "virtio_pci";
	struct modules *m;
	int err = modules_open(&b->kernel, &m);

	if (err)
		return err;
	err = need(b, m, bus, "driver for the bus of lkvm's devices");
	if (!err)
		err = need_files(b, m, cfg->session.root_disk && !cfg->session.n_shares);
	for (size_t i = 0; !err && i < ARRAY_SIZE(needs); i++)
		err = need(b, m, needs[i].name, needs[i].what);
	if (!err && cfg->n_disks)
		err = need(b, m, "virtio_blk", "virtio block driver: it cannot use disks");
	if (!err && cfg->n_nets)
		err = need(b, m, "virtio_net", "virtio network driver: it cannot use networks");
	if (!err && cfg->has_vsock)
		err = need(b, m, "vmw_vsock_virtio_transport", "virtio socket driver: it cannot use --vsock");
	if (!err && cfg->n_pmems)
		err = need(b, m, "nd_pmem", "driver for persistent memory");
	if (!err && cfg->n_pmems)
		err = need(b, m, "virtio_pmem", "virtio driver for persistent memory");
	/* Without a driver it only does not shrink: a kernel needs none. */
	if (!err && !cfg->no_balloon && modules_find(m, "virtio_balloon") == MODULE_FILE)
		err = modules_add(m, "virtio_balloon", &b->modules);
	if (!err && cfg->mem_max)
		err = need(b, m, "virtio_mem", "driver for memory that is plugged: it cannot use --mem-max");
	if (!err && cfg->session.root_disk)
		err = find_root_fs(b, m);
	modules_close(m);
	return err;
}

/* ---- shared folders ---- */

static int add_folder(const struct session_boot *b, struct vm_config *cfg, const char *path, const char *tag,
		      bool read_only)
{
	struct fs_config *folders = reallocarray(cfg->folders, cfg->n_folders + 1, sizeof(*folders));
	size_t len = strlen(path) + 1;
	char *text; /* as that of --fs: the path, and the tag behind it */

	if (!folders)
		return log_err(-ENOMEM, "folder '%s'", path);
	cfg->folders = folders;
	text = malloc(len + strlen(tag) + 1);
	if (!text)
		return log_err(-ENOMEM, "folder '%s'", path);
	memcpy(text, path, len);
	strcpy(text + len, tag);
	folders[cfg->n_folders++] = (struct fs_config){ .path = text, .tag = text + len,
							.read_only = read_only, .p9 = b->p9,
							.dax = cfg->session.dax && !b->p9,
							/* overlayfs takes no root with mounts in it */
							.one_mount = true };
	return 0;
}

static void put(FILE *plan, const char *key, const char *value)
{
	fprintf(plan, "%s%s%c", key, value, '\0');
}

static int add_shares(const struct session_boot *b, struct vm_config *cfg, FILE *plan)
{
	const struct session_config *s = &cfg->session;
	int err = 0;

	for (unsigned i = 0; !err && i < s->n_shares; i++) {
		const struct session_share *share = &s->shares[i];
		char tag[FS_TAG_BYTES];

		snprintf(tag, sizeof(tag), "lkvm.share%u", i);
		fprintf(plan, "share=%s:%s:%s%c", share->read_only ? "ro" : "rw", tag, share->at, '\0');
		err = add_folder(b, cfg, share->path, tag, share->read_only);
	}
	return err;
}

/* ---- /lib/modules/RELEASE ---- */

static bool has_index(const struct kernel *k)
{
	char path[4096];

	return snprintf(path, sizeof(path), "%s/modules.dep.bin", k->modules) < (int)sizeof(path) &&
	       !access(path, F_OK);
}

/* Is the folder of the modules the one that the guest's root has for this release? */
static bool root_has(const char *root, const struct kernel *k, const struct stat *st)
{
	struct stat own;
	char path[4096];

	return snprintf(path, sizeof(path), "%s/lib/modules/%s", root, k->release) < (int)sizeof(path) &&
	       !stat(path, &own) && own.st_dev == st->st_dev && own.st_ino == st->st_ino;
}

static bool is_hidden(const struct session_config *s, const char *path)
{
	for (unsigned i = 0; i < s->n_hide; i++)
		if (file_is_in(path, s->hide[i]))
			return true;
	return false;
}

/* Where the guest has it by its root; NULL: nowhere */
static const char *in_root(const char *root, const char *path)
{
	static const char *const others[] = { "/dev", "/proc", "/run", "/sys" };
	const char *inside = path + (strcmp(root, "/") ? strlen(root) : 0);

	if (!file_is_in(path, root))
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (file_is_in(inside, others[i]))
			return NULL;
	return *inside ? inside : "/";
}

/* A build has no folder for its lists: one of memory leads to those in the tree, and those that are made. */
static void put_links(FILE *plan, const char *at)
{
	static const char *const own[] = { "modules.order", "modules.builtin", "modules.builtin.modinfo" };

	put(plan, "tmpfs=", at);
	fprintf(plan, "link=%s/build:kernel%c", at, '\0');
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		fprintf(plan, "link=%s/%s:kernel/%s%c", at, own[i], own[i], '\0');
	for (const char *const *name = module_index_names; *name; name++)
		fprintf(plan, "link=%s/%s:kernel/%s%c", at, *name, *name, '\0');
}

/* @inside: the folder in the guest, or NULL */
static int bring_modules(const struct session_boot *b, struct vm_config *cfg, FILE *plan, const char *path,
			 const char *inside)
{
	const bool built = b->kernel.kind == KERNEL_BUILT;
	char at[sizeof("/lib/modules//kernel") + KERNEL_RELEASE_BYTES];
	int err = 0;

	snprintf(at, sizeof(at), "/lib/modules/%s", b->kernel.release);
	if (built) {
		put_links(plan, at);
		strcat(at, "/kernel");
	}
	if (inside) {
		fprintf(plan, "bind=%s:%s%c", at, inside, '\0');
	} else {
		fprintf(plan, "share=ro:%s:%s%c", MODULES_TAG, at, '\0');
		err = add_folder(b, cfg, path, MODULES_TAG, true);
	}
	return err;
}

/* What depmod would have made comes by the share that has the folder, which is the last. */
static int want_lists(const struct session_boot *b, struct vm_config *cfg, const char *path, const struct stat *st)
{
	char *modules = strdup(path);

	cfg->session.lists = (struct session_lists){
		.modules = modules,
		.built = b->kernel.kind == KERNEL_BUILT,
		.folder = cfg->n_folders - 1,
		.ino = st->st_ino,
	};
	return modules ? 0 : log_err(-ENOMEM, "session");
}

/* So that modprobe works, whatever root the guest has. The last of the folders is the root. */
static int add_module_folder(const struct session_boot *b, struct vm_config *cfg, FILE *plan)
{
	const struct kernel *k = &b->kernel;
	const bool disk = cfg->session.root_disk;
	const char *root = cfg->session.root ? cfg->session.root : "/", *inside;
	char *path = k->modules && !b->no_files ? realpath(k->modules, NULL) : NULL;
	struct stat st;
	int err = 0;

	if (path && *k->release && !stat(path, &st) && !(!disk && has_index(k) && root_has(root, k, &st))) {
		inside = disk ? NULL : in_root(root, path);
		if (!(inside && is_hidden(&cfg->session, inside))) {
			err = bring_modules(b, cfg, plan, path, inside);
			if (!err && !has_index(k))
				err = want_lists(b, cfg, path, &st);
		}
	}
	free(path);
	return err;
}

static bool root_is_written(const struct vm_config *cfg)
{
	for (unsigned i = 0; cfg->session.root_disk && i < cfg->n_disks; i++)
		if (cfg->disks[i].serial && !strcmp(cfg->disks[i].serial, SESSION_ROOT_SERIAL))
			return !cfg->disks[i].read_only;
	return false;
}

static int put_root(const struct session_boot *b, struct vm_config *cfg, FILE *plan)
{
	const struct session_config *s = &cfg->session;

	if (root_is_written(cfg))
		put(plan, "root-writable=", "yes");
	else
		put(plan, "overlay=", s->overlay ? s->overlay : "50%");
	if (s->root_disk) {
		put(plan, "root-disk=", SESSION_ROOT_SERIAL);
		return 0;
	}
	put(plan, "root-type=", b->p9 ? "9p" : "virtiofs");
	put(plan, "root-source=", ROOT_TAG);
	if (b->p9)
		put(plan, "root-options=", P9_OPTIONS ",cache=loose");
	return add_folder(b, cfg, s->root ? s->root : "/", ROOT_TAG, true);
}

static int write_plan(struct session_boot *b, struct vm_config *cfg)
{
	const struct session_config *s = &cfg->session;
	FILE *plan = open_memstream(&b->plan, &b->plan_len);
	int err;

	if (!plan)
		return log_err(-errno, "session");
	err = put_root(b, cfg, plan);
	if (b->p9) {
		put(plan, "share-type=", "9p");
		put(plan, "share-options=", P9_OPTIONS ",cache=mmap");
	}
	put(plan, "hostname=", cfg->name);
	/* What daemons of the host have there means nothing in the guest. */
	if (!file_is_in(s->cwd, "/run"))
		put(plan, "tmpfs=", "/run");
	if (!err)
		err = add_module_folder(b, cfg, plan);
	for (unsigned i = 0; i < s->n_hide; i++)
		put(plan, "hide=", s->hide[i]);
	if (!err)
		err = add_shares(b, cfg, plan);
	return fclose(plan) && !err ? log_err(-errno, "session") : err;
}

/* ---- the initramfs ---- */

/* File systems share some: the first one brings them. */
static int add_module(struct session_boot *b, FILE *names, const struct module *m)
{
	char *path;
	int err;

	if (asprintf(&path, "lkvm/%s.ko", m->name) < 0)
		return -ENOMEM;
	fprintf(names, "/%s\n", path);
	err = initramfs_add(&b->fs, path, S_IFREG | 0644, m->file.bytes, m->file.len);
	free(path);
	return err == -EEXIST ? 0 : err;
}

/* Their files, and @name, which lists them */
static int add_modules(struct session_boot *b, const struct module_list *modules, const char *name, char **text,
		       size_t *len)
{
	FILE *names = open_memstream(text, len);
	int err = 0;

	if (!names)
		return -errno;
	for (unsigned i = 0; !err && i < modules->n; i++)
		err = add_module(b, names, &modules->list[i]);
	if (fclose(names) && !err)
		err = -errno;
	return err ? err : initramfs_add(&b->fs, name, S_IFREG | 0644, *text, *len);
}

static int add_root_fs(struct session_boot *b)
{
	char name[32];
	int err = 0;

	for (unsigned i = 0; !err && i < ROOT_FS; i++) {
		if (!b->fs_modules[i].n)
			continue;
		snprintf(name, sizeof(name), "lkvm/fs-%s", root_fs[i]);
		err = add_modules(b, &b->fs_modules[i], name, &b->fs_names[i], &b->fs_names_len[i]);
	}
	return err;
}

/* What is in the initramfs is of the kernel, not of the session. */
static const char first_plan[] = "plan=channel";

static void write_initramfs(const void *ctx, void *dst)
{
	initramfs_write(ctx, dst);
}

static uint32_t sum_initramfs(const void *ctx)
{
	return initramfs_sum(ctx);
}

static int fill(struct session_boot *b)
{
	struct initramfs *fs = &b->fs;
	const size_t init_bytes = (uintptr_t)guest_init_end - (uintptr_t)guest_init;
	int err = initramfs_add(fs, "init", S_IFREG | 0755, guest_init, init_bytes);

	if (!err)
		err = initramfs_add_node(fs, "dev", S_IFDIR | 0755, 0);
	if (!err)
		err = initramfs_add_node(fs, "dev/console", S_IFCHR | 0600, makedev(5, 1));
	if (!err)
		err = add_modules(b, &b->modules, "lkvm/modules", &b->module_names, &b->module_names_len);
	if (!err)
		err = add_root_fs(b);
	if (!err)
		err = initramfs_add(fs, "lkvm/session", S_IFREG | 0600, first_plan, sizeof(first_plan));
	if (err)
		return log_err(err, "initramfs");
	b->made = (struct boot_made){ .name = "initramfs", .bytes = initramfs_bytes(fs),
				      .write = write_initramfs, .sum = sum_initramfs, .ctx = fs };
	return 0;
}

/* ---- life ---- */

static int choose_kernel(struct session_boot *b, struct vm_config *cfg)
{
	int err = kernel_find(cfg->kernel, &b->kernel);
	char *image = err ? NULL : strdup(b->kernel.image);

	if (err)
		return err;
	if (!image)
		return log_err(-ENOMEM, "kernel '%s'", b->kernel.image);
	free(cfg->kernel_heap);
	cfg->kernel = cfg->kernel_heap = image;
	return 0;
}

int session_boot_new(struct vm_config *cfg, struct session_boot **ret)
{
	struct session_boot *b = calloc(1, sizeof(*b));
	int err;

	if (!b)
		return log_err(-ENOMEM, "session");
	err = choose_kernel(b, cfg);
	if (!err)
		err = find_modules(b, cfg);
	if (!err)
		err = write_plan(b, cfg);
	if (!err)
		err = fill(b);
	if (err) {
		session_boot_free(b);
		return err;
	}
	*ret = b;
	return 0;
}

const struct boot_made *session_boot_made(const struct session_boot *b)
{
	return b ? &b->made : NULL;
}

const char *session_boot_plan(const struct session_boot *b, size_t *ret_len)
{
	*ret_len = b->plan_len;
	return b->plan;
}

void session_boot_loaded(struct session_boot *b)
{
	initramfs_free(&b->fs);
	free(b->module_names);
	b->module_names = NULL;
	module_list_free(&b->modules);
	for (unsigned i = 0; i < ROOT_FS; i++) {
		module_list_free(&b->fs_modules[i]);
		free(b->fs_names[i]);
		b->fs_names[i] = NULL;
	}
}

void session_boot_free(struct session_boot *b)
{
	if (!b)
		return;
	session_boot_loaded(b);
	free(b->plan);
	kernel_free(&b->kernel);
	free(b);
}
