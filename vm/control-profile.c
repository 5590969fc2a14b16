/*
 * `lkvm profile`: one sample of where the vCPUs are; see control.h. The vCPUs stand still for as long as it takes to
 * read their registers and stacks. Who asks counts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/kvm-cpu.h"
#include "lkvm/kvm.h"
#include "lkvm/vm/backtrace.h"
#include "lkvm/vm/control.h"

/* The name alone: without where in the function, so that all samples of one are the same */
static void print_name(FILE *out, const struct linux_symbols *symbols, const struct linux_frame *frame)
{
	struct linux_symbol symbol;

	if (frame->is_user)
		fputs(";[user space]", out);
	else if (!symbols || linux_symbol_at(symbols, frame->ip - frame->is_return, &symbol) || !*symbol.name)
		fputs(";[unknown]", out);
	else
		fprintf(out, ";%s%s%s%s", symbol.name, *symbol.module ? " [" : "", symbol.module,
			*symbol.module ? "]" : "");
}

/* As flame graphs want it: the outermost function first. Guesses would make stacks that never were. */
static void print_stack(FILE *out, const struct backtrace *b, const struct linux_symbols *symbols)
{
	unsigned n = 0;

	if (b->is_off)
		return;
	while (n < b->trace.n && !b->trace.frame[n].is_guess)
		n++;
	fprintf(out, "vcpu%u", b->cpu);
	while (n--)
		print_name(out, symbols, &b->trace.frame[n]);
	putc('\n', out);
}

static void sample_all(FILE *out, const struct kvm *kvm, const struct linux_symbols *symbols)
{
	struct backtrace b;

	for (unsigned i = 0; i < kvm->n_cpus; i++)
		if (!backtrace_take(kvm, i, symbols, &b))
			print_stack(out, &b, symbols);
}

/* As many whole lines as there is room for */
static void answer(struct ipc_reply *reply, const char *text, size_t len)
{
	if (len > sizeof(reply->body))
		len = sizeof(reply->body);
	while (len && text[len - 1] != '\n')
		len--;
	memcpy(reply->body, text, len);
	reply->len = len;
}

int control_sample(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	const struct linux_symbols *symbols = NULL;
	char *text = NULL;
	bool was_running;
	size_t len = 0;
	FILE *out;
	int err = control_symbols(ctl, &symbols);

	(void)body;
	if (err)
		return err;
	if (!symbols)
		return -ENODATA;
	out = open_memstream(&text, &len);
	if (!out)
		return -ENOMEM;
	err = control_freeze(ctl, &was_running, reply);
	if (!err) {
		sample_all(out, ctl->kvm, symbols);
		control_thaw(ctl, was_running);
	}
	if (!fclose(out) && !err)
		answer(reply, text, len);
	free(text);
	return err;
}
