/* A file as memory; see lkvm/pmem.h. */
#include "lkvm/pmem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk-internal.h"
#include "lkvm/keys.h"
#include "lkvm/log.h"
#include "lkvm/types.h"

const struct opt_key pmem_keys[] = {
	{ "ro", .kind = KEY_FLAG, .offset = offsetof(struct pmem_config, read_only),
	  .help = "The guest only reads it; then several guests may have it at a time." },
	KEYS_END,
};

static int judge(const char *path, const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return log_errx(-EINVAL, "persistent memory '%s' is no regular file", path);
	if (!st->st_size)
		return log_errx(-EINVAL, "persistent memory '%s' is empty", path);
	return 0;
}

int pmem_size(struct pmem_config *cfg)
{
	struct stat st;
	int err;

	if (stat(cfg->path, &st))
		return log_err(-errno, "persistent memory '%s'", cfg->path);
	err = judge(cfg->path, &st);
	cfg->bytes = err ? 0 : ALIGN_UP((uint64_t)st.st_size, PMEM_UNIT);
	return err;
}

static int prot_of(const struct pmem *pmem)
{
	return PROT_READ | (pmem->cfg.read_only ? 0 : PROT_WRITE);
}

/* Zeros, in place of what is there */
static int map_zeros(const struct pmem *pmem, uint64_t from, uint64_t to)
{
	if (from >= to)
		return 0;
	return mmap(pmem->host + from, to - from, prot_of(pmem), MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
		    -1, 0) == MAP_FAILED ? -errno : 0;
}

static int map(struct pmem *pmem)
{
	void *at = mmap(NULL, pmem->cfg.bytes, prot_of(pmem), MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return -errno;
	pmem->host = at;
	if (mmap(at, pmem->there, prot_of(pmem), MAP_SHARED | MAP_FIXED, pmem->fd, 0) == MAP_FAILED)
		return -errno;
	/* Children that save RAM need none of it; and it is in no core dump. */
	madvise(at, pmem->cfg.bytes, MADV_DONTFORK);
	madvise(at, pmem->cfg.bytes, MADV_DONTDUMP);
	return 0;
}

static int open_file(struct pmem *pmem)
{
	const struct pmem_config *cfg = &pmem->cfg;
	struct stat st;
	int err;

	pmem->fd = open(cfg->path, (cfg->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	if (pmem->fd < 0 || fstat(pmem->fd, &st))
		return log_err(-errno, "open persistent memory '%s'", cfg->path);
	err = judge(cfg->path, &st);
	if (!err)
		err = disk_lock(pmem->fd, cfg->path, !cfg->read_only);
	if (err)
		return err;
	/* Where it is in the guest depends on the size that it had. */
	if (ALIGN_UP((uint64_t)st.st_size, PMEM_UNIT) != cfg->bytes)
		return log_errx(-EAGAIN, "persistent memory '%s' has changed its size meanwhile", cfg->path);
	pmem->there = ALIGN_UP((uint64_t)st.st_size, 4096);
	err = map(pmem);
	return err ? log_err(err, "map persistent memory '%s'", cfg->path) : 0;
}

int pmem_open(const struct pmem_config *cfg, struct pmem **ret)
{
	struct pmem *pmem = calloc(1, sizeof(*pmem));
	int err;

	if (!pmem)
		return log_err(-ENOMEM, "persistent memory '%s'", cfg->path);
	pmem->cfg = *cfg;
	pmem->fd = -1;
	pthread_mutex_init(&pmem->lock, NULL);
	err = open_file(pmem);
	if (err)
		pmem_close(pmem);
	else
		*ret = pmem;
	return err;
}

void pmem_close(struct pmem *pmem)
{
	if (!pmem)
		return;
	if (pmem->host)
		munmap(pmem->host, pmem->cfg.bytes);
	if (pmem->fd >= 0)
		close(pmem->fd);
	pthread_mutex_destroy(&pmem->lock);
	free(pmem);
}

/* What a failed one has left behind, no later one tells of: the host forgets it. */
int pmem_flush(struct pmem *pmem)
{
	if (pmem->cfg.read_only)
		return 0;
	if (!pmem->failed && fdatasync(pmem->fd)) {
		log_err(-errno, "write persistent memory '%s'", pmem->cfg.path);
		pmem->failed = true;
	}
	return pmem->failed ? -EIO : 0;
}

bool pmem_mend(struct pmem *pmem)
{
	struct stat st;
	uint64_t now;
	bool cut;

	pthread_mutex_lock(&pmem->lock);
	now = fstat(pmem->fd, &st) ? pmem->there : ALIGN_UP((uint64_t)st.st_size, 4096);
	if (now < pmem->there && !map_zeros(pmem, now, pmem->there)) {
		pmem->there = now;
		pmem->cut = true;
	}
	cut = pmem->cut; /* maybe by another thread, just now */
	pthread_mutex_unlock(&pmem->lock);
	return cut;
}
