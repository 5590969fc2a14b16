/* `lkvm run -d PATH,key,key=value`: what a disk is, from the command line. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/disk.h"
#include "lkvm/log.h"
#include "lkvm/vm/run.h"

static int add_disk(struct vm_config *cfg, const struct opt *opt, const char *arg, bool read_only)
{
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
	*disk = (struct disk_config){ .path = keys_word(&rest), .read_only = read_only };
	if (!*disk->path)
		return log_errx(-EINVAL, "option '--disk': the path is missing in '%s'", arg);
	return keys_parse(opt->name, disk_keys, disk, rest);
}

int run_parse_disk(void *config, const struct opt *opt, const char *arg)
{
	return add_disk(config, opt, arg, false);
}

int run_add_root_disk(struct vm_config *cfg, const struct opt *opt, const char *arg)
{
	int err = add_disk(cfg, opt, arg, true);

	if (err)
		return err;
	cfg->disks[cfg->n_disks - 1].serial = SESSION_ROOT_SERIAL;
	cfg->session.root_disk = cfg->session.wanted = true;
	return 0;
}

void run_free_disks(struct vm_config *cfg)
{
	for (unsigned i = 0; i < cfg->n_disks; i++)
		free((char *)cfg->disks[i].path);
	free(cfg->disks);
}
