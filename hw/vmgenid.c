/*
 * The generation ID: 128 random bits, which the guest can only read. A guest that goes on from a snapshot
 * finds others there, and is told by an interrupt: it is a copy, and must not use the random numbers
 * that the other copies use. So they are no state: nothing of them is saved. They are written while no
 * vCPU runs, and thus need no lock.
 *
 * Spec: Microsoft, "Virtual Machine Generation ID". It lets the number be in device memory, too, as long
 * as that can be cached, and 8-byte aligned; there nothing that a guest boots can lie on it.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "lkvm/chips.h"

struct vmgenid {
	struct device_env env;
	uint8_t id[VMGENID_BYTES];
};

/* So few bytes come whole, or not at all: getrandom(2). */
static int fill(struct vmgenid *v)
{
	return getrandom(v->id, sizeof(v->id), 0) < 0 ? -errno : 0;
}

static uint64_t vmgenid_read(void *dev, uint64_t off, unsigned len)
{
	const struct vmgenid *v = dev;
	uint64_t value = 0;

	memcpy(&value, v->id + off, len);
	return value;
}

static void vmgenid_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	(void)dev, (void)off, (void)len, (void)value;
}

static int vmgenid_init(void *dev, const struct device_env *env)
{
	struct vmgenid *v = dev;

	v->env = *env;
	return fill(v);
}

/* Edge triggered */
static int vmgenid_restored(void *dev)
{
	struct vmgenid *v = dev;
	int err = fill(v);

	if (err)
		return err;
	irq_set(&v->env.irq, true);
	irq_set(&v->env.irq, false);
	return 0;
}

const struct device_type vmgenid_type = {
	.name = "vmgenid",
	.size = sizeof(struct vmgenid),
	.io = { .read = vmgenid_read, .write = vmgenid_write },
	.init = vmgenid_init,
	.restored = vmgenid_restored,
};
