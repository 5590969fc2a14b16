/* Choosing a back end. */
#include "disk-internal.h"

#include <errno.h>
#include <string.h>

#include "lkvm/log.h"

static int open_image(const struct disk_config *cfg, struct disk **ret)
{
	const char *format = disk_format(cfg);

	if (disk_foreign_uri(cfg->path))
		return log_errx(-EINVAL,
				"disk '%s': of URIs, nbd://, nbds://, nbd+unix:// and nbds+unix:// are known",
				cfg->path);
	if (!format)
		return log_errx(-EINVAL, "disk '%s' cannot be of format '%s'", cfg->path,
				cfg->format);
	if (cfg->key_file && (!strcmp(format, "raw") || !strcmp(format, "nbd")))
		return log_errx(-EINVAL, "disk '%s': key-file= is for encrypted qcow2 images", cfg->path);
	return strcmp(format, "raw") ? nbd_open(cfg, format, ret) : raw_open(cfg, ret);
}

int disk_source(struct disk *disk, struct disk_source *ret)
{
	if (!disk->ops->source)
		return -EOPNOTSUPP;
	*ret = (struct disk_source){ .fd = -1, .top_fd = -1, .bytes = disk->size_bytes };
	disk->ops->source(disk, ret);
	return ret->fd < 0 ? -EOPNOTSUPP : 0;
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
