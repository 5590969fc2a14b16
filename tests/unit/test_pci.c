/* Links: hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o util/log.o */
#include "pci-rig.h"

#define BAR_BYTES 0x4000

/* A function with a BAR of 16 KiB that remembers its last access. */
struct toy {
	struct pci_function fn;
	uint64_t off, value, moves;
	unsigned bar, len, hooked, masters, written;
	bool write, wants;
	uint64_t at[PCI_STD_NUM_BARS]; /* where its BARs were said to be; 0: nowhere */
};

static uint64_t toy_bar_read(struct pci_function *fn, unsigned bar, uint64_t off, unsigned len)
{
	struct toy *t = container_of(fn, struct toy, fn);

	t->bar = bar;
	t->off = off;
	t->len = len;
	t->write = false;
	return t->value;
}

static void toy_bar_write(struct pci_function *fn, unsigned bar, uint64_t off, unsigned len,
		      uint64_t value)
{
	struct toy *t = container_of(fn, struct toy, fn);

	t->bar = bar;
	t->off = off;
	t->len = len;
	t->write = true;
	t->value = value;
}

static void toy_bar_moved(struct pci_function *fn, unsigned bar, uint64_t base, bool on)
{
	struct toy *t = container_of(fn, struct toy, fn);

	ck_assert_uint_eq(t->at[bar], on ? 0 : base);
	t->at[bar] = on ? base : 0;
	t->moves++;
}

/* Asks for what a held lock would not give. */
static void toy_master(struct pci_function *fn)
{
	uint16_t command;

	pci_config_get(fn, PCI_COMMAND, &command, sizeof(command));
	ck_assert_int_eq(pci_is_master(fn), !!(command & PCI_COMMAND_MASTER));
	container_of(fn, struct toy, fn)->masters++;
}

static bool toy_intx(struct pci_function *fn)
{
	return container_of(fn, struct toy, fn)->wants;
}

/* The last four bytes of the configuration space; asks for what a held lock would not give. */
static bool toy_config_window(struct pci_function *fn, unsigned off, unsigned len,
			      uint64_t *ret_off)
{
	struct toy *t = container_of(fn, struct toy, fn);
	uint16_t vendor;

	ck_assert_uint_ge(off, PCI_STD_HEADER_SIZEOF);
	pci_config_get(fn, PCI_VENDOR_ID, &vendor, sizeof(vendor));
	ck_assert_uint_eq(vendor, 0x1234);
	if (off != 252)
		return false;
	t->hooked++;
	t->len = len;
	*ret_off = 0x88;
	return true;
}

static void toy_written(struct pci_function *fn)
{
	container_of(fn, struct toy, fn)->written++;
}

static const struct pci_ops toy_ops = { toy_bar_read, toy_bar_write,     toy_bar_moved, toy_master,
					toy_intx,     toy_config_window, toy_written };

static void toy_init(struct toy *t, uint32_t bar_bytes)
{
	*t = (struct toy){ 0 };
	pci_init(&t->fn, 0x1234, 0x9678, 0x0abcde, 0x42);
	t->fn.ops = &toy_ops;
	t->fn.name = "toy";
	pci_add_bar(&t->fn, 0, bar_bytes, PCI_BAR_64);
}

static struct toy toy;

static void new_toy(void)
{
	new_host();
	toy_init(&toy, BAR_BYTES);
	ck_assert_int_eq(pci_add(host, &toy.fn), 0);
	ck_assert_uint_eq(toy.fn.devfn, 8);
}

static void free_toy(void)
{
	pci_fini(&toy.fn);
	free_host();
}

static void port_out(uint16_t port, uint32_t value, unsigned len)
{
	bus_out(&pio, port, value, len);
}

static uint32_t port_in(uint16_t port, unsigned len)
{
	return (uint32_t)bus_in(&pio, port, len);
}

START_TEST(test_bridge)
{
	new_host();
	ck_assert_uint_eq(config_in(0, 0, 4), 0x00081b36);
	ck_assert_uint_eq(config_in(0, 8, 4), 0x06000000);
	for (unsigned reg = 0; reg < 256; reg += 4) {
		uint32_t old = config_in(0, reg, 4);

		config_out(0, reg, ~old, 4);
		ck_assert_uint_eq(config_in(0, reg, 4), old);
	}
	free_host();
}
END_TEST

START_TEST(test_ports)
{
	new_toy();
	port_out(0xcf8, 0x80000803, 4);
	ck_assert_uint_eq(port_in(0xcf8, 4), 0x80000800);
	ck_assert_uint_eq(port_in(0xcfc, 4), 0x96781234);
	ck_assert_uint_eq(port_in(0xcfc, 2), 0x1234);
	ck_assert_uint_eq(port_in(0xcfe, 2), 0x9678);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_uint_eq(port_in((uint16_t)(0xcfc + i), 1), 0x96781234 >> 8 * i & 0xff);
	ck_assert_uint_eq(port_in(0xcfd, 2), 0xffff); /* misaligned */
	port_out(0xcf8, 0x8000083c, 4);
	port_out(0xcfc, 0x77, 1);
	ck_assert_uint_eq(config_in(8, PCI_INTERRUPT_LINE, 1), 0x77);
	free_toy();
}
END_TEST

START_TEST(test_port_address)
{
	new_toy();
	/* Where nothing is: disabled, another bus, an empty slot */
	static const uint32_t nowhere[] = { 0x00000800, 0x80010800, 0x80ff0800, 0x80001000 };

	for (size_t i = 0; i < ARRAY_SIZE(nowhere); i++) {
		port_out(0xcf8, nowhere[i], 4);
		ck_assert_uint_eq(port_in(0xcfc, 4), 0xffffffff);
		ck_assert_uint_eq(port_in(0xcfc, 1), 0xff);
		port_out(0xcfc, 0, 4);
	}
	port_out(0xcf8, 0x80000800, 4);
	/* Parts of the address register are none of it. */
	for (unsigned len = 1; len <= 2; len++)
		for (unsigned at = 0; at < 4; at += len) {
			if (len == 1 && at == 1)
				continue; /* the reset control register */
			port_out((uint16_t)(0xcf8 + at), 0, len);
			ck_assert_uint_eq(port_in((uint16_t)(0xcf8 + at), len),
					  len == 1 ? 0xff : 0xffff);
		}
	for (unsigned at = 1; at < 4; at++) {
		port_out((uint16_t)(0xcf8 + at), 0, 4);
		ck_assert_uint_eq(port_in((uint16_t)(0xcf8 + at), 4), 0xffffffff);
	}
	ck_assert_uint_eq(port_in(0xcf8, 4), 0x80000800);
	ck_assert_uint_eq(port_in(0xcfc, 4), 0x96781234);
	free_toy();
}
END_TEST

START_TEST(test_port_reset)
{
	new_toy();
	port_out(0xcf8, 0x80000800, 4);
	for (unsigned value = 0; value < 0x100; value++) {
		fake.stops = 0;
		port_out(0xcf9, value, 1);
		ck_assert_uint_eq(fake.stops, value >> 2 & 1);
		ck_assert(!fake.stops || fake.cause == STOP_RESET);
		ck_assert_uint_eq(port_in(0xcf9, 1), value & 0x0a);
	}
	fake.stops = 0;
	port_out(0xcf9, 0xffff, 2);
	port_out(0xcf8, 0x0000ff00, 4);
	ck_assert_uint_eq(fake.stops, 0);
	port_out(0xcf8, 0x80000800, 4);
	ck_assert_uint_eq(port_in(0xcfc, 4), 0x96781234);
	free_toy();
}
END_TEST

START_TEST(test_ecam)
{
	new_toy();
	ck_assert_uint_eq(config_in(8, 0, 4), 0x96781234);
	ck_assert_uint_eq(config_in(8, 2, 2), 0x9678);
	ck_assert_uint_eq(config_in(8, 8, 4), 0x0abcde42);
	ck_assert_uint_eq(bus_in(&mmio, ecam(8, 0), 8), 0x96781234);
	ck_assert_uint_eq(bus_in(&mmio, ecam(8, 8), 8) & 0xffffffff, 0x0abcde42);
	/* The second half of a quadword is a register of its own, of the next function too. */
	bus_out(&mmio, ecam(8, 0x38), 0x5500000000, 8);
	ck_assert_uint_eq(config_in(8, PCI_INTERRUPT_LINE, 1), 0x55);
	ck_assert_uint_eq(bus_in(&mmio, ecam(7, 0xffc), 8), 0x96781234ffffffff);
	/* misaligned */
	ck_assert_uint_eq(config_in(8, 1, 2), 0xffff);
	ck_assert_uint_eq(config_in(8, 2, 4), 0xffffffff);
	ck_assert_uint_eq(bus_in(&mmio, ecam(8, 2), 8), UINT64_MAX);
	bus_out(&mmio, ecam(8, PCI_INTERRUPT_LINE - 1), 0, 2);
	bus_out(&mmio, ecam(8, PCI_INTERRUPT_LINE - 2), 0, 4);
	ck_assert_uint_eq(config_in(8, PCI_INTERRUPT_LINE, 1), 0x55);
	/* behind the configuration space, and where there is no function */
	for (unsigned reg = 256; reg < 4096; reg += 4)
		ck_assert_uint_eq(config_in(8, reg, 4), 0xffffffff);
	config_out(8, 0x13c, 0, 4);
	for (unsigned devfn = 1; devfn < 256; devfn++)
		if (devfn != 8)
			ck_assert_uint_eq(config_in(devfn, 0, 2), 0xffff);
	config_out(9, PCI_INTERRUPT_LINE, 0, 1);
	ck_assert_uint_eq(config_in(8, PCI_INTERRUPT_LINE, 1), 0x55);
	free_toy();
}
END_TEST

/* What a guest can change in the header is this and no more. */
START_TEST(test_hostile_writes)
{
	uint8_t may[PCI_CONFIG_BYTES] = { [PCI_COMMAND] = 0x06,
					  [PCI_COMMAND + 1] = 0x04,
					  [PCI_CACHE_LINE_SIZE] = 0xff,
					  [PCI_INTERRUPT_LINE] = 0xff,
					  [0x11] = 0xc0,
					  [0x12] = 0xff,
					  [0x13] = 0xff,
					  [0x14] = 0xff,
					  [0x15] = 0xff,
					  [0x16] = 0xff,
					  [0x17] = 0xff };

	new_toy();
	for (unsigned reg = 0; reg < 252; reg++) {
		uint8_t old = (uint8_t)config_in(8, reg, 1);

		config_out(8, reg, 0xff, 1);
		ck_assert_uint_eq(config_in(8, reg, 1), old | may[reg]);
		config_out(8, reg, 0, 1);
		ck_assert_uint_eq(config_in(8, reg, 1), old & ~may[reg]);
	}
	free_toy();
}
END_TEST

#define BAR 0x10

static void move_bar(uint64_t base)
{
	config_out(8, BAR, (uint32_t)base, 4);
	if (config_in(8, BAR + 4, 4) != base >> 32)
		config_out(8, BAR + 4, (uint32_t)(base >> 32), 4);
}

START_TEST(test_bar_sizing)
{
	new_toy();
	ck_assert_uint_eq(config_in(8, BAR, 4), LAYOUT_PCI_WINDOW | RIG_BAR_TYPE);
	ck_assert_uint_eq(toy.at[0], 0);
	config_out(8, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	ck_assert_uint_eq(toy.at[0], LAYOUT_PCI_WINDOW);
	config_out(8, BAR, 0xffffffff, 4);
	ck_assert_uint_eq(toy.at[0], 0);
	ck_assert_uint_eq(config_in(8, BAR, 4), ~(BAR_BYTES - 1U) | RIG_BAR_TYPE);
	config_out(8, BAR, LAYOUT_PCI_WINDOW, 4);
	ck_assert_uint_eq(toy.at[0], LAYOUT_PCI_WINDOW);
	ck_assert_uint_eq(toy.moves, 3);
	config_out(8, PCI_COMMAND, 0, 2);
	config_out(8, BAR + 4, 0xffffffff, 4);
	ck_assert_uint_eq(config_in(8, BAR + 4, 4), 0xffffffff);
	config_out(8, BAR + 4, 0, 4);
	config_out(8, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	ck_assert_uint_eq(toy.at[0], LAYOUT_PCI_WINDOW);
	toy.moves = 3;
	/* The others are not there. */
	for (unsigned reg = BAR + 8; reg < BAR + 24; reg += 4) {
		config_out(8, reg, 0xffffffff, 4);
		ck_assert_uint_eq(config_in(8, reg, 4), 0);
	}
	config_out(8, PCI_ROM_ADDRESS, 0xffffffff, 4);
	ck_assert_uint_eq(config_in(8, PCI_ROM_ADDRESS, 4), 0);
	ck_assert_uint_eq(toy.moves, 3);
	free_toy();
	ck_assert_uint_eq(toy.at[0], 0);
}
END_TEST

START_TEST(test_bar_moves)
{
	static const struct {
		uint64_t base;
		bool decoded;
	} table[] = {
		{ 0xd0004000, true },  { 0xcfffc000, true },  { 0xd0000000, true },
		{ 0xdfffc000, true },  { 0xe0000000, false }, { 0xe0004000, false },
		{ 0xe00fc000, false }, { 0xe0100000, true },  { 0xfebfc000, true },
		{ 0xfec00000, false }, { 0xffffc000, false }, /* chips of the kernel's */
		{ 0x00000000, false }, { 0x0fffc000, false }, /* RAM */
		{ 0x10000000, true },  { 0x100000000, true }, { 0x123456789abc0000, true },
		{ 0xffffffffffffc000, true },
	};

	new_toy();
	move_bar(0xd0008000);
	ck_assert_uint_eq(toy.moves, 0); /* memory decoding is off */
	config_out(8, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	ck_assert_uint_eq(toy.at[0], 0xd0008000);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		toy.value = 0;
		move_bar(table[i].base);
		ck_assert_uint_eq(toy.at[0], table[i].decoded ? table[i].base : 0);
		ck_assert_uint_eq(mmio.n, 1U + table[i].decoded);
		bus_out(&mmio, table[i].base + 0x1238ULL, 0x55, 1);
		ck_assert_uint_eq(toy.value, table[i].decoded ? 0x55 : 0);
	}
	ck_assert_uint_eq(config_in(8, 0, 4), 0x96781234); /* it did not shadow the ECAM */
	move_bar(0xd0004000);
	config_out(8, PCI_COMMAND, 0, 2);
	ck_assert_uint_eq(toy.at[0], 0);
	ck_assert_uint_eq(mmio.n, 1);
	free_toy();
}
END_TEST

START_TEST(test_bar_access)
{
	new_toy();
	config_out(8, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	for (unsigned len = 1; len <= 8; len *= 2) {
		bus_out(&mmio, LAYOUT_PCI_WINDOW + BAR_BYTES - len, 0x1122334455667788, len);
		ck_assert(toy.write && toy.off == BAR_BYTES - len && toy.len == len);
		ck_assert_uint_eq(bus_in(&mmio, LAYOUT_PCI_WINDOW + 3, len), toy.value);
		ck_assert(!toy.write && toy.off == 3 && toy.len == len);
	}
	free_toy();
}
END_TEST

START_TEST(test_bars_overlap)
{
	struct toy other;

	new_toy();
	toy_init(&other, BAR_BYTES);
	ck_assert_int_eq(pci_add(host, &other.fn), 0);
	ck_assert_uint_eq(config_in(16, BAR, 4), (LAYOUT_PCI_WINDOW + BAR_BYTES) | RIG_BAR_TYPE);
	config_out(8, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	config_out(16, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	config_out(16, BAR, LAYOUT_PCI_WINDOW, 4);
	ck_assert_uint_eq(toy.at[0], LAYOUT_PCI_WINDOW);
	ck_assert_uint_eq(other.at[0], 0);
	ck_assert_uint_eq(mmio.n, 2);
	/* It is decoded as soon as the range is free: by a move, or by the command register. */
	move_bar(LAYOUT_PCI_WINDOW + BAR_BYTES);
	ck_assert_uint_eq(toy.at[0], LAYOUT_PCI_WINDOW + BAR_BYTES);
	ck_assert_uint_eq(other.at[0], LAYOUT_PCI_WINDOW);
	bus_out(&mmio, LAYOUT_PCI_WINDOW + 8, 0x55, 1);
	ck_assert_uint_eq(other.value, 0x55);
	move_bar(LAYOUT_PCI_WINDOW); /* now it is the second */
	ck_assert_uint_eq(toy.at[0], 0);
	config_out(16, PCI_COMMAND, 0, 2);
	ck_assert_uint_eq(other.at[0], 0);
	ck_assert_uint_eq(toy.at[0], LAYOUT_PCI_WINDOW);
	config_out(16, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	ck_assert_uint_eq(other.at[0], 0);
	ck_assert_uint_eq(toy.at[0], LAYOUT_PCI_WINDOW);
	/* On RAM it is nowhere, and that is no range for which another waits. */
	move_bar(0);
	ck_assert_uint_eq(toy.at[0], 0);
	ck_assert_uint_eq(other.at[0], LAYOUT_PCI_WINDOW);
	pci_fini(&other.fn);
	ck_assert_uint_eq(config_in(16, 0, 4), 0xffffffff);
	free_toy();
}
END_TEST

static void check_slot(const struct toy *t, unsigned i)
{
	static const uint8_t isa_irq[] = ISA_IRQS_PCI;
	unsigned devfn = t->fn.devfn;

	ck_assert_uint_eq(t->fn.gsi, 16 + devfn / 8 % 8);
	ck_assert_uint_eq(config_in(devfn, PCI_INTERRUPT_PIN, 1), 1);
	ck_assert_uint_eq(config_in(devfn, PCI_INTERRUPT_LINE, 1), isa_irq[devfn / 8 % 8]);
	ck_assert_uint_eq(config_in(devfn, BAR, 4),
			  (LAYOUT_PCI_WINDOW + i * BAR_BYTES) | RIG_BAR_TYPE);
	ck_assert_uint_eq(config_in(devfn, PCI_HEADER_TYPE, 1), 0);
	ck_assert_uint_eq(config_in(devfn & ~7U, PCI_HEADER_TYPE, 1), devfn & 7 ? 0x80 : 0);
	config_out(devfn, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	ck_assert_uint_eq(t->at[0], LAYOUT_PCI_WINDOW + i * BAR_BYTES);
}

/* However many: in order, a device each if there are enough; device 0 is the bridge's. */
START_TEST(test_slots)
{
	static const struct {
		unsigned n, per_device, first, room;
	} table[] = { { 0, 1, 8, 31 },    { 1, 1, 8, 31 },    { 31, 1, 8, 31 },
		      { 32, 2, 8, 62 },   { 62, 2, 8, 62 },   { 63, 3, 8, 93 },
		      { 217, 7, 8, 217 }, { 218, 8, 8, 248 }, { 248, 8, 8, 248 },
		      { 249, 8, 1, 255 }, { 255, 8, 1, 255 }, { 10000, 8, 1, 255 } };
	static struct toy toys[256];

	for (size_t row = 0; row < ARRAY_SIZE(table); row++) {
		const unsigned per = table[row].per_device, room = table[row].room;

		new_host();
		pci_host_expect(host, table[row].n);
		for (unsigned i = 0; i < room; i++) {
			unsigned devfn = table[row].first + i / per * 8 + i % per;

			if (table[row].first == 1)
				devfn = i + 1;
			toy_init(&toys[i], BAR_BYTES);
			ck_assert_int_eq(pci_add(host, &toys[i].fn), 0);
			ck_assert_uint_eq(toys[i].fn.devfn, devfn);
			check_slot(&toys[i], i);
		}
		toy_init(&toys[room], BAR_BYTES);
		ck_assert_int_eq(pci_add(host, &toys[room].fn), -ENOSPC);
		for (unsigned i = 0; i <= room; i++)
			pci_fini(&toys[i].fn);
		free_host();
	}
}
END_TEST

/* Function 1 of the bridge's device: where it is does not depend on the others. */
START_TEST(test_beside_the_bridge)
{
	static const struct pci_ops quiet = { .bar_moved = toy_bar_moved };
	struct toy beside, second;

	new_toy();
	toy_init(&beside, BAR_BYTES);
	beside.fn.ops = &quiet;
	ck_assert_int_eq(pci_add_to_bridge(host, &beside.fn), 0);
	ck_assert_uint_eq(config_in(1, 0, 4), 0x96781234);
	ck_assert_uint_eq(config_in(0, PCI_HEADER_TYPE, 1), 0x80);
	ck_assert_uint_eq(config_in(1, PCI_INTERRUPT_PIN, 1), 0); /* it has none */
	ck_assert_uint_eq(config_in(1, PCI_INTERRUPT_LINE, 1), 0);
	config_out(1, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	ck_assert_uint_eq(beside.at[0], LAYOUT_PCI_WINDOW + BAR_BYTES);
	toy_init(&second, BAR_BYTES);
	ck_assert_int_eq(pci_add_to_bridge(host, &second.fn), -ENOSPC);
	pci_fini(&second.fn);
	pci_fini(&beside.fn);
	free_toy();
}
END_TEST

START_TEST(test_window_is_full)
{
	static struct toy toys[5];

	new_host();
	for (unsigned i = 0; i < 5; i++) {
		toy_init(&toys[i], i ? 64 << 20 : BAR_BYTES);
		ck_assert_int_eq(pci_add(host, &toys[i].fn), 0);
	}
	/* aligned, so that three of 64 MB fit behind the small one in 256 MB */
	ck_assert_uint_eq(config_in(2 << 3, BAR, 4), (LAYOUT_PCI_WINDOW + (64 << 20)) | RIG_BAR_TYPE);
	ck_assert_uint_eq(config_in(4 << 3, BAR, 4), (LAYOUT_PCI_WINDOW + (192 << 20)) | RIG_BAR_TYPE);
	ck_assert_uint_eq(config_in(5 << 3, BAR, 4), RIG_BAR_TYPE);
	config_out(5 << 3, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	ck_assert_uint_eq(toys[4].at[0], 0);
	for (unsigned i = 0; i < 5; i++)
		pci_fini(&toys[i].fn);
	free_host();
}
END_TEST

START_TEST(test_capabilities)
{
	static const uint8_t body[100] = { 1, 2, 3, 4, 5, 6 };
	int first, second;

	new_toy();
	ck_assert_uint_eq(config_in(8, PCI_STATUS, 2), 0);
	first = pci_add_cap(&toy.fn, 9, body, 3);
	second = pci_add_cap(&toy.fn, 5, body, 6);
	ck_assert_int_eq(first, 64);
	ck_assert_int_eq(second, 72); /* 2 + 3 bytes, rounded up */
	ck_assert_uint_eq(config_in(8, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
	ck_assert_uint_eq(config_in(8, PCI_CAPABILITY_LIST, 1), 64);
	ck_assert_uint_eq(config_in(8, 64, 4), 0x02014809);
	ck_assert_uint_eq(config_in(8, 68, 4), 0x00000003);
	ck_assert_uint_eq(config_in(8, 72, 4), 0x02010005);
	ck_assert_int_eq(pci_add_cap(&toy.fn, 9, body, 100), 80);
	ck_assert_int_eq(pci_add_cap(&toy.fn, 9, body, 71), -ENOSPC); /* 72 are left */
	ck_assert_int_eq(pci_add_cap(&toy.fn, 9, body, 70), 184);
	ck_assert_int_eq(pci_add_cap(&toy.fn, 9, body, 0), -ENOSPC);
	ck_assert_uint_eq(config_in(8, 185, 1), 0);
	free_toy();
}
END_TEST

START_TEST(test_config_window)
{
	new_toy();
	toy.value = 0x600dd00d;
	ck_assert_uint_eq(config_in(8, 252, 4), 0x600dd00d);
	ck_assert_uint_eq(config_in(8, 252, 1), 0x0d);
	ck_assert_uint_eq(config_in(8, 248, 4), 0);
	config_out(8, 252, 0x8001, 2);
	ck_assert_uint_eq(toy.hooked, 3);
	ck_assert(toy.write);
	ck_assert_uint_eq(toy.off, 0x88);
	ck_assert_uint_eq(toy.len, 2);
	ck_assert_uint_eq(toy.value, 0x8001);
	free_toy();
}
END_TEST

#define LINE 17 /* of device 1 */

static void want(bool on)
{
	toy.wants = on;
	pci_intx_update(&toy.fn);
}

static bool status_bit(void)
{
	return config_in(8, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT;
}

START_TEST(test_intx)
{
	new_toy();
	want(false);
	ck_assert_uint_eq(fake.line_calls, 0);
	want(true);
	want(true);
	ck_assert_uint_eq(fake.line_calls, 1);
	ck_assert(fake_board_line_up(&fake, LINE) && status_bit());
	ck_assert_uint_eq(fake.line[LINE][0], 1 << 8); /* by devfn */
	want(false);
	ck_assert(!fake_board_line_up(&fake, LINE) && !status_bit());
	ck_assert_uint_eq(fake.line_calls, 2);
	free_toy();
}
END_TEST

START_TEST(test_intx_disable)
{
	new_toy();
	want(true);
	config_out(8, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, 2);
	ck_assert(!fake_board_line_up(&fake, LINE));
	ck_assert(status_bit()); /* tells what is asked for, not what the line does */
	config_out(8, PCI_COMMAND, 0, 2);
	ck_assert(fake_board_line_up(&fake, LINE));
	config_out(8, PCI_COMMAND + 1, PCI_COMMAND_INTX_DISABLE >> 8, 1);
	ck_assert(!fake_board_line_up(&fake, LINE));
	want(false);
	want(true);
	ck_assert(!fake_board_line_up(&fake, LINE));
	want(false);
	config_out(8, PCI_COMMAND, 0, 2);
	ck_assert(!fake_board_line_up(&fake, LINE) && !status_bit());
	free_toy();
}
END_TEST

START_TEST(test_master)
{
	new_toy();
	ck_assert(!pci_is_master(&toy.fn));
	config_out(8, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	ck_assert_uint_eq(toy.masters, 0);
	config_out(8, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	ck_assert(pci_is_master(&toy.fn));
	config_out(8, PCI_COMMAND, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY, 2);
	config_out(8, PCI_COMMAND + 1, 0, 1);
	config_out(8, PCI_INTERRUPT_LINE, 0, 1);
	ck_assert_uint_eq(toy.masters, 1);
	ck_assert_uint_eq(toy.written, 5);
	config_in(8, PCI_COMMAND, 2);
	ck_assert_uint_eq(toy.written, 5);
	config_out(8, PCI_COMMAND, 0, 1);
	ck_assert(!pci_is_master(&toy.fn));
	ck_assert_uint_eq(toy.masters, 2);
	free_toy();
}
END_TEST

START_TEST(test_host_failures)
{
	static const struct bus_ops none;
	const struct bus_range port = { .base = 0xcfb, .size = 1, .ops = &none };
	const struct bus_range memory = { .base = LAYOUT_ECAM + 5, .size = 1, .ops = &none };
	struct board board = fake_board_init(&fake);
	struct pci_function zeroed = { 0 };

	bus_init(&pio);
	bus_init(&mmio);
	ck_assert_int_eq(bus_add(&pio, &port), 0);
	ck_assert_int_eq(pci_host_new(&pio, &mmio, &board, &host), -EEXIST);
	ck_assert_uint_eq(pio.n, 1);
	ck_assert_int_eq(bus_remove(&pio, 0xcfb), 0);
	ck_assert_int_eq(bus_add(&mmio, &memory), 0);
	ck_assert_int_eq(pci_host_new(&pio, &mmio, &board, &host), -EEXIST);
	ck_assert_uint_eq(pio.n, 0);
	ck_assert_uint_eq(mmio.n, 1);
	ck_assert_ptr_null(host);
	pci_host_free(NULL);
	pci_fini(&zeroed);
}
END_TEST

UNIT_MAIN("pci", test_bridge, test_ports, test_port_address, test_port_reset,
	  test_ecam, test_hostile_writes,
	  test_bar_sizing, test_bar_moves, test_bar_access, test_bars_overlap, test_slots,
	  test_beside_the_bridge, test_window_is_full, test_capabilities, test_config_window, test_intx, test_intx_disable,
	  test_master, test_host_failures)
