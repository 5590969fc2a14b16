/*
 * The console's own: console.c is the device, console-port.c what passes through a port,
 * console-control.c the messages about ports, console-state.c saves and loads. Worker, where nothing
 * else is said.
 */
#ifndef CONSOLE_INTERNAL_H
#define CONSOLE_INTERNAL_H

#include <linux/virtio_console.h>

#include "lkvm/timer.h"
#include "lkvm/types.h"
#include "lkvm/virtio-console.h"

#define CONTROL_RX  2 /* queues, as the guest sees them */
#define CONTROL_TX  3

/* Control messages that are to be sent for a port, in this order. */
enum {
	SEND_ADD = 1 << 0,
	SEND_NAME = 1 << 1,
	SEND_CONSOLE = 1 << 2,
	SEND_OPEN = 1 << 3,
	SEND_RESIZE = 1 << 4,
	SEND_ALL = (1 << 5) - 1,
};

struct port {
	struct virtio_console *vc;
	const struct virtio_port_ops *ops;
	void *end; /* what it leads to; NULL: nowhere */

	pthread_mutex_t lock;
	uint8_t *in; /* a ring of ops->in_bytes */
	unsigned in_at, in_n;
	bool in_refused;     /* the other end has more */
	uint16_t cols, rows; /* changed under the device's event lock, too */

	atomic_bool room;    /* the other end takes output again; the main thread sets it */
	atomic_bool resized; /* likewise: the terminal has another size */

	/* The worker's */
	unsigned send; /* SEND_* */
	bool added;    /* the driver knows of the port, */
	bool ready;    /* has set it up, */
	bool open;     /* and has somebody who reads the input; before that Linux throws it away */
	struct virtq_chain *held; /* room for one; @holding: output that was not taken */
	bool holding;
	uint64_t held_off;
	uint64_t taken_off; /* of the next chain: a twin's end took so much of it; see console-state.c */
	unsigned retries;
	bool dropping;         /* the reader has stopped */
	uint64_t dropped;      /* bytes that he has not been told of */
	struct timer patience; /* of the worker's loop, runs while holding */
};

struct virtio_console {
	struct virtio_dev dev;
	unsigned n_ports;
	struct loop_source wake; /* eventfd: the main thread has something for the worker */
	struct port port[VIRTIO_CONSOLE_MAX_PORTS];
};

static inline struct virtio_console *console_of(struct virtio_dev *dev)
{
	return container_of(dev, struct virtio_console, dev);
}

/* Port 0 has queues 0 and 1, then come the control queues. */

static inline unsigned rx_queue(const struct port *port)
{
	unsigned index = (unsigned)(port - port->vc->port);

	return index ? 2 * index + 2 : 0;
}

static inline unsigned tx_queue(const struct port *port)
{
	return rx_queue(port) + 1;
}

static inline struct port *port_of(struct virtio_dev *dev, unsigned queue)
{
	return &console_of(dev)->port[queue < 2 ? 0 : queue / 2 - 1];
}

/* Without MULTIPORT there is port 0, and no message about it. */
static inline bool multiport(const struct virtio_console *vc)
{
	return virtio_has(&vc->dev, VIRTIO_CONSOLE_F_MULTIPORT);
}

/* ---- console-port.c ---- */

/** port_tx_serve(), port_rx_serve() - move what can be moved; rx waits for somebody who listens */
void port_tx_serve(struct port *port);
void port_rx_serve(struct port *port);
/** port_tx_room() - the console takes output again */
void port_tx_room(struct port *port);
/** port_opened() - is there somebody in the guest who reads the port's input? */
void port_opened(struct port *port, bool open);
/** port_drop_held() - what is held is lost with its queue, except for what the console takes at once */
void port_drop_held(struct port *port);
/** port_hold() - leave the guest's memory and the console alone, or go on */
void port_hold(struct port *port, bool on);
/** port_patience_over() - port->patience has fired */
void port_patience_over(struct timer *timer);
/** port_input() - main thread: the console's end of what is typed; Return: bytes taken */
size_t port_input(struct port *port, const uint8_t *buf, size_t len);

/* ---- console-control.c ---- */

/** control_send() - send what messages there are, as far as the driver has room for them */
void control_send(struct virtio_console *vc);
/** control_serve() - take the driver's messages */
void control_serve(struct virtio_console *vc);
/** control_resized() - the port has another size, which the driver is to be told */
void control_resized(struct port *port);

/* ---- console-state.c: of a struct virtio_dev that is one ---- */

extern const struct state_type console_state_type;

#endif
