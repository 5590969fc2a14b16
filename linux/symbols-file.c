/*
 * Symbols of a kernel from a file of the host's: System.map, or an ELF file with a symbol table; see
 * lkvm/linux/symbols.h. They are brought into the form that kallsyms has, moved to where KASLR has put the kernel.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "symbols-internal.h"

#define KERNEL_START 0xffffffff80000000ULL /* below are those of a CPU's own variables, before 6.15 */
#define FILE_MAX     (256 * MIB)           /* of what is read of it: a symbol table, its names, a map */
#define NAME_MAX_BYTES 500
#define MAX_ENTRIES  (1 << 22)

struct entry {
	uint64_t addr;
	const char *name;
	size_t len;
	char type;
	uint32_t order; /* of two with one address, the first in the file stays the first */
};

struct list {
	struct entry *entry;
	uint32_t n, cap;
};

static int add(struct list *l, uint64_t addr, char type, const char *name, size_t len)
{
	struct entry *more;

	if (addr < KERNEL_START || !len || l->n == MAX_ENTRIES)
		return 0;
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 4096;
		more = reallocarray(l->entry, l->cap, sizeof(*more));
		if (!more)
			return -ENOMEM;
		l->entry = more;
	}
	l->entry[l->n] = (struct entry){ addr, name, len < NAME_MAX_BYTES ? len : NAME_MAX_BYTES, type, l->n };
	l->n++;
	return 0;
}

/* ---- the form of kallsyms ---- */

static int by_address(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->addr != y->addr)
		return x->addr < y->addr ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

/* Each token is one character. */
static void set_tokens(struct linux_symbols *s)
{
	for (unsigned c = 0; c < 256; c++) {
		s->token_at[c] = (uint16_t)(2 * c);
		s->tokens[2 * c] = (char)c;
	}
}

static void put_names(struct linux_symbols *s, const struct list *l)
{
	uint8_t *at = s->names;

	for (uint32_t i = 0; i < l->n; i++) {
		const struct entry *e = &l->entry[i];
		const size_t len = e->len + 1;

		*at++ = (uint8_t)(0x80 | (len & 0x7f));
		*at++ = (uint8_t)(len >> 7);
		*at++ = (uint8_t)e->type;
		memcpy(at, e->name, e->len);
		at += e->len;
		s->offsets[i] = (int32_t)(uint32_t)(e->addr - l->entry[0].addr);
	}
}

static int build(const struct linux_guest *guest, struct list *l, struct linux_symbols **ret)
{
	struct linux_symbols *s = l->n ? calloc(1, sizeof(*s)) : NULL;
	size_t bytes = 0;
	int err = 0;

	if (!s)
		return l->n ? -ENOMEM : -ENOENT;
	qsort(l->entry, l->n, sizeof(l->entry[0]), by_address);
	for (uint32_t i = 0; i < l->n; i++)
		bytes += l->entry[i].len + 3;
	s->guest = guest;
	s->n = l->n;
	s->base = l->entry[0].addr + guest->kaslr_offset;
	s->names_bytes = (uint32_t)bytes;
	s->names = malloc(bytes);
	s->name_at = calloc(s->n, sizeof(*s->name_at));
	s->offsets = calloc(s->n, sizeof(*s->offsets));
	if (!s->names || !s->name_at || !s->offsets || bytes > UINT32_MAX)
		err = -ENOMEM;
	if (!err) {
		set_tokens(s);
		put_names(s, l);
		err = kallsyms_finish(s);
	}
	if (err)
		linux_symbols_free(s);
	else
		*ret = s;
	return err;
}

/* ---- System.map: "ffffffff81000000 T _text" ---- */

static int read_map(char *text, struct list *l)
{
	char *line = text, *end, *rest;
	int err = 0;

	for (; !err && *line; line = end + (*end == '\n')) {
		end = line + strcspn(line, "\n");
		errno = 0;
		const uint64_t addr = strtoull(line, &rest, 16);

		if (errno || rest == line || end - rest < 4 || rest[0] != ' ' || rest[2] != ' ')
			continue;
		err = add(l, addr, rest[1], rest + 3, strcspn(rest + 3, " \t\r\n"));
	}
	return err;
}

/* ---- ELF ---- */

/* Return: heap, with a NUL behind it; NULL: not all of it is there, or out of memory */
static char *read_part(int fd, uint64_t at, uint64_t bytes)
{
	char *ret;
	uint64_t done = 0;

	if (at > INT64_MAX / 2 || bytes > FILE_MAX)
		return NULL;
	ret = calloc(1, bytes + 1);
	while (ret && done < bytes) {
		const ssize_t n = pread(fd, ret + done, bytes - done, (off_t)(at + done));

		if (n <= 0) {
			free(ret);
			return NULL;
		}
		done += (uint64_t)n;
	}
	return ret;
}

static int add_elf_symbols(const Elf64_Sym *symbols, uint64_t n, const char *names, uint64_t names_bytes, struct list *l)
{
	int err = 0;

	for (uint64_t i = 0; !err && i < n; i++) {
		const unsigned type = ELF64_ST_TYPE(symbols[i].st_info);

		if (type > STT_FUNC || symbols[i].st_shndx == SHN_UNDEF || symbols[i].st_name >= names_bytes)
			continue;
		err = add(l, symbols[i].st_value, type == STT_FUNC ? 't' : 'd', names + symbols[i].st_name,
			  strlen(names + symbols[i].st_name));
	}
	return err;
}

/* @ret_names: what the entries point into */
static int read_table(int fd, const Elf64_Shdr *table, const Elf64_Shdr *strings, struct list *l, char **ret_names)
{
	char *symbols = read_part(fd, table->sh_offset, table->sh_size), *names;
	int err = -EBADMSG;

	names = symbols ? read_part(fd, strings->sh_offset, strings->sh_size) : NULL;
	if (names)
		err = add_elf_symbols((const Elf64_Sym *)(const void *)symbols, table->sh_size / sizeof(Elf64_Sym), names,
				      strings->sh_size, l);
	free(symbols);
	*ret_names = names;
	return err;
}

static int read_elf(int fd, const Elf64_Ehdr *head, struct list *l, char **ret_names)
{
	const uint64_t n = head->e_shnum;
	Elf64_Shdr *sections;
	int err = -ENOENT;

	if (head->e_ident[EI_CLASS] != ELFCLASS64 || head->e_machine != EM_X86_64 || !n ||
	    head->e_shentsize != sizeof(*sections))
		return -EBADMSG;
	sections = (Elf64_Shdr *)(void *)read_part(fd, head->e_shoff, n * sizeof(*sections));
	if (!sections)
		return -EBADMSG;
	for (uint64_t i = 0; i < n; i++)
		if (sections[i].sh_type == SHT_SYMTAB && sections[i].sh_link < n) {
			err = read_table(fd, &sections[i], &sections[sections[i].sh_link], l, ret_names);
			break;
		}
	free(sections);
	return err;
}

int linux_symbols_read(const struct linux_guest *guest, int fd, struct linux_symbols **ret)
{
	struct list list = { 0 };
	Elf64_Ehdr head = { 0 };
	char *text = NULL;
	struct stat st;
	int err;

	if (fstat(fd, &st))
		return -errno;
	if (pread(fd, &head, sizeof(head), 0) >= (ssize_t)sizeof(head) && !memcmp(head.e_ident, ELFMAG, SELFMAG)) {
		err = read_elf(fd, &head, &list, &text);
	} else {
		text = read_part(fd, 0, (uint64_t)st.st_size);
		err = text ? read_map(text, &list) : -EBADMSG;
	}
	if (!err)
		err = build(guest, &list, ret);
	free(list.entry);
	free(text);
	return err;
}
