/*
 * The compressions that kernels come in. Each is a row of decompress_formats[] and a codec, most of them
 * a few lines around the library of that name; libraries are opened only when such a file is given.
 */
#include "decompress.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "lkvm/types.h"

#if __has_include(<zlib.h>)
#include <zlib.h>
#define HAVE_ZLIB 1
#endif
#if __has_include(<bzlib.h>)
#include <bzlib.h>
#define HAVE_BZIP2 1
#endif
#if __has_include(<lzma.h>)
#include <lzma.h>
#define HAVE_LZMA 1
#endif
#if __has_include(<lzo/lzo1x.h>)
#include <lzo/lzo1x.h>
#define HAVE_LZO 1
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

#define XZ_MEMORY        (256 * MIB)
#define LZ4_LEGACY_BLOCK (8 * MIB)

static inline void moved(struct codec_io *io, size_t in, size_t out)
{
	io->in += in;
	io->in_left -= in;
	io->out += out;
	io->out_left -= out;
}

/* zlib and bzip2 count in unsigned int. */
static inline unsigned clamp_uint(size_t n)
{
	return n < 1U << 30 ? (unsigned)n : 1U << 30;
}

#ifdef HAVE_ZLIB
#define ZLIB(X) X(inflateInit2_) X(inflate) X(inflateEnd)
static const struct lib_symbol zlib_symbols[] = { ZLIB(LIB_SYMBOL){ 0 } };

struct gzip {
	ZLIB(LIB_FIELD)
	z_stream stream;
};

static int gzip_open(struct codec_io *io)
{
	struct gzip *c = io->state;
	int rc = c->inflateInit2_(&c->stream, 16 + MAX_WBITS, ZLIB_VERSION, sizeof(c->stream));

	return rc == Z_OK ? 0 : -ENOMEM;
}

static int gzip_step(struct codec_io *io)
{
	struct gzip *c = io->state;
	unsigned in = clamp_uint(io->in_left), out = clamp_uint(io->out_left);
	int rc;

	c->stream.next_in = (Bytef *)io->in;
	c->stream.avail_in = in;
	c->stream.next_out = io->out;
	c->stream.avail_out = out;
	rc = c->inflate(&c->stream, Z_NO_FLUSH);
	moved(io, in - c->stream.avail_in, out - c->stream.avail_out);
	if (rc == Z_STREAM_END)
		return CODEC_END;
	return rc == Z_OK || rc == Z_BUF_ERROR ? CODEC_MORE : -ENOEXEC;
}

static void gzip_close(struct codec_io *io)
{
	struct gzip *c = io->state;

	c->inflateEnd(&c->stream);
}

static const struct codec gzip_codec = { sizeof(struct gzip), gzip_open, gzip_step, gzip_close };
#define GZIP_CODEC   &gzip_codec
#define ZLIB_SYMBOLS zlib_symbols
#else
#define GZIP_CODEC   NULL
#define ZLIB_SYMBOLS NULL
#endif

#ifdef HAVE_BZIP2
#define BZIP2(X) X(BZ2_bzDecompressInit) X(BZ2_bzDecompress) X(BZ2_bzDecompressEnd)
static const struct lib_symbol bzip2_symbols[] = { BZIP2(LIB_SYMBOL){ 0 } };

struct bzip2 {
	BZIP2(LIB_FIELD)
	bz_stream stream;
};

static int bzip2_open(struct codec_io *io)
{
	struct bzip2 *c = io->state;

	return c->BZ2_bzDecompressInit(&c->stream, 0, 0) == BZ_OK ? 0 : -ENOMEM;
}

static int bzip2_step(struct codec_io *io)
{
	struct bzip2 *c = io->state;
	unsigned in = clamp_uint(io->in_left), out = clamp_uint(io->out_left);
	int rc;

	c->stream.next_in = (char *)(uintptr_t)io->in;
	c->stream.avail_in = in;
	c->stream.next_out = (char *)io->out;
	c->stream.avail_out = out;
	rc = c->BZ2_bzDecompress(&c->stream);
	moved(io, in - c->stream.avail_in, out - c->stream.avail_out);
	if (rc == BZ_STREAM_END)
		return CODEC_END;
	if (rc == BZ_MEM_ERROR)
		return -ENOMEM;
	return rc == BZ_OK ? CODEC_MORE : -ENOEXEC;
}

static void bzip2_close(struct codec_io *io)
{
	struct bzip2 *c = io->state;

	c->BZ2_bzDecompressEnd(&c->stream);
}

static const struct codec bzip2_codec = { sizeof(struct bzip2), bzip2_open, bzip2_step,
					  bzip2_close };
#define BZIP2_CODEC   &bzip2_codec
#define BZIP2_SYMBOLS bzip2_symbols
#else
#define BZIP2_CODEC   NULL
#define BZIP2_SYMBOLS NULL
#endif

#ifdef HAVE_LZMA
#define LZMA(X) X(lzma_stream_decoder) X(lzma_alone_decoder) X(lzma_code) X(lzma_end)
static const struct lib_symbol lzma_symbols[] = { LZMA(LIB_SYMBOL){ 0 } };

struct xz {
	LZMA(LIB_FIELD)
	lzma_stream stream; /* zeroed, as LZMA_STREAM_INIT is */
};

static int xz_open(struct codec_io *io)
{
	struct xz *c = io->state;

	return c->lzma_stream_decoder(&c->stream, XZ_MEMORY, 0) == LZMA_OK ? 0 : -ENOMEM;
}

/* What xz came from: `lzma -9`, and the kernel's own build */
static int lzma_open(struct codec_io *io)
{
	struct xz *c = io->state;

	return c->lzma_alone_decoder(&c->stream, XZ_MEMORY) == LZMA_OK ? 0 : -ENOMEM;
}

static int xz_step(struct codec_io *io)
{
	struct xz *c = io->state;
	lzma_ret rc;

	c->stream.next_in = io->in;
	c->stream.avail_in = io->in_left;
	c->stream.next_out = io->out;
	c->stream.avail_out = io->out_left;
	rc = c->lzma_code(&c->stream, LZMA_FINISH);
	moved(io, io->in_left - c->stream.avail_in, io->out_left - c->stream.avail_out);
	if (rc == LZMA_STREAM_END)
		return CODEC_END;
	if (rc == LZMA_MEM_ERROR)
		return -ENOMEM;
	return rc == LZMA_OK || rc == LZMA_BUF_ERROR ? CODEC_MORE : -ENOEXEC;
}

static void xz_close(struct codec_io *io)
{
	struct xz *c = io->state;

	c->lzma_end(&c->stream);
}

static const struct codec xz_codec = { sizeof(struct xz), xz_open, xz_step, xz_close };
static const struct codec lzma_codec = { sizeof(struct xz), lzma_open, xz_step, xz_close };
#define XZ_CODEC     &xz_codec
#define LZMA_CODEC   &lzma_codec
#define LZMA_SYMBOLS lzma_symbols
#else
#define XZ_CODEC     NULL
#define LZMA_CODEC   NULL
#define LZMA_SYMBOLS NULL
#endif

#ifdef HAVE_ZSTD
#define ZSTD(X) X(ZSTD_decompress) X(ZSTD_isError) X(ZSTD_getErrorCode)
static const struct lib_symbol zstd_symbols[] = { ZSTD(LIB_SYMBOL){ 0 } };

struct zstd {
	ZSTD(LIB_FIELD)
};

/* All at once: as a stream it would keep a window of its own. */
static int zstd_step(struct codec_io *io)
{
	const struct zstd *c = io->state;
	size_t n = c->ZSTD_decompress(io->out, io->out_left, io->in, io->in_left);

	if (c->ZSTD_isError(n))
		return c->ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall ? -EFBIG : -ENOEXEC;
	moved(io, io->in_left, n);
	return CODEC_END;
}

static const struct codec zstd_codec = { sizeof(struct zstd), NULL, zstd_step, NULL };
#define ZSTD_CODEC   &zstd_codec
#define ZSTD_SYMBOLS zstd_symbols
#else
#define ZSTD_CODEC   NULL
#define ZSTD_SYMBOLS NULL
#endif

#if defined(HAVE_LZ4) || defined(HAVE_LZO)
static inline uint32_t get_le32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
#endif

#ifdef HAVE_LZ4
#define LZ4(X)                                                                                     \
	X(LZ4F_createDecompressionContext)                                                         \
	X(LZ4F_freeDecompressionContext)                                                           \
	X(LZ4F_decompress)                                                                         \
	X(LZ4F_isError)                                                                            \
	X(LZ4_decompress_safe)
static const struct lib_symbol lz4_symbols[] = { LZ4(LIB_SYMBOL){ 0 } };

struct lz4 {
	LZ4(LIB_FIELD)
	LZ4F_dctx *ctx;
};

static int lz4_open(struct codec_io *io)
{
	struct lz4 *c = io->state;

	return c->LZ4F_isError(c->LZ4F_createDecompressionContext(&c->ctx, LZ4F_VERSION)) ? -ENOMEM : 0;
}

static int lz4_step(struct codec_io *io)
{
	const struct lz4 *c = io->state;
	size_t in = io->in_left, out = io->out_left;
	size_t hint = c->LZ4F_decompress(c->ctx, io->out, &out, io->in, &in, NULL);

	if (c->LZ4F_isError(hint))
		return -ENOEXEC;
	moved(io, in, out);
	return hint ? CODEC_MORE : CODEC_END;
}

static void lz4_close(struct codec_io *io)
{
	const struct lz4 *c = io->state;

	c->LZ4F_freeDecompressionContext(c->ctx);
}

/*
 * The legacy format, which the kernel's own build uses: after the magic, blocks of (compressed
 * size, data), each 8 MB when unpacked but for the last. No end mark.
 * Spec: lz4, doc/lz4_Frame_format.md, "Legacy frame"
 */
static int lz4_legacy_open(struct codec_io *io)
{
	moved(io, 4, 0);
	return 0;
}

static int lz4_legacy_step(struct codec_io *io)
{
	const struct lz4 *c = io->state;
	size_t room = io->out_left < LZ4_LEGACY_BLOCK ? io->out_left : LZ4_LEGACY_BLOCK;
	size_t block;
	int n;

	if (!io->in_left)
		return CODEC_END;
	if (io->in_left < 4)
		return -ENOEXEC;
	block = get_le32(io->in);
	moved(io, 4, 0);
	if (block > io->in_left || block > INT32_MAX)
		return -ENOEXEC;
	n = c->LZ4_decompress_safe((const char *)io->in, (char *)io->out, (int)block, (int)room);
	if (n < 0)
		return room < LZ4_LEGACY_BLOCK ? -EFBIG : -ENOEXEC;
	moved(io, block, (size_t)n);
	return CODEC_MORE;
}

static const struct codec lz4_codec = { sizeof(struct lz4), lz4_open, lz4_step, lz4_close };
static const struct codec lz4_legacy_codec = { sizeof(struct lz4), lz4_legacy_open,
					       lz4_legacy_step, NULL };
#define LZ4_CODEC        &lz4_codec
#define LZ4_LEGACY_CODEC &lz4_legacy_codec
#define LZ4_SYMBOLS      lz4_symbols
#else
#define LZ4_CODEC        NULL
#define LZ4_LEGACY_CODEC NULL
#define LZ4_SYMBOLS      NULL
#endif

#ifdef HAVE_LZO
/*
 * What lzop writes: a header, then blocks of (unpacked size, packed size, checksums, data) up to one of
 * size 0; a block that did not get smaller is stored. All numbers are big-endian.
 */
#define LZOP_MAGIC_BYTES 9
#define LZOP_METHOD_LAST 3 /* 1 to 3: LZO1X */
#define LZOP_BLOCK_MAX   (64 * MIB)
#define LZOP_VERSION_NEW 0x0940
#define LZOP_ADLER       (1U << 0) /* of the unpacked data */
#define LZOP_ADLER_PACKED (1U << 1)
#define LZOP_EXTRA       (1U << 6)
#define LZOP_CRC         (1U << 8)
#define LZOP_CRC_PACKED  (1U << 9)
#define LZOP_FILTER      (1U << 11)
#define LZOP_MULTIPART   (1U << 10)

#define LZO(X) X(lzo1x_decompress_safe) X(lzo_adler32) X(lzo_crc32)
static const struct lib_symbol lzo_symbols[] = { LZO(LIB_SYMBOL){ 0 } };

struct lzo {
	LZO(LIB_FIELD)
	bool in_blocks;
	uint32_t flags;
};

/* A big-endian number of @bytes; -ENOEXEC if the file ends before */
static int take(struct codec_io *io, unsigned bytes, uint32_t *ret)
{
	if (io->in_left < bytes)
		return -ENOEXEC;
	*ret = 0;
	for (unsigned i = 0; i < bytes; i++)
		*ret = *ret << 8 | io->in[i];
	moved(io, bytes, 0);
	return 0;
}

static int skip(struct codec_io *io, uint32_t bytes)
{
	if (io->in_left < bytes)
		return -ENOEXEC;
	moved(io, bytes, 0);
	return 0;
}

static int lzo_header(struct codec_io *io, struct lzo *c)
{
	uint32_t version, method, len, checksum;
	int err = skip(io, LZOP_MAGIC_BYTES);

	if (err || take(io, 2, &version) || skip(io, version >= LZOP_VERSION_NEW ? 4 : 2) ||
	    take(io, 1, &method) || skip(io, version >= LZOP_VERSION_NEW ? 1 : 0) ||
	    take(io, 4, &c->flags))
		return -ENOEXEC;
	if (!method || method > LZOP_METHOD_LAST || c->flags & (LZOP_FILTER | LZOP_MULTIPART))
		return -ENOEXEC;
	/* mode and time, the file's name, a checksum of the header */
	if (skip(io, version >= LZOP_VERSION_NEW ? 12 : 8) || take(io, 1, &len) || skip(io, len) ||
	    take(io, 4, &checksum))
		return -ENOEXEC;
	if (c->flags & LZOP_EXTRA && (take(io, 4, &len) || skip(io, len) || take(io, 4, &checksum)))
		return -ENOEXEC;
	c->in_blocks = true;
	return CODEC_MORE;
}

static int lzo_block(struct codec_io *io, struct lzo *c, uint32_t packed, uint32_t unpacked)
{
	lzo_uint n = unpacked;

	if (packed > io->in_left)
		return -ENOEXEC;
	if (packed == unpacked)
		memcpy(io->out, io->in, unpacked);
	else if (c->lzo1x_decompress_safe(io->in, packed, io->out, &n, NULL) != LZO_E_OK || n != unpacked)
		return -ENOEXEC;
	return 0;
}

static int lzo_step(struct codec_io *io)
{
	struct lzo *c = io->state;
	uint32_t unpacked, packed, adler = 0, crc = 0, skipped;

	if (!c->in_blocks)
		return lzo_header(io, c);
	if (take(io, 4, &unpacked))
		return -ENOEXEC;
	if (!unpacked)
		return CODEC_END;
	if (take(io, 4, &packed) || unpacked > LZOP_BLOCK_MAX || packed > unpacked)
		return -ENOEXEC;
	if (unpacked > io->out_left)
		return -EFBIG;
	if ((c->flags & LZOP_ADLER && take(io, 4, &adler)) ||
	    (c->flags & LZOP_CRC && take(io, 4, &crc)) ||
	    (packed < unpacked && c->flags & LZOP_ADLER_PACKED && take(io, 4, &skipped)) ||
	    (packed < unpacked && c->flags & LZOP_CRC_PACKED && take(io, 4, &skipped)) ||
	    lzo_block(io, c, packed, unpacked))
		return -ENOEXEC;
	if (c->flags & LZOP_ADLER && c->lzo_adler32(1, io->out, unpacked) != adler)
		return -ENOEXEC;
	if (c->flags & LZOP_CRC && c->lzo_crc32(0, io->out, unpacked) != crc)
		return -ENOEXEC;
	moved(io, packed, unpacked);
	return CODEC_MORE;
}

static const struct codec lzo_codec = { sizeof(struct lzo), NULL, lzo_step, NULL };
#define LZO_CODEC   &lzo_codec
#define LZO_SYMBOLS lzo_symbols
#else
#define LZO_CODEC   NULL
#define LZO_SYMBOLS NULL
#endif

#define LIBZ    { "libz.so.1", "zlib1g", ZLIB_SYMBOLS, false }
#define LIBBZ2  { "libbz2.so.1.0", "libbz2-1.0", BZIP2_SYMBOLS, false }
#define LIBLZMA { "liblzma.so.5", "liblzma5", LZMA_SYMBOLS, false }
#define LIBLZO2 { "liblzo2.so.2", "liblzo2-2", LZO_SYMBOLS, false }
#define LIBZSTD { "libzstd.so.1", "libzstd1", ZSTD_SYMBOLS, false }
#define LIBLZ4  { "liblz4.so.1", "liblz4-1", LZ4_SYMBOLS, false }

const struct format decompress_formats[] = {
	{ "gzip", "\x1f\x8b\x08", 3, LIBZ, "zlib1g-dev", GZIP_CODEC },
	{ "bzip2", "BZh", 3, LIBBZ2, "libbz2-dev", BZIP2_CODEC },
	{ "xz", "\xfd\x37zXZ\0", 6, LIBLZMA, "liblzma-dev", XZ_CODEC },
	{ "lzma", "\x5d\0\0", 3, LIBLZMA, "liblzma-dev", LZMA_CODEC },
	{ "lzo", "\x89LZO\0\r\n\x1a\n", 9, LIBLZO2, "liblzo2-dev", LZO_CODEC },
	{ "zstd", "\x28\xb5\x2f\xfd", 4, LIBZSTD, "libzstd-dev", ZSTD_CODEC },
	{ "lz4", "\x04\x22\x4d\x18", 4, LIBLZ4, "liblz4-dev", LZ4_CODEC },
	{ "lz4", "\x02\x21\x4c\x18", 4, LIBLZ4, "liblz4-dev", LZ4_LEGACY_CODEC },
	{ 0 },
};
