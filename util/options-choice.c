/* What may stand in an option's argument, out of its tables of values and keys; see options.h. */
#include "lkvm/options.h"

#include <stdio.h>

#include "lkvm/keys.h"

/* One walk through an option's choices. */
struct walk {
	bool each_name;
	void *ctx;
	void (*each)(void *ctx, const struct opt_choice *choice);
};

/* @before: a value and its comma, or "" */
static void visit_names(const struct walk *walk, const struct opt_key *key, const char *before)
{
	struct opt_choice choice = { .help = key->help };
	const char *name;

	if (!walk->each_name) {
		snprintf(choice.label, sizeof(choice.label), "%s[+|-]%s", before, key->name);
		walk->each(walk->ctx, &choice);
		return;
	}
	choice.help = NULL;
	for (unsigned i = 0; (name = key->names->name(i / 2)); i++) {
		snprintf(choice.word, sizeof(choice.word), "%s%c%s", before, "-+"[i % 2], name);
		walk->each(walk->ctx, &choice);
	}
}

static void visit_keys(const struct walk *walk, const struct opt_key *key, const char *before)
{
	for (; key && key->name; key++) {
		struct opt_choice choice = { .help = key->help };

		if (key->kind == KEY_NAMES) {
			visit_names(walk, key, before);
			continue;
		}
		snprintf(choice.word, sizeof(choice.word), "%s%s%s", before, key->name,
			 key->arg ? "=" : "");
		snprintf(choice.label, sizeof(choice.label), "%s%s%s%s%s%s", before, key->name,
			 key->alone ? "[" : "", key->arg ? "=" : "", key->arg ? key->arg : "",
			 key->alone ? "]" : "");
		walk->each(walk->ctx, &choice);
	}
}

void options_choices(const struct opt *opt, bool each_name, void *ctx,
		     void (*each)(void *ctx, const struct opt_choice *choice))
{
	const struct walk walk = { each_name, ctx, each };

	for (const struct opt_value *value = opt->values; value && value->name; value++) {
		struct opt_choice choice = { .help = value->help };
		char before[OPT_CHOICE_BYTES];

		snprintf(choice.word, sizeof(choice.word), "%s", value->name);
		snprintf(choice.label, sizeof(choice.label), "%s", value->name);
		each(ctx, &choice);
		snprintf(before, sizeof(before), "%s,", value->name);
		visit_keys(&walk, value->keys, value->implied ? "" : before);
	}
	visit_keys(&walk, opt->keys, "");
}
