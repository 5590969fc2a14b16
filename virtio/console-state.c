/*
 * What a driver can observe of the console beyond the core: what it knows of the ports and is still to be
 * told, what was typed and is still to be given, and how far the other end has got with a chain of output
 * that it did not take at once. That chain is saved as not taken: the loaded device takes it again.
 *
 * What a port leads to may be another end, with another terminal: of its size the driver is told if it
 * is another, and the reader is told of output that was dropped before. His patience begins anew.
 */
#include <errno.h>
#include <string.h>

#include "console-internal.h"

#define PORTS VIRTIO_CONSOLE_MAX_PORTS

struct console_state {
	uint32_t n; /* ports */
	uint32_t n_in;
	uint64_t taken[PORTS];   /* bytes of the first chain on the ring */
	uint64_t dropped[PORTS]; /* of output, which the reader does not know yet */
	uint32_t port_in[PORTS]; /* how many of the n_in bytes are its */
	uint16_t cols[PORTS], rows[PORTS];
	uint8_t send[PORTS], added[PORTS], ready[PORTS], open[PORTS];
	uint8_t resized[PORTS]; /* and the driver does not know yet */
	uint8_t console[PORTS]; /* or has it a name? */
	uint8_t in[PORTS * VIRTIO_PORT_MAX_INPUT];
};

static const struct state_field fields[] = {
	STATE_ONE(struct console_state, n, .max = PORTS),
	STATE_ONE(struct console_state, n_in, .max = PORTS *VIRTIO_PORT_MAX_INPUT),
	STATE_SOME(struct console_state, taken, n),
	STATE_SOME(struct console_state, dropped, n),
	STATE_SOME(struct console_state, port_in, n, .max = VIRTIO_PORT_MAX_INPUT),
	STATE_SOME(struct console_state, cols, n),
	STATE_SOME(struct console_state, rows, n),
	STATE_SOME(struct console_state, send, n, .bits = SEND_ALL),
	STATE_SOME(struct console_state, added, n, .max = 1),
	STATE_SOME(struct console_state, ready, n, .max = 1),
	STATE_SOME(struct console_state, open, n, .max = 1),
	STATE_SOME(struct console_state, resized, n, .max = 1),
	STATE_SOME(struct console_state, console, n, .max = 1),
	STATE_SOME(struct console_state, in, n_in),
};

/* ---- what cannot be, whatever the device ---- */

/* Added, then ready, then open; and messages of a port that is ready. */
static const char *check_port(const struct console_state *st, unsigned i)
{
	const unsigned of_ready = st->send[i] & (SEND_ALL ^ SEND_ADD);

	if (st->ready[i] && !st->added[i])
		return "ready";
	if (st->open[i] && !st->ready[i])
		return "open";
	if ((st->send[i] & SEND_ADD && st->added[i]) || (of_ready && !st->ready[i]) ||
	    (st->send[i] & SEND_CONSOLE && !st->console[i]))
		return "send";
	return NULL;
}

static const char *check(const void *state)
{
	const struct console_state *st = state;
	const char *bad = NULL;
	uint32_t n_in = 0;

	for (unsigned i = 0; !bad && i < st->n; i++) {
		bad = check_port(st, i);
		n_in += st->port_in[i];
	}
	return bad || n_in == st->n_in ? bad : "port_in";
}

/* ---- save ---- */

/* From the ring, the oldest first */
static void save_input(struct port *port, struct console_state *st, unsigned i)
{
	pthread_mutex_lock(&port->lock);
	st->cols[i] = port->cols;
	st->rows[i] = port->rows;
	st->port_in[i] = port->in_n;
	for (unsigned n = 0; n < port->in_n; n++)
		st->in[st->n_in++] = port->in[(port->in_at + n) % port->ops->in_bytes];
	pthread_mutex_unlock(&port->lock);
}

static int save(void *dev, void *ret_state)
{
	struct virtio_console *vc = console_of(dev);
	struct console_state *st = ret_state;

	st->n = vc->n_ports;
	for (unsigned i = 0; i < st->n; i++) {
		struct port *port = &vc->port[i];

		save_input(port, st, i);
		st->taken[i] = port->holding ? port->held_off : port->taken_off;
		st->dropped[i] = port->dropped;
		st->send[i] = (uint8_t)port->send;
		st->added[i] = port->added;
		st->ready[i] = port->ready;
		st->open[i] = port->open;
		st->resized[i] = atomic_load(&port->resized);
		st->console[i] = !port->ops->name;
	}
	return 0;
}

/* ---- load ---- */

static bool may_have(const struct virtio_console *vc, const struct console_state *st, unsigned i)
{
	const struct port *port = &vc->port[i];

	if (st->console[i] != !port->ops->name || st->port_in[i] > port->ops->in_bytes)
		return false;
	return multiport(vc) || !(st->send[i] || st->added[i]);
}

static int judge(const struct virtio_console *vc, const struct console_state *st)
{
	if (st->n != vc->n_ports)
		return -ENODEV;
	for (unsigned i = 0; i < st->n; i++)
		if (!may_have(vc, st, i))
			return -ENODEV;
	return 0;
}

static void load_input(struct port *port, const uint8_t *in, uint32_t n)
{
	bool wanted;

	pthread_mutex_lock(&port->lock);
	memcpy(port->in, in, n);
	port->in_at = 0;
	port->in_n = n;
	wanted = port->in_refused && !n;
	pthread_mutex_unlock(&port->lock);
	if (wanted)
		port->ops->input_wanted(port->end);
}

/* The terminal is what it is now. */
static void load_size(struct port *port, const struct console_state *st, unsigned i)
{
	struct virtio_dev *dev = &port->vc->dev;
	bool same;

	pthread_mutex_lock(&port->lock);
	same = port->cols == st->cols[i] && port->rows == st->rows[i];
	pthread_mutex_unlock(&port->lock);
	atomic_store(&port->resized, st->resized[i] || !same);
	if (!same) {
		virtio_config_begin(dev);
		virtio_config_end(dev);
	}
}

static void load_port(struct port *port, const struct console_state *st, unsigned i)
{
	port->taken_off = st->taken[i];
	port->dropping = false;
	port->dropped = port->end && !port->ops->name ? st->dropped[i] : 0;
	port->send = st->send[i];
	port->added = st->added[i];
	port->ready = st->ready[i];
	port_opened(port, st->open[i]);
	atomic_store(&port->room, true); /* or so it will find out */
}

/* The worker is parked: what it would do about all this it does when the device goes on. */
static int load(void *dev, const void *state)
{
	struct virtio_console *vc = console_of(dev);
	const struct console_state *st = state;
	const uint8_t *in = st->in;
	int err = judge(vc, st);

	for (unsigned i = 0; !err && i < st->n; i++) {
		load_port(&vc->port[i], st, i);
		load_size(&vc->port[i], st, i);
		load_input(&vc->port[i], in, st->port_in[i]);
		in += st->port_in[i];
	}
	return err;
}

const struct state_type console_state_type = {
	STATE_TYPE("virtio-console", 1, struct console_state, fields),
	.check = check,
	.save = save,
	.load = load,
};
