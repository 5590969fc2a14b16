/* Links: util/lib.o */
#include <dlfcn.h>
#include <errno.h>
#include <fenv.h>
#include <math.h>
#include <string.h>

#include "lkvm/lib.h"
#include "unit.h"

#define MATHS(X) X(trunc) X(fegetround)
struct maths {
	MATHS(LIB_FIELD)
};
static const struct lib_symbol symbols[] = { MATHS(LIB_SYMBOL){ 0 } };
static const struct lib_symbol too_new[] = { MATHS(LIB_SYMBOL){ "lkvm_has_no_such_function", NULL }, { 0 } };

static bool is_loaded(const char *name)
{
	void *handle = dlopen(name, RTLD_NOW | RTLD_NOLOAD);

	if (handle)
		dlclose(handle);
	return handle;
}

/* libm is in memory anyway, in some builds; the functions are what they are called. */
START_TEST(test_open)
{
	const struct lib lib = { "libm.so.6", "libc6", symbols, false };
	struct maths m = { NULL, NULL };
	void *handle = NULL;

	ck_assert(lib_usable(&lib));
	ck_assert_int_eq(lib_open(&lib, &m, &handle), 0);
	ck_assert_ptr_nonnull(handle);
	ck_assert(m.trunc(2.5) == 2);
	ck_assert_int_eq(m.fegetround(), FE_TONEAREST);
	lib_close(handle);
	lib_close(NULL);
}
END_TEST

START_TEST(test_unloads)
{
	static const struct lib_symbol none[] = { { "inflate", NULL }, { 0 } };
	struct lib lib = { "libz.so.1", "zlib1g", none, false };
	void *handle, *function;

	ck_assert(!is_loaded(lib.file));
	ck_assert(lib_usable(&lib));
	ck_assert(!is_loaded(lib.file));
	ck_assert_int_eq(lib_open(&lib, &function, &handle), 0);
	ck_assert(is_loaded(lib.file));
	lib_close(handle);
	ck_assert(!is_loaded(lib.file));
	lib.stays = true;
	ck_assert_int_eq(lib_open(&lib, &function, &handle), 0);
	lib_close(handle);
	ck_assert(is_loaded(lib.file));
}
END_TEST

START_TEST(test_missing)
{
	const struct lib lib = { "libnone.so.1", "libnone1", symbols, false };
	void *handle = &handle;
	struct maths m;
	char why[128];

	ck_assert(!lib_usable(&lib));
	ck_assert_int_eq(lib_open(&lib, &m, &handle), -ENOENT);
	ck_assert_ptr_eq(handle, &handle);
	lib_why(&lib, -ENOENT, why, sizeof(why));
	ck_assert_str_eq(why, "libnone.so.1 is missing (Debian package libnone1)");
}
END_TEST

START_TEST(test_too_old)
{
	const struct lib lib = { "libm.so.6", "libc6", too_new, false };
	void *functions[3], *handle = &handle;
	char why[128];

	ck_assert(!lib_usable(&lib));
	ck_assert_int_eq(lib_open(&lib, functions, &handle), -ENOSYS);
	ck_assert_ptr_eq(handle, &handle);
	lib_why(&lib, -ENOSYS, why, sizeof(why));
	ck_assert_str_eq(why, "libm.so.6 lacks what is needed (Debian package libc6)");
}
END_TEST

UNIT_MAIN("lib", test_open, test_unloads, test_missing, test_too_old)
