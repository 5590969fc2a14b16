/*
 * For clang-tidy only, which sees one file at a time and knows nothing about what is behind a call:
 * a call that has failed has left EIO in errno, and log_err() and log_errx() return their first
 * argument. So "return -errno" and "return log_err(-errno, ...)" are known to be failures. (A range
 * instead of EIO does not help: clang 14 does not see that the negative of what is positive is not 0.)
 */
#ifndef TESTS_LINT_MODEL_H
#define TESTS_LINT_MODEL_H

#include <errno.h>

#include "lkvm/log.h"

static int lint_error;

static inline int *lint_errno(void)
{
	lint_error = EIO;
	return &lint_error;
}

#undef errno
#define errno (*lint_errno())

#define log_err(err, ...)  ((log_err)((err), __VA_ARGS__), (err))
#define log_errx(err, ...) ((log_errx)((err), __VA_ARGS__), (err))

#endif
