/*
 * Warm starts: the moment at which the guest of a session asks for its plan is saved once, in the user's
 * cache, and every later run that would come to the same moment goes on from it.
 *
 *	$XDG_CACHE_HOME/lkvm/warm/KEY    a snapshot, with a section "warm": its recipe
 *
 * The recipe is a text of all that the moment depends on: lkvm itself, the host's boot, kernel, initramfs,
 * machine. KEY is a hash of it, but what counts is the text. Whatever is wrong with the cache, or with what
 * is in it: the run is a cold one.
 *
 * Main thread. Nothing here is logged but for `--debug boot`, unless it says so.
 */
#ifndef LKVM_VM_WARM_H
#define LKVM_VM_WARM_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "lkvm/state.h"
#include "lkvm/vm/config.h"

struct boot_made;
struct snapshot;

/* ---- vm/warm-recipe.c ---- */

#define WARM_RECIPE_BYTES (64u << 10)

/** warm_unsafe() - why a run with this configuration has to be cold, in words; NULL: it need not */
const char *warm_unsafe(const struct vm_config *cfg);
/**
 * warm_recipe() - lines "KEY VALUE"
 * @made: the initramfs, of which length and sum go in; it is not written for that
 * Return: 0 and a heap string, shorter than WARM_RECIPE_BYTES; or -errno
 */
int warm_recipe(const struct vm_config *cfg, const struct boot_made *made, char **ret);
/** warm_recipe_value() - of the first line with this key, up to @cap bytes; false: there is none */
bool warm_recipe_value(const char *recipe, const char *key, char *ret, size_t cap);

/* ---- vm/warm-cache.c ---- */

#define WARM_KEY_BYTES     17 /* 16 hexadecimal digits and a NUL */
#define WARM_DEFAULT_LIMIT (2ULL << 30)

struct warm_section { /* beside the snapshot's own */
	uint32_t recipe_n, cmdline_n, release_n; /* each with its NUL */
	uint8_t recipe[WARM_RECIPE_BYTES];
	uint8_t cmdline[4096], release[128];
};
extern const struct state_type warm_section_type;

/** warm_key() - the name that a recipe has in the cache */
void warm_key(const char *recipe, char ret[WARM_KEY_BYTES]);
/**
 * warm_folder() - the cache, which is made if it is not there
 * Return: a descriptor and its path, heap; or -errno: no $HOME, it cannot be made, others may write it
 */
int warm_folder(char **ret_path);

struct warm_entry {
	char key[WARM_KEY_BYTES];
	uint64_t bytes; /* of the disk */
	struct timespec used;
};
/** warm_entries() - all of a cache, the one used last first; Return: how many, and a heap array; or -errno */
int warm_entries(int folder_fd, struct warm_entry **ret);
/** warm_limit() - in bytes: $LKVM_WARM_LIMIT, or WARM_DEFAULT_LIMIT; Return: 0 or -EINVAL */
int warm_limit(uint64_t *ret);
/** warm_shrink() - throw out what was not used for longest, until the rest is @limit or less; @kept stays */
void warm_shrink(int folder_fd, uint64_t limit, const char *kept);

#endif
