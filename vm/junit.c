/* Results of tests as JUnit XML; see lkvm/vm/junit.h. */
#include "lkvm/vm/junit.h"

#include <stdlib.h>
#include <string.h>

#include "lkvm/mask.h"

/* U+FFFE and U+FFFF are no characters of XML. */
static bool is_no_character(const char *s, size_t left)
{
	return left >= 3 && !memcmp(s, "\xef\xbf", 2) && (uint8_t)s[2] >= 0xbe;
}

static void put_masked(FILE *out, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		const char c = text[i];

		if (is_no_character(text + i, len - i)) {
			fputc('?', out);
			i += 2;
		} else if (strchr("&<>\"'\n\t", c)) {
			fprintf(out, "&#%d;", c);
		} else {
			fputc(c, out);
		}
	}
}

static void put_text(FILE *out, const char *text, size_t len)
{
	char *copy = strndup(text, len);

	if (!copy)
		return;
	put_masked(out, copy, mask_text(copy, strlen(copy), "\n\t"));
	free(copy);
}

static void put_attribute(FILE *out, const char *name, const char *text)
{
	fprintf(out, " %s=\"", name);
	put_text(out, text, strcspn(text, "\n"));
	fputc('"', out);
}

static void put_why(FILE *out, const char *element, const char *why)
{
	fprintf(out, "<%s", element);
	if (why)
		put_attribute(out, "message", why);
	fputc('>', out);
	if (why)
		put_text(out, why, strlen(why));
	fprintf(out, "</%s>", element);
}

static void put_case(FILE *out, const char *suite, const struct ktap_case *c)
{
	static const char *const elements[] = {
		[KTAP_FAILED] = "failure", [KTAP_SKIPPED] = "skipped", [KTAP_TODO] = "skipped", [KTAP_BROKEN] = "error",
	};

	fputs("    <testcase", out);
	put_attribute(out, "classname", c->suite ? c->suite : suite);
	put_attribute(out, "name", c->name);
	fputc('>', out);
	if (c->verdict != KTAP_PASSED)
		put_why(out, elements[c->verdict], c->why);
	fputs("</testcase>\n", out);
}

static void put_counts(FILE *out, const struct junit_suite *suites, unsigned n)
{
	unsigned long count[KTAP_VERDICTS] = { 0 }, all = 0;

	for (unsigned i = 0; i < n; i++)
		for (unsigned v = 0; suites[i].tests && v < KTAP_VERDICTS; v++)
			count[v] += ktap_count(suites[i].tests, v);
	for (unsigned v = 0; v < KTAP_VERDICTS; v++)
		all += count[v];
	fprintf(out, " tests=\"%lu\" failures=\"%lu\" errors=\"%lu\" skipped=\"%lu\">\n", all, count[KTAP_FAILED],
		count[KTAP_BROKEN], count[KTAP_SKIPPED] + count[KTAP_TODO]);
}

void junit_write(FILE *out, const struct junit_suite *suites, unsigned n)
{
	const struct ktap_case *c;

	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites", out);
	put_counts(out, suites, n);
	for (unsigned i = 0; i < n; i++) {
		fputs("  <testsuite", out);
		put_attribute(out, "name", suites[i].name);
		put_counts(out, &suites[i], 1);
		for (size_t k = 0; suites[i].tests && (c = ktap_case(suites[i].tests, k)); k++)
			put_case(out, suites[i].name, c);
		fputs("  </testsuite>\n", out);
	}
	fputs("</testsuites>\n", out);
}
