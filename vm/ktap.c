/* KTAP, line by line; see lkvm/vm/ktap.h. */
#include "lkvm/vm/ktap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PLAN_MOST 1000000000UL /* a larger one is no plan */

/* Tests whose lines begin at one column */
struct level {
	size_t column;
	bool planned;
	unsigned long plan, results;
	bool failed;       /* something in it has */
	size_t first_case; /* the first in it of those that are kept */
	char name[KTAP_NAME_BYTES];
};

struct ktap {
	bool all, seen;
	unsigned long count[KTAP_VERDICTS];
	struct ktap_case *cases;
	size_t n_cases, cap_cases, kept_bytes;
	struct level level[KTAP_DEPTH];
	unsigned depth;
	char line[KTAP_LINE_BYTES];
	size_t len;
	char before[KTAP_WHY_BYTES]; /* what was passed over since the last result, newest lines */
	size_t n_before;
};

/* ---- what is kept ---- */

static char *keep(struct ktap *k, const char *text, size_t most)
{
	char *copy;
	size_t len = strnlen(text, most - 1);

	if (k->kept_bytes + len >= KTAP_KEPT_BYTES)
		return NULL;
	copy = strndup(text, len);
	if (copy)
		k->kept_bytes += len + 1;
	return copy;
}

static bool make_room(struct ktap *k)
{
	size_t cap = k->cap_cases ? 2 * k->cap_cases : 64;
	struct ktap_case *more;

	if (k->kept_bytes + sizeof(*more) > KTAP_KEPT_BYTES)
		return false;
	if (k->n_cases < k->cap_cases)
		return true;
	more = reallocarray(k->cases, cap, sizeof(*more));
	if (!more)
		return false;
	k->cases = more;
	k->cap_cases = cap;
	return true;
}

/* @note: what its own line says besides the name, or "" */
static void add_case(struct ktap *k, enum ktap_verdict verdict, const char *name, const char *note)
{
	const bool bad = verdict == KTAP_FAILED || verdict == KTAP_BROKEN;
	char why[KTAP_WHY_BYTES + KTAP_LINE_BYTES];
	struct ktap_case *c;

	k->count[verdict]++;
	if ((!k->all && !bad) || !make_room(k))
		return;
	snprintf(why, sizeof(why), "%s%s%.*s", note, *note && bad && k->n_before ? "\n" : "",
		 bad ? (int)k->n_before : 0, k->before);
	c = &k->cases[k->n_cases];
	*c = (struct ktap_case){ .verdict = verdict, .name = keep(k, name, KTAP_NAME_BYTES) };
	if (!c->name)
		return;
	k->kept_bytes += sizeof(*c);
	k->n_cases++;
	if (*why)
		c->why = keep(k, why, sizeof(why));
}

/* They turn out to be in something of this name. */
static void put_into(struct ktap *k, size_t first, const char *name)
{
	char suite[KTAP_NAME_BYTES];

	for (size_t i = first; *name && i < k->n_cases; i++) {
		struct ktap_case *c = &k->cases[i];
		char *copy;

		/* What does not fit any more is the inner end. */
		snprintf(suite, sizeof(suite), "%s%s%s", name, c->suite ? "." : "", c->suite ? c->suite : "");
		copy = keep(k, suite, sizeof(suite));
		if (!copy)
			continue;
		if (c->suite)
			k->kept_bytes -= strlen(c->suite) + 1;
		free(c->suite);
		c->suite = copy;
	}
}

/* The newest lines of what is passed over stay. */
static void note_line(struct ktap *k, const char *line)
{
	size_t len = strlen(line) + 1; /* with its newline */

	while (k->n_before && k->n_before + len > sizeof(k->before)) {
		const char *end = memchr(k->before, '\n', k->n_before);
		size_t gone = end ? (size_t)(end - k->before) + 1 : k->n_before;

		memmove(k->before, k->before + gone, k->n_before - gone);
		k->n_before -= gone;
	}
	memcpy(k->before + k->n_before, line, len - 1);
	k->before[k->n_before + len - 1] = '\n';
	k->n_before += len;
}

/* ---- levels ---- */

static void check_plan(struct ktap *k, const struct level *level)
{
	char note[96];

	if (!level->planned || level->plan == level->results)
		return;
	snprintf(note, sizeof(note), "plan 1..%lu, but %lu results", level->plan, level->results);
	add_case(k, KTAP_BROKEN, "(plan)", note);
}

/* @name: what its own result calls it, "" if there is none. Return: it has failed, and that was counted */
static bool close_level(struct ktap *k, const char *name)
{
	struct level *level = &k->level[k->depth - 1];
	const unsigned long broken = k->count[KTAP_BROKEN];
	bool failed;

	check_plan(k, level);
	failed = level->failed || k->count[KTAP_BROKEN] != broken;
	put_into(k, level->first_case, *level->name ? level->name : name);
	if (--k->depth)
		k->level[k->depth - 1].failed |= failed;
	return failed;
}

static void close_from(struct ktap *k, size_t column)
{
	while (k->depth && k->level[k->depth - 1].column >= column)
		close_level(k, "");
}

static void open_level(struct ktap *k, size_t column)
{
	close_from(k, column);
	if (k->depth == KTAP_DEPTH)
		return; /* what is in there is passed over; its own result counts */
	k->seen = true;
	k->level[k->depth++] = (struct level){ .column = column, .first_case = k->n_cases };
	k->n_before = 0;
}

static struct level *find_level(struct ktap *k, size_t column)
{
	for (unsigned i = k->depth; i > 0; i--)
		if (k->level[i - 1].column == column)
			return &k->level[i - 1];
	return NULL;
}

static struct level *top_level(struct ktap *k)
{
	return k->depth ? &k->level[k->depth - 1] : NULL;
}

/* ---- lines ---- */

static const char *behind(const char *s, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(s, prefix, len) ? NULL : s + len;
}

static const char *skip_blanks(const char *s)
{
	return s + strspn(s, " ");
}

static bool is_version(const char *text)
{
	const char *s = behind(text, "KTAP version ");

	if (!s)
		s = behind(text, "TAP version ");
	return s && strspn(s, "0123456789") && !*skip_blanks(s + strspn(s, "0123456789"));
}

/* "1..N", and perhaps "# SKIP why". Return: what is behind N, or NULL: it is none */
static const char *read_plan(const char *text, unsigned long *ret)
{
	const char *s = behind(text, "1..");
	char *end;

	if (!s || *s < '0' || *s > '9')
		return NULL;
	*ret = strtoul(s, &end, 10);
	end += strspn(end, " ");
	return *ret <= PLAN_MOST && (!*end || *end == '#') ? end : NULL;
}

struct outcome {
	bool ok;
	char name[KTAP_LINE_BYTES];
	const char *directive; /* into the line: what is behind the "#", or "" */
};

/* "SKIP why", "skip: why", "TIMEOUT 45 seconds", "exit=1". Return: what is behind @word, or NULL: it is not that */
static const char *is_directive(const char *s, const char *word)
{
	size_t len = strlen(word);

	if (strncasecmp(s, word, len) || (word[len - 1] != '=' && s[len] && !strchr(" :", s[len])))
		return NULL;
	return s + len + strspn(s + len, " :");
}

static bool any_directive(const char *s)
{
	static const char *const words[] = { "SKIP", "TODO", "XFAIL", "XPASS", "TIMEOUT", "ERROR", "exit=", NULL };

	for (const char *const *word = words; *word; word++)
		if (is_directive(s, *word))
			return true;
	return false;
}

/* A "#" without one of these words behind it belongs to the name. */
static void split_name(struct outcome *o, const char *text)
{
	size_t len = strlen(text);

	o->directive = "";
	for (const char *s = strchr(text, '#'); s; s = strchr(s + 1, '#')) {
		if ((s > text && s[-1] != ' ') || !any_directive(skip_blanks(s + 1)))
			continue;
		o->directive = skip_blanks(s + 1);
		len = (size_t)(s - text);
		break;
	}
	while (len && text[len - 1] == ' ')
		len--;
	snprintf(o->name, sizeof(o->name), "%.*s", (int)len, text);
}

/* "ok 1 name", "not ok 2 - name # SKIP why" */
static bool read_result(const char *text, struct outcome *ret)
{
	const char *bad = behind(text, "not "), *number = behind(bad ? bad : text, "ok "), *s;
	size_t digits;

	if (!number)
		return false;
	number = skip_blanks(number);
	digits = strspn(number, "0123456789");
	if (!digits || (number[digits] && number[digits] != ' '))
		return false;
	ret->ok = !bad;
	s = skip_blanks(number + digits);
	if (*s == '-' && (!s[1] || s[1] == ' '))
		s = skip_blanks(s + 1);
	split_name(ret, s);
	/* kselftest.h: "ok 3 # SKIP name" */
	if (!*ret->name && is_directive(ret->directive, "SKIP"))
		snprintf(ret->name, sizeof(ret->name), "%s", is_directive(ret->directive, "SKIP"));
	if (!*ret->name)
		snprintf(ret->name, sizeof(ret->name), "%.*s", (int)digits, number);
	return true;
}

static enum ktap_verdict judge(const struct outcome *o)
{
	if (is_directive(o->directive, "SKIP"))
		return KTAP_SKIPPED;
	if (o->ok)
		return KTAP_PASSED;
	return is_directive(o->directive, "TODO") || is_directive(o->directive, "XFAIL") ? KTAP_TODO : KTAP_FAILED;
}

/* ---- what a line does ---- */

static void take_plan(struct ktap *k, struct level *level, unsigned long plan, const char *rest)
{
	if (level->planned)
		return;
	level->planned = true;
	level->plan = plan;
	if (!plan && *rest)
		add_case(k, KTAP_SKIPPED, "(all)", rest + 1 + strspn(rest + 1, " "));
}

/*
 * A suite of a module has no level around it: its result stands to the left of all that are open. What has
 * subtests fails by itself only if none of them did.
 */
static void take_result(struct ktap *k, size_t column, const struct outcome *o)
{
	enum ktap_verdict verdict = judge(o);
	bool has_tests = false, counted = false;
	struct level *level;

	while (k->depth && top_level(k)->column > column) {
		const bool outermost = k->depth == 1 || k->level[k->depth - 2].column <= column;

		has_tests |= top_level(k)->results > 0;
		counted |= close_level(k, outermost ? o->name : "");
	}
	level = top_level(k);
	if (level && level->column == column) {
		level->results++;
		level->failed |= verdict == KTAP_FAILED;
	}
	if (!has_tests || (verdict == KTAP_FAILED && !counted))
		add_case(k, verdict, o->name, o->directive);
	k->n_before = 0;
}

/* Return: false: it is passed over */
static bool take_subtest(struct ktap *k, size_t column, const char *name)
{
	struct level *top = top_level(k);

	if (!top && !column)
		return false;
	if (!top || top->column != column || top->results || *top->name)
		open_level(k, column);
	top = top_level(k);
	if (top && top->column == column)
		snprintf(top->name, sizeof(top->name), "%.*s", (int)sizeof(top->name) - 1, name);
	return true;
}

static void bail_out(struct ktap *k, const char *why)
{
	add_case(k, KTAP_BROKEN, "Bail out!", why + strspn(why, " "));
	while (k->depth) {
		top_level(k)->planned = false;
		top_level(k)->failed = true;
		close_level(k, "");
	}
}

/* @quoted: it stood behind "# ", which is a comment unless a level has begun so. */
static bool take_text(struct ktap *k, size_t column, const char *text, bool quoted)
{
	struct level *level = find_level(k, column);
	unsigned long plan;
	struct outcome o;
	const char *s;

	if (is_version(text)) {
		open_level(k, column);
		return true;
	}
	if (!quoted && (s = behind(text, "# Subtest: ")))
		return take_subtest(k, column, s);
	if (!k->depth || (quoted && !level))
		return false;
	if ((s = behind(text, "Bail out!"))) {
		bail_out(k, s);
		return true;
	}
	if ((s = read_plan(text, &plan))) {
		if (!level && column > top_level(k)->column)
			open_level(k, column);
		else if (level)
			close_from(k, column + 1);
		if (top_level(k) && top_level(k)->column == column)
			take_plan(k, top_level(k), plan, s);
		return true;
	}
	if (!read_result(text, &o) || (!level && column >= k->level[0].column))
		return false;
	take_result(k, column, &o);
	return true;
}

/* kselftest's runner puts "# " in front of what a test prints, and a test of tests does it again. */
static void take_line(struct ktap *k, const char *line)
{
	const char *text = skip_blanks(line);
	bool taken = take_text(k, (size_t)(text - line), text, false);

	while (!taken && behind(text, "# ")) {
		text = skip_blanks(text + 2);
		taken = take_text(k, (size_t)(text - line), text, true);
	}
	if (!taken && k->depth)
		note_line(k, line);
}

static void end_line(struct ktap *k)
{
	if (k->len && k->line[k->len - 1] == '\r')
		k->len--;
	k->line[k->len] = '\0';
	take_line(k, k->line);
	k->len = 0;
}

void ktap_feed(struct ktap *k, const void *bytes, size_t len)
{
	const char *s = bytes;

	for (size_t i = 0; i < len; i++) {
		if (s[i] == '\n')
			end_line(k);
		else if (k->len < sizeof(k->line) - 1)
			k->line[k->len++] = s[i] ? s[i] : '?';
	}
}

void ktap_end(struct ktap *k)
{
	if (k->len)
		end_line(k);
	close_from(k, 0);
}

/* ---- what came of it ---- */

bool ktap_seen(const struct ktap *k)
{
	return k->seen;
}

unsigned long ktap_count(const struct ktap *k, enum ktap_verdict verdict)
{
	return k->count[verdict];
}

const struct ktap_case *ktap_case(const struct ktap *k, size_t i)
{
	return i < k->n_cases ? &k->cases[i] : NULL;
}

int ktap_new(bool all, struct ktap **ret)
{
	struct ktap *k = calloc(1, sizeof(*k));

	if (!k)
		return -ENOMEM;
	k->all = all;
	*ret = k;
	return 0;
}

void ktap_free(struct ktap *k)
{
	if (!k)
		return;
	for (size_t i = 0; i < k->n_cases; i++) {
		free(k->cases[i].suite);
		free(k->cases[i].name);
		free(k->cases[i].why);
	}
	free(k->cases);
	free(k);
}
