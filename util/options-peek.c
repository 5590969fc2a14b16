/* One option's argument in a command line that may be wrong elsewhere; see options.h. */
#include "lkvm/options.h"

#include <string.h>

static const struct opt *find(const struct command *cmd, const char *name, size_t len, char letter)
{
	for (const struct opt *opt = cmd->opts; options_more(opt); opt++) {
		if (letter && opt->short_name == letter)
			return opt;
		if (name && opt->name && strlen(opt->name) == len && !memcmp(opt->name, name, len))
			return opt;
	}
	return NULL;
}

static bool takes_next(const struct opt *opt)
{
	return opt && opt->arg && !opt->arg_optional;
}

/* @word: a dash and letters. Return: does the last one take the next word? */
static bool letters_take_next(const struct command *cmd, const char *word)
{
	for (word++; *word; word++) {
		const struct opt *opt = find(cmd, NULL, 0, *word);

		if (takes_next(opt))
			return !word[1];
	}
	return false;
}

const char *options_peek(const struct command *cmd, int argc, char **argv, const char *name)
{
	const char *found = NULL;

	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		const char *word = argv[i], *end;
		const struct opt *opt;

		if (word[0] != '-')
			continue;
		if (word[1] != '-') {
			i += letters_take_next(cmd, word);
			continue;
		}
		end = strchrnul(word + 2, '=');
		opt = find(cmd, word + 2, (size_t)(end - word - 2), 0);
		if (opt && !opt->arg && !strcmp(opt->name, name))
			found = word;
		if (!takes_next(opt))
			continue;
		if (!*end && ++i == argc)
			break;
		if (!strcmp(opt->name, name))
			found = *end ? end + 1 : argv[i];
	}
	return found;
}
