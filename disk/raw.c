/* Raw files and block devices: opening, geometry, size. */
#include "raw.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/event.h"
#include "lkvm/log.h"

/* ---- size ---- */

static int read_size(const struct raw *raw, uint64_t *ret)
{
	struct stat st;

	if (raw->device)
		return ioctl(raw->fd, BLKGETSIZE64, ret) ? -errno : 0;
	if (fstat(raw->fd, &st))
		return -errno;
	*ret = (uint64_t)st.st_size;
	return 0;
}

void raw_update_size(struct raw *raw)
{
	struct disk *disk = &raw->disk;
	uint64_t bytes;

	if (read_size(raw, &bytes) || bytes == raw->file_bytes)
		return;
	raw->file_bytes = bytes;
	if (ALIGN_UP(bytes, DISK_SECTOR_BYTES) == disk->size_bytes)
		return;
	disk->size_bytes = ALIGN_UP(bytes, DISK_SECTOR_BYTES);
	if (disk->resized)
		disk->resized(disk);
}

static void file_closed(struct loop_source *src, uint32_t events)
{
	char notes[512];

	(void)events;
	while (read(src->fd, notes, sizeof(notes)) > 0)
		;
	raw_update_size(container_of(src, struct raw, watch));
}

/* Who enlarges a file closes it afterwards. A device has no such event: see the end of a flush. */
static void watch_file(struct raw *raw)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", raw->fd);
	raw->watch.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (raw->watch.fd < 0 || inotify_add_watch(raw->watch.fd, path, IN_CLOSE_WRITE) < 0)
		log_debug(LOG_DEVICE, "disk '%s': no inotify: a change of its size is seen late",
			  raw->disk.name);
}

/* ---- life ---- */

/* At the first use: a context takes from fs.aio-max-nr, and time to be destroyed. */
static int start_aio(struct raw *raw)
{
	int err;

	if (raw->aio)
		return 0;
	if (raw->event.fd < 0)
		raw->event.fd = event_open(0);
	if (raw->event.fd < 0)
		return log_err(raw->event.fd, "disk '%s': eventfd", raw->disk.name);
	err = io_setup(RAW_DEPTH, &raw->aio);
	if (err == -EAGAIN)
		return log_errx(err,
				"disk '%s': too many asynchronous requests on this host; raise "
				"/proc/sys/fs/aio-max-nr",
				raw->disk.name);
	if (err)
		return log_err(err, "disk '%s': io_setup", raw->disk.name);
	if (!raw->device)
		watch_file(raw);
	return 0;
}

static int raw_attach(struct disk *disk, struct loop *loop)
{
	struct raw *raw = raw_of(disk);
	int err = start_aio(raw);

	if (err)
		return err;
	/* Edge triggered, so that nobody need read it: that would be a system call a batch. */
	err = loop_add(loop, &raw->event, EPOLLIN | EPOLLET);
	if (!err && raw->watch.fd >= 0)
		err = loop_add(loop, &raw->watch, EPOLLIN);
	if (err)
		return log_err(err, "disk '%s': event loop", disk->name);
	raw->loop = loop;
	raw->disk.held = false;
	raw_update_size(raw);
	return 0;
}

static void raw_detach(struct disk *disk, struct loop *loop)
{
	struct raw *raw = raw_of(disk);

	loop_del(loop, &raw->event);
	loop_del(loop, &raw->watch);
}

static void raw_close(struct disk *disk)
{
	struct raw *raw = raw_of(disk);

	assert(!raw->n_flying && !raw->todo.first);
	if (raw->aio)
		io_destroy(raw->aio);
	if (raw->event.fd >= 0)
		close(raw->event.fd);
	if (raw->watch.fd >= 0)
		close(raw->watch.fd);
	if (raw->zeros)
		munmap(raw->zeros, RAW_ZEROS_BYTES);
	if (raw->fd >= 0)
		close(raw->fd);
	free(raw);
}

static void raw_source(struct disk *disk, struct disk_source *ret)
{
	ret->fd = raw_of(disk)->fd;
}

static const struct disk_ops raw_ops = { raw_attach, raw_submit, raw_commit, raw_drain,
					 raw_detach, NULL,       raw_close,  raw_source };

static struct raw *raw_new(const char *name)
{
	struct raw *raw = calloc(1, sizeof(*raw));

	if (!raw)
		return NULL;
	raw->disk = (struct disk){ .ops = &raw_ops,
				   .name = name,
				   .block_bytes = DISK_SECTOR_BYTES,
				   .physical_bytes = 4096 };
	raw->fd = -1;
	raw->align = 1;
	raw->event = (struct loop_source){ -1, raw_completions_ready };
	raw->watch = (struct loop_source){ -1, file_closed };
	disk_fifo_init(&raw->todo);
	return raw;
}

/* ---- opening ---- */

static int open_failed(const struct disk_config *cfg, int err)
{
	if (err == -EINVAL && cfg->direct)
		return log_errx(err, "disk '%s': its file system cannot do direct I/O", cfg->path);
	if (!cfg->read_only && (err == -EACCES || err == -EROFS || err == -EPERM) &&
	    !access(cfg->path, R_OK))
		return log_err(err,
			       "disk '%s' cannot be written ('%s,ro' or '%s,ephemeral' would do)",
			       cfg->path, cfg->path, cfg->path);
	return log_err(err, "open disk '%s'", cfg->path);
}

static int open_file(struct raw *raw, const struct disk_config *cfg)
{
	int flags = (cfg->read_only ? O_RDONLY : O_RDWR) | (cfg->direct ? O_DIRECT : 0) | O_CLOEXEC;
	struct stat st;

	if (stat(cfg->path, &st))
		return log_err(-errno, "open disk '%s'", cfg->path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return log_errx(-EINVAL, "disk '%s' is neither a file nor a block device",
				cfg->path);
	raw->device = S_ISBLK(st.st_mode);
	/* A device that the host has mounted is then refused with EBUSY. */
	if (raw->device && !cfg->read_only)
		flags |= O_EXCL;
	raw->fd = open(cfg->path, flags);
	return raw->fd < 0 ? open_failed(cfg, -errno) : 0;
}

static void read_device_geometry(struct raw *raw)
{
	struct disk *disk = &raw->disk;
	unsigned physical = 0;
	int logical = 0;

	if (!ioctl(raw->fd, BLKSSZGET, &logical) && logical >= DISK_SECTOR_BYTES)
		disk->block_bytes = (unsigned)logical;
	if (!ioctl(raw->fd, BLKPBSZGET, &physical) && physical >= disk->block_bytes)
		disk->physical_bytes = physical;
}

/* Direct I/O in units of 512 bytes? Trying is the one way that works on every kernel. */
static int read_direct_geometry(struct raw *raw, void *page)
{
	raw->align = DISK_SECTOR_BYTES;
	if (pread(raw->fd, page, raw->align, 0) >= 0)
		return 0;
	raw->align = 4096;
	if (pread(raw->fd, page, raw->align, 0) < 0)
		return log_err(-errno, "disk '%s': direct I/O", raw->disk.name);
	if (raw->disk.block_bytes < raw->align)
		raw->disk.block_bytes = raw->align;
	return 0;
}

static int check_header(struct raw *raw, void *page)
{
	ssize_t len = pread(raw->fd, page, 4096, 0);
	const char *format;

	if (len < 0)
		return log_err(-errno, "read disk '%s'", raw->disk.name);
	format = disk_foreign_header(page, (size_t)len);
	if (!format)
		return 0;
	if (!disk_format_known(format))
		return log_errx(-EINVAL,
				"disk '%s' looks like a %s image, which lkvm cannot read; say format=raw if "
				"the guest is to see it as it is",
				raw->disk.name, format);
	return log_errx(-EINVAL,
			"disk '%s' looks like a %s image; say format=%s, or format=raw if the "
			"guest is to see it as it is",
			raw->disk.name, format, format);
}

static int read_geometry(struct raw *raw, const struct disk_config *cfg)
{
	void *page;
	int err = 0;

	if (raw->device)
		read_device_geometry(raw);
	if (posix_memalign(&page, 4096, 4096))
		return log_err(-ENOMEM, "disk '%s'", raw->disk.name);
	if (cfg->direct)
		err = read_direct_geometry(raw, page);
	if (!err && !cfg->format)
		err = check_header(raw, page);
	free(page);
	return err;
}

/* Behind the end there is nothing to discard: asking for it tells whether that could be done. */
static bool probe_discard(const struct raw *raw)
{
	off_t end = (off_t)ALIGN_UP(raw->file_bytes, 4096);

	if (raw->disk.read_only)
		return false;
	if (raw->device)
		return true;
	return !fallocate(raw->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, end, 4096);
}

static int finish_open(struct raw *raw)
{
	int err = read_size(raw, &raw->file_bytes);

	if (err)
		return log_err(err, "size of disk '%s'", raw->disk.name);
	if (!raw->file_bytes)
		return log_errx(-EINVAL, "disk '%s' is empty", raw->disk.name);
	raw->disk.size_bytes = ALIGN_UP(raw->file_bytes, DISK_SECTOR_BYTES);
	raw->disk.can_discard = probe_discard(raw);
	return 0;
}

int raw_open(const struct disk_config *cfg, struct disk **ret)
{
	struct raw *raw = raw_new(cfg->path);
	int err;

	if (!raw)
		return log_err(-ENOMEM, "disk '%s'", cfg->path);
	raw->disk.read_only = cfg->read_only;
	raw->guard = !cfg->format;
	err = open_file(raw, cfg);
	if (!err)
		err = disk_lock(raw->fd, cfg->path, !cfg->read_only);
	if (!err)
		err = disk_lock_bytes(raw->fd, cfg->path, !cfg->read_only);
	if (!err)
		err = read_geometry(raw, cfg);
	if (!err)
		err = finish_open(raw);
	if (err)
		raw_close(&raw->disk);
	else
		*ret = &raw->disk;
	return err;
}

int raw_open_fd(int fd, const char *name, struct disk **ret)
{
	struct raw *raw = raw_new(name);
	int err;

	if (!raw) {
		close(fd);
		return log_err(-ENOMEM, "disk '%s'", name);
	}
	raw->fd = fd;
	err = finish_open(raw);
	if (err)
		raw_close(&raw->disk);
	else
		*ret = &raw->disk;
	return err;
}
