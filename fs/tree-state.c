/*
 * A tree saved, and found again elsewhere; see tree.h.
 *
 * Each node is saved with the path that leads to its file from the folder, and what tells the file from
 * another one: type, number, birth. Where that leads to this file again, the node is as it was. Else it is
 * lost: it is there until it is forgotten, and every use of it is -ESTALE. So are files that had no name
 * any more. Mounts have other numbers elsewhere, and devices may: of those it is only known that a file was
 * on that of the folder itself.
 *
 *	folder-tree	how many nodes, and the folder itself
 *	folder-files	some of the nodes, by their path; as often as there are more
 */
#include "tree-internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lkvm/fs.h"
#include "lkvm/log.h"
#include "lkvm/state.h"

#define FILES      128
#define TEXT_BYTES 16384
#define FORMATS    (S_IFMT >> 12)

_Static_assert(TEXT_BYTES >= PATH_MAX, "each path has room");

/* ---- what is saved ---- */

struct head_state {
	uint64_t next_id, files, ino, born_s;
	uint64_t born_ns;
};

static const struct state_field head_fields[] = {
	STATE_ONE(struct head_state, next_id),
	STATE_ONE(struct head_state, files, .max = TREE_MOST_NODES),
	STATE_ONE(struct head_state, ino),
	STATE_ONE(struct head_state, born_s),
	STATE_ONE(struct head_state, born_ns, .max = 999999999),
};

const struct state_type tree_head_type = { STATE_TYPE("folder-tree", 1, struct head_state, head_fields) };

struct files_state {
	uint32_t n, text_n;
	uint64_t id[FILES], lookups[FILES];
	uint64_t ino[FILES], born_s[FILES];
	uint64_t dev[FILES]; /* 0: that of the folder */
	uint32_t born_ns[FILES];
	uint16_t path_n[FILES]; /* 0: it has none */
	uint8_t format[FILES];  /* of the mode */
	uint8_t made[FILES];    /* the path is the name of one of struct fs_made */
	uint8_t text[TEXT_BYTES];
};

static const struct state_field files_fields[] = {
	STATE_ONE(struct files_state, n, .max = FILES),
	STATE_ONE(struct files_state, text_n, .max = TEXT_BYTES),
	STATE_SOME(struct files_state, id, n),
	STATE_SOME(struct files_state, lookups, n),
	STATE_SOME(struct files_state, ino, n),
	STATE_SOME(struct files_state, born_s, n),
	STATE_SOME(struct files_state, dev, n),
	STATE_SOME(struct files_state, born_ns, n, .max = 999999999),
	STATE_SOME(struct files_state, path_n, n, .max = PATH_MAX - 1),
	STATE_SOME(struct files_state, format, n, .max = FORMATS),
	STATE_SOME(struct files_state, made, n, .max = 1),
	STATE_SOME(struct files_state, text, text_n),
};

/* Names with one slash between each two of them */
static bool is_path(const char *path, size_t len, bool one_name)
{
	char name[NAME_MAX + 1];

	for (;;) {
		const char *slash = memchr(path, '/', len);
		const size_t bytes = slash ? (size_t)(slash - path) : len;

		if (bytes > NAME_MAX || memchr(path, 0, bytes))
			return false;
		memcpy(name, path, bytes);
		name[bytes] = '\0';
		if (!tree_name_ok(name))
			return false;
		if (!slash)
			return true;
		if (one_name)
			return false;
		path += bytes + 1;
		len -= bytes + 1;
	}
}

static bool is_format(unsigned format)
{
	const mode_t mode = (mode_t)format << 12;

	return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) || S_ISFIFO(mode) || S_ISSOCK(mode) ||
	       S_ISCHR(mode) || S_ISBLK(mode);
}

static const char *files_check(const void *state)
{
	const struct files_state *st = state;
	size_t at = 0;

	for (unsigned i = 0; i < st->n; i++) {
		if (st->id[i] <= TREE_ROOT)
			return "id";
		if (!is_format(st->format[i]))
			return "format";
		if (st->path_n[i] > st->text_n - at)
			return "path_n";
		if (st->path_n[i] && !is_path((const char *)st->text + at, st->path_n[i], st->made[i]))
			return "text";
		at += st->path_n[i];
	}
	return at == st->text_n && st->n ? NULL : "text_n";
}

const struct state_type tree_files_type = {
	STATE_TYPE("folder-files", 1, struct files_state, files_fields),
	.check = files_check,
};

/* ---- save: where the files are ---- */

/* One of them. */
struct found {
	const struct node *n;
	char *path; /* from the folder; "": there is none */
};

/* From @dir down, and never out of it. @path: "": itself; Return: O_PATH, not counted; or -errno */
static int open_below(int dir, const char *path)
{
	return *path ? tree_open_beneath(dir, path) : fcntl(dir, F_DUPFD_CLOEXEC, 0);
}

/* Is that the file behind @fd? A name may end with what the host says of files that are deleted. */
static bool leads_to(const struct tree *t, const char *path, int fd)
{
	struct statx a, b;
	int again = open_below(t->root->fd, path);
	bool is;

	if (again < 0)
		return false;
	is = !tree_stat_fd(again, &a) && !tree_stat_fd(fd, &b) && a.stx_ino == b.stx_ino &&
	     a.stx_dev_major == b.stx_dev_major && a.stx_dev_minor == b.stx_dev_minor;
	close(again);
	return is;
}

/* As far as @ret has room: @bytes. Return: false: it does not lead into a folder of that path */
static bool path_of_fd(const struct tree *t, int fd, char *ret, size_t bytes)
{
	char root[PATH_MAX], path[PATH_MAX];
	ssize_t n_root = readlink(tree_proc(t->root->fd).text, root, sizeof(root));
	ssize_t n = readlink(tree_proc(fd).text, path, sizeof(path));

	if (n_root <= 0 || n <= 0 || n_root == sizeof(root) || n == sizeof(path) || *path != '/')
		return false;
	path[n] = '\0';
	if (n_root == 1)
		n_root = 0; /* "/" */
	if (n <= n_root || memcmp(path, root, (size_t)n_root) != 0 || path[n_root] != '/' ||
	    (size_t)(n - n_root) > bytes)
		return false;
	memcpy(ret, path + n_root + 1, (size_t)(n - n_root));
	return leads_to(t, ret, fd);
}

static int open_if_it_was(const struct node *n)
{
	return n->fd < 0 && n->handle ? tree_open_handle(n) : n->fd;
}

/* Where the host says that it is. Return: false: it is not open, or not there */
static bool path_of_open(const struct tree *t, const struct node *n, char *ret, size_t bytes)
{
	const int fd = open_if_it_was(n);
	const bool ok = fd >= 0 && path_of_fd(t, fd, ret, bytes);

	if (fd >= 0 && fd != n->fd)
		close(fd);
	return ok;
}

/* By the names that the guest has used, from where the host says that a folder is. Return: as above */
static bool path_by_names(const struct tree *t, const struct node *n, char *ret, size_t bytes)
{
	char head[PATH_MAX] = "", tail[PATH_MAX];
	size_t at = sizeof(tail) - 1;
	unsigned depth = 0;

	tail[at] = '\0';
	do {
		const size_t len = n->parent ? strlen(n->name) + 1 : 0;

		if (!len || ++depth > TREE_DEPTH || len > at)
			return false;
		at -= len;
		tail[at] = '/';
		memcpy(tail + at + 1, n->name, len - 1);
		n = n->parent;
	} while (n != t->root && !path_of_open(t, n, head, sizeof(head)));
	return (size_t)snprintf(ret, bytes, "%s%s", head, tail + at + !*head) < bytes;
}

/*
 * By the last name that the guest has given it, or else where it was moved to. Of a file that has lost that name, and
 * has another one, nobody knows the way. Return: heap; "": it has none
 */
static char *path_of(const struct tree *t, const struct node *n)
{
	const int fd = open_if_it_was(n);
	char path[PATH_MAX];
	bool ok = path_by_names(t, n, path, sizeof(path));

	if (ok && fd >= 0)
		ok = leads_to(t, path, fd);
	if (!ok && fd >= 0)
		ok = path_of_fd(t, fd, path, sizeof(path));
	if (fd >= 0 && fd != n->fd)
		close(fd);
	return strdup(ok ? path : "");
}

static int compare(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	const int paths = strcmp(x->path, y->path);

	return paths ? paths : x->n->id < y->n->id ? -1 : 1;
}

/* All but the folder itself, folders before what is in them. @ret: has room for all; Return: 0 or -ENOMEM */
static int find_all(const struct tree *t, struct found *ret)
{
	unsigned n = 0;

	for (size_t i = 0; i < t->n_buckets; i++)
		for (const struct node *node = t->by_id[i]; node; node = node->next_id) {
			if (node == t->root)
				continue;
			ret[n].n = node;
			ret[n].path = node->made ? strdup(node->name) : path_of(t, node);
			if (!ret[n++].path)
				return -ENOMEM;
		}
	qsort(ret, n, sizeof(*ret), compare);
	return 0;
}

static void note(const struct tree *t, const struct found *f, struct files_state *st)
{
	const struct node *n = f->n;
	const unsigned i = st->n++;

	st->id[i] = n->id;
	st->lookups[i] = n->lookups;
	st->ino[i] = n->key.ino;
	st->dev[i] = n->key.dev == t->root->key.dev ? 0 : n->key.dev;
	st->born_s[i] = (uint64_t)n->born.tv_sec;
	st->born_ns[i] = n->born.tv_nsec;
	st->format[i] = (uint8_t)(n->type >> 12);
	st->made[i] = n->made;
	st->path_n[i] = (uint16_t)strlen(f->path);
	memcpy(st->text + st->text_n, f->path, st->path_n[i]);
	st->text_n += st->path_n[i];
}

static int save_files(const struct tree *t, const struct found *all, unsigned n, struct state_buf *buf)
{
	struct files_state *st = calloc(1, sizeof(*st));
	int err = st ? 0 : -ENOMEM;

	for (unsigned i = 0; !err && i < n;) {
		memset(st, 0, sizeof(*st));
		for (; i < n && st->n < FILES && strlen(all[i].path) <= TEXT_BYTES - st->text_n; i++)
			note(t, &all[i], st);
		err = state_pack(buf, &tree_files_type, st);
	}
	free(st);
	return err;
}

int tree_save(struct tree *t, struct state_buf *buf)
{
	const unsigned n = t->n_nodes - 1;
	const struct head_state head = {
		.next_id = t->next_id,
		.files = n,
		.ino = t->root->key.ino,
		.born_s = (uint64_t)t->root->born.tv_sec,
		.born_ns = t->root->born.tv_nsec,
	};
	struct found *all = calloc(n + 1, sizeof(*all));
	int err = all ? find_all(t, all) : -ENOMEM;

	if (!err)
		err = state_pack(buf, &tree_head_type, &head);
	if (!err)
		err = save_files(t, all, n, buf);
	for (unsigned i = 0; all && i < n; i++)
		free(all[i].path);
	free(all);
	return err;
}

/* ---- load: what is there now ---- */

/* The folder that was looked at last: most files are in the same as the one before. */
struct cursor {
	char path[PATH_MAX];
	int fd;
	struct node *node; /* NULL: it is none */
};

static int cursor_move(struct tree *t, struct cursor *c, const char *path, size_t len)
{
	struct tree_key key;
	struct statx st;
	int err;

	if (c->fd >= 0 && strlen(c->path) == len && !memcmp(c->path, path, len))
		return 0;
	if (c->fd >= 0)
		close(c->fd);
	memcpy(c->path, path, len);
	c->path[len] = '\0';
	c->fd = open_below(t->root->fd, c->path);
	if (c->fd < 0)
		return c->fd;
	err = tree_stat_fd(c->fd, &st);
	if (err)
		return err;
	key = tree_key_of(&st);
	c->node = S_ISDIR(st.stx_mode) ? tree_find_key(t, &key) : NULL;
	return 0;
}

static bool is_same(const struct tree *t, const struct files_state *st, unsigned i, const struct statx *is)
{
	const struct tree_key key = tree_key_of(is);

	return key.ino == st->ino[i] && key.dev == (st->dev[i] ? st->dev[i] : t->root->key.dev) &&
	       (uint64_t)is->stx_btime.tv_sec == st->born_s[i] && is->stx_btime.tv_nsec == st->born_ns[i] &&
	       is->stx_mode >> 12 == st->format[i];
}

/* A node that was there, with a descriptor; made files are others each time. Return: O_PATH or not, counted */
static int open_made(struct tree *t, const char *name)
{
	int err = tree_fd_take(t), fd;

	if (err)
		return err;
	fd = t->made ? t->made->open(t->made->ctx, name) : -ESTALE;
	if (fd < 0)
		tree_fd_give(t);
	return fd;
}

/* If it is the file; else it stays lost. */
static void load_opened(struct tree *t, struct node *n, int fd, const struct files_state *st, unsigned i,
		       const struct tree_where *where)
{
	struct statx is;
	bool ok = !tree_stat_fd(fd, &is);

	ok = ok && (st->made[i] ? S_ISREG(is.stx_mode) : is_same(t, st, i, &is));
	if (ok && tree_found(t, n, &is, fd, where))
		return;
	close(fd);
	tree_fd_give(t);
}

static int load_made(struct tree *t, struct node *n, const struct files_state *st, unsigned i, const char *name)
{
	const struct tree_where where = { NULL, name };
	int fd;

	n->made = true;
	n->name = strdup(name);
	if (!n->name)
		return -ENOMEM;
	fd = open_made(t, name);
	if (fd < 0)
		return fd == -ENFILE ? fd : 0;
	load_opened(t, n, fd, st, i, &where);
	return 0;
}

/* Return: 0, also if it is lost; -ENFILE, -ENOMEM; so does load_made() */
static int load_named(struct tree *t, struct node *n, const struct files_state *st, unsigned i,
		      struct cursor *c, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	int fd = cursor_move(t, c, path, slash ? (size_t)(slash - path) : 0);
	struct tree_where where;
	struct statx is;

	if (fd == -ENFILE || fd == -EMFILE)
		return -ENFILE;
	if (fd || statx(c->fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, TREE_STATX, &is) < 0 ||
	    !is_same(t, st, i, &is))
		return 0;
	where = (struct tree_where){ c->node, name };
	if (tree_found(t, n, &is, -1, &where))
		return 0;
	fd = tree_open_child(t, c->fd, name);
	if (fd >= 0)
		load_opened(t, n, fd, st, i, &where);
	return fd == -ENFILE ? fd : 0;
}

static int load_files(struct tree *t, const struct files_state *st, struct cursor *c)
{
	const char *at = (const char *)st->text;
	char path[PATH_MAX];
	int err = 0;

	for (unsigned i = 0; !err && i < st->n; i++) {
		struct node *n = tree_revive(t, st->id[i], st->lookups[i], (mode_t)st->format[i] << 12);

		if (!n)
			return -EINVAL;
		n->key.ino = st->ino[i];
		n->key.dev = st->dev[i] ? st->dev[i] : t->root->key.dev;
		n->born.tv_sec = (int64_t)st->born_s[i];
		n->born.tv_nsec = st->born_ns[i];
		memcpy(path, at, st->path_n[i]);
		path[st->path_n[i]] = '\0';
		at += st->path_n[i];
		if (st->made[i] && *path)
			err = load_made(t, n, st, i, path);
		else if (*path)
			err = load_named(t, n, st, i, c, path);
	}
	return err;
}

static bool is_same_root(const struct tree *t, const struct head_state *st)
{
	const struct node *root = t->root;

	return st->ino == root->key.ino && st->born_s == (uint64_t)root->born.tv_sec &&
	       st->born_ns == root->born.tv_nsec;
}

static int load_all(struct tree *t, struct state_reader *in, uint64_t files)
{
	struct files_state *st = calloc(1, sizeof(*st));
	struct cursor cursor = { .fd = -1 };
	int err = st ? 0 : -ENOMEM;

	while (!err && files) {
		err = state_unpack(in, &tree_files_type, st);
		if (!err && st->n > files)
			err = state_refuse(in, -ERANGE, "folder-files: more than there are");
		if (err)
			break;
		files -= st->n;
		err = load_files(t, st, &cursor);
		if (err)
			state_refuse(in, err, "folder-files: %s",
				     err == -EINVAL ? "a number is given twice, or too large" : strerror(-err));
	}
	if (cursor.fd >= 0)
		close(cursor.fd);
	free(st);
	return err;
}

int tree_load(struct tree *t, struct state_reader *in)
{
	struct head_state head;
	int err = state_unpack(in, &tree_head_type, &head);

	if (!err && head.next_id <= TREE_ROOT)
		err = state_refuse(in, -ERANGE, "folder-tree: field 'next_id' has a value that cannot be");
	if (err)
		return err;
	if (!is_same_root(t, &head))
		return state_refuse(in, -ESTALE, "folder '%.100s' is another one than when the guest was saved", t->path);
	t->next_id = head.next_id;
	return load_all(t, in, head.files);
}
