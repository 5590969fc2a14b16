/*
 * A SIGSEGV within guest RAM's reservation is a missed bounds check of ours, stopped by the gap or
 * a guard. Name the guest address, then let the process die of the signal as it would have. An
 * assertion that fails ends in the same way. Where blocks of memory come and go it may be that somebody
 * is late: ram_mend() lets him go on.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/ram.h"

/* A signal handler has no argument of its own: this is the one place that must be global. */
static _Atomic(const struct ram *) reported_ram;
static void (*_Atomic before_death)(void);

static void put_hex(char *line, size_t *len, uint64_t value)
{
	for (int shift = 60; shift >= 0; shift -= 4)
		line[(*len)++] = "0123456789abcdef"[value >> shift & 15];
}

static void put(char *line, size_t *len, const char *text)
{
	size_t n = strlen(text);

	memcpy(line + *len, text, n);
	*len += n;
}

/* Async-signal-safe: no stdio. */
static void on_fault(int sig, siginfo_t *info, void *context)
{
	const struct ram *ram = atomic_load(&reported_ram);
	gpa_t gpa;
	char line[160];
	size_t len = 0;
	void (*clean_up)(void) = atomic_load(&before_death);

	(void)context;
	if (sig == SIGSEGV && ram && ram_mend(ram, info->si_addr))
		return;
	signal(sig, SIG_DFL);
	if (clean_up)
		clean_up();
	if (sig != SIGABRT && ram && !ram_gpa_of(ram, info->si_addr, &gpa)) {
		put(line, &len, sig == SIGBUS ? "\r\nlkvm: the host has no memory left for" :
						"\r\nlkvm: internal error: access to");
		put(line, &len, " guest address 0x");
		put_hex(line, &len, gpa.v);
		put(line, &len, sig == SIGBUS ? "\r\n" : ", which is not RAM\r\n");
		if (write(STDERR_FILENO, line, len) < 0)
			len = 0;
	}
	/* Raised again, it ends the process (and dumps core). */
	raise(sig);
}

int ram_fault_report(const struct ram *ram, void (*clean_up)(void))
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGABRT };
	struct sigaction act = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	atomic_store(&reported_ram, ram);
	atomic_store(&before_death, clean_up);
	if (!ram)
		act = (struct sigaction){ .sa_handler = SIG_DFL };
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		if (sigaction(signals[i], &act, NULL))
			return -errno;
	return 0;
}
