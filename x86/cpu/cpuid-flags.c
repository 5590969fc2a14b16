/* CPU features by name, as `--cpu -avx,+monitor` has them. */
#include <asm/kvm_para.h>
#include <errno.h>
#include <stdio.h>

#include "cpuid-internal.h"
#include "lkvm/log.h"

enum reg { EAX, EBX, ECX, EDX };

/*
 * Where each feature stands. A name may have several places: AMD repeats leaf 1 in 0x80000001. A
 * place may have several names: then there are two rows for the register. Names that
 * /proc/cpuinfo does not show are Linux's X86_FEATURE_ ones in lower case; those of leaf
 * 0x40000001 are the KVM_FEATURE_ ones.
 */
/* clang-format off */
static const struct row {
	uint32_t function, index;
	enum reg reg;
	const char *bit[32];
} rows[] = {
	{ 1, 0, EDX, {
		[0] = "fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce",
		[8] = "cx8", "apic", NULL, "sep", "mtrr", "pge", "mca", "cmov",
		[16] = "pat", "pse36", "pn", "clflush", NULL, "dts", "acpi", "mmx",
		[24] = "fxsr", "sse", "sse2", "ss", "ht", "tm", "ia64", "pbe",
	} },
	{ 1, 0, ECX, {
		[0] = "pni", "pclmulqdq", "dtes64", "monitor", "ds_cpl", "vmx", "smx", "est",
		[8] = "tm2", "ssse3", "cid", "sdbg", "fma", "cx16", "xtpr", "pdcm",
		[17] = "pcid", "dca", "sse4_1", "sse4_2", "x2apic", "movbe", "popcnt",
		[24] = "tsc_deadline_timer", "aes", "xsave", "osxsave",
		[28] = "avx", "f16c", "rdrand", "hypervisor",
	} },
	{ 1, 0, ECX, { [0] = "sse3", [24] = "tsc_deadline" } },
	{ 6, 0, EAX, { [2] = "arat" } },
	{ 7, 0, EBX, {
		[0] = "fsgsbase", "tsc_adjust", "sgx", "bmi1", "hle", "avx2", "fdp_excptn_only", "smep",
		[8] = "bmi2", "erms", "invpcid", "rtm", "cqm", "zero_fcs_fds", "mpx", "rdt_a",
		[16] = "avx512f", "avx512dq", "rdseed", "adx", "smap", "avx512ifma",
		[23] = "clflushopt", "clwb", "intel_pt", "avx512pf", "avx512er", "avx512cd",
		[29] = "sha_ni", "avx512bw", "avx512vl",
	} },
	{ 7, 0, ECX, {
		[1] = "avx512vbmi", "umip", "pku", "ospke", "waitpkg", "avx512_vbmi2", "shstk",
		[8] = "gfni", "vaes", "vpclmulqdq", "avx512_vnni", "avx512_bitalg", "tme",
		[14] = "avx512_vpopcntdq", NULL, "la57",
		[22] = "rdpid", NULL, "bus_lock_detect", "cldemote", NULL, "movdiri", "movdir64b",
		[29] = "enqcmd", "sgx_lc",
	} },
	{ 7, 0, EDX, {
		[2] = "avx512_4vnniw", "avx512_4fmaps", "fsrm",
		[8] = "avx512_vp2intersect", "srbds_ctrl", "md_clear", "rtm_always_abort",
		[13] = "tsx_force_abort", "serialize", "hybrid_cpu", "tsxldtrk",
		[18] = "pconfig", "arch_lbr", "ibt", NULL, "amx_bf16", "avx512_fp16",
		[24] = "amx_tile", "amx_int8", "spec_ctrl", "intel_stibp", "flush_l1d",
		[29] = "arch_capabilities", "core_capabilities", "spec_ctrl_ssbd",
	} },
	{ 7, 1, EAX, {
		[0] = "sha512", "sm3", "sm4", NULL, "avx_vnni", "avx512_bf16", NULL, "cmpccxadd",
		[8] = "arch_perfmon_ext", NULL, "fzrm", "fsrs", "fsrc",
		[17] = "fred", "lkgs", "wrmsrns", NULL, "amx_fp16", NULL, "avx_ifma",
		[26] = "lam",
	} },
	{ 7, 1, EDX, {
		[4] = "avx_vnni_int8", "avx_ne_convert", [8] = "amx_complex", [10] = "avx_vnni_int16",
		[14] = "prefetchiti", [19] = "avx10",
	} },
	{ 7, 2, EDX, {
		[0] = "intel_psfd", "ipred_ctrl", "rrsba_ctrl", "ddpd_u", "bhi_ctrl", "mcdt_no",
	} },
	{ 0xd, 1, EAX, { [0] = "xsaveopt", "xsavec", "xgetbv1", "xsaves", "xfd" } },
	{ 0x80000001, 0, ECX, {
		[0] = "lahf_lm", "cmp_legacy", "svm", "extapic", "cr8_legacy", "abm", "sse4a",
		[7] = "misalignsse", "3dnowprefetch", "osvw", "ibs", "xop", "skinit", "wdt",
		[15] = "lwp", "fma4", "tce", NULL, "nodeid_msr", NULL, "tbm", "topoext",
		[23] = "perfctr_core", "perfctr_nb", NULL, "bpext", "ptsc", "perfctr_llc", "mwaitx",
	} },
	{ 0x80000001, 0, ECX, { [5] = "lzcnt" } },
	{ 0x80000001, 0, EDX, {
		[0] = "fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce",
		[8] = "cx8", "apic", NULL, "syscall", "mtrr", "pge", "mca", "cmov",
		[16] = "pat", "pse36", NULL, "mp", "nx", NULL, "mmxext", "mmx",
		[24] = "fxsr", "fxsr_opt", "pdpe1gb", "rdtscp", NULL, "lm", "3dnowext", "3dnow",
	} },
	{ 0x80000007, 0, EBX, { [0] = "overflow_recov", "succor", [3] = "smca" } },
	{ 0x80000007, 0, EDX, { [8] = "constant_tsc" } },
	{ 0x80000007, 0, EDX, { [8] = "nonstop_tsc" } },
	{ 0x80000008, 0, EBX, {
		[0] = "clzero", "irperf", "xsaveerptr", NULL, "rdpru", [9] = "wbnoinvd",
		[12] = "amd_ibpb", NULL, "amd_ibrs", "amd_stibp", NULL, "amd_stibp_always_on",
		[23] = "amd_ppin", "amd_ssbd", "virt_ssbd", "amd_ssb_no", "cppc", "amd_psfd",
		[29] = "btc_no", "amd_ibpb_ret", "brs",
	} },
	{ 0x8000000a, 0, EDX, {
		[0] = "npt", "lbrv", "svm_lock", "nrip_save", "tsc_scale", "vmcb_clean",
		[6] = "flushbyasid", "decodeassists", [10] = "pausefilter", [12] = "pfthreshold",
		[13] = "avic", [15] = "v_vmsave_vmload", "vgif", [18] = "x2avic",
		[20] = "v_spec_ctrl", [25] = "vnmi", [28] = "svme_addr_chk",
	} },
	{ 0x80000021, 0, EAX, {
		[0] = "no_nested_data_bp", "wrmsr_xx_base_ns", "lfence_rdtsc",
		[6] = "null_sel_clr_base", [8] = "autoibrs", "no_smm_ctl_msr",
		[27] = "sbpb", "ibpb_brtype", "srso_no",
	} },
	{ KVM_CPUID_FEATURES, 0, EAX, {
		[0] = "kvm_clocksource", "kvm_nop_io_delay", "kvm_mmu_op", "kvm_clocksource2",
		[4] = "kvm_async_pf", "kvm_steal_time", "kvm_pv_eoi", "kvm_pv_unhalt",
		[9] = "kvm_pv_tlb_flush", "kvm_async_pf_vmexit", "kvm_pv_send_ipi",
		[12] = "kvm_poll_control", "kvm_pv_sched_yield", "kvm_async_pf_int",
		[15] = "kvm_msi_ext_dest_id", "kvm_hc_map_gpa_range", "kvm_migration_control",
		[24] = "kvm_clocksource_stable_bit",
	} },
	/* One name for both clocks: a guest without the one takes the other. */
	{ KVM_CPUID_FEATURES, 0, EAX, { [0] = "kvm_clock", [3] = "kvm_clock" } },
};

/*
 * What cannot work without what. This is about instructions and state that one feature brings and
 * the other uses, as the manuals say it ("check for avx first"), not about what CPUs are sold.
 */
static const struct {
	const char *feature, *needs;
} dependencies[] = {
	{ "fxsr", "fpu" }, { "mmx", "fpu" }, { "3dnow", "mmx" }, { "3dnowext", "3dnow" },
	{ "mmxext", "mmx" }, { "fxsr_opt", "fxsr" },
	{ "sse", "fxsr" }, { "sse2", "sse" }, { "pni", "sse2" }, { "ssse3", "pni" },
	{ "sse4_1", "ssse3" }, { "sse4_2", "sse4_1" }, { "sse4a", "pni" }, { "misalignsse", "sse" },
	{ "aes", "sse2" }, { "pclmulqdq", "sse2" }, { "sha_ni", "sse2" }, { "gfni", "sse2" },
	{ "osxsave", "xsave" }, { "xsaveopt", "xsave" }, { "xsavec", "xsave" },
	{ "xgetbv1", "xsave" }, { "xsaves", "xsave" }, { "xsaveerptr", "xsave" }, { "xfd", "xsave" },
	{ "avx", "xsave" }, { "avx", "sse4_2" }, { "mpx", "xsave" }, { "pku", "xsave" },
	{ "ospke", "pku" }, { "amx_tile", "xfd" }, { "shstk", "xsaves" }, { "ibt", "xsaves" },
	{ "enqcmd", "xsaves" }, { "arch_lbr", "xsaves" },
	{ "f16c", "avx" }, { "fma", "avx" }, { "fma4", "avx" }, { "xop", "avx" }, { "avx2", "avx" },
	{ "vaes", "avx" }, { "vaes", "aes" }, { "vpclmulqdq", "avx" }, { "vpclmulqdq", "pclmulqdq" },
	{ "avx_vnni", "avx2" }, { "avx_ifma", "avx2" }, { "avx_vnni_int8", "avx2" },
	{ "avx_vnni_int16", "avx2" }, { "avx_ne_convert", "avx2" },
	{ "sha512", "avx2" }, { "sm3", "avx" }, { "sm4", "avx2" },
	{ "avx512f", "avx2" }, { "avx512f", "fma" }, { "avx512f", "f16c" },
	{ "avx512dq", "avx512f" }, { "avx512ifma", "avx512f" }, { "avx512pf", "avx512f" },
	{ "avx512er", "avx512f" }, { "avx512cd", "avx512f" }, { "avx512bw", "avx512f" },
	{ "avx512vl", "avx512f" }, { "avx512_vnni", "avx512f" }, { "avx512_vpopcntdq", "avx512f" },
	{ "avx512_4vnniw", "avx512f" }, { "avx512_4fmaps", "avx512f" },
	{ "avx512_vp2intersect", "avx512f" },
	{ "avx512vbmi", "avx512bw" }, { "avx512_vbmi2", "avx512bw" }, { "avx512_bitalg", "avx512bw" },
	{ "avx512_bf16", "avx512bw" }, { "avx512_fp16", "avx512bw" }, { "avx10", "avx512vl" },
	{ "amx_bf16", "amx_tile" }, { "amx_int8", "amx_tile" }, { "amx_fp16", "amx_tile" },
	{ "amx_complex", "amx_tile" },
	{ "x2apic", "apic" }, { "tsc_deadline_timer", "apic" }, { "tsc_deadline_timer", "tsc" },
	{ "tsc_adjust", "tsc" }, { "rdtscp", "tsc" }, { "constant_tsc", "tsc" },
	{ "pse36", "pse" }, { "mca", "mce" }, { "la57", "lm" }, { "pdpe1gb", "lm" },
	{ "clflushopt", "clflush" }, { "sgx_lc", "sgx" }, { "fred", "lkgs" },
	{ "kvm_clocksource_stable_bit", "kvm_clocksource2" },
	{ "kvm_async_pf_vmexit", "kvm_async_pf" }, { "kvm_async_pf_int", "kvm_async_pf" },
};
/* clang-format on */

static bool is_joint(char c)
{
	return c == '-' || c == '.' || c == '_';
}

static bool same_name(const char *a, const char *b)
{
	for (; *a && *b; a++, b++)
		if (*a != *b && !(is_joint(*a) && is_joint(*b)))
			return false;
	return *a == *b;
}

/* The next place of @name at or after *@pos, which counts bits through all rows. */
static const struct row *next_place(const char *name, unsigned *pos)
{
	for (; *pos < ARRAY_SIZE(rows) * 32; (*pos)++) {
		const char *here = rows[*pos / 32].bit[*pos % 32];

		/* No name begins with a joint: most are told apart without a call. */
		if (here && *here == *name && same_name(here, name))
			return &rows[*pos / 32];
	}
	return NULL;
}

struct kvm_cpuid_entry2 *cpuid_find(const struct kvm_cpuid2 *table, uint32_t function,
				    uint32_t index)
{
	for (uint32_t i = 0; i < table->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &table->entries[i];

		if (e->function == function && e->index == index)
			return (struct kvm_cpuid_entry2 *)e;
	}
	return NULL;
}

static uint32_t *register_of(const struct kvm_cpuid2 *table, const struct row *row)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(table, row->function, row->index);

	if (!e)
		return NULL;
	switch (row->reg) {
	case EAX:
		return &e->eax;
	case EBX:
		return &e->ebx;
	case ECX:
		return &e->ecx;
	case EDX:
		return &e->edx;
	}
	return NULL;
}

bool cpuid_has(const struct kvm_cpuid2 *table, const char *name)
{
	const struct row *row;

	for (unsigned pos = 0; (row = next_place(name, &pos)); pos++) {
		const uint32_t *reg = register_of(table, row);

		if (reg && *reg >> (pos % 32) & 1)
			return true;
	}
	return false;
}

static bool is_set(const struct kvm_cpuid2 *table, unsigned pos)
{
	const uint32_t *reg = register_of(table, &rows[pos / 32]);

	return reg && *reg >> (pos % 32) & 1;
}

const char *cpuid_lacks(const struct kvm_cpuid2 *offer, const struct kvm_cpuid2 *other_offer,
			const struct kvm_cpuid2 *table)
{
	for (unsigned pos = 0; pos < ARRAY_SIZE(rows) * 32; pos++) {
		const char *name = rows[pos / 32].bit[pos % 32];

		if (name && is_set(table, pos) && !is_set(offer, pos) && !is_set(other_offer, pos))
			return name;
	}
	return NULL;
}

bool cpuid_lacks_bit(const struct kvm_cpuid2 *offer, const struct kvm_cpuid2 *table, char ret[CPUID_BIT_BYTES])
{
	static const char *const reg[] = { "EAX", "EBX", "ECX", "EDX" };

	for (unsigned pos = 0; pos < ARRAY_SIZE(rows) * 32; pos++) {
		const struct row *row = &rows[pos / 32];

		if (row->bit[pos % 32] || !is_set(table, pos) || is_set(offer, pos))
			continue;
		snprintf(ret, CPUID_BIT_BYTES, "0x%x.%u %s bit %u", row->function, row->index, reg[row->reg], pos % 32);
		return true;
	}
	return false;
}

/* Does @name stand at @pos, perhaps beside another name? */
static bool stands_at(const char *name, unsigned pos)
{
	const struct row *want = &rows[pos / 32];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];
		const char *here = row->bit[pos % 32];

		if (here && row->function == want->function && row->index == want->index &&
		    row->reg == want->reg && same_name(here, name))
			return true;
	}
	return false;
}

void cpuid_clear(struct kvm_cpuid2 *table, const char *name, bool dependents)
{
	const struct row *row;

	for (unsigned pos = 0; (row = next_place(name, &pos)); pos++) {
		uint32_t *reg = register_of(table, row);

		if (reg)
			*reg &= ~(1u << pos % 32);
		/* dependencies[] has no circle, so this ends. */
		for (size_t i = 0; dependents && i < ARRAY_SIZE(dependencies); i++)
			if (stands_at(dependencies[i].needs, pos))
				cpuid_clear(table, dependencies[i].feature, true);
	}
}

int cpuid_set(struct kvm_cpuid2 *table, const struct kvm_cpuid2 *offer, const char *name)
{
	const struct row *row;
	int ret = -ENOTSUP;

	for (unsigned pos = 0; (row = next_place(name, &pos)); pos++) {
		const uint32_t *offered = register_of(offer, row);
		uint32_t *reg = register_of(table, row);

		if (!offered || !reg || !(*offered >> (pos % 32) & 1))
			continue;
		*reg |= 1u << pos % 32;
		ret = 0;
	}
	return ret;
}

/* A name that stands at several places is listed once, by its first. */
static const char *feature_name(unsigned i)
{
	for (unsigned pos = 0; pos < ARRAY_SIZE(rows) * 32; pos++) {
		const char *name = rows[pos / 32].bit[pos % 32];
		unsigned first = 0;

		if (name && next_place(name, &first) && first == pos && !i--)
			return name;
	}
	return NULL;
}

static int set_feature(void *config, const char *option, const char *name, bool on)
{
	struct cpu_config *cfg = config;
	unsigned pos = 0;
	const struct row *row = next_place(name, &pos);

	if (!row)
		return -ENOENT;
	if (cfg->n_features == CPU_MAX_FEATURES)
		return log_errx(-EINVAL, "option '--%s': more than %d CPU features", option,
				CPU_MAX_FEATURES);
	cfg->feature[cfg->n_features++] = (struct cpu_feature){ row->bit[pos % 32], on };
	return 0;
}

static const struct opt_key_names features = {
	.known = "names as in /proc/cpuinfo", .name = feature_name, .set = set_feature,
};

const struct opt_key cpu_keys[] = {
	{ "FEATURE", .kind = KEY_NAMES, .names = &features,
	  .help = "Have it, if this host's KVM supports it, or not, nor what depends on it.\n"
		  "Names as in /proc/cpuinfo." },
	KEYS_END,
};
