/*
 * The nodes of a tree: how they are found, how long they live. See tree.h.
 *
 * A node lives while it is looked up, in use, or the parent of another one.
 * More than 500 lines: who may free a node is decided in one file.
 */
#include "tree-internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lkvm/log.h"

#define FIRST_BUCKETS 1024

/* ---- buckets ---- */

static size_t bucket_of_id(const struct tree *t, uint64_t id)
{
	return (size_t)id & (t->n_buckets - 1);
}

static size_t bucket_of_key(const struct tree *t, const struct tree_key *key)
{
	uint64_t hash = (key->ino + key->dev * 31 + key->mount * 127) * 0x9e3779b97f4a7c15ULL;

	return (size_t)(hash >> 24) & (t->n_buckets - 1);
}

struct node *tree_find_id(const struct tree *t, uint64_t id)
{
	struct node *n = t->by_id[bucket_of_id(t, id)];

	while (n && n->id != id)
		n = n->next_id;
	return n;
}

struct node *tree_find_key(struct tree *t, const struct tree_key *key)
{
	struct node *n = t->by_key[bucket_of_key(t, key)];

	while (n && (n->key.ino != key->ino || n->key.dev != key->dev ||
		     n->key.mount != key->mount))
		n = n->next_key;
	return n;
}

struct tree_key tree_key_of(const struct statx *st)
{
	return (struct tree_key){
		.dev = makedev(st->stx_dev_major, st->stx_dev_minor),
		.ino = st->stx_ino,
		.mount = st->stx_mask & STATX_MNT_ID ? st->stx_mnt_id : 0,
	};
}

static void link_id(struct tree *t, struct node *n)
{
	struct node **bucket = &t->by_id[bucket_of_id(t, n->id)];

	n->next_id = *bucket;
	*bucket = n;
}

static void link_key(struct tree *t, struct node *n)
{
	struct node **bucket = &t->by_key[bucket_of_key(t, &n->key)];

	n->next_key = *bucket;
	*bucket = n;
	n->keyed = true;
}

static void unlink_id(struct tree *t, struct node *n)
{
	struct node **at = &t->by_id[bucket_of_id(t, n->id)];

	while (*at != n)
		at = &(*at)->next_id;
	*at = n->next_id;
}

void tree_cut(struct tree *t, struct node *n)
{
	struct node **at = &t->by_key[bucket_of_key(t, &n->key)];

	if (!n->keyed)
		return;
	while (*at != n)
		at = &(*at)->next_key;
	*at = n->next_key;
	n->keyed = false;
}

/* More nodes than buckets: twice as many. Without memory for that they are only slower. */
static void grow(struct tree *t)
{
	size_t n_old = t->n_buckets, n_new = n_old * 2;
	struct node **ids = calloc(n_new, sizeof(struct node *)), **keys = calloc(n_new, sizeof(struct node *));
	struct node **old_ids = t->by_id, **old_keys = t->by_key, *next;

	if (!ids || !keys) {
		free(ids);
		free(keys);
		return;
	}
	t->by_id = ids;
	t->by_key = keys;
	t->n_buckets = n_new;
	for (size_t i = 0; i < n_old; i++) {
		for (struct node *n = old_ids[i]; n; n = next) {
			next = n->next_id;
			link_id(t, n);
		}
		for (struct node *n = old_keys[i]; n; n = next) {
			next = n->next_key;
			link_key(t, n);
		}
	}
	free(old_ids);
	free(old_keys);
}

/* ---- life ---- */

static void lru_add(struct tree *t, struct node *n)
{
	n->newer = &t->lru;
	n->older = t->lru.older;
	n->older->newer = n;
	t->lru.older = n;
}

void tree_unlist(struct node *n)
{
	if (!n->newer)
		return;
	n->newer->older = n->older;
	n->older->newer = n->newer;
	n->newer = n->older = NULL;
}

/* Its descriptor is closed by tree_reap(): that may be what deletes a file, and take long. */
static void bury(struct tree *t, struct node *n)
{
	tree_unlist(n);
	tree_cut(t, n);
	unlink_id(t, n);
	t->n_nodes--;
	n->next_id = t->dead;
	t->dead = n;
}

/* Are the last ones gone that kept it? Then those that it kept may be, too. */
static void settle(struct tree *t, struct node *n)
{
	struct node *parent;

	while (n && !n->uses && !n->lookups && !n->children && n != t->root) {
		parent = n->parent;
		bury(t, n);
		if (parent)
			parent->children--;
		n = parent;
	}
	if (n && !n->uses && !n->newer && n->fd >= 0 && !n->pinned)
		lru_add(t, n);
}

void tree_hold(struct node *n)
{
	n->uses++;
	tree_unlist(n);
}

void tree_drop(struct tree *t, struct node *n)
{
	n->uses--;
	settle(t, n);
}

/* The host may have moved folders, so that what was above is now below. */
static bool is_above(const struct node *n, const struct node *dir)
{
	unsigned depth = 0;

	while (dir && dir != n && depth++ < TREE_DEPTH)
		dir = dir->parent;
	return dir;
}

/* Where there are handles, one is made when the descriptor is given up. */
bool tree_goes_by_name(const struct node *n)
{
	return !n->handle && (n->fd < 0 || n->mount->fd < 0);
}

void tree_place(struct tree *t, struct node *n, struct node *dir, const char *name)
{
	struct node *old = n->parent;
	char *copy;

	if (n == t->root || (old && old == dir && !strcmp(n->name, name)))
		return;
	copy = is_above(n, dir) ? NULL : strdup(name);
	if (!copy) {
		n->pinned |= tree_goes_by_name(n);
		return;
	}
	free(n->name);
	n->name = copy;
	n->parent = dir;
	dir->children++;
	if (old) {
		old->children--;
		settle(t, old);
	}
}

bool tree_same(const struct node *n, const struct statx *st)
{
	return n->type == (st->stx_mode & S_IFMT) && n->born.tv_sec == st->stx_btime.tv_sec &&
	       n->born.tv_nsec == st->stx_btime.tv_nsec;
}

static struct node *node_alloc(struct tree *t, uint64_t id, mode_t type, int fd)
{
	struct node *n = t->n_nodes < TREE_MOST_NODES ? calloc(1, sizeof(*n)) : NULL;

	if (!n)
		return NULL;
	n->id = id;
	n->type = type & S_IFMT;
	n->fd = fd;
	t->n_nodes++;
	if (t->n_nodes > t->n_buckets)
		grow(t);
	link_id(t, n);
	return n;
}

static struct node *node_new(struct tree *t, const struct statx *st, int fd)
{
	struct node *n = node_alloc(t, t->next_id, st->stx_mode, fd);

	if (!n)
		return NULL;
	t->next_id++;
	n->key = tree_key_of(st);
	n->born = st->stx_btime;
	link_key(t, n);
	return n;
}

/* Another name for what is known, or the file of a node that had lost its descriptor? */
static struct node *known(struct tree *t, const struct statx *st, int fd)
{
	struct tree_key key = tree_key_of(st);
	struct node *n = tree_find_key(t, &key);

	if (!n || n->fd >= 0)
		return n;
	if (tree_same(n, st) && tree_same_handle(n, fd))
		return n;
	tree_cut(t, n);
	return NULL;
}

/*
 * A file that has its descriptor is the one that is found by its key. Without one, its birth must tell it
 * from another with the same number. Return: NULL: that cannot be known
 */
static struct node *known_by_stat(struct tree *t, const struct statx *st)
{
	struct tree_key key = tree_key_of(st);
	struct node *n = tree_find_key(t, &key);

	if (n && n->fd < 0 && (!(st->stx_mask & STATX_BTIME) || !tree_same(n, st)))
		return NULL;
	return n;
}

/* What has to be opened only if it is used. */
static bool may_be_unopened(const struct statx *st)
{
	const mode_t type = st->stx_mode & S_IFMT;

	return st->stx_mask & STATX_BTIME && (type == S_IFREG || type == S_IFDIR || type == S_IFLNK);
}

/*
 * One that is not opened before it has to be. What is neither a file, a folder nor a link is only ever
 * asked about: it is better opened while it is there.
 */
static struct node *unopened_new(struct tree *t, struct node *dir, const char *name, const struct statx *st)
{
	const struct tree_key key = tree_key_of(st);
	const struct tree_mount *mount = tree_find_mount(t, key.mount);
	struct node *n = NULL;

	if (mount && may_be_unopened(st) && !tree_find_key(t, &key))
		n = node_new(t, st, -1);
	if (!n)
		return NULL;
	n->mount = mount;
	n->lookups = 1;
	tree_place(t, n, dir, name);
	if (n->parent)
		return n;
	n->lookups = 0; /* no memory */
	settle(t, n);
	return NULL;
}

bool tree_enter_seen(struct tree *t, struct node *dir, const char *name, struct tree_entry *ret)
{
	struct node *n;

	pthread_mutex_lock(&t->lock);
	n = known_by_stat(t, &ret->st);
	if (n) {
		n->lookups++;
		tree_hold(n);
		tree_place(t, n, dir, name);
		tree_drop(t, n);
	} else {
		n = unopened_new(t, dir, name, &ret->st);
	}
	if (n) {
		ret->id = n->id;
		ret->submount = n->mount != dir->mount;
	}
	pthread_mutex_unlock(&t->lock);
	return n;
}

static int enter_locked(struct tree *t, struct node *dir, const char *name, int *fd,
			struct tree_entry *ret)
{
	const struct tree_mount *mount = tree_mount_of(t, &ret->st, *fd);
	struct node *n;

	if (!mount)
		return -ENOMEM;
	n = known(t, &ret->st, *fd);
	if (!n) {
		n = node_new(t, &ret->st, *fd);
		if (!n)
			return -ENFILE;
		n->mount = mount;
		*fd = -1;
	} else if (n->fd < 0) {
		n->fd = *fd;
		*fd = -1;
	}
	n->lookups++;
	if (name)
		tree_place(t, n, dir, name);
	else if (mount->fd < 0 && !n->parent && n != t->root)
		n->pinned = true;
	tree_unlist(n);
	settle(t, n);
	ret->id = n->id;
	ret->submount = dir && dir->mount != mount;
	return 0;
}

int tree_enter(struct tree *t, struct node *dir, const char *name, int fd, struct tree_entry *ret)
{
	int err = tree_stat_fd(fd, &ret->st);

	pthread_mutex_lock(&t->lock);
	if (!err)
		err = enter_locked(t, dir, name, &fd, ret);
	if (fd >= 0)
		t->n_fds--;
	pthread_mutex_unlock(&t->lock);
	if (fd >= 0)
		close(fd);
	return err;
}

/* ---- as it was elsewhere ---- */

struct node *tree_revive(struct tree *t, uint64_t id, uint64_t lookups, mode_t type)
{
	struct node *n;

	if (id <= TREE_ROOT || id >= t->next_id || tree_find_id(t, id))
		return NULL;
	n = node_alloc(t, id, type, -1);
	if (!n)
		return NULL;
	n->lookups = lookups;
	n->is_revived = true;
	return n;
}

/* With the lock held */
static bool found(struct tree *t, struct node *n, const struct statx *st, int fd, const struct tree_where *where)
{
	const struct tree_key key = tree_key_of(st);
	const struct tree_mount *mount = fd < 0 ? tree_find_mount(t, key.mount) : tree_mount_of(t, st, fd);

	if (!mount || tree_find_key(t, &key) || (fd < 0 && (!where->dir || !may_be_unopened(st))))
		return false;
	n->key = key;
	n->mount = mount;
	n->fd = fd;
	if (where->dir)
		tree_place(t, n, where->dir, where->name);
	if (fd < 0 && !n->parent) {
		n->pinned = false;
		return false; /* no memory, or it would be above itself */
	}
	if (fd >= 0 && mount->fd < 0 && !n->parent)
		n->pinned = true;
	link_key(t, n);
	if (fd >= 0 && !n->pinned)
		lru_add(t, n);
	return true;
}

bool tree_found(struct tree *t, struct node *n, const struct statx *st, int fd, const struct tree_where *where)
{
	bool ok;

	pthread_mutex_lock(&t->lock);
	ok = found(t, n, st, fd, where);
	pthread_mutex_unlock(&t->lock);
	return ok;
}

/* ---- use ---- */

int node_hold(struct tree *t, uint64_t id, struct node **ret)
{
	struct node *n;

	pthread_mutex_lock(&t->lock);
	n = tree_find_id(t, id);
	if (n)
		tree_hold(n);
	pthread_mutex_unlock(&t->lock);
	*ret = n;
	return n ? 0 : -ESTALE;
}

int node_get(struct tree *t, uint64_t id, struct node **ret)
{
	struct node *n;
	int err = -ESTALE;

	pthread_mutex_lock(&t->lock);
	n = tree_find_id(t, id);
	if (n) {
		tree_hold(n);
		err = n->fd >= 0 ? 0 : tree_reopen(t, n);
		if (err)
			tree_drop(t, n);
	}
	pthread_mutex_unlock(&t->lock);
	if (!err)
		*ret = n;
	return err;
}

void node_again(struct tree *t, struct node *n)
{
	pthread_mutex_lock(&t->lock);
	n->uses++;
	pthread_mutex_unlock(&t->lock);
}

void node_put(struct tree *t, struct node *n)
{
	pthread_mutex_lock(&t->lock);
	tree_drop(t, n);
	pthread_mutex_unlock(&t->lock);
}

uint64_t node_id(const struct node *n)
{
	return n->id;
}

mode_t node_type(const struct node *n)
{
	return n->type;
}

static bool same_time(const struct statx_timestamp *a, const struct statx_timestamp *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/*
 * A file whose time is only just past may change once more without another time: the clock of files
 * goes in steps of some milliseconds.
 */
bool node_seen(struct tree *t, struct node *n, const struct statx *st)
{
	struct timespec now;
	bool same;

	clock_gettime(CLOCK_REALTIME, &now);
	pthread_mutex_lock(&t->lock);
	same = n->is_seen && n->size == st->stx_size && same_time(&n->mtime, &st->stx_mtime) &&
	       same_time(&n->ctime, &st->stx_ctime);
	n->is_seen = now.tv_sec - st->stx_ctime.tv_sec > 1;
	n->size = st->stx_size;
	n->mtime = st->stx_mtime;
	n->ctime = st->stx_ctime;
	pthread_mutex_unlock(&t->lock);
	return same;
}

bool node_first_seen(struct tree *t, struct node *n)
{
	bool first;

	pthread_mutex_lock(&t->lock);
	first = n->is_revived;
	n->is_revived = false;
	pthread_mutex_unlock(&t->lock);
	return first;
}

int tree_remember(struct tree *t, uint64_t id)
{
	struct node *n;

	pthread_mutex_lock(&t->lock);
	n = tree_find_id(t, id);
	if (n)
		n->lookups++;
	pthread_mutex_unlock(&t->lock);
	return n ? 0 : -ESTALE;
}

void tree_forget(struct tree *t, uint64_t id, uint64_t lookups)
{
	struct node *n;

	pthread_mutex_lock(&t->lock);
	n = tree_find_id(t, id);
	if (n && n != t->root) {
		n->lookups -= lookups < n->lookups ? lookups : n->lookups;
		settle(t, n);
	}
	pthread_mutex_unlock(&t->lock);
}

void tree_settle(struct tree *t)
{
	struct node *next;

	pthread_mutex_lock(&t->lock);
	/* Of a bucket those behind @n stay where they are, but for parents: begin again then. */
	for (size_t i = 0; i < t->n_buckets; i++)
		for (struct node *n = t->by_id[i]; n; n = next) {
			bool goes = !n->uses && !n->lookups && !n->children && n != t->root;

			next = n->next_id;
			settle(t, n);
			if (goes)
				next = t->by_id[i];
		}
	pthread_mutex_unlock(&t->lock);
	tree_reap(t);
}

void tree_forget_all(struct tree *t)
{
	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < t->n_buckets; i++)
		for (struct node *n = t->by_id[i]; n; n = n->next_id)
			n->lookups = 0;
	pthread_mutex_unlock(&t->lock);
	tree_settle(t);
}

static void node_free(struct node *n)
{
	free(n->handle);
	free(n->name);
	free(n);
}

bool tree_has_dead(struct tree *t)
{
	bool has;

	pthread_mutex_lock(&t->lock);
	has = t->dead;
	pthread_mutex_unlock(&t->lock);
	return has;
}

void tree_reap(struct tree *t)
{
	struct node *n, *next;
	unsigned closed = 0;

	pthread_mutex_lock(&t->lock);
	n = t->dead;
	t->dead = NULL;
	pthread_mutex_unlock(&t->lock);
	if (!n)
		return;
	for (; n; n = next) {
		next = n->next_id;
		if (n->fd >= 0) {
			close(n->fd);
			closed++;
		}
		node_free(n);
	}
	pthread_mutex_lock(&t->lock);
	t->n_fds -= closed;
	pthread_mutex_unlock(&t->lock);
}

struct tree_counts tree_count(struct tree *t)
{
	struct tree_counts counts;

	pthread_mutex_lock(&t->lock);
	counts = (struct tree_counts){ t->n_nodes, t->n_fds };
	pthread_mutex_unlock(&t->lock);
	return counts;
}

const char *tree_path(const struct tree *t)
{
	return t->path;
}

bool tree_is_read_only(const struct tree *t)
{
	return t->read_only;
}

/* ---- the tree ---- */

static int root_new(struct tree *t, const char *path)
{
	struct tree_entry entry;
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	t->n_fds++;
	err = tree_enter(t, NULL, NULL, fd, &entry);
	if (!err)
		t->root = tree_find_id(t, entry.id);
	return err;
}

static int tree_init(struct tree *t, const struct tree_config *cfg)
{
	int err;

	t->read_only = cfg->read_only;
	t->no_handles = cfg->no_handles;
	t->made = cfg->made;
	t->change_ids = ids_may_change();
	t->max_fds = cfg->max_fds ? cfg->max_fds : tree_default_fds(cfg->n_trees);
	t->lru.newer = t->lru.older = &t->lru;
	t->next_id = TREE_ROOT;
	t->n_buckets = FIRST_BUCKETS;
	t->path = strdup(cfg->path);
	t->by_id = calloc(FIRST_BUCKETS, sizeof(struct node *));
	t->by_key = calloc(FIRST_BUCKETS, sizeof(struct node *));
	if (!t->by_id || !t->by_key || !t->path)
		return -ENOMEM;
	err = root_new(t, cfg->path);
	if (!err)
		tree_hold(t->root); /* for ever */
	return err;
}

int tree_open(const struct tree_config *cfg, struct tree **ret)
{
	struct tree *t = calloc(1, sizeof(*t));
	int err = -ENOMEM;

	if (t) {
		pthread_mutex_init(&t->lock, NULL);
		err = tree_init(t, cfg);
	}
	if (err) {
		tree_close(t);
		return log_err(err, "folder '%s'", cfg->path);
	}
	*ret = t;
	return 0;
}

void tree_close(struct tree *t)
{
	struct tree_mount *mount, *next_mount;
	struct node *next;

	if (!t)
		return;
	tree_reap(t);
	for (size_t i = 0; t->by_id && i < t->n_buckets; i++)
		for (struct node *n = t->by_id[i]; n; n = next) {
			next = n->next_id;
			if (n->fd >= 0)
				close(n->fd);
			node_free(n);
		}
	for (mount = t->mounts; mount; mount = next_mount) {
		next_mount = mount->next;
		if (mount->fd >= 0)
			close(mount->fd);
		free(mount);
	}
	free(t->path);
	free(t->by_id);
	free(t->by_key);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
