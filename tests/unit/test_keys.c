/* Links: util/keys.o util/options.o util/log.o */
#include "lkvm/keys.h"

#include <errno.h>
#include <string.h>

#include "lkvm/log.h"
#include "lkvm/types.h"
#include "unit.h"

struct toy_config {
	bool on;
	const char *text;
	unsigned number;
	unsigned parsed;
	const char *value;
	unsigned bits;
	const char *word;
	bool word_on;
};

static int parse(void *config, const char *option, const char *value)
{
	struct toy_config *cfg = config;

	(void)option;
	cfg->parsed++;
	cfg->value = value;
	return value && !strcmp(value, "bad") ? -EINVAL : 0;
}

static const char *name(unsigned i)
{
	static const char *const names[] = { "alpha", "beta" };

	return i < ARRAY_SIZE(names) ? names[i] : NULL;
}

static int set_name(void *config, const char *option, const char *word, bool on)
{
	struct toy_config *cfg = config;

	(void)option;
	for (unsigned i = 0; name(i); i++)
		if (!strcmp(name(i), word)) {
			cfg->word = name(i);
			cfg->word_on = on;
			return 0;
		}
	return -ENOENT;
}

static const struct opt_key_names names = { "letters of Greek", name, set_name };

#define FIELD(member) .offset = offsetof(struct toy_config, member)

static const struct opt_key keys[] = {
	{ "flag", .kind = KEY_FLAG, FIELD(on) },
	{ "text", "T", .kind = KEY_STRING, FIELD(text) },
	{ "number", "N", .kind = KEY_UNSIGNED, FIELD(number), .min = 2, .max = 9 },
	{ "call", "C", .kind = KEY_PARSE, .parse = parse },
	{ "alone", "C", .kind = KEY_PARSE, .parse = parse, .alone = true },
	{ "low", .kind = KEY_BITS, FIELD(bits), .bits = 0x3 },
	{ "high", .kind = KEY_BITS, FIELD(bits), .bits = 0x6 },
	{ "NAME", .kind = KEY_NAMES, .names = &names },
	KEYS_END,
};
static const struct opt_key flag_only[] = {
	{ "flag", .kind = KEY_FLAG, FIELD(on) },
	KEYS_END,
};
static const struct opt_value values[] = {
	{ .name = "bare" },
	{ .name = "keyed", .keys = keys },
	{ .name = "silent", .keys = flag_only, .implied = true },
	VALUES_END,
};

static struct toy_config cfg;
static char text[128];

static int keys_of(const char *arg)
{
	cfg = (struct toy_config){ 0 };
	return keys_parse("toy", keys, &cfg, arg ? strcpy(text, arg) : NULL);
}

START_TEST(test_words)
{
	static const struct {
		const char *text, *word[4];
	} cases[] = {
		{ "a", { "a" } },
		{ "", { "" } },
		{ "a,b", { "a", "b" } },
		{ "a,", { "a", "" } },
		{ ",a", { "", "a" } },
		{ "a,,b", { "a,b" } },
		{ "a,,,b", { "a,", "b" } },
		{ "a,,", { "a," } },
		{ ",,,,", { ",," } },
		{ "/x,,y,ro,serial=a,,b", { "/x,y", "ro", "serial=a,b" } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *rest = strcpy(text, cases[i].text);

		for (unsigned w = 0; cases[i].word[w]; w++)
			ck_assert_str_eq(keys_word(&rest), cases[i].word[w]);
		ck_assert_msg(!keys_word(&rest), "case %zu", i);
	}
}
END_TEST

START_TEST(test_values)
{
	ck_assert_int_eq(keys_of(NULL), 0);
	ck_assert_int_eq(keys_of("flag,text=a=b,number=9,call=x"), 0);
	ck_assert(cfg.on);
	ck_assert_str_eq(cfg.text, "a=b");
	ck_assert_uint_eq(cfg.number, 9);
	ck_assert_str_eq(cfg.value, "x");
	ck_assert_int_eq(keys_of("flag=on,flag=off,number=2"), 0);
	ck_assert(!cfg.on);
	ck_assert_int_eq(keys_of("alone"), 0);
	ck_assert_uint_eq(cfg.parsed, 1);
	ck_assert_ptr_null(cfg.value);
	ck_assert_int_eq(keys_of("alone=x,alone"), 0);
	ck_assert_uint_eq(cfg.parsed, 2);
}
END_TEST

START_TEST(test_refused)
{
	static const char *const cases[] = {
		"", "flag,", ",flag", "fla", "flags", "=", "flag=", "flag=yes", "text", "text=",
		"number", "number=", "number=1", "number=10", "number=x", "number=3 ", "call", "call=",
		"call=bad", "alone=", "Flag", "+", "-", "+text", "-number", "+alone", "+flag=on",
		"++flag", "low=", "+low=on", "NAME", "gamma", "alpha=x", "+alpha=on", "alph",
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		ck_assert_msg(keys_of(cases[i]) == -EINVAL, "'%s'", cases[i]);
	/* The first that is wrong ends it. */
	ck_assert_int_eq(keys_of("call=x,nothing,flag"), -EINVAL);
	ck_assert_uint_eq(cfg.parsed, 1);
	ck_assert(!cfg.on);
}
END_TEST

/* What is on or off has three forms. */
START_TEST(test_switches)
{
	static const struct {
		const char *arg;
		bool on;
		unsigned bits;
	} cases[] = {
		{ "flag", true, 0 },      { "+flag", true, 0 },
		{ "flag,-flag", false, 0 }, { "flag,flag=off", false, 0 },
		{ "low", false, 3 },      { "low,high", false, 7 },
		{ "low,high,-low", false, 4 }, { "low=on,+high,high=off", false, 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		ck_assert_int_eq(keys_of(cases[i].arg), 0);
		ck_assert(cfg.on == cases[i].on);
		ck_assert_uint_eq(cfg.bits, cases[i].bits);
	}
	ck_assert_int_eq(keys_of("-alpha"), 0);
	ck_assert_str_eq(cfg.word, "alpha");
	ck_assert(!cfg.word_on);
	ck_assert_int_eq(keys_of("alpha=off,beta"), 0);
	ck_assert_str_eq(cfg.word, "beta");
	ck_assert(cfg.word_on);
}
END_TEST

START_TEST(test_value)
{
	static const struct {
		const char *arg;
		unsigned which; /* 9: refused */
		bool on;
	} cases[] = {
		{ "bare", 0, false },       { "keyed", 1, false },   { "keyed,flag", 1, true },
		{ "keyed,beta", 1, false }, { "silent", 2, false },  { "silent,flag", 2, true },
		{ "flag", 2, true },        { "flag=off", 2, false }, { "flag,-flag", 2, false },
		{ "", 9, false },           { "bar", 9, false },     { "bare,flag", 9, false },
		{ "bare,", 9, false },      { "keyed,", 9, false },  { "keyed,nothing", 9, false },
		{ "low", 9, false },        { "flag=x", 9, false },  { "fla", 9, false },
		{ "bare=on", 9, false },    { ",bare", 9, false },   { "silent,flag,bare", 9, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned which = 9;
		int err;

		cfg = (struct toy_config){ 0 };
		err = keys_value("toy", values, &cfg, cases[i].arg, &which);
		ck_assert_msg(err == (cases[i].which == 9 ? -EINVAL : 0), "'%s': %d", cases[i].arg, err);
		ck_assert_uint_eq(which, cases[i].which);
		ck_assert_msg(err || cfg.on == cases[i].on, "'%s'", cases[i].arg);
	}
}
END_TEST

START_TEST(test_messages)
{
	static const struct {
		const char *arg, *message;
	} cases[] = {
		{ "keyed,numbr", "option '--toy': unknown 'numbr', did you mean 'number'? (known: flag, text, "
				 "number, call, alone, low, high, letters of Greek)" },
		{ "keyed,-bata", "option '--toy': unknown 'bata', did you mean 'beta'? (known: flag, text, "
				 "number, call, alone, low, high, letters of Greek)" },
		{ "barf", "option '--toy': unknown 'barf', did you mean 'bare'? (known: bare, keyed, silent, "
			  "flag)" },
		{ "flog", "option '--toy': unknown 'flog', did you mean 'flag'? (known: bare, keyed, silent, "
			  "flag)" },
		{ "silent,xyz", "option '--toy': unknown 'xyz' (known: flag)" },
		{ "bare,flag", "option '--toy': nothing can stand behind 'bare', but 'flag' does" },
		{ "flag=x", "option '--toy': 'flag=x' is neither on nor off" },
		{ "keyed,text", "option '--toy': 'text' needs a value" },
		{ "keyed,number=1", "option '--toy': number '1' is not a number from 2 to 9" },
	};
	char last[256];
	unsigned which;

	log_hold_errors(true);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		ck_assert_int_eq(keys_value("toy", values, &cfg, cases[i].arg, &which), -EINVAL);
		log_last_error(last, sizeof(last));
		ck_assert_str_eq(last, cases[i].message);
	}
}
END_TEST

UNIT_MAIN("keys", test_words, test_values, test_refused, test_switches, test_value, test_messages)
