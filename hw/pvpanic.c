/*
 * pvpanic: the port on which a guest kernel reports its own panic. A read tells which events the
 * host understands, a write names the events that happened. Without state, so without a lock.
 */
#include <misc/pvpanic.h>
#include <string.h>

#include "lkvm/chips.h"
#include "lkvm/log.h"

struct pvpanic {
	struct device_env env;
};

static void pvpanic_read(void *dev, uint64_t off, void *data, unsigned len)
{
	(void)dev;
	memset(data, 0xff, len);
	if (off == 0)
		*(uint8_t *)data = PVPANIC_PANICKED | PVPANIC_CRASH_LOADED;
}

static void pvpanic_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct pvpanic *p = dev;
	uint8_t events = *(const uint8_t *)data;

	(void)len;
	if (off != 0)
		return;
	/* The guest goes on into its crash kernel, which ends the run in its own way. */
	if (events & PVPANIC_CRASH_LOADED)
		log_debug(LOG_DEVICE, "pvpanic: the guest panicked and starts its crash kernel");
	if (events & PVPANIC_PANICKED)
		p->env.stop(p->env.machine, STOP_PANIC, 0);
}

static int pvpanic_init(void *dev, const struct device_env *env)
{
	struct pvpanic *p = dev;

	p->env = *env;
	return 0;
}

const struct device_type pvpanic_type = {
	.name = "pvpanic",
	.size = sizeof(struct pvpanic),
	.io = { .read = pvpanic_read, .write = pvpanic_write },
	.init = pvpanic_init,
};
