/*
 * Frame of every unit test program: UNIT_MAIN("ram", test_layout, test_read, ...) runs the tests,
 * each in a process of its own, and prints TAP.
 */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <check.h>
#include <dirent.h>
#include <stdlib.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER 1
#else
#define ADDRESS_SANITIZER 0
#endif

/* How much stands in a folder: "/proc/self/fd", for tests that nothing stays open */
static inline unsigned unit_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* How long one test may take; in an emulated host on a busy machine. */
#ifndef UNIT_SECONDS
#define UNIT_SECONDS 60
#endif

/* @tap: a file, or "-" */
static inline int unit_run_to(const char *tap, const char *name, const TTest *const *tests)
{
	Suite *suite = suite_create(name);
	TCase *tcase = tcase_create(name);
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tcase, UNIT_SECONDS);
	for (; *tests; tests++)
		tcase_add_test(tcase, *tests);
	suite_add_tcase(suite, tcase);
	srunner_set_tap(runner, tap);
	srunner_run_all(runner, CK_SILENT);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static inline int unit_run(const char *name, const TTest *const *tests)
{
	return unit_run_to("-", name, tests);
}

#define UNIT_MAIN(name, ...)                                                                       \
	int main(void)                                                                             \
	{                                                                                          \
		const TTest *const tests[] = { __VA_ARGS__, NULL };                                \
		return unit_run(name, tests);                                                      \
	}

#endif
