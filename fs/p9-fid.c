/* 9P: the fids of a guest. See p9-internal.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "p9-internal.h"

struct p9_fid *fid_new(struct p9 *p9, uint32_t uid, uint64_t node)
{
	struct p9_fid *fid = calloc(1, sizeof(*fid));

	if (!fid) {
		tree_forget(p9->tree, node, 1);
		return NULL;
	}
	fid->uid = uid;
	fid->node = node;
	fid->uses = 1;
	fid->fd = -1;
	return fid;
}

int fid_named(struct p9 *p9, struct p9_fid *fid, uint64_t dir, const char *name)
{
	int err = tree_remember(p9->tree, dir);

	if (err)
		return err;
	fid->dir = dir;
	fid->name = strdup(name);
	return fid->name ? 0 : -ENOMEM;
}

struct p9_fid *fid_again(struct p9 *p9, const struct p9_fid *fid)
{
	struct p9_fid *again = tree_remember(p9->tree, fid->node) ? NULL : fid_new(p9, fid->uid, fid->node);

	if (again && fid->dir && fid_named(p9, again, fid->dir, fid->name)) {
		fid_free(p9, again);
		return NULL;
	}
	return again;
}

void fid_opened(struct p9 *p9, struct p9_fid *fid, int fd, struct node *n, bool may_write)
{
	fid->fd = fd;
	fid->open = n;
	fid->may_write = may_write;
	node_again(p9->tree, n);
	dir_init(&fid->reader);
}

int fid_judge_open(const struct p9_fid *fid)
{
	if (fid->fd >= 0)
		return 0;
	return fid->lost_flags ? -ESTALE : -EBADF;
}

/* Values cost memory of the host: there are few at a time. */
struct p9_xattr *xattr_new(struct p9 *p9, size_t bytes)
{
	struct p9_xattr *x = NULL;

	pthread_mutex_lock(&p9->lock);
	if (p9->n_xattrs < P9_XATTRS)
		x = calloc(1, sizeof(*x) + bytes);
	p9->n_xattrs += x != NULL;
	pthread_mutex_unlock(&p9->lock);
	if (x)
		x->bytes = (uint32_t)bytes;
	return x;
}

static void xattr_free(struct p9 *p9, struct p9_xattr *x)
{
	if (!x)
		return;
	free(x->name);
	free(x);
	pthread_mutex_lock(&p9->lock);
	p9->n_xattrs--;
	pthread_mutex_unlock(&p9->lock);
}

void fid_free(struct p9 *p9, struct p9_fid *fid)
{
	if (fid->fd >= 0) {
		close(fid->fd);
		tree_fd_give(p9->tree);
		node_put(p9->tree, fid->open);
		dir_fini(&fid->reader);
	}
	xattr_free(p9, fid->xattr);
	tree_forget(p9->tree, fid->node, 1);
	if (fid->dir)
		tree_forget(p9->tree, fid->dir, 1);
	free(fid->name);
	free(fid);
}

/* ---- the table ---- */

/* With the lock held: where the fid stands, or where there is none */
static struct p9_fid **find(struct p9 *p9, uint32_t number)
{
	struct p9_fid **at = &p9->fids[number & (P9_BUCKETS - 1)];

	while (*at && (*at)->number != number)
		at = &(*at)->next;
	return at;
}

int fid_add(struct p9 *p9, struct p9_fid *fid, uint32_t number)
{
	struct p9_fid **at;
	int err = 0;

	fid->number = number;
	pthread_mutex_lock(&p9->lock);
	at = find(p9, number);
	if (*at || number == P9_NOFID)
		err = -EBADF;
	else if (p9->n_fids >= P9_FIDS)
		err = -ENFILE;
	if (!err) {
		*at = fid;
		p9->n_fids++;
	}
	pthread_mutex_unlock(&p9->lock);
	if (err)
		fid_free(p9, fid);
	return err;
}

int fid_replace(struct p9 *p9, struct p9_fid *old, struct p9_fid *fid)
{
	struct p9_fid **at;
	bool there;

	fid->number = old->number;
	pthread_mutex_lock(&p9->lock);
	at = find(p9, old->number);
	there = *at == old;
	if (there) {
		fid->next = old->next;
		*at = fid;
	}
	pthread_mutex_unlock(&p9->lock);
	if (there)
		fid_put(p9, old);
	else
		fid_free(p9, fid);
	return there ? 0 : -EBADF;
}

struct p9_fid *fid_get(struct p9 *p9, uint32_t number)
{
	struct p9_fid *fid;

	pthread_mutex_lock(&p9->lock);
	fid = *find(p9, number);
	if (fid)
		fid->uses++;
	pthread_mutex_unlock(&p9->lock);
	return fid;
}

void fid_put(struct p9 *p9, struct p9_fid *fid)
{
	bool last;

	pthread_mutex_lock(&p9->lock);
	last = !--fid->uses;
	pthread_mutex_unlock(&p9->lock);
	if (last)
		fid_free(p9, fid);
}

struct p9_fid *fid_remove(struct p9 *p9, uint32_t number)
{
	struct p9_fid **at, *fid;

	pthread_mutex_lock(&p9->lock);
	at = find(p9, number);
	fid = *at;
	if (fid) {
		*at = fid->next;
		p9->n_fids--;
	}
	pthread_mutex_unlock(&p9->lock);
	return fid;
}

void fid_remove_all(struct p9 *p9)
{
	struct p9_fid *fid;

	for (unsigned i = 0; i < P9_BUCKETS; i++)
		do {
			pthread_mutex_lock(&p9->lock);
			fid = p9->fids[i];
			if (fid) {
				p9->fids[i] = fid->next;
				p9->n_fids--;
			}
			pthread_mutex_unlock(&p9->lock);
			if (fid)
				fid_put(p9, fid);
		} while (fid);
}
