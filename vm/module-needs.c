/*
 * What a module needs: what it depends on stands in its .modinfo, by name, and what is to be loaded too if
 * it is there, by name or alias (softdep).
 */
#include "lkvm/vm/modules.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/log.h"
#include "lkvm/types.h"

#define NAME_BYTES  64 /* MODULE_NAME_LEN */
#define ALIAS_BYTES 1024
#define ALIAS_KEY   ".alias="

/* What is on the way to the list: a circle of dependencies ends there. */
struct walk {
	const struct modules *m;
	struct module_list *list;
	char under[MODULES_MOST][NAME_BYTES];
	unsigned n_under;
};

static int add(struct walk *w, const char *name, bool soft);

/* Names with commas or blanks between them */
static int add_names(struct walk *w, const char *names, size_t len, bool soft)
{
	char name[NAME_BYTES];
	int err = 0;

	for (const char *at = names, *end = names + len; !err && at < end;) {
		size_t n = 0;

		while (at + n < end && at[n] != ',' && at[n] != ' ')
			n++;
		if (n >= sizeof(name))
			return log_errx(-ENOEXEC, "module '%s': damaged", w->under[w->n_under - 1]);
		memcpy(name, at, n);
		name[n] = '\0';
		if (n)
			err = add(w, name, soft);
		at += n + 1;
	}
	return err;
}

/* "softdep=pre: a b post: c": the part of @which */
static int add_soft(struct walk *w, const struct modinfo *info, const char *which)
{
	static const char *const part[] = { "pre:", "post:" };
	int err = 0;

	for (const char *v = NULL; !err && (v = modinfo_next(info, "softdep", v));) {
		const char *at = strstr(v, which), *end;

		if (!at)
			continue;
		at += strlen(which);
		end = at + strlen(at);
		for (size_t i = 0; i < ARRAY_SIZE(part); i++) {
			const char *next = strstr(at, part[i]);

			if (next && next < end)
				end = next;
		}
		err = add_names(w, at, (size_t)(end - at), true);
	}
	return err;
}

static int add_hard(struct walk *w, const struct modinfo *info)
{
	const char *depends = modinfo_next(info, "depends", NULL);

	return depends ? add_names(w, depends, strlen(depends), false) : 0;
}

static int append(struct walk *w, const char *name, struct unpacked *elf)
{
	struct module *new = &w->list->list[w->list->n];

	if (w->list->n == MODULES_MOST)
		return log_errx(-E2BIG, "module '%s': more than %d modules are needed", name, MODULES_MOST);
	new->name = strdup(name);
	if (!new->name)
		return log_err(-ENOMEM, "module '%s'", name);
	new->file = *elf;
	w->list->n++;
	*elf = (struct unpacked){ 0 };
	return 0;
}

static int add_file(struct walk *w, const char *name)
{
	struct unpacked elf = { 0 };
	struct modinfo info = { 0 };
	int err = modules_load(w->m, name, &elf, &info);

	if (!err)
		err = add_soft(w, &info, "pre:");
	if (!err)
		err = add_hard(w, &info);
	if (!err)
		err = append(w, name, &elf);
	if (!err)
		err = add_soft(w, &info, "post:");
	modinfo_free(&info);
	unpacked_free(&elf);
	return err;
}

static bool is_known(const struct walk *w, const char *name)
{
	for (unsigned i = 0; i < w->n_under; i++)
		if (!strcmp(w->under[i], name))
			return true;
	for (unsigned i = 0; i < w->list->n; i++)
		if (!strcmp(w->list->list[i].name, name))
			return true;
	return false;
}

/* ---- a soft dependency that is an alias: "crypto-crc32c" ---- */

/* '_' and '-' are one. @name has '_' only. */
static bool is_alias_of(const char *alias, size_t len, const char *name)
{
	char pattern[ALIAS_BYTES];

	if (len >= sizeof(pattern))
		return false;
	for (size_t i = 0; i < len; i++)
		pattern[i] = alias[i] == '-' ? '_' : alias[i];
	pattern[len] = '\0';
	return !fnmatch(pattern, name, 0);
}

/* Strings MODULE.alias=ALIAS */
static bool is_built_in_by_alias(const struct unpacked *list, const char *name)
{
	const char *at = (const char *)list->bytes, *end = at + list->len, *nul, *alias;

	for (; at < end && (nul = memchr(at, 0, (size_t)(end - at))); at = nul + 1) {
		alias = strstr(at, ALIAS_KEY);
		if (alias && is_alias_of(alias + strlen(ALIAS_KEY), strlen(alias + strlen(ALIAS_KEY)), name))
			return true;
	}
	return false;
}

struct search {
	struct walk *w;
	const char *alias;
};

static int add_if_it_says_so(void *ctx, const char *path, const struct modinfo *info)
{
	const struct search *s = ctx;
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	char name[NAME_BYTES];
	size_t len = strcspn(base, ".");

	if (len >= sizeof(name))
		return 0;
	memcpy(name, base, len);
	name[len] = '\0';
	for (const char *v = NULL; (v = modinfo_next(info, "alias", v));)
		if (is_alias_of(v, strlen(v), s->alias))
			return add(s->w, name, true);
	return 0;
}

/* Lines "alias ALIAS MODULE" */
static int add_by_list(struct walk *w, const struct unpacked *list, const char *alias)
{
	const char *at = (const char *)list->bytes, *end = at + list->len, *nl;
	int err = 0;

	for (; !err && at < end && (nl = memchr(at, '\n', (size_t)(end - at))); at = nl + 1) {
		const char *blank = memrchr(at, ' ', (size_t)(nl - at));
		const size_t head = sizeof("alias ") - 1;

		if (blank && blank > at + head && !memcmp(at, "alias ", head) &&
		    is_alias_of(at + head, (size_t)(blank - at) - head, alias))
			err = add_names(w, blank + 1, (size_t)(nl - blank) - 1, true);
	}
	return err;
}

/* All that have it; none, if something that is built in has it */
static int add_by_alias(struct walk *w, const char *alias)
{
	const struct kernel *k = modules_kernel(w->m);
	struct search search = { w, alias };
	struct unpacked list = { 0 };
	int err = modules_read_list(k, "modules.builtin.modinfo", &list);
	bool done = !err && is_built_in_by_alias(&list, alias);

	unpacked_free(&list);
	if (err || done)
		return err;
	err = modules_read_list(k, "modules.alias", &list);
	if (!err)
		err = list.len ? add_by_list(w, &list, alias) :
				 modules_each(w->m, add_if_it_says_so, &search);
	unpacked_free(&list);
	return err;
}

/* ---- by name ---- */

static int add(struct walk *w, const char *wanted, bool soft)
{
	char *name = w->under[w->n_under];
	enum module_place place;
	size_t len = strlen(wanted);
	int err;

	if (w->n_under == MODULES_MOST - 1 || len >= NAME_BYTES)
		return log_errx(-E2BIG, "module '%s': needs too much", wanted);
	for (size_t i = 0; i <= len; i++)
		name[i] = wanted[i] == '-' ? '_' : wanted[i];
	place = modules_find(w->m, name);
	if (is_known(w, name) || place == MODULE_BUILT_IN)
		return 0;
	w->n_under++;
	err = soft && place == MODULE_NONE ? add_by_alias(w, name) : add_file(w, name);
	w->n_under--;
	return err;
}

int modules_add(const struct modules *m, const char *name, struct module_list *list)
{
	struct walk *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return log_err(-ENOMEM, "module '%s'", name);
	w->m = m;
	w->list = list;
	err = add(w, name, false);
	free(w);
	return err;
}

void module_list_free(struct module_list *list)
{
	for (unsigned i = 0; i < list->n; i++) {
		free(list->list[i].name);
		unpacked_free(&list->list[i].file);
	}
	list->n = 0;
}
