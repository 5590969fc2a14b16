/*
 * Compressed kernels, unpacked on the host. The libraries are opened only when such a file is
 * given, so lkvm starts without them and runs on hosts that lack them; their headers, where
 * installed, give the prototypes.
 *
 * All of the file is read first, then unpacked in one piece into memory that is only reserved, not
 * used: the output can end nowhere but in that piece, whatever the file claims.
 */
#include "boot-internal.h"

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>

#if __has_include(<zlib.h>)
#include <zlib.h>
#define HAVE_ZLIB 1
#endif
#if __has_include(<lzma.h>)
#include <lzma.h>
#define HAVE_LZMA 1
#endif
#if __has_include(<zstd.h>) && __has_include(<zstd_errors.h>)
#include <zstd.h>
#include <zstd_errors.h>
#define HAVE_ZSTD 1
#endif
#if __has_include(<lz4.h>) && __has_include(<lz4frame.h>)
#include <lz4.h>
#include <lz4frame.h>
#define HAVE_LZ4 1
#endif

/* A kernel with all its debug information is a few times larger than what of it is loaded. */
#define RAM_MULTIPLE     4
#define XZ_MEMORY        (256 * MIB)
#define LZ4_LEGACY_BLOCK (8 * MIB)

struct unpack {
	const uint8_t *in;
	size_t in_len;
	uint8_t *out;
	size_t out_cap;
	size_t out_len;
	void *lib;
};

/*
 * `make static` links the libraries in: the C library's loader inside a static program only works
 * on a host with the same C library. The address goes through an integer to keep the null tests.
 */
#ifdef LKVM_STATIC
#define LOOKUP(lib, name) ((void)(lib), (typeof(name) *)(uintptr_t)&(name))
#define OPEN_LIBRARY(name) ((void *)&formats) /* never NULL, never looked at */
#define CLOSE_LIBRARY(lib) ((void)(lib))
#else
#define LOOKUP(lib, name) ((typeof(name) *)dlsym(lib, #name))
#define OPEN_LIBRARY(name) dlopen(name, RTLD_NOW | RTLD_LOCAL)
#define CLOSE_LIBRARY(lib) dlclose(lib)
#endif

/*
 * One function a format. Return: 0; -EFBIG more than out_cap; -ENOEXEC damaged or truncated;
 * -ENOSYS the library lacks a symbol; -ENOMEM
 */

#ifdef HAVE_ZLIB
static unsigned clamp_uint(size_t n)
{
	return n < 1U << 30 ? (unsigned)n : 1U << 30;
}

static int inflate_all(struct unpack *u, z_stream *z, typeof(inflate) *do_inflate)
{
	size_t in_pos = 0;
	int rc;

	do {
		unsigned in = clamp_uint(u->in_len - in_pos),
			 out = clamp_uint(u->out_cap - u->out_len);

		z->next_in = (Bytef *)u->in + in_pos;
		z->avail_in = in;
		z->next_out = u->out + u->out_len;
		z->avail_out = out;
		rc = do_inflate(z, Z_NO_FLUSH);
		in_pos += in - z->avail_in;
		u->out_len += out - z->avail_out;
	} while (rc == Z_OK);
	if (rc == Z_STREAM_END)
		return 0;
	return rc == Z_BUF_ERROR && u->out_len == u->out_cap ? -EFBIG : -ENOEXEC;
}

static int unpack_gzip(struct unpack *u)
{
	typeof(inflateInit2_) *do_init = LOOKUP(u->lib, inflateInit2_);
	typeof(inflate) *do_inflate = LOOKUP(u->lib, inflate);
	typeof(inflateEnd) *do_end = LOOKUP(u->lib, inflateEnd);
	z_stream z = { 0 };
	int err;

	if (!do_init || !do_inflate || !do_end)
		return -ENOSYS;
	if (do_init(&z, 16 + MAX_WBITS, ZLIB_VERSION, sizeof(z)) != Z_OK)
		return -ENOMEM;
	err = inflate_all(u, &z, do_inflate);
	do_end(&z);
	return err;
}
#else
#define unpack_gzip NULL
#endif

#ifdef HAVE_LZMA
static int unpack_xz(struct unpack *u)
{
	typeof(lzma_stream_decoder) *do_init = LOOKUP(u->lib, lzma_stream_decoder);
	typeof(lzma_code) *do_code = LOOKUP(u->lib, lzma_code);
	typeof(lzma_end) *do_end = LOOKUP(u->lib, lzma_end);
	lzma_stream s = LZMA_STREAM_INIT;
	lzma_ret rc;

	if (!do_init || !do_code || !do_end)
		return -ENOSYS;
	if (do_init(&s, XZ_MEMORY, 0) != LZMA_OK)
		return -ENOMEM;
	s.next_in = u->in;
	s.avail_in = u->in_len;
	s.next_out = u->out;
	s.avail_out = u->out_cap;
	do
		rc = do_code(&s, LZMA_FINISH);
	while (rc == LZMA_OK);
	u->out_len = u->out_cap - s.avail_out;
	do_end(&s);
	if (rc == LZMA_STREAM_END)
		return 0;
	if (rc == LZMA_MEM_ERROR)
		return -ENOMEM;
	return rc == LZMA_BUF_ERROR && u->out_len == u->out_cap ? -EFBIG : -ENOEXEC;
}
#else
#define unpack_xz NULL
#endif

#ifdef HAVE_ZSTD
static int unpack_zstd(struct unpack *u)
{
	typeof(ZSTD_decompress) *decompress = LOOKUP(u->lib, ZSTD_decompress);
	typeof(ZSTD_isError) *is_error = LOOKUP(u->lib, ZSTD_isError);
	typeof(ZSTD_getErrorCode) *error_code = LOOKUP(u->lib, ZSTD_getErrorCode);
	size_t n;

	if (!decompress || !is_error || !error_code)
		return -ENOSYS;
	n = decompress(u->out, u->out_cap, u->in, u->in_len);
	if (is_error(n))
		return error_code(n) == ZSTD_error_dstSize_tooSmall ? -EFBIG : -ENOEXEC;
	u->out_len = n;
	return 0;
}
#else
#define unpack_zstd NULL
#endif

#ifdef HAVE_LZ4
static int lz4_frame(struct unpack *u, LZ4F_dctx *ctx, typeof(LZ4F_decompress) *decompress,
		     typeof(LZ4F_isError) *is_error)
{
	size_t in_pos = 0, hint;

	do {
		size_t in = u->in_len - in_pos, out = u->out_cap - u->out_len;

		hint = decompress(ctx, u->out + u->out_len, &out, u->in + in_pos, &in, NULL);
		if (is_error(hint))
			return -ENOEXEC;
		in_pos += in;
		u->out_len += out;
		if (hint && !in && !out)
			return u->out_len == u->out_cap ? -EFBIG : -ENOEXEC;
	} while (hint);
	return 0;
}

static int unpack_lz4(struct unpack *u)
{
	typeof(LZ4F_createDecompressionContext) *create =
		LOOKUP(u->lib, LZ4F_createDecompressionContext);
	typeof(LZ4F_freeDecompressionContext) *destroy =
		LOOKUP(u->lib, LZ4F_freeDecompressionContext);
	typeof(LZ4F_decompress) *decompress = LOOKUP(u->lib, LZ4F_decompress);
	typeof(LZ4F_isError) *is_error = LOOKUP(u->lib, LZ4F_isError);
	LZ4F_dctx *ctx;
	int err;

	if (!create || !destroy || !decompress || !is_error)
		return -ENOSYS;
	if (is_error(create(&ctx, LZ4F_VERSION)))
		return -ENOMEM;
	err = lz4_frame(u, ctx, decompress, is_error);
	destroy(ctx);
	return err;
}

/*
 * The legacy format, which the kernel's own build uses: after the magic, blocks of (compressed
 * size, data), each 8 MB when unpacked but for the last. No end mark.
 * Spec: lz4, doc/lz4_Frame_format.md, "Legacy frame"
 */
static int unpack_lz4_legacy(struct unpack *u)
{
	typeof(LZ4_decompress_safe) *decompress = LOOKUP(u->lib, LZ4_decompress_safe);
	size_t pos = 4;

	if (!decompress)
		return -ENOSYS;
	while (u->in_len - pos >= 4) {
		size_t block = get_le32(u->in + pos), room = u->out_cap - u->out_len;
		int n;

		pos += 4;
		if (block > u->in_len - pos || block > INT32_MAX)
			return -ENOEXEC;
		n = decompress((const char *)u->in + pos, (char *)u->out + u->out_len, (int)block,
			       (int)(room < LZ4_LEGACY_BLOCK ? room : LZ4_LEGACY_BLOCK));
		if (n < 0)
			return room < LZ4_LEGACY_BLOCK ? -EFBIG : -ENOEXEC;
		u->out_len += (size_t)n;
		pos += block;
	}
	return pos == u->in_len ? 0 : -ENOEXEC;
}
#else
#define unpack_lz4        NULL
#define unpack_lz4_legacy NULL
#endif

static const struct format {
	const char *name;
	const char *magic;
	size_t magic_len;
	const char *library, *package, *dev_package;
	int (*unpack)(struct unpack *u); /* NULL: its header was missing when lkvm was built */
} formats[] = {
	{ "gzip", "\x1f\x8b\x08", 3, "libz.so.1", "zlib1g", "zlib1g-dev", unpack_gzip },
	{ "xz", "\xfd\x37zXZ\0", 6, "liblzma.so.5", "liblzma5", "liblzma-dev", unpack_xz },
	{ "zstd", "\x28\xb5\x2f\xfd", 4, "libzstd.so.1", "libzstd1", "libzstd-dev", unpack_zstd },
	{ "lz4", "\x04\x22\x4d\x18", 4, "liblz4.so.1", "liblz4-1", "liblz4-dev", unpack_lz4 },
	{ "lz4", "\x02\x21\x4c\x18", 4, "liblz4.so.1", "liblz4-1", "liblz4-dev",
	  unpack_lz4_legacy },
};

static const struct format *find_format(const struct boot *boot)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (boot->head_len >= formats[i].magic_len &&
		    !memcmp(boot->head, formats[i].magic, formats[i].magic_len))
			return &formats[i];
	return NULL;
}

const char *decompress_name(const struct boot *boot)
{
	const struct format *format = find_format(boot);

	return format ? format->name : NULL;
}

static void *reserve(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static uint64_t ram_bytes(const struct ram *ram)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < ram->n_parts; i++)
		bytes += ram->part[i].size_bytes;
	return bytes;
}

static int report(const struct boot *boot, const struct format *format, const struct unpack *u,
		  int err)
{
	const struct boot_file *file = &boot->kernel;

	switch (err) {
	case 0:
		log_debug(LOG_BOOT, "kernel unpacked from %zu to %zu bytes (%s)", u->in_len,
			  u->out_len, format->name);
		return 0;
	case -EFBIG:
		return file_err(file, err,
				"unpacks to more than %zu bytes, %d times the guest's RAM",
				u->out_cap, RAM_MULTIPLE);
	case -ENOSYS:
		return file_err(file, -ENOTSUP, "compressed with %s, but %s lacks what is needed",
				format->name, format->library);
	case -ENOMEM:
		return log_err(err, "kernel '%s': unpack", file->name);
	default:
		return file_err(file, err, "damaged or truncated %s file", format->name);
	}
}

/* With the compressed file in memory: on success the output takes its place. */
static int unpack_file(struct boot *boot, const struct format *format, struct unpack *u)
{
	struct boot_file *file = &boot->kernel;
	int err;

	u->out = reserve(u->out_cap);
	if (!u->out)
		return log_err(-ENOMEM, "kernel '%s': unpack", file->name);
	err = report(boot, format, u, format->unpack(u));
	if (err || !u->out_len) {
		munmap(u->out, u->out_cap);
		return err ? err : file_err(file, -ENOEXEC, "unpacks to nothing");
	}
	/* Give back the tail, so that a file's memory is as long as the file. */
	mremap(u->out, u->out_cap, u->out_len, 0);
	file->mem = u->out;
	file->size_bytes = u->out_len;
	return 0;
}

static int read_and_unpack(struct boot *boot, const struct format *format, void *lib)
{
	struct boot_file *file = &boot->kernel;
	struct unpack u = { .lib = lib, .out_cap = RAM_MULTIPLE * ram_bytes(boot->ram) };
	uint8_t *in;
	int err;

	if (file->size_bytes > u.out_cap)
		return file_err(file, -EFBIG,
				"compressed file of %" PRIu64 " bytes, at most %zu are unpacked",
				file->size_bytes, u.out_cap);
	u.in_len = file->size_bytes;
	in = reserve(u.in_len);
	if (!in)
		return log_err(-ENOMEM, "kernel '%s': read", file->name);
	u.in = in;
	err = boot_file_read(file, 0, in, u.in_len);
	if (!err)
		err = unpack_file(boot, format, &u);
	munmap(in, u.in_len);
	return err;
}

int decompress_kernel(struct boot *boot)
{
	const struct boot_file *file = &boot->kernel;
	const struct format *format = find_format(boot);
	void *lib;
	int err;

	if (!format->unpack)
		return file_err(
			file, -ENOTSUP,
			"compressed with %s, but lkvm was built without %s (Debian package %s)",
			format->name, format->library, format->dev_package);
	lib = OPEN_LIBRARY(format->library);
	if (!lib)
		return file_err(file, -ENOTSUP,
				"compressed with %s: %s is missing (Debian package %s)",
				format->name, format->library, format->package);
	err = read_and_unpack(boot, format, lib);
	CLOSE_LIBRARY(lib);
	return err;
}
