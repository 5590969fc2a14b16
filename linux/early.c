/*
 * Linux before it has told where its things are; see lkvm/linux/early.h.
 *
 * kallsyms begins the search: its table of tokens has the digits one behind the other, each a string of its own, and
 * behind it is an index that says where each token begins. Before it are the names, and before those their number;
 * the addresses are before that number, or since 6.4 behind the index. All of it is in one piece of memory. The
 * addresses are those after KASLR, and where the kernel is in memory the variable phys_base says, which has to
 * agree with where it is itself.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/linux/early.h"
#include "symbols-internal.h"

#define CHUNK_PAGES  4096
#define SLICE_CHUNKS 1024
#define SLICE_PAGES  (32 * 1024) /* that hold something, of one call */

#define TOKENS_MAX   65536
#define NAMES_BACK   (16 * MIB)  /* how far before the tokens their number may be */
#define KERNEL_BACK  (128 * MIB) /* how far before them the kernel may begin */
#define LEAST_NAMES  2000
#define MOST_NAMES   (1 << 22)
#define MAX_TRIES    16          /* tables of tokens that lead to nothing, in one call, */
#define MAX_STEPS    (32 << 20)  /* and names that lead to none */

#define START_KERNEL_MAP  0xffffffff80000000ULL
#define KERNEL_ALIGN      (2 * MIB)
#define LINKED_AT         UINT64_C(0xffffffff81000000) /* by CONFIG_PHYSICAL_START's default */

/* Where things are, guest-physical; the number is a value */
struct found {
	uint64_t *steps; /* that may still be taken */
	uint64_t tokens, index, num, names, offsets, base_at;
	uint32_t n;
	uint64_t base; /* the kernel's first address, virtual */
};

static const char digits[] = "0\0001\0002\0003\0004\0005\0006\0007\0008\0009";

/* ---- the tokens ---- */

/* @at: of token '0'. The other tokens up to the last, the index behind them, and the first ones by that. */
static bool is_token_table(const struct ram *ram, uint64_t at, struct found *ret)
{
	char *text = malloc(TOKENS_MAX + 8);
	uint16_t index[256];
	size_t end = 0, n = 0;
	bool ok = text && !ram_read(ram, GPA(at), text, TOKENS_MAX);

	for (unsigned token = '0'; ok && token < 256; token++, end += n + 1) {
		n = strnlen(text + end, TOKENS_MAX - end);
		ok = end + n < TOKENS_MAX;
	}
	ret->index = ALIGN_UP(at + end, 8);
	ok = ok && !ram_read(ram, GPA(ret->index), index, sizeof(index)) && !index[0] && index['0'] < at;
	for (unsigned token = '0', pos = 0; ok && token < 256; token++) {
		ok = index[token] == index['0'] + pos;
		pos += (unsigned)strlen(text + pos) + 1;
	}
	ret->tokens = ok ? at - index['0'] : 0;
	free(text);
	return ok && !(ret->tokens & 7);
}

/* ---- the names ---- */

/* @n names from @at on end before the tokens, and the first of the markers behind them agree. */
static bool are_names(const uint8_t *bytes, size_t len, size_t at, uint32_t n, uint64_t *steps)
{
	uint32_t second = 0, marker[2];
	size_t pos = at;

	for (uint32_t i = 0; i < n; i++) {
		size_t name;

		if (i == 256)
			second = (uint32_t)(pos - at);
		if (pos + 2 > len || !*steps)
			return false;
		--*steps;
		name = bytes[pos++];
		if (name & 0x80)
			name = (name & 0x7f) | (size_t)bytes[pos++] << 7;
		if (!name)
			return false;
		pos += name;
	}
	pos = ALIGN_UP(pos, 8);
	if (pos + sizeof(marker) > len)
		return false;
	memcpy(marker, bytes + pos, sizeof(marker));
	return !marker[0] && marker[1] == second;
}

/* Backwards from the tokens; a number that is none is found out soon, by one name that is too long or has no length. */
static bool find_names(const struct ram *ram, struct found *f)
{
	const uint64_t len = f->tokens < NAMES_BACK ? f->tokens : NAMES_BACK, start = f->tokens - len;
	uint8_t *bytes = malloc(len);
	uint64_t at;
	bool ok = bytes && len >= 16 && !ram_read(ram, GPA(start), bytes, len);

	for (at = ok ? len - 16 : 0; at >= 8; at -= 8) {
		uint64_t n;

		memcpy(&n, bytes + at, sizeof(n));
		if (n >= LEAST_NAMES && n <= MOST_NAMES && n * 2 < len - at &&
		    are_names(bytes, len, at + 8, (uint32_t)n, f->steps)) {
			f->n = (uint32_t)n;
			f->num = start + at;
			f->names = f->num + 8;
			break;
		}
	}
	free(bytes);
	return ok && at >= 8;
}

/* ---- the addresses ---- */

static bool is_base(const struct ram *ram, uint64_t at, uint64_t *ret)
{
	return !ram_read(ram, GPA(at), ret, sizeof(*ret)) && *ret >= START_KERNEL_MAP && !(*ret & (RAM_PAGE_BYTES - 1));
}

static bool find_offsets(const struct ram *ram, struct found *f)
{
	const uint64_t bytes = ALIGN_UP((uint64_t)f->n * 4, 8);

	f->base_at = f->num - 8;
	f->offsets = f->base_at - bytes;
	if (f->num > bytes + 8 && is_base(ram, f->base_at, &f->base))
		return true;
	f->offsets = f->index + 512;
	f->base_at = f->offsets + bytes;
	return is_base(ram, f->base_at, &f->base);
}

/* ---- the kernel ---- */

static void __attribute__((format(printf, 2, 3))) add_key(struct linux_guest *guest, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(guest->note + guest->note_bytes, sizeof(guest->note) - guest->note_bytes, format, args);
	va_end(args);
	if (n > 0 && guest->note_bytes + (size_t)n < sizeof(guest->note))
		guest->note_bytes += (size_t)n;
	guest->note[guest->note_bytes] = '\0';
}

/* @away: to be added to what is in @f */
static void add_kallsyms(struct linux_guest *guest, const struct found *f, uint64_t away)
{
	const struct {
		const char *name;
		uint64_t at;
	} all[] = {
		{ "names", f->names }, { "num_syms", f->num }, { "token_table", f->tokens }, { "token_index", f->index },
		{ "offsets", f->offsets }, { "relative_base", f->base_at },
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		add_key(guest, "SYMBOL(kallsyms_%s)=%" PRIx64 "\n", all[i].name, all[i].at + away);
}

/* Since 5.10 these were always so. */
static const char ring_keys[] =
	"OFFSET(printk_ringbuffer.desc_ring)=0\nOFFSET(printk_ringbuffer.text_data_ring)=48\n"
	"OFFSET(prb_desc_ring.count_bits)=0\nOFFSET(prb_desc_ring.descs)=8\nOFFSET(prb_desc_ring.infos)=16\n"
	"OFFSET(prb_desc_ring.head_id)=24\nOFFSET(prb_desc_ring.tail_id)=32\nSIZE(prb_desc)=24\n"
	"OFFSET(prb_desc.state_var)=0\nOFFSET(prb_desc.text_blk_lpos)=8\nOFFSET(prb_data_blk_lpos.begin)=0\n"
	"OFFSET(prb_data_blk_lpos.next)=8\nSIZE(printk_info)=88\nOFFSET(printk_info.seq)=0\n"
	"OFFSET(printk_info.ts_nsec)=8\nOFFSET(printk_info.text_len)=16\nOFFSET(printk_info.caller_id)=20\n"
	"OFFSET(prb_data_ring.size_bits)=0\nOFFSET(prb_data_ring.data)=8\n";

static const char *const wanted[] = { "phys_base", "init_top_pgt", "linux_banner", "prb" };
enum { PHYS_BASE, TOP_PGT, BANNER, PRB, N_WANTED };

static const char banner[] = "Linux version "; /* then the release, and a blank */

/* Of all places where the kernel could begin, the one at which phys_base says so, and the banner is. */
static bool find_phys_base(const struct ram *ram, const struct found *f, const uint64_t symbol[N_WANTED], uint64_t *ret)
{
	const uint64_t last = ALIGN_DOWN(f->num, KERNEL_ALIGN);
	char text[sizeof(banner) - 1];
	uint64_t value;

	for (uint64_t start = last; last - start < KERNEL_BACK && start <= last; start -= KERNEL_ALIGN) {
		if (ram_read(ram, GPA(start + (symbol[PHYS_BASE] - f->base)), &value, sizeof(value)) ||
		    value != start - (f->base - START_KERNEL_MAP) ||
		    ram_read(ram, GPA(start + (symbol[BANNER] - f->base)), text, sizeof(text)) ||
		    memcmp(text, banner, sizeof(text)))
			continue;
		*ret = value;
		return true;
	}
	return false;
}

static void read_release(const struct ram *ram, uint64_t at, char *ret, size_t cap)
{
	char text[LINUX_RELEASE_BYTES] = "";

	ram_read(ram, GPA(at + sizeof(banner) - 1), text, sizeof(text) - 1);
	snprintf(ret, cap, "%.*s", (int)strcspn(text, " \n"), text);
}

/* Symbols, read by physical addresses: there are no page tables to go by yet */
static int look_up(const struct ram *ram, const struct found *f, uint64_t ret[N_WANTED])
{
	struct linux_guest *physical = calloc(1, sizeof(*physical));
	struct linux_symbols *symbols = NULL;
	int err = -ENOMEM;

	if (physical) {
		physical->ram = ram;
		physical->is_physical = true;
		add_kallsyms(physical, f, 0);
		err = linux_symbols_new(physical, &symbols);
	}
	for (unsigned i = 0; !err && i < N_WANTED; i++)
		if (linux_symbol_find(symbols, wanted[i], &ret[i]) || ret[i] < f->base)
			err = -ENOENT;
	linux_symbols_free(symbols);
	free(physical);
	return err;
}

static void write_note(struct linux_guest *note, const struct ram *ram, const struct found *f,
		       const uint64_t symbol[N_WANTED], uint64_t phys_base, bool five_levels)
{
	char release[LINUX_RELEASE_BYTES];

	read_release(ram, symbol[BANNER] - START_KERNEL_MAP + phys_base, release, sizeof(release));
	*note = (struct linux_guest){ .ram = ram };
	add_key(note, "OSRELEASE=%s\nSYMBOL(swapper_pg_dir)=%" PRIx64 "\nNUMBER(phys_base)=%" PRId64 "\n", release,
		symbol[TOP_PGT], (int64_t)phys_base);
	add_key(note, "KERNELOFFSET=%" PRIx64 "\nNUMBER(pgtable_l5_enabled)=%d\nSYMBOL(prb)=%" PRIx64 "\n%s",
		f->base - LINKED_AT, five_levels, symbol[PRB], ring_keys);
	add_kallsyms(note, f, START_KERNEL_MAP - phys_base);
}

static bool judge(const struct ram *ram, uint64_t at, uint64_t *steps, struct linux_guest *ret)
{
	struct linux_guest *note = calloc(1, sizeof(*note));
	uint64_t symbol[N_WANTED], phys_base;
	struct found f = { .steps = steps };
	bool ok = note && is_token_table(ram, at, &f) && find_names(ram, &f) && find_offsets(ram, &f) &&
		  !look_up(ram, &f, symbol) && find_phys_base(ram, &f, symbol, &phys_base);

	for (int five = 0; ok && five <= 1; five++) {
		write_note(note, ram, &f, symbol, phys_base, five);
		if (linux_judge(ram, GPA(0), note->note, note->note_bytes, ret)) {
			ret->is_early = true;
			free(note);
			return true;
		}
	}
	free(note);
	return false;
}

/* ---- the search ---- */

/* What may still be spent on false tables */
struct patience {
	unsigned tries;
	uint64_t steps;
};

/* Pages all of which hold something: to read others would have the host make them */
static bool look_at_run(const struct ram *ram, uint64_t at, uint64_t bytes, struct patience *left,
			struct linux_guest *ret)
{
	uint8_t *text = malloc(bytes);
	const uint8_t *hit = text;
	bool found = false;

	if (!text || ram_read(ram, GPA(at), text, bytes)) {
		free(text);
		return false;
	}
	while (!found && left->tries && (hit = memmem(hit, bytes - (size_t)(hit - text), digits, sizeof(digits)))) {
		left->tries--;
		found = judge(ram, at + (uint64_t)(hit - text), &left->steps, ret);
		hit++;
	}
	free(text);
	return found;
}

/* Return: the pages that held something */
static unsigned look_at_chunk(const struct ram *ram, uint64_t at, unsigned pages, struct patience *left,
			      struct linux_guest *ret, bool *ret_found)
{
	uint8_t touched[CHUNK_PAGES];
	unsigned looked_at = 0, first;

	if (ram_touched(ram, GPA(at), pages, touched))
		return 0;
	for (unsigned page = 0; page < pages && !*ret_found; page++) {
		for (first = page; page < pages && touched[page]; page++)
			looked_at++;
		if (page > first)
			*ret_found = look_at_run(ram, at + (uint64_t)first * RAM_PAGE_BYTES,
						 (uint64_t)(page - first) * RAM_PAGE_BYTES, left, ret);
	}
	return looked_at;
}

/* Chunks have a page in common: what begins in one may end in the next. Return: 0; -EAGAIN, -ENOENT: as of all */
static int look_at_part(struct linux_scan *scan, const struct ram *ram, const struct ram_part *part,
			struct linux_guest *ret)
{
	const uint64_t end = part->start.v + part->size_bytes;
	struct patience patience = { MAX_TRIES, MAX_STEPS };
	unsigned looked_at = 0, pages;
	bool found = false;

	for (unsigned k = 0; scan->next < end; k++) {
		const uint64_t left = (end - scan->next) / RAM_PAGE_BYTES;

		if (k == SLICE_CHUNKS || looked_at >= SLICE_PAGES)
			return -EAGAIN;
		pages = left < CHUNK_PAGES ? (unsigned)left : CHUNK_PAGES;
		looked_at += look_at_chunk(ram, scan->next, pages, &patience, ret, &found);
		if (found)
			return 0;
		scan->next += (uint64_t)(pages == left ? pages : pages - 1) * RAM_PAGE_BYTES;
	}
	return -ENOENT;
}

int linux_find_early(struct linux_scan *scan, const struct ram *ram, struct linux_guest *ret)
{
	unsigned n;
	const struct ram_part *parts = ram_parts(ram, &n);
	int err = -ENOENT;

	for (unsigned i = 0; i < n && err == -ENOENT; i++) {
		if (scan->next < parts[i].start.v)
			scan->next = parts[i].start.v;
		err = look_at_part(scan, ram, &parts[i], ret);
	}
	return err;
}
