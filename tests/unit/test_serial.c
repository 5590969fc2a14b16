/* Links: hw/serial.o hw/state.o hw/state-show.o util/json.o */
#include <linux/serial_reg.h>

#include "chip-state.h"
#include "lkvm/console.h"

#define RESET_RX (UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR)
#define RESET_TX (UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_XMIT)
#define EMPTY    (UART_LSR_THRE | UART_LSR_TEMT)
#define LINES    (UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD)

/* A console whose ring has as much room as the test says. */
struct console {
	struct console_device device;
	char out[256];
	size_t n, room;
	unsigned puts, wanted;
};

static struct console con = { .room = sizeof(con.out) };

void console_attach(struct console *console, const struct console_device *dev)
{
	console->device = dev ? *dev : (struct console_device){ 0 };
}

size_t console_put(struct console *console, const void *buf, size_t len)
{
	size_t n = len < console->room ? len : console->room;

	memcpy(console->out + console->n, buf, n);
	console->n += n;
	console->room -= n;
	console->puts++;
	return n;
}

void console_input_wanted(struct console *console)
{
	console->wanted++;
}

static void new_serial(void)
{
	new_chip(&serial_type, &con, 0);
}

/* As a driver leaves it: FIFO on, interrupts @ier on and let through. */
static void new_driven(unsigned ier)
{
	new_serial();
	out8(UART_FCR, UART_FCR_ENABLE_FIFO);
	out8(UART_MCR, UART_MCR_OUT2);
	out8(UART_IER, ier);
}

static void assert_out(const char *want)
{
	ck_assert_uint_eq(con.n, strlen(want));
	ck_assert_mem_eq(con.out, want, con.n);
}

static size_t type(const char *text)
{
	return con.device.input(con.device.dev, (const uint8_t *)text, strlen(text));
}

static void assert_rx(const char *want)
{
	for (; *want; want++) {
		ck_assert_uint_eq(in8(UART_LSR) & UART_LSR_DR, UART_LSR_DR);
		ck_assert_uint_eq(in8(UART_RX), (uint8_t)*want);
	}
	ck_assert_uint_eq(in8(UART_LSR) & UART_LSR_DR, 0);
}

static void room(size_t n)
{
	con.room = n;
	con.device.writable(con.device.dev);
}

/* Registers */

START_TEST(test_first_values)
{
	new_serial();
	ck_assert_uint_eq(in8(UART_RX), 0);
	ck_assert_uint_eq(in8(UART_IER), 0);
	ck_assert_uint_eq(in8(UART_IIR), UART_IIR_NO_INT);
	ck_assert_uint_eq(in8(UART_LCR), 0);
	ck_assert_uint_eq(in8(UART_MCR), 0);
	ck_assert_uint_eq(in8(UART_LSR), EMPTY);
	ck_assert_uint_eq(in8(UART_MSR), LINES);
	ck_assert_uint_eq(in8(UART_SCR), 0);
	out8(UART_LCR, UART_LCR_DLAB);
	ck_assert_uint_eq(in8(UART_DLL), 12); /* 9600 baud; never 0, which guests divide by */
	ck_assert_uint_eq(in8(UART_DLM), 0);
	ck_assert_uint_eq(machine.irq_sets, 0);
	free_chip();
}
END_TEST

START_TEST(test_read_back)
{
	new_serial();
	for (unsigned value = 0; value < 256; value++) {
		out8(UART_LCR, value);
		ck_assert_uint_eq(in8(UART_LCR), value); /* 8N1 is 3, and not taken for FCR bits */
		out8(UART_SCR, value);
		ck_assert_uint_eq(in8(UART_SCR), value);
		out8(UART_MCR, value);
		ck_assert_uint_eq(in8(UART_MCR), value & 0x1f);
		out8(UART_LCR, 0);
		out8(UART_IER, value);
		ck_assert_uint_eq(in8(UART_IER), value & 0x0f);
	}
	free_chip();
}
END_TEST

START_TEST(test_divisor)
{
	new_serial();
	out8(UART_IER, UART_IER_RDI);
	out8(UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	out8(UART_DLL, 0x34);
	out8(UART_DLM, 0x12);
	ck_assert_uint_eq(in8(UART_DLL), 0x34);
	ck_assert_uint_eq(in8(UART_DLM), 0x12);
	out8(UART_LCR, UART_LCR_WLEN8);
	ck_assert_uint_eq(in8(UART_IER), UART_IER_RDI);
	ck_assert_uint_eq(con.puts, 0); /* nothing of that was sent */
	free_chip();
}
END_TEST

START_TEST(test_read_only)
{
	new_serial();
	out8(UART_LSR, 0xff);
	out8(UART_MSR, 0xff);
	ck_assert_uint_eq(in8(UART_LSR), EMPTY);
	ck_assert_uint_eq(in8(UART_MSR), LINES);
	free_chip();
}
END_TEST

START_TEST(test_widths)
{
	new_serial();
	out_len(UART_LCR, 0x0b03, 2); /* LCR and MCR */
	ck_assert_uint_eq(in8(UART_LCR), 0x03);
	ck_assert_uint_eq(in8(UART_MCR), 0x0b);
	ck_assert_uint_eq(in_len(UART_LCR, 2), 0x0b03);
	ck_assert_uint_eq(in_len(UART_MCR, 4), (uint32_t)LINES << 16 | EMPTY << 8 | 0x0b);
	out_len(UART_TX, 0x03000161, 4); /* THR, IER, FCR, LCR */
	assert_out("a");
	ck_assert_uint_eq(in8(UART_IER), 0x01);
	ck_assert_uint_eq(in_len(8, 1), 0xff);
	free_chip();
}
END_TEST

START_TEST(test_fifo_enable)
{
	new_serial();
	out8(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_R_TRIG_11);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_NO_INT);
	out8(UART_LCR, 0x03);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_NO_INT);
	out8(UART_FCR, 0);
	ck_assert_uint_eq(in8(UART_IIR), UART_IIR_NO_INT);
	out8(UART_FCR, 0xfe); /* nothing counts without the enable bit */
	ck_assert_uint_eq(in8(UART_IIR), UART_IIR_NO_INT);
	out8(UART_IER, UART_IER_RDI);
	type("a");
	ck_assert_uint_eq(in8(UART_IIR), UART_IIR_RDI); /* no trigger level either */
	free_chip();
}
END_TEST

/* Transmitter */

START_TEST(test_output)
{
	new_serial();
	for (const char *p = "hello\n"; *p; p++) {
		ck_assert_uint_eq(in8(UART_LSR), EMPTY);
		out8(UART_TX, (uint8_t)*p);
	}
	assert_out("hello\n");
	ck_assert_uint_eq(con.puts, 6);
	ck_assert_uint_eq(machine.irq_sets, 0);
	free_chip();
}
END_TEST

START_TEST(test_leads_nowhere)
{
	new_chip(&serial_type, NULL, 0);
	out8(UART_TX, 'a');
	ck_assert_uint_eq(in8(UART_LSR), EMPTY);
	free_chip();
}
END_TEST

START_TEST(test_detach)
{
	new_serial();
	ck_assert_ptr_eq(con.device.dev, machine.dev);
	free_chip();
	ck_assert_ptr_null(con.device.dev);
}
END_TEST

START_TEST(test_full_without_fifo)
{
	new_serial();
	con.room = 0;
	out8(UART_TX, 'a');
	ck_assert_uint_eq(in8(UART_LSR), 0);
	out8(UART_TX, 'b'); /* does not obey LSR: lost */
	room(0);
	ck_assert_uint_eq(in8(UART_LSR), 0);
	room(10);
	assert_out("a");
	ck_assert_uint_eq(in8(UART_LSR), EMPTY);
	out8(UART_TX, 'c');
	assert_out("ac");
	free_chip();
}
END_TEST

START_TEST(test_full_with_fifo)
{
	new_driven(0);
	con.room = 0;
	for (unsigned i = 0; i < 17; i++)
		out8(UART_TX, 'a' + i);
	ck_assert_uint_eq(con.puts, 1); /* the others queue up behind the first */
	ck_assert_uint_eq(in8(UART_LSR), 0);
	room(5);
	assert_out("abcde");
	ck_assert_uint_eq(in8(UART_LSR), 0);
	out8(UART_TX, 'z');
	room(50);
	assert_out("abcdefghijklmnopz");
	ck_assert_uint_eq(in8(UART_LSR), EMPTY);
	con.puts = 0;
	room(50); /* nothing to send */
	ck_assert_uint_eq(con.puts, 0);
	free_chip();
}
END_TEST

START_TEST(test_tx_reset)
{
	new_driven(0);
	con.room = 0;
	out8(UART_TX, 'a');
	out8(UART_FCR, RESET_RX);
	ck_assert_uint_eq(in8(UART_LSR), 0);
	out8(UART_FCR, RESET_TX);
	ck_assert_uint_eq(in8(UART_LSR), EMPTY);
	out8(UART_TX, 'b');
	out8(UART_FCR, 0); /* so does switching the FIFO */
	ck_assert_uint_eq(in8(UART_LSR), EMPTY);
	room(5);
	assert_out("");
	free_chip();
}
END_TEST

/* Receiver */

START_TEST(test_input)
{
	new_driven(UART_IER_RDI);
	ck_assert_uint_eq(type("hello"), 5);
	assert_rx("hello");
	ck_assert_uint_eq(in8(UART_RX), 0); /* empty */
	ck_assert_uint_eq(con.wanted, 0);
	ck_assert_uint_eq(type("0123456789abcdefXYZ"), 16);
	ck_assert_uint_eq(type("XYZ"), 0);
	for (unsigned i = 0; i < 15; i++)
		in8(UART_RX);
	ck_assert_uint_eq(con.wanted, 0); /* asked for once, for all 16 */
	ck_assert_uint_eq(in8(UART_RX), 'f');
	ck_assert_uint_eq(con.wanted, 1);
	in8(UART_RX);
	ck_assert_uint_eq(con.wanted, 1);
	ck_assert_uint_eq(type("XYZ"), 3);
	assert_rx("XYZ");
	ck_assert_uint_eq(in8(UART_LSR), EMPTY);
	free_chip();
}
END_TEST

START_TEST(test_input_without_fifo)
{
	new_serial();
	out8(UART_IER, UART_IER_RDI);
	ck_assert_uint_eq(type("ab"), 1);
	ck_assert_uint_eq(in8(UART_LSR), EMPTY | UART_LSR_DR);
	ck_assert_uint_eq(in8(UART_RX), 'a');
	ck_assert_uint_eq(con.wanted, 1);
	free_chip();
}
END_TEST

START_TEST(test_input_waits_for_driver)
{
	new_serial();
	ck_assert_uint_eq(type("a"), 0);
	out8(UART_FCR, RESET_RX | RESET_TX);
	out8(UART_TX, '>');
	ck_assert_uint_eq(con.wanted, 0);
	out8(UART_IER, UART_IER_RDI);
	ck_assert_uint_eq(con.wanted, 1);
	ck_assert_uint_eq(type("a"), 1);
	out8(UART_IER, 0);
	ck_assert_uint_eq(type("b"), 0);
	assert_rx("a");
	ck_assert_uint_eq(con.wanted, 1);
	free_chip();
}
END_TEST

START_TEST(test_input_by_polling)
{
	new_serial();
	ck_assert_uint_eq(type("a"), 0);
	for (unsigned i = 0; i < 31; i++)
		in8(UART_LSR);
	out8(UART_TX, '>'); /* it was only sending */
	for (unsigned i = 0; i < 31; i++)
		in8(UART_LSR);
	ck_assert_uint_eq(con.wanted, 0);
	in8(UART_LSR);
	ck_assert_uint_eq(con.wanted, 1);
	for (unsigned i = 0; i < 100; i++)
		in8(UART_LSR);
	ck_assert_uint_eq(type("a"), 1);
	assert_rx("a");
	/* Waiting for room to send is not listening. */
	con.room = 0;
	out8(UART_TX, '>');
	ck_assert_uint_eq(type("b"), 0);
	for (unsigned i = 0; i < 100; i++)
		ck_assert_uint_eq(in8(UART_LSR), 0);
	ck_assert_uint_eq(con.wanted, 1);
	free_chip();
}
END_TEST

START_TEST(test_rx_reset)
{
	new_driven(UART_IER_RDI);
	ck_assert_uint_eq(type("0123456789abcdefXYZ"), 16);
	out8(UART_FCR, RESET_TX);
	ck_assert_uint_eq(in8(UART_LSR), EMPTY | UART_LSR_DR);
	out8(UART_FCR, RESET_RX);
	ck_assert_uint_eq(in8(UART_LSR), EMPTY);
	ck_assert(!machine.irq);
	ck_assert_uint_eq(con.wanted, 1);
	type("a");
	out8(UART_FCR, 0);
	ck_assert_uint_eq(in8(UART_LSR), EMPTY);
	free_chip();
}
END_TEST

START_TEST(test_break)
{
	new_driven(UART_IER_RDI);
	ck_assert_uint_eq(type("ab"), 2);
	con.device.send_break(con.device.dev);
	ck_assert_uint_eq(type("h"), 1);
	/* The break belongs to its place among the characters. */
	ck_assert_uint_eq(in8(UART_LSR), EMPTY | UART_LSR_DR | UART_LSR_FIFOE);
	ck_assert_uint_eq(in8(UART_RX), 'a');
	ck_assert_uint_eq(in8(UART_RX), 'b');
	ck_assert_uint_eq(in8(UART_LSR), EMPTY | UART_LSR_DR | UART_LSR_BI | UART_LSR_FIFOE);
	ck_assert_uint_eq(in8(UART_LSR), EMPTY | UART_LSR_DR);
	ck_assert_uint_eq(in8(UART_RX), 0);
	assert_rx("h");
	free_chip();
}
END_TEST

START_TEST(test_break_without_fifo)
{
	new_serial();
	con.device.send_break(con.device.dev);
	ck_assert_uint_eq(in8(UART_LSR), EMPTY | UART_LSR_DR | UART_LSR_BI);
	con.device.send_break(con.device.dev); /* over the first, which nobody has read */
	ck_assert_uint_eq(in8(UART_LSR), EMPTY | UART_LSR_DR | UART_LSR_BI | UART_LSR_OE);
	ck_assert_uint_eq(in8(UART_RX), 0);
	ck_assert_uint_eq(in8(UART_LSR), EMPTY);
	free_chip();
}
END_TEST

START_TEST(test_break_overrun)
{
	new_driven(UART_IER_RDI);
	ck_assert_uint_eq(type("0123456789abcdef"), 16);
	con.device.send_break(con.device.dev);
	ck_assert_uint_eq(in8(UART_LSR), EMPTY | UART_LSR_DR | UART_LSR_OE);
	assert_rx("0123456789abcdef");
	/* A FIFO reset forgets a break that nobody has seen. */
	type("a");
	con.device.send_break(con.device.dev);
	out8(UART_FCR, RESET_RX);
	ck_assert_uint_eq(in8(UART_LSR), EMPTY);
	free_chip();
}
END_TEST

/* Interrupts */

START_TEST(test_rx_irq)
{
	new_driven(UART_IER_RDI);
	ck_assert_uint_eq(type("ab"), 2);
	ck_assert(machine.irq);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_RDI);
	in8(UART_RX);
	ck_assert(machine.irq);
	in8(UART_RX);
	ck_assert(!machine.irq);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_NO_INT);
	ck_assert_uint_eq(machine.irq_sets, 2);
	free_chip();
}
END_TEST

START_TEST(test_trigger_levels)
{
	static const struct {
		uint8_t fcr;
		unsigned level;
	} cases[] = {
		{ UART_FCR_TRIGGER_1, 1 },
		{ UART_FCR_TRIGGER_4, 4 },
		{ UART_FCR_TRIGGER_8, 8 },
		{ UART_FCR_TRIGGER_14, 14 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		new_driven(UART_IER_RDI);
		out8(UART_FCR, UART_FCR_ENABLE_FIFO | cases[i].fcr);
		for (unsigned n = 1; n <= 16; n++) {
			unsigned want = n < cases[i].level ? UART_IIR_RX_TIMEOUT : UART_IIR_RDI;

			ck_assert_uint_eq(type("x"), 1);
			ck_assert_uint_eq(in8(UART_IIR), 0xc0 | want);
			ck_assert(machine.irq);
		}
		free_chip();
	}
}
END_TEST

START_TEST(test_thre_irq)
{
	new_driven(UART_IER_THRI); /* the THR is empty: at once */
	ck_assert(machine.irq);
	ck_assert_uint_eq(machine.irq_sets, 1);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_THRI);
	ck_assert(!machine.irq); /* reading IIR has cleared it */
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_NO_INT);
	out8(UART_IER, UART_IER_THRI); /* was enabled before */
	ck_assert(!machine.irq);
	out8(UART_IER, 0);
	out8(UART_IER, UART_IER_THRI);
	ck_assert(machine.irq);
	out8(UART_IER, 0);
	ck_assert(!machine.irq);
	free_chip();
}
END_TEST

/* A driver with FIFO: IIR, 16 bytes, and again. One change of the line up and one down a burst. */
START_TEST(test_thre_irq_burst)
{
	new_driven(UART_IER_THRI);
	for (unsigned round = 1; round <= 5; round++) {
		ck_assert(machine.irq);
		ck_assert_uint_eq(machine.irq_sets, 2 * round - 1);
		ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_THRI);
		for (unsigned i = 0; i < 16; i++)
			out8(UART_TX, 'a');
	}
	free_chip();
}
END_TEST

/* Without FIFO and without a look at IIR each byte makes an edge. */
START_TEST(test_thre_irq_edges)
{
	new_serial();
	out8(UART_MCR, UART_MCR_OUT2);
	out8(UART_IER, UART_IER_THRI);
	for (unsigned i = 1; i <= 5; i++) {
		ck_assert(machine.irq);
		ck_assert_uint_eq(machine.irq_sets, 2 * i - 1);
		out8(UART_TX, 'a');
	}
	free_chip();
}
END_TEST

START_TEST(test_thre_irq_blocked)
{
	new_driven(UART_IER_THRI);
	con.room = 0;
	out8(UART_TX, 'a');
	ck_assert(!machine.irq);
	out8(UART_IER, 0);
	out8(UART_IER, UART_IER_THRI); /* not empty: no interrupt */
	ck_assert(!machine.irq);
	room(0);
	ck_assert(!machine.irq);
	room(1);
	ck_assert(machine.irq);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_THRI);
	con.room = 0;
	out8(UART_TX, 'b');
	ck_assert(!machine.irq);
	out8(UART_FCR, RESET_TX);
	ck_assert(machine.irq);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_THRI);
	out8(UART_FCR, RESET_TX); /* empty before, no event */
	ck_assert(!machine.irq);
	free_chip();
}
END_TEST

START_TEST(test_line_status_irq)
{
	new_driven(UART_IER_RLSI);
	con.device.send_break(con.device.dev);
	ck_assert(machine.irq);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_RLSI);
	ck_assert(machine.irq);
	in8(UART_LSR);
	ck_assert(!machine.irq);
	in8(UART_RX);
	/* a break that a read uncovers */
	out8(UART_IER, UART_IER_RLSI | UART_IER_RDI);
	type("a");
	con.device.send_break(con.device.dev);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_RDI);
	in8(UART_RX);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_RLSI);
	free_chip();
}
END_TEST

START_TEST(test_modem_status_irq)
{
	new_driven(UART_IER_MSI);
	out8(UART_MCR, UART_MCR_OUT2 | UART_MCR_LOOP);
	ck_assert(machine.irq);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_MSI);
	ck_assert(machine.irq);
	in8(UART_MSR);
	ck_assert(!machine.irq);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_NO_INT);
	free_chip();
}
END_TEST

START_TEST(test_priority)
{
	new_driven(UART_IER_RDI);
	out8(UART_MCR, UART_MCR_OUT2 | UART_MCR_LOOP); /* modem status */
	out8(UART_TX, 'a');                            /* THR empty, data */
	out8(UART_LCR, UART_LCR_SBC);                  /* break behind it */
	out8(UART_IER, 0x0f);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_RDI);
	ck_assert_uint_eq(in8(UART_RX), 'a');
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_RLSI);
	in8(UART_LSR);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_RDI);
	in8(UART_RX);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_THRI);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_MSI);
	in8(UART_MSR);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_NO_INT);
	ck_assert_uint_eq(machine.irq_sets, 2); /* up at the first, down after the last */
	ck_assert(!machine.irq);
	free_chip();
}
END_TEST

/* Each enable bit lets through its own source only. */
START_TEST(test_masks)
{
	new_driven(UART_IER_RDI);
	out8(UART_MCR, UART_MCR_OUT2 | UART_MCR_LOOP);
	out8(UART_LCR, UART_LCR_SBC);
	out8(UART_IER, UART_IER_RLSI);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_RLSI);
	out8(UART_IER, UART_IER_RDI);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_RDI);
	out8(UART_IER, UART_IER_MSI);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_MSI);
	out8(UART_IER, UART_IER_THRI);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_THRI);
	out8(UART_IER, 0);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_NO_INT);
	ck_assert(!machine.irq);
	free_chip();
}
END_TEST

START_TEST(test_out2)
{
	new_driven(UART_IER_THRI);
	ck_assert(machine.irq);
	out8(UART_MCR, UART_MCR_DTR | UART_MCR_RTS);
	ck_assert(!machine.irq);
	ck_assert_uint_eq(in8(UART_IIR), 0xc0 | UART_IIR_THRI); /* the chip itself still says so */
	out8(UART_TX, 'a');
	ck_assert(!machine.irq);
	out8(UART_MCR, UART_MCR_OUT2);
	ck_assert(machine.irq);
	free_chip();
}
END_TEST

/* Modem lines and loop-back */

START_TEST(test_loop_lines)
{
	static const struct {
		uint8_t mcr, msr;
	} cases[] = {
		{ UART_MCR_DTR, UART_MSR_DSR },
		{ UART_MCR_RTS, UART_MSR_CTS },
		{ UART_MCR_OUT1, UART_MSR_RI },
		{ UART_MCR_OUT2, UART_MSR_DCD },
		{ UART_MCR_OUT2 | UART_MCR_RTS, UART_MSR_DCD | UART_MSR_CTS },
	};

	new_serial();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		out8(UART_MCR, UART_MCR_LOOP | cases[i].mcr);
		ck_assert_uint_eq(in8(UART_MSR) & 0xf0, cases[i].msr);
	}
	out8(UART_MCR, cases[0].mcr);
	ck_assert_uint_eq(in8(UART_MSR) & 0xf0, LINES);
	free_chip();
}
END_TEST

START_TEST(test_deltas)
{
	new_serial();
	out8(UART_MCR, UART_MCR_LOOP);
	ck_assert_uint_eq(in8(UART_MSR), UART_MSR_DCTS | UART_MSR_DDSR | UART_MSR_DDCD);
	ck_assert_uint_eq(in8(UART_MSR), 0);
	out8(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1);
	ck_assert_uint_eq(in8(UART_MSR), UART_MSR_RI); /* only the end of a ring counts */
	out8(UART_MCR, UART_MCR_LOOP);
	ck_assert_uint_eq(in8(UART_MSR), UART_MSR_TERI);
	out8(UART_MCR, UART_MCR_LOOP | UART_MCR_DTR);
	out8(UART_MCR, UART_MCR_LOOP | UART_MCR_DTR | UART_MCR_RTS); /* they add up */
	ck_assert_uint_eq(in8(UART_MSR),
			  UART_MSR_DSR | UART_MSR_CTS | UART_MSR_DDSR | UART_MSR_DCTS);
	free_chip();
}
END_TEST

START_TEST(test_loop_data)
{
	new_driven(UART_IER_RDI);
	out8(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2);
	out8(UART_TX, 'a');
	out8(UART_TX, 0xff);
	ck_assert(machine.irq);
	ck_assert_uint_eq(type("x"), 0); /* the outside is cut off, both ways */
	con.device.send_break(con.device.dev);
	assert_rx("a\xff");
	assert_out("");
	ck_assert_uint_eq(con.wanted, 0);
	out8(UART_MCR, UART_MCR_OUT2);
	ck_assert_uint_eq(con.wanted, 1);
	ck_assert_uint_eq(type("x"), 1);
	free_chip();
}
END_TEST

START_TEST(test_loop_overrun)
{
	new_driven(0);
	out8(UART_MCR, UART_MCR_LOOP);
	for (unsigned i = 0; i < 16; i++)
		out8(UART_TX, 'a' + i);
	ck_assert_uint_eq(in8(UART_LSR), EMPTY | UART_LSR_DR);
	out8(UART_TX, 'z');
	ck_assert_uint_eq(in8(UART_LSR), EMPTY | UART_LSR_DR | UART_LSR_OE);
	assert_rx("abcdefghijklmnop");
	out8(UART_FCR, 0);
	out8(UART_TX, 'a');
	out8(UART_TX, 'b'); /* without FIFO the last one stays */
	ck_assert_uint_eq(in8(UART_LSR), EMPTY | UART_LSR_DR | UART_LSR_OE);
	assert_rx("b");
	free_chip();
}
END_TEST

START_TEST(test_loop_break)
{
	new_serial();
	out8(UART_LCR, UART_LCR_SBC); /* to nobody */
	ck_assert_uint_eq(in8(UART_LSR), EMPTY);
	out8(UART_LCR, 0);
	out8(UART_MCR, UART_MCR_LOOP);
	out8(UART_LCR, UART_LCR_SBC);
	ck_assert_uint_eq(in8(UART_LSR), EMPTY | UART_LSR_DR | UART_LSR_BI);
	out8(UART_LCR, UART_LCR_SBC | 3); /* still the same break */
	ck_assert_uint_eq(in8(UART_LSR), EMPTY | UART_LSR_DR);
	free_chip();
}
END_TEST

/* What Linux's 8250 driver does to tell a 16550A from its relatives. */
START_TEST(test_linux_probe)
{
	new_serial();
	out8(UART_IER, 0x0f);
	ck_assert_uint_eq(in8(UART_IER), 0x0f);
	out8(UART_IER, 0);
	out8(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	ck_assert_uint_eq(in8(UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_CTS);
	out8(UART_MCR, 0);
	out8(UART_LCR, 0xbf);
	ck_assert_uint_eq(in8(UART_LCR), 0xbf);
	out8(UART_LCR, 0);
	out8(UART_FCR, UART_FCR_ENABLE_FIFO);
	ck_assert_uint_eq(in8(UART_IIR) >> 6, 3);
	out8(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
	ck_assert_uint_eq(in8(UART_IIR) >> 5, 6);
	/* THRE: the second enabling must raise it as the first did */
	for (unsigned i = 0; i < 2; i++) {
		out8(UART_IER, UART_IER_THRI);
		ck_assert_uint_eq(in8(UART_LSR), EMPTY);
		ck_assert_uint_eq(in8(UART_IIR) & UART_IIR_NO_INT, 0);
		out8(UART_IER, 0);
	}
	ck_assert_uint_eq(machine.irq_sets, 0); /* OUT2 is off */
	free_chip();
}
END_TEST

START_TEST(test_state)
{
	new_driven(UART_IER_RDI | UART_IER_THRI);
	out8(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_8);
	out8(UART_LCR, UART_LCR_DLAB);
	out8(UART_DLM, 0x12);
	out8(UART_LCR, 3);
	type("abc");
	con.device.send_break(con.device.dev);
	con.device.send_break(con.device.dev);
	in8(UART_RX);
	out8(UART_SCR, 0x42);
	con.room = 0;
	test_chip_state(8, 0);
	out8(UART_TX, 'x');
	out8(UART_TX, 'y');
	restore_chip(&con, 0);

	ck_assert(machine.irq);
	ck_assert_uint_eq(machine.irq_sets, 1);
	ck_assert_uint_eq(in8(UART_IIR), UART_IIR_RX_TIMEOUT | 0xc0);
	ck_assert_uint_eq(in8(UART_LSR), UART_LSR_DR | 0x80); /* a break is in the FIFO; tx is full */
	ck_assert_uint_eq(in8(UART_RX), 'b');
	ck_assert_uint_eq(in8(UART_RX), 'c');
	ck_assert_uint_eq(in8(UART_LSR), UART_LSR_DR | UART_LSR_BI | 0x80);
	ck_assert_uint_eq(in8(UART_RX), 0);
	ck_assert_uint_eq(in8(UART_LSR), UART_LSR_DR | UART_LSR_BI | 0x80);
	ck_assert_uint_eq(in8(UART_RX), 0);
	ck_assert_uint_eq(in8(UART_LSR), 0);
	ck_assert(!machine.irq);
	room(10);
	ck_assert(machine.irq); /* the THR is empty */
	assert_out("xy");
	ck_assert_uint_eq(in8(UART_SCR), 0x42);
	out8(UART_LCR, UART_LCR_DLAB);
	ck_assert_uint_eq(in8(UART_DLM), 0x12);
	free_chip();
}
END_TEST

/* The console at the other end is another one: with room, or none at all. */
START_TEST(test_state_output_waits)
{
	struct state_buf saved = { 0 };
	struct state_reader in;

	new_driven(UART_IER_THRI);
	con.room = 0;
	out8(UART_TX, 'x');
	out8(UART_TX, 'y');
	in8(UART_IIR);
	ck_assert(!machine.irq);
	state_saved(serial_type.state, machine.dev, &saved);
	con.room = 1;
	in = state_reader_of(&saved);
	ck_assert_int_eq(state_load(&in, serial_type.state, machine.dev), 0);
	assert_out("x");
	ck_assert_uint_eq(in8(UART_LSR), 0);
	room(1);
	assert_out("xy");
	free_chip();

	new_chip(&serial_type, NULL, 0);
	in = state_reader_of(&saved);
	ck_assert_int_eq(state_load(&in, serial_type.state, machine.dev), 0);
	ck_assert(machine.irq);
	ck_assert_uint_eq(in8(UART_LSR), EMPTY);
	state_buf_free(&saved);
	free_chip();
}
END_TEST

/* Input that came before the state that wants it. */
START_TEST(test_state_input_waits)
{
	struct state_buf saved = { 0 };
	struct state_reader in;

	new_driven(UART_IER_RDI);
	state_saved(serial_type.state, machine.dev, &saved);
	free_chip();
	new_serial();
	ck_assert_uint_eq(type("abc"), 0);
	in = state_reader_of(&saved);
	ck_assert_int_eq(state_load(&in, serial_type.state, machine.dev), 0);
	ck_assert_uint_eq(con.wanted, 1);
	ck_assert_uint_eq(type("abc"), 3);
	state_buf_free(&saved);
	free_chip();
}
END_TEST

/* What no serial port is ever in, though each value could be. */
START_TEST(test_state_refused)
{
	const struct state_type *state = serial_type.state;
	static const struct {
		const char *field;
		uint64_t value;
	} bad[] = { { "rx_breaks", 1 }, { "rx_n", 2 }, { "tx_n", 2 }, { "fcr", 0x40 } };

	new_serial();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const struct state_field *f = state->fields;
		struct state_buf saved = { 0 };
		struct state_reader in;
		void *st = calloc(1, state->size);

		while (strcmp(f->name, bad[i].field))
			f++;
		state_saved(state, machine.dev, &saved);
		in = state_reader_of(&saved);
		ck_assert_int_eq(state_unpack(&in, state, st), 0);
		state_set(st, f, 0, bad[i].value);
		ck_assert_int_eq(state_try(state, machine.dev, st, &in), -ERANGE);
		ck_assert_ptr_nonnull(strstr(in.why, bad[i].field));
		state_buf_free(&saved);
		free(st);
	}
	free_chip();
}
END_TEST

UNIT_MAIN("serial", test_first_values, test_read_back, test_divisor, test_read_only, test_widths,
	  test_fifo_enable, test_output, test_leads_nowhere, test_detach, test_full_without_fifo,
	  test_full_with_fifo, test_tx_reset, test_input, test_input_without_fifo,
	  test_input_waits_for_driver, test_input_by_polling, test_rx_reset, test_break,
	  test_break_without_fifo, test_break_overrun, test_rx_irq, test_trigger_levels,
	  test_thre_irq, test_thre_irq_burst, test_thre_irq_edges, test_thre_irq_blocked,
	  test_line_status_irq, test_modem_status_irq, test_priority, test_masks, test_out2,
	  test_loop_lines, test_deltas, test_loop_data, test_loop_overrun, test_loop_break,
	  test_linux_probe, test_state, test_state_output_waits, test_state_input_waits,
	  test_state_refused)
