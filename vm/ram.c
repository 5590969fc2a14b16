/* `lkvm run`: how much RAM the guest gets; see run.h. */
#include <errno.h>
#include <stdio.h>

#include "lkvm/log.h"
#include "lkvm/vm/numa.h"
#include "lkvm/vm/run.h"

/* Allowed: a guest rarely touches all that it has. But the user should know. */
static void warn_large(uint64_t bytes, uint64_t host_bytes)
{
	uint64_t limit = ram_cgroup_bytes();
	char cgroup[64] = "";

	if (limit < host_bytes)
		snprintf(cgroup, sizeof(cgroup), ", cgroup limit %lluMB",
			 (unsigned long long)(limit / MIB));
	log_warn("Guest memory size %lluMB exceeds host physical RAM size %lluMB (%lluMB available "
		 "now%s)",
		 (unsigned long long)(bytes / MIB), (unsigned long long)(host_bytes / MIB),
		 (unsigned long long)(ram_available_bytes() / MIB), cgroup);
}

/* Allocating more than there is would call the OOM killer, on whom it likes. */
static int check_prealloc(const struct ram_config *cfg, uint64_t host_bytes)
{
	uint64_t limit, most;

	if (!cfg->prealloc || cfg->path)
		return 0;
	limit = ram_cgroup_bytes();
	most = host_bytes && host_bytes < limit ? host_bytes : limit;
	if (cfg->size_bytes <= most)
		return 0;
	return log_errx(-ENOMEM, "--mem-prealloc: guest RAM of %lluMB is more than the %lluMB of %s",
			(unsigned long long)(cfg->size_bytes / MIB),
			(unsigned long long)(most / MIB), most == limit ? "lkvm's cgroup" : "this host");
}

int run_choose_size(struct vm_config *cfg)
{
	const char *failed;
	uint64_t host = ram_host_bytes(&failed);
	uint64_t *bytes = &cfg->ram.size_bytes;
	int err = run_choose_cpus(cfg);
	bool chosen;

	if (!err)
		err = run_choose_numa(cfg);
	if (err)
		return err;
	chosen = *bytes;
	if (failed)
		log_warn("sysconf(%s) failed", failed);
	if (!chosen)
		*bytes = ram_default_bytes(cfg->cpus, host);
	if (host && *bytes > host)
		warn_large(*bytes, host);
	else if (host && !chosen && *bytes > host / 5 * 4)
		log_warn("host RAM of %lluMB is little for a guest of %lluMB",
			 (unsigned long long)(host / MIB), (unsigned long long)(*bytes / MIB));
	err = check_prealloc(&cfg->ram, host);
	return err ? err : run_choose_mem(cfg);
}
