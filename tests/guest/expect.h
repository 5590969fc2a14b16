/* For guests whose cases go on after a check that failed: the first one of a case is told, and @failed is reset by them. */
#ifndef GUEST_EXPECT_H
#define GUEST_EXPECT_H

#include "guest.h"

static bool failed;

static void fail(const char *where, const char *what, uint64_t got, uint64_t want)
{
	if (failed)
		return;
	failed = true;
	print("not ok: ");
	print_difference(where, what, got, want);
}

#define EXPECT_EQ(got, want)                                                                       \
	do {                                                                                       \
		uint64_t got_ = (uint64_t)(got), want_ = (uint64_t)(want);                         \
		if (got_ != want_)                                                                 \
			fail(__FILE__ ":" STRING(__LINE__), #got, got_, want_);                    \
	} while (0)

#endif
