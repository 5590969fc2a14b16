/*
 * Where guest RAM comes from: anonymous memory, huge pages, a hugetlbfs, a file. Nothing falls back
 * silently to other memory: what cannot be had is an error with the numbers. See ram.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lkvm/log.h"
#include "lkvm/ram.h"

static int no_space(const char *path, uint64_t size_bytes, uint64_t free_bytes)
{
	return log_errx(-ENOSPC, "Not enough space in '%s' for %lluMB of guest RAM (%lluMB free)", path,
			(unsigned long long)(size_bytes / MIB), (unsigned long long)(free_bytes / MIB));
}

/* A number that stands alone in a file of /sys or behind @key in one of /proc; 0 if there is none. */
static uint64_t read_number(const char *path, const char *key)
{
	FILE *f = fopen(path, "re");
	char line[128];
	uint64_t value = 0;

	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, strlen(key)))
			continue;
		value = strtoull(line + strlen(key), NULL, 10);
		break;
	}
	if (f)
		fclose(f);
	return value;
}

static uint64_t hugepage_count(uint64_t page_bytes, const char *what)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%llukB/%s",
		 (unsigned long long)(page_bytes / KIB), what);
	return read_number(path, "");
}

static int check_hugepage_size(uint64_t page_bytes, uint64_t size_bytes)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%llukB",
		 (unsigned long long)(page_bytes / KIB));
	if (!page_bytes || access(path, F_OK))
		return log_errx(-EINVAL, "the host has no huge pages of %lluMB",
				(unsigned long long)(page_bytes / MIB));
	if (size_bytes & (2 * MIB - 1))
		return log_errx(-EINVAL, "guest RAM of %lluKB is not a multiple of a huge page (2MB)",
				(unsigned long long)(size_bytes / KIB));
	return 0;
}

static int open_hugepages(struct ram_backing *backing, const struct ram_config *cfg,
			  uint64_t size_bytes)
{
	unsigned flags = MFD_CLOEXEC | MFD_HUGETLB;
	int err;

	backing->page_bytes = cfg->hugepage_bytes;
	if (!backing->page_bytes)
		backing->page_bytes = read_number("/proc/meminfo", "Hugepagesize:") * KIB;
	err = check_hugepage_size(backing->page_bytes, size_bytes);
	if (err || !cfg->share)
		return err;
	/* A memfd has one page size, so the part below the gap must be a multiple of it. */
	if (size_bytes & (backing->page_bytes - 1) ||
	    (size_bytes > RAM_GAP_START && RAM_GAP_START & (backing->page_bytes - 1)))
		return log_errx(-EINVAL, "shared guest RAM of %lluMB cannot be made of %lluMB pages",
				(unsigned long long)(size_bytes / MIB),
				(unsigned long long)(backing->page_bytes / MIB));
	flags |= (unsigned)__builtin_ctzll(backing->page_bytes) << MFD_HUGE_SHIFT;
	backing->fd = memfd_create("guest-ram", flags);
	if (backing->fd < 0 || ftruncate(backing->fd, (off_t)size_bytes))
		return log_err(-errno, "create a memfd of huge pages");
	return 0;
}

static int open_memfd(struct ram_backing *backing, uint64_t size_bytes)
{
	backing->fd = memfd_create("guest-ram", MFD_CLOEXEC);
	if (backing->fd < 0 || ftruncate(backing->fd, (off_t)size_bytes))
		return log_err(-errno, "create a memfd for guest RAM");
	return 0;
}

/* A file without a name: it goes when the last user goes, however that ends. */
static int open_unlinked(const char *dir)
{
	char path[PATH_MAX];
	int fd = open(dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd;
	if ((size_t)snprintf(path, sizeof(path), "%s/lkvm-ram-XXXXXX", dir) >= sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

/* Grow the file to the RAM's size, if its file system has room for what is not in it yet. */
static int fit_file(int fd, const char *path, const struct stat *st, uint64_t size_bytes)
{
	uint64_t held = (uint64_t)st->st_blocks * 512;
	uint64_t avail;
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return log_err(-errno, "statfs '%s'", path);
	avail = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
	/* A hugetlbfs without a size limit has no blocks at all; mmap() will say what it lacks. */
	if (fs.f_blocks && size_bytes > held && size_bytes - held > avail)
		return no_space(path, size_bytes, avail + held);
	if ((uint64_t)st->st_size < size_bytes && ftruncate(fd, (off_t)size_bytes))
		return log_err(-errno, "grow '%s' to %lluMB", path,
			       (unsigned long long)(size_bytes / MIB));
	return 0;
}

static int open_path(struct ram_backing *backing, const struct ram_config *cfg, uint64_t size_bytes)
{
	const char *path = cfg->path;
	struct stat st;
	bool fresh = stat(path, &st);
	int err;

	if (!fresh && S_ISDIR(st.st_mode))
		backing->fd = open_unlinked(path);
	else
		backing->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
	if (backing->fd < 0 || fstat(backing->fd, &st))
		return log_err(-errno, "open '%s' for guest RAM", path);
	if (!S_ISREG(st.st_mode))
		return log_errx(-EINVAL, "'%s' for guest RAM is neither a file nor a folder", path);
	if (flock(backing->fd, (cfg->share ? LOCK_SH : LOCK_EX) | LOCK_NB))
		return log_errx(-EBUSY, "'%s' is the RAM of another guest (both need --mem-share)",
				path);
	err = fit_file(backing->fd, path, &st, size_bytes);
	if (err && fresh)
		unlink(path);
	return err;
}

static int open_hugetlbfs(struct ram_backing *backing, const struct ram_config *cfg,
			  uint64_t size_bytes)
{
	const char *path = cfg->hugetlbfs;
	struct statfs fs;
	struct stat st;

	if (statfs(path, &fs))
		return log_err(-errno, "statfs '%s'", path);
	if ((unsigned long)fs.f_type != HUGETLBFS_MAGIC)
		return log_errx(-EINVAL, "'%s' is not a hugetlbfs mount point", path);
	backing->page_bytes = (uint64_t)fs.f_bsize;
	if (size_bytes & (backing->page_bytes - 1) ||
	    (size_bytes > RAM_GAP_START && RAM_GAP_START & (backing->page_bytes - 1)))
		return log_errx(-EINVAL, "guest RAM of %lluMB cannot be made of %lluMB pages",
				(unsigned long long)(size_bytes / MIB),
				(unsigned long long)(backing->page_bytes / MIB));
	backing->fd = open_unlinked(path);
	if (backing->fd < 0 || fstat(backing->fd, &st))
		return log_err(-errno, "create a file in '%s'", path);
	return fit_file(backing->fd, path, &st, size_bytes);
}

static int open_saved(struct ram_backing *backing, const struct ram_config *cfg)
{
	backing->fd = fcntl(cfg->saved_fd, F_DUPFD_CLOEXEC, 0);
	return backing->fd < 0 ? log_err(-errno, "saved RAM") : 0;
}

int ram_backing_open(struct ram_backing *backing, const struct ram_config *cfg, uint64_t size_bytes)
{
	*backing = (struct ram_backing){ .fd = -1, .prealloc = cfg->prealloc, .advice = cfg };
	backing->shared = ram_backing_shared(cfg);
	if (!!cfg->path + !!cfg->hugetlbfs + cfg->hugepages > 1)
		return log_errx(-EINVAL, "--mem-path, --hugetlbfs and --hugepages exclude each other");
	if (cfg->saved)
		return open_saved(backing, cfg);
	if (cfg->hugetlbfs)
		return open_hugetlbfs(backing, cfg, size_bytes);
	if (cfg->path)
		return open_path(backing, cfg, size_bytes);
	if (cfg->hugepages)
		return open_hugepages(backing, cfg, size_bytes);
	return cfg->share ? open_memfd(backing, size_bytes) : 0;
}

void ram_backing_close(struct ram_backing *backing)
{
	if (backing->fd >= 0)
		close(backing->fd);
	backing->fd = -1;
}

/* Where an administrator asks for more: the sysctl is for pages of the default size only. */
static const char *more_hugepages(uint64_t page_bytes, uint64_t total, char *ret, size_t bytes)
{
	bool usual = read_number("/proc/meminfo", "Hugepagesize:") * KIB == page_bytes;

	if (usual)
		snprintf(ret, bytes, "sysctl vm.nr_hugepages=%llu", (unsigned long long)total);
	else
		snprintf(ret, bytes, "echo %llu >/sys/kernel/mm/hugepages/hugepages-%llukB/nr_hugepages",
			 (unsigned long long)total, (unsigned long long)(page_bytes / KIB));
	return ret;
}

int ram_backing_failed(const struct ram_backing *backing, uint64_t size_bytes, int err)
{
	unsigned long long mib = size_bytes / MIB, page = backing->page_bytes;
	unsigned long long needed, unused, all;
	char how[128];

	if (backing->unbound)
		return log_err(err, "bind guest RAM to the host's NUMA nodes (mbind)");
	if (err != -ENOMEM || !page)
		return log_err(err, "map %lluMB of guest RAM", mib);
	needed = (size_bytes + page - 1) / page;
	unused = hugepage_count(page, "free_hugepages");
	all = hugepage_count(page, "nr_hugepages");
	return log_errx(err,
			"Not enough huge pages for %lluMB of guest RAM: %llu of %lluMB needed, "
			"%llu free (of %llu; `%s` makes more)",
			mib, needed, page / MIB, unused, all,
			more_hugepages(page, all + needed - (unused < needed ? unused : needed), how,
				       sizeof(how)));
}

bool ram_backing_shared(const struct ram_config *cfg)
{
	/* A file is the RAM itself, never only its first content. */
	return cfg->share || cfg->path || cfg->hugetlbfs;
}

const char *ram_backing_kind(const struct ram_config *cfg)
{
	if (cfg->saved)
		return "snapshot";
	if (cfg->path)
		return "file";
	if (cfg->hugetlbfs)
		return "hugetlbfs";
	if (cfg->hugepages)
		return cfg->share ? "memfd of huge pages" : "anonymous huge pages";
	return cfg->share ? "memfd" : "anonymous";
}
