/* `lkvm run -d PATH,key,key=value`: what a disk is, from the command line. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/disk.h"
#include "lkvm/log.h"
#include "lkvm/vm/run.h"

int run_parse_disk(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	struct disk_config *disks = reallocarray(cfg->disks, cfg->n_disks + 1, sizeof(*disks));
	char *text = strdup(arg), *rest = text;
	struct disk_config *disk;

	if (disks)
		cfg->disks = disks;
	if (!disks || !text) {
		free(text);
		return log_err(-ENOMEM, "disk '%s'", arg);
	}
	disk = &disks[cfg->n_disks++];
	/* The path is where @text begins: run_config_free() frees it by that. */
	*disk = (struct disk_config){ .path = keys_word(&rest) };
	if (!*disk->path)
		return log_errx(-EINVAL, "option '--disk': the path is missing in '%s'", arg);
	return keys_parse(opt->name, disk_keys, disk, rest);
}

void run_free_disks(struct vm_config *cfg)
{
	for (unsigned i = 0; i < cfg->n_disks; i++)
		free((char *)cfg->disks[i].path);
	free(cfg->disks);
}
