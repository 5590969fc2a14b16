/* A kernel's messages that something is wrong with it; see lkvm/vm/kernel-log.h. */
#include "lkvm/vm/kernel-log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/log.h"
#include "lkvm/types.h"

#define MESSAGE_LINES 128 /* of one message, at most: what comes later is not its text */
#define CUT_LINES     16  /* between "cut here" and the first line: the text of WARN() */

const struct opt_key kernel_log_keys[] = {
	{ "warn", .kind = KEY_BITS, .bits = KERNEL_LOG_WARN, .help = "WARN() and the like." },
	{ "bug", .kind = KEY_BITS, .bits = KERNEL_LOG_BUG,
	  .help = "BUG(), a bad access, a sleep in atomic context, bad pages and lists." },
	{ "oops", .kind = KEY_BITS, .bits = KERNEL_LOG_OOPS, .help = "An exception in the kernel." },
	{ "kasan", .kind = KEY_BITS, .bits = KERNEL_LOG_KASAN, .help = "Reports of KASAN, KFENCE, KMSAN and KCSAN." },
	{ "ubsan", .kind = KEY_BITS, .bits = KERNEL_LOG_UBSAN, .help = "Reports of UBSAN." },
	{ "lockdep", .kind = KEY_BITS, .bits = KERNEL_LOG_LOCKDEP, .help = "Reports of the lock validator." },
	{ "hung", .kind = KEY_BITS, .bits = KERNEL_LOG_HUNG,
	  .help = "Hung tasks, soft and hard lockups, stalled workqueues." },
	{ "rcu", .kind = KEY_BITS, .bits = KERNEL_LOG_RCU, .help = "RCU stalls and suspicious use of RCU." },
	{ "kmemleak", .kind = KEY_BITS, .bits = KERNEL_LOG_KMEMLEAK, .help = "Leaks that kmemleak suspects." },
	{ "all", .kind = KEY_BITS, .bits = KERNEL_LOG_ALL, .help = "All of these." },
	KEYS_END,
};

/* ---- what a line is ---- */

static const char *behind(const char *s, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(s, prefix, len) ? NULL : s + len;
}

static bool has_any(const char *s, const char *const *words)
{
	for (; *words; words++)
		if (strstr(s, *words))
			return true;
	return false;
}

static const char *const lockdep_words[] = {
	"possible circular locking dependency", "possible recursive locking", "possible irq lock inversion",
	"inconsistent lock state", "-safe -> ", "bad unlock balance", "bad contention detected",
	"Nested lock was not taken", "held lock freed", "lock held when returning to user space",
	"locks held", "Invalid wait context", "trying to register non-static key", "MAX_LOCK",
	"MAX_STACK_TRACE_ENTRIES", "non-nested locks", NULL,
};

static const char *const sanitizers[] = { "KASAN:", "KFENCE:", "KMSAN:", "KCSAN:", NULL };
static const char *const lockups[] = { "soft lockup", "workqueue lockup", NULL };

/* "suspicious RCU usage", and what lockdep says behind "WARNING: ", "INFO: " or "BUG: " */
static unsigned lockdep_kinds(const char *what)
{
	if (strstr(what, "suspicious RCU usage"))
		return KERNEL_LOG_LOCKDEP | KERNEL_LOG_RCU;
	return has_any(what, lockdep_words) ? KERNEL_LOG_LOCKDEP : 0;
}

/*
 * "WARNING: CPU: 0 PID: 1 at mm/slub.c:12 f+0x1/0x2", "WARNING: mm/slub.c:12 at f+0x1/0x2, CPU#0: a/1" since 6.18;
 * other lines that begin so are notes.
 */
static unsigned warning_kinds(const char *what)
{
	const size_t place = strcspn(what, " "), file = strcspn(what, ": ");
	const bool is_place = file < place && strspn(what + file + 1, "0123456789") == place - file - 1;

	if (behind(what, "CPU: ") || behind(what, "at ") || (is_place && behind(what + place, " at ")))
		return KERNEL_LOG_WARN;
	return lockdep_kinds(what);
}

static unsigned bug_kinds(const char *what)
{
	unsigned kinds;

	if (has_any(what, sanitizers))
		return KERNEL_LOG_KASAN;
	if (has_any(what, lockups))
		return KERNEL_LOG_HUNG;
	kinds = lockdep_kinds(what);
	return kinds ? kinds : KERNEL_LOG_BUG;
}

static unsigned info_kinds(const char *what)
{
	if (behind(what, "task ") && strstr(what, " blocked "))
		return KERNEL_LOG_HUNG;
	if (strstr(what, "detected stall") || strstr(what, "self-detected stall") || strstr(what, "expedited stalls"))
		return KERNEL_LOG_RCU;
	return lockdep_kinds(what);
}

/* "Oops: 0000 [#1] PREEMPT SMP", "general protection fault, ...: 0000 [#2]": any exception's last words */
static bool is_oops(const char *line)
{
	const char *mark = strstr(line, " [#");
	const char *code = mark && mark - line > 6 ? mark - 6 : "";
	size_t digits = mark ? strspn(mark + 3, "0123456789") : 0;

	return behind(code, ": ") && strspn(code + 2, "0123456789abcdef") == 4 && digits && mark[3 + digits] == ']';
}

static unsigned other_kinds(const char *line)
{
	if (behind(line, "UBSAN: ") && strstr(line, " in "))
		return KERNEL_LOG_UBSAN;
	if (behind(line, "kernel BUG at "))
		return KERNEL_LOG_BUG;
	if (behind(line, "kmemleak: ") && strstr(line, "new suspected memory leak"))
		return KERNEL_LOG_KMEMLEAK;
	if (strstr(line, "Watchdog detected hard LOCKUP"))
		return KERNEL_LOG_HUNG;
	if (behind(line, "rcu: ") && strstr(line, "kthread starved"))
		return KERNEL_LOG_RCU;
	return is_oops(line) ? KERNEL_LOG_OOPS : 0;
}

/* Of whom it is, in front: "rcu: INFO: ...", "watchdog: BUG: ..."; old kernels put some into "[ ... ]". */
static const char *skip_source(const char *line)
{
	static const char *const sources[] = { "[ ", "rcu: ", "NMI watchdog: ", "watchdog: ", NULL };

	for (const char *const *source = sources; *source; source++)
		if (behind(line, *source))
			return behind(line, *source);
	return line;
}

unsigned kernel_log_kinds(const char *line)
{
	static const struct {
		const char *prefix;
		unsigned (*kinds)(const char *what);
	} heads[] = {
		{ "WARNING: ", warning_kinds }, { "BUG: ", bug_kinds }, { "INFO: ", info_kinds },
	};
	const char *text = skip_source(line);

	for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
		const char *what = behind(text, heads[i].prefix);

		if (what)
			return heads[i].kinds(what);
	}
	return other_kinds(line);
}

/* ---- what is allowed ---- */

static int add_regex(struct kernel_log_allow *allow, const char *option, const char *path, unsigned line,
		     const char *text)
{
	regex_t *more = reallocarray(allow->regex, allow->n + 1, sizeof(*more));
	char why[128];
	int err;

	if (!more)
		return log_err(-ENOMEM, "option '--%s'", option);
	allow->regex = more;
	err = regcomp(&more[allow->n], text, REG_EXTENDED | REG_NOSUB);
	if (err) {
		regerror(err, &more[allow->n], why, sizeof(why));
		return log_errx(-EINVAL, "option '--%s': %s:%u: '%s': %s", option, path, line, text, why);
	}
	allow->n++;
	return 0;
}

int kernel_log_allow_read(struct kernel_log_allow *allow, const char *option, const char *path)
{
	FILE *in = fopen(path, "re");
	char *line = NULL;
	size_t cap = 0;
	unsigned n = 0;
	int err = 0;

	if (!in)
		return log_err(-errno, "option '--%s': '%s'", option, path);
	while (!err && getline(&line, &cap, in) >= 0) {
		char *text = line + strspn(line, " \t");

		n++;
		text[strcspn(text, "\r\n")] = '\0';
		if (*text && *text != '#')
			err = add_regex(allow, option, path, n, text);
	}
	if (!err && ferror(in))
		err = log_err(-errno, "option '--%s': '%s'", option, path);
	free(line);
	fclose(in);
	return err;
}

void kernel_log_allow_free(struct kernel_log_allow *allow)
{
	for (unsigned i = 0; i < allow->n; i++)
		regfree(&allow->regex[i]);
	free(allow->regex);
	*allow = (struct kernel_log_allow){ 0 };
}

static bool is_allowed(const struct kernel_log *log, const char *line)
{
	for (unsigned i = 0; log->allow && i < log->allow->n; i++)
		if (!regexec(&log->allow->regex[i], line, 0, NULL, 0))
			return true;
	return false;
}

/* ---- one after the other ---- */

void kernel_log_init(struct kernel_log *log, unsigned kinds, const struct kernel_log_allow *allow)
{
	*log = (struct kernel_log){ .kinds = kinds, .allow = allow };
}

void kernel_log_end(struct kernel_log *log)
{
	if (log->open && !log->allowed) {
		if (log->n_splats < KERNEL_LOG_SPLATS)
			memcpy(log->splat[log->n_splats], log->first, sizeof(log->first));
		log->n_splats++;
	}
	log->open = log->cut = 0;
	log->allowed = false;
}

/* Does this line end the message that is being read? Those of a sanitizer go on behind their first trace. */
static bool is_last(const struct kernel_log *log, const char *line)
{
	const unsigned traced = KERNEL_LOG_WARN | KERNEL_LOG_OOPS | KERNEL_LOG_KASAN | KERNEL_LOG_UBSAN;

	return behind(line, "---[ end trace") || log->lines >= MESSAGE_LINES ||
	       ((log->open & (KERNEL_LOG_KASAN | KERNEL_LOG_UBSAN)) && behind(line, "==========")) ||
	       (!(log->open & traced) && behind(line + strspn(line, " "), "</TASK>"));
}

/* An oops is how a BUG() or a bad access goes on, a starved thread how a stall does: no message of its own. */
static bool goes_on(const struct kernel_log *log, unsigned kinds)
{
	return (kinds == KERNEL_LOG_OOPS && (log->open & (KERNEL_LOG_BUG | KERNEL_LOG_KASAN))) ||
	       (kinds == KERNEL_LOG_RCU && log->open == KERNEL_LOG_RCU);
}

static void begin(struct kernel_log *log, const char *line, unsigned kinds)
{
	const bool allowed = log->cut && log->allowed; /* by the text in front of it */

	if (!log->cut)
		kernel_log_end(log);
	log->open = kinds;
	log->lines = 1;
	log->cut = 0;
	log->allowed = allowed || is_allowed(log, line);
	snprintf(log->first, sizeof(log->first), "%s", line);
}

static void go_on(struct kernel_log *log, const char *line, unsigned kinds)
{
	if (!log->open)
		return;
	log->open |= kinds;
	log->lines++;
	log->allowed |= is_allowed(log, line);
	if (is_last(log, line))
		kernel_log_end(log);
}

void kernel_log_line(struct kernel_log *log, const char *line)
{
	unsigned kinds = log->kinds ? kernel_log_kinds(line) : 0;

	if (behind(line, "------------[ cut here ]")) {
		kernel_log_end(log);
		log->cut = 1;
	} else if (log->open && goes_on(log, kinds)) {
		go_on(log, line, kinds);
	} else if (kinds & log->kinds) {
		begin(log, line, kinds);
	} else if (log->cut) {
		log->allowed |= is_allowed(log, line);
		if (kinds || ++log->cut > CUT_LINES)
			kernel_log_end(log);
	} else if (kinds) {
		kernel_log_end(log); /* another one, that nobody minds */
	} else {
		go_on(log, line, 0);
	}
}
