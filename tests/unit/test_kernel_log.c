/* Links: vm/kernel-log.o util/log.o */

/* Messages as Linux prints them, from 4.x to 6.18. */
#include "lkvm/vm/kernel-log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/types.h"
#include "unit.h"

START_TEST(test_kinds)
{
	static const struct {
		const char *line;
		unsigned kinds;
	} cases[] = {
		{ "WARNING: CPU: 0 PID: 1 at kernel/workqueue.c:3066 __flush_work.isra.0+0x1f/0x2a0", KERNEL_LOG_WARN },
		{ "WARNING: at lib/kobject.c:595 kobject_put+0x4f/0x90()", KERNEL_LOG_WARN },
		{ "WARNING: lib/refcount.c:28 at refcount_warn_saturate+0xb9/0x110, CPU#1: cat/123", KERNEL_LOG_WARN },
		{ "WARNING: chip: 3 at the end", 0 },
		{ "WARNING: power/level is deprecated; use power/control instead", 0 },
		{ "WARNING! something", 0 },
		{ "a WARNING: CPU: 0 PID: 1 at x", 0 },

		{ "BUG: unable to handle page fault for address: ffffffffc0000000", KERNEL_LOG_BUG },
		{ "BUG: kernel NULL pointer dereference, address: 0000000000000000", KERNEL_LOG_BUG },
		{ "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:283", KERNEL_LOG_BUG },
		{ "BUG: scheduling while atomic: swapper/0/1/0x00000002", KERNEL_LOG_BUG },
		{ "BUG: Bad page state in process cat  pfn:12345", KERNEL_LOG_BUG },
		{ "kernel BUG at mm/slub.c:3894!", KERNEL_LOG_BUG },
		{ "list_add corruption. next->prev should be prev", 0 },

		{ "Oops: 0000 [#1] PREEMPT SMP PTI", KERNEL_LOG_OOPS },
		{ "Oops: Oops: 0002 [#12] SMP NOPTI", KERNEL_LOG_OOPS },
		{ "general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP",
		  KERNEL_LOG_OOPS },
		{ "invalid opcode: 0000 [#1] PREEMPT SMP", KERNEL_LOG_OOPS },
		{ "divide error: 0000 [#1]", KERNEL_LOG_OOPS },
		{ "usb 1-1: product: 12 [#1]", 0 },
		{ ": 0000 [#]", 0 },
		{ " [#1]", 0 },

		{ "BUG: KASAN: slab-out-of-bounds in kmalloc_oob_right+0x92/0x2f0 [test_kasan]", KERNEL_LOG_KASAN },
		{ "BUG: KFENCE: use-after-free read in test_use_after_free_read+0xb3/0x143", KERNEL_LOG_KASAN },
		{ "BUG: KMSAN: uninit-value in strlen+0x3f/0xa0", KERNEL_LOG_KASAN },
		{ "UBSAN: array-index-out-of-bounds in drivers/net/foo.c:12:3", KERNEL_LOG_UBSAN },
		{ "UBSAN: Undefined behaviour in mm/page_alloc.c:117:19", KERNEL_LOG_UBSAN },

		{ "WARNING: possible circular locking dependency detected", KERNEL_LOG_LOCKDEP },
		{ "WARNING: possible recursive locking detected", KERNEL_LOG_LOCKDEP },
		{ "WARNING: inconsistent lock state", KERNEL_LOG_LOCKDEP },
		{ "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected", KERNEL_LOG_LOCKDEP },
		{ "WARNING: bad unlock balance detected!", KERNEL_LOG_LOCKDEP },
		{ "WARNING: cat/123 still has locks held!", KERNEL_LOG_LOCKDEP },
		{ "[ INFO: possible circular locking dependency detected ]", KERNEL_LOG_LOCKDEP },
		{ "[ BUG: Invalid wait context ]", KERNEL_LOG_LOCKDEP },
		{ "INFO: trying to register non-static key.", KERNEL_LOG_LOCKDEP },
		{ "BUG: MAX_LOCKDEP_ENTRIES too low!", KERNEL_LOG_LOCKDEP },

		{ "INFO: task kworker/0:1:12 blocked for more than 120 seconds.", KERNEL_LOG_HUNG },
		{ "INFO: task dd:99 blocked in I/O wait for more than 120 seconds.", KERNEL_LOG_HUNG },
		{ "watchdog: BUG: soft lockup - CPU#0 stuck for 23s! [cat:123]", KERNEL_LOG_HUNG },
		{ "NMI watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [modprobe:32]", KERNEL_LOG_HUNG },
		{ "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 35s!", KERNEL_LOG_HUNG },
		{ "watchdog: Watchdog detected hard LOCKUP on cpu 2", KERNEL_LOG_HUNG },
		{ "NMI watchdog: Watchdog detected hard LOCKUP on cpu 0", KERNEL_LOG_HUNG },
		{ "INFO: task list follows", 0 },

		{ "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", KERNEL_LOG_RCU },
		{ "rcu: INFO: rcu_sched self-detected stall on CPU", KERNEL_LOG_RCU },
		{ "INFO: rcu_sched self-detected stall on CPU { 0}", KERNEL_LOG_RCU },
		{ "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 0-.... } 21 jiffies", KERNEL_LOG_RCU },
		{ "rcu: rcu_preempt kthread starved for 2602 jiffies! g1 f0x0", KERNEL_LOG_RCU },
		{ "WARNING: suspicious RCU usage", KERNEL_LOG_RCU | KERNEL_LOG_LOCKDEP },
		{ "rcu: Hierarchical RCU implementation.", 0 },

		{ "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)", KERNEL_LOG_KMEMLEAK },
		{ "kmemleak: Kernel memory leak detector initialized", 0 },
		{ "", 0 }, { "[ ", 0 }, { "BUG:", 0 }, { "WARNING: ", 0 }, { "Linux version 6.1.0", 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		ck_assert_msg(kernel_log_kinds(cases[i].line) == cases[i].kinds, "'%s': %#x", cases[i].line,
			      kernel_log_kinds(cases[i].line));
}
END_TEST

/* ---- one after the other ---- */

static struct kernel_log log_;
static struct kernel_log_allow allow;

static void read_allow(const char *text, int expected)
{
	char name[] = "/tmp/test_kernel_log.XXXXXX";
	int fd = mkstemp(name);

	ck_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	ck_assert_int_eq(kernel_log_allow_read(&allow, "allow", name), expected);
	close(fd);
	unlink(name);
}

static void feed(const char *text)
{
	char copy[8192], *rest = copy, *line;

	ck_assert_uint_lt(strlen(text), sizeof(copy));
	strcpy(copy, text);
	while ((line = strsep(&rest, "\n")))
		kernel_log_line(&log_, line);
}

/* What was kept, joined by '|' */
static const char *judge(unsigned kinds, const char *text)
{
	static char all[KERNEL_LOG_SPLATS * KERNEL_LOG_BYTES];

	kernel_log_init(&log_, kinds, &allow);
	feed(text);
	kernel_log_end(&log_);
	*all = '\0';
	for (unsigned i = 0; i < log_.n_splats && i < KERNEL_LOG_SPLATS; i++)
		strcat(strcat(all, i ? "|" : ""), log_.splat[i]);
	return all;
}

#define CUT     "------------[ cut here ]------------\n"
#define WARN    "WARNING: CPU: 0 PID: 42 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110"
#define TRACE   "Modules linked in:\nRIP: 0010:refcount_warn_saturate+0xba/0x110\nCall Trace:\n <TASK>\n foo_release+0x1/0x2\n" \
		" </TASK>\n---[ end trace 0000000000000000 ]---\n"
#define WARNED  CUT "refcount_t: underflow; use-after-free.\n" WARN "\n" TRACE
#define DEREF   "BUG: kernel NULL pointer dereference, address: 0000000000000000"
#define OOPS    "Oops: 0002 [#1] PREEMPT SMP NOPTI"
#define OOPSED  DEREF "\n#PF: supervisor write access in kernel mode\nPGD 0 P4D 0\n" OOPS "\n" \
		"RIP: 0010:sysrq_handle_crash+0x16/0x20\n" TRACE
#define KASAN   "BUG: KASAN: use-after-free in bar+0x1/0x2"
#define LINE    "==================================================================\n"
#define KASANED LINE KASAN "\nRead of size 1 at addr ffff8880 by task cat/1\n </TASK>\nAllocated by task 7:\n" LINE
#define HUNG    "INFO: task dd:99 blocked for more than 120 seconds."

START_TEST(test_messages)
{
	ck_assert_str_eq(judge(KERNEL_LOG_ALL, "Linux version 6.1.0\n" WARNED "all is well\n"), WARN);
	ck_assert_str_eq(judge(KERNEL_LOG_ALL, WARNED WARNED KASANED), WARN "|" WARN "|" KASAN);
	/* The oops belongs to the bad access, unless only that was asked for. */
	ck_assert_str_eq(judge(KERNEL_LOG_ALL, OOPSED), DEREF);
	ck_assert_str_eq(judge(KERNEL_LOG_OOPS, OOPSED), OOPS);
	ck_assert_str_eq(judge(KERNEL_LOG_BUG, OOPSED HUNG "\n" WARNED), DEREF);
	ck_assert_str_eq(judge(0, OOPSED WARNED), "");
	/* It ends nowhere. */
	ck_assert_str_eq(judge(KERNEL_LOG_HUNG, HUNG), HUNG);
	ck_assert_str_eq(judge(KERNEL_LOG_RCU, "rcu: INFO: rcu_sched self-detected stall on CPU\nx\n"
			       "rcu: rcu_sched kthread starved for 2602 jiffies!"),
			 "rcu: INFO: rcu_sched self-detected stall on CPU");
}
END_TEST

START_TEST(test_allow)
{
	read_allow("# what we know\n\n  refcount_t: under.low;\r\n", 0);
	ck_assert_uint_eq(allow.n, 1);
	ck_assert_str_eq(judge(KERNEL_LOG_ALL, WARNED), ""); /* by the text in front of it */
	ck_assert_str_eq(judge(KERNEL_LOG_ALL, WARNED KASANED), KASAN);
	kernel_log_allow_free(&allow);

	read_allow("at lib/refcount\\.c:[0-9]+ (a|refcount_)", 0);
	ck_assert_str_eq(judge(KERNEL_LOG_ALL, WARNED), ""); /* by its first line */
	ck_assert_str_eq(judge(KERNEL_LOG_ALL, OOPSED), DEREF);
	kernel_log_allow_free(&allow);

	read_allow("sysrq_handle_crash\nAllocated by task 7", 0);
	ck_assert_str_eq(judge(KERNEL_LOG_ALL, OOPSED KASANED), ""); /* by its text */
	ck_assert_str_eq(judge(KERNEL_LOG_ALL, WARNED), WARN);
	/* What comes behind its end, or much later, is not its text. */
	ck_assert_str_eq(judge(KERNEL_LOG_ALL, WARNED "sysrq_handle_crash"), WARN);
	ck_assert_str_eq(judge(KERNEL_LOG_ALL, HUNG "\n </TASK>\nsysrq_handle_crash"), HUNG);
	ck_assert_str_eq(judge(KERNEL_LOG_ALL, HUNG "\n" CUT "sysrq_handle_crash"), HUNG);
	kernel_log_init(&log_, KERNEL_LOG_ALL, &allow);
	feed(HUNG);
	for (unsigned i = 0; i < 200; i++)
		feed("x");
	feed("sysrq_handle_crash");
	kernel_log_end(&log_);
	ck_assert_uint_eq(log_.n_splats, 1);
	/* Nor is what stood long before, behind a "cut here" without a message. */
	kernel_log_init(&log_, KERNEL_LOG_ALL, &allow);
	feed(CUT "sysrq_handle_crash");
	for (unsigned i = 0; i < 20; i++)
		feed("x");
	feed(WARN);
	kernel_log_end(&log_);
	ck_assert_uint_eq(log_.n_splats, 1);
	kernel_log_allow_free(&allow);
}
END_TEST

START_TEST(test_allow_refused)
{
	read_allow("fine\n(", -EINVAL);
	kernel_log_allow_free(&allow);
	ck_assert_int_eq(kernel_log_allow_read(&allow, "allow", "/no/such/file"), -ENOENT);
	ck_assert_int_eq(kernel_log_allow_read(&allow, "allow", "/"), -EISDIR);
	kernel_log_allow_free(&allow);
}
END_TEST

/* A guest may print as many as it likes, of any length. */
START_TEST(test_bounds)
{
	char text[2000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	memcpy(text, "BUG: ", 5);
	kernel_log_init(&log_, KERNEL_LOG_ALL, NULL);
	for (unsigned i = 0; i < 1000; i++)
		feed(text);
	kernel_log_end(&log_);
	ck_assert_uint_eq(log_.n_splats, 1000);
	for (unsigned i = 0; i < KERNEL_LOG_SPLATS; i++)
		ck_assert_uint_eq(strlen(log_.splat[i]), KERNEL_LOG_BYTES - 1);
}
END_TEST

UNIT_MAIN("kernel_log", test_kinds, test_messages, test_allow, test_allow_refused, test_bounds)
