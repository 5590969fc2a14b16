/*
 * The host's folders of a machine that is saved, and the configuration that shares them again, with the lists of
 * modules that lkvm makes; see snapshot-internal.h. What the guest knows of the files in them is the devices' own
 * state.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/fs.h"
#include "lkvm/log.h"
#include "snapshot-internal.h"
#include "vm-internal.h"

#define NAME_BYTES 20

struct folder_state {
	uint32_t tag_n, path_n; /* with their NULs */
	uint8_t read_only, p9, one_mount, dax;
	uint32_t cache;
	uint8_t tag[FS_TAG_BYTES + 4];
	uint8_t path[4096];
};

static const struct state_field fields[] = {
	STATE_ONE(struct folder_state, tag_n, .max = FS_TAG_BYTES + 1),
	STATE_ONE(struct folder_state, path_n, .max = sizeof(((struct folder_state *)0)->path)),
	STATE_ONE(struct folder_state, read_only, .max = 1),
	STATE_ONE(struct folder_state, p9, .max = 1),
	STATE_ONE(struct folder_state, one_mount, .max = 1),
	STATE_ONE(struct folder_state, dax, .max = 1),
	STATE_ONE(struct folder_state, cache, .max = FS_CACHE_ALWAYS),
	STATE_SOME(struct folder_state, tag, tag_n),
	STATE_SOME(struct folder_state, path, path_n),
};

static const char *check(const void *state)
{
	const struct folder_state *st = state;

	if (st->tag_n < 2 || !state_is_text(st->tag, st->tag_n))
		return "tag";
	if (st->path_n < 2 || !state_is_text(st->path, st->path_n))
		return "path";
	return st->p9 && (st->dax || st->cache) ? "p9" : NULL;
}

const struct state_type snapshot_folder_type = {
	STATE_TYPE("folder", 1, struct folder_state, fields),
	.check = check,
};

static void folder_name(char ret[NAME_BYTES], unsigned index)
{
	snprintf(ret, NAME_BYTES, "folder%u", index);
}

int snapshot_describe_folder(struct snapshot_writer *w, const struct fs_config *folder, unsigned i)
{
	struct folder_state *st = calloc(1, sizeof(*st));
	char name[NAME_BYTES];
	int err;

	if (!st)
		return -ENOMEM;
	st->read_only = folder->read_only;
	st->p9 = folder->p9;
	st->one_mount = folder->one_mount;
	st->dax = folder->dax;
	st->cache = folder->cache;
	st->tag_n = (uint32_t)strnlen(folder->tag, FS_TAG_BYTES) + 1;
	memcpy(st->tag, folder->tag, st->tag_n - 1);
	/* By a path that is right from everywhere */
	err = snapshot_note_path(realpath(folder->path, NULL), st->path, sizeof(st->path), &st->path_n);
	folder_name(name, i);
	if (!err)
		err = snapshot_put(w, name, &snapshot_folder_type, st);
	free(st);
	return err;
}

/* The strings are one block of memory, which begins with the path: run_free_folders(). */
static int take_folder(struct fs_config *folder, const struct folder_state *st)
{
	char *text = malloc(st->path_n + st->tag_n);

	if (!text)
		return log_err(-ENOMEM, "folder '%s'", st->path);
	memcpy(text, st->path, st->path_n);
	memcpy(text + st->path_n, st->tag, st->tag_n);
	*folder = (struct fs_config){
		.path = text,
		.tag = text + st->path_n,
		.read_only = st->read_only,
		.p9 = st->p9,
		.one_mount = st->one_mount,
		.dax = st->dax,
		.cache = (enum fs_cache)st->cache,
	};
	return 0;
}

int snapshot_skip_folders(struct snapshot *snap, unsigned n)
{
	struct state_reader in;
	char name[NAME_BYTES];
	int err = 0;

	for (unsigned i = 0; !err && i < n; i++) {
		folder_name(name, i);
		err = snapshot_find(snap, name, &in) ? -EBADMSG : 0;
	}
	return err;
}

int snapshot_take_folders(struct vm_config *cfg, unsigned n)
{
	struct folder_state *st = calloc(1, sizeof(*st));
	int err = 0;

	cfg->folders = calloc(n + 1, sizeof(*cfg->folders));
	if (!st || !cfg->folders)
		err = log_err(-ENOMEM, "folders");
	for (unsigned i = 0; !err && i < n; i++) {
		char name[NAME_BYTES];

		folder_name(name, i);
		err = snapshot_take(cfg->snapshot, name, &snapshot_folder_type, st);
		if (!err)
			err = take_folder(&cfg->folders[i], st);
		cfg->n_folders += !err;
	}
	free(st);
	return err;
}

/* ---- lists of modules ---- */

#define LISTS "module-lists"

struct lists_state {
	uint16_t folder, built;
	uint32_t modules_n; /* with its NUL */
	uint64_t ino;
	uint8_t modules[4096];
};

static const struct state_field lists_fields[] = {
	STATE_ONE(struct lists_state, folder),
	STATE_ONE(struct lists_state, built, .max = 1),
	STATE_ONE(struct lists_state, modules_n, .max = sizeof(((struct lists_state *)0)->modules)),
	STATE_ONE(struct lists_state, ino),
	STATE_SOME(struct lists_state, modules, modules_n),
};

static const char *lists_check(const void *state)
{
	const struct lists_state *st = state;

	return st->modules_n < 2 || !state_is_text(st->modules, st->modules_n) ? "modules" : NULL;
}

const struct state_type snapshot_lists_type = {
	STATE_TYPE("module-lists", 1, struct lists_state, lists_fields),
	.check = lists_check,
};

int snapshot_describe_lists(struct snapshot_writer *w, const struct session_lists *lists)
{
	struct lists_state *st;
	int err;

	if (!lists->modules)
		return 0;
	st = calloc(1, sizeof(*st));
	if (!st)
		return -ENOMEM;
	st->folder = (uint16_t)lists->folder;
	st->built = lists->built;
	st->ino = lists->ino;
	err = snapshot_note_path(strdup(lists->modules), st->modules, sizeof(st->modules), &st->modules_n);
	if (!err)
		err = snapshot_put(w, LISTS, &snapshot_lists_type, st);
	free(st);
	return err;
}

void snapshot_skip_lists(struct snapshot *snap)
{
	struct state_reader in;

	snapshot_find(snap, LISTS, &in);
}

static int take_lists(struct vm_config *cfg, const struct lists_state *st)
{
	struct session_lists *lists = &cfg->session.lists;

	if (st->folder >= cfg->n_folders)
		return log_errx(-EBADMSG, "snapshot '%s' is damaged: lists of modules in no folder", cfg->restore);
	*lists = (struct session_lists){ .modules = strdup((const char *)st->modules), .built = st->built,
					 .folder = st->folder, .ino = st->ino };
	return lists->modules ? 0 : log_err(-ENOMEM, "folders");
}

int snapshot_take_lists(struct vm_config *cfg)
{
	struct lists_state *st = malloc(sizeof(*st));
	int err = st ? snapshot_take_any(cfg->snapshot, LISTS, &snapshot_lists_type, st) : log_err(-ENOMEM, "folders");

	if (!err)
		err = take_lists(cfg, st);
	free(st);
	return err == -ENOENT ? 0 : err;
}
