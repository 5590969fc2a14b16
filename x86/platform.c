/*
 * The chips of the x86 machine. PIC, IOAPIC, LAPIC and PIT are the kernel's; all others are here.
 *
 * To add a chip: a const struct device_type in hw/, and one line in chips[].
 */
#include "lkvm/x86/platform.h"

#include <errno.h>
#include <stdlib.h>

#include "lkvm/chips.h"
#include "lkvm/log.h"
#include "lkvm/x86/layout.h"

#define NO_GSI -1

struct port_range {
	uint16_t base;
	uint16_t size;
};

struct chip {
	const struct device_type *type;
	struct port_range ports[2]; /* the second may be empty */
	int gsi;
	/* Chips of the command line: false if it is not wanted; may move *@ports. */
	bool (*wanted)(const struct vm_config *cfg, struct port_range *ports);
};

static bool debug_exit_wanted(const struct vm_config *cfg, struct port_range *ports)
{
	ports->base = cfg->debug_exit_port;
	return cfg->has_debug_exit;
}

/* THE list. */
static const struct chip chips[] = {
	{ &serial_type, { { PORT_COM1, 8 } }, GSI_COM1, NULL },
	{ &serial_type, { { PORT_COM2, 8 } }, GSI_COM2, NULL },
	{ &serial_type, { { PORT_COM3, 8 } }, GSI_COM1, NULL },
	{ &serial_type, { { PORT_COM4, 8 } }, GSI_COM2, NULL },
	{ &rtc_type, { { PORT_RTC, 2 } }, GSI_RTC, NULL },
	{ &i8042_type, { { PORT_I8042_DATA, 1 }, { PORT_I8042_CMD, 1 } }, GSI_KEYBOARD, NULL },
	{ &power_type, { { PORT_POWER, POWER_SIZE } }, GSI_SCI, NULL },
	{ &pvpanic_type, { { PORT_PVPANIC, 1 } }, NO_GSI, NULL },
	{ &debug_exit_type, { { PORT_DEBUG_EXIT, 4 } }, NO_GSI, debug_exit_wanted },
	{ &debug_port_type, { { 0x80, 1 } }, NO_GSI, NULL },
	{ &debug_port_type, { { 0xe9, 1 } }, NO_GSI, NULL },
	{ &debug_port_type, { { 0x402, 1 } }, NO_GSI, NULL },
};

/* Chips may share a GSI: each is a source of its own on it. */
_Static_assert(LINE_SOURCE_CHIP + ARRAY_SIZE(chips) <= LINE_SOURCES, "too few sources of a line");

struct platform {
	void *dev[ARRAY_SIZE(chips)]; /* NULL: not wanted */
};

static unsigned index_of_type(unsigned at)
{
	unsigned n = 0;

	for (unsigned i = 0; i < at; i++)
		n += chips[i].type == chips[at].type;
	return n;
}

static struct device_env environment(const struct platform_env *on, unsigned i)
{
	struct device_env env = {
		.stop = kvm_stop,
		.machine = on->kvm,
		.loop = on->loop,
		.config = on->config,
		.index = index_of_type(i),
	};

	if (chips[i].type == &serial_type)
		env.console = on->console[env.index];
	if (chips[i].gsi != NO_GSI)
		env.irq = (struct irq_line){ on->machine.ops->line, on->machine.ctx,
					     (unsigned)chips[i].gsi, LINE_SOURCE_CHIP + i };
	return env;
}

static int put_on_bus(struct bus *pio, unsigned i, const struct port_range *ports, void *dev)
{
	const struct device_type *type = chips[i].type;
	uint64_t off_base = 0;

	for (unsigned n = 0; n < ARRAY_SIZE(chips[i].ports) && ports[n].size; n++) {
		struct bus_range range = {
			.base = ports[n].base,
			.size = ports[n].size,
			.off_base = off_base,
			.ops = &type->io,
			.dev = dev,
			.name = type->name,
			.gsi = chips[i].gsi == NO_GSI ? 0 : (unsigned)chips[i].gsi,
		};
		int err = bus_add(pio, &range);

		if (err == -EEXIST)
			return log_errx(err, "port 0x%x of %s belongs to another device",
					ports[n].base, type->name);
		if (err)
			return log_err(err, "port 0x%x of %s", ports[n].base, type->name);
		off_base += ports[n].size;
	}
	return 0;
}

static int add_chip(struct platform *p, const struct platform_env *on, unsigned i)
{
	const struct chip *chip = &chips[i];
	struct port_range ports[ARRAY_SIZE(chip->ports)] = { chip->ports[0], chip->ports[1] };
	struct device_env env = environment(on, i);
	int err;

	if (chip->wanted && !chip->wanted(on->config, ports))
		return 0;
	p->dev[i] = calloc(1, chip->type->size);
	if (!p->dev[i])
		return log_err(-ENOMEM, "%s", chip->type->name);
	err = chip->type->init(p->dev[i], &env);
	if (err)
		return log_err(err, "%s", chip->type->name);
	return put_on_bus(&on->kvm->pio, i, ports, p->dev[i]);
}

int platform_new(const struct platform_env *env, struct platform **ret)
{
	struct platform *p = calloc(1, sizeof(*p));

	if (!p)
		return log_err(-ENOMEM, "platform");
	for (unsigned i = 0; i < ARRAY_SIZE(chips); i++) {
		int err = add_chip(p, env, i);

		if (err) {
			platform_free(p);
			return err;
		}
	}
	*ret = p;
	return 0;
}

void platform_free(struct platform *p)
{
	for (unsigned i = 0; p && i < ARRAY_SIZE(chips); i++) {
		if (p->dev[i] && chips[i].type->fini)
			chips[i].type->fini(p->dev[i]);
		free(p->dev[i]);
	}
	free(p);
}

bool platform_power_button(struct platform *p)
{
	for (unsigned i = 0; i < ARRAY_SIZE(chips); i++)
		if (chips[i].type == &power_type)
			return power_button(p->dev[i]);
	return false;
}
