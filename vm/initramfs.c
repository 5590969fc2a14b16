/*
 * cpio, "newc": a head of 110 characters, the name with its NUL, zeros up to a multiple of 4, the
 * bytes, zeros up to a multiple of 4; the file named TRAILER!!! ends it.
 */
#include "lkvm/vm/initramfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lkvm/file.h"
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
	static const struct initramfs_file folder = { .mode = S_IFDIR | 0755, .fd = -1 };
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
	const struct initramfs_file file = { .mode = mode, .bytes = bytes, .fd = -1, .len = (uint32_t)len };

	return len > UINT32_MAX ? -EFBIG : add(fs, name, &file);
}

int initramfs_add_node(struct initramfs *fs, const char *name, mode_t mode, dev_t device)
{
	const struct initramfs_file file = { .mode = mode, .device = device, .fd = -1 };

	return add(fs, name, &file);
}

int initramfs_add_file(struct initramfs *fs, const char *name, mode_t mode, const char *path)
{
	struct initramfs_file file = { .mode = mode };
	struct stat st;
	int err = 0;

	file.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (file.fd < 0)
		return -errno;
	if (fstat(file.fd, &st))
		err = -errno;
	else if (!S_ISREG(st.st_mode))
		err = -EINVAL;
	else if (st.st_size > UINT32_MAX)
		err = -EFBIG;
	if (!err) {
		file.len = (uint32_t)st.st_size;
		err = add(fs, name, &file);
	}
	if (err)
		close(file.fd);
	return err;
}

void initramfs_free(struct initramfs *fs)
{
	for (unsigned i = 0; i < fs->n; i++) {
		free(fs->files[i].name);
		if (fs->files[i].fd >= 0)
			close(fs->files[i].fd);
	}
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

/* Return: the first byte behind the head */
static uint8_t *put_head(uint8_t *dst, const struct initramfs_file *f, const char *name, unsigned ino)
{
	const size_t len = strlen(name) + 1, all = head_bytes(name);
	char head[HEAD_BYTES + 1];

	/* ino mode uid gid nlink mtime size, device that it is on, device that it is, name, checksum */
	snprintf(head, sizeof(head), "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", ino,
		 f->mode, 0, 0, S_ISDIR(f->mode) ? 2 : 1, 0, f->len, 0, 0, major(f->device),
		 minor(f->device), (unsigned)len, 0);
	memcpy(dst, head, HEAD_BYTES);
	memcpy(dst + HEAD_BYTES, name, len);
	memset(dst + HEAD_BYTES + len, 0, all - HEAD_BYTES - len);
	return dst + all;
}

static int put_bytes(const struct initramfs_file *f, uint8_t *dst)
{
	ssize_t n;

	if (!f->len)
		return 0;
	if (f->bytes) {
		memcpy(dst, f->bytes, f->len);
		return 0;
	}
	n = file_read(f->fd, dst, f->len, 0);
	if (n < 0)
		return (int)n;
	return (uint32_t)n == f->len ? 0 : -EIO;
}

int initramfs_write(const struct initramfs *fs, void *dst)
{
	static const struct initramfs_file trailer = { 0 };
	uint8_t *at = dst, *end = at + initramfs_bytes(fs);

	for (unsigned i = 0; i < fs->n; i++) {
		const struct initramfs_file *f = &fs->files[i];
		uint64_t padded = ALIGN_UP((uint64_t)f->len, 4);
		int err;

		at = put_head(at, f, f->name, i + 1);
		err = put_bytes(f, at);
		if (err)
			return err;
		memset(at + f->len, 0, padded - f->len);
		at += padded;
	}
	at = put_head(at, &trailer, TRAILER, 0);
	memset(at, 0, (size_t)(end - at));
	return 0;
}
