/* Links: disk/image.o disk/image-vmdk.o */
/*
 * The header of an image of a stranger: the first byte chooses the format, the rest is the file. What
 * QEMU's scan of a vmdk descriptor takes for the name of an extent is seen here too.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../disk/image.h"
#include "input.h"

static int fd;

static bool has(const struct image_header *h, const char *name)
{
	for (unsigned i = 0; i < h->n_refs; i++)
		if (h->refs[i].kind != IMAGE_BACKING && !strcmp(h->refs[i].name, name))
			return true;
	return false;
}

/* As QEMU does it: a scan at the beginning of each line, which may go on into the next ones */
static void check_extents(const struct image_header *h, const char *text)
{
	static const char *const kinds[] = { "FLAT", "SPARSE", "VMFS", "VMFSSPARSE", "SESPARSE" };

	for (const char *line = text; *line;) {
		char access[11], kind[11], name[512];
		int64_t sectors;

		if (sscanf(line, "%10s %" SCNd64 " %10s \"%511[^\n\r\"]", access, &sectors, kind, name) == 4 &&
		    !strcmp(access, "RW"))
			for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
				check(strcmp(kind, kinds[i]) || has(h, name));
		line += strcspn(line, "\n");
		line += *line == '\n';
	}
}

static void check_header(const struct image_header *h, int err)
{
	check(!err || err == -EINVAL);
	check((err == -EINVAL) == (h->why != NULL));
	check(!h->n_refs == !h->refs);
	for (unsigned i = 0; i < h->n_refs; i++)
		check(h->refs[i].name && memchr(h->refs[i].format, '\0', IMAGE_FORMAT_BYTES));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const formats[] = { "qcow2", "qcow", "qed", "vpc", "vmdk" };
	struct image_header h;
	char text[4096];
	int err;

	if (!size || size > sizeof(text))
		return -1;
	if (fd <= 0)
		fd = memfd_create("image", MFD_CLOEXEC);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	check(!ftruncate(fd, 0) && pwrite(fd, text, size - 1, 0) == (ssize_t)size - 1);
	err = image_read(fd, formats[data[0] % 5], &h);
	check_header(&h, err);
	if (!err && data[0] % 5 == 4 && size > 32 && memcmp(text, "KDMV", 4) && memcmp(text, "COWD", 4))
		check_extents(&h, text);
	image_header_free(&h);
	return 0;
}
