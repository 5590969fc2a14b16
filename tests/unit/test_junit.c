/* Links: vm/junit.o vm/ktap.o util/mask.o */
#include "lkvm/vm/junit.h"

#include <string.h>

#include "unit.h"

static struct ktap *tests(const char *text, size_t len)
{
	struct ktap *k;

	ck_assert_int_eq(ktap_new(true, &k), 0);
	ktap_feed(k, text, len);
	ktap_end(k);
	return k;
}

START_TEST(test_written)
{
	static const char log[] = "KTAP version 1\n1..2\n    # Subtest: s\n    ok 1 a\n    # b: \"x\" <= 'y' & z\n\tin c\n"
				  "    not ok 2 b\nnot ok 1 s\n";
	static const char out[] = "TAP version 13\nok 1 x # SKIP not\nnot ok 2 y # TODO yet\n";
	struct junit_suite suites[] = {
		{ "kernel", tests(log, strlen(log)) }, { "command", tests(out, strlen(out)) }, { "none", NULL },
	};
	char text[4096] = "";
	FILE *f = fmemopen(text, sizeof(text), "w");

	ck_assert_ptr_nonnull(f);
	junit_write(f, suites, 3);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_str_eq(text,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<testsuites tests=\"5\" failures=\"1\" errors=\"1\" skipped=\"2\">\n"
		"  <testsuite name=\"kernel\" tests=\"3\" failures=\"1\" errors=\"1\" skipped=\"0\">\n"
		"    <testcase classname=\"s\" name=\"a\"></testcase>\n"
		"    <testcase classname=\"s\" name=\"b\"><failure message=\"    # b: &#34;x&#34; &#60;= &#39;y&#39; &#38; z\">"
		"    # b: &#34;x&#34; &#60;= &#39;y&#39; &#38; z&#10;&#9;in c&#10;</failure></testcase>\n"
		"    <testcase classname=\"kernel\" name=\"(plan)\"><error message=\"plan 1..2, but 1 results\">"
		"plan 1..2, but 1 results</error></testcase>\n"
		"  </testsuite>\n"
		"  <testsuite name=\"command\" tests=\"2\" failures=\"0\" errors=\"0\" skipped=\"2\">\n"
		"    <testcase classname=\"command\" name=\"x\"><skipped message=\"SKIP not\">SKIP not</skipped></testcase>\n"
		"    <testcase classname=\"command\" name=\"y\"><skipped message=\"TODO yet\">TODO yet</skipped></testcase>\n"
		"  </testsuite>\n"
		"  <testsuite name=\"none\" tests=\"0\" failures=\"0\" errors=\"0\" skipped=\"0\">\n"
		"  </testsuite>\n"
		"</testsuites>\n");
	ktap_free((struct ktap *)suites[0].tests);
	ktap_free((struct ktap *)suites[1].tests);
}
END_TEST

/* What XML cannot hold: controls, what is no UTF-8, two code points. */
START_TEST(test_masked)
{
	static const char log[] = "KTAP version 1\nok 1 a\33[1mb\xff\xc2\x9b\xef\xbf\xbe\xef\xbf\xbf\xef\xbf\xbd\xc3\xa4 ]]>\n";
	struct junit_suite suite = { "k", tests(log, sizeof(log) - 1) };
	char text[1024] = "";
	FILE *f = fmemopen(text, sizeof(text), "w");

	ck_assert_ptr_nonnull(f);
	junit_write(f, &suite, 1);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_ptr_nonnull(strstr(text, " name=\"a?[1mb????\xef\xbf\xbd\xc3\xa4 ]]&#62;\">"));
	ktap_free((struct ktap *)suite.tests);
}
END_TEST

UNIT_MAIN("junit", test_written, test_masked)
