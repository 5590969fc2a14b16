/* `lkvm debug --backtrace`: where the vCPUs of a Linux guest are; see control.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lkvm/json.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/kvm.h"
#include "lkvm/vm/backtrace.h"
#include "lkvm/vm/control.h"

int backtrace_take(const struct kvm *kvm, unsigned cpu, const struct linux_symbols *symbols, struct backtrace *ret)
{
	struct kvm_mp_state mp = { 0 };
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	const int fd = kvm->cpus[cpu].fd;

	if (ioctl(fd, KVM_GET_REGS, &regs) < 0 || ioctl(fd, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	ioctl(fd, KVM_GET_MP_STATE, &mp);
	ret->cpu = cpu;
	*ret->polls = '\0';
	ret->is_off = mp.mp_state == KVM_MP_STATE_UNINITIALIZED || mp.mp_state == KVM_MP_STATE_INIT_RECEIVED;
	linux_unwind(symbols, &regs, &sregs, &ret->trace);
	linux_activity(symbols, &ret->trace, &regs, &sregs, mp.mp_state == KVM_MP_STATE_HALTED, ret->activity,
		       sizeof(ret->activity));
	return 0;
}

void backtrace_print(FILE *out, const struct backtrace *b, const struct linux_symbols *symbols, unsigned most)
{
	char name[BACKTRACE_NAME_BYTES];

	if (b->is_off) {
		fprintf(out, "vCPU %u: not started\n", b->cpu);
		return;
	}
	fprintf(out, "vCPU %u: %s%s%s%s\n", b->cpu, b->activity, *b->polls ? "; it " : "", b->polls,
		*b->polls ? " again and again" : "");
	for (unsigned i = 0; i < b->trace.n && i < most; i++)
		fprintf(out, "    %s\n", linux_frame_text(symbols, &b->trace.frame[i], name, sizeof(name)));
	if (b->trace.n > most)
		fprintf(out, "    ... %u more\n", b->trace.n - most);
}

void backtrace_json(struct json *json, const struct backtrace *b, const struct linux_symbols *symbols)
{
	char name[BACKTRACE_NAME_BYTES];

	json_object(json, NULL);
	json_u64(json, "cpu", b->cpu);
	json_str(json, "activity", b->is_off ? "not started" : b->activity);
	json_str(json, "polls", *b->polls ? b->polls : NULL);
	json_str(json, "by", b->trace.by);
	json_bool(json, "complete", b->trace.is_complete);
	json_array(json, "frames");
	for (unsigned i = 0; i < b->trace.n && !b->is_off; i++) {
		const struct linux_frame *frame = &b->trace.frame[i];

		json_object(json, NULL);
		json_hex(json, "address", frame->ip);
		json_str(json, "text", linux_frame_text(symbols, frame, name, sizeof(name)));
		json_bool(json, "guess", frame->is_guess);
		json_end(json);
	}
	json_end(json);
	json_end(json);
}

static void show(FILE *out, const struct backtrace *b, const struct linux_symbols *symbols, bool as_json)
{
	struct json json;

	if (!as_json) {
		backtrace_print(out, b, symbols, LINUX_FRAMES);
		return;
	}
	json_init(&json, out);
	backtrace_json(&json, b, symbols);
}

static int answer(struct ipc_reply *reply, const struct backtrace *b, const struct linux_symbols *symbols, bool as_json)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int err = out ? 0 : -ENOMEM;

	if (out) {
		show(out, b, symbols, as_json);
		if (fclose(out) || len > sizeof(reply->body))
			err = -EMSGSIZE;
	}
	if (!err) {
		memcpy(reply->body, text, len);
		reply->len = len;
	}
	free(text);
	return err;
}

int control_backtrace(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	const struct linux_symbols *symbols = NULL;
	struct ipc_backtrace req;
	struct exits_polled *polled;
	struct backtrace b;
	bool was_running;
	int err = control_symbols(ctl, &symbols);

	memcpy(&req, body, sizeof(req));
	if (req.cpu >= ctl->kvm->n_cpus)
		return -ENXIO;
	if (req.json > 1)
		return -EINVAL;
	if (err && err != -ENOENT) /* without a kernel there is RIP at least */
		return err;
	polled = calloc(ctl->kvm->n_cpus, sizeof(*polled));
	if (!polled)
		return -ENOMEM;
	err = exits_polled(ctl->kvm, polled);
	if (!err)
		err = control_freeze(ctl, &was_running, reply);
	if (!err) {
		err = backtrace_take(ctl->kvm, req.cpu, symbols, &b);
		control_thaw(ctl, was_running);
		snprintf(b.polls, sizeof(b.polls), "%s", polled[req.cpu].text);
	}
	free(polled);
	return err ? err : answer(reply, &b, symbols, req.json);
}
