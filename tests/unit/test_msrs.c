/* Links: x86/cpu/state.o x86/cpu/state-clock.o hw/ram.o hw/ram-size.o hw/ram-backing.o hw/ram-fault.o hw/ram-log.o hw/ram-plug.o hw/ram-beside.o hw/state.o util/log.o */
/* Wraps: ioctl */
/* Model-specific registers of a CPU that this host has not all of: the test plays KVM, which refuses one. */
#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lkvm/log.h"
#include "lkvm/x86/state.h"
#include "unit.h"

#define MSR_REFUSED 0x3a
#define VALUE       5

static uint64_t has; /* the refused one's value */

int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
	struct kvm_msrs *msrs;
	va_list args;

	(void)fd;
	va_start(args, request);
	msrs = va_arg(args, struct kvm_msrs *);
	va_end(args);
	if (request == KVM_SET_MSRS)
		return msrs->entries[0].index != MSR_REFUSED;
	ck_assert_uint_eq(request, KVM_GET_MSRS);
	msrs->entries[0].data = has;
	return 1;
}

static const struct state_type *msrs_type(void)
{
	for (unsigned i = 0; i < CPU_STATE_TYPES; i++)
		if (!strcmp(cpu_state_types[i]->name, "cpu-msrs"))
			return cpu_state_types[i];
	ck_abort_msg("there is no such type");
}

/* Two registers of which the second is the one; Return: of state_load() */
static int load(void)
{
	const struct state_type *type = msrs_type();
	struct msrs {
		uint32_t n, index[511];
		uint64_t data[511];
	} st = { .n = 2, .index = { 0x174, MSR_REFUSED }, .data = { 1, VALUE } };
	struct kvm_fds fds = { 0 };
	struct state_buf buf = { 0 };
	struct state_reader in;
	int err;

	ck_assert_uint_eq(type->size, sizeof(st));
	ck_assert_int_eq(state_pack(&buf, type, &st), 0);
	in = (struct state_reader){ .at = buf.data, .end = buf.data + buf.len };
	err = state_load(&in, type, &fds);
	state_buf_free(&buf);
	return err;
}

/* One that cannot be written is right if it has its value; else it is named. */
START_TEST(test_refused)
{
	char why[200];

	log_hold_errors(true);
	has = VALUE;
	ck_assert_int_eq(load(), 0);
	has = VALUE + 1;
	ck_assert_int_eq(load(), -ENOTSUP);
	log_last_error(why, sizeof(why));
	ck_assert_msg(strstr(why, "MSR 0x3a") && strstr(why, "0x5"), "%s", why);
}
END_TEST

UNIT_MAIN("msrs", test_refused)
