/* The state of the interrupt chips and the timer that KVM has in the kernel; see x86/state.h. */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lkvm/clock.h"
#include "lkvm/x86/state.h"

static int vm_ioctl(void *dev, unsigned long request, void *arg)
{
	const struct kvm_fds *fds = dev;

	return ioctl(fds->vm_fd, request, arg) < 0 ? -errno : 0;
}

/* ---- PICs and IOAPIC ---- */

static int chip_save(void *dev, uint32_t id, void *ret_state, size_t bytes)
{
	struct kvm_irqchip chip = { .chip_id = id };
	int err = vm_ioctl(dev, KVM_GET_IRQCHIP, &chip);

	if (!err)
		memcpy(ret_state, &chip.chip, bytes);
	return err;
}

static int chip_load(void *dev, uint32_t id, const void *state, size_t bytes)
{
	struct kvm_irqchip chip = { .chip_id = id };

	memcpy(&chip.chip, state, bytes);
	return vm_ioctl(dev, KVM_SET_IRQCHIP, &chip);
}

#define CHIP(chip, title, id, chip_fields)                                                              \
	static int chip##_save(void *dev, void *ret_state)                                         \
	{                                                                                          \
		return chip_save(dev, id, ret_state, chip##_bytes);                                \
	}                                                                                          \
	static int chip##_load(void *dev, const void *state)                                       \
	{                                                                                          \
		return chip_load(dev, id, state, chip##_bytes);                                    \
	}                                                                                          \
	static const struct state_type chip##_type = {                                             \
		.name = title,                                                                     \
		.version = 1,                                                                      \
		.size = chip##_bytes,                                                              \
		.fields = chip_fields,                                                                  \
		.n = sizeof(chip_fields) / sizeof(chip_fields[0]),                                           \
		.save = chip##_save,                                                               \
		.load = chip##_load,                                                               \
	}

#define PIC(member) STATE_ONE(struct kvm_pic_state, member)

static const struct state_field pic_fields[] = {
	PIC(last_irr), PIC(irr), PIC(imr), PIC(isr), PIC(priority_add), PIC(irq_base),
	PIC(read_reg_select), PIC(poll), PIC(special_mask), PIC(init_state), PIC(auto_eoi),
	PIC(rotate_on_auto_eoi), PIC(special_fully_nested_mode), PIC(init4), PIC(elcr),
	PIC(elcr_mask),
};
#define master_bytes sizeof(struct kvm_pic_state)
#define slave_bytes  sizeof(struct kvm_pic_state)
CHIP(master, "pic-master", KVM_IRQCHIP_PIC_MASTER, pic_fields);
CHIP(slave, "pic-slave", KVM_IRQCHIP_PIC_SLAVE, pic_fields);

static const struct state_field ioapic_fields[] = {
	STATE_ONE(struct kvm_ioapic_state, base_address),
	STATE_ONE(struct kvm_ioapic_state, ioregsel),
	STATE_ONE(struct kvm_ioapic_state, id),
	STATE_ONE(struct kvm_ioapic_state, irr),
	STATE_ONE(struct kvm_ioapic_state, pad),
	STATE_ARRAY(struct kvm_ioapic_state, redirtbl),
};
#define ioapic_bytes sizeof(struct kvm_ioapic_state)
CHIP(ioapic, "ioapic", KVM_IRQCHIP_IOAPIC, ioapic_fields);

/* ---- PIT ---- */

#define CHANNEL_FIELD(n, member)                                                                   \
	{ .name = "channel" #n "." #member,                                                        \
	  .offset = offsetof(struct kvm_pit_state2, channels[n].member),                           \
	  .bytes = sizeof(((struct kvm_pit_channel_state *)0)->member), .count = 1 }
#define CHANNEL(n)                                                                                 \
	CHANNEL_FIELD(n, count), CHANNEL_FIELD(n, latched_count), CHANNEL_FIELD(n, count_latched), \
		CHANNEL_FIELD(n, status_latched), CHANNEL_FIELD(n, status),                        \
		CHANNEL_FIELD(n, read_state), CHANNEL_FIELD(n, write_state),                       \
		CHANNEL_FIELD(n, write_latch), CHANNEL_FIELD(n, rw_mode), CHANNEL_FIELD(n, mode),  \
		CHANNEL_FIELD(n, bcd), CHANNEL_FIELD(n, gate), CHANNEL_FIELD(n, count_load_time)

static const struct state_field pit_fields[] = {
	CHANNEL(0), CHANNEL(1), CHANNEL(2), STATE_ONE(struct kvm_pit_state2, flags),
	STATE_ARRAY(struct kvm_pit_state2, reserved),
};

#define PIT_HZ 1193181 /* KVM's */

/* Not those that count again and again, nor those that wait for their gate */
static bool counts_once(const struct kvm_pit_channel_state *channel)
{
	return channel->mode == 0 || channel->mode == 4;
}

/*
 * When the counters started is in time of this host, which KVM does not take back: they start anew. So
 * one that counts down just once is given what is left of that. Of channel 0 KVM does not tell; its 55 ms
 * begin once more.
 */
static void take_time(struct kvm_pit_channel_state *channel)
{
	const uint64_t since_ns = now_ns() - (uint64_t)channel->count_load_time;
	const uint64_t ticks = (uint64_t)((unsigned __int128)since_ns * PIT_HZ / NS_PER_S);

	if (channel->count_load_time && channel->count && counts_once(channel))
		channel->count = ticks < channel->count ? (uint32_t)(channel->count - ticks) : 1;
	channel->count_load_time = 0;
}

static int pit_save(void *dev, void *ret_state)
{
	struct kvm_pit_state2 *pit = ret_state;
	int err = vm_ioctl(dev, KVM_GET_PIT2, pit);

	for (unsigned i = 0; !err && i < 3; i++)
		take_time(&pit->channels[i]);
	return err;
}

static int pit_load(void *dev, const void *state)
{
	struct kvm_pit_state2 pit = *(const struct kvm_pit_state2 *)state;

	return vm_ioctl(dev, KVM_SET_PIT2, &pit);
}

static const struct state_type pit_type = {
	STATE_TYPE("pit", 1, struct kvm_pit_state2, pit_fields),
	.save = pit_save,
	.load = pit_load,
};

const struct state_type *const kvm_chip_state_types[KVM_CHIP_STATE_TYPES] = {
	&master_type, &slave_type, &ioapic_type, &pit_type,
};
