/* The words of options about dumps; see lkvm/vm/dump.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lkvm/log.h"
#include "lkvm/types.h"
#include "lkvm/vm/dump.h"

/* ---- --dump-on ---- */

const struct opt_key dump_on_keys[] = {
	{ "panic", .kind = KEY_BITS, .bits = DUMP_ON_PANIC, .help = "The guest's kernel panicked." },
	{ "timeout", .kind = KEY_BITS, .bits = DUMP_ON_TIMEOUT,
	  .help = "--timeout, --boot-timeout or --idle-timeout passed." },
	{ "fault", .kind = KEY_BITS, .bits = DUMP_ON_FAULT, .help = "A triple fault, or KVM could not run the guest." },
	KEYS_END,
};

int dump_on_parse(struct dump_on *ret, const char *option, const char *arg)
{
	const char *colon = strchr(arg, ':');
	struct stat st;
	char *words;
	int err;

	if (!colon || colon == arg || !colon[1])
		return log_errx(-EINVAL, "option '--%s' wants ENDS:FILE, such as panic,timeout:vmcore", option);
	words = strndup(arg, (size_t)(colon - arg));
	if (!words)
		return log_err(-ENOMEM, "option '--%s'", option);
	ret->ends = 0;
	ret->path = colon + 1;
	err = keys_parse(option, dump_on_keys, &ret->ends, words);
	free(words);
	if (!err && !lstat(ret->path, &st))
		return log_errx(-EEXIST, "option '--%s': '%s' exists, and is not replaced", option, ret->path);
	return err;
}

/* ---- --exclude, --dump-exclude ---- */

const struct opt_key dump_exclude_keys[] = {
	{ "free", .kind = KEY_BITS, .bits = DUMP_NO_FREE, .help = "Pages that nobody uses." },
	{ "cache", .kind = KEY_BITS, .bits = DUMP_NO_CACHE, .help = "Pages that cache files." },
	{ "user", .kind = KEY_BITS, .bits = DUMP_NO_USER, .help = "Memory of programs, but for what they have of files." },
	{ "zero", .kind = KEY_BITS, .bits = DUMP_NO_ZERO, .help = "Pages of zeros, which take no space in any case." },
	KEYS_END,
};

int dump_exclude_parse(unsigned *ret, const char *option, const char *arg)
{
	char *words = strdup(arg);
	unsigned levels = 0;
	int err;

	if (!words)
		return log_err(-ENOMEM, "option '--%s'", option);
	err = keys_parse(option, dump_exclude_keys, &levels, words);
	free(words);
	if (!err)
		*ret = levels;
	return err;
}

const char *dump_exclude_text(const struct ipc_dump_pages *n, char *buf, size_t cap)
{
	int len = snprintf(buf, cap, "left out: %" PRIu64 " free pages, %" PRIu64 " of files, %" PRIu64 " of programs, %"
			   PRIu64 " of zeros", n->free, n->cache, n->user, n->zero);

	if (n->unusable && len > 0 && (size_t)len < cap)
		snprintf(buf + len, cap - (size_t)len, ", %" PRIu64 " without memory", n->unusable);
	return buf;
}
