/* Links: hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o util/log.o */
/* Several BARs of a function, BARs that are memory, and interrupts by descriptors. */
#include <fcntl.h>
#include <sys/mman.h>

#include "lkvm/event.h"
#include "pci-rig.h"

#define DEVFN    8
#define BAR(n)   (PCI_BASE_ADDRESS_0 + 4 * (n))
#define PREFETCH PCI_BASE_ADDRESS_MEM_PREFETCH

static struct pci_function fn;
static unsigned last_bar;
static uint64_t last_off, last_value, at[PCI_STD_NUM_BARS];

static uint64_t bar_read(struct pci_function *f, unsigned bar, uint64_t off, unsigned len)
{
	ck_assert_ptr_eq(f, &fn);
	last_bar = bar;
	last_off = off;
	return len;
}

static void bar_write(struct pci_function *f, unsigned bar, uint64_t off, unsigned len,
		      uint64_t value)
{
	bar_read(f, bar, off, len);
	last_value = value;
}

static void bar_moved(struct pci_function *f, unsigned bar, uint64_t base, bool on)
{
	(void)f;
	ck_assert_uint_eq(at[bar], on ? 0 : base);
	at[bar] = on ? base : 0;
}

static const struct pci_ops ops = { .bar_read = bar_read, .bar_write = bar_write, .bar_moved = bar_moved };

static void init(void)
{
	new_host();
	memset(at, 0, sizeof(at));
	fn = (struct pci_function){ .ops = &ops, .name = "toy" };
	pci_init(&fn, 0x1234, 0x5678, 0, 0);
}

static void plug(void)
{
	ck_assert_int_eq(pci_add(host, &fn), 0);
	config_out(DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static void unplug(void)
{
	pci_fini(&fn);
	free_host();
}

/* What has no room in the gap goes above RAM, if it can be there: in the order of the registers. */
START_TEST(test_window_above_ram)
{
	const uint64_t high = 0x140000000, end = 0x300000000;

	init();
	pci_host_window64(host, high, end - high);
	pci_add_bar(&fn, 0, 0x100000000, PCI_BAR_64 | PCI_BAR_PREFETCH); /* 4 GB, aligned to that */
	pci_add_bar(&fn, 2, 0x20000000, 0);                             /* 32 bits: nowhere */
	pci_add_bar(&fn, 3, 0x1000, PCI_BAR_64);
	plug();
	ck_assert_uint_eq(config_in(DEVFN, BAR(0), 4), PCI_BASE_ADDRESS_MEM_TYPE_64 | PREFETCH);
	ck_assert_uint_eq(config_in(DEVFN, BAR(1), 4), 2);
	ck_assert_uint_eq(config_in(DEVFN, BAR(2), 4), 0);
	ck_assert_uint_eq(config_in(DEVFN, BAR(3), 4), 0xd0000000 | PCI_BASE_ADDRESS_MEM_TYPE_64);
	ck_assert(at[0] == 0x200000000 && !at[2] && at[3] == 0xd0000000);
	bus_in(&mmio, 0x2fffffff8, 8);
	ck_assert(last_bar == 0 && last_off == 0xfffffff8);
	unplug();

	/* The end of the window, and what is as large as nothing can be */
	init();
	pci_host_window64(host, high, end - high);
	pci_add_bar(&fn, 0, 0x200000000, PCI_BAR_64);
	pci_add_bar(&fn, 2, 1ULL << 63, PCI_BAR_64);
	pci_add_bar(&fn, 4, 0x80000000, PCI_BAR_64);
	plug();
	ck_assert(!at[0] && !at[2] && at[4] == 0x180000000);
	unplug();
}
END_TEST

START_TEST(test_several)
{
	init();
	pci_add_bar(&fn, 0, 0x1000, 0);
	pci_add_bar(&fn, 1, 0x100000, PCI_BAR_PREFETCH);
	pci_add_bar(&fn, 2, 0x200000000, PCI_BAR_64 | PCI_BAR_PREFETCH); /* no room in the gap */
	pci_add_bar(&fn, 4, 16, PCI_BAR_64);
	plug();
	ck_assert_uint_eq(config_in(DEVFN, BAR(0), 4), 0xd0000000);
	ck_assert_uint_eq(config_in(DEVFN, BAR(1), 4), 0xd0100000 | PREFETCH);
	ck_assert_uint_eq(config_in(DEVFN, BAR(2), 4), PCI_BASE_ADDRESS_MEM_TYPE_64 | PREFETCH);
	ck_assert_uint_eq(config_in(DEVFN, BAR(4), 4), 0xd0200000 | PCI_BASE_ADDRESS_MEM_TYPE_64);
	ck_assert(at[0] == 0xd0000000 && at[1] == 0xd0100000 && at[4] == 0xd0200000 && !at[2]);

	bus_in(&mmio, 0xd0000ffc, 4);
	ck_assert(last_bar == 0 && last_off == 0xffc);
	bus_out(&mmio, 0xd0180000, 0x55, 8);
	ck_assert(last_bar == 1 && last_off == 0x80000 && last_value == 0x55);
	bus_in(&mmio, 0xd020000f, 1);
	ck_assert(last_bar == 4 && last_off == 15);

	config_out(DEVFN, BAR(3), 0x10, 4);
	ck_assert_uint_eq(at[2], 0x1000000000);
	bus_in(&mmio, 0x11fffffff8, 8);
	ck_assert(last_bar == 2 && last_off == 0x1fffffff8);
	config_out(DEVFN, PCI_COMMAND, 0, 2);
	for (unsigned i = 0; i < PCI_STD_NUM_BARS; i++)
		ck_assert_uint_eq(at[i], 0);
	unplug();
}
END_TEST

/* Ones written, the size read: by what is not writable. */
START_TEST(test_sizing)
{
	static const struct {
		uint64_t bytes;
		unsigned flags;
		uint32_t low, high;
	} table[] = {
		{ 16, 0, 0xfffffff0, 0 },
		{ 0x80000000, PCI_BAR_PREFETCH, 0x80000008, 0 },
		{ 16, PCI_BAR_64, 0xfffffff4, 0xffffffff },
		{ 0x80000000, PCI_BAR_64, 0x80000004, 0xffffffff },
		{ 0x100000000, PCI_BAR_64, 0x00000004, 0xffffffff },
		{ 0x4000000000, PCI_BAR_64 | PCI_BAR_PREFETCH, 0x0000000c, 0xffffffc0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		init();
		pci_add_bar(&fn, 3, table[i].bytes, table[i].flags);
		ck_assert_int_eq(pci_add(host, &fn), 0);
		config_out(DEVFN, BAR(3), 0xffffffff, 4);
		config_out(DEVFN, BAR(4), 0xffffffff, 4);
		config_out(DEVFN, BAR(2), 0xffffffff, 4); /* none */
		ck_assert_uint_eq(config_in(DEVFN, BAR(3), 4), table[i].low);
		ck_assert_uint_eq(config_in(DEVFN, BAR(4), 4), table[i].high);
		ck_assert_uint_eq(config_in(DEVFN, BAR(2), 4), 0);
		unplug();
	}
}
END_TEST

/* Two BARs of one function change places; on the way one is on top of the other. */
START_TEST(test_change_places)
{
	init();
	pci_add_bar(&fn, 0, 0x1000, 0);
	pci_add_bar(&fn, 1, 0x1000, 0);
	plug();
	config_out(DEVFN, BAR(0), 0xd0001000, 4);
	ck_assert(!at[0] && at[1] == 0xd0001000);
	config_out(DEVFN, BAR(1), 0xd0000000, 4);
	ck_assert(at[0] == 0xd0001000 && at[1] == 0xd0000000);
	bus_in(&mmio, 0xd0001000, 4);
	ck_assert_uint_eq(last_bar, 0);
	unplug();
}
END_TEST

START_TEST(test_msix_elsewhere)
{
	init();
	pci_add_bar(&fn, 0, 0x1000, 0);
	pci_add_bar(&fn, 2, 0x1000, 0);
	ck_assert_int_eq(pci_add_msix(&fn, 2, 2, 0x800, 0xc00), 0);
	plug();
	ck_assert_uint_eq(config_in(DEVFN, fn.msix_cap + PCI_MSIX_TABLE, 4), 0x802);
	ck_assert_uint_eq(config_in(DEVFN, fn.msix_cap + PCI_MSIX_PBA, 4), 0xc02);
	last_off = 1;
	bus_out(&mmio, at[2] + 0x808, 0x4711, 4);
	ck_assert_uint_eq(bus_in(&mmio, at[2] + 0x808, 4), 0x4711);
	ck_assert_uint_eq(last_off, 1); /* not the owner's */
	bus_out(&mmio, at[0] + 0x808, 0x4712, 4);
	ck_assert(last_bar == 0 && last_off == 0x808);

	/* Signalled from outside while it is masked: pending, then delivered. */
	event_signal(pci_msix_fd(&fn, 1));
	ck_assert_uint_eq(bus_in(&mmio, at[2] + 0xc00, 4), 2);
	config_out(DEVFN, fn.msix_cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
	bus_out(&mmio, at[2] + 0x81c, 0, 4);
	ck_assert_uint_eq(bus_in(&mmio, at[2] + 0xc00, 4), 0);
	fake_msi_deliver(&fake.msi[fn.vector[1].gsi]);
	ck_assert_uint_eq(fake.msi[fn.vector[1].gsi].delivered, 1);
	unplug();
}
END_TEST

/* ---- ports ---- */

static uint64_t chip_read(void *dev, uint64_t off, unsigned len)
{
	(void)dev, (void)off, (void)len;
	return 0x77;
}

static const struct bus_ops chip_ops = { .read = chip_read };

static void plug_ports(void)
{
	plug();
	config_out(DEVFN, PCI_COMMAND, PCI_COMMAND_IO, 2);
}

START_TEST(test_ports)
{
	init();
	pci_add_bar(&fn, 0, 0x1000, 0);
	pci_add_bar(&fn, 1, 64, PCI_BAR_IO);
	pci_add_bar(&fn, 2, 256, PCI_BAR_IO);
	plug();
	/* Memory and ports are switched on each for itself. */
	ck_assert(at[0] == 0xd0000000 && !at[1] && !at[2]);
	config_out(DEVFN, PCI_COMMAND, PCI_COMMAND_IO, 2);
	ck_assert(!at[0] && at[1] == 0xc000 && at[2] == 0xc100);
	ck_assert_uint_eq(config_in(DEVFN, BAR(1), 4), 0xc000 | PCI_BASE_ADDRESS_SPACE_IO);
	bus_out(&pio, 0xc03e, 0x1234, 2);
	ck_assert(last_bar == 1 && last_off == 0x3e && last_value == 0x1234);
	ck_assert_uint_eq(bus_in(&pio, 0xc1fc, 4), 4);
	ck_assert(last_bar == 2 && last_off == 0xfc);
	/* Sizing; no base has more than 16 bits. */
	config_out(DEVFN, BAR(1), 0xffffffff, 4);
	ck_assert_uint_eq(config_in(DEVFN, BAR(1), 4), 0xffc1);
	config_out(DEVFN, BAR(2), 0xffffffff, 4);
	ck_assert_uint_eq(config_in(DEVFN, BAR(2), 4), 0xff01);
	/* The one has the end of the other: it is there when that has gone. */
	ck_assert(at[1] == 0xffc0 && !at[2]);
	config_out(DEVFN, BAR(1), 0x12340340, 4);
	ck_assert(at[1] == 0x340 && at[2] == 0xff00);
	unplug();

	/* A function without such a BAR cannot switch ports on. */
	init();
	pci_add_bar(&fn, 0, 0x1000, 0);
	plug_ports();
	ck_assert_uint_eq(config_in(DEVFN, PCI_COMMAND, 2), 0);
	unplug();
}
END_TEST

/* On top of chips and of the configuration ports: these keep all that they have. */
START_TEST(test_ports_of_others)
{
	const struct bus_range chip = { .base = 0x3f8, .size = 8, .ops = &chip_ops, .name = "serial" };
	static const uint32_t bases[] = { 0x3e0, 0x300, 0xce0, 0xc00, 0, 0 };

	init();
	ck_assert_int_eq(bus_add(&pio, &chip), 0);
	pci_add_bar(&fn, 0, 32, PCI_BAR_IO);
	pci_add_bar(&fn, 4, 256, PCI_BAR_IO);
	plug_ports();
	config_out(DEVFN, BAR(4), 0, 4);
	for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
		const unsigned bar = i & 1 ? 4 : 0;

		config_out(DEVFN, BAR(bar), bases[i], 4);
		ck_assert_uint_eq(at[bar], 0);
		ck_assert_uint_eq(bus_in(&pio, 0x3f8, 1), 0x77);
		ck_assert_uint_eq(bus_in(&pio, 8, 1), 0xff);
		bus_out(&pio, 0xcf8, 0x80000000, 4);
		ck_assert_uint_eq(bus_in(&pio, 0xcf8, 4), 0x80000000);
		/* From there it gets away again. */
		config_out(DEVFN, BAR(bar), 0xd000, 4);
		ck_assert_uint_eq(at[bar], 0xd000);
		config_out(DEVFN, BAR(bar), 0, 4);
	}
	bus_remove(&pio, 0x3f8);
	unplug();
}
END_TEST

START_TEST(test_no_ports_left)
{
	static struct pci_function many[12];

	init();
	for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
		many[i] = (struct pci_function){ .ops = &ops, .name = "toy" };
		pci_init(&many[i], 0x1234, 0x5678, 0, 0);
		for (unsigned bar = 0; bar < PCI_STD_NUM_BARS; bar++)
			pci_add_bar(&many[i], bar, 256, PCI_BAR_IO);
		ck_assert_int_eq(pci_add(host, &many[i]), 0);
	}
	ck_assert_uint_eq(config_in(10 + 8 * 10, BAR(3), 4), UINT32_MAX); /* nobody is there */
	ck_assert_uint_eq(config_in(8 * 11, BAR(3), 4), 0xff01);
	ck_assert_uint_eq(config_in(8 * 11, BAR(4), 4), 1);
	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		pci_fini(&many[i]);
	unplug();
}
END_TEST

/* ---- memory ---- */

static uint8_t memory[0x2000] __attribute__((aligned(4096)));

START_TEST(test_memory)
{
	for (unsigned read_only = 0; read_only < 2; read_only++) {
		init();
		pci_add_bar(&fn, 0, 0x1000, 0);
		pci_add_bar(&fn, 2, sizeof(memory), PCI_BAR_64 | PCI_BAR_PREFETCH);
		pci_bar_memory(&fn, 2, memory, read_only);
		plug();
		ck_assert_ptr_eq(fake.memory[0].host, memory);
		ck_assert_uint_eq(fake.memory[0].addr, at[2]);
		ck_assert_uint_eq(fake.memory[0].bytes, sizeof(memory));
		ck_assert_int_eq(fake.memory[0].read_only, read_only);

		config_out(DEVFN, BAR(3), 0x80, 4);
		ck_assert_uint_eq(fake.memory[0].addr, 0x8000000000 + 0xd0002000);
		ck_assert_ptr_null(fake.memory[1].host);
		/* What is written to read-only memory comes by the bus, and goes nowhere. */
		memory[8] = 1;
		bus_out(&mmio, at[2] + 8, 0x22, 1);
		ck_assert_uint_eq(memory[8], read_only ? 1 : 0x22);
		config_out(DEVFN, PCI_COMMAND, 0, 2);
		ck_assert_ptr_null(fake.memory[0].host);
		unplug();
		ck_assert_ptr_null(fake.memory[0].host);
	}
}
END_TEST

/* A page is missing, one may not be written, and one is behind the end of its file: nobody dies of that. */
START_TEST(test_memory_with_holes)
{
	uint8_t *host_memory = mmap(NULL, 0x4000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = memfd_create("short", 0);

	ck_assert(host_memory != MAP_FAILED && !ftruncate(fd, 0x1000));
	ck_assert(mmap(host_memory, 0x1000, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
		  host_memory);
	ck_assert(mmap(host_memory + 0x2000, 0x2000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		       0) == host_memory + 0x2000);
	init();
	pci_add_bar(&fn, 0, 0x4000, PCI_BAR_64 | PCI_BAR_PREFETCH);
	pci_bar_memory(&fn, 0, host_memory, false);
	plug();
	for (unsigned off = 0; off < 0x4000; off += 0x1000) {
		bus_out(&mmio, at[0] + off + 8, 0x1234, 2);
		ck_assert_uint_eq(bus_in(&mmio, at[0] + off + 8, 4),
				  off == 0x2000 ? 0x1234 : off ? UINT32_MAX : 0);
	}
	unplug();
	munmap(host_memory, 0x4000);
	close(fd);
}
END_TEST

/* Prefetchable ones with 64 bits leave the gap to others. */
START_TEST(test_memory_goes_high)
{
	init();
	pci_host_window64(host, 0x140000000, 0x40000000);
	pci_add_bar(&fn, 0, 0x1000, PCI_BAR_64 | PCI_BAR_PREFETCH);
	pci_add_bar(&fn, 2, 0x1000, PCI_BAR_PREFETCH);
	pci_add_bar(&fn, 3, 0x1000, PCI_BAR_64);
	plug();
	ck_assert(at[0] == 0x140000000 && at[2] == 0xd0000000 && at[3] == 0xd0001000);
	unplug();
}
END_TEST

START_TEST(test_memory_without_a_slot)
{
	init();
	pci_add_bar(&fn, 0, sizeof(memory), 0);
	pci_bar_memory(&fn, 0, memory, false);
	fake.fail_memory = ENOSPC;
	plug();
	bus_out(&mmio, at[0] + 0x1ff8, 0x1122334455667788, 8);
	ck_assert_uint_eq(bus_in(&mmio, at[0] + 0x1ffc, 4), 0x11223344);
	ck_assert_uint_eq(memory[0x1ff8], 0x88);
	fake.fail_memory = 0;
	config_out(DEVFN, BAR(0), 0xd0800000, 4);
	ck_assert_uint_eq(fake.memory[0].addr, 0xd0800000);
	unplug();
}
END_TEST

/* ---- INTA from outside ---- */

START_TEST(test_intx_fd)
{
	int fd = -1, resample_fd = -1;
	unsigned gsi;

	init();
	pci_add_bar(&fn, 0, 0x1000, 0);
	ck_assert_int_eq(pci_add_msix(&fn, 1, 0, 0, 0x800), 0);
	ck_assert_int_eq(pci_add_intx_fd(&fn, &fd, &resample_fd), 0);
	plug();
	gsi = fn.gsi;
	ck_assert_uint_eq(config_in(DEVFN, PCI_INTERRUPT_PIN, 1), 1);
	ck_assert_int_eq(fake.line_fd[gsi], fd);
	config_out(DEVFN, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE | PCI_COMMAND_MEMORY, 2);
	ck_assert_int_eq(fake.line_fd[gsi], 0);
	config_out(DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	ck_assert_int_eq(fake.line_fd[gsi], fd);
	config_out(DEVFN, fn.msix_cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
	ck_assert_int_eq(fake.line_fd[gsi], 0);
	/* What the host refuses is tried again. */
	fake.fail_irqfd = ENOSPC;
	config_out(DEVFN, fn.msix_cap + PCI_MSIX_FLAGS, 0, 2);
	ck_assert_int_eq(fake.line_fd[gsi], 0);
	fake.fail_irqfd = 0;
	config_out(DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	ck_assert_int_eq(fake.line_fd[gsi], fd);
	unplug();
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	ck_assert_int_eq(fcntl(resample_fd, F_GETFD), -1);
}
END_TEST

/* An expansion ROM: of an address and a bit of its own, and read-only */
START_TEST(test_rom)
{
	static uint8_t image[8192] __attribute__((aligned(4096)));
	uint8_t byte = 0;

	image[0] = 0x55;
	init();
	pci_add_bar(&fn, 0, 4096, 0);
	pci_add_rom(&fn, image, sizeof(image));
	plug();
	ck_assert_uint_eq(config_in(DEVFN, PCI_ROM_ADDRESS, 4), 0);
	config_out(DEVFN, PCI_ROM_ADDRESS, 0xffffffff, 4);
	ck_assert_uint_eq(config_in(DEVFN, PCI_ROM_ADDRESS, 4), 0xffffe001);
	config_out(DEVFN, PCI_ROM_ADDRESS, 0xc0000000, 4);
	ck_assert_int_eq(bus_rw(&mmio, 0xc0000000, &byte, 1, false), -ENODEV);
	config_out(DEVFN, PCI_ROM_ADDRESS, 0xc0000001, 4);
	ck_assert_int_eq(bus_rw(&mmio, 0xc0000000, &byte, 1, false), 0);
	ck_assert_uint_eq(byte, 0x55);
	ck_assert_uint_eq(at[0], config_in(DEVFN, BAR(0), 4)); /* which is where it was */
	bus_out(&mmio, 0xc0000000, 0x66, 1);
	ck_assert_uint_eq(image[0], 0x55);
	ck_assert_int_eq(bus_rw(&mmio, 0xc0002000, &byte, 1, false), -ENODEV);
	config_out(DEVFN, PCI_ROM_ADDRESS, 0xc0002001, 4);
	ck_assert_int_eq(bus_rw(&mmio, 0xc0000000, &byte, 1, false), -ENODEV);
	ck_assert_int_eq(bus_rw(&mmio, 0xc0002000, &byte, 1, false), 0);
	config_out(DEVFN, PCI_COMMAND, 0, 2);
	ck_assert_int_eq(bus_rw(&mmio, 0xc0002000, &byte, 1, false), -ENODEV);
	config_out(DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	ck_assert_int_eq(bus_rw(&mmio, 0xc0002000, &byte, 1, false), 0);
	config_out(DEVFN, PCI_ROM_ADDRESS, 1, 4); /* onto RAM */
	ck_assert_int_eq(bus_rw(&mmio, 0, &byte, 1, false), -ENODEV);
	unplug();
}
END_TEST

UNIT_MAIN("pci_bars", test_window_above_ram, test_rom, test_ports,
	  test_ports_of_others, test_no_ports_left, test_several, test_sizing, test_change_places, test_msix_elsewhere,
	  test_memory, test_memory_with_holes, test_memory_goes_high,
	  test_memory_without_a_slot, test_intx_fd)
