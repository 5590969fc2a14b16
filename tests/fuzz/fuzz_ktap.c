/* Links: vm/ktap.o vm/junit.o util/mask.o */
/*
 * Any bytes as KTAP, in pieces of any length: what is kept is bounded, pieces make no difference, and
 * what is written as JUnit XML has no byte that XML cannot hold.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "lkvm/vm/junit.h"

static void check_case(const struct ktap_case *c)
{
	check(c->verdict < KTAP_VERDICTS);
	check(c->name && *c->name && strlen(c->name) < KTAP_NAME_BYTES && !strchr(c->name, '\n'));
	check(!c->suite || (*c->suite && strlen(c->suite) < KTAP_NAME_BYTES));
	check(!c->why || strlen(c->why) < KTAP_WHY_BYTES + KTAP_LINE_BYTES);
}

static void check_same(const struct ktap *a, const struct ktap *b)
{
	size_t i = 0;

	for (unsigned v = 0; v < KTAP_VERDICTS; v++)
		check(ktap_count(a, v) == ktap_count(b, v));
	for (; ktap_case(a, i); i++)
		check(ktap_case(b, i) && !strcmp(ktap_case(a, i)->name, ktap_case(b, i)->name));
	check(!ktap_case(b, i));
}

static void check_xml(const struct ktap *k)
{
	const struct junit_suite suite = { "fuzz", k };
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	check(out);
	junit_write(out, &suite, 1);
	check(!fclose(out));
	for (size_t i = 0; i < len; i++)
		check((unsigned char)text[i] >= ' ' || text[i] == '\n');
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t piece = size ? 1 + data[0] % 16 : 1;
	struct ktap *whole, *cut;

	check(!ktap_new(true, &whole) && !ktap_new(true, &cut));
	ktap_feed(whole, data, size);
	for (size_t at = 0; at < size; at += piece)
		ktap_feed(cut, data + at, piece < size - at ? piece : size - at);
	ktap_end(whole);
	ktap_end(cut);
	for (size_t i = 0; ktap_case(whole, i); i++)
		check_case(ktap_case(whole, i));
	check_same(whole, cut);
	check_xml(whole);
	ktap_free(whole);
	ktap_free(cut);
	return 0;
}
