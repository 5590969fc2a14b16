/* Links: x86/cpu/model-file.o x86/cpu/cpuid.o x86/cpu/cpuid-topology.o x86/cpu/cpuid-flags.o util/keys.o util/options.o util/log.o */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lkvm/log.h"
#include "lkvm/x86/cpu-model.h"
#include "lkvm/x86/cpu.h"
#include "unit.h"

/* ---- a host ---- */

static const struct kvm_cpuid_entry2 usual[] = {
	{ .function = 0, .eax = 0x1f, .ebx = 0x756e6547, .ecx = 0x6c65746e, .edx = 0x49656e69 },
	{ .function = 1, .eax = 0x506e3, .ebx = 0x05100800, .ecx = 0x7efafbff, .edx = 0xbfebfbff },
	{ .function = 7, .flags = 1, .eax = 2, .ebx = 0xdfff7fff, .ecx = 0x405fde, .edx = 0xbc000400 },
	{ .function = 7, .index = 1, .flags = 1, .eax = 0x230 },
	{ .function = 0xd, .flags = 1, .eax = 0x207, .ebx = 0xa88, .ecx = 0xa88 },
	{ .function = 0xd, .index = 1, .flags = 1, .eax = 0xf },
	{ .function = 0xd, .index = 2, .flags = 1, .eax = 0x100, .ebx = 0x240 },
	{ .function = 0xd, .index = 9, .flags = 1, .eax = 8, .ebx = 0xa80 },
	{ .function = 0x40000001, .eax = 0x01007afb },
	{ .function = 0x80000000, .eax = 0x80000008 },
	{ .function = 0x80000001, .ecx = 0x121, .edx = 0x2c100800 },
	{ .function = 0x80000008, .eax = 0x3027 },
};

static struct {
	struct kvm_cpuid_entry2 leaf[ARRAY_SIZE(usual)];
	uint64_t capabilities;
	bool no_lists;
} host;

#define FEATURE_MSRS 3
static const uint32_t feature_msrs[FEATURE_MSRS] = { 0x8b, 0x10a, 0xc0011029 };
static const uint32_t saved_msrs[] = { 0x10, 0x10a, 0x8b };

static struct kvm_cpuid_entry2 *leaf(uint32_t function, uint32_t index)
{
	for (size_t i = 0; i < ARRAY_SIZE(usual); i++)
		if (host.leaf[i].function == function && host.leaf[i].index == index)
			return &host.leaf[i];
	ck_abort_msg("no leaf");
}

static void new_host(void)
{
	memset(&host, 0, sizeof(host));
	memcpy(host.leaf, usual, sizeof(usual));
	host.capabilities = 0x6b;
	log_hold_errors(true);
}

/* Of a vCPU */
#define VCPU 1043
#define VM   1044
static uint64_t vcpu_msr[2]; /* of 0x8b, 0x10a */
static bool vcpu_refuses;

static int give_list(struct kvm_msr_list *list, const uint32_t *from, uint32_t n)
{
	const bool fits = list->nmsrs >= n;

	list->nmsrs = n;
	if (fits)
		memcpy(list->indices, from, n * sizeof(*from));
	errno = E2BIG;
	return fits ? 0 : -1;
}

static int rw_msr(int fd, bool set, struct kvm_msrs *msrs)
{
	struct kvm_msr_entry *e = &msrs->entries[0];

	if (fd == VCPU && (e->index == 0x8b || e->index == 0x10a)) {
		uint64_t *at = &vcpu_msr[e->index == 0x10a];

		if (set && vcpu_refuses)
			return 0;
		if (set)
			*at = e->data;
		e->data = *at;
		return 1;
	}
	e->data = e->index == 0x10a ? host.capabilities : 0x100000000;
	return e->index != 0xc0011029 && fd != VCPU;
}

int ioctl(int fd, unsigned long request, ...)
{
	struct kvm_cpuid2 *table;
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	errno = ENOTTY;
	switch (request) {
	case KVM_GET_SUPPORTED_CPUID:
		table = arg;
		memcpy(table->entries, host.leaf, sizeof(host.leaf));
		table->nent = ARRAY_SIZE(usual);
		return 0;
	case KVM_GET_MSR_FEATURE_INDEX_LIST:
		return host.no_lists ? -1 : give_list(arg, feature_msrs, FEATURE_MSRS);
	case KVM_GET_MSR_INDEX_LIST:
		return give_list(arg, saved_msrs, ARRAY_SIZE(saved_msrs));
	case KVM_CREATE_VM:
		return VM;
	case KVM_CREATE_VCPU:
		return fd == VM ? VCPU : -1;
	case KVM_SET_CPUID2:
		return fd == VCPU ? 0 : -1;
	case KVM_GET_MSRS:
	case KVM_SET_MSRS:
		return rw_msr(fd, request == KVM_SET_MSRS, arg);
	}
	return -1;
}

/* ---- files ---- */

static char path[64];

static void put_file(const char *bytes, size_t len)
{
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("model", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	ck_assert_int_eq(pwrite(fd, bytes, len, 0), (ssize_t)len);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
}

static struct cpu_model *reread(const struct cpu_model *model)
{
	struct cpu_model *ret = NULL;
	char *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	cpu_model_write(model, out);
	ck_assert_int_eq(fclose(out), 0);
	put_file(text, len);
	free(text);
	ck_assert_int_eq(cpu_model_read(path, &ret), 0);
	return ret;
}

static struct cpu_model *of_host(void)
{
	struct cpu_model *model = NULL;

	ck_assert_int_eq(cpu_model_of_host(42, true, &model), 0);
	return model;
}

static void said(const char *want)
{
	char text[512], whole[512];

	log_last_error(text, sizeof(text));
	snprintf(whole, sizeof(whole), want, path);
	ck_assert_str_eq(text, whole);
}

/* KVM of Linux 6.18 tells of IA32_ARCH_CAPABILITIES on AMD's CPUs, and gives it to no vCPU. */
START_TEST(test_no_vcpu_has_it)
{
	struct cpu_model *model;

	new_host();
	vcpu_refuses = true;
	model = of_host();
	vcpu_refuses = false;
	ck_assert_uint_eq(model->n_msrs, 0);
	cpu_model_free(model);
}
END_TEST

START_TEST(test_round)
{
	struct cpu_model *model, *again;

	new_host();
	model = of_host();
	ck_assert_uint_eq(model->n_msrs, 2); /* not the one that snapshots have not */
	ck_assert_uint_eq(model->msr[1].index, 0x10a);
	ck_assert_uint_eq(model->msr[1].data, 0x6b);
	again = reread(model);
	ck_assert_uint_eq(again->cpuid->nent, model->cpuid->nent);
	ck_assert_uint_eq(cpu_model_checksum(again), cpu_model_checksum(model));
	again->msr[0].data++;
	ck_assert_uint_ne(cpu_model_checksum(again), cpu_model_checksum(model));
	cpu_model_free(again);
	cpu_model_free(model);
	host.no_lists = true;
	model = of_host();
	ck_assert_uint_eq(model->n_msrs, 0);
	cpu_model_free(model);
	cpu_model_free(NULL);
}
END_TEST

/* Return: of a guest with the model of the usual host, on this one */
static int build(struct cpu_model *model, const char *words, struct kvm_cpuid2 **ret)
{
	struct cpu_config cfg = { .model = model };
	struct cpu_topology t = { 1, 1, 2, 1 };
	char copy[64];

	snprintf(copy, sizeof(copy), "%s", words);
	if (*copy)
		ck_assert_int_eq(keys_parse("cpu", cpu_keys, &cfg, copy), 0);
	return cpuid_build(42, &t, &cfg, true, ret);
}

START_TEST(test_more_of_a_host)
{
	struct kvm_cpuid2 *here = NULL, *there = NULL, *without = NULL;
	struct cpu_model *model;

	new_host();
	leaf(7, 0)->ebx &= ~(1u << 5); /* avx2 */
	leaf(7, 1)->eax &= ~(1u << 9); /* one without a name */
	host.capabilities = 0x2b;
	model = of_host();
	ck_assert_int_eq(build(model, "", &here), 0);
	new_host();
	leaf(1, 0)->ebx = 0x77000000;
	leaf(0x80000008, 0)->eax++;
	ck_assert_int_eq(build(model, "", &there), 0);
	ck_assert_uint_eq(there->nent, here->nent);
	ck_assert_mem_eq(there->entries, here->entries, here->nent * sizeof(here->entries[0]));
	ck_assert(!cpuid_has(there, "avx2"));
	ck_assert(cpuid_has(there, "ht"));
	ck_assert_uint_eq(cpuid_find(there, 0xb, 1)->ebx, 2);
	/* What the file has may be taken away, and what this host has may be asked for. */
	ck_assert_int_eq(build(model, "-sse4_2,+avx2", &without), 0);
	ck_assert(!cpuid_has(without, "avx"));
	ck_assert(cpuid_has(without, "avx2"));
	ck_assert_uint_eq(cpuid_find(without, 0xd, 0)->eax, 0x203);
	free(without);
	free(here);
	free(there);
	cpu_model_free(model);
}
END_TEST

static void lacks(struct cpu_model *model, const char *message)
{
	struct kvm_cpuid2 *table = NULL;

	ck_assert_int_eq(build(model, "", &table), -ENOTSUP);
	said(message);
	new_host();
}

START_TEST(test_less_of_a_host)
{
	struct kvm_cpuid2 *table = NULL;
	struct cpu_model *model;

	new_host();
	model = of_host();
	leaf(7, 0)->ebx &= ~(1u << 5);
	lacks(model, "--cpu: CPU feature 'avx2': not supported by this host's KVM");
	leaf(7, 1)->eax &= ~(1u << 9);
	lacks(model, "--cpu: CPU feature 0x7.1 EAX bit 9: not supported by this host's KVM");
	leaf(0, 0)->ebx = 0x68747541;
	leaf(0, 0)->ecx = 0x444d4163;
	leaf(0, 0)->edx = 0x69746e65;
	lacks(model, "--cpu: a CPU of 'GenuineIntel', but this host's is of 'AuthenticAMD'");
	leaf(0x80000008, 0)->eax--;
	lacks(model, "--cpu: physical addresses of 39 bits, but this host's CPU has 38");
	leaf(0xd, 0)->eax &= ~(1u << 9);
	lacks(model, "--cpu: part 9 of XSAVE's area: not supported by this host's KVM");
	leaf(0xd, 9)->ebx = 0x980;
	lacks(model, "--cpu: part 9 of XSAVE's area: 8 bytes at 2688, but this host's CPU has 8 at 2432");
	host.capabilities = 0x2b;
	lacks(model, "--cpu: bit 6 of MSR 0x10a: not supported by this host's KVM");
	/* What a CPU is said to be worse at is no feature. */
	model->msr[1].data |= 1 << 2 | 1 << 19;
	leaf(1, 0)->edx &= ~(1u << 28); /* "ht" is the guest's own */
	ck_assert_int_eq(build(model, "", &table), 0);
	free(table);
	cpu_model_free(model);
}
END_TEST

START_TEST(test_msrs)
{
	struct kvm_cpuid2 *table = NULL;
	struct cpu_model *model;

	new_host();
	model = of_host();
	ck_assert_int_eq(build(model, "", &table), 0);
	ck_assert_int_eq(cpu_model_set_msrs(VCPU, 0, model, table), 0);
	ck_assert_uint_eq(vcpu_msr[0], 0x100000000);
	ck_assert_uint_eq(vcpu_msr[1], 0x6b);
	/* One that cannot be written is right if it is so already. */
	vcpu_refuses = true;
	ck_assert_int_eq(cpu_model_set_msrs(VCPU, 0, model, table), 0);
	vcpu_msr[1] = 0x2b;
	ck_assert_int_eq(cpu_model_set_msrs(VCPU, 0, model, table), -ENOTSUP);
	said("--cpu: this host's KVM cannot set MSR 0x10a to 0x6b");
	/* Without the feature there is none. */
	cpuid_clear(table, "arch_capabilities", false);
	ck_assert_int_eq(cpu_model_set_msrs(VCPU, 0, model, table), 0);
	free(table);
	cpu_model_free(model);
}
END_TEST

static void unreadable(const char *text, int err, const char *message)
{
	struct cpu_model *model = NULL;

	put_file(text, strlen(text));
	ck_assert_int_eq(cpu_model_read(path, &model), err);
	ck_assert_ptr_null(model);
	said(message);
}

#define LEAF(members) "{\"schema\":1,\"cpuid\":[{" members "}],\"msrs\":[]}"
#define REGS ",\"eax\":0,\"ebx\":0,\"ecx\":0,\"edx\":0"
#define MSRS(list) "{\"schema\":1,\"cpuid\":[{\"function\":0" REGS "}],\"msrs\":" list "}"

START_TEST(test_unreadable)
{
	static const char *const not_printed =
		"could not read CPU model '%s': it is not what 'lkvm check --cpu-json' prints";

	new_host();
	unreadable("", -EINVAL, "could not read CPU model '%s': line 1: there is no value");
	unreadable("{\n\"schema\":1", -EINVAL, "could not read CPU model '%s': line 2: ',' or '}' is missing");
	unreadable("[]", -EINVAL, not_printed);
	unreadable("{}", -EINVAL, not_printed);
	unreadable("{\"schema\":2}", -EINVAL, "could not read CPU model '%s': its schema is 2, this lkvm knows 1");
	unreadable("{\"schema\":1}", -EINVAL, "could not read CPU model '%s': it has no list 'cpuid'");
	unreadable("{\"schema\":1,\"cpuid\":{}}", -EINVAL, "could not read CPU model '%s': it has no list 'cpuid'");
	unreadable("{\"schema\":1,\"cpuid\":[]}", -EINVAL,
		   "could not read CPU model '%s': its first CPUID leaf is not 0");
	unreadable(LEAF("\"function\":1" REGS), -EINVAL, "could not read CPU model '%s': its first CPUID leaf is not 0");
	unreadable(LEAF("\"function\":0"), -EINVAL,
		   "could not read CPU model '%s': entry 0 of 'cpuid': 'eax' is missing or no such number");
	unreadable(LEAF("\"function\":\"0x100000000\"" REGS), -EINVAL,
		   "could not read CPU model '%s': entry 0 of 'cpuid': 'function' is missing or no such number");
	unreadable(LEAF("\"function\":0,\"index\":null" REGS), -EINVAL,
		   "could not read CPU model '%s': entry 0 of 'cpuid': 'index' is missing or no such number");
	unreadable("{\"schema\":1,\"cpuid\":[0]}", -EINVAL,
		   "could not read CPU model '%s': entry 0 of 'cpuid': 'function' is missing or no such number");
	unreadable(LEAF("\"function\":0" REGS "},{\"function\":0" REGS), -EINVAL,
		   "could not read CPU model '%s': leaf 0x0.0 is there twice");
	unreadable("{\"schema\":1,\"cpuid\":[{\"function\":0" REGS "}]}", -EINVAL,
		   "could not read CPU model '%s': it has no list 'msrs'");
	unreadable(MSRS("[{\"index\":1}]"), -EINVAL,
		   "could not read CPU model '%s': entry 0 of 'msrs': 'value' is missing or no such number");
	unreadable(MSRS("[{\"value\":1}]"), -EINVAL,
		   "could not read CPU model '%s': entry 0 of 'msrs': 'index' is missing or no such number");
}
END_TEST

/* @n of them */
static void put_many(const char *before, const char *each, unsigned n, const char *after)
{
	char *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	fputs(before, out);
	for (unsigned i = 0; i < n; i++)
		fprintf(out, each, i ? "," : "", i);
	fputs(after, out);
	fclose(out);
	put_file(text, len);
	free(text);
}

START_TEST(test_limits)
{
	struct cpu_model *model = NULL;

	new_host();
	for (unsigned more = 0; more < 2; more++) {
		put_many("{\"schema\":1,\"cpuid\":[", "%s{\"function\":%u" REGS "}", CPU_MODEL_LEAVES + more,
			 "],\"msrs\":[]}");
		ck_assert_int_eq(cpu_model_read(path, &model), more ? -EINVAL : 0);
		if (!more)
			cpu_model_free(model);
	}
	said("could not read CPU model '%s': it has too many CPUID leaves");
	for (unsigned more = 0; more < 2; more++) {
		put_many("{\"schema\":1,\"cpuid\":[{\"function\":0" REGS "}],\"msrs\":[",
			 "%s{\"index\":%u,\"value\":0}", CPU_MODEL_MSRS + more, "]}");
		ck_assert_int_eq(cpu_model_read(path, &model), more ? -EINVAL : 0);
		if (!more)
			cpu_model_free(model);
	}
	said("could not read CPU model '%s': it has too many MSRs");
	put_many("", "%s          %08u", CPU_MODEL_BYTES / 10, "");
	ck_assert_int_eq(cpu_model_read(path, &model), -EFBIG);
	said("could not read CPU model '%s': it is too large");
	ck_assert_int_eq(cpu_model_read("/", &model), -EINVAL);
	ck_assert_int_eq(cpu_model_read("/nonsense", &model), -ENOENT);
	snprintf(path, sizeof(path), "/nonsense");
	said("could not read CPU model '%s': No such file or directory");
}
END_TEST

UNIT_MAIN("cpu-model", test_no_vcpu_has_it, test_round, test_more_of_a_host, test_less_of_a_host, test_msrs, test_unreadable, test_limits)
