/*
 * A frame buffer in the guest's RAM; see ramfb.h. It is written to on vCPU threads, under fw_cfg's lock, and loaded by the
 * main thread while none runs. Who looks at the screen reads the memory meanwhile, whatever the guest does to it.
 */
#include "lkvm/ramfb.h"

#include <endian.h>
#include <string.h>

#include "lkvm/chips.h"
#include "lkvm/display.h"
#include "lkvm/fw-cfg.h"
#include "lkvm/log.h"
#include "lkvm/ram.h"
#include "lkvm/state.h"
#include "lkvm/types.h"

#define FOURCC(a, b, c, d) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)
#define XR24		   FOURCC('X', 'R', '2', '4')
#define AR24		   FOURCC('A', 'R', '2', '4')

struct ramfb_state {
	uint8_t file[RAMFB_BYTES]; /* as the guest has written it */
};

struct ramfb {
	struct ram *ram;
	struct display *display;
	struct ramfb_state st;
	struct ratelimit warnings;
};

struct told {
	uint64_t at;
	uint32_t format, flags, width, height, stride;
} __attribute__((packed));

_Static_assert(sizeof(struct told) == RAMFB_BYTES, "the file's size");

static struct told read_file(const struct ramfb *r)
{
	struct told t;

	memcpy(&t, r->st.file, sizeof(t));
	return (struct told){
		.at = be64toh(t.at),
		.format = be32toh(t.format),
		.width = be32toh(t.width),
		.height = be32toh(t.height),
		.stride = be32toh(t.stride),
	};
}

/*
 * What @t says, if that can be shown. Memory that can be plugged and unplugged may go while somebody reads it, and is left out.
 * Return: NULL, or why it cannot
 */
static const char *judge(const struct ramfb *r, const struct told *t, struct display_backdrop *ret)
{
	const struct ram_region *region = ram_region(r->ram);
	const uint64_t line = (uint64_t)t->width * DISPLAY_PIXEL_BYTES, stride = t->stride ? t->stride : line;
	const uint8_t *pixels;

	if (t->format != XR24 && t->format != AR24)
		return "its format is not XR24";
	if (!t->width || !t->height || t->width > RAMFB_MAX_SIZE || t->height > RAMFB_MAX_SIZE)
		return "its size is none of a screen";
	if (stride < line)
		return "its lines overlap";
	pixels = ram_host(r->ram, GPA(t->at), stride * (t->height - 1) + line);
	if (!pixels || (region->bytes && t->at >= region->start))
		return "it is not in RAM";
	*ret = (struct display_backdrop){ t->width, t->height, stride, pixels };
	return NULL;
}

/* After each write */
static void show(void *dev)
{
	struct ramfb *r = dev;
	const struct told t = read_file(r);
	const bool off = !t.width && !t.height;
	struct display_backdrop backdrop;
	const char *why = off ? NULL : judge(r, &t, &backdrop);

	if (display_backdrop(r->display, 0, off || why ? NULL : &backdrop))
		why = "there is no memory for it";
	if (why && ratelimit_ok(&r->warnings))
		log_warn("ramfb: the guest's frame buffer is not shown: %s", why);
}

int ramfb_attach(void *dev, void *fw_cfg, struct display *display)
{
	struct ramfb *r = dev;
	const struct fw_cfg_writable file = { r->st.file, sizeof(r->st.file), show, r };

	r->display = display;
	return fw_cfg_writable(fw_cfg, RAMFB_FILE, &file);
}

/* ---- state ---- */

static const struct state_field fields[] = {
	STATE_ARRAY(struct ramfb_state, file),
};

static int load(void *dev, const void *state)
{
	struct ramfb *r = dev;

	r->st = *(const struct ramfb_state *)state;
	show(r);
	return 0;
}

static const struct state_type ramfb_state_type = {
	STATE_TYPE("ramfb", 1, struct ramfb_state, fields),
	.load = load,
	.at = offsetof(struct ramfb, st),
};

static int ramfb_init(void *dev, const struct device_env *env)
{
	struct ramfb *r = dev;

	r->ram = env->ram;
	return 0;
}

const struct device_type ramfb_type = {
	.name = "ramfb",
	.size = sizeof(struct ramfb),
	.init = ramfb_init,
	.state = &ramfb_state_type,
};
