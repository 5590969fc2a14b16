/*
 * cpio, "newc": a head of 110 characters, the name with its NUL, zeros up to a multiple of 4, the
 * bytes, zeros up to a multiple of 4; the file named TRAILER!!! ends it.
 */
#include "lkvm/vm/initramfs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "lkvm/crc32c.h"
#include "lkvm/types.h"

#define HEAD_BYTES 110
#define TRAILER    "TRAILER!!!"
#define END_ALIGN  512 /* as cpio(1) does it; another archive may follow */

static uint64_t head_bytes(const char *name)
{
	return ALIGN_UP(HEAD_BYTES + strlen(name) + 1, 4);
}

static bool is_good_name(const char *name)
{
	const char *at = name;

	while (*at) {
		size_t n = strcspn(at, "/");

		if (!n || (n == 1 && at[0] == '.') || (n == 2 && at[0] == '.' && at[1] == '.'))
			return false;
		at += n;
		if (*at == '/' && !*++at)
			return false;
	}
	return at > name && at - name < 4096 && strcmp(name, TRAILER);
}

static const struct initramfs_file *find(const struct initramfs *fs, const char *name, size_t len)
{
	for (unsigned i = 0; i < fs->n; i++)
		if (!strncmp(fs->files[i].name, name, len) && !fs->files[i].name[len])
			return &fs->files[i];
	return NULL;
}

/* Return: 0 or -ENOMEM; the name is @len characters of @name */
static int append(struct initramfs *fs, const char *name, size_t len, const struct initramfs_file *file)
{
	struct initramfs_file *more = realloc(fs->files, (fs->n + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	fs->files = more;
	more[fs->n] = *file;
	more[fs->n].name = strndup(name, len);
	if (!more[fs->n].name)
		return -ENOMEM;
	fs->n++;
	return 0;
}

/* The kernel makes no folder by itself. */
static int add_parents(struct initramfs *fs, const char *name)
{
	static const struct initramfs_file folder = { .mode = S_IFDIR | 0755 };
	int err = 0;

	for (const char *at = name; !err && (at = strchr(at, '/')); at++) {
		const struct initramfs_file *there = find(fs, name, (size_t)(at - name));

		if (!there)
			err = append(fs, name, (size_t)(at - name), &folder);
		else if (!S_ISDIR(there->mode))
			err = -EEXIST;
	}
	return err;
}

static int add(struct initramfs *fs, const char *name, const struct initramfs_file *file)
{
	int err;

	if (!is_good_name(name))
		return -EINVAL;
	if (find(fs, name, strlen(name)))
		return -EEXIST;
	err = add_parents(fs, name);
	return err ? err : append(fs, name, strlen(name), file);
}

int initramfs_add(struct initramfs *fs, const char *name, mode_t mode, const void *bytes, size_t len)
{
	const struct initramfs_file file = { .mode = mode, .bytes = bytes, .len = (uint32_t)len };

	return len > UINT32_MAX ? -EFBIG : add(fs, name, &file);
}

int initramfs_add_node(struct initramfs *fs, const char *name, mode_t mode, dev_t device)
{
	const struct initramfs_file file = { .mode = mode, .device = device };

	return add(fs, name, &file);
}

void initramfs_free(struct initramfs *fs)
{
	for (unsigned i = 0; i < fs->n; i++)
		free(fs->files[i].name);
	free(fs->files);
	*fs = (struct initramfs){ 0 };
}

uint64_t initramfs_bytes(const struct initramfs *fs)
{
	uint64_t at = 0;

	for (unsigned i = 0; i < fs->n; i++)
		at += head_bytes(fs->files[i].name) + ALIGN_UP((uint64_t)fs->files[i].len, 4);
	return ALIGN_UP(at + head_bytes(TRAILER), END_ALIGN);
}

/* ---- the archive, piece by piece ---- */

struct sink {
	void (*take)(struct sink *sink, const void *bytes, size_t len);
	uint8_t *dst; /* of a writer */
	uint32_t sum;
};

static void put_zeros(struct sink *sink, size_t len)
{
	static const uint8_t zeros[END_ALIGN];

	sink->take(sink, zeros, len);
}

static void put_head(struct sink *sink, const struct initramfs_file *f, const char *name, unsigned ino)
{
	const size_t len = strlen(name) + 1;
	char head[HEAD_BYTES + 1];

	/* ino mode uid gid nlink mtime size, device that it is on, device that it is, name, checksum */
	snprintf(head, sizeof(head), "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", ino,
		 f->mode, 0, 0, S_ISDIR(f->mode) ? 2 : 1, 0, f->len, 0, 0, major(f->device),
		 minor(f->device), (unsigned)len, 0);
	sink->take(sink, head, HEAD_BYTES);
	sink->take(sink, name, len);
	put_zeros(sink, head_bytes(name) - HEAD_BYTES - len);
}

static void put_all(struct sink *sink, const struct initramfs *fs)
{
	static const struct initramfs_file trailer = { 0 };
	uint64_t at = 0;

	for (unsigned i = 0; i < fs->n; i++) {
		const struct initramfs_file *f = &fs->files[i];
		const uint64_t padded = ALIGN_UP((uint64_t)f->len, 4);

		put_head(sink, f, f->name, i + 1);
		if (f->len)
			sink->take(sink, f->bytes, f->len);
		put_zeros(sink, padded - f->len);
		at += head_bytes(f->name) + padded;
	}
	put_head(sink, &trailer, TRAILER, 0);
	put_zeros(sink, initramfs_bytes(fs) - at - head_bytes(TRAILER));
}

static void take_bytes(struct sink *sink, const void *bytes, size_t len)
{
	memcpy(sink->dst, bytes, len);
	sink->dst += len;
}

void initramfs_write(const struct initramfs *fs, void *dst)
{
	struct sink sink = { .take = take_bytes, .dst = dst };

	put_all(&sink, fs);
}

static void take_sum(struct sink *sink, const void *bytes, size_t len)
{
	sink->sum = crc32c(sink->sum, bytes, len);
}

uint32_t initramfs_sum(const struct initramfs *fs)
{
	struct sink sink = { .take = take_sum };

	put_all(&sink, fs);
	return sink.sum;
}
