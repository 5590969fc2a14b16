/* What --fs DIR,TAG,key,key=value and --9p may say of a folder: the keys of struct fs_config. */
#include <errno.h>
#include <string.h>

#include "lkvm/fs.h"
#include "lkvm/log.h"
#include "lkvm/types.h"

static const char *const caches[] = {
	[FS_CACHE_AUTO] = "auto",
	[FS_CACHE_NONE] = "none",
	[FS_CACHE_ALWAYS] = "always",
};

const char *fs_cache_name(enum fs_cache cache)
{
	return caches[cache];
}

static int set_cache(void *config, const char *option, const char *value)
{
	struct fs_config *folder = config;

	for (unsigned i = 0; i < ARRAY_SIZE(caches); i++)
		if (!strcmp(value, caches[i])) {
			folder->cache = (enum fs_cache)i;
			return 0;
		}
	return log_errx(-EINVAL, "option '--%s': cache '%s' is none of none, auto, always", option, value);
}

#define RO                                                                                         \
	{ "ro", .kind = KEY_FLAG, .offset = offsetof(struct fs_config, read_only),                 \
	  .help = "Nothing in it can be changed." }

const struct opt_key p9_keys[] = {
	RO,
	KEYS_END,
};

const struct opt_key fs_keys[] = {
	RO,
	{ "cache", "none|auto|always", .kind = KEY_PARSE, .parse = set_cache,
	  .help = "What the guest keeps of files and names (auto).\n"
		  "With auto it keeps what is read-only; else it looks again at each open whether a file has "
		  "changed, and believes names and attributes for a second.\n"
		  "With none it asks each time, and cannot map files shared.\n"
		  "With always it keeps all: for folders that nobody else changes." },
	{ "dax", .kind = KEY_FLAG, .offset = offsetof(struct fs_config, dax),
	  .help = "Let the guest use the host's page cache itself, instead of a copy (off).\n"
		  "Guests that read the same files then share one copy of them in the host's memory, and what "
		  "one side writes the other sees at once." },
	KEYS_END,
};
