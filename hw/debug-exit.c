/*
 * isa-debug-exit: a write of V by the guest, of any width, to any of the ports ends the run with a
 * status that carries V. Reads give zero. Without state, so without a lock.
 */
#include <string.h>

#include "lkvm/access.h"
#include "lkvm/chips.h"

struct debug_exit {
	struct device_env env;
};

static void debug_exit_read(void *dev, uint64_t off, void *data, unsigned len)
{
	(void)dev;
	(void)off;
	memset(data, 0, len);
}

static void debug_exit_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct debug_exit *d = dev;

	(void)off;
	d->env.stop(d->env.machine, STOP_DEBUG_EXIT, (uint32_t)access_get(data, len));
}

static int debug_exit_init(void *dev, const struct device_env *env)
{
	struct debug_exit *d = dev;

	d->env = *env;
	return 0;
}

const struct device_type debug_exit_type = {
	.name = "debug-exit",
	.size = sizeof(struct debug_exit),
	.io = { .read = debug_exit_read, .write = debug_exit_write },
	.init = debug_exit_init,
};
