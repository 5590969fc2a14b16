/*
 * Results of tests as JUnit XML, as continuous integration reads it: a <testsuite> for each source of them.
 *
 * Texts are the guest's: what XML has a meaning for is escaped, and what it cannot hold, or a terminal acts
 * upon (mask.h), is a question mark.
 */
#ifndef LKVM_VM_JUNIT_H
#define LKVM_VM_JUNIT_H

#include <stdio.h>

#include "lkvm/vm/ktap.h"

struct junit_suite {
	const char *name;
	const struct ktap *tests; /* NULL: none */
};

/** junit_write() - @n suites; errors stay with the stream */
void junit_write(FILE *out, const struct junit_suite *suites, unsigned n);

#endif
