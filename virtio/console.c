/* virtio console: the device; see virtio-console.h. */
#include "console-internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "lkvm/access.h"
#include "lkvm/event.h"

#define QUEUE_SIZE 64
#define SYSRQ_KEY  0x0f /* Ctrl-O: what a break is on Linux's hvc */
#define INPUT_BYTES 4096 /* of a console */

static void wake(struct virtio_console *vc)
{
	event_signal(vc->wake.fd);
}

/* ---- ports that are consoles ---- */

static size_t console_end_put(void *end, const void *buf, size_t len)
{
	return console_put(end, buf, len);
}

static void console_end_wanted(void *end)
{
	console_input_wanted(end);
}

static void console_end_attach(void *end, const struct console_device *port)
{
	console_attach(end, port);
}

static const struct virtio_port_ops console_end = {
	.in_bytes = INPUT_BYTES,
	.put = console_end_put,
	.input_wanted = console_end_wanted,
	.attach = console_end_attach,
};

struct virtio_port virtio_port_console(struct console *console)
{
	return (struct virtio_port){ &console_end, console };
}

/* ---- the other end: main thread ---- */

static size_t input(void *ctx, const uint8_t *buf, size_t len)
{
	struct port *port = ctx;
	size_t n = port_input(port, buf, len);

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

static void serve_host(struct virtio_console *vc)
{
	for (unsigned i = 0; i < vc->n_ports; i++) {
		struct port *port = &vc->port[i];

		if (atomic_exchange(&port->room, false))
			port_tx_room(port);
		if (atomic_exchange(&port->resized, false))
			control_resized(port);
		port_rx_serve(port);
	}
	control_send(vc);
}

static void woken(struct loop_source *src, uint32_t events)
{
	struct virtio_console *vc = container_of(src, struct virtio_console, wake);

	(void)events;
	event_clear(src->fd);
	if (!vc->dev.parked)
		serve_host(vc);
}

static void kick(struct virtio_dev *dev, unsigned index)
{
	if (index >= CONTROL_RX && !multiport(console_of(dev)))
		return; /* a queue that this driver knows nothing of */
	if (index == CONTROL_TX)
		control_serve(console_of(dev));
	if (index == CONTROL_TX || index == CONTROL_RX)
		control_send(console_of(dev));
	else if (index & 1)
		port_tx_serve(port_of(dev, index));
	else
		port_rx_serve(port_of(dev, index));
}

static int activate(struct virtio_dev *dev)
{
	struct virtio_console *vc = console_of(dev);
	int err = loop_add(&dev->loop, &vc->wake, EPOLLIN);

	for (unsigned i = 0; !err && i < vc->n_ports; i++) {
		timer_init(&vc->port[i].patience, &dev->loop, CLOCK_MONOTONIC, port_patience_over);
		err = timer_open(&vc->port[i].patience);
	}
	if (!multiport(vc) && virtio_has(dev, VIRTIO_CONSOLE_F_SIZE)) {
		virtio_config_begin(dev); /* Linux reads the size when it is told of a change */
		virtio_config_end(dev);
	}
	return err;
}

static void drain(struct virtio_dev *dev, int index)
{
	struct virtio_console *vc = console_of(dev);

	for (unsigned i = 0; i < vc->n_ports; i++) {
		struct port *port = &vc->port[i];

		if (index < 0) {
			port_tx_serve(port); /* the guest's last words */
			timer_fini(&port->patience);
		}
		if (index < 0 || (unsigned)index == tx_queue(port))
			port_drop_held(port);
	}
	if (index < 0)
		loop_del(&dev->loop, &vc->wake);
}

/* What the host wants meanwhile stays noted where it has noted it. */
static void hold(struct virtio_dev *dev, bool on)
{
	struct virtio_console *vc = console_of(dev);

	for (unsigned i = 0; i < vc->n_ports; i++)
		port_hold(&vc->port[i], on);
	if (!on)
		serve_host(vc);
}

static void reset(struct virtio_dev *dev)
{
	struct virtio_console *vc = console_of(dev);

	for (unsigned i = 0; i < vc->n_ports; i++) {
		vc->port[i].send = 0;
		vc->port[i].taken_off = 0;
		vc->port[i].added = vc->port[i].ready = false;
		port_opened(&vc->port[i], false);
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
	struct port *port = &console_of(dev)->port[0];
	uint8_t byte = (uint8_t)value;

	(void)width;
	if (off == offsetof(struct virtio_console_config, emerg_wr) && port->end && !port->ops->name)
		port->ops->put(port->end, &byte, 1);
}

static void describe(unsigned index, const struct virtq_chain *c, struct virtio_asked *ret)
{
	(void)c;
	if (index == CONTROL_RX || index == CONTROL_TX)
		ret->what = "control";
	else
		ret->what = index % 2 ? "output" : "input";
}

static const struct virtio_type console_type = {
	.name = "console",
	.id = VIRTIO_ID_CONSOLE,
	.queue_size = QUEUE_SIZE,
	.activate = activate,
	.kick = kick,
	.describe = describe,
	.drain = drain,
	.hold = hold,
	.reset = reset,
	.config_read = config_read,
	.config_write = config_write,
	.state = &console_state_type,
	.retakes = true,
};

/* ---- life ---- */

static void port_prepare(struct port *port, struct virtio_console *vc)
{
	port->vc = vc;
	pthread_mutex_init(&port->lock, NULL);
}

static int port_open(struct port *port, const struct virtio_port *to)
{
	const struct console_device end = {
		.input = input,
		.writable = writable,
		.break_key = SYSRQ_KEY,
		.resize = resize,
		.dev = port,
	};

	assert(to->ops->in_bytes <= VIRTIO_PORT_MAX_INPUT);
	port->ops = to->ops;
	port->held = malloc(sizeof(*port->held));
	port->in = malloc(port->ops->in_bytes);
	if (!port->held || !port->in)
		return -ENOMEM;
	port->end = to->end;
	if (port->end)
		port->ops->attach(port->end, &end);
	return 0;
}

static void port_close(struct port *port)
{
	if (port->dropped) /* he has not read again */
		log_warn("%s: port %u: %" PRIu64 " bytes of output dropped", port->vc->dev.name,
			 (unsigned)(port - port->vc->port), port->dropped);
	if (port->end)
		port->ops->attach(port->end, NULL);
	free(port->held);
	free(port->in);
	pthread_mutex_destroy(&port->lock);
}

static int open_all(struct virtio_console *vc, const struct virtio_port *to)
{
	int err = virtio_init(&vc->dev);

	if (err)
		return err;
	vc->wake.fd = event_open(0);
	if (vc->wake.fd < 0)
		return vc->wake.fd;
	for (unsigned i = 0; !err && i < vc->n_ports; i++)
		err = port_open(&vc->port[i], &to[i]);
	return err;
}

const struct opt_key virtio_console_keys[] = {
	{ "packed", .kind = KEY_FLAG, .offset = offsetof(struct virtio_console_options, packed),
	  .help = "Offer packed virtqueues, for the development of drivers." },
	KEYS_END,
};

static uint64_t offered(const struct virtio_console_setup *setup)
{
	uint64_t features = 1ULL << VIRTIO_CONSOLE_F_SIZE | 1ULL << VIRTIO_CONSOLE_F_EMERG_WRITE;

	if (setup->multiport)
		features |= 1ULL << VIRTIO_CONSOLE_F_MULTIPORT;
	if (setup->options.packed)
		features |= 1ULL << VIRTIO_F_RING_PACKED;
	return features;
}

int virtio_console_new(const struct ram *ram, const char *name,
		       const struct virtio_console_setup *setup, struct virtio_dev **ret)
{
	struct virtio_console *vc = calloc(1, sizeof(*vc));
	const unsigned n_ports = setup->n_ports;
	int err;

	assert(n_ports >= 1 && n_ports <= VIRTIO_CONSOLE_MAX_PORTS);
	assert((n_ports == 1 && !setup->port[0].ops->name) || setup->multiport);
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
	err = open_all(vc, setup->port);
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
