/* Links: util/options.o util/options-doc.o util/options-complete.o util/options-peek.o util/log.o */
#include "unit.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lkvm/keys.h"
#include "lkvm/log.h"
#include "lkvm/options.h"
#include "lkvm/types.h"

struct config {
	bool quiet, verbose;
	const char *name, *kernel;
	unsigned count, any;
	unsigned n_parsed;
	char parsed[4][32]; /* "port=..." in the order of the command line */
};

static int parse(void *config, const struct opt *opt, const char *arg)
{
	struct config *cfg = config;

	if (arg && !strcmp(arg, "bad"))
		return log_errx(-EINVAL, "option '--%s': 'bad' is bad", opt->name);
	ck_assert_uint_lt(cfg->n_parsed, ARRAY_SIZE(cfg->parsed));
	snprintf(cfg->parsed[cfg->n_parsed++], sizeof(cfg->parsed[0]), "%s=%s", opt->name,
		 arg ? arg : "(none)");
	return 0;
}

static const char *name(unsigned i)
{
	return i < 1 ? "name" : NULL;
}

static const struct opt_key_names key_names = { .name = name };
static const struct opt_key list_keys[] = {
	{ "one", .kind = KEY_FLAG, .help = "One's key: it. And so on.\nFor the man page." },
	{ "bit", .kind = KEY_BITS },
	{ "word", "W", .kind = KEY_STRING, .help = "A word, whose help is so long that it has more than a line." },
	{ "rather-long-key", "W", .kind = KEY_PARSE, .alone = true, .help = "Stands below." },
	{ "NAME", .kind = KEY_NAMES, .names = &key_names, .help = "Any." },
	KEYS_END,
};
static const struct opt_key size_keys[] = {
	{ "hard", .kind = KEY_FLAG, .help = "Be hard." },
	KEYS_END,
};
static const struct opt_value size_values[] = {
	{ "2M", .keys = size_keys, .help = "Middle." },
	{ .name = "1G", .keys = size_keys, .implied = true },
	VALUES_END,
};

#define FIELD(f) offsetof(struct config, f)

static const struct opt options[] = {
	{ .kind = OPT_GROUP, .help = "First" },
	{ .kind = OPT_FLAG, .short_name = 'q', .name = "quiet", .help = "Say less.", .offset = FIELD(quiet) },
	{ .kind = OPT_FLAG, .short_name = 'v', .name = "verbose", .offset = FIELD(verbose),
	  .help = "Say more. Then stop.\nThe man page goes on: 'quoted' \\ and --quiet .hidden" },
	{ .kind = OPT_STRING, .short_name = 'n', .name = "name", .arg = "NAME", .offset = FIELD(name),
	  .help = "The name", .complete = COMPLETE_GUEST },
	{ .kind = OPT_STRING, .short_name = 'k', .name = "kernel", .arg = "FILE", .offset = FIELD(kernel),
	  .help = "The kernel", .complete = COMPLETE_FILE },
	{ .kind = OPT_GROUP, .help = "Second" },
	{ .kind = OPT_UNSIGNED, .short_name = 'c', .name = "count", .arg = "N", .offset = FIELD(count),
	  .min = 2, .max = 9, .help = "A count" },
	{ .kind = OPT_UNSIGNED, .name = "any", .arg = "N", .offset = FIELD(any), .help = "Any number" },
	{ .kind = OPT_PARSE, .short_name = 'p', .name = "port", .arg = "PORT", .arg_optional = true,
	  .parse = parse, .help = "A port" },
	{ .kind = OPT_PARSE, .short_name = 's', .name = "size", .arg = "2M|1G", .arg_optional = true,
	  .parse = parse, .help = "A size", .complete = COMPLETE_WORDS, .values = size_values },
	{ .kind = OPT_PARSE, .short_name = 'x', .name = "extra", .arg = "WHAT", .parse = parse,
	  .help = "An option whose label is short, and whose text is so long that it takes more than "
		  "one line on every terminal that is in use",
	  .complete = COMPLETE_LIST, .keys = list_keys },
	{ .kind = OPT_FLAG, .name = "secret", .offset = FIELD(quiet) },
	{ .kind = OPT_FLAG, .short_name = 'z', .help = "Has no long name", .offset = FIELD(quiet) },
	OPT_END,
};

static const struct opt no_options[] = { OPT_END };

static const struct command test_command = {
	.name = "test",
	.summary = "Test",
	.operands = "[THING]...",
	.operand_complete = COMPLETE_WORDS,
	.description = "First paragraph: a line that fills the screen,\nand another one that is put\n"
		       "behind it.\n"
		       "\n"
		       "  indented line that is long enough to be wrapped when it stands in a help text\n"
		       "  12    short\n"
		       "  345   a column of its own, which is long enough to be wrapped at the usual width\n"
		       "Table:\n"
		       "  1  one",
	.opts = options,
};
static const struct command bare_command = {
	.name = "bare",
	.summary = "Bare",
	.operands = "",
	.description = "Bare.",
	.opts = no_options,
};
static const struct opt quoted_options[] = {
	{ .kind = OPT_STRING, .name = "quoted", .arg = "A:B", .offset = FIELD(name),
	  .help = "Not a test's [a\\b] thing. More." },
	OPT_END,
};
static const struct command quoted_command = {
	.name = "quoted", .summary = "It's quoted", .operands = "", .opts = quoted_options,
};
const struct command *const commands[] = { &test_command, &bare_command, &quoted_command, NULL };

/* What the code under test wrote to @fd. Each test has a process of its own. */
static char captured[16384];

static int capture_start(int fd)
{
	int file = memfd_create("captured", 0);

	ck_assert_int_ge(file, 0);
	fflush(stdout);
	ck_assert_int_eq(dup2(file, fd), fd);
	return file;
}

static const char *capture_end(int file)
{
	ssize_t n;

	fflush(stdout);
	n = pread(file, captured, sizeof(captured) - 1, 0);
	ck_assert_int_ge(n, 0);
	captured[n] = '\0';
	ck_assert_int_eq(ftruncate(file, 0), 0);
	lseek(file, 0, SEEK_SET);
	return captured;
}

#define MAX_WORDS 12

struct line {
	int argc, operands, dashdash;
	char *argv[MAX_WORDS + 1];
	char copy[512];
	struct config cfg;
	enum options_result result;
};

/* Parse @words, separated by blanks, after the command's name. */
static void parse_line(struct line *line, const struct command *cmd, const char *words, bool dashdash)
{
	char *save = NULL;

	memset(line, 0, sizeof(*line));
	line->operands = line->dashdash = -1;
	ck_assert_uint_lt((size_t)snprintf(line->copy, sizeof(line->copy), "test %s", words),
			  sizeof(line->copy));
	for (char *w = strtok_r(line->copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		ck_assert_int_lt(line->argc, MAX_WORDS);
		line->argv[line->argc++] = w;
	}
	line->result = options_parse(cmd, &line->cfg, line->argc, line->argv, &line->operands,
				     dashdash ? &line->dashdash : NULL);
}

static void check_words(const struct line *line, int from, int to, const char *expected)
{
	char joined[256] = "";

	for (int i = from; i < to; i++) {
		strcat(joined, line->argv[i]);
		strcat(joined, i + 1 < to ? " " : "");
	}
	ck_assert_str_eq(joined, expected);
}

START_TEST(test_values)
{
	struct line l;

	parse_line(&l, &test_command, "-q --name one -nfoo -c 3 --kernel=a=b", false);
	ck_assert_int_eq(l.result, OPTIONS_OK);
	ck_assert(l.cfg.quiet && !l.cfg.verbose);
	ck_assert_str_eq(l.cfg.name, "foo");
	ck_assert_str_eq(l.cfg.kernel, "a=b");
	ck_assert_uint_eq(l.cfg.count, 3);
	ck_assert_int_eq(l.operands, l.argc);

	parse_line(&l, &test_command, "-qvnfoo --count=9 --any 4294967295 --kernel=", false);
	ck_assert_int_eq(l.result, OPTIONS_OK);
	ck_assert(l.cfg.quiet && l.cfg.verbose);
	ck_assert_str_eq(l.cfg.name, "foo");
	ck_assert_str_eq(l.cfg.kernel, "");
	ck_assert_uint_eq(l.cfg.count, 9);
	ck_assert_uint_eq(l.cfg.any, UINT_MAX);

	parse_line(&l, &test_command, "-c2 -vn bar --secret -z", false);
	ck_assert_int_eq(l.result, OPTIONS_OK);
	ck_assert(l.cfg.quiet && l.cfg.verbose);
	ck_assert_str_eq(l.cfg.name, "bar");
	ck_assert_uint_eq(l.cfg.count, 2);
}
END_TEST

/* The argument may look like anything, an option or `--` included. */
START_TEST(test_dash_arguments)
{
	struct line l;

	parse_line(&l, &test_command, "--name -q --kernel -- -x -v", false);
	ck_assert_int_eq(l.result, OPTIONS_OK);
	ck_assert_str_eq(l.cfg.name, "-q");
	ck_assert_str_eq(l.cfg.kernel, "--");
	ck_assert_str_eq(l.cfg.parsed[0], "extra=-v");
	ck_assert(!l.cfg.quiet && !l.cfg.verbose);
	ck_assert_int_eq(l.operands, l.argc);
}
END_TEST

START_TEST(test_optional_argument)
{
	struct line l;

	parse_line(&l, &test_command, "--port 80 --port=81 -pq -xlast", false);
	ck_assert_int_eq(l.result, OPTIONS_OK);
	ck_assert_uint_eq(l.cfg.n_parsed, 4);
	ck_assert_str_eq(l.cfg.parsed[0], "port=(none)");
	ck_assert_str_eq(l.cfg.parsed[1], "port=81");
	ck_assert_str_eq(l.cfg.parsed[2], "port=(none)");
	ck_assert_str_eq(l.cfg.parsed[3], "extra=last");
	ck_assert(l.cfg.quiet);
	check_words(&l, l.operands, l.argc, "80");

	/* What is no choice of the option is an operand. */
	parse_line(&l, &test_command, "--size 2 --size=1G -s 2M1G -s", false);
	ck_assert_int_eq(l.result, OPTIONS_OK);
	ck_assert_uint_eq(l.cfg.n_parsed, 4);
	ck_assert_str_eq(l.cfg.parsed[1], "size=1G");
	check_words(&l, l.operands, l.argc, "2 2M1G");

	/* A key that may stand alone is a choice too. */
	for (unsigned i = 0; i < 2; i++) {
		parse_line(&l, &test_command, (const char *const[]){ "--size hard", "-s 2M" }[i], false);
		ck_assert_int_eq(l.result, OPTIONS_BAD);
	}
}
END_TEST

START_TEST(test_operands)
{
	static const struct {
		const char *words, *operands;
	} cases[] = {
		{ "", "" },
		{ "a b c", "a b c" },
		{ "-q a -n x b --count 3 c -v", "a b c" },
		{ "a -", "a -" },
		{ "a -- -q --nonsense", "a -q --nonsense" },
		{ "-- a", "a" },
		{ "--", "" },
		{ "a b -- -- c", "a b -- c" },
		{ "a -v b -- c", "a b c" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct line l;

		parse_line(&l, &test_command, cases[i].words, false);
		ck_assert_int_eq(l.result, OPTIONS_OK);
		check_words(&l, l.operands, l.argc, cases[i].operands);
		ck_assert_ptr_null(l.argv[l.argc]);
	}
}
END_TEST

START_TEST(test_dashdash)
{
	static const struct {
		const char *words, *operands, *after;
	} cases[] = {
		{ "", "", "" },
		{ "a -q b", "a b", "" },
		{ "a -q b --", "a b", "" },
		{ "-q -- cmd -v --name x", "", "cmd -v --name x" },
		{ "a -q b -- cmd", "a b", "cmd" },
		{ "a -- cmd -- more", "a", "cmd -- more" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct line l;

		parse_line(&l, &test_command, cases[i].words, true);
		ck_assert_int_eq(l.result, OPTIONS_OK);
		check_words(&l, l.operands, l.dashdash, cases[i].operands);
		check_words(&l, l.dashdash, l.argc, cases[i].after);
		ck_assert(!l.cfg.verbose);
	}
}
END_TEST

START_TEST(test_no_operands)
{
	int err = capture_start(STDERR_FILENO);
	struct line l;

	parse_line(&l, &bare_command, "", false);
	ck_assert_int_eq(l.result, OPTIONS_OK);
	parse_line(&l, &bare_command, "x", false);
	ck_assert_int_eq(l.result, OPTIONS_BAD);
	ck_assert_str_eq(capture_end(err), "lkvm: unexpected argument 'x'\n");
	parse_line(&l, &bare_command, "-- -y", false);
	ck_assert_int_eq(l.result, OPTIONS_BAD);
	ck_assert_str_eq(capture_end(err), "lkvm: unexpected argument '-y'\n");
	/* What follows `--` is not an operand where the command asks for it apart. */
	parse_line(&l, &bare_command, "-- y", true);
	ck_assert_int_eq(l.result, OPTIONS_OK);
}
END_TEST

#define LONG_NAME "a-name-that-is-longer-than-any-option-ever-will-be"

#define HINT " (try 'lkvm test --help')"

START_TEST(test_errors)
{
	static const struct {
		const char *words, *message;
	} cases[] = {
		{ "--quite", "unknown option '--quite', did you mean '--quiet'?" HINT },
		{ "--qui", "unknown option '--qui', did you mean '--quiet'?" HINT },
		{ "--nmae=x", "unknown option '--nmae', did you mean '--name'?" HINT },
		{ "--hlep", "unknown option '--hlep', did you mean '--help'?" HINT },
		{ "--secre", "unknown option '--secre'" HINT },
		{ "--xyzzy", "unknown option '--xyzzy'" HINT },
		{ "--=x", "unknown option '--'" HINT },
		{ "--" LONG_NAME, "unknown option '--" LONG_NAME "'" HINT },
		{ "---quiet", "unknown option '---quiet', did you mean '--quiet'?" HINT },
		{ "-w", "unknown option '-w'" HINT },
		{ "-qw", "unknown option '-w'" HINT },
		{ "-q-", "unknown option '--'" HINT },
		{ "-Q", "unknown option '-Q', did you mean '-q'?" HINT },
		{ "-kernel x", "unknown option '-kernel', did you mean '--kernel'?" HINT },
		{ "-name=x", "unknown option '-name', did you mean '--name'?" HINT },
		{ "--quiet=yes", "option '--quiet': takes no argument, but got 'yes'" },
		{ "--help=", "option '--help': takes no argument, but got ''" },
		{ "--name", "option '--name': argument NAME is missing" },
		{ "-qn", "option '-n': argument NAME is missing" },
		{ "a -k", "option '-k': argument FILE is missing" },
		{ "-x", "option '-x': argument WHAT is missing" },
		{ "--count 1", "option '--count': '1' is not a whole number from 2 to 9" },
		{ "-c10", "option '-c': '10' is not a whole number from 2 to 9" },
		{ "-c 0x3", "option '-c': '0x3' is not a whole number from 2 to 9" },
		{ "--count=", "option '--count': '' is not a whole number from 2 to 9" },
		{ "--any -1", "option '--any': '-1' is not a whole number from 0 to 4294967295" },
		{ "--any 4294967296", "option '--any': '4294967296' is not a whole number from 0 to 4294967295" },
		{ "--size 2M", "option '--size': its argument follows an equals sign: --size=2M" },
		{ "-qs 1G x", "option '-s': its argument follows an equals sign: --size=1G" },
		{ "--port=bad", "option '--port': 'bad' is bad" },
		{ "-q --port=bad --nonsense", "option '--port': 'bad' is bad" },
	};
	int err = capture_start(STDERR_FILENO);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char expected[256];
		struct line l;

		parse_line(&l, &test_command, cases[i].words, true);
		snprintf(expected, sizeof(expected), "lkvm: %s\n", cases[i].message);
		ck_assert_str_eq(capture_end(err), expected);
		ck_assert_int_eq(l.result, OPTIONS_BAD);
		ck_assert_int_eq(l.operands, -1);
		ck_assert_int_eq(l.dashdash, -1);
	}
}
END_TEST

START_TEST(test_unsigned)
{
	static const struct {
		const char *arg;
		int ret;
		unsigned value;
	} cases[] = {
		{ "2", 0, 2 },
		{ "0000000000000000000000000000000000000000000000000000009", 0, 9 },
		{ "1", -ERANGE, 7 },
		{ "10", -ERANGE, 7 },
		{ "4294967298", -ERANGE, 7 },
		{ "18446744073709551618", -ERANGE, 7 },
		{ "99999999999999999999999999999999999999", -ERANGE, 7 },
		{ "", -EINVAL, 7 },
		{ " 3", -EINVAL, 7 },
		{ "3 ", -EINVAL, 7 },
		{ "+3", -EINVAL, 7 },
		{ "-3", -EINVAL, 7 },
		{ "3k", -EINVAL, 7 },
		{ "0x3", -EINVAL, 7 },
		{ "3.0", -EINVAL, 7 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned value = 7;

		ck_assert_int_eq(options_unsigned(cases[i].arg, 2, 9, &value), cases[i].ret);
		ck_assert_uint_eq(value, cases[i].value);
	}
}
END_TEST

START_TEST(test_nearest)
{
	static const char *const names[] = { "run", "list", "stop", "pause", "resume", "stat", "debug" };
	static const struct {
		const char *word, *name;
	} cases[] = {
		{ "rum", "run" },      { "rn", "run" },       { "rrun", "run" },    { "urn", "run" },
		{ "lst", "list" },     { "ilst", "list" },    { "stop", "stop" },   { "stpo", "stop" },
		{ "puase", "pause" },  { "resmue", "resume" }, { "resu", "resume" }, { "deb", "debug" },
		{ "rseuem", "resume" }, { "status", "stat" },  { "xyz", NULL },      { "r", NULL },
		{ "", NULL },          { "help", NULL },      { "runlist", NULL },  { LONG_NAME, NULL },
		{ "sta", "stat" },     { "lsit", "list" },    { "nur", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *name = options_nearest(cases[i].word, names, ARRAY_SIZE(names));

		if (cases[i].name)
			ck_assert_msg(name && !strcmp(name, cases[i].name), "%s gives %s", cases[i].word,
				      name ? name : "nothing");
		else
			ck_assert_msg(!name, "%s gives %s", cases[i].word, name);
	}
	/* One letter tells nothing. */
	ck_assert_ptr_null(options_nearest("g", (const char *const[]){ "go" }, 1));
}
END_TEST

/* Longest names that are compared: one more column would be outside the matrix. */
START_TEST(test_nearest_length)
{
	char name[42], word[42];
	const char *const names[] = { name };

	for (size_t len = 38; len <= 41; len++) {
		memset(name, 'a', len);
		name[len] = '\0';
		memcpy(word, name, sizeof(word));
		word[0] = 'b';
		ck_assert_ptr_eq(options_nearest(word, names, 1), len <= 40 ? name : NULL);
	}
}
END_TEST

static const char help_80[] =
	"Usage: lkvm test [OPTION]... [THING]...\n"
	"\n"
	"First paragraph: a line that fills the screen, and another one that is put\n"
	"behind it.\n"
	"\n"
	"  indented line that is long enough to be wrapped when it stands in a help text\n"
	"  12    short\n"
	"  345   a column of its own, which is long enough to be wrapped at the usual\n"
	"        width\n"
	"Table:\n"
	"  1  one\n"
	"\n"
	"First:\n"
	"  -q, --quiet             Say less.\n"
	"  -v, --verbose           Say more. Then stop.\n"
	"  -n, --name NAME         The name\n"
	"  -k, --kernel FILE       The kernel\n"
	"\n"
	"Second:\n"
	"  -c, --count N           A count\n"
	"      --any N             Any number\n"
	"  -p, --port[=PORT]       A port\n"
	"  -s, --size[=2M|1G]      A size\n"
	"                            2M       Middle.\n"
	"                            2M,hard  Be hard.\n"
	"                            hard     Be hard.\n"
	"  -x, --extra WHAT        An option whose label is short, and whose text is so\n"
	"                          long that it takes more than one line on every\n"
	"                          terminal that is in use\n"
	"                            one        One's key: it. And so on.\n"
	"                            word=W     A word, whose help is so long that it has\n"
	"                                       more than a line.\n"
	"                            rather-long-key[=W]\n"
	"                                       Stands below.\n"
	"                            [+|-]NAME  Any.\n"
	"  -z                      Has no long name\n"
	"\n"
	"Help:\n"
	"  -h, --help              Show this text.\n";

START_TEST(test_help)
{
	static const char *const ways[] = { "-h", "--help", "-qh", "a --help --nonsense" };
	int out = capture_start(STDOUT_FILENO);
	struct line l;

	unsetenv("COLUMNS");
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		parse_line(&l, &test_command, ways[i], false);
		ck_assert_int_eq(l.result, OPTIONS_HELP);
		ck_assert_str_eq(capture_end(out), help_80);
	}
	parse_line(&l, &bare_command, "-h", false);
	ck_assert_str_eq(capture_end(out), "Usage: lkvm bare [OPTION]...\n\nBare.\n\nOptions:\n"
					   "  -h, --help              Show this text.\n");
}
END_TEST

START_TEST(test_help_width)
{
	static const struct {
		const char *columns;
		size_t longest;
	} cases[] = {
		{ "40", 40 }, { "1", 40 }, { "60", 60 }, { "100", 100 }, { "200", 100 }, { "junk", 80 }, { "0", 80 },
	};
	int out = capture_start(STDOUT_FILENO);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t longest = 0;

		setenv("COLUMNS", cases[i].columns, 1);
		options_help(&test_command);
		for (const char *line = capture_end(out); *line; line += strcspn(line, "\n") + 1)
			if (strncmp(line, "Usage", 5) && strcspn(line, "\n") > longest)
				longest = strcspn(line, "\n");
		/* The text is long enough to come within a word of the limit. */
		ck_assert_uint_le(longest, cases[i].longest);
		ck_assert_uint_gt(longest, cases[i].longest - 10);
	}
}
END_TEST

static const char man_text[] =
	".Ss First\n"
	".Bl -tag -width Ds\n"
	".It Fl q , Fl -quiet\n"
	"Say less.\n"
	".It Fl v , Fl -verbose\n"
	"Say more.\n"
	"Then stop.\n"
	".Pp\n"
	"The man page goes on: 'quoted' \\e and \\-\\-quiet .hidden\n"
	".It Fl n Ar \"\\&NAME\" , Fl -name Ar \"\\&NAME\"\n"
	"The name\n"
	".It Fl k Ar \"\\&FILE\" , Fl -kernel Ar \"\\&FILE\"\n"
	"The kernel\n"
	".El\n"
	".Ss Second\n"
	".Bl -tag -width Ds\n"
	".It Fl c Ar \"\\&N\" , Fl -count Ar \"\\&N\"\n"
	"A count\n"
	".It Fl -any Ar \"\\&N\"\n"
	"Any number\n"
	".It Fl p , Fl -port Ns Oo = Ns Ar \"\\&PORT\" Oc\n"
	"A port\n"
	".It Fl s , Fl -size Ns Oo = Ns Ar \"\\&2M|1G\" Oc\n"
	"A size\n"
	".Bl -tag -width Ds\n"
	".It Cm \"\\&2M\"\n"
	"Middle.\n"
	".It Cm \"\\&2M,hard\"\n"
	"Be hard.\n"
	".It Cm \"\\&hard\"\n"
	"Be hard.\n"
	".El\n"
	".It Fl x Ar \"\\&WHAT\" , Fl -extra Ar \"\\&WHAT\"\n"
	"An option whose label is short, and whose text is so long that it takes more\n"
	"than one line on every terminal that is in use\n"
	".Bl -tag -width Ds\n"
	".It Cm \"\\&one\"\n"
	"One's key: it.\n"
	"And so on.\n"
	".Pp\n"
	"For the man page.\n"
	".It Cm \"\\&word=W\"\n"
	"A word, whose help is so long that it has more than a line.\n"
	".It Cm \"\\&rather-long-key[=W]\"\n"
	"Stands below.\n"
	".It Cm \"\\&[+|-]NAME\"\n"
	"Any.\n"
	".El\n"
	".It Fl z\n"
	"Has no long name\n"
	".It Fl h , Fl -help\n"
	"Show this text.\n"
	".El\n";

START_TEST(test_man)
{
	int out = capture_start(STDOUT_FILENO);

	options_man(&test_command);
	ck_assert_str_eq(capture_end(out), man_text);
	options_man(&bare_command);
	ck_assert_str_eq(capture_end(out), ".Bl -tag -width Ds\n.It Fl h , Fl -help\nShow this text.\n.El\n");
}
END_TEST

/* A line of man page source must not start with a control character by accident. */
START_TEST(test_man_control)
{
	static const struct opt opts[] = {
		{ .kind = OPT_FLAG, .name = "dots", .help = ".de. 'x. done." },
		OPT_END,
	};
	static const struct command cmd = { .name = "dots", .operands = "", .opts = opts };
	int out = capture_start(STDOUT_FILENO);

	options_man(&cmd);
	ck_assert_ptr_nonnull(strstr(capture_end(out), "\n\\&.de.\n\\&'x.\ndone.\n"));
}
END_TEST

static void check_completion(int out, const char *shell, const char *const *lines, size_t n)
{
	ck_assert_int_eq(options_completion(shell), 0);
	capture_end(out);
	for (size_t i = 0; i < n; i++)
		ck_assert_msg(strstr(captured, lines[i]), "%s: no line %s in %s", shell, lines[i], captured);
	ck_assert_ptr_null(strstr(captured, "secret"));
}

START_TEST(test_completion)
{
	static const char *const bash[] = {
		"\t:) kind='words' words=' test bare quoted' options='--help --version' ;;\n",
		"\ttest:) kind='words' words=' test bare quoted' options='-q --quiet ",
		" -c --count --any -p --port --port= -s --size --size= -x --extra -z -h --help ' ;;\n",
		"\ttest:-n | test:--name | test:--name=) kind='guest' words='' ;;\n",
		"\ttest:-k | test:--kernel | test:--kernel=) kind='file' words='' ;;\n",
		"\ttest:-x | test:--extra | test:--extra=) kind='list' words=' one bit word= rather-long-key= -name +name' ;;\n",
		"\ttest:--any | test:--any=) kind='none' words='' ;;\n",
		"\ttest:--port=) kind='none' words='' ;;\n",
		"\tbare:) kind='none' words='' options='-h --help ' ;;\n",
	};
	static const char *const zsh[] = {
		"\n\t\t'test:Test'\n",
		"_lkvm_for_test()\n{\n\t_arguments -s -S \\\n\t\t'*-q[Say less]' \\\n\t\t'*--quiet[Say less]'",
		"'*-v[Say more]'",
		"'*-n+[The name]:NAME: _lkvm_guests'",
		"'*--kernel=[The kernel]:FILE:_files'",
		"'*--any=[Any number]:N: '",
		"'*-s-[A size]::2M|1G: _lkvm_words '\\''2M\\:Middle'\\'' '\\''2M,hard\\:Be hard'\\'' '\\''1G'\\'' '\\''hard\\:Be hard'\\'''",
		"'*--size=-[A size]::2M|1G: _lkvm_words '\\''2M\\:Middle'\\'' '\\''2M,hard\\:Be hard'\\'' '\\''1G'\\'' '\\''hard\\:Be hard'\\'''",
		"one line on every terminal that is in use]:WHAT: _lkvm_list "
		"'\\''one\\:One'\\''\\'\\'''\\''s key\\: it'\\'' '\\''bit'\\'' '\\''word=\\:A word,",
		" '\\''rather-long-key=\\:Stands below'\\'' '\\''-name'\\'' '\\''+name'\\'''",
		"'*:operand: _lkvm_words test bare quoted'\n}\n",
	};
	static const char *const fish[] = {
		"complete -c lkvm -n __lkvm_at -a test -d 'Test'\n",
		"complete -c lkvm -n '__lkvm_at test' -f -a ' test bare quoted'\n",
		"complete -c lkvm -n '__lkvm_at test' -s q -l quiet -d 'Say less'\n",
		"complete -c lkvm -n '__lkvm_at test' -s n -l name -x -a '(__lkvm_guests)' -d 'The name'\n",
		"complete -c lkvm -n '__lkvm_at test' -s k -l kernel -r -F -d 'The kernel'\n",
		"complete -c lkvm -n '__lkvm_at test' -s s -l size -f -a ' 2M\\t\\'Middle\\' 2M,hard\\t\\'Be hard\\' 1G hard\\t\\'Be hard\\'' -d 'A size'\n",
		" -x -a '(__lkvm_list one\\t\\'One\\\\\\'s key: it\\' bit word=\\t\\'A word, whose help",
		" rather-long-key=\\t\\'Stands below\\' -name +name)' -d 'An option",
		"complete -c lkvm -n '__lkvm_at test' -s z -d 'Has no long name'\n",
		"complete -c lkvm -n '__lkvm_at bare' -f\n",
	};
	int out = capture_start(STDOUT_FILENO);

	check_completion(out, "bash", bash, ARRAY_SIZE(bash));
	check_completion(out, "zsh", zsh, ARRAY_SIZE(zsh));
	check_completion(out, "fish", fish, ARRAY_SIZE(fish));
	ck_assert_int_eq(options_completion("sh"), -ENOENT);
	ck_assert_str_eq(capture_end(out), "");
}
END_TEST

/* Help texts are quoted as each shell wants it. */
START_TEST(test_completion_quotes)
{
	int out = capture_start(STDOUT_FILENO);

	options_completion("zsh");
	ck_assert_ptr_nonnull(strstr(capture_end(out), "[Not a test'\\''s \\[a\\\\b\\] thing]:A\\:B: '"));
	options_completion("fish");
	ck_assert_ptr_nonnull(strstr(capture_end(out), " -d 'Not a test\\'s [a\\\\b] thing'\n"));
}
END_TEST

START_TEST(test_peek)
{
	static const struct {
		const char *words, *kernel;
	} cases[] = {
		{ "", NULL },
		{ "--kernel", NULL },
		{ "--kernel x", "x" },
		{ "--kernel=x", "x" },
		{ "--kernel=", "" },
		{ "--kernel x --kernel y", "y" },
		{ "--kernel --name", "--name" },
		{ "--name --kernel x", NULL },
		{ "--name=n --kernel x", "x" },
		{ "-n --kernel=x", NULL },
		{ "-qn --kernel=x", NULL },
		{ "-nq --kernel=x", "x" },
		{ "-q --kernel=x", "x" },
		{ "--quiet --kernel=x", "x" },
		{ "--port --kernel x", "x" },
		{ "--port=1 --kernel x", "x" },
		{ "--nonsense --kernel x", "x" },
		{ "--nonsense=1 -? thing --kernel x --count 1", "x" },
		{ "--kernel x -- --kernel y", "x" },
		{ "-- --kernel y", NULL },
		{ "- --kernel y", "y" },
		{ "-n -- --kernel y", "y" },
	};
	static const struct {
		const char *words;
		bool quiet;
	} flags[] = {
		{ "", false },
		{ "--quiet", true },
		{ "--nonsense --quiet", true },
		{ "--name --quiet", false },
		{ "-- --quiet", false },
	};
	struct line l;

	capture_start(STDERR_FILENO);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *kernel;

		parse_line(&l, &bare_command, cases[i].words, false); /* which knows nothing of it */
		kernel = options_peek(&test_command, l.argc, l.argv, "kernel");
		ck_assert_msg(!kernel == !cases[i].kernel, "'%s'", cases[i].words);
		if (kernel)
			ck_assert_str_eq(kernel, cases[i].kernel);
	}
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		parse_line(&l, &bare_command, flags[i].words, false);
		ck_assert_msg(!options_peek(&test_command, l.argc, l.argv, "quiet") == !flags[i].quiet,
			      "'%s'", flags[i].words);
	}
}
END_TEST

UNIT_MAIN("options", test_peek, test_values, test_dash_arguments, test_optional_argument, test_operands,
	  test_dashdash, test_no_operands, test_errors, test_unsigned, test_nearest,
	  test_nearest_length, test_help, test_help_width, test_man, test_man_control,
	  test_completion, test_completion_quotes)
