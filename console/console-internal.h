/*
 * The host end of the guest's console, between console/console.c (its life), console/output.c,
 * console/input.c and console/client.c; see console.h.
 */
#ifndef CONSOLE_INTERNAL_H
#define CONSOLE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>

#include "lkvm/clock.h"
#include "lkvm/console.h"
#include "lkvm/console/client.h"
#include "lkvm/console/keys.h"
#include "lkvm/console/scan.h"
#include "lkvm/stream.h"
#include "lkvm/timer.h"
#include "lkvm/types.h"

#define RING_BYTES  MIB
#define KEPT_BYTES  (256 * KIB)
#define TYPED_MAX   4096
#define TYPED_BREAK 0x100 /* in console.typed, beside the 256 bytes */

/* Where input comes from: standard input, or a client. */
struct console_input {
	struct console *con;
	struct console_input *next;
	struct stream stream;
	struct loop_source ready;
	bool tty; /* with escape keys */
	bool watched, end;
};

struct console {
	struct console_config cfg;
	struct console_device device[CONSOLE_MAX_DEVICES];
	unsigned n_devices;
	bool started;

	pthread_mutex_t lock; /* head, tail's changes, armed, starved, taken */
	uint8_t *ring;
	uint64_t head, tail;
	uint64_t taken;
	bool armed;   /* the timer will make the main thread look at the ring */
	bool starved; /* console_put() has taken less than all */

	uint64_t scanned; /* position in [tail, head]: what is before it went through @scan */
	bool told_panic;
	struct timer ending;       /* does the kernel mean what it said? */
	uint64_t ending_at;        /* scan.ending_at for which it was set */

	struct stream out;
	struct timer out_timer;
	struct loop_source out_room; /* in the loop while standard output takes nothing */
	bool out_blocked;
	bool out_dead;
	int out_error;    /* why that or the copy fails, if it was not a reader who left */
	bool copy_dead;
	uint8_t out_last; /* the last byte that it has taken */
	uint64_t writes;
	uint64_t active_ns;

	uint8_t *kept;      /* the last of the output, a ring; nothing is kept of what is not looked at */
	uint64_t kept_end;  /* its position is how much there was */
	struct console_client *clients;
	unsigned n_clients;

	struct console_input in;       /* standard input */
	struct console_input *inputs;  /* that and the clients', by whose turn it is */
	unsigned n_inputs;
	struct loop_source in_wanted;  /* eventfd: the device has room, or there is more to read */
	struct timer foreground;       /* only while in the background of the terminal */
	bool end_told, in_background;
	struct console_keys keys;
	size_t typed_at, n_typed;
	atomic_bool device_full; /* console_input_wanted() must wake the main thread */

	struct console_scan scan;
	/* From scan.line on: rings that are written before they are read, and most guests' never full */
	uint16_t typed[TYPED_MAX]; /* bytes and TYPED_BREAK */
};

/* Cannot fail: console_new() has opened its clock. */
static inline void console_set_timer(struct timer *timer, uint64_t ns)
{
	timer_set(timer, now_ns() + ns);
}

/* ---- output.c ---- */

/** console_output_init() - the sources and timers of this direction; none is in the loop yet */
void console_output_init(struct console *con);
/** console_look() - at all that the guest has printed until now; Return: con->head as it was then */
uint64_t console_look(struct console *con);

/* ---- client.c ---- */

/** console_keep() - this was printed: keep it, and give it to the clients, as far as they take it */
void console_keep(struct console *con, const uint8_t *buf, size_t len);
/** console_least_size() - make it that of the clients whose terminal is smaller, or that have one at all */
void console_least_size(const struct console *con, struct winsize *size);

/* ---- input.c ---- */

/** console_input_init() - likewise */
void console_input_init(struct console *con);
/** console_input_open() - one more source of input, read without blocking; @fd stays the caller's */
void console_input_open(struct console_input *in, struct console *con, int fd, bool tty);
void console_input_close(struct console_input *in);
/** console_give_input() - to the device, as much as it takes */
void console_give_input(struct console *con);
/** console_next_input() - look for input, or no longer, as the state wants it */
void console_next_input(struct console *con);
/**
 * console_take_terminal() - make it raw; in the background: when the shell gives it to us
 * Return: 0 or -errno, logged
 */
int console_take_terminal(struct console *con);

#endif
