/*
 * A window into files saved, and filled again elsewhere; see window.h. What is mapped of a file that is not
 * there any more is zeros, as with one that was cut short.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/state.h"
#include "window.h"

#define UNITS 256

struct units_state {
	uint32_t n, last; /* there are no more of these records */
	uint64_t at[UNITS], node[UNITS], off[UNITS];
	uint32_t bytes[UNITS];
	uint8_t writable[UNITS];
};

static const struct state_field fields[] = {
	STATE_ONE(struct units_state, n, .max = UNITS),
	STATE_ONE(struct units_state, last, .max = 1),
	STATE_SOME(struct units_state, at, n, .max = FS_WINDOW_MOST),
	STATE_SOME(struct units_state, node, n),
	STATE_SOME(struct units_state, off, n, .max = INT64_MAX),
	STATE_SOME(struct units_state, bytes, n, .max = WINDOW_UNIT),
	STATE_SOME(struct units_state, writable, n, .max = 1),
};

const struct state_type window_state_type = { STATE_TYPE("folder-window", 1, struct units_state, fields) };

struct saving {
	struct state_buf *buf;
	struct units_state st;
};

static int note(void *arg, uint64_t at, uint32_t bytes, const struct window_file *file)
{
	struct saving *s = arg;
	unsigned i;
	int err = 0;

	if (s->st.n == UNITS) {
		err = state_pack(s->buf, &window_state_type, &s->st);
		s->st.n = 0;
	}
	i = s->st.n++;
	s->st.at[i] = at;
	s->st.bytes[i] = bytes;
	s->st.node[i] = file->node;
	s->st.off[i] = file->off;
	s->st.writable[i] = file->writable;
	return err;
}

int window_save(struct window *w, struct state_buf *buf)
{
	struct saving *s = calloc(1, sizeof(*s));
	int err = s ? 0 : -ENOMEM;

	if (!err) {
		s->buf = buf;
		err = window_each(w, note, s);
	}
	if (!err) {
		s->st.last = 1;
		err = state_pack(buf, &window_state_type, &s->st);
	}
	free(s);
	return err;
}

static int load_one(struct window *w, const struct units_state *st, unsigned i,
		    int (*open)(void *arg, const struct window_file *file), void (*close)(void *arg, int fd), void *arg)
{
	struct window_file file = { .node = st->node[i], .off = st->off[i], .writable = st->writable[i] };
	int err;

	file.fd = open(arg, &file);
	err = window_map(w, st->at[i], st->bytes[i], &file);
	if (file.fd >= 0)
		close(arg, file.fd);
	return err;
}

int window_load(struct window *w, struct state_reader *in, int (*open)(void *arg, const struct window_file *file),
		void (*close)(void *arg, int fd), void *arg)
{
	struct units_state *st = calloc(1, sizeof(*st));
	int err = st ? 0 : -ENOMEM;

	while (!err && !st->last) {
		err = state_unpack(in, &window_state_type, st);
		for (unsigned i = 0; !err && i < st->n; i++) {
			err = load_one(w, st, i, open, close, arg);
			if (err)
				state_refuse(in, err, "folder-window: a file cannot be mapped: %s", strerror(-err));
		}
	}
	free(st);
	return err;
}
