/*
 * KTAP, the lines by which tests tell how they went: those of a kernel (KUnit) in its log, those of a
 * program (kselftest) on its standard output. Also TAP 13 and 14, as far as they agree with it.
 *
 *	KTAP version 1
 *	1..2
 *	    KTAP version 1
 *	    # Subtest: list            nested: further to the right, or behind "# " where kselftest runs it
 *	    1..1
 *	    ok 1 list_add
 *	ok 1 list                      the subtests' own result; they are counted, it is not
 *	not ok 2 sort # TODO not yet
 *
 * Everything else is passed over: before the first version line, and between the others. The text is
 * another's: memory, depth and the length of what is kept of a line are bounded.
 */
#ifndef LKVM_VM_KTAP_H
#define LKVM_VM_KTAP_H

#include <stdbool.h>
#include <stddef.h>

#define KTAP_DEPTH      16
#define KTAP_LINE_BYTES 1024
#define KTAP_NAME_BYTES 256        /* of a name, and of the names of what it is in */
#define KTAP_WHY_BYTES  2048       /* of what stood before a failure */
#define KTAP_KEPT_BYTES (16u << 20) /* of all results; those beyond are counted only */

enum ktap_verdict {
	KTAP_PASSED,
	KTAP_FAILED,
	KTAP_SKIPPED,
	KTAP_TODO,   /* failed, as is known */
	KTAP_BROKEN, /* no test: a plan that was not kept, or "Bail out!" */
	KTAP_VERDICTS,
};

struct ktap_case {
	enum ktap_verdict verdict;
	char *suite, *name; /* suite: what it is in, from the outside, with dots between; NULL: nothing */
	char *why;          /* NULL: nothing is known */
};

struct ktap;

/** ktap_new() - @all: keep passed tests too, not only those that failed; Return: 0 or -ENOMEM */
int ktap_new(bool all, struct ktap **ret);
/** ktap_free() - takes NULL */
void ktap_free(struct ktap *k);
/** ktap_feed() - the next bytes, cut anywhere; what cannot be kept for lack of memory is counted only */
void ktap_feed(struct ktap *k, const void *bytes, size_t len);
/** ktap_end() - nothing more comes: plans that are open were not kept */
void ktap_end(struct ktap *k);

/** ktap_seen() - was there any KTAP at all? */
bool ktap_seen(const struct ktap *k);
/** ktap_count() - how many tests had this @verdict */
unsigned long ktap_count(const struct ktap *k, enum ktap_verdict verdict);
/** ktap_case() - the @i-th of those that are kept, or NULL after the last */
const struct ktap_case *ktap_case(const struct ktap *k, size_t i);

#endif
