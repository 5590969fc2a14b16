/* Links: vm/snapshot-file.o vm/snapshot-machine.o vm/snapshot-cpuid.o util/crc32c.o util/file.o util/json.o util/log.o hw/state.o hw/state-show.o hw/ram-size.o disk/format.o */
/* The file of a snapshot's state: what is written is read, and no byte of it can be another. */
#include <errno.h>
#include <string.h>

#include "../../vm/snapshot-internal.h"
#include "lkvm/log.h"
#include "lkvm/version.h"
#include "lkvm/vm/devices.h"
#include "own-folder.h"
#include "state.h"
#include "unit.h"

struct thing_state {
	uint32_t a, b;
};

static const struct state_field thing_fields[] = {
	STATE_ONE(struct thing_state, a),
	STATE_ONE(struct thing_state, b, .max = 7),
};

static const struct state_type thing_type = { STATE_TYPE("thing", 1, struct thing_state, thing_fields) };

const char lkvm_version[] = "of the test";

struct disk *virtio_list_disk(const struct virtio_list *list, unsigned index)
{
	(void)list, (void)index;
	ck_abort_msg("no machine is saved here");
}

static void make_folder(void)
{
	enter_own_folder();
	put(SNAPSHOT_RAM, "", 0);
	log_hold_errors(true);
}

static void add_thing(struct snapshot_writer *w, const char *section, uint32_t a, uint32_t b)
{
	const struct thing_state st = { a, b };

	ck_assert_int_eq(snapshot_begin(w, section), 0);
	ck_assert_int_eq(state_pack(&w->buf, &thing_type, &st), 0);
}

static void make_state(struct snapshot_writer *w)
{
	*w = (struct snapshot_writer){ 0 };
	add_thing(w, "one", 1, 2);
	ck_assert_int_eq(snapshot_begin(w, "empty"), 0);
	add_thing(w, "two", 3, 4);
	ck_assert_int_eq(snapshot_end(w), 0);
}

static void assert_thing(struct snapshot *snap, const char *section, uint32_t a, uint32_t b)
{
	struct thing_state st;

	ck_assert_int_eq(snapshot_take(snap, section, &thing_type, &st), 0);
	ck_assert_uint_eq(st.a, a);
	ck_assert_uint_eq(st.b, b);
}

START_TEST(test_sections)
{
	struct snapshot_writer w;
	struct state_reader in;
	struct snapshot *snap;

	make_folder();
	make_state(&w);
	put(SNAPSHOT_STATE, w.buf.data, w.buf.len);
	ck_assert_int_eq(snapshot_open(own_folder, &snap), 0);
	ck_assert_str_eq(snapshot_path(snap), own_folder);
	ck_assert_str_eq(snapshot_unused(snap), "one");
	assert_thing(snap, "two", 3, 4);
	assert_thing(snap, "one", 1, 2);
	ck_assert_str_eq(snapshot_unused(snap), "empty");
	ck_assert_int_eq(snapshot_find(snap, "empty", &in), 0);
	ck_assert_ptr_eq(in.at, in.end);
	ck_assert_ptr_null(snapshot_unused(snap));
	ck_assert_int_eq(snapshot_find(snap, "three", &in), -ENOENT);
	/* Each only once: two devices of one state would be one too many. */
	ck_assert_int_eq(snapshot_find(snap, "one", &in), -ENOENT);
	snapshot_close(snap);
	state_buf_free(&w.buf);
	leave_own_folder();
}
END_TEST

/* Whatever byte is another, and wherever it ends */
START_TEST(test_damage)
{
	struct snapshot_writer w;
	struct snapshot *snap;

	make_folder();
	make_state(&w);
	for (size_t i = 0; i < w.buf.len; i++) {
		const uint8_t was = w.buf.data[i];

		for (unsigned bit = 0; bit < 8; bit++) {
			w.buf.data[i] = (uint8_t)(was ^ 1 << bit);
			put(SNAPSHOT_STATE, w.buf.data, w.buf.len);
			ck_assert_msg(snapshot_open(own_folder, &snap) == -EBADMSG, "byte %zu, bit %u", i, bit);
		}
		w.buf.data[i] = was;
	}
	for (size_t len = 0; len < w.buf.len; len++) {
		put(SNAPSHOT_STATE, w.buf.data, len);
		ck_assert_msg(snapshot_open(own_folder, &snap) == -EBADMSG, "%zu bytes", len);
	}
	ck_assert_int_eq(state_buf_add(&w.buf, "", 1), 0);
	put(SNAPSHOT_STATE, w.buf.data, w.buf.len);
	ck_assert_int_eq(snapshot_open(own_folder, &snap), -EBADMSG);
	state_buf_free(&w.buf);
	leave_own_folder();
}
END_TEST

/* Right sums do not make it right. */
START_TEST(test_hostile)
{
	struct snapshot_writer w = { 0 };
	struct thing_state st;
	struct snapshot *snap;

	make_folder();
	add_thing(&w, "one", 1, 8); /* more than it can be */
	add_thing(&w, "two", 1, 2);
	ck_assert_int_eq(state_buf_add(&w.buf, "x", 1), 0); /* behind its record */
	ck_assert_int_eq(snapshot_begin(&w, "three"), 0);
	ck_assert_int_eq(state_buf_add(&w.buf, "no record", 9), 0);
	ck_assert_int_eq(snapshot_begin(&w, "four"), 0);
	ck_assert_int_eq(snapshot_end(&w), 0);
	put(SNAPSHOT_STATE, w.buf.data, w.buf.len);
	ck_assert_int_eq(snapshot_open(own_folder, &snap), 0);
	ck_assert_int_eq(snapshot_take(snap, "one", &thing_type, &st), -ERANGE);
	ck_assert_int_eq(snapshot_take(snap, "two", &thing_type, &st), -EBADMSG);
	ck_assert_int_eq(snapshot_take(snap, "three", &thing_type, &st), -EBADMSG);
	ck_assert_int_eq(snapshot_take(snap, "four", &thing_type, &st), -EBADMSG);
	ck_assert_int_eq(snapshot_take(snap, "five", &thing_type, &st), -EBADMSG);
	snapshot_close(snap);
	state_buf_free(&w.buf);
	leave_own_folder();
}
END_TEST

START_TEST(test_not_there)
{
	struct snapshot *snap;

	make_folder();
	ck_assert_int_eq(snapshot_open("/nowhere", &snap), -ENOENT);
	ck_assert_int_eq(snapshot_open(own_folder, &snap), -EBADMSG);
	ck_assert_int_eq(snapshot_open("/dev/null", &snap), -ENOTDIR);
	leave_own_folder();
}
END_TEST

START_TEST(test_tables)
{
	state_test_table(&snapshot_machine_type);
	state_test_table(&snapshot_disk_type);
	state_test_table(&snapshot_cpuid_type);
}
END_TEST

UNIT_MAIN("snapshot", test_sections, test_damage, test_hostile, test_not_there, test_tables)
