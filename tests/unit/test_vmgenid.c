/* Links: hw/vmgenid.o util/log.o */
#include <dlfcn.h>
#include <errno.h>
#include <sys/random.h>

#include "chip.h"

static int random_fails;

ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
	ssize_t (*real)(void *, size_t, unsigned) =
		(ssize_t(*)(void *, size_t, unsigned))dlsym(RTLD_NEXT, "getrandom");

	if (!random_fails)
		return real(buf, len, flags);
	errno = random_fails;
	return -1;
}

struct id {
	uint64_t half[2];
};

static struct id read_id(void)
{
	return (struct id){ { machine.type->io.read(machine.dev, 0, 8),
			      machine.type->io.read(machine.dev, 8, 8) } };
}

static bool same(struct id a, struct id b)
{
	return a.half[0] == b.half[0] || a.half[1] == b.half[1];
}

/* Whatever the width, it is the same bytes. */
START_TEST(test_read)
{
	struct id id;
	uint32_t value;

	new_chip(&vmgenid_type, NULL, NULL);
	id = read_id();
	for (unsigned len = 1; len <= 4; len *= 2)
		for (unsigned off = 0; off + len <= VMGENID_BYTES; off++) {
			value = in_len(off, len);
			ck_assert_int_eq(memcmp((uint8_t *)&id + off, &value, len), 0);
		}
	ck_assert_uint_eq(machine.irq_sets, 0);
	free_chip();
}
END_TEST

START_TEST(test_guest_cannot_write)
{
	struct id id, after;

	new_chip(&vmgenid_type, NULL, NULL);
	id = read_id();
	machine.type->io.write(machine.dev, 0, 8, ~id.half[0]);
	machine.type->io.write(machine.dev, 8, 8, ~id.half[1]);
	after = read_id();
	ck_assert_mem_eq(&id, &after, sizeof(id));
	free_chip();
}
END_TEST

START_TEST(test_each_machine_has_its_own)
{
	struct id first;

	new_chip(&vmgenid_type, NULL, NULL);
	first = read_id();
	free_chip();
	new_chip(&vmgenid_type, NULL, NULL);
	ck_assert(!same(first, read_id()));
	ck_assert_uint_eq(machine.irq_sets, 0);
	free_chip();
}
END_TEST

/* A new one, and one edge. */
START_TEST(test_restored)
{
	struct id before;

	new_chip(&vmgenid_type, NULL, NULL);
	before = read_id();
	ck_assert_int_eq(vmgenid_type.restored(machine.dev), 0);
	ck_assert(!same(before, read_id()));
	ck_assert_uint_eq(machine.irq_sets, 2);
	ck_assert(!machine.irq);
	free_chip();
}
END_TEST

/* What was saved would be the same in every copy. */
START_TEST(test_nothing_is_saved)
{
	ck_assert_ptr_null(vmgenid_type.state);
}
END_TEST

START_TEST(test_host_has_no_random_numbers)
{
	random_fails = ENOSYS;
	ck_assert_int_eq(try_chip(&vmgenid_type, NULL, NULL), -ENOSYS);
	random_fails = 0;
	free_chip();
	new_chip(&vmgenid_type, NULL, NULL);
	random_fails = ENOSYS;
	ck_assert_int_eq(vmgenid_type.restored(machine.dev), -ENOSYS);
	ck_assert_uint_eq(machine.irq_sets, 0);
	free_chip();
}
END_TEST

UNIT_MAIN("vmgenid", test_read, test_guest_cannot_write, test_each_machine_has_its_own, test_restored,
	  test_nothing_is_saved, test_host_has_no_random_numbers)
