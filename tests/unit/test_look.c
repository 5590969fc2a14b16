/* Links: vm/look.o vm/control-linux.o vm/control-dmesg.o vm/control-backtrace.o vm/control-profile.o linux/early.o linux/vmcoreinfo.o linux/printk.o linux/printk-old.o linux/kallsyms.o linux/symbols-file.o linux/modules.o linux/unwind.o linux/activity.o util/json.o util/log.o x86/cpu/walk.o hw/ram.o hw/ram-touched.o */
/* What a guest's lkvm is asked for of its Linux, and what it says of one that ended badly. */
#include <errno.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "linux-rig.h"
#include "lkvm/json.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/kvm.h"
#include "lkvm/vm/control.h"
#include "lkvm/vm/look.h"
#include "lkvm/vm/run.h"
#include "unit.h"

static struct rig rig;
static struct kvm_cpu cpus[3];
static struct kvm kvm;
static struct control ctl;
static struct ipc_reply reply;
static struct run_result result;
static int freeze_err;
static bool is_frozen;

/* vCPU 0 idles in the second function of the rig's kernel, 1 is in user space, 2 was never started. */
int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *ret;

	va_start(args, request);
	ret = va_arg(args, void *);
	va_end(args);
	if (request == KVM_GET_REGS)
		*(struct kvm_regs *)ret = (struct kvm_regs){
			.rip = fd == 11 ? 0x401000 : K(RIG_CODE + 0x210), .rsp = K(RIG_STACK), .rflags = 1 << 9,
		};
	else if (request == KVM_GET_SREGS)
		*(struct kvm_sregs *)ret = (struct kvm_sregs){ .cs = { .selector = fd == 11 ? 0x33 : 0x10, .l = 1 } };
	else if (request == KVM_GET_MP_STATE)
		((struct kvm_mp_state *)ret)->mp_state = fd == 12 ? KVM_MP_STATE_UNINITIALIZED : fd == 10 ?
								     KVM_MP_STATE_HALTED : KVM_MP_STATE_RUNNABLE;
	else
		ck_abort_msg("another ioctl");
	return 0;
}

static int symbols_fd = -1;

int ipc_take_fd(struct ipc_client *client, unsigned i)
{
	(void)client;
	return i ? -1 : symbols_fd;
}

int control_freeze(struct control *of, bool *ret_thaw, struct ipc_reply *to)
{
	(void)of, (void)to;
	*ret_thaw = true;
	is_frozen = !freeze_err;
	return freeze_err;
}

void control_thaw(struct control *of, bool was_running)
{
	(void)of;
	ck_assert(was_running && is_frozen);
	is_frozen = false;
}

int exits_polled(const struct kvm *of, struct exits_polled *ret)
{
	ck_assert(!is_frozen && of == &kvm);
	snprintf(ret[1].text, sizeof(ret[1].text), "reads port 0x3fd (serial0)");
	return 0;
}

void control_memmap(const struct control *of, bool json, FILE *out)
{
	ck_assert(of == &ctl && !json);
	fprintf(out, "the map\n");
}

static void start(bool has_linux)
{
	rig_start(&rig, false);
	rig_log(&rig);
	rig_kernel(&rig, true);
	for (unsigned i = 0; i < 64; i++)
		rig_orc(&rig, i, RIG_CODE + 0x40 * i, 16, 0, 5 | 2 << 8);
	rig_put64(&rig, RIG_STACK + 8, K(RIG_CODE + 0x120));
	rig_record(&rig, 1, 2, 0, "first");
	rig_record(&rig, 2, 2, 1, "second \033[31m");
	rig_ends(&rig, 1, 2);
	if (has_linux)
		rig_publish(&rig, RIG_NOTE);
	for (unsigned i = 0; i < 3; i++)
		cpus[i] = (struct kvm_cpu){ .kvm = &kvm, .id = i, .fd = 10 + (int)i };
	kvm = (struct kvm){ .n_cpus = 3, .cpus = cpus, .ram = rig.ram };
	control_end_linux(&ctl);
	ctl = (struct control){ .kvm = &kvm };
}

static int dmesg(uint64_t from, uint32_t flags)
{
	const struct ipc_dmesg req = { .from = from, .flags = flags };
	int err;

	reply.len = 0;
	while ((err = control_dmesg(&ctl, &req, &reply)) == -EAGAIN)
		;
	return err;
}

START_TEST(test_dmesg)
{
	struct ipc_dmesg_head head;
	struct ipc_record record;

	start(true);
	ck_assert_int_eq(dmesg(0, 2), -EINVAL);
	ck_assert_int_eq(dmesg(0, 0), 0);
	memcpy(&head, reply.body, sizeof(head));
	memcpy(&record, reply.body + sizeof(head), sizeof(record));
	ck_assert_uint_eq(head.next, 2);
	ck_assert_uint_eq(head.more, 0);
	ck_assert_uint_eq(record.text_bytes, 5);
	ck_assert_mem_eq(reply.body + sizeof(head) + sizeof(record), "first", 5);
	ck_assert_int_eq(dmesg(2, 0), 0);
	ck_assert_uint_eq(reply.len, sizeof(head));
	memset(ram_base(rig.ram) + RIG_NOTE, 0, 4096); /* another kernel begins */
	ck_assert_int_eq(dmesg(0, 0), -ENOENT);
	rig_publish(&rig, RIG_NOTE + 0);
	ck_assert_int_eq(dmesg(0, 0), 0);
	rig.note[0] = 'X';
	start(false);
	ck_assert_int_eq(dmesg(0, 0), -ENOENT);
	control_end_linux(&ctl);
}
END_TEST

static const char *backtrace(uint32_t cpu, uint32_t json, int want)
{
	const struct ipc_backtrace req = { .cpu = cpu, .json = json };
	int err;

	reply.len = 0;
	while ((err = control_backtrace(&ctl, &req, &reply)) == -EAGAIN)
		;
	ck_assert_int_eq(err, want);
	ck_assert(!is_frozen);
	reply.body[reply.len] = '\0';
	return (const char *)reply.body;
}

START_TEST(test_backtrace)
{
	start(true);
	ck_assert_str_eq(backtrace(0, 0, 0), "vCPU 0: idle, halted\n    do_idle+0x10/0x100\n    sys_open+0x20/0x100\n");
	ck_assert_str_eq(backtrace(1, 0, 0), "vCPU 1: in user space (64-bit); it reads port 0x3fd (serial0) again and again\n"
			   "    0x401000 in user space\n");
	ck_assert_str_eq(backtrace(2, 0, 0), "vCPU 2: not started\n");
	ck_assert_ptr_nonnull(strstr(backtrace(0, 1, 0), "\"by\": \"orc\""));
	backtrace(3, 0, -ENXIO);
	backtrace(0, 2, -EINVAL);
	freeze_err = -ESHUTDOWN;
	backtrace(0, 0, -ESHUTDOWN);
	freeze_err = 0;
	start(false);
	ck_assert_str_eq(backtrace(0, 0, 0), "vCPU 0: halted\n    0xffffffff80200210\n");
	control_end_linux(&ctl);
}
END_TEST

static int set_symbols(const char *text)
{
	int err;

	do {
		symbols_fd = memfd_create("symbols", MFD_CLOEXEC);
		ck_assert_int_eq(write(symbols_fd, text, strlen(text)), (int)strlen(text));
		err = control_set_symbols(&ctl, NULL, &reply);
	} while (err == -EAGAIN);
	return err;
}

/* The rig's kernel was moved by 16 MB, as its VMCOREINFO says. */
START_TEST(test_symbols)
{
	int ends[2];

	start(true);
	ck_assert_int_eq(set_symbols("ffffffff7f200000 T first\nffffffff7f2"), -ENODATA);
	ck_assert_int_eq(set_symbols("ffffffff80000000 T _stext\nffffffff80300000 T _etext\n"), 0);
	ck_assert_str_eq(backtrace(1, 0, 0), "vCPU 1: in user space (64-bit); it reads port 0x3fd (serial0) again and again\n"
			   "    0x401000 in user space\n");
	ck_assert_int_eq(pipe(ends), 0);
	symbols_fd = ends[0];
	ck_assert_int_eq(control_set_symbols(&ctl, NULL, &reply), -EBADMSG);
	close(ends[1]);
	symbols_fd = -1;
	ck_assert_int_eq(control_set_symbols(&ctl, NULL, &reply), -EPROTO);
	control_end_linux(&ctl);
}
END_TEST

START_TEST(test_sample)
{
	int err;

	start(true);
	reply.len = 0;
	while ((err = control_sample(&ctl, NULL, &reply)) == -EAGAIN)
		;
	ck_assert_int_eq(err, 0);
	reply.body[reply.len] = '\0';
	ck_assert_str_eq((char *)reply.body, "vcpu0;sys_open;do_idle\nvcpu1;[user space]\n");
	start(false);
	ck_assert_int_eq(control_sample(&ctl, NULL, &reply), -ENOENT);
	control_end_linux(&ctl);
}
END_TEST

static char *shown(const struct look *look, const char *last_lines, unsigned most)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	look_print(out, look, last_lines, most);
	fclose(out);
	return text;
}

static void in_file(const char *dir, const char *name, const char *want)
{
	char path[100], text[1000] = "";
	FILE *in;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	in = fopen(path, "r");
	ck_assert_ptr_nonnull(in);
	ck_assert_uint_gt(fread(text, 1, sizeof(text) - 1, in), 0);
	fclose(in);
	ck_assert_msg(strstr(text, want), "%s: %s", name, text);
	unlink(path);
}

START_TEST(test_look)
{
	char dir[] = "/tmp/lkvm-look-XXXXXX", *text;
	struct look *look;
	unsigned lines = 0;

	start(true);
	look = look_take(&ctl);
	ck_assert(look_knows_kernel(look));
	text = shown(look, "", 40);
	ck_assert_ptr_nonnull(strstr(text, "] first\n"));
	ck_assert_ptr_nonnull(strstr(text, "second ?[31m\n"));
	ck_assert_ptr_nonnull(strstr(text, "vCPU 0: idle, halted\n    do_idle+0x10/0x100\n"));
	free(text);
	text = shown(look, "[    0.001000] second ?[31m\n", 40); /* the console has had it */
	ck_assert_ptr_null(strstr(text, "first"));
	free(text);
	text = shown(look, "", 6);
	for (const char *at = text; *at; at++)
		lines += *at == '\n';
	ck_assert_uint_le(lines, 8);
	free(text);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(result.last_lines, sizeof(result.last_lines), "on the console\n");
	ck_assert_int_eq(look_write(look, dir, &ctl, &result), 0);
	in_file(dir, "dmesg", "first");
	in_file(dir, "backtraces", "vCPU 1: in user space");
	in_file(dir, "memory-map", "the map");
	in_file(dir, "console", "on the console");
	rmdir(dir);
	ck_assert_int_eq(look_write(look, "/dev/null", &ctl, &result), -ENOTDIR);
	look_free(look);
	control_end_linux(&ctl);
}
END_TEST

START_TEST(test_look_at_nothing)
{
	char *text = NULL;
	struct json json;
	struct look *look;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	start(false);
	look = look_take(&ctl);
	ck_assert(!look_knows_kernel(look));
	json_init(&json, out);
	json_object(&json, NULL);
	look_json(&json, look);
	json_end(&json);
	fclose(out);
	ck_assert_ptr_nonnull(strstr(text, "\"kernel_tail\": null"));
	ck_assert_ptr_nonnull(strstr(text, "\"cpu\": 2"));
	free(text);
	look_free(look);
	look_free(NULL);
	control_end_linux(&ctl);
}
END_TEST

UNIT_MAIN("look", test_dmesg, test_backtrace, test_symbols, test_sample, test_look, test_look_at_nothing)
