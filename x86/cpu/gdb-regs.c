/* The registers of a vCPU as gdb has them; see lkvm/x86/gdb-regs.h. Main thread, while the vCPU is parked. */
#include "lkvm/x86/gdb-regs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lkvm/types.h"

#define CR0_PE     1
#define RFLAGS_VM  (1ULL << 17)
#define MSR_KERNEL_GS_BASE 0xc0000102

/* Where things stand in an XSAVE area: SDM volume 1, chapter 13 */
#define XSAVE_FTW    4
#define XSAVE_ST     32
#define XSAVE_XMM    160
#define XSAVE_BV     512 /* which components are not in their first state */
#define XSAVE_YMM    576
#define BV_X87 1
#define BV_SSE 2
#define BV_AVX 4

enum part { REGS, SREGS, DEBUG, XSAVE, MSR, PARTS };

/* @count registers alike; those of one part that are more than one have their number in their name. */
struct row {
	const char *name, *type;
	uint8_t bytes;  /* as gdb has it, */
	uint8_t kept;   /* as KVM has it: of more, gdb sees the low ones */
	uint8_t count, first;
	enum part part;
	uint16_t at, stride;
	uint8_t bv;     /* XSAVE: its component */
};

struct feature {
	const char *name;
	const struct row *rows;
	unsigned n;
	bool avx; /* only where the CPU has that */
};

#define R(name, type, bytes) { #name, type, bytes, 8, 1, 0, REGS, offsetof(struct kvm_regs, name), 0, 0 }
#define R32(name, from, type) { name, type, 4, 8, 1, 0, REGS, offsetof(struct kvm_regs, from), 0, 0 }
#define SELECTOR(seg) { #seg, "int32", 4, 2, 1, 0, SREGS, offsetof(struct kvm_sregs, seg.selector), 0, 0 }
#define SPECIAL(name, from, bytes) { name, bytes == 8 ? "uint64" : "uint32", bytes, 8, 1, 0, SREGS, \
				     offsetof(struct kvm_sregs, from), 0, 0 }
#define X87(name, at, kept) { name, "int", 4, kept, 1, 0, XSAVE, at, 0, BV_X87 }

#define FLOATS                                                                                             \
	{ "st", "i387_ext", 10, 10, 8, 0, XSAVE, XSAVE_ST, 16, BV_X87 },                                   \
	X87("fctrl", 0, 2), X87("fstat", 2, 2), X87("ftag", XSAVE_FTW, 1), X87("fiseg", 12, 2), X87("fioff", 8, 4), \
	X87("foseg", 20, 2), X87("fooff", 16, 4), X87("fop", 6, 2)
#define MXCSR { "mxcsr", "i386_mxcsr", 4, 4, 1, 0, XSAVE, 24, 0, BV_SSE }

static const struct row core_64[] = {
	R(rax, "int64", 8), R(rbx, "int64", 8), R(rcx, "int64", 8), R(rdx, "int64", 8),
	R(rsi, "int64", 8), R(rdi, "int64", 8), R(rbp, "data_ptr", 8), R(rsp, "data_ptr", 8),
	{ "r", "int64", 8, 8, 8, 8, REGS, offsetof(struct kvm_regs, r8), 8, 0 },
	R(rip, "code_ptr", 8), R32("eflags", rflags, "i386_eflags"),
	SELECTOR(cs), SELECTOR(ss), SELECTOR(ds), SELECTOR(es), SELECTOR(fs), SELECTOR(gs),
	FLOATS,
};
static const struct row core_32[] = {
	R32("eax", rax, "int32"), R32("ecx", rcx, "int32"), R32("edx", rdx, "int32"), R32("ebx", rbx, "int32"),
	R32("esp", rsp, "data_ptr"), R32("ebp", rbp, "data_ptr"), R32("esi", rsi, "int32"), R32("edi", rdi, "int32"),
	R32("eip", rip, "code_ptr"), R32("eflags", rflags, "i386_eflags"),
	SELECTOR(cs), SELECTOR(ss), SELECTOR(ds), SELECTOR(es), SELECTOR(fs), SELECTOR(gs),
	FLOATS,
};
static const struct row sse_64[] = {
	{ "xmm", "vec128", 16, 16, 16, 0, XSAVE, XSAVE_XMM, 16, BV_SSE }, MXCSR,
};
static const struct row sse_32[] = {
	{ "xmm", "vec128", 16, 16, 8, 0, XSAVE, XSAVE_XMM, 16, BV_SSE }, MXCSR,
};
static const struct row segments_64[] = {
	SPECIAL("fs_base", fs.base, 8), SPECIAL("gs_base", gs.base, 8),
};
static const struct row avx_64[] = { { "ymm", "uint128", 16, 16, 16, 0, XSAVE, XSAVE_YMM, 16, BV_AVX } };
static const struct row avx_32[] = { { "ymm", "uint128", 16, 16, 8, 0, XSAVE, XSAVE_YMM, 16, BV_AVX } };

#define DEBUG_REG(name, from, bytes) { name, bytes == 8 ? "uint64" : "uint32", bytes, 8, 1, 0, DEBUG, \
				       offsetof(struct kvm_debugregs, from), 0, 0 }
#define SYSTEM(bytes)                                                                                      \
	SPECIAL("cr0", cr0, bytes), SPECIAL("cr2", cr2, bytes), SPECIAL("cr3", cr3, bytes),                \
	SPECIAL("cr4", cr4, bytes), SPECIAL("cr8", cr8, bytes), SPECIAL("efer", efer, bytes),              \
	DEBUG_REG("dr0", db[0], bytes), DEBUG_REG("dr1", db[1], bytes), DEBUG_REG("dr2", db[2], bytes),    \
	DEBUG_REG("dr3", db[3], bytes), DEBUG_REG("dr6", dr6, bytes), DEBUG_REG("dr7", dr7, bytes)

static const struct row system_64[] = {
	{ "k_gs_base", "uint64", 8, 8, 1, 0, MSR, 0, 0, 0 }, SYSTEM(8),
};
static const struct row system_32[] = { SYSTEM(4) };

#define FEATURE(name, rows, ...) { name, rows, ARRAY_SIZE(rows), __VA_ARGS__ }
static const struct feature features_64[] = {
	FEATURE("org.gnu.gdb.i386.core", core_64, false),
	FEATURE("org.gnu.gdb.i386.sse", sse_64, false),
	FEATURE("org.gnu.gdb.i386.segments", segments_64, false),
	FEATURE("org.gnu.gdb.i386.avx", avx_64, true),
	FEATURE("lkvm.x86.system", system_64, false),
};
static const struct feature features_32[] = {
	FEATURE("org.gnu.gdb.i386.core", core_32, false),
	FEATURE("org.gnu.gdb.i386.sse", sse_32, false),
	FEATURE("org.gnu.gdb.i386.avx", avx_32, true),
	FEATURE("lkvm.x86.system", system_32, false),
};

const uint8_t x86_view_told_64[X86_VIEW_TOLD] = { 6, 7, 16 }, x86_view_told_32[X86_VIEW_TOLD] = { 4, 5, 8 };

static const struct feature *features_of(const struct x86_view *view, unsigned *ret_n)
{
	*ret_n = view->long_mode ? ARRAY_SIZE(features_64) : ARRAY_SIZE(features_32);
	return view->long_mode ? features_64 : features_32;
}

/*
 * Where register @reg is among the rows. NULL: there is none; then *@ret_index is by how many @reg is too high.
 */
static const struct row *find(const struct x86_view *view, unsigned reg, unsigned *ret_index)
{
	unsigned n;
	const struct feature *f = features_of(view, &n);

	for (const struct feature *end = f + n; f < end; f++) {
		if (f->avx && !view->avx)
			continue;
		for (unsigned i = 0; i < f->n; reg -= f->rows[i++].count)
			if (reg < f->rows[i].count) {
				*ret_index = reg;
				return &f->rows[i];
			}
	}
	*ret_index = reg;
	return NULL;
}

unsigned x86_view_bytes(const struct x86_view *view, unsigned reg)
{
	unsigned index;
	const struct row *row = find(view, reg, &index);

	return row ? row->bytes : 0;
}

unsigned x86_view_count(const struct x86_view *view)
{
	unsigned left;

	find(view, UINT16_MAX, &left);
	return UINT16_MAX - left;
}

/* ---- KVM's structures ---- */

/* One MSR, as KVM_GET_MSRS and KVM_SET_MSRS want it */
struct one_msr {
	struct kvm_msrs head;
	struct kvm_msr_entry entry;
};

static int msr(const struct x86_view *view, unsigned long request, uint64_t *value)
{
	struct one_msr one = { .head.nmsrs = 1, .entry = { .index = MSR_KERNEL_GS_BASE, .data = *value } };
	const int n = ioctl(view->vcpu_fd, request, &one);

	*value = one.entry.data;
	return n < 0 ? -errno : n == 1 ? 0 : -EINVAL;
}

static const struct {
	size_t at;
	unsigned long get, set;
} parts[PARTS] = {
	[REGS] = { offsetof(struct x86_view, regs), KVM_GET_REGS, KVM_SET_REGS },
	[SREGS] = { offsetof(struct x86_view, sregs), KVM_GET_SREGS, KVM_SET_SREGS },
	[DEBUG] = { offsetof(struct x86_view, debug), KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS },
	[XSAVE] = { offsetof(struct x86_view, xsave), KVM_GET_XSAVE, KVM_SET_XSAVE },
	[MSR] = { offsetof(struct x86_view, kernel_gs_base), KVM_GET_MSRS, KVM_SET_MSRS },
};

static int transfer(struct x86_view *view, enum part part, unsigned long request)
{
	uint8_t *at = (uint8_t *)view + parts[part].at;

	if (part == MSR)
		return msr(view, request, &view->kernel_gs_base);
	return ioctl(view->vcpu_fd, request, at) < 0 ? -errno : 0;
}

static int need(struct x86_view *view, enum part part)
{
	int err = 0;

	if (!(view->have >> part & 1))
		err = transfer(view, part, parts[part].get);
	if (!err)
		view->have |= 1U << part;
	return err;
}

static uint8_t *place(struct x86_view *view, const struct row *row, unsigned index)
{
	return (uint8_t *)view + parts[row->part].at + row->at + (size_t)index * row->stride;
}

/* ---- one register ---- */

static bool is_ftag(const struct row *row)
{
	return row->part == XSAVE && row->at == XSAVE_FTW;
}

/* What is kept is which registers are in use; in the whole tag word those that are not have 3. */
static uint16_t whole_tags(uint8_t used)
{
	uint16_t tags = 0;

	for (unsigned i = 0; i < 8; i++)
		tags |= (uint16_t)((used >> i & 1 ? 0 : 3) << 2 * i);
	return tags;
}

static uint8_t used_tags(uint16_t tags)
{
	uint8_t used = 0;

	for (unsigned i = 0; i < 8; i++)
		if ((tags >> 2 * i & 3) != 3)
			used |= (uint8_t)(1 << i);
	return used;
}

unsigned x86_view_get(struct x86_view *view, unsigned reg, uint8_t ret[16])
{
	unsigned index;
	const struct row *row = find(view, reg, &index);
	uint16_t tags;

	if (!row || need(view, row->part))
		return 0;
	memset(ret, 0, 16);
	memcpy(ret, place(view, row, index), row->kept < row->bytes ? row->kept : row->bytes);
	if (is_ftag(row)) {
		tags = whole_tags(ret[0]);
		memcpy(ret, &tags, sizeof(tags));
	}
	return row->bytes;
}

/* In real and virtual 8086 mode a selector is its segment's base. */
static void set_base(struct x86_view *view, const struct row *row)
{
	struct kvm_segment *seg;
	const bool real = !(view->sregs.cr0 & CR0_PE) || (!need(view, REGS) && view->regs.rflags & RFLAGS_VM);

	if (row->part != SREGS || row->kept != 2 || !real)
		return;
	seg = (struct kvm_segment *)((uint8_t *)&view->sregs + row->at - offsetof(struct kvm_segment, selector));
	seg->base = (uint64_t)seg->selector << 4;
}

/* What KVM refuses is not believed to be there afterwards. */
static int put_back(struct x86_view *view, const struct row *row)
{
	uint64_t components;
	int err;

	if (row->part == XSAVE) {
		memcpy(&components, (uint8_t *)&view->xsave + XSAVE_BV, sizeof(components));
		components |= row->bv;
		memcpy((uint8_t *)&view->xsave + XSAVE_BV, &components, sizeof(components));
	}
	set_base(view, row);
	err = transfer(view, row->part, parts[row->part].set);
	if (err)
		view->have &= ~(1U << row->part);
	return err;
}

int x86_view_set(struct x86_view *view, unsigned reg, const uint8_t *value, size_t n)
{
	unsigned index;
	const struct row *row = find(view, reg, &index);
	uint8_t wide[16] = { 0 };
	int err;

	if (!row || n != row->bytes)
		return -EINVAL;
	err = need(view, row->part);
	if (err)
		return err;
	memcpy(wide, value, n);
	if (is_ftag(row))
		wide[0] = used_tags((uint16_t)(wide[0] | wide[1] << 8));
	memcpy(place(view, row, index), wide, row->kept);
	return put_back(view, row);
}

const struct kvm_sregs *x86_view_sregs(struct x86_view *view)
{
	return need(view, SREGS) ? NULL : &view->sregs;
}

int x86_view_pc(struct x86_view *view, uint64_t *ret)
{
	int err = need(view, REGS);

	if (!err)
		err = need(view, SREGS);
	if (!err)
		*ret = view->regs.rip + (view->sregs.cs.l ? 0 : view->sregs.cs.base);
	return err;
}

/* ---- their description ---- */

static void put_vector(FILE *out)
{
	static const struct {
		const char *id, *type;
		unsigned n;
	} vectors[] = {
		{ "v4f", "ieee_single", 4 }, { "v2d", "ieee_double", 2 }, { "v16i8", "int8", 16 },
		{ "v8i16", "int16", 8 }, { "v4i32", "int32", 4 }, { "v2i64", "int64", 2 },
	};
	static const char *const fields[] = {
		"v4_float", "v2_double", "v16_int8", "v8_int16", "v4_int32", "v2_int64",
	};

	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++)
		fprintf(out, "<vector id=\"%s\" type=\"%s\" count=\"%u\"/>", vectors[i].id, vectors[i].type,
			vectors[i].n);
	fprintf(out, "<union id=\"vec128\">");
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++)
		fprintf(out, "<field name=\"%s\" type=\"%s\"/>", fields[i], vectors[i].id);
	fprintf(out, "<field name=\"uint128\" type=\"uint128\"/></union>");
}

static void put_flags(FILE *out, const char *id, const char *const *names, unsigned n)
{
	fprintf(out, "<flags id=\"%s\" size=\"4\">", id);
	for (unsigned i = 0; i < n; i++)
		if (names[i])
			fprintf(out, "<field name=\"%s\" start=\"%u\" end=\"%u\"/>", names[i], i, i);
	fprintf(out, "</flags>");
}

static void put_types(FILE *out, const char *feature)
{
	static const char *const eflags[] = {
		"CF", "", "PF", NULL, "AF", NULL, "ZF", "SF", "TF", "IF", "DF", "OF", NULL, NULL, "NT", NULL,
		"RF", "VM", "AC", "VIF", "VIP", "ID",
	};
	static const char *const mxcsr[] = {
		"IE", "DE", "ZE", "OE", "UE", "PE", "DAZ", "IM", "DM", "ZM", "OM", "UM", "PM", NULL, NULL, "FZ",
	};

	if (strstr(feature, ".core")) {
		put_flags(out, "i386_eflags", eflags, ARRAY_SIZE(eflags));
	} else if (strstr(feature, ".sse")) {
		put_vector(out);
		put_flags(out, "i386_mxcsr", mxcsr, ARRAY_SIZE(mxcsr));
	}
}

/* "rax", "r8" to "r15", "st0", "ymm0h" */
static void put_row(FILE *out, const struct row *row)
{
	const char *behind = strcmp(row->name, "ymm") ? "" : "h";

	for (unsigned i = 0; i < row->count; i++) {
		fprintf(out, "<reg name=\"%s", row->name);
		if (row->count > 1)
			fprintf(out, "%u%s", row->first + i, behind);
		fprintf(out, "\" bitsize=\"%u\" type=\"%s\"/>", row->bytes * 8U, row->type);
	}
}

char *x86_view_document(const struct x86_view *view)
{
	unsigned n;
	const struct feature *f = features_of(view, &n);
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	fprintf(out, "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target><architecture>%s"
		     "</architecture>", view->long_mode ? "i386:x86-64" : "i386");
	for (const struct feature *end = f + n; f < end; f++) {
		if (f->avx && !view->avx)
			continue;
		fprintf(out, "<feature name=\"%s\">", f->name);
		put_types(out, f->name);
		for (unsigned i = 0; i < f->n; i++)
			put_row(out, &f->rows[i]);
		fprintf(out, "</feature>");
	}
	fprintf(out, "</target>");
	if (!fclose(out))
		return text;
	free(text);
	return NULL;
}
