/* `lkvm profile`: where the virtual CPUs of a Linux guest spend their time, by samples. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lkvm/builtin.h"
#include "lkvm/clock.h"
#include "lkvm/guests.h"
#include "lkvm/log.h"

#define PERIOD_NS    (NS_PER_S / 97) /* keeps out of step with what a guest does a hundred times a second */
#define SHOWN        25
#define MAX_STACKS   65536 /* different ones; more are counted as one */
#define DEFAULT_SECONDS 5

struct profile_config {
	const char *name;
	unsigned seconds;
	bool folded;
};

struct stack {
	char *text;
	unsigned long n;
};

struct profile {
	const struct profile_config *cfg;
	const struct ipc_peer *guest;
	struct stack *stack;
	size_t n_stacks;
	unsigned long n_samples; /* of all vCPUs together */
	struct ipc_reply reply;
};

static const struct opt options[] = {
	{ .kind = OPT_STRING, .short_name = 'n', .name = "name", .arg = "NAME",
	  .help = "The guest; the same as NAME without the option.",
	  .offset = offsetof(struct profile_config, name), .complete = COMPLETE_GUEST },
	{ .kind = OPT_UNSIGNED, .short_name = 's', .name = "seconds", .arg = "S",
	  .help = "How long to look (5).", .offset = offsetof(struct profile_config, seconds) },
	{ .kind = OPT_FLAG, .name = "folded",
	  .help = "Each stack that was seen on a line, the outermost function first, and how often: what flamegraph.pl, "
		  "inferno and speedscope read.",
	  .offset = offsetof(struct profile_config, folded) },
	OPT_END,
};

/* ---- counting ---- */

static int add(struct profile *p, const char *text)
{
	struct stack *more;

	for (size_t i = 0; i < p->n_stacks; i++)
		if (!strcmp(p->stack[i].text, text)) {
			p->stack[i].n++;
			return 0;
		}
	if (p->n_stacks == MAX_STACKS)
		return 0;
	more = reallocarray(p->stack, p->n_stacks + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	p->stack = more;
	more += p->n_stacks;
	*more = (struct stack){ strdup(text), 1 };
	if (!more->text)
		return -ENOMEM;
	p->n_stacks++;
	return 0;
}

static int count_sample(struct profile *p)
{
	char *line = (char *)p->reply.body, *end;
	int err = 0;

	if (p->reply.len == sizeof(p->reply.body))
		p->reply.len--;
	p->reply.body[p->reply.len] = '\0';
	for (; !err && (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		err = add(p, line);
		p->n_samples++;
	}
	return err;
}

static int failed(const struct profile *p, int err)
{
	const char *name = p->guest->name;

	if (err == -ENOENT || err == -ENODATA)
		return log_errx(err, "guest '%s': there is no Linux in its memory whose symbols can be found", name);
	if (err == -ENOMEM)
		return log_errx(err, "out of memory");
	return ipc_failed(name, p->guest->pid, err);
}

/* A moment at which a vCPU does not come out of the guest is left out; a guest that ends is no failure. */
static int sample(struct profile *p, bool *ret_ended)
{
	int err = ipc_call(p->guest->fd, IPC_SAMPLE, NULL, 0, &p->reply);

	if (err == -EAGAIN || err == -EINPROGRESS)
		return 0;
	*ret_ended = err == -ECONNRESET || err == -ESHUTDOWN;
	if (!err)
		err = count_sample(p);
	return err && !(*ret_ended && p->n_samples) ? failed(p, err) : 0;
}

static void sleep_until(uint64_t ns)
{
	const struct timespec until = { (time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S) };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static int look(struct profile *p)
{
	const uint64_t end = now_ns() + p->cfg->seconds * NS_PER_S;
	bool ended = false;
	int err = 0;

	for (uint64_t next = now_ns(); !err && !ended && next < end; next += PERIOD_NS) {
		if (next < now_ns())
			next = now_ns(); /* a slow host has fewer samples */
		sleep_until(next);
		err = sample(p, &ended);
	}
	return err;
}

/* ---- showing ---- */

static int by_count(const void *a, const void *b)
{
	const struct stack *x = a, *y = b;

	return x->n != y->n ? (x->n < y->n) - (x->n > y->n) : strcmp(x->text, y->text);
}

/* The innermost functions, whoever has called them and wherever: those of each vCPU are one */
static int by_function(const struct profile *p, struct profile *ret)
{
	int err = 0;

	for (size_t i = 0; !err && i < p->n_stacks; i++) {
		const char *last = strrchr(p->stack[i].text, ';');

		err = add(ret, last ? last + 1 : p->stack[i].text);
		for (size_t k = 0; !err && k < ret->n_stacks; k++)
			if (!strcmp(ret->stack[k].text, last ? last + 1 : p->stack[i].text))
				ret->stack[k].n += p->stack[i].n - 1;
	}
	return err;
}

static void print(const char *text)
{
	ipc_print(text, strlen(text));
}

static void show_folded(struct profile *p)
{
	if (p->n_stacks)
		qsort(p->stack, p->n_stacks, sizeof(*p->stack), by_count);
	for (size_t i = 0; i < p->n_stacks; i++) {
		print(p->stack[i].text);
		printf(" %lu\n", p->stack[i].n);
	}
}

static void free_stacks(struct profile *p)
{
	for (size_t i = 0; i < p->n_stacks; i++)
		free(p->stack[i].text);
	free(p->stack);
}

static int show_table(const struct profile *p)
{
	struct profile *functions = calloc(1, sizeof(*functions));
	int err = functions ? by_function(p, functions) : -ENOMEM;

	if (!err && functions->n_stacks) {
		printf("%lu samples\n", p->n_samples);
		qsort(functions->stack, functions->n_stacks, sizeof(*functions->stack), by_count);
	}
	for (size_t i = 0; !err && i < functions->n_stacks && i < SHOWN; i++) {
		printf("%6.2f%%  ", 100.0 * (double)functions->stack[i].n / (double)p->n_samples);
		print(functions->stack[i].text);
		putchar('\n');
	}
	if (functions)
		free_stacks(functions);
	free(functions);
	return err ? failed(p, err) : 0;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	struct profile_config cfg = { .seconds = DEFAULT_SECONDS };
	struct ipc_peers guests = { 0 };
	int first, status;
	enum options_result result = options_parse(cmd, &cfg, argc, argv, &first, NULL);
	struct profile p = { .cfg = &cfg };

	if (result != OPTIONS_OK)
		return options_status(result);
	status = guests_choose_one(cmd->name, cfg.name, argv + first, argc - first, &guests);
	if (status == EXIT_SUCCESS) {
		p.guest = &guests.list[0];
		status = look(&p) ? EXIT_FAILURE : EXIT_SUCCESS;
		if (cfg.folded)
			show_folded(&p);
		else if (p.n_samples && show_table(&p))
			status = EXIT_FAILURE;
	}
	free_stacks(&p);
	ipc_peers_free(&guests);
	return status;
}

const struct command profile_command = {
	.name = "profile",
	.summary = "Show where a guest's virtual CPUs spend their time",
	.operands = "NAME",
	.operand_complete = COMPLETE_GUEST,
	.description = "Looks 97 times a second at where the virtual CPUs of a Linux guest are, and shows the functions that "
		       "they were in most often. The virtual CPUs stand still for a moment each time.",
	.opts = options,
	.run = run,
};
