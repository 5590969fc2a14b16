/* Between x86/boot/decompress.c, which drives, and x86/boot/decompress-codecs.c, which knows the formats. */
#ifndef LKVM_X86_DECOMPRESS_H
#define LKVM_X86_DECOMPRESS_H

#include <stddef.h>
#include <stdint.h>

#include "lkvm/lib.h"

enum { CODEC_END, CODEC_MORE };

/* What a codec moves forward: it takes from in, adds to out, and never more than is left. */
struct codec_io {
	const uint8_t *in;
	size_t in_left;
	uint8_t *out;
	size_t out_left;
	void *state; /* state_bytes: first the functions of the library, the rest was zeroed */
	void *lib;   /* lib_open()'s handle */
};

/*
 * Errors of open() and step(): -EFBIG no room in out; -ENOEXEC damaged or truncated; -ENOMEM
 */
struct codec {
	size_t state_bytes;
	int (*open)(struct codec_io *io); /* 0 or -errno; then there is nothing to close; may be NULL */
	int (*step)(struct codec_io *io); /* CODEC_END, CODEC_MORE or -errno; MORE without any progress ends it */
	void (*close)(struct codec_io *io); /* may be NULL */
};

struct format {
	const char *name;
	const char *magic;
	size_t magic_len;
	struct lib lib;
	const char *dev_package;
	const struct codec *codec; /* NULL: its header was missing when lkvm was built */
};

/* Ends with a format without name */
extern const struct format decompress_formats[];

#endif
