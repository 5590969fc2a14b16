/*
 * Runs the cases of the suites that the command line names, from case first=N on, and writes a line
 * for each: "N SECTION what ... ok" or "... not ok: why". A line that does not end, or that is
 * missing, is a case that hung or took lkvm with it.
 */
#include "multiboot.h"
#include "hostile.h"

static const struct suite *const suites[] = {
	&status_suite, &queue_suite,   &split_suite, &packed_suite, &rng_suite,        &blk_suite,
	&blk_ro_suite, &blk_pci_suite, &pci_suite,   &msix_suite,   &pci_config_suite, &mmio_suite,
	&console_suite, &console_packed_suite, &balloon_suite, &balloon_packed_suite,
	&net_suite, &net_rss_suite, &vsock_suite, &mem_suite, &pmem_suite, &pmem_ro_suite, &gpu_suite, &gpu_packed_suite, &input_suite,
};

#define MOST_DEVICES 12
static struct vdev devices[MOST_DEVICES];
static unsigned n_devices;
static struct vdev *other, *peer;
static bool failed;

/* PCI configuration of the victim before a case had its way with it. */
static uint32_t saved_bar, saved_line;

struct vdev *other_device(void)
{
	return other;
}

struct vdev *peer_device(void)
{
	return peer;
}

uint64_t usual_features(const struct vdev *d)
{
	return d->offered & ~(F_EVENT_IDX | F_PACKED);
}

void expect_failed(const char *where, const char *what, uint64_t got, uint64_t want)
{
	if (failed)
		return;
	failed = true;
	print("not ok: ");
	print_difference(where, what, got, want);
}

static bool suits(const struct suite *s, const struct vdev *d)
{
	if (d->id != s->victim || (s->on && d->pci != (s->on == ON_PCI)))
		return false;
	return !(s->must_offer & ~d->offered) && !(s->must_not_offer & d->offered);
}

static struct vdev *find_victim(const struct suite *s)
{
	for (unsigned i = 0; i < n_devices; i++)
		if (suits(s, &devices[i]))
			return &devices[i];
	print("no victim for suite ");
	print(s->name);
	print("\n");
	guest_exit(3);
}

/* Of another kind, so that a fault in what the victim's kind has in common does not hide. */
static struct vdev *find_other(const struct vdev *victim)
{
	for (unsigned i = 0; i < n_devices; i++)
		if (devices[i].id != victim->id &&
		    (devices[i].id == VIRTIO_RNG || devices[i].id == VIRTIO_BLK))
			return &devices[i];
	print("no device beside the victim\n");
	guest_exit(3);
}

/* Of the victim's kind, if that is a network device's */
static struct vdev *find_peer(const struct vdev *victim)
{
	for (unsigned i = 0; victim->id == VIRTIO_NET && i < n_devices; i++)
		if (devices[i].id == VIRTIO_NET && &devices[i] != victim)
			return &devices[i];
	return NULL;
}

static void save_config(const struct vdev *d)
{
	if (!d->pci)
		return;
	saved_bar = pci_read(d->devfn, 0x10, 4);
	saved_line = pci_read(d->devfn, 0x3c, 1);
}

static void restore_config(const struct vdev *d)
{
	if (!d->pci)
		return;
	pci_write(d->devfn, 0x10, 4, saved_bar);
	pci_write(d->devfn, 0x3c, 1, saved_line);
	pci_write(d->devfn, d->cap_msix + 2, 2, 0);
	pci_write(d->devfn, 4, 2, 6);
}

static void aftermath(struct vdev *victim)
{
	EXPECT(vdev_works(other));
	restore_config(victim);
	EXPECT(vdev_start(victim, usual_features(victim)));
	EXPECT(vdev_works(victim));
	/* The next victim may be the other one. */
	EXPECT_EQ(status(other), S_LIVE);
}

static void run_case(const struct suite *s, const struct hostile *c, struct vdev *victim)
{
	const struct trial t = { victim, &victim->ring[0], c->a, c->b };

	failed = false;
	if (c->raw)
		vdev_reset(victim);
	else if (!vdev_start(victim, c->features ? c->features : usual_features(victim) | s->extra))
		expect_failed(s->name, "victim started", status(victim), S_LIVE);
	if (!failed)
		c->run(&t);
	aftermath(victim);
	if (!failed)
		print("ok\n");
}

static void run_suite(const struct suite *s, unsigned *n, unsigned first)
{
	struct vdev *victim = find_victim(s);

	other = find_other(victim);
	CHECK(vdev_start(other, usual_features(other)));
	CHECK(vdev_works(other));
	peer = find_peer(victim);
	if (peer)
		CHECK(vdev_start(peer, F_VERSION_1));
	save_config(victim);
	for (unsigned i = 0; i < s->n; i++, ++*n) {
		if (*n < first)
			continue;
		print_decimal(*n);
		print(" ");
		print(s->cases[i].title);
		print(" ... ");
		run_case(s, &s->cases[i], victim);
	}
	vdev_reset(victim);
	vdev_reset(other);
	if (peer)
		vdev_reset(peer);
}

void guest_main(void)
{
	const char *cmdline = mb_cmdline();
	unsigned first = (unsigned)param(cmdline, "first"), n = 0;

	CHECK_EQ((mb_info()->mem_upper >> 10) + 1, RAM_END >> 20);
	n_devices = vdev_scan(devices, MOST_DEVICES);
	for (unsigned i = 0; i < sizeof(suites) / sizeof(suites[0]); i++)
		if (param_word(cmdline, suites[i]->name))
			run_suite(suites[i], &n, first);
	print_decimal(n);
	print(" cases\n");
}
