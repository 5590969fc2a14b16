/*
 * Memory that comes and goes, of a machine that is saved, as a section of its snapshot: where it may be, and which
 * blocks are there. What is in them stands in the snapshot's file of RAM, behind the RAM. See vm/snapshot.h.
 *
 * It is part of what the machine is made of, and not of the memory device: other devices' rings may be in it.
 */
#include <errno.h>
#include <string.h>

#include "lkvm/log.h"
#include "lkvm/virtio-mem.h"
#include "snapshot-internal.h"
#include "vm-internal.h"

#define PLUG "plug"

struct plug_state {
	uint64_t start, bytes, block_bytes;
	uint64_t most_bytes; /* that may be plugged */
	uint64_t plugged[RAM_BLOCK_WORDS];
};

static const struct state_field plug_fields[] = {
	STATE_ONE(struct plug_state, start),
	STATE_ONE(struct plug_state, bytes),
	STATE_ONE(struct plug_state, block_bytes),
	STATE_ONE(struct plug_state, most_bytes),
	STATE_ARRAY(struct plug_state, plugged),
};

static const char *plug_check(const void *state)
{
	const struct plug_state *st = state;
	const uint64_t block = st->block_bytes;
	uint64_t n;

	if (block < MEM_SMALLEST_BLOCK || block & (block - 1) || block > INT64_MAX / RAM_MAX_BLOCKS)
		return "block_bytes";
	n = st->bytes / block;
	if (!n || st->bytes % block || n > RAM_MAX_BLOCKS)
		return "bytes";
	if (st->start < RAM_GAP_END || st->start % block || st->start > INT64_MAX - st->bytes)
		return "start";
	if (!st->most_bytes || st->most_bytes % block || st->most_bytes > st->bytes)
		return "most_bytes";
	for (; n < RAM_MAX_BLOCKS; n++)
		if (st->plugged[n / 64] >> n % 64 & 1)
			return "plugged";
	return NULL;
}

const struct state_type snapshot_plug_type = {
	STATE_TYPE("plug", 1, struct plug_state, plug_fields),
	.check = plug_check,
};

int snapshot_describe_plug(struct snapshot_writer *w, const struct vm_config *cfg, const struct ram *ram)
{
	const struct ram_region *region = &cfg->ram.region;
	struct plug_state st = {
		.start = region->start, .bytes = region->bytes, .block_bytes = region->block_bytes,
		.most_bytes = cfg->mem_max - cfg->ram.size_bytes,
	};

	if (!region->bytes)
		return 0;
	for (unsigned n = 0; n < RAM_MAX_BLOCKS; n++)
		if (ram_plugged(ram, n, 1))
			st.plugged[n / 64] |= 1ULL << n % 64;
	return snapshot_put(w, PLUG, &snapshot_plug_type, &st);
}

void snapshot_skip_plug(struct snapshot *snap)
{
	struct state_reader in;

	snapshot_find(snap, PLUG, &in);
}

/* What was given on the command line, of a machine that has @has. Return: 0 or -EINVAL, logged */
static int compare(const struct vm_config *cfg, uint64_t has)
{
	char text[2][32];

	if (!cfg->mem_max || cfg->mem_max == has)
		return 0;
	if (!has)
		return log_errx(-EINVAL, "the machine in '%s' was made without --mem-max", cfg->restore);
	return log_errx(-EINVAL, "the machine in '%s' has at most %s of memory, not %s (--mem-max)", cfg->restore,
			ram_mb_text(has, text[0], sizeof(text[0])), ram_mb_text(cfg->mem_max, text[1], sizeof(text[1])));
}

int snapshot_take_plug(struct vm_config *cfg, uint64_t ram_bytes)
{
	struct plug_state st;
	int err = snapshot_take_any(cfg->snapshot, PLUG, &snapshot_plug_type, &st);

	if (err == -ENOENT)
		return compare(cfg, 0);
	if (err)
		return err;
	if (st.start < ram_bytes + RAM_GAP_SIZE || st.most_bytes > UINT64_MAX - ram_bytes)
		return log_errx(-EBADMSG, "snapshot '%s' is damaged: memory that is plugged is where its RAM is", cfg->restore);
	err = compare(cfg, ram_bytes + st.most_bytes);
	if (err)
		return err;
	cfg->mem_max = ram_bytes + st.most_bytes;
	cfg->ram.region = (struct ram_region){ st.start, st.bytes, st.block_bytes };
	memcpy(cfg->ram.plugged, st.plugged, sizeof(st.plugged));
	return 0;
}
