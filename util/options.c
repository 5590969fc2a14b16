/* Command lines by table; see options.h. */
#include "lkvm/options.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/keys.h"
#include "lkvm/log.h"

/* Longest word that is looked up among the known names: a typing mistake is short. */
#define NEAREST_MAX 40

const struct opt options_help_opt = {
	.kind = OPT_FLAG,
	.short_name = 'h',
	.name = "help",
	.help = "Show this text.",
};

/* ---- the nearest known name ---- */

struct nearest {
	const char *word;
	const char *best; /* NULL: nothing near so far */
	size_t distance;
};

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t least = a < b ? a : b;

	return least < c ? least : c;
}

/*
 * Optimal string alignment: insertions, deletions, substitutions and swaps of two neighbours, one
 * each. Both words are at most NEAREST_MAX long; three rows of the matrix are enough.
 */
static size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t rows[3][NEAREST_MAX + 1];

	for (size_t j = 0; j <= b_len; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t *row = rows[i % 3];
		const size_t *above = rows[(i - 1) % 3], *two_above = rows[(i + 1) % 3];

		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			row[j] = min3(above[j] + 1, row[j - 1] + 1,
				      above[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    two_above[j - 2] + 1 < row[j])
				row[j] = two_above[j - 2] + 1;
		}
	}
	return rows[a_len % 3][b_len];
}

/* One mistake in three letters is a slip; an unfinished word counts as one mistake. */
static void nearest_try(struct nearest *near, const char *name)
{
	size_t word_len = strlen(near->word), len = strlen(name);
	size_t longest = word_len > len ? word_len : len;
	size_t limit = longest < 6 ? 1 : longest / 3;
	size_t distance;

	if (word_len < 2 || longest > NEAREST_MAX)
		return;
	if (word_len >= 3 && !strncmp(near->word, name, word_len))
		distance = 1;
	else
		distance = edit_distance(near->word, word_len, name, len);
	if (distance > limit || (near->best && distance >= near->distance))
		return;
	near->best = name;
	near->distance = distance;
}

const char *options_nearest(const char *word, const char *const *names, unsigned n)
{
	struct nearest near = { .word = word };

	for (unsigned i = 0; i < n; i++)
		nearest_try(&near, names[i]);
	return near.best;
}

const char *options_meant(char ret[OPT_MEANT_BYTES], const char *dashes, const char *near)
{
	*ret = '\0';
	if (near)
		snprintf(ret, OPT_MEANT_BYTES, ", did you mean '%s%s'?", dashes, near);
	return ret;
}

/* ---- parsing ---- */

/* One run of options_parse(). */
struct parser {
	const struct command *cmd;
	void *config;
	int argc;
	char **argv;
	int at; /* next word to look at */
};

bool options_more(const struct opt *opt)
{
	return opt->kind != OPT_GROUP || opt->help;
}

int options_unsigned(const char *arg, unsigned min, unsigned max, unsigned *ret)
{
	unsigned long long value = 0;

	if (!*arg || strspn(arg, "0123456789") != strlen(arg))
		return -EINVAL;
	for (; *arg; arg++) {
		value = value * 10 + (unsigned)(*arg - '0');
		if (value > UINT_MAX)
			return -ERANGE;
	}
	if (value < min || value > max)
		return -ERANGE;
	*ret = (unsigned)value;
	return 0;
}

static const struct opt *find_long(const struct command *cmd, const char *name, size_t len)
{
	for (const struct opt *opt = cmd->opts; options_more(opt); opt++)
		if (opt->name && strlen(opt->name) == len && !memcmp(opt->name, name, len))
			return opt;
	return len == 4 && !memcmp(name, "help", 4) ? &options_help_opt : NULL;
}

static const struct opt *find_short(const struct command *cmd, char letter)
{
	for (const struct opt *opt = cmd->opts; options_more(opt); opt++)
		if (opt->short_name && opt->short_name == letter)
			return opt;
	return letter == 'h' ? &options_help_opt : NULL;
}

/* @dashes and the first @len bytes of @word are what the user wrote; @near: what was meant, or NULL */
static enum options_result unknown(const struct command *cmd, const char *dashes, const char *word,
				   size_t len, const char *near)
{
	char meant[OPT_MEANT_BYTES];

	options_meant(meant, near && !near[1] ? "-" : "--", near);
	log_errx(0, "unknown option '%s%.*s'%s (try 'lkvm %s --help')", dashes, (int)len, word, meant,
		 cmd->name);
	return OPTIONS_BAD;
}

static enum options_result unknown_long(const struct command *cmd, const char *word, size_t len)
{
	char name[NEAREST_MAX + 1] = "";
	struct nearest near = { .word = name };

	if (len <= NEAREST_MAX)
		memcpy(name, word, len);
	for (const struct opt *opt = cmd->opts; options_more(opt); opt++)
		if (opt->name && opt->help)
			nearest_try(&near, opt->name);
	nearest_try(&near, options_help_opt.name);
	return unknown(cmd, "--", word, len, near.best);
}

static enum options_result set_unsigned(const struct opt *opt, const char *shown, const char *arg,
					unsigned *field)
{
	unsigned max = opt->max ? opt->max : UINT_MAX;

	if (!options_unsigned(arg, opt->min, max, field))
		return OPTIONS_OK;
	log_errx(0, "option '%s': '%s' is not a whole number from %u to %u", shown, arg, opt->min, max);
	return OPTIONS_BAD;
}

/* @shown: the option as the user wrote it; @arg: NULL if there is none */
static enum options_result apply(struct parser *p, const struct opt *opt, const char *shown,
				 const char *arg)
{
	void *field = (char *)p->config + opt->offset;

	if (opt == &options_help_opt) {
		options_help(p->cmd);
		return OPTIONS_HELP;
	}
	switch (opt->kind) {
	case OPT_FLAG:
		*(bool *)field = true;
		break;
	case OPT_STRING:
		*(const char **)field = arg;
		break;
	case OPT_UNSIGNED:
		assert(arg); /* arg_optional is for OPT_PARSE */
		return set_unsigned(opt, shown, arg, field);
	case OPT_PARSE:
		return opt->parse(p->config, opt, arg) ? OPTIONS_BAD : OPTIONS_OK;
	case OPT_GROUP:
		break;
	}
	return OPTIONS_OK;
}

/* The argument is the next word, whatever it looks like: `--cpu -avx2`. */
static enum options_result apply_next(struct parser *p, const struct opt *opt, const char *shown)
{
	if (p->at >= p->argc) {
		log_errx(0, "option '%s': argument %s is missing", shown, opt->arg);
		return OPTIONS_BAD;
	}
	return apply(p, opt, shown, p->argv[p->at++]);
}

/* Is @word one of @words, which blanks separate? */
static bool is_choice(const char *words, const char *word)
{
	size_t len = strlen(word);

	for (; words && *words; words += strcspn(words, " "), words += strspn(words, " "))
		if (len && !strncmp(words, word, len) && (!words[len] || words[len] == ' '))
			return true;
	return false;
}

static bool is_key(const struct opt_key *keys, const char *word)
{
	for (const struct opt_key *key = keys; key && key->name; key++)
		if (!strcmp(key->name, word))
			return true;
	return false;
}

static bool is_value(const struct opt_value *values, const char *word)
{
	for (; values && values->name; values++)
		if (!strcmp(values->name, word) || (values->implied && is_key(values->keys, word)))
			return true;
	return false;
}

/* Up to a comma: "3", "3,path=FILE"; a kernel's release, "6.1.0", is none. */
static bool is_number(const char *word)
{
	const size_t digits = strspn(word, "0123456789");

	return digits && (!word[digits] || word[digits] == ',');
}

/* `--hugepages 2M`: would take 2M for an operand, which is nothing that anybody wants. */
static enum options_result apply_optional(struct parser *p, const struct opt *opt, const char *shown,
					  const char *arg)
{
	const char *next = p->at < p->argc ? p->argv[p->at] : "";

	if (!arg && opt->arg_next && *next && *next != '-')
		return apply(p, opt, shown, p->argv[p->at++]);
	if (!arg && opt->number_follows && is_number(next))
		return apply_next(p, opt, shown);
	if (arg || (!is_choice(opt->words, next) && !is_value(opt->values, next)))
		return apply(p, opt, shown, arg);
	log_errx(0, "option '%s': its argument follows an equals sign: --%s=%s", shown, opt->name, next);
	return OPTIONS_BAD;
}

/* @word: after the two dashes */
static enum options_result parse_long(struct parser *p, const char *word)
{
	const char *end = strchrnul(word, '=');
	size_t len = (size_t)(end - word);
	const struct opt *opt = find_long(p->cmd, word, len);
	char shown[NEAREST_MAX + 3];

	if (!opt)
		return unknown_long(p->cmd, word, len);
	snprintf(shown, sizeof(shown), "--%s", opt->name);
	if (opt->arg && !opt->arg_optional && !*end)
		return apply_next(p, opt, shown);
	if (!opt->arg && *end) {
		log_errx(0, "option '%s': takes no argument, but got '%s'", shown, end + 1);
		return OPTIONS_BAD;
	}
	return apply_optional(p, opt, shown, *end ? end + 1 : NULL);
}

static enum options_result unknown_short(const struct command *cmd, char letter)
{
	const char other[] = { (char)(letter ^ ('a' ^ 'A')), '\0' };
	bool known = (letter | 0x20) >= 'a' && (letter | 0x20) <= 'z' && find_short(cmd, *other);

	return unknown(cmd, "-", &letter, 1, known ? other : NULL);
}

/* @word: after the dash, not empty: flags, the last of which may have its argument behind it */
static enum options_result parse_short(struct parser *p, const char *word)
{
	size_t len = strcspn(word, "=");
	const struct opt *long_opt;

	/* "-kernel FILE" would boot a file called "ernel". */
	long_opt = len > 1 ? find_long(p->cmd, word, len) : NULL;
	if (long_opt)
		return unknown(p->cmd, "-", word, len, long_opt->name);
	for (; *word; word++) {
		const struct opt *opt = find_short(p->cmd, *word);
		const char shown[] = { '-', *word, '\0' };
		enum options_result result;

		if (!opt)
			return unknown_short(p->cmd, *word);
		if (opt->arg && !opt->arg_optional)
			return word[1] ? apply(p, opt, shown, word + 1) : apply_next(p, opt, shown);
		if (opt->arg_next && word[1])
			return apply(p, opt, shown, word + 1);
		result = apply_optional(p, opt, shown, NULL);
		if (result != OPTIONS_OK)
			return result;
	}
	return OPTIONS_OK;
}

/* Move the @n words behind the first @n_operands words in front of them. */
static void rotate(char **words, int n_operands, int n)
{
	for (int i = 0; i < n; i++) {
		char *word = words[n_operands + i];

		memmove(words + i + 1, words + i, (size_t)n_operands * sizeof(*words));
		words[i] = word;
	}
}

static enum options_result check_operands(const struct command *cmd, char **argv, int first, int end)
{
	if (first >= end || (cmd->operands && *cmd->operands))
		return OPTIONS_OK;
	log_errx(0, "unexpected argument '%s'", argv[first]);
	return OPTIONS_BAD;
}

enum options_result options_parse(const struct command *cmd, void *config, int argc, char **argv,
				  int *ret_operands, int *ret_dashdash)
{
	struct parser p = { .cmd = cmd, .config = config, .argc = argc, .argv = argv, .at = 1 };
	int n_operands = 0, end = argc;
	bool dashdash = false;

	while (p.at < argc && !dashdash) {
		int first = p.at++;
		const char *word = argv[first];
		enum options_result result = OPTIONS_OK;

		if (word[0] != '-' || !word[1]) {
			n_operands++;
			continue;
		}
		if (word[1] != '-')
			result = parse_short(&p, word + 1);
		else if (word[2])
			result = parse_long(&p, word + 2);
		else
			dashdash = true;
		if (result != OPTIONS_OK)
			return result;
		rotate(argv + first - n_operands, n_operands, p.at - first);
	}
	if (dashdash && ret_dashdash)
		end = p.at;
	if (check_operands(cmd, argv, p.at - n_operands, end) != OPTIONS_OK)
		return OPTIONS_BAD;
	*ret_operands = p.at - n_operands;
	if (ret_dashdash)
		*ret_dashdash = end;
	return OPTIONS_OK;
}

int options_status(enum options_result result)
{
	return result == OPTIONS_HELP ? EXIT_SUCCESS : EXIT_USAGE;
}
