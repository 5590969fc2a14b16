/* Links: hw/pci-state.o hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o hw/state.o hw/state-show.o util/json.o util/log.o */
#include "pci-rig.h"
#include "state.h"

#define BAR_BYTES 0x4000
#define VECTORS   3
#define TABLE     0x1000
#define PBA       0x1800
#define A         8 /* devfn of the two functions */
#define B         16
#define CONTROL   (64 + PCI_MSIX_FLAGS)
#define ENABLE    PCI_MSIX_FLAGS_ENABLE
#define ON        (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)
#define HIGH      0x800000000ULL /* where a guest moves its BARs */

static struct pci_function fn[2];
static unsigned masters;
static bool wants;

static uint64_t bar_read(struct pci_function *f, unsigned bar, uint64_t off, unsigned len)
{
	(void)bar, (void)off, (void)len;
	return (uint64_t)(f - fn) + 0x50;
}

static void bar_write(struct pci_function *f, unsigned bar, uint64_t off, unsigned len,
		      uint64_t value)
{
	(void)f, (void)bar, (void)off, (void)len, (void)value;
}

static void bar_moved(struct pci_function *f, unsigned bar, uint64_t base, bool on)
{
	(void)f, (void)bar, (void)base, (void)on;
}

static void master(struct pci_function *f)
{
	(void)f;
	masters++;
}

static bool intx(struct pci_function *f)
{
	return f == fn && wants;
}

static const struct pci_ops ops = { .bar_read = bar_read,
				    .bar_write = bar_write,
				    .bar_moved = bar_moved,
				    .master = master,
				    .intx = intx };

static void new_machine(unsigned n_vectors)
{
	new_host();
	masters = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(fn); i++) {
		fn[i] = (struct pci_function){ .ops = &ops, .name = "toy" };
		pci_init(&fn[i], 0x1234, 0x5678, 0, 0);
		pci_add_bar(&fn[i], 0, BAR_BYTES, PCI_BAR_64);
		pci_add_bar(&fn[i], 2, 0x20, PCI_BAR_IO);
		ck_assert_int_eq(pci_add_msix(&fn[i], n_vectors, 0, TABLE, PBA), 0);
		ck_assert_int_eq(pci_add(host, &fn[i]), 0);
		ck_assert_ptr_eq(pci_function_at(host, A + 8 * i), &fn[i]);
	}
}

static void free_machine(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(fn); i++)
		pci_fini(&fn[i]);
	free_host();
}

/* As a machine is saved */
static void save_all(struct state_buf *buf)
{
	state_saved(&pci_host_state_type, host, buf);
	for (unsigned i = 0; i < ARRAY_SIZE(fn); i++) {
		state_saved(&pci_function_state_type, &fn[i], buf);
		state_saved(&pci_msix_state_type, &fn[i], buf);
	}
}

static void load_all(const struct state_buf *buf)
{
	struct state_buf again = { 0 };
	struct state_reader in = state_reader_of(buf);

	ck_assert_int_eq(state_load(&in, &pci_host_state_type, host), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(fn); i++) {
		ck_assert_msg(!state_load(&in, &pci_function_state_type, &fn[i]), "%s", in.why);
		ck_assert_msg(!state_load(&in, &pci_msix_state_type, &fn[i]), "%s", in.why);
	}
	ck_assert_ptr_eq(in.at, in.end);
	save_all(&again);
	ck_assert_uint_eq(again.len, buf->len);
	ck_assert_mem_eq(again.data, buf->data, buf->len);
	state_buf_free(&again);
}

/* Into a machine that was built in the same way */
static void restore(void)
{
	struct state_buf saved = { 0 };

	save_all(&saved);
	free_machine();
	new_machine(VECTORS);
	load_all(&saved);
	state_buf_free(&saved);
}

static void move_bar(unsigned devfn, uint64_t base)
{
	config_out(devfn, PCI_BASE_ADDRESS_0, (uint32_t)base, 4);
	config_out(devfn, PCI_BASE_ADDRESS_1, (uint32_t)(base >> 32), 4);
}

static void set_up(uint64_t bar, unsigned vector, uint32_t data, bool masked)
{
	bus_out(&mmio, bar + TABLE + vector * 16, 0xfee01000, 8);
	bus_out(&mmio, bar + TABLE + vector * 16 + 8, data | (uint64_t)masked << 32, 8);
}

static uint64_t delivered(unsigned vector)
{
	struct fake_msi *msi =
		fn[0].vector[vector].gsi < 0 ? NULL : &fake.msi[fn[0].vector[vector].gsi];

	if (msi && msi->fd >= 0)
		fake_msi_deliver(msi);
	return msi ? msi->delivered : 0;
}

START_TEST(test_tables)
{
	state_test_table(&pci_host_state_type);
	state_test_table(&pci_function_state_type);
	state_test_table(&pci_msix_state_type);
}
END_TEST

START_TEST(test_host)
{
	new_machine(VECTORS);
	bus_out(&pio, 0xcf8, 0x80000840, 4);
	bus_out(&pio, 0xcf9, 0x0a, 1);
	restore();
	ck_assert_uint_eq(bus_in(&pio, 0xcf8, 4), 0x80000840);
	ck_assert_uint_eq(bus_in(&pio, 0xcf9, 1), 0x0a);
	free_machine();
}
END_TEST

START_TEST(test_function)
{
	new_machine(VECTORS);
	move_bar(A, HIGH);
	move_bar(B, HIGH + BAR_BYTES);
	config_out(A, PCI_INTERRUPT_LINE, 0x42, 1);
	config_out(A, PCI_COMMAND, ON | PCI_COMMAND_INTX_DISABLE, 2);
	config_out(B, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	restore();
	ck_assert_uint_eq(config_in(A, PCI_INTERRUPT_LINE, 1), 0x42);
	ck_assert_uint_eq(config_in(A, PCI_COMMAND, 2), ON | PCI_COMMAND_INTX_DISABLE);
	ck_assert(pci_is_master(&fn[0]) && pci_is_master(&fn[1]));
	ck_assert_uint_eq(masters, 2);
	ck_assert_uint_eq(bus_in(&mmio, HIGH, 4), 0x50);
	ck_assert_uint_eq(bus_in(&mmio, HIGH + BAR_BYTES, 4), 0xffffffff); /* its memory is off */
	wants = true;
	pci_intx_update(&fn[0]);
	ck_assert_uint_eq(fake.line_calls, 0); /* INTA is off */
	config_out(A, PCI_COMMAND, ON, 2);
	ck_assert_uint_eq(fake.line_calls, 1);
	restore();
	ck_assert_uint_eq(fake.line_calls, 1);
	ck_assert(config_in(A, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	wants = false;
	pci_intx_update(&fn[0]);
	free_machine();
}
END_TEST

/* Of two BARs on one address the one that was there first, whichever is loaded first. */
START_TEST(test_bar_in_the_way)
{
	new_machine(VECTORS);
	for (unsigned n = 0; n < 2; n++) {
		const unsigned first = n ? A : B, second = n ? B : A;

		config_out(A, PCI_COMMAND, 0, 2);
		config_out(B, PCI_COMMAND, 0, 2);
		move_bar(A, HIGH);
		move_bar(B, HIGH);
		config_out(first, PCI_COMMAND, ON, 2);
		config_out(second, PCI_COMMAND, ON, 2);
		restore();
		ck_assert_uint_eq(bus_in(&mmio, HIGH, 4), first == A ? 0x50 : 0x51);
		config_out(first, PCI_COMMAND, 0, 2);
		ck_assert_uint_eq(bus_in(&mmio, HIGH, 4), first == A ? 0x51 : 0x50);
	}
	free_machine();
}
END_TEST

START_TEST(test_msix)
{
	new_machine(VECTORS);
	move_bar(A, HIGH);
	config_out(A, PCI_COMMAND, ON, 2);
	config_out(A, CONTROL, ENABLE, 2);
	set_up(HIGH, 0, 0x4021, false);
	set_up(HIGH, 1, 0x4022, true);
	pci_msix_signal(&fn[0], 1);
	pci_msix_signal(&fn[0], 2); /* never set up */
	restore();
	ck_assert(pci_msix_enabled(&fn[0]));
	ck_assert_uint_eq(bus_in(&mmio, HIGH + TABLE, 8), 0xfee01000);
	ck_assert_uint_eq(bus_in(&mmio, HIGH + TABLE + 16 + 8, 8), 0x100004022);
	ck_assert_uint_eq(bus_in(&mmio, HIGH + PBA, 8), 6);
	ck_assert_uint_eq(delivered(0) + delivered(1) + delivered(2), 0);
	pci_msix_signal(&fn[0], 0);
	ck_assert_uint_eq(delivered(0), 1);
	restore();
	ck_assert_uint_eq(bus_in(&mmio, HIGH + PBA, 8), 6);
	set_up(HIGH, 1, 0x4022, false);
	ck_assert_uint_eq(delivered(1), 1);
	ck_assert_uint_eq(bus_in(&mmio, HIGH + PBA, 8), 4);
	free_machine();
}
END_TEST

/* Pending, though it may be delivered: the host that was saved had no route left. */
START_TEST(test_msix_fires)
{
	struct state_buf saved = { 0 };

	new_machine(VECTORS);
	move_bar(A, HIGH);
	config_out(A, PCI_COMMAND, ON, 2);
	config_out(A, CONTROL, ENABLE, 2);
	fake.fail_route = ENOSPC;
	set_up(HIGH, 0, 0x4021, false);
	pci_msix_signal(&fn[0], 0);
	save_all(&saved);
	free_machine();
	new_machine(VECTORS);
	for (struct state_reader in = state_reader_of(&saved); in.at != in.end;) {
		ck_assert_int_eq(state_load(&in, &pci_host_state_type, host), 0);
		for (unsigned i = 0; i < ARRAY_SIZE(fn); i++) {
			ck_assert_int_eq(state_load(&in, &pci_function_state_type, &fn[i]), 0);
			ck_assert_int_eq(state_load(&in, &pci_msix_state_type, &fn[i]), 0);
		}
	}
	ck_assert_uint_eq(delivered(0), 1);
	ck_assert_uint_eq(bus_in(&mmio, HIGH + PBA, 8), 0);
	state_buf_free(&saved);
	free_machine();
}
END_TEST

/* Another function is refused, and nothing is changed. */
START_TEST(test_another)
{
	struct state_buf function = { 0 }, msix = { 0 }, before = { 0 }, after = { 0 };
	struct state_reader in;

	new_machine(VECTORS);
	config_out(A, PCI_COMMAND, ON, 2);
	state_saved(&pci_function_state_type, &fn[0], &function);
	state_saved(&pci_msix_state_type, &fn[0], &msix);
	free_machine();
	new_machine(VECTORS + 1);
	save_all(&before);
	in = state_reader_of(&function);
	ck_assert_int_eq(state_load(&in, &pci_function_state_type, &fn[0]), -ENODEV);
	in = state_reader_of(&msix);
	ck_assert_int_eq(state_load(&in, &pci_msix_state_type, &fn[0]), -ENODEV);
	save_all(&after);
	ck_assert_uint_eq(after.len, before.len);
	ck_assert_mem_eq(after.data, before.data, before.len);
	ck_assert_uint_eq(masters, 0);
	state_buf_free(&after);
	state_buf_free(&function);
	state_buf_free(&msix);
	state_buf_free(&before);
	free_machine();
}
END_TEST

static void use(void *dev)
{
	(void)dev;
	for (unsigned reg = 0; reg < 256; reg += 4)
		config_in(A, reg, 4);
	for (unsigned at = 0; at < VECTORS * 16; at += 8)
		bus_in(&mmio, HIGH + TABLE + at, 8);
	bus_in(&mmio, HIGH + PBA, 8);
	pci_msix_signal(&fn[0], 0);
	config_out(A, PCI_COMMAND, ON, 2);
	config_out(A, CONTROL, ENABLE, 2);
	bus_out(&pio, 0xcf8, 0x80000800, 4);
	ck_assert_uint_eq(bus_in(&pio, 0xcfc, 4), 0x56781234);
}

START_TEST(test_hostile)
{
	new_machine(VECTORS);
	move_bar(A, HIGH);
	config_out(A, PCI_COMMAND, ON, 2);
	config_out(A, CONTROL, ENABLE, 2);
	set_up(HIGH, 1, 0x4022, true);
	state_test_hostile(&pci_host_state_type, host, use);
	state_test_hostile(&pci_function_state_type, &fn[0], use);
	state_test_hostile(&pci_msix_state_type, &fn[0], use);
	free_machine();
}
END_TEST

/* Where ports were decoded they are again; which of two has them is not asked anew. */
START_TEST(test_ports)
{
	new_machine(VECTORS);
	config_out(A, PCI_COMMAND, PCI_COMMAND_IO, 2);
	config_out(A, PCI_BASE_ADDRESS_2, 0xe000, 4);
	config_out(B, PCI_BASE_ADDRESS_2, 0xe000, 4);
	config_out(B, PCI_COMMAND, PCI_COMMAND_IO, 2);
	ck_assert_uint_eq(bus_in(&pio, 0xe004, 1), 0x50);
	restore();
	ck_assert_uint_eq(config_in(B, PCI_BASE_ADDRESS_2, 4), 0xe001);
	ck_assert_uint_eq(bus_in(&pio, 0xe004, 1), 0x50);
	config_out(A, PCI_COMMAND, 0, 2);
	ck_assert_uint_eq(bus_in(&pio, 0xe01f, 1), 0x51);
	restore();
	ck_assert_uint_eq(bus_in(&pio, 0xe01f, 1), 0x51);
	ck_assert_uint_eq(bus_in(&pio, 0xe020, 1), 0xff);
	free_machine();
}
END_TEST

UNIT_MAIN("pci-state", test_tables, test_host, test_function, test_ports, test_bar_in_the_way, test_msix,
	  test_msix_fires, test_another, test_hostile)
