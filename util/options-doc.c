/* The option tables as mdoc source, for the man pages. */
#include <stdio.h>
#include <string.h>

#include "lkvm/options.h"

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

/* .It Cm "serial=S" */
static void man_choice(void *ctx, const struct opt_choice *choice)
{
	bool *open = ctx;

	if (!choice->help)
		return;
	if (!*open)
		printf(".Bl -tag -width Ds\n");
	*open = true;
	printf(".It Cm \"\\&%s\"\n", choice->label);
	man_text(choice->help);
}

/* .It Fl m Ar SIZE , Fl -mem Ns = Ns Ar SIZE */
static void man_option(const struct opt *opt)
{
	bool choices = false;

	printf(".It");
	if (opt->short_name) {
		printf(" Fl %c", opt->short_name);
		if (opt->arg_next)
			printf(" Op Ar \"\\&%s\"", opt->arg);
		else if (opt->arg && !opt->arg_optional)
			printf(" Ar \"\\&%s\"", opt->arg);
		if (opt->name)
			printf(" ,");
	}
	if (opt->name) {
		printf(" Fl -%s", opt->name);
		if (opt->arg_next)
			printf(" Op Ar \"\\&%s\"", opt->arg);
		else if (opt->arg_optional)
			printf(" Ns Oo = Ns Ar \"\\&%s\" Oc", opt->arg);
		else if (opt->arg)
			printf(" Ar \"\\&%s\"", opt->arg);
	}
	putchar('\n');
	man_text(opt->help);
	options_choices(opt, false, &choices, man_choice);
	if (choices)
		printf(".El\n");
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
