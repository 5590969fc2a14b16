/*
 * A target of gdb's protocol without a machine: two CPUs, four registers of 8, 4, 10 and 16 bytes, 256 bytes of
 * memory at 0x1000. The third register of CPU 1 cannot be had.
 */
#ifndef TESTS_GDB_TARGET_H
#define TESTS_GDB_TARGET_H

#include <errno.h>
#include <string.h>

#include "lkvm/gdb/stub.h"
#include "lkvm/types.h"

#define FAKE_CPUS 2
#define FAKE_REGS 4
#define FAKE_AT	  0x1000
#define FAKE_SIZE 256
#define FAKE_MUCH 150000 /* bytes that the monitor command "much" says */

static const unsigned fake_reg_bytes[FAKE_REGS] = { 8, 4, 10, 16 };

struct fake_target {
	struct gdb_stub *stub;
	uint8_t reg[FAKE_CPUS][FAKE_REGS][GDB_REG_BYTES];
	uint8_t memory[FAKE_SIZE];
	bool physical; /* of the last access */
	unsigned cpu;  /* likewise */
	unsigned n_points, n_resumed, n_interrupts, n_ends;
	struct { enum gdb_point_kind kind; uint64_t at, n; } point;
	struct gdb_action action[FAKE_CPUS];
	int resume_err;
	bool stop_at_once;
	enum gdb_end end;
	bool has_offset;
	char line[256];
};

static unsigned fake_get_reg(void *ctx, unsigned cpu, unsigned reg, uint8_t ret[GDB_REG_BYTES])
{
	struct fake_target *f = ctx;

	if (reg >= FAKE_REGS || (cpu == 1 && reg == 2))
		return 0;
	memcpy(ret, f->reg[cpu][reg], GDB_REG_BYTES);
	return fake_reg_bytes[reg];
}

static unsigned fake_bytes(void *ctx, unsigned reg)
{
	(void)ctx;
	return reg < FAKE_REGS ? fake_reg_bytes[reg] : 0;
}

static int fake_set_reg(void *ctx, unsigned cpu, unsigned reg, const uint8_t *value, size_t n)
{
	struct fake_target *f = ctx;

	if (n != fake_reg_bytes[reg])
		return -EINVAL;
	memcpy(f->reg[cpu][reg], value, n);
	return 0;
}

static size_t fake_there(struct fake_target *f, unsigned cpu, bool physical, uint64_t at, size_t n)
{
	f->physical = physical;
	f->cpu = cpu;
	if (at < FAKE_AT || at - FAKE_AT >= FAKE_SIZE)
		return 0;
	return n < FAKE_SIZE - (at - FAKE_AT) ? n : FAKE_SIZE - (size_t)(at - FAKE_AT);
}

static size_t fake_read(void *ctx, unsigned cpu, bool physical, uint64_t at, void *dst, size_t n)
{
	struct fake_target *f = ctx;

	n = fake_there(f, cpu, physical, at, n);
	if (n)
		memcpy(dst, f->memory + (at - FAKE_AT), n);
	return n;
}

static size_t fake_write(void *ctx, unsigned cpu, bool physical, uint64_t at, const void *src, size_t n)
{
	struct fake_target *f = ctx;

	n = fake_there(f, cpu, physical, at, n);
	if (n)
		memcpy(f->memory + (at - FAKE_AT), src, n);
	return n;
}

static int fake_insert(void *ctx, unsigned cpu, enum gdb_point_kind kind, uint64_t at, uint64_t n)
{
	struct fake_target *f = ctx;

	f->cpu = cpu;
	if (at == 0xbad)
		return -EFAULT;
	f->point.kind = kind;
	f->point.at = at;
	f->point.n = n;
	f->n_points++;
	return 0;
}

static int fake_remove(void *ctx, unsigned cpu, enum gdb_point_kind kind, uint64_t at, uint64_t n)
{
	struct fake_target *f = ctx;

	(void)cpu, (void)kind, (void)n;
	if (at == 0xbad)
		return -ENOENT;
	f->n_points--;
	return 0;
}

static int fake_resume(void *ctx, const struct gdb_action *action)
{
	static const struct gdb_stop stop = { .cpu = 1, .signal = GDB_TRAP };
	struct fake_target *f = ctx;

	memcpy(f->action, action, sizeof(f->action));
	if (f->resume_err)
		return f->resume_err;
	f->n_resumed++;
	if (f->stop_at_once)
		gdb_stub_stopped(f->stub, &stop);
	return 0;
}

static void fake_interrupt(void *ctx)
{
	static const struct gdb_stop stop = { .cpu = 0, .signal = GDB_INT };
	struct fake_target *f = ctx;

	f->n_interrupts++;
	gdb_stub_stopped(f->stub, &stop);
}

static char *fake_document(void *ctx, const char *name)
{
	(void)ctx;
	return strdup(name);
}

static bool fake_offset(void *ctx, uint64_t *ret)
{
	const struct fake_target *f = ctx;

	*ret = 0x12345000;
	return f->has_offset;
}

static void fake_describe(void *ctx, unsigned cpu, char *ret, size_t cap)
{
	(void)ctx;
	snprintf(ret, cap, "CPU %u", cpu);
}

static int fake_monitor(void *ctx, unsigned cpu, const char *line, FILE *out)
{
	struct fake_target *f = ctx;

	f->cpu = cpu;
	snprintf(f->line, sizeof(f->line), "%s", line);
	if (!strcmp(line, "say"))
		fprintf(out, "hi");
	for (unsigned i = 0; !strcmp(line, "much") && i < FAKE_MUCH; i++)
		fputc('a' + (int)(i % 26), out);
	if (!strcmp(line, "later"))
		return GDB_LATER;
	return strcmp(line, "fail") ? 0 : -EIO;
}

static void fake_end(void *ctx, enum gdb_end how)
{
	struct fake_target *f = ctx;

	f->n_ends++;
	f->end = how;
}

static const uint8_t fake_told[] = { 1 };
static const struct gdb_target fake_type = {
	.cpus = FAKE_CPUS, .n_regs = FAKE_REGS, .told = fake_told, .n_told = ARRAY_SIZE(fake_told),
	.reg_bytes = fake_bytes, .get_reg = fake_get_reg, .set_reg = fake_set_reg, .read = fake_read, .write = fake_write,
	.insert = fake_insert, .remove = fake_remove, .resume = fake_resume, .interrupt = fake_interrupt,
	.document = fake_document, .offset = fake_offset, .describe = fake_describe, .monitor = fake_monitor,
	.end = fake_end,
};

/* Registers and memory that can be told apart. Return: its stub, the caller's */
static struct gdb_stub *fake_target_new(struct fake_target *f)
{
	static const struct gdb_stop first = { .signal = GDB_TRAP };

	memset(f, 0, sizeof(*f));
	for (unsigned i = 0; i < FAKE_SIZE; i++)
		f->memory[i] = (uint8_t)i;
	for (unsigned cpu = 0; cpu < FAKE_CPUS; cpu++)
		for (unsigned reg = 0; reg < FAKE_REGS; reg++)
			memset(f->reg[cpu][reg], (int)(0x10 * (cpu + 1) + reg), GDB_REG_BYTES);
	f->stub = gdb_stub_new(&fake_type, f, &first);
	return f->stub;
}

#endif
