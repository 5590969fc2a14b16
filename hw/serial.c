/*
 * 16550A serial port. It leads to a console, or nowhere: what it is given is then sent at once and
 * lost.
 *
 *	guest -> THR -> console_put()             as long as the console takes it: nothing is kept
 *	             `-> tx FIFO -> writable()    when it does not: LSR shows THRE and TEMT clear
 *	console -> serial_input() -> rx FIFO -> RBR
 *
 * A line is infinitely fast here, which shows in two places. The THR is empty again when the write
 * to it returns. And input would fill the FIFO while the guest still boots, to be thrown away when
 * its driver resets the FIFO: so input stays with the console until the guest listens(), by
 * interrupt or by polling.
 *
 * More than 500 lines: one chip with its state.
 * Spec: National Semiconductor PC16550D data sheet
 */
#include <linux/serial_reg.h>
#include <pthread.h>
#include <string.h>

#include "lkvm/chips.h"
#include "lkvm/console.h"
#include "lkvm/state.h"

#define FIFO_BYTES 16

#define IER_BITS     0x0fU
#define MCR_BITS     0x1fU
#define IIR_FIFO     0xc0U /* FIFOs are on */
#define FCR_STICKY   (UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_MASK)
#define MODEM_LINES  0xf0U
#define MODEM_READY  (UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD)
#define RX_BREAK     0x100U /* a character of the rx FIFO that came as a break */
#define DIVISOR_9600 12

/*
 * So many looks at LSR without anything sent in between mean that a guest waits for input. A guest
 * that only sends looks once or twice a byte; Linux's driver does it about ten times as it starts.
 */
#define LISTEN_POLLS 32

struct serial_state {
	uint32_t ier, lcr, mcr, scr, dll, dlm;
	uint32_t fcr; /* FCR_STICKY bits */
	uint32_t lsr; /* errors and break, until LSR is read; the rest follows from the FIFOs */
	uint32_t msr; /* lines and what has changed since MSR was read */
	uint32_t thre_event; /* the THR became empty, until IIR told so or it was filled */
	uint32_t polls;      /* of LSR in a row that found the THR empty, up to LISTEN_POLLS */

	uint32_t rx_head, rx_n;
	uint32_t rx_breaks; /* RX_BREAK characters that are not yet at the head */
	uint16_t rx[FIFO_BYTES];
	uint32_t tx_n;
	uint8_t tx[FIFO_BYTES];
};

struct serial {
	pthread_mutex_t lock;
	struct irq_line irq;
	struct console *console; /* NULL: leads nowhere */
	struct serial_state st;
	bool irq_level;
	bool input_waits; /* the console has input that was not taken */
};

static unsigned fifo_size(const struct serial *s)
{
	return s->st.fcr & UART_FCR_ENABLE_FIFO ? FIFO_BYTES : 1;
}

static unsigned rx_trigger(const struct serial *s)
{
	static const uint8_t level[] = { 1, 4, 8, 14 };

	return level[s->st.fcr >> 6]; /* 1 without FIFO: all of fcr is 0 then */
}

/* The pending interrupt of the highest priority, as IIR tells it. */
static unsigned irq_source(const struct serial *s)
{
	if ((s->st.ier & UART_IER_RLSI) && (s->st.lsr & UART_LSR_BRK_ERROR_BITS))
		return UART_IIR_RLSI;
	/* Time does not pass on this line: data below the trigger level has always timed out. */
	if ((s->st.ier & UART_IER_RDI) && s->st.rx_n)
		return s->st.rx_n < rx_trigger(s) ? UART_IIR_RX_TIMEOUT : UART_IIR_RDI;
	if ((s->st.ier & UART_IER_THRI) && s->st.thre_event)
		return UART_IIR_THRI;
	if ((s->st.ier & UART_IER_MSI) && (s->st.msr & UART_MSR_ANY_DELTA))
		return UART_IIR_MSI;
	return UART_IIR_NO_INT;
}

/* A PC leads the interrupt through a gate that OUT2 opens. */
static void update_irq(struct serial *s)
{
	bool level = (s->st.mcr & UART_MCR_OUT2) && irq_source(s) != UART_IIR_NO_INT;

	if (level == s->irq_level)
		return;
	s->irq_level = level;
	irq_set(&s->irq, level);
}

/* Receiver */

static bool listens(const struct serial *s)
{
	if (s->st.mcr & UART_MCR_LOOP)
		return false;
	return (s->st.ier & UART_IER_RDI) || s->st.polls == LISTEN_POLLS;
}

/* A break shows in LSR when its character gets to the head of the FIFO. */
static void rx_show_head(struct serial *s)
{
	if (!s->st.rx_n || !(s->st.rx[s->st.rx_head] & RX_BREAK))
		return;
	s->st.rx_breaks--;
	s->st.lsr |= UART_LSR_BI;
}

static void rx_clear(struct serial *s)
{
	s->st.rx_n = 0;
	s->st.rx_breaks = 0;
}

static void rx_push(struct serial *s, unsigned ch)
{
	if (s->st.rx_n == fifo_size(s)) {
		s->st.lsr |= UART_LSR_OE;
		if (s->st.fcr & UART_FCR_ENABLE_FIFO)
			return; /* the new character is lost, */
		rx_clear(s);    /* without FIFO it replaces the old one */
	}
	s->st.rx[(s->st.rx_head + s->st.rx_n) % FIFO_BYTES] = (uint16_t)ch;
	s->st.rx_n++;
	s->st.rx_breaks += ch == RX_BREAK;
	if (s->st.rx_n == 1)
		rx_show_head(s);
}

static unsigned rx_pop(struct serial *s)
{
	unsigned ch;

	if (!s->st.rx_n)
		return 0;
	ch = s->st.rx[s->st.rx_head];
	s->st.rx_head = (s->st.rx_head + 1) % FIFO_BYTES;
	s->st.rx_n--;
	rx_show_head(s);
	return ch & 0xff; /* of a break 0 */
}

/*
 * Should the console be asked for the input that was refused? Only with an empty FIFO, so that it
 * is asked once for 16 bytes rather than 16 times.
 */
static bool take_input_wanted(struct serial *s)
{
	if (!s->input_waits || s->st.rx_n || !listens(s))
		return false;
	s->input_waits = false;
	return true;
}

/* Transmitter */

static void tx_emptied(struct serial *s)
{
	s->st.thre_event = true;
}

static void tx_byte(struct serial *s, uint8_t byte)
{
	s->st.polls = 0;
	if (s->st.mcr & UART_MCR_LOOP) {
		rx_push(s, byte);
	} else if (s->console && (s->st.tx_n || !console_put(s->console, &byte, 1))) {
		s->st.thre_event = false;
		if (s->st.tx_n < fifo_size(s)) /* a guest that ignores LSR loses what it sends */
			s->st.tx[s->st.tx_n++] = byte;
		return;
	}
	/*
	 * Filled and emptied. Interrupts are edge triggered, and a driver without FIFO waits for
	 * one a byte, so the line has to go down for it. With FIFO this write is one of a burst,
	 * and the line stays up until IIR is read.
	 */
	if (s->st.thre_event && fifo_size(s) == 1) {
		s->st.thre_event = false;
		update_irq(s);
	}
	tx_emptied(s);
}

/* Control and status registers */

static unsigned read_iir(struct serial *s)
{
	unsigned source = irq_source(s);

	if (source == UART_IIR_THRI)
		s->st.thre_event = false;
	return source | (s->st.fcr & UART_FCR_ENABLE_FIFO ? IIR_FIFO : 0);
}

static unsigned read_lsr(struct serial *s)
{
	unsigned value = s->st.lsr;

	if (s->st.rx_n)
		value |= UART_LSR_DR;
	if (!s->st.tx_n) {
		value |= UART_LSR_THRE | UART_LSR_TEMT;
		s->st.polls += s->st.polls < LISTEN_POLLS;
	}
	if ((s->st.fcr & UART_FCR_ENABLE_FIFO) && (s->st.rx_breaks || (s->st.lsr & UART_LSR_BI)))
		value |= UART_LSR_FIFOE;
	s->st.lsr = 0;
	return value;
}

static unsigned read_msr(struct serial *s)
{
	unsigned value = s->st.msr;

	s->st.msr &= ~(unsigned)UART_MSR_ANY_DELTA;
	return value;
}

static void write_ier(struct serial *s, unsigned value)
{
	unsigned enabled = value & ~s->st.ier;

	s->st.ier = value & IER_BITS;
	if ((enabled & UART_IER_THRI) && !s->st.tx_n)
		s->st.thre_event = true;
}

static void write_fcr(struct serial *s, unsigned value)
{
	bool switched = (value ^ s->st.fcr) & UART_FCR_ENABLE_FIFO;

	if (switched || (value & UART_FCR_CLEAR_RCVR))
		rx_clear(s);
	if ((switched || (value & UART_FCR_CLEAR_XMIT)) && s->st.tx_n) {
		s->st.tx_n = 0;
		tx_emptied(s);
	}
	/* The other bits count only together with the enable bit. */
	s->st.fcr = value & UART_FCR_ENABLE_FIFO ? value & FCR_STICKY : 0;
}

static void write_lcr(struct serial *s, unsigned value)
{
	if ((value & ~s->st.lcr & UART_LCR_SBC) && (s->st.mcr & UART_MCR_LOOP))
		rx_push(s, RX_BREAK);
	s->st.lcr = value;
}

/* What the modem lines are: those of a peer that is always ready, or our own in loop-back. */
static unsigned modem_lines(const struct serial *s)
{
	if (!(s->st.mcr & UART_MCR_LOOP))
		return MODEM_READY;
	return (s->st.mcr & UART_MCR_DTR ? UART_MSR_DSR : 0) |
	       (s->st.mcr & UART_MCR_RTS ? UART_MSR_CTS : 0) |
	       (s->st.mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0) |
	       (s->st.mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0);
}

static void write_mcr(struct serial *s, unsigned value)
{
	unsigned old = s->st.msr & MODEM_LINES;
	unsigned lines, delta;

	s->st.mcr = value & MCR_BITS;
	lines = modem_lines(s);
	/* Each delta bit is four below its line; that of RI counts its end only. */
	delta = (lines ^ old) >> 4;
	if (lines & UART_MSR_RI)
		delta &= ~(unsigned)UART_MSR_TERI;
	s->st.msr = lines | delta | (s->st.msr & UART_MSR_ANY_DELTA);
}

static unsigned read_register(struct serial *s, unsigned reg)
{
	bool dlab = s->st.lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_RX:
		return dlab ? s->st.dll : rx_pop(s);
	case UART_IER:
		return dlab ? s->st.dlm : s->st.ier;
	case UART_IIR:
		return read_iir(s);
	case UART_LCR:
		return s->st.lcr;
	case UART_MCR:
		return s->st.mcr;
	case UART_LSR:
		return read_lsr(s);
	case UART_MSR:
		return read_msr(s);
	case UART_SCR:
		return s->st.scr;
	default:
		return 0xff;
	}
}

static void write_register(struct serial *s, unsigned reg, uint8_t value)
{
	bool dlab = s->st.lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_TX:
		if (dlab)
			s->st.dll = value;
		else
			tx_byte(s, value);
		break;
	case UART_IER:
		if (dlab)
			s->st.dlm = value;
		else
			write_ier(s, value);
		break;
	case UART_FCR:
		write_fcr(s, value);
		break;
	case UART_LCR:
		write_lcr(s, value);
		break;
	case UART_MCR:
		write_mcr(s, value);
		break;
	case UART_SCR:
		s->st.scr = value;
		break;
	}
}

/* A wider access is one to each register in turn, as on the ISA bus. */

static uint64_t serial_read(void *dev, uint64_t off, unsigned len)
{
	struct serial *s = dev;
	uint64_t value = 0;
	bool wanted;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < len; i++)
		value |= (uint64_t)(uint8_t)read_register(s, (unsigned)off + i) << 8 * i;
	update_irq(s);
	wanted = take_input_wanted(s);
	pthread_mutex_unlock(&s->lock);
	if (wanted)
		console_input_wanted(s->console);
	return value;
}

static void serial_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	struct serial *s = dev;
	bool wanted;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < len; i++)
		write_register(s, (unsigned)off + i, (uint8_t)(value >> 8 * i));
	update_irq(s);
	wanted = take_input_wanted(s);
	pthread_mutex_unlock(&s->lock);
	if (wanted)
		console_input_wanted(s->console);
}

/* The console's end; main thread */

static size_t serial_input(void *dev, const uint8_t *buf, size_t len)
{
	struct serial *s = dev;
	size_t n = 0;

	pthread_mutex_lock(&s->lock);
	while (n < len && listens(s) && s->st.rx_n < fifo_size(s))
		rx_push(s, buf[n++]);
	s->input_waits = n < len;
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
	return n;
}

/* What waits in the tx FIFO goes to the console, or nowhere. */
static void tx_drain(struct serial *s)
{
	size_t taken = s->st.tx_n;

	if (!s->st.tx_n)
		return;
	if (s->console)
		taken = console_put(s->console, s->st.tx, s->st.tx_n);
	s->st.tx_n -= (unsigned)taken;
	memmove(s->st.tx, s->st.tx + taken, s->st.tx_n);
	if (!s->st.tx_n)
		tx_emptied(s);
}

static void serial_writable(void *dev)
{
	struct serial *s = dev;

	pthread_mutex_lock(&s->lock);
	tx_drain(s);
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

static void serial_break(void *dev)
{
	struct serial *s = dev;

	pthread_mutex_lock(&s->lock);
	if (!(s->st.mcr & UART_MCR_LOOP))
		rx_push(s, RX_BREAK);
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

static int serial_init(void *dev, const struct device_env *env)
{
	struct serial *s = dev;
	int err = pthread_mutex_init(&s->lock, NULL);

	if (err)
		return -err;
	s->irq = env->irq;
	s->st.dll =
		DIVISOR_9600; /* Linux divides by it when it takes over the speed that it finds */
	s->st.msr = MODEM_READY;
	if (env->console) {
		s->console = env->console;
		console_attach(s->console, &(struct console_device){ .input = serial_input,
								     .writable = serial_writable,
								     .send_break = serial_break,
								     .dev = s });
	}
	return 0;
}

static void serial_fini(void *dev)
{
	struct serial *s = dev;

	if (s->console)
		console_attach(s->console, NULL);
	pthread_mutex_destroy(&s->lock);
}

/* ---- state ---- */

static const struct state_field fields[] = {
	STATE_ONE(struct serial_state, ier, .bits = IER_BITS),
	STATE_ONE(struct serial_state, lcr, .max = 0xff),
	STATE_ONE(struct serial_state, mcr, .bits = MCR_BITS),
	STATE_ONE(struct serial_state, scr, .max = 0xff),
	STATE_ONE(struct serial_state, dll, .max = 0xff),
	STATE_ONE(struct serial_state, dlm, .max = 0xff),
	STATE_ONE(struct serial_state, fcr, .bits = FCR_STICKY),
	STATE_ONE(struct serial_state, lsr, .bits = UART_LSR_BRK_ERROR_BITS),
	STATE_ONE(struct serial_state, msr, .max = 0xff),
	STATE_ONE(struct serial_state, thre_event, .max = true),
	STATE_ONE(struct serial_state, polls, .max = LISTEN_POLLS),
	STATE_ONE(struct serial_state, rx_head, .max = FIFO_BYTES - 1),
	STATE_ONE(struct serial_state, rx_n, .max = FIFO_BYTES),
	STATE_ONE(struct serial_state, rx_breaks, .max = FIFO_BYTES - 1),
	STATE_ARRAY(struct serial_state, rx, .max = RX_BREAK),
	STATE_ONE(struct serial_state, tx_n, .max = FIFO_BYTES),
	STATE_ARRAY(struct serial_state, tx),
};

static unsigned count_breaks(const struct serial_state *st)
{
	unsigned n = 0;

	for (unsigned i = 1; i < st->rx_n; i++)
		n += st->rx[(st->rx_head + i) % FIFO_BYTES] == RX_BREAK;
	return n;
}

static const char *check(const void *state)
{
	const struct serial_state *st = state;
	bool has_fifo = st->fcr & UART_FCR_ENABLE_FIFO;

	if (!has_fifo && st->fcr)
		return "fcr";
	if (!has_fifo && st->rx_n > 1)
		return "rx_n";
	if (!has_fifo && st->tx_n > 1)
		return "tx_n";
	return st->rx_breaks != count_breaks(st) ? "rx_breaks" : NULL;
}

/* Whether input waits, and whether there is room for output, is up to the console at this end. */
static int load(void *dev, const void *state)
{
	struct serial *s = dev;
	bool wanted;

	pthread_mutex_lock(&s->lock);
	s->st = *(const struct serial_state *)state;
	tx_drain(s);
	update_irq(s);
	wanted = take_input_wanted(s);
	pthread_mutex_unlock(&s->lock);
	if (wanted)
		console_input_wanted(s->console);
	return 0;
}

static const struct state_type state_type = {
	STATE_TYPE("serial", 1, struct serial_state, fields),
	.check = check,
	.at = offsetof(struct serial, st),
	.load = load,
};

const struct device_type serial_type = {
	.name = "serial",
	.size = sizeof(struct serial),
	.io = { .read = serial_read, .write = serial_write },
	.init = serial_init,
	.fini = serial_fini,
	.state = &state_type,
};
