/*
 * Where a kernel's configuration is found: a text, a folder, or an image that has it inside. What an
 * image has inside stands between two marks, packed with gzip; the image itself may be packed too:
 *
 *	bzImage  [setup | code | payload: packed vmlinux]      vmlinux  [... IKCFG_ST gzip IKCFG_ED ...]
 *
 * Every length is the file's own claim; all are bounded by what is there and by the limits below.
 */
#include "lkvm/vm/kconfig.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/file.h"
#include "lkvm/log.h"
#include "lkvm/types.h"
#include "lkvm/x86/boot.h"

#define WHAT "kernel configuration"

#define TEXT_MOST  (8 * MIB)   /* one of today has 300 KB */
#define IMAGE_MOST (256 * MIB) /* packed */
#define ELF_MOST   (1 * GIB)   /* unpacked, without debug information */

#define MARK       "IKCFG_ST"
#define MARK_BYTES 8
#define STEP_BYTES (1 * MIB)

#define HEADER_AT  offsetof(struct boot_params, hdr)
#define HDRS_AT    0x202
#define V_PAYLOAD  0x0208 /* the version of the boot protocol that tells where it is */
#define HEAD_BYTES 4096

static int bad(const char *path, int err, const char *why)
{
	return log_errx(err, WHAT " '%s': %s", path, why);
}

/* Exactly @len bytes; mapped, so that freeing is the same for all */
static int read_part(int fd, const char *path, uint64_t at, size_t len, struct unpacked *ret)
{
	uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ssize_t n;

	if (p == MAP_FAILED)
		return log_err(-errno, WHAT " '%s'", path);
	n = file_read(fd, p, len, at);
	if (n < (ssize_t)len) {
		munmap(p, len);
		return n < 0 ? log_err((int)n, WHAT " '%s': read", path) :
			       bad(path, -ENOEXEC, "is truncated");
	}
	*ret = (struct unpacked){ .bytes = p, .len = len };
	return 0;
}

static bool is_setting(const uint8_t *line, const uint8_t *end)
{
	return end - line > 7 && !memcmp(line, "CONFIG_", 7);
}

/* A .config has a setting at the begin of a line, and is text. */
static bool is_text(const struct unpacked *u)
{
	const uint8_t *end = u->bytes + u->len, *at = u->bytes;

	if (memchr(u->bytes, 0, u->len))
		return false;
	for (; at; at = memchr(at, '\n', (size_t)(end - at)), at = at ? at + 1 : NULL)
		if (is_setting(at, end))
			return true;
	return false;
}

/* "# Linux/x86 6.1.170 Kernel Configuration", in one of the first lines */
static void find_version(struct kconfig *k)
{
	static const char before[] = "# Linux/", behind[] = " Kernel Configuration";
	char head[512] = "", *at, *end;

	memcpy(head, k->text.bytes, k->text.len < sizeof(head) ? k->text.len : sizeof(head) - 1);
	at = strstr(head, before);
	at = at ? strchr(at, ' ') : NULL;
	at = at ? strchr(at + 1, ' ') : NULL;
	end = at ? strstr(at, behind) : NULL;
	if (!at || !end || strspn(at + 1, "0123456789abcdefghijklmnopqrstuvwxyz.-+_") != (size_t)(end - at - 1))
		return;
	snprintf(k->version, sizeof(k->version), "%.*s", (int)(end - at - 1), at + 1);
}

/* Takes over @u. */
static int take_text(const char *path, struct unpacked *u, struct kconfig *ret)
{
	if (!is_text(u)) {
		unpacked_free(u);
		return bad(path, -ENOEXEC, "is no kernel configuration");
	}
	*ret = (struct kconfig){ .text = *u, .path = strdup(path) };
	if (!ret->path) {
		unpacked_free(u);
		return log_err(-ENOMEM, WHAT " '%s'", path);
	}
	find_version(ret);
	return 0;
}

/* The bytes behind the mark */
static int take_marked(const char *path, const uint8_t *at, size_t len, struct kconfig *ret)
{
	struct unpacked text;
	int err = unpack(WHAT, path, at, len, TEXT_MOST, &text);

	if (err == -EINVAL)
		return bad(path, -ENOEXEC, "what its CONFIG_IKCONFIG has is damaged");
	return err ? err : take_text(path, &text, ret);
}

/* The mark also stands in the code that looks for it: what follows the right one is gzip's. */
static const uint8_t *find_mark(const uint8_t *p, size_t len)
{
	static const uint8_t wanted[] = MARK "\x1f\x8b\x08";
	const uint8_t *at = memmem(p, len, wanted, sizeof(wanted) - 1);

	return at ? at + MARK_BYTES : NULL;
}

/* -ENODATA: none in it, not logged */
static int search_memory(const char *path, const struct unpacked *image, struct kconfig *ret)
{
	const uint8_t *at = find_mark(image->bytes, image->len);
	size_t left = at ? image->len - (size_t)(at - image->bytes) : 0;

	return at ? take_marked(path, at, left < TEXT_MOST ? left : TEXT_MOST, ret) : -ENODATA;
}

/* With its debug information a vmlinux is large, so it is read piece by piece. */
static int search_file(int fd, const char *path, uint64_t size, struct kconfig *ret)
{
	const size_t overlap = 64;
	struct unpacked piece;
	const uint8_t *mark;
	uint64_t at = 0;
	int err;

	while (at < size) {
		uint64_t left = size - at;

		err = read_part(fd, path, at, left < STEP_BYTES ? left : STEP_BYTES, &piece);
		if (err)
			return err;
		mark = find_mark(piece.bytes, piece.len);
		if (mark)
			at += (uint64_t)(mark - piece.bytes);
		unpacked_free(&piece);
		if (mark)
			break;
		at += left <= STEP_BYTES ? left : STEP_BYTES - overlap;
	}
	if (at >= size)
		return -ENODATA;
	err = read_part(fd, path, at, size - at < TEXT_MOST ? size - at : TEXT_MOST, &piece);
	if (!err)
		err = take_marked(path, piece.bytes, piece.len, ret);
	unpacked_free(&piece);
	return err;
}

/* @packed holds an image or a text, and @behind bytes of something else; takes it over */
static int read_packed(const char *path, struct unpacked *packed, size_t behind, struct kconfig *ret)
{
	struct unpacked image = { 0 };
	int err = unpack(WHAT, path, packed->bytes, packed->len - behind, ELF_MOST, &image);

	unpacked_free(packed);
	if (err == -EINVAL)
		return bad(path, -ENOEXEC, "its payload is compressed in no known way");
	if (err)
		return err;
	if (image.len >= 4 && !memcmp(image.bytes, "\x7f" "ELF", 4)) {
		err = search_memory(path, &image, ret);
		unpacked_free(&image);
		return err;
	}
	if (image.len <= TEXT_MOST)
		return take_text(path, &image, ret);
	unpacked_free(&image);
	return bad(path, -ENOEXEC, "is no kernel configuration");
}

/*
 * All but gzip have the unpacked size behind them, which is none of their own: lz4 would take it for
 * one more block.
 */
static int read_bzimage(int fd, const char *path, uint64_t size, const struct setup_header *hdr,
			struct kconfig *ret)
{
	uint64_t at = ((hdr->setup_sects ? hdr->setup_sects : 4U) + 1) * 512ULL + hdr->payload_offset;
	uint64_t len = hdr->payload_length;
	struct unpacked packed;
	const char *format;
	int err;

	if (hdr->version < V_PAYLOAD || !len)
		return -ENODATA;
	if (at >= size || len > size - at || len < 8)
		return bad(path, -ENOEXEC, "is truncated: its payload ends behind its end");
	if (len > IMAGE_MOST)
		return bad(path, -EFBIG, "its payload is too large to be unpacked");
	err = read_part(fd, path, at, len, &packed);
	if (err)
		return err;
	format = unpack_name(packed.bytes, packed.len);
	return read_packed(path, &packed, format && strcmp(format, "gzip") ? 4 : 0, ret);
}

static int read_fd(int fd, const char *path, uint64_t size, struct kconfig *ret)
{
	uint8_t head[HEAD_BYTES] = { 0 };
	ssize_t n = pread(fd, head, sizeof(head), 0);
	struct setup_header hdr;
	struct unpacked all;
	int err;

	if (n < 0)
		return log_err(-errno, WHAT " '%s': read", path);
	if (!memcmp(head + HDRS_AT, "HdrS", 4)) {
		memcpy(&hdr, head + HEADER_AT, sizeof(hdr));
		return read_bzimage(fd, path, size, &hdr, ret);
	}
	if (!memcmp(head, "\x7f" "ELF", 4))
		return search_file(fd, path, size, ret);
	if (!size)
		return bad(path, -ENOEXEC, "is empty");
	if (size > (unpack_name(head, (size_t)n) ? IMAGE_MOST : TEXT_MOST))
		return bad(path, -ENOEXEC, "is no kernel and no kernel configuration");
	err = read_part(fd, path, 0, size, &all);
	if (err)
		return err;
	return unpack_name(head, (size_t)n) ? read_packed(path, &all, 0, ret) : take_text(path, &all, ret);
}

static int read_file(const char *path, struct kconfig *ret)
{
	/* O_NONBLOCK: not to wait for the writer of a FIFO, which is refused */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	int err;

	if (fd < 0)
		return log_err(-errno, WHAT " '%s'", path);
	if (fstat(fd, &st))
		err = log_err(-errno, WHAT " '%s'", path);
	else if (!S_ISREG(st.st_mode))
		err = bad(path, -ENOEXEC, "is no regular file");
	else
		err = read_fd(fd, path, (uint64_t)st.st_size, ret);
	close(fd);
	return err;
}

/* A path out of the others, if there is a file */
static char *neighbour(const char *folder, int folder_len, const char *name)
{
	char *path;

	if (asprintf(&path, "%.*s%s", folder_len, folder, name) < 0)
		return NULL;
	if (!access(path, F_OK))
		return path;
	free(path);
	return NULL;
}

/* "config-REL" beside "vmlinuz-REL", ".config" where arch/x86/boot/bzImage or vmlinux was built */
static char *find_beside(const char *image)
{
	const char *slash = strrchr(image, '/'), *base = slash ? slash + 1 : image;
	char name[300];

	if (!strncmp(base, "vmlinu", 6) && (base[6] == 'z' || base[6] == 'x') && base[7] == '-') {
		snprintf(name, sizeof(name), "config%s", base + 7);
		return neighbour(image, (int)(base - image), name);
	}
	return neighbour(image, (int)boot_tree_len(image), ".config");
}

static int read_image(const char *path, struct kconfig *ret)
{
	int err = read_file(path, ret);
	char *beside;

	if (err != -ENODATA)
		return err;
	beside = find_beside(path);
	if (!beside)
		return bad(path, -ENOENT,
			   "it has none inside (CONFIG_IKCONFIG), and there is none beside it");
	err = read_file(beside, ret);
	free(beside);
	return err == -ENODATA ? bad(path, -ENOEXEC, "what is beside it is no configuration") : err;
}

/* A name without a slash may be a release. */
static char *find_release(const char *name)
{
	static const char *const place[][2] = { { "/boot/config-", "" },
						{ "/lib/modules/", "/config" },
						{ "/lib/modules/", "/build/.config" } };

	for (size_t i = 0; !strchr(name, '/') && *name && i < ARRAY_SIZE(place); i++) {
		char *path;

		if (asprintf(&path, "%s%s%s", place[i][0], name, place[i][1]) < 0)
			return NULL;
		if (!access(path, F_OK))
			return path;
		free(path);
	}
	return NULL;
}

int kconfig_read(const char *name, struct kconfig *ret)
{
	struct stat st;
	const bool there = !stat(name, &st);
	char *path;
	int err;

	if (there && !S_ISDIR(st.st_mode))
		return read_image(name, ret);
	if (!there)
		path = find_release(name);
	else if (asprintf(&path, "%s/.config", name) < 0)
		path = NULL;
	if (!path)
		return log_err(-ENOENT, WHAT " '%s'", name);
	err = read_image(path, ret);
	free(path);
	return err;
}

void kconfig_free(struct kconfig *k)
{
	unpacked_free(&k->text);
	free(k->path);
	k->path = NULL;
}
