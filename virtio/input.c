/* A keyboard and a tablet: their events, lights and what they say of themselves; see virtio-input.h. */
#include "input-internal.h"

#include <endian.h>
#include <errno.h>
#include <linux/input.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/event.h"

#define QUEUE_SIZE   64
#define N_QUEUES     2
#define EVENT_QUEUE  0
#define STATUS_QUEUE 1
#define LAST_KEY     248 /* KEY_MICMUTE, which no keyboard goes beyond here */
#define MOST_DOWN    (LAST_KEY + 1)
#define LEDS         (1U << LED_NUML | 1U << LED_CAPSL | 1U << LED_SCROLLL)

/* Of those that a mouse has */
static bool is_button(unsigned code)
{
	return code >= BTN_LEFT && code <= BTN_EXTRA;
}

static bool has_key(const struct virtio_input *in, unsigned code)
{
	return in->kind == VIRTIO_INPUT_TABLET ? is_button(code) : code && code <= LAST_KEY;
}

/* ---- the ring; with in->lock ---- */

static void put(struct virtio_input *in, unsigned type, unsigned code, int32_t value)
{
	in->ring[(in->head + in->n++) % INPUT_RING] = (struct input_item){ (uint16_t)type, (uint16_t)code, value };
}

/* For so many events, and for all that may be down to come up */
static bool has_room(const struct virtio_input *in, unsigned n)
{
	return in->n + n + 2 * MOST_DOWN <= INPUT_RING;
}

static bool is_down(const struct virtio_input *in, unsigned code)
{
	return in->down[code / 64] >> code % 64 & 1;
}

static void put_key(struct virtio_input *in, unsigned code, bool down)
{
	if (is_down(in, code) == down)
		return;
	in->down[code / 64] ^= 1ULL << code % 64;
	put(in, EV_KEY, code, down);
	put(in, EV_SYN, SYN_REPORT, 0);
}

static bool has_driver(const struct virtio_input *in)
{
	return (atomic_load(&in->dev.status) & VIRTIO_CONFIG_S_DRIVER_OK) && !atomic_load(&in->dev.needs_reset);
}

static void release(struct virtio_input *in)
{
	for (unsigned code = 0; code < INPUT_MAX_KEY; code++)
		put_key(in, code, false);
}

/* ---- for who types and points ---- */

static bool is_good(const struct virtio_input *in, const struct virtio_input_action *a)
{
	const unsigned most = VIRTIO_INPUT_AXIS;

	switch (a->what) {
	case VIRTIO_INPUT_KEY:
		return has_key(in, a->code);
	case VIRTIO_INPUT_POINT:
		return in->kind == VIRTIO_INPUT_TABLET && (unsigned)a->x < most && (unsigned)a->y < most;
	case VIRTIO_INPUT_WHEEL:
		return in->kind == VIRTIO_INPUT_TABLET;
	default:
		return false;
	}
}

static unsigned room_for(const struct virtio_input_action *a)
{
	return a->what == VIRTIO_INPUT_KEY ? a->down ? 2 : 0 : 3;
}

static void act(struct virtio_input *in, const struct virtio_input_action *a)
{
	switch (a->what) {
	case VIRTIO_INPUT_KEY:
		put_key(in, a->code, a->down);
		return;
	case VIRTIO_INPUT_POINT:
		put(in, EV_ABS, ABS_X, a->x);
		put(in, EV_ABS, ABS_Y, a->y);
		break;
	case VIRTIO_INPUT_WHEEL:
		if (a->x)
			put(in, EV_REL, REL_HWHEEL, a->x);
		if (a->y)
			put(in, EV_REL, REL_WHEEL, a->y);
		break;
	}
	put(in, EV_SYN, SYN_REPORT, 0);
}

int virtio_input_do(struct virtio_dev *dev, const struct virtio_input_action *action, unsigned n)
{
	struct virtio_input *in = input_of(dev);
	unsigned room = 0;
	int err = 0;

	for (unsigned i = 0; i < n; i++) {
		if (!is_good(in, &action[i]))
			return -EINVAL;
		room += room_for(&action[i]);
	}
	pthread_mutex_lock(&in->lock);
	if (!has_driver(in))
		err = -ENOTCONN;
	else if (room && !has_room(in, room))
		err = -EAGAIN;
	for (unsigned i = 0; !err && i < n; i++)
		act(in, &action[i]);
	pthread_mutex_unlock(&in->lock);
	if (!err)
		event_signal(in->wake.fd);
	return err;
}

void virtio_input_release(struct virtio_dev *dev)
{
	struct virtio_input *in = input_of(dev);

	pthread_mutex_lock(&in->lock);
	release(in);
	pthread_mutex_unlock(&in->lock);
	event_signal(in->wake.fd);
}

unsigned virtio_input_leds(const struct virtio_dev *dev)
{
	struct virtio_input *in = input_of(dev);
	unsigned leds;

	pthread_mutex_lock(&in->lock);
	leds = in->leds;
	pthread_mutex_unlock(&in->lock);
	return leds;
}

/* ---- queues: worker ---- */

static bool more(struct virtio_dev *dev, unsigned index)
{
	struct virtio_input *in = input_of(dev);
	bool any;

	(void)index;
	pthread_mutex_lock(&in->lock);
	any = in->n;
	pthread_mutex_unlock(&in->lock);
	return any;
}

/* Nobody else takes from the ring. */
static void give_event(struct virtio_dev *dev, unsigned index)
{
	struct virtio_input *in = input_of(dev);
	const struct virtq_chain *chain = dev->chain;
	struct virtio_input_event event;

	if (chain->n_out || chain->in_bytes < sizeof(event)) {
		virtio_break(dev, "a buffer for an event that is readable, or too short");
		return;
	}
	pthread_mutex_lock(&in->lock);
	event = (struct virtio_input_event){ htole16(in->ring[in->head].type), htole16(in->ring[in->head].code),
					     htole32((uint32_t)in->ring[in->head].value) };
	in->head = (in->head + 1) % INPUT_RING;
	in->n--;
	pthread_mutex_unlock(&in->lock);
	virtio_push(dev, index, chain->token, (uint32_t)virtq_write(chain, 0, &event, sizeof(event)));
}

static void take_status(struct virtio_dev *dev, unsigned index)
{
	struct virtio_input *in = input_of(dev);
	struct virtio_input_event event;
	unsigned bit;

	if (virtq_read(dev->chain, 0, &event, sizeof(event)) != sizeof(event)) {
		virtio_break(dev, "a status that is too short");
		return;
	}
	bit = le16toh(event.code) < 8 ? 1U << le16toh(event.code) : 0;
	pthread_mutex_lock(&in->lock);
	if (in->kind == VIRTIO_INPUT_KEYBOARD && le16toh(event.type) == EV_LED && (bit & LEDS))
		in->leds = (uint8_t)(event.value ? in->leds | bit : in->leds & ~bit);
	pthread_mutex_unlock(&in->lock);
	virtio_push(dev, index, dev->chain->token, 0);
}

static void kick(struct virtio_dev *dev, unsigned index)
{
	if (index == EVENT_QUEUE)
		virtio_serve_while(dev, index, more, give_event);
	else
		virtio_serve(dev, index, take_status);
}

static void woken(struct loop_source *src, uint32_t events)
{
	struct virtio_input *in = container_of(src, struct virtio_input, wake);

	(void)events;
	event_clear(src->fd);
	if (!atomic_load(&in->dev.needs_reset))
		kick(&in->dev, EVENT_QUEUE);
}

static int activate(struct virtio_dev *dev)
{
	return loop_add(&dev->loop, &input_of(dev)->wake, EPOLLIN);
}

static void drain(struct virtio_dev *dev, int index)
{
	if (index < 0)
		loop_del(&dev->loop, &input_of(dev)->wake);
}

/* Who held a key before may not be there any more when it goes on. */
static void hold(struct virtio_dev *dev, bool on)
{
	if (!on)
		virtio_input_release(dev);
}

static void reset(struct virtio_dev *dev)
{
	struct virtio_input *in = input_of(dev);

	pthread_mutex_lock(&in->lock);
	in->n = in->head = 0;
	in->select = in->subsel = in->leds = 0;
	memset(in->down, 0, sizeof(in->down));
	pthread_mutex_unlock(&in->lock);
}

/* ---- what it says of itself: 5.8.5 ---- */

static void set_bit(struct virtio_input_config *c, unsigned bit)
{
	c->u.bitmap[bit / 8] = (uint8_t)(c->u.bitmap[bit / 8] | 1U << bit % 8);
	if (bit / 8 >= c->size)
		c->size = (uint8_t)(bit / 8 + 1);
}

static void add_bits(const struct virtio_input *in, struct virtio_input_config *c)
{
	const bool is_tablet = in->kind == VIRTIO_INPUT_TABLET;

	if (c->subsel == EV_KEY) {
		for (unsigned code = 0; code < INPUT_MAX_KEY; code++)
			if (has_key(in, code))
				set_bit(c, code);
	} else if (c->subsel == EV_ABS && is_tablet) {
		set_bit(c, ABS_X);
		set_bit(c, ABS_Y);
	} else if (c->subsel == EV_REL && is_tablet) {
		set_bit(c, REL_WHEEL);
		set_bit(c, REL_HWHEEL);
	} else if (c->subsel == EV_LED && !is_tablet) {
		set_bit(c, LED_NUML);
		set_bit(c, LED_CAPSL);
		set_bit(c, LED_SCROLLL);
	} else if (c->subsel == EV_REP && !is_tablet) {
		set_bit(c, REP_DELAY);
		set_bit(c, REP_PERIOD);
	}
}

static void add_text(struct virtio_input_config *c, const char *text)
{
	c->size = (uint8_t)strlen(text);
	memcpy(c->u.string, text, c->size);
}

static void describe_self(const struct virtio_input *in, struct virtio_input_config *c)
{
	const bool is_tablet = in->kind == VIRTIO_INPUT_TABLET;

	switch (c->select) {
	case VIRTIO_INPUT_CFG_ID_NAME:
		add_text(c, is_tablet ? "lkvm tablet" : "lkvm keyboard");
		break;
	case VIRTIO_INPUT_CFG_ID_SERIAL:
		add_text(c, in->dev.name);
		break;
	case VIRTIO_INPUT_CFG_ID_DEVIDS:
		c->size = sizeof(c->u.ids);
		c->u.ids = (struct virtio_input_devids){ htole16(BUS_VIRTUAL), 0, htole16(is_tablet ? 2 : 1), htole16(1) };
		break;
	case VIRTIO_INPUT_CFG_EV_BITS:
		add_bits(in, c);
		break;
	case VIRTIO_INPUT_CFG_ABS_INFO:
		if (!is_tablet || c->subsel > ABS_Y)
			break;
		c->size = sizeof(c->u.abs);
		c->u.abs.max = htole32(VIRTIO_INPUT_AXIS - 1);
		break;
	default:
		break;
	}
}

static uint64_t config_read(struct virtio_dev *dev, unsigned off, unsigned width)
{
	struct virtio_input *in = input_of(dev);
	struct virtio_input_config c = { 0 };
	uint64_t value = 0;

	pthread_mutex_lock(&in->lock);
	c.select = in->select;
	c.subsel = in->subsel;
	pthread_mutex_unlock(&in->lock);
	if (!c.subsel || c.select >= VIRTIO_INPUT_CFG_EV_BITS)
		describe_self(in, &c);
	memcpy(&value, (const char *)&c + off, width);
	return le64toh(value);
}

static void config_write(struct virtio_dev *dev, unsigned off, unsigned width, uint64_t value)
{
	struct virtio_input *in = input_of(dev);

	if (width != 1)
		return;
	pthread_mutex_lock(&in->lock);
	if (off == offsetof(struct virtio_input_config, select))
		in->select = (uint8_t)value;
	else if (off == offsetof(struct virtio_input_config, subsel))
		in->subsel = (uint8_t)value;
	pthread_mutex_unlock(&in->lock);
}

/* ---- the device ---- */

static void describe(unsigned index, const struct virtq_chain *c, struct virtio_asked *ret)
{
	(void)c;
	ret->what = index == EVENT_QUEUE ? "event" : "status";
}

static const struct virtio_type input_type = {
	.name = "input",
	.id = VIRTIO_ID_INPUT,
	.queue_size = QUEUE_SIZE,
	.activate = activate,
	.kick = kick,
	.describe = describe,
	.drain = drain,
	.hold = hold,
	.reset = reset,
	.config_read = config_read,
	.config_write = config_write,
	.state = &input_state_type,
};

int virtio_input_new(const struct ram *ram, const char *name, enum virtio_input_kind kind, bool packed,
		     struct virtio_dev **ret)
{
	struct virtio_input *in = calloc(1, sizeof(*in));
	int err;

	if (!in)
		return -ENOMEM;
	in->kind = kind;
	in->wake = (struct loop_source){ event_open(0), woken };
	pthread_mutex_init(&in->lock, NULL);
	in->dev.type = &input_type;
	in->dev.name = name;
	in->dev.ram = ram;
	in->dev.n_queues = N_QUEUES;
	in->dev.config_bytes = sizeof(struct virtio_input_config);
	in->dev.device_features = packed ? 1ULL << VIRTIO_F_RING_PACKED : 0;
	err = virtio_init(&in->dev);
	if (!err && in->wake.fd < 0)
		err = in->wake.fd;
	if (err) {
		virtio_input_free(&in->dev);
		return err;
	}
	*ret = &in->dev;
	return 0;
}

void virtio_input_free(struct virtio_dev *dev)
{
	struct virtio_input *in;

	if (!dev)
		return;
	in = input_of(dev);
	virtio_fini(dev);
	if (in->wake.fd >= 0)
		close(in->wake.fd);
	pthread_mutex_destroy(&in->lock);
	free(in);
}
