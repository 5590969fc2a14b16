/*
 * kallsyms: the kernel's table of its own symbols (kernel/kallsyms.c, scripts/kallsyms.c), in the layouts of 5.10
 * and later; see lkvm/linux/symbols.h. A name is a length, in one byte or two, and as many bytes each of which
 * stands for a token; an address is an offset of 32 bits.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "symbols-internal.h"

#define MAX_SYMBOLS     (1 << 22)
#define MAX_NAMES_BYTES (64 * MIB)

/* ---- copying ---- */

struct where {
	uint64_t names, n, tokens, index, offsets, base;
};

static int find_all(const struct linux_guest *guest, struct where *ret)
{
	uint64_t n, base;
	uint32_t count;
	int err = 0;

	if (linux_key(guest, "SYMBOL(kallsyms_names)", &ret->names) || linux_key(guest, "SYMBOL(kallsyms_num_syms)", &n) ||
	    linux_key(guest, "SYMBOL(kallsyms_token_table)", &ret->tokens) ||
	    linux_key(guest, "SYMBOL(kallsyms_token_index)", &ret->index) ||
	    linux_key(guest, "SYMBOL(kallsyms_offsets)", &ret->offsets) ||
	    linux_key(guest, "SYMBOL(kallsyms_relative_base)", &base))
		return -ENOENT;
	err = linux_read_u32(guest, n, &count);
	if (!err)
		err = linux_read_u64(guest, base, &ret->base);
	ret->n = count;
	if (!err && (count < 1 || count > MAX_SYMBOLS || ret->tokens <= ret->names ||
		     ret->tokens - ret->names > MAX_NAMES_BYTES || ret->index <= ret->tokens ||
		     ret->index - ret->tokens >= sizeof(((struct linux_symbols *)0)->tokens)))
		err = -EBADMSG;
	return err;
}

static int copy(const struct linux_guest *guest, uint64_t virt, size_t bytes, void **ret)
{
	*ret = malloc(bytes);
	if (!*ret)
		return -ENOMEM;
	return linux_read(guest, virt, *ret, bytes);
}

static int copy_all(struct linux_symbols *s, const struct where *w)
{
	int err;

	s->n = (uint32_t)w->n;
	s->base = w->base;
	s->names_bytes = (uint32_t)(w->tokens - w->names);
	s->name_at = calloc(s->n, sizeof(*s->name_at));
	if (!s->name_at)
		return -ENOMEM;
	if ((err = copy(s->guest, w->names, s->names_bytes, (void **)&s->names)) ||
	    (err = copy(s->guest, w->offsets, s->n * sizeof(*s->offsets), (void **)&s->offsets)) ||
	    (err = linux_read(s->guest, w->tokens, s->tokens, w->index - w->tokens)) ||
	    (err = linux_read(s->guest, w->index, s->token_at, sizeof(s->token_at))))
		return err;
	/* Counted from the base down they have the sign bit: the last symbol is not one of the addresses */
	s->has_absolute = s->offsets[s->n - 1] < 0;
	return 0;
}

/* A length of more than 7 bits has two bytes since 6.1; before there was none. */
static bool name_length(const struct linux_symbols *s, uint32_t at, uint32_t *ret_begin, uint32_t *ret_len)
{
	uint32_t len;

	if (at >= s->names_bytes)
		return false;
	len = s->names[at++];
	if (len & 0x80) {
		if (at >= s->names_bytes)
			return false;
		len = (len & 0x7f) | (uint32_t)s->names[at++] << 7;
	}
	*ret_begin = at;
	*ret_len = len;
	return len <= s->names_bytes - at;
}

static int index_names(struct linux_symbols *s)
{
	uint32_t at = 0, begin, len;

	for (uint32_t i = 0; i < s->n; i++) {
		if (!name_length(s, at, &begin, &len))
			return -EBADMSG;
		s->name_at[i] = at;
		at = begin + len;
	}
	return 0;
}

/* ---- looking up ---- */

uint64_t kallsyms_address(const struct linux_symbols *s, uint32_t i)
{
	const int32_t offset = s->offsets[i];

	if (!s->has_absolute)
		return s->base + (uint32_t)offset;
	return offset < 0 ? s->base - 1 - (uint64_t)(int64_t)offset : (uint64_t)offset;
}

void kallsyms_name(const struct linux_symbols *s, uint32_t i, char *ret, size_t cap)
{
	uint32_t begin = 0, len = 0;
	size_t done = 0;

	name_length(s, s->name_at[i], &begin, &len);
	for (uint32_t k = 0; k < len; k++) {
		const char *token = s->tokens + s->token_at[s->names[begin + k]];

		while (*token && done + 1 < cap)
			ret[done++] = *token++;
	}
	ret[done] = '\0';
}

int linux_symbol_find(const struct linux_symbols *s, const char *name, uint64_t *ret)
{
	char found[LINUX_NAME_BYTES];

	for (uint32_t i = 0; i < s->n; i++) {
		kallsyms_name(s, i, found, sizeof(found));
		if (*found && !strcmp(found + 1, name)) {
			*ret = kallsyms_address(s, i);
			return 0;
		}
	}
	return -ENOENT;
}

/* Symbols are in order of their addresses; of those with the same one, the first. */
static int kernel_symbol(const struct linux_symbols *s, uint64_t addr, struct linux_symbol *ret)
{
	uint32_t low = 0, high = s->n, next;
	char name[LINUX_NAME_BYTES];

	while (high - low > 1) {
		const uint32_t middle = low + (high - low) / 2;

		if (kallsyms_address(s, middle) <= addr)
			low = middle;
		else
			high = middle;
	}
	next = low + 1;
	if (addr < s->base || kallsyms_address(s, low) > addr || next == s->n)
		return -ENOENT;
	while (low && kallsyms_address(s, low - 1) == kallsyms_address(s, low))
		low--;
	kallsyms_name(s, low, name, sizeof(name));
	memset(ret, 0, sizeof(*ret));
	ret->start = kallsyms_address(s, low);
	ret->bytes = kallsyms_address(s, next) - ret->start;
	snprintf(ret->name, sizeof(ret->name), "%s", *name ? name + 1 : "");
	return 0;
}

int linux_symbol_at(const struct linux_symbols *s, uint64_t addr, struct linux_symbol *ret)
{
	return kernel_symbol(s, addr, ret) ? linux_module_symbol(s, addr, ret) : 0;
}

bool linux_is_text(const struct linux_symbols *s, uint64_t addr)
{
	struct linux_module module;

	for (unsigned i = 0; i < ARRAY_SIZE(s->text); i++)
		if (addr >= s->text[i][0] && addr < s->text[i][1])
			return true;
	return !linux_module_at(s, addr, &module);
}

int linux_orc_for(const struct linux_symbols *s, uint64_t addr, struct linux_orc *ret)
{
	struct linux_module module;

	for (unsigned i = 0; i < ARRAY_SIZE(s->text); i++)
		if (addr >= s->text[i][0] && addr < s->text[i][1]) {
			*ret = s->orc;
			return ret->n ? 0 : -ENOENT;
		}
	if (linux_module_at(s, addr, &module) || !module.orc.n)
		return -ENOENT;
	*ret = module.orc;
	return 0;
}

const char *linux_symbol_text(const struct linux_symbols *s, uint64_t addr, char *buf, size_t cap)
{
	struct linux_symbol symbol;
	const char *open, *close;

	if (!s || linux_symbol_at(s, addr, &symbol)) {
		snprintf(buf, cap, "0x%" PRIx64, addr);
		return buf;
	}
	open = *symbol.module ? " [" : "";
	close = *symbol.module ? "]" : "";
	if (!*symbol.name)
		snprintf(buf, cap, "0x%" PRIx64 "%s%s%s", addr, open, symbol.module, close);
	else
		snprintf(buf, cap, "%s+0x%" PRIx64 "/0x%" PRIx64 "%s%s%s", symbol.name, addr - symbol.start,
			 symbol.bytes, open, symbol.module, close);
	return buf;
}

/* ---- making ---- */

/* What is asked for again and again, found in one walk through all names */
static void note_known(struct linux_symbols *s)
{
	uint64_t ips_end = 0;
	const struct {
		const char *name;
		uint64_t *at;
	} known[] = {
		{ "_stext", &s->text[0][0] }, { "_etext", &s->text[0][1] },
		{ "_sinittext", &s->text[1][0] }, { "_einittext", &s->text[1][1] },
		{ "modules", &s->modules }, { "__start_orc_unwind_ip", &s->orc.ips },
		{ "__stop_orc_unwind_ip", &ips_end }, { "__start_orc_unwind", &s->orc.entries },
	};
	char name[LINUX_NAME_BYTES];

	for (uint32_t i = 0; i < s->n; i++) {
		kallsyms_name(s, i, name, sizeof(name));
		for (size_t k = 0; *name && k < ARRAY_SIZE(known); k++)
			if (!*known[k].at && !strcmp(name + 1, known[k].name))
				*known[k].at = kallsyms_address(s, i);
	}
	if (s->orc.ips && s->orc.entries && ips_end > s->orc.ips)
		s->orc.n = (ips_end - s->orc.ips) / sizeof(int32_t);
}

int kallsyms_finish(struct linux_symbols *s)
{
	int err = index_names(s);

	if (!err)
		note_known(s);
	return err;
}

int linux_symbols_new(const struct linux_guest *guest, struct linux_symbols **ret)
{
	struct where where;
	struct linux_symbols *s;
	int err = find_all(guest, &where);

	if (err)
		return err;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->guest = guest;
	err = copy_all(s, &where);
	if (!err)
		err = kallsyms_finish(s);
	if (err)
		linux_symbols_free(s);
	else
		*ret = s;
	return err;
}

void linux_symbols_free(struct linux_symbols *s)
{
	if (!s)
		return;
	free(s->names);
	free(s->name_at);
	free(s->offsets);
	free(s);
}
