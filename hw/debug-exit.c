/*
 * isa-debug-exit: a write of V by the guest, of any width, to any of the ports ends the run with a
 * status that carries V. Reads give zero. Without state, so without a lock.
 */
#include "lkvm/chips.h"

struct debug_exit {
	struct device_env env;
};

static uint64_t debug_exit_read(void *dev, uint64_t off, unsigned len)
{
	(void)dev, (void)off, (void)len;
	return 0;
}

static void debug_exit_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	struct debug_exit *d = dev;

	(void)off, (void)len;
	board_stop(&d->env.board, STOP_DEBUG_EXIT, (uint32_t)value);
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
