/* --help from the option table; see options.h. */
#include "lkvm/options.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define HELP_COLUMN 26
#define HELP_WIDTH_MIN 40
#define HELP_WIDTH_MAX 100

/* Choices of an option: how far their names stand in, and how far their texts at least and at most. */
#define CHOICE_INDENT     2
#define CHOICE_COLUMN_MIN 4
#define CHOICE_COLUMN_MAX 18
#define NARROW_WIDTH      72 /* there texts have no column of their own */

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
		n += printf(opt->arg_next ? " [%s]" : opt->arg_optional ? "[=%s]" : " %s", opt->arg);
	return (unsigned)n;
}

/* What help is laid out in: the widest line, where texts begin, and there the texts of choices. */
struct help_layout {
	unsigned width, column, choice_column;
};

static void print_text(const char *help, unsigned at, unsigned column, unsigned width)
{
	if (at + 2 > column) {
		putchar('\n');
		at = 0;
	}
	printf("%*s", (int)(column - at), "");
	/* What follows the first line is for the man page only. */
	wrap_words(help, strcspn(help, "\n"), column, column, width);
}

static void widen(void *ctx, const struct opt_choice *choice)
{
	struct help_layout *layout = ctx;
	unsigned end = layout->column + CHOICE_INDENT + (unsigned)strlen(choice->label) + 2;

	if (choice->help && layout->width >= NARROW_WIDTH && end > layout->choice_column &&
	    end <= layout->column + CHOICE_COLUMN_MAX)
		layout->choice_column = end;
}

static void print_choice(void *ctx, const struct opt_choice *choice)
{
	const struct help_layout *layout = ctx;
	int indent = (int)layout->column + CHOICE_INDENT;

	if (choice->help)
		print_text(choice->help, (unsigned)printf("%*s%s", indent, "", choice->label),
			   layout->choice_column, layout->width);
}

static void help_option(const struct opt *opt, unsigned width)
{
	struct help_layout layout = {
		.width = width, .column = width < 60 ? HELP_COLUMN / 2 : HELP_COLUMN,
	};

	layout.choice_column = layout.column + CHOICE_COLUMN_MIN;
	print_text(opt->help, print_label(opt), layout.column, width);
	options_choices(opt, false, &layout, widen);
	options_choices(opt, false, &layout, print_choice);
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
