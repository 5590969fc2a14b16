/*
 * What an image's header says of other files and of encryption. These are bytes of strangers: each
 * number is bounded before it is used. Where a header cannot be understood the image is refused, so
 * that qemu-nbd never sees a name that was not seen here.
 *
 * vhdx and vdi have no case: QEMU opens no other file for them, and refuses those with a parent.
 */
#include "image.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk-internal.h"
#include "lkvm/file.h"
#include "lkvm/types.h"

#define NAME_BYTES 1024 /* QEMU's limit, with the NUL */

bool image_bytes(int fd, uint64_t off, void *buf, size_t len)
{
	return off <= INT64_MAX - len && file_read(fd, buf, len, off) == (ssize_t)len;
}

int image_add(struct image_header *h, enum image_ref_kind kind, const char *name, size_t len,
	      const char *format)
{
	struct image_ref *refs = reallocarray(h->refs, h->n_refs + 1, sizeof(*refs));
	struct image_ref *ref;

	if (!refs)
		return -ENOMEM;
	h->refs = refs;
	ref = &refs[h->n_refs];
	*ref = (struct image_ref){ .kind = kind, .name = strndup(name, len) };
	snprintf(ref->format, sizeof(ref->format), "%s", format);
	if (!ref->name)
		return -ENOMEM;
	h->n_refs++;
	return 0;
}

int image_damaged(struct image_header *h, const char *why)
{
	h->why = why;
	return -EINVAL;
}

static int add_from(struct image_header *h, int fd, enum image_ref_kind kind, uint64_t off,
		    uint64_t len, const char *format)
{
	char name[NAME_BYTES];

	if (len >= sizeof(name))
		return image_damaged(h, "the name of another file in it is too long");
	if (!image_bytes(fd, off, name, len))
		return image_damaged(h, "its header is damaged");
	len = strnlen(name, len);
	return len ? image_add(h, kind, name, len, format) : 0;
}

static int set_encryption(struct image_header *h, uint32_t method)
{
	if (method > 2)
		return image_damaged(h, "its encryption is unknown");
	h->encryption = method == 2 ? "luks" : method ? "aes" : NULL;
	return 0;
}

/* ---- qcow2, qcow ---- */

#define EXT_BACKING_FORMAT 0xe2792aca
#define EXT_DATA_FILE      0x44415441
#define INCOMPAT_DATA_FILE (1 << 2)

struct qcow2_header {
	uint32_t magic, version;
	uint64_t backing_off;
	uint32_t backing_bytes, cluster_bits;
	uint64_t size;
	uint32_t encryption, l1_entries;
	uint64_t l1_off, refcount_off;
	uint32_t refcount_clusters, n_snapshots;
	uint64_t snapshots_off, incompatible, compatible, autoclear;
	uint32_t refcount_order, header_bytes;
} __attribute__((packed));

struct qcow2_extras {
	char backing_format[IMAGE_FORMAT_BYTES];
	uint64_t data_file_off;
	uint32_t data_file_bytes;
};

static int read_extension(struct image_header *h, int fd, uint32_t type, uint64_t off, uint32_t len,
			  struct qcow2_extras *ret)
{
	if (type == EXT_DATA_FILE) {
		ret->data_file_off = off;
		ret->data_file_bytes = len;
	} else if (type == EXT_BACKING_FORMAT) {
		memset(ret->backing_format, 0, sizeof(ret->backing_format));
		if (len >= sizeof(ret->backing_format) ||
		    !image_bytes(fd, off, ret->backing_format, len))
			return image_damaged(h, "its header is damaged");
	}
	return 0;
}

static int read_extensions(struct image_header *h, int fd, uint64_t off, uint64_t end,
			   struct qcow2_extras *ret)
{
	for (unsigned i = 0; off < end; i++) {
		uint32_t ext[2];
		int err;

		if (i == 1000 || !image_bytes(fd, off, ext, sizeof(ext)))
			return image_damaged(h, "its header is damaged");
		off += sizeof(ext);
		ext[0] = be32toh(ext[0]);
		ext[1] = be32toh(ext[1]);
		if (!ext[0])
			return 0;
		if (off > end || ext[1] > end - off)
			return image_damaged(h, "its header is damaged");
		err = read_extension(h, fd, ext[0], off, ext[1], ret);
		if (err)
			return err;
		off += ALIGN_UP((uint64_t)ext[1], 8);
	}
	return 0;
}

static int read_qcow2(struct image_header *h, int fd)
{
	struct qcow2_header q = { 0 };
	struct qcow2_extras extras = { 0 };
	uint64_t start = 72, end;
	int err;

	if (!image_bytes(fd, 0, &q, start) || memcmp(&q, "QFI\xfb", 4) != 0)
		return image_damaged(h, "it is not in qcow2 format");
	if (be32toh(q.version) < 2 || be32toh(q.version) > 3)
		return image_damaged(h, "its version of qcow2 is unknown");
	if (be32toh(q.version) == 3) {
		if (!image_bytes(fd, start, &q.incompatible, sizeof(q) - start))
			return image_damaged(h, "its header is damaged");
		start = be32toh(q.header_bytes);
	}
	q.cluster_bits = be32toh(q.cluster_bits);
	q.backing_off = be64toh(q.backing_off);
	if (q.cluster_bits < 9 || q.cluster_bits > 21 || q.backing_off > 1ULL << q.cluster_bits ||
	    start < 72 || start > 1ULL << q.cluster_bits)
		return image_damaged(h, "its header is damaged");
	end = q.backing_off ? q.backing_off : 1ULL << q.cluster_bits;
	err = read_extensions(h, fd, start, end, &extras);
	if (!err)
		err = set_encryption(h, be32toh(q.encryption));
	if (!err && be64toh(q.incompatible) & INCOMPAT_DATA_FILE) {
		h->has_data_file = true;
		err = add_from(h, fd, IMAGE_DATA_FILE, extras.data_file_off, extras.data_file_bytes,
			       "raw");
		if (!err && !h->n_refs)
			err = image_damaged(h, "it does not say which file has its data");
	}
	if (!err && q.backing_off)
		err = add_from(h, fd, IMAGE_BACKING, q.backing_off, be32toh(q.backing_bytes),
			       extras.backing_format);
	return err;
}

static int read_qcow(struct image_header *h, int fd)
{
	struct {
		uint32_t magic, version;
		uint64_t backing_off;
		uint32_t backing_bytes, mtime;
		uint64_t size;
		uint8_t cluster_bits, l2_bits, pad[2];
		uint32_t encryption;
	} __attribute__((packed)) q;
	int err;

	if (!image_bytes(fd, 0, &q, sizeof(q)) || memcmp(&q, "QFI\xfb\0\0\0\1", 8) != 0)
		return image_damaged(h, "it is not in qcow format");
	err = set_encryption(h, be32toh(q.encryption));
	if (!err && q.backing_off)
		err = add_from(h, fd, IMAGE_BACKING, be64toh(q.backing_off), be32toh(q.backing_bytes),
			       "");
	return err;
}

/* ---- qed ---- */

#define QED_BACKING  (1 << 0)
#define QED_NO_PROBE (1 << 2)

static int read_qed(struct image_header *h, int fd)
{
	struct {
		uint32_t magic, cluster_bytes, table_clusters, header_clusters;
		uint64_t features, compatible, autoclear, l1_off, size;
		uint32_t backing_off, backing_bytes;
	} __attribute__((packed)) q;

	if (!image_bytes(fd, 0, &q, sizeof(q)) || memcmp(&q, "QED\0", 4) != 0)
		return image_damaged(h, "it is not in qed format");
	if (!(le64toh(q.features) & QED_BACKING))
		return 0;
	return add_from(h, fd, IMAGE_BACKING, le32toh(q.backing_off), le32toh(q.backing_bytes),
			le64toh(q.features) & QED_NO_PROBE ? "raw" : "");
}

/* ---- vpc ---- */

#define VPC_DIFFERENCE 4

/* QEMU knows no parents of these and would show zeros in the place of what they have. */
static int read_vpc(struct image_header *h, int fd)
{
	off_t end = lseek(fd, 0, SEEK_END);
	uint64_t at = 0;
	uint32_t type;
	char magic[8];

	if (!image_bytes(fd, 0, magic, 8) || memcmp(magic, "conectix", 8) != 0) {
		at = end < 512 ? 0 : (uint64_t)end - 512;
		if (!image_bytes(fd, at, magic, 8) || memcmp(magic, "conectix", 8) != 0)
			return image_damaged(h, "it is not in vpc format");
	}
	if (!image_bytes(fd, at + 60, &type, 4))
		return image_damaged(h, "its header is damaged");
	if (be32toh(type) == VPC_DIFFERENCE)
		return image_damaged(h, "it is a difference to another image, which QEMU cannot read");
	return 0;
}

/* ---- all ---- */

int image_read(int fd, const char *format, struct image_header *ret)
{
	static const struct {
		const char *format;
		int (*read)(struct image_header *h, int fd);
	} readers[] = {
		{ "qcow2", read_qcow2 }, { "qcow", read_qcow }, { "qed", read_qed },
		{ "vpc", read_vpc },     { "vmdk", image_read_vmdk },
	};

	*ret = (struct image_header){ 0 };
	for (unsigned i = 0; i < ARRAY_SIZE(readers); i++)
		if (!strcmp(readers[i].format, format))
			return readers[i].read(ret, fd);
	return 0;
}

void image_header_free(struct image_header *h)
{
	for (unsigned i = 0; i < h->n_refs; i++)
		free(h->refs[i].name);
	free(h->refs);
	*h = (struct image_header){ 0 };
}
