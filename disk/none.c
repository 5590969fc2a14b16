/* A disk without a host end, for a machine that is shown and never run; see disk.h. */
#include <errno.h>
#include <stdlib.h>

#include "lkvm/disk.h"
#include "lkvm/log.h"

static void none_close(struct disk *disk)
{
	free(disk);
}

static const struct disk_ops none_ops = { .close = none_close };

int disk_none(const struct disk_config *cfg, struct disk **ret)
{
	struct disk *disk = calloc(1, sizeof(*disk));

	if (!disk)
		return log_err(-ENOMEM, "disk '%s'", cfg->path);
	*disk = (struct disk){
		.ops = &none_ops,
		.name = cfg->path,
		.block_bytes = DISK_SECTOR_BYTES,
		.physical_bytes = DISK_SECTOR_BYTES,
		.read_only = cfg->read_only,
	};
	*ret = disk;
	return 0;
}
