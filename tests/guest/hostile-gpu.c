/* The screen: its resources, their memory, outputs, cursors and configuration: virtio 1.2, 5.7 */
#include "hostile.h"

#define F_EDID   F(1)
#define NO_EDID  F_VERSION_1
#define OUTPUTS  2
#define GPU_MOST (128U << 20) /* bytes of pixels */
#define BGRX     2

enum {
	DISPLAY_INFO = 0x100, CREATE, UNREF, SCANOUT, FLUSH, TRANSFER, ATTACH, DETACH,
	CAPSET_INFO, CAPSET, EDID, UUID, BLOB, SCANOUT_BLOB,
	UPDATE_CURSOR = 0x300, MOVE_CURSOR,
	OK_INFO = 0x1101, OK_EDID = 0x1104,
	UNSPEC = 0x1200, NO_MEMORY, BAD_SCANOUT, BAD_RESOURCE, BAD_CONTEXT, BAD_PARAMETER,
};

static uint32_t words(const struct trial *t, uint32_t type, const uint32_t *word, unsigned n)
{
	return gpu_words(t->d, type, word, n);
}

static uint32_t create(const struct trial *t, uint32_t id, uint32_t format, uint32_t width, uint32_t height)
{
	return words(t, CREATE, (uint32_t[]){ id, format, width, height }, 4);
}

static uint32_t unref(const struct trial *t, uint32_t id)
{
	return words(t, UNREF, (uint32_t[]){ id, 0 }, 2);
}

static uint32_t attach(const struct trial *t, uint32_t id, uint64_t at, uint32_t bytes)
{
	return words(t, ATTACH, (uint32_t[]){ id, 1, (uint32_t)at, (uint32_t)(at >> 32), bytes, 0 }, 6);
}

static uint32_t detach(const struct trial *t, uint32_t id)
{
	return words(t, DETACH, (uint32_t[]){ id, 0 }, 2);
}

static uint32_t scanout(const struct trial *t, uint32_t output, uint32_t id, uint32_t width, uint32_t height)
{
	return words(t, SCANOUT, (uint32_t[]){ 0, 0, width, height, output, id }, 6);
}

static uint32_t flush(const struct trial *t, uint32_t x, uint32_t y, uint32_t width, uint32_t height)
{
	return words(t, FLUSH, (uint32_t[]){ x, y, width, height, 1, 0 }, 6);
}

static uint32_t transfer(const struct trial *t, uint32_t x, uint32_t y, uint32_t width, uint32_t height, uint64_t offset)
{
	return words(t, TRANSFER,
		     (uint32_t[]){ x, y, width, height, (uint32_t)offset, (uint32_t)(offset >> 32), 1, 0 }, 8);
}

/* Resource 1 of 64x64 pixels, with memory, on output 0 */
static bool begin(const struct trial *t)
{
	return create(t, 1, BGRX, 64, 64) == GPU_OK && attach(t, 1, GPU_AREA, 64 * 64 * 4) == GPU_OK &&
	       scanout(t, 0, 1, 64, 64) == GPU_OK;
}

#define BEGIN(t)                                                                                   \
	do {                                                                                       \
		EXPECT(begin(t));                                                                  \
	} while (0)

/* ---- framing ---- */

static void no_room(const struct trial *t)
{
	const struct vbuf chain[] = { { (uint64_t)t->d->buf, (uint32_t)t->a, 0 },
				      { (uint64_t)t->d->buf + 0x1000, (uint32_t)t->b, D_WRITE } };

	*(volatile uint32_t *)t->d->buf = UNREF;
	vring_add(t->r, chain, t->b ? 2 : 1);
	kick(t->r);
	EXPECT(needs_reset(t->d));
}

static void only_room(const struct trial *t)
{
	vring_add(t->r, &(struct vbuf){ (uint64_t)t->d->buf, 4096, D_WRITE }, 1);
	kick(t->r);
	EXPECT(needs_reset(t->d));
}

static void short_request(const struct trial *t)
{
	for (unsigned i = 0; i < 16; i++)
		((volatile uint32_t *)t->d->buf)[i] = i ? 1 : (uint32_t)t->a;
	EXPECT_EQ(gpu_send(t->d, (uint32_t)t->b, 24), BAD_PARAMETER);
}

static void short_answer(const struct trial *t)
{
	for (unsigned i = 0; i < 16; i++)
		((volatile uint32_t *)t->d->buf)[i] = i ? 0 : (uint32_t)t->a;
	EXPECT_EQ(gpu_send(t->d, 64, (uint32_t)t->b), BAD_PARAMETER);
}

static void unknown(const struct trial *t)
{
	EXPECT_EQ(words(t, (uint32_t)t->a, (uint32_t[]){ 1, 1, 1, 1, 1, 1, 1, 1 }, 8), UNSPEC);
}

/* 16 MB of request: what is behind it is not looked at. */
static void long_request(const struct trial *t)
{
	volatile uint32_t *req = (volatile uint32_t *)(uint64_t)(40 << 20), *answer = (volatile uint32_t *)(t->d->buf + 0x1000);

	for (unsigned i = 0; i < 6; i++)
		req[i] = i ? 0 : DISPLAY_INFO;
	EXPECT(vring_do(t->r, (struct vbuf[]){ { (uint64_t)req, 16 << 20, 0 }, { (uint64_t)answer, 4096, D_WRITE } }, 2));
	EXPECT_EQ(*answer, OK_INFO);
	EXPECT_EQ(t->r->used_len, 24 + 16 * 24);
}

/* The answer over the request itself */
static void answer_over_request(const struct trial *t)
{
	volatile uint32_t *req = (volatile uint32_t *)t->d->buf;

	for (unsigned i = 0; i < 8; i++)
		req[i] = i ? 0 : DISPLAY_INFO;
	EXPECT(vring_do(t->r, (struct vbuf[]){ { (uint64_t)req, 24, 0 }, { (uint64_t)req, 1024, D_WRITE } }, 2));
	EXPECT_EQ(*req, OK_INFO);
}

/* ---- blobs ---- */

#define BLOB_BYTES (64 * 64 * 4)

/* More words than gpu_words() takes */
static uint32_t long_words(const struct trial *t, uint32_t type, const uint32_t *word, unsigned n)
{
	for (unsigned i = 0; i < 6 + n; i++)
		((volatile uint32_t *)t->d->buf)[i] = !i ? type : i < 6 ? 0 : word[i - 6];
	return gpu_send(t->d, (6 + n) * 4, 24);
}

static uint32_t blob(const struct trial *t, uint32_t id, uint32_t mem, uint64_t bytes, uint32_t n)
{
	return long_words(t, BLOB,
			  (uint32_t[]){ id, mem, 0, n, 0, 0, (uint32_t)bytes, (uint32_t)(bytes >> 32), GPU_AREA, 0, BLOB_BYTES, 0 }, 12);
}

static uint32_t show_blob(const struct trial *t, uint32_t id, uint32_t width, uint32_t height, uint32_t stride, uint32_t offset)
{
	return long_words(t, SCANOUT_BLOB,
			  (uint32_t[]){ 0, 0, width, height, 0, id, width, height, BGRX, 0, stride, 0, 0, 0, offset, 0, 0, 0 }, 18);
}

static void blob_begin(const struct trial *t)
{
	EXPECT_EQ(blob(t, 1, 1, BLOB_BYTES, 1), GPU_OK);
	EXPECT_EQ(show_blob(t, 1, 64, 64, 256, 0), GPU_OK);
	EXPECT_EQ(flush(t, 0, 0, 64, 64), GPU_OK);
}

static void blob_not_negotiated(const struct trial *t)
{
	EXPECT_EQ(show_blob(t, 0, 64, 64, 256, 0), UNSPEC);
}

static void bad_blob(const struct trial *t)
{
	EXPECT_EQ(blob(t, 1, (uint32_t)t->a, t->b, 1), BAD_PARAMETER);
	EXPECT_EQ(unref(t, 1), BAD_RESOURCE);
	EXPECT(vdev_works(t->d));
}

static void blob_list(const struct trial *t)
{
	EXPECT_EQ(blob(t, 1, 1, BLOB_BYTES, (uint32_t)t->a), BAD_PARAMETER);
	EXPECT(vdev_works(t->d));
}

static void blob_twice(const struct trial *t)
{
	blob_begin(t);
	EXPECT_EQ(blob(t, 1, 1, BLOB_BYTES, 1), BAD_RESOURCE);
	EXPECT_EQ(create(t, 1, BGRX, 64, 64), BAD_RESOURCE);
	EXPECT_EQ(attach(t, 1, GPU_AREA, 4096), UNSPEC);
	EXPECT_EQ(flush(t, 0, 0, 64, 64), GPU_OK);
}

/* It takes nothing of the host; what is shown of it has to be there. */
static void huge_blob(const struct trial *t)
{
	EXPECT_EQ(blob(t, 1, 1, UINT64_MAX, 1), GPU_OK);
	EXPECT_EQ(show_blob(t, 1, 64, 64, 256, 1), GPU_OK);
	EXPECT_EQ(flush(t, 0, 0, 1, 1), UNSPEC);
	EXPECT_EQ(show_blob(t, 1, 64, 64, UINT32_MAX, UINT32_MAX), GPU_OK);
	EXPECT_EQ(flush(t, 63, 63, 1, 1), UNSPEC);
}

static void bad_layout(const struct trial *t)
{
	blob_begin(t);
	EXPECT_EQ(show_blob(t, 1, (uint32_t)t->a, (uint32_t)(t->a >> 32), (uint32_t)t->b, (uint32_t)(t->b >> 32)), BAD_PARAMETER);
	EXPECT_EQ(flush(t, 0, 0, 64, 64), GPU_OK);
}

static void blob_detached(const struct trial *t)
{
	blob_begin(t);
	EXPECT_EQ(detach(t, 1), GPU_OK);
	EXPECT_EQ(flush(t, 0, 0, 64, 64), UNSPEC);
	EXPECT_EQ(attach(t, 1, GPU_AREA, BLOB_BYTES - 1), GPU_OK);
	EXPECT_EQ(flush(t, 0, 0, 1, 1), UNSPEC);
	EXPECT(vdev_works(t->d));
}

static void blob_unref(const struct trial *t)
{
	blob_begin(t);
	EXPECT_EQ(unref(t, 1), GPU_OK);
	EXPECT_EQ(flush(t, 0, 0, 64, 64), BAD_RESOURCE);
	EXPECT(vdev_works(t->d));
}

/* Read while the device writes to it */
static void blob_of_ring(const struct trial *t)
{
	EXPECT_EQ(blob(t, 1, 1, BLOB_BYTES, 0), GPU_OK);
	EXPECT_EQ(attach(t, 1, (uint64_t)t->r->desc, BLOB_BYTES), GPU_OK);
	EXPECT_EQ(show_blob(t, 1, 64, 64, 256, 0), GPU_OK);
	for (unsigned i = 0; i < 100; i++)
		EXPECT_EQ(flush(t, 0, 0, 64, 64), GPU_OK);
}

static void blob_as_picture(const struct trial *t)
{
	blob_begin(t);
	EXPECT_EQ(scanout(t, 0, 1, 64, 64), BAD_PARAMETER);
	EXPECT_EQ(transfer(t, 63, 63, UINT32_MAX, UINT32_MAX, UINT64_MAX), GPU_OK);
	EXPECT_EQ(flush(t, 1, 0, 64, 64), BAD_PARAMETER);
	EXPECT_EQ(create(t, 2, BGRX, 64, 64), GPU_OK);
	EXPECT_EQ(show_blob(t, 2, 64, 64, 256, 0), BAD_PARAMETER);
	EXPECT_EQ(flush(t, 0, 0, 64, 64), GPU_OK);
}

/* ---- resources ---- */

static void bad_size(const struct trial *t)
{
	EXPECT_EQ(create(t, 1, BGRX, (uint32_t)t->a, (uint32_t)t->b), BAD_PARAMETER);
	EXPECT(vdev_works(t->d));
}

static void bad_format(const struct trial *t)
{
	EXPECT_EQ(create(t, 1, (uint32_t)t->a, 8, 8), BAD_PARAMETER);
}

static void twice(const struct trial *t)
{
	BEGIN(t);
	EXPECT_EQ(create(t, 1, BGRX, 8, 8), BAD_RESOURCE);
	EXPECT_EQ(create(t, 0, BGRX, 8, 8), BAD_RESOURCE);
	EXPECT_EQ(flush(t, 0, 0, 64, 64), GPU_OK);
}

static void too_much(const struct trial *t)
{
	EXPECT_EQ(create(t, 1, BGRX, 16384, 16384), NO_MEMORY);
	EXPECT_EQ(create(t, 1, BGRX, 16384, GPU_MOST / 65536 - 1), GPU_OK);
	EXPECT_EQ(create(t, 2, BGRX, 16384, 2), NO_MEMORY);
	EXPECT_EQ(create(t, 2, BGRX, 8192, 1), GPU_OK);
	EXPECT_EQ(unref(t, 1), GPU_OK);
	EXPECT_EQ(create(t, 1, BGRX, 16384, GPU_MOST / 65536 - 1), GPU_OK);
}

static void too_many(const struct trial *t)
{
	for (uint32_t i = 1; i <= 8192; i++)
		EXPECT_EQ(create(t, i, BGRX, 1, 1), GPU_OK);
	EXPECT_EQ(create(t, 8193, BGRX, 1, 1), NO_MEMORY);
}

static void no_such(const struct trial *t)
{
	const uint32_t id = (uint32_t)t->a;

	BEGIN(t);
	EXPECT_EQ(unref(t, id), BAD_RESOURCE);
	EXPECT_EQ(attach(t, id, GPU_AREA, 4096), BAD_RESOURCE);
	EXPECT_EQ(detach(t, id), BAD_RESOURCE);
	EXPECT_EQ(words(t, FLUSH, (uint32_t[]){ 0, 0, 1, 1, id, 0 }, 6), BAD_RESOURCE);
	EXPECT_EQ(words(t, TRANSFER, (uint32_t[]){ 0, 0, 1, 1, 0, 0, id, 0 }, 8), BAD_RESOURCE);
	if (id)
		EXPECT_EQ(scanout(t, 0, id, 1, 1), BAD_RESOURCE);
}

/* What is shown goes, and with it what shows it. */
static void unref_shown(const struct trial *t)
{
	BEGIN(t);
	EXPECT_EQ(scanout(t, 1, 1, 64, 64), GPU_OK);
	EXPECT_EQ(unref(t, 1), GPU_OK);
	EXPECT_EQ(unref(t, 1), BAD_RESOURCE);
	EXPECT_EQ(flush(t, 0, 0, 64, 64), BAD_RESOURCE);
	BEGIN(t);
}

static void churn(const struct trial *t)
{
	for (unsigned i = 0; i < 300; i++) {
		BEGIN(t);
		EXPECT_EQ(transfer(t, 0, 0, 64, 64, 0), GPU_OK);
		EXPECT_EQ(flush(t, 0, 0, 64, 64), GPU_OK);
		EXPECT_EQ(unref(t, 1), GPU_OK);
	}
}

/* ---- memory ---- */

static void memory_at(const struct trial *t)
{
	EXPECT_EQ(create(t, 1, BGRX, 64, 64), GPU_OK);
	EXPECT_EQ(attach(t, 1, t->a, (uint32_t)t->b), BAD_PARAMETER);
	EXPECT_EQ(transfer(t, 0, 0, 1, 1, 0), UNSPEC);
}

static void memory_list(const struct trial *t)
{
	EXPECT_EQ(create(t, 1, BGRX, 64, 64), GPU_OK);
	EXPECT_EQ(words(t, ATTACH, (uint32_t[]){ 1, (uint32_t)t->a, GPU_AREA, 0, 4096, 0 }, 6), BAD_PARAMETER);
	EXPECT_EQ(transfer(t, 0, 0, 1, 1, 0), UNSPEC);
}

static void memory_twice(const struct trial *t)
{
	BEGIN(t);
	EXPECT_EQ(attach(t, 1, GPU_AREA, 4096), UNSPEC);
	EXPECT_EQ(detach(t, 1), GPU_OK);
	EXPECT_EQ(detach(t, 1), UNSPEC);
	EXPECT_EQ(transfer(t, 0, 0, 1, 1, 0), UNSPEC);
	EXPECT_EQ(flush(t, 0, 0, 64, 64), GPU_OK);
}

/* As many entries as one may have, all of them the same page, for a resource that is as large */
static void memory_most(const struct trial *t)
{
	volatile uint32_t *req = (volatile uint32_t *)(uint64_t)GPU_AREA, *answer = (volatile uint32_t *)(t->d->buf + 0x1000);

	EXPECT_EQ(create(t, 1, BGRX, 4096, 4096), GPU_OK);
	for (unsigned i = 0; i < 8; i++)
		req[i] = i ? 0 : ATTACH;
	req[6] = 1;
	req[7] = (uint32_t)t->a;
	for (unsigned i = 0; i < t->a; i++) {
		req[8 + i * 4] = 56 << 20;
		req[9 + i * 4] = req[11 + i * 4] = 0;
		req[10 + i * 4] = 1024;
	}
	EXPECT(vring_do(t->r, (struct vbuf[]){ { GPU_AREA, (uint32_t)(32 + t->a * 16), 0 }, { (uint64_t)answer, 24, D_WRITE } }, 2));
	EXPECT_EQ(*answer, t->b);
	if (t->b == GPU_OK)
		EXPECT_EQ(transfer(t, 0, 0, 4096, 4096, 0), GPU_OK);
}

static void own_ring(const struct trial *t)
{
	EXPECT_EQ(create(t, 1, BGRX, 64, 64), GPU_OK);
	EXPECT_EQ(attach(t, 1, (uint64_t)t->r->desc & ~0xfffULL, 64 * 64 * 4), GPU_OK);
	EXPECT_EQ(transfer(t, 0, 0, 64, 64, 0), GPU_OK);
}

/* ---- rectangles ---- */

static void bad_rect(const struct trial *t)
{
	const uint32_t x = (uint32_t)t->a, y = (uint32_t)(t->a >> 32), w = (uint32_t)t->b, h = (uint32_t)(t->b >> 32);

	BEGIN(t);
	EXPECT_EQ(transfer(t, x, y, w, h, 0), BAD_PARAMETER);
	EXPECT_EQ(flush(t, x, y, w, h), BAD_PARAMETER);
	EXPECT_EQ(words(t, SCANOUT, (uint32_t[]){ x, y, w, h, 0, 1 }, 6), BAD_PARAMETER);
	EXPECT_EQ(flush(t, 0, 0, 64, 64), GPU_OK);
}

static void bad_offset(const struct trial *t)
{
	BEGIN(t);
	EXPECT_EQ(transfer(t, 0, 0, (uint32_t)t->b, (uint32_t)t->b, t->a), BAD_PARAMETER);
	EXPECT_EQ(transfer(t, 0, 0, 64, 64, 0), GPU_OK);
}

/* Of one ring full each copies all that one may have. */
static void much_work(const struct trial *t)
{
	EXPECT_EQ(create(t, 1, BGRX, 2048, 2048), GPU_OK);
	EXPECT_EQ(attach(t, 1, 32 << 20, 16 << 20), GPU_OK);
	EXPECT_EQ(scanout(t, 0, 1, 2048, 2048), GPU_OK);
	for (unsigned i = 0; i < 20; i++) {
		EXPECT_EQ(transfer(t, 0, 0, 2048, 2048, 0), GPU_OK);
		EXPECT_EQ(flush(t, 0, 0, 2048, 2048), GPU_OK);
	}
}

static void bad_scanout(const struct trial *t)
{
	BEGIN(t);
	EXPECT_EQ(scanout(t, (uint32_t)t->a, 1, 64, 64), BAD_SCANOUT);
	EXPECT_EQ(scanout(t, (uint32_t)t->a, 0, 0, 0), BAD_SCANOUT);
}

static void bad_edid(const struct trial *t)
{
	volatile uint32_t *req = (volatile uint32_t *)t->d->buf;

	for (unsigned i = 0; i < 8; i++)
		req[i] = i ? 0 : EDID;
	req[6] = (uint32_t)t->a;
	EXPECT_EQ(gpu_send(t->d, 32, 24 + 8 + 1024), t->b);
}

/* ---- cursors ---- */

static bool cursor(const struct trial *t, uint32_t type, uint32_t output, uint32_t id, uint32_t hot)
{
	volatile uint32_t *req = (volatile uint32_t *)(t->d->buf + 0x2000);

	for (unsigned i = 0; i < 14; i++)
		req[i] = 0;
	req[0] = type;
	req[6] = output;
	req[10] = id;
	req[11] = hot;
	return vring_do(&t->d->ring[1], &(struct vbuf){ (uint64_t)req, 56, 0 }, 1);
}

static void odd_cursor(const struct trial *t)
{
	BEGIN(t);
	EXPECT(cursor(t, UPDATE_CURSOR, 0, 1, 0));
	EXPECT(cursor(t, UPDATE_CURSOR, (uint32_t)t->a, (uint32_t)(t->a >> 32), (uint32_t)t->b));
	EXPECT(cursor(t, MOVE_CURSOR, (uint32_t)t->a, 0, 0));
	EXPECT(vdev_works(t->d));
}

static void cursor_then_unref(const struct trial *t)
{
	BEGIN(t);
	EXPECT(cursor(t, UPDATE_CURSOR, 0, 1, 0));
	EXPECT_EQ(unref(t, 1), GPU_OK);
	EXPECT(cursor(t, MOVE_CURSOR, 0, 1, 0));
	EXPECT(cursor(t, UPDATE_CURSOR, 0, 1, 0));
	EXPECT(vdev_works(t->d));
}

static void cursor_room(const struct trial *t)
{
	const struct vbuf chain[] = { { (uint64_t)t->d->buf, 56, 0 }, { (uint64_t)t->d->buf + 0x1000, 1, D_WRITE } };

	vring_add(&t->d->ring[1], chain, 2);
	kick(&t->d->ring[1]);
	EXPECT(needs_reset(t->d));
}

/* ---- the rest ---- */

static void reset_while_shown(const struct trial *t)
{
	for (unsigned i = 0; i < 20; i++) {
		BEGIN(t);
		EXPECT(cursor(t, UPDATE_CURSOR, 1, 1, 5));
		EXPECT(vdev_start(t->d, usual_features(t->d)));
		EXPECT_EQ(unref(t, 1), BAD_RESOURCE);
	}
}

static void write_config(const struct trial *t)
{
	const uint64_t before = mem_read(t->d->config + t->a, (unsigned)t->b);

	mem_write(t->d->config + t->a, (unsigned)t->b, UINT64_MAX);
	EXPECT_EQ(mem_read(t->d->config + t->a, (unsigned)t->b), before);
	EXPECT_EQ(mem_read(t->d->config + 8, 4), OUTPUTS);
}

#define XY(x, y) ((uint64_t)(y) << 32 | (uint32_t)(x))

static const struct hostile cases[] = {
	{ "5.7.6.7 a request without a header", no_room, 23, 24 },
	{ "5.7.6.7 a request without room for an answer", no_room, 32, 0 },
	{ "5.7.6.7 room for all of an answer's header but a byte", no_room, 32, 23 },
	{ "5.7.6.7 room for an answer without a request", only_room },
	{ "5.7.6.8 half of a new resource", short_request, CREATE, 32 },
	{ "5.7.6.8 a new resource less a byte", short_request, CREATE, 39 },
	{ "5.7.6.8 a transfer without its resource", short_request, TRANSFER, 48 },
	{ "5.7.6.8 memory without its list's length", short_request, ATTACH, 28 },
	{ "5.7.6.8 an output without a rectangle", short_request, SCANOUT, 24 },
	{ "5.7.6.8 no room for all outputs", short_answer, DISPLAY_INFO, 407 },
	{ "5.7.6.8 no room for EDID", short_answer, EDID, 1055 },
	{ "5.7.6.7 request 0", unknown, 0 },
	{ "5.7.6.8 a capset of a device without 3D", unknown, CAPSET },
	{ "5.7.3 a blob without the feature", unknown, BLOB, .features = NO_EDID },
	{ "5.7.3 a blob on an output without the feature", blob_not_negotiated, .features = NO_EDID },
	{ "5.7.6.8 a blob of no bytes", bad_blob, 1, 0 },
	{ "5.7.6.8 a blob of the host's memory", bad_blob, 2, 4096 },
	{ "5.7.6.8 a blob of memory that there is not", bad_blob, 4, 4096 },
	{ "5.7.6.8 a blob of an entry less than its list has", blob_list, 2 },
	{ "5.7.6.8 a blob of 2^32 - 1 entries", blob_list, UINT32_MAX },
	{ "5.7.6.8 a blob that is there already", blob_twice },
	{ "5.7.6.8 a blob of 2^64 - 1 bytes", huge_blob },
	{ "5.7.6.8 a blob shown in lines of too few bytes", bad_layout, XY(64, 64), XY(255, 0) },
	{ "5.7.6.8 a blob shown a byte over its end", bad_layout, XY(64, 64), XY(256, 1) },
	{ "5.7.6.8 a blob shown from 2^32 - 1 on", bad_layout, XY(64, 64), XY(256, UINT32_MAX) },
	{ "5.7.6.8 a blob in lines of 2^32 - 1 bytes", bad_layout, XY(64, 64), XY(UINT32_MAX, 0) },
	{ "5.7.6.8 a blob that is 2^30 pixels wide", bad_layout, XY(1 << 30, 1), XY(0, 0) },
	{ "5.7.6.8 a blob that is no pixel high", bad_layout, XY(64, 0), XY(256, 0) },
	{ "5.7.6.8 a blob whose memory was taken away", blob_detached },
	{ "5.7.6.8 a blob that is thrown away while it is shown", blob_unref },
	{ "5.7.6.8 the ring itself as a blob", blob_of_ring },
	{ "5.7.6.8 a blob as a picture that it is not", blob_as_picture },
	{ "5.7.6.8 an UUID that was not offered", unknown, UUID },
	{ "5.7.6.9 a context of a device without 3D", unknown, 0x200 },
	{ "5.7.6.10 a cursor on the control queue", unknown, UPDATE_CURSOR },
	{ "5.7.6.7 an answer as a request", unknown, GPU_OK },
	{ "5.7.6.7 the last of all requests", unknown, UINT32_MAX },
	{ "5.7.6.7 16 MB behind a request", long_request },
	{ "5.7.6.7 the answer where the request is", answer_over_request },
	{ "5.7.6.8 a resource of no width", bad_size, 0, 8 },
	{ "5.7.6.8 a resource of no height", bad_size, 8, 0 },
	{ "5.7.6.8 a resource of 16385 pixels", bad_size, 16385, 1 },
	{ "5.7.6.8 a resource of 2^32 pixels", bad_size, 65536, 65536 },
	{ "5.7.6.8 a resource of 2^31 lines of 2 pixels", bad_size, 2, 1U << 31 },
	{ "5.7.6.8 a resource as large as can be written", bad_size, UINT32_MAX, UINT32_MAX },
	{ "5.7.6.8 format 0", bad_format, 0 },
	{ "5.7.6.8 format 5", bad_format, 5 },
	{ "5.7.6.8 format 2^32 - 1", bad_format, UINT32_MAX },
	{ "5.7.6.8 a resource twice", twice },
	{ "5.7.6.8 more pixels than there may be", too_much },
	{ "5.7.6.8 more resources than there may be", too_many },
	{ "5.7.6.8 resource 0", no_such, 0 },
	{ "5.7.6.8 resource 257 in place of 1", no_such, 257 },
	{ "5.7.6.8 resource 2^32 - 1", no_such, UINT32_MAX },
	{ "5.7.6.8 what is shown is thrown away", unref_shown },
	{ "5.7.6.8 made, shown and thrown away 300 times", churn },
	{ "5.7.6.8 memory behind RAM", memory_at, RAM_END, 4096 },
	{ "5.7.6.8 memory over the end of RAM", memory_at, RAM_END - 4096, 4097 },
	{ "5.7.6.8 memory in the gap", memory_at, 0xd0000000, 4096 },
	{ "5.7.6.8 memory of 4 GB", memory_at, 0, UINT32_MAX },
	{ "5.7.6.8 memory at the end of all addresses", memory_at, UINT64_MAX - 4095, 4096 },
	{ "5.7.6.8 no memory behind RAM", memory_at, RAM_END + 1, 0 },
	{ "5.7.6.8 a list that is one entry short", memory_list, 2 },
	{ "5.7.6.8 a list of 2^32 - 1 entries", memory_list, UINT32_MAX },
	{ "5.7.6.8 a list of 2^28 entries, which are 2^32 bytes", memory_list, 1U << 28 },
	{ "5.7.6.8 memory twice, and taken away twice", memory_twice },
	{ "5.7.6.8 65536 entries", memory_most, 65536, GPU_OK },
	{ "5.7.6.8 65537 entries", memory_most, 65537, BAD_PARAMETER },
	{ "5.7.6.8 the ring itself as pixels", own_ring },
	{ "5.7.6.8 a rectangle of no width", bad_rect, XY(0, 0), XY(0, 1) },
	{ "5.7.6.8 a rectangle of no height", bad_rect, XY(0, 0), XY(1, 0) },
	{ "5.7.6.8 a rectangle over the right edge", bad_rect, XY(63, 0), XY(2, 1) },
	{ "5.7.6.8 a rectangle over the lower edge", bad_rect, XY(0, 63), XY(1, 2) },
	{ "5.7.6.8 a rectangle outside", bad_rect, XY(64, 64), XY(1, 1) },
	{ "5.7.6.8 a rectangle whose right edge is at 2^32", bad_rect, XY(1, 0), XY(UINT32_MAX, 1) },
	{ "5.7.6.8 a rectangle whose lower edge is at 2^32", bad_rect, XY(0, 1), XY(1, UINT32_MAX) },
	{ "5.7.6.8 a rectangle at 2^32 - 1", bad_rect, XY(UINT32_MAX, UINT32_MAX), XY(1, 1) },
	{ "5.7.6.8 pixels from the memory's end on", bad_offset, 64 * 64 * 4, 1 },
	{ "5.7.6.8 pixels a byte over the memory's end", bad_offset, 1, 64 },
	{ "5.7.6.8 pixels at 2^64 - 1", bad_offset, UINT64_MAX, 1 },
	{ "5.7.6.8 pixels at 2^64 - 4", bad_offset, UINT64_MAX - 3, 64 },
	{ "5.7.6.8 16 MB forty times", much_work },
	{ "5.7.6.8 output 2 of 2", bad_scanout, OUTPUTS },
	{ "5.7.6.8 output 2^32 - 1", bad_scanout, UINT32_MAX },
	{ "5.7.6.8 EDID of output 2 of 2", bad_edid, OUTPUTS, BAD_SCANOUT },
	{ "5.7.6.8 EDID of output 2^32 - 1", bad_edid, UINT32_MAX, BAD_SCANOUT },
	{ "5.7.3 EDID without the feature", bad_edid, 0, UNSPEC, .features = NO_EDID },
	{ "5.7.6.10 a cursor on output 2 of 2", odd_cursor, XY(OUTPUTS, 1), 0 },
	{ "5.7.6.10 a cursor of no resource that there is", odd_cursor, XY(0, 9), 0 },
	{ "5.7.6.10 a hot spot outside of the cursor", odd_cursor, XY(0, 1), 64 },
	{ "5.7.6.10 a cursor whose resource is gone", cursor_then_unref },
	{ "5.7.6.10 a byte of room for an answer", cursor_room },
	{ "2.4.1 reset while something is shown", reset_while_shown },
	{ "5.7.4 writing the events", write_config, 0, 4 },
	{ "5.7.4 clearing half of the events", write_config, 4, 2 },
	{ "5.7.4 writing the number of outputs", write_config, 8, 4 },
	{ "5.7.4 writing both at once", write_config, 0, 8 },
	{ "2.5.1 a quadword over the end of the configuration", case_odd_config, 12, 8 },
	{ "2.5.1 a misaligned doubleword of the configuration", case_odd_config, 2, 4 },
	{ "2.5.1 behind the configuration", case_odd_config, 16, 4 },
	{ "5.7.2 queue 2 of 2", case_no_queue, 2 },
	{ "5.7.2 queue 65535", case_no_queue, UINT16_MAX },
};

const struct suite gpu_suite = {
	.name = "gpu", .victim = VIRTIO_GPU, .must_not_offer = F_PACKED, .cases = cases, .n = N_CASES(cases)
};

const struct suite gpu_packed_suite = { .name = "gpu-packed",
					.victim = VIRTIO_GPU,
					.must_offer = F_PACKED,
					.extra = F_PACKED,
					.cases = cases,
					.n = N_CASES(cases) };
