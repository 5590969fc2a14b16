/* What the files of the tree know of it: tree.c nodes, tree-fd.c descriptors, tree-ops.c requests. */
#ifndef FS_TREE_INTERNAL_H
#define FS_TREE_INTERNAL_H

#include <fcntl.h>
#include <pthread.h>

#include "tree.h"

#define TREE_MOST_NODES (4U << 20) /* about 700 MB */
#define TREE_DEPTH 4096 /* folders in each other whose way from the root is remembered */

/* A mount of the host that nodes are on. */
struct tree_mount {
	struct tree_mount *next;
	uint64_t id;
	int fd; /* for open_by_handle_at(); -1: nodes are found again by name */
};

struct tree_key {
	uint64_t dev, ino, mount;
};

struct node {
	struct node *next_id, *next_key; /* in the buckets */
	struct node *newer, *older;      /* those that nobody uses and that have a descriptor */
	uint64_t id, lookups;
	struct tree_key key;
	struct statx_timestamp born; /* with the key and the type: the same file */
	const struct tree_mount *mount;
	int fd;            /* -1: to be opened, perhaps again; does not change while in use */
	unsigned uses;     /* operations and open files */
	unsigned children; /* nodes whose parent this is */
	uint16_t type;
	bool keyed;        /* can be found by its key; else another file has that now */
	bool pinned;       /* there is no way back to it */
	bool made;         /* by struct fs_made, as name: it has no parent */
	bool is_revived;   /* node_first_seen() */
	/* How to open it again: by one of these */
	struct file_handle *handle;
	struct node *parent;
	char *name;
	/* node_seen() */
	struct statx_timestamp mtime, ctime;
	uint64_t size;
	bool is_seen;
};

struct tree {
	bool read_only, no_handles, change_ids;
	char *path; /* as it was given */
	const struct fs_made *made;
	unsigned max_fds;
	pthread_mutex_t lock; /* of all that follows */
	struct tree_mount *mounts;
	struct node **by_id, **by_key;
	size_t n_buckets;
	unsigned n_nodes, n_fds;
	uint64_t next_id;
	struct node lru;   /* its newer is the oldest, its older the newest */
	struct node *dead; /* by next_id: to be closed and freed */
	struct node *root;
};

/* ---- tree.c: with the lock held ---- */

struct node *tree_find_id(const struct tree *t, uint64_t id);
struct node *tree_find_key(struct tree *t, const struct tree_key *key);
struct tree_key tree_key_of(const struct statx *st);
/** tree_same() - is @st what @n stands for, if the keys are equal? */
bool tree_same(const struct node *n, const struct statx *st);
void tree_hold(struct node *n);
/** tree_unlist() - it is not among those that may lose their descriptor any more */
void tree_unlist(struct node *n);
void tree_drop(struct tree *t, struct node *n);
/** tree_place() - where @n can be found, if that is the way to it */
void tree_place(struct tree *t, struct node *n, struct node *dir, const char *name);
/** tree_cut() - its key stands for another file now */
void tree_cut(struct tree *t, struct node *n);

/**
 * tree_enter() - the node of what @fd is; not with the lock held
 * @fd: O_PATH, counted by tree_fd_take(); taken over, also on failure
 * @name: in @dir, or NULL
 */
int tree_enter(struct tree *t, struct node *dir, const char *name, int fd, struct tree_entry *ret);
/**
 * tree_enter_seen() - the same by what statx() says, ret->st, without opening the file
 * Return: false: it has to be opened
 */
bool tree_enter_seen(struct tree *t, struct node *dir, const char *name, struct tree_entry *ret);
/** tree_goes_by_name() - is its name the way back to it, now or when it loses its descriptor? */
bool tree_goes_by_name(const struct node *n);

/* ---- tree.c: for tree-state.c ---- */

struct tree_where {
	struct node *dir; /* NULL: it is no node */
	const char *name;
};

/** tree_revive() - a node that was there, lost so far; Return: NULL: that cannot be its id, or no memory */
struct node *tree_revive(struct tree *t, uint64_t id, uint64_t lookups, mode_t type);
/**
 * tree_found() - the file of one that was lost, and where; it takes the lock
 * @fd: counted, taken over; -1: to be opened only if it has to be
 * Return: false: another node has that file already, or it has to be opened: it is still lost, @fd the caller's
 */
bool tree_found(struct tree *t, struct node *n, const struct statx *st, int fd, const struct tree_where *where);

/* ---- tree-fd.c ---- */

/** tree_open_beneath() - names from @dir down, of which none is a link; O_PATH, not counted; Return: fd, -errno */
int tree_open_beneath(int dir, const char *path);
/** tree_open_handle() - of a node that goes by its handle; likewise */
int tree_open_handle(const struct node *n);

/** tree_default_fds() - how many descriptors a tree may keep; raises the process's limit */
unsigned tree_default_fds(unsigned n_trees);

#define TREE_STATX (STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID)

/** tree_stat_fd() - what @fd is */
int tree_stat_fd(int fd, struct statx *ret);
/** tree_open_child() - O_PATH, counted; not with the lock held; Return: fd */
int tree_open_child(struct tree *t, int dir, const char *name);
/** tree_open_proc() - open the file behind @fd once more; Return: fd */
int tree_open_proc(struct tree *t, int fd, int flags, mode_t mode);
struct tree_path {
	char text[32];
};
/** tree_proc() - a path that leads to the file behind @fd and nowhere else */
struct tree_path tree_proc(int fd);
/** tree_find_mount() - with the lock held; Return: NULL: nothing on it was opened yet */
const struct tree_mount *tree_find_mount(struct tree *t, uint64_t id);
/** tree_mount_of() - with the lock held, which it may drop meanwhile; Return: NULL: no memory */
const struct tree_mount *tree_mount_of(struct tree *t, const struct statx *st, int fd);
/** tree_same_handle() - is the file behind @fd the one that @n was? True if that is not known. */
bool tree_same_handle(const struct node *n, int fd);
/** tree_reopen() - give @n, in use, its descriptor; with the lock held, which it drops meanwhile */
int tree_reopen(struct tree *t, struct node *n);
/** tree_take_locked() - tree_fd_take() with the lock held, which it may drop meanwhile */
int tree_take_locked(struct tree *t);

#endif
