/* A machine's memory as a debugger has it, and what it is to stop at; see debugger.h. */
#include <errno.h>
#include <string.h>

#include "debugger.h"
#include "lkvm/vm/hold.h"
#include "lkvm/x86/cpu.h"
#include "vm-internal.h"

#define INT3 0xcc

/* ---- memory ---- */

/*
 * By the tables of this CPU. While it is in user space, those of a Linux with page-table isolation lack the kernel,
 * which has tables with both.
 */
static bool translate(struct debugger *d, unsigned cpu, uint64_t at, gpa_t *ret)
{
	const struct linux_guest *kernel = control_linux_seen(&d->vm->control);
	const struct kvm_sregs *sregs = x86_view_sregs(&d->views[cpu]);
	struct walk walk = { 0 };

	if (sregs)
		walk_page_tables(d->vm->ram, sregs, at, &walk);
	if (!walk.mapped && kernel && !kernel->is_physical && at >> 63)
		walk_page_tables(d->vm->ram, &kernel->sregs, at, &walk);
	*ret = walk.gpa;
	return walk.mapped;
}

/* How many of the next @n bytes are together on a page, and where; 0: on none */
static size_t piece(struct debugger *d, unsigned cpu, bool physical, uint64_t at, size_t n, gpa_t *ret)
{
	const size_t left = RAM_PAGE_BYTES - (size_t)(at & (RAM_PAGE_BYTES - 1));

	*ret = GPA(at);
	if (!physical && !translate(d, cpu, at, ret))
		return 0;
	return n < left ? n : left;
}

/* The byte of @n from @at on which point @i is at; NULL: it is at none */
static uint8_t *covered(const struct debugger *d, unsigned i, gpa_t at, uint8_t *bytes, size_t n)
{
	const uint64_t off = d->points[i].gpa.v - at.v;

	return d->points[i].gpa.v >= at.v && off < n ? bytes + off : NULL;
}

static void hide_points(const struct debugger *d, gpa_t at, uint8_t *bytes, size_t n)
{
	for (unsigned i = 0; i < d->n_points; i++) {
		uint8_t *byte = covered(d, i, at, bytes, n);

		if (byte && *byte == INT3)
			*byte = d->points[i].was;
	}
}

static int read_piece(const struct ram *ram, gpa_t at, void *dst, size_t n)
{
	return ram_read(ram, at, dst, n) ? ram_beside_read(ram, at, dst, n) : 0;
}

size_t debugger_read(void *ctx, unsigned cpu, bool physical, uint64_t at, void *dst, size_t n)
{
	struct debugger *d = ctx;
	size_t done = 0, len;
	gpa_t gpa;

	for (; done < n; done += len) {
		len = piece(d, cpu, physical, at + done, n - done, &gpa);
		if (!len || read_piece(d->vm->ram, gpa, (uint8_t *)dst + done, len))
			break;
		hide_points(d, gpa, (uint8_t *)dst + done, len);
	}
	return done;
}

/* What is written where a breakpoint stands is there once that has gone. */
static int write_piece(struct debugger *d, gpa_t at, uint8_t *bytes, size_t n)
{
	struct ram *ram = d->vm->ram;

	for (unsigned i = 0; i < d->n_points; i++) {
		uint8_t *byte = covered(d, i, at, bytes, n);

		if (!byte)
			continue;
		d->points[i].was = *byte;
		*byte = INT3;
	}
	return ram_write(ram, at, bytes, n) ? ram_beside_write(ram, at, bytes, n) : 0;
}

size_t debugger_write(void *ctx, unsigned cpu, bool physical, uint64_t at, const void *src, size_t n)
{
	uint8_t bytes[RAM_PAGE_BYTES];
	struct debugger *d = ctx;
	size_t done = 0, len;
	gpa_t gpa;

	for (; done < n && !vm_is_copied(d->vm); done += len) {
		len = piece(d, cpu, physical, at + done, n - done, &gpa);
		memcpy(bytes, (const uint8_t *)src + done, len);
		if (!len || write_piece(d, gpa, bytes, len))
			break;
	}
	return done;
}

/* ---- breakpoints in software ---- */

struct debug_point *debugger_find(const struct debugger *d, uint64_t at)
{
	for (unsigned i = 0; i < d->n_points; i++)
		if (d->points[i].at == at)
			return &d->points[i];
	return NULL;
}

struct debug_point *debugger_hit(struct debugger *d, unsigned cpu, uint64_t pc)
{
	gpa_t at;

	if (!piece(d, cpu, false, pc, 1, &at))
		return NULL;
	for (unsigned i = 0; i < d->n_points; i++)
		if (d->points[i].gpa.v == at.v)
			return &d->points[i];
	return NULL;
}

static int insert_software(struct debugger *d, unsigned cpu, uint64_t at)
{
	struct debug_point *point = &d->points[d->n_points];
	const uint8_t int3 = INT3;

	if (debugger_find(d, at))
		return 0;
	if (d->n_points == DEBUGGER_POINTS)
		return -ENOSPC;
	if (!piece(d, cpu, false, at, 1, &point->gpa) || ram_read(d->vm->ram, point->gpa, &point->was, 1))
		return -EFAULT;
	/* Else debugger_hide() does it. */
	if (!vm_is_copied(d->vm) && ram_write(d->vm->ram, point->gpa, &int3, 1))
		return -EFAULT;
	point->at = at;
	d->n_points++;
	return 0;
}

void debugger_hide(struct debugger *d, bool hide)
{
	for (unsigned i = 0; i < d->n_points; i++) {
		const struct debug_point *point = &d->points[i];
		const uint8_t from = hide ? INT3 : point->was, to = hide ? point->was : INT3;
		uint8_t now;

		if (!ram_read(d->vm->ram, point->gpa, &now, 1) && now == from)
			ram_write(d->vm->ram, point->gpa, &to, 1);
	}
}

/* Of memory that the guest has written since, nothing is to be put back. */
void debugger_take_out(struct debugger *d, struct debug_point *point)
{
	uint8_t now;

	if (!ram_read(d->vm->ram, point->gpa, &now, 1) && now == INT3)
		ram_write(d->vm->ram, point->gpa, &point->was, 1);
	*point = d->points[--d->n_points];
}

static int remove_software(struct debugger *d, uint64_t at)
{
	struct debug_point *point = debugger_find(d, at);

	if (!point)
		return -ENOENT;
	debugger_take_out(d, point);
	return 0;
}

/* ---- in the CPU's debug registers ---- */

static bool is_slot(const struct debug_slot *slot, enum gdb_point_kind kind, uint64_t at, uint64_t n)
{
	return slot->used && slot->kind == kind && slot->at == at && (kind == GDB_HARDWARE || slot->bytes == n);
}

static int insert_hardware(struct debugger *d, enum gdb_point_kind kind, uint64_t at, uint64_t n)
{
	if (kind == GDB_HARDWARE)
		n = 1;
	if (!n || n > 8 || n & (n - 1) || at & (n - 1))
		return -EINVAL;
	for (unsigned i = 0; i < DEBUGGER_SLOTS; i++)
		if (is_slot(&d->slot[i], kind, at, n))
			return 0;
	for (unsigned i = 0; i < DEBUGGER_SLOTS; i++)
		if (!d->slot[i].used) {
			d->slot[i] = (struct debug_slot){ .used = true, .kind = kind, .at = at, .bytes = (uint8_t)n };
			return 0;
		}
	return -ENOSPC;
}

static int remove_hardware(struct debugger *d, enum gdb_point_kind kind, uint64_t at, uint64_t n)
{
	for (unsigned i = 0; i < DEBUGGER_SLOTS; i++)
		if (is_slot(&d->slot[i], kind, at, n)) {
			d->slot[i].used = false;
			return 0;
		}
	return -ENOENT;
}

int debugger_insert(void *ctx, unsigned cpu, enum gdb_point_kind kind, uint64_t at, uint64_t n)
{
	return kind == GDB_SOFTWARE ? insert_software(ctx, cpu, at) : insert_hardware(ctx, kind, at, n);
}

int debugger_remove(void *ctx, unsigned cpu, enum gdb_point_kind kind, uint64_t at, uint64_t n)
{
	(void)cpu;
	return kind == GDB_SOFTWARE ? remove_software(ctx, at) : remove_hardware(ctx, kind, at, n);
}

/* SDM volume 3, 18.2.4: what to stop at (an x86 CPU cannot tell reads alone), and of how many bytes */
uint64_t debugger_dr7(const struct debug_slot *slot, unsigned i)
{
	const uint64_t what = slot->kind == GDB_HARDWARE ? 0 : slot->kind == GDB_WRITE ? 1 : 3;
	const uint64_t bytes = slot->bytes == 8 ? 2 : slot->bytes - 1u;

	return 2ULL << 2 * i | what << (16 + 4 * i) | bytes << (18 + 4 * i);
}
