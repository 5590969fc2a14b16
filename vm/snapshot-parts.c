/*
 * The parts of a machine, in the order in which they are loaded (lkvm/state.h): chips, PCI, virtio devices;
 * then the clock, the interrupt chips, which know what became of their lines, and the CPUs.
 *
 * One walk saves and loads, so that neither knows a part that the other does not.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lkvm/flash.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/log.h"
#include "lkvm/pci.h"
#include "lkvm/types.h"
#include "lkvm/virtio.h"
#include "lkvm/vm/vars.h"
#include "lkvm/x86/clock.h"
#include "lkvm/x86/state.h"
#include "snapshot-internal.h"
#include "vm-internal.h"

struct state_walk {
	struct vm *vm;
	struct snapshot_writer *w; /* NULL: load */
	struct snapshot *snap;
	char section[SNAPSHOT_NAME_BYTES];
	struct state_reader in; /* of the section that is loaded */
	struct clock_load clocks;
};

/* Return: 0 or -errno; of a load, logged */
static int begin(struct state_walk *walk, const char *name)
{
	snprintf(walk->section, sizeof(walk->section), "%s", name);
	if (walk->w)
		return snapshot_begin(walk->w, name);
	if (snapshot_find(walk->snap, name, &walk->in))
		return log_errx(-EBADMSG, "snapshot '%s' has no '%s', which this machine has",
				snapshot_path(walk->snap), name);
	return 0;
}

static int loaded(struct state_walk *walk, int err)
{
	if (err == -ENOTSUP && *walk->clocks.why)
		snprintf(walk->in.why, sizeof(walk->in.why), "%s", walk->clocks.why);
	return err ? snapshot_bad(walk->snap, walk->section, &walk->in, err) : 0;
}

static int record(struct state_walk *walk, const struct state_type *type, void *object)
{
	return walk->w ? state_save(&walk->w->buf, type, object) :
			 loaded(walk, state_load(&walk->in, type, object));
}

/* Behind the last record of a section there is nothing. */
static int end(struct state_walk *walk)
{
	if (walk->w || walk->in.at == walk->in.end)
		return 0;
	return log_errx(-EBADMSG, "snapshot '%s' is damaged: there is too much of '%s'",
			snapshot_path(walk->snap), walk->section);
}

/* ---- chips, PCI, virtio ---- */

static int walk_chip(void *ctx, const char *name, const struct state_type *type, void *dev)
{
	struct state_walk *walk = ctx;
	int err = begin(walk, name);

	if (!err)
		err = record(walk, type, dev);
	return err ? err : end(walk);
}

static int walk_function(struct state_walk *walk, unsigned devfn, struct pci_function *fn)
{
	char name[SNAPSHOT_NAME_BYTES];
	int err;

	snprintf(name, sizeof(name), "pci-%02x.%u", devfn >> 3, devfn & 7);
	err = begin(walk, name);
	if (!err)
		err = record(walk, &pci_function_state_type, fn);
	if (!err && fn->n_vectors)
		err = record(walk, &pci_msix_state_type, fn);
	return err ? err : end(walk);
}

static int walk_pci(struct state_walk *walk)
{
	struct pci_host *host = virtio_list_pci(walk->vm->virtio);
	int err = host ? walk_chip(walk, "pci-host", &pci_host_state_type, host) : 0;

	/* The bridge, 0, has nothing that a guest can write, but for that of firmware: what is RAM follows from it. */
	for (unsigned devfn = walk->vm->rom ? 0 : 1; host && !err && devfn < PCI_MAX_FUNCTIONS; devfn++) {
		struct pci_function *fn = pci_function_at(host, devfn);

		if (fn)
			err = walk_function(walk, devfn, fn);
	}
	return err;
}

static int walk_vars(struct state_walk *walk)
{
	return walk->vm->vars ? walk_chip(walk, "flash", &flash_state_type, vars_flash(walk->vm->vars)) : 0;
}

static int walk_device(void *ctx, const char *name, struct virtio_dev *dev)
{
	struct state_walk *walk = ctx;
	int err = begin(walk, name);

	if (!err)
		err = walk->w ? virtio_dev_save(dev, &walk->w->buf) :
				loaded(walk, virtio_dev_load(dev, &walk->in));
	return err ? err : end(walk);
}

static int walk_session(struct state_walk *walk)
{
	struct session *session = walk->vm->session;
	int err;

	if (!session)
		return 0;
	err = begin(walk, "session");
	if (!err)
		err = record(walk, &session_state_type, session);
	for (unsigned i = 0; !err && i < session_count(session); i++)
		err = record(walk, &session_command_type, session_command_at(session, i));
	return err ? err : end(walk);
}

/* ---- KVM's ---- */

static int walk_types(struct state_walk *walk, const char *name, const struct state_type *const *types, unsigned n,
		      unsigned cpu)
{
	struct kvm_fds fds = kvm_fds_of(&walk->vm->kvm, cpu);
	int err = begin(walk, name);

	fds.clocks = walk->w ? NULL : &walk->clocks;
	for (unsigned i = 0; !err && i < n; i++)
		err = record(walk, types[i], &fds);
	return err ? err : end(walk);
}

static int walk_kvm(struct state_walk *walk)
{
	static const struct state_type *const clock = &kvm_clock_state_type;
	const struct kvm *kvm = &walk->vm->kvm;
	int err = walk_types(walk, "clock", &clock, 1, 0);

	if (!err)
		err = walk_types(walk, "interrupts", kvm_chip_state_types, KVM_CHIP_STATE_TYPES, 0);
	for (unsigned id = 0; !err && id < kvm->n_cpus; id++) {
		char name[SNAPSHOT_NAME_BYTES];

		snprintf(name, sizeof(name), "cpu%u", id);
		err = walk_types(walk, name, cpu_state_types, CPU_STATE_TYPES, id);
	}
	return err;
}

static int walk_all(struct state_walk *walk)
{
	int err = platform_each_state(walk->vm->platform, walk_chip, walk);

	if (!err)
		err = walk_pci(walk);
	if (!err)
		err = walk_vars(walk);
	if (!err)
		err = virtio_list_each(walk->vm->virtio, walk_device, walk);
	if (!err)
		err = walk_session(walk);
	return err ? err : walk_kvm(walk);
}

/* ---- */

int snapshot_save_parts(struct snapshot_writer *w, struct vm *vm, char *ret_why, size_t cap)
{
	struct state_walk walk = { .vm = vm, .w = w };
	int err = walk_all(&walk);

	if (err)
		snprintf(ret_why, cap, "%s: %s", walk.section,
			 err == -EBUSY ? "it has something that cannot be saved now" : strerror(-err));
	return err;
}

int snapshot_load_parts(struct snapshot *snap, struct vm *vm)
{
	struct state_walk walk = { .vm = vm, .snap = snap, .clocks.host = vm->cfg->clock_host };
	const char *unused;
	int err = walk_all(&walk);

	if (err)
		return err;
	unused = snapshot_unused(snap);
	return unused ? log_errx(-EBADMSG, "snapshot '%s' has '%s', which this machine has not",
				 snapshot_path(snap), unused) : 0;
}
