/*
 * The trie of an index; see lkvm/vm/kmod-index.h. Of the keys "ask", "ate", "on", "once":
 *
 *	root -a-> node -s-> "k" *            *: has values
 *	     |         `-t-> "e" *           "k": all that its keys have in common from there on
 *	     `-o-> "n" * -c-> "e" *
 *
 * In the file: magic, version, where the root is, then nodes. All numbers are 32 bits, big-endian. The
 * four highest bits of where a node is say what it has, in this order: PREFIX, a string; CHILDREN, the first
 * character, the last one, where each between them is; VALUES, how many, of each its priority and a string.
 * Spec: kmod, libkmod/libkmod-index.c
 */
#include "lkvm/vm/kmod-index.h"

#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC    0xb007f457
#define VERSION  0x00020001
#define PREFIX   0x80000000
#define VALUES   0x40000000
#define CHILDREN 0x20000000

#define FILE_MOST 0x0fffffff
#define KEY_MOST  1023

struct kmod_index_line {
	char *key, *value; /* one piece of memory */
	uint32_t priority;
};

/* Of the lines [lo, hi) the first @depth characters are equal, and lead to a node. */
struct node {
	size_t lo, hi, depth;
	size_t link; /* where its place is to be written */
};

struct writer {
	const struct kmod_index_line *lines;
	struct node *nodes; /* those to be written, from the root on */
	size_t n_nodes;
	char *bytes;
	size_t len, cap;
	int err;
};

int kmod_index_add(struct kmod_index *ix, const char *key, const char *value)
{
	const size_t len = strnlen(key, KEY_MOST + 1);
	char *copy;

	for (size_t i = 0; i < len; i++)
		if (key[i] <= ' ' || key[i] > '~')
			return -EINVAL;
	if (!len || len > KEY_MOST)
		return -EINVAL;
	if (ix->n == ix->cap) {
		size_t cap = ix->cap ? 2 * ix->cap : 256;
		struct kmod_index_line *more = reallocarray(ix->lines, cap, sizeof(*more));

		if (!more)
			return -ENOMEM;
		ix->lines = more;
		ix->cap = cap;
	}
	copy = malloc(len + 1 + strlen(value) + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, key, len + 1);
	strcpy(copy + len + 1, value);
	ix->lines[ix->n] = (struct kmod_index_line){ copy, copy + len + 1, (uint32_t)ix->n };
	ix->n++;
	return 0;
}

void kmod_index_free(struct kmod_index *ix)
{
	for (size_t i = 0; i < ix->n; i++)
		free(ix->lines[i].key);
	free(ix->lines);
	*ix = (struct kmod_index){ 0 };
}

/* ---- the file ---- */

static void put(struct writer *w, const void *bytes, size_t len)
{
	if (!w->err && len > FILE_MOST - w->len)
		w->err = -EFBIG;
	if (w->err)
		return;
	if (len > w->cap - w->len) {
		size_t cap = 2 * (w->len + len);
		char *more = realloc(w->bytes, cap);

		if (!more) {
			w->err = -ENOMEM;
			return;
		}
		w->bytes = more;
		w->cap = cap;
	}
	memcpy(w->bytes + w->len, bytes, len);
	w->len += len;
}

static void put_number(struct writer *w, uint32_t n)
{
	n = htobe32(n);
	put(w, &n, sizeof(n));
}

static size_t shared(const struct kmod_index_line *a, const struct kmod_index_line *b, size_t from)
{
	size_t n = from;

	while (a->key[n] && a->key[n] == b->key[n])
		n++;
	return n;
}

/* Their nodes are written later, and what leads there then. */
static void put_children(struct writer *w, size_t lo, size_t hi, size_t depth)
{
	const char first = w->lines[lo].key[depth], last = w->lines[hi - 1].key[depth];
	size_t from = lo;

	put(w, &first, 1);
	put(w, &last, 1);
	for (char c = first; c <= last; c++) {
		size_t to = from;

		while (to < hi && w->lines[to].key[depth] == c)
			to++;
		if (to > from)
			w->nodes[w->n_nodes++] = (struct node){ from, to, depth + 1, w->len };
		put_number(w, 0);
		from = to;
	}
}

static void put_values(struct writer *w, size_t lo, size_t hi)
{
	put_number(w, (uint32_t)(hi - lo));
	for (size_t i = lo; i < hi; i++) {
		put_number(w, w->lines[i].priority);
		put(w, w->lines[i].value, strlen(w->lines[i].value) + 1);
	}
}

static void put_node(struct writer *w, const struct node *node)
{
	const size_t common = shared(&w->lines[node->lo], &w->lines[node->hi - 1], node->depth);
	uint32_t place = (uint32_t)w->len;
	size_t ended = node->lo; /* behind the lines whose key ends here: the first ones */

	while (ended < node->hi && !w->lines[ended].key[common])
		ended++;
	if (common > node->depth) {
		place |= PREFIX;
		put(w, w->lines[node->lo].key + node->depth, common - node->depth);
		put(w, "", 1);
	}
	if (ended < node->hi) {
		place |= CHILDREN;
		put_children(w, ended, node->hi, common);
	}
	if (ended > node->lo) {
		place |= VALUES;
		put_values(w, node->lo, ended);
	}
	place = htobe32(place);
	if (!w->err)
		memcpy(w->bytes + node->link, &place, sizeof(place));
}

static int by_key(const void *a, const void *b)
{
	const struct kmod_index_line *x = a, *y = b;
	int order = strcmp(x->key, y->key);

	return order ? order : x->priority < y->priority ? -1 : 1;
}

/* @nodes: room for all */
static int put_all(struct writer *w, struct node *nodes, size_t n)
{
	w->nodes = nodes;
	put_number(w, MAGIC);
	put_number(w, VERSION);
	put_number(w, (uint32_t)(w->len + sizeof(uint32_t))); /* an empty root */
	if (n)
		w->nodes[w->n_nodes++] = (struct node){ .hi = n, .link = w->len - sizeof(uint32_t) };
	for (size_t i = 0; !w->err && i < w->n_nodes; i++)
		put_node(w, &w->nodes[i]);
	return w->err;
}

int kmod_index_write(struct kmod_index *ix, char **ret, size_t *ret_len)
{
	/* Each has a value, or more than one child. */
	struct node *nodes = calloc(2 * ix->n + 1, sizeof(*nodes));
	struct writer w = { .lines = ix->lines };
	int err;

	if (ix->n)
		qsort(ix->lines, ix->n, sizeof(*ix->lines), by_key);
	err = nodes ? put_all(&w, nodes, ix->n) : -ENOMEM;
	free(nodes);
	if (err) {
		free(w.bytes);
		return err;
	}
	*ret = w.bytes;
	*ret_len = w.len;
	return 0;
}
