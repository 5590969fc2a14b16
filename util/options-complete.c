/*
 * The option tables for the shells: a function with a table in it for bash, _arguments for zsh,
 * `complete` for fish. Names and choices are plain words; help texts are quoted.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lkvm/log.h"
#include "lkvm/options.h"
#include "lkvm/types.h"

static bool visible(const struct opt *opt)
{
	return opt->kind != OPT_GROUP && opt->help;
}

/* Each visible option of @cmd, --help at the end. */
static void each_option(const struct command *cmd,
			void (*print)(const struct command *cmd, const struct opt *opt))
{
	for (const struct opt *opt = cmd->opts; options_more(opt); opt++)
		if (visible(opt))
			print(cmd, opt);
	print(cmd, &options_help_opt);
}

static void print_words(const struct opt *opt)
{
	if (opt->words)
		printf(" %s", opt->words);
}

static void print_commands(void)
{
	for (const struct command *const *cmd = commands; *cmd; cmd++)
		printf(" %s", (*cmd)->name);
}

static void print_operands(const struct command *cmd)
{
	if (cmd->words)
		printf(" %s", cmd->words);
	else
		print_commands();
}

/* For a shell's single quotes; characters of @special get a backslash. At most @len bytes. */
static void print_quoted(const char *text, size_t len, const char *special, const char *quote)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\'')
			printf("%s", quote);
		else
			printf("%s%c", strchr(special, text[i]) ? "\\" : "", text[i]);
	}
}

/* The first sentence of a help text, without its full stop. */
static size_t first_sentence(const char *help)
{
	size_t len = strcspn(help, "\n");
	const char *end = strstr(help, ". ");

	if (end && (size_t)(end - help) < len)
		return (size_t)(end - help);
	return len && help[len - 1] == '.' ? len - 1 : len;
}

/* ---- bash ---- */

static void bash_choice(void *ctx, const struct opt_choice *choice)
{
	(void)ctx;
	printf(" %s", choice->word);
}


static const char *bash_kind(enum opt_complete complete)
{
	static const char *const kinds[] = {
		[COMPLETE_NONE] = "none",   [COMPLETE_FILE] = "file",
		[COMPLETE_DIR] = "dir",     [COMPLETE_GUEST] = "guest",
		[COMPLETE_WORDS] = "words", [COMPLETE_LIST] = "list",
		[COMPLETE_FILE_LIST] = "files",
	};

	return kinds[complete];
}

static void bash_names(const struct command *cmd, const struct opt *opt)
{
	(void)cmd;
	if (opt->short_name)
		printf("-%c ", opt->short_name);
	if (opt->name)
		printf("--%s ", opt->name);
	if (opt->name && opt->arg_optional && !opt->arg_next)
		printf("--%s= ", opt->name);
}

/* May its argument be the next word? */
static bool takes_word(const struct opt *opt)
{
	return !opt->arg_optional || opt->arg_next;
}

/* One line of the case: the ways to write the option, and what its argument may be. */
static void bash_argument(const struct command *cmd, const struct opt *opt)
{
	const char *sep = "\t";

	if (!opt->arg)
		return;
	if (opt->short_name && takes_word(opt)) {
		printf("%s%s:-%c", sep, cmd->name, opt->short_name);
		sep = " | ";
	}
	if (opt->name && takes_word(opt)) {
		printf("%s%s:--%s", sep, cmd->name, opt->name);
		sep = " | ";
	}
	if (opt->name)
		printf("%s%s:--%s=", sep, cmd->name, opt->name);
	printf(") kind='%s' words='", bash_kind(opt->complete));
	print_words(opt);
	options_choices(opt, true, NULL, bash_choice);
	printf("' ;;\n");
}

static void bash_command(const struct command *cmd)
{
	printf("\t%s:) kind='%s' words='", cmd->name, bash_kind(cmd->operand_complete));
	if (cmd->operand_complete == COMPLETE_WORDS)
		print_operands(cmd);
	printf("' options='");
	each_option(cmd, bash_names);
	printf("' ;;\n");
	each_option(cmd, bash_argument);
}

static void bash(void)
{
	printf("# Made from lkvm's option tables. $1 is COMMAND: for what follows the command,\n"
	       "# COMMAND:--option for the next word, COMMAND:--option= for the rest of the word.\n"
	       "_lkvm_table()\n{\n\tkind='' words='' options=''\n\tcase $1 in\n");
	printf("\t:) kind='words' words='");
	print_commands();
	printf("' options='--help --version' ;;\n");
	for (const struct command *const *cmd = commands; *cmd; cmd++)
		bash_command(*cmd);
	printf("\tesac\n}\n");
}

/* ---- zsh ---- */

/* 'ro\:The guest cannot write', in single quotes for zsh and, for _arguments, within such */
static void zsh_choice(void *ctx, const struct opt_choice *choice)
{
	(void)ctx;
	printf(" '\\''%s", choice->word);
	if (choice->help) {
		printf("\\:");
		print_quoted(choice->help, first_sentence(choice->help), ":", "'\\''\\'\\'''\\''");
	}
	printf("'\\''");
}

/* What offers the argument; the blank before a function keeps _arguments from adding words to it. */
static void zsh_action(enum opt_complete complete, const struct command *cmd, const struct opt *opt)
{
	switch (complete) {
	case COMPLETE_NONE:
		printf(" ");
		return;
	case COMPLETE_FILE:
		printf("_files");
		return;
	case COMPLETE_DIR:
		printf("_files -/");
		return;
	case COMPLETE_GUEST:
		printf(" _lkvm_guests");
		return;
	case COMPLETE_WORDS:
		printf(" _lkvm_words");
		break;
	case COMPLETE_LIST:
		printf(" _lkvm_list");
		break;
	case COMPLETE_FILE_LIST:
		printf(" _lkvm_file_list");
		break;
	}
	if (opt) {
		print_words(opt);
		options_choices(opt, true, NULL, zsh_choice);
	} else if (cmd) {
		print_operands(cmd);
	}
}

/* '*--mem=[Guest RAM in MB]:SIZE: ': may come again, as many options may, and the last one wins */
static void zsh_spec(const struct opt *opt, const char *name, const char *joint)
{
	printf(" \\\n\t\t'*%s%s[", name, opt->arg ? joint : "");
	print_quoted(opt->help, first_sentence(opt->help), "[]\\", "'\\''");
	printf("]");
	if (opt->arg) {
		printf(opt->arg_optional ? "::" : ":");
		print_quoted(opt->arg, strlen(opt->arg), ":\\", "'\\''");
		printf(":");
		zsh_action(opt->complete, NULL, opt);
	}
	printf("'");
}

static void zsh_option(const struct command *cmd, const struct opt *opt)
{
	char name[64];

	(void)cmd;
	if (opt->short_name) {
		snprintf(name, sizeof(name), "-%c", opt->short_name);
		zsh_spec(opt, name, takes_word(opt) ? "+" : "-");
	}
	if (opt->name) {
		snprintf(name, sizeof(name), "--%s", opt->name);
		zsh_spec(opt, name, takes_word(opt) ? "=" : "=-");
	}
}

static void zsh(void)
{
	printf("# Made from lkvm's option tables.\n_lkvm_commands()\n{\n\tlocal -a commands=(");
	for (const struct command *const *cmd = commands; *cmd; cmd++) {
		printf("\n\t\t'%s:", (*cmd)->name);
		print_quoted((*cmd)->summary, strlen((*cmd)->summary), "\\", "'\\''");
		printf("'");
	}
	printf("\n\t)\n\t_describe -t commands command commands\n}\n");
	for (const struct command *const *cmd = commands; *cmd; cmd++) {
		printf("\n_lkvm_for_%s()\n{\n\t_arguments -s -S", (*cmd)->name);
		each_option(*cmd, zsh_option);
		if ((*cmd)->operand_complete != COMPLETE_NONE) {
			printf(" \\\n\t\t'*:operand:");
			zsh_action((*cmd)->operand_complete, *cmd, NULL);
			printf("'");
		}
		printf("\n}\n");
	}
}

/* ---- fish ---- */

static void fish_text(const char *text)
{
	printf(" -d '");
	print_quoted(text, first_sentence(text), "\\", "\\'");
	printf("'\n");
}

/* ro\t'The guest cannot write', within single quotes */
static void fish_choice(void *ctx, const struct opt_choice *choice)
{
	(void)ctx;
	printf(" %s", choice->word);
	if (choice->help) {
		printf("\\t\\'");
		print_quoted(choice->help, first_sentence(choice->help), "", "\\\\\\'");
		printf("\\'");
	}
}

static void fish_choices(const char *before, const struct opt *opt, const char *behind)
{
	printf(" -a '%s", before);
	print_words(opt);
	options_choices(opt, true, NULL, fish_choice);
	printf("%s'", behind);
}

static void fish_argument(const struct opt *opt)
{
	/* An argument that may be left out is offered behind the '=' only. */
	const char *required = takes_word(opt) ? " -x" : " -f";

	switch (opt->complete) {
	case COMPLETE_FILE:
		printf(" -r -F");
		break;
	case COMPLETE_DIR:
		printf(" -x -a '(__fish_complete_directories)'");
		break;
	case COMPLETE_GUEST:
		printf(" -x -a '(__lkvm_guests)'");
		break;
	case COMPLETE_WORDS:
		printf("%s", required);
		fish_choices("", opt, "");
		break;
	case COMPLETE_LIST:
		printf("%s", required);
		fish_choices("(__lkvm_list", opt, ")");
		break;
	case COMPLETE_FILE_LIST:
		printf("%s", required);
		fish_choices("(__lkvm_file_list", opt, ")");
		break;
	case COMPLETE_NONE:
		printf("%s", required);
		break;
	}
}

static void fish_option(const struct command *cmd, const struct opt *opt)
{
	printf("complete -c lkvm -n '__lkvm_at %s'", cmd->name);
	if (opt->short_name)
		printf(" -s %c", opt->short_name);
	if (opt->name)
		printf(" -l %s", opt->name);
	if (opt->arg)
		fish_argument(opt);
	fish_text(opt->help);
}

/* Files are offered by fish itself, also for what stands behind the '=' of an option: not there. */
static void fish_operands(const struct command *cmd)
{
	printf("complete -c lkvm -n '__lkvm_at %s", cmd->name);
	switch (cmd->operand_complete) {
	case COMPLETE_FILE:
		printf("; and __lkvm_at_operand' -F\n");
		break;
	case COMPLETE_GUEST:
		printf("' -f -a '(__lkvm_guests)'\n");
		break;
	case COMPLETE_WORDS:
		printf("' -f -a '");
		print_operands(cmd);
		printf("'\n");
		break;
	default:
		printf("' -f\n");
		break;
	}
}

static void fish(void)
{
	printf("# Made from lkvm's option tables.\ncomplete -c lkvm -f\n"
	       "complete -c lkvm -n __lkvm_at -l help -d 'Show the commands'\n"
	       "complete -c lkvm -n __lkvm_at -l version -d 'Show the version'\n");
	for (const struct command *const *cmd = commands; *cmd; cmd++) {
		printf("complete -c lkvm -n __lkvm_at -a %s", (*cmd)->name);
		fish_text((*cmd)->summary);
		fish_operands(*cmd);
		each_option(*cmd, fish_option);
	}
}

int options_completion(const char *shell)
{
	static const struct {
		const char *name;
		void (*print)(void);
	} shells[] = { { "bash", bash }, { "zsh", zsh }, { "fish", fish } };

	for (unsigned i = 0; i < ARRAY_SIZE(shells); i++) {
		if (!strcmp(shells[i].name, shell)) {
			shells[i].print();
			return 0;
		}
	}
	return log_errx(-ENOENT, "there is completion for bash, zsh and fish, not for '%s'", shell);
}
