/* Choosing a back end, and what they all do alike. */
#include "disk-internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lkvm/log.h"

static int open_image(const struct disk_config *cfg, struct disk **ret)
{
	const char *format = disk_format(cfg);

	if (!format)
		return log_errx(-EINVAL, "disk '%s' cannot be of format '%s'", cfg->path,
				cfg->format);
	return strcmp(format, "raw") ? nbd_open(cfg, format, ret) : raw_open(cfg, ret);
}

int disk_open(const struct disk_config *cfg, struct disk **ret)
{
	struct disk_config base_cfg = *cfg;
	struct disk *base;
	int err;

	if (!cfg->ephemeral || cfg->read_only)
		return open_image(cfg, ret);
	base_cfg.read_only = true;
	err = open_image(&base_cfg, &base);
	return err ? err : overlay_open(base, ret);
}

void disk_close(struct disk *disk)
{
	if (disk)
		disk->ops->close(disk);
}

void disk_failed(struct disk *disk, const struct disk_request *req, int err)
{
	static const char *const names[] = { "read", "write", "flush", "discard", "write zeroes" };

	if (disk->failed_ops & 1U << req->op)
		return;
	disk->failed_ops |= 1U << req->op;
	if (req->op == DISK_FLUSH)
		log_err(err, "disk '%s': flush failed (further ones are not reported)", disk->name);
	else
		log_err(err,
			"disk '%s': %s of %" PRIu64 " bytes at %" PRIu64
			" failed (further ones are not reported)",
			disk->name, names[req->op], req->len, req->off);
}
