/* `lkvm run -c`: how many CPUs there are, and what was not given of how they are arranged; see run.h. */
#include <errno.h>
#include <unistd.h>

#include "lkvm/log.h"
#include "lkvm/vm/run.h"
#include "lkvm/x86/layout.h"

/* Not given: all that the host has online. */
static void choose_cpus(struct vm_config *cfg)
{
	long online;

	if (cfg->cpus)
		return;
	online = sysconf(_SC_NPROCESSORS_ONLN);
	cfg->cpus = online > 0 ? (unsigned)online : 1;
	if (cfg->cpus > MAX_VCPUS)
		cfg->cpus = MAX_VCPUS;
}

static void set_missing(uint32_t *level, uint64_t value)
{
	if (!*level)
		*level = (uint32_t)value;
}

/* Cores first, as kernels schedule by them; then sockets. */
static struct cpu_topology complete(const struct cpu_topology *given, unsigned cpus)
{
	struct cpu_topology t = *given;
	uint64_t others;

	set_missing(&t.threads, 1);
	set_missing(&t.dies, 1);
	if (!t.cores) {
		set_missing(&t.sockets, 1);
		others = (uint64_t)t.sockets * t.dies * t.threads;
		t.cores = others < cpus ? (uint32_t)(cpus / others) : 1;
	}
	others = (uint64_t)t.dies * t.cores * t.threads;
	set_missing(&t.sockets, others < cpus ? cpus / others : 1);
	return t;
}

int run_choose_cpus(struct vm_config *cfg)
{
	struct cpu_topology t;

	choose_cpus(cfg);
	t = complete(&cfg->topology, cfg->cpus);
	if (topology_cpus(&t) != cfg->cpus)
		return log_errx(-EINVAL,
				"--cpus: %u CPUs are not %u sockets of %u dies of %u cores of %u threads, which are %llu",
				cfg->cpus, t.sockets, t.dies, t.cores, t.threads,
				(unsigned long long)topology_cpus(&t));
	cfg->topology = t;
	return 0;
}
