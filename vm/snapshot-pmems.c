/*
 * The persistent memory of a machine that is saved, and the configuration that gives it the same files again; see
 * snapshot-internal.h. Only files that the guest reads: they stay where they are, and must be what they were. What a
 * guest writes is in its file at once, so that a machine that goes on would take it away from the one that was saved.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/log.h"
#include "lkvm/pmem.h"
#include "lkvm/types.h"
#include "snapshot-internal.h"
#include "vm-internal.h"

#define NAME_BYTES 20

struct persistent_state {
	uint64_t size_bytes, device, inode, mtime_ns;
	uint32_t checksum, path_n;
	uint8_t path[4096];
};

static const struct state_field fields[] = {
	STATE_ONE(struct persistent_state, size_bytes),
	STATE_ONE(struct persistent_state, device),
	STATE_ONE(struct persistent_state, inode),
	STATE_ONE(struct persistent_state, mtime_ns),
	STATE_ONE(struct persistent_state, checksum),
	STATE_ONE(struct persistent_state, path_n, .max = sizeof(((struct persistent_state *)0)->path)),
	STATE_SOME(struct persistent_state, path, path_n),
};

static const char *check(const void *state)
{
	const struct persistent_state *st = state;

	if (!st->size_bytes || st->size_bytes > INT64_MAX)
		return "size_bytes";
	return state_is_text(st->path, st->path_n) ? NULL : "path";
}

const struct state_type snapshot_persistent_type = {
	STATE_TYPE("persistent", 1, struct persistent_state, fields),
	.check = check,
};

/* As a device it is called pmem0. */
static void section_name(char ret[NAME_BYTES], unsigned index)
{
	snprintf(ret, NAME_BYTES, "persistent%u", index);
}

int snapshot_describe_pmem(struct snapshot_writer *w, const struct pmem_config *pmem, unsigned i)
{
	struct persistent_state *st;
	struct snapshot_identity id;
	char name[NAME_BYTES];
	int err;

	if (!pmem->read_only)
		return -EOPNOTSUPP;
	st = calloc(1, sizeof(*st));
	if (!st)
		return -ENOMEM;
	err = snapshot_note_path(realpath(pmem->path, NULL), st->path, sizeof(st->path), &st->path_n);
	if (!err)
		err = snapshot_identify((const char *)st->path, &id);
	if (!err) {
		st->size_bytes = id.size_bytes;
		st->device = id.device;
		st->inode = id.inode;
		st->mtime_ns = id.mtime_ns;
		st->checksum = id.checksum;
		section_name(name, i);
		err = snapshot_put(w, name, &snapshot_persistent_type, st);
	}
	free(st);
	return err;
}

static int take_pmem(struct pmem_config *pmem, const struct persistent_state *st)
{
	const struct snapshot_identity was = {
		.size_bytes = st->size_bytes, .device = st->device, .inode = st->inode, .mtime_ns = st->mtime_ns,
		.checksum = st->checksum,
	};
	const char *path = (const char *)st->path;
	int err = snapshot_check_unchanged(path, &was, "persistent memory", "it was");

	if (err)
		return err;
	/* If it becomes another one meanwhile, pmem_open() will say so. */
	*pmem = (struct pmem_config){ .path = strdup(path), .read_only = true, .bytes = ALIGN_UP(st->size_bytes, PMEM_UNIT) };
	return pmem->path ? 0 : log_err(-ENOMEM, "persistent memory '%s'", path);
}

int snapshot_take_pmems(struct vm_config *cfg)
{
	struct persistent_state *st = malloc(sizeof(*st));
	char name[NAME_BYTES];
	int err = 0;

	cfg->pmems = calloc(PMEM_MOST, sizeof(*cfg->pmems));
	cfg->n_pmems = 0;
	if (!st || !cfg->pmems)
		err = log_err(-ENOMEM, "persistent memory");
	while (!err && cfg->n_pmems < PMEM_MOST) {
		section_name(name, cfg->n_pmems);
		err = snapshot_take_any(cfg->snapshot, name, &snapshot_persistent_type, st);
		if (err == -ENOENT) { /* these are all */
			err = 0;
			break;
		}
		if (!err)
			err = take_pmem(&cfg->pmems[cfg->n_pmems++], st);
	}
	free(st);
	return err;
}
