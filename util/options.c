/* Command lines by table, and --help from the same table; see options.h. */
#include "lkvm/options.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lkvm/log.h"

/* Longest word that is looked up among the known names: a typing mistake is short. */
#define NEAREST_MAX 40

#define HELP_COLUMN 26
#define HELP_WIDTH_MIN 40
#define HELP_WIDTH_MAX 100

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
	if (near.best)
		log_errx(0, "unknown option '--%.*s', did you mean '--%s'?", (int)len, word, near.best);
	else
		log_errx(0, "unknown option '--%.*s'", (int)len, word);
	return OPTIONS_BAD;
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
	return apply(p, opt, shown, *end ? end + 1 : NULL);
}

static enum options_result unknown_short(const struct command *cmd, char letter)
{
	char other = (char)(letter ^ ('a' ^ 'A'));

	if (((letter | 0x20) >= 'a' && (letter | 0x20) <= 'z') && find_short(cmd, other))
		log_errx(0, "unknown option '-%c', did you mean '-%c'?", letter, other);
	else
		log_errx(0, "unknown option '-%c'", letter);
	return OPTIONS_BAD;
}

/* @word: after the dash, not empty: flags, the last of which may have its argument behind it */
static enum options_result parse_short(struct parser *p, const char *word)
{
	size_t len = strcspn(word, "=");

	/* "-kernel FILE" would boot a file called "ernel". */
	if (len > 1 && find_long(p->cmd, word, len)) {
		log_errx(0, "unknown option '-%.*s', did you mean '--%.*s'?", (int)len, word, (int)len,
			 word);
		return OPTIONS_BAD;
	}
	for (; *word; word++) {
		const struct opt *opt = find_short(p->cmd, *word);
		const char shown[] = { '-', *word, '\0' };
		enum options_result result;

		if (!opt)
			return unknown_short(p->cmd, *word);
		if (opt->arg && !opt->arg_optional)
			return word[1] ? apply(p, opt, shown, word + 1) : apply_next(p, opt, shown);
		result = apply(p, opt, shown, NULL);
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

/* ---- help ---- */

static unsigned help_width(void)
{
	const char *columns = getenv("COLUMNS");
	unsigned width = 80;
	struct winsize ws;

	if (columns && !options_unsigned(columns, 1, UINT_MAX, &width))
		;
	else if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) && ws.ws_col)
		width = ws.ws_col;
	if (width < HELP_WIDTH_MIN)
		return HELP_WIDTH_MIN;
	return width > HELP_WIDTH_MAX ? HELP_WIDTH_MAX : width;
}

/* Print words, the first at @column and further lines from @indent on; newlines are blanks. */
static void wrap_words(const char *text, size_t len, unsigned indent, unsigned column, unsigned width)
{
	const char *end = text + len;
	bool first = true;

	for (;;) {
		const char *word = text + strspn(text, " \n");
		size_t word_len;

		if (word >= end)
			break;
		word_len = strcspn(word, " \n");
		if (!first && column + 1 + word_len > width) {
			printf("\n%*s", (int)indent, "");
			column = indent;
		} else if (!first) {
			putchar(' ');
			column++;
		}
		printf("%.*s", (int)word_len, word);
		column += (unsigned)word_len;
		text = word + word_len;
		first = false;
	}
	putchar('\n');
}

/* Length of what is filled as one: an indented or empty line, or lines up to one of these. */
static size_t block_len(const char *text)
{
	size_t len = strcspn(text, "\n");

	if (*text == ' ' || *text == '\n')
		return len;
	while (text[len] && text[len + 1] && text[len + 1] != '\n' && text[len + 1] != ' ')
		len += 1 + strcspn(text + len + 1, "\n");
	return len;
}

/* Where the text of an indented line starts: after its first two blanks in a row, if it has any. */
static size_t column_of(const char *line, size_t len)
{
	size_t indent = strspn(line, " ");

	for (size_t i = indent; i + 2 < len; i++)
		if (line[i] == ' ' && line[i + 1] == ' ')
			return i + strspn(line + i, " ");
	return indent;
}

void options_wrap(const char *text)
{
	unsigned width = help_width();

	while (*text) {
		size_t len = block_len(text);
		unsigned column = *text == ' ' ? (unsigned)column_of(text, len) : 0;

		printf("%.*s", (int)column, text);
		wrap_words(text + column, len - column, column, column, width);
		text += len;
		text += *text == '\n';
	}
}

/* "  -m, --mem SIZE" */
static unsigned print_label(const struct opt *opt)
{
	int n;

	if (opt->short_name && opt->name)
		n = printf("  -%c, --%s", opt->short_name, opt->name);
	else if (opt->short_name)
		n = printf("  -%c", opt->short_name);
	else
		n = printf("      --%s", opt->name);
	if (opt->arg)
		n += printf(opt->arg_optional ? "[=%s]" : " %s", opt->arg);
	return (unsigned)n;
}

static void help_option(const struct opt *opt, unsigned width)
{
	unsigned help_column = width < 60 ? HELP_COLUMN / 2 : HELP_COLUMN;
	unsigned column = print_label(opt);

	if (column + 2 > help_column) {
		putchar('\n');
		column = 0;
	}
	printf("%*s", (int)(help_column - column), "");
	/* What follows the first line is for the man page only. */
	wrap_words(opt->help, strcspn(opt->help, "\n"), help_column, help_column, width);
}

void options_help(const struct command *cmd)
{
	unsigned width = help_width();
	bool groups = cmd->opts->kind == OPT_GROUP && cmd->opts->help;

	printf("Usage: lkvm %s [OPTION]...%s%s\n\n", cmd->name, *cmd->operands ? " " : "", cmd->operands);
	options_wrap(cmd->description);
	if (!groups)
		printf("\nOptions:\n");
	for (const struct opt *opt = cmd->opts; options_more(opt); opt++) {
		if (opt->kind == OPT_GROUP)
			printf("\n%s:\n", opt->help);
		else if (opt->help)
			help_option(opt, width);
	}
	if (groups)
		printf("\nHelp:\n");
	help_option(&options_help_opt, width);
}
