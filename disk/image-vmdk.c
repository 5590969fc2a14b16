/*
 * vmdk: its descriptor, a text of its own or inside an image, names extents and a parent. QEMU reads
 * it with sscanf() and strstr(), so what counts as a name here is more than what the format allows:
 * whatever QEMU may take for one.
 */
#include "image.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "lkvm/types.h"

#define TEXT_BYTES   (64 * KIB) /* of a descriptor, at most */
#define PARENT_BYTES 10240      /* of an image's own one QEMU looks at no more for the parent */
#define NAME_BYTES   511        /* of an extent: the rest of it QEMU would not see */
#define PARENT       "parentFileNameHint"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\r';
}

/* Of what kind is the extent whose name's quotation mark is at @quote? */
static enum image_ref_kind extent_kind(const char *line, const char *quote)
{
	static const char *const flat[] = { "FLAT", "VMFS", "ZERO" };
	const char *end = quote, *start;

	while (end > line && is_blank(end[-1]))
		end--;
	for (start = end; start > line && !is_blank(start[-1]);)
		start--;
	for (unsigned i = 0; i < ARRAY_SIZE(flat); i++)
		if (end - start == 4 && !memcmp(start, flat[i], 4))
			return IMAGE_EXTENT_RAW;
	return IMAGE_EXTENT;
}

/* KEY="VALUE" or KEY = "VALUE": no extent, as its kind would have to be "=" */
static bool is_value(const char *line, const char *quote)
{
	while (quote > line && is_blank(quote[-1]))
		quote--;
	return quote > line && quote[-1] == '=';
}

/*
 * Words of an extent may stand in several lines, but none of those begins with something else. So its
 * name is the first thing in quotation marks in a line, whatever stands in the lines before.
 */
static int find_extents(struct image_header *h, const char *text)
{
	for (const char *line = text, *next; line; line = next ? next + 1 : NULL) {
		const char *quote = strpbrk(line, "\"\n");
		size_t len;
		int err;

		next = strchr(line, '\n');
		if (!quote || *quote == '\n' || is_value(line, quote) || line[strspn(line, " \t")] == '#')
			continue;
		len = strcspn(quote + 1, "\"\r\n");
		if (len > NAME_BYTES)
			return image_damaged(h, "the name of an extent is too long");
		err = image_add(h, extent_kind(line, quote), quote + 1, len, "");
		if (err)
			return err;
	}
	return 0;
}

static int find_parent(struct image_header *h, const char *text)
{
	const char *name = strstr(text, PARENT), *end;

	if (!name)
		return 0;
	name += strlen(PARENT);
	end = strlen(name) < 2 ? NULL : strchr(name + 2, '"');
	if (!end)
		return image_damaged(h, "its descriptor is damaged");
	return image_add(h, IMAGE_BACKING, name + 2, (size_t)(end - name - 2), "vmdk");
}

/* @text: TEXT_BYTES and a NUL, all of them 0 */
static int read_text(struct image_header *h, int fd, uint64_t off, bool extents, char *text)
{
	ssize_t n = off < INT64_MAX - TEXT_BYTES ? pread(fd, text, TEXT_BYTES, (off_t)off) : -1;
	int err = 0;

	if (n <= 0)
		return image_damaged(h, "it has no descriptor");
	if (extents && strlen(text) == TEXT_BYTES)
		return image_damaged(h, "its descriptor is too long");
	if (extents)
		err = find_extents(h, text);
	else
		text[PARENT_BYTES] = '\0';
	return err ? err : find_parent(h, text);
}

static int read_descriptor(struct image_header *h, int fd, uint64_t off, bool extents)
{
	char *text = calloc(1, TEXT_BYTES + 1);
	int err = text ? read_text(h, fd, off, extents, text) : -ENOMEM;

	free(text);
	return err;
}

int image_read_vmdk(struct image_header *h, int fd)
{
	struct {
		char magic[4];
		uint32_t version, flags;
		uint64_t capacity, grain, desc_off;
	} __attribute__((packed)) v;

	if (!image_bytes(fd, 0, &v, sizeof(v)))
		return image_damaged(h, "it is not in vmdk format");
	if (!memcmp(v.magic, "COWD", 4))
		return read_descriptor(h, fd, 512, false);
	if (!memcmp(v.magic, "KDMV", 4)) {
		v.desc_off = le64toh(v.desc_off);
		if (v.desc_off > INT64_MAX / 512)
			return image_damaged(h, "its header is damaged");
		return v.desc_off ? read_descriptor(h, fd, v.desc_off * 512, !v.capacity) : 0;
	}
	return read_descriptor(h, fd, 0, true);
}
