/* virtio console; see virtio-console.h. */
#include "lkvm/virtio-console.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_console.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "lkvm/access.h"
#include "lkvm/types.h"

#define QUEUE_SIZE    64
#define INPUT_BYTES   4096
#define RETRY_MS      100
#define RETRIES       (CONSOLE_PATIENCE_MS / RETRY_MS)
#define SYSRQ_KEY     0x0f /* Ctrl-O: what a break is on Linux's hvc */
#define CONTROL_RX    2    /* queues, as the guest sees them */
#define CONTROL_TX    3
#define CONTROL_BYTES sizeof(struct virtio_console_control)
#define NAME_BYTES    16

/* Control messages that are to be sent for a port, in this order. */
enum {
	SEND_ADD = 1 << 0,
	SEND_NAME = 1 << 1,
	SEND_CONSOLE = 1 << 2,
	SEND_OPEN = 1 << 3,
	SEND_RESIZE = 1 << 4,
};

struct port {
	struct virtio_console *vc;
	struct console *console;

	pthread_mutex_t lock;
	uint8_t in[INPUT_BYTES]; /* a ring */
	unsigned in_at, in_n;
	bool in_refused;     /* the console has more */
	uint16_t cols, rows; /* changed under the device's event lock, too */

	atomic_bool room;    /* the console takes output again; the main thread sets it */
	atomic_bool resized; /* likewise: the terminal has another size */

	/* The worker's */
	unsigned send; /* SEND_* */
	bool added;    /* the driver knows of the port, */
	bool ready;    /* has set it up, */
	bool open;     /* and has somebody who reads the input; before that Linux throws it away */
	struct virtq_chain *held; /* room for one; @holding: output that the console did not take */
	bool holding;
	uint64_t held_off;
	unsigned retries;
	bool dropping;               /* the reader has stopped */
	uint64_t dropped;            /* bytes that he has not been told of */
	struct loop_source patience; /* timer, runs while holding */
};

struct virtio_console {
	struct virtio_dev dev;
	unsigned n_ports;
	struct loop_source wake; /* eventfd: the main thread has something for the worker */
	struct port port[VIRTIO_CONSOLE_MAX_PORTS];
};

static struct virtio_console *console_of(struct virtio_dev *dev)
{
	return container_of(dev, struct virtio_console, dev);
}

/* Port 0 has queues 0 and 1, then come the control queues. */

static unsigned rx_queue(const struct port *port)
{
	unsigned index = (unsigned)(port - port->vc->port);

	return index ? 2 * index + 2 : 0;
}

static unsigned tx_queue(const struct port *port)
{
	return rx_queue(port) + 1;
}

static struct port *port_of(struct virtio_dev *dev, unsigned queue)
{
	return &console_of(dev)->port[queue < 2 ? 0 : queue / 2 - 1];
}

/* Without MULTIPORT there is port 0, and no message about it. */
static bool multiport(const struct virtio_console *vc)
{
	return virtio_has(&vc->dev, VIRTIO_CONSOLE_F_MULTIPORT);
}

static void wake(struct virtio_console *vc)
{
	eventfd_write(vc->wake.fd, 1);
}

static void clear_fd(int fd)
{
	uint64_t count;

	/* Fails only when there is nothing to clear. */
	if (read(fd, &count, sizeof(count)) < 0)
		return;
}

/* ---- output ---- */

/* Return: how much of the chain's output the console has taken, from @off on; all if it leads
 * nowhere */
static uint64_t put_chain(struct port *port, const struct virtq_chain *chain, uint64_t off)
{
	uint64_t skip = off;

	if (!port->console || port->dropping)
		return chain->out_bytes;
	for (unsigned i = 0; i < chain->n_out; i++) {
		const struct iovec *iov = &chain->iov[i];
		size_t n;

		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		n = console_put(port->console, (uint8_t *)iov->iov_base + skip,
				iov->iov_len - skip);
		off += n;
		if (n < iov->iov_len - skip)
			break;
		skip = 0;
	}
	return off;
}

static void patience_timer(struct port *port, bool on)
{
	const long ns = on ? RETRY_MS * 1000000L : 0;
	const struct itimerspec every = { .it_value.tv_nsec = ns, .it_interval.tv_nsec = ns };

	timerfd_settime(port->patience.fd, 0, &every, NULL);
}

static void hold(struct port *port, uint64_t off)
{
	struct virtio_dev *dev = &port->vc->dev;
	struct virtq_chain *chain = dev->chain;

	dev->chain = port->held;
	port->held = chain;
	port->held_off = off;
	port->retries = 0;
	port->holding = true;
	patience_timer(port, true);
}

static void let_go(struct port *port)
{
	port->holding = false;
	patience_timer(port, false);
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
	off = put_chain(port, dev->chain, 0);
	if (port->dropping)
		port->dropped += dev->chain->out_bytes;
	if (off < dev->chain->out_bytes)
		hold(port, off);
	else
		virtq_push(&dev->queue[index].vq, dev->chain->token, 0);
}

static void tx_serve(struct port *port)
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
	virtq_push(&dev->queue[tx_queue(port)].vq, port->held->token, 0);
	tx_serve(port);
	return true;
}

static void patience_over(struct loop_source *src, uint32_t events)
{
	struct port *port = container_of(src, struct port, patience);

	(void)events;
	clear_fd(src->fd);
	if (!port->holding)
		return;
	if (tx_retry(port)) {
		port->retries = 0;
	} else if (++port->retries == RETRIES) {
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
	console_put(port->console, note, (size_t)n);
}

static void tx_room(struct port *port)
{
	if (port->dropped)
		tell_dropped(port);
	if (port->holding)
		tx_retry(port);
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
	unsigned n = 0;

	for (; n < len && port->in_n < INPUT_BYTES; n++)
		port->in[(port->in_at + port->in_n++) % INPUT_BYTES] = buf[n];
	return n;
}

/* Return: bytes taken; *@ret_wanted: the console may give more */
static size_t input_take(struct port *port, uint8_t *buf, uint64_t cap, bool *ret_wanted)
{
	size_t n = 0;

	pthread_mutex_lock(&port->lock);
	for (; n < cap && port->in_n; n++, port->in_n--) {
		buf[n] = port->in[port->in_at];
		port->in_at = (port->in_at + 1) % INPUT_BYTES;
	}
	*ret_wanted = port->in_refused && !port->in_n;
	pthread_mutex_unlock(&port->lock);
	return n;
}

static void rx_one(struct virtio_dev *dev, unsigned index)
{
	struct port *port = port_of(dev, index);
	const struct virtq_chain *chain = dev->chain;
	uint8_t buf[512];
	bool wanted;
	size_t n;

	if (chain->n_out || !chain->in_bytes) {
		virtio_break(dev, "not a buffer to write to on receive queue %u", index);
		return;
	}
	n = input_take(port, buf, chain->in_bytes < sizeof(buf) ? chain->in_bytes : sizeof(buf),
		       &wanted);
	virtq_push(&dev->queue[index].vq, chain->token, (uint32_t)virtq_write(chain, 0, buf, n));
	if (wanted)
		console_input_wanted(port->console);
}

static void rx_serve(struct port *port)
{
	virtio_serve_while(&port->vc->dev, rx_queue(port), rx_more, rx_one);
}

/* ---- control messages ---- */

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
		return CONTROL_BYTES +
		       (size_t)snprintf(ret->name, sizeof(ret->name), "lkvm.tty%u", ret->head.id);
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
	virtq_push(&dev->queue[index].vq, chain->token, (uint32_t)virtq_write(chain, 0, &msg, len));
}

static void control_send(struct virtio_console *vc)
{
	if (multiport(vc))
		virtio_serve_while(&vc->dev, CONTROL_RX, control_more, control_send_one);
}

static void ask_resize(struct port *port)
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
	port->send |= SEND_NAME | SEND_CONSOLE | SEND_OPEN;
	ask_resize(port);
}

static void port_is_open(struct port *port, bool open)
{
	port->open = port->ready && open;
	rx_serve(port);
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
	virtq_push(&dev->queue[index].vq, chain->token, 0);
	control_event(console_of(dev), &msg);
}

/* ---- the console's end: main thread ---- */

static size_t input(void *ctx, const uint8_t *buf, size_t len)
{
	struct port *port = ctx;
	unsigned n;

	pthread_mutex_lock(&port->lock);
	n = input_put(port, buf, len);
	port->in_refused = n < len;
	pthread_mutex_unlock(&port->lock);
	wake(port->vc);
	return n;
}

static void writable(void *ctx)
{
	struct port *port = ctx;

	atomic_store(&port->room, true);
	wake(port->vc);
}

static void resize(void *ctx, uint16_t cols, uint16_t rows)
{
	struct port *port = ctx;

	if (cols == port->cols && rows == port->rows)
		return;
	virtio_config_begin(&port->vc->dev);
	pthread_mutex_lock(&port->lock);
	port->cols = cols;
	port->rows = rows;
	pthread_mutex_unlock(&port->lock);
	virtio_config_end(&port->vc->dev);
	atomic_store(&port->resized, true);
	wake(port->vc);
}

/* ---- the device ---- */

static void woken(struct loop_source *src, uint32_t events)
{
	struct virtio_console *vc = container_of(src, struct virtio_console, wake);

	(void)events;
	clear_fd(src->fd);
	for (unsigned i = 0; i < vc->n_ports; i++) {
		struct port *port = &vc->port[i];

		if (atomic_exchange(&port->room, false))
			tx_room(port);
		if (atomic_exchange(&port->resized, false))
			ask_resize(port);
		rx_serve(port);
	}
	control_send(vc);
}

static void kick(struct virtio_dev *dev, unsigned index)
{
	if (index >= CONTROL_RX && !multiport(console_of(dev)))
		return; /* a queue that this driver knows nothing of */
	if (index == CONTROL_TX)
		virtio_serve(dev, index, control_one);
	if (index == CONTROL_TX || index == CONTROL_RX)
		control_send(console_of(dev));
	else if (index & 1)
		tx_serve(port_of(dev, index));
	else
		rx_serve(port_of(dev, index));
}

static int activate(struct virtio_dev *dev)
{
	struct virtio_console *vc = console_of(dev);
	int err = loop_add(&dev->loop, &vc->wake, EPOLLIN);

	for (unsigned i = 0; !err && i < vc->n_ports; i++)
		err = loop_add(&dev->loop, &vc->port[i].patience, EPOLLIN);
	if (!multiport(vc) && virtio_has(dev, VIRTIO_CONSOLE_F_SIZE)) {
		virtio_config_begin(dev); /* Linux reads the size when it is told of a change */
		virtio_config_end(dev);
	}
	return err;
}

/* What is held is lost with its queue, except for what the console takes at once. */
static void drop_held(struct port *port)
{
	struct virtio_dev *dev = &port->vc->dev;

	if (!port->holding)
		return;
	port->dropped += port->held->out_bytes - put_chain(port, port->held, port->held_off);
	let_go(port);
	virtq_push(&dev->queue[tx_queue(port)].vq, port->held->token, 0);
	virtio_complete(dev, tx_queue(port));
}

static void drain(struct virtio_dev *dev, int index)
{
	struct virtio_console *vc = console_of(dev);

	for (unsigned i = 0; i < vc->n_ports; i++) {
		struct port *port = &vc->port[i];

		if (index < 0) {
			tx_serve(port); /* the guest's last words */
			loop_del(&dev->loop, &port->patience);
		}
		if (index < 0 || (unsigned)index == tx_queue(port))
			drop_held(port);
	}
	if (index < 0)
		loop_del(&dev->loop, &vc->wake);
}

static void reset(struct virtio_dev *dev)
{
	struct virtio_console *vc = console_of(dev);

	for (unsigned i = 0; i < vc->n_ports; i++) {
		vc->port[i].send = 0;
		vc->port[i].added = vc->port[i].ready = vc->port[i].open = false;
	}
}

static uint64_t config_read(struct virtio_dev *dev, unsigned off, unsigned width)
{
	const struct virtio_console *vc = console_of(dev);
	const struct virtio_console_config config = { .cols = vc->port[0].cols,
						      .rows = vc->port[0].rows,
						      .max_nr_ports = vc->n_ports };

	return access_get((const uint8_t *)&config + off, width);
}

/* A byte that gets out before there is a driver; what finds no room is lost. */
static void config_write(struct virtio_dev *dev, unsigned off, unsigned width, uint64_t value)
{
	struct console *console = console_of(dev)->port[0].console;
	uint8_t byte = (uint8_t)value;

	(void)width;
	if (off == offsetof(struct virtio_console_config, emerg_wr) && console)
		console_put(console, &byte, 1);
}

static const struct virtio_type console_type = {
	.name = "console",
	.id = VIRTIO_ID_CONSOLE,
	.queue_size = QUEUE_SIZE,
	.activate = activate,
	.kick = kick,
	.drain = drain,
	.reset = reset,
	.config_read = config_read,
	.config_write = config_write,
};

/* ---- life ---- */

static void port_prepare(struct port *port, struct virtio_console *vc)
{
	port->vc = vc;
	pthread_mutex_init(&port->lock, NULL);
	port->patience = (struct loop_source){ -1, patience_over };
}

static int port_open(struct port *port, struct console *console)
{
	const struct console_device end = {
		.input = input,
		.writable = writable,
		.break_key = SYSRQ_KEY,
		.resize = resize,
		.dev = port,
	};

	port->held = malloc(sizeof(*port->held));
	if (!port->held)
		return -ENOMEM;
	port->patience.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (port->patience.fd < 0)
		return -errno;
	port->console = console;
	if (console)
		console_attach(console, &end);
	return 0;
}

static void port_close(struct port *port)
{
	if (port->dropped) /* he has not read again */
		log_warn("%s: port %u: %" PRIu64 " bytes of output dropped", port->vc->dev.name,
			 (unsigned)(port - port->vc->port), port->dropped);
	if (port->console)
		console_attach(port->console, NULL);
	if (port->patience.fd >= 0)
		close(port->patience.fd);
	free(port->held);
	pthread_mutex_destroy(&port->lock);
}

static int open_all(struct virtio_console *vc, struct console *const *console)
{
	int err = virtio_init(&vc->dev);

	if (err)
		return err;
	vc->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vc->wake.fd < 0)
		return -errno;
	for (unsigned i = 0; !err && i < vc->n_ports; i++)
		err = port_open(&vc->port[i], console[i]);
	return err;
}

static uint64_t offered(const struct virtio_console_setup *setup)
{
	uint64_t features = 1ULL << VIRTIO_CONSOLE_F_SIZE | 1ULL << VIRTIO_CONSOLE_F_EMERG_WRITE;

	if (setup->multiport)
		features |= 1ULL << VIRTIO_CONSOLE_F_MULTIPORT;
	return features;
}

int virtio_console_new(const struct ram *ram, const char *name,
		       const struct virtio_console_setup *setup, struct virtio_dev **ret)
{
	struct virtio_console *vc = calloc(1, sizeof(*vc));
	const unsigned n_ports = setup->n_ports;
	int err;

	assert(n_ports >= 1 && n_ports <= VIRTIO_CONSOLE_MAX_PORTS);
	assert(n_ports == 1 || setup->multiport);
	if (!vc)
		return -ENOMEM;
	vc->n_ports = n_ports;
	vc->wake = (struct loop_source){ -1, woken };
	for (unsigned i = 0; i < n_ports; i++)
		port_prepare(&vc->port[i], vc);
	vc->dev = (struct virtio_dev){
		.type = &console_type,
		.name = name,
		.ram = ram,
		.n_queues = setup->multiport ? 2 * (n_ports + 1) : 2,
		.config_bytes = sizeof(struct virtio_console_config),
		.device_features = offered(setup),
	};
	err = open_all(vc, setup->console);
	if (err) {
		virtio_console_free(&vc->dev);
		return err;
	}
	*ret = &vc->dev;
	return 0;
}

void virtio_console_free(struct virtio_dev *dev)
{
	struct virtio_console *vc;

	if (!dev)
		return;
	vc = console_of(dev);
	virtio_fini(dev); /* joins the worker, who uses all that follows */
	for (unsigned i = 0; i < vc->n_ports; i++)
		port_close(&vc->port[i]);
	if (vc->wake.fd >= 0)
		close(vc->wake.fd);
	free(vc);
}
