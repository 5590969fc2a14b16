/*
 * session-peer CASE COMMAND [ARG]...: runs COMMAND, which is lkvm's init with channel-fd=3, and does with
 * it what lkvm would do, or would not. Status 0 if all is as lkvm/session.h says, else a line tells what
 * is not. What init says on its console goes to standard error.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "session-frames.h"

#define SH               "env=PATH=/bin", "arg=busybox", "arg=sh", "arg=-c"
#define MILLION          1000000ull
#define BULK             (8u << 20)
#define IS_TEXT(b, text) ((b).len == strlen(text) && !memcmp((b).at, text, (b).len))

static void finish(struct peer *p, uint32_t command)
{
	peer_until(p, &p->run[command].exited);
}

/* Until init has gone; it says why on its console. */
static void until_closed(struct peer *p)
{
	while (!p->closed)
		CHECK(peer_step(p, 10000));
}

/* Always the same */
static const uint8_t *noise(size_t len)
{
	static uint8_t at[SESSION_EXEC_MOST];
	uint32_t x = 12345;

	CHECK(len <= sizeof(at));
	for (size_t i = 0; i < len; i++) {
		x = x * 1664525 + 1013904223;
		at[i] = (uint8_t)(x >> 24);
	}
	return at;
}

/* ---- how it ends ---- */

static void hello(struct peer *p)
{
	struct utsname name;

	uname(&name);
	CHECK(p->greeting.version == SESSION_VERSION && !strcmp(p->greeting.release, name.release));
	CHECK(p->greeting.up_ns);
}

static void bye(struct peer *p)
{
	EXEC(p, 1, 0, SH, "arg=sleep 100");
	peer_until(p, &p->run[1].started);
	put(p, SESSION_BYE, 0, 0, 0, NULL, 0);
	until_closed(p);
}

static void hang_up(struct peer *p)
{
	EXEC(p, 1, 0, SH, "arg=sleep 100");
	peer_until(p, &p->run[1].started);
}

/* ---- the plan ---- */

static void put_plan(struct peer *p, unsigned flags, const char *bytes, size_t len)
{
	put(p, SESSION_PLAN, flags, 0, 0, bytes, (uint32_t)len);
}

static void put_wake(struct peer *p, uint32_t bytes)
{
	struct session_wake wake = { .seed = { 1, 2, 3 } };
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now); /* where this may set the machine's, it is the same */
	wake.realtime_ns = (uint64_t)now.tv_sec * 1000 * MILLION + (uint64_t)now.tv_nsec;
	put(p, SESSION_WAKE, 0, 0, 0, &wake, bytes);
}

static void is_planned(struct peer *p, uint32_t command)
{
	EXEC(p, command, 0, SH, "arg=busybox hostname; busybox ls /planned");
	finish(p, command);
	CHECK(IS_TEXT(p->run[command].out[1], "by-plan\n"));
}

static void plan(struct peer *p)
{
	static const char records[] = "hostname=by-plan\0tmpfs=/planned";

	put_plan(p, 0, records, sizeof(records));
	peer_until(p, &p->hello);
	is_planned(p, 1);
	put_wake(p, sizeof(struct session_wake));
	is_planned(p, 2);
}

/* A record in two parts, and a wake in between */
static void plan_parts(struct peer *p)
{
	put_plan(p, SESSION_MORE, "hostname=by-p", strlen("hostname=by-p"));
	put_wake(p, SESSION_WAKE_NO_SEED);
	put_plan(p, SESSION_MORE, NULL, 0);
	put_plan(p, 0, "lan\0tmpfs=/planned", strlen("lan") + 1 + sizeof("tmpfs=/planned"));
	peer_until(p, &p->hello);
	is_planned(p, 1);
}

static void plan_bye(struct peer *p)
{
	put(p, SESSION_BYE, 0, 0, 0, NULL, 0);
	until_closed(p);
}

static void plan_no_end(struct peer *p)
{
	put_plan(p, 0, "hostname=x", strlen("hostname=x"));
}

static void plan_empty(struct peer *p)
{
	put_plan(p, 0, NULL, 0);
}

static void plan_too_long(struct peer *p)
{
	for (size_t n = 0; n <= SESSION_PLAN_MOST; n += SESSION_MOST)
		put_plan(p, SESSION_MORE, (const char *)noise(SESSION_MOST), SESSION_MOST);
}

static void plan_twice(struct peer *p)
{
	put_plan(p, 0, "hostname=x", sizeof("hostname=x"));
	put_plan(p, 0, "hostname=x", sizeof("hostname=x"));
}

static void plan_command(struct peer *p)
{
	EXEC(p, 1, 0, SH, "arg=exit");
}

static void bad_wake(struct peer *p)
{
	put_number(p, SESSION_WAKE, 0, 0, 1);
}

/* ---- status ---- */

static void ends(struct peer *p, uint32_t command, uint32_t code, uint32_t signal, uint32_t err)
{
	const struct session_exit *e = &p->run[command].exit;

	finish(p, command);
	if (e->code != code || e->signal != signal || e->err != err) {
		printf("command %u ended with code %u, signal %u, errno %u\n", command, e->code, e->signal,
		       e->err);
		exit(1);
	}
}

static void status(struct peer *p)
{
	EXEC(p, 1, 0, SH, "arg=exit 0");
	ends(p, 1, 0, 0, 0);
	CHECK(p->run[1].exit.ran_ns && p->run[1].exit.ran_ns < 10000 * MILLION);
	EXEC(p, 2, 0, SH, "arg=exit 7");
	ends(p, 2, 7, 0, 0);
	EXEC(p, 3, 0, SH, "arg=kill -9 $$");
	ends(p, 3, 0, SIGKILL, 0);
	EXEC(p, 4, 0, "env=PATH=/nowhere:/bin", "arg=nothing");
	ends(p, 4, 127, 0, ENOENT);
	EXEC(p, 5, 0, "arg=/lkvm/session");
	ends(p, 5, 126, 0, EACCES);
	EXEC(p, 6, 0, "arg=/lkvm/session/x");
	ends(p, 6, 127, 0, ENOTDIR);
	EXEC(p, 7, 0, "arg=/bin/text");
	ends(p, 7, 126, 0, ENOEXEC);
	EXEC(p, 8, 0, "cwd=/nowhere", "arg=/bin/busybox");
	ends(p, 8, 126, 0, ENOENT);
	EXEC(p, 9, 0, "user=nobody-here", "arg=/bin/busybox");
	ends(p, 9, 126, 0, ESRCH);
	EXEC(p, 10, 0, "env=PATH=/lkvm:/nowhere", "arg=session"); /* found, but not to be run */
	ends(p, 10, 126, 0, EACCES);
	EXEC(p, 11, 0, "arg=");
	ends(p, 11, 127, 0, ENOENT);
	/* A number may be used again. */
	memset(&p->run[1], 0, sizeof(p->run[1]));
	EXEC(p, 1, 0, SH, "arg=exit 3");
	ends(p, 1, 3, 0, 0);
}

/* ---- words ---- */

static void words(struct peer *p)
{
	EXEC(p, 1, 0, "cwd=/lkvm", "env=X=one  two", "env=PATH=/nowhere:/bin", "arg=busybox", "arg=sh",
	     "arg=-c", "arg=busybox printf '%s\\n' \"$X\" \"$0\" \"$1\" \"$2\"; busybox pwd; echo error >&2",
	     "arg=a  b", "arg=", "arg=\t\"\n\\\xff");
	finish(p, 1);
	CHECK(IS_TEXT(p->run[1].out[1], "one  two\na  b\n\n\t\"\n\\\xff\n/lkvm\n"));
	CHECK(IS_TEXT(p->run[1].out[2], "error\n"));
	EXEC(p, 2, 0, "env=ONLY=this", "arg=/bin/busybox", "arg=env");
	finish(p, 2);
	CHECK(IS_TEXT(p->run[2].out[1], "ONLY=this\n"));
	/* Nothing of init's is open, ignored or blocked, and it leads its own session. */
	EXEC(p, 3, 0, "arg=/bin/busybox", "arg=ls", "arg=/proc/self/fd");
	finish(p, 3);
	CHECK(IS_TEXT(p->run[3].out[1], "0\n1\n2\n3\n"));
	EXEC(p, 4, 0, "arg=/bin/busybox", "arg=grep", "arg=-E", "arg=^Sig(Blk|Ign)", "arg=/proc/self/status");
	finish(p, 4);
	CHECK(IS_TEXT(p->run[4].out[1], "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"));
	EXEC(p, 5, 0, SH, "arg=set -- $(busybox cat /proc/$$/stat); [ $1 = $5 ] && [ $1 = $6 ]");
	ends(p, 5, 0, 0, 0);
}

static void put_words(struct bytes *all, unsigned n, const char *word)
{
	const char first[] =
		"env=PATH=/bin\0arg=busybox\0arg=sh\0arg=-c\0arg=echo $#; printf '%s' \"$@\"\0arg=x";

	bytes_put(all, first, sizeof(first));
	for (unsigned i = 0; i < n; i++)
		bytes_put(all, word, strlen(word) + 1);
}

static void many_words(struct peer *p)
{
	struct bytes all = { 0 };
	char word[140] = "arg=";

	for (unsigned i = 4; i < sizeof(word) - 1; i++)
		word[i] = (char)(i + 1);
	put_words(&all, 10000, word);
	put_exec_bytes(p, 1, 0, all.at, all.len);
	ends(p, 1, 0, 0, 0);
	CHECK(p->run[1].out[1].len == 6 + 10000 * (sizeof(word) - 5));
	CHECK(!memcmp(p->run[1].out[1].at, "10000\n", 6));
	for (size_t at = 6; at < p->run[1].out[1].len; at += sizeof(word) - 5)
		CHECK(!memcmp(p->run[1].out[1].at + at, word + 4, sizeof(word) - 5));
	/* As many as an EXEC may have are more than execve(2) takes. */
	while (all.len + sizeof(word) <= SESSION_EXEC_MOST - sizeof(struct session_exec))
		bytes_put(&all, word, sizeof(word));
	put_exec_bytes(p, 2, 0, all.at, all.len);
	ends(p, 2, 126, 0, E2BIG);
	free(all.at);
}

static void user(struct peer *p)
{
	const char *show = "arg=busybox id -u; busybox id -g; busybox id -G; echo out >/dev/stdout";

	EXEC(p, 1, 0, "user=somebody", SH, show);
	finish(p, 1);
	CHECK(IS_TEXT(p->run[1].out[1], "1234\n1235\n1235 77 78\nout\n"));
	EXEC(p, 2, 0, "user=1234", SH, show);
	finish(p, 2);
	CHECK(IS_TEXT(p->run[2].out[1], "1234\n1235\n1235 77 78\nout\n"));
	EXEC(p, 3, 0, "user=4321", SH, show);
	finish(p, 3);
	CHECK(IS_TEXT(p->run[3].out[1], "4321\n4321\n4321\nout\n"));
	EXEC(p, 4, 0, "user=somebody", "cwd=/secret", SH, show);
	ends(p, 4, 126, 0, EACCES);
	EXEC(p, 5, SESSION_TTY, "user=somebody", SH, "arg=echo out >/dev/stdout");
	ends(p, 5, 0, 0, 0);
	CHECK(IS_TEXT(p->run[5].out[1], "out\r\n"));
}

/* ---- streams ---- */

static void through_cat(struct peer *p, uint32_t first, uint32_t n, const uint8_t *data, size_t len)
{
	size_t sent[RUNS] = { 0 };
	bool more = true;

	for (uint32_t i = first; i < first + n; i++)
		EXEC(p, i, 0, "arg=/bin/busybox", "arg=cat");
	while (more) {
		more = false;
		for (uint32_t i = first; i < first + n; i++) {
			const size_t was = sent[i];

			sent[i] += put_input(p, i, data + sent[i], len - sent[i]);
			if (sent[i] == len && was < len)
				put(p, SESSION_EOF, 0, i, 0, NULL, 0);
			more |= sent[i] < len;
		}
		CHECK(peer_step(p, 10000));
	}
	for (uint32_t i = first; i < first + n; i++) {
		ends(p, i, 0, 0, 0);
		CHECK(p->run[i].out[1].len == len && !memcmp(p->run[i].out[1].at, data, len));
		CHECK(!p->run[i].out[2].len && p->run[i].eof[2] && !p->run[i].eof[0]);
	}
}

static void bulk(struct peer *p)
{
	const uint8_t *data = noise(BULK);

	through_cat(p, 1, 1, data, BULK);
	through_cat(p, 2, 8, data, 1 << 20);
}

/* For a look at how fast it is: session-peer speed; 1 GiB each way */
static void speed(struct peer *p)
{
	static const char *const way[] = { "arg=busybox dd bs=64k count=16384 if=/dev/zero 2>/dev/null",
					   "arg=busybox cat >/dev/null" };
	const uint8_t *data = noise(1 << 20);
	uint64_t begin = now_ns();

	EXEC(p, 1, 0, SH, way[0]);
	while (!p->run[1].exited) {
		CHECK(peer_step(p, 10000));
		p->run[1].out[1].len = 0;
	}
	printf("out: %llu ms\n", (unsigned long long)((now_ns() - begin) / MILLION));
	begin = now_ns();
	EXEC(p, 2, 0, SH, way[1]);
	for (size_t left = 1 << 30; left;) {
		left -= put_input(p, 2, data, left < 1 << 20 ? left : 1 << 20);
		peer_step(p, 10000);
	}
	put(p, SESSION_EOF, 0, 2, 0, NULL, 0);
	finish(p, 2);
	printf("in: %llu ms\n", (unsigned long long)((now_ns() - begin) / MILLION));
}

static void input(struct peer *p)
{
	EXEC(p, 1, SESSION_NO_STDIN, SH, "arg=[ -e /proc/self/fd/0 ]");
	ends(p, 1, 1, 0, 0);
	EXEC(p, 2, 0, SH, "arg=busybox wc -c");
	put(p, SESSION_EOF, 0, 2, 0, NULL, 0);
	ends(p, 2, 0, 0, 0);
	CHECK(IS_TEXT(p->run[2].out[1], "0\n"));
	/* It closes its input: all that comes then is dropped. */
	EXEC(p, 3, 0, SH, "arg=exec <&-; read x </go; exit 5");
	peer_until(p, &p->run[3].eof[0]);
	CHECK(!p->run[3].exited);
	for (int i = 0; i < 10; i++)
		put(p, SESSION_DATA, 0, 3, 0, noise(SESSION_MOST), SESSION_MOST);
	EXEC(p, 4, 0, SH, "arg=echo x >/go");
	ends(p, 3, 5, 0, 0);
	ends(p, 4, 0, 0, 0);
	/* What it does not read waits, and is no reason to hold up others. */
	EXEC(p, 5, 0, SH, "arg=read x </go; busybox wc -c");
	put_input(p, 5, noise(SESSION_WINDOW), SESSION_WINDOW);
	put(p, SESSION_EOF, 0, 5, 0, NULL, 0);
	EXEC(p, 6, 0, SH, "arg=echo x >/go");
	ends(p, 6, 0, 0, 0);
	ends(p, 5, 0, 0, 0);
	CHECK(IS_TEXT(p->run[5].out[1], "262144\n"));
}

static void broken_pipe(struct peer *p)
{
	EXEC(p, 1, 0, "arg=/bin/busybox", "arg=yes");
	while (!p->run[1].out[1].len)
		CHECK(peer_step(p, 10000));
	put(p, SESSION_EOF, 0, 1, 1, NULL, 0);
	ends(p, 1, 0, SIGPIPE, 0);
	EXEC(p, 2, 0, SH, "arg=busybox yes >&2");
	put(p, SESSION_EOF, 0, 2, 2, NULL, 0);
	finish(p, 2);
	CHECK(p->run[2].exit.signal == SIGPIPE || p->run[2].exit.code == 128 + SIGPIPE);
}

static void credit(struct peer *p)
{
	p->run[1].hold = true;
	EXEC(p, 1, 0, SH, "arg=busybox head -c 1000000 /dev/zero");
	while (p->run[1].window[1])
		CHECK(peer_step(p, 10000));
	EXEC(p, 2, 0, SH, "arg=busybox head -c 1000000 /dev/zero");
	ends(p, 2, 0, 0, 0);
	CHECK(p->run[2].out[1].len == 1000000);
	while (peer_step(p, 300))
		;
	CHECK(p->run[1].out[1].len == SESSION_WINDOW && !p->run[1].eof[1]);
	p->run[1].window[1] += 10;
	put_number(p, SESSION_CREDIT, 1, 1, 10);
	while (peer_step(p, 300))
		;
	CHECK(p->run[1].out[1].len == SESSION_WINDOW + 10);
	p->run[1].hold = false;
	p->run[1].window[1] += SESSION_WINDOW;
	put_number(p, SESSION_CREDIT, 1, 1, SESSION_WINDOW);
	ends(p, 1, 0, 0, 0);
	CHECK(p->run[1].out[1].len == 1000000);
}

/* ---- processes ---- */

static void signals(struct peer *p)
{
	char gone[80];

	EXEC(p, 1, 0, SH, "arg=busybox sleep 100; exit 1");
	put_number(p, SESSION_SIGNAL, 1, 0, SIGTERM); /* before it has started */
	ends(p, 1, 0, SIGTERM, 0);
	EXEC(p, 2, 0, SH, "arg=trap 'exit 9' USR1; echo ready; while :; do busybox sleep 0.1; done");
	while (!p->run[2].out[1].len)
		CHECK(peer_step(p, 10000));
	put_number(p, SESSION_SIGNAL, 2, 0, SIGUSR1);
	ends(p, 2, 9, 0, 0);
	/* All of its group, not only the first */
	EXEC(p, 3, 0, SH, "arg=busybox sleep 100 & echo $!; wait; exit 1");
	while (!p->run[3].out[1].len)
		CHECK(peer_step(p, 10000));
	put_number(p, SESSION_SIGNAL, 3, 0, SIGKILL);
	ends(p, 3, 0, SIGKILL, 0);
	bytes_put(&p->run[3].out[1], "", 1);
	snprintf(gone, sizeof(gone), "arg=while kill -0 %d; do busybox sleep 0.1; done",
		 atoi((char *)p->run[3].out[1].at));
	EXEC(p, 4, 0, SH, gone);
	finish(p, 4);
	/* Too late, and no fault */
	put_number(p, SESSION_SIGNAL, 3, 0, SIGKILL);
}

/* Until it has sent all that it may, and then for longer than it may linger */
static void use_up(struct peer *p, uint32_t command)
{
	while (p->run[command].window[1])
		CHECK(peer_step(p, 10000));
	while (peer_step(p, SESSION_LINGER_MS + 500))
		;
}

/* How long its end was held up; the time that it took to start and to run is not in it. */
static uint64_t held_ns(const struct peer *p, uint32_t command)
{
	const struct run *r = &p->run[command];

	return r->exited_ns - r->begun_ns - r->exit.ran_ns;
}

static void linger(struct peer *p)
{
	EXEC(p, 1, 0, SH, "arg=busybox sleep 30 & echo left");
	ends(p, 1, 0, 0, 0);
	CHECK(held_ns(p, 1) >= SESSION_LINGER_MS * MILLION && held_ns(p, 1) < 5000 * MILLION);
	CHECK(IS_TEXT(p->run[1].out[1], "left\n"));
	/* What it had written arrives, also if nobody took it for longer than that. */
	p->run[2].hold = true;
	EXEC(p, 2, 0, SH, "arg=busybox sleep 30 & busybox head -c 300000 /dev/zero");
	use_up(p, 2);
	CHECK(p->run[2].out[1].len == SESSION_WINDOW && !p->run[2].exited);
	EXEC(p, 4, 0, SH, "arg=busybox sleep 30 &");
	ends(p, 4, 0, 0, 0);
	p->run[2].hold = false;
	p->run[2].window[1] += SESSION_WINDOW;
	put_number(p, SESSION_CREDIT, 2, 1, SESSION_WINDOW);
	ends(p, 2, 0, 0, 0);
	CHECK(p->run[2].out[1].len == 300000);
	/* Who closes them, as a daemon does, holds up nothing. */
	EXEC(p, 3, 0, SH, "arg=busybox sleep 30 <&- >&- 2>&- &");
	ends(p, 3, 0, 0, 0);
	CHECK(held_ns(p, 3) < SESSION_LINGER_MS * MILLION);
}

static void orphans(struct peer *p)
{
	EXEC(p, 1, 0, SH, "arg=(busybox sleep 0.1 >&- 2>&- &) ; exit 0");
	ends(p, 1, 0, 0, 0);
	EXEC(p, 2, 0, SH, "arg=busybox sleep 0.3; busybox ps -o stat | busybox grep -c Z");
	finish(p, 2);
	CHECK(IS_TEXT(p->run[2].out[1], "0\n"));
}

static void start_all(struct peer *p)
{
	for (uint32_t i = 1; i <= SESSION_COMMANDS; i++)
		EXEC(p, i, 0, SH, "arg=read x; exit 4");
	for (uint32_t i = 1; i <= SESSION_COMMANDS; i++)
		peer_until(p, &p->run[i].started);
}

static void at_once(struct peer *p)
{
	start_all(p);
	EXEC(p, SESSION_COMMANDS + 1, 0, SH, "arg=exit 0");
	ends(p, SESSION_COMMANDS + 1, 126, 0, EAGAIN);
	for (uint32_t i = 1; i <= SESSION_COMMANDS; i++)
		put(p, SESSION_DATA, 0, i, 0, "\n", 1);
	for (uint32_t i = 1; i <= SESSION_COMMANDS; i++)
		ends(p, i, 4, 0, 0);
}

/* Nobody reads what it answers for a while: it neither gives up nor forgets any. It has all by then. */
static void deaf(struct peer *p)
{
	const uint64_t until = now_ns() + 500 * MILLION;
	const unsigned n = 7500;

	start_all(p);
	p->deaf = true;
	for (unsigned i = 0; i < n; i++)
		EXEC(p, SESSION_COMMANDS + 1, 0, "arg=x");
	while (now_ns() < until)
		peer_step(p, 10);
	CHECK(!p->out.len);
	p->deaf = false;
	while (p->refused < n)
		CHECK(peer_step(p, 10000));
	put(p, SESSION_DATA, 0, 1, 0, "\n", 1);
	ends(p, 1, 4, 0, 0);
}

/* Hundredths of a second that init has run, by way of a command */
static long ticks(struct peer *p, uint32_t command)
{
	EXEC(p, command, 0, SH, "arg=set -- $(busybox cat /proc/1/stat); shift 13; echo $(($1 + $2))");
	ends(p, command, 0, 0, 0);
	bytes_put(&p->run[command].out[1], "", 1);
	return strtol((char *)p->run[command].out[1].at, NULL, 10);
}

static void rest(struct peer *p, bool deaf)
{
	const uint64_t until = now_ns() + 1500 * MILLION;

	p->deaf = deaf;
	while (now_ns() < until)
		peer_step(p, 10);
	p->deaf = false;
}

/* All stands still, for every reason that there is: so does init. */
static void idle(struct peer *p)
{
	long before;

	for (uint32_t i = 1; i <= 5; i++)
		p->run[i].hold = true;
	EXEC(p, 1, 0, SH, "arg=busybox yes");
	EXEC(p, 2, 0, SH, "arg=busybox sleep 30");
	put_input(p, 2, noise(SESSION_WINDOW), SESSION_WINDOW);
	EXEC(p, 3, 0, SH, "arg=busybox sleep 30 & busybox yes | busybox head -c 300000");
	EXEC(p, 4, 0, SH, "arg=exec <&- >&- 2>&-; busybox sleep 30");
	EXEC(p, 5, SESSION_TTY, SH, "arg=busybox yes");
	while (peer_step(p, SESSION_LINGER_MS + 200))
		;
	before = ticks(p, 6);
	rest(p, false);
	CHECK(ticks(p, 7) - before < 20);
	/* And where nobody reads what it sends */
	before = ticks(p, 8);
	EXEC(p, 9, 0, SH, "arg=busybox yes");
	peer_until(p, &p->run[9].started);
	rest(p, true);
	CHECK(ticks(p, 10) - before < 50);
}

/* ---- terminals ---- */

static void terminal(struct peer *p)
{
	const struct session_winsize window = { 50, 120 };

	EXEC(p, 1, SESSION_TTY, SH,
	     "arg=busybox stty size; busybox tty >/dev/tty; read x; busybox stty size; exit 6");
	while (p->run[1].out[1].len < strlen("40 100\r\n/dev/pts/0\r\n"))
		CHECK(peer_step(p, 10000));
	CHECK(!memcmp(p->run[1].out[1].at, "40 100\r\n/dev/pts/", strlen("40 100\r\n/dev/pts/")));
	p->run[1].out[1].len = 0;
	put(p, SESSION_WINSIZE, 0, 1, 0, &window, sizeof(window));
	put(p, SESSION_DATA, 0, 1, 0, "x\n", 2);
	ends(p, 1, 6, 0, 0);
	CHECK(IS_TEXT(p->run[1].out[1], "x\r\n50 120\r\n"));
	/* Its end of file */
	EXEC(p, 2, SESSION_TTY, SH, "arg=busybox stty -echo; echo go; busybox cat; exit 2");
	while (p->run[2].out[1].len < 4)
		CHECK(peer_step(p, 10000));
	put(p, SESSION_DATA, 0, 2, 0, "a\nb", 3);
	put(p, SESSION_EOF, 0, 2, 0, NULL, 0);
	ends(p, 2, 2, 0, 0);
	CHECK(IS_TEXT(p->run[2].out[1], "go\r\na\r\nb"));
	/* Its interrupt character, and hanging up */
	EXEC(p, 3, SESSION_TTY, SH, "arg=echo go; exec busybox sleep 100");
	while (p->run[3].out[1].len < 4)
		CHECK(peer_step(p, 10000));
	put(p, SESSION_DATA, 0, 3, 0, "\3", 1);
	ends(p, 3, 0, SIGINT, 0);
	EXEC(p, 4, SESSION_TTY, SH, "arg=echo go; exec busybox sleep 100");
	while (p->run[4].out[1].len < 4)
		CHECK(peer_step(p, 10000));
	put(p, SESSION_EOF, 0, 4, 1, NULL, 0);
	ends(p, 4, 0, SIGHUP, 0);
	/* All of it arrives, though nobody has the terminal any more. */
	EXEC(p, 5, SESSION_TTY, SH, "arg=busybox stty -opost; busybox head -c 1000000 /dev/zero");
	ends(p, 5, 0, 0, 0);
	CHECK(p->run[5].out[1].len == 1000000);
	/* The same where it has died long before it is taken */
	p->run[6].hold = true;
	EXEC(p, 6, SESSION_TTY, SH, "arg=busybox stty -opost; busybox head -c 270000 /dev/zero");
	use_up(p, 6);
	CHECK(p->run[6].out[1].len == SESSION_WINDOW && !p->run[6].exited);
	while (!p->run[6].exited) {
		if (!p->run[6].window[1]) {
			p->run[6].window[1] = 1000;
			put_number(p, SESSION_CREDIT, 6, 1, 1000);
		}
		CHECK(peer_step(p, 10000));
	}
	CHECK(p->run[6].out[1].len == 270000);
}

/* ---- the kernel's log ---- */

/* The first number of a record that the log still has: of a long uptime, not 0 */
static unsigned long long first_record(void)
{
	const int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	unsigned long long seq = 0;
	char record[8192] = "";
	ssize_t n = -1;

	while (fd >= 0 && (n = read(fd, record, sizeof(record) - 1)) < 0 && errno == EPIPE)
		; /* it went as it was to be read */
	if (fd >= 0)
		close(fd);
	return n > 0 && sscanf(record, "%*u,%llu,", &seq) == 1 ? seq : 0;
}

static void log_of_kernel(struct peer *p)
{
	unsigned long long seq;

	EXEC(p, 1, 0, SH, "arg=exit 0");
	ends(p, 1, 0, 0, 0);
	CHECK(p->kmsg_records);
	bytes_put(&p->kmsg, "", 1);
	CHECK(sscanf((char *)p->kmsg.at, "%*u,%llu,", &seq) == 1 && strchr((char *)p->kmsg.at, ';'));
	CHECK(seq <= first_record());
}

/* ---- what lkvm would not send ---- */

static void bad_type(struct peer *p)
{
	put(p, 99, 0, 1, 0, NULL, 0);
}

static void bad_length(struct peer *p)
{
	put(p, SESSION_DATA, 0, 1, 0, noise(SESSION_MOST + 1), SESSION_MOST + 1);
}

static void bad_flags(struct peer *p)
{
	put(p, SESSION_DATA, SESSION_MORE, 1, 0, NULL, 0);
}

static void bad_zero(struct peer *p)
{
	const struct session_frame head = { .type = SESSION_BYE, .zero = 1 };

	bytes_put(&p->out, &head, sizeof(head));
}

static void bad_direction(struct peer *p)
{
	put_number(p, SESSION_STARTED, 1, 0, 1);
}

static void sleeper(struct peer *p)
{
	EXEC(p, 1, 0, SH, "arg=busybox sleep 100");
	peer_until(p, &p->run[1].started);
}

static void bad_stream(struct peer *p)
{
	sleeper(p);
	put(p, SESSION_DATA, 0, 1, 1, "x", 1);
}

static void bad_credit(struct peer *p)
{
	sleeper(p);
	put_number(p, SESSION_CREDIT, 1, 0, 0);
}

static void bad_end(struct peer *p)
{
	sleeper(p);
	put(p, SESSION_EOF, 0, 1, 3, NULL, 0);
}

static void bad_size(struct peer *p)
{
	sleeper(p);
	put(p, SESSION_SIGNAL, 0, 1, 0, "x", 1);
}

static void bad_signal(struct peer *p)
{
	sleeper(p);
	put_number(p, SESSION_SIGNAL, 1, 0, 65);
}

static void over_window(struct peer *p)
{
	sleeper(p);
	p->run[1].window[0] = 0;
	for (int i = 0; i < 4; i++)
		put(p, SESSION_DATA, 0, 1, 0, noise(SESSION_MOST), SESSION_MOST);
	put(p, SESSION_DATA, 0, 1, 0, "x", 1);
	put(p, SESSION_DATA, 0, 1, 0, noise(SESSION_MOST), SESSION_MOST);
}

static void behind_end(struct peer *p)
{
	sleeper(p);
	put(p, SESSION_EOF, 0, 1, 0, NULL, 0);
	put(p, SESSION_DATA, 0, 1, 0, "x", 1);
}

static void over_credit(struct peer *p)
{
	sleeper(p);
	put_number(p, SESSION_CREDIT, 1, 1, 1);
}

static void same_number(struct peer *p)
{
	sleeper(p);
	EXEC(p, 1, 0, SH, "arg=exit");
}

static void number_zero(struct peer *p)
{
	EXEC(p, 0, 0, SH, "arg=exit");
}

static void other_part(struct peer *p)
{
	put(p, SESSION_EXEC, SESSION_MORE, 1, 0, "x", 1);
	EXEC(p, 2, 0, SH, "arg=exit");
}

static void too_long(struct peer *p)
{
	put_exec_bytes(p, 1, 0, noise(SESSION_EXEC_MOST), SESSION_EXEC_MOST);
}

static void too_short(struct peer *p)
{
	put(p, SESSION_EXEC, 0, 1, 0, "x", 1);
}

static void no_end(struct peer *p)
{
	put_exec_bytes(p, 1, 0, "arg=x", 5);
}

static void no_words(struct peer *p)
{
	EXEC(p, 1, 0, "env=x");
}

static void bad_record(struct peer *p)
{
	EXEC(p, 1, 0, "arg=x", "y=z");
}

static void bad_exec_flags(struct peer *p)
{
	EXEC(p, 1, 4, "arg=x");
}

static const struct test {
	const char *name;
	void (*run)(struct peer *p);
	enum { HONEST, NARROW, HOSTILE } kind; /* HOSTILE: init is to end by itself */
} tests[] = {
	{ "hello", hello, HONEST },
	{ "plan", plan, HONEST },
	{ "plan-parts", plan_parts, HONEST },
	{ "plan-bye", plan_bye, HONEST },
	{ "plan-no-end", plan_no_end, HOSTILE },
	{ "plan-empty", plan_empty, HOSTILE },
	{ "plan-too-long", plan_too_long, HOSTILE },
	{ "plan-twice", plan_twice, HOSTILE },
	{ "plan-command", plan_command, HOSTILE },
	{ "bad-wake", bad_wake, HOSTILE },
	{ "bye", bye, HONEST },
	{ "hang-up", hang_up, HONEST },
	{ "status", status, HONEST },
	{ "words", words, HONEST },
	{ "many-words", many_words, HONEST },
	{ "user", user, HONEST },
	{ "bulk", bulk, HONEST },
	{ "speed", speed, HONEST },
	{ "input", input, HONEST },
	{ "broken-pipe", broken_pipe, HONEST },
	{ "credit", credit, HONEST },
	{ "signals", signals, HONEST },
	{ "linger", linger, HONEST },
	{ "orphans", orphans, HONEST },
	{ "at-once", at_once, HONEST },
	{ "deaf", deaf, NARROW },
	{ "idle", idle, NARROW },
	{ "terminal", terminal, HONEST },
	{ "log", log_of_kernel, HONEST },
	{ "bad-type", bad_type, HOSTILE },
	{ "bad-length", bad_length, HOSTILE },
	{ "bad-flags", bad_flags, HOSTILE },
	{ "bad-zero", bad_zero, HOSTILE },
	{ "bad-direction", bad_direction, HOSTILE },
	{ "bad-stream", bad_stream, HOSTILE },
	{ "bad-credit", bad_credit, HOSTILE },
	{ "bad-end", bad_end, HOSTILE },
	{ "bad-size", bad_size, HOSTILE },
	{ "bad-signal", bad_signal, HOSTILE },
	{ "over-window", over_window, HOSTILE },
	{ "behind-end", behind_end, HOSTILE },
	{ "over-credit", over_credit, HOSTILE },
	{ "same-number", same_number, HOSTILE },
	{ "number-zero", number_zero, HOSTILE },
	{ "other-part", other_part, HOSTILE },
	{ "too-long", too_long, HOSTILE },
	{ "too-short", too_short, HOSTILE },
	{ "no-end", no_end, HOSTILE },
	{ "no-words", no_words, HOSTILE },
	{ "bad-record", bad_record, HOSTILE },
	{ "bad-exec-flags", bad_exec_flags, HOSTILE },
};

int main(int argc, char **argv)
{
	static struct peer peer;

	for (size_t i = 0; argc > 2 && i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (strcmp(tests[i].name, argv[1]))
			continue;
		peer_start(&peer, argv + 2, tests[i].kind == NARROW);
		peer_until(&peer, strncmp(argv[1], "plan", 4) ? &peer.hello : &peer.asked);
		tests[i].run(&peer);
		if (tests[i].kind == HOSTILE)
			until_closed(&peer);
		close(peer.fd);
		waitpid(peer.pid, NULL, 0);
		return 0;
	}
	fprintf(stderr, "usage: session-peer CASE COMMAND [ARG]...\n");
	return 125;
}
