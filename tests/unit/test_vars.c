/* Links: vm/vars.o hw/flash.o hw/state.o kvm-slots.o hw/ram.o hw/ram-discard.o hw/bus.o util/file.o util/log.o */
/* Wraps: pwrite */
/* Variables of firmware: the file, and the chip that it is, without KVM: the test plays its ioctls. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/flash.h"
#include "lkvm/log.h"
#include "lkvm/state.h"
#include "lkvm/vm/vars.h"
#include "unit.h"

#define BYTES 0x3000
#define ROOM  0x10000
#define END   0xffff0000ULL

static struct kvm kvm;
static struct vars *vars;
static char path[64];
static int write_error;

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	(void)fd;
	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (request == KVM_CHECK_EXTENSION)
		return (int)(intptr_t)arg == KVM_CAP_READONLY_MEM ? 1 : 64;
	ck_assert_uint_eq(request, KVM_SET_USER_MEMORY_REGION);
	return 0;
}

ssize_t __real_pwrite(int fd, const void *buf, size_t len, off_t at);
ssize_t __wrap_pwrite(int fd, const void *buf, size_t len, off_t at);
ssize_t __wrap_pwrite(int fd, const void *buf, size_t len, off_t at)
{
	if (!write_error)
		return __real_pwrite(fd, buf, len, at);
	errno = write_error;
	return -1;
}

static void put_file(size_t bytes)
{
	int fd;

	snprintf(path, sizeof(path), "/tmp/lkvm-vars-XXXXXX");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
	close(fd);
}

static uint8_t in_file(uint64_t off)
{
	int fd = open(path, O_RDONLY);
	uint8_t byte;

	ck_assert_int_eq(pread(fd, &byte, 1, (off_t)off), 1);
	close(fd);
	return byte;
}

static void refused(int err, const char *why)
{
	struct vars *other = NULL;
	char text[256], want[256];

	log_hold_errors(true);
	ck_assert_int_eq(vars_open(path, ROOM, VARS_WRITE, &other), err);
	log_last_error(text, sizeof(text));
	snprintf(want, sizeof(want), "could not open firmware variables '%s': %s", path, why);
	ck_assert_str_eq(text, want);
	ck_assert_ptr_null(other);
}

START_TEST(test_files)
{
	static const struct {
		size_t bytes;
		int err;
		const char *why;
	} cases[] = {
		{ 0, -EINVAL, "it is empty" },
		{ 4095, -EINVAL, "its size is no multiple of 4 KiB" },
		{ 4097, -EINVAL, "its size is no multiple of 4 KiB" },
		{ ROOM + 4096, -EFBIG, "with the firmware it is larger than 16 MiB" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put_file(cases[i].bytes);
		refused(cases[i].err, cases[i].why);
		unlink(path);
	}
	snprintf(path, sizeof(path), "/nonsense");
	refused(-ENOENT, "No such file or directory");
	snprintf(path, sizeof(path), "/");
	refused(-EISDIR, "Is a directory");
	snprintf(path, sizeof(path), "/dev/null");
	refused(-EINVAL, "not a regular file");
	put_file(ROOM);
	ck_assert_int_eq(vars_open(path, ROOM, VARS_WRITE, &vars), 0);
	vars_close(vars);
	vars_close(NULL);
	unlink(path);
}
END_TEST

START_TEST(test_one_guest)
{
	struct vars *shown;

	put_file(BYTES);
	ck_assert_int_eq(vars_open(path, ROOM, VARS_WRITE, &vars), 0);
	refused(-EAGAIN, "another guest uses it");
	ck_assert_int_eq(vars_open(path, ROOM, VARS_SHOW, &shown), 0);
	vars_close(shown);
	vars_close(vars);
	ck_assert_int_eq(vars_open(path, ROOM, VARS_WRITE, &vars), 0);
	vars_close(vars);
	unlink(path);
}
END_TEST

/* To who may not write; the superuser may always. */
START_TEST(test_read_only)
{
	struct vars *shown;

	put_file(BYTES);
	chmod(path, 0444);
	if (access(path, W_OK))
		refused(-EACCES, "Permission denied");
	ck_assert_int_eq(vars_open(path, ROOM, VARS_SHOW, &shown), 0);
	vars_close(shown);
	unlink(path);
}
END_TEST

static void start(void)
{
	write_error = 0;
	kvm = (struct kvm){ .dev_fd = 1000, .vm_fd = 1001 };
	kvm_slots_init(&kvm);
	bus_init(&kvm.mmio);
	put_file(BYTES);
	ck_assert_int_eq(vars_open(path, ROOM, VARS_WRITE, &vars), 0);
	ck_assert_int_eq(vars_map(vars, &kvm, GPA(END)), 0);
}

static void end(void)
{
	bus_fini(&kvm.mmio);
	kvm_slots_fini(&kvm);
	vars_close(vars);
	unlink(path);
}

static const struct kvm_slot *slot(void)
{
	const struct kvm_slot *found = NULL;

	for (unsigned i = 0; i < KVM_MAX_SLOTS; i++)
		if (kvm.slots.slot[i].bytes) {
			ck_assert_ptr_null(found);
			found = &kvm.slots.slot[i];
		}
	return found;
}

static uint8_t load8(uint64_t off)
{
	uint8_t byte;

	if (slot())
		return ((uint8_t *)slot()->host)[off];
	ck_assert_int_eq(bus_rw(&kvm.mmio, END - BYTES + off, &byte, 1, false), 0);
	return byte;
}

static void store8(uint64_t off, uint8_t byte)
{
	ck_assert_int_eq(bus_rw(&kvm.mmio, END - BYTES + off, &byte, 1, true), 0);
}

START_TEST(test_chip)
{
	uint8_t bytes[8];

	start();
	ck_assert_uint_eq(slot()->at.v, END - BYTES);
	ck_assert_uint_eq(slot()->bytes, BYTES);
	ck_assert(slot()->read_only);
	store8(0x1234, 0x20);
	ck_assert_ptr_null(slot());
	store8(0x1234, 0xd0);
	ck_assert_uint_eq(load8(0), 0x80);
	ck_assert_uint_eq(in_file(0x1000), 0xff); /* at once */
	ck_assert_uint_eq(in_file(0xfff), 0);
	ck_assert_uint_eq(in_file(0x2000), 0);
	store8(BYTES - 1, 0x50);
	ck_assert_ptr_nonnull(slot());
	ck_assert_uint_eq(load8(0x1fff), 0xff);
	store8(0x1fff, 0x10);
	store8(0x1fff, 0x42);
	ck_assert_uint_eq(in_file(0x1fff), 0x42);
	store8(0, 0xff);
	ck_assert_uint_eq(load8(0x1fff), 0x42);
	ck_assert_int_eq(bus_rw(&kvm.mmio, END - BYTES - 1, bytes, 1, false), -ENODEV);
	ck_assert_int_eq(bus_rw(&kvm.mmio, END, bytes, 1, false), -ENODEV);
	ck_assert_int_eq(bus_rw(&kvm.mmio, END - 4, bytes, 8, true), -ENODEV);
	end();
}
END_TEST

START_TEST(test_disk_is_full)
{
	char text[256], want[256];

	log_hold_errors(true);
	start();
	write_error = ENOSPC;
	store8(0, 0x20);
	store8(0, 0xd0);
	ck_assert_uint_eq(load8(0), 0x80 | 0x20);
	log_last_error(text, sizeof(text));
	snprintf(want, sizeof(want), "write firmware variables '%s': No space left on device", path);
	ck_assert_str_eq(text, want);
	store8(0, 0xff);
	ck_assert_uint_eq(load8(0), 0);
	write_error = 0;
	end();
}
END_TEST

/* Of a machine that goes on from a snapshot: the file stays, and who else has it is no matter. */
START_TEST(test_private)
{
	const uint8_t *data;
	uint64_t bytes;

	start();
	ck_assert(!vars_are_private(vars));
	end();
	kvm_slots_init(&kvm);
	bus_init(&kvm.mmio);
	put_file(BYTES);
	ck_assert_int_eq(vars_open(path, ROOM, VARS_PRIVATE, &vars), 0);
	ck_assert_int_eq(vars_map(vars, &kvm, GPA(END)), 0);
	write_error = EIO; /* which is not met */
	store8(0x1234, 0x20);
	store8(0x1234, 0xd0);
	ck_assert_uint_eq(load8(0), 0x80);
	store8(0, 0xff);
	ck_assert_uint_eq(load8(0x1234), 0xff);
	ck_assert_uint_eq(in_file(0x1234), 0);
	ck_assert(vars_are_private(vars));
	data = vars_data(vars, &bytes);
	ck_assert_uint_eq(bytes, BYTES);
	ck_assert_uint_eq(data[0x1234], 0xff);
	ck_assert_uint_eq(data[0x2234], 0);
	end();
}
END_TEST

/* The chip goes on in another machine: there is no slot while its array is not seen. */
START_TEST(test_goes_on)
{
	struct state_buf saved = { 0 };
	struct state_reader in;

	start();
	store8(0, 0x10);
	ck_assert_int_eq(state_save(&saved, &flash_state_type, vars_flash(vars)), 0);
	end();
	start();
	ck_assert_ptr_nonnull(slot());
	in = (struct state_reader){ saved.data, saved.data + saved.len, "" };
	ck_assert_int_eq(state_load(&in, &flash_state_type, vars_flash(vars)), 0);
	ck_assert_ptr_null(slot());
	ck_assert_uint_eq(load8(0), 0);
	store8(8, 0); /* 0 stays 0 */
	ck_assert_uint_eq(load8(0), 0x80);
	store8(0, 0xff);
	ck_assert_ptr_nonnull(slot());
	end();
	state_buf_free(&saved);
}
END_TEST

UNIT_MAIN("vars", test_files, test_one_guest, test_read_only, test_chip, test_disk_is_full, test_private, test_goes_on)
