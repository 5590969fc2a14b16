/* See vm/dump-pack.h. */
#include "dump-pack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<zlib.h>)
#include <zlib.h>
#define HAVE_ZLIB 1
#endif
#if __has_include(<lzo/lzo1x.h>)
#include <lzo/lzo1x.h>
#define HAVE_LZO 1
#endif
#if __has_include(<zstd.h>)
#include <zstd.h>
#define HAVE_ZSTD 1
#endif

#include "lkvm/lib.h"
#include "lkvm/types.h"

/* One way to compress; its functions get the struct dump_packer's own state. */
struct method {
	const char *name, *dev_package;
	uint32_t flag;
	struct lib lib;
	size_t state_bytes; /* 0: not in this build; its functions first */
	int (*init)(void *state);
	size_t (*pack)(void *state, const uint8_t *page, uint8_t *ret);
	void (*fini)(void *state);
};

struct dump_packer {
	const struct method *method;
	void *lib, *state;
};

/* ---- zlib ---- */

#ifdef HAVE_ZLIB
#define ZLIB(X) X(deflateInit_) X(deflateReset) X(deflate) X(deflateEnd)
static const struct lib_symbol zlib_symbols[] = { ZLIB(LIB_SYMBOL){ 0 } };

struct zlib {
	ZLIB(LIB_FIELD)
	z_stream stream;
};

static int zlib_init(void *state)
{
	struct zlib *c = state;

	return c->deflateInit_(&c->stream, Z_BEST_SPEED, ZLIB_VERSION, sizeof(c->stream)) == Z_OK ? 0 : -ENOMEM;
}

static size_t zlib_pack(void *state, const uint8_t *page, uint8_t *ret)
{
	struct zlib *c = state;

	if (c->deflateReset(&c->stream) != Z_OK)
		return 0;
	c->stream.next_in = (uint8_t *)(uintptr_t)page;
	c->stream.avail_in = RAM_PAGE_BYTES;
	c->stream.next_out = ret;
	c->stream.avail_out = DUMP_PACK_CAP;
	return c->deflate(&c->stream, Z_FINISH) == Z_STREAM_END ? c->stream.total_out : 0;
}

static void zlib_fini(void *state)
{
	struct zlib *c = state;

	c->deflateEnd(&c->stream);
}

#define ZLIB_METHOD zlib_symbols, false }, sizeof(struct zlib), zlib_init, zlib_pack, zlib_fini
#else
#define ZLIB_METHOD NULL, false }, 0, NULL, NULL, NULL
#endif

/* ---- LZO ---- */

#ifdef HAVE_LZO
#define LZO(X) X(lzo1x_1_compress)
static const struct lib_symbol lzo_symbols[] = { LZO(LIB_SYMBOL){ 0 } };

struct lzo {
	LZO(LIB_FIELD)
	lzo_align_t work[LZO1X_1_MEM_COMPRESS / sizeof(lzo_align_t)];
};

static size_t lzo_pack(void *state, const uint8_t *page, uint8_t *ret)
{
	struct lzo *c = state;
	lzo_uint n = 0;

	return c->lzo1x_1_compress(page, RAM_PAGE_BYTES, ret, &n, c->work) == LZO_E_OK ? n : 0;
}

#define LZO_METHOD lzo_symbols, false }, sizeof(struct lzo), NULL, lzo_pack, NULL
#else
#define LZO_METHOD NULL, false }, 0, NULL, NULL, NULL
#endif

/* ---- zstd ---- */

#ifdef HAVE_ZSTD
#define ZSTD(X) X(ZSTD_createCCtx) X(ZSTD_compressCCtx) X(ZSTD_isError) X(ZSTD_freeCCtx)
static const struct lib_symbol zstd_symbols[] = { ZSTD(LIB_SYMBOL){ 0 } };

struct zstd {
	ZSTD(LIB_FIELD)
	ZSTD_CCtx *context;
};

static size_t zstd_pack(void *state, const uint8_t *page, uint8_t *ret)
{
	struct zstd *c = state;
	size_t n = c->ZSTD_compressCCtx(c->context, ret, DUMP_PACK_CAP, page, RAM_PAGE_BYTES, 1);

	return c->ZSTD_isError(n) ? 0 : n;
}

/* Its memory is made with the first page, and kept. */
static int zstd_init(void *state)
{
	static const uint8_t page[RAM_PAGE_BYTES];
	uint8_t packed[DUMP_PACK_CAP];
	struct zstd *c = state;

	c->context = c->ZSTD_createCCtx();
	return c->context && zstd_pack(c, page, packed) ? 0 : -ENOMEM;
}

static void zstd_fini(void *state)
{
	struct zstd *c = state;

	c->ZSTD_freeCCtx(c->context);
}

#define ZSTD_METHOD zstd_symbols, false }, sizeof(struct zstd), zstd_init, zstd_pack, zstd_fini
#else
#define ZSTD_METHOD NULL, false }, 0, NULL, NULL, NULL
#endif

/* ---- all of them ---- */

static const struct method methods[] = {
	[DUMP_ZLIB] = { "zlib", "zlib1g-dev", 1, { "libz.so.1", "zlib1g", ZLIB_METHOD },
	[DUMP_LZO] = { "lzo", "liblzo2-dev", 2, { "liblzo2.so.2", "liblzo2-2", LZO_METHOD },
	[DUMP_ZSTD] = { "zstd", "libzstd-dev", 0x20, { "libzstd.so.1", "libzstd1", ZSTD_METHOD },
};

int dump_packer_new(enum dump_compress how, struct dump_packer **ret, char *ret_why, size_t cap)
{
	const struct method *m = &methods[how];
	struct dump_packer *p;
	int err;

	if (!m->state_bytes) {
		snprintf(ret_why, cap, "this lkvm was built without %s (Debian package %s)", m->name, m->dev_package);
		return -EOPNOTSUPP;
	}
	p = calloc(1, sizeof(*p));
	if (p)
		p->state = calloc(1, m->state_bytes);
	if (!p || !p->state) {
		free(p);
		return -ENOMEM;
	}
	err = lib_open(&m->lib, p->state, &p->lib);
	if (err)
		lib_why(&m->lib, err, ret_why, cap);
	else if (m->init)
		err = m->init(p->state);
	if (!err)
		p->method = m;
	if (err)
		dump_packer_free(p);
	else
		*ret = p;
	return err;
}

void dump_packer_free(struct dump_packer *p)
{
	if (!p)
		return;
	if (p->method && p->method->fini)
		p->method->fini(p->state);
	lib_close(p->lib);
	free(p->state);
	free(p);
}

size_t dump_pack(struct dump_packer *p, const uint8_t *page, uint8_t *ret)
{
	const size_t n = p->method->pack(p->state, page, ret);

	return n < RAM_PAGE_BYTES ? n : 0;
}

uint32_t dump_pack_flag(const struct dump_packer *p)
{
	return p->method->flag;
}
