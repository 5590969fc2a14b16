/* A CPU as a file: its JSON, written and read; see x86/cpu-model.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/file.h"
#include "lkvm/json-read.h"
#include "lkvm/json.h"
#include "lkvm/log.h"
#include "lkvm/types.h"
#include "lkvm/x86/cpu-model.h"

#define SCHEMA 1

/* ---- out ---- */

static void write_leaf(struct json *json, const struct kvm_cpuid_entry2 *e)
{
	json_object(json, NULL);
	json_hex(json, "function", e->function);
	if (e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)
		json_hex(json, "index", e->index);
	json_hex(json, "eax", e->eax);
	json_hex(json, "ebx", e->ebx);
	json_hex(json, "ecx", e->ecx);
	json_hex(json, "edx", e->edx);
	json_end(json);
}

void cpu_model_write(const struct cpu_model *model, FILE *out)
{
	struct json json;

	json_init(&json, out);
	json.flat_depth = 2;
	json_object(&json, NULL);
	json_u64(&json, "schema", SCHEMA);
	json_array(&json, "cpuid");
	for (uint32_t i = 0; i < model->cpuid->nent; i++)
		write_leaf(&json, &model->cpuid->entries[i]);
	json_end(&json);
	json_array(&json, "msrs");
	for (unsigned i = 0; i < model->n_msrs; i++) {
		json_object(&json, NULL);
		json_hex(&json, "index", model->msr[i].index);
		json_hex(&json, "value", model->msr[i].data);
		json_end(&json);
	}
	json_end(&json);
	json_end(&json);
}

/* ---- in ---- */

struct source {
	const char *path;
	struct json_tree tree;
};

static int bad(const struct source *src, const char *why)
{
	return log_errx(-EINVAL, "could not read CPU model '%s': %s", src->path, why);
}

static int bad_entry(const struct source *src, const char *list, unsigned i, const char *member)
{
	return log_errx(-EINVAL, "could not read CPU model '%s': entry %u of '%s': '%s' is missing or no such number",
			src->path, i, list, member);
}

/* @optional: may be absent. Return: is it right? */
static bool take(const struct source *src, const struct json_value *entry, const char *member, bool optional,
		 uint32_t *ret)
{
	const struct json_value *v = json_member(&src->tree, entry, member);
	uint64_t value = 0;

	if (!v && optional && entry->kind == JSON_OBJECT)
		return true;
	if (json_number(v, UINT32_MAX, &value))
		return false;
	*ret = (uint32_t)value;
	return true;
}

static bool is_double(const struct kvm_cpuid2 *table, const struct kvm_cpuid_entry2 *e)
{
	for (uint32_t i = 0; i < table->nent; i++)
		if (table->entries[i].function == e->function && table->entries[i].index == e->index)
			return true;
	return false;
}

static int take_leaf(const struct source *src, const struct json_value *v, struct kvm_cpuid2 *table)
{
	struct kvm_cpuid_entry2 e = { 0 };
	const struct {
		const char *name;
		uint32_t *to;
	} all[] = {
		{ "function", &e.function }, { "index", &e.index }, { "eax", &e.eax },
		{ "ebx", &e.ebx }, { "ecx", &e.ecx }, { "edx", &e.edx },
	};

	if (table->nent == CPU_MODEL_LEAVES)
		return bad(src, "it has too many CPUID leaves");
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (!take(src, v, all[i].name, all[i].to == &e.index, all[i].to))
			return bad_entry(src, "cpuid", table->nent, all[i].name);
	if (json_member(&src->tree, v, "index"))
		e.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	if (is_double(table, &e))
		return log_errx(-EINVAL, "could not read CPU model '%s': leaf 0x%x.%u is there twice", src->path,
				e.function, e.index);
	table->entries[table->nent++] = e;
	return 0;
}

static int take_leaves(const struct source *src, const struct json_value *list, struct cpu_model *model)
{
	int err = 0;

	model->cpuid = calloc(1, sizeof(*model->cpuid) + CPU_MODEL_LEAVES * sizeof(model->cpuid->entries[0]));
	if (!model->cpuid)
		return log_err(-ENOMEM, "CPU model '%s'", src->path);
	if (!list || list->kind != JSON_ARRAY)
		return bad(src, "it has no list 'cpuid'");
	for (const struct json_value *v = json_first(&src->tree, list); v && !err; v = json_next(&src->tree, v))
		err = take_leaf(src, v, model->cpuid);
	if (!err && (!model->cpuid->nent || model->cpuid->entries[0].function))
		return bad(src, "its first CPUID leaf is not 0");
	return err;
}

static int take_msrs(const struct source *src, const struct json_value *list, struct cpu_model *model)
{
	if (!list || list->kind != JSON_ARRAY)
		return bad(src, "it has no list 'msrs'");
	for (const struct json_value *v = json_first(&src->tree, list); v; v = json_next(&src->tree, v)) {
		struct kvm_msr_entry msr = { 0 };
		uint64_t value = 0;

		if (model->n_msrs == CPU_MODEL_MSRS)
			return bad(src, "it has too many MSRs");
		if (!take(src, v, "index", false, &msr.index))
			return bad_entry(src, "msrs", model->n_msrs, "index");
		if (json_number(json_member(&src->tree, v, "value"), UINT64_MAX, &value))
			return bad_entry(src, "msrs", model->n_msrs, "value");
		msr.data = value;
		model->msr[model->n_msrs++] = msr;
	}
	return 0;
}

static int take_all(const struct source *src, struct cpu_model *model)
{
	const struct json_value *top = &src->tree.value[0];
	uint64_t schema;
	int err;

	if (top->kind != JSON_OBJECT || json_number(json_member(&src->tree, top, "schema"), UINT64_MAX, &schema))
		return bad(src, "it is not what 'lkvm check --cpu-json' prints");
	if (schema != SCHEMA)
		return log_errx(-EINVAL, "could not read CPU model '%s': its schema is %" PRIu64 ", this lkvm knows %d",
				src->path, schema, SCHEMA);
	err = take_leaves(src, json_member(&src->tree, top, "cpuid"), model);
	return err ? err : take_msrs(src, json_member(&src->tree, top, "msrs"), model);
}

static int parse(const char *path, char *text, size_t len, struct cpu_model **ret)
{
	struct source src = { .path = path };
	struct cpu_model *model = NULL;
	struct json_error why;
	int err = json_read(text, len, &src.tree, &why);

	if (err)
		return log_errx(err, "could not read CPU model '%s': line %u: %s", path, why.line, why.what);
	model = calloc(1, sizeof(*model));
	err = model ? take_all(&src, model) : log_err(-ENOMEM, "CPU model '%s'", path);
	json_tree_free(&src.tree);
	if (err)
		cpu_model_free(model);
	else
		*ret = model;
	return err;
}

/* Return: bytes, or -errno, logged */
static ssize_t load(const char *path, char *text)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t len;

	if (fd < 0)
		return log_err(-errno, "could not read CPU model '%s'", path);
	len = fstat(fd, &st) ? -errno : S_ISREG(st.st_mode) ? file_read(fd, text, CPU_MODEL_BYTES, 0) : -EINVAL;
	close(fd);
	if (len == CPU_MODEL_BYTES)
		return log_errx(-EFBIG, "could not read CPU model '%s': it is too large", path);
	if (len == -EINVAL)
		return log_errx(-EINVAL, "could not read CPU model '%s': not a regular file", path);
	return len < 0 ? log_err((int)len, "could not read CPU model '%s'", path) : len;
}

int cpu_model_read(const char *path, struct cpu_model **ret)
{
	char *text = malloc(CPU_MODEL_BYTES);
	ssize_t len = text ? load(path, text) : log_err(-ENOMEM, "CPU model '%s'", path);
	int err = len < 0 ? (int)len : parse(path, text, (size_t)len, ret);

	free(text);
	return err;
}
