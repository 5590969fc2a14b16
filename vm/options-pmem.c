/* `lkvm run --pmem FILE[,ro]`: files that the guest has as memory, from the command line. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/keys.h"
#include "lkvm/log.h"
#include "lkvm/pmem.h"
#include "lkvm/vm/run.h"

int run_parse_pmem(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	struct pmem_config *pmems = reallocarray(cfg->pmems, cfg->n_pmems + 1, sizeof(*pmems)), *pmem;
	char *text = strdup(arg), *rest = text;
	int err;

	if (pmems)
		cfg->pmems = pmems;
	if (!pmems || !text || cfg->n_pmems == PMEM_MOST) {
		free(text);
		return pmems && cfg->n_pmems == PMEM_MOST ? log_errx(-EINVAL, "option '--%s': more than %d files", opt->name, PMEM_MOST) :
						       log_err(-ENOMEM, "option '--%s'", opt->name);
	}
	pmem = &pmems[cfg->n_pmems++];
	/* The path is where @text begins: run_free_pmems() frees it by that. */
	*pmem = (struct pmem_config){ .path = keys_word(&rest) };
	if (!*pmem->path)
		return log_errx(-EINVAL, "option '--%s': '%s' is not FILE[,ro]", opt->name, arg);
	err = keys_parse(opt->name, opt->keys, pmem, rest);
	return err ? err : pmem_size(pmem);
}

void run_free_pmems(struct vm_config *cfg)
{
	for (unsigned i = 0; i < cfg->n_pmems; i++)
		free((char *)cfg->pmems[i].path);
	free(cfg->pmems);
}
