/*
 * Ports for a few words from the guest while nothing else works: 0x80 (POST codes), 0xe9 (as in
 * Bochs) and 0x402 (as in QEMU's debugcon). What is written there is shown with `--debug device`;
 * without that topic a port is as good as absent, and as quick: Linux writes to 0x80 for its I/O
 * delays. Without state: the line that is put together is the host's, a guest sees nothing of it.
 */
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "lkvm/chips.h"
#include "lkvm/log.h"
#include "lkvm/types.h"

#define LINE_BYTES 128

struct debug_port {
	pthread_mutex_t lock;
	const struct debug_port_config *config;
	unsigned len;
	char line[LINE_BYTES];
};

static void flush_line(struct debug_port *d)
{
	if (d->len)
		log_debug(LOG_DEVICE, "port %s: %.*s", d->config->name, (int)d->len, d->line);
	d->len = 0;
}

/* The guest's bytes go to a terminal, so only what is harmless there is shown as it is. */
static void put_byte(struct debug_port *d, uint8_t byte)
{
	const char *format = byte < 0x80 && isprint(byte) ? "%c" : "\\x%02x";
	char text[8];
	unsigned n;

	if (byte == '\n') {
		flush_line(d);
		return;
	}
	if (byte == '\r')
		return;
	n = (unsigned)snprintf(text, sizeof(text), format, byte);
	if (n > LINE_BYTES - d->len)
		flush_line(d);
	memcpy(d->line + d->len, text, n);
	d->len += n;
}

static uint64_t debug_port_read(void *dev, uint64_t off, unsigned len)
{
	const struct debug_port *d = dev;

	(void)off, (void)len;
	return bus_byte(log_topic_on(LOG_DEVICE) ? d->config->present : 0xff);
}

static void debug_port_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	struct debug_port *d = dev;

	(void)off;
	if (!log_topic_on(LOG_DEVICE))
		return;
	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < len; i++)
		put_byte(d, (uint8_t)(value >> 8 * i));
	pthread_mutex_unlock(&d->lock);
}

static int debug_port_init(void *dev, const struct device_env *env)
{
	struct debug_port *d = dev;

	d->config = env->config;
	return -pthread_mutex_init(&d->lock, NULL);
}

static void debug_port_fini(void *dev)
{
	struct debug_port *d = dev;

	flush_line(d);
	pthread_mutex_destroy(&d->lock);
}

const struct device_type debug_port_type = {
	.name = "debug-port",
	.size = sizeof(struct debug_port),
	.io = { .read = debug_port_read, .write = debug_port_write },
	.init = debug_port_init,
	.fini = debug_port_fini,
};
