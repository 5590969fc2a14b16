/* Control messages of the virtio console, which tell of its ports; see virtio-console.h. */
#include "console-internal.h"

#include <assert.h>
#include <stdio.h>

#define CONTROL_BYTES sizeof(struct virtio_console_control)
#define NAME_BYTES    32

/* The next port that has one; NULL: none has */
static struct port *control_next(struct virtio_console *vc)
{
	for (unsigned i = 0; i < vc->n_ports; i++)
		if (vc->port[i].send)
			return &vc->port[i];
	return NULL;
}

static bool control_more(struct virtio_dev *dev, unsigned index)
{
	(void)index;
	return control_next(console_of(dev));
}

struct message {
	struct virtio_console_control head;
	union {
		struct {
			uint16_t cols, rows;
		};
		char name[NAME_BYTES];
	};
};

/* Return: its length; it is short enough */
static size_t put_name(const struct port *port, char ret[NAME_BYTES])
{
	const char *name = port->ops->name;

	return (size_t)(name ? snprintf(ret, NAME_BYTES, "%s", name) :
			       snprintf(ret, NAME_BYTES, "lkvm.tty%u", (unsigned)(port - port->vc->port)));
}

/* Return: length */
static size_t make_message(struct port *port, struct message *ret)
{
	unsigned send = port->send & -port->send; /* the first one */

	*ret = (struct message){ .head = { .id = (uint32_t)(port - port->vc->port), .value = 1 } };
	port->send &= ~send;
	switch (send) {
	case SEND_ADD:
		ret->head.event = VIRTIO_CONSOLE_PORT_ADD;
		port->added = true;
		return CONTROL_BYTES;
	case SEND_NAME: /* in a Linux guest: /sys/class/virtio-ports/vport0pN/name */
		ret->head.event = VIRTIO_CONSOLE_PORT_NAME;
		return CONTROL_BYTES + put_name(port, ret->name);
	case SEND_CONSOLE:
		ret->head.event = VIRTIO_CONSOLE_CONSOLE_PORT;
		return CONTROL_BYTES;
	case SEND_OPEN:
		ret->head.event = VIRTIO_CONSOLE_PORT_OPEN;
		return CONTROL_BYTES;
	}
	assert(send == SEND_RESIZE);
	ret->head.event = VIRTIO_CONSOLE_RESIZE;
	pthread_mutex_lock(&port->lock);
	ret->cols = port->cols;
	ret->rows = port->rows;
	pthread_mutex_unlock(&port->lock);
	return offsetof(struct message, rows) + sizeof(ret->rows);
}

static void control_send_one(struct virtio_dev *dev, unsigned index)
{
	const struct virtq_chain *chain = dev->chain;
	struct message msg;
	size_t len;

	len = make_message(control_next(console_of(dev)), &msg);
	if (chain->n_out || chain->in_bytes < len) {
		virtio_break(dev, "no room for a message on the control queue");
		return;
	}
	virtio_push(dev, index, chain->token, (uint32_t)virtq_write(chain, 0, &msg, len));
}

void control_send(struct virtio_console *vc)
{
	if (multiport(vc))
		virtio_serve_while(&vc->dev, CONTROL_RX, control_more, control_send_one);
}

void control_resized(struct port *port)
{
	if (port->ready && virtio_has(&port->vc->dev, VIRTIO_CONSOLE_F_SIZE))
		port->send |= SEND_RESIZE;
}

/* No port may be added twice (5.3.6.2.1). */
static void add_ports(struct virtio_console *vc)
{
	for (unsigned i = 0; i < vc->n_ports; i++)
		if (!vc->port[i].added)
			vc->port[i].send |= SEND_ADD;
}

static void port_is_ready(struct port *port)
{
	if (!port->added || port->ready)
		return;
	port->ready = true;
	port->send |= SEND_NAME | (port->ops->name ? 0 : SEND_CONSOLE) | SEND_OPEN;
	control_resized(port);
}

static void port_is_open(struct port *port, bool open)
{
	port_opened(port, port->ready && open);
	port_rx_serve(port);
}

/* What makes no sense is ignored, as is a port that the driver could not set up (value 0). */
static void control_event(struct virtio_console *vc, const struct virtio_console_control *msg)
{
	if (msg->event == VIRTIO_CONSOLE_DEVICE_READY) {
		if (msg->value)
			add_ports(vc);
		return;
	}
	if (msg->id >= vc->n_ports)
		return;
	if (msg->event == VIRTIO_CONSOLE_PORT_READY && msg->value)
		port_is_ready(&vc->port[msg->id]);
	if (msg->event == VIRTIO_CONSOLE_PORT_OPEN)
		port_is_open(&vc->port[msg->id], msg->value);
}

static void control_one(struct virtio_dev *dev, unsigned index)
{
	const struct virtq_chain *chain = dev->chain;
	struct virtio_console_control msg;

	if (chain->n_in || virtq_read(chain, 0, &msg, sizeof(msg)) < sizeof(msg)) {
		virtio_break(dev, "malformed control message");
		return;
	}
	virtio_push(dev, index, chain->token, 0);
	control_event(console_of(dev), &msg);
}

void control_serve(struct virtio_console *vc)
{
	virtio_serve(&vc->dev, CONTROL_TX, control_one);
}
