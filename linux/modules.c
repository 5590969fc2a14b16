/*
 * Modules of a guest's kernel; see lkvm/linux/symbols.h. The layout of struct module depends on the kernel's
 * configuration, and nothing tells it but for its first fields: its state, the list, its name. The others are known
 * by what they are: a page-aligned address of the area where modules are and a size behind it, and so on. What is
 * found has to fit together; where it does not, a module is without it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "symbols-internal.h"

#define AREA_START 0xffffffffa0000000ULL /* with KASLR it is smaller; Documentation/arch/x86/x86_64/mm.rst */
#define AREA_END   0xffffffffff000000ULL

#define LIST_AT   8 /* of struct module */
#define NAME_AT   24
#define LOOKED_AT 2048 /* bytes of it; what follows are others of the module's data */

#define RANGE_MAX   (64 * MIB)
#define SYMBOLS_MAX (1 << 18)
#define ORC_MAX     (1 << 20)

struct elf_symbol {
	uint32_t name;
	uint8_t info, other;
	uint16_t section;
	uint64_t value, size;
};

/* The struct's bytes */
struct bytes {
	uint8_t at[LOOKED_AT];
	unsigned n;
};

static uint64_t slot(const struct bytes *b, unsigned at)
{
	uint64_t value = 0;

	if (at + sizeof(value) <= b->n)
		memcpy(&value, b->at + at, sizeof(value));
	return value;
}

static bool in_area(uint64_t addr)
{
	return addr >= AREA_START && addr < AREA_END;
}

static bool in_module(const struct linux_module *m, uint64_t addr)
{
	for (unsigned i = 0; i < m->n_ranges; i++)
		if (addr >= m->range[i].start && addr - m->range[i].start < m->range[i].bytes)
			return true;
	return false;
}

/* Of what a module is made of, are both in one? */
static bool are_together(const struct linux_module *m, uint64_t a, uint64_t b)
{
	for (unsigned i = 0; i < m->n_ranges; i++)
		if (a - m->range[i].start < m->range[i].bytes && b - m->range[i].start < m->range[i].bytes)
			return true;
	return false;
}

/* ---- what a module is made of ---- */

/* struct module_layout before 6.4, struct module_memory since: a base, and a size of 32 bits */
static void find_ranges(const struct bytes *b, struct linux_module *m)
{
	for (unsigned at = NAME_AT + LINUX_MODULE_BYTES; at + 16 <= b->n && m->n_ranges < MODULE_RANGES; at += 8) {
		const uint64_t base = slot(b, at), size = (uint32_t)slot(b, at + 8);

		if (!in_area(base) || base & (RAM_PAGE_BYTES - 1) || !size || size > RANGE_MAX)
			continue;
		m->range[m->n_ranges].start = base;
		m->range[m->n_ranges++].bytes = size;
	}
}

/* struct mod_kallsyms: symbols, their number, names, types. Return: it can be one */
static bool take_symtab(const struct linux_guest *guest, const uint64_t field[4], struct linux_module *m)
{
	static const struct elf_symbol none;
	struct elf_symbol first;

	if (!field[1] || field[1] > SYMBOLS_MAX || !in_module(m, field[0]) || !in_module(m, field[2]) ||
	    !in_module(m, field[3]) || linux_read(guest, field[0], &first, sizeof(first)) ||
	    memcmp(&first, &none, sizeof(none)))
		return false;
	m->symtab = field[0];
	m->n_symtab = field[1];
	m->strtab = field[2];
	return true;
}

/* The one within the struct has what stays. Before it is a pointer, until its init is over to one that has all. */
static void find_symtab(const struct linux_guest *guest, const struct bytes *b, struct linux_module *m)
{
	uint64_t field[4];

	for (unsigned at = 8; at + sizeof(field) <= b->n; at += 8) {
		memcpy(field, b->at + at, sizeof(field));
		if (!take_symtab(guest, field, m))
			continue;
		if (in_module(m, slot(b, at - 8)) && !linux_read(guest, slot(b, at - 8), field, sizeof(field)))
			take_symtab(guest, field, m);
		return;
	}
}

/* One section follows the other: entries of 6 bytes, places of 4. None is aligned. */
static bool are_orc_sections(uint64_t n, uint64_t ips, uint64_t entries)
{
	return ips - (entries + n * 6) < 16 || entries - (ips + n * 4) < 16;
}

/* struct mod_arch_specific: how many, where, what */
static void find_orc(const struct bytes *b, struct linux_module *m)
{
	for (unsigned at = 0; at + 24 <= b->n; at += 8) {
		const uint64_t n = (uint32_t)slot(b, at), ips = slot(b, at + 8), entries = slot(b, at + 16);

		if (!n || n > ORC_MAX || !in_module(m, ips) || !in_module(m, entries) ||
		    !are_orc_sections(n, ips, entries))
			continue;
		m->orc = (struct linux_orc){ ips, entries, n };
		return;
	}
}

/* As much of the struct as is mapped */
static void read_bytes(const struct linux_guest *guest, uint64_t module, struct bytes *ret)
{
	unsigned piece;

	for (ret->n = 0; ret->n < sizeof(ret->at); ret->n += piece) {
		piece = RAM_PAGE_BYTES - ((module + ret->n) & (RAM_PAGE_BYTES - 1));
		if (piece > sizeof(ret->at) - ret->n)
			piece = (unsigned)sizeof(ret->at) - ret->n;
		if (linux_read(guest, module + ret->n, ret->at + ret->n, piece))
			return;
	}
}

static bool look_at(const struct linux_guest *guest, uint64_t module, struct linux_module *ret)
{
	struct bytes bytes;

	memset(ret, 0, sizeof(*ret));
	read_bytes(guest, module, &bytes);
	if (bytes.n < NAME_AT + LINUX_MODULE_BYTES)
		return false;
	memcpy(ret->name, bytes.at + NAME_AT, sizeof(ret->name));
	ret->name[sizeof(ret->name) - 1] = '\0';
	find_ranges(&bytes, ret);
	find_symtab(guest, &bytes, ret);
	find_orc(&bytes, ret);
	return ret->n_ranges;
}

int linux_module_at(const struct linux_symbols *s, uint64_t addr, struct linux_module *ret)
{
	uint64_t link = s->modules;

	if (!s->modules || !in_area(addr))
		return -ENOENT;
	for (unsigned n = 0; n < MAX_MODULES; n++) {
		if (linux_read_u64(s->guest, link, &link) || link == s->modules || !in_area(link))
			return -ENOENT;
		if (look_at(s->guest, link - LIST_AT, ret) && in_module(ret, addr))
			return 0;
	}
	return -ENOENT;
}

/* ---- its symbols ---- */

static void read_name(const struct linux_guest *guest, uint64_t virt, char *ret, size_t cap)
{
	size_t n = 0;

	while (n + 1 < cap && !linux_read(guest, virt + n, ret + n, 1) && ret[n])
		n++;
	ret[n] = '\0';
}

/* The last one that begins at or before @addr; where the next one begins */
static void nearest(const struct linux_guest *guest, const struct linux_module *m, uint64_t addr,
		    struct elf_symbol *ret, uint64_t *ret_next)
{
	struct elf_symbol some[32];

	for (uint64_t i = 0; i < m->n_symtab; i += ARRAY_SIZE(some)) {
		const uint64_t left = m->n_symtab - i, n = left < ARRAY_SIZE(some) ? left : ARRAY_SIZE(some);

		if (linux_read(guest, m->symtab + i * sizeof(some[0]), some, n * sizeof(some[0])))
			return;
		for (uint64_t k = 0; k < n; k++) {
			if (!some[k].section || !some[k].name || !are_together(m, some[k].value, addr))
				continue;
			if (some[k].value > addr && some[k].value < *ret_next)
				*ret_next = some[k].value;
			if (some[k].value <= addr && some[k].value > ret->value)
				*ret = some[k];
		}
	}
}

int linux_module_symbol(const struct linux_symbols *s, uint64_t addr, struct linux_symbol *ret)
{
	struct elf_symbol symbol = { 0 };
	uint64_t next = UINT64_MAX;
	struct linux_module m;

	if (linux_module_at(s, addr, &m))
		return -ENOENT;
	memset(ret, 0, sizeof(*ret));
	snprintf(ret->module, sizeof(ret->module), "%s", m.name);
	nearest(s->guest, &m, addr, &symbol, &next);
	if (!symbol.value)
		return 0;
	read_name(s->guest, m.strtab + symbol.name, ret->name, sizeof(ret->name));
	ret->start = symbol.value;
	ret->bytes = symbol.size ? symbol.size : next != UINT64_MAX ? next - symbol.value : 0;
	return 0;
}
