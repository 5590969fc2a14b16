/* Of a module's ELF file the few parts that lead to its .modinfo; see lkvm/vm/modinfo.h. */
#include "lkvm/vm/modinfo.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lkvm/file.h"
#include "lkvm/types.h"

#define PART_MOST (16 * MIB) /* section headers, their names, .modinfo */

struct source {
	const uint8_t *bytes; /* NULL: those of fd */
	uint64_t len;
	int fd;
};

/* All of it or nothing */
static int fetch(const struct source *s, uint64_t at, uint64_t len, void *dst)
{
	ssize_t n = (ssize_t)len;

	if (at > s->len || len > s->len - at)
		return -ENOEXEC;
	if (s->bytes)
		memcpy(dst, s->bytes + at, len);
	else
		n = file_read(s->fd, dst, len, at);
	return n < 0 ? (int)n : (uint64_t)n < len ? -ENOEXEC : 0;
}

static int fetch_new(const struct source *s, uint64_t at, uint64_t len, void *ret)
{
	void *part;
	int err;

	if (!len || len > PART_MOST)
		return -ENOEXEC;
	part = malloc(len);
	if (!part)
		return -ENOMEM;
	err = fetch(s, at, len, part);
	if (err)
		free(part);
	else
		*(void **)ret = part;
	return err;
}

static const Elf64_Shdr *find_section(const Elf64_Shdr *sections, unsigned n, const char *names, size_t names_len)
{
	static const char name[] = ".modinfo";

	for (unsigned i = 0; i < n; i++) {
		const Elf64_Shdr *s = &sections[i];

		if (s->sh_type == SHT_PROGBITS && s->sh_name < names_len &&
		    names_len - s->sh_name >= sizeof(name) && !memcmp(names + s->sh_name, name, sizeof(name)))
			return s;
	}
	return NULL;
}

static int fetch_info(const struct source *s, const Elf64_Shdr *sections, const Elf64_Ehdr *eh, struct modinfo *ret)
{
	const Elf64_Shdr *strings = &sections[eh->e_shstrndx], *info;
	char *names;
	int err = fetch_new(s, strings->sh_offset, strings->sh_size, &names);

	if (err)
		return err;
	info = find_section(sections, eh->e_shnum, names, strings->sh_size);
	free(names);
	err = info ? fetch_new(s, info->sh_offset, info->sh_size, &ret->text) : -ENOEXEC;
	if (err)
		return err;
	ret->len = info->sh_size;
	ret->text[ret->len - 1] = '\0';
	return 0;
}

static int find(const struct source *s, struct modinfo *ret)
{
	Elf64_Shdr *sections;
	Elf64_Ehdr eh;
	int err = fetch(s, 0, sizeof(eh), &eh);

	if (err)
		return err;
	if (memcmp(eh.e_ident, ELFMAG, SELFMAG) || eh.e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh.e_machine != EM_X86_64 || eh.e_type != ET_REL || eh.e_shentsize != sizeof(*sections) ||
	    eh.e_shstrndx >= eh.e_shnum)
		return -ENOEXEC;
	err = fetch_new(s, eh.e_shoff, eh.e_shnum * sizeof(*sections), &sections);
	if (err)
		return err;
	err = fetch_info(s, sections, &eh, ret);
	free(sections);
	return err;
}

int modinfo_find(const void *elf, size_t len, struct modinfo *ret)
{
	const struct source s = { .bytes = elf, .len = len };

	return find(&s, ret);
}

int modinfo_read(int fd, struct modinfo *ret)
{
	struct source s = { .fd = fd };
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOEXEC;
	s.len = (uint64_t)st.st_size;
	return find(&s, ret);
}

void modinfo_free(struct modinfo *info)
{
	free(info->text);
	*info = (struct modinfo){ 0 };
}

const char *modinfo_next(const struct modinfo *info, const char *key, const char *after)
{
	const char *at = after ? after + strlen(after) + 1 : info->text, *end = info->text + info->len;
	const size_t len = strlen(key);

	for (; at < end; at += strlen(at) + 1)
		if (!strncmp(at, key, len) && at[len] == '=')
			return at + len + 1;
	return NULL;
}
