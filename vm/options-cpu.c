/* `lkvm run -c N,KEY=N...`, --cpu, --pin: how many CPUs, how they are arranged, what they are, and where they run. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/keys.h"
#include "lkvm/log.h"
#include "lkvm/options.h"
#include "lkvm/vm/run.h"
#include "lkvm/x86/cpu-model.h"
#include "lkvm/x86/layout.h"

#define LEVEL(member) .kind = KEY_UNSIGNED, .arg = "N", .min = 1, .max = MAX_VCPUS, \
		      .offset = offsetof(struct cpu_topology, member)

const struct opt_key run_topology_keys[] = {
	{ "sockets", LEVEL(sockets),
	  .help = "So many sockets. What is not given of these four follows from the number of CPUs: first cores, then "
		  "sockets; else it is 1." },
	{ "dies", LEVEL(dies), .help = "So many dies in a socket, each with a cache of level 3 of its own." },
	{ "cores", LEVEL(cores), .help = "So many cores on a die." },
	{ "threads", LEVEL(threads), .help = "So many threads in a core, which share its caches of level 1 and 2." },
	KEYS_END,
};

static int parse_number(struct vm_config *cfg, const char *arg)
{
	switch (options_unsigned(arg, 0, MAX_VCPUS, &cfg->cpus)) {
	case 0:
		return 0;
	case -ERANGE:
		return log_errx(-EINVAL, "Too many CPUs: %s (at most %d)", arg, MAX_VCPUS);
	default:
		return log_errx(-EINVAL, "Invalid number of CPUs: %s (1 to %d, or 0 for all of the host's)", arg,
				MAX_VCPUS);
	}
}

int run_parse_cpus(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	char *text = strdup(arg), *rest = text;
	const char *number;
	int err;

	if (!text)
		return log_err(-ENOMEM, "option '--%s'", opt->name);
	number = keys_word(&rest);
	cfg->topology = (struct cpu_topology){ 0 };
	err = parse_number(cfg, number);
	if (!err)
		err = keys_parse(opt->name, opt->keys, &cfg->topology, rest);
	free(text);
	return err;
}

/* Is the first of @words a file's name? No feature's looks like that. */
static bool begins_with_file(const char *words)
{
	size_t len = 0;

	while (words[len] && (words[len] != ',' || words[len + 1] == ','))
		len += words[len] == ',' ? 2 : 1;
	return memchr(words, '/', len) || (len > 5 && !memcmp(words + len - 5, ".json", 5));
}

/* Names of features stand for themselves: the words need not stay. */
static int parse_cpu(struct cpu_config *cpu, const struct opt *opt, char *words)
{
	int err = 0;

	cpu->n_features = 0;
	cpu_model_free(cpu->model);
	cpu->model = NULL;
	if (begins_with_file(words)) {
		const char *path = keys_word(&words);

		err = cpu_model_read(path, &cpu->model);
	}
	return err || !words || !*words ? err : keys_parse(opt->name, opt->keys, cpu, words);
}

int run_parse_cpu(void *config, const struct opt *opt, const char *arg)
{
	char *words = strdup(arg);
	int err = words ? parse_cpu(&((struct vm_config *)config)->cpu, opt, words) :
			  log_err(-ENOMEM, "option '--%s'", opt->name);

	free(words);
	return err ? -EINVAL : 0;
}

/* "3" or "0-3". Return: 0 or -EINVAL */
static int read_range(const char *word, unsigned max, unsigned *ret_first, unsigned *ret_last)
{
	char first[16];
	const size_t len = strcspn(word, "-");

	if (len >= sizeof(first))
		return -EINVAL;
	snprintf(first, sizeof(first), "%.*s", (int)len, word);
	if (options_unsigned(first, 0, max, ret_first))
		return -EINVAL;
	*ret_last = *ret_first;
	return word[len] && options_unsigned(word + len + 1, *ret_first, max, ret_last) ? -EINVAL : 0;
}

int run_parse_ranges(const char *text, char separator, unsigned max, int (*add)(void *ctx, unsigned n), void *ctx)
{
	const char separators[] = { separator, '\0' };
	char *copy = strdup(text), *rest = copy, *word;
	unsigned first, last;
	int err = copy ? 0 : -ENOMEM;

	while (!err && (word = strsep(&rest, separators))) {
		err = read_range(word, max, &first, &last);
		for (unsigned n = first; !err && n <= last; n++)
			err = add(ctx, n);
	}
	free(copy);
	return err;
}

static int add_pin(void *ctx, unsigned cpu)
{
	struct vm_config *cfg = ctx;
	unsigned *pin = reallocarray(cfg->pin, cfg->n_pin + 1, sizeof(*pin));

	if (!pin)
		return -ENOMEM;
	cfg->pin = pin;
	pin[cfg->n_pin++] = cpu;
	return 0;
}

int run_parse_pin(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;

	cfg->n_pin = 0;
	return run_parse_ranges(arg, ',', CPU_SETSIZE - 1, add_pin, cfg) ?
		       log_errx(-EINVAL, "option '--%s': '%s' is no list of the host's CPUs (0-3,8)", opt->name, arg) : 0;
}
