/* The ring of descriptors that Linux's log is in since 5.10; see lkvm/linux/printk.h. */
#include <errno.h>
#include <string.h>

#include "printk-internal.h"

#define MAX_COUNT_BITS 27 /* of descriptors: Linux allows 2 GiB of log, 32 bytes a record */
#define MAX_TEXT_BITS  31
#define STRUCT_MAX     512 /* bytes of any of them */
#define MAX_RECORDS    (1 << 20) /* that are looked at, the newest: a tenth of a second */

/* A descriptor's state: what becomes of its record, and which of all that its place has had it is. */
#define STATE_SHIFT 62
#define ID_MASK     (~0ULL >> 2)
enum { STATE_RESERVED, STATE_COMMITTED, STATE_FINALIZED, STATE_REUSABLE };

#define NO_TEXT 1 /* a bit of a text's positions */

#define FIELD(name) offsetof(struct linux_log_layout, name)

static const struct linux_log_key keys[] = {
	{ "SIZE(prb_desc)", FIELD(desc_bytes), false },
	{ "OFFSET(prb_desc.state_var)", FIELD(state), false },
	{ "OFFSET(atomic_long_t.counter)", FIELD(state), true },
	{ "OFFSET(prb_desc.text_blk_lpos)", FIELD(begin), false },
	{ "OFFSET(prb_data_blk_lpos.begin)", FIELD(begin), false },
	{ "OFFSET(prb_desc.text_blk_lpos)", FIELD(next), false },
	{ "OFFSET(prb_data_blk_lpos.next)", FIELD(next), false },
	{ "SIZE(printk_info)", FIELD(info_bytes), false },
	{ "OFFSET(printk_info.seq)", FIELD(seq), false },
	{ "OFFSET(printk_info.ts_nsec)", FIELD(ts), false },
	{ "OFFSET(printk_info.text_len)", FIELD(text_len), false },
	{ "OFFSET(printk_info.caller_id)", FIELD(caller), true },
};

int linux_log_keys(const struct linux_guest *guest, const struct linux_log_key *table, size_t n, uint32_t most,
		   struct linux_log_layout *ret)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t *field = (uint32_t *)(void *)((char *)ret + table[i].field);
		uint64_t value;
		int err = linux_key(guest, table[i].key, &value);

		if (err && !table[i].is_optional)
			return -ENOENT;
		if (!err && (value > most || *field + value > most))
			return -EBADMSG;
		if (!err)
			*field += (uint32_t)value;
	}
	return 0;
}

/* struct printk_log and struct printk_info: u8 facility; u8 flags:5, level:3 */
void linux_log_fields(const uint8_t *flags, struct linux_record *ret)
{
	ret->facility = flags[0];
	ret->flags = flags[1] & 0x1f;
	ret->level = flags[1] >> 5;
}

/* Each field lies within its struct. */
static bool is_sane(const struct linux_log_layout *l)
{
	return l->state + 8 <= l->desc_bytes && l->begin + 8 <= l->desc_bytes && l->next + 8 <= l->desc_bytes &&
	       l->seq + 8 <= l->info_bytes && l->ts + 8 <= l->info_bytes && l->text_len + 4 <= l->info_bytes &&
	       l->caller + 4 <= l->info_bytes;
}

static uint64_t u64_at(const uint8_t *bytes, uint32_t at)
{
	uint64_t value;

	memcpy(&value, bytes + at, sizeof(value));
	return value;
}

/* ---- opening ---- */

/* A field of struct printk_ringbuffer, by the name of the struct within that has it */
static int ring_field(const struct linux_guest *guest, uint64_t ring, const char *within, const char *field,
		      uint64_t *ret)
{
	uint64_t outer, inner;

	if (linux_key(guest, within, &outer) || linux_key(guest, field, &inner))
		return -ENOENT;
	return linux_read_u64(guest, ring + outer + inner, ret);
}

/* The bits that say how large a ring is are numbers of 32. */
static int ring_bits(const struct linux_guest *guest, uint64_t ring, const char *within, const char *field,
		     unsigned most, uint64_t *ret)
{
	uint64_t value;
	int err = ring_field(guest, ring, within, field, &value);

	if (err)
		return err;
	if ((uint32_t)value < 1 || (uint32_t)value > most)
		return -EBADMSG;
	*ret = 1ULL << (uint32_t)value;
	return 0;
}

static int open_ring(struct linux_log *log, uint64_t ring)
{
	static const char descs[] = "OFFSET(printk_ringbuffer.desc_ring)";
	static const char texts[] = "OFFSET(printk_ringbuffer.text_data_ring)";
	const struct linux_guest *g = log->guest;
	uint64_t head, tail;
	int err;

	if ((err = ring_bits(g, ring, descs, "OFFSET(prb_desc_ring.count_bits)", MAX_COUNT_BITS, &log->count)) ||
	    (err = ring_field(g, ring, descs, "OFFSET(prb_desc_ring.descs)", &log->descs)) ||
	    (err = ring_field(g, ring, descs, "OFFSET(prb_desc_ring.infos)", &log->infos)) ||
	    (err = ring_field(g, ring, descs, "OFFSET(prb_desc_ring.head_id)", &head)) ||
	    (err = ring_field(g, ring, descs, "OFFSET(prb_desc_ring.tail_id)", &tail)) ||
	    (err = ring_bits(g, ring, texts, "OFFSET(prb_data_ring.size_bits)", MAX_TEXT_BITS, &log->text_bytes)) ||
	    (err = ring_field(g, ring, texts, "OFFSET(prb_data_ring.data)", &log->text)))
		return err;
	log->first = tail & ID_MASK;
	log->end = (head + 1) & ID_MASK;
	log->left = (log->end - log->first) & ID_MASK;
	if (log->left > log->count)
		return -EBADMSG;
	if (log->left > MAX_RECORDS)
		log->left = MAX_RECORDS;
	log->first = (log->end - log->left) & ID_MASK;
	return 0;
}

int linux_log_open(const struct linux_guest *guest, struct linux_log *ret)
{
	struct linux_log log = { .guest = guest };
	uint64_t symbol, ring;
	int err;

	if (linux_key(guest, "SYMBOL(prb)", &symbol)) {
		log.is_old = true;
		err = linux_old_log_open(&log);
	} else {
		err = linux_log_keys(guest, keys, ARRAY_SIZE(keys), STRUCT_MAX, &log.layout);
		if (!err && !is_sane(&log.layout))
			err = -EBADMSG;
		if (!err)
			err = linux_read_u64(guest, symbol, &ring);
		if (!err)
			err = open_ring(&log, ring);
	}
	if (err)
		return err;
	log.at = log.first;
	*ret = log;
	return 0;
}

/* ---- records ---- */

struct desc {
	uint64_t state, begin, next;
};

static int read_desc(const struct linux_log *log, uint64_t id, struct desc *ret)
{
	const struct linux_log_layout *l = &log->layout;
	uint8_t bytes[STRUCT_MAX];

	if (linux_read(log->guest, log->descs + (id & (log->count - 1)) * l->desc_bytes, bytes, l->desc_bytes))
		return -EFAULT;
	ret->state = u64_at(bytes, l->state);
	ret->begin = u64_at(bytes, l->begin);
	ret->next = u64_at(bytes, l->next);
	return 0;
}

static bool is_readable(const struct linux_log *log, const struct desc *desc, uint64_t id)
{
	const uint64_t state = desc->state >> STATE_SHIFT;

	return (desc->state & ID_MASK) == id &&
	       (state == STATE_FINALIZED || (state == STATE_COMMITTED && !log->finished_only));
}

static int read_info(const struct linux_log *log, uint64_t id, struct linux_record *ret)
{
	const struct linux_log_layout *l = &log->layout;
	uint8_t bytes[STRUCT_MAX];
	uint16_t len;

	if (linux_read(log->guest, log->infos + (id & (log->count - 1)) * l->info_bytes, bytes, l->info_bytes))
		return -EFAULT;
	ret->seq = u64_at(bytes, l->seq);
	ret->ts_ns = u64_at(bytes, l->ts);
	memcpy(&len, bytes + l->text_len, sizeof(len));
	ret->len = len;
	linux_log_fields(bytes + l->text_len + 2, ret);
	memcpy(&ret->caller, bytes + l->caller, sizeof(ret->caller));
	ret->has_caller = l->caller;
	return 0;
}

/*
 * A block of text has the descriptor's id before it. One that would go past the ring's end has all of it at its
 * beginning. Return: 0 or -EBADMSG
 */
static int find_text(const struct linux_log *log, const struct desc *desc, uint64_t *ret_at, uint64_t *ret_bytes)
{
	const uint64_t size = log->text_bytes, end = desc->next & (size - 1);
	const uint64_t turns = desc->next / size - desc->begin / size;

	*ret_at = desc->begin & (size - 1);
	*ret_bytes = desc->next - desc->begin;
	if (turns == 1 && end) {
		*ret_at = 0;
		*ret_bytes = end;
	}
	return turns <= 1 && *ret_bytes >= sizeof(uint64_t) && *ret_bytes <= size - *ret_at ? 0 : -EBADMSG;
}

static int read_text(const struct linux_log *log, const struct desc *desc, uint64_t id, struct linux_record *ret)
{
	uint64_t at, bytes, owner;

	if (desc->begin & NO_TEXT || desc->next & NO_TEXT) {
		ret->len = 0;
		return 0;
	}
	if (find_text(log, desc, &at, &bytes) || linux_read_u64(log->guest, log->text + at, &owner) || owner != id)
		return -EBADMSG;
	bytes -= sizeof(owner);
	if (ret->len > bytes)
		ret->len = (uint32_t)bytes;
	if (ret->len > sizeof(ret->text))
		ret->len = sizeof(ret->text);
	return linux_read(log->guest, log->text + at + sizeof(owner), ret->text, ret->len);
}

/* Return: 0; -EAGAIN: there is none here, or not any more */
static int read_record(const struct linux_log *log, uint64_t id, struct linux_record *ret)
{
	struct desc desc, after;

	if (read_desc(log, id, &desc) || !is_readable(log, &desc, id) || read_info(log, id, ret) ||
	    read_text(log, &desc, id, ret) || read_desc(log, id, &after) || after.state != desc.state)
		return -EAGAIN;
	return 0;
}

int linux_log_next(struct linux_log *log, struct linux_record *ret)
{
	if (log->is_old)
		return linux_old_log_next(log, ret);
	while (log->left) {
		const uint64_t id = log->at;

		log->left--;
		log->at = (log->at + 1) & ID_MASK;
		if (read_record(log, id, ret) || ret->seq < log->next)
			continue;
		log->next = ret->seq + 1;
		return 0;
	}
	return -ENODATA;
}

/* Numbers of records go up with the descriptors', so the place of @from is known if that of the first is. */
void linux_log_seek(struct linux_log *log, uint64_t from)
{
	struct linux_record info;
	struct desc desc;
	uint64_t skip;

	if (log->is_old) {
		linux_old_log_seek(log, from);
		return;
	}
	log->next = from;
	if (!from || read_desc(log, log->first, &desc) || !is_readable(log, &desc, log->first) ||
	    read_info(log, log->first, &info) || from < info.seq)
		return;
	skip = from - info.seq;
	if (skip > log->left)
		skip = log->left;
	log->at = (log->first + skip) & ID_MASK;
	log->left -= skip;
}

uint64_t linux_log_tell(const struct linux_log *log)
{
	return log->next;
}
