/*
 * pvpanic: the port on which a guest kernel reports its own panic. A read tells which events the
 * host understands, a write names the events that happened. Without state, so without a lock.
 * hw/pvpanic-pci.c is the same on PCI.
 */
#include <misc/pvpanic.h>

#include "lkvm/chips.h"

struct pvpanic {
	struct device_env env;
};

static uint64_t pvpanic_read(void *dev, uint64_t off, unsigned len)
{
	(void)dev, (void)len;
	return off ? UINT64_MAX : bus_byte(PVPANIC_EVENTS);
}

void pvpanic_event(const struct board *board, uint8_t events)
{
	/* The guest goes on into its crash kernel, which ends the run in its own way. */
	if (events & PVPANIC_CRASH_LOADED)
		board->ops->note_panic(board->ctx);
	if (events & PVPANIC_PANICKED)
		board_stop(board, STOP_PANIC, 0);
}

static void pvpanic_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	const struct pvpanic *p = dev;

	(void)len;
	if (off == 0)
		pvpanic_event(&p->env.board, (uint8_t)value);
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
