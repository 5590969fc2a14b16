/* What passes through a port of the virtio console, in both directions; see virtio-console.h. */
#include "console-internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lkvm/byte-ring.h"
#include "lkvm/clock.h"

#define RETRY_MS 100
#define RETRIES  (CONSOLE_PATIENCE_MS / RETRY_MS)

/* ---- output ---- */

/* Return: how much of the chain's output the other end has taken, from @off on; all if there is none */
static uint64_t put_chain(struct port *port, const struct virtq_chain *chain, uint64_t off)
{
	uint64_t skip = off;

	if (!port->end || port->dropping)
		return chain->out_bytes;
	for (unsigned i = 0; i < chain->n_out; i++) {
		const struct iovec *iov = &chain->iov[i];
		size_t n;

		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		n = port->ops->put(port->end, (uint8_t *)iov->iov_base + skip, iov->iov_len - skip);
		off += n;
		if (n < iov->iov_len - skip)
			break;
		skip = 0;
	}
	return off;
}

/* Cannot fail: it was opened. */
static void retry_later(struct port *port)
{
	timer_set(&port->patience, now_ns() + RETRY_MS * 1000000ULL);
}

static void hold(struct port *port, uint64_t off)
{
	port->held = virtio_keep(&port->vc->dev, port->held);
	port->held_off = off;
	port->retries = 0;
	port->holding = true;
	retry_later(port);
}

static void let_go(struct port *port)
{
	port->holding = false;
	timer_stop(&port->patience);
}

static bool tx_more(struct virtio_dev *dev, unsigned index)
{
	return !port_of(dev, index)->holding;
}

static void tx_one(struct virtio_dev *dev, unsigned index)
{
	struct port *port = port_of(dev, index);
	uint64_t off;

	if (dev->chain->n_in) {
		virtio_break(dev, "a buffer to write to on transmit queue %u", index);
		return;
	}
	off = put_chain(port, dev->chain, port->taken_off);
	port->taken_off = 0;
	if (port->dropping)
		port->dropped += dev->chain->out_bytes;
	if (off < dev->chain->out_bytes)
		hold(port, off);
	else
		virtio_push(dev, index, dev->chain->token, 0);
}

void port_tx_serve(struct port *port)
{
	virtio_serve_while(&port->vc->dev, tx_queue(port), tx_more, tx_one);
}

/* Go on with what is held, if the console has room now. Return: was there any? */
static bool tx_retry(struct port *port)
{
	struct virtio_dev *dev = &port->vc->dev;
	uint64_t off = put_chain(port, port->held, port->held_off);
	bool progress = off > port->held_off;

	port->held_off = off;
	if (off < port->held->out_bytes)
		return progress;
	let_go(port);
	virtio_push(dev, tx_queue(port), port->held->token, 0);
	port_tx_serve(port);
	return true;
}

void port_patience_over(struct timer *timer)
{
	struct port *port = container_of(timer, struct port, patience);

	if (!port->holding || port->vc->dev.parked)
		return;
	retry_later(port);
	if (tx_retry(port)) {
		port->retries = 0;
	} else if (++port->retries == RETRIES && !port->ops->name) {
		port->dropping = true;
		port->dropped += port->held->out_bytes - port->held_off;
		tx_retry(port);
	}
}

/* The reader is back, and there is room for more than this. */
static void tell_dropped(struct port *port)
{
	char note[80];
	int n = snprintf(note, sizeof(note), "\r\n[lkvm: %" PRIu64 " bytes of output dropped]\r\n",
			 port->dropped);

	port->dropping = false;
	port->dropped = 0;
	port->ops->put(port->end, note, (size_t)n);
}

void port_tx_room(struct port *port)
{
	if (port->dropped)
		tell_dropped(port);
	if (port->holding)
		tx_retry(port);
}

void port_hold(struct port *port, bool on)
{
	if (port->holding && on)
		timer_stop(&port->patience);
	else if (port->holding)
		retry_later(port);
}

/*
 * What is held is lost with its queue, except for what the console takes at once. Of a device that
 * stands still it is out of reach.
 */
void port_drop_held(struct port *port)
{
	struct virtio_dev *dev = &port->vc->dev;

	port->taken_off = 0;
	if (!port->holding)
		return;
	if (!dev->standing)
		port->held_off = put_chain(port, port->held, port->held_off);
	if (!port->ops->name) /* who is at the other end of one with a name hears that it was closed */
		port->dropped += port->held->out_bytes - port->held_off;
	let_go(port);
	if (dev->standing)
		return;
	virtio_push(dev, tx_queue(port), port->held->token, 0);
	virtio_complete(dev, tx_queue(port));
}

/* ---- input ---- */

static bool rx_more(struct virtio_dev *dev, unsigned index)
{
	struct port *port = port_of(dev, index);
	bool more;

	if (multiport(port->vc) && !port->open)
		return false;
	pthread_mutex_lock(&port->lock);
	more = port->in_n;
	pthread_mutex_unlock(&port->lock);
	return more;
}

static unsigned input_put(struct port *port, const uint8_t *buf, size_t len)
{
	const unsigned size = port->ops->in_bytes, room = size - port->in_n;
	const unsigned n = len < room ? (unsigned)len : room;

	byte_ring_put(port->in, size, port->in_at + port->in_n, buf, n);
	port->in_n += n;
	return n;
}

/* Return: bytes taken; *@ret_wanted: the other end may give more */
static size_t input_take(struct port *port, uint8_t *buf, uint64_t cap, bool *ret_wanted)
{
	const unsigned size = port->ops->in_bytes;
	unsigned n;

	pthread_mutex_lock(&port->lock);
	n = cap < port->in_n ? (unsigned)cap : port->in_n;
	byte_ring_get(port->in, size, port->in_at, buf, n);
	port->in_at = (port->in_at + n) % size;
	port->in_n -= n;
	*ret_wanted = port->in_refused && !port->in_n;
	pthread_mutex_unlock(&port->lock);
	return n;
}

static void rx_one(struct virtio_dev *dev, unsigned index)
{
	struct port *port = port_of(dev, index);
	const struct virtq_chain *chain = dev->chain;
	uint8_t buf[4096]; /* Linux's buffers are pages */
	bool wanted;
	size_t n;

	if (chain->n_out || !chain->in_bytes) {
		virtio_break(dev, "not a buffer to write to on receive queue %u", index);
		return;
	}
	n = input_take(port, buf, chain->in_bytes < sizeof(buf) ? chain->in_bytes : sizeof(buf),
		       &wanted);
	virtio_push(dev, index, chain->token, (uint32_t)virtq_write(chain, 0, buf, n));
	if (wanted)
		port->ops->input_wanted(port->end);
}

void port_opened(struct port *port, bool open)
{
	if (port->open == open)
		return;
	port->open = open;
	if (port->end && port->ops->opened)
		port->ops->opened(port->end, open);
}

void port_rx_serve(struct port *port)
{
	virtio_serve_while(&port->vc->dev, rx_queue(port), rx_more, rx_one);
}

/* The worker is told by the caller. */
size_t port_input(struct port *port, const uint8_t *buf, size_t len)
{
	unsigned n;

	pthread_mutex_lock(&port->lock);
	n = input_put(port, buf, len);
	port->in_refused = n < len;
	pthread_mutex_unlock(&port->lock);
	return n;
}
