/* Links: vm/module-index.o x86/boot/decompress.o x86/boot/decompress-codecs.o x86/boot/file.o hw/ram.o util/log.o */
/* The lists and indexes of modules made for the test; kmod itself reads them in tests/testbed/session.sh. */
#include "lkvm/vm/module-index.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/fs.h"
#include "lkvm/vm/kmod-index.h"
#include "module-file.h"

/* All of a file; it is at most as long as that */
static size_t read_file(struct module_index *ix, const char *name, char ret[8192])
{
	int fd = module_index_open(ix, name);
	ssize_t n;

	ck_assert_msg(fd >= 0, "%s", name);
	n = pread(fd, ret, 8191, 0);
	ck_assert_int_ge(n, 0);
	ret[n] = '\0';
	close(fd);
	return (size_t)n;
}

static void text_is(struct module_index *ix, const char *name, const char *want)
{
	char text[8192];

	read_file(ix, name, text);
	ck_assert_str_eq(text, want);
}

static uint32_t number(const char *at)
{
	uint32_t n;

	memcpy(&n, at, sizeof(n));
	return be32toh(n);
}

/* Where the values of the node at @place begin, if @key leads to one; it is a reader of the format's own. */
static const char *values_of(const char *file, uint32_t place, const char *key)
{
	const char *at = file + (place & 0x0fffffff);

	if (place & 0x80000000) {
		size_t len = strlen(at);

		if (strncmp(at, key, len))
			return NULL;
		key += len;
		at += len + 1;
	}
	if (place & 0x20000000) {
		const char first = at[0], last = at[1];

		at += 2;
		if (*key) {
			if (*key < first || *key > last || !number(at + 4 * (*key - first)))
				return NULL;
			return values_of(file, number(at + 4 * (*key - first)), key + 1);
		}
		at += 4 * (last - first + 1);
	}
	return !*key && place & 0x40000000 ? at : NULL;
}

/* The values of @key, a '|' behind each; NULL: there is no such key */
static const char *look_up(const char *file, const char *key)
{
	static char ret[256];
	const char *at = values_of(file, number(file + 8), key);
	uint32_t before = 0, n;

	ck_assert_uint_eq(number(file), 0xb007f457);
	ck_assert_uint_eq(number(file + 4), 0x00020001);
	if (!at)
		return NULL;
	*ret = '\0';
	n = number(at);
	at += 4;
	while (n--) {
		ck_assert_uint_ge(number(at), before);
		before = number(at);
		at += 4;
		strcat(strcat(ret, at), "|");
		at += strlen(at) + 1;
	}
	return ret;
}

static void value_is(struct module_index *ix, const char *file, const char *key, const char *want)
{
	char bytes[8192];
	const char *got;

	read_file(ix, file, bytes);
	got = look_up(bytes, key);
	if (want)
		ck_assert_pstr_eq(got, want);
	else
		ck_assert_msg(!got, "%s", key);
}

static struct module_index *enter(bool built)
{
	struct module_index *ix;

	enter_own_folder();
	ck_assert_int_eq(module_index_new(own_folder, built, &ix), 0);
	return ix;
}

static void leave(struct module_index *ix)
{
	module_index_free(ix);
	leave_own_folder();
}

START_TEST(test_trie)
{
	static const char *const keys[] = { "on", "ask", "once", "ate", "one", "on", "~", "a", "!" };
	struct kmod_index ix = { 0 };
	char value[2] = "", *file, *longest = calloc(1, 1025);
	size_t len;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		*value = (char)('0' + i);
		ck_assert_int_eq(kmod_index_add(&ix, keys[i], value), 0);
	}
	ck_assert_int_eq(kmod_index_add(&ix, "", "x"), -EINVAL);
	ck_assert_int_eq(kmod_index_add(&ix, "a b", "x"), -EINVAL);
	ck_assert_int_eq(kmod_index_add(&ix, "\x80", "x"), -EINVAL);
	memset(longest, 'x', 1024);
	ck_assert_int_eq(kmod_index_add(&ix, longest, "x"), -EINVAL);
	ck_assert_int_eq(kmod_index_add(&ix, longest + 1, "long"), 0);
	ck_assert_int_eq(kmod_index_write(&ix, &file, &len), 0);
	ck_assert_pstr_eq(look_up(file, "on"), "0|5|");
	ck_assert_pstr_eq(look_up(file, "ask"), "1|");
	ck_assert_pstr_eq(look_up(file, "once"), "2|");
	ck_assert_pstr_eq(look_up(file, "ate"), "3|");
	ck_assert_pstr_eq(look_up(file, "one"), "4|");
	ck_assert_pstr_eq(look_up(file, "~"), "6|");
	ck_assert_pstr_eq(look_up(file, "a"), "7|");
	ck_assert_pstr_eq(look_up(file, longest + 1), "long|");
	ck_assert_ptr_null(look_up(file, "o"));
	ck_assert_ptr_null(look_up(file, "onc"));
	ck_assert_ptr_null(look_up(file, "onces"));
	free(file);
	free(longest);
	kmod_index_free(&ix);
	ck_assert_int_eq(kmod_index_write(&ix, &file, &len), 0);
	ck_assert_uint_eq(len, 12);
	free(file);
}
END_TEST

START_TEST(test_installed)
{
	static const char builtin[] = "in_side.license=GPL\0in_side.alias=pci:v*\0other.alias=fs-o";
	struct module_index *ix = enter(false);

	put_text("modules.order", "kernel/b.ko\nkernel/a-x.ko\nkernel/gone.ko\nkernel/c.ko\nkernel/d.ko\nextra/c.ko\n");
	put_text("modules.builtin", "kernel/in-side.ko\nkernel/fs/other.ko\n");
	put("modules.builtin.modinfo", builtin, sizeof(builtin));
	put_module("kernel/a-x.ko", "depends=b,c|alias=pci:v0001d*sv-[A-Z]-|alias=fs-a|alias=\xff|softdep=pre: d");
	put_module("kernel/b.ko", "depends=c,gone|alias=fs-a");
	put_module("kernel/c.ko", "license=GPL");
	put_module("kernel/d.ko", "depends=a_x");
	ck_assert_int_eq(system("gzip kernel/c.ko"), 0);
	ck_assert_int_eq(module_index_open(ix, "modules.order"), -ENOENT);
	text_is(ix, "modules.dep", "kernel/a-x.ko: kernel/b.ko kernel/c.ko.gz\nkernel/b.ko: kernel/c.ko.gz\n"
				   "kernel/c.ko.gz:\nkernel/d.ko: kernel/a-x.ko kernel/b.ko kernel/c.ko.gz\n");
	text_is(ix, "modules.alias", "alias fs-a b\nalias pci:v0001d*sv-[A-Z]- a_x\nalias fs-a a_x\n");
	text_is(ix, "modules.softdep", "softdep a_x pre: d\n");
	value_is(ix, "modules.dep.bin", "a_x", "kernel/a-x.ko: kernel/b.ko kernel/c.ko.gz|");
	value_is(ix, "modules.dep.bin", "c", "kernel/c.ko.gz:|");
	value_is(ix, "modules.dep.bin", "gone", NULL);
	value_is(ix, "modules.alias.bin", "fs_a", "b|a_x|");
	value_is(ix, "modules.alias.bin", "pci:v0001d*sv_[A-Z]_", "a_x|");
	value_is(ix, "modules.builtin.bin", "in_side", "|");
	value_is(ix, "modules.builtin.bin", "other", "|");
	value_is(ix, "modules.builtin.alias.bin", "pci:v*", "in_side|");
	value_is(ix, "modules.symbols.bin", "x", NULL);
	leave(ix);
}
END_TEST

START_TEST(test_built)
{
	struct module_index *ix = enter(true);

	put_text("modules.order", "fs/a.o\nkernel/fs/b.ko\nkernel/kernel/c.ko\n");
	put_module("fs/a.ko", "depends=b,c");
	put_module("fs/b.ko", "depends=a"); /* a circle */
	put_module("kernel/c.ko", "depends=");
	text_is(ix, "modules.dep", "kernel/fs/a.ko: kernel/kernel/c.ko kernel/fs/b.ko\n"
				   "kernel/fs/b.ko: kernel/fs/a.ko kernel/kernel/c.ko\nkernel/kernel/c.ko:\n");
	leave(ix);
}
END_TEST

/* It is made once, also if there is nothing; and not before somebody asks. */
START_TEST(test_empty)
{
	struct module_index *ix = enter(false);

	text_is(ix, "modules.dep", "");
	put_text("modules.order", "kernel/a.ko\n");
	put_module("kernel/a.ko", "depends=");
	text_is(ix, "modules.dep", "");
	value_is(ix, "modules.dep.bin", "a", NULL);
	leave(ix);
}
END_TEST

/* As who shares the folder sees them */
START_TEST(test_files)
{
	struct module_index *ix = enter(false);
	const struct fs_made *files = module_index_files(ix);
	struct stat st;
	int fd;

	ck_assert_int_eq(stat(own_folder, &st), 0);
	ck_assert(files->dev == st.st_dev && files->ino == st.st_ino);
	ck_assert_int_eq(files->open(files->ctx, "modules.order"), -ENOENT);
	fd = files->open(files->ctx, "modules.dep");
	ck_assert_int_ge(fd, 0);
	close(fd);
	leave(ix);
	ck_assert_int_eq(module_index_new("/nonexistent", false, &ix), -ENOENT);
}
END_TEST

UNIT_MAIN("module index", test_trie, test_installed, test_built, test_empty, test_files)
