/* `lkvm run --mem-max SIZE`: memory that the guest can be given while it runs; see lkvm/virtio-mem.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/log.h"
#include "lkvm/virtio-mem.h"
#include "lkvm/vm/hardware.h"
#include "lkvm/vm/run.h"
#include "lkvm/x86/cpu.h"
#include "lkvm/x86/numa.h"

int run_parse_mem_max(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;

	switch (ram_parse_size(arg, &cfg->mem_max)) {
	case RAM_SIZE_OK:
	case RAM_SIZE_SMALL:
	case RAM_SIZE_PAGES:
		return 0;
	case RAM_SIZE_ZERO:
		return log_errx(-EINVAL, "option '--%s': '%s' is nothing", opt->name, arg);
	case RAM_SIZE_OVERFLOW:
		return log_errx(-EINVAL, "option '--%s': '%s' is too large", opt->name, arg);
	case RAM_SIZE_SPECIFIER:
		break;
	}
	return log_errx(-EINVAL, "option '--%s': '%s' is no size (4096, 4G)", opt->name, arg);
}

/* One kind of memory is enough for what comes and goes. */
static int refuse_backings(const struct ram_config *ram)
{
	const char *other = ram->path ? "mem-path" : ram->hugetlbfs ? "hugetlbfs" : ram->hugepages ? "hugepages" :
			    ram->share ? "mem-share" : NULL;

	return other ? log_errx(-EINVAL, "--mem-max does not go with --%s: memory that is plugged is anonymous", other) : 0;
}

static uint64_t block_for(uint64_t bytes)
{
	uint64_t block = MEM_SMALLEST_BLOCK;

	while (block < bytes && (bytes + block - 1) / block > RAM_MAX_BLOCKS)
		block *= 2;
	return block;
}

/* Linux uses whole sections only. More than is asked for is never plugged. */
static int choose_region(struct vm_config *cfg)
{
	const uint64_t ram = cfg->ram.size_bytes, most = cfg->mem_max - ram, block = block_for(most);
	const uint64_t unit = block > MEM_ALIGN ? block : MEM_ALIGN;
	struct ram_region *region = &cfg->ram.region;
	char text[3][32];
	unsigned bits;

	region->block_bytes = block;
	region->start = ALIGN_UP(hw_mem_at(cfg).v, block);
	if (most > INT64_MAX - region->start - unit)
		return log_errx(-E2BIG, "--mem-max: more memory than there are addresses");
	region->bytes = ALIGN_UP(most, unit);
	bits = cpu_phys_bits_for(region->start + region->bytes);
	if (region->start + region->bytes > 1ULL << bits)
		return log_errx(-E2BIG, "--mem-max: %s needs addresses up to 0x%llx, and those of this host end at 2^%u",
				ram_mb_text(cfg->mem_max, text[0], sizeof(text[0])),
				(unsigned long long)(region->start + region->bytes), bits);
	if (!(most / block))
		return log_errx(-EINVAL, "--mem-max: %s is %lluKB more than the guest's RAM, and memory comes in blocks of %s",
				ram_mb_text(cfg->mem_max, text[0], sizeof(text[0])), (unsigned long long)(most / KIB),
				ram_mb_text(block, text[1], sizeof(text[1])));
	cfg->mem_max = ram + ALIGN_DOWN(most, block);
	if (most % block)
		log_info("--mem-max: %s, as memory comes in blocks of %s", ram_mb_text(cfg->mem_max, text[0], sizeof(text[0])),
			 ram_mb_text(block, text[1], sizeof(text[1])));
	return 0;
}

/* What comes from where the first node's RAM comes from */
static int choose_policy(struct vm_config *cfg)
{
	const struct ram_region *region = &cfg->ram.region;
	struct ram_policy *policies;
	unsigned n = cfg->ram.n_policies;

	/* The first node's is the first: nodes are in the order of their addresses. */
	if (!n || cfg->ram.policy[0].start)
		return 0;
	policies = reallocarray(cfg->ram_policies, n + 1, sizeof(*policies));
	if (!policies)
		return log_err(-ENOMEM, "NUMA nodes");
	cfg->ram_policies = policies;
	cfg->ram.policy = policies;
	policies[n] = policies[0];
	policies[n].start = region->start;
	policies[n].bytes = region->bytes;
	cfg->ram.n_policies++;
	return 0;
}

int run_choose_mem(struct vm_config *cfg)
{
	char max[32], ram[32];
	int err;

	if (!cfg->mem_max)
		return 0;
	err = refuse_backings(&cfg->ram);
	if (!err && cfg->mem_max <= cfg->ram.size_bytes)
		err = log_errx(-EINVAL, "--mem-max: %s is not more than the guest's RAM of %s (--mem)",
			       ram_mb_text(cfg->mem_max, max, sizeof(max)),
			       ram_mb_text(cfg->ram.size_bytes, ram, sizeof(ram)));
	/* That of a snapshot is where it was. */
	if (!err && !cfg->ram.region.bytes)
		err = choose_region(cfg);
	return err ? err : choose_policy(cfg);
}
