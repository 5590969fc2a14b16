/*
 * A folder of the host that is given away: the safe tree behind every file server.
 *
 * The one who asks never gives a path: he has numbers of nodes that he has looked up, and single
 * names. A node stands for a file by a descriptor of it (O_PATH), so that no rename and no race can
 * put another one in its place; "..", "/" and symbolic links are not followed by anybody here.
 *
 *	id -> node -> O_PATH descriptor -> /proc/self/fd/N -> a descriptor to read and write
 *	 |      |
 *	 |      +-- key: (device, inode, mount); one node a file, however many names it has
 *	 +-- never given out twice
 *
 * Descriptors are a cache of a bounded size: a node gets its own when it is first used, as most files that are
 * looked up are only looked at, and may lose it while nobody uses it; then its file is opened again. The first
 * time that goes by the name in the folder where it was last seen, and is -ESTALE if another file is there:
 * another number, or made at another time (where that is not known, it is opened at once). Later it goes
 * by the file's handle where the filesystem has them and lkvm may (CAP_DAC_READ_SEARCH), else by the name,
 * too. Nodes of open files keep their descriptor, and so do those that are removed by this side and
 * may still be used. Where no descriptor is left, the one request fails with -ENFILE.
 *
 * Who may do what is judged by the guest's kernel, which knows its users; what is made here belongs
 * to the one who asked, if lkvm is root, else to the user of lkvm.
 *
 * Any thread that has called tree_thread_begin(). No lock is held while the host's filesystem works.
 * All functions return -errno on failure.
 */
#ifndef FS_TREE_H
#define FS_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/types.h>

struct tree;
struct node;
struct fs_made;

#define TREE_ROOT 1 /* the id of the folder itself */

struct state_buf;
struct state_reader;
struct state_type;

struct tree_config {
	const char *path;
	bool read_only;
	unsigned max_fds; /* descriptors that it may keep; 0: a part of what the process may have */
	bool no_handles;  /* a test's: as if the filesystem had none */
	unsigned n_trees; /* how many share that part; 0: it is the only one */
	const struct fs_made *made; /* fs.h; NULL: none */
};

/* What has been found or made; forget it as often as it was returned. */
struct tree_entry {
	uint64_t id;
	struct statx st;
	bool submount; /* on another mount than its folder */
};

/* Whose a new file is to be. */
struct tree_ids {
	uint32_t uid, gid, umask;
	bool plain; /* one that is there, and is emptied instead, loses set-user-ID bits */
};

/** tree_open() - Return: 0, or -errno after one logged line */
int tree_open(const struct tree_config *cfg, struct tree **ret);
/** tree_close() - nobody uses it any more; takes NULL */
void tree_close(struct tree *t);
/** tree_forget_all() - as if every node had been forgotten; those in use stay until node_put() */
void tree_forget_all(struct tree *t);

/**
 * tree_thread_begin() - this thread will call tree functions
 * It gets a umask of its own (unshare(CLONE_FS)) and, as root, no supplementary groups.
 */
int tree_thread_begin(void);

/**
 * tree_name_ok() - may this be the name of something in a folder?
 * Not "", ".", "..", with a slash, or longer than NAME_MAX. Every name goes through this door.
 */
bool tree_name_ok(const char *name);

/**
 * node_get() - use a node: it keeps its descriptor until node_put()
 * Return: 0; -ESTALE: there is none, or its file is gone; -ENFILE
 */
int node_get(struct tree *t, uint64_t id, struct node **ret);
/** node_hold() - the same, but it may be lost: it is good for its number, and for node_put(); Return: 0 or -ESTALE */
int node_hold(struct tree *t, uint64_t id, struct node **ret);
/** node_again() - one more node_put() will be needed */
void node_again(struct tree *t, struct node *n);
void node_put(struct tree *t, struct node *n);
uint64_t node_id(const struct node *n);
/** node_type() - S_IFREG, ... */
mode_t node_type(const struct node *n);

/**
 * tree_reap() - close what was forgotten
 * Forgetting closes nothing, so that it never waits for a filesystem; this may.
 */
void tree_reap(struct tree *t);
/** tree_has_dead() - is there something for tree_reap()? */
bool tree_has_dead(struct tree *t);

/** tree_path() - as it was given */
const char *tree_path(const struct tree *t);

/* How many of each there are. */
struct tree_counts {
	unsigned nodes, fds;
};
struct tree_counts tree_count(struct tree *t);

/**
 * tree_fd_take(), tree_fd_give() - a descriptor that the caller will have open is counted, or no more
 * Return: 0 or -ENFILE
 */
int tree_fd_take(struct tree *t);
void tree_fd_give(struct tree *t);

/* ---- names ---- */

int tree_lookup(struct tree *t, struct node *dir, const char *name, struct tree_entry *ret);
void tree_forget(struct tree *t, uint64_t id, uint64_t lookups);
/** tree_remember() - as if it had been looked up once more; Return: 0, -ESTALE */
int tree_remember(struct tree *t, uint64_t id);
/** tree_mknod() - regular files, FIFOs, sockets, and the whiteouts of overlays; no other device */
int tree_mknod(struct tree *t, struct node *dir, const char *name, mode_t mode, dev_t rdev,
	       const struct tree_ids *ids, struct tree_entry *ret);
int tree_mkdir(struct tree *t, struct node *dir, const char *name, mode_t mode,
	       const struct tree_ids *ids, struct tree_entry *ret);
int tree_symlink(struct tree *t, struct node *dir, const char *name, const char *target,
		 const struct tree_ids *ids, struct tree_entry *ret);
int tree_link(struct tree *t, struct node *n, struct node *dir, const char *name,
	      struct tree_entry *ret);
/** tree_unlink() - @flags: 0 or AT_REMOVEDIR */
int tree_unlink(struct tree *t, struct node *dir, const char *name, int flags);
/** tree_rename() - @flags: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT */
int tree_rename(struct tree *t, struct node *from, const char *old, struct node *to,
		const char *name, unsigned flags);

/* ---- open files: the descriptor is the caller's; see tree_fd_take() ---- */

/** tree_open_node() - a regular file or a folder; of @flags the known harmless ones; Return: fd */
int tree_open_node(struct tree *t, struct node *n, int flags);
/** tree_create() - with O_EXCL a new one, else also one that is there; Return: fd */
int tree_create(struct tree *t, struct node *dir, const char *name, int flags, mode_t mode,
		const struct tree_ids *ids, struct tree_entry *ret);
/** tree_tmpfile() - a file without a name; Return: fd */
int tree_tmpfile(struct tree *t, struct node *dir, int flags, mode_t mode,
		 const struct tree_ids *ids, struct tree_entry *ret);

/* ---- what is known of a node ---- */

int tree_stat(struct tree *t, struct node *n, struct statx *ret);
/** tree_stat_id() - of a node that is not in use: without opening its file, if it was not yet */
int tree_stat_id(struct tree *t, uint64_t id, struct statx *ret);
int tree_statfs(struct tree *t, struct node *n, struct statfs *ret);
int tree_syncfs(struct tree *t, struct node *n);
/** tree_readlink() - Return: its length, without a NUL */
int tree_readlink(struct tree *t, struct node *n, char *ret, size_t cap);
int tree_chmod(struct tree *t, struct node *n, mode_t mode);
/** tree_chown() - -1 leaves one as it is */
int tree_chown(struct tree *t, struct node *n, uint32_t uid, uint32_t gid);
/** tree_truncate() - @kill_ids: take set-user-ID and set-group-ID away, as for an ordinary user */
int tree_truncate(struct tree *t, struct node *n, off_t bytes, bool kill_ids);
int tree_utimes(struct tree *t, struct node *n, const struct timespec times[2]);
/* As getxattr(2) and its kin; @cap 0 asks for the length. */
ssize_t tree_getxattr(struct tree *t, struct node *n, const char *name, void *ret, size_t cap);
ssize_t tree_listxattr(struct tree *t, struct node *n, char *ret, size_t cap);
int tree_setxattr(struct tree *t, struct node *n, const char *name, const void *value, size_t len,
		  int flags);
int tree_removexattr(struct tree *t, struct node *n, const char *name);

/** tree_is_read_only() - then whatever changes it is -EROFS */
bool tree_is_read_only(const struct tree *t);

/**
 * node_seen() - the file is as @st says, now that it is opened
 * Return: was it the same when it was opened before? Then what the guest has cached is still right.
 */
bool node_seen(struct tree *t, struct node *n, const struct statx *st);

/** node_first_seen() - is it one that was loaded, and is opened for the first time? The guest may have old contents. */
bool node_first_seen(struct tree *t, struct node *n);

/* ---- tree-state.c: nobody else uses the tree meanwhile ---- */

extern const struct state_type tree_head_type, tree_files_type; /* for the test of their tables */
/** tree_save() - append what it knows of files; Return: 0 or -ENOMEM */
int tree_save(struct tree *t, struct state_buf *buf);
/**
 * tree_load() - the way back, into a tree of the same folder that has forgotten all
 * What was looked up is as it was, but that a file which is not there, or is another one, is -ESTALE in
 * every use. When those who use nodes have them again, it wants tree_settle().
 * Return: 0; -errno with in->why: -ESTALE: it is another folder; -ENFILE, -ENOMEM; of state_unpack()
 */
int tree_load(struct tree *t, struct state_reader *in);
/** tree_settle() - nodes that nobody has looked up or uses go */
void tree_settle(struct tree *t);

/* ---- ids.c: rights of the calling thread ---- */

/** ids_may_change() - can this process make files for others? */
bool ids_may_change(void);
/** ids_begin() - act as @ids, the umask among them; Return: 0, or -EINVAL if this host has no such id */
int ids_begin(const struct tree_ids *ids, bool change);
void ids_end(const struct tree_ids *ids, bool change);
/** ids_plain_begin() - what is written loses set-user-ID bits; Return: for ids_plain_end() */
bool ids_plain_begin(void);
void ids_plain_end(bool was);

#endif
