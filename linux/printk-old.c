/*
 * The buffer of records that Linux's log was in before 5.10; see lkvm/linux/printk.h. Records stand one behind the
 * other, each as long as it says; one of no length sends the reader to the buffer's start.
 */
#include <errno.h>
#include <string.h>

#include "printk-internal.h"

#define RECORD_MAX  64 /* bytes of struct printk_log: they were 16 to 20 */
#define MAX_RECORDS (1 << 20)

#define FIELD(name) offsetof(struct linux_log_layout, name)

static const struct linux_log_key keys[] = {
	{ "SIZE(printk_log)", FIELD(info_bytes), false },
	{ "OFFSET(printk_log.ts_nsec)", FIELD(ts), false },
	{ "OFFSET(printk_log.len)", FIELD(len), false },
	{ "OFFSET(printk_log.text_len)", FIELD(text_len), false },
	{ "OFFSET(printk_log.dict_len)", FIELD(dict_len), false },
	{ "OFFSET(printk_log.caller_id)", FIELD(caller), true },
};

static bool is_sane(const struct linux_log_layout *l)
{
	return l->ts + 8 <= l->info_bytes && l->len + 2 <= l->info_bytes && l->text_len + 2 <= l->info_bytes &&
	       l->dict_len + 4 <= l->info_bytes && l->caller + 4 <= l->info_bytes;
}

static int read_number(const struct linux_guest *guest, const char *key, uint64_t *ret)
{
	uint64_t symbol;
	uint32_t value;
	int err = linux_key(guest, key, &symbol);

	if (!err)
		err = linux_read_u32(guest, symbol, &value);
	if (!err)
		*ret = value;
	return err;
}

int linux_old_log_open(struct linux_log *log)
{
	const struct linux_guest *g = log->guest;
	uint64_t symbol;
	int err = linux_log_keys(g, keys, ARRAY_SIZE(keys), RECORD_MAX, &log->layout);

	if (!err && !is_sane(&log->layout))
		err = -EBADMSG;
	if (!err && ((err = linux_key(g, "SYMBOL(log_buf)", &symbol)) ||
		     (err = linux_read_u64(g, symbol, &log->text)) ||
		     (err = read_number(g, "SYMBOL(log_buf_len)", &log->text_bytes)) ||
		     (err = read_number(g, "SYMBOL(log_first_idx)", &log->first)) ||
		     (err = read_number(g, "SYMBOL(log_next_idx)", &log->end))))
		return err;
	if (!err && (log->first > log->text_bytes || log->end > log->text_bytes || log->text_bytes > 1ULL << 31))
		err = -EBADMSG;
	log->left = err ? 0 : MAX_RECORDS;
	log->next = log->first + 1;
	return err;
}

/* Return: 0, -EFAULT, or -EBADMSG: no record can look like that */
static int read_header(const struct linux_log *log, uint64_t at, struct linux_record *ret, uint16_t *ret_len)
{
	const struct linux_log_layout *l = &log->layout;
	uint8_t bytes[RECORD_MAX];
	uint16_t len, text_len;

	if (at > log->text_bytes || l->info_bytes > log->text_bytes - at)
		return -EBADMSG;
	if (linux_read(log->guest, log->text + at, bytes, l->info_bytes))
		return -EFAULT;
	memcpy(&len, bytes + l->len, sizeof(len));
	memcpy(&text_len, bytes + l->text_len, sizeof(text_len));
	if (len && (len < l->info_bytes || len > log->text_bytes - at || text_len > len - l->info_bytes))
		return -EBADMSG;
	memcpy(&ret->ts_ns, bytes + l->ts, sizeof(ret->ts_ns));
	linux_log_fields(bytes + l->dict_len + 2, ret);
	ret->has_caller = l->caller;
	memcpy(&ret->caller, bytes + l->caller, sizeof(ret->caller));
	ret->len = text_len < sizeof(ret->text) ? text_len : sizeof(ret->text);
	*ret_len = len;
	return 0;
}

/* Return: 0; -ENODATA: that was all; -EBADMSG */
static int step(struct linux_log *log, struct linux_record *ret, uint64_t *ret_at)
{
	uint16_t len = 0;
	int err;

	for (;;) {
		if (log->at == log->end)
			return -ENODATA;
		if (!log->left)
			return -EBADMSG;
		log->left--; /* a large buffer has more than anybody wants to wait for */
		err = read_header(log, log->at, ret, &len);
		if (err)
			return -EBADMSG;
		if (len)
			break;
		if (log->wrapped)
			return -EBADMSG;
		log->wrapped = true;
		log->at = 0;
	}
	*ret_at = log->at;
	log->at += len;
	ret->seq = log->seq++;
	return 0;
}

int linux_old_log_next(struct linux_log *log, struct linux_record *ret)
{
	uint64_t at;
	int err = step(log, ret, &at);

	log->next = log->at + 1; /* 0 would be the first */
	if (err)
		return err;
	return linux_read(log->guest, log->text + at + log->layout.info_bytes, ret->text, ret->len) ? -EBADMSG : 0;
}

/* Only where a record begins: what is there may be another one's middle by now. */
void linux_old_log_seek(struct linux_log *log, uint64_t from)
{
	const struct linux_log start = *log;
	struct linux_record record;
	uint64_t at;

	if (!from)
		return;
	while (log->at != from - 1 && !step(log, &record, &at))
		;
	if (log->at != from - 1)
		*log = start;
	else
		log->next = from;
}
