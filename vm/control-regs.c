/* `lkvm debug --regs --json`: the registers of a virtual CPU; see control.h. */
#include <stdio.h>

#include "lkvm/json.h"
#include "lkvm/kvm.h"
#include "lkvm/vm/control.h"

static void general(struct json *json, const struct kvm_regs *r)
{
	const struct {
		const char *name;
		uint64_t value;
	} regs[] = {
		{ "rax", r->rax }, { "rbx", r->rbx }, { "rcx", r->rcx }, { "rdx", r->rdx },
		{ "rsi", r->rsi }, { "rdi", r->rdi }, { "rsp", r->rsp }, { "rbp", r->rbp },
		{ "r8", r->r8 },   { "r9", r->r9 },   { "r10", r->r10 }, { "r11", r->r11 },
		{ "r12", r->r12 }, { "r13", r->r13 }, { "r14", r->r14 }, { "r15", r->r15 },
		{ "rip", r->rip }, { "rflags", r->rflags },
	};

	for (size_t i = 0; i < ARRAY_SIZE(regs); i++)
		json_hex(json, regs[i].name, regs[i].value);
}

static void segment(struct json *json, const char *name, const struct kvm_segment *s)
{
	json_object(json, name);
	json_hex(json, "selector", s->selector);
	json_hex(json, "base", s->base);
	json_hex(json, "limit", s->limit);
	json_u64(json, "type", s->type);
	json_u64(json, "dpl", s->dpl);
	json_bool(json, "present", s->present && !s->unusable);
	json_bool(json, "system", !s->s);
	json_bool(json, "long", s->l);
	json_bool(json, "big", s->db);
	json_end(json);
}

static void table(struct json *json, const char *name, const struct kvm_dtable *t)
{
	json_object(json, name);
	json_hex(json, "base", t->base);
	json_hex(json, "limit", t->limit);
	json_end(json);
}

static void system_regs(struct json *json, const struct kvm_sregs *s)
{
	const struct {
		const char *name;
		const struct kvm_segment *segment;
	} segments[] = {
		{ "cs", &s->cs }, { "ds", &s->ds }, { "es", &s->es },   { "fs", &s->fs },
		{ "gs", &s->gs }, { "ss", &s->ss }, { "ldt", &s->ldt }, { "tr", &s->tr },
	};

	for (size_t i = 0; i < ARRAY_SIZE(segments); i++)
		segment(json, segments[i].name, segments[i].segment);
	table(json, "gdt", &s->gdt);
	table(json, "idt", &s->idt);
	json_hex(json, "cr0", s->cr0);
	json_hex(json, "cr2", s->cr2);
	json_hex(json, "cr3", s->cr3);
	json_hex(json, "cr4", s->cr4);
	json_hex(json, "cr8", s->cr8);
	json_hex(json, "efer", s->efer);
	json_hex(json, "apic_base", s->apic_base);
}

void control_regs_json(FILE *out, uint32_t cpu, const struct kvm_regs *regs, const struct kvm_sregs *sregs)
{
	struct json json;

	json_init(&json, out);
	json.flat_depth = 1;
	json_object(&json, NULL);
	json_u64(&json, "id", cpu);
	general(&json, regs);
	system_regs(&json, sregs);
	json_end(&json);
}
