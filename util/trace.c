/*
 * The file of `lkvm run --trace`, and the thread that writes it; see trace.h.
 *
 * Events become text in memory, a batch at a time, and the text goes out by one system call. In a regular file
 * each batch has the end of the document behind it, which the next one is written over.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/event.h"
#include "lkvm/json.h"
#include "lkvm/log.h"
#include "lkvm/thread.h"
#include "trace-ring.h"

#define BATCH	   256
#define PERIOD_MS  200 /* how old an event gets before it is written */
#define PATIENCE_MS 100 /* between two looks at whether the end has come */
#define GRACE_MS   500 /* of the thread, behind the deadline */

static const struct thread_type writer_threads = { .name = "trace", .stack_bytes = 128 * 1024 };

struct trace {
	const char *path, *process;
	int fd, wake_fd;
	bool is_file; /* a regular one */
	off_t at;     /* in that: where the next batch goes */
	int err;      /* nothing is written any more */
	struct trace_track *tracks, **last_track;
	struct thread *thread;
	struct trace_facts begin, end;
	_Atomic(int64_t) deadline_ms;
	atomic_bool ending;
	/* The writer's: text that is still to be written */
	FILE *out;
	char *text;
	size_t bytes;
	struct json json;
};

/* ---- the file: on the writer ---- */

static int wait_for_reader(const struct trace *t)
{
	struct pollfd pfd = { .fd = t->fd, .events = POLLOUT };

	poll(&pfd, 1, PATIENCE_MS);
	return atomic_load(&t->ending) && now_ms() >= atomic_load(&t->deadline_ms) ? -ETIMEDOUT : 0;
}

/* @at: of a regular file */
static int put_all(const struct trace *t, const char *text, size_t len, off_t at)
{
	int err = 0;

	while (len && !err) {
		ssize_t n = t->is_file ? pwrite(t->fd, text, len, at) : write(t->fd, text, len);

		if (n >= 0)
			text += n, len -= (size_t)n, at += n;
		else if (errno == EAGAIN)
			err = wait_for_reader(t);
		else if (errno != EINTR)
			err = -errno;
	}
	return err;
}

static size_t text_bytes(struct trace *t)
{
	fflush(t->out);
	return (size_t)ftello(t->out);
}

/* The end of the document, as it would be here */
static void print_tail(const struct trace *t)
{
	struct json json = t->json;

	json_end(&json);
	json_end(&json);
}

/* What is in the file by then stays good: the end fits where the old one was, on a full disk, too. */
static void give_up(struct trace *t, int err, const char *tail, size_t len)
{
	t->err = err;
	log_warn("trace '%s': %s: nothing more is written to it", t->path, strerror(-err));
	if (t->is_file && !put_all(t, tail, len, t->at) && ftruncate(t->fd, t->at + (off_t)len) < 0)
		log_debug(LOG_BOOT, "trace '%s': %s", t->path, strerror(errno));
}

/* @last: the document ends here */
static void write_text(struct trace *t, bool last)
{
	size_t len = text_bytes(t), all = len;
	int err;

	if (t->is_file || last) {
		print_tail(t);
		all = text_bytes(t);
	}
	if (t->err)
		err = 0;
	else if (ferror(t->out))
		err = -ENOMEM;
	else
		err = put_all(t, t->text, all, t->at);
	if (err)
		give_up(t, err, t->text + len, all - len);
	t->at += (off_t)len;
	rewind(t->out);
}

/* ---- events as JSON: on the writer ---- */

static void print_common(struct trace *t, const char *name, const char *phase, pid_t tid)
{
	json_object(&t->json, NULL);
	json_str(&t->json, "name", name);
	json_str(&t->json, "ph", phase);
	json_i64(&t->json, "pid", getpid());
	json_i64(&t->json, "tid", tid ? tid : getpid());
}

/* A name that the viewer shows in place of a number */
static void print_name(struct trace *t, const char *key, const char *name, pid_t tid)
{
	print_common(t, key, "M", tid);
	json_object(&t->json, "args");
	json_str(&t->json, "name", name);
	json_end(&t->json);
	json_end(&t->json);
}

static void print_facts(struct trace *t, const char *key, const struct trace_facts *facts)
{
	json_object(&t->json, key);
	for (unsigned i = 0; i < facts->n; i++)
		json_u64(&t->json, facts->fact[i].key, facts->fact[i].value);
	json_end(&t->json);
}

static void print_args(struct trace *t, const struct trace_event *e)
{
	json_object(&t->json, "args");
	if (*e->device)
		json_str(&t->json, "device", e->device);
	for (unsigned i = 0; i < TRACE_ARGS && e->kind->arg[i].key; i++)
		(e->kind->arg[i].hex ? json_hex : json_u64)(&t->json, e->kind->arg[i].key, e->arg[i]);
	json_end(&t->json);
}

static void print_event(struct trace *t, const struct trace_track *track, const struct trace_event *e)
{
	static const char *const phases[] = {
		[TRACE_INSTANT] = "i",
		[TRACE_SPAN] = "X",
		[TRACE_BEGIN] = "b",
		[TRACE_END] = "e",
	};
	char name[TRACE_DEVICE_BYTES + 48];

	snprintf(name, sizeof(name), "%s%s%s", e->device, *e->device ? " " : "", e->what);
	print_common(t, name, phases[e->kind->phase], track->tid);
	json_str(&t->json, "cat", e->kind->category);
	json_us(&t->json, "ts", e->at_ns);
	if (e->kind->phase == TRACE_SPAN)
		json_us(&t->json, "dur", e->extent);
	else if (e->kind->phase == TRACE_INSTANT)
		json_str(&t->json, "s", "t");
	else
		json_hex(&t->json, "id", e->extent);
	print_args(t, e);
	json_end(&t->json);
}

static void print_dropped(struct trace *t, struct trace_track *track)
{
	static const struct trace_kind kind = { "lkvm", TRACE_INSTANT, { { "events", false } } };
	const uint64_t dropped = atomic_load_explicit(&track->dropped, memory_order_relaxed);
	const struct trace_event event = {
		.kind = &kind,
		.what = "dropped",
		.at_ns = track->last_ns,
		.arg = { dropped - track->told },
	};

	if (dropped == track->told)
		return;
	print_event(t, track, &event);
	track->told = dropped;
}

/* Return: how many there were */
static unsigned print_batch(struct trace *t, struct trace_track *track)
{
	const struct trace_event *event;
	unsigned n = 0;

	for (; n < BATCH && (event = trace_take(track)); n++) {
		if (track->thread && !track->named)
			print_name(t, "thread_name", track->thread, track->tid);
		track->named = true;
		print_event(t, track, event);
		track->last_ns = event->at_ns;
		trace_took(track);
	}
	if (n < BATCH) /* none of those that were dropped is older than what is here */
		print_dropped(t, track);
	return n;
}

static bool write_batches(struct trace *t)
{
	bool any = false;

	for (struct trace_track *track = t->tracks; track; track = track->next) {
		if (print_batch(t, track))
			any = true;
		if (text_bytes(t))
			write_text(t, false);
	}
	return any;
}

/* ---- the document: on the writer ---- */

static void print_head(struct trace *t)
{
	json_init(&t->json, t->out);
	t->json.flat_depth = 2;
	json_object(&t->json, NULL);
	json_str(&t->json, "displayTimeUnit", "ns");
	json_object(&t->json, "otherData");
	json_str(&t->json, "producer", "lkvm");
	print_facts(t, "begin", &t->begin);
	json_end(&t->json);
	json_array(&t->json, "traceEvents");
	print_name(t, "process_name", t->process, 0);
}

static uint64_t all_dropped(const struct trace *t)
{
	uint64_t dropped = 0;

	for (const struct trace_track *track = t->tracks; track; track = track->next)
		dropped += track->told;
	return dropped;
}

/* In front of the events they would have to be known before; and behind them no viewer looks. */
static void print_end(struct trace *t)
{
	print_common(t, "end", "i", 0);
	json_str(&t->json, "cat", "lkvm");
	json_us(&t->json, "ts", now_ns());
	json_str(&t->json, "s", "g");
	json_object(&t->json, "args");
	json_u64(&t->json, "dropped", all_dropped(t));
	print_facts(t, "end", &t->end);
	json_end(&t->json);
	json_end(&t->json);
}

static bool in_time(const struct trace *t)
{
	return !atomic_load(&t->ending) || now_ms() < atomic_load(&t->deadline_ms);
}

static void writer(void *arg)
{
	struct trace *t = arg;
	struct pollfd pfd = { .fd = t->wake_fd, .events = POLLIN };
	bool last;

	print_head(t);
	do {
		last = atomic_load(&t->ending);
		while (!t->err && write_batches(t) && in_time(t))
			;
		if (!last && poll(&pfd, 1, PERIOD_MS) > 0)
			event_clear(t->wake_fd);
	} while (!last);
	print_end(t);
	write_text(t, true);
}

/* ---- life: main thread ---- */

static int open_file(struct trace *t)
{
	struct stat st;

	t->fd = open(t->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
	if (t->fd < 0 || fstat(t->fd, &st) < 0)
		return -errno;
	t->is_file = S_ISREG(st.st_mode);
	if (!t->is_file && fcntl(t->fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	t->wake_fd = event_open(0);
	return t->wake_fd < 0 ? t->wake_fd : 0;
}

int trace_open(const char *path, const char *process, struct trace **ret)
{
	struct trace *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return log_err(-ENOMEM, "trace");
	*t = (struct trace){ .path = path, .process = process, .fd = -1, .wake_fd = -1 };
	t->last_track = &t->tracks;
	err = open_file(t);
	if (!err) {
		t->out = open_memstream(&t->text, &t->bytes);
		err = t->out ? 0 : -ENOMEM;
	}
	if (err) {
		log_err(err, "open trace '%s'", path);
		trace_free(t);
		return err;
	}
	*ret = t;
	return 0;
}

struct trace_track *trace_track(struct trace *t, const char *thread)
{
	struct trace_track *track = calloc(1, sizeof(*track));

	if (!track)
		return NULL;
	track->slot = calloc(TRACE_TRACK_EVENTS, sizeof(*track->slot));
	if (thread)
		track->thread = strdup(thread);
	if (!track->slot || (thread && !track->thread)) {
		free(track->slot);
		free(track);
		return NULL;
	}
	track->wake_fd = t->wake_fd;
	*t->last_track = track;
	t->last_track = &track->next;
	return track;
}

int trace_begin(struct trace *t, const struct trace_facts *facts)
{
	t->begin = *facts;
	return thread_new(&writer_threads, "file", writer, t, &t->thread);
}

bool trace_end(struct trace *t, const struct trace_facts *facts, int64_t deadline_ms)
{
	if (!t->thread)
		return true;
	t->end = *facts;
	atomic_store(&t->deadline_ms, deadline_ms);
	atomic_store(&t->ending, true);
	event_signal(t->wake_fd);
	if (thread_join(t->thread, deadline_ms + GRACE_MS))
		return false;
	t->thread = NULL;
	return true;
}

void trace_free(struct trace *t)
{
	struct trace_track *track;

	if (!t)
		return;
	while ((track = t->tracks)) {
		t->tracks = track->next;
		free(track->slot);
		free((char *)track->thread);
		free(track);
	}
	if (t->out)
		fclose(t->out);
	free(t->text);
	if (t->fd >= 0)
		close(t->fd);
	if (t->wake_fd >= 0)
		close(t->wake_fd);
	free(t);
}
