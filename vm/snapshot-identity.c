/* Which file it is that stays where it was while a machine is saved; see snapshot-internal.h. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/file.h"
#include "lkvm/log.h"
#include "snapshot-internal.h"

#ifndef BLKGETDISKSEQ /* of Linux 5.15 */
#define BLKGETDISKSEQ _IOR(0x12, 128, uint64_t)
#endif

/* Another device of the same number, or another file in the same loop device, has another one. */
static uint64_t sequence_of(int fd)
{
	uint64_t sequence = 0;

	return ioctl(fd, BLKGETDISKSEQ, &sequence) < 0 ? 0 : sequence;
}

int snapshot_identify(const char *path, struct snapshot_identity *ret)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err = 0;
	struct snapshot_identity id = { 0 };
	struct stat is;
	off_t end;

	if (fd < 0)
		return -errno;
	end = lseek(fd, 0, SEEK_END);
	if (end < 0 || fstat(fd, &is))
		err = -errno;
	if (!err)
		err = file_sample(fd, (uint64_t)end, &id.checksum);
	if (!err && S_ISBLK(is.st_mode))
		id.sequence = sequence_of(fd);
	close(fd);
	if (err)
		return err;
	id.size_bytes = (uint64_t)end;
	id.device = S_ISBLK(is.st_mode) ? is.st_rdev : is.st_dev;
	id.inode = S_ISBLK(is.st_mode) ? 0 : is.st_ino;
	id.mtime_ns = (uint64_t)is.st_mtim.tv_sec * NS_PER_S + (uint64_t)is.st_mtim.tv_nsec;
	*ret = id;
	return 0;
}

/* Return: how it differs, or NULL: it is what it was */
static const char *other_file(const struct snapshot_identity *was, const struct snapshot_identity *now)
{
	if (now->size_bytes != was->size_bytes)
		return "it has another size";
	if (now->device != was->device || now->inode != was->inode)
		return "it is another file";
	if (was->sequence && now->sequence != was->sequence)
		return "it is another device";
	if (now->mtime_ns != was->mtime_ns)
		return "it was written";
	return now->checksum != was->checksum ? "its contents are others" : NULL;
}

int snapshot_check_unchanged(const char *path, const struct snapshot_identity *was, const char *what, const char *as)
{
	struct snapshot_identity now;
	const char *other;
	int err = snapshot_identify(path, &now);

	if (err)
		return log_err(err, "%s '%s', which the snapshot needs as %s", what, path, as);
	other = other_file(was, &now);
	return other ? log_errx(-ESTALE, "%c%s '%s' changed since the snapshot (%s); refusing to restore", toupper(*what),
				what + 1, path, other) : 0;
}
