/* The file with a kernel's symbols; see lkvm/vm/vmlinux.h. What stands in files is not trusted. */
#include "lkvm/vm/vmlinux.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_SECTIONS 4096
#define MAX_NAMES    (1024 * 1024) /* bytes of section names */
#define MAX_NOTES    65536

/* ---- the file ---- */

static int read_at(int fd, uint64_t at, void *dst, size_t n)
{
	ssize_t got = at <= INT64_MAX ? pread(fd, dst, n, (off_t)at) : -1;

	return got == (ssize_t)n ? 0 : -ENOEXEC;
}

/* Return: heap, with a NUL behind it; NULL: it is not all there, or more than @most */
static void *read_section(int fd, const Elf64_Shdr *section, size_t most)
{
	char *bytes = section->sh_size <= most ? malloc(section->sh_size + 1) : NULL;

	if (!bytes)
		return NULL;
	if (read_at(fd, section->sh_offset, bytes, section->sh_size)) {
		free(bytes);
		return NULL;
	}
	bytes[section->sh_size] = '\0';
	return bytes;
}

static void find_build_id(const uint8_t *notes, size_t n, struct vmlinux *ret)
{
	Elf64_Nhdr note;

	while (n >= sizeof(note)) {
		memcpy(&note, notes, sizeof(note));
		notes += sizeof(note);
		n -= sizeof(note);
		const uint64_t name = ((uint64_t)note.n_namesz + 3) & ~3ULL, id = ((uint64_t)note.n_descsz + 3) & ~3ULL;

		if (name > n || id > n - name)
			return;
		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && !memcmp(notes, "GNU", 4) &&
		    note.n_descsz <= (VMLINUX_ID_BYTES - 1) / 2) {
			for (uint32_t i = 0; i < note.n_descsz; i++)
				snprintf(ret->build_id + 2 * i, 3, "%02x", notes[name + i]);
			return;
		}
		notes += name + id;
		n -= (size_t)(name + id);
	}
}

static void look_at(int fd, const Elf64_Shdr *section, const char *name, struct vmlinux *ret)
{
	uint8_t *notes;

	if (section->sh_type == SHT_SYMTAB)
		ret->has_symbols = true;
	if (!strcmp(name, ".data..percpu"))
		ret->percpu_at_0 = !section->sh_addr;
	if (section->sh_type != SHT_NOTE || *ret->build_id)
		return;
	notes = read_section(fd, section, MAX_NOTES);
	if (notes)
		find_build_id(notes, section->sh_size, ret);
	free(notes);
}

static int read_sections(int fd, const Elf64_Ehdr *head, Elf64_Shdr *sections, struct vmlinux *ret)
{
	const Elf64_Shdr *names = &sections[head->e_shstrndx];
	char *text;
	int err = read_at(fd, head->e_shoff, sections, head->e_shnum * sizeof(*sections));

	if (err)
		return err;
	text = read_section(fd, names, MAX_NAMES);
	if (!text)
		return -ENOEXEC;
	for (unsigned i = 0; i < head->e_shnum; i++)
		look_at(fd, &sections[i], sections[i].sh_name < names->sh_size ? text + sections[i].sh_name : "", ret);
	free(text);
	return 0;
}

static int read_file(int fd, struct vmlinux *ret)
{
	Elf64_Shdr *sections;
	Elf64_Ehdr head;
	int err = read_at(fd, 0, &head, sizeof(head));

	if (err || memcmp(head.e_ident, ELFMAG, SELFMAG) || head.e_ident[EI_CLASS] != ELFCLASS64 ||
	    head.e_ident[EI_DATA] != ELFDATA2LSB || head.e_shentsize != sizeof(*sections) || !head.e_shnum ||
	    head.e_shnum > MAX_SECTIONS || head.e_shstrndx >= head.e_shnum)
		return -ENOEXEC;
	sections = malloc(head.e_shnum * sizeof(*sections));
	if (!sections)
		return -ENOMEM;
	err = read_sections(fd, &head, sections, ret);
	free(sections);
	return err;
}

int vmlinux_read(const char *path, struct vmlinux *ret)
{
	struct vmlinux found = { 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err;

	if (fd < 0)
		return -errno;
	err = read_file(fd, &found);
	close(fd);
	if (!err)
		*ret = found;
	return err;
}

/* ---- where it is ---- */

static bool fits(const char *path, const char *build_id)
{
	struct vmlinux v;

	return !vmlinux_read(path, &v) && v.has_symbols &&
	       (!*build_id || !*v.build_id || !strcmp(v.build_id, build_id));
}

/* Return: the path, heap, if that is one; else NULL */
static char *try(char *path, const char *build_id)
{
	if (path && fits(path, build_id))
		return path;
	free(path);
	return NULL;
}

#define TRY(build_id, ...) try(asprintf(&candidate, __VA_ARGS__) < 0 ? NULL : candidate, build_id)

/* A build has its image at arch/x86/boot, and vmlinux at its top; or the image is vmlinux itself. */
static char *near_image(const char *image, const char *build_id)
{
	const char *slash = strrchr(image, '/');
	const int n = slash ? (int)(slash - image) : 1;
	const char *folder = slash ? image : ".";
	char *candidate, *path = fits(image, build_id) ? strdup(image) : NULL;

	if (!path)
		path = TRY(build_id, "%.*s/../../../vmlinux", n, folder);
	if (!path)
		path = TRY(build_id, "%.*s/vmlinux", n, folder);
	return path;
}

/* Names of a release come from the guest: none leads out of these folders. */
static char *of_release(const char *root, const char *release, const char *build_id)
{
	char *candidate, *path;

	if (!*release || strchr(release, '/') || release[0] == '.')
		return NULL;
	path = TRY(build_id, "%s/usr/lib/debug/boot/vmlinux-%s", root, release);
	if (!path)
		path = TRY(build_id, "%s/usr/lib/debug/lib/modules/%s/vmlinux", root, release);
	if (!path)
		path = TRY(build_id, "%s/lib/modules/%s/build/vmlinux", root, release);
	return path;
}

static char *of_build_id(const char *root, const char *build_id)
{
	const char *cache = getenv("DEBUGINFOD_CACHE_PATH"), *home = getenv("HOME");
	char *candidate, *path = NULL;

	if (strlen(build_id) < 4 || strspn(build_id, "0123456789abcdef") != strlen(build_id))
		return NULL;
	path = TRY(build_id, "%s/usr/lib/debug/.build-id/%.2s/%s.debug", root, build_id, build_id + 2);
	if (!path && cache)
		path = TRY(build_id, "%s/%s/debuginfo", cache, build_id);
	if (!path && home)
		path = TRY(build_id, "%s/.cache/debuginfod_client/%s/debuginfo", home, build_id);
	return path;
}

char *vmlinux_find(const char *root, const char *image, const char *release, const char *build_id)
{
	char *path = image ? near_image(image, build_id) : NULL;

	if (!path)
		path = of_build_id(root, build_id);
	return path ? path : of_release(root, release, build_id);
}
