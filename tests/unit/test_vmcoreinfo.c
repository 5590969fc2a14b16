/* Links: linux/vmcoreinfo.o x86/cpu/walk.o hw/ram.o hw/ram-touched.o */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "linux-rig.h"
#include "unit.h"

static struct rig rig;
static struct linux_scan scan;
static struct linux_guest guest;

static int find(void)
{
	int err;

	scan = (struct linux_scan){ 0 };
	while ((err = linux_find(&scan, rig.ram, &guest)) == -EAGAIN)
		;
	return err;
}

START_TEST(test_found)
{
	for (int five = 0; five <= 1; five++) {
		rig_start(&rig, five);
		ck_assert_int_eq(find(), -ENOENT);
		rig_publish(&rig, RIG_NOTE);
		ck_assert_int_eq(find(), 0);
		ck_assert_str_eq(guest.release, "6.1.0-rig");
		ck_assert_uint_eq(guest.kaslr_offset, 0x1000000);
		ck_assert_uint_eq(guest.phys_base, RIG_BASE);
		ck_assert_uint_eq(guest.note_at.v, RIG_NOTE);
		ck_assert(linux_is_there(&guest));
	}
}
END_TEST

START_TEST(test_found_in_note)
{
	rig_start(&rig, false);
	rig_publish_note(&rig, RIG_NOTE - 4096);
	ck_assert_int_eq(find(), 0);
	ck_assert_uint_eq(guest.note_at.v, RIG_NOTE - 4096 + 24);
	ck_assert_uint_eq(guest.note_bytes, rig.note_bytes);
	rig_publish(&rig, 0x700000); /* not where a page begins */
	memmove(ram_base(rig.ram) + 0x700010, ram_base(rig.ram) + 0x700000, 4000);
	memset(ram_base(rig.ram) + RIG_NOTE - 4096, 0, 8192);
	memset(ram_base(rig.ram) + 0x700000, 0, 16);
	ck_assert_int_eq(find(), -ENOENT);
}
END_TEST

/* A false one that is in the way is passed by; one that can be read, but is not confirmed, is the second choice. */
START_TEST(test_false_ones)
{
	rig_start(&rig, false);
	rig_publish(&rig, RIG_NOTE);
	memcpy(ram_base(rig.ram) + 0x600000, "OSRELEASE=6.1.0-user\nKERNELOFFSET=0\n", 36);
	rig_publish(&rig, 0x601000);
	memcpy(strstr((char *)ram_base(rig.ram) + 0x601000, "phys_base)=") + 11, "4096", 4);
	rig_publish(&rig, 0x602000);
	memcpy(ram_base(rig.ram) + 0x602000, "OSRELEASE=6.9", 13);
	ck_assert_int_eq(find(), 0);
	ck_assert_uint_eq(guest.note_at.v, RIG_NOTE);
	memset(ram_base(rig.ram) + RIG_NOTE, 0, 4096);
	ck_assert_int_eq(find(), 0);
	ck_assert_uint_eq(guest.note_at.v, 0x602000);
	ck_assert_str_eq(guest.release, "6.9.0-rig");
	memset(ram_base(rig.ram) + 0x602000, 0, 4096);
	ck_assert_int_eq(find(), -ENOENT);
}
END_TEST

/* Tables that lead elsewhere than to themselves are none of a kernel's. */
START_TEST(test_tables)
{
	rig_start(&rig, false);
	rig_publish(&rig, RIG_NOTE);
	rig_put64(&rig, RIG_PMD, (RIG_BASE + 2 * MIB) | 0x83);
	ck_assert_int_eq(find(), -ENOENT);
	rig_put64(&rig, RIG_PMD, 0);
	ck_assert_int_eq(find(), -ENOENT);
}
END_TEST

START_TEST(test_gone)
{
	rig_start(&rig, false);
	rig_publish(&rig, RIG_NOTE);
	ck_assert_int_eq(find(), 0);
	ram_base(rig.ram)[RIG_NOTE + 30]++;
	ck_assert(!linux_is_there(&guest));
	ram_base(rig.ram)[RIG_NOTE + 30]--;
	ck_assert(linux_is_there(&guest));
	rig_put64(&rig, RIG_PMD, 0);
	ck_assert(!linux_is_there(&guest));
}
END_TEST

START_TEST(test_keys)
{
	uint64_t value = 5;

	rig_start(&rig, false);
	rig_key(&rig, "OFFSET(a.b)=24");
	rig_key(&rig, "OFFSET(a.c)=24x");
	rig_key(&rig, "NUMBER(n)=-1");
	rig_key(&rig, "NUMBER(m)=0xff");
	rig_key(&rig, "SYMBOL(s)=ff");
	rig_key(&rig, "SYMBOL(t)=fffffffffffffffff");
	rig_key(&rig, "NUMBER(o)=");
	rig_publish(&rig, RIG_NOTE);
	ck_assert_int_eq(find(), 0);
	ck_assert_int_eq(linux_key(&guest, "OFFSET(a.b)", &value), 0);
	ck_assert_uint_eq(value, 24);
	ck_assert_int_eq(linux_key(&guest, "OFFSET(a.c)", &value), -EINVAL);
	ck_assert_int_eq(linux_key(&guest, "SYMBOL(t)", &value), -EINVAL);
	ck_assert_int_eq(linux_key(&guest, "NUMBER(o)", &value), -EINVAL);
	ck_assert_int_eq(linux_key(&guest, "OFFSET(a", &value), -ENOENT);
	ck_assert_int_eq(linux_key(&guest, "FFSET(a.b)", &value), -ENOENT);
	ck_assert_uint_eq(value, 24);
	ck_assert_int_eq(linux_key(&guest, "NUMBER(n)", &value), 0);
	ck_assert_uint_eq(value, UINT64_MAX);
	ck_assert_int_eq(linux_key(&guest, "NUMBER(m)", &value), 0);
	ck_assert_uint_eq(value, 255);
	ck_assert_int_eq(linux_key(&guest, "SYMBOL(s)", &value), 0);
	ck_assert_uint_eq(value, 255);
}
END_TEST

START_TEST(test_release)
{
	char text[200];

	rig_start(&rig, false);
	snprintf(text, sizeof(text), "OSRELEASE=%070d\n%s", 1, strchr(rig.note, '\n') + 1);
	ck_assert_int_eq(linux_judge(rig.ram, GPA(0), text, strlen(text), &guest), 0);
	ck_assert_int_eq(linux_judge(rig.ram, GPA(0), rig.note, rig.note_bytes, &guest), 2);
	ck_assert_int_eq(linux_judge(rig.ram, GPA(0), rig.note, 20, &guest), 0);
}
END_TEST

START_TEST(test_read)
{
	uint64_t value = 1;
	uint32_t half = 1;
	char bytes[8];

	rig_start(&rig, false);
	rig_publish(&rig, RIG_NOTE);
	ck_assert_int_eq(find(), 0);
	rig_put64(&rig, RIG_FREE, 0x1122334455667788);
	ck_assert_int_eq(linux_read_u64(&guest, K(RIG_FREE), &value), 0);
	ck_assert_uint_eq(value, 0x1122334455667788);
	ck_assert_int_eq(linux_read_u32(&guest, K(RIG_FREE), &half), 0);
	ck_assert_uint_eq(half, 0x55667788);
	ck_assert_int_eq(linux_read_u64(&guest, K(RIG_SPAN - 4), &value), -EFAULT);
	ck_assert_int_eq(linux_read_u32(&guest, K(RIG_SPAN - 2), &half), -EFAULT);
	ck_assert_int_eq(linux_read(&guest, 0, bytes, 8), -EFAULT);
	ck_assert_uint_eq(value, 0x1122334455667788);
	ck_assert_uint_eq(half, 0x55667788);
}
END_TEST

/* Of a large guest that has used little, nothing more is used after it was looked through. */
START_TEST(test_large)
{
	static const struct ram_config plain;
	struct ram_backing backing = { .fd = -1, .advice = &plain };
	uint8_t touched[64], before[64];
	struct ram *small = rig.ram, *large;

	ck_assert_int_eq(ram_new(64 * GIB, &backing, &large), 0);
	rig.ram = large;
	memset(&scan, 0, sizeof(scan));
	ck_assert_int_eq(find(), -ENOENT);
	ck_assert_int_eq(ram_touched(large, GPA(32 * GIB), 64, before), 0);
	memset(rig_at(&rig, 30 * GIB), 1, 1);
	ck_assert_int_eq(find(), -ENOENT);
	ck_assert_int_eq(ram_touched(large, GPA(32 * GIB), 64, touched), 0);
	ck_assert_mem_eq(before, touched, 64);
	for (unsigned i = 0; i < 64; i++)
		ck_assert_int_eq(before[i], 0);
	ram_free(large);
	rig.ram = small;
}
END_TEST

START_TEST(test_touched)
{
	static const struct ram_config plain;
	struct ram_backing backing = { .fd = memfd_create("ram", MFD_CLOEXEC), .advice = &plain };
	uint8_t touched[8];
	struct ram *ram;

	ck_assert_int_eq(ftruncate(backing.fd, 64 * MIB), 0);
	ck_assert_int_eq(pwrite(backing.fd, "x", 1, 3 * 4096 + 5), 1);
	ck_assert_int_eq(ram_new(64 * MIB, &backing, &ram), 0);
	ck_assert_int_eq(ram_write(ram, GPA(32 * MIB + 4096), "y", 1), 0);
	ck_assert_int_eq(ram_touched(ram, GPA(0), 8, touched), 0);
	ck_assert_int_eq(touched[2] | touched[4], 0);
	ck_assert_int_eq(touched[3], 1);
	ck_assert_int_eq(ram_touched(ram, GPA(64 * MIB - 4096), 2, touched), -EFAULT);
	ck_assert_int_eq(ram_touched(ram, GPA(1), 1, touched), -EFAULT);
	ck_assert_int_eq(ram_touched(ram, GPA(32 * MIB + 4096), 1, touched), 0);
	ck_assert_int_eq(touched[0], 1);
	ram_free(ram);
}
END_TEST

UNIT_MAIN("vmcoreinfo", test_found, test_found_in_note, test_false_ones, test_tables, test_gone, test_keys,
	  test_release, test_read, test_large, test_touched)
