/*
 * Power management as ACPI's fixed hardware has it: the PM1a event and control registers, the PM
 * timer, and a reset register. The machine is always in ACPI mode: there is no SMI command port.
 *
 * Each register takes accesses of any width: the bytes of one access are handled one by one, as
 * hardware does with its byte enables, so 4 bytes at POWER_PM1_STS cover status and enable.
 * Spec: ACPI 6.5, 4.8.3 (PM1, PM timer, reset register) and 4.8.2.3 (sleeping)
 */
#include <time.h>

#include "lkvm/chips.h"
#include "lkvm/state.h"

#define PM1_TMR    (1U << 0)
#define PM1_GBL    (1U << 5)
#define PM1_PWRBTN (1U << 8)
#define PM1_RTC    (1U << 10) /* never raised, but Linux insists that it can be enabled */
#define PM1_WAK    (1U << 15) /* status only: back from a sleeping state */
#define PM1_EVENTS (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_RTC)

/* Control register, low byte */
#define CNT_SCI_EN 0x01U
#define CNT_BM_RLD 0x02U
/* Control register, high byte */
#define CNT_SLP_TYP_SHIFT 2
#define CNT_SLP_TYP       (7U << CNT_SLP_TYP_SHIFT)
#define CNT_SLP_EN        0x20U

#define PM_TIMER_HZ 3579545ULL

struct power_state {
	uint32_t sts, en;        /* PM1 events; only the power button is ever raised, and PM1_WAK */
	uint32_t cnt_lo, cnt_hi; /* what reads back: BM_RLD, SLP_TYP */
	uint32_t timer;          /* before the host's clock is added; saved: what it shows */
};

struct power {
	pthread_mutex_t lock;
	struct device_env env;
	struct power_state st;
	bool sci;
};

/*
 * From the host's monotonic clock each time, so it cannot drift. Seconds and nanoseconds are scaled
 * apart: no product gets near 2^64. TMR_STS, the change of bit 31, is never raised: it happens
 * every 10 minutes and serves kernels that count the wraps of the timer, which then see none.
 */
static uint32_t host_ticks(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint32_t)((uint64_t)ts.tv_sec * PM_TIMER_HZ +
			  (uint64_t)ts.tv_nsec * PM_TIMER_HZ / 1000000000ULL);
}

static void update_sci(struct power *p)
{
	bool level = p->st.sts & p->st.en;

	if (level == p->sci)
		return;
	p->sci = level;
	irq_set(&p->env.irq, level);
}

static unsigned read_byte(const struct power *p, uint64_t off, uint32_t timer)
{
	switch (off) {
	case POWER_PM1_STS:
		return p->st.sts;
	case POWER_PM1_STS + 1:
		return p->st.sts >> 8;
	case POWER_PM1_EN:
		return p->st.en;
	case POWER_PM1_EN + 1:
		return p->st.en >> 8;
	case POWER_PM1_CNT:
		return p->st.cnt_lo | CNT_SCI_EN;
	case POWER_PM1_CNT + 1:
		return p->st.cnt_hi;
	case POWER_PM_TMR ... POWER_PM_TMR + 3:
		return timer >> (8 * (off - POWER_PM_TMR));
	case POWER_RESET:
		return 0;
	default:
		return 0xff;
	}
}

static uint64_t power_read(void *dev, uint64_t off, unsigned len)
{
	struct power *p = dev;
	uint32_t ticks = host_ticks(); /* once: the bytes of one access belong together */
	uint64_t value = 0;

	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < len; i++)
		value |= (uint64_t)(uint8_t)read_byte(p, off + i, p->st.timer + ticks) << 8 * i;
	pthread_mutex_unlock(&p->lock);
	return value;
}

static bool is_piix(const struct power *p)
{
	const struct power_config *config = p->env.config;

	return config && config->piix;
}

static void write_control_hi(struct power *p, unsigned value)
{
	p->st.cnt_hi = value & CNT_SLP_TYP;
	if (!(value & CNT_SLP_EN))
		return;
	/*
	 * S5 is the only sleeping state that the ACPI tables offer (firmware needs none, it knows the chip). Who tries another, S3 most likely,
	 * is woken at once, with all that it had, and not by way of the waking vector.
	 */
	if (p->st.cnt_hi == POWER_SLP_TYP_S5 << CNT_SLP_TYP_SHIFT || (p->st.cnt_hi == 0 && is_piix(p)))
		board_stop(&p->env.board, STOP_POWEROFF, 0);
	else
		p->st.sts |= PM1_WAK;
}

static void write_byte(struct power *p, uint64_t off, unsigned value)
{
	switch (off) {
	case POWER_PM1_STS:
		p->st.sts &= ~value;
		break;
	case POWER_PM1_STS + 1:
		p->st.sts &= ~(value << 8);
		break;
	case POWER_PM1_EN:
		p->st.en = ((p->st.en & 0xff00) | value) & PM1_EVENTS;
		break;
	case POWER_PM1_EN + 1:
		p->st.en = ((p->st.en & 0xff) | value << 8) & PM1_EVENTS;
		break;
	case POWER_PM1_CNT:
		p->st.cnt_lo = value & CNT_BM_RLD;
		break;
	case POWER_PM1_CNT + 1:
		write_control_hi(p, value);
		break;
	case POWER_RESET:
		if (value == POWER_RESET_VALUE)
			board_stop(&p->env.board, STOP_RESET, 0);
		break;
	}
}

static void power_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	struct power *p = dev;

	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < len; i++)
		write_byte(p, off + i, (uint8_t)(value >> 8 * i));
	update_sci(p);
	pthread_mutex_unlock(&p->lock);
}

bool power_button(void *dev)
{
	struct power *p = dev;
	bool heard;

	pthread_mutex_lock(&p->lock);
	p->st.sts |= PM1_PWRBTN;
	heard = p->st.en & PM1_PWRBTN;
	update_sci(p);
	pthread_mutex_unlock(&p->lock);
	return heard;
}

static int power_init(void *dev, const struct device_env *env)
{
	struct power *p = dev;

	p->env = *env;
	return -pthread_mutex_init(&p->lock, NULL);
}

static void power_fini(void *dev)
{
	struct power *p = dev;

	pthread_mutex_destroy(&p->lock);
}

/* ---- state ---- */

static const struct state_field fields[] = {
	STATE_ONE(struct power_state, sts, .bits = PM1_PWRBTN | PM1_WAK),
	STATE_ONE(struct power_state, en, .bits = PM1_EVENTS),
	STATE_ONE(struct power_state, cnt_lo, .bits = CNT_BM_RLD),
	STATE_ONE(struct power_state, cnt_hi, .bits = CNT_SLP_TYP),
	STATE_ONE(struct power_state, timer),
};

static int save(void *dev, void *ret_state)
{
	struct power *p = dev;
	struct power_state *st = ret_state;

	pthread_mutex_lock(&p->lock);
	*st = p->st;
	pthread_mutex_unlock(&p->lock);
	st->timer += host_ticks();
	return 0;
}

static int load(void *dev, const void *state)
{
	struct power *p = dev;

	pthread_mutex_lock(&p->lock);
	p->st = *(const struct power_state *)state;
	p->st.timer -= host_ticks();
	update_sci(p);
	pthread_mutex_unlock(&p->lock);
	return 0;
}

static const struct state_type state_type = {
	STATE_TYPE("power", 1, struct power_state, fields),
	.save = save,
	.load = load,
};

const struct device_type power_type = {
	.name = "power",
	.size = sizeof(struct power),
	.io = { .read = power_read, .write = power_write },
	.init = power_init,
	.fini = power_fini,
	.state = &state_type,
};
