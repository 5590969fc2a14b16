/* Links: x86/cpu/model-file.o x86/cpu/cpuid.o x86/cpu/cpuid-topology.o x86/cpu/cpuid-flags.o util/keys.o util/options.o util/log.o */
/*
 * A CPU's file out of any bytes. One that is read is written and read again, and is the same; and a guest's
 * table can be made of it.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "input.h"
#include "lkvm/x86/cpu-model.h"
#include "lkvm/x86/cpu.h"

static char path[32];

static void put_file(const void *bytes, size_t len)
{
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("file", 0);
	check(fd >= 0 && !ftruncate(fd, 0));
	check(pwrite(fd, bytes, len, 0) == (ssize_t)len);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cpu_model *model, *again;
	struct cpu_config cfg = { 0 };
	struct cpu_topology t = { 2, 2, 3, 2 };
	struct kvm_cpuid2 *table = NULL;
	char *text = NULL;
	size_t len = 0;
	FILE *out;

	put_file(data, size);
	if (cpu_model_read(path, &model))
		return 0;
	check(model->cpuid->nent && model->cpuid->nent <= CPU_MODEL_LEAVES && model->n_msrs <= CPU_MODEL_MSRS);
	out = open_memstream(&text, &len);
	cpu_model_write(model, out);
	check(!fclose(out));
	put_file(text, len);
	free(text);
	check(!cpu_model_read(path, &again));
	check(cpu_model_checksum(again) == cpu_model_checksum(model));
	cfg.model = model;
	if (!cpuid_adapt(again->cpuid, &t, &cfg, true, &table))
		cpuid_set_apic_id(table, &t, 5);
	free(table);
	cpu_model_free(again);
	cpu_model_free(model);
	return 0;
}
