/* --dump-on: a run that ends badly leaves a dump; see lkvm/vm/dump.h. Main thread. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/file.h"
#include "lkvm/log.h"
#include "lkvm/types.h"
#include "lkvm/vm/dump.h"
#include "vm-internal.h"

#define LOOK_MS 100 /* between two looks at whether somebody wants the end at once */

struct ending {
	bool over;
	int err;
	struct ipc_dump_pages left_out;
};

static void over(void *ctx, int err, const char *why, const struct dump_made *made)
{
	struct ending *ending = ctx;

	ending->over = true;
	ending->err = err;
	ending->left_out = made->left_out;
	if (err)
		log_errx(err, "no dump was made: %s", why);
}

static unsigned ends_of(const struct run_result *r)
{
	return (r->panicked || r->panic || r->cause == STOP_PANIC ? DUMP_ON_PANIC : 0) |
	       (r->cause == STOP_TIMEOUT ? DUMP_ON_TIMEOUT : 0) | (r->cause == STOP_FAULT ? DUMP_ON_FAULT : 0);
}

/* Return: 0 or -errno, logged; -EAGAIN is not */
static int start(struct vm *vm, const struct file_place *place, struct ending *ending, struct dump_making **ret)
{
	struct dump_make_config cfg = {
		.vm = vm,
		.folder_fd = dup(place->folder_fd),
		.name = place->name,
		.has_ended = true,
		.exclude = vm->cfg->dump_on.exclude,
		.over = over,
		.ctx = ending,
	};
	char why[256];
	int err;

	if (cfg.folder_fd < 0)
		return log_err(-errno, "no dump was made");
	err = dump_make_start(&cfg, ret, why, sizeof(why));
	if (!err || err == -EAGAIN)
		return err;
	return log_errx(err, "no dump was made: %s", *why ? why : strerror(-err));
}

/* However long it takes: it was asked for. A signal gives it up. */
static void write_dump(struct vm *vm, const struct file_place *place)
{
	struct dump_making *making = NULL;
	struct ending ending = { 0 };
	char text[160];
	int err;

	do
		err = start(vm, place, &ending, &making);
	while (err == -EAGAIN && !vm->hurry);
	while (err >= 0 && making && !ending.over && !vm->hurry)
		err = loop_once(&vm->loop, LOOK_MS);
	if (making && !ending.over)
		log_warn("the dump '%s' was given up", vm->cfg->dump_on.path);
	dump_make_free(making);
	ram_children_end(&vm->control.dying, vm->hurry ? 0 : INT64_MAX);
	if (!ending.over || ending.err)
		return;
	log_info("the guest's memory is in '%s'", vm->cfg->dump_on.path);
	if (vm->cfg->dump_on.exclude)
		log_info("%s", dump_exclude_text(&ending.left_out, text, sizeof(text)));
}

void dump_on_end(struct vm *vm)
{
	const struct dump_on *on = &vm->cfg->dump_on;
	struct file_place place = { .folder_fd = -1 };

	if (!(on->ends & ends_of(vm->result)))
		return;
	if (vm->result->hung) {
		log_warn("no dump was made: not all of the machine has ended");
		return;
	}
	if (!file_place_find(&place, on->path))
		write_dump(vm, &place);
	file_place_fini(&place);
}
