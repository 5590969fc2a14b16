/* Links: hw/test-device.o hw/ram.o hw/ram-fault.o hw/ram-log.o hw/ram-plug.o hw/state.o hw/state-show.o util/json.o util/log.o */
/* Wraps: mprotect */
#include <errno.h>
#include <sys/mman.h>

#include "chip.h"
#include "ram-base.h"
#include "state.h"

#define PORT   0
#define FLUSH  4
#define AGAIN  8
#define LINES  12
#define MEMORY 36

static struct ram *ram;
static struct {
	unsigned n;
	void *addr[2];
	int prot[2];
	int fail;
} protects;
static struct {
	unsigned n, gsi;
	bool level;
} line;

int __real_mprotect(void *addr, size_t len, int prot);
int __wrap_mprotect(void *addr, size_t len, int prot);

int __wrap_mprotect(void *addr, size_t len, int prot)
{
	ck_assert_uint_eq(len, 4096);
	ck_assert_uint_lt(protects.n, 2);
	protects.addr[protects.n] = addr;
	protects.prot[protects.n++] = prot;
	if (protects.fail) {
		errno = protects.fail;
		return -1;
	}
	return __real_mprotect(addr, len, prot);
}

static void set_line(void *vm, unsigned gsi, unsigned source, bool level)
{
	ck_assert_ptr_eq(vm, &machine);
	ck_assert_uint_eq(source, 300);
	line.n++;
	line.gsi = gsi;
	line.level = level;
}

static void new_device(void)
{
	static const struct ram_config plain;
	struct ram_backing backing = { .fd = -1, .advice = &plain };
	struct device_env env = { .irq = { .set = set_line, .ctx = &machine, .source = 300 } };

	ck_assert_int_eq(ram_new(2 * MIB, &backing, &ram), 0);
	env.ram = ram;
	machine.type = &test_device_type;
	machine.dev = calloc(1, test_device_type.size);
	ck_assert_int_eq(test_device_type.init(machine.dev, &env), 0);
}

static void free_device(void)
{
	free_chip();
	ram_free(ram);
}

START_TEST(test_ports_read_back)
{
	new_device();
	ck_assert_uint_eq(in_len(PORT, 4), 0);
	out_len(PORT, 0x12345678, 4);
	ck_assert_uint_eq(in_len(PORT, 4), 0x12345678);
	ck_assert_uint_eq(in_len(PORT, 2), 0x5678);
	ck_assert_uint_eq(in8(PORT + 3), 0x12);
	out8(PORT + 1, 0xab);
	ck_assert_uint_eq(in_len(PORT, 4), 0x1234ab78);
	out_len(PORT + 2, 0xcdef, 2);
	ck_assert_uint_eq(in_len(AGAIN, 4), 0xcdefab78);
	out_len(AGAIN, 1, 4);
	ck_assert_uint_eq(in_len(PORT, 4), 1);
	out_len(PORT + 2, 0x55667788, 4); /* half of it lies on the flush port */
	ck_assert_uint_eq(in_len(PORT, 4), 0x77880001);
	ck_assert_uint_eq(in_len(PORT + 2, 4), 0xffff7788);
	ck_assert_uint_eq(in_len(FLUSH, 4), 0xffffffff);
	ck_assert_uint_eq(protects.n, 0);
	free_device();
}
END_TEST

START_TEST(test_memory_reads_back)
{
	new_device();
	for (unsigned i = 0; i < TEST_DEVICE_MEMORY; i += 4)
		ck_assert_uint_eq(in_len(MEMORY + i, 4), 0);
	for (unsigned i = 0; i < TEST_DEVICE_MEMORY; i += 4)
		out_len(MEMORY + i, i * 0x10001, 4);
	for (unsigned i = 0; i < TEST_DEVICE_MEMORY; i += 4)
		ck_assert_uint_eq(in_len(MEMORY + i, 4), i * 0x10001);
	out8(MEMORY + TEST_DEVICE_MEMORY - 1, 0x42);
	ck_assert_uint_eq(in8(MEMORY + TEST_DEVICE_MEMORY - 1), 0x42);
	ck_assert_uint_eq(in_len(PORT, 4), 0);
	free_device();
}
END_TEST

START_TEST(test_lines)
{
	new_device();
	for (unsigned gsi = 0; gsi < TEST_DEVICE_LINES; gsi++)
		for (unsigned value = 2; value <= 2; value--) {
			out8(LINES + gsi, value);
			ck_assert(line.gsi == gsi && line.level == !!value);
		}
	ck_assert_uint_eq(line.n, 3 * TEST_DEVICE_LINES);
	out_len(LINES + 20, 0x01010100, 4); /* the first byte counts */
	ck_assert(line.gsi == 20 && !line.level);
	ck_assert_uint_eq(in8(LINES), 0xff);
	free_device();
}
END_TEST

START_TEST(test_flush)
{
	static const uint32_t bad[] = { 2 * MIB, 0xfffff000, 0xe1000000 };

	new_device();
	ram_base(ram)[0x5000] = 0x42;
	out_len(FLUSH, 0x5678, 4);
	ck_assert_uint_eq(protects.n, 2);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_ptr_eq(protects.addr[i], ram_base(ram) + 0x5000);
		ck_assert_uint_eq(protects.prot[i] & 3, PROT_READ | PROT_WRITE); /* at any time */
	}
	ck_assert_int_ne(protects.prot[0], protects.prot[1]);
	ck_assert_uint_eq(ram_base(ram)[0x5000], 0x42);
	for (size_t i = 0; i < 3; i++) {
		protects.n = 0;
		out_len(FLUSH, bad[i], 4);
		ck_assert_uint_eq(protects.n, 0);
	}
	protects.fail = EACCES; /* by a host that allows no memory to become executable */
	out_len(FLUSH, 0, 4);
	ck_assert_uint_eq(protects.n, 1);
	free_device();
}
END_TEST

static void use(void *dev)
{
	ck_assert_ptr_eq(dev, machine.dev);
	out_len(PORT, 0x12345678, 4);
	out8(LINES + 3, !line.level);
	ck_assert_uint_eq(in_len(PORT, 4), 0x12345678);
}

START_TEST(test_state)
{
	const struct state_type *type = test_device_type.state;
	struct state_buf saved = { 0 };
	struct state_reader in;

	new_device();
	state_test_table(type);
	state_test_hostile(type, machine.dev, use);
	out_len(PORT, 0xcafe1234, 4);
	out8(MEMORY + TEST_DEVICE_MEMORY - 1, 0x42);
	out8(LINES + 5, 1);
	state_saved(type, machine.dev, &saved);
	free_device();

	new_device();
	line.n = 0;
	in = state_reader_of(&saved);
	ck_assert_int_eq(state_load(&in, type, machine.dev), 0);
	assert_saves(type, machine.dev, &saved);
	ck_assert(line.n == 1 && line.gsi == 5 && line.level);
	ck_assert_uint_eq(in_len(PORT, 4), 0xcafe1234);
	ck_assert_uint_eq(in8(MEMORY + TEST_DEVICE_MEMORY - 1), 0x42);
	/* Into one that has run: only what differs is set. */
	out8(LINES + 6, 1);
	line.n = 0;
	in = state_reader_of(&saved);
	ck_assert_int_eq(state_load(&in, type, machine.dev), 0);
	ck_assert(line.n == 1 && line.gsi == 6 && !line.level);
	state_buf_free(&saved);
	free_device();
}
END_TEST

UNIT_MAIN("test-device", test_ports_read_back, test_memory_reads_back, test_lines, test_flush,
	  test_state)
