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

#define PM1_TMR    (1U << 0)
#define PM1_GBL    (1U << 5)
#define PM1_PWRBTN (1U << 8)
#define PM1_RTC    (1U << 10) /* never raised, but Linux insists that it can be enabled */
#define PM1_EVENTS (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_RTC)

/* Control register, low byte */
#define CNT_SCI_EN 0x01U
#define CNT_BM_RLD 0x02U
/* Control register, high byte */
#define CNT_SLP_TYP_SHIFT 2
#define CNT_SLP_TYP       (7U << CNT_SLP_TYP_SHIFT)
#define CNT_SLP_EN        0x20U

#define PM_TIMER_HZ 3579545ULL

struct power {
	pthread_mutex_t lock;
	struct device_env env;
	unsigned sts, en;        /* PM1 events; only the power button is ever raised */
	unsigned cnt_lo, cnt_hi; /* what reads back: BM_RLD, SLP_TYP */
	bool sci;
};

/*
 * From the host's monotonic clock each time, so it cannot drift. Seconds and nanoseconds are scaled
 * apart: no product gets near 2^64. TMR_STS, the change of bit 31, is never raised: it happens
 * every 10 minutes and serves kernels that count the wraps of the timer, which then see none.
 */
static uint32_t timer_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint32_t)((uint64_t)ts.tv_sec * PM_TIMER_HZ +
			  (uint64_t)ts.tv_nsec * PM_TIMER_HZ / 1000000000ULL);
}

static void update_sci(struct power *p)
{
	bool level = p->sts & p->en;

	if (level == p->sci)
		return;
	p->sci = level;
	irq_set(&p->env.irq, level);
}

static unsigned read_byte(const struct power *p, uint64_t off, uint32_t timer)
{
	switch (off) {
	case POWER_PM1_STS:
		return p->sts;
	case POWER_PM1_STS + 1:
		return p->sts >> 8;
	case POWER_PM1_EN:
		return p->en;
	case POWER_PM1_EN + 1:
		return p->en >> 8;
	case POWER_PM1_CNT:
		return p->cnt_lo | CNT_SCI_EN;
	case POWER_PM1_CNT + 1:
		return p->cnt_hi;
	case POWER_PM_TMR ... POWER_PM_TMR + 3:
		return timer >> (8 * (off - POWER_PM_TMR));
	case POWER_RESET:
		return 0;
	default:
		return 0xff;
	}
}

static void power_read(void *dev, uint64_t off, void *data, unsigned len)
{
	struct power *p = dev;
	uint32_t timer = timer_now(); /* once: the bytes of one access belong together */
	uint8_t *bytes = data;

	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < len; i++)
		bytes[i] = (uint8_t)read_byte(p, off + i, timer);
	pthread_mutex_unlock(&p->lock);
}

static void write_control_hi(struct power *p, unsigned value)
{
	p->cnt_hi = value & CNT_SLP_TYP;
	/* S5 is the only sleeping state that the ACPI tables offer; the others do nothing. */
	if ((value & CNT_SLP_EN) && p->cnt_hi == POWER_SLP_TYP_S5 << CNT_SLP_TYP_SHIFT)
		p->env.stop(p->env.machine, STOP_POWEROFF, 0);
}

static void write_byte(struct power *p, uint64_t off, unsigned value)
{
	switch (off) {
	case POWER_PM1_STS:
		p->sts &= ~value;
		break;
	case POWER_PM1_STS + 1:
		p->sts &= ~(value << 8);
		break;
	case POWER_PM1_EN:
		p->en = ((p->en & 0xff00) | value) & PM1_EVENTS;
		break;
	case POWER_PM1_EN + 1:
		p->en = ((p->en & 0xff) | value << 8) & PM1_EVENTS;
		break;
	case POWER_PM1_CNT:
		p->cnt_lo = value & CNT_BM_RLD;
		break;
	case POWER_PM1_CNT + 1:
		write_control_hi(p, value);
		break;
	case POWER_RESET:
		if (value == POWER_RESET_VALUE)
			p->env.stop(p->env.machine, STOP_RESET, 0);
		break;
	}
}

static void power_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct power *p = dev;
	const uint8_t *bytes = data;

	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < len; i++)
		write_byte(p, off + i, bytes[i]);
	update_sci(p);
	pthread_mutex_unlock(&p->lock);
}

bool power_button(void *dev)
{
	struct power *p = dev;
	bool heard;

	pthread_mutex_lock(&p->lock);
	p->sts |= PM1_PWRBTN;
	heard = p->en & PM1_PWRBTN;
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

const struct device_type power_type = {
	.name = "power",
	.size = sizeof(struct power),
	.io = { .read = power_read, .write = power_write },
	.init = power_init,
	.fini = power_fini,
};
