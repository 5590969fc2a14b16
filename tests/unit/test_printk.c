/* Links: linux/vmcoreinfo.o linux/printk.o linux/printk-old.o x86/cpu/walk.o hw/ram.o hw/ram-touched.o */
#include <errno.h>

#include "linux-rig.h"
#include "unit.h"

static struct rig rig;
static struct linux_guest guest;
static struct linux_log log_;
static struct linux_record record;

static int open_log(void)
{
	ck_assert_int_eq(linux_judge(rig.ram, GPA(0), rig.note, rig.note_bytes, &guest), 2);
	return linux_log_open(&guest, &log_);
}

static void expect(uint64_t seq, const char *text)
{
	memset(&record, 0xa5, sizeof(record));
	ck_assert_int_eq(linux_log_next(&log_, &record), 0);
	ck_assert_uint_eq(record.seq, seq);
	ck_assert_uint_eq(record.len, strlen(text));
	ck_assert_mem_eq(record.text, text, record.len);
}

static void expect_end(int err)
{
	ck_assert_int_eq(linux_log_next(&log_, &record), err);
}

static void start(void)
{
	rig_start(&rig, false);
	rig_log(&rig);
}

/* Records with ids and numbers from @id on */
static void fill(uint64_t id, uint64_t seq, unsigned n)
{
	char text[32];

	for (unsigned i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "line %u", (unsigned)(seq + i));
		rig_record(&rig, id + i, 2, seq + i, text);
	}
	rig_ends(&rig, id, id + n - 1);
}

START_TEST(test_records)
{
	start();
	fill(100, 7, 3);
	ck_assert_int_eq(open_log(), 0);
	expect(7, "line 7");
	ck_assert_uint_eq(record.ts_ns, 7000000);
	ck_assert_uint_eq(record.facility, 3);
	ck_assert_uint_eq(record.level, 6);
	ck_assert_uint_eq(record.flags, LINUX_RECORD_NEWLINE);
	ck_assert_uint_eq(record.caller, 1U << 31 | 1);
	ck_assert(record.has_caller);
	expect(8, "line 8");
	ck_assert_uint_eq(linux_log_tell(&log_), 9);
	expect(9, "line 9");
	expect_end(-ENODATA);
}
END_TEST

/* As it is before the first message: one descriptor that was never used */
START_TEST(test_empty)
{
	const uint64_t id = 0x3fffffffffffffdf;

	start();
	rig_put64(&rig, rig_desc(id), 3ULL << 62 | id);
	rig_put64(&rig, rig_desc(id) + 8, 1);
	rig_put64(&rig, rig_desc(id) + 16, 1);
	rig_ends(&rig, id, id);
	ck_assert_int_eq(open_log(), 0);
	expect_end(-ENODATA);
}
END_TEST

/* Ids have 62 bits, and go on with 0. */
START_TEST(test_ids_wrap)
{
	start();
	rig_record(&rig, (1ULL << 62) - 1, 2, 0, "a");
	rig_record(&rig, 0, 2, 1, "b");
	rig_ends(&rig, (1ULL << 62) - 1, 0);
	ck_assert_int_eq(open_log(), 0);
	expect(0, "a");
	expect(1, "b");
	expect_end(-ENODATA);
}
END_TEST

START_TEST(test_states)
{
	start();
	rig_record(&rig, 10, 0, 0, "being written");
	rig_record(&rig, 11, 1, 1, "not ended");
	rig_record(&rig, 12, 3, 2, "gone");
	rig_record(&rig, 13, 2, 3, "there");
	rig_record(&rig, 14 + RIG_COUNT, 2, 4, "newer");
	rig_ends(&rig, 10, 14);
	ck_assert_int_eq(open_log(), 0);
	expect(1, "not ended");
	expect(3, "there");
	expect_end(-ENODATA);
	ck_assert_int_eq(open_log(), 0);
	log_.finished_only = true;
	expect(3, "there");
	expect_end(-ENODATA);
}
END_TEST

START_TEST(test_texts)
{
	static char longest[LINUX_TEXT_BYTES + 1];

	start();
	memset(longest, 'x', (1 << RIG_TEXT_BITS) - 16);
	rig_record(&rig, 1, 2, 0, longest);
	rig_ends(&rig, 1, 1);
	ck_assert_int_eq(open_log(), 0);
	expect(0, longest);
	rig_record(&rig, 2, 2, 1, "from the ring's beginning");
	rig_put64(&rig, rig_desc(3), 2ULL << 62 | 3); /* of no text */
	rig_put64(&rig, rig_desc(3) + 8, 3);
	rig_put64(&rig, rig_desc(3) + 16, 3);
	rig_put64(&rig, rig_info(3), 2);
	rig_ends(&rig, 2, 3);
	ck_assert_int_eq(open_log(), 0);
	expect(1, "from the ring's beginning");
	expect(2, "");
	expect_end(-ENODATA);
}
END_TEST

/* Up to the ring's last byte */
START_TEST(test_text_at_the_end)
{
	start();
	rig.head_lpos = (1 << RIG_TEXT_BITS) - 16;
	rig_record(&rig, 1, 2, 0, "12345678");
	rig_ends(&rig, 1, 1);
	ck_assert_int_eq(open_log(), 0);
	expect(0, "12345678");
}
END_TEST

START_TEST(test_seek)
{
	start();
	fill(100, 50, 10);
	ck_assert_int_eq(open_log(), 0);
	linux_log_seek(&log_, 55);
	ck_assert_uint_eq(log_.left, 5);
	expect(55, "line 55");
	ck_assert_int_eq(open_log(), 0);
	linux_log_seek(&log_, 20);
	expect(50, "line 50");
	ck_assert_int_eq(open_log(), 0);
	linux_log_seek(&log_, 60);
	expect_end(-ENODATA);
	ck_assert_uint_eq(linux_log_tell(&log_), 60);
	linux_log_seek(&log_, 10000);
	expect_end(-ENODATA);
	rig_put64(&rig, rig_desc(100), 100); /* the first one is being written anew */
	ck_assert_int_eq(open_log(), 0);
	linux_log_seek(&log_, 58);
	expect(58, "line 58");
}
END_TEST

/* What is out of place in a record leaves that out. */
START_TEST(test_damaged_records)
{
	const struct {
		uint64_t at, value;
	} damage[] = {
		{ rig_desc(101), 2ULL << 62 | 999 }, { rig_desc(101) + 8, 1ULL << 40 },
		{ rig_desc(101) + 16, 1ULL << 40 }, { rig_desc(101) + 8, 24 + (1 << RIG_TEXT_BITS) },
		{ rig_desc(101) + 16, 20 }, { RIG_TEXT + 16, 77 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(damage); i++) {
		start();
		fill(100, 50, 3);
		rig_put64(&rig, damage[i].at, damage[i].value);
		ck_assert_int_eq(open_log(), 0);
		expect(50, "line 50");
		expect(52, "line 52");
		expect_end(-ENODATA);
	}
	start();
	fill(100, 50, 3);
	rig_put16(&rig, rig_info(101) + 16, 0xffff); /* longer than its block */
	ck_assert_int_eq(open_log(), 0);
	expect(50, "line 50");
	ck_assert_int_eq(linux_log_next(&log_, &record), 0);
	ck_assert_uint_eq(record.len, 8);
}
END_TEST

START_TEST(test_damaged_ring)
{
	start();
	fill(100, 50, 3);
	rig_ends(&rig, 100, 100 + RIG_COUNT);
	ck_assert_int_eq(open_log(), -EBADMSG);
	rig_ends(&rig, 100, 98);
	ck_assert_int_eq(open_log(), -EBADMSG);
	rig_ends(&rig, 100, 102);
	ck_assert_int_eq(open_log(), 0);
	rig_put32(&rig, RIG_RING, 28);
	ck_assert_int_eq(open_log(), -EBADMSG);
	rig_put32(&rig, RIG_RING, 0);
	ck_assert_int_eq(open_log(), -EBADMSG);
	rig_put32(&rig, RIG_RING, RIG_COUNT_BITS);
	rig_put32(&rig, RIG_RING + 48, 32);
	ck_assert_int_eq(open_log(), -EBADMSG);
	rig_put32(&rig, RIG_RING + 48, RIG_TEXT_BITS);
	rig_put64(&rig, RIG_RING + 8, 0x1234);
	ck_assert_int_eq(open_log(), 0);
	expect_end(-ENODATA);
	rig_put64(&rig, RIG_PRB, 0x1234);
	ck_assert_int_eq(open_log(), -EFAULT);
}
END_TEST

/* Of a ring larger than any, only the newest are looked at. */
START_TEST(test_many)
{
	start();
	rig_put32(&rig, RIG_RING, 27);
	rig_ends(&rig, 0, (1 << 27) - 1);
	ck_assert_int_eq(open_log(), 0);
	ck_assert_uint_eq(log_.left, 1 << 20);
	ck_assert_uint_eq(log_.end - log_.first, 1 << 20);
	expect_end(-ENODATA);
}
END_TEST

static void change_key(const char *key, const char *value)
{
	char *at = strstr(rig.note, key);

	ck_assert_ptr_nonnull(at);
	memcpy(at + strlen(key), value, strlen(value));
}

START_TEST(test_layout)
{
	start();
	fill(100, 50, 1);
	change_key("OFFSET(prb_desc.state_var)=", "0\nX"); /* the next key is gone */
	ck_assert_int_eq(open_log(), -ENOENT);
	start();
	change_key("SIZE(prb_desc)=", "23");
	ck_assert_int_eq(open_log(), -EBADMSG);
	start();
	change_key("SIZE(printk_info)=", "23");
	ck_assert_int_eq(open_log(), -EBADMSG);
	start();
	rig_key(&rig, "SIZE(x)=1");
	change_key("OFFSET(printk_info.caller_id)=", "88");
	ck_assert_int_eq(open_log(), -EBADMSG);
	start();
	change_key("OFFSET(printk_info.text_len)=", "85");
	ck_assert_int_eq(open_log(), -EBADMSG);
	rig_start(&rig, false);
	ck_assert_int_eq(open_log(), -ENOENT);
}
END_TEST

/* ---- before 5.10 ---- */

START_TEST(test_old)
{
	rig_start(&rig, false);
	rig_old_log(&rig, 4096, 4000, 64);
	rig_old_record(&rig, 5, "before the end");
	rig_old_record(&rig, 0, NULL);
	rig_old_record(&rig, 9, "behind it");
	rig_put32(&rig, RIG_OLD + 24, (uint32_t)rig.old_at);
	ck_assert_int_eq(open_log(), 0);
	expect(0, "before the end");
	ck_assert_uint_eq(record.ts_ns, 5);
	ck_assert_uint_eq(record.level, 4);
	ck_assert_uint_eq(record.caller, 7);
	const uint64_t here = linux_log_tell(&log_);

	expect(1, "behind it");
	expect_end(-ENODATA);
	const uint64_t end = linux_log_tell(&log_);

	ck_assert_int_eq(open_log(), 0);
	linux_log_seek(&log_, here);
	expect(1, "behind it");
	expect_end(-ENODATA);
	ck_assert_int_eq(open_log(), 0);
	linux_log_seek(&log_, end);
	expect_end(-ENODATA);
	ck_assert_int_eq(open_log(), 0);
	linux_log_seek(&log_, 3); /* where none begins */
	expect(0, "before the end");
}
END_TEST

START_TEST(test_old_damaged)
{
	rig_start(&rig, false);
	rig_old_log(&rig, 4096, 0, 1000);
	rig_old_record(&rig, 5, "one");
	rig_old_record(&rig, 5, "two");
	rig_put32(&rig, RIG_OLD + 24, (uint32_t)rig.old_at);
	for (unsigned len = 1; len < 0x10000; len += len < 30 ? 1 : 4001) {
		rig_put16(&rig, RIG_TEXT + 24 + 8, (uint16_t)len);
		ck_assert_int_eq(open_log(), 0);
		expect(0, "one");
		if (len != 24 && len < 23) {
			expect_end(-EBADMSG);
			expect_end(-EBADMSG);
		} else if (len > 4096 - 24) {
			expect_end(-EBADMSG);
		}
	}
	rig_put16(&rig, RIG_TEXT + 24 + 8, 24);
	rig_put16(&rig, RIG_TEXT + 24 + 10, 5);
	ck_assert_int_eq(open_log(), 0);
	expect(0, "one");
	expect_end(-EBADMSG);
	rig_put16(&rig, RIG_TEXT + 24 + 8, 0); /* round and round */
	ck_assert_int_eq(open_log(), 0);
	expect(0, "one");
	expect(1, "one");
	expect_end(-EBADMSG);
	rig_put32(&rig, RIG_OLD + 16, 4097);
	ck_assert_int_eq(open_log(), -EBADMSG);
	rig_put32(&rig, RIG_OLD + 16, 4090);
	ck_assert_int_eq(open_log(), 0);
	expect_end(-EBADMSG);
	rig_put32(&rig, RIG_OLD + 16, 0);
	rig_put32(&rig, RIG_OLD + 24, 4097);
	ck_assert_int_eq(open_log(), -EBADMSG);
	change_key("SIZE(printk_log)=", "19");
	ck_assert_int_eq(open_log(), -EBADMSG);
}
END_TEST

UNIT_MAIN("printk", test_records, test_empty, test_ids_wrap, test_states, test_texts, test_text_at_the_end, test_seek,
	  test_damaged_records, test_damaged_ring, test_many, test_layout, test_old, test_old_damaged)
