/*
 * The option tables for readers other than the parser: mdoc source for the man pages, and a table
 * for the shell completion.
 */
#include <stdio.h>
#include <string.h>

#include "lkvm/options.h"

/* ---- man page ---- */

#define MAN_WIDTH 78

/* A word that starts with a dash is an option to copy: keep a real minus. */
static void man_word(const char *word, size_t len)
{
	bool option = *word == '-';

	for (size_t i = 0; i < len; i++) {
		if (word[i] == '\\')
			printf("\\e");
		else if (word[i] == '-' && option)
			printf("\\-");
		else
			putchar(word[i]);
	}
}

/* Fill lines of source; a sentence starts a line of its own, as mdoc wants it. */
static void man_line(const char *text, size_t len)
{
	const char *end = text + len;
	size_t column = 0;
	bool sentence_end = false;

	for (;;) {
		const char *word = text + strspn(text, " ");
		size_t word_len;

		if (word >= end)
			break;
		word_len = strcspn(word, " \n");
		if (column && (sentence_end || column + 1 + word_len > MAN_WIDTH)) {
			putchar('\n');
			column = 0;
		} else if (column) {
			putchar(' ');
			column++;
		}
		if (!column && (*word == '.' || *word == '\''))
			printf("\\&");
		man_word(word, word_len);
		column += word_len;
		sentence_end = strchr(".!?", word[word_len - 1]);
		text = word + word_len;
	}
	putchar('\n');
}

static void man_text(const char *text)
{
	for (;;) {
		size_t len = strcspn(text, "\n");

		man_line(text, len);
		if (!text[len])
			return;
		printf(".Pp\n");
		text += len + 1;
	}
}

/* .It Fl m Ar SIZE , Fl -mem Ns = Ns Ar SIZE */
static void man_option(const struct opt *opt)
{
	printf(".It");
	if (opt->short_name) {
		printf(" Fl %c", opt->short_name);
		if (opt->arg && !opt->arg_optional)
			printf(" Ar \"\\&%s\"", opt->arg);
		if (opt->name)
			printf(" ,");
	}
	if (opt->name) {
		printf(" Fl -%s", opt->name);
		if (opt->arg_optional)
			printf(" Ns Oo = Ns Ar \"\\&%s\" Oc", opt->arg);
		else if (opt->arg)
			printf(" Ar \"\\&%s\"", opt->arg);
	}
	putchar('\n');
	man_text(opt->help);
}

void options_man(const struct command *cmd)
{
	bool open = false;

	for (const struct opt *opt = cmd->opts; options_more(opt); opt++) {
		bool group = opt->kind == OPT_GROUP;

		if (!opt->help)
			continue;
		if (group && open)
			printf(".El\n");
		if (group)
			printf(".Ss %s\n", opt->help);
		if (group || !open)
			printf(".Bl -tag -width Ds\n");
		open = true;
		if (!group)
			man_option(opt);
	}
	if (!open)
		printf(".Bl -tag -width Ds\n");
	man_option(&options_help_opt);
	printf(".El\n");
}

/* ---- bash completion ---- */

static const char *complete_kind(enum opt_complete complete)
{
	switch (complete) {
	case COMPLETE_FILE:
		return "file";
	case COMPLETE_DIR:
		return "dir";
	case COMPLETE_GUEST:
		return "guest";
	case COMPLETE_WORDS:
		return "words";
	case COMPLETE_NONE:
		break;
	}
	return "none";
}

static void bash_names(const struct opt *opt)
{
	if (opt->short_name)
		printf("-%c ", opt->short_name);
	if (opt->name)
		printf("--%s ", opt->name);
	if (opt->name && opt->arg_optional)
		printf("--%s= ", opt->name);
}

/* One line of the case: the ways to write the option, and what its argument may be. */
static void bash_argument(const struct command *cmd, const struct opt *opt)
{
	const char *sep = "\t";

	if (opt->short_name && !opt->arg_optional) {
		printf("%s%s:-%c", sep, cmd->name, opt->short_name);
		sep = " | ";
	}
	if (opt->name && !opt->arg_optional) {
		printf("%s%s:--%s", sep, cmd->name, opt->name);
		sep = " | ";
	}
	if (opt->name)
		printf("%s%s:--%s=", sep, cmd->name, opt->name);
	printf(") kind='%s' words='%s' ;;\n", complete_kind(opt->complete), opt->words ? opt->words : "");
}

static bool visible(const struct opt *opt)
{
	return opt->kind != OPT_GROUP && opt->help;
}

static void bash_command(const struct command *cmd)
{
	printf("\t%s:) kind='%s' words='", cmd->name, complete_kind(cmd->operand_complete));
	for (const struct command *const *c = commands; *c; c++)
		if (cmd->operand_complete == COMPLETE_WORDS)
			printf("%s ", (*c)->name);
	printf("' options='");
	for (const struct opt *opt = cmd->opts; options_more(opt); opt++)
		if (visible(opt))
			bash_names(opt);
	bash_names(&options_help_opt);
	printf("' ;;\n");
	for (const struct opt *opt = cmd->opts; options_more(opt); opt++)
		if (visible(opt) && opt->arg)
			bash_argument(cmd, opt);
}

void options_completion(void)
{
	printf("# Made from lkvm's option tables. $1 is COMMAND: for what follows the command,\n"
	       "# COMMAND:--option for the next word, COMMAND:--option= for the rest of the word.\n"
	       "_lkvm_table()\n{\n\tkind='' words='' options=''\n\tcase $1 in\n");
	printf("\t:) kind='words' words='");
	for (const struct command *const *cmd = commands; *cmd; cmd++)
		printf("%s%s", cmd == commands ? "" : " ", (*cmd)->name);
	printf("' options='--help --version' ;;\n");
	for (const struct command *const *cmd = commands; *cmd; cmd++)
		bash_command(*cmd);
	printf("\tesac\n}\n");
}
