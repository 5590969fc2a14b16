/*
 * Backtraces; see lkvm/linux/unwind.h. ORC is described in the kernel's Documentation/arch/x86/orc-unwinder.rst: for
 * each stretch of code, where the stack pointer was before the call, and the frame pointer. What an entry's bits
 * mean has changed in 6.4, which the table itself shows: most of what it has are calls.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "symbols-internal.h"
#include "lkvm/linux/unwind.h"

#define STACK_BYTES 16384 /* that are looked at for guesses */
#define MAX_GUESSES 24
#define SAMPLES     64    /* of the kernel's table */
#define OLD_END     (3 << 10) /* either bit, as the version has it; the other is of no concern here */

enum { REG_UNDEFINED, REG_PREV_SP, REG_DX, REG_DI, REG_BP, REG_SP, REG_R10, REG_R13, REG_BP_INDIRECT, REG_SP_INDIRECT };

enum orc_kind { ORC_UNDEFINED, ORC_END, ORC_CALL, ORC_REGS, ORC_REGS_PARTIAL, ORC_OTHER };

struct orc_entry {
	int16_t sp_offset, bp_offset;
	uint16_t bits; /* 0-3: the register that SP is counted from; 4-7: that of BP; 8-: the kind */
};

/* Offsets in struct pt_regs, and what an interrupt puts on the stack */
enum { PT_R13 = 16, PT_BP = 32, PT_R10 = 56, PT_DX = 96, PT_DI = 112, PT_IRET = 128, IRET_CS = 8, IRET_SP = 24 };

enum step { STEP_DONE, STEP_END, STEP_LOST };

struct state {
	const struct linux_symbols *s;
	uint64_t ip, sp, bp;
	bool is_return;
	const struct kvm_regs *regs; /* NULL: those of the CPU are not those of this frame any more */
	uint64_t pt_regs;            /* 0: nor are they on the stack */
	bool is_user;
	bool is_new_orc;
};

static bool load(const struct state *st, uint64_t at, uint64_t *ret)
{
	return !linux_read_u64(st->s->guest, at, ret);
}

/* ---- ORC ---- */

static bool read_entry(const struct linux_symbols *s, const struct linux_orc *orc, uint64_t i, struct orc_entry *ret)
{
	return !linux_read(s->guest, orc->entries + i * sizeof(*ret), ret, sizeof(*ret));
}

/* Of the entries that count from SP, are more calls by the new numbers than by the old? */
static bool is_new_format(const struct linux_symbols *s)
{
	struct orc_entry entry;
	int balance = 0;

	for (uint64_t i = 0; i < SAMPLES; i++) {
		if (!read_entry(s, &s->orc, s->orc.n / SAMPLES * i, &entry) || (entry.bits & 15) != REG_SP)
			continue;
		balance += (entry.bits >> 8 & 7) == ORC_CALL;
		balance -= (entry.bits >> 8 & 3) == 0;
	}
	return balance > 0;
}

static enum orc_kind kind_of(const struct orc_entry *entry, bool is_new)
{
	static const enum orc_kind old[] = { ORC_CALL, ORC_REGS, ORC_REGS_PARTIAL, ORC_OTHER };
	const unsigned kind = entry->bits >> 8 & 7;

	if (is_new)
		return kind < ORC_OTHER ? (enum orc_kind)kind : ORC_OTHER;
	if ((entry->bits & 15) == REG_UNDEFINED)
		return entry->bits & OLD_END ? ORC_END : ORC_UNDEFINED;
	return old[kind & 3];
}

/* The last entry whose code begins at or before @ip; each place is relative to itself. */
static bool find_entry(const struct linux_symbols *s, uint64_t ip, struct orc_entry *ret)
{
	struct linux_orc orc;
	uint64_t low = 0, high, at;
	uint32_t offset;

	if (linux_orc_for(s, ip, &orc))
		return false;
	high = orc.n;
	while (high - low > 1) {
		const uint64_t middle = low + (high - low) / 2;

		at = orc.ips + middle * sizeof(offset);
		if (linux_read_u32(s->guest, at, &offset))
			return false;
		if (at + (uint64_t)(int64_t)(int32_t)offset <= ip)
			low = middle;
		else
			high = middle;
	}
	return read_entry(s, &orc, low, ret);
}

static bool register_of(const struct state *st, uint64_t of_cpu, unsigned on_stack, uint64_t *ret)
{
	if (st->regs) {
		*ret = of_cpu;
		return true;
	}
	return st->pt_regs && load(st, st->pt_regs + on_stack, ret);
}

/* Where SP was before the call */
static bool previous_sp(const struct state *st, const struct orc_entry *entry, uint64_t *ret)
{
	static const struct kvm_regs none;
	const struct kvm_regs *regs = st->regs ? st->regs : &none;
	const uint64_t offset = (uint64_t)(int64_t)entry->sp_offset;

	switch (entry->bits & 15) {
	case REG_SP:
		*ret = st->sp + offset;
		return true;
	case REG_BP:
		*ret = st->bp + offset;
		return true;
	case REG_SP_INDIRECT:
		if (!load(st, st->sp, ret))
			return false;
		*ret += offset;
		return true;
	case REG_BP_INDIRECT:
		return load(st, st->bp + offset, ret);
	case REG_R10:
		return register_of(st, regs->r10, PT_R10, ret);
	case REG_R13:
		return register_of(st, regs->r13, PT_R13, ret);
	case REG_DI:
		return register_of(st, regs->rdi, PT_DI, ret);
	case REG_DX:
		return register_of(st, regs->rdx, PT_DX, ret);
	default:
		return false;
	}
}

/* What the CPU, or the kernel's entry, has saved at @frame: IP, CS, flags, SP, SS */
static bool after_interrupt(struct state *st, uint64_t frame)
{
	uint64_t ip, cs, sp;

	if (!load(st, frame, &ip) || !load(st, frame + IRET_CS, &cs) || !load(st, frame + IRET_SP, &sp))
		return false;
	st->ip = ip;
	st->sp = sp;
	st->is_return = false;
	st->is_user = cs & 3;
	return true;
}

static bool previous_bp(struct state *st, const struct orc_entry *entry, uint64_t sp)
{
	const uint64_t offset = (uint64_t)(int64_t)entry->bp_offset;

	switch (entry->bits >> 4 & 15) {
	case REG_PREV_SP:
		return load(st, sp + offset, &st->bp);
	case REG_BP:
		return load(st, st->bp + offset, &st->bp);
	default: /* it is what it was */
		return !st->pt_regs || load(st, st->pt_regs + PT_BP, &st->bp);
	}
}

static enum step orc_step(struct state *st)
{
	struct orc_entry entry;
	enum orc_kind kind;
	uint64_t sp;

	if (!find_entry(st->s, st->ip - st->is_return, &entry))
		return STEP_LOST;
	kind = kind_of(&entry, st->is_new_orc);
	if (kind == ORC_END)
		return STEP_END;
	if (kind == ORC_UNDEFINED || kind == ORC_OTHER || !previous_sp(st, &entry, &sp))
		return STEP_LOST;
	if (kind == ORC_CALL) {
		if (!load(st, sp - sizeof(sp), &st->ip))
			return STEP_LOST;
		st->sp = sp;
		st->is_return = true;
		st->regs = NULL;
		st->pt_regs = 0;
	} else {
		if (!after_interrupt(st, kind == ORC_REGS ? sp + PT_IRET : sp))
			return STEP_LOST;
		st->regs = NULL;
		st->pt_regs = kind == ORC_REGS ? sp : 0;
	}
	return previous_bp(st, &entry, sp) ? STEP_DONE : STEP_LOST;
}

/* ---- frame pointers ---- */

/* The frame pointer points to that of the caller, and above it is the return address. */
static enum step pointer_step(struct state *st)
{
	uint64_t bp, ip;

	if (st->bp < st->sp || st->bp - st->sp > STACK_BYTES || st->bp & 7 || !load(st, st->bp, &bp) ||
	    !load(st, st->bp + sizeof(bp), &ip) || !linux_is_text(st->s, ip))
		return STEP_LOST;
	st->sp = st->bp + 2 * sizeof(bp);
	st->bp = bp;
	st->ip = ip;
	st->is_return = true;
	return STEP_DONE;
}

/* ---- all of it ---- */

static void add(struct linux_trace *t, const struct state *st, bool is_guess)
{
	t->frame[t->n++] = (struct linux_frame){ st->ip, st->is_return, is_guess, st->is_user };
}

/* Return: are the frames all there are? */
static bool follow(struct state *st, struct linux_trace *t, enum step (*step)(struct state *st))
{
	while (t->n < LINUX_FRAMES) {
		const enum step done = step(st);

		if (done != STEP_DONE)
			return done == STEP_END;
		if (!st->is_user && !linux_is_text(st->s, st->ip))
			return false;
		add(t, st, false);
		if (st->is_user)
			return true;
	}
	return false;
}

static void guess(struct state *st, struct linux_trace *t)
{
	unsigned n = 0;

	st->is_return = true;
	st->sp = ALIGN_UP(st->sp, 8);
	for (uint64_t at = 0; at < STACK_BYTES && n < MAX_GUESSES && t->n < LINUX_FRAMES; at += 8) {
		if (!load(st, st->sp + at, &st->ip))
			return;
		if (!linux_is_text(st->s, st->ip))
			continue;
		add(t, st, true);
		n++;
	}
}

void linux_unwind(const struct linux_symbols *s, const struct kvm_regs *regs, const struct kvm_sregs *sregs,
		  struct linux_trace *ret)
{
	struct state st = {
		.s = s, .ip = regs->rip, .sp = regs->rsp, .bp = regs->rbp, .regs = regs,
		.is_user = sregs->cs.selector & 3,
	};

	*ret = (struct linux_trace){ .by = "none" };
	add(ret, &st, false);
	if (st.is_user || !s) {
		ret->is_complete = st.is_user;
		return;
	}
	st.is_new_orc = is_new_format(s);
	ret->by = "orc";
	ret->is_complete = follow(&st, ret, orc_step);
	if (ret->n == 1 && !ret->is_complete) {
		ret->by = "frame pointers";
		follow(&st, ret, pointer_step);
	}
	if (ret->is_complete)
		return;
	if (ret->n == 1)
		ret->by = "guess";
	guess(&st, ret);
}

const char *linux_frame_text(const struct linux_symbols *s, const struct linux_frame *frame, char *buf, size_t cap)
{
	char name[LINUX_NAME_BYTES + LINUX_MODULE_BYTES + 64];
	struct linux_symbol symbol;

	if (frame->is_user || !s) {
		snprintf(buf, cap, "0x%" PRIx64 "%s", frame->ip, frame->is_user ? " in user space" : "");
		return buf;
	}
	linux_symbol_text(s, frame->ip, name, sizeof(name));
	/* A function that ends with a call that does not return: what is behind it is another one. */
	if (frame->is_return && !linux_symbol_at(s, frame->ip, &symbol) && symbol.start == frame->ip &&
	    !linux_symbol_at(s, frame->ip - 1, &symbol) && *symbol.name)
		snprintf(name, sizeof(name), "%s+0x%" PRIx64 "/0x%" PRIx64, symbol.name, frame->ip - symbol.start,
			 symbol.bytes);
	snprintf(buf, cap, "%s%s", frame->is_guess ? "? " : "", name);
	return buf;
}
