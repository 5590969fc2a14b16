/* Links: vm/session.o vm/session-command.o vm/session-leave.o vm/session-tell.o vm/session-words.o util/stream.o util/loop.o util/timer.o util/log.o */

/* What the guest's init sends, in pieces of any length, while commands run whose streams stand still or not. */
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "lkvm/console.h"
#include "lkvm/types.h"
#include "lkvm/vm/session.h"

struct console {
	int nothing;
};

void console_attach(struct console *con, const struct console_device *device)
{
	(void)con, (void)device;
}

size_t console_put(struct console *con, const void *buf, size_t len)
{
	(void)con, (void)buf;
	return len / 2;
}

void console_drain(struct console *con, int interrupt_fd, int patience_ms)
{
	(void)con, (void)interrupt_fd, (void)patience_ms;
}

void console_input_wanted(struct console *con)
{
	(void)con;
}

static unsigned lost, running;

static void on_hello(void *ctx, const struct session_hello *hello)
{
	(void)ctx;
	check(memchr(hello->release, '\0', sizeof(hello->release)));
}

static void on_kmsg(void *ctx, const char *record, size_t len)
{
	volatile char sum = 0;

	(void)ctx;
	for (size_t i = 0; i < len; i++)
		sum = (char)(sum + record[i]);
}

static struct session *s;
static bool give_up; /* when it is lost */

static void on_ask(void *ctx)
{
	static const char plan[] = "hostname=x";

	(void)ctx;
	check(!session_plan(s, plan, sizeof(plan)));
	session_wake(s);
}

static void on_lost(void *ctx, const char *why)
{
	(void)ctx, (void)why;
	check(!lost++);
	if (give_up)
		session_give_up(s);
}

static void on_end(void *ctx, const struct session_exit *exit, int output_err)
{
	(void)ctx, (void)exit, (void)output_err;
	check(running--);
}

static unsigned narrow, tries; /* the port takes something now and then only */

static size_t port_input(void *dev, const uint8_t *buf, size_t len)
{
	(void)dev, (void)buf;
	return narrow && ++tries % 4 ? 0 : len < 1000 || !narrow ? len : 1000;
}

static void port_writable(void *dev)
{
	(void)dev;
}

static void run(struct console *tty)
{
	static char *const argv[] = { "true", NULL };
	const struct session_command cmd = { .argv = argv, .fd = { -1, -1, -1 }, .tty = tty, .ended = on_end };

	if (!session_run(s, &cmd, NULL))
		running++;
}

static void say_hello(const struct virtio_port *port)
{
	const struct session_frame head = { .type = SESSION_HELLO, .len = sizeof(struct session_hello) };
	const struct session_hello hello = { .version = SESSION_VERSION, .release = "6.1" };

	port->ops->put(port->end, &head, sizeof(head));
	port->ops->put(port->end, &hello, sizeof(hello));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct console_device device = { .input = port_input, .writable = port_writable };
	struct console tty;
	struct loop loop;
	struct session_setup setup = {
		.loop = &loop, .asked = on_ask, .hello = on_hello, .kmsg = on_kmsg, .lost = on_lost,
	};
	struct virtio_port port;

	lost = running = tries = 0;
	narrow = size ? data[0] & 4 : 0;
	give_up = size && data[0] & 8;
	check(!loop_init(&loop));
	check(!session_new(&setup, &s));
	port = session_port(s);
	port.ops->attach(port.end, &device);
	if (size && data[0] & 1) {
		say_hello(&port);
		loop_once(&loop, 0);
		run(NULL);
		run(&tty);
		if (data[0] & 2)
			session_leave(s, 1);
	}
	for (size_t at = 1; at < size;) {
		size_t len = data[at] % 64 + 1u;

		at++;
		if (len > size - at)
			len = size - at;
		check(port.ops->put(port.end, data + at, len) == len);
		at += len;
		if (narrow)
			port.ops->input_wanted(port.end);
		loop_once(&loop, 0);
	}
	port.ops->opened(port.end, false);
	while (loop_once(&loop, 0) > 0)
		;
	port.ops->attach(port.end, NULL);
	session_free(s);
	loop_fini(&loop);
	return 0;
}
