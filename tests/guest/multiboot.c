/*
 * What a multiboot kernel is told: memory, command line ("mods=N alpha=7"), and the modules, whose
 * contents are "module 0\n", "module 1\n", ... and whose command lines end with "arg0", "arg1", ...
 */
#include "multiboot.h"

static bool ends_with(const char *text, const char *tail)
{
	for (; *text; text++)
		if (str_equal(text, tail))
			return true;
	return false;
}

static void module(const struct mb_module *mod, unsigned i)
{
	char content[] = "module 0\n", argument[] = "arg0";
	const char *at = (const char *)(uintptr_t)mod->start;

	content[7] = argument[3] = (char)('0' + i);
	CHECK_EQ(mod->end - mod->start, sizeof(content) - 1);
	CHECK_EQ(mod->start & 0xfff, 0);
	for (unsigned j = 0; j < sizeof(content) - 1; j++)
		CHECK_EQ(at[j], content[j]);
	CHECK(ends_with((const char *)(uintptr_t)mod->string, argument));
}

void guest_main(void)
{
	const struct mb_info *info = mb_info();
	const struct mb_module *mods = (const struct mb_module *)(uintptr_t)info->mods_addr;
	const uint64_t n = param(mb_cmdline(), "mods");

	CHECK_EQ(param(mb_cmdline(), "alpha"), 7);
	CHECK(info->flags & MB_INFO_MEMORY);
	CHECK(info->mem_lower >= 600 && info->mem_lower <= 640);
	CHECK_EQ(info->mem_upper, (256 - 1) * 1024); /* the run has -m 256 */
	CHECK(info->flags & MB_INFO_MMAP);
	if (n)
		CHECK(info->flags & MB_INFO_MODS);
	CHECK_EQ(info->flags & MB_INFO_MODS ? info->mods_count : 0, n);
	for (unsigned i = 0; i < n; i++)
		module(&mods[i], i);
}
