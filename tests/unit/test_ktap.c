/* Links: vm/ktap.o */

/* KTAP as KUnit, kselftest and others print it. */
#include "lkvm/vm/ktap.h"

#include <stdio.h>
#include <string.h>

#include "unit.h"

/* How @text went, fed in pieces of @piece bytes: counts, then "suite.name: why" of what is kept, a line each */
static const char *run(const char *text, size_t piece, bool all)
{
	static char got[16384];
	static const char *const verdicts[] = { "", "failed ", "skipped ", "todo ", "broken " };
	size_t n, len = strlen(text);
	const struct ktap_case *c;
	struct ktap *k;

	ck_assert_int_eq(ktap_new(all, &k), 0);
	for (size_t at = 0; at < len; at += piece)
		ktap_feed(k, text + at, piece < len - at ? piece : len - at);
	ktap_end(k);
	n = (size_t)snprintf(got, sizeof(got), "%lu %lu %lu %lu %lu\n", ktap_count(k, KTAP_PASSED),
			     ktap_count(k, KTAP_FAILED), ktap_count(k, KTAP_SKIPPED), ktap_count(k, KTAP_TODO),
			     ktap_count(k, KTAP_BROKEN));
	for (size_t i = 0; (c = ktap_case(k, i)); i++)
		n += (size_t)snprintf(got + n, sizeof(got) - n, "%s%s%s%s%s%s\n", verdicts[c->verdict],
				      c->suite ? c->suite : "", c->suite ? "." : "", c->name, c->why ? ": " : "",
				      c->why ? c->why : "");
	ktap_free(k);
	return got;
}

static void check_text(const char *text, const char *expected, bool all)
{
	for (size_t piece = 1; piece < 8; piece += 3)
		ck_assert_str_eq(run(text, piece, all), expected);
	ck_assert_str_eq(run(text, strlen(text) + 1, all), expected);
}

START_TEST(test_kunit)
{
	/* Linux 6.6 */
	check_text("KTAP version 1\n1..2\n"
		   "    KTAP version 1\n    # Subtest: list-kunit-test\n    # module: list_test\n    1..3\n"
		   "    ok 1 list_test_list_init\n    # list_test_add: EXPECTATION FAILED at lib/list-test.c:63\n"
		   "    Expected a == b, but\n        a == 1 (0x1)\n    not ok 2 list_test_add\n"
		   "    ok 3 list_test_move # SKIP no memory\n# list-kunit-test: pass:1 fail:1 skip:1 total:3\n"
		   "# Totals: pass:1 fail:1 skip:1 total:3\nnot ok 1 list-kunit-test\n"
		   "    KTAP version 1\n    # Subtest: sort\n    1..1\n        KTAP version 1\n"
		   "        # Subtest: test_sort\n        ok 1 random\n        ok 2 equal\n    ok 1 test_sort\nok 2 sort\n",
		   "3 1 1 0 0\nlist-kunit-test.list_test_list_init\n"
		   "failed list-kunit-test.list_test_add:     # list_test_add: EXPECTATION FAILED at lib/list-test.c:63\n"
		   "    Expected a == b, but\n        a == 1 (0x1)\n\n"
		   "skipped list-kunit-test.list_test_move: SKIP no memory\n"
		   "sort.test_sort.random\nsort.test_sort.equal\n", true);
	/* Linux 6.1: nested without a version line */
	check_text("TAP version 14\n1..1\n    # Subtest: example\n    1..2\n    ok 1 - example_simple_test\n"
		   "    # example_skip_test: You should not see a line below.\n    ok 2 - example_skip_test # SKIP not now\n"
		   "ok 1 - example\n",
		   "1 0 1 0 0\nexample.example_simple_test\nskipped example.example_skip_test: SKIP not now\n", true);
	/* A module's: nothing is around it. */
	check_text("    # Subtest: mod\n    1..1\n    not ok 1 - a\nnot ok 1 - mod\nok 2 - words\n",
		   "0 1 0 0 0\nfailed mod.a\n", false);
	/* Its init failed, and none of its tests did. */
	check_text("KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: s\n    1..1\n    ok 1 a\nnot ok 1 s\n",
		   "1 1 0 0 0\nfailed s\n", false);
}
END_TEST

START_TEST(test_kselftest)
{
	/* make run_tests */
	check_text("TAP version 13\n1..3\n# timeout set to 45\n# selftests: mm: a\n# TAP version 13\n# 1..3\n# ok 1 one\n"
		   "# # ok, this is a comment\n# not ok 2 two\n# ok 3 # SKIP three\n# # Totals: pass:1 fail:1\n"
		   "not ok 1 selftests: mm: a # exit=1\n# selftests: mm: b\n# bad luck\nnot ok 2 selftests: mm: b # exit=139\n"
		   "# selftests: mm: c\n# waits\n#\nnot ok 3 selftests: mm: c # TIMEOUT 45 seconds\n",
		   "1 3 1 0 0\nfailed selftests: mm: a.two: # # ok, this is a comment\n\n"
		   "failed selftests: mm: b: exit=139\n# selftests: mm: b\n# bad luck\n\n"
		   "failed selftests: mm: c: TIMEOUT 45 seconds\n# selftests: mm: c\n# waits\n#\n\n", false);
	/* kselftest_harness.h */
	check_text("TAP version 13\n1..2\n# Starting 2 tests from 1 test cases.\n#  RUN           global.a ...\n"
		   "#            OK  global.a\nok 1 global.a\n# b.c:12:b:Expected 1 (1) == 2 (2)\n# b: Test failed\n"
		   "not ok 2 global.b\n# FAILED: 1 / 2 tests passed.\n",
		   "1 1 0 0 0\nfailed global.b: # b.c:12:b:Expected 1 (1) == 2 (2)\n# b: Test failed\n\n", false);
	/* Several, one behind the other; the second does not get to its end. */
	check_text("TAP version 13\n1..1\nok 1 a\r\nTAP version 13\r\n1..2\r\nok 1 b\r\n",
		   "2 0 0 0 1\nbroken (plan): plan 1..2, but 1 results\n", false);
}
END_TEST

#define HEAD "KTAP version 1\n"

START_TEST(test_lines)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{ "", "0 0 0 0 0\n" },
		{ "ok 1 a\nnot ok 2 b\n1..7\nBail out!\n", "0 0 0 0 0\n" }, /* no version */
		{ "say KTAP version 1\nKTAP version x\nKTAP version 1 or so\nnot ok 1\n", "0 0 0 0 0\n" },
		{ HEAD, "0 0 0 0 0\n" },
		{ HEAD "ok 1 a\nnot ok 2 b\n", "1 1 0 0 0\na\nfailed b\n" }, /* no plan */
		{ HEAD "ok 1\nnot ok 2 -\nok 3 - \n", "2 1 0 0 0\n1\nfailed 2\n3\n" },
		{ HEAD "ok\nok a\nnot  ok 1\nok 1a\nokay 1\n ok 1\n", "0 0 0 0 0\n" },
		{ HEAD "1..2\nok 1 a\n", "1 0 0 0 1\na\nbroken (plan): plan 1..2, but 1 results\n" },
		{ HEAD "1..1\nok 1 a\nok 2 b\n", "2 0 0 0 1\na\nb\nbroken (plan): plan 1..1, but 2 results\n" },
		{ HEAD "ok 1 a\n1..1\n1..5\n", "1 0 0 0 0\na\n" }, /* at the end; the first counts */
		{ HEAD "1..99999999999999999999\n1..x\n1..\n1..-1\n1..2 3\nok 1 a", "1 0 0 0 0\na\n" },
		{ HEAD "1..0 # SKIP no device\n", "0 0 1 0 0\nskipped (all): SKIP no device\n" },
		{ HEAD "1..0\n", "0 0 0 0 0\n" },
		{ HEAD "not ok 1 a # TODO later\nok 2 b # TODO done\nnot ok 3 c # XFAIL known\nok 4 # XFAIL d\n",
		  "2 0 0 2 0\ntodo a: TODO later\nb: TODO done\ntodo c: XFAIL known\n4: XFAIL d\n" },
		{ HEAD "ok 1 a # skip: no\nok 2 b # Skipped\nnot ok 3 c #SKIP\nok 4 d#SKIP\n",
		  "2 0 2 0 0\nskipped a: skip: no\nb # Skipped\nskipped c: SKIP\nd#SKIP\n" },
		{ HEAD "ok 1 issue #12 # 3 of 4\n", "1 0 0 0 0\nissue #12 # 3 of 4\n" },
		{ HEAD "1..3\nok 1 a\nBail out!  no memory\nok 2 b\n", "1 0 0 0 1\na\nbroken Bail out!: no memory\n" },
		{ HEAD "1..1\n  1..1\n  ok 1 in\nok 1 out\n", "1 0 0 0 0\nout.in\n" },
		{ HEAD "1..1\n  " HEAD "  1..2\n  ok 1 in\nok 1 out\n",
		  "1 0 0 0 1\nout.in\nbroken out.(plan): plan 1..2, but 1 results\n" },
		{ HEAD "1..1\n  " HEAD "  1..2\n  ok 1 in\nnot ok 1 out\n", /* not counted twice */
		  "1 0 0 0 1\nout.in\nbroken out.(plan): plan 1..2, but 1 results\n" },
		{ HEAD "  " HEAD "    " HEAD "    not ok 1 a\n  not ok 1 b\nnot ok 1 c\nok 2 d\n",
		  "1 1 0 0 0\nfailed c.b.a\nd\n" },
		{ HEAD "  " HEAD "    " HEAD "    ok 1 a\nok 1 c\n", "1 0 0 0 0\nc.a\n" }, /* one is not told of */
		{ HEAD "  " HEAD "ok 1 empty\n", "1 0 0 0 0\nempty\n" },
		{ HEAD "# not ok 1 a comment\n# 1..5\n# # ok 2\nok 1 a\n", "1 0 0 0 0\na\n" },
		{ "# Subtest: at the margin\nok 1 a\n", "0 0 0 0 0\n" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check_text(cases[i].text, cases[i].expected, true);
}
END_TEST

/* ---- hostile ---- */

static void feed_text(struct ktap *k, const char *text)
{
	ktap_feed(k, text, strlen(text));
}

START_TEST(test_depth)
{
	char line[256];
	struct ktap *k;

	ck_assert_int_eq(ktap_new(true, &k), 0);
	for (int depth = 0; depth < 100; depth++) {
		snprintf(line, sizeof(line), "%*sKTAP version 1\n", depth, "");
		feed_text(k, line);
	}
	for (int depth = 99; depth >= 0; depth--) {
		snprintf(line, sizeof(line), "%*sok 1 at %d\n", depth, "", depth);
		feed_text(k, line);
	}
	ktap_end(k);
	/* What is deeper is passed over; the innermost that is known counts for it. */
	ck_assert_uint_eq(ktap_count(k, KTAP_PASSED), 1);
	ck_assert_str_eq(ktap_case(k, 0)->name, "at 15");
	ck_assert_ptr_null(ktap_case(k, 1));
	ktap_free(k);
}
END_TEST

START_TEST(test_long)
{
	static char text[5000];
	struct ktap *k;

	ck_assert_int_eq(ktap_new(true, &k), 0);
	feed_text(k, HEAD);
	memset(text, 'x', sizeof(text) - 1);
	memcpy(text, "not ok 1 ", 9);
	feed_text(k, text);
	ktap_feed(k, "\nnot ok 2 a\0b\n", 14);
	ktap_end(k);
	ck_assert_uint_eq(ktap_count(k, KTAP_FAILED), 2);
	ck_assert_uint_eq(strlen(ktap_case(k, 0)->name), KTAP_NAME_BYTES - 1);
	ck_assert_str_eq(ktap_case(k, 1)->name, "a?b");
	ktap_free(k);

	/* Only the newest of what stands before a failure is kept, in whole lines. */
	ck_assert_int_eq(ktap_new(false, &k), 0);
	feed_text(k, HEAD);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "line %u\n", i);
		feed_text(k, text);
	}
	feed_text(k, "not ok 1 a\n");
	ck_assert_uint_lt(strlen(ktap_case(k, 0)->why), KTAP_WHY_BYTES);
	ck_assert_ptr_nonnull(strstr(ktap_case(k, 0)->why, "line 998\nline 999\n"));
	ck_assert_int_eq(strncmp(ktap_case(k, 0)->why, "line ", 5), 0);
	ktap_free(k);
}
END_TEST

/* All are counted, not all are kept. */
START_TEST(test_many)
{
	const struct ktap_case *c;
	struct ktap *k;
	char line[256];
	size_t bytes = 0;

	ck_assert_int_eq(ktap_new(true, &k), 0);
	feed_text(k, HEAD);
	for (unsigned i = 0; i < 200000; i++) {
		snprintf(line, sizeof(line), "ok %u %0150u\n", i, i);
		feed_text(k, line);
	}
	ktap_end(k);
	ck_assert_uint_eq(ktap_count(k, KTAP_PASSED), 200000);
	for (size_t i = 0; (c = ktap_case(k, i)); i++)
		bytes += sizeof(*c) + strlen(c->name) + 1;
	ck_assert_uint_gt(bytes, KTAP_KEPT_BYTES / 2);
	ck_assert_uint_le(bytes, KTAP_KEPT_BYTES);
	ktap_free(k);
}
END_TEST

UNIT_MAIN("ktap", test_kunit, test_kselftest, test_lines, test_depth, test_long, test_many)
