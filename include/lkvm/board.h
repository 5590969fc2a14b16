/*
 * What a device, a transport and PCI are plugged into: interrupts and notifications that stay in the
 * kernel, and the machine's end. kvm-irq.c implements it on KVM; unit tests on counters. Any thread.
 */
#ifndef LKVM_BOARD_H
#define LKVM_BOARD_H

#include <stdbool.h>
#include <stdint.h>

/* Why a machine stopped; the first cause wins. vm/result.c maps each to the exit status. */
enum stop_cause {
	STOP_NONE = 0,
	STOP_POWEROFF,   /* the guest powered off (ACPI S5) */
	STOP_RESET,      /* the guest asked for a reset */
	STOP_HALT,       /* the guest's kernel said that it has halted */
	STOP_PANIC,      /* pvpanic, or the console text of a panic that does not end by itself */
	STOP_DEBUG_EXIT, /* isa-debug-exit; value: what the guest wrote */
	STOP_FAULT,      /* triple fault, or KVM could not go on */
	STOP_REQUEST,    /* `lkvm stop`, Ctrl-a x */
	STOP_SIGNAL,     /* SIGINT, SIGTERM, SIGHUP, SIGQUIT; value: the number */
	STOP_TIMEOUT,    /* a limit of time; value: enum config_limit */
	STOP_COMMAND,    /* the session's command has ended, or will not tell of its end any more */
	STOP_HOST_ERROR, /* lkvm itself failed; value: errno */
};

/* Sources of a line: the PCI functions by their devfn, then the chips by their place in the list. */
#define LINE_SOURCE_PCI	 0
#define LINE_SOURCE_CHIP 256
#define LINE_SOURCES	 320

struct board_ops {
	/*
	 * A guest write to @addr (2 bytes, 4 bytes: @len; 0: any) signals @fd and causes no exit.
	 * @match: only this value, -1: every value. @pio: an I/O port.
	 * Return: 0 or -errno
	 */
	int (*notify)(void *ctx, int fd, bool pio, uint64_t addr, unsigned len, int64_t match,
		      bool on);
	/*
	 * Signalling @fd raises @gsi, edge triggered. What was signalled while it was off arrives when
	 * it is switched on.
	 */
	int (*irqfd)(void *ctx, int fd, unsigned gsi, bool on);
	/*
	 * A message-signalled interrupt: route @gsi to address and data; *@gsi -1: allocate one.
	 * Return: 0 or -errno (-ENOSPC: no route left)
	 */
	int (*msi_route)(void *ctx, int *gsi, uint64_t addr, uint32_t data);
	void (*msi_free)(void *ctx, int gsi);
	/* A GSI is up while one of its sources, numbered below, holds it up. */
	void (*line)(void *ctx, unsigned gsi, unsigned source, bool level);
	/*
	 * The level of @gsi, from outside: signalling @fd holds it up until the guest has handled it;
	 * then it is down, @resample_fd is signalled, and who still wants it signals @fd again. What was
	 * signalled while it was off arrives when it is switched on. Return: 0 or -errno
	 */
	int (*line_fd)(void *ctx, int fd, int resample_fd, unsigned gsi, bool on);
	/*
	 * Host memory answers at @addr without an exit, until memory_remove() of the number that this
	 * returns; or -errno, logged. @name is not copied; with @read_only writes go to the bus. To remove it
	 * fails where KVM is out of memory: -errno, logged, and it is still there.
	 */
	int (*memory_add)(void *ctx, const char *name, uint64_t addr, void *host, uint64_t bytes,
			  bool read_only);
	int (*memory_remove)(void *ctx, unsigned number);
	/* Ask the machine to stop. Returns at once; the vCPU threads end soon after. */
	void (*stop)(void *ctx, enum stop_cause cause, uint32_t value);
	/* The guest has panicked, but goes on: whatever it does next, the run was not good. */
	void (*note_panic)(void *ctx);
};

struct board {
	const struct board_ops *ops;
	void *ctx;
};

static inline void board_stop(const struct board *board, enum stop_cause cause, uint32_t value)
{
	board->ops->stop(board->ctx, cause, value);
}

#endif
