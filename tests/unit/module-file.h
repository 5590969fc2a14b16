/* Modules that only say something of themselves, in a folder of one test */
#ifndef TESTS_MODULE_FILE_H
#define TESTS_MODULE_FILE_H

#include <elf.h>
#include <stdint.h>
#include <string.h>

#include "own-folder.h"

/* An ELF file with what @info says in .modinfo; '|' stands for a NUL. Return: its length */
static inline size_t make_module(const char *info, uint8_t ret[1024])
{
	static const char names[] = "\0.modinfo\0.shstrtab";
	const size_t len = strlen(info) + 1;
	Elf64_Ehdr eh = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 }, .e_type = ET_REL,
			  .e_machine = EM_X86_64, .e_shoff = 512, .e_shentsize = sizeof(Elf64_Shdr),
			  .e_shnum = 3, .e_shstrndx = 2 };
	Elf64_Shdr s[3] = { { 0 },
			    { .sh_name = 1, .sh_type = SHT_PROGBITS, .sh_offset = 64, .sh_size = len },
			    { .sh_name = 10, .sh_type = SHT_STRTAB, .sh_offset = 400, .sh_size = sizeof(names) } };

	memset(ret, 0, 1024);
	memcpy(ret, &eh, sizeof(eh));
	memcpy(ret + 64, info, len);
	for (char *at = (char *)ret + 64; (at = strchr(at, '|')); at++)
		*at = '\0';
	memcpy(ret + 400, names, sizeof(names));
	memcpy(ret + 512, s, sizeof(s));
	return 512 + sizeof(s);
}

static inline void put_module(const char *path, const char *info)
{
	uint8_t bytes[1024];
	size_t len = make_module(info, bytes);

	put(path, bytes, len);
}

#endif
