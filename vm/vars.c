/* Variables of firmware: a file as flash memory; see vm/vars.h. The chip changes on the vCPU thread that writes to it. */
#include "lkvm/vm/vars.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/file.h"
#include "lkvm/flash.h"
#include "lkvm/log.h"

struct vars {
	int fd;
	const char *path;
	uint8_t *data; /* what is in the file; mapped, @bytes of them */
	uint64_t bytes;
	struct flash flash;
	bool has_flash;
	enum vars_use use;
	struct kvm *kvm;
	gpa_t at;
	int slot; /* -1: none, as reads do not see the array, or there is no room for one */
	struct ratelimit unwritten;
};

static int failed(const char *path, int err, const char *why)
{
	return log_errx(err, "could not open firmware variables '%s': %s", path, why ? why : strerror(-err));
}

/* ---- the file ---- */

static int judge(const char *path, const struct stat *st, uint64_t room)
{
	if (!S_ISREG(st->st_mode))
		return failed(path, -EINVAL, "not a regular file");
	if (!st->st_size)
		return failed(path, -EINVAL, "it is empty");
	if (st->st_size % FLASH_BLOCK_BYTES)
		return failed(path, -EINVAL, "its size is no multiple of 4 KiB");
	return (uint64_t)st->st_size > room ? failed(path, -EFBIG, "with the firmware it is larger than 16 MiB") : 0;
}

static int lock(struct vars *vars)
{
	if (vars->use != VARS_WRITE || !flock(vars->fd, LOCK_EX | LOCK_NB))
		return 0;
	return failed(vars->path, -errno, errno == EWOULDBLOCK ? "another guest uses it" : NULL);
}

static int read_all(struct vars *vars)
{
	void *data = mmap(NULL, vars->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ssize_t n;

	if (data == MAP_FAILED)
		return failed(vars->path, -errno, NULL);
	vars->data = data;
	n = file_read(vars->fd, data, vars->bytes, 0);
	if (n < 0)
		return failed(vars->path, (int)n, NULL);
	return (uint64_t)n < vars->bytes ? failed(vars->path, -EIO, "it has become shorter") : 0;
}

static int open_file(struct vars *vars, uint64_t room)
{
	struct stat st;
	int err;

	vars->fd = open(vars->path, (vars->use == VARS_WRITE ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
	if (vars->fd < 0)
		return failed(vars->path, -errno, NULL);
	err = fstat(vars->fd, &st) ? failed(vars->path, -errno, NULL) : judge(vars->path, &st, room);
	if (!err)
		err = lock(vars);
	if (err)
		return err;
	vars->bytes = (uint64_t)st.st_size;
	return read_all(vars);
}

/* ---- the chip ---- */

static int store(void *ctx, uint64_t off, const void *bytes, size_t len)
{
	struct vars *vars = ctx;
	int err = vars->use == VARS_WRITE ? file_write(vars->fd, bytes, len, off) : 0;

	if (err && ratelimit_ok(&vars->unwritten))
		log_err(err, "write firmware variables '%s'", vars->path);
	if (!err)
		memcpy(vars->data + off, bytes, len);
	return err;
}

/* What cannot be a slot is no less right by the bus. Logged by the slots */
static void array(void *ctx, bool on)
{
	struct vars *vars = ctx;
	const struct kvm_slot slot = {
		.name = "firmware variables",
		.at = vars->at,
		.bytes = vars->bytes,
		.host = vars->data,
		.read_only = true,
	};

	if (on)
		vars->slot = kvm_slot_add(vars->kvm, &slot);
	else if (vars->slot >= 0 && !kvm_slot_remove(vars->kvm, (unsigned)vars->slot))
		vars->slot = -1;
}

static const struct flash_ops flash_ops = { store, array };
static const struct bus_ops bus_ops = { flash_read, flash_write };

int vars_open(const char *path, uint64_t room, enum vars_use use, struct vars **ret)
{
	struct vars *vars = calloc(1, sizeof(*vars));
	int err;

	if (!vars)
		return failed(path, -ENOMEM, NULL);
	vars->path = path;
	vars->use = use;
	err = open_file(vars, room);
	if (err) {
		vars_close(vars);
		return err;
	}
	flash_init(&vars->flash, vars->data, vars->bytes, &flash_ops, vars);
	vars->has_flash = true;
	*ret = vars;
	return 0;
}

int vars_map(struct vars *vars, struct kvm *kvm, gpa_t end)
{
	const struct bus_range range = {
		.base = end.v - vars->bytes,
		.size = vars->bytes,
		.ops = &bus_ops,
		.dev = &vars->flash,
		.name = "firmware variables",
	};
	int err = bus_add(&kvm->mmio, &range);

	if (err)
		return log_err(err, "firmware variables on the bus");
	vars->kvm = kvm;
	vars->at = GPA(range.base);
	array(vars, true);
	return vars->slot < 0 ? vars->slot : 0;
}

bool vars_are_private(const struct vars *vars)
{
	return vars->use == VARS_PRIVATE;
}

const void *vars_data(const struct vars *vars, uint64_t *ret_bytes)
{
	*ret_bytes = vars->bytes;
	return vars->data;
}

struct flash *vars_flash(struct vars *vars)
{
	return &vars->flash;
}

void vars_close(struct vars *vars)
{
	if (!vars)
		return;
	if (vars->has_flash)
		flash_fini(&vars->flash);
	if (vars->data)
		munmap(vars->data, vars->bytes);
	if (vars->fd >= 0 && vars->use == VARS_WRITE && vars->has_flash && fdatasync(vars->fd))
		log_err(-errno, "write firmware variables '%s'", vars->path);
	if (vars->fd >= 0)
		close(vars->fd);
	free(vars);
}
