/*
 * Images that are not raw, before qemu-nbd sees them: which other files do they name, and may they?
 */
#ifndef IMAGE_H
#define IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lkvm/disk.h"

#define IMAGE_FORMAT_BYTES 16

enum image_ref_kind { IMAGE_BACKING, IMAGE_DATA_FILE, IMAGE_EXTENT, IMAGE_EXTENT_RAW };

/* Another file that an image names. */
struct image_ref {
	enum image_ref_kind kind;
	char format[IMAGE_FORMAT_BYTES]; /* as the image has it; "": it does not say */
	char *name;
};

struct image_header {
	struct image_ref *refs;
	unsigned n_refs;
	bool has_data_file;
	const char *encryption; /* "luks", "aes", or NULL: none */
	const char *why;        /* after -EINVAL: what is wrong */
};

/* ---- disk/image.c, disk/image-vmdk.c: one file ---- */

/**
 * image_read() - what the header says
 * @ret: image_header_free() in any case
 * Return: 0; -EINVAL and ret->why: refuse it; -ENOMEM
 */
int image_read(int fd, const char *format, struct image_header *ret);
void image_header_free(struct image_header *h);

int image_read_vmdk(struct image_header *h, int fd);
/** image_bytes() - Return: whether there are so many */
bool image_bytes(int fd, uint64_t off, void *buf, size_t len);
int image_add(struct image_header *h, enum image_ref_kind kind, const char *name, size_t len,
	      const char *format);
int image_damaged(struct image_header *h, const char *why);

/* ---- disk/image-graph.c: an image with all that it stands on ---- */

/* What qemu-nbd is told, so that it follows no name by itself, and may open. */
struct image_graph {
	char *node; /* heap: json:{...}, an argument in the place of a file name */
	bool encrypted;
	struct image_file {
		char *path;
		bool writes;
	} *files;
	unsigned n_files;
};

/**
 * image_graph_make() - refuse an image that names what the user has not allowed, at any depth
 * @ret: image_graph_free() in any case
 * Return: 0, or -errno after one logged line
 */
int image_graph_make(const struct disk_config *cfg, const char *format, struct image_graph *ret);
void image_graph_free(struct image_graph *graph);

#endif
