/* A warm start of a machine: its step in vm/vm.c, and saving the moment. See lkvm/vm/warm.h. Main thread. */
#include "lkvm/vm/warm.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/log.h"
#include "lkvm/vm/snapshot-make.h"
#include "vm-internal.h"

#define SAVE_MS 5000 /* after the guest's end */
#define LOOK_MS 50   /* in between, for a signal */

struct warm {
	char *path, *recipe; /* of the cache */
	int folder_fd;
	char key[WARM_KEY_BYTES];
	bool restored;                  /* the machine goes on from there; else it is to be saved */
	struct snapshot_making *making; /* it is being saved */
};

static void warm_free(struct warm *w)
{
	if (w->folder_fd >= 0)
		close(w->folder_fd);
	free(w->path);
	free(w->recipe);
	free(w);
}

/* ---- to go on from one ---- */

/* Return: 0; -ESTALE: it is of another recipe, with the same hash */
static int take_section(struct warm *w, struct vm *vm, struct snapshot *snap)
{
	struct warm_section *st = malloc(sizeof(*st));
	struct run_result *r = vm->result;
	struct state_reader in;
	int err = st ? snapshot_find(snap, "warm", &in) : -ENOMEM;

	if (!err)
		err = state_unpack(&in, &warm_section_type, st);
	if (!err && (in.at != in.end || strcmp((const char *)st->recipe, w->recipe)))
		err = -ESTALE;
	if (!err) {
		snprintf(r->release, sizeof(r->release), "%s", st->release);
		r->cmdline = strdup((const char *)st->cmdline);
		err = r->cmdline ? 0 : -ENOMEM;
	}
	free(st);
	return err;
}

/* Failures are held back from here on, as they are no reason not to run. */
static int restore(struct warm *w, struct vm *vm)
{
	struct snapshot *snap;
	char *path;
	int err;

	if (faccessat(w->folder_fd, w->key, F_OK, AT_SYMLINK_NOFOLLOW))
		return -errno;
	if (asprintf(&path, "%s/%s", w->path, w->key) < 0)
		return -ENOMEM;
	log_hold_errors(true);
	err = snapshot_open(path, &snap);
	free(path);
	if (err)
		return err;
	err = take_section(w, vm, snap);
	if (!err)
		err = snapshot_take_same(snap, vm->cfg);
	if (err) {
		snapshot_close(snap);
		return err;
	}
	utimensat(w->folder_fd, w->key, NULL, AT_SYMLINK_NOFOLLOW); /* so long it is kept */
	return 0;
}

/* Return: 0; else the run is a cold one, and is not saved */
static int prepare(struct warm *w, struct vm *vm)
{
	int err;

	w->folder_fd = warm_folder(&w->path);
	if (w->folder_fd < 0)
		return w->folder_fd;
	err = warm_recipe(vm->cfg, session_boot_made(vm->session_boot), &w->recipe);
	if (err)
		return err;
	warm_key(w->recipe, w->key);
	err = vm->cfg->warm == WARM_REFRESH ? -ENOENT : restore(w, vm);
	w->restored = !err;
	log_debug(LOG_BOOT, "start from '%s/%s': %s", w->path, w->key, err ? strerror(-err) : "warm");
	if (err && err != -ENOENT)
		snapshot_remove(w->folder_fd, w->key); /* of no use to anybody: this run saves another */
	if (err)
		log_hold_errors(false);
	return 0;
}

int vm_make_warm(struct vm *vm)
{
	const char *unsafe = warm_unsafe(vm->cfg);
	struct warm *w;
	int err;

	if (!vm->session_boot)
		return 0;
	if (unsafe) {
		log_debug(LOG_BOOT, "no warm start: %s", unsafe);
		return 0;
	}
	w = calloc(1, sizeof(*w));
	if (!w)
		return log_err(-ENOMEM, "warm start");
	w->folder_fd = -1;
	err = prepare(w, vm);
	if (err) {
		log_debug(LOG_BOOT, "no warm start: %s", strerror(-err));
		warm_free(w);
	} else {
		vm->warm = w;
		vm->result->warm = w->restored;
	}
	return 0;
}

bool vm_is_warm(const struct vm *vm)
{
	return vm->warm && vm->warm->restored;
}

void vm_warm_built(struct vm *vm)
{
	if (vm_is_warm(vm))
		log_hold_errors(false);
	if (vm->warm)
		malloc_trim(0); /* what it took to find out is not needed any more */
}

void vm_warm_failed(struct vm *vm)
{
	struct warm *w = vm->warm;
	char why[256];

	log_last_error(why, sizeof(why));
	log_hold_errors(false);
	log_debug(LOG_BOOT, "a cold start after all: %s", why);
	snapshot_remove(w->folder_fd, w->key);
	snapshot_close(vm->cfg->snapshot);
	vm->cfg->snapshot = NULL;
	vm->cfg->ram.saved = false;
	w->restored = vm->result->warm = false;
	free(vm->result->cmdline);
	vm->result->cmdline = NULL;
	vm->result->release[0] = '\0';
}

/* ---- to save it ---- */

static int describe(void *ctx, struct snapshot_writer *writer)
{
	const struct vm *vm = ctx;
	struct warm_section *st = calloc(1, sizeof(*st));
	const char *cmdline = vm->result->cmdline ? vm->result->cmdline : "";
	int err = st ? 0 : -ENOMEM;

	if (!err && strlen(cmdline) >= sizeof(st->cmdline))
		err = -E2BIG;
	if (!err) {
		st->recipe_n = (uint32_t)strlen(vm->warm->recipe) + 1;
		memcpy(st->recipe, vm->warm->recipe, st->recipe_n);
		st->cmdline_n = (uint32_t)strlen(cmdline) + 1;
		memcpy(st->cmdline, cmdline, st->cmdline_n);
		st->release_n = (uint32_t)snprintf((char *)st->release, sizeof(st->release), "%s",
						   vm->result->release) + 1;
		err = snapshot_put(writer, "warm", &warm_section_type, st);
	}
	free(st);
	return err;
}

static void over(void *ctx, int err, const char *why, const struct snapshot_made *made)
{
	struct vm *vm = ctx;
	struct warm *w = vm->warm;
	uint64_t limit;

	if (err)
		log_debug(LOG_BOOT, "the warm start was not saved: %s", why);
	else
		log_debug(LOG_BOOT, "the warm start was saved: %llu KiB, the guest stood still for %llu us",
			  (unsigned long long)(made->job.ram_bytes / 1024),
			  (unsigned long long)(made->pause_ns / 1000));
	snapshot_make_free(w->making);
	w->making = NULL;
	malloc_trim(0);
	if (!warm_limit(&limit))
		warm_shrink(w->folder_fd, limit, NULL);
}

/* Nobody else saves the same at this time, and nobody has since it was looked for. */
static bool is_ours(const struct vm *vm)
{
	const struct warm *w = vm->warm;

	return !flock(w->folder_fd, LOCK_EX | LOCK_NB) &&
	       (vm->cfg->warm == WARM_REFRESH || faccessat(w->folder_fd, w->key, F_OK, AT_SYMLINK_NOFOLLOW));
}

void vm_warm_save(struct vm *vm)
{
	struct warm *w = vm->warm;
	const int err = w && !w->restored && is_ours(vm) ? 0 : -EALREADY;
	struct snapshot_make_config cfg = {
		.vm = vm,
		.name = w ? w->key : NULL,
		.replace = true,
		.brief = true,
		.no_disks = true,
		.describe = describe,
		.over = over,
		.ctx = vm,
	};
	char why[256];

	if (err)
		return;
	cfg.folder_fd = fcntl(w->folder_fd, F_DUPFD_CLOEXEC, 0);
	if (cfg.folder_fd >= 0 && snapshot_make_start(&cfg, &w->making, why, sizeof(why))) {
		log_debug(LOG_BOOT, "no warm start is saved: %s", why);
		w->making = NULL;
	}
}

void vm_undo_warm(struct vm *vm)
{
	const int64_t until = now_ms() + SAVE_MS;
	struct warm *w = vm->warm;

	if (!w)
		return;
	if (w->making)
		snapshot_make_keep_still(w->making);
	while (w->making && !vm->hurry && now_ms() < until)
		if (loop_once(&vm->loop, LOOK_MS) < 0)
			break;
	snapshot_make_end(vm, w->making);
	warm_free(w);
	vm->warm = NULL;
}
