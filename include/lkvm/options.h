/*
 * Commands and their option tables. A table drives four things, so that they cannot disagree:
 * parsing, --help, the OPTIONS section of the man page, and shell completion.
 *
 * Tables are const; an option names the field that it sets by its offset in the command's
 * configuration struct.
 */
#ifndef LKVM_OPTIONS_H
#define LKVM_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum opt_kind {
	OPT_GROUP,    /* a heading in help and man page; only `help` is set */
	OPT_FLAG,     /* no argument; sets a bool */
	OPT_STRING,   /* sets a const char * (not copied; argv lives for ever); the last one wins */
	OPT_UNSIGNED, /* strict decimal; sets an unsigned; @min and @max are checked (max 0: no limit) */
	OPT_PARSE,    /* calls parse(); for everything else */
};

/* How the shell completes the argument. */
enum opt_complete {
	COMPLETE_NONE,
	COMPLETE_FILE,
	COMPLETE_DIR,
	COMPLETE_GUEST,
	COMPLETE_WORDS,     /* one of @words or @values; of a command's operands: of its @words */
	COMPLETE_LIST,      /* of @keys, separated by commas */
	COMPLETE_FILE_LIST, /* a file, and behind a comma such a list */
};

#define OPT_MEANT_BYTES  128

struct opt_key;
struct opt_value;

struct opt {
	enum opt_kind kind;
	char short_name;      /* 0: none */
	const char *name;     /* long name without dashes */
	const char *arg;      /* name of the argument in help texts ("FILE"), NULL: takes none */
	bool arg_optional;    /* OPT_PARSE: the argument may be left out, and is only taken as --name=ARG ... */
	bool arg_next;        /* ... or, with this too, as -nARG and as the next word, if that has no dash in front */
	/*
	 * One or two sentences for --help and the man page; what follows a newline, further
	 * paragraphs, is for the man page only. NULL: the option is hidden.
	 */
	const char *help;
	size_t offset;        /* of the field in the configuration struct */
	unsigned min, max;    /* OPT_UNSIGNED */
	/*
	 * OPT_PARSE: @config is the configuration struct, @arg the argument (NULL if left out).
	 * Return: 0, or -EINVAL after logging what is wrong with it.
	 */
	int (*parse)(void *config, const struct opt *opt, const char *arg);
	enum opt_complete complete;
	const char *words; /* the choices, separated by blanks; NULL: none */
	const struct opt_value *values; /* the choices for the first word, with keys of their own: keys.h */
	const struct opt_key *keys; /* behind the first word, or with COMPLETE_LIST from there on; NULL: none */
	bool number_follows; /* arg_optional: but as the next word too if that is a number, with keys behind it or not */
};

#define OPT_END { .kind = OPT_GROUP, .help = NULL }

/** options_more() - does the table go on at @opt, or is it OPT_END? */
bool options_more(const struct opt *opt);

/* -h, --help: known to every command, so it stands in no table. */
extern const struct opt options_help_opt;

struct command {
	const char *name;
	const char *summary;  /* one line for `lkvm help` */
	const char *operands; /* after the options in the usage line: "[NAME]..."; "": it takes none */
	enum opt_complete operand_complete;
	const char *words; /* COMPLETE_WORDS: the choices, separated by blanks; NULL: names of commands */
	/*
	 * For --help. Paragraphs are filled; an empty line ends one. An indented line stands for
	 * itself; two blanks or more in it start a column ("  120   the guest's kernel panicked").
	 */
	const char *description;
	const struct opt *opts;  /* ends with OPT_END; never NULL */
	/* @argv[0] is the command's name. Return: exit status of the process. */
	int (*run)(const struct command *cmd, int argc, char **argv);
};

/* main.c; in the order of `lkvm help`; ends with NULL */
extern const struct command *const commands[];

#define EXIT_USAGE 125

enum options_result {
	OPTIONS_OK,   /* go on; operands start at *ret_operands */
	OPTIONS_HELP, /* --help was printed on standard output: end with status 0 */
	OPTIONS_BAD,  /* one line was logged: end with EXIT_USAGE; @config may be half filled */
};

/**
 * options_parse() - parse `--opt V`, `--opt=V`, `-oV`, `-o V`, bundled flags, `--`
 * Options and operands may be mixed up to `--`; argv is permuted so that operands are contiguous.
 * Names are not abbreviated. An argument is the rest of the word or the next word, whatever that
 * looks like. An unknown option is logged with its nearest match. `-h` and `--help` are always known.
 * One of an option's @words behind it, where its argument may be left out, is refused with the form
 * that is meant.
 * An operand is wrong where cmd->operands is "".
 * @config:       struct that the offsets refer to
 * @ret_operands: index of the first operand; argc - *ret_operands are left
 * @ret_dashdash: NULL: everything after `--` is an operand like the others; else set to the index
 *		  of the first word after `--`, or argc if there was none; operands then end there
 */
enum options_result options_parse(const struct command *cmd, void *config, int argc, char **argv,
				  int *ret_operands, int *ret_dashdash);

/**
 * options_peek() - util/options-peek.c: the argument of --@name, whatever is wrong with other words;
 * of an option without argument the word itself
 * For what a command must know although options_parse() gave up. Words are taken as by that; one
 * that is unknown takes no argument.
 * Return: the last one, or NULL
 */
const char *options_peek(const struct command *cmd, int argc, char **argv, const char *name);

/** options_status() - the exit status of a command that ends with @result, not OPTIONS_OK */
int options_status(enum options_result result);

/** options_unsigned() - strict decimal within [min, max]; Return: 0, -EINVAL (syntax), -ERANGE */
int options_unsigned(const char *arg, unsigned min, unsigned max, unsigned *ret);

/** options_nearest() - the entry of @names (n of them) nearest to @word, or NULL if none is near */
const char *options_nearest(const char *word, const char *const *names, unsigned n);

/** options_meant() - ", did you mean '--mem'?"; "" where @near is NULL. Return: @ret */
const char *options_meant(char ret[OPT_MEANT_BYTES], const char *dashes, const char *near);

#define OPT_CHOICE_BYTES 64

/* What may stand in an argument. */
struct opt_choice {
	char word[OPT_CHOICE_BYTES];  /* as it is written: "ro", "serial=", "virtio,packed", "-avx2" */
	char label[OPT_CHOICE_BYTES]; /* as help has it: "ro", "serial=S", "virtio,packed", "[+|-]FEATURE" */
	const char *help;             /* as struct opt_key has it, or NULL */
};

/**
 * options_choices() - util/options-choice.c: call each() for all that @opt's tables have
 * @each_name: of KEY_NAMES a word for each name, "-avx2", "+avx2", ...; else one label for all
 */
void options_choices(const struct opt *opt, bool each_name, void *ctx,
		     void (*each)(void *ctx, const struct opt_choice *choice));

/* util/options-help.c */

/** options_help() - the whole --help of a command on standard output */
void options_help(const struct command *cmd);
/** options_wrap() - text, laid out like struct command's description, wrapped to the screen's width */
void options_wrap(const char *text);

/* util/options-doc.c: the same tables for other readers, on standard output */

/** options_man() - a command's OPTIONS as mdoc source, for `make man` */
void options_man(const struct command *cmd);

/**
 * options_completion() - util/options-complete.c: all commands and options in a shell's own terms
 * Documentation/lkvm-completion.SHELL has the functions that they need.
 * Return: 0, or -ENOENT after logging that there is none for this @shell
 */
int options_completion(const char *shell);

#endif
