/* Honest requests, for each kind of device that lkvm has. */
#include "virtio.h"

/* ---- block ---- */

void blk_header(struct vdev *d, uint32_t type, uint64_t sector)
{
	*(volatile struct blk_header *)BLK_HEADER(d) = (struct blk_header){ type, 0, sector };
}

uint8_t blk_send(struct vring *r, const struct vbuf *buf, unsigned n)
{
	volatile uint8_t *answer = mem8(BLK_STATUS(r->dev));

	*answer = BLK_NO_ANSWER;
	return vring_do(r, buf, n) ? *answer : BLK_NO_ANSWER;
}

uint8_t blk_do(struct vring *r, uint32_t type, uint64_t sector, uint32_t len)
{
	struct vdev *d = r->dev;
	const bool from_disk = type == BLK_IN || type == BLK_GET_ID;
	struct vbuf chain[3] = { { BLK_HEADER(d), sizeof(struct blk_header), 0 } };
	unsigned n = 1;

	blk_header(d, type, sector);
	if (len)
		chain[n++] = (struct vbuf){ BLK_DATA(d), len, from_disk ? D_WRITE : 0 };
	chain[n++] = (struct vbuf){ BLK_STATUS(d), 1, D_WRITE };
	return blk_send(r, chain, n);
}

bool blk_pattern(const uint8_t *data, uint64_t sector)
{
	uint64_t line = 0;

	for (unsigned i = 0; i < 15; i++)
		line = line * 10 + (uint64_t)(data[i] - '0');
	return data[15] == '\n' && line == sector * (SECTOR / 16);
}

static bool blk_works(struct vdev *d)
{
	*mem64(BLK_DATA(d)) = 0;
	return blk_do(&d->ring[0], BLK_IN, 7, SECTOR) == BLK_OK &&
	       blk_pattern((uint8_t *)BLK_DATA(d), 7);
}

/* ---- entropy ---- */

static bool rng_works(struct vdev *d)
{
	const struct vbuf buf = { (uint64_t)d->buf, 16, D_WRITE };
	volatile uint64_t *data = mem64((uint64_t)d->buf);

	data[0] = data[1] = 0;
	return vring_do(&d->ring[0], &buf, 1) && d->ring[0].used_len == 16 && (data[0] | data[1]);
}

/* ---- console, with two ports ---- */

struct port_control {
	uint32_t id;
	uint16_t event, value;
};

void port_message(struct vdev *d, uint32_t id, uint16_t event, uint16_t value)
{
	*(volatile struct port_control *)PORT_MESSAGE(d) = (struct port_control){ id, event, value };
}

bool port_control(struct vdev *d, uint32_t id, uint16_t event, uint16_t value)
{
	port_message(d, id, event, value);
	return vring_do(&d->ring[3], &(struct vbuf){ PORT_MESSAGE(d), 8, 0 }, 1);
}

bool port_told(struct vdev *d, uint32_t id, uint16_t event)
{
	const uint64_t room = PORT_MESSAGE(d) + 0x100;
	const volatile struct port_control *got = (const volatile struct port_control *)room;

	return vring_do(&d->ring[2], &(struct vbuf){ room, 64, D_WRITE }, 1) &&
	       d->ring[2].used_len >= 8 && got->id == id && got->event == event;
}

/* Port 1 prints; what port 0 prints is among the lines of the test. */
static bool console_works(struct vdev *d)
{
	return port_control(d, 0, PORT_DEVICE_READY, 1) && port_told(d, 0, PORT_ADD) &&
	       port_told(d, 1, PORT_ADD) &&
	       vring_do(&d->ring[5], &(struct vbuf){ (uint64_t)d->buf, 16, 0 }, 1);
}

/* ---- balloon ---- */

static bool balloon_works(struct vdev *d)
{
	volatile uint32_t *page = (volatile uint32_t *)(uint64_t)BALLOON_PAGE, *list = (volatile uint32_t *)d->buf;

	*page = 0x5a5a5a5a;
	*list = BALLOON_PAGE >> 12;
	return vring_do(&d->ring[0], &(struct vbuf){ (uint64_t)list, 4, 0 }, 1) && !*page;
}

/* ---- memory ---- */

#define MEM_ANSWER 0x1000 /* behind the request */

uint64_t mem_block(const struct vdev *d)
{
	return mem_read(d->config, 8);
}

uint64_t mem_start(const struct vdev *d)
{
	return mem_read(d->config + 16, 8);
}

void mem_request(struct vdev *d, unsigned type, uint64_t addr, unsigned n)
{
	volatile uint64_t *word = (volatile uint64_t *)d->buf;

	word[0] = type;
	word[1] = addr;
	word[2] = n;
	d->buf[MEM_ANSWER] = MEM_NO_ANSWER;
}

unsigned mem_ask(struct vdev *d, unsigned type, uint64_t addr, unsigned n)
{
	const struct vbuf chain[] = { { (uint64_t)d->buf, 24, 0 }, { (uint64_t)d->buf + MEM_ANSWER, 10, D_WRITE } };

	mem_request(d, type, addr, n);
	return vring_do(&d->ring[0], chain, 2) ? *(volatile uint8_t *)(d->buf + MEM_ANSWER) : MEM_NO_ANSWER;
}

unsigned mem_state(const struct vdev *d)
{
	return *(volatile uint8_t *)(d->buf + MEM_ANSWER + 8);
}

/* Somebody asks for memory from outside, sooner or later: `lkvm mem`. Nothing is plugged in the end. */
static bool mem_works(struct vdev *d)
{
	volatile uint64_t *word = (volatile uint64_t *)mem_start(d);
	struct deadline until = { 0 };

	while (!mem_read(d->config + 48, 8) && in_time(&until))
		;
	if (mem_ask(d, MEM_UNPLUG_ALL, 0, 0) != MEM_ACK || mem_ask(d, MEM_PLUG, (uint64_t)word, 1) != MEM_ACK || *word)
		return false;
	*word = 7;
	return *word == 7 && mem_ask(d, MEM_UNPLUG, (uint64_t)word, 1) == MEM_ACK;
}

/* ---- persistent memory ---- */

/* A flush */
static bool pmem_works(struct vdev *d)
{
	volatile uint32_t *word = (volatile uint32_t *)d->buf;

	word[0] = 0;
	word[1] = 7;
	return vring_do(&d->ring[0], (struct vbuf[]){ { (uint64_t)word, 4, 0 }, { (uint64_t)(word + 1), 4, D_WRITE } }, 2) &&
	       !word[1];
}

/* ---- gpu ---- */

uint32_t gpu_send(struct vdev *d, uint32_t bytes, uint32_t room)
{
	volatile uint32_t *answer = (volatile uint32_t *)(d->buf + 0x1000);

	*answer = 0;
	return vring_do(&d->ring[0], (struct vbuf[]){ { (uint64_t)d->buf, bytes, 0 }, { (uint64_t)answer, room, D_WRITE } }, 2) ?
		       *answer : 0;
}

uint32_t gpu_words(struct vdev *d, uint32_t type, const uint32_t *word, unsigned n)
{
	volatile uint32_t *req = (volatile uint32_t *)d->buf;

	for (unsigned i = 0; i < 6; i++)
		req[i] = i ? 0 : type;
	for (unsigned i = 0; i < n; i++)
		req[6 + i] = word[i];
	return gpu_send(d, 24 + n * 4, 24);
}

enum { GPU_CREATE = 0x101, GPU_SCANOUT = 0x103 };

struct vdev *gpu_show_black(struct vdev *devices, unsigned most, uint32_t width, uint32_t height)
{
	const unsigned n = vdev_scan(devices, most);
	struct vdev *d = NULL;

	for (unsigned i = 0; i < n; i++)
		if (devices[i].id == VIRTIO_GPU)
			d = &devices[i];
	CHECK(d);
	CHECK(vdev_start(d, d->offered & ~F_PACKED));
	CHECK_EQ(gpu_words(d, GPU_SCANOUT, (uint32_t[]){ 0, 0, 0, 0, 0, 0 }, 6), GPU_OK);
	CHECK_EQ(gpu_words(d, GPU_CREATE, (uint32_t[]){ 1, 2, width, height }, 4), GPU_OK);
	CHECK_EQ(gpu_words(d, GPU_SCANOUT, (uint32_t[]){ 0, 0, width, height, 0, 1 }, 6), GPU_OK);
	return d;
}

static bool gpu_works(struct vdev *d)
{
	const uint32_t create[] = { 0x77, 1, 16, 16 }, unref[] = { 0x77, 0 };

	return gpu_words(d, 0x101, create, 4) == GPU_OK && gpu_words(d, 0x102, unref, 2) == GPU_OK;
}

/* ---- network ---- */

/* A frame to nobody in particular */
static bool net_works(struct vdev *d)
{
	for (unsigned i = 0; i < 72; i++)
		((volatile uint8_t *)d->buf)[i] = 0;
	return vring_do(&d->ring[1], &(struct vbuf){ (uint64_t)d->buf, 72, 0 }, 1);
}

/* ---- sockets ---- */

struct vsock_header vsock_packet(const struct vdev *d, uint16_t op, uint32_t guest_port, uint32_t host_port)
{
	return (struct vsock_header){ .src_cid = mem_read(d->config, 4), .dst_cid = 2, .src_port = guest_port,
				      .dst_port = host_port, .type = 1, .op = op, .buf_alloc = 0x10000 };
}

/* A connection to a port on which nobody listens */
static bool vsock_works(struct vdev *d)
{
	const uint64_t out = (uint64_t)d->buf, in = out + 0x1000;

	*(volatile struct vsock_header *)out = vsock_packet(d, VSOCK_REQUEST, 7, 0x7777);
	return vring_do(&d->ring[1], &(struct vbuf){ out, VSOCK_HEADER, 0 }, 1) &&
	       vring_do(&d->ring[0], &(struct vbuf){ in, 0x1000, D_WRITE }, 1) &&
	       ((volatile struct vsock_header *)in)->op == VSOCK_RST;
}

/* ---- input ---- */

/* A light goes on. */
static bool input_works(struct vdev *d)
{
	((volatile uint32_t *)d->buf)[0] = 0x11;
	((volatile uint32_t *)d->buf)[1] = 1;
	return vring_do(&d->ring[1], &(struct vbuf){ (uint64_t)d->buf, 8, 0 }, 1);
}

bool vdev_works(struct vdev *d)
{
	switch (d->id) {
	case VIRTIO_BALLOON:
		return balloon_works(d);
	case VIRTIO_GPU:
		return gpu_works(d);
	case VIRTIO_INPUT:
		return input_works(d);
	case VIRTIO_CONSOLE:
		return console_works(d);
	case VIRTIO_BLK:
		return blk_works(d);
	case VIRTIO_RNG:
		return rng_works(d);
	case VIRTIO_NET:
		return net_works(d);
	case VIRTIO_VSOCK:
		return vsock_works(d);
	case VIRTIO_MEM:
		return mem_works(d);
	case VIRTIO_PMEM:
		return pmem_works(d);
	default:
		return false;
	}
}
