/*
 * What a multiboot2 kernel is told, tag by tag: memory, command line ("mods=N alpha=7"), and the modules,
 * whose contents are "module 0\n", "module 1\n", ... and whose command lines end with "arg0", "arg1", ...
 * Multiboot2 2.0, 3.6
 */
#include "guest.h"

#define LOADER_MAGIC 0x36d76289

enum tag_type { TAG_END, TAG_CMDLINE, TAG_NAME, TAG_MODULE, TAG_MEMORY, TAG_MMAP = 6, TAG_ACPI_NEW = 15 };

struct tag {
	uint32_t type, size;
	uint32_t word[];
};

/* The @nth tag of @type, or the end */
static const struct tag *find(enum tag_type type, unsigned nth)
{
	uintptr_t info = boot_rbx & UINT32_MAX;
	uint32_t total = *(const uint32_t *)info, at = 8;
	const struct tag *tag;

	CHECK_EQ((uint32_t)boot_rax, LOADER_MAGIC);
	CHECK_EQ(info & 7, 0);
	do {
		tag = (const void *)(info + at);
		CHECK(tag->size >= 8 && tag->size <= total - at);
		at += (tag->size + 7) & ~7U;
	} while (tag->type != TAG_END && (tag->type != type || nth--));
	return tag;
}

static const char *cmdline(void)
{
	CHECK_EQ(find(TAG_CMDLINE, 0)->type, TAG_CMDLINE);
	return (const char *)find(TAG_CMDLINE, 0)->word;
}

static void module(const struct tag *tag, unsigned i)
{
	char content[] = "module 0\n", argument[] = "arg0";
	const char *at = (const char *)(uintptr_t)tag->word[0];
	const char *end = (const char *)tag + tag->size - 1;

	content[7] = argument[3] = (char)('0' + i);
	CHECK_EQ(tag->word[1] - tag->word[0], sizeof(content) - 1);
	CHECK_EQ(tag->word[0] & 0xfff, 0);
	for (unsigned j = 0; j < sizeof(content) - 1; j++)
		CHECK_EQ(at[j], content[j]);
	CHECK(str_equal(end - 4, argument));
}

void guest_main(void)
{
	const uint64_t n = param(cmdline(), "mods");
	unsigned i;

	CHECK_EQ(param(cmdline(), "alpha"), 7);
	CHECK(find(TAG_MEMORY, 0)->word[0] >= 600 && find(TAG_MEMORY, 0)->word[0] <= 640);
	CHECK_EQ(find(TAG_MEMORY, 0)->word[1], (256 - 1) * 1024); /* the run has -m 256 */
	CHECK_EQ(find(TAG_MMAP, 0)->type, TAG_MMAP);
	CHECK_EQ(find(TAG_MMAP, 0)->word[0], 24);
	CHECK_EQ(find(TAG_ACPI_NEW, 0)->size, 8 + 36);
	for (i = 0; find(TAG_MODULE, i)->type == TAG_MODULE; i++)
		module(find(TAG_MODULE, i), i);
	CHECK_EQ(i, n);
}
