/*
 * virtio console: ports that are hvc0, hvc1, ... in a Linux guest, each with a struct console at
 * the host's end; or ports with a name, which carry bytes between a program in the guest and lkvm.
 *
 *	transmit queue -> worker -> port's put(): console_put()
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
 * nothing. A port with a name waits for as long as it takes.
 *
 * Spec: virtio 1.2, 5.3
 */
#ifndef LKVM_VIRTIO_CONSOLE_H
#define LKVM_VIRTIO_CONSOLE_H

#include "lkvm/console.h"
#include "lkvm/keys.h"
#include "lkvm/virtio.h"

#define VIRTIO_CONSOLE_MAX_PORTS 4
#define VIRTIO_PORT_MAX_INPUT    (64 * 1024)
#define CONSOLE_PATIENCE_MS      1000

/* What a port leads to at the host's end. Any of it may come from the worker's thread. */
struct virtio_port_ops {
	const char *name;  /* that the guest finds it by; NULL: it is a console of the guest's, lkvm.ttyN */
	unsigned in_bytes; /* of input that wait for the guest: VIRTIO_PORT_MAX_INPUT at most */
	/* Output of the guest. Return: bytes taken; console_device.writable() follows when less */
	size_t (*put)(void *end, const void *buf, size_t len);
	/* console_device.input() had taken less than all, and takes more now */
	void (*input_wanted)(void *end);
	/* Main thread: what the port is for the other end (copied); NULL: it goes */
	void (*attach)(void *end, const struct console_device *port);
	/* The guest has opened the port, or closed it, or the driver has gone; may be NULL */
	void (*opened)(void *end, bool open);
};

struct virtio_port {
	const struct virtio_port_ops *ops;
	void *end; /* NULL: it leads nowhere */
};

/** virtio_port_console() - a port that is a console; NULL: it leads nowhere */
struct virtio_port virtio_port_console(struct console *console);

/* What the user asks for */
struct virtio_console_options {
	bool packed; /* offers packed rings */
};

extern const struct opt_key virtio_console_keys[];

struct virtio_console_setup {
	struct virtio_port port[VIRTIO_CONSOLE_MAX_PORTS];
	unsigned n_ports;               /* 1..VIRTIO_CONSOLE_MAX_PORTS */
	bool multiport;                 /* offered; with more than one port, or one with a name, it must be */
	struct virtio_console_options options;
};

/** virtio_console_new() - main thread; @name is not copied; Return: 0 or -errno, not logged */
int virtio_console_new(const struct ram *ram, const char *name,
		       const struct virtio_console_setup *setup, struct virtio_dev **ret);
/** virtio_console_free() - main thread; takes NULL */
void virtio_console_free(struct virtio_dev *dev);

#endif
