/* What all file servers share: a worker's memory, buffers, numbers of files. See server.h. */
#include "server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/log.h"
#include "tree.h"

struct file_worker *file_worker_new(void)
{
	return tree_thread_begin() ? NULL : malloc(sizeof(struct file_worker));
}

void file_worker_free(struct file_worker *w)
{
	free(w);
}

uint64_t file_number(const struct statx *st, uint32_t root_dev)
{
	const uint32_t dev = file_dev(st->stx_dev_major, st->stx_dev_minor) ^ root_dev;

	return st->stx_ino ^ (uint64_t)(dev ^ dev >> 16) << 48;
}

static int root_dev(struct tree *t, uint32_t *ret)
{
	struct node *root;
	struct statx st;
	int err = node_get(t, TREE_ROOT, &root);

	if (err)
		return log_err(err, "folder");
	err = tree_stat(t, root, &st);
	node_put(t, root);
	if (err)
		return log_err(err, "folder");
	*ret = file_dev(st.stx_dev_major, st.stx_dev_minor);
	return 0;
}

/* ---- a folder as a whole ---- */

int folder_open(const struct fs_config *cfg, struct lock_table *locks, uint32_t *ret_root_dev)
{
	const struct tree_config tree = { .path = cfg->path, .read_only = cfg->read_only,
					  .max_fds = cfg->max_fds, .n_trees = cfg->n_folders,
					  .made = cfg->made };
	int err;

	locks_init(locks);
	err = tree_open(&tree, &locks->tree);
	return err ? err : root_dev(locks->tree, ret_root_dev);
}

void folder_lost(const struct tree *t, unsigned files, unsigned locks)
{
	if (files)
		log_warn("folder '%s': %u open file%s of the guest %s not there any more, or others: stale", tree_path(t),
			 files, files == 1 ? "" : "s", files == 1 ? "is" : "are");
	if (locks)
		log_warn("folder '%s': the guest has lost %u lock%s, which others have, or whose files are gone",
			 tree_path(t), locks, locks == 1 ? "" : "s");
}

enum file_chores folder_has_chores(const struct lock_table *locks)
{
	if (tree_has_dead(locks->tree))
		return FILE_CHORES_NOW;
	return locks_waiting(locks) ? FILE_CHORES_SOON : FILE_CHORES_NONE;
}

void folder_chores(struct lock_table *locks)
{
	tree_reap(locks->tree);
	locks_retry(locks, false);
}

/* ---- attributes ---- */

static int set_size(struct tree *t, struct node *n, const struct file_change *ch)
{
	bool was = false;
	int err;

	if (ch->size > INT64_MAX)
		return -EINVAL;
	if (ch->fd < 0)
		return tree_truncate(t, n, (off_t)ch->size, ch->plain);
	if (ch->plain)
		was = ids_plain_begin();
	err = ftruncate(ch->fd, (off_t)ch->size) < 0 ? -errno : 0;
	ids_plain_end(was);
	return err;
}

/* The owner before the mode: changing it takes set-user-ID bits away. */
int file_change(struct tree *t, struct node *n, const struct file_change *ch)
{
	int err = 0;

	if (ch->uid != UINT32_MAX || ch->gid != UINT32_MAX)
		err = tree_chown(t, n, ch->uid, ch->gid);
	if (!err && ch->has_mode)
		err = tree_chmod(t, n, ch->mode);
	if (!err && ch->has_size)
		err = set_size(t, n, ch);
	if (!err && (ch->times[0].tv_nsec != UTIME_OMIT || ch->times[1].tv_nsec != UTIME_OMIT))
		err = tree_utimes(t, n, ch->times);
	return err;
}

/* ---- buffers ---- */

size_t iov_bytes(const struct iovec *iov, unsigned n)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < n; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

static size_t copy(const struct iovec *iov, unsigned n, uint64_t off, char *at, size_t len, bool in)
{
	size_t done = 0;

	for (unsigned i = 0; i < n && done < len; i++) {
		size_t part = len - done, there = iov[i].iov_len;
		char *base;

		if (off >= there) {
			off -= there;
			continue;
		}
		base = (char *)iov[i].iov_base + off;
		part = part < there - off ? part : (size_t)(there - off);
		memcpy(in ? base : at + done, in ? at + done : base, part);
		done += part;
		off = 0;
	}
	return done;
}

size_t iov_read(const struct iovec *iov, unsigned n, uint64_t off, void *dst, size_t len)
{
	return copy(iov, n, off, dst, len, false);
}

void iov_write(const struct iovec *iov, unsigned n, uint64_t off, const void *src, size_t len)
{
	copy(iov, n, off, (char *)src, len, true);
}

unsigned iov_part(const struct iovec *iov, unsigned n, uint64_t off, uint64_t len,
		  struct iovec ret[IOV_MAX])
{
	unsigned k = 0;

	for (unsigned i = 0; i < n && k < IOV_MAX && len; i++) {
		uint64_t there = iov[i].iov_len, part;

		if (off >= there) {
			off -= there;
			continue;
		}
		part = there - off < len ? there - off : len;
		ret[k++] = (struct iovec){ (char *)iov[i].iov_base + off, (size_t)part };
		len -= part;
		off = 0;
	}
	return k;
}
