/* Links: hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o util/log.o */
#include <poll.h>
#include <sys/resource.h>

#include "pci-rig.h"

#define VECTORS 70 /* two words and a bit of pending bits */
#define TABLE   0x1000
#define PBA     0x1800
#define DEVFN   8
#define BASE    LAYOUT_PCI_WINDOW

static struct pci_function fn;
static unsigned owners; /* accesses that were none of the structures' */
static bool wants;

static uint64_t bar_read(struct pci_function *f, unsigned bar, uint64_t off, unsigned len)
{
	(void)f, (void)bar, (void)off, (void)len;
	owners++;
	return 0;
}

static void bar_write(struct pci_function *f, unsigned bar, uint64_t off, unsigned len,
		      uint64_t value)
{
	(void)f, (void)bar, (void)off, (void)len, (void)value;
	owners++;
}

static void bar_moved(struct pci_function *f, unsigned bar, uint64_t base, bool on)
{
	(void)f, (void)bar, (void)base, (void)on;
}

static bool intx(struct pci_function *f)
{
	(void)f;
	return wants;
}

static const struct pci_ops ops = {
	.bar_read = bar_read, .bar_write = bar_write, .bar_moved = bar_moved, .intx = intx
};

static int try_function(unsigned n_vectors)
{
	fn = (struct pci_function){ .ops = &ops, .name = "toy" };
	pci_init(&fn, 0x1234, 0x5678, 0, 0);
	pci_add_bar(&fn, 0, 0x4000, PCI_BAR_64);
	return pci_add_msix(&fn, n_vectors, 0, TABLE, PBA);
}

static void new_function(void)
{
	new_host();
	ck_assert_int_eq(try_function(VECTORS), 0);
	ck_assert_int_eq(pci_add(host, &fn), 0);
	config_out(DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static void free_function(void)
{
	pci_fini(&fn);
	free_host();
}

#define CONTROL (64 + PCI_MSIX_FLAGS)
#define ENABLE  PCI_MSIX_FLAGS_ENABLE
#define MASKALL PCI_MSIX_FLAGS_MASKALL

static void control(uint32_t value)
{
	config_out(DEVFN, CONTROL, value, 2);
}

static void entry(unsigned vector, unsigned word, uint32_t value)
{
	bus_out(&mmio, BASE + TABLE + vector * 16 + word * 4, value, 4);
}

static void mask(unsigned vector, bool on)
{
	entry(vector, 3, on);
}

/* As a driver does it */
static void set_up(unsigned vector, uint32_t data)
{
	entry(vector, 0, 0xfee01000);
	entry(vector, 1, 0);
	entry(vector, 2, data);
	mask(vector, false);
}

static const struct fake_msi *route(unsigned vector)
{
	ck_assert_int_ge(fn.vector[vector].gsi, 0);
	return &fake.msi[fn.vector[vector].gsi];
}

static bool bound(unsigned vector)
{
	int gsi = fn.vector[vector].gsi;

	return gsi >= 0 && fake.msi[gsi].fd >= 0;
}

/* How often @vector's message was sent so far */
static uint64_t delivered(unsigned vector)
{
	int gsi = fn.vector[vector].gsi;

	if (gsi < 0)
		return 0;
	if (fake.msi[gsi].fd >= 0)
		fake_msi_deliver(&fake.msi[gsi]);
	return fake.msi[gsi].delivered;
}

static uint64_t pba(unsigned word, unsigned len)
{
	return bus_in(&mmio, BASE + PBA + word * 4, len);
}

START_TEST(test_capability)
{
	new_function();
	ck_assert_uint_eq(config_in(DEVFN, PCI_CAPABILITY_LIST, 1), 64);
	ck_assert_uint_eq(config_in(DEVFN, 64, 4), 0x00450011);
	ck_assert_uint_eq(config_in(DEVFN, 68, 4), TABLE);
	ck_assert_uint_eq(config_in(DEVFN, 72, 4), PBA);
	for (unsigned reg = 64; reg < 76; reg += 4)
		config_out(DEVFN, reg, 0xffffffff, 4);
	ck_assert_uint_eq(config_in(DEVFN, 64, 4), 0xc0450011);
	ck_assert_uint_eq(config_in(DEVFN, 68, 4), TABLE);
	ck_assert_uint_eq(config_in(DEVFN, 72, 4), PBA);
	free_function();
}
END_TEST

START_TEST(test_table)
{
	new_function();
	for (unsigned v = 0; v < VECTORS; v++) {
		ck_assert_uint_eq(bus_in(&mmio, BASE + TABLE + v * 16, 8), 0);
		ck_assert_uint_eq(bus_in(&mmio, BASE + TABLE + v * 16 + 8, 8), 1ULL << 32);
	}
	bus_out(&mmio, BASE + TABLE + 69 * 16, 0x1111111122222222, 8);
	bus_out(&mmio, BASE + TABLE + 69 * 16 + 8, 0xfffffffe33333333, 8);
	ck_assert_uint_eq(bus_in(&mmio, BASE + TABLE + 69 * 16, 4), 0x22222222);
	ck_assert_uint_eq(bus_in(&mmio, BASE + TABLE + 69 * 16 + 4, 4), 0x11111111);
	ck_assert_uint_eq(bus_in(&mmio, BASE + TABLE + 69 * 16 + 8, 8), 0x33333333);
	ck_assert_uint_eq(owners, 0);
	/* the neighbours of table and pending bits */
	bus_out(&mmio, BASE + TABLE - 4, 0x77777777, 4);
	bus_out(&mmio, BASE + TABLE - 4, 0x77777777, 8);
	bus_out(&mmio, BASE + TABLE + VECTORS * 16, 0x77777777, 4);
	bus_out(&mmio, BASE + PBA - 4, 0x77777777, 4);
	bus_out(&mmio, BASE + PBA + 16, 0x77777777, 4);
	ck_assert_uint_eq(owners, 5);
	ck_assert_uint_eq(bus_in(&mmio, BASE + TABLE, 4), 0);
	free_function();
}
END_TEST

START_TEST(test_widths)
{
	new_function();
	static const struct {
		unsigned off, len;
	} bad[] = { { 0, 1 }, { 0, 2 }, { 1, 4 }, { 2, 4 }, { 4, 8 }, { 12, 8 } };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint64_t ones = UINT64_MAX >> (64 - 8 * bad[i].len);

		bus_out(&mmio, BASE + TABLE + bad[i].off, 0, bad[i].len);
		ck_assert_uint_eq(bus_in(&mmio, BASE + TABLE + bad[i].off, bad[i].len), ones);
		ck_assert_uint_eq(bus_in(&mmio, BASE + PBA + bad[i].off, bad[i].len), ones);
	}
	ck_assert_uint_eq(bus_in(&mmio, BASE + TABLE + 12, 4), 1);
	ck_assert_uint_eq(owners, 0);
	free_function();
}
END_TEST

START_TEST(test_delivery)
{
	new_function();
	ck_assert(!pci_msix_enabled(&fn));
	control(ENABLE);
	ck_assert(pci_msix_enabled(&fn));
	set_up(3, 0x4023);
	ck_assert(bound(3));
	ck_assert_uint_eq(route(3)->addr, 0xfee01000);
	ck_assert_uint_eq(route(3)->data, 0x4023);
	pci_msix_signal(&fn, 3);
	ck_assert_uint_eq(pba(0, 4), 0); /* it is on its way */
	ck_assert_uint_eq(delivered(3), 1);
	/* one table of routes and one binding for all of that, and none for other registers */
	control(ENABLE);
	config_out(DEVFN, PCI_INTERRUPT_LINE, 5, 1);
	ck_assert_uint_eq(fake.route_calls, 1);
	ck_assert_uint_eq(fake.irqfd_calls, 1);
	control(0);
	ck_assert(!pci_msix_enabled(&fn) && !bound(3));
	free_function();
}
END_TEST

START_TEST(test_mask_and_pending)
{
	new_function();
	control(ENABLE);
	set_up(65, 1);
	set_up(2, 2);
	mask(65, true);
	mask(2, true);
	ck_assert(!bound(65));
	pci_msix_signal(&fn, 65);
	pci_msix_signal(&fn, 65);
	pci_msix_signal(&fn, 2);
	pci_msix_signal(&fn, 69); /* never set up */
	ck_assert_uint_eq(pba(0, 4), 1 << 2);
	ck_assert_uint_eq(pba(1, 4), 0);
	ck_assert_uint_eq(pba(2, 8), 1 << 1 | 1 << 5);
	ck_assert_uint_eq(delivered(65), 0);
	bus_out(&mmio, BASE + PBA, 0, 8); /* read only */
	mask(65, false);
	ck_assert_uint_ge(delivered(65), 1);
	ck_assert_uint_eq(pba(0, 8), 1 << 2);
	ck_assert_uint_eq(pba(2, 4), 1 << 5);
	pci_msix_clear(&fn);
	ck_assert_uint_eq(pba(0, 8) | pba(2, 8), 0);
	mask(2, false);
	ck_assert_uint_eq(delivered(2), 0);
	free_function();
}
END_TEST

START_TEST(test_function_mask)
{
	unsigned vector;

	new_function();
	set_up(0, 5);
	set_up(1, 6);
	mask(1, true);
	ck_assert(!bound(0)); /* off */
	control(ENABLE | MASKALL);
	ck_assert(pci_msix_enabled(&fn) && !bound(0));
	ck_assert_ptr_null(pci_withheld(host, &vector));
	pci_msix_signal(&fn, 0);
	pci_msix_signal(&fn, 1);
	ck_assert(pci_withheld(host, &vector) == fn.name && vector == 0);
	ck_assert_uint_eq(pba(0, 4), 3);
	control(ENABLE);
	ck_assert(pci_withheld(host, &vector) == fn.name && vector == 1);
	ck_assert(bound(0) && !bound(1));
	ck_assert_uint_eq(delivered(0), 1);
	ck_assert_uint_eq(pba(0, 4), 2);
	config_out(DEVFN, CONTROL + 1, (ENABLE | MASKALL) >> 8, 1); /* a byte of it */
	ck_assert(!bound(0));
	control(MASKALL);
	ck_assert(!pci_msix_enabled(&fn));
	ck_assert_ptr_null(pci_withheld(host, &vector)); /* of its vectors nothing is expected then */
	free_function();
}
END_TEST

/* A message is a write to memory: without bus mastering it stays pending. */
START_TEST(test_no_master)
{
	new_function();
	control(ENABLE);
	set_up(0, 5);
	config_out(DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	ck_assert(!bound(0));
	set_up(1, 6);
	ck_assert(!bound(1) && pci_msix_enabled(&fn));
	pci_msix_signal(&fn, 0);
	pci_msix_signal(&fn, 1);
	ck_assert_uint_eq(pba(0, 4), 3);
	ck_assert_uint_eq(delivered(0) + delivered(1), 0);
	config_out(DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	ck_assert(bound(0) && bound(1));
	ck_assert_uint_eq(delivered(0), 1);
	ck_assert_uint_eq(delivered(1), 1);
	ck_assert_uint_eq(pba(0, 4), 0);
	free_function();
}
END_TEST

START_TEST(test_entry_changes_while_live)
{
	int gsi;

	new_function();
	control(ENABLE);
	set_up(0, 5);
	gsi = fn.vector[0].gsi;
	entry(0, 2, 6);
	ck_assert(bound(0) && route(0)->data == 6);
	bus_out(&mmio, BASE + TABLE, 0x00000001fee02000, 8);
	ck_assert_uint_eq(route(0)->addr, 0x00000001fee02000);
	ck_assert_uint_eq(fake.route_calls, 3);
	ck_assert_uint_eq(fake.irqfd_calls, 1); /* it was bound all the time */
	entry(0, 2, 6);
	mask(0, false);
	ck_assert_uint_eq(fake.route_calls, 3); /* nothing new */
	ck_assert_int_eq(fn.vector[0].gsi, gsi);
	free_function();
}
END_TEST

/* However often a guest rewrites its table: at most one route a vector. */
START_TEST(test_routes_do_not_leak)
{
	new_function();
	for (unsigned round = 0; round < 100; round++) {
		control(round % 7 ? ENABLE : 0);
		for (unsigned v = 0; v < VECTORS; v++) {
			set_up(v, round * VECTORS + v);
			mask(v, round & 1);
		}
		ck_assert_uint_le(fake.n_routes, VECTORS);
		ck_assert_uint_le(fake.n_irqfds, VECTORS);
	}
	ck_assert_uint_eq(fake.n_routes, VECTORS);
	free_function();
}
END_TEST

START_TEST(test_no_route_left)
{
	new_function();
	control(ENABLE);
	fake.fail_route = ENOSPC;
	set_up(0, 5);
	ck_assert_int_eq(fn.vector[0].gsi, -1);
	pci_msix_signal(&fn, 0);
	ck_assert_uint_eq(pba(0, 4), 1);
	fake.fail_route = 0;
	mask(0, false); /* what stands there already, once more */
	ck_assert(bound(0));
	ck_assert_uint_eq(delivered(0), 1);
	/* A route that cannot be changed must not go on delivering the old message. */
	fake.fail_route = EINVAL;
	entry(0, 2, 6);
	ck_assert(!bound(0) && route(0)->data == 5);
	fake.fail_route = 0;
	control(ENABLE | MASKALL);
	control(ENABLE);
	ck_assert(bound(0) && route(0)->data == 6);
	free_function();
}
END_TEST

START_TEST(test_no_irqfd)
{
	new_function();
	control(ENABLE);
	fake.fail_irqfd = ENOMEM;
	set_up(0, 5);
	ck_assert(!bound(0));
	pci_msix_signal(&fn, 0);
	ck_assert_uint_eq(pba(0, 4), 1);
	fake.fail_irqfd = 0;
	mask(0, true);
	mask(0, false);
	ck_assert(bound(0));
	ck_assert_uint_eq(delivered(0), 1);
	ck_assert_uint_eq(fake.n_routes, 1);
	free_function();
}
END_TEST

/* MSI-X instead of INTA: the line falls, and its status bit with it. */
START_TEST(test_intx_ends)
{
	new_function();
	wants = true;
	pci_intx_update(&fn);
	ck_assert(fake_board_line_up(&fake, 17));
	control(ENABLE);
	ck_assert(!fake_board_line_up(&fake, 17));
	ck_assert(!(config_in(DEVFN, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT));
	pci_intx_update(&fn);
	ck_assert(!fake_board_line_up(&fake, 17));
	control(0);
	ck_assert(fake_board_line_up(&fake, 17));
	free_function();
}
END_TEST

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++) {
		struct pollfd p = { .fd = fd };

		n += poll(&p, 1, 0) == 0 || !(p.revents & POLLNVAL);
	}
	return n;
}

START_TEST(test_failures)
{
	struct rlimit few = { 0, 0 };
	uint8_t most[200] = { 0 };
	unsigned before;

	new_host();
	before = open_fds();
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &few), 0);
	few.rlim_cur = before + 5;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	ck_assert_int_eq(try_function(VECTORS), -EMFILE);
	pci_fini(&fn);
	ck_assert_int_eq(try_function(5), 0);
	pci_fini(&fn);
	ck_assert_uint_eq(open_fds(), before);

	fn = (struct pci_function){ .ops = &ops };
	pci_init(&fn, 0x1234, 0x5678, 0, 0);
	ck_assert_int_ge(pci_add_cap(&fn, 9, most, 180), 0);
	ck_assert_int_eq(pci_add_msix(&fn, 1, 0, TABLE, PBA), -ENOSPC);
	pci_fini(&fn);
	free_host();
}
END_TEST

/* What was pending is delivered once: neither the pending bit nor the message comes again. */
START_TEST(test_fires_once)
{
	new_function();
	control(ENABLE);
	set_up(0, 5);
	mask(0, true);
	for (unsigned n = 1; n < 4; n++) {
		pci_msix_signal(&fn, 0);
		if (n == 2)
			ck_assert_uint_eq(pba(0, 4), 1); /* a look changes nothing */
		mask(0, false);
		ck_assert_uint_eq(pba(0, 4), 0);
		ck_assert_uint_eq(delivered(0), n);
		mask(0, true);
		ck_assert_uint_eq(pba(0, 4), 0);
		mask(0, false);
		mask(0, true);
		ck_assert_uint_eq(delivered(0), n);
	}
	free_function();
}
END_TEST

/* One thread signals while a vCPU masks and unmasks: each is delivered, and masked ones wait. */
#define ROUNDS 2000

static pthread_barrier_t barrier;

static void *signaller(void *arg)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&barrier);
		pci_msix_signal(arg, 0);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

START_TEST(test_signal_against_mask)
{
	pthread_t thread;

	new_function();
	control(ENABLE);
	set_up(0, 5);
	ck_assert_int_eq(pthread_barrier_init(&barrier, NULL, 2), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, signaller, &fn), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t start = delivered(0), before;

		pthread_barrier_wait(&barrier);
		mask(0, true);
		before = delivered(0);
		pba(0, 4);
		ck_assert_uint_eq(delivered(0), before);
		mask(0, false);
		control(i & 1 ? ENABLE : ENABLE | MASKALL);
		entry(0, 2, i);
		pthread_barrier_wait(&barrier);
		control(ENABLE);
		/* One that came just as KVM bound the irqfd may come twice; none is lost. */
		ck_assert_uint_ge(delivered(0), start + 1);
		ck_assert_uint_le(delivered(0), start + 2);
	}
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&barrier);
	free_function();
}
END_TEST

UNIT_MAIN("pci-msix", test_capability, test_table, test_widths, test_delivery,
	  test_mask_and_pending, test_function_mask, test_no_master, test_entry_changes_while_live,
	  test_routes_do_not_leak, test_no_route_left, test_no_irqfd, test_intx_ends, test_failures,
	  test_fires_once, test_signal_against_mask)
