/* Links: linux/vmcoreinfo.o linux/kallsyms.o linux/modules.o x86/cpu/walk.o hw/ram.o hw/ram-touched.o */
#include <errno.h>

#include "linux-rig.h"
#include "unit.h"

static struct rig rig;
static struct linux_guest guest;
static struct linux_symbols *symbols;
static struct linux_symbol symbol;
static char text[LINUX_NAME_BYTES + 100];

static int load(void)
{
	linux_symbols_free(symbols);
	symbols = NULL;
	ck_assert_int_eq(linux_judge(rig.ram, GPA(0), rig.note, rig.note_bytes, &guest), 2);
	return linux_symbols_new(&guest, &symbols);
}

static void start(bool absolute)
{
	rig_start(&rig, false);
	rig_kernel(&rig, absolute);
	ck_assert_int_eq(load(), 0);
}

static void expect(uint64_t addr, const char *want)
{
	ck_assert_str_eq(linux_symbol_text(symbols, addr, text, sizeof(text)), want);
}

START_TEST(test_kernel)
{
	uint64_t addr = 1;

	for (int absolute = 0; absolute <= 1; absolute++) {
		start(absolute);
		ck_assert_int_eq(linux_symbol_find(symbols, "sys_open", &addr), 0);
		ck_assert_uint_eq(addr, K(RIG_CODE + 0x100));
		ck_assert_int_eq(linux_symbol_find(symbols, "sys_ope", &addr), -ENOENT);
		ck_assert_int_eq(linux_symbol_find(symbols, "cpu_number", &addr), 0);
		ck_assert_uint_eq(addr, absolute ? 8 : K(8));
		expect(K(RIG_CODE + 0x112), "sys_open+0x12/0x100");
		expect(K(RIG_CODE), "_stext+0x0/0x100"); /* the first of two */
		expect(K(RIG_CODE + 0xff), "_stext+0xff/0x100");
		expect(K(RIG_SPAN), "0xffffffff80400000"); /* behind the last */
		expect(K(0) - 1, "0xffffffff7fffffff");
		expect(5, "0x5");
		ck_assert(linux_is_text(symbols, K(RIG_CODE)));
		ck_assert(!linux_is_text(symbols, K(RIG_CODE_END)));
		ck_assert(linux_is_text(symbols, K(RIG_INIT_CODE)));
		ck_assert(!linux_is_text(symbols, K(RIG_INIT_END)));
	}
}
END_TEST

/* A length of two bytes, and a name longer than what there is room for */
START_TEST(test_long_name)
{
	static char name[1000];
	struct rig_symbol list[] = { { 0x1000, name }, { 0x2000, "tsecond" }, { 0x3000, "tend" } };

	memset(name, 'x', sizeof(name) - 1);
	rig_start(&rig, false);
	rig_symbols(&rig, list, ARRAY_SIZE(list), true);
	ck_assert_int_eq(load(), 0);
	ck_assert_int_eq(linux_symbol_at(symbols, K(0x1001), &symbol), 0);
	ck_assert_uint_eq(strlen(symbol.name), LINUX_NAME_BYTES - 2);
	expect(K(0x2002), "second+0x2/0x1000");
}
END_TEST

static void change(uint64_t x, uint32_t value, int want)
{
	uint32_t before;

	memcpy(&before, rig_at(&rig, x), sizeof(before));
	rig_put32(&rig, x, value);
	ck_assert_int_eq(load(), want);
	rig_put32(&rig, x, before);
	ck_assert_int_eq(load(), 0);
}

START_TEST(test_damaged)
{
	start(true);
	change(RIG_NUM, 0, -EBADMSG);
	change(RIG_NUM, (1 << 22) + 1, -EBADMSG);
	change(RIG_NUM, 1 << 21, -EFAULT); /* no room for offsets */
	change(RIG_NUM, 0x9000, -EBADMSG); /* nor for names */
	change(RIG_NAMES, 0xffffffff, -EBADMSG);
	memset(rig_at(&rig, RIG_INDEX), 0xff, 512); /* tokens that are not there */
	ck_assert_int_eq(load(), 0);
	expect(K(RIG_CODE + 0x112), "0xffffffff80200112");
	rig_start(&rig, false);
	ck_assert_int_eq(load(), -ENOENT);
}
END_TEST

START_TEST(test_places)
{
	static const char *const keys[] = {
		"SYMBOL(kallsyms_token_table)=", "SYMBOL(kallsyms_token_index)=", "SYMBOL(kallsyms_names)=",
	};
	static const char *const values[] = { "ffffffff80030008", "ffffffff80030008", "ffffffff70000000" };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		start(true);
		memcpy(strstr(rig.note, keys[i]) + strlen(keys[i]), values[i], 16);
		ck_assert_int_eq(load(), -EBADMSG);
	}
}
END_TEST

START_TEST(test_module)
{
	struct linux_orc orc;

	start(true);
	rig_module(&rig);
	expect(RIG_AREA + 0x110, "open+0x10/0x40 [rig_module]");
	expect(RIG_AREA + 0x203, "close+0x3/0x0 [rig_module]");
	expect(RIG_AREA + 0x50, "0xffffffffc0000050 [rig_module]");
	expect(RIG_AREA + 0x4000, "0xffffffffc0004000");
	ck_assert(linux_is_text(symbols, RIG_AREA + 0x110));
	ck_assert_int_eq(linux_orc_for(symbols, RIG_AREA + 0x110, &orc), 0);
	ck_assert_uint_eq(orc.n, 2);
	ck_assert_uint_eq(orc.ips, RIG_AREA + 0x300c);
	ck_assert_int_eq(linux_orc_for(symbols, RIG_AREA + 0x4000, &orc), -ENOENT);
	ck_assert_int_eq(linux_orc_for(symbols, K(RIG_CODE), &orc), 0);
	ck_assert_uint_eq(orc.n, 64);
}
END_TEST

static void module_field(unsigned at, uint64_t value)
{
	memcpy(ram_base(rig.ram) + RIG_MODULE + 0x1000 + at, &value, sizeof(value));
}

/* Its init is not over: there are more symbols elsewhere. And one of another part is no name for an address. */
START_TEST(test_module_init)
{
	uint8_t *base;
	const uint64_t all[4] = { RIG_AREA + 0x2300, 2, RIG_AREA + 0x2400, RIG_AREA + 0x2500 };

	start(true);
	base = ram_base(rig.ram) + RIG_MODULE;
	rig_module(&rig);
	module_field(336, RIG_AREA + 0x4000);
	module_field(344, 0x1000); /* its init's part */
	expect(RIG_AREA + 0x4010, "0xffffffffc0004010 [rig_module]");
	memcpy(base + 0x2280, all, sizeof(all));
	module_field(544, RIG_AREA + 0x2280);
	memcpy(base + 0x2300, base + 0x2000, 48);
	base[0x2318] = 1;
	memcpy(base + 0x2320, (const uint64_t[]){ RIG_AREA + 0x4008 }, 8);
	memcpy(base + 0x2400, "\0begin", 7);
	expect(RIG_AREA + 0x4010, "begin+0x8/0x40 [rig_module]");
	module_field(544, RIG_AREA + 0x2288); /* what is there is none */
	expect(RIG_AREA + 0x110, "open+0x10/0x40 [rig_module]");
}
END_TEST

/* What does not fit together is not there; the rest still is. */
START_TEST(test_damaged_module)
{
	struct linux_orc orc;

	start(true);
	rig_module(&rig);
	module_field(496, RIG_AREA + 0x2f00);
	ck_assert_int_eq(linux_orc_for(symbols, RIG_AREA + 0x110, &orc), -ENOENT);
	expect(RIG_AREA + 0x110, "open+0x10/0x40 [rig_module]");
	module_field(568, K(RIG_CODE)); /* names elsewhere */
	expect(RIG_AREA + 0x110, "0xffffffffc0000110 [rig_module]");
	rig_module(&rig);
	module_field(560, 1 << 20);
	expect(RIG_AREA + 0x110, "0xffffffffc0000110 [rig_module]");
	rig_module(&rig);
	ram_base(rig.ram)[RIG_MODULE + 0x2000] = 1; /* the first symbol is none */
	expect(RIG_AREA + 0x110, "0xffffffffc0000110 [rig_module]");
	ram_base(rig.ram)[RIG_MODULE + 0x2000] = 0;
	module_field(320, RIG_AREA + 8);
	expect(RIG_AREA + 0x110, "0xffffffffc0000110");
	rig_module(&rig);
	module_field(8, RIG_AREA + 0x1008); /* a list without an end */
	expect(RIG_AREA + 0x5000, "0xffffffffc0005000");
	module_field(8, 0x1000);
	expect(RIG_AREA + 0x5000, "0xffffffffc0005000");
}
END_TEST

UNIT_MAIN("kallsyms", test_kernel, test_long_name, test_damaged, test_places, test_module, test_module_init, test_damaged_module)
