/* What the files that read symbols share; nobody else includes this. */
#ifndef LINUX_SYMBOLS_INTERNAL_H
#define LINUX_SYMBOLS_INTERNAL_H

#include "lkvm/linux/symbols.h"

#define MODULE_RANGES 16
#define MAX_MODULES   1024

/* One module, as far as it can be told without its struct's layout; linux/modules.c */
struct linux_module {
	char name[LINUX_MODULE_BYTES];
	unsigned n_ranges;
	struct {
		uint64_t start, bytes;
	} range[MODULE_RANGES];
	uint64_t symtab, n_symtab, strtab; /* 0: not found */
	struct linux_orc orc;
};

struct linux_symbols {
	const struct linux_guest *guest;
	uint32_t n;
	uint8_t *names;       /* as the kernel has them, */
	uint32_t names_bytes;
	uint32_t *name_at;    /* and where each begins in there */
	int32_t *offsets;
	uint64_t base;        /* what they count from */
	bool has_absolute;    /* those that are not negative are addresses themselves */
	char tokens[65536 + 1];
	uint16_t token_at[256];
	/* Of symbols that are asked for again and again; 0: there are none */
	uint64_t text[2][2];  /* begin and end: the kernel, and what it starts with */
	uint64_t modules;     /* the list's head */
	struct linux_orc orc;
};

/** kallsyms_address(), kallsyms_name() - of symbol @i; the name's first character is its type */
uint64_t kallsyms_address(const struct linux_symbols *s, uint32_t i);
void kallsyms_name(const struct linux_symbols *s, uint32_t i, char *ret, size_t cap);

/** kallsyms_finish() - once names, offsets and tokens are there: what is asked for often; 0 or -EBADMSG */
int kallsyms_finish(struct linux_symbols *s);

/** linux_module_at() - the module that has an address; Return: 0 or -ENOENT */
int linux_module_at(const struct linux_symbols *s, uint64_t addr, struct linux_module *ret);
/** linux_module_symbol() - what of a module an address is; Return: 0, @ret has at least the module's name */
int linux_module_symbol(const struct linux_symbols *s, uint64_t addr, struct linux_symbol *ret);

#endif
