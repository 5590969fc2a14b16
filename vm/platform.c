/*
 * The chips of the x86 machine, as vm/hardware.c lists them. PIC, IOAPIC, LAPIC and PIT are the
 * kernel's.
 */
#include "lkvm/vm/platform.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lkvm/chips.h"
#include "lkvm/log.h"
#include "lkvm/vm/hardware.h"

/* Chips may share a GSI: each is a source of its own on it. */
_Static_assert(LINE_SOURCE_CHIP + HW_MAX_ROWS <= LINE_SOURCES, "too few sources of a line");

struct platform {
	struct hardware hw;
	void *dev[HW_MAX_ROWS]; /* NULL: not a chip of ours */
};

static struct device_env environment(const struct platform_env *on, const struct hw_row *row,
				     unsigned source)
{
	return (struct device_env){
		.irq = { on->board.ops->line, on->board.ctx, row->gsi, source },
		.board = on->board,
		.ram = on->kvm->ram,
		.loop = on->loop,
		.ram_bytes = on->config->ram.size_bytes,
		.console = row->tty ? on->console[row->tty - 1] : NULL,
		.config = row->config,
	};
}

static struct bus_range range_of(const struct hw_row *row, void *dev, uint64_t base, uint64_t size,
				 uint64_t off_base)
{
	return (struct bus_range){
		.base = base,
		.size = size,
		.off_base = off_base,
		.ops = &row->type->io,
		.dev = dev,
		.name = row->type->name,
		.gsi = row->gsi,
	};
}

static int put_memory(struct bus *mmio, const struct hw_row *row, void *dev, uint64_t off_base)
{
	struct bus_range range = range_of(row, dev, row->memory.base, row->memory.size, off_base);
	int err = range.size ? bus_add(mmio, &range) : 0;

	return err ? log_err(err, "memory of %s", range.name) : 0;
}

static int put_on_bus(struct kvm *kvm, const struct hw_row *row, void *dev)
{
	uint64_t off_base = 0;

	for (unsigned n = 0; n < HW_PORTS && row->port[n].size; n++) {
		struct bus_range range = range_of(row, dev, row->port[n].base, row->port[n].size,
						  off_base);
		int err = bus_add(&kvm->pio, &range);

		if (err == -EEXIST)
			return log_errx(err, "port 0x%x of %s belongs to another device",
					row->port[n].base, range.name);
		if (err)
			return log_err(err, "port 0x%x of %s", row->port[n].base, range.name);
		off_base += row->port[n].size;
	}
	return put_memory(&kvm->mmio, row, dev, off_base);
}

static int add_chip(struct platform *p, const struct platform_env *on, unsigned i)
{
	const struct hw_row *row = &p->hw.row[i];
	struct device_env env = environment(on, row, LINE_SOURCE_CHIP + i);
	int err;

	if (!row->type)
		return 0;
	p->dev[i] = calloc(1, row->type->size);
	if (!p->dev[i])
		return log_err(-ENOMEM, "%s", row->type->name);
	err = row->type->init(p->dev[i], &env);
	if (err)
		return log_err(err, "%s", row->type->name);
	return put_on_bus(on->kvm, row, p->dev[i]);
}

int platform_new(const struct platform_env *env, struct platform **ret)
{
	struct platform *p = calloc(1, sizeof(*p));

	if (!p)
		return log_err(-ENOMEM, "platform");
	hardware_of(env->config, &p->hw);
	for (unsigned i = 0; i < p->hw.n_rows; i++) {
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
	for (unsigned i = 0; p && i < p->hw.n_rows; i++) {
		if (p->dev[i] && p->hw.row[i].type->fini)
			p->hw.row[i].type->fini(p->dev[i]);
		free(p->dev[i]);
	}
	free(p);
}

/* How many rows in front of @i have the same type of chip */
static unsigned same_before(const struct platform *p, unsigned i)
{
	unsigned n = 0;

	for (unsigned j = 0; j < i; j++)
		n += p->hw.row[j].type == p->hw.row[i].type;
	return n;
}

int platform_each_state(struct platform *p,
			int (*visit)(void *ctx, const char *name, const struct state_type *type, void *dev),
			void *ctx)
{
	int err = 0;

	for (unsigned i = 0; !err && i < p->hw.n_rows; i++) {
		const struct device_type *type = p->hw.row[i].type;
		char name[64];

		if (!type || !type->state)
			continue;
		snprintf(name, sizeof(name), "%s%u", type->name, same_before(p, i));
		err = visit(ctx, name, type->state, p->dev[i]);
	}
	return err;
}

int platform_restored(struct platform *p)
{
	for (unsigned i = 0; i < p->hw.n_rows; i++) {
		const struct device_type *type = p->hw.row[i].type;
		int err = type && type->restored ? type->restored(p->dev[i]) : 0;

		if (err)
			return log_err(err, "%s", type->name);
	}
	return 0;
}

void platform_rtc(struct platform *p, struct rtc_view *ret)
{
	for (unsigned i = 0; i < p->hw.n_rows; i++)
		if (p->hw.row[i].type == &rtc_type)
			rtc_look(p->dev[i], ret);
}

static void *find(struct platform *p, const struct device_type *type)
{
	for (unsigned i = 0; i < p->hw.n_rows; i++)
		if (p->hw.row[i].type == type)
			return p->dev[i];
	return NULL;
}

void *platform_fw_cfg(struct platform *p)
{
	return find(p, &fw_cfg_type);
}

void *platform_ramfb(struct platform *p)
{
	return find(p, &ramfb_type);
}

bool platform_power_button(struct platform *p)
{
	return power_button(p->dev[hw_find(&p->hw, HW_POWER) - p->hw.row]);
}
