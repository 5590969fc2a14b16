/*
 * gdb's remote protocol (gdb manual, appendix E): what a client asks for is asked of a target, which is a
 * machine that stands still or runs as a whole ("all-stop mode"). A CPU is a thread; thread 1 is CPU 0.
 *
 *	bytes --> gdb_stub_input() --> target's functions
 *	bytes <-- gdb_stub_output() <-- answers, gdb_stub_stopped()
 *
 * Nothing of a client is trusted. No I/O and no threads in here: whoever has the client's connection
 * (vm/gdb.c) calls all of it, and the target's functions are called from within these calls.
 */
#ifndef LKVM_GDB_STUB_H
#define LKVM_GDB_STUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define GDB_REG_BYTES 16 /* of the widest register */
#define GDB_TRAP 5       /* signals, as gdb numbers them: stopped by itself, */
#define GDB_INT 2        /* by the client */
#define GDB_SEGV 11
#define GDB_ABRT 6

/* As the digit behind Z has it */
enum gdb_point_kind { GDB_SOFTWARE, GDB_HARDWARE, GDB_WRITE, GDB_READ, GDB_ACCESS, GDB_POINT_KINDS };

struct gdb_action {
	enum { GDB_STAY, GDB_CONTINUE, GDB_STEP } what;
	uint64_t start, end; /* GDB_STEP: on as long as the program counter is in there; both 0: one step */
};

struct gdb_stop {
	unsigned cpu;
	unsigned signal;
	bool by_point;            /* else of itself, or after a step */
	enum gdb_point_kind kind; /* then: of which kind, */
	uint64_t at;              /* and of data, where */
};

#define GDB_LATER 1

enum gdb_end { GDB_DETACH, GDB_KILL, GDB_RESTART };

struct gdb_target {
	unsigned cpus;
	unsigned n_regs;
	const uint8_t *told;  /* n_told registers that each stop has with it */
	unsigned n_told;
	unsigned (*reg_bytes)(void *ctx, unsigned reg); /* whether it can be had or not */
	/* Return: how many bytes it has, 0: there is no such register, or it cannot be had */
	unsigned (*get_reg)(void *ctx, unsigned cpu, unsigned reg, uint8_t ret[GDB_REG_BYTES]);
	/* @n bytes, as many as it has or it is refused; Return: 0 or -errno */
	int (*set_reg)(void *ctx, unsigned cpu, unsigned reg, const uint8_t *value, size_t n);
	/* Return: how many bytes; fewer than @n where the next cannot be had */
	size_t (*read)(void *ctx, unsigned cpu, bool physical, uint64_t at, void *dst, size_t n);
	size_t (*write)(void *ctx, unsigned cpu, bool physical, uint64_t at, const void *src, size_t n);
	/* Return: 0; -ENOSPC: too many; -EFAULT: nothing is there; -EINVAL: of that size, or not at such an address */
	int (*insert)(void *ctx, unsigned cpu, enum gdb_point_kind kind, uint64_t at, uint64_t n);
	int (*remove)(void *ctx, unsigned cpu, enum gdb_point_kind kind, uint64_t at, uint64_t n);
	/* One for each CPU; gdb_stub_stopped() is called later, or at once. Return: 0 or -errno: nothing runs */
	int (*resume)(void *ctx, const struct gdb_action *action);
	void (*interrupt)(void *ctx); /* while it runs: likewise */
	/* Return: heap, the caller's; NULL: there is no such document */
	char *(*document)(void *ctx, const char *name);
	/* By how much the guest's kernel is not where its file says; Return: is that known? */
	bool (*offset)(void *ctx, uint64_t *ret);
	void (*describe)(void *ctx, unsigned cpu, char *ret, size_t cap);
	/* A command in words, for people; what it says to @out. Return: 0 or -errno; GDB_LATER: gdb_stub_say() follows */
	int (*monitor)(void *ctx, unsigned cpu, const char *line, FILE *out);
	void (*end)(void *ctx, enum gdb_end how); /* the last call */
};

struct gdb_stub;

/** gdb_stub_new() - the target stands still, by @first; NULL: no memory */
struct gdb_stub *gdb_stub_new(const struct gdb_target *target, void *ctx, const struct gdb_stop *first);
void gdb_stub_free(struct gdb_stub *stub);

/**
 * gdb_stub_input() - what has come from the client
 * Call it with the rest again when gdb_stub_output() has nothing any more.
 * Return: how many bytes were taken; -ESHUTDOWN: the target's end() was called, and with what
 *	gdb_stub_output() still has all is over
 */
long gdb_stub_input(struct gdb_stub *stub, const void *bytes, size_t n);

/** gdb_stub_output() - what the client has to be sent next; NULL: nothing */
const void *gdb_stub_output(const struct gdb_stub *stub, size_t *ret_n);
/** gdb_stub_sent() - so much of it was */
void gdb_stub_sent(struct gdb_stub *stub, size_t n);

/** gdb_stub_stopped() - the target stands still again */
void gdb_stub_stopped(struct gdb_stub *stub, const struct gdb_stop *stop);
/** gdb_stub_say() - the answer to a monitor command that said GDB_LATER; until then no input is taken */
void gdb_stub_say(struct gdb_stub *stub, int err, const char *text);
/** gdb_stub_waits() - is there such a one? */
bool gdb_stub_waits(const struct gdb_stub *stub);
/** gdb_stub_exited() - there will be no target any more; told if it runs */
void gdb_stub_exited(struct gdb_stub *stub, unsigned status);

#endif
