/*
 * For clang-tidy only, which sees one file at a time: log_err() and log_errx() return their first
 * argument, so that "return log_err(-errno, ...)" is known to be a failure.
 */
#ifndef TESTS_LINT_MODEL_H
#define TESTS_LINT_MODEL_H

#include "lkvm/log.h"

#define log_err(err, ...)  ((log_err)((err), __VA_ARGS__), (err))
#define log_errx(err, ...) ((log_errx)((err), __VA_ARGS__), (err))

#endif
