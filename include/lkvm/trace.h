/*
 * Events with their times, in the file of `lkvm run --trace`: JSON as Perfetto and chrome://tracing read it
 * (the trace event format).
 *
 *	any thread: trace_put() -> the track's ring -> the writer's thread -> FILE
 *
 * Who puts takes no lock and waits for nobody: what finds no room in the ring is dropped, and an event of its
 * own tells how many were. A regular file is whole JSON whenever a batch was written, so that it can be read
 * whatever becomes of this process; another, such as a pipe, is so from trace_end() on.
 */
#ifndef LKVM_TRACE_H
#define LKVM_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#define TRACE_ARGS	   4
#define TRACE_DEVICE_BYTES 16
#define TRACE_FACTS	   8
#define TRACE_TRACK_EVENTS 8192 /* that a track keeps until they are written */

enum trace_phase {
	TRACE_INSTANT,
	TRACE_SPAN,  /* one whose spans on a track nest, or do not meet */
	TRACE_BEGIN, /* of what may overlap with others */
	TRACE_END,   /* of the one with that id and category */
};

/* What events of a kind have in common. Const, and there for as long as the trace is. */
struct trace_kind {
	const char *category; /* words with commas between them */
	enum trace_phase phase;
	struct {
		const char *key; /* NULL: there are no more */
		bool hex;
	} arg[TRACE_ARGS];
};

struct trace_event {
	const struct trace_kind *kind;
	const char *what; /* "write": static */
	uint64_t at_ns;	  /* of now_ns() */
	uint64_t extent;  /* SPAN: its length in ns; BEGIN, END: the id */
	uint64_t arg[TRACE_ARGS];
	char device[TRACE_DEVICE_BYTES]; /* in front of @what; "": none */
};

/* Numbers that the file begins or ends with */
struct trace_facts {
	unsigned n;
	struct trace_fact {
		const char *key; /* static */
		uint64_t value;
	} fact[TRACE_FACTS];
};

struct trace;
struct trace_track;

/**
 * trace_open() - make or empty the file; waits for the reader of a FIFO
 * @path:    not copied
 * @process: as which the viewer shows this one; not copied
 * Return: 0, or -errno, logged; then trace_free()
 */
int trace_open(const char *path, const char *process, struct trace **ret);

/**
 * trace_track() - before trace_begin()
 * @thread: as which the viewer shows the thread whose events these are; NULL: they are the process's
 * Return: the track, which is the trace's; or NULL: no memory
 */
struct trace_track *trace_track(struct trace *trace, const char *thread);

/** trace_track_here() - the calling thread is the track's; otherwise that is the main thread */
void trace_track_here(struct trace_track *track);

/** trace_put() - any thread */
void trace_put(struct trace_track *track, const struct trace_event *event);

/** trace_device() - set event->device; a longer name is cut */
void trace_device(struct trace_event *event, const char *name);

/**
 * trace_begin() - main thread: write from now on, what was put before, too
 * @facts: copied; they stand in front
 * Return: 0, or -errno of thread_new(), not logged
 */
int trace_begin(struct trace *trace, const struct trace_facts *facts);

/**
 * trace_end() - write what is left, and @facts; events that are put from now on may be missing
 * @deadline_ms: of now_ms(): so long it waits for the file's reader
 * Return: true; false: the file hangs, and so would trace_free()
 */
bool trace_end(struct trace *trace, const struct trace_facts *facts, int64_t deadline_ms);

/** trace_free() - nobody puts any more; after trace_end(), or without trace_begin(); takes NULL */
void trace_free(struct trace *trace);

#endif
