/*
 * Compressed kernels, unpacked on the host. All of the file is read first, then unpacked in one piece
 * into memory that is only reserved, not used: the output can end nowhere but in that piece, whatever
 * the file claims.
 *
 * The libraries are opened only when such a file is given, so lkvm starts without them and runs on hosts
 * that lack them; their headers, where installed, give the prototypes.
 */
#include "decompress.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "boot-internal.h"
#include "lkvm/x86/unpack.h"

static const struct format *find_format(const void *head, size_t len)
{
	for (const struct format *f = decompress_formats; f->name; f++)
		if (len >= f->magic_len && !memcmp(head, f->magic, f->magic_len))
			return f;
	return NULL;
}

const char *unpack_name(const void *head, size_t len)
{
	const struct format *format = find_format(head, len);

	return format ? format->name : NULL;
}

const char *decompress_name(const struct boot *boot)
{
	return unpack_name(boot->head, boot->head_len);
}

const char *boot_compression(unsigned i, bool *ret_usable)
{
	for (const struct format *f = decompress_formats; f->name; f++) {
		/* Two formats of one name stand one behind the other, and share a library. */
		if ((f > decompress_formats && !strcmp(f->name, f[-1].name)) || i--)
			continue;
		*ret_usable = f->codec && lib_usable(&f->lib);
		return f->name;
	}
	return NULL;
}

/* Until the codec says that it is done, fails, or stands still: then one of the two ends is reached. */
static int drive(const struct codec *codec, struct codec_io *io)
{
	size_t in, out;
	int rc;

	do {
		in = io->in_left;
		out = io->out_left;
		rc = codec->step(io);
		if (rc == CODEC_MORE && in == io->in_left && out == io->out_left)
			rc = out ? -ENOEXEC : -EFBIG;
	} while (rc == CODEC_MORE);
	return rc;
}

static int run(const struct codec *codec, struct codec_io *io)
{
	int err = codec->open ? codec->open(io) : 0;

	if (err)
		return err;
	err = drive(codec, io);
	if (codec->close)
		codec->close(io);
	return err;
}

/* How much may come out, and what of that is told: a kernel's measure is the guest's RAM. */
struct room {
	uint64_t bytes;
	unsigned ram_multiple; /* 0: it is nothing to boot */
};

static int too_large(const struct boot_file *file, const struct room *room)
{
	if (!room->ram_multiple)
		return file_err(file, -EFBIG, "unpacks to more than %" PRIu64 " bytes", room->bytes);
	return file_err(file, -EFBIG, "unpacks to more than %" PRIu64 " bytes, %u times the guest's RAM",
			room->bytes, room->ram_multiple);
}

static int report(const struct boot_file *file, const struct format *format, const struct room *room,
		  int err)
{
	switch (err) {
	case 0:
		return 0;
	case -EFBIG:
		return too_large(file, room);
	case -ENOMEM:
		return log_err(err, "%s '%s': unpack", file->what, file->name);
	default:
		return file_err(file, err, "damaged or truncated %s file", format->name);
	}
}

/* With the compressed bytes in memory */
static int unpack_bytes(const struct boot_file *file, const struct format *format,
			struct codec_io *io, const struct room *room, struct unpacked *ret)
{
	uint8_t *out = boot_reserve(room->bytes);
	size_t len;
	int err;

	if (!out)
		return log_err(-ENOMEM, "%s '%s': unpack", file->what, file->name);
	io->out = out;
	io->out_left = room->bytes;
	err = report(file, format, room, run(format->codec, io));
	len = room->bytes - io->out_left;
	if (err || !len) {
		munmap(out, room->bytes);
		return err ? err : file_err(file, -ENOEXEC, "unpacks to nothing");
	}
	/* Give back the tail, so that the memory is as long as what is in it. */
	mremap(out, room->bytes, len, 0);
	*ret = (struct unpacked){ .bytes = out, .len = len };
	return 0;
}

/* On success the output takes the place of the file's contents. */
static int unpack_file(struct boot *boot, const struct format *format, struct codec_io *io)
{
	const struct room room = { boot_file_most(boot->ram), BOOT_FILE_RAM_MULTIPLE };
	struct boot_file *file = &boot->kernel;
	uint64_t packed = io->in_left;
	struct unpacked out;
	int err = unpack_bytes(file, format, io, &room, &out);

	if (err)
		return err;
	log_debug(LOG_BOOT, "kernel unpacked from %" PRIu64 " to %zu bytes (%s)", packed, out.len,
		  format->name);
	if (file->mem)
		munmap(file->mem, file->mem_bytes);
	file->mem = out.bytes;
	file->mem_bytes = file->size_bytes = out.len;
	return 0;
}

static int read_and_unpack(struct boot *boot, const struct format *format, struct codec_io *io)
{
	struct boot_file *file = &boot->kernel;
	const uint64_t bytes = file->size_bytes, most = boot_file_most(boot->ram);
	uint8_t *in;
	int err;

	if (bytes > most)
		return file_err(file, -EFBIG,
				"compressed file of %" PRIu64 " bytes, at most %" PRIu64
				" are unpacked",
				bytes, most);
	in = boot_reserve(bytes);
	if (!in)
		return log_err(-ENOMEM, "kernel '%s': read", file->name);
	io->in = in;
	io->in_left = bytes;
	err = boot_file_read(file, 0, in, bytes);
	if (!err)
		err = unpack_file(boot, format, io);
	munmap(in, bytes);
	return err;
}

static void close_codec(struct codec_io *io)
{
	free(io->state);
	lib_close(io->lib);
}

/* Return: 0, or -errno after one logged line */
static int open_codec(const struct boot_file *file, const struct format *format, struct codec_io *io)
{
	char why[128];
	int err;

	if (!format->codec)
		return file_err(
			file, -ENOTSUP,
			"compressed with %s, but lkvm was built without %s (Debian package %s)",
			format->name, format->lib.file, format->dev_package);
	io->state = calloc(1, format->codec->state_bytes);
	if (!io->state)
		return log_err(-ENOMEM, "%s '%s': unpack", file->what, file->name);
	err = lib_open(&format->lib, io->state, &io->lib);
	if (!err)
		return 0;
	close_codec(io);
	lib_why(&format->lib, err, why, sizeof(why));
	return file_err(file, -ENOTSUP, "compressed with %s: %s", format->name, why);
}

int decompress_kernel(struct boot *boot)
{
	const struct format *format = find_format(boot->head, boot->head_len);
	struct codec_io io = { 0 };
	int err = open_codec(&boot->kernel, format, &io);

	if (err)
		return err;
	err = read_and_unpack(boot, format, &io);
	close_codec(&io);
	return err;
}

int unpack(const char *what, const char *name, const void *in, size_t len, size_t most,
	   struct unpacked *ret)
{
	const struct boot_file file = { .what = what, .name = name };
	const struct format *format = find_format(in, len);
	const struct room room = { .bytes = most };
	struct codec_io io = { .in = in, .in_left = len };
	int err;

	if (!format)
		return -EINVAL;
	err = open_codec(&file, format, &io);
	if (err)
		return err;
	err = unpack_bytes(&file, format, &io, &room, ret);
	close_codec(&io);
	return err;
}

void unpacked_free(struct unpacked *u)
{
	if (u->bytes)
		munmap(u->bytes, u->len);
	*u = (struct unpacked){ 0 };
}
