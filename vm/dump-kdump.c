/* See vm/dump-kdump.h. What kdump_write() calls allocates nothing. */
#include "dump-kdump.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "dump-exclude.h"
#include "lkvm/file.h"
#include "lkvm/types.h"

#define VERSION 6
#define BLOCK RAM_PAGE_BYTES

static const uint8_t zeros[RAM_PAGE_BYTES];

/* ---- what stands first ---- */

static uint32_t most_32(uint64_t n)
{
	return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

static struct kdump_header header_of(const struct kdump *k, const struct dump_source *src, uint64_t sub_bytes)
{
	struct kdump_header h = {
		.signature = { 'K', 'D', 'U', 'M', 'P', ' ', ' ', ' ' },
		.version = VERSION,
		.seconds = time(NULL),
		.status = dump_pack_flag(k->packer),
		.block_bytes = BLOCK,
		.sub_header_blocks = (int32_t)(sub_bytes / BLOCK),
		.bitmap_blocks = most_32(2 * k->bitmap_bytes / BLOCK),
		.max_pfn = most_32(k->max_pfn),
		.n_cpus = (int32_t)src->n_cpus,
	};

	if (!src->guest || linux_uts(src->guest, h.uts))
		memcpy(h.uts[4], "x86_64", sizeof("x86_64"));
	return h;
}

static int add_block(struct state_buf *buf, const void *from, size_t bytes)
{
	int err = state_buf_add(buf, from, bytes);

	while (!err && buf->len % BLOCK)
		err = state_buf_add(buf, zeros, BLOCK - buf->len % BLOCK);
	return err;
}

static int make_head(struct kdump *k, const struct dump_source *src)
{
	struct kdump_sub_header sub = {
		.phys_base = src->guest ? src->guest->phys_base : 0,
		.dump_level = (int32_t)(DUMP_NO_ZERO | (src->exclude ? src->exclude->levels : 0)),
		.max_pfn_64 = k->max_pfn,
	};
	struct state_buf notes = { 0 };
	struct kdump_header header;
	size_t vmcoreinfo;
	int err = dump_notes(src, &notes, &vmcoreinfo);

	sub.notes_at = BLOCK + sizeof(sub);
	sub.notes_bytes = notes.len;
	if (vmcoreinfo && src->guest) {
		sub.vmcoreinfo_at = sub.notes_at + vmcoreinfo;
		sub.vmcoreinfo_bytes = src->guest->note_bytes;
	}
	header = header_of(k, src, ALIGN_UP(sizeof(sub) + notes.len, BLOCK));
	if (!err)
		err = add_block(&k->head, &header, sizeof(header));
	if (!err)
		err = state_buf_add(&k->head, &sub, sizeof(sub));
	if (!err)
		err = add_block(&k->head, notes.data, notes.len);
	state_buf_free(&notes);
	return err;
}

int kdump_new(const struct dump_source *src, struct dump_packer *packer, struct kdump **ret)
{
	struct kdump *k = calloc(1, sizeof(*k));
	int err;

	if (!k) {
		dump_packer_free(packer);
		return -ENOMEM;
	}
	k->ram = src->ram;
	k->exclude = src->exclude;
	k->packer = packer;
	k->max_pfn = ram_end(src->ram) / RAM_PAGE_BYTES;
	k->bitmap_bytes = ALIGN_UP((k->max_pfn + 7) / 8, BLOCK);
	k->bitmap = mmap(NULL, k->bitmap_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (k->bitmap == MAP_FAILED)
		k->bitmap = NULL;
	err = k->bitmap ? make_head(k, src) : -ENOMEM;
	if (err)
		kdump_free(k);
	else
		*ret = k;
	return err;
}

void kdump_free(struct kdump *k)
{
	if (!k)
		return;
	if (k->bitmap)
		munmap(k->bitmap, k->bitmap_bytes);
	dump_packer_free(k->packer);
	state_buf_free(&k->head);
	free(k);
}

/* ---- writing ---- */

/* Bytes that are written one behind the other, many at once */
struct stream {
	int fd;
	uint64_t at; /* in the file, of the first one that is not written yet */
	size_t n;
	uint8_t buf[64 * 1024];
};

struct writer {
	struct kdump *k;
	struct stream pages, data;
	struct kdump_page zero; /* all pages of zeros are this one */
	uint64_t next_pfn;      /* whose descriptor comes next, if it is RAM */
	uint64_t ram_bytes;
};

static int flush(struct stream *s)
{
	int err = file_write(s->fd, s->buf, s->n, s->at);

	s->at += s->n;
	s->n = 0;
	return err;
}

static int put(struct stream *s, const void *from, size_t bytes)
{
	int err = s->n + bytes > sizeof(s->buf) ? flush(s) : 0;

	memcpy(s->buf + s->n, from, bytes);
	s->n += bytes;
	return err;
}

static int put_data(struct writer *w, const uint8_t *page, struct kdump_page *ret)
{
	uint8_t packed[DUMP_PACK_CAP];
	const size_t n = dump_pack(w->k->packer, page, packed);

	*ret = (struct kdump_page){
		.at = w->data.at + w->data.n,
		.bytes = n ? (uint32_t)n : RAM_PAGE_BYTES,
		.flags = n ? dump_pack_flag(w->k->packer) : 0,
	};
	return put(&w->data, n ? packed : page, ret->bytes);
}

/* Descriptors of what is before @pfn and holds nothing but zeros: of what is in the bitmap, which is the second one now */
static int put_zeros(struct writer *w, uint64_t pfn)
{
	const uint8_t *bitmap = w->k->bitmap;
	int err = 0;

	for (; !err && w->next_pfn < pfn; w->next_pfn++)
		if (bitmap[w->next_pfn / 8] >> w->next_pfn % 8 & 1)
			err = put(&w->pages, &w->zero, sizeof(w->zero));
	return err;
}

static int write_run(void *ctx, gpa_t at, const uint8_t *host, size_t bytes)
{
	struct writer *w = ctx;
	struct kdump_page page;
	int err = put_zeros(w, at.v / RAM_PAGE_BYTES);

	for (size_t off = 0; !err && off < bytes; off += RAM_PAGE_BYTES) {
		err = put_data(w, host + off, &page);
		if (!err)
			err = put(&w->pages, &page, sizeof(page));
		w->next_pfn++;
	}
	w->ram_bytes += bytes;
	return err;
}

static void set_bits(uint8_t *bitmap, uint64_t pfn, uint64_t n)
{
	for (; n; pfn++, n--)
		bitmap[pfn / 8] |= (uint8_t)(1 << pfn % 8);
}

/* @ret_n: pages of RAM */
static int write_bitmaps(struct kdump *k, int fd, uint64_t *ret_n)
{
	const struct dump_exclude *e = k->exclude;
	struct ram_part area[RAM_MAX_AREAS];
	const unsigned n = ram_areas(k->ram, area);
	int err;

	*ret_n = 0;
	for (unsigned i = 0; i < n; i++) {
		set_bits(k->bitmap, area[i].start.v / RAM_PAGE_BYTES, area[i].size_bytes / RAM_PAGE_BYTES);
		*ret_n += area[i].size_bytes / RAM_PAGE_BYTES;
	}
	err = file_write(fd, k->bitmap, k->bitmap_bytes, k->head.len);
	for (uint64_t i = 0; e && e->bitmap && i < e->bitmap_bytes; i++)
		k->bitmap[i] &= (uint8_t)~e->bitmap[i];
	return err ? err : file_write(fd, k->bitmap, k->bitmap_bytes, k->head.len + k->bitmap_bytes);
}

int kdump_write(struct kdump *k, int fd, uint64_t *ret_bytes)
{
	const uint64_t pages_at = k->head.len + 2 * k->bitmap_bytes;
	struct writer w = { .k = k };
	uint64_t n_pages = 0;
	int err = file_write(fd, k->head.data, k->head.len, 0);

	if (!err)
		err = write_bitmaps(k, fd, &n_pages);
	n_pages -= dump_excluded_pages(k->exclude);
	w.pages.fd = w.data.fd = fd;
	w.pages.at = pages_at;
	w.data.at = pages_at + n_pages * sizeof(struct kdump_page);
	if (!err)
		err = put_data(&w, zeros, &w.zero);
	if (!err)
		err = dump_each_run(k->exclude, k->ram, write_run, &w);
	if (!err)
		err = put_zeros(&w, k->max_pfn);
	if (!err)
		err = flush(&w.pages);
	if (!err)
		err = flush(&w.data);
	*ret_bytes = w.ram_bytes;
	return err;
}
