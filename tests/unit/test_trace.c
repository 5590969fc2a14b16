/* Links: util/trace.o util/trace-ring.o util/json.o util/event.o util/thread.o util/log.o */

/* The file of events: what stands in it, and what becomes of events and file when something is in the way. */
#include "lkvm/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "unit.h"

#define SOON_MS	 20000
#define TAIL	 "\n  ]\n}\n"
#define THREADS	 4
#define EACH	 20000

static const struct trace_kind span = { "exit,io", TRACE_SPAN, { { "port", true }, { "bytes", false } } };
static const struct trace_kind instant = { "interrupt", TRACE_INSTANT, { { "gsi", false } } };
static const struct trace_kind begin = { "request", TRACE_BEGIN, { { "bytes", false } } };
static const struct trace_kind end = { "request", TRACE_END, { { NULL, false } } };

static const struct trace_facts none, some = { 2, { { "monotonic_ns", 5 }, { "guest_tsc", 1ULL << 53 } } };

static char dir[] = "/tmp/test_trace.XXXXXX", path[64], messages[64];
static struct trace *trace;

static void open_at(const char *at)
{
	ck_assert_int_eq(trace_open(at, "lkvm \"x\"", &trace), 0);
}

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/trace", dir);
	snprintf(messages, sizeof(messages), "%s/messages", dir);
	ck_assert_ptr_nonnull(freopen(messages, "w", stderr));
	signal(SIGPIPE, SIG_IGN);
}

static void teardown(void)
{
	trace_free(trace);
	unlink(path);
	unlink(messages);
	ck_assert_int_eq(rmdir(dir), 0);
}

static bool finish(int64_t ms)
{
	return trace_end(trace, &some, now_ms() + ms);
}

static char *contents(const char *name)
{
	char *text = NULL;
	size_t cap = 0;
	FILE *in = fopen(name, "r");

	ck_assert_ptr_nonnull(in);
	if (getdelim(&text, &cap, 0, in) < 0)
		text = strdup("");
	fclose(in);
	return text;
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	while ((text = strstr(text, what))) {
		text += strlen(what);
		n++;
	}
	return n;
}

static bool has_tail(const char *text)
{
	const size_t len = strlen(text);

	return len > strlen(TAIL) && !strcmp(text + len - strlen(TAIL), TAIL);
}

static struct trace_event event_of(uint64_t number)
{
	return (struct trace_event){ .kind = &instant, .what = "line up", .at_ns = number, .arg = { number } };
}

static void put_many(struct trace_track *track, uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++) {
		const struct trace_event event = event_of(i);

		trace_put(track, &event);
	}
}

/* The numbers of the events stand in the file from @first on, one after the other. */
static void expect_order(const char *text, uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++) {
		text = strstr(text, "\"gsi\": ");
		ck_assert_ptr_nonnull(text);
		text += strlen("\"gsi\": ");
		ck_assert_uint_eq(strtoull(text, NULL, 10), i);
	}
	ck_assert_ptr_null(strstr(text, "\"gsi\": "));
}

START_TEST(test_document)
{
	struct trace_event events[] = {
		{ .kind = &span, .what = "out", .at_ns = 1234567, .extent = 1005, .arg = { 0x3f8, 1 } },
		{ .kind = &instant, .what = "line up", .at_ns = 2000000, .arg = { 4 } },
		{ .kind = &begin, .what = "write", .at_ns = 3000001, .extent = 0x10, .arg = { 512 } },
		{ .kind = &end, .what = "write", .at_ns = 4000000, .extent = 0x10 },
	};
	struct trace_track *cpu, *device;
	char want[2048], *text;
	const int pid = getpid();

	setup();
	open_at(path);
	cpu = trace_track(trace, "vcpu/0");
	device = trace_track(trace, NULL);
	trace_track_here(cpu);
	trace_device(&events[0], "a\"\\\n\xff");
	trace_device(&events[2], "0123456789abcdefgh");
	trace_put(cpu, &events[0]);
	trace_put(cpu, &events[1]);
	trace_put(device, &events[2]);
	trace_put(device, &events[3]);
	ck_assert_int_eq(trace_begin(trace, &some), 0);
	ck_assert(finish(SOON_MS));
	text = contents(path);
	snprintf(want, sizeof(want),
		 "{\n  \"displayTimeUnit\": \"ns\",\n  \"otherData\": {\n    \"producer\": \"lkvm\",\n"
		 "    \"begin\": {\"monotonic_ns\": 5, \"guest_tsc\": 9007199254740992}\n  },\n  \"traceEvents\": [\n"
		 "    {\"name\": \"process_name\", \"ph\": \"M\", \"pid\": %d, \"tid\": %d, \"args\": {\"name\": \"lkvm \\\"x\\\"\"}},\n"
		 "    {\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": %d, \"tid\": %d, \"args\": {\"name\": \"vcpu/0\"}},\n"
		 "    {\"name\": \"a\\\"\\\\\\n\\ufffd out\", \"ph\": \"X\", \"pid\": %d, \"tid\": %d, \"cat\": \"exit,io\", "
		 "\"ts\": 1234.567, \"dur\": 1.005, \"args\": {\"device\": \"a\\\"\\\\\\n\\ufffd\", \"port\": \"0x3f8\", \"bytes\": 1}},\n"
		 "    {\"name\": \"line up\", \"ph\": \"i\", \"pid\": %d, \"tid\": %d, \"cat\": \"interrupt\", \"ts\": 2000.000, "
		 "\"s\": \"t\", \"args\": {\"gsi\": 4}},\n"
		 "    {\"name\": \"0123456789abcde write\", \"ph\": \"b\", \"pid\": %d, \"tid\": %d, \"cat\": \"request\", "
		 "\"ts\": 3000.001, \"id\": \"0x10\", \"args\": {\"device\": \"0123456789abcde\", \"bytes\": 512}},\n"
		 "    {\"name\": \"write\", \"ph\": \"e\", \"pid\": %d, \"tid\": %d, \"cat\": \"request\", \"ts\": 4000.000, "
		 "\"id\": \"0x10\", \"args\": {}},\n"
		 "    {\"name\": \"end\", \"ph\": \"i\", ",
		 pid, pid, pid, gettid(), pid, gettid(), pid, gettid(), pid, pid, pid, pid);
	ck_assert_int_eq(strncmp(text, want, strlen(want)), 0);
	ck_assert_ptr_nonnull(strstr(text, "\"dropped\": 0, \"end\": {\"monotonic_ns\": 5, "));
	ck_assert(has_tail(text));
	free(text);
	teardown();
}
END_TEST

/* More than a ring holds, in turn with the writer: none is lost, and none twice. */
START_TEST(test_laps)
{
	struct trace_track *track;
	uint64_t n = 0;
	char *text;

	setup();
	open_at(path);
	track = trace_track(trace, NULL);
	put_many(track, 0, TRACE_TRACK_EVENTS);
	n += TRACE_TRACK_EVENTS;
	ck_assert_int_eq(trace_begin(trace, &none), 0);
	for (unsigned lap = 0; lap < 3; lap++, n += TRACE_TRACK_EVENTS) {
		struct stat st;
		off_t size = 0;

		/* All of them were written when the file has not grown for a while after a whole lap. */
		for (unsigned same = 0; same < 5; usleep(50000)) {
			ck_assert_int_eq(stat(path, &st), 0);
			same = st.st_size == size && size ? same + 1 : 0;
			size = st.st_size;
		}
		put_many(track, n, TRACE_TRACK_EVENTS);
	}
	ck_assert(finish(SOON_MS));
	text = contents(path);
	expect_order(text, 0, n);
	ck_assert_ptr_nonnull(strstr(text, "\"dropped\": 0"));
	free(text);
	teardown();
}
END_TEST

START_TEST(test_dropped)
{
	struct trace_track *track;
	char *text;

	setup();
	open_at(path);
	track = trace_track(trace, NULL);
	put_many(track, 0, TRACE_TRACK_EVENTS + 100);
	ck_assert_int_eq(trace_begin(trace, &none), 0);
	ck_assert(finish(SOON_MS));
	text = contents(path);
	expect_order(text, 0, TRACE_TRACK_EVENTS);
	ck_assert_ptr_nonnull(strstr(text, "\"ts\": 8.191, \"s\": \"t\", \"args\": {\"events\": 100}}"));
	ck_assert_uint_eq(count(text, "{\"name\": \"dropped\""), 1);
	ck_assert_ptr_nonnull(strstr(text, "\"dropped\": 100"));
	free(text);
	teardown();
}
END_TEST

struct putter {
	pthread_t thread;
	struct trace_track *track;
	uint64_t first;
};

static void *put_each(void *arg)
{
	const struct putter *p = arg;

	put_many(p->track, p->first, EACH);
	return NULL;
}

/* On one track, while it is written: each event is there or was counted, and each thread's are in order. */
START_TEST(test_threads)
{
	struct putter putter[THREADS];
	uint64_t seen = 0, dropped, last[THREADS] = { 0 };
	struct trace_track *track;
	char *text, *at;

	setup();
	open_at(path);
	track = trace_track(trace, NULL);
	ck_assert_int_eq(trace_begin(trace, &none), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		putter[i] = (struct putter){ .track = track, .first = 1 + i * 1000000 };
		ck_assert_int_eq(pthread_create(&putter[i].thread, NULL, put_each, &putter[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(putter[i].thread, NULL);
	ck_assert(finish(SOON_MS));
	text = contents(path);
	for (at = text; (at = strstr(at, "\"gsi\": ")); seen++) {
		const uint64_t number = strtoull(at += strlen("\"gsi\": "), NULL, 10);

		ck_assert_uint_lt(number / 1000000, THREADS);
		ck_assert_uint_gt(number, last[number / 1000000]);
		last[number / 1000000] = number;
	}
	at = strstr(text, "\"dropped\": ");
	ck_assert_ptr_nonnull(at);
	dropped = strtoull(at + strlen("\"dropped\": "), NULL, 10);
	ck_assert_uint_eq(seen + dropped, THREADS * EACH);
	free(text);
	teardown();
}
END_TEST

static void wait_for(const char *what)
{
	char *text = contents(path);

	while (!strstr(text, what) || !has_tail(text)) {
		free(text);
		usleep(1000);
		text = contents(path);
	}
	free(text);
}

/* Whoever reads it meanwhile, or after this process was killed, finds a whole document. */
START_TEST(test_whole_meanwhile)
{
	struct trace_track *track;

	setup();
	open_at(path);
	track = trace_track(trace, NULL);
	ck_assert_int_eq(trace_begin(trace, &none), 0);
	put_many(track, 1, 1);
	wait_for("\"gsi\": 1}");
	put_many(track, 2, 1);
	wait_for("\"gsi\": 2}");
	ck_assert(finish(SOON_MS));
	teardown();
}
END_TEST

static void expect_message(const char *want)
{
	char *text;

	fflush(stderr);
	text = contents(messages);
	ck_assert_uint_eq(count(text, "\n"), 1);
	ck_assert_ptr_nonnull(strstr(text, want));
	free(text);
}

START_TEST(test_full)
{
	struct trace_track *track;

	setup();
	open_at("/dev/full");
	track = trace_track(trace, NULL);
	put_many(track, 0, 1000);
	ck_assert_int_eq(trace_begin(trace, &none), 0);
	put_many(track, 0, 3 * TRACE_TRACK_EVENTS);
	ck_assert(finish(SOON_MS));
	expect_message("trace '/dev/full': No space left on device: nothing more is written to it\n");
	teardown();
}
END_TEST

/* What had room stays a whole document. */
START_TEST(test_file_full)
{
	const struct rlimit limit = { 100000, 100000 };
	struct trace_track *track;
	char *text;

	signal(SIGXFSZ, SIG_IGN);
	setup();
	open_at(path);
	track = trace_track(trace, NULL);
	put_many(track, 0, 2000);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_int_eq(trace_begin(trace, &none), 0);
	ck_assert(finish(SOON_MS));
	expect_message(": File too large: nothing more is written to it\n");
	text = contents(path);
	ck_assert(has_tail(text));
	ck_assert_uint_ge(count(text, "\"gsi\""), 256);
	ck_assert_uint_lt(count(text, "\"gsi\""), 2000);
	expect_order(text, 0, count(text, "\"gsi\""));
	free(text);
	teardown();
}
END_TEST

static int open_fifo(void)
{
	int fd;

	setup();
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	fd = open(path, O_RDONLY | O_NONBLOCK);
	ck_assert_int_ge(fd, 0);
	open_at(path);
	return fd;
}

START_TEST(test_reader_gone)
{
	int fd = open_fifo();
	struct trace_track *track = trace_track(trace, NULL);

	close(fd);
	put_many(track, 0, 10);
	ck_assert_int_eq(trace_begin(trace, &none), 0);
	ck_assert(finish(SOON_MS));
	expect_message(": Broken pipe: nothing more is written to it\n");
	teardown();
}
END_TEST

/* It holds nobody up: neither those who put, nor the end. */
START_TEST(test_reader_stands_still)
{
	int fd = open_fifo();
	struct trace_track *track = trace_track(trace, NULL);
	const int64_t start = now_ms();

	ck_assert_int_eq(trace_begin(trace, &none), 0);
	put_many(track, 0, 3 * TRACE_TRACK_EVENTS);
	ck_assert(finish(200));
	ck_assert_int_lt(now_ms() - start, SOON_MS);
	expect_message(": Connection timed out: nothing more is written to it\n");
	close(fd);
	teardown();
}
END_TEST

static void *read_all(void *arg)
{
	const int fd = *(int *)arg;
	size_t cap = 1 << 22, len = 0;
	char *text = malloc(cap);
	ssize_t n;

	fcntl(fd, F_SETFL, 0);
	while ((n = read(fd, text + len, cap - len - 1)) > 0)
		len += (size_t)n;
	text[len] = 0;
	return text;
}

START_TEST(test_reader)
{
	int fd = open_fifo();
	struct trace_track *track = trace_track(trace, NULL);
	pthread_t thread;
	void *text;

	put_many(track, 0, 5000);
	ck_assert_int_eq(pthread_create(&thread, NULL, read_all, &fd), 0);
	ck_assert_int_eq(trace_begin(trace, &none), 0);
	ck_assert(finish(SOON_MS));
	trace_free(trace);
	trace = NULL;
	pthread_join(thread, &text);
	expect_order(text, 0, 5000);
	ck_assert(has_tail(text));
	ck_assert_uint_eq(count(text, TAIL), 1);
	free(text);
	close(fd);
	teardown();
}
END_TEST

START_TEST(test_no_file)
{
	char want[128];

	setup();
	snprintf(path, sizeof(path), "%s/none/trace", dir);
	ck_assert_int_eq(trace_open(path, "lkvm", &trace), -ENOENT);
	ck_assert_ptr_null(trace);
	snprintf(want, sizeof(want), "open trace '%s': No such file or directory\n", path);
	expect_message(want);
	teardown();
}
END_TEST

/* Nothing was begun: there is nothing to end. */
START_TEST(test_no_begin)
{
	setup();
	open_at(path);
	put_many(trace_track(trace, "x"), 0, 1);
	ck_assert(finish(0));
	teardown();
}
END_TEST

UNIT_MAIN("trace", test_document, test_laps, test_dropped, test_threads, test_whole_meanwhile, test_full, test_file_full,
	  test_reader_gone, test_reader_stands_still, test_reader, test_no_file, test_no_begin)
