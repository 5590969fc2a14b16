/*
 * virtio console: ports that are hvc0, hvc1, ... in a Linux guest, each with a struct console at
 * the host's end.
 *
 *	transmit queue -> worker -> console_put()
 *	main thread: input() -> struct port's ring -> worker -> receive queue
 *
 * MULTIPORT or not? With it the driver says when somebody listens, and input waits for that;
 * without it Linux throws away what comes before its hvc is there. Without it the size of the
 * terminal is in the configuration, where all drivers agree about the order of columns and rows; for
 * the control message older versions of Linux have it swapped; and an init that starts early finds
 * its console. So it is for more than one port, and for a port whose input is piped.
 *
 * Nobody waits for a reader of the output. Linux's driver spins, with interrupts off, until its
 * buffer comes back, so a reader who has stopped holds it up for CONSOLE_PATIENCE_MS and no longer:
 * then output is dropped until he reads again, and a note says how much. A slow reader loses
 * nothing.
 *
 * Spec: virtio 1.2, 5.3
 */
#ifndef LKVM_VIRTIO_CONSOLE_H
#define LKVM_VIRTIO_CONSOLE_H

#include "lkvm/console.h"
#include "lkvm/virtio.h"

#define VIRTIO_CONSOLE_MAX_PORTS 4
#define CONSOLE_PATIENCE_MS      1000

struct virtio_console_setup {
	struct console *const *console; /* NULL: that port leads nowhere */
	unsigned n_ports;               /* 1..VIRTIO_CONSOLE_MAX_PORTS */
	bool multiport;                 /* offered; with more than one port it must be */
};

/** virtio_console_new() - main thread; @name is not copied; Return: 0 or -errno, not logged */
int virtio_console_new(const struct ram *ram, const char *name,
		       const struct virtio_console_setup *setup, struct virtio_dev **ret);
/** virtio_console_free() - main thread; takes NULL */
void virtio_console_free(struct virtio_dev *dev);

#endif
