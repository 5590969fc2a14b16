/* `lkvm run --fs DIR,TAG,key,key=value`, `--9p DIR,TAG,key`: what a shared folder is, from the command line. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/fs.h"
#include "lkvm/log.h"
#include "lkvm/vm/run.h"

static int check_tag(const struct vm_config *cfg, const struct fs_config *folder, const char *option,
		     const char *arg)
{
	if (!*folder->path || !folder->tag || !*folder->tag)
		return log_errx(-EINVAL, "option '--%s': '%s' is not DIR,TAG", option, arg);
	if (strlen(folder->tag) > FS_TAG_BYTES)
		return log_errx(-EINVAL, "option '--%s': tag '%s' is longer than %d characters",
				option, folder->tag, FS_TAG_BYTES);
	for (unsigned i = 0; i + 1 < cfg->n_folders; i++)
		if (!strcmp(cfg->folders[i].tag, folder->tag))
			return log_errx(-EINVAL, "option '--%s': tag '%s' is given twice", option,
					folder->tag);
	return 0;
}

static int parse_folder(void *config, const struct opt *opt, const char *arg, bool p9)
{
	struct vm_config *cfg = config;
	struct fs_config *folders = reallocarray(cfg->folders, cfg->n_folders + 1, sizeof(*folders));
	char *text = strdup(arg), *rest = text;
	struct fs_config *folder;
	int err;

	if (folders)
		cfg->folders = folders;
	if (!folders || !text) {
		free(text);
		return log_err(-ENOMEM, "folder '%s'", arg);
	}
	folder = &folders[cfg->n_folders++];
	/* The path is where @text begins: run_free_folders() frees it by that. */
	*folder = (struct fs_config){ .path = keys_word(&rest), .p9 = p9 };
	folder->tag = keys_word(&rest);
	err = check_tag(cfg, folder, opt->name, arg);
	return err ? err : keys_parse(opt->name, opt->keys, folder, rest);
}

int run_parse_fs(void *config, const struct opt *opt, const char *arg)
{
	return parse_folder(config, opt, arg, false);
}

int run_parse_9p(void *config, const struct opt *opt, const char *arg)
{
	return parse_folder(config, opt, arg, true);
}

void run_free_folders(struct vm_config *cfg)
{
	for (unsigned i = 0; i < cfg->n_folders; i++)
		free((char *)cfg->folders[i].path);
	free(cfg->folders);
}
